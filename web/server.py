"""The server: our own accept loop around Hypercorn's connection and lifespan."""

import errno
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from urllib.parse import urlsplit

import attrs
import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import (
    AppWrapper,
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendEvent,
    ASGIVersions,
    ConnectionState,
    LifespanState,
    Scope,
)
from hypercorn.utils import LifespanFailureError, parse_socket_addr, repr_socket_addr
from wsproto.connection import Connection
from wsproto.connection import ConnectionState as SocketState
from wsproto.events import CloseConnection
from wsproto.events import Event as SocketEvent

from engine.messages.errors import ConfigError
from web.transport import WriteDeadlineStream

# A media message is 400 bytes, the longest `start` with its parameters under 2 KiB.
MESSAGE_MAX_BYTES = 64 * 1024
# What is read of a connection at once, as Hypercorn has it.
READ_BYTES = 64 * 1024

# A lost packet is sent again after 0.2, 0.6, 1.4 and 3.0 s: a write that four losses in a row have held up still ends
# well, and a caller has not heard anything for that long.
WRITE_DEADLINE_S = 5.0

# A request's head comes in one packet: a connection has this long to send one, from its opening or its last answer on,
# however busily it drips.
IDLE_S = 5.0

# The app closes what it opened; a supervisor of processes kills after 10 s.
SHUTDOWN_S = 5.0

log = structlog.get_logger()


# ── where to listen ───────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class Bind:
    """An address to listen on; written HOST:PORT, an IPv6 address in brackets.

    port: 0 to 65535; 0 is any free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        return _is_address(self.host) and ipaddress.ip_address(self.host).is_loopback


def parse_bind(text: str) -> Bind:
    """Read HOST:PORT; raises ConfigError with what was wrong."""
    found = re.fullmatch(r"(?:\[(?P<bracketed>[^][]*)]|(?P<plain>[^][:]*)):(?P<port>[^][:]*)", text)
    if found is None:
        if ":" in text and _is_address(text.strip("[]")):
            raise ConfigError(f"bind {text!r}: an IPv6 address goes in brackets, and a port after it: '[::1]:8080'")
        raise ConfigError(f"bind {text!r}: expected HOST:PORT, such as '127.0.0.1:8080' or '[::1]:8080'")
    port, bracketed, plain = found["port"], found["bracketed"], found["plain"]
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:  # noqa: PLR2004 - the largest port there is
        raise ConfigError(f"bind {text!r}: port {port!r} is not a number from 0 to 65535")
    if bracketed is not None and not (_is_address(bracketed) and ":" in bracketed):
        raise ConfigError(f"bind {text!r}: {bracketed!r} is not an IPv6 address")
    host = bracketed if bracketed is not None else plain
    if not host:
        raise ConfigError(f"bind {text!r}: the host is missing, such as in '127.0.0.1:8080'")
    return Bind(host, int(port))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_loopback(text: str) -> Bind:
    """Read HOST:PORT as `parse_bind` does, and refuse what another machine could reach: ConfigError."""
    bind = parse_bind(text)
    if not bind.is_loopback:
        raise ConfigError(
            f"bind {text!r}: another machine could reach it, and without an auth token nobody can tell Twilio from the "
            "rest; set TWILIO_AUTH_TOKEN (or the variable that vendors.twilio.auth_token_env names), "
            "or bind to this machine alone, as in '127.0.0.1:8080'"
        )
    return bind


async def listen(bind: str, *, loopback_only: bool) -> list[trio.SocketListener]:
    """Open the listening sockets for HOST:PORT; the caller closes them, or `serve_on` does.

    loopback_only: whether other machines must be kept out, because nothing tells Twilio's requests from theirs.
    Raises ConfigError when the address is malformed, not loopback though it must be, or cannot be had.
    """
    where = parse_loopback(bind) if loopback_only else parse_bind(bind)
    try:
        return await trio.open_tcp_listeners(where.port, host=where.host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"bind {bind!r}: the port is in use; stop what listens there, or take another") from error
        raise ConfigError(f"bind {bind!r}: cannot listen there: {error.strerror or error}") from error


# ── serving ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def serve(
    app: ASGIFramework,
    *,
    bind: str,
    loopback_only: bool = True,
    write_deadline_s: float = WRITE_DEADLINE_S,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` at HOST:PORT until cancelled; see `listen` and `serve_on`."""
    listeners = await listen(bind, loopback_only=loopback_only)
    await serve_on(app, listeners, write_deadline_s=write_deadline_s, task_status=task_status)


def _untold(_why: str, _client: str) -> None:
    """Nobody is told what was no request."""


