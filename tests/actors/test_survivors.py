"""What a core changed in one place got away with: benchmarks/mutation.py found each of these unguarded."""

from typing import Any

import attrs
import pytest

from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import HOLD_TONE, Clip, Pacer, PacingPolicy
from engine.actors.stt import STT, RecognitionPolicy
from engine.actors.tts import TTS
from engine.actors.turn_detector import Floor, TurnDetector
from engine.actors.twilio_io import SpeechPolicy, TwilioIO
from engine.codec.telephony import FRAME_BYTES, SILENT_FRAME
from engine.mailbox import Core
from engine.messages.caller import CallerAudio, Dtmf, LineClosed, MarkEcho, SpeechLasted
from engine.messages.conversation import CallerSaid
from engine.messages.line import CloseLine, LineAudio, LineEnded, SendMark, SendMedia
from engine.messages.model import (
    AskModel,
    CancelModel,
    ModelEnded,
    ModelFailed,
    ModelText,
    ModelToolCall,
    ToolReturned,
)
from engine.messages.playout import Hold, Played, Playing, Stopped
from engine.messages.recognition import Recognised, Transcript, Word
from engine.messages.records import Counted
from engine.messages.reply import HangUp, PlayClip, PlayNotice, PlayTone, ReplyEnded, Sentence
from engine.messages.supervision import NEVER, SessionInfo, Tick
from engine.messages.synthesis import (
    AgentAudio,
    AgentAudioEnded,
    AgentAudioTrimmed,
    Synthesised,
    SynthesisEnded,
    VoiceDied,
)
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, TurnEnded, TurnExpected
from engine.policy import Answer
from tests.actors.steps import after, only, ran, sent, waited
from tests.actors.turns import LISTENING, SPEAKING, final, interim, lasted, policy, said, started, stopped


def frames(pattern: str, *, start_s: float = 0.0) -> list[tuple[object, float]]:
    """The frames of a pattern, 20 ms each: `#` has a voice in it, `.` has none."""
    return [
        (LineAudio(start_s=round(start_s + count * 0.02, 3), audio=SILENT_FRAME, voiced=each == "#"), 0.0)
        for count, each in enumerate(pattern)
    ]


@pytest.mark.parametrize("core", [TwilioIO(), TTS()])
def test_a_core_without_a_deadline_takes_a_tick_for_nothing(core: Core) -> None:
    assert core.handle(Tick(), 1.0) == (core, [])


# TwilioIO.


def test_a_click_in_the_middle_of_a_call_has_not_lasted() -> None:
    assert only(SpeechLasted, sent(TwilioIO(), *frames("." * 50 + "##" + "." * 50 + "#"))) == []


def test_the_line_of_a_bare_core_stays_closed() -> None:
    gone = TwilioIO().bare(after(TwilioIO(), *frames("###"), (LineEnded(reason="stop"), 1.0)))
    assert ran(gone, *frames("....####", start_s=1.0)) == (gone, [])


def test_speech_that_a_bare_core_takes_up_began_when_it_did() -> None:
    policy = SpeechPolicy(lasted_s=0.1)
    bare = TwilioIO(policy=policy).bare(after(TwilioIO(policy=policy), *frames("." * 100)))
    told = only(SpeechLasted, sent(bare, *frames("#" * 5, start_s=2.0)))
    assert [(round(each.from_s, 3), round(each.to_s, 3)) for each in told] == [(2.0, 2.1)]


def test_each_speech_of_a_call_is_told_to_last_from_its_own_beginning() -> None:
    told = only(SpeechLasted, sent(TwilioIO(policy=SpeechPolicy(lasted_s=0.2)), *frames("." * 50 + "#" * 15)))
    assert [(round(each.from_s, 3), round(each.to_s, 3)) for each in told] == [(1.0, 1.2)]


# TTS.


EARS = TTS().started(SessionInfo(vendor="elevenlabs", incarnation=1, aligned=True), 0.0)[0]


