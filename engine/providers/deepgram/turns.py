"""Turns: what one stream of Flux has heard, told on the call's timeline.

Theory of operation. Each message tells of the whole turn so far, and is a draft of it; the end of the turn makes it
final::

    between turns   StartOfTurn     in a turn
    in a turn       EagerEndOfTurn  ending: the draft says so, and each further one of the same words
    ending          TurnResumed     in a turn; so do other words without it
    any             EndOfTurn       between turns: the words are final, and finished

A message without words is told as a final without words: nothing was said up to a little before the end of its window.
The rest of it may hold the beginning of a word. A stream that dies in the middle of a turn leaves a draft. What is sure
of it is told as final, without an end: the next stream is sent what follows, and its words are held against these, as
at any joint. Without that it would be sent the whole turn again, and be late by as much. Of a long turn the beginning
is final already while it goes on, for the audio of words that are not final is kept, and not for ever.
"""

import itertools
from typing import Final

import attrs

from engine.messages.errors import WireError
from engine.messages.recognition import Recognised
from engine.providers.deepgram.fields import StreamWord
from engine.providers.deepgram.flux_wire import Event, TurnInfo
from engine.providers.deepgram.timeline import Timeline

# A word of which nothing is told yet began no longer ago than this: longer than it takes to say a short one.
_UNHEARD_S: Final = 0.5
# The vendor may still think otherwise of words that are no older than this: some three.
_UNSURE_S: Final = 1.0
# A turn that is longer than this is final up to the words that are no older than that: half of what the STT keeps.
_LONG_S: Final = 15.0
_RECENT_S: Final = 5.0


