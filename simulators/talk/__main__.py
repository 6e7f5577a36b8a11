"""Scenarios that judge: `python -m simulators.talk [NAME ...] [--virtual] [--floor]`.

Without names all of them are played. Live, each is a telephone call to a server on this machine, with the embedded
recogniser and voice, and the scripted answers of a simulated Claude; `--virtual` plays them as messages on a virtual
clock. `--floor` makes hundreds of sounds over the agent instead, and counts which of them took the floor.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog
import trio
from rich.console import Console

from engine.messages.errors import ConfigError
from simulators import scenario
from simulators.talk import floor, virtual
from simulators.talk.account import Account
from simulators.talk.floor import Tally
from simulators.talk.judge import LIVE, judge
from simulators.talk.live import Call, Done, Throats, place_all
from simulators.talk.machine import Machine
from simulators.talk.report import Report, keep, show, told
from simulators.talk.server import serving

PHRASES = Path("tests/turns/held_out_phrases.toml")


def main() -> None:
    """Play what is asked for; exit 1 if anything is not as it should be."""
    asked = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    console = Console()
    try:
        good = (_floor if asked.floor else _scenarios)(asked, console)
    except (ConfigError, RuntimeError) as error:
        sys.exit(str(error))
    sys.exit(0 if good else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m simulators.talk", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="scenarios: those that come along by name, or files")
    parser.add_argument("--virtual", action="store_true", help="on the virtual clock, in a moment, without speech")
    parser.add_argument("--floor", action="store_true", help="hundreds of sounds over the agent: which took the floor")
    parser.add_argument("--leave", type=int, default=220, help="with --floor: backchannels and noises")
    parser.add_argument("--take", type=int, default=220, help="with --floor: words that want something")
    parser.add_argument("--phrases", type=Path, default=PHRASES, help="with --floor: where they are written")
    parser.add_argument("--calls", type=int, default=4, help="live, so many at once")
    parser.add_argument("--every-moment", action="store_true", help="live, all moments of a scenario that has several")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a folder for results and, of live calls, recordings")
    return parser.parse_args()


def _played(asked: argparse.Namespace) -> list[Call]:
    """Return the calls that are asked for; live, of several moments the first, the middle one and the last."""
    calls: list[Call] = []
    for count, name in enumerate(asked.names or scenario.judged()):
        written = scenario.read(name)
        if written.expect is None or not written.agent:
            raise ConfigError(f"{name}: nothing to judge, without [[agent]] and [expect]; `just call` plays it")
        if not asked.virtual and not written.live:
            continue
        variants = list(written.variants())
        if not asked.virtual and not asked.every_moment:
            variants = [variants[at] for at in sorted({0, len(variants) // 2, len(variants) - 1})]
        stem = Path(name).stem
        calls += [Call(name=stem, label=label, scenario=each, voice=count) for label, each in variants]
    return calls


def _scenarios(asked: argparse.Namespace, console: Console) -> bool:
    calls = _played(asked)
    report = Report(console, "on the virtual clock" if asked.virtual else "live, with real speech")
    if asked.virtual:
        for call in calls:
            for seed in range(asked.seed, asked.seed + call.scenario.seeds):
                title = call.title if call.scenario.seeds == 1 else f"{call.title} seed {seed}"
                verdict = judge(call.scenario, virtual.play(call.scenario, seed=seed))
                report.add(title, verdict, of=sum(each.scenario.seeds for each in calls))
    else:

        def done(call: Call, account: Account) -> None:
            verdict = judge(call.scenario, account, LIVE)
            report.add(call.title, verdict, of=len(calls))
            if verdict.wrongs and asked.out is not None:
                keep(asked.out / f"{call.title.replace(' ', '_')}.notes.json", told(account))

        before = Machine.now()
        trio.run(partial(_live, calls, asked, console, done))
        report.others = before.used_by_others()
    report.finish(asked.out)
    return not report.failed


async def _live(calls: Sequence[Call], asked: argparse.Namespace, console: Console, done: Done) -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-scenarios-") as folder:
        console.print("[dim]starting a server: it renders what each business says by itself[/dim]")
        async with serving({each.name: each.scenario for each in calls}, Path(folder)) as server:
            console.print(f"[dim]{len(calls)} calls, {asked.calls} at once[/dim]")
            await place_all(calls, server, at_once=asked.calls, folder=asked.out, throats=Throats(), done=done)
            if server.model.violations:
                console.print(f"the simulated Claude refused: {server.model.violations[0].why}", style="bold red")


def _floor(asked: argparse.Namespace, console: Console) -> bool:
    phrases = floor.read_phrases(asked.phrases)
    tally = Tally()
    written = list(floor.calls(phrases, seed=asked.seed, leave=asked.leave, take=asked.take))
    counted = 0

    def done(call: Call, account: Account) -> None:
        nonlocal counted
        counted += 1
        tally.add(account)
        if asked.out is not None:
            keep(asked.out / f"{call.title.replace(' ', '_')}.notes.json", told(account))
        console.print(f"[dim]{counted}/{len(written)} calls, {len(tally.sounds)} sounds[/dim]", highlight=False)

    calls = [Call(name=floor.NAME, label=str(count), scenario=each, voice=count) for count, each in enumerate(written)]
    if asked.virtual:
        for count, call in enumerate(calls):
            done(call, virtual.play(call.scenario, seed=asked.seed + count))
    else:
        before = Machine.now()
        trio.run(partial(_live, calls, asked, console, done))
        tally.others = before.used_by_others()
    figures = tally.figures()
    show(console, f"whose floor, {'on the virtual clock' if asked.virtual else 'live'}", figures)
    if asked.out is not None:
        keep(asked.out / f"floor-{'virtual' if asked.virtual else 'live'}.json", figures)
    return (figures["leave_kept"] or 0.0) >= floor.KEPT_SHARE and (figures["take_took"] or 0.0) >= floor.TAKEN_SHARE


if __name__ == "__main__":
    main()
