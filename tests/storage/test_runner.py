"""Runners: threads behind a limiter, or in place under a virtual clock."""

import threading

import pytest
import trio
import trio.testing

from engine.storage.runner import in_thread, inline


async def test_inline_runs_in_place_and_returns_what_it_did() -> None:
    assert await inline(threading.get_ident) == threading.get_ident()


async def test_inline_raises_what_the_work_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        await inline(lambda: 1 // 0)


async def test_inline_work_of_a_cancelled_caller_never_begins() -> None:
    ran: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await inline(lambda: ran.append(1))
    assert (scope.cancelled_caught, ran) == (True, [])


async def test_inline_work_that_was_done_is_told_though_a_cancellation_came_meanwhile() -> None:
    with trio.CancelScope() as scope:

        def work() -> str:
            scope.cancel()
            return "done"

        assert await inline(work) == "done"


async def test_inline_takes_no_virtual_time(autojump_clock: trio.testing.MockClock) -> None:
    with trio.fail_after(3):
        assert await inline(lambda: 5) == 5
    assert autojump_clock.current_time() == 0


async def test_a_thread_runs_the_work_elsewhere_and_no_more_at_once_than_allowed() -> None:
    run = in_thread(trio.CapacityLimiter(1))
    at_once: list[int] = []
    inside = threading.Semaphore(1)

    def work() -> int:
        at_once.append(inside.acquire(blocking=False))
        ident = threading.get_ident()
        inside.release()
        return ident

    async def one() -> None:
        assert await run(work) != threading.get_ident()

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(one)
    assert at_once == [True] * 10


async def test_a_cancelled_write_is_waited_for_and_its_result_kept() -> None:
    begun, go = trio.Event(), threading.Event()
    written: list[str] = []

    def work() -> str:
        trio.from_thread.run_sync(begun.set)
        go.wait(5)
        written.append("row")
        return "kept"

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def writer() -> None:
            with scope:
                written.append(await in_thread(trio.CapacityLimiter(1))(work))

        nursery.start_soon(writer)
        await begun.wait()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert written == []
        go.set()
    assert written == ["row", "kept"]


async def test_an_abandoned_thread_keeps_its_place_in_the_limiter_until_it_ends() -> None:
    limiter = trio.CapacityLimiter(1)
    begun, go = trio.Event(), threading.Event()

    def work() -> None:
        trio.from_thread.run_sync(begun.set)
        go.wait(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread(limiter, abandon_on_cancel=True), work)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert limiter.borrowed_tokens == 1
    go.set()
    async with limiter:
        assert limiter.borrowed_tokens == 1
