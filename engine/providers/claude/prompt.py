"""What Claude is shown: a call's conversation as the Messages API's messages, its tools, its system prompt. Pure.

Theory of operation. The vendor refuses a request whose messages break a rule (Messages API, "tool use", read 2026-11):
the first and the last are the user's; each tool's call is answered in the very next message, all of one turn's answers
in one message, before any text in it; no text is blank; ids are of a small alphabet, none twice. Our conversation
obeys none of them, so it is folded, entry by entry, into a `_Page` that always does. What the caller did not say but
the model must know stands in round brackets, in the user's messages: in its own, the model would learn to write such.
"""

import json
import re
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, assert_never

import attrs
from anthropic.types import (
    AssistantMessageParam,
    MessageParam,
    TextBlockParam,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
    UserMessageParam,
)

from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Json, Noted, ToolAnswered, ToolCalled
from engine.providers.contract import ToolSchema

HOW_HEARD: Final = (
    "You are heard over a telephone: write plain words that can be spoken as they stand, without markup. "
    "What stands in round brackets between the caller's words is a note about what happened on the line: the caller "
    "neither said nor heard it. Write no such notes yourself."
)
"""What follows every tenant's prompt, always the same. It earns its tokens: without it a note is a caller's words."""

CONNECTED: Final = "(The caller has just been connected.)"
BROKE_IN: Final = "(The caller broke in there: the rest of your answer was not heard.)"
UNHEARD: Final = "(The caller broke in there, and did not hear the rest of your answer: “{text}”)"
NOTHING_HEARD: Final = "(The caller broke in before your answer, and did not hear any of it: “{text}”)"
WAITING: Final = "(The caller is waiting for you to go on.)"
UNANSWERED: Final = "no answer has come; what the tool does may be done all the same: look before trying again"

LONGEST_NAME: Final = 128
"""Characters that the vendor allows in a tool's name."""

_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]")

_Block: TypeAlias = TextBlockParam | ToolUseBlockParam | ToolResultBlockParam


def system(prompt: str) -> list[TextBlockParam]:
    """Return the system prompt, marked to be cached together with the tools, which come before it.

    Bytes that differ from call to call would make the cache useless: what is new in a call goes into its messages.
    """
    text = f"{prompt.strip()}\n\n{HOW_HEARD}".strip()
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]


def tools(schemas: Sequence[ToolSchema]) -> list[ToolParam]:
    """Return the tools, in the order given: another order is another prompt to the cache."""
    return [
        {"name": each.name, "description": each.description, "input_schema": dict(each.input_schema)}
        for each in schemas
    ]


def messages(conversation: Sequence[Entry]) -> list[MessageParam]:
    """Return the conversation as the vendor takes it, whatever its entries are."""
    answered_at = _pairs(conversation)
    paired = set(answered_at.values())
    page = _Page()
    for at, entry in enumerate(conversation):
        match entry:
            case CallerSaid(text=text):
                page.told(text)
            case Noted(text=text):
                page.told(f"({text})" if text.strip() else "")
            case AgentSaid():
                page.said(entry)
            case ToolCalled():
                answer = conversation[answered_at[at]] if at in answered_at else None
                page.called(entry, answer if isinstance(answer, ToolAnswered) else None)
            case ToolAnswered() if at in paired:
                page.settle()  # it stands there already; what is called from here on is called knowing it
            case ToolAnswered(value=value):
                page.told(f"(A tool answered: {_content(value)})")
            case _:
                assert_never(entry)
    return page.ended()


def _pairs(conversation: Sequence[Entry]) -> dict[int, int]:
    """Return where each call's answer stands, by where the call does: of calls with one id, the first has the first."""
    waiting: dict[str, list[int]] = {}
    pairs: dict[int, int] = {}
    for at, entry in enumerate(conversation):
        match entry:
            case ToolCalled(id=id_):
                waiting.setdefault(id_, []).append(at)
            case ToolAnswered(id=id_) if waiting.get(id_):
                pairs[waiting[id_].pop(0)] = at
            case _:
                pass
    return pairs


def _content(value: Json) -> str:
    return value if isinstance(value, str) and value.strip() else json.dumps(value, ensure_ascii=False)


def _identifier(text: str) -> str:
    return _UNFIT.sub("_", text) or "_"


@attrs.define
class _Page:
    """The messages so far.

    results, notes: owed; the next message of the user's begins with them.
    ids: those taken.
    """

    # Invariant: roles alternate and the user's is the first; no text is blank; results stand first in their message.
    turns: list[tuple[Literal["user", "assistant"], list[_Block]]] = attrs.field(factory=list)
    results: list[ToolResultBlockParam] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    ids: set[str] = attrs.field(factory=set)

    def told(self, text: str) -> None:
        """Add what the caller, or the line, tells the model."""
        self.settle()
        if text.strip():
            self._text("user", text)

    def said(self, entry: AgentSaid) -> None:
        """Add what the model said. What was not heard of it is told in a note."""
        unheard = entry.unheard.strip()
        is_heard = bool(entry.text.strip())
        if is_heard:
            self.settle()
            self._text("assistant", entry.text)
        if unheard:
            self.notes.append((UNHEARD if is_heard else NOTHING_HEARD).format(text=unheard))
        elif is_heard and entry.interrupted:
            self.notes.append(BROKE_IN)

    def called(self, call: ToolCalled, answer: ToolAnswered | None) -> None:
        """Add a call to the model's turn, and its answer to what the user's next message begins with."""
        id_ = _identifier(call.id)
        while id_ in self.ids:
            id_ += "_"
        self.ids.add(id_)
        name = _identifier(call.name)[:LONGEST_NAME]
        self._block("assistant", {"type": "tool_use", "id": id_, "name": name, "input": dict(call.arguments)})
        result: ToolResultBlockParam = {"type": "tool_result", "tool_use_id": id_}
        result["content"] = UNANSWERED if answer is None else _content(answer.value)
        if answer is None or not answer.ok:
            result["is_error"] = True
        self.results.append(result)

    def settle(self) -> None:
        """Give what is owed."""
        for result in self.results:
            self._block("user", result)
        for note in self.notes:
            self._text("user", note)
        self.results.clear()
        self.notes.clear()

    def ended(self) -> list[MessageParam]:
        self.settle()
        if not self.turns:
            self._text("user", CONNECTED)
        if self.turns[-1][0] == "assistant":  # to be gone on with, which no model takes any more
            self._text("user", WAITING)
        return [
            UserMessageParam(role="user", content=blocks)
            if role == "user"
            else AssistantMessageParam(role="assistant", content=blocks)
            for role, blocks in self.turns
        ]

    def _text(self, role: Literal["user", "assistant"], text: str) -> None:
        """Add text: the user's as a block of its own, the model's to its last, where blocks are one text to it."""
        last = self.turns[-1][1][-1] if self.turns and self.turns[-1][0] == "assistant" == role else None
        if last is not None and last["type"] == "text":
            last["text"] += f"\n{text}"
        else:
            self._block(role, {"type": "text", "text": text})

    def _block(self, role: Literal["user", "assistant"], block: _Block) -> None:
        if not self.turns and role == "assistant":
            self._text("user", CONNECTED)
        if self.turns and self.turns[-1][0] == role:
            self.turns[-1][1].append(block)
        else:
            self.turns.append((role, [block]))
