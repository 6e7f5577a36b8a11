"""The call's own end of its line, over a line in memory and in virtual time."""

import base64
import json
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.codec.telephony import FRAME_BYTES
from engine.messages.line import CloseLine, LineAudio, LineDtmf, LineEnded, LineMark, SendClear, SendMark, SendMedia
from engine.supervisor import Supervisor
from engine.trunk import LOGGED_BAD_MESSAGES, WAITING_BOUND, FromLine, Trunk

SID = "MZ" + "0" * 32
VOICED = b"\x01" * FRAME_BYTES
SOFT = b"\x02" * FRAME_BYTES
SILENT = b"\xff" * FRAME_BYTES


@attrs.define
class MemoryLine:
    """A socket in memory. What the engine sends takes `send_s`, and has gone out at its beginning or at its end."""

    send_s: float = 0.0
    out_at_once: bool = False
    broken: bool = False
    closed: bool = False
    sent: list[str] = attrs.field(factory=list)
    to_engine: trio.MemorySendChannel[str | bytes] = attrs.field(init=False)
    _from_peer: trio.MemoryReceiveChannel[str | bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.to_engine, self._from_peer = trio.open_memory_channel[str | bytes](math.inf)

    async def receive(self) -> str | bytes:
        return await self._from_peer.receive()

    async def send(self, text: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken or self.closed:
            raise trio.BrokenResourceError
        if self.out_at_once:
            self.sent.append(text)
        await trio.sleep(self.send_s)
        if not self.out_at_once:
            self.sent.append(text)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True
        self.sent.append(json.dumps({"event": "close", "streamSid": SID}))


class FirstByteVad:
    def heard(self, frame: bytes) -> tuple[bool, bool]:
        assert len(frame) == FRAME_BYTES
        return frame in {VOICED, SOFT}, frame == VOICED


@attrs.define
class Rig:
    line: MemoryLine
    told: list[FromLine]
    trunk: Trunk
    supervisor: Supervisor

    async def hears(self, *messages: str | bytes) -> None:
        for message in messages:
            self.line.to_engine.send_nowait(message)
        await trio.testing.wait_all_tasks_blocked()

    @property
    def sent(self) -> list[str]:
        """What has gone out, as a person would tell it."""
        return [told(json.loads(text)) for text in self.line.sent]


def told(message: dict[str, object]) -> str:
    assert message["streamSid"] == SID
    match message:
        case {"event": "media", "media": {"payload": str(payload)}}:
            return f"audio {base64.b64decode(payload)[0]}"
        case {"event": "mark", "mark": {"name": name}}:
            return f"mark {name}"
        case {"event": "clear" | "close" as event}:
            return event
    raise AssertionError(message)


@asynccontextmanager
async def open_trunk(line: MemoryLine | None = None, *, silence_s: float = math.inf) -> AsyncIterator[Rig]:
    line, heard = line or MemoryLine(), list[FromLine]()
    log = structlog.get_logger()
    trunk = Trunk(line=line, stream_sid=SID, vad=FirstByteVad(), silence_s=silence_s, tell=heard.append, log=log)
    supervisor = Supervisor(name="line", specs=trunk.specs())
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        yield Rig(line, heard, trunk, supervisor)
        supervisor.stop()


def incoming(event: str, body: dict[str, object] | None = None, *, sid: str = SID) -> str:
    message: dict[str, object] = {"event": event, "sequenceNumber": "7", "streamSid": sid}
    return json.dumps({**message, **({} if body is None else {event: body})})


def media(audio: bytes, timestamp_ms: int = 0, *, track: str = "inbound", sid: str = SID) -> str:
    payload = base64.b64encode(audio).decode()
    body: dict[str, object] = {"track": track, "chunk": "1", "timestamp": str(timestamp_ms), "payload": payload}
    return incoming("media", body, sid=sid)


def audio(number: int) -> SendMedia:
    return SendMedia(audio=bytes([number]) * FRAME_BYTES)


DTMF = incoming("dtmf", {"track": "inbound_track", "digit": "5"})
MARK = incoming("mark", {"name": "t1.0"})
STOP = incoming("stop", {"accountSid": "AC1", "callSid": "CA1"})
CONNECTED = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
START = incoming(
    "start",
    {
        "accountSid": "AC1",
        "callSid": "CA1",
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    },
)

# ── what the line brings ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_frame_is_passed_on_with_its_time_and_whether_and_by_whom_it_is_voiced(
    autojump_clock: MockClock,
) -> None:
    async with open_trunk() as rig:
        await rig.hears(media(VOICED, 1000), media(SOFT, 1020), media(SILENT, 1040))
    assert rig.told == [
        LineAudio(start_s=1.0, audio=VOICED, voiced=True),
        LineAudio(start_s=1.02, audio=SOFT, voiced=True, own=False),
        LineAudio(start_s=1.04, audio=SILENT, voiced=False, own=False),
    ]


async def test_a_longer_piece_of_audio_comes_frame_by_frame_and_a_short_end_is_never_judged(
    autojump_clock: MockClock,
) -> None:
    async with open_trunk() as rig:
        await rig.hears(media(SILENT + VOICED + b"\x01" * 80, 500))
    assert rig.told == [
        LineAudio(start_s=0.5, audio=SILENT, voiced=False, own=False),
        LineAudio(start_s=0.52, audio=VOICED, voiced=True),
        LineAudio(start_s=0.54, audio=b"\x01" * 80, voiced=False, own=False),
    ]


async def test_keys_and_marks_are_passed_on(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        await rig.hears(DTMF, MARK)
    assert rig.told == [LineDtmf(digit="5"), LineMark(name="t1.0")]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "not json",
        "[]",
        "{}",
        b"\xff\xfe",
        '{"event": 7}',
        '{"event": "media"}',
        '{"event": "media", "streamSid": "MZ", "media": {}}',
        media(b""),
        media(b"\xff" * 8001),
        media(SILENT).replace('"timestamp": "0"', '"timestamp": "-20"'),
        media(SILENT).replace('"payload": "', '"payload": "!'),
        media(SILENT, sid="MZ" + "1" * 32),
        media(SILENT, track="outbound"),
        incoming("dtmf", {"digit": "x"}),
        incoming("mark", {}),
        incoming("mark", {"name": "t1.0"}, sid="MZ" + "1" * 32),
        incoming("stop", {"accountSid": "AC1", "callSid": "CA1"}, sid="MZ" + "1" * 32),
        CONNECTED,
        START,
        "[" * 100_000,
        " " * 100_000,
    ],
    ids=lambda bad: repr(bad[:60]),
)
async def test_a_bad_message_is_counted_and_dropped_and_the_next_is_heard(
    bad: str | bytes, autojump_clock: MockClock
) -> None:
    with capture_logs() as logs:
        async with open_trunk() as rig:
            await rig.hears(bad, DTMF)
    assert rig.told == [LineDtmf(digit="5")]
    assert rig.trunk.bad_messages == 1
    assert [(each["event"], each["count"]) for each in logs] == [("bad_message", 1)]
    assert not rig.trunk.reason