def test_a_cut_piece_is_trimmed_once_however_often_its_voice_dies() -> None:
    again = SessionInfo(vendor="elevenlabs", incarnation=2, aligned=True)
    words = (Word(text="Of", start_s=0.0, end_s=0.01),)
    cut = after(
        EARS,
        (Sentence(turn=1, index=0, text="Of course."), 1.0),
        (Synthesised(turn=1, index=0, audio=b"a" * 100, words=words), 1.1),
    )
    once, told = cut.started(again, 2.0)
    assert only(AgentAudioTrimmed, told) == [AgentAudioTrimmed(turn=1, index=0, keep_bytes=80)]
    assert only(AgentAudioTrimmed, once.started(again, 3.0)[1]) == []


@pytest.mark.parametrize("end", [True, False])
def test_a_voice_that_is_ahead_leaves_what_is_before_it_owed(end: bool) -> None:
    core = after(EARS, *((Sentence(turn=1, index=index, text="One."), 1.0) for index in range(3)))
    sound: list[tuple[object, float]] = [(Synthesised(turn=1, index=1, audio=b"a"), 1.1)]
    ended: list[tuple[object, float]] = [(SynthesisEnded(turn=1, index=1), 1.2)] if end else []
    assert [piece.index for piece in after(core, *sound, *ended).pieces] == ([0, 2] if end else [0, 1, 2])


# STT.

SHORT = STT(policy=RecognitionPolicy(keep_s=1.0))
"""A core that keeps a second of what is not covered."""

CLOSED = LineClosed(reason="stop", at_s=9.0)


def caller(first: int, end: int, *, voiced: bool = True) -> list[tuple[object, float]]:
    """The caller's frames by their numbers."""
    return [
        (CallerAudio(start_s=at * 0.02, end_s=(at + 1) * 0.02, audio=b"a" * FRAME_BYTES, voiced=voiced), 0.0)
        for at in range(first, end)
    ]


def heard(text: str, covered_s: float, *words: Word, end_s: float | None = None, final: bool = True) -> Recognised:
    return Recognised(
        text=text,
        words=words,
        start_s=0.0,
        end_s=covered_s if end_s is None else end_s,
        is_final=final,
        speech_final=False,
        covered_s=covered_s,
    )


@pytest.mark.parametrize(("voiced", "owing"), [("", False), ("..", False), (".#.", True), ("##", True)])
def test_any_voice_that_was_not_understood_is_owed_an_answer_and_silence_is_not(voiced: str, owing: bool) -> None:
    steps = [step for at, each in enumerate(voiced) for step in caller(at, at + 1, voiced=each == "#")]
    assert after(STT(), *steps).owing is owing


def test_a_final_that_comes_late_keeps_its_words_text() -> None:
    yes = Word(text="yes", start_s=0.2, end_s=0.4)
    core = after(STT(), *caller(0, 50), (heard("", 1.0), 1.0))
    (told,) = only(Transcript, sent(core, (heard("yes", 1.0, yes, end_s=0.4), 1.1)))
    assert (told.text, told.words) == ("yes", (yes,))


def test_a_draft_covers_nothing() -> None:
    (told,) = only(Transcript, sent(after(STT(), *caller(0, 50)), (heard("yes", 0.8, final=False), 1.0)))
    assert told.covered_s == 0.0


def test_less_than_a_second_lost_is_told_of_at_the_end_and_not_when_all_else_is_covered() -> None:
    core, told = ran(SHORT, *caller(0, 75), (heard("yes", 1.5), 1.6))
    assert core.owed == ()
    assert only(Counted, told) == []
    assert sent(core, (CLOSED, 2.0))[1:] == [Counted(name="lost_ms", amount=500), CLOSED]


def test_the_line_closes_once_whatever_is_heard_after_it() -> None:
    closed, told = ran(STT(), *caller(0, 5), (CLOSED, 1.0), (heard("yes", 0.1), 1.1))
    assert only(LineClosed, told) == [CLOSED]
    assert only(LineClosed, sent(closed, (heard("", 0.1), 1.2))) == []


def test_a_long_absence_and_catching_up_are_told_to_the_millisecond() -> None:
    core = after(STT(), *caller(0, 50))
    back, told = core.started(SessionInfo(vendor="any", incarnation=2, away_s=7.0), 10.0)
    assert Counted(name="deaf_ms", amount=7000) in told
    assert Counted(name="catch_up_s", amount=1.235) in sent(back, (heard("yes", 1.0), 11.23456))


# TurnDetector.

HELD = after(SPEAKING, started(4.5), lasted(4.5, 4.58))


