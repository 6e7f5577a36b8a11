"""Attempts: who is asked after a request that failed, and after how long."""

import math

import attrs
import pytest

from engine.codec.attempts import Attempts, Streak

NEVER = math.inf
DOWN, FULL = ("down",), ("529", "down")


@attrs.frozen(kw_only=True)
class Rules:
    models: tuple[str, ...] = ()
    retries: int = 1
    retry_s: float = 0.25
    last_s: float = 1.0


def failed(count: int, since: float = 5.0, *without: str) -> Attempts:
    return Attempts(streak=Streak(count=count, since=since), without=without, died=True)


FIRST = Attempts()
TWO = Rules(models=("a", "b"))


@pytest.mark.parametrize(
    ("before", "vendor", "kinds", "again", "rules", "after", "pause_s"),
    [
        (FIRST, "a", DOWN, True, Rules(), failed(1), 0.0),
        (FIRST, "a", FULL, True, Rules(), failed(1), 0.25),
        (FIRST, "a", DOWN, True, TWO, failed(1), 0.0),
        (FIRST, "a", DOWN, False, TWO, failed(0, NEVER, "a"), 0.0),
        (FIRST, "b", DOWN, False, TWO, failed(0, NEVER, "b"), 0.0),
        (FIRST, "", DOWN, False, TWO, failed(0, NEVER, "a"), 0.0),
        (FIRST, "a", DOWN, False, Rules(), failed(1), NEVER),
        (FIRST, "a", DOWN, True, attrs.evolve(TWO, retries=0), failed(0, NEVER, "a"), 0.0),
        (failed(1, 4.0), "a", DOWN, True, TWO, failed(0, NEVER, "a"), 0.0),
        (failed(1, 4.0), "a", FULL, True, TWO, failed(0, NEVER, "a"), 0.0),
        (failed(0, NEVER, "a"), "b", DOWN, True, TWO, failed(1, 5.0, "a"), 0.0),
        (failed(1, 4.75, "a"), "b", DOWN, True, TWO, failed(2, 4.75, "a"), 0.25),
        (failed(1, 4.75, "a"), "b", DOWN, False, TWO, failed(2, 4.75, "a"), NEVER),
        (failed(0, NEVER, "b"), "", DOWN, False, TWO, failed(1, 5.0, "b"), NEVER),
        (failed(2, 4.5), "a", DOWN, True, Rules(), failed(3, 4.5), 0.5),
        (failed(2, 4.25), "a", DOWN, True, Rules(), failed(3, 4.25), NEVER),
        (failed(2, 4.25), "a", DOWN, True, Rules(retries=3), failed(3, 4.25), 0.0),
        (failed(60, 5.0), "a", DOWN, True, Rules(last_s=NEVER), failed(61, 5.0), 0.25 * 2**16),
    ],
)
def test_the_same_model_is_asked_once_more_then_the_next_and_the_last_for_a_while(
    *,
    before: Attempts,
    vendor: str,
    kinds: tuple[str, ...],
    again: bool,
    rules: Rules,
    after: Attempts,
    pause_s: float,
) -> None:
    assert before.failed(vendor, kinds, 5.0, rules, again=again) == (after, pause_s)


def test_a_whole_answer_ends_a_streak_but_who_is_done_with_stays_so() -> None:
    assert attrs.evolve(failed(2, 4.0, "a"), cut=True).answered() == failed(0, NEVER, "a")


def test_a_streak_counts_from_its_first_failure() -> None:
    assert Streak().failed(5.0).failed(6.0) == Streak(count=2, since=5.0)
    assert Streak(count=2, since=5.0).fresh() == Streak(count=2, since=5.0)
