"""What came of a call that was played, in seconds of its stream, however it was played."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from engine.messages.conversation import Entry
from simulators import tone
from simulators.caller import Backchannel, Noise, Play, Press, Say

GREETING: Final = "0"
"""The greeting's key; a reply's is its number, a phrase of the engine's own is known by its clip."""

_MARKS: Final = ',.?!;:“”"()…'


def plain(text: str) -> list[str]:
    """Return a text's words without case and punctuation."""
    return [word for each in text.lower().replace("’", "'").split() if (word := each.strip(_MARKS))]


@attrs.frozen(kw_only=True)
class Made:
    """A sound that the caller made, or keys that were pressed: from the first sound to the last."""

    step: Say | Backchannel | Noise | Play | Press
    text: str
    start_s: float
    end_s: float

    @property
    def takes_floor(self) -> bool:
        """Whether it is for the agent to answer, and to be silent for."""
        return isinstance(self.step, Play | Press) or (isinstance(self.step, Say) and self.step.by == "caller")


@attrs.frozen
class Stretch:
    """Some time in which the agent is heard."""

    start_s: float
    end_s: float


def merged(stretches: Iterable[Stretch], gap_s: float) -> tuple[Stretch, ...]:
    """Return stretches in which no silence is shorter than `gap_s`."""
    joined: list[Stretch] = []
    for each in stretches:
        if joined and each.start_s - joined[-1].end_s < gap_s:
            joined[-1] = Stretch(joined[-1].start_s, each.end_s)
        else:
            joined.append(each)
    return tuple(joined)


@attrs.frozen(kw_only=True)
class Passage:
    """Words of one text that were heard one after the other: from `first` to before `last`.

    at: when each of them was heard.
    """

    key: str
    first: int
    at: tuple[tuple[float, float], ...]

    @property
    def last(self) -> int:
        """One after the last word."""
        return self.first + len(self.at)

    @property
    def start_s(self) -> float:
        """When it began."""
        return self.at[0][0]

    @property
    def end_s(self) -> float:
        """When it was over."""
        return self.at[-1][1]


def passages(
    heard: Sequence[tone.HeardWord], clears: Sequence[float], texts: Mapping[str, Sequence[str]]
) -> Iterator[Passage]:
    """Yield what was heard as passages of the texts; a word that stands in none is one of the text "?"."""
    words = [(plain(each.text) or [each.text])[0] for each in heard]
    key, pos, at = "", 0, list[tuple[float, float]]()
    first = 0
    for place, word in enumerate(words):
        time = (heard[place].start_s, heard[place].end_s)
        broken = place > 0 and any(heard[place - 1].start_s < cut_s <= time[0] for cut_s in clears)
        follows = key in texts and pos < len(texts[key]) and texts[key][pos] == word and not broken
        if not follows:
            if at:
                yield Passage(key=key, first=first, at=tuple(at))
            key, pos = _found(words[place:], texts, key, pos)
            first, at = pos, []
        at.append(time)
        pos += 1
    if at:
        yield Passage(key=key, first=first, at=tuple(at))


def _found(words: Sequence[str], texts: Mapping[str, Sequence[str]], key: str, pos: int) -> tuple[str, int]:
    """Return the text and the place in it that words are from: where most of them fit."""
    best, place = (0, 0, 0, 0), ("?", 0)
    for name, text in texts.items():
        for start, word in enumerate(text):
            if word != words[0]:
                continue
            fits = next(
                (at for at, (one, other) in enumerate(zip(words, text[start:], strict=False)) if one != other), None
            )
            length = min(len(words), len(text) - start) if fits is None else fits
            # The same text a little earlier is a rewind; the nearest is likeliest.
            same = name == key and start <= pos
            score = (length, int(same), int(start == 0), start if same else -start)
            if score > best:
                best, place = score, (name, start)
    return place


@attrs.frozen(kw_only=True)
class Heard:
    """How much of one reply the caller heard.

    words: of so many; reached: how far it came; missing: words before that which were never heard.
    repeats: how long what came again lasted, each time. start_s: when its first sound was.
    """

    words: int
    reached: int
    missing: int = 0
    repeats: tuple[float, ...] = ()
    start_s: float = math.inf
    end_s: float = -math.inf

    @property
    def whole(self) -> bool:
        """Whether all of it was heard."""
        return self.reached == self.words and not self.missing


def heard_of(key: str, text: Sequence[str], found: Sequence[Passage]) -> Heard:
    """Return how much of a text was heard, by what was heard of it."""
    mine = [each for each in found if each.key == key]
    reached, missing = 0, 0
    repeats: list[float] = []
    known: dict[int, tuple[float, float]] = {}
    for each in mine:
        missing += max(0, each.first - reached)
        again = range(each.first, min(reached, each.last))
        if again:
            repeats.append(sum(known[word][1] - known[word][0] for word in again if word in known))
        known |= dict(enumerate(each.at, each.first))
        reached = max(reached, each.last)
    start_s = mine[0].start_s if mine else math.inf
    end_s = mine[-1].end_s if mine else -math.inf
    return Heard(
        words=len(text), reached=reached, missing=missing, repeats=tuple(repeats), start_s=start_s, end_s=end_s
    )


@attrs.frozen(kw_only=True)
class Spoke:
    """One turn of the agent's: when it was heard, and whether the caller broke in on it, as the engine has it."""

    turn: int
    start_s: float
    end_s: float
    interrupted: bool


def spoke(began: Mapping[int, float], interrupted: Mapping[int, bool], agent: Sequence[Stretch]) -> tuple[Spoke, ...]:
    """Return the agent's turns in order. began: when each was first heard. agent: when it was heard at all."""
    order = sorted(interrupted.keys() & began.keys(), key=lambda turn: began[turn])
    turns: list[Spoke] = []
    for turn, following in zip(order, [*order[1:], None], strict=True):
        until_s = math.inf if following is None else began[following]
        ends = [each.end_s for each in agent if began[turn] <= each.end_s and each.start_s < until_s]
        turns.append(
            Spoke(
                turn=turn,
                start_s=began[turn],
                end_s=max(ends, default=began[turn]),
                interrupted=interrupted[turn],
            )
        )
    return tuple(turns)


@attrs.frozen(kw_only=True)
class Account:
    """A call.

    made: by the caller. agent: when it was heard. passages: what of; None where sound is not understood.
    said: every word of it that was heard.
    replies: by key. spoke: the agent's turns. turns: what the model was given of the caller.
    clears, interruptions: when the line's queue was dropped, and when the engine took the caller's sound for more than
        a noise; None where that is not known.
    stale_s: how much of what was cut was heard all the same. garbled: words that were heard in part, and nobody cut.
    tone_s: how long the hold tone was heard. expected, wasted: requests begun early, and those of no use.
    """

    made: tuple[Made, ...]
    agent: tuple[Stretch, ...]
    passages: tuple[Passage, ...] | None
    said: tuple[str, ...]
    replies: Mapping[str, Heard]
    spoke: tuple[Spoke, ...]
    phrases: Mapping[str, int]
    turns: tuple[str, ...]
    conversation: tuple[Entry, ...]
    clears: tuple[float, ...]
    interruptions: tuple[float, ...] | None
    stale_s: float
    garbled: int
    tone_s: float
    tool_runs: int
    requests: int
    wasted: int
    ended: str | None
    ended_s: float
    gave_up: tuple[str, ...]
    hung: bool = False
    tasks_left: int = 0
    notes: tuple[str, ...] = attrs.field(default=(), repr=False)
