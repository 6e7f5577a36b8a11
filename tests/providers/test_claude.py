"""Claude, against a vendor written from its sheet: no request may break a rule, and what is said is what is told."""

import gc
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias

import attrs
import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Noted, ToolAnswered, ToolCalled
from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError
from engine.messages.model import ModelEnded, ModelText, ModelToolCall, ModelUsage
from engine.providers.claude import ClaudeModel
from engine.providers.claude.prompt import (
    BROKE_IN,
    CONNECTED,
    HOW_HEARD,
    NOTHING_HEARD,
    UNANSWERED,
    UNHEARD,
    WAITING,
    messages,
)
from engine.providers.claude.stream import DEEPEST, LONGEST_REPLY_BYTES, Reader, StreamBroken
from engine.providers.contract import ModelEvent, ModelRequest, ToolSchema
from simulators.anthropic import AnthropicSimulator
from simulators.anthropic.events import INSTANT
from simulators.anthropic.memory import MemoryTransport
from simulators.anthropic.minds import script
from simulators.anthropic.reply import Break, How, Reply, tokens

Error: TypeAlias = type[Exception]

KEY = "sk-ant-the-secret"
FIND = ToolSchema(
    name="find_slots",
    description="Find free times.",
    input_schema={"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
)
BOOK = ToolSchema(name="book", description="Book a time.", input_schema={"type": "object", "properties": {}})
ASKED = ModelRequest(
    id="r1",
    system="You answer the phone of Bright Smile.",
    conversation=(CallerSaid(turn=1, text="Anything on Tuesday?"),),
    tools=(FIND, BOOK),
)

# ── what the vendor sends (its sheet, read 2026-11) ───────────────────────────────────────────────────────────────────


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def block(index: int, kind: str, *deltas: Mapping[str, Any], **fields: Any) -> list[bytes]:
    begins = event("content_block_start", index=index, content_block={"type": kind, **fields})
    more = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return [begins, *more, event("content_block_stop", index=index)]


def text(index: int, *texts: str) -> list[bytes]:
    return block(index, "text", *({"type": "text_delta", "text": each} for each in texts), text="")


def tool(index: int, id_: str, name: str, *pieces: str) -> list[bytes]:
    deltas = [{"type": "input_json_delta", "partial_json": each} for each in ("", *pieces)]
    return block(index, "tool_use", *deltas, id=id_, name=name, input={})


def thinking(index: int) -> list[bytes]:
    deltas = ({"type": "thinking_delta", "thinking": "Hm."}, {"type": "signature_delta", "signature": "c2ln"})
    return block(index, "thinking", *deltas, thinking="", signature="")


USAGE = {"input_tokens": 31, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 2048, "output_tokens": 1}
STARTED = event(
    "message_start",
    message={
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": USAGE,
    },
)
PING = event("ping")


def ends(stop: str | None) -> list[bytes]:
    delta = {"stop_reason": stop, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": 58}), event("message_stop")]


def body(*blocks: list[bytes], stop: str = "end_turn") -> bytes:
    return b"".join([STARTED, PING, *(line for each in blocks for line in each), *ends(stop)])


def failure(kind: str, message: str = "No.", **details: str) -> dict[str, Any]:
    error = {"type": kind, "message": message} | ({"details": details} if details else {})
    return {"type": "error", "error": error, "request_id": "req_9"}


# ── what the vendor takes ─────────────────────────────────────────────────────────────────────────────────────────────


def refusal(given: Sequence[Mapping[str, Any]]) -> str:
    """Return which rule of the sheet's section 4 the messages break, or ""."""
    if not given or given[0]["role"] != "user":
        return "the first message must be the user's"
    if given[-1]["role"] != "user":
        return "prefill is not supported"
    seen: set[str] = set()
    owed: list[str] = []
    for before, message in zip([None, *given], given, strict=False):
        if before is not None and before["role"] == message["role"]:
            return "roles must alternate (so that merging is ours)"
        kinds = [each["type"] for each in message["content"]]
        results = [each["tool_use_id"] for each in message["content"] if each["type"] == "tool_result"]
        if sorted(results) != sorted(owed):
            return f"results {results} for calls {owed}"
        if "tool_result" in kinds[len(results) :]:
            return "results must come first"
        owed = []
        for each in message["content"]:
            match each["type"], message["role"]:
                case "text", _:
                    if not each["text"].strip():
                        return "text must not be blank"
                case "tool_use", "assistant":
                    if not re.fullmatch(r"[a-zA-Z0-9_-]+", each["id"]) or each["id"] in seen:
                        return f"id {each['id']!r} is unfit, or there already"
                    if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", each["name"]) or not isinstance(each["input"], dict):
                        return "a call needs a name and an object"
                    seen.add(each["id"])
                    owed.append(each["id"])
                case "tool_result", "user":
                    if not isinstance(each["content"], str):
                        return "a result must be text"
                case _:
                    return f"a {each['type']} of the {message['role']}"
    return ""


Script: TypeAlias = "Sequence[bytes | Exception | float] | httpx2.Response"


@attrs.define
class Vendor(httpx2.AsyncBaseTransport):
    """The vendor in memory: each request is checked and answered with the next script; a number in one is a pause."""

    scripts: list[Script] = attrs.field(factory=list)
    asked: list[dict[str, Any]] = attrs.field(factory=list)
    closed: int = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await trio.lowlevel.checkpoint()
        assert request.method == "POST"
        assert request.url.path == "/v1/messages"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["anthropic-version"] == "2026-10-21"
        given = json.loads(await request.aread())
        assert given.keys() <= {"model", "max_tokens", "stream", "thinking", "system", "messages", "tools"}
        assert given["stream"] is True
        assert given["thinking"] == {"type": "disabled"}
        assert (broken := refusal(given["messages"])) == "", broken
        self.asked.append(given)
        script = self.scripts.pop(0)
        if isinstance(script, httpx2.Response):
            return script
        if script and isinstance(script[0], Exception):
            raise script[0]
        headers = {"content-type": "text/event-stream; charset=utf-8", "request-id": "req_1"}
        return httpx2.Response(200, headers=headers, stream=Body(script, self))


@attrs.frozen
class Body(httpx2.AsyncByteStream):
    script: Sequence[bytes | Exception | float]
    vendor: Vendor

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for each in self.script:
            await trio.lowlevel.checkpoint()
            if isinstance(each, Exception):
                raise each
            if isinstance(each, float):
                await trio.sleep(each)
            else:
                yield each

    async def aclose(self) -> None:
        self.vendor.closed += 1


@asynccontextmanager
async def claude(*scripts: Script) -> AsyncIterator[tuple[ClaudeModel, Vendor]]:
    """A model that was checked, so that its client is warm, and its vendor with the scripts to come."""
    vendor = Vendor([[body(text(0, "Hi"), stop="max_tokens")]])
    model = ClaudeModel(api_key=KEY, transport=vendor)
    async with aclosing(model):
        await model.check(system=ASKED.system, tools=ASKED.tools)
        vendor.scripts.extend(scripts)
        vendor.asked.clear()
        vendor.closed = 0
        yield model, vendor


async def told(model: ClaudeModel, request: ModelRequest = ASKED) -> list[ModelEvent]:
    async with model.reply(request) as events:
        return [each async for each in events]


def read(data: bytes, *, taken: set[str] | None = None) -> list[ModelEvent]:
    reader = Reader(request="r1", taken=set() if taken is None else taken)
    events = reader.push(data)
    reader.closed()
    return of_use(events)


def of_use(events: Iterable[ModelEvent]) -> list[ModelEvent]:
    """Return what is said and called, without the signs of life between, and what it costs."""
    said = (each for each in events if not isinstance(each, ModelUsage))
    return [each for each in said if not (isinstance(each, ModelText) and not each.text.strip())]


def costs(events: Iterable[ModelEvent]) -> list[tuple[int, int]]:
    """Return what the reply has cost, each time that it was told."""
    return [(each.input_tokens, each.output_tokens) for each in events if isinstance(each, ModelUsage)]


def says(*texts: str) -> list[ModelEvent]:
    return [ModelText(request="r1", text=each) for each in texts]


def stopped(stop: Any = "end_turn") -> ModelEnded:
    return ModelEnded(request="r1", stop=stop)


def calls(id_: str, name: str, **arguments: Any) -> ModelToolCall:
    return ModelToolCall(request="r1", id=id_, name=name, arguments=arguments)


# ── the conversation, as it is shown ──────────────────────────────────────────────────────────────────────────────────

GREETED = AgentSaid(turn=0, text="Bright Smile, how can I help?")
TUESDAY = CallerSaid(turn=1, text="Anything on Tuesday?")
CHECKING = AgentSaid(turn=1, text="Let me check.")
CALL_A = ToolCalled(turn=1, id="toolu_A", name="find_slots", arguments={"day": "Tuesday"})
CALL_B = ToolCalled(turn=1, id="toolu_B", name="find_slots", arguments={"day": "Wednesday"})
GAVE_A = ToolAnswered(turn=1, id="toolu_A", ok=True, value=["09:00"])
GAVE_B = ToolAnswered(turn=1, id="toolu_B", ok=False, value="calendar timeout")

USE_A = {"type": "tool_use", "id": "toolu_A", "name": "find_slots", "input": {"day": "Tuesday"}}
USE_B = {"type": "tool_use", "id": "toolu_B", "name": "find_slots", "input": {"day": "Wednesday"}}
RESULT_A = {"type": "tool_result", "tool_use_id": "toolu_A", "content": '["09:00"]'}
RESULT_B = {"type": "tool_result", "tool_use_id": "toolu_B", "content": "calendar timeout", "is_error": True}
NO_RESULT_A = {"type": "tool_result", "tool_use_id": "toolu_A", "content": UNANSWERED, "is_error": True}


def user(*content: Any) -> tuple[str, list[Any]]:
    return "user", [{"type": "text", "text": each} if isinstance(each, str) else each for each in content]


def agent(*content: Any) -> tuple[str, list[Any]]:
    return "assistant", user(*content)[1]


@pytest.mark.parametrize(
    ("conversation", "shown"),
    [
        pytest.param((), [user(CONNECTED)], id="nothing was said"),
        pytest.param((GREETED,), [user(CONNECTED), agent(GREETED.text), user(WAITING)], id="the agent spoke last"),
        pytest.param(
            (GREETED, TUESDAY), [user(CONNECTED), agent(GREETED.text), user(TUESDAY.text)], id="a greeting, a question"
        ),
        pytest.param(
            (TUESDAY, Noted(turn=1, text="a tool answered late: 1"), CallerSaid(turn=2, text="Hello?")),
            [user(TUESDAY.text, "(a tool answered late: 1)", "Hello?")],
            id="one side's turns are one message",
        ),
        pytest.param(
            (GREETED, AgentSaid(turn=1, text="Are you still there?"), TUESDAY),
            [user(CONNECTED), agent(f"{GREETED.text}\nAre you still there?"), user(TUESDAY.text)],
            id="the agent spoke twice",
        ),
        pytest.param(
            (TUESDAY, CHECKING, CALL_A, CALL_B, GAVE_B, GAVE_A, CallerSaid(turn=2, text="Or Monday?")),
            [user(TUESDAY.text), agent(CHECKING.text, USE_A, USE_B), user(RESULT_A, RESULT_B, "Or Monday?")],
            id="tools at once, answered in any order, before the caller's text",
        ),
        pytest.param(
            (TUESDAY, CALL_A, GAVE_A, CALL_B, GAVE_B),
            [user(TUESDAY.text), agent(USE_A), user(RESULT_A), agent(USE_B), user(RESULT_B)],
            id="one tool after the other",
        ),
        pytest.param(
            (TUESDAY, CALL_A, CallerSaid(turn=2, text="Hello?")),
            [user(TUESDAY.text), agent(USE_A), user(NO_RESULT_A, "Hello?")],
            id="a tool that never answered",
        ),
        pytest.param(
            (TUESDAY, CALL_A, AgentSaid(turn=1, text="Sorry."), GAVE_A, CallerSaid(turn=2, text="And?")),
            [user(TUESDAY.text), agent(USE_A), user(RESULT_A), agent("Sorry."), user("And?")],
            id="words between a call and its answer",
        ),
        pytest.param(
            (TUESDAY, CALL_A, GAVE_A, Noted(turn=1, text=" "), attrs.evolve(GAVE_A, value="again")),
            [user(TUESDAY.text), agent(USE_A), user(RESULT_A, "(A tool answered: again)")],
            id="a tool that answered twice, and a note of nothing",
        ),
        pytest.param(
            (
                TUESDAY,
                attrs.evolve(CHECKING, text="Let me", interrupted=True),
                CALL_A,
                GAVE_A,
                CallerSaid(turn=2, text="No"),
            ),
            [user(TUESDAY.text), agent("Let me", USE_A), user(RESULT_A, BROKE_IN, "No")],
            id="a cut reply with a tool: results, the note, the caller",
        ),
        pytest.param(
            (TUESDAY, attrs.evolve(CHECKING, text=" ", interrupted=True), CallerSaid(turn=2, text="No, Monday.")),
            [user(TUESDAY.text, "No, Monday.")],
            id="a reply of which nobody knows what was not heard",
        ),
        pytest.param(
            (
                TUESDAY,
                attrs.evolve(CHECKING, text="Let me", interrupted=True, unheard="check."),
                CallerSaid(turn=2, text="No"),
            ),
            [user(TUESDAY.text), agent("Let me"), user(UNHEARD.format(text="check."), "No")],
            id="a cut reply, and what was not heard",
        ),
        pytest.param(
            (
                TUESDAY,
                attrs.evolve(CHECKING, text="", interrupted=True, unheard="Let me check."),
                CALL_A,
                GAVE_A,
                CallerSaid(turn=2, text="No"),
            ),
            [
                user(TUESDAY.text),
                agent(USE_A),
                user(RESULT_A, NOTHING_HEARD.format(text="Let me check."), "No"),
            ],
            id="a reply of which nothing was heard, with a tool",
        ),
        pytest.param(
            (TUESDAY, GREETED, Noted(turn=1, text="while you spoke, the caller said: “uh-huh”")),
            [user(TUESDAY.text), agent(GREETED.text), user("(while you spoke, the caller said: “uh-huh”)")],
            id="words that left the agent the floor",
        ),
        pytest.param(
            (attrs.evolve(GREETED, interrupted=True),),
            [user(CONNECTED), agent(GREETED.text), user(BROKE_IN)],
            id="a note is the user's, and ends it",
        ),
        pytest.param((TUESDAY, GAVE_A), [user(TUESDAY.text, '(A tool answered: ["09:00"])')], id="no call known"),
        pytest.param(
            (
                TUESDAY,
                ToolCalled(turn=1, id="a.1", name="find slots", arguments={}),
                ToolCalled(turn=1, id="a:1", name="", arguments={}),
                ToolAnswered(turn=1, id="a:1", ok=True, value=""),
                ToolAnswered(turn=1, id="a.1", ok=True, value={"später": None}),
            ),
            [
                user(TUESDAY.text),
                agent(
                    {"type": "tool_use", "id": "a_1", "name": "find_slots", "input": {}},
                    {"type": "tool_use", "id": "a_1_", "name": "_", "input": {}},
                ),
                user(
                    {"type": "tool_result", "tool_use_id": "a_1", "content": '{"später": null}'},
                    {"type": "tool_result", "tool_use_id": "a_1_", "content": '""'},
                ),
            ],
            id="another model's ids and names",
        ),
    ],
)
def test_a_conversation_is_shown_as(conversation: tuple[Entry, ...], shown: list[tuple[str, list[Any]]]) -> None:
    assert [(each["role"], each["content"]) for each in messages(conversation)] == shown


words = st.text(max_size=8) | st.sampled_from(["", " ", "\n", "Hello?"])
ids = st.sampled_from(["toolu_A", "toolu_B", "r1-0", "a.b", "a:b", "a_b", "", "ü"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
turns = st.integers(0, 3)
entries = st.one_of(
    st.builds(CallerSaid, turn=turns, text=words),
    st.builds(AgentSaid, turn=turns, text=words, interrupted=st.booleans(), unheard=words),
    st.builds(
        ToolCalled,
        turn=turns,
        id=ids,
        name=st.sampled_from(["book", "", "find slots", "n" * 200]),
        arguments=st.dictionaries(st.text(max_size=3), json_values, max_size=2),
    ),
    st.builds(ToolAnswered, turn=turns, id=ids, ok=st.booleans(), value=json_values),
    st.builds(Noted, turn=turns, text=words),
)


@given(st.lists(entries, max_size=12))
def test_no_conversation_breaks_a_rule_and_none_of_its_words_is_lost(conversation: list[Entry]) -> None:
    shown = messages(conversation)
    assert refusal(shown) == ""
    # What each side said is there, in order; an answer may stand before its place, beside its call.
    for role, said in (("user", CallerSaid), ("assistant", AgentSaid)):
        page = "\n".join(each["text"] for turn in blocks(shown, role) for each in turn if each["type"] == "text")
        at = 0
        for entry in conversation:
            if isinstance(entry, said) and entry.text.strip():
                assert entry.text in page[at:]
                at = page.index(entry.text, at) + len(entry.text)
    asked = [each for turn in blocks(shown, "assistant") for each in turn if each["type"] == "tool_use"]
    assert [each["input"] for each in asked] == [
        each.arguments for each in conversation if isinstance(each, ToolCalled)
    ]
    told = [each.get("text", each.get("content")) for turn in blocks(shown, "user") for each in turn]
    for entry in conversation:
        if isinstance(entry, ToolAnswered):
            is_plain = isinstance(entry.value, str) and entry.value.strip()
            content = entry.value if is_plain else json.dumps(entry.value, ensure_ascii=False)
            assert any(str(content) in each for each in told)


def blocks(shown: Sequence[Any], role: str) -> Iterator[list[Any]]:
    return (each["content"] for each in shown if each["role"] == role)


async def test_the_prompt_is_the_same_bytes_in_every_request_and_marked_for_the_cache() -> None:
    async with claude([body(text(0, "Yes."))], [body(text(0, "Yes."))]) as (model, vendor):
        await told(model)
        await told(model, attrs.evolve(ASKED, id="r2", conversation=(GREETED, TUESDAY)))
        first, second = vendor.asked
    assert first["system"] == [
        {"type": "text", "text": f"{ASKED.system}\n\n{HOW_HEARD}", "cache_control": {"type": "ephemeral"}}
    ]
    assert first["tools"] == [
        {"name": each.name, "description": each.description, "input_schema": dict(each.input_schema)}
        for each in (FIND, BOOK)
    ]
    assert json.dumps([first["tools"], first["system"]]) == json.dumps([second["tools"], second["system"]])
    assert (first["model"], first["max_tokens"]) == ("claude-haiku-5-5", 400)


async def test_a_check_asks_for_one_token_of_the_same_prompt() -> None:
    async with claude([body(text(0, "Hi"), stop="max_tokens")], [body(text(0, "Yes."))]) as (model, vendor):
        await model.check(system=ASKED.system, tools=ASKED.tools)
        await told(model)
        check, asked = vendor.asked
    assert check["max_tokens"] == 1
    assert [check[each] for each in ("system", "tools", "model")] == [
        asked[each] for each in ("system", "tools", "model")
    ]


async def test_without_tools_none_are_sent() -> None:
    async with claude([body(text(0, "Yes."))]) as (model, vendor):
        await told(model, attrs.evolve(ASKED, tools=()))
        assert "tools" not in vendor.asked[0]


# ── the reply, as it is told ──────────────────────────────────────────────────────────────────────────────────────────

LET_ME = text(0, "Let me", " check.")
CALLS_A = tool(1, "toolu_A", "find_slots", '{"day": "Tue', 'sday"}')
CALLS_B = tool(2, "toolu_B", "book")
UNKNOWN = [event("content_block_sung", index=7), b": a comment\n", b"event: chart\ndata: no json\n\n", b"data: {}\n\n"]


@pytest.mark.parametrize(
    ("data", "events"),
    [
        pytest.param(body(LET_ME), [*says("Let me", " check."), stopped()], id="text"),
        pytest.param(body(thinking(0), text(1, "Yes.")), [*says("Yes."), stopped()], id="thinking first"),
        pytest.param(
            body(block(0, "text", text="Ye"), text(1, "s.")), [*says("Ye", "s."), stopped()], id="text at once"
        ),
        pytest.param(body(), [stopped()], id="an empty reply"),
        pytest.param(body(UNKNOWN, LET_ME), [*says("Let me", " check."), stopped()], id="what will be invented"),
        pytest.param(
            body(block(0, "sung", {"type": "text_delta", "text": "La"}, text="La"), text(1, "Yes.")),
            [*says("Yes."), stopped()],
            id="a block that will be invented",
        ),
        pytest.param(
            body(block(0, "text", {"type": "citations_delta", "citation": {}}, {"type": "text_delta", "text": "Yes."})),
            [*says("Yes."), stopped()],
            id="a delta that is not text",
        ),
        pytest.param(
            body(LET_ME, CALLS_A, CALLS_B, stop="tool_use"),
            [
                *says("Let me", " check."),
                calls("toolu_A", "find_slots", day="Tuesday"),
                calls("toolu_B", "book"),
                stopped("tool_use"),
            ],
            id="text and two tools, one without arguments",
        ),
        pytest.param(
            body(tool(0, "toolu_A", "book"), text(1, "So."), stop="tool_use"),
            [*says("So."), calls("toolu_A", "book"), stopped("tool_use")],
            id="a tool waits for the text behind it",
        ),
        pytest.param(
            body(LET_ME, CALLS_A), [*says("Let me", " check."), stopped()], id="a tool, but not stopped for it"
        ),
        pytest.param(
            body(tool(0, "toolu_A", "book", '{"day": "Tu'), stop="max_tokens"), [stopped("max_tokens")], id="a tool cut"
        ),
        pytest.param(
            body(LET_ME, stop="refusal"), [*says("Let me", " check."), stopped("refusal")], id="refused midway"
        ),
        pytest.param(body(stop="stop_sequence"), [stopped()], id="a stop sequence"),
        pytest.param(body(stop="pause_turn"), [stopped()], id="a pause for tools of the vendor's"),
        pytest.param(body(stop="model_context_window_exceeded"), [stopped("max_tokens")], id="the window is full"),
        pytest.param(body(stop="bored"), [stopped()], id="a stop that will be invented"),
        pytest.param(
            body(LET_ME) + b"junk\n\nevent: error\ndata: junk\n\n",
            [*says("Let me", " check."), stopped()],
            id="after the end",
        ),
        pytest.param(body(LET_ME).replace(b"\n", b"\r\n"), [*says("Let me", " check."), stopped()], id="CRLF"),
        pytest.param(
            body(LET_ME).replace(b"data: ", b"data:").replace(b'{"type"', b'{\ndata:"type"'),
            [*says("Let me", " check."), stopped()],
            id="data of two lines",
        ),
    ],
)
def test_a_body_is_told_as(data: bytes, events: list[ModelEvent]) -> None:
    assert read(data) == events


@given(st.lists(st.integers(1, 40), min_size=1), st.sampled_from([b"\n", b"\r\n"]))
def test_it_does_not_matter_where_a_body_is_cut(sizes: list[int], line_end: bytes) -> None:
    whole = body(thinking(0), text(1, "Grüß", " Gott 🙂"), tool(2, "toolu_A", "book", '{"d', '": 1}'), stop="tool_use")
    data = whole.replace(b"\n", line_end)
    reader, events, at = Reader(request="r1"), [], 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        events += reader.push(data[at : at + size])
        at += size
    assert of_use(events) == read(whole)
    assert costs(events) == [(2079, 1), (2079, 58)]
    assert read(whole) == [*says("Grüß", " Gott 🙂"), calls("toolu_A", "book", d=1), stopped("tool_use")]


@pytest.mark.parametrize(
    ("message", "delta_usage", "expected"),
    [
        ({"usage": USAGE}, {"output_tokens": 58}, [(2079, 1), (2079, 58)]),
        ({"usage": {"input_tokens": 31, "output_tokens": 1}}, {"output_tokens": 58}, [(31, 1), (31, 58)]),
        # What a later account has, counts; what it has not, stands.
        ({"usage": USAGE}, {"output_tokens": 58, "input_tokens": 40, "x": 1}, [(2079, 1), (2088, 58)]),
        ({"usage": USAGE}, {"output_tokens": None}, [(2079, 1), (2079, 1)]),
        ({"usage": USAGE | {"input_tokens": "31"}}, {"output_tokens": -1}, [(2048, 1), (2048, 1)]),
        ({"usage": USAGE | {"input_tokens": True}}, {"output_tokens": 10**16}, [(2048, 1), (2048, 1)]),
        ({"usage": None}, {"output_tokens": 58}, [(0, 58)]),
        ({}, None, []),
        (None, 7, []),
    ],
)
def test_what_a_reply_costs_is_told_and_a_wrong_account_is_no_wrong_reply(
    message: Any, delta_usage: Any, expected: list[tuple[int, int]]
) -> None:
    ends = event("message_delta", delta={"stop_reason": "end_turn"}, usage=delta_usage)
    reader = Reader(request="r1")
    events = reader.push(event("message_start", message=message) + b"".join(LET_ME) + ends + event("message_stop"))
    assert costs(events) == expected
    assert of_use(events) == [*says("Let me", " check."), stopped()]


def test_nothing_but_the_account_is_read_of_how_a_reply_begins() -> None:
    assert read(b"event: message_start\ndata: {no json\n\n" + body(LET_ME).removeprefix(STARTED)) == [
        *says("Let me", " check."),
        stopped(),
    ]


def test_a_call_that_is_being_written_ends_the_line_before_it_and_shows_life() -> None:
    begins, first, piece, more, _ = tool(1, "toolu_A", "book", '{"d', '": 1}')
    reader = Reader(request="r1")
    reader.push(STARTED)
    assert reader.push(b"".join(text(0, "Let me look."))) == says("Let me look.")
    assert reader.push(begins) == says("\n")
    assert reader.push(first) == []  # the vendor sends an empty one at once
    assert reader.push(piece) == says("")
    assert reader.push(more) == says("")


def test_no_id_is_given_twice_in_a_call() -> None:
    data = body(tool(0, "t", "book"), tool(1, "t", "book"), tool(2, "u", "book"), stop="tool_use")
    events = read(data, taken={"u"})
    assert [each.id for each in events if isinstance(each, ModelToolCall)] == ["t", "r1_t", "r1_u"]


async def test_ids_of_the_conversation_count_as_taken() -> None:
    async with claude([body(tool(0, "toolu_A", "book"), stop="tool_use")]) as (model, _):
        events = await told(model, attrs.evolve(ASKED, conversation=(TUESDAY, CALL_A, GAVE_A)))
    assert of_use(events) == [calls("r1_toolu_A", "book"), stopped("tool_use")]


def delta(data: bytes) -> bytes:
    return STARTED + block(0, "text", text="")[0] + data


def with_arguments(*pieces: str) -> bytes:
    return body(tool(0, "toolu_A", "book", *pieces), stop="tool_use")


DEEP = "[" * 100_000
BLOCK_EVENT = b"event: content_block_delta\ndata: "


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "ended before message_stop"),
        (body(LET_ME)[:-40], "ended before message_stop"),
        (delta(BLOCK_EVENT + b"{\n\n"), "not json"),
        (delta(BLOCK_EVENT + b"[]\n\n"), "a json object"),
        (delta(BLOCK_EVENT + b"\n\n"), "not json"),
        (delta(b"event: content_block_delta\n\n"), "not json"),
        (delta(BLOCK_EVENT + DEEP.encode() + b"\n\n"), "nested too deeply"),
        (delta(BLOCK_EVENT + b'{"index": 0, "delta": {"type": "text_delta", "text": "\xff"}}\n\n'), "not utf-8"),
        (
            delta(event("content_block_delta", index=0, delta={"type": "text_delta", "text": "\ud800"})),
            "whole characters",
        ),
        (delta(event("content_block_delta", index=0, delta={"type": "text_delta"})), "'delta.text' is missing"),
        (delta(event("content_block_delta", index=0, delta={"type": ["text_delta"]})), "'delta.type' is"),
        (delta(event("content_block_delta", index=0, delta="text")), "an object"),
        (delta(event("content_block_delta", index=0)), "'delta' is missing"),
        (
            delta(event("content_block_delta", index=1, delta={"type": "text_delta", "text": "x"})),
            "a block that is open",
        ),
        (delta(event("content_block_delta", index="x", delta={})), "a whole number"),
        (delta(event("content_block_stop", index=0) * 2), "a block that is open"),
        (delta(event("content_block_start", index=0, content_block={"type": "text"})), "begins twice"),
        (STARTED + block(0, "tool_use", name="book")[0], "'content_block.id' is missing"),
        (STARTED + block(0, "tool_use", name="", id="a")[0], "1 to 128 characters"),
        (STARTED + block(0, "tool_use", name="book", id="a" * 129)[0], "1 to 128 characters"),
        (STARTED + event("message_stop"), "without a stop_reason"),
        (STARTED + b"".join(ends(None)), "without a stop_reason"),
        (STARTED + event("message_delta", delta={"stop_reason": 1}), "a string"),
        (body(tool(0, "toolu_A", "book")[:-1], stop="tool_use"), "within a call of 'book'"),
        (with_arguments('{"day": "Tu'), "not json"),
        (with_arguments("[1]"), "a json object"),
        (with_arguments('{"a": ', DEEP), "nested too deeply"),
        (with_arguments('{"a": ', "[" * DEEPEST, "]" * DEEPEST, "}"), "levels deep"),
        (with_arguments('{"a": 1e999}'), "no word for"),
        (with_arguments('{"a": NaN}'), "NaN"),
        (with_arguments('{"a": "\\ud800"}'), "no word for"),
        (with_arguments('{"a": ', "9" * 5000, "}"), "not json"),
        (STARTED + b"event: error\ndata: {}\n\n", "'error' is missing"),
        (STARTED + b"x" * LONGEST_REPLY_BYTES, "longer than"),
        (PING * (LONGEST_REPLY_BYTES // len(PING) + 1), "longer than"),
    ],
)
async def test_what_is_no_reply_is_named(data: bytes, what: str) -> None:
    with pytest.raises(WireError, match=re.escape(what)):
        read(data)
    async with claude([data]) as (model, vendor):
        with pytest.raises(ProviderDown, match=re.escape(what)) as caught:
            await told(model)
        assert "anthropic sent what is no whole reply (request 'req_1')" in str(caught.value)
        assert vendor.closed == 1


def test_arguments_as_deep_as_allowed_are_taken() -> None:
    deep = "[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1)
    assert read(with_arguments('{"a": ', deep, "}"))[-1] == stopped("tool_use")


WHOLE = body(thinking(0), text(1, "Grüß Gott"), tool(2, "toolu_A", "book", '{"d', '": 1}'), stop="tool_use")


@given(st.data())
def test_no_mangled_body_raises_anything_unnamed(data: st.DataObject) -> None:
    mangled = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mangled)))
        end = at + data.draw(st.integers(0, 30))
        mangled[at:end] = data.draw(
            st.binary(max_size=6)
            | st.sampled_from([b"null", b"[]", b"-1", b'"\\ud800"', b"\n\n", b"1e999", b"{}", b'"'])
        )
    calls_nothing_twice(bytes(mangled))


