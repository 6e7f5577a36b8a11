"""Report: what happened in a call with faults, as data and as text."""

from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from engine.faults import CONNECTIONS, KINDS, AnyFault, as_table

MOST_HAPPENED: Final = 10_000
"""Lines of a report. A call of an hour in which something fails every second has fewer."""


@attrs.frozen(kw_only=True)
class Happened:
    """A line of a call's report: who, what, why, and when, in seconds since the call opened."""

    at_s: float
    who: str
    what: str
    why: str = ""


@attrs.define(eq=False, kw_only=True)
class Report:
    """What happened in a call with faults.

    happened: faults that struck, what supervisors saw and decided, connections, turns; in order.
    vendors: who held each kind of connection, by "stt", "tts", "llm": who was meant to, then one after another.
    counted: what the call's parts counted (`deaf_ms`, `lost_ms`, …), summed up. lost: messages dropped or set aside.
    strikes: how often each fault struck. ended: why the call ended; None while it goes on.
    """

    call_sid: str = ""
    seed: int = 0
    faults: tuple[AnyFault, ...] = ()
    happened: list[Happened] = attrs.field(factory=list)
    vendors: dict[str, list[str]] = attrs.field(factory=lambda: {work: [] for work in CONNECTIONS.values()})
    counted: dict[str, float] = attrs.field(factory=dict)
    lost: Mapping[str, int] = attrs.field(factory=dict)
    strikes: list[int] = attrs.field(default=attrs.Factory(lambda self: [0] * len(self.faults), takes_self=True))
    turns: int = 0
    ended: str | None = None
    ended_s: float = 0.0

    def note(self, at_s: float, who: str, what: str, why: str = "") -> None:
        """Write a line."""
        if len(self.happened) < MOST_HAPPENED:
            self.happened.append(Happened(at_s=round(at_s, 3), who=who, what=what, why=why))

    def restarts(self, actor: str) -> int:
        """Return how often the actor, its loop or its session was started again."""
        whose = (f"{actor}/", f"call/{actor}#")
        return sum(each.what == "ChildRestarted" and each.who.startswith(whose) for each in self.happened)

    def failed_over(self, work: str) -> str:
        """Return which vendor the last connection was with, for "stt", "tts" or "llm"; "" for the first in the list."""
        vendors = self.vendors[work]
        return vendors[-1] if vendors and vendors[-1] != vendors[0] else ""

    def unstruck(self) -> list[AnyFault]:
        """Return the faults that were certain to strike and did not: their moment never came, or nothing was there."""
        return [
            fault
            for fault, times in zip(self.faults, self.strikes, strict=True)
            if not times and fault.probability == 1.0
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            **attrs.asdict(self, filter=lambda field, _: field.name != "faults"),
            "faults": [as_table(fault) for fault in self.faults],
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `as_json` was made of."""
        fields = {name: value for name, value in plain.items() if name not in {"faults", "happened"}}
        happened = [Happened(**each) for each in plain["happened"]]
        faults = tuple(
            KINDS[each["kind"]](**{k: v for k, v in each.items() if k != "kind"}) for each in plain["faults"]
        )
        return cls(**fields, faults=faults, happened=happened)

    def timeline(self) -> str:
        """Return what happened as lines of text."""
        return "\n".join(
            f"{each.at_s:8.3f} s  {each.who:<16} {each.what}{f': {each.why}' if each.why else ''}"
            for each in self.happened
        )
