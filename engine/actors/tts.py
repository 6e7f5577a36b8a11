"""TTS: has the agent's sentences spoken, every word once, whatever becomes of the voice."""

from typing import Self, TypeAlias, assert_never

import attrs

from engine.codec.telephony import RATE_HZ
from engine.messages.caller import LineClosed
from engine.messages.recognition import Word
from engine.messages.records import Timing
from engine.messages.reply import ReplyEnded, Sentence
from engine.messages.supervision import NEVER, SessionInfo, Tick
from engine.messages.synthesis import (
    AgentAudio,
    AgentAudioEnded,
    AgentAudioTrimmed,
    CancelSynthesis,
    EndSynthesis,
    Synthesise,
    Synthesised,
    SynthesisEnded,
)
from engine.messages.turns import BargedIn

Inbox: TypeAlias = Sentence | ReplyEnded | BargedIn | Synthesised | SynthesisEnded | LineClosed | Tick


@attrs.frozen(kw_only=True)
class Piece:
    """A sentence that is not wholly spoken yet.

    words: whole words whose audio was passed on, timed from the piece's first sample.
    passed_bytes: audio passed on. held: audio that waits for the end, of a voice that does not say which words it
        holds.
    resumed_bytes: where in the piece the present session's audio begins.
    """

    turn: int
    index: int
    text: str
    words: tuple[Word, ...] = ()
    passed_bytes: int = 0
    held: bytes = attrs.field(default=b"", repr=lambda audio: f"<{len(audio)} bytes>")
    resumed_bytes: int = 0

    @property
    def rest(self) -> str:
        """The words that no audio was passed on for. A voice's words are those of the text, split at spaces."""
        return " ".join(self.text.split()[len(self.words) :])

    @property
    def whole_bytes(self) -> int:
        """Where the audio of the last whole word ends."""
        return min(self.passed_bytes, round(self.words[-1].end_s * RATE_HZ)) if self.words else 0


@attrs.frozen(kw_only=True)
class TTS:
    """What the voice is owed: the sentences that were asked for and not wholly spoken."""

    # Invariant: in the order asked, which is the order spoken; none of a turn that is over.
    pieces: tuple[Piece, ...] = ()
    over: int = -1
    # The newest turn that has no more sentences to come.
    ended: int = -1
    aligned: bool = False

    @property
    def deadline(self) -> float:
        """Never: it is woken by sentences and by sound."""
        return NEVER

    def handle(self, message: Inbox, now: float) -> tuple[Self, list[object]]:
        """Return the core that follows `message`, and what it sends."""
        match message:
            case Sentence(turn=turn, index=index, text=text):
                if turn <= self.over:
                    return self, []
                core = attrs.evolve(self, pieces=(*self.pieces, Piece(turn=turn, index=index, text=text)))
                return core, [Synthesise(turn=turn, index=index, text=text)]
            case ReplyEnded(turn=turn):
                if turn <= self.over:
                    return self, []
                return attrs.evolve(self, ended=max(self.ended, turn)), [EndSynthesis(turn=turn)]
            case Synthesised():
                return self._spoken(message, now)
            case SynthesisEnded(turn=turn, index=index):
                return self._ended(turn, index, now)
            case BargedIn(turn=turn):
                kept = tuple(piece for piece in self.pieces if piece.turn > turn)
                return attrs.evolve(self, pieces=kept, over=max(self.over, turn)), [CancelSynthesis(turn=turn)]
            case LineClosed():
                last = max((piece.turn for piece in self.pieces), default=self.over)
                return attrs.evolve(self, pieces=(), over=last), [CancelSynthesis(turn=last), message]
            case Tick():
                return self, []
            case _:
                assert_never(message)

    @property
    def owing(self) -> bool:
        """Whether there is something to be said."""
        return bool(self.pieces)

    def started(self, session: SessionInfo, now: float) -> tuple[Self, list[object]]:  # noqa: ARG002
        """Ask the new session for the words that no audio was passed on for, and have the cut one trimmed."""
        pieces: list[Piece] = []
        effects: list[object] = []
        for piece in self.pieces:
            whole = piece.whole_bytes
            if whole < piece.passed_bytes:
                effects.append(AgentAudioTrimmed(turn=piece.turn, index=piece.index, keep_bytes=whole))
            if piece.rest:
                again = attrs.evolve(piece, passed_bytes=whole, resumed_bytes=whole, held=b"")
                pieces.append(again)
                effects.append(Synthesise(turn=piece.turn, index=piece.index, text=piece.rest))
            else:
                effects.append(AgentAudioEnded(turn=piece.turn, index=piece.index))
        asked = dict.fromkeys(piece.turn for piece in pieces if piece.turn <= self.ended)
        effects += [EndSynthesis(turn=turn) for turn in asked]
        return attrs.evolve(self, pieces=tuple(pieces), aligned=session.aligned), effects

    def _piece(self, turn: int, index: int) -> Piece | None:
        return next((piece for piece in self.pieces if (piece.turn, piece.index) == (turn, index)), None)

    def _with(self, old: Piece, *new: Piece) -> Self:
        at = self.pieces.index(old)
        return attrs.evolve(self, pieces=(*self.pieces[:at], *new, *self.pieces[at + 1 :]))

    def _spoken(self, sound: Synthesised, now: float) -> tuple[Self, list[object]]:
        piece = self._piece(sound.turn, sound.index)
        if piece is None:
            return self, []  # of a turn that is over
        if not self.aligned:
            return self._with(piece, attrs.evolve(piece, held=piece.held + sound.audio)), []
        from_s = piece.resumed_bytes / RATE_HZ
        words = tuple(
            attrs.evolve(word, start_s=word.start_s + from_s, end_s=word.end_s + from_s) for word in sound.words
        )
        longer = attrs.evolve(piece, words=(*piece.words, *words), passed_bytes=piece.passed_bytes + len(sound.audio))
        return self._with(piece, longer), _audio(piece, sound.audio, words, now)

    def _ended(self, turn: int, index: int, now: float) -> tuple[Self, list[object]]:
        piece = self._piece(turn, index)
        if piece is None:
            return self, []
        held = _audio(piece, piece.held, (), now) if piece.held else []
        return self._with(piece), [*held, AgentAudioEnded(turn=turn, index=index)]

    def fresh(self, suspect: Self) -> Self:
        """Return a new core that owes what the suspect owed."""
        return attrs.evolve(self.bare(suspect), pieces=tuple(suspect.pieces), aligned=bool(suspect.aligned))

    def bare(self, suspect: Self) -> Self:
        """Return a new core that knows which turns are over."""
        return attrs.evolve(self, over=int(suspect.over), ended=int(suspect.ended))


def _audio(piece: Piece, audio: bytes, words: tuple[Word, ...], now: float) -> list[object]:
    passed: list[object] = [AgentAudio(turn=piece.turn, index=piece.index, audio=audio, words=words)]
    if audio and piece.passed_bytes == 0 and piece.index == 0:
        passed.append(Timing(turn=piece.turn, stage="first_audio", at_s=now))
    return passed
