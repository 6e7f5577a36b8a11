"""Noises that are no words, and a line with other people on it."""

import numpy as np
import pytest
import trio

from engine.codec import mulaw
from simulators import noises
from simulators.audio import FRAME_BYTES
from simulators.caller import Backchannel, CallerScript, Noise, Say, prepare
from simulators.noise import LineNoise, NoisePolicy
from simulators.noises import at_level
from simulators.tone import ToneVoice, heard


def level(audio: bytes) -> float:
    return float(np.sqrt(np.mean(np.square(mulaw.decode(audio).astype(np.float64)))))


@pytest.mark.parametrize("kind", noises.KINDS)
@pytest.mark.parametrize("seconds", [0.04, 0.3, 1.7])
def test_a_noise_is_as_long_as_asked_heard_and_the_same_every_time(kind: str, seconds: float) -> None:
    audio = noises.sound(kind, seconds, seed=3)
    assert len(audio) == round(seconds / 0.02) * FRAME_BYTES
    assert level(audio) > 50
    assert np.max(np.abs(mulaw.decode(audio).astype(np.int32))) < 25_000
    assert audio == noises.sound(kind, seconds, seed=3)
    assert audio != noises.sound(kind, seconds, seed=4)


def test_a_level_is_in_decibels() -> None:
    audio = noises.sound("voices", 2.0)
    assert level(at_level(audio, -12.0)) / level(audio) == pytest.approx(0.25, rel=0.03)
    assert at_level(audio, 0.0) is audio


async def test_groups_are_said_with_pauses_between_them() -> None:
    script = CallerScript(steps=(Say(text="five five / zero one", pause_s=0.5), Backchannel(text="yes", level_db=0.0)))
    caller = await prepare(script, ToneVoice())
    groups, yes = (caller.utterances[step] for step in script.steps if isinstance(step, Say | Backchannel))
    words = heard(groups.audio)
    assert [word.text for word in words] == ["five", "five", "zero", "one"]
    assert words[2].start_s - words[1].end_s == pytest.approx(0.5 + 0.04)
    assert groups.text == "five five zero one"
    assert [word.text for word in heard(yes.audio)] == ["yes"]


async def test_a_second_person_has_another_voice() -> None:
    class Other:
        async def speak(self, text: str) -> bytes:
            await trio.lowlevel.checkpoint()
            return text.encode() * 200

    one, two = Say(text="hello"), Say(text="hello", by="other")
    caller = await prepare(CallerScript(steps=(one, two)), ToneVoice(), other=Other())
    assert caller.utterances[two].audio == b"hello" * 200
    assert caller.utterances[one].audio != caller.utterances[two].audio


async def test_a_cough_is_a_sound_like_any_other() -> None:
    cough = Noise(seconds=0.3)
    caller = await prepare(CallerScript(steps=(cough,)), ToneVoice())
    assert caller.utterances[cough].text == "[cough]"
    assert caller.utterances[cough].audio == noises.sound("cough", 0.3)


def test_a_radio_is_as_loud_as_its_policy_says() -> None:
    voice = at_level(noises.sound("laugh", 1.0), 3.0)
    radio = LineNoise.against([voice], NoisePolicy(snr_db=12.0, kind="voices"))
    white = LineNoise.against([voice], NoisePolicy(snr_db=12.0))
    silence = b"\xff" * FRAME_BYTES
    one, other = (level(b"".join(each.on(silence, at) for at in range(500))) for each in (radio, white))
    assert one == pytest.approx(other, rel=0.05)
