"""A phone line: the caller's mouth and ear, and the clock that moves the audio, 20 ms at a time.

The line lives from the answer to the end of the call; media streams come and go on it. Both sides are kept as tracks on
one timeline whose sample 0 is the moment of dialling, so that everything that is measured is measured on one clock.
"""

import math
from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from simulators.audio import FRAME_BYTES, FRAME_S, RATE_HZ, SILENCE, Track, sounds
from simulators.events import AgentSilent, AgentSpeaks, Event
from simulators.noise import LineNoise
from simulators.timeline import Timeline

# A pause inside speech lasts less: between the sentences of one answer, 0.2 to 0.4 s are usual.
_PAUSE_S = 0.5


class FrameSink(Protocol):
    """Takes the caller's frames: a media stream."""

    def caller_frame(self, start: int, frame: bytes) -> None:
        """Take 160 bytes that begin at sample ``start`` of the line's timeline."""


@attrs.frozen(kw_only=True)
class Hearing:
    """What the caller hears of the agent.

    onset: first sample of the stretch of speech that is heard now; None in silence. A pause of up to half a second does
    not end a stretch. last: the sample after the last sound ever heard; None before the first.
    """

    onset: int | None = None
    last: int | None = None


class Line:
    """The call's audio, both ways."""

    def __init__(self, timeline: Timeline, *, noise: LineNoise | None = None, tell: Callable[[Event], None]) -> None:
        self._timeline = timeline
        self._noise = noise
        self._tell = tell
        self._sink: FrameSink | None = None
        self._mouth = b""
        self._frame = 0  # the one that is being spoken; it goes out when it is over
        self._ticked = trio.lowlevel.ParkingLot()
        self.caller = Track()
        self.agent = Track()
        self.hearing = Hearing()

    async def run(self) -> None:
        """Carry frames until cancelled, each at its own deadline: lateness of one is never passed on to the next."""
        self._frame = math.floor(self._timeline.now_s() / FRAME_S)
        while True:
            await trio.sleep_until(self._timeline.dialled_at + (self._frame + 1) * FRAME_S)
            self._carry()
            self._frame += 1
            self._ticked.unpark_all()

    def attach(self, sink: FrameSink) -> None:
        """Give the caller's frames to a stream from now on."""
        self._sink = sink

    def detach(self) -> None:
        """Give them to nobody."""
        self._sink = None

    def play(self, start: int, audio: bytes) -> None:
        """Have the caller hear ``audio`` from sample ``start`` on, which is now or later."""
        self.agent.place(start, audio)

    def drop(self) -> float:
        """Take back what was to be heard from now on; return how many seconds that was."""
        now = self._timeline.now()
        dropped = max(0, len(self.agent) - now)
        self.agent.cut(now)
        return dropped / RATE_HZ

    async def tick(self) -> None:
        """Wait for the end of the present frame."""
        await self._ticked.park()

    async def speak(self, audio: bytes) -> None:
        """Speak into the phone until all is said; what is unsaid when cancelled is never said."""
        self._mouth = audio
        try:
            while self._mouth:
                await self.tick()
        finally:
            self._mouth = b""

    def next_sample(self) -> int:
        """The sample at which the next words will begin: a frame's first."""
        return self._frame * FRAME_BYTES

    def _carry(self) -> None:
        start = self._frame * FRAME_BYTES
        frame, self._mouth = self._mouth[:FRAME_BYTES].ljust(FRAME_BYTES, SILENCE), self._mouth[FRAME_BYTES:]
        if self._noise is not None:
            frame = self._noise.on(frame, self._frame)
        self.caller.place(start, frame)
        if self._sink is not None:
            self._sink.caller_frame(start, frame)
        self._hear(start)

    def _hear(self, start: int) -> None:
        onset, last = self.hearing.onset, self.hearing.last
        heard = sounds(self.agent.read(start, FRAME_BYTES), gap_s=FRAME_S)
        if heard:
            if onset is None:
                onset = start + heard[0].start
                self._tell(AgentSpeaks(at_s=onset / RATE_HZ))
            last = start + heard[0].end
        elif onset is not None and last is not None and start + FRAME_BYTES - last >= _PAUSE_S * RATE_HZ:
            onset = None
            self._tell(AgentSilent(at_s=last / RATE_HZ))
        self.hearing = Hearing(onset=onset, last=last)
