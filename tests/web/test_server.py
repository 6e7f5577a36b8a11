import errno
import socket
from collections.abc import Awaitable, Callable
from typing import NoReturn

import pytest
import structlog
import trio
import trio.testing
from hypercorn.typing import ASGIFramework
from hypercorn.utils import LifespanFailureError
from quart_trio import QuartTrio

from engine.messages.admission import Ticket
from engine.messages.errors import ConfigError
from tests.web.front import Front, media_path
from web.media import Line, MediaDoor, beside
from web.server import Bind, listen, parse_bind, serve, serve_on
from web.transport import WriteDeadlineStream


async def ask(address: str, request: bytes = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") -> bytes:
    """All that the server answers to these bytes."""
    where = parse_bind(address)
    answer = b""
    async with await trio.open_tcp_stream(where.host, where.port) as stream:
        await stream.send_all(request)
        with trio.fail_after(5):
            async for piece in stream:
                answer += piece
    return answer


# ── where to listen ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8080", Bind("127.0.0.1", 8080)),
        ("localhost:0", Bind("localhost", 0)),
        ("[::1]:65535", Bind("::1", 65535)),
        ("0.0.0.0:80", Bind("0.0.0.0", 80)),
        ("voice.example.com:443", Bind("voice.example.com", 443)),
    ],
)
def test_an_address_is_read_and_written_the_same(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind
    assert str(bind) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected HOST:PORT"),
        ("8080", "expected HOST:PORT"),
        ("127.0.0.1", "expected HOST:PORT"),
        ("http://127.0.0.1:8080", "expected HOST:PORT"),
        (":8080", "the host is missing"),
        ("127.0.0.1:", "port '' is not a number from 0 to 65535"),
        ("127.0.0.1:http", "port 'http' is not a number"),
        ("127.0.0.1:65536", "port '65536' is not a number from 0 to 65535"),
        ("127.0.0.1:-1", "port '-1' is not a number"),
        ("127.0.0.1:٨٠", "is not a number"),
        ("::1:8080", "goes in brackets"),
        ("::1", "goes in brackets"),
        ("[::1]", "goes in brackets"),
        ("[127.0.0.1]:8080", "'127.0.0.1' is not an IPv6 address"),
        ("[]:8080", "'' is not an IPv6 address"),
    ],
)
def test_a_malformed_address_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=r"^bind ") as refused:
        parse_bind(text)
    assert why in str(refused.value)


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "192.168.1.2:8080", "voice.example.com:8080"])
async def test_without_an_auth_token_only_loopback_is_served(bind: str) -> None:
    with pytest.raises(ConfigError, match="another machine could reach it, and without an auth token"):
        await listen(bind, loopback_only=True)


async def test_without_an_auth_token_it_is_said_what_to_set() -> None:
    with pytest.raises(ConfigError, match="set TWILIO_AUTH_TOKEN"):
        await listen("0.0.0.0:0", loopback_only=True)


async def test_with_an_auth_token_any_address_is_served(nursery: trio.Nursery, plain_app: ASGIFramework) -> None:
    listeners = await listen("0.0.0.0:0", loopback_only=False)
    nursery.start_soon(serve_on, plain_app, listeners)
    answer = await ask(f"127.0.0.1:{listeners[0].socket.getsockname()[1]}")
    assert answer.startswith(b"HTTP/1.1 204 ")


async def test_a_port_in_use_is_one_clear_sentence(plain_app: ASGIFramework) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^bind '{bind}': the port is in use; "):
            await serve(plain_app, bind=bind)


async def test_an_address_that_cannot_be_had_is_one_clear_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_port: int, *, host: str) -> list[trio.SocketListener]:
        raise PermissionError(errno.EACCES, "Permission denied", host)

    monkeypatch.setattr(trio, "open_tcp_listeners", refuse)
    with pytest.raises(ConfigError, match=r"^bind '127\.0\.0\.1:80': cannot listen there: Permission denied$"):
        await listen("127.0.0.1:80", loopback_only=True)


# ── serving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "[::1]:0"])
async def test_the_bound_address_is_told(nursery: trio.Nursery, plain_app: ASGIFramework, bind: str) -> None:
    async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
        await serve(plain_app, bind=bind, task_status=task_status)

    addresses: list[str] = await nursery.start(run)
    assert [parse_bind(address).host for address in addresses] == [parse_bind(bind).host]
    assert (await ask(addresses[0])).startswith(b"HTTP/1.1 204 ")


