"""A media stream, over wires in memory and in virtual time."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from simulators.caller import AwaitHangUp, HangUp, Press, Say, Wait
from simulators.events import Cleared, Connected, MarkEchoed, Noticed, StreamEnded
from simulators.twilio.playback import CAPACITY_SAMPLES
from simulators.twilio.socket import Socket
from tests.simulators.far_end import TONE, FarEnd, Stream, listen


async def test_frames_come_at_their_deadlines_with_their_timestamps(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    await far_end.call(Wait(seconds=30.01), HangUp())
    (stream,) = far_end.streams
    frames = stream.of("media")
    began_at = stream.of("start")[0][0]
    assert len(frames) == 30 * 50  # the frame under way when the caller hangs up is not sent
    for number, (came_at, message) in enumerate(frames):
        assert abs(came_at - (began_at + (number + 1) * 0.020)) < 1e-6
        assert message["media"]["timestamp"] == str(number * 20)


async def test_a_stream_opens_with_connected_and_start_and_ends_with_stop(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    record = await far_end.call(Wait(seconds=0.5), HangUp())
    (stream,) = far_end.streams
    messages = [message for _, message in stream.seen]
    assert [message["event"] for message in messages if message["event"] != "media"] == ["connected", "start", "stop"]
    assert messages[0] == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert messages[-1]["stop"] == {"accountSid": record.account_sid, "callSid": record.call_sid}
    assert messages[-1]["sequenceNumber"] == str(len(messages) - 1)
    assert stream.socket.closed is not None
    assert stream.socket.closed.code == 1000


async def test_a_silent_caller_sends_frames_of_silence(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    await far_end.call(Wait(seconds=0.2), HangUp())
    payloads = {message["media"]["payload"] for _, message in far_end.streams[0].of("media")}
    assert payloads == {"/////" * 42 + "///w=="}


async def test_a_frame_that_began_before_the_stream_is_not_sent(autojump_clock: MockClock) -> None:
    connect = '<Response><Say>abc</Say><Connect><Stream url="ws://127.0.0.1:7/media"/></Connect></Response>'
    far_end = FarEnd(listen, twiml={"/voice/incoming": connect})  # three letters: 0.2 s; the dialling takes no time
    await far_end.call(Wait(seconds=0.5), HangUp())
    assert far_end.streams[0].of("media")[0][1]["media"]["timestamp"] == "0"
    connect = '<Response><Say>abcd</Say><Connect><Stream url="ws://127.0.0.1:7/media"/></Connect></Response>'
    far_end = FarEnd(listen, twiml={"/voice/incoming": connect})  # 266.67 ms: the next whole frame begins at 280
    await far_end.call(Wait(seconds=0.5), HangUp())
    assert far_end.streams[0].of("media")[0][1]["media"]["timestamp"] == "13"


async def test_a_mark_comes_back_when_what_is_before_it_was_played(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await stream.mark("at once")
        await stream.play(TONE)  # half a second
        await stream.mark("after half a second")
        await stream.mark("and another")
        await stream.finish()

    far_end = FarEnd(talk)
    record = await far_end.call(Wait(seconds=2.0), HangUp())
    (stream,) = far_end.streams
    began_at = stream.of("start")[0][0]
    echoes = [(round(at - began_at, 6), message["mark"]["name"]) for at, message in stream.of("mark")]
    assert echoes == [(0.0, "at once"), (0.5, "after half a second"), (0.5, "and another")]
    assert [event.cleared for event in record.all_of(MarkEchoed)] == [False, False, False]


async def test_a_clear_silences_the_line_and_returns_the_marks_in_order(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        for name in ("a", "b"):
            await stream.play(TONE)
            await stream.mark(name)
        await trio.sleep(0.2)
        await stream.clear()
        await stream.play(TONE[:800])
        await stream.mark("c")
        await stream.finish()

    far_end = FarEnd(talk)
    record = await far_end.call(Wait(seconds=2.0), HangUp())
    (stream,) = far_end.streams
    began_at = stream.of("start")[0][0]
    echoes = [(round(at - began_at, 6), message["mark"]["name"]) for at, message in stream.of("mark")]
    assert echoes == [(0.2, "a"), (0.2, "b"), (0.3, "c")]
    assert [event.cleared for event in record.all_of(MarkEchoed)] == [True, True, False]
    assert [round(event.dropped_s, 6) for event in record.all_of(Cleared)] == [0.8]
    start = round(record.all_of(Connected)[0].at_s * 8000)
    assert record.agent_audio[start : start + 1600] == TONE[:1600]
    assert record.agent_audio[start + 1600 : start + 2400] == TONE[:800]
    assert set(record.agent_audio[start + 2400 :]) == {0xFF}


async def test_ten_minutes_are_queued_and_the_rest_is_discarded_with_one_warning(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        for _ in range(10):
            await stream.play(b"\x90" * (CAPACITY_SAMPLES // 10))
        await stream.play(b"\x90" * 160)
        await stream.play(b"\x90" * 160)
        await trio.sleep(0.1)
        await stream.play(b"\x90" * 160)  # room again
        await stream.finish()

    record = await FarEnd(talk).call(Wait(seconds=1.0), HangUp())
    assert [notice.code for notice in record.notices] == [31931]
    assert sum(delivery.length for delivery in record.deliveries) == CAPACITY_SAMPLES + 160


async def test_bad_messages_are_ignored_warned_of_once_a_kind_and_all_counted(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await stream.send({"event": "media", "streamSid": "MZ?", "media": {"payload": "/w=="}})
        await stream.socket.send_message(b"binary")
        await stream.send({"event": "clear", "streamSid": stream.sid, "extra": 1})
        await stream.socket.send_message(b"binary")
        await stream.play(TONE)
        await stream.finish()

    record = await FarEnd(talk).call(Wait(seconds=1.0), HangUp())
    assert [notice.code for notice in record.notices] == [31951, 31950]
    assert [refused.code for refused in record.refused] == [31951, 31950, 31951, 31950]
    assert [delivery.length for delivery in record.deliveries] == [len(TONE)]


async def test_keys_are_told_one_by_one(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    await far_end.call(Wait(seconds=0.1), Press(digits="5#"), HangUp())
    keys = [message["dtmf"] for _, message in far_end.streams[0].of("dtmf")]
    assert keys == [{"track": "inbound_track", "digit": "5"}, {"track": "inbound_track", "digit": "#"}]


async def test_what_was_queued_when_the_server_closes_is_not_heard(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await stream.play(TONE)
        await trio.sleep(0.1)

    far_end = FarEnd(talk)
    record = await far_end.call(AwaitHangUp())
    assert [notice.code for notice in record.notices] == [31921]
    (ended,) = record.all_of(StreamEnded)
    assert (ended.by, round(ended.unheard_s, 6)) == ("server", 0.4)
    assert "stop" not in [message["event"] for _, message in far_end.streams[0].seen]
    assert len(record.agent_audio.rstrip(b"\xff")) == 800


async def test_a_caller_who_hangs_up_in_mid_word_is_cut_there(autojump_clock: MockClock) -> None:
    far_end = FarEnd(listen)
    record = await far_end.call(Say(text="x" * 40, cut_after_s=0.5), HangUp())
    assert len(record.caller_audio.rstrip(b"\xff")) == 4000


class _StuckSocket:
    """A connection whose other end neither reads nor writes."""

    async def get_message(self) -> str:
        await trio.sleep_forever()

    async def send_message(self, message: str) -> None:
        await trio.sleep_forever()

    async def aclose(self) -> None:
        await trio.sleep_forever()


async def test_a_server_that_stops_reading_loses_frames_and_cannot_hold_the_call(autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def open_socket(url: str, headers: object) -> AsyncIterator[Socket]:
        yield _StuckSocket()

    record = await FarEnd().call(Wait(seconds=30.0), HangUp(), open_socket=open_socket)
    assert [notice.code for notice in record.notices] == [31930]
    assert record.hung_up.by == "caller"
    assert record.duration_s == pytest.approx(30.0, abs=0.001)
    assert trio.current_time() == pytest.approx(35.0, abs=0.001)


class _Scripted:
    """A connection without a wire: its other end sends at set moments, and takes a while to answer the close."""

    def __init__(self, *script: tuple[float, dict[str, Any]], close_s: float = 0.0) -> None:
        self._script = list(script)
        self._close_s = close_s
        self._sid = ""
        self._started, self._closing, self.closed = trio.Event(), trio.Event(), trio.Event()

    async def get_message(self) -> str:
        await self._started.wait()
        if self._script:
            wait_s, fields = self._script.pop(0)
            await trio.sleep(wait_s)
            return json.dumps({**fields, "streamSid": self._sid})
        await self._closing.wait()
        raise trio.ClosedResourceError

    async def send_message(self, message: str) -> None:
        if json.loads(message)["event"] == "start":
            self._sid = json.loads(message)["streamSid"]
            self._started.set()

    async def aclose(self) -> None:
        self._closing.set()
        await trio.sleep(self._close_s)
        self.closed.set()

    @asynccontextmanager
    async def open(self, url: str, headers: object) -> AsyncIterator[Socket]:
        yield self


_PLAY: dict[str, Any] = {"event": "media", "media": {"payload": base64.b64encode(TONE).decode()}}
_MARK: dict[str, Any] = {"event": "mark", "mark": {"name": "a"}}
_CLEAR: dict[str, Any] = {"event": "clear"}


async def test_a_mark_that_was_due_when_a_clear_came_counts_as_played(autojump_clock: MockClock) -> None:
    # Which of two tasks sees that moment first is trio's choice, every time anew: ten times are enough.
    script = [(0.0, _PLAY), (0.0, _MARK), (0.5, _CLEAR)] * 10
    record = await FarEnd().call(Wait(seconds=6.0), HangUp(), open_socket=_Scripted(*script).open)
    assert [event.cleared for event in record.all_of(MarkEchoed)] == [False] * 10


async def test_a_slow_close_is_waited_for_but_nothing_is_heard_meanwhile(autojump_clock: MockClock) -> None:
    socket = _Scripted((0.0, _PLAY), close_s=1.0)
    record = await FarEnd().call(Wait(seconds=0.1), HangUp(), open_socket=socket.open)
    assert socket.closed.is_set()
    (ended,) = record.all_of(StreamEnded)
    assert (ended.by, round(ended.unheard_s, 6)) == ("network", 0.4)
    assert len(record.agent_audio) == 800


async def test_a_server_that_breaks_off_ends_the_stream_like_one_that_closes(autojump_clock: MockClock) -> None:
    async def talk(stream: Stream) -> None:
        await stream.begin()
        await stream.socket._stream.aclose()

    record = await FarEnd(talk).call(AwaitHangUp())
    assert [event.by for event in record.all_of(StreamEnded)] == ["server"]
    assert record.hung_up.by == "agent"


async def test_the_parameters_of_the_twiml_come_with_the_start(autojump_clock: MockClock) -> None:
    connect = (
        '<Response><Connect><Stream url="ws://127.0.0.1:7/media/x?token=1">'
        '<Parameter name="call" value="a&amp;b"/></Stream></Connect></Response>'
    )
    far_end = FarEnd(listen, twiml={"/voice/incoming": connect})
    await far_end.call(Wait(seconds=0.1), HangUp())
    (stream,) = far_end.streams
    assert stream.parameters == {"call": "a&b"}
    assert stream.path == "/media/x"
    assert json.loads(json.dumps(stream.seen[1][1]))["start"]["tracks"] == ["inbound"]


async def test_a_notice_is_an_event_among_the_others(autojump_clock: MockClock) -> None:
    seen: list[object] = []

    async def talk(stream: Stream) -> None:
        await stream.begin()

    record = await FarEnd(talk).call(AwaitHangUp(), on_event=seen.append)
    assert tuple(seen) == record.events
    assert any(isinstance(event, Noticed) for event in seen)
