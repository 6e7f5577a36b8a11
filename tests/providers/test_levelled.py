"""Levelled: voices of all loudnesses come out alike, without a jump, and none is clipped."""

import itertools
import math
from collections.abc import Iterable

import attrs
import numpy as np
import pytest
import trio

from engine.codec import mulaw
from engine.messages.errors import ProviderDown
from engine.messages.recognition import Word
from engine.messages.synthesis import EndSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent
from engine.providers.levelled import TARGET_DB, Levelled, Loudness, Measured

SECOND = 8000


def speech(level_db: float, seconds: float = 1.0) -> bytes:
    """Syllables: 0.2 s of a tone at a level, and 0.05 s of breath."""
    at = np.arange(round(seconds * SECOND))
    tone = np.sin(2 * np.pi * 300 * at / SECOND) * math.sqrt(2) * 32_768 * 10 ** (level_db / 20)
    tone[at % 2000 >= 1600] *= 0.02
    return mulaw.encode(np.clip(tone, -32_000, 32_000).round().astype(np.int16))


def level_db(audio: bytes) -> float:
    return Loudness().heard(audio).level_db


def peak(audio: bytes) -> int:
    return int(np.abs(mulaw.decode(audio).astype(int)).max())


@attrs.define
class FixedVoice:
    """Says the same whatever it is asked."""

    audio: bytes = b""
    vendor: str = "fixed"
    voice: str = "plain"
    fails: bool = False

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        seam.opened(aligned=True)
        seam.refused("a message of no sense")
        while isinstance(ask := await seam.ask(), Synthesise):
            word = Word(text=ask.text, start_s=0.0, end_s=1.0)
            await seam.emit(Synthesised(turn=ask.turn, index=ask.index, audio=self.audio, words=(word,)))
            await seam.emit(SynthesisEnded(turn=ask.turn, index=ask.index))
        raise ProviderDown("that was all")

    async def render(self, text: str) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise ProviderDown("the voice is gone")
        return self.audio


@attrs.define
class FixedSeam:
    asks: list[VoiceAsk]
    told: list[VoiceEvent] = attrs.field(factory=list)
    heard: list[object] = attrs.field(factory=list)

    def opened(self, *, aligned: bool = False) -> None:
        self.heard.append(aligned)

    def refused(self, why: str) -> None:
        self.heard.append(why)

    async def ask(self) -> VoiceAsk:
        await trio.lowlevel.checkpoint()
        return self.asks.pop(0) if self.asks else EndSynthesis(turn=0)

    async def emit(self, event: VoiceEvent) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(event)


def _alone(voice: FixedVoice) -> Levelled:
    """A stand-in for a voice that nobody has heard."""
    return Levelled(voice, like=Measured(FixedVoice()))


def levelled_all(levelled: Levelled, parts: Iterable[bytes]) -> list[bytes]:
    return [levelled.level(part) for part in parts]


@pytest.mark.parametrize("own_db", [-33.0, -28.0, -22.0, -18.0, -12.0])
def test_a_voice_comes_to_the_target(own_db: float) -> None:
    levelled = _alone(FixedVoice())
    *_, last = levelled_all(levelled, [speech(own_db)] * 8)
    assert level_db(speech(own_db)) == pytest.approx(own_db, abs=0.3)
    assert level_db(last) == pytest.approx(TARGET_DB, abs=0.5)
    assert levelled.gain_db == pytest.approx(TARGET_DB - own_db, abs=0.5)


@pytest.mark.parametrize(("own_db", "gain_db"), [(-40.0, 12.0), (-6.0, -12.0)])
def test_no_voice_is_changed_by_more_than_12_db(own_db: float, gain_db: float) -> None:
    levelled = _alone(FixedVoice())
    levelled_all(levelled, [speech(own_db)] * 10)
    assert levelled.gain_db == gain_db


def test_nothing_is_changed_before_a_second_of_speech_was_heard() -> None:
    levelled = _alone(FixedVoice())
    audio = speech(-30.0, 0.9)
    assert levelled.level(audio) == audio
    assert levelled.gain_db == 0.0


def test_silence_is_not_speech() -> None:
    levelled = _alone(FixedVoice())
    silence = bytes([0xFF]) * SECOND * 5
    assert levelled.level(silence) == silence
    hum = speech(-55.0, 5.0)
    assert levelled.level(hum) == hum
    levelled_all(levelled, [silence[:SECOND], speech(-28.0)] * 5)
    assert levelled.gain_db == pytest.approx(6.0, abs=0.5)


def test_the_gain_moves_by_half_a_decibel_in_a_tenth_of_a_second_at_most() -> None:
    levelled = _alone(FixedVoice())
    gains = [0.0]
    for _ in range(50):
        levelled.level(speech(-30.0, 0.1))
        gains.append(levelled.gain_db)
    assert max(abs(after - before) for before, after in itertools.pairwise(gains)) == 0.5
    assert gains[-1] == pytest.approx(8.0, abs=0.5)
    whole = _alone(FixedVoice())  # the same within one long message
    audio = whole.level(speech(-30.0, 2.0))
    levels = [level_db(audio[at : at + 2000]) for at in range(0, 16_000, 2000)]
    assert levels == sorted(levels)
    assert levels[0] < -29 < -25 < levels[-1]


@pytest.mark.parametrize("size", [160, 640, 799])
def test_the_gain_moves_in_messages_that_are_shorter_than_that(size: int) -> None:
    levelled = _alone(FixedVoice())
    audio = speech(-30.0, 5.0)
    out = b"".join(levelled_all(levelled, [audio[at : at + size] for at in range(0, len(audio), size)]))
    assert len(out) == len(audio)
    assert level_db(out[-SECOND:]) == pytest.approx(TARGET_DB, abs=0.5)


