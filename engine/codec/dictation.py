"""Dictation: numbers that are read out and names that are spelt, and whether one at a text's end is whole."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, Self, TypeAlias

import attrs

# Words before the number in which its name is looked for: "my card number, let me see, yes, I have it, it's ...".
_NAMED_WITHIN: Final = 14
# The longest number or word that is read out, in words; what is longer is whole anyhow, and takes no longer to judge.
_LONGEST_RUN: Final = 48
_HOURS: Final = 12
_MINUTES: Final = 59
_DAYS: Final = 31
_YEAR_DIGITS: Final = 4
# "john dot smith at": so near before the end it is an address for mail.
_MAILBOX: Final = 3
# A phone number from here on may begin with the prefix of a trunk; a zip code does with a "1" of its own.
_TRUNK_DIGITS: Final = 7
_PHONE_DIGITS: Final = 10
_ZIP_DIGITS: Final = 5
# The longest group that long numbers are read out in.
_GROUP_DIGITS: Final = 4
# A word that was said and is spelt may have been heard as another one: so much of it must agree.
_ALIKE: Final = 0.6
_NAME_LETTERS: Final = 3
_CENTURIES: Final = ("19", "20")
# Of digits that come without any name: fewer count something ("two", "twenty five").
_COUNTED_DIGITS: Final = 2
# A letter alone is a name for something ("plan B"), unless spelling was spoken of.
_SPELT_LETTERS: Final = 2


class Dictated(enum.Enum):
    """What was dictated at a text's end."""

    NOTHING = "no digits, no letters"
    PART = "some, and more are to come"
    WHOLE = "a number, a date of birth, an address for mail or a word, with nothing missing"


@attrs.frozen(kw_only=True)
class Number:
    """A kind of number: what is `said` before it, and how many digits it has, if that is known."""

    said: tuple[tuple[str, ...], ...]
    lengths: frozenset[int]


class _Kind(enum.Enum):
    DIGIT = "a digit that was said as one"
    NUMERAL = "digits, as the recogniser wrote them"
    NUMBER = "a number with a word of its own: twelve, twenty five"
    LETTER = "a letter"


@attrs.frozen
class _Item:
    kind: _Kind
    text: str


_Found: TypeAlias = tuple[int, tuple[_Item, ...], str]
"""Items, the place of their first word, and the last of their words."""


@attrs.frozen(kw_only=True)
class _Run:
    """What is dictated at the end of some words. start: the place of its first word. open: a joint or "um" ends it."""

    items: tuple[_Item, ...]
    start: int
    open: bool
    sure: bool  # letters were said as in "M as in Mike"

    @property
    def digits(self) -> str:
        return "".join(item.text for item in self.items if item.kind is not _Kind.LETTER)

    @property
    def letters(self) -> str:
        return "".join(item.text for item in self.items if item.kind is _Kind.LETTER)

    @property
    def is_clock(self) -> bool:
        """Whether it can be the time of day: an hour, or an hour and minutes."""
        numbers = [item.text for item in self.items]
        if not numbers or self.letters or int(numbers[0][:3]) > 2 * _HOURS or len(numbers[0]) > len("12"):
            return False
        minutes = "".join(numbers[1:])
        is_said = len(numbers) <= len(("ten", "thirty")) or numbers[1] == "0"  # "six five oh" is none
        return not minutes or (is_said and len(minutes) == len("30") and int(minutes) <= _MINUTES)

    @property
    def is_date(self) -> bool:
        """Whether it can be a date with its year: "four three eighty eight"."""
        numbers = [item.text for item in self.items]
        if len(numbers) != len(("4", "3", "88")) or self.letters or self.items[2].kind is _Kind.DIGIT:
            return False
        return all(0 < int(number[:3]) <= _DAYS for number in numbers[:2]) and len(numbers[2]) in {2, _YEAR_DIGITS}

    @property
    def is_year(self) -> bool:
        return (
            len(self.digits) == _YEAR_DIGITS and self.digits.startswith(_CENTURIES) and len(self.items) <= len("19 85")
        )


