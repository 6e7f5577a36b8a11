"""Explain: what the policies come to, in words and a small table, failure by failure.

Nothing is worked out here that the engine works out too: the failures are told, at literal times, to the very values
that decide in a call (`engine.policy`, `engine.health`), and what they answer is written down.
"""

import difflib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeVar, assert_never

import attrs
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from engine.call import CallPolicy
from engine.health import Breaker, Health
from engine.messages.errors import ConfigError
from engine.policy import ATTEMPT_S, EXHAUSTED, Answer, FailOver, GiveUp, Restart, RestartPolicy, RestartState
from engine.providers.socket import SocketPolicy
from engine.settings import (
    ACTORS,
    KINDS,
    SESSIONS,
    ActorOverrides,
    AgentOverride,
    Configuration,
    Settings,
    Tenant,
    TenantCallSettings,
    settable,
)

NAMES: Final = (*(f"actors.{name}" for name in ACTORS), "agent", "health", "supervisor")
"""What can be explained."""

FOR_EVER_S: Final = 600.0
"""A caller who waits for ten minutes waits for ever."""

SHOWN: Final = 8
"""Failures that a table shows; of more than that, the first and the end."""

FIRST: Final = 5
"""As many of those."""

RUNS: Final = 100
"""Waits are drawn by lot, so times are ranges: what so many runs come to. The bounds of the lots would not do: that
forty waits in a row are all as short as can be is not going to be seen."""


@attrs.frozen(kw_only=True)
class Rung:
    """One failure, and what is done about it.

    at_s: since the first. vendor: whose; "" where the actor itself is started anew, or given up, by its call.
    then: the decision. wait_s: until it is carried out. next_on: who is started.
    """

    at_s: float
    vendor: str
    then: Restart | FailOver | GiveUp
    wait_s: float = 0.0
    next_on: str = ""


def rungs(policy: RestartPolicy, *, seed: int = 0) -> Iterator[Rung]:
    """Yield what one policy answers to failures in a row, each at once after its restart, until it gives up."""
    state, now = RestartState(policy=policy, seed=seed), 0.0
    while True:
        state, then = state.failed("", now)
        wait_s = then.after_s if isinstance(then, Restart) else 0.0
        yield Rung(at_s=now, vendor="", then=then, wait_s=wait_s)
        if not isinstance(then, Restart):
            return
        now += wait_s


def ladder(  # noqa: PLR0913 - what fails, whose, how, how fast, and with what luck
    settings: Settings,
    tenant: Tenant | None,
    actor: str,
    *,
    kinds: Sequence[str] = ("down",),
    attempt_s: float = 0.0,
    seed: int = 0,
) -> Iterator[Rung]:
    """Yield what a call does about an actor all of whose vendors fail for ever, until the call gives up.

    kinds: of each failure. attempt_s: how long each takes to fail. seed: of the actor's backoffs.
    What a supervisor does with the values, `engine.supervisor._decide` says; the tests compare.
    """
    names = settings.vendors_of(tenant, actor) if actor in SESSIONS else ()
    now = 0.0
    health = Health(policy=settings.health, clock=lambda: now)
    call = RestartState(policy=settings.supervisor.policy)
    state = RestartState(policy=settings.restart_policy(tenant, actor), seed=seed)
    while True:
        providers, given_up = health.of(actor, names), frozenset[str]()
        vendor = providers.choose() or ""
        state = RestartState(policy=state.policy, seed=state.seed)
        while True:
            policy = settings.restart_policy(tenant, actor, vendor)
            left = given_up | {vendor}
            if names:
                providers.failed(vendor, kinds=kinds, lasting=policy.answer(kinds) is not Answer.RESTART)
            state, then = state.failed(
                "",
                now,
                kinds=kinds,
                policy=policy,
                standby=providers.any_left(without=left) and bool(names),
                better=bool(names) and not providers.is_well(vendor) and providers.any_well(without=left),
            )
            match then:
                case Restart(after_s=wait_s):
                    yield Rung(at_s=now, vendor=vendor, then=then, wait_s=wait_s, next_on=vendor)
                case FailOver():
                    wait_s, given_up, was = 0.0, left, vendor
                    vendor = providers.choose(without=left) or ""
                    yield Rung(at_s=now, vendor=was, then=then, next_on=vendor)
                case GiveUp():
                    break
                case _:
                    assert_never(then)
            now += wait_s + attempt_s
        exhausted = then.exhausted or bool(names)
        call, end = call.failed("", now, child=actor, kinds=(EXHAUSTED,) if exhausted else ("gave_up",))
        wait_s = end.after_s if isinstance(end, Restart) else 0.0
        yield Rung(at_s=now, vendor="", then=end, wait_s=wait_s)
        if not isinstance(end, Restart):
            return
        now += wait_s + attempt_s


