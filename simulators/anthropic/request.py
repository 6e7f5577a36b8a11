"""A request to the Messages API: what is refused, and what a mind is told of one that is not.

The grammar says which fields there are; the rules below it say what must hold between them. Both refuse with the
vendor's status and error type; the texts are its own where they are known.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final, NoReturn

import attrs

from simulators.anthropic.checks import (
    Check,
    InvalidError,
    anything,
    boolean,
    fields_of,
    json_schema,
    list_of,
    matching,
    nullable,
    number,
    one_of,
    record,
    table,
    tagged,
    text,
    text_or,
    tool_schema,
    whole,
)
from simulators.anthropic.http import HttpRequest
from simulators.anthropic.models import ClaudeModel
from simulators.anthropic.reply import Json, Refuse

PATH: Final = "/v1/messages"
LARGEST_BODY_BYTES: Final = 32 * 2**20
NEWEST: Final = "2026-10-21"
_VERSIONS: Final = frozenset({"2023-06-01", NEWEST})
_MOST_MARKERS: Final = 4
_LEAST_BUDGET_TOKENS: Final = 1024
_ANY_NUMBER: Final = 2**53
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_SAMPLING: Final = ("temperature", "top_p", "top_k")

# ── the grammar ───────────────────────────────────────────────────────────────────────────────────────────────────────

_MARKER: Final = nullable(record({"type": one_of("ephemeral")}, {"ttl": one_of("5m", "1h")}))
_CACHED: Final[Mapping[str, Check]] = {"cache_control": _MARKER}
_ID: Final = matching(r"[a-zA-Z0-9_-]+")
_TOOL_NAME: Final = matching(r"[a-zA-Z0-9_-]{1,128}")
_KIND: Final[Mapping[str, Check]] = {"type": text}  # `tagged` has looked at it


def _spoken(value: Json, path: str) -> None:
    text(value, path)
    if value == "":
        raise InvalidError(path.rpartition(".")[0], "text content blocks must be non-empty")
    if isinstance(value, str) and not value.strip():
        raise InvalidError(path.rpartition(".")[0], "text content blocks must contain non-whitespace text")


_SOURCE: Final = tagged(dict.fromkeys(("base64", "url", "text", "content", "file"), table))
_TEXT: Final = record({**_KIND, "text": _spoken}, {**_CACHED, "citations": nullable(list_of(table))})
_IMAGE: Final = record({**_KIND, "source": _SOURCE}, {**_CACHED, "transformations": nullable(table)})
_DOCUMENT: Final = record(
    {**_KIND, "source": _SOURCE},
    {**_CACHED, "citations": nullable(table), "context": nullable(text), "title": nullable(text)},
)
_RESULT_CONTENT: Final = text_or(list_of(tagged({"text": _TEXT, "image": _IMAGE, "document": _DOCUMENT})))
_TOOL_RESULT: Final = record(
    {**_KIND, "tool_use_id": _ID},
    {**_CACHED, "content": _RESULT_CONTENT, "is_error": boolean, "toolset_name": nullable(text)},
)
_TOOL_USE: Final = record(
    {**_KIND, "id": _ID, "name": _TOOL_NAME, "input": table},
    {**_CACHED, "caller": table, "toolset_name": nullable(text)},
)
_BLOCKS: Final[Mapping[str, Mapping[str, Check]]] = {
    "user": {"text": _TEXT, "image": _IMAGE, "document": _DOCUMENT, "tool_result": _TOOL_RESULT},
    "assistant": {
        "text": _TEXT,
        "tool_use": _TOOL_USE,
        "thinking": record({**_KIND, "thinking": text, "signature": text}),
        "redacted_thinking": record({**_KIND, "data": text}),
    },
}
# Before NEWEST an assistant's message might hold a document.
_OLD_BLOCKS: Final = {**_BLOCKS, "assistant": {**_BLOCKS["assistant"], "document": _DOCUMENT}}

_TOOL: Final = record(
    {"name": _TOOL_NAME, "input_schema": tool_schema},
    {
        **_CACHED,
        "type": nullable(one_of("custom")),
        "description": text,
        "strict": boolean,
        "eager_input_streaming": nullable(boolean),
        "defer_loading": boolean,
        "input_examples": list_of(table),
        "allowed_callers": list_of(text),
    },
)
_PARALLEL: Final[Mapping[str, Check]] = {"disable_parallel_tool_use": boolean}
_TOOL_CHOICE: Final = tagged(
    {
        "auto": record(_KIND, _PARALLEL),
        "any": record(_KIND, _PARALLEL),
        "tool": record({**_KIND, "name": _TOOL_NAME}, _PARALLEL),
        "none": record(_KIND),
    }
)
_DISPLAY: Final[Mapping[str, Check]] = {"display": nullable(one_of("summarized", "omitted"))}
_THINKING: Final = tagged(
    {
        "adaptive": record(_KIND, _DISPLAY),
        "enabled": record({**_KIND, "budget_tokens": whole(_LEAST_BUDGET_TOKENS, _ANY_NUMBER)}, _DISPLAY),
        "disabled": record(_KIND),
        "between_tools": record(_KIND),
    }
)
_OUTPUT: Final = record(
    {},
    {
        "effort": nullable(one_of("low", "medium", "high", "xhigh", "max")),
        "format": nullable(record({"type": one_of("json_schema"), "schema": json_schema})),
    },
)
_REQUIRED: Final[Mapping[str, Check]] = {"model": text, "max_tokens": whole(0, _ANY_NUMBER), "messages": anything}
_OPTIONAL: Final[Mapping[str, Check]] = {
    "stream": boolean,
    "system": text_or(list_of(tagged({"text": _TEXT}))),
    "tools": list_of(_TOOL),
    "tool_choice": _TOOL_CHOICE,
    "thinking": _THINKING,
    "output_config": _OUTPUT,
    "stop_sequences": list_of(text),
    "cache_control": _MARKER,
    "service_tier": one_of("auto", "standard_only"),
    "speed": nullable(one_of("standard", "fast")),
    "metadata": record({}, {"user_id": nullable(text)}),
    "inference_geo": nullable(text),
    "container": nullable(text),
    "diagnostics": nullable(record({}, {"previous_message_id": nullable(text)})),
}
_BODY: Final = record(_REQUIRED, _OPTIONAL)
_OLD_BODY: Final = record(_REQUIRED, {**_OPTIONAL, **dict.fromkeys(_SAMPLING, number)})


# ── what a mind is told ───────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class ToolResult:
    """What a client says came of a tool call."""

    id: str
    name: str
    text: str
    is_error: bool


@attrs.frozen(kw_only=True)
class MessagesRequest:
    """A request that was accepted.

    body: as it was sent. messages: the same with every content as a list of blocks.
    thinks: whether a thinking block comes first; shows_thinking: whether its words are shown.
    signature: a thinking block of the answer is signed with it (`signed`), which binds it to all that came before.
    """

    model: ClaudeModel
    version: str
    max_tokens: int
    stream: bool
    thinks: bool
    shows_thinking: bool
    stop_sequences: tuple[str, ...]
    signature: str
    messages: tuple[dict[str, Json], ...] = attrs.field(repr=False)
    body: Mapping[str, Json] = attrs.field(repr=False)

    @property
    def system(self) -> str:
        """The system prompt, its blocks joined."""
        return _text_of(self.body.get("system", ""))

    @property
    def tools(self) -> Mapping[str, Mapping[str, Json]]:
        """The tools' input schemas, by name."""
        return {str(tool["name"]): _table(tool["input_schema"]) for tool in _tables(self.body.get("tools", []))}

    @property
    def last_user_text(self) -> str:
        """The words that the last user turn holds: the caller's last. "" if it holds tool results alone."""
        words: list[str] = []
        for message in reversed(self.messages):
            if message["role"] != "user":
                break
            words.insert(0, _text_of(message["content"]))
        return " ".join(filter(None, words))

    @property
    def results(self) -> tuple[ToolResult, ...]:
        """The tool results of the last message, in order."""
        blocks = _tables(self.messages[-1]["content"])
        names = {str(use["id"]): str(use["name"]) for message in self.messages[-2:] for use in _of(message, "tool_use")}
        return tuple(
            ToolResult(
                id=str(block["tool_use_id"]),
                name=names[str(block["tool_use_id"])],
                text=_text_of(block.get("content", "")),
                is_error=block.get("is_error") is True,
            )
            for block in blocks
            if block["type"] == "tool_result"
        )


