"""WAV files of every common kind, as the phone carries them."""

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.codec import mulaw
from engine.messages.errors import ConfigError
from simulators.wav import read_ulaw, write_stereo

_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def _file(
    kind: int, bits: int, data: bytes, *, rate_hz: int = 8000, channels: int = 1, extensible: bool = False
) -> bytes:
    block = channels * bits // 8
    layout = struct.pack("<HHIIHH", kind, channels, rate_hz, rate_hz * block, block, bits)
    if extensible:
        layout = struct.pack("<H", 0xFFFE) + layout[2:] + struct.pack("<HHIH", 22, bits, 4, kind) + _GUID_TAIL
    chunks = [(b"fmt ", layout), (b"LIST", b"odd"), (b"data", data)]
    body = b"WAVE" + b"".join(n + struct.pack("<I", len(c)) + c + b"\0" * (len(c) % 2) for n, c in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _tone(rate_hz: int, hz: float = 440.0, seconds: float = 0.5) -> NDArray[np.float64]:
    return np.asarray(0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz))


TONE = _tone(8000)
EXPECTED = mulaw.encode(np.round(TONE * 32768).astype(np.int16))


def _pcm24(samples: NDArray[np.float64]) -> bytes:
    return (samples * 2**31).astype("<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (_file(1, 16, np.round(TONE * 2**15).astype("<i2").tobytes()), 0),
        (_file(1, 16, np.round(TONE * 2**15).astype("<i2").tobytes(), extensible=True), 0),
        (_file(1, 24, _pcm24(TONE)), 1),
        (_file(1, 32, (TONE * 2**31).astype("<i4").tobytes()), 1),
        (_file(3, 32, TONE.astype("<f4").tobytes()), 1),
        (_file(3, 64, TONE.tobytes()), 0),
        (_file(3, 32, TONE.astype("<f4").tobytes(), extensible=True), 1),
        (_file(7, 8, EXPECTED), 0),
        (_file(1, 8, np.round(TONE * 128 + 128).astype(np.uint8).tobytes()), 16),
        (_file(1, 16, np.repeat(np.round(TONE * 2**15).astype("<i2"), 2).tobytes(), channels=2), 0),
        (_file(7, 8, np.repeat(np.frombuffer(EXPECTED, np.uint8), 2).tobytes(), channels=2), 0),
    ],
)
def test_every_width_and_channel_count_becomes_the_same_sound(tmp_path: Path, content: bytes, steps: int) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    sound = read_ulaw(tmp_path / "a.wav")
    assert len(sound) == len(EXPECTED)
    far = np.abs(_steps(sound) - _steps(EXPECTED)).max()
    assert far <= steps  # in steps of µ-law: eight bits have fewer than it has


def _steps(ulaw: bytes) -> NDArray[np.int64]:
    codes = np.frombuffer(ulaw, np.uint8).astype(np.int64)
    return np.where(codes >= 0x80, 0xFF - codes, codes - 0x7F)


@pytest.mark.parametrize("rate_hz", [11025, 16000, 22050, 44100, 48000])
def test_another_rate_is_resampled(tmp_path: Path, rate_hz: int) -> None:
    (tmp_path / "a.wav").write_bytes(_file(3, 64, _tone(rate_hz).tobytes(), rate_hz=rate_hz))
    sound = mulaw.decode(read_ulaw(tmp_path / "a.wav")).astype(float)
    assert abs(len(sound) - 4000) <= 1
    spectrum = np.abs(np.fft.rfft(sound[:4000] * np.hanning(len(sound[:4000]))))
    assert int(spectrum.argmax()) == pytest.approx(220, abs=1)  # 440 Hz in half a second


def test_two_channels_are_averaged(tmp_path: Path) -> None:
    both = np.stack([TONE, -TONE], axis=1)
    (tmp_path / "a.wav").write_bytes(_file(3, 64, both.tobytes(), channels=2))
    assert set(read_ulaw(tmp_path / "a.wav")) <= {0xFF, 0x7F}


def test_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(_file(3, 64, np.array([7.0, -7.0]).tobytes()))
    assert mulaw.decode(read_ulaw(tmp_path / "a.wav")).tolist() == [32124, -32124]


def test_data_that_are_cut_short_are_what_there_is(tmp_path: Path) -> None:
    whole = _file(1, 16, np.round(TONE * 2**15).astype("<i2").tobytes())
    (tmp_path / "a.wav").write_bytes(whole[:-1001])
    assert read_ulaw(tmp_path / "a.wav") == EXPECTED[: len(EXPECTED) - 501]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no WAV file: it begins with b''"),
        (b"ID3\x04 this is a song", "no WAV file: it begins with b'ID3"),
        (b"RIFF\0\0\0\0AVI ", "no WAV file"),
        (b"RIFF\0\0\0\0WAVE", "a broken WAV file: it has no data"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "a broken WAV file: its data come before their format"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\0\0", "its format takes 2 bytes"),
        (_file(2, 4, b""), "a WAV file of format 2 with 4 bits"),
        (_file(1, 12, b""), "a WAV file of format 1 with 12 bits"),
        (_file(1, 16, b"", channels=0), "a broken WAV file: 0 channels"),
        (_file(1, 16, b"", rate_hz=0), "a broken WAV file: 1 channels at 0 Hz"),
        (_file(3, 32, struct.pack("<f", float("nan"))), "samples that are no numbers"),
    ],
)
def test_what_is_no_wav_is_named_with_what_it_is(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_ulaw(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)


def test_a_file_without_sound_is_silence(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(_file(1, 16, b"", rate_hz=44100))
    assert read_ulaw(tmp_path / "a.wav") == b""


def test_two_sides_are_written_left_and_right(tmp_path: Path) -> None:
    write_stereo(tmp_path / "a.wav", b"\x10\xff", b"\xff\x90")
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getparams()[:4] == (2, 2, 8000, 2)
        samples = np.frombuffer(file.readframes(2), "<i2").reshape(-1, 2)
    assert samples[:, 0].tolist() == mulaw.decode(b"\x10\xff").tolist()
    assert samples[:, 1].tolist() == mulaw.decode(b"\xff\x90").tolist()
