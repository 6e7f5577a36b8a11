"""Faulty: a call in which things go wrong as `engine.faults` says, on a virtual clock and on a live line alike.

Theory of operation. A call is opened with recognisers, voices and models, and runs on loops. Here each of the former is
wrapped at its contract, so that what a vendor says passes a *link* on its way and may be held, changed or cut there;
and the loops ask, at each step, whether it is theirs to fail. What passes is also what moments are judged by: a fault
becomes a `_Trigger`, which is told of turns, events and the time, and strikes when its moment has come. A call without
faults is made of none of this.
"""

import math
import random
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, Final, Self

import attrs
import trio

from engine.call import Call, Plan
from engine.faults import (
    ACTORS,
    CONNECTIONS,
    KINDS,
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
    hint,
)
from engine.loop import Kind, Loop, StepRaised
from engine.mailbox import Core
from engine.messages.caller import SpeechStarted
from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderRefused, ProviderSlow
from engine.messages.model import AskModel, ModelFailed, ModelText
from engine.messages.playout import Playing, Stopped
from engine.messages.recognition import Recognised
from engine.messages.records import Counted
from engine.messages.reply import PlayNotice
from engine.messages.synthesis import Synthesised
from engine.messages.turns import BargedIn, TurnEnded
from engine.providers.contract import (
    Model,
    ModelEvent,
    ModelRequest,
    Recogniser,
    RecogniserAsk,
    Seam,
    Voice,
    VoiceAsk,
    VoiceEvent,
)
from engine.supervisor import ChildExited, ChildStarted, ChildStopped, SupervisionEvent, leaf
from engine.trunk import Line
from engine.wiring import Edge, Port

NEVER: Final = math.inf

FRAME_BYTES: Final = 160
"""A drip of audio: 20 ms."""

MOST_HAPPENED: Final = 10_000
"""Lines of a report. A call of an hour in which something fails every second has fewer."""

REPORTS_KEPT: Final = 100
"""Calls whose faults wait to be struck, and whose reports wait to be fetched: each."""

_FAILINGS: Final = {
    Failing.DOWN: ProviderDown,
    Failing.REFUSED: ProviderRefused,
    Failing.SLOW: ProviderSlow,
}


class InjectedError(Exception):
    """What a `Raise` raises: a bug's error, as far as anybody can tell."""


# ── what happened ─────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Happened:
    """A line of a call's report: who, what, why, and when, in seconds since the call opened."""

    at_s: float
    who: str
    what: str
    why: str = ""


