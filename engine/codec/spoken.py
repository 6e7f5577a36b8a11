"""Written words to spoken ones: numbers, times, prices, abbreviations, and names that a voice gets wrong."""

from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Spoken:
    """A text as it is spoken. counts: how many words stand for each written one; empty: one each."""

    text: str
    counts: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Diction:
    """How a tenant's texts are spoken.

    normalise: whether numbers and the like are written out. pronunciations: words, and how they are written for the
        voice.
    """

    language: str = "en"
    normalise: bool = True
    pronunciations: Mapping[str, str] = attrs.field(factory=dict)

    def spoken(self, text: str) -> Spoken:
        """Return a whole sentence or clause as it is spoken."""
        return Spoken(text=text)


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
