"""What is asked of the model and the tools, and what comes back, by id. These are tasks, not sessions."""

from collections.abc import Mapping
from typing import Literal

import attrs

from engine.messages.conversation import Entry, Json


@attrs.frozen(kw_only=True)
class AskModel:
    """Ask for the next reply to `conversation`. Its answers carry `request`.

    without: models that are not to be asked: they failed in this turn.
    """

    request: str
    turn: int
    conversation: tuple[Entry, ...]
    without: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class CancelModel:
    """Stop a request; whatever it still had to say is void.

    stalled: because nothing came of it, which speaks against the model; else because nobody wants it any more.
    """

    request: str
    stalled: bool = False


@attrs.frozen(kw_only=True)
class ModelAsked:
    """The request was given to the model called `vendor`."""

    request: str
    vendor: str


@attrs.frozen(kw_only=True)
class ModelText:
    """Some more of the reply, any number of characters, to be joined as they are; none as a sign of life."""

    request: str
    text: str


@attrs.frozen(kw_only=True)
class ModelToolCall:
    """The model wants a tool run before it goes on. `id` is unique within the call."""

    request: str
    id: str
    name: str
    arguments: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class ModelUsage:
    """What the request has cost so far, in tokens: each tells of all of it, the last one counts."""

    request: str
    input_tokens: int
    output_tokens: int


@attrs.frozen(kw_only=True)
class ModelEnded:
    """The request is complete. `stop` is "tool_use" when it waits for the tools it asked for."""

    request: str
    stop: Literal["end_turn", "tool_use", "max_tokens", "refusal"]


@attrs.frozen(kw_only=True)
class ModelFailed:
    """The request died. `reason` is the error's text.

    vendor: who was asked. kinds: what kind of failure it is, the most special first: policies are written in them.
    """

    request: str
    reason: str
    vendor: str = ""
    kinds: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class CallTool:
    """Ask for one run of a tool. `id` is its idempotency key; the run is recorded before it begins."""

    id: str
    turn: int
    name: str
    arguments: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class ToolReturned:
    """A tool's result, by the id of its run."""

    id: str
    ok: bool
    value: Json
