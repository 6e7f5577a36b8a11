"""The telephone network's audio: 8 kHz mono G.711 µ-law, in frames of 20 ms."""

from typing import Final

RATE_HZ: Final = 8000
FRAME_S: Final = 0.020
FRAME_BYTES: Final = 160  # RATE_HZ * FRAME_S, a byte a sample

SILENCE: Final = 0xFF  # µ-law's positive zero
SILENT_FRAME: Final = bytes([SILENCE]) * FRAME_BYTES