class RefusedError(Exception):
    """A request that is refused."""

    def __init__(self, refusal: Refuse) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def read(request: HttpRequest, *, keys: frozenset[str] | None, betas: frozenset[str]) -> MessagesRequest:
    """Read a request. Raises RefusedError.

    keys: the ones that are valid; None is all. betas: the names that `anthropic-beta` may hold.
    """
    if request.path != PATH or request.method != "POST":
        _refuse(404, f"Not found: {request.method} {request.path}")
    _check_key(request, keys)
    try:
        version = _version(request, betas)
        return _read(_body(request), version)
    except InvalidError as error:
        raise RefusedError(Refuse(status=400, message=str(error))) from error


def _refuse(status: int, message: str) -> NoReturn:
    raise RefusedError(Refuse(status=status, message=message))


# ── the headers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _check_key(request: HttpRequest, keys: frozenset[str] | None) -> None:
    key = request.first("x-api-key")
    if not key:
        scheme, _, key = request.first("authorization").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            _refuse(401, "x-api-key header is required")
    if keys is not None and key.strip() not in keys:
        _refuse(401, "invalid x-api-key")


def _version(request: HttpRequest, betas: frozenset[str]) -> str:
    version = request.first("anthropic-version")
    if not version:
        raise InvalidError("anthropic-version", "header is required")
    if version not in _VERSIONS:
        raise InvalidError("anthropic-version", f"{version!r} is not a valid version")
    for name in ",".join(request.all_of("anthropic-beta")).split(","):
        if name.strip() and name.strip() not in betas:
            raise InvalidError("", f"Unexpected value(s) `{name.strip()}` for the `anthropic-beta` header")
    return version


