"""A vendor's WebSocket, on a stream that we open and close ourselves.

Theory of operation. `open_socket` opens TCP and TLS, so that a wrong name, a refusal or a bad certificate is known at
once and by its name, and lays trio-websocket over the stream. All bytes pass through a `_Wire`: it keeps the head of
the answer to the handshake, gives each send a deadline, knows since when the peer has been listened to in vain, and is
closed when the context is left, whatever the protocol above it believes.

Two tasks run beside the body: trio-websocket's reader, and the watchdog that pings. Neither ever raises: what ends the
connection is told by the next `send` or `receive`. So what leaves the context is the body's own error, as it was
raised; the nursery's group around it is taken off.
"""

import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache, partial
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

import attrs
import h11
import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderRefused, ProviderSlow
from engine.tap import tap

# An answer to a handshake is not kept beyond this: h11 allows as much for a head, and its reason comes early.
_HEAD_BYTES: Final = 16 * 1024
# One read from the stream: most messages whole. The default of trio-websocket cuts a second of audio in three.
_READ_BYTES: Final = 16 * 1024
# Messages that wait for the body. Beyond, the peer waits: its bytes stay in the kernel.
_UNREAD_MESSAGES: Final = 32
# A vendor's own words are shown up to here.
_REASON_CHARS: Final = 200
# Parts of our headers shorter than this are no secrets ("Token", "1"); longer ones are cut out of what is shown.
_SECRET_CHARS: Final = 8
# A watchdog that woke this much later than it asked to was itself held up, and judges nobody.
_LATE_S: Final = 0.5

_ABNORMAL: Final = 1006
_TOO_BIG: Final = 1009
_SWITCHING: Final = 101
_CLIENT_ERRORS: Final = range(300, 500)
# The same request may be taken later: timeout, too early, too many.
_MENDED_BY_WAITING: Final = frozenset({408, 425, 429})


@attrs.frozen
class Address:
    """Where a vendor listens."""

    host: str
    port: int
    tls: bool

    @classmethod
    def of(cls, base_url: str) -> Self:
        """Return the address in a `base_url`, of which http and ws are one spelling.

        Raises `ConfigError` for anything beside scheme, host and port: paths are the vendor's own.
        """
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(f"base_url {base_url!r} cannot be read: {error}") from error
        tls = {"http": False, "ws": False, "https": True, "wss": True}.get(parts.scheme)
        if tls is None or not parts.hostname:
            raise ConfigError(f"base_url {base_url!r} needs a scheme (http, https, ws or wss) and a host")
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
            raise ConfigError(f"base_url {base_url!r} holds more than scheme, host and port")
        return cls(parts.hostname, port or (443 if tls else 80), tls)

    @property
    def netloc(self) -> str:
        """Host and port as a `Host` header has them: no port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


Dial: TypeAlias = Callable[[Address], Awaitable[trio.abc.Stream]]


@attrs.frozen(kw_only=True)
class SocketPolicy:
    """How long a vendor's socket is waited for.

    connect_s: name, TCP, TLS and handshake together. 3.0: vendors take 0.1 to 0.3; one lost SYN costs a second more.
    ping_s: between pings. 5.0: a dead peer is known within `ping_s + pong_s`, also while nothing is asked of it.
    pong_s: for an answer, or anything else, after a ping. 3.0: as long as Deepgram may stay silent while it hears.
    send_s: for the peer to take one message. 2.0: less than `pong_s`, so that who no longer reads is named so.
    close_s: for the peer to agree to a close. 0.5: by then the caller has gone, and nobody waits for what it says.
    longest_message_bytes: a longer one ends the connection; counted in characters where it is text. 1 MiB: a minute
        of audio in base64 is 640 KB.
    """

    connect_s: float = 3.0
    ping_s: float = 5.0
    pong_s: float = 3.0
    send_s: float = 2.0
    close_s: float = 0.5
    longest_message_bytes: int = 2**20


class SocketClosed(ProviderDown):
    """The peer closed the connection, or broke it off.

    close_code: the close frame's, None where there was none. reason: the peer's words, "" where there are none.
    """

    def __init__(self, text: str, *, close_code: int | None, reason: str) -> None:
        super().__init__(text, code="" if close_code is None else str(close_code))
        self.close_code = close_code
        self.reason = reason


@cache
def _public_tls() -> ssl.SSLContext:
    """Return the machine's own certificate authorities. Reading them takes 20 ms, once."""
    return ssl.create_default_context()


