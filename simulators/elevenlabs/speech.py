"""Text to speech: audio in the tone code, and where each character of the text lies in it."""

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final

import attrs

from simulators import tone
from simulators.audio import RATE_HZ

_TOKEN: Final = re.compile(r"\S+|\s+")
# So many characters have room in a frame whatever they are; a longer word is spoken in such parts.
_PART_CHARS: Final = tone.LONGEST_BYTES // 4


@attrs.frozen
class Character:
    """A character of the text, and which of the audio's bytes are its own."""

    text: str
    start: int
    end: int


@attrs.frozen(kw_only=True)
class Speech:
    """What was generated from a text in one go. audio: 8 kHz µ-law, a byte a sample."""

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    characters: tuple[Character, ...]

    @classmethod
    def of(cls, text: str) -> "Speech":
        """Speak. A word is a run of frames, its characters share it evenly; the gap after it is the space's."""
        audio = b""
        characters: list[Character] = []
        for token in _TOKEN.findall(text):
            if token.isspace():
                sound = tone.SILENT_FRAME if audio else b""
                places = [0, *[len(sound)] * len(token)]
            else:
                sound = b"".join(tone.spoken(part, tone.frames_for(part)) for part in _parts(token))
                places = [len(sound) * index // len(token) for index in range(len(token) + 1)]
            for character, (start, end) in zip(token, itertools.pairwise(places), strict=True):
                characters.append(Character(character, len(audio) + start, len(audio) + end))
            audio += sound
        return cls(audio=audio, characters=tuple(characters))

    def pieces(self, sizes: tuple[int, ...], *, each_aligned: bool) -> "Iterator[Piece]":
        """Return the audio in pieces of these sizes, over and over.

        each_aligned: every piece has the characters that begin in it; if not, the first has all of them.
        """
        at = 0
        for size in itertools.cycle(sizes):
            end = at + size
            is_last = end >= len(self.audio)
            own = tuple(each for each in self.characters if at <= each.start and (each.start < end or is_last))
            if not each_aligned:
                own = self.characters if at == 0 else ()
            yield Piece(audio=self.audio[at:end], start=at, characters=own)
            at = end
            if is_last:
                return


@attrs.frozen(kw_only=True)
class Piece:
    """A piece of a speech: its audio, where that begins, and the characters that it tells of."""

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    start: int
    characters: tuple[Character, ...]

    def alignment(self) -> dict[str, Any] | None:
        """Where its characters lie, from its own beginning on; None if it has none."""
        return _alignment(self.characters, self.start) if self.characters else None

    def normalized_alignment(self) -> dict[str, Any] | None:
        """The same of the text as it is spoken, which begins with a space."""
        if not self.characters:
            return None
        first = self.characters[0].start
        space = (Character(" ", first, first),) if self.start == 0 else ()
        return _alignment((*space, *self.characters), self.start)


def _alignment(characters: tuple[Character, ...], start: int) -> dict[str, Any]:
    starts = [_ms(each.start - start) for each in characters]
    ends = [_ms(each.end - start) for each in characters]
    return {
        "chars": [each.text for each in characters],
        "charStartTimesMs": starts,
        "charDurationsMs": [end - begin for begin, end in zip(starts, ends, strict=True)],
    }


def _ms(samples: int) -> int:
    return round(samples * 1000 / RATE_HZ)


def _parts(word: str) -> list[str]:
    if len(word.encode()) <= tone.LONGEST_BYTES:
        return [word]
    return [word[at : at + _PART_CHARS] for at in range(0, len(word), _PART_CHARS)]
