"""Twilio's messages in both directions, and everything that is not quite one."""

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.codec import twilio, twilio_far_end
from engine.codec.twilio import Connected, Dtmf, Mark, Media, Start, Stop, Unknown
from engine.codec.twilio_far_end import Cleared, QueuedMark, QueuedMedia, parse_outgoing
from engine.messages.errors import WireError

STREAM = "MZ" + "3" * 32
CALL = "CA" + "1" * 32
ACCOUNT = "AC" + "0" * 32

# As Twilio's documentation shows them ("Media Streams - WebSocket messages", read 2026-11), with sids of our own.
CONNECTED = '{"event":"connected","protocol":"Call","version":"1.0.0"}'
START = (
    f'{{"event":"start","sequenceNumber":"1","start":{{"accountSid":"{ACCOUNT}","streamSid":"{STREAM}",'
    f'"callSid":"{CALL}","tracks":["inbound"],"mediaFormat":{{"encoding":"audio/x-mulaw","sampleRate":8000,'
    f'"channels":1}},"customParameters":{{"sessionKey":"abc123"}}}},"streamSid":"{STREAM}"}}'
)
MEDIA = (
    '{"event":"media","sequenceNumber":"2","media":{"track":"inbound","chunk":"1","timestamp":"40",'
    f'"payload":"/39/"}},"streamSid":"{STREAM}"}}'
)
DTMF = f'{{"event":"dtmf","streamSid":"{STREAM}","sequenceNumber":"9","dtmf":{{"track":"inbound_track","digit":"5"}}}}'
MARK = f'{{"event":"mark","sequenceNumber":"12","streamSid":"{STREAM}","mark":{{"name":"r7:3"}}}}'
STOP = (
    f'{{"event":"stop","sequenceNumber":"99","streamSid":"{STREAM}",'
    f'"stop":{{"accountSid":"{ACCOUNT}","callSid":"{CALL}"}}}}'
)

PARSED = {
    CONNECTED: Connected(protocol="Call", version="1.0.0"),
    START: Start(
        sequence_number=1,
        stream_sid=STREAM,
        account_sid=ACCOUNT,
        call_sid=CALL,
        tracks=("inbound",),
        encoding="audio/x-mulaw",
        sample_rate_hz=8000,
        channels=1,
        custom_parameters={"sessionKey": "abc123"},
    ),
    MEDIA: Media(
        sequence_number=2, stream_sid=STREAM, track="inbound", chunk=1, timestamp_ms=40, audio=b"\xff\x7f\x7f"
    ),
    DTMF: Dtmf(sequence_number=9, stream_sid=STREAM, digit="5"),
    MARK: Mark(sequence_number=12, stream_sid=STREAM, name="r7:3"),
    STOP: Stop(sequence_number=99, stream_sid=STREAM, account_sid=ACCOUNT, call_sid=CALL),
}


@pytest.mark.parametrize(("text", "expected"), PARSED.items(), ids=lambda value: type(value).__name__)
def test_what_twilio_documents_is_understood(text: str, expected: twilio.Incoming) -> None:
    assert twilio.parse(text) == expected
    assert twilio.parse(text.encode()) == expected
    assert isinstance(hash(expected), int)


@pytest.mark.parametrize("text", PARSED)
def test_fields_and_events_that_are_new_are_passed_over(text: str) -> None:
    message = json.loads(text)
    message["novelty"] = {"deep": [1.5, None, True]}
    message.get(message["event"], {})["novelty"] = 1e999
    assert (
        twilio.parse(json.dumps(message, allow_nan=False) if text == CONNECTED else _with_infinity(message))
        == (PARSED[text])
    )
    assert twilio.parse('{"event":"transcription","words":3}') == Unknown(event="transcription")


def _with_infinity(message: object) -> str:
    return json.dumps(message).replace("Infinity", "1e999")  # a number in JSON, if a large one


@pytest.mark.parametrize("field", ["sequenceNumber", "media.chunk", "media.timestamp"])
def test_a_count_may_come_as_a_number_too(field: str) -> None:
    assert twilio.parse(altered(MEDIA, field, 7)) == twilio.parse(altered(MEDIA, field, "7"))


@pytest.mark.parametrize("size_bytes", [1, 159, 160, 8000])
def test_a_frame_of_another_size_is_still_audio(size_bytes: int) -> None:
    text = altered(MEDIA, "media.payload", base64.b64encode(b"\x00" * size_bytes).decode())
    assert twilio.parse(text) == Media(
        sequence_number=2, stream_sid=STREAM, track="inbound", chunk=1, timestamp_ms=40, audio=b"\x00" * size_bytes
    )


MISSING = object()


