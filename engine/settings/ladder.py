"""The ladder: what only the settings and all tenants together show to be a mistake, or odd."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from engine.codec.toml_lines import KeyPath
from engine.policy import Answer, RestartPolicy
from engine.settings.engine import Settings
from engine.settings.shaping import told
from engine.settings.sources import Sources
from engine.settings.supervision import ACTORS, SESSIONS
from engine.settings.tenant import Tenant, Tenants
from engine.supervisor import RestartType

LONGEST_BORNE_S: Final = 300.0
"""Five minutes: nobody listens to a silence for that long."""


@attrs.frozen(kw_only=True)
class Ladder:
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
                keys, text = told(error, ("backoff",))
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
