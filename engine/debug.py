"""Debug: writes down what a call heard, said and did, in a folder of its own, for whoever wants to know why.

Theory of operation. The call's side only puts items in a queue, in plain code: nothing waits, and what the queue has no
room for is dropped and counted. One thread writes for all calls: it looks ten times a second, makes text of what it
finds, and is the only one to touch a file. A disk that refuses ends the recording of that call and is a line in the
log. The folder, by the call's SID (a second stream of the same call gets "-2"):

- `caller.wav`, `agent.wav`: what came and what went, from the same moment on; the agent's as the caller's end plays it:
  frames queue up, and a `clear` cuts what was not yet played;
- `wire.jsonl`: the messages on the phone network's socket, both ways; `vendors.jsonl`: those on the vendors'; in both,
  audio as it is where sound is kept, and else as its length;
- `messages.jsonl`: what passed between the parts of the call, audio as its length.

A key that was pressed is written as "*". What the caller says is written down, and keys once they are taken for words.
"""

import base64
import binascii
import contextlib
import enum
import json
import re
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, TextIO, TypeAlias

import attrs
import structlog
import trio

from engine.codec import mulaw
from engine.codec.telephony import RATE_HZ
from engine.tap import Direction

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

WAITING_BOUND: Final = 50_000
"""Items that may wait: five seconds of 25 calls, which is longer than a disk takes to wake up."""

WRITE_S: Final = 0.1
"""Between two looks at the queue: short enough to be followed with `tail -f`, long enough to cost few wake-ups."""

LAST_S: Final = 5.0
"""How long the end waits for what is still to be written."""

_MOST_AHEAD_S: Final = 1.0
# No words look like this, and no message holds anything else of the kind that is worth reading.
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{100,}={0,2}")

_KEY: Final = "digit"
"""What a pressed key is called, on the line and among the call's parts: it may be one of a card's number."""

_Item: TypeAlias = "tuple[Recording, Callable[[_Files], None]]"


def _unscrubbed(text: str) -> str:
    return text


@attrs.define(eq=False, kw_only=True)
class Recorder:
    """Where recordings are made. One a process, opened by `recorder`.

    folder: each call's own is made in it. audio: the sound is kept, in files and in messages. wire: the messages are.
    scrub: takes out of a line what must not be written down.
    """

    folder: Path
    audio: bool
    wire: bool
    scrub: Callable[[str], str] = _unscrubbed
    _items: deque[_Item] = attrs.field(init=False, factory=deque)
    _ending: threading.Event = attrs.field(init=False, factory=threading.Event)
    # The writing thread's own.
    _files: "dict[Recording, _Files]" = attrs.field(init=False, factory=dict)

    def record(self, call_sid: str) -> "Recording":
        """Begin to record a call: now is its time 0."""
        return Recording(recorder=self, call_sid=call_sid)

    def put(self, recording: "Recording", write: "Callable[[_Files], None]", *, last: bool = False) -> None:
        """Queue an item of a recording. Never waits, never raises."""
        if recording.failed:
            return
        if len(self._items) >= WAITING_BOUND and not last:
            recording.dropped += 1
            return
        self._items.append((recording, write))

    def end(self) -> None:
        """Have the thread write what is queued, and end."""
        self._ending.set()

    def run(self) -> None:
        """Write until the end. The thread's whole life."""
        ending = False
        while not ending:
            ending = self._ending.wait(WRITE_S)
            while self._items:
                self._write(*self._items.popleft())
            for recording, files in list(self._files.items()):
                self._on_disk(recording, files.flush)
        for recording, files in list(self._files.items()):
            self._on_disk(recording, files.close)

    def _write(self, recording: "Recording", write: "Callable[[_Files], None]") -> None:
        if recording.failed:
            return

        def written() -> None:
            files = self._files.get(recording)
            if files is None:
                files = self._files[recording] = _Files.make(self, recording.call_sid)
            write(files)
            if files.closed:
                del self._files[recording]

        self._on_disk(recording, written)

    def _on_disk(self, recording: "Recording", work: Callable[[], None]) -> None:
        """Do something to files; a disk that refuses, or a message that cannot be written, costs this recording."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - one call's recording is judged here: it must not be everybody's
            recording.failed = True
            files = self._files.pop(recording, None)
            if files is not None:
                with contextlib.suppress(OSError):
                    files.close()
            _log.warning("recording_failed", call_sid=recording.call_sid, why=f"{type(error).__name__}: {error}")


@contextlib.asynccontextmanager
async def recorder(
    folder: Path, *, audio: bool, wire: bool, scrub: Callable[[str], str] = _unscrubbed
) -> AsyncIterator[Recorder | None]:
    """Open the recorder, or nothing when nothing is to be kept. What is queued at the end is written, or given up."""
    if not (audio or wire):
        yield None
        return
    made = Recorder(folder=folder, audio=audio, wire=wire, scrub=scrub)
    thread = threading.Thread(target=made.run, name="recorder", daemon=True)  # a disk that hangs does not hold us up
    thread.start()
    try:
        yield made
    finally:
        made.end()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join, LAST_S)


@attrs.define(eq=False, kw_only=True)
class Recording:
    """One call's recording, as the call sees it. Every method may be called from any thread, and costs little.

    dropped: items that the queue had no room for. failed: the disk refused; nothing is kept any more.
    """

    recorder: Recorder
    call_sid: str
    clock: Callable[[], float] = time.monotonic  # not trio's: a tap may come from a thread
    dropped: int = attrs.field(init=False, default=0)
    failed: bool = attrs.field(init=False, default=False)
    _opened_at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._opened_at = self.clock()

    def line_read(self, text: str | bytes) -> None:
        """A message came from the phone network."""
        at_s = self._now()
        self.recorder.put(self, lambda files: files.line_read(at_s, text))

    def line_sent(self, text: str) -> None:
        """A message went to the phone network."""
        at_s = self._now()
        self.recorder.put(self, lambda files: files.line_sent(at_s, text))

    def crossed(self, sender: str, reader: str, message: object) -> None:
        """A message went from one part of the call to another."""
        if self.recorder.wire:
            at_s = self._now()
            self.recorder.put(self, lambda files: files.crossed(at_s, sender, reader, message))

    def vendor(self, vendor: str, direction: Direction, message: str | bytes) -> None:
        """A message passed on a vendor's wire: `tap.Listener`."""
        if self.recorder.wire:
            at_s = self._now()
            self.recorder.put(self, lambda files: files.vendor(at_s, vendor, direction, message))

    def close(self) -> None:
        """The call is over."""
        at_s = self._now()
        self.recorder.put(self, lambda files: files.end(at_s, self.dropped), last=True)

    def _now(self) -> float:
        return self.clock() - self._opened_at


