"""Tools: plain functions that a model may call, told to it by their type hints and docstring."""

import inspect
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Final, NewType, TypeAlias, TypedDict, get_type_hints

import attrs

from engine.messages.conversation import Json
from engine.tools.arguments import Argument, describe, show

IdempotencyKey = NewType("IdempotencyKey", str)
"""What makes a change happen once: a tool asked again with the same key changes nothing more, and answers the same."""


@attrs.frozen
class Refused:
    """A tool's answer that it cannot do what was asked, for a reason that the caller can be told.

    reason: a sentence for the model, in words that can be spoken.
    offers: what could be done in its place.
    """

    reason: str
    offers: Mapping[str, Json] = attrs.field(factory=dict)


@attrs.frozen
class Invalid:
    """What is wrong with the arguments of a tool, a sentence each."""

    problems: tuple[str, ...]


Answer: TypeAlias = dict[str, Json] | Refused

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What every vendor accepts: Anthropic's newer models allow 128 characters, its older ones and OpenAI's 64."""


class ToolDescription(TypedDict):
    """A tool as a model is told of it."""

    name: str
    description: str
    input_schema: dict[str, Json]


@attrs.frozen(kw_only=True)
class Tool:
    """A function that a model may call. Made by `tool`.

    function: called with the toolbox's context, the arguments by name, and the key where it asks for one.
    key: the name of the parameter that takes the `IdempotencyKey`, if there is one.
    changes_world: it does more than look.
    timeout_s: seconds after which the model is told that there is no answer yet.
    """

    name: str
    description: str
    arguments: tuple[Argument, ...]
    function: Callable[..., Answer]
    key: str | None
    changes_world: bool
    timeout_s: float

    def describe(self) -> ToolDescription:
        """Return the tool as a model is told of it: `input_schema` is JSON Schema."""
        return {
            "name": self.name,
            "description": self.description,
            "input_schema": {
                "type": "object",
                "properties": {argument.name: dict(argument.schema) for argument in self.arguments},
                "required": [argument.name for argument in self.arguments if argument.required],
                "additionalProperties": False,
            },
        }

    def read(self, given: Mapping[str, Json]) -> dict[str, object] | Invalid:
        """Return the arguments for `function`, or everything that is wrong with those given."""
        problems = []
        values: dict[str, object] = {}
        known = [argument.name for argument in self.arguments]
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(map(repr, known))}"
                problems.append(f"unknown argument {show(name)}; {guess}")
        for argument in self.arguments:
            value = given.get(argument.name)
            if value is None:
                if argument.required:
                    problems.append(f"{argument.name} is missing")
                else:
                    values[argument.name] = argument.default
                continue
            try:
                values[argument.name] = argument.read(value)
            except ValueError as error:
                problems.append(f"{argument.name}: {error}")
        return Invalid(tuple(problems)) if problems else values


def tool(*, changes_world: bool, timeout_s: float) -> Callable[[Callable[..., Answer]], Tool]:
    """Make a tool of a function: its name, its docstring for the model, its parameters as `arguments.describe` reads.

    The first parameter is the toolbox's context. A tool that changes the world has one of type `IdempotencyKey`, and
    must be idempotent by it, because a run that a crash cut short is asked again with the same key.
    Raises `TypeError` for a function that cannot be one.
    """

    def make(function: Callable[..., Answer]) -> Tool:
        name = function.__name__
        description = inspect.getdoc(function)
        if not _NAME.fullmatch(name) or not description:
            raise TypeError(f"tool {name!r} needs a name of at most 64 letters, digits, _ and -, and a docstring")
        _, *parameters = inspect.signature(function).parameters.values()
        hints = get_type_hints(function, include_extras=True)
        keys = [parameter.name for parameter in parameters if hints.get(parameter.name) is IdempotencyKey]
        if len(keys) > 1 or (changes_world and not keys):
            raise TypeError(f"tool {name!r} takes {len(keys)} IdempotencyKeys; one that changes the world takes 1")
        return Tool(
            name=name,
            description=description,
            arguments=tuple(
                describe(parameter.name, hints.get(parameter.name), parameter.default)
                for parameter in parameters
                if parameter.name not in keys
            ),
            function=function,
            key=keys[0] if keys else None,
            changes_world=changes_world,
            timeout_s=timeout_s,
        )

    return make
