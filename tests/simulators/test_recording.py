"""What a call was like from outside."""

import json
import wave
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from simulators.caller import AwaitHangUp, HangUp, Interrupt, Listen, Say, Wait
from simulators.events import CallerSpeaks, Connected, Event, HungUp
from simulators.recording import Stretch, TurnTiming, measure, save
from simulators.twilio.record import CallRecord
from tests.simulators.far_end import TONE, FarEnd, Stream


def _record(*events: Event, agent: list[tuple[float, float]], length_s: float = 10.0) -> CallRecord:
    """A call in which the agent is heard in the given stretches."""
    track = bytearray(b"\xff" * round(length_s * 8000))
    for start_s, end_s in agent:
        start, end = round(start_s * 8000), round(end_s * 8000)
        track[start:end] = b"\x10" * (end - start)
    return CallRecord(
        call_sid="CA1",
        account_sid="AC1",
        caller_number="+1",
        dialled_number="+2",
        dialled_on=datetime(2026, 11, 21, tzinfo=UTC),
        events=(*events, HungUp(at_s=length_s, by="caller", why="the caller hung up")),
        caller_audio=b"\xff" * len(track),
        agent_audio=bytes(track),
        refused=(),
        deliveries=(),
        documents=("<Response/>",),
    )


def _said(start_s: float, end_s: float, text: str = "hello") -> CallerSpeaks:
    return CallerSpeaks(at_s=start_s, text=text, until_s=end_s)


def _turn(start_s: float, end_s: float, **more: float | bool) -> TurnTiming:
    plain = {"first_sound_s": None, "voice_to_voice_s": None, "over_agent": False, "agent_silent_after_s": None}
    return TurnTiming(text="hello", first_word_s=start_s, last_word_s=end_s, **{**plain, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("agent", "said", "expected"),
    [
        # an answer
        ([(4.0, 5.0)], [(1.0, 3.0)], [_turn(1.0, 3.0, first_sound_s=4.0, voice_to_voice_s=1.0)]),
        # none
        ([(0.2, 0.8)], [(1.0, 3.0)], [_turn(1.0, 3.0)]),
        # one that comes only after the caller's next words belongs to those
        (
            [(7.0, 8.0)],
            [(1.0, 3.0), (5.0, 6.0)],
            [_turn(1.0, 3.0), _turn(5.0, 6.0, first_sound_s=7.0, voice_to_voice_s=1.0)],
        ),
        # the caller speaks over the agent, which stops, then answers
        (
            [(0.5, 1.2), (3.5, 4.0)],
            [(1.0, 3.0)],
            [
                _turn(
                    1.0,
                    3.0,
                    first_sound_s=3.5,
                    voice_to_voice_s=0.5,
                    over_agent=True,
                    agent_silent_after_s=0.2,
                )
            ],
        ),
        # a breath of the agent is no stop
        (
            [(0.5, 1.1), (1.35, 1.6)],
            [(1.0, 3.0)],
            [_turn(1.0, 3.0, over_agent=True, agent_silent_after_s=0.6)],
        ),
    ],
)
def test_a_turn_is_measured_in_what_was_heard(
    agent: list[tuple[float, float]], said: list[tuple[float, float]], expected: list[TurnTiming]
) -> None:
    record = _record(Connected(at_s=0.0, stream_sid="MZ1"), *(_said(*span) for span in said), agent=agent)
    assert list(measure(record).turns) == expected


def test_the_greeting_is_measured_from_the_start_of_the_stream() -> None:
    timings = measure(_record(Connected(at_s=0.5, stream_sid="MZ1"), agent=[(0.625, 1.0), (2.0, 3.0)]))
    assert timings.greeting_delay_s == 0.125
    assert timings.agent == (Stretch(start_s=0.625, end_s=1.0), Stretch(start_s=2.0, end_s=3.0))


def test_a_call_without_a_stream_or_a_word_has_no_timings() -> None:
    timings = measure(_record(agent=[]))
    assert (timings.greeting_delay_s, timings.voice_to_voice_s, timings.turns) == (None, None, ())


def test_voice_to_voice_is_the_median_of_the_turns_that_were_answered() -> None:
    said = [_said(1.0, 1.5), _said(3.0, 3.5), _said(5.0, 5.5), _said(7.0, 7.5)]
    timings = measure(_record(*said, agent=[(2.0, 2.5), (4.25, 4.5), (6.5, 6.6)]))
    assert timings.voice_to_voice_s == 0.75


def test_words_that_the_end_of_the_call_cut_off_end_there() -> None:
    (turn,) = measure(_record(_said(9.0, 12.0), agent=[])).turns
    assert turn.last_word_s == 10.0


async def test_the_delay_of_a_server_is_what_is_measured(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.finish)
            await trio.sleep(0.1)
            await stream.play(TONE * 4)  # the greeting, two seconds; the caller speaks over it at 1.1 s
            await trio.sleep(1.1)
            await stream.clear()
            await trio.sleep(1.5)
            await stream.play(TONE)

    record = await FarEnd(talk).call(Interrupt(after_s=1.0), Say(text="x" * 20), Listen(silence_s=0.5), HangUp())
    timings = measure(record)
    assert timings.greeting_delay_s == pytest.approx(0.1, abs=0.001)
    (turn,) = timings.turns
    assert turn.over_agent
    assert turn.agent_silent_after_s == pytest.approx(0.1, abs=0.022)  # the caller begins on a frame
    assert turn.voice_to_voice_s == pytest.approx(0.6, abs=0.022)


async def test_a_call_is_saved_as_sound_and_text_on_one_clock(autojump_clock: MockClock, tmp_path: Path) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await stream.play(TONE)
        await stream.socket.send_message(b"binary")
        await stream.finish()

    record = await FarEnd(talk).call(Wait(seconds=1.0), Say(text="four"), AwaitHangUp(timeout_s=1.0))
    wav, text = save(record, tmp_path / "new" / "folder", name="one")
    with wave.open(str(wav)) as file:
        assert file.getnframes() == len(record.caller_audio)
    plain = json.loads(text.read_text(encoding="utf-8"))
    assert plain["call_sid"] == record.call_sid
    assert plain["timings"]["turns"][0]["text"] == "four"
    assert plain["timings"]["agent"] == [{"start_s": 0.0, "end_s": 0.5}]
    assert [event["event"] for event in plain["events"]][:3] == ["Ringing", "Answered", "Connected"]
    assert plain["refused"][0]["code"] == 31950
    assert "caller_audio" not in plain
