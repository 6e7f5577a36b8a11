"""The engine's file: its tables, and what its settings and a tenant's come to together.

A tenant's own word counts before the engine's, field by field.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import attrs

from engine.actors.agent import AgentPolicy
from engine.actors.pacer import PacingPolicy
from engine.actors.stt import RecognitionPolicy
from engine.actors.turn_detector import TurnPolicy
from engine.codec.grammar import grammar_of
from engine.codec.public_url import check_public_url
from engine.health import HealthPolicy
from engine.messages.errors import ConfigError
from engine.policy import RestartPolicy
from engine.settings.checks import (
    DatabaseAddress,
    Flag,
    Must,
    Phrase,
    Text,
    Unfit,
    as_table,
    expected,
    integer,
    seconds,
)
from engine.settings.supervision import (
    ActorOverride,
    ActorSettings,
    ActorsSettings,
    RestartOverride,
    SttOverride,
    SttSettings,
    SupervisorSettings,
    TtsOverride,
    TtsSettings,
)
from engine.settings.tenant import Tenant
from engine.settings.vendors import CallSettings, VendorSettings

_Shape = TypeVar("_Shape")


def _public(value: object) -> str:
    if not isinstance(value, str):
        raise expected("an address of http or https", value)
    try:
        return check_public_url(value)
    except ConfigError as error:
        raise Unfit(str(error).removeprefix("public_url is ").removeprefix("public_url ")) from error


def _network(value: object) -> str:
    try:
        return str(ipaddress.ip_network(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise expected('an address or network such as "10.0.0.0/8"', value) from error


PublicAddress: TypeAlias = Annotated[str, Must(_public)]
Network: TypeAlias = Annotated[str, Must(_network)]


@attrs.frozen(kw_only=True)
class StorageSettings:
    """Where calls are written down, and where rendered clips are kept."""

    url: DatabaseAddress = attrs.field(default="sqlite:///var/holdfast.sqlite3", repr=False)  # it may hold a password
    clips: Text = "var/clips"


def _by_language(value: object) -> object:
    for name in as_table(value):
        if not re.fullmatch(r"[a-z]{2,3}", name):
            raise Unfit('expected a language such as "en"', key=name)
    return value


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

    calls_at_once: Annotated[int, integer(1)] = 50
    calls_a_minute_per_caller: Annotated[int, integer(1)] = 240
    token_s: Annotated[float, seconds(5, 600)] = 60.0
    silence_s: Annotated[float, seconds(1, 120)] = 10.0
    drain_s: Annotated[float, seconds(0, 3600)] = 60.0
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
    phrases: Annotated[Mapping[str, PhraseSettings], Must(_by_language)] = attrs.field(factory=dict)
    pacing: PacingPolicy = PacingPolicy()
    storage: StorageSettings = StorageSettings()
    log: LogSettings = LogSettings()

    def vendors_of(self, tenant: Tenant | None, work: str) -> tuple[str, ...]:
        """Return who does a kind of work ("stt", "llm", "tts") for a tenant, in order of preference."""
        own: tuple[str, ...] | None = getattr(tenant.call, work) if tenant else None
        everybody: tuple[str, ...] = getattr(self.call, work)
        return own or everybody

    def actor(self, tenant: Tenant | None, actor: str, vendor: str = "") -> ActorSettings:
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

    def agent_of(self, tenant: Tenant | None) -> AgentPolicy:
        """Return how long a tenant's models are waited for, field by field its own or the engine's."""
        return _over(self.agent, [tenant.agent if tenant else None])

    def turns_of(self, tenant: Tenant) -> TurnPolicy:
        """Return when a tenant's callers have finished, or break in, in its language; field by field likewise."""
        more = self.phrases.get(tenant.language.split("-")[0], PhraseSettings())
        grammar = grammar_of(tenant.language).plus(backchannels=more.backchannels, commands=more.commands)
        policy = _over(self.turns, [tenant.turns])
        idle_s = tenant.limits.idle_s or self.call.idle_s
        own = tenant.limits.idle_again_s  # an empty list is its own, too
        again_s = (self.call.idle_again_s if own is None else own) or (idle_s,)
        return attrs.evolve(policy, grammar=grammar, idle_s=idle_s, idle_again_s=again_s)

    def restart_policy(self, tenant: Tenant | None, actor: str, vendor: str = "") -> RestartPolicy:
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
