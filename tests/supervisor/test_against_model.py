"""The supervisor of children with alternatives, and their providers' circuits, against a plain model of both.

The model shares no code with the engine: a list of what happens when, and one thing after another. Nothing in it is
left to chance (a backoff's minimum is its maximum), so that what both say must be the same, event by event.
"""

import heapq
import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs
import trio
from hypothesis import assume, event, given, note, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.health import Circuit, Health, HealthPolicy
from engine.messages.errors import ProviderDown, ProviderRefused, ProviderSlow
from engine.policy import ATTEMPT_S, Answer, Backoff, RestartPolicy
from engine.supervisor import (
    TEMPORARY,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    FailedBack,
    FailedOver,
    GaveUp,
    GaveUpError,
    Incarnation,
    RestartScheduled,
    RestartType,
    Strategy,
    SupervisionEvent,
    Supervisor,
)

# No sum of a few of these is another's, nor a happening's distance from the next: at one moment one thing happens.
DIES_S = (0.0313, 0.0457, 0.0619, 0.0789)
USEFUL_S = (0.0227, 0.0391, 0.0533, 0.0713)
WAITS_S = (0.6373, 0.2111)
PERIOD_S = 5.09
OPEN_S, LONGEST_OPEN_S = 2.917, 7.0
STEP_S = 0.25  # between two happenings
END_S = 20.1

# What is said of a failure: its answer, and its kinds.
FAILURES: Mapping[str, Exception] = {
    "down": ProviderDown("away"),
    "slow": ProviderSlow("no sign"),
    "refused": ProviderRefused("no"),
    "busy": ProviderRefused("too many", code="429"),
    "banned": ProviderDown("policy", code="1008"),
    "crash": ValueError("broken"),
}
ANSWERS = {"refused": "next", "banned": "end"}
REASONS = {"1008": Answer.END, "429": Answer.RESTART, "refused": Answer.NEXT}

What: TypeAlias = Literal[
    "down", "slow", "refused", "busy", "banned", "crash", "return", "stall", "kill", "useful", "terminate", "restart",
    "policy",
]  # fmt: skip
Line: TypeAlias = tuple[float, str, str, int, object]


@attrs.frozen(kw_only=True)
class Part:
    """A child. alternatives: empty for none. talks: each life is of use after a moment, if nothing ends it before."""

    id: str
    restart: RestartType
    alternatives: str
    talks: bool


@attrs.frozen(kw_only=True)
class Outage:
    """Lives of an alternative that begin in this time die soon."""

    alternative: str
    begins_at: float
    lasts_s: float
    how: str


@attrs.frozen(kw_only=True)
class Plan:
    strategy: Strategy
    intensity: int
    intensities: Mapping[str, int]
    failures: int
    factor: float
    parts: tuple[Part, ...]
    outages: tuple[Outage, ...]
    happenings: tuple[tuple[float, str, What], ...]

    def outage(self, alternative: str, now: float) -> str:
        for each in self.outages:
            if each.alternative == alternative and each.begins_at <= now < each.begins_at + each.lasts_s:
                return each.how
        return ""


def moment(at: float) -> float:
    return round(at, 6)


# ── the model ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Ended(Exception):
    """The model's supervisor has ended: why."""


@attrs.define
class Provider:
    """A provider as all children see it."""

    state: str = "closed"
    failures: int = 0
    opened: int = 0
    retry_at: float = -math.inf
    prober: str = ""

    def lets_in(self, now: float) -> bool:
        return self.state == "closed" or now >= self.retry_at


@attrs.define
class Child:
    part: Part
    index: int
    state: str = "waiting"  # or alive, or stopped
    due_at: float = 0.0
    number: int = 0
    using: str = ""
    given_up: set[str] = attrs.field(factory=set)
    began_at: float = -math.inf
    of_use: bool = False
    streak: int = 0
    dies_at: float = math.inf
    dies_how: str = ""
    useful_at: float = math.inf