@attrs.define(eq=False, kw_only=True)
class Report:
    """What happened in a call with faults.

    happened: faults that struck, what supervisors saw and decided, connections, turns; in order.
    vendors: who held each kind of connection, by "stt", "tts", "llm": who was meant to, then one after another.
    counted: what the call's parts counted (`deaf_ms`, `lost_ms`, …), summed up. lost: messages dropped or set aside.
    strikes: how often each fault struck. ended: why the call ended; None while it goes on.
    """

    call_sid: str = ""
    seed: int = 0
    faults: tuple[AnyFault, ...] = ()
    happened: list[Happened] = attrs.field(factory=list)
    vendors: dict[str, list[str]] = attrs.field(factory=lambda: {work: [] for work in CONNECTIONS.values()})
    counted: dict[str, float] = attrs.field(factory=dict)
    lost: Mapping[str, int] = attrs.field(factory=dict)
    strikes: list[int] = attrs.field(default=attrs.Factory(lambda self: [0] * len(self.faults), takes_self=True))
    turns: int = 0
    ended: str | None = None
    ended_s: float = 0.0

    def note(self, at_s: float, who: str, what: str, why: str = "") -> None:
        """Write a line."""
        if len(self.happened) < MOST_HAPPENED:
            self.happened.append(Happened(at_s=round(at_s, 3), who=who, what=what, why=why))

    def restarts(self, actor: str) -> int:
        """Return how often the actor, its loop or its session was started again."""
        whose = (f"{actor}/", f"call/{actor}#")
        return sum(each.what == "ChildRestarted" and each.who.startswith(whose) for each in self.happened)

    def failed_over(self, work: str) -> str:
        """Return which vendor the last connection was with, for "stt", "tts" or "llm"; "" for the first in the list."""
        vendors = self.vendors[work]
        return vendors[-1] if vendors and vendors[-1] != vendors[0] else ""

    def unstruck(self) -> list[AnyFault]:
        """Return the faults that were certain to strike and did not: their moment never came, or nothing was there."""
        return [
            fault
            for fault, times in zip(self.faults, self.strikes, strict=True)
            if not times and fault.probability == 1.0
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            **attrs.asdict(self, filter=lambda field, _: field.name != "faults"),
            "faults": [as_table(fault) for fault in self.faults],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `as_json` was made of."""
        fields = {name: value for name, value in plain.items() if name not in {"faults", "happened"}}
        happened = [Happened(**each) for each in plain["happened"]]
        faults = tuple(
            KINDS[each["kind"]](**{k: v for k, v in each.items() if k != "kind"}) for each in plain["faults"]
        )
        return cls(**fields, faults=faults, happened=happened)

    def timeline(self) -> str:
        """Return what happened as lines of text."""
        return "\n".join(
            f"{each.at_s:8.3f} s  {each.who:<16} {each.what}{f': {each.why}' if each.why else ''}"
            for each in self.happened
        )


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class _Trigger:
    """Strikes when a fault's moment has come. A machine in plain code: `due` is the next time that it waits for.

    clock: seconds since the call opened.
    left: strikes that are still to come. Invariant: at 0 nothing moves it.
    """

    fault: AnyFault
    strike: Callable[[AnyFault], None]
    clock: Callable[[], float]
    left: int = attrs.field(init=False)
    due: float = attrs.field(init=False, default=NEVER)
    # In which of the caller's turns it waits for its moment; 0: in none.
    _turn: int = attrs.field(init=False)
    # What is still to be counted before it strikes; None: nothing is counted now.
    _counting: int | None = attrs.field(init=False, default=None)
    # Whether it has struck, and what follows goes by the clock.
    _ticking: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        moment = self.fault.moment
        self.left, self._turn = self.fault.times, moment.turn
        if not self._turn:
            self.due = moment.offset_s

    def told(self, part: Part, turn: int, at_s: float) -> None:
        """Hear that a turn's caller began or ended, or that its reply began, `at_s`."""
        moment = self.fault.moment
        again = self.fault.times > 1  # then a turn in which it never came is not waited for
        wanted = turn == self._turn or (again and turn > self._turn)
        if self.left and self._turn and wanted and part is moment.part and self.due == NEVER:
            self._turn = turn
            self.due = at_s + moment.offset_s

    def passed(self, what: str, *, here: bool) -> None:
        """Hear that one of `faults.COUNTED` has passed. here: it was of what the fault is on."""
        count = self.fault.count
        if self._counting is None or count is None or count.what != what:
            return
        if here or what not in {"session", "step"}:
            self._counting -= 1
            if not self._counting:
                self._strike()

    def look(self) -> None:
        """Do what is due."""
        if self.due > self.clock():
            return
        self.due = NEVER
        count = self.fault.count
        if count is not None and not self._ticking:
            self._turn, self._counting = 0, count.number
        else:
            self._strike()

    def _strike(self) -> None:
        self.left -= 1
        self._counting = None
        if self.left and self.fault.every_s:
            self._ticking = True
            self.due = self.clock() + self.fault.every_s
        elif self.left and self.fault.count is not None:
            self._counting = self.fault.count.number
        elif self.left:
            self._turn += 1
        self.strike(self.fault)


# ── what ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    _triggers: list[_Trigger] = attrs.field(init=False)
    _links: "list[_Link]" = attrs.field(init=False, factory=list)
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
        self._dice = random.Random(self.seed)  # noqa: S311 - so that it comes again
        self._triggers = [_Trigger(fault, self._strike, self.clock) for fault in self.faults]

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

    def _passed(self, what: str, *, link: "_Link | None" = None, actor: str = "") -> None:
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

    def _open(self, kind: type[Fault], link: "_Link") -> list[_Window]:
        now = self.clock()
        found = [each for each in self._windows if isinstance(each.fault, kind) and each.is_open(now)]
        return [each for each in found if link.is_on(each.fault.on)]

    # Connections.

    def link_begun(self, link: "_Link") -> None:
        """Hear that a connection is being opened."""
        self._links.append(link)

    def link_up(self, link: "_Link") -> None:
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

    def link_ended(self, link: "_Link") -> None:
        """Hear that a connection is over."""
        self._links.remove(link)

    def refusal(self, link: "_Link") -> Refuse | None:
        """Return the outage that a connection would meet now."""
        return next((each.fault for each in self._open(Refuse, link) if isinstance(each.fault, Refuse)), None)

    def stall(self, link: "_Link") -> tuple[Stall, float] | None:
        """Return what stalls all connections like this one now, and how long it will."""
        now = self.clock()
        found = [(each.fault, each.until - now) for each in self._open(Stall, link) if isinstance(each.fault, Stall)]
        return max(found, key=lambda each: each[1], default=None)

    def delay_s(self, link: "_Link", came_s: float) -> float:
        """Return how much later than it came something is to pass."""
        whose = [each for each in self._windows if each.since <= came_s < each.until and link.is_on(each.fault.on)]
        return sum(each.fault.by_s for each in whose if isinstance(each.fault, Delay))

    def drip_s(self, link: "_Link") -> float:
        """Return the time between two drips; 0.0: there are none."""
        return max(
            (each.fault.by_s for each in self._open(SlowDrip, link) if isinstance(each.fault, SlowDrip)), default=0.0
        )

    def mangled(self, link: "_Link", event: object) -> list[object]:
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

    def passed(self, link: "_Link", event: object) -> None:
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
                await trio.sleep(self._stalls[actor] - self.clock())
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


# ── where ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class _Link:
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


@attrs.define(eq=False)
class _FaultySeam:
    """A session's side of its actor, with faults between the two: `contract.Seam`."""

    seam: "Seam[Any, Any]"
    link: _Link
    _come_in: "trio.MemorySendChannel[tuple[float, object]]" = attrs.field(init=False)
    _come_out: "trio.MemoryReceiveChannel[tuple[float, object]]" = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Unbounded: what is held back here lies, in truth, on the vendor's side or in the network.
        self._come_in, self._come_out = trio.open_memory_channel[tuple[float, object]](math.inf)

    def opened(self, *, aligned: bool = False) -> None:
        self.seam.opened(aligned=aligned)
        self.link.up()

    async def ask(self) -> Any:  # noqa: ANN401 - a recogniser's or a voice's
        return await self.seam.ask()

    async def emit(self, event: object) -> None:
        await trio.lowlevel.checkpoint()
        self._come_in.send_nowait((self.link.injector.clock(), event))

    def refused(self, why: str) -> None:
        self.seam.refused(why)

    async def pump(self) -> None:
        """Move events on, in order, until cancelled."""
        link = self.link
        async for came_s, event in self._come_out:
            for each in await link.let_through(came_s, event):
                for piece in link.drips(each):
                    await link.dripped()
                    await self.seam.emit(piece)
                link.injector.passed(link, each)


async def _faulty_session(injector: Injector, work: str, vendor: "Recogniser | Voice", seam: "Seam[Any, Any]") -> None:
    link = _Link(injector, work, vendor.vendor, bad=seam.refused)
    async with link.alive():
        faulty = _FaultySeam(seam, link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faulty.pump)
            await vendor.session(faulty)
            nursery.cancel_scope.cancel()


@attrs.frozen(kw_only=True)
class FaultyRecogniser:
    """A recogniser that fails as it is told: `contract.Recogniser`."""

    injector: Injector
    inner: Recogniser

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve one call until cancelled."""
        await _faulty_session(self.injector, "stt", self.inner, seam)


@attrs.frozen(kw_only=True)
class FaultyVoice:
    """A voice that fails as it is told: `contract.Voice`."""

    injector: Injector
    inner: Voice

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    @property
    def voice(self) -> str:
        """The voice's name at the vendor."""
        return self.inner.voice

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve one call until cancelled."""
        await _faulty_session(self.injector, "tts", self.inner, seam)

    async def render(self, text: str) -> bytes:
        """Return `text` spoken. Clips are rendered before calls: no fault concerns them."""
        return await self.inner.render(text)


@attrs.frozen(kw_only=True)
class FaultyModel:
    """A model that fails as it is told: `contract.Model`."""

    injector: Injector
    inner: Model

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply to `request`."""
        link = _Link(self.injector, "llm", self.inner.vendor)
        async with link.alive(), self.inner.reply(request) as events:
            tokens = _FaultyTokens(link)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tokens.read, events)
                link.up()
                yield tokens
                nursery.cancel_scope.cancel()