@given(st.data())
def test_no_wrong_value_in_a_body_raises_anything_unnamed(data: st.DataObject) -> None:
    lines = WHOLE.decode().splitlines()
    at = data.draw(st.sampled_from([number for number, line in enumerate(lines) if line.startswith("data: ")]))
    fields = json.loads(lines[at][6:])
    where = fields
    while True:  # down to any field, which is left out or holds anything
        name = data.draw(st.sampled_from(sorted(where)))
        if isinstance(where[name], dict) and where[name] and data.draw(st.booleans()):
            where = where[name]
            continue
        break
    if data.draw(st.booleans()):
        del where[name]
    else:
        where[name] = data.draw(json_values)
    lines[at] = "data: " + json.dumps(fields)
    calls_nothing_twice("\n".join([*lines, ""]).encode())


def calls_nothing_twice(data: bytes) -> None:
    try:
        events = read(data)
    except (WireError, StreamBroken):
        return
    assert [type(each) for each in events].index(ModelEnded) == len(events) - 1
    called = [each.id for each in events if isinstance(each, ModelToolCall)]
    assert len(set(called)) == len(called)


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


def answered(status: int, kind: str, **details: str) -> httpx2.Response:
    headers = {"request-id": "req_1", "retry-after": "120"}
    return httpx2.Response(status, json=failure(kind, f"No, {KEY}.", **details), headers=headers)


