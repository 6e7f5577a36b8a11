"""HTTP/1.1 on one stream: requests read whole, answers sent whole or piece by piece, and a client's leaving noticed.

Theory of operation. One request at a time, on a connection that is kept for the next. While an answer is under way,
another task reads: what comes is the next request's beginning, and an end is a client that has left, which cancels
the answer.
"""

import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final

import attrs
import h11
import trio

_RECEIVE_BYTES: Final = 65536
# What a stream raises once the other side is gone.
GONE: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.frozen(kw_only=True)
class HttpRequest:
    """One request, read whole. Header names are in lower case."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    too_large: bool = False

    def all_of(self, name: str) -> list[str]:
        """A header's values, in order."""
        return [value for each, value in self.headers if each == name]

    def first(self, name: str) -> str:
        """A header's first value, or ""."""
        return next(iter(self.all_of(name)), "")


class HttpAnswer:
    """The answer to one request: `whole`, or `begin`, `send` any number of times and `end`.

    One that is not ended is cut off: the connection is closed in the middle of it.
    gone: whether the client left before the end, which cancels whoever is answering.
    """

    def __init__(self, stream: trio.abc.Stream, connection: h11.Connection) -> None:
        self._stream = stream
        self._connection = connection
        self.gone = False

    async def whole(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """Answer in one piece."""
        head = h11.Response(status_code=status, headers=[*headers, ("content-length", str(len(body)))])
        await self._send(head, h11.Data(data=body), h11.EndOfMessage())

    async def begin(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of an answer of unknown length."""
        await self._send(h11.Response(status_code=status, headers=list(headers)))

    async def send(self, data: bytes) -> None:
        """Send some more of the body as one chunk, in a packet of its own."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """Say that the body is complete."""
        await self._send(h11.EndOfMessage())

    def reset(self) -> None:
        """Have the close of the connection be a reset instead of a farewell, where it is a socket's."""
        if isinstance(self._stream, trio.SocketStream):
            self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _send(self, *parts: h11.Event) -> None:
        data = b"".join(self._connection.send(part) or b"" for part in parts)
        try:
            await self._stream.send_all(data)
        except GONE:
            self.gone = True
            raise


Respond = Callable[[HttpRequest, HttpAnswer], Awaitable[bool]]


async def serve_http(
    stream: trio.abc.Stream, respond: Respond, *, keep_alive_s: float, largest_body_bytes: int
) -> None:
    """Answer a connection's requests until either side closes it; the stream is closed at the end.

    respond: answers one request, and says whether the connection may be kept for another.
    keep_alive_s: how long it is kept without one.
    largest_body_bytes: what is beyond is read and dropped.
    """
    connection = h11.Connection(h11.SERVER)
    try:
        while await _serve_one(stream, connection, respond, keep_alive_s, largest_body_bytes):
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        if connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await _refuse(stream, connection, error)
    except GONE:
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def _serve_one(
    stream: trio.abc.Stream, connection: h11.Connection, respond: Respond, keep_alive_s: float, largest_bytes: int
) -> bool:
    """Answer one request; return whether there may be another."""
    request: HttpRequest | None = None
    with trio.move_on_after(keep_alive_s):
        request = await _request(stream, connection, largest_bytes)
    if request is None:
        return False
    answer = HttpAnswer(stream, connection)
    kept = False
    async with trio.open_nursery() as nursery:

        def leave() -> None:
            answer.gone = True
            nursery.cancel_scope.cancel()

        nursery.start_soon(_watch, stream, connection, leave)
        try:
            kept = await respond(request, answer)
        except GONE:
            leave()
        nursery.cancel_scope.cancel()
    return kept and connection.our_state is h11.DONE and connection.their_state is h11.DONE


async def _request(stream: trio.abc.Stream, connection: h11.Connection, largest_bytes: int) -> HttpRequest | None:
    """Read one request; None if the client closed the connection instead."""
    head: h11.Request | None = None
    body = bytearray()
    size = 0
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(_RECEIVE_BYTES)))
            case h11.Request():
                head = event
            case h11.Data(data=data):
                size += len(data)
                if size <= largest_bytes:
                    body += data
            case h11.EndOfMessage():
                break
            case _:
                return None
    assert head is not None, "a body without a head"
    return HttpRequest(
        method=head.method.decode(),
        path=head.target.decode().partition("?")[0],
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers),
        body=bytes(body),
        too_large=size > largest_bytes,
    )


async def _watch(stream: trio.abc.Stream, connection: h11.Connection, leave: Callable[[], None]) -> None:
    """Read on while an answer is under way, until the client leaves."""
    with suppress(*GONE):
        while data := await stream.receive_some(_RECEIVE_BYTES):
            connection.receive_data(bytes(data))
    leave()


async def _refuse(stream: trio.abc.Stream, connection: h11.Connection, error: h11.RemoteProtocolError) -> None:
    """Answer what is not HTTP."""
    answer = HttpAnswer(stream, connection)
    headers = [("content-type", "text/plain"), ("connection", "close")]
    with suppress(*GONE):
        await answer.whole(error.error_status_hint, headers, str(error).encode())
