"""TurnDetector: what is expected of the caller before it is certain, and silences that are asked into."""

import attrs
import pytest

from engine.actors.turn_detector import TurnDetector
from engine.messages.caller import Dtmf
from engine.messages.playout import Playing, Stopped
from engine.messages.records import Counted
from engine.messages.supervision import Tick
from engine.messages.turns import CallerIdle, TurnEnded, TurnExpected, TurnResumed
from tests.actors.steps import after, only, ran, sent, waited
from tests.actors.turns import CLOSED, LISTENING, SPEAKING, final, interim, policy, said, semantic, started, stopped


def expected(told: list[object]) -> list[TurnExpected | TurnResumed]:
    return [each for each in told if isinstance(each, TurnExpected | TurnResumed)]


HELLO = TurnExpected(turn=1, text="hello")
EXPECTING = after(LISTENING, started(2.0), (interim("hello", 2.9, ending=True), 3.0))

# What is expected.


def test_what_the_recogniser_takes_for_the_end_is_expected() -> None:
    told = sent(LISTENING, started(2.0), (interim("hello", 2.9, ending=True), 3.0))
    assert told == [HELLO, Counted(name="turns_expected", amount=1.0)]
    assert expected(sent(LISTENING, started(2.0), (interim("hello", 2.9), 3.0))) == []


@pytest.mark.parametrize(("draft_s", "is_expected"), [(2.74, False), (2.76, True)])
def test_words_that_reach_the_end_of_the_sound_are_expected_to_be_all(draft_s: float, *, is_expected: bool) -> None:
    """Of drafts and finals alike, and whichever comes last."""
    draft = (interim("hello", draft_s), 2.95)
    assert expected(sent(LISTENING, started(2.0), stopped(3.0), draft)) == ([HELLO] if is_expected else [])
    assert expected(sent(LISTENING, started(2.0), draft, stopped(3.0))) == ([HELLO] if is_expected else [])
    words = (final("hello", draft_s, finished=False), 3.01)
    assert expected(sent(LISTENING, started(2.0), words, stopped(3.0))) == ([HELLO] if is_expected else [])


@pytest.mark.parametrize("text", ["red and", "five seven"])
def test_words_that_look_unfinished_are_not(text: str) -> None:
    assert expected(sent(LISTENING, started(2.0), (interim(text, 2.9, ending=True), 3.0), stopped(3.0))) == []


def test_finals_and_the_draft_after_them_are_expected_together() -> None:
    told = sent(LISTENING, started(2.0), (final("I need", 2.5, finished=False), 2.7), (interim("a cut", 3.0), 3.1))
    assert expected(told) == []
    told = sent(LISTENING, started(2.0), (final("I need", 2.5), 2.7), (interim("a cut", 3.0), 3.1), stopped(3.0))
    assert expected(told) == [TurnExpected(turn=1, text="I need a cut")]


def test_after_words_that_look_unfinished_it_is_expected_once_a_finished_turn_would_have_ended() -> None:
    core, told = ran(LISTENING, *said("red and", 2.0, 3.0))
    assert expected(told) == []
    assert core.deadline == pytest.approx(3.3)
    core, told = waited(core, 3.31)
    assert expected(told) == [TurnExpected(turn=1, text="red and")]
    assert core.deadline == pytest.approx(4.2)
    assert isinstance(waited(core, 4.3)[1][0], TurnEnded)
    assert expected(waited(after(LISTENING, *said("five seven", 2.0, 3.0)), 4.0)[1]) == []


def test_a_voice_that_the_line_did_not_hear_is_not_expected_to_have_ended_at_each_of_its_words() -> None:
    core = after(LISTENING, started(2.0), stopped(2.2))
    assert expected(sent(core, (interim("hello", 3.1), 3.2)))
    assert not expected(sent(core, (interim("hello", 3.3), 3.4)))


def test_nothing_is_expected_that_is_certain() -> None:
    told = waited(after(LISTENING, started(2.0), stopped(3.0), (final("hello", 3.0), 3.6)), 3.6)[1]
    assert only(TurnEnded, told)
    assert expected(sent(LISTENING, started(2.0), stopped(3.0), (final("hello", 3.0), 3.6))) == []
    assert expected(sent(LISTENING, started(2.0), (semantic("hello", 3.0), 3.1))) == []


def test_nothing_is_expected_while_the_agent_has_the_floor() -> None:
    assert expected(sent(SPEAKING, started(5.0), (interim("okay", 5.3, ending=True), 5.4))) == []


def test_nothing_is_expected_of_keys() -> None:
    assert expected(sent(LISTENING, started(1.5), stopped(1.7), (Dtmf(digit="1", at_s=2.0), 2.0))) == []


def test_nothing_is_expected_where_the_policy_says_so() -> None:
    core = attrs.evolve(LISTENING, policy=policy(eager=False))
    told = sent(
        core, started(2.0), (interim("hello", 2.9, ending=True), 3.0), *said("red and", 3.0, 3.5), (Tick(), 3.8)
    )
    assert expected(told) == []


# What becomes of it.


