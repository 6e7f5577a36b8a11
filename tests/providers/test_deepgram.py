"""Deepgram's recogniser: its messages, its timeline, and its session with a scripted peer in virtual time."""

import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import pytest
import trio
import trio.testing
from deepgram.listen.v1.types import (
    ListenV1CloseStream,
    ListenV1Finalize,
    ListenV1KeepAlive,
    ListenV1Results,
    ListenV1UtteranceEnd,
)
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock
from trio_websocket import wrap_server_stream

from engine.codec.telephony import FRAME_BYTES, FRAME_S, RATE_HZ
from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError
from engine.messages.recognition import Finalise, Recognise, Recognised, Word
from engine.providers.deepgram import DeepgramRecogniser, wire
from engine.providers.deepgram.fields import Complaint, StreamWord
from engine.providers.deepgram.hearing import Hearing
from engine.providers.socket import Dial, SocketClosed
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


def word(text: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    return {"word": text.lower(), "start": start, "end": end, "confidence": 0.99, "punctuated_word": text, **more}


def results(
    start: float, end: float, *words: dict[str, Any], final: bool = True, speech_final: bool = False, **more: Any
) -> dict[str, Any]:
    """A Results as the vendor's documentation of 2026-07 has it."""
    text = " ".join(each["punctuated_word"] for each in words)
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": end - start,
        "start": start,
        "is_final": final,
        "speech_final": speech_final,
        "channel": {"alternatives": [{"transcript": text, "confidence": 0.9912 if words else 0.0, "words": [*words]}]},
        "metadata": {
            "request_id": "3f6b9c1a-0000-4000-8000-000000000000",
            "model_info": {"name": "general-nova-3", "version": "2025-07-31.0", "arch": "nova-3"},
            "model_uuid": "3f6b9c1a-0000-4000-8000-000000000001",
        },
        "from_finalize": False,
        **more,
    }


def utterance_end(last_word_end: float) -> dict[str, Any]:
    return {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last_word_end}


def read(message: dict[str, Any] | str | bytes) -> wire.Message | None:
    return wire.read(json.dumps(message) if isinstance(message, dict) else message, longest=LONGEST)


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@st.composite
def models(draw: st.DrawFn) -> ListenV1Results:
    """What the vendor may say, made by its own package, with any field that it may leave out left out or not."""
    start, duration = draw(SECONDS), draw(st.floats(0, 10, width=32))
    words = [
        {
            "word": draw(NAMES),
            "start": begin,
            "end": end,
            "confidence": 0.9,
            "punctuated_word": draw(st.none() | NAMES),
            "speaker": draw(st.none() | st.integers(0, 3)),
        }
        for begin, end in draw(times_of_words(start, start + duration))
    ]
    return ListenV1Results.model_validate(
        {
            "channel_index": [0, 1],
            "start": start,
            "duration": duration,
            "is_final": draw(st.none() | st.booleans()),
            "speech_final": draw(st.none() | st.booleans()),
            "from_finalize": draw(st.none() | st.booleans()),
            "channel": {"alternatives": [{"transcript": draw(NAMES), "confidence": 0.5, "words": words}]},
            "metadata": {
                "request_id": "r",
                "model_info": {"name": "n", "version": "v", "arch": "a"},
                "model_uuid": "m",
            },
            "new_field_of_tomorrow": draw(st.none() | st.just({"deep": [1]})),
        }
    )


@given(models())
def test_whatever_the_vendors_own_package_writes_is_read_as_it_means_it(model: ListenV1Results) -> None:
    heard = read(model.model_dump_json())
    assert isinstance(heard, wire.Results)
    best = model.channel.alternatives[0]
    assert heard.flaw == ""
    assert heard.text == best.transcript.strip()
    assert [(each.text, each.start_s, each.end_s) for each in heard.words] == [
        (each.punctuated_word or each.word, each.start, each.end) for each in best.words
    ]
    assert (heard.start_s, heard.end_s) == (model.start, model.start + model.duration)
    assert heard.is_final == bool(model.is_final)
    assert heard.speech_final == bool(model.is_final and model.speech_final)


def test_what_we_say_is_what_the_vendors_package_says() -> None:
    assert wire.KEEP_ALIVE == ListenV1KeepAlive(type="KeepAlive").model_dump_json() == '{"type":"KeepAlive"}'
    assert wire.FINALIZE == ListenV1Finalize(type="Finalize").model_dump_json() == '{"type":"Finalize"}'
    assert wire.CLOSE_STREAM == ListenV1CloseStream(type="CloseStream").model_dump_json() == '{"type":"CloseStream"}'


@pytest.mark.parametrize("last_word_end", [8.35, 0.0, -1, -1.0])
def test_an_utterances_end_is_read(last_word_end: float) -> None:
    message = ListenV1UtteranceEnd(channel=[0, 1], last_word_end=last_word_end).model_dump_json()
    assert read(message) == wire.UtteranceEnd(last_word_end_s=last_word_end)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 9.54},
        {"type": "Metadata", "request_id": "r", "duration": 44.25, "models": None},
        {"type": "ConfigureSuccess"},
        {"type": "ANewKindOfTomorrow", "start": "any"},
    ],
)
def test_a_kind_that_nobody_asked_for_is_nothing(message: dict[str, Any]) -> None:
    assert read(message) is None