class _FaultyTokens:
    """A reply as it comes, with faults in it. It is read as fast as it comes, so that a delay is no hiccup."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._come_in, self._come_out = trio.open_memory_channel[tuple[float, object]](math.inf)
        self._ready: list[object] = []

    async def read(self, events: AsyncIterator[ModelEvent]) -> None:
        """Take the vendor's events as they come."""
        clock = self._link.injector.clock
        with self._come_in:
            try:
                async for event in events:
                    self._come_in.send_nowait((clock(), event))
            except ProviderError as error:  # comes after what came before it
                self._come_in.send_nowait((clock(), error))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - a ModelEvent
        link = self._link
        while not self._ready:
            try:
                came_s, event = await self._come_out.receive()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
            if isinstance(event, Exception):
                raise event
            self._ready = await link.let_through(came_s, event)
        await link.dripped()
        event = self._ready.pop(0)
        link.injector.passed(link, event)
        return event


# ── the call ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class FaultyLoop(Loop):
    """The engine's loop, whose steps wait, stand still or raise as they are told."""

    injector: Injector | None = None

    async def woken(self) -> None:
        """Let others run between two steps; longer if a fault says so."""
        if self.injector is not None:
            await self.injector.woken(self.cell.name)
        await super().woken()

    def compute(self, kind: Kind, message: object, now: float) -> tuple[Core, float, list[tuple[Port, object]]]:
        """Compute the step unless a fault says otherwise."""
        if self.injector is None:
            return super().compute(kind, message, now)
        self.injector.step(self.cell.name)
        computed = super().compute(kind, message, now)
        self.injector.stepped(self.cell.name)
        return computed


