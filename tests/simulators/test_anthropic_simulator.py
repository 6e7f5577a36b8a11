"""The simulated Claude, with the vendor's own SDK as its client."""

import itertools
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import attrs
import httpx
import httpx2
import pytest
import trio
from anthropic.types import Message, ToolParam
from trio.testing import MockClock, memory_stream_pair

from simulators.anthropic.events import INSTANT, Latency
from simulators.anthropic.memory import MemoryTransport
from simulators.anthropic.minds import Mind, echo, script, tool_user
from simulators.anthropic.reply import Break, How, Refuse, Reply, Text, UseTool, tokens
from simulators.anthropic.simulator import AnthropicSimulator, Ending, Wire

MODEL = "claude-haiku-5-5"
OLD_MODEL = "claude-haiku-4-5"
NO_THINKING: Any = {"type": "disabled"}
FIND: ToolParam = {
    "name": "find_slots",
    "description": "Finds free slots.",
    "input_schema": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
}
HEADERS = {"x-api-key": "k", "anthropic-version": "2026-10-21", "content-type": "application/json"}
BODY = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}


@attrs.frozen
class Rig:
    simulator: AnthropicSimulator
    url: str
    client: anthropic.AsyncAnthropic

    async def stream(self, text: str = "Hello", **more: Any) -> Message:
        """The message that the SDK makes of a stream."""
        asked = {"model": MODEL, "max_tokens": 200, "thinking": NO_THINKING} | more
        asked.setdefault("messages", [{"role": "user", "content": text}])
        async with self.client.messages.stream(**asked) as stream:
            return await stream.get_final_message()

    async def hear(self, tell: Callable[[str], None]) -> None:
        """Listen to a stream, word by word."""
        async with self.client.messages.stream(
            model=MODEL, max_tokens=99, thinking=NO_THINKING, messages=[{"role": "user", "content": "Hi"}]
        ) as stream:
            async for text in stream.text_stream:
                tell(text)

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        """What comes of a request that no SDK would make; a header set to "" is left out."""
        sent = {name: value for name, value in {**HEADERS, **headers}.items() if value}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with httpx.AsyncClient(trust_env=False) as http:
            return await http.post(f"{self.url}/v1/messages", content=content, headers=sent)


@asynccontextmanager
async def serving(mind: Mind | None = None, **settings: Any) -> AsyncIterator[Rig]:
    simulator = AnthropicSimulator(mind=mind or echo(), **({"latency": INSTANT} | settings))
    async with trio.open_nursery() as nursery:
        url = await nursery.start(simulator.serve)
        http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0, http_client=http) as client:
            yield Rig(simulator, url, client)
        nursery.cancel_scope.cancel()


