import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

import pytest
import structlog
import trio
import trio.testing
from hypercorn.typing import ASGIReceiveEvent, ASGISendEvent
from trio_websocket import CloseReason, ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from tests.web.front import Front, media_path
from web.media import Line
from web.server import MESSAGE_MAX_BYTES
from web.transport import WriteDeadlineStream

OpenFront = Callable[..., Awaitable[str]]


@asynccontextmanager
async def dial(address: str, path: str | None = None) -> AsyncIterator[WebSocketConnection]:
    """A client over a stream of our own: trio-websocket leaves its socket open when the other side closes first."""
    host, port = address.rsplit(":", 1)
    async with (
        await trio.open_tcp_stream(host, int(port)) as stream,
        trio.open_nursery() as nursery,
        await wrap_client_stream(nursery, stream, address, path or media_path()) as client,
    ):
        yield client


async def echo(line: Line) -> None:
    with suppress(trio.EndOfChannel):
        while True:
            message = await line.receive()
            assert isinstance(message, str)
            await line.send(message)


async def shake_hands(address: str, *, extra: bytes = b"") -> tuple[trio.SocketStream, bytes]:
    """A client that does nothing by itself, and the head of the server's answer; what follows that is not read."""
    host, port = address.rsplit(":", 1)
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(
        f"GET {media_path()} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode()
        + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        + extra
        + b"\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = await stream.receive_some(1)
        assert piece, head
        head += piece
    return stream, head


async def raw_socket(address: str) -> trio.SocketStream:
    stream, head = await shake_hands(address)
    assert head.startswith(b"HTTP/1.1 101 ")
    return stream


async def until(true: Callable[[], bool]) -> None:
    """Wait for the other side of a real socket."""
    with trio.fail_after(5):
        while not true():  # noqa: ASYNC110 - the number of living tasks has no event
            await trio.sleep(0.002)


async def until_only(tasks_living: int) -> None:
    """Wait until no more than this many tasks are left."""
    await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks_living)


async def until_eof(stream: trio.SocketStream) -> None:
    while await stream.receive_some(65536):
        pass


async def count_tasks() -> int:
    """The tasks that live when nobody is connected."""
    await trio.testing.wait_all_tasks_blocked(0.01)
    return trio.lowlevel.current_statistics().tasks_living


async def send_for_ever(line: Line, text: str = "x" * 16384) -> NoReturn:
    while True:
        await line.send(text)


async def flood(stream: trio.SocketStream, data: bytes) -> NoReturn:
    with trio.fail_after(5):
        while True:
            await stream.send_all(data)


# An empty text message, masked with zeros.
EMPTY_MESSAGE = b"\x81\x80\0\0\0\0"


def close_reason(connection: WebSocketConnection) -> int:
    assert isinstance(connection.closed, CloseReason)
    return connection.closed.code


# ── a call ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_text_goes_both_ways(open_front: OpenFront) -> None:
    address = await open_front(echo)
    async with dial(address) as client:
        for text in ("hello", "", "ünïcödé", "x" * MESSAGE_MAX_BYTES):
            await client.send_message(text)
            assert await client.get_message() == text


async def test_a_binary_message_arrives_as_bytes(open_front: OpenFront) -> None:
    seen: list[str | bytes] = []

    async def answer(line: Line) -> None:
        seen.extend([await line.receive(), await line.receive()])

    async with dial(await open_front(answer)) as client:
        await client.send_message(b"\x00\xff")
        await client.send_message(b"")
        with pytest.raises(ConnectionClosed):
            await client.get_message()
    assert seen == [b"\x00\xff", b""]


async def test_the_socket_closes_normally_when_the_call_ends(open_front: OpenFront) -> None:
    async def answer(line: Line) -> None:
        await line.send("goodbye")

    async with dial(await open_front(answer)) as client:
        assert await client.get_message() == "goodbye"
        with pytest.raises(ConnectionClosed):
            await client.get_message()
        assert close_reason(client) == 1000


async def test_the_call_chooses_the_close_code(open_front: OpenFront) -> None:
    async def answer(line: Line) -> None:
        await line.aclose(4001)
        await line.aclose(4002)

    async with dial(await open_front(answer)) as client:
        with pytest.raises(ConnectionClosed):
            await client.get_message()
        assert close_reason(client) == 4001


async def test_closing_the_line_ends_a_receive_under_way_and_all_later_use(open_front: OpenFront) -> None:
    done = trio.Event()

    async def answer(line: Line) -> None:
        async def read() -> None:
            with pytest.raises(trio.EndOfChannel):
                await line.receive()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await line.aclose()
        with pytest.raises(trio.EndOfChannel):
            await line.receive()
        with pytest.raises(trio.BrokenResourceError):
            await line.send("to nobody")
        done.set()

    stream = await raw_socket(await open_front(answer))  # never answers the close frame
    with trio.fail_after(5):
        await done.wait()
    await stream.aclose()


