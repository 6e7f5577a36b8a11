"""The supervisor against a plain model of Erlang/OTP's, and in a storm, over random failures."""

import math
from collections.abc import Awaitable, Callable
from typing import Literal, TypeAlias, TypeVar, TypeVarTuple

import attrs
import trio
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.policy import Backoff, RestartPolicy
from engine.supervisor import (
    PERMANENT,
    TEMPORARY,
    AutoShutdown,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    GaveUp,
    GaveUpError,
    Incarnation,
    RestartScheduled,
    RestartType,
    StartError,
    Strategy,
    SupervisionEvent,
    Supervisor,
)

SHUTDOWN_S = 1.0
WAIT_S = 0.25  # every backoff but the first: without jitter the model can tell the time
APART_S = 20.0  # between two things that befall the children; whatever follows from one is over before the next

Trigger: TypeAlias = Literal["crash", "return", "kill", "terminate", "restart"]
Line: TypeAlias = tuple[float, str, str, int]
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@attrs.frozen(kw_only=True)
class Script:
    """A child and how it fares: incarnation n starts as ``starts[n - 1]`` says and stops as ``stops[n - 1]``.

    A start goes well, raises or returns; a stop goes well, hangs or raises. What is not said goes well.
    """

    id: str
    restart: RestartType
    significant: bool
    starts: tuple[str, ...]
    stops: tuple[str, ...]

    def starting(self, number: int) -> str:
        return self.starts[number - 1] if number <= len(self.starts) else "well"

    def stopping(self, number: int) -> str:
        return self.stops[number - 1] if number <= len(self.stops) else "well"


@attrs.frozen(kw_only=True)
class Case:
    strategy: Strategy
    auto_shutdown: AutoShutdown
    intensity: int
    period_s: float
    scripts: tuple[Script, ...]
    triggers: tuple[tuple[str, Trigger], ...]


class Down(Exception):
    """The model's supervisor has ended: why."""


# ── the model ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class ModelChild:
    script: Script
    alive: bool = False
    number: int = 0
    streak: int = 0


@attrs.define
class Model:
    """OTP's supervisor, as its manual has it: one thing at a time, each to its end. It counts its own time."""

    case: Case
    now: float = 0.0
    log: list[Line] = attrs.field(factory=list)
    failed_at: list[float] = attrs.field(factory=list)
    children: list[ModelChild] = attrs.field(factory=list)

    def run(self) -> str:
        self.children = [ModelChild(script) for script in self.case.scripts]
        try:
            self.first_start()
            for index, (child_id, trigger) in enumerate(self.case.triggers, start=1):
                self.now = index * APART_S
                for child in [each for each in self.children if each.script.id == child_id]:
                    self.meet(child, trigger)
        except Down as down:
            self.stop(self.children)
            return str(down)
        self.now = (len(self.case.triggers) + 1) * APART_S
        self.stop(self.children)
        return "stopped"

    def first_start(self) -> None:
        for child in self.children:
            if not self.start(child):
                raise Down("start")

    def meet(self, child: ModelChild, trigger: Trigger) -> None:
        if trigger == "restart":
            if not child.alive and not self.start(child):
                self.failed(child)
            return
        if not child.alive:
            return
        if trigger == "terminate":
            self.stop([child])
            return
        child.alive = False
        self.write("ends", child)
        restart = child.script.restart
        if restart is TEMPORARY or (trigger == "return" and restart is not PERMANENT):
            self.forget_temporary()
            self.heed_significant(child)
        else:
            self.failed(child)

    def failed(self, child: ModelChild) -> None:
        self.failed_at.append(self.now)
        if sum(self.now - at <= self.case.period_s for at in self.failed_at) > self.case.intensity:
            raise Down("gave up")
        due_at = self.now + (WAIT_S if child.streak else 0.0)
        child.streak += 1
        index = self.children.index(child)
        group = {
            Strategy.ONE_FOR_ONE: [child],
            Strategy.ONE_FOR_ALL: list(self.children),
            Strategy.REST_FOR_ONE: self.children[index:],
        }[self.case.strategy]
        self.stop(group)
        self.now = max(self.now, due_at)
        for each in [each for each in group if each in self.children]:
            if not self.start(each):
                self.failed(each)
                return

    def start(self, child: ModelChild) -> bool:
        child.number += 1
        self.write("starts", child)
        child.alive = child.script.starting(child.number) == "well"
        if not child.alive:
            self.write("ends", child)
        return child.alive

    def stop(self, group: list[ModelChild]) -> None:
        for child in reversed(group):
            if child.alive:
                self.now += SHUTDOWN_S if child.script.stopping(child.number) == "hangs" else 0.0
                child.alive = False
                self.write("ends", child)
        self.forget_temporary()

    def forget_temporary(self) -> None:
        self.children = [each for each in self.children if each.alive or each.script.restart is not TEMPORARY]

    def heed_significant(self, child: ModelChild) -> None:
        if child.script.significant and (
            self.case.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT
            or not any(each.alive and each.script.significant for each in self.children)
        ):
            raise Down("significant")

    def write(self, what: str, child: ModelChild) -> None:
        self.log.append((round(self.now, 6), what, child.script.id, child.number))


