"""Agent: the conversation, the reply in hand, its tools, and what is said."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.agent import END_CALL, GO_ON, TOOL_LOST, TRANSFER, WAITS, Agent, AgentPolicy, Settling
from engine.codec.history import History
from engine.messages.caller import LineClosed
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Noted, ToolAnswered, ToolCalled
from engine.messages.model import (
    AskModel,
    CallTool,
    CancelModel,
    ModelAsked,
    ModelEnded,
    ModelFailed,
    ModelText,
    ModelToolCall,
    ToolReturned,
)
from engine.messages.playout import Played
from engine.messages.records import Record, Timing
from engine.messages.reply import HangUp, PlayClip, ReplyEnded, Sentence
from engine.messages.supervision import NEVER, PolicyChanged, Tick
from engine.messages.turns import BargedIn, CallerIdle, CallOpened, TurnEnded
from engine.policy import REASONS, Answer
from tests.actors.steps import after, only, ran, sent, step, waited

PHRASES = {
    "transfer": "One moment.",
    "greeting": "Hello, this is the clinic.",
    "still_there": "Are you there?",
    "goodbye": "Goodbye.",
    "apology": "Sorry.",
}
IDLE = Agent(policy=AgentPolicy(phrases=PHRASES, last_s=0.0))
CLOSED = LineClosed(reason="stop", at_s=90.0)


def ended(turn: int, text: str = "book me", end_s: float = 99.0) -> TurnEnded:
    return TurnEnded(turn=turn, text=text, end_s=end_s)


def text(request: str, said: str) -> ModelText:
    return ModelText(request=request, text=said)


def end(request: str) -> ModelEnded:
    return ModelEnded(request=request, stop="end_turn")


def tool(request: str, call: str, name: str = "find") -> ModelToolCall:
    return ModelToolCall(request=request, id=call, name=name, arguments={"day": "friday"})


def waits(request: str) -> ModelEnded:
    return ModelEnded(request=request, stop="tool_use")


def returned(call: str) -> ToolReturned:
    return ToolReturned(id=call, ok=True, value=["9:00"])


def called(turn: int, call: str, name: str = "find") -> ToolCalled:
    return ToolCalled(turn=turn, id=call, name=name, arguments={"day": "friday"})


def answered(turn: int, call: str) -> ToolAnswered:
    return ToolAnswered(turn=turn, id=call, ok=True, value=["9:00"])


def heard(turn: int, words: str, *, settled: bool = True) -> Played:
    return Played(turn=turn, heard=words, settled=settled)


def stored(messages: list[object]) -> dict[int, Entry]:
    """What stands at which position of the stored conversation, the last written counting."""
    return {each.position: each.entry for each in only(Record, messages)}


ASKED = after(IDLE, (ended(1), 5.0))
"""The caller has said something, and request r1 is under way since 5.0."""

SAID = after(ASKED, (text("r1", "We have two times. Nine or ten."), 6.0), (end("r1"), 6.2))
"""The agent has said two sentences as turn 1."""


# The reply.


def test_a_call_opens_with_the_greeting() -> None:
    core, told = ran(IDLE, (CallOpened(greeting="greeting"), 0.0))
    assert told == [
        Record(position=0, entry=AgentSaid(turn=0, text=PHRASES["greeting"]), at_s=0.0),
        PlayClip(turn=0, index=0, clip="greeting"),
        ReplyEnded(turn=0, pieces=1),
    ]
    assert core.deadline == NEVER


def test_the_callers_words_are_kept_and_the_model_is_asked() -> None:
    core, told = ran(IDLE, (ended(1, "book me"), 5.0))
    said = CallerSaid(turn=1, text="book me")
    assert told == [Record(position=0, entry=said, at_s=5.0), AskModel(request="r1", turn=1, conversation=(said,))]
    assert core.deadline == 7.5


def test_a_reply_is_said_in_pieces_as_it_comes() -> None:
    core, told = ran(ASKED, (text("r1", "Of course. "), 6.0), (text("r1", "Nine or "), 6.1), (text("r1", "ten?"), 6.2))
    assert only(Sentence, told) == [Sentence(turn=1, index=0, text="Of course.")]
    core, told = step(core, end("r1"), 6.3)
    assert only(Sentence, told) == [Sentence(turn=1, index=1, text="Nine or ten?")]
    assert told[-1] == ReplyEnded(turn=1, pieces=2)
    assert core.reply is None
    assert core.conversation[-1] == AgentSaid(turn=1, text="Of course. Nine or ten?")


def test_pieces_that_come_at_once_are_counted_on() -> None:
    told = only(Sentence, sent(ASKED, (text("r1", "We are open. Today and on Friday. So"), 6.0)))
    assert [(each.index, each.text) for each in told] == [(0, "We are open."), (1, "Today and on Friday.")]


def test_a_model_that_writes_a_long_call_is_not_silent_and_what_it_said_before_is_spoken_meanwhile() -> None:
    assert after(ASKED, (text("r1", ""), 6.0), (text("r1", ""), 8.0)).deadline == 11.0
    told = sent(ASKED, (text("r1", "Let me look that up."), 6.0), (text("r1", "\n"), 6.1))
    assert [each.text for each in only(Sentence, told)] == ["Let me look that up."]


def test_the_first_token_and_the_first_piece_are_timed_once() -> None:
    told = sent(ASKED, (text("r1", "Of"), 6.0), (text("r1", " course. Yes, we do. "), 6.1), (text("r1", "So."), 6.2))
    assert only(Timing, told) == [
        Timing(turn=1, stage="first_token", at_s=6.0),
        Timing(turn=1, stage="first_clause", at_s=6.1),
    ]


def test_each_token_gives_the_model_three_more_seconds() -> None:
    assert after(ASKED, (text("r1", "Of"), 6.0)).deadline == 9.0


def test_so_does_each_tool_that_it_asks_for() -> None:
    assert after(ASKED, (tool("r1", "t1"), 6.0)).deadline == 9.0


def test_the_policy_says_how_long_a_model_is_waited_for() -> None:
    quick = attrs.evolve(IDLE, policy=AgentPolicy(first_token_s=1.0, stall_s=2.0, last_s=0.0, phrases=PHRASES))
    core = after(quick, (ended(1), 5.0))
    assert core.deadline == 6.0
    assert after(core, (text("r1", "Of"), 5.5)).deadline == 7.5


def test_an_empty_reply_is_an_apology() -> None:
    core, told = ran(ASKED, (text("r1", "  "), 6.0), (end("r1"), 6.1))
    assert told[-3:] == [
        PlayClip(turn=1, index=0, clip="apology"),
        Record(position=1, entry=AgentSaid(turn=1, text="Sorry."), at_s=6.1),
        ReplyEnded(turn=1, pieces=1),
    ]
    assert core.reply is None


@pytest.mark.parametrize(
    "stale", [text("r0", "No."), end("r0"), tool("r0", "t0"), ModelFailed(request="r0", reason="gone")]
)
def test_what_another_request_says_is_void(stale: object) -> None:
    assert ran(ASKED, (stale, 6.0)) == (ASKED, [])
    assert ran(SAID, (stale, 6.0)) == (SAID, [])


@pytest.mark.parametrize("said", ["", "Of course. "])
def test_words_that_come_while_a_reply_is_in_hand_are_answered_after_it(said: str) -> None:
    core, told = ran(ASKED, (text("r1", said), 6.0), (ended(2, "okay"), 6.1))
    assert only(AskModel, told) == []
    core, more = ran(core, (text("r1", "Nine."), 6.2), (end("r1"), 6.3))
    assert [(each.request, each.turn) for each in only(AskModel, more)] == [("r2", 2)]
    assert core.conversation[1:] == (AgentSaid(turn=1, text=f"{said}Nine."), CallerSaid(turn=2, text="okay"))
    assert stored([*told, *more]) == dict(enumerate(core.conversation[1:], start=1))


def test_a_request_after_tools_does_not_see_what_belongs_to_the_next_turn() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (waits("r1"), 6.1), (ended(2, "okay"), 6.2))
    core, told = step(core, returned("t1"), 7.0)
    assert [each.conversation[1:] for each in only(AskModel, told)] == [(called(1, "t1"), answered(1, "t1"))]
    assert core.conversation[1:] == (called(1, "t1"), answered(1, "t1"), CallerSaid(turn=2, text="okay"))


# Tools.


def test_a_tool_is_run_and_its_answer_goes_to_the_model() -> None:
    core, told = ran(ASKED, (text("r1", "Let me look"), 6.0), (tool("r1", "t1"), 6.1), (waits("r1"), 6.2))
    assert only(Sentence, told) == [Sentence(turn=1, index=0, text="Let me look")]
    assert only(CallTool, told) == [CallTool(id="t1", turn=1, name="find", arguments={"day": "friday"})]
    assert only(AskModel, told) == []
    core, told = step(core, returned("t1"), 7.0)
    asked = AskModel(
        request="r2",
        turn=1,
        conversation=(
            CallerSaid(turn=1, text="book me"),
            AgentSaid(turn=1, text="Let me look"),
            called(1, "t1"),
            answered(1, "t1"),
        ),
    )
    assert told == [Record(position=3, entry=answered(1, "t1"), at_s=7.0), asked]
    core, told = ran(core, (text("r2", "At nine."), 7.5), (end("r2"), 7.6))
    assert only(Sentence, told) == [Sentence(turn=1, index=1, text="At nine.")]
    assert told[-1] == ReplyEnded(turn=1, pieces=2)


@pytest.mark.parametrize("order", [("t1", "t2"), ("t2", "t1")])
def test_tools_that_run_together_are_all_waited_for(order: tuple[str, str]) -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (tool("r1", "t2"), 6.0), (waits("r1"), 6.1))
    core, told = step(core, returned(order[0]), 7.0)
    assert only(AskModel, told) == []
    core, told = step(core, returned(order[1]), 8.0)
    assert [each.request for each in only(AskModel, told)] == ["r2"]


def test_a_tool_that_answers_before_the_model_has_ended_is_not_forgotten() -> None:
    core, told = ran(ASKED, (tool("r1", "t1"), 6.0), (returned("t1"), 6.1))
    assert only(AskModel, told) == []
    assert [each.request for each in only(AskModel, sent(core, (waits("r1"), 6.2)))] == ["r2"]


def test_a_model_in_a_circle_is_stopped() -> None:
    core = attrs.evolve(IDLE, policy=AgentPolicy(rounds=2, phrases=PHRASES))
    core = after(core, (ended(1), 5.0), (tool("r1", "t1"), 6.0), (waits("r1"), 6.1), (returned("t1"), 6.2))
    core, told = ran(core, (tool("r2", "t2"), 7.0), (waits("r2"), 7.1))
    assert [each.clip for each in only(PlayClip, told)] == ["apology"]
    assert told[-1] == ReplyEnded(turn=1, pieces=1)
    assert only(AskModel, sent(core, (returned("t2"), 7.2))) == []


def test_a_model_that_stops_for_tools_and_asked_for_none_has_answered() -> None:
    told = sent(ASKED, (text("r1", "Of course."), 6.0), (waits("r1"), 6.1))
    assert only(AskModel, told) == []
    assert told[-1] == ReplyEnded(turn=1, pieces=1)


def test_nobody_is_late_while_tools_run_within_ten_seconds() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (waits("r1"), 6.1))
    assert core.deadline == 16.0


def test_a_tool_whose_answer_never_comes_is_given_up_and_the_model_is_told() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (tool("r1", "t2"), 6.5), (waits("r1"), 6.6), (returned("t2"), 7.0))
    core, told = step(core, Tick(), core.deadline)
    assert core.conversation[-1] == ToolAnswered(turn=1, id="t1", ok=False, value=TOOL_LOST)
    assert [each.request for each in only(AskModel, told)] == ["r2"]
    assert core.deadline == 16.5 + 2.5


def test_an_answer_that_nobody_waits_for_is_a_note() -> None:
    noted = Noted(turn=1, text='a tool answered late: ["9:00"]')
    assert after(SAID, (returned("t9"), 7.0)).conversation[-1] == noted
    late = after(ASKED, (tool("r1", "t1"), 6.0), (waits("r1"), 6.1), (Tick(), 16.0), (returned("t1"), 40.0))
    assert late.conversation[-1] == Noted(turn=1, text='a tool answered late: ["9:00"]')


def test_tools_run_on_after_a_barge_in_and_are_answered_before_the_model_is_asked_again() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (waits("r1"), 6.1))
    core, told = ran(core, (BargedIn(turn=1, at_s=6.5), 6.5), (heard(1, ""), 6.5), (ended(2, "on monday"), 7.0))
    assert [type(each) for each in told] == [Record]
    core, told = step(core, returned("t1"), 8.0)
    assert [(each.request, each.turn) for each in only(AskModel, told)] == [("r2", 2)]
    assert core.conversation[1:] == (called(1, "t1"), answered(1, "t1"), CallerSaid(turn=2, text="on monday"))


# The end of the call, by the agent.


def test_a_model_that_ends_the_call_hangs_up_after_its_last_piece() -> None:
    core, told = ran(ASKED, (text("r1", "See you. Bye."), 6.0), (tool("r1", "t1", END_CALL), 6.1), (waits("r1"), 6.2))
    assert only(CallTool, told) == []
    assert told[-2:] == [ReplyEnded(turn=1, pieces=2), HangUp(turn=1, index=1, reason="hang_up")]
    what = "the call ends when this was heard"
    assert core.conversation[-2:] == (called(1, "t1", END_CALL), ToolAnswered(turn=1, id="t1", ok=True, value=what))


def test_a_model_that_ends_the_call_without_a_word_says_goodbye() -> None:
    told = sent(ASKED, (tool("r1", "t1", END_CALL), 6.1), (waits("r1"), 6.2))
    assert [each.clip for each in only(PlayClip, told)] == ["goodbye"]
    assert told[-1] == HangUp(turn=1, index=0, reason="hang_up")


def test_a_model_that_transfers_the_caller_closes_the_line_after_the_announcement() -> None:
    told = sent(
        ASKED, (text("r1", "I will put you through."), 6.0), (tool("r1", "t1", TRANSFER), 6.1), (waits("r1"), 6.2)
    )
    assert only(CallTool, told) == []
    assert told[-2:] == [ReplyEnded(turn=1, pieces=1), HangUp(turn=1, index=0, reason="transfer")]


def test_a_model_that_transfers_without_a_word_has_it_announced() -> None:
    told = sent(ASKED, (tool("r1", "t1", TRANSFER), 6.1), (waits("r1"), 6.2))
    assert [each.clip for each in only(PlayClip, told)] == ["transfer"]
    assert told[-1] == HangUp(turn=1, index=0, reason="transfer")


def test_a_tool_asked_for_with_the_end_of_the_call_is_waited_for() -> None:
    core, told = ran(ASKED, (tool("r1", "t1", END_CALL), 6.0), (tool("r1", "t2"), 6.0), (waits("r1"), 6.1))
    assert only(HangUp, told) == []
    told = sent(core, (returned("t2"), 7.0), (text("r2", "Done. Bye."), 7.5), (end("r2"), 7.6))
    assert told[-1] == HangUp(turn=1, index=1, reason="hang_up")


def test_a_barge_in_takes_the_end_of_the_call_back() -> None:
    core = after(ASKED, (tool("r1", "t1", END_CALL), 6.0), (BargedIn(turn=1, at_s=6.1), 6.1), (heard(1, ""), 6.1))
    told = sent(core, (ended(2, "wait"), 7.0), (text("r2", "Yes?"), 7.5), (end("r2"), 7.6))
    assert only(HangUp, told) == []


# A model that fails.

DOWN, OVERLOADED, REFUSED, BROKE = ("down",), ("529", "down"), ("401", "refused"), ("crash",)


def died(request: str, *kinds: str, vendor: str = "") -> ModelFailed:
    return ModelFailed(request=request, reason="it died", vendor=vendor, kinds=kinds or DOWN)


DIED = died("r1")
THREE = attrs.evolve(IDLE, policy=AgentPolicy(phrases=PHRASES, models=("a", "b", "c"), last_s=0.0))
ASKED_A = after(THREE, (ended(1), 5.0), (ModelAsked(request="r1", vendor="a"), 5.0))
"""Three models to choose from; the first was asked."""


def asks(messages: list[object]) -> list[tuple[str, tuple[str, ...]]]:
    """The requests, each with whom it is not for."""
    return [(each.request, each.without) for each in only(AskModel, messages)]


def clips(messages: list[object]) -> list[str]:
    return [each.clip for each in only(PlayClip, messages)]


def spoken(messages: list[object]) -> list[str]:
    return [each.text for each in only(Sentence, messages)]


def test_a_request_that_died_before_a_word_is_made_once_more() -> None:
    core, told = ran(ASKED, (text("r1", "Of cou"), 6.0), (DIED, 6.1))
    assert [(each.request, each.turn) for each in only(AskModel, told)] == [("r2", 1)]
    assert core.deadline == 8.6
    told = sent(core, (text("r2", "Hello there."), 7.0), (end("r2"), 7.1))
    assert only(Sentence, told) == [Sentence(turn=1, index=0, text="Hello there.")]  # nothing of the first is left


def test_a_second_death_is_an_apology() -> None:
    core, told = ran(ASKED, (DIED, 6.0), (died("r2"), 7.0))
    assert clips(told) == ["apology"]
    assert told[-1] == ReplyEnded(turn=1, pieces=1)
    assert core.reply is None


def test_a_request_that_was_refused_is_not_made_again() -> None:
    told = sent(ASKED, (died("r1", *REFUSED), 6.0))
    assert asks(told) == []
    assert clips(told) == ["apology"]


@pytest.mark.parametrize("kind", ["429", "503", "529", "overloaded_error", "rate_limit_error"])
def test_an_overloaded_model_is_asked_again_a_quarter_of_a_second_later(kind: str) -> None:
    core, told = ran(ASKED, (died("r1", kind, "down"), 6.0))
    assert told == []
    assert core.deadline == 6.25
    core, told = step(core, Tick(), 6.25)
    assert asks(told) == [("r2", ())]
    assert core.deadline == 8.75


def test_during_the_pause_a_barge_in_ends_the_turn_and_a_tools_answer_does_not_end_the_pause() -> None:
    core = after(ASKED, (died("r1", *OVERLOADED), 6.0))
    assert asks(sent(core, (BargedIn(turn=1, at_s=6.1), 6.1), (heard(1, ""), 6.1))) == []
    core = after(ASKED, (tool("r1", "t1"), 5.9), (died("r1", *OVERLOADED), 6.0))
    core, told = ran(core, (returned("t1"), 6.1))
    assert asks(told) == []
    assert asks(waited(core, 6.3)[1]) == [("r2", ())]


def test_a_pause_that_is_over_before_the_tools_have_answered_is_no_reason_to_ask() -> None:
    core, told = waited(after(ASKED, (tool("r1", "t1"), 5.9), (died("r1", *OVERLOADED), 6.0)), 7.0)
    assert asks(told) == []
    assert asks(sent(core, (returned("t1"), 7.0))) == [("r2", ())]


def test_each_model_is_asked_twice_and_after_the_last_there_is_an_apology() -> None:
    steps = [(died(f"r{count}"), 6.0 + count) for count in range(1, 7)]
    core, told = ran(ASKED_A, *steps)
    assert asks(told) == [("r2", ()), ("r3", ("a",)), ("r4", ("a",)), ("r5", ("a", "b")), ("r6", ("a", "b"))]
    assert clips(told) == ["apology"]
    assert core.reply is None
    assert asks(sent(core, (ended(2), 20.0))) == [("r7", ())]  # another turn, another chance


def test_the_last_model_is_asked_again_for_a_while_after_pauses_that_double() -> None:
    core = after(ASKED_A, (PolicyChanged(policy=attrs.evolve(THREE.policy, models=("a",), last_s=2.0)), 5.1))
    asked_at, now = list[float](), 6.0
    told: list[object] = []
    for count in range(1, 6):
        core, told = ran(core, (died(f"r{count}"), now))
        if core.reply is not None and not asks(told):
            now = core.deadline
            core, told = waited(core, now)
        asked_at += [now] if asks(told) else []
    assert asked_at == [6.0, 6.25, 6.75, 7.75]
    assert clips(told) == ["apology"]
    assert core.reply is None


def test_a_model_with_another_behind_it_is_not_asked_for_a_while() -> None:
    core = after(ASKED_A, (PolicyChanged(policy=attrs.evolve(THREE.policy, last_s=2.0)), 5.1))
    assert asks(sent(core, (died("r1"), 6.0), (died("r2"), 6.1))) == [("r2", ()), ("r3", ("a",))]


@pytest.mark.parametrize(
    ("kinds", "then"),
    [
        (DOWN, [("r2", ())]),
        (("slow",), [("r2", ())]),
        (BROKE, [("r2", ())]),
        (REFUSED, [("r2", ("a",))]),
        (("402", "down"), [("r2", ("a",))]),
        (("418", "refused"), [("r2", ())]),
        (("900", "down"), []),
    ],
)
def test_the_policys_reasons_decide_and_the_most_special_kind_first(
    kinds: tuple[str, ...], then: list[tuple[str, tuple[str, ...]]]
) -> None:
    reasons = {**REASONS, "402": Answer.NEXT, "418": Answer.RESTART, "900": Answer.END}
    core = after(ASKED_A, (PolicyChanged(policy=attrs.evolve(THREE.policy, reasons=reasons)), 5.1))
    told = sent(core, (died("r1", *kinds), 6.0))
    assert asks(told) == then
    assert clips(told) == ([] if then else ["apology"])
    assert [each.reason for each in only(HangUp, told)] == ([] if then else ["gave_up"])


def test_it_is_not_who_was_to_be_asked_but_who_was_asked_that_is_asked_no_more() -> None:
    """The process may know that the first is not well."""
    core = after(THREE, (ended(1), 5.0), (ModelAsked(request="r1", vendor="b"), 5.0))
    assert asks(sent(core, (died("r1", *REFUSED), 6.0))) == [("r2", ("b",))]
    core, told = waited(core, 7.5)
    assert asks(told) == [("r2", ())]
    assert asks(waited(after(core, (ModelAsked(request="r2", vendor="b"), 7.5)), 10.0)[1]) == [("r3", ("b",))]
    assert asks(sent(ASKED_A, (died("r1", *REFUSED, vendor="c"), 6.0))) == [("r2", ("c",))]


def test_where_nobody_said_who_was_asked_it_was_the_first_that_was_left() -> None:
    core = after(THREE, (ended(1), 5.0))
    assert asks(sent(core, (died("r1", *REFUSED), 6.0), (died("r2", *REFUSED), 6.1))) == [
        ("r2", ("a",)),
        ("r3", ("a", "b")),
    ]


def test_a_whole_answer_lets_the_model_fail_anew() -> None:
    core = after(ASKED, (DIED, 6.0), (tool("r2", "t1"), 6.1), (waits("r2"), 6.2))
    told = sent(core, (returned("t1"), 7.0), (died("r3"), 7.5))
    assert asks(told) == [("r3", ()), ("r4", ())]


def test_retries_do_not_count_as_rounds_and_other_models_do_not_go_in_circles() -> None:
    core = attrs.evolve(THREE, policy=attrs.evolve(THREE.policy, rounds=2))
    core = after(core, (ended(1), 5.0), (died("r1", *REFUSED), 5.1), (died("r2"), 5.2))
    core = after(core, (tool("r3", "t1"), 6.0), (waits("r3"), 6.1), (returned("t1"), 6.2))
    told = sent(core, (tool("r4", "t2"), 6.3), (waits("r4"), 6.4))
    assert clips(told) == ["apology"]


def test_a_model_that_is_silent_is_cancelled_and_asked_once_more_then_there_is_an_apology() -> None:
    core, told = step(ASKED, Tick(), 7.5)
    assert [type(each) for each in told] == [CancelModel, AskModel]
    assert told[0] == CancelModel(request="r1", stalled=True)
    assert core.deadline == 10.0
    core, told = step(core, Tick(), 10.0)
    assert told[0] == CancelModel(request="r2", stalled=True)
    assert clips(told) == ["apology"]
    assert core.deadline == NEVER


def test_what_a_silent_model_says_after_all_is_void() -> None:
    core = after(ASKED, (Tick(), 7.5))
    assert ran(core, (text("r1", "Hello there, I am late."), 7.6), (end("r1"), 7.7)) == (core, [])


# A model that dies while it speaks.


def test_who_died_in_the_middle_of_its_words_is_asked_to_go_on_from_those_that_were_said() -> None:
    core, told = ran(ASKED, (text("r1", "We have two times. Nine o"), 6.0), (DIED, 6.1))
    (asked,) = only(AskModel, told)
    said = AgentSaid(turn=1, text="We have two times.")
    assert asked.conversation == (
        CallerSaid(turn=1, text="book me"),
        said,
        Noted(turn=1, text=GO_ON.format(said="We have two times.")),
    )
    assert spoken(told) == ["We have two times."]  # what was not said is not missed: it is said again
    core, told = ran(core, (text("r2", "Nine or ten."), 6.5), (end("r2"), 6.6))
    assert only(Sentence, told) == [Sentence(turn=1, index=1, text="Nine or ten.")]
    assert told[-1] == ReplyEnded(turn=1, pieces=2)
    # The note is of that one request.
    assert core.conversation[1:] == (AgentSaid(turn=1, text="We have two times. Nine or ten."),)


def test_who_stalls_in_the_middle_of_its_words_is_asked_to_go_on_too() -> None:
    core = after(ASKED, (text("r1", "We have two times. Nine o"), 6.0))
    (asked,) = only(AskModel, waited(core, 9.0)[1])
    assert asked.conversation[-1] == Noted(turn=1, text=GO_ON.format(said="We have two times."))


def test_whoever_comes_next_is_asked_to_go_on_and_after_the_last_the_answer_ends_politely() -> None:
    core = after(ASKED_A, (text("r1", "We have two times. Nine o"), 6.0), (died("r1"), 6.1))
    core, told = ran(core, (died("r2"), 6.2), (ModelAsked(request="r3", vendor="b"), 6.2))
    (asked,) = only(AskModel, told)
    assert asked.without == ("a",)
    assert asked.conversation[-1] == Noted(turn=1, text=GO_ON.format(said="We have two times."))
    core, told = ran(core, (text("r3", "Nine or ten. At ei"), 6.3), (died("r3"), 6.4))
    (asked,) = only(AskModel, told)
    assert asked.conversation[-1] == Noted(turn=1, text=GO_ON.format(said="We have two times. Nine or ten."))
    core, told = ran(core, (died("r4"), 6.5), (died("r5", *REFUSED), 6.6))
    assert clips(told) == ["apology"]
    assert told[-1] == ReplyEnded(turn=1, pieces=3)
    assert core.conversation[-1] == AgentSaid(turn=1, text="We have two times. Nine or ten. Sorry.")


def test_a_request_after_tools_may_be_made_again_though_something_was_said_before_them() -> None:
    core = after(ASKED, (text("r1", "Let me look."), 6.0), (tool("r1", "t1"), 6.1), (waits("r1"), 6.2))
    core, told = ran(core, (returned("t1"), 7.0), (died("r2"), 7.5))
    assert [each.request for each in only(AskModel, told)] == ["r2", "r3"]
    assert only(AskModel, told)[-1].conversation[-1] == answered(1, "t1")  # nothing to go on from


# A model that dies with tools.


def test_a_request_that_died_after_it_asked_for_a_tool_is_made_again_with_the_tools_answer() -> None:
    core, told = ran(ASKED, (tool("r1", "t1"), 6.0), (DIED, 6.1))
    assert only(AskModel, told) == []
    told = sent(core, (returned("t1"), 7.0))
    assert [each.conversation[-2:] for each in only(AskModel, told)] == [(called(1, "t1"), answered(1, "t1"))]


def test_another_model_is_shown_the_tool_that_the_first_had_run() -> None:
    core, told = ran(ASKED_A, (tool("r1", "t1"), 6.0), (died("r1", *REFUSED), 6.1))
    assert only(AskModel, told) == []
    (asked,) = only(AskModel, sent(core, (returned("t1"), 7.0)))
    assert (asked.without, asked.conversation[-2:]) == (("a",), (called(1, "t1"), answered(1, "t1")))


def test_who_asks_for_the_same_again_after_a_death_is_given_the_answer_that_there_is() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (DIED, 6.1), (returned("t1"), 7.0))
    core, told = ran(core, (tool("r2", "t2"), 7.5), (waits("r2"), 7.6))
    assert only(CallTool, told) == []
    (asked,) = only(AskModel, told)
    assert asked.conversation[-2:] == (called(1, "t2"), answered(1, "t2"))
    told = sent(core, (text("r3", "Done."), 8.0), (end("r3"), 8.1))
    assert told[-1] == ReplyEnded(turn=1, pieces=1)


def test_nor_is_it_run_again_when_its_answer_was_lost() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (DIED, 6.1), (Tick(), 16.0), (tool("r2", "t2"), 16.5))
    assert core.conversation[-1] == ToolAnswered(turn=1, id="t2", ok=False, value=TOOL_LOST)
    assert core.wait.tools == frozenset()


@pytest.mark.parametrize(
    "other",
    [
        ModelToolCall(request="r2", id="t2", name="find", arguments={"day": "monday"}),
        ModelToolCall(request="r2", id="t2", name="book", arguments={"day": "friday"}),
    ],
)
def test_what_is_not_the_same_is_run(other: ModelToolCall) -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (DIED, 6.1), (returned("t1"), 7.0))
    assert [each.id for each in only(CallTool, sent(core, (other, 7.5)))] == ["t2"]


def test_the_same_is_run_again_where_nothing_died() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (waits("r1"), 6.1), (returned("t1"), 7.0))
    assert [each.id for each in only(CallTool, sent(core, (tool("r2", "t2"), 7.5)))] == ["t2"]


def test_no_tool_is_run_twice_under_one_id() -> None:
    core, told = ran(ASKED, (tool("r1", "t1"), 6.0), (tool("r1", "t1"), 6.1))
    assert [each.id for each in only(CallTool, told)] == ["t1"]
    core = after(core, (waits("r1"), 6.2), (returned("t1"), 7.0))
    told = sent(core, (tool("r2", "t1"), 7.5), (waits("r2"), 7.6))
    assert only(CallTool, told) == []
    assert [each.request for each in only(AskModel, told)] == ["r3"]


def test_a_death_after_the_model_has_ended_the_call_ends_it_all_the_same() -> None:
    told = sent(ASKED, (text("r1", "See you. Bye."), 6.0), (tool("r1", "t1", END_CALL), 6.1), (DIED, 6.2))
    assert asks(told) == []
    assert told[-2:] == [ReplyEnded(turn=1, pieces=2), HangUp(turn=1, index=1, reason="hang_up")]
    assert clips(sent(ASKED, (tool("r1", "t1", TRANSFER), 6.1), (DIED, 6.2))) == ["transfer"]


# While the caller waits.

WAITING = attrs.evolve(IDLE, policy=AgentPolicy(phrases={**PHRASES, "one_moment": "One moment."}, last_s=0.0))
"""It has a phrase that tells to wait."""


def test_a_caller_who_hears_nothing_for_a_while_is_told_to_wait_once() -> None:
    core = after(WAITING, (ended(1), 5.0))
    assert core.deadline == 6.8
    core, told = waited(core, 7.4)
    assert clips(told) == ["one_moment"]
    core, told = ran(core, (text("r1", "We have two times."), 7.4), (end("r1"), 7.5))
    assert only(Sentence, told) == [Sentence(turn=1, index=1, text="We have two times.")]
    assert told[-1] == ReplyEnded(turn=1, pieces=2)
    assert core.conversation[1:] == (AgentSaid(turn=1, text="One moment. We have two times."),)
    assert core.deadline == NEVER


@pytest.mark.parametrize(("end_s", "due"), [(4.5, 6.3), (4.0, 6.3), (0.0, 6.3), (4.8, 6.6), (5.0, 6.8), (7.0, 6.8)])
def test_the_wait_is_counted_from_the_callers_last_word_unless_that_was_long_ago(end_s: float, due: float) -> None:
    assert after(WAITING, (ended(1, end_s=end_s), 5.0)).deadline == pytest.approx(due)


@pytest.mark.parametrize(
    "steps",
    [
        ((text("r1", "We have two times. Nine"), 6.7),),
        ((end("r1"), 6.7),),
        ((BargedIn(turn=1, at_s=6.7), 6.7), (heard(1, ""), 6.7)),
        ((CLOSED, 6.7),),
        ((text("r1", "Yes."), 6.5), (end("r1"), 6.6)),
    ],
)
def test_nobody_is_told_to_wait_who_was_told_something_or_waits_for_nothing(
    steps: tuple[tuple[object, float], ...],
) -> None:
    assert "one_moment" not in clips(waited(after(WAITING, (ended(1), 5.0), *steps), 9.0)[1])


def test_a_turn_that_is_over_when_it_is_known_to_have_ended_is_not_waited_for() -> None:
    core = after(WAITING, (BargedIn(turn=1, at_s=4.9), 4.9), (heard(1, ""), 4.9), (ended(1), 5.0))
    assert clips(waited(core, 9.0)[1]) == []


def test_where_there_is_no_such_phrase_nobody_is_told_to_wait() -> None:
    assert clips(waited(ASKED, 7.4)[1]) == []


def test_who_waits_for_tools_is_told_to_wait_and_the_answer_follows() -> None:
    core = after(WAITING, (ended(1), 5.0), (tool("r1", "t1"), 5.5), (waits("r1"), 5.6))
    core, told = waited(core, 12.0)
    assert clips(told) == ["one_moment"]
    core, told = ran(core, (returned("t1"), 12.0))
    assert asks(told) == [("r2", ())]
    told = sent(core, (text("r2", "Nine."), 12.5), (end("r2"), 12.6))
    assert told[-1] == ReplyEnded(turn=1, pieces=2)


def test_a_tool_that_answered_before_the_phrase_came_in_between_is_gone_on_with() -> None:
    core = after(WAITING, (ended(1), 5.0), (tool("r1", "t1"), 6.5), (returned("t1"), 6.6), (Tick(), 6.8))
    assert asks(sent(core, (waits("r1"), 6.9))) == [("r2", ())]


def test_who_waits_for_the_tools_of_an_earlier_turn_is_told_to_wait() -> None:
    core = after(WAITING, (ended(1), 5.0), (tool("r1", "t1"), 5.5), (waits("r1"), 5.6))
    core = after(core, (BargedIn(turn=1, at_s=6.0), 6.0), (heard(1, ""), 6.0), (ended(2, "on monday"), 7.0))
    core, told = waited(core, 8.9)
    assert only(PlayClip, told) == [PlayClip(turn=2, index=0, clip="one_moment")]
    core, told = ran(core, (returned("t1"), 9.0))
    (asked,) = only(AskModel, told)
    assert (asked.turn, asked.conversation[-1]) == (2, Noted(turn=2, text=WAITS))
    told = sent(core, (text("r2", "Monday."), 9.5), (end("r2"), 9.6))
    assert told[-1] == ReplyEnded(turn=2, pieces=2)


def test_a_turn_that_had_to_wait_for_another_answer_has_a_wait_of_its_own() -> None:
    core = after(WAITING, (ended(1), 5.0), (text("r1", "We have two times. Nine"), 5.5), (ended(2), 6.0))
    core = after(core, (end("r1"), 9.0))
    core, told = waited(core, 10.9)
    assert only(PlayClip, told) == [PlayClip(turn=2, index=0, clip="one_moment")]


def test_a_stalled_model_is_asked_again_after_the_phrase_and_what_it_is_asked_ends_with_the_callers_side() -> None:
    core, told = waited(after(WAITING, (ended(1), 5.0)), 7.5)
    assert clips(told) == ["one_moment"]
    (asked,) = only(AskModel, told)
    assert asked.conversation[-2:] == (AgentSaid(turn=1, text="One moment."), Noted(turn=1, text=WAITS))
    core, told = waited(core, 10.0)
    assert clips(told) == ["apology"]
    assert told[-1] == ReplyEnded(turn=1, pieces=2)


def test_after_the_phrase_an_empty_answer_is_an_apology_all_the_same() -> None:
    core = waited(after(WAITING, (ended(1), 5.0)), 7.0)[0]
    assert clips(sent(core, (end("r1"), 7.1))) == ["apology"]


def test_the_phrase_is_not_the_first_piece_that_is_timed() -> None:
    core = waited(after(WAITING, (ended(1), 5.0)), 7.0)[0]
    told = sent(core, (text("r1", "We have two times. So"), 7.1))
    assert [each.stage for each in only(Timing, told)] == ["first_token", "first_clause"]


# Another policy.


def test_another_policy_is_obeyed_from_the_next_decision_on_and_outlives_the_core() -> None:
    other = attrs.evolve(IDLE.policy, retries=0, first_token_s=1.0)
    core = after(ASKED, (PolicyChanged(policy=other), 6.0))
    assert core.deadline == 7.5  # it was asked under the old one
    assert clips(sent(core, (DIED, 6.1))) == ["apology"]
    assert IDLE.fresh(core).policy == IDLE.bare(core).policy == other


def test_a_policy_of_another_kind_changes_nothing() -> None:
    assert ran(ASKED, (PolicyChanged(policy="strict"), 6.0)) == (ASKED, [])


# Barge-in.


def test_a_barge_in_stops_the_reply_and_waits_to_be_told_what_was_heard() -> None:
    core, told = ran(ASKED, (text("r1", "We have two times. Nine"), 6.0), (BargedIn(turn=1, at_s=6.5), 6.6))
    assert told[-1] == CancelModel(request="r1")
    assert (core.reply, core.settling) == (None, Settling(turn=1, due=7.1))
    core, told = step(core, ended(2, "no"), 6.8)
    assert only(AskModel, told) == []
    core, told = step(core, heard(1, "We have"), 6.9)
    cut = AgentSaid(turn=1, text="We have", interrupted=True, unheard="two times.")
    asked = AskModel(
        request="r2", turn=2, conversation=(CallerSaid(turn=1, text="book me"), cut, CallerSaid(turn=2, text="no"))
    )
    assert told == [Record(position=1, entry=cut, at_s=6.9), asked]


def test_what_was_heard_is_waited_for_half_a_second_and_no_longer() -> None:
    core = after(ASKED, (BargedIn(turn=1, at_s=6.0), 6.0), (ended(2, "no"), 6.2))
    assert core.deadline == 6.5
    core, told = step(core, Tick(), 6.5)
    assert [(each.request, each.turn) for each in only(AskModel, told)] == [("r2", 2)]


def test_the_words_of_two_turns_are_answered_as_one_when_the_first_was_interrupted() -> None:
    core = after(ASKED, (BargedIn(turn=1, at_s=6.0), 6.0), (heard(1, ""), 6.0))
    told = sent(core, (ended(2, "for a haircut"), 6.5))
    assert [each.conversation for each in only(AskModel, told)] == [
        (CallerSaid(turn=1, text="book me"), CallerSaid(turn=2, text="for a haircut"))
    ]


def test_an_interrupted_turn_is_not_answered_again() -> None:
    assert only(AskModel, sent(ASKED, (BargedIn(turn=1, at_s=6.0), 6.0), (heard(1, ""), 6.0))) == []


@pytest.mark.parametrize(
    ("words", "unheard"),
    [
        ("", "We have two times. Nine or ten."),
        ("We have two", "times. Nine or ten."),
        ("We have two times. Nine or", "ten."),
        ("We have two times. Nine or ten.", ""),
    ],
)
def test_the_conversation_holds_what_was_heard_and_what_was_not(words: str, unheard: str) -> None:
    core, told = ran(SAID, (BargedIn(turn=1, at_s=7.0), 7.0), (heard(1, words), 7.0))
    assert core.conversation[-1] == AgentSaid(turn=1, text=words, interrupted=bool(unheard), unheard=unheard)
    assert bool(only(Record, told)) is bool(unheard)


def test_what_was_heard_is_cut_over_the_tools_between_the_words() -> None:
    core = after(ASKED, (text("r1", "Let me look."), 6.0), (tool("r1", "t1"), 6.1), (waits("r1"), 6.2))
    core = after(core, (returned("t1"), 7.0), (text("r2", "Nine or ten."), 7.5), (end("r2"), 7.6))
    core = after(core, (BargedIn(turn=1, at_s=9.0), 9.0), (heard(1, "Let me look. Nine"), 9.0))
    assert [each for each in core.conversation if isinstance(each, AgentSaid)] == [
        AgentSaid(turn=1, text="Let me look."),
        AgentSaid(turn=1, text="Nine", interrupted=True, unheard="or ten."),
    ]
    core = after(core, (heard(1, "Let me"), 9.1))
    said = [each for each in core.conversation if isinstance(each, AgentSaid)]
    assert [(each.text, each.unheard) for each in said] == [("Let me", "look."), ("", "Nine or ten.")]


def test_what_was_heard_so_far_changes_nothing() -> None:
    assert ran(SAID, (heard(1, "We", settled=False), 7.0)) == (SAID, [])


def test_what_was_heard_of_an_older_turn_is_not_what_is_waited_for() -> None:
    core = after(SAID, (BargedIn(turn=2, at_s=7.0), 7.0), (heard(1, "We have two times. Nine or ten."), 7.0))
    assert core.settling is not None
    assert after(core, (heard(2, ""), 7.1)).settling is None


# Silence.


def test_a_silent_caller_is_asked_once_and_then_the_call_ends() -> None:
    core, told = ran(IDLE, (CallerIdle(turn=1), 11.0))
    assert told[1:] == [PlayClip(turn=1, index=0, clip="still_there"), ReplyEnded(turn=1, pieces=1)]
    core = after(core, (heard(1, PHRASES["still_there"]), 12.0))
    core, told = ran(core, (CallerIdle(turn=2), 22.0))
    assert told[1:] == [PlayClip(turn=2, index=0, clip="goodbye"), ReplyEnded(turn=2, pieces=1)]
    assert sent(core, (heard(2, PHRASES["goodbye"]), 24.0)) == [HangUp(turn=2, index=0, reason="idle")]


@pytest.mark.parametrize("answer", [(ended(3, "Yes!"), 23.0), (BargedIn(turn=2, at_s=23.0), 23.0)])
def test_a_caller_who_answers_the_goodbye_is_not_hung_up_on(answer: tuple[object, float]) -> None:
    asked = after(IDLE, (CallerIdle(turn=1), 11.0), (heard(1, PHRASES["still_there"]), 12.0))
    core = after(asked, (CallerIdle(turn=2), 22.0), answer)
    assert only(HangUp, sent(core, (heard(2, PHRASES["goodbye"]), 24.0))) == []


def test_a_caller_who_has_spoken_in_between_is_asked_again() -> None:
    core = after(IDLE, (CallerIdle(turn=1), 11.0), (ended(2), 12.0), (text("r1", "Yes."), 13.0), (end("r1"), 13.1))
    core = after(core, (heard(2, "Yes."), 14.0))
    assert [each.clip for each in only(PlayClip, sent(core, (CallerIdle(turn=3), 30.0)))] == ["still_there"]


def test_nobody_is_asked_who_waits_for_an_answer_that_is_still_to_be_heard() -> None:
    core = after(ASKED, (text("r1", "Yes."), 6.0), (end("r1"), 6.1))
    assert sent(core, (CallerIdle(turn=2), 36.0)) == []
    assert [each.clip for each in only(PlayClip, sent(core, (CallerIdle(turn=2), 36.2)))] == ["still_there"]


@pytest.mark.parametrize(
    "busy",
    [
        ASKED,
        after(ASKED, (tool("r1", "t1"), 6.0), (waits("r1"), 6.1)),
        after(SAID, (BargedIn(turn=1, at_s=7.0), 7.0)),
        after(SAID, (CLOSED, 7.0)),
    ],
)
def test_nobody_is_asked_while_something_is_about_to_be_said(busy: Agent) -> None:
    assert ran(busy, (CallerIdle(turn=3), 20.0)) == (busy, [])


# The end of the line.


def test_after_the_end_of_the_line_the_agent_only_records() -> None:
    core, told = ran(ASKED, (tool("r1", "t1"), 6.0), (CLOSED, 6.5))
    assert told[-2:] == [CancelModel(request="r1"), CLOSED]
    told = sent(core, (returned("t1"), 7.0), (ended(2, "bye"), 7.1), (heard(1, ""), 7.2), (CallerIdle(turn=3), 7.3))
    assert stored(told) == {2: answered(1, "t1"), 3: CallerSaid(turn=2, text="bye")}
    assert core.line == CLOSED
    assert only(AskModel, told) == []
    assert [type(each) for each in told] == [Record, Record]


# Salvage.


@pytest.mark.parametrize(
    "core",
    [
        IDLE,
        ASKED,
        SAID,
        after(ASKED, (text("r1", "We have tw"), 6.0)),
        after(ASKED, (tool("r1", "t1"), 6.0)),
        after(SAID, (BargedIn(turn=1, at_s=7.0), 7.0)),
        after(IDLE, (CallerIdle(turn=1), 11.0)),
        after(SAID, (CLOSED, 7.0)),
    ],
)
def test_a_fresh_core_is_what_a_sound_one_was(core: Agent) -> None:
    assert IDLE.fresh(core) == core


def test_a_bare_core_stores_after_what_was_stored_and_uses_no_number_again() -> None:
    bare = IDLE.bare(SAID)
    assert bare == attrs.evolve(IDLE, history=History(stored=2), asked=1, answered=1)
    core, told = ran(bare, (ended(2, "hello?"), 9.0))
    assert stored(told) == {2: CallerSaid(turn=2, text="hello?")}
    assert [each.request for each in only(AskModel, told)] == ["r2"]
    assert IDLE.bare(core).history.stored == 3
    assert IDLE.bare(after(SAID, (CLOSED, 9.0))).line == CLOSED


def test_a_bare_core_does_not_take_the_answer_of_a_tool_for_an_answer() -> None:
    bare = IDLE.bare(after(ASKED, (tool("r1", "t1"), 6.0), (waits("r1"), 6.1)))
    core = after(bare, (returned("t1"), 7.0), (ended(2), 8.0))
    assert [type(each) for each in core.conversation] == [Noted, CallerSaid]


# Whatever comes.

MESSAGES = st.one_of(
    st.builds(ModelText, request=st.just("?"), text=st.sampled_from(["Of course. ", "yes ", "one two three, ", "! "])),
    st.builds(
        ModelToolCall,
        request=st.just("?"),
        id=st.just("?"),
        name=st.sampled_from(["find", END_CALL]),
        arguments=st.just({}),
    ),
    st.builds(ModelEnded, request=st.just("?"), stop=st.sampled_from(["end_turn", "tool_use", "refusal"])),
    st.builds(
        ModelFailed,
        request=st.just("?"),
        reason=st.just("down"),
        kinds=st.sampled_from([DOWN, OVERLOADED, REFUSED, BROKE]),
    ),
    st.sampled_from(["turn", "barge-in", "idle", "returned"]),
)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), MESSAGES), max_size=50))
def test_whatever_comes_the_stored_conversation_is_the_cores_and_every_request_can_be_answered(
    plan: list[tuple[float, object]],
) -> None:
    core, told = attrs.evolve(WAITING, policy=attrs.evolve(WAITING.policy, models=("a", "b"))), list[object]()
    now, turn, calls = 0.0, 0, list[str]()
    for gap, plain in plan:
        now += gap
        while core.deadline <= now:
            core, more = step(core, Tick(), core.deadline)
            told += more
        message = plain
        if isinstance(plain, ModelText | ModelToolCall | ModelEnded | ModelFailed):
            message = attrs.evolve(plain, request=f"r{core.asked}")
        if isinstance(message, ModelToolCall):
            calls.append(f"t{len(calls)}")
            message = attrs.evolve(message, id=calls[-1])
        if plain in ("turn", "idle"):
            turn += 1
            message = ended(turn) if plain == "turn" else CallerIdle(turn=turn)
        batch = [message]
        if plain == "barge-in":
            batch = [BargedIn(turn=turn, at_s=now), heard(turn, "We")]
        elif plain == "returned":
            batch = [returned(min(core.wait.tools))] if core.wait.tools else []
        for each in batch:
            core, more = step(core, each, now)
            told += more
    assert stored(told) == dict(enumerate(core.conversation))
    turns = [each.turn for each in core.conversation]
    assert turns == sorted(turns)
    for asked in only(AskModel, told):
        assert isinstance(asked.conversation[-1], CallerSaid | ToolAnswered | Noted)
        called_ids = [each.id for each in asked.conversation if isinstance(each, ToolCalled)]
        answered_ids = [each.id for each in asked.conversation if isinstance(each, ToolAnswered)]
        assert sorted(called_ids) == sorted(answered_ids)
        assert len(set(called_ids)) == len(called_ids)
    requests = [each.request for each in only(AskModel, told)]
    assert len(set(requests)) == len(requests)
    pieces = [(each.turn, each.index) for each in told if isinstance(each, Sentence | PlayClip)]
    assert len(set(pieces)) == len(pieces)
    for reply in only(ReplyEnded, told):
        assert [index for turn, index in pieces if turn == reply.turn] == list(range(reply.pieces))


# A model that fails again and again.


def fails(turn: int, first: int, at: float) -> list[tuple[object, float]]:
    """A caller's turn whose two requests fail."""
    return [(ended(turn, "hello?"), at), (died(f"r{first}"), at + 0.1), (died(f"r{first + 1}"), at + 0.2)]


