"""Days and times as callers say them and as the recogniser writes them down."""

from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.providers.local.when import When, understand

# A Wednesday.
TODAY = date(2026, 11, 25)
TOMORROW, THURSDAY, FRIDAY = date(2026, 11, 26), date(2026, 11, 26), date(2026, 11, 27)
MONDAY, TUESDAY = date(2026, 11, 30), date(2026, 12, 1)

DAYS = {
    "today": TODAY,
    "Can I come in later today?": TODAY,
    "tomorrow": TOMORROW,
    "Tomorrow, please.": TOMORROW,
    "the day after tomorrow": date(2026, 11, 27),
    "Thursday": THURSDAY,
    "On Thursday.": THURSDAY,
    "this Thursday": THURSDAY,
    "this coming Friday": FRIDAY,
    "Wednesday": date(2026, 12, 2),  # today is one: they would say "today"
    "next Thursday": date(2026, 12, 3),
    "next Monday": MONDAY,
    "Monday": MONDAY,
    "Thursday next week": date(2026, 12, 3),
    "Thursday of next week": date(2026, 12, 3),
    "a week from Friday": date(2026, 12, 4),
    "Friday week": date(2026, 12, 4),
    "in three days": date(2026, 11, 28),
    "in 3 days' time": date(2026, 11, 28),
    "in a week": date(2026, 12, 2),
    "two weeks from today": date(2026, 12, 9),
    "a week from tomorrow": date(2026, 12, 3),
    "in a couple of weeks": date(2026, 12, 9),
    "next week": MONDAY,
    "sometime next week": MONDAY,
    "the week after next": date(2026, 12, 7),
    "next month": date(2026, 12, 1),
    "this weekend": date(2026, 11, 28),
    "the twenty fourth": date(2026, 12, 24),
    "the twenty-seventh": FRIDAY,
    "the 27th": FRIDAY,
    "on the 3rd": date(2026, 12, 3),
    "the 30th of November": MONDAY,
    "November 30th": MONDAY,
    "November thirtieth": MONDAY,
    "November the 30th": MONDAY,
    "30 November": MONDAY,
    "December first": TUESDAY,
    "the first of December": TUESDAY,
    "Dec 1": TUESDAY,
    "December twenty one": date(2026, 12, 21),
    "January fifth": date(2027, 1, 5),
    "the thirty first": date(2026, 12, 31),
    "Tuesday the 1st of December": TUESDAY,
    "Tuesday, December 1st": TUESDAY,
    "12/1": TUESDAY,
    "2026-12-01": TUESDAY,
    "Actually, make that Friday.": FRIDAY,
    "Thursday. No, Friday.": FRIDAY,
    "not Thursday, Friday": FRIDAY,
    "Friday, not Thursday": FRIDAY,
    "Friday instead of Thursday": FRIDAY,
    "I can't do Thursday, how about Friday?": FRIDAY,
    "Thursday or Friday": THURSDAY,
    "Thursday's fine": THURSDAY,
    "February 29th": date(2028, 2, 29),
}

TIMES = {
    "2 p.m.": time(14),
    "2 p. m.": time(14),
    "2pm": time(14),
    "Three p.m. would be great.": time(15),
    "at three": time(15),
    "three o'clock": time(15),
    "Two o\u2019clock.": time(14),
    "10 o'clock": time(10),
    "ten thirty": time(10, 30),
    "Ten-thirty.": time(10, 30),
    "10:30": time(10, 30),
    "10:30 a.m.": time(10, 30),
    "10.30 am": time(10, 30),
    "at 1030": time(10, 30),
    "two thirty": time(14, 30),
    "2:30 p.m.": time(14, 30),
    "half past two": time(14, 30),
    "half-past eight": time(8, 30),
    "half two": time(14, 30),
    "a quarter past ten": time(10, 15),
    "quarter after ten": time(10, 15),
    "at a quarter to three": time(14, 45),
    "quarter of three": time(14, 45),
    "ten past nine": time(9, 10),
    "twenty to four": time(15, 40),
    "five minutes to twelve": time(11, 55),
    "eleven forty five": time(11, 45),
    "nine oh five": time(9, 5),
    "around noon": time(12),
    "midday": time(12),
    "12 p.m.": time(12),
    "twelve thirty": time(12, 30),
    "1:00": time(13),
    "13:00": time(13),
    "seven in the evening": time(19),
    "eight in the morning": time(8),
    "at eight a.m.": time(8),
    "between two and four": time(14),
    "after three": time(15),
    "not at two, at three": time(15),
}

