"""G.711 µ-law: sixteen-bit samples to bytes and back, by two tables.

ITU-T G.711 (11/88), table 2: sixteen segments of sixteen steps, each segment's step twice the one before. The law is
defined on 14-bit samples; ours have 16 bits, so a sample is a quarter of one of the standard's units, and a magnitude
(not the two's complement number) is what is compared with the decision values. A magnitude that lies on a decision
value belongs to the upper step. Compressors that first drop two bits of the signed number, as ``audioop`` does, round
every negative sample away from zero: 381 of the 65 536 samples come out one step louder than the table has them.
"""

import numpy as np
import numpy.typing as npt

from engine.messages.errors import EngineBug

# In 16-bit units: the standard's 33 and its virtual decision value 8159, times 4.
_BIAS = 33 * 4
_CLIP = 8159 * 4 - 1


def _decoding_table() -> npt.NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)  # every bit of a character is inverted on the wire
    step = (code & 0x0F).astype(np.int32)
    segment = code >> 4 & 0x07
    magnitude = (((step << 3) + _BIAS) << segment) - _BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _encoding_table() -> npt.NDArray[np.uint8]:
    """Return the codes of all samples, at the index that a sample's bits make when read as unsigned."""
    sample = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)
    biased = np.minimum(np.abs(sample), _CLIP) + _BIAS  # 132 … 32767: the top bit names the segment
    segment = np.log2(biased).astype(np.int32) - 7  # exact: log2 of a float64 never rounds over a power of two here
    step = biased >> (segment + 3) & 0x0F
    sign = np.where(sample < 0, 0x80, 0)
    code: npt.NDArray[np.int32] = ~(sign | segment << 4 | step) & 0xFF
    return code.astype(np.uint8)


_SAMPLE_OF = _decoding_table()
_CODE_OF = _encoding_table()


def encode(pcm: bytes | npt.NDArray[np.int16]) -> bytes:
    """Return the µ-law of linear samples, a byte a sample.

    pcm: int16 samples, or their bytes in little-endian order. Louder than 32 635 is clipped.
    Raises EngineBug for another type of sample, or for bytes that end in the middle of one.
    """
    if isinstance(pcm, bytes):
        if len(pcm) % 2:
            raise EngineBug(f"pcm of {len(pcm)} bytes ends in half a sample; whole 16-bit samples allowed")
        pcm = np.frombuffer(pcm, dtype="<i2")
    if pcm.dtype != np.int16:
        raise EngineBug(f"samples of type {pcm.dtype} for µ-law; int16 allowed")
    return _CODE_OF[pcm.view(np.uint16)].tobytes()


def decode(ulaw: bytes) -> npt.NDArray[np.int16]:
    """Return the samples of µ-law audio, as many as there are bytes, between -32 124 and 32 124."""
    return _SAMPLE_OF[np.frombuffer(ulaw, dtype=np.uint8)]
