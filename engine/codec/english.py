"""English as it is read out: what stands for a number, a time, a price, an address, an abbreviation.

Theory of operation. A text is looked at from left to right, at each place where a unit can begin: a word, a run of
digits, a sign. Rules are tried there in order, each a pattern and what is said for it; the first that has something to
say wins, and the search goes on behind it. A rule sees what stands before and after, so "Dr." is a doctor or a drive.
What no rule knows is left as it is, except digits: those are always read out, one by one if need be.

Everything here is American English; elsewhere only the order of days and months in "5/6/2026" differs.
"""

import functools
import re
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs
from num2words import num2words

from engine.codec import english_words as words

# ── numbers ──

# Of an integer that is read as one; what is longer is read digit by digit.
_LONGEST_DIGITS: Final = 15

NUMBER: Final = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_DASH: Final = r"\s?[-–—\u2011]\s?"
# Nothing of a number, nor of a word, follows.
_END: Final = r"(?![\w°])(?![.,:/'’][0-9])"


@functools.lru_cache(maxsize=4096)
def cardinal(number: int) -> str:
    """Return a number of at most fifteen digits in words: "one hundred twenty-three"."""
    return str(num2words(number)).replace(",", "").replace(" and ", " ")


@functools.lru_cache(maxsize=1024)
def ordinal(number: int) -> str:
    """Return "twenty-first" for 21."""
    return str(num2words(number, to="ordinal")).replace(",", "").replace(" and ", " ")


@functools.lru_cache(maxsize=1024)
def year(number: int) -> str:
    """Return a year of four digits as it is said: "twenty twenty-six", "nineteen oh five", "two thousand five"."""
    return str(num2words(number, to="year")).replace(" and ", " ").replace("oh-", "oh ")


def digits(text: str) -> str:
    """Return the digits of a text one by one; what is not a digit is left out."""
    return " ".join(words.DIGITS[char] for char in text if char in words.DIGITS)


def number(text: str) -> str:
    """Return a number as it is written, with commas and a decimal point: "1,234.5"."""
    whole, _, rest = text.replace(",", "").partition(".")
    if not whole:
        return f"point {digits(rest)}"
    is_code = len(whole) > _LONGEST_DIGITS or (len(whole) > 1 and whole[0] == "0")
    said = digits(whole) if is_code else cardinal(int(whole))
    return f"{said} point {digits(rest)}" if rest else said


def _range(first: str, last: str | None, say: Callable[[str], str] = number) -> str:
    return say(first) if last is None else f"{say(first)} to {say(last)}"


def _door(text: str) -> str:
    """Return the number of a house or a room: "fourteen twenty", "two oh four"."""
    if text[0] == "0" or len(text) > 4:  # noqa: PLR2004
        return digits(text)
    if len(text) <= 2 or text.endswith("000") or (len(text) == 3 and text.endswith("00")):  # noqa: PLR2004
        return cardinal(int(text))
    head, tail = text[:-2], text[-2:]
    low = "hundred" if tail == "00" else f"oh {words.DIGITS[tail[1]]}" if tail[0] == "0" else cardinal(int(tail))
    return f"{cardinal(int(head))} {low}"


# ── rules ──

_AROUND_CHARS: Final = 48


@attrs.frozen
class _Place:
    """Where a rule matched."""

    match: re.Match[str]
    day_first: bool

    @property
    def before(self) -> str:
        """What stands before it, a few words."""
        start = self.match.start()
        return self.match.string[max(0, start - _AROUND_CHARS) : start]

    @property
    def after(self) -> str:
        """What follows it, a few words."""
        end = self.match.end()
        return self.match.string[end : end + _AROUND_CHARS]

    def __getitem__(self, group: str) -> str:
        """Return what a named group matched, "" for nothing."""
        return self.match[group] or ""


_Say: TypeAlias = Callable[[_Place], str | None]
_Rules: TypeAlias = list[tuple[re.Pattern[str], _Say]]

# Tried at a digit or a sign, and at a letter. A later pattern is tried later; of two above a function, the lower first.
_NUMERIC: Final[_Rules] = []
_VERBAL: Final[_Rules] = []


def _rule(rules: _Rules, pattern: str, flags: int = 0) -> Callable[[_Say], _Say]:
    def add(say: _Say) -> _Say:
        rules.append((re.compile(pattern, flags), say))
        return say

    return add


# ── addresses ──

_DOMAIN: Final = "(?:" + "|".join(words.TOP_LEVEL) + ")"
_EMAIL: Final = r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@-])"
_URL: Final = (
    rf"(?:[Hh]ttps?://[^\s<>\"]{{1,500}}[\w/]|(?:www\.|WWW\.)[^\s<>\"]{{1,500}}[\w/]"
    rf"|(?:[A-Za-z0-9][\w-]{{0,62}}\.){{1,8}}{_DOMAIN}(?![\w-]|\.\w)(?:/[^\s<>\"]{{0,500}}[\w/]|/)?)"
)

_SCHEME: Final = re.compile(r"(?:https?://)?(?:www\.)?", re.IGNORECASE)
_ADDRESS_PART: Final = re.compile(r"[0-9]+|[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])|[A-Z]|\W|_|\w")


