"""The seam between an actor and its session: who is heard, who is asked, and who waits for whom."""

import pytest
import trio
import trio.testing

from engine.loop import UNREAD_EVENTS, SessionSeam
from engine.messages.errors import EngineBug
from engine.messages.supervision import SessionInfo
from tests.loop.rig import ALL, OLD, Ask, Rig, Said, kept_alive


async def asked(seam: SessionSeam[Ask, Said]) -> list[str]:
    """What the session is asked by now."""
    texts: list[str] = []
    with trio.move_on_after(0.001):
        while True:
            texts.append((await seam.ask()).text)
    return texts


async def test_a_session_that_connects_is_asked_first_for_all_that_is_owed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig()
    seam = rig.seam(1)
    rig.put("before")
    seam.opened()
    rig.put("after")
    rig.work()
    assert rig.seen == ["before", "session 1", "after"]
    assert await asked(seam) == ["all to 1", "after"]


async def test_asks_before_the_core_has_spoken_to_the_session_are_void(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    seam = rig.seam(1)
    rig.put("early")
    rig.step()
    seam.opened()
    seam.put(Ask("too early still"))
    rig.work()
    assert await asked(seam) == ["all to 1"]


async def test_asks_to_a_dead_session_are_void(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    rig.work()
    seam.closed()
    rig.put("late")
    rig.work()
    assert await asked(seam) == ["all to 1"]
    assert rig.closings == []


def test_what_a_dead_session_still_had_to_say_is_void() -> None:
    rig = Rig()
    old = rig.seam(1)
    old.opened()
    rig.work()
    rig.emit(old, "stale")
    old.closed()
    rig.emit(old, "staler")
    new = rig.seam(2)
    new.opened()
    rig.emit(old, "stalest")
    rig.emit(new, "new")
    rig.work()
    assert rig.seen == ["session 1", "session 2", "new"]


def test_an_event_in_hand_is_void_when_its_session_dies() -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    rig.work()
    rig.emit(seam, "bad", OLD)
    rig.put("next")
    rig.step()
    assert rig.cell.in_hand is not None
    seam.closed()
    rig.work()
    assert rig.seen == ["session 1", "next"]


def test_news_of_a_session_that_is_gone_already_is_void() -> None:
    rig = Rig()
    old = rig.seam(1)
    old.opened()
    old.closed()
    rig.seam(2).opened()
    rig.work()
    assert rig.seen == ["session 2"]


def test_the_end_of_an_old_session_does_not_touch_the_new_one() -> None:
    rig = Rig()
    old, new = rig.seam(1), rig.seam(2)
    old.opened()
    new.opened()
    rig.work()
    old.closed()
    rig.emit(new, "new")
    rig.work()
    assert rig.seen == ["session 2", "new"]
    assert (rig.cell.connected, rig.cell.serving) == (2, 2)


def test_what_is_no_sessions_is_never_void() -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    rig.put("one")
    seam.closed()
    rig.work()
    assert rig.seen == ["one"]


@pytest.mark.parametrize("aligned", [True, False])
def test_the_core_is_told_which_vendor_it_has_and_what_it_can_do(*, aligned: bool) -> None:
    rig = Rig()
    rig.seam(3).opened(aligned=aligned)
    rig.cell.take_nowait()
    assert rig.cell.in_hand is not None
    assert rig.cell.in_hand.message == SessionInfo(vendor="vendor", incarnation=3, aligned=aligned)


def test_an_event_of_a_session_is_of_use_to_it_and_its_connection_is_not() -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    rig.work()
    assert rig.uses == ["loop"]
    rig.emit(seam, "one")
    rig.work()
    assert rig.uses == ["loop", "loop", "session"]


@pytest.mark.parametrize(("asks", "stalled"), [(3, False), (4, True)])
def test_a_session_that_does_not_read_what_it_is_asked_has_stalled(asks: int, *, stalled: bool) -> None:
    rig = Rig()
    seam = rig.seam(1, bound=4)
    seam.opened()
    rig.work()  # one ask: all that is owed
    for number in range(asks):
        seam.put(Ask(str(number)))
    assert rig.closings == (["the session has 4 asks unread"] if stalled else [])


def test_a_core_without_sessions_has_none() -> None:
    rig = Rig()
    rig.cell.core = rig.cell.first = Deaf()  # type: ignore[assignment]
    rig.seam(1).opened()
    rig.step()
    assert isinstance(rig.reports[0].error, EngineBug)
    assert str(rig.reports[0].error) == "toy has a session and no 'started'"


class Deaf:
    deadline = 1e9

    def handle(self, message: object, now: float) -> tuple["Deaf", list[object]]:
        return self, []

    def fresh(self, suspect: object) -> "Deaf":
        return self

    def bare(self, suspect: object) -> "Deaf":
        return self


# Who waits.


async def test_a_session_waits_only_while_its_own_events_lie_unread(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    rig.put(*map(str, range(3)))
    sent: list[int] = []

    async def talk() -> None:
        for number in range(UNREAD_EVENTS + 5):
            await seam.emit(Said(f"e{number}"))
            sent.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == UNREAD_EVENTS  # whatever else lies in the mailbox
        for _ in range(4):
            rig.step()
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == UNREAD_EVENTS  # what was read was not its own
        rig.step()
        await trio.testing.wait_all_tasks_blocked()
        assert len(sent) == UNREAD_EVENTS + 1
        rig.work()
        await trio.testing.wait_all_tasks_blocked()
        rig.work()
    assert rig.seen[4:] == [f"e{number}" for number in range(UNREAD_EVENTS + 5)]


async def test_events_that_are_void_or_set_aside_hold_nobody_back(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    async with trio.open_nursery() as nursery:
        await nursery.start(kept_alive, rig)
        with trio.fail_after(5.0):
            for number in range(3 * UNREAD_EVENTS):
                await seam.emit(Said(str(number), ALL if number % 3 else frozenset()))
            seam.closed()
            for number in range(3 * UNREAD_EVENTS):
                await seam.emit(Said(str(number)))
        nursery.cancel_scope.cancel()


async def test_a_session_that_is_cancelled_while_it_waits_has_said_nothing_of_what_it_held(
    autojump_clock: trio.testing.MockClock,
) -> None:
    rig = Rig()
    seam = rig.seam(1)
    seam.opened()
    rig.work()
    for number in range(UNREAD_EVENTS):
        await seam.emit(Said(str(number)))
    with trio.move_on_after(1.0):
        await seam.emit(Said("held"))
    rig.work()
    await seam.emit(Said("next"))
    rig.work()
    assert rig.seen == ["session 1", *map(str, range(UNREAD_EVENTS)), "next"]
