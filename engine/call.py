"""A call: two tables, and the nursery that is opened from them.

Theory of operation. `WIRING` says which message goes from whom to whom; `INBOXES` says who there is, in order of
starting. Four things live in the call's nursery: the archive's one writer; the tasks (model requests, tool runs); the
line (its reader, with the voice activity detector, and its writer); and the tree of actors, each a supervisor over its
loop and its session. What belongs to the call outlives any actor. The end comes from the line alone: `LineClosed` flows
down the path, and when it has left the Pacer the tree is stopped, what lies in mailboxes is worked off in plain steps,
tools under way and the archive are waited for, and the call is over.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import attrs
import structlog
import trio

from engine.actors import agent, pacer, stt, tts, turn_detector, twilio_io
from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import Pacer
from engine.actors.stt import STT
from engine.actors.tts import TTS
from engine.actors.turn_detector import TurnDetector
from engine.actors.twilio_io import TwilioIO
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE
from engine.errands import END_CALL_TOOL, Errands
from engine.health import Health
from engine.loop import Loop, Remedy, SessionSeam, StepRaised, shown
from engine.mailbox import Cell, Core, Envelope, SessionCore
from engine.messages.caller import CallerAudio, Dtmf, LineClosed, MarkEcho, SpeechLasted, SpeechStarted, SpeechStopped
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
    ModelAsked,
    ModelEnded,
    ModelFailed,
    ModelText,
    ModelToolCall,
    ModelUsage,
    ToolReturned,
)
from engine.messages.playout import Hold, Played, Playing, Resume, Stopped
from engine.messages.recognition import Finalise, Recognise, Recognised, Transcript
from engine.messages.records import Counted, Record, Timing, TokensUsed
from engine.messages.reply import ONE_MOMENT, HangUp, PlayClip, PlayNotice, PlayTone, ReplyEnded, Sentence
from engine.messages.supervision import PolicyChanged, Tick
from engine.messages.synthesis import (
    AgentAudio,
    AgentAudioEnded,
    AgentAudioTrimmed,
    CancelSynthesis,
    EndSynthesis,
    Synthesise,
    Synthesised,
    SynthesisEnded,
    VoiceDied,
)
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, CallOpened, TurnEnded, TurnExpected, TurnResumed
from engine.policy import RestartPolicy, splitmix64
from engine.providers.contract import Model, Recogniser, Tools, ToolSchema, Voice
from engine.scribe import Archive, Scribe
from engine.supervisor import (
    ChildFailed,
    ChildRestarted,
    ChildSpec,
    ChildStalled,
    FailedBack,
    FailedOver,
    GaveUp,
    GaveUpError,
    Incarnation,
    RestartScheduled,
    RestartType,
    Strategy,
    SupervisionEvent,
    Supervisor,
)
from engine.tap import tapped
from engine.trunk import LOGGED_BAD_MESSAGES, Line, Trunk, Vad
from engine.watch import Watch, event_name
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
        Edge(SpeechStarted, "twilio_io", "turn_detector", set_aside=_REPEAT),
        Edge(SpeechLasted, "twilio_io", "turn_detector", at_bound=_DROP, bound=100),
        Edge(SpeechStopped, "twilio_io", "turn_detector", set_aside=_REPEAT),
        Edge(Dtmf, "twilio_io", "turn_detector", set_aside=_REPEAT),
        Edge(MarkEcho, "twilio_io", "pacer"),
        Edge(LineClosed, "twilio_io", "stt"),
        Edge(Recognise, "stt", "stt.session", bound=3000),
        Edge(Finalise, "stt", "stt.session"),
        Edge(Recognised, "stt.session", "stt", set_aside=_REPEAT),
        Edge(Transcript, "stt", "turn_detector", set_aside=_REPEAT),
        Edge(LineClosed, "stt", "turn_detector"),
        Edge(TurnExpected, "turn_detector", "agent"),
        Edge(TurnResumed, "turn_detector", "agent"),
        Edge(TurnEnded, "turn_detector", "agent", set_aside=_REPEAT),
        Edge(Backchannel, "turn_detector", "agent"),
        Edge(BargedIn, "turn_detector", "agent"),
        Edge(BargedIn, "turn_detector", "tts"),
        Edge(BargedIn, "turn_detector", "pacer"),
        Edge(Hold, "turn_detector", "pacer"),
        Edge(Resume, "turn_detector", "pacer"),
        Edge(CallerIdle, "turn_detector", "agent"),
        Edge(LineClosed, "turn_detector", "agent"),
        Edge(CallOpened, "call", "agent"),
        Edge(PolicyChanged, "call", "agent"),
        Edge(AskModel, "agent", "model"),
        Edge(CancelModel, "agent", "model"),
        Edge(ModelAsked, "model", "agent"),
        Edge(ModelText, "model", "agent", bound=5000, set_aside=_REPEAT),
        Edge(ModelToolCall, "model", "agent", set_aside=_REPEAT),
        Edge(ModelUsage, "model", "agent"),
        Edge(ModelEnded, "model", "agent", set_aside=_REPEAT),
        Edge(ModelFailed, "model", "agent", set_aside=_REPEAT),
        Edge(CallTool, "agent", "tools"),
        Edge(ToolReturned, "tools", "agent", set_aside=_REPEAT),
        Edge(Sentence, "agent", "tts", set_aside=_REPEAT),
        Edge(Sentence, "agent", "pacer", set_aside=_REPEAT),
        Edge(PlayClip, "agent", "pacer", set_aside=_REPEAT),
        Edge(PlayTone, "agent", "pacer"),
        Edge(ReplyEnded, "agent", "tts"),
        Edge(ReplyEnded, "agent", "pacer"),
        Edge(HangUp, "agent", "pacer"),
        Edge(LineClosed, "agent", "tts"),
        Edge(Synthesise, "tts", "tts.session"),
        Edge(EndSynthesis, "tts", "tts.session"),
        Edge(CancelSynthesis, "tts", "tts.session"),
        Edge(Synthesised, "tts.session", "tts", set_aside=_REPEAT),
        Edge(SynthesisEnded, "tts.session", "tts", set_aside=_REPEAT),
        Edge(AgentAudio, "tts", "pacer", set_aside=_REPEAT),
        Edge(AgentAudioTrimmed, "tts", "pacer", set_aside=_REPEAT),
        Edge(AgentAudioEnded, "tts", "pacer", set_aside=_REPEAT),
        Edge(LineClosed, "tts", "pacer"),
        Edge(VoiceDied, "call", "pacer"),
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
        Edge(TokensUsed, "agent", "archive"),
        Edge(Timing, "turn_detector", "archive"),
        Edge(Timing, "agent", "archive"),
        Edge(Timing, "tts", "archive"),
        Edge(Timing, "pacer", "archive"),
        Edge(Counted, "stt", "log"),
        Edge(Counted, "turn_detector", "log"),
        Edge(Counted, "agent", "log"),
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
    """How one actor is supervised: its own crashes and its session's.

    vendors: by name, for sessions with those whose failures are judged otherwise.
    shutdown_s: what it may take to stop.
    """

    restart: RestartType = RestartType.PERMANENT
    policy: RestartPolicy = RestartPolicy()
    vendors: Mapping[str, RestartPolicy] = attrs.field(factory=dict)
    shutdown_s: float = 2.0


@attrs.frozen(kw_only=True)
class CallPolicy:
    """How a call is supervised and ended.

    strategy, policy: of the actors' crashes that their own supervisors gave up on.
    closing_s: how long the end may take to flow down the path. 2.0: a second for the last words, one to spare.
    shutdown_s: how long tools under way and the archive are waited for. 5.0: a tool's own time limit.
    repeat_s: the caller is asked to repeat at most once in this time. 5.0: one fault, one question.
    away_s: after so long without a vendor a caller who waits for it is asked to wait, once an outage. 1.8: no longer
        than any answer is waited for in silence.
    silence_s: a line that says nothing for this long is dead. 10.0: Twilio sends audio fifty times a second, always.
    leaving_s: how long the note of what comes next may hold up the closing of the line. 1.0: more is heard as a fault.
    """

    strategy: Strategy = Strategy.ONE_FOR_ONE
    policy: RestartPolicy = RestartPolicy(intensity=8, period_s=60.0)
    actors: Mapping[str, ActorPolicy] = attrs.field(factory=dict)
    longest_s: float = 3600.0
    closing_s: float = 2.0
    shutdown_s: float = 5.0
    repeat_s: float = 5.0
    away_s: float = 1.8
    silence_s: float = 10.0
    leaving_s: float = 1.0


async def _unconcerned(_reason: str) -> None:
    """Nobody asks what comes after the call."""


@attrs.frozen(kw_only=True)
class Plan:
    """All that a call is opened with.

    recognisers, voices, models: in order of preference; each vendor once, and one at least.
    language: the callers'; of a vendor it may be refused, as the voice may. Empty: everybody's.
    health: what the process knows of them. seed: with it, the call's backoffs come again.
    endings: the engine's own tools that the model is offered.
    leaving: is told why the call ends before its line is closed: the phone network asks at once what comes next.
    """

    stream_sid: str
    call_sid: str
    prompt: str
    greeting: str
    cores: Cores
    policy: CallPolicy = CallPolicy()
    recognisers: tuple[Recogniser, ...]
    voices: tuple[Voice, ...]
    models: tuple[Model, ...]
    language: str = ""
    health: Health = attrs.field(factory=lambda: Health(clock=trio.current_time))
    seed: int | None = None
    tools: Tools
    archive: Archive
    vad: Vad
    endings: tuple[ToolSchema, ...] = (END_CALL_TOOL,)
    leaving: Callable[[str], Awaitable[None]] = _unconcerned
    on_raise: Callable[[StepRaised], None] = lambda _report: None
    watch: Watch = attrs.field(factory=Watch)


_QUIET_FIELDS = {"happened_at", "history", "error"}
_WARNED_OF = ChildFailed | ChildStalled | RestartScheduled | FailedOver | GaveUp
_TOLD = ChildRestarted | FailedBack

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
    log: structlog.stdlib.BoundLogger = attrs.field(init=False)
    trunk: Trunk = attrs.field(init=False)
    errands: Errands = attrs.field(init=False)
    scribe: Scribe = attrs.field(init=False)
    # The six, by name: what outlives their tasks, their loops, their supervisors, their present sessions.
    cells: dict[str, Cell[Any]] = attrs.field(init=False, factory=dict)
    loops: dict[str, Loop] = attrs.field(init=False, factory=dict)
    actors: dict[str, Supervisor] = attrs.field(init=False, factory=dict)
    seams: dict[str, SessionSeam[Any, Any]] = attrs.field(init=False, factory=dict)
    # In order of starting.
    supervisors: dict[str, Supervisor] = attrs.field(init=False)
    # As it is now: an operator may change the plan's while the call runs.
    policy: CallPolicy = attrs.field(init=False)
    # Of the jitter of the supervisors that are still to be made; None: each draws its own.
    _seed: int | None = attrs.field(init=False)
    # Where each sender's messages go, by their class.
    outlets: dict[str, dict[type, tuple[Port, ...]]] = attrs.field(init=False)
    _stopped: dict[str, trio.Event] = attrs.field(init=False, factory=dict)
    # Set when `LineClosed` has left the Pacer: nobody on the path owes anything any more.
    _path_closed: trio.Event = attrs.field(init=False, factory=trio.Event)
    _asked_to_repeat_at: float = attrs.field(init=False, default=-math.inf)
    # Since when a vendor was away that the caller was last asked to wait for, by actor.
    _asked_to_wait: dict[str, float | None] = attrs.field(init=False, factory=dict)
    # Of vendors, by whose.
    bad_messages: Counter[str] = attrs.field(init=False, factory=Counter)
    # Cancelled when the call has lasted too long, or is dismissed: then `_dismissal` says why.
    _patience: trio.CancelScope = attrs.field(init=False, factory=trio.CancelScope)
    _dismissal: str = attrs.field(init=False, default="longest_call_s")
    _left: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        plan, tell = self.plan, self.tell
        self.policy, self._seed = plan.policy, plan.seed
        self.log = log = structlog.get_logger("engine.call").bind(call_sid=plan.call_sid)
        self.trunk = Trunk(
            line=self.line,
            stream_sid=plan.stream_sid,
            vad=plan.vad,
            silence_s=plan.policy.silence_s,
            tell=partial(tell, "line"),
            log=log,
            watch=plan.watch,
        )
        self.scribe = Scribe(archive=plan.archive, log=log)
        self.errands = Errands(
            models=plan.models,
            health=plan.health,
            reasons=plan.cores.agent.policy.reasons,
            tools=plan.tools,
            prompt=plan.prompt,
            endings=plan.endings,
            tell_agent=partial(tell, "model"),
            tell_result=partial(tell, "tools"),
            log=log,
            watch=plan.watch,
        )
        tree = [self._actor(name) for name in INBOXES]
        self.supervisors = {
            "archive": self._supervisor("archive", [self.scribe.spec()]),
            "errands": self.errands.supervisor,
            "call": self._supervisor("call", tree, strategy=plan.policy.strategy),
            "line": self._supervisor("line", self.trunk.specs()),
        }
        ports = plan.watch.seen(self._ports())
        self.outlets = {edge.sender: self.wiring.outlets(edge.sender, ports) for edge in self.wiring.edges}
        for name, loop in self.loops.items():
            loop.outlets = self.outlets[name]

    def clock(self) -> float:
        """Return the seconds since the call opened: every core's `now`."""
        return trio.current_time() - self.opened_at

    @property
    def reason(self) -> str:
        """Why the call ended; empty while it is open."""
        return self.trunk.reason

    async def run(self) -> str:
        """Serve the call to its end and return why it ended.

        Cancelled, it still works off what lies in mailboxes and waits `shutdown_s` for tools and archive.
        """
        self.plan.watch.opened()
        try:
            with tapped(self.plan.watch.listener):
                await self._serve()
        finally:
            self.plan.watch.ended(self.reason)
        return self.reason

    async def _serve(self) -> None:
        self.log.info("call_opened", stream_sid=self.plan.stream_sid)
        async with trio.open_nursery() as nursery:
            try:
                # Shielded themselves, they would be waited for for ever if the start were cancelled half-way.
                with trio.CancelScope(shield=True):
                    for name in self.supervisors:
                        await nursery.start(self._supervise, name)
                self.tell("call", CallOpened(greeting=self.plan.greeting))
                self._patience.deadline = self.opened_at + self.plan.policy.longest_s
                with self._patience:
                    await self.trunk.gone.wait()
                if not self.trunk.gone.is_set():
                    await self._say_goodbye()
                await self._leave()
                if not self._stopped["call"].is_set():
                    with trio.move_on_after(self.policy.closing_s):
                        await self._path_closed.wait()
            finally:
                self.trunk.end("cancelled")
                with trio.CancelScope(shield=True):
                    try:
                        await self._leave()
                        await self._wind_up()
                    finally:  # they are shielded: whatever went wrong, nobody may be left
                        for name in self.supervisors:
                            await self._stop(name)
                        await self.line.aclose()
                        self.log.info("call_ended", reason=self.reason, after_s=round(self.clock(), 1), **self.counts())

    def tell(self, sender: str, message: object) -> None:
        """Send a message of a part of the call that is no actor. Never waits, never raises."""
        for port in self.outlets[sender][type(message)]:
            port(message)

    def dismiss(self, reason: str) -> None:
        """End the call from outside: the caller is told goodbye, then the line is closed. Never waits."""
        self._dismissal = reason
        self._patience.cancel()

    def change_policy(self, policy: CallPolicy, agent_policy: AgentPolicy) -> None:
        """Go on under other policies, obeyed from the next decision on. Never waits.

        What a call was opened with stays: how an actor's return is taken, who its vendors are.
        """
        self.policy = policy
        for supervisor in self.supervisors.values():
            supervisor.change_policy(policy.policy)
        for name, supervisor in self.actors.items():
            supervisor.change_policy(self._policy_of(name))
        self._patience.deadline = min(self._patience.deadline, self.opened_at + policy.longest_s)
        self.errands.reasons = agent_policy.reasons
        self.tell("call", PolicyChanged(policy=agent_policy))

    def counts(self) -> dict[str, int]:
        """Return what was dropped and set aside in this call, by edge, and the line's bad messages."""
        counts = {name: count for cell in self.cells.values() for name, count in sorted(cell.counts.items())}
        vendors = {f"bad messages of {vendor}": count for vendor, count in self.bad_messages.items()}
        return {**counts, **vendors, **({"bad messages": self.trunk.bad_messages} if self.trunk.bad_messages else {})}

    def depths(self) -> list[tuple[str, int]]:
        """Return, for each actor, how much lies unread in its mailbox."""
        return [(name, cell.waiting()) for name, cell in self.cells.items()]

    # Its end.

    async def _supervise(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        """Run a supervisor until `_wind_up` stops it: even a cancellation only begins the end."""
        self._stopped[name] = trio.Event()
        with trio.CancelScope(shield=True):
            try:
                await self.supervisors[name].run(task_status=task_status)
            except GaveUpError as error:
                await self._gave_up(name, error)
            finally:
                self._stopped[name].set()

    async def _gave_up(self, name: str, error: GaveUpError) -> None:
        """Go on without the archive or the errands; without the actors or the line, end the call."""
        self.log.error("gave_up", supervisor=name, child=error.child, reason=error.reason)
        if name == "call":
            await self._say_last(agent.APOLOGY)
        if name in {"call", "line"}:
            self.trunk.end("gave_up")

    async def _say_goodbye(self) -> None:
        """Stop the actors, so that nobody else speaks, and say that the call has to end."""
        await self._stop("call")
        await self._say_last(agent.STOPPING)
        self.trunk.end(self._dismissal)

    async def _leave(self) -> None:
        """Say what comes next to whom it concerns, then close the line."""
        if not self._left:
            self._left = True
            with trio.CancelScope(shield=True):
                with trio.move_on_after(self.policy.leaving_s):
                    await self.plan.leaving(self.reason)
                await self.line.aclose()

    async def _say_last(self, name: str) -> None:
        """Play a clip without the actors, who are gone."""
        clip = self.plan.cores.pacer.clips.get(name)
        sound = b"" if clip is None else clip.audio
        self.trunk.put(SendClear())
        self.trunk.put(SendMedia(audio=sound + bytes([SILENCE]) * (-len(sound) % FRAME_BYTES)))
        with trio.move_on_after(len(sound) / RATE_HZ + 0.5):
            await self.trunk.gone.wait()

    async def _wind_up(self) -> None:
        """Stop the actors, work off their mailboxes, wait for the tools and the archive."""
        shutdown_s = self.policy.shutdown_s
        await self._stop("call")
        self.errands.close()
        self.drain()
        with trio.move_on_after(shutdown_s):
            await self.errands.tools_ended()
        await self._stop("errands")
        self.drain()
        self.scribe.close(self.reason)
        if "archive" in self._stopped:
            with trio.move_on_after(shutdown_s):
                await self.scribe.written.wait()
        if self.scribe.waiting():
            self.log.error("records_lost", count=self.scribe.waiting())

    async def _stop(self, name: str) -> None:
        if name in self._stopped:
            self.supervisors[name].stop()
            await self._stopped[name].wait()

    def drain(self) -> None:
        """Work off the mailboxes in plain steps, without sessions; tell of the end whom it did not reach."""
        self._work_off()
        if not self._path_closed.is_set():
            closed = LineClosed(reason=self.reason, at_s=self.clock())
            self.cells["turn_detector"].put(Envelope(closed, None, self.clock()))
            self._work_off()

    def _work_off(self) -> None:
        while any(cell.waiting() or cell.in_hand for cell in self.cells.values()):
            for name in reversed(tuple(INBOXES)):
                # A raise is told by `_raised`, and leaves the cell ready for the next step.
                with suppress(StepRaised):
                    self.loops[name].step()

    # Actors.

    def _supervisor(
        self, name: str, specs: Sequence[ChildSpec], *, strategy: Strategy = Strategy.ONE_FOR_ONE
    ) -> Supervisor:
        return self.supervisor_type(
            name=name, specs=specs, strategy=strategy, policy=self.policy.policy, on_event=self._event, **self._seeded()
        )

    def _seeded(self) -> dict[str, Any]:
        """Return a supervisor's seed, each time another, if the call has one."""
        if self._seed is None:
            return {}
        self._seed, _ = splitmix64(self._seed)
        return {"seed": self._seed}

    def _policy_of(self, name: str, vendor: str = "") -> RestartPolicy:
        """Return how an actor's crashes are judged, or those of its session with a vendor."""
        actor = self.policy.actors.get(name, ActorPolicy())
        return actor.vendors.get(vendor, actor.policy)

    def _vendors(self, name: str) -> "Sequence[Recogniser] | Sequence[Voice]":
        """Return who may hold an actor's session, in order of preference."""
        return self.plan.recognisers if name == "stt" else self.plan.voices

    def _choices(self, name: str) -> dict[str, str]:
        """Return what the call wants of each vendor and others may not, in order of preference."""
        language = self.plan.language
        if name == "stt":
            return {each.vendor: language for each in self.plan.recognisers}
        return {each.vendor: f"{each.voice}, {language}" for each in self.plan.voices}

    def _actor(self, name: str) -> ChildSpec:
        """Make an actor's cell, loop and supervisor, and return it as a child of the call."""
        policy = self.policy.actors.get(name, ActorPolicy())
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
            ticked=partial(self.plan.watch.ticked, name),
        )
        specs = [ChildSpec(id="loop", start=loop.run, shutdown_s=0.0)]
        if isinstance(first, SessionCore):
            chosen = self._choices(name)
            session = ChildSpec(
                id="session",
                start=partial(self._session, name),
                shutdown_s=0.0,
                alternatives=self.plan.health.of(name, list(chosen), chosen),
                policy_of=partial(self._policy_of, name),
            )
            specs.append(session)
        supervisor = self.supervisor_type(
            name=name, specs=specs, policy=policy.policy, on_event=self._event, **self._seeded()
        )
        self.cells[name], self.loops[name], self.actors[name] = cell, loop, supervisor
        return ChildSpec(id=name, start=supervisor.run, restart=policy.restart, shutdown_s=policy.shutdown_s)

    async def _session(self, name: str, *, task_status: Incarnation) -> None:
        """Hold one connection to the actor's vendor. It counts as up before it is: nobody waits for a vendor."""
        task_status.started()
        vendor = next(each for each in self._vendors(name) if each.vendor == task_status.alternative)
        seam = self.seam_type(
            self.cells[name],
            vendor.vendor,
            task_status.number,
            stalled=partial(self._session_stalled, name),
            edges={edge.message: edge for edge in self.wiring.sent_by(f"{name}.session")},
            said=partial(self.plan.watch.session_said, name),
            bad=partial(self._bad_message, vendor.vendor),
            away_since=self.seams[name].away_since if name in self.seams else None,
        )
        self.plan.watch.session_opening(name, vendor.vendor)
        self.seams[name] = seam
        try:
            await vendor.session(seam)
        finally:
            seam.closed()

    def _bad_message(self, vendor: str, why: str) -> None:
        """Count a message of a vendor's that was dropped; the first few are logged."""
        self.plan.watch.bad_message(vendor)
        self.bad_messages[vendor] += 1
        if self.bad_messages[vendor] <= LOGGED_BAD_MESSAGES:
            self.log.warning("bad_message", peer=vendor, why=why, count=self.bad_messages[vendor])

    def _useful(self, name: str, child: str) -> None:
        self.actors[name].useful(child)

    def _close_session(self, name: str, reason: str) -> None:
        if any(child.id == "session" for child in self.actors[name].children()):
            self.actors[name].cancel("session", reason)

    def _session_stalled(self, name: str, reason: str) -> None:
        self.actors[name].stalled("session", reason)

    # Ports: where edges end. None waits, none raises.

    def _ports(self) -> dict[str, Callable[[Edge], Port]]:
        """Return how a port is made for an edge, by its reader."""
        parts: dict[str, Port] = {
            "stt.session": partial(self._ask_session, "stt"),
            "tts.session": partial(self._ask_session, "tts"),
            "line": self.trunk.put,
            "model": self.errands.put,
            "tools": self.errands.put,
            "archive": self._recorded,
            "log": self._counted,
            "call": lambda _closed: self._path_closed.set(),
        }
        cells = {name: cell.port for name, cell in self.cells.items()}
        return {**cells, **{name: partial(_same, port) for name, port in parts.items()}}

    def _ask_session(self, name: str, ask: object) -> None:
        seam = self.seams.get(name)
        if seam is not None:
            seam.put(ask)

    def _recorded(self, item: object) -> None:
        if isinstance(item, Timing):
            self.plan.watch.reached(item)
        elif isinstance(item, TokensUsed):
            self.plan.watch.tokens_used(item)
        self.scribe.put(item)

    def _counted(self, counted: object) -> None:
        assert isinstance(counted, Counted)
        self.plan.watch.counted(counted)
        self.log.info("counted", name=counted.name, amount=counted.amount)

    # What is seen of it.

    def _event(self, event: SupervisionEvent) -> None:
        """Log what a supervisor saw or decided: who, why, what next."""
        self.plan.watch.supervised(event)
        if not isinstance(event, _WARNED_OF | _TOLD):  # all goes as it should, thirty times a call
            about = {"supervisor": event.supervisor, "child": event.child, "incarnation": event.incarnation}
            self.log.debug(event_name(event), **about)
        else:
            about = attrs.asdict(event, filter=lambda field, _: field.name not in _QUIET_FIELDS)
            tell = self.log.info if isinstance(event, _TOLD) else self.log.warning
            tell(event_name(event), **about)
        if isinstance(event, ChildFailed) and (event.supervisor, event.child) == ("tts", "session"):
            self.tell("call", VoiceDied())
        if isinstance(event, FailedOver) or (isinstance(event, ChildFailed) and event.child == "session"):
            self._ask_to_wait(event.supervisor, self.policy.away_s if isinstance(event, ChildFailed) else 0.0)

    def _stalled(self, name: str, edge: Edge) -> None:
        self.log.error("actor_stalled", actor=name, edge=str(edge), bound=edge.bound)
        self.actors[name].stalled("loop", f"stalled: {edge} is full")

    def _raised(self, report: StepRaised) -> None:
        self.log.error(
            "step_raised",
            actor=report.actor,
            step=report.kind.value,
            at_s=round(report.now, 3),
            message=type(report.message).__name__,
            error=shown(report.error),
            then=report.remedy.value,
        )
        # What was said is in them.
        self.log.debug("step_raised_in_full", message=shown(report.message), core=shown(report.core))
        self.plan.watch.raised(report.actor, report.remedy.name.lower())
        if report.remedy is Remedy.BARE:
            self._ask_to_repeat()
        self.plan.on_raise(report)

    def _lost(self, name: str, edge: Edge, why: str) -> None:
        self.plan.watch.lost(edge, why)
        if why == "set aside":
            self.log.error("message_set_aside", actor=name, edge=str(edge))
            if edge.set_aside is SetAside.REPEAT:
                self._ask_to_repeat()

    def _ask_to_wait(self, name: str, away_s: float) -> None:
        """Have the caller asked to wait, once while a vendor is away: for so long at least, and waited for."""
        since = self.seams[name].away_since if name in self.seams else None
        if since is None or self.clock() - since < away_s or self._asked_to_wait.get(name) == since:
            return
        if self.cells[name].core.owing and not self.trunk.gone.is_set():
            self._asked_to_wait[name] = since
            self.tell("call", PlayNotice(clip=ONE_MOMENT))

    def _ask_to_repeat(self) -> None:
        """Have the caller asked to say it again; once for a burst of faults."""
        if self.clock() - self._asked_to_repeat_at >= self.policy.repeat_s and not self.trunk.gone.is_set():
            self._asked_to_repeat_at = self.clock()
            self.log.warning("asked_to_repeat")
            self.tell("call", PlayNotice(clip=agent.REPEAT))


def _same(port: Port, _edge: Edge) -> Port:
    return port
