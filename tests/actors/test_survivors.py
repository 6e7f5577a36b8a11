"""What a core changed in one place got away with: benchmarks/mutation.py found each of these unguarded."""

import pytest

from engine.actors.stt import STT, RecognitionPolicy
from engine.actors.tts import TTS
from engine.actors.twilio_io import SpeechPolicy, TwilioIO
from engine.codec.telephony import FRAME_BYTES, SILENT_FRAME
from engine.mailbox import Core
from engine.messages.caller import CallerAudio, LineClosed, SpeechLasted
from engine.messages.line import LineAudio, LineEnded
from engine.messages.recognition import Recognised, Transcript, Word
from engine.messages.records import Counted
from engine.messages.reply import Sentence
from engine.messages.supervision import SessionInfo, Tick
from engine.messages.synthesis import AgentAudioTrimmed, Synthesised, SynthesisEnded
from tests.actors.steps import after, only, ran, sent


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