async def dial_tcp(address: Address, *, tls: ssl.SSLContext | None = None) -> trio.abc.Stream:
    """Return a connected stream, its TLS handshake done.

    tls: who is trusted, where that is not the machine's certificate authorities. Raises what the socket raises.
    """
    stream = await trio.open_tcp_stream(address.host, address.port)
    if not address.tls:
        return stream
    secure = trio.SSLStream(stream, tls or _public_tls(), server_hostname=address.host, https_compatible=True)
    async with AsyncExitStack() as undo:
        undo.push_async_callback(trio.aclose_forcefully, secure)
        await secure.do_handshake()
        undo.pop_all()
    return secure


class VendorSocket:
    """An open WebSocket. One task may receive; any number may send.

    headers: those of the vendor's answer to the handshake, names in lower case.
    """

    def __init__(self, connection: WebSocketConnection, wire: "_Wire", peer: "_Peer", policy: SocketPolicy) -> None:
        self._connection = connection
        self._wire = wire
        self._peer = peer
        self._policy = policy
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in connection.handshake_headers
        }

    async def send(self, message: str | bytes) -> None:
        """Send one message: text for a str, binary for bytes. A send that is cancelled half-way ends the connection.

        Raises `SocketClosed`, or `ProviderDown` when the peer no longer reads or answers.
        """
        tap(self._peer.vendor, "sent", message)
        try:
            await self._connection.send_message(message)
        except (ConnectionClosed, ProtocolError):
            raise self._ended() from None

    async def receive(self) -> str | bytes:
        """Return the next message; what had come before the end is still told. Nothing is lost when cancelled.

        Raises `SocketClosed`, or `ProviderDown` when the peer no longer reads or answers, or says too much at once.
        """
        try:
            message = await self._connection.get_message()
        except ConnectionClosed:
            raise self._ended() from None
        tap(self._peer.vendor, "received", message)
        return message

    async def aclose(self) -> None:
        """Close the connection, with the peer's agreement if that comes within `close_s`; even when cancelled."""
        with trio.move_on_after(self._policy.close_s, shield=True):
            await self._connection.aclose()
        await self._wire.abort()

    def _ended(self) -> ProviderDown:
        """Return what ended the connection."""
        if self._wire.failure:
            return ProviderDown(f"{self._peer} {self._wire.failure}")
        closed = self._connection.closed
        if closed is None or closed.code == _ABNORMAL:
            return SocketClosed(f"{self._peer} broke off the connection", close_code=None, reason="")
        if closed.code == _TOO_BIG and (closed.reason or "").startswith("Exceeded maximum message size"):
            longest = self._policy.longest_message_bytes
            return ProviderDown(f"{self._peer} sent a message of more than {longest} bytes")
        reason = self._peer.quoted(closed.reason or "")
        return SocketClosed(
            f"{self._peer} closed the connection with code {closed.code}: {reason or 'no reason given'}",
            close_code=closed.code,
            reason=reason,
        )

    async def watch(self) -> None:
        """Ping the peer until the connection ends, and end it when the peer stays silent. Runs beside the body.

        A pong is late only if the peer was listened to all the while: trio-websocket reads nothing, and so sees no
        pong, while messages wait for the body.
        """
        policy = self._policy
        while True:
            await trio.sleep(policy.ping_s)
            asked_at = trio.current_time()
            with trio.move_on_after(policy.pong_s) as waiting:
                try:
                    await self._connection.ping()
                except (ConnectionClosed, ProtocolError):
                    return
            if not waiting.cancelled_caught or trio.current_time() > asked_at + policy.pong_s + _LATE_S:
                continue
            await trio.lowlevel.checkpoint()  # what came in the same moment is read first
            listening_since = self._wire.listening_since
            if listening_since is not None and listening_since <= asked_at:
                await self._wire.give_up(f"did not answer a ping within {policy.pong_s:g} s")
                return


@asynccontextmanager
async def open_socket(  # noqa: PLR0913 - who, where, what for; the last two are for tests
    *,
    vendor: str,
    base_url: str,
    target: str,
    headers: Mapping[str, str],
    dial: Dial = dial_tcp,
    policy: SocketPolicy = SocketPolicy(),
) -> AsyncIterator[VendorSocket]:
    """Open a WebSocket at `target`, a path with its query, and close it when the context is left.

    Raises, on entering and never in a group: `ProviderDown` (no such name, refused, broken off, 5xx, 429, no WebSocket
    there), `ProviderSlow` (not open within `connect_s`), `ProviderRefused` (its certificate; any other 3xx or 4xx).
    Left with an error, the stream is closed at once; else, or when cancelled, the peer has `close_s` to agree.
    """
    address = Address.of(base_url)
    peer = _Peer(vendor, address, tuple(headers.values()))
    sent_headers = _encoded(peer, target, headers)
    deadline = trio.current_time() + policy.connect_s
    wire = _Wire(await _dialled(peer, address, dial, deadline, policy), policy.send_s)
    opening = _Opening(wire, address, target, sent_headers, policy)
    try:
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(opening.read)
                with trio.move_on_at(deadline):
                    await wire.settled.wait()
                if opening.connection is None:
                    raise _unopened(peer, wire, deadline, policy)
                wire.head = None
                vendor_socket = VendorSocket(opening.connection, wire, peer, policy)
                nursery.start_soon(vendor_socket.watch)
                async with _Goodbye(vendor_socket):
                    yield vendor_socket
            finally:
                opening.reading.cancel()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        error = _alone(group)
    else:
        return
    finally:
        await wire.abort()
    try:
        raise error  # after the `except`: its group is no part of the story
    finally:
        del error  # or it, its traceback and this frame keep each other alive


