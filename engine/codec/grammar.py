"""Whether words look finished, and whether they take the floor: endings and short words, by language.

What is known of a language is a table, `grammars/<language>.toml`; this module knows how to look things up in it.
"""

import enum
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, Self

import attrs

from engine.codec.dictation import Dictated, Dictation

# What is looked at of a text: its end. A number that is read out has some forty words.
_TAIL_CHARS: Final = 600
# Of a sentence: an ending that reaches further back is of no use.
_TAIL_WORDS: Final = 24

_APOSTROPHES: Final = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'"})  # noqa: RUF001 - as recognisers write
# Amounts, times and dates ("$45.50", "3:30", "3/12") are words, not digits that are read out.
_WORD: Final = re.compile(r"[$€£]\s?\d[\d.,]*\d|[$€£]\d|\d+(?:[.,:/]\d+)+|\d+%|[^\W_]+(?:'[^\W_]+)*|@")
# What a recogniser tells of sounds: "[cough]", "(noise)", "<unk>".
_SOUND: Final = re.compile(r"\[[^\]]{0,40}\]|\([^)]{0,40}\)|<[^>]{0,40}>|\*[^*]{0,40}\*")
_SENTENCE: Final = re.compile(r"[.?!]+[\"”’)]*\s+(?=\S)")
_CUT_OFF: Final = re.compile(r"(?:[,;:\-–—…]|\.\.+)[\"”’)]*$")
_LONG_SOUND: Final = re.compile(r"([^\W\d_])\1+")
_ASKED: Final = re.compile(r"\?[\"”’)!]*$")
_WHOLE: Final = re.compile(r"[.!?。][\"”’)]*$")


class Ending(enum.Enum):
    """What the end of the caller's words looks like."""

    COMPLETE = "a sentence that is whole"
    UNKNOWN = "nothing speaks for either"
    INCOMPLETE = "more is to come: a trailing “and”, a question half asked"
    DICTATING = "a number, a name that is being spelt: groups with pauses between them"


class Claim(enum.Enum):
    """What words said over the agent ask for."""

    NOTHING = "there are none, or one as recognisers make of a cough: “the”"
    BACKCHANNEL = "go on: “uh-huh”, “okay”"
    FLOOR = "the floor"
    COMMAND = "silence, whatever is being said: “stop”, “wait”"


class _Says(enum.Enum):
    """What a phrase over the agent says."""

    GO_ON = "backchannels"
    SILENCE = "commands"
    MORE = "floor"
    NOTHING_YET = "openers"


@attrs.frozen
class Endings:
    """How texts may end: patterns, by their last word.

    A pattern is words one space apart. "(a|b c)" is one of these, "{set}" one of a set of the same table, "*" any
    word, "..." any words or none, "^" the beginning of the sentence; what has a "?" behind it may be left out. A text
    ends so when its last words are these.
    """

    by_last: Mapping[str, re.Pattern[str]]
    by_any: re.Pattern[str] | None

    @classmethod
    def read(cls, patterns: Iterable[str], sets: Mapping[str, str]) -> Self:
        """Return the endings of a table."""
        by_last = dict[str, list[str]]()
        for pattern in patterns:
            elements = re.findall(r"\([^)]*\)\??|\S+", pattern.translate(_APOSTROPHES).casefold())
            for size in _sizes(elements):
                expression = "".join(_expression(element, sets) for element in elements[:size])
                for last in _lasts(elements[size - 1], sets):
                    by_last.setdefault(last, []).append(expression)
        compiled = {last: re.compile("(?:" + "|".join(them) + ")$") for last, them in by_last.items()}
        by_any = compiled.pop("*", None)
        return cls(compiled, by_any)

    def has(self, sentence: str, last: str) -> bool:
        """Return whether a sentence, as words each with a space before it, ends so. last: the last of these words."""
        pattern = self.by_last.get(last)
        if pattern is not None and pattern.search(sentence):
            return True
        return self.by_any is not None and self.by_any.search(sentence) is not None