@pytest.mark.parametrize(
    ("script", "error", "what"),
    [
        (answered(400, "invalid_request_error"), ProviderRefused, "refused the request: 400 'invalid_request_error'"),
        (answered(401, "authentication_error"), ProviderRefused, "does not accept the api key: 401"),
        (answered(402, "billing_error"), ProviderRefused, "refused the request: 402 'billing_error'"),
        (answered(403, "permission_error"), ProviderRefused, "refused the request: 403 'permission_error'"),
        (
            answered(404, "not_found_error"),
            ProviderRefused,
            "knows no model 'claude-haiku-5-5' at https://api.anthropic",
        ),
        (answered(413, "request_too_large"), ProviderRefused, "refused the request: 413"),
        (answered(408, "timeout_error"), ProviderDown, "could not answer: 408"),
        (answered(409, "conflict"), ProviderDown, "could not answer: 409"),
        (answered(429, "rate_limit_error"), ProviderDown, "could not answer: 429 'rate_limit_error'"),
        (answered(429, "rate_limit_error", error_code="ramp_limit_exceeded"), ProviderDown, "429 'rate_limit_error'"),
        (
            answered(429, "rate_limit_error", error_code="enforced_spend_limit_reached"),
            ProviderRefused,
            "refused the request: 429 'enforced_spend_limit_reached'",
        ),
        (
            answered(429, "x", error_code="contract_spend_limit_reached"),
            ProviderRefused,
            "contract_spend_limit_reached",
        ),
        (answered(500, "api_error"), ProviderDown, "could not answer: 500 'api_error' (request 'req_1'): "),
        (answered(504, "timeout_error"), ProviderDown, "could not answer: 504"),
        (answered(529, "overloaded_error"), ProviderDown, "could not answer: 529 'overloaded_error'"),
        (httpx2.Response(502, text="<html>Bad Gateway"), ProviderDown, "could not answer: 502 None"),
        (httpx2.Response(301, headers={"location": "http://x/"}), ProviderRefused, "refused the request: 301"),
        (httpx2.Response(403, content=b"[" * 100_000), ProviderRefused, "refused the request: 403"),
        (
            httpx2.Response(403, json={"error": {"type": [1], "message": {"a": 1}, "details": 5}}),
            ProviderRefused,
            "403 [1]",
        ),
        (httpx2.Response(200, text="<html>Sign in"), ProviderDown, "it is 'text/plain; charset=utf-8'"),
        (
            [httpx2.ConnectError("nobody there")],
            ProviderDown,
            "no answer from anthropic at https://api.anthropic.com: ",
        ),
        ([httpx2.ConnectTimeout("3 s")], ProviderDown, "ConnectTimeout 3 s"),
        ([httpx2.PoolTimeout("3 s")], ProviderDown, "PoolTimeout 3 s"),
        ([httpx2.ReadTimeout("")], ProviderSlow, "anthropic gave no answer in 20"),
        ([STARTED, httpx2.ReadTimeout("")], ProviderSlow, "anthropic fell silent for 20"),
        ([STARTED, httpx2.ReadError("reset")], ProviderDown, "broke off its reply (request 'req_1'): ReadError reset"),
        ([STARTED, httpx2.RemoteProtocolError("cut")], ProviderDown, "RemoteProtocolError cut"),
        (
            [STARTED, event("error", **failure("overloaded_error"))],
            ProviderDown,
            "its reply: 'overloaded_error' (request",
        ),
        ([STARTED, event("error", **failure("api_error", KEY))], ProviderDown, "'[the key]'"),
        ([STARTED, event("error", **failure("rate_limit_error"))], ProviderDown, "'rate_limit_error'"),
        ([STARTED, event("error", **failure("never_heard_of"))], ProviderDown, "'never_heard_of'"),
        ([STARTED, event("error", **failure("billing_error"))], ProviderRefused, "'billing_error'"),
        ([STARTED, event("error", **failure("invalid_request_error"))], ProviderRefused, "'invalid_request_error'"),
    ],
)
async def test_what_goes_wrong_is_named(script: Script, error: Error, what: str) -> None:
    async with claude(script) as (model, vendor):
        with pytest.raises(error, match=re.escape(what)) as caught:
            await told(model)
        assert len(vendor.asked) == 1  # asked once: nobody waits here for a `retry-after`
    assert type(caught.value) is error
    assert "anthropic" in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (answered(401, "authentication_error"), "401"),
        (answered(529, "overloaded_error"), "529"),
        (answered(429, "rate_limit_error"), "429"),
        (answered(429, "rate_limit_error", error_code="enforced_spend_limit_reached"), "enforced_spend_limit_reached"),
        ([STARTED, event("error", **failure("overloaded_error"))], "overloaded_error"),
        ([STARTED, event("error", **failure("x" * 1000))], "x" * 60),
        ([STARTED], ""),
        ([httpx2.ConnectError("nobody there")], ""),
    ],
)
async def test_what_goes_wrong_has_the_vendors_own_code(script: Script, code: str) -> None:
    async with claude(script) as (model, _):
        with pytest.raises(ProviderError) as caught:
            await told(model)
    assert caught.value.code == code


