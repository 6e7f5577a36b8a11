"""Errands: requests to the model and runs of tools. They are the call's: no death of the Agent ends or repeats one."""

from collections.abc import Callable
from functools import partial

import attrs
import structlog
import trio

from engine.actors.agent import END_CALL, TRANSFER
from engine.messages.errors import EngineBug, ProviderRefused
from engine.messages.model import AskModel, CallTool, CancelModel, ModelFailed, ToolReturned
from engine.providers.contract import Model, ModelEvent, ModelRequest, Tools, ToolSchema
from engine.supervisor import (
    TEMPORARY,
    ChildFailed,
    ChildSpec,
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


@attrs.define(eq=False, kw_only=True)
class Errands:
    """What is under way for the agent, each errand a temporary child of one supervisor.

    endings: the engine's own tools, after the tenant's.
    tell_agent, tell_result: put a model's events, a tool's results, into the Agent's mailbox.
    """

    model: Model
    tools: Tools
    prompt: str
    endings: tuple[ToolSchema, ...] = (END_CALL_TOOL,)
    tell_agent: Callable[[ModelEvent | ModelFailed], None]
    tell_result: Callable[[ToolReturned], None]
    log: structlog.stdlib.BoundLogger
    watch: Watch = attrs.field(factory=Watch)
    supervisor: Supervisor = attrs.field(init=False)
    # How to cancel each errand that is under way, by its child's id.
    _running: dict[str, Callable[[], None]] = attrs.field(init=False, factory=dict)
    _ended: trio.Event = attrs.field(init=False, factory=trio.Event)
    _closed: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.supervisor = Supervisor(name="errands", specs=(), on_event=self._event)

    def put(self, ask: object) -> None:
        """Begin or end an errand: a port. Never waits, never raises while the call is open."""
        match ask:
            case AskModel(request=request):
                self._begin(f"model {request}", partial(self._reply, ask))
            case CallTool(id=run):
                self._begin(f"tool {run}", partial(self._run, ask))
            case CancelModel(request=request):
                self._running.pop(f"model {request}", lambda: None)()
            case _:
                msg = f"no errand is called {type(ask).__name__}"
                raise EngineBug(msg)

    def _begin(self, name: str, work: Start) -> None:
        # Not `_running`: who was cancelled may still be closing its request, and its id is taken until then.
        if self._closed or any(child.id == name for child in self.supervisor.children()):
            self.log.warning("errand_not_begun", errand=name, closed=self._closed)
            return
        spec = ChildSpec(id=name, start=work, restart=TEMPORARY, shutdown_s=0.0)
        self._running[name] = self.supervisor.start_child(spec).cancel

    def close(self) -> None:
        """Begin none any more."""
        self._closed = True

    async def tools_ended(self) -> None:
        """Wait until no tool runs."""
        while any(name.startswith("tool ") for name in self._running):
            self._ended = trio.Event()
            await self._ended.wait()

    async def _reply(self, ask: AskModel, *, task_status: Incarnation) -> None:
        task_status.started()
        request = ModelRequest(
            id=ask.request,
            system=self.prompt,
            conversation=ask.conversation,
            tools=(*self.tools.schemas(), *self.endings),
        )
        async with self.model.reply(request) as events:
            async for event in events:
                self.tell_agent(event)

    async def _run(self, call: CallTool, *, task_status: Incarnation) -> None:
        task_status.started()
        self.tell_result(await self.tools.run(call))

    def _event(self, event: SupervisionEvent) -> None:
        self.watch.errand(self.model.vendor, event)
        if isinstance(event, ChildStarted):
            return
        self._running.pop(event.child, None)
        self._ended.set()
        if not isinstance(event, ChildFailed):  # it ended well, or because it had to
            return
        self.log.error("errand_failed", errand=event.child, reason=event.reason)
        kind, _, name = event.child.partition(" ")
        if kind == "model":
            refused = isinstance(event.error, ProviderRefused)
            self.tell_agent(ModelFailed(request=name, reason=event.reason, refused=refused))
        else:
            self.tell_result(ToolReturned(id=name, ok=False, value="the tool failed; its effect is not known"))
