"""How much of what was said was understood: the word error between two texts, in the words that a voice says."""

import re
from collections.abc import Sequence
from typing import Final

_ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS: Final = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS: Final = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_NUMBER: Final = re.compile(r"(\d{1,4})(st|nd|rd|th)?")


def spoken_words(text: str) -> list[str]:
    """Return a text's words as they sound: no case, no punctuation, numbers in words, "10:30" as "ten thirty".

    What sounds alike is spelt alike only where it is one word: "a.m." is "am", "good-bye" is "goodbye".
    """
    text = text.lower().replace("’", "'")
    text = re.sub(r"\b([ap])(\.\s?|\s)m\b\.?", r"\1m", text)
    text = re.sub(r"(\d)\s*([ap]m)\b", r"\1 \2", text)
    text = re.sub(r"(\d{1,2}):00\b", r"\1", text)
    text = text.replace("good-bye", "goodbye").replace(":", " ").replace("-", " ")
    words = re.sub(r"[^\w' ]", " ", text).split()
    return [spoken for word in words for spoken in _numbers(word.strip("'"))]


def _numbers(word: str) -> list[str]:
    found = _NUMBER.fullmatch(word)
    if found is None:
        return [word] if word else []
    words = _cardinal(int(found[1]))
    if found[2]:
        last = words[-1]
        words[-1] = _ORDINALS.get(last, f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")
    return words


def _cardinal(number: int) -> list[str]:
    """Return a number's words; four digits as a year is said."""
    if number >= 1000 and number % 100:
        return [*_cardinal(number // 100), *_cardinal(number % 100)]
    if number >= 1000:
        return [*_cardinal(number // 1000), "thousand"]
    if number >= 100:
        return [*_cardinal(number // 100), "hundred", *(_cardinal(number % 100) if number % 100 else [])]
    if number >= 20:
        return [_TENS[number // 10], *([_ONES[number % 10]] if number % 10 else [])]
    return [_ONES[number]]


def errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Return how many words must be changed, left out or put in to make one of the other (Levenshtein)."""
    before = list(range(len(heard) + 1))
    for row, word in enumerate(said, start=1):
        now = [row]
        for column, other in enumerate(heard, start=1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (word != other)))
        before = now
    return before[-1]


def word_error(said: str, heard: str) -> float:
    """Return the errors for each word said."""
    words = spoken_words(said)
    return errors(words, spoken_words(heard)) / len(words)