@attrs.define
class Model:
    plan: Plan
    now: float = 0.0
    intensity: int = 0
    wait_s: float = WAITS_S[0]
    log: list[Line] = attrs.field(factory=list)
    failed: list[tuple[float, str]] = attrs.field(factory=list)
    providers: dict[str, Provider] = attrs.field(factory=dict)
    children: list[Child] = attrs.field(factory=list)

    def run(self) -> str:
        self.intensity = self.plan.intensity
        self.children = [Child(part, index) for index, part in enumerate(self.plan.parts)]
        happenings = [*self.plan.happenings]
        heapq.heapify(happenings)
        try:
            while True:
                self.step(happenings)
        except Ended as ended:
            for child in reversed(self.children):
                self.stop(child, wanted=False)
            return str(ended)

    def step(self, happenings: list[tuple[float, str, What]]) -> None:
        """Go on to what comes next."""
        self.launch()
        alive = [each for each in self.children if each.state == "alive"]
        moments = [*((each.dies_at, False, each) for each in alive), *((each.useful_at, True, each) for each in alive)]
        times = sorted([*(each[0] for each in moments), happenings[0][0] if happenings else END_S])
        assume(len(times) == 1 or times[1] - times[0] > 1e-7)
        due_at = min((each.due_at for each in self.children if each.state == "waiting"), default=math.inf)
        assume(not math.isclose(due_at, times[0], abs_tol=1e-7))
        if self.now < due_at < times[0]:
            self.now = due_at
            return
        self.now = times[0]
        if self.now >= END_S:
            raise Ended("stopped")
        if happenings and happenings[0][0] == self.now:
            _, part, what = heapq.heappop(happenings)
            self.meet(part, what)
            return
        ((_, useful, child),) = [each for each in moments if each[0] == self.now]
        if useful:
            child.useful_at = math.inf
            self.useful(child)
        else:
            self.fail(child, child.dies_how)

    def launch(self) -> None:
        for child in self.children:
            if child.state == "waiting" and child.due_at <= self.now:
                self.begin(child)
            if child.state == "waiting" and self.plan.strategy is not Strategy.ONE_FOR_ONE:
                return

    def begin(self, child: Child) -> None:
        child.number += 1
        if child.part.alternatives and not child.using:
            child.using = self.choose(child)
        child.state, child.of_use, child.began_at = "alive", False, self.now
        child.dies_how = self.plan.outage(child.using, self.now)
        child.dies_at = self.now + DIES_S[child.index] if child.dies_how else math.inf
        talks = child.part.talks and not child.dies_how
        child.useful_at = self.now + USEFUL_S[child.index] if talks else math.inf
        self.write("ChildStarted" if child.number == 1 else "ChildRestarted", child, child.using)

    def meet(self, part: str, what: What) -> None:
        if what == "policy":
            self.intensity, self.wait_s = self.intensity + 1, WAITS_S[1]
            return
        for child in [each for each in self.children if each.part.id == part]:
            if what == "terminate":
                self.stop(child, wanted=False)
            elif what == "restart" and child.state == "stopped":
                child.state, child.due_at, child.using, child.given_up = "waiting", self.now, "", set()
            elif what == "useful" and child.state == "alive":
                self.useful(child)
            elif what not in {"restart", "useful"} and child.state == "alive":
                self.fail(child, what)

    def useful(self, child: Child) -> None:
        if child.of_use:
            return
        child.of_use, child.streak = True, 0
        if child.using:
            provider = self.providers.setdefault(child.using, Provider())
            was = provider.state
            self.providers[child.using] = Provider(retry_at=provider.retry_at)
            if was != "closed" and len(child.part.alternatives) > 1:
                self.write("FailedBack", child, child.using)

    def fail(self, child: Child, what: str) -> None:
        child.state = "stopped"
        if what == "return" and child.part.restart is not RestartType.PERMANENT:
            self.release(child)
            self.write("ChildExited", child)
            self.forget_temporary()
            return
        if what in {"slow", "stall"}:
            self.write("ChildStalled", child)
        self.write("ChildFailed", child)
        answer = ANSWERS.get(what, "restart")
        if what == "kill":
            self.release(child)
        elif child.using and not child.of_use:
            self.blame(child, lasting=answer != "restart")
        if child.part.restart is TEMPORARY:
            self.forget_temporary()
            return
        self.decide(child, answer)

    def decide(self, child: Child, answer: str) -> None:
        self.failed.append((self.now, child.part.id))
        window = [(moment(at), each) for at, each in self.failed if self.now - at <= PERIOD_S]
        exceeded = len(window) > self.plan.intensities.get(child.using, self.intensity)
        if child.of_use and self.now - child.began_at > ATTEMPT_S:
            child.given_up = set()
        others = [each for each in child.part.alternatives if each not in {*child.given_up, child.using}]
        ill = bool(child.using) and self.providers.setdefault(child.using, Provider()).state != "closed"
        better = ill and any(self.providers.setdefault(each, Provider()).lets_in(self.now) for each in others)
        if others and answer != "end" and (better or exceeded or answer == "next"):
            was = child.using
            child.given_up.add(was)
            child.using, child.streak = self.choose(child), 0
            self.failed = [each for each in self.failed if each[1] != child.part.id]
            self.write("FailedOver", child, (was, child.using))
            self.restart(child, self.now)
        elif exceeded or answer != "restart":
            exhausted = answer != "restart" or bool(child.part.alternatives)
            self.write("GaveUp", child, (exhausted, tuple(window)))
            raise Ended("gave up, exhausted" if exhausted else "gave up")
        else:
            after_s = self.wait_s if child.streak else 0.0
            child.streak += 1
            self.write("RestartScheduled", child, after_s)
            self.restart(child, self.now + after_s)

    def restart(self, child: Child, due_at: float) -> None:
        index = self.children.index(child)
        group = {
            Strategy.ONE_FOR_ONE: [child],
            Strategy.ONE_FOR_ALL: list(self.children),
            Strategy.REST_FOR_ONE: self.children[index:],
        }[self.plan.strategy]
        for each in group:
            if each.state == "stopped" and each is not child:
                each.using, each.given_up = "", set()
        for each in reversed(group):
            self.stop(each, wanted=True)
        for each in group:
            each.due_at = max(each.due_at, due_at)

    def stop(self, child: Child, *, wanted: bool) -> None:
        comes_back = wanted and child.part.restart is not TEMPORARY
        if not comes_back and child.using and not (child.state == "alive" and child.of_use):
            self.release(child, waits=True)
        was, child.state = child.state, "waiting" if comes_back else "stopped"
        if was == "alive":
            self.write("ChildStopped", child)
        self.forget_temporary()

    def forget_temporary(self) -> None:
        gone = [each for each in self.children if each.state == "stopped" and each.part.restart is TEMPORARY]
        self.children = [each for each in self.children if each not in gone]

    # Providers.

    def choose(self, child: Child) -> str:
        names = [each for each in child.part.alternatives if each not in child.given_up]
        all_of_them = {each: self.providers.setdefault(each, Provider()) for each in names}
        for name, provider in all_of_them.items():
            if provider.lets_in(self.now):
                if provider.state != "closed":
                    provider.state, provider.prober = "half_open", child.part.id
                    provider.retry_at = self.now + self.open_s(provider)
                return name
        return min(all_of_them, key=lambda name: all_of_them[name].retry_at)

    def open_s(self, provider: Provider) -> float:
        return min(LONGEST_OPEN_S, OPEN_S * self.plan.factor**provider.opened)

    def blame(self, child: Child, *, lasting: bool) -> None:
        provider = self.providers.setdefault(child.using, Provider())
        probes = provider.state == "half_open" and provider.prober == child.part.id
        if provider.state != "closed" and not probes:
            return
        provider.failures += 1
        if probes or lasting or provider.failures >= self.plan.failures:
            provider.state, provider.prober = "open", ""
            provider.retry_at = self.now + self.open_s(provider)
            provider.opened += 1

    def release(self, child: Child, *, waits: bool = False) -> None:
        provider = self.providers.get(child.using)
        if provider and provider.prober == child.part.id and (waits or not child.of_use):
            provider.state, provider.prober, provider.retry_at = "open", "", -math.inf

    def write(self, what: str, child: Child, more: object = "") -> None:
        self.log.append((moment(self.now), what, child.part.id, child.number, more))


