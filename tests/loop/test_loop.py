"""The loop: a step happens wholly or not at all, and after a raise it goes on with less and less."""

import math
import random
from itertools import pairwise

import attrs
import pytest
import trio
import trio.testing

from engine.loop import Kind, Remedy, StepRaised
from engine.messages.errors import EngineBug
from engine.messages.supervision import NEVER
from tests.loop.rig import ALL, EVENT, OLD, SAID, SAVED, Echo, Rig, Said, Toy, kept_alive

# A step.


def test_a_step_keeps_the_core_lets_the_message_go_and_sends() -> None:
    rig = Rig()
    rig.put("one", "two")
    rig.step()
    assert (rig.seen, rig.echoes, rig.cell.in_hand, rig.cell.waiting()) == (["one"], ["one"], None, 1)
    assert rig.uses == ["loop"]


def test_a_step_with_nothing_to_do_does_nothing() -> None:
    rig = Rig()
    rig.step()
    assert (rig.cell.core, rig.echoes, rig.uses) == (Toy(), [], [])


def test_a_step_that_raises_changes_nothing_and_the_message_stays_in_hand() -> None:
    rig = Rig()
    rig.put("good")
    rig.put("bad", boom=OLD)
    rig.step()
    rig.step()
    assert (rig.seen, rig.echoes) == (["good"], ["good"])
    assert rig.cell.in_hand is not None
    assert rig.cell.in_hand.message == Said("bad", OLD)


def test_a_message_to_nowhere_is_a_step_that_raises_and_nothing_was_sent() -> None:
    rig = Rig()
    rig.put("stray")
    rig.step()
    assert isinstance(rig.reports[0].error, EngineBug)
    assert str(rig.reports[0].error) == "toy may not send Stray; the wiring has no such edge"
    assert (rig.seen, rig.echoes) == ([], [])


@pytest.mark.parametrize("deadline", [math.nan, "soon", None])
def test_a_deadline_that_is_no_time_is_a_step_that_raises(deadline: float) -> None:
    rig = Rig()
    rig.wait_until(deadline)
    rig.step()
    assert [report.remedy for report in rig.reports] == [Remedy.FRESH]
    assert rig.cell.deadline == NEVER


def test_a_message_goes_to_all_that_the_wiring_names() -> None:
    rig = Rig()
    heard: list[object] = []
    rig.loop.outlets = {**rig.loop.outlets, Echo: (heard.append, heard.append)}
    rig.put("one")
    rig.step()
    assert heard == [Echo("one"), Echo("one")]


def test_what_raised_can_be_raised_again_by_a_test() -> None:
    rig = Rig()
    rig.now = 4.5
    rig.put("bad", boom=ALL)
    rig.step()
    report = rig.reports[0]
    assert (report.actor, report.kind, report.message, report.now) == ("toy", Kind.MESSAGE, Said("bad", ALL), 4.5)
    assert str(report) == "toy raised at Said; a fresh core, salvaged from the old one, gets the same message"
    assert isinstance(report.core, Toy)
    with pytest.raises(ValueError, match="bad"):
        report.core.handle(report.message, report.now)


def test_whoever_watches_cannot_break_what_is_watched() -> None:
    rig = Rig()

    def broken(_report: StepRaised) -> None:
        raise RuntimeError("no disk")

    rig.loop.raised = broken
    rig.put("bad", boom=OLD)
    with pytest.raises(StepRaised) as raised:
        rig.loop.step()
    assert raised.value.__notes__ == ["nobody was told: RuntimeError('no disk')"]
    rig.step()
    assert rig.seen == ["bad"]


# The ladder: fresh, aside, bare.


def remedies(rig: Rig) -> list[Remedy]:
    return [report.remedy for report in rig.reports]


def test_a_fresh_core_gets_the_same_message() -> None:
    rig = Rig()
    rig.put("good")
    rig.put("bad", boom=OLD)
    rig.work()
    assert remedies(rig) == [Remedy.FRESH]
    assert (rig.seen, rig.cell.core.make) == (["good", "bad"], "fresh")
    assert rig.losses == []


def test_a_message_at_which_a_fresh_core_raises_too_is_set_aside_and_counted() -> None:
    rig = Rig()
    rig.put("good")
    rig.put("bad", boom=ALL)
    rig.put("more")
    rig.work()
    assert remedies(rig) == [Remedy.FRESH, Remedy.ASIDE]
    assert rig.seen == ["good", "more"]
    assert rig.losses == [(SAID, "set aside")]
    assert rig.cell.counts == {f"set aside {SAID}": 1}
    assert rig.closings == []


def test_each_message_is_tried_with_a_fresh_core_before_it_is_set_aside() -> None:
    rig = Rig()
    rig.put("bad", "worse", boom=ALL)
    rig.work()
    assert remedies(rig) == [Remedy.FRESH, Remedy.ASIDE, Remedy.FRESH, Remedy.ASIDE]


