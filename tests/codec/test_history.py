"""History: the order of what was said and done, and how what is stored follows it."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from engine.codec.history import History
from engine.codec.spoken import Spoken
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Noted, ToolAnswered, ToolCalled
from engine.messages.records import Record

ONE, TWO = CallerSaid(turn=1, text="one"), CallerSaid(turn=2, text="two")
CALL = ToolCalled(turn=1, id="t1", name="find", arguments={"day": "friday"})
ANSWER = ToolAnswered(turn=1, id="t1", ok=True, value="9:00")
NOTE = Noted(turn=1, text="a note")


def of(*entries: Entry) -> History:
    return History(entries=entries)


def after(history: History, *entries: Entry) -> tuple[Entry, ...]:
    for entry in entries:
        history, _ = history.added(entry, 1.0)
    return history.entries


def test_an_entry_goes_to_the_end_of_its_turn_and_what_moves_is_stored_again() -> None:
    history, records = History(entries=(ONE, TWO), stored=10).added(CALL, 3.0)
    assert history.entries == (ONE, CALL, TWO)
    assert records == [Record(position=11, entry=CALL, at_s=3.0), Record(position=12, entry=TWO, at_s=3.0)]


def test_a_note_stands_where_no_call_of_its_turn_waits() -> None:
    other = ToolCalled(turn=1, id="t2", name="book", arguments={})
    done = ToolAnswered(turn=1, id="t2", ok=True, value="")
    assert after(of(ONE, CALL), NOTE) == (ONE, NOTE, CALL)
    assert after(of(ONE, CALL, other, ANSWER), NOTE) == (ONE, NOTE, CALL, other, ANSWER)
    assert after(of(ONE, CALL, ANSWER, other), NOTE) == (ONE, CALL, ANSWER, NOTE, other)
    assert after(of(ONE, CALL, other, done, ANSWER), NOTE)[-1] == NOTE
    assert after(of(ONE, CALL, TWO), NOTE) == (ONE, NOTE, CALL, TWO)
    assert after(of(ONE, CALL, TWO), Noted(turn=2, text="x")) == (ONE, CALL, TWO, Noted(turn=2, text="x"))
    assert after(of(CALL), NOTE) == (NOTE, CALL)
    assert after(of(), NOTE) == (NOTE,)


def test_what_is_said_goes_on_in_one_entry_until_something_comes_between() -> None:
    history, _ = of(ONE).said(1, "Let me", Spoken(text="Let me"), 2.0)
    history, records = history.said(1, "look.", Spoken(text="look."), 2.0)
    assert records == [Record(position=1, entry=AgentSaid(turn=1, text="Let me look."), at_s=2.0)]
    history, _ = history.added(CALL, 3.0)
    history, _ = history.said(1, "So.", Spoken(text="So."), 3.0)
    assert history.entries == (ONE, AgentSaid(turn=1, text="Let me look."), CALL, AgentSaid(turn=1, text="So."))


def test_words_are_counted_as_they_are_spoken_from_the_first_that_differs() -> None:
    history, _ = of().said(1, "At nine", Spoken(text="At nine"), 1.0)
    history, _ = history.said(1, "or 10:30.", Spoken(text="or ten thirty.", counts=(1, 2)), 1.0)
    history, _ = history.said(1, "Yes?", Spoken(text="Yes?"), 1.0)
    assert history.entries == (AgentSaid(turn=1, text="At nine or 10:30. Yes?", spoken=(1, 1, 1, 2, 1)),)


def test_what_was_called_is_found_by_its_id_or_by_its_words() -> None:
    history = of(ONE, CALL, ANSWER)
    again = ToolCalled(turn=1, id="t2", name="find", arguments={"day": "friday"})
    assert history.ran(CALL, alike=False) == ANSWER
    assert history.ran(again, alike=True) == ANSWER
    assert history.ran(again, alike=False) is None
    assert history.ran(ToolCalled(turn=2, id="t2", name="find", arguments={"day": "friday"}), alike=True) is None
    assert of(ONE, CALL).ran(again, alike=True) is None
    assert (history.turn_of("t1"), history.turn_of("t2")) == (1, None)


def test_a_bare_one_is_stored_after_the_old_one() -> None:
    assert History(entries=(ONE, TWO), stored=3).bare() == History(stored=5)


TURNS = st.integers(0, 3)
ENTRIES = st.one_of(
    st.builds(CallerSaid, turn=TURNS, text=st.just("a")),
    st.builds(AgentSaid, turn=TURNS, text=st.just("b c")),
    st.builds(Noted, turn=TURNS, text=st.just("n")),
    st.builds(ToolCalled, turn=TURNS, id=st.sampled_from("xyz"), name=st.just("t"), arguments=st.just({})),
    st.builds(ToolAnswered, turn=TURNS, id=st.sampled_from("xyz"), ok=st.just(value=True), value=st.just("v")),
)


@given(st.lists(st.tuples(ENTRIES, st.sampled_from(["added", "said", "cut"]), st.integers(0, 4)), max_size=25))
def test_whatever_is_added_turns_are_in_order_and_what_is_stored_is_what_is_there(
    plan: Sequence[tuple[Entry, str, int]],
) -> None:
    history, rows = History(stored=7), dict[int, Entry]()
    for entry, how, words in plan:
        match how:
            case "said":
                history, records = history.said(entry.turn, "d 10", Spoken(text="d t e", counts=(1, 2)), 1.0)
            case "cut":
                history, records = history.cut(entry.turn, words, 1.0)
            case _:
                history, records = history.added(entry, 1.0)
        rows |= {record.position: record.entry for record in records}
    assert rows == dict(enumerate(history.entries, start=7))
    turns = [each.turn for each in history.entries]
    assert turns == sorted(turns)
    assert history.until(1) == tuple(each for each in history.entries if each.turn <= 1)


SAID = AgentSaid(turn=1, text="Let me {look}.")


def test_what_a_model_is_shown_never_ends_with_its_own_words() -> None:
    quoted = Noted(turn=1, text="so far: Let me {look}.")
    assert of(ONE, SAID).shown(1, "so far: {said}") == (ONE, SAID, quoted)
    assert of(ONE, SAID, NOTE).shown(1, "so far: {said}") == (ONE, SAID, NOTE, quoted)
    assert of(ONE, SAID, TWO).shown(1, "so far: {said}") == (ONE, SAID, quoted)


def test_what_ends_with_something_else_is_shown_as_it_is() -> None:
    assert of(ONE, SAID, CALL, ANSWER).shown(1, "{said}") == (ONE, SAID, CALL, ANSWER)
    assert of(ONE, SAID, TWO).shown(2, "{said}") == (ONE, SAID, TWO)
    assert of(ONE, SAID).shown(2, "{said}") == (ONE, SAID)
    assert of().shown(1, "{said}") == ()
