"""TurnDetector: what holds the agent, what cuts it, what it may go on after; and what else is told over it."""

import attrs
import pytest

from engine.actors.turn_detector import Floor, TurnDetector
from engine.codec.grammar import ENGLISH
from engine.messages.caller import Dtmf
from engine.messages.playout import Hold, Playing, Resume, Stopped
from engine.messages.recognition import Transcript
from engine.messages.records import Counted
from engine.messages.supervision import NEVER, Tick
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, TurnEnded
from tests.actors.steps import after, only, ran, sent, waited
from tests.actors.turns import (
    CLOSED,
    LISTENING,
    SPEAKING,
    final,
    interim,
    lasted,
    policy,
    said,
    started,
    stopped,
)

PENDING = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.3))
"""The agent was given turn 1 at 3.3, and is not heard yet."""

HELD = after(SPEAKING, started(4.5), lasted(4.5, 4.58))
KEPT = after(PENDING, started(3.5))
FIRM = after(SPEAKING, (Playing(turn=1, firm=True), 4.1))

FLOORS = {
    Floor.CALLER: LISTENING,
    Floor.PENDING: PENDING,
    Floor.KEPT: KEPT,
    Floor.AGENT: SPEAKING,
    Floor.HELD: HELD,
    Floor.GONE: after(SPEAKING, (CLOSED, 4.5)),
}


def moves(core: TurnDetector, *steps: tuple[object, float]) -> tuple[Floor, list[type]]:
    """Where it leads, and what of holds, cuts, turns and silences is told on the way."""
    core, told = ran(core, *steps)
    kinds = (Hold, Resume, BargedIn, Backchannel, TurnEnded, CallerIdle)
    return core.floor, [type(each) for each in told if isinstance(each, kinds)]


# The table at the head of the module, phase by phase.


def test_the_cores_that_the_table_begins_with_are_in_their_phases() -> None:
    assert {floor: core.floor for floor, core in FLOORS.items()} == {floor: floor for floor in Floor}


BEGINS = [started(5.0)]
GOES_ON = [started(5.0), lasted(5.0, 5.08)]
LONG = [started(5.0), lasted(5.0, 6.6)]
COUGH = [*GOES_ON, stopped(5.2), (final("", 5.2, finished=False), 5.5)]
COMMAND = [(interim("stop"), 5.0)]
WORDS = [(final("Thursday", 5.0), 5.0)]
DRAFT = [(interim("not Thursday"), 5.0)]
NOD = [(final("okay", 5.0), 5.0)]
KEY = [(Dtmf(digit="1", at_s=5.0), 5.0)]
PLAYING = [(Playing(turn=2), 5.0)]
STOPPED = [(Stopped(turn=1), 5.0)]


