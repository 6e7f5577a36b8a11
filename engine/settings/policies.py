"""Policies: what a file may set of the classes of the layers below, and how far; and what of it a tenant may."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, TypeAlias

import attrs

from engine.actors.agent import AgentPolicy
from engine.actors.pacer import PacingPolicy
from engine.actors.stt import RecognitionPolicy
from engine.actors.turn_detector import TurnPolicy
from engine.health import HealthPolicy
from engine.policy import REASONS, Backoff
from engine.settings.checks import (
    Factor,
    Flag,
    IdleTime,
    Must,
    Patience,
    Reasons,
    Wait,
    as_reasons,
    check_of,
    expected,
    integer,
    seconds,
    whole,
)

Pause: TypeAlias = Annotated[float, seconds(0, 10)]
Settling: TypeAlias = Annotated[float, seconds(0.05, 10)]
FailingTime: TypeAlias = Annotated[float, seconds(0, 600)]
ToolTime: TypeAlias = Annotated[float, seconds(0.1, 120)]
Retries: TypeAlias = Annotated[int, whole(0, 10)]
Turns: TypeAlias = Annotated[int, integer(1)]
Rounds: TypeAlias = Annotated[int, whole(1, 100)]
Silence: TypeAlias = Annotated[float, seconds(0, 10)]
Sound: TypeAlias = Annotated[float, seconds(0.06, 1)]
Hold: TypeAlias = Annotated[float, seconds(0.5, 5)]  # a Pacer that nobody tells to go on goes on by itself after 6
Barge: TypeAlias = Annotated[float, seconds(0.1, 10)]
Words: TypeAlias = Annotated[int, integer(1)]
Longest: TypeAlias = Annotated[float, seconds(0.1, 30)]


@attrs.frozen(kw_only=True)
class AgentOverride:
    """What differs, for a tenant, of how long a model is waited for. Of `reasons` each is a field of its own."""

    first_token_s: Patience | None = None
    stall_s: Patience | None = None
    filler_s: Patience | None = None
    retries: Retries | None = None
    retry_s: Pause | None = None
    last_s: Pause | None = None
    settle_s: Settling | None = None
    tools_s: ToolTime | None = None
    failures: Turns | None = None
    failing_s: FailingTime | None = None
    rounds: Rounds | None = None
    reasons: Reasons = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class TurnOverride:
    """What differs, for a tenant, of when its callers have finished, or break in."""

    complete_s: Silence | None = None
    incomplete_s: Silence | None = None
    dictating_s: Silence | None = None
    longest_s: Longest | None = None
    eager: Flag | None = None
    hold_s: Sound | None = None
    words_s: Silence | None = None
    held_s: Hold | None = None
    answer_s: Silence | None = None
    barge_words: Words | None = None
    barge_s: Barge | None = None
    keys_s: Barge | None = None
    stranded_s: IdleTime | None = None


def _frames_ms(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value not in range(20, 101, 20):
        raise expected("20, 40, 60, 80 or 100", value)
    return value


# What may be set of the classes that belong to the layers below, and how far. What is absent here keeps its default.
POLICIES: Final[Mapping[type, Mapping[str, Must]]] = {
    Backoff: {
        "first_s": check_of(Wait),
        "minimum_s": check_of(Wait),
        "maximum_s": check_of(Wait),
        "factor": check_of(Factor),
    },
    HealthPolicy: {
        "failures": whole(1, 100),
        "open_s": seconds(0.1, 3600),
        "longest_open_s": seconds(0.1, 3600),
        "factor": check_of(Factor),
    },
    AgentPolicy: {
        "first_token_s": check_of(Patience),
        "stall_s": check_of(Patience),
        "filler_s": check_of(Patience),
        "retries": check_of(Retries),
        "retry_s": check_of(Pause),
        "last_s": check_of(Pause),
        "settle_s": check_of(Settling),
        "tools_s": check_of(ToolTime),
        "failures": check_of(Turns),
        "failing_s": check_of(FailingTime),
        "rounds": check_of(Rounds),
        "reasons": Must(lambda value: {**REASONS, **as_reasons(value)}),
    },
    RecognitionPolicy: {
        "keep_s": seconds(1, 600),
        "preroll_s": seconds(0, 10),
        "cut_s": seconds(0, 10),
        "pause_s": seconds(0.06, 2),
        "finalise_s": seconds(0, 10),
    },
    TurnPolicy: {
        "complete_s": check_of(Silence),
        "incomplete_s": check_of(Silence),
        "dictating_s": check_of(Silence),
        "longest_s": check_of(Longest),
        "eager": check_of(Flag),
        "hold_s": check_of(Sound),
        "words_s": check_of(Silence),
        "held_s": check_of(Hold),
        "answer_s": check_of(Silence),
        "barge_words": check_of(Words),
        "barge_s": check_of(Barge),
        "keys_s": check_of(Barge),
        "stranded_s": check_of(IdleTime),
        "behind_s": seconds(1, 600),
        "lag_s": seconds(0.1, 30),
    },
    PacingPolicy: {"lead_s": seconds(0.04, 5), "message_ms": Must(_frames_ms), "rewind_s": seconds(0, 2)},
}


def settable(shape: type[attrs.AttrsInstance]) -> Sequence[str]:
    """Return the keys that a table of this class may have."""
    return tuple(POLICIES.get(shape) or (field.name for field in attrs.fields(shape)))
