"""Injector: what strikes, and what it does to the connections and the loops of one call."""

import copy
import math
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from engine.faults import (
    ACTORS,
    CONNECTIONS,
    AnyFault,
    Delay,
    Drop,
    Duplicate,
    Failing,
    Fault,
    Garble,
    Kill,
    Mangling,
    Part,
    Raise,
    Refuse,
    SlowDrip,
    Stall,
    as_table,
)
from engine.faulty.report import Report
from engine.faulty.trigger import Trigger
from engine.messages.caller import SpeechStarted
from engine.messages.errors import ProviderDown, ProviderError, ProviderRefused, ProviderSlow
from engine.messages.model import AskModel, ModelFailed, ModelText
from engine.messages.playout import Playing, Stopped
from engine.messages.recognition import Recognised
from engine.messages.records import Counted
from engine.messages.reply import PlayNotice
from engine.messages.supervision import NEVER
from engine.messages.synthesis import Synthesised
from engine.messages.turns import BargedIn, TurnEnded
from engine.supervisor import leaf

FRAME_BYTES: Final = 160
"""A drip of audio: 20 ms."""

_FAILINGS: Final = {
    Failing.DOWN: ProviderDown,
    Failing.REFUSED: ProviderRefused,
    Failing.SLOW: ProviderSlow,
}


class InjectedError(Exception):
    """What a `Raise` raises: a bug's error, as far as anybody can tell."""


@attrs.define(eq=False)
class _Window:
    """A fault that lasts: from `since` until `until`, or for so many events. Seconds since the call opened."""

    fault: AnyFault
    since: float
    until: float
    left: float = NEVER

    def is_open(self, now: float) -> bool:
        """Whether it concerns what happens now."""
        return self.since <= now < self.until and self.left > 0


