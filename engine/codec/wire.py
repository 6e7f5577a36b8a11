"""Another's JSON, read field by field; an error names the field, its value and what was allowed."""

import binascii
import json
import reprlib
from typing import Final, NoReturn, Self

import attrs

from engine.messages.errors import WireError

# Fifteen digits: exact in any peer's floating point, and thirty thousand years of milliseconds.
LARGEST_COUNT: Final = 10**15 - 1


# How an error shows a value: never long, and never deep, because a peer may nest as deep as Python recurses.
_SHORT: Final = reprlib.Repr()
_SHORT.maxlevel = 2
_SHORT.maxstring = _SHORT.maxother = 60
shortened: Final = _SHORT.repr


@attrs.frozen
class Fields:
    """A JSON object that a peer sent. Its methods return a field's value or raise WireError; fields not asked for pass.

    path: where the object stands in the message, "" for the message itself, else as "media." is.
    """

    values: dict[str, object]
    path: str = ""

    @classmethod
    def read(cls, text: str | bytes, *, longest: int) -> Self:
        """Return a message's fields. Raises WireError for one longer than ``longest``, or that is no JSON object."""
        if len(text) > longest:
            raise WireError(f"message of length {len(text)}; at most {longest} allowed")
        try:
            values = _JSON.decode(text if isinstance(text, str) else text.decode())
        except UnicodeDecodeError as error:
            raise WireError(f"message is not utf-8 at byte {error.start}: {shortened(text)}") from error
        except RecursionError as error:
            raise WireError(f"message is nested too deeply: {shortened(text)}") from error
        except ValueError as error:  # also a number of more digits than Python will read
            raise WireError(f"message is not json: {shortened(text)}") from error
        if not isinstance(values, dict):
            raise WireError(f"message is {shortened(values)}; a json object allowed")
        return cls(values)

    def only(self, *names: str) -> Self:
        """Return these fields. Raises WireError if there is one besides ``names``."""
        if extra := sorted(self.values.keys() - set(names)):
            raise WireError(f"unknown field {shortened(self.path + extra[0])}; {', '.join(map(repr, names))} allowed")
        return self

    def inner(self, name: str) -> "Fields":
        value = self._value(name)
        if not isinstance(value, dict):
            self.refuse(name, "an object")
        return Fields(value, f"{self.path}{name}.")

    def text(self, name: str) -> str:
        value = self._value(name)
        if not isinstance(value, str):
            self.refuse(name, "a string")
        if not (value.isascii() or _is_encodable(value)):
            self.refuse(name, "whole characters")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """Return one of ``allowed``."""
        value = self.text(name)
        if value not in allowed:
            self.refuse(name, f"one of {', '.join(allowed)}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of strings."""
        value = self._value(name)
        if not isinstance(value, list):
            self.refuse(name, "an array of strings")
        items = Fields({str(at): item for at, item in enumerate(value)}, f"{self.path}{name}.")
        return tuple(map(items.text, items.values))

    def count(self, name: str) -> int:
        """Return a whole number, 0 to ``LARGEST_COUNT``, sent as a string of digits or as a JSON number."""
        value = self._value(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(LARGEST_COUNT)):
            return int(value)
        if type(value) is int and 0 <= value <= LARGEST_COUNT:  # a bool is an int too
            return value
        return self.refuse(name, f"a whole number from 0 to {LARGEST_COUNT}")

    def base64(self, name: str, *, most_bytes: int) -> bytes:
        """Return decoded base64, 1 to ``most_bytes`` bytes of it; padding and alphabet must be right."""
        value = self._value(name)
        if not isinstance(value, str):
            self.refuse(name, "base64 in a string")
        try:
            data = binascii.a2b_base64(value, strict_mode=True)
        except ValueError:
            self.refuse(name, "base64")
        if not 1 <= len(data) <= most_bytes:
            raise WireError(f"field '{self.path}{name}' holds {len(data)} bytes; 1 to {most_bytes} allowed")
        return data

    def refuse(self, name: str, allowed: str) -> NoReturn:
        """Raise WireError: this field's value is not what is ``allowed``."""
        raise WireError(f"field {shortened(self.path + name)} is {shortened(self.values[name])}; {allowed} allowed")

    def _value(self, name: str) -> object:
        if name not in self.values:
            raise WireError(f"field '{self.path}{name}' is missing; got {shortened(list(self.values))}")
        return self.values[name]


def _refuse_constant(name: str) -> NoReturn:
    raise WireError(f"message holds {name}; json's own numbers allowed")


_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def _is_encodable(value: str) -> bool:
    """Whether a string has no half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
