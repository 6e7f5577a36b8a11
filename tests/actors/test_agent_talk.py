"""Agent: what of its words was heard, words in passing, firm phrases, the wait, silence."""

from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.agent import GO_ON, OVERHEARD, WAITS, Agent, AgentPolicy
from engine.codec.spoken import Diction
from engine.messages.caller import LineClosed
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Noted, ToolAnswered, ToolCalled
from engine.messages.model import AskModel, ModelEnded, ModelFailed, ModelText, ModelToolCall, ToolReturned
from engine.messages.playout import Played
from engine.messages.records import Record
from engine.messages.reply import HangUp, PlayClip, PlayTone, Sentence
from engine.messages.supervision import NEVER
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, CallOpened, TurnEnded
from tests.actors.steps import after, only, ran, sent, step, waited

PHRASES = {
    "greeting": "Dr. Lee's clinic.",
    "still_there": "Are you there?",
    "goodbye": "Goodbye.",
    "apology": "Sorry.",
    "one_moment": "One moment.",
}
POLICY = AgentPolicy(phrases=PHRASES, last_s=0.0)
IDLE = Agent(policy=POLICY)


def ended(turn: int, words: str = "book me", end_s: float = 99.0) -> TurnEnded:
    return TurnEnded(turn=turn, text=words, end_s=end_s)


def text(request: str, said: str) -> ModelText:
    return ModelText(request=request, text=said)


def tool(request: str, call: str) -> ModelToolCall:
    return ModelToolCall(request=request, id=call, name="find", arguments={})


def end(request: str, stop: str = "end_turn") -> ModelEnded:
    return ModelEnded(request=request, stop="tool_use" if stop == "tool_use" else "end_turn")


def returned(call: str) -> ToolReturned:
    return ToolReturned(id=call, ok=True, value="9:00")


def heard(turn: int, words: str) -> Played:
    return Played(turn=turn, heard=words, settled=True)


def passing(turn: int, words: str = "uh-huh") -> Backchannel:
    return Backchannel(turn=turn, text=words, at_s=6.0)


def clips(messages: list[object]) -> list[str]:
    return [each.clip for each in only(PlayClip, messages)]


def with_policy(**changes: object) -> Agent:
    return Agent(policy=attrs.evolve(POLICY, **changes))  # type: ignore[arg-type]  # a table's own names


ASKED = after(IDLE, (ended(1), 5.0))
SAID = after(ASKED, (text("r1", "We have two times. Nine or ten."), 6.0), (end("r1"), 6.2))


# What is spoken, and what was heard of it.

READ_OUT = Diction(pronunciations={"10:30": "ten thirty", "Dr.": "Doctor", "Lee's": "the Lees"}, normalise=False)
DICTION = with_policy(diction=READ_OUT)
TIMES = after(
    DICTION, (ended(1), 5.0), (text("r1", "Friday at 10:30 is free. Shall I book it?"), 6.0), (end("r1"), 6.1)
)


def test_the_voice_is_given_what_is_spoken_and_the_conversation_keeps_what_was_written() -> None:
    told = sent(
        DICTION, (ended(1), 5.0), (text("r1", "Friday at 10:30 is free. Shall I book it?"), 6.0), (end("r1"), 6.1)
    )
    assert [each.text for each in only(Sentence, told)] == ["Friday at ten thirty is free.", "Shall I book it?"]
    said = TIMES.conversation[-1]
    assert said == AgentSaid(
        turn=1, text="Friday at 10:30 is free. Shall I book it?", spoken=(1, 1, 2, 1, 1, 1, 1, 1, 1)
    )


def test_a_clip_is_counted_as_it_is_spoken_too() -> None:
    core = after(DICTION, (CallOpened(greeting="greeting"), 0.0))
    assert core.conversation == (AgentSaid(turn=0, text="Dr. Lee's clinic.", spoken=(1, 2, 1)),)
    slow = after(core, (ended(1), 5.0))
    assert waited(slow, 7.0)[0].conversation[-1] == AgentSaid(turn=1, text="One moment.")


