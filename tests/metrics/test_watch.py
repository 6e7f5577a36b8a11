"""What is seen of a call: its turns, its failures, its line; alone, and in whole calls on a virtual clock."""

import math
import random
from typing import TypedDict

import attrs
import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.call import WIRING, Call, Plan
from engine.health import Health
from engine.messages.errors import ProviderDown, ProviderRefused
from engine.messages.line import SendClear, SendMark, SendMedia
from engine.messages.records import Timing, TokensUsed
from engine.messages.supervision import SessionInfo
from engine.metrics import MOST_VALUES, STAGES, Metrics
from engine.supervisor import (
    ChildExited,
    ChildFailed,
    ChildRestarted,
    ChildStalled,
    ChildStarted,
    ChildStopped,
    FailedBack,
    FailedOver,
    GaveUp,
    GaveUpError,
    RestartScheduled,
    SignificantEnded,
    SupervisionEvent,
    Supervisor,
)
from engine.trunk import Trunk
from engine.watch import Watch, event_name
from simulators.virtual.call import FAULTS, play
from simulators.virtual.faults import Fault, KillSession
from simulators.virtual.judge import Outcome
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.vendors import Door, ToneVad, VirtualRecogniser


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"holdfast_{name}", labels)


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

TURN = dict(zip(STAGES, (10.0, 10.4, 10.5, 10.7, 10.8, 10.95, 11.0), strict=True))


def reached(*timings: tuple[int, str, float]) -> Metrics:
    watch = Watch()
    for turn, stage, at_s in timings:
        watch.reached(Timing(turn=turn, stage=stage, at_s=at_s))
    return watch.metrics


def hops(metrics: Metrics) -> dict[str, float]:
    return {
        stage: round(value(metrics, "stage_seconds_sum", stage=stage) or 0.0, 6)
        for stage in STAGES[1:]
        if value(metrics, "stage_seconds_count", stage=stage)
    }


def test_each_stage_is_measured_from_the_one_before() -> None:
    metrics = reached(*((3, stage, at_s) for stage, at_s in TURN.items()))
    assert hops(metrics) == dict(zip(STAGES[1:], (0.4, 0.1, 0.2, 0.1, 0.15, 0.05), strict=True))
    assert value(metrics, "answer_seconds_sum") == 1.0
    assert value(metrics, "turns_total", outcome="ended") == 1
    assert value(metrics, "turns_total", outcome="answered") == 1


def test_the_second_first_token_of_a_turn_with_tools_is_none() -> None:
    metrics = reached((3, "turn_ended", 1.0), (3, "first_token", 1.2), (3, "first_token", 3.0))
    assert hops(metrics) == {"first_token": 0.2}


def test_a_greeting_answers_nobody() -> None:
    metrics = reached((0, "first_audio", 0.1), (0, "first_sound", 0.2))
    assert hops(metrics) == {"first_sound": 0.1}
    assert value(metrics, "answer_seconds_count") == 0
    assert value(metrics, "turns_total", outcome="answered") is None


def test_a_filler_answers_before_there_is_a_first_token() -> None:
    metrics = reached((3, "last_word", 1.0), (3, "turn_ended", 1.5), (3, "first_sound", 2.0), (3, "first_token", 4.0))
    assert hops(metrics) == {"first_token": 2.5}
    assert value(metrics, "answer_seconds_sum") == 1.0


def test_times_that_run_backwards_are_none() -> None:
    assert hops(reached((3, "last_word", 1.0), (3, "transcript_final", 0.9))) == {"transcript_final": 0.0}


def test_a_stage_that_is_not_known_is_no_series() -> None:
    assert hops(reached((3, "last_word", 1.0), (3, "second_thoughts", 1.1))) == {}


def test_turns_long_past_are_forgotten() -> None:
    watch = Watch()
    for turn in range(100):
        watch.reached(Timing(turn=turn, stage="last_word", at_s=float(turn)))
    assert len(watch._stages) == 8
    assert max(watch._stages) == 99


