"""Whose turn it is. A turn's number is allocated by the TurnDetector alone and only ever rises."""

import attrs


@attrs.frozen(kw_only=True)
class CallOpened:
    """The line is open and everybody is at their place: the first message of a call."""

    greeting: str


@attrs.frozen(kw_only=True)
class TurnEnded:
    """The caller has finished: `text` is to be answered as turn `turn`.

    end_s: end of the caller's last word, seconds on the call's timeline.
    """

    turn: int
    text: str
    end_s: float


@attrs.frozen(kw_only=True)
class TurnExpected:
    """The caller seems to have finished: if so, turn `turn` will be `text`. Nothing of it may be said or done yet.

    Void by a `TurnResumed`, by a newer `TurnExpected`, and by a `TurnEnded` of another number or of other words.
    """

    turn: int
    text: str


@attrs.frozen(kw_only=True)
class TurnResumed:
    """The caller, who seemed to have finished, goes on: what was expected of turn `turn` is void."""

    turn: int


@attrs.frozen(kw_only=True)
class Backchannel:
    """Words over the agent that left it the floor: "uh-huh". Told when turn `turn`, the agent's, is over.

    at_s: end of the last of them, seconds on the call's timeline.
    """

    turn: int
    text: str
    at_s: float


@attrs.frozen(kw_only=True)
class BargedIn:
    """The caller speaks over the agent: turn `turn` and all before it are over, unheard speech included.

    at_s: when the caller began, seconds on the call's timeline.
    """

    turn: int
    at_s: float


@attrs.frozen(kw_only=True)
class CallerIdle:
    """Nobody has spoken for the tenant's idle time; `turn` is for what the agent says about it."""

    turn: int
