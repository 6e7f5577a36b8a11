"""STT: what is owed to a recogniser, and every word once."""

import itertools
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.stt import STT, RecognitionPolicy
from engine.codec.telephony import FRAME_BYTES
from engine.messages.caller import CallerAudio, LineClosed
from engine.messages.recognition import Finalise, Recognise, Recognised, Transcript, Word
from engine.messages.records import Counted
from engine.messages.supervision import NEVER, SessionInfo, Tick
from tests.actors.steps import after, only, ran, sent

CLOSED = LineClosed(reason="stop", at_s=9.0)
SESSION = SessionInfo(vendor="deepgram", incarnation=2, aligned=True, away_s=0.2)
UNTIMED = SessionInfo(vendor="local", incarnation=2, away_s=0.2)


def frame(number: int, *, voiced: bool = True) -> CallerAudio:
    """Frame `number` of the caller's audio, told from the others by its bytes."""
    start_s = round(number * 0.02, 3)
    audio = bytes([number % 256]) * FRAME_BYTES
    return CallerAudio(start_s=start_s, end_s=round(start_s + 0.02, 3), audio=audio, voiced=voiced)


def sound(pattern: str) -> list[tuple[object, float]]:
    """The frames of a pattern: `#` has a voice in it, `.` has none; each stands for five, 100 ms."""
    marks = [each for mark in pattern for each in mark * 5]
    return [(frame(number, voiced=mark == "#"), 0.0) for number, mark in enumerate(marks)]


def asked(core: STT, session: SessionInfo = SESSION) -> str:
    """What a new session is asked to hear, as the 100 ms of the call that each piece lies in, `|` at each leap."""
    pieces: list[list[float]] = []
    for ask in only(Recognise, core.started(session, 0.0)[1]):
        end_s = ask.start_s + len(ask.audio) / 8000
        if pieces and abs(ask.start_s - pieces[-1][1]) < 0.001:
            pieces[-1][1] = end_s
        else:
            pieces.append([ask.start_s, end_s])
    return " | ".join("-".join(f"{round(each_s * 10, 1):g}" for each_s in piece) for piece in pieces)


def audio(first: int, end: int) -> list[tuple[object, float]]:
    return [(frame(number), 0.0) for number in range(first, end)]


def final(text: str, covered_s: float, *words: Word, start_s: float = 0.0) -> Recognised:
    return Recognised(
        text=text,
        words=words,
        start_s=start_s,
        end_s=covered_s,
        is_final=True,
        speech_final=False,
        covered_s=covered_s,
    )


def interim(text: str, *words: Word, start_s: float = 0.0, end_s: float = 1.0) -> Recognised:
    return attrs.evolve(final(text, 0.0, *words), start_s=start_s, end_s=end_s, is_final=False)


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(text=text, start_s=start_s, end_s=end_s)


def texts(messages: list[object]) -> list[str]:
    return [each.text for each in only(Transcript, messages)]


# Owing.


def test_audio_is_asked_to_be_recognised_at_once_and_owed_until_it_is() -> None:
    core, told = ran(STT(), *audio(0, 3))
    assert told == [Recognise(start_s=each.start_s, audio=each.audio) for each in map(frame, range(3))]
    assert core.owed == (frame(0), frame(1), frame(2))


@pytest.mark.parametrize(
    ("covered_s", "owed"), [(0.0, 3), (0.0185, 3), (0.0195, 2), (0.0385, 2), (0.0395, 1), (0.06, 0)]
)
def test_a_final_transcript_pays_for_the_frames_that_end_within_what_it_covers(covered_s: float, owed: int) -> None:
    core = after(STT(), *audio(0, 3), (final("yes", covered_s), 0.1))
    assert core.owed == tuple(frame(number) for number in range(3 - owed, 3))


def test_an_interim_transcript_pays_for_nothing() -> None:
    heard = attrs.evolve(interim("yes"), covered_s=0.06)
    core = after(STT(), *audio(0, 3), (heard, 0.1))
    assert len(core.owed) == 3
    assert core.covered_s == 0.0


def test_what_is_covered_never_falls() -> None:
    core, told = ran(STT(), *audio(0, 3), (final("one", 0.06), 0.1), (final("two", 0.02, start_s=0.06), 0.2))
    assert core.covered_s == 0.06
    assert [each.covered_s for each in only(Transcript, told)] == [0.06, 0.06]