def test_a_sound_after_a_key_is_waited_out_like_any_other() -> None:
    assert after(LISTENING, (Dtmf(digit="1", at_s=5.0), 5.0), started(6.0)).turn_due == pytest.approx(9.06)


def test_words_that_come_late_before_keys_are_the_newest_sign_of_the_caller_all_the_same() -> None:
    core = after(LISTENING, (Dtmf(digit="1", at_s=5.0), 5.0), (final("my pin is", 4.9), 7.0), started(9.0))
    assert core.open.text == "my pin is 1"
    assert core.turn_due == pytest.approx(12.06)


def test_silence_before_any_sound_is_as_long_as_any_other() -> None:
    core = after(TurnDetector(policy=policy()), (Playing(turn=0), 0.0), (Stopped(turn=0), 0.2))
    assert only(CallerIdle, waited(core, 10.3)[1]) == [CallerIdle(turn=1)]


def test_an_end_that_is_expected_of_silence_alone_has_the_answer_begun() -> None:
    core = after(LISTENING, started(2.0), (final("hello", 3.0, finished=False), 3.2))
    ending = attrs.evolve(final("", 3.1, finished=False), speech_ending=True)
    assert only(TurnExpected, sent(core, (ending, 3.3))) == [TurnExpected(turn=1, text="hello")]


def test_a_bare_core_knows_where_the_sound_before_the_present_one_ended() -> None:
    assert TurnDetector().bare(after(LISTENING, started(2.0), stopped(3.0), started(3.5))).sound.end_s == 3.0


def test_a_sound_of_which_neither_the_end_nor_the_next_ones_beginning_was_told_counts_from_the_latter() -> None:
    core = after(SPEAKING, started(4.5), lasted(6.0, 6.05))
    assert (core.sound.from_s, core.floor) == (6.0, Floor.AGENT)


def test_a_nod_before_the_agent_is_heard_is_not_told_before_its_turn_is_over() -> None:
    pending = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.3), (final("okay", 3.8), 3.9))
    assert only(Backchannel, sent(pending, (Playing(turn=1), 4.0))) == []


def test_an_agent_that_was_kept_from_beginning_remembers_the_holds_that_came_to_nothing() -> None:
    pending = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.3), started(3.5))
    assert after(attrs.evolve(pending, vain=2), (Playing(turn=1), 4.0)).vain == 2


def test_words_that_waited_for_a_firm_phrase_are_counted_as_words() -> None:
    firm = after(SPEAKING, (Playing(turn=1, firm=True), 4.1), (final("no", 4.8), 5.0))
    (counted,) = only(Counted, sent(firm, (Playing(turn=1, firm=False), 5.5)))
    assert counted == Counted(name="interruptions_by_words", amount=1.0)


@pytest.mark.parametrize("over", [(Stopped(turn=1), 6.0), (interim("no I"), 6.0)])
def test_an_answer_that_was_put_aside_waits_for_the_rest_from_when_the_agent_is_over(
    over: tuple[object, float],
) -> None:
    assert after(SPEAKING, started(4.9), (final("okay", 5.0), 5.1), over).turn_due == pytest.approx(9.0)


def test_a_caller_of_whose_sound_nothing_was_recognised_yet_is_asked_as_long_after_its_beginning() -> None:
    core = after(attrs.evolve(SPEAKING, telling=True), started(20.0), lasted(20.0, 21.6))
    assert core.floor is Floor.CALLER
    assert only(CallerIdle, waited(core, 49.9)[1]) == []
    assert only(CallerIdle, waited(core, 50.1)[1])


def test_sounds_that_come_and_go_take_the_floor_though_the_recogniser_keeps_up() -> None:
    core = HELD
    for at_s in (4.8, 5.5, 6.2, 6.9, 7.6):
        core = after(core, stopped(at_s), started(at_s + 0.3))
    core = after(core, (final("", 8.4, finished=False), 8.5))
    told = waited(core, 8.6)[1]
    assert only(BargedIn, told) == [BargedIn(turn=1, at_s=7.6 + 0.3)]
    assert only(Counted, told) == [Counted(name="interruptions_by_sound", amount=1.0)]


def test_a_sound_that_lasted_until_the_caller_was_asked_holds_nobody() -> None:
    core = waited(after(LISTENING, started(5.0)), 70.0)[0]
    told = sent(core, (Playing(turn=1), 70.1), lasted(5.0, 72.0))
    assert (only(Hold, told), only(BargedIn, told)) == ([], [])


