"""A toy actor: a core that counts what it was told, raises where a message says so, and can be salvaged."""

import contextlib
from collections.abc import Callable
from typing import Any, Self

import attrs
import trio

from engine.loop import Loop, SessionSeam, StepRaised
from engine.mailbox import Cell, Envelope
from engine.messages.supervision import NEVER, SessionInfo, Tick
from engine.wiring import AtBound, Edge


@attrs.frozen
class Said:
    """Something to be counted, and passed on. `boom`: the makes of core that raise at it."""

    text: str
    boom: frozenset[str] = frozenset()


@attrs.frozen
class Wait:
    """Be woken at `until`."""

    until: float


@attrs.frozen
class Echo:
    """What the toy sends."""

    text: str


@attrs.frozen
class Ask:
    """What the toy asks of its session."""

    text: str


@attrs.frozen
class Stray:
    """What the toy sends and no edge takes."""


ALL = frozenset({"first", "fresh", "bare"})
OLD = frozenset({"first"})
SAVED = frozenset({"first", "fresh"})


@attrs.frozen(kw_only=True)
class Toy:
    """Counts. `make` is how it came to be: the first, or salvaged from another, or bare."""

    make: str = "first"
    seen: tuple[str, ...] = ()
    deadline: float = NEVER
    # Where it raises besides: at a "tick", at "started", when it is salvaged as "fresh" or as "bare".
    boom: frozenset[tuple[str, str]] = frozenset()
    later_s: float = 1.0

    def handle(self, message: Any, now: float) -> tuple[Self, list[object]]:
        self._may_raise("tick" if isinstance(message, Tick) else "message")
        match message:
            case Said(text=text, boom=boom):
                if self.make in boom:
                    raise ValueError(text)
                effects: list[object] = [Stray()] if text == "stray" else [Echo(text), Ask(text)]
                return attrs.evolve(self, seen=(*self.seen, text)), effects
            case Wait(until=until):
                return attrs.evolve(self, deadline=until), []
            case Tick():
                ticked = f"tick {now:g}"
                return attrs.evolve(self, seen=(*self.seen, ticked), deadline=self.deadline + self.later_s), [
                    Echo(ticked)
                ]
            case _:
                raise AssertionError(message)

    @property
    def owing(self) -> bool:
        return False

    def started(self, session: SessionInfo, now: float) -> tuple[Self, list[object]]:
        self._may_raise("started")
        return attrs.evolve(self, seen=(*self.seen, f"session {session.incarnation}")), [
            Ask(f"all to {session.incarnation}")
        ]

    def fresh(self, suspect: Self) -> Self:
        suspect._may_raise("fresh")
        return attrs.evolve(suspect, make="fresh")

    def bare(self, suspect: Self) -> Self:
        suspect._may_raise("bare")
        return attrs.evolve(self, make="bare", boom=suspect.boom)

    def _may_raise(self, where: str) -> None:
        if (self.make, where) in self.boom:
            raise ValueError(where)


SAID = Edge(Said, "caller", "toy", bound=3)
LOSSY = Edge(Said, "line", "toy", at_bound=AtBound.DROP_OLDEST, bound=3)
WAIT = Edge(Wait, "caller", "toy")
EVENT = Edge(Said, "toy.session", "toy", bound=100)


@attrs.define(eq=False)
class Rig:
    """A toy in its cell, with a loop, and all that the two tell their surroundings."""

    core: Toy = attrs.field(factory=Toy)
    now: float = 0.0
    clock: Callable[[], float] | None = None
    echoes: list[str] = attrs.field(factory=list)
    stalls: list[Edge] = attrs.field(factory=list)
    losses: list[tuple[Edge, str]] = attrs.field(factory=list)
    closings: list[str] = attrs.field(factory=list)
    uses: list[str] = attrs.field(factory=list)
    reports: list[StepRaised] = attrs.field(factory=list)
    seams: list[SessionSeam[Ask, Said]] = attrs.field(factory=list)
    cell: Cell[Toy] = attrs.field(init=False)
    loop: Loop = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        clock = self.clock or (lambda: self.now)
        self.cell = Cell("toy", self.core, clock, self.stalls.append, lambda edge, why: self.losses.append((edge, why)))
        self.loop = Loop(
            self.cell,
            opened_at=0.0,
            outlets={Echo: (self._hear,), Ask: (self._ask,)},
            close_session=self.closings.append,
            useful=self.uses.append,
            raised=self.reports.append,
        )

    def _hear(self, echo: object) -> None:
        assert isinstance(echo, Echo)
        self.echoes.append(echo.text)

    def _ask(self, ask: object) -> None:
        assert isinstance(ask, Ask)
        if self.seams:
            self.seams[-1].put(ask)

    def put(self, *texts: str, edge: Edge = SAID, boom: frozenset[str] = frozenset()) -> None:
        for text in texts:
            self.cell.port(edge)(Said(text, boom))

    def wait_until(self, until: float) -> None:
        self.cell.port(WAIT)(Wait(until))

    def seam(self, incarnation: int, *, bound: int = 3000) -> SessionSeam[Ask, Said]:
        """A session that is not connected yet."""
        seam = SessionSeam[Ask, Said](
            self.cell, "vendor", incarnation, stalled=self.closings.append, bound=bound, edges={Said: EVENT}
        )
        self.seams.append(seam)
        return seam

    def emit(self, seam: SessionSeam[Ask, Said], text: str, boom: frozenset[str] = frozenset()) -> None:
        """An event of a session, without waiting."""
        self.cell.put(Envelope(Said(text, boom), EVENT, self.cell.clock(), seam.incarnation))

    def work(self) -> None:
        """Step as long as there is anything to do, however often a step raises: a supervisor without delay."""
        for _ in range(100):
            if not (self.cell.waiting() or self.cell.in_hand or self.cell.deadline <= self.cell.clock()):
                return
            self.step()
        raise AssertionError("there is no end to it")

    def step(self) -> None:
        """Take one step; what it raises is in `reports`."""
        with contextlib.suppress(StepRaised):
            self.loop.step()

    @property
    def seen(self) -> list[str]:
        return list(self.cell.core.seen)


async def kept_alive(rig: Rig, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run the loop again and again, as its supervisor does."""
    task_status.started()
    while True:
        try:
            await rig.loop.run()
        except StepRaised:
            continue
