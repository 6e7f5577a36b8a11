"""Scribe: writes a call down as it goes, in order, behind the call's back.

Theory of operation. What comes within a moment is written together, because a transaction costs more than a row, and a
thread more than both. What the database refuses is found by writing one item after another.
"""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import attrs
import structlog
import trio

from engine.messages.errors import ConfigError, EngineBug
from engine.messages.records import Kept
from engine.supervisor import TRANSIENT, ChildSpec, Incarnation

WAITING_BOUND = 100_000
"""Rows that may wait. An hour's call has some thousand, so a database that is away for a call loses nothing."""

TOGETHER = 500
"""Rows written in one transaction at most: a database that was away for long is not held by one call for long."""

GATHER_S = 0.25
"""How long what is written together is gathered: a process that is killed loses no more than that."""

RETRY_S = 1.0
"""Between two tries at a database that is away: a database that restarts takes some seconds, a lock less."""


class Archive(Protocol):
    """Where a call leaves its conversation. Writes come one at a time, in order.

    All raise ConfigError where the database cannot be used now, EngineBug for what it will never take.
    """

    async def opened(self) -> None:
        """Note that the call has begun; again changes nothing."""

    async def put(self, items: Sequence[Kept]) -> None:
        """Keep items, all or none of them; again changes nothing."""

    async def ended(self, reason: str) -> None:
        """Note how the call ended."""


@attrs.frozen
class _Opened:
    """The first thing to be written."""


@attrs.frozen
class _Ended:
    """The last one."""

    reason: str


_Item: TypeAlias = _Opened | Kept | _Ended


@attrs.define(eq=False, kw_only=True)
class Scribe:
    """The one ordered writer of a call: that it began, all that is put, how it ended.

    A call never waits for it before its end.

    written: set when everything was, after `close`.
    """

    archive: Archive
    log: structlog.stdlib.BoundLogger
    written: trio.Event = attrs.field(init=False, factory=trio.Event)
    # What is being written; it is written again if the writing died. Invariant: the first and the last item are alone.
    _in_hand: list[_Item] = attrs.field(init=False, factory=lambda: [_Opened()])
    # Something in hand is refused: it is written one by one.
    _singly: bool = attrs.field(init=False, default=False)
    _last: _Ended | None = attrs.field(init=False, default=None)
    _closed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _in: trio.MemorySendChannel[Kept] = attrs.field(init=False)
    _out: trio.MemoryReceiveChannel[Kept] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[Kept](WAITING_BOUND)

    def spec(self) -> ChildSpec:
        """Return the writer as a child of a supervisor."""
        return ChildSpec(id="writer", start=self._write, restart=TRANSIENT, shutdown_s=0.0)

    def put(self, item: object) -> None:
        """Queue an item: a port. Never waits, never raises; what cannot be kept is in the log, in full at debug."""
        assert isinstance(item, Kept)
        try:
            self._in.send_nowait(item)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self.log.exception("record_lost", kind=type(item).__name__)
            self.log.debug("record_lost_in_full", item=repr(item))

    def close(self, reason: str) -> None:
        """Nothing comes after this but the note of how the call ended."""
        self._last = _Ended(reason)
        self._closed.set()
        self._in.close()

    def waiting(self) -> int:
        """Return how many items are not written yet."""
        return self._out.statistics().current_buffer_used + len(self._in_hand) + (self._last is not None)

    async def _write(self, *, task_status: Incarnation) -> None:
        task_status.started()
        while True:
            if not self._in_hand:
                self._singly = False
                await self._gather()
            if not self._in_hand:
                self.written.set()
                return
            part = self._in_hand[:1] if self._singly else self._in_hand[:]
            try:
                await self._keep(part)
            except ConfigError as error:
                self.log.warning("archive_away", why=str(error), waiting=self.waiting())
                await trio.sleep(RETRY_S)
            except EngineBug as error:
                if len(part) > 1:
                    self._singly = True
                    continue
                # Refused once, refused always: one bad row must not hold up all that follow.
                self.log.exception("record_refused", why=str(error))
                self.log.debug("record_refused_in_full", item=repr(part[0]))
                del self._in_hand[:1]
            else:
                del self._in_hand[: len(part)]

    async def _gather(self) -> None:
        """Take in hand what is there to be written, and what comes within a moment; nothing after the last item."""
        try:
            self._in_hand.append(await self._out.receive())
        except trio.EndOfChannel:
            if self._last is not None:
                self._in_hand, self._last = [self._last], None
            return
        with trio.move_on_after(GATHER_S):
            await self._closed.wait()
        while len(self._in_hand) < TOGETHER:
            try:
                self._in_hand.append(self._out.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                return

    async def _keep(self, part: list[_Item]) -> None:
        match part:
            case [_Opened()]:
                await self.archive.opened()
            case [_Ended(reason=reason)]:
                await self.archive.ended(reason)
            case _:
                await self.archive.put(tuple(item for item in part if isinstance(item, Kept)))
