"""What the agent says. Each piece is named by its turn and its index within it, and is played in that order."""

import attrs


@attrs.frozen(kw_only=True)
class Sentence:
    """A speakable piece of a reply: a clause, a sentence, never markup."""

    turn: int
    index: int
    text: str


@attrs.frozen(kw_only=True)
class PlayClip:
    """A clip, rendered before the call, as piece `index` of turn `turn`.

    clip: its name in the call's table of clips.
    """

    turn: int
    index: int
    clip: str


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
