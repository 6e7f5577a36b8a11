"""The stage of a measurement: the engine on one core, simulated vendors and callers on another, each a process.

Theory of operation. The engine is `holdfast serve` as an operator runs it, with a file that points at the simulated
vendors. What it costs is read from /proc: its own processor time, and on each core what neither it nor the measurement
used, because on a machine that others use too a figure is worth what that was. How fast the engine's core was is told
by a gauge on it: neighbours of a virtual machine are seen in nothing else.
"""

import json
import math
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final, Self

import attrs

from simulators.anthropic import Latency
from simulators.deepgram import DeepgramPolicy
from simulators.elevenlabs import ElevenLabsPolicy

ENDPOINTING_MS: Final = 300
CLAUSES: Final = 3

# Each token comes alone: a client that waits for one more than it needs shows it.
LATENCIES: Final[Mapping[str, Mapping[str, float]]] = {
    "deepgram": {"final_late_s": 0.15, "handshake_s": 0.05},
    "anthropic": {
        "started_s": 0.1,
        "first_token_s": 0.3,
        "between_tokens_s": 0.01,
        "tokens_per_piece": 1,
        "clauses": CLAUSES,
    },
    "elevenlabs": {"first_audio_s": 0.1, "handshake_s": 0.05},
}
CLAUDE: Final = Latency(**{name: value for name, value in LATENCIES["anthropic"].items() if name != "clauses"})  # type: ignore[arg-type]
DEEPGRAM: Final = DeepgramPolicy(**LATENCIES["deepgram"])  # type: ignore[arg-type]
ELEVENLABS: Final = ElevenLabsPolicy(**LATENCIES["elevenlabs"])  # type: ignore[arg-type]

_KEYS: Final = {"DEEPGRAM_API_KEY": "bench", "ANTHROPIC_API_KEY": "bench", "ELEVENLABS_API_KEY": "bench"}
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_READY_S: Final = 60.0
_PINNED: Final = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
if int(sys.argv[2]):
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(int(sys.argv[2])))
os.execv(sys.argv[3], sys.argv[3:])
"""
# Under the real-time scheduler: a phone's frame goes before a vendor's answer.
_PRIORITY: Final = 10
_CALLERS_PRIORITY: Final = 20


@attrs.frozen(kw_only=True)
class Cores:
    """Which core has the engine, and which has all else.

    realtime: whether all processes of a measurement run under the real-time scheduler, as if nobody else used the
        machine: what others run waits for as long as the measurement has something to do. It needs the right to. Linux
        gives a core that is wanted without end by others to them for 50 ms a second all the same.
    others_percent: a round in which others used more of either core, or slowed the engine's by more, is measured again.
    """

    engine: int = 0
    rest: int = 1
    realtime: bool = False
    others_percent: float = math.inf

    def priority(self, of: int) -> int:
        """The priority of a process; 0 is the usual scheduler."""
        return of if self.realtime else 0


@attrs.frozen(kw_only=True)
class Usage:
    """Processor time in seconds, so far: the engine's, and each core's that is not idle."""

    at: float
    engine_s: float
    gauge_s: float
    rest_s: float
    cores_s: tuple[float, ...]

    def share(self, before: Self) -> float:
        """The engine's share of a core since then."""
        return (self.engine_s - before.engine_s) / (self.at - before.at)

    def others(self, before: Self, cores: Cores) -> tuple[float, float]:
        """The share of the engine's core, and of the other, that nobody of the measurement used."""
        passed_s = self.at - before.at
        busy = [(now - then) / passed_s for now, then in zip(self.cores_s, before.cores_s, strict=True)]
        rest, gauge = (self.rest_s - before.rest_s) / passed_s, (self.gauge_s - before.gauge_s) / passed_s
        return max(0.0, busy[cores.engine] - self.share(before) - gauge), max(0.0, busy[cores.rest] - rest)


