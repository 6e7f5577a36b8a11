"""Hearing: what one stream of `/v1/listen` has heard, told on the call's timeline.

Theory of operation. An *utterance* is open from its first final words until the vendor, by `speech_final` or by
UtteranceEnd, says that it has ended. Where its times lie in the call is `Timeline`'s.
"""

import attrs

from engine.messages.recognition import Recognised
from engine.providers.deepgram.timeline import SAME_S, Timeline
from engine.providers.deepgram.wire import Results, UtteranceEnd


@attrs.define(eq=False)
class Hearing:
    """One stream's utterances, and how far it has come."""

    timeline: Timeline = attrs.field(init=False, factory=Timeline)
    # Invariant: neither falls, and neither is ahead of what was sent.
    _covered_stream_s: float = attrs.field(init=False, default=0.0)
    _covered_s: float = attrs.field(init=False, default=0.0)
    # Where the newest words of the open utterance begin, in the stream; None between utterances.
    _open_s: float | None = attrs.field(init=False, default=None)

    def take(self, start_s: float, audio_bytes: int) -> None:
        """Note audio that will be sent next, and where it begins on the call's timeline."""
        if not self.timeline.begun:
            self._covered_s = start_s
        self.timeline.take(start_s, audio_bytes)

    def sent(self, audio_bytes: int) -> None:
        """Note that so much more of what was taken is on its way."""
        self.timeline.sent(audio_bytes)

    def heard(self, results: Results) -> Recognised | None:
        """Return what the vendor heard; None for a draft of what is settled. Raises WireError for the impossible."""
        end_s = self.timeline.possible(results.end_s)
        if results.is_final:
            self._cover(end_s)
            if results.text:
                self._open_s = results.words[0].start_s if results.words else results.start_s
            if results.speech_final:
                self._open_s = None
        elif end_s <= self._covered_stream_s + SAME_S:
            return None
        start_s, end_s = self.timeline.between(results.start_s, end_s)
        return Recognised(
            text=results.text,
            words=tuple(map(self.timeline.word, results.words)),
            start_s=start_s,
            end_s=end_s,
            is_final=results.is_final,
            speech_final=results.speech_final,
            covered_s=self._covered_s,
        )

    def ended(self, end: UtteranceEnd) -> Recognised | None:
        """Return the end of the open utterance; None when there is none, or when words came since, told late."""
        if self._open_s is None or self.timeline.possible(end.last_word_end_s) < self._open_s - SAME_S:
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

    def _cover(self, end_s: float) -> None:
        if end_s > self._covered_stream_s:
            self._covered_stream_s = end_s
            self._covered_s = max(self._covered_s, self.timeline.ending(end_s))
