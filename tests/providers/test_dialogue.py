"""Whole dialogues with the scripted agent of the shipped clinic, word by word, without a model.

Texts are routed by their words alone, so callers here say what stands among the examples; how well other words are
understood is measured with the real embeddings, in test_local_models.py.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Json, Noted, ToolAnswered, ToolCalled
from engine.providers.local.dialogue import END_CALL, TRANSFER, Reply, Stage, next_reply, spoken_offers
from engine.providers.local.plot import Script, read_script
from engine.providers.local.routing import Router, bag_of_words

TENANT = Path(__file__).parents[2] / "config" / "tenants" / "dental.toml"
SCRIPT: Script = read_script(tomllib.loads(TENANT.read_text("utf-8"))["script"])
ROUTER = Router(SCRIPT.intents, bag_of_words)
# A Wednesday.
TODAY = date(2026, 11, 25)
STAGE = Stage(
    script=SCRIPT,
    route=ROUTER.route,
    today=TODAY,
    tools=frozenset(("find_free_slots", "book_appointment", "cancel_appointment", END_CALL)),
    facts={"human_number": "5 5 5", "business": "Bright Smile"},
)


@attrs.define
class Clinic:
    """The clinic's tools, as a caller of them sees them: weekdays, on the hour, until five."""

    booked: dict[datetime, str] = attrs.field(factory=dict)
    broken: bool = False

    def run(self, name: str, arguments: Mapping[str, Json]) -> tuple[bool, Json]:
        if self.broken:
            return False, {"error": f"{name} failed; it may have taken effect all the same: look before trying again"}
        match name:
            case "find_free_slots":
                return self._find(arguments.get("day"), arguments.get("part_of_day", "any"))
            case "book_appointment":
                return self._book(datetime.fromisoformat(str(arguments["slot_start"])), str(arguments["patient"]))
            case "cancel_appointment":
                return self._cancel(str(arguments["patient"]), arguments.get("slot_start"))
        raise AssertionError(name)

    def _free(self, day: date) -> list[datetime]:
        hours = (8, 9, 10, 11, 13, 14, 15, 16) if day.weekday() < 5 else ()
        return [at for hour in hours if (at := datetime.combine(day, time(hour))) not in self.booked]

    def _find(self, wanted: Json, part: Json) -> tuple[bool, Json]:
        day = date.fromisoformat(str(wanted)) if wanted else TODAY + timedelta(1)
        if not TODAY <= day <= TODAY + timedelta(90):
            return False, {"error": f"{say(day)} cannot be booked; only days from today on"}
        found, note = [at for at in self._free(day) if part in ("any", "morning" if at.hour < 12 else "afternoon")], {}
        if not found:
            note = {"note": f"nothing is free on {say(day)}; these are the next ones"}
            found = next(free for ahead in range(1, 9) if (free := self._free(day + timedelta(ahead))))
        return True, {"slots": [slot(at) for at in found], **note}

    def _book(self, at: datetime, patient: str) -> tuple[bool, Json]:
        if at in self.booked:
            return False, {"error": f"{say(at)} is taken", "free": [slot(each) for each in self._free(at.date())[:3]]}
        self.booked[at] = patient
        return True, {"status": "booked", "patient": patient, "reason": "any", **slot(at)}

    def _cancel(self, patient: str, at: Json) -> tuple[bool, Json]:
        theirs = [
            each for each, name in self.booked.items() if name == patient and at in (None, slot(each)["slot_start"])
        ]
        if not theirs:
            return False, {"error": f"there is no coming appointment for {patient}"}
        if len(theirs) > 1:
            offers: Json = [slot(each) for each in theirs]
            return False, {"error": f"{patient} has 2 appointments; ask which one is meant", "appointments": offers}
        del self.booked[theirs[0]]
        return True, {"status": "cancelled", "patient": patient, **slot(theirs[0])}


def say(moment: date) -> str:
    day = f"{moment:%A} the {moment.day}th of {moment:%B}"
    return f"{day} at {moment.hour % 12 or 12} {moment:%p}" if isinstance(moment, datetime) else day


def slot(at: datetime) -> dict[str, Json]:
    return {"slot_start": at.isoformat(timespec="minutes"), "say": say(at)}