@attrs.define(eq=False)
class FaultyCall(Call):
    """The engine's call, with faults in it, and a report of what happened.

    faults, seed: what goes wrong, and what chance is drawn from: the call's own backoffs too, if its plan has no seed.
    Raises ConfigError, when it is made, for a fault on a vendor that the call does not have.
    """

    loop_type: ClassVar[type[Loop]] = FaultyLoop

    faults: tuple[AnyFault, ...] = attrs.field(kw_only=True)
    seed: int = attrs.field(kw_only=True, default=0)
    report: Report = attrs.field(
        kw_only=True,
        default=attrs.Factory(
            lambda self: Report(call_sid=self.plan.call_sid, seed=self.seed, faults=self.faults), takes_self=True
        ),
    )
    injector: Injector = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        plan = self.plan
        check_vendors(self.faults, plan)
        self.injector = injector = Injector(self.faults, self.seed, self.report, self.clock, self._kill_actor)
        self.plan = attrs.evolve(
            plan,
            recognisers=tuple(FaultyRecogniser(injector=injector, inner=each) for each in plan.recognisers),
            voices=tuple(FaultyVoice(injector=injector, inner=each) for each in plan.voices),
            models=tuple(FaultyModel(injector=injector, inner=each) for each in plan.models),
            seed=self.seed if plan.seed is None else plan.seed,
        )
        for work, vendors in (("stt", plan.recognisers), ("tts", plan.voices), ("llm", plan.models)):
            self.report.vendors[work].append(vendors[0].vendor)
        super().__attrs_post_init__()
        for loop in self.loops.values():
            assert isinstance(loop, FaultyLoop), "a call with faults runs on loops that know of them"
            loop.injector = injector

    async def run(self) -> str:
        """Serve the call to its end and return why it ended."""
        self.injector.look()  # what is so from the beginning is so before anybody connects
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.injector.keep_time, self.opened_at)
            try:
                await super().run()
            finally:
                self.report.ended, self.report.ended_s = self.reason, round(self.clock(), 3)
                self.report.lost = self.counts()
                self.report.note(self.clock(), "call", "ended", self.reason)
                nursery.cancel_scope.cancel()
        return self.reason

    def _kill_actor(self, name: str) -> bool:
        supervisor = self.actors[name]
        alive = any(child.id == "loop" for child in supervisor.children())
        return alive and supervisor.cancel("loop", "killed by a fault")

    def _ports(self) -> dict[str, Callable[[Edge], Port]]:
        """Return the ports; what goes through some of them is what moments are judged by."""
        ports = super()._ports()
        return {reader: partial(self._seen, make) for reader, make in ports.items()}

    def _seen(self, make: Callable[[Edge], Port], edge: Edge) -> Port:
        port = make(edge)
        # Each of these has one reader that hears of it first; once is enough.
        if (edge.message, edge.reader) not in _TOLD_OF:
            return port

        def put(message: object) -> None:
            port(message)
            self.injector.crossed(message)

        return put

    def _event(self, event: SupervisionEvent) -> None:
        if not isinstance(event, ChildStarted | ChildExited | ChildStopped):
            told = {name: getattr(event, name, None) for name in ("reason", "after_s", "was", "now_on")}
            why = ", ".join(f"{name} {value}" for name, value in told.items() if value not in {None, ""})
            who = f"{event.supervisor}/{event.child}#{event.incarnation}"
            self.report.note(self.clock(), who, type(event).__name__, why)
        super()._event(event)

    def _raised(self, report: StepRaised) -> None:
        self.report.note(
            self.clock(), report.actor, "raised", f"{type(report.message).__name__}; {report.remedy.value}"
        )
        super()._raised(report)

    def _lost(self, name: str, edge: Edge, why: str) -> None:
        if why == "set aside":
            self.report.note(self.clock(), name, "set aside", str(edge))
        super()._lost(name, edge, why)


