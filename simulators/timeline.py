"""A call's timeline: seconds, and samples at 8 kHz, since the number was dialled."""

import attrs
import trio

from simulators.audio import RATE_HZ


@attrs.frozen
class Timeline:
    """The one clock that everything of a call is measured on, set by trio's."""

    dialled_at: float

    def now_s(self) -> float:
        """Seconds since the number was dialled."""
        return trio.current_time() - self.dialled_at

    def now(self) -> int:
        """The present sample."""
        return round(self.now_s() * RATE_HZ)

    def moment(self, sample: int) -> float:
        """When a sample is, on trio's clock."""
        return self.dialled_at + sample / RATE_HZ
