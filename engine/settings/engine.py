"""Settings: what an operator may say in `config/`, and how it is refused.

Theory of operation. Each TOML table is a frozen class; a field's type carries the check that its value must pass, and
its default is the one that `config/engine.toml` ships and gives the reason for. A file is read whole, and every
mistake in it is reported at once, by its file, line and path. Nothing is coerced: `"5"` is not 5, `true` is not 1; only
a whole number may stand for seconds. No secret is ever here: a file names the environment variable that holds it.

How an actor and its session are restarted is said once for the actor and again, in part, where it differs: for a
vendor, and in a tenant's file. `Settings.actor` puts it together, field by field, and once all files are read, every
combination that a call could meet is tried: see `_Ladder`.
"""

import difflib
import enum
import ipaddress
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

import attrs
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from engine.actors.agent import AgentPolicy
from engine.actors.pacer import PacingPolicy
from engine.actors.stt import RecognitionPolicy
from engine.actors.turn_detector import TurnPolicy
from engine.codec.grammar import grammar_of
from engine.codec.public_url import check_public_url
from engine.codec.spoken import Diction
from engine.codec.toml_lines import KeyPath, lines_of
from engine.health import HealthPolicy
from engine.messages.errors import ConfigError
from engine.policy import REASONS, Answer, Backoff, RestartPolicy
from engine.supervisor import RestartType, Strategy
from engine.tools.hours import ClinicHours

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

_Shape = TypeVar("_Shape")
_Hook: TypeAlias = Callable[[Any, Any], Any]  # what cattrs calls: value and type in, the value to keep out

# ── checks: what a single value must be ───────────────────────────────────────────────────────────────────────────────


class _Unfit(ValueError):
    """A value that its check refuses; the text is what follows the path.

    key: of the table that was refused as a whole, the key that it is about.
    """

    def __init__(self, text: str, *, key: str = "") -> None:
        super().__init__(text)
        self.key = key


@attrs.frozen
class _Must:
    """The check of a field, carried by its type: returns the value to keep or raises `_Unfit`."""

    take: Callable[[object], object]


def _shown(value: object) -> str:
    """Write a value as its file does, shortened to what a line bears."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            text = json.dumps(value, ensure_ascii=False)
            return text if len(text) <= 60 else f'{text[:56]}..."'  # noqa: PLR2004 - half of a terminal's line
        case int() | float():
            return str(value)
        case Mapping():
            return "a table"
        case list():
            return "a list"
        case _:
            return "a date or time"


def _expected(noun: str, value: object) -> _Unfit:
    return _Unfit(f"expected {noun}, got {_shown(value)}")


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _integer(least: int) -> _Must:
    def take(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise _expected(f"an integer ≥ {least}", value)
        return value

    return _Must(take)


def _whole(least: int, most: int) -> _Must:
    def take(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _expected(f"an integer from {least} to {most}", value)
        return value

    return _Must(take)


def _number(noun: str, least: float, most: float) -> _Must:
    def take(value: object) -> float:
        # The comparison refuses NaN and both infinities too.
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise _expected(f"{noun} from {least:g} to {most:g}", value)
        return float(value)

    return _Must(take)


def _seconds(least: float, most: float) -> _Must:
    return _number("a number of seconds", least, most)


def _text(noun: str = "a text", pattern: str = r"(?s).*\S.*") -> _Must:
    compiled = re.compile(pattern)

    def take(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise _expected(noun, value)
        return value

    return _Must(take)


def _unseen(noun: str, pattern: str) -> _Must:
    """As `_text`, for what may be a secret in the wrong place, or hold one: the message does not repeat it."""
    compiled = re.compile(pattern)

    def take(value: object) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise _Unfit(f"expected {noun}; what stands there is not shown, it may be a secret")
        return value

    return _Must(take)


def _address(*schemes: str) -> _Must:
    noun = f"an address of {' or '.join(schemes)}, host and port only"

    def take(value: object) -> str:
        try:
            parts = urlsplit(value if isinstance(value, str) else "")
            fits = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError as error:  # a port that is none, half an IPv6 address
            raise _expected(noun, value) from error
        if not fits or "@" in parts.netloc or parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise _expected(noun, value)
        return f"{parts.scheme}://{parts.netloc}"

    return _Must(take)


def _public(value: object) -> str:
    if not isinstance(value, str):
        raise _expected("an address of http or https", value)
    try:
        return check_public_url(value)
    except ConfigError as error:
        raise _Unfit(str(error).removeprefix("public_url is ").removeprefix("public_url ")) from error


def _network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise _expected('an address or network such as "10.0.0.0/8"', value) from error


def _vendor(work: str) -> _Must:
    def take(value: object) -> str:
        known, built = KNOWN_VENDORS[work], BUILT_VENDORS[work]
        if not isinstance(value, str):
            raise _expected("the name of a provider", value)
        if value not in known:
            raise _Unfit(f"unknown provider {value!r} for {work}; known: {_names(known)}")
        if value not in built:
            raise _Unfit(f"provider '{value}' for {work} is not built yet; built: {_names(built)}")
        return value

    return _Must(take)


def _overridden(work: str) -> Callable[[object], object]:
    """Return the check of a table by vendor; what each says is read on."""
    vendor = _vendor(work)

    def take(value: object) -> object:
        for name in _free_table(value):
            try:
                vendor.take(name)
            except _Unfit as error:
                raise _Unfit(str(error), key=name) from error
        return value

    return take


def _reasons(value: object) -> Mapping[str, Answer]:
    read: dict[str, Answer] = {}
    for kind, answer in _free_table(value).items():
        meant = difflib.get_close_matches(kind.lower(), KINDS, n=1, cutoff=0.75)
        if kind not in KINDS and meant:
            raise _Unfit(f"unknown kind of failure; did you mean '{meant[0]}'?", key=kind)
        if not _CODE.fullmatch(kind):
            raise _Unfit(f'expected a vendor\'s code such as "401", or one of {_names(KINDS)}', key=kind)
        try:
            read[kind] = Answer(str(_one_of([each.value for each in Answer]).take(answer)))
        except _Unfit as error:
            raise _Unfit(str(error), key=kind) from error
    return read


def _by_language(value: object) -> object:
    for name in _free_table(value):
        if not re.fullmatch(r"[a-z]{2,3}", name):
            raise _Unfit('expected a language such as "en"', key=name)
    return value


def _spoken_as(value: object) -> Mapping[str, str]:
    """Return a table of words, and how each is written for a voice."""
    table = _free_table(value)
    for word, said in table.items():
        if not word.strip():
            raise _expected("a word or a phrase before its sign of equality", word)
        if not isinstance(said, str) or not said.strip():
            raise _Unfit(str(_expected("how it is written for a voice, a text", said)), key=word)
    return {word: str(said) for word, said in table.items()}


def _frames_ms(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in range(20, 101, 20):
        raise _expected("20, 40, 60, 80 or 100", value)
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _expected("true or false", value)
    return value


def _one_of(choices: Sequence[str]) -> _Must:
    def take(value: object) -> object:
        if value not in choices:
            raise _expected(f"one of {', '.join(map(_shown, choices))}", value)
        return value

    return _Must(take)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise _expected("a list", value)
    return value


def _free_table(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _expected("a table", value)
    return value


def _clinic(value: object) -> Mapping[str, object]:
    """Return the table as it stands, once the tools could read it. What they raise begins with the key."""
    table = _free_table(value)
    try:
        _DATABASE.take(table.get("database"))
    except _Unfit as error:
        raise ConfigError(f"database: {error}") from error
    ClinicHours.from_options({key: option for key, option in table.items() if key != "database"})
    return table


KINDS: Final = ("refused", "down", "slow", "crash")
"""What a failure is, whoever's it is: the vendor said no; it is out of reach; it gave no sign of life; the code raised.
Anything else in `reasons` is a vendor's own code."""

