"""The clinic: what is free, what is booked, and that nothing is ever booked twice."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import select

from engine.messages.conversation import Json
from engine.messages.errors import ConfigError
from engine.messages.model import CallTool
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from engine.tools.clinic import Clinic, FrontDesk, _appointments, book_appointment, cancel_appointment, find_free_slots
from engine.tools.tool import Refused
from engine.tools.toolbox import CallContext

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)  # a Saturday
ANN = CallContext(call_sid="CA1", tenant="smile", caller="+15550001")
BOB = CallContext(call_sid="CA2", tenant="smile", caller="+15550002")
MONDAY, TUESDAY = "2026-11-23", "2026-11-24"
WEEK = {"monday": ["09:00-11:00", "13:00-14:30"], "tuesday": ["09:00-10:30"], "saturday": ["09:30-11:00"]}


def options(folder: Path, **more: object) -> dict[str, object]:
    return {"database": f"sqlite:///{folder / 'clinic.db'}", "timezone": "Europe/London", "hours": WEEK, **more}


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    clinic = Clinic.open(options(tmp_path), lambda: NOW)
    yield clinic
    clinic.close()


@pytest.fixture
def desk(clinic: Clinic) -> FrontDesk:
    return clinic.context(ANN)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def at(desk: FrontDesk, now: str, call: CallContext = ANN) -> FrontDesk:
    """Return the desk at another time, for another call."""
    return attrs.evolve(desk.clinic, clock=lambda: moment(now).replace(tzinfo=UTC)).context(call)


def ask(tool: Any, desk: FrontDesk, **arguments: Any) -> Any:
    """Call a tool as a model does: with what its arguments are by default."""
    defaults = {argument.name: argument.default for argument in tool.arguments if not argument.required}
    return tool.function(desk, **{**defaults, **arguments})


def book(desk: FrontDesk, key: str, slot: str, patient: str = "Ann Lee", **more: str) -> Any:
    return ask(book_appointment, desk, key=key, slot_start=moment(slot), patient=patient, **more)


def cancel(desk: FrontDesk, key: str, patient: str = "Ann Lee", slot: str | None = None) -> Any:
    return ask(cancel_appointment, desk, key=key, patient=patient, slot_start=moment(slot) if slot else None)


def find(desk: FrontDesk, day: str | None = None, part: str = "any", limit: int = 10) -> list[str]:
    found = ask(find_free_slots, desk, day=day and moment(day).date(), part_of_day=part, limit=limit)
    return [slot["slot_start"].removeprefix("2026-11-") for slot in found["slots"]]


def rows(desk: FrontDesk) -> list[tuple[str, str, str]]:
    with desk.clinic.database.reading() as connection:
        found = connection.execute(select(_appointments).order_by(_appointments.c.id))
        return [(f"{row.slot_start:%d %H:%M}", row.patient, row.status) for row in found]


# ── finding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_soonest_free_slots_begin_after_now(desk: FrontDesk) -> None:
    assert find(desk, limit=3) == ["21T10:30", "23T09:00", "23T09:30"]


@pytest.mark.parametrize(
    ("day", "part", "free"),
    [
        (MONDAY, "any", ["23T09:00", "23T09:30", "23T10:00", "23T10:30", "23T13:00", "23T13:30", "23T14:00"]),
        (MONDAY, "morning", ["23T09:00", "23T09:30", "23T10:00", "23T10:30"]),
        (MONDAY, "afternoon", ["23T13:00", "23T13:30", "23T14:00"]),
        ("2026-11-21", "any", ["21T10:30"]),
    ],
)
def test_a_day_shows_its_free_slots(desk: FrontDesk, day: str, part: str, free: list[str]) -> None:
    assert find(desk, day, part) == free


def test_a_slot_is_told_as_it_is_said(desk: FrontDesk) -> None:
    assert ask(find_free_slots, desk, day=moment(TUESDAY).date(), limit=1) == {
        "slots": [{"slot_start": "2026-11-24T09:00", "say": "Tuesday the 24th of November at 9 AM"}]
    }


def test_where_a_day_has_nothing_the_next_ones_are_offered(desk: FrontDesk) -> None:
    sunday = moment("2026-11-22").date()
    found = ask(find_free_slots, desk, day=sunday, limit=1)
    assert found["slots"][0]["slot_start"] == "2026-11-23T09:00"
    assert found["note"] == "nothing is free on Sunday the 22nd of November; these are the next ones"
    found = ask(find_free_slots, desk, day=moment(TUESDAY).date(), part_of_day="afternoon", limit=1)
    assert found["slots"][0]["slot_start"] == "2026-11-30T13:00"
    assert found["note"].startswith("nothing is free on the afternoon of Tuesday the 24th of November")


def test_a_booked_slot_is_not_free_and_a_cancelled_one_is_again(desk: FrontDesk) -> None:
    book(desk, "k1", f"{TUESDAY}T09:30")
    assert find(desk, TUESDAY) == ["24T09:00", "24T10:00"]
    cancel(desk, "k2")
    assert find(desk, TUESDAY) == ["24T09:00", "24T09:30", "24T10:00"]


@pytest.mark.parametrize("day", ["2026-11-20", "2027-02-20", "2999-12-31", "1900-01-01"])
def test_a_day_that_is_past_or_too_far_off_is_refused(desk: FrontDesk, day: str) -> None:
    refused = ask(find_free_slots, desk, day=moment(day).date())
    assert isinstance(refused, Refused)
    assert refused.reason.endswith(
        "only days from Saturday the 21st of November 2026 to Friday the 19th of February 2027"
    )


@pytest.mark.parametrize("day", ["2026-11-21", "2027-02-19"])
def test_the_first_and_last_bookable_days_are_not_refused(desk: FrontDesk, day: str) -> None:
    assert isinstance(ask(find_free_slots, desk, day=moment(day).date()), dict)


@pytest.mark.parametrize(("bookable_days", "free"), [(1, []), (2, ["23T09:00"])])
def test_the_soonest_slot_may_lie_on_the_last_bookable_day(tmp_path: Path, bookable_days: int, free: list[str]) -> None:
    week = {"monday": ["09:00-09:30"]}
    clinic = Clinic.open(options(tmp_path, bookable_days=bookable_days, hours=week), lambda: NOW)
    assert find(clinic.context(ANN)) == free
    assert len(book(clinic.context(ANN), "k1", "2026-11-22T09:00").offers["free"]) == len(free)
    clinic.close()


# ── booking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_booking_is_confirmed_as_it_is_said(desk: FrontDesk) -> None:
    assert book(desk, "k1", f"{TUESDAY}T09:30", reason="toothache") == {
        "status": "booked",
        "patient": "Ann Lee",
        "reason": "toothache",
        "slot_start": "2026-11-24T09:30",
        "say": "Tuesday the 24th of November at 9:30 AM",
    }
    assert rows(desk) == [("24 09:30", "Ann Lee", "booked")]


def test_a_booking_is_stored_with_its_key_its_caller_and_its_moment(desk: FrontDesk) -> None:
    book(desk, "CA1/t1", f"{TUESDAY}T09:30")
    with desk.clinic.database.reading() as connection:
        row = connection.execute(select(_appointments)).one()
    assert (row.tenant, row.booking_key, row.phone, row.created_at) == ("smile", "CA1/t1", "+15550001", NOW)


def test_a_moment_with_a_time_zone_is_put_on_the_clinics_clock(desk: FrontDesk) -> None:
    assert book(desk, "k1", f"{TUESDAY}T04:30-05:00")["slot_start"] == "2026-11-24T09:30"


def test_the_same_key_gives_the_same_appointment_whenever_it_is_asked(desk: FrontDesk) -> None:
    first = book(desk, "k1", f"{TUESDAY}T09:30")
    assert book(desk, "k1", f"{TUESDAY}T09:30") == first
    assert book(at(desk, "2026-12-24T10:00"), "k1", f"{TUESDAY}T09:30") == first
    cancel(desk, "k2")
    assert book(desk, "k1", f"{TUESDAY}T09:30") == {**first, "status": "cancelled"}
    assert rows(desk) == [("24 09:30", "Ann Lee", "cancelled")]


def test_a_taken_slot_is_refused_with_those_around_it(desk: FrontDesk, clinic: Clinic) -> None:
    book(desk, "k1", f"{MONDAY}T10:00")
    refused = book(clinic.context(BOB), "k2", f"{MONDAY}T10:00", "Bob Ray")
    assert refused.reason == "Monday the 23rd of November at 10 AM is taken"
    assert [slot["slot_start"] for slot in refused.offers["free"]] == [
        f"{MONDAY}T{at}" for at in ("09:00", "09:30", "10:30")
    ]
    assert rows(desk) == [("23 10:00", "Ann Lee", "booked")]


@pytest.mark.parametrize(("call", "patient"), [(ANN, "Ann Ray"), (BOB, "Ann Lee")])
def test_a_taken_slot_is_refused_to_whoever_is_not_known_to_hold_it(
    desk: FrontDesk, clinic: Clinic, call: CallContext, patient: str
) -> None:
    book(desk, "k1", f"{MONDAY}T10:00")
    assert isinstance(book(clinic.context(call), "k2", f"{MONDAY}T10:00", patient), Refused)


def test_who_holds_the_slot_already_is_told_so_and_gets_no_second_one(desk: FrontDesk) -> None:
    first = book(desk, "k1", f"{MONDAY}T10:00")
    assert book(desk, "k2", f"{MONDAY}T10:00", "ann lee") == first
    assert len(rows(desk)) == 1


@pytest.mark.parametrize(
    ("slot", "offered"),
    [
        (f"{TUESDAY}T10:30", ["24T09:00", "24T09:30", "24T10:00"]),  # when the clinic closes
        (f"{TUESDAY}T09:15", ["24T09:00", "24T09:30", "24T10:00"]),  # between two slots
        (f"{TUESDAY}T09:30:01", ["24T09:00", "24T09:30", "24T10:00"]),
        ("2026-11-22T10:00", ["23T09:00", "23T09:30", "23T10:00"]),  # a Sunday
        ("2026-11-21T09:30", ["21T10:30"]),  # half an hour ago
        ("2026-11-21T10:00", ["21T10:30"]),  # now
        ("2026-11-17T09:00", ["21T10:30"]),  # last Tuesday
        ("2999-11-24T09:30", []),
    ],
)
def test_a_moment_that_cannot_be_booked_is_refused_with_what_can(
    desk: FrontDesk, slot: str, offered: list[str]
) -> None:
    refused = book(desk, "k1", slot)
    assert refused.reason.endswith(" is not a time that can be booked")
    assert [free["slot_start"].removeprefix("2026-11-") for free in refused.offers["free"]] == offered
    assert rows(desk) == []


def test_the_last_bookable_day_can_be_booked_and_the_next_cannot(desk: FrontDesk) -> None:
    clinic = attrs.evolve(desk.clinic, hours=attrs.evolve(desk.clinic.hours, bookable_days=2))
    assert isinstance(book(clinic.context(ANN), "k1", f"{TUESDAY}T09:30"), Refused)
    assert book(clinic.context(ANN), "k1", f"{MONDAY}T09:30")["status"] == "booked"


def test_two_tenants_in_one_database_have_their_own_slots(desk: FrontDesk, clinic: Clinic) -> None:
    other = clinic.context(attrs.evolve(BOB, tenant="other"))
    book(desk, "k1", f"{TUESDAY}T09:30")
    assert book(other, "k2", f"{TUESDAY}T09:30", "Bob Ray")["status"] == "booked"
    assert isinstance(cancel(other, "k3", "Ann Lee"), Refused)
    assert find(other, TUESDAY) == find(desk, TUESDAY) == ["24T09:00", "24T10:00"]


def all_at_once(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do everything in `work` at the same time, each in its own thread; return what they gave."""
    gate = threading.Barrier(len(work))
    results: list[Any] = []

    def run(one: Callable[[], Any]) -> None:
        gate.wait(10)
        results.append(one())

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_twenty_bookings_of_a_slot_at_once_one_is_let_through(tmp_path: Path) -> None:
    clinics = [Clinic.open(options(tmp_path), lambda: NOW) for _ in range(4)]
    desks = [
        clinics[n % 4].context(CallContext(call_sid=f"CA{n}", tenant="smile", caller=f"+1555{n:04}")) for n in range(20)
    ]
    work = [partial(book, desk, f"k{n}", f"{TUESDAY}T09:30", f"Patient {n}") for n, desk in enumerate(desks)]
    results = all_at_once(work)
    booked = [result for result in results if not isinstance(result, Refused)]
    assert len(results) == 20
    assert len(booked) == 1
    assert rows(desks[0]) == [("24 09:30", booked[0]["patient"], "booked")]
    for clinic in clinics:
        clinic.close()


