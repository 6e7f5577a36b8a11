"""What a process knows of its providers: the rules one by one, and calls that come and go as they like."""

import math
from collections.abc import Sequence
from itertools import product
from typing import TypeAlias

import attrs
import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.health import OF_THE_ACCOUNT, Breaker, Circuit, Health, HealthPolicy, Providers, is_of_choice
from engine.messages.errors import ProviderDown, ProviderError, ProviderRefused, ProviderSlow

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
def changes() -> list[tuple[str, str, str, Circuit]]:
    return []


@pytest.fixture
def health(clock: Clock, changes: list[tuple[str, str, str, Circuit]]) -> Health:
    return Health(policy=POLICY, clock=clock, changed=lambda *change: changes.append(change))


def circuit(health: Health, name: str = "a") -> Circuit:
    return health.breaker("stt", name).circuit


def open_it(health: Health, name: str = "a") -> None:
    health.of("stt", (name,)).failed(name, lasting=True)


def test_a_circuit_stays_closed_for_fewer_failures_than_it_takes(
    health: Health, changes: list[tuple[str, str, str, Circuit]], clock: Clock
) -> None:
    one, other = health.of("stt", ("a", "b")), health.of("stt", ("a", "b"))
    one.failed("a")
    assert one.useful("a") is False
    one.failed("a")
    assert one.choose() == "a"
    other.failed("a")
    assert (one.choose(), one.choose(without={"b"})) == ("b", "a")
    assert changes == [("stt", "a", "", Circuit.OPEN)]
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


# ── what a business chose of a vendor ─────────────────────────────────────────────────────────────────────────────────


REFUSED = ("voice_not_found", "refused")


def wanting(health: Health, choice: str, *names: str) -> Providers:
    names = names or ("a", "b")
    return health.of("stt", names, dict.fromkeys(names, choice))


def test_what_was_refused_is_skipped_by_who_wants_the_same_alone(
    health: Health, changes: list[tuple[str, str, str, Circuit]]
) -> None:
    wanting(health, "dead").failed("a", kinds=REFUSED, lasting=True)
    assert [wanting(health, each).choose() for each in ("dead", "alive", "")] == ["b", "a", "a"]
    assert [wanting(health, each).is_well("a") for each in ("dead", "alive", "")] == [False, True, True]
    assert [wanting(health, each, "a").any_well() for each in ("dead", "alive", "")] == [False, True, True]
    assert health.of("tts", ("a", "b"), {"a": "dead"}).choose() == "a"
    assert changes == [("stt", "a", "dead", Circuit.OPEN)]


@pytest.mark.parametrize(
    ("error", "of_choice"),
    [
        (ProviderRefused("no such voice", code="404"), True),
        (ProviderRefused("no such voice", code="voice_not_found"), True),
        (ProviderRefused("no such language", code="400"), True),
        (ProviderRefused("policy", code="1008"), True),
        (ProviderRefused("a certificate that does not hold"), False),
        (ProviderDown("no such voice", code="404"), False),
        (ProviderDown("away"), False),
        (ProviderSlow("silent"), False),
        *((ProviderRefused("no", code=code), False) for code in sorted(OF_THE_ACCOUNT)),
    ],
    ids=lambda value: f"{value.family} {value.code}" if isinstance(value, ProviderError) else "",
)
def test_a_refusal_concerns_the_choice_unless_it_is_the_accounts(
    error: ProviderError, of_choice: bool, health: Health
) -> None:
    wanting(health, "mine").failed("a", kinds=error.kinds, lasting=True)
    assert is_of_choice(error.kinds) is of_choice
    assert wanting(health, "mine").choose() == "b"
    assert wanting(health, "theirs").choose() == ("a" if of_choice else "b")


@pytest.mark.parametrize("code", ["401", "402", "403"])
def test_the_account_is_the_vendors_in_the_numbers_of_http(code: str) -> None:
    assert not is_of_choice((code, "refused"))


def test_failures_that_another_try_may_mend_are_counted_for_the_vendor_whatever_was_wanted(health: Health) -> None:
    wanting(health, "mine").failed("a", kinds=("down",))
    wanting(health, "mine").failed("a", kinds=REFUSED)  # in a row of its own
    assert wanting(health, "theirs").choose() == "a"
    wanting(health, "theirs").failed("a", kinds=("slow",))
    assert wanting(health, "another").choose() == "b"


def test_what_everybody_asks_for_is_refused_to_everybody(health: Health) -> None:
    health.of("stt", ("a", "b")).failed("a", kinds=REFUSED, lasting=True)
    assert wanting(health, "mine").choose() == "b"