def texts(message: Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# ── good answers ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_echo_comes_back_in_clauses_and_the_request_is_kept() -> None:
    async with serving() as rig:
        message = await rig.stream("I lost my blue hat.", system="Be kind.", tools=[FIND])
        assert texts(message) == "You said I lost my blue hat, I heard I lost my blue hat, so it is I lost my blue hat."
        assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
        assert message.usage.output_tokens == len(tokens(texts(message)))
        await ended(rig, Ending.COMPLETE)
        (exchange,) = rig.simulator.requests
        assert exchange.request.last_user_text == "I lost my blue hat."
        assert exchange.request.system == "Be kind."
        assert exchange.request.tools == {"find_slots": FIND["input_schema"]}
        assert not rig.simulator.violations


async def test_a_message_without_streaming_is_the_same_at_once() -> None:
    mind = script([Reply.of("Yes.", UseTool("find_slots", {"day": "Tue"}))])
    async with serving(mind) as rig:
        message = await rig.client.messages.create(
            model=MODEL, max_tokens=99, thinking=NO_THINKING, tools=[FIND], messages=[{"role": "user", "content": "?"}]
        )
    assert texts(message) == "Yes."
    assert message.content[1].type == "tool_use"
    assert message.content[1].input == {"day": "Tue"}
    assert message.stop_reason == "tool_use"


async def test_the_events_come_in_order_with_a_ping_and_an_empty_first_fragment() -> None:
    mind = script([Reply.of("Yes.", UseTool("find_slots", {"day": "Tue"}))])
    async with serving(mind) as rig:
        body = {**BODY, "stream": True, "thinking": NO_THINKING, "tools": [FIND]}
        response = await rig.post(body)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["request-id"].startswith("req_01")
    events = [part.split("\n") for part in response.text.removesuffix("\n\n").split("\n\n")]
    data = [json.loads(lines[1].removeprefix("data: ")) for lines in events]
    assert [lines[0].removeprefix("event: ") for lines in events] == [each["type"] for each in data]
    names = [name for name, _ in itertools.groupby(each["type"] for each in data)]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert names == ["message_start", block[0], "ping", *block[1:], *block, "message_delta", "message_stop"]
    fragments = [each["delta"]["partial_json"] for each in data if each.get("index") == 1 and "delta" in each]
    assert fragments[0] == ""
    assert len(fragments) > 2
    assert json.loads("".join(fragments)) == {"day": "Tue"}
    assert data[0]["message"]["stop_reason"] is None
    assert data[-2]["usage"]["output_tokens"] > data[0]["message"]["usage"]["output_tokens"]


@pytest.mark.parametrize("shape", ["text + tool", "parallel", "tool only"])
async def test_tools_are_asked_for_and_their_results_are_told(shape: str) -> None:
    inputs: list[dict[str, Any]] = [{"day": "Tue", "note": 'a "quoted" \\ ☎ 日曜'}, {"day": "Wed"}]
    mind = tool_user(
        "find_slots", *inputs[: 2 if shape == "parallel" else 1], say="" if shape == "tool only" else "So."
    )
    async with serving(mind) as rig:
        first = await rig.stream("When?", tools=[FIND])
        assert first.stop_reason == "tool_use"
        uses = [block for block in first.content if block.type == "tool_use"]
        assert [use.input for use in uses] == inputs[: len(uses)]
        assert len(uses) == (2 if shape == "parallel" else 1)
        assert texts(first) == ("" if shape == "tool only" else "So.")
        results: list[Any] = [
            {"type": "tool_result", "tool_use_id": use.id, "content": f"{at} free"} for at, use in enumerate(uses)
        ]
        results[-1]["is_error"] = True
        results.append({"type": "text", "text": "Thanks."})
        messages = [
            {"role": "user", "content": "When?"},
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
        ]
        second = await rig.stream(tools=[FIND], messages=messages)
        assert "it failed: " in texts(second)
        assert f"{len(uses) - 1} free" in texts(second)
        assert rig.simulator.requests[1].request.last_user_text == "Thanks."


async def test_a_tool_user_without_its_tool_is_an_echo() -> None:
    async with serving(tool_user("find_slots")) as rig:
        assert texts(await rig.stream("Hm")).startswith("You said Hm")


async def test_a_tool_without_input_has_an_empty_one() -> None:
    async with serving(tool_user("now")) as rig:
        tool = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
        message = await rig.stream(tools=[tool])
        assert message.content[1].type == "tool_use"
        assert message.content[1].input == {}


async def test_an_empty_turn_has_no_block() -> None:
    async with serving(script([Reply()])) as rig:
        message = await rig.stream()
    assert (message.content, message.stop_reason) == ([], "end_turn")


async def test_max_tokens_cuts_a_tool_input_in_the_middle() -> None:
    tool_input = {"day": "a long description of the day that is wanted"}
    async with serving(script([Reply.of("So.", UseTool("find_slots", tool_input))])) as rig:
        body = {**BODY, "stream": True, "thinking": NO_THINKING, "tools": [FIND], "max_tokens": 5}
        response = await rig.post(body)
    data = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n") if line.startswith("data: ")]
    cut = "".join(each["delta"].get("partial_json", "") for each in data if "delta" in each)
    assert json.dumps(tool_input).startswith(cut)
    assert 0 < len(cut) < len(json.dumps(tool_input))
    assert data[-2]["delta"]["stop_reason"] == "max_tokens"
    assert data[-2]["usage"]["output_tokens"] == 5
    assert [each["type"] for each in data[-3:]] == ["content_block_stop", "message_delta", "message_stop"]


async def test_a_refusal_says_of_what_kind_after_what_was_already_said() -> None:
    refusal = Reply(blocks=(Text("Well, "),), stop_reason="refusal", category="bio", explanation="no")
    async with serving(script([refusal])) as rig:
        message = await rig.stream()
    assert message.stop_reason == "refusal"
    assert message.stop_details is not None
    assert (message.stop_details.category, message.stop_details.explanation) == ("bio", "no")
    assert texts(message) == "Well, "


async def test_a_stop_sequence_ends_the_text_and_is_not_in_it() -> None:
    async with serving(script(["One two<END> three"])) as rig:
        message = await rig.stream(stop_sequences=["<END>", "three"])
    assert (texts(message), message.stop_reason, message.stop_sequence) == ("One two", "stop_sequence", "<END>")


async def test_no_tokens_at_all_may_be_asked_for() -> None:
    async with serving() as rig:
        message = await rig.stream(max_tokens=0)
    assert (message.content, message.usage.output_tokens) == ([], 0)


async def test_haiku_thinks_first_unless_it_is_told_not_to() -> None:
    async with serving() as rig:
        thinking = await rig.stream(thinking=anthropic.omit)
        assert [block.type for block in thinking.content] == ["thinking", "text"]
        assert thinking.content[0].type == "thinking"
        assert thinking.content[0].thinking == ""
        assert thinking.usage.output_tokens > len(tokens(texts(thinking)))
        shown = await rig.stream(thinking={"type": "adaptive", "display": "summarized"})
        assert shown.content[0].type == "thinking"
        assert shown.content[0].thinking
        assert [block.type for block in (await rig.stream()).content] == ["text"]


async def test_thinking_can_use_up_all_tokens() -> None:
    async with serving() as rig:
        message = await rig.stream(thinking=anthropic.omit, max_tokens=3)
    assert (texts(message), message.stop_reason) == ("", "max_tokens")


async def test_thinking_comes_back_unchanged_or_is_refused() -> None:
    async with serving(tool_user("find_slots", {"day": "Tue"})) as rig:
        more: dict[str, Any] = {"tools": [FIND], "thinking": {"type": "adaptive", "display": "summarized"}}
        first = await rig.stream("When?", **more)
        (thought, *rest) = first.content
        use = rest[-1]
        assert thought.type == "thinking"
        assert use.type == "tool_use"
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "9"}]}
        question = {"role": "user", "content": "When?"}

        async def again(question: Any, *blocks: Any, **changed: Any) -> Message:
            messages = [question, {"role": "assistant", "content": list(blocks)}, result]
            return await rig.stream(messages=messages, **more, **changed)

        second = await again(question, thought, *rest)
        history = [question, agent(rest), result, agent(second.content), user("And?")]  # a closed turn without its own
        assert (await rig.stream(messages=history, **more)).content[0].type == "thinking"
        other = thought.model_copy(update={"thinking": "another thought"})
        for refused in (
            again(question, *rest),
            again(question, other, *rest),
            again({"role": "user", "content": "Where?"}, thought, *rest),
            again(question, thought, *rest, system="Be brief."),
        ):
            with pytest.raises(anthropic.BadRequestError, match="thinking"):
                await refused


