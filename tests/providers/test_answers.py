"""What short answers mean: yes, no, a name, one of several, a reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.providers.local import answers

YES = [
    "Yes.", "yes please", "Yeah", "Yep.", "Sure.", "Okay.", "That works.", "Sounds good.", "Yes, that's right.",
    "Perfect.",
    "That's correct.", "Please do.", "Go ahead.", "No problem.", "That would be great.", "Mm-hmm.", "I'd like that.",
    "Fine by me", "Book it.", "Absolutely", "All right.",
]  # fmt: skip
NO = [
    "No.", "No thanks.", "Nope", "no thank you", "Not really.", "That doesn't work.", "I don't think so.",
    "That's wrong.",    "No, that's not right", "Never.", "I can't.", "That is not correct", "Neither.",
]  # fmt: skip
NEITHER = ["John Smith", "Tuesday", "What are your hours?", "", "The first one"]


@pytest.mark.parametrize("said", YES)
def test_a_yes(said: str) -> None:
    assert answers.yes_or_no(said) is True


@pytest.mark.parametrize("said", NO)
def test_a_no(said: str) -> None:
    assert answers.yes_or_no(said) is False


@pytest.mark.parametrize("said", NEITHER)
def test_neither_yes_nor_no(said: str) -> None:
    assert answers.yes_or_no(said) is None
    assert not answers.is_only_yes_or_no(said)


@pytest.mark.parametrize("said", ["Yes.", "yes please", "Sure, sounds good.", "No thank you.", "That's fine.", "I do"])
def test_nothing_but_a_yes_or_no(said: str) -> None:
    assert answers.is_only_yes_or_no(said)


@pytest.mark.parametrize("said", ["Yes, but on Friday.", "No, the name is Bob.", "Cancel it.", "Good morning", ""])
def test_more_than_a_yes_or_no(said: str) -> None:
    assert not answers.is_only_yes_or_no(said)


GIVEN = {
    "My name is John Smith.": "John Smith",
    "my name is john smith": "John Smith",
    "My name's Maria Garcia, and I need a cleaning.": "Maria Garcia",
    "This is Anna Lee.": "Anna Lee",
    "Hi, this is Anna Lee speaking": "Anna Lee",
    "I'm Bob.": "Bob",
    "No, the name is Rob Jones.": "Rob Jones",
    "It's under Sam Taken": "Sam Taken",
    "My name is Will Smith": "Will Smith",
    "My name is Conor O'Brien-Walsh": "Conor O'Brien-Walsh",
    "My name is Dr. Ruth McDonald.": "Ruth McDonald",
    "You can call me Al": "Al",
}
ANSWERED = {
    "John Smith.": "John Smith",
    "john smith": "John Smith",
    "It's John Smith.": "John Smith",
    "Sure, it's Jean-Luc Picard.": "Jean-Luc Picard",
    "Um, Sarah Johnson": "Sarah Johnson",
    "Mrs. Robinson": "Robinson",
    "That's Anna Lee.": "Anna Lee",
    "Anna Lee speaking": "Anna Lee",
    "Juan Carlos de Bourbon": "Juan Carlos De Bourbon",
}
NO_NAME = [
    "What are your hours?", "I'm looking for a dentist.", "It's Friday.", "Yes please.", "The first one",
    "I'm not sure.",    "This is about my tooth.", "tomorrow morning", "Can you repeat that?", "It's for a cleaning",
    "Ten thirty", "Hold on",    "Goodbye", "Purple monkey dishwasher.", "", "...",
]  # fmt: skip


@pytest.mark.parametrize(("said", "name"), GIVEN.items())
def test_a_name_that_is_given_unasked(said: str, name: str) -> None:
    assert answers.name(said) == name
    assert answers.name(said, answer=True) == name


@pytest.mark.parametrize(("said", "name"), ANSWERED.items())
def test_a_name_that_is_given_when_asked(said: str, name: str) -> None:
    assert answers.name(said, answer=True) == name


@pytest.mark.parametrize("said", NO_NAME)
def test_what_is_no_name(said: str) -> None:
    assert answers.name(said, answer=True) is None


@pytest.mark.parametrize("said", ["It's Delta Dental.", "John Smith", "for John"])
def test_a_name_must_be_presented_when_nobody_asked(said: str) -> None:
    assert answers.name(said) is None


@pytest.mark.parametrize(
    ("said", "which"),
    [
        ("The first one.", "a"),
        ("second please", "b"),
        ("the 3rd", "c"),
        ("number two", "b"),
        ("the last one", "c"),
        ("the latter", "c"),
        ("Friday", None),
    ],
)
def test_one_of_several(said: str, which: str | None) -> None:
    assert answers.position(said, ["a", "b", "c"]) == which


def test_a_place_beyond_what_was_offered_is_none() -> None:
    assert answers.position("the third one", ["a", "b"]) is None
    assert answers.position("the last one", []) is None


TOPICS = {"toothache": ("hurt", "ache"), "filling": ("filling",)}


@pytest.mark.parametrize(
    ("said", "topic"), [("It hurts.", "toothache"), ("one of my fillings", "filling"), ("a cache", None), ("", None)]
)
def test_a_topic_is_known_by_how_its_words_begin(said: str, topic: str | None) -> None:
    assert answers.topic(said, TOPICS) == topic


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("It's for a second opinion.", "a second opinion"),
        ("Um, my gums bleed.", "my gums bleed"),
        ("I need implants", "implants"),
        ("...", None),
    ],
)
def test_a_reason_in_the_callers_own_words(said: str, text: str | None) -> None:
    assert answers.free_text(said) == text


@given(st.text(max_size=80))
def test_anything_can_be_asked_about_any_text(said: str) -> None:
    answers.yes_or_no(said)
    answers.is_only_yes_or_no(said)
    answers.position(said, [1, 2])
    answers.topic(said, TOPICS)
    free = answers.free_text(said)
    assert free is None or free.strip()
    name = answers.name(said, answer=True)
    assert name is None or name.strip()