@pytest.mark.parametrize("at_s", [5.5, 9.0])
def test_a_nod_is_told_of_the_turn_that_was_heard_though_another_is_pending(at_s: float) -> None:
    core = after(attrs.evolve(SPEAKING, turn=2), (final("okay", 4.8), 5.0))
    assert only(Backchannel, sent(core, (Stopped(turn=1), at_s))) == [Backchannel(turn=1, text="okay", at_s=4.8)]


QUIET = after(LISTENING, started(2.0), stopped(3.0), (final("", 3.0, finished=False), 3.2))


def test_a_word_that_is_begun_after_a_key_is_waited_for_as_after_any_word() -> None:
    core = after(LISTENING, (Dtmf(digit="1", at_s=5.0), 5.0))
    assert core.turn_due == pytest.approx(8.0)
    assert after(core, (interim("and"), 7.0)).turn_due == pytest.approx(10.0)


def test_keys_are_not_answered_early_but_words_after_them_are() -> None:
    core, told = ran(QUIET, (Dtmf(digit="1", at_s=3.5), 3.5))
    assert only(TurnExpected, told) == []
    (expected,) = only(TurnExpected, sent(core, (interim("thanks", 3.6, ending=True), 3.7)))
    assert expected.text == "1 thanks"


def test_words_of_a_voice_that_the_line_did_not_hear_are_not_answered_early() -> None:
    assert only(TurnExpected, sent(QUIET, (final("hello", 4.1, finished=False), 4.2))) == []
    assert only(TurnExpected, sent(QUIET, (final("hello", 3.9, finished=False), 4.0)))


def test_nothing_is_expected_of_words_that_a_key_has_ended() -> None:
    core = after(LISTENING, *said("red and", 2.0, 3.0))
    assert core.expect_due == pytest.approx(3.3)
    assert after(core, (Dtmf(digit="#", at_s=3.28), 3.28)).expect_due == NEVER


def test_a_second_sound_keeps_an_agent_from_beginning_as_the_first_did() -> None:
    pending = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.3))
    cough = [started(3.5), stopped(3.7), (final("", 3.8, finished=False), 4.0)]
    assert after(pending, *cough).floor is Floor.PENDING
    assert after(pending, *cough, started(4.2)).floor is Floor.KEPT


def test_a_fresh_core_goes_on_expecting_what_looks_unfinished_to_be_all() -> None:
    core = after(LISTENING, *said("red and", 2.0, 3.0))
    assert TurnDetector(policy=core.policy).fresh(core) == core


@pytest.mark.parametrize(("text", "same"), [("Half past two?", True), ("halfpast two", False), ("half past to", False)])
def test_words_are_what_was_expected_where_they_part_at_the_same_places(text: str, *, same: bool) -> None:
    core = after(QUIET, (interim("half past two", 3.4, ending=True), 3.5))
    assert core.expected is not None
    told = sent(core, (interim(text, 3.4, ending=True), 3.6))
    assert bool(only(TurnExpected, told)) is not same


def test_a_recogniser_that_told_of_silence_once_is_known_to() -> None:
    core = after(LISTENING, (final("", 1.5, finished=False), 1.6), (final("", 2.0, finished=True), 2.1))
    assert core.telling


def test_silence_that_is_told_of_finishes_no_words() -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), (final("hello", 2.7, finished=False), 3.2))
    assert after(core, (final("", 2.8, finished=False), 3.3)).turn_due == pytest.approx(6.2)


def test_a_turn_may_begin_with_a_firm_phrase() -> None:
    assert only(BargedIn, sent(SPEAKING, (Playing(turn=2, firm=True), 5.0), (final("no", 5.3), 5.5))) == []


def test_an_agent_begins_into_a_sound_in_which_there_was_a_nod_and_no_more() -> None:
    kept = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.5), started(3.6))
    core = after(kept, (final("", 6.9, finished=False), 7.0), (interim("okay", 7.0), 7.1))
    assert (core.floor, waited(core, 7.7)[0].floor) == (Floor.KEPT, Floor.PENDING)


