"""WAV files: any common one in, as the phone carries it; a call's two sides out."""

import struct
import wave
from pathlib import Path
from typing import Final

import attrs
import numpy as np
import soxr
from numpy.typing import NDArray

from engine.codec import mulaw
from engine.messages.errors import ConfigError
from simulators.audio import RATE_HZ

_PCM: Final = 1
_FLOAT: Final = 3
_ULAW: Final = 7
_EXTENSIBLE: Final = 0xFFFE
_RATES_HZ: Final = range(1_000, 400_000)


def read_ulaw(path: Path) -> bytes:
    """Return a WAV file's sound as 8 kHz mono µ-law: channels are averaged, another rate is resampled.

    8 to 32-bit PCM, 32 and 64-bit float and µ-law are read. Raises ConfigError, naming the file, for anything else.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return decode_ulaw(content)
    except NotWavError as error:
        raise ConfigError(f"{path}: {error}") from error


class NotWavError(Exception):
    """Bytes that are no WAV file, or one of a kind that is not read."""


def decode_ulaw(content: bytes) -> bytes:
    """Return the sound of a WAV file's bytes as 8 kHz mono µ-law; raises NotWavError."""
    layout, data = _chunks(content)
    if (layout.kind, layout.channels, layout.rate_hz) == (_ULAW, 1, RATE_HZ):
        return data  # the phone's own: every byte as it is
    samples = _samples(layout, data[: len(data) - len(data) % layout.frame_bytes])
    mono = samples.reshape(-1, layout.channels).mean(axis=1)
    if layout.rate_hz != RATE_HZ:
        mono = soxr.resample(mono, layout.rate_hz, RATE_HZ, quality="VHQ")
    return mulaw.encode(np.clip(np.round(mono * 32768), -32768, 32767).astype(np.int16))


def write_stereo(path: Path, left: bytes, right: bytes) -> None:
    """Write two sides of µ-law, of one length, as 16-bit stereo at 8 kHz."""
    both = np.stack([mulaw.decode(left), mulaw.decode(right)], axis=1).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(both.tobytes())


@attrs.frozen(kw_only=True)
class _Layout:
    """How a file's samples lie."""

    kind: int
    channels: int
    rate_hz: int
    sample_bytes: int

    @property
    def frame_bytes(self) -> int:
        return self.sample_bytes * self.channels


def _chunks(content: bytes) -> tuple[_Layout, bytes]:
    """The format and the data of a RIFF file. A data chunk that is cut short, or as long as 4 GB, is what there is."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise NotWavError(f"no WAV file: it begins with {content[:12]!r}, a WAV file with b'RIFF....WAVE'")
    layout: _Layout | None = None
    position = 12
    while position + 8 <= len(content):
        name, size = content[position : position + 4], struct.unpack_from("<I", content, position + 4)[0]
        body = content[position + 8 : position + 8 + size]
        if name == b"fmt ":
            layout = _layout(body)
        elif name == b"data":
            if layout is None:
                raise NotWavError("a broken WAV file: its data come before their format")
            return layout, body
        position += 8 + size + size % 2  # chunks lie on even bytes
    raise NotWavError("a broken WAV file: it has no data")


def _layout(body: bytes) -> _Layout:
    if len(body) < 16:  # noqa: PLR2004  (two shorts, two longs, two shorts)
        raise NotWavError(f"a broken WAV file: its format takes {len(body)} bytes, at least 16 are wanted")
    kind, channels, rate_hz, _bytes_per_s, _block, bits = struct.unpack_from("<HHIIHH", body)
    if kind == _EXTENSIBLE and len(body) >= 26:  # noqa: PLR2004  (the first two bytes of a GUID say what it truly is)
        (kind,) = struct.unpack_from("<H", body, 24)
    if (kind, bits) not in _DECODERS:
        raise NotWavError(
            f"a WAV file of format {kind} with {bits} bits; 8, 16, 24, 32-bit PCM, 32, 64-bit float, µ-law are read"
        )
    if channels == 0 or rate_hz not in _RATES_HZ:
        raise NotWavError(f"a broken WAV file: {channels} channels at {rate_hz} Hz")
    return _Layout(kind=kind, channels=channels, rate_hz=rate_hz, sample_bytes=bits // 8)


def _samples(layout: _Layout, data: bytes) -> NDArray[np.float64]:
    """Every sample, between -1 and 1."""
    samples = _DECODERS[layout.kind, layout.sample_bytes * 8](data)
    if not np.isfinite(samples).all():
        raise NotWavError("a broken WAV file: it has samples that are no numbers")
    return samples


def _pcm8(data: bytes) -> NDArray[np.float64]:
    return (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128  # the one width without a sign


def _pcm16(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, "<i2").astype(np.float64) / 2**15


def _pcm24(data: bytes) -> NDArray[np.float64]:
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0].astype(np.float64) / 2**31


def _pcm32(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, "<i4").astype(np.float64) / 2**31


def _float32(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, "<f4").astype(np.float64)


def _float64(data: bytes) -> NDArray[np.float64]:
    return np.frombuffer(data, "<f8").astype(np.float64)


def _ulaw(data: bytes) -> NDArray[np.float64]:
    return mulaw.decode(data).astype(np.float64) / 2**15


_DECODERS: Final = {
    (_PCM, 8): _pcm8,
    (_PCM, 16): _pcm16,
    (_PCM, 24): _pcm24,
    (_PCM, 32): _pcm32,
    (_FLOAT, 32): _float32,
    (_FLOAT, 64): _float64,
    (_ULAW, 8): _ulaw,
}
