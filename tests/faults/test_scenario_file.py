"""A scenario's file: read whole, and every mistake in it told by its line."""

import math
from pathlib import Path

import pytest

from engine.faults import Drop, Kill, Refuse
from engine.messages.errors import ConfigError
from simulators import trial
from simulators.trial import Expectations, Scenario, load, play_file

GOOD = """
seed = 7
caller = ["book a table", "friday please"]

[[fault]]
kind = "kill"
on = "stt.session"
after = "3rd interim"

[[fault]]
kind = "refuse"
on = "deepgram"
at = 3
lasts_s = 12.0

[expect]
survived = true
lost_words = []
dead_air_s = 2
restarts = { stt = 1 }
failed_over = { stt = "local" }
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "trial.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_scenario_is_a_caller_faults_and_expectations(tmp_path: Path) -> None:
    assert load(written(tmp_path, GOOD)) == Scenario(
        seed=7,
        caller=("book a table", "friday please"),
        faults=(Kill("stt.session", after="3rd interim"), Refuse("deepgram", at=3, lasts_s=12.0)),
        expect=Expectations(
            survived=True, lost_words=(), dead_air_s=2, restarts={"stt": 1}, failed_over={"stt": "local"}
        ),
    )


@pytest.mark.parametrize(
    ("good", "typo", "line", "why"),
    [
        ('"kill"', '"kil"', 6, "fault[0].kind: unknown kind 'kil'; did you mean 'kill'?"),
        ('"3rd interim"', '"3rd intrim"', 8, "fault[0].after: unknown event 'intrim'; did you mean 'interim'?"),
        ('"deepgram"', '"deepgrm"', 12, "fault[1].on: unknown place 'deepgrm'; did you mean 'deepgram'?"),
        ("lasts_s = 12.0", "last_s = 12.0", 14, "fault[1].last_s: unknown key; did you mean 'lasts_s'?"),
        ("lasts_s = 12.0", 'lasts_s = "12"', 14, "fault[1].lasts_s: expected a number, got '12'"),
        ("seed = 7", "sede = 7", 2, "sede: unknown key; did you mean 'seed'?"),
        ('caller = ["book a table", "friday please"]', "caller = []", 3, "caller: says nothing"),
        ('caller = ["book a table", "friday please"]', "caller = [1]", 3, "caller: expected a list of texts, got [1]"),
        ("[[fault]]\nkind", "[[falt]]\nkind", 5, "falt: unknown key; did you mean 'fault'?"),
        ("dead_air_s", "deadair_s", 19, "expect.deadair_s: unknown key; did you mean 'dead_air_s'?"),
        ("{ stt = 1 }", '{ stt = "1" }', 20, "expect.restarts: expected a table of whole numbers, got"),
        ('on = "stt.session"\n', "", 5, "fault[0].on: missing"),
    ],
)
def test_a_file_with_a_typo_names_the_typo_and_its_line(
    tmp_path: Path, good: str, typo: str, line: int, why: str
) -> None:
    assert good in GOOD
    path = written(tmp_path, GOOD.replace(good, typo, 1))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:{line}: {why}")


def test_a_scenario_can_be_written_down_and_read_again(tmp_path: Path) -> None:
    for scenario in (
        load(written(tmp_path, GOOD)),
        Scenario(caller=('say "hi"\n\\ é',)),
        Scenario(
            caller=("a", "b"),
            faults=(
                Kill("agent", at="turn 2, 300 ms into the caller's words"),
                Drop("llm", what="token", lasts_s=math.inf, probability=0.25),
            ),
            expect=Expectations(lost_words=("x",), repeated_words=(), tools_run={"book": 1}, dead_air_s=1.5),
        ),
    ):
        assert load(written(tmp_path, trial.written(scenario))) == scenario


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"kill"', '"kil"').replace("seed", "sede").replace('"deepgram"', '"deepgrm"')
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["6", "12", "2"]


@pytest.mark.parametrize(("text", "why"), [("a = ", "not TOML: "), ("", "caller: missing")])
def test_what_is_no_scenario_at_all_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml: cannot be read: no such file"):
        load(tmp_path / "none.toml")


FIRST = GOOD.split("[[fault]]", maxsplit=1)[0]


def test_a_file_whose_expectations_are_met_is_played(tmp_path: Path) -> None:
    fault = '[[fault]]\nkind = "kill"\non = "stt.session"\nafter = "3rd interim"\n'
    expect = "[expect]\nsurvived = true\nlost_words = []\nrepeated_words = []\nrestarts = { stt = 1, tts = 0 }\n"
    call = play_file(
        written(tmp_path, f"{FIRST}{fault}{expect}tools_run = {{ book = 1 }}\nfailed_over = {{ stt = '' }}")
    )
    assert call.survived()


def test_a_file_whose_expectations_are_not_met_says_which_and_what_happened(tmp_path: Path) -> None:
    fault = '[[fault]]\nkind = "kill"\non = "stt.session"\nafter = "3rd interim"\n'
    expect = (
        "[expect]\nsurvived = false\ndead_air_s = 0.1\nrestarts = { stt = 3 }\n"
        "lost_words = ['x']\nrepeated_words = ['y']\ntools_run = {}\nfailed_over = { stt = 'local' }\n"
    )
    with pytest.raises(AssertionError) as caught:
        play_file(written(tmp_path, FIRST + fault + expect))
    for text in (
        "survived is True, ended by 'stop'",
        "expected less than 0.1",
        "restarts.stt is 1, expected 3",
        "lost_words is [], expected ['x']",
        "repeated_words is [], expected ['y']",
        "tools_run is {'book': 1}, expected {}",
        "failed_over.stt is '', expected 'local'",
        "kill stt.session: after 3rd interim",
    ):
        assert text in str(caught.value)


def test_a_fault_that_never_struck_meets_no_expectation(tmp_path: Path) -> None:
    fault = '[[fault]]\nkind = "kill"\non = "stt.session"\nafter = "300th interim"\n'
    with pytest.raises(AssertionError, match=r"fault never struck: .*300th interim"):
        play_file(written(tmp_path, FIRST + fault))
