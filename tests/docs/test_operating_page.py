"""docs/operating.md, the unit and the alerts that go with it name nothing that is not there."""

import configparser
import re
import shlex
from pathlib import Path

import pytest

from engine.metrics import Metrics
from engine.settings import Settings
from engine.supervisor import SupervisionEvent
from engine.watch import event_name
from holdfast import serve
from web.door import AFTER_S

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for part in ("engine", "web", "holdfast") for path in (ROOT / part).rglob("*.py")
)
ALERTS = dict(
    re.findall(r"- alert: (\w+)\n +expr: (.+)\n", (ROOT / "config/prometheus/alerts.yml").read_text(encoding="utf-8"))
)
# Prometheus makes these itself: the one of each scrape, the others of each series.
OF_A_SCRAPE = {"up": {"job", "instance"}}
OF_A_SERIES = {"job", "instance"}


def series() -> dict[str, set[str]]:
    """Return the labels of all series of a process, by name."""
    found = {
        name: set(getattr(collector, "_labelnames", ())) | ({"le"} if name.endswith("_bucket") else set())
        for collector, names in Metrics().registry._collector_to_names.items()
        for name in names
    }
    return found | {metric.name: set() for metric in Metrics().registry.collect() if metric.name.startswith("process_")}


def selectors(expression: str) -> list[tuple[str, str]]:
    """Return what an expression selects: names, and what stands in their braces."""
    return re.findall(r"\b(up|(?:holdfast|process)_\w+)(?:\{(.*?)\})?", expression)


def test_all_alerts_were_found() -> None:
    assert 5 <= len(ALERTS) <= 8


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_asks_for_series_and_labels_that_there_are(alert: str) -> None:
    known = series() | OF_A_SCRAPE
    found = selectors(ALERTS[alert])
    assert found
    for name, matchers in found:
        assert name in known
        assert set(re.findall(r"(\w+)=", matchers)) <= known[name] | OF_A_SERIES
    kept = {label.strip() for group in re.findall(r"by \(([^)]*)\)", ALERTS[alert]) for label in group.split(",")}
    assert kept <= set.union(*(known[name] for name, _ in found)) | OF_A_SERIES


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_asks_for_values_that_somebody_writes(alert: str) -> None:
    for _, matchers in selectors(ALERTS[alert]):
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            assert label == "job" or not [value for value in values.split("|") if f'"{value}"' not in SOURCE]


def test_the_page_has_every_alert_and_no_other() -> None:
    assert re.findall(r"^\| `(Holdfast\w+)`", PAGE, re.MULTILINE) == list(ALERTS)


def test_the_page_names_series_that_there_are() -> None:
    found = re.findall(r"`((?:holdfast|process)_\w+)", PAGE)
    assert len(found) > 3
    assert set(found) <= set(series())


def test_the_page_names_events_that_are_logged() -> None:
    table = PAGE[PAGE.index("| event |") :]
    found = {
        name for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall("`(.+?)`", cell)
    }
    logged = set(re.findall(r'\b_?log\.\w+\(\s*"([^"]+)"', SOURCE))
    told = {event_name(kind.__new__(kind)) for kind in SupervisionEvent.__subclasses__()}
    assert len(found) > 30
    assert found <= logged | told


def test_the_unit_waits_until_a_server_has_drained() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read(ROOT / "config/systemd/holdfast.service")
    drains_s = Settings().door.drain_s + serve.GOODBYE_S + AFTER_S + serve.ANSWER_S
    assert int(unit["Service"]["TimeoutStopSec"]) > drains_s + 5  # and some for what is still to be written
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command[0] == f"{unit['Service']['WorkingDirectory']}/.venv/bin/holdfast"
    assert (ROOT / command[command.index("--config") + 1]).is_file()
