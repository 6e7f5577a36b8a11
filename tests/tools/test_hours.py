"""Opening hours: which moments begin an appointment, and what an operator may write."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from engine.messages.errors import ConfigError
from engine.tools.hours import ClinicHours

MONDAY, TUESDAY, SUNDAY = date(2026, 11, 23), date(2026, 11, 24), date(2026, 11, 29)


def hours(**options: Any) -> ClinicHours:
    return ClinicHours.from_options({"timezone": "Europe/London", "hours": {"monday": ["09:00-17:00"]}, **options})


def starts(hours: ClinicHours, day: date) -> list[str]:
    return [f"{slot:%H:%M}" for slot in hours.slots_on(day)]


def test_slots_fill_each_opening_and_none_runs_past_its_end() -> None:
    week = {"tuesday": ["09:00-10:30", "13:10-14:39"], "monday": ["16:30-17:00"]}
    assert starts(hours(hours=week), TUESDAY) == ["09:00", "09:30", "10:00", "13:10", "13:40"]
    assert starts(hours(hours=week), MONDAY) == ["16:30"]
    assert starts(hours(hours=week), SUNDAY) == []
    assert starts(hours(hours=week, slot_minutes=45), TUESDAY) == ["09:00", "09:45", "13:10"]


def test_a_closed_day_has_no_slots() -> None:
    assert starts(hours(closed=[MONDAY]), MONDAY) == []


@pytest.mark.parametrize(
    ("moment", "there"),
    [
        (datetime(2026, 11, 24, 10, 30, tzinfo=UTC), datetime.fromisoformat("2026-11-24T05:30")),
        (datetime(2026, 7, 24, 10, 30, tzinfo=UTC), datetime.fromisoformat("2026-07-24T06:30")),
        (datetime.fromisoformat("2026-07-24T10:30"), datetime.fromisoformat("2026-07-24T10:30")),
    ],
)
def test_moments_are_put_on_the_clinics_own_clock(moment: datetime, there: datetime) -> None:
    assert hours(timezone="America/New_York").local(moment) == there


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hors": {}}, "hors: unknown key; did you mean 'hours'?"),
        ({"colour": 1}, "colour: unknown key; known: 'timezone', 'hours', 'closed', 'slot_minutes', 'bookable_days'"),
        ({"hours": {"mondy": []}}, "hours.mondy: unknown key; did you mean 'monday'?"),
        ({"hours": {}}, 'hours: missing; expected a table such as { monday = ["09:00-17:00"] }'),
        ({"hours": {"monday": "9-5"}}, """hours.monday: '9-5' is not a list such as ["09:00-12:30", "13:30-17:00"]"""),
        ({"hours": {"monday": ["9-17"]}}, """hours.monday: '9-17' is not like "09:00-12:30\""""),
        ({"hours": {"monday": ["09:00"]}}, """hours.monday: '09:00' is not like "09:00-12:30\""""),
        ({"hours": {"monday": [9]}}, """hours.monday: 9 is not like "09:00-12:30\""""),
        (
            {"hours": {"monday": ["12:00-12:00"]}},
            """hours.monday: '12:00-12:00' does not end after it starts; expected such as "09:00-12:30\"""",
        ),
        (
            {"hours": {"monday": ["09:00-12:00", "11:30-17:00"]}},
            "hours.monday: 11:30 comes before 12:00, the end of the one before",
        ),
        (
            {"timezone": "Europe/Londn"},
            """timezone: unknown 'Europe/Londn'; expected a name such as "Europe/London\"""",
        ),
        ({"timezone": "/etc/passwd"}, """timezone: unknown '/etc/passwd'; expected a name such as "Europe/London\""""),
        ({"timezone": 1}, 'timezone: missing; expected a name such as "Europe/London"'),
        ({"closed": ["2026-12-25"]}, "closed: ['2026-12-25'] is not a list of dates such as [2026-12-25]"),
        ({"slot_minutes": 0}, "slot_minutes: 0 is not a whole number from 1 to 240"),
        ({"slot_minutes": 241}, "slot_minutes: 241 is not a whole number from 1 to 240"),
        ({"bookable_days": True}, "bookable_days: True is not a whole number from 1 to 730"),
    ],
)
def test_a_wrong_option_is_told_with_what_was_allowed(options: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hours(**options)
    assert str(caught.value) == said
