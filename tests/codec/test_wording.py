"""Wording: what counts as the same words, and as a part of a phrase."""

import pytest

from engine.codec.wording import is_of_phrase, is_same, plain_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ten o'clock, please.", ("ten", "oclock", "please")),
        ("  10:30 — or  STRASSE? ", ("10:30", "or", "strasse")),
        ("“$1.50”, (5%). -5!", ("$1.50", "5%", "-5")),
        ("Straße … größer", ("strasse", "grösser")),
        ("?! –", ()),
        ("", ()),
    ],
)
def test_words_are_compared_without_case_and_punctuation(text: str, words: tuple[str, ...]) -> None:
    assert plain_words(text) == words


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("book me", "Book me.", True),
        ("book me", "book  me!?", True),
        ("book me", "book me in", False),
        ("book me", "me book", False),
        ("", "...", True),
        ("two", "too", False),
        ("pay $150", "Pay $150.", True),
        ("pay $150", "Pay $1.50.", False),
        ("at 5", "At 5%?", False),
    ],
)
def test_texts_are_the_same_by_their_words(text: str, other: str, *, same: bool) -> None:
    assert is_same(text, other) is same
    assert is_same(other, text) is same


PHRASES = ("You can opt out, at any time.", "Stop", " … ")


@pytest.mark.parametrize(
    ("text", "firm"),
    [
        ("you can opt out at any time", True),
        ("So: you can opt out, at ANY time! Right?", True),
        ("can opt out,", True),
        ("opt out", False),  # two words may stand anywhere
        ("you can opt in at any time", False),
        ("out opt can", False),
        ("stop", True),
        ("Stopped", False),
        ("", False),
        ("...", False),
    ],
)
def test_a_piece_says_a_phrase_or_a_good_part_of_one(text: str, *, firm: bool) -> None:
    assert is_of_phrase(text, PHRASES) is firm
    assert is_of_phrase(text, ()) is False