def address(text: str) -> str:
    """Return an e-mail or web address as it is said; of a query, and of what follows it, nothing."""
    text = _SCHEME.sub("", text.partition("?")[0].partition("#")[0]).rstrip("/")
    said = list[str]()
    for part in _ADDRESS_PART.findall(text):
        if part[0] in words.DIGITS:
            is_number = len(part) <= 2 and part[0] != "0"  # noqa: PLR2004
            said.append(f" {cardinal(int(part)) if is_number else digits(part)} ")
        elif part.isalpha():
            is_spelt = part in words.SPELT_DOMAINS and said[-1:] == [" dot "]
            said.append(" ".join(part.upper()) if is_spelt else f"{' ' if part[0].isupper() else ''}{part}")
        else:
            said.append(f" {words.IN_AN_ADDRESS.get(part, '')} ")
    return " ".join("".join(said).split())


ADDRESS: Final = re.compile(rf"(?<![\w@])(?:{_EMAIL}|{_URL})")


@_rule(_VERBAL, rf"{_EMAIL}|{_URL}")
@_rule(_NUMERIC, rf"(?=[0-9][\w.+-]{{0,80}}[A-Za-z@])(?:{_EMAIL}|{_URL})")
def _web(place: _Place) -> str | None:
    return address(place.match[0]) or None


# ── telephone numbers, cards, codes ──

_SEPARATOR: Final = r"[-.\s\u2011–]"
_EXTENSION: Final = r"(?:,?\s{0,2}(?:[Ee]xt\.?|[Ee]xtension|x)\s?(?P<ext>[0-9]{1,6}))?"
_TOLL_FREE: Final = ("800", "900")


def _groups(groups: list[str], ext: str = "") -> str:
    said = ", ".join(filter(None, map(digits, groups)))
    return f"{said}, extension {digits(ext) if len(ext) > 2 else number(ext)}" if ext else said  # noqa: PLR2004


@_rule(
    _NUMERIC,
    rf"(?P<one>\+?1{_SEPARATOR}?)?(?P<area>\([0-9]{{3}}\)\s?|[0-9]{{3}}{_SEPARATOR})"
    rf"(?P<mid>[0-9]{{3}}){_SEPARATOR}(?P<last>[0-9]{{4}})(?![\w])(?!-[0-9]){_EXTENSION}",
)
@_rule(_NUMERIC, rf"(?P<one>\+?1)?(?P<area>[2-9][0-9]{{2}})(?P<mid>[0-9]{{3}})(?P<last>[0-9]{{4}})(?!\w){_EXTENSION}")
def _telephone(place: _Place) -> str | None:
    area = re.sub("[^0-9]", "", place["area"])
    if area in _TOLL_FREE:
        trunk = "one, " if place["one"][:1] == "1" else ""
        return f"{trunk}{words.DIGITS[area[0]]} hundred, {_groups([place['mid'], place['last']], place['ext'])}"
    one = ["1"] if place["one"][:1] == "1" else []
    return _groups([*one, area, place["mid"], place["last"]], place["ext"])


@_rule(_NUMERIC, rf"(?P<mid>[2-9][0-9]{{2}})[-\u2011–](?P<last>[0-9]{{4}})(?!\w)(?![-.,][0-9]){_EXTENSION}")
def _local_telephone(place: _Place) -> str | None:
    return _groups([place["mid"], place["last"]], place["ext"])


@_rule(_NUMERIC, rf"\+(?P<number>[0-9](?:[\s.\u2011-]?[(]?[0-9][)]?){{6,14}})(?!\w){_EXTENSION}")
def _foreign_telephone(place: _Place) -> str | None:
    groups = re.findall("[0-9]+", place["number"])
    if len(groups) == 1:
        groups = _split(groups[0])
    return f"plus {_groups(groups, place['ext'])}"


def _split(plain: str) -> list[str]:
    """Part a number without spaces: the country, then threes, the last of four or two."""
    size = 1 if plain[0] in words.ONE_DIGIT_COUNTRIES else 2 if plain[:2] in words.TWO_DIGIT_COUNTRIES else 3
    groups, rest = [plain[:size]], plain[size:]
    while len(rest) > 4:  # noqa: PLR2004
        groups.append(rest[:3])
        rest = rest[3:]
    return [*groups, rest]


@_rule(_NUMERIC, r"(?:[0-9]{4}(?:[ -][0-9]{4}){2,3}|[0-9]{3}-[0-9]{2}-[0-9]{4})(?!\w)(?!-[0-9])")
def _card(place: _Place) -> str | None:
    return _groups(re.findall("[0-9]+", place.match[0]))


@_rule(_NUMERIC, r"401\s?(?:\([Kk]\)|[Kk])(?!\w)")
def _pension(_: _Place) -> str | None:
    return "four oh one K"


@_rule(_NUMERIC, r"[0-9](?:-[0-9]){2,9}(?!\w)(?!-[0-9])")
def _spelt_out(place: _Place) -> str | None:
    return digits(place.match[0])


# ── dates ──

_MONTH: Final = "(?:" + "|".join(sorted(words.MONTH_OF, key=len, reverse=True)) + ")"
_DAY: Final = "(?:" + "|".join(sorted(words.DAY_OF, key=len, reverse=True)) + ")"
_ORDINAL: Final = r"(?:st|nd|rd|th)?"
_MOST_DAYS: Final = 31
_MOST_MONTHS: Final = 12


