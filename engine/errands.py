"""Errands: requests to models and runs of tools. They are the call's: no death of the Agent ends or repeats one.

Which model is asked is decided here, where it is known who is well; whether another is asked, by the Agent.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import attrs
import structlog
import trio

from engine.actors.agent import END_CALL, SILENT, TRANSFER
from engine.health import Health, Providers
from engine.messages.errors import EngineBug
from engine.messages.model import AskModel, CallTool, CancelModel, ModelAsked, ModelFailed, ModelUsage, ToolReturned
from engine.policy import REASONS, Answer, answer_to, kinds_of
from engine.providers.contract import Model, ModelEvent, ModelRequest, Tools, ToolSchema
from engine.supervisor import (
    TEMPORARY,
    ChildFailed,
    ChildSpec,
    ChildStalled,
    ChildStarted,
    Incarnation,
    Start,
    SupervisionEvent,
    Supervisor,
)
from engine.watch import Watch

END_CALL_TOOL = ToolSchema(
    name=END_CALL,
    description="End the phone call after what you have said in this turn was heard. Say goodbye first.",
    input_schema={"type": "object", "properties": {}, "additionalProperties": False},
)
"""The engine's own tool: the Agent obeys it, nothing runs."""

TRANSFER_TOOL = ToolSchema(
    name=TRANSFER,
    description="Connect the caller to a person, when they ask for one or you cannot help. Say that you will, now.",
    input_schema={"type": "object", "properties": {}, "additionalProperties": False},
)
"""The other one, where there is a person to be reached."""


OF_THE_REQUEST: Final = frozenset({"400", "413", "422", "invalid_request_error", "request_too_large"})
"""Refusals that say nothing about a model: this one conversation cannot be taken."""


@attrs.define(eq=False)
class _Request:
    """A request that is under way. providers: as it sees them. of_use: something came of it."""

    model: Model
    providers: Providers
    of_use: bool = False