def test_of_twenty_runs_with_one_key_at_once_all_are_told_of_the_one_appointment(desk: FrontDesk) -> None:
    results = all_at_once([lambda: book(desk, "k1", f"{TUESDAY}T09:30")] * 20)
    assert results == [results[0]] * 20
    assert rows(desk) == [("24 09:30", "Ann Lee", "booked")]


# ── cancelling ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_only_appointment_needs_no_time(desk: FrontDesk) -> None:
    book(desk, "k1", f"{TUESDAY}T09:30")
    assert cancel(desk, "k2", "ANN LEE")["status"] == "cancelled"
    assert rows(desk) == [("24 09:30", "Ann Lee", "cancelled")]


def test_of_several_the_one_meant_must_be_named(desk: FrontDesk) -> None:
    book(desk, "k1", f"{TUESDAY}T09:30")
    book(desk, "k2", f"{MONDAY}T09:00")
    refused = cancel(desk, "k3")
    assert refused.reason == "Ann Lee has 2 appointments; ask which one is meant"
    assert [slot["slot_start"] for slot in refused.offers["appointments"]] == [f"{MONDAY}T09:00", f"{TUESDAY}T09:30"]
    refused = cancel(desk, "k3", slot=f"{MONDAY}T09:30")
    assert refused.reason == "Ann Lee has no appointment on Monday the 23rd of November at 9:30 AM"
    assert cancel(desk, "k3", slot=f"{TUESDAY}T09:30")["slot_start"] == f"{TUESDAY}T09:30"
    assert rows(desk) == [("24 09:30", "Ann Lee", "cancelled"), ("23 09:00", "Ann Lee", "booked")]