async def test_bytes_that_hold_a_message_are_a_message(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        await rig.hears(DTMF.encode())
    assert rig.told == [LineDtmf(digit="5")]


async def test_an_event_that_the_phone_network_has_added_since_is_no_fault(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with open_trunk() as rig:
            await rig.hears('{"event": "weather"}')
    assert (rig.told, rig.trunk.bad_messages, logs) == ([], 0, [])


async def test_a_flood_of_bad_messages_is_counted_whole_and_logged_in_part(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with open_trunk() as rig:
            await rig.hears(*["garbage"] * 1000)
    assert rig.trunk.bad_messages == 1000
    assert len(logs) == LOGGED_BAD_MESSAGES


# ── its end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_stop_ends_the_line_and_what_follows_it_is_not_heard(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        await rig.hears(DTMF, STOP, DTMF)
    assert rig.told == [LineDtmf(digit="5"), LineEnded(reason="stop")]
    assert rig.trunk.reason == "stop"


async def test_a_socket_that_closes_without_stop_ends_the_line(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        rig.line.to_engine.close()
        await rig.trunk.gone.wait()
    assert rig.told == [LineEnded(reason="closed")]


async def test_a_socket_that_takes_nothing_ends_the_line(autojump_clock: MockClock) -> None:
    async with open_trunk(MemoryLine(broken=True)) as rig:
        rig.trunk.put(audio(1))
        await rig.trunk.gone.wait()
    assert rig.told == [LineEnded(reason="closed")]


async def test_only_the_first_reason_counts_and_it_is_told_once(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        rig.trunk.end("longest_call_s")
        rig.trunk.end("cancelled")
        await rig.hears(STOP)
        rig.line.to_engine.close()
        await trio.sleep(1.0)
    assert rig.told == [LineEnded(reason="longest_call_s")]
    assert rig.trunk.reason == "longest_call_s"


async def test_the_line_is_over_after_all_that_was_queued_before(autojump_clock: MockClock) -> None:
    async with open_trunk(MemoryLine(send_s=1.0)) as rig:
        for message in (audio(1), audio(2), SendMark(name="m"), CloseLine(reason="hang_up"), audio(3)):
            rig.trunk.put(message)
        await rig.trunk.gone.wait()
        await trio.sleep(5.0)
    assert rig.sent == ["audio 1", "audio 2", "mark m"]  # the call closes it, once it has said what comes next
    assert rig.told == [LineEnded(reason="hang_up")]


async def test_nothing_is_queued_for_a_line_that_is_gone(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        rig.trunk.end("stop")
        for _ in range(WAITING_BOUND + 1):
            rig.trunk.put(audio(1))
        await trio.sleep(1.0)
    assert rig.sent == []
    assert rig.trunk.reason == "stop"


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_everything_is_sent_in_the_order_in_which_it_was_put(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        for message in (audio(1), SendMark(name="a"), SendClear(), audio(2)):
            rig.trunk.put(message)
        await trio.sleep(1.0)
        rig.trunk.put(SendMark(name="b"))
        await trio.sleep(1.0)
    assert rig.sent == ["audio 1", "mark a", "clear", "audio 2", "mark b"]


async def test_a_peer_that_stops_reading_is_given_up_at_the_bound(autojump_clock: MockClock) -> None:
    async with open_trunk(MemoryLine(send_s=math.inf)) as rig:
        for _ in range(WAITING_BOUND):
            rig.trunk.put(audio(1))
        assert not rig.trunk.gone.is_set()
        rig.trunk.put(audio(1))
        assert rig.trunk.reason == "the line takes no more"
    assert rig.told == [LineEnded(reason="the line takes no more")]


async def test_a_writer_killed_before_its_message_went_out_loses_none(autojump_clock: MockClock) -> None:
    async with open_trunk(MemoryLine(send_s=1.0)) as rig:
        for message in (audio(1), SendMark(name="a"), CloseLine(reason="hang_up")):
            rig.trunk.put(message)
        await trio.sleep(1.5)  # the mark is on its way
        rig.supervisor.cancel("writer")
        await rig.trunk.gone.wait()
    assert (rig.sent, rig.trunk.reason) == (["audio 1", "mark a"], "hang_up")


async def test_a_writer_killed_while_its_message_was_out_already_sends_that_one_again_and_no_other(
    autojump_clock: MockClock,
) -> None:
    async with open_trunk(MemoryLine(send_s=1.0, out_at_once=True)) as rig:
        for number in (1, 2, 3):
            rig.trunk.put(audio(number))
        await trio.sleep(1.5)
        rig.supervisor.cancel("writer")
        await trio.sleep(10.0)
    assert rig.sent == ["audio 1", "audio 2", "audio 2", "audio 3"]


async def test_a_writer_killed_while_it_waits_is_woken_by_what_comes_next(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        await trio.sleep(1.0)
        rig.supervisor.cancel("writer")
        rig.trunk.put(audio(1))
        await trio.sleep(1.0)
        rig.trunk.put(audio(2))
        await trio.sleep(1.0)
    assert rig.sent == ["audio 1", "audio 2"]


async def test_a_reader_killed_while_it_waits_hears_what_comes_next(autojump_clock: MockClock) -> None:
    async with open_trunk() as rig:
        await trio.sleep(1.0)
        rig.supervisor.cancel("reader")
        await rig.hears(DTMF, STOP)
        await rig.trunk.gone.wait()
    assert rig.told == [LineDtmf(digit="5"), LineEnded(reason="stop")]


# ── a line that says nothing ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_line_that_says_nothing_for_its_time_is_dead(autojump_clock: MockClock) -> None:
    async with open_trunk(silence_s=10.0) as rig:
        await trio.sleep(9.0)
        await rig.hears(incoming("something new"))
        await trio.sleep(9.0)
        assert not rig.trunk.gone.is_set()
        await trio.sleep(1.5)
    assert rig.trunk.reason == "silent"
    assert rig.told == [LineEnded(reason="silent")]
