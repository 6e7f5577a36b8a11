"""A streamed reply of Claude's, from the bytes of its body to what the engine is told. Pure.

The vendor's own reader of events is not used: it takes 18 µs for a piece of text, half of them to build a model of it,
where this one takes 9; it keeps a line of any length; and what a broken message raises out of it is anybody's guess.

Source: Messages API, "streaming", and the event-stream format of the HTML standard, both read 2026-11.
"""

import json
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import attrs

from engine.codec.wire import LARGEST_COUNT, Fields, shortened
from engine.messages.conversation import Json
from engine.messages.errors import WireError
from engine.messages.model import ModelEnded, ModelText, ModelToolCall, ModelUsage
from engine.providers.claude.prompt import LONGEST_NAME
from engine.providers.contract import ModelEvent

LONGEST_REPLY_BYTES: Final = 4 * 2**20
"""As much of a body as is read: a token takes 130 bytes of it, so this is 30 000 of them, two hours of speech."""

DEEPEST: Final = 32
"""Levels of a tool's arguments: more than any tool has, and so few that whoever walks through them later comes back."""

_Stop: TypeAlias = Literal["end_turn", "tool_use", "max_tokens", "refusal"]

# A pause is for tools that run at the vendor, and there are none. What is not known by name has ended all the same.
_STOPS: Final[Mapping[str, _Stop]] = {
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}


# Where the vendor counts what it has read: anew, into its cache, out of it.
_READ: Final = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


