"""TurnDetector: whose turn it is, by the policy's numbers, and no word lost."""

import attrs
import pytest

from engine.actors.turn_detector import Floor, Sound, TurnDetector, TurnPolicy, Voice
from engine.messages.caller import LineClosed
from engine.messages.playout import Playing, Stopped
from engine.messages.recognition import Word
from engine.messages.records import Timing
from engine.messages.supervision import NEVER, Tick
from engine.messages.turns import CallerIdle, TurnEnded
from tests.actors.steps import after, only, ran, sent, step, waited
from tests.actors.turns import (
    CLOSED,
    LISTENING,
    SPEAKING,
    final,
    interim,
    lasted,
    policy,
    said,
    semantic,
    started,
    stopped,
)


def test_the_two_cores_that_tests_begin_with_are_what_they_say() -> None:
    assert (LISTENING.floor, LISTENING.turn) == (Floor.CALLER, 0)
    assert (SPEAKING.floor, SPEAKING.turn, SPEAKING.open.text) == (Floor.AGENT, 1, "")


# The end of a turn.


def test_silence_after_words_that_are_finished_ends_the_turn() -> None:
    core = after(LISTENING, *said("hello there", 2.0, 3.0))
    assert core.deadline == pytest.approx(3.3)  # complete_s after the last sound
    ended, told = step(core, Tick(), core.deadline)
    assert told == [
        TurnEnded(turn=1, text="hello there", end_s=3.0),
        Timing(turn=1, stage="last_word", at_s=3.0),
        Timing(turn=1, stage="transcript_final", at_s=3.25),
        Timing(turn=1, stage="turn_ended", at_s=core.deadline),
    ]
    assert (ended.turn, ended.floor, ended.open.text) == (1, Floor.PENDING, "")


def test_a_turn_ends_with_its_last_word_not_with_the_silence_that_the_transcript_speaks_of() -> None:
    words = (Word(text="hello", start_s=2.0, end_s=2.4), Word(text="there", start_s=2.5, end_s=3.0))
    heard = attrs.evolve(final("hello there", 3.3), words=words)
    told = sent(after(LISTENING, started(2.0), stopped(3.0), (heard, 3.5)), (Tick(), 3.5))
    assert told[:2] == [
        TurnEnded(turn=1, text="hello there", end_s=3.0),
        Timing(turn=1, stage="last_word", at_s=3.0),
    ]


def test_words_that_come_after_the_silence_end_the_turn_at_once() -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), (final("hello", 3.0), 4.1))
    assert core.deadline == 4.1


@pytest.mark.parametrize(("text", "due"), [("hello", 3.3), ("red and", 4.2), ("five seven", 4.8)])
@pytest.mark.parametrize("finished", [True, False])
def test_silence_is_as_long_as_the_end_of_the_words_calls_for(text: str, due: float, *, finished: bool) -> None:
    core = after(LISTENING, *said(text, 2.0, 3.0, finished=finished))
    assert core.turn_due == pytest.approx(due)
    assert [each.text for each in only(TurnEnded, waited(core, due + 0.001)[1])] == [text]


def test_silence_after_words_of_which_no_end_was_heard_counts_from_the_last_of_them() -> None:
    """The line's detector may not have heard a low voice."""
    core = after(LISTENING, started(2.0), stopped(3.0), (final("hello there", 3.4, finished=False), 3.5))
    assert core.turn_due == pytest.approx(3.7)


@pytest.mark.parametrize(("covered_s", "due"), [(3.0, 3.3), (2.99, 6.25)])
def test_words_of_which_no_end_was_heard_may_lack_one_until_all_of_the_sound_is_transcribed(
    covered_s: float, due: float
) -> None:
    heard = final("hello", 2.9, finished=False, covered_s=covered_s)
    core = after(LISTENING, started(2.0), stopped(3.0), (heard, 3.25))
    assert core.turn_due == pytest.approx(due)