# ── the same with the real one ────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Actor:
    """A child that does what the plan says. `using`: by incarnation."""

    plan: Plan
    index: int
    supervisor: Supervisor | None = None
    told: str = ""
    nudge: trio.Event = attrs.field(factory=trio.Event)
    using: dict[int, str] = attrs.field(factory=dict)

    def meet(self, what: str) -> None:
        self.told = what
        self.nudge.set()

    async def start(self, *, task_status: Incarnation) -> None:
        self.told, self.nudge = "", trio.Event()
        part = self.plan.parts[self.index]
        self.using[task_status.number] = task_status.alternative
        task_status.started()
        how = self.plan.outage(task_status.alternative, trio.current_time())
        with trio.move_on_after(DIES_S[self.index] if how else USEFUL_S[self.index] if part.talks else math.inf):
            await self.nudge.wait()
        if not self.told and how:
            raise FAILURES[how]
        if not self.told:
            assert self.supervisor is not None
            self.supervisor.useful(part.id)
            await self.nudge.wait()
        if self.told != "return":
            raise FAILURES[self.told]


def tell(supervisor: Supervisor, actors: Mapping[str, Actor], part: str, what: What) -> None:
    children = {info.id: info for info in supervisor.children()}
    if what == "policy":
        policy = supervisor.policy
        backoff = Backoff(minimum_s=WAITS_S[1], maximum_s=WAITS_S[1])
        supervisor.change_policy(attrs.evolve(policy, intensity=policy.intensity + 1, backoff=backoff))
    elif what == "useful":
        supervisor.useful(part)  # even if it is too late
    elif part not in children:
        return
    elif what == "kill":
        supervisor.cancel(part)
    elif what == "stall":
        supervisor.stalled(part, "no sign of life")
    elif what == "terminate":
        supervisor.terminate_child(part)
    elif what == "restart":
        if children[part].state == "stopped":
            supervisor.restart_child(part)
    else:
        actors[part].meet(what)