_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_DATABASE = _unseen('a database address such as "sqlite:///var/calls.sqlite3"', r"[a-z0-9+_]+://.*")

Text: TypeAlias = Annotated[str, _text()]
Phrase: TypeAlias = Annotated[str, _text("a phrase of words", r"(?s).*[^\W_].*")]
Flag: TypeAlias = Annotated[bool, _Must(_flag)]
Table: TypeAlias = Annotated[Mapping[str, Any], _Must(_free_table)]
EnvironmentName: TypeAlias = Annotated[
    str, _unseen("the name of an environment variable, in capitals", r"[A-Z_][A-Z0-9_]*")
]
DatabaseAddress: TypeAlias = Annotated[str, _DATABASE]
PublicAddress: TypeAlias = Annotated[str, _Must(_public)]
Network: TypeAlias = Annotated[str, _Must(_network)]
VendorAddress: TypeAlias = Annotated[str, _address("http", "https", "ws", "wss")]
VoiceId: TypeAlias = Annotated[
    str, _text('a voice\'s id such as "EXAVITQu4vr4xnSDxMaL": letters and digits', r"[A-Za-z0-9_-]{1,64}")
]
Intensity: TypeAlias = Annotated[int, _whole(0, 1000)]
Period: TypeAlias = Annotated[float, _seconds(0.1, 3600)]
Borne: TypeAlias = Annotated[float, _seconds(0.1, 3600)]
Wait: TypeAlias = Annotated[float, _seconds(0, 60)]
Factor: TypeAlias = Annotated[float, _number("a number", 1, 100)]
Stop: TypeAlias = Annotated[float, _seconds(0, 60)]
Patience: TypeAlias = Annotated[float, _seconds(0.1, 60)]
Pause: TypeAlias = Annotated[float, _seconds(0, 10)]
Settling: TypeAlias = Annotated[float, _seconds(0.05, 10)]
FailingTime: TypeAlias = Annotated[float, _seconds(0, 600)]
ToolTime: TypeAlias = Annotated[float, _seconds(0.1, 120)]
Retries: TypeAlias = Annotated[int, _whole(0, 10)]
Turns: TypeAlias = Annotated[int, _integer(1)]
IdleTime: TypeAlias = Annotated[float, _seconds(1, 600)]
Silence: TypeAlias = Annotated[float, _seconds(0, 10)]
Sound: TypeAlias = Annotated[float, _seconds(0.06, 1)]
Barge: TypeAlias = Annotated[float, _seconds(0.1, 10)]
Words: TypeAlias = Annotated[int, _integer(1)]
Longest: TypeAlias = Annotated[float, _seconds(0.1, 30)]
Rounds: TypeAlias = Annotated[int, _whole(1, 100)]
Reasons: TypeAlias = Annotated[Mapping[str, Answer], _Must(_reasons)]
E164: TypeAlias = Annotated[str, _text('a telephone number such as "+15550100002"', r"\+[1-9][0-9]{1,14}")]

