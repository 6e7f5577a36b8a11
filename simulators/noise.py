"""Line noise: what a bad line adds to the caller's voice, the same at every run."""

from typing import Self

import attrs
import numpy as np
from attrs.validators import in_
from numpy.typing import NDArray

from engine.codec import mulaw
from simulators import noises
from simulators.audio import FRAME_BYTES, RATE_HZ, sounds

# Speech that a noise is set against if the caller never speaks: -26 dBFS, a usual level on telephone lines (ITU-T P.56
# is how such levels are measured; here it is plainly the root of the mean square of the stretches with sound).
_USUAL_LEVEL = 32768 * 10 ** (-26 / 20)
_LOOP_S = 10


@attrs.frozen(kw_only=True)
class NoisePolicy:
    """How noisy the line is.

    snr_db: the caller's speech over the noise. 22 is a fair mobile line, 10 a street.
    seed: of the noise's random samples.
    kind: "white", or "voices": a radio, a television, a room full of people.
    """

    snr_db: float
    seed: int = 0
    kind: str = attrs.field(default="white", validator=in_(("white", "voices")))


@attrs.frozen
class LineNoise:
    """Noise of a fixed level; ten seconds of it, over and over."""

    _samples: NDArray[np.int32] = attrs.field(repr=lambda samples: f"<{len(samples)} samples>")

    @classmethod
    def against(cls, speech: list[bytes], policy: NoisePolicy) -> Self:
        """Noise that lies ``snr_db`` below what the caller is going to say."""
        loud = [mulaw.decode(audio[s.start : s.end]) for audio in speech for s in sounds(audio, gap_s=0.2)]
        level = np.sqrt(np.mean(np.square(np.concatenate(loud), dtype=np.float64))) if loud else _USUAL_LEVEL
        if policy.kind == "voices":
            noise = mulaw.decode(noises.sound("voices", _LOOP_S, policy.seed)).astype(np.float64)
            noise /= np.sqrt(np.mean(np.square(noise)))
        else:
            noise = np.random.default_rng(policy.seed).standard_normal(_LOOP_S * RATE_HZ)
        return cls(np.round(noise * level / 10 ** (policy.snr_db / 20)).astype(np.int32))

    def on(self, frame: bytes, number: int) -> bytes:
        """The frame as it comes out of the line; ``number`` counts frames since the line was opened."""
        start = number * FRAME_BYTES % len(self._samples)
        mixed = mulaw.decode(frame) + self._samples[start : start + FRAME_BYTES]
        return mulaw.encode(np.clip(mixed, -32768, 32767).astype(np.int16))