@attrs.frozen(kw_only=True)
class Dictation:
    """How a language reads out numbers and spells, from the table `dictation` of its grammar."""

    digits: Mapping[str, str]
    numbers: Mapping[str, str]
    tens: Mapping[str, str]
    powers: Mapping[str, str]
    repeats: Mapping[str, int]
    dots: frozenset[str]
    mailbox: frozenset[str]
    joints: frozenset[str]
    asides: tuple[tuple[str, ...], ...]
    spelt: tuple[tuple[str, ...], ...]
    alphabet: frozenset[str]
    spelling: frozenset[str]
    named: frozenset[str]
    introduces: frozenset[str]
    not_one: frozenset[str]
    amount: frozenset[str]
    clock: frozenset[str]
    months: frozenset[str]
    ordinals: frozenset[str]
    birth: Mapping[str, Sequence[tuple[str, ...]]]
    email: Mapping[str, Sequence[tuple[str, ...]]]
    at: frozenset[str]
    hosts: frozenset[str]
    domains: frozenset[str]
    longest: int
    lengths: frozenset[int]
    trunk: str
    number: tuple[Number, ...]
    hesitations: frozenset[str]
    # By the last word of what is said, the longest first.
    _kinds: Mapping[str, Sequence[tuple[tuple[str, ...], Number]]] = attrs.field(init=False)

    @_kinds.default
    def _by_last_word(self) -> Mapping[str, Sequence[tuple[tuple[str, ...], Number]]]:
        said = sorted(((said, kind) for kind in self.number for said in kind.said), key=lambda each: -len(each[0]))
        return {last: [each for each in said if each[0][-1] == last] for last in {each[0][-1] for each in said}}

    @classmethod
    def read(cls, table: Mapping[str, Any], hesitations: Iterable[str]) -> Self:
        """Return what a table says; a name that it leaves out is of nothing."""

        def words(name: str) -> frozenset[str]:
            return frozenset(str(table.get(name, "")).split())

        def pairs(name: str) -> Mapping[str, str]:
            return dict(pair.split("=") for pair in str(table.get(name, "")).split())

        return cls(
            digits=pairs("digits"),
            numbers=pairs("numbers"),
            tens=pairs("tens"),
            powers=pairs("powers"),
            repeats={word: int(times) for word, times in pairs("repeats").items()},
            dots=words("dots"),
            mailbox=words("mailbox"),
            joints=words("joints"),
            asides=_phrases(table.get("asides", ())),
            spelt=_phrases(table.get("spelt", ())),
            alphabet=words("alphabet"),
            spelling=words("spelling"),
            named=words("named"),
            introduces=words("introduces"),
            not_one=words("not_one"),
            amount=words("amount"),
            clock=words("clock"),
            months=words("months"),
            ordinals=words("ordinals"),
            birth=_by_last(_phrases(table.get("birth", ()))),
            email=_by_last(_phrases(table.get("email", ()))),
            at=words("at"),
            hosts=words("hosts"),
            domains=words("domains"),
            longest=int(table.get("longest", 0)),
            lengths=frozenset(table.get("lengths", ())),
            trunk=str(table.get("trunk", "")),
            number=tuple(
                Number(said=_phrases(kind["said"]), lengths=frozenset(kind["lengths"]))
                for kind in table.get("number", ())
            ),
            hesitations=frozenset(hesitations),
        )

    def judged(self, words: Sequence[str]) -> Dictated:
        """Return what the last of some words dictate; the words in lower case, "@" one of them."""
        mail = self._mail(words)
        if mail is not Dictated.NOTHING:
            return mail
        run = self._run(words)
        if run is None:
            return self._born(words, len(words))
        before = words[: run.start]
        if run.letters:
            return self._spelt(run, before)
        return self._numbered(run, before)

    def _mail(self, words: Sequence[str]) -> Dictated:
        """Judge an address for mail: whole with its domain, a part while it has none."""
        last = words[-1]
        before = words[-2] if len(words) > 1 else ""
        if last in self.domains and (before in self.dots or before in self.hosts or "@" in words):
            return Dictated.WHOLE
        if last == "@" or last in self.dots or (last in self.hosts and (before in self.at or before == "@")):
            return Dictated.PART
        if self.mailbox & {*words[-_MAILBOX:]} and not last[0].isdecimal():
            return Dictated.PART  # "john dot smith", "john dot smith at"
        named = _end_of_last(self.email, words)
        if named in {0, len(words)}:
            return Dictated.NOTHING  # "my email is": that is for the endings to say
        return Dictated.NOTHING if self.domains & {*words[named:]} else Dictated.PART

    def _numbered(self, run: _Run, before: Sequence[str]) -> Dictated:
        """Judge a number by its name, if it has one, else by what it looks like."""
        born = self._born((*before, *(item.text for item in run.items)), len(before))
        if born is not Dictated.NOTHING:
            return born
        counted = run.digits
        preposition = before[-1] if before else ""
        is_one = len(run.items) == 1
        if preposition in self.amount and (run.is_clock or is_one) and not run.open:
            return Dictated.NOTHING
        if preposition in self.clock and run.is_clock and not run.open:
            return Dictated.NOTHING
        if preposition in self.named and is_one and not run.open:
            return Dictated.NOTHING
        kind = self._named(before)
        if kind is None and not run.open:
            dated = preposition in self.months or preposition in self.ordinals
            is_plain = is_one and (len(counted) <= _COUNTED_DIGITS or run.items[0].kind is _Kind.NUMBER)
            is_amount = is_one and bool(before) and preposition not in self.introduces and len(counted) <= _GROUP_DIGITS
            is_told = run.items[-1].kind is not _Kind.DIGIT and (run.is_clock or run.is_year)
            dated = dated or run.is_date
            if dated or is_plain or is_amount or is_told:
                return Dictated.NOTHING
        if run.open:
            return Dictated.PART
        if kind is None and len(counted) == _ZIP_DIGITS and not is_one and run.items[0].kind is _Kind.NUMERAL:
            return Dictated.PART  # "555 01"
        return self._counted(counted, run.items[-1], kind)

    def _counted(self, digits: str, last: _Item, kind: Number | None) -> Dictated:
        """Judge by the number of digits."""
        lengths = self.lengths if kind is None else kind.lengths
        if not lengths:
            is_solid = (
                last.kind is _Kind.NUMERAL and len(last.text) > _GROUP_DIGITS
            )  # nobody pauses in the middle of it
            return Dictated.WHOLE if len(digits) >= self.longest or is_solid else Dictated.PART
        count = len(digits)
        if self.trunk and digits.startswith(self.trunk) and count >= _TRUNK_DIGITS and _PHONE_DIGITS in lengths:
            count -= 1
        return Dictated.WHOLE if count in lengths or count > max(lengths) else Dictated.PART

    def _named(self, before: Sequence[str]) -> Number | None:
        """Return the kind of number whose name stands nearest before it, the longest of those that end there."""
        for end in range(len(before), max(0, len(before) - _NAMED_WITHIN), -1):
            for said, kind in self._kinds.get(before[end - 1], ()):
                if tuple(before[max(0, end - len(said)) : end]) == said:
                    return kind
        return None

    def _spelt(self, run: _Run, before: Sequence[str]) -> Dictated:
        """Judge a word that is spelt: whole when it was said before, else nobody knows."""
        letters = run.letters
        named = bool(self.spelling & {*before[-4:]}) or self._named(before) is not None
        if len(run.items) < _SPELT_LETTERS and not run.sure and not named:
            return Dictated.NOTHING
        if not run.digits and not run.open and any(_spells(letters, word) for word in before):
            return Dictated.WHOLE
        if run.digits and len(run.items) >= self.longest and not run.open:
            return Dictated.WHOLE
        return Dictated.PART

    def _born(self, words: Sequence[str], start: int) -> Dictated:
        """Judge a date of birth: it has a day, a month and a year. start: where the digits at its end begin."""
        named = _end_of_last(self.birth, words)
        if named in {0, len(words)}:
            return Dictated.NOTHING
        groups = 0
        last = ""
        for word in words[named:]:
            number = word.rstrip("sthndr") if word[:1].isdecimal() else word
            if word in self.months or word in self.ordinals:
                groups += 1
                last = word
            elif number.isdecimal() or word in self.numbers or word in self.tens or word in self.digits:
                merges = last in self.tens and word in self.digits
                zero = self.digits.get(last) == "0"
                groups += 0 if merges or zero else 1
                last = number
            elif any(mark in word for mark in "/.-"):
                groups += 3
                last = word
        if not groups:
            return Dictated.NOTHING
        year = words[-1]
        begun = self._value(year) in _CENTURIES and groups <= 3  # noqa: PLR2004 - day, month, "nineteen"
        whole = groups >= 3 and not begun  # noqa: PLR2004 - day, month, year
        # Elsewhere in the text, and something else was said since.
        if start == len(words) and not (year.startswith(last) or year in self.months | self.ordinals):
            return Dictated.NOTHING
        if groups == 1 and year in self.months:
            return Dictated.NOTHING  # "born in June"
        return Dictated.WHOLE if whole else Dictated.PART

    def _value(self, word: str) -> str:
        return self.numbers.get(word) or self.tens.get(word) or word

    def _run(self, words: Sequence[str]) -> _Run | None:
        """Return the digits and letters that some words end with, if they do."""
        at = len(words)
        is_open = False
        least = max(0, at - _LONGEST_RUN)
        while at > least and (words[at - 1] in self.hesitations or words[at - 1] in self.joints):
            at -= 1
            is_open = True
        end = at
        found = list[_Found]()
        sure = False
        while at > least:
            taken = self._item(words, at)
            if taken is not None:
                word = words[at - 1]
                at, item, as_in = taken
                sure = sure or as_in
                found.append((at, (item,), word))
            elif found and words[at - 1] in self.repeats:
                at -= 1
                _, items, word = found.pop()
                found.append((at, items * self.repeats[words[at]], word))
            elif words[at - 1] in self.joints or words[at - 1] in self.hesitations:
                at -= 1
            else:
                aside = next((each for each in self.asides if tuple(words[max(0, at - len(each)) : at]) == each), ())
                if not aside:
                    break
                at -= len(aside)
        if not found:
            is_double = end and words[end - 1] in self.repeats
            return self._after_double(words, end) if is_double else None
        found.reverse()
        # "a", "i" and "oh" are words, unless there are letters, or digits, before them.
        while found and found[0][1][0].text in {"a", "i", "o"} and found[0][1][0].kind is _Kind.LETTER and not sure:
            if len(found) > _SPELT_LETTERS and found[1][1][0].kind is _Kind.LETTER:
                break
            found.pop(0)
        if not found or {item.text for _, items, _ in found for item in items} <= {"a", "i"}:
            return None  # "I, I": a stammer
        found = self._with_letter_o(found)
        items = self._merged(tuple(item for _, items, _ in found for item in items))
        start = found[0][0]
        if len(found) == 1 and start and words[start] in self.digits and words[start - 1] in self.not_one:
            return None
        if len(found) == 1 and self.digits.get(words[start]) == "0" and not words[start].isdecimal():
            return None  # "oh"
        return _Run(items=items, start=start, open=is_open, sure=sure)

    @staticmethod
    def _with_letter_o(found: Sequence[_Found]) -> list[_Found]:
        """Return what was found with an "o" that was taken for a zero as a letter, if one is next to it."""
        kinds = [items[0].kind for _, items, _ in found]
        return [
            (at, (attrs.evolve(items[0], kind=_Kind.LETTER, text="o"),) * len(items), word)
            if word == "o" and _Kind.LETTER in kinds[max(0, place - 1) : place + 2]
            else (at, items, word)
            for place, (at, items, word) in enumerate(found)
        ]

    def _after_double(self, words: Sequence[str], end: int) -> _Run | None:
        before = self._run(words[: end - 1])
        return None if before is None else attrs.evolve(before, open=True)

    def _item(self, words: Sequence[str], end: int) -> tuple[int, _Item, bool] | None:
        """Return the digit, number or letter that ends before `end`, where it begins, and whether it was "as in"."""
        word = words[end - 1]
        if word.isascii() and word.isdecimal():
            return end - 1, _Item(_Kind.NUMERAL if len(word) > 1 else _Kind.DIGIT, word), False
        for said in self.spelt:
            start = end - 2 - len(said)
            if start < 0 or words[end - 2] != said[-1] or len(words[start]) != 1 or not words[start].isalpha():
                continue
            if tuple(words[start + 1 : end - 1]) == said:
                return start, _Item(_Kind.LETTER, words[start]), True
        if word in self.digits:
            return end - 1, _Item(_Kind.DIGIT, self.digits[word]), False
        if word in self.numbers or word in self.tens:
            return end - 1, _Item(_Kind.NUMBER, self.numbers.get(word) or self.tens[word]), False
        if word in self.powers and end > 1:
            taken = self._item(words, end - 1)
            if taken is not None and taken[1].kind is not _Kind.LETTER:
                return taken[0], _Item(_Kind.NUMBER, taken[1].text + self.powers[word]), False
            return None
        if len(word) == 1 and word.isalpha():
            return end - 1, _Item(_Kind.LETTER, word), False
        if word in self.alphabet and end > 1 and (words[end - 2] in self.alphabet or words[end - 2] in self.digits):
            return end - 1, _Item(_Kind.LETTER, word[0]), True
        if word in self.alphabet and end < len(words) and words[end] in self.alphabet:
            return end - 1, _Item(_Kind.LETTER, word[0]), True
        return None

    def _merged(self, items: tuple[_Item, ...]) -> tuple[_Item, ...]:
        """Return items in which twenty and five are twenty five, and two thousand and five one number."""
        merged = list[_Item]()
        for place, item in enumerate(items, start=1):
            last = merged[-1] if merged else None
            if last is not None and last.kind is _Kind.NUMBER and item.kind in {_Kind.DIGIT, _Kind.NUMBER}:
                zeros = len(last.text) - len(last.text.rstrip("0"))
                is_tens = last.text in self.tens.values() and item.kind is _Kind.DIGIT and item.text != "0"
                is_power = 1 < zeros >= len(item.text) and place == len(items)  # else a prefix: 800
                if is_tens or is_power:
                    merged[-1] = _Item(_Kind.NUMBER, last.text[: -len(item.text)] + item.text)
                    continue
            merged.append(item)
        return tuple(merged)


def _spells(letters: str, word: str) -> bool:
    """Return whether letters spell a word, or another that it may have been heard for."""
    if letters == word:
        return True
    if len(word) < _NAME_LETTERS or len(letters) < len(word) or letters[0] != word[0]:
        return False
    return SequenceMatcher(None, letters, word).ratio() >= _ALIKE


def _phrases(phrases: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(phrase.split()) for phrase in phrases)


def _by_last(phrases: Iterable[tuple[str, ...]]) -> dict[str, list[tuple[str, ...]]]:
    """Return phrases by their last word, the longest first."""
    found = dict[str, list[tuple[str, ...]]]()
    for phrase in sorted(phrases, key=len, reverse=True):
        found.setdefault(phrase[-1], []).append(phrase)
    return found


def _end_of_last(phrases: Mapping[str, Sequence[tuple[str, ...]]], words: Sequence[str]) -> int:
    """Return where the last of some phrases ends, by their last words; 0 if there is none."""
    for end in range(len(words), 0, -1):
        for phrase in phrases.get(words[end - 1], ()):
            if tuple(words[max(0, end - len(phrase)) : end]) == phrase:
                return end
    return 0
