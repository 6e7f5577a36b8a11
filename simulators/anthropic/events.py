"""The events of an answer, with when each is due: the stream as a value, before anything is sent."""

import json
import math
import random
import string
from collections.abc import Iterator
from typing import Final

import attrs

from simulators.anthropic.cache import InputTokens
from simulators.anthropic.reply import Json, Reply, Text, UseTool, tokens
from simulators.anthropic.request import MessagesRequest, signed

_ID_CHARACTERS: Final = string.ascii_letters + string.digits


@attrs.frozen(kw_only=True)
class Latency:
    """How long the simulated model takes. All seconds count from the moment when the request was read.

    started_s: until the status line and message_start.
    first_token_s: until the first piece of the answer.
    thinking_s: how much later that is when it thinks first.
    between_tokens_s, tokens_per_piece: a token is made in so long; they are sent together, so many at a time. The first
        piece waits only for the first token, as the later ones wait for theirs: text comes in bursts.
    The defaults are about what a fast model does without a cached prompt.
    """

    started_s: float = 0.25
    first_token_s: float = 0.4
    thinking_s: float = 1.0
    between_tokens_s: float = 0.01
    tokens_per_piece: int = 4

    def pieces(self, text: str) -> list[tuple[float, str]]:
        """When each piece of a text that opens an answer is due, without thinking: what a measurement subtracts."""
        return [
            (self.first_token_s + before * self.between_tokens_s, piece)
            for before, piece in _pieces(tokens(text), self.tokens_per_piece)
        ]


INSTANT: Final = Latency(started_s=0, first_token_s=0, thinking_s=0, between_tokens_s=0, tokens_per_piece=1)


@attrs.frozen(kw_only=True)
class Event:
    """One event. due_s: since the request was read. tokens: how many have been generated once it is sent."""

    due_s: float
    tokens: int
    data: dict[str, Json]

    @property
    def name(self) -> str:
        """Its name on the wire."""
        return str(self.data["type"])


@attrs.define
class Ids:
    """Makes up identifiers, the same ones at every run of a seed."""

    _random: random.Random

    def make(self, kind: str) -> str:
        """An identifier of a kind: `msg`, `toolu`, `req`."""
        return f"{kind}_01{''.join(self._random.choices(_ID_CHARACTERS, k=22))}"


def events(reply: Reply, request: MessagesRequest, cost: InputTokens, latency: Latency, ids: Ids) -> Iterator[Event]:
    """The events of a whole answer, pings aside."""
    return _Stream(reply, request, cost, latency, ids).events()


def message(stream: list[Event]) -> dict[str, Json]:
    """The body that says at once what these events say: the answer to a request without `stream`."""
    whole = dict(_object(stream[0].data["message"]))
    blocks: list[dict[str, Json]] = []
    texts: list[str] = []
    for event in stream:
        match event.name:
            case "content_block_start":
                blocks.append(dict(_object(event.data["content_block"])))
                texts.append("")
            case "content_block_delta":
                delta = _object(event.data["delta"])
                if delta["type"] == "signature_delta":
                    blocks[-1]["signature"] = delta["signature"]
                else:
                    texts[-1] += str(next(value for name, value in delta.items() if name != "type"))
            case "message_delta":
                whole |= _object(event.data["delta"])
                whole["usage"] = _object(whole["usage"]) | _object(event.data["usage"])
            case _:
                pass
    for block, text in zip(blocks, texts, strict=True):
        if block["type"] == "tool_use":
            block["input"] = json.loads(text or "{}")
        else:
            block[str(block["type"])] = text
    return whole | {"content": list(blocks)}