# ── config/engine.toml ────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class CallSettings:
    """Who hears, thinks and speaks, in order of preference; and how long a call may be quiet or last."""

    stt: tuple[Annotated[str, _vendor("stt")], ...] = ("local",)
    llm: tuple[Annotated[str, _vendor("llm")], ...] = ("local",)
    tts: tuple[Annotated[str, _vendor("tts")], ...] = ("local",)
    idle_s: IdleTime = 10.0
    idle_again_s: tuple[IdleTime, ...] = ()
    longest_call_s: Annotated[float, _seconds(10, 14400)] = 3600.0

    def __attrs_post_init__(self) -> None:
        _check_lists(self)


def _check_lists(call: "CallSettings | TenantCallSettings") -> None:
    for work in ("stt", "llm", "tts"):
        vendors: tuple[str, ...] | None = getattr(call, work)
        if vendors is not None and (not vendors or len(set(vendors)) < len(vendors)):
            text = f"{work} must name each of its providers once, and one at least, got [{', '.join(vendors)}]"
            raise _Unfit(text, key=work)


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
    endpointing_ms: Annotated[int, _integer(10)] = 240
    utterance_end_ms: Annotated[int, _integer(1000)] = 1000
    chunk_ms: Annotated[int, _whole(40, 100)] = 60
    eot_threshold: Annotated[float, _number("a number", 0.5, 1)] = 0.7
    eager_eot_threshold: Annotated[float, _number("a number", 0.3, 0.9)] = 0.5
    eot_timeout_ms: Annotated[int, _whole(500, 60000)] = 3000

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
    max_tokens: Annotated[int, _whole(16, 8192)] = 400


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

    threads: Annotated[int, _integer(1)] = 2


@attrs.frozen(kw_only=True)
class VendorSettings:
    """Where each vendor is and what it is called with."""

    twilio: TwilioSettings = TwilioSettings()
    deepgram: DeepgramSettings = DeepgramSettings()
    anthropic: AnthropicSettings = AnthropicSettings()
    elevenlabs: ElevenLabsSettings = ElevenLabsSettings()
    local: LocalSettings = LocalSettings()


@attrs.frozen(kw_only=True)
class SupervisorSettings:
    """The supervisor of a call: what its actors' crashes may cost, and what comes when that is spent."""

    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = 8
    period_s: Period = 60.0
    on_exhausted: tuple[Literal["transfer", "hangup"], ...] = ("transfer", "hangup")

    def __attrs_post_init__(self) -> None:
        steps = self.on_exhausted
        if not steps or len(set(steps)) < len(steps) or "hangup" in steps[:-1]:
            said = ", ".join(map(_shown, steps))
            text = f'on_exhausted must name each step once, one at least, and "hangup" last, got [{said}]'
            raise _Unfit(text, key="on_exhausted")

    @property
    def policy(self) -> RestartPolicy:
        """Its window, as the supervisor takes it; each actor has a backoff of its own."""
        return RestartPolicy(intensity=self.intensity, period_s=self.period_s)


def _with_usual(reasons: Mapping[str, Answer]) -> Mapping[str, Answer]:
    """Add what holds of a vendor's failures unless something else is said: 429 is the one refusal that passes."""
    return {"refused": Answer.NEXT, "429": Answer.RESTART, **reasons}


@attrs.frozen(kw_only=True)
class ActorSettings:
    """How one actor and its session are restarted.

    patience_s: how long failures are borne that were all of no use. shutdown_s: what it may take to stop.
    """

    restart: RestartType = RestartType.PERMANENT
    intensity: Intensity = 5
    period_s: Period = 10.0
    patience_s: Borne = 20.0
    backoff: Backoff = Backoff()
    reasons: Reasons = attrs.field(factory=dict)
    shutdown_s: Stop = 2.0

    @property
    def policy(self) -> RestartPolicy:
        """The same, as the supervisor takes it."""
        return RestartPolicy(
            intensity=self.intensity,
            period_s=self.period_s,
            backoff=self.backoff,
            reasons=self.reasons,
            patience_s=self.patience_s,
        )


@attrs.frozen(kw_only=True)
class BackoffOverride:
    """What differs of a backoff."""

    first_s: Wait | None = None
    minimum_s: Wait | None = None
    maximum_s: Wait | None = None
    factor: Factor | None = None


@attrs.frozen(kw_only=True)
class RestartOverride:
    """What differs of how an actor is restarted. Of `reasons` each is a field of its own."""

    intensity: Intensity | None = None
    period_s: Period | None = None
    patience_s: Borne | None = None
    backoff: BackoffOverride | None = None
    reasons: Reasons = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class LastOverride(RestartOverride):
    """What differs for the last vendor of a list, behind which nobody stands, and for the actor's own crashes.

    It is tried for as long as a caller bears silence after "one moment", however many tries that are.
    """

    intensity: Intensity = 60
    period_s: Period = 60.0
    patience_s: Borne = 20.0


@attrs.frozen(kw_only=True)
class SttSettings(ActorSettings):
    """The recogniser's. `last`: of the last of its vendors and of its own crashes; `vendors`: of one."""

    patience_s: Borne = 5.0
    reasons: Reasons = attrs.field(factory=dict, converter=_with_usual)
    last: LastOverride = LastOverride()
    vendors: Annotated[Mapping[str, RestartOverride], _Must(_overridden("stt"))] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TtsSettings(ActorSettings):
    """The voice's, likewise: with another behind it, one is given up within a second."""

    intensity: Intensity = 2
    period_s: Period = 5.0
    patience_s: Borne = 2.0
    reasons: Reasons = attrs.field(factory=dict, converter=_with_usual)
    last: LastOverride = LastOverride()
    vendors: Annotated[Mapping[str, RestartOverride], _Must(_overridden("tts"))] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ActorsSettings:
    """One table for each of the six."""

    twilio_io: ActorSettings = ActorSettings()
    stt: SttSettings = SttSettings()
    turn_detector: ActorSettings = ActorSettings()
    agent: ActorSettings = ActorSettings()
    tts: TtsSettings = TtsSettings()
    pacer: ActorSettings = ActorSettings()