# ── the writing thread's side ─────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False, kw_only=True)
class _Files:
    """The files of one recording; each is made when there is something to be written in it. All raise OSError."""

    folder: Path
    audio: bool
    wire: bool
    scrub: Callable[[str], str]
    closed: bool = False
    _texts: dict[str, TextIO] = attrs.field(init=False, factory=dict)
    _sounds: "dict[str, _Wav]" = attrs.field(init=False, factory=dict)

    @classmethod
    def make(cls, recorder: Recorder, call_sid: str) -> "_Files":
        recorder.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what callers say is nobody else's business
        count = 1
        while True:
            folder = recorder.folder / (call_sid if count == 1 else f"{call_sid}-{count}")
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                count += 1
            else:
                return cls(folder=folder, audio=recorder.audio, wire=recorder.wire, scrub=recorder.scrub)

    def line_read(self, at_s: float, text: str | bytes) -> None:
        message = _parsed(text)
        match message:
            case {"event": "media", "media": {"payload": payload, "timestamp": str() | int() as timestamp}} if (
                self.audio
            ):
                with contextlib.suppress(ValueError, OverflowError):  # the call counts it as a bad message
                    start_s = min(int(timestamp) / 1000, at_s + _MOST_AHEAD_S)
                    self._sound("caller").play(start_s, _ulaw(payload))
            case _:
                pass
        self._line("wire", at_s, {"from": "phone", "message": message})

    def line_sent(self, at_s: float, text: str) -> None:
        message = _parsed(text)
        match message:
            case {"event": "media", "media": {"payload": payload}} if self.audio:
                self._sound("agent").play(at_s, _ulaw(payload))
            case {"event": "clear"} if self.audio:
                self._sound("agent").cut(at_s)
            case _:
                pass
        self._line("wire", at_s, {"from": "engine", "message": message})

    def crossed(self, at_s: float, sender: str, reader: str, message: object) -> None:
        fields = {"from": sender, "to": reader, "message": type(message).__name__, "fields": _plain(message)}
        self._line("messages", at_s, fields)

    def vendor(self, at_s: float, vendor: str, direction: Direction, message: str | bytes) -> None:
        self._line("vendors", at_s, {"vendor": vendor, "direction": direction, "message": _parsed(message)})

    def end(self, at_s: float, dropped: int) -> None:
        if dropped:
            self._line("messages", at_s, {"dropped": dropped})
        self.close()

    def flush(self) -> None:
        for file in self._all():
            file.flush()

    def close(self) -> None:
        self.closed = True
        with contextlib.ExitStack() as stack:  # all of them, whatever one of them says
            for file in self._all():
                stack.callback(file.close)

    def _all(self) -> "tuple[TextIO | _Wav, ...]":
        return (*self._texts.values(), *self._sounds.values())

    def _line(self, name: str, at_s: float, fields: Mapping[str, object]) -> None:
        if not self.wire:
            return
        said = _said if self.audio and name != "messages" else _shown  # the same frame crosses several edges
        text = json.dumps({"at_s": round(at_s, 4), **fields}, default=said, ensure_ascii=False)
        file = self._texts.get(name)
        if file is None:
            file = self._texts[name] = (self.folder / f"{name}.jsonl").open("w", encoding="utf-8", errors="replace")
        file.write(self.scrub(text) + "\n")

    def _sound(self, name: str) -> "_Wav":
        if name not in self._sounds:
            self._sounds[name] = _Wav((self.folder / f"{name}.wav").open("wb"))
        return self._sounds[name]


