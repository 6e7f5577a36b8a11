"""Whole calls on a virtual clock, from seeds: each class of faults in them, lag in every wake-up, and no word lost.

A failing call is named by its class and seed; `python -m simulators.virtual.call CLASS SEED` plays it again.
"""

import gc
import os
import random
import threading
import warnings
from collections.abc import Sequence

import attrs
import pytest
import structlog
import trio

from engine.call import Plan
from engine.messages.records import Kept
from simulators.virtual.call import FAULTS, NOTHING_LOST, play
from simulators.virtual.judge import Outcome, wrongs
from simulators.virtual.script import End, VirtualScript

CALLS = {"none": 24, "two at a time": 60}
"""Calls of a class; of any other 20. There are more in test_soak.py, and any number in `just soak`."""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """No log: a thousand calls with faults in them would fill a disk."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(60 - 10))


def judged(name: str, outcome: Outcome) -> list[str]:
    """Return what is wrong with a call of a class."""
    found = wrongs(outcome)
    if name in NOTHING_LOST and not outcome.clean:
        found.append(f"it lost {outcome.lost}, and {outcome.bare} cores were bare")
    return found


def parts() -> list[tuple[str, range]]:
    """Return the classes in parts of at most 30 calls, which processes can share."""
    return [
        (name, range(first, min(first + 30, CALLS.get(name, 20))))
        for name in FAULTS
        for first in range(0, CALLS.get(name, 20), 30)
    ]


@pytest.mark.parametrize(("name", "seeds"), parts(), ids=lambda value: str(value).replace("range", ""))
def test_every_call_goes_on_and_no_word_is_lost_or_doubled(name: str, seeds: range) -> None:
    failed, fired = {}, 0
    for seed in seeds:
        outcome = play(seed, faults=FAULTS[name])
        fired += any(getattr(fault, "fired_at", None) is not None for fault in outcome.faults)
        if found := judged(name, outcome):
            failed[seed] = found
    assert name == "none" or fired > len(seeds) / 3
    assert not failed, f"{len(failed)} of {len(seeds)}: " + "; ".join(
        f"'{name}' {seed}: {found[0]}" for seed, found in failed.items()
    )


def _hangs_up(script: VirtualScript, dice: random.Random) -> VirtualScript:
    return attrs.evolve(script, end=End.CALLER, hang_up_at=dice.random() * 9.0)


def _cancelled(script: VirtualScript, dice: random.Random) -> VirtualScript:
    return attrs.evolve(script, end=End.CALLER, cancel_at=dice.choice((0.0, dice.random(), dice.random() * 9.0)))


def _consistent(outcome: Outcome) -> list[str]:
    """Judge a call that ended in the middle: at most the turn in progress may be missing."""
    found = judged("", outcome)
    if outcome.clean:
        begun = [words for at, words in outcome.utterances if at < outcome.ended_at]
        if len(outcome.got) < sum(len(words) for words in begun[:-1]):
            found.append(f"more than the last words are missing: {outcome.utterances}, {outcome.got}")
    return found


@pytest.mark.parametrize("prepare", [_hangs_up, _cancelled], ids=["hang-up", "cancellation"])
@pytest.mark.parametrize("name", ["none", "two at a time"])
def test_a_call_that_ends_at_any_moment_leaves_nothing_behind(name: str, prepare: object) -> None:
    assert callable(prepare)
    gc.collect()
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208
    failed = {}
    for seed in range(30):
        found = _consistent(play(seed, faults=FAULTS[name], prepare=prepare))
        if found:
            failed[seed] = found
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        gc.collect()
    assert not failed
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208


def test_the_same_seed_is_the_same_call() -> None:
    for seed in range(3):
        first, second = (play(seed, faults=FAULTS["two at a time"]) for _ in range(2))
        assert (first.notes, first.heard, first.conversation) == (second.notes, second.heard, second.conversation)


def test_an_archive_that_is_slow_or_fails_once_costs_the_caller_nothing() -> None:
    class Slow:
        def __init__(self, plan: Plan) -> None:
            self.archive, self.puts = plan.archive, 0

        async def opened(self) -> None:
            await self.archive.opened()

        async def put(self, items: Sequence[Kept]) -> None:
            self.puts += 1
            if self.puts == 3:
                raise OSError("the disk is full")
            await trio.sleep(0.2)
            await self.archive.put(items)

        async def ended(self, reason: str) -> None:
            await self.archive.ended(reason)

    for seed in range(8):
        outcome = play(seed, replan=lambda plan: attrs.evolve(plan, archive=Slow(plan)))
        assert not judged("none", outcome)
