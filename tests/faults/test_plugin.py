"""The pytest plugin, in a project of somebody else's."""

import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = """
from engine.faults import Drop, Kill

pytest_plugins = ["holdfast.testing"]


def test_good(holdfast_call):
    call = holdfast_call(["book a table", "friday please"], faults=[Kill("stt.session", after="3rd interim")], seed=7)
    assert call.survived()
    assert call.lost_words() == []
    assert call.repeated_words() == []
    assert call.dead_air() < 2.0
    assert call.restarts("stt") == 1
    assert call.failed_over("tts") == ""
    assert call.tools_run() == {"book": 1}


def test_bad(holdfast_call):
    call = holdfast_call(["friday please"], faults=[Drop("tts.session", what="audio", at="turn 1")])
    assert call.lost_words() == []


def test_idle(holdfast_call):
    holdfast_call(["friday please"], faults=[Kill("agent", at="turn 9")])


def test_idle_as_it_should_be(holdfast_call):
    assert holdfast_call(["friday please"], faults=[Kill("agent", at="turn 9")], must_strike=False).survived()


def test_file(holdfast_scenario):
    assert holdfast_scenario("trial.toml").survived()
"""

SCENARIO = """
caller = ["book a table", "friday please"]
[[fault]]
kind = "kill"
on = "tts.session"
after = "1st audio"
[expect]
lost_words = []
"""


def test_a_stranger_can_load_it_by_name_and_play_calls(tmp_path: Path) -> None:
    (tmp_path / "test_calls.py").write_text(PROJECT)
    (tmp_path / "trial.toml").write_text(SCENARIO)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "3 passed" in run.stdout, run.stdout + run.stderr
    assert "2 failed" in run.stdout
    # What a failing test shows: the fault that never struck; the call as it went.
    assert "never struck: Kill(on='agent', at='turn 9'" in run.stdout
    assert "drop tts.session, audio: at turn 1, what audio" in run.stdout


def test_it_is_there_for_whoever_has_it_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    # By its own name: pytest takes a plugin twice under one name, and not under two.
    assert project["project"]["entry-points"]["pytest11"] == {"holdfast.testing": "holdfast.testing"}
