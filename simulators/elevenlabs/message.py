"""What a client says on a socket: read to the letter, a field too many refused like a wrong one."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from simulators.elevenlabs.request import is_encodable

_SETTINGS: Final = ("voice_settings", "generation_config", "generator_config", "pronunciation_dictionary_locators")
_SHOWN_CHARS: Final = 200


class InvalidMessageError(Exception):
    """A message that cannot be read."""


@attrs.frozen(kw_only=True)
class Ask:
    """A message. text: None where there was none. settings: those that were given, a null being none.

    key, token: what it has to be let in with.
    """

    context_id: str | None
    text: str | None
    settings: Mapping[str, Any]
    key: str | None
    token: str | None
    flush: bool
    try_trigger: bool
    close_context: bool
    close_socket: bool

    @property
    def schedule(self) -> tuple[int, ...] | None:
        """The `chunk_length_schedule`, if one was given."""
        config = self.settings.get("generation_config") or self.settings.get("generator_config") or {}
        given = config.get("chunk_length_schedule")
        return None if given is None else tuple(given)


def read(message: str | bytes, *, multi: bool) -> Ask:
    """Return what a message says. Raises InvalidMessageError."""
    if isinstance(message, bytes):
        raise InvalidMessageError(f"a binary frame of {len(message)} bytes; text frames are read")
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise InvalidMessageError(f"not JSON: {message[:_SHOWN_CHARS]!r}") from error
    if not isinstance(fields, dict):
        raise InvalidMessageError(f"no JSON object: {message[:_SHOWN_CHARS]!r}")
    known = _MULTI if multi else _SINGLE
    for name, value in fields.items():
        if name not in known:
            raise InvalidMessageError(f"unknown field {name!r}")
        if not known[name](value):
            raise InvalidMessageError(f"field {name!r} cannot be {str(value)[:_SHOWN_CHARS]!r}")
    ask = Ask(
        context_id=fields.get("context_id", fields.get("contextId")),
        text=fields.get("text"),
        settings={name: fields[name] for name in _SETTINGS if fields.get(name) is not None},
        key=fields.get("xi-api-key", fields.get("xi_api_key")),
        token=fields.get("authorization"),
        flush=bool(fields.get("flush")),
        try_trigger=bool(fields.get("try_trigger_generation")),
        close_context=bool(fields.get("close_context")),
        close_socket=bool(fields.get("close_socket")),
    )
    if ask.text is None and not (multi and (ask.flush or ask.close_context or ask.close_socket)):
        raise InvalidMessageError("no field 'text'")
    return ask


_IsAllowed: TypeAlias = Callable[[Any], bool]


def _text(value: object) -> bool:
    return isinstance(value, str) and is_encodable(value)


def _optional(inner: _IsAllowed) -> _IsAllowed:
    return lambda value: value is None or inner(value)


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _number(least: float, most: float) -> _IsAllowed:
    return lambda value: type(value) in {int, float} and least <= value <= most


def _table(known: Mapping[str, _IsAllowed]) -> _IsAllowed:
    def allowed(value: object) -> bool:
        return isinstance(value, dict) and all(
            name in known and _optional(known[name])(inner) for name, inner in value.items()
        )

    return allowed


def _list(inner: _IsAllowed) -> _IsAllowed:
    return lambda value: isinstance(value, list) and bool(value) and all(map(inner, value))


_VOICE_SETTINGS: Final = _table(
    {
        "stability": _number(0, 1),
        "similarity_boost": _number(0, 1),
        "style": _number(0, 1),
        "use_speaker_boost": _flag,
        "speed": _number(0.7, 1.2),
    }
)
_GENERATION_CONFIG: Final = _table({"chunk_length_schedule": _list(_number(50, 500))})
_LOCATORS: Final = _list(_table({"pronunciation_dictionary_id": _text, "version_id": _text}))
_COMMON: Final[Mapping[str, _IsAllowed]] = {
    "text": _text,
    "voice_settings": _optional(_VOICE_SETTINGS),
    "generation_config": _optional(_GENERATION_CONFIG),
    "pronunciation_dictionary_locators": _optional(_LOCATORS),
    "xi-api-key": _text,
    "xi_api_key": _text,
    "authorization": _text,
    "flush": _flag,
}
_SINGLE: Final[Mapping[str, _IsAllowed]] = {
    **_COMMON,
    "generator_config": _optional(_GENERATION_CONFIG),
    "try_trigger_generation": _flag,
}
_MULTI: Final[Mapping[str, _IsAllowed]] = {
    **_COMMON,
    "text": _optional(_text),
    "context_id": _text,
    "contextId": _text,
    "close_context": _flag,
    "close_socket": _flag,
}
