"""Calls whose model is overloaded, dies, stalls or is away: what is heard, and when."""

import functools

import pytest
import trio

from engine.messages.conversation import AgentSaid, CallerSaid, ToolAnswered, ToolCalled
from simulators.virtual.vendors import Trouble, Troubles, VirtualModel, VirtualTools
from tests.recovery.rig import LONG, Scene, long_answer


@functools.cache
def untroubled_s() -> float:
    """From the caller's last word to the first of the answer, where all is well."""
    return Scene().run().first_after_s


def model(*troubles: Trouble, vendor: str = "first") -> VirtualModel:
    return VirtualModel(answer=long_answer, vendor=vendor, troubles=Troubles(to_come=list(troubles)))


def asked(scene: Scene) -> list[int]:
    """How often each model was asked."""
    return [each.troubles.asked for each in scene.models if isinstance(each, VirtualModel)]


def test_a_model_that_is_overloaded_once_costs_half_a_second_at_most() -> None:
    scene = Scene(models=(model(Trouble(code="529")),)).run()
    assert scene.said == LONG
    assert scene.first_after_s - untroubled_s() <= 0.5


def test_a_model_that_stalls_is_made_up_for_by_a_phrase_within_two_seconds_and_the_turn_is_answered() -> None:
    scene = Scene(models=(model(Trouble(stalls=True)),)).run()
    assert scene.said == f"one moment {LONG}"
    assert scene.first_after_s <= 2.0
    assert scene.answer[2].start_s - scene.asked_at < 4.0


@pytest.mark.parametrize("silent", [False, True])
def test_while_a_model_is_down_the_caller_is_told_within_three_seconds_and_the_call_goes_on(*, silent: bool) -> None:
    async def away(scene: Scene) -> None:
        await trio.sleep(3.0)
        (only,) = scene.models
        assert isinstance(only, VirtualModel)
        if silent:
            only.troubles.silent_until = trio.current_time() + 8.0
        else:
            only.door.shut_until = trio.current_time() + 8.0
        await trio.sleep(9.0)
        assert scene.first_after_s <= 3.0
        await scene.say("hello", "again")

    scene = Scene(models=(model(),), lasts_s=25.0).run(away)
    assert scene.said == f"{'one moment ' if silent else ''}sorry indeed {LONG}"
    assert [type(each) for each in scene.conversation][1:] == [CallerSaid, AgentSaid, CallerSaid, AgentSaid]


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("after_events", [1, 5, 6, 12, 19])
def test_a_model_that_dies_anywhere_in_its_answer_is_gone_on_with_and_no_word_is_said_twice(
    after_events: int, *, stalls: bool
) -> None:
    scene = Scene(models=(model(Trouble(after_events=after_events, stalls=stalls)),)).run()
    assert scene.said.removeprefix("one moment ") == LONG
    assert scene.conversation[-1] == AgentSaid(turn=1, text=scene.said)
    assert asked(scene) == [2]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 7), (7, 0), (7, 6), (3, 7)])
def test_the_next_model_ends_the_answer_of_one_that_died_twice(first: int, second: int) -> None:
    # One that dies at once does so before the turn has ended, when it was only expected: that does not count.
    early = [Trouble(after_events=0)] if first == 0 else []
    troubled = model(*early, Trouble(after_events=first), Trouble(after_events=second))
    scene = Scene(models=(troubled, model(vendor="second"))).run()
    assert scene.said == LONG
    assert asked(scene) == [2 + len(early), 1]


def test_after_the_last_model_the_answer_ends_politely() -> None:
    models = (model(Trouble(after_events=7), Trouble()), model(*[Trouble()] * 3, vendor="second"))
    scene = Scene(models=models).run()
    assert scene.said == "we have nine free times, sorry indeed"
    assert asked(scene) == [2, 3]


def test_a_lone_model_that_is_away_for_half_a_second_costs_no_apology() -> None:
    scene = Scene(models=(model(Trouble(), Trouble()),)).run()
    assert scene.said == LONG


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("takes_s", [0.3, 4.0])
def test_a_tool_runs_once_and_to_its_end_though_the_model_dies_right_after_its_call(
    takes_s: float, *, stalls: bool
) -> None:
    troubled = model(Trouble(after_events=1, stalls=stalls))
    scene = Scene(
        models=(troubled, model(vendor="second")), tools=VirtualTools(takes_s=takes_s), ask=("book", "please")
    ).run()
    assert scene.tools.runs == {"book-1": 1}
    assert scene.said.removeprefix("one moment ") == LONG
    assert [type(each) for each in scene.conversation if not isinstance(each, AgentSaid)] == [
        CallerSaid,
        ToolCalled,
        ToolAnswered,
    ]


def test_a_tool_that_takes_long_is_waited_for_with_a_phrase_once() -> None:
    scene = Scene(models=(model(),), tools=VirtualTools(takes_s=6.0), ask=("book", "please")).run()
    assert scene.said == f"one moment {LONG}"
    assert scene.first_after_s <= 2.0


def test_a_barge_in_in_the_middle_of_a_tool_and_a_death_leaves_the_tool_alone() -> None:
    async def barge_in(scene: Scene) -> None:
        await trio.sleep(5.0)
        await scene.say("no", "monday")

    troubled = model(Trouble(after_events=1, stalls=True))
    scene = Scene(models=(troubled,), tools=VirtualTools(takes_s=4.0), ask=("book", "please"), lasts_s=25.0)
    scene.run(barge_in)
    assert scene.tools.runs == {"book-1": 1}
    assert scene.said.endswith(LONG)
