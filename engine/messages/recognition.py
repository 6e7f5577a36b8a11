"""Speech to text: what is asked of a recogniser's session, what it answers, and what the call hears of it."""

import attrs


@attrs.frozen(kw_only=True)
class Word:
    """A word and where it lies: seconds on the call's timeline, or from a sentence's first sample."""

    text: str
    start_s: float
    end_s: float


@attrs.frozen(kw_only=True)
class Recognise:
    """Ask the session to hear this audio (µ-law, 8 kHz), which begins at `start_s` on the call's timeline."""

    start_s: float
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")


@attrs.frozen(kw_only=True)
class Finalise:
    """Ask the session for a final transcript of everything it was sent, now."""


@attrs.frozen(kw_only=True)
class Recognised:
    """What a session heard.

    text, words: words may be empty where a vendor gives no times.
    start_s, end_s: the stretch it speaks of, on the call's timeline.
    is_final: these words will not change; audio up to `covered_s` need never be sent again.
    speech_final: the vendor believes that the speaker has finished.
    speech_ending: it expects so, and may take it back: then the next one is without.
    semantic: it judges by what is said, not by silence alone: its `speech_final` needs no silence on top.
    covered_s: transcription has passed this moment. Never falls within a session.
    """

    text: str
    words: tuple[Word, ...] = ()
    start_s: float
    end_s: float
    is_final: bool
    speech_final: bool
    covered_s: float
    speech_ending: bool = False
    semantic: bool = False


@attrs.frozen(kw_only=True)
class Transcript:
    """The caller's words, each final one exactly once and in order, whatever happened to the sessions.

    Fields as in `Recognised`. An empty final one says only how far transcription has come.
    """

    text: str
    words: tuple[Word, ...] = ()
    start_s: float
    end_s: float
    is_final: bool
    speech_final: bool
    covered_s: float
    speech_ending: bool = False
    semantic: bool = False
