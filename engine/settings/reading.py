"""Reading: the engine's file and the tenants' that it points to, whole; or every mistake in all of them at once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from engine.codec.toml_lines import KeyPath
from engine.messages.errors import ConfigError
from engine.settings.engine import Settings
from engine.settings.ladder import Ladder
from engine.settings.shaping import shaped
from engine.settings.sources import File, Sources, read_file
from engine.settings.tenant import Tenant, Tenants


@attrs.frozen(kw_only=True)
class Configuration:
    """All that was read: the settings, the tenants, where they stand, and what is odd and no mistake."""

    settings: Settings
    tenants: Tenants
    sources: Sources
    notes: tuple[str, ...] = ()


def read(path: Path) -> Configuration:
    """Read the engine's file and the tenants that it points to. Raises `ConfigError` with every mistake."""
    engine = read_file(path)
    settings = shaped(engine, Settings)
    files = _tenant_files(Path(settings.tenants))
    tenants = Tenants(tenants=tuple(tenant for tenant, _ in files))
    sources = Sources(engine=engine, tenants={tenant.id: file for tenant, file in files})
    ladder = Ladder(settings=settings, tenants=tenants, sources=sources)
    lines = tuple(dict.fromkeys((*ladder.mistakes(), *_not_understood(settings, tenants, sources))))
    if lines:
        raise ConfigError("\n".join(lines))
    return Configuration(settings=settings, tenants=tenants, sources=sources, notes=tuple(ladder.notes()))


def _not_understood(settings: Settings, tenants: Tenants, sources: "Sources") -> Iterator[str]:
    """Yield a line for each tenant whose callers a recogniser of English alone would be given."""
    model = settings.vendors.deepgram.model
    if not model.startswith("flux-") or model == "flux-general-multi":
        return
    for tenant in tenants.tenants:
        if "deepgram" in settings.vendors_of(tenant, "stt") and tenant.language.split("-")[0] != "en":
            place = sources.place([("language",)], tenant=tenant.id)
            yield f"{place}: '{model}' hears English alone, 'flux-general-multi' '{tenant.language}' too"


def load(path: Path) -> tuple[Settings, Tenants]:
    """Read as `read` does, and return the settings and the tenants alone. Raises `ConfigError`."""
    configuration = read(path)
    return configuration.settings, configuration.tenants


def load_settings(path: Path) -> Settings:
    """Read `config/engine.toml`, wherever it is. Raises `ConfigError` with every mistake."""
    return shaped(read_file(path), Settings)


def load_tenants(folder: Path) -> Tenants:
    """Read every `*.toml` of `folder`, one tenant each. Raises `ConfigError` with every mistake of all of them."""
    return Tenants(tenants=tuple(tenant for tenant, _ in _tenant_files(folder)))


def _tenant_files(folder: Path) -> Sequence[tuple[Tenant, File]]:
    lines: list[str] = []
    tenants: list[tuple[Tenant, File]] = []
    paths = sorted(folder.glob("*.toml"))
    for path in paths:
        try:
            file = read_file(path)
            tenants.append((shaped(attrs.evolve(file, table={"id": path.stem, **file.table}), Tenant), file))
        except ConfigError as error:
            lines.append(str(error))
    lines += _shared(tenants)
    if not paths:
        lines.append(f"{folder}: holds no tenant; a tenant is a file such as {folder / 'dental.toml'}")
    if lines:
        raise ConfigError("\n".join(lines))
    return tenants


def _shared(tenants: Iterable[tuple[Tenant, File]]) -> Iterator[str]:
    """What two tenants, or one twice, lay claim to: a line for each file after the first."""
    owners: dict[str, str] = {}
    for tenant, file in tenants:
        claims = Counter([f"id '{tenant.id}'", *(f"number {number}" for number in tenant.numbers)])
        claims.update(["default = true"] if tenant.default else [])
        for claim, times in claims.items():
            if times > 1:
                yield f"{file.place(('numbers',))}: {claim} is there {times} times"
            if claim in owners:
                yield f"{file.place(_key_of(claim))}: {claim} is also that of {owners[claim]}"
            owners.setdefault(claim, str(file.path))


def _key_of(claim: str) -> KeyPath:
    return ({"id": "id", "number": "numbers", "default": "default"}[claim.split(" ", maxsplit=1)[0]],)
