"""Watch: sees what happens in one call, and tells the process's metrics and, where one is made, its recording.

Theory of operation. The call, its line and its errands have one watch, and tell it what they do: plain code that costs
a microsecond and decides nothing. Without it the call would go on in the same way.
"""

from collections.abc import Callable, Mapping
from typing import Final

import attrs
import trio

from engine.codec.telephony import RATE_HZ
from engine.debug import Recording
from engine.messages.line import SendClear, SendMark, SendMedia
from engine.messages.records import Counted, Timing, TokensUsed
from engine.messages.supervision import SessionInfo
from engine.metrics import STAGES, Metrics, failure_kind
from engine.supervisor import (
    ChildExited,
    ChildFailed,
    ChildStalled,
    ChildStarted,
    FailedBack,
    FailedOver,
    GaveUp,
    GaveUpError,
    RestartScheduled,
    SupervisionEvent,
)
from engine.tap import Listener
from engine.wiring import Edge, Port

_TURNS_KEPT: Final = 8
# What goes out within so long of another message is of the same burst: only the first finds what the Pacer left it.
_BURST_S: Final = 0.01
_ORDER: Final = {stage: order for order, stage in enumerate(STAGES)}


def event_name(event: SupervisionEvent) -> str:
    """Return what an event is called in logs and metrics: "child_failed"."""
    name = type(event).__name__
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


