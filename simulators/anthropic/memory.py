"""The vendor's own client without a network: a transport for httpx2 whose connections are streams in memory."""

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpcore2
import httpx2
import trio

Connect = Callable[[], Awaitable[trio.abc.Stream]]


class MemoryTransport(httpx2.AsyncHTTPTransport):
    """A transport whose every connection is made by `connect`, whatever the host.

    For example, with a simulator and a nursery at hand::

        async def connect() -> trio.abc.Stream:
            ours, its = trio.testing.memory_stream_pair()
            nursery.start_soon(simulator.serve_stream, its)
            return ours
    """

    def __init__(self, connect: Connect) -> None:
        super().__init__()
        self._pool = httpcore2.AsyncConnectionPool(network_backend=_Backend(connect))


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self, connect: Connect) -> None:
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - there is one server
        port: int,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the signature is httpcore's
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        return _Stream(await self._connect())

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                return bytes(await self._stream.receive_some(max_bytes))
        except trio.TooSlowError as error:
            raise httpcore2.ReadTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                await self._stream.send_all(buffer)
        except trio.TooSlowError as error:
            raise httpcore2.WriteTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()
