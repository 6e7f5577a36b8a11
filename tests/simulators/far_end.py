"""A server that answers calls as a test tells it to, and is strict about what the phone network sends."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import attrs
import httpx
import trio
import trio.testing
import trio_websocket

from simulators.caller import CallerScript, Step
from simulators.events import Event
from simulators.twilio.call import Network, place_call
from simulators.twilio.record import CallRecord
from simulators.twilio.socket import Socket

STREAM_URL = "ws://127.0.0.1:7/media"
CONNECT = f'<Response><Connect><Stream url="{STREAM_URL}"/></Connect></Response>'
TONE = b"\x90\x10" * 2000  # half a second, loud

_SEQUENCED = {"start", "media", "dtmf", "mark", "stop"}


@attrs.frozen
class Asked:
    """One webhook request."""

    method: str
    url: str
    fields: dict[str, str]
    headers: httpx.Headers

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


class Stream:
    """The server's side of a media stream. Every message is checked as it comes."""

    def __init__(self, socket: trio_websocket.WebSocketConnection) -> None:
        self.socket = socket
        self.sid = ""
        self.parameters: dict[str, str] = {}
        self.path = socket.path or ""
        self.seen: list[tuple[float, dict[str, Any]]] = []
        self._sequence = 0
        self._chunk = 0

    async def receive(self) -> dict[str, Any]:
        """The next message; raises ConnectionClosed at the end."""
        text = await self.socket.get_message()
        assert isinstance(text, str)
        message: dict[str, Any] = json.loads(text)
        self.seen.append((trio.current_time(), message))
        if message["event"] in _SEQUENCED:
            self._sequence += 1
            assert message["sequenceNumber"] == str(self._sequence)
        if message["event"] == "media":
            self._chunk += 1
            assert message["media"]["chunk"] == str(self._chunk)
            assert len(base64.b64decode(message["media"]["payload"])) == 160
        return message

    async def until(self, event: str) -> dict[str, Any]:
        """The next message of one kind; those before it are let go."""
        while (message := await self.receive())["event"] != event:
            pass
        return message

    async def begin(self) -> None:
        """Take ``connected`` and ``start``."""
        assert (await self.receive())["event"] == "connected"
        start = await self.receive()
        assert start["event"] == "start"
        self.sid, self.parameters = start["streamSid"], start["start"]["customParameters"]

    async def finish(self) -> None:
        """Take everything until the connection is closed."""
        try:
            while True:
                await self.receive()
        except trio_websocket.ConnectionClosed:
            return

    async def play(self, audio: bytes) -> None:
        payload = base64.b64encode(audio).decode()
        await self.send({"event": "media", "streamSid": self.sid, "media": {"payload": payload}})

    async def mark(self, name: str) -> None:
        await self.send({"event": "mark", "streamSid": self.sid, "mark": {"name": name}})

    async def clear(self) -> None:
        await self.send({"event": "clear", "streamSid": self.sid})

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.socket.send_message(json.dumps(message))

    def of(self, event: str) -> list[tuple[float, dict[str, Any]]]:
        """The messages of one kind, and when they came."""
        return [(at, message) for at, message in self.seen if message["event"] == event]


Talk = Callable[[Stream], Awaitable[None]]
Answer = str | tuple[int, str, str | bytes]


async def listen(stream: Stream) -> None:
    """A server that says nothing."""
    await stream.begin()
    await stream.finish()


class ToneVoice:
    """A voice for tests: fifty milliseconds of a loud tone a letter, in an instant."""

    async def speak(self, text: str) -> bytes:
        return b"\x90\x10" * (200 * len(text))


class FarEnd:
    """A server on paper: TwiML by path, and a script for its end of the streams, one after the other."""

    def __init__(self, *talks: Talk, twiml: Mapping[str, Answer] | None = None) -> None:
        self._talks = list(talks)
        self._twiml: dict[str, Answer] = {"/voice/incoming": CONNECT, **(twiml or {})}
        self.asked: list[Asked] = []
        self.streams: list[Stream] = []
        self.handshakes: list[tuple[str, dict[str, str]]] = []

    def network(self, **more: Any) -> Network:
        return Network(**{"http": httpx.MockTransport(self._http), "open_socket": self._open_socket, **more})

    async def call(
        self, *steps: Step, on_event: Callable[[Event], None] | None = None, script: Any = None, **network: Any
    ) -> CallRecord:
        """Have somebody call, over wires in memory."""
        return await place_call(
            server_url="http://127.0.0.1:7",
            caller=script or CallerScript(steps=steps),
            voice=ToneVoice(),
            network=self.network(**network),
            on_event=on_event,
        )

    def give(self, path: str, answer: Answer) -> None:
        """Answer with this at a path from now on."""
        self._twiml[path] = answer

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def answer(self, method: str, url: str, headers: httpx.Headers, body: bytes) -> tuple[int, str, bytes]:
        """The answer to a webhook: status, content type, body."""
        form = body.decode() if method == "POST" else urlsplit(url).query
        pairs = parse_qsl(form, keep_blank_values=True, strict_parsing=bool(form))
        assert len(dict(pairs)) == len(pairs)
        self.asked.append(Asked(method, url, dict(pairs), headers))
        answer = self._twiml.get(urlsplit(url).path, (404, "text/plain", "no such page"))
        status, kind, text = (200, "text/xml", answer) if isinstance(answer, str) else answer
        return status, kind, text.encode() if isinstance(text, str) else text

    async def serve(self, request: trio_websocket.WebSocketRequest) -> None:
        """Serve one stream."""
        stream = Stream(await request.accept())
        self.streams.append(stream)
        await self._talks.pop(0)(stream)
        await stream.socket.aclose()

    def _http(self, request: httpx.Request) -> httpx.Response:
        status, kind, body = self.answer(request.method, str(request.url), request.headers, request.content)
        return httpx.Response(status, headers={"Content-Type": kind} if kind else {}, content=body)

    @asynccontextmanager
    async def _open_socket(self, url: str, headers: Sequence[tuple[str, str]]) -> AsyncIterator[Socket]:
        self.handshakes.append((url, dict(headers)))
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_in_memory, theirs)
            client = await trio_websocket.wrap_client_stream(
                nursery,
                ours,  # type: ignore[arg-type]  # any stream will do
                "127.0.0.1:7",
                urlsplit(url).path,
            )
            try:
                yield client
            finally:
                with trio.move_on_after(5):
                    await client.aclose()

    async def _serve_in_memory(self, end: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            await self.serve(await trio_websocket.wrap_server_stream(nursery, end))


async def listen_on_loopback(far_end: FarEnd, *, task_status: trio.TaskStatus[tuple[str, str]]) -> None:
    """Serve webhooks and streams over real sockets; tells the URLs of both."""

    async def webhook(stream: trio.SocketStream) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (chunk := await stream.receive_some()):
                return
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        request, *lines = head.decode().split("\r\n")
        method, path, _version = request.split(" ")
        headers = httpx.Headers(dict(line.split(": ", 1) for line in lines))
        while len(body) < int(headers.get("Content-Length", "0")):
            body += await stream.receive_some()
        status, kind, content = far_end.answer(method, f"http://{headers['Host']}{path}", headers, body)
        await stream.send_all(
            f"HTTP/1.1 {status} OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + content
        )
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, webhook, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server = await nursery.start(trio_websocket.serve_websocket, far_end.serve, "127.0.0.1", 0, None)
        task_status.started((f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{server.port}"))
        await trio.sleep_forever()