# ── the same with the real one ────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Actor:
    """A child that plays its script, and otherwise does what it is told by ``meet``."""

    script: Script
    log: list[Line]
    told: Trigger | None = None
    nudge: trio.Event = attrs.field(factory=trio.Event)

    def meet(self, trigger: Trigger) -> None:
        self.told = trigger
        self.nudge.set()

    async def start(self, *, task_status: Incarnation) -> None:
        self.told, self.nudge = None, trio.Event()
        self.log.append((round(trio.current_time(), 6), "starts", self.script.id, task_status.number))
        try:
            match self.script.starting(task_status.number):
                case "raises":
                    raise OSError("refused")
                case "returns":
                    return
            task_status.started()
            with task_status.until_stop():
                await self.nudge.wait()
            if self.told == "crash":
                raise ValueError("broken")
            if task_status.stop_requested:
                match self.script.stopping(task_status.number):
                    case "hangs":
                        await trio.sleep_forever()
                    case "raises":
                        raise OSError("close failed")
        finally:
            self.log.append((round(trio.current_time(), 6), "ends", self.script.id, task_status.number))


def supervisor_for(
    case: Case, log: list[Line], **more: Callable[[SupervisionEvent], None]
) -> tuple[Supervisor, dict[str, Actor]]:
    actors = {script.id: Actor(script, log) for script in case.scripts}
    specs = [
        ChildSpec(
            id=script.id,
            start=actors[script.id].start,
            restart=script.restart,
            significant=script.significant,
            shutdown_s=SHUTDOWN_S,
        )
        for script in case.scripts
    ]
    policy = RestartPolicy(
        intensity=case.intensity, period_s=case.period_s, backoff=Backoff(minimum_s=WAIT_S, maximum_s=WAIT_S)
    )
    return (
        Supervisor(
            name="top",
            specs=specs,
            strategy=case.strategy,
            policy=policy,
            auto_shutdown=case.auto_shutdown,
            seed=1,
            **more,
        ),
        actors,
    )


def tell(supervisor: Supervisor, actors: dict[str, Actor], child_id: str, trigger: Trigger) -> None:
    if child_id not in {info.id for info in supervisor.children()}:
        return
    match trigger:
        case "kill":
            supervisor.cancel(child_id)
        case "terminate":
            supervisor.terminate_child(child_id)
        case "restart":
            if next(info for info in supervisor.children() if info.id == child_id).state == "stopped":
                supervisor.restart_child(child_id)
        case _:
            actors[child_id].meet(trigger)


async def really(case: Case, log: list[Line]) -> str:
    supervisor, actors = supervisor_for(case, log)

    async def meet_triggers() -> None:
        for index, (child_id, trigger) in enumerate(case.triggers, start=1):
            await trio.sleep_until(index * APART_S)
            tell(supervisor, actors, child_id, trigger)
        await trio.sleep_until((len(case.triggers) + 1) * APART_S)
        supervisor.stop()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(meet_triggers)
        outcome = "significant"
        try:
            await supervisor.run()
        except StartError:
            outcome = "start"
        except GaveUpError:
            outcome = "gave up"
        if trio.current_time() >= (len(case.triggers) + 1) * APART_S:
            outcome = "stopped"
        nursery.cancel_scope.cancel()
    return outcome


