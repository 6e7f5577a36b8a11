"""Supervision: how a call's actors and their sessions are restarted, and what differs for a vendor or a tenant.

It is said once for the actor and again, in part, where it differs: for the last of its vendors, for one of them, and in
a tenant's file. `Settings.actor` puts it together.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, TypeAlias

import attrs

from engine.policy import Answer, Backoff, RestartPolicy
from engine.settings.checks import Factor, Must, Reasons, Unfit, Wait, as_table, seconds, shown, whole
from engine.settings.vendors import vendor_for
from engine.supervisor import RestartType, Strategy

Intensity: TypeAlias = Annotated[int, whole(0, 1000)]
Period: TypeAlias = Annotated[float, seconds(0.1, 3600)]
Borne: TypeAlias = Annotated[float, seconds(0.1, 3600)]
Stop: TypeAlias = Annotated[float, seconds(0, 60)]


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
            said = ", ".join(map(shown, steps))
            text = f'on_exhausted must name each step once, one at least, and "hangup" last, got [{said}]'
            raise Unfit(text, key="on_exhausted")

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


def _overridden(work: str) -> Callable[[object], object]:
    """Return the check of a table by vendor; what each says is read on."""
    vendor = vendor_for(work)

    def take(value: object) -> object:
        for name in as_table(value):
            try:
                vendor.take(name)
            except Unfit as error:
                raise Unfit(str(error), key=name) from error
        return value

    return take


@attrs.frozen(kw_only=True)
class SttSettings(ActorSettings):
    """The recogniser's. `last`: of the last of its vendors and of its own crashes; `vendors`: of one."""

    patience_s: Borne = 5.0
    reasons: Reasons = attrs.field(factory=dict, converter=_with_usual)
    last: LastOverride = LastOverride()
    vendors: Annotated[Mapping[str, RestartOverride], Must(_overridden("stt"))] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TtsSettings(ActorSettings):
    """The voice's, likewise: with another behind it, one is given up within a second."""

    intensity: Intensity = 2
    period_s: Period = 5.0
    patience_s: Borne = 2.0
    reasons: Reasons = attrs.field(factory=dict, converter=_with_usual)
    last: LastOverride = LastOverride()
    vendors: Annotated[Mapping[str, RestartOverride], Must(_overridden("tts"))] = attrs.field(factory=dict)


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
class ActorOverride(RestartOverride):
    """What differs, for a tenant, of how one actor is restarted."""

    restart: RestartType | None = None
    shutdown_s: Stop | None = None


@attrs.frozen(kw_only=True)
class SttOverride(ActorOverride):
    """The recogniser's."""

    last: RestartOverride = RestartOverride()
    vendors: Annotated[Mapping[str, RestartOverride], Must(_overridden("stt"))] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TtsOverride(ActorOverride):
    """The voice's."""

    last: RestartOverride = RestartOverride()
    vendors: Annotated[Mapping[str, RestartOverride], Must(_overridden("tts"))] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ActorOverrides:
    """What differs for a tenant, by actor."""

    twilio_io: ActorOverride = ActorOverride()
    stt: SttOverride = SttOverride()
    turn_detector: ActorOverride = ActorOverride()
    agent: ActorOverride = ActorOverride()
    tts: TtsOverride = TtsOverride()
    pacer: ActorOverride = ActorOverride()
