"""What Deepgram says to the audio it hears: windows, words, endpoints. No clock: its time is the audio's own.

Theory of operation. Audio is heard in steps of at most 20 ms. A window is open from the end of the last final one; it
is closed, and its words are final, when endpointing has heard enough silence after sound, when somebody has spoken for
`window_s`, or when it was asked for. A window that is closed in the middle of a word ends where the word began: the
word belongs to the next. In between, an interim tells every second what the window holds so far.
"""

from typing import Final

import attrs

from simulators import tone
from simulators.audio import RATE_HZ
from simulators.deepgram.listening import Message, Said
from simulators.deepgram.policy import DeepgramPolicy
from simulators.deepgram.request import Options
from simulators.deepgram.words import confidence, float32, guessed

_SAME_S: Final = 1e-6
# Sound after so much silence is reported anew; and the report's time is late by so much.
_NEW_SPEECH_S = 0.3
_VAD_LATE_S = 0.1
_PUNCTUATION: Final = '.,?!;:"'


@attrs.define(kw_only=True)
class Transcriber:
    """One stream's audio, and what has been said to it.

    words: all that were made out, in order, whether final yet or not.
    """

    options: Options
    policy: DeepgramPolicy
    metadata: Message
    words: list[tone.HeardWord] = attrs.field(factory=list)
    _ear: tone.Ear = attrs.field(factory=tone.Ear)
    _samples: int = 0
    # The open window: its beginning, its words, where sound began in it, and when a Results last told of it.
    _start_s: float = 0.0
    _window: list[tone.HeardWord] = attrs.field(factory=list)
    _sound_from_s: float | None = None
    _told_s: float = 0.0
    _interim: Message | None = None
    # The utterance: where sound last was, whether there was any since the last speech_final, whether its end was told.
    _sound_s: float = -1.0
    _speaking: bool = False
    _last_word_s: float | None = None
    _end_told: bool = True

    @property
    def heard_s(self) -> float:
        """How much audio there was."""
        return self._samples / RATE_HZ

    def hear(self, audio: bytes) -> list[Said]:
        """Hear more audio, and return what is to be said to it."""
        said: list[Said] = []
        for piece in tone.frames_of(audio):
            said += self._hear(piece)
        return said

    def finalize(self) -> list[Said]:
        """Answer Finalize: settle what there is, were it in the middle of a word."""
        if not self.policy.answers_finalize or self.heard_s - self._start_s < _SAME_S:
            return []
        self._end_word()
        return self._final(self.heard_s, speech_final=self.policy.finalize_is_speech_final, from_finalize=True)

    def close(self) -> list[Said]:
        """Answer CloseStream: settle what there is, if there is anything."""
        self._end_word()
        return self._final(self.heard_s, speech_final=self._speaking) if self._window or self._speaking else []

    # One step.

    def _hear(self, piece: bytes) -> list[Said]:
        from_s = self.heard_s
        self._ear.hear(from_s, piece)
        self._samples += len(piece)
        self._take_words()
        said: list[Said] = []
        if tone.voiced(piece):
            if self.options.vad_events and (self._sound_s < 0 or from_s - self._sound_s >= _NEW_SPEECH_S):
                said.append(self._speech_started(from_s))
            self._sound_s = self.heard_s
            self._speaking = True
            self._sound_from_s = from_s if self._sound_from_s is None else self._sound_from_s
        return [*said, *self._results(), *self._utterance_end()]

    def _take_words(self) -> None:
        """Take the words that the ear has made out into the window."""
        for word in self._ear.words:
            self.words.append(word)
            self._window.append(word)
            self._last_word_s, self._end_told = word.end_s, False
        self._ear.words.clear()

    def _end_word(self) -> None:
        self._ear.end()
        self._take_words()

    def _results(self) -> list[Said]:
        now_s, endpointing_s = self.heard_s, self.options.endpointing_s
        quiet_s = now_s - self._sound_s
        if (
            self._speaking
            and endpointing_s is not None
            and not self.policy.noisy
            and quiet_s >= endpointing_s - _SAME_S
        ):
            return self._final(now_s, speech_final=True) if quiet_s > _SAME_S else []
        since_s = self._start_s if self._sound_from_s is None else self._sound_from_s
        if now_s - since_s >= self.policy.window_s - _SAME_S:
            begun_s = self._ear.begun_s
            until_s = now_s if begun_s is None else begun_s
            if until_s > self._start_s + _SAME_S:
                silent = self._sound_from_s is None and endpointing_s is not None
                return self._final(until_s, speech_final=silent and self.policy.silent_speech_final)
        if self.options.interim_results and now_s - self._told_s >= self.policy.interim_s - _SAME_S:
            self._told_s = now_s
            self._interim = self._message(now_s, self._guessed(), is_final=False)
            return [Said(self.policy.interim_late_s, self._interim)]
        return []

    def _final(self, until_s: float, *, speech_final: bool, from_finalize: bool = False) -> list[Said]:
        """Close the window."""
        message = self._message(
            until_s, self._window, is_final=True, speech_final=speech_final, from_finalize=from_finalize
        )
        late_s = self.policy.final_late_s
        again = [Said(late_s, self._interim)] if self.policy.repeats_interims and self._interim is not None else []
        self._start_s = self._told_s = until_s
        self._window = []
        self._sound_from_s = until_s if self._ear.begun_s is not None else None
        self._interim = None
        self._speaking = self._speaking and not speech_final
        return [Said(late_s, message), *again]

    def _utterance_end(self) -> list[Said]:
        wanted_s, last_s = self.options.utterance_end_s, self._last_word_s
        if wanted_s is None or last_s is None or self._end_told or self._ear.begun_s is not None:
            return []
        if self.heard_s - last_s < wanted_s - _SAME_S:
            return []
        self._end_told = True
        is_stale = not self._window and not self._speaking
        told_s = -1 if is_stale and not self.policy.stale_utterance_end else float32(last_s)
        message = {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": told_s}
        settled = self._final(self.heard_s, speech_final=False) if self._window else []
        self._speaking = False
        return [*settled, Said(self.policy.utterance_end_late_s, message, in_order=False)]

    # The messages.

    def _speech_started(self, from_s: float) -> Said:
        message = {"type": "SpeechStarted", "channel": [0, 1], "timestamp": float32(from_s + _VAD_LATE_S)}
        return Said(self.policy.interim_late_s, message)

    def _guessed(self) -> list[tone.HeardWord]:
        """Return the window's words with what the one in progress seems to be."""
        return [*self._window, *guessed(self._ear, self.heard_s)] if self.policy.rewrites else self._window

    def _message(
        self,
        until_s: float,
        words: list[tone.HeardWord],
        *,
        is_final: bool,
        speech_final: bool = False,
        from_finalize: bool = False,
    ) -> Message:
        shown = [self._word(word) for word in words]
        texts = [str(each.get("punctuated_word", each["word"])) for each in shown]
        sure = [confidence(word) for word in words]
        alternative: dict[str, object] = {
            "transcript": " ".join(texts),
            "confidence": float32(sum(sure) / len(sure)) if sure else 0.0,
            "words": shown,
        }
        message: dict[str, object] = {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": float32(until_s - self._start_s),
            "start": float32(self._start_s),
            "is_final": is_final,
            "speech_final": speech_final,
            "channel": {"alternatives": [alternative]},
            "metadata": self.metadata,
            "from_finalize": from_finalize,
        }
        return {**message, "mood": {"colour": "blue"}} if self.policy.strange else message

    def _word(self, word: tone.HeardWord) -> dict[str, object]:
        raw = word.text if word.text == tone.GARBLED else (word.text.strip(_PUNCTUATION).lower() or word.text)
        shown: dict[str, object] = {
            "word": raw,
            "start": float32(word.start_s),
            "end": float32(word.end_s),
            "confidence": float32(confidence(word)),
        }
        return {**shown, "punctuated_word": word.text} if self.options.punctuated else shown
