"""What Flux says to the audio it hears: turns. No clock: its time is the audio's own.

Theory of operation. Audio is heard in steps of at most 20 ms. Each may be an event, by the documented machine::

    INITIAL   a word is being said                      StartOfTurn     SPEAKING
    SPEAKING  confidence reaches eager_eot_threshold    EagerEndOfTurn  AWAITING
    SPEAKING  confidence reaches eot_threshold          EndOfTurn       INITIAL
    AWAITING  a word is being said                      TurnResumed     SPEAKING
    AWAITING  confidence reaches eot_threshold          EndOfTurn       INITIAL
    any turn  silence of eot_timeout_ms                 EndOfTurn       INITIAL

and where there was none for `update_s`, an Update tells the same state again. Confidence is the silence since the last
sound, by what a sure end takes: little after a finished word, much after an unfinished one.
"""

import enum
from typing import Final

import attrs

from simulators import tone
from simulators.audio import RATE_HZ
from simulators.deepgram.flux_request import MULTILINGUAL, FluxOptions
from simulators.deepgram.listening import Message
from simulators.deepgram.policy import FluxPolicy
from simulators.deepgram.words import confidence, float32, guessed

_SAME_S: Final = 1e-6
_PUNCTUATION: Final = '.,?!;:"'
# How sure it is of an end while somebody speaks.
_SPEAKING_CONFIDENCE: Final = 0.02


class Phase(enum.Enum):
    """Where in a turn it is."""

    INITIAL = "between turns"
    SPEAKING = "somebody speaks"
    AWAITING = "the end of the turn is expected"


