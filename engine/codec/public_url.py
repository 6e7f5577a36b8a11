"""The public URL: where Twilio finds this server, and what it cannot use."""

import ipaddress
from urllib.parse import urlsplit

from engine.messages.errors import ConfigError


def check_public_url(text: str) -> str:
    """Return `text` as "https://HOST" or "https://HOST:PORT", in which a signature of Twilio's is checked.

    http is for this machine alone. Raises ConfigError with what Twilio could not use.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:  # a port that is none, half an IPv6 address
        raise ConfigError(f"public_url is no address: {str(error).lower()}") from error
    if "@" in parts.netloc:  # not repeated: it may hold a password
        raise ConfigError("public_url has a user or password in it, with which Twilio's signature would not match")
    why = ""
    if parts.scheme not in {"http", "https"} or not host or port == 0 or not _is_plain(parts.netloc):
        why = "expected an http or https address such as 'https://voice.example.com'"
    elif parts.path not in {"", "/"}:
        why = f"it has a path, {parts.path!r}; Twilio is to find /voice/incoming right behind the host"
    elif parts.query or parts.fragment or text.endswith(("?", "#")):
        why = "it has a query or a fragment; Twilio strips them from a stream's address"
    elif parts.scheme == "http" and not is_loopback(host):
        why = "it must be https: Twilio streams audio to wss only; http is for this machine alone"
    if why:
        raise ConfigError(f"public_url is {text!r}: {why}")
    return f"{parts.scheme}://{parts.netloc}"


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine and no other can mean it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_plain(netloc: str) -> bool:
    """Whether it can stand in a URL as it is: an international name is written in its ASCII form."""
    return netloc.isascii() and netloc.isprintable() and " " not in netloc
