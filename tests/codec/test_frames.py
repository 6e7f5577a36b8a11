"""Frames: any cutting of any bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec.frames import Framer
from engine.codec.telephony import FRAME_BYTES, SILENCE


def framed(chunks: list[bytes]) -> list[bytes]:
    framer, frames = Framer(), list[bytes]()
    for chunk in chunks:
        framer, more = framer.push(chunk)
        frames += more
    framer, last = framer.flush()
    assert framer == Framer()
    return frames + last


@given(st.lists(st.binary(max_size=500), max_size=12))
def test_no_byte_is_lost_doubled_or_moved(chunks: list[bytes]) -> None:
    audio = b"".join(chunks)
    frames = framed(chunks)
    assert all(len(frame) == FRAME_BYTES for frame in frames)
    assert b"".join(frames)[: len(audio)] == audio
    padding = b"".join(frames)[len(audio) :]
    assert padding == bytes([SILENCE]) * (-len(audio) % FRAME_BYTES)


@given(st.lists(st.binary(max_size=500), max_size=12))
def test_a_frame_comes_as_soon_as_it_is_full(chunks: list[bytes]) -> None:
    framer, pushed, framed_bytes = Framer(), 0, 0
    for chunk in chunks:
        framer, frames = framer.push(chunk)
        pushed += len(chunk)
        framed_bytes += len(b"".join(frames))
        assert framed_bytes == pushed - pushed % FRAME_BYTES


@pytest.mark.parametrize(
    ("size_bytes", "frames"), [(0, 0), (1, 1), (159, 1), (160, 1), (161, 2), (319, 2), (320, 2), (321, 3)]
)
def test_only_the_last_frame_is_padded(size_bytes: int, frames: int) -> None:
    assert len(framed([b"\x00" * size_bytes])) == frames
    assert b"".join(framed([b"\x00" * size_bytes])).rstrip(b"\xff") == b"\x00" * size_bytes


def test_a_framer_is_a_value() -> None:
    framer, _ = Framer().push(b"abc")
    again, _ = framer.push(b"d" * 157)
    assert framer == Framer(b"abc")
    assert again == Framer()
    assert repr(framer) == "Framer(rest=<3 bytes>)"
