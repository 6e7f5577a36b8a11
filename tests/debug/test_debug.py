"""Recordings: what is in a call's folder, and what a recording may never cost."""

import base64
import json
import os
import struct
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from engine import debug
from engine.call import WIRING, Plan
from engine.codec import mulaw
from engine.debug import Recorder, Recording, recorder
from engine.messages.caller import CallerAudio, Dtmf
from engine.messages.line import LineDtmf
from engine.messages.turns import TurnEnded
from engine.metrics import Metrics
from engine.tap import tap
from engine.watch import Watch
from simulators.virtual.call import play
from simulators.virtual.vendors import VirtualRecogniser

SID = "CA" + "1" * 32
FRAME = bytes(range(1, 161))
LOUD = bytes([0x80]) * 160


def media(audio: bytes, timestamp_ms: object) -> str:
    payload = base64.b64encode(audio).decode()
    return json.dumps({"event": "media", "media": {"timestamp": timestamp_ms, "payload": payload}})


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def sound(folder: Path, name: str) -> list[int]:
    with wave.open(str(folder / f"{name}.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        return list(struct.unpack(f"<{file.getnframes()}h", file.readframes(file.getnframes())))


def written(made: Recorder) -> None:
    """Do what the thread does at the end."""
    made.end()
    made.run()


@attrs.define
class Desk:
    """A recording on a clock that stands still, and its folder."""

    made: Recorder
    now: float = 100.0
    recording: Recording = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.recording = Recording(recorder=self.made, call_sid=SID, clock=lambda: self.now)

    @property
    def folder(self) -> Path:
        return self.made.folder / SID


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Recorder(folder=tmp_path / "debug", audio=True, wire=True))


# ── sound ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_sides_begin_together_and_silence_is_silence(desk: Desk) -> None:
    desk.recording.line_read(media(FRAME, "0"))
    desk.now += 0.5
    desk.recording.line_sent(media(LOUD, None))
    desk.recording.line_read(media(FRAME, "500"))
    desk.recording.close()
    written(desk.made)
    pcm, loud = mulaw.decode(FRAME).tolist(), mulaw.decode(LOUD).tolist()
    assert sound(desk.folder, "caller") == pcm + [0] * (4000 - 160) + pcm
    assert sound(desk.folder, "agent") == [0] * 4000 + loud


def test_the_agents_frames_queue_up_and_a_clear_cuts_what_was_not_played(desk: Desk) -> None:
    for _ in range(10):
        desk.recording.line_sent(media(LOUD, None))
    desk.now += 0.05
    desk.recording.line_sent(json.dumps({"event": "clear"}))
    desk.now += 0.05
    desk.recording.line_sent(media(FRAME, None))
    desk.recording.close()
    written(desk.made)
    loud = mulaw.decode(LOUD).tolist()[0]
    assert sound(desk.folder, "agent") == [loud] * 400 + [0] * 400 + mulaw.decode(FRAME).tolist()


def test_no_key_that_was_pressed_is_written_down(desk: Desk) -> None:
    desk.recording.line_read(json.dumps({"event": "dtmf", "dtmf": {"track": "inbound_track", "digit": "7"}}))
    desk.recording.crossed("line", "twilio_io", LineDtmf(digit="7"))
    desk.recording.crossed("twilio_io", "turn_detector", Dtmf(digit="7", at_s=0.5))
    desk.recording.close()
    written(desk.made)
    assert "7" not in repr([lines(desk.folder, "wire"), lines(desk.folder, "messages")])
    assert "7" not in f"{LineDtmf(digit='7')} {Dtmf(digit='7', at_s=0.5)}"


@pytest.mark.parametrize("timestamp", ["999999999999", 10**15])
def test_a_mad_timestamp_makes_no_mad_file(desk: Desk, timestamp: object) -> None:
    desk.recording.line_read(media(FRAME, timestamp))
    desk.recording.close()
    written(desk.made)
    assert len(sound(desk.folder, "caller")) == 8000 + 160


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[" * 100_000,
        '"\ud800"',
        json.dumps({"event": "media", "media": {"payload": "****", "timestamp": "0"}}),
        json.dumps({"event": "media", "media": {"payload": "AAAA", "timestamp": "soon"}}),
        json.dumps({"event": "media", "media": {"payload": "AAAA", "timestamp": 10**400}}),
        json.dumps({"event": "media", "media": {"payload": 5, "timestamp": "0"}}),
        json.dumps({"event": "media", "media": None}),
        b"\xff\xfe",
    ],
    ids=lambda text: repr(text)[:30],
)
def test_whatever_comes_on_the_wire_is_written_down_and_breaks_nothing(desk: Desk, text: str | bytes) -> None:
    desk.recording.line_read(text)
    desk.recording.vendor("deepgram", "received", text)
    desk.recording.line_read(media(FRAME, "0"))
    with capture_logs() as logged:
        desk.recording.close()
        written(desk.made)
    assert logged == []
    assert len(lines(desk.folder, "wire")) == 2
    assert len(lines(desk.folder, "vendors")) == 1
    assert len(sound(desk.folder, "caller")) == 160