def test_no_peak_is_clipped() -> None:
    at = np.arange(SECOND)
    samples = np.sin(2 * np.pi * 300 * at / SECOND) * 500
    samples[::800] = 15_000  # clicks, in a voice that is soft
    audio = mulaw.encode(samples.astype(np.int16))
    levelled = _alone(FixedVoice())
    *_, last = levelled_all(levelled, [audio] * 8)
    assert 26_000 < peak(last) <= 30_000
    shout = speech(-6.0, 0.2)
    assert peak(levelled.level(shout)) <= 30_000  # a µ-law step beyond, at most


async def test_a_clip_is_levelled_whole_by_its_own_loudness() -> None:
    for own_db in (-30.0, -14.0):
        levelled = _alone(FixedVoice(speech(own_db, 2.0)))
        clip = await levelled.render("Hello.")
        assert level_db(clip[:2000]) == pytest.approx(TARGET_DB, abs=0.5)
        assert level_db(clip[-2000:]) == pytest.approx(TARGET_DB, abs=0.5)


async def test_a_short_clip_is_levelled_as_the_voice_is() -> None:
    voice = FixedVoice(speech(-28.0, 2.0))
    levelled = _alone(voice)
    await levelled.render("A long one.")
    voice.audio = speech(-34.0, 0.3)
    assert level_db(await levelled.render("Hm.")) == pytest.approx(-28.0, abs=0.6)


async def test_a_short_clip_is_not_clipped_by_the_gain_of_a_soft_voice() -> None:
    voice = FixedVoice(speech(-36.0, 80.0))
    levelled = _alone(voice)
    await levelled.render("A long one.")
    voice.audio = speech(-9.0, 0.3)
    clip = await levelled.render("Hey!")
    assert peak(voice.audio) < peak(clip) < 30_000
    assert level_db(clip) == pytest.approx(level_db(voice.audio) + 4.5, abs=0.6)


async def test_a_clip_of_nothing_is_nothing() -> None:
    assert await _alone(FixedVoice(b"")).render("...") == b""


async def test_clips_tell_how_loud_the_calls_will_be() -> None:
    levelled = _alone(FixedVoice(speech(-26.0, 2.0)))
    await levelled.render("Hello.")
    seam = FixedSeam([Synthesise(turn=1, index=0, text="Hi")] * 3)
    with pytest.raises(ProviderDown):
        await levelled.session(seam)
    *_, last = [event.audio for event in seam.told if isinstance(event, Synthesised)]
    assert level_db(last[-4000:]) == pytest.approx(TARGET_DB, abs=0.5)


async def test_all_else_passes_as_it_is() -> None:
    levelled = _alone(FixedVoice(speech(-26.0)))
    seam = FixedSeam([Synthesise(turn=7, index=3, text="Hi")])
    with pytest.raises(ProviderDown, match="that was all"):
        await levelled.session(seam)
    assert seam.heard == [True, "a message of no sense"]
    spoken, ended = seam.told
    assert isinstance(spoken, Synthesised)
    assert (spoken.turn, spoken.index, spoken.words) == (7, 3, (Word(text="Hi", start_s=0.0, end_s=1.0),))
    assert len(spoken.audio) == SECOND
    assert ended == SynthesisEnded(turn=7, index=3)
    with pytest.raises(ProviderDown, match="gone"):
        await _alone(FixedVoice(fails=True)).render("Hello.")


def test_clips_of_another_level_are_other_clips() -> None:
    assert Measured(FixedVoice()).voice == "plain"
    assert Levelled(FixedVoice(), like=Measured(FixedVoice(voice="first"))).voice == "plain as loud as first"


def test_the_voice_that_others_stand_in_for_passes_as_it_is_and_they_come_to_its_loudness() -> None:
    first = Measured(FixedVoice())
    assert [first.level(speech(-30.0)) for _ in range(3)] == [speech(-30.0)] * 3
    other = Levelled(FixedVoice(), like=first)
    *_, last = levelled_all(other, [speech(-18.0)] * 8)
    assert level_db(last) == pytest.approx(-30.0, abs=0.5)


async def test_clips_of_the_first_voice_pass_as_they_are_and_are_learnt_from() -> None:
    first = Measured(FixedVoice(speech(-30.0, 2.0)))
    assert await first.render("a clip") == speech(-30.0, 2.0)
    assert first.loudness.level_db == pytest.approx(-30.0, abs=0.5)


def test_after_a_minute_of_speech_the_measure_is_final() -> None:
    loudness = Loudness()
    while not loudness.is_final:
        loudness = loudness.heard(speech(-20.0, 10.0))
    assert 3000 <= loudness.frames < 3500
    levelled = _alone(FixedVoice())
    levelled_all(levelled, [speech(-20.0, 10.0)] * 8)
    levelled_all(levelled, [speech(-30.0, 10.0)] * 20)
    assert levelled.gain_db == -2.0


@pytest.mark.parametrize("size", [7, 159, 160, 161, 319, 4000])
def test_any_number_of_bytes_is_measured_alike(size: int) -> None:
    audio, loudness = speech(-25.0, 3.0), Loudness()
    for at in range(0, len(audio), size):
        loudness = loudness.heard(audio[at : at + size])
    assert loudness.level_db == pytest.approx(-25.0, abs=1.0)
