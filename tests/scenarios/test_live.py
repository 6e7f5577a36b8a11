"""Live scenarios: how a server is configured for them, and what is read of a call. No call is made here."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.messages.conversation import AgentSaid, CallerSaid, Entry
from engine.messages.records import Record, Timing
from engine.settings import load
from simulators import noises, scenario
from simulators.audio import RATE_HZ
from simulators.caller import CallerScript, Interrupt, Listen, Noise, Say
from simulators.events import CallerSpeaks, Cleared, Connected, HungUp
from simulators.scenario import Business, Expect, Reply, Scenario
from simulators.talk.judge import LIVE, judge
from simulators.talk.live import account_of
from simulators.talk.server import _configure, turns_of
from simulators.twilio.record import CallRecord, Delivery

CALL = Scenario(
    steps=(Listen(), Say(text="When are you open?"), Interrupt(after_s=1.0), Noise(), Listen()),
    business=Business(greeting="Hello.", firm=("Hello.",), idle_s=5.0, idle_again_s=(4.0,), tone_s=2.0, filler_s=1.5),
    agent=(Reply(text="We are open from nine to five."),),
    expect=Expect(turns=("When are you open?",), whole=(0, 1)),
)


def test_every_business_can_be_served(tmp_path: Path) -> None:
    names = [name for name in scenario.judged() if scenario.read(name).live]
    written = {name: scenario.read(name) for name in names} | {"mine": CALL}
    numbers = _configure(written, tmp_path, "http://127.0.0.1:1", "")
    _, tenants = load(tmp_path / "engine.toml")
    assert set(numbers) == set(written)
    for name, number in numbers.items():
        tenant = tenants.for_number(number)
        assert tenant is not None
        assert tenant.greeting == written[name].business.greeting
        assert f"“{name}”" in tenant.prompt
    mine = tomllib.loads((tmp_path / "tenants/mine.toml").read_text())
    assert mine["limits"] == {"idle_s": 5.0, "idle_again_s": [4.0]}
    assert mine["speech"] == {"uninterruptible": ["Hello."], "hold_tone_s": 2.0}
    assert mine["agent"] == {"filler_s": 1.5}


def test_notes_are_no_turns_of_the_caller() -> None:
    def said(role: str, *texts: str) -> dict[str, object]:
        return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}

    messages = [said("user", "(connected)"), said("assistant", "Hello."), said("user", "One.", "(note)", "Two.")]
    assert turns_of(messages) == ["One.", "Two."]


def record(*, gap_s: float = 0.6, deliveries: tuple[Delivery, ...] = ()) -> CallRecord:
    """The greeting for a second, a question from 2 to 3, an answer from 4 on with a cough and a pause at 5."""
    voice = noises.sound("laugh", 1.0)
    silence = b"\xff" * RATE_HZ
    agent = voice + 3 * silence + voice + silence[: round(gap_s * RATE_HZ)] + voice
    return CallRecord(
        call_sid="CA",
        account_sid="AC",
        caller_number="+1",
        dialled_number="+2",
        dialled_on=datetime(2026, 1, 1, tzinfo=UTC),
        events=(
            Connected(at_s=0.0, stream_sid="MZ"),
            CallerSpeaks(at_s=2.0, text="When are you open?", until_s=3.0),
            CallerSpeaks(at_s=4.9, text="[cough]", until_s=5.2),
            Cleared(at_s=5.0, dropped_s=0.2),
            HungUp(at_s=8.0, by="caller", why="done"),
        ),
        caller_audio=b"",
        agent_audio=agent.ljust(8 * RATE_HZ, b"\xff"),
        refused=(),
        deliveries=deliveries,
        documents=(),
    )


def read(
    *, answer: AgentSaid | None = None, turn: str = "When are you open?", deliveries: tuple[Delivery, ...] = ()
) -> list[str]:
    answer = answer or AgentSaid(turn=1, text="We are open from nine to five.")
    entries: tuple[Entry, ...] = (AgentSaid(turn=0, text="Hello."), CallerSaid(turn=1, text=turn), answer)
    account = account_of(
        CALL,
        CallerScript(steps=CALL.steps),
        record(deliveries=deliveries),
        rows=[Record(position=count, entry=entry, at_s=0.0) for count, entry in enumerate(entries)],
        timings=[
            Timing(turn=0, stage="first_sound", at_s=0.0),
            Timing(turn=1, stage="first_sound", at_s=3.98),
        ],
        ended="stop",
    )
    return list(judge(CALL, account, LIVE).wrongs)


def test_a_good_call_has_nothing_wrong() -> None:
    assert read() == []


def test_a_recogniser_may_err_in_a_word() -> None:
    assert read(turn="Where are you open") == []
    assert "the model was given" in read(turn="Good morning, I am Peter")[0]


def test_an_answer_that_was_cut_is_told_of() -> None:
    cut = AgentSaid(turn=1, text="We are open", interrupted=True, unheard="from nine to five.")
    assert read(answer=cut) == ["of reply 1, 3 of 7 words were heard", "'[cough]' at 4.90 s cut the agent"]


@pytest.mark.parametrize(("after_s", "stale"), [(0.05, True), (0.2, False)])
def test_sound_that_comes_right_after_a_clear_is_stale(after_s: float, stale: bool) -> None:
    came = Delivery(came_at=round((5.0 + after_s) * RATE_HZ), start=0, length=1600)
    assert any("had been cut" in each for each in read(deliveries=(came,))) is stale
