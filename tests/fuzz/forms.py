"""Forms: which messages are sound, as the peers' documents have it. Shares no line with the engine's own readers.

A form is a predicate, or a table of fields whose forms they are; a name that ends in "?" may be absent. Fields that no
form names are of no concern. What the engine bears beyond the documents is said where it is.
"""

import base64
import binascii
import itertools
import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

Form: TypeAlias = "Callable[[Any], bool] | Mapping[str, Form]"


def fits(value: Any, form: Form) -> bool:
    """Whether a value is of a form."""
    if not isinstance(form, Mapping):
        return form(value)
    return isinstance(value, dict) and all(
        (name.removesuffix("?") in value or name.endswith("?"))
        and (name.removesuffix("?") not in value or fits(value[name.removesuffix("?")], inner))
        for name, inner in form.items()
    )


def tree(message: str | bytes, *, longest: int) -> dict[str, Any] | None:
    """Return a message's object; None for one that is too long, no JSON, or no object."""

    def no(constant: str) -> None:
        raise ValueError(constant)

    if len(message) > longest:
        return None
    try:
        value = json.loads(message.decode() if isinstance(message, bytes) else message, parse_constant=no)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text(value: Any) -> bool:
    """A string of whole characters."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def flag(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def count(value: Any) -> bool:
    """A whole number of fifteen digits at most, as such or, as the phone network has it, in a string."""
    if isinstance(value, str):
        return re.fullmatch("[0-9]{1,15}", value) is not None
    return type(value) is int and 0 <= value < 10**15


def maybe(form: Form) -> Callable[[Any], bool]:
    """Of the form, or null."""
    return lambda value: value is None or fits(value, form)


def each(form: Form) -> Callable[[Any], bool]:
    """An array of such."""
    return lambda value: isinstance(value, list) and all(fits(item, form) for item in value)


def audio(most_bytes: int) -> Callable[[Any], bool]:
    """Base64 of so many bytes at most, and of one at least; nothing but its alphabet, padded as it should be."""

    def check(value: Any) -> bool:
        try:
            held = base64.b64decode(value, validate=True) if isinstance(value, str) else b""
        except (binascii.Error, ValueError):
            return False
        return 1 <= len(held) <= most_bytes and isinstance(value, str) and len(value) == -(-len(held) // 3) * 4

    return check


def one_of(*allowed: str) -> Callable[[Any], bool]:
    """One of some strings."""
    return lambda value: isinstance(value, str) and value in allowed


# ── Twilio ────────────────────────────────────────────────────────────────────────────────────────────────────────────

LONGEST_OF_TWILIO: Final = 65536


def _sid(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[A-Za-z0-9_-]{1,64}", value) is not None


_SEQUENCED: Final[Mapping[str, Form]] = {"sequenceNumber": count, "streamSid": _sid}
_TWILIO: Final[Mapping[str, Mapping[str, Form]]] = {
    "media": {
        **_SEQUENCED,
        "media": {"track": one_of("inbound"), "chunk": count, "timestamp": count, "payload": audio(8000)},
    },
    "mark": {**_SEQUENCED, "mark": {"name": text}},
    "dtmf": {**_SEQUENCED, "dtmf": {"digit": one_of(*"0123456789*#ABCD")}},
    "stop": {**_SEQUENCED, "stop": {"accountSid": _sid, "callSid": _sid}},
}


def is_sound_twilio(message: str | bytes, stream_sid: str) -> bool:
    """Whether an open stream may be sent this. Events of other names are: the phone network adds some over time.

    Binary frames are never sent; one that holds a sound message does no harm.
    """
    found = tree(message, longest=LONGEST_OF_TWILIO)
    if found is None or not text(found.get("event")):
        return False
    if found["event"] in {"connected", "start"}:
        return False  # there was one
    form = _TWILIO.get(found["event"])
    return form is None or (fits(found, form) and found["streamSid"] == stream_sid)


def is_stop(message: str | bytes, stream_sid: str) -> bool:
    """Whether it ends the stream."""
    found = tree(message, longest=LONGEST_OF_TWILIO)
    return found is not None and found.get("event") == "stop" and is_sound_twilio(message, stream_sid)


# ── Deepgram ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Verdict(Enum):
    """What may become of a vendor's message. The value is how often it may be counted, as a message or as an end."""

    SOUND = (0,)
    BROKEN = (1,)
    EITHER = (0, 1)  # it hangs on what was said before
    ENDS = (2,)  # the vendor's own account of a failure: the session's end is what is counted


