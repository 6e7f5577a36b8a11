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
from typing import Final

from engine.messages.recognition import Word

# Spread of the difference between two connections' ideas of an edge: each is off by up to 60 ms, whichever is as likely.
_SPREAD_S: Final = 0.05
# Further apart than any two connections are. Beyond it a word is not one that can have been cut, or be meant.
_FURTHEST_S: Final = 0.12
# All of a connection's words may lie late, or early, alike.
_SHIFTS_S: Final = (0.0, 0.04, -0.04, 0.08, -0.08, 0.12, -0.12)
# A word that only one of the two heard, and one of which nothing or a piece was heard, because the audio begins in it.
_UNMATCHED: Final = 8.0
_CUT: Final = 1.0
# One word in fifteen is heard as another the second time; two words that follow each other are seldom the same.
_OTHER_TEXT: Final = 3.0
_ENDS: Final = ".,;:!?…\"'"


def repeated(accepted: Sequence[Word], heard: Sequence[Word], *, begins_s: float, covered_s: float) -> int:
    """Return how many words, from the first on, of those `heard` are among the accepted.

    accepted, heard: in order. begins_s: where the session's audio begins. covered_s: how far the accepted words reach.
    """
    known = [word for word in accepted if word.end_s > begins_s - _FURTHEST_S]
    return min(_best(known, heard, shift_s, begins_s, covered_s) for shift_s in _SHIFTS_S)[1]


def _best(
    known: Sequence[Word], heard: Sequence[Word], shift_s: float, begins_s: float, covered_s: float
) -> tuple[float, int]:
    """Return the least cost, and what is sought at that, where all that is heard lies `shift_s` late."""
    times = [(word.start_s - shift_s, word.end_s - shift_s, _plain(word.text)) for word in heard]
    extra = [_extra(start_s, end_s, begins_s, covered_s) for start_s, end_s, _ in times]
    # costs[j]: of the accepted words so far, matched with some of the first j heard.
    costs = list(itertools.accumulate(extra, initial=_odds(shift_s)))
    for word in known:
        text, missed = _plain(word.text), _CUT if word.start_s < begins_s + _FURTHEST_S else _UNMATCHED
        first_s = max(word.start_s, begins_s)
        row = [costs[0] + missed]
        for at, (start_s, end_s, other) in enumerate(times):
            # Where the audio begins in a word, only the rest of it can be heard.
            both = costs[at] + _odds(first_s - max(start_s, begins_s)) + _odds(word.end_s - end_s)
            both = both if text == other else both + _OTHER_TEXT
            row.append(min(both, costs[at + 1] + missed, row[-1] + extra[at]))
        costs = row
    # new[j]: of all but the first j being new, their middles behind what was covered.
    late = [_odds(max(0.0, covered_s - (start_s + end_s) / 2)) for start_s, end_s, _ in reversed(times)]
    new = reversed(list(itertools.accumulate(late, initial=0.0)))
    return min((cost + rest, count) for count, (cost, rest) in enumerate(zip(costs, new, strict=True)))


def _extra(start_s: float, end_s: float, begins_s: float, covered_s: float) -> float:
    """Return what it costs that a word is heard, where it is not new, that was not heard before."""
    unmatched = _CUT if start_s < begins_s + _FURTHEST_S else _UNMATCHED
    return unmatched + _odds(max(0.0, (start_s + end_s) / 2 - covered_s))


def _odds(apart_s: float) -> float:
    """Return what it costs that two moments lie so far apart that ought to be one."""
    return apart_s * apart_s / (2 * _SPREAD_S * _SPREAD_S)


def _plain(text: str) -> str:
    """Return a word without what a vendor may write differently in another sentence."""
    return text.strip(_ENDS).casefold()
