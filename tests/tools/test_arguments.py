"""Arguments: what a model is told of them, and what it is told when they are wrong."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from inspect import Parameter
from typing import Annotated, Any, Literal, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.messages.conversation import Json
from engine.tools.arguments import Between, Length, describe
from engine.tools.tool import Answer, IdempotencyKey, Invalid, Refused, tool


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (str, {"type": "string", "minLength": 0, "maxLength": 500}),
        (
            Annotated[str, "a name", Length(1, 8)],
            {"type": "string", "minLength": 1, "maxLength": 8, "description": "a name"},
        ),
        (int, {"type": "integer"}),
        (
            Annotated[int, Between(1, 9), "how many"],
            {"type": "integer", "minimum": 1, "maximum": 9, "description": "how many"},
        ),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (date, {"type": "string", "format": "date"}),
        (time, {"type": "string", "format": "time"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (Annotated[date | None, "a day"], {"type": "string", "format": "date", "description": "a day"}),
        (Optional[Annotated[int, Between(0, 1)]], {"type": "integer", "minimum": 0, "maximum": 1}),  # noqa: UP045 (both spellings)
    ],
)
def test_a_hint_becomes_a_schema(hint: Any, schema: dict[str, Json]) -> None:
    assert describe("x", hint).schema == schema


@pytest.mark.parametrize(
    "hint",
    [
        list,
        dict[str, int],
        int | str,
        int | str | None,
        Literal[1, 2],
        object,
        None,
        Annotated[int, Length(1, 2)],
        Annotated[bool, Between(0, 1)],
    ],
)
def test_a_hint_that_no_model_can_fill_is_our_bug(hint: Any) -> None:
    with pytest.raises(TypeError, match="cannot"):
        describe("x", hint)


def test_what_may_be_left_out_says_what_it_is_then() -> None:
    assert describe("x", int, 3).schema["default"] == 3
    assert describe("x", int).required
    assert not describe("x", int | None).required
    assert describe("x", int | None).default is None
    assert describe("x", int | None, 4).default == 4
    assert describe("x", int).default is Parameter.empty


@pytest.mark.parametrize(
    ("hint", "value", "read"),
    [
        (str, "  Ann \n Lee ", "Ann Lee"),
        (str, "日本 ø 🦷", "日本 ø 🦷"),
        (str, "x" * 500, "x" * 500),
        (Annotated[str, Length(1, 3)], "abc", "abc"),
        (Annotated[str, Length(1, 3)], " a ", "a"),
        (int, 3, 3),
        (int, 3.0, 3),
        (int, -(10**30), -(10**30)),
        (Annotated[int, Between(1, 9)], 1, 1),
        (Annotated[int, Between(1, 9)], 9, 9),
        (float, 3, 3.0),
        (float, 2.5, 2.5),
        (bool, False, False),
        (Literal["a", "b"], "b", "b"),
        (date, "2026-11-24", date(2026, 11, 24)),
        (date, " 2026-11-24 ", date(2026, 11, 24)),
        (date, "1900-01-01", date(1900, 1, 1)),
        (time, "14:30", time(14, 30)),
        (datetime, "2026-11-24T14:30", datetime.fromisoformat("2026-11-24T14:30")),
        (datetime, "2026-11-24 14:30:00", datetime.fromisoformat("2026-11-24T14:30")),
        (datetime, "2026-11-24T14:30Z", datetime(2026, 11, 24, 14, 30, tzinfo=UTC)),
    ],
)
def test_a_right_value_is_read(hint: Any, value: Json, read: object) -> None:
    result = describe("x", hint).read(value)
    assert (type(result), result) == (type(read), read)


@pytest.mark.parametrize(
    ("hint", "value", "said"),
    [
        (str, 3, "3 is not a text"),
        (str, None, "None is not a text"),
        (str, "a\0b", r"'a\x00b' holds characters that are not text"),
        (str, "a\ud800", r"'a\ud800' holds characters that are not text"),
        (str, "x" * 501, "has 501 characters; allowed: 0 to 500"),
        (Annotated[str, Length(1, 3)], "  ", "has 0 characters; allowed: 1 to 3"),
        (Annotated[str, Length(1, 3)], "abcd", "has 4 characters; allowed: 1 to 3"),
        (int, "3", "'3' is not a whole number"),
        (int, 3.5, "3.5 is not a whole number"),
        (int, True, "True is not a whole number"),
        (int, float("nan"), "nan is not a whole number"),
        (int, float("inf"), "inf is not a whole number"),
        (Annotated[int, Between(1, 9)], 0, "0 is out of range; allowed: 1 to 9"),
        (Annotated[int, Between(1, 9)], 10, "10 is out of range; allowed: 1 to 9"),
        (float, True, "True is not a number"),
        (float, float("nan"), "nan is not a number"),
        (float, float("-inf"), "-inf is not a number"),
        (float, 10**400, f"1{'0' * 27}...{'0' * 29} is not a number"),
        (bool, 0, "0 is neither true nor false"),
        (bool, "true", "'true' is neither true nor false"),
        (Literal["a", "b"], "A", "'A' is not allowed; one of 'a', 'b'"),
        (Literal["a", "b"], ["a"], "['a'] is not allowed; one of 'a', 'b'"),
        (date, "tomorrow", "'tomorrow' is not a date such as 2026-11-24"),
        (date, "2026-11-24T10:00", "'2026-11-24T10:00' is not a date such as 2026-11-24"),
        (date, 20261124, "20261124 is not a date such as 2026-11-24"),
        (date, "1899-12-31", "'1899-12-31' is out of range; allowed: years 1900 to 2999"),
        (date, "3000-01-01", "'3000-01-01' is out of range; allowed: years 1900 to 2999"),
        (time, "2 pm", "'2 pm' is not a time such as 14:30"),
        (datetime, "2026-11-31T10:00", "'2026-11-31T10:00' is not a date and time such as 2026-11-24T14:30"),
        (
            datetime,
            {"a": [{}] * 99},
            "{'a': [{}, {}, {}, {}, {}, {}, ...]} is not a date and time such as 2026-11-24T14:30",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(hint: Any, value: Json, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        describe("x", hint).read(value)
    assert str(caught.value) == said


@tool(changes_world=True, timeout_s=1.0)
def order(  # noqa: PLR0917 (a tool's function is called by name)
    context: object,
    key: IdempotencyKey,
    dish: Annotated[str, "what to cook", Length(1, 20)],
    size: Literal["small", "large"] = "small",
    guests: Annotated[int, Between(1, 12)] = 2,
    day: date | None = None,
    at: time | None = None,
    tip: float = 0.0,
    wrapped: bool = False,
    ready: datetime | None = None,
) -> Answer:
    """Order a dish.

    Only when the caller has said which.
    """
    return {"dish": dish}


def test_a_tool_is_described_by_its_signature_and_docstring() -> None:
    described = order.describe()
    assert described["name"] == "order"
    assert described["description"] == "Order a dish.\n\nOnly when the caller has said which."
    schema = described["input_schema"]
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["dish"], False)
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert list(properties) == ["dish", "size", "guests", "day", "at", "tip", "wrapped", "ready"]
    assert json.loads(json.dumps(described)) == described


def test_arguments_that_are_left_out_or_null_take_their_defaults() -> None:
    left_out = order.read({"dish": "soup"})
    assert left_out == order.read({"dish": "soup", "size": None, "guests": None, "day": None})
    assert isinstance(left_out, dict)
    assert (left_out["dish"], left_out["size"], left_out["guests"], left_out["day"]) == ("soup", "small", 2, None)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    assert order.read({"dishes": "soup", "zzz": 1, "guests": 13, "size": "huge"}) == Invalid(
        (
            "unknown argument 'dishes'; did you mean 'dish'?",
            "unknown argument 'zzz'; known: 'dish', 'size', 'guests', 'day', 'at', 'tip', 'wrapped', 'ready'",
            "dish is missing",
            "size: 'huge' is not allowed; one of 'small', 'large'",
            "guests: 13 is out of range; allowed: 1 to 12",
        )
    )


def test_the_key_is_not_the_models_to_give() -> None:
    assert order.read({"dish": "soup", "key": "mine"}) == Invalid(
        ("unknown argument 'key'; known: 'dish', 'size', 'guests', 'day', 'at', 'tip', 'wrapped', 'ready'",)
    )


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NEARLY_RIGHT = st.sampled_from(
    ["2026-11-24", "10:30", "2026-11-24T10:30+14:00", "9999-12-31", "0001-01-01T00:00-23:59", "large"]
)
NAMES = st.sampled_from([argument.name for argument in order.arguments]) | st.text(
    st.characters(codec=None), max_size=8
)


@settings(deadline=None)
@given(st.dictionaries(NAMES, ANY_JSON | NEARLY_RIGHT, max_size=8))
def test_any_arguments_give_values_or_sentences_and_never_raise(given_arguments: dict[str, Json]) -> None:
    result = order.read(given_arguments)
    if isinstance(result, Invalid):
        assert result.problems
        assert all(problem and "\n" not in problem for problem in result.problems)
    else:
        assert isinstance(order.function(None, key="k", **result), dict | Refused)


def no_docstring(context: object) -> Answer:
    return {}


def no_key(context: object) -> Answer:
    """Change the world."""
    return {}


def two_keys(context: object, one: IdempotencyKey, two: IdempotencyKey) -> Answer:
    """Change it twice."""
    return {}


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_docstring, "tool 'no_docstring' needs a name of .* and a docstring"),
        (no_key, "tool 'no_key' takes 0 IdempotencyKeys; one that changes the world takes 1"),
        (two_keys, "tool 'two_keys' takes 2 IdempotencyKeys"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_when_it_is_defined(
    function: Callable[..., Answer], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        tool(changes_world=True, timeout_s=1.0)(function)