# ── in words ──────────────────────────────────────────────────────────────────────────────────────────────────────────

T = TypeVar("T")


def explain(
    configuration: Configuration, console: Console, *, name: str = "", vendor: str = "", tenant: str = ""
) -> None:
    """Print what the policies come to; all of them, or the one of this name.

    vendor: of the actor's vendors, this alone. tenant: by id; "": what holds where a business's file says nothing.
    Raises ConfigError for a name, a vendor, a tenant that there is not.
    """
    settings, tenants = configuration.settings, configuration.tenants.tenants
    whose = _known(tenant, {each.id: each for each in tenants}, "tenant") if tenant else None
    page = _Page(settings=settings, tenant=whose, console=console)
    if vendor and name.removeprefix("actors.") not in SESSIONS:
        served = " or ".join(f"actors.{each}" for each in SESSIONS)
        raise ConfigError(f"--vendor '{vendor}' goes with {served}, not with {name or 'all of it'}")
    match _known(name, {each: each for each in NAMES}, "policy") if name else "":
        case "":
            page.overview()
            own = [each.id for each in tenants if not tenant and (each.actors, each.agent, each.call) != _NOTHING_OWN]
            if own:
                console.print(f"\nWith policies of their own: {', '.join(own)}; see --tenant.", highlight=False)
        case "agent":
            page.agent()
        case "health":
            page.health()
        case "supervisor":
            page.supervisor()
        case actor:
            page.actor(actor.removeprefix("actors."), vendor)


_NOTHING_OWN: Final = (ActorOverrides(), AgentOverride(), TenantCallSettings())


def _known(name: str, known: Mapping[str, T], what: str) -> T:
    if name in known:
        return known[name]
    meant = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{meant[0]}'? " if meant else ""
    raise ConfigError(f"no {what} '{name}'; {hint}there are: {', '.join(known)}")


