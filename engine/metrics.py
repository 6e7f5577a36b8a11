"""Metrics: what an operator watches, as Prometheus reads it.

Theory of operation. One `Metrics` a process, with a registry of its own. Whoever sees something happen calls the method
that is named after it: plain code, a microsecond, never waits, never raises. A label's values are few and written by
us: a call's id, a number, a vendor's own words never get here, and should one try, it is counted as "other".
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

import attrs
import trio
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from engine.health import Circuit
from engine.messages.errors import EngineBug, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError

# A second gauge beside each counter, of when it was made: twice the lines, and Prometheus knows it by itself.
disable_created_metrics()  # type: ignore[no-untyped-call]

OTHER: Final = "other"
"""In the place of a label's value that looks like data, or that is one too many."""

MOST_VALUES: Final = 40
"""Values that one label may take, tenants aside: the longest list of ours, the ends of calls, has a dozen."""

SAMPLE_S: Final = 0.25
"""Between two looks at the event loop: a stall of half of it is seen with even chances, at four wake-ups a second."""

_VALUE: Final = re.compile(r"[a-z][a-z0-9_.-]*( [a-z0-9_.-]+){0,7}")
_LONGEST_VALUE: Final = 40

# Seconds. A caller hears the difference between 0.3 and 0.5; over 1.5 is a pause that people remark on.
_HOP_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.5, 5.0)
_SAVED_S: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0)
_ANSWER_S: Final = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0)
# A timer's own grain is 1 ms; 0.3 is the Pacer's lead, beyond which the caller hears a gap.
_LATE_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.2, 0.3, 0.5, 1.0)
# Up to 0.3, the Pacer's lead, and a little more for its last message; a frame is 0.02.
_LEAD_S: Final = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.28, 0.3, 0.35, 0.5)
_ROUND_TRIP_S: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0)
_DEPTH: Final = (0, 1, 2, 5, 10, 20, 50, 100, 500, 1000)

STAGES: Final = (
    "last_word",
    "transcript_final",
    "turn_ended",
    "first_token",
    "first_clause",
    "first_audio",
    "first_sound",
)
"""Of a turn, in order: `records.Timing.stage`."""


def failure_kind(error: BaseException | None) -> str:
    """Return the class of a failure, by who must act: one of a handful of words, whatever a vendor wrote."""
    match error:
        case None:
            return "closed"  # by the call itself: a core wanted another session
        case ProviderError() if isinstance(error.__cause__, WireError):
            return "wire"
        case ProviderRefused():
            return "refused"
        case ProviderSlow():
            return "slow"
        case ProviderDown():
            return "down"
        case WireError():
            return "wire"
        case EngineBug():
            return "bug"
        case trio.Cancelled():
            return "cancelled"
        case _:
            return "raised"


