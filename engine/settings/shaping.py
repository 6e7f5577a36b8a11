"""Shaping: makes the tables of a file into values, and every mistake in it into a line with its place."""

import difflib
import enum
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args, get_origin

import attrs
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from engine.codec.toml_lines import KeyPath
from engine.messages.errors import ConfigError
from engine.settings.checks import Must, Unfit, as_list, as_table, check_of, one_of, quoted
from engine.settings.policies import POLICIES, settable
from engine.settings.sources import File, Sources
from engine.settings.supervision import SESSIONS, ActorOverride, ActorSettings

_Shape = TypeVar("_Shape")

_Hook: TypeAlias = Callable[[Any, Any], Any]  # what cattrs calls: value and type in, the value to keep out

_OF_SESSIONS: Final = ("vendors", "last")


def shaped(file: File, shape: type[_Shape]) -> _Shape:
    """Return the file's table as a value. Raises `ConfigError` with every mistake in it."""
    try:
        return _READER.structure(file.table, shape)
    except BaseValidationError as error:
        lines = [f"{Sources(engine=file).place(keys)}: {text}" for keys, text in _mistakes(error, ())]
        raise ConfigError("\n".join(lines)) from error


def _mistakes(error: Exception, at: KeyPath) -> Iterator[tuple[Sequence[KeyPath], str]]:
    """Yield each mistake below `at`, such as `actors.stt.backof` and `unknown key`; of several keys one is meant."""
    match error:
        case ForbiddenExtraKeysError():
            known = settable(error.cl)
            for key in sorted(error.extra_fields):
                meant = difflib.get_close_matches(key.lower(), known, n=1)
                hint = f"did you mean '{meant[0]}'?" if meant else f"known: {quoted(known)}"
                if key in _OF_SESSIONS and error.cl in {ActorSettings, ActorOverride}:
                    hint = f"{at[-1]} has no session with a vendor; actors.{' and actors.'.join(SESSIONS)} have"
                yield [(*at, key)], f"unknown key; {hint}"
        case BaseValidationError():
            for inner in error.exceptions:
                yield from _mistakes(inner, _below(at, inner))
        case KeyError():
            yield [at], "missing"
        case ConfigError():  # of a layer below, which begins with its own key
            key, _, text = str(error).partition(": ")
            yield [(*at, *key.split("."))], text
        case _:
            yield told(error, at)


def told(error: Exception, at: KeyPath) -> tuple[Sequence[KeyPath], str]:
    """Return what a check says, and the keys that it is about: one of them is where it was said."""
    text = str(error)
    if isinstance(error, Unfit) and error.key:
        return [(*at, error.key)], text
    # attrs' validators, and their imitators: "'minimum_s' must be <= 'maximum_s' (1.0): 2.0"
    named = re.findall(r"'(\w+)'", text) if re.match(r"'\w+' must ", text) else []
    return [(*at, name) for name in named] or [at], text


def _below(at: KeyPath, error: Exception) -> KeyPath:
    """Return the path of the part of `at` that `error` is about, by the notes that cattrs leaves."""
    for note in getattr(error, "__notes__", ()):
        match note:
            case AttributeValidationNote():
                return (*at, note.name)
            case IterableValidationNote():
                return (*at, note.index)
            case _:
                pass
    return at


def _reader() -> Converter:
    """Return the converter that knows every table above, and coerces nothing."""
    reader = Converter(forbid_extra_keys=True)

    def table(shape: type) -> _Hook:
        overrides = {}
        if shape in POLICIES:
            for field in attrs.fields(shape):
                check = POLICIES[shape].get(field.name)
                overrides[field.name] = override(struct_hook=_hook(check)) if check else override(omit=True)
        read: _Hook = make_dict_structure_fn(shape, reader, **overrides)  # type: ignore[arg-type]
        return lambda value, as_: read(as_table(value), as_)

    def many(shape: object) -> _Hook:
        read = reader.get_structure_hook(list[get_args(shape)[0]])  # type: ignore[misc]
        return lambda value, _: tuple(read(as_list(value), list))

    def choice(shape: object) -> _Hook:
        return _hook(one_of(get_args(shape)))

    def member(shape: type[enum.Enum]) -> _Hook:
        check = one_of([each.value for each in shape])
        return lambda value, _: shape(check.take(value))

    def checked(shape: object) -> _Hook:
        plain, check = get_args(shape)[0], check_of(shape)
        value = get_args(plain)[-1] if get_origin(plain) is Mapping else None
        if value is None or not attrs.has(value):
            return _hook(check)
        # A table of tables, whose names alone the check has looked at.
        read = reader.get_structure_hook(dict[str, value])  # type: ignore[valid-type]
        return lambda given, _: read(check.take(given), dict)

    reader.register_structure_hook_factory(attrs.has, table)
    reader.register_structure_hook_factory(_made_by(tuple), many)
    reader.register_structure_hook_factory(_made_by(Literal), choice)
    reader.register_structure_hook_factory(_made_by(Annotated), checked)
    reader.register_structure_hook_factory(
        lambda shape: isinstance(shape, type) and issubclass(shape, enum.Enum), member
    )
    return reader


def _made_by(origin: object) -> Callable[[Any], bool]:
    return lambda shape: get_origin(shape) is origin


def _hook(check: Must) -> _Hook:
    return lambda value, _: check.take(value)


_READER: Final = _reader()
