"""STT: what is owed to a recogniser, and every word once."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.stt import STT, RecognitionPolicy
from engine.codec.telephony import FRAME_BYTES
from engine.mailbox import NEVER
from engine.messages.caller import CallerAudio, LineClosed
from engine.messages.recognition import Finalise, Recognise, Recognised, Transcript, Word
from engine.messages.records import Counted
from engine.messages.supervision import SessionInfo, Tick
from tests.actors.steps import after, only, ran, sent

CLOSED = LineClosed(reason="stop", at_s=9.0)
SESSION = SessionInfo(vendor="deepgram", incarnation=2)


def frame(number: int) -> CallerAudio:
    """Frame `number` of the caller's audio, told from the others by its bytes."""
    start_s = round(number * 0.02, 3)
    return CallerAudio(start_s=start_s, end_s=round(start_s + 0.02, 3), audio=bytes([number % 256]) * FRAME_BYTES)


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


def test_beyond_thirty_seconds_the_oldest_is_lost_and_counted() -> None:
    core, told = ran(STT(), *audio(0, 1503))
    assert core.owed[0] == frame(3)
    assert len(core.owed) == 1500
    assert only(Counted, told) == [Counted(name="lost_ms", amount=20)] * 3


def test_a_long_gap_in_the_audio_loses_all_that_lies_too_far_back_at_once() -> None:
    core, told = ran(STT(), *audio(0, 50), *audio(1540, 1541))
    assert core.owed == (*map(frame, range(41, 50)), frame(1540))
    assert only(Counted, told) == [Counted(name="lost_ms", amount=820)]


def test_what_is_kept_is_the_policys() -> None:
    core = after(STT(policy=RecognitionPolicy(keep_s=0.1)), *audio(0, 20))
    assert core.owed == tuple(map(frame, range(15, 20)))


# A new session.


def test_a_new_session_is_asked_for_exactly_what_is_owed_in_stretches_of_a_second() -> None:
    core = after(STT(), *audio(0, 60), (final("yes", 0.1), 1.3))
    same, asks = core.started(SESSION, 1.5)
    assert same == core
    assert [round(each.start_s, 3) for each in only(Recognise, asks)] == [0.1, 1.1]
    assert b"".join(each.audio for each in only(Recognise, asks)) == b"".join(each.audio for each in core.owed)
    assert [len(each.audio) for each in only(Recognise, asks)] == [8000, 5 * FRAME_BYTES]


def test_a_stretch_ends_at_a_gap() -> None:
    core = after(STT(), *audio(0, 2), *audio(7, 9))
    _, asks = core.started(SESSION, 1.5)
    assert [(each.start_s, len(each.audio)) for each in only(Recognise, asks)] == [(0.0, 320), (0.14, 320)]


def test_a_new_session_that_is_owed_nothing_is_asked_nothing() -> None:
    assert STT().started(SESSION, 1.5) == (STT(), [])


def test_a_session_that_connects_after_the_line_has_closed_is_asked_to_finish() -> None:
    core = after(STT(), *audio(0, 2), (CLOSED, 1.0))
    assert core.started(SESSION, 1.5)[1] == [Recognise(start_s=0.0, audio=frame(0).audio + frame(1).audio), Finalise()]


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


def test_words_that_were_final_already_are_dropped_when_another_session_says_them_again() -> None:
    core = after(STT(), (final("yes", 0.4, word("yes", 0.1, 0.3)), 1.0))
    again = final("yes please", 0.9, word("yes", 0.12, 0.32), word("please", 0.5, 0.8))
    told = only(Transcript, sent(core, (again, 2.0)))
    assert [(each.text, [word.text for word in each.words]) for each in told] == [("please", ["please"])]


@pytest.mark.parametrize(("end_s", "text"), [(0.75, ""), (0.77, "yes")])
def test_a_word_belongs_to_what_is_covered_if_its_middle_does(end_s: float, text: str) -> None:
    core = after(STT(), (final("", 0.5), 1.0))
    assert texts(sent(core, (final("yes", 0.9, word("yes", 0.25, end_s)), 2.0))) == [text]


