"""The scripted agent as a model: its table, how it is refused, and the stream of its replies."""

import tomllib
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from trio.testing import MockClock

from engine.messages.conversation import CallerSaid, Entry
from engine.messages.errors import ConfigError
from engine.messages.model import ModelEnded, ModelText, ModelToolCall
from engine.providers.contract import ModelEvent, ModelRequest, ToolSchema
from engine.providers.local.plot import Choose, read_script
from engine.providers.local.routing import Router, bag_of_words
from engine.providers.local.script import ScriptedAgent, spoken_number
from engine.providers.local.workers import Workers

T = TypeVar("T")

TENANT = Path(__file__).parents[2] / "config" / "tenants" / "dental.toml"
TABLE: Mapping[str, Any] = tomllib.loads(TENANT.read_text("utf-8"))["script"]

SMALL: dict[str, Any] = {
    "slots": {"name": {"kind": "name", "ask": ["Who?"]}},
    "intents": {
        "greet": {"examples": ["hello there"], "reply": "Good day from {business}."},
        "order": {
            "does": "start",
            "examples": ["I want a pizza"],
            "steps": [{"ask": "name"}, {"call": "order_pizza", "arguments": {"who": "{name}", "note": "for {name}"}}],
            "done": "It comes.",
        },
        "bye": {"does": "end", "examples": ["goodbye"], "words": ["goodbye"]},
    },
}


async def inline(work: Callable[[], T], /) -> T:
    await trio.lowlevel.checkpoint()
    return work()


def agent(table: Mapping[str, Any]) -> ScriptedAgent:
    script = read_script(table)
    workers = Workers("script", 1, runner=inline)
    router = Router(script.intents, bag_of_words)
    return ScriptedAgent(script, router, workers, today=lambda: date(2026, 11, 25), facts={"business": "Luigi's"})


def request(*entries: Entry, tools: tuple[str, ...] = ()) -> ModelRequest:
    schemas = tuple(ToolSchema(name=name, description="", input_schema={}) for name in tools)
    return ModelRequest(id="call-7", system="", conversation=entries, tools=schemas)


async def events(table: Mapping[str, Any], asked: ModelRequest) -> list[ModelEvent]:
    async with agent(table).reply(asked) as reply:
        return [event async for event in reply]


async def test_a_reply_comes_word_by_word_and_ends(autojump_clock: MockClock) -> None:
    got = await events(SMALL, request(CallerSaid(turn=1, text="Hello there!")))
    *texts, end = got
    assert all(isinstance(event, ModelText) for event in texts)
    assert "".join(event.text for event in texts if isinstance(event, ModelText)) == (
        "Good day from Luigi's. Is there anything else I can help you with?"
    )
    assert len(texts) == 13
    assert end == ModelEnded(request="call-7", stop="end_turn")


async def test_a_tool_is_called_with_an_id_of_the_request(autojump_clock: MockClock) -> None:
    asked = request(CallerSaid(turn=1, text="I want a pizza. My name is Ann."), tools=("order_pizza",))
    assert await events(SMALL, asked) == [
        ModelToolCall(request="call-7", id="call-7-0", name="order_pizza", arguments={"who": "Ann", "note": "for Ann"}),
        ModelEnded(request="call-7", stop="tool_use"),
    ]


async def test_goodbye_is_said_before_the_call_is_ended(autojump_clock: MockClock) -> None:
    *texts, call, end = await events(SMALL, request(CallerSaid(turn=1, text="Goodbye."), tools=("end_call",)))
    assert [event.text for event in texts if isinstance(event, ModelText)] == ["Goodbye."]
    assert call == ModelToolCall(request="call-7", id="call-7-0", name="end_call", arguments={})
    assert end == ModelEnded(request="call-7", stop="tool_use")


async def test_a_reply_can_be_left_in_the_middle(autojump_clock: MockClock) -> None:
    async with agent(SMALL).reply(request(CallerSaid(turn=1, text="Hello there!"))) as reply:
        async for _ in reply:
            break


def test_the_shipped_script_is_sound_and_ends_calls_and_confirms_what_changes_the_world() -> None:
    script = read_script(TABLE)
    assert any(script.intents["book"].choices)
    confirmed = {step.call for intent in script.intents.values() for step in intent.calls if step.confirm}
    assert confirmed == {"book_appointment", "cancel_appointment"}
    assert any(intent.does == "end" for intent in script.intents.values())
    assert all(step.question for intent in script.intents.values() for step in intent.steps if isinstance(step, Choose))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key": ({"greting": "Hi"}, r"unknown 'greting'; did you mean 'greeting'\?"),
    "no intents": ({"intents": None}, "script.intents"),
    "a number for a text": ({"greeting": 5}, "script.greeting: expected a text, got 5"),
    "an unknown kind of slot": ({"slots": {"x": {"kind": "colour"}}}, r"script.slots\['x'\].kind"),
    "a default that is not there": ({"default": "oder"}, r"script.default: unknown 'oder'; did you mean 'order'\?"),
    "a text that names what nobody knows": ({"goodbye": "Bye {nmae}"}, "script.goodbye: unknown 'nmae'"),
    "a step that is none": (
        {"intents": {"order": {"does": "start", "examples": ["x"], "steps": [{}]}}},
        "'ask', 'call'",
    ),
    "an errand without steps": ({"intents": {"order": {"does": "start", "examples": ["x"]}}}, "has steps"),
    "an intent without examples": ({"intents": {"order": {"examples": []}}}, "examples: empty"),
    "a slot that is not there": (
        {"intents": {"order": {"does": "start", "examples": ["x"], "steps": [{"ask": "nam"}]}}},
        r"steps.0.ask: unknown 'nam'; did you mean 'name'\?",
    ),
    "an argument of a slot that is not there": (
        {
            "intents": {
                "order": {"does": "start", "examples": ["x"], "steps": [{"call": "c", "arguments": {"a": "{nam}"}}]}
            }
        },
        "steps.0.a: unknown 'nam'",
    ),
    "what follows is not there": ({"intents": {"order": {"examples": ["x"], "then": ["pay"]}}}, "then: unknown 'pay'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_table_that_cannot_be_meant_is_refused_by_its_path(name: str) -> None:
    change, expected = WRONG[name]
    with pytest.raises(ConfigError, match=expected):
        read_script({**SMALL, **change})


def test_a_telephone_number_is_read_out_digit_by_digit() -> None:
    assert spoken_number("+15550100003") == "5 5 5, 0 1 0, 0 0 0 3"
    assert spoken_number("+442079460000") == "4 4 2 0 7, 9 4 6, 0 0 0 0"
    assert spoken_number("911") == "9 1 1"