# ── messages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_audio_stands_on_wires_as_its_length_unless_it_is_kept_and_between_parts_always(tmp_path: Path) -> None:
    for audio in (False, True):
        desk = Desk(Recorder(folder=tmp_path / str(audio), audio=audio, wire=True))
        desk.now += 1.25
        desk.recording.crossed("twilio_io", "stt", CallerAudio(start_s=1.0, end_s=1.02, audio=FRAME))
        desk.recording.line_sent(media(FRAME, "0"))
        desk.recording.vendor("deepgram", "sent", FRAME)
        desk.recording.vendor("elevenlabs", "received", json.dumps({"audio": base64.b64encode(FRAME).decode()}))
        desk.recording.close()
        written(desk.made)
        shown = base64.b64encode(FRAME).decode() if audio else "<160 bytes>"
        (message,) = lines(desk.folder, "messages")
        assert message == {
            "at_s": 1.25,
            "from": "twilio_io",
            "to": "stt",
            "message": "CallerAudio",
            "fields": {"start_s": 1.0, "end_s": 1.02, "audio": "<160 bytes>", "voiced": True},
        }
        (line,) = lines(desk.folder, "wire")
        assert line["from"] == "engine"
        assert line["message"]["media"]["payload"] == shown
        sent, received = lines(desk.folder, "vendors")
        assert sent == {"at_s": 1.25, "vendor": "deepgram", "direction": "sent", "message": shown}
        assert received["message"] == {"audio": shown}
        assert (desk.folder / "agent.wav").exists() is audio


def test_audio_alone_keeps_no_messages(tmp_path: Path) -> None:
    desk = Desk(Recorder(folder=tmp_path, audio=True, wire=False))
    desk.recording.line_read(media(FRAME, "0"))
    desk.recording.crossed("agent", "tts", TurnEnded(turn=1, text="words", end_s=1.0))
    desk.recording.vendor("deepgram", "sent", FRAME)
    desk.recording.close()
    written(desk.made)
    assert [each.name for each in desk.folder.iterdir()] == ["caller.wav"]


def test_what_must_not_be_written_down_is_taken_out_of_every_line(tmp_path: Path) -> None:
    def scrub(text: str) -> str:
        return text.replace("sk-secret", "***")

    desk = Desk(Recorder(folder=tmp_path, audio=False, wire=True, scrub=scrub))
    desk.recording.line_read('{"a": "sk-secret"}')
    desk.recording.vendor("elevenlabs", "sent", '{"xi_api_key": "sk-secret"}')
    desk.recording.crossed("a", "b", TurnEnded(turn=1, text="it is sk-secret", end_s=1.0))
    desk.recording.close()
    written(desk.made)
    texts = [file.read_text() for file in desk.folder.iterdir()]
    assert len(texts) == 3
    assert not [text for text in texts if "sk-secret" in text or "***" not in text]


class Odd:
    def __repr__(self) -> str:
        raise ValueError("broken")


def test_a_message_that_cannot_be_shown_costs_nothing(desk: Desk) -> None:
    odd = TurnEnded(turn=1, text=Odd(), end_s=float("nan"))  # type: ignore[arg-type]
    desk.recording.crossed("turn_detector", "agent", odd)
    desk.recording.close()
    written(desk.made)
    (message,) = lines(desk.folder, "messages")
    assert "Odd" in message["fields"]["text"]


def test_a_second_stream_of_a_call_has_a_folder_of_its_own(tmp_path: Path) -> None:
    made = Recorder(folder=tmp_path, audio=False, wire=True)
    for number in range(3):
        recording = made.record(SID)
        recording.vendor("deepgram", "sent", str(number))
        recording.close()
    written(made)
    assert {folder.stat().st_mode & 0o777 for folder in tmp_path.iterdir()} == {0o700}
    assert [lines(tmp_path / f"{SID}{end}", "vendors")[0]["message"] for end in ("", "-2", "-3")] == [0, 1, 2]


# ── a whole call ──────────────────────────────────────────────────────────────────────────────────────────────────────


class TappedRecogniser(VirtualRecogniser):
    """A vendor whose client shows its wire."""

    async def session(self, seam: Any) -> None:
        tap("virtual", "sent", '{"type": "hello"}')
        await super().session(seam)


