"""Each wire's reader, given anything: it returns what it understood, or raises its family's error with a name.

Hypothesis draws the messages: any bytes, any text, and JSON whose fields have the names that the readers look for. What
is sound is said by `forms`, which shares no line with the readers.
"""

import json
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.codec import twilio
from engine.messages.errors import ProviderError, WireError
from engine.messages.model import ModelEnded, ModelText, ModelToolCall
from engine.messages.recognition import Recognised
from engine.messages.synthesis import CancelSynthesis, EndSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.claude.stream import Reader, StreamBroken
from engine.providers.deepgram import flux_wire as flux
from engine.providers.deepgram import wire as deepgram
from engine.providers.deepgram.hearing import Hearing
from engine.providers.deepgram.turns import Turns
from engine.providers.elevenlabs import wire as elevenlabs
from engine.providers.elevenlabs.contexts import Contexts, Patience
from tests.fuzz.forms import (
    LONGEST_OF_DEEPGRAM,
    Verdict,
    is_sound_twilio,
    of_claude,
    of_deepgram,
    of_elevenlabs,
    of_flux,
)
from tests.fuzz.rig import is_named

SID = "MZ" + "0" * 32
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 1, 2, 0.5, 10**15 - 1, 10**15, 1e6])
TEXTS = (
    st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "Ll"]))
    | st.sampled_from([SID, "7", "inbound", "/w==", "5", ""])
)


def json_of(names: list[str], values: list[Any]) -> st.SearchStrategy[Any]:
    """Trees of JSON whose objects have such fields, and such values among others."""
    leaves = st.none() | st.booleans() | NUMBERS | TEXTS | st.sampled_from(values)
    keys = st.sampled_from(names) | st.text(max_size=3)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=8), max_leaves=20
    )


def messages_of(names: list[str], values: list[Any]) -> st.SearchStrategy[str | bytes]:
    """Messages: of those trees as text, or anything at all."""
    trees = st.dictionaries(st.sampled_from(names), json_of(names, values), max_size=8)
    return trees.map(json.dumps) | st.text() | st.binary()


def error_of(reader: Any, *given: Any) -> str | None:
    """Return the text of the WireError that reading raises, if it does; any other error is the test's failure."""
    try:
        reader(*given)
    except WireError as error:
        text = str(error)
    else:
        return None
    assert is_named(text)
    return text


# ── Twilio ────────────────────────────────────────────────────────────────────────────────────────────────────────────

TWILIO = [
    *("event", "sequenceNumber", "streamSid", "media", "track", "chunk", "timestamp", "payload", "mark", "name"),
    *("dtmf", "digit", "stop", "accountSid", "callSid"),
]


def twilio_messages() -> st.SearchStrategy[str | bytes]:
    counts = st.sampled_from(["1", "007", 3, "x", -1, 1.0, True, "9" * 15, "9" * 16]) | NUMBERS
    media = st.fixed_dictionaries(
        {"track": st.sampled_from(["inbound", "outbound", 1]), "chunk": counts, "timestamp": counts, "payload": TEXTS}
    )
    sids = st.sampled_from([SID, "", "MZ/", SID[:-1]]) | TEXTS
    whole = st.fixed_dictionaries(
        {
            "event": st.sampled_from(["media", "mark", "dtmf", "stop", "weather"]),
            "sequenceNumber": counts,
            "streamSid": sids,
        },
        optional={
            "media": media,
            "mark": st.fixed_dictionaries({"name": TEXTS}),
            "dtmf": st.fixed_dictionaries({"digit": TEXTS}),
            "stop": st.fixed_dictionaries({"accountSid": sids, "callSid": sids}),
        },
    )
    plain = st.fixed_dictionaries(
        {
            "event": st.sampled_from(["mark", "dtmf"]),
            "sequenceNumber": counts,
            "streamSid": sids,
            "mark": st.fixed_dictionaries({"name": TEXTS}),
            "dtmf": st.fixed_dictionaries({"digit": st.sampled_from("0*#D")}),
        }
    )
    kinds = ["media", "mark", "dtmf", "stop", "start", "connected"]
    return plain.map(json.dumps) | whole.map(json.dumps) | messages_of(TWILIO, kinds)


@given(twilio_messages())
@example("[" * 100_000)
@example('{"event": "weather", "wind": NaN}')
@example('{"event": "mark", "mark": {"name": "' + "\\ud800" + '"}, "sequenceNumber": 1, "streamSid": "' + SID + '"}')
def test_what_the_phone_network_says_is_sound_or_refused_by_name(message: str | bytes) -> None:
    if error_of(twilio.parse, message) is not None:
        assert not is_sound_twilio(message, SID)
        return
    read = twilio.parse(message)
    started = isinstance(read, twilio.Start | twilio.Connected)
    elsewhere = getattr(read, "stream_sid", SID) != SID or getattr(read, "track", "inbound") != "inbound"
    assert started or elsewhere or is_sound_twilio(message, SID)


