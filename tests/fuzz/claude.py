"""Claude's replies, mangled: event by event, as a stream, and as HTTP. Asked for by hand in a call, and in its turns.

The vendor is its strict simulator over streams in memory; what it answers is tampered with on its way.
"""

import json
import random
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import attrs
import httpx2
import trio
from trio.testing import memory_stream_pair

from engine.errands import Errands
from engine.messages.conversation import CallerSaid
from engine.messages.model import AskModel
from engine.providers.claude import ClaudeModel
from engine.reception import Team
from engine.settings import Tenant
from simulators.anthropic import INSTANT, AnthropicSimulator
from simulators.anthropic.memory import MemoryTransport
from simulators.anthropic.reply import Reply, UseTool
from simulators.anthropic.request import MessagesRequest
from simulators.virtual.script import PHRASES, Say, VirtualCaller, VirtualScript, answer, vocabulary_of_a_call
from tests.fuzz.forms import Verdict, of_claude
from tests.fuzz.mangling import MANGLINGS, Mangled
from tests.fuzz.rig import Desk, Line, Tally, is_named, new_sid, talk, team, until

WIRE: Final = "anthropic"
WIRE_IN_TURNS: Final = "anthropic, in a turn"
REPLIES_A_CALL: Final = 60
REPLY_S: Final = 60.0

Tamper = Callable[[httpx2.Response, bytes], httpx2.Response]


@attrs.define(eq=False)
class Tampering(httpx2.AsyncBaseTransport):
    """The way to the vendor: the next answer passes through `tamper`, the others as they are."""

    inner: httpx2.AsyncBaseTransport
    tamper: Tamper | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request."""
        response = await self.inner.handle_async_request(request)
        body = await response.aread()
        await response.aclose()
        tamper, self.tamper = self.tamper, None
        if tamper is not None:
            return tamper(response, body)
        return answered(response.status_code, dict(response.headers), [body])

    async def aclose(self) -> None:
        """Close what is below."""
        await self.inner.aclose()


@attrs.frozen
class _Pieces(httpx2.AsyncByteStream):
    """A body in pieces; one that is an exception breaks it off."""

    pieces: list[bytes | Exception]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await trio.lowlevel.checkpoint()
            if isinstance(piece, Exception):
                raise piece
            yield piece


def answered(status: int, headers: dict[str, str], pieces: list[Any]) -> httpx2.Response:
    """Return an answer whose length is not told in advance."""
    told = {name: value for name, value in headers.items() if name not in {"content-length", "transfer-encoding"}}
    return httpx2.Response(status, headers=told, stream=_Pieces(pieces))


def mind(request: MessagesRequest) -> Reply:
    """Answer a caller's words as the judges of virtual calls expect it, what is asked by hand with two tool calls."""
    if request.last_user_text == BY_HAND:
        return Reply.of(
            "Let me see, one moment.", UseTool("find", {"day": "é", "n": [1, {"a": 2}]}), UseTool("book", {})
        )
    return Reply.of(answer(request.last_user_text))


BY_HAND: Final = "by hand"


@attrs.define(eq=False)
class ClaudeVictim:
    """A call whose mind is Claude."""

    nursery: trio.Nursery
    simulator: AnthropicSimulator = attrs.field(factory=lambda: AnthropicSimulator(mind=mind, latency=INSTANT))
    way: Tampering = attrs.field(init=False)
    model: ClaudeModel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        async def connect() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, its = memory_stream_pair()
            self.nursery.start_soon(self.simulator.serve_stream, its)
            return ours

        self.way = Tampering(MemoryTransport(connect))
        self.model = ClaudeModel(base_url="http://anthropic.test", api_key="sk-secret", transport=self.way)

    def team(self, tenant: Tenant) -> Team:
        """Return who serves it."""
        return team(tenant, model=self.model)


# ── what is done to an answer ─────────────────────────────────────────────────────────────────────────────────────────


def _split(body: bytes) -> list[bytes]:
    """Return the events of a stream, each with its blank line."""
    return [event + b"\n\n" for event in body.split(b"\n\n")[:-1]]


def _mangle_event(events: list[bytes], dice: random.Random, how: str) -> None:
    """Mangle the data of one event."""
    at = dice.randrange(len(events))
    head, _, data = events[at].partition(b"data: ")
    broken = MANGLINGS[how](data.decode().strip(), dice)
    raw = broken if isinstance(broken, bytes) else broken.encode(errors="replace")
    events[at] = head + b"data: " + raw + b"\n\n"


