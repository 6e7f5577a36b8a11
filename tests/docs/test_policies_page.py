"""docs/policies.md says of every policy what the settings say."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from engine.policy import EXHAUSTED
from engine.settings import ACTORS, SESSIONS, ActorsSettings, Settings, settable
from holdfast.reload import SETTABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/policies.md").read_text(encoding="utf-8")
# Tables of their own, and what is empty unless somebody says something.
NOT_ROWS = {"last", "vendors"}


def on_the_page() -> dict[str, dict[str, object]]:
    """Return each key's default by its table, as the page has it."""
    tables: dict[str, dict[str, object]] = {}
    for heading, body in re.findall(r"^### (.*)$([^#]*(?:#(?!## )[^#]*)*)", PAGE, re.MULTILINE):
        rows = dict(re.findall(r"^\| `(\w+)` \| `(.*?)` \|", body, re.MULTILINE))
        for table in re.findall(r"`\[([\w.]+)\]`", heading):
            assert table not in tables
            tables[table] = {key: tomllib.loads(f"key = {default}")["key"] for key, default in rows.items()}
    return tables


def in_the_settings() -> dict[str, dict[str, object]]:
    """Return the same as it is."""
    settings = Settings()
    tables = dict(rows(settings, tuple(name for name in SETTABLE if name != "phrases")))  # whose keys are languages
    actors = {f"actors.{name}": dict(rows(settings.actors, (name,)))[name] for name in ACTORS}
    del tables["actors"]
    backoffs = [actors[f"actors.{name}"].pop("backoff") for name in ACTORS]
    assert backoffs == [backoffs[0]] * len(ACTORS)
    lasts = {f"actors.{name}.last": dict(said(settings.actors, name)) for name in SESSIONS}
    return {**tables, **actors, **lasts, "actors.stt.backoff": dict(values(settings.actors.stt.backoff))}


def said(actors: ActorsSettings, name: str) -> Iterator[tuple[str, object]]:
    """Yield what is said of the last, without what only a file could say."""
    return ((key, value) for key, value in values(getattr(actors, name).last) if value)


def rows(value: object, names: tuple[str, ...]) -> Iterator[tuple[str, dict[str, object]]]:
    for name in names:
        yield name, dict(values(getattr(value, name)))


def values(table: object) -> Iterator[tuple[str, object]]:
    kind = type(table)
    assert attrs.has(kind)
    for name in settable(kind):
        if name in NOT_ROWS:
            continue
        value = getattr(table, name)
        match value:
            case tuple():
                yield name, list(value)
            case _ if isinstance(value, dict) or type(value).__name__ == "mappingproxy":
                yield name, {key: str(each) for key, each in value.items() if key != EXHAUSTED}
            case str():
                yield name, str(value)
            case _:
                yield name, value


@pytest.mark.parametrize("table", sorted(in_the_settings()))
def test_every_key_of_a_policy_stands_there_with_its_default(table: str) -> None:
    assert on_the_page()[table] == in_the_settings()[table]


def test_there_is_no_table_that_there_is_not() -> None:
    assert set(on_the_page()) == set(in_the_settings())


def test_every_row_has_a_reason() -> None:
    found = re.findall(r"^\| `\w+` \|.*\| (.*) \|$", PAGE, re.MULTILINE)
    assert len(found) > 40
    assert all(found)
