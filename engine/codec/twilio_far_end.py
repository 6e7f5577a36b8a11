"""Twilio Media Streams, Twilio's own side, for tests that stand in its place: the mirror of ``twilio``."""

import base64
import json
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from engine.codec.telephony import RATE_HZ
from engine.codec.twilio import sid
from engine.codec.wire import Fields

# Ten minutes: what Twilio queues before it throws audio away (31931); and that in base64, with its message around it.
MOST_QUEUED_BYTES: Final = 600 * RATE_HZ
LONGEST_MESSAGE: Final = MOST_QUEUED_BYTES * 4 // 3 + 1024


@attrs.frozen(kw_only=True)
class QueuedMedia:
    """Audio to be played after what is queued: µ-law, any number of bytes."""

    stream_sid: str
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")


@attrs.frozen(kw_only=True)
class QueuedMark:
    """A name to be echoed when what was queued before it has been played, or cleared."""

    stream_sid: str
    name: str


@attrs.frozen(kw_only=True)
class Cleared:
    """What is queued is to be dropped, and its marks echoed."""

    stream_sid: str


Outgoing: TypeAlias = QueuedMedia | QueuedMark | Cleared


def parse_outgoing(text: str | bytes) -> Outgoing:
    """Return what Twilio was told. Raises WireError where Twilio logs 31951: a field missing, wrong or too many."""
    message = Fields.read(text, longest=LONGEST_MESSAGE)
    match message.choice("event", ("media", "mark", "clear")):
        case "media":
            inner = message.only("event", "streamSid", "media").inner("media").only("payload")
            audio = inner.base64("payload", most_bytes=MOST_QUEUED_BYTES)
            return QueuedMedia(stream_sid=sid(message, "streamSid"), audio=audio)
        case "mark":
            inner = message.only("event", "streamSid", "mark").inner("mark").only("name")
            return QueuedMark(stream_sid=sid(message, "streamSid"), name=inner.text("name"))
        case _:
            return Cleared(stream_sid=sid(message.only("event", "streamSid"), "streamSid"))


def connected() -> str:
    """Return the first message."""
    return json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})


def start(
    stream_sid: str,
    call_sid: str,
    *,
    account_sid: str = "AC" + "0" * 32,
    custom_parameters: Mapping[str, str] | None = None,
    sequence_number: int = 1,
) -> str:
    """Return the second message, of a bidirectional stream."""
    inner = {
        "accountSid": account_sid,
        "streamSid": stream_sid,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": RATE_HZ, "channels": 1},
        "customParameters": dict(custom_parameters or {}),
    }
    return _message("start", stream_sid, sequence_number, inner)


def media(stream_sid: str, audio: bytes, *, sequence_number: int, chunk: int, timestamp_ms: int) -> str:
    """Return a frame of the caller's audio; ``chunk`` counts from 1."""
    payload = base64.b64encode(audio).decode("ascii")
    inner = {"track": "inbound", "chunk": str(chunk), "timestamp": str(timestamp_ms), "payload": payload}
    return _message("media", stream_sid, sequence_number, inner)


def dtmf(stream_sid: str, digit: str, *, sequence_number: int) -> str:
    """Return a pressed key."""
    return _message("dtmf", stream_sid, sequence_number, {"track": "inbound_track", "digit": digit})


def mark(stream_sid: str, name: str, *, sequence_number: int) -> str:
    """Return a mark that comes back."""
    return _message("mark", stream_sid, sequence_number, {"name": name})


def stop(stream_sid: str, call_sid: str, *, account_sid: str = "AC" + "0" * 32, sequence_number: int) -> str:
    """Return the last message."""
    return _message("stop", stream_sid, sequence_number, {"accountSid": account_sid, "callSid": call_sid})


def _message(event: str, stream_sid: str, sequence_number: int, inner: object) -> str:
    fields = {"event": event, "sequenceNumber": str(sequence_number), event: inner, "streamSid": stream_sid}
    return json.dumps(fields, separators=(",", ":"))