@attrs.frozen(kw_only=True)
class Grammar:
    """One language's."""

    language: str
    phrases: Mapping[tuple[str, ...], _Says] = attrs.field(factory=dict, repr=False, hash=False)
    hesitations: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    _strays: frozenset[str] = attrs.field(default=frozenset(), repr=False)
    _always: frozenset[str] = attrs.field(default=frozenset(), repr=False, eq=False)
    _finished: Endings = attrs.field(default=Endings({}, None), repr=False, eq=False)
    _asked: Endings = attrs.field(default=Endings({}, None), repr=False, eq=False)
    _unfinished: Endings = attrs.field(default=Endings({}, None), repr=False, eq=False)
    _dictation: Dictation | None = attrs.field(default=None, repr=False, eq=False)
    _known: frozenset[str] = attrs.field(init=False, repr=False, eq=False)
    _longest: int = attrs.field(init=False, repr=False, eq=False)

    @_known.default
    def _words_of_phrases(self) -> frozenset[str]:
        return frozenset(word for phrase in self.phrases for word in phrase) | self.hesitations

    @_longest.default
    def _words_of_longest_phrase(self) -> int:
        return max(map(len, self.phrases), default=0)

    def ending(self, text: str) -> Ending:
        """Return what the end of `text`, all that was said since the last turn, looks like."""
        tail = text[-_TAIL_CHARS:].translate(_APOSTROPHES).strip()
        words = _words(tail)
        if not words:
            return Ending.INCOMPLETE
        sentence = _words(_SENTENCE.split(tail)[-1])[-_TAIL_WORDS:] or words[-_TAIL_WORDS:]
        spoken = "".join(f" {word}" for word in sentence)
        last = sentence[-1]
        cut_off = _CUT_OFF.search(tail)
        if self._finished.has(spoken, last) and not cut_off:
            return Ending.COMPLETE
        asked = _ASKED.search(tail)
        if asked and self._asked.has(spoken, last):
            return Ending.COMPLETE
        dictated = Dictated.NOTHING if self._dictation is None else self._dictation.judged(words)
        if dictated is Dictated.PART:
            return Ending.DICTATING
        if dictated is Dictated.WHOLE:
            return Ending.COMPLETE
        surely = cut_off or last in self.hesitations or last in self._always
        if surely or (not asked and self._unfinished.has(spoken, last)):
            return Ending.INCOMPLETE
        return Ending.COMPLETE if _WHOLE.search(tail) else Ending.UNKNOWN

    def claim(self, text: str, *, draft: bool = False) -> Claim:
        """Return what `text`, said over the agent, asks for.

        draft: more words may follow: what may yet become a backchannel, "okay, I" of "okay, I see", is taken for one.
        """
        words = _words(_SOUND.sub(" ", text.translate(_APOSTROPHES)))
        if not words or (len(words) == 1 and self._is_stray(words[0])):
            return Claim.NOTHING
        at = 0
        claim = Claim.BACKCHANNEL
        while at < len(words):
            said, size = self._said(words, at)
            if draft and said is None and self._begins(words[at:]):
                return claim
            if said is _Says.SILENCE:
                return Claim.COMMAND
            if said is None or said is _Says.MORE:
                return Claim.FLOOR
            if said is _Says.NOTHING_YET:
                claim = Claim.FLOOR  # unless a command follows
            at += size
        return claim

    def plus(self, *, backchannels: Iterable[str] = (), commands: Iterable[str] = ()) -> Self:
        """Return the grammar that knows some more phrases; of one that it knew as something else, the new is true."""
        phrases = {
            **self.phrases,
            **dict(_phrases(backchannels, _Says.GO_ON)),
            **dict(_phrases(commands, _Says.SILENCE)),
        }
        return attrs.evolve(self, phrases=phrases)

    def _begins(self, words: Sequence[str]) -> bool:
        """Whether words are the beginning of a phrase that leaves the floor."""
        spelt = tuple(self._spelt(word) for word in words)
        return any(
            said is _Says.GO_ON and len(phrase) > len(spelt) and phrase[: len(spelt)] == spelt
            for phrase, said in self.phrases.items()
        )

    def _said(self, words: Sequence[str], at: int) -> tuple[_Says | None, int]:
        """Return what the longest phrase says that stands at a place, and how many words it has."""
        ahead = tuple(self._spelt(word) for word in words[at : at + self._longest])
        for size in range(len(ahead), 0, -1):
            said = self.phrases.get(ahead[:size])
            if said is not None:
                return said, size
        return (_Says.GO_ON, 1) if self._spelt(words[at]) in self.hesitations else (None, 1)

    def _is_stray(self, word: str) -> bool:
        return word in self._strays and self.phrases.get((word,)) in {None, _Says.NOTHING_YET}

    def _spelt(self, word: str) -> str:
        """Return a word as the tables have it: of a long drawn one ("yeahhh", "mmhmm") one letter stands for many."""
        if word in self._known:
            return word
        short = _LONG_SOUND.sub(r"\1", word)
        return short if short in self._known else word


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _phrases(phrases: Iterable[str], says: _Says) -> Iterator[tuple[tuple[str, ...], _Says]]:
    for phrase in phrases:
        words = tuple(_words(phrase.translate(_APOSTROPHES)))
        if words:
            yield words, says


