"""Vigil: whether a vendor that is sent audio still answers."""

from typing import Final

import attrs
import trio

from engine.codec.telephony import RATE_HZ

# Answers without words in a row, of which one may be the end of an utterance: so many tell of silence.
_TELLING: Final = 3
# Of a µ-law byte turned over, without its sign: below, 30 dB under the loudest, lies a line's noise.
_LOUD: Final = 0x30
_QUIET: Final = bytes(byte for byte in range(256) if ~byte & 0x7F < _LOUD)
# Of a message's samples: less of it that is loud is a click.
_SPOKEN_SHARE: Final = 0.1
# How often a stall is judged where the audio for it is not yet sent.
_LOOK_S: Final = 0.25
# A watchdog that woke this much later than it asked to was itself held up, and judges nobody.
_LATE_S: Final = 0.5


def is_spoken(audio: bytes) -> bool:
    """Whether somebody may be speaking in µ-law."""
    return len(audio.translate(None, _QUIET)) >= _SPOKEN_SHARE * len(audio)


@attrs.define(eq=False)
class Habit:
    """What a vendor was seen to do, in any call. tells_of_silence: to answer audio without words."""

    tells_of_silence: bool = False


@attrs.define(eq=False, kw_only=True)
class Vigil:
    """Watches one stream. Whoever uses it sleeps until `due`, and calls `woke`.

    Of silence no answer is owed by a vendor that never was seen to give one: to start again for the want of it would
    end in a backlog that no session works off.

    stall_s, stall_audio_s: after so long, and so much audio, without any answer there will be none.
    """

    habit: Habit
    stall_s: float
    stall_audio_s: float
    # Since when audio was sent without any answer, and how much; None if there was none, or nobody can judge.
    _since: float | None = attrs.field(init=False, default=None)
    _unanswered_bytes: int = attrs.field(init=False, default=0)
    # Answers in a row that had no words.
    _wordless: int = attrs.field(init=False, default=0)

    def sent(self, audio: bytes) -> None:
        """Note audio that is on its way."""
        if self._since is None and (self.habit.tells_of_silence or is_spoken(audio)):
            self._since = trio.current_time()
        if self._since is not None:
            self._unanswered_bytes += len(audio)

    def answered(self, *, with_words: bool) -> None:
        """Note an answer."""
        self._wordless = 0 if with_words else self._wordless + 1
        self.habit.tells_of_silence |= self._wordless >= _TELLING
        self._since = None
        self._unanswered_bytes = 0

    def excuse(self) -> None:
        """Judge the vendor from now on only."""
        if self._since is not None:
            self._since = trio.current_time()

    def due(self) -> float:
        """Return when to look next."""
        now = trio.current_time()
        return max(now + _LOOK_S, (now if self._since is None else self._since) + self.stall_s)

    def woke(self, due: float, *, listening: bool) -> bool:
        """Whether the vendor has stalled. due: when to look was asked for. listening: whether anybody heard it."""
        now = trio.current_time()
        if now > due + _LATE_S or not listening:
            self.excuse()
        return (
            self._since is not None
            and now >= self._since + self.stall_s
            and self._unanswered_bytes >= self.stall_audio_s * RATE_HZ
        )