def test_thirty_seconds_are_owed_and_not_a_frame_is_lost() -> None:
    core, told = ran(STT(), *audio(0, 1500))
    assert len(core.owed) == 1500
    assert only(Counted, told) == []


def test_beyond_thirty_seconds_the_oldest_is_lost_and_counted_second_by_second() -> None:
    core, told = ran(STT(), *audio(0, 1500 + 49))
    assert core.owed[0] == frame(49)
    assert len(core.owed) == 1500
    assert only(Counted, told) == []
    core, told = ran(core, *audio(1549, 1500 + 103))
    assert only(Counted, told) == [Counted(name="lost_ms", amount=1000), Counted(name="lost_ms", amount=1000)]
    assert only(Counted, core.started(SESSION, 40.0)[1])[2] == Counted(name="lost_ms", amount=60)


def test_a_long_gap_in_the_audio_loses_all_that_lies_too_far_back_at_once() -> None:
    core, told = ran(STT(), *audio(0, 60), *audio(1550, 1551))
    assert core.owed == (*map(frame, range(51, 60)), frame(1550))
    assert only(Counted, told) == [Counted(name="lost_ms", amount=1020)]


def test_silence_that_lies_too_far_back_is_no_loss() -> None:
    core, told = ran(STT(), *((frame(number, voiced=False), 0.0) for number in range(1600)))
    assert len(core.owed) == 1500
    assert only(Counted, told) == []


def test_what_is_kept_is_the_policys() -> None:
    core = after(STT(policy=RecognitionPolicy(keep_s=0.1)), *audio(0, 20))
    assert core.owed == tuple(map(frame, range(15, 20)))


# A new session.


def test_the_first_session_is_asked_for_all_that_came_before_it_in_stretches_of_a_second() -> None:
    core = after(STT(), *audio(0, 60))
    same, asks = core.started(attrs.evolve(SESSION, incarnation=1, away_s=0.0), 1.5)
    assert same == core
    assert [type(each) for each in asks] == [Recognise, Recognise]
    assert [round(each.start_s, 3) for each in only(Recognise, asks)] == [0.0, 1.0]
    assert b"".join(each.audio for each in only(Recognise, asks)) == b"".join(each.audio for each in core.owed)


def test_a_stretch_ends_at_a_gap() -> None:
    core = after(STT(), *audio(0, 2), *audio(7, 9))
    _, asks = core.started(SESSION, 1.5)
    assert [(each.start_s, len(each.audio)) for each in only(Recognise, asks)] == [(0.0, 320), (0.14, 320)]


def test_a_new_session_that_is_owed_nothing_is_asked_nothing() -> None:
    assert only(Recognise, STT().started(SESSION, 1.5)[1]) == []


def test_a_session_that_connects_after_the_line_has_closed_is_asked_to_finish() -> None:
    core = after(STT(), *audio(0, 2), (CLOSED, 1.0))
    asks = [each for each in core.started(SESSION, 1.5)[1] if not isinstance(each, Counted)]
    assert asks == [Recognise(start_s=0.0, audio=frame(0).audio + frame(1).audio), Finalise()]


@pytest.mark.parametrize(
    ("pattern", "covered_s", "begins"),
    [
        ("#" * 40, 3.0, "15-40"),  # no pause: a fixed time back
        ("#" * 40, 0.7, "0-40"),
        ("##########...####################", 3.0, "10-33"),  # the pause's whole length
        ("#######......####################", 3.0, "10-33"),  # of a longer one its end
        ("#######......##########..########", 3.0, "10-33"),  # a shorter one is none
        ("#######......####...####....#####", 3.0, "25-33"),  # the last of them
        ("###...###########################", 3.0, "15-33"),  # one too far back is none
        ("#################################", 3.3, "18-33"),  # all is covered, in the middle of a word
        ("###########################......", 3.3, "30-33"),  # all is covered, and nobody speaks
        ("####################......#######", 2.4, "23-33"),  # a pause that what is covered ends in
        ("####################......#######", 2.1, "21-22 | 24-33"),  # and what is left of it is one
        ("#####################...#########", 2.3, "21-33"),
    ],
)
def test_a_new_sessions_audio_begins_in_the_last_pause_before_what_is_owed_else_one_and_a_half_seconds_before_it(
    pattern: str, covered_s: float, begins: str
) -> None:
    core = after(STT(), *sound(pattern), (final("yes", covered_s, word("yes", 0.0, 0.4)), 4.0))
    assert asked(core) == begins