@pytest.mark.parametrize(
    ("floor", "steps", "then", "told"),
    [
        (Floor.CALLER, BEGINS, Floor.CALLER, []),
        (Floor.CALLER, LONG, Floor.CALLER, []),
        (Floor.CALLER, COMMAND, Floor.CALLER, []),
        (Floor.CALLER, WORDS, Floor.CALLER, []),
        (Floor.CALLER, NOD, Floor.CALLER, []),
        (Floor.CALLER, KEY, Floor.CALLER, []),
        (Floor.CALLER, PLAYING, Floor.AGENT, []),
        (Floor.CALLER, STOPPED, Floor.CALLER, []),
        (Floor.PENDING, BEGINS, Floor.KEPT, [Hold]),
        (Floor.PENDING, LONG, Floor.KEPT, [Hold]),
        (Floor.PENDING, COUGH, Floor.PENDING, [Hold, Resume]),
        (Floor.PENDING, COMMAND, Floor.CALLER, [BargedIn]),
        (Floor.PENDING, WORDS, Floor.CALLER, [BargedIn]),
        (Floor.PENDING, DRAFT, Floor.CALLER, [BargedIn]),
        (Floor.PENDING, NOD, Floor.PENDING, []),
        (Floor.PENDING, KEY, Floor.CALLER, [BargedIn]),
        (Floor.PENDING, PLAYING, Floor.AGENT, []),
        (Floor.PENDING, STOPPED, Floor.PENDING, []),
        (Floor.KEPT, LONG, Floor.KEPT, []),
        (Floor.KEPT, COUGH, Floor.PENDING, [Resume]),
        (Floor.KEPT, COMMAND, Floor.CALLER, [BargedIn]),
        (Floor.KEPT, WORDS, Floor.CALLER, [BargedIn]),
        (Floor.KEPT, DRAFT, Floor.CALLER, [BargedIn]),
        (Floor.KEPT, NOD, Floor.KEPT, []),
        (Floor.KEPT, KEY, Floor.CALLER, [BargedIn]),
        (Floor.KEPT, PLAYING, Floor.HELD, []),
        (Floor.KEPT, STOPPED, Floor.KEPT, []),
        (Floor.AGENT, BEGINS, Floor.AGENT, []),
        (Floor.AGENT, GOES_ON, Floor.HELD, [Hold]),
        (Floor.AGENT, LONG, Floor.CALLER, [BargedIn]),
        (Floor.AGENT, COUGH, Floor.AGENT, [Hold, Resume]),
        (Floor.AGENT, COMMAND, Floor.CALLER, [BargedIn]),
        (Floor.AGENT, WORDS, Floor.CALLER, [BargedIn]),
        (Floor.AGENT, DRAFT, Floor.CALLER, [BargedIn]),
        (Floor.AGENT, NOD, Floor.AGENT, []),
        (Floor.AGENT, KEY, Floor.CALLER, [BargedIn]),
        (Floor.AGENT, PLAYING, Floor.AGENT, []),
        (Floor.AGENT, STOPPED, Floor.CALLER, []),
        (Floor.HELD, LONG, Floor.CALLER, [BargedIn]),
        (Floor.HELD, COUGH, Floor.AGENT, [Resume]),
        (Floor.HELD, COMMAND, Floor.CALLER, [BargedIn]),
        (Floor.HELD, WORDS, Floor.CALLER, [BargedIn]),
        (Floor.HELD, DRAFT, Floor.CALLER, [BargedIn]),
        (Floor.HELD, NOD, Floor.HELD, []),
        (Floor.HELD, KEY, Floor.CALLER, [BargedIn]),
        (Floor.HELD, PLAYING, Floor.HELD, []),
        (Floor.HELD, STOPPED, Floor.CALLER, [Resume]),
        *((Floor.GONE, steps, Floor.GONE, []) for steps in (COUGH, WORDS, KEY, PLAYING, STOPPED)),
    ],
)
def test_each_message_leads_from_each_phase_to_where_the_table_says(
    floor: Floor, steps: list[tuple[object, float]], then: Floor, told: list[type]
) -> None:
    assert moves(FLOORS[floor], *steps) == (then, told)


# Holding.


@pytest.mark.parametrize(("to_s", "held"), [(4.57, False), (4.58, True), (4.6, True)])
def test_so_much_sound_over_the_agent_holds_it(to_s: float, *, held: bool) -> None:
    core, told = ran(SPEAKING, started(4.5), lasted(4.5, to_s))
    assert told == ([Hold(turn=1)] if held else [])
    assert core.floor is (Floor.HELD if held else Floor.AGENT)


def test_the_policy_says_how_much_sound_that_is() -> None:
    core = attrs.evolve(SPEAKING, policy=policy(hold_s=0.3))
    assert sent(core, started(4.5), lasted(4.5, 4.78)) == []
    assert only(Hold, sent(core, started(4.5), lasted(4.5, 4.8)))


def test_an_agent_that_was_not_heard_yet_is_kept_from_beginning_by_the_first_sound() -> None:
    assert sent(PENDING, started(3.5)) == [Hold(turn=1)]


def test_sound_that_the_agent_began_to_speak_into_counts_from_there() -> None:
    core = after(TurnDetector(policy=policy()), started(3.5), (Playing(turn=0), 4.0))
    assert sent(core, lasted(3.5, 4.07)) == []
    assert sent(core, lasted(3.5, 4.08))[0] == Hold(turn=0)
    assert after(core, lasted(3.5, 4.08), lasted(3.5, 5.48)).floor is Floor.HELD
    assert after(core, lasted(3.5, 4.08), lasted(3.5, 5.5)).floor is Floor.CALLER


def test_sound_whose_beginning_was_missed_is_known_by_its_lasting() -> None:
    assert only(Hold, sent(SPEAKING, lasted(4.5, 4.6)))
    assert only(Hold, sent(PENDING, lasted(3.5, 3.58)))
    assert only(BargedIn, sent(HELD, lasted(4.5, 6.0))) == [BargedIn(turn=1, at_s=4.5)]


# Going on.


@pytest.mark.parametrize(("covered_s", "resumed"), [(4.74, False), (4.76, True), (5.5, True)])
def test_it_goes_on_once_transcription_has_passed_the_sound_and_found_no_words(
    covered_s: float, *, resumed: bool
) -> None:
    core, told = ran(HELD, stopped(4.8), (final("", covered_s, finished=False), 5.1))
    assert only(Resume, told) == ([Resume(turn=1)] if resumed else [])
    assert core.floor is (Floor.AGENT if resumed else Floor.HELD)