async def test_a_port_can_be_known_before_the_app_is_made(nursery: trio.Nursery, plain_app: ASGIFramework) -> None:
    listeners = await listen("127.0.0.1:0", loopback_only=True)
    port = listeners[0].socket.getsockname()[1]
    nursery.start_soon(serve_on, plain_app, listeners)
    assert (await ask(f"127.0.0.1:{port}")).startswith(b"HTTP/1.1 204 ")


async def test_the_app_is_started_before_and_shut_down_after_serving() -> None:
    events: list[str] = []
    app = QuartTrio("test")

    @app.before_serving
    async def start() -> None:
        await trio.sleep(0.01)
        events.append("before_serving")

    @app.after_serving
    async def stop() -> None:
        await trio.sleep(0.01)
        events.append("after_serving")

    async def answer(line: Line, _ticket: Ticket) -> None:
        events.append("answer")
        try:
            await line.receive()
        finally:
            events.append("answer ends")

    async with trio.open_nursery() as nursery:
        front = beside(app, MediaDoor(Front().door, answer))
        listeners = await listen("127.0.0.1:0", loopback_only=True)
        addresses: list[str] = []

        async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
            await serve_on(front, listeners, task_status=task_status)

        addresses = await nursery.start(run)
        events.append("serving")
        where = parse_bind(addresses[0])
        stream = await trio.open_tcp_stream(where.host, where.port)
        await stream.send_all(
            f"GET {media_path()} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode()
            + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await trio.testing.wait_all_tasks_blocked(0.02)
        nursery.cancel_scope.cancel()

    assert events == ["before_serving", "serving", "answer", "answer ends", "after_serving"]
    received = b""
    async for piece in stream:
        received += piece
    assert received.endswith(b"\x88\x02\x03\xe9")  # a close frame, 1001: going away
    await stream.aclose()
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream(where.host, where.port)


async def test_an_app_that_does_not_start_is_not_served() -> None:
    app = QuartTrio("test")

    @app.before_serving
    async def start() -> None:
        raise ValueError("no voice")

    listeners = await listen("127.0.0.1:0", loopback_only=True)
    failure = pytest.RaisesExc(LifespanFailureError, match="no voice")
    with pytest.RaisesGroup(failure, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
                await serve_on(app, listeners, task_status=task_status)

            await nursery.start(run)
            raise AssertionError("it said that it had started")
    assert listeners[0].socket.fileno() == -1


async def test_a_shutdown_that_hangs_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.server.SHUTDOWN_S", 0.05)
    app = QuartTrio("test")
    app.after_serving(trio.sleep_forever)
    with structlog.testing.capture_logs() as logs, trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
                await serve(app, bind="127.0.0.1:0", task_status=task_status)

            await nursery.start(run)
            nursery.cancel_scope.cancel()
    assert [entry["event"] for entry in logs] == ["shutdown_cut_short"]


async def test_what_runs_beside_the_app_brings_the_server_down_when_it_crashes(plain_app: ASGIFramework) -> None:
    listeners = await listen("127.0.0.1:0", loopback_only=True)

    async def service() -> None:
        await trio.testing.wait_all_tasks_blocked(0.01)
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_on, plain_app, listeners)
            nursery.start_soon(service)
    assert listeners[0].socket.fileno() == -1


async def test_a_crash_in_the_apps_own_lifespan_brings_the_server_down() -> None:
    """Quart's nursery for services is one: Hypercorn's own server would go on without them."""
    app = QuartTrio("test")

    async def service() -> None:
        await trio.testing.wait_all_tasks_blocked(0.01)
        raise ZeroDivisionError

    @app.before_serving
    async def start() -> None:
        app.nursery.start_soon(service)

    listeners = await listen("127.0.0.1:0", loopback_only=True)
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True), trio.fail_after(5):
        await serve_on(app, listeners)
    assert listeners[0].socket.fileno() == -1


UPGRADE = (
    f"GET {media_path(token_s=3600)} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".encode()
    + b"Sec-WebSocket-Version: 13\r\n"
)
KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS on a plain port
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET /media HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        UPGRADE + b"\r\n",  # no key
        UPGRADE + KEY + b"Sec-WebSocket-Protocol: \xff\r\n\r\n",  # by itself, Hypercorn dies of this, with every call
        UPGRADE + KEY + b"\r\n\xff\xff\xff\xff",  # frames before the answer, and no frames at that
        b"POST /voice/incoming HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab",  # cut short
    ],
)
async def test_garbage_costs_its_sender_the_connection_and_nobody_else(
    open_front: Callable[..., Awaitable[str]], garbage: bytes
) -> None:
    async def answer(line: Line) -> None:
        with pytest.raises(trio.EndOfChannel):
            await line.receive()

    address = await open_front(answer)
    with structlog.testing.capture_logs():
        await ask(address, garbage)
    assert b'"status":"ok"' in await ask(address)