def test_three_messages_set_aside_in_a_row_leave_a_bare_core_and_a_new_session() -> None:
    rig = Rig()
    rig.put("good")
    rig.work()
    rig.put("bad", "worse", "worst", boom=SAVED)
    rig.work()
    assert remedies(rig) == [Remedy.FRESH, Remedy.ASIDE, Remedy.FRESH, Remedy.ASIDE, Remedy.FRESH, Remedy.BARE]
    assert (rig.seen, rig.cell.core.make) == ([], "bare")
    assert rig.closings == [Remedy.BARE.value]
    assert [why for _, why in rig.losses] == ["set aside"] * 3


def test_a_message_that_is_handled_in_between_begins_the_count_anew() -> None:
    rig = Rig()
    for _ in range(4):
        rig.put("bad", boom=ALL)
        rig.put("good")
        rig.work()
    assert Remedy.BARE not in remedies(rig)
    assert rig.seen == ["good"] * 4


def test_a_raise_is_remembered_over_the_deaths_of_the_loop_only_until_a_message_is_handled() -> None:
    rig = Rig()
    rig.put("bad", boom=OLD)
    rig.work()
    rig.cell.core = attrs.evolve(rig.cell.core, make="first")
    rig.put("bad", boom=OLD)
    rig.work()
    assert remedies(rig) == [Remedy.FRESH, Remedy.FRESH]


def test_a_tick_cannot_be_set_aside_and_its_second_raise_leaves_a_bare_core() -> None:
    rig = Rig(core=Toy(boom=frozenset({("first", "tick"), ("fresh", "tick")})))
    rig.wait_until(1.0)
    rig.work()
    rig.now = 1.0
    rig.work()
    assert [(report.kind, report.remedy) for report in rig.reports] == [
        (Kind.TICK, Remedy.FRESH),
        (Kind.TICK, Remedy.BARE),
    ]
    assert (rig.cell.core.make, rig.cell.deadline) == ("bare", NEVER)
    assert rig.closings == [Remedy.BARE.value]


def test_raises_of_ticks_and_of_messages_are_counted_apart() -> None:
    rig = Rig(core=Toy(boom=frozenset({("first", "tick"), ("fresh", "tick")})))
    rig.wait_until(1.0)
    rig.work()
    rig.now = 1.0
    rig.step()
    rig.cell.deadline = 9.0  # another message comes before the next try
    rig.put("good")
    rig.step()
    rig.cell.deadline = 1.0
    rig.step()
    assert remedies(rig) == [Remedy.FRESH, Remedy.BARE]


def test_a_session_is_told_by_a_fresh_core_then_by_a_bare_one_then_closed() -> None:
    rig = Rig(core=Toy(boom=frozenset((make, "started") for make in ALL)))
    rig.seam(1).opened()
    rig.work()
    assert [(report.kind, report.remedy) for report in rig.reports] == [
        (Kind.STARTED, Remedy.FRESH),
        (Kind.STARTED, Remedy.BARE),
        (Kind.STARTED, Remedy.NEW_SESSION),
    ]
    assert rig.closings == [Remedy.NEW_SESSION.value]
    assert rig.cell.in_hand is None


def test_a_bare_core_may_open_the_session_that_others_could_not() -> None:
    rig = Rig(core=Toy(boom=frozenset((make, "started") for make in SAVED)))
    rig.seam(1).opened()
    rig.work()
    assert (rig.seen, rig.cell.core.make, rig.closings) == (["session 1"], "bare", [])


def test_salvage_that_raises_saves_less_and_the_same_message_follows() -> None:
    rig = Rig(core=Toy(seen=("kept?",), boom=frozenset({("first", "fresh")})))
    rig.put("bad", boom=OLD)
    rig.work()
    assert remedies(rig) == [Remedy.BARE]
    assert (rig.cell.core.make, rig.cell.core.seen) == ("bare", ("kept?", "bad"))


def test_salvage_that_raises_twice_goes_back_to_the_first_core() -> None:
    rig = Rig(core=Toy(boom=frozenset({("first", "fresh"), ("first", "bare")})))
    rig.put("good")
    rig.work()
    rig.put("bad", boom=OLD)
    rig.put("more")
    rig.work()
    assert rig.seen == ["more"]
    assert rig.cell.core.make == "first"
    assert rig.losses == [(SAID, "set aside")]


def test_numbers_that_a_core_has_lost_are_read_from_the_one_before_it() -> None:
    poisoned = Toy(boom=frozenset({("first", "message"), ("first", "fresh"), ("first", "bare")}))
    rig = Rig()
    rig.put("one")
    rig.work()
    rig.cell.previous, rig.cell.core = Toy(boom=frozenset({("never", "never")})), poisoned
    rig.put("two")
    rig.step()
    assert (rig.cell.core.make, rig.cell.core.boom) == ("bare", frozenset({("never", "never")}))


def test_the_strike_of_a_message_that_became_void_is_not_the_next_ones() -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    rig.work()
    rig.emit(seam, "old", OLD)
    rig.step()
    seam.closed()
    rig.put("new", boom=SAVED)
    rig.work()
    assert [report.remedy for report in rig.reports] == [Remedy.FRESH, Remedy.FRESH, Remedy.ASIDE]