def test_it_goes_on_when_no_words_have_come_in_the_time_that_a_recogniser_takes() -> None:
    core = after(HELD, stopped(4.8))
    assert core.deadline == pytest.approx(5.4)
    assert sent(core, (Tick(), 5.4)) == [Resume(turn=1)]
    slow = after(attrs.evolve(HELD, policy=policy(words_s=1.0)), stopped(4.8))
    assert slow.deadline == pytest.approx(5.8)


@pytest.mark.parametrize("heard", [interim("okay", 4.8), final("okay", 4.8)])
def test_it_goes_on_after_words_that_leave_it_the_floor_whenever_they_come(heard: Transcript) -> None:
    before = after(HELD, (heard, 4.9))
    assert before.floor is Floor.HELD  # while the sound lasts
    assert only(Resume, sent(before, stopped(4.8))) == [Resume(turn=1)]
    assert only(Resume, sent(after(HELD, stopped(4.8)), (heard, 5.1))) == [Resume(turn=1)]


def test_it_stays_held_while_the_sound_goes_on() -> None:
    core, told = waited(after(HELD, lasted(4.5, 5.9)), 5.9)
    assert (core.floor, told) == (Floor.HELD, [])


def test_another_sound_before_the_words_of_the_first_have_come_keeps_it_held() -> None:
    core = after(HELD, stopped(4.8), started(5.0))
    assert waited(core, 6.0)[0].floor is Floor.HELD
    assert after(core, (final("", 4.9, finished=False), 5.1)).floor is Floor.HELD
    assert waited(after(core, stopped(5.4)), 6.0)[1][0] == Resume(turn=1)


def test_a_word_that_nobody_is_sure_of_yet_is_waited_for_once_more() -> None:
    core = after(HELD, stopped(4.8), (interim("Thursday", 4.8), 5.3))
    assert core.deadline == pytest.approx(5.9)
    assert only(BargedIn, sent(core, (final("Thursday", 4.8), 5.7))) == [BargedIn(turn=1, at_s=4.5)]
    assert only(Resume, waited(core, 5.9)[1])
    assert only(Resume, sent(core, (final("", 4.8), 5.5)))  # taken back


def test_sounds_that_come_and_go_take_the_floor_after_four_seconds() -> None:
    core = HELD
    for at_s in (4.8, 5.5, 6.2, 6.9, 7.6):
        core = after(core, stopped(at_s), started(at_s + 0.3))
    assert core.deadline == pytest.approx(8.58)
    assert only(BargedIn, waited(core, 8.6)[1]) == [BargedIn(turn=1, at_s=7.6 + 0.3)]


def test_an_agent_that_was_kept_from_beginning_begins_into_a_sound_of_which_no_words_have_come_in_that_time() -> None:
    heard = (final("", 6.9, finished=False), 7.0)
    core, told = waited(after(KEPT, heard), 7.57)
    assert only(Resume, told) == [Resume(turn=1)]
    assert moves(core, (Playing(turn=1), 7.7), lasted(3.5, 10.0)) == (Floor.AGENT, [])
    assert moves(core, (Playing(turn=1), 7.7), stopped(8.0), started(9.0), lasted(9.0, 9.1)) == (Floor.HELD, [Hold])


@pytest.mark.parametrize("behind", [[], [(final("", 6.9, finished=False), 7.0), (interim("Thursday", 7.0), 7.1)]])
def test_it_does_not_while_there_may_be_words_in_it(behind: list[tuple[object, float]]) -> None:
    core, told = waited(after(KEPT, *behind), 7.57)
    assert only(BargedIn, told) == [BargedIn(turn=1, at_s=3.5)]
    assert core.floor is Floor.CALLER


def test_each_hold_that_came_to_nothing_makes_the_next_less_easy() -> None:
    core = SPEAKING
    needed = []
    for count in range(5):
        at_s = 5.0 + 3 * count
        core = after(core, started(at_s))
        to_s = at_s + 0.08
        while only(Hold, sent(core, lasted(at_s, to_s))) == []:
            to_s += 0.08
        needed.append(round(to_s - at_s, 2))
        core = waited(after(core, lasted(at_s, to_s), stopped(to_s)), at_s + 2.5)[0]
    assert needed == [0.08, 0.08, 0.16, 0.32, 0.64]
    assert core.vain == 5
    assert after(core, (Playing(turn=2), 30.0)).vain == 0
    kept = attrs.evolve(PENDING, vain=2)
    assert moves(kept, started(3.5), lasted(3.5, 3.58)) == (Floor.PENDING, [])
    assert moves(kept, started(3.5), lasted(3.5, 3.66)) == (Floor.KEPT, [Hold])


