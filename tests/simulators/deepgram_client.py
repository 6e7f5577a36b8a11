"""A client of the simulated Deepgram, without manners or a parser of the engine's, for the tests of both protocols."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import attrs
import deepgram
import pytest
import trio
import trio_websocket
import websockets.exceptions
from deepgram.environment import DeepgramClientEnvironment

from simulators import tone
from simulators.deepgram import DeepgramSimulator

KEY = {"authorization": "Token key"}
WORDS = "Hello, I need an appointment tomorrow."


@attrs.define
class Client:
    """A client. heard: all messages that came, with their times."""

    socket: trio_websocket.WebSocketConnection
    heard: list[tuple[float, dict[str, Any]]] = attrs.field(factory=list)
    closed: trio.Event = attrs.field(factory=trio.Event)

    async def listen(self) -> None:
        try:
            while True:
                message = await self.socket.get_message()
                self.heard.append((trio.current_time(), json.loads(message)))
        except trio_websocket.ConnectionClosed:
            self.closed.set()

    async def speak(self, audio: bytes, *, chunk_bytes: int = 800) -> None:
        for at in range(0, len(audio), chunk_bytes):
            piece = audio[at : at + chunk_bytes]
            await self.socket.send_message(piece)
            await trio.sleep(len(piece) / 8000)

    async def tell(self, kind: str, **fields: Any) -> None:
        await self.socket.send_message(json.dumps({"type": kind, **fields}))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for _, message in self.heard if message["type"] == kind]

    async def code(self) -> tuple[int, str | None]:
        await self.closed.wait()
        assert self.socket.closed is not None
        return self.socket.closed.code, self.socket.closed.reason


C = TypeVar("C", bound=Client)


@asynccontextmanager
async def connecting(
    simulator: DeepgramSimulator,
    path: str,
    options: Mapping[str, str],
    headers: Mapping[str, str] = KEY,
    *,
    subprotocols: list[str] | None = None,
) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A connection to the simulator, without anybody who reads from it."""
    async with trio.open_nursery() as nursery:
        yield await trio_websocket.wrap_client_stream(
            nursery,
            simulator.connect(nursery),  # type: ignore[arg-type]  # any stream will do
            "api.deepgram.com",
            f"{path}?{urlencode(options)}",
            subprotocols=subprotocols,
            extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        )
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def calling(
    client: Callable[[trio_websocket.WebSocketConnection], C],
    simulator: DeepgramSimulator,
    path: str,
    options: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[C]:
    """A client that listens."""
    async with (
        connecting(simulator, path, options, headers or KEY) as socket,
        trio.open_nursery() as nursery,
    ):
        made = client(socket)
        nursery.start_soon(made.listen)
        yield made
        nursery.cancel_scope.cancel()


class Refused(NamedTuple):
    """The simulator's answer to a request that it does not let in."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


async def refused(
    simulator: DeepgramSimulator, path: str, options: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> Refused:
    """Ask for a connection that is refused, and return how."""
    with pytest.raises(ExceptionGroup) as caught:
        async with connecting(simulator, path, options, headers or KEY):
            pass
    [error] = caught.value.exceptions
    assert isinstance(error, trio_websocket.ConnectionRejected)
    assert error.body is not None
    answer = {name.decode(): value.decode() for name, value in error.headers}
    return Refused(error.status_code, json.loads(error.body), answer)


def silence(seconds: float) -> bytes:
    return tone.SILENT_FRAME * round(seconds * 50)


# ── the vendor's own SDK ──────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class SdkSocket:
    """What the SDK's asynchronous client wants of a socket."""

    socket: trio_websocket.WebSocketConnection

    async def send(self, message: str | bytes) -> None:
        await self.socket.send_message(message)

    async def recv(self) -> str | bytes:
        return await self.socket.get_message()


@asynccontextmanager
async def sdk_on(
    client: Callable[..., Any], simulator: DeepgramSimulator, path: str, options: Mapping[str, str]
) -> AsyncIterator[tuple[Any, list[Any]]]:
    """The SDK's asynchronous client, and all that it hears, until the simulator closes."""
    heard: list[Any] = []
    async with connecting(simulator, path, options) as socket, trio.open_nursery() as nursery:
        made = client(websocket=SdkSocket(socket))

        async def receive() -> None:
            try:
                while True:
                    heard.append(await made.recv())
            except trio_websocket.ConnectionClosed:
                nursery.cancel_scope.cancel()

        nursery.start_soon(receive)
        yield made, heard


async def listened_with_the_sdk(
    simulator: DeepgramSimulator, listen: Callable[[deepgram.DeepgramClient], list[Any]]
) -> list[Any]:
    """Return what the SDK hears over a real socket with the key "secret"; with another it has to be refused."""
    async with simulator.serving() as url:
        http = url.replace("ws", "http", 1)
        environment = DeepgramClientEnvironment(base=http, production=url, agent=url, agent_rest=http)

        def listened(key: str) -> list[Any]:
            return listen(deepgram.DeepgramClient(api_key=key, environment=environment))

        heard = await trio.to_thread.run_sync(partial(listened, "secret"))
        with pytest.raises(websockets.exceptions.InvalidStatus) as caught:
            await trio.to_thread.run_sync(partial(listened, "wrong"))
    assert caught.value.response.status_code == 401
    assert [each.connection for each in simulator.violations] == [1]
    return heard
