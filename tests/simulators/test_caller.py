"""Callers: step by step, in real audio."""

from pathlib import Path

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from engine.codec import mulaw
from engine.messages.errors import ConfigError
from simulators.caller import (
    AwaitHangUp,
    CallerScript,
    HangUp,
    Interrupt,
    Listen,
    Play,
    Say,
    Wait,
    conversation,
    prepare,
)
from simulators.events import CallerGaveUp, CallerSpeaks
from simulators.noise import NoisePolicy
from tests.simulators.far_end import TONE, FarEnd, Stream, ToneVoice


def _speak_at(*moments: tuple[float, bytes]) -> FarEnd:
    """A server that plays so much at such moments after ``start``."""

    async def talk(stream: Stream) -> None:
        await stream.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.finish)
            began_at = trio.current_time()
            for at_s, audio in moments:
                await trio.sleep_until(began_at + at_s)
                await stream.play(audio)

    return FarEnd(talk)


async def test_a_caller_listens_until_the_agent_has_been_silent_long_enough(autojump_clock: MockClock) -> None:
    far_end = _speak_at((0.1, TONE), (1.0, TONE))  # half a second each, four tenths apart
    record = await far_end.call(Listen(silence_s=0.8), Say(text="x"), HangUp())
    (said,) = record.all_of(CallerSpeaks)
    assert said.at_s == pytest.approx(1.5 + 0.8, abs=0.021)


async def test_a_caller_who_heard_nothing_new_goes_on_listening(autojump_clock: MockClock) -> None:
    far_end = _speak_at((0.1, TONE), (3.0, TONE))
    record = await far_end.call(Listen(silence_s=0.8), Wait(seconds=0.5), Listen(silence_s=0.8), Say(text="x"))
    (said,) = record.all_of(CallerSpeaks)
    assert said.at_s == pytest.approx(3.5 + 0.8, abs=0.021)


async def test_a_caller_loses_patience_with_a_silent_agent(autojump_clock: MockClock) -> None:
    record = await _speak_at().call(Listen(timeout_s=5.0), Interrupt(after_s=1.0, timeout_s=5.0), Say(text="x"))
    assert [event.at_s for event in record.all_of(CallerGaveUp)] == pytest.approx([5.0, 10.0], abs=0.001)
    assert [event.at_s for event in record.all_of(CallerSpeaks)] == pytest.approx([10.0], abs=0.021)


async def test_an_interruption_comes_so_long_after_the_agent_begins(autojump_clock: MockClock) -> None:
    record = await _speak_at((0.5, TONE * 4)).call(Interrupt(after_s=1.0), Say(text="x"), HangUp())
    (said,) = record.all_of(CallerSpeaks)
    assert said.at_s == pytest.approx(0.5 + 1.0, abs=0.021)


async def test_an_agent_that_stopped_too_early_is_not_interrupted(autojump_clock: MockClock) -> None:
    far_end = _speak_at((0.5, TONE + TONE[:2000]), (3.0, TONE * 4))  # the first lasts three quarters of a second
    record = await far_end.call(Interrupt(after_s=1.0), Say(text="x"), HangUp())
    (said,) = record.all_of(CallerSpeaks)
    assert said.at_s == pytest.approx(3.0 + 1.0, abs=0.021)


async def test_a_caller_waits_for_the_other_side_to_hang_up(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await trio.sleep(2.0)

    record = await FarEnd(talk).call(AwaitHangUp(timeout_s=10.0), Say(text="never said"))
    assert record.hung_up.by == "agent"
    assert record.duration_s == pytest.approx(2.0, abs=0.001)
    assert record.all_of(CallerSpeaks) == ()


async def test_a_caller_who_waits_in_vain_goes_on(autojump_clock: MockClock) -> None:
    record = await _speak_at().call(AwaitHangUp(timeout_s=10.0))
    assert [event.waited_for for event in record.all_of(CallerGaveUp)] == ["the agent to hang up"]
    assert record.hung_up.by == "caller"


async def test_the_words_stand_in_the_record_where_they_sound(autojump_clock: MockClock) -> None:
    record = await _speak_at().call(Wait(seconds=0.1), Say(text="four"), HangUp())
    (said,) = record.all_of(CallerSpeaks)
    assert said.text == "four"
    start, end = round(said.at_s * 8000), round(said.until_s * 8000)
    assert record.caller_audio[start:end] == b"\x90\x10" * 800
    assert set(record.caller_audio[:start]) == {0xFF}


async def test_noise_lies_on_the_whole_line_at_its_distance_and_is_the_same_every_time(
    autojump_clock: MockClock,
) -> None:
    script = CallerScript(steps=(Wait(seconds=1.01), Say(text="x" * 20)), noise=NoisePolicy(snr_db=20.0, seed=7))
    one = (await _speak_at().call(script=script)).caller_audio
    two = (await _speak_at().call(script=script)).caller_audio
    assert one == two
    quiet, loud = _level(one[:7000]), _level(one[8320:15000])
    assert loud / quiet == pytest.approx(10.0, rel=0.05)  # 20 dB
    other = CallerScript(steps=script.steps, noise=NoisePolicy(snr_db=20.0, seed=8))
    assert (await _speak_at().call(script=other)).caller_audio != one


async def test_a_silent_caller_has_noise_too(autojump_clock: MockClock) -> None:
    script = CallerScript(steps=(Wait(seconds=1.0),), noise=NoisePolicy(snr_db=20.0))
    assert 100 < _level((await _speak_at().call(script=script)).caller_audio) < 250  # 20 dB under -26 dBFS: 164


def _level(ulaw: bytes) -> float:
    samples = mulaw.decode(ulaw).astype(np.float64)
    return float(np.sqrt(np.mean(samples**2)))


async def test_a_file_that_cannot_be_played_is_named_before_the_call(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.wav: cannot be read: No such file"):
        await prepare(CallerScript(steps=(Play(file=tmp_path / "missing.wav"),)), ToneVoice())


def test_a_conversation_hears_the_agent_out_before_each_turn() -> None:
    one, two = Say(text="one"), Say(text="two")
    assert conversation((one, two)) == (Listen(), one, Listen(), two, Listen(), AwaitHangUp(timeout_s=3.0))


def test_the_last_turn_of_a_conversation_can_cut_in() -> None:
    one, two = Say(text="one"), Say(text="two")
    steps = conversation((one, two), barge_in_at_s=1.5)
    assert steps == (Listen(), one, Interrupt(after_s=1.5), two, Listen(), AwaitHangUp(timeout_s=3.0))
