"""Testing: what pytest knows of calls once Holdfast is installed, or with `pytest_plugins = ["holdfast.testing"]`.

    from engine.faults import Kill

    def test_a_caller_who_is_cut_off_by_the_recogniser_is_understood(holdfast_call):
        call = holdfast_call(["book a table", "friday please"], faults=[Kill("stt.session", after="3rd interim")])
        assert call.survived()
        assert call.lost_words() == []
        assert call.restarts("stt") == 1

`docs/faults.md` has more of them, with what can be asked of a call.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if (
    TYPE_CHECKING
):  # MEASURED: a call takes 0.5 s to import, which every run of pytest would pay, with calls in it or not
    from simulators.trial import Trial


@pytest.fixture
def holdfast_call(request: pytest.FixtureRequest) -> "Callable[..., Trial]":
    """Return `simulators.trial.play`, which plays one whole call on a virtual clock, in about a tenth of a second.

    A fault that never strikes fails the test, unless it is told `must_strike=False`: such a test would prove nothing.
    When a test fails, the calls that it played are printed, as they went.
    """
    from simulators.trial import play  # noqa: PLC0415 - see MEASURED

    def played(caller: list[str], *, must_strike: bool = True, **how: Any) -> "Trial":  # noqa: ANN401 - as `play` has it
        call = play(caller, **how)
        request.node.add_report_section("call", "call", call.timeline())
        idle = call.report.unstruck()
        if must_strike and idle:
            pytest.fail(f"never struck: {', '.join(map(str, idle))}", pytrace=False)
        return call

    return played


@pytest.fixture
def holdfast_scenario(request: pytest.FixtureRequest) -> "Callable[[Path | str], Trial]":
    """Return what plays a scenario's file, by its path beside the test's own file, and holds it to its expectations."""
    from simulators.trial import play_file  # noqa: PLC0415 - see MEASURED

    def played(path: Path | str) -> "Trial":
        return play_file(request.path.parent / path)

    return played