def _date(month: int, day: int, written_year: str = "") -> str | None:
    if not (1 <= month <= _MOST_MONTHS and 1 <= day <= _MOST_DAYS):
        return None
    return f"{words.MONTHS[month - 1]} {ordinal(day)}{_of_year(written_year)}"


def _of_year(written: str) -> str:
    if not written:
        return ""
    if len(written) == 2:  # noqa: PLR2004  (a birthday is often written so)
        written = f"{'20' if int(written) < 50 else '19'}{written}"  # noqa: PLR2004
    return f", {year(int(written))}" if int(written) else ""


@_rule(
    _NUMERIC,
    r"(?P<y>[12][0-9]{3})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})(?:T(?P<t>[0-9]{2}:[0-9]{2})(?::[0-9]{2})?Z?)?(?!\w|-[0-9])",
)
def _iso_date(place: _Place) -> str | None:
    date = _date(int(place["m"]), int(place["d"]), place["y"])
    if date is None or not place["t"]:
        return date
    clock = _clock(*place["t"].split(":"))
    return None if clock is None else f"{date} at {clock}"


@_rule(
    _NUMERIC,
    r"(?P<a>[0-9]{1,2})(?P<sep>[/.-])(?P<b>[0-9]{1,2})(?P=sep)(?P<y>[12][0-9]{3}|[0-9]{2})(?!\w|[./-][0-9])",
)
def _short_date(place: _Place) -> str | None:
    first, second = int(place["a"]), int(place["b"])
    if place["sep"] == "." and len(place["y"]) == 2:  # noqa: PLR2004  (a version)
        return None
    if place.day_first or place["sep"] == "." or first > _MOST_MONTHS:
        first, second = second, first
    return _date(first, second, place["y"])


_BEFORE_A_DATE: Final = re.compile(
    rf"(?:\b(?:on|by|before|until|till|since|from|dated?|due|for|after|{_DAY})\b[.,]?(?:\s+the)?|\bto)\s+$",
    re.IGNORECASE,
)
_MARKS_BEFORE: Final = re.compile(r"\b(?:rat|scor)(?:e|ed|ing)\b[^.]{0,30}$", re.IGNORECASE)
_MARKS_AFTER: Final = re.compile(r"\s(?:stars?|points?)\b")
_LEAST_PRESSURE: Final = 60


@_rule(_NUMERIC, rf"(?P<a>[0-9]{{1,3}}(?:\.[0-9])?)/(?P<b>[0-9]{{1,3}}){_END}(?!/)")
def _slash(place: _Place) -> str | None:
    a, b = place["a"], place["b"]
    if "." in a or _MARKS_AFTER.match(place.after) or _MARKS_BEFORE.search(place.before):
        return f"{number(a)} out of {number(b)}"
    first, second = int(a), int(b)
    if said := words.PAIRS.get(f"{a}/{b}"):
        return said
    month, day = (second, first) if place.day_first else (first, second)
    date = _date(month, day)
    if date and _BEFORE_A_DATE.search(place.before):
        return date
    if b in words.PARTS and 0 < first < second:
        return f"{cardinal(first)} {words.PARTS[b][first > 1]}"
    if date and day > _MOST_MONTHS:
        return date
    if first >= _LEAST_PRESSURE and second > _MOST_DAYS:
        return f"{_door(a)} over {_door(b)}"
    return f"{number(a)} {'out of' if first <= second else 'over'} {number(b)}"


@_rule(
    _NUMERIC,
    rf"(?P<d>[0-9]{{1,2}})(?P<th>{_ORDINAL})(?:{_DASH}(?P<d2>[0-9]{{1,2}}){_ORDINAL})?\s(?:of\s)?(?P<m>{_MONTH})\b\.?"
    r"(?:,?\s(?P<y>[12][0-9]{3})(?!\w))?",
)
def _day_month(place: _Place) -> str | None:
    days = [place["d"], place["d2"] or place["d"]]
    if not all(1 <= int(day) <= _MOST_DAYS for day in days):
        return None
    the = "" if place["th"] or re.search(r"\b[Tt]he\s+$", place.before) else "the "
    first = _range(place["d"], place["d2"] or None, lambda day: ordinal(int(day)))
    return f"{the}{first} of {words.MONTH_OF[place['m']]}{_of_year(place['y'])}{_stop(place)}"


@_rule(
    _VERBAL,
    rf"(?P<m>{_MONTH})\.?,?\s(?:(?P<d>[0-9]{{1,2}}){_ORDINAL}(?![\w:%])"
    rf"(?:{_DASH}(?P<d2>[0-9]{{1,2}}){_ORDINAL}(?![\w:%]))?"
    r"(?:,?\s(?P<y>[12][0-9]{3})(?![\w:]))?|(?P<only>[12][0-9]{3})(?![\w:]))",
)
def _month_day(place: _Place) -> str | None:
    month = words.MONTH_OF[place["m"]]
    if place["only"]:
        return f"{month} {year(int(place['only']))}"
    if not all(1 <= int(day) <= _MOST_DAYS for day in (place["d"], place["d2"] or "1")):
        return None
    return f"{month} {_range(place['d'], place['d2'] or None, lambda day: ordinal(int(day)))}{_of_year(place['y'])}"