@attrs.define(eq=False)
class Turns:
    """One stream's turns, and how far it has come."""

    timeline: Timeline = attrs.field(init=False, factory=Timeline)
    # The turn that is open, or the next one.
    _turn: int = attrs.field(init=False, default=0)
    # The newest message of the open turn, while it has words; whether the vendor expects its end.
    _draft: TurnInfo | None = attrs.field(init=False, default=None)
    _ending: bool = attrs.field(init=False, default=False)
    # Up to where in the stream the open turn is final already.
    _final_s: float = attrs.field(init=False, default=0.0)
    # Invariant: neither falls, and neither is ahead of what was sent.
    _covered_stream_s: float = attrs.field(init=False, default=0.0)
    _covered_s: float = attrs.field(init=False, default=0.0)

    def take(self, start_s: float, audio_bytes: int) -> None:
        """Note audio that will be sent next, and where it begins on the call's timeline."""
        if not self.timeline.begun:
            self._covered_s = start_s
        self.timeline.take(start_s, audio_bytes)

    def heard(self, info: TurnInfo) -> list[Recognised]:
        """Return what the vendor heard. Raises WireError for the impossible.

        The words of a turn whose end got lost are final when the next one begins.
        """
        end_s = self.timeline.possible(info.end_s)
        if info.turn < self._turn and info.text:
            raise WireError(f"turn {info.turn} has ended; turn {self._turn} or {self._turn + 1} allowed")
        if info.turn > self._turn + 1:
            raise WireError(f"turn {info.turn} follows turn {self._turn}; {self._turn} or {self._turn + 1} allowed")
        told = []
        if info.turn > self._turn:
            if self._draft is not None:
                told.append(self._final(self._draft, self._draft.words, self._draft.end_s))
            self._next_turn(info.turn)
        info = self._rest(info)
        if info.event is Event.END_OF_TURN and info.turn == self._turn:
            self._next_turn(info.turn + 1)
            told.append(self._final(info, info.words, end_s))
        elif info.text:
            told += self._drafted(info, end_s)
        else:
            self._draft, self._ending = None, False
            told.append(self._nothing(end_s - _UNHEARD_S))
        return told

    def settled(self) -> Recognised | None:
        """Return what is sure of the open turn, once, for a stream that is no more; None if nothing is."""
        if self._draft is None:
            return None
        settled = self._sure(self.timeline.possible(self._draft.end_s) - _UNSURE_S)
        self._draft = None
        return settled

    def last(self, *, whole: bool) -> Recognised:
        """Return the last that is told of the call: the open turn as it stands. whole: all that was sent was heard."""
        draft, self._draft = self._draft, None
        if whole or draft is None:
            end_s = self.timeline.sent_s if whole else self._covered_stream_s
        else:
            end_s = self.timeline.possible(draft.end_s)
        return self._nothing(end_s) if draft is None else self._final(draft, draft.words, end_s)

    def _next_turn(self, turn: int) -> None:
        self._turn, self._draft, self._ending, self._final_s = turn, None, False, 0.0

    def _rest(self, info: TurnInfo) -> TurnInfo:
        """Return a message without the words that are final already; where nobody can tell, as it was before."""
        if self._final_s and info.text and not info.words:
            known = self._draft
            return attrs.evolve(info, words=known.words if known else (), text=known.text if known else "")
        words = tuple(word for word in info.words if (word.start_s + word.end_s) / 2 > self._final_s)
        if len(words) == len(info.words):
            return info
        return attrs.evolve(info, words=words, text=" ".join(word.text for word in words))

    def _sure(self, edge_s: float) -> Recognised | None:
        """Return the draft's words up to a moment of the stream, final from now on; None if there are none."""
        assert self._draft is not None
        draft = self._draft
        words = tuple(itertools.takewhile(lambda word: word.end_s <= edge_s, draft.words))
        if not words:
            return None
        whole = len(words) == len(draft.words)
        self._final_s = edge_s if whole else words[-1].end_s
        text = draft.text if whole else " ".join(word.text for word in words)
        return self._final(attrs.evolve(draft, text=text), words, self._final_s, ended=False)

    def _drafted(self, info: TurnInfo, end_s: float) -> list[Recognised]:
        same = self._draft is not None and self._draft.text == info.text
        self._ending = info.event is Event.EAGER_END_OF_TURN or (
            self._ending and same and info.event is not Event.TURN_RESUMED
        )
        self._draft = info
        sure = None
        if info.words and info.words[0].start_s < end_s - _LONG_S:
            sure = self._sure(end_s - _RECENT_S)
            self._draft = info = self._rest(info)
        start_s, end_s = self._between(info, info.words, end_s)
        draft = Recognised(
            text=info.text,
            words=tuple(map(self.timeline.word, info.words)),
            start_s=start_s,
            end_s=end_s,
            is_final=False,
            speech_final=False,
            covered_s=self._covered_s,
            speech_ending=self._ending,
            semantic=True,
        )
        return [draft] if sure is None else [sure, draft]

    def _final(
        self, info: TurnInfo, words: tuple[StreamWord, ...], until_s: float, *, ended: bool = True
    ) -> Recognised:
        """Return a turn as it stands, final, and heard up to a moment of the stream."""
        self._cover(until_s)
        start_s, end_s = self._between(info, words, until_s)
        return Recognised(
            text=info.text,
            words=tuple(map(self.timeline.word, words)),
            start_s=start_s,
            end_s=end_s,
            is_final=True,
            speech_final=ended,
            covered_s=self._covered_s,
            semantic=True,
        )

    def _nothing(self, until_s: float) -> Recognised:
        """Return that nothing was said up to a moment of the stream."""
        start_s = self._covered_s
        self._cover(until_s)
        return Recognised(
            text="",
            start_s=start_s,
            end_s=self._covered_s,
            is_final=True,
            speech_final=False,
            covered_s=self._covered_s,
            semantic=True,
        )

    def _between(self, info: TurnInfo, words: tuple[StreamWord, ...], end_s: float) -> tuple[float, float]:
        """Return where on the call's timeline a turn begins, with its first word where that has times, and ends."""
        return self.timeline.between(min(words[0].start_s if words else info.start_s, end_s), end_s)

    def _cover(self, end_s: float) -> None:
        if end_s > self._covered_stream_s and self.timeline.begun:
            self._covered_stream_s = end_s
            self._covered_s = max(self._covered_s, self.timeline.ending(end_s))
