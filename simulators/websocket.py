"""What the vendors' simulators stand on: a port or a stream in memory, HTTP first, and a socket that may fail.

Theory of operation. A connection's first bytes are read up to the end of its HTTP head. What asks for no WebSocket is
a request like any other, and has its answer; else the bytes are given back, and trio-websocket reads them again. A
refusal is an HTTP answer too. An open socket is a `Conversation`, which ends by a verdict: `end` may be called by any
task, and the first call's code and reason are what the peer is told.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import attrs
import h11
import trio
import trio_websocket
from trio.testing import memory_stream_pair

from simulators.faults import Close, Fault, Garble, Stall

ServeStream: TypeAlias = Callable[[trio.abc.Stream], Awaitable[None]]

_LARGEST_HEAD_BYTES: Final = 65536
_LARGEST_BODY_BYTES: Final = 2**20
_LARGEST_MESSAGE_BYTES: Final = 16 * 2**20
# A client has this long to send the head of its request, and to answer a close.
_HEAD_S: Final = 10.0
_CLOSE_S: Final = 2.0
_ABNORMAL: Final = 1006
_GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


# ── where it listens ──────────────────────────────────────────────────────────────────────────────────────────────────


async def listen(
    serve_stream: ServeStream,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on TCP until cancelled. task_status: is given the base URL. Raises OSError for a port in use."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    task_status.started(f"ws://{host}:{listeners[0].socket.getsockname()[1]}")
    await trio.serve_listeners(serve_stream, listeners)


@asynccontextmanager
async def listening(serve_stream: ServeStream, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve on TCP while the context is open; it is the base URL."""
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[str]) -> None:
            await listen(serve_stream, host=host, port=port, task_status=task_status)

        yield await nursery.start(serve)
        nursery.cancel_scope.cancel()


def in_memory(nursery: trio.Nursery, serve_stream: ServeStream) -> trio.abc.Stream:
    """Return a client's end of a stream in memory, whose other end is served in the nursery."""
    ours, theirs = memory_stream_pair()
    nursery.start_soon(serve_stream, theirs)
    return ours


# ── HTTP, up to the handshake ─────────────────────────────────────────────────────────────────────────────────────────


class Parameter(NamedTuple):
    """One `name=value` of a URL's query."""

    name: str
    value: str


@attrs.frozen(kw_only=True)
class Request:
    """A request's head, and for one that is no handshake its body. Header names are in lower case."""

    method: str
    path: str
    query: tuple[Parameter, ...]
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=lambda body: f"<{len(body)} bytes>")

    def header(self, name: str) -> str | None:
        """A header's first value."""
        return next((value for each, value in self.headers if each == name), None)

    def parameters(self, name: str) -> list[str]:
        """A query parameter's values, in order."""
        return [each.value for each in self.query if each.name == name]

    @property
    def upgrades(self) -> bool:
        """Whether it asks for a WebSocket."""
        return (self.header("upgrade") or "").lower() == "websocket"


@attrs.frozen(kw_only=True)
class HttpAnswer:
    """An answer. pieces: what is sent of its body, each part as it comes; a whole body is one piece."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    pieces: AsyncGenerator[bytes, None] | bytes = b""

    @classmethod
    def json(cls, status: int, body: object, headers: tuple[tuple[str, str], ...] = ()) -> "HttpAnswer":
        """An answer in JSON."""
        return cls(
            status=status,
            headers=(("content-type", "application/json"), *headers),
            pieces=json.dumps(body, ensure_ascii=False).encode(),
        )


class _Unread(trio.abc.Stream):
    """A stream of which the first bytes were read, and are to be read again."""

    def __init__(self, stream: trio.abc.Stream, first: bytes) -> None:
        self._stream = stream
        self._first = first

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._first:
            await trio.lowlevel.checkpoint()
            first, self._first = self._first, b""
            return first
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def read_request(stream: trio.abc.Stream) -> tuple[Request, trio.abc.Stream] | None:
    """Read a request; return it with the stream from where the next reader has to begin. None: there was none to read.

    That is the handshake's first byte for a request that upgrades, and what follows the body for any other.
    """
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD_BYTES)
    first = b""
    head: Request | None = None
    body = b""
    with trio.move_on_after(_HEAD_S):
        try:
            while True:
                match http.next_event():
                    case h11.NEED_DATA:
                        data = bytes(await stream.receive_some())
                        first += data
                        http.receive_data(data)
                    case h11.Request() as event:
                        head = _head(event)
                        if head.upgrades:
                            return head, _Unread(stream, first)
                    case h11.Data(data=data) if len(body) <= _LARGEST_BODY_BYTES:
                        body += data
                    case h11.EndOfMessage() if head is not None:
                        return attrs.evolve(head, body=body), stream
                    case _:
                        return None
        except (h11.RemoteProtocolError, *_GONE):
            return None
    return None


def _head(event: h11.Request) -> Request:
    path, _, query = event.target.decode("latin-1").partition("?")
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return Request(
        method=event.method.decode("latin-1"),
        path=unquote(path),
        query=tuple(Parameter(_plain(name), _plain(value)) for name, _, value in pairs),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers),
    )


def _plain(text: str) -> str:
    return unquote(text.replace("+", " "))


async def answer_http(stream: trio.abc.Stream, answer: HttpAnswer) -> None:
    """Answer a request, or refuse a handshake, and close the connection."""
    head = f"HTTP/1.1 {answer.status} {'OK' if answer.status == 200 else 'Refused'}\r\n"  # noqa: PLR2004
    for name, value in answer.headers:
        head += f"{name}: {value}\r\n"
    head += "connection: close\r\n"
    try:
        if isinstance(answer.pieces, bytes):
            head += f"content-length: {len(answer.pieces)}\r\n\r\n"
            await stream.send_all(head.encode("latin-1") + answer.pieces)
        else:
            await stream.send_all(f"{head}transfer-encoding: chunked\r\n\r\n".encode("latin-1"))
            async with aclosing(answer.pieces) as pieces:
                async for piece in pieces:
                    await stream.send_all(b"%x\r\n%b\r\n" % (len(piece), piece))
            await stream.send_all(b"0\r\n\r\n")
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
    except _GONE:
        pass
    finally:
        await stream.aclose()


# ── the open socket ───────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Violation:
    """A rule of the vendor's that a client broke. connection: the number of it, from 0; refused ones count too."""

    at_s: float
    connection: int
    why: str