@_rule(_VERBAL, rf"(?P<a>{_DAY}|{_MONTH})\.?(?P<sign>{_DASH}|/)(?P<b>{_DAY}|{_MONTH})\b\.?")
def _named_range(place: _Place) -> str | None:
    table = words.DAY_OF if place["a"] in words.DAY_OF else words.MONTH_OF
    if place["b"] not in table:
        return None
    to = "," if place["sign"] == "/" else " to"
    return f"{table[place['a']]}{to} {table[place['b']]}{_stop(place)}"


@_rule(_VERBAL, rf"(?P<a>{_DAY}|{_MONTH})(?![\w'’-])\.?")
def _name(place: _Place) -> str | None:
    name, has_stop = place["a"], place.match[0].endswith(".")
    full = words.DAY_OF.get(name) or words.MONTH_OF[name]
    if name == full:
        return None
    if name in words.AMBIGUOUS_NAMES and not (  # words and names of their own
        re.match(r"\s*(?:[,&]|and|or|at|from)?\s*(?:[0-9]|the\s[0-9]|" + _DAY + r"\b|" + _MONTH + r"\b)", place.after)
        or re.search(rf"(?:{_DAY}|{_MONTH}|[0-9])\.?\s*(?:[,&]|and|or)?\s*$", place.before)
        or (has_stop and place.after.strip())
    ):
        return None
    return full + _stop(place)


# ── times ──

_HALF: Final = r"(?:\s?(?:[AaPp]\.[Mm]\.|[AaPp]\.?[Mm]\b)(?![\w]))"
_HOURS: Final = 24
_NOON: Final = 12


def _clock(hours: str, minutes: str = "", half: str = "") -> str | None:
    """Return a time of day; None where it is none. Midnight and the hours after noon keep their twenty-four."""
    hour, minute = int(hours), int(minutes or 0)
    half = half.replace(".", "").strip().upper()
    if hour > _HOURS or minute > 59 or (half and not 1 <= hour <= _NOON):  # noqa: PLR2004
        return None
    if not half and minutes and hour in (0, _HOURS):
        return "midnight" if not minute else _clock("12", minutes, "AM")
    said = cardinal(hour)
    if minute:
        said += f" {cardinal(minute)}" if minute > 9 else f" oh {cardinal(minute)}"  # noqa: PLR2004
    elif minutes and not half:
        said += " hundred" if hour > _NOON else " o'clock"
    return f"{said} {half}".strip()


@_rule(
    _NUMERIC,
    rf"(?P<h>[0-9]{{1,2}})(?::(?P<m>[0-9]{{2}}))?(?P<p>{_HALF})?{_DASH}"
    rf"(?P<h2>[0-9]{{1,2}})(?::(?P<m2>[0-9]{{2}}))?(?P<p2>{_HALF})?(?![\w%°])(?![.,:/][0-9])",
)
def _time_range(place: _Place) -> str | None:
    if not (place["m"] or place["p"] or place["m2"] or place["p2"]):
        return None
    hour = place["m"] if place["m"] != "00" else ""
    first = _clock(place["h"], hour if place["p2"] else place["m"], place["p"])
    last = _clock(place["h2"], place["m2"], place["p2"])
    return None if first is None or last is None else f"{first} to {last}{_stop(place)}"


@_rule(_NUMERIC, rf"(?P<h>[0-9]{{1,2}}):(?P<m>[0-9]{{2}})(?::(?P<s>[0-9]{{2}}))?(?P<p>{_HALF})?{_END}")
@_rule(_NUMERIC, rf"(?P<h>[0-9]{{1,2}})(?P<m>)(?P<s>)(?P<p>{_HALF}){_END}")
def _time(place: _Place) -> str | None:
    said = _clock(place["h"], place["m"], place["p"])
    if said is None:
        return None
    if seconds := int(place["s"] or 0):
        said += f" and {_counted(str(seconds), 'second', 'seconds')}"
    return said + _stop(place)


@_rule(_NUMERIC, r"(?P<a>[0-9]{1,2}):(?P<b>[0-9]{1,2})(?![\w:])")
def _ratio(place: _Place) -> str | None:
    return f"{number(place['a'])} to {number(place['b'])}"


_NEXT: Final = re.compile(r"[\"'”’)\]]*\s+[\"'“\u2018(\[]*(?P<word>[A-Z][a-z]*)")


def _stop(place: _Place) -> str:
    """Return the full stop of an abbreviation, where it ends a sentence too."""
    return "." if place.match[0].endswith(".") and _ends_here(place) else ""


def _ends_here(place: _Place) -> bool:
    following = _NEXT.match(place.after)
    if place.after[:1] in tuple(",;:?!"):
        return False
    if following is None:
        return not any(map(str.isalnum, place.after))
    return following["word"].lower() in words.STARTERS


# ── money ──

