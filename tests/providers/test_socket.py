"""A vendor's socket: over memory streams in virtual time, and over loopback with real TCP and TLS."""

# ruff: noqa: PT012 - an error that leaves a context is raised inside of it

import math
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket, wrap_server_stream
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection

from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderRefused, ProviderSlow
from engine.providers.socket import Address, Dial, SocketClosed, SocketPolicy, VendorSocket, dial_tcp, open_socket

KEY = "b4d0c0ffee5ec2e7"
HEADERS = {"Authorization": f"Token {KEY}"}

POLICY = SocketPolicy()

Talk = Callable[[WebSocketConnection], Awaitable[None]]
Raw = Callable[[trio.abc.Stream], Awaitable[None]]


def opened(
    dial: Dial, *, base_url: str = "wss://vendor.test", policy: SocketPolicy = POLICY
) -> AbstractAsyncContextManager[VendorSocket]:
    return open_socket(
        vendor="acme", base_url=base_url, target="/v1/hear?a=b", headers=HEADERS, dial=dial, policy=policy
    )


@attrs.define(eq=False)
class Watched(trio.abc.Stream):
    """A stream that tells whether it was closed, and when."""

    inner: trio.abc.Stream
    closed_at: float = math.nan
    # When the peer stops taking bytes, as if its buffers were full.
    full_after: float = math.inf
    sent: bytearray = attrs.field(factory=bytearray)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for at in range(0, len(data), 8):
            if len(self.sent) >= self.full_after:
                await trio.sleep_forever()
            await trio.lowlevel.checkpoint()
            self.sent += data[at : at + 8]
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        self.closed_at = trio.current_time()
        await self.inner.aclose()


