"""A phone on the engine's line: speaks frames in real (virtual) time, plays what it is sent, echoes marks."""

import base64
import json
from collections import deque

import attrs
import trio

from simulators.virtual import tone


@attrs.define(eq=False)
class VirtualPhone:
    """Twilio's side of a line, as text messages in memory. Sample 0 is the stream's start.

    script: what the caller says and when: (seconds since the start, word, frames), in order.
    """

    stream_sid: str = "MZ" + "0" * 32
    played: list[tuple[float, bytes]] = attrs.field(factory=list)
    clears: list[float] = attrs.field(factory=list)
    closed: bool = False
    _speech: deque[bytes] = attrs.field(factory=deque)
    _buffer: deque[bytes | str] = attrs.field(factory=deque)
    _out: deque[str] = attrs.field(factory=deque)
    _woken: trio.Event = attrs.field(factory=trio.Event)
    _frames: int = 0
    _started_at: float = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Move the audio, 20 ms at a time, until cancelled or closed."""
        self._started_at = trio.current_time()
        task_status.started()
        while not self.closed:
            await trio.sleep_until(self._started_at + (self._frames + 1) * tone.FRAME_S)
            self._play()
            frame = self._speech.popleft() if self._speech else tone.SILENT_FRAME
            self._tell(
                {
                    "event": "media",
                    "media": {
                        "track": "inbound",
                        "chunk": str(self._frames + 1),
                        "timestamp": str(round(self._frames * 20)),
                        "payload": base64.b64encode(frame).decode(),
                    },
                }
            )
            self._frames += 1

    def now_s(self) -> float:
        """Return the stream's time."""
        return trio.current_time() - self._started_at

    def say(self, text: str, *, frames: int = 9, gap_frames: int = 2) -> None:
        """Queue words to be spoken from now on."""
        for word in text.split():
            self._speech.extend(tone.frames_of(tone.spoken(word, frames)))
            self._speech.extend([tone.SILENT_FRAME] * gap_frames)

    @property
    def speaking(self) -> bool:
        """Whether the caller has words left to say."""
        return bool(self._speech)

    @property
    def hearing(self) -> bool:
        """Whether anything is queued to be played."""
        return any(isinstance(each, bytes) for each in self._buffer)

    def words(self) -> list[str]:
        """Return what the caller has heard, word by word."""
        return [word.text for word in tone.heard(self.played)]

    def hang_up(self) -> None:
        """Send `stop` and close."""
        self._tell({"event": "stop", "stop": {"accountSid": "AC" + "0" * 32, "callSid": "CA" + "0" * 32}})
        self.closed = True
        self._woken.set()

    def _play(self) -> None:
        while self._buffer and isinstance(self._buffer[0], str):
            self._echo(str(self._buffer.popleft()))
        if self._buffer:
            frame = self._buffer.popleft()
            assert isinstance(frame, bytes)
            self.played.append((self.now_s() - tone.FRAME_S, frame))
        else:
            self.played.append((self.now_s() - tone.FRAME_S, tone.SILENT_FRAME))
        while self._buffer and isinstance(self._buffer[0], str):
            self._echo(str(self._buffer.popleft()))

    def _echo(self, name: str) -> None:
        self._tell({"event": "mark", "mark": {"name": name}})

    def _tell(self, message: dict[str, object]) -> None:
        if self.closed:
            return
        body = {**message, "sequenceNumber": str(self._frames + 2), "streamSid": self.stream_sid}
        self._out.append(json.dumps(body))
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
                assert len(audio) % tone.FRAME_BYTES == 0
                self._buffer.extend(tone.frames_of(audio))
            case "mark":
                self._buffer.append(message["mark"]["name"])
            case "clear":
                self.clears.append(self.now_s())
                marks = [each for each in self._buffer if isinstance(each, str)]
                self._buffer.clear()
                for name in marks:
                    self._echo(name)
            case event:
                raise AssertionError(event)

    async def aclose(self) -> None:
        """The engine closes."""
        self.closed = True
        self._woken.set()
        await trio.lowlevel.checkpoint()