@pytest.mark.parametrize(
    ("words", "written", "unheard"),
    [
        ("", "", "Friday at 10:30 is free. Shall I book it?"),
        ("Friday at", "Friday at", "10:30 is free. Shall I book it?"),
        ("Friday at ten", "Friday at", "10:30 is free. Shall I book it?"),  # half a time is none
        ("Friday at ten thirty", "Friday at 10:30", "is free. Shall I book it?"),
        ("Friday at ten thirty is free. Shall", "Friday at 10:30 is free. Shall", "I book it?"),
    ],
)
def test_spoken_words_that_were_heard_are_kept_as_they_were_written(words: str, written: str, unheard: str) -> None:
    core = after(TIMES, (BargedIn(turn=1, at_s=7.0), 7.0), (heard(1, words), 7.0))
    cut = core.conversation[-1]
    assert isinstance(cut, AgentSaid)
    assert (cut.text, cut.unheard, cut.interrupted) == (written, unheard, True)
    assert len(cut.spoken) == len(written.split())


def test_what_was_heard_whole_is_not_cut() -> None:
    core = after(TIMES, (heard(1, "Friday at ten thirty is free. Shall I book it?"), 9.0))
    assert core.conversation == TIMES.conversation


def test_a_turn_whose_first_part_is_read_out_and_whose_second_is_not_is_cut_at_the_right_word() -> None:
    core = after(
        DICTION, (ended(1), 5.0), (text("r1", "At 10:30."), 6.0), (tool("r1", "t1"), 6.0), (end("r1", "tool_use"), 6.1)
    )
    core = after(core, (returned("t1"), 6.2), (text("r2", "It is booked."), 6.5), (end("r2"), 6.6))
    core = after(core, (BargedIn(turn=1, at_s=8.0), 8.0), (heard(1, "At ten thirty. It"), 8.0))
    said = [each for each in core.conversation if isinstance(each, AgentSaid)]
    assert [(each.text, each.unheard) for each in said] == [("At 10:30.", ""), ("It", "is booked.")]


# Words that left the agent the floor.

NOTE = Noted(turn=1, text=OVERHEARD.format(text="uh-huh"))


def test_words_in_passing_are_noted_where_they_were_said() -> None:
    core, told = ran(SAID, (ended(2, "ten"), 8.0), (passing(1), 8.1))
    assert core.conversation == (
        CallerSaid(turn=1, text="book me"),
        AgentSaid(turn=1, text="We have two times. Nine or ten."),
        NOTE,
        CallerSaid(turn=2, text="ten"),
    )
    rows = {each.position: each.entry for each in only(Record, told)}
    assert (rows[2], rows[3]) == (NOTE, CallerSaid(turn=2, text="ten"))
    assert NOTE.text == "while you spoke, the caller said: “uh-huh”"


def test_words_in_passing_are_shown_with_the_next_request() -> None:
    told = sent(SAID, (passing(1), 7.0), (ended(2, "ten"), 8.0))
    (asked,) = only(AskModel, told)
    assert asked.conversation[-2:] == (NOTE, CallerSaid(turn=2, text="ten"))


CALLED = ToolCalled(turn=1, id="t1", name="find", arguments={})


def test_words_in_passing_never_part_a_call_from_its_answer() -> None:
    core = after(ASKED, (text("r1", "Let me look."), 6.0), (tool("r1", "t1"), 6.0), (tool("r1", "t2"), 6.0))
    core = after(core, (end("r1", "tool_use"), 6.1), (returned("t1"), 6.2), (passing(1), 6.5))
    assert core.conversation[1:4] == (AgentSaid(turn=1, text="Let me look."), NOTE, CALLED)
    core, told = step(core, returned("t2"), 7.0)
    (asked,) = only(AskModel, told)
    assert [type(each) for each in asked.conversation] == [
        CallerSaid, AgentSaid, Noted, ToolCalled, ToolCalled, ToolAnswered, ToolAnswered,
    ]  # fmt: skip
    assert after(core, (passing(1), 7.1)).conversation[-1] == NOTE


