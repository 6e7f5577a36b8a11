"""What the TurnDetector is told in tests, with literal times, and the cores that tests begin with."""

from typing import Any

import attrs

from engine.actors.turn_detector import TurnDetector, TurnPolicy
from engine.codec.grammar import Claim, Ending, Grammar
from engine.messages.caller import LineClosed, SpeechLasted, SpeechStarted, SpeechStopped
from engine.messages.playout import Playing, Stopped
from engine.messages.recognition import Transcript
from engine.messages.supervision import Tick
from tests.actors.steps import after


@attrs.frozen(kw_only=True)
class Plain(Grammar):
    """A language of few rules: a sentence with a full stop is whole, one with "and" at its end is not."""

    language: str = "plain"

    def ending(self, text: str) -> Ending:
        last = text.split()[-1:]
        if last == ["and"]:
            return Ending.INCOMPLETE
        return Ending.DICTATING if last == ["seven"] else Ending.UNKNOWN

    def claim(self, text: str, *, draft: bool = False) -> Claim:
        words = set(text.replace(".", " ").split())
        if "stop" in words:
            return Claim.COMMAND
        if words - {"okay", "uh-huh"}:
            return Claim.FLOOR
        return Claim.BACKCHANNEL if words else Claim.NOTHING


PLAIN = Plain()


def policy(**fields: Any) -> TurnPolicy:
    """A policy whose waits are told apart at a glance, whatever is shipped."""
    return TurnPolicy(grammar=PLAIN, **{"complete_s": 0.3, "incomplete_s": 1.2, **fields})


CLOSED = LineClosed(reason="stop", at_s=90.0)


def final(text: str, end_s: float, *, finished: bool = True, covered_s: float | None = None) -> Transcript:
    return Transcript(
        text=text,
        start_s=0.0,
        end_s=end_s,
        is_final=True,
        speech_final=finished,
        covered_s=end_s if covered_s is None else covered_s,
    )


def interim(text: str, end_s: float = 0.0, *, ending: bool = False) -> Transcript:
    return Transcript(
        text=text,
        start_s=0.0,
        end_s=end_s,
        is_final=False,
        speech_final=False,
        covered_s=0.0,
        speech_ending=ending,
    )


def started(at_s: float) -> tuple[object, float]:
    """The caller begins to speak; it is known three frames later."""
    return SpeechStarted(at_s=at_s), at_s + 0.06


def lasted(from_s: float, to_s: float) -> tuple[object, float]:
    return SpeechLasted(from_s=from_s, to_s=to_s), to_s


def stopped(at_s: float) -> tuple[object, float]:
    return SpeechStopped(at_s=at_s), at_s + 0.2


def said(text: str, start_s: float, end_s: float, *, finished: bool = True) -> list[tuple[object, float]]:
    """The caller's words, as line and recogniser tell of them: the words come last, 0.25 s after their end."""
    return [started(start_s), stopped(end_s), (final(text, end_s, finished=finished), end_s + 0.25)]


def semantic(text: str, end_s: float) -> Transcript:
    return attrs.evolve(final(text, end_s), semantic=True)


LISTENING = after(TurnDetector(policy=policy()), (Playing(turn=0), 0.0), (Stopped(turn=0), 1.0))
"""After the greeting."""

SPEAKING = after(LISTENING, *said("hello", 2.0, 3.0), (Tick(), 3.3), (Playing(turn=1), 4.0))
"""The agent is being heard with turn 1, from 4.0 on."""
