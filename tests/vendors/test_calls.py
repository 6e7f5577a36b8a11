"""Whole calls with the real clients, over real sockets, to strict vendors and a strict phone network."""

from pathlib import Path

import attrs
import httpx
import pytest
import trio

from engine.messages.errors import ConfigError
from engine.settings import DoorSettings
from simulators.anthropic import AnthropicSimulator, Latency, Reply, UseTool, script
from simulators.caller import AwaitHangUp, HangUp, Interrupt, Listen, Say, Wait
from simulators.events import Cleared, Dialled, NetworkSaid
from simulators.twilio.codes import Code
from tests.vendors.house import GREETING, KEYS, TOKEN, House, said_back, talk, words
from web import twiml

TURNS = ("good morning", "i need a check up", "on thursday please", "that is all")

QUICK = Latency(started_s=0.05, first_token_s=0.1)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return House(folder=tmp_path)


def opened(answers: list[Reply | str]) -> AnthropicSimulator:
    """A model that answers the start-up's request and then these, in order."""
    return AnthropicSimulator(mind=script(["ready", *answers]), latency=QUICK)


# ── a call ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_of_four_turns_is_heard_word_by_word_answered_and_heard_to_its_last_frame(house: House) -> None:
    async with house.open():
        record = await house.call(*talk(TURNS))
    assert house.asked == list(TURNS)
    assert words(record) == [*GREETING.split(), *(word for turn in TURNS for word in said_back(turn))]
    assert house.wrongs == []
    assert record.refused == ()
    assert house.store_has(record.call_sid) == list(TURNS)


async def test_four_calls_at_once_do_not_meet(house: House) -> None:
    turns = [(f"caller{number} one", f"caller{number} two") for number in range(4)]
    found: dict[int, list[str]] = {}

    async def call(number: int) -> None:
        found[number] = words(await house.call(*talk(turns[number]), caller=f"+1555010010{number}"))

    async with house.open(), trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(call, number)
    for number, said in found.items():
        assert said == [*GREETING.split(), *(word for turn in turns[number] for word in said_back(turn))]
    assert house.wrongs == []


async def test_a_caller_who_breaks_in_stops_the_agent_and_is_answered(house: House) -> None:
    long = "well, " + " ".join(f"word{number}" for number in range(40)) + "."
    house.anthropic = opened([long, "of course."])
    async with house.open():
        record = await house.call(
            Listen(silence_s=0.6),
            Say(text="tell me everything"),
            Interrupt(after_s=1.0),
            Say(text="stop that now please"),
            Listen(silence_s=0.6),
            HangUp(),
        )
    heard = words(record)
    assert record.all_of(Cleared)
    assert heard[-2:] == ["of", "course."]
    assert "word39." not in heard
    (_, _, last) = house.anthropic.requests
    assert last.request.last_user_text.endswith("stop that now please")
    assert house.wrongs == []


async def test_tools_asked_for_together_are_run_and_answered_together(house: House) -> None:
    house.use_clinic()
    asked = [UseTool("find_free_slots", {"day": "2027-03-01"}), UseTool("find_free_slots", {"day": "2027-03-02"})]
    house.anthropic = opened([Reply.of("let me look.", *asked), "both are free."])
    async with house.open():
        record = await house.call(*talk(["is monday or tuesday free"]))
    last = house.anthropic.requests[-1].request
    assert [each.is_error for each in last.results] == [False, False]
    assert words(record)[-6:] == ["let", "me", "look.", "both", "are", "free."]
    assert house.wrongs == []


async def test_a_caller_who_asks_for_a_person_is_put_through(house: House) -> None:
    house.anthropic = opened([Reply.of("i will put you through.", UseTool("transfer_to_person"))])
    async with house.open():
        record = await house.call(*talk(["a person please"])[:-1], AwaitHangUp())
    assert words(record)[-5:] == ["i", "will", "put", "you", "through."]
    assert [each.number for each in record.all_of(Dialled)] == ["+15550100003"]
    assert house.wrongs == []


async def test_the_first_clause_is_spoken_while_the_model_still_writes(house: House) -> None:
    slow = Latency(started_s=0.05, first_token_s=0.1, between_tokens_s=0.1, tokens_per_piece=1)
    answer = "on thursday morning, " + " ".join(f"there{number}" for number in range(12)) + "."
    house.anthropic = attrs.evolve(opened([answer]), latency=slow)
    async with house.open(), trio.open_nursery() as nursery:
        nursery.start_soon(house.call, *talk(["when are you free"]))
        while not (len(house.anthropic.requests) > 1 and "morning," in house.spoken_so_far()):  # noqa: ASYNC110 - it has no events
            await trio.sleep(0.02)
        assert not house.anthropic.requests[1].over.is_set()
    assert house.wrongs == []


