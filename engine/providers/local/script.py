"""ScriptedAgent: answers a caller by a script, through the same interface as a language model."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import date
from functools import partial
from typing import Final

import trio

from engine.messages.model import ModelEnded, ModelText, ModelToolCall
from engine.providers.contract import ModelEvent, ModelRequest
from engine.providers.local.dialogue import Stage, next_reply
from engine.providers.local.plot import Script
from engine.providers.local.routing import Router
from engine.providers.local.workers import Workers

# A word with the space after it: what a model's tokens look like from here.
_TOKEN: Final = re.compile(r"\S+\s*")


class ScriptedAgent:
    """A model that is a script. Slower-witted than a language model, and never at a loss for the same answer.

    Keeps nothing of a call: each reply is made from the request's whole conversation. Shared by a tenant's calls.

    script: what it knows. router: of the script's intents.
    workers: where it thinks, some milliseconds a reply.
    today: tells the day at the business.
    facts: what the script's texts may name: "human_number", "business".
    """

    vendor: Final = "local"

    def __init__(
        self,
        script: Script,
        router: Router,
        workers: Workers,
        *,
        today: Callable[[], date],
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self._script = script
        self._router = router
        self._workers = workers
        self._today = today
        self._facts = facts or {}

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply to `request`. Its system prompt is not read: the script is what it says."""
        async with aclosing(self._events(request)) as events:
            yield events

    async def _events(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        stage = Stage(
            script=self._script,
            route=self._router.route,
            today=self._today(),
            tools=frozenset(tool.name for tool in request.tools),
            facts=self._facts,
        )
        reply = await self._workers.run(partial(next_reply, stage, request.conversation))
        for token in _TOKEN.findall(" ".join(reply.texts)):
            yield ModelText(request=request.id, text=token)
            await trio.lowlevel.checkpoint()
        for number, (name, arguments) in enumerate(reply.calls):
            yield ModelToolCall(request=request.id, id=f"{request.id}-{number}", name=name, arguments=arguments)
        yield ModelEnded(request=request.id, stop="tool_use" if reply.calls else "end_turn")


def spoken_number(number: str) -> str:
    """Return a telephone number as it is read out, digit by digit: "5 5 5, 0 1 0, 0 0 0 3"."""
    digits = re.sub(r"\D", "", number)
    if number.startswith("+1") and len(digits) == 11:  # noqa: PLR2004  (a North American number with its country code)
        digits = digits[1:]
    head, middle, tail = digits[:-7], digits[-7:-4], digits[-4:]
    return ", ".join(" ".join(group) for group in (head, middle, tail) if group)
