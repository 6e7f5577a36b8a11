"""Levelled: a voice as loud as the one that it stands in for, whoever sells them.

Theory of operation. Vendors' voices differ by 10 dB and more, so a caller whose agent changes vendors within a call, or
who hears a clip of one and a reply of another, would hear it shout or mumble. The first voice of a list passes as it
is, byte for byte; the others are brought to its loudness. What comes is measured: of frames of 20 ms, those that hold
speech (as ITU-T P.56 measures: only while there is speech), until a minute of it was heard in all calls of the process.
The gain is what is missing to the target, in steps of half a decibel: for each, a µ-law byte has one louder byte, so a
step is a table of 256 and the audio is translated. It moves a step in 0.1 s of audio at most, which nobody hears, and
stays where no peak is clipped. After the minute only the translation is left.
"""

import functools
import math
from typing import Final

import attrs
import numpy as np
import numpy.typing as npt

from engine.codec import mulaw
from engine.messages.synthesis import Synthesised
from engine.providers.contract import Seam, Voice, VoiceAsk, VoiceEvent

TARGET_DB: Final = -22.0
"""Of the embedded voice's own speech, which is brought to it as it is made (-21.8 dBFS by this measure): hardly touched
here. Lines carry -26 to -18."""

_STEPS_A_DB: Final = 2
_MOST_STEPS: Final = 12 * _STEPS_A_DB
_MOVE_BYTES: Final = 800
_FRAME_BYTES: Final = 160
# Of a frame's power: what is softer is no speech, whoever speaks; nor is what is this much softer than the speech is.
_FLOOR_DB: Final = -50.0
_BELOW_DB: Final = -15.0
# Frames with speech: from here on the measure is believed, and from there on it is final.
_LEAST_FRAMES: Final = 50
_MOST_FRAMES: Final = 3000
# A peak may reach this; G.711 ends at 32 124.
_HIGHEST: Final = 29_000.0

_SAMPLES: Final = mulaw.decode(bytes(range(256))).astype(np.float64)
_POWERS: Final = (_SAMPLES / 32_768.0) ** 2


