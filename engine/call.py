"""A call: two tables, and the nursery that is opened from them.

Theory of operation. `WIRING` says which message goes from whom to whom; `ACTORS` says who there is, in order of
starting. Four things live in the call's nursery: the archive's one writer; the tasks (model requests, tool runs); the
line (its reader, with the voice activity detector, and its writer); and the tree of actors, each a supervisor over its
loop and its session. What belongs to the call outlives any actor. The end comes from the line alone: `LineClosed` flows
down the path, and when it has left the Pacer the tree is stopped, what lies in mailboxes is worked off in plain steps,
tools under way and the archive are waited for, and the call is over.
"""

import enum
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol, TypeAlias, assert_never

import attrs
import structlog
import trio

from engine.actors import agent, pacer, stt, tts, turn_detector, twilio_io
from engine.actors.agent import Agent
from engine.actors.pacer import Pacer
from engine.actors.stt import STT
from engine.actors.tts import TTS
from engine.actors.turn_detector import TurnDetector
from engine.actors.twilio_io import TwilioIO
from engine.codec import twilio
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE
from engine.loop import Kind, Loop, Remedy, SessionSeam, StepRaised
from engine.mailbox import Cell, Core, Envelope, SessionCore
from engine.messages.caller import CallerAudio, Dtmf, LineClosed, MarkEcho, SpeechStarted, SpeechStopped
from engine.messages.errors import EngineBug, ProviderRefused, WireError
from engine.messages.line import (
    CloseLine,
    LineAudio,
    LineDtmf,
    LineEnded,
    LineMark,
    SendClear,
    SendMark,
    SendMedia,
)
from engine.messages.model import (
    AskModel,
    CallTool,
    CancelModel,
    ModelEnded,
    ModelFailed,
    ModelText,
    ModelToolCall,
    ToolReturned,
)
from engine.messages.playout import Played, Playing, Stopped
from engine.messages.recognition import Finalise, Recognise, Recognised, Transcript
from engine.messages.records import Counted, Record, Timing
from engine.messages.reply import HangUp, PlayClip, PlayNotice, ReplyEnded, Sentence
from engine.messages.supervision import Tick
from engine.messages.synthesis import (
    AgentAudio,
    AgentAudioEnded,
    AgentAudioTrimmed,
    CancelSynthesis,
    SynthesisEnded,
    Synthesise,
    Synthesised,
)
from engine.messages.turns import BargedIn, CallerIdle, CallOpened, TurnEnded
from engine.policy import RestartPolicy
from engine.providers.contract import Model, ModelRequest, Recogniser, ToolSchema, Voice
from engine.supervisor import (
    TEMPORARY,
    TRANSIENT,
    ChildFailed,
    ChildSpec,
    ChildStarted,
    GaveUp,
    GaveUpError,
    Incarnation,
    RestartScheduled,
    RestartType,
    Start,
    Strategy,
    SupervisionEvent,
    Supervisor,
)
from engine.wiring import AtBound, Edge, Port, SetAside, Wiring

# ── the tables ────────────────────────────────────────────────────────────────────────────────────────────────────────

_DROP, _REPEAT = AtBound.DROP_OLDEST, SetAside.REPEAT

