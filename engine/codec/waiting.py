"""Waiting: what a caller waits for and is given to hear meanwhile, and how long they are silent themselves."""

from collections.abc import Sequence
from typing import Self

import attrs

from engine.messages.supervision import NEVER


@attrs.frozen(kw_only=True)
class Wait:
    """A caller's wait for something to be said, and for the tools that it takes.

    tools: under way, by id. tools_due: when they are waited for no longer.
    tone_due: when who waits for them is played the hold tone.
    filler_due: when who has been told nothing is told to wait. filled: the last turn in which one was.
    """

    # Invariant: `tools_due` is a time exactly while tools are under way, `tone_due` only then.
    tools: frozenset[str] = frozenset()
    tools_due: float = NEVER
    tone_due: float = NEVER
    filler_due: float = NEVER
    filled: int = -1

    @property
    def due(self) -> float:
        """When something of it is to be done."""
        return min(self.tools_due, self.tone_due, self.filler_due)

    def called(self, tool: str, *, due: float, tone_due: float) -> Self:
        """Return the wait for one more tool, and no less long for the others; a tone comes when it would have come."""
        tone_due = self.tone_due if self.tools else tone_due
        return attrs.evolve(self, tools=self.tools | {tool}, tools_due=due, tone_due=tone_due)

    def returned(self, tool: str) -> Self:
        """Return the wait for the other tools."""
        tools = self.tools - {tool}
        if tools:
            return attrs.evolve(self, tools=tools)
        return attrs.evolve(self, tools=tools, tools_due=NEVER, tone_due=NEVER)

    def anew(self, tone_due: float) -> Self:
        """Return the wait of a caller who has begun to wait for the tools just now."""
        return attrs.evolve(self, tone_due=tone_due if self.tools else NEVER)

    def spoken(self, tone_due: float) -> Self:
        """Return the wait of a caller to whom something is being said: it is over, but for the tools."""
        return attrs.evolve(self, filler_due=NEVER, tone_due=tone_due if self.tools else NEVER)

    def patient(self, since: float, filler_s: float, questions: Sequence[int]) -> Self:
        """Return the wait of a caller who is told to wait `filler_s` after `since`; once for each wait.

        questions: the caller's turns. Who was told so in the one before the last is told again only if it takes twice
        as long.
        """
        if self.filler_due < NEVER:
            return self
        again = self.filled in questions[-2:-1]
        return attrs.evolve(self, filler_due=since + filler_s * (2 if again else 1))

    def unfilled(self) -> Self:
        """Return the wait of a caller who is not told to wait."""
        return attrs.evolve(self, filler_due=NEVER)

    def toned(self) -> Self:
        """Return the wait of a caller who hears the tone, or need not."""
        return attrs.evolve(self, tone_due=NEVER)

    def fresh(self) -> Self:
        """Return it anew, of its numbers and names."""
        return type(self)(
            tools=frozenset(map(str, self.tools)),
            tools_due=float(self.tools_due),
            tone_due=float(self.tone_due),
            filler_due=float(self.filler_due),
            filled=int(self.filled),
        )


@attrs.frozen(kw_only=True)
class Silence:
    """A caller's silence, if it is one.

    asked: how often it was asked whether they are there. farewell: the turn that says goodbye, or -1.
    unheard_until: an answer was handed over that is still to be heard: for so long it is the caller who waits.
    """

    asked: int = 0
    farewell: int = -1
    unheard_until: float = -NEVER

    def prompted(self, turn: int, *, goodbye: bool) -> Self:
        """Return the silence of a caller who is asked once more, or is told goodbye."""
        return attrs.evolve(self, asked=self.asked + 1, farewell=turn if goodbye else self.farewell)

    def answered(self) -> Self:
        """Return the silence of a caller who has said something."""
        return attrs.evolve(self, asked=0)

    def unheard(self, until: float) -> Self:
        """Return that of a caller to whom something is being said."""
        return attrs.evolve(self, unheard_until=until)

    def heard(self) -> Self:
        """Return that of a caller who has heard what there was to hear."""
        return attrs.evolve(self, unheard_until=-NEVER)

    def fresh(self) -> Self:
        """Return it anew, of its numbers."""
        return type(self)(asked=int(self.asked), farewell=int(self.farewell), unheard_until=float(self.unheard_until))