_SIGN: Final = r"(?:(?:US|CA?|AU?|NZ)?\$|[€£¥₹])"
_CODE: Final = "(?:USD|EUR|GBP|JPY|INR|CHF|CAD|AUD|NZD)"
_BIG: Final = r"(?:\s?(?P<big>thousand|million|billion|trillion|[kKMB](?![\w])))?"
_PER: Final = r"(?:\s?/\s?(?P<per>" + "|".join(sorted(words.PERIODS, key=len, reverse=True)) + r")(?!\w)\.?)?"
_ONE_OF_THEM: Final = re.compile(r"(?:^|\s)(?:an?|another|one)\s+$", re.IGNORECASE)
_THAT_ONE: Final = re.compile(r"(?:^|\s)(?:the|your|our|this|that|any|no|each|every)\s+$", re.IGNORECASE)
_NOUN: Final = re.compile(
    r"\s(?!(?:is|was|are|were|for|and|or|per|an?|the|in|on|to|of|at|each|by|from|with|you|we|that|which|will|would|"
    r"has|had|today|now|due|if|as|than|plus|extra|more|less|total|off|back)\b)[a-z]"
)


def _is_one_of_them(place: _Place) -> bool:
    """Whether a measure says what kind of a thing it is: "a $50 deposit", "a 30 min. visit"."""
    return _ONE_OF_THEM.search(place.before) is not None


def _amount(text: str, sign: str, *, singular: bool) -> str:
    one, many, cent, cents = words.MONEY[words.SAME_MONEY.get(sign, sign if sign in words.MONEY else "$")]
    one, many = (f"{words.DOLLARS.get(sign, '')} {name}".lstrip() for name in (one, many))
    whole, _, rest = text.replace(",", "").partition(".")
    whole = whole or "0"
    minor = int(f"{rest}0"[:2]) if rest and cent else 0
    if len(rest) > 2 or (rest and not cent):  # noqa: PLR2004
        return f"{number(text)} {many}"
    said = [f"{number(whole)} {one if singular or int(whole) == 1 else many}"] if int(whole) or not minor else []
    if minor:
        said.append(f"{cardinal(minor)} {cent if singular or minor == 1 else cents}")
    return " and ".join(said)


def _money(place: _Place, sign: str) -> str:
    singular = _is_one_of_them(place) or bool(_THAT_ONE.search(place.before) and _NOUN.match(place.after))
    first, last, big = place["a"], place["b"], place["big"]
    per = f" per {words.PERIODS[place['per']]}" if place["per"] else ""
    if big:
        one, many = (_amount(text, sign, singular=singular).split(" ", 1)[1] for text in ("1", "2"))
        return f"{_range(first, last or None)} {words.BIGS.get(big, big)} {one if singular else many}{per}"
    if not last:
        return _amount(first, sign, singular=singular) + per
    if "." in first:
        return f"{_amount(first, sign, singular=singular)} to {_amount(last, sign, singular=singular)}{per}"
    return f"{number(first)} to {_amount(last, sign, singular=singular)}{per}"


@_rule(
    _NUMERIC,
    rf"(?P<sign>{_SIGN})\s?(?P<a>{NUMBER})(?:{_DASH}{_SIGN}?(?P<b>{NUMBER}))?{_BIG}(?![\w])(?![.,][0-9]){_PER}",
)
@_rule(
    _VERBAL,
    rf"(?P<sign>{_SIGN}|{_CODE})\s?(?P<a>{NUMBER})(?:{_DASH}(?P<b>{NUMBER}))?{_BIG}(?!\w|[.,][0-9]){_PER}",
)
@_rule(_NUMERIC, rf"(?P<a>{NUMBER})(?:{_DASH}(?P<b>{NUMBER}))?{_BIG}\s?(?P<sign>[€£]|{_CODE})(?![\w]){_PER}")
def _price(place: _Place) -> str | None:
    return _money(place, place["sign"]) + _stop(place)


@_rule(_NUMERIC, rf"(?P<a>{NUMBER})\s?¢")
def _cents(place: _Place) -> str | None:
    return _counted(place["a"], "cent", "cents")


# ── houses ──

_WAY: Final = (
    r"(?:" + "|".join((*dict.fromkeys((*words.STREETS, *words.STREETS.values())), "Way", "Broadway")) + r")(?![\w'’])"
)


@_rule(
    _NUMERIC,
    r"(?P<a>[0-9]{1,5})(?P<letter>[A-D])?(?:\s(?P<to>[NS][EW]?|[EW])\.?)?"
    rf"(?=\s(?:(?:[A-Z][\w'’]*|[0-9]{{1,3}}(?:st|nd|rd|th)|St\.|Dr\.)\s){{1,3}}{_WAY}|\sBroadway\b)",
)
def _house(place: _Place) -> str | None:
    letter = f" {place['letter']}" if place["letter"] else ""
    direction = f" {words.DIRECTIONS[place['to']]}" if place["to"] else ""
    return f"{_door(place['a'])}{letter}{direction}"


# ── measures ──

_AGE: Final = re.compile(r"\b(?:the|his|her|their|my|your|early|mid|late)[\s-]['’]?$", re.IGNORECASE)


@_rule(_NUMERIC, r"(?P<a>(?:1[1-9]|20)[0-9]0|[1-9]0)['’]?s(?!\w)")
def _decade(place: _Place) -> str | None:
    tens = place["a"]
    if len(tens) > 2:  # noqa: PLR2004
        return re.sub("y$", "ies", re.sub("hundred$", "hundreds", year(int(tens))))
    return re.sub("y$", "ies", cardinal(int(tens))) if _AGE.search(place.before) else None


