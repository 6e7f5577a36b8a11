"""A model's tokens to pieces that a voice can speak: the first one early, the others whole sentences.

A frozen value: an actor's core holds it. What comes out is the same however the text was cut into tokens.
"""

import re
from enum import Enum
from typing import Final, TypeAlias

import attrs

from engine.codec.english_words import STARTERS
from engine.codec.markdown import CLOSING_SPACE, Plain

# The first piece may end at a clause of this size, so that speech starts soon; smaller ones ("Sure,") sound torn off.
_FIRST_CLAUSE_CHARS: Final = 12
_FIRST_CLAUSE_WORDS: Final = 3
# A later sentence is cut at a clause from here on: some six seconds of speech, for which a voice need not wait.
_LONG_CHARS: Final = 100
# And without any clause, between two words: some fifteen seconds.
_LONGEST_CHARS: Final = 240

_OPENING: Final = "\"'([{“‘«¿¡"  # noqa: RUF001  (quotation marks are meant)
_CLOSING: Final = "\"')]}”’»"
_TORN_OFF: Final = f"{_CLOSING},.;:?!…—"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Never the end of a sentence: a name or an explanation follows.
_BOUND: Final = _words("""
    mr mrs ms mx messrs dr prof rev fr hon gen col capt cmdr lt sgt pres gov sen rep
    e.g eg i.e ie vs approx ca cf esp incl
""")
# The end, unless a number follows.
_BEFORE_A_NUMBER: Final = _words("no nos ext tel fig p pp vol ch sec art")
# The end only where the next word begins a sentence; so are letters with full stops ("p.m.", "U.S.", "J.").
_ABBREVIATED: Final = _words("""
    st ave blvd rd ln ct pl sq hwy apt ste bldg dept inc ltd co corp jr sr esq etc est min max hr hrs mins ph.d
    jan feb apr aug sept oct nov dec mon tue tues wed thu thur thurs fri
""")
_LETTERS: Final = re.compile(r"(?:[a-z]\.)*[a-z]")
_RUN: Final = re.compile(r"\n|[^\S\n]+|—|[^\s—,]*,|[^\s—,]+")
# What is between two of these, or two numbers, is a range: "9 AM – 5 PM".
_ENDS_OF_A_RANGE: Final = _words("""
    am pm a.m. p.m. noon midnight mon tue tues wed thu thur thurs fri sat sun monday tuesday wednesday thursday friday
    saturday sunday jan feb mar apr may jun jul aug sep sept oct nov dec january february march april june july august
    september october november december
""")
_ENDED_WORD: Final = re.compile(r"\W*[^\W\d_]+(?:['’-][^\W\d_]+)*,")
_FIRST_WORD: Final = re.compile(r"[^\W\d_]+")


@attrs.frozen
class Speakable:
    """A reply on its way to a voice: the part that is not yet a piece.

    A piece ends with a sentence or a line, the first also with a clause, a long one with a clause or any word; never
    inside a word or a number, nor with an abbreviation. After a comma behind a letter it comes at once: what a model
    sends next may be a while. Pieces hold no Markdown and no emoji, and every word: joined by
    spaces they are the text as it is heard.
    """

    plain: Plain = Plain()
    text: str = ""  # plain, words one space apart, and the space after the last if that is whole
    # Where the text is cut if the word that follows allows it; 0: nowhere. Invariant: a space stands there.
    cut: int = 0
    is_first: bool = True
    # Whether a piece has just ended within a word, at a comma: closing quotes right behind it are no word of their own.
    is_torn: bool = False

    def push(self, text: str) -> tuple["Speakable", tuple[str, ...]]:
        """Return the state that follows and the pieces that are certain by now, maybe none."""
        plain, said = self.plain.push(text)
        return _taken(attrs.evolve(self, plain=plain), said)

    def flush(self) -> tuple["Speakable", tuple[str, ...]]:
        """End the reply: return a fresh state and the pieces that were left, maybe none."""
        _, said = self.plain.flush()
        _, pieces = _taken(self, f"{said}\n")
        return Speakable(), pieces


_Step: TypeAlias = tuple[Speakable, tuple[str, ...]]

# How a word ends: not at all, with a clause, with a sentence, or with what only the next word can tell.
_End = Enum("_End", ["NONE", "CLAUSE", "SENTENCE", "UNCERTAIN"])


def _taken(state: Speakable, said: str) -> _Step:
    pieces = list[str]()
    for run in _RUN.findall(said):
        if run.isspace():
            state = attrs.evolve(state, is_torn=False) if state.is_torn else state
        elif rest := run.lstrip(_TORN_OFF) if state.is_torn else run:
            state, more = _letters(attrs.evolve(state, is_torn=False) if state.is_torn else state, rest)
            pieces += more
            if rest[-1] == ",":
                state, more = _comma(state)
                pieces += more
        if run.isspace() or run == "—":
            state, more = _word_end(state, CLOSING_SPACE if CLOSING_SPACE in run else " ")
            pieces += more
        if run == "\n":
            state, more = _split(state, len(state.text.rstrip()))
            pieces += more
    return state, tuple(pieces)