def altered(text: str, path: str, value: object) -> str:
    message = json.loads(text)
    *parents, name = path.split(".")
    fields = message
    for parent in parents:
        fields = fields[parent]
    if value is MISSING:
        del fields[name]
    else:
        fields[name] = value
    return json.dumps(message)


BAD_FIELDS = [
    (START, "start.streamSid", "MZ1", f"field 'start.streamSid' is 'MZ1'; '{STREAM}' as beside it allowed"),
    (MEDIA, "event", MISSING, "field 'event' is missing; got ['sequenceNumber', 'media', 'streamSid']"),
    (MEDIA, "event", 5, "field 'event' is 5; a string allowed"),
    (MEDIA, "media", MISSING, "field 'media' is missing; got ['event', 'sequenceNumber', 'streamSid']"),
    (MEDIA, "media", "x", "field 'media' is 'x'; an object allowed"),
    (MEDIA, "media", None, "field 'media' is None; an object allowed"),
    (MEDIA, "media.payload", MISSING, "field 'media.payload' is missing; got ['track', 'chunk', 'timestamp']"),
    (MEDIA, "media.payload", 5, "field 'media.payload' is 5; base64 in a string allowed"),
    (MEDIA, "media.payload", "abc", "field 'media.payload' is 'abc'; base64 allowed"),
    (MEDIA, "media.payload", "ab c=", "field 'media.payload' is 'ab c='; base64 allowed"),
    (MEDIA, "media.payload", "abc=\n", "field 'media.payload' is 'abc=\\n'; base64 allowed"),
    (MEDIA, "media.payload", "ab==cd==", "field 'media.payload' is 'ab==cd=='; base64 allowed"),
    (MEDIA, "media.payload", "ab-_", "field 'media.payload' is 'ab-_'; base64 allowed"),
    (MEDIA, "media.payload", "äöü=", "field 'media.payload' is 'äöü='; base64 allowed"),
    (MEDIA, "media.payload", "", "field 'media.payload' holds 0 bytes; 1 to 8000 allowed"),
    (MEDIA, "media.payload", "AAAA" * 2667, "field 'media.payload' holds 8001 bytes; 1 to 8000 allowed"),
    (MEDIA, "media.track", "sideways", "field 'media.track' is 'sideways'; one of inbound, outbound allowed"),
    (MEDIA, "media.chunk", "-1", "field 'media.chunk' is '-1'; a whole number from 0 to 999999999999999 allowed"),
    (MEDIA, "media.chunk", -1, "field 'media.chunk' is -1; a whole number from 0 to 999999999999999 allowed"),
    (MEDIA, "media.chunk", 10**15, f"field 'media.chunk' is {10**15}; a whole number from 0 to 999999999999999"),
    (MEDIA, "media.chunk", str(10**15), f"field 'media.chunk' is '{10**15}'; a whole number from 0 to 999999"),
    (MEDIA, "media.chunk", "", "field 'media.chunk' is ''; a whole number"),
    (MEDIA, "media.chunk", True, "field 'media.chunk' is True; a whole number"),
    (MEDIA, "media.chunk", 1.0, "field 'media.chunk' is 1.0; a whole number"),
    (MEDIA, "media.chunk", "1.0", "field 'media.chunk' is '1.0'; a whole number"),
    (MEDIA, "media.chunk", "1_0", "field 'media.chunk' is '1_0'; a whole number"),
    (MEDIA, "media.chunk", "٣", "field 'media.chunk' is '٣'; a whole number"),
    (MEDIA, "media.timestamp", "NaN", "field 'media.timestamp' is 'NaN'; a whole number"),
    (MEDIA, "media.timestamp", None, "field 'media.timestamp' is None; a whole number"),
    (MEDIA, "sequenceNumber", MISSING, "field 'sequenceNumber' is missing; got ['event', 'media', 'streamSid']"),
    (MEDIA, "streamSid", MISSING, "field 'streamSid' is missing; got ['event', 'sequenceNumber', 'media']"),
    (MEDIA, "streamSid", False, "field 'streamSid' is False; a string allowed"),
    (MEDIA, "streamSid", 'M"Z', """field 'streamSid' is 'M"Z'; 1 to 64 letters, digits, '_' and '-' allowed"""),
    (MEDIA, "streamSid", "", "field 'streamSid' is ''; 1 to 64 letters, digits, '_' and '-' allowed"),
    (CONNECTED, "version", 1.0, "field 'version' is 1.0; a string allowed"),
    (CONNECTED, "protocol", MISSING, "field 'protocol' is missing; got ['event', 'version']"),
    (START, "start.callSid", MISSING, "field 'start.callSid' is missing; got ['accountSid', 'streamSid', 'tracks', "),
    (START, "start.callSid", "../x", "field 'start.callSid' is '../x'; 1 to 64 letters, digits, '_' and '-' allowed"),
    (START, "start.tracks", "inbound", "field 'start.tracks' is 'inbound'; an array of strings allowed"),
    (START, "start.tracks", ["inbound", 2], "field 'start.tracks.1' is 2; a string allowed"),
    (START, "start.mediaFormat", [], "field 'start.mediaFormat' is []; an object allowed"),
    (START, "start.mediaFormat.sampleRate", 8e3, "field 'start.mediaFormat.sampleRate' is 8000.0; a whole number"),
    (START, "start.mediaFormat.channels", MISSING, "field 'start.mediaFormat.channels' is missing; got ['encoding'"),
    (START, "start.customParameters", None, "field 'start.customParameters' is None; an object allowed"),
    (START, "start.customParameters.a", 1, "field 'start.customParameters.a' is 1; a string allowed"),
    (DTMF, "dtmf.digit", "55", "field 'dtmf.digit' is '55'; one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, *, #, A, B, C, D"),
    (DTMF, "dtmf.digit", 5, "field 'dtmf.digit' is 5; a string allowed"),
    (MARK, "mark.name", None, "field 'mark.name' is None; a string allowed"),
    (MARK, "mark.name", "\ud800", r"field 'mark.name' is '\ud800'; whole characters allowed"),
    (STOP, "stop", MISSING, "field 'stop' is missing; got ['event', 'sequenceNumber', 'streamSid']"),
]

