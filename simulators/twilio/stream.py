"""A media stream, from the phone network's side: one WebSocket of one call.

Theory of operation. Everything that goes out passes through one queue, written by one task, so that sequence numbers
are those of the wire. Three things put messages there: the line's clock (a frame every 20 ms), the reader (marks that a
``clear`` sends back), and a task that sleeps until the next mark is due. The queue to the caller's ear is `Playback`, a
value; its audio lies on the line's track from the moment it arrives, at the samples where it will sound.
"""

import math
from collections.abc import Callable
from functools import partial

import trio

from simulators.audio import RATE_HZ
from simulators.events import Cleared, Connected, MarkEchoed, StreamEnded
from simulators.line import Line
from simulators.timeline import Timeline
from simulators.twilio import wire
from simulators.twilio.codes import Code
from simulators.twilio.playback import Playback
from simulators.twilio.record import Delivery, Ledger
from simulators.twilio.socket import GONE, Socket

# Ten seconds of frames that a server has not read: from then on the phone network drops frames (error 31930). Twilio
# does not say how many it keeps.
_UNREAD_MESSAGES = 500


class MediaStream:
    """One stream, from ``connected`` to the close of its socket."""

    def __init__(self, socket: Socket, *, ids: wire.StreamIds, line: Line, timeline: Timeline, ledger: Ledger) -> None:
        self._socket = socket
        self._ids = ids
        self._line = line
        self._timeline = timeline
        self._ledger = ledger
        self._playback = Playback()
        self._playback_changed = trio.Event()
        self._to_write, self._to_be_written = trio.open_memory_channel[str](math.inf)
        self._written = trio.Event()
        self._sequence = 0
        self._chunk = 0
        self._started_at = 0
        self._stopped = False
        self._unheard_s = 0.0
        self._noticed: set[Code] = set()

    async def run(self) -> None:
        """Serve the stream until it ends. Cancelled: the socket is left as it is."""
        self._started_at = self._timeline.now()
        ended_by = "network"
        self._to_write.send_nowait(wire.connected())
        self._send(wire.start)
        self._ledger.tell(Connected(at_s=self._timeline.now_s(), stream_sid=self._ids.stream_sid))
        self._line.attach(self)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._echo_due_marks)
                await self._read()
                if self._stopped:  # our own close: its handshake is not over yet
                    await self._written.wait()
                else:
                    ended_by = "server"
                nursery.cancel_scope.cancel()
        finally:
            self._line.detach()
            self._unheard_s += self._line.drop()
            if ended_by == "server":
                self._ledger.notice(Code.CLOSED_BY_SERVER, "the server closed the stream")
            ended = StreamEnded(
                at_s=self._timeline.now_s(), stream_sid=self._ids.stream_sid, by=ended_by, unheard_s=self._unheard_s
            )
            self._ledger.tell(ended)

    def stop(self) -> None:
        """End the stream from the network's side: ``stop`` after what is to be written, then the close."""
        if self._stopped:
            return
        self._line.detach()
        self._unheard_s = self._line.drop()
        self._send(wire.stop)
        self._stopped = True
        self._to_write.close()

    def press(self, digit: str) -> None:
        """Tell the server of a key."""
        if not self._stopped:
            self._send(partial(wire.dtmf, digit=digit))

    def caller_frame(self, start: int, frame: bytes) -> None:
        """Send a frame of the caller; one that began before the stream did is not its own."""
        if start < self._started_at:
            return
        self._chunk += 1
        if self._to_write.statistics().current_buffer_used >= _UNREAD_MESSAGES:
            self._notice_once(
                Code.CONGESTED, f"the server has left {_UNREAD_MESSAGES} messages unread, audio is dropped"
            )
            return
        timestamp_ms = (start - self._started_at) * 1000 // RATE_HZ
        self._send(partial(wire.media, chunk=self._chunk, timestamp_ms=timestamp_ms, audio=frame))

    def _send(self, message: Callable[[int, wire.StreamIds], str]) -> None:
        self._sequence += 1
        self._to_write.send_nowait(message(self._sequence, self._ids))

    async def _write(self) -> None:
        try:
            async for message in self._to_be_written:
                await self._socket.send_message(message)
            await self._socket.aclose()
        except GONE:
            pass  # the reader sees it too, and ends the stream
        self._written.set()

    async def _read(self) -> None:
        while True:
            try:
                message = await self._socket.get_message()
            except GONE:
                return
            if not self._stopped:
                self._take(message)

    def _take(self, message: str | bytes) -> None:
        now = self._timeline.now()
        self._echo_due()  # what was played before this message came was not cleared by it
        match wire.read(message, self._ids.stream_sid):
            case wire.QueueMedia(audio):
                self._playback, start = self._playback.media(len(audio), now)
                if start is None:
                    self._notice_once(
                        Code.OVERFLOW, "more than ten minutes of audio are queued, what comes is discarded"
                    )
                    return
                self._ledger.deliveries.append(Delivery(came_at=now, start=start, length=len(audio)))
                self._line.play(start, audio)
            case wire.QueueMark(name):
                self._playback = self._playback.mark(name, now)
                self._playback_changed.set()
            case wire.ClearQueue():
                self._playback, names = self._playback.clear(now)
                self._ledger.tell(Cleared(at_s=self._timeline.now_s(), dropped_s=self._line.drop()))
                self._echo(names, cleared=True)
            case wire.Refused() as refused:
                self._notice_once(refused.code, refused.why)
                self._ledger.refuse(refused.code, refused.why, refused.message)

    async def _echo_due_marks(self) -> None:
        while True:
            deadline = self._playback.deadline
            with trio.move_on_at(math.inf if deadline is None else self._timeline.moment(deadline)):
                await self._playback_changed.wait()
            self._playback_changed = trio.Event()
            self._echo_due()

    def _echo_due(self) -> None:
        self._playback, names = self._playback.due(self._timeline.now())
        self._echo(names, cleared=False)

    def _echo(self, names: tuple[str, ...], *, cleared: bool) -> None:
        if self._stopped:
            return
        for name in names:
            self._send(partial(wire.mark, name=name))
            self._ledger.tell(MarkEchoed(at_s=self._timeline.now_s(), name=name, cleared=cleared))

    def _notice_once(self, code: Code, text: str) -> None:
        """A warning stands once a stream, however often there is cause for it."""
        if code not in self._noticed:
            self._noticed.add(code)
            self._ledger.notice(code, text)
