"""Minds: what the simulated Claude answers to what."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from simulators.anthropic.reply import Answer, Json, Refuse, Reply, UseTool
from simulators.anthropic.request import MessagesRequest

Mind = Callable[[MessagesRequest], Answer]
"""What answers a request. It must not block."""

_OPENINGS: Final = ("you said", "I heard", "so it is", "once more", "to be sure", "and again")
_NO_WORDS: Final = "nothing"


def echo(clauses: int = 3) -> Mind:
    """A mind that says the caller's last words back, once in each of so many clauses of one sentence."""
    return lambda request: Reply.of(echoed(request.last_user_text, clauses))


def echoed(text: str, clauses: int) -> str:
    """What an echo makes of a text."""
    words = text.strip().rstrip(".!?") or _NO_WORDS
    said = ", ".join(f"{_OPENINGS[index % len(_OPENINGS)]} {words}" for index in range(clauses))
    return said[:1].upper() + said[1:] + "."


def script(answers: Iterable[Answer | str]) -> Mind:
    """A mind that gives these answers, one a request; after the last it fails, which the caller of it should see."""
    rest = iter(answers)

    def answer(_: MessagesRequest) -> Answer:
        given = next(rest, Refuse(status=500, message="the script is at its end"))
        return Reply.of(given) if isinstance(given, str) else given

    return answer


def tool_user(
    name: str, *inputs: Mapping[str, Json], say: str = "Let me check.", otherwise: Mind | None = None
) -> Mind:
    """A mind that calls a tool for each `inputs`, at once, whenever the caller speaks, and says what came of it.

    say: what it says before; "" is a turn of tool calls alone.
    otherwise: what answers requests that offer no such tool; None is an echo.
    """
    other = otherwise or echo()

    def answer(request: MessagesRequest) -> Answer:
        if request.results:
            found = (f"it failed: {each.text}" if each.is_error else each.text for each in request.results)
            return Reply.of(f"I asked, and here it is: {', and '.join(found)}.")
        if name not in request.tools:
            return other(request)
        return Reply.of(say, *(UseTool(name, each) for each in inputs or ({},)))

    return answer