async def really(plan: Plan, log: list[Line]) -> tuple[str, dict[str, Circuit], list[tuple[str, Circuit]]]:
    changes: list[tuple[str, Circuit]] = []
    health = Health(
        policy=HealthPolicy(failures=plan.failures, open_s=OPEN_S, longest_open_s=LONGEST_OPEN_S, factor=plan.factor),
        clock=trio.current_time,
        changed=lambda _, name, __, circuit: changes.append((name, circuit)),
    )
    actors = {part.id: Actor(plan, index) for index, part in enumerate(plan.parts)}

    def write(seen: SupervisionEvent) -> None:
        more: object = ""
        match seen:
            case ChildStarted() | ChildRestarted():
                more = actors[seen.child].using[seen.incarnation]
            case RestartScheduled(after_s=after_s):
                more = after_s
            case FailedOver(was=was, now_on=now_on):
                more = was, now_on
            case FailedBack(now_on=now_on):
                more = now_on
            case GaveUp(history=history, exhausted=exhausted):
                more = exhausted, tuple((moment(each.failed_at), each.child) for each in history)
        log.append((moment(seen.happened_at), type(seen).__name__, seen.child, seen.incarnation, more))

    def judged(name: str) -> RestartPolicy:
        return attrs.evolve(supervisor.policy, intensity=plan.intensities.get(name, supervisor.policy.intensity))

    supervisor = Supervisor(
        name="s",
        specs=[
            ChildSpec(
                id=part.id,
                start=actors[part.id].start,
                restart=part.restart,
                shutdown_s=0.0,
                alternatives=health.of("work", tuple(part.alternatives)) if part.alternatives else None,
                policy_of=judged,
            )
            for part in plan.parts
        ],
        strategy=plan.strategy,
        policy=RestartPolicy(
            intensity=plan.intensity,
            period_s=PERIOD_S,
            backoff=Backoff(minimum_s=WAITS_S[0], maximum_s=WAITS_S[0]),
            reasons=REASONS,
        ),
        on_event=write,
    )
    for actor in actors.values():
        actor.supervisor = supervisor

    async def happen() -> None:
        for at, part, what in sorted(plan.happenings):
            await trio.sleep_until(at)
            tell(supervisor, actors, part, what)
        await trio.sleep_until(END_S)
        supervisor.stop()

    outcome = "stopped"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(happen)
        try:
            await supervisor.run()
        except GaveUpError as error:
            outcome = "gave up, exhausted" if "exhausted" in error.kinds else "gave up"
        nursery.cancel_scope.cancel()
    return outcome, {name: each for (_, name, _), each in health.circuits().items()}, changes


