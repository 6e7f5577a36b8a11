"""Trigger: when a fault strikes."""

from collections.abc import Callable

import attrs

from engine.faults import AnyFault, Part
from engine.messages.supervision import NEVER


@attrs.define(eq=False)
class Trigger:
    """Strikes when a fault's moment has come. A machine in plain code: `due` is the next time that it waits for.

    clock: seconds since the call opened.
    left: strikes that are still to come. Invariant: at 0 nothing moves it.
    """

    fault: AnyFault
    strike: Callable[[AnyFault], None]
    clock: Callable[[], float]
    left: int = attrs.field(init=False)
    due: float = attrs.field(init=False, default=NEVER)
    # In which of the caller's turns it waits for its moment; 0: in none.
    _turn: int = attrs.field(init=False)
    # What is still to be counted before it strikes; None: nothing is counted now.
    _counting: int | None = attrs.field(init=False, default=None)
    # Whether it has struck, and what follows goes by the clock.
    _ticking: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        moment = self.fault.moment
        self.left, self._turn = self.fault.times, moment.turn
        if not self._turn:
            self.due = moment.offset_s

    def told(self, part: Part, turn: int, at_s: float) -> None:
        """Hear that a turn's caller began or ended, or that its reply began, `at_s`."""
        moment = self.fault.moment
        again = self.fault.times > 1  # then a turn in which it never came is not waited for
        wanted = turn == self._turn or (again and turn > self._turn)
        if self.left and self._turn and wanted and part is moment.part and self.due == NEVER:
            self._turn = turn
            self.due = at_s + moment.offset_s

    def passed(self, what: str, *, here: bool) -> None:
        """Hear that one of `faults.COUNTED` has passed. here: it was of what the fault is on."""
        count = self.fault.count
        if self._counting is None or count is None or count.what != what:
            return
        if here or what not in {"session", "step"}:
            self._counting -= 1
            if not self._counting:
                self._strike()

    def look(self) -> None:
        """Do what is due."""
        if self.due > self.clock():
            return
        self.due = NEVER
        count = self.fault.count
        if count is not None and not self._ticking:
            self._turn, self._counting = 0, count.number
        else:
            self._strike()

    def _strike(self) -> None:
        self.left -= 1
        self._counting = None
        if self.left and self.fault.every_s:
            self._ticking = True
            self.due = self.clock() + self.fault.every_s
        elif self.left and self.fault.count is not None:
            self._counting = self.fault.count.number
        elif self.left:
            self._turn += 1
        self.strike(self.fault)
