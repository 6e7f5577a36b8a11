"""MediaDoor: the media WebSocket, a raw ASGI app beside Quart; each socket becomes a Line and is given to a call."""

from collections.abc import Awaitable, Callable
from enum import Enum, auto

import attrs
import structlog
import trio
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, Scope

from engine.messages.admission import Ticket
from web.door import MEDIA_PATH, FrontDoor
from web.transport import WriteDeadlineStream

# RFC 6455, section 7.4.1.
NORMAL_CLOSURE = 1000
GOING_AWAY = 1001
INTERNAL_ERROR = 1011

_MEDIA = MEDIA_PATH.encode()

log = structlog.get_logger()


class _Phase(Enum):
    OPEN = auto()
    CLOSED_HERE = auto()  # the close frame is out or on its way, the peer's answer has not been seen
    GONE = auto()  # nothing more will ever come


class Line:
    """One WebSocket to the phone network: text messages both ways. One task at a time may receive, any may send."""

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable, transport: WriteDeadlineStream) -> None:
        self._receive = receive
        self._send = send
        self._transport = transport
        self._phase = _Phase.OPEN
        self._receiving = trio.CancelScope()

    @property
    def refused(self) -> str:
        """Why the server reads no more of what the peer says, and has closed the connection; empty if it has not."""
        return self._transport.refused

    async def receive(self) -> str | bytes:
        """Return the next message whole: str of a text message, bytes of a binary one.

        Raises trio.EndOfChannel when the peer has gone, however it went, or `aclose` was called. Cancelled: loses
        nothing.
        """
        if self._phase is _Phase.OPEN:
            with trio.CancelScope() as self._receiving:  # aclose() ends it
                event = await self._receive()
                if event["type"] == "websocket.receive":
                    text = event["text"]
                    return text if text is not None else event["bytes"] or b""
                self._phase = _Phase.GONE
        else:
            await trio.lowlevel.checkpoint()
        raise trio.EndOfChannel("the line is closed")

    async def send(self, text: str) -> None:
        """Send one text message; always a checkpoint.

        Raises trio.BrokenResourceError when the peer has gone, has stopped reading for the write deadline, or `aclose`
        was called. Cancelled: the message went out whole or not at all.
        """
        if self._phase is _Phase.OPEN and not self._transport.broken:
            writes = self._transport.writes
            await self._send({"type": "websocket.send", "text": text, "bytes": None})
            if self._transport.writes > writes and not self._transport.broken:
                return
        # Without this, a loop that sends to nobody would never let another task run: Hypercorn drops the message and
        # returns at once.
        await trio.lowlevel.checkpoint()
        raise trio.BrokenResourceError("the line is closed")

    async def aclose(self, code: int = NORMAL_CLOSURE) -> None:
        """Send the close frame with `code`; the first call counts, later ones do nothing.

        Messages not yet received are dropped. The close frame goes out even when cancelled: it takes the write deadline
        at most.
        """
        if self._phase is _Phase.OPEN:
            self._phase = _Phase.CLOSED_HERE
            self._receiving.cancel()
            with trio.CancelScope(shield=True):
                await self._send({"type": "websocket.close", "code": code, "reason": None})
        await trio.lowlevel.checkpoint()

    async def drain(self, within_s: float) -> None:
        """Wait for the peer to take its leave, dropping what it still says; after `within_s` reset the connection.

        For the door alone, when nobody receives any longer. Hypercorn needs it: with its queue of messages full and
        nobody reading, it would never end the connection; and a socket closed with unread audio in it is reset, which
        may cost the peer the close frame and the last of the agent's words.
        """
        with trio.move_on_after(within_s):
            await self._until_gone()
        if self._phase is not _Phase.GONE:
            self._transport.abort()
            await self._until_gone()

    async def _until_gone(self) -> None:
        while self._phase is not _Phase.GONE:
            if (await self._receive())["type"] == "websocket.disconnect":
                self._phase = _Phase.GONE


@attrs.frozen
class MediaDoor:
    """An ASGI app that lets a WebSocket in, gives it to `answer` and closes it with 1000 when that returns.

    What bears no good signature, or no good token, gets 403 and a plain text, and is never accepted. An exception out
    of `answer` is logged and closes this socket alone, with 1011; a server that is going down closes with 1001.

    answer: the call, and whose it is. It owns the line until it returns.
    leave_s: seconds the peer has to answer the close frame. 1.0: a round trip to the other side of the world, twice.
    """

    door: FrontDoor
    answer: Callable[[Line, Ticket], Awaitable[None]]
    leave_s: float = 1.0

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "websocket"
        await receive()  # websocket.connect, always the first
        ticket = await self.door.admit(scope)
        if not isinstance(ticket, Ticket):
            self.door.refuse("media", ticket.value, scope)
            await _forbid(send, ticket.value)
            return
        with self.door.line(ticket.call_sid):
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
            line = Line(receive, send, scope["state"]["transport"])
            code = GOING_AWAY
            try:
                await self.answer(line, ticket)
                code = NORMAL_CLOSURE
            except* Exception:  # the door is where a call's death is judged: one must not be two
                code = INTERNAL_ERROR
                log.exception("line_failed", call_sid=ticket.call_sid, client=self.door.asker(scope).client)
            finally:
                if line.refused:
                    self.door.refuse("media", line.refused, scope, call_sid=ticket.call_sid)
                await line.aclose(code)
        await line.drain(self.leave_s)


async def _forbid(send: ASGISendCallable, why: str) -> None:
    body = f"{why}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send(
        {"type": "websocket.http.response.start", "status": 403, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "websocket.http.response.body", "body": body, "more_body": False})


def beside(app: ASGIFramework, media: ASGIFramework) -> ASGIFramework:
    """One ASGI app: WebSockets at MEDIA_PATH, and one below it, go to `media`, all else, lifespan too, to `app`."""

    async def front(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        to_media = scope["type"] == "websocket" and _is_media(scope["raw_path"])
        await (media if to_media else app)(scope, receive, send)

    return front


def _is_media(raw_path: bytes) -> bool:
    return raw_path == _MEDIA or raw_path.startswith(_MEDIA + b"/")