# ── failures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class About(TypedDict):
    happened_at: float
    supervisor: str
    child: str
    incarnation: int


def about(supervisor: str, child: str) -> About:
    return {"happened_at": 1.0, "supervisor": supervisor, "child": child, "incarnation": 1}


def told(*events: SupervisionEvent, watch: Watch | None = None) -> Metrics:
    watch = watch or Watch()
    for event in events:
        watch.supervised(event)
    return watch.metrics


def test_a_restart_is_counted_by_who_and_by_the_kind_of_failure() -> None:
    watch = Watch()
    watch.session_opening("stt", "deepgram")
    metrics = told(
        ChildFailed(**about("stt", "session"), reason="x", error=ProviderDown("anything")),
        RestartScheduled(**about("stt", "session"), after_s=0.0),
        ChildFailed(**about("agent", "loop"), reason="stalled: an edge is full"),
        RestartScheduled(**about("agent", "loop"), after_s=0.0),
        ChildFailed(**about("call", "stt"), reason="x", error=GaveUpError("stt", "session", "x", ())),
        RestartScheduled(**about("call", "stt"), after_s=0.0),
        watch=watch,
    )
    assert value(metrics, "restarts_total", actor="stt", child="session", reason="down") == 1
    assert value(metrics, "restarts_total", actor="agent", child="loop", reason="closed") == 1
    assert value(metrics, "restarts_total", actor="call", child="stt", reason="gave_up") == 1


def test_giving_up_is_counted() -> None:
    metrics = told(GaveUp(**about("tts", "session"), reason="x", history=()))
    assert value(metrics, "given_up_total", supervisor="tts") == 1


def test_a_stall_is_counted_as_one_and_its_failure_as_slow() -> None:
    watch = Watch()
    watch.session_opening("stt", "deepgram")
    metrics = told(
        ChildStalled(**about("stt", "session"), reason="no results"),
        ChildFailed(**about("stt", "session"), reason="no results"),
        RestartScheduled(**about("stt", "session"), after_s=0.0),
        ChildFailed(**about("stt", "session"), reason="a bare core goes on"),
        RestartScheduled(**about("stt", "session"), after_s=0.0),
        watch=watch,
    )
    assert value(metrics, "stalls_total", actor="stt", child="session") == 1
    assert value(metrics, "restarts_total", actor="stt", child="session", reason="slow") == 1
    assert value(metrics, "restarts_total", actor="stt", child="session", reason="closed") == 1
    failures = value(metrics, "vendor_failures_total", vendor="deepgram", phase="connecting", kind="slow")
    assert (failures, total(metrics, "vendor_failures_total")) == (1, 1)


def test_a_vendor_that_is_left_and_one_that_is_back_are_counted_by_who() -> None:
    metrics = told(
        FailedOver(**about("tts", "session"), was="elevenlabs", now_on="local", reason="x"),
        FailedOver(**about("tts", "session"), was="elevenlabs", now_on="local", reason="y"),
        FailedBack(**about("tts", "session"), now_on="elevenlabs"),
    )
    assert value(metrics, "fail_overs_total", actor="tts", was="elevenlabs", to="local") == 2
    assert value(metrics, "fail_backs_total", actor="tts", to="elevenlabs") == 1


EVENTS = (
    (ChildStarted(**about("stt", "session")), "child_started", "debug"),
    (ChildExited(**about("stt", "session")), "child_exited", "debug"),
    (ChildStopped(**about("stt", "session"), overran=False), "child_stopped", "debug"),
    (SignificantEnded(**about("stt", "session")), "significant_ended", "debug"),
    (ChildRestarted(**about("stt", "session")), "child_restarted", "info"),
    (FailedBack(**about("stt", "session"), now_on="deepgram"), "failed_back", "info"),
    (ChildFailed(**about("stt", "session"), reason="x"), "child_failed", "warning"),
    (ChildStalled(**about("stt", "session"), reason="x"), "child_stalled", "warning"),
    (RestartScheduled(**about("stt", "session"), after_s=0.0), "restart_scheduled", "warning"),
    (FailedOver(**about("stt", "session"), was="a", now_on="b", reason="x"), "failed_over", "warning"),
    (GaveUp(**about("stt", "session"), reason="x", history=()), "gave_up", "warning"),
)


