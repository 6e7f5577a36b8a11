"""docs/faults.md: its examples run as they stand, and its tables say what the code says."""

import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from typer.testing import CliRunner

from engine.faults import ACTORS, CONNECTIONS, COUNTED, EVENTS, KINDS, Fault, moment
from holdfast.cli import app
from simulators.trial import Trial, load

PAGE = (Path(__file__).parents[2] / "docs/faults.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_five_examples() -> None:
    assert re.findall(r"^### (\d)\. ", PAGE, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    assert len(blocks("python")) == 5


def test_the_examples_run_as_they_stand_in_a_project_of_a_strangers(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["holdfast.testing"]\n')
    for number, block in enumerate(blocks("python")):
        (tmp_path / f"test_example_{number}.py").write_text(block)
    (name,) = re.findall(r"^# (\w+\.toml)$", PAGE, re.MULTILINE)
    (tmp_path / name).write_text(blocks("toml")[0])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout


def test_the_commands_have_the_options_that_are_shown() -> None:
    for command in blocks("sh")[0].splitlines():
        _, verb, option, *_ = command.split()
        shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
        assert option in shown


def test_the_typo_that_is_shown_is_named_so(tmp_path: Path) -> None:
    (shown,) = re.findall(r"`outage.toml:(\d+): ([^`]+)`", PAGE)
    path = tmp_path / "outage.toml"
    path.write_text(blocks("toml")[0].replace('"refuse"', '"refus"'))
    with pytest.raises(Exception, match="refus") as caught:
        load(path)
    assert str(caught.value) == f"{path}:{shown[0]}: {shown[1]}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_there_with_its_own_fields(kind: str) -> None:
    (row,) = re.findall(rf"^\| `{kind}` \|.*$", PAGE, re.MULTILINE)
    own = {each.name for each in attrs.fields(KINDS[kind])} - {each.name for each in attrs.fields(Fault)}
    if "the same" not in row:
        assert own == set(re.findall(r"`(\w+)`", row.rpartition(" | ")[2]))


@pytest.mark.parametrize("name", [*ACTORS, *CONNECTIONS, *EVENTS, *COUNTED])
def test_every_place_and_every_event_is_there(name: str) -> None:
    assert re.search(rf"\b{re.escape(name)}\b", PAGE.partition("## What, where, when")[2])


def test_every_moment_that_is_shown_is_one() -> None:
    shown = re.findall(r'^\| `"?([^`"]+)"?` \|', PAGE.partition("| `at` |")[2].partition("\n\n")[0], re.MULTILINE)
    assert len(shown) == 4
    for each in shown:
        moment(float(each) if each[0].isdigit() else each)


def test_everything_that_can_be_asked_is_there() -> None:
    asked = {name for name, value in vars(Trial).items() if callable(value) and not name.startswith("_")}
    table = PAGE.partition("## What can be asked of a call")[2].partition("## ")[0]
    assert asked == set(re.findall(r"`(\w+)\(", table)) - {"function"}
