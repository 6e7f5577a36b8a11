"""What a process knows of its providers: the rules one by one, and calls that come and go as they like."""

import math

import attrs
import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.health import Breaker, Circuit, Health, HealthPolicy, Providers

POLICY = HealthPolicy(failures=2, open_s=10.0, longest_open_s=40.0, factor=2.0)


@attrs.define
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[tuple[str, str, Circuit]]:
    return []


@pytest.fixture
def health(clock: Clock, changes: list[tuple[str, str, Circuit]]) -> Health:
    return Health(policy=POLICY, clock=clock, changed=lambda *change: changes.append(change))


def circuit(health: Health, name: str = "a") -> Circuit:
    return health.breaker("stt", name).circuit


def open_it(health: Health, name: str = "a") -> None:
    health.of("stt", (name,)).failed(name, lasting=True)


def test_a_circuit_stays_closed_for_fewer_failures_than_it_takes(
    health: Health, changes: list[tuple[str, str, Circuit]], clock: Clock
) -> None:
    one, other = health.of("stt", ("a", "b")), health.of("stt", ("a", "b"))
    one.failed("a")
    assert one.useful("a") is False
    one.failed("a")
    assert one.choose() == "a"
    other.failed("a")
    assert (one.choose(), one.choose(without={"b"})) == ("b", "a")
    assert changes == [("stt", "a", Circuit.OPEN)]
    clock.now = math.inf
    assert one.choose(without={"a", "b"}) is None


def test_the_same_provider_is_judged_by_work(health: Health) -> None:
    open_it(health)
    assert health.of("tts", ("a", "b")).choose() == "a"