def test_an_empty_final_that_covers_the_last_sound_says_that_the_words_were_all() -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), (final("hello", 2.9, finished=False), 3.25))
    assert core.turn_due == pytest.approx(6.25)
    core = after(core, (final("", 4.0, finished=False), 4.1))
    assert core.turn_due == 4.1


def test_no_wait_is_longer_than_the_longest_time_after_the_last_sign_of_life() -> None:
    core = attrs.evolve(LISTENING, policy=policy(incomplete_s=9.0))
    assert after(core, *said("red and", 2.0, 3.0)).turn_due == pytest.approx(3.25 + 3.0)


def test_words_wait_for_what_is_a_draft_after_them() -> None:
    core = after(LISTENING, *said("red", 2.0, 3.0), (interim("and"), 3.28))
    assert core.turn_due == pytest.approx(6.28)
    assert after(core, (final("and blue", 3.5), 3.7)).turn_due == pytest.approx(3.7)


@pytest.mark.parametrize(("covered_s", "due"), [(2.75, 3.3), (2.74, 3.25 + 3.0)])
def test_words_are_complete_when_transcription_has_come_within_a_quarter_of_a_second_of_the_last_sound(
    covered_s: float, due: float
) -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), (final("hello", 2.7, covered_s=covered_s), 3.25))
    assert core.deadline == pytest.approx(due)


def test_words_that_lag_are_complete_when_an_empty_final_says_that_nothing_more_was_there() -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), (final("hello", 2.5), 3.25), (final("", 3.0), 3.6))
    assert core.deadline == 3.6


def test_a_caller_who_goes_on_speaking_keeps_the_turn() -> None:
    core = after(LISTENING, *said("I would like", 2.0, 3.0), started(3.2))
    assert core.deadline == pytest.approx(3.26 + 3.0)
    core = after(core, stopped(4.0), (final("a haircut", 4.0), 4.2))
    assert core.deadline == pytest.approx(4.3)
    assert sent(core, (Tick(), core.deadline))[0] == TurnEnded(turn=1, text="I would like a haircut", end_s=4.0)


def test_a_turn_ends_at_once_where_the_recogniser_judges_by_what_was_said() -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), (semantic("red and", 3.1), 3.21))
    assert core.deadline == 3.21
    assert only(TurnEnded, waited(core, 3.21)[1])


def test_it_ends_at_once_though_a_sound_goes_on_that_was_there_before() -> None:
    assert after(LISTENING, started(2.0), (semantic("red", 3.1), 3.21)).turn_due == 3.21


@pytest.mark.parametrize("more", [[started(3.15)], [started(3.15), stopped(3.5)]])
def test_it_does_not_end_while_a_sound_that_came_after_it_is_not_recognised(more: list[tuple[object, float]]) -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), *more, (semantic("red", 3.1), 3.75))
    assert core.turn_due == pytest.approx(6.75)
    assert after(core, (final("", 3.6, finished=False), 4.0)).turn_due == 4.0


def test_an_end_that_is_certain_may_come_after_the_words() -> None:
    core = after(LISTENING, *said("red and", 2.0, 3.0, finished=False))
    assert after(core, (semantic("", 3.2), 3.4)).turn_due == 3.4


def test_interim_words_keep_the_turn_open_and_are_not_answered() -> None:
    core = after(LISTENING, *said("I would", 2.0, 3.0), (interim("like a"), 3.29))
    assert core.deadline == pytest.approx(6.29)
    assert sent(core, (Tick(), 6.3))[0] == TurnEnded(turn=1, text="I would", end_s=3.0)


def test_words_are_answered_three_seconds_after_the_last_sign_of_life_whatever_happens() -> None:
    core = after(LISTENING, started(2.0), (final("hello", 3.0), 3.5))  # and the line never says that it is silent
    assert core.deadline == 6.5


