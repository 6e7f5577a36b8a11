"""Resampling: chunking cannot be heard, lengths are right, speech comes out as it went in."""

import math
from itertools import cycle

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codec import mulaw
from engine.codec.resample import Resampler, Samples, from_ulaw, to_int16, to_ulaw
from engine.messages.errors import EngineBug

RATES_HZ = (8000, 16000, 22050, 24000)
PAIRS = [(a, b) for a in RATES_HZ for b in RATES_HZ]

Floats = npt.NDArray[np.float32]


def sine(hz: float, rate_hz: int, seconds: float, level: float = 0.5) -> Floats:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


def resampled(chunks: list[Samples], from_hz: int, to_hz: int) -> Floats:
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([*(resampler.push(chunk) for chunk in chunks), resampler.finish()])


def cut(samples: Samples, sizes: list[int]) -> list[Samples]:
    chunks, at = [], 0
    for size in cycle(sizes):
        chunks.append(samples[at : at + size])
        at += size
        if at >= len(samples):
            return chunks
    raise AssertionError


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=8), seed=st.integers(0, 2**32 - 1))
def test_any_chunking_gives_the_same_samples_as_one_chunk(
    from_hz: int, to_hz: int, sizes: list[int], seed: int
) -> None:
    noise = np.random.default_rng(seed).uniform(-1, 1, 3000).astype(np.float32)
    assert np.array_equal(resampled(cut(noise, sizes), from_hz, to_hz), resampled([noise], from_hz, to_hz))


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("sizes", [[1], [7, 13, 1], [160], [333, 0, 17], [441]])
def test_a_sine_through_odd_chunks_stays_that_sine(from_hz: int, to_hz: int, sizes: list[int]) -> None:
    out = resampled(cut(sine(1000, from_hz, 0.3), sizes), from_hz, to_hz)
    expected = sine(1000, to_hz, 0.3)
    inside = slice(to_hz // 50, -to_hz // 50)  # a sine that starts out of nothing is no sine there
    assert np.abs(out - expected)[inside].max() < 1e-4
    steepest = np.abs(np.diff(expected)).max()
    assert np.abs(np.diff(out))[inside].max() < steepest * 1.001


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("count", [0, 1, 2, 159, 160, 4001, 22050])
def test_the_length_is_right_to_a_sample(from_hz: int, to_hz: int, count: int) -> None:
    assert abs(len(resampled([np.zeros(count, np.float32)], from_hz, to_hz)) - count * to_hz / from_hz) <= 1


@pytest.mark.parametrize("from_hz", [16000, 22050, 24000])
def test_what_a_phone_cannot_carry_does_not_fold_into_what_it_can(from_hz: int) -> None:
    assert np.abs(resampled([sine(5000, from_hz, 0.5)], from_hz, 8000)[400:-400]).max() < 1e-4
    assert np.abs(resampled([sine(3400, from_hz, 0.5)], from_hz, 8000)[400:-400]).max() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(
    ("from_hz", "to_hz", "most_s"), [(8000, 16000, 0.12), (24000, 8000, 0.085), (22050, 8000, 0.085)]
)
def test_the_output_trails_the_input_by_no_more_than_was_measured(from_hz: int, to_hz: int, most_s: float) -> None:
    resampler = Resampler(from_hz, to_hz)
    given_s, got_s = 0.0, 0.0
    for chunk in cut(sine(440, from_hz, 1.0), [from_hz // 50]):
        given_s += len(chunk) / from_hz
        got_s += len(resampler.push(chunk)) / to_hz
        assert given_s - got_s <= most_s


def test_a_finished_resampler_is_as_new() -> None:
    resampler = Resampler(24000, 8000)
    tone = sine(440, 24000, 0.1)
    first = np.concatenate([resampler.push(tone), resampler.finish()])
    assert np.array_equal(np.concatenate([resampler.push(tone), resampler.finish()]), first)
    assert len(resampler.finish()) == 0


def test_int16_and_float_samples_are_the_same_sound() -> None:
    tone = to_int16(sine(440, 24000, 0.1))
    as_float = tone.astype(np.float32) / np.float32(32768)
    assert np.array_equal(resampled([tone], 24000, 8000), resampled([as_float], 24000, 8000))


def test_every_other_sample_of_an_array_may_be_pushed() -> None:
    tone = sine(440, 48000, 0.1)
    assert np.array_equal(resampled([tone[::2]], 24000, 8000), resampled([tone[::2].copy()], 24000, 8000))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, 0),
        (0.5, 16384),
        (1.0, 32767),
        (-1.0, -32768),
        (2.5, 32767),
        (-9.0, -32768),
        (math.inf, 32767),
        (-math.inf, -32768),
        (math.nan, 0),
    ],
)
def test_floats_become_int16_clipped_and_never_garbage(value: float, expected: int) -> None:
    assert to_int16(np.array([value], np.float32)).tolist() == [expected]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_an_utterance_goes_to_ulaw_and_back(rate_hz: int) -> None:
    tone = sine(700, rate_hz, 0.5)
    ulaw = to_ulaw(tone, rate_hz)
    assert len(ulaw) == 4000
    back = from_ulaw(ulaw, rate_hz)
    assert len(back) == len(tone)
    assert np.abs(back - tone)[rate_hz // 50 : -rate_hz // 50].max() < 0.02  # µ-law's own step at half of full scale


def test_ulaw_at_its_own_rate_is_only_decoded() -> None:
    codes = bytes(range(256))
    assert np.array_equal(to_int16(from_ulaw(codes, 8000)), mulaw.decode(codes))
    assert to_ulaw(mulaw.decode(codes), 8000) == codes.replace(b"\x7f", b"\xff")


def test_no_audio_is_no_audio() -> None:
    assert to_ulaw(np.zeros(0, np.float32), 24000) == b""
    assert len(from_ulaw(b"", 16000)) == 0


def test_what_is_not_mono_audio_is_refused() -> None:
    with pytest.raises(EngineBug, match="samples of type float32, 2 dimensions"):
        Resampler(24000, 8000).push(np.zeros((2, 2), np.float32))
    with pytest.raises(EngineBug, match="samples of type float64"):
        to_ulaw(np.zeros(2), 24000)  # type: ignore[arg-type]
    with pytest.raises(EngineBug, match="resampling from 0 to 8000 Hz; rates above 0 allowed"):
        Resampler(0, 8000)
