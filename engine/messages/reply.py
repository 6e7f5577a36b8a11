"""What the agent says. Each piece is named by its turn and its index within it, and is played in that order."""

from typing import Final

import attrs

ONE_MOMENT: Final = "one_moment"
"""The clip that tells a caller to wait, if the tenant has one: said by whoever knows that there is a wait."""


@attrs.frozen(kw_only=True)
class Sentence:
    """A speakable piece of a reply: a clause, a sentence, never markup.

    text: as it is spoken, numbers in words. firm: the tenant wants it heard whole: see `Playing`.
    """

    turn: int
    index: int
    text: str
    firm: bool = False


@attrs.frozen(kw_only=True)
class PlayClip:
    """A clip, rendered before the call, as piece `index` of turn `turn`.

    clip: its name in the call's table of clips. firm: as in `Sentence`.
    """

    turn: int
    index: int
    clip: str
    firm: bool = False


@attrs.frozen(kw_only=True)
class PlayTone:
    """The hold tone, where nothing else is to be played, until the next piece of turn `turn`, or its end."""

    turn: int


@attrs.frozen(kw_only=True)
class PlayNotice:
    """A clip that goes before whatever is queued, at the end of the piece in hand: "could you say that again?"."""

    clip: str


@attrs.frozen(kw_only=True)
class ReplyEnded:
    """Turn `turn` has `pieces` pieces and no more will come."""

    turn: int
    pieces: int


@attrs.frozen(kw_only=True)
class HangUp:
    """End the call once piece `index` of turn `turn` was heard, 10 s at most. Void after a barge-in."""

    turn: int
    index: int
    reason: str
