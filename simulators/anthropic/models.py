"""The models that the API knows, and what each takes."""

import re
from typing import Final, Self

import attrs

_ID: Final = re.compile(r"claude-(?P<family>[a-z]+)-(?P<major>\d)(?:-(?P<minor>\d))?(?:-\d{8})?")
_IDS: Final = frozenset(
    {
        "claude-fable-5",
        "claude-fable-5-1",
        "claude-fable-5-2",
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        "claude-haiku-5-5",
        "claude-mythos-5",
        "claude-mythos-5-1",
        "claude-mythos-5-2",
        "claude-opus-4-5",
        "claude-opus-4-5-20251101",
        "claude-opus-4-6",
        "claude-opus-4-7",
        "claude-opus-4-8",
        "claude-opus-5",
        "claude-opus-5-5",
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4-6",
        "claude-sonnet-5",
        "claude-sonnet-5-5",
    }
)


@attrs.frozen(kw_only=True)
class ClaudeModel:
    """A model, by its id; retired ones are unknown."""

    id: str
    family: str
    version: tuple[int, int]

    @classmethod
    def named(cls, name: str) -> Self | None:
        """The model of that id; None if there is none, or none any more."""
        parts = _ID.fullmatch(name)
        if parts is None or name not in _IDS:
            return None
        return cls(id=name, family=parts["family"], version=(int(parts["major"]), int(parts["minor"] or 0)))

    @property
    def thinks_unasked(self) -> bool:
        """Whether it thinks when the request does not say. Documented of Haiku 5.5 alone."""
        return self.family == "haiku" and self.version >= (5, 5)

    @property
    def takes_budget(self) -> bool:
        """Whether `thinking` may be `enabled` with a budget: the older way."""
        return self.version < (5, 0)

    @property
    def thinks_between_tools(self) -> bool:
        """Whether `thinking` may be `between_tools`."""
        return self.family == "sonnet" and self.version >= (5, 5)

    @property
    def takes_sampling(self) -> bool:
        """Whether sampling fields may have other values than their defaults."""
        return self.version < (4, 7)

    @property
    def takes_prefill(self) -> bool:
        """Whether the last message may be the assistant's. That it ends with 4.6 is the strict reading."""
        return self.version < (4, 6)

    @property
    def takes_forced_tools(self) -> bool:
        """Whether `tool_choice` may be `any` or `tool`."""
        return (self.family, self.version) not in {("opus", (5, 5)), ("fable", (5, 1))}

    @property
    def most_tokens(self) -> int:
        """The most that `max_tokens` may be. Documented of the two Haikus; the others are given the larger."""
        return 64_000 if (self.family, self.version) == ("haiku", (4, 5)) else 128_000

    @property
    def least_cached_tokens(self) -> int:
        """The shortest prefix that is cached. Documented of the two Haikus; the others are given their generation's."""
        return 512 if self.version >= (5, 0) else 4096