def test_a_salvaged_core_with_a_deadline_that_is_no_time_is_not_taken() -> None:
    rig = Rig()
    rig.cell.core = attrs.evolve(rig.cell.core, deadline=math.nan, seen=("kept?",))
    rig.put("bad", boom=OLD)
    rig.work()
    assert rig.cell.core.make == "bare"


# Ticks.


def test_a_tick_comes_when_the_deadline_has_come() -> None:
    rig = Rig()
    rig.wait_until(1.0)
    rig.work()
    rig.now = 0.999
    rig.step()
    assert rig.seen == []
    rig.now = 1.0
    rig.step()
    assert rig.seen == ["tick 1"]
    assert rig.cell.deadline == 2.0


@pytest.mark.parametrize(
    ("put_at", "order"), [(0.9, ["one", "tick 3"]), (1.0, ["one", "tick 3"]), (1.1, ["tick 3", "one"])]
)
def test_a_tick_comes_after_what_arrived_before_it_was_due(put_at: float, order: list[str]) -> None:
    rig = Rig(core=Toy(later_s=5.0))
    rig.wait_until(1.0)
    rig.work()
    rig.now = put_at
    rig.put("one")
    rig.now = 3.0
    rig.work()
    assert rig.seen == order


def test_a_tick_that_does_not_move_the_deadline_on_raises() -> None:
    rig = Rig(core=Toy(later_s=0.0))
    rig.wait_until(1.0)
    rig.work()
    rig.now = 1.0
    rig.step()
    assert str(rig.reports[0].error) == "toy did not move its deadline 1.0 on at 1.0"
    assert rig.seen == []


def test_a_tick_leaves_the_message_in_hand_for_the_next_step() -> None:
    rig = Rig(core=Toy(later_s=5.0))
    rig.wait_until(1.0)
    rig.work()
    rig.now = 2.0
    rig.put("one")
    rig.step()
    assert rig.cell.in_hand is not None
    assert rig.uses == ["loop"]  # a tick is of no use to anybody: only the message before it was
    rig.step()
    assert rig.seen == ["tick 2", "one"]


# In time.


async def test_the_loop_waits_for_messages_and_for_deadlines(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    rig = Rig(core=Toy(later_s=10.0), clock=lambda: trio.current_time() - start)
    rig.loop.opened_at = start
    async with trio.open_nursery() as nursery:
        await nursery.start(kept_alive, rig)
        await trio.sleep(1.0)
        rig.wait_until(3.0)
        await trio.sleep(1.0)
        rig.put("one")
        await trio.sleep(3.0)
        rig.put("bad", boom=OLD)
        await trio.sleep(20.0)
        nursery.cancel_scope.cancel()
    assert rig.seen == ["one", "tick 3", "bad", "tick 13", "tick 23"]


async def test_a_message_that_waits_wakes_the_loop_without_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig(clock=trio.current_time)
    rig.put("one", "two")
    async with trio.open_nursery() as nursery:
        await nursery.start(kept_alive, rig)
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    assert rig.seen == ["one", "two"]


@pytest.mark.parametrize("seed", range(20))
async def test_a_cancellation_at_any_checkpoint_loses_nothing_and_doubles_nothing(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    dice = random.Random(seed)
    rig = Rig(clock=trio.current_time, core=Toy(later_s=0.7))
    rig.loop.opened_at = 0.0
    rig.wait_until(0.5)
    start = trio.current_time()
    told = [f"m{number}" for number in range(40)]

    async def tell() -> None:
        for text in told:
            if dice.random() < 0.5:
                await trio.sleep(dice.random() * 0.3)
            rig.put(text, boom=OLD if dice.random() < 0.1 else frozenset())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        while rig.cell.waiting() or rig.cell.in_hand or len(rig.seen) < 20 or trio.current_time() - start < 20:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    inner.start_soon(kept_alive, rig)
                    for _ in range(dice.randrange(4)):
                        await trio.lowlevel.checkpoint()
                    if dice.random() < 0.3:
                        await trio.sleep(dice.random() * 0.2)
                    scope.cancel()
    said = [text for text in rig.seen if not text.startswith("tick")]
    assert said == told
    assert [text for text in rig.echoes if not text.startswith("tick")] == told


async def test_a_loop_lets_others_run_between_two_steps_however_much_waits_for_it() -> None:
    rig, met = Rig(), list[int]()
    rig.put(*"abcdefgh", edge=EVENT)

    async def other() -> None:
        while len(rig.seen) < 8:
            met.append(len(rig.seen))
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        await nursery.start(rig.loop.run)
        await other()
        nursery.cancel_scope.cancel()
    # Of two who stand aside for each other, each may go first: never more than two steps in a row.
    assert max(after - before for before, after in pairwise([0, *met, 8])) <= 2


async def test_a_loop_is_cancelled_between_two_steps_however_much_waits_for_it() -> None:
    rig = Rig()
    with trio.CancelScope() as scope:
        rig.loop.outlets = {**rig.loop.outlets, Echo: (lambda _echo: scope.cancel(),)}
        rig.put(*"abc")
        await rig.loop.run()
    assert rig.seen == ["a"]
    assert rig.cell.in_hand is not None
