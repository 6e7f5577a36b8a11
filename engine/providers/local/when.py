"""When: the day and the time that are meant by what somebody said on the telephone.

Theory of operation. The text becomes a row of words. At each word the rules of `_RULES` are tried in order, the longest
first; one that fits says what it means and how many words it took, and reading goes on after them. What is said later
counts ("Tuesday, no, Wednesday"), unless it is put away ("not Thursday", "instead of Thursday") or is the other of two
("Monday or Tuesday"). An hour without "a.m." or "p.m." is taken to be one at which a business is open.
"""

import calendar
import re
from collections.abc import Callable, Mapping
from datetime import MINYEAR, date, time, timedelta
from typing import Final, Literal, TypeAlias

import attrs

Part: TypeAlias = Literal["morning", "afternoon"]

_WEEK: Final = timedelta(days=7)
_NOON: Final = 12
_THIRD: Final = 3
_TEN: Final = 10
_HOURS: Final = 24
_MINUTES: Final = 60
_MONTHS_A_YEAR: Final = 12
_LONGEST_MONTH: Final = 31


@attrs.frozen(kw_only=True)
class When:
    """What was understood. Anything may be missing.

    soonest: the caller takes any day, the sooner the better.
    rest: the words that had nothing to do with it.
    """

    day: date | None = None
    part: Part | None = None
    at: time | None = None
    soonest: bool = False
    rest: tuple[str, ...] = ()


def understand(text: str, today: date, *, answer: bool = False) -> When:
    """Return the day, the part of it and the time in `text`.

    answer: it answers a question for a time, so that a mere "ten" is one.
    """
    words = _words(text)
    marks, rest = list[_Mark](), list[str]()
    at = 0
    while at < len(words):
        mark = next((found for rule in _RULES if (found := rule(words, at)) is not None), None)
        if mark is None and answer:
            mark = _bare_hour(words, at)
        if mark is None:
            rest.append(words[at])
            at += 1
        else:
            marks.append(attrs.evolve(mark, put_away=_is_put_away(rest, mark)))
            at += mark.length
            if _is_alternative(rest, marks):
                marks.pop()
            elif not isinstance(mark.means, _Glue):
                rest.append(_GAP)
    return _meant(marks, tuple(word for word in rest if word != _GAP), today)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _row(text: str) -> list[str]:
    return text.split()


