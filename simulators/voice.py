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
from numpy.typing import NDArray

from engine.codec import mulaw
from simulators.audio import RATE_HZ

_DEPTH: Final = 0.8
# Between two sentences. People who speak to a machine pause no longer, because it would answer.
_PAUSE_S: Final = 0.25
# -60 dBFS: the model's silence is far below, the breath before a word is above.
_HEARD: Final = 0.001
_MARGIN: Final = 160  # 20 ms


@attrs.define
class LocalVoice:
    """The second voice, in this process. Loading takes about a second, speaking a fiftieth of the words' own time.

    depth: how much it is slowed down: see above. seed: the same words, said a little otherwise.
    """

    depth: float = _DEPTH
    seed: int = 0
    _hibari: Hibari | None = None
    _alone: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1))

    async def speak(self, text: str) -> bytes:
        """Return ``text`` as 8 kHz mono µ-law, the same at every call; cancellation waits for the words to be done."""
        return await trio.to_thread.run_sync(self._render, text, limiter=self._alone)

    def _render(self, text: str) -> bytes:
        self._hibari = self._hibari or Hibari()
        pause = np.zeros(round(_PAUSE_S * RATE_HZ), np.float32)
        words: list[NDArray[np.float32]] = []
        for sentence in self._hibari.stream(text, speed=1 / self.depth, seed=self.seed):
            lower = soxr.resample(sentence, self._hibari.sample_rate * self.depth, RATE_HZ, quality="VHQ")
            words += [_trimmed(lower), pause]
        samples = np.concatenate([pause[:0], *words[:-1]])
        return mulaw.encode(np.clip(np.round(samples * 32767), -32768, 32767).astype(np.int16))


def _trimmed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is heard of a sentence: the model puts 0.3 s of silence before it and 0.5 s after it."""
    heard = np.flatnonzero(np.abs(samples) > _HEARD)
    if not len(heard):
        return samples[:0]
    return samples[max(0, heard[0] - _MARGIN) : heard[-1] + _MARGIN]