@pytest.mark.parametrize("wire", [Wire(piece_bytes=1), Wire(piece_bytes=7, crlf=True), Wire(strange=True, crlf=True)])
async def test_the_sdk_makes_the_same_of_any_cut_and_dress(wire: Wire) -> None:
    said = "Grüße, 日曜日 ☎, and “quotes” — all of it."
    reply = Reply.of(said, UseTool("find_slots", {"day": "日曜 ☎"}))
    async with serving(script([reply]), wire=wire) as rig:
        message = await rig.stream(tools=[FIND])
    assert texts(message) == said
    assert message.content[1].type == "tool_use"
    assert message.content[1].input == {"day": "日曜 ☎"}


async def test_pieces_cut_through_characters() -> None:
    async with serving(script(["日曜"]), wire=Wire(piece_bytes=1)) as rig, httpx.AsyncClient() as http:
        body = {**BODY, "stream": True, "thinking": NO_THINKING}
        async with http.stream("POST", f"{rig.url}/v1/messages", json=body, headers=HEADERS) as response:
            pieces = [piece async for piece in response.aiter_raw()]
    assert "日曜".encode() in b"".join(pieces)
    assert max(map(len, pieces)) < len("日".encode())


# ── the prompt cache ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_marked_prefix_is_read_from_the_cache_the_second_time(autojump_clock: MockClock) -> None:
    simulator = AnthropicSimulator(latency=INSTANT)
    long = [{"type": "text", "text": "word " * 500, "cache_control": {"type": "ephemeral"}}]

    async def cost(system: Any) -> tuple[int, int]:
        response = await over_memory(simulator, {**BODY, "system": system, "thinking": NO_THINKING})
        return response["usage"]["cache_creation_input_tokens"], response["usage"]["cache_read_input_tokens"]

    written, read = await cost(long)
    assert (written > 600, read) == (True, 0)
    assert await cost(long) == (0, written)
    for _ in range(2):
        await trio.sleep(299)  # and it is kept for as long again
        assert await cost(long) == (0, written)
    await trio.sleep(301)
    assert await cost(long) == (written, 0)
    changed, read = await cost([{**long[0], "text": "another " * 500}])
    assert (changed > 600, read) == (True, 0)
    assert await cost([{**long[0], "text": "too short to keep"}]) == (0, 0)