_UNIT: Final = "(?:" + "|".join(re.escape(unit) for unit in sorted(words.UNITS, key=len, reverse=True)) + ")"

_BEHIND_A_UNIT: Final = re.compile(r"[.,;:!?)]|\s(?:of|long|wide|high|tall|deep|away)\b|$")


def _counted(text: str, one: str, many: str) -> str:
    return f"{number(text)} {one if text == '1' else many}"


@_rule(
    _NUMERIC,
    rf"(?P<a>{NUMBER})(?:(?:\s?{_UNIT})?{_DASH}(?P<b>{NUMBER}))?(?P<gap>[\s-]?)(?P<unit>{_UNIT})(?![\w'’°])(?:(?=\s?/){_PER}|\.)?",
)
def _measure(place: _Place) -> str | None:
    unit, gap = place["unit"], place["gap"]
    one, many = words.UNITS[unit]
    if unit in words.TIGHT_UNITS and gap == " " and not _BEHIND_A_UNIT.match(place.after):
        return None
    first = _range(place["a"], place["b"] or None)
    if gap == "-":
        return f"{first}-{one}" if " " not in one else f"{first} {one}"
    is_one = (place["a"] == "1" and not place["b"]) or _is_one_of_them(place)
    per = f" per {words.PERIODS[place['per']]}" if place["per"] else ""
    stop = "." if place.match[0].endswith(".") and unit not in words.ABBREVIATED_UNITS else _stop(place)
    return f"{first} {one if is_one else many}{per}{stop}"


@_rule(_NUMERIC, r"(?P<a>[0-9]{1,2})['’\u2032](?P<b>[0-9]{1,2})(?:\"|”|″|''|’’)")
def _height(place: _Place) -> str | None:
    return f"{cardinal(int(place['a']))} foot {cardinal(int(place['b']))}"


@_rule(_NUMERIC, rf"(?P<a>{NUMBER})\s?[x×]\s?(?P<b>{NUMBER})(?:\s?(?P<unit>{_UNIT}))?(?!\w)")
def _by(place: _Place) -> str | None:
    unit = f" {words.UNITS[place['unit']][not _is_one_of_them(place)]}" if place["unit"] else ""
    return f"{number(place['a'])} by {number(place['b'])}{unit}"


@_rule(_NUMERIC, rf"(?P<a>{NUMBER})[x×](?!\w)")
def _times(place: _Place) -> str | None:
    return _counted(place["a"], "time", "times")


@_rule(_NUMERIC, r"(?P<a>[0-9]{1,15})?\s?(?P<part>[½¼¾⅓⅔])")
def _vulgar(place: _Place) -> str | None:
    part = words.VULGAR[place["part"]]
    return f"{number(place['a'])} and {part}" if place["a"] else part.replace("a half", "half")


# ── plain numbers ──


_TH: Final = "(?:st|nd|rd|th)"


@_rule(
    _NUMERIC, rf"(?P<a>[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,4}}|[0-9]{{1,15}}){_TH}(?:{_DASH}(?P<b>[0-9]{{1,3}}){_TH})?(?!\w)"
)
def _place_in_order(place: _Place) -> str | None:
    return _range(place["a"], place["b"] or None, lambda text: ordinal(int(text.replace(",", ""))))


_SPELT: Final = re.compile(
    r"(?:\b(?:ending|ends)\s(?:in|with)|\blast\s(?:four|three|4|3)(?:\sdigits)?|\bdigits|"
    r"\b(?:code|pin|zip|postcode|zipcode|reference|confirmation|account|member|membership|policy|claim|case|ticket|invoice|tracking|serial|extension|ext|"
    r"id|number|passcode|password|dial|text|press|enter))[.:]?"
    r"(?:\s(?:number|no\.?|id|code|digits))?(?:\s(?:is|are|was|of|at|to|it's))?[\s:,]*#?$",
    re.IGNORECASE,
)
_DOOR: Final = re.compile(
    r"\b(?:room|suite|apartment|apt|ste|rm|unit|flight|route|rte|highway|hwy|interstate|bus|building|bldg|gate|channel|"
    r"area\scode)\.?\s#?$",
    re.IGNORECASE,
)
_CALL: Final = re.compile(r"\b(?:call|dial|text|phone|ring|to)\s$", re.IGNORECASE)
_ZIP: Final = re.compile(r"\b[A-Z]{2}\.?,?\s$")
_IN_A_YEAR: Final = re.compile(
    r"\b(?:in|since|of|year|until|by|before|after|from|circa|early|late|mid)[\s-]$", re.IGNORECASE
)


