"""Timeline: where in a call the moments of one stream lie.

Theory of operation. A stream's own clock starts at its first byte and counts bytes; the call's timeline may leap where
audio is missing, or was left out. Each leap begins a *stretch*, and a time of the stream lies in the stretch whose
bytes it counts. What ends at a leap ends before it, what begins there begins behind it, and a word lies on the side of
its middle: nobody speaks across audio that is not there. Silence of our own, which keeps a vendor's clock running where
the call has no audio, is a stretch too: all of it is one moment of the call.
"""

from bisect import bisect_left, bisect_right
from typing import Final

import attrs

from engine.codec.telephony import RATE_HZ
from engine.messages.errors import WireError
from engine.messages.recognition import Word
from engine.providers.deepgram.fields import StreamWord

SAME_S: Final = 0.001
"""Times closer than this are one: the vendor counts in 32 bits."""

# A vendor may round up to its own blocks of audio. What it says of audio further ahead than this, it cannot know.
_AHEAD_S: Final = 0.5


@attrs.frozen
class _Stretch:
    """Audio without a leap in it: where it begins in the stream, and on the call's timeline.

    is_ours: it is no audio of the call's.
    """

    stream_s: float
    call_s: float
    is_ours: bool = False

    def at(self, stream_s: float) -> float:
        """Return a moment of the stream that lies in it on the call's timeline."""
        return self.call_s if self.is_ours else self.call_s + max(0.0, stream_s - self.stream_s)


@attrs.define(eq=False)
class Timeline:
    """One stream's audio, and where it lies in the call."""

    # Invariant: in order of the stream.
    _stretches: list[_Stretch] = attrs.field(init=False, factory=list)
    _taken_bytes: int = attrs.field(init=False, default=0)
    _sent_bytes: int = attrs.field(init=False, default=0)

    @property
    def begun(self) -> bool:
        """Whether there is any audio."""
        return bool(self._stretches)

    @property
    def sent_s(self) -> float:
        """How much of the stream was sent."""
        return self._sent_bytes / RATE_HZ

    def take(self, start_s: float, audio_bytes: int) -> None:
        """Note audio that will be sent next, and where it begins on the call's timeline."""
        taken_s = self._taken_bytes / RATE_HZ
        last = self._stretches[-1] if self._stretches else None
        if last is None or last.is_ours or abs(start_s - last.call_s - (taken_s - last.stream_s)) > SAME_S:
            self._stretches.append(_Stretch(taken_s, start_s))
        self._taken_bytes += audio_bytes

    def fill(self, silent_bytes: int) -> None:
        """Note silence that will be sent next and is not the call's. There has to be audio before it."""
        if not self._stretches[-1].is_ours:
            taken_s = self._taken_bytes / RATE_HZ
            self._stretches.append(_Stretch(taken_s, self._stretches[-1].at(taken_s), is_ours=True))
        self._taken_bytes += silent_bytes

    def sent(self, audio_bytes: int) -> None:
        """Note that so much more of what was taken is on its way."""
        self._sent_bytes += audio_bytes

    def possible(self, stream_s: float) -> float:
        """Return a time that the vendor speaks of, at most where the stream is. Raises WireError far beyond."""
        if stream_s > self.sent_s + _AHEAD_S or not self._stretches:
            raise WireError(f"message speaks of {stream_s:g} s of the stream; {self.sent_s:g} s were sent")
        return min(stream_s, self.sent_s)

    def word(self, word: StreamWord) -> Word:
        """Return a word on the call's timeline, within one stretch."""
        start_s, end_s = min(word.start_s, self.sent_s), min(word.end_s, self.sent_s)
        behind = bisect_right(self._stretches, (start_s + end_s) / 2, key=lambda each: each.stream_s)
        here = self._stretches[max(0, behind - 1)]
        most_s = self._stretches[behind].stream_s if behind < len(self._stretches) else self.sent_s
        return Word(text=word.text, start_s=here.at(start_s), end_s=here.at(min(end_s, most_s)))

    def between(self, start_s: float, end_s: float) -> tuple[float, float]:
        """Return on the call's timeline what begins and ends at moments of the stream."""
        start_s = min(start_s, self.sent_s)
        begun = bisect_right(self._stretches, start_s + SAME_S, key=lambda each: each.stream_s)
        start_s = self._stretches[max(0, begun - 1)].at(start_s)
        return start_s, max(start_s, self.ending(end_s))

    def ending(self, stream_s: float) -> float:
        """Return on the call's timeline what ends at a moment of the stream."""
        stream_s = min(stream_s, self.sent_s)
        begun = bisect_left(self._stretches, stream_s - SAME_S, key=lambda each: each.stream_s)
        return self._stretches[max(0, begun - 1)].at(stream_s)