def test_nor_does_a_late_answer_of_another_tool() -> None:
    core = after(ASKED, (tool("r1", "t1"), 6.0), (returned("t1"), 6.1), (tool("r1", "t2"), 6.2), (returned("t1"), 6.3))
    assert [type(each) for each in core.conversation] == [CallerSaid, ToolCalled, ToolAnswered, Noted, ToolCalled]


def test_who_goes_on_after_a_death_is_told_so_though_words_in_passing_came_last() -> None:
    core = after(ASKED, (text("r1", "We have two times. Nine o"), 6.0), (passing(1), 6.1))
    died = ModelFailed(request="r1", reason="gone", kinds=("down",))
    (asked,) = only(AskModel, sent(core, (died, 6.2)))
    assert asked.conversation[-2:] == (NOTE, Noted(turn=1, text=GO_ON.format(said="We have two times.")))
    core = waited(ASKED, 7.0)[0]
    (asked,) = only(AskModel, sent(core, (passing(1), 7.1), (died, 7.2)))
    assert asked.conversation[-2:] == (NOTE, Noted(turn=1, text=WAITS))


# Firm phrases.

FIRM = with_policy(firm=("this call is recorded, and you can opt out at any time", "Dr. Lee's clinic", "sorry"))


def test_what_says_a_firm_phrase_is_firm() -> None:
    said = "Welcome. Please note: THIS CALL is recorded and you can opt out, at any time! Is that fine?"
    told = sent(FIRM, (ended(1), 5.0), (text("r1", said), 6.0), (end("r1"), 6.1))
    assert [(each.text, each.firm) for each in only(Sentence, told)] == [
        ("Welcome.", False),
        ("Please note: THIS CALL is recorded and you can opt out, at any time!", True),
        ("Is that fine?", False),
    ]


def test_so_is_each_good_part_of_one_that_is_cut_into_pieces() -> None:
    said = "This call is recorded, and you can opt out at any time. You can go on."
    told = sent(FIRM, (ended(1), 5.0), (text("r1", said), 6.0), (end("r1"), 6.1))
    assert [(each.text, each.firm) for each in only(Sentence, told)] == [
        ("This call is recorded,", True),
        ("and you can opt out at any time.", True),
        ("You can go on.", False),
    ]


def test_clips_are_firm_by_what_they_say() -> None:
    told = sent(FIRM, (CallOpened(greeting="greeting"), 0.0), (ended(1), 5.0), (text("r1", " "), 6.0), (end("r1"), 6.1))
    assert [(each.clip, each.firm) for each in only(PlayClip, told)] == [("greeting", True), ("apology", True)]
    assert [each.firm for each in only(PlayClip, waited(after(FIRM, (ended(1), 5.0)), 7.0)[1])] == [False]


# The hold tone.

TONED = with_policy(tone_s=3.0, phrases={name: said for name, said in PHRASES.items() if name != "one_moment"})
RUNNING = ((ended(1), 5.0), (tool("r1", "t1"), 6.0), (end("r1", "tool_use"), 6.1))


def tones(core: Agent, until: float) -> list[tuple[int, float]]:
    """The turns for which the tone is asked for until a moment, and when."""
    found: list[tuple[int, float]] = []
    while core.deadline <= until:
        now = core.deadline
        core, told = waited(core, now)
        found += [(each.turn, now) for each in only(PlayTone, told)]
    return found


def test_a_caller_who_waits_long_for_tools_hears_a_tone_once() -> None:
    assert tones(after(TONED, *RUNNING), 15.9) == [(1, 9.0)]
    assert tones(after(with_policy(), *RUNNING), 15.9) == []


