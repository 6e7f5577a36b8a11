"""The one loop: the shell of every actor, and the seam between an actor and its session.

Theory of operation. A step happens wholly or not at all. First everything that can raise is computed: the core that
follows, its deadline, the addresses of what it sends. Then, in plain code without a checkpoint, the new core is kept,
the message is let go and the effects are handed out; ports neither wait nor raise. A raise in the first half is the
core's fault: a fresh core, salvaged from the suspect, gets the same message; if that raises too, the message is set
aside. The loop dies of each raise, so that the supervisor sees, counts and delays it like any other death.
"""

import enum
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import trio

from engine.mailbox import FROM_NO_SESSION, Cell, Core, Envelope, SessionCore
from engine.messages.errors import EngineBug
from engine.messages.supervision import NEVER, SessionInfo, Tick
from engine.wiring import Edge, Port

ASIDE_BEFORE_BARE = 3
"""Messages set aside in a row after which nothing of the old core is trusted but its numbers."""

UNREAD_EVENTS = 16
"""Events of one session that may lie unread before it waits. Enough for a burst of words, little to void."""

AskT = TypeVar("AskT")
EventT = TypeVar("EventT")


class Kind(enum.Enum):
    """Kinds of step. Their raises are counted apart, so that a tick that always raises is not lost among messages."""

    MESSAGE = "message"
    TICK = "tick"
    STARTED = "started"


class Remedy(enum.Enum):
    """How an actor goes on after a step that raised."""

    FRESH = "a fresh core, salvaged from the old one, gets the same message"
    ASIDE = "the message is set aside"
    BARE = "a bare core goes on"
    NEW_SESSION = "the session is closed and opened again"


@attrs.frozen(kw_only=True)
class StepRaised(Exception):
    """A step raised. Carries what a test needs to raise it again.

    core, message, now: `core.handle(message, now)`, or `core.started(message, now)`.
    """

    actor: str
    kind: Kind
    core: object
    message: object
    now: float
    error: Exception
    remedy: Remedy

    def __str__(self) -> str:
        return f"{self.actor} raised at {type(self.message).__name__}; {self.remedy.value}"