@attrs.define(kw_only=True)
class TurnTaker:
    """One stream's audio, and what has been said to it.

    words: all that were made out, in order. turn_words: those of the present turn. turn: its index.
    """

    options: FluxOptions
    policy: FluxPolicy
    words: list[tone.HeardWord] = attrs.field(factory=list)
    turn: int = 0
    turn_words: list[tone.HeardWord] = attrs.field(factory=list)
    phase: Phase = Phase.INITIAL
    _ear: tone.Ear = attrs.field(factory=tone.Ear)
    _samples: int = 0
    # Where the present turn's window begins, when a message last told of it, where sound last began and ended.
    _start_s: float = 0.0
    _told_s: float = 0.0
    _sound_from_s: float | None = None
    _sound_s: float = 0.0
    # What was expected to be the whole turn; how often it is still taken back for nothing, and when next.
    _expected: str = ""
    _wavers: int = 0
    _waver_at: float | None = None

    def __attrs_post_init__(self) -> None:
        self._wavers = self.policy.wavers

    @property
    def heard_s(self) -> float:
        """How much audio there was."""
        return self._samples / RATE_HZ

    def hear(self, audio: bytes) -> list[Message]:
        """Hear more audio, and return what is to be said to it."""
        return [message for piece in tone.frames_of(audio) if (message := self._step(piece)) is not None]

    def close(self) -> list[Message]:
        """Answer CloseStream: tell of what was heard since the last message, and end the turn if that is told to be."""
        self._ear.end()
        self._take_words()
        if self.phase is not Phase.INITIAL and self.policy.close_ends_turn:
            return [*self._resumed_if_changed(), self._end("model")]
        return [*self._resumed_if_changed(), self._info("Update")] if self.heard_s > self._told_s else []

    def force(self) -> list[Message]:
        """Answer ForceEndTurn."""
        self._ear.end()
        self._take_words()
        return [] if self.phase is Phase.INITIAL else [*self._resumed_if_changed(), self._end("manual")]

    # One step.

    def _step(self, piece: bytes) -> Message | None:
        from_s = self.heard_s
        self._ear.hear(from_s, piece)
        self._samples += len(piece)
        self._take_words()
        if tone.voiced(piece):
            if self._sound_from_s is None or from_s > self._sound_s + _SAME_S:
                self._sound_from_s = from_s
            self._sound_s = self.heard_s
        message = self._event()
        if message is None and self.heard_s - self._told_s >= self.policy.update_s - _SAME_S:
            message = self._info("Update")
        return message

    def _take_words(self) -> None:
        self.words += self._ear.words
        self.turn_words += self._ear.words
        self._ear.words.clear()

    def _event(self) -> Message | None:
        match self.phase:
            case Phase.INITIAL:
                if self._begins():
                    self.phase = Phase.SPEAKING
                    return self._info("StartOfTurn")
            case Phase.SPEAKING:
                eager, trigger = self.options.eager_eot_threshold, self._over()
                if trigger is not None and not self.policy.wavers:
                    return self._end(trigger)
                if eager is not None and self.turn_words and self._confidence() >= eager - _SAME_S:
                    self.phase, self._expected = Phase.AWAITING, self._text()
                    if self._wavers:
                        self._waver_at = self.heard_s + self.policy.waver_s
                    return self._info("EagerEndOfTurn")
                return None if trigger is None else self._end(trigger)
            case Phase.AWAITING:
                if self._waver_at is not None and self.heard_s >= self._waver_at - _SAME_S:
                    self._wavers -= 1
                    return self._resumed()
                if self._ear.begun_s is not None or self._text() != self._expected:
                    return self._resumed()
                if self._waver_at is None and (trigger := self._over()) is not None:
                    return self._end(trigger)
        return None

    def _begins(self) -> bool:
        begun_s = self._ear.begun_s
        if self.turn_words or (self._ear.guess and begun_s is not None and self._lasts(begun_s)):
            return True
        sounds = self._sound_from_s is not None and self._sound_s == self.heard_s
        return self.policy.starts_on_noise and sounds and self._lasts(self._sound_from_s or 0.0)

    def _lasts(self, since_s: float) -> bool:
        return self.heard_s - since_s >= self.policy.start_s - _SAME_S

    def _over(self) -> str | None:
        """What ends the turn now, if anything."""
        if self._ear.begun_s is not None:
            return None
        threshold = self.options.eot_threshold
        if threshold < 1.0 and self._confidence() >= threshold - _SAME_S:
            return "model"
        quiet_s = self.heard_s - max(self._sound_s, self._start_s)
        return "timeout" if quiet_s >= self.options.eot_timeout_ms / 1000 - _SAME_S else None

    def _confidence(self) -> float:
        quiet_s = self.heard_s - self._sound_s
        if self._ear.begun_s is not None or quiet_s < _SAME_S:
            return _SPEAKING_CONFIDENCE
        last = self.turn_words[-1].text.strip(_PUNCTUATION).lower() if self.turn_words else ""
        sure_s = self.policy.unsure_s if last in self.policy.unfinished else self.policy.sure_s
        return min(1.0, max(_SPEAKING_CONFIDENCE, quiet_s / sure_s))

    def _resumed(self) -> Message:
        self.phase, self._expected, self._waver_at = Phase.SPEAKING, "", None
        return self._info("TurnResumed")

    def _resumed_if_changed(self) -> list[Message]:
        changed = self.phase is Phase.AWAITING and self._text() != self._expected
        return [self._resumed()] if changed else []

    def _end(self, trigger: str) -> Message:
        message = {**self._info("EndOfTurn"), "trigger": trigger}
        self.turn += 1
        self.turn_words, self.phase, self._start_s = [], Phase.INITIAL, self.heard_s
        self._expected, self._wavers, self._waver_at = "", self.policy.wavers, None
        return message

    # The messages.

    def _text(self) -> str:
        return " ".join(word.text for word in self.turn_words)

    def _info(self, event: str) -> Message:
        self._told_s = self.heard_s
        words = [] if self.phase is Phase.INITIAL else [*self.turn_words, *guessed(self._ear, self.heard_s)]
        message: dict[str, object] = {
            "type": "TurnInfo",
            "event": event,
            "turn_index": self.turn,
            "audio_window_start": float32(self._start_s),
            "audio_window_end": float32(self.heard_s),
            "transcript": " ".join(word.text for word in words),
            "words": [self._word(word) for word in words],
            "end_of_turn_confidence": float32(self._confidence()),
        }
        if self.options.model == MULTILINGUAL:
            message["languages"] = ["en"] if words else []
            message["languages_hinted"] = list(self.options.language_hints)
        return message

    def _word(self, word: tone.HeardWord) -> Message:
        shown: dict[str, object] = {"word": word.text, "confidence": float32(confidence(word))}
        if self.policy.word_times:
            start_s, end_s = (max(0.0, each_s + self.policy.shift_s) for each_s in (word.start_s, word.end_s))
            shown |= {"start": float32(start_s), "end": float32(end_s)}
        return shown
