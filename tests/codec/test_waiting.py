"""Waiting: when a caller is told to wait, is played a tone, and when tools are given up."""

import math
from typing import Any

import attrs
import pytest

from engine.codec.waiting import Silence, Wait

NEVER = math.inf
TWO = Wait().called("t1", due=16.0, tone_due=9.0).called("t2", due=17.0, tone_due=10.0)
"""Waiting for two tools since 6.0 and 7.0."""


def test_tools_are_waited_for_from_the_last_one_and_the_tone_counts_from_the_first() -> None:
    assert TWO.tools == {"t1", "t2"}
    assert (TWO.tools_due, TWO.tone_due) == (17.0, 9.0)
    assert TWO.toned().called("t3", due=18.0, tone_due=11.0).tone_due == NEVER


def test_the_wait_for_tools_is_over_with_the_last_of_them() -> None:
    one = TWO.returned("t1")
    assert one == attrs.evolve(TWO, tools=frozenset({"t2"}))
    assert one.returned("t2") == Wait()


@pytest.mark.parametrize(
    ("wait", "due"),
    [
        (Wait(), NEVER),
        (Wait(filler_due=6.8), 6.8),
        (TWO, 9.0),
        (TWO.toned(), 17.0),
        (attrs.evolve(TWO, filler_due=6.8), 6.8),
        (attrs.evolve(TWO, filler_due=6.8).unfilled(), 9.0),
    ],
)
def test_it_is_due_when_the_first_thing_is(wait: Wait, due: float) -> None:
    assert wait.due == due


@pytest.mark.parametrize(("tools", "due"), [(frozenset(), NEVER), (frozenset({"t1"}), 12.0)])
def test_the_tone_comes_anew_where_there_are_tools(tools: frozenset[str], due: float) -> None:
    wait = Wait(tools=tools, filler_due=6.8)
    assert wait.anew(12.0) == attrs.evolve(wait, tone_due=due)
    assert wait.spoken(12.0) == Wait(tools=tools, tone_due=due)


@pytest.mark.parametrize(
    ("filled", "questions", "due"),
    [
        (-1, [], 6.8),
        (-1, [1], 6.8),
        (1, [1], 6.8),
        (1, [1, 2], 8.6),
        (1, [1, 3], 8.6),
        (1, [1, 2, 3], 6.8),
        (0, [1, 2], 6.8),
    ],
)
def test_who_was_told_to_wait_in_the_turn_before_is_told_after_twice_as_long(
    filled: int, questions: list[int], due: float
) -> None:
    assert Wait(filled=filled).patient(5.0, 1.8, questions) == Wait(filled=filled, filler_due=due)


def test_who_will_be_told_to_wait_is_told_then_and_not_later() -> None:
    assert Wait(filler_due=6.8).patient(6.0, 1.8, [1]) == Wait(filler_due=6.8)


def test_a_wait_of_sound_numbers_can_be_made_anew_and_another_cannot() -> None:
    wait = attrs.evolve(TWO, filler_due=6.8, filled=3)
    assert wait.fresh() == wait
    broken: Any = None
    with pytest.raises(TypeError):
        attrs.evolve(wait, tools_due=broken).fresh()


# A caller who is silent.

ASKED = Silence(asked=1, farewell=3, unheard_until=40.0)


def test_who_is_asked_may_be_told_goodbye_with_it() -> None:
    assert Silence().prompted(2, goodbye=False) == Silence(asked=1)
    assert ASKED.prompted(4, goodbye=False) == attrs.evolve(ASKED, asked=2)
    assert ASKED.prompted(4, goodbye=True) == attrs.evolve(ASKED, asked=2, farewell=4)


def test_a_caller_who_speaks_is_asked_anew_and_a_goodbye_is_one_until_they_interrupt() -> None:
    assert ASKED.answered() == Silence(farewell=3, unheard_until=40.0)


def test_while_an_answer_is_still_to_be_heard_it_is_not_the_caller_who_is_silent() -> None:
    assert Silence().unheard(40.0).unheard_until == 40.0
    assert ASKED.heard() == Silence(asked=1, farewell=3)


def test_a_silence_of_sound_numbers_can_be_made_anew_and_another_cannot() -> None:
    assert ASKED.fresh() == ASKED
    broken: Any = None
    with pytest.raises(TypeError):
        attrs.evolve(ASKED, asked=broken).fresh()
