"""Scenarios: callers written down as TOML, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from engine.messages.errors import ConfigError
from simulators import scenario
from simulators.caller import (
    AwaitHangUp,
    Backchannel,
    CallerScript,
    HangUp,
    Interrupt,
    Listen,
    Noise,
    Play,
    Press,
    Say,
    Wait,
)
from simulators.noise import NoisePolicy
from simulators.noises import KINDS
from simulators.scenario import Business, Expect, Hearing, Network, Reply

KNOWN = "'say', 'backchannel', 'noise', 'play', 'listen', 'interrupt', 'wait', 'press', 'hang_up', 'await_hang_up'"


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


def test_four_of_those_that_come_along_are_for_the_clinic_and_are_not_judged() -> None:
    plain = set(scenario.shipped()) - set(scenario.judged())
    assert plain == {"barge_in", "book_appointment", "hang_up_mid_sentence", "silent_caller"}


JUDGED = """
about = "A cough."
noise = { snr_db = 20, kind = "voices" }
live = false
seeds = 2
steps = [
    { do = "say", text = "It is / five five five", pause_s = 0.8, by = "other", level_db = -6 },
    { do = "interrupt", after_s = 0.5, to_s = 1.0, every_s = 0.25 },
    { do = "noise", kind = "throat", seconds = 0.5, draft = "Hmm", final = "", seed = 4 },
    { do = "wait", seconds = 0.5, to_s = 0.7 },
    { do = "backchannel", text = "Uh-huh." },
    { do = "press", digits = "1#", gap_s = 0.5 },
]
[network]
delay_s = 0.05
jitter_s = 0.02
[hearing]
eager = true
final_s = 0.3
[business]
greeting = "Hello."
firm = ["Hello."]
idle_s = 4
idle_again_s = [3, 2.5]
[[agent]]
text = "One."
tool = "look"
takes_s = 4
says = "Wait."
ends = true
[expect]
turns = ["a", "b"]
whole = [0, 1]
tone = true
max_gap_s = 0.4
"""


def test_a_scenario_says_what_is_answered_and_what_must_come_of_it(tmp_path: Path) -> None:
    path = tmp_path / "judged.toml"
    path.write_text(JUDGED, encoding="utf-8")
    read = scenario.read(str(path))
    assert read.steps[0] == Say(text="It is / five five five", pause_s=0.8, by="other", level_db=-6.0)
    assert read.steps[2:3] == (Noise(kind="throat", seconds=0.5, draft="Hmm", seed=4),)
    assert read.steps[4:] == (Backchannel(text="Uh-huh."), Press(digits="1#", gap_s=0.5))
    assert read.noise == NoisePolicy(snr_db=20.0, kind="voices")
    assert read.network == Network(delay_s=0.05, jitter_s=0.02)
    assert read.hearing == Hearing(eager=True, final_s=0.3)
    assert read.business == Business(greeting="Hello.", firm=("Hello.",), idle_s=4.0, idle_again_s=(3.0, 2.5))
    assert read.agent == (Reply(text="One.", tool="look", takes_s=4.0, says="Wait.", ends=True),)
    assert read.expect == Expect(turns=("a", "b"), whole=(0, 1), tone=True, max_gap_s=0.4)
    assert (read.live, read.seeds) == (False, 2)


def test_a_scenario_is_played_once_for_each_moment(tmp_path: Path) -> None:
    path = tmp_path / "judged.toml"
    path.write_text(JUDGED, encoding="utf-8")
    variants = list(scenario.read(str(path)).variants())
    moments = [(each.steps[1], each.steps[3]) for _, each in variants]
    assert [label for label, _ in variants][:2] == ["at 0.50 s, at 0.50 s", "at 0.50 s, at 0.70 s"]
    assert moments == [
        (Interrupt(after_s=after_s, every_s=0.25), Wait(seconds=seconds))
        for after_s in (0.5, 0.75, 1.0)
        for seconds in (0.5, 0.7)
    ]


def test_a_turn_is_answered_by_what_is_meant_for_its_words_else_by_the_next() -> None:
    one, two, three = Reply(text="one"), Reply(text="two"), Reply(text="three", to="Friday")
    replies = (one, two, three)
    assert scenario.reply_to(replies, ["a"]) is one
    assert scenario.reply_to(replies, ["a", "b"]) is two
    assert scenario.reply_to(replies, ["a", "b", "c", "d"]) is three
    assert scenario.reply_to(replies, ["on friday, please"]) is three


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
        (
            "[[steps]]\ndo = 'noise'\nkind = 'hiccup'",
            [f"steps[0]: 'kind' must be in {KINDS!r} (got 'hiccup')"],
        ),
        ("[[steps]]\ndo = 'hang_up'\n[expect]\nwhole = 1", ["expect.whole: 1 is not a list"]),
        ("[[steps]]\ndo = 'hang_up'\n[expect]\nwhole = ['a']", ["expect.whole[0]: 'a' is not a whole number"]),
        ("[[steps]]\ndo = 'hang_up'\n[expect]\ntone = 1", ["expect.tone: 1 is not true or false"]),
        ("[[steps]]\ndo = 'hang_up'\n[expect]\ncut = [1]", ["expect.cut: there is no reply 1; 0 to 0 are known"]),
        ("[[steps]]\ndo = 'hang_up'\n[expect]\nturn = ['a']", ["expect.turn: unknown key; did you mean 'turns'?"]),
        ("[[steps]]\ndo = 'hang_up'\n[[agent]]\ndelay_s = 1", ["agent[0].text: missing"]),
        ("agent = 3\n[[steps]]\ndo = 'hang_up'", ["agent: 3 is not a list"]),
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
