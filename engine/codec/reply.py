"""Reply: what is being answered, how far it has come, and the request that goes on with it."""

from typing import Self

import attrs

from engine.codec.attempts import Attempts, Persistence
from engine.codec.request import FromModel, Request
from engine.messages.records import TokensUsed
from engine.messages.supervision import NEVER


@attrs.frozen(kw_only=True)
class Reply:
    """The reply in hand.

    asked: the request under way; None while its tools run, or before it is made again.
    again_at: when it is made again, after a pause.
    pieces: handed out so far, clips included. filled: one of them told the caller to wait.
    rounds: whole answers of this turn, tools between them.
    ending: why the call ends after this reply, or "".
    """

    turn: int
    asked: Request | None = None
    # Invariant: a time only while there is no request.
    again_at: float = NEVER
    pieces: int = 0
    filled: bool = False
    rounds: int = 0
    attempts: Attempts = Attempts()
    ending: str = ""

    @property
    def request(self) -> str:
        """The id of the request under way, or ""."""
        return "" if self.asked is None else self.asked.id

    @property
    def due(self) -> float:
        """When the model has been silent too long, or is to be asked again."""
        return self.again_at if self.asked is None else self.asked.due

    @property
    def wordless(self) -> bool:
        """Whether nothing was said but that the caller should wait."""
        return self.pieces == int(self.filled)

    @property
    def silent(self) -> bool:
        """Whether it is wordless, and not a text of its request has come."""
        return self.wordless and (self.asked is None or not self.asked.texts)

    @property
    def called(self) -> bool:
        """Whether its request has asked for tools, and for none that ends the call."""
        return self.asked is not None and self.asked.calls > 0 and not self.ending

    def asks(self, request: str, due: float) -> Self:
        """Return it with a new request."""
        return attrs.evolve(self, asked=Request(id=request, due=due), again_at=NEVER)

    def heard(self, event: FromModel, due: float) -> tuple[Self, tuple[str, ...]]:
        """Return it after one more thing of its request, and the pieces that can be said now.

        due: when the model has been silent too long, unless something comes before.
        """
        assert self.asked is not None, "what is heard is of a request under way"
        asked, pieces = self.asked.heard(event, due)
        return attrs.evolve(self, asked=asked, pieces=self.pieces + len(pieces)), pieces

    def answered(self) -> Self:
        """Return it after a whole answer that it does not end with.

        From here on nobody is late: a tool has its own time limit, and it always returns.
        """
        return attrs.evolve(self, asked=None, rounds=self.rounds + 1, attempts=self.attempts.answered())

    def failed(self, kinds: tuple[str, ...], now: float, policy: Persistence, *, again: bool) -> tuple[Self, bool]:
        """Return it without its request, which failed, and whether there is anybody left to be asked.

        Its words that were not said are not missed: who goes on is told of those that were.
        again: the same model may be asked again.
        """
        assert self.asked is not None, "what fails is a request under way"
        attempts, pause_s = self.attempts.failed(self.asked.vendor, kinds, now, policy, again=again)
        attempts = attrs.evolve(attempts, cut=attempts.cut or self.asked.pieces > 0)
        again_at = now + pause_s if pause_s else NEVER
        return attrs.evolve(self, asked=None, attempts=attempts, again_at=again_at), pause_s < NEVER

    def spent(self, *, ended: bool = False) -> list[TokensUsed]:
        """Return what the request under way has cost, for the report; nothing where nobody said."""
        return [] if self.asked is None else self.asked.spent(self.turn, ended=ended)
