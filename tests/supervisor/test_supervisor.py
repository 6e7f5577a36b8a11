"""The supervisor's rules, one by one, on a virtual clock."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.policy import Backoff, RestartPolicy
from engine.supervisor import (
    PERMANENT,
    TEMPORARY,
    TRANSIENT,
    AutoShutdown,
    ChildExited,
    ChildFailed,
    ChildRestarted,
    ChildSpec,
    ChildStarted,
    ChildState,
    ChildStopped,
    GaveUp,
    GaveUpError,
    Incarnation,
    RestartScheduled,
    RestartType,
    SignificantEnded,
    Start,
    StartError,
    Strategy,
    SupervisionEvent,
    Supervisor,
    leaf,
)

LENIENT = RestartPolicy(intensity=1000, period_s=1000.0, backoff=Backoff(minimum_s=0.0, maximum_s=0.0))
STEADY = Backoff(first_s=0.0, minimum_s=1.0, maximum_s=1.0)  # at once, then always after a second

Log = list[tuple[float, str]]


def written(log: Log) -> list[str]:
    return [line for _, line in log]


def fake(
    name: str,
    log: Log,
    *,
    starts_in_s: float = 0.0,
    lives_s: float = math.inf,
    ends_with: BaseException | None = None,
    stops_in_s: float = 0.0,
    stops_with: BaseException | None = None,
    first_lives: int = 10**6,
) -> Start:
    """A child that lives a while and ends as told, or takes its time to stop; after its first lives it just lives."""

    async def start(*, task_status: Incarnation) -> None:
        lives_now_s = lives_s if task_status.number <= first_lives else math.inf
        log.append((trio.current_time(), f"{name} starts"))
        try:
            await trio.sleep(starts_in_s)
            task_status.started()
            with task_status.until_stop():
                await trio.sleep(lives_now_s)
            if task_status.stop_requested:
                await trio.sleep(stops_in_s)
                if stops_with:
                    raise stops_with
            elif ends_with:
                raise ends_with
        except trio.Cancelled:
            log.append((trio.current_time(), f"{name} is cancelled"))
            raise
        finally:
            log.append((trio.current_time(), f"{name} ends"))

    return start


class Events(list[SupervisionEvent]):
    """What a supervisor told, in order."""

    def of(self, kind: type[SupervisionEvent]) -> list[Any]:
        return [event for event in self if type(event) is kind]


async def stopped_after(supervisor: Supervisor, run_s: float) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await trio.sleep(run_s)
        supervisor.stop()


def supervisor_of(*specs: ChildSpec, **settings: Any) -> Supervisor:
    return Supervisor(**{"name": "top", "specs": specs, "policy": LENIENT, "seed": 1, **settings})


# ── starting and stopping ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_children_start_in_order_each_when_the_one_before_is_up(autojump_clock: MockClock) -> None:
    log: Log = []
    specs = [ChildSpec(id=name, start=fake(name, log, starts_in_s=1.0)) for name in "abc"]
    async with trio.open_nursery() as nursery:
        supervisor = supervisor_of(*specs)
        await nursery.start(supervisor.run)
        assert log == [(0.0, "a starts"), (1.0, "b starts"), (2.0, "c starts")]
        assert trio.current_time() == 3.0  # and the supervisor is up when the last one is
        supervisor.stop()


async def test_children_stop_in_reverse_order_each_when_the_one_after_has_ended(autojump_clock: MockClock) -> None:
    log: Log = []
    specs = [ChildSpec(id=name, start=fake(name, log, stops_in_s=1.0)) for name in "abc"]
    await stopped_after(supervisor_of(*specs), 5.0)
    assert log[3:] == [(6.0, "c ends"), (7.0, "b ends"), (8.0, "a ends")]


@pytest.mark.parametrize(("stops_in_s", "overran"), [(1.75, False), (2.25, True)])
async def test_a_child_has_its_shutdown_time_to_stop_and_not_more(
    autojump_clock: MockClock, *, stops_in_s: float, overran: bool
) -> None:
    log, events = Log(), Events()
    spec = ChildSpec(id="a", start=fake("a", log, stops_in_s=stops_in_s), shutdown_s=2.0)
    await stopped_after(supervisor_of(spec, on_event=events.append), 0.0)
    assert ("a is cancelled" in written(log)) == overran
    assert log[-1] == (min(stops_in_s, 2.0), "a ends")
    assert [event.overran for event in events.of(ChildStopped)] == [overran]


async def test_what_happens_meanwhile_gives_a_stopping_child_no_more_time(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", log, stops_in_s=math.inf), shutdown_s=2.0))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.terminate_child("a")
        await trio.sleep(1.0)
        supervisor.start_child(ChildSpec(id="b", start=fake("b", [])))
        await trio.sleep(2.0)
        supervisor.stop()
    assert log[-1] == (2.0, "a ends")


async def test_a_child_without_shutdown_time_is_cancelled_at_once(autojump_clock: MockClock) -> None:
    log, events = Log(), Events()
    spec = ChildSpec(id="a", start=fake("a", log, stops_in_s=1.0), shutdown_s=0.0)
    await stopped_after(supervisor_of(spec, on_event=events.append), 1.0)
    assert log[1:] == [(1.0, "a is cancelled"), (1.0, "a ends")]
    assert [event.overran for event in events.of(ChildStopped)] == [False]


async def test_a_child_with_endless_shutdown_time_is_waited_for(autojump_clock: MockClock) -> None:
    log: Log = []
    spec = ChildSpec(id="a", start=fake("a", log, stops_in_s=86_400.0), shutdown_s=math.inf)
    await stopped_after(supervisor_of(spec), 0.0)
    assert log[-1] == (86_400.0, "a ends")


async def test_a_stop_reaches_a_child_that_is_still_starting(autojump_clock: MockClock) -> None:
    log: Log = []
    spec = ChildSpec(id="a", start=fake("a", log, starts_in_s=math.inf), shutdown_s=2.0)
    supervisor = supervisor_of(spec)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        await trio.sleep(1.0)
        supervisor.stop()
    assert log[-1] == (3.0, "a ends")


async def test_a_supervisor_without_children_is_up_and_lives_until_stopped(autojump_clock: MockClock) -> None:
    await stopped_after(supervisor_of(), 5.0)
    assert trio.current_time() == 5.0


@pytest.mark.parametrize("restart", [PERMANENT, TRANSIENT, TEMPORARY])
async def test_a_first_start_that_fails_stops_those_before_in_reverse_and_fails_the_supervisor(
    autojump_clock: MockClock,
    restart: RestartType,
) -> None:
    log: Log = []
    error = OSError("no route")

    async def refuses(*, task_status: Incarnation) -> None:
        await trio.sleep(1.0)
        raise error

    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log)),
        ChildSpec(id="b", start=fake("b", log)),
        ChildSpec(id="c", start=refuses, restart=restart),
        ChildSpec(id="d", start=fake("d", log)),
    )
    with pytest.raises(StartError, match=r"'top' could not start child 'c': OSError: no route") as raised:
        await supervisor.run()
    assert written(log) == ["a starts", "b starts", "b ends", "a ends"]
    assert raised.value.__cause__ is error


async def test_a_child_that_returns_before_it_has_started_has_failed_to_start(autojump_clock: MockClock) -> None:
    async def forgets(*, task_status: Incarnation) -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(StartError, match="returned before it had started"):
        await supervisor_of(ChildSpec(id="a", start=forgets)).run()


async def test_a_child_that_crashes_while_a_later_one_is_starting_is_restarted(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log, lives_s=1.0, ends_with=ValueError(), first_lives=1)),
        ChildSpec(id="b", start=fake("b", log, starts_in_s=3.0)),
    )
    await stopped_after(supervisor, 1.0)
    assert log[:4] == [(0.0, "a starts"), (0.0, "b starts"), (1.0, "a ends"), (1.0, "a starts")]


async def test_a_child_that_is_terminated_before_it_is_up_does_not_keep_the_supervisor_from_being_up(
    autojump_clock: MockClock,
) -> None:
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", [], starts_in_s=math.inf), shutdown_s=0.0),
        ChildSpec(id="b", start=fake("b", [])),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(terminate_after, supervisor, "a", 1.0)
        await nursery.start(supervisor.run)
        assert trio.current_time() == 1.0
        supervisor.stop()


async def terminate_after(supervisor: Supervisor, child_id: str, after_s: float) -> None:
    await trio.sleep(after_s)
    supervisor.terminate_child(child_id)


async def test_a_stop_request_cancels_the_block_that_runs_until_it_and_nothing_after_it(
    autojump_clock: MockClock,
) -> None:
    life = Incarnation(1, "top/a#1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(request_stop_after, life, 1.0)
        with life.until_stop():
            await trio.sleep_forever()
    await trio.sleep(1.0)
    with life.until_stop():  # asked already: the block ends at its first checkpoint
        await trio.sleep_forever()
    assert trio.current_time() == 2.0


async def request_stop_after(life: Incarnation, after_s: float) -> None:
    await trio.sleep(after_s)
    life.request_stop()


async def test_saying_twice_that_a_child_has_started_is_an_error(autojump_clock: MockClock) -> None:
    life = Incarnation(1, "top/a#1")
    life.started()
    with pytest.raises(RuntimeError, match="top/a#1"):
        life.started()


# ── who is restarted ──────────────────────────────────────────────────────────────────────────────────────────────────


async def returns(*, task_status: Incarnation) -> None:
    task_status.started()
    await trio.sleep(1.0)


async def crashes(*, task_status: Incarnation) -> None:
    task_status.started()
    await trio.sleep(1.0)
    raise ValueError("broken")


@pytest.mark.parametrize(
    ("restart", "start", "reason"),
    [
        (PERMANENT, returns, "returned, though it is permanent"),
        (PERMANENT, crashes, "ValueError: broken"),
        (TRANSIENT, returns, None),
        (TRANSIENT, crashes, "ValueError: broken"),
        (TEMPORARY, returns, None),
        (TEMPORARY, crashes, None),
    ],
)
async def test_the_restart_type_says_which_ends_lead_to_a_restart(
    autojump_clock: MockClock, restart: RestartType, start: Start, reason: str | None
) -> None:
    events = Events()
    await stopped_after(supervisor_of(ChildSpec(id="a", start=start, restart=restart), on_event=events.append), 1.5)
    assert len(events.of(ChildRestarted)) == (reason is not None)
    if reason:
        assert [event.reason for event in events.of(ChildFailed)] == [reason]


async def test_a_transient_child_that_returned_has_exited_and_a_temporary_one_that_crashed_has_failed(
    autojump_clock: MockClock,
) -> None:
    events = Events()
    supervisor = supervisor_of(
        ChildSpec(id="a", start=returns, restart=TRANSIENT),
        ChildSpec(id="b", start=crashes, restart=TEMPORARY),
        on_event=events.append,
    )
    await stopped_after(supervisor, 2.0)
    assert [event.child for event in events.of(ChildExited)] == ["a"]
    assert [event.child for event in events.of(ChildFailed)] == ["b"]
    # As in OTP the one remains known and the other does not.
    assert [info.id for info in supervisor.children()] == ["a"]


@pytest.mark.parametrize("restart", [PERMANENT, TRANSIENT])
async def test_a_cancellation_that_nobody_asked_for_is_a_crash_with_the_reason_given(
    autojump_clock: MockClock, restart: RestartType
) -> None:
    log, events = Log(), Events()
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", log), restart=restart), on_event=events.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        assert supervisor.cancel("a", "stalled")
        await trio.sleep(1.0)
        supervisor.stop()
    assert [event.reason for event in events.of(ChildFailed)] == ["stalled"]
    assert written(log) == ["a starts", "a is cancelled", "a ends", "a starts", "a ends"]


async def test_killing_a_child_that_waits_for_its_restart_does_nothing(autojump_clock: MockClock) -> None:
    supervisor = supervisor_of(ChildSpec(id="a", start=crashes, backoff=Backoff(first_s=1.0)))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await trio.sleep(1.5)
        assert not supervisor.cancel("a")
        supervisor.stop()


async def test_a_child_that_crashes_on_being_killed_tells_its_own_reason(autojump_clock: MockClock) -> None:
    async def breaks(*, task_status: Incarnation) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("close failed")

    events = Events()
    supervisor = supervisor_of(ChildSpec(id="a", start=breaks, restart=TEMPORARY), on_event=events.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(1.0)
        supervisor.stop()
    assert [event.reason for event in events.of(ChildFailed)] == ["OSError: close failed"]


async def test_a_cancellation_that_strayed_from_another_scope_is_a_crash(autojump_clock: MockClock) -> None:
    strays: list[trio.Cancelled] = []
    with trio.move_on_after(0):
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            strays.append(cancelled)
            raise

    async def stray(*, task_status: Incarnation) -> None:
        task_status.started()
        if task_status.number == 1:
            raise strays[0]
        await trio.sleep_forever()

    events = Events()
    supervisor = supervisor_of(ChildSpec(id="a", start=stray, shutdown_s=0.0), on_event=events.append)
    await stopped_after(supervisor, 1.0)
    assert len(events.of(ChildRestarted)) == 1


async def test_the_reason_of_a_group_is_its_first_leaf(autojump_clock: MockClock) -> None:
    inner = ExceptionGroup("inner", [KeyError("first"), ValueError("second")])
    group = ExceptionGroup("outer", [ExceptionGroup("middle", [inner]), OSError()])
    assert str(leaf(group)) == "'first'"

    events = Events()
    spec = ChildSpec(id="a", start=fake("a", [], lives_s=1.0, ends_with=group, first_lives=1))
    await stopped_after(supervisor_of(spec, on_event=events.append), 2.0)
    (failed,) = events.of(ChildFailed)
    assert (failed.reason, failed.error) == ("KeyError: 'first'", leaf(group))


async def test_a_child_that_fails_to_start_again_is_tried_again_by_the_same_policy(autojump_clock: MockClock) -> None:
    async def starts_on_the_fourth(*, task_status: Incarnation) -> None:
        if task_status.number in (2, 3):
            raise OSError("refused")
        task_status.started()
        await trio.sleep(1.0 if task_status.number == 1 else math.inf)

    events = Events()
    policy = RestartPolicy(intensity=3, backoff=STEADY)
    spec = ChildSpec(id="a", start=starts_on_the_fourth, shutdown_s=0.0)
    await stopped_after(supervisor_of(spec, policy=policy, on_event=events.append), 10.0)
    assert [(event.happened_at, event.after_s) for event in events.of(RestartScheduled)] == [
        (1.0, 0.0),
        (1.0, 1.0),
        (2.0, 1.0),
    ]
    assert [(event.happened_at, event.incarnation) for event in events.of(ChildRestarted)] == [(3.0, 4)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
async def test_an_interrupt_passes_and_leaves_no_child(autojump_clock: MockClock, error: BaseException) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log, stops_in_s=1.0)),
        ChildSpec(id="b", start=fake("b", log, lives_s=1.0, ends_with=error)),
    )
    with pytest.raises(BaseExceptionGroup) as raised:
        await supervisor.run()
    assert leaf(raised.value) is error
    assert log == [(0.0, "a starts"), (0.0, "b starts"), (1.0, "b ends"), (2.0, "a ends")]


# ── strategies ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Strategy.ONE_FOR_ONE, ["b starts"]),
        (Strategy.ONE_FOR_ALL, ["d ends", "c ends", "a ends", "a starts", "b starts", "c starts", "d starts"]),
        (Strategy.REST_FOR_ONE, ["d ends", "c ends", "b starts", "c starts", "d starts"]),
    ],
)
async def test_the_strategy_says_who_is_restarted_with_a_child_that_crashed(
    autojump_clock: MockClock, strategy: Strategy, expected: list[str]
) -> None:
    log: Log = []
    supervisor = supervisor_of(*(ChildSpec(id=each, start=fake(each, log)) for each in "abcd"), strategy=strategy)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("b")
        await trio.sleep(1.0)
        assert written(log)[4:] == ["b is cancelled", "b ends", *expected]
        supervisor.stop()


async def test_a_temporary_child_that_was_stopped_for_a_sibling_does_not_come_back(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log)),
        ChildSpec(id="b", start=fake("b", log), restart=TEMPORARY),
        strategy=Strategy.ONE_FOR_ALL,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(1.0)
        assert written(log)[-2:] == ["b ends", "a starts"]
        assert [info.id for info in supervisor.children()] == ["a"]
        supervisor.stop()


async def test_a_sibling_that_had_returned_is_started_again_with_the_others(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log, lives_s=2.0, ends_with=ValueError(), first_lives=1)),
        ChildSpec(id="b", start=fake("b", log, lives_s=1.0, first_lives=1), restart=TRANSIENT),
        strategy=Strategy.ONE_FOR_ALL,
    )
    await stopped_after(supervisor, 3.0)
    assert log[2:6] == [(1.0, "b ends"), (2.0, "a ends"), (2.0, "a starts"), (2.0, "b starts")]


async def test_a_crash_of_a_sibling_that_is_being_stopped_counts_for_nothing(autojump_clock: MockClock) -> None:
    log, events = Log(), Events()
    error = OSError("close failed")
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log)),
        ChildSpec(id="b", start=fake("b", log, stops_in_s=1.0, stops_with=error)),
        strategy=Strategy.ONE_FOR_ALL,
        policy=RestartPolicy(intensity=1),
        on_event=events.append,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(2.0)
        assert log[-2:] == [(1.0, "a starts"), (1.0, "b starts")]
        supervisor.stop()
    stopped = events.of(ChildStopped)[0]
    assert (stopped.child, stopped.reason, stopped.error) == ("b", "OSError: close failed", error)


async def test_all_siblings_wait_for_the_backoff_of_the_child_that_crashed(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log)),
        ChildSpec(id="b", start=fake("b", log), backoff=Backoff(first_s=0.5)),
        strategy=Strategy.ONE_FOR_ALL,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("b")
        await trio.sleep(1.0)
        assert log[-2:] == [(0.5, "a starts"), (0.5, "b starts")]
        supervisor.stop()


async def test_a_slow_stop_of_a_sibling_runs_at_the_same_time_as_the_backoff(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log), backoff=Backoff(first_s=0.5)),
        ChildSpec(id="b", start=fake("b", log, stops_in_s=0.75)),
        strategy=Strategy.REST_FOR_ONE,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(1.0)
        assert log[-3:] == [(0.75, "b ends"), (0.75, "a starts"), (0.75, "b starts")]
        supervisor.stop()


async def test_an_earlier_child_that_crashes_during_the_backoff_of_a_later_one_does_not_shorten_it(
    autojump_clock: MockClock,
) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log)),
        ChildSpec(id="b", start=fake("b", log), backoff=Backoff(first_s=1.0)),
        ChildSpec(id="c", start=fake("c", log)),
        strategy=Strategy.REST_FOR_ONE,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("b")
        await trio.sleep(0.5)
        supervisor.cancel("a")
        await trio.sleep(1.0)
        assert log[-3:] == [(0.5, "a starts"), (1.0, "b starts"), (1.0, "c starts")]
        supervisor.stop()


# ── backoff and giving up ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_backoff_is_measured_from_the_failure(autojump_clock: MockClock) -> None:
    log: Log = []
    spec = ChildSpec(id="a", start=fake("a", log, lives_s=1.0, ends_with=ValueError()))
    await stopped_after(supervisor_of(spec, policy=RestartPolicy(intensity=9, backoff=STEADY)), 4.5)
    assert [at for at, line in log if line == "a starts"] == [0.0, 1.0, 3.0]


async def test_the_seed_alone_decides_the_jitter_and_a_second_run_does_not_repeat_it(autojump_clock: MockClock) -> None:
    async def waits(seed: int) -> list[list[float]]:
        events = Events()
        spec = ChildSpec(id="a", start=fake("a", [], lives_s=1.0, ends_with=ValueError()))
        supervisor = supervisor_of(spec, policy=RestartPolicy(), on_event=events.append, seed=seed)
        runs = []
        for _ in range(2):
            events.clear()
            await stopped_after(supervisor, 4.5)
            runs.append([event.after_s for event in events.of(RestartScheduled)])
        return runs

    first, again, other = await waits(1), await waits(1), await waits(2)
    assert first == again
    assert first[0][:1] == first[1][:1] == other[0][:1] == [0.0]
    assert len({tuple(run) for run in (*first, *other)}) == 4


async def test_a_backoff_holds_up_no_other_child(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log), backoff=Backoff(first_s=1.0)), ChildSpec(id="b", start=fake("b", log))
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(0.5)
        supervisor.cancel("b")
        await trio.sleep(1.0)
        assert [line for line in log if "starts" in line[1]][2:] == [(0.5, "b starts"), (1.0, "a starts")]
        supervisor.stop()


async def test_a_slow_start_holds_up_no_other_child(autojump_clock: MockClock) -> None:
    log: Log = []

    async def slow_again(*, task_status: Incarnation) -> None:
        await trio.sleep(0.0 if task_status.number == 1 else 5.0)
        task_status.started()
        await trio.sleep_forever()

    supervisor = supervisor_of(
        ChildSpec(id="a", start=slow_again, shutdown_s=0.0), ChildSpec(id="b", start=fake("b", log))
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(1.0)
        supervisor.cancel("b")
        await trio.sleep(1.0)
        assert log[-1] == (1.0, "b starts")
        supervisor.stop()


async def test_a_backoff_does_not_hold_up_a_stop(autojump_clock: MockClock) -> None:
    supervisor = supervisor_of(ChildSpec(id="a", start=crashes, backoff=Backoff(first_s=100.0, maximum_s=100.0)))
    await stopped_after(supervisor, 2.0)
    assert trio.current_time() == 2.0


@pytest.mark.parametrize(("intensity", "gives_up"), [(3, False), (2, True)])
async def test_one_failure_more_than_the_intensity_stops_all_in_reverse_and_raises(
    autojump_clock: MockClock, *, intensity: int, gives_up: bool
) -> None:
    log, events = Log(), Events()
    error = ValueError("broken")
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log)),
        ChildSpec(id="b", start=fake("b", log, lives_s=1.0, ends_with=error, first_lives=3)),
        ChildSpec(id="c", start=fake("c", log)),
        policy=RestartPolicy(intensity=intensity, period_s=10.0, backoff=Backoff(minimum_s=0.0)),
        on_event=events.append,
    )
    if not gives_up:
        await stopped_after(supervisor, 20.0)
        assert not events.of(GaveUp)
        return
    with pytest.raises(GaveUpError, match=r"'top' gave up on child 'b' at failure 3: ValueError: broken") as raised:
        await supervisor.run()
    assert log[-3:] == [(3.0, "b ends"), (3.0, "c ends"), (3.0, "a ends")]
    assert (raised.value.child, raised.value.reason) == ("b", "ValueError: broken")
    assert [failure.failed_at for failure in raised.value.history] == [1.0, 2.0, 3.0]
    assert raised.value.__cause__ is error
    assert [(event.child, event.history) for event in events.of(GaveUp)] == [("b", raised.value.history)]


async def test_failures_of_different_children_fill_one_window(autojump_clock: MockClock) -> None:
    specs = [ChildSpec(id=each, start=fake(each, [], lives_s=1.0, ends_with=OSError())) for each in "ab"]
    with pytest.raises(GaveUpError):
        await supervisor_of(*specs, policy=RestartPolicy(intensity=1)).run()
    assert trio.current_time() == 1.0


async def test_useful_output_makes_the_next_restart_immediate_again(autojump_clock: MockClock) -> None:
    log: Log = []
    spec = ChildSpec(id="a", start=fake("a", log, lives_s=1.0, ends_with=ValueError()))
    supervisor = supervisor_of(spec, policy=RestartPolicy(intensity=9, backoff=STEADY))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await trio.sleep(1.5)
        supervisor.useful("a")
        await trio.sleep(1.0)
        supervisor.stop()
    assert [at for at, line in log if line == "a starts"] == [0.0, 1.0, 2.0]


async def test_a_changed_policy_is_obeyed_from_the_next_failure_on_and_in_the_next_run(
    autojump_clock: MockClock,
) -> None:
    supervisor = supervisor_of(ChildSpec(id="a", start=crashes))
    with pytest.RaisesGroup(GaveUpError):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            await trio.sleep(1.5)
            supervisor.change_policy(RestartPolicy(intensity=1))
    assert trio.current_time() == 2.0
    with pytest.raises(GaveUpError):
        await supervisor.run()
    assert trio.current_time() == 4.0


# ── significant children ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("auto_shutdown", "restart", "a_start", "b_lives_s", "ends_at"),
    [
        (AutoShutdown.ANY_SIGNIFICANT, TRANSIENT, returns, 3.0, 1.0),
        (AutoShutdown.ANY_SIGNIFICANT, TEMPORARY, returns, 3.0, 1.0),
        (AutoShutdown.ANY_SIGNIFICANT, TEMPORARY, crashes, 3.0, 1.0),
        (AutoShutdown.ANY_SIGNIFICANT, TRANSIENT, crashes, 3.0, 3.0),  # a crashed transient child comes back
        (AutoShutdown.ALL_SIGNIFICANT, TRANSIENT, returns, 3.0, 3.0),
        (AutoShutdown.ALL_SIGNIFICANT, TEMPORARY, crashes, 3.0, 3.0),
        (AutoShutdown.ALL_SIGNIFICANT, TEMPORARY, returns, 0.5, 1.0),
    ],
)
async def test_the_end_of_significant_children_stops_the_supervisor(
    autojump_clock: MockClock,
    *,
    auto_shutdown: AutoShutdown,
    restart: RestartType,
    a_start: Start,
    b_lives_s: float,
    ends_at: float,
) -> None:
    log, events = Log(), Events()
    supervisor = supervisor_of(
        ChildSpec(id="other", start=fake("other", log)),
        ChildSpec(id="a", start=a_start, restart=restart, significant=True, shutdown_s=0.0),
        ChildSpec(id="b", start=fake("b", log, lives_s=b_lives_s), restart=TRANSIENT, significant=True),
        auto_shutdown=auto_shutdown,
        on_event=events.append,
    )
    await supervisor.run()
    assert trio.current_time() == ends_at
    assert len(events.of(SignificantEnded)) == 1
    assert log[-1] == (ends_at, "other ends")


async def test_a_significant_child_that_waits_for_its_restart_still_counts(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(
            id="a",
            start=fake("a", log, lives_s=1.0, ends_with=ValueError(), first_lives=1),
            restart=TRANSIENT,
            significant=True,
            backoff=Backoff(first_s=1.0),
        ),
        ChildSpec(id="b", start=fake("b", [], lives_s=1.5), restart=TRANSIENT, significant=True),
        auto_shutdown=AutoShutdown.ALL_SIGNIFICANT,
    )
    await stopped_after(supervisor, 5.0)
    assert log[2:] == [(2.0, "a starts"), (5.0, "a ends")]


async def test_a_significant_child_that_is_terminated_or_stopped_for_a_sibling_ends_nothing(
    autojump_clock: MockClock,
) -> None:
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", [])),
        ChildSpec(id="b", start=fake("b", []), restart=TEMPORARY, significant=True),
        ChildSpec(id="c", start=fake("c", []), restart=TRANSIENT, significant=True),
        strategy=Strategy.REST_FOR_ONE,
        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.terminate_child("b")
        await trio.sleep(1.0)
        supervisor.cancel("a")
        await trio.sleep(1.0)
        assert [info.state for info in supervisor.children()] == [ChildState.RUNNING, ChildState.RUNNING]
        supervisor.stop()


async def test_a_child_that_could_never_end_the_supervisor_may_not_be_significant(autojump_clock: MockClock) -> None:
    with pytest.raises(ValueError, match="'a' is permanent"):
        ChildSpec(id="a", start=returns, significant=True)
    spec = ChildSpec(id="a", start=returns, restart=TRANSIENT, significant=True)
    with pytest.raises(ValueError, match=r"'a' is significant.*'never'"):
        supervisor_of(spec)


# ── nesting ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_supervisor_that_gives_up_is_one_crash_to_its_parent(autojump_clock: MockClock) -> None:
    events = Events()
    inner = Supervisor(
        name="inner",
        specs=[ChildSpec(id="a", start=fake("a", [], lives_s=1.0, ends_with=ValueError("broken")))],
        policy=RestartPolicy(intensity=1, backoff=Backoff(minimum_s=0.0)),
        on_event=events.append,
    )
    outer = supervisor_of(
        ChildSpec(id="inner", start=inner.run), policy=RestartPolicy(intensity=1), on_event=events.append
    )
    with pytest.raises(GaveUpError, match=r"'top' gave up on child 'inner' .* 2: GaveUpError: .*'inner'.*'a'"):
        await outer.run()
    assert trio.current_time() == 4.0
    assert [(event.supervisor, event.happened_at) for event in events.of(GaveUp)] == [
        ("inner", 2.0),
        ("inner", 4.0),
        ("top", 4.0),
    ]


async def test_a_tree_stops_in_reverse_order_through_all_levels(autojump_clock: MockClock) -> None:
    log: Log = []
    inner = supervisor_of(*(ChildSpec(id=each, start=fake(each, log, stops_in_s=1.0)) for each in "bc"))
    outer = supervisor_of(
        ChildSpec(id="a", start=fake("a", log, stops_in_s=1.0)),
        ChildSpec(id="inner", start=inner.run),
        ChildSpec(id="d", start=fake("d", log, stops_in_s=1.0)),
    )
    await stopped_after(outer, 0.0)
    assert log == [
        *((0.0, f"{each} starts") for each in "abcd"),
        *((float(index + 1), f"{each} ends") for index, each in enumerate("dcba")),
    ]


async def test_a_supervisor_is_up_as_a_child_when_all_its_children_are(autojump_clock: MockClock) -> None:
    log: Log = []
    inner = supervisor_of(ChildSpec(id="a", start=fake("a", log, starts_in_s=2.0)))
    outer = supervisor_of(ChildSpec(id="inner", start=inner.run), ChildSpec(id="b", start=fake("b", log)))
    await stopped_after(outer, 0.0)
    assert log[:2] == [(0.0, "a starts"), (2.0, "b starts")]


async def test_a_supervisor_that_is_killed_gives_its_children_no_more_time(autojump_clock: MockClock) -> None:
    log, events = Log(), Events()
    inner = supervisor_of(
        *(ChildSpec(id=each, start=fake(each, log, stops_in_s=3.0)) for each in "ab"), on_event=events.append
    )
    outer = supervisor_of(ChildSpec(id="inner", start=inner.run, restart=TEMPORARY))
    async with trio.open_nursery() as nursery:
        await nursery.start(outer.run)
        await trio.sleep(1.0)
        outer.cancel("inner")
        await trio.sleep(1.0)
        assert log[2:] == [(1.0, f"{what}") for what in ("b is cancelled", "b ends", "a is cancelled", "a ends")]
        outer.stop()
    assert [event.overran for event in events.of(ChildStopped)] == [False, False]


async def test_a_supervisor_that_outlasts_its_own_shutdown_time_is_cut_short(autojump_clock: MockClock) -> None:
    log: Log = []
    inner = supervisor_of(*(ChildSpec(id=each, start=fake(each, log, stops_in_s=3.0)) for each in "ab"))
    outer = supervisor_of(ChildSpec(id="inner", start=inner.run, shutdown_s=4.0))
    await stopped_after(outer, 0.0)
    assert log[2:] == [(3.0, "b ends"), (4.0, "a is cancelled"), (4.0, "a ends")]


async def test_incarnations_are_numbered_on_when_a_supervisor_runs_again(autojump_clock: MockClock) -> None:
    numbers: list[int] = []

    async def counted(*, task_status: Incarnation) -> None:
        numbers.append(task_status.number)
        task_status.started()
        await trio.sleep_forever()

    supervisor = supervisor_of(
        ChildSpec(id="a", start=counted, shutdown_s=0.0),
        ChildSpec(id="b", start=counted, restart=TEMPORARY, shutdown_s=0.0),
    )
    await stopped_after(supervisor, 1.0)
    await stopped_after(supervisor, 1.0)
    assert numbers == [1, 1, 2, 2]


async def test_a_supervisor_does_not_run_twice_at_the_same_time(autojump_clock: MockClock) -> None:
    supervisor = supervisor_of()
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        with pytest.raises(RuntimeError, match="'top' is running already"):
            await supervisor.run()
        supervisor.stop()


# ── cancellation from outside ─────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelling_the_scope_around_it_stops_the_children_in_order_with_their_time(
    autojump_clock: MockClock,
) -> None:
    log: Log = []
    specs = [ChildSpec(id=each, start=fake(each, log, stops_in_s=1.0), shutdown_s=2.0) for each in "ab"]
    with trio.move_on_after(5.0) as scope:
        await supervisor_of(*specs).run()
    assert scope.cancelled_caught
    assert log[2:] == [(6.0, "b ends"), (7.0, "a ends")]


async def test_being_cancelled_takes_at_most_the_sum_of_the_shutdown_times(autojump_clock: MockClock) -> None:
    specs = [ChildSpec(id=each, start=fake(each, [], stops_in_s=math.inf), shutdown_s=2.0) for each in "ab"]
    inner = supervisor_of(*specs)
    with trio.move_on_after(5.0):
        await supervisor_of(ChildSpec(id="inner", start=inner.run, shutdown_s=3.0), specs[0]).run()
    assert trio.current_time() == 10.0


async def test_being_cancelled_while_stopping_takes_no_time_from_the_children(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", log, stops_in_s=2.0)))
    with trio.move_on_after(1.0):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            supervisor.stop()
    assert log[1:] == [(2.0, "a ends")]


async def test_a_crash_that_meets_a_cancellation_neither_escapes_nor_hides_it(autojump_clock: MockClock) -> None:
    for crash_at in (4.75, 5.0, 5.25):
        error = ValueError("broken")
        supervisor = supervisor_of(
            ChildSpec(id="a", start=fake("a", [], lives_s=crash_at, ends_with=error)),
            ChildSpec(id="b", start=fake("b", [], stops_in_s=1.0, stops_with=error)),
            policy=RestartPolicy(intensity=0),  # so that 4.75 and perhaps 5.0 give up
        )
        with trio.move_on_after(5.0) as scope:
            await supervisor.run()
        assert scope.cancelled_caught


async def test_a_cancellation_during_the_first_start_leaves_nothing(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log)),
        ChildSpec(id="b", start=fake("b", log, starts_in_s=math.inf), shutdown_s=1.0),
    )
    with trio.move_on_after(5.0) as scope:
        await supervisor.run()
    assert scope.cancelled_caught
    assert log[2:] == [(6.0, "b is cancelled"), (6.0, "b ends"), (6.0, "a ends")]


# ── children that come and go ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_child_can_be_added_and_is_stopped_first(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", log)))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.start_child(ChildSpec(id="b", start=fake("b", log)))
        await trio.sleep(1.0)
        supervisor.stop()
    assert log == [(0.0, "a starts"), (0.0, "b starts"), (1.0, "b ends"), (1.0, "a ends")]


async def test_a_temporary_child_is_forgotten_when_it_ends_and_its_name_is_free_again(
    autojump_clock: MockClock,
) -> None:
    events = Events()
    supervisor = supervisor_of(on_event=events.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        for _ in range(2):
            supervisor.start_child(ChildSpec(id="once", start=returns, restart=TEMPORARY))
            await trio.sleep(2.0)
            assert supervisor.children() == ()
        supervisor.stop()
    assert [event.incarnation for event in events.of(ChildStarted)] == [1, 1]
    assert supervisor._numbers == {}


async def test_a_handle_stops_its_child_for_good_and_later_does_nothing(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of()
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        spec = ChildSpec(id="a", start=fake("a", log), restart=TEMPORARY, shutdown_s=0.0)
        first = supervisor.start_child(spec)
        await trio.sleep(1.0)
        first.cancel()
        await trio.sleep(1.0)
        supervisor.start_child(spec)
        first.cancel()  # not the child that has its name now
        await trio.sleep(1.0)
        assert [info.state for info in supervisor.children()] == [ChildState.RUNNING]
        supervisor.stop()
    assert log[:3] == [(0.0, "a starts"), (1.0, "a is cancelled"), (1.0, "a ends")]


async def test_a_handle_stops_its_child_before_it_was_even_started(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of()
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.start_child(ChildSpec(id="a", start=fake("a", log), restart=TEMPORARY)).cancel()
        assert supervisor.children() == ()
        await trio.sleep(1.0)
        supervisor.stop()
    assert log == []


async def test_a_child_added_while_everything_stops_is_not_started_and_that_is_told(autojump_clock: MockClock) -> None:
    log, events = Log(), Events()
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", log, stops_in_s=1.0)), on_event=events.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.stop()
        supervisor.start_child(ChildSpec(id="b", start=fake("b", log), restart=TEMPORARY)).cancel()
    assert written(log) == ["a starts", "a ends"]
    assert [(event.child, event.incarnation) for event in events.of(ChildFailed)] == [("b", 0)]


async def test_an_added_child_that_fails_to_start_is_a_failure_like_any_other(autojump_clock: MockClock) -> None:
    async def refuses(*, task_status: Incarnation) -> None:
        raise OSError("refused")

    events = Events()
    supervisor = supervisor_of(policy=RestartPolicy(intensity=1, backoff=STEADY), on_event=events.append)
    with pytest.RaisesGroup(GaveUpError):
        async with trio.open_nursery() as nursery:
            await nursery.start(supervisor.run)
            supervisor.start_child(ChildSpec(id="a", start=refuses))
    assert [event.reason for event in events.of(ChildFailed)] == ["OSError: refused"] * 2


async def test_an_added_child_does_not_wait_for_the_first_start_of_others_unless_order_matters(
    autojump_clock: MockClock,
) -> None:
    for strategy, starts_at in ((Strategy.ONE_FOR_ONE, 1.0), (Strategy.REST_FOR_ONE, 2.0)):
        log: Log = []
        supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", [], starts_in_s=2.0)), strategy=strategy)
        begun_at = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            await trio.sleep(1.0)
            supervisor.start_child(ChildSpec(id="b", start=fake("b", log)))
            await trio.sleep(2.0)
            supervisor.stop()
        assert log[0] == (begun_at + starts_at, "b starts")


async def test_where_order_matters_an_added_child_waits_for_the_backoff_of_one_before_it(
    autojump_clock: MockClock,
) -> None:
    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", log), backoff=Backoff(first_s=1.0)), strategy=Strategy.REST_FOR_ONE
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(0.5)
        supervisor.start_child(ChildSpec(id="b", start=fake("b", log)))
        await trio.sleep(1.0)
        assert log[-2:] == [(1.0, "a starts"), (1.0, "b starts")]
        supervisor.stop()


async def test_two_children_may_not_have_one_name(autojump_clock: MockClock) -> None:
    spec = ChildSpec(id="a", start=fake("a", []))
    with pytest.raises(ValueError, match="'top' has a child 'a' already"):
        supervisor_of(spec, spec)
    supervisor = supervisor_of(spec)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        with pytest.raises(ValueError, match="'top' has a child 'a' already"):
            supervisor.start_child(spec)
        supervisor.stop()


async def test_a_child_cannot_be_added_to_a_supervisor_that_does_not_run(autojump_clock: MockClock) -> None:
    supervisor = supervisor_of()
    spec = ChildSpec(id="a", start=returns)
    with pytest.raises(RuntimeError, match="'top' is not running: it cannot start 'a'"):
        supervisor.start_child(spec)
    await stopped_after(supervisor, 0.0)
    with pytest.raises(RuntimeError, match="not running"):
        supervisor.start_child(spec)


async def test_a_terminated_child_stays_down_until_it_is_restarted(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", log)))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.terminate_child("a")
        await trio.sleep(1.0)
        assert [info.state for info in supervisor.children()] == [ChildState.STOPPED]
        supervisor.restart_child("a")
        await trio.sleep(1.0)
        with pytest.raises(RuntimeError, match="'a' is running"):
            supervisor.restart_child("a")
        supervisor.stop()
    assert log == [(0.0, "a starts"), (0.0, "a ends"), (1.0, "a starts"), (2.0, "a ends")]


async def test_terminating_children_does_not_make_one_wait_for_another(autojump_clock: MockClock) -> None:
    log: Log = []
    supervisor = supervisor_of(*(ChildSpec(id=each, start=fake(each, log, stops_in_s=1.0)) for each in "ab"))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.terminate_child("a")
        supervisor.terminate_child("b")
        await trio.sleep(2.0)
        supervisor.stop()
    assert sorted(log[2:]) == [(1.0, "a ends"), (1.0, "b ends")]


async def test_terminating_a_child_calls_off_its_restart(autojump_clock: MockClock) -> None:
    log: Log = []
    spec = ChildSpec(id="a", start=fake("a", log), backoff=Backoff(first_s=1.0))
    supervisor = supervisor_of(spec)
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(0.5)
        supervisor.terminate_child("a")
        await trio.sleep(2.0)
        assert log[-1] == (0.0, "a ends")
        supervisor.stop()


async def test_restarting_a_child_by_hand_does_not_wait_for_a_backoff_that_was_called_off(
    autojump_clock: MockClock,
) -> None:
    log: Log = []
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", log), backoff=Backoff(first_s=1.0)))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(0.5)
        supervisor.terminate_child("a")
        supervisor.restart_child("a")
        await trio.sleep(2.0)
        assert log[-1] == (0.5, "a starts")
        supervisor.stop()


@pytest.mark.parametrize("ask", [Supervisor.cancel, Supervisor.terminate_child, Supervisor.restart_child])
async def test_an_unknown_child_is_named_with_those_that_are_known(
    autojump_clock: MockClock, ask: Callable[..., object]
) -> None:
    supervisor = supervisor_of(ChildSpec(id="a", start=fake("a", [])))
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        with pytest.raises(LookupError, match=r"'top' has no child 'z'; it has \['a'\]"):
            ask(supervisor, "z")
        supervisor.stop()


async def test_a_snapshot_shows_each_child_with_its_state_and_incarnation(autojump_clock: MockClock) -> None:
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", [])),
        ChildSpec(id="b", start=fake("b", []), backoff=Backoff(first_s=1.0)),
        ChildSpec(id="c", start=returns, restart=TRANSIENT),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        supervisor.cancel("a")
        await trio.sleep(1.25)
        supervisor.cancel("b")
        await trio.sleep(0.5)
        seen = [(info.id, info.state, info.incarnation, info.pid) for info in supervisor.children()]
        assert seen == [
            ("a", ChildState.RUNNING, 2, "top/a#2"),
            ("b", ChildState.WAITING, 1, ""),
            ("c", ChildState.STOPPED, 1, ""),
        ]
        supervisor.stop()


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_events_tell_what_was_seen_and_decided_in_order(autojump_clock: MockClock) -> None:
    events = Events()
    spec = ChildSpec(id="a", start=fake("a", [], lives_s=1.0, ends_with=ValueError("broken"), first_lives=1))
    await stopped_after(supervisor_of(spec, on_event=events.append), 2.0)

    def told(kind: Callable[..., SupervisionEvent], happened_at: float, incarnation: int, **more: object) -> object:
        return kind(happened_at=happened_at, supervisor="top", child="a", incarnation=incarnation, **more)

    assert events == [
        told(ChildStarted, 0.0, 1),
        told(ChildFailed, 1.0, 1, reason="ValueError: broken"),
        told(RestartScheduled, 1.0, 1, after_s=0.0),
        told(ChildRestarted, 1.0, 2),
        told(ChildStopped, 2.0, 2, overran=False),
    ]


async def test_an_observer_that_raises_breaks_nothing_and_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(event: SupervisionEvent) -> None:
        raise ValueError("observer broken")

    log: Log = []
    spec = ChildSpec(id="a", start=fake("a", log, lives_s=1.0, ends_with=OSError(), first_lives=1))
    await stopped_after(supervisor_of(spec, on_event=breaks), 2.0)
    assert log[-1] == (2.0, "a ends")
    assert "on_event raised" in caplog.text
    assert "observer broken" in caplog.text


@pytest.mark.parametrize(
    ("kind", "lives_of_b"), [(ChildStarted, 0), (ChildFailed, 1), (RestartScheduled, 1), (ChildRestarted, 2)]
)
async def test_an_observer_may_stop_the_supervisor(
    autojump_clock: MockClock, kind: type[SupervisionEvent], lives_of_b: int
) -> None:
    def stops(event: SupervisionEvent) -> None:
        if type(event) is kind:
            supervisor.stop()

    log: Log = []
    supervisor = supervisor_of(
        ChildSpec(id="a", start=fake("a", [])),
        ChildSpec(id="b", start=fake("b", log, lives_s=1.0, ends_with=OSError())),
        on_event=stops,
    )
    await supervisor.run()
    assert {info.state for info in supervisor.children()} == {ChildState.STOPPED}
    assert written(log) == ["b starts", "b ends"] * lives_of_b
