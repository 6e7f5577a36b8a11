"""What the restart policy decides, by tables and by properties. No clock: time is a number."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.errors import ProviderDown, ProviderRefused, ProviderSlow
from engine.policy import (
    Answer,
    Backoff,
    Decision,
    FailOver,
    Failure,
    GiveUp,
    Restart,
    RestartPolicy,
    RestartState,
    kinds_of,
    splitmix64,
)

STEADY = Backoff(first_s=0.25, minimum_s=1.0, maximum_s=1.0)  # no jitter: what is left is the rule


def decisions(state: RestartState, *moments: float) -> list[Decision]:
    made = []
    for now in moments:
        state, decision = state.failed("crash", now)
        made.append(decision)
    return made


def kinds(state: RestartState, *moments: float) -> str:
    return "".join("R" if isinstance(decision, Restart) else "G" for decision in decisions(state, *moments))


@pytest.mark.parametrize(
    ("intensity", "period_s", "moments", "expected"),
    [
        (2, 10.0, (0, 1, 2), "RRG"),  # as many restarts as the intensity, and not one more
        (3, 10.0, (0, 1, 2), "RRR"),
        (0, 10.0, (0,), "G"),
        (1, 10.0, (0, 9.75), "RG"),
        (1, 10.0, (0, 10.0), "RG"),  # exactly as old as the window: still in it
        (1, 10.0, (0, 10.25), "RR"),
        (2, 10.0, (0, 6, 11, 12), "RRRG"),  # the window slides
        (1, 0.5, (0, 1, 2, 3), "RRRR"),
        (1, 10.0, (0, 1, 2), "RGG"),  # having given up does not clear the window
    ],
)
def test_more_failures_than_the_intensity_within_the_period_give_up(
    intensity: int, period_s: float, moments: tuple[float, ...], expected: str
) -> None:
    state = RestartState(policy=RestartPolicy(intensity=intensity, period_s=period_s))
    assert kinds(state, *moments) == expected


def test_giving_up_tells_every_failure_of_the_window_and_no_older_one() -> None:
    state = RestartState(policy=RestartPolicy(intensity=1, period_s=5.0))
    state, _ = state.failed("old", 0.0, child="a")
    state, _ = state.failed("closed", 7.0, child="a")
    _, decision = state.failed("stalled", 9.0, child="b")
    closed = Failure(failed_at=7.0, child="a", reason="closed")
    stalled = Failure(failed_at=9.0, child="b", reason="stalled")
    assert decision == GiveUp(reason="stalled", history=(closed, stalled))


def test_the_first_restart_waits_the_first_wait_and_the_next_ones_the_backoff() -> None:
    state = RestartState(policy=RestartPolicy(backoff=STEADY))
    assert decisions(state, 0, 1, 2) == [Restart(after_s=0.25), Restart(after_s=1.0), Restart(after_s=1.0)]


def test_useful_output_makes_the_next_restart_a_first_one_but_leaves_the_window_alone() -> None:
    state = RestartState(policy=RestartPolicy(intensity=3, backoff=STEADY))
    state, _ = state.failed("crash", 0)
    state, second = state.failed("crash", 1)
    state, after_useful = state.useful().failed("crash", 2)
    assert (second, after_useful) == (Restart(after_s=1.0), Restart(after_s=0.25))
    _, decision = state.useful().failed("crash", 3)
    assert isinstance(decision, GiveUp)


def test_a_failure_lets_go_of_those_that_have_left_the_longest_window_that_was_asked_for() -> None:
    state, _ = RestartState(policy=RestartPolicy(period_s=10.0)).failed("crash", 0)
    state, _ = state.failed("crash", 30.0, policy=RestartPolicy(period_s=60.0))
    state, _ = state.failed("crash", 45.0)
    assert [each.failed_at for each in state.failures] == [0, 30.0, 45.0]
    state, _ = state.failed("crash", 61.0)
    assert [each.failed_at for each in state.failures] == [30.0, 45.0, 61.0]


def test_useful_output_of_a_child_without_failures_changes_nothing() -> None:
    state, _ = RestartState().failed("crash", 0, child="a")
    assert state.useful(child="b") is state


def test_children_share_the_window_but_not_the_backoff() -> None:
    state = RestartState(policy=RestartPolicy(intensity=3, backoff=STEADY))
    made = []
    for child in ("a", "b", "a"):
        state, decision = state.failed("crash", 0, child=child)
        made.append(decision)
    assert made == [Restart(after_s=0.25), Restart(after_s=0.25), Restart(after_s=1.0)]
    _, restart = state.useful(child="b").failed("crash", 11, child="a")
    assert restart == Restart(after_s=1.0)  # b's output says nothing of a
    _, given_up = state.failed("crash", 0, child="c")
    assert isinstance(given_up, GiveUp)


def test_a_child_with_a_backoff_of_its_own_waits_that_long() -> None:
    _, decision = RestartState().failed("crash", 0, backoff=Backoff(first_s=0.5))
    assert decision == Restart(after_s=0.5)


def test_another_policy_is_obeyed_by_the_next_decision_with_the_failures_kept() -> None:
    state, _ = RestartState(policy=RestartPolicy(intensity=5)).failed("crash", 0)
    strict = state.with_policy(RestartPolicy(intensity=1))
    assert (kinds(state, 1), kinds(strict, 1)) == ("R", "G")


@pytest.mark.parametrize(
    ("streak", "longest_s"),
    [(0, 0.0), (1, 0.2), (2, 0.4), (3, 0.8), (4, 1.0), (5, 1.0), (1023, 1.0), (1024, 1.0), (10**9, 1.0)],
)
def test_the_longest_wait_doubles_up_to_the_maximum(streak: int, longest_s: float) -> None:
    assert Backoff().longest_s(streak) == pytest.approx(longest_s)


def test_nothing_ever_waits_with_a_minimum_of_zero() -> None:
    backoff = Backoff(minimum_s=0.0)
    assert [backoff.longest_s(streak) for streak in (0, 1, 50, 5000)] == [0.0] * 4


def test_a_wait_lies_between_the_minimum_and_the_longest() -> None:
    assert Backoff().wait_s(2, 0.0) == pytest.approx(0.1)
    assert Backoff().wait_s(2, 0.5) == pytest.approx(0.25)
    assert Backoff().wait_s(0, 0.999) == 0.0


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Backoff(first_s=-0.001), "first_s.*-0.001"),
        (lambda: Backoff(minimum_s=-1), "minimum_s.*-1"),
        (lambda: Backoff(maximum_s=-1), "maximum_s.*-1"),
        (lambda: Backoff(maximum_s=math.inf), "maximum_s.*inf"),
        (lambda: Backoff(minimum_s=math.nan), "minimum_s.*nan"),
        (lambda: Backoff(factor=0.999), "factor.*0.999"),
        (lambda: Backoff(factor=math.nan), "factor.*nan"),
        (lambda: Backoff(minimum_s=1.001, maximum_s=1.0), r"minimum_s.*maximum_s.*\(1.0\).*1.001"),
        (lambda: Backoff(first_s=1.001, maximum_s=1.0), r"first_s.*maximum_s.*\(1.0\).*1.001"),
        (lambda: RestartPolicy(intensity=-1), "intensity.*-1"),
        (lambda: RestartPolicy(period_s=0.0), "period_s.*0"),
        (lambda: RestartPolicy(period_s=math.inf), "period_s.*inf"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_with_the_name_and_the_value(make: type, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


def test_the_least_and_the_most_that_makes_sense_is_accepted() -> None:
    Backoff(first_s=0.0, minimum_s=0.0, maximum_s=0.0, factor=1.0)
    Backoff(first_s=1.0, minimum_s=1.0, maximum_s=1.0)
    RestartPolicy(intensity=0, period_s=0.001)


def test_the_jitter_is_splitmix64() -> None:
    # The first outputs for seed 0 are widely published: E220A8397B1DCDAF, 6E789E6AA1B965F4, 06C45D188009454F.
    seed, chances = 0, []
    for _ in range(3):
        seed, chance = splitmix64(seed)
        chances.append(chance)
    words = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
    assert chances == [(word >> 11) / 2**53 for word in words]


def test_the_jitter_is_even() -> None:
    seed, sums, thirds = 1, 0.0, [0, 0, 0]
    for _ in range(3000):
        seed, chance = splitmix64(seed)
        sums += chance
        thirds[int(chance * 3)] += 1
    assert sums / 3000 == pytest.approx(0.5, abs=0.02)
    assert min(thirds) > 900


quarters = st.integers(0, 40).map(lambda n: n / 4)  # exact in binary, so that the edge of the window is exact too
backoffs = st.builds(
    lambda low, more, first, factor: Backoff(
        first_s=first * (low + more), minimum_s=low, maximum_s=low + more, factor=factor
    ),
    st.floats(0, 5),
    st.floats(0, 5),
    st.floats(0, 1),
    st.floats(1, 100),
)
policies = st.builds(
    RestartPolicy, intensity=st.integers(0, 4), period_s=quarters.map(lambda s: s + 0.25), backoff=backoffs
)
steps = st.lists(
    st.tuples(st.sampled_from(("failed", "failed", "useful")), st.sampled_from("ab"), quarters), max_size=25
)


@given(policies, st.integers(), steps)
def test_in_no_window_are_there_more_restarts_than_the_intensity(
    policy: RestartPolicy, seed: int, script: list[tuple[str, str, float]]
) -> None:
    state, now, failed_at = RestartState(policy=policy, seed=seed), 0.0, list[float]()
    streaks = {"a": 0, "b": 0}
    for what, child, pause_s in script:
        now += pause_s
        if what == "useful":
            state, streaks[child] = state.useful(child=child), 0
            continue
        failed_at.append(now)
        state, decision = state.failed("crash", now, child=child)
        in_window = sum(now - each <= policy.period_s for each in failed_at)
        assert isinstance(decision, GiveUp) == (in_window > policy.intensity)
        if isinstance(decision, Restart):
            if streaks[child] == 0:
                assert decision.after_s == policy.backoff.first_s
            else:
                assert policy.backoff.minimum_s <= decision.after_s <= policy.backoff.maximum_s
                assert decision.after_s <= policy.backoff.longest_s(streaks[child])
            streaks[child] += 1


@given(policies, st.integers(), steps)
def test_the_same_history_always_leads_to_the_same_state_and_decisions(
    policy: RestartPolicy, seed: int, script: list[tuple[str, str, float]]
) -> None:
    def replay() -> tuple[RestartState, list[Decision]]:
        state, now, made = RestartState(policy=policy, seed=seed), 0.0, []
        for what, child, pause_s in script:
            now += pause_s
            if what == "useful":
                state = state.useful(child=child)
            else:
                state, decision = state.failed("crash", now, child=child)
                made.append(decision)
        return state, made

    assert replay() == replay()


# ── kinds of failure, and others who stand by ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProviderDown("x"), ("down",)),
        (ProviderDown("x", code="1011"), ("1011", "down")),
        (ProviderSlow("x"), ("slow",)),
        (ProviderRefused("x", code="401"), ("401", "refused")),
        (ValueError("x"), ("crash",)),
        (None, ("crash",)),
    ],
)
def test_an_error_says_what_kinds_of_failure_it_is(error: Exception | None, expected: tuple[str, ...]) -> None:
    assert kinds_of(error) == expected


STRICT = RestartPolicy(
    intensity=1,
    backoff=STEADY,
    reasons={"401": Answer.NEXT, "1008": Answer.END, "429": Answer.RESTART, "refused": Answer.NEXT},
)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (("401", "refused"), Answer.NEXT),
        (("429", "refused"), Answer.RESTART),  # the most special decides
        (("1008", "down"), Answer.END),
        (("1011", "down"), Answer.RESTART),
        ((), Answer.RESTART),
    ],
)
def test_the_first_kind_that_the_policy_names_decides(said: tuple[str, ...], answer: Answer) -> None:
    assert STRICT.answer(said) is answer


def test_by_default_a_refusal_goes_to_the_next_and_what_is_exhausted_ends() -> None:
    policy = RestartPolicy()
    answers = [policy.answer(kinds) for kinds in (("401", "refused"), ("exhausted", "gave_up"), ("gave_up",))]
    assert answers == [Answer.NEXT, Answer.END, Answer.RESTART]


@pytest.mark.parametrize(
    ("kind", "before", "standby", "better", "expected"),
    [
        ("down", 0, True, False, "R"),
        ("down", 1, True, False, "F"),  # one too many
        ("down", 1, False, False, "G"),
        ("down", 0, True, True, "F"),  # another is well, this one is not
        ("refused", 0, True, False, "F"),
        ("refused", 0, False, False, "E"),
        ("refused", 1, False, False, "E"),
        ("429", 0, True, False, "R"),
        ("429", 1, True, False, "F"),
        ("1008", 0, True, True, "E"),
        ("1008", 0, False, False, "E"),
    ],
)
def test_who_stands_by_takes_over_from_one_that_is_given_up(
    kind: str, before: int, standby: bool, better: bool, expected: str
) -> None:
    state = RestartState(policy=STRICT)
    for _ in range(before):
        state, _ = state.failed("crash", 0.0)
    _, decision = state.failed("crash", 1.0, kinds=(kind,), standby=standby, better=better)
    assert letter(decision) == expected


def letter(decision: Decision) -> str:
    match decision:
        case Restart():
            return "R"
        case FailOver():
            return "F"
        case GiveUp(exhausted=exhausted):
            return "E" if exhausted else "G"


def test_the_next_has_a_backoff_of_its_own_and_inherits_no_failures_of_the_one_before() -> None:
    state = RestartState(policy=STRICT)
    state, _ = state.failed("crash", 0.0, child="a", standby=True)
    state, over = state.failed("crash", 1.0, child="a", standby=True)
    state, first = state.failed("crash", 2.0, child="a")
    _, last = state.failed("crash", 3.0, child="a")
    assert (over, first) == (FailOver(), Restart(after_s=0.25))
    assert isinstance(last, GiveUp)
    assert [each.failed_at for each in last.history] == [2.0, 3.0]


def test_failures_of_siblings_count_for_the_next_too() -> None:
    state = RestartState(policy=STRICT)
    state, _ = state.failed("crash", 0.0, child="loop")
    state, over = state.failed("crash", 1.0, child="session", standby=True)
    _, then = state.failed("crash", 2.0, child="session")
    assert isinstance(over, FailOver)
    assert isinstance(then, GiveUp)
    assert [each.child for each in then.history] == ["loop", "session"]


def test_the_shorter_window_of_an_alternative_does_not_cut_that_of_the_supervisor() -> None:
    state = RestartState(policy=RestartPolicy(intensity=2, period_s=10.0))
    hasty = RestartPolicy(intensity=9, period_s=1.0)
    for now in (0.0, 5.0):
        state, _ = state.failed("crash", now, child="session", policy=hasty)
    _, decision = state.failed("crash", 9.0, child="loop")
    assert isinstance(decision, GiveUp)
    assert [each.failed_at for each in decision.history] == [0.0, 5.0, 9.0]


alternatives = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        quarters,
        st.sampled_from((("down",), ("down",), ("crash",), ("401", "refused"), ("429", "refused"), ("1008", "down"))),
        st.booleans(),
        st.booleans(),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=30,
)


@given(policies, st.integers(), st.lists(st.integers(1, 4), min_size=4, max_size=4), alternatives)
def test_an_alternative_is_restarted_as_often_as_its_policy_allows_and_not_more(
    policy: RestartPolicy,
    seed: int,
    shares: list[int],
    script: list[tuple[str, float, tuple[str, ...], bool, bool, int, bool]],
) -> None:
    # The supervisor's own window is the longest; others are a part of it.
    policies = [
        attrs.evolve(policy, period_s=policy.period_s / share, intensity=share, reasons=STRICT.reasons)
        for share in shares
    ]
    state, now = RestartState(policy=policy, seed=seed), 0.0
    seen: list[tuple[float, str]] = []  # of each child, since it last failed over
    for child, pause_s, kinds, standby, better, which, of_use in script:
        now += pause_s
        judge = policies[which]
        window = [each for each in seen if now - each[0] <= judge.period_s]
        state, decision = state.failed(
            "crash", now, child=child, kinds=kinds, policy=judge, standby=standby, better=better
        )
        said = judge.answer(kinds)
        match decision:
            case FailOver():
                assert standby
                assert said is not Answer.END
                assert better or said is Answer.NEXT or len(window) >= judge.intensity
                seen = [each for each in seen if each[1] != child]
            case Restart():
                assert said is Answer.RESTART
                assert not (standby and better)
                assert len(window) < judge.intensity
                seen.append((now, child))
            case GiveUp(history=history, exhausted=exhausted):
                assert exhausted == (said is not Answer.RESTART)
                assert exhausted or len(window) >= judge.intensity
                assert not standby or said is Answer.END
                seen.append((now, child))
                assert [(each.failed_at, each.child) for each in history] == [*window, (now, child)]
        if of_use:
            state = state.useful(child=child)


def test_states_with_different_seeds_do_not_wait_in_step() -> None:
    waits = {decisions(RestartState(seed=seed), 0, 1)[1] for seed in range(100)}
    assert len(waits) == 100


def test_two_waits_after_one_another_are_drawn_anew() -> None:
    state = RestartState(policy=RestartPolicy(backoff=Backoff(factor=100)))
    first, *waits = decisions(state, 0, 1, 2, 3)
    assert len(set(waits)) == 3
    assert first == Restart(after_s=0.0)


def test_failures_too_rare_for_the_window_are_borne_as_long_as_patience_lasts() -> None:
    state = RestartState(policy=RestartPolicy(intensity=1, period_s=2.0, patience_s=9.0, backoff=STEADY))
    for failed_at in (0, 3, 6, 9):
        state, decision = state.failed("nobody answers", failed_at)
        assert isinstance(decision, Restart)
    _, after_useful = state.useful().failed("nobody answers", 12)
    assert isinstance(after_useful, Restart)
    _, decision = state.failed("nobody answers", 12)
    assert decision == GiveUp(reason="nobody answers", history=decision.history, exhausted=True)  # type: ignore[union-attr]
    _, decision = state.failed("nobody answers", 12, standby=True)
    assert decision == FailOver()


def test_patience_begins_anew_with_another_alternative() -> None:
    state = RestartState(policy=RestartPolicy(intensity=9, patience_s=5.0, backoff=STEADY))
    state, _ = state.failed("nobody answers", 0)
    state, decision = state.failed("nobody answers", 6, standby=True)
    assert decision == FailOver()
    _, decision = state.failed("nobody answers", 9)
    assert isinstance(decision, Restart)


def test_a_life_that_was_only_idle_does_not_use_up_patience() -> None:
    state = RestartState(policy=RestartPolicy(intensity=9, period_s=60.0, patience_s=5.0, backoff=STEADY))
    for failed_at in (0, 20, 40):  # closed by a vendor that had nothing to do
        state, decision = state.failed("nothing to say in time", failed_at)
        assert isinstance(decision, Restart)
    for failed_at, borne in ((43, True), (45, True), (46, False)):
        state, decision = state.failed("nobody answers", failed_at)
        assert isinstance(decision, Restart) is borne
