"""Health: what a process knows of who works for it, so that no call has to find out anew that a provider is down.

Theory of operation. Each provider has a circuit for each kind of work, a plain value that time is passed to. It opens
when so many lives in a row were of no use to anybody: a connection that worked and broke says nothing about the next
one. While it is open, who starts anew starts with another. After a while one is let through to try, the *probe*: if it
is of use the circuit closes for all, else it stays open for longer. A probe that shows
nothing (a caller is silent, and a recogniser has nothing to say) holds the place no longer than one that failed would
keep the circuit open.

A vendor may be well and refuse what one business wants of it: a voice that is no more, a language it does not know. So
each *choice* has a circuit too, and who wants it must be let through by both; the vendor as a whole is the choice "". A
failure concerns one of the two.

    CLOSED ─ failures in a row, or one that no other try can mend ─► OPEN ─ open_s, then who comes first ─► HALF_OPEN
       ▲                                                               ▲                                        │
       └──── useful output of a new life ◄─────────────────────────────┴──── the probe failed: open for longer ─┘
"""

import enum
import math
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final, Self

import attrs
from attrs.validators import and_, ge, gt, lt

OF_THE_ACCOUNT: Final = frozenset(
    {
        "401",
        "402",
        "403",
        "429",
        # Deepgram's words for them, Anthropic's and ElevenLabs', in a stream that has no status.
        "INVALID_AUTH",
        "ASR_PAYMENT_REQUIRED",
        "INSUFFICIENT_PERMISSIONS",
        "authentication_error",
        "billing_error",
        "permission_error",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
        "invalid_api_key",
        "needs_authorization",
        "missing_permissions",
        "detected_unusual_activity",
        "quota_exceeded",
    }
)
"""Refusals that whoever asks for anything would meet: of the key, the money, the amount. Any other is taken for one of
what was asked for: if it was not, each choice finds that out for itself, and nobody loses a vendor that is well."""


def is_of_choice(kinds: Iterable[str]) -> bool:
    """Whether a failure of these kinds concerns what was asked of a vendor, and not the vendor as a whole.

    A refusal without a code of the vendor's was none of theirs: a certificate, the name of a host, a key's letters.
    """
    kinds = frozenset(kinds)
    codes = kinds - {"refused"}
    return codes != kinds and bool(codes) and codes.isdisjoint(OF_THE_ACCOUNT)


class Circuit(enum.StrEnum):
    """Whether a provider is asked: closed, by everybody; open, by nobody new; half-open, by one."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@attrs.frozen(kw_only=True)
class HealthPolicy:
    """When a provider is given up by a whole process, and when it is tried again.

    failures: lives in a row without useful output. 3: two may be a network's hiccup, a fourth call need not suffer it.
    open_s: until the first probe. 15.0: a vendor that restarts takes some seconds, and each probe costs one caller a
        moment.
    longest_open_s: the wait grows by ``factor`` with each probe that fails, up to this. 120.0: back two minutes after.
    """

    failures: int = attrs.field(default=3, validator=ge(1))
    open_s: float = attrs.field(default=15.0, validator=and_(gt(0.0), lt(math.inf)))
    longest_open_s: float = attrs.field(default=120.0, validator=and_(gt(0.0), lt(math.inf)))
    factor: float = attrs.field(default=2.0, validator=and_(ge(1.0), lt(math.inf)))

    def __attrs_post_init__(self) -> None:
        if self.open_s > self.longest_open_s:
            raise ValueError(f"'open_s' must be <= 'longest_open_s' ({self.longest_open_s}): {self.open_s}")

    def after_s(self, opened: int) -> float:
        """Return how long a circuit stays open that has opened so often before, without a success in between."""
        try:
            growth = self.factor**opened
        except OverflowError:  # down for days
            growth = math.inf
        return min(self.longest_open_s, self.open_s * growth)


@attrs.frozen(kw_only=True)
class Breaker:
    """A circuit: of a provider, or of one choice of its.

    failures: in a row. opened: how often in a row. probe: the last one's number.
    retry_at: nobody is let through before.
    """

    policy: HealthPolicy = HealthPolicy()
    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    opened: int = 0
    # Invariant: while closed, it is in the past of everybody.
    retry_at: float = -math.inf
    probe: int = 0

    def lets_through(self, now: float) -> bool:
        """Whether a new life may begin."""
        return now >= self.retry_at

    def begun(self, now: float) -> Self:
        """Return the breaker after a new life began: if it was let through an open circuit, it is the probe."""
        if self.circuit is Circuit.CLOSED or now < self.retry_at:
            return self
        retry_at = now + self.policy.after_s(self.opened)
        return attrs.evolve(self, circuit=Circuit.HALF_OPEN, retry_at=retry_at, probe=self.probe + 1)

    def failed(self, now: float, *, probe: bool, lasting: bool) -> Self:
        """Return the breaker after a life of no use. lasting: no other try can mend it."""
        failures = self.failures + 1
        if self.circuit is Circuit.CLOSED and not lasting and failures < self.policy.failures:
            return attrs.evolve(self, failures=failures)
        if self.circuit is not Circuit.CLOSED and not probe:
            return self  # one who was there before; the probe decides
        retry_at = now + self.policy.after_s(self.opened)
        return attrs.evolve(self, circuit=Circuit.OPEN, failures=failures, opened=self.opened + 1, retry_at=retry_at)

    def useful(self) -> Self:
        """Return the breaker after a new life's first useful output: all is well."""
        return attrs.evolve(self, circuit=Circuit.CLOSED, failures=0, opened=0, retry_at=-math.inf)

    def released(self) -> Self:
        """Return the breaker after the probe ended without having shown anything: the next may try at once."""
        return attrs.evolve(self, circuit=Circuit.OPEN, retry_at=-math.inf)


