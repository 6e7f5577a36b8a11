"""The front door over loopback: which media streams get in, and what happens to calls from dialling to the end."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
import trio
import trio.testing
from trio.testing import MockClock

from engine.messages.admission import NextStep, Ticket
from engine.messages.errors import ConfigError, EngineBug
from simulators.caller import AwaitHangUp, CallerScript
from simulators.events import Dialled, NetworkSaid
from simulators.twilio.call import Network, place_call
from simulators.twilio.record import CallRecord
from simulators.twilio.signature import signature
from tests.simulators.far_end import ToneVoice
from tests.web.front import CALL_SID, INCOMING, TICKET, Front, Tokens, media_path
from web import twiml
from web.door import AFTER_S, DoorPolicy
from web.media import Line, MediaDoor, beside
from web.server import listen, serve_on
from web.tickets import stream_keys

LATER = datetime(2099, 1, 1, tzinfo=UTC)

OpenFront = Callable[..., Awaitable[str]]


async def shake_hands(address: str, path: str, *headers: str) -> tuple[trio.SocketStream, bytes]:
    """The stream after a handshake, and the server's answer: to the end if it is a refusal."""
    host, port = address.rsplit(":", 1)
    stream = await trio.open_tcp_stream(host, int(port))
    lines = ["Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", *headers]
    request = "\r\n".join([f"GET {path} HTTP/1.1", *lines, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "\r\n"])
    await stream.send_all(request.encode("latin-1"))
    answer = b""
    with trio.fail_after(5):
        while not (answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\r\n\r\n")):
            piece = await stream.receive_some()
            if not piece:
                break
            answer += piece
    return stream, answer


async def enter(address: str, path: str, *headers: str) -> int:
    """The status of a handshake."""
    stream, answer = await shake_hands(address, path, *headers)
    await stream.aclose()
    return int(answer.split()[1])


def signed(url: str, *, token: str = "secret") -> str:  # noqa: S107 (guards nothing)
    return f"X-Twilio-Signature: {signature(token, url)}"


async def stay(line: Line) -> None:
    with suppress(trio.EndOfChannel):
        while True:
            await line.receive()


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/media", "token missing"),
        ("/media/", "token missing"),
        ("/media//", "token forged"),
        ("/media/x", "token forged"),
        ("/media/%00%ff", "token forged"),
        ("/media/" + "." * 40_000, "token forged"),
        (media_path() + "x", "token forged"),
        (media_path() + "/", "token forged"),
        (media_path() + "%20", "token forged"),
        (media_path().replace("/media/", "/media//"), "token forged"),
        (media_path(keys=stream_keys(["another's"])), "token forged"),
        (media_path(token_s=0.0), "token expired"),
        (media_path(token_s=-3600.0), "token expired"),
    ],
)
async def test_a_stream_without_a_good_token_is_never_accepted(open_front: OpenFront, path: str, why: str) -> None:
    front = Front()
    address = await open_front(stay, front=front)
    with structlog.testing.capture_logs() as logs:
        stream, answer = await shake_hands(address, path)
    await stream.aclose()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 ")
    assert b"content-type: text/plain; charset=utf-8" in head
    assert body == why.encode() + b"\n"
    assert front.refused == [("media", why)]
    assert front.door.calls == 0
    (entry,) = logs
    assert (entry["event"], entry["door"], entry["why"]) == ("request_refused", "media", why)
    token = path.removeprefix("/media/")
    assert len(token) < 20 or token[:20] not in str(entry)


async def test_a_token_lets_in_once(open_front: OpenFront) -> None:
    front, path = Front(), media_path()
    address = await open_front(stay, front=front)
    assert [await enter(address, path) for _ in range(3)] == [101, 403, 403]
    assert front.refused == [("media", "token used")] * 2


async def test_of_many_who_bring_the_same_token_at_once_one_gets_in(open_front: OpenFront) -> None:
    async def consume(token_id: str, expires_at: datetime) -> bool:
        await trio.sleep(0.01)  # as a database takes it
        return await tokens.consume(token_id, expires_at)

    tokens, path, statuses = Tokens(), media_path(), list[int]()
    fronts = [Front(consume=consume), Front(consume=consume)]
    addresses = [await open_front(stay, front=front) for front in fronts]

    async def try_it(address: str) -> None:
        statuses.append(await enter(address, path))

    async with trio.open_nursery() as nursery:
        for address in addresses * 5:
            nursery.start_soon(try_it, address)
    assert sorted(statuses) == [101] + [403] * 9