ACTORS: Final = tuple(field.name for field in attrs.fields(ActorsSettings))
SESSIONS: Final = ("stt", "tts")
"""The actors that have a session with a vendor, and hence a list of vendors in [call]."""


@attrs.frozen(kw_only=True)
class StorageSettings:
    """Where calls are written down, and where rendered clips are kept."""

    url: DatabaseAddress = attrs.field(default="sqlite:///var/holdfast.sqlite3", repr=False)  # it may hold a password
    clips: Text = "var/clips"


@attrs.frozen(kw_only=True)
class PhraseSettings:
    """Phrases of one language besides those that are known: see `Grammar.plus`."""

    backchannels: tuple[Phrase, ...] = ()
    commands: tuple[Phrase, ...] = ()


@attrs.frozen(kw_only=True)
class LogSettings:
    """What is logged, and how it is written. `numbers`: whether callers' numbers stand there in clear."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
    numbers: Flag = False


@attrs.frozen(kw_only=True)
class DoorSettings:
    """Who is let in, how many at once, and how running calls end when the server is told to stop."""

    calls_at_once: Annotated[int, _integer(1)] = 50
    calls_a_minute_per_caller: Annotated[int, _integer(1)] = 240
    token_s: Annotated[float, _seconds(5, 600)] = 60.0
    silence_s: Annotated[float, _seconds(1, 120)] = 10.0
    drain_s: Annotated[float, _seconds(0, 3600)] = 60.0
    trusted_proxies: tuple[Network, ...] = ()


@attrs.frozen(kw_only=True)
class Settings:
    """`config/engine.toml`. Each default is the value that it ships."""

    public_url: PublicAddress = "http://127.0.0.1:8080"
    tenants: Text = "config/tenants"
    door: DoorSettings = DoorSettings()
    call: CallSettings = CallSettings()
    vendors: VendorSettings = VendorSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    actors: ActorsSettings = ActorsSettings()
    health: HealthPolicy = HealthPolicy()
    agent: AgentPolicy = AgentPolicy()
    recognition: RecognitionPolicy = RecognitionPolicy()
    turns: TurnPolicy = TurnPolicy()
    phrases: Annotated[Mapping[str, PhraseSettings], _Must(_by_language)] = attrs.field(factory=dict)
    pacing: PacingPolicy = PacingPolicy()
    storage: StorageSettings = StorageSettings()
    log: LogSettings = LogSettings()

    def vendors_of(self, tenant: "Tenant | None", work: str) -> tuple[str, ...]:
        """Return who does a kind of work ("stt", "llm", "tts") for a tenant, in order of preference."""
        own: tuple[str, ...] | None = getattr(tenant.call, work) if tenant else None
        everybody: tuple[str, ...] = getattr(self.call, work)
        return own or everybody

    def actor(self, tenant: "Tenant | None", actor: str, vendor: str = "") -> ActorSettings:
        """Return how an actor is restarted while `vendor` serves it; "": how it is for its own crashes.

        Field by field, the first that says it: the tenant's file, then the engine's; in each the vendor, then `last`
        (nobody stands behind it), then the actor. tenant: None: one whose file says nothing of it.
        Raises ValueError for a backoff that only the whole shows to be none.
        """
        engine: ActorSettings = getattr(self.actors, actor)
        own: ActorOverride | None = getattr(tenant.actors, actor) if tenant else None
        is_last = not vendor or vendor in self.vendors_of(tenant, actor)[-1:]
        settled = ActorSettings(**{key: getattr(engine, key) for key in _RESTART})
        settled = _over(settled, _below_actor(engine, vendor, is_last=is_last))
        return _over(settled, [own, *_below_actor(own, vendor, is_last=is_last)])

    def agent_of(self, tenant: "Tenant | None") -> AgentPolicy:
        """Return how long a tenant's models are waited for, field by field its own or the engine's."""
        return _over(self.agent, [tenant.agent if tenant else None])

    def turns_of(self, tenant: "Tenant") -> TurnPolicy:
        """Return when a tenant's callers have finished, or break in, in its language; field by field likewise."""
        more = self.phrases.get(tenant.language.split("-")[0], PhraseSettings())
        grammar = grammar_of(tenant.language).plus(backchannels=more.backchannels, commands=more.commands)
        policy = _over(self.turns, [tenant.turns])
        idle_s = tenant.limits.idle_s or self.call.idle_s
        own = tenant.limits.idle_again_s  # an empty list is its own, too
        again_s = (self.call.idle_again_s if own is None else own) or (idle_s,)
        return attrs.evolve(policy, grammar=grammar, idle_s=idle_s, idle_again_s=again_s)

    def restart_policy(self, tenant: "Tenant | None", actor: str, vendor: str = "") -> RestartPolicy:
        """Return the same as the supervisor takes it."""
        return self.actor(tenant, actor, vendor).policy


_RESTART: Final = tuple(field.name for field in attrs.fields(ActorSettings))


def _below_actor(said: object, vendor: str, *, is_last: bool) -> list[RestartOverride | None]:
    """Return what an actor's table says of its last vendor and of this one, in order of increasing weight."""
    if not isinstance(said, SttSettings | TtsSettings | SttOverride | TtsOverride):
        return []
    return [said.last if is_last else None, said.vendors.get(vendor)]


