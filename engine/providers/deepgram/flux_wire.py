"""Flux's messages: what is said is written by the vendor's own model, what comes is read field by field.

The SDK's models are not used for reading, for the reasons that `wire` gives. A kind of message, an event or a field
that nobody knows yet is no mistake: the vendor says that there will be more.
"""

import enum
from typing import Final, TypeAlias

import attrs
from deepgram.listen.v2.types import ListenV2CloseStream

from engine.codec.wire import Fields, shortened
from engine.messages.errors import WireError
from engine.providers.deepgram.fields import Complaint, StreamWord, array, complaint, item, number

CLOSE_STREAM: Final = ListenV2CloseStream(type="CloseStream").json()

# A word ends in its window; this much beyond, a clock may differ. Further, its times mean nothing.
_OUTSIDE_S: Final = 1.0


class Event(enum.Enum):
    """What a TurnInfo tells of. UPDATE stands for any that is not known, too."""

    UPDATE = "Update"
    START_OF_TURN = "StartOfTurn"
    EAGER_END_OF_TURN = "EagerEndOfTurn"
    TURN_RESUMED = "TurnResumed"
    END_OF_TURN = "EndOfTurn"


@attrs.frozen(kw_only=True)
class Connected:
    """The vendor is ready for audio. request_id: its own name for the stream."""

    request_id: str


@attrs.frozen(kw_only=True)
class TurnInfo:
    """What was heard of a turn: all of it so far, each time.

    turn: from 0, one more after each END_OF_TURN. start_s, end_s: seconds from the first byte of the stream.
    words: empty where they have no times, or none that make sense; `flaw` says why then, the text is good without.
    """

    event: Event
    turn: int
    start_s: float
    end_s: float
    text: str
    words: tuple[StreamWord, ...]
    flaw: str = ""


@attrs.frozen(kw_only=True)
class Failure:
    """The vendor gives up; it closes the connection next. code: its own name for it."""

    code: str
    text: str


Message: TypeAlias = Connected | TurnInfo | Complaint | Failure


@attrs.frozen
class Numbered:
    """A message and its number: from 0, one more for each that the vendor sends. None: of no kind, without a number."""

    sequence: int | None
    message: Message | None


def read(message: str | bytes, *, longest: int) -> Numbered:
    """Return what a message says; nothing for one of a kind that nobody knows. Raises WireError for nonsense."""
    if isinstance(message, bytes):
        raise WireError(f"message of {len(message)} bytes is binary; text allowed")
    fields = Fields.read(message, longest=longest)
    kind = fields.text("type")
    sequence = fields.count("sequence_id") if fields.values.get("sequence_id") is not None else None
    return Numbered(sequence, _message(kind, fields))


def _message(kind: str, fields: Fields) -> Message | None:
    match kind:
        case "TurnInfo":
            return _turn_info(fields)
        case "Connected":
            return Connected(request_id=shortened(fields.values.get("request_id")).strip("'"))
        case "Error":
            code = fields.values.get("code")
            return Failure(code=code if isinstance(code, str) else "", text=complaint(kind, fields).text)
        case "Warning" | "ConfigureFailure":
            return complaint(kind, fields)
        case _:
            return None


def _turn_info(fields: Fields) -> TurnInfo:
    start_s = number(fields, "audio_window_start")
    end_s = number(fields, "audio_window_end", start_s)
    words: tuple[StreamWord, ...] = ()
    flaw = ""
    try:
        words = _words(fields, end_s + _OUTSIDE_S)
    except WireError as error:
        flaw = str(error)
    name = fields.text("event")
    return TurnInfo(
        event=_EVENTS.get(name, Event.UPDATE),
        turn=fields.count("turn_index"),
        start_s=start_s,
        end_s=end_s,
        text=fields.text("transcript").strip(),
        words=words,
        flaw=flaw,
    )


_EVENTS: Final = {event.value: event for event in Event}


def _words(fields: Fields, most_s: float) -> tuple[StreamWord, ...]:
    """Return the words; none if one has no times. Raises WireError unless they are in order and in their window."""
    listed = [] if fields.values.get("words") is None else array(fields, "words")
    words, least_s = [], 0.0
    for at in range(len(listed)):
        word = item(fields, "words", at, listed)
        if word.values.get("start") is None or word.values.get("end") is None:
            return ()
        start_s = number(word, "start", least_s, most_s)
        words.append(StreamWord(text=word.text("word"), start_s=start_s, end_s=number(word, "end", start_s, most_s)))
        least_s = start_s
    return tuple(words)
