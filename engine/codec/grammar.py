"""Whether words look finished, and whether they take the floor: endings and short words, by language."""

import enum
from collections.abc import Iterable
from typing import Final, Self

import attrs


class Ending(enum.Enum):
    """What the end of the caller's words looks like."""

    COMPLETE = "a sentence that is whole"
    UNKNOWN = "nothing speaks for either"
    INCOMPLETE = "more is to come: a trailing “and”, a question half asked"
    DICTATING = "a number, a name that is being spelt: groups with pauses between them"


class Claim(enum.Enum):
    """What words said over the agent ask for."""

    NOTHING = "there are none"
    BACKCHANNEL = "go on: “uh-huh”, “okay”"
    FLOOR = "the floor"
    COMMAND = "silence, whatever is being said: “stop”, “wait”"


@attrs.frozen(kw_only=True)
class Grammar:
    """One language's."""

    language: str

    def ending(self, text: str) -> Ending:
        """Return what the end of `text`, all that was said since the last turn, looks like."""
        return Ending.UNKNOWN if text else Ending.INCOMPLETE

    def claim(self, text: str) -> Claim:
        """Return what `text`, said over the agent, asks for."""
        return Claim.FLOOR if text.split() else Claim.NOTHING

    def plus(self, *, backchannels: Iterable[str] = (), commands: Iterable[str] = ()) -> Self:  # noqa: ARG002
        """Return the grammar that knows some more phrases."""
        return self


ENGLISH: Final = Grammar(language="en")


def grammar_of(language: str) -> Grammar:
    """Return the grammar of a language such as "en-US"; of one that is not known, what punctuation alone tells."""
    return ENGLISH if language.startswith("en") else Grammar(language=language)