def test_a_draft_is_of_its_turn_alone() -> None:
    core, _ = waited(after(LISTENING, *said("I would", 2.0, 3.0), (interim("like a"), 3.29)), 7.0)
    assert (core.turn, core.draft.text) == (1, "")
    core, _ = waited(after(LISTENING, (interim("er"), 3.0)), 14.0)
    assert (core.turn, core.draft.text) == (1, "")


def test_the_question_to_a_silent_caller_is_held_as_easily_as_any() -> None:
    core = waited(attrs.evolve(LISTENING, vain=3), 11.0)[0]
    assert after(core, started(11.5)).floor is Floor.KEPT


def test_what_is_expected_already_is_not_waited_for_again() -> None:
    core, told = waited(after(LISTENING, *said("red and", 2.0, 3.0)), 3.4)
    assert only(TurnExpected, told)
    core = after(core, started(3.5), stopped(3.7), (final("", 3.7, finished=False), 3.8))
    assert core.expect_due == pytest.approx(4.0)
    assert only(TurnExpected, waited(core, 4.1)[1]) == []


def test_a_bare_core_minds_a_silence_from_the_last_that_it_knows_of() -> None:
    heard = after(SPEAKING, *said("okay", 4.5, 4.8), started(5.0), stopped(5.6))
    bare = TurnDetector().bare(heard)
    assert bare.wordless_at == 5.6
    assert bare.idle_due == pytest.approx(65.6)
    later = after(SPEAKING, *said("okay", 4.5, 4.8), (final("", 7.0, finished=False), 7.1))
    assert TurnDetector().bare(later).idle_due == pytest.approx(67.0)


FIRM = after(SPEAKING, (Playing(turn=1, firm=True), 4.1))


def test_a_nod_after_words_that_wait_for_a_firm_phrase_is_one_of_them() -> None:
    assert after(FIRM, (final("no Thursday", 5.0), 5.2), (final("okay", 5.5), 5.7)).open.text == "no Thursday okay"


def test_a_nod_before_them_is_told_when_they_cut_what_follows() -> None:
    told = sent(after(FIRM, (final("okay", 4.6), 4.8), (final("no", 5.0), 5.2)), (Playing(turn=2), 8.0))
    assert [each.text for each in only(Backchannel, told)] == ["okay"]
    assert only(BargedIn, told)


def test_news_of_an_older_turn_makes_nothing_firm() -> None:
    assert after(SPEAKING, (Playing(turn=0, firm=True), 5.0)).voice == SPEAKING.voice


def test_a_nod_that_words_followed_at_once_is_told_with_them_and_not_as_a_nod() -> None:
    core, told = ran(SPEAKING, (final("okay", 5.0), 5.1), (interim("no I"), 6.0))
    assert only(Backchannel, told) == []
    assert core.open.text == "okay"


def test_an_agent_that_was_cut_before_it_was_heard_is_not_heard_by_news_that_crossed_it() -> None:
    pending = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.5), (final("no", 3.8), 3.9))
    assert after(pending, (Playing(turn=1), 4.0)).floor is Floor.CALLER


def test_silence_late_in_a_call_is_as_long_as_early_in_it() -> None:
    assert after(LISTENING, (interim("er"), 100.0)).idle_due == pytest.approx(110.0)


# Agent.

PHRASES = dict.fromkeys(["greeting", "still_there", "goodbye", "apology", "transfer"], "A phrase.")


def agent(**fields: Any) -> Agent:
    return Agent(policy=AgentPolicy(**{"phrases": PHRASES, "last_s": 0.0, **fields}))


def ended(turn: int) -> TurnEnded:
    return TurnEnded(turn=turn, text="book me", end_s=99.0)


def failed(request: str, vendor: str = "") -> ModelFailed:
    return ModelFailed(request=request, vendor=vendor, kinds=("down",), reason="gone")


def wrote(request: str, text: str = "Of course.") -> ModelText:
    return ModelText(request=request, text=text)


def calls(request: str, call: str) -> ModelToolCall:
    return ModelToolCall(request=request, id=call, name="find", arguments={})


def stops(request: str, why: Any = "end_turn") -> ModelEnded:
    return ModelEnded(request=request, stop=why)


GAVE_BACK = ToolReturned(id="t1", ok=True, value="9:00")
ASKED = after(agent(), (ended(1), 5.0))
ANSWERED = after(ASKED, (wrote("r1"), 6.0), (stops("r1"), 6.2))


