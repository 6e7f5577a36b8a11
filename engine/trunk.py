"""Trunk: a call's own end of its line. It reads and writes whatever becomes of the actors, and says when it is gone."""

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias, assert_never

import attrs
import structlog
import trio

from engine.codec import twilio
from engine.codec.telephony import FRAME_BYTES, RATE_HZ
from engine.messages.errors import WireError
from engine.messages.line import CloseLine, LineAudio, LineDtmf, LineEnded, LineMark, SendClear, SendMark, SendMedia
from engine.supervisor import TRANSIENT, ChildSpec, Incarnation
from engine.watch import Watch

FromLine: TypeAlias = LineAudio | LineDtmf | LineMark | LineEnded
ToLine: TypeAlias = SendMedia | SendMark | SendClear | CloseLine

WAITING_BOUND = 3000
"""Messages that may wait to be sent: a minute of audio. A peer that is that far behind has stopped reading."""

LOGGED_BAD_MESSAGES = 5
"""Malformed messages of one call that are logged; the others are counted."""


class Line(Protocol):
    """The socket to the phone network, from the engine's side."""

    async def receive(self) -> str | bytes:
        """Return the next message. Raises trio.EndOfChannel when the peer has gone."""

    async def send(self, text: str) -> None:
        """Send a message; always a checkpoint. Raises trio.BrokenResourceError when the peer has gone."""

    async def aclose(self) -> None:
        """Close with code 1000: what was sent is delivered, and the phone network goes on with its next verb."""


class Vad(Protocol):
    """A voice activity detector with the state of one line."""

    def heard(self, frame: bytes) -> tuple[bool, bool]:
        """Whether there is speech in a frame of 160 bytes of µ-law, and whether it may be the caller's own."""


@attrs.define(eq=False, kw_only=True)
class Trunk:
    """The line's reader, with the voice activity detector, and its writer.

    silence_s: a line that says nothing for this long is dead.
    tell: puts what the line brings into TwilioIO's mailbox.
    gone: set once the line is over, `reason` says why; what is sent afterwards goes nowhere.
    """

    line: Line
    stream_sid: str
    vad: Vad
    tell: Callable[[FromLine], None]
    log: structlog.stdlib.BoundLogger
    silence_s: float = math.inf
    watch: Watch = attrs.field(factory=Watch)
    reason: str = attrs.field(init=False, default="")
    gone: trio.Event = attrs.field(init=False, factory=trio.Event)
    bad_messages: int = attrs.field(init=False, default=0)
    # The first is the one that is being sent; it goes when it was, so that a writer's death loses none. One that was
    # out when the writer died goes out again: 20 ms heard twice, or a mark or clear that changes nothing the second
    # time, against a mark or a close that never comes, for which the call would wait.
    _waiting: deque[ToLine] = attrs.field(init=False, factory=deque)
    _woken: trio.Event = attrs.field(init=False, factory=trio.Event)
    _heard_at: float = attrs.field(init=False, factory=trio.current_time)

    def specs(self) -> tuple[ChildSpec, ...]:
        """Return the writer, the reader and the watchdog as children of a supervisor."""
        return tuple(
            ChildSpec(id=name, start=start, restart=TRANSIENT, shutdown_s=0.0)
            for name, start in (("writer", self._write), ("reader", self._read), ("watchdog", self._watch))
        )

    def end(self, reason: str) -> None:
        """The line is gone, or is given up: the news goes down the path. Only the first reason counts."""
        if not self.gone.is_set():
            self.reason = reason
            self.gone.set()
            self.tell(LineEnded(reason=reason))

    def put(self, message: object) -> None:
        """Queue something for the line: a port. Never waits, never raises."""
        assert isinstance(message, SendMedia | SendMark | SendClear | CloseLine)
        if self.gone.is_set():
            return
        if len(self._waiting) >= WAITING_BOUND:
            self.end("the line takes no more")
            return
        self._waiting.append(message)
        self._woken.set()

    async def _write(self, *, task_status: Incarnation) -> None:
        task_status.started()
        while not self.gone.is_set():
            if not self._waiting:
                self._woken = trio.Event()
                await self._woken.wait()
            try:
                await self._send(self._waiting[0])
            except trio.BrokenResourceError:
                self.end("closed")
            self._waiting.popleft()

    async def _send(self, message: ToLine) -> None:
        match message:
            case SendMedia(audio=audio):
                text = twilio.media(self.stream_sid, audio)
            case SendMark(name=name):
                text = twilio.mark(self.stream_sid, name)
            case SendClear():
                text = twilio.clear(self.stream_sid)
            case CloseLine(reason=reason):
                self.end(reason)  # the call closes it, once it has said what comes next
                return
            case _:
                assert_never(message)
        self.watch.line_sending(message, text)
        await self.line.send(text)

    async def _watch(self, *, task_status: Incarnation) -> None:
        """End a line that says nothing any more: of one that is half open TCP would tell after minutes."""
        task_status.started()
        while not self.gone.is_set():
            silent_at = self._heard_at + self.silence_s
            if silent_at <= trio.current_time():
                self.end("silent")
            await trio.sleep_until(silent_at)

    async def _read(self, *, task_status: Incarnation) -> None:
        """Turn the phone network's messages into ours. A bad one is counted and dropped."""
        task_status.started()
        while not self.gone.is_set():
            try:
                text = await self.line.receive()
            except trio.EndOfChannel:
                self.end("closed")
                return
            self._heard_at = trio.current_time()
            self.watch.line_read(text)
            try:
                message = twilio.parse(text)
            except WireError as error:
                self._bad(str(error))
            else:
                self._heard(message)

    def _heard(self, message: twilio.Incoming) -> None:
        match message:
            case twilio.Connected() | twilio.Start():
                self._bad(f"a second '{type(message).__name__.lower()}'")
            case twilio.Unknown():
                pass  # Twilio adds events over time
            case _ if message.stream_sid != self.stream_sid:
                self._bad(f"streamSid {message.stream_sid!r} is not this stream's")
            case twilio.Media(track="inbound"):
                self._frames(message)
            case twilio.Media(track=track):
                self._bad(f"track {track!r} was not asked for")
            case twilio.Dtmf(digit=digit):
                self.tell(LineDtmf(digit=digit))
            case twilio.Mark(name=name):
                self.watch.mark_echoed(name)
                self.tell(LineMark(name=name))
            case twilio.Stop():
                self.end("stop")
            case _:
                assert_never(message)

    def _frames(self, media: twilio.Media) -> None:
        for at in range(0, len(media.audio), FRAME_BYTES):
            frame = media.audio[at : at + FRAME_BYTES]
            voiced, own = self.vad.heard(frame) if len(frame) == FRAME_BYTES else (False, False)
            start_s = media.timestamp_ms / 1000 + at / RATE_HZ
            self.tell(LineAudio(start_s=start_s, audio=frame, voiced=voiced, own=own))

    def _bad(self, why: str) -> None:
        self.bad_messages += 1
        self.watch.bad_message("twilio")
        if self.bad_messages <= LOGGED_BAD_MESSAGES:
            self.log.warning("bad_message", why=why, count=self.bad_messages)