@_rule(_NUMERIC, r"(?P<a>[0-9]{3,})(?:-(?P<b>[0-9]{4}))?(?!\w)(?![.,:/-][0-9])")
def _code_number(place: _Place) -> str | None:
    text, before = place["a"], place.before
    if place["b"]:
        return _groups([text, place["b"]]) if _ZIP.search(before) else None
    if text == "911" or (text in words.SHORT_TELEPHONES and _CALL.search(before)):
        return digits(text)
    if _DOOR.search(before):
        return digits(text) if before.lower().endswith("code ") else _door(text)
    if _SPELT.search(before) or (len(text) == 5 and _ZIP.search(before)):  # noqa: PLR2004
        return digits(text)
    if before[-1:] in ("-", "/") and before[-2:-1].isalpha():  # "HF-20931"
        return digits(text) if len(text) != 4 else None  # noqa: PLR2004
    if len(text) > 4 and not text.endswith("000"):  # noqa: PLR2004  (a quantity has its commas)
        return digits(text)
    return None


@_rule(
    _NUMERIC,
    rf"(?P<a>1[1-9][0-9]{{2}}|20[0-9]{{2}})(?:{_DASH}(?P<b>(?:1[1-9]|20)?[0-9]{{2}}))?(?!\w|[.,:/-][0-9])",
)
def _year_number(place: _Place) -> str | None:
    first, last = place["a"], place["b"]
    if first < "1900" and not (last or _IN_A_YEAR.search(place.before)):
        return None
    if not last:
        return year(int(first))
    return f"{year(int(first))} to {year(int(last)) if len(last) > 2 else cardinal(int(last))}"  # noqa: PLR2004


_FIRST_OF: Final = re.compile(r"\b(?:press|pick|choose|option|step)\s$", re.IGNORECASE)


@_rule(_NUMERIC, rf"(?P<a>{NUMBER})(?P<b>)(?!\w)(?![.,:/][0-9])")
@_rule(_NUMERIC, rf"(?P<a>{NUMBER}){_DASH}(?P<b>{NUMBER})(?![\w]|-[0-9])(?![.,:/][0-9])")
def _plain(place: _Place) -> str | None:
    first, last = place["a"], place["b"]
    if last and any(len(each) > 1 and each[0] == "0" and each[1] != "." for each in (first, last)):
        return _groups([first, last])
    return _range(first, last or None)


@_rule(_NUMERIC, r"[0-9]+(?:\.[0-9]+)+(?!\w)")
def _version(place: _Place) -> str | None:
    return " point ".join(map(number, place.match[0].split(".")))


# ── signs ──


@_rule(_NUMERIC, rf"(?P<sign>[<>]=|[-−~≈<>≤≥±+#])\s?(?={_SIGN}?\.?[0-9])")
def _signed(place: _Place) -> str | None:
    sign = place["sign"]
    if place.before[-1:].isalnum() or (sign in "-#+" and place.match[0] != sign):
        return None
    return f"{words.BEFORE_A_NUMBER[sign]} "


@_rule(_NUMERIC, r"#(?:(?P<tag>[A-Za-z]+)(?!\w)|(?P<code>(?=\w)))?")
def _hash(place: _Place) -> str | None:
    if place["tag"]:
        return f"hashtag {place['tag']}"
    return "pound" if place.match["code"] is None else "number "


@_rule(_NUMERIC, r"[&@](?=\s?\w)|(?<!\S)[+=×÷@%&](?!\S)|(?<=[0-9])[+]")
def _sign(place: _Place) -> str | None:
    return words.SIGNS[place.match[0]]


@_rule(_NUMERIC, r"(?P<a>[0-9]+)(?=[A-Za-z])[0-9A-Za-z]*")
def _number_first_code(place: _Place) -> str | None:
    return _code(place.match[0])


@_rule(_NUMERIC, "[0-9]+")
def _any_digits(place: _Place) -> str | None:
    return number(place.match[0]) if len(place.match[0]) <= 3 else digits(place.match[0])  # noqa: PLR2004


# ── words ──


@_rule(_VERBAL, r"(?P<state>[A-Z]{2})(?:\s(?P<zip>[0-9]{5})(?:-(?P<four>[0-9]{4}))?)(?![\w-])")
def _state(place: _Place) -> str | None:
    name = words.STATES.get(place["state"])
    return f"{name}, {_groups([place['zip'], place['four']])}" if name else None


_HOUSE_BEFORE: Final = re.compile(
    r"(?:[0-9]+\S*|\b(?:on|at|to|of|and|off|from|near))\s(?:[NSEW]\.?\s)?(?:[A-Z0-9][\w'’]*\s){1,3}$"
)
_NAME_BEFORE: Final = re.compile(r"[A-Z0-9][\w'’]*\s$")
_NUMBER_AFTER: Final = re.compile(r"\s?#?[0-9A-Z]")
_NAME_AFTER: Final = re.compile(r"\s(?:[A-Z]|(?:and|&)\s(?:Mr|Dr))")
_FIRST_WORD: Final = re.compile(r"(?:^|[.!?]\s)[A-Z][a-z]*\s$")