def test_silence_of_a_model_is_a_failure_that_the_policy_has_a_word_in() -> None:
    strict = agent(reasons={"slow": Answer.END})
    (hung_up,) = only(HangUp, waited(after(strict, (ended(1), 5.0)), 7.6)[1])
    assert hung_up.reason == "gave_up"


def failing(core: Agent, *steps: tuple[int, float] | str) -> list[str]:
    """Why the call ends when these turns fail at these times, or, where there is a word, are answered by it."""
    told: list[object] = []
    for count, each in enumerate(steps, 1):
        turn, at_s = (count, 10.0) if isinstance(each, str) else each
        core = after(core, (ended(turn), at_s))
        assert core.reply is not None
        request = core.reply.request
        said = [(wrote(request, each), at_s), (stops(request), at_s)] if isinstance(each, str) else []
        core, more = ran(core, *(said or [(failed(request), at_s)]))
        told += more
    return [each.reason for each in only(HangUp, told)]


def test_the_second_turn_in_a_row_that_fails_ten_seconds_after_the_first_hands_the_caller_over() -> None:
    core = agent(human=True, retries=0)
    assert failing(core, (1, 5.0), (2, 14.9)) == []
    assert failing(core, (1, 5.0), (2, 15.0)) == ["transfer"]


def test_turns_that_fail_are_counted_from_the_last_one_that_did_not_and_each_once() -> None:
    core = agent(human=True, retries=0, failures=3)
    assert failing(core, (1, 5.0), "Yes.", (3, 20.0), (4, 31.0)) == []
    assert failing(core, (1, 5.0), "Yes.", (3, 20.0), (4, 31.0), (5, 32.0)) == ["transfer"]


def test_a_request_that_is_under_way_is_not_made_again_for_a_turn_that_comes_after_it() -> None:
    assert only(AskModel, sent(ASKED, (ended(2), 5.5))) == []


def test_a_model_that_stops_for_a_tool_after_others_and_asks_for_none_has_answered() -> None:
    core = after(ASKED, (calls("r1", "t1"), 6.0), (stops("r1", "tool_use"), 6.1), (GAVE_BACK, 6.2))
    told = sent(core, (wrote("r2"), 7.0), (stops("r2", "tool_use"), 7.1))
    assert only(AskModel, told) == []
    assert only(ReplyEnded, told) == [ReplyEnded(turn=1, pieces=1)]


def test_a_model_that_does_not_stop_for_its_tool_has_answered() -> None:
    told = sent(ASKED, (wrote("r1"), 6.0), (calls("r1", "t1"), 6.1), (stops("r1", "max_tokens"), 6.2))
    assert only(ReplyEnded, told) == [ReplyEnded(turn=1, pieces=1)]


def test_what_is_asked_before_a_turn_has_ended_is_asked_of_the_whole_conversation() -> None:
    (asked,) = only(AskModel, sent(ANSWERED, (TurnExpected(turn=2, text="at nine"), 9.0)))
    assert asked.conversation == (*ANSWERED.conversation, CallerSaid(turn=2, text="at nine"))


def test_the_time_that_the_last_model_is_asked_again_in_counts_from_its_own_first_failure() -> None:
    core = agent(models=("a", "b"), last_s=1.0)
    core = after(core, (ended(1), 5.0), (failed("r1", "a"), 5.0), (failed("r2", "a"), 5.1))
    core = after(core, (failed("r3", "b"), 9.0))
    (asked,) = only(AskModel, waited(after(core, (failed("r4", "b"), 9.1)), 9.4)[1])
    assert asked.request == "r5"


def test_it_counts_anew_after_an_answer_that_only_asked_for_a_tool() -> None:
    core = after(agent(last_s=1.0), (ended(1), 5.0), (failed("r1"), 5.0), (calls("r2", "t1"), 6.0))
    core = after(core, (stops("r2", "tool_use"), 6.1), (GAVE_BACK, 9.0), (failed("r3"), 9.1), (failed("r4"), 9.2))
    assert [each.request for each in only(AskModel, waited(core, 9.5)[1])] == ["r5"]


