"""Scribe: writes a call down as it goes, one item after another, behind the call's back."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import attrs
import structlog
import trio

from engine.messages.errors import ConfigError, EngineBug
from engine.messages.records import Record, Timing
from engine.supervisor import TRANSIENT, ChildSpec, Incarnation

WAITING_BOUND = 100_000
"""Rows that may wait. An hour's call has some thousand, so a database that is away for a call loses nothing."""

RETRY_S = 1.0
"""Between two tries at a database that is away: a database that restarts takes some seconds, a lock less."""


class Archive(Protocol):
    """Where a call leaves its conversation. Writes come one at a time, in order.

    All raise ConfigError where the database cannot be used now, EngineBug for what it will never take.
    """

    async def opened(self) -> None:
        """Note that the call has begun; again changes nothing."""

    async def put(self, item: Record | Timing) -> None:
        """Keep an item; again changes nothing."""

    async def ended(self, reason: str) -> None:
        """Note how the call ended."""


@attrs.define(eq=False, kw_only=True)
class Scribe:
    """The one ordered writer of a call: that it began, all that is put, how it ended.

    A call never waits for it before its end.

    written: set when everything was, after `close`.
    """

    archive: Archive
    log: structlog.stdlib.BoundLogger
    written: trio.Event = attrs.field(init=False, factory=trio.Event)
    # What is being written; it is written again if the writing died.
    _in_hand: Callable[[], Awaitable[None]] | None = attrs.field(init=False)
    _last: Callable[[], Awaitable[None]] | None = attrs.field(init=False, default=None)
    _in: trio.MemorySendChannel[Record | Timing] = attrs.field(init=False)
    _out: trio.MemoryReceiveChannel[Record | Timing] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[Record | Timing](WAITING_BOUND)
        self._in_hand = self.archive.opened

    def spec(self) -> ChildSpec:
        """Return the writer as a child of a supervisor."""
        return ChildSpec(id="writer", start=self._write, restart=TRANSIENT, shutdown_s=0.0)

    def put(self, item: object) -> None:
        """Queue an item: a port. Never waits, never raises; what cannot be kept is in the log, in full at debug."""
        assert isinstance(item, Record | Timing)
        try:
            self._in.send_nowait(item)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self.log.exception("record_lost", kind=type(item).__name__)
            self.log.debug("record_lost_in_full", item=repr(item))

    def close(self, reason: str) -> None:
        """Nothing comes after this but the note of how the call ended."""
        self._last = partial(self.archive.ended, reason)
        self._in.close()

    def waiting(self) -> int:
        """Return how many items are not written yet."""
        return self._out.statistics().current_buffer_used + sum(
            each is not None for each in (self._in_hand, self._last)
        )

    async def _write(self, *, task_status: Incarnation) -> None:
        task_status.started()
        while True:
            if self._in_hand is None:
                try:
                    self._in_hand = partial(self.archive.put, await self._out.receive())
                except trio.EndOfChannel:
                    self._in_hand, self._last = self._last, None
                    if self._in_hand is None:
                        self.written.set()
                        return
            assert self._in_hand is not None, "there is something to write here"
            try:
                await self._in_hand()
            except ConfigError as error:
                self.log.warning("archive_away", why=str(error), waiting=self.waiting())
                await trio.sleep(RETRY_S)
            except EngineBug as error:
                # Refused once, refused always: one bad row must not hold up all that follow.
                self.log.exception("record_refused", why=str(error))
                self.log.debug("record_refused_in_full", item=repr(self._in_hand))
                self._in_hand = None
            else:
                self._in_hand = None
