"""Tap: where a vendor's client shows what passes on its wire, to whoever listens to the call that it serves.

Theory of operation. The listener is in the context that trio's tasks inherit from who starts them, threads too: a
client need not be told which call it serves, and without a listener a tap costs one look-up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["sent", "received"]
"""As the engine sees it."""

Listener: TypeAlias = Callable[[str, Direction, str | bytes], None]
"""Told the vendor's name, the direction, and the message. Never waits, never raises."""

_listener: ContextVar[Listener | None] = ContextVar("tap", default=None)


def tap(vendor: str, direction: Direction, message: str | bytes) -> None:
    """Show a message of a vendor's wire, as it went or came. Never a header: keys are in those."""
    listener = _listener.get()
    if listener is not None:
        listener(vendor, direction, message)


@contextmanager
def tapped(listener: Listener | None) -> Iterator[None]:
    """Listen to every tap of this task, and of those that are started from here."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
