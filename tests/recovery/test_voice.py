"""Calls whose voice is killed, refused or away: every word once, in order, and how long nothing was heard."""

import math

import pytest
import trio

from engine.call import ActorPolicy
from engine.policy import RestartPolicy
from engine.supervisor import FailedOver
from simulators.virtual.vendors import Door, VirtualVoice
from tests.recovery.rig import LONG, Scene

QUICK = {"tts": ActorPolicy(policy=RestartPolicy(intensity=2, period_s=5.0))}
"""A voice that gives up soon, because there is another."""


@pytest.mark.parametrize(
    ("at_s", "pace"), [(0.9, 1.05), (0.95, 8.0), (1.0, 1.05), (1.05, 2.0), (1.15, 1.05), (1.55, 1.05), (2.2, 1.3)]
)
def test_a_voice_that_is_killed_says_every_word_once_without_a_gap_of_note(at_s: float, pace: float) -> None:
    async def kill(scene: Scene) -> None:
        await trio.sleep(3.0 + at_s)
        scene.kill_voice()

    scene = Scene(voices=(VirtualVoice(pace=pace, chunk_frames=3),), lasts_s=17.0).run(kill)
    assert scene.said == LONG
    assert max(scene.gaps_s) < 0.4
    assert scene.first_after_s < 1.2


def test_a_voice_that_is_killed_three_times_in_an_answer_says_every_word_once() -> None:
    async def kill(scene: Scene) -> None:
        for words in (1, 4, 9):
            await scene.heard_words(words)
            scene.kill_voice()

    scene = Scene(voices=(VirtualVoice(pace=1.05, chunk_frames=3),), lasts_s=17.0).run(kill)
    assert scene.said == LONG
    assert max(scene.gaps_s) < 0.4


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("other_aligned", [True, False])
@pytest.mark.parametrize("at_s", [1.0, 2.0, 2.55])
def test_another_voice_ends_what_one_has_begun_whatever_either_says_of_its_words(
    at_s: float, *, aligned: bool, other_aligned: bool
) -> None:
    door = Door()

    async def shut(scene: Scene) -> None:
        await trio.sleep(3.0 + at_s)
        door.shut_until = trio.current_time() + 60.0
        scene.kill_voice()

    first = VirtualVoice(vendor="first", pace=1.3, chunk_frames=3, aligned=aligned, door=door)
    second = VirtualVoice(vendor="second", aligned=other_aligned)
    scene = Scene(voices=(first, second), actors=QUICK, lasts_s=17.0).run(shut)
    assert [each.now_on for each in scene.call.events if isinstance(each, FailedOver)] == ["second"]
    # The beginning of a word that the notice came after is all that may be left of it.
    heard = scene.said.replace("one moment", "").replace("<garbled>", "")
    missing = [word for word in LONG.split() if word not in heard.split()]
    assert len(missing) <= scene.garbled // 2
    assert [word for word in heard.split() if word not in LONG.split()] == []
    assert len(heard.split()) == len(LONG.split()) - len(missing)


def test_a_voice_that_is_refused_gives_way_to_another_within_a_second() -> None:
    door = Door(shut_until=60.0)
    voices = (VirtualVoice(vendor="first", door=door), VirtualVoice(vendor="second"))
    scene = Scene(voices=voices, actors=QUICK).run()
    over = next(each for each in scene.call.events if isinstance(each, FailedOver))
    assert over.happened_at < 1.0
    assert scene.said.replace("one moment ", "") == LONG


def test_a_caller_who_waits_for_nothing_is_not_asked_to_wait() -> None:
    voices = (VirtualVoice(vendor="first", door=Door(shut_until=60.0)), VirtualVoice(vendor="second"))
    scene = Scene(voices=voices, actors=QUICK).run()
    assert any(isinstance(each, FailedOver) for each in scene.call.events)
    assert scene.said == LONG


def test_a_caller_who_waits_for_the_rest_is_asked_to() -> None:
    door = Door()

    async def shut(scene: Scene) -> None:
        await scene.heard_words(3)
        door.shut_until = math.inf
        scene.kill_voice()

    voices = (VirtualVoice(vendor="first", door=door, pace=1.1), VirtualVoice(vendor="second"))
    scene = Scene(voices=voices, actors=QUICK).run(shut)
    assert "one moment" in scene.said
    rest = scene.said.replace("one moment", "").split()
    assert [word for word in rest if word in LONG.split()] == LONG.split()


def test_a_caller_who_waits_for_a_lone_voice_is_asked_to_once() -> None:
    door = Door()

    async def shut(scene: Scene) -> None:
        await scene.heard_words(3)
        door.shut_until = trio.current_time() + 6.0
        scene.kill_voice()

    patient = {"tts": ActorPolicy(policy=RestartPolicy(intensity=100))}
    scene = Scene(voices=(VirtualVoice(pace=1.1, door=door),), actors=patient, lasts_s=24.0).run(shut)
    assert scene.said.count("one moment") == 1
    assert [word for word in scene.said.replace("one moment", "").split() if word in LONG.split()] == LONG.split()


def test_a_voice_that_is_away_for_long_says_the_rest_when_it_is_back() -> None:
    door = Door()

    async def shut(scene: Scene) -> None:
        await trio.sleep(4.3)
        door.shut_until = trio.current_time() + 4.0
        scene.kill_voice()

    patient = {"tts": ActorPolicy(policy=RestartPolicy(intensity=100))}
    scene = Scene(voices=(VirtualVoice(pace=1.1, door=door),), actors=patient, lasts_s=22.0).run(shut)
    said = scene.said.replace("one moment", "").split()
    assert [word for word in said if word != "<garbled>"] == LONG.split()
    assert scene.garbled <= 1
    assert max(scene.gaps_s) < 4.0 + 1.0 + 0.4  # the outage, a backoff, and what a healthy one takes


def test_nobody_is_told_that_a_clause_was_repeated_when_none_was() -> None:
    async def kill(scene: Scene) -> None:
        await scene.heard_words(3)
        scene.kill_voice()

    counted = Scene(voices=(VirtualVoice(pace=1.05),)).run(kill).call.counted
    assert "repeated_clauses" not in [each.name for each in counted]