CLOSED = [httpx2.RemoteProtocolError("closed"), httpx2.ReadError("reset"), httpx2.WriteError("pipe")]


@pytest.mark.parametrize("gone", CLOSED, ids=lambda error: type(error).__name__)
async def test_where_a_kept_connection_was_closed_the_request_is_made_anew_once(gone: Exception) -> None:
    async with claude([gone], [body(text(0, "Hello."))]) as (model, vendor):
        assert of_use(await told(model)) == read(body(text(0, "Hello.")))
        assert len(vendor.asked) == 2
    async with claude([gone], [gone]) as (model, vendor):
        with pytest.raises(ProviderDown, match="no answer from anthropic"):
            await told(model)
        assert len(vendor.asked) == 2


@pytest.mark.parametrize(
    ("script", "error", "what"),
    [
        (answered(401, "authentication_error"), ProviderRefused, "does not accept the api key"),
        (answered(404, "not_found_error"), ProviderRefused, "knows no model 'claude-haiku-5-5'"),
        ([httpx2.ConnectError("nobody there")], ProviderDown, "nobody there"),
        ([STARTED], ProviderDown, "ended before message_stop"),
    ],
)
async def test_a_check_says_what_is_wrong(script: Script, error: Error, what: str) -> None:
    async with claude(script) as (model, _):
        with pytest.raises(error, match=what):
            await model.check(system="", tools=())


