"""The store: every call, its conversation as it goes, its timings, and the ledger of its tool runs.

And what the worker processes must agree on: which stream tokens are used up, what comes after a call's stream, what
Twilio reported.

Every write may be repeated: done again after a crash, it changes nothing. Methods block; call them through a `Runner`.
All raise `ConfigError` where the operator must act, `EngineBug` where what is written contradicts what is there.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Self, assert_never

import attrs
from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Connection,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    select,
    update,
)

from engine.messages.admission import NextStep
from engine.messages.callbacks import CallReported, StreamReported
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Json, Noted, ToolAnswered, ToolCalled
from engine.messages.errors import EngineBug
from engine.messages.records import Kept, Record, Timing, TokensUsed
from engine.storage.database import BUSY_S, Database, Insert, Schema, open_database
from engine.storage.ledger import ToolRun, ToolStatus
from engine.storage.moments import Clock, UtcDateTime, utc_now
from engine.storage.owner import is_gone, this_process
from engine.storage.usage import Usage

LOST_S: Final = 5 * 3600.0
"""After which a call of another machine's is over, whatever became of it: Twilio ends every call after four hours."""

CLOCKS_APART: Final = timedelta(minutes=10)
"""How far the clocks of two machines may differ: for one that is behind, a token has not expired yet."""

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
    Column("owner", String),
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

