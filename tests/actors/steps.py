"""Driving a core by hand: messages with literal times in, the core and what it sent out."""

from collections.abc import Iterable
from typing import TypeVar

from engine.mailbox import Core
from engine.messages.supervision import Tick

CoreT = TypeVar("CoreT", bound=Core)
T = TypeVar("T")


def step(core: CoreT, message: object, now: float) -> tuple[CoreT, list[object]]:
    """Take a step as the loop does: a tick has to move the deadline on."""
    after, effects = core.handle(message, now)
    assert not isinstance(message, Tick) or after.deadline > now, f"deadline {after.deadline} not moved on at {now}"
    return after, effects


def ran(core: CoreT, *steps: tuple[object, float]) -> tuple[CoreT, list[object]]:
    """Take one step after another, and return the last core and all that was sent."""
    sent: list[object] = []
    for message, now in steps:
        core, effects = step(core, message, now)
        sent += effects
    return core, sent


def after(core: CoreT, *steps: tuple[object, float]) -> CoreT:
    """Take steps, and return the last core."""
    return ran(core, *steps)[0]


def sent(core: Core, *steps: tuple[object, float]) -> list[object]:
    """Take steps, and return all that was sent."""
    return ran(core, *steps)[1]


def waited(core: CoreT, until: float) -> tuple[CoreT, list[object]]:
    """Give the core its ticks, each at its deadline, until a moment (which is included)."""
    told: list[object] = []
    while core.deadline <= until:
        core, effects = step(core, Tick(), core.deadline)
        told += effects
    return core, told


def only(kind: type[T], messages: Iterable[object]) -> list[T]:
    """Return the messages of a kind."""
    return [each for each in messages if isinstance(each, kind)]
