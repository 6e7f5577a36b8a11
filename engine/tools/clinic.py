"""A dental clinic: its appointments in its own table, and the tools with which a caller finds, books and cancels one.

Theory of operation. A slot is free while no row has it in `slot`, which is unique: of any number of bookings at once,
the database lets one through. Cancelling empties `slot`, and empty ones never collide. `booking_key` and `cancel_key`
are unique too: a run that is asked again finds what its key did the first time, and answers the same.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Annotated, Final, Literal, Self, TypeAlias

import attrs
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    UniqueConstraint,
    select,
    update,
)

from engine.messages.conversation import Json
from engine.messages.errors import ConfigError
from engine.storage.database import Database, Schema, open_database
from engine.storage.moments import Clock, UtcDateTime
from engine.tools.arguments import Between, Length
from engine.tools.hours import ClinicHours
from engine.tools.spoken import spoken_day, spoken_moment
from engine.tools.tool import Answer, IdempotencyKey, Refused, Tool, tool
from engine.tools.toolbox import CallContext

_metadata = MetaData()

_appointments = Table(
    "appointments",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("booking_key", String, nullable=False, unique=True),
    Column("cancel_key", String, unique=True),
    # On the clinic's wall clock. `slot` is `slot_start` while the appointment stands, and empty once it is cancelled.
    Column("slot_start", DateTime, nullable=False),
    Column("slot", DateTime),
    Column("patient", String, nullable=False),
    Column("phone", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("status", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("tenant", "slot"),
)

_SCHEMA: Final = Schema(name="clinic", metadata=_metadata)

PartOfDay: TypeAlias = Literal["any", "morning", "afternoon"]
_NOON_HOUR: Final = 12
_OFFERED: Final = 3
"""How many slots are offered in place of one that cannot be had: what a listener keeps in mind."""


@attrs.frozen(kw_only=True)
class Clinic:
    """A clinic that is open for bookings. Shared by calls; each gets its own `FrontDesk`."""

    database: Database
    hours: ClinicHours
    clock: Clock

    @classmethod
    def open(cls, options: Mapping[str, object], clock: Clock) -> Self:
        """Open the clinic that a tenant's options tell: `database`, a URL, and those of `ClinicHours.from_options`.

        Raises `ConfigError`.
        """
        url = options.get("database")
        if not isinstance(url, str):
            raise ConfigError('database: missing; expected a URL such as "sqlite:///clinic.db"')
        hours = ClinicHours.from_options({key: value for key, value in options.items() if key != "database"})
        return cls(database=open_database(url, _SCHEMA), hours=hours, clock=clock)

    @property
    def tools(self) -> tuple[Tool, ...]:
        return (find_free_slots, book_appointment, cancel_appointment)

    def context(self, call: CallContext) -> "FrontDesk":
        return FrontDesk(clinic=self, call=call)

    def close(self) -> None:
        self.database.close()


@attrs.frozen(kw_only=True)
class FrontDesk:
    """The clinic as one call sees it: what the tools are given as their context."""

    clinic: Clinic
    call: CallContext

    @property
    def now(self) -> datetime:
        return self.clinic.hours.local(self.clinic.clock())

    def free_slots(
        self, connection: Connection, first: date, last: date, part: PartOfDay = "any"
    ) -> Iterator[datetime]:
        """Give the free slots from the `first` day to the `last`, in order."""
        now = self.now
        taken = set(
            connection.scalars(
                select(_appointments.c.slot).where(
                    _appointments.c.tenant == self.call.tenant, _appointments.c.slot > now
                )
            )
        )
        for ahead in range((last - first).days + 1):
            for slot in self.clinic.hours.slots_on(first + timedelta(days=ahead)):
                if slot > now and slot not in taken and part in ("any", _part_of_day(slot)):
                    yield slot

    @property
    def last_day(self) -> date:
        return self.now.date() + timedelta(days=self.clinic.hours.bookable_days)

    def coming(self, connection: Connection, patient: str) -> list[RowMapping]:
        """Return the patient's appointments that are still to come, in order."""
        rows = connection.execute(
            select(_appointments)
            .where(_appointments.c.tenant == self.call.tenant, _appointments.c.slot > self.now)
            .order_by(_appointments.c.slot)
        )
        return [row for row in rows.mappings() if _name(row["patient"]) == _name(patient)]

    def find(self, connection: Connection, **columns: object) -> RowMapping | None:
        """Return the appointment with these values, if there is one."""
        matches = [_appointments.c[name] == value for name, value in columns.items()]
        return connection.execute(select(_appointments).where(*matches)).mappings().one_or_none()

    def near(self, connection: Connection, wanted: datetime) -> dict[str, Json]:
        """Return what to offer in place of a slot that cannot be had: those nearest to it, of its day if it has any."""
        day = min(max(wanted.date(), self.now.date()), self.last_day)
        soonest = islice(self.free_slots(connection, day, self.last_day), _OFFERED)
        free = list(self.free_slots(connection, day, day)) or list(soonest)
        nearest = sorted(free, key=lambda slot: abs(slot - wanted))[:_OFFERED]
        return {"free": [_slot(slot) for slot in sorted(nearest)]}


