"""What was said and done, as the model is shown it and as it is stored."""

from collections.abc import Mapping
from typing import TypeAlias

import attrs

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None


@attrs.frozen(kw_only=True)
class CallerSaid:
    """The caller's words of one turn."""

    turn: int
    text: str


@attrs.frozen(kw_only=True)
class AgentSaid:
    """The agent's words of one turn, as far as they were heard.

    interrupted: the caller broke in. unheard: what is missing because of it.
    spoken: how many words were spoken for each written one, where numbers and the like are spoken out; empty: one each.
    """

    turn: int
    text: str
    interrupted: bool = False
    unheard: str = ""
    spoken: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class ToolCalled:
    """A tool that the model asked for. `id` is the idempotency key of the run."""

    turn: int
    id: str
    name: str
    arguments: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class ToolAnswered:
    """What the tool gave. `ok` is false when `value` is an error that the model should read."""

    turn: int
    id: str
    ok: bool
    value: Json


@attrs.frozen(kw_only=True)
class Noted:
    """Something that the model should know and nobody said: that a tool has not answered in time."""

    turn: int
    text: str


Entry: TypeAlias = CallerSaid | AgentSaid | ToolCalled | ToolAnswered | Noted
