"""What the caller does, on the call's own timeline (Twilio's media timestamps, in seconds)."""

import attrs


@attrs.frozen(kw_only=True)
class CallerAudio:
    """The caller's audio from `start_s` to `end_s`: G.711 µ-law, 8 kHz mono, usually 160 bytes.

    voiced: the line's detector heard a voice in it.
    """

    start_s: float
    end_s: float
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    voiced: bool = True


@attrs.frozen(kw_only=True)
class SpeechStarted:
    """The caller began to make a voiced sound at `at_s`; sent a few frames later, when it is sure."""

    at_s: float


@attrs.frozen(kw_only=True)
class SpeechLasted:
    """The caller's sound goes on: unbroken from `from_s` to `to_s`. Sent every so often while it does."""

    from_s: float
    to_s: float


@attrs.frozen(kw_only=True)
class SpeechStopped:
    """The last voiced frame ended at `at_s`; sent after enough silence to be sure."""

    at_s: float


@attrs.frozen(kw_only=True)
class Dtmf:
    """The caller pressed a key at `at_s`."""

    digit: str = attrs.field(repr=lambda _: "'*'")  # it may be of a card's number
    at_s: float


@attrs.frozen(kw_only=True)
class MarkEcho:
    """A mark came back when the line's clock (the last inbound media) stood at `at_s`."""

    name: str
    at_s: float


@attrs.frozen(kw_only=True)
class LineClosed:
    """The line is gone. Flows down the whole path, and what each actor still owes goes before it."""

    reason: str
    at_s: float
