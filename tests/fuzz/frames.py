"""The frames of the media socket: broken messages, whole, and messages in broken frames (RFC 6455)."""

import random
import re
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import attrs
import trio

from simulators.twilio import wire
from tests.fuzz.forms import LONGEST_OF_TWILIO, is_sound_twilio
from tests.fuzz.loopback import ANSWER_S, Front
from tests.fuzz.mangling import Mangled, mangled
from tests.fuzz.rig import Eyes, Tally, is_named, until
from tests.fuzz.webhooks import Form, posted

WIRE: Final = "media socket's frames"
_MASK: Final = b"\x11\x22\x33\x44"
_HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frame(first: int, payload: bytes, *, masked: bool = True) -> bytes:
    """Return a frame. first: its first byte."""
    bit, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 2**16:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[at % 4] for at, byte in enumerate(payload))


@attrs.frozen
class Sent:
    """A broken message in its frames. counted: how often. ends: whether it costs the socket, and so the call."""

    broken: Mangled
    frames: bytes
    counted: int
    ends: bool = False


def _in_broken_frames(whole: bytes, dice: random.Random) -> Sent:
    pieces = [whole[at : at + 9] for at in range(0, len(whole), 9)]
    parted = b"".join(frame(0x00 if at else 0x01, piece) for at, piece in enumerate(pieces)) + frame(0x80, b"")
    endless = b"".join(frame(0x00 if at else 0x01, b" " * 8000) for at in range(10))
    shapes: Mapping[str, tuple[bytes, int, bool]] = {
        "frame: invalid UTF-8": (frame(0x81, b'{"event": "\xff"}'), 1, True),
        "frame: half a character": (frame(0x81, b"\xc3"), 1, True),
        "frame: reserved bit": (frame(0xC1, whole), 1, True),
        "frame: reserved opcode": (frame(0x83, whole), 1, True),
        "frame: not masked": (frame(0x81, whole, masked=False), 1, True),
        "frame: too long a ping": (frame(0x89, b"x" * 126), 1, True),
        "frame: part of nothing": (frame(0x80, whole), 1, True),
        "frame: text within text": (frame(0x01, b"{") + frame(0x81, b"}"), 1, True),
        "frame: length of 2**63": (b"\x81\xff\x80" + b"\x00" * 7, 1, True),
        "frame: length of 1 TB": (b"\x81\xff" + struct.pack(">Q", 2**40) + b"x" * 100_000, 1, True),
        "frame: too long a message": (frame(0x81, b" " * 70_000), 1, True),
        "frame: too long in pieces": (endless, 1, True),
        "frame: close with one byte": (frame(0x88, b"\x03"), 1, True),
        "frame: close with code 1005": (frame(0x88, b"\x03\xed"), 1, True),
        "frame: close with broken text": (frame(0x88, b"\x03\xe8\xff"), 1, True),
        "frame: half of one": (frame(0x81, whole)[:20], 0, True),  # the connection broke, not a rule
        "frame: in binary": (frame(0x82, whole), 0, False),
        "frame: in pieces": (parted, 0, False),
        "frame: ping": (frame(0x89, b"hello"), 0, False),
        "frame: pong of nobody": (frame(0x8A, b"hello"), 0, False),
        "frame: empty": (frame(0x81, b""), 1, False),
        "frame: empty in binary": (frame(0x82, b""), 1, False),
    }
    how = dice.choice(list(shapes))
    frames, counted, ends = shapes[how]
    return Sent(Mangled(how, frames), frames, counted, ends)


def _drawn(ids: wire.StreamIds, dice: random.Random) -> Sent:
    mark, media = wire.mark(3, ids, name="m"), wire.media(3, ids, chunk=1, timestamp_ms=0, audio=b"\xff" * 160)
    whole = dice.choice((mark, media))
    if dice.random() < 0.6:
        return _in_broken_frames(whole.encode(), dice)
    broken = mangled(whole, dice)
    message = broken.message
    raw, first = (message, 0x82) if isinstance(message, bytes) else (message.encode(), 0x81)
    if len(raw) > LONGEST_OF_TWILIO:
        return Sent(broken, frame(first, raw), 1, ends=True)
    return Sent(broken, frame(first, raw), int(not is_sound_twilio(message, ids.stream_sid)))


async def frames(front: Front, tally: Tally, dice: random.Random, total: int) -> None:
    """Open so many media sockets, and send each something broken once its call is under way."""
    for _ in range(total):
        sid = front.new_sid()
        ids = wire.StreamIds(account_sid="AC" + "0" * 32, call_sid=sid, stream_sid=f"MZ{sid[2:]}", parameters={})
        sent = _drawn(ids, dice)
        async with await _opened(front, sid) as stream:
            await stream.send_all(frame(0x81, wire.connected().encode()) + frame(0x81, wire.start(1, ids).encode()))
            await until(lambda sid=sid: sid in front.reception.calls, ANSWER_S)  # type: ignore[misc]
            before = front.eyes.counters()
            front.eyes.logs.clear()
            with suppress(trio.BrokenResourceError):
                await stream.send_all(sent.frames)
                if sent.broken.how == "frame: half of one":
                    await stream.send_eof()
            await _noticed(front, sid, before, sent)
            _judge(front, tally, sent, before, is_over=sid not in front.reception.calls)
        await until(lambda sid=sid: sid not in front.reception.calls, ANSWER_S)  # type: ignore[misc]


async def _opened(front: Front, sid: str) -> trio.SocketStream:
    """Return a stream on which the handshake is done, at the address that TwiML gives."""
    fields = (("CallSid", sid.encode()), ("From", b"+15550100001"), ("To", b"+15550100002"))
    form = Form("/voice/incoming", fields)
    twiml = await front.raw(posted(form.path, form.body()))
    found = re.search(rb'url="ws://[^/]+(/media/[^"]+)"', twiml)
    assert found is not None, twiml
    stream = await trio.open_tcp_stream("127.0.0.1", front.port)
    await stream.send_all(_HANDSHAKE.format(path=found[1].decode()).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some()
    assert head.startswith(b"HTTP/1.1 101 "), head
    return stream


async def _noticed(front: Front, sid: str, before: Counter[str], sent: Sent) -> None:
    """Wait until it can be judged what came of it."""
    if sent.ends:
        await until(lambda: sid not in front.reception.calls, ANSWER_S)
    await until(lambda: _more(front.eyes, before) > 0, 0.5 if sent.counted else 0.05)


def _more(eyes: Eyes, before: Counter[str]) -> int:
    return sum((eyes.counters() - before).values())


def _judge(front: Front, tally: Tally, sent: Sent, before: Counter[str], *, is_over: bool) -> None:
    counted = front.eyes.counters() - before
    named = [line["why"] for line in front.eyes.said("bad_message", "request_refused")]
    tally.add(WIRE, sent.broken.how, counted=sum(counted.values()), named=" ".join(named))
    if sum(counted.values()) != sent.counted or len(named) != sent.counted or not all(map(is_named, named)):
        tally.complain(WIRE, sent.broken, f"counted {dict(counted)}, named {named}; ought to be {sent.counted}")
    if is_over is not sent.ends:
        tally.complain(WIRE, sent.broken, f"the call {'is over' if is_over else 'goes on'}")
    front.complain_of_errors(WIRE, sent.broken)
