"""Demo: the server with the embedded default, one spoken call that books an appointment, and the row it left."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio
from rich.console import Console
from rich.table import Table

from engine.messages.errors import ConfigError
from engine.settings import Settings, Tenants
from engine.storage.store import Store
from holdfast.call import Kept, call, waterfall
from holdfast.keys import read_keys
from holdfast.serve import serve
from simulators import scenario

FOLDER: Final = Path("var/demo")
"""Where the demo keeps its databases and its recording, made new at each run, apart from the real ones."""


async def demo(settings: Settings, tenants: Tenants, *, script: str, console: Console) -> Kept:
    """Serve, place the call of scenario `script`, print what came of it, and return what is left.

    Raises ConfigError where the call booked nothing.
    """
    for stale in FOLDER.glob("*.sqlite3*"):
        stale.unlink()
    settings, tenants = apart(settings, tenants, FOLDER)
    keys = attrs.evolve(read_keys(settings, tenants=tenants), auth_tokens=())  # nobody but this process calls
    async with trio.open_nursery() as nursery:
        addresses: list[str] = await nursery.start(
            partial(
                serve,
                settings,
                tenants,
                bind="127.0.0.1:0",
                keys=keys,
                progress=lambda line: console.print(f"[dim]{line}[/dim]"),
            )
        )
        with Store.open(settings.storage.url) as store:
            kept = await call(
                scenario.load(script),
                server_url=f"http://{addresses[0]}",
                store=store,
                folder=FOLDER,
                console=console,
                name="demo",
            )
        nursery.cancel_scope.cancel()
    waterfall(kept, console)
    console.print(f"recording: {kept.wav} (left the caller, right the agent); details: {kept.json}", highlight=False)
    rows = appointments(FOLDER / "clinic.sqlite3")
    _show(rows, console)
    if not rows:
        raise ConfigError("the call booked no appointment")
    return kept


def apart(settings: Settings, tenants: Tenants, folder: Path) -> tuple[Settings, Tenants]:
    """Return the same with databases of their own in `folder`, so that a trial call leaves the real ones alone."""
    storage = attrs.evolve(settings.storage, url=f"sqlite:///{folder / 'holdfast.sqlite3'}")
    clinic = {"database": f"sqlite:///{folder / 'clinic.sqlite3'}"}
    moved = tuple(
        tenant if tenant.clinic is None else attrs.evolve(tenant, clinic={**tenant.clinic, **clinic})
        for tenant in tenants.tenants
    )
    return attrs.evolve(settings, storage=storage), Tenants(tenants=moved)


def appointments(path: Path) -> list[dict[str, object]]:
    """Return the rows of the clinic's table of appointments, as SQLite has them."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("SELECT * FROM appointments ORDER BY id")]


def _show(rows: list[dict[str, object]], console: Console) -> None:
    for row in rows:
        table = Table(title=f"appointments in {FOLDER / 'clinic.sqlite3'}", title_justify="left", show_header=False)
        for column, value in row.items():
            table.add_row(column, str(value))
        console.print(table)
