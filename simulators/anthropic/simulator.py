"""The Messages API as a server: takes requests, has a mind answer them, and keeps a record of all that came."""

import enum
import json
import random
from collections.abc import Iterator
from typing import Final

import attrs
import trio

from simulators.anthropic.cache import PromptCache
from simulators.anthropic.events import Event, Ids, Latency, events, message
from simulators.anthropic.http import HttpAnswer, HttpRequest, serve_http
from simulators.anthropic.minds import Mind, echo
from simulators.anthropic.reply import Break, How, Json, Refuse, Reply
from simulators.anthropic.request import LARGEST_BODY_BYTES, MessagesRequest, RefusedError, read

PING: Final[dict[str, Json]] = {"type": "ping"}
_PING_S: Final = 1.0


@attrs.frozen(kw_only=True)
class Wire:
    """How the bytes of a stream are cut and dressed; whatever it is, the events are the same.

    piece_bytes: the body goes out in chunks and packets of so many bytes, which cut through lines and characters alike;
        None has each event in one.
    crlf: lines end with CR LF.
    strange: what a client must ignore is there: comments, an event and a delta of unknown types, a second
        `message_delta`.
    """

    piece_bytes: int | None = None
    crlf: bool = False
    strange: bool = False


class Ending(enum.Enum):
    """How an answer ended."""

    UNDER_WAY = "not yet"
    COMPLETE = "to its last event"
    REFUSED = "with an error instead"
    BROKEN = "broken off, as the mind wanted it"
    CLIENT_LEFT = "the client closed the connection before the end"
    STOPPED = "the simulator was stopped"


@attrs.frozen(kw_only=True)
class Violation:
    """A request that was refused for what was wrong with it."""

    at_s: float
    status: int
    why: str
    body: bytes = attrs.field(repr=False)


@attrs.define(kw_only=True)
class Exchange:
    """A request that was accepted, and what became of its answer.

    came_at_s: on trio's clock. tokens: how many have been sent. over: set once there is an ending.
    late_s: how much later than due its latest event was sent: the simulator's own share of a client's wait.
    """

    request: MessagesRequest
    came_at_s: float
    ending: Ending = Ending.UNDER_WAY
    tokens: int = 0
    late_s: float = 0.0
    over: trio.Event = attrs.field(init=False, factory=trio.Event, repr=False)


