"""Databases as the engine opens them: SQLite by default, PostgreSQL by its URL, and no SQL that only one of them knows.

Theory of operation. A `Schema` names some tables and the steps that led to them; `open_database` creates them, or
brings an older database up to date, in one transaction. Several schemas may share a database: each has its own row
in `schema_versions`. Writing transactions take SQLite's write lock at their start: one that began by reading and
wants to write later would be refused at once, without waiting for its turn.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from sqlite3 import Connection as SqliteConnection
from typing import Final, Self, TypeAlias

import attrs
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from engine.messages.errors import ConfigError, EngineBug

BUSY_S: Final = 5.0
"""How long a write waits for another process's, in seconds. SQLite's driver has the same default."""

Upgrade: TypeAlias = Callable[[Connection], None]
Insert: TypeAlias = sqlite.Insert | postgresql.Insert

# Both know `on_conflict_do_update` and `on_conflict_do_nothing`, which make a write safe to repeat in one statement.
_INSERTS: Final[Mapping[str, Callable[[Table], Insert]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_OPENING_LOCK: Final = 0x_401D_FA57
"""PostgreSQL's advisory lock of this project: any number that other users of the same server do not choose."""

_HINTS: Final = (
    ("locked", "another process has held it for too long"),
    ("readonly", "the file and its folder must be writable"),
    ("read-only", "it must be writable"),
    ("unable to open", "its folder must exist and be writable"),
    ("not a database", "it is some other file"),
)

_versions_metadata = MetaData()
_versions = Table(
    "schema_versions",
    _versions_metadata,
    Column("name", String, primary_key=True),
    Column("version", Integer, nullable=False),
)


@attrs.frozen(kw_only=True)
class Schema:
    """Some tables, and how a database of an older version comes to them.

    name: what its version is kept under.
    metadata: the tables as they are now.
    upgrades: the step from version 1 to 2, from 2 to 3 and so on; a database that is new needs none of them.
    """

    name: str
    metadata: MetaData
    upgrades: tuple[Upgrade, ...] = ()

    @property
    def version(self) -> int:
        return 1 + len(self.upgrades)


@attrs.frozen(kw_only=True)
class Database:
    """An open database. Its methods block: call them through a `Runner`.

    name: its URL without the password, for errors and logs.
    """

    name: str
    _engine: Engine

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes: committed at the end, rolled back by an exception.

        Raises `ConfigError` where the operator must act (locked, read-only, gone), `EngineBug` where a row breaks
        the schema.
        """
        with self._in_plain_words(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads, and in SQLite waits for no writer. Raises as `writing` does."""
        with self._in_plain_words(), self._engine.execution_options(holdfast_reading=True).connect() as connection:
            yield connection

    def insert(self, table: Table) -> Insert:
        """Return an insert into `table` that can say what happens when the row is already there."""
        return _INSERTS[self._engine.dialect.name](table)

    def close(self) -> None:
        """Close every connection that no thread is using."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _in_plain_words(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, DataError) as error:
            raise EngineBug(f"database {self.name!r} refused a row: {_first_line(error.orig)}") from error
        except (DBAPIError, PoolTimeoutError) as error:
            said = _first_line(error.orig if isinstance(error, DBAPIError) else error)
            hint = next((f"; {hint}" for word, hint in _HINTS if word in said), "")
            raise ConfigError(f"database {self.name!r} cannot be used: {said}{hint}") from error
        except (SQLAlchemyError, UnicodeEncodeError) as error:  # SQLite's driver lets the second pass as it is
            raise EngineBug(f"database {self.name!r} was asked wrongly: {_first_line(error)}") from error


def open_database(url: str, schema: Schema, *, busy_s: float = BUSY_S) -> Database:
    """Open the database at `url`, such as "sqlite:///holdfast.db", with the tables of `schema` in it.

    busy_s: how long a write waits for another process's before it fails.
    Raises `ConfigError`, in one sentence, when it is missing, locked, read-only, no database, from a newer version of
    the engine, or of a kind that is not known.
    """
    parsed = _parse(url)
    name = parsed.render_as_string(hide_password=True)
    try:
        # Hidden: parameters in an error's text, and so in a traceback in the log, would be what callers have said.
        is_sqlite = parsed.get_backend_name() == "sqlite"
        engine = _create_sqlite(parsed, busy_s) if is_sqlite else create_engine(parsed, hide_parameters=True)
    except ImportError as error:
        raise ConfigError(f"database {name!r} needs the package {error.name!r}, which is not installed") from error
    except NoSuchModuleError as error:
        raise ConfigError(f"database {name!r} has an unknown driver {parsed.get_driver_name()!r}") from error
    database = Database(name=name, engine=engine)
    try:
        _bring_up_to_date(database, schema)
    except (ConfigError, EngineBug):
        database.close()
        raise
    return database


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # The text is not repeated: what cannot be parsed cannot be shown without the password that may be in it.
        raise ConfigError('database URL cannot be read; it should be like "sqlite:///holdfast.db"') from error
    kind = parsed.drivername.partition("+")[0]
    if kind not in _INSERTS:
        raise ConfigError(f"unknown kind of database {kind!r}; known: {', '.join(map(repr, sorted(_INSERTS)))}")
    return parsed


def _create_sqlite(url: URL, busy_s: float) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    # One in memory is its connection: kept alone in the pool, it is the same for every thread, one at a time.
    pool = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0} if in_memory else {}
    connect_args = {"timeout": busy_s, "check_same_thread": False}
    engine = create_engine(url, connect_args=connect_args, hide_parameters=True, **pool)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: SqliteConnection, _: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA journal_mode=WAL").close()
    connection.execute("PRAGMA foreign_keys=ON").close()


def _begin_sqlite(connection: Connection) -> None:
    # Before the driver's own BEGIN, which would come with the first write and take no lock until then.
    reading = connection.get_execution_options().get("holdfast_reading", False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _bring_up_to_date(database: Database, schema: Schema) -> None:
    """Create or upgrade the tables. Always writes its row, so that a read-only database is found before a call is."""
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            # One process at a time, as SQLite's write lock has it: two that create a table at once collide.
            connection.execute(select(func.pg_advisory_xact_lock(_OPENING_LOCK)))
        _versions_metadata.create_all(connection)
        found = connection.scalar(select(_versions.c.version).where(_versions.c.name == schema.name))
        if found is not None and found > schema.version:
            raise ConfigError(
                f"database {database.name!r} has version {found} of {schema.name!r}; this engine knows up to "
                f"{schema.version}"
            )
        if found is None:
            schema.metadata.create_all(connection)
        else:
            for upgrade in schema.upgrades[found - 1 :]:
                upgrade(connection)
        row = database.insert(_versions).values(name=schema.name, version=schema.version)
        connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"version": schema.version}))


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