def _letters(state: Speakable, run: str) -> _Step:
    """Go on with a word, or begin one."""
    if state.text.endswith(CLOSING_SPACE):
        is_closed = run[0] in ".,;:?!"
        gap, cut = ("", 0) if is_closed else (" ", state.cut)
        state = attrs.evolve(state, text=state.text[:-1] + gap, cut=cut)
    state = attrs.evolve(state, text=state.text + run)
    match _is_cut_good(state, is_whole=False) if state.cut else None:
        case True:
            return _split(state, state.cut)
        case False:
            return attrs.evolve(state, cut=0), ()
        case _:
            return state, ()


def _word_end(state: Speakable, space: str) -> _Step:
    """End a word, and judge the cut before it, then the one after it."""
    if not state.text:
        return state, ()
    if state.text[-1].isspace():
        return (attrs.evolve(state, text=state.text[:-1] + space) if space == CLOSING_SPACE else state), ()
    state, pieces = _judged(state)
    size_chars = len(state.text)
    has_room = _has_room(state)
    end = _end_of(state.text.rsplit(" ", 1)[-1], has_room=has_room)
    if end is _End.SENTENCE or (end is _End.CLAUSE and has_room) or (end is _End.NONE and size_chars >= _LONGEST_CHARS):
        state, more = _split(state, size_chars)
        pieces += more
    cut = size_chars if end is _End.UNCERTAIN else 0
    return attrs.evolve(state, text=state.text and state.text + space, cut=cut), pieces


def _comma(state: Speakable) -> _Step:
    """Take the comma that the text ends with: a piece may end there, whatever follows, if it is behind a letter."""
    state, pieces = _judged(state)
    word = state.text.rsplit(" ", 1)[-1]
    if not (_has_room(state) and _ENDED_WORD.fullmatch(word) and _end_of(word, has_room=True) is _End.CLAUSE):
        return state, pieces
    state, more = _split(state, len(state.text))
    return attrs.evolve(state, is_torn=True) if more else state, pieces + more


def _judged(state: Speakable) -> _Step:
    """Cut where that waited for the word after it, now that this is whole."""
    if not state.cut:
        return state, ()
    at = state.cut if _is_cut_good(state, is_whole=True) else 0
    return _split(attrs.evolve(state, cut=0), at)


def _has_room(state: Speakable) -> bool:
    """Whether the text may end with a clause."""
    least_chars, least_words = (_FIRST_CLAUSE_CHARS, _FIRST_CLAUSE_WORDS) if state.is_first else (_LONG_CHARS, 0)
    return len(state.text) >= least_chars and state.text.count(" ") + 1 >= least_words


def _split(state: Speakable, at: int) -> _Step:
    """Cut a piece off at ``at``, if there is anything in it to be said."""
    piece = state.text[:at]
    if not any(char.isalnum() for char in piece):
        return state, ()
    return attrs.evolve(state, text=state.text[at:].lstrip(), cut=0, is_first=False), (piece,)


def _end_of(word: str, *, has_room: bool) -> _End:
    core = word.rstrip(_CLOSING)
    stem = core.lstrip(_OPENING).lower()
    match core[-1:]:
        case "?" | "!":
            return _End.SENTENCE
        case "." if stem[:-1] in _BOUND:
            return _End.NONE
        case "." | "…":
            is_ellipsis = core.endswith(("…", "..."))
            return _End.CLAUSE if is_ellipsis and has_room else _End.UNCERTAIN
        case "," if core[-2:-1].isdigit() and has_room:
            return _End.UNCERTAIN  # "November 21, 2026"
        case "," | ";" | ":" if stem[:-1] not in ("e.g.", "i.e."):
            return _End.CLAUSE
        case "—" | "–" | "-" if core[-2:-1].isdigit():
            return _End.NONE
        case "–" | "-" if not core.strip("–-"):
            return _End.UNCERTAIN if has_room else _End.NONE
        case "—" | "–":
            return _End.CLAUSE
        case _:
            return _End.NONE


def _is_cut_good(state: Speakable, *, is_whole: bool) -> bool | None:
    """Whether a piece may end at ``cut``, judged by the word after it; None while that is too short to tell."""
    *_, before, word = ("", *state.text[: state.cut].strip(_OPENING + _CLOSING).lower().rsplit(" ", 2))
    following = state.text[state.cut + 1 :].lstrip(_OPENING)
    if not following:
        return True if is_whole else None
    if word in ("–", "-"):  # a range, or a thought
        return not (before[-1:].isdigit() or before in _ENDS_OF_A_RANGE)
    if word[-1:] == "," or word[:-1] in _BEFORE_A_NUMBER:
        return not following[0].isdigit()
    if following[0].islower():
        return False
    if word[:-1] not in _ABBREVIATED and not _LETTERS.fullmatch(word[:-1]):
        return True
    if not is_whole:
        return None
    first = _FIRST_WORD.match(following)
    return first is not None and first[0].lower() in STARTERS
