"""A call with faults in it, and where faults are left for calls that are still to come."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import attrs
import trio

from engine.call import Call, Plan
from engine.faults import ACTORS, CONNECTIONS, AnyFault, hint
from engine.faulty.injector import Injector
from engine.faulty.report import Report
from engine.faulty.vendors import FaultyModel, FaultyRecogniser, FaultyVoice
from engine.loop import Kind, Loop, StepRaised
from engine.mailbox import Core
from engine.messages.caller import SpeechStarted
from engine.messages.errors import ConfigError
from engine.messages.model import AskModel, ModelFailed
from engine.messages.playout import Playing, Stopped
from engine.messages.records import Counted
from engine.messages.reply import PlayNotice
from engine.messages.turns import BargedIn, TurnEnded
from engine.supervisor import ChildExited, ChildStarted, ChildStopped, SupervisionEvent
from engine.trunk import Line
from engine.wiring import Edge, Port

REPORTS_KEPT: Final = 100
"""Calls whose faults wait to be struck, and whose reports wait to be fetched: each."""


@attrs.define(eq=False)
class FaultyLoop(Loop):
    """The engine's loop, whose steps wait, stand still or raise as they are told."""

    injector: Injector | None = None

    async def woken(self) -> None:
        """Wait as long as a fault says; who is killed dies here, with the message in hand."""
        if self.injector is not None:
            await self.injector.woken(self.cell.name)
            await trio.lowlevel.checkpoint()

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