LONGEST_OF_DEEPGRAM: Final = 2**20
_LONGEST_S: Final = 1e6
# What a vendor may be ahead of the audio that it was sent, and how exactly that is known here.
_AHEAD_S: Final = 0.5
_DOUBT_S: Final = 0.3


def number(least: float, most: float) -> Callable[[Any], bool]:
    """A number in a range, the ends among it."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def _results(found: dict[str, Any], sent_s: float) -> Verdict:
    seconds = number(0, _LONGEST_S)
    if not fits(found, {"start": seconds, "duration": seconds, "is_final?": maybe(flag)}):
        return Verdict.BROKEN
    if found.get("is_final") and not maybe(flag)(found.get("speech_final")):
        return Verdict.BROKEN  # nobody asks for it where words are not final
    alternatives = found["channel"].get("alternatives") if isinstance(found.get("channel"), dict) else None
    if not isinstance(alternatives, list):
        return Verdict.BROKEN
    if alternatives and not fits(alternatives[0], {"transcript": text}):
        return Verdict.BROKEN
    end_s = found["start"] + found["duration"]
    if alternatives and not _are_words(alternatives[0].get("words"), found["start"] - 1.0, end_s + 1.0):
        return Verdict.BROKEN
    return _in_time(end_s, sent_s)


def _in_time(stream_s: float, sent_s: float) -> Verdict:
    if abs(stream_s - sent_s - _AHEAD_S) < _DOUBT_S:
        return Verdict.EITHER
    return Verdict.BROKEN if stream_s > sent_s + _AHEAD_S else Verdict.SOUND


def _are_words(words: Any, least_s: float, most_s: float, names: tuple[str, ...] = ("punctuated_word", "word")) -> bool:
    """Whether they are in order, and in their window. names: of a word's text; the first that has one counts."""
    if words is None:
        return True
    if not isinstance(words, list):
        return False
    for word in words:
        named = next((name for name in names if isinstance(word, dict) and word.get(name)), names[-1])
        if not fits(word, {named: text, "start": number(max(0.0, least_s), most_s)}):
            return False
        if not number(word["start"], most_s)(word.get("end")):
            return False
        least_s = word["start"]
    return True


def of_deepgram(message: str | bytes, sent_s: float) -> Verdict:
    """Return what may become of a message in a stream of so much audio. Types that nobody knows are sound."""
    found = None if isinstance(message, bytes) else tree(message, longest=LONGEST_OF_DEEPGRAM)
    if found is None or not text(found.get("type")):
        return Verdict.BROKEN
    match found["type"]:
        case "Results":
            return _results(found, sent_s)
        case "UtteranceEnd":
            if not number(-_LONGEST_S, _LONGEST_S)(found.get("last_word_end")):
                return Verdict.BROKEN
            return Verdict.SOUND if _in_time(found["last_word_end"], sent_s) is Verdict.SOUND else Verdict.EITHER
        case _:
            return Verdict.SOUND


class Told(NamedTuple):
    """What may become of a message of Flux's, and where that leaves the stream.

    turn: the one that is open, or the next. number: the next message's; None where nobody can know.
    """

    verdict: Verdict
    turn: int
    number: int | None


