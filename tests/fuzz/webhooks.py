"""The webhooks' forms, broken, and what is no HTTP at all, each on a connection of its own."""

import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote_from_bytes

import attrs
import trio

from tests.fuzz.loopback import Front
from tests.fuzz.mangling import Mangled
from tests.fuzz.rig import Tally

FORMS: Final = "webhooks' forms"
HTTP: Final = "http"

# ── forms ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

PATHS: Final = ("/voice/incoming", "/voice/after", "/voice/status", "/voice/stream-status")
_LONGEST_BYTES: Final = 64 * 1024
_LONGEST_FIELD_CHARS: Final = 256
_FIELDS: Final[Mapping[str, str]] = {
    "AccountSid": "AC" + "0" * 32,
    "From": "+15550100001",
    "To": "+15550100002",
    "CallStatus": "in-progress",
    "Direction": "inbound",
    "ApiVersion": "2010-04-01",
    "StreamSid": "MZ" + "0" * 32,
    "StreamEvent": "stream-started",
    "Timestamp": "2026-11-21T14:00:00.000Z",
    "SequenceNumber": "0",
    "CallDuration": "7",
}
_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "/voice/incoming": ("CallSid", "From", "To"),
    "/voice/after": ("CallSid",),
    "/voice/status": ("CallSid", "CallStatus"),
    "/voice/stream-status": ("CallSid", "StreamSid", "StreamEvent"),
}
_ODD_VALUES: Final = (
    *(b"", b" ", b"\x00", b"a\r\nb", b"\xff\xfe", b"%ZZ", b"+", b"%", b"\x1b[2J", b"\xed\xa0\x80", b"null", b"[]"),
    *(b"x" * 257, b"x" * 5000, "\u202e".encode(), "é".encode(), "🦷".encode() * 64),
    *(b"<Response><Hangup/></Response>", b"'; DROP TABLE calls; --", b"../../etc/passwd"),
    *(b"CA" + b"G" * 32, b"ca" + b"0" * 32, b"CA" + b"0" * 31, b"CA" + b"0" * 32 + b"\n"),
)
_URL_ENCODED: Final = b"application/x-www-form-urlencoded"
_KINDS: Final = (
    *(b"application/json", b"multipart/form-data; boundary=x", b"multipart/form-data", b"text/plain", b"", b"\xff"),
    *(_URL_ENCODED + b"; charset=utf-7", b"application/octet-stream"),
)
_WAYS: Final = ("dropped", "twice", "odd", "odd", "renamed", "body", "kind", "long", "many", "raw")


@attrs.frozen
class Form:
    """A form as it is meant: names and values before any encoding."""

    path: str
    pairs: tuple[tuple[str, bytes], ...]

    def body(self) -> bytes:
        """Return it as a browser would send it."""
        return b"&".join(f"{name}={quote_from_bytes(value)}".encode() for name, value in self.pairs)

    def is_sound(self) -> bool:
        """Whether it is not too long, and each field that is needed is there once, and can be read."""
        return len(self.body()) <= _LONGEST_BYTES and all(map(self._has, _NEEDED[self.path]))

    def _has(self, name: str) -> bool:
        values = [value for each, value in self.pairs if each == name]
        try:
            texts = [value.decode() for value in values]
        except UnicodeDecodeError:
            return False
        if len(texts) != 1 or not 1 <= len(texts[0]) <= _LONGEST_FIELD_CHARS or not texts[0].isprintable():
            return False
        return name != "CallSid" or re.fullmatch("CA[0-9a-f]{32}", texts[0]) is not None


def posted(path: str, body: bytes, *, kind: bytes = _URL_ENCODED) -> bytes:
    """Return a request."""
    kinds = b"Content-Type: " + kind + b"\r\n" if kind else b""
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n".encode()
    return head + kinds + b"Content-Length: %d\r\n\r\n" % len(body) + body


async def forms(front: Front, tally: Tally, dice: random.Random, total: int) -> None:
    """Send so many broken forms."""
    for _ in range(total):
        fields = {"CallSid": front.new_sid(), **_FIELDS}
        whole = Form(dice.choice(PATHS), tuple((name, text.encode()) for name, text in fields.items()))
        how, sent, sound = _broken_form(whole, dice)
        before = front.eyes.counters()
        front.eyes.logs.clear()
        answer = await front.raw(sent)
        _judge(front, tally, Mangled(how, sent), answer, before, sound=sound)


def _broken_form(whole: Form, dice: random.Random) -> tuple[str, bytes, bool | None]:
    """Return how a form was broken, the request, and whether it is sound all the same; None: either may be."""
    pairs, path, body = list(whole.pairs), whole.path, whole.body()
    at = dice.choice([at for at, (name, _) in enumerate(pairs) if name in _NEEDED[path] or dice.random() < 0.2])
    name, value = pairs[at]
    how = "field dropped, renamed or twice"
    match dice.choice(_WAYS):
        case "dropped":
            del pairs[at]
        case "twice":
            pairs.insert(dice.randrange(len(pairs)), (name, dice.choice((value, b"", b"other"))))
        case "renamed":
            pairs[at] = (dice.choice((name.lower(), f"{name}[]", f" {name}", "")), value)
        case "odd":
            how = "odd value"
            pairs[at] = (name, dice.choice(_ODD_VALUES))
        case "long":
            how = "too long"
            pairs.append(("Filler", b"x" * dice.choice((60_000, 66_000, 500_000))))
        case "many":
            more = ((f"f{number}", b"") for number in range(dice.choice((900, 1100, 5000))))
            return "many fields", posted(path, Form(path, (*pairs, *more)).body()), None
        case "body":
            cut = body[: dice.randrange(len(body))]
            other = dice.choice((b"", b"&" * 500, b"=" * 500, cut, b"{}", dice.randbytes(200)))
            return "another body", posted(path, other), None
        case "kind":
            return "another content type", posted(path, body, kind=dice.choice(_KINDS)), None
        case "raw":
            odd = dice.choice((b"\xff\xff", b"%", b"%g1", b"\x00"))
            return "not encoded", posted(path, body.replace(quote_from_bytes(value).encode(), odd)), None
    broken = Form(path, tuple(pairs))
    return how, posted(path, broken.body()), broken.is_sound()


