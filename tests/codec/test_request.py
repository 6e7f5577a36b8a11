"""Request: which question an eager one answers, what has come of it, and what it has cost."""

import math

import attrs
import pytest

from engine.codec.request import Eager, FromModel
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Noted
from engine.messages.model import ModelAsked, ModelEnded, ModelText, ModelToolCall, ModelUsage
from engine.messages.records import TokensUsed

GREETING = AgentSaid(turn=0, text="Hello.")
BOOK = CallerSaid(turn=1, text="book me")
EAGER = Eager(turn=1, request="r1", shown=(GREETING, BOOK), asked_at=4.0, due=6.5)

ASKED = ModelAsked(request="r1", vendor="a")
TEXT = ModelText(request="r1", text="Of")
CALL = ModelToolCall(request="r1", id="t1", name="find", arguments={})
ENDED = ModelEnded(request="r1", stop="end_turn")


def used(output_tokens: int) -> ModelUsage:
    return ModelUsage(request="r1", input_tokens=900, output_tokens=output_tokens)


@pytest.mark.parametrize(
    ("turn", "shown", "fits"),
    [
        (1, (GREETING, BOOK), True),
        (1, (GREETING, CallerSaid(turn=1, text="Book me.")), True),
        (1, (GREETING, CallerSaid(turn=1, text="book me in")), False),
        (1, (BOOK,), False),
        (1, (GREETING, BOOK, Noted(turn=1, text="a note")), False),
        (1, (), False),
        (2, (GREETING, BOOK), False),
        (1, (GREETING, CallerSaid(turn=2, text="book me")), False),
    ],
)
def test_it_is_what_would_be_asked_if_the_same_words_end_the_same_conversation(
    turn: int, shown: tuple[Entry, ...], *, fits: bool
) -> None:
    assert EAGER.fits(turn, shown) is fits


@pytest.mark.parametrize(
    ("event", "first_at", "due"),
    [
        (ASKED, math.inf, 6.5),
        (used(1), math.inf, 6.5),
        (TEXT, 5.0, 8.0),
        (CALL, 5.0, 8.0),
        (ENDED, 5.0, math.inf),
    ],
)
def test_what_comes_is_kept_in_a_row_and_its_first_sign_remembered(
    event: FromModel, first_at: float, due: float
) -> None:
    after = EAGER.with_event(event, 5.0, 3.0)
    assert after == attrs.evolve(EAGER, came=(event,), first_at=first_at, due=due)
    later = after.with_event(TEXT, 5.5, 3.0)
    assert (later.came, later.first_at, later.due) == ((event, TEXT), min(first_at, 5.5), 8.5)


def test_what_is_saved_is_the_time_to_its_first_sign_as_far_as_it_is_over() -> None:
    assert EAGER.saved_s(4.25) == 0.25
    assert EAGER.with_event(TEXT, 5.0, 3.0).saved_s(9.0) == 1.0


@pytest.mark.parametrize(
    ("came", "output_tokens"),
    [
        ((ASKED, used(1), TEXT, TEXT, TEXT), 3),
        ((ASKED, used(1), TEXT, TEXT, used(9)), 9),
        ((ASKED, TEXT, TEXT, TEXT, used(2), ENDED), 2),
    ],
    ids=["no text is less than a token", "the last count stands", "a vendor counts at the end"],
)
def test_what_it_cost_is_in_vain(came: tuple[FromModel, ...], output_tokens: int) -> None:
    used = TokensUsed(request="r1", turn=1, vendor="a", input_tokens=900, output_tokens=output_tokens, wasted=True)
    assert attrs.evolve(EAGER, came=came).spent() == [used]


def test_nothing_is_told_of_what_nobody_counted() -> None:
    assert attrs.evolve(EAGER, came=(ASKED, TEXT)).spent() == []