def test_what_is_not_there_or_is_past_cannot_be_cancelled(desk: FrontDesk) -> None:
    book(desk, "k1", f"{TUESDAY}T09:30")
    assert cancel(desk, "k2", "Bob Ray") == Refused("there is no coming appointment for Bob Ray")
    assert isinstance(cancel(at(desk, f"{TUESDAY}T09:30"), "k3"), Refused)
    assert rows(desk) == [("24 09:30", "Ann Lee", "booked")]


def test_a_cancellation_that_is_asked_again_cancels_nothing_more(desk: FrontDesk) -> None:
    book(desk, "k1", f"{TUESDAY}T09:30")
    book(desk, "k2", f"{MONDAY}T09:00")
    first = cancel(desk, "k3", slot=f"{MONDAY}T09:00")
    assert cancel(desk, "k3", slot=f"{MONDAY}T09:00") == first
    assert [status for _, _, status in rows(desk)] == ["booked", "cancelled"]


def test_a_cancelled_slot_can_be_booked_and_cancelled_again(desk: FrontDesk) -> None:
    for round_ in range(3):
        assert book(desk, f"b{round_}", f"{TUESDAY}T09:30")["status"] == "booked"
        assert cancel(desk, f"c{round_}")["status"] == "cancelled"
    assert len(rows(desk)) == 3