@pytest.mark.parametrize(
    ("other", "due"),
    [(policy(complete_s=0.5), 3.5), (policy(complete_s=0.1), 3.25), (policy(recogniser_s=-0.1), 6.25)],
)
def test_the_policy_says_how_long_silence_is(other: TurnPolicy, due: float) -> None:
    core = after(attrs.evolve(LISTENING, policy=other), *said("hello", 2.0, 3.0))
    assert core.deadline == pytest.approx(due)


def test_the_policy_says_what_the_longest_time_is() -> None:
    core = attrs.evolve(LISTENING, policy=policy(longest_s=1.0))
    assert after(core, started(2.0), (final("hello", 3.0), 3.5)).deadline == pytest.approx(4.5)


# Silence.


def test_ten_seconds_of_silence_after_the_agent_are_told_with_a_turn_of_their_own() -> None:
    assert LISTENING.deadline == 11.0
    core, told = step(LISTENING, Tick(), 11.0)
    assert told == [CallerIdle(turn=1)]
    assert (core.turn, core.floor) == (1, Floor.PENDING)


def test_silence_is_told_again_when_the_agent_has_spoken_about_it() -> None:
    core = after(LISTENING, (Tick(), 11.0), (Playing(turn=1), 11.1), (Stopped(turn=1), 13.0))
    assert core.deadline == 23.0
    assert sent(core, (Tick(), 23.0)) == [CallerIdle(turn=2)]


@pytest.mark.parametrize(
    ("steps", "due"),
    [
        ([started(5.0), stopped(6.0)], 16.2),  # sound, of which no words came
        ([(interim("er"), 6.0)], 16.0),
        ([started(5.0)], 65.06),  # sound without end
        ([started(5.0), (interim("er"), 6.0)], 66.0),
    ],
)
def test_silence_begins_anew_with_each_sign_of_the_caller(steps: list[tuple[object, float]], due: float) -> None:
    assert after(LISTENING, *steps).deadline == pytest.approx(due)


def test_silence_is_not_counted_while_words_wait_to_be_answered() -> None:
    core = after(attrs.evolve(LISTENING, policy=policy(longest_s=30.0)), started(2.0), (final("so", 3.0), 3.25))
    assert core.deadline == pytest.approx(33.25)
    assert core.idle_due == NEVER


def test_an_answer_that_never_begins_is_silence() -> None:
    pending = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.3))
    assert pending.deadline == pytest.approx(13.3)


def test_a_cough_while_an_answer_is_awaited_only_begins_the_silence_anew() -> None:
    pending = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.3), started(4.0), stopped(4.2))
    pending = waited(pending, 5.0)[0]  # its words were waited for
    assert pending.deadline == pytest.approx(14.8)


@pytest.mark.parametrize("cough", [[], [started(4.0), stopped(4.2)]])
def test_an_agent_of_whose_end_nothing_is_heard_is_believed_for_a_minute(cough: list[tuple[object, float]]) -> None:
    core = after(SPEAKING, *cough)
    assert core.deadline == pytest.approx(64.4 if cough else 64.0)
    assert sent(core, (Tick(), core.deadline)) == [CallerIdle(turn=2)]


def test_noise_that_never_ends_is_silence_after_a_minute_and_then_no_barge_in() -> None:
    core, told = waited(after(LISTENING, started(5.0)), 70.0)
    assert told == [CallerIdle(turn=1)]
    assert waited(after(core, (Playing(turn=1), 70.1)), 80.0)[1] == []


def test_an_agent_that_was_about_to_speak_and_did_not_ask_leaves_the_caller_the_floor() -> None:
    core, told = waited(after(LISTENING, *said("hello", 2.0, 3.0)), 14.0)
    assert only(CallerIdle, told) == [CallerIdle(turn=2)]  # the agent was busy with turn 1, and says that
    core = after(core, (Playing(turn=1), 15.0), (Stopped(turn=1), 18.0))
    assert core.floor is Floor.CALLER
    told = waited(after(core, *said("okay", 20.0, 20.4)), 21.0)[1]
    assert only(TurnEnded, told) == [TurnEnded(turn=3, text="okay", end_s=20.4)]


