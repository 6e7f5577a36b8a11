"""`just soak`: thousands of virtual calls with random faults in all actors and all vendors, and what became of them.

just soak                          2000 calls as messages, 200 over wires in memory with the vendors' real clients
just soak --calls 10000 --wires 500 --seed 3   more, of other seeds; ten thousand are kept in benchmarks/results
just soak --replay var/soak/messages-17.toml   one call that failed, again, with all that happened in it
just soak --sockets                a thousand calls over real sockets, and what is left of them: see benchmarks.soak

A call is a seed: what its caller does, what fails, how late everything is. It is judged to the last word
(`simulators.virtual.judge`). A failing one is written down as a file of the public fault API that replays.
"""

import argparse
import collections
import json
import logging
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final

import attrs
import structlog

from benchmarks import soak as sockets
from engine.messages.errors import ConfigError
from simulators import tone
from simulators.trial import Sound, dead_air_s
from simulators.virtual.judge import Outcome, show
from simulators.virtual.script import BeSilent, End
from simulators.virtual.soak import Soaked, drawn, judged, read, soak

RESULTS: Final = Path(__file__).parent / "results"
SCENARIOS: Final = Path("var/soak")
KEPT_FROM: Final = 10_000
CALLS: Final = 2000
WIRES: Final = 200
CHUNK: Final = 20
"""Calls that a process plays before it tells of them: a few seconds' work."""


@attrs.frozen(kw_only=True)
class Told:
    """What is told of a call.

    ended: why it ended. wrong: what was not to be. lost, repeated: the caller's words that the agent did not get, or
        got twice. heard_twice: the agent's words.
    silence_s: the longest that the caller had to wait for the agent; None for a caller who was to be silent.
    """

    seed: int
    on_wires: bool
    is_costly: bool
    may_end: bool
    faults: tuple[str, ...]
    ended: str
    wrong: tuple[str, ...] = ()
    hung: bool = False
    tasks_left: int = 0
    lost: int = 0
    repeated: int = 0
    heard_twice: int = 0
    tools_twice: int = 0
    silence_s: float | None = None
    restarts: int = 0
    failed_over: int = 0
    length_s: float = 0.0


def tell(call: Soaked) -> Told:
    """Play a call and return what is told of it. One that does not come to its end at all is told of too."""
    faults = tuple(f"{each.kind} {each.on}" for each in call.faults)
    try:
        outcome = soak(call)
    except BaseExceptionGroup as group:  # it escaped from the call, whose tasks it took along
        wrong = "".join(traceback.format_exception(group))[-2000:]
        return Told(
            seed=call.seed,
            on_wires=call.on_wires,
            is_costly=call.is_costly,
            may_end=call.may_end,
            faults=faults,
            ended="raised",
            wrong=(wrong,),
        )
    new = set(outcome.said) - {"book", "bye"}
    plain = Counter(word.strip(",.") for word in outcome.heard)
    return Told(
        seed=call.seed,
        on_wires=call.on_wires,
        is_costly=call.is_costly,
        may_end=call.may_end,
        faults=faults,
        ended=outcome.reason or "",
        wrong=tuple(judged(call, outcome)),
        hung=outcome.hung,
        tasks_left=outcome.tasks_left,
        lost=sum((Counter(outcome.said) - Counter(outcome.got)).values()),
        repeated=sum((Counter(outcome.got) - Counter([*outcome.said, tone.GARBLED])).values()),
        heard_twice=sum(plain[f"{word}o"] > 1 for word in new),
        tools_twice=sum(count > 1 for count in outcome.runs.values()),
        silence_s=_silence_s(outcome),
        restarts=sum(" ChildRestarted" in note for note in outcome.notes),
        failed_over=sum(" FailedOver" in note for note in outcome.notes),
        length_s=outcome.ended_at,
    )


def _silence_s(outcome: Outcome) -> float | None:
    if outcome.script.end is End.IDLE or any(isinstance(step, BeSilent) for step in outcome.script.steps):
        return None
    heard = [Sound(who="agent", start_s=start_s, end_s=end_s) for start_s, end_s in outcome.heard_s]
    said = [Sound(who="caller", start_s=start_s, end_s=end_s) for start_s, end_s in outcome.sounds]
    last_s = max((sound.end_s for sound in (*heard, *said)), default=0.0)
    return dead_air_s([*heard, *said], last_s)


