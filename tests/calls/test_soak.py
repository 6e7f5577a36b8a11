"""A sample of the soak: calls with faults of all kinds, as messages and over wires, judged to the last word.

A failing call is named by its seed; `just soak` writes such a call down, and replays it.
"""

from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import structlog

from benchmarks import virtual_soak
from engine.actors.stt import STT, RecognitionPolicy
from engine.call import Plan
from engine.faults import Drop, Kill, Raise, Refuse, Stall
from engine.messages.errors import ConfigError
from simulators.virtual.soak import Soaked, drawn, judged, read, soak

MESSAGES, WIRES = 120, 10
ANOTHER_SEED = 7_000_000
"""Not those that `just soak` begins with."""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def chunks(count: int, size: int) -> list[range]:
    return [range(at, min(at + size, ANOTHER_SEED + count)) for at in range(ANOTHER_SEED, ANOTHER_SEED + count, size)]


def wrong(seeds: Sequence[int], *, on_wires: bool) -> dict[int, list[str]]:
    calls = [drawn(seed, on_wires=on_wires) for seed in seeds]
    found = {call.seed: judged(call, soak(call)) for call in calls}
    return {seed: sentences for seed, sentences in found.items() if sentences}


@pytest.mark.parametrize("seeds", chunks(MESSAGES, 40), ids=lambda seeds: str(seeds[0]))
def test_a_call_goes_on_whatever_fails_and_no_word_is_lost_that_need_not_be(seeds: range) -> None:
    assert wrong(seeds, on_wires=False) == {}


@pytest.mark.parametrize("seeds", chunks(WIRES, 10), ids=lambda seeds: str(seeds[0]))
def test_a_call_over_the_clients_own_wires_goes_on_too(seeds: range) -> None:
    assert wrong(seeds, on_wires=True) == {}


def test_the_faults_of_a_soak_are_of_every_kind_and_everywhere() -> None:
    faults = [fault for seed in range(2000) for fault in drawn(seed).faults]
    assert {fault.kind for fault in faults} == {
        "kill", "refuse", "stall", "delay", "drop", "duplicate", "garble", "slow_drip", "raise"
    }  # fmt: skip
    assert {fault.on for fault in faults} == {
        "twilio_io", "stt", "turn_detector", "agent", "tts", "pacer",
        "stt.session", "tts.session", "llm", "deepgram", "elevenlabs", "anthropic", "local",
    }  # fmt: skip


def test_a_soak_finds_what_loses_words() -> None:
    def forgets(plan: Plan) -> Plan:
        return attrs.evolve(plan, cores=attrs.evolve(plan.cores, stt=STT(policy=RecognitionPolicy(keep_s=0.3))))

    call = Soaked(seed=3, faults=(Stall("deepgram", at="turn 1, 100 ms into the caller's words"),))
    assert judged(call, soak(call)) == []
    assert judged(call, soak(call, change=forgets)) != []


def test_what_a_vendor_never_said_may_be_missing_and_nothing_else() -> None:
    assert not Soaked(seed=0, faults=(Kill("stt.session"), Raise("agent"))).is_costly
    assert Soaked(seed=0, faults=(Drop("stt.session"),)).is_costly
    assert Soaked(seed=0, faults=(Raise("agent", in_a_row=2),)).is_costly
    assert Soaked(seed=0, faults=(Raise("agent"), Raise("agent"))).is_costly, "they may come at one step"
    assert not Soaked(seed=0, faults=(Raise("agent"), Raise("tts"))).is_costly
    assert not Soaked(seed=0, faults=(Refuse("llm", lasts_s=0.6),)).may_end
    assert Soaked(seed=0, faults=(Refuse("llm", lasts_s=0.61),)).may_end
    assert not Soaked(seed=0, faults=(Refuse("anthropic"),)).may_end, "there is another"


@pytest.mark.parametrize("on_wires", [False, True])
def test_a_call_is_written_down_and_read_again(tmp_path: Path, *, on_wires: bool) -> None:
    file = tmp_path / "call.toml"
    for seed in range(60):
        call = drawn(seed, on_wires=on_wires)
        file.write_text(call.as_toml())
        assert read(file) == call


def test_a_typo_in_a_call_that_was_written_down_is_named(tmp_path: Path) -> None:
    file = tmp_path / "call.toml"
    file.write_text('seed = "3"\non_wires = false\n[[fault]]\nkind = "kil"\non = "stt.session"\n')
    with pytest.raises(ConfigError) as raised:
        read(file)
    assert str(raised.value).splitlines() == [
        f"{file}: fault.0.kind: unknown kind 'kil'; did you mean 'kill'?",
        f"{file}: seed: expected a whole number, got '3'",
    ]


def test_the_same_seed_is_the_same_call_over_wires_too() -> None:
    for on_wires in (False, True):
        call = drawn(ANOTHER_SEED, on_wires=on_wires)
        first, second = soak(call), soak(call)
        assert (first.notes, first.heard, first.conversation) == (second.notes, second.heard, second.conversation)


def test_a_failing_call_is_kept_with_what_was_wrong_and_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = virtual_soak.tell(drawn(5))
    assert told.wrong == ()
    assert virtual_soak.saved([told]) == {}
    ((file, why),) = virtual_soak.saved([attrs.evolve(told, wrong=("it hung", "and more"))]).items()
    assert why == "it hung"
    assert read(Path(file)) == drawn(5)
    assert virtual_soak.replay(Path(file)) == 0
    assert "ended by" in capsys.readouterr().out


def test_a_soak_comes_to_figures() -> None:
    told = [virtual_soak.tell(drawn(seed)) for seed in range(6)]
    lost = attrs.evolve(told[0], is_costly=False, lost=2, silence_s=9.5, hung=True)
    found = virtual_soak.figures([*told, lost])
    assert (found["calls"], found["hung"], found["tasks_left"], found["tools_run_twice"]) == (7, 1, 0, 0)
    assert found["of_which_nothing_may_be_lost"]["words_lost"] == 2
    assert found["of_which_nothing_may_be_lost"]["dead_air_s"]["max"] == 9.5
    assert found["survived"] == 6
