"""The businesses that tenants name in their `[tools]`, by name; and those that this process has open."""

import json
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Final, Protocol, Self

import attrs

from engine.messages.errors import ConfigError
from engine.storage.moments import Clock, utc_now
from engine.tools.clinic import Clinic
from engine.tools.tool import Tool
from engine.tools.toolbox import CallContext, Toolbox


class Business(Protocol):
    """What stands behind a tenant's tools. Opened once a process, shared by its calls."""

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools it offers, always in the same order."""

    def context(self, call: CallContext) -> object:
        """Return what its tools are given as their first argument in this call."""

    def close(self) -> None:
        """Let go of what it holds."""


@attrs.frozen
class _Nothing:
    """The business of a tenant whose agent only talks."""

    tools: tuple[Tool, ...] = ()

    def context(self, call: CallContext) -> None:
        pass

    def close(self) -> None:
        pass


_OPENERS: Final[Mapping[str, Callable[[Mapping[str, object], Clock], Business]]] = {
    "clinic": Clinic.open,
    "none": lambda _options, _clock: _Nothing(),
}


class Businesses:
    """The businesses that are open: one for each name with its options, however many tenants and calls share it.

    clock: tells the present moment to tools that reckon with dates.
    """

    def __init__(self, clock: Clock = utc_now) -> None:
        self._clock = clock
        self._open: dict[str, Business] = {}

    def open(self, name: str, options: Mapping[str, object]) -> Business:
        """Return business `name`, opened with `options` if it is not open yet.

        Blocks where it opens a database: call it for every tenant before calls are taken.
        Raises `ConfigError` for an unknown name, unknown or wrong options, and a database that cannot be used.
        """
        if name not in _OPENERS:
            near = get_close_matches(name, _OPENERS, n=1)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown tools {name!r}; known: {', '.join(map(repr, sorted(_OPENERS)))}{guess}")
        key = json.dumps([name, options], sort_keys=True, default=str)
        if key not in self._open:
            self._open[key] = _OPENERS[name](options, self._clock)
        return self._open[key]

    def toolbox_for(self, name: str, options: Mapping[str, object], *, call: CallContext) -> Toolbox:
        """Return the toolbox of one call. Does not block for a business that is open. Raises as `open` does."""
        business = self.open(name, options)
        return Toolbox(tools=business.tools, context=business.context(call), call=call)

    def close(self) -> None:
        """Close every business; none may be in use."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
