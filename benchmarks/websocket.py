"""A WebSocket client's frames, and nothing more: what fifty simulated phones on one core can afford.

The mask is zero: a server must unmask all the same, and this side is spared the work.
"""

import struct
from enum import IntEnum
from typing import Final

_FINAL: Final = 0x80
_MASKED: Final = 0x80
_NO_MASK: Final = bytes(4)
_SHORT: Final = 125
_TWO_BYTES: Final = 126
_EIGHT_BYTES: Final = 127
_LARGEST_TWO: Final = 0xFFFF


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


def frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return a client's frame, whole."""
    size = len(payload)
    if size <= _SHORT:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size <= _LARGEST_TWO:
        head = struct.pack("!BBH", _FINAL | opcode, _MASKED | _TWO_BYTES, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | _EIGHT_BYTES, size)
    return head + _NO_MASK + payload


class Incoming:
    """A server's bytes, taken apart into whole messages."""

    def __init__(self) -> None:
        self._bytes = b""
        self._parts: list[bytes] = []
        self._opcode = Opcode.TEXT

    def feed(self, data: bytes) -> list[tuple[Opcode, bytes]]:
        """Return the messages that are whole by now; a control frame is one by itself."""
        self._bytes += data
        messages: list[tuple[Opcode, bytes]] = []
        at = 0
        while (found := _frame_at(self._bytes, at)) is not None:
            first, payload, at = found
            opcode = Opcode(first & 0x0F)
            if opcode >= Opcode.CLOSE:
                messages.append((opcode, payload))
                continue
            self._opcode = opcode or self._opcode
            self._parts.append(payload)
            if first & _FINAL:
                messages.append((self._opcode, b"".join(self._parts)))
                self._parts = []
        self._bytes = self._bytes[at:]
        return messages


def _frame_at(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Return the first byte and payload of the frame at a place, and where the next one is; None: not all is there."""
    if len(data) < at + 2:
        return None
    size, start = data[at + 1], at + 2
    if size >= _TWO_BYTES:
        wide = 2 if size == _TWO_BYTES else 8
        if len(data) < start + wide:
            return None
        size, start = int.from_bytes(data[start : start + wide], "big"), start + wide
    end = start + size
    return (data[at], data[start:end], end) if len(data) >= end else None