async def test_two_markers_are_written_and_read_for_themselves() -> None:
    simulator = AnthropicSimulator(latency=INSTANT)
    system = [{"type": "text", "text": "word " * 500, "cache_control": {**MARK, "ttl": "1h"}}]

    async def usage(*contents: str) -> Any:
        spoken = [user([{"type": "text", "text": content}]) for content in contents]
        spoken[-1]["content"][0]["cache_control"] = MARK
        response = await over_memory(simulator, {**BODY, "system": system, "messages": spoken, "thinking": NO_THINKING})
        return response["usage"]

    first = await usage("Hello " * 100)
    assert (
        first["cache_creation"]["ephemeral_1h_input_tokens"]
        > 600
        > first["cache_creation"]["ephemeral_5m_input_tokens"]
    )
    assert sum(first["cache_creation"].values()) == first["cache_creation_input_tokens"]
    second = await usage("Hello " * 100, "And " * 100)
    assert second["cache_read_input_tokens"] == first["cache_creation_input_tokens"]
    assert second["cache_creation"]["ephemeral_1h_input_tokens"] == 0
    assert 0 < second["cache_creation"]["ephemeral_5m_input_tokens"] < first["cache_creation_input_tokens"]


def posted(body: Any) -> bytes:
    """The only request of a connection."""
    content = json.dumps(body).encode()
    headers = {**HEADERS, "host": "x", "connection": "close", "content-length": str(len(content))}
    lines = ["POST /v1/messages HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + content


async def over_memory(simulator: AnthropicSimulator, body: Any) -> Any:
    """The answer to one request, over a stream in memory."""
    ours, its = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulator.serve_stream, its)
        await ours.send_all(posted(body))
        answer = b"".join([bytes(data) async for data in ours])
    return json.loads(answer.partition(b"\r\n\r\n")[2])


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pieces_come_when_they_are_due(autojump_clock: MockClock) -> None:
    latency = Latency(started_s=0.1, first_token_s=0.5, between_tokens_s=0.25, tokens_per_piece=2)
    said = "One two three four five six."
    simulator = AnthropicSimulator(mind=script([said]), latency=latency)
    ours, its = memory_stream_pair()
    came: list[tuple[float, str]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(simulator.serve_stream, its)
        began = trio.current_time()
        await ours.send_all(posted({**BODY, "stream": True, "thinking": NO_THINKING}))
        async for data in ours:  # an event each
            if b"text_delta" in data:
                event = json.loads(data.decode().partition("data: ")[2])
                came.append((trio.current_time() - began, event["delta"]["text"]))
    assert [at_s for at_s, _ in came] == pytest.approx([due_s for due_s, _ in latency.pieces(said)])
    assert [piece for _, piece in came] == [piece for _, piece in latency.pieces(said)]
    assert "".join(piece for _, piece in came) == said
    assert came[0][0] == pytest.approx(0.5)
    assert came[1][0] == pytest.approx(1.0)
    assert simulator.requests[0].late_s == pytest.approx(0)


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────────────────────────

USE = {"type": "tool_use", "id": "toolu_1", "name": "find_slots", "input": {}}
USES = [USE, {**USE, "id": "toolu_2"}]
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "9"}
RESULTS = [RESULT, {**RESULT, "tool_use_id": "toolu_2"}]
MARK = {"type": "ephemeral"}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def agent(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def talk(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages), "tools": [FIND]}


def tool(**changed: Any) -> dict[str, Any]:
    return {"tools": [{**FIND, **changed}]}


def schema(**words: Any) -> dict[str, Any]:
    return tool(input_schema={"type": "object", **words})


NAN = schema(properties={"a": {"type": "number", "minimum": math.nan}})