def _over(settled: _Shape, overrides: Iterable[attrs.AttrsInstance | None]) -> _Shape:
    """Return a value with each field that an override sets, the last one weighing most."""
    for each in overrides:
        changes = {}
        for field in attrs.fields(type(each)) if each else ():
            said = getattr(each, field.name)
            if said is None or not hasattr(settled, field.name):
                continue
            was = getattr(settled, field.name)
            if isinstance(said, Mapping):
                changes[field.name] = {**was, **said}
            else:
                changes[field.name] = _over(was, [said]) if attrs.has(type(said)) else said
        settled = attrs.evolve(settled, **changes)  # type: ignore[misc]  # each has the override's fields
    return settled


# ── config/tenants/*.toml ─────────────────────────────────────────────────────────────────────────────────────────────


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
    longest_call_s: Annotated[float, _seconds(10, 14400)] | None = None


@attrs.frozen(kw_only=True)
class TenantCallSettings:
    """A tenant's own vendors, in order of preference; what is absent is the engine's."""

    stt: tuple[Annotated[str, _vendor("stt")], ...] | None = None
    llm: tuple[Annotated[str, _vendor("llm")], ...] | None = None
    tts: tuple[Annotated[str, _vendor("tts")], ...] | None = None

    def __attrs_post_init__(self) -> None:
        _check_lists(self)


@attrs.frozen(kw_only=True)
class ActorOverride(RestartOverride):
    """What differs, for a tenant, of how one actor is restarted."""

    restart: RestartType | None = None
    shutdown_s: Stop | None = None


@attrs.frozen(kw_only=True)
class SttOverride(ActorOverride):
    """The recogniser's."""

    last: RestartOverride = RestartOverride()
    vendors: Annotated[Mapping[str, RestartOverride], _Must(_overridden("stt"))] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TtsOverride(ActorOverride):
    """The voice's."""

    last: RestartOverride = RestartOverride()
    vendors: Annotated[Mapping[str, RestartOverride], _Must(_overridden("tts"))] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ActorOverrides:
    """What differs for a tenant, by actor."""

    twilio_io: ActorOverride = ActorOverride()
    stt: SttOverride = SttOverride()
    turn_detector: ActorOverride = ActorOverride()
    agent: ActorOverride = ActorOverride()
    tts: TtsOverride = TtsOverride()
    pacer: ActorOverride = ActorOverride()


@attrs.frozen(kw_only=True)
class AgentOverride:
    """What differs, for a tenant, of how long a model is waited for. Of `reasons` each is a field of its own."""

    first_token_s: Patience | None = None
    stall_s: Patience | None = None
    filler_s: Patience | None = None
    retries: Retries | None = None
    retry_s: Pause | None = None
    last_s: Pause | None = None
    settle_s: Settling | None = None
    tools_s: ToolTime | None = None
    failures: Turns | None = None
    failing_s: FailingTime | None = None
    rounds: Rounds | None = None
    reasons: Reasons = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TurnOverride:
    """What differs, for a tenant, of when its callers have finished, or break in."""

    complete_s: Silence | None = None
    incomplete_s: Silence | None = None
    dictating_s: Silence | None = None
    longest_s: Longest | None = None
    eager: Flag | None = None
    hold_s: Sound | None = None
    words_s: Silence | None = None
    barge_words: Words | None = None
    barge_s: Barge | None = None
    keys_s: Barge | None = None


@attrs.frozen(kw_only=True)
class SpeechSettings:
    """How a tenant's agent speaks.

    normalise: whether numbers, prices and the like are written out for the voice. pronunciations: words, and how they
        are written for it. speed: of the voice's own. pause_s: after a sentence, besides the voice's own pause.
    uninterruptible: phrases that are heard whole, whatever the caller says but "stop" and the like.
    hold_tone_s: how long a tool may take before the hold tone; absent: there is none.
    """

    normalise: Flag = True
    pronunciations: Annotated[Mapping[str, str], _Must(_spoken_as)] = attrs.field(factory=dict)
    speed: Annotated[float, _number("a number", 0.7, 1.2)] = 1.0
    pause_s: Annotated[float, _seconds(0, 2)] = 0.0
    uninterruptible: tuple[Phrase, ...] = ()
    hold_tone_s: Patience | None = None


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
    language: Annotated[str, _text('a language such as "en" or "en-US"', r"[a-z]{2,3}(-[A-Z]{2})?")] = "en"
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
    clinic: Annotated[Mapping[str, Any], _Must(_clinic)] | None = None
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


def _check_of(kind: object) -> _Must:
    """Return the check that an annotated type carries."""
    return next(each for each in get_args(kind) if isinstance(each, _Must))


