"""The server under measurement, in a process of its own: `python -m benchmarks.server FOLDER HOST:PORT`."""

import sys
from functools import partial
from pathlib import Path

import attrs
import trio

from engine.settings import load
from holdfast import logs
from holdfast.demo import apart
from holdfast.serve import serve


async def _main(folder: Path, bind: str) -> None:
    settings, tenants = apart(*load(Path("config/engine.toml")), folder)
    logs.configure(attrs.evolve(settings.log, level="warning"))
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve, settings, tenants, bind=bind, progress=lambda _: None))
        print("serving", flush=True)  # noqa: T201 - what the measurement waits for


trio.run(_main, Path(sys.argv[1]), sys.argv[2])
