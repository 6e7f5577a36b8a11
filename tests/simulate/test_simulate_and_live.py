"""A rehearsal against the real thing: the same outage, the same seed, on loopback in real time.

What is compared, call by call and in order: every failure of a session, every restart and the wait before it, every
fail-over, fail-back and giving up, every connection; of the failing actor, whose times depend on nothing that a caller
says. Times are counted from the outage's beginning, or from the call's opening where that is later; what was before the
outage is left out, how long the first connection of a call takes, and how soon a vendor that is back says its first
word, which is the vendor's affair: of a fail-back only the order counts. An attempt that falls within milliseconds of
the vendor's return may be let in by one clock and not by the other: the cases' outages end in the middle of a wait.

What both share is the engine: reception, policies, supervisors, backoffs by the call's seed, and the fault that is the
outage. What only the live run has: the phone network's protocol, sockets, the vendors' own clients and strict
simulators of the vendors, a clock that does not wait. Connecting takes 0.15 s there too, because the simulators are
told so; what sockets add is within what is allowed. A process that was held up by its machine is as much later; where
it was held up for long, the case is run again, and nothing is compared if that was no better.
"""

import gc
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import structlog
import trio

from engine.health import HealthPolicy
from engine.settings import (
    ActorsSettings,
    CallSettings,
    Settings,
    SttSettings,
    SupervisorSettings,
    TtsSettings,
)
from engine.supervisor import (
    ChildFailed,
    ChildRestarted,
    ChildStalled,
    FailedBack,
    FailedOver,
    GaveUp,
    RestartScheduled,
    SupervisionEvent,
)
from holdfast.simulate import STAND_IN
from simulators.virtual.rehearsal import Outage, RehearsedCall, rehearse
from tests.simulate.live import Lateness, live

WITHIN_S = 0.05
WITHIN_SHARE = 0.1

RUNS = 2
HELD_UP_S = 0.1
"""Half of what lies between an outage's end and the attempts before and after it."""

BEFORE_S = 0.01
"""Sums of floats: the outage itself counts."""

TOLD = (ChildFailed, ChildStalled, RestartScheduled, ChildRestarted, FailedOver, FailedBack, GaveUp)


@attrs.frozen(kw_only=True)
class Case:
    """An outage, and under which settings; whose events are compared."""

    name: str
    actor: str
    outage: Outage
    settings: Settings
    calls: int = 1
    apart_s: float = 0.0
    seed: int = 7
    turns: tuple[str, ...] = ("wonderful thank you very much",)


def settings(stt: tuple[str, ...] = ("local",), tts: tuple[str, ...] = ("local",), **more: Any) -> Settings:
    return Settings(call=CallSettings(stt=stt, llm=("anthropic",), tts=tts), **more)


CASES = (
    Case(
        name="another takes over, and all come back by one that tries",
        actor="stt",
        outage=Outage(vendor="deepgram", at_s=1.7, lasts_s=4.0),
        settings=settings(
            stt=("deepgram", "local"), health=HealthPolicy(failures=3, open_s=4.0, longest_open_s=60.0, factor=2.0)
        ),
        calls=3,
        apart_s=3.5,
    ),
    Case(
        name="the only one comes back",
        actor="stt",
        outage=Outage(vendor="deepgram", at_s=3.1, lasts_s=3.0),
        settings=settings(
            stt=("deepgram",),
            actors=ActorsSettings(stt=SttSettings(intensity=20, period_s=10.0)),
            supervisor=SupervisorSettings(intensity=3, period_s=60.0),
        ),
    ),
    Case(
        name="none is left",
        actor="stt",
        outage=Outage(vendor="deepgram", at_s=2.3, lasts_s=2.65),
        settings=settings(stt=("deepgram",), actors=ActorsSettings(stt=SttSettings(intensity=3, period_s=10.0))),
        seed=11,
    ),
    Case(
        name="another voice",
        actor="tts",
        outage=Outage(vendor="elevenlabs", at_s=2.0, lasts_s=5.0),
        settings=settings(
            tts=("elevenlabs", "local"), actors=ActorsSettings(tts=TtsSettings(intensity=2, period_s=5.0))
        ),
    ),
)


@attrs.frozen(kw_only=True)
class Decided:
    """What is compared of an event: at which time, who, what. more: of a wait, its length, which the seed draws."""

    at_s: float
    who: str
    what: str
    more: tuple[object, ...] = ()


def decided(call: RehearsedCall, case: Case, began_at: float) -> list[Decided]:
    """Return what the supervisors of an actor saw and decided in a call, and its connections, from the outage on."""
    opened_s = call.opened_at - began_at
    from_s = max(0.0, case.outage.at_s - opened_s)
    found = [
        Decided(
            at_s=event.happened_at - began_at - opened_s - from_s,
            who=event.child,
            what=type(event).__name__,
            more=_more(event),
        )
        for event in call.events
        if isinstance(event, TOLD) and case.actor in {event.supervisor, event.child}
    ]
    found += [
        Decided(at_s=each.at_s - from_s, who=each.who, what="connected")
        for each in call.report.happened
        if each.what == f"connected for {case.actor}"
    ]
    return sorted((each for each in found if each.at_s > -BEFORE_S), key=lambda each: each.at_s)