@attrs.define(kw_only=True)
class AnthropicSimulator:
    """The Messages API.

    mind: what answers. keys: the valid ones; None takes any. betas: the names that `anthropic-beta` may hold.
    keep_alive_s: how long a connection without a request is kept.
    requests, violations: all that came, in order. connections: how many were opened.
    """

    mind: Mind = attrs.field(factory=echo)
    latency: Latency = Latency()
    wire: Wire = Wire()
    keys: frozenset[str] | None = None
    betas: frozenset[str] = frozenset()
    keep_alive_s: float = 60.0
    seed: int = 0
    requests: list[Exchange] = attrs.field(init=False, factory=list)
    violations: list[Violation] = attrs.field(init=False, factory=list)
    connections: int = attrs.field(init=False, default=0)
    _cache: PromptCache = attrs.field(init=False, factory=PromptCache)
    _ids: Ids = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._ids = Ids(random.Random(self.seed))  # noqa: S311 - they guard nothing

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on TCP until cancelled. task_status: is given the base URL. Raises OSError for a port in use."""
        listeners = await trio.open_tcp_listeners(port, host=host)
        task_status.started(f"http://{host}:{listeners[0].socket.getsockname()[1]}")
        await trio.serve_listeners(self.serve_stream, listeners)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either side closes it."""
        self.connections += 1
        await serve_http(stream, self._respond, keep_alive_s=self.keep_alive_s, largest_body_bytes=LARGEST_BODY_BYTES)

    async def _respond(self, http_request: HttpRequest, answer: HttpAnswer) -> bool:
        """Answer one request; return whether the connection is kept."""
        now = trio.current_time()
        headers = self._headers()
        try:
            request = read(http_request, keys=self.keys, betas=self.betas)
        except RefusedError as error:
            refusal = error.refusal
            self.violations.append(
                Violation(at_s=now, status=refusal.status, why=refusal.message, body=http_request.body)
            )
            await self._refuse(refusal, headers, answer)
            return True
        exchange = Exchange(request=request, came_at_s=now)
        self.requests.append(exchange)
        try:
            return await self._answer(exchange, headers, answer)
        finally:
            if exchange.ending is Ending.UNDER_WAY:
                exchange.ending = Ending.CLIENT_LEFT if answer.gone else Ending.STOPPED
            exchange.over.set()

    async def _answer(self, exchange: Exchange, headers: dict[str, str], answer: HttpAnswer) -> bool:
        reply = self.mind(exchange.request)
        if isinstance(reply, Refuse):
            exchange.ending = Ending.REFUSED
            await trio.sleep(reply.after_s)
            await self._refuse(reply, headers, answer)
            return True
        cost = self._cache.read(exchange.request, exchange.came_at_s)
        stream = events(reply, exchange.request, cost, self.latency, self._ids)
        if not exchange.request.stream:
            return await self._send_whole(exchange, list(stream), headers, answer)
        return await self._send_stream(exchange, reply, stream, headers, answer)

    async def _send_whole(
        self, exchange: Exchange, stream: list[Event], headers: dict[str, str], answer: HttpAnswer
    ) -> bool:
        await _until(exchange, stream[-1].due_s)
        exchange.tokens = stream[-1].tokens
        exchange.ending = Ending.COMPLETE
        await answer.whole(200, {**headers, "content-type": "application/json"}.items(), _json(message(stream)))
        return True

    async def _send_stream(
        self, exchange: Exchange, reply: Reply, stream: Iterator[Event], headers: dict[str, str], answer: HttpAnswer
    ) -> bool:
        """Send the events, each when it is due, or as many of them as come before the break."""
        broken = reply.broken
        if broken is not None and broken.after_tokens is None:
            await _until(exchange, self.latency.started_s)
            return await self._break(exchange, broken, headers, answer)
        await _until(exchange, self.latency.started_s)
        await answer.begin(
            200, {**headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}.items()
        )
        pinged = False
        for event in stream:
            await _until(exchange, event.due_s)
            if broken is not None and broken.after_tokens is not None and _is_beyond(event, broken.after_tokens):
                return await self._break(exchange, broken, headers, answer)
            await self._send(answer, event.data)
            exchange.tokens = event.tokens
            if not pinged and event.name in {"content_block_start", "message_delta"}:
                pinged = True
                await self._send(answer, PING)
        exchange.ending = Ending.COMPLETE  # a client may well leave at message_stop
        await answer.end()
        return True

    async def _break(self, exchange: Exchange, broken: Break, headers: dict[str, str], answer: HttpAnswer) -> bool:
        """Break an answer off; the connection is not kept."""
        match broken.how:
            case How.STALL:
                await trio.sleep_forever()
            case How.PINGS:
                while True:
                    await trio.sleep(_PING_S)
                    await self._send(answer, PING)
            case How.ERROR:
                refusal = Refuse(status=broken.error)
                await self._send(answer, _error(refusal, headers["request-id"]))
                await answer.end()
            case How.END:
                await answer.end()
            case How.RESET:
                answer.reset()
            case How.CUT:
                pass
        exchange.ending = Ending.BROKEN
        return False

    async def _refuse(self, refusal: Refuse, headers: dict[str, str], answer: HttpAnswer) -> None:
        headers = {**headers, **refusal.headers, "content-type": "application/json"}
        if refusal.retry_after_s is not None:
            headers["retry-after"] = str(refusal.retry_after_s)
        await answer.whole(refusal.status, headers.items(), _json(_error(refusal, headers["request-id"])))

    async def _send(self, answer: HttpAnswer, data: dict[str, Json]) -> None:
        """Send an event, cut and dressed as the wire wants it."""
        size = self.wire.piece_bytes
        for each in _strangely(data) if self.wire.strange else (data,):
            lines = f"event: {each['type']}\ndata: {json.dumps(each, ensure_ascii=False)}\n\n"
            if self.wire.strange:
                lines = f": comment\n{lines}"
            body = (lines.replace("\n", "\r\n") if self.wire.crlf else lines).encode()
            for at in range(0, len(body), size or len(body)):
                await answer.send(body[at : at + (size or len(body))])

    def _headers(self) -> dict[str, str]:
        return {
            "request-id": self._ids.make("req"),
            "anthropic-organization-id": "00000000-0000-4000-8000-000000000000",
            "anthropic-ratelimit-requests-limit": "4000",
            "anthropic-ratelimit-requests-remaining": "3999",
            "anthropic-ratelimit-requests-reset": "2026-11-21T00:00:00Z",
        }


async def _until(exchange: Exchange, due_s: float) -> None:
    """Wait until something of an answer is due, and keep how late that was noticed."""
    due = exchange.came_at_s + due_s
    await trio.sleep_until(due)
    exchange.late_s = max(exchange.late_s, trio.current_time() - due)


def _is_beyond(event: Event, after_tokens: int) -> bool:
    """Whether an event is the first that must not be sent. message_start always is."""
    return event.name != "message_start" and (event.tokens > after_tokens or event.name == "message_delta")


def _error(refusal: Refuse, request_id: str) -> dict[str, Json]:
    error: dict[str, Json] = {"type": refusal.type, "message": refusal.message}
    if refusal.error_code is not None:
        error["details"] = {"error_code": refusal.error_code}
    return {"type": "error", "error": error, "request_id": request_id}


def _strangely(data: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """An event among others that mean nothing to a client of today."""
    if data["type"] == "message_stop":
        yield {"type": "weather_report", "message": {"content": [{"text": "rain"}]}}
    if data["type"] == "message_delta":
        yield data
    yield data
    if data["type"] == "content_block_start":
        yield {"type": "content_block_delta", "index": data["index"], "delta": {"type": "mood_delta", "text": "sunny"}}


def _json(value: dict[str, Json]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