_UNITS: Final = _row(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_TENS: Final = {"twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50}
_CARDINALS: Final = {word: number for number, word in enumerate(_UNITS)} | _TENS
_ORDINALS: Final = {
    word: number
    for number, word in enumerate(
        _row(
            "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
            "fifteenth sixteenth seventeenth eighteenth nineteenth"
        ),
        start=1,
    )
} | {"twentieth": 20, "thirtieth": 30}
_WEEKDAYS: Final = {
    name: number for number, name in enumerate(_row("monday tuesday wednesday thursday friday saturday sunday"))
} | {
    **dict.fromkeys(("mon",), 0),
    **dict.fromkeys(("tue", "tues"), 1),
    **dict.fromkeys(("wed", "weds"), 2),
    **dict.fromkeys(("thu", "thur", "thurs"), 3),
    **dict.fromkeys(("fri",), 4),
}
_MONTHS: Final = {
    name: number
    for names in (
        "january february march april may june july august september october november december",
        "jan feb mar apr may jun jul aug sep oct nov dec",
    )
    for number, name in enumerate(_row(names), start=1)
} | {"sept": 9}
_MERIDIEMS: Final = ("am", "pm")
# Put where something was understood, so that "not" and "or" reach only what follows them at once.
_GAP: Final = "\0"

_SPELLINGS: Final = (
    (re.compile(r"\b([ap])\.\s?m\b\.?"), r"\1m"),  # "p.m.", "p. m."
    (re.compile(r"(?<=\d)\s?([ap])\.?m\b\.?"), r" \1m"),  # "3pm"
    (re.compile(r"\bo['\u2019]?\s?clock\b"), "oclock"),
    (re.compile(r"\b(\d{1,2})[.](\d\d)(?=\s?(?:[ap]m\b|oclock))"), r"\1:\2"),  # "10.30 am"
    (re.compile(r"\bmid[- ]?day\b"), "midday"),
    (re.compile(r"['\u2019]s\b"), ""),  # "tomorrow's"
)
_WORD: Final = re.compile(
    r"\d{4}-\d\d-\d\d|\d{1,2}:\d\d|\d{1,2}/\d{1,2}|\d+(?:st|nd|rd|th)\b|\d+|[^\W\d_]+(?:['\u2019][^\W\d_]+)*"
)


def _words(text: str) -> list[str]:
    text = text.lower()
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    return _WORD.findall(text)


def _cardinal(words: list[str], at: int, most: int) -> tuple[int, int] | None:
    """Return the number at `at`, up to `most`, and how many words it takes."""
    if at >= len(words):
        return None
    if words[at].isdecimal():
        number = int(words[at])
        return (number, 1) if number <= most else None
    number = _CARDINALS.get(words[at], -1)
    if words[at] in _TENS and at + 1 < len(words) and 0 < (unit := _CARDINALS.get(words[at + 1], 0)) < _TEN:
        return (number + unit, 2) if number + unit <= most else None
    return (number, 1) if 0 <= number <= most else None


def _ordinal(words: list[str], at: int) -> tuple[int, int] | None:
    """Return the day of a month at `at`: "24th", "twenty fourth", and how many words it takes."""
    if at >= len(words):
        return None
    if match := re.fullmatch(r"(\d+)(?:st|nd|rd|th)", words[at]):
        number, length = int(match[1]), 1
    elif words[at] in ("twenty", "thirty") and at + 1 < len(words) and _ORDINALS.get(words[at + 1], _TEN) < _TEN:
        number, length = _TENS[words[at]] + _ORDINALS[words[at + 1]], 2
    elif words[at] in _ORDINALS:
        number, length = _ORDINALS[words[at]], 1
    else:
        return None
    return (number, length) if 1 <= number <= _LONGEST_MONTH else None


# ── what a stretch of words can mean ──────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class _Ahead:
    """So many days from today, or from the day that is named with it."""

    days: int


@attrs.frozen
class _Weekday:
    """Monday is 0. weeks: 0, the next one to come; 1, the one of the week after this, which begins on a Monday."""

    number: int
    next_week: bool = False


@attrs.frozen
class _Later:
    """The beginning of a later week or month."""

    weeks: int = 0
    months: int = 0


@attrs.frozen
class _MonthDay:
    """A day of a month; of the next month that has not passed it, when none is named."""

    day: int
    month: int | None = None
    year: int | None = None


@attrs.frozen
class _Clock:
    """A time; `is_pm` is None where nobody said."""

    hour: int
    minute: int = 0
    is_pm: bool | None = None


@attrs.frozen
class _Part:
    name: Part
    is_today: bool = False


@attrs.frozen
class _Soonest:
    """Any day will do."""


@attrs.frozen
class _Glue:
    """Words that belong to a moment without saying anything: "at", "the", "o'clock"."""


_Meaning: TypeAlias = _Ahead | _Weekday | _Later | _MonthDay | _Clock | _Part | _Soonest | _Glue


@attrs.frozen
class _Mark:
    """A meaning, how many words it took, and whether the caller put it away."""

    means: _Meaning
    length: int
    put_away: bool = False


_Rule: TypeAlias = Callable[[list[str], int], _Mark | None]


def _phrases(table: Mapping[str, _Meaning]) -> _Rule:
    """Return the rule of fixed phrases, longest first."""
    split = sorted(((phrase.split(), meaning) for phrase, meaning in table.items()), key=lambda row: -len(row[0]))

    def rule(words: list[str], at: int) -> _Mark | None:
        for phrase, meaning in split:
            if words[at : at + len(phrase)] == phrase:
                return _Mark(meaning, len(phrase))
        return None

    return rule


def _weekday(words: list[str], at: int) -> _Mark | None:
    """Read "thursday", "this thursday", "next thursday", "thursday next week", "a week on thursday"."""
    for before, is_next in (
        (["next"], True),
        (["a", "week", "from"], True),
        (["a", "week", "on"], True),
        (["this"], False),
        (["this", "coming"], False),
        ([], False),
    ):
        name_at = at + len(before)
        if words[at:name_at] != before or name_at >= len(words) or words[name_at] not in _WEEKDAYS:
            continue
        number, length = _WEEKDAYS[words[name_at]], len(before) + 1
        for after in (["next", "week"], ["of", "next", "week"], ["week"], ["this", "week"], ["of", "this", "week"]):
            if words[at + length : at + length + len(after)] == after:
                return _Mark(_Weekday(number, next_week="this" not in after), length + len(after))
        return _Mark(_Weekday(number, next_week=is_next), length)
    return None


def _days_ahead(words: list[str], at: int) -> _Mark | None:
    """Read "in three days", "two weeks from today", "a week from tomorrow", "in a week"."""
    start = at + (words[at] == "in")
    counted = _cardinal(words, start, 60) or ((1, 1) if words[start : start + 1] in (["a"], ["one"]) else None)
    if words[start : start + 3] == ["a", "couple", "of"]:
        counted = (2, 3)
    if counted is None:
        return None
    number, length = counted
    unit = words[start + length] if start + length < len(words) else ""
    days = number * {"day": 1, "days": 1, "week": 7, "weeks": 7}.get(unit, 0)
    end = start + length + 1
    if not days:
        return None
    for after, more in ((["from", "now"], 0), (["from", "today"], 0), (["from", "tomorrow"], 1), (["time"], 0)):
        if words[end : end + len(after)] == after:
            return _Mark(_Ahead(days + more), end + len(after) - at)
    return _Mark(_Ahead(days), end - at) if words[at] == "in" else None


def _month_day(words: list[str], at: int) -> _Mark | None:
    """Read "november 24th", "november twenty four", "the 24th of november", "the twenty fourth", "24 november"."""
    if words[at] in _MONTHS:
        start = at + 1 + (words[at + 1 : at + 2] == ["the"])
        day = _ordinal(words, start) or _cardinal(words, start, _LONGEST_MONTH)
        if day is None or day[0] == 0:
            return None
        return _Mark(_MonthDay(day[0], _MONTHS[words[at]]), start + day[1] - at)
    if match := re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", words[at]):
        return _Mark(_MonthDay(int(match[3]), int(match[2]), int(match[1])), 1)
    if match := re.fullmatch(r"(\d{1,2})/(\d{1,2})", words[at]):
        return _Mark(_MonthDay(int(match[2]), int(match[1])), 1)
    has_the = words[at] == "the"
    start = at + has_the
    ordinal = _ordinal(words, start)
    day = ordinal or _cardinal(words, start, _LONGEST_MONTH)
    if day is None or day[0] == 0:
        return None
    end = start + day[1]
    month_at = end + (words[end : end + 1] == ["of"])
    if month_at < len(words) and words[month_at] in _MONTHS:
        return _Mark(_MonthDay(day[0], _MONTHS[words[month_at]]), month_at + 1 - at)
    if words[end : end + 1] and words[end] in _COUNTED:
        return None
    # "The first" is one of what was offered far more often than a day of the month.
    is_digit = words[start][0].isdecimal()
    if ordinal is not None and (day[0] > _THIRD or is_digit) and (has_the or is_digit or day[1] > 1):
        return _Mark(_MonthDay(day[0]), end - at)
    if has_the and is_digit and words[end : end + 1] not in (["am"], ["pm"], ["oclock"]):
        return _Mark(_MonthDay(day[0]), end - at)
    return None


# "The second one", "the 3rd slot".
_COUNTED: Final = frozenset(_row("one ones time times slot option appointment available opening choice"))


def _clock(words: list[str], at: int) -> _Mark | None:
    """Read "half past two", "quarter to three", "ten thirty", "10:30 am", "at three", "two oclock", "around 3"."""
    start = at
    while start < len(words) and words[start] in _TIME_PREPOSITIONS:
        start += 1
    has_preposition = start > at
    start += words[start : start + 1] == ["a"]  # "at a quarter past"
    read = _past_or_to(words, start) or _hour_and_minute(words, start, is_told=has_preposition)
    if read is None:
        return None
    clock, end = read
    if end < len(words) and words[end] in _MERIDIEMS:
        clock, end = attrs.evolve(clock, is_pm=words[end] == "pm"), end + 1
    if clock.hour > _NOON:
        clock = attrs.evolve(clock, is_pm=None)
    return _Mark(clock, end - at)


_TIME_PREPOSITIONS: Final = frozenset(_row("at around about by after before from till until between near exactly"))
_FRACTIONS: Final = {"half": 30, "quarter": 15}


def _past_or_to(words: list[str], at: int) -> tuple[_Clock, int] | None:
    if at >= len(words):
        return None
    minutes = _FRACTIONS.get(words[at])
    counted = (minutes, 1) if minutes else _cardinal(words, at, 29)
    if counted is None or not counted[0]:
        return None
    minutes, end = counted[0], at + counted[1]
    end += words[end : end + 1] in (["minutes"], ["minute"])
    word = words[end] if end < len(words) else ""
    hour = _cardinal(words, end + 1, _NOON)
    if hour is None or not hour[0]:
        # British: "half two" is half past two.
        hour = _cardinal(words, end, _NOON) if words[at] == "half" else None
        return (_Clock(hour[0], 30), end + hour[1]) if hour and hour[0] else None
    if word in ("past", "after"):
        return _Clock(hour[0], minutes), end + 1 + hour[1]
    if word in ("to", "till", "of", "before"):
        return _Clock(hour[0] - 1 or _NOON, 60 - minutes), end + 1 + hour[1]
    return None


def _hour_and_minute(words: list[str], at: int, *, is_told: bool) -> tuple[_Clock, int] | None:
    """Read an hour with or without minutes. `is_told`: what stands before it says that it is a time."""
    if at >= len(words):
        return None
    if match := re.fullmatch(r"(\d{1,2}):(\d\d)", words[at]):
        hour, minute = int(match[1]), int(match[2])
        return (
            (_Clock(hour, minute), at + 1 + (words[at + 1 : at + 2] == ["oclock"]))
            if hour < _HOURS and minute < _MINUTES
            else None
        )
    if re.fullmatch(r"\d{3,4}", words[at]):  # "at 1030"
        hour, minute = int(words[at][:-2]), int(words[at][-2:])
        is_time = (
            1 <= hour <= _NOON
            and minute < _MINUTES
            and minute % 5 == 0
            and (is_told or words[at + 1 : at + 2] in (["am"], ["pm"]))
        )
        return (_Clock(hour, minute), at + 1) if is_time else None
    counted = _cardinal(words, at, _NOON)
    if counted is None or not counted[0]:
        return None
    hour, end = counted[0], at + counted[1]
    if words[end : end + 1] == ["oclock"]:
        return _Clock(hour), end + 1
    if words[end : end + 1] in (["oh"], ["o"]) and (unit := _cardinal(words, end + 1, 9)):
        return _Clock(hour, unit[0]), end + 1 + unit[1]
    minutes = _cardinal(words, end, 59)
    if minutes and minutes[0] >= _TEN:
        return _Clock(hour, minutes[0]), end + minutes[1]
    has_meridiem = words[end : end + 1] in (["am"], ["pm"])
    in_a_part = words[end : end + 2] == ["in", "the"] and words[end + 2 : end + 3] in (
        ["morning"],
        ["afternoon"],
        ["evening"],
    )
    return (_Clock(hour), end) if is_told or has_meridiem or in_a_part else None


def _bare_hour(words: list[str], at: int) -> _Mark | None:
    """Read an hour that nothing but the question makes one. "That one" and "two times" are none."""
    read = _hour_and_minute(words, at, is_told=True)
    if read is None or (words[at] == "one" and at > 0) or (words[read[1] : read[1] + 1] and words[read[1]] in _COUNTED):
        return None
    return _Mark(read[0], read[1] - at)


_SPECIAL: Final[dict[str, _Meaning]] = {
    "today": _Ahead(0),
    "tonight": _Part("afternoon", is_today=True),
    "this morning": _Part("morning", is_today=True),
    "this afternoon": _Part("afternoon", is_today=True),
    "this evening": _Part("afternoon", is_today=True),
    "later today": _Ahead(0),
    "tomorrow": _Ahead(1),
    "the day after tomorrow": _Ahead(2),
    "day after tomorrow": _Ahead(2),
    "next week": _Later(weeks=1),
    "the week after next": _Later(weeks=2),
    "the following week": _Later(weeks=1),
    "next month": _Later(months=1),
    "the weekend": _Weekday(5),
    "this weekend": _Weekday(5),
    "next weekend": _Weekday(5, next_week=True),
    "good morning": _Glue(),
    "good afternoon": _Glue(),
    "good evening": _Glue(),
    "morning": _Part("morning"),
    "mornings": _Part("morning"),
    "before noon": _Part("morning"),
    "before lunch": _Part("morning"),
    "first thing": _Part("morning"),
    "afternoon": _Part("afternoon"),
    "afternoons": _Part("afternoon"),
    "evening": _Part("afternoon"),
    "after lunch": _Part("afternoon"),
    "after noon": _Part("afternoon"),
    "after work": _Part("afternoon"),
    "at noon": _Clock(12, is_pm=True),
    "noon": _Clock(12, is_pm=True),
    "midday": _Clock(12, is_pm=True),
    "as soon as possible": _Soonest(),
    "as early as possible": _Soonest(),
    "soon as possible": _Soonest(),
    "asap": _Soonest(),
    "soonest": _Soonest(),
    "the earliest": _Soonest(),
    "earliest": _Soonest(),
    "first available": _Soonest(),
    "next available": _Soonest(),
    "any day": _Soonest(),
    "any time": _Soonest(),
    "anytime": _Soonest(),
    "whenever": _Soonest(),
    "right away": _Soonest(),
    "straight away": _Soonest(),
    "immediately": _Soonest(),
    "doesn't matter": _Soonest(),
    "don't mind": _Soonest(),
    "don't care": _Soonest(),
    "oclock": _Glue(),
}
_RULES: Final[tuple[_Rule, ...]] = (_days_ahead, _weekday, _month_day, _clock, _phrases(_SPECIAL))

_NEGATIONS: Final = (
    ("not",),
    ("instead", "of"),
    ("rather", "than"),
    ("can't", "do"),
    ("can't", "make"),
    ("other", "than"),
    ("except",),
    ("isn't",),
    ("doesn't",),
)
_BETWEEN: Final = frozenset(_row("on for the at in this"))


def _is_put_away(before: list[str], mark: _Mark) -> bool:
    """Return whether the words before a mark say that it is not meant: "not on Thursday"."""
    words = [word for word in before[-4:] if word not in _BETWEEN]
    return not isinstance(mark.means, _Glue) and any(
        tuple(words[-len(negation) :]) == negation for negation in _NEGATIONS
    )


def _is_alternative(before: list[str], marks: list[_Mark]) -> bool:
    """Return whether the last mark is the second of two of a kind: "Monday or Tuesday", "between two and four"."""
    if before[-1:] not in (["or"], ["and"], ["to"]) or before[-2:-1] != [_GAP]:
        return False
    return len({_kind(mark.means) for mark in marks[-2:]}) < len(marks[-2:])


def _kind(meaning: _Meaning) -> str:
    match meaning:
        case _Clock():
            return "time"
        case _Part():
            return "part"
        case _Glue():
            return "glue"
        case _:
            return "day"


# ── the meaning of it all ─────────────────────────────────────────────────────────────────────────────────────────────


def _meant(marks: list[_Mark], rest: tuple[str, ...], today: date) -> When:
    meanings = [mark.means for mark in marks if not mark.put_away]
    day: date | None = None
    part: Part | None = None
    clock: _Clock | None = None
    soonest = False
    for meaning in meanings:
        match meaning:
            case _Soonest():
                soonest = True
            case _Part(name=part, is_today=is_today):
                day = today if is_today else day
            case _Clock():
                clock = meaning
            case _Ahead() | _Weekday() | _Later() | _MonthDay():
                # "Tuesday the 24th" is one day: the number says which Tuesday.
                day = _day(meaning, today) or day
            case _Glue():
                pass
    moment = None if clock is None else _time(clock, part)
    if moment is not None:
        part = "morning" if moment.hour < _NOON else "afternoon"
    return When(day=day, part=part, at=moment, soonest=soonest and day is None, rest=rest)


def _day(meaning: _Ahead | _Weekday | _Later | _MonthDay, today: date) -> date | None:
    match meaning:
        case _Ahead(days=days):
            return today + timedelta(days=days)
        case _Weekday(number=number, next_week=True):
            return _monday(today) + _WEEK + timedelta(days=number)
        case _Weekday(number=number):
            return today + timedelta(days=(number - today.weekday() - 1) % 7 + 1)
        case _Later(weeks=0, months=months):
            month = today.month - 1 + months
            return date(today.year + month // _MONTHS_A_YEAR, month % _MONTHS_A_YEAR + 1, 1)
        case _Later(weeks=weeks):
            return _monday(today) + weeks * _WEEK
        case _MonthDay():
            return _month_day_after(meaning, today)


def _month_day_after(meant: _MonthDay, today: date) -> date | None:
    """Return the first such day from today on, or None where no month has it."""
    if meant.year is not None and meant.month is not None:
        return _valid(meant.year, meant.month, meant.day)
    for ahead in range(8 * _MONTHS_A_YEAR + 1):  # a 29th of February is never further than eight years away
        month = today.month - 1 + ahead
        if meant.month not in (None, month % _MONTHS_A_YEAR + 1):
            continue
        day = _valid(today.year + month // _MONTHS_A_YEAR, month % _MONTHS_A_YEAR + 1, meant.day)
        if day is not None and day >= today:
            return day
    return None


def _valid(year: int, month: int, day: int) -> date | None:
    if year < MINYEAR or not 1 <= month <= _MONTHS_A_YEAR or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return date(year, month, day)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


# Without "a.m." or "p.m.", one to six is after noon: businesses are open then.
_LAST_PM_HOUR: Final = 6


def _time(clock: _Clock, part: Part | None) -> time:
    hour = clock.hour
    if hour > _NOON or hour == 0:
        return time(hour, clock.minute)
    is_pm = clock.is_pm
    if is_pm is None:
        is_pm = hour <= _LAST_PM_HOUR or hour == _NOON or (part == "afternoon")
        if part == "morning" and hour != _NOON:
            is_pm = False
    return time(hour % _NOON + (_NOON if is_pm else 0), clock.minute)