@pytest.mark.parametrize("code", [1000, 1001, 4321])
async def test_a_peer_that_closes_ends_the_line(open_front: OpenFront, code: int) -> None:
    ended = trio.Event()

    async def answer(line: Line) -> None:
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await line.receive()
        with pytest.raises(trio.BrokenResourceError):
            await line.send("too late")
        ended.set()

    async with dial(await open_front(answer)) as client:
        await client.aclose(code)
    with trio.fail_after(5):
        await ended.wait()


async def test_what_the_peer_said_before_it_closed_is_still_received(open_front: OpenFront) -> None:
    seen: list[str | bytes] = []
    closed, ended = trio.Event(), trio.Event()

    async def answer(line: Line) -> None:
        await closed.wait()
        with suppress(trio.EndOfChannel):
            while True:
                seen.append(await line.receive())
        ended.set()

    stream = await raw_socket(await open_front(answer))
    # 30 text messages and a close frame, unmasked length under 126, masked with zeros.
    await stream.send_all(b"".join(b"\x81\x82\0\0\0\0%02d" % n for n in range(30)) + b"\x88\x82\0\0\0\0\x03\xe8")
    closed.set()
    with trio.fail_after(5):
        await ended.wait()
    assert seen == [f"{n:02d}" for n in range(30)]
    await stream.aclose()


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


async def fail_plainly(line: Line) -> None:
    await line.receive()
    raise ValueError("a bug")


async def fail_in_a_nursery(line: Line) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_plainly, line)
        nursery.start_soon(trio.sleep_forever)


@pytest.mark.parametrize("failing", [fail_plainly, fail_in_a_nursery])
async def test_a_call_that_raises_takes_down_its_own_socket_alone(
    open_front: OpenFront, failing: Callable[[Line], Awaitable[None]]
) -> None:
    calls = iter([echo, failing])

    async def answer(line: Line) -> None:
        await next(calls)(line)

    address = await open_front(answer)
    async with dial(address) as good, dial(address) as bad:
        await good.send_message("before")
        assert await good.get_message() == "before"
        with structlog.testing.capture_logs() as logs:
            await bad.send_message("go")
            with pytest.raises(ConnectionClosed):
                await bad.get_message()
        assert close_reason(bad) == 1011
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [("line_failed", "error")]
        await good.send_message("after")
        assert await good.get_message() == "after"


@pytest.mark.parametrize("extra_bytes", [1, 100_000])
async def test_a_message_over_the_limit_costs_its_sender_the_socket_and_nobody_else(
    open_front: OpenFront, extra_bytes: int
) -> None:
    ended = 0

    async def answer(line: Line) -> None:
        nonlocal ended
        await echo(line)
        ended += 1

    front = Front()
    address = await open_front(answer, front=front)
    async with dial(address) as good:
        async with dial(address) as bad:
            with suppress(ConnectionClosed):
                await bad.send_message("x" * (MESSAGE_MAX_BYTES + extra_bytes))
            with pytest.raises(ConnectionClosed):
                await bad.get_message()
            assert close_reason(bad) == 1009
        await until(lambda: ended == 1)
        await until(lambda: front.refused == [("media", "message too long")])
        await good.send_message("still here")
        assert await good.get_message() == "still here"


async def test_a_message_over_the_limit_is_not_collected_from_a_peer_that_ignores_the_close(
    open_front: OpenFront,
) -> None:
    stream = await raw_socket(await open_front(echo))
    await stream.send_all(b"\x81\xff" + struct.pack("!Q", 1 << 40) + bytes(4))
    with pytest.raises(trio.BrokenResourceError):
        await flood(stream, bytes(65536))
    await stream.aclose()


async def test_a_peer_that_stops_reading_is_cut_off_within_the_write_deadline(open_front: OpenFront) -> None:
    ends: list[str] = []

    async def answer(line: Line) -> None:
        async def write() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await send_for_ever(line)
            ends.append("write")

        async def read() -> None:
            with pytest.raises(trio.EndOfChannel):
                await line.receive()
            ends.append("read")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            nursery.start_soon(read)

    address = await open_front(answer, write_deadline_s=0.1)
    before = await count_tasks()
    stream = await raw_socket(address)
    await until(lambda: len(ends) == 2)
    await until_only(before)
    with pytest.raises(trio.BrokenResourceError):  # reset, so that the peer knows too
        await until_eof(stream)
    await stream.aclose()


async def test_a_peer_that_stops_reading_does_not_hold_a_call_that_only_sends(open_front: OpenFront) -> None:
    ended = trio.Event()

    async def answer(line: Line) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await send_for_ever(line)
        ended.set()

    address = await open_front(answer, write_deadline_s=0.1)
    before = await count_tasks()
    stream = await raw_socket(address)
    await stream.send_all(EMPTY_MESSAGE * 100)  # more than the queue in front of the call holds
    with trio.fail_after(5):
        await ended.wait()
    await until_only(before)
    await stream.aclose()


