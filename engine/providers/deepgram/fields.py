"""Fields: what both of Deepgram's protocols have in their messages, read field by field."""

from typing import Final

import attrs

from engine.codec.wire import Fields, shortened
from engine.messages.errors import WireError

LONGEST_S: Final = 1e6
"""Longer than any stream lasts, and exact to the microsecond in floating point."""


@attrs.frozen(kw_only=True)
class StreamWord:
    """A word and where it lies: seconds from the first byte of the stream."""

    text: str
    start_s: float
    end_s: float


@attrs.frozen(kw_only=True)
class Complaint:
    """What the vendor did not like of ours; the stream goes on."""

    text: str


def complaint(kind: str, fields: Fields) -> Complaint:
    """Return what a complaint says, each part of it shortened."""
    told = (fields.values.get(name) for name in ("variant", "code", "error_code", "description"))
    return Complaint(text=f"{kind}: {' '.join(shortened(each) for each in told if each is not None)}")


def array(fields: Fields, name: str) -> list[object]:
    """Return an array. Raises WireError."""
    value = _value(fields, name)
    return value if isinstance(value, list) else fields.refuse(name, "an array")


def item(fields: Fields, name: str, at: int, items: list[object]) -> Fields:
    """Return the object at a place of an array. Raises WireError."""
    found = items[at]
    if not isinstance(found, dict):
        raise WireError(f"field '{fields.path}{name}.{at}' is {shortened(found)}; an object allowed")
    return Fields(found, f"{fields.path}{name}.{at}.")


def flag(fields: Fields, name: str) -> bool:
    """Return a flag; one that is missing is not set. Raises WireError."""
    value = fields.values.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        fields.refuse(name, "true or false")
    return value


def number(fields: Fields, name: str, least: float = 0.0, most: float = LONGEST_S) -> float:
    """Return a number within bounds. Raises WireError."""
    value = _value(fields, name)
    if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
        return float(value)
    return fields.refuse(name, f"a number from {least:g} to {most:g}")


def _value(fields: Fields, name: str) -> object:
    if name not in fields.values:
        raise WireError(f"field '{fields.path}{name}' is missing; got {shortened(list(fields.values))}")
    return fields.values[name]
