"""Reload: reads the files anew while calls are on the line, and puts all of it in force or nothing.

Theory of operation. The files are read and checked as at the start, in a thread. What differs is looked at key by key:
a policy may change, what was opened or rendered at the start may not. Is all of it in order, the change is made in one
plain step: new calls are served by the new files wholly, running ones obey the new policies from their next decision
on.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import structlog
import trio

from engine.codec.toml_lines import KeyPath
from engine.messages.errors import ConfigError
from engine.reception import Reception
from engine.settings import Configuration, Tenant, read, settable, written

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

SETTABLE: Final = ("actors", "agent", "call", "health", "pacing", "phrases", "recognition", "supervisor", "turns")
"""Tables of the engine's file that may change while the server runs."""

TENANT_SETTABLE: Final = ("actors", "agent", "call", "default", "limits", "numbers", "prompt", "turns")
"""What may change of a tenant. Its texts and its voice are rendered at the start, its database is open."""

SPEECH_SETTABLE: Final = ("pause_s", "uninterruptible", "hold_tone_s")
"""What may change of how its agent speaks: what does not sound in its clips."""

HELD: Final = "cannot change while the server runs: start it again, or put it back"
"""Said of all else, without its value, which may hold a secret."""

Change: TypeAlias = tuple[KeyPath, object, object]
"""Where, what it was, what it is to be."""


@attrs.define(eq=False)
class Reload:
    """The files of a running server. Called, it reads them anew.

    path: the engine's file. desk: where the calls are.
    """

    path: Path
    desk: Reception
    _one_at_a_time: trio.Lock = attrs.field(init=False, factory=trio.Lock)

    async def __call__(self) -> str:
        """Put what the files say now in force, and return what has changed, in a line each.

        Raises ConfigError, with every mistake and all that cannot change while the server runs; then nothing has.
        """
        async with self._one_at_a_time:
            try:
                configuration = await trio.to_thread.run_sync(partial(read, self.path))
                lines = self._put(configuration)
            except ConfigError as error:
                _log.error("reload_refused", file=str(self.path), why=str(error))
                raise
            for note in configuration.notes:
                _log.warning("reload_note", note=note)
            _log.info("reloaded", file=str(self.path), changes=lines)
            return "\n".join(lines) or "nothing has changed"

    def _put(self, configuration: Configuration) -> list[str]:
        """Check what differs, then change it at once. Never waits."""
        desk, settings = self.desk, configuration.settings
        tenants = {tenant.id: tenant for tenant in configuration.tenants.tenants}
        wrong = list(self._wrong(configuration, tenants))
        if wrong:
            raise ConfigError("\n".join(wrong))
        lines = [_line("", change) for change in differences(desk.settings, settings)]
        for name, tenant in tenants.items():
            lines += [_line(f"{name}: ", change) for change in differences(desk.tenants[name], tenant)]
        desk.reload(settings, tenants)
        return lines

    def _wrong(self, configuration: Configuration, tenants: Mapping[str, Tenant]) -> Iterator[str]:
        """Yield a line for each difference that a running server cannot follow."""
        desk, sources = self.desk, configuration.sources
        for change in differences(desk.settings, configuration.settings):
            if change[0][0] not in SETTABLE:
                yield f"{sources.place([change[0]])}: {HELD}"
        for name in dict.fromkeys([*desk.tenants, *tenants]):
            if name not in tenants:
                yield f"{name}: its file is gone, and cannot go while the server runs"
            elif name not in desk.tenants:
                yield f"{sources.place([('id',)], tenant=name)}: a new business needs the server to be started again"
            else:
                for change in differences(desk.tenants[name], tenants[name]):
                    table, *keys = change[0]
                    if table not in TENANT_SETTABLE and not (table == "speech" and keys[0] in SPEECH_SETTABLE):
                        yield f"{sources.place([change[0]], tenant=name)}: {HELD}"
                yield from self._unopened(configuration, tenants[name])

    def _unopened(self, configuration: Configuration, tenant: Tenant) -> Iterator[str]:
        """Yield a line for each vendor in a tenant's lists that was not opened for it at the start."""
        if tenant.id not in self.desk.teams:
            return
        for work in ("stt", "llm", "tts"):
            opened = self.desk.opened(tenant.id, work)
            for index, vendor in enumerate(configuration.settings.vendors_of(tenant, work)):
                if vendor not in opened:
                    place = configuration.sources.place([("call", work, index)], tenant=tenant.id)
                    names = ", ".join(f"'{each}'" for each in opened)
                    yield f"{place}: '{vendor}' was not opened for {tenant.id} when the server started; opened: {names}"


def differences(old: object, new: object, at: KeyPath = ()) -> Iterator[Change]:
    """Yield each key at which two settings of a class differ, lists as a whole."""
    if old == new:
        return
    was, now = _parts(old), _parts(new)
    if (was is None and (now is None or old is not None)) or (now is None and new is not None):
        yield at, old, new
        return
    was, now = was or {}, now or {}  # of what was absent, every key was
    for key in dict.fromkeys([*was, *now]):
        yield from differences(was.get(key), now.get(key), (*at, key))


def _parts(value: object) -> Mapping[str, object] | None:
    """Return the keys of a table, or of a value's class; None of what has none."""
    if isinstance(value, Mapping):
        return value
    kind = type(value)
    return {name: getattr(value, name) for name in settable(kind)} if attrs.has(kind) else None


def _line(whose: str, change: Change) -> str:
    path, old, new = change
    return f"{whose}{written(path)}: {_shown(old)} → {_shown(new)}"


def _shown(value: object) -> str:
    match value:
        case None:
            return "–"
        case str() if len(value) > _SHOWN_CHARS:
            return f"{value[:_SHOWN_CHARS]}…"
        case str() | int() | float():
            return str(value)
        case Sequence():
            return f"[{', '.join(map(str, value))}]"
        case _:
            return "a table"


_SHOWN_CHARS: Final = 40
"""A prompt may be a page long."""
