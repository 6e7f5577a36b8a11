"""Playback: what the phone network has queued to play to the caller.

Audio is consumed at 8000 bytes a second, without end, so where a message will sound is known when it arrives: at once
if the queue is empty, else where the queue ends. The whole queue is therefore one number, its end, and the marks that
wait for a moment before it. Times are whole samples at 8 kHz, which are bytes of µ-law.
"""

from typing import Self

import attrs

# Ten minutes; what does not fit is discarded (Twilio, error 31931).
CAPACITY_SAMPLES = 10 * 60 * 8000


@attrs.frozen
class PendingMark:
    """A mark in the queue, and the sample at which all audio before it has been played."""

    name: str
    due_at: int


@attrs.frozen(kw_only=True)
class Playback:
    """The queue of one stream, as a value.

    free_at: the sample at which the queue runs out; one in the past says that nothing plays.
    marks: those not yet echoed, in the order in which they came.
    """

    free_at: int = 0
    # Invariant: due_at never falls from one mark to the next.
    marks: tuple[PendingMark, ...] = ()

    @property
    def deadline(self) -> int | None:
        """The sample at which the next mark is to be echoed; None if there is none."""
        return self.marks[0].due_at if self.marks else None

    def media(self, length: int, now: int) -> tuple[Self, int | None]:
        """Queue ``length`` samples; return the sample at which they will start, None if they do not fit."""
        start = max(self.free_at, now)
        if start + length - now > CAPACITY_SAMPLES:
            return self, None
        return attrs.evolve(self, free_at=start + length), start

    def mark(self, name: str, now: int) -> Self:
        """Queue a mark; with nothing to play it is due at once."""
        due_at = max(self.free_at, now)
        return attrs.evolve(self, marks=(*self.marks, PendingMark(name, due_at)))

    def due(self, now: int) -> tuple[Self, tuple[str, ...]]:
        """Take out the marks whose moment has come."""
        count = next((i for i, mark in enumerate(self.marks) if mark.due_at > now), len(self.marks))
        return attrs.evolve(self, marks=self.marks[count:]), tuple(mark.name for mark in self.marks[:count])

    def clear(self, now: int) -> tuple[Self, tuple[str, ...]]:
        """Drop what has not been played; every mark comes back at once, in order."""
        cleared = attrs.evolve(self, free_at=min(self.free_at, now), marks=())
        return cleared, tuple(mark.name for mark in self.marks)