def shown(value: object) -> str:
    """Return a value as the log has it, even one that is broken: that is why it is there."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a broken value's repr raises whatever it likes
        return f"<{type(value).__name__} without a repr: {error!r}>"


def _unheard(_what: object) -> None:
    """Nobody listens."""


@attrs.define(eq=False)
class Loop:
    """An actor's loop over its cell. One task at a time runs it; a new one goes on where the last one died.

    clock: seconds since the call opened. opened_at: that moment on trio's clock.
    outlets: where each kind of message that the core sends goes.
    close_session: ends the present session with a reason, because the core that follows knows nothing of it.
    useful: told, by child id, of output that was of use: each message handled, each event of the session.
    raised: told of each step that raised, and how the actor goes on.
    ticked: told how late each tick comes, in seconds.
    """

    cell: Cell[Any]
    opened_at: float
    outlets: Mapping[type, tuple[Port, ...]]
    close_session: Callable[[str], None]
    useful: Callable[[str], None]
    raised: Callable[[StepRaised], None]
    ticked: Callable[[float], None] = _unheard

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the cell until cancelled. Raises StepRaised when a step raised; the cell knows how to go on."""
        self.cell.loop_started()
        task_status.started()
        while True:
            await self.next_message()
            self.step()

    async def next_message(self) -> None:
        """Wait for a message in hand or for the deadline; one checkpoint at least."""
        self.cell.take_nowait()
        if self.cell.in_hand is not None:
            await trio.lowlevel.checkpoint()  # others run between two steps; who waits has let them
        elif self.cell.deadline == NEVER:
            await self.cell.take()
        else:
            # The next float: the sum may be rounded down, and by the cell's clock it would not be due then.
            with trio.move_on_at(math.nextafter(self.opened_at + self.cell.deadline, math.inf)):
                await self.cell.take()
        await self.woken()

    async def woken(self) -> None:
        """Before each step, when there is something to do."""

    def step(self) -> None:
        """Take one step with the message in hand, or a tick if that was due before the message came."""
        cell = self.cell
        cell.take_nowait()
        envelope = cell.in_hand
        now = cell.clock()
        message: object
        if self.tick_first(envelope, now):
            kind, message = Kind.TICK, Tick()
            self.ticked(now - cell.deadline)
        elif envelope is None:
            return
        else:
            message = envelope.message
            kind = Kind.STARTED if isinstance(message, SessionInfo) else Kind.MESSAGE
        try:
            core, deadline, outgoing = self.compute(kind, message, now)
        except Exception as error:
            raise self.fail(kind, message, now, error) from error
        self.commit(kind, envelope, core, deadline, outgoing)

    def tick_first(self, envelope: Envelope | None, now: float) -> bool:
        """Whether a tick comes before the message in hand: it was due, and the message came after."""
        return self.cell.deadline <= now and (envelope is None or envelope.put_at > self.cell.deadline)

    def compute(self, kind: Kind, message: object, now: float) -> tuple[Core, float, list[tuple[Port, object]]]:
        """Compute a step without taking it: the core that follows, its deadline, what goes where."""
        core = self.cell.core
        if kind is Kind.STARTED:
            if not isinstance(core, SessionCore):
                msg = f"{self.cell.name} has a session and no 'started'"
                raise EngineBug(msg)
            after, effects = core.started(message, now)  # type: ignore[arg-type]
        else:
            after, effects = core.handle(message, now)
        deadline = _moment(after.deadline)
        if kind is Kind.TICK and deadline <= now:
            msg = f"{self.cell.name} did not move its deadline {deadline} on at {now}"
            raise EngineBug(msg)
        return after, deadline, [(port, effect) for effect in effects for port in self.ports(effect)]

    def ports(self, effect: object) -> tuple[Port, ...]:
        """Return where a message goes. Raises EngineBug for one that the wiring does not know."""
        try:
            return self.outlets[type(effect)]
        except KeyError:
            msg = f"{self.cell.name} may not send {type(effect).__name__}; the wiring has no such edge"
            raise EngineBug(msg) from None

    def commit(
        self,
        kind: Kind,
        envelope: Envelope | None,
        core: Core,
        deadline: float,
        outgoing: list[tuple[Port, object]],
    ) -> None:
        """Take the step. Nothing here waits or raises, so it happens wholly."""
        cell = self.cell
        cell.keep(core, deadline)
        if kind is Kind.TICK:
            cell.tick_strikes = 0
        elif envelope is not None:
            cell.aside = 0
            if kind is Kind.STARTED:
                cell.serving = envelope.incarnation
            self.useful("loop")
            if envelope.incarnation != FROM_NO_SESSION and kind is Kind.MESSAGE:
                self.useful("session")
            cell.let_go()
        for port, message in outgoing:
            port(message)

    def fail(self, kind: Kind, message: object, now: float, error: Exception) -> StepRaised:
        """Decide how to go on after a raise, make the cell ready for it, and return what the loop dies of."""
        suspect = self.cell.core
        remedy = self.mend(kind, self.remedy(kind, self.strike(kind)))
        report = StepRaised(
            actor=self.cell.name, kind=kind, core=suspect, message=message, now=now, error=error, remedy=remedy
        )
        try:
            self.raised(report)
        except Exception as untold:  # noqa: BLE001 - who watches must not be able to break what is watched
            report.add_note(f"nobody was told: {untold!r}")
        return report

    def strike(self, kind: Kind) -> int:
        """Count a raise, and return how many there were in a row at this tick, or at what is in hand."""
        if kind is Kind.TICK:
            self.cell.tick_strikes += 1
            return self.cell.tick_strikes
        self.cell.strikes += 1
        return self.cell.strikes

    def remedy(self, kind: Kind, strike: int) -> Remedy:
        """Return what the `strike`-th raise in a row at this kind of step calls for."""
        if strike == 1:
            return Remedy.FRESH
        match kind:
            case Kind.TICK:
                return Remedy.BARE
            case Kind.STARTED:
                return Remedy.BARE if strike == 2 else Remedy.NEW_SESSION  # noqa: PLR2004 - the second strike
            case Kind.MESSAGE:
                return Remedy.BARE if self.cell.aside + 1 >= ASIDE_BEFORE_BARE else Remedy.ASIDE

    def mend(self, kind: Kind, remedy: Remedy) -> Remedy:
        """Make the cell ready for the loop that follows; return what it took, which is bare if salvage raised too."""
        cell = self.cell
        if remedy is Remedy.FRESH:
            if self.replace(lambda: cell.first.fresh(cell.core)):
                return Remedy.FRESH
            remedy = Remedy.BARE
        elif kind is Kind.MESSAGE:
            cell.set_aside()
            cell.aside += 1
        if remedy is Remedy.BARE:
            cell.aside = 0
            suspects = (cell.core, cell.previous)
            if not any(self.replace(partial(cell.first.bare, suspect)) for suspect in suspects):
                cell.keep(cell.first, cell.first.deadline)
        elif remedy is Remedy.NEW_SESSION:
            cell.let_go()
        if remedy is Remedy.NEW_SESSION or (remedy is Remedy.BARE and kind is not Kind.STARTED):
            self.close_session(remedy.value)
        return remedy

    def replace(self, make: Callable[[], Core]) -> bool:
        """Go on with what `make` saves of the suspect; False if it raises: the value may be broken anywhere."""
        try:
            core = make()
            deadline = _moment(core.deadline)
        except Exception:  # noqa: BLE001 - whatever a broken value raises, the next maker reads less of it
            return False
        self.cell.keep(core, deadline)
        return True


