"""FrameVad: WebRTC's detector on µ-law, behind a gate of level. CallerVad: only who is as loud as the caller."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import webrtcvad

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE, SILENT_FRAME
from engine.providers.local.vad import FLOOR_DB, CallerGate, CallerPolicy, CallerVad, FrameVad, energy
from simulators import noises
from simulators.noises import at_level


def frames_of(audio: bytes) -> list[bytes]:
    return [audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES)]


def level_db(frame: bytes) -> float:
    power = np.mean(np.square(mulaw.decode(frame).astype(np.float64))) / 32768.0**2
    return float(10 * np.log10(power)) if power else -200.0


@pytest.mark.parametrize("aggressiveness", range(4))
@pytest.mark.parametrize("gain_db", [0.0, -30.0])
def test_what_the_detector_calls_speech_is_voiced_where_it_is_loud_enough(aggressiveness: int, gain_db: float) -> None:
    sounds = (at_level(noises.sound(kind, 0.6), gain_db) + SILENT_FRAME * 20 for kind in noises.KINDS)
    frames = frames_of(b"".join(sounds) + bytes(range(256)) * 5)
    vad, detector = FrameVad(aggressiveness=aggressiveness, floor_db=-45.0), webrtcvad.Vad(aggressiveness)
    spoken = [detector.is_speech(mulaw.decode(frame).tobytes(), RATE_HZ) for frame in frames]
    loud = [level_db(frame) >= -45.0 for frame in frames]
    assert {(True, True), (True, False)} <= set(zip(spoken, loud, strict=True))
    assert [vad.voiced(frame) for frame in frames] == [one and other for one, other in zip(spoken, loud, strict=True)]


def test_a_frame_that_is_cut_short_is_padded_with_silence() -> None:
    whole = noises.sound("laugh", 0.4)
    voiced = {length: FrameVad() for length in (FRAME_BYTES, 80)}
    for frame in frames_of(whole):
        assert voiced[80].voiced(frame[:80]) == voiced[FRAME_BYTES].voiced(frame[:80] + bytes([SILENCE]) * 80)


def test_silence_is_not_voiced_and_an_unknown_aggressiveness_is_refused() -> None:
    vad = FrameVad()
    assert not any(vad.voiced(SILENT_FRAME) for _ in range(50))
    assert not vad.voiced(b"\xff" * 7)
    with pytest.raises(ValueError, match="aggressiveness"):
        FrameVad(aggressiveness=4)


# ── The caller's own voice ────────────────────────────────────────────────────────────────────────────────────────────
#
# Levels of frames are in dB of full scale; None is a frame without speech. `talk` goes up and down, as no tone does.


def talk(level: float, count: int) -> list[float | None]:
    return [level - at % 2 for at in range(count)]


def verdicts(gate: CallerGate, levels: Iterable[float | None]) -> str:
    return "".join(".#"[gate.passes(0.0 if level is None else energy(level))] for level in levels)


def gate_after(levels: Iterable[float | None] = ()) -> CallerGate:
    gate = CallerGate(energy(FLOOR_DB))
    verdicts(gate, levels)
    verdicts(gate, [None] * CallerPolicy().held_frames)  # what was held open is closed
    return gate


CALLER = talk(-20.0, 100)


@pytest.mark.parametrize("level", [-59.9, -40.0, 0.0])
def test_before_anybody_was_heard_any_speech_is_the_callers(level: float) -> None:
    assert verdicts(gate_after(), [level]) == "#"
    assert verdicts(gate_after([None] * 1000), [level]) == "#"


@pytest.mark.parametrize(
    ("before", "level", "verdict"),
    [
        (CALLER, -37.9, "#"),
        (CALLER, -38.2, "."),
        (talk(-35.0, 100), -52.9, "#"),
        (talk(-35.0, 100), -53.2, "."),
        (talk(-12.0, 100), -29.9, "#"),
        (talk(-12.0, 100), -30.2, "."),
        (talk(-20.0, 15), -44.5, "#"),  # a decibel a frame: not known yet
        (talk(-20.0, 23), -38.2, "."),  # known after half a second
        ([*talk(-59.0, 3000), *talk(-20.0, 23)], -38.2, "."),  # however long somebody whispered before
        ([*CALLER, *[None] * 6000], -38.2, "."),  # two minutes of silence tell nothing of how loud a voice is
    ],
)
def test_who_is_18_db_softer_than_the_caller_is_somebody_else(
    before: list[float | None], level: float, verdict: str
) -> None:
    assert verdicts(gate_after(before), [level]) == verdict


@pytest.mark.parametrize(
    ("louder", "level", "verdict"),
    [
        ([-3.0, -5.0], -46.0, "#"),  # a click: 2 dB
        ([-3.0, -5.0], -45.9, "#"),
        ([-3.0, -5.0] * 8, -31.9, "#"),  # a cough: 16 dB
        ([-3.0, -5.0] * 8, -32.2, "."),
        ([*[-8.0] * 5, *[None] * 5] * 10, -46.9, "#"),  # ten keys: 1 dB, of the first frame of the first
        ([*[-8.0] * 5, *[None] * 5] * 10, -47.2, "."),
        ([*[-8.0, -8.2] * 3, *[None] * 5] * 10, -46.9, "#"),  # two tones beat
        ([*[-8.2, -8.0] * 3, *[None] * 5] * 10, -46.9, "#"),
        ([-8.0, -8.3] * 30, -26.2, "."),  # a voice is less even
        ([-8.0, -7.7] * 30, -25.9, "."),
    ],
)
def test_what_is_louder_than_the_caller_raises_the_level_frame_by_frame_and_a_tone_does_not(
    louder: list[float | None], level: float, verdict: str
) -> None:
    assert verdicts(gate_after([*talk(-30.0, 100), *louder]), [level]) == verdict


@pytest.mark.parametrize(
    ("softer", "level", "verdict"),
    [
        (talk(-30.0, 100), -43.9, "#"),  # lowered their voice: 6 dB in 100 frames
        (talk(-30.0, 100), -44.3, "."),
        (talk(-45.0, 100), -38.9, "#"),  # somebody else, or they moved away: 1 dB
        (talk(-45.0, 100), -39.3, "."),
    ],
)
def test_a_softer_voice_lowers_the_level_and_sooner_if_it_is_the_callers(
    softer: list[float | None], level: float, verdict: str
) -> None:
    assert verdicts(gate_after([*CALLER, *softer]), [level]) == verdict


def test_a_caller_who_is_far_from_the_phone_is_heard_in_the_end() -> None:
    heard = verdicts(gate_after(CALLER), [-42.0] * 500)
    assert heard.index("#") == pytest.approx(400, abs=10)
    assert set(heard[heard.index("#") :]) == {"#"}


def test_the_soft_sounds_around_the_callers_loud_ones_are_theirs() -> None:
    gate = gate_after(CALLER)
    assert verdicts(gate, [-50.0, -50.0, -20.0, *[-50.0] * 20]) == "..#" + "#" * 14 + "." * 6
    assert verdicts(gate, [-30.0, *[-50.0] * 10, -30.0, None, *[-50.0] * 20]) == "#" * 12 + "." + "#" * 13 + "." * 7


@pytest.mark.parametrize(
    ("name", "value"), [("near_db", -1.0), ("held_frames", 0), ("rise_db", -0.1), ("fall_db", -0.1), ("tone_db", -0.1)]
)
def test_a_policy_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        CallerPolicy(**{name: value})


def test_a_room_that_talks_below_the_caller_is_not_the_caller() -> None:
    caller = [frame for seed in range(3) for frame in frames_of(at_level(noises.sound("laugh", 1.0, seed), -6.0))]
    room = frames_of(at_level(noises.sound("voices", 5.0), -19.0))
    plain, vad = FrameVad(), CallerVad()
    for frames, least, most in ((caller, 0.9, 1.0), (room, 0.0, 0.3), (caller, 0.9, 1.0)):
        voiced, own = zip(*map(vad.heard, frames), strict=True)
        # Who is softer is heard all the same.
        assert list(voiced) == list(map(plain.voiced, frames))
        assert sum(voiced) > 0.3 * len(frames)
        assert least * sum(voiced) <= sum(own) <= most * sum(voiced)
