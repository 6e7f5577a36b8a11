"""Broken messages on every wire: nobody else is disturbed, nothing is left behind, each is counted once and named.

A few hundred of each here, from the same seed; `python -m benchmarks.malformed` sends ten thousand, from any.
"""

import pytest

from tests.fuzz import runs

TOTALS = {
    runs.LINE: {"in calls": 500, "before start": 80},
    runs.DEEPGRAM: {"in calls": 200},
    runs.FLUX: {"in calls": 200},
    runs.ELEVENLABS: {"in calls": 120},
    runs.ANTHROPIC: {"by hand": 150, "in turns": 8},
    runs.FORMS: {"forms": 200},
    runs.FRAMES: {"http": 30, "frames": 20},
}


@pytest.mark.parametrize("wire", list(TOTALS))
def test_a_broken_message_is_counted_once_and_costs_nobody_else_anything(wire: str) -> None:
    tally = runs.run(1, {wire: TOTALS[wire]})
    assert "\n".join(each[:2000] for each in tally.complaints[:5]) == ""
    assert tally.sent == sum(TOTALS[wire].values())
    assert tally.witnessed >= 1