def test_whatever_a_supervisor_sees_or_decides_is_counted() -> None:
    assert {type(seen) for seen, _, _ in EVENTS} == set(SupervisionEvent.__subclasses__())
    metrics = told(*(seen for seen, _, _ in EVENTS))
    for seen, name, _ in EVENTS:
        assert event_name(seen) == name
        assert value(metrics, "supervision_events_total", supervisor="stt", event=name) == 1


def test_an_errands_events_are_counted_too() -> None:
    watch = Watch()
    watch.errand("", ChildFailed(**about("errands", "tool 1"), reason="x", error=OSError("x")))
    assert value(watch.metrics, "supervision_events_total", supervisor="errands", event="child_failed") == 1


def test_whatever_a_supervisor_sees_or_decides_is_logged_as_loud_as_it_is() -> None:
    plans: list[Plan] = []

    def keep(plan: Plan) -> Plan:
        plans.append(plan)
        return plan

    async def see_all() -> None:
        call = Call(line=VirtualPhone(), plan=plans[0])
        for seen, name, level in EVENTS:
            with capture_logs() as logs:
                call._event(seen)
            (line,) = [each for each in logs if each["event"] == name]
            assert (line["log_level"], line["supervisor"], line["child"]) == (level, "stt", "session")

    play(1, replan=keep)
    trio.run(see_all)


def test_a_session_that_never_connected_is_told_from_one_that_broke_off() -> None:
    watch, metrics = Watch(), None
    for connects in (False, True):
        watch.session_opening("tts", "elevenlabs")
        if connects:
            watch.session_said("tts", SessionInfo(vendor="elevenlabs", incarnation=2))
            assert value(watch.metrics, "vendor_up", vendor="elevenlabs") == 1
        failed = ChildFailed(**about("tts", "session"), reason="x", error=ProviderRefused("401"))
        metrics = told(failed, watch=watch)
        assert value(metrics, "vendor_up", vendor="elevenlabs") == 0
    assert metrics is not None
    for phase in ("connecting", "connected"):
        found = value(metrics, "vendor_failures_total", vendor="elevenlabs", phase=phase, kind="refused")
        assert found == 1, phase
    assert value(metrics, "vendor_connections_total", vendor="elevenlabs") == 1


def test_a_session_that_we_closed_is_no_failure_of_the_vendor() -> None:
    watch = Watch()
    watch.session_opening("tts", "elevenlabs")
    metrics = told(ChildFailed(**about("tts", "session"), reason="a bare core goes on"), watch=watch)
    assert value(metrics, "vendor_up", vendor="elevenlabs") is None


def test_requests_of_a_model_are_counted_and_runs_of_tools_are_not() -> None:
    watch = Watch()
    for event in (
        ChildStarted(**about("errands", "model 1")),
        ChildExited(**about("errands", "model 1")),
        ChildStarted(**about("errands", "model 2")),
        ChildFailed(**about("errands", "model 2"), reason="x", error=ProviderRefused("x")),
        ChildStarted(**about("errands", "tool 1")),
        ChildFailed(**about("errands", "tool 1"), reason="x", error=OSError("x")),
    ):
        watch.errand("anthropic", event)
    assert value(watch.metrics, "vendor_requests_total", vendor="anthropic") == 2
    assert value(watch.metrics, "vendor_failures_total", vendor="anthropic", phase="request", kind="refused") == 1
    assert value(watch.metrics, "vendor_failures_total", vendor="anthropic", phase="request", kind="raised") is None


