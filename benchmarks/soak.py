"""`just soak --sockets`: a thousand calls, 25 at a time, whose callers hang up when they like; what is left of them.

just soak --sockets                    a thousand calls, kept in benchmarks/results/soak.json and soak.md: six minutes
just soak --sockets --calls 100        fewer, shown and not kept

The server is `holdfast serve` in a process of its own, its vendors are the three strict simulators in another, and the
callers come over the simulated phone network from this one. What the server holds is read from outside, in /proc:
memory, threads, open files and who they lead to, before, during and after.
"""

import argparse
import json
import math
import os
import platform
import random
import re
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import attrs
import httpx
import trio

from engine.errands import TRANSFER_TOOL
from engine.messages.errors import ConfigError
from simulators import tone, vendors
from simulators.anthropic import Reply, UseTool
from simulators.anthropic.minds import echoed
from simulators.anthropic.request import MessagesRequest
from simulators.caller import AwaitHangUp, CallerScript, HangUp, Listen, Say, Step
from simulators.events import Dialled, StreamEnded
from simulators.twilio.call import Network, place_call
from simulators.twilio.codes import Code
from simulators.twilio.record import CallRecord
from simulators.twilio.socket import GONE, OpenSocket, Socket, open_socket

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("trio", "hypercorn", "quart-trio", "trio-websocket", "wsproto", "anthropic", "httpx2", "SQLAlchemy")
KEYS: Final = {"DEEPGRAM_API_KEY": "soak", "ANTHROPIC_API_KEY": "soak", "ELEVENLABS_API_KEY": "soak"}

CALLS: Final = 1000
AT_ONCE: Final = 25
CLAUSES: Final = 2
"""Of the model's answers: three seconds of speech, so that there is a reply to hang up in."""

INGEST: Final = 100.0
"""How fast the recogniser hears. At the vendor's own 1.25 a simulator that wakes late has no time to make up for it: on
two cores, with 25 callers on one of them, it fell twelve seconds behind."""

PERSON: Final = "person"
SAMPLE_S: Final = 1.0
QUIET_S: Final = 14.0
"""After the last call: the line's own timeouts are over by then, and trio lets go of an idle thread after ten."""

# What is drawn for a call, and how often of twenty.
KINDS: Final[Mapping[str, int]] = {
    "to the end": 6,  # two answers heard, then goodbye
    "stop at any moment": 5,
    "vanish at any moment": 4,
    "gone before start": 2,  # while the webhook is asked, or as the socket opens
    "never says start": 1,
    "asks for a person": 1,
    "gone while asking for a person": 1,
}

# ── the vendors ───────────────────────────────────────────────────────────────────────────────────────────────────────


def mind(request: MessagesRequest) -> Reply:
    """Put whoever asks for a person through; say everybody else's words back."""
    words = request.last_user_text
    if PERSON in words and TRANSFER_TOOL.name in request.tools:
        return Reply.of("One moment, please.", UseTool(TRANSFER_TOOL.name, {}))
    return Reply.of(echoed(words, CLAUSES))


async def serve_vendors() -> None:
    """Serve the three until SIGTERM, with a mind that also transfers; at the end, say which rules were broken."""
    served = vendors.vendors({"deepgram": {"ingest": INGEST}})
    served.anthropic.mind = mind
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(served.serve, {})
        print(json.dumps(urls), flush=True)  # noqa: T201 - what whoever started it waits for
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            await anext(signals)
        nursery.cancel_scope.cancel()
    print(json.dumps({name: told["violations"] for name, told in served.record().items() if name != "beats_s"}))  # noqa: T201


