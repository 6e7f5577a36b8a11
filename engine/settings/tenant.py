"""Tenants: the businesses that are called, one TOML file each."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import attrs

from engine.codec.spoken import Diction
from engine.messages.errors import ConfigError
from engine.settings.checks import (
    DatabaseAddress,
    Flag,
    IdleTime,
    Must,
    Patience,
    Phrase,
    Text,
    Unfit,
    VoiceId,
    as_table,
    check_of,
    expected,
    matching,
    number,
    seconds,
)
from engine.settings.policies import AgentOverride, TurnOverride
from engine.settings.supervision import ActorOverrides
from engine.settings.vendors import TenantCallSettings
from engine.tools.hours import ClinicHours

E164: TypeAlias = Annotated[str, matching('a telephone number such as "+15550100002"', r"\+[1-9][0-9]{1,14}")]
Table: TypeAlias = Annotated[Mapping[str, Any], Must(as_table)]


@attrs.frozen(kw_only=True)
class TextsSettings:
    """What is said without a model: rendered before the first call, so that it needs no vendor."""

    repeat_please: Text = "Sorry, could you say that again?"
    still_there: Text = "Are you still there?"
    goodbye: Text = "Thank you for calling. Goodbye."
    one_moment: Text = "One moment, please."
    transfer: Text = "One moment, I will connect you with our team."
    stopping: Text = "I'm sorry, I have to end this call now. Please call again in a minute. Goodbye."
    apology: Text = "I'm sorry, we are having some trouble. Please call again in a few minutes."


@attrs.frozen(kw_only=True)
class VoicesSettings:
    """A tenant's voice at each vendor; what is absent is the vendor's own default."""

    elevenlabs: VoiceId | None = None


@attrs.frozen(kw_only=True)
class LimitSettings:
    """A tenant's own limits; what is absent is the engine's."""

    idle_s: IdleTime | None = None
    idle_again_s: tuple[IdleTime, ...] | None = None
    longest_call_s: Annotated[float, seconds(10, 14400)] | None = None


def _spoken_as(value: object) -> Mapping[str, str]:
    """Return a table of words, and how each is written for a voice."""
    table = as_table(value)
    for word, said in table.items():
        if not word.strip():
            raise expected("a word or a phrase before its sign of equality", word)
        if not isinstance(said, str) or not said.strip():
            raise Unfit(str(expected("how it is written for a voice, a text", said)), key=word)
    return {word: str(said) for word, said in table.items()}


@attrs.frozen(kw_only=True)
class SpeechSettings:
    """How a tenant's agent speaks.

    normalise: whether numbers, prices and the like are written out for the voice. pronunciations: words, and how they
        are written for it. speed: of the voice's own. pause_s: after a sentence, besides the voice's own pause.
    uninterruptible: phrases that are heard whole, whatever the caller says but "stop" and the like.
    hold_tone_s: how long a tool may take before the hold tone; absent: there is none.
    """

    normalise: Flag = True
    pronunciations: Annotated[Mapping[str, str], Must(_spoken_as)] = attrs.field(factory=dict)
    speed: Annotated[float, number("a number", 0.7, 1.2)] = 1.0
    pause_s: Annotated[float, seconds(0, 2)] = 0.0
    uninterruptible: tuple[Phrase, ...] = ()
    hold_tone_s: Patience | None = None


def _clinic(value: object) -> Mapping[str, object]:
    """Return the table as it stands, once the tools could read it. What they raise begins with the key."""
    table = as_table(value)
    try:
        check_of(DatabaseAddress).take(table.get("database"))
    except Unfit as error:
        raise ConfigError(f"database: {error}") from error
    ClinicHours.from_options({key: option for key, option in table.items() if key != "database"})
    return table


@attrs.frozen(kw_only=True)
class Tenant:
    """A business that is called.

    id: what records and logs call it; the name of its file, without `.toml`, unless the file says otherwise.
    voice: the embedded voice's name. voices: at the other vendors.
    clinic, script: as they stand in the file; what the tools `clinic` are opened with, and the scripted agent.
    """

    id: Text
    name: Text
    numbers: tuple[E164, ...] = ()
    default: Flag = False
    language: Annotated[str, matching('a language such as "en" or "en-US"', r"[a-z]{2,3}(-[A-Z]{2})?")] = "en"
    voice: Text = "heart"
    voices: VoicesSettings = VoicesSettings()
    greeting: Text
    prompt: Text
    texts: TextsSettings = TextsSettings()
    human_number: E164 | None = None
    limits: LimitSettings = LimitSettings()
    call: TenantCallSettings = TenantCallSettings()
    actors: ActorOverrides = ActorOverrides()
    agent: AgentOverride = AgentOverride()
    turns: TurnOverride = TurnOverride()
    speech: SpeechSettings = SpeechSettings()
    tools: Literal["none", "clinic"] = "none"
    clinic: Annotated[Mapping[str, Any], Must(_clinic)] | None = None
    script: Table = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if not self.numbers and not self.default:
            text = "nobody can reach it: give it numbers, or default = true"
            raise ValueError(text)
        if (self.tools == "clinic") != (self.clinic is not None):
            text = 'tools = "clinic" and a [clinic] table go together'
            raise ValueError(text)

    def voice_at(self, vendor: str, default: str) -> str:
        """Return the voice that speaks for this tenant at a vendor; `default` where it names none."""
        chosen: str | None = getattr(self.voices, vendor, None)
        # `voice` alone may be a vendor's id too: nobody's names look like that.
        is_id = re.fullmatch(r"[A-Za-z0-9]{20}", self.voice) is not None
        return chosen or (self.voice if is_id == (vendor != "local") else default)

    @property
    def clips(self) -> Mapping[str, str]:
        """Every text that is rendered ahead of time, as written, by the name of its clip; "greeting" among them."""
        return {"greeting": self.greeting, **attrs.asdict(self.texts)}

    @property
    def diction(self) -> Diction:
        """How its texts are spoken."""
        speech = self.speech
        return Diction(language=self.language, normalise=speech.normalise, pronunciations=speech.pronunciations)

    @property
    def spoken_clips(self) -> Mapping[str, str]:
        """The clips' texts as they are spoken."""
        return {name: self.diction.spoken(text).text for name, text in self.clips.items()}


@attrs.frozen(kw_only=True)
class Tenants:
    """All businesses that this engine answers for."""

    tenants: tuple[Tenant, ...]

    def for_number(self, dialled: str) -> Tenant | None:
        """Return whom `dialled` belongs to, else the default tenant, else None."""
        owners = [tenant for tenant in self.tenants if dialled in tenant.numbers]
        return next(iter(owners or [tenant for tenant in self.tenants if tenant.default]), None)
