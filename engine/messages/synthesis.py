"""Text to speech: what is asked of a voice's session, what it answers, and what the Pacer is given."""

import attrs

from engine.messages.recognition import Word


@attrs.frozen(kw_only=True)
class Synthesise:
    """Ask the session to speak `text`. Pieces are spoken one after another, in the order asked."""

    turn: int
    index: int
    text: str


@attrs.frozen(kw_only=True)
class EndSynthesis:
    """Tell the session that turn `turn` has no more pieces: it may close what it holds open for them."""

    turn: int


@attrs.frozen(kw_only=True)
class CancelSynthesis:
    """Ask the session to forget every piece of turn `turn` and before."""

    turn: int


@attrs.frozen(kw_only=True)
class Synthesised:
    """Some more audio of a piece: µ-law, 8 kHz, any number of bytes.

    words: those whose audio ends within what has been sent so far and were not named before; seconds from
    the first sample of this piece as it was asked of this session. Empty where the vendor gives no times.
    """

    turn: int
    index: int
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    words: tuple[Word, ...] = ()


@attrs.frozen(kw_only=True)
class SynthesisEnded:
    """The whole of a piece has been sent."""

    turn: int
    index: int


@attrs.frozen(kw_only=True)
class AgentAudio:
    """Some more audio of a piece, for the Pacer; `words` as in `Synthesised`, from the piece's first sample."""

    turn: int
    index: int
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    words: tuple[Word, ...] = ()


@attrs.frozen
class VoiceDied:
    """The voice's session has ended: the next one begins with the word after the last whole one."""


@attrs.frozen(kw_only=True)
class AgentAudioTrimmed:
    """The voice died in the middle of a word: only the first `keep_bytes` of the piece's audio stand.

    What comes next begins with that word.
    """

    turn: int
    index: int
    keep_bytes: int


@attrs.frozen(kw_only=True)
class AgentAudioEnded:
    """The piece has all its audio."""

    turn: int
    index: int
