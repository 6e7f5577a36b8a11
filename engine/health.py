"""Health: what a process knows of who works for it, so that no call has to find out anew that a provider is down.

Theory of operation. Each provider has a circuit for each kind of work, a plain value that time is passed to. It opens
when so many lives in a row were of no use to anybody: a connection that worked and broke says nothing about the next
one. While it is open, who starts anew starts with another. After a while one is let through to try, the *probe*: if it
is of use the circuit closes for all, else it stays open for longer. A probe that shows
nothing (a caller is silent, and a recogniser has nothing to say) holds the place no longer than one that failed would
keep the circuit open.

    CLOSED ─ failures in a row, or one that no other try can mend ─► OPEN ─ open_s, then who comes first ─► HALF_OPEN
       ▲                                                               ▲                                        │
       └──── useful output of a new life ◄─────────────────────────────┴──── the probe failed: open for longer ─┘
"""

import enum
import math
from collections.abc import Callable, Container, Sequence
from typing import Self

import attrs
from attrs.validators import and_, ge, gt, lt


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
    """One provider's circuit.

    failures: in a row. opened: how often in a row. probe: the last one's number.
    retry_at: while not closed: nobody is let through before.
    """

    policy: HealthPolicy = HealthPolicy()
    circuit: Circuit = Circuit.CLOSED
    failures: int = 0
    opened: int = 0
    retry_at: float = -math.inf
    probe: int = 0

    def lets_through(self, now: float) -> bool:
        """Whether a new life may begin with this provider."""
        return self.circuit is Circuit.CLOSED or now >= self.retry_at

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
        return attrs.evolve(self, circuit=Circuit.CLOSED, failures=0, opened=0)

    def released(self) -> Self:
        """Return the breaker after the probe ended without having shown anything: the next may try at once."""
        return attrs.evolve(self, circuit=Circuit.OPEN, retry_at=-math.inf)


@attrs.define(eq=False)
class Health:
    """What a process knows of its providers, by work ("stt") and name. Plain code; shared by all calls.

    clock: seconds, of any beginning. changed: told the work, the provider and its circuit, whenever that is another.
    """

    policy: HealthPolicy = HealthPolicy()
    clock: Callable[[], float] = lambda: 0.0
    changed: Callable[[str, str, Circuit], None] = lambda _work, _name, _circuit: None
    _breakers: dict[tuple[str, str], Breaker] = attrs.field(init=False, factory=dict)

    def of(self, work: str, names: Sequence[str]) -> "Providers":
        """Return the providers of a kind of work, in order of preference, as one call sees them."""
        return Providers(self, work, tuple(names))

    def breaker(self, work: str, name: str) -> Breaker:
        """Return a provider's circuit as it is now."""
        return self._breakers.get((work, name)) or Breaker(policy=self.policy)

    def circuits(self) -> dict[tuple[str, str], Circuit]:
        """Return the circuit of each provider that anything is known of."""
        return {key: breaker.circuit for key, breaker in self._breakers.items()}

    def change_policy(self, policy: HealthPolicy) -> None:
        """Obey another policy from the next failure on."""
        self.policy = policy
        self._breakers = {key: attrs.evolve(each, policy=policy) for key, each in self._breakers.items()}

    def put(self, work: str, name: str, breaker: Breaker) -> None:
        """Keep what a provider's circuit has become."""
        was, self._breakers[work, name] = self.breaker(work, name).circuit, breaker
        if breaker.circuit is not was:
            self.changed(work, name, breaker.circuit)


@attrs.define(eq=False)
class Providers:
    """Who can do a kind of work in one call, in order of preference: a supervisor's `Alternatives`."""

    health: Health
    work: str
    names: tuple[str, ...]
    # The number of the last probe that was taken here, by name. One that is not the circuit's own is of the past.
    _probes: dict[str, int] = attrs.field(init=False, factory=dict)

    def choose(self, *, without: Container[str] = ()) -> str | None:
        """Return who is to begin: the first that is well, else who may be tried soonest; None if nobody is left."""
        now = self.health.clock()
        left = [(self.health.breaker(self.work, name), name) for name in self.names if name not in without]
        if not left:
            return None
        breaker, name = next(
            (each for each in left if each[0].lets_through(now)), min(left, key=lambda each: each[0].retry_at)
        )
        begun = breaker.begun(now)
        if begun is not breaker:
            self._probes[name] = begun.probe
            self.health.put(self.work, name, begun)
        return name

    def any_well(self, *, without: Container[str] = ()) -> bool:
        """Whether one of them may begin now."""
        now = self.health.clock()
        return any(self.health.breaker(self.work, name).lets_through(now) for name in self.names if name not in without)

    def any_left(self, *, without: Container[str] = ()) -> bool:
        """Whether there is one at all."""
        return any(name not in without for name in self.names)

    def is_well(self, name: str) -> bool:
        """Whether its circuit is closed."""
        return self.health.breaker(self.work, name).circuit is Circuit.CLOSED

    def failed(self, name: str, *, lasting: bool = False) -> None:
        """A life of its failed and had been of no use. lasting: no other try can mend it."""
        breaker = self.health.breaker(self.work, name)
        probe = self._probes_now(name, breaker)
        self.health.put(self.work, name, breaker.failed(self.health.clock(), probe=probe, lasting=lasting))

    def useful(self, name: str) -> bool:
        """A new life of its gave its first useful output. Returns whether it had been given up, and is back."""
        breaker = self.health.breaker(self.work, name)
        if breaker.failures or breaker.circuit is not Circuit.CLOSED:
            self.health.put(self.work, name, breaker.useful())
        return breaker.circuit is not Circuit.CLOSED

    def released(self, name: str) -> None:
        """A life of its was ended by us before it was of use, or before it began."""
        breaker = self.health.breaker(self.work, name)
        if self._probes_now(name, breaker):
            self.health.put(self.work, name, breaker.released())

    def _probes_now(self, name: str, breaker: Breaker) -> bool:
        """Whether the present probe is here."""
        return breaker.circuit is Circuit.HALF_OPEN and self._probes.get(name) == breaker.probe
