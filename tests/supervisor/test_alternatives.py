"""A child with alternatives: who takes over, when, and who gets to know."""

import math
from collections.abc import Callable

import attrs
import pytest
import trio

from engine.health import Circuit, Health, HealthPolicy
from engine.messages.errors import ProviderDown, ProviderRefused, ProviderSlow
from engine.policy import Answer, Backoff, RestartPolicy
from engine.supervisor import (
    ChildFailed,
    ChildSpec,
    ChildStalled,
    FailedBack,
    FailedOver,
    GaveUp,
    GaveUpError,
    Incarnation,
    RestartScheduled,
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
    assert caught.value.kinds == ("gave_up",)
    (gave_up,) = rig.of(GaveUp)
    assert isinstance(gave_up, GaveUp)
    assert [each.reason for each in gave_up.history] == ["ProviderDown: away too"] * 2


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
    assert rig.health.circuits().get(("stt", "a"), Circuit.CLOSED) is Circuit.CLOSED


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


def test_a_circuit_stays_closed_for_fewer_failures_than_it_takes() -> None:
    now = [0.0]
    changes: list[tuple[str, str, Circuit]] = []
    health = Health(
        policy=HealthPolicy(failures=2), clock=lambda: now[0], changed=lambda *change: changes.append(change)
    )
    one, other = health.of("stt", ("a", "b")), health.of("stt", ("a", "b"))
    one.failed("a")
    assert one.useful("a") is False
    one.failed("a")
    assert one.choose() == "a"
    other.failed("a")
    assert (one.choose(), one.choose(without={"b"})) == ("b", "a")
    assert changes == [("stt", "a", Circuit.OPEN)]
    now[0] = math.inf
    assert one.choose(without={"a", "b"}) is None