def test_a_refused_choice_is_tried_again_by_one_who_wants_it_and_comes_back_with_it(
    health: Health, clock: Clock
) -> None:
    wanting(health, "dead").failed("a", kinds=REFUSED, lasting=True)
    clock.now = 10.0
    probing, other = wanting(health, "dead"), wanting(health, "dead")
    assert (probing.choose(), other.choose(), wanting(health, "alive").choose()) == ("a", "b", "a")
    probing.failed("a", kinds=REFUSED, lasting=True)
    assert health.breaker("stt", "a", "dead").retry_at == 30.0
    clock.now = 30.0
    assert probing.choose() == "a"
    assert probing.useful("a") is True
    assert other.choose() == "a"


def test_a_probe_of_the_vendor_that_is_refused_its_own_choice_is_handed_back(health: Health, clock: Clock) -> None:
    open_it(health)
    clock.now = 10.0
    dead, alive = wanting(health, "dead"), wanting(health, "alive")
    assert (dead.choose(), alive.choose()) == ("a", "b")
    dead.failed("a", kinds=REFUSED, lasting=True)
    assert circuit(health) is Circuit.OPEN
    assert (dead.choose(), alive.choose()) == ("b", "a")  # at once, and not by the one who cannot tell
    assert alive.useful("a") is True
    assert (dead.choose(), circuit(health)) == ("b", Circuit.CLOSED)


def test_a_probe_of_a_choice_that_finds_the_vendor_away_is_handed_back(health: Health, clock: Clock) -> None:
    wanting(health, "mine").failed("a", kinds=REFUSED, lasting=True)
    clock.now = 10.0
    probing = wanting(health, "mine")
    assert probing.choose() == "a"
    probing.failed("a", kinds=("401", "refused"), lasting=True)
    assert health.breaker("stt", "a", "mine").retry_at == -math.inf
    clock.now = 20.0
    assert wanting(health, "mine").choose() == "a"
    assert health.circuits() == {("stt", "a", ""): Circuit.HALF_OPEN, ("stt", "a", "mine"): Circuit.HALF_OPEN}


def test_when_all_are_away_it_is_the_one_whose_later_circuit_may_be_tried_soonest(health: Health, clock: Clock) -> None:
    open_it(health, "a")
    clock.now = 1.0
    open_it(health, "b")
    clock.now = 2.0
    wanting(health, "mine").failed("a", kinds=REFUSED, lasting=True)
    assert wanting(health, "theirs").choose() == "a"
    assert wanting(health, "mine").choose() == "b"


# ── calls that come and go ────────────────────────────────────────────────────────────────────────────────────────────

# A circuit, by name and choice.
Key: TypeAlias = tuple[str, str]


@attrs.define(eq=False)
class Life:
    """A life that somebody began."""

    providers: Providers
    name: str
    choice: str
    of_use: bool = False

    @property
    def keys(self) -> Sequence[Key]:
        return keys(self.name, self.choice)


NAMES = ("a", "b")
CHOICES = ("", "x", "y")
KEYS = tuple(product(NAMES, CHOICES))
PREFERENCES = (("a", "b"), ("b", "a"), ("a",))
FAILURES = (("down",), ("401", "refused"), ("404", "refused"))


def keys(name: str, choice: str) -> Sequence[Key]:
    return tuple(dict.fromkeys([(name, ""), (name, choice)]))