@asynccontextmanager
async def raw_peer(serve: Raw) -> AsyncIterator[tuple[Dial, Watched]]:
    """A peer that is given the far end of a memory stream."""
    ours, theirs = trio.testing.memory_stream_pair()
    watched = Watched(ours)

    async def dial(_: Address) -> trio.abc.Stream:
        return watched

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, theirs)
        yield dial, watched
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def peer(talk: Talk, *, requests: list[WebSocketRequest] | None = None) -> AsyncIterator[tuple[Dial, Watched]]:
    """A peer that speaks WebSocket properly."""

    async def serve(stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            if requests is not None:
                requests.append(request)
            with suppress(ConnectionClosed):
                await talk(await request.accept(extra_headers=[(b"DG-Request-Id", b"r-1")]))

    async with raw_peer(serve) as both:
        yield both


async def echo(connection: WebSocketConnection) -> None:
    while True:
        await connection.send_message(await connection.get_message())


async def silence(connection: WebSocketConnection) -> None:
    await trio.sleep_forever()


async def mute(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def handshake(stream: trio.abc.Stream) -> None:
    """Open the connection, and leave the stream to the test: a peer that answers nothing by itself."""
    connection = WSConnection(ConnectionType.SERVER)
    connection.receive_data(bytes(await stream.receive_some()))
    list(connection.events())
    await stream.send_all(connection.send(AcceptConnection()))


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    length = len(payload)
    size = bytes([length]) if length < 126 else bytes([126, *length.to_bytes(2)])
    return bytes([(0x80 if final else 0) | opcode]) + size + payload


# ── opening ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_messages_go_both_ways_and_the_handshake_says_what_it_was_told(autojump_clock: MockClock) -> None:
    requests: list[WebSocketRequest] = []
    async with peer(echo, requests=requests) as (dial, _), opened(dial) as vendor:
        await vendor.send("text")
        assert await vendor.receive() == "text"
        await vendor.send(b"\x00\xff")
        assert await vendor.receive() == b"\x00\xff"
        assert vendor.headers["dg-request-id"] == "r-1"
    assert requests[0].path == "/v1/hear?a=b"
    assert (b"authorization", f"Token {KEY}".encode()) in requests[0].headers


@pytest.mark.parametrize(
    ("base_url", "address", "netloc"),
    [
        ("https://api.vendor.test", Address("api.vendor.test", 443, tls=True), "api.vendor.test"),
        ("WSS://API.vendor.test/", Address("api.vendor.test", 443, tls=True), "api.vendor.test"),
        ("http://127.0.0.1:8000", Address("127.0.0.1", 8000, tls=False), "127.0.0.1:8000"),
        ("ws://[::1]:80", Address("::1", 80, tls=False), "[::1]"),
        ("wss://[::1]:80", Address("::1", 80, tls=True), "[::1]:80"),
    ],
)
def test_http_and_ws_are_two_spellings_of_one_address(base_url: str, address: Address, netloc: str) -> None:
    assert Address.of(base_url) == address
    assert address.netloc == netloc


@pytest.mark.parametrize(
    "base_url",
    [
        "api.vendor.test",
        "ftp://a",
        "wss://",
        "wss://a/v1",
        "wss://a?b",
        "wss://a#b",
        "wss://u:p@a",
        "ws://a:99999",
        "ws://[a",
    ],
)
def test_a_base_url_that_is_more_or_less_than_scheme_and_host_is_refused_with_its_text(base_url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Address.of(base_url)
    assert repr(base_url) in str(caught.value)


ANSWERS: list[tuple[bytes, type[ProviderError], str]] = [
    (
        b"HTTP/1.1 401 Unauthorized\r\ndg-error: Invalid credentials.\r\n\r\n",
        ProviderRefused,
        "with 401: Invalid credentials.",
    ),
    (b'HTTP/1.1 400 Bad\r\nContent-Length: 20\r\n\r\n{"err_msg":"no such', ProviderRefused, '400: {"err_msg":"no such'),
    (b"HTTP/1.1 402 Pay\r\nContent-Length: 3\r\n\r\nnow", ProviderRefused, "402: now"),
    (b"HTTP/1.1 403 No\r\n\r\n", ProviderRefused, "403: no reason given"),
    (b"HTTP/1.1 404 No\r\n\r\n" + b"long " * 100, ProviderRefused, "long long"),
    (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n", ProviderRefused, "301"),
    (b"HTTP/1.1 429 Slow\r\ndg-error: Too many requests\r\n\r\n", ProviderDown, "429: Too many requests"),
    (b"HTTP/1.1 408 Late\r\n\r\n", ProviderDown, "408"),
    (b"HTTP/1.1 500 Oh\r\n\r\n", ProviderDown, "500"),
    (b"HTTP/1.0 503 Oh\r\n\r\nback soon", ProviderDown, "503: back soon"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", ProviderDown, "200: hi"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", ProviderDown, "does not speak websocket: HTTP/1.1 101"),
    (b"HTTP/1.1 401", ProviderDown, "does not speak websocket: HTTP/1.1 401"),
    (b"220 smtp.vendor.test\r\n\r\n", ProviderDown, "does not speak websocket: 220 smtp"),
    (b"\xff" * 40_000, ProviderDown, "does not speak websocket"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, ProviderDown, "does not speak websocket"),
    (b"", ProviderDown, "broke off the handshake"),
]


@pytest.mark.parametrize(("answer", "kind", "text"), ANSWERS)
async def test_a_handshake_that_fails_is_named_and_leaves_no_group(
    answer: bytes, kind: type[ProviderError], text: str, autojump_clock: MockClock
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        await stream.aclose()

    async with raw_peer(serve) as (dial, stream):
        with pytest.raises(ProviderError) as caught:
            async with opened(dial):
                pytest.fail("it opened")
    assert type(caught.value) is kind
    assert str(caught.value).startswith("acme at vendor.test ")
    assert text in str(caught.value)
    assert len(str(caught.value)) < 300
    assert stream.closed_at == 0


async def test_a_peer_that_keeps_a_refusal_open_is_still_refused_by_its_status(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 401 No\r\nContent-Length: 99\r\n\r\nwrong key")
        await trio.sleep_forever()

    async with raw_peer(serve) as (dial, stream):
        with pytest.raises(ProviderRefused, match=r"401: wrong key"):
            async with opened(dial):
                pytest.fail("it opened")
    assert stream.closed_at == 3.0


async def test_a_peer_that_does_not_answer_the_handshake_is_slow(autojump_clock: MockClock) -> None:
    async with raw_peer(mute) as (dial, stream):
        with pytest.raises(ProviderSlow, match=r"acme at vendor.test did not open the connection within 3 s"):
            async with opened(dial):
                pytest.fail("it opened")
    assert stream.closed_at == 3.0


async def test_name_tcp_tls_and_handshake_share_one_deadline(autojump_clock: MockClock) -> None:
    async with raw_peer(mute) as (dial, stream):

        async def late(address: Address) -> trio.abc.Stream:
            await trio.sleep(2.5)
            return await dial(address)

        with pytest.raises(ProviderSlow):
            async with opened(late):
                pytest.fail("it opened")
    assert stream.closed_at == 3.0


async def test_a_stream_that_cannot_be_had_in_time_is_slow(autojump_clock: MockClock) -> None:
    async def dial(_: Address) -> trio.abc.Stream:
        await trio.sleep_forever()

    with pytest.raises(ProviderSlow, match=r"acme at vendor.test could not be reached within 3 s"):
        async with opened(dial):
            pytest.fail("it opened")
    assert trio.current_time() == 3.0


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), ProviderDown, "cannot be resolved: Name or"),
        (ConnectionRefusedError(111, "x"), ProviderDown, "cannot be reached: connection refused"),
        (OSError("strange"), ProviderDown, "cannot be reached: strange"),
        (UnicodeError("label too long"), ProviderRefused, "no name of a host: label too long"),
        (trio.BrokenResourceError(), ProviderDown, "broke off while tls was agreed"),
    ],
)
async def test_what_keeps_us_from_a_stream_is_named(raised: Exception, kind: type[ProviderError], text: str) -> None:
    async def dial(_: Address) -> trio.abc.Stream:
        raise raised

    with pytest.raises(ProviderError) as caught:
        async with opened(dial):
            pytest.fail("it opened")
    assert type(caught.value) is kind
    assert text in str(caught.value)


async def test_no_error_shows_the_key_not_even_when_the_vendor_sends_it_back(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(f"HTTP/1.1 401 No\r\n\r\nincorrect key: {KEY}, seen in 'Token {KEY}'".encode())
        await stream.aclose()

    async with raw_peer(serve) as (dial, _):
        with pytest.raises(ProviderRefused, match=r"incorrect key: \*\*\*, seen in '\*\*\*'") as caught:
            async with opened(dial):
                pytest.fail("it opened")
    assert KEY not in repr(caught.value)

    async def tell(connection: WebSocketConnection) -> None:
        await connection.aclose(4001, f"key {KEY} has run out\n")

    async with peer(tell) as (dial, _), opened(dial) as vendor:
        with pytest.raises(SocketClosed) as closed:
            await vendor.receive()
    assert closed.value.reason == "key *** has run out"
    assert KEY not in str(closed.value)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nX: y", f"clé {KEY}", f"{KEY}\x00"])
async def test_a_key_that_no_header_can_carry_is_refused_unseen(key: str) -> None:
    async with raw_peer(mute) as (dial, stream):
        with pytest.raises(ProviderRefused, match=r"'Authorization' holds a character") as caught:
            async with open_socket(
                vendor="acme", base_url="wss://a", target="/", headers={"Authorization": key}, dial=dial
            ):
                pytest.fail("it opened")
    assert KEY not in repr(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)
    assert not stream.sent


# ── what leaves the context ──────────────────────────────────────────────────────────────────────────────────────────


async def test_an_error_of_the_body_leaves_as_it_was_raised(autojump_clock: MockClock) -> None:
    raised = ZeroDivisionError("mine")
    async with peer(echo) as (dial, stream):
        with pytest.raises(ZeroDivisionError) as caught:
            async with opened(dial):
                raise raised
    assert caught.value is raised
    assert caught.value.__context__ is None
    assert stream.closed_at == 0


async def test_the_only_error_of_a_nursery_in_the_body_leaves_without_its_group(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise ProviderSlow("too slow")

    async with peer(echo) as (dial, _):
        with pytest.raises(ProviderSlow, match=r"too slow"):
            async with opened(dial), trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(trio.sleep_forever)


async def test_two_errors_of_the_body_leave_as_a_group(autojump_clock: MockClock) -> None:
    async with peer(echo) as (dial, _):
        with pytest.raises(ExceptionGroup) as caught:
            async with opened(dial):
                raise ExceptionGroup("two", [ZeroDivisionError(), ProviderSlow()])
    assert [type(each) for each in caught.value.exceptions] == [ZeroDivisionError, ProviderSlow]


async def test_two_tasks_that_see_one_end_raise_one_error(autojump_clock: MockClock) -> None:
    async with peer(echo) as (dial, _):
        with pytest.raises(ProviderSlow, match=r"first"):
            async with opened(dial):
                raise ExceptionGroup("two", [ProviderSlow("first"), ProviderDown("second")])


async def test_an_error_of_the_body_is_not_lost_in_a_cancellation(autojump_clock: MockClock) -> None:
    async with peer(echo) as (dial, _):
        with pytest.raises(ZeroDivisionError), trio.CancelScope() as scope:
            async with opened(dial):
                scope.cancel()
                raise ZeroDivisionError


async def test_a_cancellation_leaves_as_one(autojump_clock: MockClock) -> None:
    seen: list[BaseException] = []
    async with peer(echo) as (dial, _):
        with trio.move_on_after(1) as scope:
            try:
                async with opened(dial), trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
            except BaseException as error:
                seen.append(error)
                raise
    assert scope.cancelled_caught
    assert [type(each) for each in seen] == [trio.Cancelled]


# ── closing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_leaving_says_goodbye_and_closes_the_stream(autojump_clock: MockClock) -> None:
    ended: list[int] = []

    async def listen(connection: WebSocketConnection) -> None:
        try:
            await connection.get_message()
        finally:
            assert connection.closed is not None
            ended.append(connection.closed.code)

    async with peer(listen) as (dial, stream):
        async with opened(dial) as vendor:
            pass
        assert stream.closed_at == 0
        with pytest.raises(SocketClosed):
            await vendor.send("late")
        with pytest.raises(SocketClosed):
            await vendor.receive()
        await trio.testing.wait_all_tasks_blocked()
    assert ended == [1000]


async def test_a_cancelled_body_has_said_goodbye_too(autojump_clock: MockClock) -> None:
    async with peer(echo) as (dial, stream):
        with trio.move_on_after(1):
            async with opened(dial):
                await trio.sleep_forever()
        assert stream.closed_at == 1.0
    assert len(stream.sent) > 0
    assert stream.sent[-8] == 0x88  # a close frame, masked: 2 + 4 + 2 bytes


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_peer_that_never_agrees_to_the_close_is_left_in_time(
    is_cancelled: bool, autojump_clock: MockClock
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        await trio.sleep_forever()

    async with raw_peer(serve) as (dial, stream):
        with trio.CancelScope() as scope:
            async with opened(dial):
                if is_cancelled:
                    scope.cancel()
        assert stream.closed_at == 0.5
        assert trio.current_time() == 0.5


async def test_a_ping_that_crosses_our_close_does_no_harm(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        await stream.receive_some()
        await stream.send_all(frame(9, b"there?") + frame(8, (1000).to_bytes(2)))
        await trio.sleep_forever()

    async with raw_peer(serve) as (dial, stream):
        async with opened(dial):
            pass
        assert stream.closed_at <= 0.5


async def test_a_body_that_failed_waits_for_nobody(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        await trio.sleep_forever()

    async with raw_peer(serve) as (dial, stream):
        with pytest.raises(ProviderSlow):
            async with opened(dial):
                raise ProviderSlow("no results")
        assert stream.closed_at == 0


async def test_a_peer_that_no_longer_reads_is_given_up_by_the_send(autojump_clock: MockClock) -> None:
    async with peer(echo) as (dial, stream):
        with pytest.raises(ProviderDown, match=r"acme at vendor.test took no more bytes for 2 s"):
            async with opened(dial) as vendor:
                stream.full_after = len(stream.sent) + 100
                while True:
                    await vendor.send(b"12345678" * 4)
        assert stream.closed_at == 2.0


async def test_a_cancelled_send_ends_the_connection_since_half_a_message_is_on_its_way(
    autojump_clock: MockClock,
) -> None:
    async with peer(echo) as (dial, stream):
        async with opened(dial) as vendor:
            stream.full_after = len(stream.sent) + 16
            with trio.move_on_after(1):
                await vendor.send(b"12345678" * 4)
            stream.full_after = math.inf
            half = len(stream.sent)
            with pytest.raises(SocketClosed):
                await vendor.send("more")
        assert len(stream.sent) == half
        assert stream.closed_at == 1.0


# ── the peer ends it ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_said_before_the_close_is_told_before_the_close(autojump_clock: MockClock) -> None:
    async def talk(connection: WebSocketConnection) -> None:
        for each in ("one", "two"):
            await connection.send_message(each)
        await connection.aclose(1011, "NET-0001")

    async with peer(talk) as (dial, stream):
        async with opened(dial) as vendor:
            await trio.sleep(1)
            assert [await vendor.receive(), await vendor.receive()] == ["one", "two"]
            with pytest.raises(SocketClosed, match=r"closed the connection with code 1011: NET-0001") as caught:
                await vendor.receive()
            assert (caught.value.close_code, caught.value.reason) == (1011, "NET-0001")
            with pytest.raises(SocketClosed) as sending:
                await vendor.send("x")
            assert sending.value.close_code == 1011
        # A peer that closes first leaks trio-websocket's stream, but not ours.
        assert stream.closed_at == 1.0


async def test_a_close_that_comes_with_the_handshake_is_still_told_with_its_code(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        await stream.send_all(frame(1, b'{"error":"quota"}') + frame(8, (1008).to_bytes(2) + b"quota"))
        await stream.aclose()

    for _ in range(20):  # tasks run in any order
        async with raw_peer(serve) as (dial, _stream), opened(dial) as vendor:
            assert await vendor.receive() == '{"error":"quota"}'
            with pytest.raises(SocketClosed) as caught:
                await vendor.receive()
            assert (caught.value.close_code, caught.value.reason) == (1008, "quota")


async def test_a_peer_that_breaks_off_has_no_code(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        await stream.aclose()

    async with raw_peer(serve) as (dial, _), opened(dial) as vendor:
        with pytest.raises(SocketClosed, match=r"acme at vendor.test broke off the connection") as caught:
            await vendor.receive()
        assert (caught.value.close_code, caught.value.reason) == (None, "")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(1, b"\xff\xfe"), 1007),  # text that is not utf-8
        (frame(3, b""), 1002),  # no such opcode
        (frame(0, b"x"), 1002),  # goes on with nothing
        (b"\x81\x85abcdhello", 1002),  # masked, which only clients do
        (frame(9, b"x" * 126), 1002),  # a ping too long
    ],
)
async def test_a_peer_that_breaks_the_protocol_ends_the_connection(
    sent: bytes, code: int, autojump_clock: MockClock
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        await stream.send_all(sent * 2)
        await trio.sleep_forever()

    async with raw_peer(serve) as (dial, stream):
        with pytest.raises(SocketClosed) as caught:
            async with opened(dial) as vendor:
                await vendor.receive()
        assert caught.value.close_code == code
        assert stream.closed_at == 0


@pytest.mark.parametrize(("length", "passes"), [(1000, True), (1001, False)])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_message_longer_than_allowed_is_named_and_no_other_is(
    length: int, passes: bool, pieces: int, autojump_clock: MockClock
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        message = b"x" * length
        cut = -(-length // pieces)
        parts = [message[at : at + cut] for at in range(0, length, cut)]
        for at, part in enumerate(parts):
            await stream.send_all(frame(1 if at == 0 else 0, part, final=at == len(parts) - 1))
        await trio.sleep_forever()

    policy = SocketPolicy(longest_message_bytes=1000)
    async with raw_peer(serve) as (dial, _), opened(dial, policy=policy) as vendor:
        if passes:
            assert await vendor.receive() == "x" * length
        else:
            with pytest.raises(ProviderDown, match=r"vendor.test sent a message of more than 1000 bytes") as caught:
                await vendor.receive()
            assert type(caught.value) is ProviderDown


# ── the watchdog ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_peer_that_answers_pings_is_left_alone_for_an_hour(autojump_clock: MockClock) -> None:
    async with peer(silence) as (dial, _), opened(dial) as vendor:
        with trio.move_on_after(3600) as hour:
            await vendor.receive()
        assert hour.cancelled_caught


@pytest.mark.parametrize("waits", ["receive", "send"])
async def test_a_peer_that_answers_no_ping_is_down(waits: str, autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        await trio.sleep_forever()

    async with raw_peer(serve) as (dial, stream):
        with pytest.raises(ProviderDown, match=r"acme at vendor.test did not answer a ping within 3 s"):
            async with opened(dial) as vendor:
                if waits == "receive":
                    await vendor.receive()
                while True:
                    await vendor.send("x")
                    await trio.sleep(0.5)
        assert stream.closed_at == 8.0
        assert trio.current_time() == pytest.approx(8.25, abs=0.26)


async def test_a_peer_that_talks_need_not_answer_pings(autojump_clock: MockClock) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await handshake(stream)
        for _ in range(20):
            await trio.sleep(2.9)
            await stream.send_all(frame(1, b"still here"))
        await trio.sleep_forever()

    async with raw_peer(serve) as (dial, _):
        heard = 0
        with pytest.raises(ProviderDown, match=r"did not answer a ping"):
            async with opened(dial) as vendor:
                while True:
                    await vendor.receive()
                    heard += 1
        assert heard == 20


async def test_a_body_that_reads_slowly_does_not_condemn_the_peer(autojump_clock: MockClock) -> None:
    async def flood(connection: WebSocketConnection) -> None:
        for each in range(100):
            await connection.send_message(str(each))
        await silence(connection)

    async with peer(flood) as (dial, _), opened(dial) as vendor:
        await trio.sleep(60)  # a hundred messages, of which trio-websocket takes no more than it is asked to keep
        assert [await vendor.receive() for _ in range(100)] == [str(each) for each in range(100)]
        await trio.sleep(60)
        await vendor.send("x")


# ── real sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def loopback(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(request: WebSocketRequest) -> None:
        with suppress(ConnectionClosed):
            await talk(await request.accept())

    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, tls, disconnect_timeout=0.1))
        yield server.port
        nursery.cancel_scope.cancel()


def files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def test_no_file_is_left_by_any_way_out() -> None:
    async def closes(connection: WebSocketConnection) -> None:
        await connection.aclose(1008, "DATA-0000")

    async def once(port: int, way: str) -> None:
        with trio.CancelScope() as scope:
            async with opened(dial_tcp, base_url=f"http://127.0.0.1:{port}") as vendor:
                if way == "receive":
                    await vendor.receive()
                if way == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
                if way == "raised":
                    raise ZeroDivisionError

    async with loopback(echo) as port, loopback(closes) as closing:
        await once(port, "returned")
        before = files()
        for _ in range(5):
            await once(port, "returned")
            await once(port, "cancelled")
            with pytest.raises(ZeroDivisionError):
                await once(port, "raised")
            with pytest.raises(SocketClosed, match=r"DATA-0000"):
                await once(closing, "receive")
        with trio.fail_after(5):
            while files() > before:  # noqa: ASYNC110 - the server's side of each; it tells nobody
                await trio.sleep(0.01)


async def test_a_port_where_nobody_listens_is_refused_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ProviderDown, match=rf"acme at 127.0.0.1:{port} cannot be reached: connection refused"):
            async with opened(dial_tcp, base_url=f"ws://127.0.0.1:{port}"):
                pytest.fail("it opened")


async def test_a_name_that_nobody_has_is_named() -> None:
    class Nobody(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object, **__: object) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        async def getnameinfo(self, *_: object, **__: object) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Nobody())
    with pytest.raises(ProviderDown, match=r"acme at vendor.test is a name that cannot be resolved: Name or service"):
        async with opened(dial_tcp):
            pytest.fail("it opened")


@attrs.frozen
class Authority:
    ca: trustme.CA

    def server(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name).configure_cert(context)
        return context

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(trustme.CA())


async def test_tls_is_spoken_and_closed_with_a_certificate_that_holds(authority: Authority) -> None:
    dial = partial(dial_tcp, tls=authority.client())
    async with loopback(echo, authority.server("127.0.0.1")) as port:
        for scheme in ("https", "wss"):
            async with opened(dial, base_url=f"{scheme}://127.0.0.1:{port}") as vendor:
                await vendor.send("x" * 100_000)
                assert await vendor.receive() == "x" * 100_000


@pytest.mark.parametrize(("name", "trusts"), [("127.0.0.1", False), ("other.test", True)])
async def test_a_certificate_that_does_not_hold_is_refused_by_name(
    name: str, trusts: bool, authority: Authority
) -> None:
    dial = partial(dial_tcp, tls=authority.client()) if trusts else dial_tcp
    async with loopback(echo, authority.server(name)) as port:
        with pytest.raises(ProviderRefused, match=r"showed a certificate that does not hold: .+"):
            async with opened(dial, base_url=f"wss://127.0.0.1:{port}", policy=SocketPolicy(connect_s=30)):
                pytest.fail("it opened")


async def test_a_port_that_speaks_no_tls_is_named() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 this is plain http\r\n\r\n")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(ProviderDown, match=r"does not agree on tls: "):
            async with opened(dial_tcp, base_url=f"wss://127.0.0.1:{port}"):
                pytest.fail("it opened")
        nursery.cancel_scope.cancel()


async def test_a_real_peer_that_no_longer_reads_cannot_hold_us() -> None:
    async def deaf(stream: trio.SocketStream) -> None:
        await handshake(stream)
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, deaf, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        policy = SocketPolicy(send_s=0.1, close_s=0.1)
        with trio.fail_after(10), pytest.raises(ProviderDown, match=r"took no more bytes for 0.1 s"):
            async with opened(dial_tcp, base_url=f"ws://127.0.0.1:{port}", policy=policy) as vendor:
                while True:
                    await vendor.send(bytes(100_000))
        with trio.fail_after(10), trio.move_on_after(0.2):
            async with opened(dial_tcp, base_url=f"ws://127.0.0.1:{port}", policy=SocketPolicy(close_s=0.1)) as vendor:
                while True:
                    await vendor.send(bytes(100_000))
        nursery.cancel_scope.cancel()


# ── anything at all ──────────────────────────────────────────────────────────────────────────────────────────────────

FRAMES = st.tuples(
    st.integers(0, 255),
    st.one_of(st.binary(max_size=140), st.sampled_from([b"\xff\xff", b"\x03\xe8", b"\x03\xe8\xff"])),
).map(lambda made: bytes([made[0]]) + frame(0, made[1])[1:])


@given(st.lists(st.one_of(FRAMES, st.binary(max_size=40)), max_size=8), st.integers(0, 2**32), st.booleans())
def test_whatever_a_peer_sends_only_a_providers_error_leaves(pieces: list[bytes], seed: int, after: bool) -> None:
    randomly = random.Random(seed)

    async def serve(stream: trio.abc.Stream) -> None:
        if after:
            await handshake(stream)
        sent = b"".join(pieces)
        with suppress(trio.BrokenResourceError):  # we need not listen to the end
            while sent:
                cut = randomly.randint(1, len(sent))
                await stream.send_all(sent[:cut])
                sent = sent[cut:]
        if randomly.random() < 0.5:
            await stream.aclose()
        await trio.sleep_forever()

    async def read(vendor: VendorSocket) -> None:
        while True:
            await vendor.receive()

    async def main() -> None:
        async with raw_peer(serve) as (dial, stream):
            with pytest.raises(ProviderError) as caught:
                async with opened(dial) as vendor, trio.open_nursery() as nursery:
                    nursery.start_soon(read, vendor)
            assert "acme at vendor.test" in str(caught.value)
            assert not math.isnan(stream.closed_at)

    trio.run(main, clock=MockClock(autojump_threshold=0))
