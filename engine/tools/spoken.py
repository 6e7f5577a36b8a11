"""Days and times as they are spoken: "Tuesday the 24th of November at 10:30 AM". The same in every locale."""

from datetime import date, datetime
from typing import Final

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_HALF_DAY_HOURS: Final = 12


def spoken_day(day: date) -> str:
    """Return a day as it is spoken, without the year: "Sunday the 1st of March"."""
    teens = day.day in (11, 12, 13)
    ending = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return f"{WEEKDAYS[day.weekday()]} the {day.day}{ending} of {_MONTHS[day.month - 1]}"


def spoken_moment(moment: datetime) -> str:
    """Return a moment as it is spoken, to the minute: "Sunday the 1st of March at 10 AM"."""
    hour = moment.hour % _HALF_DAY_HOURS or _HALF_DAY_HOURS
    minutes = f":{moment.minute:02}" if moment.minute else ""
    return f"{spoken_day(moment)} at {hour}{minutes} {'AM' if moment.hour < _HALF_DAY_HOURS else 'PM'}"