@pytest.mark.parametrize("key", ["", " sk", "sk\n", "sk ant", "skü"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError, match="the api key for anthropic is empty, or holds") as caught:
        ClaudeModel(api_key=key)
    assert "sk" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "used"),
    [("wss://h", "https://h"), ("ws://h:1", "http://h:1"), ("https://h", "https://h"), ("http://h", "http://h")],
)
async def test_either_spelling_of_a_scheme_is_accepted(written: str, used: str) -> None:
    async with aclosing(ClaudeModel(api_key=KEY, base_url=written)) as model:
        assert model.base_url == used


async def test_a_model_says_who_it_is_and_not_its_key() -> None:
    async with claude() as (model, _):
        assert model.vendor == "anthropic"
        assert KEY not in repr(model)


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_texts_are_told_as_they_come(autojump_clock: MockClock) -> None:
    slowly = [each for line in [STARTED, *LET_ME, *ends("end_turn")] for each in (line, 1.0)]
    async with claude(slowly) as (model, _):
        began_at = trio.current_time()
        async with model.reply(ASKED) as events:
            told_at = [trio.current_time() - began_at async for _ in events]
    assert told_at == [0.0, 2.0, 3.0, 5.0, 6.0]  # what it costs is told first, and before the end


async def test_a_body_that_stays_open_holds_nobody_up(autojump_clock: MockClock) -> None:
    async with claude([body(LET_ME), 1000.0]) as (model, vendor):
        began_at = trio.current_time()
        assert (await told(model))[-1] == stopped()
        assert trio.current_time() - began_at == 1.0
        assert vendor.closed == 1


