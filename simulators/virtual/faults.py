"""Faults for virtual calls: steps that raise, values that are poisoned, sessions and tasks that are killed, and lag.

They are put in from outside, by a loop of the test's own; the engine knows nothing of them. What raises is decided by
the message's identity, so that a message that always raises does so in whichever core, or actor, meets it.
"""

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import trio

from engine.actors import pacer, tts, twilio_io
from engine.codec.reply import Reply
from engine.loop import Kind, Loop
from engine.mailbox import Core, Envelope
from engine.messages.caller import CallerAudio
from engine.messages.conversation import CallerSaid
from engine.messages.turns import BargedIn
from engine.wiring import Port
from simulators.virtual.vendors import VirtualRecogniser, VirtualVoice

if TYPE_CHECKING:
    from engine.call import Call

ALWAYS = 1_000_000


class InjectedError(Exception):
    """A fault that a test put in."""


@attrs.define(kw_only=True)
class Raise:
    """The step with the `nth` message of a kind raises, `times` in a row, and so do those with the `more` after it.

    everywhere: the message raises in every actor that it comes to.
    """

    actor: str
    message: type
    nth: int = 0
    times: int = 1
    more: int = 0
    everywhere: bool = False
    kind: Kind = Kind.MESSAGE
    fired_at: float | None = attrs.field(init=False, default=None)
    _met: int = attrs.field(init=False, default=0)
    _left: dict[int, int] = attrs.field(init=False, factory=dict)
    _known: list[object] = attrs.field(init=False, factory=list)  # keeps identities from being used again

    def before(self, loop: "VirtualLoop", kind: Kind, message: object, now: float) -> None:
        """Raise if this is the step."""
        if kind is not self.kind or type(message) is not self.message:
            return
        here = loop.cell.name == self.actor
        # Each tick is a new one; a message stays the same object however often it is met.
        key = 0 if kind is Kind.TICK else id(message)
        if here and key not in self._left and not any(message is each for each in self._known):
            self._met += 1
            if self.nth < self._met <= self.nth + 1 + self.more:
                self._left[key] = self.times
                self._known.append(message)
        if (here or self.everywhere) and self._left.get(key, 0) > 0:
            self._left[key] -= 1
            self.fired_at = now
            raise InjectedError(self.message.__name__)

    def after(self, loop: "VirtualLoop", message: object) -> None:
        """Nothing follows."""

    def woken(self, loop: "VirtualLoop") -> None:
        """Nothing follows."""


@attrs.define(kw_only=True)
class Poison:
    """After the step with the `nth` message, a value in the actor's core is broken; `variety` says which."""

    actor: str
    nth: int
    variety: int
    fired_at: float | None = attrs.field(init=False, default=None)
    _met: int = attrs.field(init=False, default=0)

    def before(self, loop: "VirtualLoop", kind: Kind, message: object, now: float) -> None:
        """Nothing raises yet."""

    def after(self, loop: "VirtualLoop", message: object) -> None:  # noqa: ARG002 - any will do
        """Break the core."""
        if loop.cell.name != self.actor or self.fired_at is not None:
            return
        self._met += 1
        if self._met > self.nth:
            poisons = POISONS[self.actor]
            loop.cell.core = poisons[self.variety % len(poisons)](loop.cell.core)
            self.fired_at = loop.cell.clock()

    def woken(self, loop: "VirtualLoop") -> None:
        """Nothing follows."""


@attrs.define(kw_only=True)
class CancelLoop:
    """The actor's task is cancelled at the checkpoint of its `nth` wake-up, the message in hand or not."""

    actor: str
    nth: int
    fired_at: float | None = attrs.field(init=False, default=None)
    _met: int = attrs.field(init=False, default=0)

    def before(self, loop: "VirtualLoop", kind: Kind, message: object, now: float) -> None:
        """Nothing raises."""

    def after(self, loop: "VirtualLoop", message: object) -> None:
        """Nothing follows."""

    def woken(self, loop: "VirtualLoop") -> None:
        """Cancel."""
        if loop.cell.name != self.actor or self.fired_at is not None:
            return
        self._met += 1
        if self._met > self.nth:
            self.fired_at = loop.cell.clock()
            assert loop.call is not None
            loop.call.actors[self.actor].cancel("loop")


@attrs.define(kw_only=True)
class CancelLoopAt:
    """The actor's task is cancelled `at_s`, wherever it stands."""

    actor: str
    at_s: float
    fired_at: float | None = attrs.field(init=False, default=None)

    def strike(self, call: "Call") -> None:
        """Cancel."""
        if call.actors[self.actor].children():
            self.fired_at = self.at_s
            call.actors[self.actor].cancel("loop")


@attrs.define(kw_only=True)
class KillSession:
    """The session of "stt" or "tts" is killed `at_s`, or as soon after it as the caller pauses."""

    actor: str
    at_s: float
    fired_at: float | None = attrs.field(init=False, default=None)

    def strike(self, call: "Call") -> None:
        """Kill."""
        if len(call.actors[self.actor].children()) > 1:
            self.fired_at = call.clock()
            call.actors[self.actor].cancel("session")


