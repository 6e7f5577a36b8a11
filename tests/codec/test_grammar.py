"""Endings and claims: whether words look finished, and whether they take the floor."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.codec.grammar import ENGLISH, Claim, Ending, Grammar, grammar_of

SEEN = Path(__file__).parents[1] / "turns" / "seen.toml"
WHOLE = {Ending.COMPLETE, Ending.UNKNOWN}


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


WHOLE_TEXTS = lines("""
    Yes.
    no
    Tuesday works
    I'd like to book an appointment.
    I want to reschedule
    What time do you close?
    how much does it cost
    who am I speaking with?
    where are you from
    yes I do
    No, I haven't.
    me too
    can you fit me in
    is the doctor in
    I'm not sure
    that's what I was looking for
    Do you have it in blue
    at three
    around five thirty
    3:30 PM
    between 2 and 4
    March 5th
    twenty five
    $45.50
    plan B
    a table for two
    room 214
    we paid 350
    it's for my daughter
    Can I get that gift wrapped and sent out when I need?
    Who is it for?
    I want to change my phone number
    uh huh
    Hello?
""")

UNFINISHED_TEXTS = lines("""
    My number is.
    my name is
    I'd like to
    I'd like to book an appointment for
    for Tuesday or
    um
    on Tuesday, um
    it's
    I'm calling because
    what time do you
    Can I get a?
    could you tell me
    is there
    how much
    let me see
    hang on a second
    Hi, this is Karen.
    I have a question
    if I come on Tuesday
    between two
    on Tuesday,
    Tues-
    it was…
    I I
    he said that
    no wait
""")

DICTATED_PARTS = lines("""
    555
    my number is 415 555
    my number is 415-555-
    it's four one five
    double five
    five double
    one 800 555
    555 um
    area code four one five five five five
    4242 4242
    card number is four two four two four two four two
    my account number is 4 4 7
    my zip is 941
    my date of birth is march twelfth
    date of birth is march twelfth nineteen
    S M I T
    M as in Mike
    it's B for boy
    alpha bravo charlie
    confirmation number A B 1 2
    john dot smith at
    my email is john smith at gmail
    john at gmail dot
""")

DICTATED_WHOLES = lines("""
    my number is 415 555 0142
    (415) 555-0142
    four one five five five five oh one four two
    eight hundred five five five oh one four two
    five five five oh one four two
    1-800-555-0142
    The card number is 4242 4242 4242 4242
    my zip is 94107
    my social is 123 45 6789
    my date of birth is march twelfth nineteen eighty five
    my date of birth is 03/12/1985
    my name is Smith S M I T H
    it's Doe D O E
    it's Anders A N D E R S
    it's Smith, S M Y T H
    my account number is 48213
    the card ending in 4 4 1 9
    john dot smith at gmail dot com
    john.smith@gmail.com
""")


def punctuated(text: str) -> Iterable[str]:
    """Yield a text as one recogniser or another writes it."""
    yield from (text, text.upper(), f"  {text}\n", text.replace("'", "’"))


@pytest.mark.parametrize("text", WHOLE_TEXTS)
def test_a_whole_text_looks_whole(text: str) -> None:
    assert {ENGLISH.ending(each) for each in punctuated(text)} <= WHOLE


@pytest.mark.parametrize("text", UNFINISHED_TEXTS)
def test_an_unfinished_text_looks_unfinished(text: str) -> None:
    assert {ENGLISH.ending(each) for each in punctuated(text)} == {Ending.INCOMPLETE}


@pytest.mark.parametrize("text", [text for text in UNFINISHED_TEXTS if text[-1].isalpha()])
def test_a_full_stop_that_a_recogniser_put_finishes_nothing(text: str) -> None:
    assert ENGLISH.ending(f"{text}.") is Ending.INCOMPLETE


@pytest.mark.parametrize("text", DICTATED_PARTS)
def test_a_number_or_a_word_of_which_some_is_missing_is_being_dictated(text: str) -> None:
    assert {ENGLISH.ending(each) for each in punctuated(text)} == {Ending.DICTATING}


@pytest.mark.parametrize("text", DICTATED_WHOLES)
def test_a_number_or_a_word_that_is_all_there_is_whole(text: str) -> None:
    assert {ENGLISH.ending(each) for each in punctuated(text)} <= WHOLE


def test_a_phone_number_is_whole_at_its_last_digit_however_it_is_grouped() -> None:
    digits = ["four", "one", "five", "five", "five", "five", "oh", "one", "four", "two"]
    for count in range(1, 10):
        text = "my number is area code " + " ".join(digits[:count])
        assert ENGLISH.ending(text) is Ending.DICTATING, text
    assert ENGLISH.ending("my number is area code " + " ".join(digits)) is Ending.COMPLETE


def test_nothing_said_is_not_finished() -> None:
    for grammar in (ENGLISH, grammar_of("ja")):
        assert {grammar.ending(text) for text in ("", " ", "...", "¿")} == {Ending.INCOMPLETE}


BACKCHANNELS = lines("""
    uh-huh
    uh huh
    Uhhuh.
    Mhmm
    mm-hmm
    mmmm
    Okay.
    OK
    o k
    yeahhh
    yeah yeah okay
    Right, right.
    no problem
    no worries
    oh I see
    got it thanks
    that's right
    um
    um okay
    hm [cough]