WIRING = Wiring(
    (
        Edge(LineAudio, "line", "twilio_io", at_bound=_DROP, bound=1500, set_aside=_REPEAT),
        Edge(LineDtmf, "line", "twilio_io", set_aside=_REPEAT),
        Edge(LineMark, "line", "twilio_io"),
        Edge(LineEnded, "line", "twilio_io"),
        Edge(CallerAudio, "twilio_io", "stt", at_bound=_DROP, bound=1500, set_aside=_REPEAT),
        Edge(SpeechStarted, "twilio_io", "turn_detector"),
        Edge(SpeechStopped, "twilio_io", "turn_detector"),
        Edge(Dtmf, "twilio_io", "turn_detector", set_aside=_REPEAT),
        Edge(MarkEcho, "twilio_io", "pacer"),
        Edge(LineClosed, "twilio_io", "stt"),
        Edge(Recognise, "stt", "stt.session", bound=3000),
        Edge(Finalise, "stt", "stt.session"),
        Edge(Recognised, "stt.session", "stt", set_aside=_REPEAT),
        Edge(Transcript, "stt", "turn_detector", set_aside=_REPEAT),
        Edge(LineClosed, "stt", "turn_detector"),
        Edge(TurnEnded, "turn_detector", "agent", set_aside=_REPEAT),
        Edge(BargedIn, "turn_detector", "agent"),
        Edge(BargedIn, "turn_detector", "tts"),
        Edge(BargedIn, "turn_detector", "pacer"),
        Edge(CallerIdle, "turn_detector", "agent"),
        Edge(LineClosed, "turn_detector", "agent"),
        Edge(CallOpened, "call", "agent"),
        Edge(AskModel, "agent", "model"),
        Edge(CancelModel, "agent", "model"),
        Edge(ModelText, "model", "agent", bound=5000, set_aside=_REPEAT),
        Edge(ModelToolCall, "model", "agent", set_aside=_REPEAT),
        Edge(ModelEnded, "model", "agent", set_aside=_REPEAT),
        Edge(ModelFailed, "model", "agent", set_aside=_REPEAT),
        Edge(CallTool, "agent", "tools"),
        Edge(ToolReturned, "tools", "agent", set_aside=_REPEAT),
        Edge(Sentence, "agent", "tts", set_aside=_REPEAT),
        Edge(Sentence, "agent", "pacer", set_aside=_REPEAT),
        Edge(PlayClip, "agent", "pacer", set_aside=_REPEAT),
        Edge(ReplyEnded, "agent", "pacer"),
        Edge(HangUp, "agent", "pacer"),
        Edge(LineClosed, "agent", "tts"),
        Edge(Synthesise, "tts", "tts.session"),
        Edge(CancelSynthesis, "tts", "tts.session"),
        Edge(Synthesised, "tts.session", "tts", set_aside=_REPEAT),
        Edge(SynthesisEnded, "tts.session", "tts", set_aside=_REPEAT),
        Edge(AgentAudio, "tts", "pacer", set_aside=_REPEAT),
        Edge(AgentAudioTrimmed, "tts", "pacer", set_aside=_REPEAT),
        Edge(AgentAudioEnded, "tts", "pacer", set_aside=_REPEAT),
        Edge(LineClosed, "tts", "pacer"),
        Edge(PlayNotice, "call", "pacer"),
        Edge(Playing, "pacer", "turn_detector"),
        Edge(Stopped, "pacer", "turn_detector"),
        Edge(Played, "pacer", "agent"),
        Edge(SendMedia, "pacer", "line", bound=3000),
        Edge(SendMark, "pacer", "line"),
        Edge(SendClear, "pacer", "line"),
        Edge(CloseLine, "pacer", "line"),
        Edge(LineClosed, "pacer", "call"),
        Edge(Record, "agent", "archive"),
        Edge(Timing, "turn_detector", "archive"),
        Edge(Timing, "agent", "archive"),
        Edge(Timing, "tts", "archive"),
        Edge(Timing, "pacer", "archive"),
        Edge(Counted, "stt", "log"),
        Edge(Counted, "pacer", "log"),
    )
)

INBOXES: Mapping[str, object] = {
    "pacer": pacer.Inbox,
    "tts": tts.Inbox,
    "agent": agent.Inbox,
    "turn_detector": turn_detector.Inbox,
    "stt": stt.Inbox,
    "twilio_io": twilio_io.Inbox,
}
"""The six actors and what each reads, in order of starting: who is spoken to is there before who speaks."""

for _name, _inbox in INBOXES.items():
    WIRING.check_inbox(_name, _inbox, besides=(Tick,))

# ── what a call is given ──────────────────────────────────────────────────────────────────────────────────────────────