def tell_all(seeds: Sequence[int], on_wires: bool) -> list[Told]:  # noqa: FBT001 - what a process is sent
    """Play calls, in a process of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    return [tell(drawn(seed, on_wires=on_wires)) for seed in seeds]


def played(calls: int, wires: int, seed: int, *, processes: int, within_s: float) -> Iterator[list[Told]]:
    """Yield what is told of all calls, as they come; of those that were not begun in time, nothing."""
    first, began = seed * 1_000_000, time.monotonic()
    chunks = [
        ((at - first) / count, range(at, min(at + CHUNK, first + count)), on_wires)
        for count, on_wires in ((calls, False), (wires, True))
        for at in range(first, first + count, CHUNK)
    ]
    # Started anew: what this process holds is none of theirs.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        # Both depths at an even pace, so that whenever it ends there are some of each.
        playing = [
            pool.submit(tell_all, seeds, on_wires) for _, seeds, on_wires in sorted(chunks, key=lambda each: each[0])
        ]
        for done in as_completed(playing):
            if not done.cancelled():
                yield done.result()
            if time.monotonic() - began > within_s:
                for each in playing:
                    each.cancel()


# ── what it comes to ──────────────────────────────────────────────────────────────────────────────────────────────────


def figures(told: Sequence[Told]) -> dict[str, Any]:
    """Return what calls of one depth come to."""
    harmless = [each for each in told if not each.is_costly]
    silences = sorted(each.silence_s for each in harmless if each.silence_s is not None)
    return {
        "calls": len(told),
        "survived": sum(_survived(each) for each in told),
        "ended_as_the_policy_has_it": sum(each.may_end and each.ended == "gave_up" for each in told),
        "hung": sum(each.hung for each in told),
        "tasks_left": sum(each.tasks_left for each in told),
        "tools_run_twice": sum(each.tools_twice for each in told),
        "wrong": sum(bool(each.wrong) for each in told),
        "ended": dict(Counter(each.ended for each in told).most_common()),
        "restarts": sum(each.restarts for each in told),
        "failed_over": sum(each.failed_over for each in told),
        "of_which_nothing_may_be_lost": {
            "calls": len(harmless),
            "words_lost": sum(each.lost for each in harmless),
            "words_repeated": sum(each.repeated for each in harmless),
            "words_heard_twice": sum(each.heard_twice for each in harmless),
            "dead_air_s": _percentiles(silences),
        },
        "of_which_words_may_be_lost": {
            "calls": len(told) - len(harmless),
            "words_lost": sum(each.lost for each in told if each.is_costly),
            "words_repeated": sum(each.repeated for each in told if each.is_costly),
        },
        "virtual_hours": round(sum(each.length_s for each in told) / 3600, 1),
        "faults": dict(sorted(Counter(name for each in told for name in each.faults).items())),
    }


def _survived(told: Told) -> bool:
    ends = {End.CALLER.value, End.SOCKET.value, End.AGENT.value, End.IDLE.value}
    return told.ended in ends and not told.hung and not told.tasks_left


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if len(values) < 2:  # noqa: PLR2004 - two make a distribution
        return {}
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {
        "p50": round(cuts[49], 2),
        "p95": round(cuts[94], 2),
        "p99": round(cuts[98], 2),
        "max": round(values[-1], 2),
    }


def page(found: Mapping[str, Any]) -> str:
    """Return the figures to be read."""
    depths = {"as messages": found["messages"], "over wires": found["wires"]}
    rows: dict[str, list[object]] = collections.defaultdict(list)
    for each in depths.values():
        held, free = each["of_which_nothing_may_be_lost"], each["of_which_words_may_be_lost"]
        rows["calls"].append(each["calls"])
        rows["survived"].append(each["survived"])
        rows["ended because none of a vendor list was left"].append(each["ended_as_the_policy_has_it"])
        rows["hung"].append(each["hung"])
        rows["tasks left"].append(each["tasks_left"])
        rows["tools run twice"].append(each["tools_run_twice"])
        rows["judged wrong"].append(each["wrong"])
        rows["ended by"].append(_listed(each["ended"]))
        rows["restarts, fail-overs"].append(f"{each['restarts']}, {each['failed_over']}")
        rows["calls in which nothing may be lost"].append(held["calls"])
        rows["– words lost, repeated, heard twice"].append(
            f"{held['words_lost']}, {held['words_repeated']}, {held['words_heard_twice']}"
        )
        rows["– longest silence of a call, s"].append(_listed(held["dead_air_s"]))
        rows["calls in which words may be lost"].append(free["calls"])
        rows["– words lost, repeated"].append(f"{free['words_lost']}, {free['words_repeated']}")
        rows["hours of calls"].append(each["virtual_hours"])
    intro = (
        f"{found['machine']}; Python {found['python']}; {found['date']}; seed {found['seed']}; {found['took_s']} s on "
        f"{found['processes']} processes. One to three faults a call, of all kinds, on all six actors, all vendors and "
        "all kinds of connection. One in eight has what a vendor said dropped, doubled or garbled, or an actor's step "
        "raise several times, or has a whole vendor list refuse for long: then words, or the call, may be lost."
    )
    lines = [
        "# Virtual soak",
        "",
        intro,
        "",
        f"| what | {' | '.join(depths)} |",
        "|---|---|---|",
        *(f"| {name} | {' | '.join(map(str, values))} |" for name, values in rows.items()),
        "",
    ]
    if found["failing"]:
        lines += ["Wrong:", "", *(f"- `{name}`: {why}" for name, why in found["failing"].items()), ""]
    return "\n".join(lines)


def _listed(counts: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def saved(told: Iterable[Told]) -> dict[str, str]:
    """Write each failing call down, and return by its file what was wrong."""
    found = {}
    for each in told:
        if each.wrong:
            file = SCENARIOS / f"{'wires' if each.on_wires else 'messages'}-{each.seed}.toml"
            SCENARIOS.mkdir(parents=True, exist_ok=True)
            file.write_text(drawn(each.seed, on_wires=each.on_wires).as_toml(), encoding="utf-8")
            found[str(file)] = each.wrong[0]
    return found


def replay(file: Path) -> int:
    """Play one call again and show all that happened; 1 if it is wrong, as a process ends."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    call = read(file)
    outcome = soak(call)
    print(show(str(file), outcome))  # noqa: T201
    return int(bool(judged(call, outcome)))


