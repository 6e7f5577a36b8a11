"""Answers: what a caller's words say when a certain question was asked. Pure, and in English."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")


def plain(text: str) -> str:
    """Return the words of a text alone: lower case, straight apostrophes, a space between them."""
    return " ".join(_WORD.findall(text.lower())).replace("\u2019", "'")


def has_phrase(words: str, phrases: Sequence[str]) -> bool:
    """Return whether one of the phrases stands in `words`, both as `plain` gives them, at whole words."""
    padded = f" {words} "
    return any(f" {phrase} " in padded for phrase in phrases)


def _row(text: str) -> frozenset[str]:
    return frozenset(text.split())


# ── yes and no ────────────────────────────────────────────────────────────────────────────────────────────────────────

_NO: Final = (
    *("no", "nope", "nah", "not", "don't", "do not", "doesn't", "does not", "isn't", "can't", "cannot", "won't"),
    *("wrong", "incorrect", "neither", "none", "never", "nothing", "negative", "didn't"),
)
# A "no" that is none.
_NO_OBJECTION: Final = ("no problem", "no worries", "why not", "not at all", "don't mind", "doesn't matter", "not bad")
_YES: Final = (
    *(
        "yes",
        "yeah",
        "yep",
        "yup",
        "yea",
        "yet please",
        "sure",
        "ok",
        "okay",
        "okey",
        "alright",
        "all right",
        "please do",
    ),
    *("right", "correct", "exactly", "perfect", "great", "good", "fine", "lovely", "wonderful", "absolutely"),
    *("definitely", "certainly", "indeed", "of course", "go ahead", "do it", "do that", "book it", "works", "please"),
    *("i do", "i would", "it is", "that is", "that's it", "sounds good", "let's do", "i'd like that", "affirmative"),
    *("mm hmm", "uh huh", "i'll take it", "i'll take that", "cool", "awesome", "excellent", "very well"),
)
_NOT_IN_AN_ANSWER: Final = _row("""
    a actually ah an and at be but do er for hmm i i'd i'm in is it it'd it's just let's like me much my of oh on
    one really so thank thanks that that's the then thing think this to uh um very we well with would you
""")


def yes_or_no(text: str) -> bool | None:
    """Return whether somebody agrees, or None when that cannot be told."""
    words = plain(text)
    if has_phrase(words, _NO_OBJECTION):
        return True
    if has_phrase(words, _NO):
        return False
    return True if has_phrase(words, _YES) else None


def is_only_yes_or_no(text: str) -> bool:
    """Return whether a text says nothing else than that somebody agrees, or does not."""
    words = f" {plain(text)} "
    if words.isspace():
        return False
    for phrase in sorted((*_NO_OBJECTION, *_NO, *_YES), key=len, reverse=True):
        words = words.replace(f" {phrase} ", "  ")
    return yes_or_no(text) is not None and not set(words.split()) - _NOT_IN_AN_ANSWER


_ALL: Final = ("that's it", "that is it", "that's all", "that is all", "all good", "i'm good", "i'm fine", "we're good")


def is_all(text: str) -> bool:
    """Return whether somebody who was asked for anything else says that there is nothing."""
    return has_phrase(plain(text), _ALL)


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

# Certain, whatever follows.
_NAMED: Final = re.compile(
    r"\b(?:my (?:full |last )?name(?: is|'s)|the (?:patient's )?name(?: is|'s)|name is|call me|"
    r"(?:book|put) (?:it |that )?(?:under|in the name of)|under(?: the name)?(?: of)?)\s+",
    re.IGNORECASE,
)
# A name follows if it looks like one.
_PRESENTED: Final = re.compile(r"\b(?:this is|i am|i'm)\s+", re.IGNORECASE)
# The same, in answer to the question; unasked it may be anything: "It's Delta Dental".
_ANSWERED: Final = re.compile(r"\b(?:this is|it is|it's|i am|i'm|that's|for)\s+", re.IGNORECASE)
_SPEAKING: Final = re.compile(r"^(.*?),?\s+(?:here|speaking|calling)\b", re.IGNORECASE)
_NAME_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*\.?")
_TITLES: Final = _row("mr mrs ms miss dr doctor mister missus")
_LONGEST_NAME: Final = 4
_LOWER: Final = re.compile(r"\b[a-z]+")
_SENTENCE_WORDS: Final = 2

# What ends a name, and what no name is.
_NO_NAME: Final = _row("""
    a about actually after afternoon again ah all already also always am an and another any anybody anyone anything
    appointment appointments are as ask at available back bad be because been before best better book booked booking
    both braces busy but by bye call called calling can can't cancel change check checkup clean cleaning close
    closed computer cost could crown day days dentist did didn't do doctor doctor's doesn't don't done eh eight
    eleven else er evening everything excuse fifteen filling fine first five for forget found four free friday from
    get give go going good goodbye got great had half has have having he hello help her here hey hi him his hold
    hour hours how human hurts i i'd i'll i'm i've if in insurance is isn't it it's its just know last late later
    let let's like listen little looking lot ma'am machine madam make manager many may maybe me mean minute moment
    monday more morning move much my name need never next nice night nine no nobody none noon nope not nothing now
    o'clock of oh ok okay on once one open operator or other our out pain pardon past perfect person please pm
    possible price problem quarter question quite real really reason receptionist regarding repeat reschedule right
    robot root sad saturday say second see seven she should sir six so some somebody someone something sometime
    sorry sound sounds speak speaking stop sunday sure take talk ten thank thanks that that's the their them then
    there there's they thing things think third this three thursday time times to today tomorrow tonight too tooth
    toothache tuesday twelve two uh um under unsure urgent us very visit wait want was we wednesday week well were
    what what's when where which who whose why will with won't wonderful would wrong yeah yes yesterday yet you your
