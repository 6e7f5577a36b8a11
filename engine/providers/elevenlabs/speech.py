"""One context's speech: which of its audio is whose, and where the words lie in it.

Theory of operation. The pieces of a reply go into one context, and their audio comes out of it as one stream. What
parts it is the alignment: the letters of a message, with times from that message's first sample. They are followed
through the text; the first letter of a piece is where the piece before it ends. Marks may be missing or written
otherwise. Where the letters are not those of the text (numbers read out), they are lost until a whole word is met
again: what lies between shares the moment of that word. Audio without letters is the present piece's. All audio is
handed on as it comes, so no judgement here can lose any.

When has a piece ended? The wire has no word for it before a context's final, and the final comes only once the reply
is known to be over. So, of a piece whose sound has begun:
- at once, when a later piece's first letter lies within the audio that has come, or with the final;
- WHOLE: all its letters lie within that audio. It ends when nothing more has come for a moment: the tail of its last
  sound is there, and a filler, a mark or a hang-up behind it need not wait for a model that is still thinking;
- DOUBTFUL: audio has come, but letters do not account for it. After a longer moment whatever was asked counts as
  spoken: to ask again would say it twice;
- SHORT: letters account for the audio and some are still to come. It never ends by silence: the vendor has stalled.
"""

import enum
from collections.abc import Iterable
from typing import Final

import attrs

from engine.codec.telephony import RATE_HZ
from engine.messages.recognition import Word
from engine.messages.synthesis import Synthesised, SynthesisEnded
from engine.providers.contract import VoiceEvent
from engine.providers.elevenlabs.wire import Letter

# Words that are looked ahead for one that is met again: more than a date or a price has when it is read out.
_REACH_WORDS: Final = 8
# Characters of one; the rest of a longer one is not remembered.
_LONGEST_WORD: Final = 60
# Audio after the last letter that a pause explains; more of it holds words whose letters never came.
_PAUSE_S: Final = 0.5
# How far the last letter may end beyond the last audio, where both were rounded.
_ROUNDED_S: Final = 0.1
# The vendor's times are whole milliseconds: a sound may end half of one later. Cut sooner, it loses its last samples.
_HALF_S: Final = 0.0005


class Rest(enum.Enum):
    """What is still to come of the present piece, by its letters."""

    WHOLE = "nothing"
    DOUBTFUL = "unknown"
    SHORT = "more"


@attrs.define(eq=False)
class _Word:
    """A word of the text.

    letters: how many of its characters reach to its last letter or digit; what follows are marks.
    start_s, end_s: where its sound lies in the context's, as far as its letters have come.
    placed: all of them have.
    """

    text: str
    piece: "_Piece" = attrs.field(repr=False)
    letters: int
    start_s: float | None = None
    end_s: float = 0.0
    placed: bool = False


@attrs.define(eq=False)
class _Piece:
    """A piece of the reply. `begin_bytes`: where its sound begins in the context's, once that is known."""

    index: int
    words: list[_Word] = attrs.field(factory=list)
    named: int = 0
    begin_bytes: int | None = None

    @property
    def last(self) -> _Word:
        """The last word that can be heard."""
        return next(word for word in reversed(self.words) if word.letters)


