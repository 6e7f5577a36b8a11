"""Twilio Media Streams, the engine's side: what Twilio sends is parsed, what it is sent is built.

Twilio, "Media Streams - WebSocket messages", read 2026-11. Every message is a JSON text. Twilio sends its numbers as
strings and adds fields and events over time; what it is sent may have no field too many. The other side is
``twilio_far_end``.
"""

import binascii
import json
import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

from engine.codec.wire import Fields

# A `start` with every <Parameter> that TwiML can hold stays far below; a frame of 20 ms has some 400.
LONGEST_MESSAGE: Final = 65536
# A second of audio. Twilio sends 160 bytes at a time; a frame of another size is odd, not broken.
MOST_AUDIO_BYTES: Final = 8000

_KEYS: Final = tuple("0123456789*#ABCD")
_SID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@attrs.frozen(kw_only=True)
class Connected:
    """The first message on the socket."""

    protocol: str
    version: str


@attrs.frozen(kw_only=True)
class Start:
    """The second message: which call this is, and how its audio is coded (so far always audio/x-mulaw, 8000, 1)."""

    sequence_number: int
    stream_sid: str
    account_sid: str
    call_sid: str
    tracks: tuple[str, ...]
    encoding: str
    sample_rate_hz: int
    channels: int
    custom_parameters: Mapping[str, str] = attrs.field(hash=False)


@attrs.frozen(kw_only=True)
class Media:
    """Audio of the caller ("inbound"), or of what the caller hears; usually 160 bytes.

    timestamp_ms: since the stream started.
    """

    sequence_number: int
    stream_sid: str
    track: str
    chunk: int
    timestamp_ms: int
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")


@attrs.frozen(kw_only=True)
class Dtmf:
    """A key that the caller pressed: one of 0-9, *, #, A-D."""

    sequence_number: int
    stream_sid: str
    digit: str


@attrs.frozen(kw_only=True)
class Mark:
    """A mark that comes back: what was queued before it was played, or cleared."""

    sequence_number: int
    stream_sid: str
    name: str


@attrs.frozen(kw_only=True)
class Stop:
    """The last message: the call ended, or Twilio stopped the stream."""

    sequence_number: int
    stream_sid: str
    account_sid: str
    call_sid: str


@attrs.frozen(kw_only=True)
class Unknown:
    """An event that Twilio has added since."""

    event: str


Incoming: TypeAlias = Connected | Start | Media | Dtmf | Mark | Stop | Unknown


# Fifty times a second, always spelt like this: read at a glance it costs 4 µs, field by field 8. What differs in the
# least is read field by field, and refused by name there.
_MEDIA: Final = re.compile(
    r'\{"event":"media","sequenceNumber":"([0-9]{1,15})",'
    r'"media":\{"track":"(inbound|outbound)","chunk":"([0-9]{1,15})","timestamp":"([0-9]{1,15})",'
    r'"payload":"([A-Za-z0-9+/]{4,8192}={0,2})"\},"streamSid":"([A-Za-z0-9_-]{1,64})"\}'
)


def parse(text: str | bytes) -> Incoming:
    """Return what Twilio says. Raises WireError, which names the field, its value and what was allowed."""
    plain = _MEDIA.fullmatch(text) if isinstance(text, str) else None
    return (plain and _plain_media(plain)) or _parse(text)


def _plain_media(found: re.Match[str]) -> "Media | None":
    sequence, track, chunk, timestamp, payload, stream_sid = found.groups()
    try:
        audio = binascii.a2b_base64(payload, strict_mode=True)
    except ValueError:
        return None
    if not 1 <= len(audio) <= MOST_AUDIO_BYTES:
        return None
    return Media(
        sequence_number=int(sequence),
        stream_sid=stream_sid,
        track=track,
        chunk=int(chunk),
        timestamp_ms=int(timestamp),
        audio=audio,
    )


def _parse(text: str | bytes) -> Incoming:
    message = Fields.read(text, longest=LONGEST_MESSAGE)
    match message.text("event"):
        case "media":
            media = message.inner("media")
            return Media(
                sequence_number=message.count("sequenceNumber"),
                stream_sid=sid(message, "streamSid"),
                track=media.choice("track", ("inbound", "outbound")),
                chunk=media.count("chunk"),
                timestamp_ms=media.count("timestamp"),
                audio=media.base64("payload", most_bytes=MOST_AUDIO_BYTES),
            )
        case "mark":
            return Mark(
                sequence_number=message.count("sequenceNumber"),
                stream_sid=sid(message, "streamSid"),
                name=message.inner("mark").text("name"),
            )
        case "dtmf":
            return Dtmf(
                sequence_number=message.count("sequenceNumber"),
                stream_sid=sid(message, "streamSid"),
                digit=message.inner("dtmf").choice("digit", _KEYS),
            )
        case "connected":
            return Connected(protocol=message.text("protocol"), version=message.text("version"))
        case "start":
            return _start(message)
        case "stop":
            stop = message.inner("stop")
            return Stop(
                sequence_number=message.count("sequenceNumber"),
                stream_sid=sid(message, "streamSid"),
                account_sid=sid(stop, "accountSid"),
                call_sid=sid(stop, "callSid"),
            )
        case event:
            return Unknown(event=event)


def _start(message: Fields) -> Start:
    start = message.inner("start")
    coding = start.inner("mediaFormat")
    parameters = start.inner("customParameters")
    stream_sid = sid(message, "streamSid")
    if "streamSid" in start.values and sid(start, "streamSid") != stream_sid:
        start.refuse("streamSid", f"{stream_sid!r} as beside it")
    return Start(
        sequence_number=message.count("sequenceNumber"),
        stream_sid=stream_sid,
        account_sid=sid(start, "accountSid"),
        call_sid=sid(start, "callSid"),
        tracks=start.texts("tracks"),
        encoding=coding.text("encoding"),
        sample_rate_hz=coding.count("sampleRate"),
        channels=coding.count("channels"),
        custom_parameters={name: parameters.text(name) for name in parameters.values},
    )


def sid(fields: Fields, name: str) -> str:
    """Return an identifier, safe in a URL, in a file's name and between JSON's quotation marks."""
    value = fields.text(name)
    if not _SID.fullmatch(value):
        fields.refuse(name, "1 to 64 letters, digits, '_' and '-'")
    return value


def media(stream_sid: str, audio: bytes) -> str:
    """Return the message that queues ``audio``, µ-law of any length, for the caller.

    Joined, not dumped, because each call sends fifty a second: ``stream_sid`` must be one that ``parse`` returned.
    """
    payload = binascii.b2a_base64(audio, newline=False).decode("ascii")
    return f'{{"event":"media","streamSid":"{stream_sid}","media":{{"payload":"{payload}"}}}}'


def mark(stream_sid: str, name: str) -> str:
    """Return the message that asks for an echo of ``name`` when all audio queued before it was played, or cleared."""
    return json.dumps({"event": "mark", "streamSid": stream_sid, "mark": {"name": name}})


def clear(stream_sid: str) -> str:
    """Return the message that drops all queued audio and brings every outstanding mark back at once."""
    return json.dumps({"event": "clear", "streamSid": stream_sid})