@attrs.define
class Call:
    """A call with the agent: what is said goes into the conversation as the engine puts it there."""

    clinic: Clinic = attrs.field(factory=Clinic)
    stage: Stage = STAGE
    conversation: list[Entry] = attrs.field(factory=lambda: [AgentSaid(turn=0, text="How can I help you?")])
    ended: bool = False

    def say(self, text: str, heard: int | None = None) -> Iterator[str]:
        """Say something; give back what the agent does and says. `heard`: letters until the caller breaks in."""
        turn = len(self.conversation)
        self.conversation.append(CallerSaid(turn=turn, text=text))
        for _ in range(9):
            reply = next_reply(self.stage, self.conversation)
            said = " ".join(reply.texts)
            if said:
                yield f"A: {said}"
                missed = "" if heard is None else said[heard:]
                self.conversation.append(
                    AgentSaid(turn=turn, text=said[:heard], interrupted=heard is not None, unheard=missed)
                )
            for name, arguments in reply.calls:
                yield from self._run(turn, name, arguments)
            if not reply.calls or self.ended:
                return
        raise AssertionError("the agent never comes to an end")

    def _run(self, turn: int, name: str, arguments: Mapping[str, Json]) -> Iterator[str]:
        id_ = f"{len(self.conversation)}"
        yield f"T: {name} {json.dumps(arguments)}"
        self.conversation.append(ToolCalled(turn=turn, id=id_, name=name, arguments=arguments))
        if name in {END_CALL, TRANSFER}:
            self.ended = True
            return
        ok, value = self.clinic.run(name, arguments)
        self.conversation.append(ToolAnswered(turn=turn, id=id_, ok=ok, value=value))