class Line(Protocol):
    """The socket to the phone network, from the engine's side."""

    async def receive(self) -> str | bytes:
        """Return the next message. Raises trio.EndOfChannel when the peer has gone."""

    async def send(self, text: str) -> None:
        """Send a message; always a checkpoint. Raises trio.BrokenResourceError when the peer has gone."""

    async def aclose(self) -> None:
        """Close with code 1000: what was sent is delivered, and the phone network goes on with its next verb."""


class Tools(Protocol):
    """What the agent can do in this call."""

    def schemas(self) -> tuple[ToolSchema, ...]:
        """Return the tools as a model is told of them."""

    async def run(self, call: CallTool) -> ToolReturned:
        """Run a tool, recorded before it runs, once for its id. Failures are results."""


class Archive(Protocol):
    """Where a call leaves its conversation. Writes come one at a time, in order."""

    async def opened(self) -> None:
        """Note that the call has begun."""

    async def put(self, item: Record | Timing) -> None:
        """Keep an item; again changes nothing."""

    async def ended(self, reason: str) -> None:
        """Note how the call ended."""


class Vad(Protocol):
    """A voice activity detector with the state of one line."""

    def voiced(self, frame: bytes) -> bool:
        """Whether there is speech in a frame of 160 bytes of µ-law."""


@attrs.frozen(kw_only=True)
class Cores:
    """The cores that a call begins with, by the tenant's policies."""

    pacer: Pacer
    tts: TTS = TTS()
    agent: Agent
    turn_detector: TurnDetector = TurnDetector()
    stt: STT = STT()
    twilio_io: TwilioIO = TwilioIO()


@attrs.frozen(kw_only=True)
class ActorPolicy:
    """How one actor is supervised: its own crashes and its session's. shutdown_s: what it may take to stop."""

    restart: RestartType = RestartType.PERMANENT
    policy: RestartPolicy = RestartPolicy()
    shutdown_s: float = 2.0


@attrs.frozen(kw_only=True)
class CallPolicy:
    """How a call is supervised and ended.

    strategy, policy: of the actors' crashes that their own supervisors gave up on.
    closing_s: how long the end may take to flow down the path. 2.0: a second for the last words, one to spare.
    shutdown_s: how long tools under way and the archive are waited for. 5.0: a tool's own time limit.
    repeat_s: the caller is asked to repeat at most once in this time. 5.0: one fault, one question.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    policy: RestartPolicy = RestartPolicy(intensity=8, period_s=60.0)
    actors: Mapping[str, ActorPolicy] = attrs.field(factory=dict)
    longest_s: float = 3600.0
    closing_s: float = 2.0
    shutdown_s: float = 5.0
    repeat_s: float = 5.0


@attrs.frozen(kw_only=True)
class Plan:
    """All that a call is opened with."""

    stream_sid: str
    call_sid: str
    prompt: str
    greeting: str
    cores: Cores
    policy: CallPolicy = CallPolicy()
    recogniser: Recogniser
    voice: Voice
    model: Model
    tools: Tools
    archive: Archive
    vad: Vad
    on_raise: Callable[[StepRaised], None] = lambda _report: None


class Phase(enum.Enum):
    """How far a call has come."""

    OPEN = "open"
    CLOSING = "the line is gone, and the end flows down the path"
    DRAINING = "no actor runs any more; what lies in mailboxes is worked off"


ARCHIVE_BOUND = 100_000
"""Rows that may wait for the archive. An hour's call has some thousand, so a database away for a call loses nothing."""

LINE_BOUND = 3000
"""Messages that may wait for the line: a minute of audio. A peer that is that far behind has stopped reading."""

LOGGED_BAD_MESSAGES = 5
"""Malformed messages of one call that are logged; the others are counted."""

_QUIET_FIELDS = {"happened_at", "history", "error"}