class StreamBroken(Exception):
    """The vendor ended the reply with an error of its own: `kind` is its type, `text` what it says."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


@attrs.define
class _Line:
    """A body of events, line by line: LF or CRLF ends one, wherever the body is cut."""

    rest: bytearray = attrs.field(factory=bytearray)
    name: bytes = b""
    data: list[bytes] = attrs.field(factory=list)

    def push(self, chunk: bytes) -> list[tuple[bytes, bytes]]:
        """Return the name and the data of each event that `chunk` completes."""
        *lines, rest = chunk.split(b"\n")
        events: list[tuple[bytes, bytes]] = []
        for end in lines:
            self.rest += end
            line = bytes(self.rest).removesuffix(b"\r")
            self.rest.clear()
            if not line:
                events.append((self.name, b"\n".join(self.data)))
                self.name, self.data = b"", []
                continue
            field, _, value = line.partition(b":")
            if field == b"data":
                self.data.append(value.removeprefix(b" "))
            elif field == b"event":
                self.name = value.removeprefix(b" ")
        self.rest += rest
        return events


@attrs.define(kw_only=True)
class _Block:
    """A part of the reply: text, a tool's call, or what is not for us.

    json: the pieces of a tool's arguments.
    """

    kind: str
    id: str = ""
    name: str = ""
    json: list[str] = attrs.field(factory=list)
    is_whole: bool = False


@attrs.define(kw_only=True)
class Reader:
    """A reply so far.

    request: what every event of it carries.
    taken: ids that tools were called by before, in the same call: none is given twice.
    is_ended: nothing comes any more.
    """

    request: str
    taken: set[str] = attrs.field(factory=set)
    is_ended: bool = False
    _received_bytes: int = 0
    _lines: _Line = attrs.field(factory=_Line)
    _blocks: dict[int, _Block] = attrs.field(factory=dict)
    _stop: str = ""
    # What it has cost so far, by the vendor's names.
    _usage: dict[str, int] = attrs.field(factory=dict)

    def opened(self, content_type: str) -> None:
        """Begin. Raises WireError for a body that is something else, a page of a proxy's."""
        if not content_type.startswith("text/event-stream"):
            raise WireError(f"it is {shortened(content_type)}; text/event-stream allowed")

    def closed(self) -> None:
        """End. Raises WireError if there should have been more."""
        if not self.is_ended:
            raise WireError("it ended before message_stop")

    def push(self, chunk: bytes) -> list[ModelEvent]:
        """Return what the next bytes of the body say. A tool is called only once all is said, and said to be for tools.

        Raises WireError for what is no reply of the vendor's, StreamBroken for an error in its place.
        """
        self._received_bytes += len(chunk)
        if self._received_bytes > LONGEST_REPLY_BYTES:
            raise WireError(f"it is longer than {LONGEST_REPLY_BYTES} bytes")
        events: list[ModelEvent] = []
        for name, data in self._lines.push(chunk):
            if not self.is_ended:
                events += self._read(name, data)
        return events

    def _read(self, name: bytes, data: bytes) -> list[ModelEvent]:
        match name:
            case b"content_block_delta":
                return self._more(_fields(data))
            case b"content_block_start":
                fields = _fields(data)
                return self._begins(fields.count("index"), fields.inner("content_block"))
            case b"content_block_stop":
                self._block(_fields(data)).is_whole = True
            case b"message_start":
                return self._costs(_usage_at_start(data))
            case b"message_delta":
                fields = _fields(data)
                delta = fields.inner("delta")
                if delta.values.get("stop_reason") is not None:
                    self._stop = delta.text("stop_reason")
                return self._costs(fields.values.get("usage"))
            case b"message_stop":
                return self._ends()
            case b"error":
                error = _fields(data).inner("error")
                raise StreamBroken(error.text("type"), error.text("message"))
            case _:
                pass  # ping, and whatever else will be invented
        return []

    def _costs(self, usage: object) -> list[ModelEvent]:
        """Return what it has cost so far. What is no number is not counted: a wrong account is no wrong reply."""
        if not isinstance(usage, dict):
            return []
        for name in (*_READ, "output_tokens"):
            count = usage.get(name)
            if type(count) is int and 0 <= count <= LARGEST_COUNT:
                self._usage[name] = count
        input_tokens = sum(self._usage.get(name, 0) for name in _READ)
        output_tokens = self._usage.get("output_tokens", 0)
        return [ModelUsage(request=self.request, input_tokens=input_tokens, output_tokens=output_tokens)]

    def _begins(self, index: int, fields: Fields) -> list[ModelEvent]:
        if index in self._blocks:
            raise WireError(f"block {index} begins twice")
        block = _Block(kind=fields.text("type"))
        self._blocks[index] = block
        if block.kind == "tool_use":
            block.id, block.name = fields.text("id"), fields.text("name")
            for field in ("id", "name"):
                if not 1 <= len(fields.text(field)) <= LONGEST_NAME:
                    fields.refuse(field, f"1 to {LONGEST_NAME} characters")
            # The line ends here: what was said before the call is spoken while that is being written.
            return [ModelText(request=self.request, text="\n")]
        return self._text(fields.text("text")) if block.kind == "text" and "text" in fields.values else []

    def _more(self, fields: Fields) -> list[ModelEvent]:
        block, delta = self._block(fields), fields.inner("delta")
        match block.kind, delta.text("type"):
            case "text", "text_delta":
                return self._text(delta.text("text"))
            case "tool_use", "input_json_delta":
                block.json.append(delta.text("partial_json"))
                # A call comes once it is whole; who writes a long one is not silent till then.
                return [ModelText(request=self.request, text="")] if block.json[-1] else []
            case _:
                pass  # thinking, citations
        return []

    def _block(self, fields: Fields) -> _Block:
        block = self._blocks.get(fields.count("index"))
        if block is None or block.is_whole:
            fields.refuse("index", "a block that is open")
        return block

    def _text(self, text: str) -> list[ModelEvent]:
        return [ModelText(request=self.request, text=text)] if text else []

    def _ends(self) -> list[ModelEvent]:
        if not self._stop:
            raise WireError("message_stop came without a stop_reason")
        self.is_ended = True
        stop = _STOPS.get(self._stop, "end_turn")
        ended = ModelEnded(request=self.request, stop=stop)
        # Cut short or refused, what a tool was to be called with may not be what was meant.
        calls = [block for block in self._blocks.values() if block.kind == "tool_use"] if stop == "tool_use" else []
        return [*map(self._call, calls), ended]

    def _call(self, block: _Block) -> ModelToolCall:
        if not block.is_whole:
            raise WireError(f"the reply ended within a call of {shortened(block.name)}")
        arguments = _arguments("".join(block.json))
        # The vendor's ids are unique; should one come twice, its second call is not the first one asked again.
        id_ = block.id
        while id_ in self.taken:
            id_ = f"{self.request}_{id_}"
        self.taken.add(id_)
        return ModelToolCall(request=self.request, id=id_, name=block.name, arguments=arguments)


def _usage_at_start(data: bytes) -> object:
    """Return the account that a reply begins with; None where it cannot be read: nothing else of that is needed."""
    try:
        return _fields(data).inner("message").values.get("usage")
    except WireError:
        return None


def _fields(data: bytes) -> Fields:
    return Fields.read(data, longest=LONGEST_REPLY_BYTES)


def _arguments(text: str) -> dict[str, Json]:
    """Return a tool's arguments. Raises WireError for what cannot be stored and shown to the vendor again."""
    values = Fields.read(text.strip() or "{}", longest=LONGEST_REPLY_BYTES).values
    arguments = {name: _json(value, DEEPEST - 1) for name, value in values.items()}
    try:
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:  # infinity, by way of 1e999; half of a surrogate pair
        raise WireError(f"arguments {shortened(arguments)} hold what json has no word for") from error
    return arguments


def _json(value: object, levels: int) -> Json:
    """Return the value. Raises WireError if it is nested more than ``levels`` deep."""
    match value:
        case dict() | list() if not levels:
            raise WireError(f"arguments are nested more than {DEEPEST} levels deep")
        case dict():
            return {name: _json(each, levels - 1) for name, each in value.items()}
        case list():
            return [_json(each, levels - 1) for each in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            raise WireError(f"arguments hold {shortened(value)}")
