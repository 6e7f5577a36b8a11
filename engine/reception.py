"""Reception: takes a line that has just been opened, learns whose call it is, and serves it to its end."""

import datetime as dt
import json
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import attrs
import structlog
import trio

from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import HOLD_TONE, Clip, Pacer
from engine.actors.stt import STT
from engine.actors.turn_detector import TurnDetector
from engine.call import INBOXES, ActorPolicy, Call, CallPolicy, Cores, Plan
from engine.codec import twilio
from engine.codec.telephony import RATE_HZ
from engine.codec.tones import hold_tone
from engine.codec.wire import shortened
from engine.debug import Recorder
from engine.errands import END_CALL_TOOL, TRANSFER_TOOL
from engine.health import Circuit, Health
from engine.loop import StepRaised, shown
from engine.messages.admission import NextStep, Ticket
from engine.messages.errors import ConfigError, EngineBug, WireError
from engine.messages.model import CallTool, ToolReturned
from engine.messages.records import Kept
from engine.messages.supervision import NEVER
from engine.metrics import Metrics
from engine.providers.contract import Model, Recogniser, ToolSchema, Voice
from engine.settings import Settings, Tenant
from engine.storage.runner import Runner
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from engine.tools.toolbox import CallContext, Toolbox
from engine.trunk import Line, Vad
from engine.watch import Watch

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

_Member = TypeVar("_Member", Recogniser, Voice, Model)

START_S: Final = 5.0
"""How long a new line may take to say `start`: Twilio says it at once, a slow network within a second."""

STEPS_KEPT: Final = 10_000
"""Ended calls whose next step is remembered here too: `/voice/after` comes within a second of the end."""

DUMPS_A_CALL: Final = 20
"""Raised steps of one call that are written down; a core that raises at every frame must not fill a disk."""

VOICE_BACK_S: Final = 5.0
"""After the patience for the last voice: its last attempt, and the first sound of it."""

CONNECTING: Final = "One moment, please, you will be connected."
"""Said by the phone network after a call that gave up has apologised in its own voice."""

WANTED: Final = frozenset({"hang_up", "idle", "longest_call_s", "stopping"})
"""Ends of a call after which nothing is left to be said. "stop" is not among them: the caller has gone, nobody asks.

Whoever was cut off in any other way is told so when the phone network asks what comes next.
"""


@attrs.frozen(kw_only=True)
class Team:
    """Who serves a tenant's calls, in order of preference: shared by all of them. clips: in the first voice."""

    recognisers: tuple[Recogniser, ...]
    voices: tuple[Voice, ...]
    models: tuple[Model, ...]
    vad: Callable[[], Vad]
    clips: Mapping[str, bytes]