def test_a_new_turn_is_held_as_easily_as_the_first() -> None:
    core = after(attrs.evolve(SPEAKING, vain=4), (Stopped(turn=1), 6.0), *said("red", 7.0, 7.5), (Tick(), 7.8))
    assert moves(core, started(8.0)) == (Floor.KEPT, [Hold])


# Taking the floor.


@pytest.mark.parametrize(
    ("heard", "cause"),
    [
        (interim("stop"), "command"),
        (final("stop", 5.0), "command"),
        (interim("no I"), "words"),
        (final("no", 5.0), "words"),
    ],
)
@pytest.mark.parametrize("core", [PENDING, KEPT, SPEAKING, HELD])
def test_words_that_take_the_floor_cut_the_agent_once(core: TurnDetector, heard: Transcript, cause: str) -> None:
    after_it, told = ran(core, (heard, 5.0), (interim("no I do"), 5.1))
    assert only(BargedIn, told) == [BargedIn(turn=1, at_s=core.sound.from_s)]
    assert only(Counted, told)[0] == Counted(name=f"interruptions_by_{cause}", amount=1.0)
    assert (after_it.floor, after_it.hold_due) == (Floor.CALLER, NEVER)


@pytest.mark.parametrize("heard", [interim("okay"), interim("Thursday"), final("okay", 5.0), final("...", 5.0)])
@pytest.mark.parametrize("core", [PENDING, KEPT, SPEAKING, HELD])
def test_words_that_leave_the_agent_the_floor_and_a_draft_of_one_do_not(core: TurnDetector, heard: Transcript) -> None:
    assert only(BargedIn, sent(core, (heard, 5.0))) == []


@pytest.mark.parametrize(("words", "text", "cuts"), [(3, "no wait", False), (3, "no I do", True), (1, "no", True)])
def test_the_policy_says_how_many_words_of_a_draft_do(words: int, text: str, *, cuts: bool) -> None:
    core = attrs.evolve(SPEAKING, policy=policy(barge_words=words))
    assert bool(only(BargedIn, sent(core, (interim(text), 4.9)))) is cuts


@pytest.mark.parametrize(("to_s", "cuts"), [(5.98, False), (6.0, True), (6.02, True)])
@pytest.mark.parametrize("first", [[], [lasted(4.5, 4.58)]])
def test_unbroken_sound_takes_the_floor_held_or_not(
    first: list[tuple[object, float]], to_s: float, *, cuts: bool
) -> None:
    core, told = ran(SPEAKING, started(4.5), *first, lasted(4.5, to_s))
    assert only(BargedIn, told) == ([BargedIn(turn=1, at_s=4.5)] if cuts else [])
    assert core.floor is (Floor.CALLER if cuts else Floor.HELD)


def test_words_that_come_after_it_went_on_cut_it_all_the_same() -> None:
    core, told = waited(after(HELD, stopped(4.8)), 5.4)
    assert told[0] == Resume(turn=1)
    core, told = ran(core, (final("no Thursday", 4.8), 5.9))
    assert told[0] == BargedIn(turn=1, at_s=4.5)
    assert only(TurnEnded, waited(core, 6.0)[1]) == [TurnEnded(turn=2, text="no Thursday", end_s=4.8)]


def test_words_from_before_the_agent_was_heard_cut_it() -> None:
    assert only(BargedIn, sent(SPEAKING, (final("and blue", 3.6), 4.2)))


def test_the_words_that_broke_in_are_the_next_turn() -> None:
    core, told = ran(SPEAKING, *said("no wait", 4.5, 5.2))
    assert told[0] == BargedIn(turn=1, at_s=4.5)
    assert sent(core, (Tick(), core.turn_due))[0] == TurnEnded(turn=2, text="no wait", end_s=5.2)


def test_words_and_sound_after_a_cut_belong_to_the_caller() -> None:
    core = after(SPEAKING, (interim("no I"), 4.9))
    assert moves(core, (Stopped(turn=1), 5.0), started(5.1), lasted(5.1, 8.0)) == (Floor.CALLER, [])


def test_a_caller_whose_words_cut_the_agent_is_believed_to_go_on_while_the_sound_does() -> None:
    assert after(SPEAKING, started(4.5), (interim("no I"), 4.9)).idle_due == pytest.approx(64.9)


# Sound without words.


def test_a_caller_whose_sound_cut_the_agent_and_had_no_words_is_soon_asked() -> None:
    core = after(SPEAKING, started(4.5), lasted(4.5, 6.0))
    assert core.deadline == pytest.approx(9.0)
    core = after(core, lasted(4.5, 6.4), stopped(6.5), (final("", 6.9, finished=False), 7.0))
    assert only(CallerIdle, waited(core, 9.9)[1]) == []
    assert only(CallerIdle, waited(core, 10.0)[1]) == [CallerIdle(turn=2)]