def _body(request: HttpRequest) -> dict[str, Json]:
    kind = request.first("content-type").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise InvalidError("content-type", f"{kind!r}; 'application/json' is required")
    if request.too_large:
        _refuse(413, "Request exceeds the maximum size")
    try:
        body: Json = json.loads(request.body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidError("", f"The request body is not valid JSON: {error}") from error
    return fields_of(body, "")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# ── the rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read(body: dict[str, Json], version: str) -> MessagesRequest:
    (_BODY if version == NEWEST else _OLD_BODY)(body, "")
    name = str(body["model"])
    model = ClaudeModel.named(name)
    if model is None:
        _refuse(404, f"model: {name}")
    messages = _messages(body["messages"], version)
    max_tokens = int(str(body["max_tokens"]))
    whole(0, model.most_tokens)(max_tokens, "max_tokens")
    _check_sampling(body, model)
    thinking = _table(body.get("thinking", {}))
    thinks = _thinks(body, model, thinking)
    _check_tools(body, model, messages, thinks=thinks)
    _check_markers(body, messages)
    _check_order(messages, model)
    _check_pairs(messages)
    _check_thinking(body, messages, thinks=thinks)
    stops = tuple(str(each) for each in _list(body.get("stop_sequences", [])))
    if any(not stop.strip() for stop in stops):
        raise InvalidError("stop_sequences", "each stop sequence must contain non-whitespace")
    return MessagesRequest(
        model=model,
        version=version,
        max_tokens=max_tokens,
        stream=body.get("stream") is True,
        thinks=thinks,
        shows_thinking=thinking.get("display") == "summarized" or thinking.get("type") == "enabled",
        stop_sequences=stops,
        signature=_signature(body, messages),
        messages=messages,
        body=body,
    )


def _messages(value: Json, version: str) -> tuple[dict[str, Json], ...]:
    """The messages, checked block by block, each content a list."""
    list_of(record({"role": one_of("user", "assistant"), "content": anything}))(value, "messages")
    messages: list[dict[str, Json]] = []
    for index, message in enumerate(_tables(value)):
        path, role, content = f"messages.{index}", str(message["role"]), message["content"]
        if isinstance(content, str):
            _spoken(content, f"{path}.content")
            content = [{"type": "text", "text": content}]
        list_of(tagged((_BLOCKS if version == NEWEST else _OLD_BLOCKS)[role]))(content, f"{path}.content")
        if not content:
            raise InvalidError(path, f"{role} messages must have non-empty content")
        messages.append({"role": role, "content": content})
        if version == NEWEST and role == "user" and any(block.get("citations") for block in _of(messages[-1], "text")):
            raise InvalidError(f"{path}.content", "citations are not permitted on text blocks in user messages")
    if not messages:
        raise InvalidError("messages", "at least one message is required")
    return tuple(messages)


def _check_sampling(body: Mapping[str, Json], model: ClaudeModel) -> None:
    for name in _SAMPLING:
        if name in body and not model.takes_sampling and not (name == "temperature" and body[name] == 1):
            raise InvalidError(name, f"`{name}` is not supported by {model.id}")
    temperature = body.get("temperature", 1)
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        raise InvalidError("temperature", "range: 0..1")


def _thinks(body: Mapping[str, Json], model: ClaudeModel, thinking: Mapping[str, Json]) -> bool:
    """Whether the model thinks before it speaks; between tools is not before."""
    kind = thinking.get("type", "adaptive" if model.thinks_unasked else "disabled")
    if kind == "enabled":
        if not model.takes_budget:
            raise InvalidError("thinking.type", f"'enabled' is not supported by {model.id}")
        whole(_LEAST_BUDGET_TOKENS, int(str(body["max_tokens"])) - 1)(
            thinking["budget_tokens"], "thinking.budget_tokens"
        )
    if kind == "between_tools" and not model.thinks_between_tools:
        raise InvalidError("thinking.type", f"'between_tools' is not supported by {model.id}")
    effort = _table(body.get("output_config", {})).get("effort")
    if kind == "disabled" and model.thinks_unasked and effort in {"xhigh", "max"}:
        raise InvalidError("thinking.type", f"'disabled' is not supported with effort {effort!r}")
    return kind in {"adaptive", "enabled"}


def _check_tools(
    body: Mapping[str, Json], model: ClaudeModel, messages: tuple[dict[str, Json], ...], *, thinks: bool
) -> None:
    names = [str(tool["name"]) for tool in _tables(body.get("tools", []))]
    if len(set(names)) < len(names):
        raise InvalidError("tools", "Tool names must be unique.")
    if not names and any(_of(message, "tool_use") or _of(message, "tool_result") for message in messages):
        raise InvalidError("", "Requests which include `tool_use` or `tool_result` blocks must define tools")
    choice = _table(body.get("tool_choice", {}))
    if choice and not names:
        raise InvalidError("tool_choice", "may only be specified while providing tools")
    if choice.get("type") == "tool" and choice["name"] not in names:
        raise InvalidError("tool_choice", f"Tool '{choice['name']}' not found in provided tools")
    if choice.get("type") in {"any", "tool"}:
        if thinks:
            raise InvalidError("", "Thinking may not be enabled when tool_choice forces tool use.")
        if not model.takes_forced_tools:
            raise InvalidError("tool_choice.type", f"forced tool use is not supported by {model.id}")


def _check_markers(body: Mapping[str, Json], messages: tuple[dict[str, Json], ...]) -> None:
    markers = [marker for block in _prefix(body, messages) for marker in _markers(block)]
    if isinstance(body.get("cache_control"), dict):
        markers.append(_table(body["cache_control"]))
    if len(markers) > _MOST_MARKERS:
        raise InvalidError(
            "", f"A maximum of {_MOST_MARKERS} blocks with cache_control may be provided. Found {len(markers)}."
        )
    ttls = [str(marker.get("ttl", "5m")) for marker in markers]
    if ttls != sorted(ttls):  # "1h" sorts before "5m"
        raise InvalidError("", "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block")


def _check_order(messages: tuple[dict[str, Json], ...], model: ClaudeModel) -> None:
    if messages[0]["role"] != "user":
        raise InvalidError("messages", "first message must use the user role")
    if messages[-1]["role"] == "assistant":
        if not model.takes_prefill:
            raise InvalidError(
                "",
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            )
        texts = _of(messages[-1], "text")
        if texts and str(texts[-1]["text"]) != str(texts[-1]["text"]).rstrip():
            raise InvalidError("messages", "final assistant content cannot end with trailing whitespace")


def _check_pairs(messages: tuple[dict[str, Json], ...]) -> None:
    """Hold tool calls against tool results: every call answered in the very next message, before any words."""
    seen: set[str] = set()
    asked: list[str] = []  # by the message before
    for index, message in enumerate(messages):
        results = [str(block["tool_use_id"]) for block in _of(message, "tool_result")]
        for result in results:
            if result not in asked:
                raise InvalidError(
                    f"messages.{index}",
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {result}. Each `tool_result` block must "
                    "have a corresponding `tool_use` block in the previous message.",
                )
            if results.count(result) > 1:
                raise InvalidError(
                    f"messages.{index}",
                    f"each tool_use must have a single result. Found multiple `tool_result` blocks with id: {result}",
                )
        first = [str(block.get("tool_use_id", "")) for block in _tables(message["content"])[: len(asked)]]
        if unanswered := [id_ for id_ in asked if id_ not in first]:
            _unanswered(index - 1, unanswered)
        asked = [str(block["id"]) for block in _of(message, "tool_use")]
        if len({*seen, *asked}) < len(seen) + len(asked):
            raise InvalidError(f"messages.{index}", "`tool_use` ids must be unique")
        seen |= set(asked)
    if asked:
        _unanswered(len(messages) - 1, asked)


def _unanswered(index: int, ids: list[str]) -> NoReturn:
    raise InvalidError(
        f"messages.{index}",
        f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(ids)}. Each `tool_use` "
        "block must have a corresponding `tool_result` block in the next message.",
    )


