"""Scenarios: callers written down as TOML.

    caller_number = "+15550100001"
    dialled_number = "+15550100002"
    noise = { snr_db = 20.0, seed = 1 }      # optional

    [[steps]]
    do = "listen"

    [[steps]]
    do = "say"
    text = "I'd like an appointment, please."

A step says what it does, and has the fields of the class of that name in `simulators.caller`. The file of a ``play`` is
looked for beside the scenario.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs
from cattrs.errors import IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from engine.messages.errors import ConfigError
from simulators.caller import AwaitHangUp, CallerScript, HangUp, Interrupt, Listen, Play, Press, Say, Step, Wait

_SHIPPED: Final = Path(__file__).parent / "scenarios"
_STEPS: Final[Mapping[str, type[Step]]] = {
    "say": Say,
    "play": Play,
    "listen": Listen,
    "interrupt": Interrupt,
    "wait": Wait,
    "press": Press,
    "hang_up": HangUp,
    "await_hang_up": AwaitHangUp,
}


def shipped() -> tuple[str, ...]:
    """The names of the scenarios that come along."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def load(name: str) -> CallerScript:
    """Return a scenario: a file's, or one that comes along, by its bare name.

    Raises ConfigError, which names the file, the key and what is allowed; a line for each mistake.
    """
    if name in shipped():
        path = _SHIPPED / f"{name}.toml"
    else:
        path = Path(name)
        if not path.suffix and not path.exists():
            raise ConfigError(f"no scenario {name!r}; {_hint(name, shipped())}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        return _converter(path.parent).structure(table, CallerScript)
    except cattrs.BaseValidationError as error:
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in _mistakes(error, ""))) from error


class _UnfitError(ValueError):
    """A value that cannot be; ``key`` is the one inside it that is at fault, if there is one."""

    def __init__(self, why: str, key: str = "") -> None:
        super().__init__(why)
        self.key = key


def _converter(folder: Path) -> cattrs.Converter:
    converter = cattrs.Converter()

    def table(shape: type) -> Callable[[Any, Any], Any]:
        build: Callable[[Any, Any], Any] = make_dict_structure_fn(shape, converter, _cattrs_forbid_extra_keys=True)
        return lambda value, _: build(_of(dict, "a table", value), shape)

    def step(value: object, _: object) -> Step:
        fields = dict(_of(dict, "a table", value))
        if "do" not in fields:
            raise _UnfitError(f"missing; known: {_names(_STEPS)}", key="do")
        does = fields.pop("do")
        if not isinstance(does, str) or does not in _STEPS:
            raise _UnfitError(f"unknown step {does!r}; {_hint(str(does), _STEPS)}", key="do")
        return converter.structure(fields, _STEPS[does])

    def steps(value: object, _: object) -> tuple[Step, ...]:
        return tuple(converter.structure(_of(list, "a list of tables", value), list[Step]))

    converter.register_structure_hook_factory(attrs.has, table)
    converter.register_structure_hook(Step, step)
    converter.register_structure_hook_func(lambda shape: shape == tuple[Step, ...], steps)
    converter.register_structure_hook(str, lambda value, _: _of(str, "a text", value))
    converter.register_structure_hook(int, lambda value, _: _of(int, "a whole number", value))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook(Path, lambda value, _: folder / _of(str, "a file's name", value))
    return converter


def _of(kind: type, noun: str, value: Any) -> Any:  # noqa: ANN401  (whatever TOML can hold)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _UnfitError(f"{value!r} is not {noun}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _UnfitError(f"{value!r} is not a number")
    return float(value)


def _mistakes(error: BaseException, at: str) -> Iterator[str]:
    """A line for each thing that is wrong, with the way to it."""
    match error:
        case cattrs.ClassValidationError() | cattrs.IterableValidationError():
            noted, others = error.group_exceptions()
            for inner, note in noted:
                if isinstance(note, IterableValidationNote):
                    yield from _mistakes(inner, f"{at}[{note.index}]")
                else:
                    yield from _mistakes(inner, _below(at, note.name))
            for inner in others:
                yield from _mistakes(inner, at)
        case cattrs.ForbiddenExtraKeysError():
            known = [field.name for field in attrs.fields(error.cl)]
            for key in sorted(error.extra_fields):
                yield f"{_below(at, key)}: unknown key; {_hint(key, known)}"
        case KeyError():
            yield f"{at}: missing"
        case _UnfitError():
            yield f"{_below(at, error.key) if error.key else at}: {error}"
        case _:
            yield f"{at}: {error.args[0]}".removeprefix(": ")  # a validator's own words, with the key in them


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _hint(word: str, known: Iterable[str]) -> str:
    meant = get_close_matches(word, known := list(known), n=1)
    return f"did you mean {meant[0]!r}?" if meant else f"known: {_names(known)}"


def _names(known: Iterable[str]) -> str:
    return ", ".join(map(repr, known)) or "none"