async def test_an_error_behind_the_end_is_nobodys_business() -> None:
    async with claude([body(LET_ME), httpx2.ReadError("reset")]) as (model, _):
        assert (await told(model))[-1] == stopped()


@pytest.mark.parametrize("leave", ["cancel", "break", "raise"])
async def test_leaving_a_reply_closes_its_request(autojump_clock: MockClock, leave: str) -> None:
    class Left(Exception):
        pass

    heard: list[ModelEvent] = []
    async with claude([STARTED, *LET_ME, 1000.0]) as (model, vendor):
        began_at = trio.current_time()
        tasks = trio.lowlevel.current_statistics().tasks_living
        with pytest.raises(Left) if leave == "raise" else trio.move_on_after(5.0):
            async with model.reply(ASKED) as events:
                async for each in events:
                    if isinstance(each, ModelUsage):
                        continue
                    heard.append(each)
                    if leave == "raise":
                        raise Left
                    if leave == "break":
                        break
        assert vendor.closed == 1
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert trio.current_time() - began_at == (5.0 if leave == "cancel" else 0.0)
    assert heard == says("Let me", " check.")[: 2 if leave == "cancel" else 1]


# ── over a socket ─────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Port:
    """A server of one answer: how many connections it took, whether it was asked, and whether one was closed."""

    chunks: list[bytes]
    ends: bool = True
    taken: int = 0
    asked: trio.Event = attrs.field(factory=trio.Event)
    closed: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, stream: trio.SocketStream) -> None:
        self.taken += 1
        try:
            while await self._request(stream):
                self.asked.set()
                headers = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                await stream.send_all(f"HTTP/1.1 200 OK\r\n{headers}".encode())
                for chunk in self.chunks:
                    await stream.send_all(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                if self.ends:
                    await stream.send_all(b"0\r\n\r\n")
        except trio.BrokenResourceError:
            pass
        self.closed.set()

    async def _request(self, stream: trio.SocketStream) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := await stream.receive_some()):
                return False
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        while len(rest) < int(length[1]):
            rest += await stream.receive_some()
        return True


