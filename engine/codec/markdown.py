"""Markdown to what is said: the words stay, the marks go, whatever pieces the text arrives in.

Theory of operation. The text is folded character by character, so where a model's tokens were cut cannot matter. What a
character means may depend on those to come (``*`` may be a bullet, bold, or a key of the telephone): such characters
are *held*, until the next one decides. Three places have rules of their own: the MARGIN (the start of a line: bullets,
numbers, headings, fences, rules), the TEXT, and a SPAN (a link's target, an HTML tag).
"""

import html
import re
from enum import Enum
from typing import Final

import attrs

Place = Enum("Place", ["MARGIN", "TEXT", "SPAN"])

# What a picture leaves: white space like any other (ASCII's unit separator), but it closes up before punctuation.
CLOSING_SPACE: Final = "\x1f"

# ── the margin ──
_SIGN: Final = r"[-–—*_=+>#|:~•‣\u2043· \t\r]"
# What may yet become a marker: only such a text is held.
_MAYBE_MARKER: Final = re.compile(
    rf"{_SIGN}{{0,200}}(?:\d{{1,3}}(?:[.)][ \t\r]*)?"  # "12.", after which white space must come
    r"|\[(?:[ xX](?:\][ \t\r]*)?)?"  # "[x]"
    r"|`{1,2}|`{3,}[ \t\r]*[\w+#.-]{0,40}[ \t\r]*)?"  # "```python"
)
_FENCE: Final = re.compile(r"[ \t]*`{3,}[ \t\r]*(?P<language>[\w+#.-]*)[ \t\r]*\n?")
_RULE: Final = re.compile(rf"{_SIGN}*\n?")  # also an empty line, a table's second, the line under a heading
_MARKER: Final = re.compile(r"[ \t\r]+|>+[ \t]+|#{1,6}[ \t]+|[-–—*+•‣\u2043·][ \t]+|\[[ xX]\][ \t]+|\|[ \t]*")
_NUMBER: Final = re.compile(r"(\d{1,3})[.)][ \t\r]+(?=\S)")

# ── a link's target, with one pair of brackets in it and a title; an HTML or SSML tag; an HTML entity ──
_URL: Final = r"\((?:[^\s()]|\([^\s()]{0,99}\)){0,500}"
_MAYBE_SPAN: Final = re.compile(
    rf'{_URL}(?:\([^\s()]{{0,99}})?(?:[ \t]+(?:"[^"\n]{{0,200}}"?[ \t]*)?)?|</?(?:[A-Za-z][^<>\n]{{0,500}})?'
    r"|&#?[0-9A-Za-z]{0,8}"
)
_TARGET: Final = re.compile(rf'{_URL}(?:[ \t]+(?:"[^"\n]{{0,200}}"[ \t]*)?)?\)')
_ANGLED: Final = re.compile(r"</?([A-Za-z][^<>\n]*)>")
_TAG: Final = re.compile(
    r"</[^<>]*>|<[A-Za-z][^<>]*/>|<[A-Za-z][\w:-]*(?:\s+[\w:-]+\s*=[^<>]*)>"
    r"|<(?:a|b|br|code|div|em|h[1-6]|hr|i|img|li|ol|p|pre|span|strong|su[bp]|table|t[dhr]|u|ul|think(?:ing)?|speak|s)\s*>",
    re.IGNORECASE,
)
_ENTITY: Final = re.compile(r"&(?:#[0-9]{2,6}|#x[0-9a-f]{2,5}|[a-z][a-z0-9]{1,7});", re.IGNORECASE)

# ── the text ──
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00a9\u00ad\u00ae\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u20e3\u2117\u2120\u2122\ud800-\udfff\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
_PICTURE: Final = re.compile(
    "[\u00a6\u00b6\u2020-\u2023\u203b\u203c\u2043\u2049\u2139\u2190-\u21ff\u2300-\u23ff\u2460-\u24ff\u25a0-\u27ff"
    "\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\ue000-\uf8ff\ufff9-\uffff\U0001f000-\U0001fbff"
    "\U000f0000-\U0010ffff]"
)
_ORDINARY: Final = re.compile(rf"(?:(?![\n\\`*_~#=^|!<&\[\]·]|{_INVISIBLE.pattern}|{_PICTURE.pattern}).)+", re.DOTALL)


@attrs.frozen
class Plain:
    """A text on its way out of Markdown: what has not been decided yet, and what the next decision needs."""

    place: Place = Place.MARGIN
    held: str = ""
    before: str = "\n"  # the last two characters as they came, at most
    item: int = 0  # the number of the last item of a list: the next one's is known by it
    is_fenced: bool = False

    def push(self, text: str) -> tuple["Plain", str]:
        """Return the state that follows, and as much plain text as is certain by now; a line ends with a line feed."""
        plain, said, at = self, list[str](), 0
        while at < len(text):
            if plain.place is Place.TEXT and not plain.held and (run := _ORDINARY.match(text, at)):
                plain, at = _passed(plain, run[0]), run.end()
                said.append(run[0])
            else:
                plain, some = _step(plain, text[at])
                said.append(some)
                at += 1
        return plain, "".join(said)

    def flush(self) -> tuple["Plain", str]:
        """End the text: return a fresh state and what was held."""
        plain, said = self, ""
        while plain.held:
            plain, some = _step(plain, "")
            said += some
        return Plain(), said