# C: what the caller says. H: how many letters of the answer are heard before the caller breaks in.
# A: what the answer has in it, T: what the call of a tool has; none may be left out.
DIALOGUES = {
    "a booking from beginning to end": """
        C: I'd like to book an appointment.
        A: What day would suit you?
        C: Tomorrow afternoon.
        T: find_free_slots {"day": "2026-11-26", "part_of_day": "afternoon"
        A: Thursday the 26th of November at 1 PM, 3 PM or 4 PM. Which one suits you?
        C: The first one please.
        A: What name
        C: My name is John Smith.
        A: what is the visit for?
        C: I have a toothache.
        A: Thursday the 26th of November at 1 PM, for John Smith, and the reason is toothache. Shall I book it?
        C: Yes please.
        T: book_appointment {"slot_start": "2026-11-26T13:00", "patient": "John Smith", "reason": "toothache"}
        A: You're all set, John Smith. We will see you on Thursday the 26th of November at 1 PM. Is there anything else
        C: No thanks.
        A: Goodbye
        T: end_call {}
    """,
    "everything said at once": """
        C: Hi, my name is Anna Lee. I want to schedule a cleaning. Can you do Friday at ten thirty?
        T: find_free_slots {"day": "2026-11-27", "part_of_day": "morning"
        A: I'm afraid 10:30 AM is not free. I have Friday the 27th of November at 9 AM, 10 AM or 11 AM.
        C: Eleven.
        A: Friday the 27th of November at 11 AM, for Anna Lee, and the reason is cleaning. Shall I book it?
        C: That's all correct, thank you.
        T: book_appointment
        A: You're all set
    """,
    "a time that is free is taken at once": """
        C: Can you fit me in on Thursday at 2 p.m.?
        T: find_free_slots {"day": "2026-11-26", "part_of_day": "afternoon"
        A: Thursday the 26th of November at 2 PM is free. What name
    """,
    "the day is corrected before the booking": """
        C: I need a cleaning on Thursday at 2 p.m.
        T: find_free_slots
        A: 2 PM is free. What name
        C: It's Bob Jones.
        A: Thursday the 26th of November at 2 PM, for Bob Jones, and the reason is cleaning. Shall I book it?
        C: Actually, make that Friday.
        T: find_free_slots {"day": "2026-11-27", "part_of_day": "afternoon"
        A: Friday the 27th of November at 2 PM, for Bob Jones, and the reason is cleaning. Shall I book it?
        C: No, not Friday, Monday.
        T: find_free_slots {"day": "2026-11-30", "part_of_day": "afternoon"
        A: Monday the 30th of November at 2 PM, for Bob Jones
        C: Yes.
        T: book_appointment {"slot_start": "2026-11-30T14:00"
        A: You're all set
    """,
    "the name is corrected before the booking": """
        C: I need a cleaning on Thursday at 2 p.m.
        T: find_free_slots
        A: What name
        C: John Smyth
        A: for John Smyth
        C: No, the name is John Smith.
        A: for John Smith, and the reason
        C: Yeah, that works.
        T: "patient": "John Smith"
        A: You're all set, John Smith
    """,
    "no to the confirmation, and then what should be changed": """
        C: I need a cleaning on Thursday at 2 p.m.
        T: find_free_slots
        A: What name
        C: John Smith
        A: Shall I book it?
        C: No.
        A: What should I change
        C: The name.
        A: What name
        C: John Miller
        A: for John Miller
        C: No.
        A: What should I change
        C: The time.
        A: another day. What day would suit you?
        C: Monday at nine
        T: find_free_slots {"day": "2026-11-30", "part_of_day": "morning"
        A: Monday the 30th of November at 9 AM, for John Miller
        C: no
        A: What should I change
        C: nothing
        A: Monday the 30th of November at 9 AM, for John Miller
    """,
    "none of what is offered": """
        C: I'd like to book an appointment for Monday.
        T: find_free_slots
        A: Which one suits you?
        C: None of those.
        A: let's look at another day. What day would suit you?
        C: As soon as possible.
        T: find_free_slots {"limit"
        A: Thursday the 26th of November
        C: What about Tuesday?
        T: find_free_slots {"day": "2026-12-01"
        A: Tuesday the 1th of December at 8 AM, 1 PM or 4 PM
        C: Whichever.
        A: What name
    """,
    "the slot is taken in the meantime": """
        C: I need a cleaning on Thursday at 2 p.m.
        T: find_free_slots
        A: What name
        C: John Smith
        B: 2026-11-26T14:00
        A: Shall I book it?
        C: Yes.
        T: book_appointment
        A: I'm sorry, Thursday the 26th of November at 2 PM is taken. I have Thursday the 26th
        C: Ten o'clock.
        A: Thursday the 26th of November at 10 AM, for John Smith
        C: Sure.
        T: book_appointment {"slot_start": "2026-11-26T10:00"
        A: You're all set
    """,
    "the tools fail": """
        C: I need a cleaning on Thursday at 2 p.m.
        T: find_free_slots
        A: What name
        C: John Smith
        X: the clinic's computer is down
        A: Shall I book it?
        C: Yes.
        T: book_appointment
        A: I could not finish the booking. Please call our team at 5 5 5 to make sure of it. Is there anything else
    """,
    "a day that cannot be booked": """
        C: I'd like to book an appointment for July 4th.
        T: find_free_slots {"day": "2027-07-04"
        A: I'm sorry, Sunday the 4th of July cannot be booked; only days from today on. What day would suit you?
    """,
    "a day on which nothing is free": """
        C: I'd like to book an appointment for Saturday.
        T: find_free_slots {"day": "2026-11-28"
        A: Nothing is free on Saturday the 28th of November; these are the next ones. I have Monday the 30th
        C: The last one.
        A: What name
    """,
    "an appointment is cancelled": """
        B: 2026-12-01T09:00
        C: I want to cancel my appointment.
        A: What name is the appointment under?
        C: Nobody Else
        A: Sorry, I didn't catch that. What first and last name
        C: My name is Mary Poppins.
        A: Shall I cancel the appointment for Mary Poppins?
        C: Yes.
        T: cancel_appointment {"patient": "Mary Poppins"}
        A: I'm sorry, there is no coming appointment for Mary Poppins. What name is the appointment under?
        C: Purple monkey dishwasher.
        A: Sorry
        C: Sam Taken
        A: Shall I cancel the appointment for Sam Taken?
        C: Yes please.
        T: cancel_appointment {"patient": "Sam Taken"}
        A: Your appointment on Tuesday the 1th of December at 9 AM is cancelled. Is there anything else
    """,
    "one of two appointments is cancelled": """
        B: 2026-12-01T09:00
        B: 2026-12-03T10:00
        C: I want to cancel my appointment, my name is Sam Taken.
        A: Shall I cancel the appointment for Sam Taken?
        C: Yes.
        T: cancel_appointment {"patient": "Sam Taken"}
        A: You have appointments on Tuesday the 1th of December at 9 AM, or Thursday the 3th of December at 10 AM.
        C: The Thursday one.
        A: Shall I cancel
        C: Yes.
        T: cancel_appointment {"patient": "Sam Taken", "slot_start": "2026-12-03T10:00"}
        A: Your appointment on Thursday the 3th of December at 10 AM is cancelled.
    """,
    "an appointment is moved": """
        B: 2026-12-01T09:00
        C: I need to reschedule my appointment.
        A: I will cancel the old appointment first, and then we find a new time. What name is the appointment under?
        C: It's under Sam Taken.
        A: Shall I cancel the old appointment for Sam Taken?
        C: Go ahead.
        T: cancel_appointment
        A: is cancelled. What day would suit you?
        C: Thursday at ten
        T: find_free_slots
        A: is free. And what is the visit for?
    """,
    "questions in the middle": """
        C: What are your opening hours?
        A: and Fridays from 8 to noon. Is there anything else
        C: I'd like to book an appointment.
        A: What day
        C: How much does a cleaning cost?
        A: the dentist tells you the price first. What day would suit you?
        C: Could you repeat that please?
        A: A check-up is 60 dollars
        C: Hold on.
        A: Take your time.
        C: Monday
        T: find_free_slots
        A: Which one
        C: Can I speak to a real person?
        A: our team at 5 5 5. I have Monday
    """,
    "nonsense is answered in other words each time, then with a human, then from the start": """
        C: Purple monkey dishwasher.
        A: Would you like to book an appointment, or cancel one?
        C: Green ideas sleep furiously.
        A: I still didn't get that.
        C: Purple monkey dishwasher.
        A: Our team can help you at 5 5 5.
        C: I'd like to book an appointment.
        A: What day would suit you?
        C: Purple monkey dishwasher.
        A: Sorry, I didn't catch that. Which day should I look at?
        C: Green ideas sleep furiously.
        A: Sorry, I didn't catch that. Please tell me a day of the week
        C: Purple monkey dishwasher.
        A: Our team can help you at 5 5 5.
        C: Green ideas sleep furiously.
        A: Would you like to book an appointment, or cancel one?
    """,
    "goodbye in the middle of a booking": """
        C: I'd like to book an appointment for tomorrow.
        T: find_free_slots
        A: Which one
        C: Goodbye.
        A: Goodbye
        T: end_call
    """,
    "the booking is dropped": """
        C: I'd like to book an appointment for tomorrow.
        T: find_free_slots
        A: Which one
        C: Never mind.
        A: All right, let's leave it. Is there anything else
        C: That's it.
        A: Goodbye
        T: end_call
    """,
    "a yes to what was not heard books nothing": """
        C: I need a cleaning on Thursday at 2 p.m.
        T: find_free_slots
        A: What name
        C: John Smith
        H: 0
        A: Shall I book it?
        C: Yes.
        H: 10
        A: Shall I book it?
        C: Yes.
        A: Shall I book it?
        C: Yes.
        T: book_appointment
        A: You're all set
    """,
    "the caller breaks in with the choice while the times are read out": """
        C: I'd like to book an appointment for tomorrow.
        T: find_free_slots
        H: 60
        A: Thursday the 26th of November at 8 AM, 1 PM or 4 PM
        C: The second one.
        A: What name
    """,
    "what nobody heard asked nobody failed to answer": """
        C: I'd like to book an appointment.
        H: 0
        A: What day would suit you?
        C: Purple monkey dishwasher.
        A: What day would suit you?
    """,
    "a bare day is the beginning of a booking": """
        C: Tomorrow morning.
        T: find_free_slots {"day": "2026-11-26", "part_of_day": "morning"
        A: 8 AM, 10 AM or 11 AM
    """,
    "the caller thanks at the end": """
        C: What are your opening hours?
        A: Is there anything else
        C: Thank you.
        A: Goodbye
        T: end_call
    """,
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_dialogue(name: str) -> None:
    call = Call()
    lines = [line.strip() for line in DIALOGUES[name].strip().splitlines()]
    replies: list[str] = []
    heard: int | None = None
    for number, line in enumerate(lines):
        kind, text = line[:1], line[3:]
        match kind:
            case "C":
                assert replies == [], f"not expected before line {number}"
                following = lines[number + 1 :]
                turn = following[: next((i for i, each in enumerate(following) if each.startswith("C")), None)]
                heard = next((int(each[3:]) for each in turn if each.startswith("H")), None)
                replies = list(call.say(text, heard))
            case "B":
                call.clinic.booked[datetime.fromisoformat(text)] = "Sam Taken"
            case "X":
                call.clinic.broken = True
            case "A" | "T":
                assert replies, f"nothing where line {number} has {line!r}"
                reply = replies.pop(0)
                assert reply.startswith(kind)
                assert text in reply, f"line {number}: {reply}"
    assert replies == []
    assert call.ended == (lines[-1].startswith("T: end_call"))


# ── what holds whatever is said ───────────────────────────────────────────────────────────────────────────────────────

SAYINGS = st.sampled_from(
    [example for intent in SCRIPT.intents.values() for example in intent.examples[:3]]
    + ["yes", "no", "tomorrow", "Friday at ten", "half past two", "the first one", "John Smith", "my name is Anna Lee"]
    + ["the name", "none of those", "blah", "", "...", "I don't mind", "make that Tuesday", "2 p.m.", "in the morning"]
)


@given(st.lists(st.tuples(SAYINGS, st.sampled_from([None, None, 0, 20])), max_size=10), st.booleans())
def test_whatever_is_said_the_agent_has_an_answer_and_books_only_what_was_agreed(
    said: list[tuple[str, int | None]], broken: bool
) -> None:
    call = Call(Clinic(booked={datetime(2026, 11, 26, 10): "Sam Taken"}, broken=broken))  # noqa: DTZ001
    for text, heard in said:
        before = len(call.conversation)
        happened = list(call.say(text, heard))
        assert happened
        assert happened[-1].startswith(("A: ", "T: end_call"))
        if any("book_appointment" in line or "cancel_appointment" in line for line in happened):
            asked = [entry for entry in call.conversation[:before] if isinstance(entry, AgentSaid)][-1]
            assert (
                asked.text.rstrip("?").endswith(("Shall I book it", "for John Smith", "for Anna Lee", "Sam Taken"))
                or asked.interrupted
            )
        call.ended = False


@given(st.lists(SAYINGS, max_size=8))
def test_the_same_conversation_has_the_same_reply_and_any_beginning_of_it_the_one_it_had(said: list[str]) -> None:
    call = Call()
    replies: list[tuple[int, Reply]] = []
    for text in said:
        for _ in call.say(text):
            pass
        call.ended = False
        replies.append((len(call.conversation), next_reply(STAGE, call.conversation)))
    for length, reply in replies:
        assert next_reply(STAGE, call.conversation[:length]) == reply


FOREIGN: list[Entry] = [
    Noted(turn=1, text="the caller was asked to repeat"),
    AgentSaid(turn=1, text="Let me check."),
    ToolCalled(turn=1, id="toolu_1", name="find_free_slots", arguments={"day": "2026-11-26", "limit": 3}),
    ToolAnswered(turn=1, id="toolu_1", ok=True, value={"slots": [{"slot_start": "2026-11-26T09:00", "say": "9 AM"}]}),
    ToolCalled(turn=1, id="toolu_2", name="book_appointment", arguments={"patient": "X"}),
    ToolAnswered(turn=1, id="toolu_2", ok=False, value={"error": "failed"}),
    ToolAnswered(turn=1, id="toolu_9", ok=False, value=None),
    ToolCalled(turn=1, id="toolu_3", name="look_up_car", arguments={}),
    ToolAnswered(turn=1, id="toolu_3", ok=True, value=["strange"]),
    ToolCalled(turn=1, id="toolu_4", name=END_CALL, arguments={}),
    ToolAnswered(turn=1, id="toolu_4", ok=True, value=None),
]


@given(
    st.lists(st.one_of(st.sampled_from(FOREIGN), SAYINGS.map(lambda text: CallerSaid(turn=1, text=text))), max_size=12)
)
def test_what_another_model_did_in_the_conversation_is_taken_as_it_is(entries: list[Entry]) -> None:
    next_reply(STAGE, entries)


def test_while_a_tool_runs_it_is_not_called_again() -> None:
    call = Call()
    list(call.say("I need a cleaning on Thursday at 2 p.m. My name is Anna Lee."))
    called = ToolCalled(turn=9, id="b", name="book_appointment", arguments={})
    reply = next_reply(
        STAGE, [*call.conversation, CallerSaid(turn=8, text="Yes."), called, CallerSaid(turn=9, text="Yes?")]
    )
    assert reply == Reply(texts=(SCRIPT.wait,))


def test_without_its_tools_the_agent_gives_the_number_of_a_human() -> None:
    call = Call(stage=attrs.evolve(STAGE, tools=frozenset()))
    assert "5 5 5" in next(call.say("I'd like to book an appointment for tomorrow."))
    assert list(call.say("Goodbye.")) == ["A: Thank you for calling Bright Smile. Goodbye!"]


def test_after_its_goodbye_the_agent_says_no_more() -> None:
    call = Call()
    list(call.say("Goodbye."))
    call.conversation.append(ToolAnswered(turn=2, id=f"{len(call.conversation) - 1}", ok=True, value=None))
    assert next_reply(STAGE, call.conversation) == Reply()


def test_a_caller_who_goes_on_after_the_goodbye_is_answered() -> None:
    call = Call()
    list(call.say("Goodbye."))
    call.ended = False
    assert "What day" in next(call.say("I'd like to book an appointment."))


def test_what_was_agreed_to_holds_for_nothing_else() -> None:
    call = Call()
    list(call.say("I need a cleaning on Thursday at 2 p.m. My name is Anna Lee."))
    # The caller goes on before the booking is asked for.
    call.conversation.append(CallerSaid(turn=98, text="Yes."))
    happened = list(call.say("Actually, make that Friday."))
    assert happened[0].startswith("T: find_free_slots")
    assert "Friday the 27th" in happened[-1]
    assert happened[-1].endswith("Shall I book it?")


def test_a_yes_to_whether_the_caller_is_still_there_agrees_to_nothing() -> None:
    call = Call()
    list(call.say("I need a cleaning on Thursday at 2 p.m. My name is Anna Lee."))
    call.conversation.append(AgentSaid(turn=99, text="Are you still there?"))
    call.conversation.append(CallerSaid(turn=100, text="Yes."))
    reply = next_reply(STAGE, call.conversation)
    assert reply.calls == ()
    assert reply.texts[-1].endswith("Shall I book it?")
    assert SCRIPT.not_caught not in reply.texts


def test_a_booking_that_was_made_while_the_caller_broke_in_is_told_before_goodbye() -> None:
    call = Call()
    list(call.say("I need a cleaning on Thursday at 2 p.m. My name is Anna Lee."))
    list(call.say("Yes.", heard=0))
    assert next(call.say("No.")).startswith("A: You're all set, Anna Lee.")


def test_who_heard_that_they_should_wait_and_little_else_agrees_to_nothing() -> None:
    call = Call()
    list(call.say("I need a cleaning on Thursday at 2 p.m. My name is Anna Lee."))
    asked = call.conversation.pop()
    assert isinstance(asked, AgentSaid)
    wait, said = "One moment, please. I am still looking that up for you, it will not be long.", asked.text
    assert len(wait) * 2 > len(said)
    call.conversation.append(
        attrs.evolve(asked, text=f"{wait} {said[:10]}", interrupted=True, unheard=said[10:].strip())
    )
    call.conversation.append(CallerSaid(turn=98, text="Yes."))
    assert next_reply(STAGE, call.conversation).calls == ()


def test_offers_are_spoken_a_day_once() -> None:
    assert spoken_offers(["Monday the 1st at 8 AM"]) == "Monday the 1st at 8 AM"
    assert spoken_offers(["Monday at 8 AM", "Monday at 9 AM"]) == "Monday at 8 AM or 9 AM"
    assert spoken_offers(["Monday at 8 AM", "Monday at 9 AM", "Friday at 1 PM"]) == (
        "Monday at 8 AM or 9 AM, or Friday at 1 PM"
    )
    assert spoken_offers(["nine", "ten", "eleven"]) == "nine, ten or eleven"
    assert spoken_offers([]) == ""


def test_a_caller_who_asks_for_a_person_is_connected_where_there_is_one() -> None:
    there = attrs.evolve(STAGE, tools=STAGE.tools | {TRANSFER})
    happened = [*Call(stage=there).say("Can I speak to a real person?")]
    assert happened == ["A: One moment, I will connect you with our team.", "T: transfer_to_person {}"]


def test_a_caller_who_goes_on_after_a_transfer_was_cut_is_listened_to() -> None:
    call = Call(stage=attrs.evolve(STAGE, tools=STAGE.tools | {TRANSFER}))
    list(call.say("Can I speak to a real person?", heard=3))
    assert any("day" in each for each in call.say("I'd like to book an appointment."))
