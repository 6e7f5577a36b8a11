"""Lines, as values: how many calls, and how often one caller."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import lines
from web.lines import MINUTE_S, Full, Lines


def make(at_once: int = 2, a_minute: int = 100, promise_s: float = 60.0) -> Lines:
    return Lines(at_once=at_once, a_minute=a_minute, promise_s=promise_s)


def test_a_promise_counts_as_a_call_until_its_line_opens_and_then_the_line_does() -> None:
    some = make()
    assert (some.promise("CA1", "ann", 0.0), some.promise("CA2", "bob", 0.0)) == (None, None)
    assert some.promise("CA3", "cid", 0.0) is Full.LINES
    some.open("CA1")
    assert some.promise("CA3", "cid", 1.0) is Full.LINES
    some.close()
    assert some.promise("CA3", "cid", 1.0) is None
    assert some.count(1.0) == 2


@pytest.mark.parametrize(("now", "told"), [(59.999, Full.LINES), (60.0, None)])
def test_a_promise_lapses_with_its_token(now: float, told: Full | None) -> None:
    some = make(at_once=1)
    some.promise("CA1", "ann", 0.0)
    assert some.next_lapse_at() == 60.0
    assert some.promise("CA2", "bob", now) is told


def test_a_call_that_asks_again_has_its_promise_renewed_and_takes_no_second_line() -> None:
    some = make(at_once=1, a_minute=1)
    assert [some.promise("CA1", "ann", float(now)) for now in (0, 20, 40)] == [None] * 3
    assert (some.count(99.9), some.count(100.0)) == (1, 0)


def test_a_promise_that_is_taken_back_is_free_at_once() -> None:
    some = make(at_once=1)
    some.promise("CA1", "ann", 0.0)
    some.release("CA1")
    some.release("CA1")
    some.release("a call nobody knows")
    assert some.promise("CA2", "bob", 0.0) is None


@pytest.mark.parametrize(("now", "told"), [(MINUTE_S - 0.001, Full.CALLER), (MINUTE_S, None)])
def test_a_caller_may_call_so_often_in_any_minute(now: float, told: Full | None) -> None:
    some = make(at_once=9, a_minute=2)
    assert [some.promise(f"CA{n}", "ann", float(n)) for n in range(3)] == [None, None, Full.CALLER]
    assert some.promise("CA4", "bob", 3.0) is None
    assert some.promise("CA5", "ann", now) is told


def test_a_call_that_is_turned_away_does_not_count_against_its_caller() -> None:
    some = make(at_once=1, a_minute=1)
    some.promise("CA1", "bob", 0.0)
    assert [some.promise(f"CA2{n}", "ann", 1.0) for n in range(5)] == [Full.LINES] * 5
    some.release("CA1")
    assert some.promise("CA3", "ann", 2.0) is None


def test_a_flood_of_callers_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "CALLERS_KEPT", 100)
    some = make(at_once=10**6, a_minute=2, promise_s=0.5)
    for n in range(10_000):
        some.promise(f"CA{n}", f"+1555{n}", n / 1000)
    assert len(some._callers) <= 100
    assert len(some._promised) <= 500
    assert some.promise("CA", "+15559999", 10.0) is None
    assert some.promise("CAA", "+15559999", 10.0) is Full.CALLER


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["promise", "open", "close", "release"]),
        st.sampled_from(["CA1", "CA2", "CA3", "CA4"]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from([0.0, 0.5, 10.0, 59.0, 61.0]),
    ),
    max_size=40,
)


@given(ACTS, st.integers(1, 3), st.integers(1, 3))
def test_whatever_happens_the_limits_hold(acts: list[tuple[str, str, str, float]], at_once: int, a_minute: int) -> None:
    some = Lines(at_once=at_once, a_minute=a_minute, promise_s=20.0)
    now, opened, ends, times = 0.0, 0, dict[str, float](), dict[str, list[float]]()
    for act, call, caller, later in acts:
        now += later
        ends = {each: at for each, at in ends.items() if at > now}
        match act:
            case "promise":
                recent = [at for at in times.get(caller, []) if at > now - MINUTE_S]
                if call in ends:
                    expected = None
                elif len(recent) >= a_minute:
                    expected = Full.CALLER
                elif opened + len(ends) >= at_once:
                    expected = Full.LINES
                else:
                    expected = None
                    times[caller] = [*recent, now]
                assert some.promise(call, caller, now) is expected
                if expected is None:
                    ends[call] = now + 20.0
            case "open":  # whoever holds a token may open, once: its promise may have lapsed a moment ago
                some.open(call)
                opened += 1
                ends.pop(call, None)
            case "close" if opened:
                some.close()
                opened -= 1
            case _:
                some.release(call)
                ends.pop(call, None)
        assert some.count(now) == opened + len(ends)
