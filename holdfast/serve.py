"""Serve: puts the engine together from its configuration, and answers the phone with it."""

import gc
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs
import structlog
import trio
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from engine.codec.public_url import is_loopback
from engine.debug import Recorder, recorder
from engine.faults import VENDORS
from engine.faulty import FaultBoard
from engine.messages.callbacks import CallReported, StreamReported
from engine.messages.errors import ConfigError
from engine.metrics import Metrics
from engine.reception import Reception
from engine.settings import Settings, Tenants
from engine.storage.runner import in_thread
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from holdfast.keys import Keys, read_keys
from holdfast.logs import redaction
from holdfast.reload import Reload
from holdfast.vendors import Progress, hire
from web.admin import offer_faults
from web.app import TenantChoice, create_app, offer_reload
from web.door import DoorPolicy, FrontDoor
from web.media import MediaDoor, beside
from web.server import Bind, listen, serve_on
from web.tickets import stream_keys

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

TOOL_THREADS: Final = 8
"""Tools that run at once in a process: each waits for a database, not for a core."""

URGENT_THREADS: Final = 4
"""The same of what a caller waits for, and not for long: whether a stream's token was used, what comes after it."""

GOODBYE_S: Final = 15.0
"""How long calls may take to end once they were told to: a sentence of goodbye, then what is still to be written."""

ANSWER_S: Final = 0.5
"""How long the last answers to the phone network may take to get there before the connections are closed."""

COLLECT_AFTER: Final = (20_000, 20, 100)
"""Of each generation, in objects and collections: Python's 700 stop 25 calls a hundred times a second, for nothing."""

DEBUG_FOLDER: Final = Path("var/debug")


# Where a server listens that listens at every address: nowhere that one could call.
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - nothing is bound here


@attrs.define(eq=False)
class Stop:
    """How a server is told to stop: first that it should, then that it has to.

    asked: no new calls; running ones may finish. hurried: they are told goodbye now.
    serving: whether there is anything to finish.
    And to read its files anew: hung_up is set, and whoever obeys puts another in its place.
    """

    asked: trio.Event = attrs.field(factory=trio.Event)
    hurried: trio.Event = attrs.field(factory=trio.Event)
    hung_up: trio.Event = attrs.field(factory=trio.Event)
    serving: bool = False


@attrs.frozen(kw_only=True)
class Debug:
    """What is kept of each call for whoever looks for a fault. Both hold what callers said."""

    audio: bool = False
    wire: bool = False