@attrs.define(eq=False)
class Injector:
    """All that goes wrong in one call. Told what passes; asked, wherever something can fail, whether it is to.

    clock: seconds since the call opened. kill_actor: cancels an actor's task; False where none lives.
    """

    faults: Sequence[AnyFault]
    seed: int
    report: Report
    clock: Callable[[], float]
    kill_actor: Callable[[str], bool]
    _dice: random.Random = attrs.field(init=False)
    _triggers: list[Trigger] = attrs.field(init=False)
    _links: "list[Link]" = attrs.field(init=False, factory=list)
    _windows: list[_Window] = attrs.field(init=False, factory=list)
    # Faults whose moment came while there was nothing to strike.
    _waiting: list[AnyFault] = attrs.field(init=False, factory=list)
    # By actor: steps that are to raise, and until when its loop stands still.
    _raises: Counter[str] = attrs.field(init=False, factory=Counter)
    _stalls: dict[str, float] = attrs.field(init=False, factory=dict)
    # Which of the caller's turns each of the engine's is.
    _turns: dict[int, int] = attrs.field(init=False, factory=dict)
    _changed: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.faults = [copy.copy(fault) for fault in self.faults]  # each its own, though one be given twice
        self._dice = random.Random(self.seed)  # noqa: S311 - so that it comes again
        self._triggers = [Trigger(fault, self._strike, self.clock) for fault in self.faults]

    # Moments.

    async def keep_time(self, opened_at: float) -> None:
        """Strike whenever a moment has come that time alone decides, until cancelled. opened_at: on trio's clock."""
        while True:
            self.look()
            due = min((each.due for each in self._triggers), default=NEVER)
            # The next float: the sum may be rounded down, and it would not be due then.
            with trio.move_on_at(math.nextafter(opened_at + due, math.inf)):
                await self._changed.wait()
            self._changed = trio.Event()

    def look(self) -> None:
        """Strike where a moment has come."""
        for trigger in self._triggers:
            trigger.look()

    def crossed(self, message: object) -> None:
        """Hear of a message on its way between two parts of the call."""
        now, report = self.clock(), self.report
        match message:
            case SpeechStarted(at_s=at_s):
                self._told(Part.WORDS, report.turns + 1, at_s)
            case TurnEnded(turn=number, text=text):
                report.turns += 1
                self._turns[number] = report.turns
                report.note(now, "caller", f"turn {report.turns}", text)
                self._told(Part.END, report.turns, now)
            case BargedIn():
                report.note(now, "caller", "broke in")
            case Playing(turn=number):
                turn = self._turns.get(number, 0)
                report.note(now, "agent", f"is heard, turn {turn}" if turn else "is heard")
                if turn:
                    self._told(Part.REPLY, turn, now)
            case Stopped():
                report.note(now, "agent", "is silent")
            case PlayNotice(clip=clip):
                report.note(now, "agent", f"is to say '{clip}'")
            case AskModel():
                self._passed("request")
            case ModelFailed(reason=reason):
                report.note(now, "llm", "failed", reason)
            case Counted(name=name, amount=amount):
                report.counted[name] = report.counted.get(name, 0.0) + amount
                report.note(now, "call", "counted", f"{name} {amount:g}")
            case _:
                pass

    def _told(self, part: Part, turn: int, at_s: float) -> None:
        for trigger in self._triggers:
            trigger.told(part, turn, at_s)
        self.look()
        self._changed.set()

    def _passed(self, what: str, *, link: "Link | None" = None, actor: str = "") -> None:
        for trigger in self._triggers:
            on = trigger.fault.on
            trigger.passed(what, here=on == actor or (link is not None and link.is_on(on)))
        self._changed.set()

    # Strikes.

    def _strike(self, fault: AnyFault) -> None:
        if fault.probability < 1.0 and self._dice.random() >= fault.probability:
            return
        now = self.clock()
        match fault:
            case Kill() if fault.on in ACTORS:
                if not self.kill_actor(fault.on):
                    self._waiting.append(fault)
                    return
            case Raise() if fault.on in ACTORS:
                self._raises[fault.on] += fault.in_a_row
            case Stall() if fault.on in ACTORS:
                self._stalls[fault.on] = now + fault.lasts_s
            case Kill() | Raise() | Stall(lasts_s=math.inf):
                link = next((each for each in reversed(self._links) if each.is_up and each.is_on(fault.on)), None)
                if link is None:
                    self._waiting.append(fault)
                    return
                link.struck(fault)
            case Mangling(lasts_s=lasts_s):
                window = _Window(fault, now, now + lasts_s) if lasts_s else _Window(fault, now, NEVER, left=1)
                self._windows.append(window)
                return  # it strikes when there is something to be mangled
            case _:
                self._windows.append(_Window(fault, now, now + fault.lasts_s))
                if isinstance(fault, Refuse):
                    for each in [link for link in self._links if link.is_on(fault.on)]:
                        each.break_off(_failure(fault, each.vendor, "broke off"))
        self._note(fault)

    def _note(self, fault: AnyFault, what: str = "") -> None:
        index = next(index for index, each in enumerate(self.faults) if each is fault)
        self.report.strikes[index] += 1
        told = {name: value for name, value in as_table(fault).items() if name not in {"kind", "on"}}
        why = ", ".join(f"{name} {value}" for name, value in told.items())
        self.report.note(self.clock(), "fault", f"{fault.kind} {fault.on}{what}", why)

    def _open(self, kind: type[Fault], link: "Link") -> list[_Window]:
        now = self.clock()
        found = [each for each in self._windows if isinstance(each.fault, kind) and each.is_open(now)]
        return [each for each in found if link.is_on(each.fault.on)]

    # Connections.

    def link_begun(self, link: "Link") -> None:
        """Hear that a connection is being opened."""
        self._links.append(link)

    def link_up(self, link: "Link") -> None:
        """Hear that a vendor has accepted a connection."""
        self.report.vendors[link.work].append(link.vendor)
        if link.work != "llm":
            self.report.note(self.clock(), link.vendor, f"connected for {link.work}")
        self._passed("session", link=link)
        fault = next((each for each in self._waiting if link.is_on(each.on)), None)
        if fault is not None and link.is_up:
            self._waiting.remove(fault)
            link.struck(fault)
            self._note(fault)

    def link_ended(self, link: "Link") -> None:
        """Hear that a connection is over."""
        self._links.remove(link)

    def refusal(self, link: "Link") -> Refuse | None:
        """Return the outage that a connection would meet now."""
        return next((each.fault for each in self._open(Refuse, link) if isinstance(each.fault, Refuse)), None)

    def stall(self, link: "Link") -> tuple[Stall, float] | None:
        """Return what stalls all connections like this one now, and how long it will."""
        now = self.clock()
        found = [(each.fault, each.until - now) for each in self._open(Stall, link) if isinstance(each.fault, Stall)]
        return max(found, key=lambda each: each[1], default=None)

    def delay_s(self, link: "Link", came_s: float) -> float:
        """Return how much later than it came something is to pass."""
        whose = [each for each in self._windows if each.since <= came_s < each.until and link.is_on(each.fault.on)]
        return sum(each.fault.by_s for each in whose if isinstance(each.fault, Delay))

    def drip_s(self, link: "Link") -> float:
        """Return the time between two drips; 0.0: there are none."""
        return max(
            (each.fault.by_s for each in self._open(SlowDrip, link) if isinstance(each.fault, SlowDrip)), default=0.0
        )

    def mangled(self, link: "Link", event: object) -> list[object]:
        """Return what becomes of an event."""
        what = _named(event)
        events = [event]
        for window in self._open(Mangling, link):
            fault = window.fault
            if not isinstance(fault, Drop | Duplicate | Garble) or (fault.what and fault.what != what):
                continue
            window.left -= fault.lasts_s == 0.0
            self._note(fault, f", {what or type(event).__name__}")
            match fault:
                case Drop():
                    events = []
                case Duplicate():
                    events = [*events, *events]
                case Garble():
                    link.garbled()
                    events = []
        return events

    def passed(self, link: "Link", event: object) -> None:
        """Hear that a vendor's event has reached the engine."""
        what = _named(event)
        if what:
            self._passed(what, link=link)

    # Actors.

    async def woken(self, actor: str) -> None:
        """Hold an actor up before its next step, as long as it is to be."""
        for fault in [each for each in self._waiting if each.on == actor]:
            self._waiting.remove(fault)
            self._strike_late(fault)
        if actor in self._stalls:
            try:
                await trio.sleep(max(0.0, self._stalls[actor] - self.clock()))
            finally:  # whoever is killed is free
                self._stalls.pop(actor, None)
        now = self.clock()
        delays = [each.fault for each in self._windows if each.fault.on == actor and each.is_open(now)]
        by_s = sum(each.by_s for each in delays if isinstance(each, Delay))
        if by_s:
            await trio.sleep(by_s)

    def _strike_late(self, fault: AnyFault) -> None:
        if self.kill_actor(fault.on):
            self._note(fault)

    def step(self, actor: str) -> None:
        """Raise InjectedError if the actor's step is to."""
        if self._raises[actor] > 0:
            self._raises[actor] -= 1
            raise InjectedError(f"a fault in {actor}")

    def stepped(self, actor: str) -> None:
        """Hear that an actor has taken a step."""
        self._passed("step", actor=actor)


