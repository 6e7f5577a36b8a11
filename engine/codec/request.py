"""Request: what is asked of a model, and what has come of it."""

from typing import Self, TypeAlias, assert_never

import attrs

from engine.codec.speakable import Speakable
from engine.codec.wording import is_same
from engine.messages.conversation import CallerSaid, Entry
from engine.messages.model import ModelAsked, ModelEnded, ModelFailed, ModelText, ModelToolCall, ModelUsage
from engine.messages.records import TokensUsed
from engine.messages.supervision import NEVER

FromModel: TypeAlias = ModelAsked | ModelText | ModelToolCall | ModelUsage | ModelEnded | ModelFailed
"""What comes of a request."""


@attrs.frozen(kw_only=True)
class Request:
    """A request whose answer is said as it comes.

    vendor: who was asked, as far as that is known. usage: what it has cost so far, likewise.
    texts, calls: how many texts have come, and how many tools it has asked for.
    rest: of the texts, what is no piece yet. pieces: of them, handed out so far.
    due: when it has been silent too long.
    """

    id: str
    vendor: str = ""
    usage: ModelUsage | None = None
    texts: int = 0
    calls: int = 0
    rest: Speakable = Speakable()
    pieces: int = 0
    due: float

    def heard(self, event: FromModel, due: float) -> tuple[Self, tuple[str, ...]]:
        """Return it after one more thing that the model says, and the pieces that can be said now.

        due: when it has been silent too long, unless something comes before.
        """
        match event:
            case ModelText(text=text):
                rest, pieces = self.rest.push(text)
                count = self.pieces + len(pieces)
                return attrs.evolve(self, texts=self.texts + 1, rest=rest, pieces=count, due=due), pieces
            case ModelToolCall():
                rest, pieces = self.rest.flush()
                count = self.pieces + len(pieces)
                return attrs.evolve(self, calls=self.calls + 1, rest=rest, pieces=count, due=due), pieces
            case ModelEnded():
                rest, pieces = self.rest.flush()
                return attrs.evolve(self, rest=rest, pieces=self.pieces + len(pieces)), pieces
            case ModelUsage():
                return attrs.evolve(self, usage=event), ()
            case ModelAsked(vendor=vendor):
                return attrs.evolve(self, vendor=vendor), ()
            case ModelFailed(vendor=vendor):
                return attrs.evolve(self, vendor=vendor or self.vendor), ()
            case _:
                assert_never(event)

    def spent(self, turn: int, *, ended: bool) -> list[TokensUsed]:
        """Return what it has cost: in vain, if it was cut off before anything came of it."""
        wasted = not (ended or self.calls or self.pieces)
        return tokens_used(turn, self.vendor, self.usage, 0 if ended else self.texts, wasted=wasted)


@attrs.frozen(kw_only=True)
class Eager:
    """A request for a turn that is expected to have ended: what comes of it is kept unread.

    shown: what the model is shown, the caller's words last.
    came: what it has said, unread. asked_at, first_at: when it was asked, and when its answer began.
    due: when it has been silent too long.
    """

    turn: int
    request: str
    shown: tuple[Entry, ...]
    came: tuple[FromModel, ...] = ()
    asked_at: float
    first_at: float = NEVER
    due: float

    def fits(self, turn: int, shown: tuple[Entry, ...]) -> bool:
        """Whether it is what would be asked: after the same conversation, the same words of the caller's."""
        match shown[-1:], self.shown[-1:]:
            case (CallerSaid(turn=last, text=text),), (CallerSaid(text=expected),):
                return self.turn == turn == last and shown[:-1] == self.shown[:-1] and is_same(text, expected)
            case _:
                return False

    def with_event(self, event: FromModel, now: float, stall_s: float) -> Self:
        """Return it with one more thing that the model says."""
        came = attrs.evolve(self, came=(*self.came, event))
        match event:
            case ModelText() | ModelToolCall():
                return attrs.evolve(came, first_at=min(self.first_at, now), due=now + stall_s)
            case ModelEnded():
                return attrs.evolve(came, first_at=min(self.first_at, now), due=NEVER)
            case _:
                return came

    def saved_s(self, now: float) -> float:
        """Return how much earlier its first token is here, or will be, than if it were asked now."""
        return min(self.first_at, now) - self.asked_at

    def spent(self) -> list[TokensUsed]:
        """Return what it has cost in vain."""
        vendor = next((each.vendor for each in self.came if isinstance(each, ModelAsked)), "")
        usage = next((each for each in reversed(self.came) if isinstance(each, ModelUsage)), None)
        texts = sum(isinstance(each, ModelText) for each in self.came)
        ended = any(isinstance(each, ModelEnded) for each in self.came)
        return tokens_used(self.turn, vendor, usage, 0 if ended else texts, wasted=True)


def tokens_used(turn: int, vendor: str, usage: ModelUsage | None, texts: int, *, wasted: bool) -> list[TokensUsed]:
    """Return what a request has cost, for the report; nothing where nobody said.

    A vendor counts at the end; of one that was cut off no text is less than a token.
    texts: that came of one that was cut off.
    """
    if usage is None:
        return []
    used = TokensUsed(
        request=usage.request,
        turn=turn,
        vendor=vendor,
        input_tokens=usage.input_tokens,
        output_tokens=max(usage.output_tokens, texts),
        wasted=wasted,
    )
    return [used]
