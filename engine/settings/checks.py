"""Checks: what a single value in a file must be, and what is said of one that is not.

A field's type carries its check (`Annotated[float, seconds(0, 60)]`). Nothing is coerced: `"5"` is not 5, `true` is not
1; only a whole number may stand for seconds.
"""

import difflib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeAlias, get_args

import attrs

from engine.policy import Answer

KINDS: Final = ("refused", "down", "slow", "crash")
"""What a failure is, whoever's it is: the vendor said no; it is out of reach; it gave no sign of life; the code raised.
Anything else in `reasons` is a vendor's own code."""

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Unfit(ValueError):
    """A value that its check refuses; the text is what follows the path.

    key: of the table that was refused as a whole, the key that it is about.
    """

    def __init__(self, text: str, *, key: str = "") -> None:
        super().__init__(text)
        self.key = key


@attrs.frozen
class Must:
    """The check of a field, carried by its type: returns the value to keep or raises `Unfit`."""

    take: Callable[[object], object]


def check_of(kind: object) -> Must:
    """Return the check that an annotated type carries."""
    return next(each for each in get_args(kind) if isinstance(each, Must))


def shown(value: object) -> str:
    """Write a value as its file does, shortened to what a line bears."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            text = json.dumps(value, ensure_ascii=False)
            return text if len(text) <= 60 else f'{text[:56]}..."'  # noqa: PLR2004 - half of a terminal's line
        case int() | float():
            return str(value)
        case Mapping():
            return "a table"
        case list():
            return "a list"
        case _:
            return "a date or time"


def expected(noun: str, value: object) -> Unfit:
    """Return the error for a value that is no such thing."""
    return Unfit(f"expected {noun}, got {shown(value)}")


def quoted(names: Sequence[str]) -> str:
    """Return names as a message lists them."""
    return ", ".join(f"'{name}'" for name in names)


def integer(least: int) -> Must:
    """Return the check of a whole number that has no upper end."""

    def take(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise expected(f"an integer ≥ {least}", value)
        return value

    return Must(take)


def whole(least: int, most: int) -> Must:
    """Return the check of a whole number."""

    def take(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise expected(f"an integer from {least} to {most}", value)
        return value

    return Must(take)


def number(noun: str, least: float, most: float) -> Must:
    """Return the check of a number, whole or not; `noun` says of what."""

    def take(value: object) -> float:
        # The comparison refuses NaN and both infinities too.
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise expected(f"{noun} from {least:g} to {most:g}", value)
        return float(value)

    return Must(take)


def seconds(least: float, most: float) -> Must:
    """Return the check of a duration."""
    return number("a number of seconds", least, most)


def matching(noun: str, pattern: str) -> Must:
    """Return the check of a text that is wholly of a pattern; `noun` says what that is."""
    compiled = re.compile(pattern)

    def take(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise expected(noun, value)
        return value

    return Must(take)


def unseen(noun: str, pattern: str) -> Must:
    """As `matching`, for what may be a secret in the wrong place, or hold one: the message does not repeat it."""
    compiled = re.compile(pattern)

    def take(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise Unfit(f"expected {noun}; what stands there is not shown, it may be a secret")
        return value

    return Must(take)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise expected("true or false", value)
    return value


def one_of(choices: Sequence[str]) -> Must:
    """Return the check of a choice."""

    def take(value: object) -> object:
        if value not in choices:
            raise expected(f"one of {', '.join(map(shown, choices))}", value)
        return value

    return Must(take)


def as_list(value: object) -> list[object]:
    """Return the value, if it is a list. Raises `Unfit`."""
    if not isinstance(value, list):
        raise expected("a list", value)
    return value


def as_table(value: object) -> Mapping[str, object]:
    """Return the value, if it is a table, whatever its keys. Raises `Unfit`."""
    if not isinstance(value, dict):
        raise expected("a table", value)
    return value


def as_reasons(value: object) -> Mapping[str, Answer]:
    """Return what is said of each kind of failure. Raises `Unfit`."""
    read: dict[str, Answer] = {}
    for kind, answer in as_table(value).items():
        meant = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.75)
        if kind not in KINDS and meant:
            raise Unfit(f"unknown kind of failure; did you mean '{meant[0]}'?", key=kind)
        if not _CODE.fullmatch(kind):
            raise Unfit(f'expected a vendor\'s code such as "401", or one of {quoted(KINDS)}', key=kind)
        try:
            read[kind] = Answer(str(one_of([each.value for each in Answer]).take(answer)))
        except Unfit as error:
            raise Unfit(str(error), key=kind) from error
    return read


Text: TypeAlias = Annotated[str, matching("a text", r"(?s).*\S.*")]
Phrase: TypeAlias = Annotated[str, matching("a phrase of words", r"(?s).*[^\W_].*")]
Flag: TypeAlias = Annotated[bool, Must(_flag)]
DatabaseAddress: TypeAlias = Annotated[
    str, unseen('a database address such as "sqlite:///var/calls.sqlite3"', r"[a-z0-9+_]+://.*")
]
VoiceId: TypeAlias = Annotated[
    str, matching('a voice\'s id such as "EXAVITQu4vr4xnSDxMaL": letters and digits', r"[A-Za-z0-9_-]{1,64}")
]
Wait: TypeAlias = Annotated[float, seconds(0, 60)]
Factor: TypeAlias = Annotated[float, number("a number", 1, 100)]
Patience: TypeAlias = Annotated[float, seconds(0.1, 60)]
IdleTime: TypeAlias = Annotated[float, seconds(1, 600)]
Reasons: TypeAlias = Annotated[Mapping[str, Answer], Must(as_reasons)]
