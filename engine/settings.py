"""Settings: what an operator may say in `config/`, and how it is refused.

Theory of operation. Each TOML table is a frozen class; a field's type carries the check that its value must pass, and
its default is the one that `config/engine.toml` ships and gives the reason for. A file is read whole, and every
mistake in it is reported at once, a line each, by its path. Nothing is coerced: `"5"` is not 5, `true` is not 1; only a
whole number may stand for seconds. No secret is ever here: a file names the environment variable that holds it.
"""

import difflib
import enum
import ipaddress
import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

import attrs
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from engine.actors.pacer import PacingPolicy
from engine.actors.turn_detector import TurnPolicy
from engine.codec.public_url import check_public_url
from engine.messages.errors import ConfigError
from engine.policy import Backoff, RestartPolicy
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

# ── checks: what a single value must be ───────────────────────────────────────────────────────────────────────────────


class _Unfit(ValueError):
    """A value that its check refuses; the text is what follows the path."""


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


_DATABASE = _unseen('a database address such as "sqlite:///var/calls.sqlite3"', r"[a-z0-9+_]+://.*")

Text: TypeAlias = Annotated[str, _text()]
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
E164: TypeAlias = Annotated[str, _text('a telephone number such as "+15550100002"', r"\+[1-9][0-9]{1,14}")]

# ── config/engine.toml ────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class CallSettings:
    """Who hears, thinks and speaks, in order of preference; and how long a call may be quiet or last."""

    stt: tuple[Annotated[str, _vendor("stt")], ...] = ("local",)
    llm: tuple[Annotated[str, _vendor("llm")], ...] = ("local",)
    tts: tuple[Annotated[str, _vendor("tts")], ...] = ("local",)
    idle_s: Annotated[float, _seconds(1, 600)] = 10.0
    longest_call_s: Annotated[float, _seconds(10, 14400)] = 3600.0

    def __attrs_post_init__(self) -> None:
        for work in ("stt", "llm", "tts"):
            vendors: tuple[str, ...] = getattr(self, work)
            if not vendors or len(set(vendors)) < len(vendors):
                text = f"{work} must name each of its providers once, and one at least, got [{', '.join(vendors)}]"
                raise ValueError(text)


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
    endpointing_ms: Annotated[int, _integer(10)] = 300
    utterance_end_ms: Annotated[int, _integer(1000)] = 1000
    chunk_ms: Annotated[int, _whole(40, 100)] = 60


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
    intensity: Annotated[int, _integer(0)] = 8
    period_s: Annotated[float, _seconds(0.1, 3600)] = 60.0
    on_exhausted: tuple[Literal["transfer", "hangup"], ...] = ("transfer", "hangup")

    @property
    def policy(self) -> RestartPolicy:
        """Its window, as the supervisor takes it; each actor has a backoff of its own."""
        return RestartPolicy(intensity=self.intensity, period_s=self.period_s)


@attrs.frozen(kw_only=True)
class ActorSettings:
    """How one actor and its session are restarted. `shutdown_s`: what it may take to stop."""

    restart: RestartType = RestartType.PERMANENT
    intensity: Annotated[int, _integer(0)] = 5
    period_s: Annotated[float, _seconds(0.1, 3600)] = 10.0
    backoff: Backoff = Backoff()
    shutdown_s: Annotated[float, _seconds(0, 60)] = 2.0

    @property
    def policy(self) -> RestartPolicy:
        """The same, as the supervisor takes it."""
        return RestartPolicy(intensity=self.intensity, period_s=self.period_s, backoff=self.backoff)


@attrs.frozen(kw_only=True)
class ActorsSettings:
    """One table for each of the six."""

    twilio_io: ActorSettings = ActorSettings()
    stt: ActorSettings = ActorSettings()
    turn_detector: ActorSettings = ActorSettings()
    agent: ActorSettings = ActorSettings()
    tts: ActorSettings = ActorSettings()
    pacer: ActorSettings = ActorSettings()


@attrs.frozen(kw_only=True)
class StorageSettings:
    """Where calls are written down, and where rendered clips are kept."""

    url: DatabaseAddress = attrs.field(default="sqlite:///var/holdfast.sqlite3", repr=False)  # it may hold a password
    clips: Text = "var/clips"


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
    turns: TurnPolicy = TurnPolicy()
    pacing: PacingPolicy = PacingPolicy()
    storage: StorageSettings = StorageSettings()
    log: LogSettings = LogSettings()


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

    idle_s: Annotated[float, _seconds(1, 600)] | None = None
    longest_call_s: Annotated[float, _seconds(10, 14400)] | None = None


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
        """Every text that is rendered ahead of time, by the name of its clip; "greeting" among them."""
        return {"greeting": self.greeting, **attrs.asdict(self.texts)}


@attrs.frozen(kw_only=True)
class Tenants:
    """All businesses that this engine answers for."""

    tenants: tuple[Tenant, ...]

    def for_number(self, dialled: str) -> Tenant | None:
        """Return whom `dialled` belongs to, else the default tenant, else None."""
        owners = [tenant for tenant in self.tenants if dialled in tenant.numbers]
        return next(iter(owners or [tenant for tenant in self.tenants if tenant.default]), None)


