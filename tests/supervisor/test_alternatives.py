"""A child with alternatives: who takes over, when, and who gets to know."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import attrs
import pytest
import trio

from engine.health import Circuit, Health, HealthPolicy
from engine.messages.errors import ProviderDown, ProviderRefused, ProviderSlow
from engine.policy import Answer, Backoff, RestartPolicy
from engine.supervisor import (
    PERMANENT,
    TEMPORARY,
    TRANSIENT,
    ChildFailed,
    ChildSpec,
    ChildStalled,
    ChildStarted,
    FailedBack,
    FailedOver,
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

AT_ONCE = Backoff(first_s=0.0, minimum_s=0.0, maximum_s=0.0)
ONCE = RestartPolicy(intensity=1, period_s=10.0, backoff=AT_ONCE)


@attrs.define
class Rig:
    """A supervisor of one child that has alternatives, and what was seen of it.

    does: what a life does, by the name of its alternative; a number of seconds is a life of use that then crashes.
    """

    does: dict[str, Callable[[], BaseException] | None]
    policy: RestartPolicy = ONCE
    health: Health = attrs.field(
        factory=lambda: Health(policy=HealthPolicy(failures=3, open_s=15.0), clock=trio.current_time)
    )
    lives: list[tuple[float, str]] = attrs.field(factory=list)
    events: list[SupervisionEvent] = attrs.field(factory=list)
    supervisor: Supervisor = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        others = self.health.of("stt", tuple(self.does))
        spec = ChildSpec(id="ear", start=self._live, shutdown_s=0.0, alternatives=others)
        self.supervisor = Supervisor(name="s", specs=[spec], policy=self.policy, on_event=self.events.append)

    async def _live(self, *, task_status: Incarnation) -> None:
        task_status.started()
        self.lives.append((trio.current_time(), task_status.alternative))
        await trio.sleep(0.1)
        crash = self.does[task_status.alternative]
        if crash is not None:
            raise crash()
        self.supervisor.useful("ear")
        await trio.sleep_forever()

    async def run(self, seconds: float = 5.0) -> None:
        with trio.move_on_after(seconds):
            await self.supervisor.run()

    def of(self, kind: type) -> list[SupervisionEvent]:
        return [each for each in self.events if isinstance(each, kind)]


def used(rig: Rig) -> list[str]:
    return [name for _, name in rig.lives]


async def test_the_next_takes_over_when_one_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderDown("away"), "b": None})
    await rig.run()
    assert used(rig) == ["a", "a", "b"]
    (over,) = rig.of(FailedOver)
    assert isinstance(over, FailedOver)
    assert (over.was, over.now_on, over.reason) == ("a", "b", "ProviderDown: away")
    assert len(rig.of(RestartScheduled)) == 1  # a fail-over is no restart


async def test_a_refusal_goes_to_the_next_at_once(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderRefused("no such key", code="401"), "b": None})
    await rig.run()
    assert used(rig) == ["a", "b"]


async def test_a_code_in_the_policy_outweighs_its_family(autojump_clock: trio.testing.MockClock) -> None:
    patient = attrs.evolve(ONCE, reasons={"429": Answer.RESTART, "refused": Answer.NEXT})
    rig = Rig({"a": lambda: ProviderRefused("too many", code="429"), "b": None}, policy=patient)
    await rig.run()
    assert used(rig) == ["a", "a", "b"]


async def test_when_nobody_is_left_the_supervisor_gives_up(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderDown("away"), "b": lambda: ProviderDown("away too")})
    with pytest.raises(GaveUpError) as caught:
        await rig.supervisor.run()
    assert used(rig) == ["a", "a", "b", "b"]  # each has a window of its own
    assert caught.value.kinds == ("exhausted", "gave_up")
    (gave_up,) = rig.of(GaveUp)
    assert isinstance(gave_up, GaveUp)
    assert gave_up.exhausted
    assert [each.reason for each in gave_up.history] == ["ProviderDown: away too"] * 2


@pytest.mark.parametrize(("well_s", "then"), [(9.0, ["b"]), (11.0, ["b", "a"])])
async def test_who_was_given_up_long_ago_takes_over_again(
    well_s: float, then: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    rig = Rig({"a": lambda: ProviderDown("away"), "b": None})

    async def serve() -> None:
        with suppress(GaveUpError):
            await rig.run(60.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await trio.sleep(well_s)
        rig.does = {"a": None, "b": lambda: ProviderDown("away too")}
        rig.supervisor.cancel("ear")
        await trio.sleep(5.0)
        assert list(dict.fromkeys(used(rig)[2:])) == then
        rig.supervisor.stop()


async def test_a_refusal_by_the_last_is_the_end(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderRefused("no such key")})
    with pytest.raises(GaveUpError) as caught:
        await rig.supervisor.run()
    assert (used(rig), caught.value.kinds) == (["a"], ("exhausted", "gave_up"))


async def test_a_parent_does_not_start_again_what_is_exhausted(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderRefused("no such key")})
    parent = Supervisor(name="p", specs=[ChildSpec(id="s", start=rig.supervisor.run)], policy=ONCE)
    with pytest.raises(GaveUpError):
        await parent.run()
    assert used(rig) == ["a"]


async def test_a_reason_that_ends_ends_though_another_stands_by(autojump_clock: trio.testing.MockClock) -> None:
    strict = attrs.evolve(ONCE, reasons={"1008": Answer.END})
    rig = Rig({"a": lambda: ProviderDown("policy", code="1008"), "b": None}, policy=strict)
    with pytest.raises(GaveUpError):
        await rig.supervisor.run()
    assert used(rig) == ["a"]


async def test_what_others_found_out_is_known_to_all(autojump_clock: trio.testing.MockClock) -> None:
    first = Rig({"a": lambda: ProviderDown("away"), "b": None}, policy=attrs.evolve(ONCE, intensity=9))
    await first.run()
    assert used(first) == ["a", "a", "a", "b"]  # the third failure opens the circuit: b takes over at once
    second = Rig(first.does, health=first.health)
    await second.run()
    assert used(second) == ["b"]


async def test_the_death_of_a_life_that_was_of_use_says_nothing_of_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig({"a": None, "b": None}, policy=attrs.evolve(ONCE, intensity=9))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        for _ in range(5):
            await trio.sleep(0.15)
            assert rig.supervisor.cancel("ear", "pulled")
        await trio.sleep(0.15)
        nursery.cancel_scope.cancel()
    assert used(rig) == ["a"] * 6
    assert rig.health.circuits().get(("stt", "a", ""), Circuit.CLOSED) is Circuit.CLOSED


async def test_one_probe_brings_it_back_for_all(autojump_clock: trio.testing.MockClock) -> None:
    does: dict[str, Callable[[], BaseException] | None] = {"a": lambda: ProviderRefused("quota"), "b": None}
    health = Health(policy=HealthPolicy(open_s=15.0), clock=trio.current_time)
    await Rig(does, health=health).run()
    does["a"] = None
    await trio.sleep(15.0)
    probing, waiting, late = Rig(does, health=health), Rig(does, health=health), Rig(does, health=health)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(probing.run)
        await trio.sleep(0.05)
        nursery.start_soon(waiting.run)
        await trio.sleep(0.2)
        nursery.start_soon(late.run)
    assert (used(probing), used(waiting), used(late)) == (["a"], ["b"], ["a"])
    (back,) = probing.of(FailedBack)
    assert isinstance(back, FailedBack)
    assert back.now_on == "a"


async def test_a_probe_that_fails_keeps_it_away_for_longer(autojump_clock: trio.testing.MockClock) -> None:
    does: dict[str, Callable[[], BaseException] | None] = {"a": lambda: ProviderRefused("quota"), "b": None}
    health = Health(policy=HealthPolicy(open_s=10.0, factor=2.0), clock=trio.current_time)
    seen = []
    for _ in range(8):
        rig = Rig(does, health=health)
        await rig.run(5.0)
        seen.append(used(rig)[0])
    # At 0, 5, 10, ... 35 s; it opened at 0.1, then at 15.1 for 20 s.
    assert seen == ["a", "b", "b", "a", "b", "b", "b", "b"]


async def test_a_probe_that_is_hung_up_on_lets_the_next_one_try(autojump_clock: trio.testing.MockClock) -> None:
    does: dict[str, Callable[[], BaseException] | None] = {"a": lambda: ProviderRefused("quota"), "b": None}
    health = Health(policy=HealthPolicy(open_s=10.0), clock=trio.current_time)
    await Rig(does, health=health).run(1.0)
    await trio.sleep(10.0)
    await Rig(does, health=health).run(0.05)
    assert health.breaker("stt", "a").circuit is Circuit.OPEN
    third = Rig(does, health=health)
    await third.run(0.05)
    assert used(third) == ["a"]


async def test_a_stall_is_told_before_the_crash_that_it_is(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderSlow("no results"), "b": None})
    await rig.run()
    assert [type(each) for each in rig.events[1:3]] == [ChildStalled, ChildFailed]
    told = Rig({"a": None})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(told.supervisor.run)
        await trio.sleep(0.2)
        assert told.supervisor.stalled("ear", "no sign of life")
        await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    (stalled,) = told.of(ChildStalled)
    assert isinstance(stalled, ChildStalled)
    assert stalled.reason == "no sign of life"


async def test_an_alternative_is_judged_by_its_own_policy(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderDown("away"), "b": None}, policy=attrs.evolve(ONCE, intensity=5))
    patience = {"a": attrs.evolve(ONCE, intensity=0), "b": ONCE}
    spec = attrs.evolve(rig.supervisor.specs[0], policy_of=patience.__getitem__)
    rig.supervisor = Supervisor(name="s", specs=[spec], policy=rig.policy, on_event=rig.events.append)
    await rig.run()
    assert used(rig) == ["a", "b"]


# ── fail-over among siblings ──────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Household:
    """A supervisor of "before", "ear" (with alternatives) and "after"; what lives does with a name says `does`."""

    does: dict[str, Callable[[], BaseException] | None]
    strategy: Strategy
    policy: RestartPolicy = ONCE
    restart: RestartType = PERMANENT
    shutdown_s: float = 0.0
    health: Health = attrs.field(
        factory=lambda: Health(policy=HealthPolicy(failures=3, open_s=15.0), clock=trio.current_time)
    )
    events: list[SupervisionEvent] = attrs.field(factory=list)
    lives: list[tuple[str, str]] = attrs.field(factory=list)
    supervisor: Supervisor = attrs.field(init=False)
    ear: ChildSpec = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ear = ChildSpec(
            id="ear",
            start=partial(self._live, "ear"),
            restart=self.restart,
            shutdown_s=0.0,
            alternatives=self.health.of("stt", tuple(self.does)),
        )
        before, after = (
            ChildSpec(id=each, start=partial(self._live, each), shutdown_s=self.shutdown_s)
            for each in ("before", "after")
        )
        self.supervisor = Supervisor(
            name="s",
            specs=[before, self.ear, after],
            strategy=self.strategy,
            policy=self.policy,
            on_event=self.events.append,
        )

    async def _live(self, child: str, *, task_status: Incarnation) -> None:
        self.lives.append((child, task_status.alternative))
        task_status.started()
        if child != "ear":
            with task_status.until_stop():
                await trio.sleep_forever()
            await trio.sleep_forever()  # never in time
        await trio.sleep(0.1)
        crash = self.does[task_status.alternative]
        if crash is not None:
            raise crash()
        await trio.sleep_forever()

    def told(self) -> list[str]:
        return [f"{type(each).__name__} {each.child}" for each in self.events]


@pytest.mark.parametrize(
    ("strategy", "started_again"),
    [
        (Strategy.ONE_FOR_ONE, ["ear"]),
        (Strategy.REST_FOR_ONE, ["ear", "after"]),
        (Strategy.ONE_FOR_ALL, ["before", "ear", "after"]),
    ],
)
async def test_the_next_takes_over_with_those_who_share_its_fate(
    strategy: Strategy, started_again: list[str], autojump_clock: trio.testing.MockClock
) -> None:
    house = Household({"a": lambda: ProviderRefused("no"), "b": None}, strategy)
    with trio.move_on_after(1.0):
        await house.supervisor.run()
    stopped = [f"ChildStopped {each}" for each in reversed(started_again) if each != "ear"]
    restarted = [f"ChildRestarted {each}" for each in started_again]
    told = house.told()[3 : 5 + len(stopped) + len(restarted)]
    assert told == ["ChildFailed ear", "FailedOver ear", *stopped, *restarted]
    assert [used for child, used in house.lives if child == "ear"] == ["a", "b"]


async def given_up(house: Household) -> None:
    """Have the process give the first alternative up, and come back when it may be tried again."""
    house.health.of("stt", ("a",)).failed("a", lasting=True)
    await trio.sleep(15.0)


def circuit(house: Household) -> Circuit:
    return house.health.breaker("stt", "a").circuit


async def test_one_that_is_stopped_before_it_began_hands_the_probe_back(autojump_clock: trio.testing.MockClock) -> None:
    house = Household({"b": lambda: ProviderRefused("no"), "a": None}, Strategy.ONE_FOR_ALL, shutdown_s=5.0)
    await given_up(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervisor.run)
        await trio.sleep(1.0)  # "after" is still stopping: "ear" waits to begin with "a"
        assert (house.told()[-1], circuit(house)) == ("FailedOver ear", Circuit.HALF_OPEN)
        house.supervisor.terminate_child("ear")
        assert circuit(house) is Circuit.OPEN
        assert house.health.of("stt", ("a",)).any_well()
        nursery.cancel_scope.cancel()
    assert [used for child, used in house.lives if child == "ear"] == ["b"]


async def test_a_probe_that_is_stopped_for_a_sibling_goes_on_in_its_next_life(
    autojump_clock: trio.testing.MockClock,
) -> None:
    house = Household({"a": None, "b": None}, Strategy.ONE_FOR_ALL)
    await given_up(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervisor.run)
        await trio.sleep(1.0)
        house.supervisor.cancel("before")
        await trio.sleep(1.0)
        assert circuit(house) is Circuit.HALF_OPEN
        assert house.health.of("stt", ("a", "b")).choose() == "b"
        house.supervisor.useful("ear")
        assert circuit(house) is Circuit.CLOSED
        nursery.cancel_scope.cancel()
    assert [used for child, used in house.lives if child == "ear"] == ["a", "a"]


@pytest.mark.parametrize("restart", [TEMPORARY, TRANSIENT, PERMANENT])
async def test_a_failed_probe_of_any_child_opens_the_circuit_again(
    restart: RestartType, autojump_clock: trio.testing.MockClock
) -> None:
    house = Household({"a": lambda: ProviderDown("away")}, Strategy.ONE_FOR_ONE, restart=restart)
    house.policy = attrs.evolve(ONCE, intensity=0)
    await given_up(house)
    with trio.move_on_after(0.15):
        await house.supervisor.run()
    assert circuit(house) is Circuit.OPEN
    assert not house.health.of("stt", ("a",)).any_well()


async def test_a_probe_that_fails_the_first_start_is_a_failed_one(autojump_clock: trio.testing.MockClock) -> None:
    house = Household({"a": None}, Strategy.ONE_FOR_ONE)
    await given_up(house)

    async def refused(*, task_status: Incarnation) -> None:
        raise ProviderDown(f"{task_status.alternative} is away")

    supervisor = Supervisor(name="s", specs=[attrs.evolve(house.ear, start=refused)])
    with pytest.raises(StartError):
        await supervisor.run()
    assert circuit(house) is Circuit.OPEN
    assert not house.health.of("stt", ("a",)).any_well()


async def test_a_child_that_returns_hands_the_probe_back(autojump_clock: trio.testing.MockClock) -> None:
    house = Household({"a": None}, Strategy.ONE_FOR_ONE)
    await given_up(house)

    async def hello(*, task_status: Incarnation) -> None:
        task_status.started()

    supervisor = Supervisor(name="s", specs=[attrs.evolve(house.ear, start=hello, restart=TRANSIENT)])
    with trio.move_on_after(1.0):
        await supervisor.run()
    assert circuit(house) is Circuit.OPEN
    assert house.health.of("stt", ("a",)).any_well()


# ── what is whose fault ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_life_that_we_killed_is_not_its_providers_fault_and_one_that_stalled_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig({"a": None, "b": None}, policy=attrs.evolve(ONCE, intensity=99))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        for _ in range(5):
            await trio.sleep(0.05)
            assert rig.supervisor.cancel("ear", "a bare core wants another")
        assert used(rig)[1:] == ["a"] * 4
        for _ in range(3):
            await trio.sleep(0.05)
            assert rig.supervisor.stalled("ear", "no sign of life")
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert used(rig)[-1] == "b"


async def test_each_life_has_to_be_of_use_anew(autojump_clock: trio.testing.MockClock) -> None:
    does: dict[str, Callable[[], BaseException] | None] = {"a": None, "b": None}
    rig = Rig(does, policy=attrs.evolve(ONCE, intensity=99))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        await trio.sleep(0.2)  # of use at 0.1
        does["a"] = lambda: ProviderDown("away")
        rig.supervisor.stalled("ear", "no sign of life")
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    assert used(rig) == ["a"] * 4 + ["b"]  # the first says nothing, three were of no use


async def test_useful_output_of_a_life_that_is_no_more_is_nobodys(autojump_clock: trio.testing.MockClock) -> None:
    slow = RestartPolicy(intensity=9, period_s=10.0, backoff=Backoff(first_s=0.5, minimum_s=1.0, maximum_s=1.0))
    rig = Rig({"a": lambda: ProviderDown("away")}, policy=slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        await trio.sleep(0.2)
        rig.supervisor.useful("ear")  # it died at 0.1, and waits until 0.6
        await trio.sleep(0.8)
        nursery.cancel_scope.cancel()
    assert [each.after_s for each in rig.of(RestartScheduled) if isinstance(each, RestartScheduled)] == [0.5, 1.0]
    assert rig.health.breaker("stt", "a").failures == 2


async def test_one_that_stalls_while_it_starts_has_stalled_and_failed(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": None, "b": None}, policy=attrs.evolve(ONCE, intensity=0))

    async def start(*, task_status: Incarnation) -> None:
        if task_status.alternative == "a":
            task_status.started()
        await trio.sleep_forever()

    async def watchdog() -> None:
        for _ in range(2):
            await trio.sleep(1.0)
            assert supervisor.stalled("ear", "no sign of life")

    spec = attrs.evolve(rig.supervisor.specs[0], start=start)
    supervisor = Supervisor(name="s", specs=[spec], policy=rig.policy, on_event=rig.events.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watchdog)
        with pytest.raises(GaveUpError):
            await supervisor.run()
    died = [ChildStalled, ChildFailed]
    assert [type(each) for each in rig.events] == [ChildStarted, *died, FailedOver, *died, GaveUp]
    assert rig.health.breaker("stt", "b").failures == 1


async def test_one_that_breaks_when_it_is_killed_for_a_stall_has_stalled_all_the_same(
    autojump_clock: trio.testing.MockClock,
) -> None:
    impatient = attrs.evolve(ONCE, reasons={"slow": Answer.NEXT})
    rig = Rig({"a": None, "b": None}, policy=impatient)

    async def start(*, task_status: Incarnation) -> None:
        task_status.started()
        rig.lives.append((trio.current_time(), task_status.alternative))
        try:
            await trio.sleep_forever()
        finally:
            if task_status.alternative == "a":
                raise OSError("the socket is broken too")

    spec = attrs.evolve(rig.supervisor.specs[0], start=start)
    rig.supervisor = Supervisor(name="s", specs=[spec], policy=rig.policy, on_event=rig.events.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        await trio.sleep(1.0)
        assert rig.supervisor.stalled("ear", "no sign of life")
        assert rig.supervisor.cancel("ear", "another reason, too late")
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    (stalled,), (failed,) = rig.of(ChildStalled), rig.of(ChildFailed)
    assert isinstance(stalled, ChildStalled)
    assert isinstance(failed, ChildFailed)
    assert (stalled.reason, failed.reason) == ("no sign of life", "OSError: the socket is broken too")
    assert used(rig) == ["a", "b"]


async def test_the_first_who_kills_says_why(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": None})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        await trio.sleep(0.05)
        assert rig.supervisor.cancel("ear", "first")
        assert rig.supervisor.stalled("ear", "second")
        await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    assert [each.reason for each in rig.of(ChildFailed) if isinstance(each, ChildFailed)] == ["first"]
    assert not rig.of(ChildStalled)


# ── anew ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_child_that_is_started_by_hand_or_by_another_run_starts_with_whom_is_best(
    autojump_clock: trio.testing.MockClock,
) -> None:
    does: dict[str, Callable[[], BaseException] | None] = {"a": lambda: ProviderDown("away"), "b": None}
    rig = Rig(does, policy=attrs.evolve(ONCE, intensity=0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        await trio.sleep(0.5)
        rig.supervisor.terminate_child("ear")
        await trio.sleep(0.5)
        rig.supervisor.restart_child("ear")
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert used(rig) == ["a", "b", "a", "b"]
    await rig.run(0.5)
    assert used(rig) == ["a", "b", "a", "b", "a", "b"]


async def test_a_child_that_had_returned_and_is_started_with_a_sibling_starts_with_whom_is_best(
    autojump_clock: trio.testing.MockClock,
) -> None:
    house = Household({"a": None, "b": None}, Strategy.ONE_FOR_ALL)

    async def start(*, task_status: Incarnation) -> None:
        task_status.started()
        house.lives.append(("ear", task_status.alternative))
        await trio.sleep(0.1)
        if task_status.number == 1:
            raise ProviderDown("away")
        if task_status.number > 2:
            await trio.sleep_forever()

    ear = attrs.evolve(house.ear, start=start, restart=TRANSIENT, policy_of=lambda _: attrs.evolve(ONCE, intensity=0))
    before, _, after = house.supervisor.specs
    supervisor = Supervisor(name="s", specs=[before, ear, after], strategy=house.strategy, policy=ONCE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(1.0)
        supervisor.cancel("before")
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    assert [used for child, used in house.lives if child == "ear"] == ["a", "b", "a"]


async def test_a_changed_policy_is_obeyed_at_the_next_decision_and_not_in_the_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patient = RestartPolicy(intensity=9, period_s=99.0, backoff=Backoff(first_s=2.0, minimum_s=2.0, maximum_s=2.0))
    rig = Rig({"a": lambda: ProviderDown("away"), "b": None}, policy=patient)
    policies = {"a": patient, "b": patient}
    spec = attrs.evolve(rig.supervisor.specs[0], policy_of=lambda name: policies[name])
    rig.supervisor = Supervisor(name="s", specs=[spec], policy=patient, on_event=rig.events.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.supervisor.run)
        await trio.sleep(1.0)  # it died at 0.1, and waits until 2.1
        policies["a"] = attrs.evolve(patient, intensity=0)
        await trio.sleep(2.0)
        nursery.cancel_scope.cancel()
    assert [(round(at, 6), name) for at, name in rig.lives] == [(0.0, "a"), (2.1, "a"), (2.2, "b")]


async def test_who_stops_a_child_when_its_failure_is_told_has_stopped_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig({"a": lambda: ProviderDown("away"), "b": None})

    def stop_it(seen: SupervisionEvent) -> None:
        rig.events.append(seen)
        if isinstance(seen, ChildFailed):
            rig.supervisor.terminate_child("ear")

    rig.supervisor = Supervisor(name="s", specs=rig.supervisor.specs, policy=ONCE, on_event=stop_it)
    await rig.run()
    assert [type(each) for each in rig.events] == [ChildStarted, ChildFailed]
    assert rig.health.breaker("stt", "a").failures == 1


# ── escalation ────────────────────────────────────────────────────────────────────────────────────────────────────────


def nested(rig: Rig, policy: RestartPolicy) -> Supervisor:
    """Return the grandparent of the rig's supervisor."""
    parent = Supervisor(
        name="p", specs=[ChildSpec(id="s", start=rig.supervisor.run)], policy=policy, on_event=rig.events.append
    )
    return Supervisor(name="g", specs=[ChildSpec(id="p", start=parent.run)], policy=policy, on_event=rig.events.append)


