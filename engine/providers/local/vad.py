"""FrameVad: whether there is a voice in a frame of the caller's audio, by WebRTC's detector behind a gate of level.

CallerVad: whether it is the caller's own besides, by how loud the caller was before. That serves what may silence the
agent; what any voice says is heard and kept.
"""

from typing import Final

import attrs
import numpy as np
import webrtcvad
from attrs.validators import ge

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE

# RMS of a sine as loud as µ-law can be is the 0 dB of levels here.
_FULL_SCALE: Final = 32768.0

# The first and the second byte of each code's sample, in this machine's order. To translate a frame by both takes
# 0.6 µs; numpy's look-up and `tobytes` take 1.4.
_FIRST, _SECOND = (
    column.tobytes() for column in mulaw.decode(bytes(range(256))).view(np.uint8).reshape(256, 2).transpose()
)

FLOOR_DB: Final = -60.0
"""Level below which no frame is speech: between an idle line and a quiet talker, whose last half second -50 loses."""


def energy(level_db: float) -> float:
    """Return the sum of the squared samples of a frame at a level: dB of full scale, RMS."""
    return FRAME_BYTES * (_FULL_SCALE * 10 ** (level_db / 20)) ** 2


class FrameVad:
    """A voice activity detector for one stream of frames: it adapts to the line's noise, so each call has its own.

    aggressiveness: 0 to 3, WebRTC's own measure of how much it wants to call noise. At 1 the first second of a line
        that hisses is speech, at 3 quiet talkers' last sounds are noise.
    floor_db: frames below this level (dB of full scale, RMS) are never speech.
    Costs about 3 µs a frame, half of it WebRTC's. Raises ValueError for another aggressiveness.
    """

    def __init__(self, *, aggressiveness: int = 2, floor_db: float = FLOOR_DB) -> None:
        if aggressiveness not in range(4):
            raise ValueError(f"'aggressiveness' must be 0 to 3: {aggressiveness}")
        self._vad = webrtcvad.Vad(aggressiveness)
        self._floor = energy(floor_db)
        # A frame's samples: the same memory as bytes and as numbers.
        self._pcm = bytearray(2 * FRAME_BYTES)
        self._samples = np.frombuffer(self._pcm, np.int16)

    def voiced(self, frame: bytes) -> bool:
        """Return whether there is speech in a frame: 160 bytes of µ-law; a shorter one is padded with silence."""
        return self._energy(frame) > 0.0

    def _energy(self, frame: bytes) -> float:
        """Return the sum of the squared samples of a frame with speech in it, 0.0 of any other."""
        if len(frame) < FRAME_BYTES:
            frame = frame.ljust(FRAME_BYTES, bytes([SILENCE]))
        self._pcm[::2] = frame.translate(_FIRST)
        self._pcm[1::2] = frame.translate(_SECOND)
        # The detector hears every frame, so that it knows the noise between words.
        if not self._vad.is_speech(self._pcm, RATE_HZ):
            return 0.0
        levels = self._samples.astype(np.float32)
        heard = float(levels.dot(levels))  # `@` takes 0.4 µs more
        return heard if heard >= self._floor else 0.0


@attrs.frozen(kw_only=True)
class CallerPolicy:
    """How much softer than the caller a voice may be and still be the caller's. Steps are of one frame.

    Measured on 522 made-up calls: six voices, three of them recorded from people, at -12, -24 and -35 dBFS, over a
    radio, somebody talking, a street or hiss 15 to 30 dB below; and on 216 in which the caller is louder before, or
    coughs, or presses keys. "Heard" is what `TwilioIO` calls speech; the radio below is 24 dB softer than the caller,
    and heard 28 % of the time that the caller is silent (92 % without all this).

    near_db: how far below the caller's level a frame may be. 18: at 16 somebody who takes over the phone 20 dB softer
        is heard after 5 s instead of 4, at 20 the radio is heard 61 % of the time.
    held_frames: frames that are the caller's from such a one on, itself included. 15: soft sounds between loud ones,
        and the ends of words; with 10 the caller loses twice as many frames, and an end in ten is 60 ms early.
    rise_db: by how much a louder frame raises the level. 1.0: half a second of speech, and it is known. At 0.6 the
        radio is heard 44 % of the time, at 1.6 one caller in five is heard 0.3 s late after a cough of their own.
    fall_db: by how much a softer frame of the caller's lowers it. 0.06, so that one loud frame in 17 is above the
        level. At 0.03 a caller who speaks 20 dB softer is heard after 3.6 s instead of 1.6, at 0.12 the radio 58 % of
        the time.
    far_fall_db: by how much a frame that is too soft lowers it: who moves away from the phone is heard in the end.
        0.01, half a decibel a second: at 0.005 who takes over the phone is heard after 5 s, at 0.02 the radio 49 % of
        the time.
    tone_db: a frame as loud as the one before it, but for this, raises nothing: it is a tone. 0.25: without it one
        quiet caller in five is heard 1 s late after pressing ten keys.
    """

    near_db: float = attrs.field(default=18.0, validator=ge(0.0))
    held_frames: int = attrs.field(default=15, validator=ge(1))
    rise_db: float = attrs.field(default=1.0, validator=ge(0.0))
    fall_db: float = attrs.field(default=0.06, validator=ge(0.0))
    far_fall_db: float = attrs.field(default=0.01, validator=ge(0.0))
    tone_db: float = attrs.field(default=0.25, validator=ge(0.0))


class CallerGate:
    """What lets the caller's own voice through: it knows how loud the caller speaks, from what it has heard.

    floor: energy of a frame below which there is no speech: nothing above it is held back before a caller was heard.
    """

    def __init__(self, floor: float, policy: CallerPolicy | None = None) -> None:
        policy = policy or CallerPolicy()
        self._near = _ratio(-policy.near_db)
        self._held_frames = policy.held_frames
        self._rise, self._fall, self._far_fall = map(_ratio, (policy.rise_db, -policy.fall_db, -policy.far_fall_db))
        self._tone = _ratio(policy.tone_db)
        self._lowest = floor / self._near
        # Invariant: never below the lowest, so that a long silence or whisper does not put off what is learned next.
        self._level = self._lowest
        self._last = 0.0
        self._held = 0

    def passes(self, heard: float) -> bool:
        """Return whether the next frame is the caller's speech. heard: its energy, 0.0 if there is no speech in it."""
        if self._held:
            self._held -= 1
        if not heard:
            return False
        level, last = self._level, self._last
        if heard > level:
            self._held = self._held_frames
            if heard > last * self._tone or heard * self._tone < last:
                self._level = min(level * self._rise, heard)
        else:
            fall = self._far_fall
            if heard >= level * self._near:
                self._held, fall = self._held_frames, self._fall
            self._level = max(level * fall, self._lowest)
        self._last = heard
        return self._held > 0


class CallerVad(FrameVad):
    """A voice activity detector for one call, which hears its caller and nobody who is much softer.

    Costs 0.2 µs a frame more than its parent. Raises ValueError as that does.
    """

    def __init__(
        self, *, aggressiveness: int = 2, floor_db: float = FLOOR_DB, policy: CallerPolicy | None = None
    ) -> None:
        super().__init__(aggressiveness=aggressiveness, floor_db=floor_db)
        self._gate = CallerGate(self._floor, policy)

    def heard(self, frame: bytes) -> tuple[bool, bool]:
        """Return whether there is speech in a frame, as `voiced` does, and whether it may be the caller's own."""
        level = self._energy(frame)
        return level > 0.0, self._gate.passes(level)


def _ratio(db: float) -> float:
    return float(10 ** (db / 10))