class Calls(RuleBasedStateMachine):
    """Lives that begin, are of use, fail and are ended in any order. It keeps its own account of who probes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.policy = Clock(), POLICY
        self.changes: list[tuple[str, str, Circuit]] = []
        self.health = Health(policy=POLICY, clock=self.clock, changed=lambda _, *change: self.changes.append(change))
        self.lives: list[Life] = []
        # The life that probes each circuit, and until when it counts.
        self.probes: dict[Key, tuple[Life, float]] = {}
        # Not before: by circuit, while it is not closed.
        self.away_until: dict[Key, float] = {}

    def breaker(self, key: Key) -> Breaker:
        return self.health.breaker("stt", *key)

    def circuit(self, key: Key) -> Circuit:
        return self.breaker(key).circuit

    def one_of_them(self, whose: int) -> Life | None:
        return self.lives[whose % len(self.lives)] if self.lives else None

    def gone(self, life: Life) -> set[Key]:
        """Take a life off the account; return which circuits it was the probe of."""
        self.lives.remove(life)
        probed = {key for key in life.keys if key in self.probes and self.probes[key][0] is life}
        for key in probed:
            del self.probes[key]
        return probed

    def has_handed_back(self, key: Key) -> None:
        assert self.circuit(key) is Circuit.OPEN
        assert self.breaker(key).lets_through(self.clock.now)  # the place is free, at once
        self.away_until[key] = -math.inf
        event("a probe that was handed back")

    @initialize(name=st.sampled_from(NAMES))
    def one_is_away(self, name: str) -> None:
        open_it(self.health, name)
        self.away_until[name, ""] = self.breaker((name, "")).retry_at

    @rule(
        after_s=st.sampled_from((0.0, 0.5, 10.0, 20.0, 40.0)),
        names=st.sampled_from(PREFERENCES),
        choice=st.sampled_from(CHOICES),
        without=st.sampled_from(((), (), ("a",))),
    )
    def begins(self, after_s: float, names: tuple[str, ...], choice: str, without: tuple[str, ...]) -> None:
        self.clock.now += after_s
        now, providers = self.clock.now, wanting(self.health, choice, *names)
        left = [each for each in names if each not in without]
        was = {key: self.circuit(key) for key in KEYS}
        free = {key for key in KEYS if was[key] is Circuit.CLOSED or now >= self.away_until[key]}
        may = [each for each in left if free.issuperset(keys(each, choice))]
        assert providers.any_well(without=without) == bool(may)
        assert providers.any_left(without=without) == bool(left)
        chosen = providers.choose(without=without)
        if not left:
            assert chosen is None
            return
        assert chosen is not None
        assert chosen == may[0] if may else chosen in left
        life = Life(providers, chosen, choice)
        self.lives.append(life)
        for key in free.intersection(life.keys):
            if was[key] is not Circuit.CLOSED:
                assert self.circuit(key) is Circuit.HALF_OPEN
                assert key not in self.probes or now >= self.probes[key][1]  # one at a time
                self.away_until[key] = self.breaker(key).retry_at
                assert self.away_until[key] > now
                self.probes[key] = life, self.away_until[key]

    @rule(whose=st.integers(0, 5))
    def is_of_use(self, whose: int) -> None:
        life = self.one_of_them(whose)
        if life is None or life.of_use:
            return
        was_well = life.providers.is_well(life.name)
        assert was_well == all(self.circuit(key) is Circuit.CLOSED for key in life.keys)
        life.of_use = True
        assert life.providers.useful(life.name) is not was_well
        for key in life.keys:
            assert self.circuit(key) is Circuit.CLOSED
            assert self.breaker(key).failures == 0
            self.probes.pop(key, None)
            self.away_until.pop(key, None)

    @rule(whose=st.integers(0, 5), lasting=st.booleans(), kinds=st.sampled_from(FAILURES))
    def fails(self, whose: int, lasting: bool, kinds: Sequence[str]) -> None:
        life = self.one_of_them(whose)
        if life is None:
            return
        was, probed = {key: self.breaker(key) for key in KEYS}, self.gone(life)
        if life.of_use:
            return
        life.providers.failed(life.name, kinds=kinds, lasting=lasting)
        concerned = (life.name, life.choice if "404" in kinds else "")
        now = self.breaker(concerned)
        if was[concerned].circuit is Circuit.CLOSED:
            opens = lasting or was[concerned].failures + 1 >= self.policy.failures
            assert now.circuit is (Circuit.OPEN if opens else Circuit.CLOSED)
        else:
            assert (now == was[concerned]) != (concerned in probed)
            assert concerned not in probed or now.circuit is Circuit.OPEN
        if now.circuit is Circuit.OPEN and now != was[concerned]:
            away_s = now.retry_at - self.clock.now
            assert self.policy.open_s <= away_s <= self.policy.longest_open_s
            self.away_until[concerned] = now.retry_at
        for key in probed - {concerned}:
            self.has_handed_back(key)
        assert all(self.breaker(key) == was[key] for key in KEYS if key != concerned and key not in probed)

    @rule(whose=st.integers(0, 5))
    def is_ended(self, whose: int) -> None:
        life = self.one_of_them(whose)
        if life is None:
            return
        was, probed = {key: self.breaker(key) for key in KEYS}, self.gone(life)
        if life.of_use:
            return
        life.providers.released(life.name)
        for key in probed:
            self.has_handed_back(key)
        assert all(self.breaker(key) == was[key] for key in KEYS if key not in probed)

    @rule(failures=st.integers(1, 3), open_s=st.sampled_from((1.0, 10.0)))
    def the_policy_changes(self, failures: int, open_s: float) -> None:
        was = self.health.circuits()
        self.policy = attrs.evolve(POLICY, failures=failures, open_s=open_s)
        self.health.change_policy(self.policy)
        assert self.health.circuits() == was

    @invariant()
    def a_circuit_is_half_open_exactly_while_somebody_probes(self) -> None:
        for key in KEYS:
            assert (self.circuit(key) is Circuit.HALF_OPEN) == (key in self.probes)

    @invariant()
    def every_change_was_told(self) -> None:
        told = dict.fromkeys(KEYS, Circuit.CLOSED)
        for name, choice, circuit_now in self.changes:
            assert told[name, choice] is not circuit_now
            told[name, choice] = circuit_now
        assert told == {key: self.circuit(key) for key in KEYS}

    @invariant()
    def nobody_is_away_for_ever(self) -> None:
        for key in KEYS:
            assert self.breaker(key).retry_at <= self.clock.now + POLICY.longest_open_s

    @invariant()
    def who_is_well_is_let_through(self) -> None:
        for key in KEYS:
            assert self.circuit(key) is not Circuit.CLOSED or self.breaker(key).retry_at == -math.inf


Calls.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestCalls = Calls.TestCase
