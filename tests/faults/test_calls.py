"""Whole calls with faults, as messages: each fault strikes where and when it should, and costs what it may."""

import random
import re
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from engine.faults import (
    ACTORS,
    AnyFault,
    Delay,
    Drop,
    Duplicate,
    Garble,
    Kill,
    Raise,
    Refuse,
    SlowDrip,
    Stall,
)
from engine.faulty import Happened, Report
from engine.messages.errors import ConfigError
from simulators.trial import Sound, Trial, dead_air_s, play

CALLER = ["book a table for four", "on friday evening please", "thank you very much"]

SHORT = ["book a table", "friday evening please"]

PLAIN = play(CALLER, seed=7)
SHORTEST_S = play(SHORT, seed=7).report.ended_s


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads the log, and to write it takes a third of the time."""
    with capture_logs():
        yield


def lines(call: Trial, who: str, what: str = "") -> list[Happened]:
    return [each for each in call.report.happened if each.who == who and what in each.what]


def moment_of(call: Trial, what: str) -> float:
    """When a line of the report was written."""
    return next(each.at_s for each in call.report.happened if what in f"{each.who} {each.what}")


# ── a call without ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_without_faults_is_whole() -> None:
    assert PLAIN.survived()
    assert (PLAIN.lost_words(), PLAIN.repeated_words(), PLAIN.unanswered()) == ([], [], [])
    assert PLAIN.tools_run() == {"book": 1}
    assert PLAIN.dead_air() < 1.5
    assert [PLAIN.restarts(actor) for actor in ACTORS] == [0] * 6
    assert [PLAIN.failed_over(work) for work in ("stt", "llm", "tts")] == [""] * 3
    assert (PLAIN.clips(), PLAIN.garbled()) == ([], 0)


def test_a_call_comes_again_with_its_seed() -> None:
    # A restart's delay is drawn from chance, and so is what strikes.
    faults = (
        Refuse("stt.session", at=1.0, lasts_s=2.0),
        Delay("agent", by_s=0.05, times=9, every_s=1, probability=0.5),
    )
    first, again, other = (play(CALLER, faults=faults, seed=seed).timeline() for seed in (3, 3, 4))
    assert first == again != other


def test_a_call_that_hangs_leaves_tasks_behind_or_is_given_up_has_not_survived() -> None:
    assert not attrs.evolve(PLAIN, hung=True).survived()
    assert not attrs.evolve(PLAIN, tasks_left=1).survived()
    assert not attrs.evolve(PLAIN, report=attrs.evolve(PLAIN.report, ended="gave_up")).survived()


def test_a_fault_on_a_vendor_that_the_call_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"fault\[1\].on: unknown place 'deepgrm'; did you mean 'deepgram'\?"):
        play(CALLER, faults=[Kill("llm"), Kill("deepgrm")])
    with pytest.raises(ConfigError, match=r"unknown place 'deepgram'; known: .*'acme', 'anthropic'"):
        play(CALLER, faults=[Kill("deepgram")], stt=["acme"], llm=["anthropic"], tts=["acme"])


# ── when ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

TURN_2 = moment_of(PLAIN, "caller turn 2")
REPLY_2 = moment_of(PLAIN, "agent is heard, turn 2")
WORDS_2 = next(
    each.start_s for each in [*PLAIN.sounds][-3:] if each.start_s > moment_of(PLAIN, "agent is heard, turn 1")
)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (4.25, 4.25),
        ("turn 2", TURN_2),
        ("turn 2, 250 ms into the reply", REPLY_2 + 0.25),
        ("turn 2, 0.4 s into the caller's words", WORDS_2 + 0.4),
    ],
)
def test_a_fault_strikes_at_its_moment(at: float | str, expected: float) -> None:
    call = play(CALLER, faults=[Delay("llm", at=at, by_s=0.0)], seed=7)
    struck = lines(call, "fault")
    assert len(struck) == 1
    assert struck[0].at_s == pytest.approx(expected, abs=0.07)  # a phone sends three frames at a time


def test_a_moment_that_never_comes_never_strikes() -> None:
    faults = [Kill("agent", at=at) for at in (500.0, "turn 4", "turn 9, 1 ms into the reply")]
    call = play(CALLER, faults=[*faults, Kill("agent", at="turn 3, 60 s into the reply")], seed=7)
    assert call.report.strikes == [0, 0, 0, 0]
    assert call.report.unstruck() == list(call.report.faults)


@pytest.mark.parametrize(
    ("after", "at", "count"),
    [("1st final", 0.0, 1), ("2nd final", 0.0, 2), ("1st final", "turn 2", 3), ("2nd request", 0.0, 1)],
)
def test_a_count_begins_at_its_moment(after: str, at: float | str, count: int) -> None:
    call = play(CALLER, faults=[Delay("llm", at=at, after=after, by_s=0.0)], seed=7)
    struck = lines(call, "fault")[0].at_s
    turns = [each.at_s for each in lines(call, "caller", "turn")]
    # A turn's final transcript comes just before the turn; the first turn has two requests, with a tool between them.
    assert sum(turn <= struck + 0.35 for turn in turns) == count


def test_a_fault_strikes_as_often_as_it_says() -> None:
    by_count = play(CALLER, faults=[Delay("llm", after="2nd final", times=3, by_s=0.0)], seed=7)
    assert by_count.report.strikes == [1]  # there are three finals: the fourth never comes
    by_turn = play(CALLER, faults=[Delay("llm", at="turn 2", times=5, by_s=0.0)], seed=7)
    turns = [each.at_s for each in lines(by_turn, "caller", "turn")]
    assert [each.at_s for each in lines(by_turn, "fault")] == turns[1:]
    by_both = play(CALLER, faults=[Delay("llm", after="1st final", times=3, every_s=0.5, by_s=0.0)], seed=7)
    first = lines(by_both, "fault")[0].at_s
    assert [each.at_s for each in lines(by_both, "fault")] == pytest.approx([first, first + 0.5, first + 1.0])
    by_time = play(CALLER, faults=[Delay("llm", at=1.0, times=3, every_s=0.5, by_s=0.0)], seed=7)
    assert [each.at_s for each in lines(by_time, "fault")] == [1.0, 1.5, 2.0]


def test_one_fault_given_twice_is_two() -> None:
    fault = Delay("llm", at=1.0, by_s=0.0)
    assert play(SHORT[1:], faults=[fault, fault], seed=7).report.strikes == [1, 1]


def test_sessions_and_steps_are_counted_where_the_fault_is() -> None:
    faults = [Kill("stt.session", after="1st session", times=2), Kill("tts.session", after="2nd session")]
    call = play(CALLER, faults=faults, seed=7)
    assert call.report.strikes == [2, 0]
    assert (call.restarts("stt"), call.restarts("tts")) == (2, 0)
    steps = play(CALLER, faults=[Kill("agent", after="3rd step"), Kill("twilio_io", after="9000th step")], seed=7)
    assert steps.report.strikes == [1, 0]


# ── what and where ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("actor", ACTORS)
@pytest.mark.parametrize("at", [2.0, "turn 2", "turn 2, 200 ms into the reply"])
def test_an_actor_that_is_killed_costs_nothing(actor: str, at: float | str) -> None:
    call = play(SHORT, faults=[Kill(actor, at=at)], seed=7)
    assert call.report.strikes == [1]
    assert [call.restarts(each) for each in ACTORS] == [int(each == actor) for each in ACTORS]
    assert call.survived()
    assert (call.lost_words(), call.repeated_words(), call.tools_run()) == ([], [], {"book": 1})


def test_an_actor_that_is_killed_while_it_waits_to_be_started_again_is_killed_when_it_is() -> None:
    call = play(SHORT, faults=[Kill("agent", at=1.0, times=3, every_s=0.02)], seed=7)
    assert call.report.strikes == [3]
    assert call.restarts("agent") == 3
    assert (call.survived(), call.lost_words()) == (True, [])


@pytest.mark.parametrize("actor", ACTORS)
def test_a_step_that_raises_once_costs_nothing(actor: str) -> None:
    call = play(SHORT, faults=[Raise(actor, at="turn 2")], seed=7)
    assert len(lines(call, actor, "raised")) == 1
    assert (call.restarts(actor), call.survived()) == (1, True)
    assert (call.lost_words(), call.repeated_words(), call.tools_run()) == ([], [], {"book": 1})


def test_a_step_that_raises_twice_has_its_message_set_aside_and_the_caller_is_asked_to_repeat() -> None:
    call = play(CALLER, faults=[Raise("agent", at="turn 2", in_a_row=2)], seed=7)
    assert len(lines(call, "agent", "raised")) == 2
    assert len(lines(call, "agent", "set aside")) == 1
    assert "repeat_please" in call.clips()


@pytest.mark.parametrize("actor", ACTORS)
def test_an_actor_that_stands_still_goes_on_where_it_was(actor: str) -> None:
    call = play(SHORT, faults=[Stall(actor, at="turn 2", lasts_s=1.0)], seed=7)
    assert call.survived()
    assert call.report.ended_s > SHORTEST_S + 0.3 or actor in {"stt", "twilio_io", "tts", "turn_detector"}
    assert (call.lost_words(), call.repeated_words(), call.tools_run()) == ([], [], {"book": 1})


def test_an_actor_that_stood_still_while_nobody_wanted_anything_has_not_been_late() -> None:
    call = play(SHORT, faults=[Stall("agent", at=0.6, lasts_s=0.4), Stall("tts", at=0.6, lasts_s=0.4)], seed=7)
    assert call.report.ended_s == pytest.approx(SHORTEST_S, abs=0.1)
    assert [call.restarts(actor) for actor in ACTORS] == [0] * 6


def test_an_actor_that_stands_still_is_free_once_it_is_killed() -> None:
    call = play(CALLER, faults=[Stall("agent", at="turn 2"), Kill("agent", at="turn 2", after="1st final")], seed=7)
    assert call.report.strikes[0] == 1
    late = play(CALLER, faults=[Stall("agent", at=TURN_2 - 0.1), Kill("agent", at=TURN_2 + 1.5)], seed=7)
    assert late.restarts("agent") == 1
    assert (late.lost_words(), late.unanswered()) == ([], [])
    assert late.dead_air() == pytest.approx(PLAIN.dead_air() + 1.5, abs=0.8)


@pytest.mark.parametrize("actor", ["agent", "turn_detector", "stt"])
def test_an_actor_that_is_delayed_is_late(actor: str) -> None:
    call = play(SHORT, faults=[Delay(actor, by_s=0.02)], seed=7)
    assert call.report.ended_s > SHORTEST_S + 0.02
    assert (call.lost_words(), call.repeated_words()) == ([], [])


@pytest.mark.parametrize(
    "fault",
    [
        Kill("stt.session", after="3rd interim", times=3),
        Kill("stt.session", at="turn 2, 300 ms into the caller's words", failing="slow", code="1011"),
        Kill("tts.session", at="turn 2, 300 ms into the reply"),
        Kill("tts.session", after="2nd audio", times=2),
        Kill("llm", at="turn 2"),
        Kill("llm", at="turn 2", after="1st token"),
        Refuse("deepgram", at=3.0, lasts_s=2.0),
        Refuse("elevenlabs", at="turn 2", failing="refused", code="401"),
        Refuse("anthropic", at="turn 2", lasts_s=8.0, code="529"),
        Stall("stt.session", at="turn 2, 300 ms into the caller's words"),
        Stall("tts.session", at="turn 2, 300 ms into the reply"),
        Stall("llm", at="turn 2"),
        Delay("deepgram", by_s=0.4),
        Delay("elevenlabs", by_s=0.4),
        Delay("llm", by_s=0.4),
        Drop("stt.session", what="interim", lasts_s=60.0),
        Duplicate("stt.session", what="interim", lasts_s=60.0),
        Garble("stt.session", what="interim", lasts_s=60.0),
        Garble("llm", at="turn 2"),
        SlowDrip("tts.session", by_s=0.01),
        SlowDrip("llm", by_s=0.1),
        Raise("stt.session", at=2.5),
        Raise("tts.session", at="turn 2, 300 ms into the reply"),
        Raise("llm", at="turn 2"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.on} {fault.at} {fault.after}",
)
def test_what_a_vendor_does_costs_no_word_and_runs_no_tool_twice(fault: AnyFault) -> None:
    call = play(SHORT, faults=[fault], seed=7)
    assert not call.report.unstruck()
    assert call.survived(), call.timeline()
    assert (call.lost_words(), call.repeated_words()) == ([], []), call.timeline()
    assert call.unanswered() == []
    assert call.tools_run() == {"book": 1}


def test_what_a_vendor_never_says_is_lost_and_can_be_told() -> None:
    """The assertions themselves can fail."""
    dropped = play(CALLER, faults=[Drop("tts.session", what="audio", at="turn 2")], seed=7)
    assert dropped.lost_words() == ["ono"]
    doubled = play(CALLER, faults=[Duplicate("tts.session", what="audio", lasts_s=60.0)], seed=7)
    assert doubled.garbled() + len(doubled.repeated_words()) > 0
    silent = play(CALLER[:1], faults=[Drop("stt.session", lasts_s=100.0)], seed=7)
    assert silent.lost_words()[:5] == CALLER[0].split()
    assert silent.unanswered() == CALLER[:1]
    assert silent.dead_air() > 10.0


def test_who_did_the_work_in_the_end_is_told_by_name() -> None:
    for on, work in (("deepgram", "stt"), ("elevenlabs", "tts"), ("anthropic", "llm")):
        call = play(SHORT, faults=[Refuse(on, at="turn 1", failing="refused", code="401")], seed=7)
        assert {each: call.failed_over(each) for each in ("stt", "tts", "llm")} == {
            "stt": "",
            "tts": "",
            "llm": "",
            work: "local",
        }, call.timeline()


def test_a_vendor_that_does_two_kinds_of_work_fails_at_both() -> None:
    call = play(CALLER, faults=[Kill("acme", at=3.0), Kill("acme", at=3.0)], stt=["acme"], tts=["acme"], seed=7)
    assert call.report.strikes == [1, 1]
    assert (call.restarts("stt"), call.restarts("tts")) == (1, 1)


def test_a_report_is_plain_data_and_back() -> None:
    call = play(
        CALLER, faults=[Kill("stt.session", after="3rd interim"), Refuse("llm", at="turn 3", lasts_s=0.3)], seed=7
    )
    plain = call.report.as_json()
    assert attrs.asdict(Report.from_json(plain)) == attrs.asdict(call.report)
    assert plain["faults"][0] == {"kind": "kill", "on": "stt.session", "after": "3rd interim"}
    assert plain["counted"]["replayed_ms"] > 0


def test_a_timeline_has_a_line_for_each_thing_that_happened() -> None:
    call = play(CALLER, faults=[Kill("stt.session", after="3rd interim")], seed=7)
    told = call.timeline()
    for text in (
        r"fault +kill stt.session: after 3rd interim",
        r"stt/session#1 +ChildFailed: reason ProviderDown: deepgram broke off",
        r"stt/session#2 +ChildRestarted",
        r"caller +turn 1: book a table for four",
        r"agent +is heard, turn 3",
        r"call +ended: stop",
        r"lost +–",
    ):
        assert re.search(text, told), told


@pytest.mark.parametrize(
    ("sounds", "end_s", "longest"),
    [
        ([], 9.0, 0.0),
        ([("agent", 3.0, 4.0)], 4.0, 0.0),  # what came before the greeting is the network's
        ([("agent", 0.0, 1.0), ("agent", 1.5, 2.0)], 2.0, 0.5),
        ([("agent", 0.0, 1.0), ("caller", 6.0, 7.0), ("agent", 8.0, 9.0)], 9.0, 1.0),  # the first one was the caller's
        ([("agent", 0.0, 1.0), ("caller", 2.0, 3.0)], 9.0, 6.0),  # never answered
        ([("agent", 0.0, 5.0), ("caller", 2.0, 3.0), ("agent", 5.5, 6.0)], 6.0, 0.5),  # spoken over
    ],
)
def test_dead_air_is_the_silence_that_the_agent_owed(
    sounds: list[tuple[str, float, float]], end_s: float, longest: float
) -> None:
    assert dead_air_s([Sound(who=who, start_s=a, end_s=b) for who, a, b in sounds], end_s) == longest


# ── chance ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def drawn(dice: random.Random) -> AnyFault:
    """One fault that may cost no word."""
    place: dict[str, Any] = dice.choice(
        (
            {"at": dice.random() * 8.0},
            {"at": f"turn {dice.randint(1, 3)}"},
            {"at": f"turn {dice.randint(1, 3)}, {dice.randrange(600)} ms into the reply"},
            {"at": f"turn {dice.randint(1, 3)}, {dice.randrange(900)} ms into the caller's words"},
        )
    )
    connection = dice.choice(("stt.session", "tts.session", "llm"))
    return dice.choice(
        (
            Kill(connection, **place),
            Kill(dice.choice(ACTORS), **place),
            Raise(dice.choice(ACTORS), **place),
            Raise(connection, **place),
            Stall(connection, **place, noticed_s=1.0),
            Delay(connection, **place, by_s=0.2),
        )
    )


@pytest.mark.parametrize("seed", range(12))
def test_one_fault_wherever_it_strikes_ends_no_call(seed: int) -> None:
    fault = drawn(random.Random(seed))
    call = play(SHORT, faults=[fault], seed=seed)
    assert call.survived(), call.timeline()
    assert call.tools_run() == {"book": 1}, call.timeline()
