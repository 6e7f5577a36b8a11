"""Whole calls that Flux hears: its client, its simulated vendor in memory, and every actor of the engine."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import structlog
import trio

from engine.call import ActorPolicy, CallPolicy, Plan
from engine.messages.records import Counted, Timing
from engine.policy import RestartPolicy
from engine.providers.deepgram import FluxRecogniser
from engine.providers.socket import Address
from engine.watch import Watch
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator, FluxListening, FluxPolicy
from simulators.faults import Close, Stall
from simulators.virtual.call import House, play
from simulators.virtual.judge import Outcome, wrongs
from simulators.virtual.script import End, MakeNoise, Say, VirtualScript

TURNS = (
    ("good", "morning"),
    ("somebody", "broke", "another", "tooth"),
    ("thursday", "noon", "please"),
    ("bye",),
)


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


def flux_house(simulator: DeepgramSimulator, report: Report) -> House:
    """What a call stands on whose only recogniser is Flux."""

    @asynccontextmanager
    async def house() -> AsyncIterator[Callable[[Plan], Plan]]:
        async with trio.open_nursery() as nursery:

            async def dial(_: Address) -> trio.abc.Stream:
                await trio.lowlevel.checkpoint()
                return simulator.connect(nursery)

            ear = FluxRecogniser(base_url="wss://deepgram.test", api_key="key", dial=dial)
            policy = CallPolicy(actors={"stt": ActorPolicy(policy=RestartPolicy(intensity=50))})
            yield lambda plan: attrs.evolve(plan, recognisers=(ear,), watch=report, policy=policy)
            await trio.sleep(5.0)  # the vendor waits for the end of each stream
            nursery.cancel_scope.cancel()

    return house


def called(seed: int, script: VirtualScript, *policies: DeepgramPolicy) -> tuple[Outcome, Report, list[FluxListening]]:
    report = Report()
    simulator = DeepgramSimulator(policies=policies or (DeepgramPolicy(),))
    outcome = play(seed, script=script, house=flux_house(simulator, report))
    assert simulator.violations == []
    return outcome, report, [each for each in simulator.listenings if isinstance(each, FluxListening)]


def talk(*turns: tuple[str, ...]) -> VirtualScript:
    return VirtualScript(steps=tuple(Say(words=words, after_s=0.7) for words in turns), end=End.AGENT)


def test_four_turns_are_answered_each_once_and_their_ends_expected() -> None:
    for seed in range(2):
        outcome, report, (listening,) = called(seed, talk(*TURNS))
        assert outcome.got == outcome.said == tuple(word for turn in TURNS for word in turn), seed
        assert not wrongs(outcome), seed
        assert listening.finals == [" ".join(turn) for turn in TURNS]
        assert listening.events == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"] * 4
        assert report.of("lost_ms") == []
        assert len(report.of("eager_saved_s")) >= 2


def test_a_stream_that_breaks_late_in_a_long_turn_has_little_of_it_sent_again() -> None:
    words = tuple(f"w{first}{last}" for first in "abcdefgh" for last in "abc")
    script = VirtualScript(steps=(Say(words=words, gap_frames=6, after_s=1.5), Say(words=("bye",))), end=End.AGENT)
    broken = DeepgramPolicy(flux=FluxPolicy(mid_turn=Close(code=1006), mid_turn_words=20))
    outcome, report, _ = called(3, script, broken, DeepgramPolicy())
    assert outcome.got == outcome.said
    assert not wrongs(outcome)
    (replayed_ms,) = report.of("replayed_ms")
    assert 1000 < replayed_ms < 3500  # of 5 s
    assert report.of("lost_ms") == []


def test_an_end_that_is_expected_again_and_again_and_taken_back_gives_one_answer() -> None:
    policy = DeepgramPolicy(flux=FluxPolicy(wavers=2))
    outcome, _, (listening,) = called(5, talk(*TURNS), policy)
    assert outcome.got == outcome.said
    assert not wrongs(outcome)
    assert listening.events.count("TurnResumed") == 8


def test_noise_that_begins_a_turn_without_words_is_not_answered() -> None:
    policy = DeepgramPolicy(flux=FluxPolicy(starts_on_noise=True))
    steps = (Say(words=TURNS[0], after_s=0.7), MakeNoise(frames=15, after_words=1), Say(words=TURNS[3], after_s=1.5))
    outcome, _, _ = called(6, VirtualScript(steps=steps, end=End.AGENT), policy)
    assert outcome.got == outcome.said == (*TURNS[0], *TURNS[3])


@pytest.mark.parametrize("fault", [Close(code=1006), Stall()], ids=["closed", "mute"])
@pytest.mark.parametrize("words", [1, 4])
def test_a_stream_that_breaks_in_a_turn_costs_no_word_of_the_call(fault: Close | Stall, words: int) -> None:
    broken = DeepgramPolicy(flux=FluxPolicy(mid_turn=fault, mid_turn_index=1, mid_turn_words=words))
    outcome, report, listenings = called(words, talk(*TURNS), broken, DeepgramPolicy())
    assert outcome.got == outcome.said
    assert not wrongs(outcome)
    assert len(listenings) == 2
    assert report.of("lost_ms") == []
    assert len(report.of("deaf_ms")) == 1