async def serve_on(
    app: ASGIFramework,
    listeners: Sequence[trio.SocketListener],
    *,
    write_deadline_s: float = WRITE_DEADLINE_S,
    unheard: Callable[[str, str], None] = _untold,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on open listeners until cancelled, and close them.

    unheard: told why, and whose it was, of what no app could be shown: it was no HTTP, or no handshake.
    `task_status` is told the bound addresses, each as HOST:PORT, once the app's start-up has ended well. Cancelled:
    sockets are closed first, then the app's shutdown runs, for SHUTDOWN_S at most. A connection that fails is logged,
    and costs nobody else anything.

    Raises what the app's start-up or shutdown raised (Hypercorn's LifespanFailureError, in an exception group).
    """
    config = _hypercorn_config()
    wrapped = ASGIWrapper(app)
    context = WorkerContext(None)
    lifespan = _Lifespan(app)

    async def connection(raw: trio.SocketStream) -> None:
        stream = WriteDeadlineStream(raw, deadline_s=write_deadline_s)
        # By this key the media door finds what an ASGI app is otherwise never given: its own connection.
        state = ConnectionState({**lifespan.state, "transport": stream})
        try:
            await _Connection(wrapped, config, context, state, stream, unheard).run()
        except* Exception:  # a connection's death is judged here: one must not be everybody's
            log.exception("connection_failed")

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.live)
            try:
                async with trio.open_nursery() as connections:
                    connections.start_soon(
                        partial(trio.serve_listeners, connection, list(listeners), handler_nursery=connections)
                    )
                    task_status.started([_address(listener) for listener in listeners])
            finally:
                lifespan.end(within_s=SHUTDOWN_S)
    finally:
        for listener in listeners:
            listener.socket.close()


class _Lifespan:
    """The app's start-up and shutdown: a task of the app's own that lives as long as the server, and a little longer.

    Hypercorn's own goes on serving when that task has died, and calls a failed start-up started.
    """

    def __init__(self, app: ASGIFramework) -> None:
        self.state = LifespanState()
        self._app = app
        self._scope = trio.CancelScope()
        self._asked_to_start = False
        self._ending = trio.Event()

    async def live(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the app's lifespan; started when its start-up has ended well. Raises what either end raised."""

        async def receive() -> ASGIReceiveEvent:
            if not self._asked_to_start:
                self._asked_to_start = True
                return {"type": "lifespan.startup"}
            await self._ending.wait()
            return {"type": "lifespan.shutdown"}

        async def send(event: ASGISendEvent) -> None:
            if event["type"] == "lifespan.startup.failed":
                raise LifespanFailureError("startup", event["message"])
            if event["type"] == "lifespan.shutdown.failed":
                raise LifespanFailureError("shutdown", event["message"])
            if event["type"] == "lifespan.startup.complete":
                self._scope.shield = True  # from here on there is a shutdown to go through, cancelled or not
                task_status.started()
            await trio.lowlevel.checkpoint()

        with self._scope:
            version: ASGIVersions = {"spec_version": "2.0", "version": "3.0"}
            await self._app({"type": "lifespan", "asgi": version, "state": self.state}, receive, send)
        if self._scope.cancelled_caught and self._ending.is_set():
            log.warning("shutdown_cut_short")

    def end(self, *, within_s: float) -> None:
        """Ask the app to shut down; what it has not done after `within_s` is cancelled."""
        self._ending.set()
        self._scope.deadline = trio.current_time() + within_s


def _address(listener: trio.SocketListener) -> str:
    return repr_socket_addr(listener.socket.family, listener.socket.getsockname())


def _hypercorn_config() -> Config:
    config = Config()
    config.websocket_max_message_size = MESSAGE_MAX_BYTES
    config.include_server_header = False
    config.keep_alive_timeout = IDLE_S
    # A logger of ours: by itself Hypercorn hangs a stderr handler with a format of its own on the global one.
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


class _Connection(TCPServer):
    """One accepted connection: Hypercorn's, speaking HTTP/1.1 alone, and telling of a failed write by one way only."""

    def __init__(  # noqa: PLR0913, PLR0917 - Hypercorn's, and one more
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,
        stream: WriteDeadlineStream,
        unheard: Callable[[str, str], None],
    ) -> None:
        super().__init__(app, config, context, state, stream)  # type: ignore[arg-type]  # it takes any stream with a socket
        self._transport = stream
        self._unheard = unheard

    async def run(self) -> None:
        socket = self._transport.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with _Tasks() as self._task_group:
                http = _Http1(
                    self.app,
                    self.config,
                    self.context,
                    self._task_group,
                    ConnectionState(self.state),
                    False,  # noqa: FBT003 - `ssl`: TLS ends at the proxy in front
                    client,
                    server,
                    self.protocol_send,
                )
                http.unheard = self._unheard
                self.protocol = http  # type: ignore[assignment]  # what switches to HTTP/2 is left out
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                await self._read_data()
                await self.idle_task.stop()  # the peer has gone: nobody is left to be idle
        except OSError:
            pass  # the peer was gone before we asked for its address
        finally:
            await self._close()

    async def _read_data(self) -> None:
        """Hypercorn's own, without a time limit made anew for each piece: there is none here to be kept."""
        data = b"?"
        while data:
            try:
                data = bytes(await self._transport.receive_some(READ_BYTES))
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            await self.protocol.handle(RawData(data))
        await self.protocol.handle(Closed())

    async def protocol_send(self, event: Event) -> None:
        match event:
            case RawData(data=data):
                async with self.send_lock:
                    with trio.CancelScope(shield=True):  # half a frame would spoil all that follow
                        await self._write(data)
            case Closed():
                # Quart's request is often cancelled by now: it takes the end of its own answer for a disconnect.
                # Without the shields here the connection would stay open for ever.
                with trio.CancelScope(shield=True):
                    await self._close()
                await self.protocol.handle(Closed())
            case Updated():
                with trio.CancelScope(shield=True):
                    await super().protocol_send(event)

    async def _close(self) -> None:
        async with self.send_lock:  # the end of what is sent is sent too: another writer would be refused meanwhile
            await super()._close()

    async def _write(self, data: bytes) -> None:
        try:
            await self._transport.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # Hypercorn would tell the app from here, in the task that sends: waiting for ever when the app's queue is
            # full, losing the news when that task is cancelled. The reader will tell it: its socket is closed.
            self._transport.abort()