# ── Deepgram ──────────────────────────────────────────────────────────────────────────────────────────────────────────

DEEPGRAM = [
    *("type", "start", "duration", "is_final", "speech_final", "channel", "alternatives", "transcript", "words"),
    *("word", "punctuated_word", "end", "last_word_end"),
]


def deepgram_messages() -> st.SearchStrategy[str | bytes]:
    times = st.floats(0, 4) | NUMBERS
    word = st.fixed_dictionaries({"word": TEXTS, "start": times, "end": times}, optional={"punctuated_word": TEXTS})
    best = st.fixed_dictionaries({"transcript": TEXTS}, optional={"words": st.lists(word, max_size=3) | TEXTS})
    flags = st.booleans() | st.booleans() | st.none() | TEXTS
    channel = st.fixed_dictionaries({"alternatives": st.lists(best, max_size=2)})
    results = st.fixed_dictionaries(
        {"type": st.just("Results"), "start": times, "duration": times, "is_final": flags, "speech_final": flags},
        optional={"channel": channel},
    )
    plain = st.fixed_dictionaries(
        {
            "type": st.just("Results"),
            "start": st.floats(0, 4),
            "duration": st.floats(0, 4),
            "is_final": st.booleans(),
            "speech_final": st.booleans(),
            "channel": st.sampled_from(["so", ""]).map(lambda text: {"alternatives": [{"transcript": text}]}),
        }
    )
    end = st.fixed_dictionaries({"type": st.just("UtteranceEnd"), "last_word_end": times})
    kinds = ["Results", "UtteranceEnd", "Error", "Metadata"]
    return plain.map(json.dumps) | (plain | results | end).map(json.dumps) | messages_of(DEEPGRAM, kinds)


def hearing_of(seconds: int) -> Hearing:
    hearing = Hearing()
    hearing.take(100.0, seconds * 8000)
    hearing.sent(seconds * 8000)
    return hearing


@given(st.lists(deepgram_messages(), min_size=1, max_size=6))
def test_what_deepgram_says_is_sound_or_refused_by_name(messages: list[str | bytes]) -> None:
    hearing = hearing_of(3)

    def hear(message: str | bytes) -> None:
        """As the session does, up to the event."""
        match deepgram.read(message, longest=LONGEST_OF_DEEPGRAM):
            case deepgram.Results(flaw=flaw) as results:
                heard = hearing.heard(results)
                if heard is not None:
                    check_recognised(heard)
                if flaw:
                    raise WireError(flaw)
            case deepgram.UtteranceEnd() as end:
                ended = hearing.ended(end)
                if ended is not None:
                    check_recognised(ended)
            case _:
                pass

    for message in messages:
        verdict, refused = of_deepgram(message, 3.0), error_of(hear, message) is not None
        assert verdict is Verdict.EITHER or refused is (verdict is Verdict.BROKEN)


def check_recognised(heard: Recognised) -> None:
    """What reaches the call lies on its timeline, in order, and never ahead of the audio."""
    assert 100.0 <= heard.start_s <= heard.end_s <= 103.0
    assert 100.0 <= heard.covered_s <= 103.0
    assert all(100.0 <= word.start_s <= word.end_s <= 103.0 for word in heard.words)
    heard.text.encode()


# ── Deepgram Flux ─────────────────────────────────────────────────────────────────────────────────────────────────────

FLUX = [
    *("type", "sequence_id", "event", "turn_index", "audio_window_start", "audio_window_end", "transcript", "words"),
    *("word", "start", "end", "code", "description"),
]
EVENTS = ["StartOfTurn", "Update", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"]


def flux_messages() -> st.SearchStrategy[str | bytes]:
    times = st.floats(0, 4) | NUMBERS
    turns = st.integers(0, 3) | NUMBERS | TEXTS
    word = st.fixed_dictionaries({"word": TEXTS}, optional={"start": times | st.none(), "end": times | st.none()})
    info = st.fixed_dictionaries(
        {
            "type": st.just("TurnInfo"),
            "event": st.sampled_from(EVENTS) | TEXTS,
            "turn_index": turns,
            "audio_window_start": times,
            "audio_window_end": times,
            "transcript": TEXTS,
        },
        optional={"words": st.lists(word, max_size=3) | TEXTS, "sequence_id": turns | st.none()},
    )
    times_of_two = st.lists(st.floats(0, 2), min_size=4, max_size=4)
    timed = (times_of_two | times_of_two.map(sorted)).map(
        lambda at: [{"word": "so", "start": at[0], "end": at[1]}, {"word": "so", "start": at[2], "end": at[3]}]
    )
    plain: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
        {
            "type": st.just("TurnInfo"),
            "event": st.sampled_from(EVENTS),
            "turn_index": st.integers(0, 3),
            "audio_window_start": st.floats(0, 1),
            "audio_window_end": st.floats(1, 3),
            "transcript": st.sampled_from(["so so", "so", " "]),
        },
        optional={"words": timed},
    )
    kinds = ["TurnInfo", "Connected", "Error", "Warning"]
    return (plain | plain | info).map(json.dumps) | messages_of(FLUX, kinds)


