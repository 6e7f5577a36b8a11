"""The wiring: a table that says so when it contradicts itself."""

from typing import TypeAlias

import attrs
import pytest

from engine.call import INBOXES, WIRING
from engine.messages.errors import EngineBug
from engine.messages.supervision import Tick
from engine.wiring import AtBound, Edge, Port, SetAside, Wiring


@attrs.frozen
class Ping:
    pass


@attrs.frozen
class Pong:
    pass


@attrs.frozen
class Peng:
    pass


TABLE = Wiring((Edge(Ping, "a", "b"), Edge(Ping, "a", "c"), Edge(Pong, "b", "a"), Edge(Ping, "b", "c")))


def test_an_edge_twice_is_a_bug() -> None:
    with pytest.raises(EngineBug, match="the edge a -Ping-> b stands twice in the table"):
        Wiring((Edge(Ping, "a", "b"), Edge(Ping, "a", "b", bound=5)))


def test_an_edge_that_may_hold_nothing_is_a_bug() -> None:
    with pytest.raises(EngineBug, match="the edge a -Ping-> b has bound 0; allowed: 1 or more"):
        Wiring((Edge(Ping, "a", "b", bound=0),))
    Wiring((Edge(Ping, "a", "b", bound=1),))


def test_an_edge_that_says_nothing_else_is_kept_counted_and_its_reader_stalls() -> None:
    edge = Edge(Ping, "a", "b")
    assert (edge.at_bound, edge.set_aside, edge.bound) == (AtBound.STALLED, SetAside.COUNT, 1000)


def test_the_table_knows_what_begins_and_ends_where() -> None:
    assert TABLE.sent_by("a") == (Edge(Ping, "a", "b"), Edge(Ping, "a", "c"))
    assert TABLE.read_by("c") == (Edge(Ping, "a", "c"), Edge(Ping, "b", "c"))
    assert TABLE.sent_by("nobody") == ()


def test_a_message_goes_to_all_its_readers_in_the_tables_order() -> None:
    told: list[str] = []

    def port(edge: Edge) -> Port:
        return lambda _message: told.append(str(edge))

    outlets = TABLE.outlets("a", {"b": port, "c": port})
    assert set(outlets) == {Ping}
    for each in outlets[Ping]:
        each(Ping())
    assert told == ["a -Ping-> b", "a -Ping-> c"]


def test_a_reader_that_is_not_there_is_a_bug() -> None:
    with pytest.raises(EngineBug, match="the edge a -Ping-> c ends nowhere; known: b, x"):
        TABLE.outlets("a", {"x": lambda _: print, "b": lambda _: print})


Both: TypeAlias = Ping | Pong


def test_an_inbox_is_what_the_table_brings() -> None:
    table = Wiring((Edge(Ping, "a", "b"), Edge(Pong, "c", "b")))
    table.check_inbox("b", Both)
    table.check_inbox("b", Both | Tick, besides=(Tick,))
    TABLE.check_inbox("a", Pong)


def test_a_case_for_what_no_edge_brings_is_a_bug() -> None:
    with pytest.raises(EngineBug, match="b's inbox and the wiring differ: no edge brings Pong"):
        TABLE.check_inbox("b", Both)


def test_an_edge_without_a_case_is_a_bug() -> None:
    with pytest.raises(EngineBug, match="c's inbox and the wiring differ: no case for Ping; no edge brings Peng"):
        TABLE.check_inbox("c", Peng)


# The call's own table.


@pytest.mark.parametrize("name", INBOXES)
def test_each_actor_reads_what_the_table_brings_it(name: str) -> None:
    WIRING.check_inbox(name, INBOXES[name], besides=(Tick,))


def test_sound_and_news_of_sound_are_all_that_may_be_dropped() -> None:
    dropped = {edge.message.__name__ for edge in WIRING.edges if edge.at_bound is AtBound.DROP_OLDEST}
    assert dropped == {"LineAudio", "CallerAudio", "SpeechLasted"}


def test_the_end_of_the_line_flows_from_the_line_to_the_call() -> None:
    path = ["twilio_io"]
    ends = {edge.sender: edge.reader for edge in WIRING.edges if edge.message.__name__ == "LineClosed"}
    while path[-1] in ends:
        path.append(ends[path[-1]])
    assert path == ["twilio_io", "stt", "turn_detector", "agent", "tts", "pacer", "call"]
