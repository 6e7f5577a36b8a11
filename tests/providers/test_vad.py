"""FrameVad: WebRTC's detector on µ-law, behind a gate of level."""

import numpy as np
import pytest
import webrtcvad

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE, SILENT_FRAME
from engine.providers.local.vad import FrameVad
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
