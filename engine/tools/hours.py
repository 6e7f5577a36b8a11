"""A clinic's opening hours: when appointments begin. All times are on the clinic's own wall clock."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from itertools import pairwise
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from engine.messages.errors import ConfigError
from engine.tools.spoken import WEEKDAYS

_DAYS: Final = tuple(day.lower() for day in WEEKDAYS)


@attrs.frozen(kw_only=True)
class Opening:
    """A stretch of a day in which appointments are given; one must end by `end`."""

    start: time
    end: time


@attrs.frozen(kw_only=True)
class ClinicHours:
    """When the clinic gives appointments.

    week: the openings of each weekday, Monday first, in order.
    closed: days on which it does not, whatever the weekday.
    slot_minutes: how long an appointment takes, and how far apart two begin. 30 unless the tenant says otherwise.
    bookable_days: how far ahead one can be booked. 90: a quarter, so that "after the holidays" works.
    """

    timezone: ZoneInfo
    week: tuple[tuple[Opening, ...], ...]
    closed: frozenset[date] = frozenset()
    slot_minutes: int = 30
    bookable_days: int = 90

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Return the hours that a tenant's options tell.

        timezone = "Europe/London"; hours = { monday = ["09:00-12:30", "13:30-17:00"], … }, a day that is not there
        is closed; closed = [2026-12-25]; slot_minutes; bookable_days. Raises `ConfigError`.
        """
        check_keys(options, ("timezone", "hours", "closed", "slot_minutes", "bookable_days"))
        hours = options.get("hours")
        if not isinstance(hours, Mapping) or not hours:
            raise ConfigError('hours: missing; expected a table such as { monday = ["09:00-17:00"] }')
        check_keys(hours, _DAYS, "hours.")
        closed = options.get("closed", [])
        if not isinstance(closed, list) or not all(type(day) is date for day in closed):
            raise ConfigError(f"closed: {closed!r} is not a list of dates such as [2026-12-25]")
        return cls(
            timezone=_timezone(options.get("timezone")),
            week=tuple(_openings(f"hours.{day}", hours.get(day, [])) for day in _DAYS),
            closed=frozenset(closed),
            slot_minutes=_count(options, "slot_minutes", 30, maximum=240),
            bookable_days=_count(options, "bookable_days", 90, maximum=730),
        )

    def local(self, moment: datetime) -> datetime:
        """Return a moment on the clinic's wall clock; one without a time zone is taken to be there already."""
        return moment if moment.tzinfo is None else moment.astimezone(self.timezone).replace(tzinfo=None)

    def slots_on(self, day: date) -> Iterator[datetime]:
        """Give the starts of the appointments of a day, in order."""
        if day in self.closed:
            return
        step = timedelta(minutes=self.slot_minutes)
        for opening in self.week[day.weekday()]:
            slot, end = datetime.combine(day, opening.start), datetime.combine(day, opening.end)
            while slot + step <= end:
                yield slot
                slot += step


def check_keys(options: Mapping[str, object], known: tuple[str, ...], where: str = "") -> None:
    """Raise `ConfigError` for a key that is not among the `known`, with the one that was likely meant."""
    for key in options:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(map(repr, known))}"
            raise ConfigError(f"{where}{key}: unknown key; {guess}")


def _timezone(name: object) -> ZoneInfo:
    if not isinstance(name, str):
        raise ConfigError('timezone: missing; expected a name such as "Europe/London"')
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f'timezone: unknown {name!r}; expected a name such as "Europe/London"') from error


def _count(options: Mapping[str, object], key: str, default: int, *, maximum: int) -> int:
    count = options.get(key, default)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= maximum:
        raise ConfigError(f"{key}: {count!r} is not a whole number from 1 to {maximum}")
    return count


def _openings(where: str, texts: object) -> tuple[Opening, ...]:
    if not isinstance(texts, list):
        raise ConfigError(f'{where}: {texts!r} is not a list such as ["09:00-12:30", "13:30-17:00"]')
    openings = tuple(_opening(where, text) for text in texts)
    for before, after in pairwise(openings):
        if after.start < before.end:
            raise ConfigError(
                f"{where}: {after.start:%H:%M} comes before {before.end:%H:%M}, the end of the one before"
            )
    return openings


def _opening(where: str, text: object) -> Opening:
    try:
        start, end = (time.fromisoformat(part.strip()) for part in str(text).split("-"))
    except ValueError as error:
        raise ConfigError(f'{where}: {text!r} is not like "09:00-12:30"') from error
    if start.tzinfo or end.tzinfo or not start < end:
        raise ConfigError(f'{where}: {text!r} does not end after it starts; expected such as "09:00-12:30"')
    return Opening(start=start, end=end)