async def test_a_token_used_at_one_worker_is_used_at_all(open_front: OpenFront) -> None:
    tokens, path = Tokens(), media_path()
    one, another = Front(consume=tokens.consume), Front(consume=tokens.consume)
    assert await enter(await open_front(stay, front=one), path) == 101
    assert await enter(await open_front(stay, front=another), path) == 403
    assert another.refused == [("media", "token used")]


@pytest.mark.parametrize("error", [ConfigError("the database is locked"), EngineBug("x"), None])
async def test_a_database_that_fails_keeps_nobody_out_and_lets_nobody_in_twice(
    open_front: OpenFront, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    monkeypatch.setattr("web.door.CONSUME_S", 0.05)

    async def consume(_token_id: str, _expires_at: datetime) -> bool:
        if error is not None:
            raise error
        await trio.sleep_forever()
        raise AssertionError

    path = media_path()
    address = await open_front(stay, front=Front(consume=consume))
    with structlog.testing.capture_logs() as logs:
        assert [await enter(address, path) for _ in range(2)] == [101, 403]
    assert [entry["event"] for entry in logs] == ["token_not_recorded", "request_refused"]


async def test_tokens_used_here_are_forgotten_when_they_have_expired(autojump_clock: MockClock) -> None:
    front = Front(policy=DoorPolicy(token_s=10.0))
    for n in range(100):
        assert await front.door._is_first_use(str(n), LATER)
        await trio.sleep(1.0)
    assert len(front.door._used) <= 10


async def test_a_call_learns_from_the_token_whose_it_is(nursery: trio.Nursery) -> None:
    """What the stream itself says of it is held against this, by the call."""
    seen: list[Ticket] = []

    async def answer(_line: Line, ticket: Ticket) -> None:
        seen.append(ticket)

    front = Front()
    listeners = await listen("127.0.0.1:0", loopback_only=True)
    nursery.start_soon(serve_on, beside(front.app, MediaDoor(front.door, answer)), listeners)
    other = Ticket(call_sid="CA" + "2" * 32, tenant="shop", caller="sip:é@a.test", dialled="+15550100003")
    for ticket in (TICKET, other):
        assert await enter(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}", media_path(ticket)) == 101
    assert seen == [TICKET, other]


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("public_url", "origin"),
    [
        ("https://voice.example.com", "wss://voice.example.com"),
        ("https://voice.example.com:8443", "wss://voice.example.com:8443"),
        ("http://127.0.0.1:8080", "ws://127.0.0.1:8080"),
    ],
)
async def test_a_handshake_is_signed_over_the_address_as_the_twiml_has_it(
    open_front: OpenFront, public_url: str, origin: str
) -> None:
    front = Front(public_url=public_url, auth_tokens=("new", "secret"))
    address, path = await open_front(stay, front=front), media_path()
    wrong = [origin + path + "/", origin + "/media/", origin.replace("ws", "http") + path, origin + "/other" + path]
    for url in wrong:
        assert await enter(address, path, signed(url)) == 403
    assert await enter(address, path) == 403
    assert await enter(address, path, signed(origin + path, token="old")) == 403
    assert front.refused == [("media", "signature wrong")] * 4 + [
        ("media", "signature missing"),
        ("media", "signature wrong"),
    ]
    # None of them has used the token up. Twilio strips a query, and signs the address without it too.
    assert await enter(address, path + "?x=1", signed(origin + path)) == 101


async def test_a_signature_does_not_make_up_for_a_token(open_front: OpenFront) -> None:
    front = Front(auth_tokens=("secret",))
    address, origin = await open_front(stay, front=front), "wss://voice.example.com"
    for path in ("/media", "/media/x", media_path(token_s=0.0)):
        assert await enter(address, path, signed(origin + path)) == 403
    assert front.refused == [("media", why) for why in ("token missing", "token forged", "token expired")]


async def test_a_trusted_proxy_says_which_address_the_handshake_had(open_front: OpenFront) -> None:
    forwarded = ("X-Forwarded-Proto: https", "X-Forwarded-Host: other.example.com")
    for trusted, status in ((("127.0.0.1",), 101), ((), 403)):
        front, path = Front(auth_tokens=("secret",), policy=DoorPolicy(trusted_proxies=trusted)), media_path()
        address = await open_front(stay, front=front)
        assert await enter(address, path, signed("wss://other.example.com" + path), *forwarded) == status


