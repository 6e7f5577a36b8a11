"""Closing: how Deepgram ends a stream, and what it means by it."""

from typing import Final

import trio

from engine.providers.socket import SocketClosed, VendorSocket

GOODBYE_S: Final = 0.2
"""For a last message to a vendor that may be gone."""

AGREED: Final = (1000, 1005, None)
"""How the vendor ends what it was asked to end: by the book, without a code, or by closing the stream."""

# For the vendor to close a stream that had no audio; a start-up waits for it.
_CHECK_S: Final = 1.0

# The vendor's names for the end of a stream, and what they mean; they come as the reason, or within it.
_MEANINGS: Final = {
    "DATA-0000": ("DATA-0000", "it could not decode the audio"),
    "NET-0000": ("NET-0000", "it had nothing to say in time"),
    "NET-0001": ("NET-0001", "it had no audio for ten seconds"),
    "net0001": ("NET-0001", "it had no audio for ten seconds"),
}


async def close(socket: VendorSocket, last_message: str) -> None:
    """Ask for a stream's end, and wait for it. Raises `ProviderError` for an end in anger."""
    await socket.send(last_message)
    with trio.move_on_after(_CHECK_S):
        try:
            while True:
                await socket.receive()
        except SocketClosed as closed:
            if closed.close_code not in AGREED:
                raise explained(closed) from None


def explained(closed: SocketClosed) -> SocketClosed:
    """Return a close with what the vendor means by it, and by the vendor's own name for it."""
    named = next(((code, meaning) for name, (code, meaning) in _MEANINGS.items() if name in closed.reason), None)
    if named is None:
        return closed
    code, meaning = named
    told = SocketClosed(f"{closed} ({meaning})", close_code=closed.close_code, reason=closed.reason)
    told.code = code
    return told
