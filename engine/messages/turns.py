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