@attrs.define(eq=False)
class Link:
    """One connection to a vendor, or one request: what passes from the vendor to the engine, passes here.

    work: "stt", "tts" or "llm". bad: told of a message that broke the protocol.
    """

    injector: Injector
    work: str
    vendor: str
    bad: Callable[[str], None] | None = None
    is_up: bool = attrs.field(init=False, default=False)
    _scope: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    # What ends it.
    _death: Exception | None = attrs.field(init=False, default=None)
    _stall: Stall | None = attrs.field(init=False, default=None)
    _dripped_at: float = attrs.field(init=False, default=-math.inf)

    def is_on(self, on: str) -> bool:
        """Whether a fault on `on` concerns it."""
        return on == self.vendor or CONNECTIONS.get(on) == self.work

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Hold it open. Raises what it dies of, never in a group."""
        self.injector.link_begun(self)
        found: BaseException | None = None
        try:
            with self._scope:
                await self._connecting()
                yield
        except* Exception as group:  # noqa: BLE001 - a nursery's group is taken off, nothing is swallowed
            found = leaf(group)  # raised below: what is raised in here comes out in a group of its own
        finally:
            self.is_up = False
            self.injector.link_ended(self)
        found = found or self._death
        if found is not None:
            raise found

    async def _connecting(self) -> None:
        injector = self.injector
        await self._stalled()
        await trio.sleep(injector.delay_s(self, injector.clock()))
        refusal = injector.refusal(self)
        if refusal is not None:
            await trio.sleep(refusal.answers_s)
            raise _failure(refusal, self.vendor, "lets nobody in")

    def up(self) -> None:
        """The vendor has accepted it."""
        self.is_up = True
        self.injector.link_up(self)

    def struck(self, fault: AnyFault) -> None:
        """A fault strikes it."""
        match fault:
            case Kill():
                self.break_off(_failure(fault, self.vendor, "broke off"))
            case Raise():
                self.break_off(InjectedError(f"a fault in the client of {self.vendor}"))
            case Stall():
                self._stall = fault
            case _:
                raise AssertionError(fault)

    def break_off(self, error: Exception) -> None:
        """End it. Only the first end counts."""
        if self._death is None:
            self._death = error
            self.is_up = False
            self._scope.cancel()

    def garbled(self) -> None:
        """Take note of a message that broke the protocol."""
        if self.bad is None:
            self.break_off(ProviderDown(f"{self.vendor} sent what is no whole reply, as a fault has it"))
        else:
            self.bad("garbled by a fault")

    async def let_through(self, came_s: float, event: object) -> list[object]:
        """Wait until an event that came `came_s` may pass, and return what becomes of it."""
        injector = self.injector
        due_s = came_s + injector.delay_s(self, came_s)
        if due_s > injector.clock():
            await trio.sleep(due_s - injector.clock())
        await self._stalled()
        return injector.mangled(self, event)

    async def dripped(self) -> None:
        """Wait for the next drip."""
        clock = self.injector.clock
        by_s = self.injector.drip_s(self)
        if by_s and clock() < self._dripped_at + by_s:
            await trio.sleep(self._dripped_at + by_s - clock())
        self._dripped_at = clock()

    def drips(self, event: object) -> list[object]:
        """Return an event in the pieces that it passes in."""
        if not isinstance(event, Synthesised) or not self.injector.drip_s(self):
            return [event]
        audio = event.audio
        pieces = [audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES)]
        # Words are named with what they end in, or later: with the last piece all are within what was sent.
        return [
            attrs.evolve(event, audio=piece, words=event.words if index == len(pieces) - 1 else ())
            for index, piece in enumerate(pieces)
        ]

    async def _stalled(self) -> None:
        """Wait while nothing comes; break off when the vendor's client would notice."""
        while (found := self._stalling()) is not None:
            fault, lasts_s = found
            if fault.noticed_s < lasts_s:
                await trio.sleep(fault.noticed_s)
                why = f"{self.vendor} gave no sign of life in {fault.noticed_s:g} s, as a fault has it"
                self.break_off(ProviderSlow(why))
            await trio.sleep(lasts_s)

    def _stalling(self) -> tuple[Stall, float] | None:
        return (self._stall, NEVER) if self._stall is not None else self.injector.stall(self)


def _named(event: object) -> str:
    """Return what an event is called, of `faults.EVENTS`; "" for one that nobody counts."""
    match event:
        case Recognised(text=text, is_final=is_final) if text:
            return "final" if is_final else "interim"
        case Synthesised():
            return "audio"
        case ModelText(text=text) if text:
            return "token"
        case _:
            return ""


def _failure(fault: Kill | Refuse, vendor: str, what: str) -> ProviderError:
    return _FAILINGS[Failing(fault.failing)](f"{vendor} {what}, as a fault has it", code=fault.code)