def test_nobody_is_told_to_wait_in_the_middle_of_an_answer() -> None:
    core = after(
        agent(phrases={**PHRASES, "one_moment": "One moment."}), (ended(1), 5.0), (wrote("r1", "Yes. No"), 6.0)
    )
    assert after(core, (ended(2), 6.5)).wait.filler_due == NEVER


def test_the_hold_tone_is_of_the_reply_in_hand_whatever_was_said_since() -> None:
    core = after(agent(tone_s=2.0), (ended(1), 5.0), (calls("r1", "t1"), 6.0), (ended(2), 6.5))
    assert only(PlayTone, waited(core, 8.6)[1]) == [PlayTone(turn=1)]


def test_a_barge_in_on_an_older_turn_leaves_the_reply_in_hand() -> None:
    core, told = ran(ASKED, (BargedIn(turn=0, at_s=5.2), 5.3))
    assert only(CancelModel, told) == []
    assert core.reply is not None


def test_a_silent_caller_is_asked_although_nobody_told_what_was_heard_of_the_answer() -> None:
    core, _ = waited(after(ANSWERED, (BargedIn(turn=1, at_s=6.4), 6.5)), 7.1)
    assert [each.clip for each in only(PlayClip, sent(core, (CallerIdle(turn=2), 8.0)))] == ["still_there"]


def test_a_fresh_core_knows_how_many_turns_have_failed() -> None:
    core = after(agent(retries=0), (ended(1), 5.0), (failed("r1"), 5.0))
    assert agent().fresh(core).failed.count == 1


def test_a_fresh_core_of_one_that_took_over_stores_where_that_one_did() -> None:
    bare = after(agent().bare(ANSWERED), (ended(2), 9.0))
    assert bare.history.stored == 2
    assert agent().fresh(bare).history == bare.history


# Pacer.

TONE = b"t" * 400 + b"u" * 600
PACER = Pacer(
    clips={"repeat": Clip(text="Could you say that again?", audio=b"n" * 400), HOLD_TONE: Clip(text="", audio=TONE)}
)


def spoken(index: int, audio: bytes, now: float = 0.0, turn: int = 1) -> list[tuple[object, float]]:
    """A piece of one word with all its sound."""
    words = (Word(text="One.", start_s=0.0, end_s=len(audio) / 8000),) if audio else ()
    sound = [AgentAudio(turn=turn, index=index, audio=audio, words=words)] if audio else []
    told: list[object] = [Sentence(turn=turn, index=index, text="One."), *sound]
    return [(each, now) for each in (*told, AgentAudioEnded(turn=turn, index=index))]


def reply(*pieces: bytes, now: float = 0.0, turn: int = 1) -> list[tuple[object, float]]:
    steps = [each for index, audio in enumerate(pieces) for each in spoken(index, audio, now, turn)]
    return [*steps, (ReplyEnded(turn=turn, pieces=len(pieces)), now)]


def media(messages: list[object]) -> bytes:
    return b"".join(each.audio for each in only(SendMedia, messages))


def played(core: Pacer, until: float, *steps: tuple[object, float]) -> list[object]:
    core, told = ran(core, *steps)
    return [*told, *waited(core, until)[1]]


def test_each_mark_has_a_name_of_its_own_and_the_end_of_a_piece_the_plain_one() -> None:
    names = [each.name for each in only(SendMark, played(PACER, 1.9, *reply(b"a" * 16000)))]
    assert names[-1] == "0:1:0"
    assert len(names) > 1
    assert all(name.startswith("0:1:0:") for name in names[:-1])


def test_a_mark_after_all_that_has_come_of_a_piece_is_not_that_of_its_end() -> None:
    names = [each.name for each in only(SendMark, played(PACER, 1.9, *spoken(0, b"a" * 12000)[:2]))]
    assert names == ["0:1:0:12000"]


def test_the_echo_of_a_part_of_a_piece_does_not_say_that_all_of_it_was_heard() -> None:
    core, told = ran(PACER, *reply(b"a" * 16000))
    core, more = waited(core, 1.9)
    first = only(SendMark, [*told, *more])[0]
    core, told = ran(core, (MarkEcho(name=first.name, at_s=1.9), 1.9))
    assert only(Played, told) == []
    assert [piece.index for piece in core.replies[0].pieces] == [0]


def test_a_piece_without_sound_is_marked_after_the_one_before_it() -> None:
    told = played(PACER, 0.9, *reply(b"a" * 8000, b""))
    assert [each.name for each in only(SendMark, told)] == ["0:1:0", "0:1:1"]


