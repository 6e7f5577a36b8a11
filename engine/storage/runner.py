"""Runners: where blocking work runs. In worker threads in production, in place under a virtual clock."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Runner(Protocol):
    """What runs a blocking function and returns, or raises, what it did."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run `work` once. A cancellation that comes before it has begun means that it never will."""


def in_thread(limiter: trio.CapacityLimiter, *, abandon_on_cancel: bool = False) -> Runner:
    """Return a runner that uses worker threads, as many at once as `limiter` allows; the others queue in order.

    abandon_on_cancel: false, a cancellation waits for the work to end (a write is whole, and its result is kept).
    True, it does not wait: the work runs on to its end in its thread, holding its place in `limiter`, and what it
    returns is lost. A tool's time limit needs true; such work tells its own outcome (`engine.tools.toolbox`).
    """

    async def run(work: Callable[[], T], /) -> T:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=abandon_on_cancel, limiter=limiter)

    return run


async def inline(work: Callable[[], T], /) -> T:
    """Run `work` in place, after a checkpoint and with none behind it: it happens wholly or not at all.

    For virtual time, where the clock leaps over a running thread. No time limit can interrupt it.
    """
    await trio.lowlevel.checkpoint()
    return work()
