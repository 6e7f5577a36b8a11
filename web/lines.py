"""Lines: how many calls are here and on their way, and who calls too often."""

import math
from collections import OrderedDict, deque
from enum import Enum
from typing import Final

import attrs

MINUTE_S: Final = 60.0

# A caller's times take some 1 KiB at the default limit: 10 MiB, for a flood of as many numbers within a minute.
CALLERS_KEPT: Final = 10_000


class Full(Enum):
    """Why there is no line for a call; the value is what is logged and counted."""

    LINES = "too many calls"
    CALLER = "too many calls of one caller"


@attrs.define(kw_only=True)
class Lines:
    """The lines of a process: those open, and those promised by TwiML until they open or their token expires.

    Times are of one clock that never goes back.

    at_once: calls, open and promised.
    a_minute: promises to one caller in any 60 s; all who withhold their number are one caller.
    promise_s: how long a promise lasts.
    """

    at_once: int
    a_minute: int
    promise_s: float
    _open: int = 0
    # Invariant: in the order of their ends, because each lasts as long and a new one goes last.
    _promised: OrderedDict[str, float] = attrs.field(factory=OrderedDict)
    # Invariant: in the order of the last call; no deque is empty, or longer than a_minute.
    _callers: OrderedDict[str, deque[float]] = attrs.field(factory=OrderedDict)

    def promise(self, call_sid: str, caller: str, now: float) -> Full | None:
        """Promise a line to a call, or return why not. Asked again for the same call, the promise is renewed."""
        self._forget(now)
        if call_sid not in self._promised:
            times = self._callers.get(caller, deque())
            while times and times[0] <= now - MINUTE_S:
                times.popleft()
            if len(times) >= self.a_minute:
                return Full.CALLER
            if self.count(now) >= self.at_once:
                return Full.LINES
            times.append(now)
            self._callers[caller] = times
            self._callers.move_to_end(caller)
            if len(self._callers) > CALLERS_KEPT:
                self._callers.popitem(last=False)
        self._promised[call_sid] = now + self.promise_s
        self._promised.move_to_end(call_sid)
        return None

    def open(self, call_sid: str) -> None:
        """Count a line as open; the call's promise is kept by it."""
        self.release(call_sid)
        self._open += 1

    def close(self) -> None:
        """Count a line as closed."""
        assert self._open, "a line closes once"
        self._open -= 1

    def release(self, call_sid: str) -> None:
        """Take back a promise, if there is one: the call is over."""
        self._promised.pop(call_sid, None)

    def count(self, now: float) -> int:
        """Return how many calls are here or on their way."""
        self._forget(now)
        return self._open + len(self._promised)

    def next_lapse_at(self) -> float:
        """Return when the oldest promise lapses; infinity if there is none."""
        return next(iter(self._promised.values()), math.inf)

    def _forget(self, now: float) -> None:
        while self._promised and self.next_lapse_at() <= now:
            self._promised.popitem(last=False)
        while self._callers and next(iter(self._callers.values()))[-1] <= now - MINUTE_S:
            self._callers.popitem(last=False)
