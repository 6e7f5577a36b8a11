"""One run of a tool: recorded before it begins, run once for its id, bounded in time, and never an exception."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import attrs
import pytest
import structlog.testing
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.messages.conversation import Json
from engine.messages.model import CallTool, ToolReturned
from engine.storage.ledger import ToolRun, ToolStatus
from engine.storage.runner import in_thread, inline
from engine.storage.store import Store
from engine.tools.arguments import Between
from engine.tools.tool import Answer, IdempotencyKey, Refused, Tool, tool
from engine.tools.toolbox import CallContext, Toolbox

CALL = CallContext(call_sid="CA1", tenant="clinic", caller="+15550001")


@attrs.frozen
class World:
    """What the tools below do, and where they can be held."""

    done: list[str] = attrs.field(factory=list)
    go: threading.Event = attrs.field(factory=threading.Event)
    begun: trio.Event = attrs.field(factory=trio.Event)
    inside: list[Callable[[], object]] = attrs.field(factory=list)


@tool(changes_world=True, timeout_s=5.0)
def ring(world: World, key: IdempotencyKey, times: Annotated[int, Between(1, 3)] = 1) -> Answer:
    """Ring a bell."""
    if f"{key} x{times}" not in world.done:
        world.done.append(f"{key} x{times}")
    for look in world.inside:
        look()
    return {"rang": times}


@tool(changes_world=False, timeout_s=5.0)
def refuse(world: World) -> Answer:
    """Say no."""
    world.done.append("refused")
    return Refused("the bell is gone", {"offer": "a gong"})


@tool(changes_world=False, timeout_s=5.0)
def break_down(world: World) -> Answer:
    """Break."""
    world.done.append("broke")
    raise ZeroDivisionError("a secret of ours")


@tool(changes_world=True, timeout_s=5.0)
def answer_nonsense(world: World, key: IdempotencyKey) -> Answer:
    """Answer with what is no JSON."""
    return {"at": datetime.now(UTC)}  # type: ignore[dict-item]


@tool(changes_world=True, timeout_s=2.0)
def hang(world: World, key: IdempotencyKey) -> Answer:
    """Wait."""
    trio.from_thread.run_sync(world.begun.set)
    world.go.wait(10)
    world.done.append(key)
    return {"late": True}


@tool(changes_world=False, timeout_s=2.0)
def look_long(world: World) -> Answer:
    """Look for a long time."""
    trio.from_thread.run_sync(world.begun.set)
    world.go.wait(10)
    return {}


TOOLS = (ring, refuse, break_down, answer_nonsense, hang, look_long)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}", busy_s=0.05) as store:
        yield store


def toolbox(world: World, tools: tuple[Tool, ...] = TOOLS) -> Toolbox:
    return Toolbox(tools=tools, context=world, call=CALL)


def ask(name: str, arguments: Mapping[str, Json] | None = None, id: str = "t1") -> CallTool:  # noqa: A002
    return CallTool(id=id, turn=3, name=name, arguments=arguments or {})


def ledger(store: Store, name: str, arguments: Mapping[str, Json] | None = None) -> ToolRun:
    return store.record_tool("CA1/t1", call_sid="CA1", turn=3, name=name, arguments=arguments or {})


def failed(error: str, **more: Json) -> ToolReturned:
    return ToolReturned(id="t1", ok=False, value={"error": error, **more})


@pytest.mark.parametrize(
    ("asked", "returned"),
    [
        (ask("ring", {"times": 2}), ToolReturned(id="t1", ok=True, value={"rang": 2})),
        (ask("refuse"), failed("the bell is gone", offer="a gong")),
        (ask("ring", {"times": 4}), failed("ring was not run: times: 4 is out of range; allowed: 1 to 3")),
        (ask("ring", {"tims": 1}), failed("ring was not run: unknown argument 'tims'; did you mean 'times'?")),
        (ask("break_down"), failed("break_down failed")),
        (
            ask("answer_nonsense"),
            failed("answer_nonsense failed; it may have taken effect all the same: look before trying again"),
        ),
        (
            ask("sing"),
            failed(
                "sing was not run: unknown tool 'sing'; known: 'ring', 'refuse', 'break_down', 'answer_nonsense', "
                "'hang', 'look_long'"
            ),
        ),
    ],
)
async def test_every_run_has_a_result_which_the_ledger_keeps_and_gives_again(
    world: World, store: Store, asked: CallTool, returned: ToolReturned
) -> None:
    box = toolbox(world)
    assert await box.run(asked, runner=inline, store=store) == returned
    run = ledger(store, asked.name, asked.arguments)
    assert (run.status, run.result) == (ToolStatus.DONE if returned.ok else ToolStatus.FAILED, returned.value)
    done = list(world.done)
    assert await box.run(asked, runner=inline, store=store) == returned
    assert world.done == done


async def test_the_id_is_recorded_before_the_tool_begins(world: World, store: Store) -> None:
    world.inside.append(lambda: seen.append(ledger(store, "ring").status))
    seen: list[ToolStatus] = []
    await toolbox(world).run(ask("ring"), runner=inline, store=store)
    assert seen == [ToolStatus.RECORDED]


async def test_ids_of_two_calls_do_not_meet(world: World, store: Store) -> None:
    await toolbox(world).run(ask("ring"), runner=inline, store=store)
    other = Toolbox(tools=TOOLS, context=world, call=attrs.evolve(CALL, call_sid="CA2"))
    await other.run(ask("ring"), runner=inline, store=store)
    assert world.done == ["CA1/t1 x1", "CA2/t1 x1"]


@pytest.mark.parametrize("second", [ask("refuse"), ask("ring", {"times": 2})])
async def test_an_id_that_is_used_for_another_run_is_refused(world: World, store: Store, second: CallTool) -> None:
    await toolbox(world).run(ask("ring"), runner=inline, store=store)
    assert await toolbox(world).run(second, runner=inline, store=store) == failed(
        "the id t1 was used before, for another run of ring"
    )
    assert world.done == ["CA1/t1 x1"]


async def test_a_run_that_a_crash_cut_short_is_asked_again_with_the_same_key(world: World, store: Store) -> None:
    ledger(store, "ring")
    ring.function(world, key="CA1/t1", times=1)  # and the process died before the outcome was written
    with structlog.testing.capture_logs() as logs:
        returned = await toolbox(world).run(ask("ring"), runner=inline, store=store)
    assert returned == ToolReturned(id="t1", ok=True, value={"rang": 1})
    assert world.done == ["CA1/t1 x1"]
    assert [(log["event"], log["id"]) for log in logs] == [("tool asked again", "CA1/t1")]


async def test_what_a_tool_raises_is_logged_with_its_id_and_kept_from_the_model(world: World, store: Store) -> None:
    with structlog.testing.capture_logs() as logs:
        returned = await toolbox(world).run(ask("break_down"), runner=inline, store=store)
    assert "secret" not in str(returned.value)
    (log,) = logs
    assert (log["event"], log["log_level"], log["id"], log["tool"]) == ("tool failed", "error", "CA1/t1", "break_down")
    assert log["exc_info"]


def lock(tmp_path: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder


async def test_a_tool_that_cannot_be_recorded_is_not_run(world: World, store: Store, tmp_path: Path) -> None:
    holder = lock(tmp_path)
    with structlog.testing.capture_logs() as logs:
        returned = await toolbox(world).run(ask("ring"), runner=inline, store=store)
    holder.close()
    assert returned == failed("ring could not be started; nothing was done")
    assert world.done == []
    assert "locked" in logs[0]["error"]


async def test_an_outcome_that_cannot_be_recorded_is_told_and_found_again_by_its_key(
    world: World, store: Store, tmp_path: Path
) -> None:
    holders: list[sqlite3.Connection] = []
    world.inside.append(lambda: holders.append(lock(tmp_path)))
    with structlog.testing.capture_logs() as logs:
        first = await toolbox(world).run(ask("ring"), runner=inline, store=store)
    holders.pop().close()
    world.inside.clear()
    assert [log["event"] for log in logs] == ["tool outcome not recorded"]
    assert ledger(store, "ring").status is ToolStatus.RECORDED
    assert await toolbox(world).run(ask("ring"), runner=inline, store=store) == first
    assert world.done == ["CA1/t1 x1"]


async def run_late(world: World, asked: CallTool, limiter: trio.CapacityLimiter, store: Store) -> ToolReturned:
    """Run a tool that has begun, or cannot begin, and let its time pass: on a clock that moves by this hand alone."""
    returned: list[ToolReturned] = []

    async def run() -> None:
        box = toolbox(world)
        returned.append(await box.run(asked, runner=in_thread(limiter, abandon_on_cancel=True), store=store))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        if limiter.available_tokens:
            await world.begun.wait()
        await trio.testing.wait_all_tasks_blocked()
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(hang.timeout_s)
    return returned[0]


async def test_a_late_tool_goes_on_and_writes_its_outcome_down(
    world: World, store: Store, mock_clock: trio.testing.MockClock
) -> None:
    limiter = trio.CapacityLimiter(1)
    with structlog.testing.capture_logs() as logs:
        assert await run_late(world, ask("hang"), limiter, store) == failed(
            "hang has given no answer in 2 s; it may have taken effect all the same: look before trying again"
        )
        assert ledger(store, "hang").status is ToolStatus.RECORDED
        assert limiter.borrowed_tokens == 1
        world.go.set()
        async with limiter:
            pass
    assert world.done == ["CA1/t1"]
    assert (ledger(store, "hang").status, ledger(store, "hang").result) == (ToolStatus.DONE, {"late": True})
    assert [(log["event"], log["id"]) for log in logs] == [("tool late", "CA1/t1"), ("tool finished late", "CA1/t1")]
    assert await toolbox(world).run(ask("hang"), runner=inline, store=store) == ToolReturned(
        id="t1", ok=True, value={"late": True}
    )


async def test_a_late_look_changes_nothing_and_says_so(
    world: World, store: Store, mock_clock: trio.testing.MockClock
) -> None:
    limiter = trio.CapacityLimiter(1)
    assert await run_late(world, ask("look_long"), limiter, store) == failed("look_long has given no answer in 2 s")
    world.go.set()
    async with limiter:
        pass


async def test_a_tool_that_finds_every_thread_taken_by_late_ones_is_not_begun(
    world: World, store: Store, mock_clock: trio.testing.MockClock
) -> None:
    limiter = trio.CapacityLimiter(1)
    await run_late(world, ask("hang"), limiter, store)
    with structlog.testing.capture_logs() as logs:
        returned = await run_late(world, ask("look_long", id="t2"), limiter, store)
    assert returned == attrs.evolve(failed("look_long could not be started; nothing was done"), id="t2")
    assert [log["event"] for log in logs] == ["tool not recorded"]
    world.go.set()
    async with limiter:
        assert world.done == ["CA1/t1"]


async def test_a_cancelled_call_gets_no_result_and_the_ledger_gets_the_outcome(world: World, store: Store) -> None:
    limiter = trio.CapacityLimiter(1)
    hold = attrs.evolve(hang, timeout_s=10.0)
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await toolbox(world, (hold,)).run(
                ask("hang"), runner=in_thread(limiter, abandon_on_cancel=True), store=store
            )
            pytest.fail("a cancelled run returned")

        nursery.start_soon(run)
        await world.begun.wait()
        nursery.cancel_scope.cancel()
    world.go.set()
    async with limiter:
        assert ledger(store, "hang").status is ToolStatus.DONE


async def test_a_run_that_is_cancelled_at_once_leaves_no_record(world: World, store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await toolbox(world).run(ask("ring"), runner=inline, store=store)
    assert scope.cancelled_caught
    assert ledger(store, "ring").is_new
    assert world.done == []


async def test_a_run_in_place_takes_no_virtual_time(
    world: World, store: Store, autojump_clock: trio.testing.MockClock
) -> None:
    assert (await toolbox(world).run(ask("ring"), runner=inline, store=store)).ok
    assert autojump_clock.current_time() == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(["ring", "refuse", "break_down", "times", "key"]) | st.text(
    st.characters(codec=None), max_size=100
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "\ud800"]), NAMES, st.dictionaries(NAMES, JSON, max_size=3)), max_size=4
    )
)
def test_whatever_a_model_asks_there_is_a_result_with_its_id(asked: list[tuple[str, str, dict[str, Any]]]) -> None:
    async def run() -> None:
        with Store.open("sqlite://") as store:
            for id_, name, arguments in asked:
                call = CallTool(id=id_, turn=1, name=name, arguments=arguments)
                returned = await toolbox(World()).run(call, runner=inline, store=store)
                assert returned.id == id_
                assert returned.ok or (isinstance(returned.value, dict) and returned.value["error"])

    with structlog.testing.capture_logs():
        trio.run(run)