def _judge(
    front: Front, tally: Tally, sent: Mangled, answer: bytes, before: Counter[str], *, sound: bool | None
) -> None:
    """Hold an answer, and what was counted, against what was sent."""
    counted = front.eyes.counters() - before
    refusals = sum(each for name, each in counted.items() if name.startswith("refused "))
    named = [line["why"] for line in front.eyes.said("request_refused")]
    status, says = _status(answer), answer.partition(b"\r\n\r\n")[2].decode(errors="replace").partition("\n")[0]
    tally.add(FORMS, sent.how, counted=refusals, named=says or " ".join(named))
    # Who is still sending when the answer comes may see nothing of it but the end.
    unseen = status == 0 and named == ["form too long"]
    refused = unseen or 400 <= status < 500
    if sound is not None and sound is refused:
        tally.complain(FORMS, sent, f"answered {status}, and it is {'sound' if sound else 'broken'}")
    if refusals != refused or refusals != len(named) or sum(counted.values()) != refusals:
        tally.complain(FORMS, sent, f"answered {status}, counted {dict(counted)}, named {named}, said {says!r}")
    if not (refused or 200 <= status < 300):
        tally.complain(FORMS, sent, f"answered {answer[:80]!r}")
    front.complain_of_errors(FORMS, sent)


def _status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", answer)
    return int(found[1]) if found else 0


# ── HTTP ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

_POST: Final = b"POST /voice/incoming HTTP/1.1\r\nHost: test\r\n"
_END: Final = b" HTTP/1.1\r\nHost: t\r\n\r\n"
_UPGRADE: Final = (
    b"Host: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_MEDIA: Final = b"GET /media/" + b"A" * 100 + b" HTTP/1.1\r\n"
_CHUNKED: Final = _POST + b"Transfer-Encoding: chunked\r\n"
_LENGTHS: Final = (b"-1", b"1e3", b"9" * 21, b"", b"5, 6", b"0x5")

SHAPES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "no http": (
        *(b"\x00" * 100, b"hello\r\n\r\n", b"\r\n" * 50, bytes(range(256))),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # what a TLS client says first
    ),
    "request line": (
        *(b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET  / " + _END, b"G\xffT /" + _END, b"GET /\xff" + _END),
        *(b"GET http://[::1" + _END, b"GET http://x/voice/incoming" + _END, b"GET *" + _END, b"GET /%00%ff%zz" + _END),
        *(b"GET /" + b"a" * 100_000 + _END, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT example.com:80" + _END),
    ),
    "headers": (
        *(_POST + b"X: " + b"y" * 100_000 + b"\r\n\r\n", _POST + b"no colon\r\n\r\n", _POST + b": nothing\r\n\r\n"),
        *(
            _POST + b"X: \x00\r\n\r\n",
            b"POST / HTTP/1.1\r\n\r\n",
            _POST + b"Host: again\r\n\r\n",
            _POST + b" x\r\n\r\n",
        ),
        _POST + b"".join(b"H%d: x\r\n" % number for number in range(3000)) + b"\r\n",
    ),
    "body": (
        *(_CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n", _CHUNKED + b"\r\nZZ\r\nx\r\n"),
        *(_CHUNKED + b"\r\n" + b"F" * 24 + b"\r\n", _POST + b"Transfer-Encoding: gzip\r\n\r\n"),
        *(_POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", _POST + b"Expect: tea\r\n\r\n"),
        _POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        *(_POST + b"Content-Length: " + length + b"\r\n\r\nhello" for length in _LENGTHS),
    ),
    "handshake": (
        *(_MEDIA + _UPGRADE, _MEDIA + _UPGRADE + b"\x81\x82....", _MEDIA.replace(b"1.1", b"1.0") + _UPGRADE),
        *(_MEDIA + _UPGRADE.replace(b"Key", b"No"), _MEDIA + _UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"x")),
        *(_MEDIA.replace(b"GET", b"POST") + _UPGRADE, b"GET /media/../voice HTTP/1.1\r\n" + _UPGRADE),
    ),
    "nothing": (b"", b"P", _POST),
}
"""What is no request, or none that is served, by what is wrong with it."""


async def http(front: Front, tally: Tally, dice: random.Random, total: int) -> None:
    """Send so many of them. HTTP itself says so; what no app has seen is counted at the door "http"."""
    for _ in range(total):
        how = dice.choice(list(SHAPES))
        sent = dice.choice(SHAPES[how])
        before = front.eyes.counters()
        front.eyes.logs.clear()
        answer = await front.raw(sent, end=True, within_s=0.5)
        await trio.sleep(0.01)  # it may be noticed only once it is answered
        counted = front.eyes.counters() - before
        broken = Mangled(how, sent)
        tally.add(HTTP, how, counted=sum(counted.values()), named=answer.partition(b"\r\n")[0].decode("latin-1"))
        status = _status(answer)
        if sum(counted.values()) > 1 or (status in {400, 403, 408, 413, 431, 501} and not counted) or status == 500:
            tally.complain(HTTP, broken, f"answered {status}, counted {dict(counted)}")
        front.complain_of_errors(HTTP, broken)