@attrs.define(eq=False)
class Reception:
    """Where lines become calls.

    teams: by tenant's id. runner: for the store; urgent: the same for what a caller waits for, which is abandoned when
        it is late; tool_runner: for tools, which are abandoned too.
    dumps: folder for steps that raised; each file is a test to be written.
    records: where calls are written down for whoever looks for a fault; None: nowhere.
    open_call: makes a call of `line` and `plan`: another than the engine's own, where a call is to fail on purpose.
    """

    settings: Settings
    tenants: Mapping[str, Tenant]
    teams: Mapping[str, Team]
    store: Store
    businesses: Businesses
    runner: Runner
    tool_runner: Runner
    dumps: Path
    urgent: Runner = attrs.field(default=attrs.Factory(lambda self: self.runner, takes_self=True))
    metrics: Metrics = attrs.field(factory=Metrics)
    records: Recorder | None = None
    open_call: Callable[..., Call] = Call
    health: Health = attrs.field(init=False)
    calls: dict[str, Call] = attrs.field(init=False, factory=dict)
    # The teams as they were hired, once the lists have been changed: another change may bring back who was left out.
    _opened: Mapping[str, Team] = attrs.field(init=False, factory=dict)
    _steps: OrderedDict[str, NextStep] = attrs.field(init=False, factory=OrderedDict)
    _fewer: trio.Event = attrs.field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.health = Health(policy=self.settings.health, clock=trio.current_time, changed=self._circuit_changed)

    def _circuit_changed(self, work: str, vendor: str, choice: str, circuit: Circuit) -> None:
        _log.warning("vendor_circuit", work=work, vendor=vendor, choice=choice, circuit=circuit.value)
        self.metrics.circuit_changed(work, vendor, choice, circuit)

    def reload(self, settings: Settings, tenants: Mapping[str, Tenant]) -> None:
        """Go on under other settings: new calls wholly, running ones under their policies, from the next decision on.

        tenants: those that there were. Their lists name vendors that were opened for them: see `opened`. Never waits.
        """
        self._opened = self._opened or self.teams
        self.settings, self.tenants = settings, tenants
        self.teams = {each: self._in_order(team, tenants[each]) for each, team in self._opened.items()}
        self.health.change_policy(settings.health)
        for call in self.calls.values():
            tenant = tenants[call.plan.watch.tenant]
            models = tuple(model.vendor for model in call.plan.models)  # a call goes on with whom it was opened with
            agent_policy = attrs.evolve(self._agent_policy(tenant), models=models)
            call.change_policy(self._call_policy(tenant), agent_policy)

    def opened(self, tenant: str, work: str) -> tuple[str, ...]:
        """Return the vendors that were opened for a tenant when the server started, whoever serves it now."""
        team = (self._opened or self.teams)[tenant]
        vendors = {
            "stt": [each.vendor for each in team.recognisers],
            "llm": [each.vendor for each in team.models],
            "tts": [each.vendor for each in team.voices],
        }
        return tuple(vendors[work])

    def _in_order(self, team: Team, tenant: Tenant) -> Team:
        """Return the members of a team that a tenant's lists name, in their order."""

        def chosen(work: str, members: Sequence[_Member]) -> tuple[_Member, ...]:
            by_name = {each.vendor: each for each in members}
            return tuple(by_name[name] for name in self.settings.vendors_of(tenant, work))

        return attrs.evolve(
            team,
            recognisers=chosen("stt", team.recognisers),
            voices=chosen("tts", team.voices),
            models=chosen("llm", team.models),
        )

    async def answer(self, line: Line, ticket: Ticket) -> None:
        """Serve the call on `line` to its end. A line that never says `start` is closed, and said so in the log.

        Cancelled: the call's end is recorded, its tools are waited for, then it is over.
        """
        with structlog.contextvars.bound_contextvars(call_sid=ticket.call_sid):
            start = await self._start(line)
            if start is None:
                return
            sid = ticket.call_sid
            tenant = self.tenants.get(ticket.tenant)
            if start.call_sid != sid:
                self._refuse("cross call", f"its ticket is not for this call: {start.call_sid!r}")
            elif tenant is None:
                self._refuse("unknown tenant", f"unknown tenant {ticket.tenant!r}")
            elif sid in self.calls:
                self._refuse("second line", "this call has a line already")
            else:
                self.calls[sid] = call = self.open_call(line=line, plan=self._plan(start, ticket, tenant))
                try:
                    await call.run()
                finally:
                    del self.calls[sid]
                    self._fewer.set()
                    self._fewer = trio.Event()

    def offered(self, tenant: Tenant) -> tuple[ToolSchema, ...]:
        """Return the tools that a tenant's model is offered, as a request has them."""
        nobody = CallContext(call_sid="", tenant=tenant.id, caller="")
        toolbox = self.businesses.toolbox_for(tenant.tools, tenant.clinic or {}, call=nobody)
        return (*ToolDesk(toolbox=toolbox, runner=self.tool_runner, store=self.store).schemas(), *_endings(tenant))

    def dismiss(self, reason: str) -> None:
        """Have every caller told goodbye, and every call ended. Never waits."""
        for call in self.calls.values():
            call.dismiss(reason)

    async def empty(self) -> None:
        """Wait until there is no call."""
        while self.calls:
            await self._fewer.wait()

    def depths(self) -> Iterator[tuple[str, int]]:
        """Yield how much waits in each mailbox, by its actor."""
        for call in self.calls.values():
            for name, cell in call.cells.items():
                yield name, cell.waiting()

    async def next_step(self, call_sid: str) -> NextStep | None:
        """Return what comes after a call's stream; None where nobody wanted it to end.

        Raises what the store raises: another process may have served the call.
        """
        if call_sid in self._steps:
            return self._steps[call_sid]
        return await self.urgent(partial(self.store.next_step, call_sid))

    async def _leaving(self, call_sid: str, tenant: Tenant, reason: str) -> None:
        """Write down what comes next, before the line is closed: the question may be put to another process."""
        step = self._step_after(tenant, reason)
        if step is None:
            return
        self._steps[call_sid] = step
        while len(self._steps) > STEPS_KEPT:
            self._steps.popitem(last=False)
        try:
            await self.urgent(partial(self.store.put_next_step, call_sid, step))
        except (ConfigError, EngineBug) as error:
            _log.warning("next_step_not_stored", why=str(error))

    def _step_after(self, tenant: Tenant, reason: str) -> NextStep | None:
        human = tenant.human_number or ""
        if reason == "transfer" and human:
            return NextStep(kind="transfer", number=human)
        if reason in WANTED:
            return NextStep(kind="hangup")
        if reason == "gave_up":  # the apology was played
            if self._to_human(tenant):
                return NextStep(kind="transfer", say=CONNECTING, number=human)
            return NextStep(kind="hangup")
        return None

    def _to_human(self, tenant: Tenant) -> bool:
        """Whether a caller whom the engine cannot serve is handed to a person."""
        return tenant.human_number is not None and "transfer" in self.settings.supervisor.on_exhausted

    def _refuse(self, reason: str, why: str) -> None:
        _log.warning("line_refused", why=why)
        self.metrics.refused("start", reason)

    async def _start(self, line: Line) -> twilio.Start | None:
        """Return the line's `start`, or None if it does not come in time."""
        with trio.move_on_after(START_S):
            while True:
                try:
                    message = twilio.parse(await line.receive())
                except WireError as error:
                    self._refuse("malformed", str(error))
                    return None
                except trio.EndOfChannel:
                    self._refuse("closed", "it closed before 'start'")
                    return None
                if isinstance(message, twilio.Start):
                    coding, rate_hz, channels = message.encoding, message.sample_rate_hz, message.channels
                    if (coding, rate_hz, channels) != ("audio/x-mulaw", RATE_HZ, 1):
                        why = f"its audio is {shortened(coding)} at {rate_hz} Hz, channels: {channels}"
                        self._refuse("audio format", why)
                        return None
                    return message
        self._refuse("no start", f"no 'start' within {START_S:g} s")
        return None

    def _plan(self, start: twilio.Start, ticket: Ticket, tenant: Tenant) -> Plan:
        settings, team = self.settings, self.teams[tenant.id]
        context = CallContext(call_sid=start.call_sid, tenant=tenant.id, caller=ticket.caller)
        toolbox = self.businesses.toolbox_for(tenant.tools, tenant.clinic or {}, call=context)
        texts = tenant.spoken_clips
        clips = {name: Clip(text=texts[name], audio=audio) for name, audio in team.clips.items()}
        clips[HOLD_TONE] = Clip(text="", audio=hold_tone())
        pacing = attrs.evolve(settings.pacing, away_s=self._voice_s(tenant), pause_s=tenant.speech.pause_s)
        return Plan(
            stream_sid=start.stream_sid,
            call_sid=start.call_sid,
            prompt=tenant.prompt,
            greeting=tenant.greeting,
            cores=Cores(
                pacer=Pacer(clips=clips, policy=pacing),
                agent=Agent(policy=self._agent_policy(tenant)),
                stt=STT(policy=settings.recognition),
                turn_detector=TurnDetector(policy=settings.turns_of(tenant)),
            ),
            policy=self._call_policy(tenant),
            recognisers=team.recognisers,
            voices=team.voices,
            models=team.models,
            language=tenant.language,
            health=self.health,
            tools=ToolDesk(toolbox=toolbox, runner=self.tool_runner, store=self.store),
            archive=StoreArchive(store=self.store, runner=self.runner, stream_sid=start.stream_sid, ticket=ticket),
            vad=team.vad(),
            watch=Watch(
                metrics=self.metrics,
                tenant=tenant.id,
                recording=None if self.records is None else self.records.record(start.call_sid),
            ),
            endings=_endings(tenant),
            leaving=partial(self._leaving, ticket.call_sid, tenant),
            on_raise=Dumps(folder=self.dumps, call_sid=start.call_sid),
        )

    def _call_policy(self, tenant: Tenant) -> CallPolicy:
        settings = self.settings
        return CallPolicy(
            strategy=settings.supervisor.strategy,
            policy=settings.supervisor.policy,
            actors={name: self._actor_policy(tenant, name) for name in INBOXES},
            longest_s=tenant.limits.longest_call_s or settings.call.longest_call_s,
            silence_s=settings.door.silence_s,
        )

    def _actor_policy(self, tenant: Tenant, name: str) -> ActorPolicy:
        actor = self.settings.actor(tenant, name)
        # Those that are listed no longer too: calls that began with them are on the line.
        listed = (
            (*self.settings.vendors_of(tenant, name), *self.opened(tenant.id, name)) if name in {"stt", "tts"} else ()
        )
        vendors = dict.fromkeys(listed)
        return ActorPolicy(
            restart=actor.restart,
            policy=actor.policy,
            vendors={vendor: self.settings.restart_policy(tenant, name, vendor) for vendor in vendors},
            shutdown_s=actor.shutdown_s,
        )

    def _voice_s(self, tenant: Tenant) -> float:
        """Return how long a piece waits for a dead voice: no less than voices are waited for."""
        settings = self.settings
        names = settings.vendors_of(tenant, "tts")
        return sum(settings.restart_policy(tenant, "tts", name).patience_s for name in names) + VOICE_BACK_S

    def _agent_policy(self, tenant: Tenant) -> AgentPolicy:
        speech = tenant.speech
        return attrs.evolve(
            self.settings.agent_of(tenant),
            models=self.settings.vendors_of(tenant, "llm"),
            phrases=tenant.clips,
            human=self._to_human(tenant),
            diction=tenant.diction,
            firm=speech.uninterruptible,
            tone_s=NEVER if speech.hold_tone_s is None else speech.hold_tone_s,
            idle_prompts=len(self.settings.turns_of(tenant).idle_again_s),
        )