def test_an_agent_that_asks_after_all_has_the_floor_again() -> None:
    core = waited(after(LISTENING, *said("hello", 2.0, 3.0)), 14.0)[0]
    core = after(core, (Playing(turn=1), 15.0), (Stopped(turn=1), 18.0), (Playing(turn=2), 18.1))
    assert core.floor is Floor.AGENT
    assert after(core, (Stopped(turn=2), 19.0)).floor is Floor.CALLER


def noises(from_s: float, to_s: float, every_s: float) -> list[tuple[object, float]]:
    """Sounds of half a second that come and go, in which the recogniser hears nothing."""
    told: list[tuple[object, float]] = []
    for at_s in (from_s + every_s * count for count in range(round((to_s - from_s) / every_s))):
        told += [started(at_s), stopped(at_s + 0.5), (final("", at_s + 0.5, finished=False), at_s + 0.8)]
    return told


def test_noise_that_comes_and_goes_is_silence_after_as_long_as_one_sound_would_be() -> None:
    told = ran(LISTENING, *noises(5.0, 70.0, every_s=2.5))[1]
    assert only(CallerIdle, told) == []
    core = after(LISTENING, *noises(5.0, 70.0, every_s=2.5))
    assert core.idle_due == pytest.approx(71.0)  # the agent's end, ten seconds of silence, a minute of sound
    assert only(CallerIdle, waited(core, 71.0)[1]) == [CallerIdle(turn=1)]


def test_words_in_a_noise_that_comes_and_goes_are_a_sign_of_the_caller() -> None:
    core = after(LISTENING, *noises(5.0, 50.0, every_s=2.5), (interim("er"), 50.5), (interim(""), 50.9))
    core = after(core, *noises(51.0, 100.0, every_s=2.5))
    assert core.idle_due > 100.0


def test_the_policy_says_how_long_silence_is_borne() -> None:
    core = after(TurnDetector(policy=policy(idle_s=4.0)), (Playing(turn=0), 0.0), (Stopped(turn=0), 1.0))
    assert core.deadline == 5.0
    core = after(TurnDetector(policy=policy(monologue_s=7.0)), (Playing(turn=0), 1.0))
    assert core.deadline == 8.0


# A recogniser that is away.

TELLING = after(LISTENING, (final("", 1.5, finished=False), 1.6))
"""After the greeting, with a recogniser that was seen to tell of silence."""


def half_heard(core: TurnDetector = TELLING) -> TurnDetector:
    """The caller spoke from 2 to 5 s, and of that the first second was recognised."""
    return after(core, started(2.0), (final("I would", 3.0, finished=False), 3.2), stopped(5.0))


def test_only_silence_that_is_told_by_itself_shows_that_a_recogniser_tells_of_it() -> None:
    assert TELLING.telling
    assert not LISTENING.telling
    assert not after(LISTENING, (final("", 1.5, finished=True), 1.6)).telling  # the end of an utterance
    assert not after(LISTENING, (final("", 0.0, finished=False), 1.6)).telling
    assert not after(LISTENING, *said("hello", 2.0, 3.0)).telling


def test_words_are_not_answered_while_the_rest_of_what_was_said_is_still_to_be_recognised() -> None:
    core, told = waited(half_heard(), 20.0)
    assert told == []
    core = after(core, (final("like a haircut", 5.0), 20.5))
    assert core.deadline == 20.5
    assert sent(core, (Tick(), 20.5))[0] == TurnEnded(turn=1, text="I would like a haircut", end_s=5.0)


def test_words_that_a_recogniser_catches_up_with_by_and_by_are_one_turn() -> None:
    core, _ = waited(half_heard(), 20.0)
    core, told = waited(after(core, (final("like a", 4.0, finished=False), 20.5)), 23.0)
    assert told == []
    core = after(core, (final("haircut", 5.0, finished=False), 23.2))
    assert sent(core, (Tick(), core.deadline))[0] == TurnEnded(turn=1, text="I would like a haircut", end_s=5.0)