NO_MESSAGES: list[tuple[str | bytes, str]] = [
    ("", "message is not json: ''"),
    ("hello", "message is not json: 'hello'"),
    (MEDIA + MEDIA, 'message is not json: \'{"event":'),
    (b"\xff\xfe", r"message is not utf-8 at byte 0: b'\xff\xfe'"),
    ("[1]", "message is [1]; a json object allowed"),
    ("null", "message is None; a json object allowed"),
    ('"media"', "message is 'media'; a json object allowed"),
    ('{"event":"connected","protocol":NaN}', "message holds NaN; json's own numbers allowed"),
    ('{"event":"connected","protocol":-Infinity}', "message holds -Infinity; json's own numbers allowed"),
    ('{"event":' + "[" * 5000, 'message is nested too deeply: \'{"event":[['),
    ('{"event":' + "1" * 5000 + "}", 'message is not json: \'{"event":11'),
    (" " * 65537, "message of length 65537; at most 65536 allowed"),
    (b" " * 65537, "message of length 65537; at most 65536 allowed"),
]


@pytest.mark.parametrize(("text", "path", "value", "said"), BAD_FIELDS)
def test_a_field_that_is_wrong_is_named_with_its_value_and_what_was_allowed(
    text: str, path: str, value: object, said: str
) -> None:
    with pytest.raises(WireError) as caught:
        twilio.parse(altered(text, path, value))
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("text", "said"), NO_MESSAGES)
def test_what_is_no_message_at_all_is_said_to_be_none(text: str | bytes, said: str) -> None:
    for parse in (twilio.parse, parse_outgoing):
        if len(text) > 65536 and parse is parse_outgoing:
            continue
        with pytest.raises(WireError) as caught:
            parse(text)
        assert str(caught.value).startswith(said)
        assert len(str(caught.value)) < 250


def test_nesting_just_short_of_too_deep_is_refused_by_name_as_well() -> None:
    for depth in range(900, 1000):
        for text in ("[" * depth + "]" * depth, '{"event":' + "[" * depth + "]" * depth + "}"):
            with pytest.raises(WireError):
                twilio.parse(text)


@pytest.mark.parametrize("parse", [twilio.parse, parse_outgoing])
@given(text=st.text() | st.binary())
@example(text='{"event":"\ud800"}')
def test_any_text_is_a_message_or_a_wire_error(parse: Callable[[str | bytes], object], text: str | bytes) -> None:
    try:
        parse(text)
    except WireError as error:
        str(error).encode()


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["media", "inbound"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)


@given(
    text=st.sampled_from([*PARSED, twilio.media(STREAM, b"a"), twilio.mark(STREAM, "m"), twilio.clear(STREAM)]),
    junk=JUNK,
    data=st.data(),
)
def test_a_message_with_any_value_anywhere_is_a_message_or_a_wire_error(
    text: str, junk: object, data: st.DataObject
) -> None:
    message = json.loads(text)
    fields = data.draw(st.sampled_from([message, *(value for value in message.values() if isinstance(value, dict))]))
    fields[data.draw(st.sampled_from(sorted(fields)))] = junk
    for parse in (twilio.parse, parse_outgoing):
        try:
            parse(json.dumps(message))
        except WireError as error:
            str(error).encode()