class _Stream:
    """One answer being told: what has been generated, and what may still be."""

    def __init__(self, reply: Reply, request: MessagesRequest, cost: InputTokens, latency: Latency, ids: Ids) -> None:
        self._reply = reply
        self._request = request
        self._cost = cost
        self._latency = latency
        self._ids = ids
        self._budget = min(request.max_tokens, math.inf if reply.limit_tokens is None else reply.limit_tokens)
        self._generated = 0
        self._thought = 0
        self._index = 0
        self._stop: tuple[str, str | None] | None = None  # why it stopped early, and at which sequence

    def events(self) -> Iterator[Event]:
        yield Event(due_s=self._latency.started_s, tokens=0, data={"type": "message_start", "message": self._message()})
        if self._request.max_tokens == 0:  # only the cache was to be warmed
            self._stop = ("max_tokens", None)
        if self._request.thinks and self._stop is None:
            yield from self._thinking()
        for block in self._reply.blocks:
            if self._stop is None:
                yield from self._text(block) if isinstance(block, Text) else self._tool(block)
        yield self._event({"type": "message_delta", "delta": self._delta(), "usage": self._usage()})
        yield self._event({"type": "message_stop"})

    def _thinking(self) -> Iterator[Event]:
        shown = self._reply.thinking if self._request.shows_thinking else ""
        yield self._start({"type": "thinking", "thinking": "", "signature": ""})
        made = self._within_budget(tokens(self._reply.thinking))
        self._thought = self._generated = len(made)
        if shown:
            shown = "".join(made)
            yield self._block_delta({"type": "thinking_delta", "thinking": shown})
        signature = signed(self._request.signature, shown)
        yield self._block_delta({"type": "signature_delta", "signature": signature})
        yield self._end()

    def _text(self, block: Text) -> Iterator[Event]:
        text, stop = self._until_stop_sequence(block.text)
        if not text:
            self._stop = stop
            return
        yield self._start({"type": "text", "text": ""})
        for due_s, piece in self._made(self._within_budget(tokens(text))):
            yield self._block_delta({"type": "text_delta", "text": piece}, due_s=due_s)
        self._stop = self._stop or stop
        yield self._end()

    def _tool(self, block: UseTool) -> Iterator[Event]:
        id_ = block.id or self._ids.make("toolu")
        yield self._start({"type": "tool_use", "id": id_, "name": block.name, "input": {}})
        yield self._block_delta({"type": "input_json_delta", "partial_json": ""})
        made = tokens(json.dumps(block.input, ensure_ascii=False)) if block.input else []
        for due_s, piece in self._made(self._within_budget(made)):
            yield self._block_delta({"type": "input_json_delta", "partial_json": piece}, due_s=due_s)
        yield self._end()

    def _within_budget(self, made: list[str]) -> list[str]:
        """As many tokens as may still be generated; if that is not all, the answer stops with them."""
        left = int(min(self._budget - self._generated, len(made)))
        if left < len(made):
            self._stop = ("max_tokens", None)
        return made[:left]

    def _made(self, made: list[str]) -> Iterator[tuple[float, str]]:
        """The tokens in pieces, each with when it is due, counted as they are taken."""
        before = self._generated
        for at, piece in _pieces(made, self._latency.tokens_per_piece):
            self._generated = before + at
            due_s = self._now()
            self._generated = min(before + at + self._latency.tokens_per_piece, before + len(made))
            yield due_s, piece

    def _until_stop_sequence(self, text: str) -> tuple[str, tuple[str, str | None] | None]:
        """A text up to the first of the request's stop sequences in it, and that sequence as why it stops."""
        found = [(text.index(each), each) for each in self._request.stop_sequences if each in text]
        if not found:
            return text, None
        at, sequence = min(found)
        return text[:at], ("stop_sequence", sequence)

    def _now(self) -> float:
        """When the next token is made."""
        first_s = self._latency.first_token_s if self._reply.first_token_s is None else self._reply.first_token_s
        thought_s = self._latency.thinking_s if self._thought else 0.0
        return first_s + thought_s + (self._generated - self._thought) * self._latency.between_tokens_s

    def _start(self, block: dict[str, Json]) -> Event:
        return self._event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _block_delta(self, delta: dict[str, Json], *, due_s: float | None = None) -> Event:
        return self._event({"type": "content_block_delta", "index": self._index, "delta": delta}, due_s=due_s)

    def _end(self) -> Event:
        event = self._event({"type": "content_block_stop", "index": self._index})
        self._index += 1
        return event

    def _event(self, data: dict[str, Json], *, due_s: float | None = None) -> Event:
        return Event(due_s=self._now() if due_s is None else due_s, tokens=self._generated, data=data)

    def _message(self) -> dict[str, Json]:
        cost = self._cost
        return {
            "id": self._ids.make("msg"),
            "type": "message",
            "role": "assistant",
            "model": self._request.model.id,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": {
                "input_tokens": cost.plain,
                "cache_creation_input_tokens": cost.written_5m + cost.written_1h,
                "cache_read_input_tokens": cost.read,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": cost.written_5m,
                    "ephemeral_1h_input_tokens": cost.written_1h,
                },
                "output_tokens": min(1, self._request.max_tokens),
                "service_tier": "standard",
            },
        }

    def _delta(self) -> dict[str, Json]:
        uses_tools = any(isinstance(block, UseTool) for block in self._reply.blocks)
        reason, sequence = self._stop or (self._reply.stop_reason or ("tool_use" if uses_tools else "end_turn"), None)
        delta: dict[str, Json] = {"stop_reason": reason, "stop_sequence": sequence}
        if reason == "refusal":
            details: dict[str, Json] = {"category": self._reply.category, "explanation": self._reply.explanation}
            delta["stop_details"] = {"type": "refusal", **details}
        return delta

    def _usage(self) -> dict[str, Json]:
        usage: dict[str, Json] = {"output_tokens": self._generated}
        if self._thought:
            usage["output_tokens_details"] = {"thinking_tokens": self._thought}
        return usage


def _pieces(made: list[str], size: int) -> Iterator[tuple[int, str]]:
    """Tokens joined by so many, each with how many come before it."""
    return ((at, "".join(made[at : at + size])) for at in range(0, len(made), size))


def _object(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict), f"an object was put there, not {value!r}"
    return value