def of_flux(message: str | bytes, sent_s: float, turn: int, number: int | None) -> Told:
    """Return what may become of a message in a stream of so much audio, at such a turn and number.

    What is wrong with its number or its words costs neither its text nor its turn. Unknown types and events are sound.
    """
    found = None if isinstance(message, bytes) else tree(message, longest=LONGEST_OF_DEEPGRAM)
    if found is None or not text(found.get("type")) or not maybe(count)(found.get("sequence_id")):
        return Told(Verdict.BROKEN, turn, None)
    own = None if found.get("sequence_id") is None else int(found["sequence_id"])
    due = None if own is None else own + 1
    verdict = Verdict.SOUND
    match found["type"]:
        case "Error":
            return Told(Verdict.ENDS, turn, due)
        case "TurnInfo" if not _is_turn_info(found):
            return Told(Verdict.BROKEN, turn, None)
        case "TurnInfo":
            verdict, turn = _turned(found, sent_s, turn)
    if verdict is Verdict.SOUND and None not in {own, number} and own != number:
        verdict = Verdict.BROKEN
    return Told(verdict, turn, due)


def _is_turn_info(found: dict[str, Any]) -> bool:
    seconds = number(0, _LONGEST_S)
    form: Form = {
        "event": text,
        "turn_index": count,
        "audio_window_start": seconds,
        "audio_window_end": seconds,
        "transcript": text,
    }
    return fits(found, form) and found["audio_window_start"] <= found["audio_window_end"]


def _turned(found: dict[str, Any], sent_s: float, turn: int) -> tuple[Verdict, int]:
    """A turn goes on, or the next one begins, whether or not it was said to. What is late and empty tells nothing."""
    index, end_s = int(found["turn_index"]), found["audio_window_end"]
    is_late = index < turn and not found["transcript"].strip()
    timely = _in_time(end_s, sent_s)
    if timely is Verdict.BROKEN or not (is_late or index in {turn, turn + 1}):
        return Verdict.BROKEN, turn
    if index >= turn:
        turn = index + (found["event"] == "EndOfTurn")
    words = found.get("words")
    if isinstance(words, list):  # up to one without times there may be others
        words = list(itertools.takewhile(_has_times, words))
    if timely is Verdict.SOUND and not _are_words(words, 0.0, end_s + 1.0, ("word",)):
        return Verdict.BROKEN, turn
    return timely, turn


def _has_times(word: Any) -> bool:
    return not isinstance(word, dict) or not (word.get("start") is None or word.get("end") is None)


# ── ElevenLabs ────────────────────────────────────────────────────────────────────────────────────────────────────────

LONGEST_OF_ELEVENLABS: Final = 4 * 2**20
_MS: Final = number(0, 3_600_000)


def _is_alignment(value: Any) -> bool:
    form = {"chars": each(text), "charStartTimesMs": each(_MS), "charDurationsMs": each(_MS)}
    return fits(value, form) and len(value["chars"]) == len(value["charStartTimesMs"]) == len(value["charDurationsMs"])


def of_elevenlabs(message: str | bytes, is_open: Callable[[str], bool]) -> Verdict:
    """Return what may become of a message on a socket with such contexts.

    An alignment that makes no sense is counted, and costs no audio. The normalised one is read where that is empty.
    """
    found = None if isinstance(message, bytes) else tree(message, longest=LONGEST_OF_ELEVENLABS)
    if found is None:
        return Verdict.BROKEN
    told = {name for name in ("error", "message", "code") if found.get(name) is not None}
    if "error" in told or told == {"message", "code"}:
        return Verdict.ENDS if all(text(found[name]) for name in told - {"code"}) else Verdict.BROKEN
    if not text(found.get("contextId")) or not maybe(flag)(found.get("isFinal")):
        return Verdict.BROKEN
    sound = found.get("audio")
    if sound is not None and sound != "" and not audio(LONGEST_OF_ELEVENLABS)(sound):
        return Verdict.BROKEN
    if not is_open(found["contextId"]):
        return Verdict.BROKEN
    for name in ("alignment", "normalizedAlignment"):
        if found.get(name) is not None and not _is_alignment(found[name]):
            return Verdict.BROKEN
        if found.get(name) is not None and any(found[name]["chars"]):
            break
    return Verdict.EITHER if found.get("isFinal") else Verdict.SOUND  # a final may come too early