_TOLD_OF: Final = {
    (SpeechStarted, "turn_detector"),
    (TurnEnded, "agent"),
    (BargedIn, "agent"),
    (Playing, "turn_detector"),
    (Stopped, "turn_detector"),
    (PlayNotice, "pacer"),
    (AskModel, "model"),
    (ModelFailed, "agent"),
    (Counted, "log"),
}


def vendors_of(plan: Plan) -> set[str]:
    """Return the names of all who work for a call."""
    hears = {each.vendor for each in plan.recognisers}
    return hears | {each.vendor for each in plan.voices} | {each.vendor for each in plan.models}


def check_vendors(faults: Sequence[AnyFault], plan: Plan) -> None:
    """Raise ConfigError for a fault on what the call does not have."""
    known = (*ACTORS, *CONNECTIONS, *sorted(vendors_of(plan)))
    for index, fault in enumerate(faults):
        if fault.on not in known:
            raise ConfigError(f"fault[{index}].on: unknown place '{fault.on}'; {hint(fault.on, known)}")


@attrs.define(eq=False)
class FaultBoard:
    """Where faults are left for calls that are still to come, and reports of those that were, by call SID.

    vendors: whose names faults may be on. Both lists are bounded; what was there longest goes first.
    """

    vendors: tuple[str, ...]
    _orders: OrderedDict[str, tuple[tuple[AnyFault, ...], int]] = attrs.field(init=False, factory=OrderedDict)
    _reports: OrderedDict[str, Report] = attrs.field(init=False, factory=OrderedDict)

    def order(self, call_sid: str, faults: tuple[AnyFault, ...], seed: int) -> None:
        """Have these faults in the call of that SID when it comes."""
        self._orders[call_sid] = faults, seed
        _shorten(self._orders)

    def open(self, *, line: Line, plan: Plan) -> Call:
        """Return a call, with faults if any were ordered for it. Those that it cannot have are in its report."""
        order = self._orders.pop(plan.call_sid, None)
        if order is None:
            return Call(line=line, plan=plan)
        faults, seed = order
        report = Report(call_sid=plan.call_sid, seed=seed, faults=faults)
        self._reports[plan.call_sid] = report
        _shorten(self._reports)
        try:
            check_vendors(faults, plan)
        except ConfigError as error:  # whoever calls is served all the same
            report.note(0.0, "call", "goes without faults", str(error))
            report.ended = "without faults"
            return Call(line=line, plan=plan)
        return FaultyCall(line=line, plan=plan, faults=faults, seed=seed, report=report)

    def report(self, call_sid: str) -> Report | None:
        """Return the report of a call as far as it has come; None for one that had no faults."""
        return self._reports.get(call_sid)


def _shorten(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > REPORTS_KEPT:
        kept.popitem(last=False)