# ── lines ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_line_counts_from_the_webhook_to_its_close(open_front: OpenFront) -> None:
    front = Front()
    address = await open_front(stay, front=front)
    url = front.door.connect(TICKET)
    assert isinstance(url, str)
    assert front.door.calls == 1
    stream, answer = await shake_hands(address, url.removeprefix("wss://voice.example.com"))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert front.door.calls == 1
    await stream.aclose()
    with trio.fail_after(5):
        await front.door.empty()


async def test_a_call_that_fails_gives_its_line_back(open_front: OpenFront) -> None:
    async def answer(_line: Line) -> None:
        raise ValueError("a bug")

    front = Front()
    with structlog.testing.capture_logs():
        assert await enter(await open_front(answer, front=front), media_path()) == 101
        with trio.fail_after(5):
            await front.door.empty()


async def test_a_peer_that_leaves_during_the_handshake_leaves_nothing_behind(open_front: OpenFront) -> None:
    asked, go = trio.Event(), trio.Event()

    async def consume(_token_id: str, _expires_at: datetime) -> bool:
        asked.set()
        await go.wait()
        return True

    front = Front(consume=consume)
    address = await open_front(stay, front=front)
    await trio.testing.wait_all_tasks_blocked(0.01)
    before = trio.lowlevel.current_statistics().tasks_living
    host, port = address.rsplit(":", 1)
    stream = await trio.open_tcp_stream(host, int(port))
    head = f"GET {media_path()} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    await stream.send_all((head + key).encode())
    with trio.fail_after(5):
        await asked.wait()
        await stream.aclose()
        go.set()
        while front.door.calls or trio.lowlevel.current_statistics().tasks_living > before:  # noqa: ASYNC110
            await trio.sleep(0.002)


async def test_while_draining_a_stream_that_was_promised_still_gets_in(open_front: OpenFront) -> None:
    front = Front()
    address = await open_front(stay, front=front)
    url = front.door.connect(TICKET)
    assert isinstance(url, str)
    front.door.drain()
    assert await enter(address, url.removeprefix("wss://voice.example.com")) == 101


async def test_an_empty_door_is_one_whose_lines_are_closed_and_whose_promises_have_lapsed(
    autojump_clock: MockClock,
) -> None:
    door = Front(policy=DoorPolicy(token_s=30.0)).door
    await door.empty()

    async def serve(call_sid: str, seconds: float) -> None:
        with door.line(call_sid):
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        assert isinstance(door.connect(TICKET), str)
        nursery.start_soon(serve, "CA2", 10.0)
        await trio.testing.wait_all_tasks_blocked()
        assert door.calls == 2
        await door.empty()
        assert trio.current_time() == 30.0
        nursery.start_soon(serve, "CA3", 5.0)
        await trio.testing.wait_all_tasks_blocked()
        await door.empty()
        assert trio.current_time() == 35.0
        assert isinstance(door.connect(TICKET), str)
        nursery.start_soon(door.empty)
        await trio.testing.wait_all_tasks_blocked()
        door.release(CALL_SID)
    assert trio.current_time() == 35.0


async def test_a_call_that_ended_is_waited_for_until_it_asks_what_comes_next(autojump_clock: MockClock) -> None:
    door = Front().door
    await door.settled()
    with door.line(CALL_SID):
        await door.settled()  # of a call that is here there is nothing to be asked
    with door.line("CA2"):
        await trio.sleep(1.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.settled)
        await trio.sleep(0.5)
        door.release(CALL_SID)
        await trio.sleep(0.5)
        door.release("CA2")
    assert trio.current_time() == 2.0
    with door.line(CALL_SID):
        pass
    await door.settled()
    assert trio.current_time() == 2.0 + AFTER_S


# ── whole calls, with the simulated phone network ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def fast_clock() -> MockClock:
    """Thirty times as fast as life: sentences take seconds, and sockets are real."""
    return MockClock(rate=30.0)


Answer = Callable[[Line, Ticket], Awaitable[None]]


async def call_up(answer: Answer, *, front: dict[str, Any] | None = None, **network: Any) -> tuple[Front, CallRecord]:
    """Serve a front that checks signatures on loopback, and call it from a phone network that signs."""
    listeners = await listen("127.0.0.1:0", loopback_only=True)
    url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    served = Front(public_url=url, **{"auth_tokens": ("secret",), **(front or {})})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_on, beside(served.app, MediaDoor(served.door, answer)), listeners)
        record = await place_call(
            server_url=url,
            caller=CallerScript(steps=(AwaitHangUp(timeout_s=600.0),)),
            voice=ToneVoice(),
            network=Network(**{"auth_token": "secret", "status_callback": f"{url}/voice/status", **network}),
        )
        nursery.cancel_scope.cancel()
    return served, record


