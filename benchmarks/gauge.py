"""Gauge: how fast a core is, told by a piece of fixed work that is timed again and again until SIGTERM.

A virtual machine's core is as fast as its neighbours let it be, and nothing in /proc tells of them: the same work has
taken 1.0 ms and, a minute later, 1.6. What the work takes is processor time: who else runs here does not count.
"""

import json
import signal
import time
from types import FrameType
from typing import Final

_EVERY_S: Final = 0.25
# About a millisecond of what an engine does.
_TIMES: Final = 800
_TEXT: Final = '{"a":1,"b":[1,2,3]}'


def main() -> None:
    """Work and wait until told to stop, then print the milliseconds that each piece took."""
    took_ms: list[float] = []
    stopped = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    while not stopped:
        began_s = time.thread_time()
        for _ in range(_TIMES):
            json.loads(_TEXT)
        took_ms.append(round(1000 * (time.thread_time() - began_s), 3))
        time.sleep(_EVERY_S)
    print(json.dumps(took_ms))  # noqa: T201 - to whoever asked


if __name__ == "__main__":
    main()