@attrs.frozen(kw_only=True)
class _Page:
    """What is printed, about a tenant's calls or everybody's."""

    settings: Settings
    tenant: Tenant | None
    console: Console

    def overview(self) -> None:
        """Print each policy in a line."""
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)  # 80 columns
        for heading in ("policy", "with", "restarts", "patience", "borne for", "then"):
            table.add_column(heading, no_wrap=True)
        for actor in ACTORS:
            names = self._vendors(actor)
            for vendor in names or ("",):
                policy = self.settings.restart_policy(self.tenant, actor, vendor)
                table.add_row(
                    "" if vendor and vendor != names[0] else f"actors.{actor}",
                    vendor,
                    f"{policy.intensity} in {policy.period_s:g} s",
                    f"{policy.patience_s:g} s",
                    _ended(_runs(policy)) or "0 s",
                    self._after(actor, vendor) or ("the end" if vendor else "anew"),
                )
        call = self.settings.supervisor
        self.console.print("", table, "")
        self._say(
            f"A call bears that its actors begin anew {call.intensity} times in {call.period_s:g} s, all together. The "
            f"end: the apology, then {' → '.join(call.on_exhausted)}."
        )
        self._say(
            "Times are of attempts that fail at once. More of each: holdfast config explain NAME, of "
            f"{', '.join(NAMES)}."
        )

    def _vendors(self, actor: str) -> tuple[str, ...]:
        return self.settings.vendors_of(self.tenant, actor) if actor in SESSIONS else ()

    def _after(self, actor: str, vendor: str) -> str:
        """Return who takes over from a vendor, or nobody."""
        names = self._vendors(actor)
        return next(iter(names[names.index(vendor) + 1 :]), "") if vendor else ""

    def actor(self, actor: str, only: str) -> None:
        """Print how an actor is restarted: with each vendor of its list, and what comes after the last."""
        names = self._vendors(actor)
        vendors = (_known(only, {each: each for each in names}, f"vendor in call.{actor}"),) if only else names or ("",)
        self._title(f"actors.{actor}")
        if names:
            moment = f" {_MOMENT[actor]}" if names[1:] else ""
            moment += f" A caller who has waited for {CallPolicy().away_s:g} s hears “one moment”, once an outage."
            self._say(f"Served by {' → '.join([*names, 'on_exhausted'])}. {_HEARD[actor]}{moment}")
        else:
            self._say(f"It has no vendor; what it fails by is its own code. {_HEARD['']}")
        for vendor in vendors:
            self._vendor(vendor, self.settings.restart_policy(self.tenant, actor, vendor), self._after(actor, vendor))
        self._end(actor)

    def _vendor(self, vendor: str, policy: RestartPolicy, after: str) -> None:
        table = Table(box=SIMPLE, title=vendor or None, title_justify="left", title_style="bold")
        for heading in ("failure", "what follows", "after", "since the first"):
            table.add_column(heading, no_wrap=True)
        runs = _runs(policy)
        most = max(map(len, runs))
        for streak in range(most if most <= SHOWN else FIRST):
            known = [run[streak] for run in runs if len(run) > streak]
            follows = dict.fromkeys(_follows(each.then, vendor, after) for each in known)
            if isinstance(known[0].then, Restart):
                wait = _between(policy.backoff.wait_s(streak, 0.0), policy.backoff.longest_s(streak)) or "at once"
            else:
                wait = "at once" if after else ""
            table.add_row(str(streak + 1), ", or ".join(follows), wait, _range(each.at_s for each in known) or "–")
        if most > SHOWN:
            table.add_row("…", "", "", "")
            least, ends = min(map(len, runs)), [run[-1] for run in runs]
            follows = dict.fromkeys(_follows(each.then, vendor, after) for each in ends)
            number = str(most) if least == most else f"{least} – {most}"
            table.add_row(number, ", or ".join(follows), "at once" if after else "", _ended(runs))
        self.console.print(table)
        given_up = (
            f"The table is of attempts that fail at once. Given up at failure {policy.intensity + 1} within "
            f"{policy.period_s:g} s, or at one more than {policy.patience_s:g} s after the first, if all were of no use"
        )
        failures = self.settings.health.failures
        if after and failures <= policy.intensity:
            given_up += f"; or, while {after} is well, at failure {failures} in a row of no use to any call ([health])"
        self._say(f"{given_up}.")
        if policy.intensity:
            every_s = policy.period_s / policy.intensity
            self._say(
                f"A life that was of use, or of more than {ATTEMPT_S:g} s, begins that row anew; one failure every "
                f"{every_s:.1f} s is then borne for ever."
            )
        if vendor:
            self._answers(policy, after)

    def _answers(self, policy: RestartPolicy, after: str) -> None:
        """Print what each kind of failure leads to, the policy being asked."""
        said: dict[str, list[str]] = {}
        for kind in dict.fromkeys([*policy.reasons, *KINDS]):
            if kind == EXHAUSTED:
                continue
            _, then = RestartState(policy=policy).failed("", 0.0, kinds=(kind,), standby=bool(after))
            match then:
                case Restart() if policy.intensity:
                    said.setdefault("tried again, as above", []).append(kind)
                case FailOver():
                    said.setdefault(f"{after} takes over at once", []).append(kind)
                case GiveUp(exhausted=True):
                    said.setdefault("the call ends at once: apology, then on_exhausted", []).append(kind)
                case _:
                    said.setdefault("given up", []).append(kind)
        for outcome, kinds in said.items():
            self._say(f"  {', '.join(kinds)}: {outcome}")

    def _end(self, actor: str) -> None:
        """Print how long it takes until nothing is left to try."""
        slow_s = SocketPolicy().connect_s
        self._say(f"When nothing is left: the apology, then {' → '.join(self.settings.supervisor.on_exhausted)}.")
        speeds = ((0.0, "at once"), (slow_s, f"after {slow_s:g} s each, as slow as a connection may be"))
        for attempt_s, how in speeds if actor in SESSIONS else speeds[:1]:
            over, ends = list[Rung](), list[float]()
            for seed in range(RUNS):
                run = ladder(self.settings, self.tenant, actor, attempt_s=attempt_s, seed=seed)
                whole = tuple(itertools.takewhile(lambda rung: rung.at_s <= FOR_EVER_S, run))
                over += [rung for rung in whole if isinstance(rung.then, FailOver)][:1]
                ends.append(whole[-1].at_s if isinstance(whole[-1].then, GiveUp) else math.inf)
            after = f"after {_range(rung.at_s for rung in over) or '0 s'}" if over else ""
            taken = f"{over[0].next_on} takes over {after}, and " if over else ""
            self._say(f"  Where all attempts fail {how}: {taken}nothing is left {_when(ends)}.")

    def agent(self) -> None:
        """Print how long a model is waited for, and what then."""
        policy = self.settings.agent_of(self.tenant)
        self._title("agent")
        self._say(f"Asked: {' → '.join([*self.settings.vendors_of(self.tenant, 'llm'), 'an apology'])}.")
        table = Table(box=SIMPLE, show_header=False)
        for name in settable(type(policy)):
            value = getattr(policy, name)
            if isinstance(value, Mapping):
                value = ", ".join(f"{kind} → {answer}" for kind, answer in value.items() if kind != EXHAUSTED)
            table.add_row(name, str(value), _AGENT.get(name, ""))
        self.console.print(table)

    def health(self) -> None:
        """Print when a vendor is given up by all calls, and when it is tried again."""
        policy = self.settings.health
        self._title("health")
        breaker, waits, now = Breaker(policy=policy), list[float](), 0.0
        for _ in range(policy.failures):
            breaker = breaker.failed(now, probe=False, lasting=False)
        while len(waits) < SHOWN and (not waits or waits[-1] < policy.longest_open_s):
            waits.append(breaker.retry_at - now)
            now = breaker.retry_at
            breaker = breaker.begun(now).failed(now, probe=True, lasting=False)
            if waits[-2:-1] == waits[-1:]:
                break
        self._say(
            f"After {policy.failures} lives in a row that were of no use, in any calls of this process, or one refusal "
            f"that no other try can mend, new calls begin with the next vendor, and calls with this one go over to it. "
            f"A refusal of a voice or a language concerns those alone who want it; of a key or a quota, all."
        )
        self._say(
            f"One call tries it again after {', then '.join(f'{each:g}' for each in waits)} s, and so on: if that "
        )
        self._say("is of use, all go back to it; else it stays given up for the next wait.")

    def supervisor(self) -> None:
        """Print what a call bears of its actors."""
        call = self.settings.supervisor
        self._title("supervisor")
        self._say(
            f"A call bears that its actors give up {call.intensity} times in {call.period_s:g} s, all together "
            f"({call.strategy}). Once more, or once for a reason that no other try can mend, and the caller hears the "
            f"apology, then: {' → '.join(call.on_exhausted)}."
        )

    def _title(self, name: str) -> None:
        whose = f" for {self.tenant.id}" if self.tenant else ""
        self.console.print(f"\n[bold]{name}[/bold]{whose}", highlight=False)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


