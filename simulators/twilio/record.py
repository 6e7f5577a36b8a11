"""A call's record: all that the phone network saw and heard of it."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import attrs

from simulators.audio import RATE_HZ
from simulators.events import Connected, Event, HungUp, Noticed
from simulators.timeline import Timeline
from simulators.twilio.codes import Code

_E = TypeVar("_E")


@attrs.frozen(kw_only=True)
class Delivery:
    """Audio that the server sent: when it came, and where it was to sound, in samples of the call's timeline."""

    came_at: int
    start: int
    length: int


@attrs.frozen(kw_only=True)
class RefusedMessage:
    """A message of the server that was ignored, and why."""

    at_s: float
    code: int
    why: str
    message: str


@attrs.frozen(kw_only=True)
class CallRecord:
    """What is left of a call.

    dialled_on: the wall clock at moment zero of the call's timeline.
    events: in the order in which they were noticed.
    caller_audio, agent_audio: what was said into the phone (with the line's noise) and what was heard from it; 8 kHz
        µ-law from the moment of dialling to the end, of one length.
    refused: every message of the server that was ignored.
    deliveries: where each piece of the server's audio was put; what a clear or the end took away again is in it.
    documents: the TwiML that was given, in order.
    """

    call_sid: str
    account_sid: str
    caller_number: str
    dialled_number: str
    dialled_on: datetime
    events: tuple[Event, ...]
    caller_audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    agent_audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    refused: tuple[RefusedMessage, ...]
    deliveries: tuple[Delivery, ...] = attrs.field(repr=lambda deliveries: f"<{len(deliveries)} deliveries>")
    documents: tuple[str, ...]

    def all_of(self, kind: type[_E]) -> tuple[_E, ...]:
        """The events of one kind."""
        return tuple(event for event in self.events if isinstance(event, kind))

    @property
    def duration_s(self) -> float:
        """From dialling to the end."""
        return len(self.agent_audio) / RATE_HZ

    @property
    def hung_up(self) -> HungUp:
        """How the call ended; there is one such event in every record."""
        return self.all_of(HungUp)[-1]

    @property
    def notices(self) -> tuple[Noticed, ...]:
        """The errors and warnings."""
        return self.all_of(Noticed)

    @property
    def start_s(self) -> float | None:
        """When the first stream's ``start`` was sent: a server's second zero. None if there was no stream."""
        return next((event.at_s for event in self.all_of(Connected)), None)


class Ledger:
    """Where everything that happens in a call is written down, and shown if somebody looks on."""

    def __init__(self, timeline: Timeline, *, on_event: Callable[[Event], None] | None) -> None:
        self._timeline = timeline
        self._on_event = on_event
        self.events: list[Event] = []
        self.refused: list[RefusedMessage] = []
        self.deliveries: list[Delivery] = []
        self.documents: list[str] = []

    def tell(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)
        if self._on_event is not None:
            self._on_event(event)

    def notice(self, code: Code, text: str) -> None:
        """Keep an error or a warning for the server's owner."""
        self.tell(Noticed(at_s=self._timeline.now_s(), code=code, text=text))

    def refuse(self, code: Code, why: str, message: str) -> None:
        """Keep a message that was ignored."""
        self.refused.append(RefusedMessage(at_s=self._timeline.now_s(), code=code, why=why, message=message))