@given(st.lists(flux_messages(), min_size=1, max_size=6))
def test_what_flux_says_is_sound_or_refused_by_name(messages: list[str | bytes]) -> None:
    turns, turn = Turns(), 0
    turns.take(100.0, 3 * 8000)
    turns.timeline.sent(3 * 8000)

    def hear(message: str | bytes) -> None:
        """As the session does, up to the event."""
        read = flux.read(message, longest=LONGEST_OF_DEEPGRAM).message
        if isinstance(read, flux.TurnInfo):
            for event in turns.heard(read):
                check_recognised(event)
            if read.flaw:
                raise WireError(read.flaw)

    for message in messages:
        told, refused = of_flux(message, 3.0, turn, None), error_of(hear, message) is not None
        if told.verdict is Verdict.EITHER:
            break  # and so may be its turn
        assert refused is (told.verdict is Verdict.BROKEN)
        turn = told.turn


# ── ElevenLabs ────────────────────────────────────────────────────────────────────────────────────────────────────────

ELEVENLABS = [
    *("contextId", "audio", "isFinal", "alignment", "normalizedAlignment", "chars", "charStartTimesMs"),
    *("charDurationsMs", "error", "message", "code"),
]
CONTEXTS = ["t1-1", "t2-2", "t9-9"]


def elevenlabs_messages() -> st.SearchStrategy[str | bytes]:
    times = st.lists(st.integers(0, 3000) | NUMBERS | st.booleans(), max_size=4)
    alignment = st.fixed_dictionaries(
        {"chars": st.lists(st.sampled_from(list("Heloworld ")) | TEXTS, max_size=4), "charStartTimesMs": times},
        optional={"charDurationsMs": times},
    )
    aligned = st.none() | alignment
    sound = st.fixed_dictionaries(
        {"contextId": st.sampled_from(CONTEXTS), "audio": st.none() | st.sampled_from(["", "/w==", "/////w==", "x"])},
        optional={"isFinal": st.none() | st.booleans() | TEXTS, "alignment": aligned, "normalizedAlignment": aligned},
    )
    failure = st.fixed_dictionaries({"error": TEXTS, "message": TEXTS}, optional={"code": NUMBERS})
    letters = st.integers(0, 4).map(
        lambda n: {"chars": list("Hello"[:n]), "charStartTimesMs": [70] * n, "charDurationsMs": [9] * n}
    )
    plain = st.fixed_dictionaries(
        {
            "contextId": st.sampled_from(CONTEXTS[:2]),
            "audio": st.just("/w=="),
            "isFinal": st.sampled_from([None, True]),
        },
        optional={"alignment": letters, "normalizedAlignment": letters},
    )
    return plain.map(json.dumps) | (sound | sound | failure).map(json.dumps) | messages_of(ELEVENLABS, CONTEXTS)


def contexts() -> tuple[Contexts, list[str]]:
    """A socket on which two replies are being spoken, of which one was cancelled."""
    made = Contexts(None, Patience(), 0.0)
    made.asked(Synthesise(turn=1, index=0, text="Hello"), 0.0)
    made.asked(EndSynthesis(turn=1), 0.0)
    made.asked(CancelSynthesis(turn=1), 0.0)
    made.asked(Synthesise(turn=2, index=0, text="Hello world."), 0.0)
    made.asked(Synthesise(turn=2, index=1, text="Well, well."), 0.0)
    return made, ["t1-1", "t2-2"]