# What may be set of the classes that belong to the layers below, and how far. What is absent here keeps its default.
_POLICIES: Final[Mapping[type, Mapping[str, _Must]]] = {
    Backoff: {
        "first_s": _check_of(Wait),
        "minimum_s": _check_of(Wait),
        "maximum_s": _check_of(Wait),
        "factor": _check_of(Factor),
    },
    HealthPolicy: {
        "failures": _whole(1, 100),
        "open_s": _seconds(0.1, 3600),
        "longest_open_s": _seconds(0.1, 3600),
        "factor": _check_of(Factor),
    },
    AgentPolicy: {
        "first_token_s": _check_of(Patience),
        "stall_s": _check_of(Patience),
        "filler_s": _check_of(Patience),
        "retries": _check_of(Retries),
        "retry_s": _check_of(Pause),
        "last_s": _check_of(Pause),
        "settle_s": _check_of(Settling),
        "tools_s": _check_of(ToolTime),
        "failures": _check_of(Turns),
        "failing_s": _check_of(FailingTime),
        "rounds": _check_of(Rounds),
        "reasons": _Must(lambda value: {**REASONS, **_reasons(value)}),
    },
    RecognitionPolicy: {
        "keep_s": _seconds(1, 600),
        "preroll_s": _seconds(0, 10),
        "cut_s": _seconds(0, 10),
        "pause_s": _seconds(0.06, 2),
        "finalise_s": _seconds(0, 10),
    },
    TurnPolicy: {
        "complete_s": _check_of(Silence),
        "incomplete_s": _check_of(Silence),
        "dictating_s": _check_of(Silence),
        "longest_s": _check_of(Longest),
        "eager": _check_of(Flag),
        "hold_s": _check_of(Sound),
        "words_s": _check_of(Silence),
        "barge_words": _check_of(Words),
        "barge_s": _check_of(Barge),
        "keys_s": _check_of(Barge),
        "behind_s": _seconds(1, 600),
        "lag_s": _seconds(0.1, 30),
    },
    PacingPolicy: {"lead_s": _seconds(0.04, 5), "message_ms": _Must(_frames_ms), "rewind_s": _seconds(0, 2)},
}

# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def settable(shape: type[attrs.AttrsInstance]) -> Sequence[str]:
    """Return the keys that a table of this class may have."""
    return tuple(_POLICIES.get(shape) or (field.name for field in attrs.fields(shape)))


@attrs.frozen
class _File:
    """A file that was read. lines: where each of its keys stands."""

    path: Path
    table: Mapping[str, object]
    lines: Mapping[KeyPath, int]

    def has(self, key: KeyPath) -> bool:
        """Whether the file says this."""
        return key in self.lines

    def place(self, key: KeyPath) -> str:
        """Return where a key stands: file, line and path; of one that is absent, the line of what it would stand in."""
        within = next((key[:length] for length in range(len(key), 0, -1) if key[:length] in self.lines), None)
        line = "" if within is None else f":{self.lines[within]}"
        return f"{self.path}{line}: {written(key)}" if key else str(self.path)


@attrs.frozen(kw_only=True)
class Sources:
    """The files that settings came from, for whoever has to say where something stands. Empty: from none.

    tenants: by id.
    """

    engine: _File | None = None
    tenants: Mapping[str, _File] = attrs.field(factory=dict)

    def place(self, keys: Sequence[KeyPath], *, tenant: str = "", otherwise: KeyPath = ()) -> str:
        """Return where the first of these keys that any file has stands, the tenant's file first.

        otherwise: what is named if none has any, the first by default; it is by the engine's default then.
        """
        files = [file for file in (self.tenants.get(tenant), self.engine) if file]
        for file in files:
            for key in keys:
                if file.has(key):
                    return file.place(key)
        nowhere = otherwise or keys[0]
        return files[-1].place(nowhere) if files else written(nowhere)


@attrs.frozen(kw_only=True)
class Configuration:
    """All that was read: the settings, the tenants, where they stand, and what is odd and no mistake."""

    settings: Settings
    tenants: Tenants
    sources: Sources
    notes: tuple[str, ...] = ()


def read(path: Path) -> Configuration:
    """Read the engine's file and the tenants that it points to. Raises `ConfigError` with every mistake."""
    engine = _file(path)
    settings = _shaped(engine, Settings)
    files = _tenant_files(Path(settings.tenants))
    tenants = Tenants(tenants=tuple(tenant for tenant, _ in files))
    sources = Sources(engine=engine, tenants={tenant.id: file for tenant, file in files})
    ladder = _Ladder(settings=settings, tenants=tenants, sources=sources)
    lines = tuple(dict.fromkeys((*ladder.mistakes(), *_not_understood(settings, tenants, sources))))
    if lines:
        raise ConfigError("\n".join(lines))
    return Configuration(settings=settings, tenants=tenants, sources=sources, notes=tuple(ladder.notes()))


def _not_understood(settings: Settings, tenants: Tenants, sources: "Sources") -> Iterator[str]:
    """Yield a line for each tenant whose callers a recogniser of English alone would be given."""
    model = settings.vendors.deepgram.model
    if not model.startswith("flux-") or model == "flux-general-multi":
        return
    for tenant in tenants.tenants:
        if "deepgram" in settings.vendors_of(tenant, "stt") and tenant.language.split("-")[0] != "en":
            place = sources.place([("language",)], tenant=tenant.id)
            yield f"{place}: '{model}' hears English alone, 'flux-general-multi' '{tenant.language}' too"


def load(path: Path) -> tuple[Settings, Tenants]:
    """Read as `read` does, and return the settings and the tenants alone. Raises `ConfigError`."""
    configuration = read(path)
    return configuration.settings, configuration.tenants


def load_settings(path: Path) -> Settings:
    """Read `config/engine.toml`, wherever it is. Raises `ConfigError` with every mistake."""
    return _shaped(_file(path), Settings)


def load_tenants(folder: Path) -> Tenants:
    """Read every `*.toml` of `folder`, one tenant each. Raises `ConfigError` with every mistake of all of them."""
    return Tenants(tenants=tuple(tenant for tenant, _ in _tenant_files(folder)))