@pytest.mark.parametrize(
    ("pattern", "covered_s", "begins"), [("#" * 40, 3.0, "30-40"), ("###########.....####", 1.6, "13-20")]
)
def test_a_session_that_cannot_say_when_words_are_said_is_sent_no_word_again(
    pattern: str, covered_s: float, begins: str
) -> None:
    core = after(STT(), *sound(pattern), (final("yes", covered_s), 4.0))
    assert asked(core, UNTIMED) == begins


@pytest.mark.parametrize(
    ("pattern", "sent"),
    [
        ("##...##", "0-7"),
        ("##....##", "0-3 | 4-8"),
        ("##..........##", "0-3 | 10-14"),
        ("##......#.......####........", "0-3 | 6-10 | 14-21 | 26-28"),
        ("..............", "0-1 | 12-14"),
    ],
)
def test_of_long_silence_a_new_session_is_sent_the_ends_alone(pattern: str, sent: str) -> None:
    assert asked(after(STT(), *sound(pattern))) == sent


def test_what_is_said_and_heard_after_audio_was_asked_for_again_follows_it() -> None:
    core = after(STT(), *sound("###........"))
    core, asks = core.started(SESSION, 2.0)
    last = only(Recognise, asks)[-1]
    (following,) = only(Recognise, sent(core, (frame(55), 2.1)))
    assert following.start_s == pytest.approx(last.start_s + len(last.audio) / 8000)


def test_half_a_minute_of_short_words_is_asked_for_in_far_fewer_asks_than_a_session_takes() -> None:
    core = after(STT(), *sound("#....#...#......" * 18))
    assert len(only(Recognise, core.started(SESSION, 30.0)[1])) < 100


def test_silence_that_was_left_out_is_covered_when_what_follows_it_is() -> None:
    core = after(STT(), *sound("###.............###."), (CLOSED, 2.0))
    core, _ = core.started(SESSION, 2.0)
    core, told = ran(core, (final("yes", 0.4, word("yes", 0.0, 0.3)), 2.1))
    assert only(LineClosed, told) == []
    assert core.owed
    core, told = ran(core, (final("no", 2.0, word("no", 1.6, 1.9)), 2.2))
    assert core.owed == ()
    assert told[-1] == CLOSED


# What it costs.


def test_a_reconnect_is_reported_with_the_time_without_a_session_and_what_was_sent_twice() -> None:
    core = after(STT(), *sound("#" * 40), (final("yes", 2.0, word("yes", 0.0, 0.4)), 4.0))
    core, told = core.started(attrs.evolve(SESSION, away_s=0.5), 10.0)
    assert only(Counted, told) == [Counted(name="deaf_ms", amount=500), Counted(name="replayed_ms", amount=3000)]
    core, told = ran(core, (final("no", 3.96, word("no", 3.0, 3.5)), 10.5))
    assert only(Counted, told) == []
    core, told = ran(core, (final("", 4.0), 11.25), (final("", 4.5), 12.0))
    assert only(Counted, told) == [Counted(name="catch_up_s", amount=1.25)]


def test_silence_at_the_end_needs_no_catching_up() -> None:
    core, _ = after(STT(), *sound("###......")).started(SESSION, 10.0)
    assert only(Counted, sent(core, (final("yes", 0.3, word("yes", 0.0, 0.3)), 10.5))) == [
        Counted(name="catch_up_s", amount=0.5)
    ]
    _, told = after(STT(), *sound("......")).started(SESSION, 10.0)
    assert only(Counted, told)[-1] == Counted(name="catch_up_s", amount=0.0)


# Words.


def test_words_are_passed_on_as_they_were_heard() -> None:
    heard = attrs.evolve(final("yes please", 0.5, word("yes", 0.1, 0.2), word("please", 0.3, 0.5)), speech_final=True)
    assert sent(STT(), (heard, 1.0)) == [
        Transcript(
            text="yes please",
            words=heard.words,
            start_s=0.0,
            end_s=0.5,
            is_final=True,
            speech_final=True,
            covered_s=0.5,
        )
    ]


