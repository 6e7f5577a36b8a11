"""Wording: texts compared by their words alone, whatever their case and punctuation."""

from collections.abc import Iterable
from typing import Final

_FEWEST: Final = 3
"""Words of a phrase that make a piece a part of it: a clause has as many, and two may stand anywhere."""

_AROUND: Final = ".,;:?!\"'()[]“”‘’«»¡¿…–—"  # noqa: RUF001 - quotation marks are meant


def plain_words(text: str) -> tuple[str, ...]:
    """Return a text's words as they are compared: "Ten o'clock, please." is ("ten", "oclock", "please").

    Of what has a digit only the marks around it go: "$1.50," is "$1.50", which is not "$150".
    """
    return tuple(filter(None, map(_plain, text.casefold().split())))


def is_same(text: str, other: str) -> bool:
    """Whether two texts have the same words."""
    return plain_words(text) == plain_words(other)


def is_of_phrase(text: str, phrases: Iterable[str]) -> bool:
    """Whether a piece of a reply says one of these phrases, or a good part of one that was cut into pieces."""
    piece = plain_words(text)
    return any(
        _holds(piece, phrase) or (len(piece) >= _FEWEST and _holds(phrase, piece))
        for phrase in map(plain_words, phrases)
        if phrase
    )


def _holds(words: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return any(words[at : at + len(part)] == part for at in range(len(words) - len(part) + 1))


def _plain(word: str) -> str:
    if any(map(str.isdigit, word)):
        return word.strip(_AROUND)
    return "".join(filter(str.isalnum, word))
