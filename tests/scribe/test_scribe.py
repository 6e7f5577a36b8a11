"""The writer of a call, over an archive in memory and in virtual time."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import attrs
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.messages.conversation import CallerSaid
from engine.messages.errors import ConfigError, EngineBug
from engine.messages.records import Kept, Record, Timing, TokensUsed
from engine.scribe import GATHER_S, TOGETHER, WAITING_BOUND, Scribe
from engine.supervisor import Supervisor

OPENED = "opened"
ENDED = "stop"
Item = Kept | str


@attrs.define
class MemoryArchive:
    """Keeps what it is told after `takes_s`. fails: is asked at each try, of each item, by its number from 1."""

    takes_s: float = 0.0
    fails: Callable[[int, Item], Exception | None] = lambda _try, _item: None
    tries: int = 0
    kept: list[Item] = attrs.field(factory=list)
    # How many were written together, each time.
    puts: list[int] = attrs.field(factory=list)

    async def opened(self) -> None:
        await self._keep([OPENED])

    async def put(self, items: Sequence[Kept]) -> None:
        await self._keep(items)
        self.puts.append(len(items))

    async def ended(self, reason: str) -> None:
        await self._keep([reason])

    async def _keep(self, items: Sequence[Item]) -> None:
        self.tries += 1
        errors = [self.fails(self.tries, item) for item in items]
        await trio.sleep(self.takes_s)
        for error in errors:
            if error is not None:
                raise error
        self.kept.extend(items)


@attrs.define
class Rig:
    archive: MemoryArchive
    scribe: Scribe
    supervisor: Supervisor


@asynccontextmanager
async def writing(archive: MemoryArchive) -> AsyncIterator[Rig]:
    scribe = Scribe(archive=archive, log=structlog.get_logger())
    supervisor = Supervisor(name="archive", specs=[scribe.spec()])
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        yield Rig(archive, scribe, supervisor)
        supervisor.stop()


def row(position: int) -> Record:
    return Record(position=position, entry=CallerSaid(turn=position, text="hello"), at_s=float(position))


ROWS = [row(position) for position in range(5)]


async def test_a_call_is_opened_then_written_in_order(autojump_clock: MockClock) -> None:
    cost = TokensUsed(request="r1", turn=1, vendor="a", input_tokens=9, output_tokens=3, wasted=False)
    items = [row(0), Timing(turn=1, stage="last_word", at_s=1.0), row(1), cost]
    async with writing(MemoryArchive(takes_s=1.0)) as rig:
        for item in items:
            rig.scribe.put(item)
        rig.scribe.close(ENDED)
        await rig.scribe.written.wait()
    assert rig.archive.kept == [OPENED, *items, ENDED]


async def test_what_is_put_is_written_without_waiting_for_the_end(autojump_clock: MockClock) -> None:
    async with writing(MemoryArchive()) as rig:
        for item in ROWS:
            rig.scribe.put(item)
            await trio.sleep(1.0)
            assert rig.archive.kept[-1] == item


async def test_what_comes_within_a_moment_is_written_together(autojump_clock: MockClock) -> None:
    async with writing(MemoryArchive()) as rig:
        for number in range(TOGETHER + 1):
            rig.scribe.put(row(number))
        await trio.sleep(GATHER_S / 2)
        rig.scribe.put(row(TOGETHER + 1))
        await trio.sleep(3 * GATHER_S)
        assert rig.archive.puts == [TOGETHER, 2]
        rig.scribe.put(row(TOGETHER + 2))
        began_at = trio.current_time()
        rig.scribe.close(ENDED)
        await rig.scribe.written.wait()
        assert trio.current_time() == began_at  # nothing more can come
    assert [item.position for item in rig.archive.kept if isinstance(item, Record)] == list(range(TOGETHER + 3))


async def test_an_archive_that_stands_still_holds_nobody_up(autojump_clock: MockClock) -> None:
    async with writing(MemoryArchive(takes_s=math.inf)) as rig:
        await trio.sleep(1.0)
        for item in ROWS:
            rig.scribe.put(item)
        rig.scribe.close(ENDED)
        await trio.sleep(1.0)
        assert not rig.scribe.written.is_set()
        assert rig.scribe.waiting() == 1 + len(ROWS) + 1
    assert rig.archive.kept == []


async def test_a_database_that_is_away_for_minutes_loses_nothing(autojump_clock: MockClock) -> None:
    def away(_try: int, _item: Item) -> Exception | None:
        return ConfigError("database 'x' cannot be used: gone") if 10.0 < trio.current_time() < 300.0 else None

    with capture_logs() as logs:
        async with writing(MemoryArchive(fails=away)) as rig:
            for item in ROWS:
                rig.scribe.put(item)
                await trio.sleep(8.0)
            rig.scribe.close(ENDED)
            await rig.scribe.written.wait()
    assert rig.archive.kept == [OPENED, *ROWS, ENDED]
    assert {(each["event"], each["why"]) for each in logs} == {("archive_away", "database 'x' cannot be used: gone")}


async def test_a_database_that_is_away_when_the_call_begins_opens_it_later(autojump_clock: MockClock) -> None:
    def away(number: int, _item: Item) -> Exception | None:
        return ConfigError("locked") if number <= 3 else None

    async with writing(MemoryArchive(fails=away)) as rig:
        rig.scribe.put(row(0))
        rig.scribe.close(ENDED)
        await rig.scribe.written.wait()
    assert rig.archive.kept == [OPENED, row(0), ENDED]


async def test_a_row_that_is_refused_is_left_out_and_holds_up_no_other(autojump_clock: MockClock) -> None:
    def refuses(_try: int, item: Item) -> Exception | None:
        return EngineBug("database 'x' refused a row") if item == row(2) else None

    with capture_logs() as logs:
        async with writing(MemoryArchive(fails=refuses)) as rig:
            for item in ROWS:
                rig.scribe.put(item)
            rig.scribe.close(ENDED)
            await rig.scribe.written.wait()
    assert rig.archive.kept == [OPENED, row(0), row(1), row(3), row(4), ENDED]
    logged, in_full = logs
    assert (logged["event"], logged["why"]) == ("record_refused", "database 'x' refused a row")
    assert "item" not in logged
    assert in_full["log_level"] == "debug"
    assert repr(row(2)) in in_full["item"]


async def test_a_writer_that_crashes_writes_the_same_item_again(autojump_clock: MockClock) -> None:
    def breaks(number: int, _item: Item) -> Exception | None:
        return OSError("odd") if number in {1, 3, 4, 6} else None

    async with writing(MemoryArchive(fails=breaks)) as rig:
        for item in ROWS:
            rig.scribe.put(item)
        rig.scribe.close(ENDED)
        await rig.scribe.written.wait()
    assert rig.archive.kept == [OPENED, *ROWS, ENDED]


async def test_a_writer_killed_at_any_moment_loses_nothing(autojump_clock: MockClock) -> None:
    async with writing(MemoryArchive(takes_s=1.0)) as rig:
        for item in ROWS[:3]:
            rig.scribe.put(item)
        await trio.sleep(1.5)
        rig.supervisor.cancel("writer")  # while it writes
        await trio.sleep(5.0)
        rig.supervisor.cancel("writer")  # while it waits
        for item in ROWS[3:]:
            rig.scribe.put(item)
        rig.scribe.close(ENDED)
        await rig.scribe.written.wait()
    assert rig.archive.kept == [OPENED, *ROWS, ENDED]


async def test_a_call_without_a_word_is_opened_and_written(autojump_clock: MockClock) -> None:
    async with writing(MemoryArchive()) as rig:
        rig.scribe.close(ENDED)
        await rig.scribe.written.wait()
        assert rig.scribe.waiting() == 0
    assert rig.archive.kept == [OPENED, ENDED]


async def test_what_comes_after_the_end_or_over_the_bound_is_told_in_the_log() -> None:
    scribe = Scribe(archive=MemoryArchive(), log=structlog.get_logger())
    with capture_logs() as logs:
        for _ in range(WAITING_BOUND):
            scribe.put(row(0))
        assert logs == []
        scribe.put(row(1))
        scribe.close(ENDED)
        scribe.put(row(2))
    assert [(each["log_level"], each["event"], each.get("item")) for each in logs] == [
        ("error", "record_lost", None),
        ("debug", "record_lost_in_full", repr(row(1))),
        ("error", "record_lost", None),
        ("debug", "record_lost_in_full", repr(row(2))),
    ]


async def test_the_end_is_written_again_when_the_database_was_away(autojump_clock: MockClock) -> None:
    def away_once(_try: int, item: Item) -> Exception | None:
        return ConfigError("away") if item == ENDED and rig.archive.tries < 3 else None

    async with writing(MemoryArchive(fails=away_once)) as rig:
        rig.scribe.close(ENDED)
        await rig.scribe.written.wait()
    assert rig.archive.kept == [OPENED, ENDED]