""")
COMMANDS = lines("""
    stop
    Stop.
    wait
    WAIT wait
    no
    nooo
    no no no
    No, that's wrong.
    actually
    Actually, make that Thursday.
    hold on
    excuse me
    okay stop
    um wait
    yeah yeah no
    can you stop
    please stop talking
""")
FLOORS = lines("""
    Thursday
    can we do Thursday
    okay but what about Friday
    yes and my son too
    no one told me
    stop by
    please
    the fourth
    two
    four one five
""")


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        *((Claim.BACKCHANNEL, text) for text in BACKCHANNELS),
        *((Claim.COMMAND, text) for text in COMMANDS),
        *((Claim.FLOOR, text) for text in FLOORS),
        *(
            (Claim.NOTHING, text)
            for text in ("", " ", "...", "[cough]", "(coughing)", "<unk>", "-", "The.", "and", "It's")
        ),
    ],
)
def test_words_over_the_agent_claim(claim: Claim, text: str) -> None:
    assert {ENGLISH.claim(each) for each in punctuated(text)} == {claim}


def test_a_tenants_phrases_are_known_besides() -> None:
    tenants = ENGLISH.plus(backchannels=["Far out!", "sweet-as", " "], commands=["pineapple", "mayday mayday"])
    assert ENGLISH.claim("far out") is Claim.FLOOR
    assert tenants.claim("far out, sweet as, okay") is Claim.BACKCHANNEL
    assert tenants.claim("okay PINEAPPLE") is Claim.COMMAND
    assert tenants.claim("mayday") is Claim.FLOOR
    assert tenants.claim("uh huh") is Claim.BACKCHANNEL
    assert tenants.ending("my number is") is Ending.INCOMPLETE


def test_of_a_phrase_that_was_known_as_something_else_the_tenants_word_is_true() -> None:
    assert ENGLISH.plus(backchannels=["no"]).claim("no no") is Claim.BACKCHANNEL
    assert ENGLISH.plus(commands=["okay"]).claim("okay") is Claim.COMMAND
    assert ENGLISH.plus(backchannels=["okay"], commands=["okay"]).claim("okay") is Claim.COMMAND
    assert ENGLISH.plus(commands=["but"]).claim("but") is Claim.COMMAND


def test_a_grammar_is_a_value() -> None:
    assert ENGLISH.plus() == ENGLISH
    assert ENGLISH.plus(commands=["pineapple"]) != ENGLISH
    assert hash(ENGLISH.plus()) == hash(ENGLISH)
    assert repr(ENGLISH) == "Grammar(language='en')"


@pytest.mark.parametrize("language", ["en", "en-US", "EN_gb"])
def test_english_is_english_wherever_it_is_spoken(language: str) -> None:
    assert grammar_of(language) is ENGLISH


OTHERS = [
    (
        "de-DE",
        "Ich hätte gern einen Termin am",
        "Ich möchte einen Termin machen",
        "null eins sieben",
        "Ja, genau.",
        "nein",
    ),
    ("es-MX", "quiero una cita para", "Quiero una cita mañana.", "seis uno dos", "sí, claro", "espere"),
    ("fr", "je voudrais un rendez-vous pour", "Je voudrais annuler.", "zéro six", "oui d’accord", "attendez"),
]


@pytest.mark.parametrize("texts", OTHERS)
def test_other_languages_have_their_own_tables(texts: tuple[str, ...]) -> None:
    language, unfinished, whole, dictated, backchannel, command = texts
    grammar = grammar_of(language)
    assert grammar.ending(unfinished) is Ending.INCOMPLETE
    assert grammar.ending(whole) in WHOLE
    assert grammar.ending(dictated) is Ending.DICTATING
    assert grammar.claim(backchannel) is Claim.BACKCHANNEL
    assert grammar.claim(command) is Claim.COMMAND


def test_of_a_language_that_is_not_known_punctuation_tells() -> None:
    grammar = grammar_of("tlh")
    assert grammar.language == "tlh"
    assert grammar.ending("nuqneH.") is Ending.COMPLETE
    assert grammar.ending("nuqneH") is Ending.UNKNOWN
    assert grammar.ending("nuqneH,") is Ending.INCOMPLETE
    assert grammar.ending("555") is Ending.UNKNOWN
    assert grammar.claim("nuqneH") is Claim.FLOOR
    assert grammar.claim(" ") is Claim.NOTHING
    assert grammar.plus(backchannels=["HIja'"]).claim("hija'") is Claim.BACKCHANNEL


PIECES = """
    my number is five double oh 555 0 1 and then um at dot com S as in Sam for hundred thousand twenty two a i o b march
    twelfth nineteen born in card zip email I'd don't between no wait okay the , . ? - @ $5 3:30 12/5 área ß İ ²