def _endings(tenant: Tenant) -> tuple[ToolSchema, ...]:
    return (END_CALL_TOOL, TRANSFER_TOOL) if tenant.human_number else (END_CALL_TOOL,)


@attrs.frozen(kw_only=True)
class ToolDesk:
    """A call's toolbox with the threads it runs in: `contract.Tools`."""

    toolbox: Toolbox
    runner: Runner
    store: Store

    def schemas(self) -> tuple[ToolSchema, ...]:
        """Return the tools as a model is told of them."""
        return tuple(ToolSchema(**each) for each in self.toolbox.schemas())

    async def run(self, call: CallTool) -> ToolReturned:
        """Run a tool once for its id."""
        return await self.toolbox.run(call, runner=self.runner, store=self.store)


@attrs.frozen(kw_only=True)
class StoreArchive:
    """A call's rows in the store: `scribe.Archive`."""

    store: Store
    runner: Runner
    stream_sid: str
    ticket: Ticket

    async def opened(self) -> None:
        """Write down that the call began."""
        row = partial(
            self.store.call_started,
            call_sid=self.ticket.call_sid,
            stream_sid=self.stream_sid,
            tenant=self.ticket.tenant,
            caller=self.ticket.caller,
            called=self.ticket.dialled,
            at=dt.datetime.now(dt.UTC),
        )
        await self.runner(row)

    async def put(self, items: Sequence[Kept]) -> None:
        """Write entries of the conversation, timings, and what models cost."""
        await self.runner(partial(self.store.put, self.ticket.call_sid, items))

    async def ended(self, reason: str) -> None:
        """Write down how the call ended."""
        await self.runner(partial(self.store.call_ended, self.ticket.call_sid, reason, dt.datetime.now(dt.UTC)))


@attrs.define(eq=False)
class Dumps:
    """Writes steps that raised, each to a file: the core, the message, the moment, the traceback; audio is left out."""

    folder: Path
    call_sid: str
    _count: int = attrs.field(init=False, default=0)

    def __call__(self, report: StepRaised) -> None:
        """Write a report down; a disk that refuses is said in the log and costs nothing else."""
        self._count += 1
        if self._count > DUMPS_A_CALL:
            return
        path = self.folder / f"{self.call_sid}-{self._count:02}-{report.actor}.json"
        body = {
            "actor": report.actor,
            "step": report.kind.value,
            "now": report.now,
            "message": shown(report.message),
            "core": shown(report.core),
            "then": report.remedy.value,
            "raised": traceback.format_exception(report.error),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
            _log.info("step_dumped", call_sid=self.call_sid, path=str(path))
        except OSError as error:
            _log.warning("dump_failed", path=str(path), why=str(error))