def _tenant_files(folder: Path) -> Sequence[tuple[Tenant, _File]]:
    lines: list[str] = []
    tenants: list[tuple[Tenant, _File]] = []
    paths = sorted(folder.glob("*.toml"))
    for path in paths:
        try:
            file = _file(path)
            tenants.append((_shaped(attrs.evolve(file, table={"id": path.stem, **file.table}), Tenant), file))
        except ConfigError as error:
            lines.append(str(error))
    lines += _shared(tenants)
    if not paths:
        lines.append(f"{folder}: holds no tenant; a tenant is a file such as {folder / 'dental.toml'}")
    if lines:
        raise ConfigError("\n".join(lines))
    return tenants


def _shared(tenants: Iterable[tuple[Tenant, _File]]) -> Iterator[str]:
    """What two tenants, or one twice, lay claim to: a line for each file after the first."""
    owners: dict[str, str] = {}
    for tenant, file in tenants:
        claims = Counter([f"id '{tenant.id}'", *(f"number {number}" for number in tenant.numbers)])
        claims.update(["default = true"] if tenant.default else [])
        for claim, times in claims.items():
            if times > 1:
                yield f"{file.place(('numbers',))}: {claim} is there {times} times"
            if claim in owners:
                yield f"{file.place(_key_of(claim))}: {claim} is also that of {owners[claim]}"
            owners.setdefault(claim, str(file.path))


def _key_of(claim: str) -> KeyPath:
    return ({"id": "id", "number": "numbers", "default": "default"}[claim.split(" ", maxsplit=1)[0]],)


