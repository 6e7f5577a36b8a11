"""The media stream's messages, seen from the phone network: what it sends, and what it takes.

All are JSON text frames. Numbers travel as strings, except in ``mediaFormat``. What a server sends is held against the
documents to the letter: a field too many is refused like one too few.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import TypeAlias

import attrs

from simulators.twilio.codes import Code

_SHOWN_CHARACTERS = 200


@attrs.frozen(kw_only=True)
class StreamIds:
    """Whose stream it is: the identifiers that every message carries, and what the TwiML gave along."""

    account_sid: str
    call_sid: str
    stream_sid: str
    parameters: Mapping[str, str]


@attrs.frozen
class QueueMedia:
    """Play this after what is queued: any number of bytes of 8 kHz mono µ-law, without a container."""

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")


@attrs.frozen
class QueueMark:
    """Say so when all that was queued before has been played."""

    name: str


@attrs.frozen
class ClearQueue:
    """Drop what is queued."""


@attrs.frozen
class Refused:
    """A message that the phone network ignores, with a warning; the stream goes on.

    code: UNDECODABLE or NON_COMPLIANT. message: its beginning, for a reader's eyes.
    """

    code: Code
    why: str
    message: str


Heard: TypeAlias = QueueMedia | QueueMark | ClearQueue | Refused


def connected() -> str:
    """The first message of a stream, the only one without a sequence number."""
    return _dump({"event": "connected", "protocol": "Call", "version": "1.0.0"})


def start(sequence: int, ids: StreamIds) -> str:
    """The message that describes the stream."""
    description = {
        "accountSid": ids.account_sid,
        "streamSid": ids.stream_sid,
        "callSid": ids.call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": dict(ids.parameters),
    }
    return _message("start", sequence, ids, start=description)


def media(sequence: int, ids: StreamIds, *, chunk: int, timestamp_ms: int, audio: bytes) -> str:
    """Twenty milliseconds of the caller."""
    payload = base64.b64encode(audio).decode()
    fields = {"track": "inbound", "chunk": str(chunk), "timestamp": str(timestamp_ms), "payload": payload}
    return _message("media", sequence, ids, media=fields)


def dtmf(sequence: int, ids: StreamIds, *, digit: str) -> str:
    """A key. The track is spelt otherwise than in media; Twilio's documents have it so."""
    return _message("dtmf", sequence, ids, dtmf={"track": "inbound_track", "digit": digit})


def mark(sequence: int, ids: StreamIds, *, name: str) -> str:
    """The echo of a mark."""
    return _message("mark", sequence, ids, mark={"name": name})


def stop(sequence: int, ids: StreamIds) -> str:
    """The last message of a stream that the phone network ends."""
    return _message("stop", sequence, ids, stop={"accountSid": ids.account_sid, "callSid": ids.call_sid})


def read(message: str | bytes, stream_sid: str) -> Heard:
    """What a server's message asks for."""
    if isinstance(message, bytes):
        return Refused(Code.UNDECODABLE, f"binary frame of {len(message)} bytes, only text frames are read", "")
    try:
        return _read(message, stream_sid)
    except _NotCompliantError as refusal:
        return Refused(Code.NON_COMPLIANT, str(refusal), message[:_SHOWN_CHARACTERS])


class _NotCompliantError(Exception):
    """What is wrong with a message; never leaves this module."""


def _read(message: str, stream_sid: str) -> QueueMedia | QueueMark | ClearQueue:
    try:
        fields = json.loads(message)
    except ValueError as error:
        raise _NotCompliantError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise _NotCompliantError(f"a JSON {type(fields).__name__}, an object is wanted")
    event = fields.get("event")
    match event:
        case "media":
            body = _body(fields, event, stream_sid, "payload")
            return QueueMedia(_base64(body["payload"]))
        case "mark":
            return QueueMark(_body(fields, event, stream_sid, "name")["name"])
        case "clear":
            _check_keys(fields, {"event", "streamSid"}, "a clear message")
            _check_stream(fields, stream_sid)
            return ClearQueue()
        case _:
            raise _NotCompliantError(f"unknown event {event!r}; known: 'media', 'mark', 'clear'")


def _body(fields: dict[str, object], event: str, stream_sid: str, key: str) -> dict[str, str]:
    """The inner object of a message, of which ``key`` is the one field, a string."""
    _check_keys(fields, {"event", "streamSid", event}, f"a {event} message")
    _check_stream(fields, stream_sid)
    body = fields[event]
    if not isinstance(body, dict):
        raise _NotCompliantError(f"{event} is a JSON {type(body).__name__}, an object is wanted")
    _check_keys(body, {key}, f"{event}'s object")
    if not isinstance(body[key], str):
        raise _NotCompliantError(f"{event}.{key} is a {type(body[key]).__name__}, a string is wanted")
    return body


def _check_keys(fields: dict[str, object], wanted: set[str], where: str) -> None:
    if extra := sorted(fields.keys() - wanted):
        raise _NotCompliantError(f"extra field {extra[0]!r} in {where}; allowed: {', '.join(sorted(wanted))}")
    if missing := sorted(wanted - fields.keys()):
        raise _NotCompliantError(f"no field {missing[0]!r} in {where}")


def _check_stream(fields: dict[str, object], stream_sid: str) -> None:
    if fields["streamSid"] != stream_sid:
        raise _NotCompliantError(f"streamSid {fields['streamSid']!r}, this stream is {stream_sid!r}")


def _base64(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: a character beyond ASCII
        raise _NotCompliantError(f"media.payload is not base64: {error}") from error


def _message(event: str, sequence: int, ids: StreamIds, **body: object) -> str:
    return _dump({"event": event, "sequenceNumber": str(sequence), **body, "streamSid": ids.stream_sid})


def _dump(message: dict[str, object]) -> str:
    return json.dumps(message, separators=(",", ":"))
