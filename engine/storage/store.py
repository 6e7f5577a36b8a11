"""The store: every call, its conversation as it goes, its timings, and the ledger of its tool runs.

Every write may be repeated: done again after a crash, it changes nothing. Methods block; call them through a `Runner`.
All raise `ConfigError` where the operator must act, `EngineBug` where what is written contradicts what is there.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Self, assert_never

import attrs
from sqlalchemy import (
    JSON,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
    update,
)

from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Json, Noted, ToolAnswered, ToolCalled
from engine.messages.errors import EngineBug
from engine.messages.records import Record, Timing
from engine.storage.database import BUSY_S, Database, Schema, open_database
from engine.storage.ledger import ToolRun, ToolStatus
from engine.storage.moments import Clock, UtcDateTime, utc_now

_metadata = MetaData()

_calls = Table(
    "calls",
    _metadata,
    Column("call_sid", String, primary_key=True),
    Column("stream_sid", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("caller", String, nullable=False),
    Column("called", String, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime, index=True),
    Column("ended_reason", String),
)

_entries = Table(
    "entries",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("call_sid", ForeignKey("calls.call_sid"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("data", JSON(none_as_null=True)),
    Column("at_s", Float, nullable=False),
    UniqueConstraint("call_sid", "position"),
    CheckConstraint("kind IN ('caller', 'agent', 'tool_call', 'tool_result', 'note')"),
)

_timings = Table(
    "timings",
    _metadata,
    Column("call_sid", ForeignKey("calls.call_sid"), primary_key=True),
    Column("turn", Integer, primary_key=True, autoincrement=False),
    Column("stage", String, primary_key=True),
    Column("at_s", Float, nullable=False),
)

_tool_runs = Table(
    "tool_runs",
    _metadata,
    Column("id", String, primary_key=True),
    # No foreign key: a tool must not fail because the writer of conversations is behind.
    Column("call_sid", String, nullable=False, index=True),
    Column("turn", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("status", String, nullable=False),
    Column("result", JSON(none_as_null=True)),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    CheckConstraint("status IN ('recorded', 'done', 'failed')"),
)

_SCHEMA: Final = Schema(name="store", metadata=_metadata)


@attrs.frozen(kw_only=True)
class Call:
    """A call as it is stored; `ended_at` and `ended_reason` are None while it is open."""

    call_sid: str
    stream_sid: str
    tenant: str
    caller: str
    called: str
    started_at: datetime
    ended_at: datetime | None
    ended_reason: str | None


@attrs.frozen(kw_only=True)
class Store:
    """An open store. Any number of threads may use it at once."""

    _database: Database
    _clock: Clock

    @classmethod
    def open(cls, url: str, *, clock: Clock = utc_now, busy_s: float = BUSY_S) -> Self:
        """Open the store at `url`, such as "sqlite:///holdfast.db", and create its tables where they are missing.

        clock: tells when a tool run was recorded and finished, and when calls that a kill left open were closed.
        Raises `ConfigError`.
        """
        return cls(database=open_database(url, _SCHEMA, busy_s=busy_s), clock=clock)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def call_started(  # noqa: PLR0913 (a row's columns)
        self, *, call_sid: str, stream_sid: str, tenant: str, caller: str, called: str, at: datetime
    ) -> None:
        """Write down that a call began. The first time counts."""
        row = self._database.insert(_calls).values(
            call_sid=call_sid, stream_sid=stream_sid, tenant=tenant, caller=caller, called=called, started_at=at
        )
        with self._database.writing() as connection:
            connection.execute(row.on_conflict_do_nothing(index_elements=["call_sid"]))

    def call_ended(self, call_sid: str, reason: str, at: datetime) -> None:
        """Close a call. The first reason counts; raises `EngineBug` for a call that never started."""
        row = update(_calls).where(_calls.c.call_sid == call_sid, _calls.c.ended_at.is_(None))
        with self._database.writing() as connection:
            closed = connection.execute(row.values(ended_at=at, ended_reason=_storable(reason))).rowcount
            if not closed and connection.scalar(select(_calls.c.call_sid).where(_of(_calls, call_sid))) is None:
                raise EngineBug(f"call {call_sid!r} ended with {reason!r} but never started")

    def close_open_calls(self, reason: str) -> int:
        """Close the calls that a kill left open; return how many there were.

        For a process's start, before it takes calls, and only while no other process uses the same store: it cannot
        tell another's calls from dead ones.
        """
        row = update(_calls).where(_calls.c.ended_at.is_(None))
        with self._database.writing() as connection:
            return connection.execute(row.values(ended_at=self._clock(), ended_reason=reason)).rowcount

    def open_calls(self) -> tuple[Call, ...]:
        """Return the calls that have not ended, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_calls).where(_calls.c.ended_at.is_(None)).order_by(_calls.c.started_at))
            return tuple(Call(**row) for row in rows.mappings())

    def ended_reason(self, call_sid: str) -> str | None:
        """Return why a call ended; None for one that is open, or is not known."""
        with self._database.reading() as connection:
            return connection.scalar(select(_calls.c.ended_reason).where(_of(_calls, call_sid)))

    # ── conversation and timings ────────────────────────────────────────────────────────────────────────────────────

    def put_entry(self, call_sid: str, record: Record) -> None:
        """Store an entry of the conversation at its position, over what stood there. The call must have started."""
        kind, text, data = _columns(record.entry)
        values = {"turn": record.entry.turn, "kind": kind, "text": _storable(text), "data": data, "at_s": record.at_s}
        row = self._database.insert(_entries).values(call_sid=call_sid, position=record.position, **values)
        with self._database.writing() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=["call_sid", "position"], set_=values))

    def conversation(self, call_sid: str) -> tuple[Record, ...]:
        """Return what was said and done in a call, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_entries).where(_of(_entries, call_sid)).order_by(_entries.c.position))
            return tuple(Record(position=row.position, entry=_entry(row), at_s=row.at_s) for row in rows)

    def put_timing(self, call_sid: str, timing: Timing) -> None:
        """Store when a stage of a turn was reached; the last time given counts. The call must have started."""
        row = self._database.insert(_timings).values(call_sid=call_sid, **attrs.asdict(timing))
        with self._database.writing() as connection:
            connection.execute(
                row.on_conflict_do_update(index_elements=["call_sid", "turn", "stage"], set_={"at_s": timing.at_s})
            )

    def timings(self, call_sid: str) -> tuple[Timing, ...]:
        """Return the stages that a call's turns reached: by turn, then by time."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(_timings).where(_of(_timings, call_sid)).order_by(_timings.c.turn, _timings.c.at_s)
            )
            return tuple(Timing(turn=row.turn, stage=row.stage, at_s=row.at_s) for row in rows)

    # ── the ledger of tool runs ─────────────────────────────────────────────────────────────────────────────────────

    def record_tool(self, id: str, *, call_sid: str, turn: int, name: str, arguments: Mapping[str, Json]) -> ToolRun:  # noqa: A002 (the message's own name)
        """Write a tool run down unless it is there already; return what is there.

        Where that is done or failed, its result stands and the tool must not run again.
        """
        row = self._database.insert(_tool_runs).values(
            id=id,
            call_sid=call_sid,
            turn=turn,
            name=name,
            arguments=dict(arguments),
            status=ToolStatus.RECORDED,
            recorded_at=self._clock(),
        )
        with self._database.writing() as connection:
            inserted = connection.scalar(row.on_conflict_do_nothing(index_elements=["id"]).returning(_tool_runs.c.id))
            found = connection.execute(select(_tool_runs).where(_tool_runs.c.id == id)).mappings().one()
        return ToolRun(**{**found, "status": ToolStatus(found["status"])}, is_new=inserted is not None)

    def finish_tool(self, id: str, status: ToolStatus, result: Json) -> None:  # noqa: A002 (the message's own name)
        """Write down what a recorded run gave. The first outcome stands; raises `EngineBug` for an unknown `id`."""
        row = update(_tool_runs).where(_tool_runs.c.id == id, _tool_runs.c.status == ToolStatus.RECORDED)
        with self._database.writing() as connection:
            finished = connection.execute(row.values(status=status, result=result, finished_at=self._clock())).rowcount
            if not finished and connection.scalar(select(_tool_runs.c.id).where(_tool_runs.c.id == id)) is None:
                raise EngineBug(f"tool run {id!r} finished but was never recorded")