FromLine: TypeAlias = LineAudio | LineDtmf | LineMark | LineEnded
ToLine: TypeAlias = SendMedia | SendMark | SendClear | CloseLine
END_CALL_TOOL = ToolSchema(
    name=agent.END_CALL,
    description="End the phone call after what you have said in this turn was heard. Say goodbye first.",
    input_schema={"type": "object", "properties": {}, "additionalProperties": False},
)

# ── the call ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Call:
    """One call, from the line's `start` to its end. `run` is the whole of its life."""

    # What a call is made of; a test takes a rule out by a subclass of its own.
    cell_type: ClassVar[type[Cell[Any]]] = Cell
    loop_type: ClassVar[type[Loop]] = Loop
    seam_type: ClassVar[type[SessionSeam[Any, Any]]] = SessionSeam
    supervisor_type: ClassVar[type[Supervisor]] = Supervisor
    wiring: ClassVar[Wiring] = WIRING

    line: Line
    plan: Plan
    opened_at: float = attrs.field(init=False, factory=trio.current_time)
    phase: Phase = attrs.field(init=False, default=Phase.OPEN)
    reason: str = attrs.field(init=False, default="")
    cells: dict[str, Cell[Any]] = attrs.field(init=False, factory=dict)
    loops: dict[str, Loop] = attrs.field(init=False, factory=dict)
    actors: dict[str, Supervisor] = attrs.field(init=False, factory=dict)
    # In order of starting: "archive", "tasks", "call" (the actors), "line".
    supervisors: dict[str, Supervisor] = attrs.field(init=False)
    # Where each sender's messages go, by their class.
    outlets: dict[str, dict[type, tuple[Port, ...]]] = attrs.field(init=False, factory=dict)
    seams: dict[str, SessionSeam[Any, Any]] = attrs.field(init=False, factory=dict)
    bad_messages: int = attrs.field(init=False, default=0)
    _log: structlog.stdlib.BoundLogger = attrs.field(init=False)
    _running: dict[str, Callable[[], None]] = attrs.field(init=False, factory=dict)
    _to_line: deque[ToLine] = attrs.field(init=False, factory=deque)
    _line_woken: trio.Event = attrs.field(init=False, factory=trio.Event)
    _line_gone: trio.Event = attrs.field(init=False, factory=trio.Event)
    _ended: trio.Event = attrs.field(init=False, factory=trio.Event)
    _archive_in: trio.MemorySendChannel[Record | Timing] = attrs.field(init=False)
    _archive_out: trio.MemoryReceiveChannel[Record | Timing] = attrs.field(init=False)
    # What is being written; it is written again if the writing died.
    _archiving: Record | Timing | None = attrs.field(init=False, default=None)
    _sending: ToLine | None = attrs.field(init=False, default=None)
    _begun: set[str] = attrs.field(init=False, factory=set)
    _stopped: dict[str, trio.Event] = attrs.field(init=False)
    _archived: trio.Event = attrs.field(init=False, factory=trio.Event)
    _task_ended: trio.Event = attrs.field(init=False, factory=trio.Event)
    _repeat_at: float = attrs.field(init=False, default=-1e9)

    def __attrs_post_init__(self) -> None:
        self._log = structlog.get_logger("engine.call").bind(call_sid=self.plan.call_sid)
        self._archive_in, self._archive_out = trio.open_memory_channel[Record | Timing](ARCHIVE_BOUND)
        policy = self.plan.policy
        line = (("writer", self._write_line), ("reader", self._read_line))
        self.supervisors = {
            "archive": self._supervisor("archive", (_child("writer", self._write_archive, restart=TRANSIENT),)),
            "tasks": self.supervisor_type(name="tasks", specs=(), on_event=self._task_event),
            "call": self._supervisor("call", [self._actor(name) for name in INBOXES], strategy=policy.strategy),
            "line": self._supervisor("line", [_child(name, start, restart=TRANSIENT) for name, start in line]),
        }
        self._stopped = {name: trio.Event() for name in self.supervisors}
        self.outlets = {edge.sender: self._outlets(edge.sender) for edge in self.wiring.edges}
        for name, loop in self.loops.items():
            loop.outlets = self.outlets[name]

    def _supervisor(
        self, name: str, specs: Sequence[ChildSpec], *, strategy: Strategy = Strategy.ONE_FOR_ONE
    ) -> Supervisor:
        return self.supervisor_type(
            name=name, specs=specs, strategy=strategy, policy=self.plan.policy.policy, on_event=self._event
        )

    def clock(self) -> float:
        """Return the seconds since the call opened: every core's `now`."""
        return trio.current_time() - self.opened_at

    async def run(self) -> str:
        """Serve the call to its end and return why it ended.

        Cancelled, it still works off what lies in mailboxes and waits `shutdown_s` for tools and archive.
        """
        self._log.info("call_opened", stream_sid=self.plan.stream_sid)
        await self.plan.archive.opened()
        async with trio.open_nursery() as nursery:
            try:
                for name in self.supervisors:
                    await nursery.start(self._supervise, name)
                self.tell("call", CallOpened(greeting=self.plan.greeting))
                with trio.move_on_after(self.plan.policy.longest_s):
                    await self._line_gone.wait()
                self._line_over("longest_call_s")
                with trio.move_on_after(self.plan.policy.closing_s):
                    await self._ended.wait()
            finally:
                self._line_over("cancelled")
                with trio.CancelScope(shield=True):
                    await self._wind_up()
        self._log.info("call_ended", reason=self.reason, after_s=round(self.clock(), 1), **self.counts())
        return self.reason

    async def _supervise(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        """Run a supervisor until `_wind_up` stops it, which is always: a cancellation only begins the end."""
        self._begun.add(name)
        with trio.CancelScope(shield=True):
            try:
                await self.supervisors[name].run(task_status=task_status)
            except GaveUpError as error:
                self._log.error("gave_up", supervisor=name, child=error.child, reason=error.reason)
                if name == "call":
                    await self._say_sorry()
                if name in {"call", "line"}:
                    self._line_over("gave_up")
            finally:
                self._stopped[name].set()

    async def _say_sorry(self) -> None:
        """Apologise without the actors, who are gone, and close the line."""
        clip = self.plan.cores.pacer.clips.get(agent.APOLOGY)
        sound = b"" if clip is None else clip.audio
        self._queue_for_line(SendClear())
        self._queue_for_line(SendMedia(audio=sound + bytes([SILENCE]) * (-len(sound) % FRAME_BYTES)))
        with trio.move_on_after(len(sound) / RATE_HZ + 0.5):
            await self._line_gone.wait()

    def _line_over(self, reason: str) -> None:
        """The line is gone, or is given up: the end flows down the path. Only the first reason counts."""
        if self.phase is Phase.OPEN:
            self.phase = Phase.CLOSING
            self.reason = reason
            self.tell("line", LineEnded(reason=reason))
            self._line_gone.set()

    async def _wind_up(self) -> None:
        """Stop the actors, work off their mailboxes, wait for the tools and the archive, close the line."""
        policy = self.plan.policy
        await self._stop("call")
        self.phase = Phase.DRAINING
        self.drain()
        with trio.move_on_after(policy.shutdown_s):
            while any(child.id.startswith("tool ") for child in self.supervisors["tasks"].children()):
                self._task_ended = trio.Event()
                await self._task_ended.wait()
        await self._stop("tasks")
        self.drain()
        self._archive_in.close()
        with trio.move_on_after(policy.shutdown_s) as late:
            await self._archived.wait()
        if late.cancelled_caught:
            self._log.error("archive_cut_off", waiting=self._archive_out.statistics().current_buffer_used)
        await self._stop("archive")
        await self._stop("line")
        with trio.move_on_after(policy.shutdown_s):
            await self.plan.archive.ended(self.reason)
        await self.line.aclose()

    async def _stop(self, name: str) -> None:
        self.supervisors[name].stop()
        if name in self._begun:
            await self._stopped[name].wait()

    def drain(self) -> None:
        """Work off the mailboxes in plain steps, without sessions; the end is told to whom it did not reach."""
        for told in (False, True):
            if told and not self._ended.is_set():
                closed = LineClosed(reason=self.reason, at_s=self.clock())
                self.cells["turn_detector"].put(Envelope(closed, None, self.clock()))
            while any(cell.waiting() or cell.in_hand for cell in self.cells.values()):
                for name in reversed(tuple(INBOXES)):
                    self._drained(name)

    def _drained(self, name: str) -> None:
        cell, loop = self.cells[name], self.loops[name]
        while cell.waiting() or cell.in_hand:
            try:
                loop.step()
            except StepRaised:
                continue  # told by `raised`; the cell knows how to go on

    def counts(self) -> dict[str, int]:
        """Return what was dropped and set aside in this call, by edge."""
        return {name: count for cell in self.cells.values() for name, count in sorted(cell.counts.items())}

    # Ports.

    def tell(self, sender: str, message: object) -> None:
        """Send a message that belongs to a part of the call rather than to an actor."""
        for port in self.outlets[sender][type(message)]:
            port(message)

    def _outlets(self, name: str) -> dict[type, tuple[Port, ...]]:
        readers = {edge.reader for edge in self.wiring.sent_by(name)}
        return self.wiring.outlets(name, dict.fromkeys(readers, self._port))

    def _port(self, edge: Edge) -> Port:
        """Return where an edge ends. No port waits, and none raises."""
        match edge.reader:
            case "line":
                return self._queue_for_line
            case "model" | "tools":
                return self._start_task
            case "archive":
                return self._keep
            case "log":
                return self._count
            case "call":
                return self._finished
            case "stt.session" | "tts.session":
                return partial(self._ask_session, edge.reader.removesuffix(".session"))
            case reader:
                return self.cells[reader].port(edge)

    def _ask_session(self, name: str, ask: object) -> None:
        seam = self.seams.get(name)
        if seam is not None:
            seam.put(ask)

    def _keep(self, item: object) -> None:
        assert isinstance(item, Record | Timing)
        try:
            self._archive_in.send_nowait(item)
        except (trio.WouldBlock, trio.ClosedResourceError):
            self._log.error("archive_item_lost", item=repr(item))

    def _count(self, counted: object) -> None:
        assert isinstance(counted, Counted)
        self._log.warning("counted", name=counted.name, amount=counted.amount)

    def _finished(self, closed: object) -> None:
        assert isinstance(closed, LineClosed)
        self.reason = self.reason or closed.reason
        self._ended.set()

    # Actors.

    def _actor(self, name: str) -> ChildSpec:
        """Make an actor's cell, loop and supervisor, and return it as a child of the call."""
        policy = self.plan.policy.actors.get(name, ActorPolicy())
        first: Core = getattr(self.plan.cores, name)
        cell = self.cell_type(
            name, first, self.clock, on_stall=partial(self._stalled, name), on_lost=partial(self._lost, name)
        )
        loop = self.loop_type(
            cell,
            opened_at=self.opened_at,
            outlets={},
            close_session=partial(self._close_session, name),
            useful=partial(self._useful, name),
            raised=self._raised,
        )
        specs = [_child("loop", loop.run, restart=RestartType.PERMANENT)]
        if isinstance(first, SessionCore):
            specs.append(_child("session", partial(self._session, name), restart=RestartType.PERMANENT))
        supervisor = self.supervisor_type(name=name, specs=specs, policy=policy.policy, on_event=self._event)
        self.cells[name], self.loops[name], self.actors[name] = cell, loop, supervisor
        return ChildSpec(id=name, start=supervisor.run, restart=policy.restart, shutdown_s=policy.shutdown_s)

    async def _session(self, name: str, *, task_status: Incarnation) -> None:
        """Hold one connection to the actor's vendor. It counts as up before it is: nobody waits for a vendor."""
        task_status.started()
        vendor = self.plan.recogniser if name == "stt" else self.plan.voice
        edges = {edge.message: edge for edge in self.wiring.sent_by(f"{name}.session")}
        seam = self.seam_type(
            self.cells[name],
            vendor.vendor,
            task_status.number,
            stalled=partial(self._close_session, name),
            edges=edges,
        )
        self.seams[name] = seam
        try:
            await vendor.session(seam)
        finally:
            seam.closed()

    def _close_session(self, name: str, reason: str) -> None:
        if len(self.actors[name].children()) > 1:
            self.actors[name].cancel("session", reason)

    def _useful(self, name: str, child: str) -> None:
        self.actors[name].useful(child)

    def _stalled(self, name: str, edge: Edge) -> None:
        self._log.error("actor_stalled", actor=name, edge=str(edge), bound=edge.bound)
        self.actors[name].cancel("loop", f"stalled: {edge} is full")

    def _raised(self, report: StepRaised) -> None:
        self._log.error(
            "step_raised",
            actor=report.actor,
            step=report.kind.value,
            at_s=round(report.now, 3),
            message=repr(report.message),
            core=repr(report.core),
            then=report.remedy.value,
        )
        self.plan.on_raise(report)
        if report.remedy is Remedy.BARE and report.kind is not Kind.STARTED:
            self._ask_to_repeat()

    def _lost(self, name: str, edge: Edge, why: str) -> None:
        if why == "set aside":
            self._log.error("message_set_aside", actor=name, edge=str(edge))
            if edge.set_aside is SetAside.REPEAT:
                self._ask_to_repeat()

    def _ask_to_repeat(self) -> None:
        """Have the caller asked to say it again; once for a burst of faults."""
        if self.clock() - self._repeat_at >= self.plan.policy.repeat_s and self.phase is Phase.OPEN:
            self._repeat_at = self.clock()
            self._log.warning("asked_to_repeat")
            self.tell("call", PlayNotice(clip=agent.REPEAT))

    def _event(self, event: SupervisionEvent) -> None:
        """Log what a supervisor saw or decided: who, why, what next."""
        if isinstance(event, ChildFailed | RestartScheduled | GaveUp):
            details = attrs.asdict(event, filter=lambda field, _: field.name not in _QUIET_FIELDS)
            self._log.warning(_snake(type(event).__name__), **details)

    # Tasks: requests to the model, runs of tools.

    def _start_task(self, ask: object) -> None:
        match ask:
            case AskModel():
                self.start_task(f"model {ask.request}", partial(self._reply, ask))
            case CallTool():
                self.start_task(f"tool {ask.id}", partial(self._run_tool, ask))
            case CancelModel():
                self._running.pop(f"model {ask.request}", lambda: None)()
            case _:
                msg = f"no task for {type(ask).__name__}"
                raise EngineBug(msg)

    def start_task(self, name: str, work: Start) -> None:
        """Start a task that belongs to the call: it dies with nothing but the call."""
        if self.phase is Phase.DRAINING or name in self._running:
            self._log.warning("task_not_started", task=name, phase=self.phase.value)
            return
        self._running[name] = self.supervisors["tasks"].start_child(_child(name, work, restart=TEMPORARY)).cancel

    async def _reply(self, ask: AskModel, *, task_status: Incarnation) -> None:
        task_status.started()
        schemas = (*self.plan.tools.schemas(), END_CALL_TOOL)
        request = ModelRequest(id=ask.request, system=self.plan.prompt, conversation=ask.conversation, tools=schemas)
        async with self.plan.model.reply(request) as events:
            async for event in events:
                self.tell("model", event)

    async def _run_tool(self, call: CallTool, *, task_status: Incarnation) -> None:
        task_status.started()
        self.tell("tools", await self.plan.tools.run(call))

    def _task_event(self, event: SupervisionEvent) -> None:
        if isinstance(event, ChildStarted):
            return
        cancelled = self._running.pop(event.child, None) is None
        self._task_ended.set()
        if not isinstance(event, ChildFailed) or cancelled:
            return
        self._log.error("task_failed", task=event.child, reason=event.reason)
        kind, _, name = event.child.partition(" ")
        if kind == "model":
            refused = isinstance(event.error, ProviderRefused)
            self.tell("model", ModelFailed(request=name, reason=event.reason, refused=refused))
        else:
            self.tell("tools", ToolReturned(id=name, ok=False, value="the tool failed; its effect is not known"))

    # The line.

    async def _read_line(self, *, task_status: Incarnation) -> None:
        """Turn the phone network's messages into ours. A bad one is counted and dropped."""
        task_status.started()
        while self.phase is Phase.OPEN:
            try:
                text = await self.line.receive()
            except trio.EndOfChannel:
                self._line_over("closed")
                return
            try:
                message = twilio.parse(text)
            except WireError as error:
                self.bad_messages += 1
                if self.bad_messages <= LOGGED_BAD_MESSAGES:
                    self._log.warning("bad_message", why=str(error), count=self.bad_messages)
                continue
            self._heard(message)

    def _heard(self, message: twilio.Incoming) -> None:
        if getattr(message, "stream_sid", self.plan.stream_sid) != self.plan.stream_sid:
            self.bad_messages += 1
            return
        match message:
            case twilio.Media(timestamp_ms=timestamp_ms, audio=audio):
                start_s = timestamp_ms / 1000
                for at in range(0, len(audio), FRAME_BYTES):
                    frame = audio[at : at + FRAME_BYTES]
                    voiced = len(frame) == FRAME_BYTES and self.plan.vad.voiced(frame)
                    self.tell("line", LineAudio(start_s=start_s + at / RATE_HZ, audio=frame, voiced=voiced))
            case twilio.Dtmf(digit=digit):
                self.tell("line", LineDtmf(digit=digit))
            case twilio.Mark(name=name):
                self.tell("line", LineMark(name=name))
            case twilio.Stop():
                self._line_over("stop")
            case twilio.Connected() | twilio.Start():
                self.bad_messages += 1
                self._log.warning("bad_message", why=f"a second {type(message).__name__}", count=self.bad_messages)
            case twilio.Unknown():
                pass  # Twilio adds events over time
            case _:
                assert_never(message)

    def _queue_for_line(self, message: object) -> None:
        assert isinstance(message, SendMedia | SendMark | SendClear | CloseLine)
        if len(self._to_line) >= LINE_BOUND:
            self._line_over("the line takes no more")
        if self.phase is not Phase.DRAINING:
            self._to_line.append(message)
            self._line_woken.set()

    async def _write_line(self, *, task_status: Incarnation) -> None:
        """Send what was queued. After the line is gone there is nobody to send to."""
        task_status.started()
        stream_sid = self.plan.stream_sid
        while True:
            if not self._to_line:
                self._line_woken = trio.Event()
                await self._line_woken.wait()
            message = self._to_line[0]
            try:
                match message:
                    case SendMedia(audio=audio):
                        await self.line.send(twilio.media(stream_sid, audio))
                    case SendMark(name=name):
                        await self.line.send(twilio.mark(stream_sid, name))
                    case SendClear():
                        await self.line.send(twilio.clear(stream_sid))
                    case CloseLine(reason=reason):
                        self._line_over(reason)
                        await self.line.aclose()
                    case _:
                        assert_never(message)
            except trio.BrokenResourceError:
                self._line_over("closed")
                return
            self._to_line.popleft()

    # The archive.

    async def _write_archive(self, *, task_status: Incarnation) -> None:
        """Write one item after another, in order; one whose writing died is written again."""
        task_status.started()
        while True:
            if self._archiving is None:
                try:
                    self._archiving = await self._archive_out.receive()
                except trio.EndOfChannel:
                    self._archived.set()
                    return
            await self.plan.archive.put(self._archiving)
            self._archiving = None


def _child(name: str, start: Start, *, restart: RestartType) -> ChildSpec:
    return ChildSpec(id=name, start=start, restart=restart, shutdown_s=0.0)


def _snake(name: str) -> str:
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")
