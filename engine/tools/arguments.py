"""Arguments of tools: from a type hint to JSON Schema for the model, and to a reader that says what is wrong.

A model's arguments are text that it made up: a wrong one is answered with what was wrong and what is allowed, so that
it can do better. A reader raises `ValueError` with that sentence and nothing else.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from functools import partial
from inspect import Parameter
from reprlib import Repr
from types import NoneType, UnionType
from typing import Annotated, Final, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs

from engine.messages.conversation import Json

LONGEST_TEXT: Final = 500
"""Characters in a text that has no `Length`: a minute of speech, and short enough for any table."""
_YEARS: Final = range(1900, 3000)
"""No birthday before, no appointment after, and room on both sides to reckon with time zones and days."""

_repr = Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60

MomentT = TypeVar("MomentT", date, time, datetime)


@attrs.frozen
class Between:
    """A number's range, both ends allowed: `Annotated[int, "how many", Between(1, 10)]`."""

    minimum: float
    maximum: float

    def schema(self) -> dict[str, Json]:
        return {"minimum": self.minimum, "maximum": self.maximum}

    def check(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is out of range; allowed: {self.minimum} to {self.maximum}")


@attrs.frozen
class Length:
    """A text's length in characters, both ends allowed: `Annotated[str, "a name", Length(1, 80)]`."""

    minimum: int
    maximum: int

    def schema(self) -> dict[str, Json]:
        return {"minLength": self.minimum, "maxLength": self.maximum}

    def check(self, value: str) -> None:
        if not self.minimum <= len(value) <= self.maximum:
            raise ValueError(f"has {len(value)} characters; allowed: {self.minimum} to {self.maximum}")


Bound: TypeAlias = Between | Length


@attrs.frozen(kw_only=True)
class Argument:
    """One argument of a tool.

    schema: JSON Schema for it, with its description.
    read: returns the value that the function is given; raises `ValueError`.
    default: what the function is given when the model gives none, or null; `Parameter.empty` where it must give one.
    """

    name: str
    schema: Mapping[str, Json]
    read: Callable[[Json], object]
    default: object

    @property
    def required(self) -> bool:
        return self.default is Parameter.empty


def describe(name: str, hint: object, default: object = Parameter.empty) -> Argument:
    """Return the argument that a function's parameter asks for.

    hint: str, int, float, bool, a Literal of strings, date, time or datetime; `| None` makes it optional; in
    `Annotated`, a string describes it for the model and a `Between` or `Length` bounds it.
    Raises `TypeError` for any other.
    """
    hint, notes = _unwrap(hint)
    if get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint):
        hint, more = _unwrap(Union[tuple(option for option in get_args(hint) if option is not NoneType)])  # noqa: UP007 (of a tuple)
        notes = (*notes, *more)
        default = None if default is Parameter.empty else default
    bounds = [note for note in notes if isinstance(note, Between | Length)]
    schema, read = _kind(hint, bounds)
    described = [note for note in notes if isinstance(note, str)]
    if described:
        schema["description"] = " ".join(described)
    if isinstance(default, str | int | float):
        schema["default"] = default
    return Argument(name=name, schema=schema, read=read, default=default)


def show(value: object) -> str:
    """Return a value as an error quotes it: cut to a line, whatever the model sent."""
    return _repr.repr(value)


def _unwrap(hint: object) -> tuple[object, tuple[object, ...]]:
    if get_origin(hint) is Annotated:
        inner, *notes = get_args(hint)
        return inner, tuple(notes)
    return hint, ()


def _kind(hint: object, bounds: Sequence[Bound]) -> tuple[dict[str, Json], Callable[[Json], object]]:
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        if not all(isinstance(choice, str) for choice in choices) or bounds:
            raise TypeError(f"{hint} cannot be an argument: only strings can be chosen from, and have no bounds")
        return {"type": "string", "enum": list(choices)}, partial(_read_choice, choices)
    if hint not in _KINDS:
        raise TypeError(
            f"{hint} cannot be an argument; known: str, int, float, bool, date, time, datetime, Literal of strings, "
            "and these with | None"
        )
    schema, read, bound_type = _KINDS[hint]
    if any(not isinstance(bound, bound_type) for bound in bounds):
        raise TypeError(f"{hint} cannot have the bounds {bounds}")
    if hint is str and not bounds:
        bounds = [Length(0, LONGEST_TEXT)]
    whole = dict(schema)
    for bound in bounds:
        whole |= bound.schema()
    return whole, partial(_read_bounded, read, bounds)


def _read_bounded(read: Callable[[Json], object], bounds: Sequence[Bound], value: Json) -> object:
    result = read(value)
    for bound in bounds:
        bound.check(result)  # type: ignore[arg-type]  # _kind lets only fitting ones through
    return result


def _read_choice(choices: Sequence[str], value: Json) -> str:
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"{show(value)} is not allowed; one of {', '.join(map(repr, choices))}")


def _read_text(value: Json) -> str:
    """Return a text on one line; refuse what no one can say and no database keeps."""
    if not isinstance(value, str):
        raise ValueError(f"{show(value)} is not a text")  # noqa: TRY004 (every wrong argument is one kind of error)
    text = " ".join(value.split())
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise ValueError(f"{show(value)} holds characters that are not text")
    return text


def _read_whole_number(value: Json) -> int:
    # JSON has one kind of number: 3.0 is 3. True is not 1, though Python says so.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"{show(value)} is not a whole number")


def _read_number(value: Json) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300:  # noqa: PLR2004 (finite)
        return float(value)
    raise ValueError(f"{show(value)} is not a number")


def _read_truth(value: Json) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{show(value)} is neither true nor false")


def _read_moment(kind: type[MomentT], like: str, value: Json) -> MomentT:
    """Return a date or time in any ISO 8601 spelling; a time zone is kept where one is given."""
    try:
        return kind.fromisoformat(value.strip() if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{show(value)} is not a {like}") from None


def _read_dated(kind: type[date | datetime], like: str, value: Json) -> date | datetime:
    moment = _read_moment(kind, like, value)
    if moment.year not in _YEARS:
        raise ValueError(f"{show(value)} is out of range; allowed: years {_YEARS.start} to {_YEARS.stop - 1}")
    return moment


_DATE_LIKE: Final = "date such as 2026-11-24"
_TIME_LIKE: Final = "time such as 14:30"
_DATETIME_LIKE: Final = "date and time such as 2026-11-24T14:30"

_Kind: TypeAlias = tuple[Mapping[str, Json], Callable[[Json], object], type[Bound] | tuple[()]]

_KINDS: Final[Mapping[object, _Kind]] = {
    str: ({"type": "string"}, _read_text, Length),
    int: ({"type": "integer"}, _read_whole_number, Between),
    float: ({"type": "number"}, _read_number, Between),
    bool: ({"type": "boolean"}, _read_truth, ()),
    date: ({"type": "string", "format": "date"}, partial(_read_dated, date, _DATE_LIKE), ()),
    time: ({"type": "string", "format": "time"}, partial(_read_moment, time, _TIME_LIKE), ()),
    datetime: ({"type": "string", "format": "date-time"}, partial(_read_dated, datetime, _DATETIME_LIKE), ()),
}
