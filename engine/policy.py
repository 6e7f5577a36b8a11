"""Restart policy: what to do about a failure, decided by a value.

A ``RestartState`` is told of each failure and returns the state that follows and a ``Decision``. It reads no clock and
draws no random number of its own: time is passed in, and the seed of the jitter is part of the state. Hence the same
failures at the same times always lead to the same decisions, in a call, in a test and in a simulation.
"""

import math
import sys
from collections.abc import Mapping
from typing import Self, TypeAlias

import attrs
from attrs.validators import and_, ge, gt, lt

_NOT_NEGATIVE = and_(ge(0.0), lt(math.inf))


@attrs.frozen(kw_only=True)
class Backoff:
    """How long a restart waits, by how many restarts in a row were of no use.

    The first waits ``first_s``. The n-th after it waits a time drawn evenly between ``minimum_s`` and
    ``minimum_s * factor**n``, which stops growing at ``maximum_s``: full jitter above a floor, so that a thousand
    calls cut off together do not come back together. With ``minimum_s = 0`` nothing ever waits.

    first_s: 0.0, because most connections that break can be made again at once, and a caller hears every wait.
    maximum_s: 1.0, because a longer wait is heard as silence.
    Raises ValueError for a negative, infinite or NaN time, a factor below 1, a minimum or first wait above the maximum.
    """

    first_s: float = attrs.field(default=0.0, validator=_NOT_NEGATIVE)
    minimum_s: float = attrs.field(default=0.1, validator=_NOT_NEGATIVE)
    maximum_s: float = attrs.field(default=1.0, validator=_NOT_NEGATIVE)
    factor: float = attrs.field(default=2.0, validator=and_(ge(1.0), lt(math.inf)))

    def __attrs_post_init__(self) -> None:
        for name in ("first_s", "minimum_s"):
            if getattr(self, name) > self.maximum_s:
                raise ValueError(f"'{name}' must be <= 'maximum_s' ({self.maximum_s}): {getattr(self, name)}")

    def longest_s(self, streak: int) -> float:
        """Return the longest wait there can be after ``streak`` restarts in a row that were of no use."""
        if streak == 0:
            return self.first_s
        try:
            growth = self.factor**streak
        except OverflowError:  # a vendor that is down for days; the largest float, because 0 * inf is not 0
            growth = sys.float_info.max
        return min(self.maximum_s, self.minimum_s * growth)

    def wait_s(self, streak: int, chance: float) -> float:
        """Return the wait that ``chance``, in [0, 1), picks after ``streak`` restarts of no use."""
        if streak == 0:
            return self.first_s
        return self.minimum_s + chance * (self.longest_s(streak) - self.minimum_s)


@attrs.frozen(kw_only=True)
class RestartPolicy:
    """How much failure is borne, and how long restarts wait.

    intensity: restarts allowed within ``period_s``; the next failure gives up. 0: the first failure gives up.
    period_s: length of the window. A failure exactly that old still counts, as in Erlang/OTP's supervisor.
    """

    intensity: int = attrs.field(default=5, validator=ge(0))
    period_s: float = attrs.field(default=10.0, validator=and_(gt(0.0), lt(math.inf)))
    backoff: Backoff = Backoff()


@attrs.frozen(kw_only=True)
class Failure:
    """One failure: when, of which child, and why."""

    failed_at: float
    child: str
    reason: str


@attrs.frozen(kw_only=True)
class Restart:
    """Start it again ``after_s`` seconds from the failure."""

    after_s: float


@attrs.frozen(kw_only=True)
class GiveUp:
    """Stop trying: what failed last, and every failure of the window, oldest first, the last included."""

    reason: str
    history: tuple[Failure, ...]


# A reader must match on the class and end in assert_never: a decision for another vendor is to come.
Decision: TypeAlias = Restart | GiveUp


@attrs.frozen(kw_only=True)
class RestartState:
    """What is remembered between failures.

    The window is shared by all children, as in OTP; each child has its own streak and hence its own backoff. Who
    retries only one thing leaves ``child`` out.

    seed: any integer. States that should not wait in step must not share it.
    """

    policy: RestartPolicy = RestartPolicy()
    seed: int = 0
    # Invariant: oldest first, and none was older than the window at the last call.
    failures: tuple[Failure, ...] = ()
    # Restarts in a row that were of no use, by child. Invariant: no zeros.
    streaks: Mapping[str, int] = attrs.field(factory=dict)

    def failed(
        self, reason: str, now: float, *, child: str = "", backoff: Backoff | None = None
    ) -> tuple[Self, Decision]:
        """Return the state after a failure, and what to do.

        ``backoff`` stands in for the policy's own, for a child that has another.
        """
        failures = (*self._window(now), Failure(failed_at=now, child=child, reason=reason))
        if len(failures) > self.policy.intensity:
            return attrs.evolve(self, failures=failures), GiveUp(reason=reason, history=failures)
        streak = self.streaks.get(child, 0)
        seed, chance = splitmix64(self.seed)
        after = attrs.evolve(self, seed=seed, failures=failures, streaks={**self.streaks, child: streak + 1})
        return after, Restart(after_s=(backoff or self.policy.backoff).wait_s(streak, chance))

    def useful(self, now: float, *, child: str = "") -> Self:
        """Return the state after useful output: the child's next restart is a first one again.

        The window stays, less what has grown too old: a child that is useful between its crashes still crashes.
        """
        if child not in self.streaks:
            return self  # called for every chunk of output, so the common case costs a look-up
        streaks = {each: streak for each, streak in self.streaks.items() if each != child}
        return attrs.evolve(self, failures=self._window(now), streaks=streaks)

    def with_policy(self, policy: RestartPolicy) -> Self:
        """Return the state under another policy, which the next decision obeys."""
        return attrs.evolve(self, policy=policy)

    def _window(self, now: float) -> tuple[Failure, ...]:
        return tuple(failure for failure in self.failures if now - failure.failed_at <= self.policy.period_s)


def splitmix64(seed: int) -> tuple[int, float]:
    """Return the next seed and a number in [0, 1).

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16.
    """
    seed = (seed + 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF
    mixed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFF_FFFF_FFFF_FFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFF_FFFF_FFFF_FFFF
    mixed ^= mixed >> 31
    return seed, (mixed >> 11) * 2.0**-53  # the upper 53 bits: as many as a float holds