@pytest.mark.parametrize(
    "steps",
    [
        ((returned("t1"), 8.9),),
        ((BargedIn(turn=1, at_s=8.9), 8.9), (heard(1, ""), 8.9)),
        ((LineClosed(reason="stop", at_s=8.9), 8.9),),
    ],
    ids=["answered", "the caller breaks in", "the end"],
)
def test_nobody_hears_it_who_does_not_wait(steps: tuple[tuple[object, float], ...]) -> None:
    assert tones(after(TONED, *RUNNING, *steps), 15.9) == []


def test_tools_in_a_row_are_each_waited_for_and_tools_together_once() -> None:
    core = after(TONED, *RUNNING, (returned("t1"), 8.0), (tool("r2", "t2"), 8.5), (tool("r2", "t3"), 8.9))
    assert tones(after(core, (end("r2", "tool_use"), 9.0), (returned("t2"), 9.5)), 12.0) == [(1, 11.5)]


def test_whoever_speaks_meanwhile_waits_anew() -> None:
    core = after(TONED, *RUNNING, (BargedIn(turn=1, at_s=7.0), 7.0), (heard(1, ""), 7.0), (ended(2, "hello?"), 8.0))
    assert tones(core, 15.9) == [(2, 11.0)]


def test_the_tone_comes_after_what_is_said_meanwhile() -> None:
    core = after(with_policy(tone_s=3.0), *RUNNING)
    assert (core.wait.filler_due, core.wait.tone_due) == (6.8, 9.0)
    core, told = waited(core, 6.8)
    assert clips(told) == ["one_moment"]
    assert [turn for turn, _ in tones(core, 15.9)] == [1]
    assert core.wait.tone_due == pytest.approx(9.8)
    core = after(TONED, (ended(1), 5.0), (tool("r1", "t1"), 6.0), (text("r1", "Let me look. Wait"), 8.0))
    assert core.wait.tone_due == 11.0


# The wait.


def told_to_wait(core: Agent, until: float) -> list[float]:
    """When the caller is told to wait, until a moment."""
    found: list[float] = []
    while core.deadline <= until:
        now = core.deadline
        core, told = waited(core, now)
        found += [now] * clips(told).count("one_moment")
    return found


def answered(turn: int, request: int, at: float) -> list[tuple[object, float]]:
    """The model's answer, and that it was heard."""
    name = f"r{request}"
    return [(text(name, "Yes."), at), (end(name), at), (heard(turn, "Yes."), at)]


def test_nobody_is_told_to_wait_in_two_turns_running_unless_it_takes_twice_as_long() -> None:
    core = waited(after(IDLE, (ended(1), 5.0)), 7.0)[0]
    core = after(core, *answered(1, 1, 7.0), (ended(2), 20.0))
    assert told_to_wait(core, 22.4) == []
    core = waited(after(core, *answered(2, 2, 22.0)), 23.0)[0]
    assert told_to_wait(after(core, (ended(3), 30.0)), 32.4) == [31.8]


def test_who_waits_twice_as_long_is_told_again_and_the_third_time_too() -> None:
    core = waited(after(with_policy(first_token_s=9.0), (ended(1), 5.0)), 7.0)[0]
    core = after(core, *answered(1, 1, 7.0), (ended(2), 20.0))
    assert told_to_wait(core, 24.0) == [23.6]
    core = after(waited(core, 24.0)[0], *answered(2, 2, 24.0), (ended(3), 30.0))
    assert told_to_wait(core, 34.0) == [33.6]


def test_what_the_engine_says_between_is_no_turn_of_the_callers() -> None:
    core = waited(after(with_policy(first_token_s=9.0), (ended(1), 5.0)), 7.0)[0]
    core = after(core, *answered(1, 1, 7.0), (CallerIdle(turn=2), 60.0), (heard(2, "Are you there?"), 61.0))
    assert told_to_wait(after(core, (ended(3), 65.0)), 69.0) == [68.6]


