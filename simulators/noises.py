"""Noises that people make on the phone and that are no words: coughs, a throat being cleared, a door, other voices.

Each is made, not recorded: noise and a glottal buzz under formants and an envelope, after what the sounds are like. A
cough is a burst of air (flat up to 3 kHz, over in 50 ms) and a voiced tail; a throat being cleared a creak of 60 to 90
pulses a second; a laugh five vowels a second. WebRTC's voice activity detector takes the cough, the throat and the
laugh for a voice, as it does with real ones.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.codec import mulaw
from simulators.audio import FRAME_BYTES, FRAME_S, RATE_HZ

_Wave = NDArray[np.float64]
_Dice = np.random.Generator

# -20 dBFS in the loud part: a cough into a handset is louder than the voice, which is at -26.
_LEVEL: Final = 3300.0
_VOWEL: Final = ((650.0, 90.0, 1.0), (1100.0, 110.0, 0.6), (2500.0, 160.0, 0.2))
_AIR: Final = ((1200.0, 900.0, 1.0), (2800.0, 800.0, 0.7))
_TRACT: Final = ((550.0, 350.0, 1.0), (1500.0, 500.0, 0.8), (2600.0, 700.0, 0.6))


def sound(kind: str, seconds: float, seed: int = 0) -> bytes:
    """Return a noise as 8 kHz mono µ-law, whole frames of it, the same for the same seed. Raises KeyError."""
    size = max(1, round(seconds / FRAME_S)) * FRAME_BYTES
    dice = np.random.default_rng([seed, size, *kind.encode()])
    wave = _KINDS[kind](size, dice)[:size]
    loud = np.abs(wave) > np.max(np.abs(wave)) / 10
    wave *= _LEVEL * _GAIN.get(kind, 1.0) / max(float(np.sqrt(np.mean(wave[loud] ** 2))), 1e-9)
    edge = min(40, size // 2)
    wave[:edge] *= np.linspace(0, 1, edge)
    wave[-edge:] *= np.linspace(1, 0, edge)
    return mulaw.encode(np.clip(np.round(wave), -32768, 32767).astype(np.int16))


def at_level(audio: bytes, level_db: float) -> bytes:
    """Return µ-law audio louder or softer."""
    if not level_db:
        return audio
    samples = mulaw.decode(audio).astype(np.float64) * 10 ** (level_db / 20)
    return mulaw.encode(np.clip(np.round(samples), -32768, 32767).astype(np.int16))


def _shaped(wave: _Wave, formants: tuple[tuple[float, float, float], ...]) -> _Wave:
    """Return a wave under formants: (Hz, half bandwidth, gain) each."""
    hz = np.fft.rfftfreq(len(wave), 1 / RATE_HZ)
    gain = sum((each / np.hypot(1.0, (hz - centre) / half) for centre, half, each in formants), np.zeros(len(hz)))
    return np.asarray(np.fft.irfft(np.fft.rfft(wave) * gain, len(wave)))


def _decay(size: int, attack_s: float, decay_s: float) -> _Wave:
    time_s = np.arange(size) / RATE_HZ
    return np.asarray(np.minimum(time_s / attack_s, 1.0) * np.exp(-np.maximum(time_s - attack_s, 0.0) / decay_s))


def _pulses(hz: _Wave) -> _Wave:
    """Return a buzz whose pitch is `hz`, sample by sample."""
    phase = np.cumsum(hz) / RATE_HZ
    return np.asarray(np.diff(np.floor(phase), prepend=0.0))


def _cough(size: int, dice: _Dice) -> _Wave:
    """One burst in each third of a second, each with its voiced tail."""
    wave = np.zeros(size)
    at = 0
    while at < size:
        left = size - at
        length = min(left, round(dice.uniform(0.26, 0.36) * RATE_HZ)) if left > 0.45 * RATE_HZ else left
        burst = _shaped(dice.standard_normal(length), _TRACT) * _decay(length, 0.004, 0.045)
        pitch = np.linspace(dice.uniform(140, 220), dice.uniform(90, 130), length)
        tail = _shaped(_pulses(pitch) + 0.15 * dice.standard_normal(length), _VOWEL)
        tail *= np.roll(_decay(length, 0.03, 0.09), min(length // 3, 400))
        wave[at : at + length] = burst / np.max(np.abs(burst)) + 0.5 * tail / np.max(np.abs(tail))
        at += length
    return wave


def _throat(size: int, dice: _Dice) -> _Wave:
    pitch = dice.uniform(60, 90) + 8 * np.sin(2 * np.pi * np.arange(size) / RATE_HZ * dice.uniform(2, 4))
    creak = _pulses(pitch) + 0.35 * dice.standard_normal(size) * (0.5 + 0.5 * _pulses(pitch))
    time = np.arange(size) / size
    return _shaped(creak, _TRACT) * np.asarray(np.sin(np.pi * time) ** 0.5)


def _sneeze(size: int, dice: _Dice) -> _Wave:
    breath = size // 3
    wave = _shaped(dice.standard_normal(size), ((2200.0, 900.0, 1.0), (3200.0, 700.0, 1.0), (600.0, 200.0, 0.4)))
    envelope = np.concatenate([0.08 * np.linspace(0, 1, breath), _decay(size - breath, 0.006, 0.12)])
    return np.asarray(wave * envelope)


def _laugh(size: int, dice: _Dice) -> _Wave:
    time_s = np.arange(size) / RATE_HZ
    rate_hz = dice.uniform(4.2, 5.5)
    envelope = np.maximum(0.0, np.sin(2 * np.pi * rate_hz * time_s)) * np.exp(-time_s)
    pitch = dice.uniform(180, 260) * np.exp(-0.3 * time_s)
    return np.asarray(_shaped(_pulses(pitch) + 0.2 * dice.standard_normal(size), _VOWEL) * envelope)


def _breath(size: int, dice: _Dice) -> _Wave:
    envelope = np.sin(np.pi * np.arange(size) / size)
    return np.asarray(_shaped(dice.standard_normal(size), _AIR) * envelope)


def _click(size: int, dice: _Dice) -> _Wave:
    return dice.standard_normal(size) * _decay(size, 0.0005, 0.006)


def _door(size: int, dice: _Dice) -> _Wave:
    thud = _shaped(dice.standard_normal(size), ((180.0, 80.0, 1.0), (420.0, 150.0, 0.5))) * _decay(size, 0.003, 0.08)
    rattle = np.roll(_shaped(dice.standard_normal(size), _TRACT) * _decay(size, 0.002, 0.02), size // 3)
    return thud + 0.3 * rattle


def _voices(size: int, dice: _Dice) -> _Wave:
    """Three people at once, behind a wall: the rhythm and the melody of speech, and no word of it."""
    time_s = np.arange(size) / RATE_HZ
    wave = np.zeros(size)
    for _ in range(3):
        syllables = 0.5 + 0.5 * np.sin(2 * np.pi * dice.uniform(3.5, 5.5) * time_s + dice.uniform(0, 6))
        phrases = np.clip(1.2 * np.sin(2 * np.pi * dice.uniform(0.25, 0.5) * time_s + dice.uniform(0, 6)) + 0.5, 0, 1)
        pitch = dice.uniform(95, 220) * (1 + 0.12 * np.sin(2 * np.pi * dice.uniform(0.4, 0.9) * time_s))
        wave += _shaped(_pulses(pitch), _VOWEL) * syllables**2 * phrases
    return wave


_KINDS: Final[Mapping[str, Callable[[int, _Dice], _Wave]]] = {
    "cough": _cough,
    "throat": _throat,
    "sneeze": _sneeze,
    "laugh": _laugh,
    "breath": _breath,
    "click": _click,
    "door": _door,
    "voices": _voices,
}
KINDS: Final = tuple(_KINDS)
_GAIN: Final[Mapping[str, float]] = {"breath": 0.12, "throat": 0.7, "laugh": 0.8, "voices": 0.3, "door": 0.6}
