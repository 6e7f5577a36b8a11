"""The caller's words in whole calls whose recogniser dies, or lets nobody in: each reaches the agent once, and soon."""

import random
from collections.abc import Callable

import attrs
import pytest
import structlog

from engine.call import ActorPolicy, CallPolicy, Plan
from engine.messages.conversation import CallerSaid
from engine.messages.records import Counted, Timing
from engine.policy import RestartPolicy
from engine.watch import Watch
from simulators.virtual.call import play
from simulators.virtual.faults import Fault, KillSession, Outage
from simulators.virtual.judge import Outcome, wrongs
from simulators.virtual.script import End, Say, VirtualScript
from simulators.virtual.vendors import VirtualRecogniser
from tests.actors.steps import only

WORDS = tuple(f"w{first}{last}" for first in "abcdefgh" for last in "abc")
"""Of 140 ms each: at a gap of 40 ms they take 4.3 s, at one of 120 ms, 6.2 s."""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


@attrs.define(eq=False, kw_only=True)
class Report(Watch):
    """A watch that keeps what cores counted, and when stages were reached."""

    numbers: list[Counted] = attrs.field(factory=list)
    stages: list[Timing] = attrs.field(factory=list)

    def counted(self, counted: Counted) -> None:
        self.numbers.append(counted)
        super().counted(counted)

    def reached(self, timing: Timing) -> None:
        self.stages.append(timing)
        super().reached(timing)

    def of(self, name: str) -> list[float]:
        return [each.amount for each in self.numbers if each.name == name]

    def at(self, stage: str, turn: int) -> float:
        return next(each.at_s for each in self.stages if (each.stage, each.turn) == (stage, turn))


def called(
    seed: int,
    recogniser: Callable[[int], VirtualRecogniser],
    faults: Callable[[random.Random], tuple[Fault, ...]],
    *,
    words: tuple[str, ...] = WORDS,
    gap_frames: int = 6,
) -> tuple[Outcome, Report]:
    """Return a call in which one long sentence is said, after a pause, and what was reported of it."""
    report = Report()
    script = VirtualScript(
        steps=(Say(words=words, gap_frames=gap_frames, after_s=1.5), Say(words=("bye",))), end=End.AGENT
    )

    def replan(plan: Plan) -> Plan:
        # There is no other vendor: this one is tried again for as long as it refuses.
        policy = CallPolicy(actors={"stt": ActorPolicy(policy=RestartPolicy(intensity=50))})
        return attrs.evolve(plan, recognisers=(recogniser(seed),), watch=report, policy=policy)

    return play(seed, script=script, faults=faults, replan=replan), report


def shifting(**options: float) -> Callable[[int], VirtualRecogniser]:
    """A recogniser with words of its own in the middle of speech, at the vendor's rate."""
    return lambda seed: VirtualRecogniser(seed=seed, longest_s=1.0, speed=1.25, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("gap_frames", [6, 2], ids=["conversation", "fast"])
@pytest.mark.parametrize("shift", ["word_shift_s", "connection_shift_s"])
def test_a_recogniser_that_dies_three_times_in_a_sentence_costs_no_word_and_doubles_none(
    shift: str, gap_frames: int
) -> None:
    def deaths(dice: random.Random) -> tuple[Fault, ...]:
        return tuple(KillSession(actor="stt", at_s=at_s + dice.random()) for at_s in (2.3, 3.6, 4.8))

    for seed in range(6):
        outcome, report = called(seed, shifting(**{shift: 0.06}), deaths, gap_frames=gap_frames)
        assert outcome.recogniser_deaths == 3
        assert outcome.got == outcome.said == (*WORDS, "bye"), seed
        assert not wrongs(outcome), seed
        assert report.of("lost_ms") == []
        assert len(report.of("deaf_ms")) == len(report.of("replayed_ms")) == 3
        assert max(report.of("deaf_ms")) < 300, seed
        assert min(report.of("replayed_ms")) > 0
        assert 1 <= len(report.of("catch_up_s")) <= 3


@pytest.mark.parametrize("at_s", [2.4, 3.1, 3.9])
def test_a_sentence_in_which_the_recogniser_refuses_for_five_seconds_is_answered_soon_after(at_s: float) -> None:
    for seed in range(4):
        outcome, report = called(
            seed,
            shifting(word_shift_s=0.06),
            lambda _: (Outage(actor="stt", at_s=at_s, lasts_s=5.0),),
            words=WORDS[:10],
        )
        assert outcome.got == outcome.said == (*WORDS[:10], "bye"), seed
        assert not wrongs(outcome), seed
        assert len(only(CallerSaid, outcome.conversation)) == 2, seed
        begun_s = outcome.utterances[0][0]
        ended_s = begun_s + 10 * 0.26
        assert begun_s < at_s < ended_s
        # Of the audio sent again: what was said, from at most 1.5 s and a piece of 1 s before it broke off.
        backlog_s = (ended_s + 0.3 - max(begun_s, at_s - 2.5)) / 1.25
        assert report.at("turn_ended", 1) > at_s + 5.0
        assert report.at("first_sound", 1) < at_s + 5.0 + 2.0 + backlog_s, seed
        assert report.of("catch_up_s")
