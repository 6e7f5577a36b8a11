"""Voice to voice: how long a caller waits for the first sound of an answer, from a real call measured at the phone.

Runs the demo's call several times against a server in a process of its own, and writes every stage of every answer to
`benchmarks/results/voice_to_voice.json`: `python -m benchmarks.voice_to_voice [CALLS]`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import trio
from rich.console import Console

from engine.messages.records import Timing
from engine.settings import load
from engine.storage.store import Store
from holdfast.call import STAGES, call
from holdfast.demo import apart
from simulators import recording, scenario

RESULTS: Final = Path(__file__).parent / "results" / "voice_to_voice.json"
PACKAGES: Final = ("trio", "hypercorn", "trio-websocket", "onnxruntime", "hibari-tts", "moonshine-voice", "numpy")


async def measure(calls: int, folder: Path) -> dict[str, Any]:
    """Return the figures of `calls` calls, one after another."""
    settings, _ = apart(*load(Path("config/engine.toml")), folder)
    console = Console(quiet=True)
    greetings: list[float] = []
    waits: list[float] = []
    stages: dict[str, list[float]] = {stage: [] for stage in STAGES}
    port = 18080
    server = [sys.executable, "-m", "benchmarks.server", str(folder), f"127.0.0.1:{port}"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(trio.run_process, server, stdout=subprocess.PIPE, check=False))
        await _answering(process)
        with Store.open(settings.storage.url) as store:
            for number in range(calls):
                url = f"http://127.0.0.1:{port}"
                kept = await call(
                    scenario.load("book_appointment"), server_url=url, store=store, folder=folder, console=console
                )
                measured = recording.measure(kept.record)
                greetings += [measured.greeting_delay_s] if measured.greeting_delay_s is not None else []
                waits += [turn.voice_to_voice_s for turn in measured.turns if turn.voice_to_voice_s is not None]
                for stage, since_s in _since_last_word(kept.timings):
                    stages[stage].append(since_s)
                print(f"call {number + 1} of {calls}: {measured.voice_to_voice_s} s", file=sys.stderr)  # noqa: T201
        process.terminate()
    return {
        "calls": calls,
        "answers": len(waits),
        "greeting_ms": _spread(greetings),
        "voice_to_voice_ms": _spread(waits),
        "since_last_word_ms": {stage: _spread(values) for stage, values in stages.items()},
    }


async def _answering(process: trio.Process) -> None:
    """Wait until the server says that it answers."""
    assert process.stdout is not None
    said = b""
    while b"serving" not in said:
        chunk = await process.stdout.receive_some()
        if not chunk:
            sys.exit("the server did not start")
        said += chunk


def _since_last_word(timings: Sequence[Timing]) -> list[tuple[str, float]]:
    last_word = {timing.turn: timing.at_s for timing in timings if timing.stage == "last_word"}
    return [
        (timing.stage, timing.at_s - last_word[timing.turn])
        for timing in timings
        if timing.turn in last_word and timing.stage in STAGES
    ]


def _spread(values_s: list[float]) -> dict[str, float]:
    if not values_s:
        return {}
    ordered = sorted(round(value * 1000) for value in values_s)
    return {
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p95": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))],
        "max": ordered[-1],
    }


def main() -> None:
    """Measure, print and keep."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        figures = trio.run(measure, calls, Path(folder))
    result = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        **figures,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
