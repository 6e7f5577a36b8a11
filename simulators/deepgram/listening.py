"""A connection that was let in, whichever the protocol: audio waits until it is heard, messages until they are due."""

import heapq
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs
import trio

from simulators import tone
from simulators.audio import RATE_HZ
from simulators.deepgram.policy import DeepgramPolicy
from simulators.faults import Fault
from simulators.websocket import Conversation, Request, Verdict

Message: TypeAlias = Mapping[str, Any]
"""A JSON object on its way to a client."""

NOT_DECODABLE: Final = "DATA-0000"
IDLE: Final = (
    "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
)
SHOWN_CHARS: Final = 200


@attrs.frozen
class Said:
    """A message, and how late it is sent. in_order: whether it never overtakes the one before."""

    late_s: float
    message: Message
    in_order: bool = True


@attrs.define(kw_only=True, eq=False)
class Listening(ABC):
    """A connection that was let in.

    opened_at: on trio's clock. audio_bytes: how much was received.
    asked: the types of the text messages that came. sent: what was sent, in order.
    """

    blame: Callable[[str], None]
    number: int
    request: Request
    request_id: str
    policy: DeepgramPolicy
    conversation: Conversation
    opened_at: float = attrs.field(init=False, factory=trio.current_time)
    audio_bytes: int = attrs.field(init=False, default=0)
    asked: list[str] = attrs.field(init=False, factory=list)
    sent: list[Message] = attrs.field(init=False, factory=list)
    # When something last came that keeps an idle stream alive.
    _alive_at: float = attrs.field(init=False, factory=trio.current_time)
    # Why the end is on its way, "" if it is not.
    _closing: str = attrs.field(init=False, default="")
    _configuring: bool = attrs.field(init=False, default=False)
    # Audio that is not heard yet, and until when hearing what was before it takes.
    _backlog: list[bytes] = attrs.field(init=False, factory=list)
    _hears_at: float = attrs.field(init=False, default=0.0)
    # What is to be sent: when, in what order, what; a Verdict ends the stream.
    _outbox: list[tuple[float, int, Message | Verdict]] = attrs.field(init=False, factory=list)
    _order: "itertools.count[int]" = attrs.field(init=False, factory=itertools.count)
    _last_due: float = attrs.field(init=False, default=0.0)
    _stirred: trio.Event = attrs.field(init=False, factory=trio.Event)

    @property
    @abstractmethod
    def words(self) -> list[tone.HeardWord]:
        """The words that were made out, or GARBLED, with their times in the stream."""

    @property
    @abstractmethod
    def finals(self) -> list[str]:
        """The transcripts that were sent as final and are not empty."""

    @property
    def verdict(self) -> Verdict | None:
        """How it ended: None while it has not; its code is None where the client went without a close of ours."""
        return self.conversation.verdict

    async def strike(self, fault: Fault) -> None:
        """Have something go wrong now."""
        await self.conversation.strike(fault)

    async def run(self) -> None:
        """Serve the open socket."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            nursery.start_soon(self._hear)
            nursery.start_soon(self._watch)
            self._begin()
            while True:
                message = await self.conversation.receive()
                if isinstance(message, bytes):
                    self._take_audio(message)
                else:
                    self._take_text(message)

    # What a protocol does.

    def _begin(self) -> None:
        """Say what comes first, if anything."""
        self._stir()

    @abstractmethod
    def _hears(self, audio: bytes) -> list[Said]:
        """Hear audio, and return what is to be said to it."""

    @abstractmethod
    def _take_command(self, kind: object, rest: dict[str, Any], text: str) -> None:
        """Take a text message that comes in time."""

    @abstractmethod
    async def _watch(self) -> None:
        """Close the stream when it has been idle."""

    async def _heard(self) -> None:
        """Have go wrong what goes wrong once something was heard."""
        await trio.lowlevel.checkpoint()

    # What comes.

    def _take_audio(self, audio: bytes) -> None:
        if not audio:
            self.blame("an empty binary message")
            self.conversation.end(1008, NOT_DECODABLE)
            return
        if self._closing:
            self._blame_late(f"{len(audio)} bytes of audio")
            return
        if audio.startswith(b"{") and as_object(audio) is not None:
            self.blame(f"a text message in a binary frame: {audio[:SHOWN_CHARS]!r}")
        self._alive_at = trio.current_time()
        self.audio_bytes += len(audio)
        self._backlog.append(audio)
        self._stir()

    def _take_text(self, text: str) -> None:
        fields = as_object(text) or {}
        kind, rest = fields.get("type"), {name: value for name, value in fields.items() if name != "type"}
        self.asked.append(str(kind))
        if self._closing:
            self._blame_late(f"a message: {text[:SHOWN_CHARS]}")
            return
        self._take_command(kind, rest, text)

    # What it does with it.

    async def _hear(self) -> None:
        """Hear what was received, no faster than the policy allows."""
        while True:
            while not self._backlog:
                await self._stirring()
            await trio.sleep_until(self._hears_at)
            if self._backlog:
                self._hear_next()
                await self._heard()

    def _hear_next(self) -> None:
        audio = self._backlog.pop(0)
        self._hears_at = max(self._hears_at, trio.current_time()) + len(audio) / RATE_HZ / self.policy.ingest
        self._say(self._hears(audio))

    def _hear_all(self) -> None:
        while self._backlog:
            self._hear_next()

    # What goes out.

    def _say(self, said: list[Said]) -> None:
        for each in said:
            due = trio.current_time() + each.late_s
            if each.in_order:
                due = self._last_due = max(due, self._last_due)
            self._put(due, each.message)

    def _put(self, due: float, message: Message | Verdict) -> None:
        heapq.heappush(self._outbox, (due, next(self._order), message))
        self._stir()

    async def _send(self) -> None:
        """Send each message when it is due."""
        while True:
            while not self._outbox:
                await self._stirring()
            due, _, message = self._outbox[0]
            if due > trio.current_time():
                with trio.move_on_at(due):
                    await self._stirring()
                continue
            heapq.heappop(self._outbox)
            if isinstance(message, Verdict):
                self.conversation.end(message.code, message.reason)
                continue
            if message["type"] == "ConfigureSuccess":
                self._configuring = False
            if self.policy.strange:
                await self._send_now({"type": "Weather", "sky": "clear"})
            await self._send_now(message)
            self.sent.append(message)

    async def _send_now(self, message: Message) -> None:
        """Send a message as the protocol dresses it."""
        await self.conversation.send(message)

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = trio.Event()

    async def _stirring(self) -> None:
        await self._stirred.wait()

    def _blame_late(self, what: str) -> None:
        """Blame the client for what came after its own end; what crosses ours is nobody's fault."""
        if self._closing == "CloseStream":
            self.blame(f"{what} after CloseStream")


def as_object(text: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object, or None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def are_texts(value: object) -> bool:
    """Whether it is a list of strings."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
