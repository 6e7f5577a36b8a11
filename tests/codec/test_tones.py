"""The hold tone: how loud it is, and that it can be played over and over."""

import numpy as np

from engine.codec import mulaw
from engine.codec.tones import hold_tone


def test_a_round_is_whole_frames() -> None:
    assert len(hold_tone()) == 24_000
    assert len(hold_tone()) % 160 == 0


def test_it_can_be_played_over_and_over_without_a_click() -> None:
    samples = mulaw.decode(hold_tone() * 2).astype(int)
    around = samples[len(hold_tone()) - 160 : len(hold_tone()) + 160]
    assert not around.any()  # silence on both sides
    assert np.abs(samples[160:180]).max() < np.abs(samples).max() / 10  # it swells
    assert np.abs(np.diff(samples)).max() < 4 * np.abs(samples).max() * np.sin(np.pi * 831 * 2 / 8000)


def test_it_is_soft_and_mostly_silence() -> None:
    samples = mulaw.decode(hold_tone()).astype(float) / 32_768
    sounds = samples[np.abs(samples) > np.abs(samples).max() / 10]
    assert abs(20 * np.log10(np.sqrt(np.mean(sounds**2))) + 24) < 0.5
    assert np.abs(samples).max() < 10 ** (-12 / 20)
    assert (samples == 0).mean() > 0.6


def test_it_is_made_of_two_notes_that_no_telephone_network_uses() -> None:
    samples = mulaw.decode(hold_tone()).astype(float)
    spectrum = np.abs(np.fft.rfft(samples))
    peaks_hz = np.argsort(spectrum)[-40:] / 3.0
    assert {round(hz, -2) for hz in peaks_hz} == {700.0, 800.0}


def test_a_round_is_made_once() -> None:
    assert hold_tone() is hold_tone()