def main() -> None:
    """Soak, show and keep."""
    if "--sockets" in sys.argv:
        sys.argv.remove("--sockets")
        sockets.main()
        return
    arguments = argparse.ArgumentParser(prog="just soak", description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--calls", type=int, default=CALLS, help=f"how many as messages ({CALLS})")
    arguments.add_argument("--wires", type=int, default=WIRES, help=f"how many over wires in memory ({WIRES})")
    arguments.add_argument("--seed", type=int, default=0, help="of all that happens in them (0)")
    arguments.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many play calls at a time")
    arguments.add_argument("--minutes", type=float, default=math.inf, help="after which no more are begun (inf)")
    arguments.add_argument("--replay", type=Path, metavar="FILE", help="play one call again that was written down")
    arguments.add_argument("--sockets", action="store_true", help="over real sockets instead: just soak --sockets -h")
    asked = arguments.parse_args()
    if asked.replay is not None:
        try:
            sys.exit(replay(asked.replay))
        except ConfigError as error:
            sys.exit(str(error))
    began = time.monotonic()
    told: list[Told] = []
    failing: dict[str, str] = {}
    within_s = asked.minutes * 60.0
    for some in played(asked.calls, asked.wires, asked.seed, processes=asked.processes, within_s=within_s):
        told += some
        failing |= saved(some)
        print(f"\r{len(told)} of {asked.calls + asked.wires} calls, {len(failing)} wrong", end="", file=sys.stderr)  # noqa: T201
    print(file=sys.stderr)  # noqa: T201
    told.sort(key=lambda each: (each.on_wires, each.seed))
    found = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
        "seed": asked.seed,
        "processes": asked.processes,
        "took_s": round(time.monotonic() - began),
        "messages": figures([each for each in told if not each.on_wires]),
        "wires": figures([each for each in told if each.on_wires]),
        "failing": dict(sorted(failing.items())),
    }
    print(page(found))  # noqa: T201
    if asked.calls >= KEPT_FROM:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "virtual_soak.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        (RESULTS / "virtual_soak.md").write_text(page(found))
    sys.exit(bool(found["failing"]))


if __name__ == "__main__":
    main()