# ── the line ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_marks_round_trip_ends_with_its_echo_and_a_clear_spoils_it(mock_clock: MockClock) -> None:
    watch = Watch()
    watch.line_sending(SendMark(name="0:1:0"), "")
    mock_clock.jump(0.22)
    watch.line_sending(SendMedia(audio=b""), "")
    watch.mark_echoed("0:1:0")
    watch.mark_echoed("0:1:0")
    watch.mark_echoed("never sent")
    watch.line_sending(SendMark(name="0:1:1"), "")
    watch.line_sending(SendClear(), "")
    watch.mark_echoed("0:1:1")
    assert value(watch.metrics, "mark_round_trip_seconds_count") == 1
    assert value(watch.metrics, "mark_round_trip_seconds_sum") == pytest.approx(0.22)
    await trio.lowlevel.checkpoint()


async def test_the_lead_is_what_was_left_to_play_and_a_burst_counts_once(mock_clock: MockClock) -> None:
    watch = Watch()
    mock_clock.jump(1.0)
    half_s = SendMedia(audio=bytes(4000))
    for _ in range(2):  # the reply begins: nothing was playing, then a burst
        watch.line_sending(half_s, "")
    assert value(watch.metrics, "pacer_lead_seconds_count") == 0
    mock_clock.jump(0.75)
    for _ in range(2):
        watch.line_sending(half_s, "")
    assert value(watch.metrics, "pacer_lead_seconds_count") == 1
    assert value(watch.metrics, "pacer_lead_seconds_sum") == pytest.approx(0.25)
    watch.line_sending(SendClear(), "")
    mock_clock.jump(0.1)
    watch.line_sending(half_s, "")
    assert value(watch.metrics, "pacer_lead_seconds_count") == 1
    await trio.lowlevel.checkpoint()


def test_tokens_are_counted_by_vendor_and_by_whether_they_were_of_use() -> None:
    watch = Watch()
    for wasted, count in [(False, 10), (True, 3), (False, 5)]:
        used = TokensUsed(
            turn=1, request="r1", vendor="anthropic", input_tokens=count, output_tokens=2 * count, wasted=wasted
        )
        watch.tokens_used(used)
    told = {
        (kind, use): value(watch.metrics, "model_tokens_total", vendor="anthropic", kind=kind, use=use)
        for kind in ("input", "output")
        for use in ("answered", "wasted")
    }
    assert told == {
        ("input", "answered"): 15,
        ("input", "wasted"): 3,
        ("output", "answered"): 30,
        ("output", "wasted"): 6,
    }


class Garbled:
    """A line that says three things that mean nothing, and is gone."""

    def __init__(self) -> None:
        self.left = ["", "{}", '{"event": "media"}']

    async def receive(self) -> str:
        await trio.lowlevel.checkpoint()
        if not self.left:
            raise trio.EndOfChannel
        return self.left.pop()

    async def send(self, text: str) -> None: ...

    async def aclose(self) -> None: ...


async def test_messages_that_break_the_protocol_are_counted() -> None:
    watch, log = Watch(), structlog.get_logger()
    trunk = Trunk(line=Garbled(), stream_sid="MZ1", vad=ToneVad(), tell=lambda _: None, log=log, watch=watch)
    supervisor = Supervisor(name="line", specs=trunk.specs())
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        await trunk.gone.wait()
        supervisor.stop()
    assert value(watch.metrics, "bad_messages_total", peer="twilio") == 3


# ── whole calls ───────────────────────────────────────────────────────────────────────────────────────────────────────


def watched(seed: int, metrics: Metrics, faults: object = None) -> Outcome:
    def replan(plan: Plan) -> Plan:
        return attrs.evolve(plan, watch=Watch(metrics=metrics, tenant="dental"))

    if faults is None:
        return play(seed, replan=replan)
    assert callable(faults)
    return play(seed, replan=replan, faults=faults)


