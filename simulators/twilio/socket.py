"""The connection under a media stream: a WebSocket to a server."""

import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol, TypeAlias, TypeVar
from urllib.parse import urlsplit

import trio
import trio_websocket

from simulators.twilio.codes import Code, TwilioError

# Twilio does not say how long it waits for a handshake; 5 to 10 s are reported.
HANDSHAKE_S: Final = 10.0
# A server has this long to answer the close of its socket.
CLOSE_S: Final = 5.0
_MAX_MESSAGE_BYTES: Final = 16 * 2**20


class Socket(Protocol):
    """A WebSocket, or what stands for one.

    Each method raises one of ``GONE`` once the connection is gone.
    """

    async def get_message(self) -> str | bytes:
        """Wait for the server's next message."""

    async def send_message(self, message: str) -> None:
        """Send a text message."""

    async def aclose(self) -> None:
        """Close the connection with code 1000, and wait until the server has closed it too."""


GONE: Final = (
    trio_websocket.ConnectionClosed,
    trio.EndOfChannel,
    trio.ClosedResourceError,
    trio.BrokenResourceError,
)

# An open socket to a URL, with such headers in its handshake; raises TwilioError on entering.
OpenSocket: TypeAlias = Callable[[str, Sequence[tuple[str, str]]], AbstractAsyncContextManager[Socket]]


@asynccontextmanager
async def open_socket(url: str, headers: Sequence[tuple[str, str]]) -> AsyncIterator[Socket]:
    """A WebSocket over the network; raises TwilioError if there is none to be had.

    The TCP stream is our own, because trio-websocket (0.12.2) leaves its stream open when a handshake is rejected and
    when the server is the first to close.
    """
    parts = urlsplit(url)
    failure: TwilioError | None = None
    async with await _connect(url) as stream:
        try:
            async with trio.open_nursery() as nursery:
                with trio.fail_after(HANDSHAKE_S):
                    if isinstance(stream, trio.SSLStream):
                        await stream.do_handshake()
                    socket = await trio_websocket.wrap_client_stream(
                        nursery,
                        stream,
                        parts.netloc,
                        parts.path,
                        extra_headers=[(name.encode(), value.encode()) for name, value in headers],
                        max_message_size=_MAX_MESSAGE_BYTES,
                    )
                yield socket
                with trio.move_on_after(CLOSE_S):
                    await socket.aclose()
                nursery.cancel_scope.cancel()
        except* trio_websocket.ConnectionRejected as group:
            status = _first(group).status_code
            failure = TwilioError(Code.NO_UPGRADE, f"{url} answered the handshake with status {status}, 101 is wanted")
        except* trio.BrokenResourceError as group:
            failure = TwilioError(Code.CONNECT_REFUSED, f"{url} broke off: {_first(group).__cause__}")
        except* trio.TooSlowError:
            failure = TwilioError(Code.CONNECT_TIMEOUT, f"{url} did not shake hands in {HANDSHAKE_S:g} s")
    if failure is not None:
        raise failure


async def _connect(url: str) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """A TCP stream to a URL's server, under TLS for wss; the handshake is yet to be made."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        with trio.fail_after(HANDSHAKE_S):
            if parts.scheme == "ws":
                return await trio.open_tcp_stream(host, parts.port or 80)
            return await trio.open_ssl_over_tcp_stream(
                host, parts.port or 443, ssl_context=ssl.create_default_context(), https_compatible=True
            )
    except OSError as error:
        raise TwilioError(Code.CONNECT_REFUSED, f"{url} refused the connection: {error}") from error
    except trio.TooSlowError as error:
        raise TwilioError(Code.CONNECT_TIMEOUT, f"{url} did not answer in {HANDSHAKE_S:g} s") from error


_E = TypeVar("_E", bound=BaseException)


def _first(group: BaseExceptionGroup[_E]) -> _E:
    """The first leaf of a group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
