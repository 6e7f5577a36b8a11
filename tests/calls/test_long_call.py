"""A long call as messages: what it costs is printed (`pytest -s`), and nothing of it is lost."""

import time

import structlog

from simulators.virtual.call import play
from simulators.virtual.judge import wrongs
from simulators.virtual.script import End, Say, VirtualScript


def test_a_ten_minute_call_goes_to_its_end() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    turns = 125
    script = VirtualScript(
        steps=tuple(Say(words=tuple(f"q{turn}{each}" for each in "abcdefgh"), after_s=1.0) for turn in range(turns)),
        end=End.CALLER,
    )
    began = time.process_time()
    outcome = play(1, script=script, longest_s=1200.0)
    spent_s = time.process_time() - began
    print(f"\n{outcome.ended_at:.0f} s of call in {spent_s:.2f} s")  # noqa: T201
    assert outcome.ended_at > 600.0
    assert not wrongs(outcome)
