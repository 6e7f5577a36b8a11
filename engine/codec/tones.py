"""The hold tone: what a caller hears while a tool takes long, so that the line does not seem dead."""

import functools
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, RATE_HZ

# A falling third, G sharp and E: soft, and nothing like ringing (440 and 480 Hz, or 425) or a busy line (480 and 620),
# by which a caller, or a machine that listens, would judge the call.
_NOTES_HZ: Final = (830.6, 659.3)
_NOTE_S: Final = 0.45
_LATER_S: Final = 0.3
_LOOP_S: Final = 3.0
# RMS while it sounds: a little softer than the agent speaks.
_LEVEL_DB: Final = -24.0
_ATTACK_S: Final = 0.02
_DECAY_S: Final = 0.15


@functools.cache
def hold_tone() -> bytes:
    """Return one round of the hold tone: µ-law, 8 kHz, whole frames of 160 bytes, 3 s.

    Two notes in the first second, then silence, with which it also begins and ends: played over and over it has no
    click. Made when it is first asked for, in about a millisecond.
    """
    loop = np.zeros(round(_LOOP_S * RATE_HZ) // FRAME_BYTES * FRAME_BYTES)
    for number, hz in enumerate(_NOTES_HZ):
        note = _note(hz)
        begin = round((_ATTACK_S + number * _LATER_S) * RATE_HZ)
        loop[begin : begin + len(note)] += note
    sounds = loop[np.abs(loop) > np.abs(loop).max() / 10]
    loop *= 32_768 * 10 ** (_LEVEL_DB / 20) / np.sqrt(np.mean(sounds**2))
    return mulaw.encode(loop.round().astype(np.int16))


def _note(hz: float) -> npt.NDArray[np.float64]:
    """Return a note that swells and fades, with a little of its octave."""
    at_s = np.arange(round(_NOTE_S * RATE_HZ)) / RATE_HZ
    swell = np.sin(np.pi / 2 * np.minimum(at_s / _ATTACK_S, 1)) ** 2
    fade = np.exp(-at_s / _DECAY_S) * np.cos(np.pi / 2 * at_s / _NOTE_S) ** 2
    tone = np.sin(2 * np.pi * hz * at_s) + 0.2 * np.sin(4 * np.pi * hz * at_s)
    note: npt.NDArray[np.float64] = swell * fade * tone
    return note
