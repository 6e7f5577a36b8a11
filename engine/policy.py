"""Restart policy: what to do about a failure, decided by a value.

A ``RestartState`` is told of each failure and returns the state that follows and a ``Decision``. It reads no clock and
draws no random number of its own: time is passed in, and the seed of the jitter is part of the state. Hence the same
failures at the same times always lead to the same decisions, in a call, in a test and in a simulation.
"""

import enum
import math
import sys
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Self, TypeAlias, TypeVar

import attrs
from attrs.validators import and_, ge, gt, lt

_ValueT = TypeVar("_ValueT")

_NOT_NEGATIVE = and_(ge(0.0), lt(math.inf))


class Answer(enum.StrEnum):
    """What a kind of failure leads to: another try, the next alternative at once, or the end at once."""

    RESTART = "restart"
    NEXT = "next"
    END = "end"


EXHAUSTED: Final = "exhausted"
"""The kind of failure of a supervisor that gave up because nothing it could try would mend it."""

REASONS: Final[Mapping[str, Answer]] = MappingProxyType({"refused": Answer.NEXT, EXHAUSTED: Answer.END})
"""By default a refusal goes to the next alternative, because the same again meets the same; all else is tried again."""


ATTEMPT_S: Final = 10.0
"""No attempt takes longer to fail: three times what a connection may take, or a first sign of life."""


def answer_to(kinds: Iterable[str], reasons: Mapping[str, Answer]) -> Answer:
    """Return what a failure of these kinds leads to, the first that stands in `reasons` deciding; else a restart."""
    return next((reasons[kind] for kind in kinds if kind in reasons), Answer.RESTART)


def kinds_of(error: BaseException | None) -> tuple[str, ...]:
    """Return what kinds of failure an error is, the most special first; an error that does not say is a "crash"."""
    kinds: tuple[str, ...] = getattr(error, "kinds", ("crash",))
    return kinds


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
    reasons: what a kind of failure leads to; of a failure's kinds the first that stands here decides, without one it is
        a restart.
    patience_s: from the first of failures that were all of no use to the last that is borne. Failures that each take
        seconds, as where nobody answers, may be too rare for the window, and would be borne for ever. A life of more
        than ``ATTEMPT_S`` was well, though nobody may have wanted anything of it: patience begins anew.
    """

    intensity: int = attrs.field(default=5, validator=ge(0))
    period_s: float = attrs.field(default=10.0, validator=and_(gt(0.0), lt(math.inf)))
    backoff: Backoff = Backoff()
    reasons: Mapping[str, Answer] = REASONS
    patience_s: float = attrs.field(default=math.inf, validator=gt(0.0))

    def answer(self, kinds: Iterable[str]) -> Answer:
        """Return what a failure of these kinds leads to."""
        return answer_to(kinds, self.reasons)


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
class FailOver:
    """Start the next alternative, at once. What this one's failures were counts no more; those of siblings do."""


@attrs.frozen(kw_only=True)
class GiveUp:
    """Stop trying: what failed last, and every failure of the window, oldest first, the last included.

    exhausted: not for the number of failures; this one was of a kind that no other try can mend, or patience is at its
        end.
    """

    reason: str
    history: tuple[Failure, ...]
    exhausted: bool = False


# A reader must match on the class and end in assert_never.
Decision: TypeAlias = Restart | FailOver | GiveUp


@attrs.frozen(kw_only=True)
class RestartState:
    """What is remembered between failures.

    The window is shared by all children, as in OTP; each child has its own streak and hence its own backoff. Who
    retries only one thing leaves ``child`` out.

    seed: any integer. States that should not wait in step must not share it.
    """

    policy: RestartPolicy = RestartPolicy()
    seed: int = 0
    # Invariant: oldest first, and at the last failure none was older than the longest window that was ever asked for.
    failures: tuple[Failure, ...] = ()
    looked_back_s: float = 0.0
    # Restarts in a row that were of no use, by child. Invariant: no zeros.
    streaks: Mapping[str, int] = attrs.field(factory=dict)
    # When the first failure was of those that patience is counted for, and when the last life began, by child.
    trying: Mapping[str, tuple[float, float]] = attrs.field(factory=dict)

    def failed(  # noqa: PLR0913 - what is known of a failure
        self,
        reason: str,
        now: float,
        *,
        child: str = "",
        kinds: Iterable[str] = (),
        policy: RestartPolicy | None = None,
        backoff: Backoff | None = None,
        standby: bool = False,
        better: bool = False,
    ) -> tuple[Self, Decision]:
        """Return the state after a failure, and what to do.

        kinds: of the failure, the most special first. policy, backoff: in place of the state's own, for a child or an
            alternative that has others.
        standby: there is another alternative, which takes over when this one is given up. better: it is known to be
            well, and this one is known not to be: it takes over at once.
        """
        policy = policy or self.policy
        answer = policy.answer(kinds)
        looked_back_s = max(self.looked_back_s, self.policy.period_s, policy.period_s)
        failures = (*_within(looked_back_s, self.failures, now), Failure(failed_at=now, child=child, reason=reason))
        after = attrs.evolve(self, failures=failures, looked_back_s=looked_back_s)
        history = _within(policy.period_s, failures, now)
        first_at, begun_at = self.trying.get(child, (now, now))
        if now - begun_at > ATTEMPT_S:
            first_at = now
        lasts_s = now - first_at
        exceeded = len(history) > policy.intensity or lasts_s > policy.patience_s
        if answer is not Answer.END and standby and (better or exceeded or answer is Answer.NEXT):
            others = tuple(each for each in failures if each.child != child)
            return attrs.evolve(after, failures=others).useful(child=child), FailOver()
        if exceeded or answer is not Answer.RESTART:
            exhausted = answer is not Answer.RESTART or lasts_s > policy.patience_s
            return after, GiveUp(reason=reason, history=history, exhausted=exhausted)
        streak = self.streaks.get(child, 0)
        seed, chance = splitmix64(self.seed)
        after_s = (backoff or policy.backoff).wait_s(streak, chance)
        after = attrs.evolve(
            after,
            seed=seed,
            streaks={**self.streaks, child: streak + 1},
            trying={**self.trying, child: (first_at, now + after_s)},
        )
        return after, Restart(after_s=after_s)

    def useful(self, *, child: str = "") -> Self:
        """Return the state after useful output: the child's next restart is a first one again.

        The window stays: a child that is useful between its crashes still crashes.
        """
        if child not in self.streaks:
            return self  # called for every chunk of output, so the common case costs a look-up
        return attrs.evolve(self, streaks=_without(child, self.streaks), trying=_without(child, self.trying))

    def with_policy(self, policy: RestartPolicy) -> Self:
        """Return the state under another policy, which the next decision obeys."""
        return attrs.evolve(self, policy=policy)


def _within(period_s: float, failures: Iterable[Failure], now: float) -> tuple[Failure, ...]:
    return tuple(failure for failure in failures if now - failure.failed_at <= period_s)


def _without(child: str, by_child: Mapping[str, _ValueT]) -> dict[str, _ValueT]:
    return {each: value for each, value in by_child.items() if each != child}


def splitmix64(seed: int) -> tuple[int, float]:
    """Return the next seed and a number in [0, 1).

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16.
    """
    seed = (seed + 0x9E3779B97F4A7C15) & 0xFFFF_FFFF_FFFF_FFFF
    mixed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFF_FFFF_FFFF_FFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFF_FFFF_FFFF_FFFF
    mixed ^= mixed >> 31
    return seed, (mixed >> 11) * 2.0**-53  # the upper 53 bits: as many as a float holds
