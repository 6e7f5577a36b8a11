"""The toolbox: what the model of one call may do, and one run of a tool from its record to its result.

Theory of operation. A run has a key: the call's sid and the id that the model gave it. First the ledger is asked to
record the key. What it has as finished is answered from there, whoever asks again. What it has as recorded, new or
cut short by a crash, runs with that key, by which a tool that changes the world is idempotent. In the thread where
the function runs, its outcome is written to the ledger before anybody is told of it.
"""

import json
from collections.abc import Mapping
from functools import partial
from threading import Event
from typing import Final

import attrs
import structlog
import trio

from engine.messages.conversation import Json
from engine.messages.errors import ConfigError, EngineBug
from engine.messages.model import CallTool, ToolReturned
from engine.storage.ledger import ToolRun, ToolStatus
from engine.storage.runner import Runner
from engine.storage.store import Store
from engine.tools.tool import IdempotencyKey, Invalid, Refused, Tool, ToolDescription

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)


_REFUSAL_S: Final = 5.0
"""How long the model waits to be told that there is no such tool: as long as for most tools."""


@attrs.frozen(kw_only=True)
class CallContext:
    """What a business may know of the call that it is served in.

    caller: the caller's number, as Twilio gives it.
    """

    call_sid: str
    tenant: str
    caller: str


@attrs.frozen(kw_only=True)
class Toolbox:
    """The tools of one call.

    context: every tool's first argument.
    """

    tools: tuple[Tool, ...]
    context: object
    call: CallContext

    def schemas(self) -> tuple[ToolDescription, ...]:
        """Return the tools as a model is told of them, always in the same order."""
        return tuple(tool.describe() for tool in self.tools)

    def validate(self, name: str, arguments: Mapping[str, Json]) -> dict[str, object] | Invalid:
        """Return the arguments for the function of tool `name`, or everything that is wrong with them."""
        tool = self._find(name)
        if tool is None:
            known = ", ".join(repr(tool.name) for tool in self.tools) or "none"
            return Invalid((f"unknown tool {name[:64]!r}; known: {known}",))
        return tool.read(arguments)

    async def run(self, asked: CallTool, *, runner: Runner, store: Store) -> ToolReturned:
        """Run a tool once for its id, however often it is asked; return what the model is told.

        runner: `in_thread(limiter, abandon_on_cancel=True)` for time limits to hold. A tool that is late goes on in
        its thread, keeps its place in the limiter, and writes its outcome to the ledger and the log when it ends; the
        model has been told by then that there is no answer yet. With any other runner a late tool is waited for.

        Whatever goes wrong is told to the model as a result that is not `ok`; only cancellation is raised. A run that
        is cancelled after its record is asked again with the same `CallTool`, or never.
        """
        key = IdempotencyKey(f"{self.call.call_sid}/{asked.id}")
        tool = self._find(asked.name)
        begun: _Run | None = None
        with trio.move_on_after(tool.timeout_s if tool else _REFUSAL_S):
            try:
                recorded = await runner(partial(self._record, key, asked, store))
            except (ConfigError, EngineBug) as error:
                _log.error("tool not recorded", id=key, tool=asked.name, error=str(error))
                return _failure(asked, f"{asked.name} could not be started; nothing was done")
            if (recorded.name, recorded.arguments) != (asked.name, asked.arguments):
                _log.error("tool id used twice", id=key, tool=asked.name, recorded=recorded.name)
                return _failure(asked, f"the id {asked.id} was used before, for another run of {recorded.name}")
            if recorded.status is not ToolStatus.RECORDED:
                return ToolReturned(id=asked.id, ok=recorded.status is ToolStatus.DONE, value=recorded.result)
            if not recorded.is_new:
                _log.warning("tool asked again", id=key, tool=asked.name, reason="recorded before, but not finished")
            arguments = self.validate(asked.name, asked.arguments)
            if isinstance(arguments, Invalid):
                returned = _failure(asked, f"{asked.name} was not run: {'; '.join(arguments.problems)}")
                await runner(partial(_finish, key, returned, store))
                return returned
            assert tool is not None, "validate refuses what is not found"
            begun = _Run(tool=tool, context=self.context, arguments=arguments, key=key, asked=asked, store=store)
            return await runner(begun)
        if begun is None:
            _log.error("tool not recorded", id=key, tool=asked.name, error="no thread was free, or the ledger is slow")
            return _failure(asked, f"{asked.name} could not be started; nothing was done")
        begun.late.set()
        _log.warning("tool late", id=key, tool=begun.tool.name, timeout_s=begun.tool.timeout_s)
        return _failure(asked, f"{begun.tool.name} has given no answer in {begun.tool.timeout_s:g} s{begun.warning}")

    def _find(self, name: str) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == name), None)

    def _record(self, key: IdempotencyKey, asked: CallTool, store: Store) -> ToolRun:
        return store.record_tool(
            key, call_sid=self.call.call_sid, turn=asked.turn, name=asked.name, arguments=asked.arguments
        )


@attrs.frozen(kw_only=True)
class _Run:
    """The part of a run that blocks: the function, then the ledger.

    late: set when nobody waits for the outcome any more.
    """

    tool: Tool
    context: object
    arguments: Mapping[str, object]
    key: IdempotencyKey
    asked: CallTool
    store: Store
    late: Event = attrs.field(factory=Event)

    @property
    def warning(self) -> str:
        """What the model must know of a run whose outcome it is not told."""
        return "; it may have taken effect all the same: look before trying again" if self.tool.changes_world else ""

    def __call__(self) -> ToolReturned:
        returned = self._call()
        _finish(self.key, returned, self.store)
        if self.late.is_set():
            _log.warning("tool finished late", id=self.key, tool=self.tool.name, ok=returned.ok)
        return returned

    def _call(self) -> ToolReturned:
        arguments = {**self.arguments, self.tool.key: self.key} if self.tool.key else self.arguments
        try:
            answer = self.tool.function(self.context, **arguments)
            json.dumps(answer.offers if isinstance(answer, Refused) else answer)  # a result that no one can be told
        except Exception:  # noqa: BLE001 (a foreign step is taken here: what it raises fails one run, not the call)
            _log.exception("tool failed", id=self.key, tool=self.tool.name)
            return _failure(self.asked, f"{self.tool.name} failed{self.warning}")
        if isinstance(answer, Refused):
            return _failure(self.asked, answer.reason, answer.offers)
        return ToolReturned(id=self.asked.id, ok=True, value=answer)


def _finish(key: IdempotencyKey, returned: ToolReturned, store: Store) -> None:
    """Write the outcome down. Where that fails the outcome still counts: a run asked again finds it by its key."""
    status = ToolStatus.DONE if returned.ok else ToolStatus.FAILED
    try:
        store.finish_tool(key, status, returned.value)
    except (ConfigError, EngineBug) as error:
        _log.error("tool outcome not recorded", id=key, status=status.value, error=str(error))


def _failure(asked: CallTool, error: str, more: Mapping[str, Json] | None = None) -> ToolReturned:
    return ToolReturned(id=asked.id, ok=False, value={"error": error, **(more or {})})
