"""The wiring of a call: which message goes from whom to whom, how many may wait, and what happens then."""

import enum
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import attrs

from engine.messages.errors import EngineBug

Port: TypeAlias = Callable[[object], None]
"""Where an edge ends. Calling it never waits and never raises while the call is open."""


class AtBound(enum.Enum):
    """What happens to the message that finds its edge full."""

    DROP_OLDEST = "the oldest waiting one is dropped, and counted"
    STALLED = "it is kept; its reader has stalled, which is a crash"


class SetAside(enum.Enum):
    """What happens when a message was set aside because every core that met it raised."""

    COUNT = "counted"
    REPEAT = "counted; words were in it, so the caller is asked to repeat"


@attrs.frozen(cache_hash=True)  # each message counts by its edge
class Edge:
    """One kind of message from one part of a call to another.

    sender, reader: an actor ("stt"), its session ("stt.session"), or a part of the call ("line", "model", "call").
    bound: messages of this edge that may wait unread.
    """

    message: type
    sender: str
    reader: str
    at_bound: AtBound = attrs.field(default=AtBound.STALLED, kw_only=True)
    bound: int = attrs.field(default=1000, kw_only=True)
    set_aside: SetAside = attrs.field(default=SetAside.COUNT, kw_only=True)

    def __str__(self) -> str:
        return f"{self.sender} -{self.message.__name__}-> {self.reader}"


@attrs.frozen
class Wiring:
    """All edges of a call. Raises EngineBug for a table that contradicts itself."""

    edges: tuple[Edge, ...]

    def __attrs_post_init__(self) -> None:
        seen: set[tuple[type, str, str]] = set()
        for edge in self.edges:
            key = (edge.message, edge.sender, edge.reader)
            if key in seen:
                msg = f"the edge {edge} stands twice in the table"
                raise EngineBug(msg)
            if edge.bound < 1:
                msg = f"the edge {edge} has bound {edge.bound}; allowed: 1 or more"
                raise EngineBug(msg)
            seen.add(key)

    def read_by(self, reader: str) -> tuple[Edge, ...]:
        """Return the edges that end at `reader`."""
        return tuple(edge for edge in self.edges if edge.reader == reader)

    def sent_by(self, sender: str) -> tuple[Edge, ...]:
        """Return the edges that begin at `sender`."""
        return tuple(edge for edge in self.edges if edge.sender == sender)

    def outlets(self, sender: str, ports: Mapping[str, Callable[[Edge], Port]]) -> dict[type, tuple[Port, ...]]:
        """Return where each message of `sender` goes. `ports` makes a port for an edge, by its reader.

        Raises EngineBug for a reader that has no port.
        """
        table: dict[type, list[Port]] = {}
        for edge in self.sent_by(sender):
            if edge.reader not in ports:
                msg = f"the edge {edge} ends nowhere; known: {', '.join(sorted(ports))}"
                raise EngineBug(msg)
            table.setdefault(edge.message, []).append(ports[edge.reader](edge))
        return {message: tuple(found) for message, found in table.items()}

    def check_inbox(self, reader: str, inbox: object, *, besides: Iterable[type] = ()) -> None:
        """Raise EngineBug unless the union `inbox` names exactly what the table lets `reader` read.

        besides: what the shell itself gives an actor, such as `Tick`.
        """
        declared = set(typing.get_args(inbox) or (inbox,)) - set(besides)
        wired = {edge.message for edge in self.read_by(reader)}
        names = [f"no edge brings {each.__name__}" for each in declared - wired]
        names += [f"no case for {each.__name__}" for each in wired - declared]
        if names:
            msg = f"{reader}'s inbox and the wiring differ: {'; '.join(sorted(names))}"
            raise EngineBug(msg)
