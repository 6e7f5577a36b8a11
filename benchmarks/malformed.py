"""Ten thousand broken messages, on every wire that the engine reads: `python -m benchmarks.malformed [--seed N]`.

It prints, by wire and by how they were broken, how many were sent, how many of them were counted as errors and how many
were accepted (what is sound all the same, and what a peer may add), and one of the errors by name. Beside all of them
witnesses keep calling, and each of their calls is judged to the last word. What should not have been is printed with
the message itself, and the exit status is 1. The figures go to `benchmarks/results/malformed.json`.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from tests.fuzz import runs
from tests.fuzz.rig import Tally

RESULTS: Final = Path(__file__).parent / "results" / "malformed.json"
PACKAGES: Final = ("trio", "hypercorn", "quart-trio", "trio-websocket", "wsproto", "h11", "anthropic", "httpx2")

TOTALS: Final[Mapping[str, Mapping[str, int]]] = {
    runs.LINE: {"in calls": 2500, "before start": 700},
    runs.DEEPGRAM: {"in calls": 1000},
    runs.FLUX: {"in calls": 1000},
    runs.ELEVENLABS: {"in calls": 1300},
    runs.ANTHROPIC: {"by hand": 1500, "in turns": 100},
    runs.FORMS: {"forms": 1200},
    runs.FRAMES: {"http": 300, "frames": 400},
}
"""10 000 in all. What is cheap is sent more often; every way of breaking a message comes up dozens of times."""

_SHOWN_CHARS: Final = 90


def table(tally: Tally) -> Table:
    """Return what came of them, a row for each class."""
    shown = Table(title=f"{tally.sent} broken messages, {tally.witnessed} calls beside them")
    for name in ("wire", "broken how"):
        shown.add_column(name)
    for name in ("sent", "counted", "accepted"):
        shown.add_column(name, justify="right")
    shown.add_column("named, for example", overflow="ellipsis", no_wrap=True)
    for (wire, how), row in sorted(tally.rows.items()):
        shown.add_row(wire, how, str(row.sent), str(row.counted), str(row.accepted), row.named[:_SHOWN_CHARS])
    return shown


def result(tally: Tally, *, seed: int, took_s: float) -> dict[str, Any]:
    """Return the figures as JSON has them."""
    wires: dict[str, dict[str, int]] = {}
    for (wire, _), row in tally.rows.items():
        sums = wires.setdefault(wire, {"sent": 0, "counted": 0, "accepted": 0, "classes": 0})
        for name, value in (("sent", row.sent), ("counted", row.counted), ("accepted", row.accepted), ("classes", 1)):
            sums[name] += value
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "seed": seed,
        "took_s": round(took_s),
        "sent": tally.sent,
        "witnesses": tally.witnessed,
        "complaints": len(tally.complaints),
        "wires": wires,
        "classes": [
            {
                "wire": wire,
                "how": how,
                "sent": row.sent,
                "counted": row.counted,
                "accepted": row.accepted,
                "named": row.named,
            }
            for (wire, how), row in sorted(tally.rows.items())
        ],
    }


def main() -> None:
    """Send them, show what came of them, and keep it."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.malformed", description=__doc__.partition("\n")[0])
    arguments.add_argument("--seed", type=int, default=1, help="of all that is drawn (1)")
    arguments.add_argument("--share", type=float, default=1.0, help="of the ten thousand; less than all is not kept")
    arguments.add_argument("--wire", choices=sorted(TOTALS), help="one of them alone; not kept")
    asked = arguments.parse_args()
    totals = {
        wire: {way: round(count * asked.share) for way, count in each.items()}
        for wire, each in TOTALS.items()
        if asked.wire in {None, wire}
    }
    began_at = time.monotonic()
    tally = runs.run(asked.seed, totals)
    took_s = time.monotonic() - began_at
    Console(width=None if sys.stdout.isatty() else 190).print(table(tally))
    for complaint in tally.complaints:
        print(complaint)  # noqa: T201 - what whoever started it looks for
    print(f"{tally.sent} sent in {took_s:.0f} s, {len(tally.complaints)} complaints")  # noqa: T201
    if asked.share == 1.0 and asked.wire is None:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(result(tally, seed=asked.seed, took_s=took_s), indent=1) + "\n")
    sys.exit(bool(tally.complaints))


if __name__ == "__main__":
    main()