@attrs.frozen
class Loudness:
    """How loud a voice speaks, by what was heard of it. power: of full scale. peak: the highest sample."""

    frames: int = 0
    power: float = 0.0
    peak: float = 1.0

    @property
    def is_final(self) -> bool:
        """Whether it has heard enough for good."""
        return self.frames >= _MOST_FRAMES

    @property
    def is_known(self) -> bool:
        """Whether it has heard enough to go by: a second of speech."""
        return self.frames >= _LEAST_FRAMES

    @property
    def level_db(self) -> float:
        """The level of its speech, dB of full scale; meaningless before anything was heard."""
        return 10 * math.log10(max(self.power, 1e-12))

    def heard(self, audio: bytes) -> "Loudness":
        """Return what it is after some more audio: µ-law, 8 kHz, any number of bytes."""
        if not audio:
            return self
        codes = np.frombuffer(audio, np.uint8)
        count = max(1, len(codes) // _FRAME_BYTES)
        frames = _POWERS[codes[: len(codes) // count * count]].reshape(count, -1).mean(axis=1)
        loud: npt.NDArray[np.float64] = frames[frames > 10 ** (_FLOOR_DB / 10)]
        known = self.power if self.frames else float(loud.mean()) if len(loud) else 0.0
        loud = loud[loud > known * 10 ** (_BELOW_DB / 10)]
        peak = max(self.peak, float(np.abs(_SAMPLES[codes]).max()))
        total = self.frames + len(loud)
        power = (self.power * self.frames + float(loud.sum())) / total if total else 0.0
        return Loudness(frames=total, power=power, peak=peak)

    def steps(self, target_db: float) -> int:
        """Return the gain that is missing to the target, in half decibels; 0 while it is not known."""
        if not self.is_known:
            return 0
        missing = round((target_db - self.level_db) * _STEPS_A_DB)
        return max(-_MOST_STEPS, min(missing, _MOST_STEPS, self.highest_steps))

    @property
    def highest_steps(self) -> int:
        """The gain up to which no peak is clipped; none for a voice that is at the limit by itself."""
        return max(0, math.floor(20 * math.log10(_HIGHEST / self.peak) * _STEPS_A_DB))


class Measured:
    """A voice as it is, and how loud that is: what others are brought to that stand in for it."""

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self.loudness = Loudness()

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self._voice.vendor

    @property
    def voice(self) -> str:
        """The voice's name at the vendor."""
        return self._voice.voice

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve one call until cancelled. Raises `ProviderError` when the vendor fails."""
        await self._voice.session(_LevellingSeam(seam, self))

    async def render(self, text: str) -> bytes:
        """Return `text` spoken: µ-law, 8 kHz mono. Raises `ProviderError`."""
        clip = await self._voice.render(text)
        self.listen(clip)
        return clip

    def level(self, audio: bytes) -> bytes:
        """Return the next audio of a reply as it is to be heard."""
        self.listen(audio)
        return audio

    def listen(self, audio: bytes) -> None:
        """Learn from some of its speech how loud it is."""
        if not self.loudness.is_final:
            self.loudness = self.loudness.heard(audio)


class Levelled(Measured):
    """A voice brought to the loudness of `like`, for whom it stands in; by 12 dB at most.

    Both are shared by all calls of a process, as voices are. A clip is levelled by its own loudness, whole; a reply by
    that of all that the voice has said so far. While nobody has heard `like`, the target is `TARGET_DB`.
    """

    def __init__(self, voice: Voice, *, like: Measured) -> None:
        super().__init__(voice)
        self._like = like
        self._steps = 0
        # Audio since the last step.
        self._since_bytes = 0

    @property
    def voice(self) -> str:
        """The voice's name, and whose loudness it has: a clip that was not brought to it is another clip."""
        return f"{self._voice.voice} as loud as {self._like.voice}"

    @property
    def gain_db(self) -> float:
        """By how much replies are made louder at present."""
        return self._steps / _STEPS_A_DB

    @property
    def _target_db(self) -> float:
        return self._like.loudness.level_db if self._like.loudness.is_known else TARGET_DB

    async def render(self, text: str) -> bytes:
        """Return `text` spoken: µ-law, 8 kHz mono. Raises `ProviderError`."""
        clip = await super().render(text)
        loudness = Loudness().heard(clip)
        if not loudness.is_known:  # a word: too short to tell how loud it was meant to be
            loudness = attrs.evolve(self.loudness, peak=loudness.peak)
        return _louder(clip, loudness.steps(self._target_db))

    def level(self, audio: bytes) -> bytes:
        """Return the next audio of a reply at the target, as far as it is known by now."""
        self.listen(audio)
        wanted = self.loudness.steps(self._target_db)
        self._steps = min(self._steps, max(wanted, self.loudness.highest_steps))
        if wanted == self._steps:
            return _louder(audio, wanted)
        parts, at = list[bytes](), 0
        while at < len(audio):
            part = audio[at : at + _MOVE_BYTES - self._since_bytes]
            parts.append(_louder(part, self._steps))
            at, self._since_bytes = at + len(part), self._since_bytes + len(part)
            if self._since_bytes == _MOVE_BYTES:
                self._since_bytes = 0
                self._steps += (wanted > self._steps) - (wanted < self._steps)
        return b"".join(parts)


class _LevellingSeam:
    """A session's side of its actor, with the level put right on the way."""

    def __init__(self, seam: Seam[VoiceAsk, VoiceEvent], levelled: Measured) -> None:
        self._seam = seam
        self._levelled = levelled

    def opened(self, *, aligned: bool = False) -> None:
        """Pass it on."""
        self._seam.opened(aligned=aligned)

    async def ask(self) -> VoiceAsk:
        """Wait for the next thing that is asked. Nothing is lost when the wait is cancelled."""
        return await self._seam.ask()

    async def emit(self, event: VoiceEvent) -> None:
        """Hand an event to the actor, its audio levelled."""
        if isinstance(event, Synthesised) and event.audio:
            event = attrs.evolve(event, audio=self._levelled.level(event.audio))
        await self._seam.emit(event)

    def refused(self, why: str) -> None:
        """Pass it on."""
        self._seam.refused(why)


def _louder(audio: bytes, steps: int) -> bytes:
    return audio.translate(_table(steps)) if steps else audio


@functools.cache
def _table(steps: int) -> bytes:
    """Return for each µ-law byte the one that is so many half decibels louder."""
    louder = _SAMPLES * 10 ** (steps / _STEPS_A_DB / 20)
    return mulaw.encode(np.clip(np.round(louder), -32_124, 32_124).astype(np.int16))
