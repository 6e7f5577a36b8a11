"""Faults as values: what may be said, and how it is refused."""

import math
import re
from typing import Any

import pytest

from engine.faults import (
    KINDS,
    AnyFault,
    Count,
    Delay,
    Drop,
    Duplicate,
    Garble,
    Kill,
    Moment,
    Part,
    Place,
    Raise,
    Refuse,
    SlowDrip,
    Stall,
    as_table,
    count,
    moment,
    read_faults,
)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0, Moment()),
        (3.2, Moment(offset_s=3.2)),
        ("turn 1", Moment(turn=1)),
        ("turn 12, 300 ms into the reply", Moment(turn=12, part=Part.REPLY, offset_s=0.3)),
        ("turn 2, 1.5 s into the reply", Moment(turn=2, part=Part.REPLY, offset_s=1.5)),
        ("turn 2,  0 ms into the caller's words", Moment(turn=2, part=Part.WORDS)),
        ("turn 2, 20 ms into the caller’s words", Moment(turn=2, part=Part.WORDS, offset_s=0.02)),
    ],
)
def test_a_moment_is_seconds_or_a_place_in_a_turn(at: float | str, expected: Moment) -> None:
    assert moment(at) == expected


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("turn 2, 300 ms into the replay", "unknown word 'replay'; did you mean 'reply'?"),
        ("trun 2", "unknown word 'trun'; did you mean 'turn'?"),
        ("turn 0", "expected seconds since the call opened, "),
        ("turn 2, 300 ms", "expected seconds since the call opened, "),
        ("3.2", "got '3.2'"),
        (-0.1, "got -0.1"),
        (math.inf, "got inf"),
        (math.nan, "got nan"),
        (True, "got True"),
    ],
)
def test_a_moment_that_is_none_is_named(at: Any, why: str) -> None:
    with pytest.raises(ValueError, match="expected seconds since the call opened") as caught:
        moment(at)
    assert why in str(caught.value)