def test_a_caller_whom_a_noise_that_comes_and_goes_has_cut_off_is_asked_all_the_same() -> None:
    core = after(SPEAKING, started(4.5), lasted(4.5, 6.0))
    for at_s in (6.5, 9.0, 11.5, 14.0):  # each before the last one's silence is over
        core = after(core, stopped(at_s), (final("", at_s, finished=False), at_s + 0.3), started(at_s + 0.5))
    assert core.turn == 1
    assert core.idle_due == pytest.approx(16.0)
    assert only(CallerIdle, waited(core, 16.0)[1]) == [CallerIdle(turn=2)]


def test_words_after_it_are_a_turn_like_any_other() -> None:
    core = after(SPEAKING, started(4.5), lasted(4.5, 6.0), stopped(6.5), (final("no Thursday", 6.5), 7.0))
    core, told = waited(core, 7.1)
    assert only(TurnEnded, told) == [TurnEnded(turn=2, text="no Thursday", end_s=6.5)]
    assert core.deadline == pytest.approx(17.0)


def test_after_a_key_nobody_is_stranded() -> None:
    core = after(SPEAKING, started(4.5), lasted(4.5, 6.0), stopped(6.5), *press("1#", 7.0))
    assert core.deadline == pytest.approx(17.5)


def test_a_recogniser_that_is_away_is_waited_for_before_the_caller_is_asked() -> None:
    telling = attrs.evolve(SPEAKING, telling=True)
    core = after(telling, started(4.5), lasted(4.5, 6.0), stopped(6.5))
    assert waited(core, 36.4)[1] == []
    assert only(CallerIdle, waited(core, 36.5)[1])


def test_an_agent_can_speak_though_a_radio_is_on() -> None:
    """It cut the agent once, and holds it no more as long as it plays; words over it cut all the same."""
    core = after(SPEAKING, started(4.5), (final("", 5.0, finished=False), 5.1), lasted(4.5, 6.0))
    core = after(core, *((final("", at_s, finished=False), at_s + 0.1) for at_s in (6.0, 7.0, 8.0)))
    core, told = waited(core, 9.0)
    assert only(CallerIdle, told) == [CallerIdle(turn=2)]
    assert moves(core, lasted(4.5, 9.1), (Playing(turn=2), 9.3), lasted(4.5, 12.0)) == (Floor.AGENT, [])
    core = after(core, (Playing(turn=2), 9.3), lasted(4.5, 12.0))
    assert moves(core, (final("yes I am", 12.0), 12.3)) == (Floor.CALLER, [BargedIn])
    assert moves(core, stopped(12.1), started(13.0), lasted(13.0, 13.08)) == (Floor.HELD, [Hold])
    assert after(core, (Stopped(turn=2), 13.0)).deadline == pytest.approx(23.0)


def test_a_sound_that_a_turn_ended_in_does_not_keep_its_answer_from_being_heard() -> None:
    core = after(LISTENING, started(2.0), lasted(2.0, 3.4), (final("hello there", 3.0, covered_s=3.3), 3.5))
    core, told = waited(core, 4.0)
    assert only(TurnEnded, told)
    assert moves(core, lasted(2.0, 4.1), (Playing(turn=1), 4.5), lasted(2.0, 9.0)) == (Floor.AGENT, [])
    assert moves(core, (Playing(turn=1), 4.5), (final("no Thursday", 6.0), 6.3)) == (Floor.CALLER, [BargedIn])


# Backchannels.


def nodded(text: str = "uh-huh", at_s: float = 5.0) -> list[tuple[object, float]]:
    """Words over the agent that leave it the floor; it goes on 0.3 s after their end."""
    return [
        started(at_s - 0.4),
        lasted(at_s - 0.4, at_s - 0.32),
        stopped(at_s),
        (final(text, at_s), at_s + 0.3),
    ]


def test_what_leaves_the_agent_the_floor_is_told_when_its_turn_is_over() -> None:
    core, told = ran(SPEAKING, *nodded(), *nodded("okay", 7.0))
    assert only(Resume, told) == [Resume(turn=1), Resume(turn=1)]
    assert only(Backchannel, told) == []
    heard = Backchannel(turn=1, text="uh-huh okay", at_s=7.0)
    assert sent(core, (Stopped(turn=1), 12.0)) == [heard, Counted(name="backchannels", amount=1.0)]
    assert only(Backchannel, sent(core, (CLOSED, 12.0))) == [heard]
    told = sent(core, (interim("no I"), 12.0))
    assert told[:2] == [BargedIn(turn=1, at_s=6.6), heard]
    assert only(TurnEnded, waited(after(core, (Stopped(turn=1), 12.0)), 20.0)[1]) == []