def test_after_two_turns_and_ten_seconds_without_an_answer_the_caller_is_handed_to_a_person() -> None:
    core = attrs.evolve(IDLE, policy=attrs.evolve(IDLE.policy, human=True))
    core, told = ran(core, *fails(1, 1, 5.0))
    assert [each.clip for each in only(PlayClip, told)] == ["apology"]
    assert only(HangUp, told) == []
    core, told = ran(core, *fails(2, 3, 10.0))  # too soon: the model may only be starting again
    assert [each.clip for each in only(PlayClip, told)] == ["apology"]
    told = sent(core, *fails(3, 5, 15.0))
    assert [each.clip for each in only(PlayClip, told)] == ["transfer"]
    assert told[-1] == HangUp(turn=3, index=0, reason="transfer")


def test_an_answer_in_between_lets_the_model_fail_again() -> None:
    core = attrs.evolve(IDLE, policy=attrs.evolve(IDLE.policy, human=True))
    core = after(core, *fails(1, 1, 5.0), (ended(2, "hello"), 8.0), (text("r3", "Hi."), 8.1), (end("r3"), 8.2))
    told = sent(core, *fails(3, 4, 16.0))
    assert only(HangUp, told) == []


def test_without_a_person_every_failed_turn_is_an_apology() -> None:
    told = sent(IDLE, *fails(1, 1, 5.0), *fails(2, 3, 10.0), *fails(3, 5, 15.0))
    assert [each.clip for each in only(PlayClip, told)] == ["apology"] * 3
    assert only(HangUp, told) == []
