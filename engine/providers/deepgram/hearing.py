"""Hearing: what one stream has heard, told on the call's timeline.

Theory of operation. A stream's own clock starts at its first byte and counts bytes; the call's timeline may leap where
audio is missing, or was left out. Each leap begins a *stretch*, and a time of the stream lies in the stretch whose
bytes it counts. What ends at a leap ends before it, what begins there begins behind it, and a word lies on the side of
its middle: nobody speaks across audio that is not there. An *utterance* is open from its first final words until the
vendor, by `speech_final` or by UtteranceEnd, says that it has ended.
"""

from bisect import bisect_left, bisect_right
from typing import Final

import attrs

from engine.codec.telephony import RATE_HZ
from engine.messages.errors import WireError
from engine.messages.recognition import Recognised, Word
from engine.providers.deepgram.wire import Results, StreamWord, UtteranceEnd

# Times closer than this are one: the vendor counts in 32 bits.
_SAME_S: Final = 0.001
# A vendor may round up to its own blocks of audio. What it says of audio further ahead than this, it cannot know.
_AHEAD_S: Final = 0.5


@attrs.frozen
class _Stretch:
    """Audio without a leap in it: where it begins in the stream, and on the call's timeline."""

    stream_s: float
    call_s: float


@attrs.define(eq=False)
class Hearing:
    """One stream's timeline, and how far it has come."""

    # Invariant: in order of the stream.
    _stretches: list[_Stretch] = attrs.field(init=False, factory=list)
    _taken_bytes: int = attrs.field(init=False, default=0)
    _sent_bytes: int = attrs.field(init=False, default=0)
    # Invariant: neither falls, and neither is ahead of what was sent.
    _covered_stream_s: float = attrs.field(init=False, default=0.0)
    _covered_s: float = attrs.field(init=False, default=0.0)
    # Where the newest words of the open utterance begin, in the stream; None between utterances.
    _open_s: float | None = attrs.field(init=False, default=None)

    def take(self, start_s: float, audio_bytes: int) -> None:
        """Note audio that will be sent next, and where it begins on the call's timeline."""
        taken_s = self._taken_bytes / RATE_HZ
        if not self._stretches:
            self._covered_s = start_s
            self._stretches.append(_Stretch(0.0, start_s))
        elif abs(start_s - self._stretches[-1].call_s - (taken_s - self._stretches[-1].stream_s)) > _SAME_S:
            self._stretches.append(_Stretch(taken_s, start_s))
        self._taken_bytes += audio_bytes

    def sent(self, audio_bytes: int) -> None:
        """Note that so much more of what was taken is on its way."""
        self._sent_bytes += audio_bytes

    def heard(self, results: Results) -> Recognised | None:
        """Return what the vendor heard; None for a draft of what is settled. Raises WireError for the impossible."""
        end_s = self._possible(results.end_s)
        if results.is_final:
            self._cover(end_s)
            if results.text:
                self._open_s = results.words[0].start_s if results.words else results.start_s
            if results.speech_final:
                self._open_s = None
        elif end_s <= self._covered_stream_s + _SAME_S:
            return None
        start_s, end_s = self._between(results.start_s, end_s)
        return Recognised(
            text=results.text,
            words=tuple(map(self._word, results.words)),
            start_s=start_s,
            end_s=end_s,
            is_final=results.is_final,
            speech_final=results.speech_final,
            covered_s=self._covered_s,
        )

    def ended(self, end: UtteranceEnd) -> Recognised | None:
        """Return the end of the open utterance; None when there is none, or when words came since, told late."""
        if self._open_s is None or self._possible(end.last_word_end_s) < self._open_s - _SAME_S:
            return None
        self._open_s = None
        return Recognised(
            text="",
            start_s=self._covered_s,
            end_s=self._covered_s,
            is_final=True,
            speech_final=True,
            covered_s=self._covered_s,
        )

    def _possible(self, stream_s: float) -> float:
        """Return a time that the vendor speaks of, at most where the stream is. Raises WireError far beyond."""
        sent_s = self._sent_bytes / RATE_HZ
        if stream_s > sent_s + _AHEAD_S or not self._stretches:
            raise WireError(f"message speaks of {stream_s:g} s of the stream; {sent_s:g} s were sent")
        return min(stream_s, sent_s)

    def _cover(self, end_s: float) -> None:
        if end_s > self._covered_stream_s:
            self._covered_stream_s = end_s
            self._covered_s = max(self._covered_s, self._ending(end_s))

    def _word(self, word: StreamWord) -> Word:
        """Return a word on the call's timeline, within one stretch."""
        sent_s = self._sent_bytes / RATE_HZ
        start_s, end_s = min(word.start_s, sent_s), min(word.end_s, sent_s)
        behind = bisect_right(self._stretches, (start_s + end_s) / 2, key=lambda each: each.stream_s)
        here = self._stretches[max(0, behind - 1)]
        least_s = here.stream_s
        most_s = self._stretches[behind].stream_s if behind < len(self._stretches) else sent_s
        ahead_s = here.call_s - here.stream_s
        return Word(
            text=word.text, start_s=max(start_s, least_s) + ahead_s, end_s=min(max(end_s, least_s), most_s) + ahead_s
        )

    def _between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return on the call's timeline what begins and ends at moments of the stream."""
        start_s = min(start_s, self._sent_bytes / RATE_HZ)
        start_s = self._at(start_s, bisect_right(self._stretches, start_s + _SAME_S, key=lambda each: each.stream_s))
        return start_s, max(start_s, self._ending(end_s))

    def _ending(self, stream_s: float) -> float:
        """Return on the call's timeline what ends at a moment of the stream."""
        stream_s = min(stream_s, self._sent_bytes / RATE_HZ)
        return self._at(stream_s, bisect_left(self._stretches, stream_s - _SAME_S, key=lambda each: each.stream_s))

    def _at(self, stream_s: float, count: int) -> float:
        """Return a moment of the stream, in the last of its first `count` stretches, on the call's timeline."""
        stretch = self._stretches[max(0, count - 1)]
        return stretch.call_s + max(0.0, stream_s - stretch.stream_s)
