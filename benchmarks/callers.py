"""Many phones in one process: `python -m benchmarks.callers` calls a server so many times at once, and says what came.

Theory of operation. One loop for all: it waits for the first frame or mark that is due, or for a byte from any server
socket. A call is dialled (webhook, TwiML, handshake) in a thread, so that no frame waits for it. The results are one
JSON object on standard output; before it, a line when all calls are under way and one when the first is over: between
the two, every call is on.
"""

import argparse
import http.client
import json
import queue
import random
import secrets
import select
import socket
import sys
import threading
import time
import xml.etree.ElementTree as ET  # the server under measurement is our own
from base64 import b64encode
from collections import deque
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import attrs

from benchmarks.phone import Doing, Phone, heard
from benchmarks.websocket import Incoming, Opcode, frame
from simulators import tone

_LIST: Final = """
    amber anchor apple arrow autumn basket beacon bottle bridge butter candle canyon carpet cedar copper cotton desert
    dolphin ember engine falcon feather forest garden ginger hammer harbor honey island ivory jacket jungle kettle
    ladder lemon lantern magnet maple marble meadow mirror needle nickel ocean olive orange paper pepper pilot planet
    pocket rabbit ribbon river rocket saddle silver spider summer table temple thunder tiger timber tulip tunnel
    velvet violet walnut willow window winter yellow
"""
WORDS: Final = _LIST.split()
WORDS_A_SENTENCE: Final = 4
_ACCOUNT: Final = "AC" + "0" * 32
_READ_BYTES: Final = 65536