def _more(event: SupervisionEvent) -> tuple[object, ...]:
    match event:
        case RestartScheduled(after_s=after_s):
            return (after_s,)
        case FailedOver(was=was, now_on=now_on):
            return (was, now_on)
        case FailedBack(now_on=now_on):
            return (now_on,)
        case GaveUp(history=history):
            return (len(history),)
        case _:
            return ()


@attrs.define
class Both:
    """Both runs of a case, call by call; when the live ones opened, and how late the process was."""

    virtual: list[list[Decided]]
    live: list[list[Decided]]
    opened_at: list[float]
    lateness: Lateness

    def counts(self, case: Case) -> bool:
        """Whether it need not be run again: a busy machine may also move an attempt to the other side of an end."""
        alike = [[(each.who, each.what, each.more) for each in call] for call in self.virtual] == [
            [(each.who, each.what, each.more) for each in call] for call in self.live
        ]
        return alike and not self.held_up(case)

    def held_up(self, case: Case) -> bool:
        """Whether the process stood still for so long in the middle of it that another attempt may have been made."""
        from_at = self.opened_at[0] + case.outage.at_s
        return self.lateness.between(from_at, from_at + case.outage.lasts_s) > HELD_UP_S


def virtually(case: Case) -> list[list[Decided]]:
    rehearsal = rehearse(
        case.settings,
        STAND_IN,
        [case.outage],
        calls=case.calls,
        apart_s=case.apart_s,
        seed=case.seed,
        turns=case.turns,
    )
    # A rehearsal's events count from its beginning already.
    return [
        decided(cast("RehearsedCall", _Told(call.opened_s, call.events, call.report)), case, 0.0)
        for call in rehearsal.calls
    ]


@attrs.frozen
class _Told:
    opened_at: float
    events: tuple[SupervisionEvent, ...]
    report: object


async def all_live(cases: Sequence[Case], virtuals: dict[str, list[list[Decided]]], folder: Path) -> dict[str, Both]:
    """Run cases at once, each with a server and vendors of its own."""
    found: dict[str, Both] = {}
    lateness = Lateness()

    async def one(number: int, case: Case) -> None:
        await trio.sleep(number * 0.7)  # opening all servers at once takes the machine's breath away
        calls = await live(
            case.settings,
            STAND_IN,
            [case.outage],
            folder / f"{number}.sqlite3",
            calls=case.calls,
            apart_s=case.apart_s,
            seed=case.seed,
            turns=case.turns,
        )
        began_at = calls[0].opened_at
        lists = [decided(call, case, began_at) for call in calls]
        opened_at = [call.opened_at for call in calls]
        found[case.name] = Both(virtual=virtuals[case.name], live=lists, opened_at=opened_at, lateness=lateness)

    async with trio.open_nursery() as beating:
        beating.start_soon(lateness.keep)
        async with trio.open_nursery() as nursery:
            for number, case in enumerate(cases):
                nursery.start_soon(one, number, case)
        beating.cancel_scope.cancel()
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Both]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    virtuals = {case.name: virtually(case) for case in CASES}
    found: dict[str, Both] = {}
    # What is there already is never garbage: to look through all that pytest holds takes a tenth of a second.
    gc.collect()
    gc.freeze()
    try:
        for _ in range(RUNS):
            left = [case for case in CASES if case.name not in found or not found[case.name].counts(case)]
            if left:
                folder = tmp_path_factory.mktemp("live")
                found |= trio.run(all_live, left, virtuals, folder)
    finally:
        gc.unfreeze()
    return found


@pytest.mark.xdist_group("simulate-live")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_rehearsal_and_the_live_run_agree(case: Case, runs: dict[str, Both]) -> None:
    both = runs[case.name]
    if both.held_up(case):
        pytest.skip("the machine held the process up for longer than the attempts lie apart, each time")
    assert len(both.virtual) == len(both.live) == case.calls
    assert any(each.what == "ChildFailed" for each in both.live[0])
    for number, (virtual, on_loopback) in enumerate(zip(both.virtual, both.live, strict=True)):
        print(f"\ncall {number + 1}: virtual, live")  # noqa: T201
        for pair in itertools.zip_longest(virtual, on_loopback):
            print("   ".join(f"{each.at_s:6.3f} {each.who} {each.what}" if each else "–" for each in pair))  # noqa: T201
        assert [(each.who, each.what, each.more) for each in virtual] == [
            (each.who, each.what, each.more) for each in on_loopback
        ]
        opened_at = both.opened_at[number]
        from_at = max(opened_at, both.opened_at[0] + case.outage.at_s)
        for index, (one, other) in enumerate(zip(virtual, on_loopback, strict=True)):
            if one.what == "FailedBack" or (not index and one.what == "connected"):
                continue
            late_s = both.lateness.between(from_at, from_at + other.at_s)
            assert abs(other.at_s - one.at_s) <= max(WITHIN_S, WITHIN_SHARE * one.at_s) + late_s, (one, other, late_s)
