"""History: a call's conversation, in order of turns, as it is stored and as a model is shown it."""

from typing import Self, TypeAlias

import attrs

from engine.codec.spoken import Spoken, heard
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Noted, ToolAnswered, ToolCalled
from engine.messages.records import Record


@attrs.frozen(kw_only=True)
class History:
    """What was said and done. Each change comes with the records by which the stored conversation follows it."""

    # Invariant: in order of turn, so that a tool's answer follows its call, with no note between, and each request ends
    # with what it answers.
    entries: tuple[Entry, ...] = ()
    # Where entries[0] is stored: not 0 after a bare core took over.
    stored: int = 0

    @property
    def questions(self) -> list[int]:
        """The caller's turns."""
        return [each.turn for each in self.entries if isinstance(each, CallerSaid)]

    def until(self, turn: int) -> tuple[Entry, ...]:
        """Return the entries up to the end of a turn."""
        return self.entries[: self._place(turn)]

    def shown(self, turn: int, note: str) -> tuple[Entry, ...]:
        """Return what a model is shown that is to answer in `turn`, which never ends with its own words.

        note: what stands after them, `{said}` for the words themselves. It is no part of the conversation: what is said
        is one answer, whoever said it, and no later turn need know that it took two requests.
        """
        entries = self.until(turn)
        match [each for each in entries if not isinstance(each, Noted)][-1:]:
            case [AgentSaid(turn=last, text=text)] if last == turn:
                return (*entries, Noted(turn=turn, text=note.format(said=text)))
            case _:
                return entries

    def turn_of(self, tool: str) -> int | None:
        """Return the turn in which a tool was called."""
        calls = (each for each in self.entries if isinstance(each, ToolCalled))
        return next((call.turn for call in calls if call.id == tool), None)

    def ran(self, called: ToolCalled, *, alike: bool) -> ToolAnswered | None:
        """Return the answer to a call that was made before: under the same id or, if `alike`, in the same words."""
        answers = {each.id: each for each in self.entries if isinstance(each, ToolAnswered)}
        for each in self.entries:
            if isinstance(each, ToolCalled) and each.id in answers:
                same = attrs.evolve(each, id=called.id) == called
                if each.id == called.id or (alike and same):
                    return answers[each.id]
        return None

    def added(self, entry: Entry, now: float) -> "Change":
        """Add an entry at the end of its turn: before what was said in a later one meanwhile."""
        at = self._note_place(entry.turn) if isinstance(entry, Noted) else self._place(entry.turn)
        return self._put(at, (entry, *self.entries[at:]), now)

    def said(self, turn: int, text: str, spoken: Spoken, now: float) -> "Change":
        """Add what the agent says: to the last entry of its turn if nothing came in between.

        text: as it is written. spoken: the same, as it is spoken.
        """
        at = self._place(turn)
        last = self.entries[at - 1] if at else None
        if not isinstance(last, AgentSaid) or last.turn != turn:
            return self.added(AgentSaid(turn=turn, text=text, spoken=spoken.counts), now)
        counts: tuple[int, ...] = ()
        if last.spoken or spoken.counts:
            counts = (*_counts(last.text, last.spoken), *_counts(text, spoken.counts))
        return self._put(at - 1, (attrs.evolve(last, text=f"{last.text} {text}", spoken=counts),), now)

    def cut(self, turn: int, words: int, now: float) -> "Change":
        """Cut what was said in a turn to what was heard of it, so many spoken words."""
        history, records = self, list[Record]()
        for at, entry in enumerate(self.entries):
            if not isinstance(entry, AgentSaid) or entry.turn != turn:
                continue
            written = entry.text.split()
            counts = _counts(entry.text, entry.spoken)
            known = heard(written, entry.spoken, words)
            words = max(0, words - sum(counts))
            if known < len(written):
                left = attrs.evolve(
                    entry,
                    text=" ".join(written[:known]),
                    interrupted=True,
                    unheard=" ".join(filter(None, (*written[known:], entry.unheard))),
                    spoken=entry.spoken[:known],
                )
                history, more = history._put(at, (left,), now)
                records += more
        return history, records

    def bare(self) -> Self:
        """Return an empty one, which is stored after this one."""
        return type(self)(stored=int(self.stored) + len(self.entries))

    def _place(self, turn: int) -> int:
        """Return where the next entry of a turn goes."""
        at = len(self.entries)
        while at and self.entries[at - 1].turn > turn:
            at -= 1
        return at

    def _note_place(self, turn: int) -> int:
        """Return where a note of a turn goes: where no call of that turn waits for its answer."""
        at = self._place(turn - 1)
        waiting = set[str]()
        for number, entry in enumerate(self.entries[at : self._place(turn)], start=at + 1):
            match entry:
                case ToolCalled(id=id_):
                    waiting.add(id_)
                case ToolAnswered(id=id_):
                    waiting.discard(id_)
                case _:
                    pass
            at = at if waiting else number
        return at

    def _put(self, at: int, entries: tuple[Entry, ...], now: float) -> "Change":
        """Put entries at a place, over what stood there."""
        after = attrs.evolve(self, entries=(*self.entries[:at], *entries, *self.entries[at + len(entries) :]))
        return after, [
            Record(position=self.stored + position, entry=entry, at_s=now)
            for position, entry in enumerate(entries, start=at)
        ]


Change: TypeAlias = tuple[History, list[Record]]


def _counts(text: str, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many words are spoken for each written one."""
    return counts or (1,) * len(text.split())
