"""Runs: so many broken messages of each wire, from a seed, beside a witness; what comes of them is in a tally."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeAlias

import trio
from trio.testing import MockClock

from tests.fuzz import claude, frames, twilio, vendors, webhooks
from tests.fuzz.loopback import Front, front
from tests.fuzz.rig import Tally, desk

LINE: Final = "line"
DEEPGRAM: Final = "deepgram"
FLUX: Final = "flux"
ELEVENLABS: Final = "elevenlabs"
ANTHROPIC: Final = "anthropic"
FORMS: Final = "forms"
FRAMES: Final = "frames"


Attacked: TypeAlias = Callable[[Tally, random.Random, Path, Mapping[str, int]], Awaitable[None]]


def run(seed: int, totals: Mapping[str, Mapping[str, int]]) -> Tally:
    """Attack each wire that has totals: a number for each way of attacking it. Vendors and lines on a virtual clock."""
    tally = Tally()
    virtual: dict[str, Attacked] = {
        LINE: _on_line,
        DEEPGRAM: partial(_on_socket, vendors.DeepgramVictim),
        FLUX: partial(_on_socket, vendors.FluxVictim),
        ELEVENLABS: partial(_on_socket, vendors.ElevenLabsVictim),
        ANTHROPIC: _at_claude,
    }
    loopback = {FORMS: _forms, FRAMES: _frames}
    with TemporaryDirectory() as folder:
        for name, each in totals.items():
            dice = random.Random(f"{seed} {name}")
            apart = Path(folder) / name
            apart.mkdir()
            if name in loopback:
                trio.run(loopback[name], tally, dice, apart, each)
            else:
                trio.run(virtual[name], tally, dice, apart, each, clock=MockClock(autojump_threshold=0))
    return tally


async def _on_line(tally: Tally, dice: random.Random, folder: Path, totals: Mapping[str, int]) -> None:
    async with desk(folder, tally) as made:
        await twilio.in_calls(made, tally, dice, totals["in calls"])
        await twilio.before_start(made, tally, dice, totals["before start"])


async def _on_socket(
    victim_of: Callable[[trio.Nursery], vendors.Victim],
    tally: Tally,
    dice: random.Random,
    folder: Path,
    totals: Mapping[str, int],
) -> None:
    async with trio.open_nursery() as nursery:
        victim = victim_of(nursery)
        async with desk(folder, tally, victim.team, vendors=nursery) as made:
            await vendors.on_sockets(made, tally, dice, victim.attack(), totals["in calls"])
        nursery.cancel_scope.cancel()


async def _at_claude(tally: Tally, dice: random.Random, folder: Path, totals: Mapping[str, int]) -> None:
    async with trio.open_nursery() as nursery:
        victim = claude.ClaudeVictim(nursery)
        async with aclosing(victim.model):
            # The client's first request asks a thread, which a virtual clock would leap over: before any timer.
            await victim.model.check(system="", tools=())
            async with desk(folder, tally, victim.team, vendors=nursery) as made:
                await claude.by_hand(made, tally, dice, victim, totals["by hand"])
                await claude.in_turns(made, tally, dice, victim, totals["in turns"])
        nursery.cancel_scope.cancel()


async def _forms(tally: Tally, dice: random.Random, folder: Path, totals: Mapping[str, int]) -> None:
    async with _witnessed(folder, tally) as served:
        await webhooks.forms(served, tally, dice, totals["forms"])


async def _frames(tally: Tally, dice: random.Random, folder: Path, totals: Mapping[str, int]) -> None:
    async with _witnessed(folder, tally) as served:
        await webhooks.http(served, tally, dice, totals["http"])
        await frames.frames(served, tally, dice, totals["frames"])


@asynccontextmanager
async def _witnessed(folder: Path, tally: Tally) -> AsyncIterator[Front]:
    async with front(folder, tally) as served, trio.open_nursery() as nursery:
        over = trio.Event()
        nursery.start_soon(served.witness, over)
        yield served
        over.set()