@asynccontextmanager
async def over_a_socket(port: Port) -> AsyncIterator[ClaudeModel]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, port.serve, 0, host="127.0.0.1"))
        number = listeners[0].socket.getsockname()[1]
        async with aclosing(ClaudeModel(api_key=KEY, base_url=f"ws://127.0.0.1:{number}")) as model:
            yield model
        nursery.cancel_scope.cancel()


async def test_replies_one_after_the_other_share_a_connection() -> None:
    port = Port([body(LET_ME)])
    with trio.fail_after(20.0):
        async with over_a_socket(port) as model:
            for _ in range(3):
                assert (await told(model))[-1] == stopped()
            assert port.taken == 1
            await model.aclose()
            await port.closed.wait()


@pytest.mark.parametrize("chunks", [[], [STARTED, *LET_ME[:2]]])
async def test_a_cancelled_reply_closes_its_connection(chunks: list[bytes]) -> None:
    port = Port(chunks, ends=False)
    with trio.fail_after(20.0):
        async with over_a_socket(port) as model:
            async with trio.open_nursery() as nursery:
                begun = trio.Event()
                nursery.start_soon(until_cancelled, model, begun.set)
                await (begun if chunks else port.asked).wait()
                nursery.cancel_scope.cancel()
            await port.closed.wait()  # the server sees the end of the connection


