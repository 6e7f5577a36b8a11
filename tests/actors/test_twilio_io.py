"""TwilioIO: hysteresis on voiced frames, and everything on the call's timeline."""

from typing import TypeAlias

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.turn_detector import TurnPolicy
from engine.actors.twilio_io import SpeechPolicy, TwilioIO, Voice
from engine.codec.telephony import SILENT_FRAME
from engine.messages.caller import CallerAudio, Dtmf, LineClosed, MarkEcho, SpeechLasted, SpeechStarted, SpeechStopped
from engine.messages.line import LineAudio, LineDtmf, LineEnded, LineMark
from engine.messages.supervision import NEVER
from tests.actors.steps import after, only, ran, sent

PLAIN = TwilioIO()
Speech: TypeAlias = SpeechStarted | SpeechStopped


def frames(pattern: str, *, start_s: float = 0.0) -> list[tuple[object, float]]:
    """The frames of a pattern, 20 ms each: `#` has the caller's voice in it, `~` somebody's much softer, `.` none."""
    return [
        (LineAudio(start_s=round(start_s + n * 0.02, 3), audio=SILENT_FRAME, voiced=each != ".", own=each == "#"), 0.0)
        for n, each in enumerate(pattern)
    ]


def speech(pattern: str, core: TwilioIO = PLAIN) -> list[Speech]:
    return [attrs.evolve(each, at_s=round(each.at_s, 3)) for each in said(sent(core, *frames(pattern)))]


def said(messages: list[object]) -> list[Speech]:
    return [each for each in messages if isinstance(each, Speech)]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("##", []),  # a click
        ("###", [SpeechStarted(at_s=0.0)]),
        ("##.##.##", []),  # never unbroken for long enough
        ("..###", [SpeechStarted(at_s=0.04)]),
        ("###.........", [SpeechStarted(at_s=0.0)]),  # 0.18 s of silence: a stop consonant
        ("###..........", [SpeechStarted(at_s=0.0), SpeechStopped(at_s=0.06)]),
        ("###.........#.........", [SpeechStarted(at_s=0.0)]),  # a voiced frame begins the silence anew
        ("###..........##..........", [SpeechStarted(at_s=0.0), SpeechStopped(at_s=0.06)]),
        ("###..........###", [SpeechStarted(at_s=0.0), SpeechStopped(at_s=0.06), SpeechStarted(at_s=0.26)]),
        ("#" * 200, [SpeechStarted(at_s=0.0)]),
        ("~" * 200, []),  # a radio
        ("##~##", []),
        ("###~~~~~~~~~~", [SpeechStarted(at_s=0.0), SpeechStopped(at_s=0.06)]),
    ],
)
def test_speech_begins_after_three_voiced_frames_and_ends_after_ten_silent_ones(
    pattern: str, told: list[object]
) -> None:
    assert speech(pattern) == told


def test_what_a_softer_voice_says_is_heard_as_any_other() -> None:
    told = [each for each in sent(PLAIN, *frames("~.")) if isinstance(each, CallerAudio)]
    assert [each.voiced for each in told] == [True, False]


@pytest.mark.parametrize(
    ("before", "on_s", "told"),
    [
        ("#", 3.0, [SpeechStarted(at_s=3.0)]),  # a click, and then a voice: not three seconds of it
        ("##", 0.1, [SpeechStarted(at_s=0.1)]),
        ("##", 0.08, [SpeechStarted(at_s=0.0)]),  # two frames are missing in a voice
        ("####", 0.27, [SpeechStarted(at_s=0.0)]),  # less was lost than ends speech
        ("####", 0.29, [SpeechStarted(at_s=0.0), SpeechStopped(at_s=0.08), SpeechStarted(at_s=0.29)]),
    ],
)
def test_audio_that_was_lost_on_its_way_is_no_sound(before: str, on_s: float, told: list[object]) -> None:
    heard = said(sent(PLAIN, *frames(before), *frames("###", start_s=on_s)))
    assert [attrs.evolve(each, at_s=round(each.at_s, 3)) for each in heard] == told


def test_the_policy_says_how_long_both_take() -> None:
    core = TwilioIO(policy=SpeechPolicy(start_s=0.02, stop_s=0.04))
    assert [type(each) for each in speech("#..", core)] == [SpeechStarted, SpeechStopped]
    assert [type(each) for each in speech("#.", core)] == [SpeechStarted]


def test_audio_is_passed_on_with_where_it_begins_and_ends() -> None:
    half = LineAudio(start_s=1.5, audio=SILENT_FRAME[:80], voiced=False)
    heard = CallerAudio(start_s=1.5, end_s=1.51, audio=SILENT_FRAME[:80], voiced=False)
    assert sent(TwilioIO(), (half, 9.0)) == [heard]