@tool(changes_world=False, timeout_s=5.0)
def find_free_slots(
    desk: FrontDesk,
    day: Annotated[date | None, "the day the caller asked for; leave out for the soonest"] = None,
    part_of_day: Annotated[PartOfDay, "when on the day"] = "any",
    limit: Annotated[int, "how many slots at most", Between(1, 10)] = _OFFERED,
) -> Answer:
    """Find free appointments at the clinic. Offer the caller two or three of them, as `say` puts them."""
    today = desk.now.date()
    first = day or today
    if not today <= first <= desk.last_day:
        return Refused(
            f"{spoken_day(first)} {first.year} cannot be booked; only days from {spoken_day(today)} {today.year} "
            f"to {spoken_day(desk.last_day)} {desk.last_day.year}"
        )
    with desk.clinic.database.reading() as connection:
        found = list(islice(desk.free_slots(connection, first, day or desk.last_day, part_of_day), limit))
        note = {}
        if day and not found:
            found = list(islice(desk.free_slots(connection, first, desk.last_day, part_of_day), limit))
            wanted = spoken_day(day) if part_of_day == "any" else f"the {part_of_day} of {spoken_day(day)}"
            note["note"] = f"nothing is free on {wanted}; these are the next ones"
    return {"slots": [_slot(slot) for slot in found], **note}


@tool(changes_world=True, timeout_s=5.0)
def book_appointment(
    desk: FrontDesk,
    key: IdempotencyKey,
    slot_start: Annotated[datetime, "a slot_start that find_free_slots gave"],
    patient: Annotated[str, "the patient's full name", Length(1, 80)],
    reason: Annotated[str, "what it is for, such as toothache", Length(1, 200)] = "check-up",
) -> Answer:
    """Book an appointment. Only after the caller has agreed to the day and time and has given the patient's name."""
    slot = desk.clinic.hours.local(slot_start)
    with desk.clinic.database.writing() as connection:
        booked = desk.find(connection, booking_key=key)
        if booked is not None:
            return _confirm(booked)
        if not desk.now < slot or slot.date() > desk.last_day or slot not in desk.clinic.hours.slots_on(slot.date()):
            return Refused(f"{spoken_moment(slot)} is not a time that can be booked", desk.near(connection, slot))
        row = desk.clinic.database.insert(_appointments).values(
            tenant=desk.call.tenant,
            booking_key=key,
            slot_start=slot,
            slot=slot,
            patient=patient,
            phone=desk.call.caller,
            reason=reason,
            status="booked",
            created_at=desk.clinic.clock(),
        )
        connection.execute(row.on_conflict_do_nothing())
        holder = desk.find(connection, tenant=desk.call.tenant, slot=slot)
        # A model that was told of no answer in time asks again under a new id: what it finds then is no stranger's.
        if holder is None or (holder["phone"], _name(holder["patient"])) != (desk.call.caller, _name(patient)):
            return Refused(f"{spoken_moment(slot)} is taken", desk.near(connection, slot))
    return _confirm(holder)


@tool(changes_world=True, timeout_s=5.0)
def cancel_appointment(
    desk: FrontDesk,
    key: IdempotencyKey,
    patient: Annotated[str, "the full name that it was booked under", Length(1, 80)],
    slot_start: Annotated[datetime | None, "when it is; leave out if the patient has only one"] = None,
) -> Answer:
    """Cancel an appointment. Only after the caller has said whose it is and that it should be cancelled."""
    with desk.clinic.database.writing() as connection:
        cancelled = desk.find(connection, cancel_key=key)
        if cancelled is not None:
            return _confirm(cancelled)
        theirs = desk.coming(connection, patient)
        slot = None if slot_start is None else desk.clinic.hours.local(slot_start)
        meant = [row for row in theirs if slot in (None, row["slot"])]
        offers: dict[str, Json] = {"appointments": [_slot(row["slot"]) for row in theirs]}
        if not theirs:
            return Refused(f"there is no coming appointment for {patient}")
        if slot is not None and not meant:
            return Refused(f"{patient} has no appointment on {spoken_moment(slot)}", offers)
        if len(meant) > 1:
            return Refused(f"{patient} has {len(meant)} appointments; ask which one is meant", offers)
        row = update(_appointments).where(_appointments.c.id == meant[0]["id"], _appointments.c.status == "booked")
        connection.execute(row.values(status="cancelled", slot=None, cancel_key=key))
        cancelled = desk.find(connection, id=meant[0]["id"])
        assert cancelled is not None, "appointments are never deleted"
    return _confirm(cancelled)


def _part_of_day(slot: datetime) -> PartOfDay:
    return "morning" if slot.hour < _NOON_HOUR else "afternoon"


def _name(patient: str) -> str:
    return patient.casefold()


def _slot(slot: datetime) -> dict[str, Json]:
    return {"slot_start": slot.isoformat(timespec="minutes"), "say": spoken_moment(slot)}


def _confirm(appointment: RowMapping) -> dict[str, Json]:
    """Return an appointment as the model is told of it."""
    told: dict[str, Json] = {column: appointment[column] for column in ("status", "patient", "reason")}
    return told | _slot(appointment["slot_start"])