def _rearrange(events: list[bytes], dice: random.Random, how: str) -> None:
    at, other = dice.randrange(len(events)), dice.randrange(len(events))
    match how:
        case "event dropped":
            del events[at]
        case "event twice":
            events.insert(other, events[at])
        case "events swapped":
            events[at], events[other] = events[other], events[at]
        case "events shuffled":
            dice.shuffle(events)
        case "event without a name":
            events[at] = events[at].partition(b"\n")[2]
        case "event without data":
            events[at] = events[at].partition(b"\n")[0] + b"\n\n"
        case "event of another name":
            name = dice.choice((b"weather", b"", b"message_stop", b"error", b"content_block_stop", b"ping", b"\xff"))
            events[at] = b"event: " + name + b"\n" + events[at].partition(b"\n")[2]
        case "stray lines":
            events.insert(at, dice.choice((b": note\n\n", b"\n\n\n", b"data\n\n", b"id: 7\nretry: 1\n\n", b"\xff\n\n")))
        case "error in the middle":
            kind = dice.choice(("overloaded_error", "api_error", "authentication_error", "x" * 1000, ""))
            error: dict[str, Any] = {"type": kind, "message": dice.choice(("no", "", "x" * 100_000, "\x00"))}
            events.insert(at, f"event: error\ndata: {json.dumps({'type': 'error', 'error': error})}\n\n".encode())
        case "endless text":
            delta = {"index": 0, "delta": {"type": "text_delta", "text": "x" * 70_000}}
            flood = f"event: content_block_delta\ndata: {json.dumps(delta)}\n\n".encode()
            events[3:3] = [flood] * dice.choice((2, 70))
        case _:
            raise AssertionError(how)


ARRANGEMENTS: Final = (
    "event dropped", "event twice", "events swapped", "events shuffled", "event without a name", "event without data",
    "event of another name", "stray lines", "error in the middle", "endless text",
)  # fmt: skip
STREAMS: Final = ("stream cut", "stream's bits flipped", "stream broken off")
HTTP: Final = ("http: status", "http: content type", "http: encoding", "http: nothing")


@attrs.define
class Tampered:
    """What was done to one answer, once it has been done."""

    how: str
    seed: int
    body: bytes = b""
    verdict: Verdict = Verdict.BROKEN

    def __call__(self, response: httpx2.Response, body: bytes) -> httpx2.Response:
        """Tamper with an answer."""
        dice = random.Random(self.seed)
        status, headers = response.status_code, dict(response.headers)
        pieces: list[Any] = []
        if self.how in MANGLINGS or self.how in ARRANGEMENTS:
            events = _split(body)
            (_mangle_event if self.how in MANGLINGS else _rearrange)(events, dice, self.how)
            body = b"".join(events)
        elif self.how == "stream cut":
            body = body[: dice.randrange(len(body))]
        elif self.how == "stream's bits flipped":
            flipped = bytearray(body)
            for _ in range(dice.choice((1, 3, 30))):
                flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
            body = bytes(flipped)
        elif self.how == "stream broken off":
            body = body[: dice.randrange(len(body))]
            pieces = [dice.choice((httpx2.ReadError(""), httpx2.RemoteProtocolError("peer"), httpx2.ReadTimeout("")))]
        self.body, self.verdict = body, of_claude(body)
        if self.how == "http: status":
            status = dice.choice((204, 300, 302, 400, 401, 403, 404, 413, 418, 429, 451, 500, 502, 503, 529, 599))
            said = (
                b"",
                b"{}",
                b"[]",
                b"<html>",
                b"\xff",
                b'{"error": 7}',
                b'{"type":"error","error":{"type":5}}',
                body,
            )
            self.body, self.verdict = dice.choice(said), Verdict.BROKEN
        elif self.how == "http: content type":
            headers["content-type"] = dice.choice(("text/html", "application/json", "", "\x7f", "text/event-stream-x"))
            self.verdict = Verdict.SOUND if headers["content-type"].startswith("text/event-stream") else Verdict.BROKEN
        elif self.how == "http: encoding":
            headers["content-encoding"] = dice.choice(("gzip", "deflate"))
            self.verdict = Verdict.BROKEN
        elif self.how == "http: nothing":
            self.body, self.verdict = b"", Verdict.BROKEN
        size = dice.choice((1, 7, 100, 10**6)) if len(self.body) < 20_000 else 65_536
        cut = [self.body[at : at + size] for at in range(0, len(self.body), size)]
        return answered(status, headers, [*cut, *pieces])

    @property
    def broken(self) -> Mangled:
        """What was sent."""
        return Mangled(self.how, self.body)