def _step(plain: Plain, char: str) -> tuple[Plain, str]:
    """Take one character; the empty one is the end, and decides whatever is held."""
    match plain.place:
        case Place.MARGIN:
            return _margin(plain, char)
        case Place.SPAN:
            return _span(plain, char)
        case _:
            return _decide(plain, char) if plain.held else _text(plain, char)


def _margin(plain: Plain, char: str) -> tuple[Plain, str]:
    line = plain.held + char
    if char and _MAYBE_MARKER.fullmatch(line):
        return attrs.evolve(plain, held=line), ""
    if fence := _FENCE.fullmatch(line):
        words = fence["language"] if plain.is_fenced else ""  # a closing fence names no language
        text = attrs.evolve(plain, place=Place.TEXT, held="", before="\n", is_fenced=not plain.is_fenced)
        return text.push(f"{words}\n")
    if _RULE.fullmatch(line):
        return attrs.evolve(plain, held=""), ""
    rest, item = _without_markers(line, plain.item)
    return attrs.evolve(plain, place=Place.TEXT, held="", before="\n", item=item).push(rest)


def _text(plain: Plain, char: str) -> tuple[Plain, str]:
    if char == "\n":
        return attrs.evolve(plain, place=Place.MARGIN, before="\n"), "\n"
    if char in "*_~#=|!]":
        return attrs.evolve(plain, held=char), ""
    if char in "<&":
        return attrs.evolve(plain, place=Place.SPAN, held=char), ""
    if char in "\\^" or _INVISIBLE.match(char):
        return plain, ""
    if char in "`[":
        return _passed(plain, char), ""
    is_bullet = char == "·" and not plain.before[-1:].isalnum()  # in Catalan it stands within a word
    return _passed(plain, char), CLOSING_SPACE if is_bullet or _PICTURE.match(char) else char


def _decide(plain: Plain, char: str) -> tuple[Plain, str]:
    """Say what the held delimiter, or run of one, meant, now that ``char`` came after it."""
    held = plain.held
    if char and ((char == held[-1] and char in "*_~#=") or (held[0] == "|" and char in " \t|")):
        return attrs.evolve(plain, held=held + char), ""
    if held == "]" and char == "(":
        return attrs.evolve(plain, place=Place.SPAN, held=char), ""
    said = _meaning(held, plain.before, char)
    plain = attrs.evolve(_passed(plain, held), held="")
    if char:
        plain, more = _step(plain, char)
        said += more
    return plain, said


def _span(plain: Plain, char: str) -> tuple[Plain, str]:
    span = plain.held + char
    if char and _MAYBE_SPAN.fullmatch(span):
        return attrs.evolve(plain, held=span), ""
    text = attrs.evolve(plain, place=Place.TEXT, held="")
    if _TARGET.fullmatch(span) or (not char and re.match(r"\(\S*[/:@]", span)):  # the end cut a target short
        return _passed(text, span), ""
    if _TAG.fullmatch(span):
        return _passed(text, span), " "
    if _ENTITY.fullmatch(span) and (meant := html.unescape(span)) != span:
        return text.push(meant)
    if angled := _ANGLED.fullmatch(span):  # an address, or a name to be filled in
        return text.push(angled[1])
    text, rest = _passed(text, span[0]).push(span[1:])  # neither: an aside in brackets, a "less than"
    return text, (" (" if span[0] == "(" else span[0]) + rest


def _passed(plain: Plain, text: str) -> Plain:
    return attrs.evolve(plain, before=(plain.before + text)[-2:])


def _without_markers(line: str, item: int) -> tuple[str, int]:
    """Return a line without what a list, a quotation, a heading or a table puts in front, and the last item's number.

    A number is a marker only if it begins a list or goes on with one: "3. Shall I book it?" answers a question.
    """
    while True:
        if marker := _MARKER.match(line):
            line = line[marker.end() :]
        elif (number := _NUMBER.match(line)) and int(number[1]) in (1, item + 1):
            item, line = int(number[1]), line[number.end() :]
        else:
            return line, item


def _meaning(held: str, before: str, after: str) -> str:
    """Return what is said for a delimiter, given the two characters before it and the one after ("" at the end)."""
    last = before[-1:]
    match held[0]:
        case "*" if held == "*" and last.isdigit() and after.isdigit():
            return " times "
        case "*" if held == "*" and last.isspace() and (not after or after.isspace() or after in ",.;:?!"):
            return "times" if before[0].isdigit() and after.isspace() else "star"  # a product; a key of the telephone
        case "_" if (last.isalnum() or last in "/@") and (after.isalnum() or after in ("/", "@")):
            return held  # inside an address or a name
        case "~" | "#" | "=" if len(held) == 1:
            return held
        case "!" if after != "[":
            return held
        case "|" if after not in ("", "\n"):
            return " " if before.strip()[-1:] in (*",.;:?!", "") else f"{CLOSING_SPACE}, "
        case _:
            return ""
