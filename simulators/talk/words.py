"""Words as they sound: what is compared of two texts, one written, one recognised."""

import re
from collections.abc import Sequence
from typing import Final

_ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS: Final = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def spoken(text: str) -> list[str]:
    """Return a text's words without case and punctuation; digits one by one, but numbers below a hundred as said."""
    text = text.lower().replace("’", "'").replace("good-bye", "goodbye").replace("-", " ")
    text = re.sub(r"(?<=\d)[-.,:](?=\d)", " ", text)
    words = re.sub(r"[^\w' ]", " ", text).split()
    return [said for word in words for said in _said(word.strip("'"))]


def _said(word: str) -> list[str]:
    if not word.isdigit():
        return [word] if word else []
    if len(word) > 2 or (len(word) > 1 and word[0] == "0"):  # noqa: PLR2004 - from here on it is dictated
        return [_ONES[int(digit)] for digit in word]
    number = int(word)
    if number < len(_ONES):
        return [_ONES[number]]
    return [_TENS[number // 10], *([_ONES[number % 10]] if number % 10 else [])]


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Return how many words must be changed, left out or put in to make one of the other (Levenshtein)."""
    before = list(range(len(heard) + 1))
    for row, word in enumerate(said, start=1):
        now = [row]
        for column, other in enumerate(heard, start=1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (word != other)))
        before = now
    return before[-1]