@given(audio=st.binary(min_size=1, max_size=700), name=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_the_engine_builds_is_what_twilio_reads(audio: bytes, name: str) -> None:
    assert parse_outgoing(twilio.media(STREAM, audio)) == QueuedMedia(stream_sid=STREAM, audio=audio)
    assert parse_outgoing(twilio.mark(STREAM, name)) == QueuedMark(stream_sid=STREAM, name=name)
    assert parse_outgoing(twilio.clear(STREAM)) == Cleared(stream_sid=STREAM)


def test_what_the_engine_builds_has_exactly_the_fields_of_the_documentation() -> None:
    assert json.loads(twilio.media("MZ1", b"\xff" * 160)) == {
        "event": "media",
        "streamSid": "MZ1",
        "media": {"payload": base64.b64encode(b"\xff" * 160).decode()},
    }
    assert json.loads(twilio.mark("MZ1", 'r7:"3"')) == {
        "event": "mark",
        "streamSid": "MZ1",
        "mark": {"name": 'r7:"3"'},
    }
    assert json.loads(twilio.clear("MZ1")) == {"event": "clear", "streamSid": "MZ1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            altered(twilio.clear(STREAM), "sequenceNumber", "1"),
            "unknown field 'sequenceNumber'; 'event', 'streamSid' al",
        ),
        (altered(twilio.media(STREAM, b"a"), "media.track", "x"), "unknown field 'media.track'; 'payload' allowed"),
        (altered(twilio.mark(STREAM, "m"), "mark.at", 1), "unknown field 'mark.at'; 'name' allowed"),
        (altered(twilio.clear(STREAM), "event", "stop"), "field 'event' is 'stop'; one of media, mark, clear allowed"),
        (altered(twilio.clear(STREAM), "streamSid", MISSING), "field 'streamSid' is missing; got ['event']"),
        (altered(twilio.media(STREAM, b"a"), "media.payload", "!"), "field 'media.payload' is '!'; base64 allowed"),
        (twilio.media(STREAM, b""), "field 'media.payload' holds 0 bytes; 1 to 4800000 allowed"),
        (
            twilio.media(STREAM, b"a").replace("streamSid", "stream_sid"),
            "unknown field 'stream_sid'; 'event', 'streamSi",
        ),
        (" " * 6_401_025, "message of length 6401025; at most 6401024 allowed"),
    ],
)
def test_what_twilio_would_refuse_is_refused(text: str, said: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_outgoing(text)
    assert str(caught.value).startswith(said)


def test_ten_minutes_of_audio_are_one_message_at_most() -> None:
    assert isinstance(parse_outgoing(twilio.media(STREAM, b"\x00" * 4_800_000)), QueuedMedia)
    with pytest.raises(WireError, match="holds 4800001 bytes; 1 to 4800000 allowed"):
        parse_outgoing(twilio.media(STREAM, b"\x00" * 4_800_001))


def test_what_twilios_side_builds_is_what_the_engine_reads() -> None:
    far = twilio_far_end
    built = {
        far.connected(): CONNECTED,
        far.start(STREAM, CALL, custom_parameters={"sessionKey": "abc123"}): START,
        far.media(STREAM, b"\xff\x7f\x7f", sequence_number=2, chunk=1, timestamp_ms=40): MEDIA,
        far.dtmf(STREAM, "5", sequence_number=9): DTMF,
        far.mark(STREAM, "r7:3", sequence_number=12): MARK,
        far.stop(STREAM, CALL, sequence_number=99): STOP,
    }
    for text, documented in built.items():
        assert json.loads(text) == json.loads(documented)
        assert twilio.parse(text) == PARSED[documented]


@given(
    st.from_regex(r"[0-9]{1,16}", fullmatch=True),
    st.text(alphabet="AZaz09+/=-_", max_size=24),
    st.sampled_from(["inbound", "outbound", "both"]),
    st.sampled_from([",", ", "]),
)
def test_audio_is_read_the_same_at_a_glance_and_field_by_field(number: str, payload: str, track: str, gap: str) -> None:
    text = (
        f'{{"event":"media","sequenceNumber":"{number}"{gap}"media":{{"track":"{track}","chunk":"{number}",'
        f'"timestamp":"{number}","payload":"{payload}"}},"streamSid":"MZ1"}}'
    )
    assert outcome(twilio.parse, text) == outcome(twilio._parse, text)


def outcome(parse: Callable[[str], twilio.Incoming], text: str) -> object:
    try:
        return parse(text)
    except WireError as error:
        return str(error)