"""
WORDS = st.lists(st.sampled_from(PIECES.split()), max_size=30).map(" ".join)
ANY = st.one_of(st.text(max_size=200), WORDS)
GRAMMARS = st.sampled_from([grammar_of(language) for language in ("en", "de", "es", "fr", "ja")])


@given(grammar=GRAMMARS, text=ANY)
@example(grammar=ENGLISH, text="double")
@example(grammar=ENGLISH, text="hundred")
@example(grammar=ENGLISH, text="five " * 5000)
@example(grammar=ENGLISH, text="²")
@example(grammar=ENGLISH, text="my date of birth is th")
@example(grammar=ENGLISH, text="1" * 5000)
def test_any_text_is_judged(grammar: Grammar, text: str) -> None:
    assert grammar.ending(text) in Ending
    assert grammar.claim(text) in Claim


@given(grammar=GRAMMARS, text=ANY, space=st.text(" \t\n", max_size=3))
def test_case_and_the_space_around_a_text_say_nothing(grammar: Grammar, text: str, space: str) -> None:
    spaced = f"{space}{text.strip()}{space}"
    assert grammar.ending(spaced) is grammar.ending(text)
    assert grammar.claim(spaced) is grammar.claim(text)
    assert grammar.ending(text.casefold()) is grammar.ending(text)
    assert grammar.claim(text.casefold()) is grammar.claim(text)


def seen() -> list[dict[str, Any]]:
    utterances: list[dict[str, Any]] = tomllib.loads(SEEN.read_text(encoding="utf-8"))["utterance"]
    return utterances


def test_the_labelled_utterances_are_what_they_say() -> None:
    utterances = seen()
    assert len(utterances) >= 110
    for utterance in utterances:
        assert len(utterance["pauses"]) == len(utterance["groups"]) - 1
        assert all(0.2 <= pause <= 2.0 for pause in utterance["pauses"])
        assert utterance["kind"]


def test_most_pauses_of_the_labelled_utterances_are_told_from_their_ends() -> None:
    pauses = list[bool]()
    ends = list[bool]()
    for utterance in seen():
        groups = utterance["groups"]
        looks = [ENGLISH.ending(" ".join(groups[: count + 1])) in WHOLE for count in range(len(groups))]
        pauses += [not look for look in looks[:-1]]
        ends.append(looks[-1])
    assert sum(pauses) / len(pauses) >= 0.83
    assert sum(ends) / len(ends) >= 0.95