# ── as a tenant's tools ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_booking_that_a_kill_cut_short_is_not_made_again_after_the_restart(tmp_path: Path) -> None:
    asked = CallTool(
        id="t1", turn=2, name="book_appointment", arguments={"slot_start": f"{TUESDAY}T09:30", "patient": "Ann Lee"}
    )
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store, Businesses(lambda: NOW) as businesses:
        desk = businesses.toolbox_for("clinic", options(tmp_path), call=ANN).context
        assert isinstance(desk, FrontDesk)
        store.record_tool("CA1/t1", call_sid="CA1", turn=2, name=asked.name, arguments=asked.arguments)
        book(desk, "CA1/t1", f"{TUESDAY}T09:30")  # and the process died before the outcome was written
    with Store.open(url) as store, Businesses(lambda: NOW) as businesses:
        toolbox = businesses.toolbox_for("clinic", options(tmp_path), call=ANN)
        returned = await toolbox.run(asked, runner=inline, store=store)
        assert returned.ok
        assert await toolbox.run(asked, runner=inline, store=store) == returned
        assert isinstance(toolbox.context, FrontDesk)
        assert rows(toolbox.context) == [("24 09:30", "Ann Lee", "booked")]


def test_the_clinics_tools_are_told_to_a_model_without_their_keys(clinic: Clinic) -> None:
    described = {tool.name: tool.describe()["input_schema"] for tool in clinic.tools}
    required: dict[str, Json] = {name: schema["required"] for name, schema in described.items()}
    assert required == {
        "find_free_slots": [],
        "book_appointment": ["slot_start", "patient"],
        "cancel_appointment": ["patient"],
    }
    assert "key" not in str(described)


def test_an_agent_that_only_talks_has_no_tools() -> None:
    with Businesses() as businesses:
        assert businesses.toolbox_for("none", {}, call=ANN).schemas() == ()


def test_a_business_is_opened_once_for_its_options(tmp_path: Path) -> None:
    with Businesses(lambda: NOW) as businesses:
        first = businesses.open("clinic", options(tmp_path))
        assert businesses.open("clinic", dict(reversed(options(tmp_path).items()))) is first
        assert businesses.open("clinic", options(tmp_path, slot_minutes=20)) is not first


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("clinc", {}, "unknown tools 'clinc'; known: 'clinic', 'none'; did you mean 'clinic'?"),
        ("florist", {}, "unknown tools 'florist'; known: 'clinic', 'none'"),
        ("clinic", {"hors": 1}, "hors: unknown key; did you mean 'hours'?"),
        ("clinic", {"database": None}, 'database: missing; expected a URL such as "sqlite:///clinic.db"'),
    ],
)
def test_a_wrong_name_or_option_is_told_with_what_is_known(
    tmp_path: Path, name: str, more: dict[str, object], said: str
) -> None:
    with Businesses() as businesses, pytest.raises(ConfigError) as caught:
        businesses.open(name, options(tmp_path, **more))
    assert str(caught.value) == said
