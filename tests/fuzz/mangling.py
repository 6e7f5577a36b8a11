"""Mangling: makes broken messages of whole ones, from a seed. What is broken has the name of how it was broken.

A message is a JSON text; most manglings work on its tree, at a place that the dice choose, and spell it again. What no
tree can hold (a field twice, NaN, ten thousand brackets) stands in it as raw text.
"""

import base64
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

Broken: TypeAlias = str | bytes
"""A message as it is sent: a text, or in binary."""

LONGEST_SHOWN_CHARS: Final = 4000

HUGE_CHARS: Final = 70_000
"""More than the longest message of the phone network that is read."""


class Pairs(list[list[Any]]):
    """A JSON object as its fields in order, so that one may stand there twice."""


@attrs.frozen
class Raw:
    """What stands in a message as it is, JSON or not."""

    text: str


def read(text: str) -> Any:
    """Return a message's tree, its objects as Pairs."""
    return json.loads(text, object_pairs_hook=lambda pairs: Pairs([list(pair) for pair in pairs]))


def spell(node: Any) -> str:
    """Return a tree as text."""
    match node:
        case Raw(text=text):
            return text
        case Pairs():
            return "{" + ",".join(f"{json.dumps(name)}:{spell(value)}" for name, value in node) + "}"
        case list():
            return "[" + ",".join(map(spell, node)) + "]"
        case _:
            return json.dumps(node)


Place: TypeAlias = tuple[list[Any], int]
"""Where a value stands: the field or the array that holds it, and at which of its indices."""


def places(node: Any) -> Iterator[Place]:
    """Every value below the top."""
    if isinstance(node, Pairs):
        for pair in node:
            yield pair, 1
            yield from places(pair[1])
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield node, index
            yield from places(value)


def objects(node: Any) -> Iterator[Pairs]:
    """Every object, the message itself first."""
    if isinstance(node, Pairs):
        yield node
        for pair in node:
            yield from objects(pair[1])
    elif isinstance(node, list):
        for value in node:
            yield from objects(value)


# ── values that do not belong ─────────────────────────────────────────────────────────────────────────────────────────

_OTHERS: Final[tuple[Any, ...]] = (
    None, True, False, 0, 7, -7, 1.5, "", "x", "7", Pairs(), Pairs([["a", 1]]), [], [1], ["x"], [[]], [Pairs()],
)  # fmt: skip
_NUMBERS: Final[tuple[Any, ...]] = (
    -1, 0, -0.0, 0.5, 1e-300, 1e300, 2**31, 2**53, 2**63, 10**15, 10**30, -(10**30), 86_400_001,
    Raw("1e999"), Raw("-1e999"), Raw("9" * 5000), Raw("007"), Raw("+1"), Raw("0x10"), Raw("1_000"), Raw(".5"),
)  # fmt: skip
_DIGITS: Final = ("-1", "1.5", "007", "", " 7", "٣", "1e3", "9" * 16, "9" * 5000, "0x1f", "NaN")
_TEXTS: Final = (
    "", " ", "\x00", "\x1b[2J", "\r\n", "../../etc/passwd", "' OR 1=1 --", "{}", '"', "\\", "\u202e", "🦷" * 50,
    "x" * 300, "x" * HUGE_CHARS, "%s%n", "<Say>hello</Say>", "\ufeff", "null",
)  # fmt: skip
_SURROGATES: Final = ("\ud800", "\udfff", "a\ud83d", "\udc00\ud800", "so \ud83d good")
_NESTED: Final = (60, 900, 5_000, 20_000)


# ── manglings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _at(text: str, dice: random.Random, value: Callable[[Any], Any]) -> str:
    """Put another value in some place."""
    tree = read(text)
    holder, index = dice.choice(list(places(tree)))
    holder[index] = value(holder[index])
    return spell(tree)


def _cut(text: str, dice: random.Random) -> Broken:
    return text[: dice.randrange(len(text))]


