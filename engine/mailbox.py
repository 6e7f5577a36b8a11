"""Mailboxes: a cell holds all that an actor is between two steps, so that its task may die at any moment.

Theory of operation. A cell belongs to the call, not to the actor's task. It has one memory channel of stamped
envelopes, the message in hand, and the core. The loop takes a message in hand, steps, and lets it go together with
keeping the new core; whatever kills the loop in between leaves the cell as it was. A message is void, and skipped,
when its edge dropped it at the bound or when the session that sent it is no longer the present one.
"""

import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

import attrs
import trio

from engine.messages.supervision import SessionInfo
from engine.wiring import AtBound, Edge, Port

FROM_NO_SESSION = 0
"""The incarnation of what is not a session's: such a message is never void."""


class Core(Protocol):
    """What an actor decides with: a frozen value. A step that raises has changed nothing."""

    @property
    def deadline(self) -> float:
        """When it wants a `Tick`: seconds since the call opened, or NEVER."""

    def handle(self, message: Any, now: float) -> tuple[Self, list[object]]:  # noqa: ANN401 - each has its own inbox
        """Return the core that follows `message`, and the messages it sends."""

    def fresh(self, suspect: Self) -> Self:
        """Return a new core with all that `suspect` owed. Called on the core that the call began with."""

    def bare(self, suspect: Self) -> Self:
        """Return a new core with only `suspect`'s numbers, so that what follows is not taken for what was."""


@runtime_checkable
class SessionCore(Core, Protocol):
    """A core whose actor talks to a vendor through a session."""

    @property
    def owing(self) -> bool:
        """Whether somebody on the line waits for what its session does."""

    def started(self, session: SessionInfo, now: float) -> tuple[Self, list[object]]:
        """Return what follows a session's connection: the effects ask for all that is owed."""


CoreT = TypeVar("CoreT", bound=Core)


@attrs.define(eq=False)
class Envelope:
    """A message on its way.

    put_at: seconds since the call opened.
    incarnation: the session that sent it, or FROM_NO_SESSION.
    let_go: told once, when the message was handled, set aside or void: a session may then send more.
    """

    message: object
    edge: Edge | None
    put_at: float
    incarnation: int = FROM_NO_SESSION
    dropped: bool = False
    let_go: Callable[[], None] | None = None


@attrs.define(eq=False)
class Cell(Generic[CoreT]):
    """All that an actor is between two steps. Owned by the call; only the loop and the ports touch it.

    first: the core that the call began with; what `fresh` and `bare` are called on.
    clock: seconds since the call opened.
    on_stall: told of an edge that is over its bound, once for each incarnation of the loop.
    on_lost: told of each message that was dropped or set aside, with the reason.
    """

    name: str
    first: CoreT
    clock: Callable[[], float]
    on_stall: Callable[[Edge], None]
    on_lost: Callable[[Edge, str], None]
    core: CoreT = attrs.field(init=False)
    # The core before the last step: where numbers are read that the present one has lost.
    previous: CoreT = attrs.field(init=False)
    deadline: float = attrs.field(init=False)
    in_hand: Envelope | None = attrs.field(init=False, default=None)
    # The session whose words count, from `started` on; asks go nowhere while it is FROM_NO_SESSION.
    connected: int = attrs.field(init=False, default=FROM_NO_SESSION)
    serving: int = attrs.field(init=False, default=FROM_NO_SESSION)
    counts: Counter[str] = attrs.field(init=False, factory=Counter)
    # Raises in a row: at what is in hand, at ticks; and messages set aside in a row. Kept here: no death forgets them.
    strikes: int = attrs.field(init=False, default=0)
    tick_strikes: int = attrs.field(init=False, default=0)
    aside: int = attrs.field(init=False, default=0)
    _send: trio.MemorySendChannel[Envelope] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Envelope] = attrs.field(init=False)
    _waiting: dict[Edge, deque[Envelope]] = attrs.field(init=False, factory=dict)
    _stalled: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.core = self.previous = self.first
        self.deadline = self.first.deadline
        self._send, self._receive = trio.open_memory_channel[Envelope](math.inf)

    def port(self, edge: Edge) -> Port:
        """Return the port by which messages of `edge` arrive here."""

        def put(message: object) -> None:
            self.put(Envelope(message, edge, self.clock()))

        return put

    def put(self, envelope: Envelope) -> None:
        """Queue an envelope. Never waits, never raises: the channel has no bound and lives as long as the cell."""
        edge = envelope.edge
        if edge is not None:
            waiting = self._waiting.setdefault(edge, deque())
            if len(waiting) >= edge.bound:
                self._full(edge, waiting)
            waiting.append(envelope)
        self._send.send_nowait(envelope)

    def _full(self, edge: Edge, waiting: deque[Envelope]) -> None:
        if edge.at_bound is AtBound.DROP_OLDEST:
            waiting.popleft().dropped = True
            self.counts[f"dropped {edge}"] += 1
            self.on_lost(edge, "edge full")
        elif not self._stalled:
            self._stalled = True
            self.on_stall(edge)

    def loop_started(self) -> None:
        """A new incarnation of the loop serves this cell: it may stall anew."""
        self._stalled = False

    def waiting(self) -> int:
        """Return how many envelopes lie unread, the one in hand left out."""
        return self._receive.statistics().current_buffer_used

    def take_nowait(self) -> None:
        """Take the next message in hand if there is one. Nothing happens if one is in hand already."""
        while self.in_hand is None or self.is_void(self.in_hand):
            self.let_go()
            try:
                self._hold(self._receive.receive_nowait())
            except trio.WouldBlock:
                return

    async def take(self) -> None:
        """Wait for the next message and take it in hand. A cancelled wait loses nothing."""
        self._hold(await self._receive.receive())

    def _hold(self, envelope: Envelope) -> None:
        self.in_hand = envelope
        if envelope.edge is not None and not envelope.dropped:
            self._waiting[envelope.edge].popleft()

    def is_void(self, envelope: Envelope) -> bool:
        """Whether nobody wants it any more: dropped at its bound, or of a session that is gone."""
        return envelope.dropped or envelope.incarnation not in (FROM_NO_SESSION, self.connected)

    def let_go(self) -> None:
        """Drop the message in hand, whether handled, set aside or void."""
        envelope, self.in_hand, self.strikes = self.in_hand, None, 0
        if envelope is not None and envelope.let_go is not None:
            envelope.let_go()

    def keep(self, core: CoreT, deadline: float) -> None:
        """Keep the core of a step that succeeded. Plain code: with `let_go`, this is the step."""
        self.previous, self.core = self.core, core
        self.deadline = deadline

    def set_aside(self) -> None:
        """Let the message in hand go unhandled, counted."""
        envelope = self.in_hand
        self.let_go()
        if envelope is not None and envelope.edge is not None:
            self.counts[f"set aside {envelope.edge}"] += 1
            self.on_lost(envelope.edge, "set aside")
