"""The tone code: words that survive any parting of their bytes, and no other change; and that sound like a voice."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.twilio_io import TwilioIO
from engine.messages.caller import SpeechStarted, SpeechStopped
from engine.messages.line import LineAudio
from engine.providers.local.vad import FrameVad
from simulators import tone
from simulators.audio import FRAME_BYTES, FRAME_S, SILENCE, sounds
from simulators.caller import CallerScript, Say, prepare

TEXT = "Hello, I need an appointment tomorrow."


def _texts(words: list[tone.HeardWord]) -> list[str]:
    return [word.text for word in words]


def test_what_is_said_is_heard_with_its_times() -> None:
    audio, words = tone.say(TEXT, gap_frames=2)
    assert tuple(tone.heard(audio)) == words
    assert _texts(tone.heard(audio)) == TEXT.split()
    assert len(audio) == sum(3 + len(word) + 2 for word in TEXT.split()) * FRAME_BYTES


async def test_a_simulated_caller_can_speak_it(autojump_clock: None) -> None:
    caller = await prepare(CallerScript(steps=(Say(text=TEXT),)), tone.ToneVoice())
    [utterance] = caller.utterances.values()
    assert _texts(tone.heard(utterance.audio)) == TEXT.split()
    assert utterance.speech.start < FRAME_BYTES


@pytest.mark.parametrize("word", ["a", "wörld", "~~", "<x>", "Ω", "x" * tone.LONGEST_BYTES])
def test_any_word_can_be_said(word: str) -> None:
    assert _texts(tone.heard(tone.spoken(word, 4))) == [word]


@pytest.mark.parametrize(("word", "frames"), [("x" * (tone.LONGEST_BYTES + 1), 1), ("x", tone.MOST_FRAMES + 1)])
def test_a_word_too_long_is_refused(word: str, frames: int) -> None:
    with pytest.raises(ValueError, match="at most"):
        tone.spoken(word, frames)


@given(seed=st.integers(0, 2**32), lead_bytes=st.integers(0, 400), most_bytes=st.integers(1, 700))
def test_it_does_not_matter_how_the_bytes_are_parted(seed: int, lead_bytes: int, most_bytes: int) -> None:
    dice = random.Random(seed)
    audio = SILENCE * lead_bytes + tone.say(TEXT)[0]
    ear = tone.Ear()
    at = 0
    while at < len(audio):
        part = audio[at : at + dice.randint(1, most_bytes)]
        ear.hear(at / 8000, part)
        at += len(part)
    assert ear.words == tone.heard(audio)
    assert _texts(ear.words) == TEXT.split()


# A word's first and last bytes are next to silence: twice, they are a click beside the word.
@given(at=st.integers(20, 8 * FRAME_BYTES - 20), size=st.integers(1, 300), doubled=st.booleans())
def test_bytes_that_are_lost_or_doubled_garble_the_word_and_no_other(at: int, size: int, *, doubled: bool) -> None:
    before, word, after = tone.say("one")[0], tone.spoken("hello", 8), tone.SILENT_FRAME + tone.say("two")[0]
    size = min(size, len(word) - at)
    changed = word[: at + size] + word[at:] if doubled else word[:at] + word[at + size :]
    heard = _texts(tone.heard(before + changed + after))
    assert heard[0] == "one"
    assert heard[-1] == "two"
    assert tone.GARBLED in heard
    assert set(heard[1:-1]) <= {tone.GARBLED, "hello"}


def test_a_word_with_a_hole_in_it_is_one_garbled_word() -> None:
    word = tone.spoken("hello", 8)
    assert _texts(tone.heard(word[: 2 * FRAME_BYTES] + word[3 * FRAME_BYTES :])) == [tone.GARBLED]
    assert _texts(tone.heard(word[:500] + word[700:])) == [tone.GARBLED]


def test_a_word_that_is_begun_again_is_garbled_first_and_then_whole() -> None:
    word = tone.spoken("hello", 8)
    assert _texts(tone.heard(word[: 3 * FRAME_BYTES] + word)) == [tone.GARBLED, "hello"]


def test_silence_in_a_word_garbles_it_for_a_machine_and_is_borne_by_a_person() -> None:
    word = tone.spoken("hello", 8)
    broken = word[:400] + SILENCE * 37 + word[400:800] + SILENCE * 200 + word[800:]
    assert _texts(tone.heard(broken)) == [tone.GARBLED] * 3
    ear = tone.Ear(patient=True)
    for at in range(0, len(broken), 10):
        ear.hear(at / 8000, broken[at : at + 10])
    assert _texts(ear.words) == ["hello"]
    assert ear.gaps == 2


def test_a_word_that_never_ends_is_garbled_when_the_next_begins() -> None:
    cut = tone.spoken("hello", 8)[:700]
    assert _texts(tone.heard(cut + tone.say("bye")[0])) == [tone.GARBLED, "bye"]
    assert _texts(tone.heard(cut + SILENCE * 500 + tone.say("bye")[0], patient=True)) == [tone.GARBLED, "bye"]


def test_noise_is_no_word_but_may_seem_one() -> None:
    noise = tone.noise(5, "yes")
    assert tone.heard(noise) == []
    assert tone.voiced(noise)
    assert tone.draft_of(noise[:FRAME_BYTES]) == "yes"
    assert tone.draft_of(tone.spoken("yes", 5)[:FRAME_BYTES]) == ""


def test_a_quiet_line_noise_is_neither_sound_nor_a_word() -> None:
    hiss = bytes(random.Random(1).choices(range(0x70, 0x7F), k=8000))
    assert not tone.voiced(hiss)
    assert tone.heard(hiss) == []


def test_the_word_being_heard_can_be_guessed_from_its_beginning() -> None:
    ear = tone.Ear()
    ear.hear(1.0, tone.spoken("hello", 8)[:500])
    assert ear.guess == "hello"
    assert ear.begun_s == pytest.approx(1.0)
    ear.end()
    assert ear.guess == ""
    assert ear.begun_s is None


@pytest.mark.parametrize("aggressiveness", range(4))
def test_the_engines_ear_finds_each_stretch_of_words_to_the_frame(aggressiveness: int) -> None:
    pause, words = tone.SILENT_FRAME * 30, tone.say(TEXT, gap_frames=2)[0]
    audio = pause + words + pause + tone.say("no")[0] + pause + tone.spoken("long", 250) + pause + words + pause
    vad, core, told = FrameVad(aggressiveness=aggressiveness), TwilioIO(), []
    for count, frame in enumerate(tone.frames_of(audio)):
        heard = LineAudio(start_s=count * FRAME_S, audio=frame, voiced=vad.voiced(frame))
        core, effects = core.handle(heard, heard.start_s)
        told += [effect for effect in effects if isinstance(effect, SpeechStarted | SpeechStopped)]
    there = [(span.start / 8000, span.end / 8000) for span in sounds(audio, gap_s=0.2)]
    starts = [each.at_s for each in told if isinstance(each, SpeechStarted)]
    stops = [each.at_s for each in told if isinstance(each, SpeechStopped)]
    assert starts == pytest.approx([start for start, _ in there], abs=FRAME_S)
    assert stops == pytest.approx([end for _, end in there], abs=FRAME_S)