def test_an_error_of_the_vendors_is_its_own_words_cut_short() -> None:
    told = read({"type": "Error", "variant": "SchemaError", "description": "d" * 1000, "message": "m" * 10_000})
    assert isinstance(told, Complaint)
    assert told.text.startswith("Error: 'SchemaError' 'ddd")
    assert len(told.text) < 150


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good Results with one value changed, or taken out where the value is `...`."""
    return deepgram_call.changed(results(1.0, 2.0, word("My", 1.1, 1.3), word("brakes.", 1.4, 1.9)), path, value)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x00\x01", "message of 2 bytes is binary; text allowed"),
        (json.dumps(results(0, 1)).encode(), "is binary"),
        ("", "not json"),
        ("[]", "a json object allowed"),
        ("[" * 1_000_000, "nested too deeply"),
        ('{"type":' * 100_000, "nested too deeply"),
        ("x" * (LONGEST + 1), f"at most {LONGEST} allowed"),
        ("{}", "'type' is missing"),
        ({"type": None}, "'type' is None; a string allowed"),
        ({"type": "Results"}, "'start' is missing"),
        (changed("start", ...), "'start' is missing"),
        (changed("start", "1.0"), "'start' is '1.0'; a number from 0 to 1e+06 allowed"),
        (changed("start", True), "'start' is True"),
        (changed("start", None), "'start' is None"),
        (changed("start", -0.5), "'start' is -0.5"),
        (changed("start", 1e300), "'start' is 1e+300"),
        (changed("start", 10**400), "'start' is 1000"),
        (changed("duration", -1), "'duration' is -1"),
        (changed("duration", []), "'duration' is []"),
        (json.dumps(changed("start", 5)).replace('"start": 5', '"start": NaN', 1), "message holds NaN"),
        (json.dumps(changed("start", 5)).replace('"start": 5', '"start": 1e999', 1), "'start' is inf"),
        (changed("is_final", 1), "'is_final' is 1; true or false allowed"),
        (changed("speech_final", "true"), "'speech_final' is 'true'"),
        (changed("channel", ...), "'channel' is missing"),
        (changed("channel", []), "'channel' is []"),
        (changed("channel.alternatives", ...), "'channel.alternatives' is missing"),
        (changed("channel.alternatives", {}), "'channel.alternatives' is {}; an array allowed"),
        (changed("channel.alternatives", ["a"]), "'channel.alternatives.0' is 'a'; an object allowed"),
        (changed("channel.alternatives.0.transcript", 5), "'channel.alternatives.0.transcript' is 5"),
        (changed("channel.alternatives.0.transcript", "\ud800"), "whole characters"),
        ({"type": "UtteranceEnd"}, "'last_word_end' is missing"),
        ({"type": "UtteranceEnd", "last_word_end": "1"}, "'last_word_end' is '1'"),
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
        ("words.0.word", ..., ""),  # there is the punctuated one
        ("words.0.punctuated_word", 5, "words.0.punctuated_word' is 5"),
        ("words.1.start", None, "words.1.start' is None"),
        ("words.1.start", -1.0, "words.1.start' is -1.0"),
        ("words.1.start", 1.0, "words.1.start' is 1.0; a number from 1.1 to 3"),  # before the first one's
        ("words.1.end", 1.3, "words.1.end' is 1.3; a number from 1.4 to 3"),  # before its start
        ("words.1.end", 3.01, "words.1.end' is 3.01"),  # beyond its window
        ("words.0.start", 0.0, ""),
        ("words", None, ""),
        ("words", ..., ""),
    ],
)
def test_words_that_make_no_sense_cost_their_times_and_not_the_text(path: str, value: Any, flaw: str) -> None:
    heard = read(changed(f"channel.alternatives.0.{path}", value))
    assert isinstance(heard, wire.Results)
    assert heard.text == "My brakes."
    assert flaw in heard.flaw
    assert bool(heard.flaw) == bool(flaw)
    assert not (heard.flaw and heard.words)


def test_fields_that_nobody_reads_may_be_missing() -> None:
    message = results(1.0, 2.0, word("My", 1.1, 1.3))
    for name in ("metadata", "channel_index", "from_finalize"):
        del message[name]
    best = message["channel"]["alternatives"][0]
    del best["confidence"], best["words"][0]["confidence"], best["words"][0]["punctuated_word"]
    heard = read(message)
    assert isinstance(heard, wire.Results)
    assert heard.words == (StreamWord(text="my", start_s=1.1, end_s=1.3),)


def test_a_window_without_an_alternative_is_heard_and_empty() -> None:
    message = results(1.0, 2.0)
    message["channel"]["alternatives"] = []
    heard = read(message)
    assert isinstance(heard, wire.Results)
    assert (heard.text, heard.words, heard.end_s) == ("", (), 2.0)


# ── the timeline ─────────────────────────────────────────────────────────────────────────────────────────────────────


def heard_from(*stretches: tuple[float, float]) -> Hearing:
    """A stream that was sent audio: from when, for how long."""
    hearing = Hearing()
    for start_s, lasting_s in stretches:
        for frame in range(round(lasting_s / FRAME_S)):
            hearing.take(start_s + frame * FRAME_S, FRAME_BYTES)
            hearing.sent(FRAME_BYTES)
    return hearing


def tell(hearing: Hearing, message: dict[str, Any]) -> Recognised | None:
    match read(message):
        case wire.Results() as heard:
            return hearing.heard(heard)
        case wire.UtteranceEnd() as end:
            return hearing.ended(end)
    raise AssertionError(message)


def told(hearing: Hearing, message: dict[str, Any]) -> Recognised:
    event = tell(hearing, message)
    assert event is not None
    return event


def near(event: Recognised) -> Recognised:
    """The event with its times to the millisecond."""
    at = {name: round(getattr(event, name), 3) + 0.0 for name in ("start_s", "end_s", "covered_s")}
    words = tuple(
        Word(text=each.text, start_s=round(each.start_s, 3), end_s=round(each.end_s, 3)) for each in event.words
    )
    return attrs.evolve(event, words=words, **at)


def test_a_streams_times_are_moved_to_where_it_began_in_the_call() -> None:
    hearing = heard_from((100.0, 3.0))
    event = told(hearing, results(0.0, 2.0, word("My", 0.5, 0.75), word("brakes.", 0.75, 1.5), speech_final=True))
    assert near(event) == Recognised(
        text="My brakes.",
        words=(Word(text="My", start_s=100.5, end_s=100.75), Word(text="brakes.", start_s=100.75, end_s=101.5)),
        start_s=100.0,
        end_s=102.0,
        is_final=True,
        speech_final=True,
        covered_s=102.0,
    )


def test_what_ends_at_a_leap_ends_before_it_and_what_begins_there_begins_behind_it() -> None:
    hearing = heard_from((10.0, 2.0), (50.0, 2.0), (90.0, 2.0))
    first = near(told(hearing, results(0.0, 2.0, word("One.", 1.0, 2.0))))
    assert (first.start_s, first.end_s, first.covered_s) == (10.0, 12.0, 12.0)
    assert (first.words[0].start_s, first.words[0].end_s) == (11.0, 12.0)
    second = near(told(hearing, results(2.0, 3.0, word("Two.", 2.0, 2.5))))
    assert (second.start_s, second.end_s, second.covered_s) == (50.0, 51.0, 51.0)
    assert (second.words[0].start_s, second.words[0].end_s) == (50.0, 50.5)
    across = near(told(hearing, results(3.0, 5.0, word("Three.", 3.9, 4.5))))
    assert (across.start_s, across.end_s, across.covered_s) == (51.0, 91.0, 91.0)
    assert (across.words[0].start_s, across.words[0].end_s) == (90.0, 90.5)


@pytest.mark.parametrize(
    ("begins_s", "ends_s", "lies"), [(1.5, 2.4, (11.5, 12.0)), (1.5, 2.6, (50.0, 50.6)), (1.9, 4.3, (50.0, 52.0))]
)
def test_a_word_lies_on_the_side_of_a_leap_where_its_middle_is(
    begins_s: float, ends_s: float, lies: tuple[float, float]
) -> None:
    hearing = heard_from((10.0, 2.0), (50.0, 2.0), (90.0, 2.0))
    event = near(told(hearing, results(1.0, 4.5, word("So.", begins_s, ends_s))))
    assert (event.words[0].start_s, event.words[0].end_s) == lies


@given(
    stretches=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 300)), min_size=1, max_size=12),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=12, max_size=12),
)
def test_words_lie_where_they_were_said_over_any_number_of_leaps(
    stretches: list[tuple[int, int]], cuts: list[tuple[float, float]]
) -> None:
    """Stretches and what was left out before each of them, in frames; a word in each stretch, anywhere in it."""
    hearing, said, stream_s, call_s = Hearing(), [], 0.0, 7.0
    for (frames, left_out), (first, last) in zip(stretches, cuts, strict=False):
        call_s += left_out * FRAME_S
        hearing.take(call_s, frames * FRAME_BYTES)
        hearing.sent(frames * FRAME_BYTES)
        begins_s, ends_s = (each * (frames * FRAME_S - 0.004) + 0.002 for each in sorted((first, last)))
        said.append((word("w", stream_s + begins_s, stream_s + ends_s), call_s + begins_s, call_s + ends_s))
        stream_s, call_s = stream_s + frames * FRAME_S, call_s + frames * FRAME_S
    event = told(hearing, results(0.0, stream_s, *(each for each, _, _ in said)))
    assert [each.start_s for each in event.words] == pytest.approx([begins_s for _, begins_s, _ in said], abs=1e-6)
    assert [each.end_s for each in event.words] == pytest.approx([ends_s for _, _, ends_s in said], abs=1e-6)
    assert event.covered_s == pytest.approx(call_s, abs=0.0011)


def test_a_vendors_32_bits_do_not_jump_a_leap() -> None:
    hearing = heard_from((10.0, 15.2), (50.0, 2.0))
    assert near(told(hearing, results(0.0, 15.2000008))).covered_s == 25.2
    assert near(told(hearing, results(15.199938, 16.0))).start_s == 50.0


def test_nothing_begins_after_it_ended_not_even_at_a_leap() -> None:
    hearing = heard_from((10.0, 2.0), (50.0, 2.0))
    event = near(told(hearing, results(2.0, 2.0, word("Ah.", 2.0, 2.0))))
    assert (event.start_s, event.end_s, event.covered_s) == (50.0, 50.0, 12.0)
    assert (event.words[0].start_s, event.words[0].end_s) == (50.0, 50.0)
    assert near(told(hearing, results(0.0, 0.0))).end_s == 10.0
    assert told(hearing, results(1.9995, 3.0)).start_s == 50.0


def test_what_was_not_sent_yet_is_on_nobodys_timeline() -> None:
    hearing = heard_from((10.0, 2.0))
    hearing.take(50.0, RATE_HZ)
    event = near(told(hearing, results(1.0, 2.4, word("One", 1.0, 2.3), word("two.", 2.2, 2.3))))
    assert (event.end_s, event.covered_s) == (12.0, 12.0)
    assert event.words[0].end_s == 12.0
    hearing = heard_from((10.0, 2.0))
    event = near(told(hearing, results(1.0, 2.4, word("One", 2.2, 2.3))))
    assert (event.words[0].start_s, event.words[0].end_s) == (12.0, 12.0)


def test_frames_that_follow_each_other_but_for_rounding_are_no_leap() -> None:
    hearing = Hearing()
    for frame in range(50 * 60):
        hearing.take(7.0 + round(frame * FRAME_S + (0.0004 if frame % 2 else -0.0004), 4), FRAME_BYTES)
        hearing.sent(FRAME_BYTES)
    assert told(hearing, results(0.0, 60.0)).covered_s == pytest.approx(67.0, abs=0.001)
    assert len(hearing.timeline._stretches) == 1


def test_a_slow_drift_becomes_a_leap_before_it_is_a_millisecond_and_a_half() -> None:
    hearing = Hearing()
    for frame in range(1000):
        hearing.take(frame * (FRAME_S + 0.0001), FRAME_BYTES)
        hearing.sent(FRAME_BYTES)
    for end_s in (5.0, 10.0, 19.9):
        assert told(hearing, results(0.0, end_s)).covered_s == pytest.approx(end_s * 1.005, abs=0.0015)


def test_drafts_do_not_settle_anything() -> None:
    hearing = heard_from((10.0, 3.0))
    draft = near(told(hearing, results(0.0, 1.0, word("My", 0.5, 0.7), final=False)))
    assert (draft.text, draft.is_final, draft.speech_final, draft.covered_s) == ("My", False, False, 10.0)
    assert not told(hearing, results(0.0, 1.1, final=False, speech_final=True)).speech_final


def test_an_empty_final_moves_what_is_covered() -> None:
    hearing = heard_from((10.0, 3.0))
    event = near(told(hearing, results(0.0, 2.5)))
    assert (event.text, event.is_final, event.speech_final, event.covered_s) == ("", True, False, 12.5)


def test_a_draft_of_what_is_settled_is_dropped() -> None:
    hearing = heard_from((0.0, 5.0))
    tell(hearing, results(0.0, 2.0, word("My", 0.5, 0.7), speech_final=True))
    assert tell(hearing, results(0.0, 2.0, word("My", 0.5, 0.7), final=False)) is None
    assert tell(hearing, results(2.0, 2.5, final=False)) is not None


def test_covered_never_falls_nor_runs_ahead_of_the_audio() -> None:
    hearing = heard_from((10.0, 3.0))
    assert near(told(hearing, results(0.0, 2.0))).covered_s == 12.0
    assert near(told(hearing, results(0.0, 1.0))).covered_s == 12.0
    assert near(told(hearing, results(2.0, 3.4))).covered_s == 13.0  # the vendor's own block goes on a little
    for message in (results(0.0, 3.51), results(500.0, 501.0)):
        with pytest.raises(WireError, match=r"s of the stream; 3 s were sent"):
            tell(hearing, message)


def test_what_is_settled_is_no_more_than_was_sent_and_no_less_than_it_was() -> None:
    hearing = heard_from((0.0, 3.0))
    tell(hearing, results(0.0, 3.4))
    hearing.take(3.0, RATE_HZ)
    hearing.sent(RATE_HZ)
    assert tell(hearing, results(3.0, 3.3, word("New.", 3.0, 3.2), final=False)) is not None
    tell(hearing, results(0.0, 1.0))
    assert tell(hearing, results(1.0, 2.0, word("Old.", 1.0, 1.5), final=False)) is None


def test_audio_that_is_taken_but_not_sent_cannot_have_been_heard() -> None:
    hearing = heard_from((10.0, 1.0))
    hearing.take(11.0, RATE_HZ)
    with pytest.raises(WireError, match=r"speaks of 2 s of the stream; 1 s were sent"):
        tell(hearing, results(0.0, 2.0))


def test_results_before_any_audio_are_refused() -> None:
    with pytest.raises(WireError, match=r"0 s were sent"):
        tell(Hearing(), results(0.0, 0.1))


def test_a_call_whose_audio_goes_back_in_time_is_not_uncovered() -> None:
    hearing = heard_from((10.0, 2.0), (5.0, 2.0))
    assert near(told(hearing, results(0.0, 2.0))).covered_s == 12.0
    assert near(told(hearing, results(2.0, 4.0))).covered_s == 12.0


# ── utterances ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_utterance_is_all_its_pieces_up_to_an_end_that_may_have_no_words() -> None:
    hearing = heard_from((0.0, 10.0))
    pieces = [
        told(hearing, results(0.0, 3.0, word("My brakes", 1.0, 2.9))),
        told(hearing, results(3.0, 4.0, word("squeal.", 3.0, 3.6))),
        told(hearing, results(4.0, 4.3, speech_final=True)),
    ]
    assert [(each.text, each.is_final, each.speech_final) for each in pieces] == [
        ("My brakes", True, False),
        ("squeal.", True, False),
        ("", True, True),
    ]


def test_an_utterance_that_no_silence_ended_is_ended_by_its_words_times() -> None:
    hearing = heard_from((20.0, 10.0))
    tell(hearing, results(0.0, 3.0, word("My", 1.0, 1.2), word("brakes.", 1.2, 2.0)))
    end = told(hearing, utterance_end(2.0))
    assert near(end) == Recognised(text="", start_s=23.0, end_s=23.0, is_final=True, speech_final=True, covered_s=23.0)
    assert tell(hearing, utterance_end(2.0)) is None  # once


@pytest.mark.parametrize("last_word_end", [-1, 2.0, 0.0])
def test_an_utterance_that_has_ended_is_not_ended_again(last_word_end: float) -> None:
    hearing = heard_from((0.0, 10.0))
    tell(hearing, results(0.0, 3.0, word("My brakes.", 1.0, 2.0), speech_final=True))
    assert tell(hearing, utterance_end(last_word_end)) is None


@pytest.mark.parametrize(
    ("last_word_end", "ends"), [(-1, False), (2.0, False), (4.999, False), (5.0, True), (5.4, True)]
)
def test_a_late_end_does_not_end_the_next_utterance(last_word_end: float, *, ends: bool) -> None:
    hearing = heard_from((0.0, 10.0))
    tell(hearing, results(0.0, 3.0, word("My brakes.", 1.0, 2.0), speech_final=True))
    tell(hearing, results(3.0, 6.0, word("Hello?", 5.001, 5.4)))
    assert (tell(hearing, utterance_end(last_word_end)) is not None) is ends


def test_an_end_that_words_have_overtaken_ends_nothing() -> None:
    hearing = heard_from((0.0, 10.0))
    tell(hearing, results(0.0, 3.0, word("My brakes", 1.0, 2.0)))
    tell(hearing, results(3.0, 6.0, word("are squealing.", 4.0, 5.9)))
    assert tell(hearing, utterance_end(2.0)) is None  # the caller went on
    assert tell(hearing, utterance_end(5.9)) is not None


def test_an_end_without_words_before_it_ends_nothing() -> None:
    hearing = heard_from((0.0, 10.0))
    tell(hearing, results(0.0, 3.0, word("My brakes.", 1.0, 2.0), final=False))
    tell(hearing, results(0.0, 3.0))
    assert tell(hearing, utterance_end(2.0)) is None


def test_an_end_that_is_ahead_of_the_audio_is_refused() -> None:
    hearing = heard_from((0.0, 3.0))
    tell(hearing, results(0.0, 3.0, word("My brakes.", 1.0, 2.0)))
    with pytest.raises(WireError, match=r"speaks of 9 s"):
        tell(hearing, utterance_end(9.0))


# ── the session ──────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class Vendor(VendorEnd):
    """answer: what it says to so much audio: a message, or nothing."""

    answer: Callable[[float], dict[str, Any] | None] = lambda _: None

    async def answered(self, message: str | bytes) -> None:
        if isinstance(message, bytes) and (answer := self.answer(self.heard_s)) is not None:
            await self.say(answer)


def every_second(heard_s: float) -> Callable[[float], dict[str, Any] | None]:
    """A vendor that tells of each second of audio."""
    told_s = heard_s

    def answer(heard_s: float) -> dict[str, Any] | None:
        nonlocal told_s
        if heard_s < told_s + 1.0:
            return None
        told_s += 1.0
        return results(told_s - 1.0, told_s)

    return answer


def nova(dial: Dial, **options: Any) -> DeepgramRecogniser:
    return DeepgramRecogniser(**{"base_url": "wss://deepgram.test", "api_key": KEY, "dial": dial, **options})


def calling(vendor: Vendor | None = None, **options: Any) -> AbstractAsyncContextManager[Call[Vendor]]:
    """A session of a call, which ends with the context, if it has not ended by itself."""
    return deepgram_call.calling(lambda dial: nova(dial, **options), vendor or Vendor())


async def test_a_stream_is_asked_for_with_what_a_phone_call_needs(autojump_clock: MockClock) -> None:
    async with calling(keyterms=("Dr. Marmalade", "crown&bridge")) as call:
        request = call.vendor.requests[0]
    assert urlsplit(request.path).path == "/v1/listen"
    assert parse_qsl(urlsplit(request.path).query, strict_parsing=True) == [
        ("model", "nova-3"),
        ("language", "en-US"),
        ("encoding", "mulaw"),
        ("sample_rate", "8000"),
        ("channels", "1"),
        ("interim_results", "true"),
        ("endpointing", "240"),
        ("utterance_end_ms", "1000"),
        ("smart_format", "true"),
        ("punctuate", "true"),
        ("keyterm", "Dr. Marmalade"),
        ("keyterm", "crown&bridge"),
    ]
    assert (b"authorization", f"Token {KEY}".encode()) in request.headers
    assert len(call.seam.opened_at) == 1


async def test_the_open_connection_is_logged_with_the_vendors_own_id_and_without_the_key(
    autojump_clock: MockClock,
) -> None:
    with capture_logs() as logs:
        async with calling():
            pass
    assert [each for each in logs if each["event"] == "deepgram opened"] == [
        {"event": "deepgram opened", "log_level": "info", "request_id": "r-1", "model": "nova-3"}
    ]
    assert KEY not in repr(logs) + repr(DeepgramRecogniser(base_url="wss://a", api_key=KEY))


@pytest.mark.parametrize("chunk_ms", [40, 60, 100])
async def test_audio_goes_out_untouched_in_messages_of_the_length_that_was_set(
    chunk_ms: int, autojump_clock: MockClock
) -> None:
    async with calling(chunk_ms=chunk_ms) as call:
        spoken = bytes(range(256)) * 25  # 0.8 s
        await call.hear(spoken)
        await trio.sleep(0.2)
        assert call.vendor.audio == spoken
        assert set(call.vendor.sizes[:-1]) == {chunk_ms * 8}
        assert 0 < call.vendor.sizes[-1] <= chunk_ms * 8


@pytest.mark.parametrize("words_s", [0.20, 0.22, 0.24, 0.26])
async def test_the_message_that_completes_the_endpointing_goes_out_with_its_last_frame(
    words_s: float, autojump_clock: MockClock
) -> None:
    async with calling() as call:  # 60 ms a message, 240 of endpointing
        await call.speak(words_s)
        began = trio.current_time()
        await call.speak(0.4, from_s=words_s, byte=b"\xff")
        sent_s, at_s = 0.0, math.inf
        for at, message in call.vendor.got:
            if isinstance(message, bytes):
                sent_s += len(message) / RATE_HZ
                if sent_s > words_s + 0.24 - FRAME_S / 2:
                    at_s = min(at_s, at)
        assert at_s == pytest.approx(began + 0.24 - FRAME_S, abs=0.001)  # a frame is given as it begins
        assert all(40 <= size / 8 <= 100 for size in call.vendor.sizes)


@pytest.mark.parametrize(("chunk_ms", "allowed"), [(39, False), (40, True), (100, True), (101, False)])
def test_a_message_length_that_the_vendor_does_not_take_well_is_refused(chunk_ms: int, *, allowed: bool) -> None:
    if allowed:
        DeepgramRecogniser(base_url="wss://a", api_key=KEY, chunk_ms=chunk_ms)
        return
    with pytest.raises(ConfigError, match=rf"chunk_ms is {chunk_ms}; 40 to 100 allowed"):
        DeepgramRecogniser(base_url="wss://a", api_key=KEY, chunk_ms=chunk_ms)


async def test_what_is_left_of_the_audio_goes_out_when_it_pauses(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(0.08)
        await trio.sleep(1)
        assert [(at, len(each)) for at, each in call.vendor.got] == [(0.04, 480), (0.12, 160)]


async def test_no_empty_message_is_ever_sent(autojump_clock: MockClock) -> None:
    async with calling() as call:
        for ask in (
            Finalise(),
            Recognise(start_s=0.0, audio=b""),
            Finalise(),
            Recognise(start_s=0.0, audio=b"x" * 480),
        ):
            await call.seam.asks.send(ask)
        await trio.sleep(1)
        await call.seam.asks.send(Finalise())
        await trio.sleep(1)
        assert call.vendor.sizes == [480]


async def test_a_final_is_asked_for_after_the_last_of_the_audio(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.seam.asks.send(Recognise(start_s=0.0, audio=b"a" * 500))
        await call.seam.asks.send(Finalise())
        await call.settle()
        assert [each for _, each in call.vendor.got] == [b"a" * 480, b"a" * 20, '{"type":"Finalize"}']
        assert {at for at, _ in call.vendor.got} == {0.0}


async def test_half_a_minute_that_waited_for_a_connection_goes_out_at_once_in_messages_of_the_usual_length(
    autojump_clock: MockClock,
) -> None:
    async with calling() as call:
        for second in range(30):
            await call.seam.asks.send(Recognise(start_s=100.0 + second, audio=bytes([second]) * RATE_HZ))
        await trio.sleep(0.5)
        assert call.vendor.audio == b"".join(bytes([second]) * RATE_HZ for second in range(30))
        assert set(call.vendor.sizes) == {480}
        assert {at for at, _ in call.vendor.got} == {0.0}
        await call.vendor.say(results(0.0, 4.5, word("Hello.", 1.0, 1.5)))
        assert near(call.seam.told[0][1]).covered_s == 104.5


async def test_what_is_heard_is_told_in_order_and_in_the_calls_own_time(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.0, from_s=31.0)
        await call.vendor.say(
            results(0.0, 1.0, word("My", 0.5, 0.75), final=False),
            {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 0.5},
            results(0.0, 1.5, word("My brakes.", 0.5, 1.25)),
            utterance_end(1.25),
        )
        assert [near(event) for _, event in call.seam.told] == [
            Recognised(
                text="My",
                words=(Word(text="My", start_s=31.5, end_s=31.75),),
                start_s=31.0,
                end_s=32.0,
                is_final=False,
                speech_final=False,
                covered_s=31.0,
            ),
            Recognised(
                text="My brakes.",
                words=(Word(text="My brakes.", start_s=31.5, end_s=32.25),),
                start_s=31.0,
                end_s=32.5,
                is_final=True,
                speech_final=False,
                covered_s=32.5,
            ),
            Recognised(text="", start_s=32.5, end_s=32.5, is_final=True, speech_final=True, covered_s=32.5),
        ]


async def test_the_vendor_is_told_that_we_are_there_while_no_audio_goes_out_and_only_then(
    autojump_clock: MockClock,
) -> None:
    async with calling(Vendor(answer=every_second(0.0))) as call:
        await call.speak(6.0)
        assert call.vendor.messages == []
        await trio.sleep(11)
        assert [each for _, each in call.vendor.messages] == ['{"type":"KeepAlive"}'] * 2
        assert [at for at, _ in call.vendor.messages] == pytest.approx([10.0, 14.0], abs=0.3)
        await call.speak(4.0, from_s=17.0)
        assert len(call.vendor.messages) == 2
        assert not call.ended


async def test_a_cancelled_session_closes_the_stream_at_the_vendor(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(0.5)
        call.scope.cancel()
        await trio.sleep(0.1)
        assert call.vendor.messages == [(0.5, '{"type":"CloseStream"}')]
        assert call.vendor.ended == 1000
        assert call.ended_at == pytest.approx(0.5)


async def test_a_vendor_that_never_agrees_does_not_hold_a_cancelled_session(autojump_clock: MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    class Deaf(trio.abc.Stream):
        """Takes nothing once the call is open."""

        is_open = False

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            if self.is_open:
                await trio.sleep_forever()
            await ours.send_all(data)

        async def wait_send_all_might_not_block(self) -> None:
            await trio.lowlevel.checkpoint()

        async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
            data = await ours.receive_some(max_bytes)
            self.is_open = True
            return data

        async def aclose(self) -> None:
            await ours.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Vendor().serve, theirs)
        with trio.move_on_after(1):
            await nova(dial_to(Deaf())).session(Seam.new())
        assert trio.current_time() <= 1.7
        nursery.cancel_scope.cancel()


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────

NET_0001 = (
    "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
)


@pytest.mark.parametrize(
    ("code", "reason", "text", "name"),
    [
        (1011, NET_0001, "closed the connection with code 1011: Deepgram did not", "NET-0001"),
        (1011, NET_0001, "(it had no audio for ten seconds)", "NET-0001"),
        (1011, "NET-0001", "(it had no audio for ten seconds)", "NET-0001"),
        (1011, "NET-0000", "(it had nothing to say in time)", "NET-0000"),
        (1008, "DATA-0000", "code 1008: DATA-0000 (it could not decode the audio)", "DATA-0000"),
        (1000, "", "code 1000: no reason given", "1000"),
        (4999, "odd", "code 4999: odd", "4999"),
    ],
)
async def test_a_close_by_the_vendor_is_named_and_may_be_tried_again(
    code: int, reason: str, text: str, name: str, autojump_clock: MockClock
) -> None:
    async with calling() as call:
        await call.speak(0.5)
        await call.vendor.close(code, reason)
        await call.settle()
        assert [type(each) for each in call.ended] == [SocketClosed]
        assert isinstance(call.ended[0], ProviderDown)
        assert str(call.ended[0]).startswith("deepgram at deepgram.test ")
        assert text in str(call.ended[0])
        assert call.ended[0].code == name


async def test_what_the_vendor_said_last_is_told_although_sending_failed_first(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.0)
        call.seam.busy_s = 0.5
        assert call.vendor.connection is not None
        for message in (results(0.0, 1.0, word("One.", 0.0, 1.0)), results(1.0, 2.0, word("Two.", 1.0, 2.0))):
            await call.vendor.connection.send_message(json.dumps(message))
        await call.vendor.close(1011, "NET-0000")
        await call.speak(2.0, from_s=2.0)
        assert call.seam.texts == ["One.", "Two."]
        assert [type(each) for each in call.ended] == [SocketClosed]


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"401 Unauthorized\r\ndg-error: Invalid credentials.", ProviderRefused, "401: Invalid credentials."),
        (b"402 Payment Required\r\ndg-error: ASR_PAYMENT_REQUIRED", ProviderRefused, "402: ASR_PAYMENT_REQUIRED"),
        (b"403 Forbidden", ProviderRefused, "403"),
        (b"400 Bad Request\r\ndg-error: no such model/language/tier", ProviderRefused, "400: no such model"),
        (b"429 Too Many Requests\r\ndg-error: Too many requests.", ProviderDown, "429: Too many requests."),
        (b"503 Service Unavailable", ProviderDown, "503"),
    ],
)
@pytest.mark.parametrize("by_check", [True, False])
async def test_a_handshake_that_is_refused_is_named_at_start_and_in_a_call(
    answer: bytes, kind: type[ProviderError], text: str, by_check: bool, autojump_clock: MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def refuse() -> None:
        await theirs.receive_some()
        await theirs.send_all(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n")

    recogniser = nova(dial_to(ours), base_url="https://deepgram.test")
    seam = Seam.new()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(ProviderError) as caught:
            await (recogniser.check() if by_check else recogniser.session(seam))
    assert type(caught.value) is kind
    assert text in str(caught.value)
    assert not seam.opened_at


@pytest.mark.parametrize(("code", "raises"), [(1000, False), (None, False), (1008, True), (1011, True)])
async def test_a_check_opens_a_stream_as_a_call_does_and_closes_it(
    code: int | None, *, raises: bool, autojump_clock: MockClock
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    got: list[str | bytes] = []

    async def serve() -> None:
        async with trio.open_nursery() as nursery:
            connection = await (await wrap_server_stream(nursery, theirs)).accept()
            got.append(await connection.get_message())
            await connection.send_message('{"type":"Metadata"}')
            if code is None:
                await theirs.aclose()
            else:
                await connection.aclose(code, "DATA-0000" if raises else "")

    recogniser = nova(dial_to(ours), base_url="https://deepgram.test")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        if raises:
            with pytest.raises(ProviderDown, match=r"DATA-0000"):
                await recogniser.check()
        else:
            await recogniser.check()
    assert got == ['{"type":"CloseStream"}']


async def test_a_check_waits_a_second_for_the_close_and_no_longer(autojump_clock: MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Vendor().serve, theirs)
        await nova(dial_to(ours), base_url="https://deepgram.test").check()
        assert 1.0 <= trio.current_time() <= 1.5
        nursery.cancel_scope.cancel()


async def test_audio_that_is_answered_by_nothing_for_three_seconds_is_a_stall(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(10)
        assert [type(each) for each in call.ended] == [ProviderSlow]
        assert str(call.ended[0]) == "deepgram gave no results for 3 s of audio"
        assert call.ended_at == pytest.approx(3.04, abs=0.3)


async def test_results_without_words_are_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with calling(Vendor(answer=every_second(0.0))) as call:
        await call.speak(60)
        assert not call.ended
        assert len(call.seam.told) == 60


async def test_a_vendor_that_falls_silent_later_is_found_out_as_quickly(autojump_clock: MockClock) -> None:
    vendor = Vendor(answer=every_second(0.0))
    async with calling(vendor) as call:
        await call.speak(20)
        vendor.answer = lambda _: None
        await call.speak(10, from_s=20)
        assert [type(each) for each in call.ended] == [ProviderSlow]
        assert 22.0 < call.ended_at < 23.4


QUIET = b"\xff"


async def test_a_vendor_that_says_nothing_of_silence_is_judged_by_what_is_spoken_alone(
    autojump_clock: MockClock,
) -> None:
    vendor = Vendor()
    async with calling(vendor) as call:
        await call.speak(60, byte=QUIET)
        await call.seam.asks.send(Recognise(start_s=60.0, audio=b"\x10" * 40 + QUIET * 280))  # a click
        await call.speak(10, from_s=60.04, byte=b"\x5f")  # a line's noise
        assert not call.ended
        vendor.answer = lambda heard_s: results(70.0, heard_s, word("yes", 70.1, 70.3))
        await call.speak(1, from_s=70.04)
        vendor.answer = lambda heard_s: results(70.9, heard_s, speech_final=True)
        await call.speak(0.1, from_s=71.04, byte=QUIET)
        vendor.answer = lambda _: None
        await call.speak(60, from_s=71.14, byte=QUIET)
        assert not call.ended  # one Results without words is the end of the utterance
        await call.speak(0.5, from_s=131.14)
        await call.speak(10, from_s=131.64, byte=QUIET)
        assert [type(each) for each in call.ended] == [ProviderSlow]
        assert 134.0 < call.ended_at < 134.7


async def test_a_vendor_that_was_seen_to_tell_of_silence_owes_it(autojump_clock: MockClock) -> None:
    vendor = Vendor(answer=every_second(0.0))
    async with calling(vendor) as call:
        await call.speak(4, byte=QUIET)
        vendor.answer = lambda _: None
        await call.speak(10, from_s=4, byte=QUIET)
        assert [type(each) for each in call.ended] == [ProviderSlow]
        assert 6.0 < call.ended_at < 7.4


@pytest.mark.parametrize("nonsense", [{"type": "Results", "start": -1}, results(0.0, 1e5), {"type": "SpeechStarted"}])
async def test_only_results_that_make_sense_are_a_sign_of_life(
    nonsense: dict[str, Any], autojump_clock: MockClock
) -> None:
    async with calling(Vendor(answer=lambda _: nonsense)) as call:
        await call.speak(10)
        assert [type(each) for each in call.ended] == [ProviderSlow]


async def test_audio_that_was_answered_counts_no_more(autojump_clock: MockClock) -> None:
    vendor = Vendor(answer=every_second(0.0))
    async with calling(vendor) as call:
        await call.speak(3.2)
        vendor.answer = lambda _: None
        await call.speak(0.4, from_s=3.2)
        await trio.sleep(10)
        await call.speak(0.4, from_s=13.6)
        assert not call.ended  # a second since the last Results


async def test_nobody_is_judged_while_no_audio_goes_out(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(1.5)
        await trio.sleep(600)
        assert not call.ended
        await call.speak(0.4, from_s=601.5)
        assert not call.ended  # not two seconds yet, so a Results may be still to come
        await call.speak(0.4, from_s=601.9)
        assert [type(each) for each in call.ended] == [ProviderSlow]


async def test_an_actor_that_is_busy_is_no_fault_of_the_vendors(autojump_clock: MockClock) -> None:
    async with calling(Vendor(answer=every_second(0.0))) as call:
        call.seam.busy_s = 5.0
        await call.speak(30)
        assert not call.ended


async def test_a_process_that_was_held_up_judges_nobody_for_it(mock_clock: MockClock) -> None:
    # By hand: autojump never wakes anyone late.
    async with calling_at(mock_clock) as call:
        for frame in range(150):
            await call.seam.asks.send(Recognise(start_s=frame * FRAME_S, audio=b"\x10" * FRAME_BYTES))
        await call.settle()
        mock_clock.jump(30)
        await call.settle()
        assert not call.ended
        for _ in range(14):
            mock_clock.jump(0.25)
            await call.settle()
        assert [type(each) for each in call.ended] == [ProviderSlow]


@asynccontextmanager
async def calling_at(clock: MockClock) -> AsyncIterator[Call[Vendor]]:
    """As `calling`, for a clock that stands still: nothing may wait at the end."""
    async with calling() as call:
        yield call
        clock.autojump_threshold = 0


async def test_nonsense_is_told_of_and_the_call_goes_on(autojump_clock: MockClock) -> None:
    nonsense: list[dict[str, Any] | str | bytes] = [
        b"binary",
        "no json",
        "[" * 100_000,
        {"type": "Results"},
        results(0.0, 1e5),
        {"type": 5},
    ]
    async with calling() as call:
        await call.speak(2.0)
        await call.vendor.say(*nonsense, {"type": "Tomorrow"}, results(0.0, 1.0, word("Good.", 0.1, 0.9)))
        assert call.seam.texts == ["Good."]
        assert len(call.seam.refusals) == len(nonsense)
        assert "1.98 s were sent" in call.seam.refusals[4]
        assert not call.ended


async def test_the_first_of_the_vendors_complaints_are_logged(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with calling() as call:
            await call.vendor.say(*[{"type": "Error", "variant": "SchemaError", "description": "unknown"}] * 9)
            assert not call.seam.refusals
    warnings = [(each["event"], each["text"]) for each in logs if each["log_level"] == "warning"]
    assert warnings == [("deepgram complained", "Error: 'SchemaError' 'unknown'")] * 5


async def test_words_without_sense_in_their_times_are_told_without_times(autojump_clock: MockClock) -> None:
    async with calling() as call:
        await call.speak(2.0)
        await call.vendor.say(results(0.0, 1.0, word("My", 0.9, 0.95), word("brakes.", 0.1, 0.2)))
        assert call.seam.texts == ["My brakes."]
        assert call.seam.told[0][1].words == ()
        assert len(call.seam.refusals) == 1


GOOD: list[dict[str, Any]] = [
    json.loads(json.dumps(each))
    for each in (
        results(0.5, 1.5, word("My", 0.6, 0.9), word("brakes.", 1.0, 1.4)),
        results(1.5, 2.0, word("Yes.", 1.6, 1.9), speech_final=True),
        results(0.0, 1.0, word("My", 0.6, 0.9), final=False),
        utterance_end(1.4),
        {"type": "Error", "variant": "v", "description": "d"},
    )
]


@given(st.lists(mangled(GOOD), max_size=12))
def test_whatever_the_vendor_says_the_session_goes_on_and_covered_keeps_to_the_audio(
    messages: list[str | bytes],
) -> None:
    async def main() -> None:
        async with calling() as call:
            await call.hand_over(2.0, from_s=40.0)
            await call.vendor.say(*messages)
            await call.vendor.say(results(1.9, 2.0, word("Still here.", 1.9, 2.0), speech_final=True))
            assert not call.ended
            assert call.seam.texts[-1] == "Still here."
            call.seam.keeps_to(40.0, 42.0)

    with capture_logs():
        trio.run(main, clock=MockClock(autojump_threshold=0))