@attrs.define(kw_only=True)
class Outage:
    """The vendor of "stt" or "tts" breaks off `at_s` and lets nobody in for `lasts_s`."""

    actor: str
    at_s: float
    lasts_s: float
    fired_at: float | None = attrs.field(init=False, default=None)

    def strike(self, call: "Call") -> None:
        """Shut the door."""
        vendor = (call.plan.recognisers if self.actor == "stt" else call.plan.voices)[0]
        assert isinstance(vendor, VirtualRecogniser | VirtualVoice)
        vendor.door.shut_until = trio.current_time() + self.lasts_s
        if len(call.actors[self.actor].children()) > 1:
            self.fired_at = call.clock() + self.lasts_s
            call.actors[self.actor].cancel("session", "the vendor is away")


LoopFault: TypeAlias = Raise | Poison | CancelLoop
TimedFault: TypeAlias = CancelLoopAt | KillSession | Outage
Fault: TypeAlias = LoopFault | TimedFault


@attrs.define(eq=False)
class VirtualLoop(Loop):
    """The engine's loop with lag in its wake-ups and faults in its steps.

    most_lag_s: each second wake-up takes up to that long. spike_s: one in two hundred takes that long.
    """

    call: "Call | None" = None
    dice: random.Random = attrs.field(factory=random.Random)
    most_lag_s: float = 0.0
    spike_s: float = 0.0
    faults: tuple[LoopFault, ...] = ()
    # How long a barge-in has lain in the mailbox, at most.
    longest_barge_s: float = 0.0

    async def woken(self) -> None:
        """Lag; who is cancelled at its wake-up dies here, with the message in hand."""
        for fault in self.faults:
            fault.woken(self)
        lag_s = 0.0
        if self.most_lag_s and self.dice.random() < 0.5:  # noqa: PLR2004 - a coin
            lag_s = self.dice.random() * self.most_lag_s
        if self.spike_s and self.dice.random() < 0.005:  # noqa: PLR2004
            lag_s = self.spike_s
        if lag_s:
            await trio.sleep(lag_s)
        else:
            await trio.lowlevel.checkpoint()

    def compute(self, kind: Kind, message: object, now: float) -> tuple[Core, float, list[tuple[Port, object]]]:
        """Compute the step unless a fault says otherwise."""
        for fault in self.faults:
            fault.before(self, kind, message, now)
        return super().compute(kind, message, now)

    def commit(
        self,
        kind: Kind,
        envelope: Envelope | None,
        core: Core,
        deadline: float,
        outgoing: list[tuple[Port, object]],
    ) -> None:
        """Take the step; then, maybe, break what it left."""
        super().commit(kind, envelope, core, deadline, outgoing)
        for fault in self.faults:
            fault.after(self, envelope)
        if envelope is not None and isinstance(envelope.message, BargedIn):
            self.longest_barge_s = max(self.longest_barge_s, self.cell.clock() - envelope.put_at)


def _broken(**changes: Callable[[Any], object]) -> Callable[[Any], Any]:
    """Return what breaks fields of a core, each by a function of the core. Typed values become untyped on purpose."""

    def poison(core: Any) -> Any:  # noqa: ANN401 - a core of any actor
        return attrs.evolve(core, **{name: change(core) for name, change in changes.items()})

    return poison


_NO_AUDIO: Any = None

POISONS: Mapping[str, tuple[Callable[[Any], Any], ...]] = {
    "twilio_io": (
        _broken(run_s=lambda _: "soon"),
        _broken(voiced_s=lambda _: None, voice=lambda _: twilio_io.Voice.SPEAKING),
        _broken(heard_s=lambda _: None),
    ),
    "stt": (
        _broken(owed=lambda core: (CallerAudio(start_s=_NO_AUDIO, end_s=1e9, audio=_NO_AUDIO), *core.owed)),
        _broken(owed=lambda core: (*core.owed, None)),
        _broken(covered_s=lambda _: None),
    ),
    "turn_detector": (
        _broken(open=lambda _: None),
        _broken(turn_due=lambda _: "later"),
        _broken(sound=lambda _: None),
        _broken(draft=lambda _: None),
        _broken(floor=lambda _: None),
    ),
    "agent": (
        _broken(
            history=lambda core: attrs.evolve(
                core.history, entries=(*core.conversation, CallerSaid(turn=_NO_AUDIO, text="?"))
            )
        ),
        _broken(reply=lambda _: Reply(turn=_NO_AUDIO, again_at=-1.0)),
        _broken(answered=lambda _: None),
        _broken(wait=lambda core: attrs.evolve(core.wait, tools=_NO_AUDIO)),
    ),
    "tts": (
        _broken(pieces=lambda core: (tts.Piece(turn=_NO_AUDIO, index=0, text=_NO_AUDIO), *core.pieces)),
        _broken(pieces=lambda _: None),
        _broken(over=lambda _: None),
    ),
    "pacer": (
        _broken(replies=lambda core: (*core.replies, pacer.Reply(turn=_NO_AUDIO))),
        _broken(
            replies=lambda core: (
                pacer.Reply(turn=0, pieces=(pacer.Piece(index=0, text="?", audio=_NO_AUDIO),)),
                *core.replies,
            )
        ),
        _broken(buffer=lambda _: None),
        _broken(last=lambda _: "nothing", over=lambda _: None),
    ),
}
"""Broken values, by actor: some that `fresh` carries over and `bare` does not, some that break `fresh`, or both."""
