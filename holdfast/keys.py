"""Keys: reads from the environment what must never stand in a file, and says which variable is missing."""

import os
from collections.abc import Mapping
from typing import Final

import attrs

from engine.messages.errors import ConfigError
from engine.settings import Settings

_SOLD: Final[Mapping[str, str]] = {"deepgram": "Deepgram", "anthropic": "Anthropic", "elevenlabs": "ElevenLabs"}


@attrs.frozen(kw_only=True)
class Keys:
    """What the environment holds: a key for each vendor that is used, and Twilio's auth tokens, the newest first."""

    vendors: Mapping[str, str] = attrs.field(repr=False)
    auth_tokens: tuple[str, ...] = attrs.field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that must never stand in a log."""
        return (*self.vendors.values(), *self.auth_tokens)


def read_keys(settings: Settings, environ: Mapping[str, str] = os.environ) -> Keys:
    """Return the keys that the configuration needs. Raises ConfigError that names every variable that is missing."""
    lines: list[str] = []

    def read(variable: str, whose: str) -> str:
        value = environ.get(variable, "").strip()
        if value and not (value.isascii() and value.isprintable() and " " not in value):
            lines.append(f"{variable}: {whose} holds a space, or what is not ascii; what stands there is not shown")
        return value

    keys: dict[str, str] = {}
    for work in ("stt", "llm", "tts"):
        for vendor in getattr(settings.call, work):
            if vendor not in _SOLD or vendor in keys:
                continue
            variable: str = getattr(settings.vendors, vendor).api_key_env
            keys[vendor] = read(variable, f"{_SOLD[vendor]}'s API key")
            if not keys[vendor]:
                lines.append(
                    f"{variable} is not set: it holds {_SOLD[vendor]}'s API key, and call.{work} names '{vendor}'"
                )
    twilio = settings.vendors.twilio
    tokens = [
        read(variable, "Twilio's auth token") for variable in (twilio.auth_token_env, twilio.previous_auth_token_env)
    ]
    if tokens[1] and not tokens[0]:
        lines.append(
            f"{twilio.auth_token_env} is not set, and {twilio.previous_auth_token_env} is: the new token comes first"
        )
    if lines:
        raise ConfigError("\n".join(lines))
    return Keys(vendors=keys, auth_tokens=tuple(filter(None, tokens)))
