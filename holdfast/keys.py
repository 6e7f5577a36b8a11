"""Keys: reads from the environment what must never stand in a file, and says which variable is missing."""

import os
from collections.abc import Mapping
from typing import Final

import attrs

from engine.messages.errors import ConfigError
from engine.settings import Settings, Sources, Tenants

ADMIN_TOKEN: Final = "HOLDFAST_ADMIN_TOKEN"  # noqa: S105 - a name, not a token
"""The variable with which whoever may change a running server proves it. Not set: nobody may, from outside."""

SHORTEST_TOKEN: Final = 16
"""Characters of an admin token at least. 64 bits in hexadecimal: asked for over the network, nobody guesses that."""

_SOLD: Final[Mapping[str, str]] = {"deepgram": "Deepgram", "anthropic": "Anthropic", "elevenlabs": "ElevenLabs"}


@attrs.frozen(kw_only=True)
class Keys:
    """What the environment holds: a key for each vendor that is used, and Twilio's auth tokens, the newest first.

    admin_token: empty where there is none.
    """

    vendors: Mapping[str, str] = attrs.field(repr=False)
    auth_tokens: tuple[str, ...] = attrs.field(repr=False)
    admin_token: str = attrs.field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All that must never stand in a log."""
        return (*self.vendors.values(), *self.auth_tokens, *filter(None, [self.admin_token]))


def read_keys(
    settings: Settings,
    environ: Mapping[str, str] = os.environ,
    *,
    tenants: Tenants | None = None,
    sources: Sources | None = None,
) -> Keys:
    """Return the keys that the configuration needs: of every vendor in a list, whoever's, be it the last of it.

    sources: the files that it came from, to say where. Raises ConfigError that names every variable that is missing
    or cannot be used, and never shows what one holds.
    """
    lines: list[str] = []

    def read(variable: str, whose: str) -> str:
        value = environ.get(variable, "").strip()
        if value and not (value.isascii() and value.isprintable() and " " not in value):
            lines.append(f"{variable}: {whose} holds a space, or what is not ascii; what stands there is not shown")
        return value

    keys: dict[str, str] = {}
    for tenant in (None, *(tenants.tenants if tenants else ())):
        for work in ("stt", "llm", "tts"):
            for index, vendor in enumerate(settings.vendors_of(tenant, work)):
                if vendor not in _SOLD or vendor in keys:
                    continue
                variable: str = getattr(settings.vendors, vendor).api_key_env
                keys[vendor] = read(variable, f"{_SOLD[vendor]}'s API key")
                if not keys[vendor]:
                    place = (sources or Sources()).place([("call", work, index)], tenant=tenant.id if tenant else "")
                    lines.append(
                        f"{place}: {variable} is not set, which holds {_SOLD[vendor]}'s API key; set it, or leave "
                        f"'{vendor}' out"
                    )
    twilio = settings.vendors.twilio
    tokens = [
        read(variable, "Twilio's auth token") for variable in (twilio.auth_token_env, twilio.previous_auth_token_env)
    ]
    if tokens[1] and not tokens[0]:
        lines.append(
            f"{twilio.auth_token_env} is not set, and {twilio.previous_auth_token_env} is: the new token comes first"
        )
    admin_token = read(ADMIN_TOKEN, "the admin token")
    if 0 < len(admin_token) < SHORTEST_TOKEN:
        lines.append(
            f"{ADMIN_TOKEN}: the admin token is too short; expected {SHORTEST_TOKEN} characters or more, or none set; "
            "what stands there is not shown"
        )
    if lines:
        raise ConfigError("\n".join(lines))
    return Keys(vendors=keys, auth_tokens=tuple(filter(None, tokens)), admin_token=admin_token)