@attrs.define(eq=False)
class Connected:
    """A phone on its socket."""

    phone: Phone
    socket: socket.socket
    incoming: Incoming = attrs.field(factory=Incoming)
    unsent: bytes = b""
    gone: str = ""

    def send(self, text: str) -> None:
        """Send a message, as far as the server takes it."""
        self._send(frame(Opcode.TEXT, text.encode()))

    def _send(self, data: bytes) -> None:
        data = self.unsent + data
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self.gone = f"the server broke the connection: {error}"
            return
        self.unsent = data[sent:]

    def read(self) -> None:
        """Take what the server sent."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.gone = f"the server broke the connection: {error}"
            return
        now = time.monotonic()
        if not data:
            self.gone = "the server closed the connection"
        for opcode, payload in self.incoming.feed(data):
            match opcode:
                case Opcode.TEXT:
                    for answer in self.phone.hear(payload, now):
                        self.send(answer)
                case Opcode.PING:
                    self._send(frame(Opcode.PONG, payload))
                case Opcode.CLOSE:
                    self.gone = "the server hung up"
                case _:
                    self.gone = f"the server sent a {opcode.name} frame"


@attrs.define
class Exchange:
    """All calls of a process."""

    url: str
    calls: int
    turns: int
    over_s: float
    seed: int
    late_s: list[float] = attrs.field(factory=list)
    failed: list[str] = attrs.field(factory=list)
    over: list[Connected] = attrs.field(factory=list)
    _connected: "queue.SimpleQueue[Connected | str]" = attrs.field(factory=queue.SimpleQueue)
    _all_up: bool = False
    _first_over: bool = False

    def run(self) -> None:
        """Make the calls, all begun within `over_s`, until each is over."""
        threading.Thread(target=self._dial_all, daemon=True).start()
        live: list[Connected] = []
        while len(self.over) + len(self.failed) < self.calls:
            while not self._connected.empty():
                came = self._connected.get()
                if isinstance(came, Connected):
                    live.append(came)
                else:
                    self.failed.append(came)
            self._wait(live)
            self._tell_phase(live)
            for each in [each for each in live if each.gone or each.phone.doing is Doing.DONE]:
                live.remove(each)
                self._hang_up(each)

    def _wait(self, live: list[Connected]) -> None:
        """Do what is due, and what comes until the next thing is."""
        now = time.monotonic()
        next_due = now + 0.02
        for each in live:
            phone = each.phone
            while phone.frame_due <= now:
                self.late_s.append(now - phone.frame_due)
                each.send(phone.frame())
            for mark in phone.marks(now):
                each.send(mark)
            next_due = min(next_due, phone.frame_due, phone.mark_due or next_due)
        readable, _, _ = select.select([each.socket for each in live], [], [], max(0.0, next_due - time.monotonic()))
        ready = set(readable)
        for each in live:
            if each.socket in ready:
                each.read()

    def _tell_phase(self, live: list[Connected]) -> None:
        if not self._all_up and len(live) == self.calls:
            self._all_up = True
            say({"phase": "all_up"})
        if self._all_up and not self._first_over and any(each.phone.doing is Doing.DONE for each in live):
            self._first_over = True
            say({"phase": "first_over"})

    def _hang_up(self, each: Connected) -> None:
        stop = {"accountSid": _ACCOUNT, "callSid": each.phone.name}
        each.send(
            json.dumps({"event": "stop", "sequenceNumber": "0", "stop": stop, "streamSid": each.phone.stream_sid})
        )
        each.socket.close()
        if each.phone.doing is not Doing.DONE:
            self.failed.append(f"{each.phone.name}: {each.gone}")
        self.over.append(each) if each.phone.doing is Doing.DONE else None

    def _dial_all(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311 - nothing is secret here
        moments = sorted(chance.random() * self.over_s for _ in range(self.calls))
        began_at = time.monotonic()
        for number, moment in enumerate(moments):
            time.sleep(max(0.0, began_at + moment - time.monotonic()))
            threading.Thread(target=partial(self._dial, number), daemon=True).start()

    def _dial(self, number: int) -> None:
        try:
            self._connected.put(dial(self.url, number, turns=self.turns, seed=self.seed))
        except (OSError, http.client.HTTPException, ET.ParseError, DialError) as error:
            self._connected.put(f"call {number}: {type(error).__name__}: {error}")


class DialError(Exception):
    """The server did not take a call."""


def dial(url: str, number: int, *, turns: int, seed: int) -> Connected:
    """Call a server: webhook, TwiML, handshake, `connected` and `start`."""
    server = urlsplit(url)
    call_sid, stream_sid = "CA" + secrets.token_hex(16), "MZ" + secrets.token_hex(16)
    asked = http.client.HTTPConnection(server.hostname or "", server.port, timeout=10)
    fields = {
        "AccountSid": _ACCOUNT,
        "ApiVersion": "2010-04-01",
        "CallSid": call_sid,
        "CallStatus": "ringing",
        "Direction": "inbound",
        "From": f"+1555{seed % 1000:03}{number:04}",
        "To": "+15550100002",
    }
    asked.request("POST", "/voice/incoming", urlencode(fields), {"Content-Type": "application/x-www-form-urlencoded"})
    answer = asked.getresponse()
    twiml = answer.read().decode()
    asked.close()
    stream = ET.fromstring(twiml).find("Connect/Stream")  # noqa: S314
    if stream is None:
        raise DialError(f"status {answer.status}, and no stream in {twiml!r}")
    wired = _handshake(stream.attrib["url"])
    parameters = {each.attrib["name"]: each.attrib["value"] for each in stream.findall("Parameter")}
    start = {
        "accountSid": _ACCOUNT,
        "streamSid": stream_sid,
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": parameters,
    }
    first = [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {"event": "start", "sequenceNumber": "1", "start": start, "streamSid": stream_sid},
    ]
    for each in first:
        wired.sendall(frame(Opcode.TEXT, json.dumps(each).encode()))
    wired.setblocking(False)  # noqa: FBT003 - the standard library's
    chance = random.Random(f"{seed} {number}")  # noqa: S311 - nothing is secret here
    sentences = deque((f"c{number}t{turn}", *chance.sample(WORDS, WORDS_A_SENTENCE)) for turn in range(turns))
    phone = Phone(name=call_sid, stream_sid=stream_sid, sentences=sentences, began_at=time.monotonic(), chance=chance)
    return Connected(phone=phone, socket=wired)


def _handshake(url: str) -> socket.socket:
    where = urlsplit(url)
    wired = socket.create_connection((where.hostname, where.port), timeout=10)
    wired.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    path = f"{where.path}?{where.query}" if where.query else where.path
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {where.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {b64encode(secrets.token_bytes(16)).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    wired.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):  # a server may not speak before it has heard `start`
        byte = wired.recv(1)
        if not byte:
            break
        head += byte
    if not head.startswith(b"HTTP/1.1 101 "):
        raise DialError(f"the handshake was answered with {head[:80]!r}")
    return wired


def told(exchange: Exchange) -> dict[str, Any]:
    """Return all that came of the calls, as JSON has it."""
    return {
        "failed": exchange.failed,
        "frame_late_s": exchange.late_s,
        "calls": {
            each.phone.name: [
                {
                    "words": turn.words,
                    "last_word_s": turn.last_word_at - each.phone.began_at,
                    "wait_s": None if turn.first_sound_at is None else turn.first_sound_at - turn.last_word_at,
                    "heard": answer.words,
                    "pauses_s": answer.pauses,
                    "dry_in_piece_s": turn.dry_in_piece,
                    "dry_between_s": turn.dry_between,
                    "cleared": turn.cleared,
                }
                for turn in each.phone.turns
                for answer in [heard(turn.audio)]
            ]
            for each in exchange.over
        },
    }


def say(what: dict[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps(what), flush=True)  # noqa: T201 - what the measurement reads


def main() -> None:
    """Call, and print what came of it."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--calls", type=int, default=1)
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--over", type=float, default=2.0, help="seconds within which the calls begin")
    arguments.add_argument("--seed", type=int, default=1)
    asked = arguments.parse_args()
    tone.say(" ".join(WORDS))  # its tables, before there is anything to be late for
    sys.setswitchinterval(0.0005)  # a thread that dials must not hold up a frame
    exchange = Exchange(asked.url, asked.calls, asked.turns, asked.over, asked.seed)
    exchange.run()
    say(told(exchange))


if __name__ == "__main__":
    main()