def test_the_echo_of_what_was_played_before_the_buffer_ran_dry_ends_its_mark() -> None:
    core = after(PACER, *spoken(0, b"a" * 800))
    core = after(waited(core, 1.0)[0], *spoken(1, b"b" * 800, 1.5), (MarkEcho(name="0:1:0", at_s=1.6), 1.6))
    assert "0:1:0" not in [each.name for each in core.buffer.marks]


def test_nothing_is_due_when_the_line_has_gone() -> None:
    bye = HangUp(turn=1, index=0, reason="hang_up")
    assert after(PACER, *reply(b"a" * 8000), (bye, 0.1), (CLOSED, 0.2)).deadline == NEVER


def test_a_goodbye_whose_voice_is_dead_is_waited_for_no_longer_than_any() -> None:
    asked: list[tuple[object, float]] = [(Sentence(turn=1, index=0, text="Bye."), 0.0), (VoiceDied(), 0.5)]
    core = after(PACER, *asked, (HangUp(turn=1, index=0, reason="hang_up"), 1.0))
    assert only(CloseLine, waited(core, 10.9)[1]) == []
    assert only(CloseLine, waited(core, 11.0)[1]) == [CloseLine(reason="hang_up")]


def test_a_trim_of_a_piece_that_is_over_repeats_nothing() -> None:
    assert only(Counted, sent(PACER, (AgentAudioTrimmed(turn=1, index=0, keep_bytes=0), 1.0))) == []


def test_a_rest_between_sentences_goes_out_in_messages_like_any_sound() -> None:
    core = attrs.evolve(PACER, policy=PacingPolicy(pause_s=0.5))
    told = played(core, 2.0, *reply(b"a" * 320, b"b" * 320))
    assert max(len(each.audio) for each in only(SendMedia, told)) == 320
    assert media(told).index(b"b") == pytest.approx(320 + 4000, abs=1)


def test_the_hold_tone_goes_on_where_it_was_and_round() -> None:
    assert media(played(PACER, 0.5, (PlayTone(turn=1), 0.0))).startswith(TONE * 3)


def test_a_hold_tone_without_sound_is_none() -> None:
    empty = attrs.evolve(PACER, clips={HOLD_TONE: Clip(text="", audio=b"")})
    assert played(empty, 0.5, (PlayTone(turn=1), 0.0)) == []


def test_a_notice_is_played_again_when_the_one_before_it_has_gone_out() -> None:
    core, _ = waited(after(PACER, (PlayNotice(clip="repeat"), 0.0)), 1.0)
    assert media(played(core, 2.0, (PlayNotice(clip="repeat"), 1.0))).count(b"n") == 400


def test_a_barge_in_settles_no_turn_after_its_own() -> None:
    core, told = ran(PACER, *reply(b"a" * 8000), *reply(b"b" * 8000, turn=2), (BargedIn(turn=1, at_s=0.1), 0.1))
    assert [each.turn for each in only(Played, told)] == [1]
    assert [each.turn for each in core.replies] == [2]


def test_a_barge_in_on_a_goodbye_keeps_the_line_open_and_one_before_it_does_not() -> None:
    bye = HangUp(turn=1, index=0, reason="hang_up")
    core, told = ran(PACER, *reply(b"a" * 8000), (bye, 0.1), (BargedIn(turn=1, at_s=0.2), 0.2))
    assert only(CloseLine, [*told, *played(core, 30.0, (Tick(), 0.3), *reply(b"b" * 800, now=1.0, turn=2))]) == []
    asked: list[tuple[object, float]] = [(Sentence(turn=2, index=0, text="Bye."), 0.0), (VoiceDied(), 0.0)]
    core = after(PACER, *asked, (attrs.evolve(bye, turn=2), 1.0), (BargedIn(turn=1, at_s=1.1), 1.1))
    assert only(CloseLine, waited(core, 11.0)[1]) == [CloseLine(reason="hang_up")]


def test_a_barge_in_on_an_older_turn_does_not_end_a_hold() -> None:
    core = after(PACER, *reply(b"b" * 8000, turn=2), (Hold(turn=2), 0.1), (BargedIn(turn=1, at_s=0.2), 0.2))
    assert core.held is not None