async def test_cancelling_a_blocked_send_does_not_lose_the_end_of_the_line(open_front: OpenFront) -> None:
    ended = trio.Event()

    async def answer(line: Line) -> None:
        with trio.move_on_after(0.05):
            await send_for_ever(line)
        with pytest.raises(trio.EndOfChannel):
            await line.receive()
        ended.set()

    stream = await raw_socket(await open_front(answer, write_deadline_s=0.1))
    with trio.fail_after(5):
        await ended.wait()
    await stream.aclose()


async def test_sending_to_a_peer_that_has_gone_lets_others_run(open_front: OpenFront) -> None:
    """A loop that sends, whatever happens, with nobody receiving: the worst that a call can do."""
    refused = 0

    async def answer(line: Line) -> None:
        nonlocal refused
        while refused < 100:
            try:
                await line.send("hello?")
            except trio.BrokenResourceError:
                refused += 1

    async with dial(await open_front(answer)) as client:
        await client.get_message()
    await until(lambda: refused == 100)


async def test_a_message_that_failed_while_another_went_out_is_not_taken_for_sent() -> None:
    left, right = socket.socketpair()
    with right:
        transport = WriteDeadlineStream(trio.SocketStream(trio.socket.from_stdlib_socket(left)), deadline_s=1.0)

        async def receive() -> ASGIReceiveEvent:
            raise AssertionError("nobody receives here")

        async def send(_event: ASGISendEvent) -> None:
            await transport.send_all(b"another's")
            transport.abort()

        with pytest.raises(trio.BrokenResourceError):
            await Line(receive, send, transport).send("mine")


async def test_sending_is_a_checkpoint_whatever_the_line(open_front: OpenFront) -> None:
    done = trio.Event()

    async def answer(line: Line) -> None:
        with trio.testing.assert_checkpoints():
            await line.send("open")
        with trio.testing.assert_checkpoints():
            await line.aclose()
        with trio.testing.assert_checkpoints(), pytest.raises(trio.BrokenResourceError):
            await line.send("closed here")
        with trio.testing.assert_checkpoints(), pytest.raises(trio.EndOfChannel):
            await line.receive()
        with trio.testing.assert_checkpoints():
            await line.aclose()
        done.set()

    async def answer_one_gone(line: Line) -> None:
        await trio.sleep(0.05)  # the peer has gone, and nobody has told the call
        for _ in range(3):
            with trio.testing.assert_checkpoints(), pytest.raises(trio.BrokenResourceError):
                await line.send("gone")
        gone.set()

    gone = trio.Event()
    async with dial(await open_front(answer)):
        with trio.fail_after(5):
            await done.wait()
    async with dial(await open_front(answer_one_gone)):
        pass
    with trio.fail_after(5):
        await gone.wait()


async def test_a_reset_ends_the_line(open_front: OpenFront) -> None:
    ended = trio.Event()

    async def answer(line: Line) -> None:
        with pytest.raises(trio.EndOfChannel):
            await line.receive()
        with pytest.raises(trio.BrokenResourceError):
            await line.send("gone")
        ended.set()

    stream = await raw_socket(await open_front(answer))
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()
    with trio.fail_after(5):
        await ended.wait()


async def test_a_call_that_ends_without_listening_ends_its_connection(open_front: OpenFront) -> None:
    """The queue in front of the call is full, the peer never answers the close frame, and keeps talking."""

    async def answer(line: Line) -> None:
        await line.receive()

    address = await open_front(answer, leave_s=0.05)
    before = await count_tasks()
    stream = await raw_socket(address)
    with pytest.raises(trio.BrokenResourceError):
        await flood(stream, EMPTY_MESSAGE * 100)
    await until_only(before)
    await stream.aclose()


async def test_the_last_words_arrive_while_the_peer_is_still_talking(open_front: OpenFront) -> None:
    """Twilio sends audio until it has seen the close frame; closing over it would reset the socket."""

    async def answer(line: Line) -> None:
        await line.receive()
        await line.send("goodbye")

    async with dial(await open_front(answer)) as client:
        with suppress(ConnectionClosed):
            for _ in range(200):
                await client.send_message("x" * 400)
        assert await client.get_message() == "goodbye"
        with pytest.raises(ConnectionClosed):
            await client.get_message()
        assert close_reason(client) == 1000


async def test_fifty_calls_leave_no_task(open_front: OpenFront) -> None:
    address = await open_front(echo)
    before = await count_tasks()

    async def call(n: int) -> None:
        if n % 3 == 2:  # one in three just vanishes
            stream = await raw_socket(address)
            await stream.aclose()
            return
        async with dial(address) as client:
            await client.send_message(str(n))
            assert await client.get_message() == str(n)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(call, n)
    await until_only(before)


# ── the handshake ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_compression_is_never_agreed_to(open_front: OpenFront) -> None:
    offer = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    stream, head = await shake_hands(await open_front(echo), extra=offer)
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"sec-websocket-extensions" not in head.lower()
    await stream.aclose()


async def test_another_path_is_not_a_line(open_front: OpenFront) -> None:
    address = await open_front(echo)
    not_found = pytest.RaisesExc(ConnectionRejected, check=lambda error: error.status_code == 404)
    with pytest.RaisesGroup(not_found):
        async with dial(address, "/other"):
            pass
