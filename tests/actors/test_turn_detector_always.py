"""TurnDetector: what holds whatever is told and whenever."""

import re
from collections import Counter
from collections.abc import Iterator

import attrs
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.turn_detector import Floor, TurnDetector
from engine.messages.caller import Dtmf, LineClosed, SpeechLasted, SpeechStarted, SpeechStopped
from engine.messages.playout import Hold, Playing, Resume, Stopped
from engine.messages.recognition import Transcript
from engine.messages.supervision import NEVER, Tick
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, TurnEnded, TurnExpected, TurnResumed
from tests.actors.steps import only, step
from tests.actors.turns import CLOSED, policy

HOLDING = {Floor.KEPT, Floor.HELD}
SAME_S = 1e-6

GAPS = st.sampled_from([0.0, 0.02, 0.08, 0.2, 0.3, 0.5, 0.9, 1.6, 4.0])
WORDS = st.sampled_from(["okay", "okay okay", "red", "red blue green", "stop", "red and", "seven", "...", ""])
EVENTS = st.one_of(
    st.sampled_from(["started", "lasted", "stopped", "5", "#", "fresh"]),
    st.builds(
        Transcript,
        text=WORDS,
        start_s=st.just(0.0),
        end_s=st.sampled_from([-1.0, -0.3, 0.0]),
        is_final=st.booleans(),
        speech_final=st.booleans(),
        covered_s=st.sampled_from([-2.0, -0.3, 0.0]),
        speech_ending=st.booleans(),
        semantic=st.booleans(),
    ),
    st.tuples(st.just("playing"), st.integers(0, 1), st.sampled_from([False, False, False, True])),
    st.tuples(st.just("stopped playing"), st.integers(0, 1)),
)
PLANS = st.lists(st.tuples(GAPS, EVENTS), max_size=50)


@attrs.define
class Line:
    """Turns a plan's events into messages as they may come at a moment: a sound lasts from its beginning."""

    from_s: float = 0.0
    words: list[str] = attrs.field(factory=list)

    def message(self, event: object, core: TurnDetector, now: float) -> object:
        match event:
            case "started":
                self.from_s = max(0.0, now - 0.06)
                return SpeechStarted(at_s=self.from_s)
            case "lasted":
                return SpeechLasted(from_s=self.from_s, to_s=now)
            case "stopped":
                return SpeechStopped(at_s=max(0.0, now - 0.2))
            case "5" | "#":
                self.words += [event] if event == "5" else []
                return Dtmf(digit=event, at_s=now)
            case Transcript():
                if event.is_final:
                    self.words += _words(event.text)
                ends_s, covered_s = max(0.0, now + event.end_s), max(0.0, now + event.covered_s)
                return attrs.evolve(event, end_s=ends_s, covered_s=covered_s)
            case ("playing", int(back), bool(firm)):
                return Playing(turn=max(0, core.turn - back), firm=firm)
            case ("stopped playing", int(back)):
                return Stopped(turn=max(0, core.turn - back))
            case _:
                raise AssertionError(event)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|\d", text)


def history(plan: list[tuple[float, object]], line: Line) -> Iterator[tuple[float, TurnDetector, list[object]]]:
    """Every step of a call with its moment and what it sent, ticks included; the line is closed at the end."""
    first = core = TurnDetector(policy=policy())
    now = 0.0
    steps: list[tuple[float, object]] = [(0.0, ("playing", 0, False)), *plan, (0.5, CLOSED), (9.0, "started")]
    for gap, event in steps:
        while core.deadline <= now + gap:
            at = core.deadline
            core, told = step(core, Tick(), at)
            yield at, core, told
        now += gap
        if event == "fresh":
            core = first.fresh(core)
        else:
            message = event if isinstance(event, LineClosed) else line.message(event, core, now)
            core, told = step(core, message, now)
            yield now, core, told


@given(PLANS)
def test_a_hold_ends_in_time_and_once(plan: list[tuple[float, object]]) -> None:
    held_at: float | None = None
    for at, core, told in history(plan, Line()):
        for each in told:
            match each:
                case Hold():
                    assert held_at is None
                    held_at = at
                case Resume():
                    assert held_at is not None
                    assert at <= held_at + core.policy.held_s + SAME_S
                    held_at = None
                case BargedIn():
                    assert held_at is None or at <= held_at + core.policy.held_s + SAME_S
                    held_at = None
                case _:
                    pass
        assert (held_at is not None) is (core.floor in HOLDING) or core.floor is Floor.GONE
        assert (core.hold_due < NEVER) is (core.floor in HOLDING)
        assert core.hold_due == NEVER or core.hold_due <= core.held_at + core.policy.held_s + SAME_S


@given(PLANS)
def test_what_is_expected_ends_or_is_taken_back(plan: list[tuple[float, object]]) -> None:
    expected: int | None = None
    for _, core, told in history(plan, Line()):
        for each in told:
            match each:
                case TurnExpected(turn=turn):
                    expected = turn
                    assert each.text
                case TurnResumed(turn=turn):
                    assert expected == turn
                    expected = None
                case TurnEnded(turn=turn):
                    assert expected in {None, turn}
                    expected = None
                case CallerIdle() | BargedIn():
                    assert expected is None
                case _:
                    pass
        assert core.floor is Floor.GONE or expected == (core.expected and core.expected.turn)
        assert core.expected is None or core.floor is Floor.CALLER


@given(PLANS)
def test_every_final_word_is_told_once_and_turns_only_rise(plan: list[tuple[float, object]]) -> None:
    line = Line()
    told = [each for _, _, effects in history(plan, line) for each in effects]
    texts = [each.text for each in told if isinstance(each, TurnEnded | Backchannel)]
    assert Counter(word for text in texts for word in _words(text)) == Counter(line.words)
    raised = [each.turn for each in told if isinstance(each, TurnEnded | CallerIdle)]
    assert raised == sorted(set(raised))
    cuts = [each.turn for each in only(BargedIn, told)]
    assert cuts == sorted(set(cuts))
    assert only(LineClosed, told) == [CLOSED]


@given(PLANS)
def test_somebody_is_always_waited_for_and_open_words_never_for_ever(plan: list[tuple[float, object]]) -> None:
    for at, core, _ in history(plan, Line()):
        if core.floor is Floor.GONE:
            assert core.deadline == NEVER
            continue
        assert core.deadline < NEVER
        assert (core.turn_due < NEVER) is bool(core.open.text)
        assert core.turn_due == NEVER or core.turn_due <= at + core.policy.monologue_s
        assert core.aside.text == "" or core.floor in {Floor.PENDING, Floor.KEPT, Floor.AGENT, Floor.HELD}
        assert core.idle_due == NEVER or core.idle_due <= at + core.policy.monologue_s


@given(PLANS, st.integers(0, 50))
def test_a_bare_core_goes_on_in_turn_and_minds_a_silence(plan: list[tuple[float, object]], after: int) -> None:
    *_, (at, core, _) = list(history(plan, Line()))[: after + 1]
    bare = TurnDetector(policy=core.policy).bare(core)
    assert bare.turn == core.turn
    assert bare.hold_due == NEVER
    assert (bare.deadline < NEVER) is (core.floor is not Floor.GONE)
    if core.floor is not Floor.GONE:
        due = max(at, bare.deadline)
        assert only(CallerIdle, step(bare, Tick(), due)[1]) == [CallerIdle(turn=core.turn + 1)]