def _expression(element: str, sets: Mapping[str, str]) -> str:
    """Return the regular expression of one element of a pattern: each word with the space before it."""
    if element == "^":
        return "^"
    if element == "...":
        return r"(?: \S+)*?"
    optional = "?" if element.endswith("?") else ""
    element = element.removesuffix("?")
    if element == "*":
        return rf"(?: \S+){optional}"
    choices = _choices(element, sets)
    return "(?:" + "|".join(re.escape(f" {choice}").replace(r"\*", r"\S+") for choice in choices) + ")" + optional


def _choices(element: str, sets: Mapping[str, str]) -> Sequence[str]:
    if element.startswith("{"):
        return sets[element.strip("{}")].split()
    return element.removeprefix("(").removesuffix(")").split("|")


def _sizes(elements: Sequence[str]) -> Iterator[int]:
    """Return how many of a pattern's elements there can be: the last ones may be such as may be left out."""
    for size in range(len(elements), 0, -1):
        yield size
        if not elements[size - 1].endswith("?"):
            return


def _lasts(element: str, sets: Mapping[str, str]) -> set[str]:
    return {choice.rpartition(" ")[2] for choice in _choices(element.removesuffix("?"), sets)}


def _read(language: str) -> Grammar:
    table: dict[str, Any] = tomllib.loads((_TABLES / f"{language}.toml").read_text(encoding="utf-8"))
    claims, endings, sets = table["claims"], table["endings"], table.get("sets", {})
    hesitations = frozenset(table["hesitations"].split())
    phrases = dict[tuple[str, ...], _Says]()
    for says in _Says:
        phrases.update(_phrases(claims.get(says.value, ()), says))
    return Grammar(
        language=language,
        phrases=phrases,
        hesitations=hesitations,
        strays=frozenset(claims.get("strays", ())),
        always=frozenset(endings.get("always", "").split()),
        finished=Endings.read(endings["finished"], sets),
        asked=Endings.read(endings.get("asked", ()), sets),
        unfinished=Endings.read(endings["unfinished"], sets),
        dictation=Dictation.read(table["dictation"], hesitations) if "dictation" in table else None,
    )


_TABLES: Final = files("engine.codec") / "grammars"

_GRAMMARS: Final = {
    language: _read(language)
    for language in sorted(each.name.removesuffix(".toml") for each in _TABLES.iterdir() if each.name.endswith(".toml"))
}

ENGLISH: Final = _GRAMMARS["en"]


def grammar_of(language: str) -> Grammar:
    """Return the grammar of a language such as "en-US"; of one that is not known, what punctuation alone tells."""
    name = language.replace("_", "-").partition("-")[0].casefold()
    return _GRAMMARS.get(name) or Grammar(language=language)
