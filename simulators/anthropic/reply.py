"""What the simulated Claude answers: a value that says what comes, and what goes wrong on the way."""

import enum
import re
from collections.abc import Mapping
from typing import Final, Literal, Self, TypeAlias

import attrs

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
StopReason: TypeAlias = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded"
]
RefusalCategory: TypeAlias = Literal["cyber", "bio", "frontier_llm", "reasoning_extraction", "general_harms"]

# About four characters a token, and a token may end anywhere: in a word, in JSON, before a comma.
_TOKEN: Final = re.compile(r"\s*\S{1,4}|\s+")

ERROR_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def tokens(text: str) -> list[str]:
    """The tokens that a text comes in."""
    return _TOKEN.findall(text)


@attrs.frozen
class Text:
    """Words. Empty ones are no block."""

    text: str


@attrs.frozen
class UseTool:
    """A tool call. ``id``: None has one made up."""

    name: str
    input: Mapping[str, Json] = attrs.field(factory=dict)
    id: str | None = None


class How(enum.Enum):
    """How an answer breaks off."""

    ERROR = "an `error` event, and the end of the body"
    STALL = "silence, for as long as the client bears it"
    PINGS = "nothing but a ping a second"
    CUT = "the connection closed in the middle of the body"
    RESET = "the connection reset in the middle of the body"
    END = "a body that is complete for HTTP, without message_stop"


@attrs.frozen(kw_only=True)
class Break:
    """An answer that breaks off once so many tokens have been sent; thinking counts.

    after_tokens: 0 is after message_start; None is before the status line, where only STALL, CUT and RESET make sense.
    error: the status whose error type an ERROR has.
    """

    how: How
    after_tokens: int | None = 0
    error: int = 529


@attrs.frozen(kw_only=True)
class Refuse:
    """An error instead of an answer.

    status: the error's type follows from it.
    retry_after_s: whole seconds, as a header.
    error_code: stands under `details`, as `enforced_spend_limit_reached` does.
    after_s: how long it takes to come.
    """

    status: int
    message: str = "Overloaded"
    retry_after_s: int | None = None
    error_code: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    after_s: float = 0.0

    @property
    def type(self) -> str:
        """The error's type, as the body has it."""
        return ERROR_TYPES[self.status]


@attrs.frozen(kw_only=True)
class Reply:
    """A whole answer, as a mind gives it.

    blocks: in order; none is an empty turn.
    stop_reason: None is what follows from the blocks: `tool_use` if there is a tool call, else `end_turn`.
    category, explanation: of a `refusal`.
    thinking: what is thought first, where the request leaves thinking on.
    limit_tokens: as if `max_tokens` had been this, if that is less: what is beyond is not generated.
    first_token_s: instead of the simulator's.
    """

    blocks: tuple[Text | UseTool, ...] = ()
    stop_reason: StopReason | None = None
    category: RefusalCategory | None = None
    explanation: str | None = None
    thinking: str = "The caller wants an answer, and a short one."
    limit_tokens: int | None = None
    broken: Break | None = None
    first_token_s: float | None = None

    @classmethod
    def of(cls, *parts: str | UseTool) -> Self:
        """A reply of words and tool calls."""
        return cls(blocks=tuple(Text(part) if isinstance(part, str) else part for part in parts))


Answer: TypeAlias = Reply | Refuse