# ── the server, from outside ──────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Sample:
    """What a process holds. peers: its sockets, by whom they lead to; files: what else is open, by name.

    finished: calls that were over by then.
    """

    at_s: float
    finished: int
    memory_kib: int
    threads: int
    open_files: int
    peers: Mapping[str, int]
    files: Mapping[str, int] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Server:
    """A server, its vendors, and what can be seen of both."""

    url: str
    process: "subprocess.Popen[bytes]"
    vendors: "subprocess.Popen[bytes]"
    ports: Mapping[int, str]
    folder: Path

    def sample(self, *, at_s: float, finished: int) -> Sample:
        """Look into /proc."""
        root = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (root / "status").read_text().splitlines() if ":" in line)
        files: list[str] = []
        for each in (root / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                files.append(str(each.readlink()))
        return Sample(
            at_s=round(at_s, 1),
            finished=finished,
            memory_kib=int(status["VmRSS"].split()[0]),
            threads=int(status["Threads"]),
            open_files=len(files),
            peers=self._peers(files),
            files=Counter(re.sub(r"\[\d+\]", "", each.rpartition("/")[2]) for each in files if "socket:" not in each),
        )

    def _peers(self, files: Sequence[str]) -> dict[str, int]:
        inodes = {found[1] for each in files if (found := re.fullmatch(r"socket:\[(\d+)\]", each))}
        peers: Counter[str] = Counter()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.process.pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, remote, state, *_, inode = line.split()[:10]
                if inode in inodes:
                    here, there = (int(each.rpartition(":")[2], 16) for each in (local, remote))
                    peers[self._peer(here, there, state)] += 1
        peers["others"] = len(inodes) - sum(peers.values())
        return dict(+peers)

    def _peer(self, here: int, there: int, state: str) -> str:
        if state == "0A":
            return "listening"
        return self.ports.get(there) or ("callers" if self.ports.get(here) == "callers" else "others")

    async def metrics(self) -> dict[str, float]:
        """Ask the server for its counters, those of calls and of all that goes wrong."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"{self.url}/metrics")).text
        watched = r"^holdfast_((?:calls|restarts|given_up|steps|messages_lost|bad|refused|vendor_f|counted).*) (\S+)$"
        return {name: float(value) for name, value in re.findall(watched, text, re.MULTILINE)}

    def rows(self) -> dict[str, str | None]:
        """Return why each call ended, by its SID, as the server wrote it down."""
        with sqlite3.connect(self.folder / "holdfast.sqlite3") as database:
            return dict(database.execute("SELECT call_sid, ended_reason FROM calls"))

    def logged(self) -> tuple[Counter[str], list[str]]:
        """Return how often each event was logged, and the errors among them."""
        events: Counter[str] = Counter()
        errors: list[str] = []
        for line in (self.folder / "engine.log").read_text().splitlines():
            try:
                fields = json.loads(line)
            except ValueError:  # what it tells before it serves; or a crash
                errors += [line] if "Traceback" in line or "Error" in line else []
                continue
            events[f"{fields.get('event')} ({fields.get('level')})"] += 1
            if fields.get("level") in {"error", "critical"}:
                errors.append(line[:600])
        return events, errors


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[Server]:
    """Start vendors and server; stop both when the context is left."""
    with ExitStack() as stack:
        command = [sys.executable, "-m", "benchmarks.soak", "--vendors"]
        sold = stack.enter_context(_process(command, stdout=subprocess.PIPE))
        assert sold.stdout is not None
        urls = json.loads(await trio.to_thread.run_sync(sold.stdout.readline) or "{}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        config = await trio.to_thread.run_sync(_configured, folder, url, urls)
        log = stack.enter_context((folder / "engine.log").open("wb"))
        command = [sys.executable, "-m", "holdfast", "serve", "--config", str(config), "--bind", f"127.0.0.1:{port}"]
        process = stack.enter_context(_process(command, cwd=folder, stdout=log, stderr=log))
        await _ready(url, process, folder / "engine.log")
        ports = {int(each.rpartition(":")[2]): name for name, each in urls.items()}
        yield Server(url=url, process=process, vendors=sold, ports={**ports, port: "callers"}, folder=folder)


@contextmanager
def _process(command: Sequence[str], **more: Any) -> "Iterator[subprocess.Popen[bytes]]":  # noqa: ANN401 - Popen's own
    with subprocess.Popen(command, env={**os.environ, **KEYS}, **more) as process:  # noqa: S603 - our own
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _configured(folder: Path, public_url: str, urls: Mapping[str, str]) -> Path:
    """Write the engine's file and its tenant's; return the engine's."""
    tenants = folder / "tenants"
    tenants.mkdir()
    shipped = Path("config/tenants/dental.toml").read_text()
    (tenants / "dental.toml").write_text(shipped.replace("sqlite:///var/", f"sqlite:///{folder}/"))
    tables: dict[str, dict[str, Any]] = {
        "call": {"stt": ["deepgram"], "llm": ["anthropic"], "tts": ["elevenlabs"]},
        "door": {"calls_at_once": 100_000, "calls_a_minute_per_caller": 100_000},
        "storage": {"url": f"sqlite:///{folder}/holdfast.sqlite3", "clips": f"{folder}/clips"},
        "log": {"level": "warning", "format": "json"},
        **{f"vendors.{name}": {"base_url": url} for name, url in urls.items()},
    }
    lines = [f"public_url = {json.dumps(public_url)}", f"tenants = {json.dumps(str(tenants))}"]
    for name, table in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    file = folder / "engine.toml"
    file.write_text("\n".join([*lines, ""]))
    return file


async def _ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        with trio.move_on_after(60.0):
            while process.poll() is None:
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{url}/readyz")).status_code == httpx.codes.OK:
                        return
                await trio.sleep(0.1)
    sys.exit(f"the server did not get ready; its log:\n{await trio.Path(log).read_text()}")


# ── the callers ───────────────────────────────────────────────────────────────────────────────────────────────────────


class ToneWords:
    """A caller's voice in the tone code, which the simulated recogniser hears."""

    async def speak(self, text: str) -> bytes:
        """Return the words."""
        await trio.lowlevel.checkpoint()
        return tone.say(text, gap_frames=2)[0]


@attrs.frozen(kw_only=True)
class Caller:
    """What one caller does. ends_s: when the line is dropped; says_so: with a `stop`. silent: without any `start`."""

    kind: str
    words: tuple[str, ...] = ()
    asks_for: str = ""
    ends_s: float = math.inf
    says_so: bool = False
    silent: bool = False

    @classmethod
    def drawn(cls, dice: random.Random, number: int) -> "Caller":
        """Draw one."""
        (kind,) = dice.choices(list(KINDS), weights=list(KINDS.values()))
        words = tuple(f"{each}{number}" for each in dice.sample(("river", "copper", "lemon", "anchor", "velvet"), 2))
        says_so = dice.choice((True, False))
        match kind:
            case "to the end":
                return cls(kind=kind, words=words)
            case "stop at any moment":
                return cls(kind=kind, words=words, ends_s=dice.uniform(0.1, 11.0), says_so=True)
            case "vanish at any moment":
                return cls(kind=kind, words=words, ends_s=dice.uniform(0.1, 11.0))
            case "gone before start":
                return cls(kind=kind, ends_s=dice.uniform(0.0, 0.1), says_so=says_so)
            case "never says start":
                return cls(kind=kind, ends_s=dice.uniform(0.5, 7.0), says_so=says_so, silent=True)
            case "asks for a person":
                return cls(kind=kind, asks_for=PERSON)
            case _:
                return cls(kind=kind, asks_for=PERSON, ends_s=dice.uniform(4.0, 12.0), says_so=says_so)

    @property
    def script(self) -> CallerScript:
        """What is said, and when."""
        steps: list[Step] = []
        for word in self.words:
            steps += [Listen(silence_s=0.6), Say(text=f"say {word}")]
        if self.asks_for:
            steps += [Listen(silence_s=0.6), Say(text=f"a {self.asks_for}"), AwaitHangUp()]
        return CallerScript(steps=(*steps, Listen(silence_s=0.6), HangUp()), caller_number="+15550100009")


@attrs.frozen
class _Mute:
    """A socket that never says anything."""

    inner: Socket

    async def get_message(self) -> str | bytes:
        return await self.inner.get_message()

    async def send_message(self, _message: str) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self.inner.aclose()


@asynccontextmanager
async def _open_mute(url: str, headers: Sequence[tuple[str, str]]) -> AsyncIterator[Socket]:
    async with open_socket(url, headers) as opened:
        yield _Mute(opened)


@attrs.define(kw_only=True)
class Calls:
    """All calls, and what came of them. lost: what should not have been, a sentence each."""

    url: str
    finished: int = 0
    kinds: Counter[str] = attrs.field(factory=Counter)
    lengths_s: list[float] = attrs.field(factory=list)
    lost: list[str] = attrs.field(factory=list)

    async def make(self, caller: Caller) -> None:
        """Make one."""
        opened: OpenSocket = _open_mute if caller.silent else open_socket
        network = Network(
            longest_s=caller.ends_s if caller.says_so else math.inf,
            status_callback=f"{self.url}/voice/status",
            open_socket=opened,
        )
        began_at = trio.current_time()
        record: CallRecord | None = None
        try:
            with trio.move_on_after(math.inf if caller.says_so else caller.ends_s):
                record = await place_call(server_url=self.url, caller=caller.script, voice=ToneWords(), network=network)
        except (ConfigError, *GONE) as error:
            self.lost.append(f"{caller}: {error!r}")
        if record is not None and not caller.silent:
            self.lost += [f"{caller}: {why}" for why in _amiss(caller, record)]
        self.finished += 1
        self.kinds[caller.kind] += 1
        self.lengths_s.append(trio.current_time() - began_at)


def _amiss(caller: Caller, record: CallRecord) -> Iterator[str]:
    """Yield what was wrong with a call that its caller saw to its end, or hung up in."""
    for notice in record.notices:
        if notice.code != Code.CLOSED_BY_SERVER or not caller.asks_for:
            yield f"{notice.code} {notice.text}"
    for message in record.refused:
        yield f"the phone network refused a message: {message.why}"
    if caller.ends_s < math.inf:
        return
    heard = " ".join(word.text for word in tone.heard(record.agent_audio, patient=True))
    for word in caller.words:
        if echoed(f"Say {word}.", CLAUSES).casefold().strip(".") not in heard.casefold():
            yield f"no answer to 'say {word}'; heard {heard!r}"
    if tone.GARBLED in heard:
        yield f"garbled: {heard!r}"
    if caller.asks_for and not record.all_of(Dialled):
        yield f"nobody was dialled; heard {heard!r}, ended {record.hung_up}, {record.all_of(StreamEnded)}"


# ── the soak ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def soak(folder: Path, *, total: int, at_once: int, seed: int) -> dict[str, Any]:
    """Make the calls; return the figures."""
    dice = random.Random(seed)  # noqa: S311
    async with server(folder) as served:
        calls = Calls(url=served.url)
        await calls.make(Caller(kind="the first", words=("river0", "lemon0")))  # whatever is loaded late is loaded now
        await trio.sleep(QUIET_S)
        calls = Calls(url=served.url, lost=calls.lost)
        began_at = trio.current_time()
        before = served.sample(at_s=0.0, finished=0)
        samples: list[Sample] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, served, calls, samples, began_at)
            limit = trio.CapacityLimiter(at_once)
            async with trio.open_nursery() as callers:
                for number in range(1, total + 1):
                    caller = Caller.drawn(dice, number)
                    await limit.acquire_on_behalf_of(caller_key := object())

                    async def one(caller: Caller = caller, key: object = caller_key) -> None:
                        try:
                            await calls.make(caller)
                        finally:
                            limit.release_on_behalf_of(key)

                    callers.start_soon(one)
            nursery.cancel_scope.cancel()
        took_s = trio.current_time() - began_at
        await trio.sleep(QUIET_S)
        after = served.sample(at_s=trio.current_time() - began_at, finished=calls.finished)
        metrics = await served.metrics()
        rows = served.rows()
        stopped = await _stopped(served)
        events, errors = served.logged()
        violations = await trio.to_thread.run_sync(_violations, served.vendors)
    reasons = Counter(reason or "left open" for reason in rows.values())
    return {
        "seed": seed,
        "calls": calls.finished,
        "at_once": at_once,
        "took_s": round(took_s),
        "call_length_s": _spread(calls.lengths_s),
        "kinds": dict(calls.kinds),
        "calls_lost": calls.lost,
        "ended": dict(reasons),
        "memory": memory(samples, warm=total // 5),
        "before": attrs.asdict(before),
        "after": attrs.asdict(after),
        "most": {
            name: max(getattr(each, name) for each in samples) for name in ("memory_kib", "threads", "open_files")
        },
        "left": left(before, after, folder),
        "metrics": metrics,
        "log": dict(events),
        "errors": errors,
        "vendors_rules_broken": violations,
        "stopped": stopped,
        "samples": [attrs.asdict(each) for each in samples[:: max(1, len(samples) // 120)]],
    }


async def _watch(served: Server, calls: Calls, samples: list[Sample], began_at: float) -> None:
    shown = 0
    while True:
        await trio.sleep(SAMPLE_S)
        sample = served.sample(at_s=trio.current_time() - began_at, finished=calls.finished)
        samples.append(sample)
        if calls.finished // 100 > shown:
            shown = calls.finished // 100
            print(f"{calls.finished} calls, {len(calls.lost)} lost: {sample}", file=sys.stderr)  # noqa: T201


async def _stopped(served: Server) -> dict[str, Any]:
    """Ask the server to stop; return how it did."""
    served.process.terminate()
    began_at = time.monotonic()
    with trio.move_on_after(90.0):
        await trio.to_thread.run_sync(served.process.wait, abandon_on_cancel=True)
    return {"status": served.process.poll(), "took_s": round(time.monotonic() - began_at, 1)}


def _violations(sold: "subprocess.Popen[bytes]") -> dict[str, list[str]]:
    sold.terminate()
    assert sold.stdout is not None
    told: dict[str, list[str]] = json.loads(sold.stdout.read().decode() or "{}")
    return {name: sorted(set(whys)) for name, whys in told.items()}


def memory(samples: Sequence[Sample], *, warm: int) -> dict[str, Any]:
    """Return how memory went with the calls: a line through the samples after the first `warm` calls, and its doubt.

    by_100_kib: the median of each hundred calls. growth_kib_per_100: from one of them to the next.
    """
    kept = [each for each in samples if each.finished >= warm]
    hundreds: dict[int, list[int]] = {}
    for each in samples:
        hundreds.setdefault(each.finished // 100, []).append(each.memory_kib)
    medians = [statistics.median(hundreds[number]) for number in sorted(hundreds)]
    steps = [after - before for before, after in pairwise(medians)][warm // 100 :]
    found: dict[str, Any] = {"warm_after_calls": warm, "by_100_kib": [round(each) for each in medians]}
    if len(kept) > 2 and len({each.finished for each in kept}) > 1:  # noqa: PLR2004 - a line and its doubt need three
        x, y = [each.finished / 100 for each in kept], [each.memory_kib for each in kept]
        slope, intercept = statistics.linear_regression(x, y)
        off = [found_y - (slope * found_x + intercept) for found_x, found_y in zip(x, y, strict=True)]
        centre = statistics.fmean(x)
        doubt = math.sqrt(sum(each**2 for each in off) / (len(x) - 2) / sum((each - centre) ** 2 for each in x))
        found |= {
            "slope_kib_per_100": round(slope, 1),
            "slope_standard_error_kib": round(doubt, 1),
            "samples_off_the_line_kib": round(statistics.pstdev(off), 1),
        }
    if len(steps) > 1:
        found |= {
            "growth_kib_per_100": round(statistics.fmean(steps), 1),
            "growth_spread_kib": round(statistics.stdev(steps), 1),
        }
    return found


def left(before: Sample, after: Sample, folder: Path) -> dict[str, Any]:
    """Return what was left of the calls: more of anything than before the first."""
    kept_alive = after.peers.get("anthropic", 0)
    more_files = Counter(after.files) - Counter(before.files)
    files = sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())
    expected = re.compile(
        r"engine\.(log|toml)|tenants/dental\.toml|clips/.*|(holdfast|bright-smile)\.sqlite3(-wal|-shm)?"
    )
    return {
        "threads": after.threads - before.threads,
        "open_files": {name: count for name, count in more_files.items() if ".sqlite3" not in name},
        "connections_of_the_databases_pools": sum(
            count for name, count in more_files.items() if name.endswith(".sqlite3")
        ),
        "sockets_of_callers": after.peers.get("callers", 0),
        "sockets_to_deepgram": after.peers.get("deepgram", 0),
        "sockets_to_elevenlabs": after.peers.get("elevenlabs", 0),
        "sockets_kept_alive_to_anthropic": kept_alive,
        "files": [each for each in files if not expected.fullmatch(each)],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "min": round(ordered[0], 2),
        "median": round(statistics.median(ordered), 2),
        "p95": round(ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))], 2),
        "max": round(ordered[-1], 2),
    }


_MUST_BE_NONE: Final = ("threads", "sockets_of_callers", "sockets_to_deepgram", "sockets_to_elevenlabs")
_MUST_NOT_BE_COUNTED: Final = ("calls_open", "restarts", "given_up", "steps_raised", "bad_messages")
_WANTED_ENDS: Final = frozenset({"stop", "closed", "transfer"})


def wrong(found: Mapping[str, Any]) -> list[str]:
    """Return what a soak must not find, a sentence each."""
    remains = found["left"]
    broken = ((name, why) for name, whys in found["vendors_rules_broken"].items() for why in whys)
    counted = {name: each for name, each in found["metrics"].items() if each and name.startswith(_MUST_NOT_BE_COUNTED)}
    return [
        *(f"{remains[name]} {name.replace('_', ' ')} left" for name in _MUST_BE_NONE if remains[name] > 0),
        *(f"open file left: {name}" for name in remains["open_files"]),
        *(f"file left: {name}" for name in remains["files"]),
        *(f"lost: {each}" for each in found["calls_lost"]),
        *(f"logged: {each}" for each in found["errors"]),
        *(f"{name} broke: {why}" for name, why in broken),
        *(f"{count} calls ended by '{end}'" for end, count in found["ended"].items() if end not in _WANTED_ENDS),
        *(f"{name} is {each:g}" for name, each in counted.items()),
        *([f"the server stopped with status {found['stopped']['status']}"] if found["stopped"]["status"] != 0 else []),
    ]


def page(found: Mapping[str, Any]) -> str:
    """Return the figures to be read."""
    grown, remains = found["memory"], found["left"]
    sockets = {name.removeprefix("sockets_").replace("_", " "): count for name, count in remains.items()
               if name.startswith("sockets")}  # fmt: skip
    rows = {
        "calls, at once": f"{found['calls']}, {found['at_once']}, in {found['took_s']} s",
        "length of a call": " ".join(f"{name} {value} s" for name, value in found["call_length_s"].items()),
        "calls lost": len(found["calls_lost"]),
        "ended by": _listed(found["ended"]),
        "memory per 100 calls, a line's slope": f"{grown.get('slope_kib_per_100')} KiB, standard error "
        f"{grown.get('slope_standard_error_kib')} KiB; after the first {grown['warm_after_calls']} calls",
        "memory from each hundred to the next": f"{grown.get('growth_kib_per_100')} KiB, standard deviation "
        f"{grown.get('growth_spread_kib')} KiB",
        **{
            f"{name.replace('_', ' ')} before, most, after": f"{found['before'][name]}, {most}, {found['after'][name]}"
            for name, most in found["most"].items()
        },
        "sockets left": _listed(sockets),
        "open files left": _listed(remains["open_files"]) or "none",
        "threads left": remains["threads"],
        "files left": ", ".join(remains["files"]) or "none",
        "stopped": f"status {found['stopped']['status']} after {found['stopped']['took_s']} s",
        "callers": _listed(found["kinds"]),
    }
    lines = ["# Soak", "", f"{found['machine']}; Python {found['python']}; {found['date']}; seed {found['seed']}.", ""]
    lines += ["| what | figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows.items()), ""]
    if found["wrong"]:
        lines += ["What should not have been:", "", *(f"- {each}" for each in found["wrong"]), ""]
    return "\n".join(lines)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def main() -> None:
    """Soak, show and keep."""
    arguments = argparse.ArgumentParser(
        prog="just soak --sockets", description="Make many calls, and see what is left of them."
    )
    arguments.add_argument("--calls", type=int, default=CALLS, help=f"how many ({CALLS}); fewer are not kept")
    arguments.add_argument("--at-once", type=int, default=AT_ONCE, help=f"how many at a time ({AT_ONCE})")
    arguments.add_argument("--seed", type=int, default=1, help="of all that callers do (1)")
    arguments.add_argument("--vendors", action="store_true", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.vendors:
        trio.run(serve_vendors)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = trio.run(partial(soak, Path(folder), total=asked.calls, at_once=asked.at_once, seed=asked.seed))
    result = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
        **found,
        "wrong": wrong(found),
    }
    print(page(result))  # noqa: T201
    if asked.calls >= CALLS:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
        (RESULTS / "soak.md").write_text(page(result))
    sys.exit(bool(result["wrong"]))


if __name__ == "__main__":
    main()