def _of(table: Table, call_sid: str) -> ColumnElement[bool]:
    return table.c.call_sid == call_sid


def _columns(entry: Entry) -> tuple[str, str, Json]:
    """Return an entry's kind, its text as a person reads it, and whatever else it holds."""
    match entry:
        case CallerSaid(text=text):
            return "caller", text, None
        case AgentSaid(text=text, interrupted=interrupted):
            return "agent", text, {"interrupted": interrupted}
        case ToolCalled(id=id_, name=name, arguments=arguments):
            return "tool_call", name, {"id": id_, "arguments": dict(arguments)}
        case ToolAnswered(id=id_, ok=ok, value=value):
            return "tool_result", "", {"id": id_, "ok": ok, "value": value}
        case Noted(text=text):
            return "note", text, None
        case _:
            assert_never(entry)


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    match row.kind:
        case "caller":
            return CallerSaid(turn=row.turn, text=row.text)
        case "agent":
            return AgentSaid(turn=row.turn, text=row.text, **row.data)
        case "tool_call":
            return ToolCalled(turn=row.turn, name=row.text, **row.data)
        case "tool_result":
            return ToolAnswered(turn=row.turn, **row.data)
        case "note":
            return Noted(turn=row.turn, text=row.text)
        case kind:
            raise EngineBug(f"unknown kind of entry {kind!r} at position {row.position} of call {row.call_sid!r}")


def _storable(text: str) -> str:
    """Return `text` without what a database refuses: halves of surrogate pairs, and NUL for PostgreSQL."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