def test_a_recogniser_that_comes_back_and_heard_nothing_more_has_the_words_answered_at_once() -> None:
    core, _ = waited(half_heard(), 20.0)
    core = after(core, (final("", 4.74, finished=False), 20.2))
    assert waited(core, 20.4)[1] == []
    core = after(core, (final("", 4.76, finished=False), 20.5))
    assert core.deadline == 20.5


def test_words_are_answered_as_they_are_when_the_recogniser_stays_away_for_as_long_as_audio_is_kept() -> None:
    core, told = waited(half_heard(), 33.2)
    assert told[0] == TurnEnded(turn=1, text="I would", end_s=3.0)
    assert core.open.text == ""
    assert waited(half_heard(), 33.1)[1] == []


def test_words_are_not_answered_while_the_caller_goes_on_and_the_recogniser_is_away() -> None:
    core = after(TELLING, started(2.0), (final("I would", 3.0, finished=False), 3.2))
    assert waited(core, 15.0)[1] == []


def test_a_noise_that_lasts_holds_nothing_back_while_the_recogniser_keeps_up_with_it() -> None:
    core = after(TELLING, started(2.0), (final("hello", 3.0, finished=False), 3.2))
    for covered_s in (4.0, 5.0, 6.0):
        core = after(core, (final("", covered_s, finished=False), covered_s + 0.2))
    assert core.deadline == pytest.approx(6.2)
    assert only(TurnEnded, waited(core, 6.2)[1])


def test_a_recogniser_that_was_never_seen_to_tell_of_silence_is_waited_for_as_long_as_silence_is_borne() -> None:
    assert waited(half_heard(LISTENING), 13.1)[1] == []
    core, told = waited(half_heard(LISTENING), 13.2)
    assert told[0] == TurnEnded(turn=1, text="I would", end_s=3.0)
    assert core.turn == 1


def test_a_noise_after_the_words_is_waited_out_no_longer_than_the_recogniser_takes_to_tell_of_it() -> None:
    core = after(TELLING, *said("hello", 2.0, 3.0, finished=False), started(3.4), stopped(3.6))
    core, told = waited(core, 7.0)
    assert told == []
    assert after(core, (final("", 7.0, finished=False), 7.1)).deadline == pytest.approx(7.1)


def test_nobody_is_asked_whether_they_are_there_whose_words_are_still_to_be_recognised() -> None:
    core, told = waited(after(TELLING, started(2.0), stopped(5.0)), 34.9)
    assert told == []
    assert only(CallerIdle, waited(core, 35.1)[1])
    words = after(core, (final("hello", 5.0), 34.9))
    assert only(CallerIdle, waited(words, 40.0)[1]) == []


def test_silence_counts_from_when_the_sound_before_it_is_known_to_have_been_no_words() -> None:
    core, _ = waited(after(TELLING, started(2.0), stopped(5.0)), 20.0)
    core = after(core, (final("", 6.0, finished=False), 20.0))
    assert core.deadline == pytest.approx(30.0)
    assert sent(core, (Tick(), 30.0)) == [CallerIdle(turn=1)]


def test_the_policy_says_how_long_a_recogniser_is_waited_for_and_how_far_behind_it_may_be() -> None:
    core = attrs.evolve(TELLING, policy=policy(behind_s=8.0))
    assert only(TurnEnded, waited(half_heard(core), 11.2)[1])
    assert not only(TurnEnded, waited(half_heard(core), 11.1)[1])
    lasting = [started(2.0), (final("I would", 3.0, finished=False), 3.2)]
    assert only(TurnEnded, waited(after(attrs.evolve(TELLING, policy=policy(lag_s=9.0)), *lasting), 6.3)[1])


# The end.


