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


def noise(frames: int, draft: str = "") -> bytes:
    """Return sound that is no word, which a recogniser takes for `draft` at first."""
    text = draft.encode()
    frame = bytes([SOUND, 0, 0, len(text)]) + text
    return (frame + bytes([SOUND]) * (FRAME_BYTES - len(frame))) * frames


def wordless(frame: bytes) -> bool:
    """Whether a frame's sound is no word."""
    return frame[2] == 0


def draft_of(frame: bytes) -> str:
    """Return what a recogniser takes a wordless frame for."""
    return frame[4 : 4 + frame[3]].decode() if wordless(frame) else ""


def frames_of(audio: bytes) -> Iterator[bytes]:
    """Return the audio frame by frame; the last may be short."""
    return (audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES))


def voiced(frame: bytes) -> bool:
    """Whether there is sound in a frame."""
    return frame[:1] == b"\x01"


@attrs.frozen(kw_only=True)
class HeardWord:
    """A word that was made out, or GARBLED, with the times of its first and last frame."""

    text: str
    start_s: float
    end_s: float


@attrs.define(kw_only=True)
class Ear:
    """Makes words of frames, one at a time.

    patient: silence inside a word is waited out, and counted in `gaps`: a person understands a word with a pause in it.
    """

    patient: bool = False
    words: list[HeardWord] = attrs.field(init=False, factory=list)
    gaps: int = attrs.field(init=False, default=0)
    _run: list[tuple[float, bytes]] = attrs.field(init=False, factory=list)

    def hear(self, start_s: float, frame: bytes) -> None:
        """Hear the frame that begins at `start_s`."""
        if not voiced(frame):
            if self._run:
                self.gaps += 1
                if not self.patient:
                    self.end()
            return
        if wordless(frame):
            self.end()
            return
        if self._run and not _follows(self._run[-1][1], frame):
            self.end()
        self._run.append((start_s, frame))
        if frame[1] == frame[2] - 1:
            self.end()

    def end(self) -> None:
        """Hear that the word in progress, if any, is over."""
        if self._run:
            self.words.append(_word(self._run))
            self._run = []


def heard(frames: Iterable[tuple[float, bytes]]) -> list[HeardWord]:
    """Return the words in frames that follow each other in time: each with when it began."""
    ear = Ear()
    for start_s, frame in frames:
        ear.hear(start_s, frame)
    ear.end()
    return ear.words


def _follows(before: bytes, after: bytes) -> bool:
    return after[1] == before[1] + 1 and after[2:] == before[2:]


def _word(run: list[tuple[float, bytes]]) -> HeardWord:
    first, last = run[0][1], run[-1][1]
    whole = len(last) == FRAME_BYTES and first[1] == 0 and last[1] == last[2] - 1
    text = first[4 : 4 + first[3]].decode() if whole else GARBLED
    return HeardWord(text=text, start_s=run[0][0], end_s=run[-1][0] + FRAME_S)
