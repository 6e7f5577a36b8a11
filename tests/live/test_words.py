"""The measure itself: it must neither forgive nor invent an error."""

import pytest

from tests.live.words import spoken_words, word_error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, I'd like one.", "hello i'd like one"),
        ("Thursday the 26th of November at 10 AM", "thursday the twenty sixth of november at ten am"),
        ("at 10:30 a.m., or 2:00 p.m.", "at ten thirty am or two pm"),
        ("10AM", "ten am"),
        ("at ten a M is a mess", "at ten am is a mess"),
        ("the 1st, 2nd, 3rd, 12th, 20th and 31st", "the first second third twelfth twentieth and thirty first"),
        ("in 2026, for 5 minutes, 100 times", "in twenty twenty six for five minutes one hundred times"),
        ("Good-bye! All-day", "goodbye all day"),
        ("the clinic's 'o’clock'", "the clinic's o'clock"),
        (" … ", ""),
    ],
)
def test_words_are_as_they_sound(text: str, words: str) -> None:
    assert " ".join(spoken_words(text)) == words


@pytest.mark.parametrize(
    ("heard", "error"),
    [
        ("what day would suit you", 0.0),
        ("what day would shoot you", 0.2),
        ("what day would you", 0.2),
        ("what a day would suit you", 0.2),
        ("day what would suit you", 0.4),
        ("", 1.0),
        ("what day would suit you what day would suit you", 1.0),
    ],
)
def test_each_word_that_is_changed_lost_or_added_is_an_error(heard: str, error: float) -> None:
    assert word_error("What day would suit you?", heard) == pytest.approx(error)
