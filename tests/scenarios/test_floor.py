"""Whose floor it is: the calls that are made for it, and what is counted of them."""

from pathlib import Path

import pytest
import structlog

from engine.messages.errors import ConfigError
from simulators.caller import Backchannel, Noise, Say
from simulators.talk import floor, virtual
from simulators.talk.account import Spoke, Stretch, spoke
from simulators.talk.floor import Phrases, Tally, calls, quantile, read_phrases

PHRASES = Phrases(
    backchannels=("Uh-huh.", "Okay."), noises=("", "uh"), interruptions=("Stop.", "What about Friday?", "No, wait.")
)


def sounds(kind: type, *, leave: int, take: int) -> list[object]:
    written = calls(PHRASES, seed=1, leave=leave, take=take)
    return [step for call in written for step in call.steps if isinstance(step, kind)]


def test_half_of_what_leaves_the_floor_is_said_and_half_is_noise() -> None:
    said, made = sounds(Backchannel, leave=21, take=0), sounds(Noise, leave=21, take=0)
    assert (len(said), len(made)) == (11, 10)
    drafts = [each.draft for each in made if isinstance(each, Noise)]
    assert sorted(drafts) == [""] * 5 + ["uh"] * 5
    assert len({each.seed for each in made if isinstance(each, Noise)}) == 10


def test_each_phrase_comes_before_any_comes_again() -> None:
    texts = [each.text for each in sounds(Say, leave=0, take=6) if isinstance(each, Say)]
    assert sorted(texts[1:]) == sorted(PHRASES.interruptions * 2)


def test_the_same_seed_makes_the_same_calls() -> None:
    one, two, other = (list(calls(PHRASES, seed=seed, leave=5, take=5)) for seed in (1, 1, 2))
    assert one == two != other


def test_on_the_virtual_clock_most_sounds_do_what_they_should() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    tally = Tally()
    for count, call in enumerate(calls(PHRASES, seed=3, leave=12, take=12)):
        tally.add(virtual.play(call, seed=count))
    figures = tally.figures()
    assert figures["leave"] >= 10
    assert figures["take"] >= 10
    assert figures["leave_kept"] >= floor.KEPT_SHARE
    assert figures["take_took"] >= floor.TAKEN_SHARE


def test_the_turns_of_the_agent_end_where_the_next_begins() -> None:
    agent = [Stretch(0.0, 1.0), Stretch(3.0, 4.0), Stretch(4.5, 5.0), Stretch(8.0, 9.0)]
    assert spoke({0: 0.0, 1: 3.0, 3: 8.0}, {0: False, 1: True, 3: False, 4: False}, agent) == (
        Spoke(turn=0, start_s=0.0, end_s=1.0, interrupted=False),
        Spoke(turn=1, start_s=3.0, end_s=5.0, interrupted=True),
        Spoke(turn=3, start_s=8.0, end_s=9.0, interrupted=False),
    )


def test_a_quantile_of_nothing_is_none() -> None:
    assert quantile([], 0.5) is None
    assert quantile([2.0], 0.95) == 2.0
    assert quantile([float(each) for each in range(101)], 0.95) == 95.0


def test_a_file_without_phrases_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("backchannels = []")
    with pytest.raises(ConfigError, match=r"p\.toml: no phrases in it"):
        read_phrases(tmp_path / "p.toml")
