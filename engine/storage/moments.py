"""Moments of the world, in UTC: for what is stored and shown. What a call decides by is trio's clock, not these."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from sqlalchemy import DateTime
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

Clock: TypeAlias = Callable[[], datetime]
"""Tells the present moment, with its time zone. Injected wherever a date matters, so that a test can choose it."""


def utc_now() -> datetime:
    """Return the present moment in UTC: the clock in production."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A column of moments. Takes any time zone, gives UTC; SQLite, which keeps none, is given UTC to keep."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (signature)
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"moment {value} has no time zone; a stored moment needs one")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (signature)
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
