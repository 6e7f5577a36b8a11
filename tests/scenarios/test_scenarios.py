"""Every scenario that says what must come of it, as whole calls on the virtual clock."""

import sys

import pytest
import structlog

from simulators import scenario
from simulators.talk.__main__ import main
from simulators.talk.judge import judge
from simulators.talk.virtual import play


@pytest.mark.parametrize("name", scenario.judged())
def test_a_call_is_what_its_scenario_expects(name: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    written = scenario.read(name)
    wrongs = [
        f"{label or 'as it stands'}, seed {seed}: {wrong}"
        for label, variant in written.variants()
        for seed in range(written.seeds)
        for wrong in judge(variant, play(variant, seed=seed)).wrongs
    ]
    assert wrongs == []


def test_there_are_scenarios_enough() -> None:
    assert len(scenario.judged()) >= 40


@pytest.mark.parametrize("name", scenario.judged())
def test_a_scenario_says_what_it_is_for(name: str) -> None:
    assert scenario.read(name).about.endswith(".")


@pytest.mark.parametrize("how", [[], ["--virtual"]])
def test_a_scenario_that_says_nothing_of_what_must_come_of_it_is_refused_by_name(
    how: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["talk", "barge_in", *how])
    with pytest.raises(SystemExit, match="barge_in: nothing to judge"):
        main()