async def test_what_nothing_can_mend_goes_up_through_all_levels_at_once(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"a": lambda: ProviderRefused("no such key", code="401"), "b": lambda: ProviderRefused("unpaid")})
    with pytest.raises(GaveUpError) as caught:
        await nested(rig, ONCE).run()
    assert used(rig) == ["a", "b"]
    told = [(each.supervisor, each.child, each.exhausted) for each in rig.of(GaveUp) if isinstance(each, GaveUp)]
    assert told == [("s", "ear", True), ("p", "s", True), ("g", "p", True)]
    assert (caught.value.child, caught.value.kinds) == ("p", ("exhausted", "gave_up"))
    causes = [caught.value]
    while isinstance(causes[-1].__cause__, GaveUpError):
        causes.append(causes[-1].__cause__)
    assert [each.child for each in causes] == ["p", "s", "ear"]
    assert [failure.reason for failure in causes[-1].history] == ["ProviderRefused: unpaid"]
    assert isinstance(causes[-1].__cause__, ProviderRefused)
    assert "ProviderRefused: unpaid" in str(caught.value)


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
async def test_who_has_nobody_left_is_tried_again_at_no_level(
    names: tuple[str, ...], autojump_clock: trio.testing.MockClock
) -> None:
    rig = Rig(dict.fromkeys(names, lambda: ProviderDown("away")))
    with pytest.raises(GaveUpError) as caught:
        await nested(rig, attrs.evolve(ONCE, intensity=8)).run()
    assert used(rig) == [each for each in names for _ in range(2)]
    assert caught.value.kinds == ("exhausted", "gave_up")
    told = [(each.supervisor, each.exhausted) for each in rig.of(GaveUp) if isinstance(each, GaveUp)]
    assert told == [("s", True), ("p", True), ("g", True)]