# ── plans ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    ids = "abcd"[: draw(st.integers(1, 4))]
    often: tuple[What, ...] = ("terminate", "restart", "restart")
    seldom: tuple[What, ...] = (
        "down", "down", "slow", "refused", "busy", "crash", "return", "stall", "kill", "useful", "useful", "policy",
    )  # fmt: skip
    happenings = draw(
        st.dictionaries(
            st.integers(1, 78),
            st.tuples(st.sampled_from(ids), st.sampled_from((*seldom, *often * 4))),
            min_size=8,
            max_size=40,
        )
    )
    if draw(st.integers(0, 9)) == 0:
        happenings[79] = (ids[0], "banned")
    outages = st.builds(
        Outage,
        alternative=st.sampled_from("xyz"),
        begins_at=st.integers(-1, 15).map(lambda at: at + 0.03),
        lasts_s=st.sampled_from((0.4, 1.0, 3.0, 10.0)),
        how=st.sampled_from(("down", "down", "slow", "busy", "refused")),
    )
    return Plan(
        strategy=draw(st.sampled_from(Strategy)),
        intensity=draw(st.sampled_from((0, 1, 2, 4, 8, 8))),
        intensities=draw(st.dictionaries(st.sampled_from("xyz"), st.integers(0, 3), max_size=2)),
        failures=draw(st.integers(1, 3)),
        factor=draw(st.sampled_from((1.0, 2.0))),
        parts=tuple(
            Part(
                id=each,
                restart=draw(st.sampled_from((*RestartType, RestartType.PERMANENT))),
                alternatives=draw(st.sampled_from(("", "x", "xy", "xy", "yx", "xyz", "xyz"))),
                talks=draw(st.booleans()),
            )
            for each in ids
        ),
        outages=tuple(draw(st.lists(outages, min_size=1, max_size=6))),
        happenings=tuple((at * STEP_S + 0.1, part, what) for at, (part, what) in sorted(happenings.items())),
    )


@settings(max_examples=150)
@given(plans())
def test_it_restarts_fails_over_and_gives_up_as_a_plain_model_of_it_does(plan: Plan) -> None:
    model = Model(plan)
    expected = model.run()
    log: list[Line] = []
    outcome, circuits, changes = trio.run(really, plan, log, clock=MockClock(autojump_threshold=0))
    note(f"expected {expected}: " + "\n".join(map(str, model.log)))
    note(f"saw {outcome}: " + "\n".join(map(str, log)))
    event(expected)
    event(f"{min(3, sum(line[1] == 'FailedOver' for line in log))} fail-overs")
    event(f"{min(2, sum(line[1] == 'FailedBack' for line in log))} fail-backs")
    event(f"{min(3, sum(circuit is Circuit.HALF_OPEN for _, circuit in changes))} probes")
    assert (outcome, log) == (expected, model.log)
    assert circuits == {name: model.providers[name].state for name in circuits}
