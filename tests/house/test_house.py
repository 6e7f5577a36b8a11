"""What the house promises about itself: its lock, its verbs, its contracts."""

import importlib.metadata
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
README = (ROOT / "README.md").read_text(encoding="utf-8")
JUSTFILE = (ROOT / "justfile").read_text(encoding="utf-8")
CI = ROOT / ".ci/run"

LINE = "python3 -m venv .venv && .venv/bin/pip install rust-just && .venv/bin/just {verb}"


def locked() -> dict[str, str]:
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in LOCK)}


def declared() -> list[Requirement]:
    extras = PROJECT["project"]["optional-dependencies"]
    return [Requirement(line) for line in [*PROJECT["project"]["dependencies"], *extras["local"], *extras["dev"]]]


def test_the_lock_is_names_and_versions_alone() -> None:
    assert [line for line in LOCK if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert len(locked()) == len(LOCK)


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_the_lock_covers_what_the_project_declares(requirement: Requirement) -> None:
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


def test_the_lock_covers_what_the_locked_need() -> None:
    missing = set()
    for name in locked():
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                missing |= {canonicalize_name(needed.name)} - locked().keys()
    assert missing == set()


def test_the_tests_run_with_what_is_locked() -> None:
    assert {name: importlib.metadata.version(name) for name in locked()} == locked()


@pytest.mark.parametrize("verb", ["demo", "test"])
def test_the_readme_sets_everything_up_in_one_line(verb: str) -> None:
    assert LINE.format(verb=verb) in README.splitlines()


def test_ci_runs_the_line_of_the_readme() -> None:
    assert LINE.format(verb="test") in CI.read_text(encoding="utf-8").splitlines()
    assert os.access(CI, os.X_OK)
    subprocess.run(["bash", "-n", CI], check=True)


def test_the_readme_names_every_verb() -> None:
    verbs = re.findall(r"^([a-z]\w*)(?: \*args)?:(?!=)", JUSTFILE, re.MULTILINE)
    assert "setup" in verbs
    assert [verb for verb in verbs if f"just {verb}" not in README] == []


def test_every_module_of_the_engine_has_its_layer() -> None:
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    placed = set(re.findall(r"engine\.\w+", " ".join(layers)))
    modules = {f"engine.{path.stem}" for path in (ROOT / "engine").iterdir() if not path.name.startswith("__")}
    assert modules - placed == set()


def test_every_exception_to_the_linter_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    rules = re.findall(r'^ {4}"[A-Z]+\d*",.*$', text, re.MULTILINE)
    assert len(rules) > len(PROJECT["tool"]["ruff"]["lint"]["ignore"])
    assert [rule for rule in rules if not re.search(r"# .*\w{3}", rule)] == []