@pytest.mark.parametrize(("end_s", "text"), [(0.4, ""), (0.401, ""), (0.42, "yes")])
def test_words_without_times_are_said_again_if_all_of_them_was_covered(end_s: float, text: str) -> None:
    core = after(STT(), (final("yes", 0.4), 1.0))
    again = attrs.evolve(final("yes", 0.9), end_s=end_s)
    assert texts(sent(core, (again, 2.0))) == [text]


def test_interim_words_said_again_are_not_passed_on() -> None:
    core = after(STT(), (final("yes", 0.4, word("yes", 0.1, 0.3)), 1.0))
    assert sent(core, (interim("yes", word("yes", 0.1, 0.3)), 1.1)) == []
    told = sent(core, (interim("yes please", word("yes", 0.1, 0.3), word("please", 0.5, 0.8)), 1.2))
    assert texts(told) == ["please"]


def test_an_empty_interim_says_nothing_and_an_empty_final_how_far_transcription_has_come() -> None:
    assert sent(STT(), (interim(""), 1.0)) == []
    assert [each.covered_s for each in only(Transcript, sent(STT(), (final("", 0.7), 1.0)))] == [0.7]


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
    assert core == STT()


def test_the_end_waits_for_nobody_when_nothing_is_owed() -> None:
    core, told = ran(STT(), (CLOSED, 1.0))
    assert told == [Finalise(), CLOSED]
    assert core.deadline == NEVER


# Salvage.


def test_a_fresh_core_owes_what_the_old_one_owed() -> None:
    owing = after(STT(), *audio(0, 5), (final("yes", 0.04), 0.2))
    assert STT().fresh(owing) == owing
    closing = after(owing, (CLOSED, 1.0))
    assert STT().fresh(closing) == closing


def test_a_fresh_core_owes_nothing_that_was_covered_and_owes_it_in_order() -> None:
    muddled = attrs.evolve(after(STT(), *audio(0, 5)), owed=(frame(4), frame(0), frame(2)), covered_s=0.02)
    assert STT().fresh(muddled).owed == (frame(2), frame(4))


def test_a_bare_core_knows_how_far_transcription_has_come_and_that_the_line_is_closed() -> None:
    owing = after(STT(), *audio(0, 5), (final("yes", 0.04), 0.2))
    assert STT().bare(owing) == STT(covered_s=0.04)
    bare = STT().bare(after(owing, (CLOSED, 1.0)))
    assert (bare.closing, bare.deadline, bare.owed) == (CLOSED, 2.0, ())


# Whatever becomes of the sessions.

WORDS = [word(f"w{number}", number * 0.4, number * 0.4 + 0.3) for number in range(8)]
FRAMES = 165


@given(
    finals=st.lists(st.tuples(st.integers(0, FRAMES), st.booleans()), max_size=12),
    shift_s=st.sampled_from([-0.04, 0.0, 0.04]),
)
def test_each_word_is_passed_on_once_and_in_order_whenever_sessions_die(
    finals: list[tuple[int, bool]], shift_s: float
) -> None:
    """A recogniser hears a word when it was asked for all of its sound; a dead one is followed by another."""
    core = STT()
    told: list[object] = []
    asked_from_s = 0.0
    reached = 0
    for at, dies in [*sorted(finals), (FRAMES, False), (FRAMES, False)]:
        core, more = ran(core, *audio(reached, at))
        told += more
        reached = max(reached, at)
        upto_s = reached * 0.02
        if dies:
            _, asks = core.started(SESSION, 0.0)
            starts = [each.start_s for each in only(Recognise, asks)]
            asked_from_s = min(starts, default=upto_s)
            continue
        # Words that were wholly said by now, as this session hears them; its covered_s lies in a pause.
        heard = [each for each in WORDS if each.start_s >= asked_from_s - 0.001 and each.end_s <= upto_s]
        covered_s = (heard[-1].end_s + 0.04) if heard else core.covered_s
        if covered_s > upto_s:
            continue
        shifted = [word(each.text, each.start_s + shift_s, each.end_s + shift_s) for each in heard]
        text = " ".join(each.text for each in heard)
        core, more = ran(core, (final(text, covered_s, *shifted), 0.0))
        told += more
    said = " ".join(texts(told)).split()
    assert said == [each.text for each in WORDS]


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
        assert b"".join(each.audio for each in only(Recognise, asks)) == b"".join(each.audio for each in core.owed)
