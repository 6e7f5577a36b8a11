"""The caller's voice: hibari's, spoken by another throat.

hibari ships one voice. The agent has it, so the caller must have another, or the agent would be talking with itself.
The model is asked to speak faster, by as much as its sound is then slowed down: the pace stays, the pitch falls from
201 to 161 Hz, and the formants with it, which is what a longer throat does. Slowed to 0.9, 0.85, 0.8 and 0.75, twelve
sentences of a caller at a noise of 22 dB came back from moonshine tiny with 7, 7, 6 and 10 % of the words wrong
(hibari's own voice: 6 %), so 0.8 is the deepest that is as clear. Shifting pitch and formants apart was less clear.
"""

from typing import Final

import attrs
import numpy as np
import soxr
import trio
from hibari import Hibari

from engine.codec import mulaw
from simulators.audio import RATE_HZ

_DEPTH: Final = 0.8


@attrs.define
class LocalVoice:
    """The second voice, in this process. Loading takes about a second, speaking a fiftieth of the words' own time."""

    _hibari: Hibari | None = None
    _alone: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    async def speak(self, text: str) -> bytes:
        """Return ``text`` as 8 kHz mono µ-law, the same at every call; cancellation waits for the words to be done."""
        return await trio.to_thread.run_sync(self._render, text, limiter=self._alone)

    def _render(self, text: str) -> bytes:
        self._hibari = self._hibari or Hibari()
        samples = self._hibari(text, speed=1 / _DEPTH, seed=0)
        lower = soxr.resample(samples, self._hibari.sample_rate * _DEPTH, RATE_HZ, quality="VHQ")
        return mulaw.encode(np.clip(np.round(lower * 32767), -32768, 32767).astype(np.int16))