# Silence.


@pytest.mark.parametrize("prompts", [0, 1, 2, 3])
def test_a_silent_caller_is_asked_as_often_as_the_tenant_wants_then_the_call_ends(prompts: int) -> None:
    steps: list[tuple[object, float]] = []
    for turn in range(1, prompts + 2):
        steps += [(CallerIdle(turn=turn), 60.0 * turn), (heard(turn, "Are you there?"), 60.0 * turn + 2.0)]
    told = sent(with_policy(idle_prompts=prompts), *steps)
    assert clips(told) == ["still_there"] * prompts + ["goodbye"]
    assert told[-1] == HangUp(turn=prompts + 1, index=0, reason="idle")
    assert len(only(HangUp, told)) == 1


@pytest.mark.parametrize("sign", [(ended(2, "Yes!"), 62.0), (BargedIn(turn=1, at_s=62.0), 62.0)])
def test_a_sign_of_the_caller_begins_the_questions_anew(sign: tuple[object, float]) -> None:
    core = after(IDLE, (CallerIdle(turn=1), 60.0), sign)
    core = after(core, (heard(1, ""), 62.1), *(answered(2, 1, 62.5) if core.reply is not None else ()))
    assert clips(sent(core, (CallerIdle(turn=3), 120.0))) == ["still_there"]


# Salvage.


@pytest.mark.parametrize("core", [after(TONED, *RUNNING), waited(ASKED, 7.0)[0], TIMES, after(SAID, (passing(1), 7.0))])
def test_a_fresh_core_is_what_a_sound_one_was(core: Agent) -> None:
    assert core.policy.phrases  # each has its own
    assert Agent(policy=core.policy).fresh(core) == core
    assert Agent(policy=core.policy).bare(core).deadline == NEVER


# Whatever was said, and however much of it was heard.

PIECES = st.lists(
    st.lists(st.sampled_from(["Friday", "10:30", "free.", "So.", "Yes,"]), min_size=1, max_size=6).map(" ".join),
    min_size=1,
    max_size=4,
)


@given(PIECES, st.integers(0, 40), st.lists(st.integers(0, 3), max_size=2))
def test_what_was_heard_and_what_was_not_are_together_what_was_written(
    pieces: list[str], count: int, tools_after: list[int]
) -> None:
    core, request = after(DICTION, (ended(1), 5.0)), 1
    for number, piece in enumerate(pieces):
        core = after(core, (text(f"r{request}", f"{piece} "), 6.0))
        if number in tools_after:
            core = after(core, (tool(f"r{request}", f"t{number}"), 6.0), (end(f"r{request}", "tool_use"), 6.0))
            core, request = after(core, (returned(f"t{number}"), 6.0)), request + 1
    core = after(core, (end(f"r{request}"), 6.5))
    written = saids(core.conversation)
    spoken = [word for said in written for word in READ_OUT.spoken(said.text).text.split()]
    core = after(core, (BargedIn(turn=1, at_s=7.0), 7.0), (heard(1, " ".join(spoken[:count])), 7.0))
    known: Mapping[bool, list[str]] = {True: [], False: []}
    for before, said in zip(written, saids(core.conversation), strict=True):
        assert " ".join(filter(None, (said.text, said.unheard))) == before.text
        assert said.interrupted is bool(said.unheard)
        known[True].extend(said.text.split())
        known[False].extend(said.unheard.split())
    # No more than was heard, and of what is left the first word was not heard whole.
    size = len(READ_OUT.spoken(" ".join(known[True])).text.split())
    assert size <= min(count, len(spoken))
    if known[False] and count < len(spoken):
        assert size + len(READ_OUT.spoken(known[False][0]).text.split()) > count


def saids(conversation: tuple[Entry, ...]) -> list[AgentSaid]:
    return [each for each in conversation if isinstance(each, AgentSaid)]
