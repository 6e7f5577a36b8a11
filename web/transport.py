"""WriteDeadlineStream: a connection that gives up on a peer that has stopped reading."""

import contextlib
import socket
import struct

import trio

# l_onoff = 1, l_linger = 0: close() throws away what is unsent and resets the connection.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class WriteDeadlineStream(trio.abc.HalfCloseableStream):
    """A TCP stream on which a write ends, well or badly, within `deadline_s`.

    Hypercorn shields its writes and gives them no timeout, so that a peer which stops reading would hold its sender for
    ever, cancelled or not. Here the write fails, and the socket is reset, because part of a frame may have gone out.

    deadline_s: seconds that one write may take; above 0.
    writes: writes that ended well. Hypercorn drops a message for a peer that has gone without a word, and without a
        checkpoint: whoever sends can tell by this number, which then has not moved.
    broken: whether a write failed or the connection was reset from this side.
    refused: why the peer's messages are not read any more; empty while they are.
    """

    def __init__(self, stream: trio.SocketStream, *, deadline_s: float) -> None:
        self._stream = stream
        self._deadline_s = deadline_s
        self.writes = 0
        self.broken = False
        self.refused = ""

    @property
    def socket(self) -> trio.socket.SocketType:
        """The socket beneath; Hypercorn asks it for both ends' addresses."""
        return self._stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`; raises trio.BrokenResourceError when the peer is gone or has not taken it in time.

        Cancelled: part of `data` may be out, as with any stream.
        """
        with trio.move_on_after(self._deadline_s):
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError:
                self.abort()
                raise
            self.writes += 1
            return
        self.abort()
        raise trio.BrokenResourceError(f"the peer took no data for {self._deadline_s} s")

    def abort(self) -> None:
        """Reset the connection now; every read or write under way raises trio.ClosedResourceError. Never blocks."""
        if not self.broken:
            self.broken = True
            if self.socket.fileno() != -1:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self.socket.close()

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Send the end of what is sent.

        The stream's own would have a write that comes meanwhile fail as a mistake of the writer's (BusyResourceError):
        the close frame of a call that ends just when its peer does. So it finds the stream closed.
        """
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await self._stream.aclose()
