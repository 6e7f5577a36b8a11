"""Numbers of other languages than English, read out: whole ones, fractions, amounts, percent, telephone numbers.

Only what stands alone is read: what one would have to know the language for (times, dates, cases) is left as written,
for voices read their own language well. The languages are those of which num2words was seen to read all of these.
"""

import functools
import re
from collections.abc import Callable
from typing import Final, TypeAlias

import attrs
from num2words import num2words

Unit: TypeAlias = tuple[int, int, str]
"""Where a unit begins and ends in a text, and what is said for it."""


@attrs.frozen
class _Language:
    """Words of a language, for signs."""

    percent: str
    at: str
    dot: str
    has_century_years: bool = False  # "1990" is nineteen hundred and ninety, as a year


_LANGUAGES: Final = {
    "de": _Language("Prozent", "at", "Punkt", has_century_years=True),
    "es": _Language("por ciento", "arroba", "punto"),
    "fr": _Language("pour cent", "arobase", "point"),
    "it": _Language("per cento", "chiocciola", "punto"),
    "nl": _Language("procent", "at", "punt", has_century_years=True),
    "pl": _Language("procent", "małpa", "kropka"),
    "pt": _Language("por cento", "arroba", "ponto"),
}
# Where Spanish is written with a point before a fraction, as English is.
_POINT: Final = frozenset(f"es-{country}" for country in ("mx", "us", "pr", "do", "gt", "hn", "ni", "pa", "sv", "pe"))
_MONEY: Final = {"€": "EUR", "$": "USD", "£": "GBP"}
# What is longer is a number of an account: read digit by digit.
_LONGEST_DIGITS: Final = 9
_CENTS_DIGITS: Final = 2

_NO_CENTS: Final = re.compile(r",?(?:\s\w+)?\s00\s.*$")
_GERMAN_MONTHS: Final = "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
_UNIT: Final = (
    r"(?<![\w.,:/@-])(?<![$€£]\s)(?:"
    r"(?P<telephone>\+[0-9][0-9 ()/-]{{6,18}}[0-9]|0[0-9]{{1,4}}[ /-][0-9][0-9 /-]{{3,12}}[0-9])"
    r"|(?:(?P<sign>[€$£])\s?)?(?P<number>(?:[0-9]{{1,3}}(?:{part}[0-9]{{3}})+(?![0-9])|[0-9]+)(?:{decimal}[0-9]+)?)"
    r"(?:\s?(?P<percent>%)|\s?(?P<after>[€$£]))?"
    rf")(?![\w%€$£])(?![.,:/-][0-9])(?!\.\s(?:[a-zà-ž]|{_GERMAN_MONTHS}))"
    r"|(?P<email>(?<![\w@])[\w.+-]{{1,64}}@(?:[\w-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,24}}(?![\w@-]))"
)
_COMMA_UNIT: Final = re.compile(_UNIT.format(part=r"\.", decimal=","))
_POINT_UNIT: Final = re.compile(_UNIT.format(part=",", decimal=r"\."))


def reader(tag: str) -> Callable[[str, int, int], Unit | None] | None:
    """Return what finds the next unit of a text, from a place on, up to another; None for a language not known.

    tag: as "de" or "es-mx".
    """
    language = tag.partition("-")[0]
    is_point = tag in _POINT
    return functools.partial(_next, language, is_point) if language in _LANGUAGES else None


def _next(language: str, is_point: bool, text: str, at: int, upto: int) -> Unit | None:  # noqa: FBT001 - of a partial
    pattern = _POINT_UNIT if is_point else _COMMA_UNIT
    while (match := pattern.search(text, at)) is not None and match.start() < upto:
        if match.end() <= upto and (said := _said(language, match, decimal="." if is_point else ",")):
            return match.start(), match.end(), said
        at = match.end()
    return None


def _said(language: str, match: re.Match[str], *, decimal: str) -> str:
    words = _LANGUAGES[language]
    if match["email"]:
        return address(language, match["email"])
    if match["telephone"]:
        groups = (_digits(language, group) for group in re.findall("[0-9]+", match["telephone"]))
        return ("plus " if match["telephone"][0] == "+" else "") + ", ".join(groups)
    whole, _, rest = match["number"].partition(decimal)
    whole = re.sub("[^0-9]", "", whole)
    if len(whole) > _LONGEST_DIGITS or len(rest) > _LONGEST_DIGITS or (len(whole) > 1 and whole[0] == "0"):
        return _digits(language, whole + rest)
    if sign := match["sign"] or match["after"]:
        return _amount(language, int(whole), f"{rest}00"[:2], _MONEY[sign]) if len(rest) <= _CENTS_DIGITS else ""
    if match["percent"]:
        return f"{_number(language, whole, rest)} {words.percent}"
    is_year = words.has_century_years and match["number"].isdigit() and "1100" <= whole <= "1999" and len(whole) == 4  # noqa: PLR2004
    return "" if is_year else _number(language, whole, rest)


def address(language: str, text: str) -> str:
    """Return an e-mail address as it is said in a language that is known."""
    words = _LANGUAGES[language]
    return " ".join(text.replace("@", f" {words.at} ").replace(".", f" {words.dot} ").split())


def _digits(language: str, text: str) -> str:
    return " ".join(_number(language, digit) for digit in text)


@functools.lru_cache(maxsize=4096)
def _number(language: str, whole: str, rest: str = "") -> str:
    return str(num2words(f"{whole}.{rest}" if rest else whole, lang=language))


@functools.lru_cache(maxsize=1024)
def _amount(language: str, whole: int, cents: str, currency: str) -> str:
    has_cents = cents != "00"
    value = float(f"{whole}.{cents}")  # of a whole number it takes the cents for the whole
    said = str(num2words(value, lang=language, to="currency", currency=currency, cents=has_cents))
    return said if has_cents else _NO_CENTS.sub("", said)