REFUSED: Mapping[str, tuple[dict[str, Any], str]] = {
    "no number of tokens": ({"max_tokens": None}, "max_tokens: Input should be a valid integer"),
    "too many tokens": ({"max_tokens": 128_001}, "max_tokens: 128001 > 128000"),
    "negative tokens": ({"max_tokens": -1}, "max_tokens"),
    "a yes for tokens": ({"max_tokens": True}, "max_tokens"),
    "temperature": ({"temperature": 1.0}, "temperature: Extra inputs are not permitted"),
    "top_p": ({"top_p": 0.9}, "top_p: Extra inputs are not permitted"),
    "top_k": ({"top_k": 5}, "top_k: Extra inputs are not permitted"),
    "an unknown field": ({"voice": "x"}, "voice: Extra inputs are not permitted"),
    "an unknown field in a block": ({"messages": [user([{"type": "text", "text": "x", "lang": "en"}])]}, "lang: Extra"),
    "an unknown field in a tool": (tool(parameters={}), "tools.0.parameters: Extra inputs"),
    "an unknown block": ({"messages": [user([{"type": "video"}])]}, "Input tag 'video'"),
    "no messages": ({"messages": []}, "at least one message"),
    "a role": ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
    "an answer first": ({"messages": [agent("Hi"), user("Hello")]}, "first message must use the user role"),
    "a prefill": ({"messages": [user("Hello"), agent("Sure,")]}, "does not support assistant message prefill"),
    "a prefill of 4.6": (
        {"model": "claude-sonnet-4-6", "messages": [user("Hello"), agent("Sure,")]},
        "does not support assistant message prefill",
    ),
    "empty words": ({"messages": [user("")]}, "non-empty"),
    "an empty block": ({"messages": [user([{"type": "text", "text": ""}])]}, "text content blocks must be non-empty"),
    "blank words": ({"messages": [user(" \n")]}, "non-whitespace"),
    "no blocks": ({"messages": [user([])]}, "non-empty content"),
    "an empty system block": ({"system": [{"type": "text", "text": ""}]}, "system.0: text content blocks must be"),
    "a document said by the agent": (
        {"messages": [user("Hi"), agent([{"type": "document", "source": {"type": "text"}}]), user("Hm")]},
        "Input tag 'document'",
    ),
    "citations of the caller": (
        {"messages": [user([{"type": "text", "text": "x", "citations": [{"type": "y"}]}])]},
        "citations are not permitted",
    ),
    "a tool's name": (tool(name="find slots"), "tools.0.name: String should match pattern"),
    "a tool's long name": (tool(name="x" * 129), "tools.0.name"),
    "two tools of a name": ({"tools": [FIND, FIND]}, "Tool names must be unique"),
    "a schema of no object": (tool(input_schema={"type": "string"}), "input_schema.type: Input should be 'object'"),
    "a schema without type": (tool(input_schema={}), "input_schema.type: Field required"),
    "a schema that is text": (tool(input_schema="{}"), "input_schema: Input should be a valid dictionary"),
    "a schema's type": (schema(properties={"a": {"type": "text"}}), "JSON schema is invalid"),
    "a schema's required": (schema(required="a"), "JSON schema is invalid"),
    "a schema's properties": (schema(properties=["a"]), "JSON schema is invalid"),
    "a schema's items": (schema(properties={"a": {"type": "array", "items": 3}}), "valid dictionary"),
    "a schema of choices": (schema(anyOf=[{}]), "does not support oneOf, allOf, or anyOf"),
    "a choice of no tools": ({"tool_choice": {"type": "auto"}}, "only be specified while providing tools"),
    "a choice of another tool": (
        {"tools": [FIND], "tool_choice": {"type": "tool", "name": "x"}},
        "Tool 'x' not found",
    ),
    "a forced tool while thinking": (
        {"tools": [FIND], "tool_choice": {"type": "any"}, "thinking": {"type": "adaptive"}},
        "Thinking may not be enabled",
    ),
    "tools of the past without tools": ({"messages": [user("?"), agent(USES), user(RESULTS)]}, "must define tools"),
    "a call without result": (talk(user("?"), agent([USE]), user("Hm")), "without `tool_result` blocks immediately"),
    "a call at the end": (talk(user("?"), agent([USE])), "prefill"),
    "one of two results": (talk(user("?"), agent(USES), user(RESULTS[:1])), "immediately after: toolu_2"),
    "results in two messages": (
        talk(user("?"), agent(USES), user(RESULTS[:1]), user(RESULTS[1:])),
        "immediately after: toolu_2",
    ),
    "words before a result": (
        talk(user("?"), agent([USE]), user([{"type": "text", "text": "Hm"}, RESULT])),
        "immediately after: toolu_1",
    ),
    "a late result": (talk(user("?"), agent([USE]), agent("Hm"), user([RESULT])), "immediately after: toolu_1"),
    "a result of nothing": (talk(user([RESULT])), "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1"),
    "a result twice": (talk(user("?"), agent([USE]), user([RESULT, RESULT])), "must have a single result"),
    "a call twice": (talk(user("?"), agent([USE, USE]), user([RESULT])), "ids must be unique"),
    "a call twice in a talk": (
        talk(user("?"), agent([USE]), user([RESULT]), agent([USE]), user([RESULT])),
        "ids must be unique",
    ),
    "a call's id": (talk(user("?"), agent([{**USE, "id": "a.b"}]), user("Hm")), "id: String should match pattern"),
    "a call's input as text": (talk(user("?"), agent([{**USE, "input": "{}"}]), user([RESULT])), "valid dictionary"),
    "a call by the caller": (talk(user([USE])), "Input tag 'tool_use'"),
    "a result that is an object": (talk(user("?"), agent([USE]), user([{**RESULT, "content": {}}])), "valid list"),
    "a budget": ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "'enabled' is not supported"),
    "no thought with much effort": ({"output_config": {"effort": "max"}}, "'disabled' is not supported with effort"),
    "thought between tools": ({"thinking": {"type": "between_tools"}}, "'between_tools' is not supported"),
    "an effort": ({"output_config": {"effort": "huge"}}, "output_config.effort"),
    "a marker's time": ({"system": [{"type": "text", "text": "x", "cache_control": {**MARK, "ttl": "2h"}}]}, "ttl"),
    "five markers": ({"system": [{"type": "text", "text": "x", "cache_control": MARK}] * 5}, "A maximum of 4 blocks"),
    "a longer marker after a shorter": (
        {"system": [{"type": "text", "text": "x", "cache_control": {**MARK, "ttl": ttl}} for ttl in ("5m", "1h")]},
        "must not come after",
    ),
    "a blank stop": ({"stop_sequences": [" "]}, "non-whitespace"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_the_vendor_refuses_is_a_bad_request(what: str) -> None:
    wrong, why = REFUSED[what]
    async with serving() as rig:
        asked = {"model": MODEL, "max_tokens": 100, "thinking": NO_THINKING, "messages": [user("Hello")], **wrong}
        with pytest.raises(anthropic.BadRequestError) as caught:
            await rig.client.post("/v1/messages", body=asked, cast_to=Message)
        assert caught.value.type == "invalid_request_error"
        assert why in str(caught.value.api_message)
        assert caught.value.request_id is not None
        body = caught.value.body
        assert isinstance(body, dict)
        assert body["request_id"] == caught.value.request_id
        (violation,) = rig.simulator.violations
        assert violation.status == 400
        assert not rig.simulator.requests


@pytest.mark.parametrize("field", ["model", "max_tokens", "messages"])
async def test_a_field_that_must_be_there_is_named(field: str) -> None:
    async with serving() as rig:
        response = await rig.post({name: value for name, value in BODY.items() if name != field})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == f"{field}: Field required"


@pytest.mark.parametrize("model", ["claude-3-5-haiku-20241022", "claude-sonnet-4-0", "gpt-5", "claude-haiku-6-5"])
async def test_an_unknown_or_retired_model_is_not_found(model: str) -> None:
    async with serving() as rig:
        with pytest.raises(anthropic.NotFoundError) as caught:
            await rig.client.post("/v1/messages", body={**BODY, "model": model}, cast_to=Message)
    assert caught.value.type == "not_found_error"


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "", "authorization": "Bearer k"}])
async def test_both_forms_of_the_key_are_taken(headers: dict[str, str]) -> None:
    async with serving(keys=frozenset({"k"})) as rig:
        assert (await rig.post(BODY, **headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": ""},
        {"x-api-key": "wrong"},
        {"x-api-key": "wrong", "authorization": "Bearer k"},  # the older form wins
        {"x-api-key": "", "authorization": "Bearer wrong"},
        {"x-api-key": "", "authorization": "Basic k"},
    ],
)
async def test_without_the_right_key_nothing_is_answered(headers: dict[str, str]) -> None:
    async with serving(keys=frozenset({"k"})) as rig:
        response = await rig.post(BODY, **headers)
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"


