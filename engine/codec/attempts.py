"""Attempts: what has failed on the way to an answer, and who is asked after it."""

from collections.abc import Iterator
from typing import Final, Protocol, Self

import attrs

from engine.messages.supervision import NEVER

OVERLOADED: Final = frozenset({"429", "503", "529", "overloaded_error", "rate_limit_error"})
"""What vendors call it when they are asked too much at once: the same again works, but not at the same moment."""


class Persistence(Protocol):
    """How often a model is asked again, and who else there is: what an agent's policy says of it."""

    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def retries(self) -> int: ...
    @property
    def retry_s(self) -> float: ...
    @property
    def last_s(self) -> float: ...


@attrs.frozen(kw_only=True)
class Streak:
    """Failures in a row: how many, and when the first of them was."""

    count: int = 0
    since: float = NEVER

    def failed(self, now: float) -> Self:
        """Return it with one more."""
        return type(self)(count=self.count + 1, since=min(self.since, now))

    def fresh(self) -> Self:
        """Return it anew, of its numbers."""
        return type(self)(count=int(self.count), since=float(self.since))


@attrs.frozen(kw_only=True)
class Attempts:
    """The requests of a turn that have failed.

    streak: those at the model whose turn it is, since the last whole answer. without: models that are done with.
    died: any of this turn has failed; cut: in the middle of its words, since the last whole answer.
    """

    streak: Streak = Streak()
    without: tuple[str, ...] = ()
    died: bool = False
    cut: bool = False

    def answered(self) -> Self:
        """Return them after a whole answer, which the turn does not end with."""
        return attrs.evolve(self, streak=Streak(), cut=False)

    def failed(
        self, vendor: str, kinds: tuple[str, ...], now: float, policy: Persistence, *, again: bool
    ) -> tuple[Self, float]:
        """Return them after one more, and how long to pause before the next; NEVER: there is nobody left to be asked.

        vendor: who failed, or "" where nobody said. again: the same model may be asked again.
        """
        here = attrs.evolve(self, streak=self.streak.failed(now), died=True)
        without = (*self.without, vendor or next(_left(policy, self.without), ""))
        others = any(_left(policy, without))
        pause_s = here._pause_s(kinds, now, policy, others=others) if again else NEVER
        if pause_s < NEVER or not others:
            return here, pause_s
        return attrs.evolve(here, streak=Streak(), without=without), 0.0

    def _pause_s(self, kinds: tuple[str, ...], now: float, policy: Persistence, *, others: bool) -> float:
        """Return how long to pause before the same model is asked again; NEVER: it is not."""
        vain = self.streak.count - 1 - policy.retries
        if vain < 0:
            return policy.retry_s if OVERLOADED.intersection(kinds) else 0.0
        pause_s = policy.retry_s * 2.0 ** min(vain, 16)
        return NEVER if others or now + pause_s - self.streak.since > policy.last_s else pause_s


def _left(policy: Persistence, without: tuple[str, ...]) -> Iterator[str]:
    """Return who can still be asked, in order of preference."""
    return (name for name in policy.models if name not in without)
