"""The multi-context wire: what is sent, built from the SDK's models, and what comes, read field by field.

The SDK's models of what comes are not used: they refuse the null audio that the vendor sends, turn `"5"` into 5, and
know no limits. A model costs 40 µs to build and write, once for a piece of a reply. It writes the fields that were
given, null ones too, so nothing is given that is not meant.
"""

import re
from typing import Final, TypeAlias

import attrs
from elevenlabs.types import (
    CloseContext,
    CloseSocket,
    InitializeConnectionMulti,
    KeepContextAlive,
    RealtimeVoiceSettings,
    SendTextMulti,
)

from engine.codec.wire import Fields
from engine.messages.errors import WireError

# Six minutes of audio in base64; the vendor speaks a sentence a message, or less. Read in one go, so not larger.
LONGEST_MESSAGE: Final = 4 * 2**20
# Of one message: five minutes of speech.
_MOST_LETTERS: Final = 5_000
_LONGEST_MS: Final = 3_600_000

# What waiting, or a new connection, mends: in the vendor's names, with spaces, or in its words. It comes first, because
# a vendor that is asked too much at once speaks of subscriptions too.
_PASSING: Final = re.compile(
    r"concurren|simultaneous|active conversations|timeout|timed out|busy|went wrong|input message"
)
# What only the operator mends.
_LASTING: Final = re.compile(
    r"api key|authori[sz]|permission|unusual activity|quota|credit|payment|subscription|\bonly for\b"
    r"|\b(voice|model)\b(?! settings).*\b(not (found|exist|allowed|supported)|invalid|unknown|unsupported|incompatible)"
    r"|\b(invalid|unknown|unsupported|incompatible|no such)\b.*\b(voice|model)\b(?! settings)",
    re.DOTALL,
)

Settings: TypeAlias = RealtimeVoiceSettings | None
"""What is set of a voice; None where nothing is."""

Letter: TypeAlias = tuple[str, float, float]
"""A character, and where its sound begins and ends: seconds from the first sample of its message."""


@attrs.frozen(kw_only=True)
class Sound:
    """Some audio of a context (µ-law, 8 kHz), or none.

    letters: those that the message says its audio holds; they may reach beyond it.
    final: nothing more comes of this context.
    flaw: what was wrong with the letters, which are left out then; "" if nothing was.
    """

    context: str
    audio: bytes = attrs.field(default=b"", repr=lambda audio: f"<{len(audio)} bytes>")
    letters: tuple[Letter, ...] = ()
    final: bool = False
    flaw: str = ""


@attrs.frozen(kw_only=True)
class Failure:
    """The vendor's own account of what it does not like; the socket closes after it.

    error: its name for it. message: its words.
    """

    error: str
    message: str

    @property
    def lasts(self) -> bool:
        """Whether the same again will not work: the key, the quota, the voice or the model."""
        said = f"{self.error} {self.message}"[:1000].replace("_", " ").lower()
        return _LASTING.search(said) is not None and _PASSING.search(said) is None


def opening(context: str, settings: Settings) -> str:
    """Return what begins a context: the one message that may carry settings, its text a single space."""
    if settings is None:
        return InitializeConnectionMulti(text=" ", context_id=context).json()
    return InitializeConnectionMulti(text=" ", context_id=context, voice_settings=settings).json()


def speaking(context: str, text: str) -> str:
    """Return what has `text` spoken, now: a space ends the last word, and the flush leaves nothing to wait for."""
    # Half of a surrogate pair, which a model may spell, cannot be sent.
    words = text.encode(errors="replace").decode().split()
    return SendTextMulti(text=f"{' '.join(words)} ", context_id=context, flush=True).json()


def closing(context: str) -> str:
    """Return what says that no more text comes; what was flushed is still spoken."""
    return CloseContext(context_id=context, close_context=True).json()


def keeping_context(context: str) -> str:
    """Return what resets a context's inactivity."""
    return KeepContextAlive(text="", context_id=context).json()


def keeping_socket() -> str:
    """Return what resets the socket's inactivity while no context is open."""
    return SendTextMulti(text="").json()


def closing_socket() -> str:
    """Return what has the vendor close the socket, once what was flushed has been spoken."""
    return CloseSocket(close_socket=True).json()


def read(message: str | bytes) -> Sound | Failure:
    """Return what a message says. Raises WireError for one that says nothing."""
    if isinstance(message, bytes):
        raise WireError(f"binary message of {len(message)} bytes; text allowed")
    fields = Fields.read(message, longest=LONGEST_MESSAGE)
    told = {name for name in ("error", "message", "code") if fields.values.get(name) is not None}
    if "error" in told or told == {"message", "code"}:
        return Failure(
            error=fields.text("error") if "error" in told else "",
            message=fields.text("message") if "message" in told else "",
        )
    context = fields.text("contextId")
    final = fields.values.get("isFinal")
    if final is not None and not isinstance(final, bool):
        fields.refuse("isFinal", "true, false or null")
    audio = b""
    if fields.values.get("audio") not in (None, ""):
        audio = fields.base64("audio", most_bytes=LONGEST_MESSAGE)
    letters: tuple[Letter, ...] = ()
    flaw = ""
    try:
        letters = _letters(fields, "alignment") or _letters(fields, "normalizedAlignment")
    except WireError as error:  # the audio is good without
        flaw = str(error)
    return Sound(context=context, audio=audio, letters=letters, final=bool(final), flaw=flaw)


def _letters(fields: Fields, name: str) -> tuple[Letter, ...]:
    if fields.values.get(name) is None:
        return ()
    alignment = fields.inner(name)
    chars = alignment.texts("chars")
    starts_ms = _times(alignment, "charStartTimesMs")
    lasting_ms = _times(alignment, "charDurationsMs")
    if not len(chars) == len(starts_ms) == len(lasting_ms) <= _MOST_LETTERS:
        lengths = f"{len(chars)}, {len(starts_ms)} and {len(lasting_ms)}"
        raise WireError(f"field '{name}' holds arrays of {lengths}; equal lengths up to {_MOST_LETTERS} allowed")
    return tuple(
        (char, start_ms / 1000, (start_ms + for_ms) / 1000)
        for entry, start_ms, for_ms in zip(chars, starts_ms, lasting_ms, strict=True)
        for char in entry
    )


def _times(alignment: Fields, name: str) -> list[float]:
    if name not in alignment.values:
        raise WireError(f"field '{alignment.path}{name}' is missing")
    times = alignment.values[name]
    if not isinstance(times, list) or not all(map(_is_time, times)):
        alignment.refuse(name, f"an array of numbers from 0 to {_LONGEST_MS}")
    return times


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST_MS