@pytest.mark.parametrize(("stops_at", "answers"), [(6.79, True), (6.81, False)])
def test_what_is_said_so_shortly_before_the_agent_ends_is_the_callers_answer(stops_at: float, *, answers: bool) -> None:
    """It went on at 5.3: what counts is how long it spoke since."""
    core, told = ran(SPEAKING, *nodded("okay"), (Stopped(turn=1), stops_at))
    assert bool(only(Backchannel, told)) is not answers
    ended = [TurnEnded(turn=2, text="okay", end_s=5.0)] if answers else []
    assert only(TurnEnded, waited(core, stops_at + 0.1)[1]) == ended


def test_the_end_of_the_agents_speech_may_cross_the_hold() -> None:
    core, told = ran(HELD, stopped(4.9), (Stopped(turn=1), 4.95), (final("okay", 4.9), 5.2))
    assert [type(each) for each in told if not isinstance(each, Counted)] == [Resume]
    assert only(TurnEnded, waited(core, 5.3)[1]) == [TurnEnded(turn=2, text="okay", end_s=4.9)]


def test_an_answer_that_came_while_the_agent_was_held_is_one_though_the_end_was_crossing() -> None:
    core = after(HELD, (final("okay", 4.9), 4.95), (Stopped(turn=1), 5.0), stopped(4.9))
    assert only(TurnEnded, waited(core, 9.0)[1]) == [TurnEnded(turn=2, text="okay", end_s=4.9)]
    old = after(SPEAKING, *nodded(), started(9.0), lasted(9.0, 9.1), (Stopped(turn=1), 9.2))
    assert only(TurnEnded, waited(old, 19.0)[1]) == []


def test_what_is_said_so_shortly_before_the_words_that_cut_is_their_beginning() -> None:
    core = after(SPEAKING, *nodded("okay"), (final("but not Thursday", 6.5), 6.7))
    assert core.open.text == "okay but not Thursday"
    later, told = ran(SPEAKING, *nodded("okay"), (final("but not Thursday", 7.5), 7.7))
    assert later.open.text == "but not Thursday"
    assert only(Backchannel, told) == [Backchannel(turn=1, text="okay", at_s=5.0)]


def test_the_time_that_the_agent_is_held_does_not_count() -> None:
    core = after(SPEAKING, *nodded("okay"), started(6.5), lasted(6.5, 6.6), (final("but not Thursday", 7.4), 7.7))
    assert core.open.text == "okay but not Thursday"


def test_an_answer_waits_for_the_sound_that_follows_it() -> None:
    core = after(SPEAKING, *nodded("okay"), started(6.0), (Stopped(turn=1), 6.5))
    assert (core.open.text, core.turn_due) == ("okay", 9.5)
    core = after(SPEAKING, *nodded("okay"), started(5.4), lasted(5.4, 5.5), lasted(5.4, 6.9))
    assert (core.open.text, core.turn_due) == ("okay", 9.9)


def test_an_okay_before_the_agent_was_heard_is_no_answer_to_it() -> None:
    core, told = ran(PENDING, (final("okay", 3.4), 3.7), (Playing(turn=1), 4.0), (Stopped(turn=1), 4.6))
    assert only(Backchannel, told) == [Backchannel(turn=1, text="okay", at_s=3.4)]
    assert core.open.text == ""


def test_an_okay_to_an_agent_that_is_never_heard_is_told_before_the_caller_is_asked() -> None:
    core = after(PENDING, (final("okay", 3.4), 3.7))
    assert waited(core, 13.7)[1] == [
        Backchannel(turn=1, text="okay", at_s=3.4),
        Counted(name="backchannels", amount=1.0),
        CallerIdle(turn=2),
    ]


def test_what_was_said_over_one_reply_is_told_when_the_next_begins() -> None:
    core = after(LISTENING, *said("hello", 2.0, 3.0), (Playing(turn=1), 3.1), (Tick(), 3.3), (Playing(turn=1), 3.4))
    core, told = ran(after(core, *nodded()), (Playing(turn=2), 8.0), (Stopped(turn=1), 8.1))
    assert only(Backchannel, told) == [Backchannel(turn=1, text="uh-huh", at_s=5.0)]
    assert core.floor is Floor.AGENT