""")


def name(text: str, *, answer: bool = False) -> str | None:
    """Return the name that somebody gives.

    answer: they were asked for it, so that a mere "John Smith" is one.
    """
    if match := _NAMED.search(text):
        return _name_at(text[match.end() :], is_certain=True)
    for match in (_ANSWERED if answer else _PRESENTED).finditer(text):
        found = _name_at(text[match.end() :])
        # Unasked, only what is written as a name is one; the recogniser writes most names so.
        if found is not None and (answer or text[match.end()].isupper()):
            return found
    if not answer:
        return None
    bare = _SPEAKING.match(text.strip())
    found = _name_at(_without_politeness(bare[1] if bare else text))
    # Whoever only gives a name says little else, and of a name every word is written large, or none.
    is_sentence = found is not None and len(_LOWER.findall(text)) >= _SENTENCE_WORDS and not text.islower()
    return None if is_sentence or len(_WORD.findall(text)) > _LONGEST_NAME + 2 else found


def _without_politeness(text: str) -> str:
    return re.sub(
        r"^(?:(?:yes|yeah|yep|sure|ok|okay|um|uh|oh|of course|well|hi|hello|so)\b[,.!]?\s*)+",
        "",
        text,
        flags=re.IGNORECASE,
    )


def _name_at(text: str, *, is_certain: bool = False) -> str | None:
    """Return the name that a text begins with.

    is_certain: the words before say that it is one, so "Will" is a name if it is written as one.
    """
    words = list[str]()
    for raw in text.split():
        ends = raw[-1] in ",;:!?" or (raw[-1] == "." and raw.lower().strip(".") not in _TITLES)
        word = raw.strip(',.;:!?"')
        is_other = plain(word) in _NO_NAME and not (is_certain and word[:1].isupper())
        if not _NAME_WORD.fullmatch(word) or is_other:
            break
        if word.lower() not in _TITLES:
            words.append(word if any(letter.isupper() for letter in word[1:]) else word.title().replace("'S", "'s"))
        if ends or len(words) == _LONGEST_NAME:
            break
    return " ".join(words) or None


# ── one of several ────────────────────────────────────────────────────────────────────────────────────────────────────

_POSITIONS: Final = (
    (0, ("first", "1st", "number one", "option one", "former", "earliest", "earlier one")),
    (1, ("second", "2nd", "number two", "option two", "middle")),
    (2, ("third", "3rd", "number three", "option three")),
    (-1, ("last", "latest", "latter", "later one")),
)
_ANY: Final = (
    *(
        "any of them",
        "any of those",
        "either",
        "any",
        "whichever",
        "whatever",
        "you choose",
        "you pick",
        "i don't mind",
    ),
    *("doesn't matter", "don't care", "all good", "all fine", "both work"),
)
_NONE: Final = (
    *(
        "neither",
        "none",
        "none of those",
        "none of them",
        "something else",
        "another day",
        "a different day",
        "anything else",
    ),
    *("other times", "other days", "different time", "another time", "other options", "any others"),
)


def position(text: str, offered: Sequence[T]) -> T | None:
    """Return the one of several that is named by its place: "the first one"."""
    words = plain(text)
    for place, phrases in _POSITIONS:
        if has_phrase(words, phrases) and -len(offered) <= place < len(offered):
            return offered[place]
    return None


def takes_any(text: str) -> bool:
    """Return whether somebody leaves the choice to others."""
    return has_phrase(plain(text), _ANY)


def takes_none(text: str) -> bool:
    """Return whether somebody wants none of what was offered."""
    return has_phrase(plain(text), _NONE) or yes_or_no(text) is False


# ── topics ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def topic(text: str, topics: Mapping[str, Sequence[str]]) -> str | None:
    """Return the first topic one of whose words begins a word of the text."""
    words = f" {plain(text)}"
    return next((topic for topic, starts in topics.items() if any(f" {start}" in words for start in starts)), None)


_PREAMBLE: Final = re.compile(
    r"^(?:(?:um|uh|well|oh|yes|yeah|so|please)\b[,.]?\s*)*"
    r"(?:(?:it's|it is|that's|this is|i need|i want|i'd like|i would like|i have|i've got|it would be|just)\s+)?"
    r"(?:(?:for|about|to get|to have)\s+)?",
    re.IGNORECASE,
)
_LONGEST_TEXT: Final = 120


def free_text(text: str) -> str | None:
    """Return what somebody says in their own words, without "It's for", or None where there is nothing."""
    said = _PREAMBLE.sub("", text.strip(), count=1).strip(" .,!?")
    return said[:_LONGEST_TEXT] if _WORD.search(said) else None


# ── moments ───────────────────────────────────────────────────────────────────────────────────────────────────────────

AROUND_A_MOMENT: Final = _row("""
    a actually am an and about any anything be best better can come could did do fine for free good great have how i i'd
    i'll i'm in instead is it it's just know let's like make maybe me my no of oh ok okay on or perhaps please rather
    say see so sorry sure that that's the then think to try uh um we well what will with work works would yeah yes you
""")
"""What stands around a day or time without meaning anything else."""
