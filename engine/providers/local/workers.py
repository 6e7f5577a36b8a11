"""Workers: the threads that inference runs in, shared by all calls, first come first served."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import structlog
import trio

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

# A wait that a caller begins to hear.
_LONG_WAIT_S: Final = 0.25

T = TypeVar("T")


class Runner(Protocol):
    """What runs a blocking function and returns, or raises, what it did."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run `work` once."""


async def _in_thread(work: Callable[[], T], /) -> T:
    """Run `work` in a thread; a cancellation does not wait for its end, so that hanging up waits for no inference."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


class Workers:
    """So many threads for one kind of inference. Those who wait are served in the order in which they came.

    kind: what is done, for the log: a wait over a quarter of a second is a line in it.
    threads: how many run at once. What runs on after its call was cancelled is not counted, for as long as it takes.
    runner: where it runs. In virtual time, which does not wait for threads, something that runs it in place.
    """

    def __init__(self, kind: str, threads: int, *, runner: Runner = _in_thread) -> None:
        self._kind = kind
        self._limiter = trio.CapacityLimiter(threads)
        self._runner = runner

    @property
    def is_free(self) -> bool:
        """Whether work asked for now would begin at once."""
        return self._limiter.available_tokens > 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` when its turn comes; return or raise what it does. What is not begun when cancelled never is."""
        asked_at, ahead = trio.current_time(), self._limiter.statistics().tasks_waiting
        async with self._limiter:
            waited_s = trio.current_time() - asked_at
            if waited_s > _LONG_WAIT_S:
                _log.warning("inference waited", kind=self._kind, waited_s=round(waited_s, 3), ahead=ahead)
            return await self._runner(work)
