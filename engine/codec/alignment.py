"""Alignment: how many of the words that a session hears were accepted from the one before it. Pure.

Theory of operation. A new session is sent some audio again whose words are known. It hears those words at other times:
each edge of a word shifts by up to 60 ms from one connection to the next, or all of them together do, and where its
audio begins in the middle of a word it hears a piece of it. What it hears lies in order: first what was accepted, then
what is new. So one number is sought, and each is judged by what it costs: the best way of matching the accepted words,
in order, with as many of those heard, and how far the rest lie inside what was covered.

Costs are odds: what is unlikelier by a factor of e costs 1 more. They were tuned by `benchmarks/reconnect.py`.
"""

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple

from engine.messages.recognition import Word

# Spread of the difference between two connections' ideas of an edge: each is off by up to 60 ms.
_SPREAD_S: Final = 0.05
# Further apart than any two connections are. Beyond it a word is not one that can have been cut, or be meant.
_FURTHEST_S: Final = 0.12
# All of a connection's words may lie late, or early, alike.
_SHIFTS_S: Final = (0.0, 0.06, -0.06, 0.12, -0.12)
# A word that only one of the two heard, and one of which nothing or a piece was heard, because the audio begins in it.
_UNMATCHED: Final = 8.0
_CUT: Final = 1.0
# One word that the other heard as two, which touch and are written as the one is.
_SPLIT: Final = 2.0
_TOUCHING_S: Final = 0.03
# One word in fifteen is heard as another the second time; two words that follow each other are seldom the same.
_OTHER_TEXT: Final = 4.0
_ENDS: Final = ".,;:!?…\"'"


class _Timed(NamedTuple):
    """A word where it lies by the accepted words' clock. A tuple: hundreds are made at a reconnect."""

    start_s: float
    end_s: float
    text: str

    @property
    def middle_s(self) -> float:
        return (self.start_s + self.end_s) / 2


def repeated(accepted: Sequence[Word], heard: Sequence[Word], *, begins_s: float, covered_s: float) -> int:
    """Return how many words, from the first on, of those `heard` are among the accepted.

    accepted, heard: in order. begins_s: where the session's audio begins. covered_s: how far the accepted words reach.
    """
    known = [word for word in accepted if word.end_s > begins_s - _FURTHEST_S]
    words = [_Timed(word.start_s, word.end_s, _plain(word.text)) for word in heard]
    pairs = [_pair(first, second) for first, second in itertools.pairwise(words)]
    return min(_best(known, words, pairs, shift_s, begins_s, covered_s) for shift_s in _SHIFTS_S)[1]


def _best(  # noqa: PLR0913, PLR0917 - one step of the search, apart for its length
    known: Sequence[Word],
    heard: Sequence[_Timed],
    pairs: Sequence[_Timed | None],
    shift_s: float,
    begins_s: float,
    covered_s: float,
) -> tuple[float, int]:
    """Return the least cost, and what is sought at that, where all that was accepted would now lie `shift_s` later."""
    covered_s += shift_s
    # Where no word has times to be matched by, a vendor without any heard it, if it lies in what was covered.
    extra = _UNMATCHED if known else _CUT
    # costs[j]: of the accepted words so far, matched with some of the first j heard; before: the row above.
    costs = [_odds(shift_s) + extra * count for count in range(len(heard) + 1)]
    before: list[float] = []
    last: _Timed | None = None
    for word in known:
        # Where the audio begins in a word, only the rest of it can be heard.
        start_s = word.start_s + shift_s
        this = _Timed(max(start_s, begins_s), word.end_s + shift_s, _plain(word.text))
        both = None if last is None else _pair(last, this)
        missed = _CUT if start_s < begins_s + _FURTHEST_S else _UNMATCHED
        row = [costs[0] + missed]
        for at, other in enumerate(heard):
            least = min(costs[at] + _apart(this, other), costs[at + 1] + missed, row[at] + extra)
            if at and (two := pairs[at - 1]) is not None and two.text == this.text:
                least = min(least, costs[at - 1] + _apart(this, two) + _SPLIT)
            if both is not None and both.text == other.text:
                least = min(least, before[at] + _apart(both, other) + _SPLIT)
            row.append(least)
        before, costs, last = costs, row, this
    # new[j]: of all but the first j being new, their middles behind what was covered.
    late = [_odds(max(0.0, covered_s - word.middle_s)) for word in reversed(heard)]
    new = reversed(list(itertools.accumulate(late, initial=0.0)))
    return min((cost + rest, count) for count, (cost, rest) in enumerate(zip(costs, new, strict=True)))


def _apart(word: _Timed, other: _Timed) -> float:
    """Return what it costs to take two words for one."""
    cost = _odds(word.start_s - other.start_s) + _odds(word.end_s - other.end_s)
    return cost if word.text == other.text else cost + _OTHER_TEXT


def _pair(first: _Timed, second: _Timed) -> _Timed | None:
    """Return two words as one; None if they do not touch."""
    if second.start_s - first.end_s > _TOUCHING_S:
        return None
    return _Timed(first.start_s, second.end_s, first.text + second.text)


def _odds(apart_s: float) -> float:
    """Return what it costs that two moments lie so far apart that ought to be one."""
    return apart_s * apart_s / (2 * _SPREAD_S * _SPREAD_S)


def _plain(text: str) -> str:
    """Return a word without what a vendor may write differently in another sentence."""
    return text.strip(_ENDS).casefold()