@attrs.define(eq=False, kw_only=True)
class Watch:
    """What is seen of one call.

    tenant: whose call it is. recording: where all of it is written down, if anywhere.
    """

    metrics: Metrics = attrs.field(factory=Metrics)
    tenant: str = ""
    recording: Recording | None = None
    # When each stage of the last turns was reached.
    _stages: dict[int, dict[str, float]] = attrs.field(init=False, factory=dict)
    # When marks that are still out were sent.
    _marks: dict[str, float] = attrs.field(init=False, factory=dict)
    # Until when the phone network has sound to play, and when it was last sent some.
    _plays_until: float = attrs.field(init=False, default=0.0)
    _sent_at: float = attrs.field(init=False, default=0.0)
    # Of the failure that was told last: what is decided about it is told next.
    _failure: str = attrs.field(init=False, default="")
    # Whether what was told last is a stall, whose failure is told next.
    _stalled: bool = attrs.field(init=False, default=False)
    # By actor: the vendor of its session, and how far that is.
    _sessions: dict[str, tuple[str, str]] = attrs.field(init=False, factory=dict)

    # The call.

    def opened(self) -> None:
        """The call began."""
        self.metrics.call_opened(self.tenant)

    def ended(self, reason: str) -> None:
        """The call is over."""
        self.metrics.call_ended(self.tenant, reason)
        if self.recording is not None:
            self.recording.close()
            self.metrics.counted("debug_dropped", self.recording.dropped)

    def reached(self, timing: Timing) -> None:
        """A turn reached a stage. Only the first time counts: a reply with tools has several first tokens."""
        stages = self._stages.setdefault(timing.turn, {})
        if timing.stage in stages or timing.stage not in _ORDER:
            return
        stages[timing.stage] = timing.at_s
        order = _ORDER[timing.stage]
        if order and STAGES[order - 1] in stages:  # a filler's first sound comes before the first audio
            self.metrics.stage_reached(timing.stage, max(0.0, timing.at_s - stages[STAGES[order - 1]]))
        if timing.stage == "turn_ended":
            self.metrics.turn_ended()
        if timing.stage == "first_sound" and "last_word" in stages:
            self.metrics.answered(max(0.0, timing.at_s - stages["last_word"]))
        while len(self._stages) > _TURNS_KEPT:
            del self._stages[min(self._stages)]

    def ticked(self, actor: str, late_s: float) -> None:
        """An actor woke for its deadline. The Pacer's is that of a message."""
        if actor == "pacer":
            self.metrics.pacer_woke(late_s)

    def counted(self, counted: Counted) -> None:
        """A core counted something."""
        self.metrics.counted(counted.name, counted.amount)

    def tokens_used(self, used: TokensUsed) -> None:
        """A request to a model is over."""
        use = "wasted" if used.wasted else "answered"
        self.metrics.model_used(used.vendor, used.input_tokens, used.output_tokens, use)

    # What goes wrong in it.

    def supervised(self, event: SupervisionEvent) -> None:
        """A supervisor of the call saw or decided something."""
        self.metrics.supervised(event.supervisor, event_name(event))
        stalled, self._stalled = self._stalled, isinstance(event, ChildStalled)
        match event:
            case ChildFailed(supervisor=actor, child=child, error=error):
                self._failure = "gave_up" if isinstance(error, GaveUpError) else failure_kind(error)
                if error is None and stalled:
                    self._failure = "slow"
                if child == "session" and (error is not None or stalled):
                    self.metrics.vendor_failed(*self._sessions[actor], self._failure)
            case RestartScheduled(supervisor=actor, child=child):
                self.metrics.restarted(actor, child, self._failure)
            case ChildStalled(supervisor=actor, child=child):
                self.metrics.stalled(actor, child)
            case FailedOver(supervisor=actor, was=was, now_on=now_on):
                self.metrics.failed_over(actor, was, now_on)
            case FailedBack(supervisor=actor, now_on=now_on):
                self.metrics.failed_back(actor, now_on)
            case GaveUp(supervisor=actor):
                self.metrics.gave_up(actor)
            case _:
                pass

    def raised(self, actor: str, remedy: str) -> None:
        """A core's step raised."""
        self.metrics.step_raised(actor, remedy)

    def lost(self, edge: Edge, why: str) -> None:
        """A message was dropped at its edge's bound, or set aside."""
        self.metrics.message_lost(edge.message.__name__, edge.reader, why)

    # Vendors.

    def session_opening(self, actor: str, vendor: str) -> None:
        """An actor's session begins to connect."""
        self._sessions[actor] = vendor, "connecting"

    def session_said(self, actor: str, event: object) -> None:
        """An actor's session is connected (SessionInfo), or says something."""
        if isinstance(event, SessionInfo):
            self._sessions[actor] = event.vendor, "connected"
            self.metrics.vendor_connected(event.vendor)
        if self.recording is not None:
            self.recording.crossed(f"{actor}.session", actor, event)

    def errand(self, vendor: str, event: SupervisionEvent) -> None:
        """An errand began or ended. vendor: the model's."""
        self.metrics.supervised(event.supervisor, event_name(event))
        if not event.child.startswith("model "):
            return
        match event:
            case ChildStarted():
                self.metrics.vendor_requested(vendor)
            case ChildExited():
                self.metrics.vendor_answered(vendor)
            case ChildFailed(error=error):
                self.metrics.vendor_failed(vendor, "request", failure_kind(error))
            case _:
                pass

    # The line.

    def line_read(self, text: str | bytes) -> None:
        """A message came."""
        if self.recording is not None:
            self.recording.line_read(text)

    def line_sending(self, message: object, text: str) -> None:
        """A message goes out."""
        now = trio.current_time()
        match message:
            case SendMark(name=name):
                self._marks[name] = now
            case SendClear():
                self._marks.clear()  # they come back at once, unplayed
                self._plays_until = now
            case SendMedia(audio=audio):
                self._led(now)
                self._plays_until = max(self._plays_until, now) + len(audio) / RATE_HZ
            case _:
                pass
        if self.recording is not None:
            self.recording.line_sent(text)

    def _led(self, now: float) -> None:
        """Tell the lead, unless nothing was playing: how often that was within a sentence the Pacer counts."""
        if now - self._sent_at >= _BURST_S and self._plays_until > now:
            self.metrics.pacer_led(self._plays_until - now)
        self._sent_at = now

    def mark_echoed(self, name: str) -> None:
        """A mark came back."""
        sent_at = self._marks.pop(name, None)
        if sent_at is not None:
            self.metrics.mark_echoed(trio.current_time() - sent_at)

    def bad_message(self, peer: str) -> None:
        """A message of the phone network ("twilio"), or of a vendor, broke its protocol."""
        self.metrics.bad_message(peer)

    # The recording.

    @property
    def listener(self) -> Listener | None:
        """Who is told of what passes on vendors' wires."""
        return None if self.recording is None else self.recording.vendor

    def seen(self, ports: Mapping[str, Callable[[Edge], Port]]) -> Mapping[str, Callable[[Edge], Port]]:
        """Return how ports are made, by reader, so that what goes through them is recorded, if anything is."""
        recording = self.recording
        if recording is None:
            return ports

        def watched(make: Callable[[Edge], Port]) -> Callable[[Edge], Port]:
            def made(edge: Edge) -> Port:
                port = make(edge)

                def put(message: object) -> None:
                    recording.crossed(edge.sender, edge.reader, message)
                    port(message)

                return put

            return made

        return {reader: watched(make) for reader, make in ports.items()}