async def test_the_sdk_hears_that_its_key_is_wrong() -> None:
    async with serving(keys=frozenset({"another"})) as rig:
        with pytest.raises(anthropic.AuthenticationError):
            await rig.stream()


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"anthropic-version": ""}, "anthropic-version: header is required"),
        ({"anthropic-version": "2024-01-01"}, "is not a valid version"),
        ({"anthropic-beta": "known,unheard-of"}, "unheard-of"),
        ({"content-type": "text/plain"}, "content-type"),
    ],
)
async def test_headers_that_are_wrong_are_refused(headers: dict[str, str], why: str) -> None:
    async with serving(betas=frozenset({"known"})) as rig:
        response = await rig.post(BODY, **headers)
    assert response.status_code == 400
    assert why in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", json.dumps({**BODY, **NAN}).encode(), b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    async with serving() as rig:
        response = await rig.post(body)
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_too_large_a_body_is_refused_as_such() -> None:
    async with serving() as rig:
        response = await rig.post(b" " * (32 * 2**20 + 1))
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")


async def test_only_messages_are_served() -> None:
    async with serving() as rig, httpx.AsyncClient(trust_env=False) as http:
        for response in (await http.get(f"{rig.url}/v1/messages"), await http.post(f"{rig.url}/v1/complete")):
            assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"temperature": 0.3}, 200),
        ({"temperature": 1.5}, 400),
        ({"messages": [user("Hi"), agent("Sure,")]}, 200),
        ({"messages": [user("Hi"), agent("Sure, ")]}, 400),
        ({"max_tokens": 64_001}, 400),
        ({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}, 200),
        ({"max_tokens": 1024, "thinking": {"type": "enabled", "budget_tokens": 1024}}, 400),
        ({"model": MODEL, "temperature": 1}, 200),
        ({"model": MODEL, "temperature": 0.3}, 400),
        ({"model": MODEL, "top_k": 3}, 400),
    ],
)
async def test_the_older_version_takes_what_older_models_take(more: dict[str, Any], status: int) -> None:
    async with serving() as rig:
        response = await rig.post({**BODY, "model": OLD_MODEL, **more}, **{"anthropic-version": "2023-06-01"})
    assert response.status_code == status


