"""Reception: takes a line that has just been opened, learns whose call it is, and serves it to its end."""

import datetime as dt
import json
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import structlog
import trio

from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import Clip, Pacer
from engine.actors.turn_detector import TurnDetector
from engine.call import ActorPolicy, Call, CallPolicy, Cores, Plan
from engine.codec import twilio
from engine.codec.telephony import RATE_HZ
from engine.loop import StepRaised, shown
from engine.messages.errors import WireError
from engine.messages.model import CallTool, ToolReturned
from engine.messages.records import Record, Timing
from engine.providers.contract import Model, Recogniser, ToolSchema, Voice
from engine.settings import Settings, Tenant
from engine.storage.runner import Runner
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from engine.tools.toolbox import CallContext, Toolbox
from engine.trunk import Line, Vad

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

START_S: Final = 5.0
"""How long a new line may take to say `start`: Twilio says it at once, a slow network within a second."""

ENDED_KEPT: Final = 10_000
"""Ended calls whose reason is remembered for `/voice/after`, which comes within a second of the end."""

DUMPS_A_CALL: Final = 20
"""Raised steps of one call that are written down; a core that raises at every frame must not fill a disk."""

BROKEN_OFF: Final = frozenset({"gave_up", "cancelled", "the line takes no more", "closed", "longest_call_s"})
"""Ends of a call that nobody wanted: the caller is told that we were cut off.

"closed": the socket went without `stop`. Who has hung up does not hear the apology, who has not was cut off.
"""


@attrs.frozen(kw_only=True)
class Team:
    """Who serves a tenant's calls: shared by all of them."""

    recogniser: Recogniser
    voice: Voice
    model: Model
    vad: Callable[[], Vad]
    clips: Mapping[str, bytes]


@attrs.define(eq=False)
class Reception:
    """Where lines become calls.

    teams: by tenant's id. runner: for the store; tool_runner: for tools, which abandons what is late.
    dumps: folder for steps that raised; each file is a test to be written.
    """

    settings: Settings
    tenants: Mapping[str, Tenant]
    teams: Mapping[str, Team]
    store: Store
    businesses: Businesses
    runner: Runner
    tool_runner: Runner
    dumps: Path
    calls: dict[str, Call] = attrs.field(init=False, factory=dict)
    _ended: OrderedDict[str, str] = attrs.field(init=False, factory=OrderedDict)

    async def answer(self, line: Line) -> None:
        """Serve the call on `line` to its end. A line that never says `start` is closed, and said so in the log.

        Cancelled: the call's end is recorded, its tools are waited for, then it is over.
        """
        start = await self._start(line)
        if start is None:
            return
        sid, parameters = start.call_sid, start.custom_parameters
        tenant = self.tenants.get(parameters.get("tenant", ""))
        if tenant is None or sid in self.calls:
            why = f"unknown tenant {parameters.get('tenant')!r}" if tenant is None else "this call has a line already"
            _log.warning("line_refused", call_sid=sid, why=why)
            return
        call = Call(line=line, plan=self._plan(start, tenant))
        self.calls[sid] = call
        try:
            await call.run()
        finally:
            del self.calls[sid]
            self._ended[sid] = call.reason
            while len(self._ended) > ENDED_KEPT:
                self._ended.popitem(last=False)

    def ended(self, call_sid: str) -> str | None:
        """Return why the engine ended a call, or None when nobody wanted it to end, or it is not known here."""
        call = self.calls.get(call_sid)
        reason = call.reason if call is not None else self._ended.get(call_sid)
        return None if not reason or reason in BROKEN_OFF else reason

    async def _start(self, line: Line) -> twilio.Start | None:
        """Return the line's `start`, or None if it does not come in time."""
        with trio.move_on_after(START_S):
            while True:
                try:
                    message = twilio.parse(await line.receive())
                except WireError as error:
                    _log.warning("line_refused", why=str(error))
                    return None
                except trio.EndOfChannel:
                    _log.warning("line_refused", why="it closed before 'start'")
                    return None
                if isinstance(message, twilio.Start):
                    coding = (message.encoding, message.sample_rate_hz, message.channels)
                    if coding != ("audio/x-mulaw", RATE_HZ, 1):
                        _log.warning("line_refused", why="its audio is {} at {} Hz, channels: {}".format(*coding))
                        return None
                    return message
        _log.warning("line_refused", why=f"no 'start' within {START_S:g} s")
        return None

    def _plan(self, start: twilio.Start, tenant: Tenant) -> Plan:
        settings, team = self.settings, self.teams[tenant.id]
        caller = start.custom_parameters.get("caller", "")
        context = CallContext(call_sid=start.call_sid, tenant=tenant.id, caller=caller)
        toolbox = self.businesses.toolbox_for(tenant.tools, tenant.clinic or {}, call=context)
        texts = tenant.clips
        clips = {name: Clip(text=texts[name], audio=audio) for name, audio in team.clips.items()}
        idle_s = tenant.limits.idle_s or settings.call.idle_s
        return Plan(
            stream_sid=start.stream_sid,
            call_sid=start.call_sid,
            prompt=tenant.prompt,
            greeting=tenant.greeting,
            cores=Cores(
                pacer=Pacer(clips=clips, policy=settings.pacing),
                agent=Agent(policy=AgentPolicy(phrases=texts)),
                turn_detector=TurnDetector(policy=attrs.evolve(settings.turns, idle_s=idle_s)),
            ),
            policy=CallPolicy(
                strategy=settings.supervisor.strategy,
                policy=settings.supervisor.policy,
                actors={
                    name: ActorPolicy(restart=each.restart, policy=each.policy, shutdown_s=each.shutdown_s)
                    for name, each in attrs.asdict(settings.actors, recurse=False).items()
                },
                longest_s=tenant.limits.longest_call_s or settings.call.longest_call_s,
            ),
            recogniser=team.recogniser,
            voice=team.voice,
            model=team.model,
            tools=ToolDesk(toolbox=toolbox, runner=self.tool_runner, store=self.store),
            archive=StoreArchive(store=self.store, runner=self.runner, start=start, tenant=tenant.id, caller=caller),
            vad=team.vad(),
            on_raise=Dumps(folder=self.dumps, call_sid=start.call_sid),
        )


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
    start: twilio.Start
    tenant: str
    caller: str

    async def opened(self) -> None:
        """Write down that the call began."""
        called = self.start.custom_parameters.get("dialled", "")
        row = partial(
            self.store.call_started,
            call_sid=self.start.call_sid,
            stream_sid=self.start.stream_sid,
            tenant=self.tenant,
            caller=self.caller,
            called=called,
            at=dt.datetime.now(dt.UTC),
        )
        await self.runner(row)

    async def put(self, item: Record | Timing) -> None:
        """Write an entry of the conversation, or a timing."""
        write = self.store.put_entry if isinstance(item, Record) else self.store.put_timing
        await self.runner(partial(write, self.start.call_sid, item))  # type: ignore[arg-type]

    async def ended(self, reason: str) -> None:
        """Write down how the call ended."""
        await self.runner(partial(self.store.call_ended, self.start.call_sid, reason, dt.datetime.now(dt.UTC)))


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