@_rule(_VERBAL, r"(?P<word>St|Dr|Ste|Fl|Ct|Pl|Ter|Cir|Sq|Av|Ave|Blvd|Rd|Ln|Hwy|Pkwy|Apt|Bldg|Rm)(?![\w'’])\.?")
def _street(place: _Place) -> str | None:
    word = place["word"]
    before, after = place.before, place.after
    is_after_name = bool(_NAME_BEFORE.search(before))
    if word == "Dr" and not is_after_name:
        return "Doctor" if _NAME_AFTER.match(after) else "doctor"
    if word == "Dr" and _NAME_AFTER.match(after) and _FIRST_WORD.search(before):
        return "Doctor"  # "See Dr. A. Smith"
    if word in ("St", "Dr"):
        is_before_name = bool(_NAME_AFTER.match(after)) and not _ends_here(place)
        if is_before_name and not (is_after_name and _HOUSE_BEFORE.search(before)):
            return "Saint" if word == "St" else "Doctor"
        return words.STREETS[word] + _stop(place) if is_after_name else None
    if word in words.NUMBERED:
        if _NUMBER_AFTER.match(after):
            return words.STREETS[word]
        return words.STREETS[word] + _stop(place) if place.match[0].endswith(".") else None
    if word == "Fl" and not re.search(r"(?:[0-9](?:st|nd|rd|th)|[0-9])\s$", before):
        return None
    return words.STREETS[word] + _stop(place) if is_after_name else None


_DIGITS_AFTER: Final = re.compile(r"\s?#?[0-9]")
_ABBREVIATION: Final = "(?:" + "|".join(sorted(words.ABBREVIATIONS, key=len, reverse=True)) + ")"


@_rule(_VERBAL, rf"(?P<word>{_ABBREVIATION})(?![\w'’-])\.?")
def _abbreviation(place: _Place) -> str | None:
    word, has_stop = place["word"], place.match[0].endswith(".")
    if word in words.BEFORE_DIGITS:
        is_numbered = _DIGITS_AFTER.match(place.after) and (has_stop or word in ("ext", "Ext"))
        return words.ABBREVIATIONS[word] if is_numbered else None
    if word in words.BEFORE_A_NAME:
        is_title = _NAME_AFTER.match(place.after) and (has_stop or word not in words.NEEDS_STOP)
        return words.ABBREVIATIONS[word] if is_title else None
    if word in words.NEEDS_STOP and not has_stop:
        return None
    return words.ABBREVIATIONS[word] + _stop(place)


@_rule(
    _VERBAL,
    r"(?P<word>[ei]\.\s?[eg]\.|eg\.|w/o(?!\w)|w/(?=\s?\w)|b/c(?!\w)|n/a(?!\w)|and/or|s?he/s?he|a\.k\.a\.|"
    r"p\.o\.(?=\sbox)|d\.o\.b\.|c/o(?!\w))",
    re.IGNORECASE,
)
def _phrase(place: _Place) -> str | None:
    return words.PHRASES.get(place["word"].lower().replace(" ", ""))


@_rule(_VERBAL, r"(?P<letters>[A-Z]{1,3})[-\u2011]?(?P<digits>[0-9]{1,4})(?![\w])(?![.,:/-][0-9])")
@_rule(_VERBAL, r"[A-Za-z]+[0-9]+(?:\.[0-9]+)?(?!\w)|[A-Za-z]+[0-9][A-Za-z0-9]*")
def _letters_and_digits(place: _Place) -> str | None:
    return _code(re.sub(r"[-\u2011]", "", place.match[0]))


def _code(text: str) -> str:
    """Return a code of letters and digits: short ones as they are said ("B twelve"), long ones sign by sign."""
    runs = re.findall(r"[0-9]+(?:\.[0-9]+)?|[A-Za-z]+", text)
    is_spelt = len(runs) > 2 and len(text) > 4  # noqa: PLR2004
    said = list[str]()
    for run in runs:
        if not run[0].isdigit():
            said.append(" ".join(run) if is_spelt and run.isupper() else run)
        elif is_spelt or (len(run) > 3 and "." not in run):  # noqa: PLR2004
            said.append(digits(run))
        else:
            said.append(_door(run) if "." not in run else number(run))
    return " ".join(said)


# ── reading ──

# Where a unit may begin: a digit that goes on no number, a letter that goes on no word, a sign.
_START: Final = re.compile(
    r"(?<![0-9])(?=[0-9(+])|(?<![\w.])(?=\.[0-9])|(?<!\w)(?=[A-Za-z])|(?=[$€£¥₹#&@~≈<>≤≥±−½¼¾⅓⅔=×÷%])|(?<!\S)(?=-)"
)
_PLAIN_WORD: Final = re.compile(r"[A-Za-z]+(?=[\s,!?;]|\Z)")
_KNOWN: Final = frozenset().union(
    words.ABBREVIATIONS, words.STREETS, words.DAY_OF, words.MONTH_OF, words.SAME_MONEY, words.DOLLARS, words.STATES
)


def unit(text: str, at: int, *, day_first: bool, upto: int) -> tuple[int, int, str] | None:
    """Return the next unit from `at` on: where it begins and ends, and what is said for it. None: there is no more.

    upto: it must end there at the latest.
    """
    while (start := _START.search(text, at, upto)) is not None:
        at = start.start()
        is_word = text[at].isalpha()
        if is_word and (word := _PLAIN_WORD.match(text, at)) and word[0] not in _KNOWN:
            at = word.end()
            continue
        for pattern, say in _VERBAL if is_word else _NUMERIC:
            match = pattern.match(text, at)
            if match is None or match.end() > upto or match.end() == at:
                continue
            said = say(_Place(match, day_first))
            if said is not None and said != match[0]:
                return at, match.end(), said
        at += 1
    return None