def test_english_nods_and_english_commands_are_known() -> None:
    core = attrs.evolve(SPEAKING, policy=attrs.evolve(SPEAKING.policy, grammar=ENGLISH))
    assert moves(core, *nodded("uh-huh")) == (Floor.AGENT, [Hold, Resume])
    assert moves(core, (interim("stop"), 5.0)) == (Floor.CALLER, [BargedIn])
    assert moves(core, (final("I need Thursday instead", 5.0), 5.0)) == (Floor.CALLER, [BargedIn])


# Firm phrases.


@pytest.mark.parametrize(
    "steps",
    [GOES_ON, LONG, WORDS, DRAFT, NOD, [*GOES_ON, lasted(5.0, 9.0), stopped(9.0)]],
)
def test_nothing_holds_a_firm_phrase_and_no_words_or_sound_cut_it(steps: list[tuple[object, float]]) -> None:
    assert moves(FIRM, *steps) == (Floor.AGENT, [])


@pytest.mark.parametrize("steps", [COMMAND, KEY])
def test_a_command_or_a_key_cuts_a_firm_phrase(steps: list[tuple[object, float]]) -> None:
    assert moves(FIRM, *steps) == (Floor.CALLER, [BargedIn])


def test_words_over_a_firm_phrase_wait_until_it_is_over_and_cut_what_follows_it() -> None:
    core, told = waited(after(FIRM, *said("no Thursday", 4.5, 5.0)), 20.0)
    assert told == []
    core, told = ran(core, (Playing(turn=1), 20.0))
    assert only(BargedIn, told) == [BargedIn(turn=1, at_s=4.5)]
    assert only(TurnEnded, waited(core, 20.1)[1]) == [TurnEnded(turn=2, text="no Thursday", end_s=5.0)]


def test_words_over_a_firm_phrase_that_the_agent_ends_with_are_answered_then() -> None:
    core = after(FIRM, *said("no Thursday", 4.5, 5.0), (Stopped(turn=1), 7.0))
    assert only(TurnEnded, waited(core, 7.1)[1]) == [TurnEnded(turn=2, text="no Thursday", end_s=5.0)]


def test_words_over_a_firm_phrase_of_whose_end_nothing_is_heard_are_answered_after_a_minute() -> None:
    core = after(FIRM, *said("no Thursday", 4.5, 5.0))
    assert core.deadline == 64.0


def test_a_sound_that_goes_on_after_a_firm_phrase_counts_from_its_end() -> None:
    core = after(FIRM, started(4.5), lasted(4.5, 7.0), (Playing(turn=1), 7.0))
    assert moves(core, lasted(4.5, 7.06)) == (Floor.AGENT, [])
    assert moves(core, lasted(4.5, 7.1)) == (Floor.HELD, [Hold])


def test_news_of_a_firm_phrase_that_crosses_the_hold_has_it_go_on_at_once() -> None:
    core, told = ran(HELD, (Playing(turn=1, firm=True), 4.6))
    assert told[0] == Resume(turn=1)
    assert (core.floor, core.voice.firm) == (Floor.AGENT, True)
    kept, told = ran(KEPT, (Playing(turn=1, firm=True), 3.6))
    assert told[0] == Resume(turn=1)
    assert kept.floor is Floor.AGENT


def test_a_phrase_that_follows_a_firm_one_is_held_like_any_other() -> None:
    core = after(FIRM, (Playing(turn=1, firm=False), 6.0))
    assert moves(core, started(7.0), lasted(7.0, 7.1)) == (Floor.HELD, [Hold])
    assert not after(FIRM, (Stopped(turn=1), 6.0)).voice.firm


# Keys.


def press(digits: str, at_s: float) -> list[tuple[object, float]]:
    return [(Dtmf(digit=each, at_s=at_s + 0.5 * count), at_s + 0.5 * count) for count, each in enumerate(digits)]


def test_keys_are_one_word_and_wait_for_more_keys() -> None:
    core = after(LISTENING, *press("1234", 2.0))
    assert core.deadline == pytest.approx(6.5)
    assert sent(core, (Tick(), core.deadline))[0] == TurnEnded(turn=1, text="1234", end_s=3.5)
    quick = after(attrs.evolve(LISTENING, policy=policy(keys_s=1.0)), *press("1", 2.0))
    assert quick.deadline == 3.0


@pytest.mark.parametrize(("digits", "text"), [("12#", "12"), ("#", "#"), ("*7#", "*7")])
def test_the_last_key_ends_the_turn_at_once(digits: str, text: str) -> None:
    core, told = ran(LISTENING, *press(digits, 2.0))
    assert [each.text for each in only(TurnEnded, told)] == [text]
    assert core.floor is Floor.PENDING