@attrs.define(eq=False)
class Metrics:
    """All series of a process, `holdfast_…`, and what is told to them."""

    registry: CollectorRegistry = attrs.field(init=False, factory=CollectorRegistry)
    _values: dict[str, set[str]] = attrs.field(init=False, factory=dict)
    _calls_open: Gauge = attrs.field(init=False)
    _calls_started: Counter = attrs.field(init=False)
    _calls_ended: Counter = attrs.field(init=False)
    _turns: Counter = attrs.field(init=False)
    _stages: dict[str, Histogram] = attrs.field(init=False)
    _answers: Histogram = attrs.field(init=False)
    _supervised: Counter = attrs.field(init=False)
    _restarts: Counter = attrs.field(init=False)
    _given_up: Counter = attrs.field(init=False)
    _stalls: Counter = attrs.field(init=False)
    _fail_overs: Counter = attrs.field(init=False)
    _fail_backs: Counter = attrs.field(init=False)
    _circuits: Gauge = attrs.field(init=False)
    _steps_raised: Counter = attrs.field(init=False)
    _lost: Counter = attrs.field(init=False)
    _bad: Counter = attrs.field(init=False)
    _counted: Counter = attrs.field(init=False)
    _refused: Counter = attrs.field(init=False)
    _vendor_connections: Counter = attrs.field(init=False)
    _vendor_failures: Counter = attrs.field(init=False)
    _vendor_requests: Counter = attrs.field(init=False)
    _vendor_up: Gauge = attrs.field(init=False)
    _mailboxes: Histogram = attrs.field(init=False)
    _tokens: Counter = attrs.field(init=False)
    _pacer_late: Histogram = attrs.field(init=False)
    _pacer_lead: Histogram = attrs.field(init=False)
    _mark_round_trip: Histogram = attrs.field(init=False)
    _loop_late: Histogram = attrs.field(init=False)
    _eager_saved: Histogram = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._calls_open = self._gauge("calls_open", "Calls that are being served.", "tenant")
        self._calls_started = self._counter("calls_started", "Calls that began.", "tenant")
        self._calls_ended = self._counter("calls_ended", "Calls that ended, by why.", "tenant", "reason")
        self._turns = self._counter(
            "turns", "Turns of callers: ended (they had finished), answered (the first sound went out).", "outcome"
        )
        hops = self._histogram("stage_seconds", "From the stage of a turn before to this one.", _HOP_S, "stage")
        self._stages = {stage: hops.labels(stage) for stage in STAGES[1:]}
        self._answers = self._histogram(
            "answer_seconds", "From a caller's last word to the first sound of the answer sent.", _ANSWER_S
        )
        self._eager_saved = self._histogram(
            "eager_saved_seconds", "How much sooner a model was asked because the turn's end was expected.", _SAVED_S
        )
        self._supervised = self._counter(
            "supervision_events",
            "What supervisors saw and decided; tools and model requests too.",
            "supervisor",
            "event",
        )
        self._restarts = self._counter("restarts", "Restarts of actors and sessions.", "actor", "child", "reason")
        self._given_up = self._counter("given_up", "Supervisors that gave up.", "supervisor")
        self._stalls = self._counter("stalls", "Actors and sessions that gave no sign of life.", "actor", "child")
        self._fail_overs = self._counter(
            "fail_overs", "Sessions and models in whose place another vendor went on.", "actor", "was", "to"
        )
        self._fail_backs = self._counter("fail_backs", "Vendors that were given up, and are back.", "actor", "to")
        self._circuits = self._gauge(
            "vendor_circuit_open",
            "1: new calls do without it; 0.5: one call tries it; 0: all is well.",
            "work",
            "vendor",
        )
        self._steps_raised = self._counter("steps_raised", "Steps of cores that raised.", "actor", "remedy")
        self._lost = self._counter(
            "messages_lost", "Messages dropped at a full edge, or set aside.", "message", "reader", "reason"
        )
        self._bad = self._counter("bad_messages", "Messages that broke their peer's protocol; dropped.", "peer")
        self._counted = self._counter("counted", "What cores count, in the unit of its name.", "name")
        self._refused = self._counter("refused", "Requests and sockets turned away.", "door", "reason")
        self._vendor_connections = self._counter("vendor_connections", "Sessions that vendors accepted.", "vendor")
        self._vendor_failures = self._counter(
            "vendor_failures", "Sessions and requests that failed.", "vendor", "phase", "kind"
        )
        self._vendor_requests = self._counter("vendor_requests", "Requests made of models.", "vendor")
        self._tokens = self._counter(
            "model_tokens",
            "Tokens that models were given and gave, and whether any of it was used.",
            "vendor",
            "kind",
            "use",
        )
        self._vendor_up = self._gauge("vendor_up", "1: the vendor worked when last tried; 0: it did not.", "vendor")
        self._mailboxes = self._histogram(
            "mailbox_depth", "Messages unread in a mailbox, sampled once a second.", _DEPTH, "actor"
        )
        self._pacer_late = self._histogram(
            "pacer_late_seconds", "How late the Pacer woke for the message that was due.", _LATE_S
        )
        self._pacer_lead = self._histogram(
            "pacer_lead_seconds",
            "Sound that the phone network still had to play when more was sent; a message at once after another aside.",
            _LEAD_S,
        )
        self._mark_round_trip = self._histogram(
            "mark_round_trip_seconds",
            "From a mark sent to its echo: the sound still to be played before it (the Pacer's lead), and the network.",
            _ROUND_TRIP_S,
        )
        self._loop_late = self._histogram(
            "event_loop_late_seconds", "How late a timer of the event loop fired.", _LATE_S
        )
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"holdfast_{name}", what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"holdfast_{name}", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"holdfast_{name}", what, labels, registry=self.registry, buckets=buckets)

    def exposition(self) -> tuple[bytes, str]:
        """Return the body of `GET /metrics` and its content type. Takes some milliseconds."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    # Calls. tenant: its id in the configuration; a call of nobody's has none, and is refused, not started.

    def call_opened(self, tenant: str) -> None:
        """A call began."""
        self._calls_started.labels(tenant).inc()
        self._calls_open.labels(tenant).inc()

    def call_ended(self, tenant: str, reason: str) -> None:
        """A call that began is over. reason: `Call.reason`."""
        self._calls_open.labels(tenant).dec()
        self._calls_ended.labels(tenant, self._bounded("end", reason)).inc()

    # Turns.

    def turn_ended(self) -> None:
        """A caller had finished speaking: there will be an answer."""
        self._turns.labels("ended").inc()

    def stage_reached(self, stage: str, took_s: float) -> None:
        """A turn reached `stage`, one of STAGES, `took_s` after the stage before."""
        if stage in self._stages:
            self._stages[stage].observe(took_s)

    def answered(self, took_s: float) -> None:
        """The first sound of an answer was sent, `took_s` after the caller's last word."""
        self._turns.labels("answered").inc()
        self._answers.observe(took_s)

    # Failures inside.

    def supervised(self, supervisor: str, event: str) -> None:
        """A supervisor saw or decided something. event: the name of its class, in small letters."""
        self._supervised.labels(self._bounded("actor", supervisor), event).inc()

    def restarted(self, actor: str, child: str, reason: str) -> None:
        """A restart was scheduled. reason: `failure_kind`."""
        self._restarts.labels(self._bounded("actor", actor), self._bounded("child", child), reason).inc()

    def gave_up(self, supervisor: str) -> None:
        """A supervisor gave up."""
        self._given_up.labels(self._bounded("actor", supervisor)).inc()

    def stalled(self, actor: str, child: str) -> None:
        """An actor's loop or session gave no sign of life, and was killed."""
        self._stalls.labels(self._bounded("actor", actor), self._bounded("child", child)).inc()

    def failed_over(self, actor: str, was: str, now_on: str) -> None:
        """A call goes on with another vendor."""
        vendors = self._bounded("vendor", was), self._bounded("vendor", now_on)
        self._fail_overs.labels(self._bounded("actor", actor), *vendors).inc()

    def failed_back(self, actor: str, now_on: str) -> None:
        """A vendor that had been given up was of use again."""
        self._fail_backs.labels(self._bounded("actor", actor), self._bounded("vendor", now_on)).inc()

    def circuit_changed(self, work: str, vendor: str, choice: str, circuit: Circuit) -> None:
        """What the process knows of a vendor has changed: `Health.changed`.

        Of a choice the log tells, not the gauge: there may be as many as businesses, and the vendor is well.
        """
        if choice:
            return
        level = {Circuit.CLOSED: 0.0, Circuit.HALF_OPEN: 0.5, Circuit.OPEN: 1.0}[circuit]
        self._circuits.labels(self._bounded("work", work), self._bounded("vendor", vendor)).set(level)

    def step_raised(self, actor: str, remedy: str) -> None:
        """A core's step raised. remedy: the name of a `loop.Remedy`, in small letters."""
        self._steps_raised.labels(actor, remedy).inc()

    def message_lost(self, message: str, reader: str, reason: str) -> None:
        """A message was dropped at its edge's bound ("edge full"), or set aside ("set aside")."""
        self._lost.labels(message, reader, reason).inc()

    def bad_message(self, peer: str) -> None:
        """A message from `peer` ("twilio", or a vendor's name) broke the protocol, and was dropped."""
        self._bad.labels(self._bounded("vendor", peer)).inc()

    def counted(self, name: str, amount: float) -> None:
        """A core counted something: `records.Counted`."""
        self._counted.labels(self._bounded("counted", name)).inc(max(0.0, amount))
        if name == "eager_saved_s":
            self._eager_saved.observe(max(0.0, amount))

    # The front door.

    def refused(self, door: str, reason: str) -> None:
        """A request or a socket was turned away at `door`, such as "incoming", "media". reason: some words of ours."""
        self._refused.labels(self._bounded("door", door), self._bounded(f"door {door}", reason)).inc()

    # Vendors. vendor: its name in the configuration.

    def vendor_connected(self, vendor: str) -> None:
        """A vendor accepted a session."""
        vendor = self._bounded("vendor", vendor)
        self._vendor_connections.labels(vendor).inc()
        self._vendor_up.labels(vendor).set(1)

    def vendor_requested(self, vendor: str) -> None:
        """A request was made of a model."""
        self._vendor_requests.labels(self._bounded("vendor", vendor)).inc()

    def vendor_answered(self, vendor: str) -> None:
        """A request was answered to its end."""
        self._vendor_up.labels(self._bounded("vendor", vendor)).set(1)

    def vendor_failed(self, vendor: str, phase: str, kind: str) -> None:
        """A session or a request failed.

        phase: "connecting" (never accepted), "connected" (broke off later), "request". kind: `failure_kind`.
        """
        vendor = self._bounded("vendor", vendor)
        self._vendor_failures.labels(vendor, phase, kind).inc()
        self._vendor_up.labels(vendor).set(0)

    def model_used(self, vendor: str, input_tokens: int, output_tokens: int, use: str) -> None:
        """A request to a model is over. use: "answered", or "wasted" where nothing of it was."""
        vendor = self._bounded("vendor", vendor)
        self._tokens.labels(vendor, "input", use).inc(input_tokens)
        self._tokens.labels(vendor, "output", use).inc(output_tokens)

    # Time and queues.

    def mailbox_sampled(self, actor: str, depth: int) -> None:
        """So many messages lay unread in an actor's mailbox."""
        self._mailboxes.labels(actor).observe(depth)

    def pacer_woke(self, late_s: float) -> None:
        """The Pacer woke this long after its deadline."""
        self._pacer_late.observe(late_s)

    def pacer_led(self, lead_s: float) -> None:
        """More sound went out while the phone network had so much to play."""
        self._pacer_lead.observe(lead_s)

    def mark_echoed(self, took_s: float) -> None:
        """A mark came back that no clear had sent back, so long after it was sent."""
        self._mark_round_trip.observe(took_s)

    def loop_woke(self, late_s: float) -> None:
        """A timer of the event loop fired this long after its time."""
        self._loop_late.observe(late_s)

    async def sample(self, depths: Callable[[], Iterable[tuple[str, int]]]) -> None:
        """Watch the event loop four times a second, and mailboxes once a second, until cancelled.

        depths: of every open call's mailboxes: the actor, and how much lies unread.
        """
        while True:
            for actor, depth in depths():
                self.mailbox_sampled(actor, depth)
            for _ in range(round(1 / SAMPLE_S)):
                due = trio.current_time() + SAMPLE_S
                await trio.sleep_until(due)
                self.loop_woke(trio.current_time() - due)

    def _bounded(self, label: str, value: str) -> str:
        """Return a label's value, or OTHER for one that looks like data, or comes after MOST_VALUES others."""
        values = self._values.setdefault(label, set())
        if value in values:
            return value
        fits = len(value) <= _LONGEST_VALUE and _VALUE.fullmatch(value)
        if not fits or len(values) >= MOST_VALUES:
            return OTHER
        values.add(value)
        return value
