"""Alignment: how many of the words that a session hears were accepted from the one before it. Pure.

Theory of operation. A new session is sent some audio again whose words are known. It hears those words at other times:
each edge of a word shifts by up to 60 ms from one connection to the next, or all of them together do, and where its
audio begins in the middle of a word it hears a piece of it. What it hears lies in order: first what was accepted, then
what is new. So one number is sought, and each is judged by what it costs: the best way of matching the accepted words,
in order, with as many of those heard, and how far the rest lie inside what was covered.

Costs are odds: what is unlikelier by a factor of e costs 1 more. They were tuned by `benchmarks/reconnect.py`.
"""

from collections.abc import Sequence
from typing import Final

from engine.messages.recognition import Word

# Spread of the difference between two connections' ideas of an edge: each is off by up to 60 ms, whichever is as likely.
_SPREAD_S: Final = 0.05
# Further apart than any two connections are. Beyond it a word is not one that can have been cut, or be meant.
_FURTHEST_S: Final = 0.12
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
    # costs[j]: of the accepted words so far, told apart from or matched with the first j heard.
    costs = [0.0]
    for word in heard:
        costs.append(costs[-1] + _extra(word, begins_s, covered_s))
    for word in known:
        missed = _missed(word, begins_s)
        row = [costs[0] + missed]
        for count, other in enumerate(heard):
            both = costs[count] + _apart(word, other, begins_s)
            row.append(min(both, costs[count + 1] + missed, row[-1] + _extra(other, begins_s, covered_s)))
        costs = row
    best, least, rest = 0, float("inf"), 0.0
    for count in range(len(heard), -1, -1):
        if count < len(heard):
            rest += _new(heard[count], covered_s)
        if costs[count] + rest < least:
            best, least = count, costs[count] + rest
    return best


def _apart(word: Word, other: Word, begins_s: float) -> float:
    """Return what it costs to take two words for one: where the audio begins in it, only its rest can be heard."""
    start_s = max(word.start_s, begins_s) - max(other.start_s, begins_s)
    end_s = word.end_s - other.end_s
    cost = (start_s * start_s + end_s * end_s) / (2 * _SPREAD_S * _SPREAD_S)
    return cost if _plain(word.text) == _plain(other.text) else cost + _OTHER_TEXT


def _missed(word: Word, begins_s: float) -> float:
    """Return what it costs that an accepted word is not heard again."""
    return _CUT if word.start_s < begins_s + _FURTHEST_S else _UNMATCHED


def _extra(word: Word, begins_s: float, covered_s: float) -> float:
    """Return what it costs that a word is heard, where it is not new, that was not heard before."""
    unmatched = _CUT if word.start_s < begins_s + _FURTHEST_S else _UNMATCHED
    return unmatched + _beyond(covered_s, (word.start_s + word.end_s) / 2)


def _new(word: Word, covered_s: float) -> float:
    """Return what it costs that a word is new: its middle lies behind what was covered."""
    return _beyond((word.start_s + word.end_s) / 2, covered_s)


def _beyond(first_s: float, second_s: float) -> float:
    """Return what it costs that the second of two moments, which ought to come first, does not."""
    beyond_s = second_s - first_s
    return beyond_s * beyond_s / (2 * _SPREAD_S * _SPREAD_S) if beyond_s > 0 else 0.0


def _plain(text: str) -> str:
    """Return a word without what a vendor may write differently in another sentence."""
    return text.strip(_ENDS).casefold()