def test_keys_join_the_words_before_them_and_words_the_keys() -> None:
    core = after(LISTENING, *said("account", 2.0, 3.0), *press("78", 3.2))
    assert core.turn_due == pytest.approx(6.7)
    core = after(core, *said("please", 4.0, 4.5))
    assert core.turn_due == pytest.approx(4.8)
    assert sent(core, (Tick(), core.turn_due))[0] == TurnEnded(turn=1, text="account 78 please", end_s=4.5)
    assert only(TurnEnded, sent(LISTENING, *said("account", 2.0, 3.0), *press("#", 3.2)))[0].text == "account"


def test_words_that_come_after_keys_that_were_pressed_after_them_stand_before_them() -> None:
    late = (final("my number is", 3.0), 4.2)
    core = after(LISTENING, started(2.0), stopped(3.0), *press("47", 3.2), late, *press("11", 4.3))
    assert core.open.text == "my number is 4711"
    assert core.deadline == pytest.approx(7.8)
    core = after(LISTENING, *said("hello", 1.0, 1.5), *press("47", 3.2), late)
    assert core.open.text == "hello my number is 47"
    core = after(LISTENING, *press("47", 3.2), (final("please", 3.3), 4.2), *press("11", 4.3))
    assert core.open.text == "47 please 11"


def test_a_sound_while_keys_are_pressed_neither_ends_nor_delays_them_for_ever() -> None:
    core = after(LISTENING, *press("1", 2.0), started(2.5), stopped(3.0))
    assert core.turn_due == pytest.approx(5.0)
    assert only(TurnEnded, waited(core, 5.0)[1])


@pytest.mark.parametrize("core", [PENDING, KEPT, SPEAKING, HELD, FIRM])
def test_a_key_stops_the_agent(core: TurnDetector) -> None:
    core, told = ran(core, *press("0", 5.0))
    assert only(BargedIn, told) == [BargedIn(turn=1, at_s=5.0)]
    assert (core.floor, core.open.text, core.deadline) == (Floor.CALLER, "0", 8.0)
    assert only(Counted, told)[0] == Counted(name="interruptions_by_key", amount=1.0)


# The playout.


def test_news_of_a_turn_that_was_cut_is_stale() -> None:
    cut = after(SPEAKING, (interim("no I"), 4.9))
    core = after(cut, (Stopped(turn=1), 5.0), (Playing(turn=1), 5.1), (Playing(turn=0), 5.2), (Stopped(turn=0), 5.3))
    assert core == cut


def test_words_from_before_an_agent_that_begins_are_answered_after_it() -> None:
    core = after(LISTENING, *said("hello", 2.0, 2.5), (Playing(turn=1), 2.76), (Tick(), 2.8))
    core, told = ran(LISTENING, *said("hello", 2.0, 2.5), (Playing(turn=1), 2.76), (Tick(), 2.8))
    assert only(TurnEnded, told) == [TurnEnded(turn=1, text="hello", end_s=2.5)]
    assert core.floor is Floor.AGENT


def test_the_next_reply_may_be_pending_when_the_last_is_over_and_stays_kept_if_that_was_held() -> None:
    core = attrs.evolve(SPEAKING, turn=2)
    assert moves(core, (Stopped(turn=1), 6.0)) == (Floor.PENDING, [])
    held = after(core, started(5.0), lasted(5.0, 5.1))
    core, told = ran(held, (Stopped(turn=1), 5.2))
    assert (core.floor, told) == (Floor.KEPT, [])
    assert only(Resume, waited(after(core, stopped(5.3)), 6.0)[1]) == [Resume(turn=2)]


def test_an_answer_that_begins_after_the_idle_time_has_the_floor() -> None:
    core, told = waited(PENDING, PENDING.deadline)
    assert told == [CallerIdle(turn=2)]
    heard = after(core, (Playing(turn=1), 14.0))
    assert heard.floor is Floor.AGENT
    assert only(CallerIdle, waited(heard, 30.0)[1]) == []


# Salvage.


@pytest.mark.parametrize(
    "core",
    [
        HELD,
        KEPT,
        FIRM,
        PENDING,
        after(SPEAKING, *nodded()),
        after(HELD, stopped(4.8)),
        after(LISTENING, *press("1", 2.0)),
    ],
)
def test_a_fresh_core_goes_on_with_what_is_held_and_what_was_put_aside(core: TurnDetector) -> None:
    assert TurnDetector(policy=core.policy).fresh(core) == core


@pytest.mark.parametrize("core", [HELD, KEPT])
def test_a_bare_core_knows_of_no_hold(core: TurnDetector) -> None:
    bare = TurnDetector(policy=core.policy).bare(core)
    assert (bare.floor, bare.hold_due) == (Floor.CALLER, NEVER)