def tampered(dice: random.Random, *, besides: tuple[str, ...] = ()) -> Tampered:
    """Return something to do to an answer."""
    hows = [how for how in (*MANGLINGS, *ARRANGEMENTS, *ARRANGEMENTS, *STREAMS, *STREAMS, *HTTP) if how not in besides]
    return Tampered(dice.choice(hows), dice.getrandbits(32))


# ── the attacks ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _judge(desk: Desk, tally: Tally, wire_name: str, done: Tampered, before: dict[str, int]) -> int:
    """Hold what was counted against what was done; return how often it was."""
    eyes = desk.eyes
    counted = eyes.counters()
    counted.subtract(before)
    failures = sum(each for name, each in counted.items() if name.startswith("vendor_failures anthropic request "))
    reasons = [line["reason"] for line in eyes.said("errand_failed")]
    tally.add(wire_name, done.how, counted=failures, named=reasons[0] if reasons else "")
    if failures != (done.verdict is not Verdict.SOUND) or failures != len(reasons):
        tally.complain(wire_name, done.broken, f"counted {failures} times, named {reasons}; it is {done.verdict.name}")
    others = {name: each for name, each in counted.items() if each and not name.startswith("vendor_failures")}
    if others:
        tally.complain(wire_name, done.broken, f"counted too: {others}")
    for reason in reasons:
        kind, _, why = reason.partition(": ")
        if kind not in {"ProviderDown", "ProviderRefused", "ProviderSlow"} or not is_named(why):
            tally.complain(wire_name, done.broken, f"named {reason!r}")
        if "secret" in reason:
            tally.complain(wire_name, done.broken, f"the key is in {reason!r}")
    for line in eyes.said("step_raised", "line_failed", "actor_stalled", "gave_up", "message_set_aside"):
        tally.complain(wire_name, done.broken, f"logged {line}")
    return failures


async def by_hand(desk: Desk, tally: Tally, dice: random.Random, victim: ClaudeVictim, total: int) -> None:
    """Ask for so many replies in calls, beside what their agents ask for."""
    for sent in range(0, total, REPLIES_A_CALL):
        line = Line(call_sid=new_sid())
        async with desk.calling(line):
            await trio.sleep(0.1)
            errands = desk.reception.calls[line.call_sid].errands
            for number in range(min(REPLIES_A_CALL, total - sent)):
                done = victim.way.tamper = tampered(dice)
                before = desk.eyes.counters()
                desk.eyes.logs.clear()
                request = f"{BY_HAND} {number}"
                errands.put(AskModel(request=request, turn=0, conversation=(CallerSaid(turn=1, text=BY_HAND),)))
                await until(partial(_is_over, errands, request), REPLY_S)
                _judge(desk, tally, WIRE, done, before)
                if not _is_over(errands, request):
                    tally.complain(WIRE, done.broken, f"it was not over after {REPLY_S:g} s")


def _is_over(errands: Errands, request: str) -> bool:
    return f"model {request}" not in errands._running


async def in_turns(desk: Desk, tally: Tally, dice: random.Random, victim: ClaudeVictim, total: int) -> None:
    """Have so many turns of callers answered by what is broken; the next attempt is whole."""
    for _ in range(total):
        line = Line(call_sid=new_sid())
        async with desk.calling(line):
            # What is sound and endless is a caller's to interrupt, and the virtual voice speaks no word of an hour.
            done = victim.way.tamper = tampered(dice, besides=("endless text", "huge", "strange text"))
            before = desk.eyes.counters()
            desk.eyes.logs.clear()
            script = VirtualScript(steps=(Say(words=("so", "be")),))
            caller = VirtualCaller(phone=line, script=script, vocabulary=vocabulary_of_a_call())
            await talk(caller)
            failures = _judge(desk, tally, WIRE_IN_TURNS, done, before)
            said = line.words()[len(PHRASES["greeting"].split()) :]
            if not said:
                tally.complain(WIRE_IN_TURNS, done.broken, "the caller heard nothing")
            elif (
                failures and caller.in_vain and said != PHRASES["apology"].split()
            ):  # what is refused is not asked again
                tally.complain(WIRE_IN_TURNS, done.broken, f"the caller heard {said}")
