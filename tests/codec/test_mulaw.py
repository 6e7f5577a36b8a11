"""µ-law against a second reading of G.711, written from the table's segments in exact fractions."""

import warnings
from fractions import Fraction

import numpy as np
import pytest

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, FRAME_S, RATE_HZ, SILENCE, SILENT_FRAME
from engine.messages.errors import EngineBug

EVERY_SAMPLE = range(-32768, 32768)


def segments() -> list[tuple[int, int, int]]:
    """Table 2a, columns 1 and 2: (first decision value, intervals, their size), 14-bit units, from zero upwards.

    The first segment has one interval of 1 and fifteen of 2; the seven after it have sixteen each, ever doubled.
    """
    doubling = [(31, 4), (95, 8), (223, 16), (479, 32), (991, 64), (2015, 128), (4063, 256)]
    return [(0, 1, 1), (1, 15, 2), *((start, 16, size) for start, size in doubling)]


def decision_values() -> list[int]:
    """x1 … x129: the last, 8159, is virtual."""
    values = [start + step * size for start, count, size in segments() for step in range(count)]
    return [*values, 8159]


def outputs() -> list[Fraction]:
    """y1 … y128, column 6: 0 for the first interval, else the middle of each."""
    x = decision_values()
    return [Fraction(0)] + [Fraction(x[n] + x[n + 1], 2) for n in range(1, 128)]


def character(sample: int) -> int:
    """The character signal of a 16-bit sample: 255 - n, and 127 - n below zero."""
    x = decision_values()
    magnitude = Fraction(abs(sample), 4)
    n = max(n for n in range(128) if x[n] <= magnitude)
    return (127 if sample < 0 else 255) - n


def test_the_table_has_the_standards_128_intervals_and_ends() -> None:
    assert len(decision_values()) == 129
    assert decision_values()[-2:] == [7903, 8159]
    assert outputs()[-1] == 8031


def test_every_code_decodes_to_the_standards_output_value() -> None:
    y = outputs()
    expected = [(-1 if code < 128 else 1) * 4 * y[127 - code % 128] for code in range(256)]
    assert mulaw.decode(bytes(range(256))).tolist() == expected


def test_every_sample_encodes_to_the_standards_character_signal() -> None:
    x = np.array(decision_values()[:-1]) * 4
    magnitude = np.abs(np.arange(-32768, 32768))
    n = np.searchsorted(x, magnitude, side="right") - 1
    expected = np.where(np.arange(-32768, 32768) < 0, 127, 255) - n
    got = np.frombuffer(mulaw.encode(np.arange(-32768, 32768, dtype=np.int16)), np.uint8)
    assert np.array_equal(got, expected)


@pytest.mark.parametrize("sample", [-32768, -32636, -4, -3, -1, 0, 1, 3, 4, 11, 12, 123, 124, 1000, 32635, 32767])
def test_single_samples_agree_with_the_table_read_in_fractions(sample: int) -> None:
    assert mulaw.encode(np.array([sample], np.int16))[0] == character(sample)


def test_another_implementation_agrees_wherever_the_standard_is_defined() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        audioop = pytest.importorskip("audioop")
    codes = bytes(range(256))
    assert mulaw.decode(codes).tobytes() == audioop.ulaw2lin(codes, 2)
    fourteen_bits = np.arange(-32768, 32768, 4, dtype=np.int16)
    assert mulaw.encode(fourteen_bits) == audioop.lin2ulaw(fourteen_bits.tobytes(), 2)
    positive = np.arange(0, 32768, dtype=np.int16)
    assert mulaw.encode(positive) == audioop.lin2ulaw(positive.tobytes(), 2)
    negative = np.arange(-32768, 0, dtype=np.int16)
    ours, theirs = (
        np.frombuffer(codes, np.uint8).astype(int)
        for codes in (mulaw.encode(negative), audioop.lin2ulaw(negative.tobytes(), 2))
    )
    assert np.count_nonzero(ours != theirs) == 381
    assert set((ours - theirs).tolist()) == {0, 1}  # theirs one step louder


def test_a_code_survives_the_round_trip_except_negative_zero() -> None:
    codes = bytes(range(256))
    assert mulaw.encode(mulaw.decode(codes)) == codes.replace(b"\x7f", b"\xff")


def test_bytes_are_little_endian_samples() -> None:
    assert mulaw.encode(b"\x00\x80\x00\x00\xff\x7f") == bytes([0x00, 0xFF, 0x80])


def test_half_a_sample_and_other_types_are_refused() -> None:
    with pytest.raises(EngineBug, match="pcm of 3 bytes ends in half a sample"):
        mulaw.encode(b"\x00\x00\x00")
    with pytest.raises(EngineBug, match="samples of type float32 for µ-law; int16 allowed"):
        mulaw.encode(np.zeros(3, np.float32))


def test_no_samples_are_no_bytes() -> None:
    assert mulaw.encode(b"") == b""
    assert mulaw.decode(b"").tolist() == []


def test_a_frame_of_silence_is_twenty_milliseconds_of_zero() -> None:
    assert len(SILENT_FRAME) == FRAME_BYTES == RATE_HZ * FRAME_S
    assert SILENT_FRAME[0] == SILENCE
    assert not mulaw.decode(SILENT_FRAME).any()