async def hang_up_at_once(line: Line, _ticket: Ticket) -> None:
    await line.receive()


def told(record: CallRecord) -> list[str]:
    """What the caller heard from the phone network itself."""
    return [event.text for event in record.all_of(NetworkSaid)]


async def test_a_call_goes_through_the_door_and_is_written_down(fast_clock: MockClock) -> None:
    steps: dict[str, NextStep] = {}

    async def answer(line: Line, ticket: Ticket) -> None:
        assert '"connected"' in str(await line.receive())
        assert ticket.call_sid in str(await line.receive())
        steps[ticket.call_sid] = NextStep(kind="hangup")

    front, record = await call_up(answer, front={"steps": steps})
    assert (front.refused, told(record)) == ([], [])
    assert [notice.code for notice in record.notices] == [31921]
    assert sorted(front.counted) == ["call_completed", "stream_started", "stream_stopped"]
    assert {report.call_sid for report in front.reports} == {record.call_sid}
    assert (record.hung_up.by, front.door.calls) == ("agent", 0)


@pytest.mark.parametrize(("rung", "sorry"), [("completed", []), ("no-answer", [twiml.NOBODY_ANSWERS])])
async def test_a_call_that_the_engine_hands_over_rings_a_person(
    fast_clock: MockClock, rung: str, sorry: list[str]
) -> None:
    steps: dict[str, NextStep] = {}

    async def answer(_line: Line, ticket: Ticket) -> None:
        steps[ticket.call_sid] = NextStep(kind="transfer", say="One moment.", number="+15550100008")

    front, record = await call_up(answer, front={"steps": steps}, dial_status=rung)
    assert told(record) == ["One moment.", *sorry]
    assert [(dial.number, dial.status) for dial in record.all_of(Dialled)] == [("+15550100008", rung)]
    assert front.refused == []


async def test_a_call_that_crashes_apologises_and_rings_a_person(fast_clock: MockClock) -> None:
    async def answer(_line: Line, _ticket: Ticket) -> None:
        raise ValueError("a bug")

    with structlog.testing.capture_logs():
        _, record = await call_up(answer)
    assert told(record) == [twiml.APOLOGY_AND_TRANSFER]
    assert [dial.number for dial in record.all_of(Dialled)] == ["+15550100009"]


async def test_a_caller_who_is_one_too_many_hears_a_sentence(fast_clock: MockClock) -> None:
    with structlog.testing.capture_logs():
        front, record = await call_up(hang_up_at_once, front={"policy": DoorPolicy(calls_at_once=0)})
    assert told(record) == [twiml.ALL_LINES_BUSY]
    assert front.refused == [("incoming", "too many calls")]


async def test_a_phone_network_with_another_token_gets_nowhere(fast_clock: MockClock) -> None:
    with structlog.testing.capture_logs():
        front, record = await call_up(hang_up_at_once, auth_token="stolen")
    assert [notice.code for notice in record.notices] == [11200, 11200]
    assert front.refused == [("incoming", "signature wrong"), ("status", "signature wrong")]


async def test_a_stream_that_is_refused_leads_to_an_apology_and_a_person(fast_clock: MockClock) -> None:
    """As when a token has expired on its way."""
    with structlog.testing.capture_logs():
        front, record = await call_up(hang_up_at_once, front={"policy": DoorPolicy(token_s=0.0)})
    assert front.refused == [("media", "token expired")]
    assert told(record) == [twiml.APOLOGY_AND_TRANSFER]
    assert "stream_error" in front.counted


# ── without an auth token ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", ["X-Forwarded-For: 203.0.113.9", "Via: 1.1 proxy"])
async def test_without_an_auth_token_a_stream_that_a_tunnel_brings_stays_out(
    open_front: OpenFront, header: str
) -> None:
    front = Front()
    address = await open_front(stay, front=front)
    assert await enter(address, media_path(), header) == 403
    assert await enter(address, media_path()) == 101
    assert front.refused == [("media", "not from this machine")]


@pytest.mark.parametrize(
    "headers", [{"Host": "your-name.ngrok.app"}, {"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}]
)
async def test_without_an_auth_token_a_webhook_that_a_tunnel_brings_is_refused(headers: dict[str, str]) -> None:
    front = Front()
    client = front.app.test_client()
    assert (await client.post("/voice/incoming", form=INCOMING, headers=headers)).status_code == 403
    assert (await client.post("/voice/incoming", form=INCOMING)).status_code == 200
    assert front.refused == [("incoming", "not from this machine")]