def _file(path: Path) -> _File:
    """Read a file that holds TOML. Raises `ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    try:
        return _File(path, tomllib.loads(text), lines_of(text))
    except tomllib.TOMLDecodeError as error:
        said, _, place = str(error).rpartition(" (at ")
        line = re.match(r"line (\d+)", place)
        number = line[1] if line else text.count("\n") + 1  # "end of document"
        raise ConfigError(f"{path}:{number}: not TOML: {said[:1].lower()}{said[1:]}") from error
    except (ValueError, RecursionError) as error:  # int's own, for thousands of digits; lists within lists without end
        raise ConfigError(f"{path}: not TOML: {str(error).lower()}") from error


def _shaped(file: _File, shape: type[_Shape]) -> _Shape:
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
                hint = f"did you mean '{meant[0]}'?" if meant else f"known: {_names(known)}"
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
            yield _told(error, at)


def _told(error: Exception, at: KeyPath) -> tuple[Sequence[KeyPath], str]:
    """Return what a check says, and the keys that it is about: one of them is where it was said."""
    text = str(error)
    if isinstance(error, _Unfit) and error.key:
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


_OF_SESSIONS: Final = ("vendors", "last")

LONGEST_BORNE_S: Final = 300.0
"""Five minutes: nobody listens to a silence for that long."""


def written(key: KeyPath) -> str:
    """Return a path as an operator would write it, such as `call.stt[0]`."""
    text = ""
    for part in key:
        match part:
            case int():
                text += f"[{part}]"
            case str() if re.fullmatch(r"[A-Za-z0-9_-]+", part):
                text += f".{part}"
            case _:
                text += f".{json.dumps(part, ensure_ascii=False)}"
    return text.removeprefix(".")


def _reader() -> Converter:
    """Return the converter that knows every table above, and coerces nothing."""
    reader = Converter(forbid_extra_keys=True)

    def table(shape: type) -> _Hook:
        overrides = {}
        if shape in _POLICIES:
            for field in attrs.fields(shape):
                check = _POLICIES[shape].get(field.name)
                overrides[field.name] = override(struct_hook=_hook(check)) if check else override(omit=True)
        read: _Hook = make_dict_structure_fn(shape, reader, **overrides)  # type: ignore[arg-type]
        return lambda value, as_: read(_free_table(value), as_)

    def many(shape: object) -> _Hook:
        read = reader.get_structure_hook(list[get_args(shape)[0]])  # type: ignore[misc]
        return lambda value, _: tuple(read(_list(value), list))

    def choice(shape: object) -> _Hook:
        return _hook(_one_of(get_args(shape)))

    def member(shape: type[enum.Enum]) -> _Hook:
        check = _one_of([each.value for each in shape])
        return lambda value, _: shape(check.take(value))

    def checked(shape: object) -> _Hook:
        plain, check = get_args(shape)[0], _check_of(shape)
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


def _hook(check: _Must) -> _Hook:
    return lambda value, _: check.take(value)


_READER: Final = _reader()

# ── what only the whole shows ───────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class _Ladder:
    """The ladder that a failing vendor's calls go down, checked for each tenant: every step must lead to the next.

    A step is left when its failures exceed its window or its patience, whichever comes first, and patience always
    comes. What is refused is a step that is stood on for longer than `LONGEST_BORNE_S` by one that fails at once each
    time (attempts of 0 s, waits as long as they are on average): that long a caller hears nothing at all.

    Only an actor whose own code fails goes up to the call again when its window is exceeded, and the call starts it
    anew, window, patience and all. So that must come to an end by the call's own window, or by patience before.
    """

    settings: Settings
    tenants: Tenants
    sources: Sources

    def mistakes(self) -> Iterator[str]:
        """Yield a line for each step that leads nowhere; the same once for each tenant that it is met by."""
        for tenant in (None, *self.tenants.tenants):
            for actor in ACTORS:
                yield from self._actor(tenant, actor)
            yield from self._call(tenant)
        if "hangup" not in self.settings.supervisor.on_exhausted:
            for tenant in self.tenants.tenants:
                if tenant.human_number is None:
                    place = self.sources.place([("supervisor", "on_exhausted")])
                    yield f'{place}: {tenant.id} has no human_number to transfer to; expected "hangup" at the end'

    def notes(self) -> Iterator[str]:
        """Yield a line for each vendor that something is said of and nobody is served by."""
        for tenant in (None, *self.tenants.tenants):
            for actor in SESSIONS:
                whose = (tenant,) if tenant else (None, *self.tenants.tenants)
                listed = {name for each in whose for name in self.settings.vendors_of(each, actor)}
                said = getattr(tenant.actors if tenant else self.settings.actors, actor).vendors
                for name in said:
                    if name not in listed:
                        place = self.sources.place([("actors", actor, "vendors", name)], tenant=_id(tenant))
                        yield f"{place}: never used, because no call.{actor} names '{name}'"

    def _actor(self, tenant: Tenant | None, actor: str) -> Iterator[str]:
        """Check how an actor is restarted, with each vendor that may serve it and each that something is said of."""
        vendors: tuple[str, ...] = ("",)
        if actor in SESSIONS:
            said = (
                getattr(each, actor).vendors for each in (self.settings.actors, *([tenant.actors] if tenant else []))
            )
            vendors = ("", *self.settings.vendors_of(tenant, actor), *(name for each in said for name in each))
        for vendor in dict.fromkeys(vendors):
            try:
                settled = self.settings.actor(tenant, actor, vendor)
            except ValueError as error:  # each part was in order, the whole is not
                keys, text = _told(error, ("backoff",))
                yield f"{self._place(tenant, actor, vendor, *keys)}: {text}"
                continue
            if settled.restart is RestartType.TEMPORARY:
                place = self._place(tenant, actor, "", ("restart",))
                yield f'{place}: "temporary" would leave a call without its {actor}; expected "permanent", "transient"'
            for kind, answer in settled.reasons.items():
                if answer is Answer.NEXT and actor not in SESSIONS:
                    place = self._place(tenant, actor, "", ("reasons", kind))
                    yield f'{place}: "next": nobody can take over from {actor}; expected "restart" or "end"'
            policy = settled.policy
            exceeded_s = window_s(policy)
            borne_s = min(exceeded_s, policy.patience_s)
            if borne_s > LONGEST_BORNE_S:
                place = self._place(tenant, actor, vendor, ("patience_s",))
                yield (
                    f"{place}: one that fails at once every time would be borne for {borne_s:.0f} s, because "
                    f"{policy.intensity} restarts in {policy.period_s:g} s are {_when(exceeded_s)}; expected "
                    f"{LONGEST_BORNE_S:g} at most"
                )

    def _call(self, tenant: Tenant | None) -> Iterator[str]:
        """Check that a call gives up an actor whose own code makes it give up time and again."""
        call = self.settings.supervisor
        for actor in ACTORS:
            try:
                policy = self.settings.restart_policy(tenant, actor)
            except ValueError:
                continue  # it has been told
            life_s = window_s(policy)
            if life_s > min(policy.patience_s, LONGEST_BORNE_S):
                continue  # the end of patience is the call's; or it has been told
            ladder_s = call.intensity * life_s + sum(_waits_s(call.policy)[: call.intensity])
            if ladder_s > call.period_s:
                keys = [("supervisor", "intensity"), ("supervisor", "period_s")]
                said = self.sources.engine is not None and any(map(self.sources.engine.has, keys))
                place = self.sources.place(keys) if said else self._place(tenant, actor, "", ("intensity",))
                yield (
                    f"{place}: a call would bear it for ever, and on_exhausted never come: if its own code fails at "
                    f"once every time, {actor} gives up after {life_s:.1f} s on average, so the {call.intensity} times "
                    f"that supervisor.intensity bears, and one more, take {ladder_s:.0f} s, and supervisor.period_s is "
                    f"{call.period_s:g}; expected less, or a patience_s of {actor} that is over before"
                )
                return

    def _place(self, tenant: Tenant | None, actor: str, vendor: str, *keys: KeyPath) -> str:
        """Return where what holds was said: the file and table that weigh most of those that say any of the keys."""
        tables: list[KeyPath] = [("actors", actor, "vendors", vendor)] if vendor else []
        if not vendor or vendor in self.settings.vendors_of(tenant, actor)[-1:]:
            tables.append(("actors", actor, "last"))
        tables.append(("actors", actor))
        said = [(*table, *key) for table in tables for key in keys]
        return self.sources.place(said, tenant=_id(tenant), otherwise=(*tables[-1], *keys[0]))


def window_s(policy: RestartPolicy) -> float:
    """Return how long failures are borne until they exceed the window, or infinity, if attempts take no time.

    From the first failure, and on average of the waits. Waits grow, and only the first is of another kind: the window
    is exceeded by the first failures, or by those from the second on, or never.
    """
    count, waits = policy.intensity, _waits_s(policy)
    runs = (first for first in (0, 1) if sum(waits[first : first + count]) <= policy.period_s)
    return next((sum(waits[: first + count]) for first in runs), math.inf)


def _waits_s(policy: RestartPolicy) -> Sequence[float]:
    """Return how long each wait is on average, until the window is exceeded by those from the second on."""
    return [policy.backoff.wait_s(streak, 0.5) for streak in range(policy.intensity + 1)]


def _when(exceeded_s: float) -> str:
    return "never exceeded" if math.isinf(exceeded_s) else f"exceeded only after {exceeded_s:.0f} s"


def _id(tenant: Tenant | None) -> str:
    return tenant.id if tenant else ""
