"""Vendors: who may hear, think and speak in a call, in which order, and what each is called with."""

from collections.abc import Mapping
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from engine.settings.checks import (
    IdleTime,
    Must,
    Text,
    Unfit,
    VoiceId,
    expected,
    integer,
    number,
    quoted,
    seconds,
    unseen,
    whole,
)

KNOWN_VENDORS: Final[Mapping[str, tuple[str, ...]]] = {
    "stt": ("deepgram", "local"),
    "llm": ("anthropic", "groq", "local", "openai"),
    "tts": ("cartesia", "deepgram", "elevenlabs", "local"),
}

BUILT_VENDORS: Final[Mapping[str, tuple[str, ...]]] = {
    "stt": ("deepgram", "local"),
    "llm": ("anthropic", "local"),
    "tts": ("elevenlabs", "local"),
}


def _address(*schemes: str) -> Must:
    noun = f"an address of {' or '.join(schemes)}, host and port only"

    def take(value: object) -> str:
        try:
            parts = urlsplit(value if isinstance(value, str) else "")
            fits = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError as error:  # a port that is none, half an IPv6 address
            raise expected(noun, value) from error
        if not fits or "@" in parts.netloc or parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise expected(noun, value)
        return f"{parts.scheme}://{parts.netloc}"

    return Must(take)


VendorAddress: TypeAlias = Annotated[str, _address("http", "https", "ws", "wss")]
EnvironmentName: TypeAlias = Annotated[
    str, unseen("the name of an environment variable, in capitals", r"[A-Z_][A-Z0-9_]*")
]


def vendor_for(work: str) -> Must:
    """Return the check of the name of one who does a kind of work."""

    def take(value: object) -> str:
        known, built = KNOWN_VENDORS[work], BUILT_VENDORS[work]
        if not isinstance(value, str):
            raise expected("the name of a provider", value)
        if value not in known:
            raise Unfit(f"unknown provider {value!r} for {work}; known: {quoted(known)}")
        if value not in built:
            raise Unfit(f"provider '{value}' for {work} is not built yet; built: {quoted(built)}")
        return value

    return Must(take)


@attrs.frozen(kw_only=True)
class CallSettings:
    """Who hears, thinks and speaks, in order of preference; and how long a call may be quiet or last."""

    stt: tuple[Annotated[str, vendor_for("stt")], ...] = ("local",)
    llm: tuple[Annotated[str, vendor_for("llm")], ...] = ("local",)
    tts: tuple[Annotated[str, vendor_for("tts")], ...] = ("local",)
    idle_s: IdleTime = 10.0
    idle_again_s: tuple[IdleTime, ...] = ()
    longest_call_s: Annotated[float, seconds(10, 14400)] = 3600.0

    def __attrs_post_init__(self) -> None:
        _check_lists(self)


@attrs.frozen(kw_only=True)
class TenantCallSettings:
    """A tenant's own vendors, in order of preference; what is absent is the engine's."""

    stt: tuple[Annotated[str, vendor_for("stt")], ...] | None = None
    llm: tuple[Annotated[str, vendor_for("llm")], ...] | None = None
    tts: tuple[Annotated[str, vendor_for("tts")], ...] | None = None

    def __attrs_post_init__(self) -> None:
        _check_lists(self)


def _check_lists(call: "CallSettings | TenantCallSettings") -> None:
    for work in ("stt", "llm", "tts"):
        vendors: tuple[str, ...] | None = getattr(call, work)
        if vendors is not None and (not vendors or len(set(vendors)) < len(vendors)):
            text = f"{work} must name each of its providers once, and one at least, got [{', '.join(vendors)}]"
            raise Unfit(text, key=work)


@attrs.frozen(kw_only=True)
class TwilioSettings:
    """The account that the numbers belong to. Without its token a webhook's signature cannot be checked."""

    account_sid_env: EnvironmentName = "TWILIO_ACCOUNT_SID"
    auth_token_env: EnvironmentName = "TWILIO_AUTH_TOKEN"  # noqa: S105 - a name, not a token
    previous_auth_token_env: EnvironmentName = "TWILIO_PREVIOUS_AUTH_TOKEN"  # noqa: S105 - a name, not a token
    base_url: VendorAddress = "https://api.twilio.com"


@attrs.frozen(kw_only=True)
class DeepgramSettings:
    """Deepgram. In a `base_url` http and ws stand for each other, whichever is written; paths are the vendor's."""

    base_url: VendorAddress = "wss://api.deepgram.com"
    api_key_env: EnvironmentName = "DEEPGRAM_API_KEY"
    model: Text = "nova-3"
    endpointing_ms: Annotated[int, integer(10)] = 240
    utterance_end_ms: Annotated[int, integer(1000)] = 1000
    chunk_ms: Annotated[int, whole(40, 100)] = 60
    eot_threshold: Annotated[float, number("a number", 0.5, 1)] = 0.7
    eager_eot_threshold: Annotated[float, number("a number", 0.3, 0.9)] = 0.5
    eot_timeout_ms: Annotated[int, whole(500, 60000)] = 3000

    def __attrs_post_init__(self) -> None:
        if self.eager_eot_threshold > self.eot_threshold:
            text = (
                f"'eager_eot_threshold' must be <= 'eot_threshold' ({self.eot_threshold}): {self.eager_eot_threshold}"
            )
            raise ValueError(text)


@attrs.frozen(kw_only=True)
class AnthropicSettings:
    """Anthropic."""

    base_url: VendorAddress = "https://api.anthropic.com"
    api_key_env: EnvironmentName = "ANTHROPIC_API_KEY"
    model: Text = "claude-haiku-5-5"
    max_tokens: Annotated[int, whole(16, 8192)] = 400


@attrs.frozen(kw_only=True)
class ElevenLabsSettings:
    """ElevenLabs. `voice`: of tenants that name none of their own."""

    base_url: VendorAddress = "wss://api.elevenlabs.io"
    api_key_env: EnvironmentName = "ELEVENLABS_API_KEY"
    model: Text = "eleven_flash_v2_5"
    voice: VoiceId = "EXAVITQu4vr4xnSDxMaL"


@attrs.frozen(kw_only=True)
class LocalSettings:
    """The embedded default. `threads`: how many inferences run at once in a process."""

    threads: Annotated[int, integer(1)] = 2


@attrs.frozen(kw_only=True)
class VendorSettings:
    """Where each vendor is and what it is called with."""

    twilio: TwilioSettings = TwilioSettings()
    deepgram: DeepgramSettings = DeepgramSettings()
    anthropic: AnthropicSettings = AnthropicSettings()
    elevenlabs: ElevenLabsSettings = ElevenLabsSettings()
    local: LocalSettings = LocalSettings()
