"""Flux's recogniser: its messages, its turns, and its session with a scripted peer and with the simulated vendor."""

import json
import math
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import pytest
import trio
import trio.testing
from deepgram.listen.v2.types import ListenV2CloseStream, ListenV2TurnInfo
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.codec.telephony import RATE_HZ
from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError
from engine.messages.recognition import Finalise, Recognise, Recognised, Word
from engine.providers.deepgram import FluxRecogniser, flux_wire, is_flux
from engine.providers.deepgram.fields import Complaint
from engine.providers.deepgram.flux_wire import Connected, Event, Failure, TurnInfo
from engine.providers.deepgram.turns import Turns
from engine.providers.socket import Dial, SocketClosed
from simulators import tone
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator, FluxPolicy
from simulators.faults import Close, Garble, Stall
from tests.providers import deepgram_call
from tests.providers.deepgram_call import (
    KEY,
    LONGEST,
    NAMES,
    SECONDS,
    Call,
    Seam,
    VendorEnd,
    dial_to,
    mangled,
    times_of_words,
)

CLOSE_STREAM = '{"type":"CloseStream"}'


def word(text: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    return {"word": text, "confidence": 0.98, "start": start, "end": end, **more}


def info(
    event: str,
    turn: int,
    end: float,
    *words: dict[str, Any],
    start: float = 0.0,
    number: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A TurnInfo as the vendor's documentation of 2026-07 has it."""
    message = {
        "type": "TurnInfo",
        "request_id": "3f6b9c1a-0000-4000-8000-000000000000",
        "event": event,
        "turn_index": turn,
        "audio_window_start": start,
        "audio_window_end": end,
        "transcript": " ".join(each["word"] for each in words),
        "words": [*words],
        "end_of_turn_confidence": 0.04,
        **more,
    }
    return message if number is None else {**message, "sequence_id": number}


def read(message: dict[str, Any] | str | bytes) -> flux_wire.Message | None:
    return flux_wire.read(json.dumps(message) if isinstance(message, dict) else message, longest=LONGEST).message


ONE, TWO, THREE = word("One", 0.5, 0.8), word("two", 0.9, 1.2), word("three.", 1.3, 1.7)

# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def models(draw: st.DrawFn) -> ListenV2TurnInfo:
    """What the vendor may say, made by its own package, with any field that it may leave out left out or not."""
    start, lasting = draw(SECONDS), draw(st.floats(0, 10, width=32))
    words = [
        {"word": draw(NAMES), "confidence": 0.9, "start": begin, "end": end}
        for begin, end in draw(times_of_words(0, start + lasting))
    ]
    return ListenV2TurnInfo.model_validate(
        {
            "request_id": "r",
            "sequence_id": draw(st.integers(0, 10**6)),
            "event": draw(st.sampled_from([*(each.value for each in Event), "TurnPondered"])),
            "turn_index": draw(st.integers(0, 1000)),
            "audio_window_start": start,
            "audio_window_end": start + lasting,
            "transcript": draw(NAMES),
            "words": words,
            "end_of_turn_confidence": draw(st.floats(0, 1)),
            "trigger": draw(st.none() | st.sampled_from(["model", "timeout", "manual", "of tomorrow"])),
            "languages": draw(st.none() | st.just(["en"])),
            "new_field_of_tomorrow": draw(st.none() | st.just({"deep": [1]})),
        }
    )


@given(models())
def test_whatever_the_vendors_own_package_writes_is_read_as_it_means_it(model: ListenV2TurnInfo) -> None:
    numbered = flux_wire.read(model.model_dump_json(), longest=LONGEST)
    assert numbered.sequence == model.sequence_id
    heard = numbered.message
    assert isinstance(heard, TurnInfo)
    assert heard.flaw == ""
    assert heard.text == model.transcript.strip()
    assert [(each.text, each.start_s, each.end_s) for each in heard.words] == [
        (each.word, each.start, each.end) for each in model.words
    ]
    assert (heard.start_s, heard.end_s, heard.turn) == (
        model.audio_window_start,
        model.audio_window_end,
        model.turn_index,
    )
    assert heard.event.value == (model.event if model.event != "TurnPondered" else "Update")


def test_what_we_say_is_what_the_vendors_package_says() -> None:
    assert flux_wire.CLOSE_STREAM == ListenV2CloseStream(type="CloseStream").model_dump_json() == CLOSE_STREAM


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"type": "Connected", "request_id": "r-1", "sequence_id": 0}, Connected(request_id="r-1")),
        ({"type": "ConfigureSuccess", "sequence_id": 4, "thresholds": {}}, None),
        ({"type": "Weather"}, None),
        ({"type": "Warning", "code": "SOON", "description": "d"}, Complaint(text="Warning: 'SOON' 'd'")),
        ({"type": "ConfigureFailure", "error_code": "PENDING"}, Complaint(text="ConfigureFailure: 'PENDING'")),
        (
            {"type": "Error", "code": "INTERNAL_SERVER_ERROR", "description": "d"},
            Failure(code="INTERNAL_SERVER_ERROR", text="Error: 'INTERNAL_SERVER_ERROR' 'd'"),
        ),
        ({"type": "Error", "code": 5}, Failure(code="", text="Error: 5")),
    ],
)
def test_other_kinds_of_messages_are_read(message: dict[str, Any], meaning: flux_wire.Message | None) -> None:
    assert read(message) == meaning


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good TurnInfo with one value changed, or taken out where the value is `...`."""
    message = info("Update", 0, 2.0, word("My", 1.1, 1.3), word("brakes.", 1.4, 1.9), start=1.0)
    return deepgram_call.changed(message, path, value)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x00\x01", "message of 2 bytes is binary; text allowed"),
        ("", "not json"),
        ("[]", "a json object allowed"),
        ("[" * 1_000_000, "nested too deeply"),
        ("x" * (LONGEST + 1), f"at most {LONGEST} allowed"),
        ("{}", "'type' is missing"),
        ({"type": None}, "'type' is None; a string allowed"),
        ({"type": "Weather", "sequence_id": "x"}, "'sequence_id' is 'x'"),
        (changed("event", ...), "'event' is missing"),
        (changed("event", 5), "'event' is 5"),
        (changed("turn_index", ...), "'turn_index' is missing"),
        (changed("turn_index", -1), "'turn_index' is -1"),
        (changed("turn_index", True), "'turn_index' is True"),
        (changed("audio_window_start", "1"), "'audio_window_start' is '1'"),
        (changed("audio_window_end", 0.9), "'audio_window_end' is 0.9; a number from 1 to 1e+06 allowed"),
        (changed("audio_window_end", 1e300), "'audio_window_end' is 1e+300"),
        (changed("transcript", None), "'transcript' is None"),
        (changed("transcript", "\ud800"), "whole characters"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_with_the_field_and_its_value(message: Any, text: str) -> None:
    with pytest.raises(WireError) as caught:
        read(message)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("path", "value", "flaw"),
    [
        ("words", "My brakes.", "words' is 'My brakes.'; an array allowed"),
        ("words.0", "My", "words.0' is 'My'; an object allowed"),
        ("words.0.word", ..., "words.0.word' is missing"),
        ("words.1.start", -1.0, "words.1.start' is -1.0"),
        ("words.1.start", 1.0, "words.1.start' is 1.0; a number from 1.1 to 3"),
        ("words.1.end", 1.3, "words.1.end' is 1.3; a number from 1.4 to 3"),
        ("words.1.end", 3.01, "words.1.end' is 3.01"),
        ("words.1.end", None, ""),  # times are optional
        ("words.0.start", ..., ""),
        ("words.0.confidence", ..., ""),
        ("words", None, ""),
        ("words", ..., ""),
    ],
)
def test_words_that_make_no_sense_cost_their_times_and_not_the_text(path: str, value: Any, flaw: str) -> None:
    heard = read(changed(path, value))
    assert isinstance(heard, TurnInfo)
    assert heard.text == "My brakes."
    assert flaw in heard.flaw
    assert bool(heard.flaw) == bool(flaw)
    assert bool(heard.words) == (path == "words.0.confidence")


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def heard_from(*stretches: tuple[float, float]) -> Turns:
    """A stream that was sent audio: from when, for how long."""
    turns = Turns()
    for start_s, lasting_s in stretches:
        turns.take(start_s, round(lasting_s * RATE_HZ))
        turns.timeline.sent(round(lasting_s * RATE_HZ))
    return turns


def tell(turns: Turns, *messages: dict[str, Any]) -> list[Recognised]:
    told: list[Recognised] = []
    for each in messages:
        found = read(each)
        assert isinstance(found, TurnInfo)
        told += turns.heard(found)
    return told


def shown(event: Recognised) -> tuple[str, str]:
    marks = {
        "final": event.is_final,
        "finished": event.speech_final,
        "ending": event.speech_ending,
    }
    assert event.semantic
    return event.text, " ".join(name for name, is_set in marks.items() if is_set)


def near(word: Word) -> tuple[str, float, float]:
    return word.text, round(word.start_s, 3), round(word.end_s, 3)


def test_a_turn_is_drafts_of_the_whole_and_one_final() -> None:
    turns = heard_from((10.0, 5.0))
    told = tell(
        turns,
        info("Update", 0, 0.25),
        info("StartOfTurn", 0, 0.9, ONE),
        info("Update", 0, 1.2, ONE, TWO),
        info("EagerEndOfTurn", 0, 2.0, ONE, TWO, THREE),
        info("EndOfTurn", 0, 2.2, ONE, TWO, THREE),
        info("Update", 1, 2.5, start=2.2),
    )
    assert [shown(each) for each in told] == [
        ("", "final"),
        ("One", ""),
        ("One two", ""),
        ("One two three.", "ending"),
        ("One two three.", "final finished"),
        ("", "final"),
    ]
    end = told[4]
    assert [near(each) for each in end.words] == [("One", 10.5, 10.8), ("two", 10.9, 11.2), ("three.", 11.3, 11.7)]
    assert (end.start_s, end.end_s, end.covered_s) == pytest.approx((10.5, 12.2, 12.2))


@pytest.mark.parametrize(
    ("after", "ending"),
    [
        ([], True),
        ([info("Update", 0, 2.2, ONE, TWO)], True),  # each quarter of a second, with nothing new
        ([info("Update", 0, 2.2, ONE, TWO, THREE)], False),
        ([info("TurnResumed", 0, 2.2, ONE, TWO)], False),
        ([info("TurnResumed", 0, 2.2, ONE, TWO), info("Update", 0, 2.4, ONE, TWO)], False),
        ([info("TurnResumed", 0, 2.2, ONE, TWO), info("EagerEndOfTurn", 0, 2.4, ONE, TWO)], True),
        ([info("TurnPondered", 0, 2.2, ONE, TWO)], True),
    ],
)
def test_an_end_is_expected_until_it_is_taken_back(after: list[dict[str, Any]], *, ending: bool) -> None:
    turns = heard_from((0.0, 5.0))
    assert tell(turns, info("EagerEndOfTurn", 0, 2.0, ONE, TWO), *after)[-1].speech_ending is ending


def test_the_end_expected_of_one_turn_is_not_expected_of_the_next() -> None:
    turns = heard_from((0.0, 9.0))
    told = tell(turns, info("EagerEndOfTurn", 0, 2.0, ONE), info("EndOfTurn", 0, 2.2, ONE), info("Update", 1, 5.0, ONE))
    assert [each.speech_ending for each in told] == [True, False, False]


def test_a_message_without_words_tells_how_far_nothing_was_said_less_what_may_be_a_word() -> None:
    turns = heard_from((10.0, 5.0))
    told = tell(turns, info("Update", 0, 0.25), info("Update", 0, 2.0), info("StartOfTurn", 0, 3.0))
    assert [each.covered_s for each in told] == pytest.approx([10.0, 11.5, 12.5])
    assert [(each.start_s, each.end_s) for each in told] == [(10.0, 10.0), (10.0, 11.5), (11.5, 12.5)]


def test_a_draft_covers_nothing_and_one_that_is_taken_back_is_followed_by_an_empty_final() -> None:
    turns = heard_from((10.0, 5.0))
    told = tell(turns, info("StartOfTurn", 0, 2.0, ONE), info("Update", 0, 3.0), info("EndOfTurn", 0, 4.0))
    assert [(*shown(each), each.covered_s) for each in told] == [
        ("One", "", 10.0),
        ("", "final", 12.5),
        ("", "final finished", 14.0),
    ]


def test_the_words_of_a_turn_whose_end_got_lost_are_final_when_the_next_one_begins() -> None:
    turns = heard_from((0.0, 9.0))
    told = tell(turns, info("Update", 0, 2.0, ONE, TWO), info("StartOfTurn", 1, 5.0, word("So", 4.5, 4.8)))
    assert [shown(each) for each in told] == [
        ("One two", ""),
        ("One two", "final finished"),
        ("So", ""),
    ]


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (info("EndOfTurn", 0, 2.2, ONE), "turn 0 has ended; turn 1 or 2 allowed"),
        (info("Update", 0, 2.2, ONE), "turn 0 has ended"),
        (info("Update", 3, 2.2, ONE), "turn 3 follows turn 1; 1 or 2 allowed"),
        (info("Update", 1, 9.0, ONE), "speaks of 9 s of the stream; 5 s were sent"),
    ],
)
def test_the_impossible_is_refused_and_changes_nothing(message: dict[str, Any], why: str) -> None:
    turns = heard_from((0.0, 5.0))
    tell(turns, info("EndOfTurn", 0, 2.0, ONE))
    with pytest.raises(WireError, match=why):
        tell(turns, message)
    assert [shown(each) for each in tell(turns, info("EndOfTurn", 1, 4.0, TWO))] == [("two", "final finished")]


def test_an_empty_message_of_a_turn_that_has_ended_is_only_late() -> None:
    turns = heard_from((0.0, 5.0))
    told = tell(turns, info("EndOfTurn", 0, 2.0, ONE), info("EndOfTurn", 0, 3.0), info("EndOfTurn", 1, 4.0, TWO))
    assert [shown(each) for each in told] == [("One", "final finished"), ("", "final"), ("two", "final finished")]


def test_covered_never_falls() -> None:
    turns = heard_from((0.0, 9.0))
    told = tell(turns, info("EndOfTurn", 0, 6.0, ONE), info("Update", 1, 3.0), info("EndOfTurn", 1, 4.0, TWO))
    assert [each.covered_s for each in told] == [6.0, 6.0, 6.0]


def test_covered_does_not_fall_where_a_calls_audio_goes_back_in_time() -> None:
    turns = heard_from((10.0, 2.0), (5.0, 2.0))
    told = tell(turns, info("EndOfTurn", 0, 2.0, ONE), info("EndOfTurn", 1, 4.0, word("So", 3.0, 3.5)))
    assert [each.covered_s for each in told] == pytest.approx([12.0, 12.0])


@pytest.mark.parametrize("again_s", [12.0, 14.0, 20.0])
def test_silence_of_our_own_is_one_moment_of_the_call(again_s: float) -> None:
    turns = heard_from((10.0, 2.0))
    turns.timeline.fill(2 * RATE_HZ)
    turns.timeline.sent(2 * RATE_HZ)
    turns.take(again_s, RATE_HZ)
    turns.timeline.sent(RATE_HZ)
    told = tell(
        turns,
        info("EndOfTurn", 0, 3.0, ONE),
        info("EndOfTurn", 1, 5.0, word("So", 4.25, 4.75), start=3.0),
    )
    assert told[0].covered_s == pytest.approx(12.0)
    assert [near(each) for each in told[1].words] == [("So", again_s + 0.25, again_s + 0.75)]
    assert told[1].covered_s == pytest.approx(again_s + 1.0)


@pytest.mark.parametrize(
    ("end", "settled", "covered_s"),
    [
        (1.79, None, None),
        (1.81, "One", 10.8),
        (2.21, "One two", 11.2),
        (2.71, "One two three.", 11.71),
        (4.0, "One two three.", 13.0),
    ],
)
def test_a_stream_that_is_no_more_leaves_the_words_that_are_sure(
    end: float, settled: str | None, covered_s: float | None
) -> None:
    turns = heard_from((10.0, 5.0))
    tell(turns, info("Update", 0, end, ONE, TWO, THREE))
    left = turns.settled()
    assert (None if left is None else left.text) == settled
    if left is not None:
        assert shown(left) == (settled, "final")
        assert left.covered_s == pytest.approx(covered_s)
        assert [each.text for each in left.words] == left.text.split()
    assert turns.settled() is None


def long_turn(count: int) -> list[dict[str, Any]]:
    """Words of a second each."""
    return [word(f"w{at}", at + 0.1, at + 0.9) for at in range(count)]


def test_a_long_turn_is_final_piece_by_piece_and_each_word_once() -> None:
    turns = heard_from((10.0, 60.0))
    told = []
    for count in range(1, 51):
        told += tell(turns, info("Update", 0, float(count), *long_turn(count)))
        owed_from_s = told[-1].covered_s - 10.0
        assert count - owed_from_s <= 15.2
        sure = [each.text for event in told if event.is_final for each in event.words]
        assert " ".join([*sure, told[-1].text]).split() == [f"w{at}" for at in range(count)]
    told += tell(turns, info("EndOfTurn", 0, 51.0, *long_turn(50)))
    finals = [each for each in told if each.is_final]
    assert " ".join(each.text for each in finals) == " ".join(f"w{at}" for at in range(50))
    assert [each.speech_final for each in finals] == [False, False, False, False, True]
    (last,) = tell(turns, info("EndOfTurn", 1, 53.0, transcript="So.", words=[]))
    assert shown(last) == ("So.", "final finished")


@pytest.mark.parametrize("ended", [True, False])
def test_a_long_turn_that_loses_its_times_is_what_it_was_before(*, ended: bool) -> None:
    turns = heard_from((10.0, 60.0))
    told = tell(turns, info("Update", 0, 20.0, *long_turn(20)))
    assert [each.is_final for each in told] == [True, False]
    (last,) = tell(turns, info("EndOfTurn" if ended else "Update", 0, 21.0, transcript="w0 and others", words=[]))
    assert last.text == told[-1].text
    assert last.is_final is ended


def test_the_end_of_a_long_turn_stays_expected_when_its_beginning_becomes_final() -> None:
    turns = heard_from((10.0, 60.0))
    told = tell(
        turns,
        info("EagerEndOfTurn", 0, 15.0, *long_turn(14)),
        info("Update", 0, 15.25, *long_turn(14)),
    )
    assert [shown(each)[1] for each in told] == ["ending", "final", "ending"]


def test_words_without_times_are_left_to_the_next_stream_and_told_at_the_end_of_a_call() -> None:
    untimed = info("Update", 0, 4.0, {"word": "Hello.", "confidence": 1.0})
    turns = heard_from((10.0, 5.0))
    tell(turns, untimed)
    assert turns.settled() is None
    turns = heard_from((10.0, 5.0))
    tell(turns, untimed)
    assert shown(turns.last(whole=True)) == ("Hello.", "final finished")


@pytest.mark.parametrize(("whole", "covered_s"), [(True, 15.0), (False, 13.0)])
def test_the_last_of_a_call_is_the_open_turn_as_it_stands(*, whole: bool, covered_s: float) -> None:
    turns = heard_from((10.0, 5.0))
    tell(turns, info("Update", 0, 3.0, ONE, TWO, THREE))
    last = turns.last(whole=whole)
    assert (*shown(last), last.covered_s) == ("One two three.", "final finished", covered_s)
    again = turns.last(whole=whole)
    assert (*shown(again), again.covered_s) == ("", "final", covered_s)


# ── the session ──────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Vendor(VendorEnd):
    """Numbers are put on if there are none.

    update_s: every so much audio it tells of none. goodbye, close_code: what it does when it is asked to end.
    """

    number: int = 0
    connects: bool = True
    update_s: float = math.inf
    goodbye: tuple[dict[str, Any], ...] = ()
    close_code: int | None = 1000
    _updated_s: float = 0.0

    async def opened(self) -> None:
        if self.connects:
            await self.say({"type": "Connected", "request_id": "r-1"})

    async def answered(self, message: str | bytes) -> None:
        if message == CLOSE_STREAM and self.close_code is not None:
            await self.say(*self.goodbye)
            await self.close(self.close_code)
        elif self.heard_s >= self._updated_s + self.update_s:
            self._updated_s = self.heard_s
            await self.say(info("Update", 0, self.heard_s))

    def spelt(self, message: dict[str, Any]) -> str:
        numbered = {"sequence_id": self.number, **message}
        self.number = numbered["sequence_id"] + 1
        return super().spelt(numbered)

    @property
    def asked(self) -> list[str]:
        return [each for _, each in self.messages]


def told_in(call: Call[Vendor]) -> list[tuple[str, str]]:
    """What a call was told that has words."""
    return [shown(event) for _, event in call.seam.told if event.text]


def flux_recogniser(dial: Dial, **options: Any) -> FluxRecogniser:
    return FluxRecogniser(**{"base_url": "wss://deepgram.test", "api_key": KEY, "dial": dial, **options})


def calling(
    vendor: Vendor | None = None, *, simulator: DeepgramSimulator | None = None, **options: Any
) -> AbstractAsyncContextManager[Call[Vendor]]:
    """A session of a call, which ends with the context, if it has not ended by itself."""
    connect = None if simulator is None else simulator.connect
    return deepgram_call.calling(lambda dial: flux_recogniser(dial, **options), vendor or Vendor(), connect=connect)


@pytest.mark.parametrize(
    ("model", "language", "more"),
    [
        ("flux-general-en", "en-US", [("keyterm", "Dr. Marmalade"), ("keyterm", "crown&bridge")]),
        ("flux-general-multi", "pt-BR", [("language_hint", "pt")]),
    ],
)
async def test_a_stream_is_asked_for_with_what_a_phone_call_needs(
    autojump_clock: MockClock, model: str, language: str, more: list[tuple[str, str]]
) -> None:
    keyterms = tuple(value for name, value in more if name == "keyterm")
    async with calling(model=model, language=language, keyterms=keyterms) as call:
        request = call.vendor.requests[0]
    assert urlsplit(request.path).path == "/v2/listen"
    assert sorted(parse_qsl(urlsplit(request.path).query, strict_parsing=True)) == sorted(
        [
            ("model", model),
            ("encoding", "mulaw"),
            ("sample_rate", "8000"),
            ("eot_threshold", "0.7"),
            ("eager_eot_threshold", "0.5"),
            ("eot_timeout_ms", "3000"),
            *more,
        ]
    )
    assert (b"authorization", f"Token {KEY}".encode()) in request.headers
    assert len(call.seam.opened_at) == 1


async def test_no_end_is_expected_aloud_where_that_is_switched_off(autojump_clock: MockClock) -> None:
    async with calling(eager_eot_threshold=None) as call:
        assert "eager" not in call.vendor.requests[0].path


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"model": "nova-3"}, "model is 'nova-3'; one that begins with 'flux-' allowed"),
        ({"language": "es"}, "language is 'es'; flux-general-en knows English"),
        ({"eot_threshold": 0.49}, "eot_threshold is 0.49; 0.5 to 1 allowed"),
        ({"eot_threshold": 1.01}, "eot_threshold is 1.01"),
        ({"eager_eot_threshold": 0.29}, "eager_eot_threshold is 0.29; 0.3 to 0.7 allowed"),
        ({"eager_eot_threshold": 0.71}, "eager_eot_threshold is 0.71; 0.3 to 0.7 allowed"),
        ({"eot_threshold": 1.0, "eager_eot_threshold": 0.91}, "0.3 to 0.9 allowed"),
        ({"eot_timeout_ms": 499}, "eot_timeout_ms is 499; 500 to 60000 allowed"),
        ({"eot_timeout_ms": 60_001}, "eot_timeout_ms is 60001"),
    ],
)
def test_what_the_vendor_would_refuse_is_refused_at_once(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FluxRecogniser(**{"base_url": "wss://a", "api_key": KEY, **options})
    assert why in str(caught.value)


def test_the_limits_themselves_are_allowed() -> None:
    allowed: list[dict[str, Any]] = [
        {"eot_threshold": 0.5, "eager_eot_threshold": 0.5, "eot_timeout_ms": 500},
        {"eot_threshold": 1.0, "eager_eot_threshold": 0.9, "eot_timeout_ms": 60_000},
        {"eager_eot_threshold": 0.3, "language": "en-GB"},
        {"model": "flux-general-multi", "language": "de-DE"},
    ]
    for options in allowed:
        assert FluxRecogniser(**{"base_url": "wss://a", "api_key": KEY, **options}).vendor == "deepgram"


def test_a_model_says_by_its_name_who_hears_with_it() -> None:
    assert [is_flux(each) for each in ("flux-general-en", "flux-general-multi", "nova-3", "nova-2-phonecall")] == [
        True,
        True,
        False,
        False,
    ]


async def test_the_open_connection_is_logged_with_the_vendors_own_id_and_without_the_key(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with calling():
            pass
    assert [each for each in logs if each["event"] == "deepgram opened"] == [
        {"event": "deepgram opened", "log_level": "info", "request_id": "r-1", "model": "flux-general-en"}
    ]
    assert KEY not in repr(logs) + repr(FluxRecogniser(base_url="wss://a", api_key=KEY))


async def test_nothing_is_asked_before_the_vendor_says_that_it_is_connected(autojump_clock: MockClock) -> None:
    vendor = Vendor(connects=False)
    async with calling(vendor) as call:
        await trio.sleep(9.9)
        assert not call.seam.opened_at
        await vendor.say(
            {"type": "Weather"},
            info("Update", 0, 0.0, words="none", number=5),
            "no json",
            {"type": "Connected", "request_id": "r"},
        )
        assert len(call.seam.opened_at) == 1
        early, broken = call.seam.refusals
        assert early.split("; ")[::2] == [
            "message has number 5",
            "field 'words' is 'none'",
            "message 'TurnInfo' came before 'Connected'",
        ]
        assert broken == "message is not json: 'no json'"


@pytest.mark.parametrize("by_check", [True, False])
async def test_a_vendor_that_does_not_say_so_within_ten_seconds_is_too_slow(
    autojump_clock: MockClock, *, by_check: bool
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    recogniser = flux_recogniser(dial_to(ours))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Vendor(connects=False).serve, theirs)
        seam = Seam.new()
        with pytest.raises(ProviderSlow, match="not ready 10 s after"):
            await (recogniser.check() if by_check else recogniser.session(seam))
        assert trio.current_time() == pytest.approx(10, abs=0.1)
        nursery.cancel_scope.cancel()


async def test_audio_goes_out_untouched_in_messages_of_eighty_milliseconds(autojump_clock: MockClock) -> None:
    async with calling() as call:
        spoken = bytes(range(256)) * 25  # 0.8 s
        await call.hear(spoken)
        assert call.vendor.audio == spoken
        assert call.vendor.sizes == [640] * 10


async def test_half_a_minute_that_waited_for_a_connection_goes_out_at_once(autojump_clock: MockClock) -> None:
    async with calling() as call:
        for second in range(30):
            await call.seam.asks.send(Recognise(start_s=100.0 + second, audio=bytes([second]) * RATE_HZ))
        await trio.sleep(0.3)
        assert call.vendor.audio == b"".join(bytes([second]) * RATE_HZ for second in range(30))
        assert set(call.vendor.sizes) == {640}
        assert {at for at, _ in call.vendor.got} == {0.0}


async def test_what_is_left_of_the_audio_goes_out_when_it_pauses_and_silence_follows_it(
    autojump_clock: MockClock,
) -> None:
    async with calling(Vendor(update_s=0.25)) as call:
        await call.speak(0.1)
        await trio.sleep(2.0)
        assert call.vendor.got[:3] == [(0.06, b"\x10" * 640), (0.16, b"\x10" * 160), (0.58, b"\xff" * 640)]
        rest = call.vendor.got[2:]
        assert {each for _, each in rest} == {b"\xff" * 640}
        assert [after - before for (before, _), (after, _) in pairwise(rest)] == pytest.approx([0.08] * (len(rest) - 1))
        await call.speak(0.4, from_s=0.1)
        assert call.vendor.audio.endswith(b"\xff" + b"\x10" * 3200)
        assert call.vendor.asked == []


async def test_a_network_that_holds_frames_up_for_less_than_half_a_second_leaves_no_hole(
    autojump_clock: MockClock,
) -> None:
    async with calling() as call:
        await call.speak(0.4)
        await trio.sleep(0.45)
        await call.speak(0.4, from_s=0.4)
        assert call.vendor.audio == b"\x10" * round(0.8 * RATE_HZ)


async def test_no_silence_goes_out_before_there_was_any_audio(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await trio.sleep(30)
        assert call.vendor.got == []
        assert not call.ended


async def test_no_text_but_close_stream_is_ever_sent_and_no_empty_message(autojump_clock: MockClock) -> None:
    async with calling(Vendor(update_s=0.25)) as call:
        await call.seam.asks.send(Recognise(start_s=0.0, audio=b""))
        await call.speak(1.0)
        await trio.sleep(120)
        call.scope.cancel()
        await trio.sleep(1)
        assert call.vendor.asked == [CLOSE_STREAM]
        assert 0 not in call.vendor.sizes


async def test_what_is_heard_is_told_in_order_and_in_the_calls_own_time(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.4, from_s=31.0)
        await call.vendor.say(info("StartOfTurn", 0, 1.0, ONE), info("EndOfTurn", 0, 2.0, ONE, TWO))
        assert told_in(call) == [("One", ""), ("One two", "final finished")]
        assert [near(each) for each in call.seam.told[-1][1].words] == [("One", 31.5, 31.8), ("two", 31.9, 32.2)]


# ── the end of a call ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ends_turn", [True, False])
async def test_the_last_words_are_told_whether_or_not_the_vendor_ends_the_turn(
    autojump_clock: MockClock, *, ends_turn: bool
) -> None:
    last = info("EndOfTurn" if ends_turn else "Update", 0, 2.0, ONE, TWO, THREE)
    async with calling(Vendor(goodbye=(last,))) as call:
        await call.speak(1.98, from_s=10.0)
        await call.seam.asks.send(Recognise(start_s=11.98, audio=b"\x10" * 300))
        await call.seam.asks.send(Finalise())
        await trio.sleep(0.1)
        assert call.vendor.got[-1] == (1.98, CLOSE_STREAM)
        assert call.seam.finals == ["One two three."]
        told = call.seam.told[-1][1]
        assert told.is_final
        assert told.covered_s == pytest.approx(10 + call.vendor.heard_s)
        await trio.sleep(60)
        assert not call.ended
        assert call.vendor.asked == [CLOSE_STREAM]
        assert len(call.vendor.audio) == 1.98 * RATE_HZ + 300


async def test_a_vendor_that_does_not_close_leaves_the_turn_as_it_stood(autojump_clock: MockClock) -> None:
    async with calling(Vendor(close_code=None)) as call:
        await call.speak(2.0)
        await call.vendor.say(info("Update", 0, 1.75, ONE, TWO, THREE))
        await call.seam.asks.send(Finalise())
        await trio.sleep(0.79)
        assert call.seam.finals == []
        await trio.sleep(0.02)
        assert told_in(call)[-1] == ("One two three.", "final finished")
        assert call.seam.told[-1][1].covered_s == pytest.approx(1.75)
        call.scope.cancel()
        await trio.sleep(0.1)
        assert call.vendor.asked == [CLOSE_STREAM]


async def test_a_vendor_that_talks_on_is_not_listened_to_for_longer(autojump_clock: MockClock) -> None:
    async with calling(Vendor(close_code=None)) as call:
        await call.speak(2.0)
        await call.seam.asks.send(Finalise())
        for at in range(5):
            await trio.sleep(0.2)
            await call.vendor.say(info("Update", 0, 1.5 + at / 10, ONE, TWO))
        assert call.seam.finals == ["One two"]


@pytest.mark.parametrize("code", [1000, 1011])
async def test_a_call_that_ends_in_silence_is_heard_to_its_end_if_the_vendor_says_so(
    autojump_clock: MockClock, code: int
) -> None:
    async with calling(Vendor(close_code=code)) as call:
        await call.speak(2.0, byte=b"\xff")
        await call.seam.asks.send(Finalise())
        await trio.sleep(0.1)
        assert [shown(event) for _, event in call.seam.told] == [("", "final")]
        assert call.seam.told[-1][1].covered_s == pytest.approx(2.0 if code == 1000 else 0.0)


async def test_a_call_without_audio_has_no_last_words(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.seam.asks.send(Finalise())
        await trio.sleep(0.1)
        assert [shown(event) for _, event in call.seam.told] == [("", "final")]


async def test_audio_after_the_last_words_needs_another_stream(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.seam.asks.send(Finalise())
        await call.seam.asks.send(Finalise())
        await trio.sleep(1)
        assert not call.ended
        await call.speak(0.02)
        assert [type(each) for each in call.ended] == [ProviderDown]


async def test_a_cancelled_session_closes_the_stream_at_the_vendor(autojump_clock: MockClock) -> None:
    async with calling(Vendor(close_code=None)) as call:
        await call.speak(0.4)
        call.scope.cancel()
        await trio.sleep(0.1)
        assert call.vendor.asked == [CLOSE_STREAM]
        assert call.ended_at == pytest.approx(0.4)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("INTERNAL_SERVER_ERROR", ProviderDown),
        ("UNPARSABLE_CLIENT_MESSAGE", ProviderDown),
        ("OF_TOMORROW", ProviderDown),
        ("INSUFFICIENT_PERMISSIONS", ProviderRefused),
        ("ASR_PAYMENT_REQUIRED", ProviderRefused),
    ],
)
@pytest.mark.parametrize("connects", [True, False])
async def test_an_error_of_the_vendors_ends_the_session_by_its_name(
    autojump_clock: MockClock, code: str, kind: type[ProviderError], *, connects: bool
) -> None:
    async with calling(Vendor(connects=connects)) as call:
        await call.vendor.say({"type": "Error", "code": code, "description": "d" * 500})
        await trio.sleep(0.1)
        assert [(type(each), each.code) for each in call.ended] == [(kind, code)]
        assert str(call.ended[0]).startswith(f"deepgram gave up: Error: '{code}' 'ddd")
        assert len(str(call.ended[0])) < 200


async def test_an_error_without_a_name_is_one_all_the_same(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.vendor.say({"type": "Error"})
        await trio.sleep(0.1)
        assert [(type(each), each.code) for each in call.ended] == [(ProviderDown, "")]


async def test_a_session_that_dies_in_a_turn_tells_what_is_sure_of_it_first(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.4, from_s=5.0)
        await call.vendor.say(info("Update", 0, 2.25, ONE, TWO, THREE))
        await call.vendor.close(1011, "NET-0000")
        await trio.sleep(0.1)
        assert told_in(call) == [("One two three.", ""), ("One two", "final")]
        assert call.seam.told[-1][1].covered_s == pytest.approx(6.2)
        assert [(type(each), each.code) for each in call.ended] == [(SocketClosed, "NET-0000")]


async def test_audio_of_which_no_turn_is_told_is_a_stall_and_leaves_what_is_sure(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.4)
        await call.vendor.say(info("Update", 0, 2.3, ONE, TWO))
        await call.speak(10, from_s=2.4)
        assert [type(each) for each in call.ended] == [ProviderSlow]
        assert str(call.ended[0]) == "deepgram told of no turn for 2.5 s of audio"
        assert call.ended_at == pytest.approx(5.0, abs=0.15)
        assert call.seam.finals == ["One two"]


async def test_updates_are_a_sign_of_life_and_silence_of_our_own_counts_too(autojump_clock: MockClock) -> None:
    vendor = Vendor(update_s=0.25)
    async with calling(vendor) as call:
        await call.speak(20)
        assert not call.ended
        vendor.update_s = math.inf
        await trio.sleep(10)
        assert [type(each) for each in call.ended] == [ProviderSlow]
        assert 22.2 < call.ended_at < 23.2


async def test_a_vendor_that_never_tells_of_silence_is_not_ended_for_it(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(60, byte=b"\xff")
        assert not call.ended


async def test_nobody_is_judged_while_the_actor_is_busy(autojump_clock: MockClock) -> None:
    async with calling(Vendor(update_s=0.25)) as call:
        call.seam.busy_s = 5.0
        await call.speak(30)
        assert not call.ended


@pytest.mark.parametrize("nonsense", [{"type": "TurnInfo"}, info("Update", 0, 1e5), {"type": "Weather"}])
async def test_only_what_makes_sense_is_a_sign_of_life(autojump_clock: MockClock, nonsense: dict[str, Any]) -> None:
    async with calling() as call:
        for second in range(5):
            await call.speak(1.0, from_s=second)
            if not call.ended:
                await call.vendor.say(nonsense)
        assert [type(each) for each in call.ended] == [ProviderSlow]


async def test_gaps_in_the_numbers_are_counted_and_cost_nothing(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.0)
        await call.vendor.say(
            info("StartOfTurn", 0, 1.0, ONE),
            info("Update", 0, 1.5, ONE, TWO, number=7),
            info("EndOfTurn", 0, 2.0, ONE, TWO),
        )
        assert call.seam.refusals == ["message has number 7; 2 allowed"]
        assert call.seam.finals == ["One two"]
        assert not call.ended


async def test_numbers_that_are_missing_are_not_missed(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.0)
        for each in (info("StartOfTurn", 0, 1.0, ONE), info("EndOfTurn", 0, 2.0, ONE, TWO)):
            await call.vendor.say(json.dumps(each))
        await call.vendor.say(info("Update", 1, 2.0, number=3))  # whether the others had theirs, nobody knows
        assert call.seam.finals == ["One two"]
        assert not call.seam.refusals


async def test_a_message_is_counted_once_however_much_is_wrong_with_it(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.0)
        await call.vendor.say(info("EndOfTurn", 7, 1.0, TWO, ONE, number=9))
        (why,) = call.seam.refusals
        assert why.split("; ")[::2] == [
            "message has number 9",
            "field 'words.1.start' is 0.5",
            "turn 7 follows turn 0",
        ]
        await call.vendor.say(info("EndOfTurn", 0, 1.0, ONE))
        assert len(call.seam.refusals) == 1


async def test_nonsense_is_told_of_and_the_call_goes_on(autojump_clock: MockClock) -> None:
    nonsense: list[dict[str, Any] | str | bytes] = [
        {"type": "TurnInfo"},  # with a number
        b"binary",
        "no json",
        "[" * 100_000,
        '{"type":"TurnInfo"}',
        json.dumps(info("Update", 0, 1e5)),
        json.dumps(info("Update", 9, 1.0, ONE)),
        '{"type":5}',
    ]
    async with calling() as call:
        await call.speak(2.0)
        await call.vendor.say(*nonsense, {"type": "Tomorrow"}, info("EndOfTurn", 0, 1.5, ONE))
        assert call.seam.finals == ["One"]
        assert len(call.seam.refusals) == len(nonsense)
        assert not call.ended


async def test_words_without_sense_in_their_times_are_told_without_times(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.0)
        await call.vendor.say(info("EndOfTurn", 0, 1.0, word("My", 0.9, 0.95), word("brakes.", 0.1, 0.2)))
        assert call.seam.finals == ["My brakes."]
        assert call.seam.told[-1][1].words == ()
        assert len(call.seam.refusals) == 1


async def test_the_first_of_the_vendors_complaints_are_logged(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with calling() as call:
            await call.vendor.say(*[{"type": "Warning", "code": "SOON", "description": "unknown"}] * 9)
            assert not call.seam.refusals
    warnings = [(each["event"], each["text"]) for each in logs if each["log_level"] == "warning"]
    assert warnings == [("deepgram complained", "Warning: 'SOON' 'unknown'")] * 5


GOOD: list[dict[str, Any]] = [
    json.loads(json.dumps(each))
    for each in (
        info("StartOfTurn", 0, 0.9, ONE, number=1),
        info("Update", 0, 1.2, ONE, TWO, number=2),
        info("EagerEndOfTurn", 0, 1.6, ONE, TWO, number=3),
        info("TurnResumed", 0, 1.7, ONE, TWO, number=4),
        info("EndOfTurn", 0, 1.9, ONE, TWO, THREE, number=5, trigger="model"),
        info("Update", 1, 1.9, number=6),
        {"type": "Warning", "sequence_id": 7, "code": "c", "description": "d"},
        {"type": "Connected", "sequence_id": 0, "request_id": "r"},
    )
]


@settings(max_examples=60)
@given(st.lists(mangled(GOOD), max_size=12))
def test_whatever_the_vendor_says_the_session_goes_on_and_covered_keeps_to_the_audio(
    messages: list[str | bytes],
) -> None:
    async def main() -> None:
        async with calling() as call:
            await call.hand_over(2.0, from_s=40.0)
            await call.vendor.say(*messages)
            # Which turn it is after all that, the vendor alone knows: one of these is it.
            last = word("Still here.", 1.9, 2.0)
            await call.vendor.say(*(info("EndOfTurn", turn, 2.0, last) for turn in range(15)))
            assert not call.ended
            assert told_in(call)[-1][0] == "Still here."
            call.seam.keeps_to(40.0, 42.0)

    with capture_logs():
        trio.run(main, clock=MockClock(autojump_threshold=0))


# ── at the simulated vendor ──────────────────────────────────────────────────────────────────────────────────────────

WORDS = "Hello, I need an appointment tomorrow."


def said(text: str, gap_frames: int = 3) -> bytes:
    return tone.say(text, gap_frames=gap_frames)[0]


def silence(seconds: float) -> bytes:
    return tone.SILENT_FRAME * round(seconds * 50)


def flux(**policy: Any) -> DeepgramSimulator:
    return DeepgramSimulator(policies=[DeepgramPolicy(flux=FluxPolicy(**policy))])


async def test_two_turns_are_heard_as_they_were_said(autojump_clock: MockClock) -> None:
    simulator = flux()
    async with calling(simulator=simulator) as call:
        await call.hear(silence(0.6) + said(WORDS) + silence(1.0) + said("Thank you.") + silence(1.0), from_s=3.0)
        await call.seam.asks.send(Finalise())
        await trio.sleep(1)
    assert call.seam.finals == [WORDS, "Thank you."]
    assert (WORDS, "ending") in told_in(call)
    end = next(event for _, event in call.seam.told if event.speech_final)
    _, lie = tone.say(WORDS, gap_frames=3)
    assert [each.start_s for each in end.words] == pytest.approx([3.6 + each.start_s for each in lie], abs=0.001)
    (listening,) = simulator.listenings
    assert call.seam.told[-1][1].covered_s == pytest.approx(3.0 + listening.audio_bytes / RATE_HZ)
    assert simulator.violations == []
    assert call.seam.refusals == []


async def test_strange_messages_noise_and_a_vendor_that_cannot_decide_cost_no_word(autojump_clock: MockClock) -> None:
    policy = DeepgramPolicy(strange=True, flux=FluxPolicy(wavers=3, starts_on_noise=True, word_times=False))
    simulator = DeepgramSimulator(policies=[policy])
    async with calling(simulator=simulator) as call:
        await call.hear(tone.noise(20) + silence(0.8) + said(WORDS) + silence(2.0))
    assert call.seam.finals == [WORDS]
    endings = [marks for text, marks in told_in(call) if text == WORDS]
    assert sum(before != after == "ending" for before, after in pairwise(["", *endings])) == 4
    assert simulator.violations == []
    assert call.seam.refusals == []


async def test_a_gap_in_the_audio_ends_a_turn(autojump_clock: MockClock) -> None:
    simulator = flux()
    async with calling(simulator=simulator) as call:
        await call.hear(said(WORDS))
        await trio.sleep(3)
        assert call.seam.finals == [WORDS]
        await call.hear(said("And more.") + silence(0.8), from_s=30.0)
    assert call.seam.finals == [WORDS, "And more."]
    assert call.seam.told[-1][1].covered_s > 30.0
    assert simulator.violations == []


async def test_messages_that_get_lost_cost_no_turn(autojump_clock: MockClock) -> None:
    # Among them, whichever it is, the end of the first turn.
    for first in range(2, 13):
        simulator = flux(lost=frozenset({first, first + 1}))
        async with calling(simulator=simulator) as call:
            await call.hear(said("one two three") + silence(1.0) + said("four five six") + silence(1.0))
        assert " ".join(call.seam.finals) == "one two three four five six", first
        assert len(call.seam.refusals) == 1, first


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Close(code=1011, reason="NET-0000"), SocketClosed),
        (Close(code=1006), SocketClosed),
        (Stall(), ProviderSlow),
        (Stall(reads=False), ProviderSlow),
    ],
    ids=str,
)
async def test_a_stream_that_breaks_or_falls_silent_in_a_turn_ends_the_session(
    autojump_clock: MockClock, fault: Close | Stall, kind: type[ProviderError]
) -> None:
    simulator = flux(mid_turn=fault, mid_turn_words=8)
    async with calling(simulator=simulator) as call:
        words = "one twenty three fourty five sixteen seven eight nineteen ten eleven"
        with trio.move_on_after(30):
            await call.hear(silence(1.0) + said(words) + silence(20))
        assert [isinstance(each, kind) for each in call.ended] == [True]
        (settled,) = call.seam.finals
        assert words.startswith(settled)
        assert len(settled.split()) >= 2


async def test_a_garbled_message_is_counted(autojump_clock: MockClock) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(faults=(Garble(after_messages=3),))])
    async with calling(simulator=simulator) as call:
        await call.hear(said(WORDS) + silence(0.8))
    assert call.seam.finals == [WORDS]
    assert len(call.seam.refusals) == 1


async def test_a_check_opens_a_stream_as_a_call_does_and_breaks_no_rule(autojump_clock: MockClock) -> None:
    simulator = flux()
    async with trio.open_nursery() as nursery:
        await flux_recogniser(dial_to(simulator.connect(nursery))).check()
        assert trio.current_time() < 1.0
        nursery.cancel_scope.cancel()
    assert [each.asked for each in simulator.listenings] == [["CloseStream"]]
    assert simulator.violations == []


@pytest.mark.parametrize(
    ("policy", "kind", "code"),
    [
        (DeepgramPolicy(keys=frozenset({"other"})), ProviderRefused, "401"),
        (DeepgramPolicy(forbidden_models=frozenset({"flux-general-en"})), ProviderRefused, "403"),
    ],
)
async def test_a_handshake_that_is_refused_is_named(
    autojump_clock: MockClock, policy: DeepgramPolicy, kind: type[ProviderError], code: str
) -> None:
    async with calling(simulator=DeepgramSimulator(policies=[policy])) as call:
        assert [(type(each), each.code) for each in call.ended] == [(kind, code)]


async def test_over_a_real_socket_a_turn_is_heard() -> None:
    fast = DeepgramPolicy(handshake_s=0, ingest=1000, flux=FluxPolicy(late_s=0, connected_late_s=0))
    simulator = DeepgramSimulator(policies=[fast])
    seam = Seam.new()
    async with simulator.serving() as url, trio.open_nursery() as nursery:
        recogniser = FluxRecogniser(base_url=url, api_key=KEY, model="flux-general-multi", language="es-MX")
        await recogniser.check()
        nursery.start_soon(recogniser.session, seam)
        await seam.asks.send(Recognise(start_s=0.0, audio=said(WORDS) + silence(0.5)))
        await seam.asks.send(Finalise())
        with trio.fail_after(5):
            while WORDS not in seam.finals:  # noqa: ASYNC110 - a test polls
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert simulator.violations == []