# ── who is let in ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_caller_beyond_the_limit_hears_that_all_lines_are_busy(house: House) -> None:
    house.door = DoorSettings(calls_at_once=1)
    async with house.open(), trio.open_nursery() as nursery:
        nursery.start_soon(house.call, Wait(seconds=4.0), HangUp())
        await trio.sleep(1.5)
        record = await house.call(AwaitHangUp(), caller="+15550100109")
    assert [each.text for each in record.all_of(NetworkSaid)] == [twiml.ALL_LINES_BUSY]


async def test_a_call_that_twilio_did_not_sign_is_refused(house: House) -> None:
    async with house.open():
        record = await house.call(AwaitHangUp(), auth_token="another")
        old = await house.call(AwaitHangUp(), auth_token=None)
    assert "403" in record.notices[0].text
    assert "403" in old.notices[0].text
    assert house.deepgram.listenings == [] or len(house.deepgram.listenings) == 1  # the start-up's


async def test_the_token_that_is_being_replaced_is_still_accepted(house: House) -> None:
    house.keys = attrs.evolve(KEYS, auth_tokens=("a-new-auth-token", TOKEN))
    async with house.open():
        record = await house.call(*talk(["good morning"]))
    assert words(record)[-4:] == said_back("good morning")[-4:]


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_is_told_to_stop_lets_its_calls_finish_and_takes_no_new_one(house: House) -> None:
    records = {}

    async def call() -> None:
        records["old"] = await house.call(*talk(["good morning", "good bye"]))

    async with trio.open_nursery() as nursery, house.open():
        nursery.start_soon(call)
        await trio.sleep(2.5)
        house.stop.asked.set()
        await trio.sleep(0.1)
        records["new"] = await house.call(AwaitHangUp(), caller="+15550100109")
        await house.stopped.wait()
    assert words(records["old"])[-4:] == said_back("good bye")[-4:]
    assert [each.text for each in records["new"].all_of(NetworkSaid)] == [twiml.DRAINING]


class FarAway(httpx.AsyncHTTPTransport):
    """The way of a phone network that takes a while to ask what comes next."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/voice/after":
            await trio.sleep(0.8)
        return await super().handle_async_request(request)


async def test_a_server_that_is_told_to_stop_stays_to_say_whom_to_ring(house: House) -> None:
    house.anthropic = opened([Reply.of("i will put you through.", UseTool("transfer_to_person"))])
    records = []

    async def call() -> None:
        steps = (*talk(["a person please"])[:-1], AwaitHangUp())
        records.append(await house.call(*steps, http=FarAway()))

    async with trio.open_nursery() as nursery, house.open():
        nursery.start_soon(call)
        await trio.sleep(1.0)
        house.stop.asked.set()
        await house.stopped.wait()
    (record,) = records
    assert [each.number for each in record.all_of(Dialled)] == ["+15550100003"]


async def test_a_server_that_has_to_stop_says_goodbye(house: House) -> None:
    records = []

    async def call() -> None:
        records.append(await house.call(Listen(silence_s=0.6), Say(text="good morning"), AwaitHangUp(timeout_s=60.0)))

    async with trio.open_nursery() as nursery, house.open():
        nursery.start_soon(call)
        await trio.sleep(2.5)
        house.stop.asked.set()
        house.stop.hurried.set()
        await house.stopped.wait()
    (record,) = records
    assert " ".join(words(record)).endswith(house.tenant.texts.stopping)
    assert record.hung_up.by == "agent"
    assert [each.code for each in record.notices] == [Code.CLOSED_BY_SERVER]


# ── at start ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def refused(house: House) -> list[str]:
    """Return the lines that a start is refused with."""
    try:
        async with house.open():
            pytest.fail("it started")
    except* ConfigError as group:
        found = group
    lines: list[str] = []

    def leaves(group: BaseExceptionGroup[ConfigError]) -> None:
        for each in group.exceptions:
            if isinstance(each, BaseExceptionGroup):
                leaves(each)
            else:
                lines.extend(str(each).splitlines())

    leaves(found)
    return lines


async def test_every_vendor_that_does_not_take_its_key_is_named_at_start_and_no_key_is_shown(house: House) -> None:
    house.deepgram.policies = [attrs.evolve(house.deepgram.policies[0], keys=frozenset({"other"}))]
    house.anthropic.keys = frozenset({"other"})
    house.elevenlabs.policies = [attrs.evolve(house.elevenlabs.policies[0], keys=frozenset({"other"}))]
    lines = await refused(house)
    assert [line.split(" ")[0] for line in lines] == ["anthropic", "deepgram", "elevenlabs"]
    assert all("401" in line for line in lines)
    assert not any(key in line for key in KEYS.secrets for line in lines)


async def test_a_vendor_that_is_not_there_is_named_at_start(house: House) -> None:
    house.away = ("deepgram",)
    (line,) = await refused(house)
    assert line.startswith("deepgram (nova-3, en)")


async def test_start_is_told_and_clips_are_rendered_once(house: House) -> None:
    async with house.open():
        pass
    assert any(line.startswith("rendered 8 clips") for line in house.told)
    house.told.clear()
    async with house.open():
        pass
    assert not any(line.startswith("rendered") for line in house.told)
    assert any(line.startswith("ready in") for line in house.told)