# ── errors and broken answers ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "kind", "type_"),
    [
        (402, anthropic.APIStatusError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (409, anthropic.ConflictError, "conflict_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (504, anthropic.APIStatusError, "timeout_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
async def test_an_error_instead_of_an_answer_is_the_sdks_own(
    status: int, kind: type[anthropic.APIStatusError], type_: str
) -> None:
    refusal = Refuse(status=status, retry_after_s=7, error_code="a_code", headers={"x-should-retry": "false"})
    async with serving(script([refusal])) as rig:
        with pytest.raises(kind) as caught:
            await rig.stream()
        assert (caught.value.status_code, caught.value.type, caught.value.error_code) == (status, type_, "a_code")
        assert caught.value.response.headers["retry-after"] == "7"
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert rig.simulator.requests[0].ending is Ending.REFUSED


async def test_an_error_in_the_middle_of_a_stream_comes_after_what_was_said() -> None:
    broken = attrs.evolve(Reply.of("One two three four."), broken=Break(how=How.ERROR, after_tokens=4))
    async with serving(script([broken])) as rig:
        heard: list[str] = []
        with pytest.raises(anthropic.APIStatusError) as caught:
            await rig.hear(heard.append)
        assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")
        assert heard == tokens("One two three four.")[:4]
        assert rig.simulator.requests[0].ending is Ending.BROKEN
        assert rig.simulator.requests[0].tokens == 4


@pytest.mark.parametrize(("how", "error"), [(How.CUT, httpx2.RemoteProtocolError), (How.RESET, httpx2.ReadError)])
async def test_a_connection_that_breaks_in_the_middle_is_an_error(how: How, error: type[Exception]) -> None:
    broken = attrs.evolve(Reply.of("One two three four."), broken=Break(how=how, after_tokens=99))
    async with serving(script([broken])) as rig:
        with pytest.raises(error):
            await rig.stream()
        assert rig.simulator.requests[0].ending is Ending.BROKEN


async def test_a_body_may_end_without_message_stop() -> None:
    broken = attrs.evolve(Reply.of("One two three four."), broken=Break(how=How.END, after_tokens=99))
    async with serving(script([broken])) as rig:
        message = await rig.stream()  # the SDK takes it for a message: only its stop_reason tells
    assert message.stop_reason is None
    assert texts(message) == "One two three four."


@pytest.mark.parametrize("how", [How.STALL, How.CUT, How.RESET])
async def test_an_answer_may_break_off_before_its_head(how: How) -> None:
    broken = attrs.evolve(Reply.of("One."), broken=Break(how=how, after_tokens=None))
    async with serving(script([broken])) as rig:
        with pytest.raises(anthropic.APIConnectionError):
            async with rig.client.with_options(timeout=0.1).messages.stream(
                model=MODEL, max_tokens=99, messages=[{"role": "user", "content": "Hi"}]
            ):
                pytest.fail("an answer began")


@pytest.mark.parametrize("how", [How.STALL, How.PINGS])
async def test_a_stall_lasts_until_the_client_leaves_and_that_is_noted(how: How) -> None:
    broken = attrs.evolve(Reply.of("One two three four."), broken=Break(how=how, after_tokens=4))
    async with serving(script([broken])) as rig:
        heard: list[str] = []
        with trio.move_on_after(0.15):
            await rig.hear(heard.append)
        assert heard == tokens("One two three four.")[:4]
        await ended(rig, Ending.CLIENT_LEFT)


async def test_generating_stops_when_the_client_leaves() -> None:
    async with serving(script(["word " * 5000]), latency=attrs.evolve(INSTANT, between_tokens_s=0.01)) as rig:
        async with rig.client.messages.stream(
            model=MODEL, max_tokens=9999, thinking=NO_THINKING, messages=[{"role": "user", "content": "Hi"}]
        ) as stream:
            async for _ in stream.text_stream:
                break
        await ended(rig, Ending.CLIENT_LEFT)
        assert 0 < rig.simulator.requests[0].tokens < 5000


async def ended(rig: Rig, ending: Ending) -> None:
    with trio.fail_after(5):
        await rig.simulator.requests[0].over.wait()
    assert rig.simulator.requests[0].ending is ending


# ── connections ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_connection_serves_one_request_after_another() -> None:
    async with serving(keys=frozenset({"k"})) as rig:
        for _ in range(3):
            await rig.stream()
        with pytest.raises(anthropic.BadRequestError):
            await rig.stream(messages=[])
        await rig.stream()
        assert rig.simulator.connections == 1


async def test_an_idle_connection_is_closed() -> None:
    async with serving(keep_alive_s=0.05) as rig:
        await rig.stream()
        stream = await trio.open_tcp_stream("127.0.0.1", int(rig.url.rpartition(":")[2]))
        async with stream:
            with trio.fail_after(5):
                assert await stream.receive_some() == b""
        await rig.stream()


async def test_what_is_not_http_is_answered_and_closed() -> None:
    async with serving() as rig:
        stream = await trio.open_tcp_stream("127.0.0.1", int(rig.url.rpartition(":")[2]))
        async with stream:
            await stream.send_all(b"\x16\x03\x01 hello\r\n\r\n")
            with trio.fail_after(5):
                answer = b"".join([bytes(data) async for data in stream])
        assert answer.startswith(b"HTTP/1.1 400 ")
        await rig.stream()


async def test_the_sdk_can_be_served_in_memory() -> None:
    simulator = AnthropicSimulator(latency=INSTANT)
    async with trio.open_nursery() as nursery:

        async def connect() -> trio.abc.Stream:
            ours, its = memory_stream_pair()
            nursery.start_soon(simulator.serve_stream, its)
            return ours

        http = httpx2.AsyncClient(transport=MemoryTransport(connect))
        async with anthropic.AsyncAnthropic(api_key="k", base_url="http://memory", http_client=http) as client:
            message = await client.messages.create(
                model=MODEL, max_tokens=99, messages=[{"role": "user", "content": "Hello"}], thinking=NO_THINKING
            )
    assert texts(message).startswith("You said Hello")


async def test_a_script_that_is_at_its_end_fails_aloud() -> None:
    async with serving(script(["One."])) as rig:
        await rig.stream()
        with pytest.raises(anthropic.InternalServerError, match="the script is at its end"):
            await rig.stream()