def test_the_end_of_the_line_ends_the_open_turn_first() -> None:
    core, told = ran(LISTENING, *said("bye", 2.0, 3.0), (CLOSED, 3.26))
    assert [type(each) for each in told[-5:]] == [TurnEnded, Timing, Timing, Timing, LineClosed]
    assert told[-5] == TurnEnded(turn=1, text="bye", end_s=3.0)
    assert core.deadline == NEVER
    assert ran(core, *said("hello", 4.0, 4.5), (Playing(turn=1), 5.0), (CLOSED, 6.0)) == (core, [])


def test_the_end_of_the_line_ends_no_turn_without_words() -> None:
    assert ran(SPEAKING, started(4.5), (CLOSED, 4.6))[1] == [CLOSED]


# Salvage.


@pytest.mark.parametrize(
    "core",
    [
        LISTENING,
        SPEAKING,
        after(LISTENING, *said("hello", 2.0, 3.0)),
        after(SPEAKING, started(4.5)),
        after(LISTENING, (Tick(), 11.0)),
        half_heard(),
    ],
)
def test_a_fresh_core_is_what_a_sound_one_was(core: TurnDetector) -> None:
    assert TurnDetector(policy=core.policy).fresh(core) == core


def test_a_fresh_core_waits_for_nothing_when_no_words_are_open() -> None:
    muddled = attrs.evolve(LISTENING, turn_due=5.0)
    assert TurnDetector().fresh(muddled).turn_due == NEVER


def test_a_bare_core_knows_the_newest_turns_and_how_far_the_caller_was_heard() -> None:
    core = after(SPEAKING, *said("okay", 4.5, 4.8))
    bare = TurnDetector().bare(core)
    assert (bare.turn, bare.voice, bare.floor) == (1, Voice(turn=1), Floor.CALLER)
    assert (bare.covered_s, bare.sound) == (4.8, Sound(end_s=4.8))
    assert bare.deadline == pytest.approx(64.8)


def test_of_a_line_that_is_closed_a_bare_core_tells_nothing() -> None:
    core = TurnDetector().bare(after(SPEAKING, (CLOSED, 5.0)))
    assert (core.floor, core.deadline) == (Floor.GONE, NEVER)


def test_sound_alone_does_not_hold_an_answer_back_for_ever() -> None:
    core = after(LISTENING, started(2.0), (final("hello", 3.0), 3.25))
    at_s = 3.4
    while core.turn_due > at_s + 0.06:
        core = after(core, started(at_s), stopped(at_s + 0.1))
        at_s += 0.35
    assert core.turn_due == pytest.approx(9.25, abs=0.36)  # twice the longest pause after the last word


# A recogniser that finds the end by itself.


def test_words_are_finished_by_an_end_that_comes_without_words() -> None:
    core = after(LISTENING, started(2.0), stopped(3.0), (final("hello there", 2.8, finished=False), 3.25))
    assert core.deadline == pytest.approx(3.25 + 3.0)  # longest_s: nobody has called them finished
    core = after(core, (final("", 2.9), 3.5))
    assert core.deadline == pytest.approx(3.5)


def test_an_end_without_words_ends_no_turn_where_nothing_was_said() -> None:
    assert sent(LISTENING, (final("", 3.0, covered_s=3.4), 3.5)) == []
    assert after(LISTENING, (final("", 3.0, covered_s=3.4), 3.5)).turn_due == NEVER


def test_a_sound_that_goes_on_where_the_recogniser_heard_the_end_is_waited_out_for_half_a_second() -> None:
    core = after(LISTENING, started(2.0), lasted(2.0, 3.4), (final("hello there", 3.0, covered_s=3.3), 3.5))
    assert core.deadline == pytest.approx(4.0)
    assert only(TurnEnded, waited(core, 4.0)[1])
    again = after(core, (interim("and"), 3.9))
    assert again.deadline == pytest.approx(4.4)


def test_a_sound_that_began_after_the_words_is_the_caller_going_on() -> None:
    core = after(LISTENING, *said("hello there", 2.0, 3.0), started(3.1))
    assert core.deadline > 5.0
