"""Proxies: who really asks, and at which address, where something stands in front of the server."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import attrs
from hypercorn.typing import HTTPScope, WebsocketScope

from engine.codec.public_url import is_loopback
from engine.messages.errors import ConfigError

Request: TypeAlias = HTTPScope | WebsocketScope
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_FORWARDING: Final = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip", b"via")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+](?::[0-9]{1,5})?")
_IS_SECURE: Final = {"https": True, "wss": True, "http": False, "ws": False}


@attrs.frozen(kw_only=True)
class Asker:
    """Who asks: for logs, and for what is told to the neighbourhood alone.

    client: an address, as far as trusted proxies name it; empty where there is none, as in a test.
    is_neighbour: this machine or a trusted peer itself, asking for nobody else as far as its headers say.
    """

    client: str
    is_neighbour: bool


class Proxies:
    """Reads X-Forwarded-For, -Proto and -Host, but only from peers that are trusted.

    trusted: addresses and networks, such as "10.0.0.0/8". Raises ConfigError for what is neither.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = tuple(map(_network, trusted))

    def asker(self, request: Request) -> Asker:
        """Return who asks: the last address of X-Forwarded-For that is not a trusted proxy's, else the peer's."""
        peer = _peer(request)
        known = self._trusts(peer) or (peer is not None and peer.is_loopback)
        client = peer
        if self._trusts(peer):
            for written in reversed((header(request, b"x-forwarded-for") or "").split(",")):
                address = _address(written)
                if address is None:
                    break
                client = address
                if not self._trusts(address):
                    break
        return Asker(client=str(client or ""), is_neighbour=known and not is_forwarded(request))

    def origin(self, request: Request) -> str | None:
        """Return where a trusted proxy was asked, as "https://HOST" or, for a WebSocket, "wss://HOST"; else None."""
        if not self._trusts(_peer(request)):
            return None
        scheme = _first(header(request, b"x-forwarded-proto")) or request["scheme"]
        host = _first(header(request, b"x-forwarded-host")) or header(request, b"host") or ""
        if scheme not in _IS_SECURE or not _HOST.fullmatch(host):
            return None
        is_socket = request["type"] == "websocket"
        return f"{('ws' if is_socket else 'http')}{'s' * _IS_SECURE[scheme]}://{host}"

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def is_forwarded(request: Request) -> bool:
    """Whether a request says that a proxy or a tunnel passed it on."""
    return any(name.lower() in _FORWARDING for name, _ in request["headers"])


def names_the_world(request: Request) -> bool:
    """Whether a request asks for a name that the world knows: one with a dot in it."""
    host = urlsplit(f"//{header(request, b'host') or ''}").hostname or ""
    return "." in host and not is_loopback(host)


def header(request: Request, name: bytes) -> str | None:
    """Return a header's value, those of several such headers joined by commas; None where there is none."""
    values = [value.decode("latin-1") for key, value in request["headers"] if key.lower() == name]
    return ",".join(values) if values else None


def _first(value: str | None) -> str:
    """Return the first of several proxies' words: that of the one which the client saw."""
    return (value or "").partition(",")[0].strip()


def _peer(request: Request) -> Address | None:
    client = request.get("client")
    return _address(str(client[0])) if client else None


def _address(written: str) -> Address | None:
    """Return an address, which some proxies write with a port; None for anything else."""
    plain = re.sub(r"^\[(.*)](:\d+)?$|^([0-9.]+):\d+$", r"\1\3", written.strip())
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address  # a socket for both kinds writes ::ffff:10.0.0.1


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"trusted_proxies: {error}; expected an address or a network such as '10.0.0.0/8'") from error
