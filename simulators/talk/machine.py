"""What else a machine does while calls are made on it: what is late there is not the engine's doing."""

import os
import time
from pathlib import Path

import attrs

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Machine:
    """The processor time that was used up to a moment: by all, and by this process and the children it has seen end."""

    at: float
    busy_s: float
    ours_s: float

    @classmethod
    def now(cls) -> "Machine":
        """Look."""
        times = os.times()
        ours_s = times.user + times.system + times.children_user + times.children_system
        return cls(at=time.monotonic(), busy_s=_busy_s(), ours_s=ours_s)

    def used_by_others(self) -> float:
        """Return the share of all cores that others have used since then."""
        now = Machine.now()
        others_s = (now.busy_s - self.busy_s) - (now.ours_s - self.ours_s)
        return round(max(0.0, others_s) / ((now.at - self.at) * (os.cpu_count() or 1)), 2)


def _busy_s() -> float:
    """Processor time of all cores that were neither idle nor waiting for a disk; 0 where nobody says."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, *more = map(int, stat.read_text().splitlines()[0].split()[1:])
    return (user + nice + system + sum(more[:3])) / _TICKS_A_SECOND
