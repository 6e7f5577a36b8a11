"""Where each key of a file stands."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.codec.toml_lines import KeyPath, lines_of

ROOT = Path(__file__).parents[2]
SHIPPED = (*ROOT.glob("config/**/*.toml"), ROOT / "pyproject.toml")

# Each value says the line that it stands in.
ODD = '''\
a.b = 1
"c # no comment" = 2
'd' = [3, # ]
    4,
    [5, { e = 5 }], """
[6] # of the text that began in 5""", 7 ] # a
f = { g = 8, "h]" = { i.j = 8 } } # ] }
k = """a \\""" [11]
x = 1""""" # no key
l = "# \\" ]"
m = 2026-11-21 10:00:00
[[n]]
o = 14
[[n]]
o = 16
[n.p]
q = 18
[[n.r.r]]
q = 20
[  s . "t.u" ]
v = \'\'\'
w = 0\'\'\'\'\'
x=1979-05-27
'''


def paths(value: object, at: KeyPath = ()) -> Iterator[KeyPath]:
    if at:
        yield at
    if isinstance(value, dict):
        for key, part in value.items():
            yield from paths(part, (*at, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from paths(part, (*at, index))


@pytest.mark.parametrize("text", [*(path.read_text(encoding="utf-8") for path in SHIPPED), ODD])
def test_every_key_that_toml_has_is_found_and_no_other(text: str) -> None:
    assert set(lines_of(text)) == set(paths(tomllib.loads(text)))


@pytest.mark.parametrize("text", [path.read_text(encoding="utf-8") for path in SHIPPED])
def test_a_key_stands_in_the_line_that_is_told(text: str) -> None:
    lines = text.splitlines()
    for path, line in lines_of(text).items():
        last = path[-1]
        assert isinstance(last, int) or last in lines[line - 1]


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 1),
        (("a", "b"), 1),
        (("c # no comment",), 2),
        (("d", 0), 3),
        (("d", 1), 4),
        (("d", 2, 1, "e"), 5),
        (("d", 3), 5),
        (("d", 4), 6),
        (("f", "h]", "i", "j"), 7),
        (("k",), 8),
        (("l",), 10),
        (("m",), 11),
        (("n", 0, "o"), 13),
        (("n", 1, "o"), 15),
        (("n", 1, "p", "q"), 17),
        (("n", 1, "r", "r", 0, "q"), 19),
        (("s", "t.u"), 20),
        (("s", "t.u", "v"), 21),
        (("s", "t.u", "x"), 23),
    ],
    ids=str,
)
def test_what_is_odd_is_found_too(path: KeyPath, line: int) -> None:
    assert lines_of(ODD)[path] == line


def test_lines_end_as_anywhere() -> None:
    assert lines_of("a = 1\r\n\r\nb = 2\r\n") == {("a",): 1, ("b",): 3}