@attrs.define(eq=False, kw_only=True)
class Errands:
    """What is under way for the agent, each errand a temporary child of one supervisor.

    models: in order of preference; each name once. health: what the process knows of them. All tenants ask the same of
        each, so what it refuses concerns it as a whole.
    reasons: what the Agent does about a kind of failure; what it does not try again is lasting.
    endings: the engine's own tools, after the tenant's.
    tell_agent, tell_result: put a model's events, a tool's results, into the Agent's mailbox.
    """

    models: tuple[Model, ...]
    health: Health = attrs.field(factory=Health)
    reasons: Mapping[str, Answer] = REASONS
    tools: Tools
    prompt: str
    endings: tuple[ToolSchema, ...] = (END_CALL_TOOL,)
    tell_agent: Callable[[ModelEvent | ModelAsked | ModelFailed], None]
    tell_result: Callable[[ToolReturned], None]
    log: structlog.stdlib.BoundLogger
    watch: Watch = attrs.field(factory=Watch)
    supervisor: Supervisor = attrs.field(init=False)
    # By the request's id.
    _requests: dict[str, _Request] = attrs.field(init=False, factory=dict)
    # How to cancel each errand that is under way, by its child's id.
    _running: dict[str, Callable[[], None]] = attrs.field(init=False, factory=dict)
    # Who was asked last.
    _vendor: str = attrs.field(init=False, default="")
    _ended: trio.Event = attrs.field(init=False, factory=trio.Event)
    _closed: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.supervisor = Supervisor(name="errands", specs=(), on_event=self._event)

    def put(self, ask: object) -> None:
        """Begin or end an errand: a port. Never waits, never raises while the call is open."""
        match ask:
            case AskModel(request=request):
                if self._may_begin(f"model {request}"):
                    self._ask(ask)
            case CallTool(id=run):
                if self._may_begin(f"tool {run}"):
                    self._begin(f"tool {run}", partial(self._run, ask))
            case CancelModel(request=request, stalled=stalled):
                if stalled and request in self._requests:
                    self._stalled(request)
                self._running.pop(f"model {request}", lambda: None)()
                self._forget_unbegun(request)
            case _:
                msg = f"no errand is called {type(ask).__name__}"
                raise EngineBug(msg)

    def _may_begin(self, name: str) -> bool:
        # Not `_running`: who was cancelled may still be closing its request, and its id is taken until then.
        begins = not self._closed and all(child.id != name for child in self.supervisor.children())
        if not begins:
            self.log.warning("errand_not_begun", errand=name, closed=self._closed)
        return begins

    def _begin(self, name: str, work: Start) -> None:
        spec = ChildSpec(id=name, start=work, restart=TEMPORARY, shutdown_s=0.0)
        self._running[name] = self.supervisor.start_child(spec).cancel

    def _ask(self, ask: AskModel) -> None:
        """Begin a request to the best model that is left, or to the first if none is."""
        providers = self.health.of("llm", [model.vendor for model in self.models])
        vendor = providers.choose(without=ask.without)
        model = next((each for each in self.models if each.vendor == vendor), self.models[0])
        was, self._vendor = self._vendor, model.vendor
        if was in ask.without and model.vendor not in ask.without:
            self.log.warning("failed_over", supervisor="agent", was=was, now_on=model.vendor)
            self.watch.metrics.failed_over("agent", was, model.vendor)
        request = _Request(model, providers)
        self._requests[ask.request] = request
        self.tell_agent(ModelAsked(request=ask.request, vendor=request.model.vendor))
        self._begin(f"model {ask.request}", partial(self._reply, ask, request))

    def _of_use(self, request: _Request) -> None:
        """Count a request for its model, which may have been given up until now."""
        vendor = request.model.vendor
        if request.providers.useful(vendor):
            self.log.info("failed_back", supervisor="agent", now_on=vendor)
            self.watch.metrics.failed_back("agent", vendor)

    def _stalled(self, name: str) -> None:
        """Count a request against its model, of which nothing came in time."""
        request = self._requests[name]
        self.log.warning("model_stalled", request=name, vendor=request.model.vendor)
        self.watch.metrics.vendor_failed(request.model.vendor, "request", "slow")
        if not request.of_use:
            self._blame(request, SILENT)

    def _forget_unbegun(self, name: str) -> None:
        """Forget a request that was cancelled before its task began: of its end nobody is told."""
        if name in self._requests and all(child.id != f"model {name}" for child in self.supervisor.children()):
            request = self._requests.pop(name)
            request.providers.released(request.model.vendor)

    def close(self) -> None:
        """Begin none any more."""
        self._closed = True

    async def tools_ended(self) -> None:
        """Wait until no tool runs."""
        while any(name.startswith("tool ") for name in self._running):
            self._ended = trio.Event()
            await self._ended.wait()

    async def _reply(self, ask: AskModel, request: _Request, *, task_status: Incarnation) -> None:
        task_status.started()
        asked = ModelRequest(
            id=ask.request,
            system=self.prompt,
            conversation=ask.conversation,
            tools=(*self.tools.schemas(), *self.endings),
        )
        async with request.model.reply(asked) as events:
            async for event in events:
                # An account is none of an answer: who counts and then says nothing has stalled.
                if not request.of_use and not isinstance(event, ModelUsage):
                    request.of_use = True
                    self._of_use(request)
                self.tell_agent(event)

    async def _run(self, call: CallTool, *, task_status: Incarnation) -> None:
        task_status.started()
        self.tell_result(await self.tools.run(call))

    def _event(self, event: SupervisionEvent) -> None:
        kind, _, name = event.child.partition(" ")
        request = self._requests.get(name) if kind == "model" else None
        self.watch.errand("" if request is None else request.model.vendor, event)
        if isinstance(event, ChildStarted | ChildStalled):  # what follows from a stall is told next
            return
        self._running.pop(event.child, None)
        self._ended.set()
        if request is not None:
            self._judge(self._requests.pop(name), event)
        if not isinstance(event, ChildFailed):  # it ended well, or because it had to
            return
        self.log.error("errand_failed", errand=event.child, reason=event.reason)
        if request is None:
            self.tell_result(ToolReturned(id=name, ok=False, value="the tool failed; its effect is not known"))
            return
        kinds, vendor = kinds_of(event.error), request.model.vendor
        self.tell_agent(ModelFailed(request=name, reason=event.reason, vendor=vendor, kinds=kinds))

    def _judge(self, request: _Request, event: SupervisionEvent) -> None:
        """Let the process know what the end of a request says about its model."""
        kinds = kinds_of(event.error) if isinstance(event, ChildFailed) else ()
        if kinds and not request.of_use and OF_THE_REQUEST.isdisjoint(kinds):
            self._blame(request, kinds)
        else:
            request.providers.released(request.model.vendor)

    def _blame(self, request: _Request, kinds: Sequence[str]) -> None:
        """Count a failure of these kinds against a request's model."""
        lasting = answer_to(kinds, self.reasons) is not Answer.RESTART
        request.providers.failed(request.model.vendor, kinds=kinds, lasting=lasting)
