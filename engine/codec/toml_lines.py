"""Lines of a TOML text: where each key stands, which `tomllib` does not tell.

It reads only a text that `tomllib` has accepted, so it need not know what is wrong, only where things end.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import attrs

KeyPath: TypeAlias = tuple[str | int, ...]
"""A key's way through a file: names of tables and keys, places in lists from 0, such as ``("call", "stt", 0)``."""

_GAP: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY: Final = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+')
# Of three quotes up to two more may belong to the text before them.
_TEXT: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:\'{0,2})|"(?:[^"\\]|\\.)*"|\'[^\']*\'', re.DOTALL
)
_BARE: Final = re.compile(r"[^,\]}\n#]+")


def lines_of(text: str) -> Mapping[KeyPath, int]:
    """Return the line, from 1, of each table, key and list item; of a table that is only implied, the first mention.

    Meaningless, and perhaps an AssertionError, for a text that is not TOML.
    """
    return _Scan(text).lines()


@attrs.define
class _Scan:
    """A text, and how far it has been read."""

    text: str
    at: int = 0
    found: dict[KeyPath, int] = attrs.field(factory=dict)
    # The line that `at_counted` is on: counted on from there, so that a text is counted once.
    line: int = 1
    at_counted: int = 0
    # Arrays of tables, with how many items each has had so far.
    arrays: dict[KeyPath, int] = attrs.field(factory=dict)

    def lines(self) -> Mapping[KeyPath, int]:
        table: KeyPath = ()
        while self._more():
            if self._took("[["):
                table = self._below((), list(self._keys()), is_item=True)
                assert self._took("]]")
            elif self._took("["):
                table = self._below((), list(self._keys()))
                assert self._took("]")
            else:
                self._pair(table)
        return self.found

    def _pair(self, table: KeyPath) -> None:
        path = self._below(table, list(self._keys()))
        assert self._took("=")
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._took("["):
            index = 0
            while not self._took("]"):
                self._seen((*path, index))
                self._value((*path, index))
                self._took(",")
                index += 1
        elif self._took("{"):
            while not self._took("}"):
                self._pair(path)
                self._took(",")
        else:
            self._skip_gap()
            self.at = (_TEXT.match(self.text, self.at) or self._matched(_BARE)).end()

    def _below(self, table: KeyPath, keys: list[str], *, is_item: bool = False) -> KeyPath:
        """Return the path of dotted keys below a table: where a list of tables is named, its last item is meant."""
        path = table
        for place, key in enumerate(keys, start=1):
            path = (*path, key)
            self._seen(path)
            if is_item and place == len(keys):
                self.arrays[path] = self.arrays.get(path, 0) + 1
            if path in self.arrays:
                path = (*path, self.arrays[path] - 1)
                self._seen(path)
        return path

    def _keys(self) -> Iterator[str]:
        """Yield the keys of a dotted one, each while `at` stands behind it."""
        while True:
            self._skip_gap()
            written = self._matched(_KEY)
            self.at = written.end()
            quoted = written[0][0] in "\"'"
            yield tomllib.loads(f"key = {written[0]}")["key"] if quoted else written[0]
            if not self._took("."):
                return

    def _seen(self, path: KeyPath) -> None:
        self._skip_gap()
        self.line += self.text.count("\n", self.at_counted, self.at)
        self.at_counted = self.at
        self.found.setdefault(path, self.line)

    def _more(self) -> bool:
        self._skip_gap()
        return self.at < len(self.text)

    def _took(self, sign: str) -> bool:
        self._skip_gap()
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def _skip_gap(self) -> None:
        gap = _GAP.match(self.text, self.at)
        assert gap is not None, "it matches nothing too"
        self.at = gap.end()

    def _matched(self, pattern: "re.Pattern[str]") -> "re.Match[str]":
        found = pattern.match(self.text, self.at)
        assert found is not None, "the text is TOML"
        return found
