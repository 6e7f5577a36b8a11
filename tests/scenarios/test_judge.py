"""The judge: it says what is wrong with a call, and nothing of one that is right."""

from typing import Any

import attrs
import pytest

from engine.actors.pacer import Pacer
from simulators import tone
from simulators.caller import Interrupt, Listen, Noise, Say
from simulators.scenario import Expect, Reply, Scenario
from simulators.talk import virtual
from simulators.talk.account import Account, Made, Stretch, heard_of, merged, passages, plain
from simulators.talk.judge import judge
from simulators.talk.words import errors, spoken

TEXT = ["we", "have", "one", "on", "thursday", "and", "one", "on", "friday"]


def heard(words: str, *, at_s: float = 0.0) -> list[tone.HeardWord]:
    """Words of a tenth of a second each, without a gap."""
    return [
        tone.HeardWord(text=word, start_s=round(at_s + count / 10, 3), end_s=round(at_s + (count + 1) / 10, 3))
        for count, word in enumerate(words.split())
    ]


@pytest.mark.parametrize(
    ("words", "clears", "expected"),
    [
        ("we have one on thursday and one on friday", [], [("1", 0, 9)]),
        ("we have one", [], [("1", 0, 3)]),
        ("we have one on thursday one on thursday and one on friday", [0.5], [("1", 0, 5), ("1", 2, 9)]),
        ("we have one on one on friday", [0.4], [("1", 0, 4), ("1", 6, 9)]),
        ("all right we have", [], [("2", 0, 2), ("1", 0, 2)]),
        ("we never have", [], [("1", 0, 1), ("?", 0, 1), ("1", 1, 2)]),
    ],
)
def test_what_was_heard_is_found_in_what_was_said(
    words: str, clears: list[float], expected: list[tuple[str, int, int]]
) -> None:
    found = passages(heard(words), clears, {"1": TEXT, "2": ["all", "right"]})
    assert [(each.key, each.first, each.last) for each in found] == expected


def test_what_is_heard_twice_after_a_pause_is_counted() -> None:
    found = list(passages(heard("we have one on thursday one on thursday and one on friday"), [0.5], {"1": TEXT}))
    reply = heard_of("1", TEXT, found)
    assert reply.whole
    assert reply.repeats == pytest.approx((0.3,))


def test_a_reply_with_a_hole_in_it_is_not_whole() -> None:
    reply = heard_of("1", TEXT, list(passages(heard("we have friday"), [0.2], {"1": TEXT})))
    assert (reply.reached, reply.missing, reply.whole) == (9, 6, False)


def test_sounds_belong_together_that_are_close() -> None:
    assert merged([Stretch(0, 1), Stretch(1.2, 2), Stretch(2.5, 3)], 0.3) == (Stretch(0, 2), Stretch(2.5, 3))


def test_words_are_compared_as_they_sound() -> None:
    assert " ".join(spoken("It's 555-014, at 10:30 a.m.!")) == "it's five five five zero one four at ten thirty a m"
    assert plain("“Well,” he said.") == ["well", "he", "said"]
    assert errors(["a", "b", "c"], ["a", "c"]) == 1


ASK = Say(text="I would like to make an appointment, please.")
CALL = Scenario(
    steps=(Listen(), ASK, Interrupt(after_s=0.8), Say(text="Which street are you on?"), Listen()),
    agent=(Reply(text="We have one on Thursday, and another one on Friday."), Reply(text="On Main Street.")),
    expect=Expect(turns=(ASK.text, "Which street are you on?"), whole=(0, 2), cut=(1,)),
)


@pytest.fixture(scope="module")
def account() -> Account:
    return virtual.play(CALL)