def test_a_whole_call_is_written_down_edge_by_edge(tmp_path: Path) -> None:
    made = Recorder(folder=tmp_path, audio=True, wire=True)
    recordings: list[Recording] = []

    def replan(plan: Plan) -> Plan:
        recordings.append(made.record(plan.call_sid))
        watch = Watch(metrics=Metrics(), tenant="dental", recording=recordings[0])
        return attrs.evolve(plan, watch=watch, recognisers=(TappedRecogniser(),))

    outcome = play(3, replan=replan)
    written(made)
    folder = tmp_path / recordings[0].call_sid
    messages = lines(folder, "messages")
    crossed = {(each["from"], each["to"], each["message"]) for each in messages}
    wired = {(edge.sender, edge.reader, edge.message.__name__) for edge in WIRING.edges}
    sessions = {(f"{name}.session", name, "SessionInfo") for name in ("stt", "tts")}
    assert crossed <= wired | sessions
    assert sessions <= crossed
    assert ("stt.session", "stt", "Recognised") in crossed
    heard = [each["fields"]["text"] for each in messages if each["message"] == "TurnEnded"]
    assert " ".join(heard).split() == list(outcome.got)
    assert {each["from"] for each in messages} >= {"line", "stt.session", "tts.session", "model", "agent", "pacer"}
    wire = lines(folder, "wire")
    assert {each["from"] for each in wire} == {"phone", "engine"}
    frames = sum(each["message"]["event"] == "media" for each in wire if each["from"] == "phone")
    assert len(sound(folder, "caller")) >= frames * 160
    assert lines(folder, "vendors")[0]["message"] == {"type": "hello"}


# ── what it may cost ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_the_queue_has_no_room_for_is_dropped_and_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "WAITING_BOUND", 10)
    metrics = Metrics()
    watch = Watch(metrics=metrics, tenant="dental", recording=desk.recording)
    watch.opened()
    for number in range(13):
        watch.line_read(str(number))
    watch.ended("stop")
    written(desk.made)
    assert [each["message"] for each in lines(desk.folder, "wire")] == list(range(10))
    assert lines(desk.folder, "messages") == [{"at_s": 0.0, "dropped": 3}]
    assert metrics.registry.get_sample_value("holdfast_counted_total", {"name": "debug_dropped"}) == 3


def test_a_disk_that_refuses_ends_one_recording_and_is_a_line_in_the_log(tmp_path: Path) -> None:
    made = Recorder(folder=tmp_path, audio=False, wire=True)
    refused, fine = made.record("CA" + "2" * 32), made.record(SID)
    full = _full_disk(refused.call_sid)
    with capture_logs() as logged, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", full(Path.open))
        for _ in range(3):
            refused.vendor("deepgram", "sent", "1")
            fine.vendor("deepgram", "sent", "1")
        fine.close()
        written(made)
    assert [(each["event"], each["call_sid"]) for each in logged] == [("recording_failed", refused.call_sid)]
    assert "No space left" in logged[0]["why"]
    assert refused.failed
    refused.vendor("deepgram", "sent", "1")
    assert not made._items
    assert len(lines(tmp_path / SID, "vendors")) == 3


def _full_disk(call_sid: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrap(really: Callable[..., Any]) -> Callable[..., Any]:
        def opened(self: Path, *args: object, **more: object) -> Any:
            if call_sid in str(self):
                raise OSError(28, "No space left on device")
            return really(self, *args, **more)

        return opened

    return wrap


def wait_for_lines(path: Path) -> None:
    while not path.is_file() or not path.read_text():
        time.sleep(0.02)


async def test_the_thread_writes_as_the_call_goes_and_is_gone_with_the_recorder(tmp_path: Path) -> None:
    async with recorder(tmp_path, audio=False, wire=True) as made:
        assert made is not None
        recording = made.record(SID)
        recording.vendor("deepgram", "sent", "1")
        with trio.fail_after(5):
            await trio.to_thread.run_sync(wait_for_lines, tmp_path / SID / "vendors.jsonl")
        recording.vendor("deepgram", "sent", "2")
        recording.close()
    assert [each["message"] for each in lines(tmp_path / SID, "vendors")] == [1, 2]


async def test_a_recorder_that_is_cancelled_still_writes_what_is_queued(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with recorder(tmp_path, audio=False, wire=True) as made:
            assert made is not None
            made.record(SID).vendor("deepgram", "sent", "1")
            scope.cancel()
            await trio.sleep_forever()
    assert len(lines(tmp_path / SID, "vendors")) == 1


async def test_nothing_is_made_when_nothing_is_to_be_kept(tmp_path: Path) -> None:
    async with recorder(tmp_path / "debug", audio=False, wire=False) as made:
        assert made is None
    assert not await trio.to_thread.run_sync(os.listdir, tmp_path)