@attrs.define(kw_only=True)
class Stage:
    """An engine that serves, and its vendors."""

    folder: Path
    cores: Cores
    url: str
    engine: "subprocess.Popen[bytes]"
    vendors: "subprocess.Popen[bytes]"
    # What the gauge's work has taken at the least.
    fastest_ms: float = math.inf

    def call(self, *, calls: int, turns: int, seed: int, over_s: float = 2.0) -> "Round":
        """Have so many call at once, and say so many sentences each."""
        command = [sys.executable, "-m", "benchmarks.callers", "--url", self.url, "--calls", str(calls)]
        command += ["--turns", str(turns), "--seed", str(seed), "--over", str(over_s)]
        usages: list[Usage] = []
        priority = self.cores.priority(_CALLERS_PRIORITY)
        with (
            _process(
                [sys.executable, "-m", "benchmarks.gauge"], core=self.cores.engine, priority=0, stdout=subprocess.PIPE
            ) as gauge,
            _process(command, core=self.cores.rest, priority=priority, stdout=subprocess.PIPE) as callers,
        ):
            assert callers.stdout is not None
            assert gauge.stdout is not None
            told: dict[str, Any] = {}
            for line in callers.stdout:
                told = json.loads(line)
                if "phase" in told:
                    usages.append(self._usage(callers.pid, gauge.pid))
            if callers.wait() != 0 or "calls" not in told:
                sys.exit(f"the callers failed with status {callers.returncode}")
            gauge.terminate()
            took_ms: list[float] = json.loads(gauge.stdout.read())
        self.fastest_ms = min(self.fastest_ms, *took_ms)
        slower = statistics.mean(took_ms) / self.fastest_ms - 1
        return Round(calls=calls, told=told, usages=tuple(usages[:2]), cores=self.cores, slower=slower)

    def told(self, module: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Run other callers, a module, and return the last object that they print."""
        command = [sys.executable, "-m", module, *arguments]
        priority = self.cores.priority(_CALLERS_PRIORITY)
        with _process(command, core=self.cores.rest, priority=priority, stdout=subprocess.PIPE) as callers:
            assert callers.stdout is not None
            lines = callers.stdout.read().splitlines()
            if callers.wait() != 0 or not lines:
                sys.exit(f"the callers failed with status {callers.returncode}")
        told: dict[str, Any] = json.loads(lines[-1])
        return told

    def _usage(self, callers: int, gauge: int) -> Usage:
        return Usage(
            at=time.monotonic(),
            engine_s=_used_s(self.engine.pid),
            gauge_s=_used_s(gauge),
            rest_s=_used_s(self.vendors.pid) + _used_s(callers),
            cores_s=tuple(_busy_s()),
        )

    def memory_mb(self) -> float:
        """What the engine holds of the machine's memory."""
        pages = int(Path(f"/proc/{self.engine.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def stages(self) -> dict[tuple[str, int], dict[str, float]]:
        """When each stage of each turn was reached, as the engine wrote it down, by call and turn."""
        turns: dict[tuple[str, int], dict[str, float]] = {}
        with sqlite3.connect(self.folder / "holdfast.sqlite3") as store:
            for call_sid, turn, stage, at_s in store.execute("SELECT call_sid, turn, stage, at_s FROM timings"):
                turns.setdefault((call_sid, turn), {})[stage] = at_s
        return turns


@attrs.frozen(kw_only=True)
class Round:
    """What came of calls that were made at once.

    told: by the callers. usages: when all were on, and still were. slower: by which share of the least time fixed work
    took longer on the engine's core, on average.
    """

    calls: int
    told: dict[str, Any] = attrs.field(repr=False)
    usages: tuple[Usage, ...]
    cores: Cores
    slower: float


@contextmanager
def stage(folder: Path, cores: Cores, *, record: Path, settings: str = "") -> Iterator[Stage]:
    """Serve until the context is left; then the vendors write what they saw into `record`.

    settings: more of the engine's file, TOML.
    """
    latencies = folder / "latencies.toml"
    latencies.write_text(_toml(LATENCIES))
    priority = cores.priority(_PRIORITY)
    with ExitStack() as stack:
        command = [
            sys.executable,
            "-m",
            "simulators.vendors",
            "--latency-file",
            str(latencies),
            "--record",
            str(record),
        ]
        vendors = stack.enter_context(_process(command, core=cores.rest, priority=priority, stdout=subprocess.PIPE))
        assert vendors.stdout is not None
        urls = json.loads(vendors.stdout.readline() or "{}")
        if not urls:
            sys.exit("the simulated vendors did not start")
        bind = f"127.0.0.1:{_free_port()}"
        config = _configured(folder, f"http://{bind}", urls, settings)
        log = stack.enter_context((folder / "engine.log").open("wb"))
        command = [sys.executable, "-m", "holdfast", "serve", "--config", str(config), "--bind", bind]
        engine = stack.enter_context(
            _process(command, core=cores.engine, priority=priority, cwd=folder, stdout=log, stderr=log)
        )
        _ready(f"http://{bind}", engine, folder / "engine.log")
        yield Stage(folder=folder, cores=cores, url=f"http://{bind}", engine=engine, vendors=vendors)


@contextmanager
def _process(  # noqa: PLR0913 - what a process is started with
    command: Sequence[str],
    *,
    core: int,
    priority: int,
    cwd: Path | None = None,
    stdout: int | IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command on one core until the context is left."""
    pinned = [sys.executable, "-c", _PINNED, str(core), str(priority), *command]
    environment = {**os.environ, **_KEYS}
    with subprocess.Popen(pinned, cwd=cwd, env=environment, stdout=stdout, stderr=stderr) as process:  # noqa: S603 - our own
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _configured(folder: Path, public_url: str, urls: Mapping[str, str], settings: str) -> Path:
    """Write the engine's file and its tenants'; return the engine's."""
    tenants = folder / "tenants"
    tenants.mkdir(exist_ok=True)
    shipped = Path("config/tenants/dental.toml").read_text()
    # The words of an answer have numbers in them, and are known again as they were written.
    shipped = shipped.replace("normalise = true ", "normalise = false")
    (tenants / "dental.toml").write_text(shipped.replace("sqlite:///var/", f"sqlite:///{folder}/"))
    file = folder / "engine.toml"
    vendors: dict[str, dict[str, Any]] = {f"vendors.{name}": {"base_url": url} for name, url in urls.items()}
    vendors["vendors.deepgram"]["endpointing_ms"] = ENDPOINTING_MS
    tables: dict[str, dict[str, Any]] = {
        "call": {"stt": ["deepgram"], "llm": ["anthropic"], "tts": ["elevenlabs"]},
        "door": {"calls_at_once": 500, "calls_a_minute_per_caller": 1000},
        "storage": {"url": f"sqlite:///{folder}/holdfast.sqlite3", "clips": f"{folder}/clips"},
        "log": {"level": "warning", "format": "json"},
        **vendors,
    }
    file.write_text(
        f"public_url = {json.dumps(public_url)}\ntenants = {json.dumps(str(tenants))}\n{_toml(tables)}{settings}"
    )
    return file


def _toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join([*lines, ""])


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _ready(url: str, engine: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the engine says that it is ready."""
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and engine.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    sys.exit(f"the engine did not get ready; its log:\n{log.read_text()}")


def _used_s(pid: int) -> float:
    """Processor time of a process, all its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def _busy_s() -> Iterator[float]:
    """Processor time of each core that was neither idle nor waiting for a disk."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            user, nice, system, _, _, *more = map(int, ticks)
            yield (user + nice + system + sum(more[:3])) / _TICKS_A_SECOND
