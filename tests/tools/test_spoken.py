"""Days and times as they are spoken."""

from datetime import date, datetime

import pytest

from engine.tools.spoken import spoken_day, spoken_moment


@pytest.mark.parametrize(
    ("day", "ending"),
    [
        *((day, "th") for day in (4, 10, 11, 12, 13, 14, 20, 24, 30)),
        *((day, "st") for day in (1, 21, 31)),
        *((day, "nd") for day in (2, 22)),
        *((day, "rd") for day in (3, 23)),
    ],
)
def test_a_day_has_its_ordinal(day: int, ending: str) -> None:
    assert spoken_day(date(2026, 12, day)).endswith(f" the {day}{ending} of December")


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        (datetime.fromisoformat("2026-11-24T10:30"), "Tuesday the 24th of November at 10:30 AM"),
        (datetime.fromisoformat("2026-03-01T09:00"), "Sunday the 1st of March at 9 AM"),
        (datetime.fromisoformat("2026-03-02T00:05"), "Monday the 2nd of March at 12:05 AM"),
        (datetime.fromisoformat("2026-03-04T11:59"), "Wednesday the 4th of March at 11:59 AM"),
        (datetime.fromisoformat("2026-03-05T12:00"), "Thursday the 5th of March at 12 PM"),
        (datetime.fromisoformat("2026-03-06T13:00"), "Friday the 6th of March at 1 PM"),
        (datetime.fromisoformat("2026-03-07T23:30"), "Saturday the 7th of March at 11:30 PM"),
    ],
)
def test_a_moment_is_said_on_the_twelve_hour_clock(moment: datetime, said: str) -> None:
    assert spoken_moment(moment) == said