_usage = Table(
    "usage",
    _metadata,
    Column("call_sid", ForeignKey("calls.call_sid"), primary_key=True),
    Column("request", String, primary_key=True),
    Column("turn", Integer, nullable=False),
    Column("vendor", String, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("wasted", Boolean, nullable=False),
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

# No foreign keys in what follows: a call that never opened has a next step, and reports too.

_used_tokens = Table(
    "used_tokens",
    _metadata,
    Column("id", String, primary_key=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

_next_steps = Table(
    "next_steps",
    _metadata,
    Column("call_sid", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("say", Text, nullable=False),
    Column("number", String, nullable=False),
    CheckConstraint("kind = 'hangup' AND number = '' OR kind = 'transfer' AND number <> ''"),
)

_call_reports = Table(
    "call_reports",
    _metadata,
    Column("call_sid", String, primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("status", String, primary_key=True),
    Column("at", UtcDateTime),
    Column("duration_s", Integer),
    Column("sip_code", String, nullable=False),
)

_stream_reports = Table(
    "stream_reports",
    _metadata,
    Column("call_sid", String, primary_key=True),
    Column("stream_sid", String, primary_key=True),
    Column("event", String, primary_key=True),
    Column("at", UtcDateTime),
    Column("error", Text, nullable=False),
)


def _add_front_door(connection: Connection) -> None:
    _metadata.create_all(connection, tables=[_used_tokens, _next_steps, _call_reports, _stream_reports])
    connection.exec_driver_sql("ALTER TABLE calls ADD COLUMN owner VARCHAR")


def _add_usage(connection: Connection) -> None:
    _metadata.create_all(connection, tables=[_usage])


_SCHEMA: Final = Schema(name="store", metadata=_metadata, upgrades=(_add_front_door, _add_usage))


@attrs.frozen(kw_only=True)
class Call:
    """A call as it is stored; `ended_at` and `ended_reason` are None while it is open. `owner`: whose process it is."""

    call_sid: str
    stream_sid: str
    tenant: str
    caller: str
    called: str
    started_at: datetime
    ended_at: datetime | None
    ended_reason: str | None
    owner: str


@attrs.frozen(kw_only=True)
class Store:
    """An open store. Any number of threads may use it at once."""

    _database: Database
    _clock: Clock
    _owner: str
    # What is put of a call, over what stood in its place. Made once: SQLAlchemy takes longer for it than the database.
    _puts: Mapping[str, Insert] = attrs.field(init=False, repr=False, eq=False)

    @_puts.default
    def _statements(self) -> Mapping[str, Insert]:
        places = {_entries: ("position",), _timings: ("turn", "stage"), _usage: ("request",)}
        return {table.name: _put_over(self._database, table, ("call_sid", *key)) for table, key in places.items()}

    @classmethod
    def open(cls, url: str, *, clock: Clock = utc_now, busy_s: float = BUSY_S, owner: str | None = None) -> Self:
        """Open the store at `url`, such as "sqlite:///holdfast.db", and create its tables where they are missing.

        clock: tells when a tool run was recorded and finished, and when calls that a kill left open were closed.
        owner: whose the calls are that begin here; None: this process's. Raises `ConfigError`.
        """
        return cls(database=open_database(url, _SCHEMA, busy_s=busy_s), clock=clock, owner=owner or this_process())

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
            call_sid=call_sid,
            stream_sid=stream_sid,
            tenant=tenant,
            caller=caller,
            called=called,
            started_at=at,
            owner=self._owner,
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
        """Close the calls whose process has ended without closing them; return how many there were.

        Those of other machines, of which nobody here can tell, are left open until `LOST_S` after their beginning.
        """
        now = self._clock()
        still_open = select(_calls.c.call_sid, _calls.c.owner, _calls.c.started_at).where(_calls.c.ended_at.is_(None))
        with self._database.writing() as connection:
            left = [
                row.call_sid
                for row in connection.execute(still_open)
                if is_gone(row.owner or "") or (now - row.started_at).total_seconds() > LOST_S
            ]
            for call_sid in left:
                row = update(_calls).where(_of(_calls, call_sid))
                connection.execute(row.values(ended_at=now, ended_reason=reason))
            return len(left)

    def open_calls(self) -> tuple[Call, ...]:
        """Return the calls that have not ended, oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_calls).where(_calls.c.ended_at.is_(None)).order_by(_calls.c.started_at))
            return tuple(Call(**{**row, "owner": row["owner"] or ""}) for row in rows.mappings())

    def ended_reason(self, call_sid: str) -> str | None:
        """Return why a call ended; None for one that is open, or is not known."""
        with self._database.reading() as connection:
            return connection.scalar(select(_calls.c.ended_reason).where(_of(_calls, call_sid)))

    # ── conversation, timings, usage ────────────────────────────────────────────────────────────────────────────────

    def put(self, call_sid: str, items: Sequence[Kept]) -> None:
        """Store entries of the conversation, when stages of turns were reached, what requests cost: all, or none.

        An entry goes over what stood at its position; of a stage the last time given counts, of a request the last
        cost. The call must have started.
        """
        entries = [_entry_row(call_sid, item) for item in items if isinstance(item, Record)]
        timings = [{"call_sid": call_sid, **attrs.asdict(item)} for item in items if isinstance(item, Timing)]
        usage = [{"call_sid": call_sid, **attrs.asdict(item)} for item in items if isinstance(item, TokensUsed)]
        with self._database.writing() as connection:
            for table, rows in ((_entries, entries), (_timings, timings), (_usage, usage)):
                if rows:
                    connection.execute(self._puts[table.name], rows)

    def conversation(self, call_sid: str) -> tuple[Record, ...]:
        """Return what was said and done in a call, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(select(_entries).where(_of(_entries, call_sid)).order_by(_entries.c.position))
            return tuple(Record(position=row.position, entry=_entry(row), at_s=row.at_s) for row in rows)

    def timings(self, call_sid: str) -> tuple[Timing, ...]:
        """Return the stages that a call's turns reached: by turn, then by time."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(_timings).where(_of(_timings, call_sid)).order_by(_timings.c.turn, _timings.c.at_s)
            )
            return tuple(Timing(turn=row.turn, stage=row.stage, at_s=row.at_s) for row in rows)

    def usage_of_call(self, call_sid: str) -> tuple[Usage, ...]:
        """Return what a call's requests to models have cost: by vendor, what was used before what was wasted."""
        return self._usage_where(_of(_usage, call_sid))

    def usage_of_tenant(self, tenant: str, *, since: datetime, until: datetime) -> tuple[Usage, ...]:
        """Return the same for all of a tenant's calls that began at `since` or later, and before `until`."""
        return self._usage_where(_calls.c.tenant == tenant, _calls.c.started_at >= since, _calls.c.started_at < until)

    def _usage_where(self, *which: ColumnElement[bool]) -> tuple[Usage, ...]:
        groups = (_usage.c.vendor, _usage.c.wasted)
        sums = (func.sum(_usage.c.input_tokens), func.sum(_usage.c.output_tokens))
        query = select(*groups, func.count(), *sums).join(_calls).where(*which).group_by(*groups).order_by(*groups)
        with self._database.reading() as connection:
            return tuple(
                Usage(
                    vendor=vendor,
                    wasted=wasted,
                    requests=requests,
                    input_tokens=int(input_tokens),
                    output_tokens=int(output_tokens),
                )
                for vendor, wasted, requests, input_tokens, output_tokens in connection.execute(query)
            )

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

    # ── the front door ──────────────────────────────────────────────────────────────────────────────────────────────

    def consume_token(self, token_id: str, expires_at: datetime) -> bool:
        """Use up a stream's token; return whether this was the first time, in any process.

        Forgets tokens that expired long ago: whoever reads one sees that by itself.
        """
        forgotten = _used_tokens.c.expires_at < self._clock() - CLOCKS_APART
        row = self._database.insert(_used_tokens).values(id=token_id, expires_at=expires_at)
        with self._database.writing() as connection:
            connection.execute(delete(_used_tokens).where(forgotten))
            inserted = row.on_conflict_do_nothing(index_elements=["id"]).returning(_used_tokens.c.id)
            return connection.scalar(inserted) is not None

    def put_next_step(self, call_sid: str, step: NextStep) -> None:
        """Store what comes after a call's stream, over what was to come before.

        Raises `EngineBug` for a transfer to no number, or a hang-up with one.
        """
        values = {"kind": step.kind, "say": _storable(step.say), "number": step.number}
        row = self._database.insert(_next_steps).values(call_sid=call_sid, **values)
        with self._database.writing() as connection:
            connection.execute(row.on_conflict_do_update(index_elements=["call_sid"], set_=values))

    def next_step(self, call_sid: str) -> NextStep | None:
        """Return what comes after a call's stream; None when nobody said so."""
        with self._database.reading() as connection:
            row = connection.execute(select(_next_steps).where(_of(_next_steps, call_sid))).one_or_none()
            return None if row is None else NextStep(kind=row.kind, say=row.say, number=row.number)

    def put_call_report(self, report: CallReported) -> None:
        """Store what Twilio reported of a call. The first time counts."""
        row = self._database.insert(_call_reports).values(attrs.asdict(report))
        with self._database.writing() as connection:
            connection.execute(row.on_conflict_do_nothing())

    def call_reports(self, call_sid: str) -> tuple[CallReported, ...]:
        """Return what Twilio reported of a call, in the order in which it happened."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(_call_reports).where(_of(_call_reports, call_sid)).order_by(_call_reports.c.sequence)
            )
            return tuple(CallReported(**row) for row in rows.mappings())

    def put_stream_report(self, report: StreamReported) -> None:
        """Store what Twilio reported of a stream. The first time counts."""
        row = self._database.insert(_stream_reports).values(attrs.asdict(report) | {"error": _storable(report.error)})
        with self._database.writing() as connection:
            connection.execute(row.on_conflict_do_nothing())

    def stream_reports(self, call_sid: str) -> tuple[StreamReported, ...]:
        """Return what Twilio reported of a call's streams, oldest first; what has no time comes last."""
        with self._database.reading() as connection:
            rows = connection.execute(
                select(_stream_reports)
                .where(_of(_stream_reports, call_sid))
                .order_by(_stream_reports.c.at.nulls_last(), _stream_reports.c.event)
            )
            return tuple(StreamReported(**row) for row in rows.mappings())


def _of(table: Table, call_sid: str) -> ColumnElement[bool]:
    return table.c.call_sid == call_sid


def _put_over(database: Database, table: Table, key: Sequence[str]) -> Insert:
    """Return an insert that goes over the row of the same key."""
    insert = database.insert(table)
    rest = [column.name for column in table.columns if not column.primary_key and column.name not in key]
    return insert.on_conflict_do_update(index_elements=key, set_={name: insert.excluded[name] for name in rest})


def _entry_row(call_sid: str, record: Record) -> dict[str, Json]:
    kind, text, data = _columns(record.entry)
    return {
        "call_sid": call_sid,
        "position": record.position,
        "turn": record.entry.turn,
        "kind": kind,
        "text": _storable(text),
        "data": data,
        "at_s": record.at_s,
    }


def _columns(entry: Entry) -> tuple[str, str, Json]:
    """Return an entry's kind, its text as a person reads it, and whatever else it holds."""
    match entry:
        case CallerSaid(text=text):
            return "caller", text, None
        case AgentSaid(text=text, interrupted=interrupted, unheard=unheard, spoken=spoken):
            return "agent", text, {"interrupted": interrupted, "unheard": _storable(unheard), "spoken": list(spoken)}
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
            spoken = tuple(row.data.get("spoken", ()))
            return AgentSaid(turn=row.turn, text=row.text, **{**row.data, "spoken": spoken})
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
