"""Reply: what its request adds to it, message by message, and what is left of it when that fails."""

import math

import attrs
import pytest

from engine.actors.agent import AgentPolicy
from engine.codec.attempts import Attempts, Streak
from engine.codec.reply import Reply
from engine.codec.request import FromModel, Request
from engine.messages.model import ModelAsked, ModelEnded, ModelFailed, ModelText, ModelToolCall, ModelUsage
from engine.messages.records import TokensUsed

NEVER = math.inf
USAGE = ModelUsage(request="r1", input_tokens=900, output_tokens=1)
CALL = ModelToolCall(request="r1", id="t1", name="find", arguments={})
ENDED = ModelEnded(request="r1", stop="end_turn")
ASKED = Reply(turn=1).asks("r1", 7.5)
DOWN = ("down",)


def text(said: str) -> ModelText:
    return ModelText(request="r1", text=said)


def heard(reply: Reply, *events: FromModel) -> tuple[Reply, list[str]]:
    """The reply after each of these, at 6.0, and all its pieces."""
    said = list[str]()
    for event in events:
        reply, pieces = reply.heard(event, 9.0)
        said += pieces
    return reply, said


@pytest.mark.parametrize(
    ("events", "vendor", "texts", "calls", "due", "said"),
    [
        ((ModelAsked(request="r1", vendor="a"),), "a", 0, 0, 7.5, []),
        ((USAGE,), "", 0, 0, 7.5, []),
        ((text(""),), "", 1, 0, 9.0, []),
        ((text("Yes. "), text("And "), text("how? ")), "", 3, 0, 9.0, ["Yes.", "And how?"]),
        ((text("Let me look"), CALL), "", 1, 1, 9.0, ["Let me look"]),
        ((text("Yes"), ENDED), "", 1, 0, 9.0, ["Yes"]),
        ((ENDED,), "", 0, 0, 7.5, []),
        ((text("Yes"), ModelFailed(request="r1", reason="gone", vendor="a")), "a", 1, 0, 9.0, []),
        ((ModelAsked(request="r1", vendor="a"), ModelFailed(request="r1", reason="gone")), "a", 0, 0, 7.5, []),
    ],
)
def test_what_comes_is_counted_and_cut_into_pieces(  # noqa: PLR0917 - a table
    events: tuple[FromModel, ...], vendor: str, texts: int, calls: int, due: float, said: list[str]
) -> None:
    reply, pieces = heard(ASKED, *events)
    assert reply.asked is not None
    assert (reply.asked.vendor, reply.asked.texts, reply.asked.calls, reply.due) == (vendor, texts, calls, due)
    assert pieces == said
    assert reply.pieces == reply.asked.pieces == len(said)


def test_a_phrase_that_tells_to_wait_is_no_word_of_the_answer() -> None:
    assert Reply(turn=1, pieces=1, filled=True).wordless
    assert not Reply(turn=1, pieces=1).wordless
    assert not Reply(turn=1, pieces=2, filled=True).wordless


def test_a_model_is_silent_until_a_text_comes() -> None:
    assert Reply(turn=1).silent
    assert heard(ASKED, USAGE, CALL)[0].silent
    assert not heard(ASKED, text(""))[0].silent
    assert not attrs.evolve(ASKED, pieces=1).silent


def test_a_tool_that_ends_the_call_is_none_to_go_on_after() -> None:
    called, _ = heard(ASKED, CALL)
    assert (ASKED.called, called.called) == (False, True)
    assert not attrs.evolve(called, ending="hang_up").called
    assert not called.answered().called


def test_a_whole_answer_that_is_not_the_last_leaves_nothing_due() -> None:
    failing = attrs.evolve(ASKED, attempts=Attempts(streak=Streak(count=1, since=5.0), died=True, cut=True))
    waits = heard(failing, text("One moment. "), CALL)[0].answered()
    assert waits == Reply(turn=1, pieces=1, rounds=1, attempts=Attempts(died=True))
    assert (waits.request, waits.due) == ("", NEVER)


@pytest.mark.parametrize(("said", "cut"), [("", False), ("Yes", False), ("Yes. And ", True)])
def test_a_request_that_fails_in_the_middle_of_its_words_leaves_those_that_were_said(said: str, *, cut: bool) -> None:
    reply, left = heard(ASKED, text(said))[0].failed(DOWN, 6.0, AgentPolicy(), again=True)
    attempts = Attempts(streak=Streak(count=1, since=6.0), died=True, cut=cut)
    assert (reply, left) == (Reply(turn=1, pieces=int(cut), attempts=attempts), True)
    again, _ = reply.asks("r2", 8.5).failed(DOWN, 7.0, AgentPolicy(), again=True)
    assert again.attempts.cut is cut


@pytest.mark.parametrize(
    ("kinds", "again", "due", "left"),
    [(DOWN, True, NEVER, True), (("529", "down"), True, 6.25, True), (DOWN, False, NEVER, False)],
)
def test_it_is_due_again_after_a_pause_if_there_is_one(
    *, kinds: tuple[str, ...], again: bool, due: float, left: bool
) -> None:
    reply, anybody = ASKED.failed(kinds, 6.0, AgentPolicy(), again=again)
    assert (reply.request, reply.due, anybody) == ("", due, left)
    assert reply.asks("r2", 8.75) == attrs.evolve(reply, asked=Request(id="r2", due=8.75), again_at=NEVER)


@pytest.mark.parametrize(
    ("events", "ended", "output_tokens", "wasted"),
    [
        ((USAGE,), False, 1, True),
        ((USAGE, text("We"), text(" have")), False, 2, True),
        ((USAGE, text("We have. "), text("And")), False, 2, False),
        ((USAGE, CALL), False, 1, False),
        ((USAGE, text("We"), text(" have")), True, 1, False),
    ],
)
def test_what_it_cost_is_in_vain_if_it_was_cut_off_before_anything_came_of_it(
    events: tuple[FromModel, ...], *, ended: bool, output_tokens: int, wasted: bool
) -> None:
    reply, _ = heard(ASKED, ModelAsked(request="r1", vendor="a"), *events)
    used = TokensUsed(request="r1", turn=1, vendor="a", input_tokens=900, output_tokens=output_tokens, wasted=wasted)
    assert reply.spent(ended=ended) == [used]


def test_nothing_is_told_of_what_nobody_counted_or_asked() -> None:
    assert heard(ASKED, text("We"))[0].spent() == []
    assert Reply(turn=1).spent() == []
