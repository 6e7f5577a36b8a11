"""Serve: puts the engine together from its configuration, and answers the phone with it."""

import datetime as dt
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import structlog
import trio
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from engine.messages.errors import ConfigError
from engine.providers.clips import render_clips
from engine.providers.local.script import spoken_number
from engine.providers.local.warm import open_local
from engine.reception import Reception, Team
from engine.settings import Settings, Tenants
from engine.storage.runner import in_thread
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from web.app import TenantChoice, create_app
from web.media import MediaDoor, beside
from web.server import Bind, listen, serve_on

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

TOOL_THREADS: Final = 8
"""Tools that run at once in a process: each waits for a database, not for a core."""

Progress = Callable[[str], None]


async def serve(
    settings: Settings,
    tenants: Tenants,
    *,
    bind: str,
    progress: Progress,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer calls until cancelled. All that can be wrong is found before the port opens: then it raises ConfigError.

    progress: is told in a line what takes long.
    task_status: is given the addresses once calls are answered.
    """
    for listener in await listen(bind):  # what is wrong with it, a port in use too, is said before anything is loaded
        await listener.aclose()
    async with reception(settings, tenants, progress=progress) as desk:
        listeners = await listen(bind)
        public_url = _public_url(settings, listeners)
        app = create_app(public_url=public_url, choose=partial(_choose, tenants), ended=desk.ended)
        _log.info("serving", public_url=public_url, tenants=[tenant.id for tenant in tenants.tenants])
        await serve_on(beside(app, MediaDoor(desk.answer)), listeners, task_status=task_status)


async def until_told(work: Callable[[], Awaitable[None]]) -> None:
    """Do `work` until SIGTERM or Ctrl-C: calls are closed and written down. A second one does not wait for that."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            number = await anext(signals)
        _log.info("told_to_stop", signal=signal.Signals(number).name)
        nursery.cancel_scope.cancel()


def _public_url(settings: Settings, listeners: Sequence[trio.SocketListener]) -> str:
    """Return what Twilio sees: as configured, or the very port that was opened where only this machine can call."""
    host = urlsplit(settings.public_url).hostname or ""
    if host not in {"127.0.0.1", "localhost", "::1"}:
        return settings.public_url
    address = listeners[0].socket.getsockname()
    return f"http://{Bind(host=address[0], port=address[1])}"


def _choose(tenants: Tenants, dialled: str) -> TenantChoice | None:
    tenant = tenants.for_number(dialled)
    return None if tenant is None else TenantChoice(name=tenant.id)


@asynccontextmanager
async def reception(settings: Settings, tenants: Tenants, *, progress: Progress) -> AsyncIterator[Reception]:
    """Open all that calls need: databases, vendors, clips. Raises ConfigError."""
    started_at = time.monotonic()
    # One thread for the store: its writes are ordered, and a database has one writer anyway.
    runner = in_thread(trio.CapacityLimiter(1))
    with ExitStack() as stack:
        make_folders(settings, tenants)
        store = stack.enter_context(await trio.to_thread.run_sync(Store.open, settings.storage.url))
        left_open = await runner(partial(store.close_open_calls, "the server was stopped"))
        if left_open:
            _log.warning("calls_closed", count=left_open, reason="the server was stopped")
        businesses = stack.enter_context(Businesses())
        for tenant in tenants.tenants:
            await trio.to_thread.run_sync(businesses.open, tenant.tools, tenant.clinic or {})
        teams = await hire(settings, tenants, progress=progress)
        progress(f"ready in {time.monotonic() - started_at:.1f} s")
        yield Reception(
            settings=settings,
            tenants={tenant.id: tenant for tenant in tenants.tenants},
            teams=teams,
            store=store,
            businesses=businesses,
            runner=runner,
            tool_runner=in_thread(trio.CapacityLimiter(TOOL_THREADS), abandon_on_cancel=True),
            dumps=Path("var/raised"),
        )


async def hire(settings: Settings, tenants: Tenants, *, progress: Progress) -> dict[str, Team]:
    """Open the vendors, and return who serves each tenant's calls, by its id. Raises ConfigError."""
    voices = tuple(dict.fromkeys(tenant.voice for tenant in tenants.tenants))
    local = await open_local(voices=voices, cores=settings.vendors.local.threads, tell=progress)
    # Known to be there only now that the extra `local` has been opened.
    from engine.providers.local.vad import FrameVad  # noqa: PLC0415

    assert local.recogniser is not None, "it was asked for"
    teams: dict[str, Team] = {}
    for tenant in tenants.tenants:
        voice = local.voices[tenant.voice]
        zone = ZoneInfo((tenant.clinic or {}).get("timezone", "UTC"))
        facts = {"business": tenant.name, "human_number": spoken_number(tenant.human_number or "")}
        teams[tenant.id] = Team(
            recogniser=local.recogniser,
            voice=voice,
            model=await local.agent(tenant.script, today=partial(_today, zone), facts=facts),
            vad=FrameVad,
            clips=await render_clips(tenant.clips, voice, Path(settings.storage.clips), progress=progress),
        )
    return teams


def _today(zone: ZoneInfo) -> dt.date:
    return dt.datetime.now(zone).date()


def make_folders(settings: Settings, tenants: Tenants) -> None:
    """Make the folders that SQLite's files are to stand in: SQLite makes a file, never its folder."""
    urls = [settings.storage.url, *(str((tenant.clinic or {}).get("database", "")) for tenant in tenants.tenants)]
    for url in filter(None, urls):
        try:
            parts = make_url(url)
        except ArgumentError:
            continue  # the database says what is wrong with it
        if parts.get_backend_name() == "sqlite" and parts.database and parts.database != ":memory:":
            try:
                Path(parts.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"{url}: its folder cannot be made: {(error.strerror or str(error)).lower()}"
                ) from error