def test_audio_is_passed_on_with_whether_there_was_a_voice_in_it() -> None:
    assert [each.voiced for each in only(CallerAudio, sent(TwilioIO(), *frames("#.#")))] == [True, False, True]


def test_audio_goes_before_the_news_of_the_speech_in_it() -> None:
    assert [type(each) for each in sent(TwilioIO(), *frames("###"))[-2:]] == [CallerAudio, SpeechStarted]


def test_keys_and_echoes_carry_the_time_of_the_last_audio_and_not_of_their_arrival() -> None:
    heard = after(TwilioIO(), *frames("....."))
    told = sent(heard, (LineDtmf(digit="7"), 55.0), (LineMark(name="0:1:2"), 55.0))
    assert told == [Dtmf(digit="7", at_s=0.1), MarkEcho(name="0:1:2", at_s=0.1)]


def test_the_lines_clock_never_goes_back() -> None:
    late = after(TwilioIO(), *frames(".", start_s=2.0), *frames(".", start_s=1.0))
    assert late.heard_s == pytest.approx(2.02)


def test_the_end_of_the_line_ends_speech_first() -> None:
    speaking = after(TwilioIO(), *frames("###."))
    told = sent(speaking, (LineEnded(reason="stop"), 1.0))
    assert told == [SpeechStopped(at_s=0.06), LineClosed(reason="stop", at_s=0.08)]


def test_the_end_of_the_line_is_told_once_and_nothing_follows_it() -> None:
    gone, told = ran(TwilioIO(), *frames("."), (LineEnded(reason="closed"), 1.0))
    assert told[-1:] == [LineClosed(reason="closed", at_s=0.02)]
    more: list[tuple[object, float]] = [
        (LineEnded(reason="stop"), 2.0),
        *frames("#####"),
        (LineDtmf(digit="1"), 2.0),
        (LineMark(name="0:1:2"), 2.0),
    ]
    assert ran(gone, *more) == (gone, [])


def test_it_has_no_deadline() -> None:
    assert after(TwilioIO(), *frames("###...")).deadline == NEVER


def test_a_fresh_core_goes_on_in_the_middle_of_speech() -> None:
    speaking = after(TwilioIO(), *frames("..####."))
    assert TwilioIO().fresh(speaking) == speaking
    assert TwilioIO().fresh(after(speaking, (LineEnded(reason="stop"), 1.0))).voice is Voice.GONE


@pytest.mark.parametrize("pattern", ["..####.", "......."])
def test_a_bare_core_knows_how_far_audio_has_come_and_tells_an_end_sooner_than_none(pattern: str) -> None:
    core = TwilioIO().bare(after(TwilioIO(), *frames(pattern)))
    assert core.heard_s == pytest.approx(0.14)
    assert said(sent(core, *frames("." * 10, start_s=0.14))) == [SpeechStopped(at_s=core.heard_s)]


def test_speech_that_goes_on_is_told_of_every_four_frames() -> None:
    told = only(SpeechLasted, sent(TwilioIO(), *frames(".." + "#" * 6 + "." + "#" * 7)))
    assert [(round(each.from_s, 3), round(each.to_s, 3)) for each in told] == [(0.04, 0.12), (0.04, 0.2), (0.04, 0.28)]


def test_a_sound_that_is_long_enough_to_hold_the_agent_is_told_of_with_the_frame_that_makes_it_so() -> None:
    needed = "#" * round(TurnPolicy().hold_s / 0.02)
    told = sent(TwilioIO(), *frames(needed))
    assert isinstance(told[-1], SpeechLasted)
    assert told[-1].to_s - told[-1].from_s >= TurnPolicy().hold_s - 1e-6
    assert only(SpeechLasted, sent(TwilioIO(), *frames(needed[:-1]))) == []


@given(st.text(alphabet="#.", max_size=120), st.booleans())
def test_speech_starts_and_stops_in_turns_and_always_stops_with_the_line(pattern: str, hung_up: bool) -> None:
    steps = frames(pattern)
    if hung_up:
        steps.append((LineEnded(reason="stop"), 9.0))
    told = sent(TwilioIO(), *steps)
    assert len(only(CallerAudio, told)) == len(pattern)
    kinds = [type(each) for each in said(told)]
    assert kinds == [SpeechStarted, SpeechStopped] * (len(kinds) // 2) + [SpeechStarted] * (len(kinds) % 2)
    assert not (hung_up and len(kinds) % 2)
    times = [each.at_s for each in said(told)]
    assert times == sorted(times)