@attrs.define(eq=False)
class Health:
    """What a process knows of its providers, by work ("stt"), name and choice. Plain code; shared by all calls.

    clock: seconds, of any beginning. changed: told the work, the provider, the choice and its circuit, whenever that is
        another.
    """

    policy: HealthPolicy = HealthPolicy()
    clock: Callable[[], float] = lambda: 0.0
    changed: Callable[[str, str, str, Circuit], None] = lambda _work, _name, _choice, _circuit: None
    _breakers: dict[tuple[str, str, str], Breaker] = attrs.field(init=False, factory=dict)

    def of(self, work: str, names: Sequence[str], choices: Mapping[str, str] | None = None) -> "Providers":
        """Return the providers of a kind of work, in order of preference, as one call sees them.

        choices: what the call wants of each, by its name: the same text for the same thing. Who is absent is asked for
            what everybody asks for.
        """
        return Providers(self, work, tuple(names), choices or {})

    def breaker(self, work: str, name: str, choice: str = "") -> Breaker:
        """Return the circuit of a provider as a whole, or of a choice of its, as it is now."""
        return self._breakers.get((work, name, choice)) or Breaker(policy=self.policy)

    def circuits(self) -> dict[tuple[str, str, str], Circuit]:
        """Return the circuit of each provider and choice that anything is known of, by work, name and choice."""
        return {key: breaker.circuit for key, breaker in self._breakers.items()}

    def change_policy(self, policy: HealthPolicy) -> None:
        """Obey another policy from the next failure on."""
        self.policy = policy
        self._breakers = {key: attrs.evolve(each, policy=policy) for key, each in self._breakers.items()}

    def put(self, work: str, name: str, choice: str, breaker: Breaker) -> None:
        """Keep what a circuit has become."""
        was, self._breakers[work, name, choice] = self.breaker(work, name, choice).circuit, breaker
        if breaker.circuit is not was:
            self.changed(work, name, choice, breaker.circuit)


@attrs.define(eq=False)
class Providers:
    """Who can do a kind of work in one call, in order of preference: a supervisor's `Alternatives`."""

    health: Health
    work: str
    names: tuple[str, ...]
    choices: Mapping[str, str]
    # The number of the last probe that was taken here, by name and choice. One that is not the circuit's own is of the
    # past.
    _probes: dict[tuple[str, str], int] = attrs.field(init=False, factory=dict)

    def choose(self, *, without: Container[str] = ()) -> str | None:
        """Return who is to begin: the first that is well, else who may be tried soonest; None if nobody is left."""
        now = self.health.clock()
        left = [(self._retry_at(name), name) for name in self.names if name not in without]
        if not left:
            return None
        _, name = next((each for each in left if each[0] <= now), min(left, key=lambda each: each[0]))
        for choice, breaker in self._breakers(name).items():
            begun = breaker.begun(now)
            if begun is not breaker:
                self._probes[name, choice] = begun.probe
                self.health.put(self.work, name, choice, begun)
        return name

    def any_well(self, *, without: Container[str] = ()) -> bool:
        """Whether one of them may begin now."""
        now = self.health.clock()
        return any(self._retry_at(name) <= now for name in self.names if name not in without)

    def any_left(self, *, without: Container[str] = ()) -> bool:
        """Whether there is one at all."""
        return any(name not in without for name in self.names)

    def is_well(self, name: str) -> bool:
        """Whether its circuits are closed."""
        return all(breaker.circuit is Circuit.CLOSED for breaker in self._breakers(name).values())

    def failed(self, name: str, *, kinds: Iterable[str] = (), lasting: bool = False) -> None:
        """A life of its failed and had been of no use. kinds: of the failure. lasting: no other try can mend it.

        It says nothing of the circuit that it does not concern: a probe of that one is handed back.
        """
        concerned = self.choices.get(name, "") if is_of_choice(kinds) else ""
        for choice, breaker in self._breakers(name).items():
            probe = self._probes_now(name, choice, breaker)
            if choice == concerned:
                after = breaker.failed(self.health.clock(), probe=probe, lasting=lasting)
                self.health.put(self.work, name, choice, after)
            elif probe:
                self.health.put(self.work, name, choice, breaker.released())

    def useful(self, name: str) -> bool:
        """A new life of its gave its first useful output. Returns whether it had been given up, and is back."""
        was_well = self.is_well(name)
        for choice, breaker in self._breakers(name).items():
            if breaker.failures or breaker.circuit is not Circuit.CLOSED:
                self.health.put(self.work, name, choice, breaker.useful())
        return not was_well

    def released(self, name: str) -> None:
        """A life of its was ended by us before it was of use, or before it began."""
        for choice, breaker in self._breakers(name).items():
            if self._probes_now(name, choice, breaker):
                self.health.put(self.work, name, choice, breaker.released())

    def _breakers(self, name: str) -> dict[str, Breaker]:
        """Return the circuits that must let a life of its through, by choice: its own, and that of what it is for."""
        return {each: self.health.breaker(self.work, name, each) for each in ("", self.choices.get(name, ""))}

    def _retry_at(self, name: str) -> float:
        """Return when it may be tried at the earliest."""
        return max(breaker.retry_at for breaker in self._breakers(name).values())

    def _probes_now(self, name: str, choice: str, breaker: Breaker) -> bool:
        """Whether the present probe of a circuit is here."""
        return breaker.circuit is Circuit.HALF_OPEN and self._probes.get((name, choice)) == breaker.probe
