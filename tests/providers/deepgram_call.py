"""A session of a recogniser of Deepgram's in virtual time: its actor, the vendor's end, and the vendor's nonsense.

What is particular to one of the two protocols is in its own tests.
"""

import copy
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any, Generic, TypeVar

import attrs
import trio
import trio.testing
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from engine.codec.telephony import FRAME_BYTES, FRAME_S, RATE_HZ
from engine.messages.errors import ProviderError
from engine.messages.recognition import Recognise, Recognised
from engine.providers.contract import Recogniser, RecogniserAsk
from engine.providers.socket import Address, Dial

KEY = "b4d0c0ffee5ec2e7"
LONGEST = 2**20

# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SECONDS = st.floats(0, 4000, width=32)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def times_of_words(least_s: float, most_s: float) -> st.SearchStrategy[list[tuple[float, float]]]:
    """Where up to three words begin and end, in order."""
    times = st.lists(st.floats(least_s, most_s), max_size=6).filter(lambda each: len(each) % 2 == 0).map(sorted)
    return times.map(lambda each: list(zip(each[::2], each[1::2], strict=True)))


def changed(message: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The message with one value changed, or taken out where the value is `...`."""
    *inner, last = (int(each) if each.isdigit() else each for each in path.split("."))
    at: Any = message
    for each in inner:
        at = at[each]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return message


VALUES: list[Any] = [None, True, -1, 0, 10**400, 1e308, "", "5", "\ud800", [], {}, [[]], {"a": 1}, [None], "x" * 5000]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, each in inner:
        yield from _paths(each, (*path, key))


@st.composite
def mangled(draw: st.DrawFn, good: Sequence[dict[str, Any]]) -> str | bytes:
    """One of the good messages, with some of its values changed or taken out, or cut, or in binary, or none at all."""
    message: Any = copy.deepcopy(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(_paths(message))))
        value = copy.deepcopy(draw(st.sampled_from(VALUES) | st.floats() | st.integers()))
        if not path:
            message = value
            break
        at = message
        for each in path[:-1]:
            at = at[each]
        if isinstance(at, dict) and draw(st.booleans()):
            del at[path[-1]]
        else:
            at[path[-1]] = value
    text = json.dumps(message)
    match draw(st.integers(0, 9)):
        case 0:
            return text[: draw(st.integers(0, len(text)))]
        case 1:
            return text.encode()
        case 2:
            return draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
        case _:
            return text


# ── a call ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Seam:
    """An actor's side of a session: what it asks, and what it is told, when.

    busy_s: how long the actor takes for each event.
    """

    asks: trio.MemorySendChannel[RecogniserAsk]
    _asked: trio.MemoryReceiveChannel[RecogniserAsk]
    told: list[tuple[float, Recognised]] = attrs.field(factory=list)
    opened_at: list[float] = attrs.field(factory=list)
    refusals: list[str] = attrs.field(factory=list)
    busy_s: float = 0.0

    @classmethod
    def new(cls) -> "Seam":
        return cls(*trio.open_memory_channel[RecogniserAsk](math.inf))

    def opened(self, *, aligned: bool = False) -> None:
        assert aligned, "it says when words were said"
        self.opened_at.append(trio.current_time())

    async def ask(self) -> RecogniserAsk:
        assert self.opened_at, "asked before it said that it is open"
        return await self._asked.receive()

    async def emit(self, event: Recognised) -> None:
        await trio.sleep(self.busy_s)
        self.told.append((round(trio.current_time(), 3), event))

    def refused(self, why: str) -> None:
        self.refusals.append(why)

    @property
    def texts(self) -> list[str]:
        return [event.text for _, event in self.told]

    @property
    def finals(self) -> list[str]:
        return [event.text for _, event in self.told if event.text and event.is_final]

    def keeps_to(self, least_s: float, most_s: float) -> None:
        """Assert that all it was told lies in that much of the call, in order, and that what is covered never falls."""
        covered = [event.covered_s for _, event in self.told]
        assert all(before <= after for before, after in pairwise(covered))
        for _, event in self.told:
            times = [event.start_s, event.end_s, *(at for each in event.words for at in (each.start_s, each.end_s))]
            assert all(least_s <= at <= most_s + 1e-6 for at in [*times, event.covered_s])
            assert event.start_s <= event.end_s
            assert all(each.start_s <= each.end_s for each in event.words)


@attrs.define(eq=False)
class VendorEnd:
    """The vendor's end: what it was sent, when, and what the test has it say. ended: the code of its close."""

    requests: list[WebSocketRequest] = attrs.field(factory=list)
    got: list[tuple[float, str | bytes]] = attrs.field(factory=list)
    connection: WebSocketConnection | None = None
    heard_bytes: int = 0
    ended: int | None = None

    async def serve(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            self.requests.append(request)
            self.connection = await request.accept(extra_headers=[(b"dg-request-id", b"r-1")])
            await self.opened()
            with suppress(ConnectionClosed):
                while True:
                    message = await self.connection.get_message()
                    self.got.append((round(trio.current_time(), 3), message))
                    self.heard_bytes += len(message) if isinstance(message, bytes) else 0
                    await self.answered(message)
            self.ended = self.connection.closed.code if self.connection.closed else None

    async def opened(self) -> None:
        """Say what comes first."""

    async def answered(self, message: str | bytes) -> None:
        """Say what there is to say to a message."""

    async def say(self, *messages: dict[str, Any] | str | bytes) -> None:
        assert self.connection is not None
        for each in messages:
            await self.connection.send_message(self.spelt(each) if isinstance(each, dict) else each)
        await trio.testing.wait_all_tasks_blocked()

    def spelt(self, message: dict[str, Any]) -> str:
        """A message as it is sent."""
        return json.dumps(message)

    async def close(self, code: int, reason: str | None = None) -> None:
        assert self.connection is not None
        await self.connection.aclose(code, reason)

    @property
    def heard_s(self) -> float:
        return self.heard_bytes / RATE_HZ

    @property
    def audio(self) -> bytes:
        return b"".join(each for _, each in self.got if isinstance(each, bytes))

    @property
    def sizes(self) -> list[int]:
        return [len(each) for _, each in self.got if isinstance(each, bytes)]

    @property
    def messages(self) -> list[tuple[float, str]]:
        return [(at, each) for at, each in self.got if isinstance(each, str)]


V = TypeVar("V", bound=VendorEnd)


@attrs.define(eq=False)
class Call(Generic[V]):
    """A session under way. ended: what it raised, when."""

    seam: Seam
    vendor: V
    ended: list[ProviderError] = attrs.field(factory=list)
    ended_at: float = math.nan
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def speak(self, lasting_s: float, *, from_s: float = 0.0, byte: bytes = b"\x10") -> None:
        """Have the caller heard, a frame every 20 ms."""
        await self.hear(byte * round(lasting_s * RATE_HZ), from_s=from_s)

    async def hear(self, audio: bytes, *, from_s: float = 0.0) -> None:
        for at in range(0, len(audio), FRAME_BYTES):
            await self.seam.asks.send(Recognise(start_s=from_s + at / RATE_HZ, audio=audio[at : at + FRAME_BYTES]))
            await trio.sleep(FRAME_S)

    async def hand_over(self, lasting_s: float, *, from_s: float) -> None:
        """Have the caller heard so long, all at once."""
        await self.seam.asks.send(Recognise(start_s=from_s, audio=b"\x10" * round(lasting_s * RATE_HZ)))
        await self.settle()

    async def settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()


def dial_to(stream: trio.abc.Stream) -> Dial:
    """Who is called is at the other end of this."""

    async def dial(_: Address) -> trio.abc.Stream:
        return stream

    return dial


@asynccontextmanager
async def calling(
    recogniser: Callable[[Dial], Recogniser],
    vendor: V,
    *,
    connect: Callable[[trio.Nursery], trio.abc.Stream] | None = None,
) -> AsyncIterator[Call[V]]:
    """A session of a call, which ends with the context, if it has not ended by itself.

    connect: has somebody else at the other end than the vendor, who takes a moment to answer.
    """
    call = Call(Seam.new(), vendor)

    async with trio.open_nursery() as nursery:
        if connect is None:
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(vendor.serve, theirs)
        else:
            ours = connect(nursery)  # type: ignore[assignment]  # any stream will do
        session = recogniser(dial_to(ours)).session

        async def serve() -> None:
            with call.scope:
                try:
                    await session(call.seam)
                except ProviderError as error:
                    call.ended.append(error)
            call.ended_at = trio.current_time()

        nursery.start_soon(serve)
        await trio.sleep(0 if connect is None else 0.2)
        await trio.testing.wait_all_tasks_blocked()
        yield call
        call.scope.cancel()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
