"""The tone code: words that are in the audio itself, so that whoever hears it hears exactly the bytes it was given.

A word is a run of whole frames of 160 bytes. Each begins with SOUND, says which of how many it is, and carries the
word; so a run with a frame missing, doubled or moved is a garbled word, as it would be on a real line.
"""

from collections.abc import Iterable, Iterator

import attrs

FRAME_BYTES = 160
FRAME_S = 0.02
SILENT_FRAME = b"\xff" * FRAME_BYTES
SOUND = 0x01
GARBLED = "<garbled>"


def spoken(word: str, frames: int) -> bytes:
    """Return a word as `frames` frames of sound."""
    text = word.encode()
    head = [bytes([SOUND, frame, frames, len(text)]) + text for frame in range(frames)]
    return b"".join(each + bytes([SOUND]) * (FRAME_BYTES - len(each)) for each in head)


def frames_of(audio: bytes) -> Iterator[bytes]:
    """Return the audio frame by frame; the last may be short."""
    return (audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES))


def voiced(frame: bytes) -> bool:
    """Whether there is sound in a frame."""
    return frame[:1] == bytes([SOUND])


@attrs.frozen(kw_only=True)
class HeardWord:
    """A word that was made out, or GARBLED, with the times of its first and last frame."""

    text: str
    start_s: float
    end_s: float


def heard(frames: Iterable[tuple[float, bytes]]) -> list[HeardWord]:
    """Return the words in frames that follow each other in time: each with when it began."""
    words: list[HeardWord] = []
    run: list[tuple[float, bytes]] = []
    for start_s, frame in frames:
        if run and not (voiced(frame) and _follows(run[-1][1], frame)):
            words.append(_word(run))
            run = []
        if voiced(frame):
            run.append((start_s, frame))
            if frame[1] == frame[2] - 1:
                words.append(_word(run))
                run = []
    if run:
        words.append(_word(run))
    return words


def _follows(before: bytes, after: bytes) -> bool:
    return after[1] == before[1] + 1 and after[2:] == before[2:]


def _word(run: list[tuple[float, bytes]]) -> HeardWord:
    first, last = run[0][1], run[-1][1]
    whole = len(last) == FRAME_BYTES and first[1] == 0 and last[1] == last[2] - 1
    text = first[4 : 4 + first[3]].decode() if whole else GARBLED
    return HeardWord(text=text, start_s=run[0][0], end_s=run[-1][0] + FRAME_S)
