"""FrameVad: whether there is a voice in a frame of the caller's audio, by WebRTC's detector behind a gate of level."""

from typing import Final

import numpy as np
import webrtcvad

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE

# RMS of a sine as loud as µ-law can be is the 0 dB of levels here.
_FULL_SCALE: Final = 32768.0


class FrameVad:
    """A voice activity detector for one stream of frames: it adapts to the line's noise, so each call has its own.

    aggressiveness: 0 to 3, WebRTC's own measure of how much it wants to call noise. At 1 the first second of a line
        that hisses is speech, at 3 quiet talkers' last sounds are noise.
    floor_db: frames below this level (dB of full scale, RMS) are never speech. -60 lies
        between an idle line and a quiet talker: at -50 such a talker's last half second is lost.
    Costs about 10 µs a frame. Raises ValueError for another aggressiveness.
    """

    def __init__(self, *, aggressiveness: int = 2, floor_db: float = -60.0) -> None:
        if aggressiveness not in range(4):
            raise ValueError(f"'aggressiveness' must be 0 to 3: {aggressiveness}")
        self._vad = webrtcvad.Vad(aggressiveness)
        self._floor = FRAME_BYTES * (_FULL_SCALE * 10 ** (floor_db / 20)) ** 2

    def voiced(self, frame: bytes) -> bool:
        """Return whether there is speech in a frame: 160 bytes of µ-law; a shorter one is padded with silence."""
        if len(frame) < FRAME_BYTES:
            frame = frame.ljust(FRAME_BYTES, bytes([SILENCE]))
        pcm = mulaw.decode(frame)
        # The detector hears every frame, so that it knows the noise between words.
        speech: bool = self._vad.is_speech(pcm.tobytes(), RATE_HZ)
        if not speech:
            return False
        levels = pcm.astype(np.float64)
        return bool(levels @ levels >= self._floor)