def _check_thinking(body: Mapping[str, Json], messages: tuple[dict[str, Json], ...], *, thinks: bool) -> None:
    """Hold the thinking blocks that come back against their signatures, and against what they were thought about."""
    for index, message in enumerate(messages):
        for block in _of(message, "thinking"):
            if block["signature"] != signed(_signature(body, messages[:index]), str(block["thinking"])):
                raise InvalidError(f"messages.{index}.content", "Invalid `signature` in `thinking` block")
    open_turn = messages[-2] if thinks and _of(messages[-1], "tool_result") else None
    if open_turn is not None and _tables(open_turn["content"])[0]["type"] not in _THOUGHTS:
        raise InvalidError(
            f"messages.{len(messages) - 2}.content.0",
            "Expected `thinking` or `redacted_thinking`; thinking blocks of the turn that called a tool must come back",
        )


def signed(signature: str, shown: str) -> str:
    """The signature of a thinking block, of which so much is shown."""
    return base64.b64encode(sha256(f"{signature}{shown}".encode()).digest()).decode()


def _signature(body: Mapping[str, Json], messages: tuple[dict[str, Json], ...]) -> str:
    return digest([_bare(block) for block in _prefix(body, messages)])


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class PrefixPart:
    """A part of what the model reads, in order, and how long its cache marker, if it has one, keeps it."""

    text: str
    kept_s: float | None