def _flip_bits(text: str, dice: random.Random) -> Broken:
    data = bytearray(text.encode())
    for _ in range(dice.choice((1, 1, 2, 5))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return data.decode(errors="replace")


def _change_characters(text: str, dice: random.Random) -> Broken:
    chars = list(text)
    for _ in range(dice.choice((1, 1, 3))):
        at = dice.randrange(len(chars))
        chars[at : at + dice.randrange(2)] = dice.choice(
            ('"', "{", "}", "[", "]", ",", ":", "\\", "\x00", "0", "é", "")
        )
    return "".join(chars)


def _drop_field(text: str, dice: random.Random) -> Broken:
    tree = read(text)
    fields = dice.choice([each for each in objects(tree) if each])
    del fields[dice.randrange(len(fields))]
    return spell(tree)


def _double_field(text: str, dice: random.Random) -> Broken:
    tree = read(text)
    fields = dice.choice([each for each in objects(tree) if each])
    name, value = dice.choice(fields)
    fields.insert(dice.randrange(len(fields) + 1), [name, dice.choice((value, *_OTHERS))])
    return spell(tree)


def _swap_values(text: str, dice: random.Random) -> Broken:
    tree = read(text)
    (one, at), (other, there) = dice.choices(list(places(tree)), k=2)
    one[at], other[there] = Raw(spell(other[there])), Raw(spell(one[at]))  # one may stand in the other
    return spell(tree)


def _rename_field(text: str, dice: random.Random) -> Broken:
    tree = read(text)
    pair = dice.choice([pair for each in objects(tree) for pair in each])
    pair[0] = dice.choice((pair[0].upper(), f"{pair[0]} ", pair[0][:-1], "", "\ud800", f"_{pair[0]}", "__proto__"))
    return spell(tree)


def _add_field(text: str, dice: random.Random) -> Broken:
    tree = read(text)
    dice.choice(list(objects(tree))).append([dice.choice(("mood", "x" * 200, "", "é", "\udc00")), dice.choice(_OTHERS)])
    return spell(tree)


def _change_type(text: str, dice: random.Random) -> Broken:
    return _at(text, dice, lambda value: dice.choice([each for each in _OTHERS if type(each) is not type(value)]))


def _extreme_number(text: str, dice: random.Random) -> Broken:
    tree = read(text)
    found = [place for place in places(tree) if _is_number(place[0][place[1]])] or list(places(tree))
    holder, index = dice.choice(found)
    holder[index] = dice.choice(_DIGITS if isinstance(holder[index], str) and dice.random() < 0.7 else _NUMBERS)
    return spell(tree)


def _is_number(value: Any) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or (
        isinstance(value, str) and value.isdigit()
    )


def _not_a_number(text: str, dice: random.Random) -> Broken:
    return _at(text, dice, lambda _: Raw(dice.choice(("NaN", "Infinity", "-Infinity", "nan", "undefined"))))


def _nest(text: str, dice: random.Random) -> Broken:
    deep = dice.choice(_NESTED)
    opening, closing = dice.choice((("[", "]"), ('{"a":', "}")))
    nested = opening * deep + "1" + closing * deep
    return nested if dice.random() < 0.3 else _at(text, dice, lambda _: Raw(nested))


def _strange_text(text: str, dice: random.Random) -> Broken:
    return _at(text, dice, lambda _: dice.choice(_TEXTS))


def _half_character(text: str, dice: random.Random) -> Broken:
    return _at(text, dice, lambda _: dice.choice(_SURROGATES))


def _bad_base64(text: str, dice: random.Random) -> Broken:
    """Break the longest text, which is the audio where there is any."""
    tree = read(text)
    found = [place for place in places(tree) if isinstance(place[0][place[1]], str)]
    holder, index = max(found, key=lambda place: len(place[0][place[1]]))
    value = holder[index]
    at = dice.randrange(len(value) + 1)
    holder[index] = dice.choice(
        (
            value[:at] + "!" + value[at:],
            value.rstrip("=")[:-1],
            value + "=",
            value + "====",
            value[:at] + "=" + value[at:],
            value[:at] + "\n" + value[at:],
            value.replace("/", "_").replace("+", "-") + "-",
            "=" + value,
            "",
            "é" + value,
            base64.b64encode(
                bytes(dice.randrange(256) for _ in range(dice.choice((1, 161, 8000, 8001, 40_000))))
            ).decode(),
        )
    )
    return spell(tree)


def _unknown_kind(text: str, dice: random.Random) -> Broken:
    """Another event, or another type, than any that there is."""
    tree = read(text)
    kinds = [pair for each in objects(tree) for pair in each if pair[0] in {"event", "type"}] or tree[:1]
    dice.choice(kinds)[1] = dice.choice(("weather", "Media", "start ", "", "x" * 500, "результат", "_", "media\x00"))
    return spell(tree)


def _change_length(text: str, dice: random.Random) -> Broken:
    """An array that is longer or shorter than it was; where there is none, a field of a field."""
    tree = read(text)
    arrays = [holder[index] for holder, index in places(tree) if isinstance(holder[index], list) and holder[index]] or [
        tree
    ]
    array = dice.choice(arrays)
    if dice.random() < 0.5:
        del array[dice.randrange(len(array)) :]
    else:
        array.extend([dice.choice(array)] * dice.choice((1, 2, 300)))
    return spell(tree)


def _no_object(_text: str, dice: random.Random) -> Broken:
    return dice.choice(("[]", "[{}]", "7", '"x"', "null", "true", "{}", "-0.0", '"{}"', "[[[]]]"))


def _no_json(_text: str, dice: random.Random) -> Broken:
    odd = "".join(chr(dice.choice((dice.randrange(32, 127), dice.randrange(0x80, 0xD800)))) for _ in range(30))
    return dice.choice((odd, "hello", "<xml/>", "{", "}", '{"event"', "{'event': 'media'}", "ping", "\x00" * 10, "//"))


def _empty(_text: str, dice: random.Random) -> Broken:
    return dice.choice(("", " ", "\n", "\t" * 100, b"", b" "))


def _huge(text: str, dice: random.Random) -> Broken:
    tree = read(text)
    match dice.randrange(4):
        case 0:
            return text + " " * HUGE_CHARS
        case 1:
            return _at(text, dice, lambda _: "A" * HUGE_CHARS)
        case 2:
            return spell(Pairs([*tree, *([f"f{number}", 1] for number in range(8000))]))
        case _:
            return _at(text, dice, lambda value: [value] * 20_000)


def _binary(text: str, dice: random.Random) -> Broken:
    data = text.encode()
    return dice.choice(
        (
            data,
            data[: dice.randrange(len(data))],
            bytes(dice.randrange(256) for _ in range(dice.choice((1, 2, 160, 1000)))),
            b"\xff\xfe" + text.encode("utf-16-le"),
            b"\xef\xbb\xbf" + data,
            data.replace(b'"', b"\xff", 1),
        )
    )


def _two_in_one(text: str, dice: random.Random) -> Broken:
    return text + dice.choice(("", "\n", ",", "\x00", " ")) + dice.choice((text, "{}", "}", '"'))


def _adorned(text: str, dice: random.Random) -> Broken:
    return dice.choice(("\ufeff", "\x00", "(", "while(1);", "\x1e")) + text


MANGLINGS: Final[Mapping[str, Callable[[str, random.Random], Broken]]] = {
    "cut short": _cut,
    "bits flipped": _flip_bits,
    "characters changed": _change_characters,
    "field dropped": _drop_field,
    "field twice": _double_field,
    "values swapped": _swap_values,
    "field renamed": _rename_field,
    "field added": _add_field,
    "wrong type": _change_type,
    "extreme number": _extreme_number,
    "NaN": _not_a_number,
    "deep nesting": _nest,
    "strange text": _strange_text,
    "half a surrogate pair": _half_character,
    "bad base64": _bad_base64,
    "unknown kind": _unknown_kind,
    "array's length": _change_length,
    "no object": _no_object,
    "no json": _no_json,
    "empty": _empty,
    "huge": _huge,
    "binary": _binary,
    "two in one": _two_in_one,
    "adorned": _adorned,
}
"""What may happen to a message, by name."""


def shortened(message: Broken) -> str:
    """Return a message to be read: what repeats itself is there once, with how often; the rest is whole."""
    shown = re.sub(r"(.{1,6}?)\1{20,}", lambda run: f"{run[1]}«×{len(run[0]) // len(run[1])}»", repr(message))
    return shown if len(shown) <= LONGEST_SHOWN_CHARS else f"{shown[:LONGEST_SHOWN_CHARS]}…"


@attrs.frozen
class Mangled:
    """A broken message. how: the name of its mangling, or of whatever else broke it."""

    how: str
    message: Broken = attrs.field(repr=lambda message: f"<{len(message)}> {shortened(message)}")


def mangled(whole: str, dice: random.Random, *, how: str = "") -> Mangled:
    """Return a message, broken once; one time in five what came of it is broken once more, if it still can be."""
    name = how or dice.choice(list(MANGLINGS))
    broken = MANGLINGS[name](whole, dice)
    if not how and isinstance(broken, str) and dice.random() < 0.2:
        try:
            broken = dice.choice((_cut, _drop_field, _change_type, _double_field, _add_field))(broken, dice)
        except (ValueError, IndexError, RecursionError, TypeError):
            return Mangled(name, broken)
    return Mangled(name, broken)