def test_a_call_that_went_well_has_nothing_wrong(account: Account) -> None:
    verdict = judge(CALL, account)
    assert verdict.wrongs == ()
    assert (verdict.interruptions, verdict.missed, verdict.premature) == (1, 0, 0)
    assert len(verdict.waits_s) == len(verdict.ideal_s) == 2
    assert len(verdict.silences_s) == 1


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"turns": ("I would like to make",)}, "the model was given"),
        ({"hung": True}, "the call hung"),
        ({"tasks_left": 1}, "1 tasks are left"),
        ({"stale_s": 0.1}, "0.10 s were heard of what had been cut"),
        ({"garbled": 2}, "2 words were broken"),
        ({"gave_up": ("the agent to speak",)}, "waited in vain for the agent to speak"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(account: Account, change: dict[str, Any], wrong: str) -> None:
    wrongs = judge(CALL, attrs.evolve(account, **change)).wrongs
    assert len(wrongs) == 1
    assert wrong in wrongs[0]


@pytest.mark.parametrize(
    ("expect", "wrong"),
    [
        (Expect(whole=(1,)), "of reply 1, "),
        (Expect(cut=(2,)), "reply 2 was heard to its end"),
        (Expect(unheard=(2,)), "of reply 2, 3 words were heard"),
        (Expect(answered_within_s=0.01), "was answered after"),
        (Expect(silent_within_s=0.01), "the agent was heard for"),
        (Expect(ended="hang_up"), "the call ended by 'stop', not by 'hang_up'"),
        (Expect(idle_prompts=1), "asked 0 times"),
        (Expect(fillers=1), "told to wait 0 times"),
        (Expect(tone=True), "the hold tone"),
        (Expect(requests=1), "the model was asked"),
        (Expect(tool_runs=1), "tools ran 0 times"),
        (Expect(heard=("never said",)), "'never said' was not heard"),
        (Expect(never=("Main Street",)), "'Main Street' was heard"),
    ],
)
def test_each_expectation_can_fail(account: Account, expect: Expect, wrong: str) -> None:
    wrongs = judge(attrs.evolve(CALL, expect=expect), account).wrongs
    assert any(wrong in each for each in wrongs), wrongs


def test_an_answer_in_the_middle_of_a_sentence_is_premature(account: Account) -> None:
    slow = Made(step=ASK, text=ASK.text, start_s=3.0, end_s=30.0)
    verdict = judge(CALL, attrs.evolve(account, made=(slow,)))
    assert verdict.premature == 1
    assert any("in the middle of" in each for each in verdict.wrongs)


NOISY = attrs.evolve(
    CALL,
    steps=(Listen(), ASK, Interrupt(after_s=0.8), Noise(seconds=0.3), Listen()),
    expect=Expect(turns=(ASK.text,), whole=(0, 1)),
)


def test_an_engine_that_stops_for_a_cough_is_found_out() -> None:
    played = virtual.play(NOISY)
    reply = attrs.evolve(played.replies["1"], reached=3, end_s=played.made[-1].start_s)
    verdict = judge(NOISY, attrs.evolve(played, replies={**played.replies, "1": reply}))
    assert (verdict.noises, verdict.false) == (1, 1)
    assert any("[cough]" in each and "cut the agent" in each for each in verdict.wrongs)
    assert judge(NOISY, played).false == 0


def test_an_engine_that_talks_on_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pacer, "handle", _deaf(Pacer))
    verdict = judge(CALL, virtual.play(CALL))
    assert (verdict.interruptions, verdict.missed) == (1, 1)
    assert any("talked through" in each for each in verdict.wrongs)


def _deaf(core: type[Pacer]) -> object:
    handle = core.handle

    def deaf(self: Pacer, message: object, now: float) -> object:
        if type(message).__name__ in {"BargedIn", "Hold"}:
            return self, []
        return handle(self, message, now)  # type: ignore[arg-type]

    return deaf


def test_the_same_seed_gives_the_same_call() -> None:
    one, two = virtual.play(CALL, seed=3), virtual.play(CALL, seed=3)
    assert (one.said, one.turns, one.ended_s, one.agent) == (two.said, two.turns, two.ended_s, two.agent)
