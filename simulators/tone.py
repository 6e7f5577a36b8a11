"""The tone code: words that are in the audio itself, so that whoever hears it hears exactly the bytes it was given.

A word is a run of frames of 160 bytes of µ-law. Each begins with a header that says which frame of how many it is, and
of what word, in bytes that are next to silence; the rest is a buzz of 150 Hz with a vowel's formants, which a voice
activity detector takes for a voice. A frame has no zero sample in it, so silence never hides in a word. Every frame is
what a table makes it, and an ear holds it against the table: one byte missing, doubled or moved, and the word is
garbled, as it would be on a real line. How the bytes are parted on their way does not matter.
"""

import functools
import re
from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np
import trio

from engine.codec import mulaw
from simulators.audio import FRAME_BYTES, FRAME_S, RATE_HZ, SILENCE

SILENT_FRAME: Final = SILENCE * FRAME_BYTES
GARBLED: Final = "<garbled>"
LONGEST_BYTES: Final = 100
"""A word's UTF-8; more would leave a frame no room to sound."""
MOST_FRAMES: Final = 255

_MARK: Final = b"~~"
# A number is two of the sixteen letters from here on: the letters' samples are quiet, the numbers' would be loud.
_ZERO: Final = 0x61
_HEADER_BYTES: Final = len(_MARK) + 6
_SOUND: Final = re.compile(rb"[^\xff]+")
# 30 dB below full scale: a line's noise is quieter. A buzz has louder samples in every millisecond or two.
_LOUD: Final = 1000
_QUIET: Final = bytes(byte for byte, sample in enumerate(mulaw.decode(bytes(range(256)))) if abs(int(sample)) < _LOUD)


def _buzz() -> bytes:
    """Return a frame of a voice: harmonics of 150 Hz (a frame is three periods) under formants, -22 dB of full scale.

    WebRTC's detector finds its first and last frame at each of its four levels of aggressiveness.
    """
    time_s = np.arange(FRAME_BYTES) / RATE_HZ
    formants = ((500, 60, 1.0), (1500, 90, 0.5), (2500, 120, 0.25))  # Hz, half bandwidth, gain
    wave = np.zeros(FRAME_BYTES)
    for harmonic in range(1, 23):
        hz = 150 * harmonic
        gain = sum(gain / np.hypot(1.0, (hz - centre) / half) for centre, half, gain in formants) / harmonic
        wave += gain * np.cos(2 * np.pi * hz * time_s + 0.3 * harmonic**2)
    wave *= 2500 / np.sqrt(np.mean(wave**2))
    return mulaw.encode(np.round(wave).astype(np.int16)).replace(SILENCE, b"\xfe")


_BUZZ: Final = _buzz()


def spoken(word: str, frames: int) -> bytes:
    """Return a word as `frames` frames of sound.

    Raises ValueError for a word longer than `LONGEST_BYTES`, or for more than `MOST_FRAMES`.
    """
    if frames > MOST_FRAMES:
        raise ValueError(f"a word of {frames} frames; at most {MOST_FRAMES} allowed: {word!r}")
    return b"".join(_frame(word, index, frames) for index in range(frames))


def noise(frames: int, draft: str = "") -> bytes:
    """Return sound that is no word, which a recogniser takes for `draft` at first."""
    return _frame(draft, 0, 0) * frames


def say(text: str, *, gap_frames: int = 1) -> "tuple[bytes, tuple[HeardWord, ...]]":
    """Return a text's words, each of three frames and one a letter with a gap after it, and where they lie."""
    audio, words = b"", []
    for word in text.split():
        start_s = len(audio) / RATE_HZ
        audio += spoken(word, frames_for(word))
        words.append(HeardWord(text=word, start_s=start_s, end_s=len(audio) / RATE_HZ))
        audio += SILENT_FRAME * gap_frames
    return audio, tuple(words)


def frames_for(word: str) -> int:
    """Return how many frames a word takes to say: about the pace of a person."""
    return 3 + len(word)


def frames_of(audio: bytes) -> Iterator[bytes]:
    """Return the audio frame by frame; the last may be short."""
    return (audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES))


def voiced(audio: bytes) -> bool:
    """Whether there is sound in a piece of audio, louder than a line's noise."""
    return bool(audio.translate(None, _QUIET))


def draft_of(frame: bytes) -> str:
    """Return what a recogniser takes a frame of noise for."""
    header = _header(frame)
    return header.text if header is not None and not header.frames else ""


def heard(audio: bytes, *, patient: bool = False) -> "list[HeardWord]":
    """Return the words in a whole recording, with their times in it. patient: as in `Ear`."""
    ear = Ear(patient=patient)
    ear.hear(0.0, audio)
    ear.end()
    return ear.words


@attrs.frozen
class ToneVoice:
    """The voice of a caller whose words are to be heard by a machine: a `simulators.caller.Voice`."""

    gap_frames: int = 2

    async def speak(self, text: str) -> bytes:
        """Return the words in the tone code."""
        await trio.lowlevel.checkpoint()
        return say(text, gap_frames=self.gap_frames)[0]


@attrs.frozen(kw_only=True)
class HeardWord:
    """A word that was made out, or GARBLED, with the times of its first and last sample."""

    text: str
    start_s: float
    end_s: float


@attrs.frozen
class _Header:
    """What a frame says of itself: frame `index` of `frames` of a word; no frames at all: a noise."""

    text: str
    index: int
    frames: int


@attrs.frozen
class _Run:
    """The sound of a word in progress. header: of its last good frame; None: there was none yet."""

    header: _Header | None
    start_s: float
    end_s: float
    whole: bool