@attrs.frozen
class Verdict:
    """How a conversation ended: the code and reason of the simulator's close; None where the peer ended it."""

    code: int | None
    reason: str = ""


@attrs.define(eq=False)
class Conversation:
    """An open socket to one client.

    mangle: what becomes of each message on its way out; for those who want to see every one of them broken.
    sent: how many messages have gone out. verdict: how it ended, once it has.
    """

    connection: trio_websocket.WebSocketConnection
    faults: tuple[Fault, ...] = ()
    mangle: Callable[[str], str | bytes] | None = None
    sent: int = 0
    verdict: Verdict | None = None
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _struck: set[Fault] = attrs.field(factory=set)
    _stalled: bool = False
    _deaf: bool = False

    async def send(self, message: Mapping[str, object]) -> None:
        """Send a message, if nothing has gone wrong. Raises ConnectionClosed once the client has gone."""
        for fault in self.faults:
            if fault.after_messages is not None and self.sent >= fault.after_messages:
                await self.strike(fault)
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        await self._send(text if self.mangle is None else self.mangle(text))

    async def _send(self, message: str | bytes) -> None:
        if self._stalled:
            await trio.sleep_forever()
        await self.connection.send_message(message)
        self.sent += 1

    async def receive(self) -> str | bytes:
        """Return the client's next message. Raises ConnectionClosed once it has gone."""
        message = await self.connection.get_message()
        if self._deaf:
            await trio.sleep_forever()
        return message

    def end(self, code: int | None, reason: str = "") -> None:
        """End it now; what is under way is cancelled. A second verdict is ignored."""
        self.verdict = self.verdict or Verdict(code, reason)
        self._scope.cancel()

    async def strike(self, fault: Fault) -> None:
        """Have something go wrong now."""
        if fault in self._struck:
            return
        self._struck.add(fault)
        match fault:
            case Close(code=code, reason=reason):
                self.end(code, reason)
                await trio.lowlevel.checkpoint()
            case Stall(reads=reads):
                self._stalled, self._deaf = True, not reads
            case Garble(message=message):
                await self._send(message)

    async def run(self, body: Callable[[], Awaitable[None]]) -> None:
        """Converse until the body returns, a verdict falls or the client goes; then close the socket."""
        gone = False
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    for fault in self.faults:
                        if fault.after_messages is None:
                            nursery.start_soon(self._strike_later, fault)
                    await body()
                    nursery.cancel_scope.cancel()
        except* trio_websocket.ConnectionClosed:
            gone = True
        if gone and self.verdict is None:
            self.verdict = Verdict(None)
        verdict = self.verdict or Verdict(1000)
        self.verdict = verdict
        if verdict.code is not None and verdict.code != _ABNORMAL:
            with trio.move_on_after(_CLOSE_S):
                await self.connection.aclose(verdict.code, verdict.reason or None)

    async def _strike_later(self, fault: Fault) -> None:
        await trio.sleep(fault.after_s)
        await self.strike(fault)


async def accept(
    stream: trio.abc.Stream,
    converse: Callable[[trio_websocket.WebSocketConnection], Awaitable[None]],
    *,
    headers: tuple[tuple[str, str], ...] = (),
    subprotocol: str | None = None,
) -> None:
    """Shake hands over a stream whose request was read, converse, and close the stream."""
    try:
        async with trio.open_nursery() as nursery:
            request = None
            with trio.move_on_after(_HEAD_S):
                request = await trio_websocket.wrap_server_stream(
                    nursery, stream, max_message_size=_LARGEST_MESSAGE_BYTES
                )
            if request is not None:
                pairs = [(name.encode(), value.encode()) for name, value in headers]
                await converse(await request.accept(subprotocol=subprotocol, extra_headers=pairs))
            nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionClosed:
        pass  # the client went during the handshake
    finally:
        await trio.aclose_forcefully(stream)
