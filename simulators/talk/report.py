"""What calls came to: a line each, and the figures at the end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs
from rich.console import Console
from rich.table import Table

from simulators.talk.account import Account
from simulators.talk.floor import quantile
from simulators.talk.judge import Verdict

KEPT: Final = "scenarios.json"


@attrs.define
class Report:
    """The verdicts so far, by call. others: see `Machine.used_by_others`; None where time is virtual."""

    console: Console
    how: str
    verdicts: dict[str, Verdict] = attrs.field(factory=dict)
    others: float | None = None

    def add(self, title: str, verdict: Verdict, *, of: int) -> None:
        """Take a verdict, and print it."""
        self.verdicts[title] = verdict
        good = not verdict.wrongs
        mark = "[green]as it should be[/green]" if good else "[bold red]NOT AS IT SHOULD BE[/bold red]"
        self.console.print(f"{len(self.verdicts):4d}/{of}  {title}: {mark}", highlight=False, soft_wrap=True)
        for wrong in verdict.wrongs:
            self.console.print(f"           {wrong}", markup=False, highlight=False, soft_wrap=True)

    @property
    def failed(self) -> dict[str, list[str]]:
        """What is wrong, by call."""
        return {title: list(each.wrongs) for title, each in self.verdicts.items() if each.wrongs}

    def figures(self) -> dict[str, Any]:
        """Return the figures of all calls together."""
        every = list(self.verdicts.values())
        waits = [wait_s for each in every for wait_s in each.waits_s]
        ideal = [ideal_s for each in every for ideal_s in each.ideal_s]
        added = [wait_s - ideal_s for wait_s, ideal_s in zip(waits, ideal, strict=True)]
        silences = [silent_s for each in every for silent_s in each.silences_s]
        return {
            "calls": len(every),
            "failed": len(self.failed),
            "sounds that leave the floor": sum(each.noises for each in every),
            "false interruptions": sum(each.false for each in every),
            "words that take the floor": sum(each.interruptions for each in every),
            "missed interruptions": sum(each.missed for each in every),
            "answers": len(waits),
            "premature answers": sum(each.premature for each in every),
            "last word to answer, p50 s": quantile(waits, 0.5),
            "last word to answer, p95 s": quantile(waits, 0.95),
            "of that added by waiting for the end, p50 s": quantile(added, 0.5),
            "of that added by waiting for the end, p95 s": quantile(added, 0.95),
            "stale audio after clear, s": round(sum(each.stale_s for each in every), 3),
            "speech over the agent to silence, p50 s": quantile(silences, 0.5),
            "speech over the agent to silence, p95 s": quantile(silences, 0.95),
            "requests to the model": sum(each.requests for each in every),
            "wasted requests": sum(each.wasted for each in every),
            "share of the machine that others used": self.others,
        }

    def finish(self, folder: Path | None) -> None:
        """Print the figures, and keep everything in a folder."""
        figures = self.figures()
        show(self.console, f"scenarios, {self.how}", figures)
        if folder is not None:
            body = {"how": self.how, "figures": figures, "failed": self.failed}
            keep(folder / KEPT, {**body, "calls": {title: attrs.asdict(each) for title, each in self.verdicts.items()}})


def show(console: Console, title: str, figures: Mapping[str, Any]) -> None:
    """Print figures as a table; lists by how long they are."""
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(len(value)) if isinstance(value, list) else str(value))
    console.print(table)


def told(account: Account) -> dict[str, Any]:
    """Return what helps to see what happened in a call, as JSON has it."""
    return {
        "made": [{"text": each.text, "start_s": each.start_s, "end_s": each.end_s} for each in account.made],
        "spoke": [attrs.asdict(each) for each in account.spoke],
        "clears": account.clears,
        "conversation": account.notes,
    }


def keep(path: Path, body: Mapping[str, Any]) -> None:
    """Write something down as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