def test_what_is_counted_has_its_ordinal() -> None:
    assert [count(each) for each in ("1st interim", "2nd audio", "3rd token", "11th final", "21st step")] == [
        Count(number=number, what=what)
        for number, what in ((1, "interim"), (2, "audio"), (3, "token"), (11, "final"), (21, "step"))
    ]


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ("3th interim", '"3th" is no number; did you mean "3rd"?'),
        ("11st interim", '"11st" is no number; did you mean "11th"?'),
        ("3rd intrim", "unknown event 'intrim'; did you mean 'interim'?"),
        ("third interim", 'expected a count such as "3rd interim", of: interim, final'),
        ("0th interim", "expected a count such as"),
    ],
)
def test_a_count_that_is_none_is_named(after: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        count(after)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Kill("stt.sesion"), "on: unknown place 'stt.sesion'; did you mean 'stt.session'?"),
        (
            lambda: Drop("stt"),
            "on: 'stt' is an actor, and drop is of a vendor's connection; did you mean 'stt.session'",
        ),
        (lambda: SlowDrip("pacer"), "on: 'pacer' is an actor, and slow_drip is of a vendor's connection; known: "),
        (lambda: Kill(""), "on: nothing is named"),
        (
            lambda: Kill("llm", at=2.0, times=2),
            "times: 2 strikes at one moment; say how far apart they are with every_s",
        ),
        (lambda: Kill("llm", times=0), "times: expected 1 to 1000, got 0"),
        (lambda: Kill("llm", every_s=-1.0), "every_s: expected seconds of 0 or more, got -1.0"),
        (lambda: Kill("llm", probability=0.0), "probability: expected more than 0 and at most 1, got 0.0"),
        (lambda: Kill("llm", failing="dwon"), "failing: unknown failure 'dwon'; did you mean 'down'?"),
        (lambda: Refuse("llm", answers_s=0.0), "answers_s: expected seconds of more than 0, got 0.0"),
        (lambda: Delay("llm", by_s=-0.5), "by_s: expected seconds of 0 or more, got -0.5"),
        (lambda: Drop("llm", what="tokens"), "what: unknown event 'tokens'; did you mean 'token'?"),
        (lambda: Raise("stt.session", in_a_row=2), "in_a_row: only an actor's steps raise in a row"),
        (lambda: Kill("deepgram", after="2nd step"), "after: only actors take steps, and 'deepgram' is none"),
        (lambda: Kill("agent", after="2nd session"), "after: 'agent' is an actor; sessions are of"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_when_it_is_made(make: Any, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        make()


def test_all_that_is_wrong_with_a_fault_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"on: unknown place .*; after: .*3th.*; times: expected"):
        Kill("tts.sesion", after="3th audio", times=0)


EXAMPLES: list[AnyFault] = [
    Kill("stt.session", after="3rd interim", code="1011"),
    Refuse("deepgram", at=3.0, lasts_s=12.0, failing="refused"),
    Stall("llm", at="turn 2", noticed_s=1.0),
    Delay("pacer", by_s=0.1, lasts_s=2.0),
    Drop("tts.session", what="audio"),
    Duplicate("stt.session", what="final", times=2, every_s=1.0),
    Garble("llm", lasts_s=1.0),
    SlowDrip("elevenlabs", by_s=0.3, probability=0.5),
    Raise("agent", after="4th step", in_a_row=2),
]


def read(*tables: object) -> tuple[tuple[AnyFault, ...], list[tuple[Place, str]]]:
    mistakes: list[tuple[Place, str]] = []
    return read_faults(list(tables), lambda at, why: mistakes.append((at, why))), mistakes


def test_every_kind_can_be_written_as_a_table_and_read_again() -> None:
    assert {fault.kind for fault in EXAMPLES} == set(KINDS)
    assert read(*map(as_table, EXAMPLES)) == (tuple(EXAMPLES), [])


@pytest.mark.parametrize(
    ("table", "mistakes"),
    [
        ({"kind": "kil", "on": "llm"}, {"kind": "unknown kind 'kil'; did you mean 'kill'?"}),
        ({"on": "llm"}, {"kind": "missing; known: 'kill', 'refuse'"}),
        ({"kind": "kill"}, {"on": "missing"}),
        ({"kind": "kill", "on": "deepgrm"}, {"on": "unknown place 'deepgrm'; did you mean 'deepgram'?"}),
        ({"kind": "kill", "on": "stt.sesion"}, {"on": "unknown place 'stt.sesion'; did you mean 'stt.session'?"}),
        ({"kind": "drop", "on": "agent"}, {"on": "'agent' is an actor"}),
        ({"kind": "kill", "on": "llm", "aftr": "1st token"}, {"aftr": "unknown key; did you mean 'after'?"}),
        ({"kind": "kill", "on": "llm", "lasts_s": 1}, {"lasts_s": "unknown key; known: 'on', 'at'"}),
        ({"kind": "stall", "on": "llm", "lasts_s": "5"}, {"lasts_s": "expected a number, got '5'"}),
        ({"kind": "kill", "on": "llm", "times": True}, {"times": "expected a whole number, got True"}),
        ({"kind": "kill", "on": "llm", "times": 1.5}, {"times": "expected a whole number, got 1.5"}),
        ({"kind": "kill", "on": "llm", "at": [1]}, {"at": "expected a number or a text, got [1]"}),
        (
            {"kind": "stall", "on": "llm", "at": "turn 2, 3 ms into the replay", "after": "1th token", "by_s": 2},
            {"by_s": "unknown key", "at": "unknown word 'replay'", "after": '"1th" is no number'},
        ),
    ],
)
def test_a_table_with_a_typo_names_the_typo(table: dict[str, Any], mistakes: dict[str, str]) -> None:
    faults, found = read(as_table(EXAMPLES[0]), table)
    assert faults == (EXAMPLES[0],)
    assert [at for at, _ in found] == [("fault", 1, key) for key in mistakes]
    for (_, why), expected in zip(found, mistakes.values(), strict=True):
        assert expected in why


@pytest.mark.parametrize("tables", [{}, "x", None, 3])
def test_what_is_no_list_of_faults_is_named(tables: object) -> None:
    mistakes: list[str] = []
    assert read_faults(tables, lambda _, why: mistakes.append(why)) == ()
    assert mistakes == [f"expected a list of tables, got {tables!r}"]


def test_a_hundred_faults_are_taken_and_no_more() -> None:
    table = as_table(EXAMPLES[0])
    assert len(read(*[table] * 100)[0]) == 100
    assert read(*[table] * 101) == ((), [(("fault",), "expected 100 faults at most, got 101")])


def test_a_fault_may_be_on_any_vendor_that_is_said_to_be_there() -> None:
    mistakes: list[object] = []
    table = {"kind": "kill", "on": "acme"}
    assert read_faults([table], lambda *each: mistakes.append(each), vendors=("acme",)) == (Kill("acme"),)
    assert mistakes == []