def _moment(deadline: float) -> float:
    """Return a core's deadline if a loop can wait for it: a poisoned core may have anything there."""
    moment = float(deadline)
    if math.isnan(moment):
        msg = f"a deadline is {deadline!r}; allowed: a time or NEVER"
        raise EngineBug(msg)
    return moment


@attrs.define(eq=False)
class SessionSeam(Generic[AskT, EventT]):
    """One incarnation of a session, seen from its vendor: `contract.Seam`.

    Asks are queued from `started` on. Its own unread events, and nothing else, hold back its reading.

    away_since: since when nobody was connected, seconds since the call opened; None: nobody has been missed.
    said: told of what it says: a SessionInfo, then its events.
    bad: told why, of each message of the vendor's that was dropped.
    """

    cell: Cell[Any]
    vendor: str
    incarnation: int
    stalled: Callable[[str], None]
    bound: int = 3000
    _asks_in: trio.MemorySendChannel[AskT] = attrs.field(init=False)
    _asks_out: trio.MemoryReceiveChannel[AskT] = attrs.field(init=False)
    _credit: trio.Semaphore = attrs.field(init=False, factory=lambda: trio.Semaphore(UNREAD_EVENTS))
    _edges: Mapping[type, Edge] = attrs.field(kw_only=True)
    away_since: float | None = attrs.field(kw_only=True, default=None)
    said: Callable[[object], None] = attrs.field(kw_only=True, default=_unheard)
    bad: Callable[[str], None] = attrs.field(kw_only=True, default=_unheard)

    def __attrs_post_init__(self) -> None:
        # 3000 asks are a minute of audio, twice what a core keeps: a session that far behind has stalled.
        self._asks_in, self._asks_out = trio.open_memory_channel[AskT](self.bound)

    def opened(self, *, aligned: bool = False) -> None:
        """Make this the present session; its core's `started` is the next thing it hears."""
        self.cell.connected = self.incarnation
        self.cell.serving = FROM_NO_SESSION
        away_s = 0.0 if self.away_since is None else self.cell.clock() - self.away_since
        self.away_since = None
        info = SessionInfo(vendor=self.vendor, incarnation=self.incarnation, aligned=aligned, away_s=away_s)
        self.said(info)
        self.cell.put(Envelope(info, None, self.cell.clock(), self.incarnation))

    async def ask(self) -> AskT:
        """Wait for the next ask."""
        return await self._asks_out.receive()

    async def emit(self, event: EventT) -> None:
        """Hand an event to the actor, once fewer than UNREAD_EVENTS of this session's lie unread."""
        await self._credit.acquire()
        edge = self._edges[type(event)]
        self.said(event)
        self.cell.put(Envelope(event, edge, self.cell.clock(), self.incarnation, let_go=self._credit.release))

    def refused(self, why: str) -> None:
        """Count a message of the vendor's that broke its protocol and was dropped."""
        self.bad(why)

    def closed(self) -> None:
        """The session is dead: what it still had to say is void, and asks go nowhere. Plain code, for a `finally`."""
        if self.away_since is None:
            self.away_since = self.cell.clock()
        if self.cell.connected == self.incarnation:
            self.cell.connected = self.cell.serving = FROM_NO_SESSION

    def put(self, ask: AskT) -> None:
        """Queue an ask; void unless `started` has spoken to this incarnation. Never waits, never raises."""
        if self.cell.serving != self.incarnation:
            return
        try:
            self._asks_in.send_nowait(ask)
        except trio.WouldBlock:
            self.stalled(f"the session has {self.bound} asks unread")