class Speech:
    """The pieces of one context that have not ended. Every word is named once, by the end of its piece."""

    def __init__(self, turn: int) -> None:
        self._turn = turn
        self._pieces: list[_Piece] = []
        self._received_bytes = 0
        # Invariant: words before `_at` are placed; `_within` characters of the one at it have been met.
        self._script: list[_Word] = []
        self._at = 0
        self._within = 0
        # Where the newest letter or space ends, once there was any.
        self._told_s: float | None = None
        # Since when the letters are not those of the text.
        self._lost_s: float | None = None
        # What came since the last space, and where its sound lies.
        self._token: list[Letter] = []

    @property
    def owes(self) -> bool:
        """Whether there are pieces that have not ended."""
        return bool(self._pieces)

    @property
    def rest(self) -> Rest:
        """What is still to come of the present piece."""
        received_s = self._received_bytes / RATE_HZ
        if self._lost_s is not None or self._told_s is None or received_s - self._told_s > _PAUSE_S:
            return Rest.DOUBTFUL
        last = self._pieces[0].last
        spoken = last.placed or (self._script[self._at] is last and self._within >= last.letters)
        return Rest.WHOLE if spoken and last.end_s <= received_s + _ROUNDED_S else Rest.SHORT

    def add(self, index: int, text: str) -> None:
        """Expect the sound of one more piece, which has a letter at least, after those before it."""
        piece = _Piece(index, begin_bytes=None if self._pieces else self._received_bytes)
        piece.words = [_Word(word, piece, _letters(word)) for word in text.split()]
        self._pieces.append(piece)
        self._script += piece.words

    def hear(self, audio: bytes, letters: Iterable[Letter]) -> list[VoiceEvent]:
        """Take what a message holds, and return what it adds. Audio that comes when nothing is owed is dropped."""
        at = begin = self._received_bytes
        for char, start_s, end_s in letters:
            self._follow(char, begin / RATE_HZ + start_s, begin / RATE_HZ + end_s)
        self._received_bytes = begin + len(audio)
        events: list[VoiceEvent] = []
        while self._pieces:
            present, *others = self._pieces
            cut = others[0].begin_bytes if others else None
            if cut is None or cut > self._received_bytes:
                return events + self._said(present, audio[at - begin :])
            cut = max(cut, at)
            events += self._said(present, audio[at - begin : cut - begin], ends_at=cut)
            at = cut
        return events

    def settle(self) -> list[VoiceEvent]:
        """Return the end of what the silence shows to have ended: the present piece, or all where that is unknown."""
        count = len(self._pieces) if self.rest is Rest.DOUBTFUL else 1
        return self._finished(self._pieces[:count])

    def finish(self) -> tuple[list[VoiceEvent], bool]:
        """Return the end of all pieces that the context's end ends, and whether others were never spoken."""
        spoken: list[_Piece] = []
        if self._pieces and self._pieces[0].begin_bytes != self._received_bytes:
            spoken = self._pieces[:] if self.rest is Rest.DOUBTFUL else self._pieces[:1]
        events = self._finished(spoken)
        return events, bool(self._pieces)

    def _finished(self, pieces: list[_Piece]) -> list[VoiceEvent]:
        return [event for piece in pieces for event in self._said(piece, b"", ends_at=self._received_bytes)]

    def _said(self, piece: _Piece, audio: bytes, *, ends_at: int | None = None) -> list[VoiceEvent]:
        """Return a piece's next audio with the words that it completes; all that are left if the piece ends there."""
        upto = self._received_bytes if ends_at is None else ends_at
        begin_s = (upto if piece.begin_bytes is None else piece.begin_bytes) / RATE_HZ
        upto_s = upto / RATE_HZ
        words: list[Word] = []
        for word in piece.words[piece.named :]:
            if ends_at is None and not (word.placed and round(word.end_s * RATE_HZ) <= upto):
                break
            end_s = max(0.0, min(word.end_s + _HALF_S if word.placed else upto_s, upto_s) - begin_s)
            start_s = end_s if word.start_s is None else max(0.0, word.start_s - begin_s)
            words.append(Word(text=word.text, start_s=min(start_s, end_s), end_s=end_s))
        piece.named += len(words)
        events: list[VoiceEvent] = []
        if audio or words:
            events.append(Synthesised(turn=self._turn, index=piece.index, audio=audio, words=tuple(words)))
        if ends_at is not None:
            events.append(SynthesisEnded(turn=self._turn, index=piece.index))
            self._leave(piece, ends_at)
        return events

    def _leave(self, piece: _Piece, ends_at: int) -> None:
        """Go on with the piece after this one, which has ended."""
        self._pieces.remove(piece)
        if self._pieces:
            self._pieces[0].begin_bytes = ends_at
        if self._at < len(self._script) and self._script[self._at].piece is piece:
            self._at = self._script.index(piece.words[-1], self._at) + 1
            self._within = 0
            self._lost_s = None
            self._token = []

    # Following the letters.

    def _follow(self, char: str, start_s: float, end_s: float) -> None:
        """Take one character of the alignment."""
        self._told_s = end_s
        if char.isspace():
            if self._lost_s is not None:
                self._find()
            self._token = []
            return
        if len(self._token) < _LONGEST_WORD:
            self._token.append((char, start_s, end_s))
        if self._lost_s is None and self._at < len(self._script) and not self._met(char, start_s, end_s):
            self._lost_s = start_s

    def _met(self, char: str, start_s: float, end_s: float) -> bool:
        """Whether a character is the text's next one. A mark always is: the text has it, or can do without."""
        while self._at < len(self._script):
            word = self._script[self._at]
            within = self._within
            while char.isalnum() and within < len(word.text) and not word.text[within].isalnum():
                within += 1  # a mark that was not spoken of
            expected = word.text[within : within + 1]
            if expected and (_same(char, expected) or not (char.isalnum() or expected.isalnum())):
                if not self._within:
                    word.start_s = start_s
                    self._enter(word, start_s)
                word.end_s = max(word.end_s, end_s)
                self._within = within + 1
                if self._within == len(word.text):
                    self._next()
                return True
            if not char.isalnum():
                return True
            if self._within < word.letters:
                return False
            self._next()
        return True

    def _find(self) -> None:
        """Look for the token that has just ended among the next words, and go on after it."""
        key = _key("".join(char for char, _, _ in self._token))
        ahead = self._script[self._at : self._at + _REACH_WORDS]
        found = next((word for word in ahead if key and _key(word.text) == key), None)
        if found is None or self._lost_s is None:
            return
        start_s, end_s = self._token[0][1], max(end_s for _, _, end_s in self._token)
        for word in ahead[: ahead.index(found)]:
            self._enter(word, self._lost_s)
            word.start_s = self._lost_s if word.start_s is None else word.start_s
            word.end_s = start_s
            self._next()
        self._enter(found, start_s)
        found.start_s, found.end_s = start_s, end_s
        self._next()
        self._lost_s = None

    def _enter(self, word: _Word, start_s: float) -> None:
        """Note where a piece begins, when this is its first word."""
        if word is word.piece.words[0] and word.piece.begin_bytes is None:
            word.piece.begin_bytes = round(start_s * RATE_HZ)

    def _next(self) -> None:
        """Go on to the next word. The one at hand does not end before the one before it."""
        word = self._script[self._at]
        if word is not word.piece.words[0]:
            word.end_s = max(word.end_s, self._script[self._at - 1].end_s)
        word.placed = True
        self._at += 1
        self._within = 0


def _letters(word: str) -> int:
    return max((place for place, char in enumerate(word, 1) if char.isalnum()), default=0)


def _key(word: str) -> str:
    return "".join(filter(str.isalnum, word)).lower()


def _same(one: str, other: str) -> bool:
    return one == other or one.lower() == other.lower()
