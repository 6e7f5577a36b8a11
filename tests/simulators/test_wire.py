"""The media stream's messages, to the letter."""

import base64
import json
from typing import Any

import pytest

from simulators.twilio import wire
from simulators.twilio.codes import Code

AC, CA, MZ = "AC" + "0" * 32, "CA" + "1" * 32, "MZ" + "2" * 32
IDS = wire.StreamIds(account_sid=AC, call_sid=CA, stream_sid=MZ, parameters={"sessionKey": "abc123"})


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (wire.connected(), {"event": "connected", "protocol": "Call", "version": "1.0.0"}),
        (
            wire.start(1, IDS),
            {
                "event": "start",
                "sequenceNumber": "1",
                "start": {
                    "accountSid": AC,
                    "streamSid": MZ,
                    "callSid": CA,
                    "tracks": ["inbound"],
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": {"sessionKey": "abc123"},
                },
                "streamSid": MZ,
            },
        ),
        (
            wire.media(2, IDS, chunk=1, timestamp_ms=40, audio=b"\xff" * 160),
            {
                "event": "media",
                "sequenceNumber": "2",
                "media": {"track": "inbound", "chunk": "1", "timestamp": "40", "payload": "/////" * 42 + "///w=="},
                "streamSid": MZ,
            },
        ),
        (
            wire.dtmf(9, IDS, digit="5"),
            {"event": "dtmf", "sequenceNumber": "9", "dtmf": {"track": "inbound_track", "digit": "5"}, "streamSid": MZ},
        ),
        (
            wire.mark(12, IDS, name="r7:3"),
            {"event": "mark", "sequenceNumber": "12", "mark": {"name": "r7:3"}, "streamSid": MZ},
        ),
        (
            wire.stop(99, IDS),
            {"event": "stop", "sequenceNumber": "99", "stop": {"accountSid": AC, "callSid": CA}, "streamSid": MZ},
        ),
    ],
)
def test_a_message_is_what_twilio_sends(message: str, expected: dict[str, Any]) -> None:
    assert json.loads(message) == expected


def _media(**changes: Any) -> dict[str, Any]:
    return {"event": "media", "streamSid": MZ, "media": {"payload": base64.b64encode(b"\xff\x7f").decode()}, **changes}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (_media(), wire.QueueMedia(b"\xff\x7f")),
        (_media(media={"payload": ""}), wire.QueueMedia(b"")),
        ({"event": "mark", "streamSid": MZ, "mark": {"name": "a b"}}, wire.QueueMark("a b")),
        ({"event": "clear", "streamSid": MZ}, wire.ClearQueue()),
    ],
)
def test_what_the_documents_have_is_taken(message: dict[str, Any], expected: wire.Heard) -> None:
    assert wire.read(json.dumps(message), MZ) == expected


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "a JSON list, an object is wanted"),
        ("null", "a JSON NoneType"),
        ({"streamSid": MZ}, "unknown event None; known: 'media', 'mark', 'clear'"),
        ({"event": "Media", "streamSid": MZ}, "unknown event 'Media'"),
        ({"event": "stop", "streamSid": MZ}, "unknown event 'stop'"),
        ({"event": ["media"], "streamSid": MZ}, "unknown event ['media']"),
        (_media(sequenceNumber="1"), "extra field 'sequenceNumber' in a media message"),
        (_media(media={"payload": "/w==", "track": "outbound"}), "extra field 'track' in media's object"),
        (_media(media={}), "no field 'payload' in media's object"),
        (_media(media="/w=="), "media is a JSON str, an object is wanted"),
        (_media(media={"payload": [1]}), "media.payload is a list, a string is wanted"),
        (_media(media={"payload": "%%%%"}), "media.payload is not base64"),
        (_media(media={"payload": "/w="}), "media.payload is not base64"),
        (_media(media={"payload": "é"}), "media.payload is not base64"),
        (_media(streamSid="MZ" + "3" * 32), "this stream is 'MZ2"),
        ({"event": "media", "stream_sid": MZ, "media": {"payload": "/w=="}}, "extra field 'stream_sid'"),
        ({"event": "media", "media": {"payload": "/w=="}}, "no field 'streamSid'"),
        ({"event": "media", "streamSid": MZ}, "no field 'media'"),
        ({"event": "mark", "streamSid": MZ, "mark": {"name": 3}}, "mark.name is a int, a string is wanted"),
        ({"event": "mark", "streamSid": MZ, "mark": {"name": "a", "x": 1}}, "extra field 'x' in mark's object"),
        ({"event": "clear"}, "no field 'streamSid'"),
        ({"event": "clear", "streamSid": MZ, "clear": {}}, "extra field 'clear' in a clear message"),
        ({"event": "clear", "streamSid": "MZ"}, "streamSid 'MZ', this stream is"),
    ],
)
def test_anything_else_does_not_comply(message: str | dict[str, Any], why: str) -> None:
    refused = wire.read(message if isinstance(message, str) else json.dumps(message), MZ)
    assert isinstance(refused, wire.Refused)
    assert refused.code is Code.NON_COMPLIANT
    assert why in refused.why


def test_a_binary_frame_cannot_be_decoded() -> None:
    refused = wire.read(json.dumps(_media()).encode(), MZ)
    assert isinstance(refused, wire.Refused)
    assert refused.code is Code.UNDECODABLE
