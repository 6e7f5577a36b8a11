"""What the simulators know of sound: silence, and where in a stretch of µ-law somebody is heard.

All audio is 8 kHz mono G.711 µ-law, a byte a sample.
"""

from typing import Final

import attrs
import numpy as np
from numpy.typing import NDArray

from engine.codec import mulaw

RATE_HZ: Final = 8000
FRAME_BYTES: Final = 160
FRAME_S: Final = 0.020
SILENCE: Final = b"\xff"

# A window of 10 ms is sound when 4 of its 80 samples are louder than 0.5 % of full scale (-46 dBFS): a voice on the
# phone is 20 dB above that, the noise of a µ-law step is below; a single click is no sound.
_WINDOW: Final = 80
_LOUD: Final = 164
_LOUD_SAMPLES: Final = 4
_IS_LOUD: Final[NDArray[np.uint8]] = (np.abs(mulaw.decode(bytes(range(256))).astype(np.int32)) > _LOUD).astype(np.uint8)


@attrs.frozen
class Span:
    """A stretch of sound in whole samples: the first that is loud, and the one after the last."""

    start: int
    end: int


def sounds(audio: bytes, *, gap_s: float) -> tuple[Span, ...]:
    """Where there is sound in ``audio``; a silence shorter than ``gap_s`` does not part two stretches of it."""
    if not audio:
        return ()
    loud = _IS_LOUD[np.frombuffer(audio, np.uint8)]
    counts = np.add.reduceat(loud, np.arange(0, len(loud), _WINDOW))  # at most 80: no overflow
    spans: list[Span] = []
    for window in np.flatnonzero(counts >= _LOUD_SAMPLES).tolist():
        samples = np.flatnonzero(loud[window * _WINDOW : (window + 1) * _WINDOW]) + window * _WINDOW
        start, end = int(samples[0]), int(samples[-1]) + 1
        if spans and start - spans[-1].end < gap_s * RATE_HZ:
            spans[-1] = Span(spans[-1].start, end)
        else:
            spans.append(Span(start, end))
    return tuple(spans)


class Track:
    """One side of a call from its beginning on: silence where nothing was placed."""

    def __init__(self) -> None:
        self._audio = bytearray()

    def __len__(self) -> int:
        return len(self._audio)

    def place(self, start: int, audio: bytes) -> None:
        """Put audio at a sample at or after the end of what is there."""
        assert start >= len(self._audio), f"audio at {start} would overlap what ends at {len(self._audio)}"
        self._audio += SILENCE * (start - len(self._audio))
        self._audio += audio

    def cut(self, end: int) -> None:
        """Drop what stands at ``end`` and after it."""
        del self._audio[end:]

    def read(self, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on; beyond the end they are silence."""
        return bytes(self._audio[start : start + length]).ljust(length, SILENCE)