# What may be set of the classes that belong to the layers below, and how far. What is absent here keeps its default.
_POLICIES: Final[Mapping[type, Mapping[str, _Must]]] = {
    Backoff: {
        "first_s": _seconds(0, 60),
        "minimum_s": _seconds(0, 60),
        "maximum_s": _seconds(0, 60),
        "factor": _number("a number", 1, 100),
    },
    TurnPolicy: {
        "complete_s": _seconds(0, 10),
        "longest_s": _seconds(0.1, 30),
        "barge_words": _integer(1),
        "barge_s": _seconds(0.1, 10),
    },
    PacingPolicy: {"lead_s": _seconds(0.04, 5)},
}

# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_Shape = TypeVar("_Shape")
_Hook: TypeAlias = Callable[[Any, Any], Any]  # what cattrs calls: value and type in, the value to keep out


def settable(shape: type[attrs.AttrsInstance]) -> Sequence[str]:
    """Return the keys that a table of this class may have."""
    return tuple(_POLICIES.get(shape) or (field.name for field in attrs.fields(shape)))


def load(path: Path) -> tuple[Settings, Tenants]:
    """Read the engine's file and the tenants that it points to. Raises `ConfigError`."""
    settings = load_settings(path)
    return settings, load_tenants(Path(settings.tenants))


def load_settings(path: Path) -> Settings:
    """Read `config/engine.toml`, wherever it is. Raises `ConfigError` with every mistake."""
    return _shaped(_table(path), Settings, path)


def load_tenants(folder: Path) -> Tenants:
    """Read every `*.toml` of `folder`, one tenant each. Raises `ConfigError` with every mistake of all of them."""
    lines: list[str] = []
    tenants: dict[Path, Tenant] = {}
    paths = sorted(folder.glob("*.toml"))
    for path in paths:
        try:
            tenants[path] = _shaped({"id": path.stem, **_table(path)}, Tenant, path)
        except ConfigError as error:
            lines.append(str(error))
    lines += _shared(tenants)
    if not paths:
        lines.append(f"{folder}: holds no tenant; a tenant is a file such as {folder / 'dental.toml'}")
    if lines:
        raise ConfigError("\n".join(lines))
    return Tenants(tenants=tuple(tenants.values()))


def _shared(tenants: Mapping[Path, Tenant]) -> Iterator[str]:
    """What two tenants, or one twice, lay claim to: a line for each file after the first."""
    owners: dict[str, Path] = {}
    for path, tenant in tenants.items():
        claims = Counter([f"id '{tenant.id}'", *(f"number {number}" for number in tenant.numbers)])
        claims.update(["default = true"] if tenant.default else [])
        for claim, times in claims.items():
            if times > 1:
                yield f"{path}: numbers: {claim} is there {times} times"
            if claim in owners:
                yield f"{path}: {claim} is also that of {owners[claim]}"
            owners.setdefault(claim, path)


def _table(path: Path) -> Mapping[str, object]:
    """Return what the file at `path` holds."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, _, place = str(error).rpartition(" (at ")
        line = re.match(r"line (\d+)", place)
        number = line[1] if line else text.count("\n") + 1  # "end of document"
        raise ConfigError(f"{path}:{number}: not TOML: {said[:1].lower()}{said[1:]}") from error
    except ValueError as error:  # int's own, for thousands of digits
        raise ConfigError(f"{path}: not TOML: {str(error).lower()}") from error


def _shaped(table: Mapping[str, object], shape: type[_Shape], path: Path) -> _Shape:
    try:
        return _READER.structure(table, shape)
    except BaseValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in _mistakes(error, ""))) from error


def _mistakes(error: Exception, at: str) -> Iterator[str]:
    """Yield a line for each mistake below `at`, such as `actors.stt.backof: unknown key`."""
    match error:
        case ForbiddenExtraKeysError():
            known = settable(error.cl)
            for key in sorted(error.extra_fields):
                meant = difflib.get_close_matches(key.lower(), known, n=1)
                hint = f"did you mean '{meant[0]}'?" if meant else f"known: {_names(known)}"
                yield f"{_joined(at, key)}: unknown key; {hint}"
        case BaseValidationError():
            for inner in error.exceptions:
                yield from _mistakes(inner, _below(at, inner))
        case KeyError():
            yield f"{at}: missing"
        case ConfigError():  # of a layer below, which begins with its own key
            yield f"{at}.{error}"
        case _:
            yield f"{at}: {error}" if at else str(error)


def _below(at: str, error: Exception) -> str:
    """Return the path of the part of `at` that `error` is about, by the notes that cattrs leaves."""
    for note in getattr(error, "__notes__", ()):
        match note:
            case AttributeValidationNote():
                return _joined(at, note.name)
            case IterableValidationNote():
                return f"{at}[{note.index}]"
            case _:
                pass
    return at


def _joined(at: str, key: str) -> str:
    written = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{at}.{written}" if at else written


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
        return _hook(next(check for check in get_args(shape) if isinstance(check, _Must)))

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