@attrs.frozen
class _Sound:
    """Audio in a message: written as it is, or as its length."""

    base64: str

    def __repr__(self) -> str:
        return f"<{len(self.base64) * 3 // 4 - self.base64[-2:].count('=')} bytes>"


def _ulaw(payload: object) -> bytes:
    """Return the audio of a payload. Raises ValueError for what is none."""
    return base64.b64decode(payload.base64 if isinstance(payload, _Sound) else str(payload), validate=True)


def _parsed(message: str | bytes) -> object:
    """Return a message of a wire as a tree, its audio apart; a text that is no JSON as it stands."""
    if isinstance(message, bytes):
        return _sound(message)
    try:
        return _apart(json.loads(message))
    except (ValueError, RecursionError):
        return message


def _apart(tree: object) -> object:
    match tree:
        case dict():
            return {name: "*" if name == _KEY else _apart(value) for name, value in tree.items()}
        case list():
            return [_apart(value) for value in tree]
        case str() if _BASE64.fullmatch(tree):
            return _Sound(tree)
        case _:
            return tree


def _sound(audio: bytes) -> _Sound:
    return _Sound(binascii.b2a_base64(audio, newline=False).decode("ascii"))


def _plain(value: object) -> object:
    """Return a message, or what is in one, as a tree that JSON can hold."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return _sound(value)
        case enum.Enum():
            return value.name
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case tuple() | list() | set() | frozenset():
            return [_plain(each) for each in value]
    kind = type(value)
    if attrs.has(kind):
        fields = {field.name: _plain(getattr(value, field.name)) for field in attrs.fields(kind)}
        return {**fields, _KEY: "*"} if _KEY in fields else fields
    return _shown(value)


def _said(value: object) -> str:
    return value.base64 if isinstance(value, _Sound) else _shown(value)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a broken value's repr raises whatever it likes
        return f"<{type(value).__name__} without a repr: {error!r}>"


_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")
_SAMPLE_BYTES: Final = 2


@attrs.define(eq=False)
class _Wav:
    """A sound file that grows: 8 kHz, mono, 16 bits. Where nothing was played there is a hole, which reads as silence.

    end: samples so far.
    """

    file: BinaryIO
    end: int = 0

    def play(self, at_s: float, ulaw: bytes) -> None:
        """Append audio, at `at_s` or, if something is being played then, behind it."""
        self.end = max(self.end, round(at_s * RATE_HZ))
        self.file.seek(_HEADER.size + self.end * _SAMPLE_BYTES)
        self.file.write(mulaw.decode(ulaw).astype("<i2").tobytes())
        self.end += len(ulaw)

    def cut(self, at_s: float) -> None:
        """Take back what would be played from `at_s` on."""
        self.end = min(self.end, round(at_s * RATE_HZ))
        self.file.truncate(_HEADER.size + self.end * _SAMPLE_BYTES)

    def flush(self) -> None:
        """See to it that the file can be played as it is."""
        size_bytes = self.end * _SAMPLE_BYTES
        format_ = (16, 1, 1, RATE_HZ, RATE_HZ * _SAMPLE_BYTES, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
        self.file.seek(0)
        self.file.write(_HEADER.pack(b"RIFF", 36 + size_bytes, b"WAVE", b"fmt ", *format_, b"data", size_bytes))
        self.file.flush()

    def close(self) -> None:
        """Flush, and close it whatever that says."""
        try:
            self.flush()
        finally:
            self.file.close()
