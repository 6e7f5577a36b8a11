"""Scribe: writes a call down as it goes, one item after another, behind the call's back."""

from typing import Protocol

import attrs
import structlog
import trio

from engine.messages.records import Record, Timing
from engine.supervisor import TRANSIENT, ChildSpec, Incarnation

WAITING_BOUND = 100_000
"""Rows that may wait. An hour's call has some thousand, so a database that is away for a call loses nothing."""


class Archive(Protocol):
    """Where a call leaves its conversation. Writes come one at a time, in order."""

    async def opened(self) -> None:
        """Note that the call has begun."""

    async def put(self, item: Record | Timing) -> None:
        """Keep an item; again changes nothing."""

    async def ended(self, reason: str) -> None:
        """Note how the call ended."""


@attrs.define(eq=False, kw_only=True)
class Scribe:
    """The one ordered writer of a call. written: set when everything was, after `close`."""

    archive: Archive
    log: structlog.stdlib.BoundLogger
    written: trio.Event = attrs.field(init=False, factory=trio.Event)
    # What is being written; it is written again if the writing died.
    _in_hand: Record | Timing | None = attrs.field(init=False, default=None)
    _in: trio.MemorySendChannel[Record | Timing] = attrs.field(init=False)
    _out: trio.MemoryReceiveChannel[Record | Timing] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[Record | Timing](WAITING_BOUND)

    def spec(self) -> ChildSpec:
        """Return the writer as a child of a supervisor."""
        return ChildSpec(id="writer", start=self._write, restart=TRANSIENT, shutdown_s=0.0)

    def put(self, item: object) -> None:
        """Queue an item: a port. Never waits, never raises; what cannot be kept is in the log."""
        assert isinstance(item, Record | Timing)
        try:
            self._in.send_nowait(item)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self.log.exception("record_lost", item=repr(item))

    def close(self) -> None:
        """Nothing comes after this."""
        self._in.close()

    def waiting(self) -> int:
        """Return how many items are not written yet."""
        return self._out.statistics().current_buffer_used + (self._in_hand is not None)

    async def _write(self, *, task_status: Incarnation) -> None:
        task_status.started()
        while True:
            if self._in_hand is None:
                try:
                    self._in_hand = await self._out.receive()
                except trio.EndOfChannel:
                    self.written.set()
                    return
            await self.archive.put(self._in_hand)
            self._in_hand = None
