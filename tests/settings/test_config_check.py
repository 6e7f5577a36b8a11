"""`holdfast config check`, as an operator types it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def checked(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    run = subprocess.run(
        [sys.executable, "-m", "holdfast", "config", "check", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout, run.stderr


def test_the_shipped_configuration_is_in_order() -> None:
    expected = (0, "config/engine.toml: OK, answering for Bright Smile Dental\n", "")
    assert checked(cwd=ROOT) == expected
    assert checked("config/engine.toml", cwd=ROOT) == expected


def test_a_misspelt_key_is_told_by_the_path_as_it_was_typed_and_exits_2(tmp_path: Path) -> None:
    shipped = (ROOT / "config/engine.toml").read_text(encoding="utf-8")
    (tmp_path / "config").mkdir()
    misspelt = shipped.replace("[actors.stt.backoff]", "[actors.stt.backof]")
    (tmp_path / "config/engine.toml").write_text(misspelt, encoding="utf-8")
    number = (
        shipped.splitlines().index(
            "[actors.stt.backoff] # full jitter: a wait is drawn evenly between minimum_s and what has grown"
        )
        + 1
    )
    line = f"config/engine.toml:{number}: actors.stt.backof: unknown key; did you mean 'backoff'?\n"
    assert checked("config/engine.toml", cwd=tmp_path) == (2, "", line)
