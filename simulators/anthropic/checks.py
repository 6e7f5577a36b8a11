"""Checks of somebody's JSON, put together into a grammar: closed objects, tagged unions, and an error with its path."""

import re
from collections.abc import Callable, Mapping
from typing import Final

from simulators.anthropic.reply import Json

Check = Callable[[Json, str], None]
"""Returns if a value is allowed at a path, else raises InvalidError."""

_SCHEMA_TYPES: Final = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})


class InvalidError(Exception):
    """What is wrong with a request, and where; the vendor says "PATH: WHY"."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}" if path else why)


def under(path: str, name: str | int) -> str:
    """The path of a part."""
    return f"{path}.{name}" if path else str(name)


def anything(value: Json, path: str) -> None:
    """Allow all."""


def text(value: Json, path: str) -> None:
    """Allow a string."""
    if not isinstance(value, str):
        raise InvalidError(path, "Input should be a valid string")


def boolean(value: Json, path: str) -> None:
    """Allow true and false."""
    if not isinstance(value, bool):
        raise InvalidError(path, "Input should be a valid boolean")


def number(value: Json, path: str) -> None:
    """Allow a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidError(path, "Input should be a valid number")


def table(value: Json, path: str) -> None:
    """Allow an object, whatever is in it."""
    fields_of(value, path)


def fields_of(value: Json, path: str) -> dict[str, Json]:
    """The fields of an object."""
    if not isinstance(value, dict):
        raise InvalidError(path, "Input should be a valid dictionary")
    return value


def whole(least: int, most: int) -> Check:
    """Allow whole numbers in a range."""

    def check(value: Json, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidError(path, "Input should be a valid integer")
        if value < least:
            raise InvalidError(path, f"Input should be greater than or equal to {least}")
        if value > most:
            raise InvalidError(path, f"{value} > {most}, which is the maximum allowed")

    return check


def one_of(*allowed: str) -> Check:
    """Allow some strings."""

    def check(value: Json, path: str) -> None:
        if value not in allowed:
            raise InvalidError(path, f"Input should be {' or '.join(map(repr, allowed))}")

    return check


def matching(pattern: str) -> Check:
    """Allow strings of a form."""
    form = re.compile(pattern)

    def check(value: Json, path: str) -> None:
        text(value, path)
        if not isinstance(value, str) or not form.fullmatch(value):
            raise InvalidError(path, f"String should match pattern '^{pattern}$'")

    return check


def nullable(inner: Check) -> Check:
    """Allow null too."""

    def check(value: Json, path: str) -> None:
        if value is not None:
            inner(value, path)

    return check


def list_of(inner: Check) -> Check:
    """Allow an array."""

    def check(value: Json, path: str) -> None:
        if not isinstance(value, list):
            raise InvalidError(path, "Input should be a valid list")
        for index, item in enumerate(value):
            inner(item, under(path, index))

    return check


def text_or(inner: Check) -> Check:
    """Allow a string too."""

    def check(value: Json, path: str) -> None:
        if not isinstance(value, str):
            inner(value, path)

    return check


def record(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """Allow an object with these fields and no others."""
    known = {**required, **(optional or {})}

    def check(value: Json, path: str) -> None:
        fields = fields_of(value, path)
        for name in required:
            if name not in fields:
                raise InvalidError(under(path, name), "Field required")
        for name, field in fields.items():
            if name not in known:
                raise InvalidError(under(path, name), "Extra inputs are not permitted")
            known[name](field, under(path, name))

    return check


def tagged(kinds: Mapping[str, Check], *, default: str | None = None) -> Check:
    """Allow objects whose `type` says which kind they are of."""

    def check(value: Json, path: str) -> None:
        tag = fields_of(value, path).get("type", default)
        if not isinstance(tag, str) or tag not in kinds:
            expected = ", ".join(map(repr, kinds))
            raise InvalidError(
                path, f"Input tag {tag!r} found using 'type' does not match any of the expected tags: {expected}"
            )
        kinds[tag](value, path)

    return check


def json_schema(value: Json, path: str) -> None:
    """Allow what can be a JSON Schema, as far as the words that tools use."""
    if isinstance(value, bool):
        return
    schema = fields_of(value, path)
    for name, field in schema.items():
        _SCHEMA_WORDS.get(name, anything)(field, under(path, name))


def tool_schema(value: Json, path: str) -> None:
    """Allow a JSON Schema of an object."""
    schema = fields_of(value, path)
    if "type" not in schema:
        raise InvalidError(under(path, "type"), "Field required")
    if schema["type"] != "object":
        raise InvalidError(under(path, "type"), "Input should be 'object'")
    for name in ("oneOf", "allOf", "anyOf"):
        if name in schema:
            raise InvalidError(path, "input_schema does not support oneOf, allOf, or anyOf at the top level")
    json_schema(value, path)


def _invalid_schema(path: str) -> InvalidError:
    return InvalidError(path, "JSON schema is invalid. It must match JSON Schema draft 2020-12")


def _schema_type(value: Json, path: str) -> None:
    types = value if isinstance(value, list) else [value]
    if not types or any(not isinstance(each, str) or each not in _SCHEMA_TYPES for each in types):
        raise _invalid_schema(path)


def _schemas(value: Json, path: str) -> None:
    if not isinstance(value, list) or not value:
        raise _invalid_schema(path)
    list_of(json_schema)(value, path)


def _named_schemas(value: Json, path: str) -> None:
    if not isinstance(value, dict):
        raise _invalid_schema(path)
    for name, schema in value.items():
        json_schema(schema, under(path, name))


def _names(value: Json, path: str) -> None:
    if not isinstance(value, list) or any(not isinstance(name, str) for name in value) or _repeats(value):
        raise _invalid_schema(path)


def _values(value: Json, path: str) -> None:
    if not isinstance(value, list):
        raise _invalid_schema(path)


def _schema_text(value: Json, path: str) -> None:
    if not isinstance(value, str):
        raise _invalid_schema(path)


def _schema_number(value: Json, path: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _invalid_schema(path)


def _repeats(values: list[Json]) -> bool:
    return any(value in values[:index] for index, value in enumerate(values))


_SCHEMA_WORDS: Final[Mapping[str, Check]] = {
    "type": _schema_type,
    "properties": _named_schemas,
    "$defs": _named_schemas,
    "additionalProperties": json_schema,
    "items": json_schema,
    "not": json_schema,
    "anyOf": _schemas,
    "oneOf": _schemas,
    "allOf": _schemas,
    "required": _names,
    "enum": _values,
    "description": _schema_text,
    "title": _schema_text,
    "format": _schema_text,
    "pattern": _schema_text,
    "minimum": _schema_number,
    "maximum": _schema_number,
    "minLength": _schema_number,
    "maxLength": _schema_number,
    "minItems": _schema_number,
    "maxItems": _schema_number,
}