def test_the_turn_that_was_expected_ends_with_its_number() -> None:
    core, told = ran(EXPECTING, stopped(3.0), (final("Hello.", 3.0), 3.25))
    assert expected(told) == []  # it was all that
    told = waited(core, 3.4)[1]
    assert told[0] == TurnEnded(turn=1, text="Hello.", end_s=3.0)
    assert expected(told) == []


def test_other_words_are_expected_anew_if_they_look_like_all_of_it() -> None:
    told = sent(EXPECTING, (interim("hello there", 3.3, ending=True), 3.4))
    assert expected(told) == [TurnExpected(turn=1, text="hello there")]


def test_other_words_take_back_what_was_expected_if_they_do_not() -> None:
    core, told = ran(EXPECTING, (interim("hello and", 3.3, ending=True), 3.4))
    assert told == [TurnResumed(turn=1), Counted(name="turns_resumed", amount=1.0)]
    assert expected(sent(core, (interim("hello and you", 3.5), 3.6))) == []


@pytest.mark.parametrize("words", ["Hello", "hello.", "HELLO,"])
def test_words_are_the_same_whatever_their_case_and_punctuation(words: str) -> None:
    assert expected(sent(EXPECTING, (interim(words, 3.1), 3.2))) == []
    assert expected(sent(EXPECTING, (interim(f"{words} hello", 3.1), 3.2))) == [TurnResumed(turn=1)]


def test_a_sound_alone_takes_nothing_back() -> None:
    assert expected(sent(EXPECTING, stopped(3.0), started(3.2), stopped(3.3))) == []


def test_a_draft_that_is_taken_back_takes_it_back() -> None:
    assert expected(sent(EXPECTING, (final("", 3.4, finished=False), 3.5))) == [TurnResumed(turn=1)]


def test_a_key_takes_it_back() -> None:
    assert expected(sent(EXPECTING, (final("hello", 3.0), 3.1), (Dtmf(digit="1", at_s=3.2), 3.2))) == [
        TurnResumed(turn=1)
    ]


def test_an_agent_that_begins_to_speak_takes_it_back() -> None:
    core = after(TurnDetector(policy=policy()), started(2.0), (interim("hello", 2.9, ending=True), 3.0))
    assert expected(sent(core, (Playing(turn=0), 3.1))) == [TurnResumed(turn=1)]


def test_a_silence_that_is_asked_into_takes_it_back_before_its_number_is_another_turns() -> None:
    """The recogniser died of it: words that are no more than expected are nothing to be answered."""
    core = after(EXPECTING, stopped(3.0))
    told = waited(attrs.evolve(core, covered_s=3.0), 20.0)[1]
    assert [each for each in told if not isinstance(each, Counted)][:2] == [TurnResumed(turn=1), CallerIdle(turn=1)]


def test_the_end_of_the_line_ends_it() -> None:
    core, told = ran(EXPECTING, (CLOSED, 3.1))
    assert told == [CLOSED]
    assert core.expected is None


def test_a_fresh_core_knows_what_is_expected() -> None:
    assert TurnDetector(policy=EXPECTING.policy).fresh(EXPECTING) == EXPECTING


# Silences that are asked into.


def asked(core: TurnDetector) -> TurnDetector:
    """The agent asks into a silence, for two seconds, half a second later."""
    at = core.deadline
    core, told = ran(core, (Tick(), at))
    assert [type(each) for each in told] == [CallerIdle]
    return after(core, (Playing(turn=core.turn), at + 0.5), (Stopped(turn=core.turn), at + 2.5))


def test_each_silence_is_as_long_as_the_policy_says_and_the_last_time_is_that_of_all_that_follow() -> None:
    core = attrs.evolve(LISTENING, policy=policy(idle_s=4.0, idle_again_s=(7.0, 9.0)))
    core = after(core, started(1.5), stopped(1.8))  # 2.0
    waits = []
    for _ in range(4):
        core = asked(core)
        waits.append(round(core.deadline - (core.voice.began_at + 2.0), 3))
    assert waits == [7.0, 9.0, 9.0, 9.0]


def test_without_further_times_each_silence_is_as_long_as_the_first() -> None:
    core = asked(asked(attrs.evolve(LISTENING, policy=policy(idle_again_s=()))))
    assert core.deadline == pytest.approx(core.voice.began_at + 12.0)


@pytest.mark.parametrize(
    "sign", [(interim("er"), 30.0), (final("okay", 30.0), 30.0), (Dtmf(digit="1", at_s=30.0), 30.0)]
)
def test_words_and_keys_begin_the_first_silence_anew(sign: tuple[object, float]) -> None:
    core = asked(attrs.evolve(LISTENING, policy=policy(idle_s=4.0, idle_again_s=(7.0,))))
    assert core.asked == 1
    assert after(core, sign).asked == 0


def test_a_sound_begins_the_silence_anew_but_not_the_first() -> None:
    core = asked(attrs.evolve(LISTENING, policy=policy(idle_s=4.0, idle_again_s=(7.0,))))
    assert after(core, started(20.0), stopped(20.3)).deadline == pytest.approx(27.5)