@pytest.mark.parametrize(
    "belief", [{"semantic": True}, {"semantic": True, "speech_ending": True}, {"semantic": True, "speech_final": True}]
)
def test_what_the_recogniser_believes_of_the_turn_is_passed_on_with_the_words(belief: dict[str, Any]) -> None:
    for heard in (interim("yes", word("yes", 0.1, 0.2)), final("yes", 0.5, word("yes", 0.1, 0.2))):
        (told,) = only(Transcript, sent(STT(), (attrs.evolve(heard, **belief), 1.0)))
        for name in ("semantic", "speech_ending", "speech_final"):
            assert getattr(told, name) is belief.get(name, False)


JOINED = after(STT(), *audio(0, 100), (final("yes", 0.4, word("yes", 0.1, 0.3)), 1.0)).started(SESSION, 2.0)[0]
"""A new session, which is sent a word again that was final."""


def test_words_that_were_final_already_are_dropped_when_another_session_says_them_again() -> None:
    again = final("yes please", 0.9, word("yes", 0.12, 0.32), word("please", 0.5, 0.8))
    told = only(Transcript, sent(JOINED, (again, 2.0)))
    assert [(each.text, [word.text for word in each.words]) for each in told] == [("please", ["please"])]


def test_interim_words_said_again_are_not_passed_on() -> None:
    assert sent(JOINED, (interim("yes", word("yes", 0.1, 0.3)), 2.1)) == []
    told = sent(JOINED, (interim("yes please", word("yes", 0.1, 0.3), word("please", 0.5, 0.8)), 2.2))
    assert texts(told) == ["please"]


def test_a_word_said_twice_is_two_words() -> None:
    told = sent(JOINED, (final("yes yes", 0.9, word("yes", 0.05, 0.25), word("yes", 0.35, 0.55)), 2.0))
    assert texts(told) == ["yes"]


def test_words_said_again_in_several_finals_are_told_from_what_is_new() -> None:
    words = [word(text, at * 0.2, at * 0.2 + 0.15) for at, text in enumerate("abcdefgh")]
    core = after(STT(), *audio(0, 100), (final("a b c d e", 1.0, *words[:5]), 1.0)).started(SESSION, 2.0)[0]
    late = [word(each.text, each.start_s + 0.1, each.end_s + 0.1) for each in words]
    told = [final(" ".join("abcdefgh"[at : at + 2]), 0.2 * at + 0.4, *late[at : at + 2]) for at in (0, 2, 4, 6)]
    assert " ".join(texts(sent(core, *((each, 3.0) for each in told)))).split() == ["f", "g", "h"]


@pytest.mark.parametrize("shift_s", [-0.1, -0.06, 0.06, 0.1])
def test_words_said_again_one_by_one_are_told_from_what_is_new_by_how_many_there_were(shift_s: float) -> None:
    words = [word("no", 0.4 + at * 0.13, 0.4 + at * 0.13 + 0.12) for at in range(8)]
    core = after(STT(), *audio(0, 100), (final("no " * 5, words[4].end_s, *words[:5]), 1.0)).started(SESSION, 2.0)[0]
    again = [word("no", each.start_s + shift_s, each.end_s + shift_s) for each in words]
    told = sent(core, *((final("no", each.end_s, each), 3.0) for each in again))
    assert [each.words for each in only(Transcript, told) if each.text] == [(each,) for each in again[5:]]


def test_what_the_first_session_says_is_never_said_again() -> None:
    core = after(STT(), (final("yes", 0.5, word("yes", 0.1, 0.3)), 1.0))
    assert texts(sent(core, (final("no", 0.9, word("no", 0.1, 0.3)), 2.0))) == ["no"]


def test_what_lies_far_behind_the_joint_is_not_compared() -> None:
    assert JOINED.joint is not None
    assert after(JOINED, (final("", 0.9), 2.1)).joint is not None
    assert after(JOINED, (final("", 0.92), 2.1)).joint is None
    assert after(JOINED, (final("no", 0.8, word("no", 0.5, 0.7)), 2.1)).joint is None


@pytest.mark.parametrize(("end_s", "text"), [(0.4, ""), (0.401, ""), (0.42, "yes")])
def test_words_without_times_are_said_again_if_all_of_them_was_covered(end_s: float, text: str) -> None:
    core = after(STT(), (final("yes", 0.4), 1.0))
    again = attrs.evolve(final("yes", 0.9), end_s=end_s)
    assert texts(sent(core, (again, 2.0))) == [text]