# ── Claude ────────────────────────────────────────────────────────────────────────────────────────────────────────────

LONGEST_OF_CLAUDE: Final = 4 * 2**20
DEEPEST_ARGUMENTS: Final = 32


def _events(body: bytes) -> list[tuple[str, str | bytes]]:
    """Return the events of a stream, each with its name and its data."""
    events, name, data = [], "", list[bytes]()
    for line in body.split(b"\n")[:-1]:
        whole = line.removesuffix(b"\r")
        if not whole:
            events.append((name, b"\n".join(data)))
            name, data = "", []
            continue
        field, _, value = whole.partition(b":")
        if field == b"event":
            name = value.removeprefix(b" ").decode(errors="replace")
        elif field == b"data":
            data.append(value.removeprefix(b" "))
    return events  # type: ignore[return-value]


def _depth(value: Any) -> int:
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0


def _are_arguments(pieces: str) -> bool:
    """Whether a tool can be called with them, and they can be stored and shown again."""
    found = tree(pieces.strip() or "{}", longest=LONGEST_OF_CLAUDE)
    try:
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
        return found is not None and _depth(found) <= DEEPEST_ARGUMENTS
    except (ValueError, RecursionError):
        return False


def of_claude(body: bytes) -> Verdict:
    """Return what may become of a reply: SOUND up to its `message_stop`, or a failure, which is counted once."""
    if len(body) > LONGEST_OF_CLAUDE:
        return Verdict.BROKEN
    blocks: dict[int, dict[str, Any]] = {}
    stop = None
    name_form = lambda value: text(value) and 1 <= len(value) <= 128  # noqa: E731 - a form, as the others are
    for name, data in _events(body):
        if name not in {"content_block_start", "content_block_delta", "content_block_stop", "message_delta", "error"}:
            if name == "message_stop":
                called = [block for block in blocks.values() if block["type"] == "tool_use" and stop == "tool_use"]
                whole = all(block["over"] and _are_arguments(block["json"]) for block in called)
                return Verdict.SOUND if stop is not None and whole else Verdict.BROKEN
            continue
        found = tree(data, longest=LONGEST_OF_CLAUDE)
        if found is None:
            return Verdict.BROKEN
        if name == "error":
            return Verdict.BROKEN
        if name == "message_delta":
            if not fits(found, {"delta": {"stop_reason?": maybe(text)}}):
                return Verdict.BROKEN
            stop = found["delta"].get("stop_reason") or stop
            if found["delta"].get("stop_reason") == "":
                stop = None
            continue
        if not count(found.get("index")):
            return Verdict.BROKEN
        index = int(found["index"])
        if name == "content_block_start":
            tool: dict[str, Form] = {"id": name_form, "name": name_form}
            block: dict[str, Any] = found.get("content_block") or {}
            if index in blocks or not fits(block, {"type": text}):
                return Verdict.BROKEN
            if block["type"] == "tool_use" and not fits(block, tool):
                return Verdict.BROKEN
            if block["type"] == "text" and not fits(block, {"text?": text}):
                return Verdict.BROKEN
            blocks[index] = {"type": block["type"], "json": "", "over": False}
            continue
        if index not in blocks or blocks[index]["over"]:
            return Verdict.BROKEN
        if name == "content_block_stop":
            blocks[index]["over"] = True
            continue
        if not fits(found, {"delta": {"type": text}}):
            return Verdict.BROKEN
        match blocks[index]["type"], found["delta"]["type"]:
            case "text", "text_delta":
                if not fits(found["delta"], {"text": text}):
                    return Verdict.BROKEN
            case "tool_use", "input_json_delta":
                if not fits(found["delta"], {"partial_json": text}):
                    return Verdict.BROKEN
                blocks[index]["json"] += found["delta"]["partial_json"]
            case _:
                pass
    return Verdict.BROKEN
