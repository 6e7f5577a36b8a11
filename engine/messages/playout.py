"""What is being played to the caller, and what was heard of it."""

import attrs


@attrs.frozen(kw_only=True)
class Playing:
    """The first frame of turn `turn` has gone out: the agent has the floor."""

    turn: int


@attrs.frozen(kw_only=True)
class Stopped:
    """The agent has stopped speaking: turn `turn` was heard to its end, or was cut."""

    turn: int


@attrs.frozen(kw_only=True)
class Played:
    """What the caller has truly heard of turn `turn`, from its beginning.

    settled: nothing more of it will be heard.
    """

    turn: int
    heard: str
    settled: bool
