"""Whose turn it is, in whole calls: what cuts the agent, what does not, and what an answer comes to."""

import random
from collections.abc import Callable

import attrs
import pytest
import structlog

from engine.actors.pacer import Clip
from engine.call import Plan
from engine.messages.conversation import AgentSaid
from simulators.virtual.call import play
from simulators.virtual.judge import Outcome, wrongs
from simulators.virtual.script import IDLE_S, PHRASES, BeSilent, BreakIn, End, MakeNoise, Say, VirtualScript
from simulators.virtual.script import answer as answer_to
from simulators.virtual.vendors import VirtualModel, spoken_text

SEEDS = 15

HELD_S = 0.7
"""The agent falls silent after 0.08 s of sound; lag in every actor on the way does the rest."""

LONG = tuple(f"q{each}" for each in "abcdefghijklmn")
"""An utterance with a long answer."""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def calls(
    steps: Callable[[random.Random], tuple[Say | BreakIn | MakeNoise | BeSilent, ...]],
    replan: Callable[[Plan], Plan] = lambda plan: plan,
) -> list[Outcome]:
    """Return calls, with lag in two of three of them, that go on to a last question and its answer."""

    def prepare(_script: VirtualScript, dice: random.Random) -> VirtualScript:
        return VirtualScript(steps=(*steps(dice), Say(words=("qy", "qz"))), end=End.CALLER)

    return [play(seed, prepare=prepare, replan=replan) for seed in range(SEEDS)]


def found(outcomes: list[Outcome], besides: Callable[[Outcome], str | None] = lambda _: None) -> dict[int, list[str]]:
    """Return what is wrong, by seed."""
    each = {
        seed: [*wrongs(outcome), *filter(None, [besides(outcome)])]
        + ([] if outcome.clean else [f"{outcome.lost} were lost"])
        for seed, outcome in enumerate(outcomes)
    }
    return {seed: wrong for seed, wrong in each.items() if wrong}


def uncut(outcome: Outcome) -> str | None:
    cut = [each for each in outcome.conversation if isinstance(each, AgentSaid) and each.interrupted]
    return f"cut at {outcome.clears}: {cut}" if len(outcome.clears) > len(outcome.resumes) or cut else None


def test_an_okay_over_a_long_answer_does_not_cut_it_and_is_not_lost() -> None:
    def steps(dice: random.Random) -> tuple[Say | BreakIn, ...]:
        return Say(words=LONG), BreakIn(words=("okay",), after_words=dice.randint(1, 5))

    assert not found(calls(steps), uncut)


def test_a_cough_over_the_agent_does_not_cut_it() -> None:
    def steps(dice: random.Random) -> tuple[Say | MakeNoise, ...]:
        return Say(words=LONG), MakeNoise(frames=dice.randint(10, 22), after_words=dice.randint(1, 5))

    assert not found(calls(steps), uncut)


def test_sound_over_the_agent_that_goes_on_cuts_it() -> None:
    def steps(dice: random.Random) -> tuple[Say | MakeNoise, ...]:
        return Say(words=LONG), MakeNoise(frames=90, after_words=dice.randint(1, 4)), Say(words=("qv", "qw"))

    def late(outcome: Outcome) -> str | None:
        begun_s = outcome.sounds[1][0]
        silent_s = outcome.clears[0] - begun_s if outcome.clears else None
        cut = any(isinstance(each, AgentSaid) and each.interrupted for each in outcome.conversation)
        prompt = silent_s is not None and silent_s <= HELD_S
        return None if cut and prompt else f"it was silent after {silent_s} s, and {'' if cut else 'not '}cut"

    assert not found(calls(steps), late)


def test_a_draft_that_is_taken_back_does_not_cost_the_answer() -> None:
    def steps(dice: random.Random) -> tuple[Say | MakeNoise, ...]:
        return Say(words=LONG), MakeNoise(frames=dice.randint(5, 10), after_s=0.45 + 0.4 * dice.random(), draft="uh")

    def pending(plan: Plan) -> Plan:
        return attrs.evolve(plan, models=(VirtualModel(answer=answer_to, first_token_s=0.8),))

    assert not found(calls(steps, pending), uncut)


def test_one_word_over_the_goodbye_of_an_idle_call_is_answered_and_the_call_goes_on() -> None:
    def steps(dice: random.Random) -> tuple[Say | BeSilent | BreakIn, ...]:
        wait = BreakIn(words=("wait",), after_words=dice.randint(1, 2), patience_s=2 * IDLE_S)
        return Say(words=("qa",)), BeSilent(), wait

    goodbye = "nobody says a word so this call ends now goodbye"

    def longer(plan: Plan) -> Plan:
        pacer, agent = plan.cores.pacer, plan.cores.agent
        clip = Clip(text=goodbye, audio=spoken_text(goodbye)[0])
        cores = attrs.evolve(
            plan.cores,
            pacer=attrs.evolve(pacer, clips={**pacer.clips, "goodbye": clip}),
            agent=attrs.evolve(agent, policy=attrs.evolve(agent.policy, phrases={**PHRASES, "goodbye": goodbye})),
        )
        return attrs.evolve(plan, cores=cores)

    def unanswered(outcome: Outcome) -> str | None:
        heard = " ".join(outcome.heard)
        return None if answer_to("wait") in heard else f"the caller heard {heard!r}"

    assert not found(calls(steps, longer), unanswered)