async def test_http_2_is_not_spoken(open_front: Callable[..., Awaitable[str]]) -> None:
    address = await open_front(trio.sleep_forever)
    answer = await ask(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    answer = await ask(
        address,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "garbage", [b"\xff\xff\xff\xff", b"\x81\x81\0\0\0\0\xff", b"\x81\x01x", b"\x89\x80\0\0\0\0" * 9]
)
async def test_garbage_on_a_line_costs_that_line_alone(
    open_front: Callable[..., Awaitable[str]], garbage: bytes
) -> None:
    """No frame at all; text that is not UTF-8; a frame without a mask; pings, which are no garbage."""
    ended = trio.Event()

    async def answer(line: Line) -> None:
        with pytest.raises(trio.EndOfChannel):
            await line.receive()
        ended.set()

    address = await open_front(answer)
    where = parse_bind(address)
    async with await trio.open_tcp_stream(where.host, where.port) as stream:
        await stream.send_all(UPGRADE + KEY + b"\r\n")
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
        await stream.send_all(garbage)
        await stream.receive_some()
    with trio.fail_after(5):
        await ended.wait()
    assert b'"status":"ok"' in await ask(address)


async def test_a_form_that_never_ends_is_not_waited_for(
    open_front: Callable[..., Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.app.FORM_MAX_S", 0.05)
    head = b"POST /voice/incoming HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    answer = await ask(await open_front(trio.sleep_forever), head + b"Content-Length: 100\r\n\r\nCallSid=")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def drip(stream: trio.SocketStream) -> NoReturn:
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.01)


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_head_that_drips_in_is_cut_off_however_busily_it_drips(
    open_front: Callable[..., Awaitable[str]], monkeypatch: pytest.MonkeyPatch, before: bytes
) -> None:
    monkeypatch.setattr("web.server.IDLE_S", 0.1)
    where = parse_bind(await open_front(trio.sleep_forever))
    async with await trio.open_tcp_stream(where.host, where.port) as stream:
        await stream.send_all(before + b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Drop: ")
        with trio.fail_after(5), pytest.raises(trio.BrokenResourceError):
            await drip(stream)


async def test_a_body_that_nobody_wants_is_not_waited_for(open_front: Callable[..., Awaitable[str]]) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    assert b'"status":"ok"' in await ask(await open_front(trio.sleep_forever), head)


async def test_a_form_without_a_signature_is_not_waited_for(open_front: Callable[..., Awaitable[str]]) -> None:
    address = await open_front(trio.sleep_forever, front=Front(auth_tokens=("secret",)))
    head = b"POST /voice/incoming HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    with structlog.testing.capture_logs():
        assert (await ask(address, head + b"Content-Length: 100\r\n\r\nCallSid=")).startswith(b"HTTP/1.1 403 ")


async def test_a_connection_that_has_been_answered_is_closed_after_a_while(
    open_front: Callable[..., Awaitable[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.server.IDLE_S", 0.1)
    address = await open_front(trio.sleep_forever)
    assert b'"status":"ok"' in await ask(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")


# ── the stream ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_write_that_nobody_reads_ends_at_its_deadline_and_resets_the_connection() -> None:
    async def accept(raw: trio.SocketStream) -> None:
        stream = WriteDeadlineStream(raw, deadline_s=0.05)
        await stream.send_all(b"hello")
        assert (stream.writes, stream.broken) == (1, False)
        with pytest.raises(trio.BrokenResourceError, match=r"the peer took no data for 0\.05 s"):
            await stream.send_all(bytes(20_000_000))
        assert (stream.writes, stream.broken) == (1, True)
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        done.set()

    done = trio.Event()
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(trio.serve_tcp, accept, 0)
        async with await trio.testing.open_stream_to_socket_listener(listeners[0]) as client:
            with trio.fail_after(5):
                await done.wait()
            with pytest.raises(trio.BrokenResourceError):
                await read_to_the_end(client)
        nursery.cancel_scope.cancel()


async def read_to_the_end(stream: trio.abc.ReceiveStream) -> None:
    while await stream.receive_some(1 << 20):
        pass