def test_words_with_times_are_told_from_those_of_a_session_without_by_what_was_covered() -> None:
    core = after(STT(), *sound("#" * 10 + ".." + "#" * 20), (final("yes please", 1.2), 1.0))
    core, _ = core.started(SESSION, 2.0)
    heard = final("yes please now", 2.5, word("yes", 0.1, 0.4), word("please", 0.5, 0.9), word("now", 1.25, 1.6))
    assert texts(sent(core, (heard, 3.0))) == ["now"]


def test_an_empty_interim_says_nothing_and_an_empty_final_how_far_transcription_has_come() -> None:
    assert sent(STT(), (interim(""), 1.0)) == []
    assert [each.covered_s for each in only(Transcript, sent(STT(), (final("", 0.7), 1.0)))] == [0.7]


def test_what_is_remembered_for_a_new_session_is_bounded() -> None:
    core = STT()
    for second in range(60):
        words = [word("w", second + at / 5, second + at / 5 + 0.15) for at in range(5)]
        core = after(core, *audio(second * 50, second * 50 + 50), (final("w", second + 1.0, *words), second + 1.2))
    assert (len(core.kept), len(core.accepted), len(core.owed)) == (100, 20, 0)


# The end.


def test_the_end_waits_for_the_last_words() -> None:
    core, told = ran(STT(), *audio(0, 2), (CLOSED, 1.0))
    assert told[2:] == [Finalise()]
    assert core.deadline == 2.0
    done, told = ran(core, (final("bye", 0.04), 1.5))
    assert texts(told) == ["bye"]
    assert told[-1] == CLOSED
    assert done.deadline == NEVER


def test_a_final_that_leaves_audio_uncovered_does_not_end_the_wait() -> None:
    core, told = ran(STT(), *audio(0, 3), (CLOSED, 1.0), (final("good", 0.04), 1.5))
    assert only(LineClosed, told) == []
    assert core.deadline == 2.0


def test_the_end_waits_a_second_and_no_longer() -> None:
    core, told = ran(STT(), *audio(0, 2), (CLOSED, 1.0), (Tick(), 2.0))
    assert told[-2:] == [Counted(name="lost_ms", amount=40), CLOSED]
    assert core == attrs.evolve(STT(), kept=())


def test_the_end_waits_for_nobody_when_nothing_is_owed() -> None:
    core, told = ran(STT(), (CLOSED, 1.0))
    assert told == [Finalise(), CLOSED]
    assert core.deadline == NEVER


# Salvage.


def test_a_fresh_core_owes_what_the_old_one_owed_and_knows_the_words_at_the_joint() -> None:
    owing = after(STT(), *audio(0, 5), (final("yes", 0.04, word("yes", 0.0, 0.03)), 0.2))
    assert STT().fresh(owing) == owing
    closing = after(owing, (CLOSED, 1.0))
    assert STT().fresh(closing) == closing
    assert STT().fresh(JOINED) == JOINED
    losing = after(STT(), *audio(0, 1510))
    assert losing.lost_s > 0
    assert STT().fresh(losing) == losing


def test_a_fresh_core_owes_nothing_that_was_covered_and_owes_it_in_order() -> None:
    muddled = attrs.evolve(after(STT(), *audio(0, 5)), owed=(frame(4), frame(0), frame(2)), covered_s=0.02)
    assert STT().fresh(muddled).owed == (frame(2), frame(4))


def test_a_bare_core_knows_how_far_transcription_has_come_and_that_the_line_is_closed() -> None:
    owing = after(STT(), *audio(0, 5), (final("yes", 0.04), 0.2))
    assert STT().bare(owing) == STT(covered_s=0.04)
    bare = STT().bare(after(owing, (CLOSED, 1.0)))
    assert (bare.closing, bare.deadline, bare.owed) == (CLOSED, 2.0, ())


# Whatever becomes of the sessions.


@st.composite
def speeches(draw: st.DrawFn) -> list[Word]:
    """Words as they are said, of which word and gap exceed 240 ms; now and then a pause."""
    words, at_s = [], 0.3
    for number in range(draw(st.integers(1, 14))):
        length_s = draw(st.floats(0.1, 0.45))
        pause_s = draw(st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.2]))
        words.append(word(f"w{number}", at_s, at_s + length_s))
        at_s += length_s + max(0.25 - length_s, draw(st.floats(0.0, 0.2))) + pause_s
    return words


