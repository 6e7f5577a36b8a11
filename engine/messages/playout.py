"""What is being played to the caller, and what was heard of it."""

import attrs


@attrs.frozen(kw_only=True)
class Hold:
    """The caller makes a sound: be silent at once, and keep what was not heard of turn `turn` and before.

    Ends with a `Resume` or a `BargedIn` of that turn or a later one. One that was not heard of yet is held too, before
    its first sound.
    """

    turn: int


@attrs.frozen(kw_only=True)
class Resume:
    """The sound was nothing that takes the floor: go on with turn `turn`, from a little before where it was held."""

    turn: int


@attrs.frozen(kw_only=True)
class Playing:
    """The first frame of turn `turn` has gone out: the agent has the floor.

    firm: what plays now is not to be held, nor cut but by a command such as "stop". Told again whenever that changes.
    """

    turn: int
    firm: bool = False


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