class _Tasks(TaskGroup):
    """Hypercorn's tasks of a connection."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the app; return what tells it of an event, at once where there is room: each read gives way anyway."""
        put = await super().spawn_app(app, config, scope, send)
        channel: trio.MemorySendChannel[ASGIReceiveEvent] = put.__self__  # type: ignore[attr-defined]  # its `send`

        async def tell(event: ASGIReceiveEvent) -> None:
            try:
                channel.send_nowait(event)
            except trio.WouldBlock:
                await put(event)

        return tell


class _Http1(H11Protocol):
    """HTTP/1.1 and WebSockets, without HTTP/2, without compression, and with an end to what it has refused.

    unheard: told why, and whose it was, of what no app is shown.
    """

    unheard: Callable[[str, str], None] = staticmethod(_untold)

    async def handle(self, event: Event) -> None:
        socket = self.stream
        if isinstance(socket, WSStream) and isinstance(getattr(socket, "connection", None), Connection):
            socket.connection = _Frames(socket.connection, self.connection_state["transport"])  # type: ignore[assignment]
        await super().handle(event)
        if isinstance(self.stream, WSStream) and _is_over(self.stream):
            if not self.stream.closed:
                self.connection_state["transport"].refused = "message too long"
            elif self.stream.app_put is None:
                self._tell("no handshake")
            await self.send(Closed())

    async def _send_error_response(self, status_code: int) -> None:
        if self.stream is None:  # an app that was shown the head counts what becomes of the rest
            self._tell("no http")
        await super()._send_error_response(status_code)

    async def _send_h11_event(
        self, event: h11.Data | h11.EndOfMessage | h11.InformationalResponse | h11.Response
    ) -> None:
        try:
            await super()._send_h11_event(event)
        except h11.LocalProtocolError:
            connection = self.connection
            inner = connection.h11_connection if isinstance(connection, H11WSConnection) else connection
            if inner.our_state is not h11.ERROR:
                raise
            await trio.lowlevel.checkpoint()  # it spoke before it was answered, and was refused for that

    def _tell(self, why: str) -> None:
        self.unheard(why, self.client[0] if self.client else "")

    async def _check_protocol(self, event: h11.Request) -> None:
        """Never leave HTTP/1.1, whatever the peer asks for."""

    async def _create_stream(self, request: h11.Request) -> None:
        try:
            urlsplit(request.target)
        except ValueError:  # half an IPv6 address: Quart would fail of it
            await self._send_error_response(400)
            await self.send(Closed())
            return
        # Twilio's sockets and deflate do not go together, and Hypercorn takes it whenever it is offered.
        offered = b"sec-websocket-extensions"
        await super()._create_stream(
            h11.Request(
                method=request.method,
                target=request.target,
                headers=[(name, value) for name, value in request.headers if name != offered],
                http_version=request.http_version,
            )
        )


class _Frames:
    """A WebSocket's connection that notes for the app that a frame broke the protocol: Hypercorn tells nobody."""

    def __init__(self, connection: Connection, transport: WriteDeadlineStream) -> None:
        self._connection = connection
        self._transport = transport
        self.send = connection.send
        self.receive_data = connection.receive_data

    @property
    def state(self) -> SocketState:
        return self._connection.state

    def events(self) -> Iterator[SocketEvent]:
        """Yield what came. A close that the peer has not sent stands for a frame that could not be read."""
        for event in self._connection.events():
            if isinstance(event, CloseConnection) and self.state is SocketState.OPEN:
                self._transport.refused = "broken frame"
            yield event


def _is_over(stream: WSStream) -> bool:
    """Whether Hypercorn has refused the handshake, or sent 1009 for a message too long.

    By itself it would keep the refused connection open, and go on to collect the message, telling nobody.
    """
    return stream.closed or stream.buffer.length > stream.buffer.max_length