def heard_as(words: list[Word], shifts: list[float]) -> list[Word]:
    """Words as a connection hears them, each edge off by so much."""
    begins = [each.start_s + shifts[2 * at % len(shifts)] for at, each in enumerate(words)]
    ends = [each.end_s + shifts[(2 * at + 1) % len(shifts)] for at, each in enumerate(words)]
    return [
        word(each.text, begin_s, max(end_s, begin_s + 0.02))
        for each, begin_s, end_s in zip(words, begins, ends, strict=True)
    ]


SHIFTS = st.one_of(
    st.floats(-0.06, 0.06).map(lambda shift_s: [shift_s]), st.lists(st.floats(-0.06, 0.06), min_size=2, max_size=9)
)


@given(
    said=speeches(),
    deaths=st.lists(st.tuples(st.floats(0.0, 8.0), st.floats(0.0, 1.5)), max_size=4),
    shifts=st.lists(SHIFTS, min_size=5, max_size=5),
    pieces=st.lists(st.integers(1, 4), min_size=1, max_size=8),
)
def test_each_word_is_passed_on_once_and_in_order_whenever_sessions_die(
    said: list[Word], deaths: list[tuple[float, float]], shifts: list[list[float]], pieces: list[int]
) -> None:
    """A session dies after each of `deaths`: seconds of audio since it began, and how far its finals were behind.

    A recogniser hears the words that lie in what it was asked to hear, and a piece of one that its audio begins in.
    """
    core = STT()
    told: list[object] = []
    reached, live_s = 0, 0.0
    end_s = said[-1].end_s + 0.5
    for life, (lasts_s, behind_s) in enumerate([*deaths, (99.0, 0.0)]):
        core, asks = core.started(attrs.evolve(SESSION, incarnation=life + 1), 0.0)
        told += asks
        spans = [(each.start_s, each.start_s + len(each.audio) / 8000) for each in only(Recognise, asks)]
        begins_s = spans[0][0] if spans else live_s
        live_s = min(end_s, live_s + lasts_s)
        while reached * 0.02 < live_s:
            start_s, stop_s = reached * 0.02, reached * 0.02 + 0.02
            voiced = any(each.start_s < stop_s and each.end_s > start_s for each in said)
            core, asks = ran(core, (frame(reached, voiced=voiced), 0.0))
            spans += [(each.start_s, each.start_s + 0.02) for each in only(Recognise, asks)]
            reached += 1
        heard = []
        for each, shifted in zip(said, heard_as(said, shifts[life]), strict=True):
            there_s = sum(max(0.0, min(each.end_s, stop_s) - max(each.start_s, start_s)) for start_s, stop_s in spans)
            if there_s > each.end_s - each.start_s - 0.001:
                heard.append(shifted)
            elif each.start_s < begins_s < each.end_s - 0.02:
                heard.append(word("garbled", begins_s, max(begins_s + 0.02, shifted.end_s)))
        final_s = reached * 0.02 - behind_s
        sure = [each for each in heard if each.end_s <= final_s] if life < len(deaths) else heard
        position = 0
        for size in itertools.cycle(pieces):
            piece = sure[position : position + size]
            position += len(piece)
            covered_s = reached * 0.02 if position == len(heard) else piece[-1].end_s if piece else 0.0
            if life < len(deaths) and covered_s > final_s:
                break
            core, more = ran(core, (final(" ".join(each.text for each in piece), covered_s, *piece), 0.0))
            told += more
            if position >= len(sure):
                break
    assert " ".join(texts(told)).split() == [each.text for each in said]


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 100)), max_size=10))
def test_what_is_owed_is_what_came_after_what_is_covered(plan: list[tuple[int, int]]) -> None:
    core = STT()
    reached = 0
    for frames, covered in plan:
        core = after(core, *audio(reached, reached + frames), (final("", min(covered, reached + frames) * 0.02), 0.0))
        reached += frames
        wanted = [number for number in range(reached) if frame(number).end_s > core.covered_s + 0.0011]
        assert core.owed == tuple(map(frame, wanted))
        _, asks = core.started(SESSION, 0.0)
        audio_asked = b"".join(each.audio for each in only(Recognise, asks))
        assert audio_asked == b"".join(each.audio for each in (*core.kept, *core.owed)[-len(audio_asked) // 160 :])
        assert len(audio_asked) >= sum(len(each.audio) for each in core.owed)