MOMENTS = {
    "tomorrow afternoon": When(day=TOMORROW, part="afternoon"),
    "Tomorrow morning would be good.": When(day=TOMORROW, part="morning"),
    "next Thursday at half past two": When(day=date(2026, 12, 3), part="afternoon", at=time(14, 30)),
    "Tuesday the first of December at 10:30 AM": When(day=TUESDAY, part="morning", at=time(10, 30)),
    "Tuesday the twenty fourth in the morning": When(day=date(2026, 12, 24), part="morning"),
    "this afternoon": When(day=TODAY, part="afternoon"),
    "in the morning": When(part="morning"),
    "before noon on Friday": When(day=FRIDAY, part="morning"),
    "after lunch": When(part="afternoon"),
    "as soon as possible": When(soonest=True),
    "What's the earliest you have?": When(soonest=True),
    "Any time on Friday": When(day=FRIDAY),
    "the first available": When(soonest=True),
    "Friday at 3 in the afternoon": When(day=FRIDAY, part="afternoon", at=time(15)),
    "November 30th at ten": When(day=MONDAY, part="morning", at=time(10)),
    "on the third at three": When(day=None, part="afternoon", at=time(15)),
    "on the 3rd at 3": When(day=date(2026, 12, 3), part="afternoon", at=time(15)),
}

NOTHING = [
    "Good morning, I have a question.",
    "I am looking for a dentist.",
    "I have three children.",
    "The first one.",
    "the second one, please",
    "the 3rd slot",
    "John Smith",
    "My name is April O'Neil.",
    "twenty four",
    "I may need some help",
    "one moment",
    "February 30th",
    "",
]


@pytest.mark.parametrize(("said", "day"), DAYS.items())
def test_the_day_that_is_meant(said: str, day: date) -> None:
    assert understand(said, TODAY).day == day


@pytest.mark.parametrize(("said", "moment"), TIMES.items())
def test_the_time_that_is_meant(said: str, moment: time) -> None:
    assert understand(said, TODAY).at == moment


@pytest.mark.parametrize(("said", "when"), MOMENTS.items())
def test_the_day_and_time_that_are_meant(said: str, when: When) -> None:
    understood = understand(said, TODAY)
    assert (understood.day, understood.part, understood.at, understood.soonest) == (
        when.day,
        when.part,
        when.at,
        when.soonest,
    )


@pytest.mark.parametrize("said", NOTHING)
def test_what_is_no_moment_is_not_taken_for_one(said: str) -> None:
    understood = understand(said, TODAY)
    assert (understood.day, understood.part, understood.at, understood.soonest) == (None, None, None, False)


@pytest.mark.parametrize(
    ("said", "moment"),
    [("ten", time(10)), ("Two.", time(14)), ("Three, please.", time(15)), ("The ten thirty.", time(10, 30))],
)
def test_a_bare_number_is_a_time_where_one_was_asked_for(said: str, moment: time) -> None:
    assert understand(said, TODAY, answer=True).at == moment
    assert understand("the second one", TODAY, answer=True).at is None


def test_the_words_that_are_no_moment_are_told() -> None:
    assert understand("What are your hours on Friday?", TODAY).rest == ("what", "are", "your", "hours", "on")


@given(st.dates(date(2020, 1, 1), date(2090, 1, 1)), st.sampled_from([*DAYS, *MOMENTS]))
def test_a_day_is_never_before_today_nor_far_away(today: date, said: str) -> None:
    day = understand(said, today).day
    assert day is None or said == "2026-12-01" or today <= day <= today + timedelta(days=366 * 9)


@given(st.text(max_size=60))
def test_whatever_is_said_is_read_without_an_error(said: str) -> None:
    understand(said, TODAY)
    understand(said, TODAY, answer=True)


WORDS = (
    *("the", "at", "in", "on", "a", "3rd", "24th", "10:30", "half", "past", "to", "two", "thirty", "of", "november"),
    *("pm", "am", "oclock", "next", "week", "friday", "or", "not", "noon", "0", "99", "may"),
)


@given(st.lists(st.sampled_from(WORDS), max_size=8))
def test_any_heap_of_such_words_is_read_without_an_error(words: list[str]) -> None:
    understand(" ".join(words), TODAY, answer=True)


@given(st.datetimes(datetime(2026, 11, 25), datetime(2027, 11, 1)))  # noqa: DTZ001 (a wall clock)
def test_what_the_tools_say_is_understood(moment: datetime) -> None:
    hour = moment.hour % 12 or 12
    said = f"{moment:%A} the {moment.day}th of {moment:%B} at {hour}:{moment.minute:02} {moment:%p}"
    understood = understand(said, TODAY)
    assert (understood.day, understood.at) == (moment.date(), moment.time().replace(second=0, microsecond=0))