@attrs.frozen
class _Goodbye:
    """Says goodbye to the peer when the body is left, unless it was left because of an error."""

    vendor_socket: VendorSocket

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(_alone(error), trio.Cancelled):
            await self.vendor_socket.aclose()


@attrs.frozen
class _Peer:
    """Who is spoken to, for the text of errors; and what of ours must not be in it."""

    vendor: str
    address: Address
    header_values: tuple[str, ...] = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.vendor} at {self.address.netloc}"

    def quoted(self, text: str) -> str:
        """Return the peer's own words: short, on one line, and without the key, should it have sent that back."""
        secrets = {part for value in self.header_values for part in (value, *value.split())}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SECRET_CHARS:
                text = text.replace(secret, "***")
        text = " ".join(re.sub(r"[^\x20-\x7e\xa0-\uffff]", " ", text).split())
        return text if len(text) <= _REASON_CHARS else f"{text[:_REASON_CHARS]}..."


class _Wire(trio.abc.Stream):
    """A stream whose sends have a deadline, and of which it is known what it heard last.

    settled: set when the handshake is done, or can no longer be.
    head: the first bytes that the peer sent; None once they are of no more interest.
    listening_since: when the wait for bytes that is under way began; None while nobody reads.
    failure: why we gave the peer up, "" if we did not.
    """

    def __init__(self, stream: trio.abc.Stream, send_s: float) -> None:
        self._stream = stream
        self._send_s = send_s
        self.settled = trio.Event()
        self.head: bytearray | None = bytearray()
        self.listening_since: float | None = None
        self.failure = ""
        # Invariant: true while a message is on its way, and for ever after one that went half-way.
        self._half_sent = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`. Raises BrokenResourceError also when the peer does not take it within `send_s`."""
        if self._half_sent:
            raise trio.BrokenResourceError("an earlier message went half-way")
        self._half_sent = True
        with trio.move_on_after(self._send_s) as sending:
            await self._stream.send_all(data)
            self._half_sent = False
        if sending.cancelled_caught:
            await self.give_up(f"took no more bytes for {self._send_s:g} s")
            raise trio.BrokenResourceError(self.failure)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        self.listening_since = trio.current_time()
        data: bytes | bytearray = b""
        try:
            data = await self._stream.receive_some(max_bytes)
        finally:
            self.listening_since = None
            if not data:
                self.settled.set()
        if self.head is not None and len(self.head) < _HEAD_BYTES:
            self.head += data
        return data

    async def aclose(self) -> None:
        self.settled.set()
        await self._stream.aclose()

    async def abort(self) -> None:
        """Close the stream without a word, even when cancelled."""
        self.settled.set()
        with trio.CancelScope(shield=True):
            await trio.aclose_forcefully(self._stream)

    async def give_up(self, failure: str) -> None:
        """Close the stream because of the peer; who reads or sends is woken."""
        self.failure = self.failure or failure
        await self.abort()


@attrs.define(eq=False)
class _Opening:
    """A handshake, and the reader that it leaves behind.

    reading: ends the reader. It outlives a cancellation from outside, or nobody would hear the peer agree to the close.
    """

    wire: _Wire
    address: Address
    target: str
    headers: list[tuple[bytes, bytes]]
    policy: SocketPolicy
    connection: WebSocketConnection | None = None
    reading: trio.CancelScope = attrs.field(factory=partial(trio.CancelScope, shield=True))

    async def read(self) -> None:
        """Run trio-websocket's reader until the connection ends. Whatever the peer did, this only returns."""
        with self.reading:
            try:
                async with trio.open_nursery() as nursery:
                    # It waits for ever if the reader ends before the handshake does: `settled` tells of that.
                    self.connection = await wrap_client_stream(
                        nursery,
                        self.wire,  # type: ignore[arg-type]  # annotated with two kinds of stream; any serves
                        self.address.netloc,
                        self.target,
                        extra_headers=self.headers,
                        message_queue_size=_UNREAD_MESSAGES,
                        max_message_size=self.policy.longest_message_bytes,
                        receive_buffer_size=_READ_BYTES,
                    )
                    self.wire.settled.set()
            except* (HandshakeError, ConnectionClosed, ProtocolError, h11.ProtocolError):
                pass  # the head of the answer, or the connection's own state, says it better
            finally:
                self.wire.settled.set()


def _encoded(peer: _Peer, target: str, headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return headers as they are sent. Raises ProviderRefused, without a value: h11's own error would show the key."""
    for what, text in (("target", target), *((f"header {name!r}", value) for name, value in headers.items())):
        if not (text.isascii() and text.isprintable()) or (what == "target" and " " in text):
            raise ProviderRefused(f"{peer} cannot be asked: the {what} holds a character that http does not allow")
    return [(name.encode(), value.strip().encode()) for name, value in headers.items()]


async def _dialled(peer: _Peer, address: Address, dial: Dial, deadline: float, policy: SocketPolicy) -> trio.abc.Stream:
    """Return a stream to the peer. Raises ProviderError."""
    try:
        with trio.fail_at(deadline):
            return await dial(address)
    except trio.TooSlowError:
        raise ProviderSlow(f"{peer} could not be reached within {policy.connect_s:g} s") from None
    except socket.gaierror as error:
        raise ProviderDown(f"{peer} is a name that cannot be resolved: {error.strerror}") from error
    except UnicodeError as error:
        raise ProviderRefused(f"{peer} is no name of a host: {error}") from error
    except (OSError, trio.BrokenResourceError) as error:
        raise _undialled(peer, error) from error


def _undialled(peer: _Peer, error: Exception) -> ProviderError:
    """Return what kept us from a stream."""
    tls = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(tls, ssl.SSLCertVerificationError):
        return ProviderRefused(f"{peer} showed a certificate that does not hold: {tls.verify_message}")
    if isinstance(tls, ssl.SSLError):
        return ProviderDown(f"{peer} does not agree on tls: {tls.reason or tls}")
    if isinstance(error, trio.BrokenResourceError):
        return ProviderDown(f"{peer} broke off while tls was agreed")
    tried = error.__cause__.exceptions if isinstance(error.__cause__, BaseExceptionGroup) else (error,)
    reasons = {os.strerror(each.errno).lower() for each in tried if isinstance(each, OSError) and each.errno}
    return ProviderDown(f"{peer} cannot be reached: {', '.join(sorted(reasons)) or error}")


def _unopened(peer: _Peer, wire: _Wire, deadline: float, policy: SocketPolicy) -> ProviderError:
    """Return what kept the handshake from its end."""
    head = bytes(wire.head or b"")
    status, reason = _answer(head)
    if status is not None and status != _SWITCHING:
        text = f"{peer} refused the connection with {status}: {peer.quoted(reason) or 'no reason given'}"
        lasting = status in _CLIENT_ERRORS and status not in _MENDED_BY_WAITING
        return (ProviderRefused if lasting else ProviderDown)(text, code=str(status))
    if wire.failure:
        return ProviderDown(f"{peer} {wire.failure}")
    if trio.current_time() >= deadline:
        return ProviderSlow(f"{peer} did not open the connection within {policy.connect_s:g} s")
    if not head:
        return ProviderDown(f"{peer} broke off the handshake")
    return ProviderDown(f"{peer} does not speak websocket: {peer.quoted(head[:80].decode('latin-1'))}")


def _answer(head: bytes) -> tuple[int | None, str]:
    """Return status and reason of the answer to a handshake, as far as it came; no status for what is not HTTP."""
    parser = h11.Connection(h11.CLIENT)
    asked = [("Host", ""), ("Connection", "upgrade"), ("Upgrade", "websocket")]
    parser.send(h11.Request(method="GET", target="/", headers=asked))
    parser.send(h11.EndOfMessage())
    parser.receive_data(head)
    status, named, body = None, "", b""
    try:
        while isinstance(event := parser.next_event(), h11.Response | h11.InformationalResponse | h11.Data):
            if isinstance(event, h11.Data):
                body += event.data
            else:
                status = event.status_code
                named = dict(event.headers).get(b"dg-error", b"").decode("latin-1")
    except h11.RemoteProtocolError:
        pass  # what was read before still says something
    return status, named or body.decode(errors="replace")


def _alone(error: BaseException) -> BaseException:
    """Return the one error in nested groups, beside which only cancellations stand; several stay a group.

    Of several errors of the vendor's the first is enough: two tasks may see one end.
    """
    while isinstance(error, BaseExceptionGroup):
        cancelled, others = error.split(trio.Cancelled)
        if others is None:
            assert cancelled is not None
            error = cancelled.exceptions[0]
        elif len(others.exceptions) > 1 and not all(isinstance(each, ProviderError) for each in others.exceptions):
            return others
        else:
            error = others.exceptions[0]
    return error
