"""What the shell tells a core, and nobody else does."""

import math
from typing import Final

import attrs

NEVER: Final = math.inf
"""A deadline that does not come."""


@attrs.frozen(kw_only=True)
class Tick:
    """The core's deadline has come. The core that follows has a later one."""


@attrs.frozen(kw_only=True)
class SessionInfo:
    """A session that has just connected: what `started` is told.

    incarnation: counts the sessions of this actor in this call, from 1.
    aligned: it says when words are spoken: a voice, in its audio; a recogniser, in the caller's.
    away_s: how long there was no session, since the one before ended, or the first attempt at one failed.
    """

    vendor: str
    incarnation: int
    aligned: bool = False
    away_s: float = 0.0


@attrs.frozen(kw_only=True)
class PolicyChanged:
    """The operator wants another policy: it is obeyed from the next decision on.

    policy: of the class that the core has one of.
    """

    policy: object