def on_virtual_clock(function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    return trio.run(function, *args, clock=MockClock(autojump_threshold=0))


# ── cases ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def cases(draw: st.DrawFn) -> Case:
    auto_shutdown = draw(st.sampled_from(AutoShutdown))
    ids = "abcd"[: draw(st.integers(1, 4))]

    def script(child_id: str) -> Script:
        restart = draw(st.sampled_from(RestartType))
        may_be_significant = auto_shutdown is not AutoShutdown.NEVER and restart is not PERMANENT
        first_start = draw(st.sampled_from((*["well"] * 9, "raises")))  # more would leave little to see
        later_starts = draw(st.lists(st.sampled_from(("well", "well", "raises", "returns")), max_size=6))
        return Script(
            id=child_id,
            restart=restart,
            significant=may_be_significant and draw(st.booleans()),
            starts=(first_start, *later_starts),
            stops=tuple(draw(st.lists(st.sampled_from(("well", "hangs", "raises")), max_size=6))),
        )

    trigger = st.sampled_from(("crash", "crash", "kill", "kill", "return", "terminate", "restart"))
    return Case(
        strategy=draw(st.sampled_from(Strategy)),
        auto_shutdown=auto_shutdown,
        intensity=draw(st.integers(0, 6)),
        period_s=draw(st.sampled_from((10.1, 30.1, 1000.1))),
        scripts=tuple(script(child_id) for child_id in ids),
        triggers=tuple(draw(st.lists(st.tuples(st.sampled_from(ids), trigger), max_size=10))),
    )


@settings(max_examples=400)
@given(cases())
def test_it_does_what_otp_would_do(case: Case) -> None:
    model = Model(case)
    expected = model.run()
    log: list[Line] = []
    outcome = on_virtual_clock(really, case, log)
    note(f"expected {expected}: {model.log}")
    note(f"saw      {outcome}: {log}")
    event(f"{case.strategy}: {expected}")
    assert (outcome, log) == (expected, model.log)


# ── a storm: several things at once, slow starts, a tree, a cancellation from outside ─────────────────────────────────


@attrs.define(eq=False)
class Victim:
    """A child of the storm. It writes down what a bystander could see."""

    id: str
    starts_in_s: tuple[float, ...]
    stops: tuple[str, ...]
    lives: list[Line]
    told: Trigger | None = None
    nudge: trio.Event = attrs.field(factory=trio.Event)

    def meet(self, trigger: Trigger) -> None:
        self.told = trigger
        self.nudge.set()

    async def start(self, *, task_status: Incarnation) -> None:
        self.told, self.nudge = None, trio.Event()
        number = task_status.number
        self.write("starts", number)
        try:
            await trio.sleep(self.starts_in_s[number % len(self.starts_in_s)])
            if self.told == "crash":
                raise OSError("refused")
            task_status.started()
            self.write("up", number)
            with task_status.until_stop():
                await self.nudge.wait()
            if self.told == "crash":
                raise ValueError("broken")
            if task_status.stop_requested:
                self.write("asked", number)
                stop = self.stops[number % len(self.stops)]
                await trio.sleep(math.inf if stop == "hangs" else 0.25)
                if stop == "raises":
                    raise OSError("close failed")
        finally:
            self.write("ends", number)

    def write(self, what: str, number: int) -> None:
        self.lives.append((trio.current_time(), what, self.id, number))


@attrs.frozen(kw_only=True)
class Storm:
    strategy: Strategy
    intensity: int
    starts_in_s: tuple[float, ...]
    stops: tuple[str, ...]
    blows: tuple[tuple[float, str, Trigger], ...]
    cancelled_at: float
    seed: int


quarters = st.integers(0, 40).map(lambda n: n / 4)
whom = st.sampled_from(("a", "b", "c", "a", "b", "c", "inner"))
blows: st.SearchStrategy[Trigger] = st.sampled_from(("crash", "return", "kill"))
storms = st.builds(
    Storm,
    strategy=st.sampled_from(Strategy),
    intensity=st.integers(0, 8),
    starts_in_s=st.lists(st.sampled_from((0.0, 0.0, 0.5)), min_size=1, max_size=3).map(tuple),
    stops=st.lists(st.sampled_from(("well", "hangs", "raises")), min_size=1, max_size=3).map(tuple),
    blows=st.lists(st.tuples(quarters, whom, blows), min_size=2, max_size=25).map(tuple),
    cancelled_at=quarters.map(lambda s: s + 1.0),
    seed=st.integers(0, 2**64),
)


async def storm(plan: Storm, lives: list[Line], events: list[SupervisionEvent]) -> tuple[bool, bool, float]:
    victims = {each: Victim(each, plan.starts_in_s, plan.stops, lives) for each in "abc"}
    inner = Supervisor(
        name="inner",
        specs=[ChildSpec(id=each, start=victim.start, shutdown_s=SHUTDOWN_S) for each, victim in victims.items()],
        strategy=plan.strategy,
        policy=RestartPolicy(intensity=plan.intensity, period_s=5.0),
        on_event=events.append,
        seed=plan.seed,
    )
    outer = Supervisor(
        name="outer",
        specs=[ChildSpec(id="inner", start=inner.run, shutdown_s=10.0)],
        policy=RestartPolicy(intensity=2, period_s=5.0),
        on_event=events.append,
        seed=plan.seed,
    )

    async def strike(at: float, whom: str, blow: Trigger) -> None:
        await trio.sleep_until(at)
        if whom == "inner":
            outer.cancel("inner", "storm")
        elif blow == "kill":
            if whom in {info.id for info in inner.children()}:
                inner.cancel(whom, "storm")
        else:
            victims[whom].meet(blow)

    async with trio.open_nursery() as nursery:
        for each in plan.blows:
            nursery.start_soon(strike, *each)
        await trio.lowlevel.checkpoint()
        gave_up = False
        with trio.CancelScope(deadline=plan.cancelled_at) as scope:
            try:
                await outer.run()
            except (GaveUpError, StartError):
                gave_up = True
        ended_at = trio.current_time()
        assert not any(info.pid for each in (inner, outer) for info in each.children())
        nursery.cancel_scope.cancel()
    return gave_up, scope.cancelled_caught, ended_at


@settings(max_examples=300)
@given(storms)
def test_in_a_storm_the_promises_hold(plan: Storm) -> None:
    lives: list[Line] = []
    events: list[SupervisionEvent] = []
    gave_up, cancelled, ended_at = on_virtual_clock(storm, plan, lives, events)
    note(f"{lives}")
    event("gave up" if gave_up else "cancelled")
    assert gave_up != cancelled  # a failure never hides the cancellation, nor does one come from nowhere
    assert ended_at <= plan.cancelled_at + 3 * SHUTDOWN_S
    check_lives(plan.strategy, lives)
    check_restarts(plan.intensity, events)


def check_lives(strategy: Strategy, lives: list[Line]) -> None:
    state: dict[str, str] = {}
    last: dict[str, int] = {}
    for at, what, each, number in lives:
        if what == "starts":
            assert each not in state, f"two lives of {each} at {at}"
            assert number > last.get(each, 0), f"{each} was given number {number} again at {at}"
            last[each] = number
        if what in {"starts", "asked"} and strategy is not Strategy.ONE_FOR_ONE:
            assert not [other for other in state if other > each], f"{each} {what} under living ones at {at}"
        if what == "starts" and strategy is not Strategy.ONE_FOR_ONE:
            assert all(state[other] == "up" for other in state if other < each), f"{each} starts too early at {at}"
        state[each] = what
        if what == "ends":
            del state[each]
    assert not state


def check_restarts(intensity: int, events: list[SupervisionEvent]) -> None:
    due_at: dict[str, float] = {}
    scheduled_at: list[float] = []
    for each in events:
        match each:
            case RestartScheduled(supervisor="inner", happened_at=now, after_s=after_s):
                scheduled_at.append(now)
                assert sum(now - at <= 5.0 for at in scheduled_at) <= intensity
                due_at[each.child] = now + after_s
            case GaveUp(supervisor="inner", history=history):
                assert len(history) == intensity + 1
            case ChildRestarted(supervisor="inner", happened_at=now):
                assert now >= due_at.pop(each.child, 0.0)
        if each.child == "inner" and not isinstance(each, ChildStarted | ChildRestarted):
            scheduled_at.clear()  # the inner supervisor has ended: its next run has a new window
            due_at.clear()