def test_nobody_new_is_let_through_before_the_time_and_one_at_it(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now = math.nextafter(10.0, 0.0)
    assert health.of("stt", ("a", "b")).choose() == "b"
    clock.now = 10.0
    assert [health.of("stt", ("a", "b")).choose() for _ in range(3)] == ["a", "b", "b"]


def test_each_probe_that_fails_keeps_it_away_for_longer_up_to_the_longest(health: Health, clock: Clock) -> None:
    open_it(health)
    away_s = []
    for _ in range(4):
        away_s.append(health.breaker("stt", "a").retry_at - clock.now)
        clock.now = health.breaker("stt", "a").retry_at
        probing = health.of("stt", ("a", "b"))
        assert probing.choose() == "a"
        probing.failed("a")
    assert away_s == [10.0, 20.0, 40.0, 40.0]
    clock.now = health.breaker("stt", "a").retry_at
    assert health.of("stt", ("a",)).useful("a") is True
    open_it(health)
    assert health.breaker("stt", "a").retry_at == clock.now + 10.0


@pytest.mark.parametrize("opened", [0, 1, 5000, 10**6])
def test_a_provider_that_is_away_for_days_is_tried_as_often_as_the_policy_says(opened: int) -> None:
    policy = HealthPolicy(open_s=1.0, longest_open_s=100.0, factor=1e10)
    breaker = Breaker(policy=policy, opened=opened).failed(0.0, probe=False, lasting=True)
    assert breaker.retry_at == (1.0 if opened == 0 else 100.0)


def test_when_all_are_away_it_is_the_one_that_may_be_tried_soonest(health: Health, clock: Clock) -> None:
    open_it(health, "b")
    clock.now = 1.0
    open_it(health, "a")
    assert health.of("stt", ("a", "b")).choose() == "b"
    assert circuit(health, "b") is Circuit.OPEN  # too early for a probe: there is just nobody else


def test_a_failure_of_one_who_was_there_before_does_not_keep_it_away_for_longer(health: Health, clock: Clock) -> None:
    old = health.of("stt", ("a",))
    assert old.choose() == "a"
    open_it(health)
    clock.now = 9.0
    old.failed("a", lasting=True)
    assert health.breaker("stt", "a").retry_at == 10.0


def test_any_life_of_use_closes_it_even_one_that_was_no_probe(health: Health) -> None:
    old = health.of("stt", ("a",))
    old.choose()
    open_it(health)
    assert (old.useful("a"), circuit(health)) == (True, Circuit.CLOSED)
    assert old.useful("a") is False


def test_a_probe_that_was_ended_is_handed_back_once(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now = 10.0
    first, second, third = (health.of("stt", ("a", "b")) for _ in range(3))
    assert first.choose() == "a"
    second.released("a")  # not the one who has it
    assert second.choose() == "b"
    first.released("a")
    assert (circuit(health), second.choose()) == (Circuit.OPEN, "a")
    first.released("a")
    assert (circuit(health), third.choose()) == (Circuit.HALF_OPEN, "b")


@pytest.mark.parametrize("then", ["failed", "released"])
def test_what_becomes_of_a_probe_of_the_past_says_nothing_of_the_present_one(
    then: str, health: Health, clock: Clock
) -> None:
    open_it(health)
    clock.now = 10.0
    old, other, present = (health.of("stt", ("a", "b")) for _ in range(3))
    assert old.choose() == "a"
    assert other.useful("a")
    open_it(health)
    clock.now = 20.0
    assert present.choose() == "a"
    old.failed("a") if then == "failed" else old.released("a")
    assert circuit(health) is Circuit.HALF_OPEN
    present.failed("a")
    assert (circuit(health), health.breaker("stt", "a").retry_at) == (Circuit.OPEN, 40.0)


def test_a_probe_that_is_ended_when_another_life_was_of_use_changes_nothing(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now = 10.0
    probing, second, other = (health.of("stt", ("a",)) for _ in range(3))
    assert probing.choose() == "a"
    assert other.useful("a")
    probing.released("a")
    assert circuit(health) is Circuit.CLOSED
    open_it(health)
    clock.now = 20.0
    assert second.choose() == "a"
    assert other.useful("a")
    open_it(health)
    second.failed("a")  # it has opened since: this one was there before
    assert health.breaker("stt", "a").retry_at == 30.0


def test_a_probe_that_shows_nothing_gives_way_to_another(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now = 10.0
    silent, early, next_one = (health.of("stt", ("a", "b")) for _ in range(3))
    assert silent.choose() == "a"
    clock.now = math.nextafter(30.0, 0.0)
    assert early.choose() == "b"
    clock.now = 30.0
    assert next_one.choose() == "a"
    silent.failed("a")
    assert circuit(health) is Circuit.HALF_OPEN
    silent.released("a")
    assert early.choose() == "b"


def test_a_changed_policy_is_obeyed_from_the_next_failure_on(health: Health, clock: Clock) -> None:
    one = health.of("stt", ("a", "b"))
    open_it(health, "b")
    one.failed("a")
    health.change_policy(HealthPolicy(failures=3, open_s=1.0))
    one.failed("a")
    assert (circuit(health), health.breaker("stt", "b").retry_at) == (Circuit.CLOSED, 10.0)
    one.failed("a")
    assert (circuit(health), health.breaker("stt", "a").retry_at) == (Circuit.OPEN, 1.0)
    assert health.of("tts", ("c",)).any_well()
    assert health.breaker("tts", "c").policy.failures == 3


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: HealthPolicy(failures=0), "failures"),
        (lambda: HealthPolicy(open_s=0.0), "open_s"),
        (lambda: HealthPolicy(open_s=math.inf), "open_s"),
        (lambda: HealthPolicy(open_s=2.0, longest_open_s=1.0), "open_s"),
        (lambda: HealthPolicy(factor=0.5), "factor"),
        (lambda: HealthPolicy(longest_open_s=math.nan), "longest_open_s"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make: type, named: str) -> None:
    with pytest.raises(ValueError, match=f"'{named}'"):
        make()


# ── calls that come and go ────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Life:
    """A life that somebody began."""

    providers: Providers
    name: str
    of_use: bool = False


NAMES = ("a", "b")
PREFERENCES = (("a", "b"), ("b", "a"), ("a",))


class Calls(RuleBasedStateMachine):
    """Lives that begin, are of use, fail and are ended in any order. It keeps its own account of who probes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.policy = Clock(), POLICY
        self.changes: list[tuple[str, Circuit]] = []
        self.health = Health(policy=POLICY, clock=self.clock, changed=lambda _, *change: self.changes.append(change))
        self.lives: list[Life] = []
        # The life that probes each provider, and until when it counts.
        self.probes: dict[str, tuple[Life, float]] = {}
        # Not before: by provider, while its circuit is not closed.
        self.away_until: dict[str, float] = {}

    def circuit(self, name: str) -> Circuit:
        return self.health.breaker("stt", name).circuit

    def one_of_them(self, whose: int) -> Life | None:
        return self.lives[whose % len(self.lives)] if self.lives else None

    def is_gone(self, life: Life) -> bool:
        """Take a life off the account; whether it was the probe."""
        self.lives.remove(life)
        probe = life.name in self.probes and self.probes[life.name][0] is life
        if probe:
            del self.probes[life.name]
        return probe

    @initialize(name=st.sampled_from(NAMES))
    def one_is_away(self, name: str) -> None:
        open_it(self.health, name)
        self.away_until[name] = self.health.breaker("stt", name).retry_at

    @rule(
        after_s=st.sampled_from((0.0, 0.5, 10.0, 20.0, 40.0)),
        names=st.sampled_from(PREFERENCES),
        without=st.sampled_from(((), (), ("a",))),
    )
    def begins(self, after_s: float, names: tuple[str, ...], without: tuple[str, ...]) -> None:
        self.clock.now += after_s
        now, providers = self.clock.now, self.health.of("stt", names)
        left = [each for each in names if each not in without]
        was = {each: self.circuit(each) for each in NAMES}
        may = [each for each in left if was[each] is Circuit.CLOSED or now >= self.away_until[each]]
        assert providers.any_well(without=without) == bool(may)
        assert providers.any_left(without=without) == bool(left)
        chosen = providers.choose(without=without)
        if not left:
            assert chosen is None
            return
        assert chosen is not None
        assert chosen == may[0] if may else chosen in left
        life = Life(providers, chosen)
        self.lives.append(life)
        if may and was[chosen] is not Circuit.CLOSED:
            assert self.circuit(chosen) is Circuit.HALF_OPEN
            assert chosen not in self.probes or now >= self.probes[chosen][1]  # one at a time
            self.away_until[chosen] = self.health.breaker("stt", chosen).retry_at
            assert self.away_until[chosen] > now
            self.probes[chosen] = life, self.away_until[chosen]
            event("a probe")
        else:
            assert {each: self.circuit(each) for each in NAMES} == was  # nobody else's place is taken

    @rule(whose=st.integers(0, 5))
    def is_of_use(self, whose: int) -> None:
        life = self.one_of_them(whose)
        if life is None or life.of_use:
            return
        was = self.circuit(life.name)
        life.of_use = True
        assert life.providers.useful(life.name) == (was is not Circuit.CLOSED)
        assert self.circuit(life.name) is Circuit.CLOSED
        assert self.health.breaker("stt", life.name).failures == 0
        self.probes.pop(life.name, None)
        self.away_until.pop(life.name, None)

    @rule(whose=st.integers(0, 5), lasting=st.booleans())
    def fails(self, whose: int, lasting: bool) -> None:
        life = self.one_of_them(whose)
        if life is None:
            return
        was, probe = self.health.breaker("stt", life.name), self.is_gone(life)
        if life.of_use:
            return
        life.providers.failed(life.name, lasting=lasting)
        now = self.health.breaker("stt", life.name)
        if was.circuit is Circuit.CLOSED:
            opens = lasting or was.failures + 1 >= self.policy.failures
            assert now.circuit is (Circuit.OPEN if opens else Circuit.CLOSED)
        else:
            assert (now == was) != probe
            assert not probe or now.circuit is Circuit.OPEN
        if now.circuit is Circuit.OPEN and now != was:
            away_s = now.retry_at - self.clock.now
            assert self.policy.open_s <= away_s <= self.policy.longest_open_s
            self.away_until[life.name] = now.retry_at

    @rule(whose=st.integers(0, 5))
    def is_ended(self, whose: int) -> None:
        life = self.one_of_them(whose)
        if life is None:
            return
        was, probe = self.health.breaker("stt", life.name), self.is_gone(life)
        if life.of_use:
            return
        life.providers.released(life.name)
        if probe:
            assert self.circuit(life.name) is Circuit.OPEN
            assert self.health.of("stt", (life.name,)).any_well()  # the place is free, at once
            self.away_until[life.name] = -math.inf
            event("a probe that was handed back")
        else:
            assert self.health.breaker("stt", life.name) == was

    @rule(failures=st.integers(1, 3), open_s=st.sampled_from((1.0, 10.0)))
    def the_policy_changes(self, failures: int, open_s: float) -> None:
        was = self.health.circuits()
        self.policy = attrs.evolve(POLICY, failures=failures, open_s=open_s)
        self.health.change_policy(self.policy)
        assert self.health.circuits() == was

    @invariant()
    def a_circuit_is_half_open_exactly_while_somebody_probes(self) -> None:
        for name in NAMES:
            assert (self.circuit(name) is Circuit.HALF_OPEN) == (name in self.probes)

    @invariant()
    def every_change_was_told(self) -> None:
        told = dict.fromkeys(NAMES, Circuit.CLOSED)
        for name, circuit_now in self.changes:
            assert told[name] is not circuit_now
            told[name] = circuit_now
        assert told == {name: self.circuit(name) for name in NAMES}

    @invariant()
    def nobody_is_away_for_ever(self) -> None:
        for name in NAMES:
            assert self.health.breaker("stt", name).retry_at <= self.clock.now + POLICY.longest_open_s


Calls.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestCalls = Calls.TestCase
