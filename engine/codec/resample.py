"""Sample rates: a voice at any rate made 8 kHz, a caller at 8 kHz made what a recogniser hears."""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import soxr

from engine.codec import mulaw
from engine.codec.telephony import RATE_HZ
from engine.messages.errors import EngineBug

Samples: TypeAlias = npt.NDArray[np.int16] | npt.NDArray[np.float32]
"""Mono samples: int16, or float32 in which 1.0 is full scale."""

_FULL_SCALE: Final = 32768.0


class Resampler:
    """One stream of mono samples brought from one rate to another; the joints between chunks cannot be heard.

    Output is float32, full scale 1.0, the same to the bit however the input was cut. Its length after ``finish`` is
    that of the input times ``to_hz / from_hz``, rounded. It is native state: it lives in a session, never in a core.

    What comes out trails what went in, because soxr filters in blocks: measured with 20 ms chunks (soxr 1.1, "HQ"),
    by 60 ms in the mean and 115 at worst from 8 kHz to 16 or 22.05, by 45 and 80 from 22.05 or 24 kHz to 8. ``finish``
    hands out the rest, nothing is lost; what is there as a whole need not wait: ``to_ulaw`` and ``from_ulaw``.

    Raises EngineBug for a rate that is not a positive number, or for samples of another type or shape.
    """

    __slots__ = ("_stream", "from_hz", "to_hz")

    def __init__(self, from_hz: int, to_hz: int) -> None:
        if from_hz <= 0 or to_hz <= 0:
            raise EngineBug(f"resampling from {from_hz} to {to_hz} Hz; rates above 0 allowed")
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._stream = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")

    def push(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Return as much of the output as is certain by now: often nothing, then several chunks' worth."""
        return self._resampled(_as_float(samples), last=False)

    def finish(self) -> npt.NDArray[np.float32]:
        """Return the rest of the output. The resampler is then as new, for the next utterance."""
        rest = self._resampled(np.zeros(0, np.float32), last=True)
        if self._stream is not None:
            self._stream.clear()
        return rest

    def _resampled(self, samples: npt.NDArray[np.float32], *, last: bool) -> npt.NDArray[np.float32]:
        if self._stream is None:
            return samples
        out: npt.NDArray[np.float32] = self._stream.resample_chunk(samples, last=last)
        return out


def to_int16(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Return float samples as int16: rounded, clipped at full scale, and silent where they are not a number."""
    scaled = np.rint(np.nan_to_num(samples * _FULL_SCALE, nan=0.0))
    clipped: npt.NDArray[np.float32] = scaled.clip(-_FULL_SCALE, _FULL_SCALE - 1)
    return clipped.astype(np.int16)


def to_ulaw(samples: Samples, rate_hz: int) -> bytes:
    """Return a whole utterance as 8 kHz µ-law, clipped at full scale. Raises EngineBug as ``Resampler`` does."""
    resampler = Resampler(rate_hz, RATE_HZ)
    return mulaw.encode(to_int16(np.concatenate([resampler.push(samples), resampler.finish()])))


def from_ulaw(ulaw: bytes, rate_hz: int) -> npt.NDArray[np.float32]:
    """Return a whole utterance of 8 kHz µ-law as float32 samples at ``rate_hz``. Raises EngineBug for a bad rate."""
    resampler = Resampler(RATE_HZ, rate_hz)
    return np.concatenate([resampler.push(mulaw.decode(ulaw)), resampler.finish()])


def _as_float(samples: Samples) -> npt.NDArray[np.float32]:
    if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        raise EngineBug(f"samples of type {samples.dtype}, {samples.ndim} dimensions; one of int16 or float32 allowed")
    if samples.dtype == np.int16:
        return samples.astype(np.float32) / np.float32(_FULL_SCALE)
    return samples.astype(np.float32, copy=False)