def prefix_parts(request: MessagesRequest) -> list[PrefixPart]:
    """All that the model reads: tools, then system, then messages. The automatic marker stands at the end."""
    parts = [
        PrefixPart(text=_dump(_bare(block)), kept_s=max(map(_kept_s, _markers(block)), default=None))
        for block in _prefix(request.body, request.messages)
    ]
    automatic = request.body.get("cache_control")
    if isinstance(automatic, dict):
        parts[-1] = attrs.evolve(parts[-1], kept_s=_kept_s(automatic))
    return parts


def digest(value: Json) -> str:
    """A fingerprint of a value."""
    return sha256(_dump(value).encode()).hexdigest()


def _prefix(body: Mapping[str, Json], messages: tuple[dict[str, Json], ...]) -> list[dict[str, Json]]:
    """Every tool, system block and message block, in the order in which the model reads them; none of its thoughts."""
    system = body.get("system", [])
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else _tables(system)
    said = [
        {"role": message["role"], **block}
        for message in messages
        for block in _tables(message["content"])
        if block["type"] not in _THOUGHTS
    ]
    return [*_tables(body.get("tools", [])), *blocks, *said]


def _markers(value: Json) -> Iterator[dict[str, Json]]:
    """The cache markers in a block, whether its own or those of the blocks in it."""
    if isinstance(value, dict):
        for name, field in value.items():
            if name == "cache_control" and isinstance(field, dict):
                yield field
            elif name == "content":
                yield from _markers(field)
    elif isinstance(value, list):
        for item in value:
            yield from _markers(item)


def _kept_s(marker: Mapping[str, Json]) -> float:
    return 3600.0 if marker.get("ttl") == "1h" else 300.0


def _bare(value: Json) -> Json:
    """A value without cache markers, which move from request to request."""
    if isinstance(value, dict):
        return {name: _bare(field) for name, field in value.items() if name != "cache_control"}
    return [_bare(item) for item in value] if isinstance(value, list) else value


def _dump(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)  # in the order it came: the vendor's cache is one of bytes


def _of(message: Mapping[str, Json], kind: str) -> list[dict[str, Json]]:
    return [block for block in _tables(message["content"]) if block["type"] == kind]


def _text_of(content: Json) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(block["text"]) for block in _tables(content) if block["type"] == "text")


def _table(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _tables(value: Json) -> list[dict[str, Json]]:
    return [_table(item) for item in _list(value)]