def test_a_whole_call_is_seen_from_its_opening_to_its_end() -> None:
    metrics = Metrics()
    outcomes = [watched(seed, metrics) for seed in range(5)]
    assert value(metrics, "calls_open", tenant="dental") == 0
    assert value(metrics, "calls_started_total", tenant="dental") == 5
    ended = sum(value(metrics, "calls_ended_total", tenant="dental", reason=each) or 0 for each in reasons(outcomes))
    assert ended == 5
    turns = value(metrics, "turns_total", outcome="ended") or 0
    assert turns >= 5
    for stage in STAGES[1:3]:
        assert value(metrics, "stage_seconds_count", stage=stage) == turns
    assert value(metrics, "answer_seconds_count") == value(metrics, "turns_total", outcome="answered")
    assert (value(metrics, "pacer_late_seconds_count") or 0) > 50
    assert (value(metrics, "pacer_lead_seconds_count") or 0) > 50
    assert (value(metrics, "mark_round_trip_seconds_count") or 0) > 5
    assert total(metrics, "vendor_requests_total") >= turns
    for vendor in ("stt", "tts"):
        assert value(metrics, "restarts_total", actor=vendor, child="session", reason="down") is None


def reasons(outcomes: list[Outcome]) -> set[str]:
    return {outcome.reason or "" for outcome in outcomes}


def test_a_recogniser_killed_in_a_call_is_a_restart_and_a_failure_of_its_vendor() -> None:
    def kill(_dice: random.Random) -> tuple[Fault, ...]:
        return (KillSession(actor="stt", at_s=2.0),)

    metrics = Metrics()
    watched(1, metrics, kill)
    failures = [
        (sample.labels, sample.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "holdfast_restarts_total"
    ]
    assert [(labels["actor"], labels["child"]) for labels, _ in failures] == [("stt", "session")]


def test_a_recogniser_that_lets_nobody_in_is_a_fail_over_and_an_open_circuit() -> None:
    metrics = Metrics()

    def replan(plan: Plan) -> Plan:
        away = VirtualRecogniser(vendor="away", door=Door(shut_until=math.inf))
        health = Health(clock=trio.current_time, changed=metrics.circuit_changed)
        watch = Watch(metrics=metrics, tenant="dental")
        return attrs.evolve(plan, recognisers=(away, *plan.recognisers), health=health, watch=watch)

    play(1, replan=replan)
    assert value(metrics, "fail_overs_total", actor="stt", was="away", to="virtual") == 1
    assert value(metrics, "vendor_circuit_open", work="stt", vendor="away") == 1
    assert value(metrics, "supervision_events_total", supervisor="stt", event="failed_over") == 1


def total(metrics: Metrics, name: str) -> float:
    samples = (sample for family in metrics.registry.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == f"holdfast_{name}")


def test_what_a_call_lost_and_what_raised_in_it_is_counted() -> None:
    metrics, lost, raised = Metrics(), 0, 0
    for seed in range(6):
        outcome = watched(seed, metrics, FAULTS["a message raises everywhere"])
        lost += sum(outcome.lost.values())
        raised += len(outcome.raised_at)
    assert raised > 6
    assert total(metrics, "steps_raised_total") == raised
    assert total(metrics, "messages_lost_total") == lost


@pytest.mark.parametrize("name", list(FAULTS))
def test_labels_stay_few_whatever_goes_wrong(name: str) -> None:
    metrics = Metrics()
    for seed in range(3):
        watched(seed, metrics, FAULTS[name])
    labels: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            for label, found in sample.labels.items():
                labels.setdefault(f"{family.name} {label}", set()).add(found)
    most = max(MOST_VALUES, len(WIRING.edges))
    assert not [(label, found) for label, found in labels.items() if len(found) > most]
    assert not [
        found for each in labels.values() for found in each if "CA0" in found or "MZ" in found or "Error" in found
    ]
