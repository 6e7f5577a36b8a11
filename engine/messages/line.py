"""What passes between a call and its line: frames, marks and keys in; media, marks, clears and the close out."""

import attrs


@attrs.frozen(kw_only=True)
class LineAudio:
    """One frame of the caller's audio, as it was read.

    audio: 160 bytes, 20 ms, 8 kHz mono G.711 µ-law.
    start_s: Twilio's media timestamp, seconds on the call's timeline.
    voiced: whether the voice activity detector at the line heard speech in it.
    own: whether that may be the caller's own: it is not much softer than theirs. Who is softer is heard and answered,
        and does not hold the agent.
    """

    start_s: float
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    voiced: bool
    own: bool = True


@attrs.frozen(kw_only=True)
class LineDtmf:
    """A key that the caller pressed: one of 0-9, *, #, A-D."""

    digit: str = attrs.field(repr=lambda _: "'*'")  # it may be of a card's number


@attrs.frozen(kw_only=True)
class LineMark:
    """A mark that came back: what was queued before it was played, or cleared."""

    name: str


@attrs.frozen(kw_only=True)
class LineEnded:
    """The line is gone: `stop`, a closed socket, or our own close. Nothing follows it.

    reason: "stop", "closed", "hang_up", or what broke.
    """

    reason: str


@attrs.frozen(kw_only=True)
class SendMedia:
    """Ask the line to queue audio for the caller: whole frames of 160 bytes of µ-law."""

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")


@attrs.frozen(kw_only=True)
class SendMark:
    """Ask the line for an echo when all audio queued before was played (or cleared)."""

    name: str


@attrs.frozen(kw_only=True)
class SendClear:
    """Ask the line to drop the audio it has queued; it echoes every outstanding mark at once."""


@attrs.frozen(kw_only=True)
class CloseLine:
    """Ask the line to close the socket after what was sent: the call ends.

    reason: stored as the call's end, "hang_up" when the agent said goodbye.
    """

    reason: str
