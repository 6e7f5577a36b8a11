"""The mailbox: nothing waits, nothing raises, and what is full or void is counted."""

import pytest
import trio
import trio.testing

from engine.mailbox import Envelope
from tests.loop.rig import EVENT, LOSSY, SAID, Rig, Said


@pytest.mark.parametrize(
    ("count", "lost", "seen"), [(3, 0, ["0", "1", "2"]), (4, 1, ["1", "2", "3"]), (7, 4, ["4", "5", "6"])]
)
def test_a_lossy_edge_drops_its_oldest_beyond_its_bound_and_counts_it(count: int, lost: int, seen: list[str]) -> None:
    rig = Rig()
    rig.put(*map(str, range(count)), edge=LOSSY)
    assert rig.cell.counts[f"dropped {LOSSY}"] == lost
    assert rig.losses == [(LOSSY, "edge full")] * lost
    rig.work()
    assert rig.seen == seen
    assert rig.stalls == []


def test_the_message_in_hand_is_not_waiting_any_more() -> None:
    rig = Rig()
    rig.put("0", edge=LOSSY)
    rig.cell.take_nowait()
    rig.put("1", "2", "3", edge=LOSSY)
    rig.work()
    assert rig.seen == ["0", "1", "2", "3"]


def test_an_edge_has_a_bound_of_its_own_whatever_lies_in_the_mailbox() -> None:
    rig = Rig()
    rig.put("a", "b", "c")
    rig.put("0", "1", "2", "3", edge=LOSSY)
    rig.work()
    assert rig.seen == ["a", "b", "c", "1", "2", "3"]


def test_room_is_made_by_what_was_read_and_not_by_what_was_dropped() -> None:
    rig = Rig()
    rig.put(*"01234", edge=LOSSY)  # 0 and 1 are dropped
    rig.step()
    rig.put("5", edge=LOSSY)
    assert rig.cell.counts[f"dropped {LOSSY}"] == 2
    rig.work()
    assert rig.seen == ["2", "3", "4", "5"]


@pytest.mark.parametrize(("count", "stalls"), [(3, 0), (4, 1), (9, 1)])
def test_any_other_edge_keeps_what_is_beyond_its_bound_and_its_reader_has_stalled(count: int, stalls: int) -> None:
    rig = Rig()
    rig.put(*map(str, range(count)))
    assert rig.stalls == [SAID] * stalls
    rig.work()
    assert rig.seen == [str(number) for number in range(count)]


def test_a_reader_stalls_once_for_each_life_of_its_loop() -> None:
    rig = Rig()
    rig.put(*"0123456")
    rig.cell.loop_started()
    rig.put("7", "8")
    assert rig.stalls == [SAID, SAID]


def test_messages_come_in_the_order_in_which_they_were_put() -> None:
    rig = Rig()
    for number in range(3):
        rig.put(f"a{number}")
        rig.put(f"b{number}", edge=LOSSY)
    rig.work()
    assert rig.seen == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_a_message_is_stamped_when_it_is_put() -> None:
    rig = Rig()
    rig.now = 2.5
    rig.put("one")
    rig.now = 9.0
    rig.cell.take_nowait()
    assert rig.cell.in_hand is not None
    assert rig.cell.in_hand.put_at == 2.5


def test_taking_twice_takes_one() -> None:
    rig = Rig()
    rig.put("one", "two")
    rig.cell.take_nowait()
    rig.cell.take_nowait()
    assert rig.cell.waiting() == 1


def test_who_sent_a_message_is_told_once_that_it_was_let_go() -> None:
    told: list[str] = []
    rig = Rig()
    for text in "ab":
        rig.cell.put(Envelope(Said(text), SAID, 0.0, let_go=lambda text=text: told.append(text)))  # type: ignore[misc]
    rig.work()
    rig.cell.let_go()
    assert told == ["a", "b"]


def test_who_sent_a_message_is_told_of_one_that_was_dropped_or_set_aside_or_void() -> None:
    told: list[str] = []
    rig = Rig()
    for text in ("dropped", "0", "1", "2"):
        rig.cell.put(Envelope(Said(text), LOSSY, 0.0, let_go=lambda text=text: told.append(text)))  # type: ignore[misc]
    rig.work()
    rig.cell.put(Envelope(Said("void"), EVENT, 0.0, 7, let_go=lambda: told.append("void")))
    rig.work()
    rig.cell.put(Envelope(Said("bad", frozenset({"first", "fresh"})), SAID, 0.0, let_go=lambda: told.append("bad")))
    rig.work()
    assert told == ["dropped", "0", "1", "2", "void", "bad"]
    assert rig.seen == ["0", "1", "2"]


async def test_a_wait_that_is_cancelled_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    for number in range(20):
        with trio.move_on_after(1.0) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(rig.cell.take)
                await trio.testing.wait_all_tasks_blocked()
                rig.put(str(number))  # handed to the waiting task, which is cancelled before it runs
                scope.cancel()
        rig.work()
    assert rig.seen == [str(number) for number in range(20)]


async def test_a_put_reaches_who_waits(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rig.cell.take)
        await trio.testing.wait_all_tasks_blocked()
        rig.put("one")
    assert rig.cell.in_hand is not None