@attrs.define(kw_only=True)
class Ear:
    """Makes words of sound, as it comes.

    patient: silence inside a word is waited out, and counted in `gaps`: a person understands a word with a pause in it.
    """

    patient: bool = False
    words: list[HeardWord] = attrs.field(init=False, factory=list)
    gaps: int = attrs.field(init=False, default=0)
    # Sound that is not a frame yet, and when the last of it was over.
    _sound: bytes = attrs.field(init=False, default=b"")
    _sound_s: float = attrs.field(init=False, default=0.0)
    _run: _Run | None = attrs.field(init=False, default=None)
    _in_gap: bool = attrs.field(init=False, default=False)

    @property
    def begun_s(self) -> float | None:
        """When the word that is being heard began; None between words."""
        if self._run is not None:
            return self._run.start_s
        return self._sound_s - len(self._sound) / RATE_HZ if self._sound else None

    @property
    def guess(self) -> str:
        """The word that is being heard, as it seems from its beginning; "" when there is nothing to go by."""
        header = self._run.header if self._run is not None else None
        return header.text if header is not None else ""

    def hear(self, start_s: float, audio: bytes) -> None:
        """Hear audio that begins at `start_s`, and follows what was heard before."""
        at = 0
        for sound in _SOUND.finditer(audio):
            if sound.start() > at:
                self._silence()
            self._take(start_s + sound.end() / RATE_HZ, sound.group())
            at = sound.end()
        if at < len(audio):
            self._silence()

    def end(self) -> None:
        """Hear that the word in progress, if any, is over."""
        if self._sound:
            self._break(len(self._sound))
        self._end_run()

    def _silence(self) -> None:
        if not self.patient:
            self.end()
        elif not self._in_gap and self.begun_s is not None:
            self.gaps += 1
            self._in_gap = True

    def _take(self, end_s: float, sound: bytes) -> None:
        self._in_gap = False
        self._sound += sound
        self._sound_s = end_s
        while len(self._sound) >= FRAME_BYTES:
            header = _header(self._sound[:FRAME_BYTES])
            if header is not None:
                start_s = self._dropped(FRAME_BYTES)
                self._follow(header, start_s, start_s + FRAME_S)
                continue
            mark = self._sound.find(_MARK, 1)
            # The last byte may be the first half of a mark.
            self._break(len(self._sound) - 1 if mark < 0 else mark)

    def _dropped(self, size_bytes: int) -> float:
        """Let go of the first bytes; return when they began."""
        start_s = self._sound_s - len(self._sound) / RATE_HZ
        self._sound = self._sound[size_bytes:]
        return start_s

    def _follow(self, header: _Header, start_s: float, end_s: float) -> None:
        """Take a good frame, into the present word or a new one."""
        if not header.frames:
            self._end_run()
            return
        run = self._run
        if run is not None and _goes_on(run, header):
            next_one = run.header is not None and header.index == run.header.index + 1
            self._run = _Run(header, run.start_s, end_s, run.whole and next_one)
        else:
            self._end_run()
            self._run = _Run(header, start_s, end_s, header.index == 0)
        if header.index == header.frames - 1:
            self._end_run()

    def _break(self, size_bytes: int) -> None:
        """Take sound that is no frame: what is left of a word, or a line's noise."""
        sound = self._sound[:size_bytes]
        start_s = self._dropped(size_bytes)
        end_s = start_s + size_bytes / RATE_HZ
        if self._run is not None:
            self._run = attrs.evolve(self._run, end_s=end_s, whole=False)
        elif voiced(sound):
            self._run = _Run(None, start_s, end_s, whole=False)

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        whole = run.whole and run.header is not None and run.header.index == run.header.frames - 1
        text = run.header.text if whole and run.header is not None else GARBLED
        # A sample is 125 µs; sums of frames are off by less.
        self.words.append(HeardWord(text=text, start_s=round(run.start_s, 6), end_s=round(run.end_s, 6)))


def _goes_on(run: _Run, header: _Header) -> bool:
    """Whether a frame belongs to the word in progress, maybe after a frame that was lost."""
    if run.header is None:
        return header.index > 0
    known = run.header
    return (known.text, known.frames) == (header.text, header.frames) and header.index > known.index


@functools.lru_cache(maxsize=16384)
def _frame(text: str, index: int, frames: int) -> bytes:
    name = text.encode()
    if len(name) > LONGEST_BYTES:
        raise ValueError(f"a word of {len(name)} bytes; at most {LONGEST_BYTES} allowed: {text!r}")
    header = _MARK + _number(index) + _number(frames) + _number(len(name)) + name
    return header + _BUZZ[len(header) :]


@functools.lru_cache(maxsize=16384)
def _header(frame: bytes) -> _Header | None:
    """Return what a frame says of itself, or None if it is not a whole good one."""
    numbers = frame[len(_MARK) : _HEADER_BYTES]
    if not frame.startswith(_MARK) or not all(_ZERO <= byte < _ZERO + 16 for byte in numbers):
        return None
    index, frames, length = (16 * (high - _ZERO) + low - _ZERO for high, low in zip(*[iter(numbers)] * 2, strict=True))
    try:
        text = frame[_HEADER_BYTES : _HEADER_BYTES + min(length, LONGEST_BYTES)].decode()
    except UnicodeDecodeError:
        return None
    return _Header(text, index, frames) if _frame(text, index, frames) == frame else None


def _number(value: int) -> bytes:
    return bytes((_ZERO + value // 16, _ZERO + value % 16))