_HEARD: Final = {
    "stt": (
        "While it is started again the caller hears nothing, and nothing is lost: what is said meanwhile is kept and "
        "recognised afterwards, and answered that much later."
    ),
    "tts": (
        "While it is started again the caller hears what is buffered, then silence; the rest of the sentence follows."
    ),
    "": (
        "It goes on where it was, and the caller hears nothing, but is asked to repeat if a message of theirs had to "
        "be set aside."
    ),
}

_MOMENT: Final = {
    "stt": "When another vendor takes over: “one moment”.",
    "tts": "When another vendor takes over: “one moment”, once what is buffered has been played.",
}

_AGENT: Final = {
    "first_token_s": "seconds to the first word, then it is asked again, or the next is",
    "stall_s": "seconds between two words, likewise",
    "filler_s": "seconds of nothing after the caller's turn, then “one moment”",
    "settle_s": "seconds to learn what was heard of an interrupted reply",
    "tools_s": "seconds for a tool's answer",
    "retries": "of one model, then the next",
    "retry_s": "seconds before an overloaded one is asked again",
    "last_s": "seconds for which the last one that is left is asked again, after pauses that double",
    "failures": "turns in a row without an answer, then on_exhausted",
    "failing_s": "seconds since the first of them, at least",
    "rounds": "requests for one turn, tools between them",
    "reasons": "all else is tried again",
}


def _runs(policy: RestartPolicy) -> Sequence[Sequence[Rung]]:
    """Return what a policy answers until it gives up, or a caller has, with the luck of many runs."""
    return [
        tuple(itertools.takewhile(lambda rung: rung.at_s <= FOR_EVER_S, rungs(policy, seed=seed)))
        for seed in range(RUNS)
    ]


def _ended(runs: Sequence[Sequence[Rung]]) -> str:
    """Return when runs end, in seconds from the first failure."""
    return _range(run[-1].at_s if isinstance(run[-1].then, GiveUp) else math.inf for run in runs)


def _follows(then: Restart | FailOver | GiveUp, vendor: str, after: str) -> str:
    match then:
        case Restart():
            return "started again"
        case GiveUp() if after:
            return f"given up, {after} takes over"
        case GiveUp(exhausted=exhausted) if exhausted or vendor:
            return "given up, the call ends"
        case _:
            return "given up, the actor begins anew"


def _range(times_s: Iterable[float]) -> str:
    """Return a range of seconds; nothing for none."""
    known = tuple(times_s)
    return _between(min(known), max(known))


def _between(least: float, most: float) -> str:
    if math.isinf(least):
        return f"more than {FOR_EVER_S:g} s"
    if math.isinf(most):
        return f"{least:.1f} s or more"
    if round(most, 1) == 0:
        return ""
    return f"{most:.1f} s" if round(least, 1) == round(most, 1) else f"{least:.1f} – {most:.1f} s"


def _when(ends_s: Sequence[float]) -> str:
    if min(ends_s) > FOR_EVER_S:
        return f"only after more than {FOR_EVER_S / 60:g} minutes"
    return f"after {_range(ends_s) or '0 s'}"
