"""A phone on the engine's line: speaks in real (virtual) time, plays what it is sent, echoes marks."""

import base64
import json
from collections import deque
from collections.abc import Iterable

import attrs
import trio

from simulators import tone
from simulators.audio import FRAME_BYTES, FRAME_S

CHUNK_FRAMES = 3
"""Frames in one media message. Twilio sends one; more make a virtual call cheaper and tell the engine no less."""


@attrs.define(eq=False)
class VirtualPhone:
    """Twilio's side of a line, as text messages in memory. Sample 0 is the stream's start.

    ear: what the caller made out, word by word. clears: when the engine had the buffer dropped.
    sounds: from when, by the stream, until when the caller made one.
    hush: what the caller's side sends while nobody there speaks: frames, over and over.
    """

    stream_sid: str = "MZ" + "0" * 32
    chunk_frames: int = CHUNK_FRAMES
    ear: tone.Ear = attrs.field(factory=lambda: tone.Ear(patient=True))
    clears: list[float] = attrs.field(factory=list)
    sounds: list[tuple[float, float]] = attrs.field(factory=list)
    hush: tuple[bytes, ...] = (tone.SILENT_FRAME,)
    closed: bool = False
    # When the last frame with sound in it was played, and when the caller's last one was sent.
    heard_at: float = -1.0
    spoke_at: float = -1.0
    _speech: deque[bytes] = attrs.field(factory=deque)
    # Frames with the time of their arrival, and marks.
    _buffer: deque[tuple[float, bytes] | str] = attrs.field(factory=deque)
    _out: deque[str] = attrs.field(factory=deque)
    _woken: trio.Event = attrs.field(factory=trio.Event)
    _frames: int = 0
    _played: int = 0
    _sequence: int = 1
    _started_at: float = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Move the audio until cancelled or closed."""
        self._started_at = trio.current_time()
        task_status.started()
        while not self.closed:
            await trio.sleep_until(self._started_at + (self._frames + self.chunk_frames) * FRAME_S)
            self._play()
            audio = b""
            for _ in range(self.chunk_frames):
                frame = self._speech.popleft() if self._speech else self.hush[self._frames % len(self.hush)]
                self._frames += 1
                audio += frame
                if tone.voiced(frame):
                    self.spoke_at = self._frames * FRAME_S
            start_ms = (self._frames - self.chunk_frames) * 20
            payload = base64.b64encode(audio).decode()
            self._tell("media", f'{{"track":"inbound","chunk":"1","timestamp":"{start_ms}","payload":"{payload}"}}')

    def now_s(self) -> float:
        """Return the stream's time."""
        return trio.current_time() - self._started_at

    def say(self, words: Iterable[str], *, frames: int = 7, gap_frames: int = 2) -> None:
        """Queue words to be spoken from now on."""
        for word in words:
            self._speech.extend(tone.frames_of(tone.spoken(word, frames)))
            self._speech.extend([tone.SILENT_FRAME] * gap_frames)
        self._sounds(gap_frames)

    def make(self, frames: int, draft: str) -> None:
        """Queue a noise: see `tone.noise`."""
        self._speech.extend(tone.frames_of(tone.noise(frames, draft)))
        self._sounds(0)

    def speak(self, audio: bytes) -> float:
        """Queue audio, whole frames of it; return when, by the stream, it will begin."""
        start_s = (self._frames + len(self._speech)) * FRAME_S
        self._speech.extend(tone.frames_of(audio))
        self._sounds(0)
        return start_s

    def _sounds(self, silent_frames: int) -> None:
        frames = self._frames + len(self._speech) - silent_frames
        self.sounds.append((self._frames * FRAME_S, (frames + self.chunk_frames) * FRAME_S))

    def press(self, digit: str) -> None:
        """Press a key."""
        self.sounds.append((self.now_s(), self.now_s()))
        self._tell("dtmf", json.dumps({"track": "inbound_track", "digit": digit}))

    @property
    def speaking(self) -> bool:
        """Whether the caller has words left to say."""
        return bool(self._speech)

    @property
    def hearing(self) -> bool:
        """Whether anything is queued to be played."""
        return any(isinstance(each, tuple) for each in self._buffer)

    def words(self) -> list[str]:
        """Return what the caller has made out, word by word."""
        return [word.text for word in self.ear.words]

    def hang_up(self) -> None:
        """Send `stop` and close."""
        self._tell("stop", json.dumps({"accountSid": "AC" + "0" * 32, "callSid": "CA" + "0" * 32}))
        self.vanish()

    def vanish(self) -> None:
        """Close without a word."""
        self.closed = True
        self._woken.set()

    def _play(self) -> None:
        """Play what was due up to now, 20 ms at a time; a frame that came too late for its time is silence first."""
        due = round(self.now_s() / FRAME_S + 1e-6, 3)
        while self._played + 1 <= due:
            start_s = self._played * FRAME_S
            self._echo_marks()
            self._played += 1
            entry = self._buffer[0] if self._buffer else None
            if isinstance(entry, tuple) and entry[0] <= start_s + 1e-6:
                self._buffer.popleft()
                self.ear.hear(start_s, entry[1])
                if tone.voiced(entry[1]):
                    self.heard_at = start_s + FRAME_S
            else:
                self.ear.hear(start_s, tone.SILENT_FRAME)
        self._echo_marks()

    def _echo_marks(self) -> None:
        while self._buffer and isinstance(self._buffer[0], str):
            self._echo(str(self._buffer.popleft()))

    def _echo(self, name: str) -> None:
        self._tell("mark", json.dumps({"name": name}))

    def _tell(self, event: str, body: str) -> None:
        if self.closed:
            return
        self._sequence += 1
        self._out.append(
            f'{{"event":"{event}","sequenceNumber":"{self._sequence}","streamSid":"{self.stream_sid}","{event}":{body}}}'
        )
        self._woken.set()

    # The engine's line.

    async def receive(self) -> str:
        """Return the next message."""
        while not self._out:
            if self.closed:
                raise trio.EndOfChannel
            self._woken = trio.Event()
            await self._woken.wait()
        await trio.lowlevel.checkpoint()
        return self._out.popleft()

    async def send(self, text: str) -> None:
        """Take a message."""
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise trio.BrokenResourceError
        message = json.loads(text)
        assert message["streamSid"] == self.stream_sid
        match message["event"]:
            case "media":
                audio = base64.b64decode(message["media"]["payload"])
                assert len(audio) % FRAME_BYTES == 0
                self._buffer.extend((self.now_s(), frame) for frame in tone.frames_of(audio))
            case "mark":
                self._buffer.append(message["mark"]["name"])
            case "clear":
                self._play()
                self.clears.append(self.now_s())
                marks = [each for each in self._buffer if isinstance(each, str)]
                self._buffer.clear()
                self.ear.end()
                for name in marks:
                    self._echo(name)
            case event:
                raise AssertionError(event)

    async def aclose(self) -> None:
        """The engine closes: what was sent has been delivered, and nothing more is played."""
        self._play()
        self.vanish()
        await trio.lowlevel.checkpoint()