async def test_what_another_try_may_mend_is_tried_again_at_each_level(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig({"": lambda: ProviderDown("away")})
    spec = attrs.evolve(rig.supervisor.specs[0], alternatives=None)
    policy = attrs.evolve(ONCE, intensity=2)
    rig.supervisor = Supervisor(name="s", specs=[spec], policy=policy, on_event=rig.events.append)
    with pytest.raises(GaveUpError) as caught:
        await nested(rig, ONCE).run()
    assert len(rig.lives) == 3 * 2 * 2
    assert caught.value.kinds == ("gave_up",)
    told = [(each.supervisor, each.exhausted) for each in rig.of(GaveUp) if isinstance(each, GaveUp)]
    assert told == [(each, False) for each in ("s", "s", "p", "s", "s", "p", "g")]


async def test_a_child_that_dies_as_fast_as_it_starts_cannot_hold_up_a_stop(
    autojump_clock: trio.testing.MockClock,
) -> None:
    lives = []

    async def dies(*, task_status: Incarnation) -> None:
        task_status.started()
        lives.append(task_status.number)
        if len(lives) == 1000:
            supervisor.stop()
        raise ValueError("broken")

    endless = RestartPolicy(intensity=10**6, backoff=AT_ONCE)
    supervisor = Supervisor(name="s", specs=[ChildSpec(id="a", start=dies)], policy=endless)
    await supervisor.run()
    assert (len(lives), trio.current_time()) == (1000, 0.0)
