"""The store: every write may be repeated, and a kill leaves a conversation up to the turn in progress."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import cast

import pytest

from engine.messages.admission import NextStep
from engine.messages.callbacks import CallReported, StreamReported
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Noted, ToolAnswered, ToolCalled
from engine.messages.errors import ConfigError, EngineBug
from engine.messages.records import Record, Timing, TokensUsed
from engine.storage.ledger import ToolStatus
from engine.storage.owner import is_gone, this_process
from engine.storage.store import Call, Store
from engine.storage.usage import Usage

BEGAN = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
LATER = BEGAN + timedelta(minutes=3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}", clock=lambda: LATER, owner="host/1/2") as store:
        yield store


def start(store: Store, call_sid: str = "CA1", at: datetime = BEGAN) -> None:
    store.call_started(call_sid=call_sid, stream_sid="MZ1", tenant="clinic", caller="+1555", called="+1666", at=at)


def open_call(call_sid: str = "CA1", started_at: datetime = BEGAN, owner: str = "host/1/2") -> Call:
    return Call(
        call_sid=call_sid,
        stream_sid="MZ1",
        tenant="clinic",
        caller="+1555",
        called="+1666",
        started_at=started_at,
        ended_at=None,
        ended_reason=None,
        owner=owner,
    )


def test_a_call_is_open_until_it_ends(store: Store) -> None:
    start(store, "CA2", BEGAN + timedelta(seconds=1))
    start(store, "CA1", BEGAN)
    assert store.open_calls() == (open_call("CA1"), open_call("CA2", BEGAN + timedelta(seconds=1)))
    store.call_ended("CA1", "hang_up", LATER)
    assert store.open_calls() == (open_call("CA2", BEGAN + timedelta(seconds=1)),)
    assert (store.ended_reason("CA1"), store.ended_reason("CA2"), store.ended_reason("CA3")) == ("hang_up", None, None)


def test_the_first_reason_for_a_calls_end_counts(store: Store) -> None:
    start(store)
    store.call_ended("CA1", "hang_up", LATER)
    store.call_ended("CA1", "closed", LATER)
    assert store.ended_reason("CA1") == "hang_up"


def test_a_moment_comes_back_in_utc_whatever_zone_it_was_given_in(store: Store) -> None:
    start(store, at=BEGAN.astimezone(timezone(timedelta(hours=5, minutes=30))))
    (call,) = store.open_calls()
    assert (call.started_at, call.started_at.tzinfo) == (BEGAN, UTC)


def test_a_moment_without_a_zone_is_our_bug(store: Store) -> None:
    with pytest.raises(EngineBug, match="has no time zone"):
        start(store, at=BEGAN.replace(tzinfo=None))


def test_a_call_that_never_started_cannot_end(store: Store) -> None:
    with pytest.raises(EngineBug, match="'CA9' ended with 'stop' but never started"):
        store.call_ended("CA9", "stop", LATER)


def test_calls_that_a_kill_left_open_are_closed_at_the_next_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Store.open(url, owner=gone()) as store:
        start(store, "CA1")
        start(store, "CA2")
        start(store, "CA3")
        store.call_ended("CA1", "hang_up", LATER)
    with Store.open(url) as store:
        assert store.close_open_calls("killed") == 2
        assert store.close_open_calls("killed") == 0
        assert [store.ended_reason(call) for call in ("CA1", "CA2", "CA3")] == ["hang_up", "killed", "killed"]


def gone() -> str:
    """The name of a process of this machine that has ended."""
    host, pid, started = this_process().rsplit("/", 2)
    return f"{host}/{pid}/{int(started) - 1}"


@pytest.mark.parametrize("owner", [this_process(), "another-machine/1/2"], ids=["ours", "theirs"])
def test_a_call_whose_process_may_live_is_left_to_it(tmp_path: Path, owner: str) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Store.open(url, owner=owner) as theirs, Store.open(url, clock=lambda: BEGAN) as ours:
        start(theirs)
        assert ours.close_open_calls("killed") == 0
        theirs.call_ended("CA1", "hang_up", LATER)
        assert ours.ended_reason("CA1") == "hang_up"


def test_a_call_of_another_machine_is_over_after_five_hours(tmp_path: Path) -> None:
    late = BEGAN + timedelta(hours=5, seconds=1)
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}", clock=lambda: late, owner="another-machine/1/2") as store:
        start(store)
        assert store.close_open_calls("lost") == 1


def test_a_call_from_before_owners_were_written_down_is_nobodys() -> None:
    assert is_gone("")
    assert is_gone("host")
    assert not is_gone(this_process())


ENTRIES: tuple[Entry, ...] = (
    AgentSaid(turn=0, text="Hello."),
    CallerSaid(turn=1, text="Is Tuesday free? Ça va, 日本"),
    ToolCalled(turn=1, id="t1", name="find_free_slots", arguments={"day": "2026-11-24", "limit": 2}),
    ToolAnswered(turn=1, id="t1", ok=True, value={"slots": [{"say": "Tuesday"}], "note": None}),
    ToolAnswered(turn=1, id="t2", ok=False, value=None),
    AgentSaid(turn=1, text="Tuesday at", interrupted=True, unheard="10:30.", spoken=(1, 1)),
    Noted(turn=2, text="the caller was asked to repeat"),
)


def test_a_conversation_comes_back_as_it_was_said(store: Store) -> None:
    start(store)
    records = tuple(Record(position=n, entry=entry, at_s=n / 4) for n, entry in enumerate(ENTRIES))
    for record in reversed(records):
        store.put("CA1", [record])
    assert store.conversation("CA1") == records
    assert store.conversation("CA2") == ()


def test_what_was_heard_takes_the_place_of_what_was_said(store: Store) -> None:
    start(store)
    heard = Record(position=3, entry=AgentSaid(turn=4, text="Your appointment is", interrupted=True), at_s=9.5)
    store.put("CA1", [Record(position=3, entry=AgentSaid(turn=4, text="Your appointment is on Monday"), at_s=9.0)])
    store.put("CA1", [heard])
    assert store.conversation("CA1") == (heard,)


def test_text_that_no_database_keeps_is_mended(store: Store) -> None:
    start(store)
    store.put("CA1", [Record(position=0, entry=CallerSaid(turn=1, text="half \ud83d a\0b"), at_s=0.0)])
    assert store.conversation("CA1")[0].entry == CallerSaid(turn=1, text="half ? ab")


def test_an_entry_of_a_call_that_never_started_is_our_bug(store: Store) -> None:
    with pytest.raises(EngineBug, match="FOREIGN KEY"):
        store.put("CA9", [Record(position=0, entry=Noted(turn=0, text="x"), at_s=0.0)])


def test_timings_come_back_by_turn_and_time(store: Store) -> None:
    start(store)
    for turn, stage, at_s in ((2, "first_token", 8.0), (1, "first_sound", 3.0), (1, "last_word", 2.0)):
        store.put("CA1", [Timing(turn=turn, stage=stage, at_s=at_s)])
    store.put("CA1", [Timing(turn=1, stage="last_word", at_s=2.25)])
    assert store.timings("CA1") == (
        Timing(turn=1, stage="last_word", at_s=2.25),
        Timing(turn=1, stage="first_sound", at_s=3.0),
        Timing(turn=2, stage="first_token", at_s=8.0),
    )


def test_an_agents_words_from_before_it_was_known_what_was_not_heard_come_back(store: Store) -> None:
    start(store)
    store.put("CA1", [Record(position=0, entry=AgentSaid(turn=1, text="Tuesday", interrupted=True), at_s=1.0)])
    with store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE entries SET data = '{\"interrupted\": true}'")
    assert store.conversation("CA1")[0].entry == AgentSaid(turn=1, text="Tuesday", interrupted=True)


def cost(
    request: str, input_tokens: int, output_tokens: int, *, vendor: str = "anthropic", wasted: bool = False
) -> TokensUsed:
    return TokensUsed(
        request=request,
        turn=1,
        vendor=vendor,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        wasted=wasted,
    )


def spent(vendor: str, requests: int, input_tokens: int, output_tokens: int, *, wasted: bool = False) -> Usage:
    return Usage(
        vendor=vendor,
        wasted=wasted,
        requests=requests,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def test_what_a_call_has_cost_is_told_by_vendor_and_what_was_wasted_apart(store: Store) -> None:
    start(store)
    store.put("CA1", [cost("r1", 1000, 20), cost("r2", 1100, 1, wasted=True), cost("r3", 1200, 30)])
    store.put("CA1", [cost("r4", 50, 5, vendor="a")])
    assert store.usage_of_call("CA1") == (
        spent("a", 1, 50, 5),
        spent("anthropic", 2, 2200, 50),
        spent("anthropic", 1, 1100, 1, wasted=True),
    )
    assert store.usage_of_call("CA2") == ()


def test_what_a_tenant_has_cost_is_of_its_calls_that_began_in_a_time(store: Store) -> None:
    for call_sid, at in (("CA1", BEGAN), ("CA2", BEGAN + timedelta(hours=1)), ("CA3", BEGAN + timedelta(hours=2))):
        start(store, call_sid, at)
        store.put(call_sid, [cost("r1", 1000, 20)])
    since, until = BEGAN, BEGAN + timedelta(hours=2)
    assert store.usage_of_tenant("clinic", since=since, until=until) == (spent("anthropic", 2, 2000, 40),)
    assert store.usage_of_tenant("clinic", since=since + timedelta(seconds=1), until=until) == (
        spent("anthropic", 1, 1000, 20),
    )
    assert store.usage_of_tenant("other", since=since, until=until) == ()


def test_a_store_from_before_usage_was_kept_gets_its_table(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Store.open(url) as store:
        start(store)
        with store._database.writing() as connection:
            connection.exec_driver_sql("DROP TABLE usage")
            connection.exec_driver_sql("UPDATE schema_versions SET version = 2")
    with Store.open(url) as store:
        store.put("CA1", [cost("r1", 9, 3)])
        assert store.usage_of_call("CA1") == (spent("anthropic", 1, 9, 3),)


def record(store: Store, name: str = "book") -> tuple[ToolStatus, object, bool]:
    run = store.record_tool("CA1/t1", call_sid="CA1", turn=2, name=name, arguments={"n": 1})
    assert (run.id, run.call_sid, run.turn, run.name, run.arguments) == ("CA1/t1", "CA1", 2, "book", {"n": 1})
    return run.status, run.result, run.is_new


def test_a_tool_run_is_recorded_once_and_its_first_outcome_stands(store: Store) -> None:
    assert record(store) == (ToolStatus.RECORDED, None, True)
    assert record(store, name="another") == (ToolStatus.RECORDED, None, False)
    store.finish_tool("CA1/t1", ToolStatus.DONE, {"say": "Tuesday"})
    store.finish_tool("CA1/t1", ToolStatus.FAILED, {"error": "too late"})
    assert record(store) == (ToolStatus.DONE, {"say": "Tuesday"}, False)


def test_a_tool_run_that_was_never_recorded_cannot_finish(store: Store) -> None:
    with pytest.raises(EngineBug, match="'CA1/t9' finished but was never recorded"):
        store.finish_tool("CA1/t9", ToolStatus.DONE, None)


def test_of_many_that_record_the_same_run_one_is_told_that_it_is_new(store: Store) -> None:
    told: list[bool] = []
    threads = [threading.Thread(target=lambda: told.append(record(store)[2])) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False] * 11 + [True]


WRITES: tuple[Callable[[Store], object], ...] = (
    start,
    lambda store: store.put("CA1", [Record(position=0, entry=CallerSaid(turn=1, text="hello"), at_s=1.0)]),
    lambda store: store.put("CA1", [Timing(turn=1, stage="last_word", at_s=1.0)]),
    lambda store: store.put("CA1", [cost("r1", 9, 3)]),
    lambda store: store.record_tool("CA1/t1", call_sid="CA1", turn=1, name="book", arguments={}),
    lambda store: store.finish_tool("CA1/t1", ToolStatus.DONE, {"ok": 1}),
    lambda store: store.consume_token("t1", LATER),
    lambda store: store.put_next_step("CA1", NextStep(kind="hangup")),
    lambda store: store.put_call_report(call_report(0, "completed")),
    lambda store: store.put_stream_report(stream_report("stream-stopped", None)),
    lambda store: store.call_ended("CA1", "stop", LATER),
)

_TABLES = (
    *("calls", "entries", "timings", "usage", "tool_runs"),
    *("used_tokens", "next_steps", "call_reports", "stream_reports"),
)


@pytest.mark.parametrize("again_from", range(len(WRITES)))
def test_writes_repeated_after_a_crash_change_nothing(tmp_path: Path, again_from: int) -> None:
    def dump(store: Store) -> list[object]:
        with store._database.reading() as connection:
            return [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in _TABLES]  # noqa: S608 (fixed names)

    moments = iter(BEGAN + timedelta(seconds=n) for n in range(100))
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}", clock=lambda: next(moments)) as store:
        for write in WRITES:
            write(store)
        once = dump(store)
        for write in WRITES[again_from:]:
            write(store)
        assert dump(store) == once


def test_a_store_that_is_gone_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"its folder must exist and be writable$"):
        Store.open(f"sqlite:///{tmp_path / 'missing' / 'x.db'}")


# ── the front door ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_token_is_used_once_however_many_try(store: Store) -> None:
    told: list[bool] = []
    threads = [
        threading.Thread(target=lambda: told.append(store.consume_token("t1", LATER + timedelta(seconds=60))))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == [False] * 11 + [True]
    assert store.consume_token("t2", LATER + timedelta(seconds=60))


def test_a_token_used_in_one_process_is_used_in_all(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Store.open(url) as one, Store.open(url) as another:
        expires_at = datetime.now(UTC) + timedelta(seconds=60)
        assert one.consume_token("t1", expires_at)
        assert not another.consume_token("t1", expires_at)


def test_tokens_that_expired_long_ago_are_forgotten(tmp_path: Path) -> None:
    now = BEGAN
    with Store.open(f"sqlite:///{tmp_path / 'x.db'}", clock=lambda: now) as store:
        for n in range(30):
            now = BEGAN + timedelta(minutes=n)
            assert store.consume_token(str(n), now + timedelta(minutes=1))
        with store._database.reading() as connection:
            assert connection.exec_driver_sql("SELECT min(id + 0) FROM used_tokens").scalar() == 18
        assert not store.consume_token("18", now)


def test_the_last_next_step_of_a_call_counts(store: Store) -> None:
    transfer = NextStep(kind="transfer", say="One moment — \ud83d", number="+15550100009")
    assert store.next_step("CA1") is None
    store.put_next_step("CA1", NextStep(kind="hangup"))
    store.put_next_step("CA2", NextStep(kind="hangup", say="Goodbye."))
    store.put_next_step("CA1", transfer)
    assert store.next_step("CA1") == NextStep(kind="transfer", say="One moment — ?", number="+15550100009")
    assert store.next_step("CA2") == NextStep(kind="hangup", say="Goodbye.")


@pytest.mark.parametrize("step", [NextStep(kind="transfer"), NextStep(kind="hangup", number="+15550100009")])
def test_a_transfer_has_a_number_and_a_hang_up_has_none(store: Store, step: NextStep) -> None:
    with pytest.raises(EngineBug, match="CHECK"):
        store.put_next_step("CA1", step)


def call_report(sequence: int, status: str) -> CallReported:
    at = BEGAN + timedelta(seconds=sequence)
    return CallReported(
        call_sid="CA1", sequence=sequence, status=status, at=at, duration_s=9 if sequence else None, sip_code=""
    )


def stream_report(event: str, at: datetime | None) -> StreamReported:
    return StreamReported(call_sid="CA1", stream_sid="MZ1", event=event, at=at, error="")


def test_reports_of_a_call_come_back_once_and_in_order_whatever_order_they_came_in(store: Store) -> None:
    reports = (call_report(0, "ringing"), call_report(1, "in-progress"), call_report(2, "completed"))
    for n in (2, 0, 2, 1, 0):
        store.put_call_report(reports[n])
    assert store.call_reports("CA1") == reports
    assert store.call_reports("CA2") == ()


def test_reports_of_a_stream_come_back_once_and_in_order_whatever_order_they_came_in(store: Store) -> None:
    reports = (
        stream_report("stream-started", BEGAN),
        stream_report("stream-stopped", LATER),
        stream_report("stream-error", None),
    )
    for n in (2, 1, 0, 1):
        store.put_stream_report(reports[n])
    assert store.stream_reports("CA1") == reports
    assert store.stream_reports("CA2") == ()


def test_a_store_from_before_the_front_door_gets_its_tables_and_keeps_its_calls(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with Store.open(url) as store:
        start(store)
        with store._database.writing() as connection:
            for table in ("usage", "used_tokens", "next_steps", "call_reports", "stream_reports"):
                connection.exec_driver_sql(f"DROP TABLE {table}")
            connection.exec_driver_sql("ALTER TABLE calls DROP COLUMN owner")
            connection.exec_driver_sql("UPDATE schema_versions SET version = 1")
    with Store.open(url) as store:
        assert store.consume_token("t1", datetime.now(UTC) + timedelta(seconds=60))
        assert store.open_calls() == (open_call(owner=""),)


def test_what_is_put_together_is_there_wholly_or_not_at_all(store: Store) -> None:
    start(store)
    fits = Record(position=0, entry=CallerSaid(turn=1, text="hello"), at_s=1.0)
    with pytest.raises(EngineBug):
        store.put("CA1", [fits, Timing(turn=cast("int", None), stage="last_word", at_s=1.0)])
    assert store.conversation("CA1") == ()
