"""Databases: created once, upgraded in steps, and refused in one sentence."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, select

from engine.messages.errors import ConfigError, EngineBug
from engine.storage.database import Schema, open_database
from engine.storage.store import Store

METADATA = MetaData()
THINGS = Table("things", METADATA, Column("id", Integer, primary_key=True), Column("name", String, unique=True))
SCHEMA = Schema(name="things", metadata=METADATA)


def url(folder: Path, name: str = "x.db") -> str:
    return f"sqlite:///{folder / name}"


def test_a_file_keeps_what_was_written_and_is_read_while_another_writes(tmp_path: Path) -> None:
    with open_database(url(tmp_path), SCHEMA) as database:
        with database.writing() as connection:
            connection.execute(database.insert(THINGS).values(name="one"))
        with database.writing() as writer, database.reading() as reader:
            writer.execute(database.insert(THINGS).values(name="two"))
            assert reader.scalars(select(THINGS.c.name)).all() == ["one"]
    with open_database(url(tmp_path), SCHEMA) as database, database.reading() as reader:
        assert reader.scalars(select(THINGS.c.name)).all() == ["one", "two"]


def test_sqlite_is_in_wal_with_foreign_keys_and_the_wait_it_was_told(tmp_path: Path) -> None:
    with open_database(url(tmp_path), SCHEMA, busy_s=1.25) as database, database.reading() as connection:
        pragmas = ("journal_mode", "foreign_keys", "busy_timeout")
        assert [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas] == ["wal", 1, 1250]


def test_a_database_in_memory_is_one_for_all_threads() -> None:
    with open_database("sqlite://", SCHEMA) as database:

        def write(name: int) -> None:
            with database.writing() as connection:
                connection.execute(database.insert(THINGS).values(name=str(name)))

        threads = [threading.Thread(target=write, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with database.reading() as connection:
            assert len(connection.scalars(select(THINGS.c.name)).all()) == 8


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    with open_database(url(tmp_path), SCHEMA) as database:
        with pytest.raises(ZeroDivisionError), database.writing() as connection:  # noqa: PT012 (its second line raises)
            connection.execute(database.insert(THINGS).values(name="half"))
            _ = 1 / 0
        with database.reading() as connection:
            assert connection.scalars(select(THINGS.c.name)).all() == []


def test_many_processes_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    failures: list[Exception] = []

    def opening() -> None:
        try:
            open_database(url(tmp_path), SCHEMA).close()
        except (ConfigError, EngineBug) as error:
            failures.append(error)

    threads = [threading.Thread(target=opening) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_older_database_takes_each_missing_step_once(tmp_path: Path) -> None:
    steps: list[int] = []
    newer = Schema(name="things", metadata=METADATA, upgrades=(lambda _: steps.append(2), lambda _: steps.append(3)))
    open_database(url(tmp_path), SCHEMA).close()
    open_database(url(tmp_path), newer).close()
    open_database(url(tmp_path), newer).close()
    assert steps == [2, 3]


def test_a_new_database_needs_no_step(tmp_path: Path) -> None:
    steps: list[int] = []
    open_database(url(tmp_path), Schema(name="t", metadata=METADATA, upgrades=(lambda _: steps.append(2),))).close()
    assert steps == []


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    open_database(url(tmp_path), Schema(name="things", metadata=METADATA, upgrades=(lambda _: None,))).close()
    with pytest.raises(ConfigError, match=r"has version 2 of 'things'; this engine knows up to 1$"):
        open_database(url(tmp_path), SCHEMA)


def test_two_schemas_share_a_file(tmp_path: Path) -> None:
    open_database(url(tmp_path), SCHEMA).close()
    with Store.open(url(tmp_path)) as store:
        assert store.open_calls() == ()


def locked(folder: Path) -> sqlite3.Connection:
    open_database(url(folder), SCHEMA).close()
    holder = sqlite3.connect(folder / "x.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder


def test_a_locked_database_is_refused_after_the_wait(tmp_path: Path) -> None:
    holder = locked(tmp_path)
    with pytest.raises(ConfigError, match="cannot be used: database is locked; another process has held it"):
        open_database(url(tmp_path), SCHEMA, busy_s=0.05)
    holder.execute("ROLLBACK")
    open_database(url(tmp_path), SCHEMA, busy_s=0.05).close()
    holder.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: url(folder / "missing"), "unable to open database file; its folder must exist and be writable"),
        (lambda folder: f"sqlite:///file:{folder}/x.db?mode=ro&uri=true", "readonly database; the file and its folder"),
        (lambda folder: url(folder, "text"), "file is not a database; it is some other file"),
        (lambda _: "mysql://user:secret@host/name", "unknown kind of database 'mysql'; known: 'postgresql', 'sqlite'"),
        (lambda _: "postgresql+nonesuch://host/name", "has an unknown driver 'nonesuch'"),
        (lambda _: "holdfast.db", 'database URL cannot be read; it should be like "sqlite:///holdfast.db"'),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, make: Callable[[Path], str], said: str) -> None:
    open_database(url(tmp_path), SCHEMA).close()
    (tmp_path / "text").write_text("this is text, and long enough to be taken for a header of a database\n" * 20)
    with pytest.raises(ConfigError) as caught:
        open_database(make(tmp_path), SCHEMA)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_is_never_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        open_database("postgresql+psycopg://user:secret@127.0.0.1:1/name", SCHEMA)
    assert "secret" not in str(caught.value)
    assert "user:***@127.0.0.1" in str(caught.value)


def test_a_row_that_breaks_the_schema_is_our_bug(tmp_path: Path) -> None:
    with open_database(url(tmp_path), SCHEMA) as database:
        row = database.insert(THINGS).values(name="same")
        with database.writing() as connection:
            connection.execute(row)
        with pytest.raises(EngineBug, match="refused a row: UNIQUE"), database.writing() as connection:
            connection.execute(row)
