"""Scenarios: callers written down as TOML, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from engine.messages.errors import ConfigError
from simulators import scenario
from simulators.caller import AwaitHangUp, CallerScript, HangUp, Interrupt, Listen, Play, Press, Say, Wait
from simulators.noise import NoisePolicy

KNOWN = "'say', 'play', 'listen', 'interrupt', 'wait', 'press', 'hang_up', 'await_hang_up'"


def test_a_scenario_holds_the_caller_the_line_and_every_kind_of_step(tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text(
        """
        caller_number = "+15550100003"
        dialled_number = "+15550100004"
        noise = { snr_db = 20, seed = 3 }
        steps = [
            { do = "listen", silence_s = 1, timeout_s = 9.5 },
            { do = "say", text = "hello", cut_after_s = 0.5 },
            { do = "play", file = "a/b.wav" },
            { do = "interrupt", after_s = 0 },
            { do = "wait", seconds = 2 },
            { do = "press", digits = "12#" },
            { do = "await_hang_up" },
            { do = "hang_up" },
        ]
        """,
        encoding="utf-8",
    )
    assert scenario.load(str(path)) == CallerScript(
        caller_number="+15550100003",
        dialled_number="+15550100004",
        noise=NoisePolicy(snr_db=20.0, seed=3),
        steps=(
            Listen(silence_s=1.0, timeout_s=9.5),
            Say(text="hello", cut_after_s=0.5),
            Play(file=tmp_path / "a/b.wav"),
            Interrupt(after_s=0.0),
            Wait(seconds=2.0),
            Press(digits="12#"),
            AwaitHangUp(),
            HangUp(),
        ),
    )


@pytest.mark.parametrize("name", scenario.shipped())
def test_a_scenario_that_comes_along_is_sound(name: str) -> None:
    assert scenario.load(name).steps


def test_the_scenarios_that_come_along_are_these() -> None:
    assert scenario.shipped() == ("barge_in", "book_appointment", "hang_up_mid_sentence", "silent_caller")


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["steps: missing"]),
        ("steps = []", ["Length of 'steps' must be >= 1: 0"]),
        ("steps = 3", ["steps: 3 is not a list of tables"]),
        ("steps = [3]", ["steps[0]: 3 is not a table"]),
        ("[[step]]", ["step: unknown key; did you mean 'steps'?", "steps: missing"]),
        (
            "[[steps]]\nx = 1",
            [f"steps[0].do: missing; known: {KNOWN}"],
        ),
        ("[[steps]]\ndo = 'sya'", ["steps[0].do: unknown step 'sya'; did you mean 'say'?"]),
        ("[[steps]]\ndo = 'say'", ["steps[0].text: missing"]),
        ("[[steps]]\ndo = 'say'\ntext = 3", ["steps[0].text: 3 is not a text"]),
        ("[[steps]]\ndo = 'say'\ntext = ''", ["steps[0]: Length of 'text' must be >= 1: 0"]),
        ("[[steps]]\ndo = 'wait'\nseconds = true", ["steps[0].seconds: True is not a number"]),
        ("[[steps]]\ndo = 'wait'\nseconds = inf", ["steps[0].seconds: inf is not a number"]),
        ("[[steps]]\ndo = 'wait'\nseconds = 0", ["steps[0]: 'seconds' must be > 0: 0.0"]),
        ("[[steps]]\ndo = 'interrupt'\nafter_s = -1", ["steps[0]: 'after_s' must be >= 0: -1.0"]),
        (
            "[[steps]]\ndo = 'press'\ndigits = '1x'",
            ["steps[0]: 'digits' must match regex '[0-9*#A-D]+' ('1x' doesn't)"],
        ),
        ("[[steps]]\ndo = 'listen'\nsilense_s = 1", ["steps[0].silense_s: unknown key; did you mean 'silence_s'?"]),
        (
            "[[steps]]\ndo = 'hang_up'\n[noise]\nsnr_db = 1\nsed = 1\n",
            ["noise.sed: unknown key; did you mean 'seed'?"],
        ),
        ("noise = 3\n[[steps]]\ndo = 'hang_up'\n", ["noise: 3 is not a table"]),
        (
            "caller = '+1'\n[[steps]]\ndo = 'hang_up'\nafter = 1",
            [
                "steps[0].after: unknown key; known: none",
                "caller: unknown key; did you mean 'caller_number'?",
            ],
        ),
        ("=", ["not TOML: Invalid statement (at line 1, column 1)"]),
    ],
)
def test_a_mistake_is_told_with_file_key_and_what_is_allowed(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        scenario.load(str(path))
    assert sorted(str(caught.value).splitlines()) == sorted(f"{path}: {mistake}" for mistake in mistakes)


def test_a_name_that_is_none_is_told_with_the_one_that_is_meant() -> None:
    with pytest.raises(ConfigError) as caught:
        scenario.load("book_apointment")
    assert str(caught.value) == "no scenario 'book_apointment'; did you mean 'book_appointment'?"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory"):
        scenario.load(str(tmp_path / "none.toml"))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "song.toml").write_bytes(b"RIFF\xff\xff")
    with pytest.raises(ConfigError, match=r"song\.toml: not TOML: "):
        scenario.load(str(tmp_path / "song.toml"))
