"""Written words to spoken ones: numbers, times, prices, abbreviations, and names that a voice gets wrong."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

import attrs

from engine.codec import english, numerals

_WORD: Final = re.compile(r"\S+")

_Change: TypeAlias = tuple[int, int, str]
"""Where it begins and ends in the text, and what stands there instead."""


@attrs.frozen(kw_only=True)
class Spoken:
    """A text as it is spoken. counts: how many words stand for each written one; empty: one each.

    Words are what `str.split` gives. Of written words that are spoken as one unit ("May 5, 2026") the first has the
    unit's count and the others have 0, unless there are as many spoken ones.
    """

    text: str
    counts: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Diction:
    """How a tenant's texts are spoken. It compiles the pronunciations, so make one a tenant, not one a call.

    language: as "en", "en-GB", "de". English is read out wholly; of other languages that `numerals` knows, numbers and
        amounts; of the rest nothing.
    normalise: whether numbers and the like are written out.
    pronunciations: words or phrases, and how they are written for the voice. Those without capitals stand for any
        case. What they give is not normalised.
    """

    language: str = "en"
    normalise: bool = True
    pronunciations: Mapping[str, str] = attrs.field(factory=dict)
    _known: "_Pronunciations" = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: _Pronunciations(self.pronunciations), True),  # noqa: FBT003
    )
    _unit: "_Unit | None" = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: _reader(self), True),  # noqa: FBT003, PLW0108
    )

    @property
    def _address(self) -> Callable[[str], str]:
        """What says an address of the language."""
        language = self.language.lower().partition("-")[0]
        return english.address if language == "en" else partial(numerals.address, language)

    def spoken(self, text: str) -> Spoken:
        """Return a whole sentence or clause as it is spoken. Any text; spoken again, it stays as it is."""
        changes = list(self._changes(text))
        return _assembled(text, changes) if changes else Spoken(text=text)

    def _changes(self, text: str) -> Iterator[_Change]:
        at = 0
        own = self._known.found(text)
        if own and self._unit is not None:  # what is part of an address is said with it
            addresses = [match.span() for match in english.ADDRESS.finditer(text)]
            own = [each for each in own if not any(start <= each[0] < end for start, end in addresses)]
        for start, end, said in (*own, (len(text), len(text), "")):
            while self._unit is not None and (change := self._unit(text, at, start)) is not None:
                yield self._respelt(text, change)
                at = change[1]
            if end > start:
                yield start, end, said
            at = end

    def _respelt(self, text: str, change: _Change) -> _Change:
        """Return a unit's change so that its words touch no others."""
        start, end, said = change
        if english.ADDRESS.fullmatch(text, start, end):
            said = self._address(self._known.put(text[start:end]))
        before = " " if start and said[:1].isalnum() and text[start - 1].isalnum() else ""
        after = " " if end < len(text) and said[-1:].isalnum() and text[end].isalnum() else ""
        return start, end, f"{before}{said}{after}"


_Unit: TypeAlias = Callable[[str, int, int], _Change | None]
"""Finds the next unit of a text, from a place on, up to another."""


class _Pronunciations:
    """A tenant's own spellings, as one pattern: the longest first."""

    def __init__(self, table: Mapping[str, str]) -> None:
        named = {" ".join(written.split()): said for written, said in table.items() if written.strip()}
        self._exact = {written: said for written, said in named.items() if written != written.lower()}
        self._any_case = {written.lower(): said for written, said in named.items() if written == written.lower()}
        self._pattern: re.Pattern[str] | None = None
        if named:
            longest_first = sorted(named, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(self._alternative, longest_first)))

    def _alternative(self, written: str) -> str:
        words = r"\s+".join(map(re.escape, written.split()))
        case = words if written in self._exact else f"(?i:{words})"
        return rf"(?<!\w){case}(?!\w)"

    def found(self, text: str) -> list[_Change]:
        """Return where they stand in a text, in order."""
        return (
            [(*match.span(), self._said(match[0])) for match in self._pattern.finditer(text)] if self._pattern else []
        )

    def put(self, text: str) -> str:
        """Return a text with them in their places."""
        return self._pattern.sub(lambda match: self._said(match[0]), text) if self._pattern else text

    def _said(self, written: str) -> str:
        plain = " ".join(written.split())
        return self._exact[plain] if plain in self._exact else self._any_case[plain.lower()]


def _reader(diction: Diction) -> _Unit | None:
    """Return what finds the units of a language; None where none are looked for."""
    language, _, country = diction.language.lower().partition("-")
    if not diction.normalise:
        return None
    if language == "en":
        day_first = country not in ("", "us", "ca", "ph")
        return lambda text, at, upto: english.unit(text, at, day_first=day_first, upto=upto)
    return numerals.reader(diction.language.lower())


def _assembled(text: str, changes: Sequence[_Change]) -> Spoken:
    """Return a text with its changes, and how many words stand for each of its own."""
    said, at = list[str](), 0
    for start, end, words in changes:
        said += text[at:start], words
        at = end
    spoken = "".join((*said, text[at:]))
    counts = _counts(text, changes)
    return Spoken(text=spoken, counts=() if all(count == 1 for count in counts) else tuple(counts))


def _counts(text: str, changes: Sequence[_Change]) -> list[int]:
    """Return how many words stand for each, by groups: written words that no change parts."""
    counts = list[int]()
    words = [match.span() for match in _WORD.finditer(text)]
    place, change = 0, 0
    while place < len(words):
        start, end = words[place]
        last, at, said = place + 1, start, ""
        while change < len(changes) and changes[change][0] < end:
            first, behind, spoken = changes[change]
            said += text[at:first] + spoken
            at, change = behind, change + 1
            while last < len(words) and words[last][0] < at:
                last += 1
            end = words[last - 1][1]
        spoken_words = len((said + text[at:end]).split())
        written_words = last - place
        counts += [1] * written_words if spoken_words == written_words else [spoken_words] + [0] * (written_words - 1)
        place = last
    return counts


def heard(written: Sequence[str], counts: Sequence[int], spoken_words: int) -> int:
    """Return how many written words were heard, when so many spoken ones were."""
    if not counts:
        return min(len(written), spoken_words)
    said = 0
    for place, count in enumerate(counts):
        said += count
        if said > spoken_words:
            return place
    return len(written)