async def serve(  # noqa: PLR0913 - what a server is made of
    settings: Settings,
    tenants: Tenants,
    *,
    bind: str,
    progress: Progress,
    keys: Keys | None = None,
    stop: Stop | None = None,
    debug: Debug = Debug(),
    allow_faults: bool = False,
    file: Path | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Answer calls until cancelled, or until `stop` has been obeyed: see `_drain`.

    All that can be wrong is found before the port opens: then it raises ConfigError.
    keys: as read from the environment by default. progress: is told in a line what takes long.
    allow_faults: whoever may ask can have a call fail on purpose: see `web.admin`.
    file: that the settings were read from: it is read anew on SIGHUP, and when an operator asks.
    task_status: is given the addresses once calls are answered.
    """
    keys = keys or read_keys(settings, tenants=tenants)
    stop = stop or Stop()
    loopback_only = not keys.auth_tokens
    await tried(bind, loopback_only=loopback_only)  # what is wrong with it is said before anything is loaded
    scrub = redaction(secrets=keys.secrets, numbers=settings.log.numbers)
    async with (
        recorder(DEBUG_FOLDER, audio=debug.audio, wire=debug.wire, scrub=scrub) as records,
        reception(settings, tenants, keys, progress=progress, records=records) as desk,
        trio.open_nursery() as nursery,
    ):
        left_open = await desk.runner(partial(desk.store.close_open_calls, "the server was stopped"))
        if left_open:
            _log.warning("calls_closed", count=left_open, reason="the server was stopped")
        listeners = await listen(bind, loopback_only=loopback_only)
        public_url = _public_url(settings, *listeners[0].socket.getsockname()[:2])
        door = FrontDoor(
            public_url=public_url,
            policy=DoorPolicy(
                calls_at_once=settings.door.calls_at_once,
                calls_a_minute_per_caller=settings.door.calls_a_minute_per_caller,
                token_s=settings.door.token_s,
                trusted_proxies=settings.door.trusted_proxies,
            ),
            auth_tokens=keys.auth_tokens,
            keys=stream_keys(keys.auth_tokens),
            consume=lambda token, expires_at: desk.urgent(partial(desk.store.consume_token, token, expires_at)),
            count=desk.metrics.refused,
        )
        app = create_app(
            door,
            choose=partial(_choose, desk),
            next_step=desk.next_step,
            record_call=partial(_record_call, desk),
            record_stream=partial(_record_stream, desk),
            metrics=desk.metrics.exposition,
            counted=desk.metrics.counted,
        )
        if file is not None:
            reload = Reload(path=file, desk=desk)
            offer_reload(app, door, reload, token=keys.admin_token)
            nursery.start_soon(_reload_when_told, reload, stop)
        if allow_faults:
            board = FaultBoard(vendors=VENDORS)
            desk.open_call = board.open
            offer_faults(app, door, board, token=keys.admin_token)
            _log.warning("faults_allowed", why="--allow-faults: not for a server that answers customers")
        # What was loaded stays: the collector need not walk it again with every call on the line.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        _log.info("serving", public_url=public_url, tenants=[tenant.id for tenant in tenants.tenants])
        if loopback_only:
            variable = settings.vendors.twilio.auth_token_env
            _log.warning("signatures_unchecked", why=f"{variable} is not set, so only this machine is served")
        nursery.start_soon(desk.metrics.sample, desk.depths)
        addresses: list[str] = await nursery.start(
            partial(serve_on, unheard=door.refuse_unheard), beside(app, MediaDoor(door, desk.answer)), listeners
        )
        stop.serving = True
        task_status.started(addresses)
        await _drain(door, desk, stop, settings.door.drain_s)
        nursery.cancel_scope.cancel()


async def _reload_when_told(reload: Callable[[], Awaitable[str]], stop: Stop) -> None:
    """Reload whenever a SIGHUP has come, until cancelled. A file that is refused was told in the log."""
    while True:
        await stop.hung_up.wait()
        stop.hung_up = trio.Event()
        with suppress(ConfigError):
            await reload()


async def _drain(door: FrontDoor, desk: Reception, stop: Stop, within_s: float) -> None:
    """Once asked to, let no call in and the running ones finish; then tell those that are left goodbye."""
    await stop.asked.wait()
    door.drain()
    _log.info("draining", calls=door.calls, within_s=within_s)
    with trio.move_on_after(within_s):
        async with trio.open_nursery() as nursery:

            async def first(event: Callable[[], Awaitable[None]]) -> None:
                await event()
                nursery.cancel_scope.cancel()

            nursery.start_soon(first, door.empty)
            nursery.start_soon(first, stop.hurried.wait)
    if desk.calls:
        _log.warning("calls_dismissed", calls=len(desk.calls))
        desk.dismiss("stopping")
        with trio.move_on_after(GOODBYE_S):
            await desk.empty()
    # Twilio asks what comes next once it has seen the line close: whom to ring, or that the call is over.
    await door.settled()
    await trio.sleep(ANSWER_S)
    _log.info("drained", calls_cut=len(desk.calls))


async def until_told(work: Callable[[Stop], Awaitable[None]]) -> None:
    """Do `work` until it has obeyed SIGTERM or Ctrl-C.

    The first asks it to stop, and ends it at once if it serves nobody yet; the second hurries it; the third cancels it:
    calls are cut, and written down all the same. More change nothing. SIGHUP has the files read anew, once it serves.
    """
    stop, scope = Stop(), trio.CancelScope()

    async def listen_for(signals: AsyncIterator[int]) -> None:
        # To the very end: a signal that nobody has heard by then kills the process as if nobody had listened at all.
        times = 0
        async for number in signals:
            if number == signal.SIGHUP:
                stop.hung_up.set()
                continue
            times += 1
            _log.info("told_to_stop", signal=signal.Signals(number).name, times=times)
            if times > 2 or not stop.serving:  # noqa: PLR2004 - the third
                scope.cancel()
            elif times == 2:  # noqa: PLR2004 - the second
                stop.hurried.set()
            else:
                stop.asked.set()

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen_for, signals)
            with scope:
                await work(stop)
            nursery.cancel_scope.cancel()


async def check(settings: Settings, tenants: Tenants, keys: Keys, *, bind: str, progress: Progress) -> None:
    """Do all that a server does before it answers its first call, and nothing after. Raises ConfigError."""
    await tried(bind, loopback_only=not keys.auth_tokens)
    async with reception(settings, tenants, keys, progress=progress):
        pass


async def tried(bind: str, *, loopback_only: bool) -> None:
    """Open a port and close it again. Raises ConfigError where it cannot be had."""
    for listener in await listen(bind, loopback_only=loopback_only):
        await listener.aclose()


def _public_url(settings: Settings, host: str, port: int) -> str:
    """Return what Twilio sees: as configured, or the very port that was opened where only this machine can call.

    host, port: where the server listens.
    """
    configured = urlsplit(settings.public_url)
    if configured.scheme == "https" or not is_loopback(configured.hostname or "") or (configured.port or 80) == port:
        return settings.public_url  # as it is written: signatures are over that
    return f"http://{Bind(host=configured.hostname or '' if host in _EVERYWHERE else host, port=port)}"


def _choose(desk: Reception, dialled: str) -> TenantChoice | None:
    tenant = Tenants(tenants=tuple(desk.tenants.values())).for_number(dialled)
    if tenant is None:
        return None
    transfers = "transfer" in desk.settings.supervisor.on_exhausted
    return TenantChoice(name=tenant.id, human_number=tenant.human_number if transfers else None)


async def _record_call(desk: Reception, report: CallReported) -> None:
    await desk.urgent(partial(desk.store.put_call_report, report))


async def _record_stream(desk: Reception, report: StreamReported) -> None:
    await desk.urgent(partial(desk.store.put_stream_report, report))


@asynccontextmanager
async def reception(
    settings: Settings, tenants: Tenants, keys: Keys, *, progress: Progress, records: Recorder | None = None
) -> AsyncIterator[Reception]:
    """Open all that calls need: databases, vendors, clips. Raises ConfigError."""
    started_at = time.monotonic()
    # One thread for the store: its writes are ordered, and a database has one writer anyway.
    runner = in_thread(trio.CapacityLimiter(1))
    async with AsyncExitStack() as later:
        stack = later.enter_context(ExitStack())
        make_folders(settings, tenants)
        store = stack.enter_context(await trio.to_thread.run_sync(Store.open, settings.storage.url))
        businesses = stack.enter_context(Businesses())
        for tenant in tenants.tenants:
            await trio.to_thread.run_sync(businesses.open, tenant.tools, tenant.clinic or {})
        desk = Reception(
            settings=settings,
            tenants={tenant.id: tenant for tenant in tenants.tenants},
            teams={},
            store=store,
            businesses=businesses,
            runner=runner,
            urgent=in_thread(trio.CapacityLimiter(URGENT_THREADS), abandon_on_cancel=True),
            tool_runner=in_thread(trio.CapacityLimiter(TOOL_THREADS), abandon_on_cancel=True),
            dumps=Path("var/raised"),
            metrics=Metrics(),
            records=records,
        )
        desk.teams = await later.enter_async_context(hire(settings, tenants, keys, desk=desk, progress=progress))
        progress(f"ready in {time.monotonic() - started_at:.1f} s")
        yield desk


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