async def until_cancelled(model: ClaudeModel, begun: Callable[[], None]) -> None:
    async with model.reply(ASKED) as events:
        async for _ in events:
            begun()


@pytest.mark.parametrize("last", [b"", event("error", **failure("overloaded_error")), b"x" * LONGEST_REPLY_BYTES])
async def test_a_reply_left_midway_leaves_nothing_to_the_garbage(last: bytes) -> None:
    port = Port([STARTED + b"".join(LET_ME), last] if last else [STARTED + b"".join(LET_ME)], ends=False)
    with trio.fail_after(20.0):
        async with over_a_socket(port) as model:
            with suppress(ProviderDown):
                async with model.reply(ASKED) as events:
                    async for _ in events:
                        if not last:
                            break
            gc.collect()  # which warns of what it has to close
            await port.closed.wait()


# ── what it costs, by a vendor that is strict ─────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def simulated(*replies: Reply) -> AsyncIterator[tuple[ClaudeModel, AnthropicSimulator]]:
    simulator = AnthropicSimulator(mind=script(list(replies)), latency=INSTANT)
    async with trio.open_nursery() as nursery:

        async def connect() -> trio.abc.Stream:
            ours, its = trio.testing.memory_stream_pair()
            nursery.start_soon(simulator.serve_stream, its)
            return ours

        async with aclosing(
            ClaudeModel(base_url="http://claude.test", api_key=KEY, transport=MemoryTransport(connect))
        ) as model:
            yield model, simulator
        nursery.cancel_scope.cancel()


async def test_what_is_read_counts_alike_whether_it_is_new_kept_or_out_of_the_cache() -> None:
    long = attrs.evolve(ASKED, system="You answer the phone of Bright Smile. " * 100)
    answer = "Yes, at nine. Does that suit you?"
    with trio.fail_after(20.0):
        async with simulated(Reply.of(answer), Reply.of(answer), Reply.of("No.")) as (model, simulator):
            first, again, other = [costs(await told(model, each)) for each in (long, long, ASKED)]
    assert simulator.violations == []
    assert again == first
    assert [output for _, output in first] == [1, len(tokens(answer))]
    assert first[0][0] > len(long.system) / 4  # as the simulator counts
    assert other[-1][0] < first[-1][0] / 5


async def test_of_a_reply_that_breaks_off_it_is_known_what_was_read() -> None:
    broken = attrs.evolve(Reply.of("Yes, at nine."), broken=Break(how=How.ERROR, after_tokens=2))
    with trio.fail_after(20.0):
        async with simulated(Reply.of("Yes."), broken) as (model, _):
            whole = costs(await told(model))
            async with model.reply(ASKED) as events:
                assert costs([await anext(events)]) == whole[:1]
                with pytest.raises(ProviderDown):
                    await last(events)


async def last(events: AsyncIterator[ModelEvent]) -> None:
    async for _ in events:
        pass