@given(st.lists(elevenlabs_messages(), min_size=1, max_size=6))
def test_what_elevenlabs_says_is_sound_or_refused_by_name(messages: list[str | bytes]) -> None:
    made, open_now = contexts()
    told: list[object] = []

    def hear(message: str | bytes) -> None:
        """As the session does, up to the events."""
        read = elevenlabs.read(message)
        if isinstance(read, elevenlabs.Failure):
            assert isinstance(read.lasts, bool)
            return
        told.extend(made.heard(read, 1.0))
        if read.final:
            open_now.remove(read.context)
        if read.flaw:
            assert is_named(read.flaw)
            raise WireError(read.flaw)

    for at, message in enumerate(messages):
        verdict, refused = of_elevenlabs(message, list(open_now).__contains__), error_of(hear, message) is not None
        assert verdict is Verdict.EITHER or refused is (verdict is Verdict.BROKEN)
        told.extend(made.waited(2.0 + at))
    for event in told:
        assert isinstance(event, str | Synthesised | SynthesisEnded | ProviderError)
        if isinstance(event, Synthesised):
            assert event.turn == 2


# ── Claude ────────────────────────────────────────────────────────────────────────────────────────────────────────────

CLAUDE = [
    "type",
    "index",
    "delta",
    "content_block",
    "text",
    "partial_json",
    "id",
    "name",
    "stop_reason",
    "error",
    "message",
]
KINDS = [
    "text",
    "tool_use",
    "thinking",
    "text_delta",
    "input_json_delta",
    "end_turn",
    "max_tokens",
    "content_block_delta",
]


def claude_events() -> st.SearchStrategy[bytes]:
    indices = st.sampled_from([0, 0, 1, "1", -1, None])
    tool = st.fixed_dictionaries({"type": st.just("tool_use"), "id": st.sampled_from(["a", "", "b"]), "name": TEXTS})
    starts = st.fixed_dictionaries({"index": indices, "content_block": st.just({"type": "text", "text": ""}) | tool})
    pieces = st.sampled_from(["", "{", "}", '{"a":1}', "[", '"\\ud800"', "NaN", '{"a":' * 40 + "1" + "}" * 40])
    deltas = st.fixed_dictionaries(
        {
            "index": indices,
            "delta": st.fixed_dictionaries({"type": st.just("text_delta"), "text": TEXTS})
            | st.fixed_dictionaries({"type": st.just("input_json_delta"), "partial_json": pieces}),
        }
    )
    stops = st.fixed_dictionaries(
        {"delta": st.fixed_dictionaries({"stop_reason": st.sampled_from(["end_turn", "tool_use", None, 7])})}
    )
    drawn = st.one_of(
        starts.map(lambda data: ("content_block_start", data)),
        deltas.map(lambda data: ("content_block_delta", data)),
        st.fixed_dictionaries({"index": indices}).map(lambda data: ("content_block_stop", data)),
        stops.map(lambda data: ("message_delta", data)),
        st.just(("message_stop", {})),
        st.tuples(st.sampled_from(["ping", "error", "weather", "message_delta"]), json_of(CLAUDE, KINDS)),
    )
    spelt = drawn.map(lambda each: f"event: {each[0]}\ndata: {json.dumps(each[1])}\n\n".encode())
    return spelt | spelt | st.binary(max_size=40)


@given(
    st.lists(claude_events(), max_size=12),
    st.sampled_from(
        [b"", b'event: message_delta\ndata: {"delta":{"stop_reason":"tool_use"}}\n\nevent: message_stop\ndata: {}\n\n']
    ),
    st.integers(1, 50),
)
def test_what_claude_says_is_a_whole_reply_or_refused_by_name(events: list[bytes], end: bytes, size: int) -> None:
    body = b"".join(events) + end
    reader, told = Reader(request="r"), list[Any]()
    failure = None
    try:
        for at in range(0, len(body), size):
            told += reader.push(body[at : at + size])
        reader.closed()
    except WireError as error:
        failure = str(error)
        assert is_named(failure)
    except StreamBroken as error:
        failure = str(error)
    assert (failure is None) is (of_claude(body) is Verdict.SOUND)
    for event in told:
        assert isinstance(event, ModelText | ModelToolCall | ModelEnded)
        json.dumps(attrs.asdict(event), ensure_ascii=False, allow_nan=False).encode()
    assert [isinstance(event, ModelEnded) for event in told].count(True) == (failure is None)
    if failure is not None:
        assert not any(isinstance(event, ModelToolCall) for event in told), "a tool is called only by a whole reply"


def test_no_reader_takes_a_megabyte_of_brackets_for_more_than_it_is() -> None:
    for reader in (twilio.parse, lambda text: deepgram.read(text, longest=2**20), elevenlabs.read):
        for deep in ("[" * 900_000, '{"a":' * 200_000, '{"event":' + "[" * 60_000):
            with pytest.raises(WireError):
                reader(deep)
