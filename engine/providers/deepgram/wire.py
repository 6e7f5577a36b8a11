"""Deepgram's messages: what is asked is written by the vendor's own models, what it says is read field by field.

The SDK's models are not used for reading. They want fields that nobody here reads (`metadata`, `confidence`,
`channel_index`), so that a vendor that leaves one out would cost the caller's words; they take NaN for a time; and
they take five times as long (Results of eight words: 85 µs, against 17 µs by `Fields`; unchecked, as the SDK's own
client reads, 480 µs). What they say of a well-formed message is what the tests compare with.
"""

from typing import Final, TypeAlias

import attrs
from deepgram.listen.v1.types import ListenV1CloseStream, ListenV1Finalize, ListenV1KeepAlive

from engine.codec.wire import Fields
from engine.messages.errors import WireError
from engine.providers.deepgram.fields import LONGEST_S, Complaint, StreamWord, array, complaint, flag, item, number

KEEP_ALIVE: Final = ListenV1KeepAlive(type="KeepAlive").json()
FINALIZE: Final = ListenV1Finalize(type="Finalize").json()
CLOSE_STREAM: Final = ListenV1CloseStream(type="CloseStream").json()

# Words lie in their window; this much beyond, a clock may differ. Further, their times mean nothing.
_OUTSIDE_S: Final = 1.0


@attrs.frozen(kw_only=True)
class Results:
    """What was heard in a window of the stream. A window with no words is heard too.

    start_s, end_s: seconds from the first byte of the stream.
    words: empty also where their times make no sense; `flaw` says why then, the text is good without.
    """

    text: str
    words: tuple[StreamWord, ...]
    start_s: float
    end_s: float
    is_final: bool
    speech_final: bool
    flaw: str = ""


@attrs.frozen(kw_only=True)
class UtteranceEnd:
    """No new words for a while. last_word_end_s: in seconds of the stream; negative when the vendor has none."""

    last_word_end_s: float


Message: TypeAlias = Results | UtteranceEnd | Complaint


def read(message: str | bytes, *, longest: int) -> Message | None:
    """Return what a message says; None for one of a kind that nobody asked for. Raises WireError for nonsense."""
    if isinstance(message, bytes):
        raise WireError(f"message of {len(message)} bytes is binary; text allowed")
    fields = Fields.read(message, longest=longest)
    match fields.text("type"):
        case "Results":
            return _results(fields)
        case "UtteranceEnd":
            return UtteranceEnd(last_word_end_s=number(fields, "last_word_end", least=-LONGEST_S))
        case "Error" | "ConfigureFailure" as kind:
            return complaint(kind, fields)
        case _:
            return None


def _results(fields: Fields) -> Results:
    start_s = number(fields, "start")
    end_s = start_s + number(fields, "duration")
    best = _best(fields.inner("channel"))
    text = best.text("transcript").strip()
    words: tuple[StreamWord, ...] = ()
    flaw = ""
    try:
        words = _words(best, start_s - _OUTSIDE_S, end_s + _OUTSIDE_S)
    except WireError as error:
        flaw = str(error)
    is_final = flag(fields, "is_final")
    return Results(
        text=text,
        words=words,
        start_s=start_s,
        end_s=end_s,
        is_final=is_final,
        speech_final=is_final and flag(fields, "speech_final"),
        flaw=flaw,
    )


def _best(channel: Fields) -> Fields:
    """Return the first alternative; of none, one that holds nothing."""
    alternatives = array(channel, "alternatives")
    return item(channel, "alternatives", 0, alternatives) if alternatives else Fields({"transcript": ""})


def _words(best: Fields, least_s: float, most_s: float) -> tuple[StreamWord, ...]:
    """Return the words. Raises WireError unless they are in order and in their window."""
    listed = [] if best.values.get("words") is None else array(best, "words")
    words = []
    for at in range(len(listed)):
        word = item(best, "words", at, listed)
        name = "punctuated_word" if word.values.get("punctuated_word") else "word"
        start_s = number(word, "start", least=max(0.0, least_s), most=most_s)
        words.append(StreamWord(text=word.text(name), start_s=start_s, end_s=number(word, "end", start_s, most_s)))
        least_s = start_s
    return tuple(words)
