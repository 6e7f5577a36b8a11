"""Who is let in, how a server stops, and what it says at start: with the real clients, over real sockets."""

from pathlib import Path

import attrs
import httpx
import pytest
import trio

from engine.messages.errors import ConfigError
from engine.settings import DoorSettings
from simulators.anthropic import AnthropicSimulator, Latency, Reply, UseTool, script
from simulators.caller import AwaitHangUp, HangUp, Listen, Say, Wait
from simulators.deepgram import FluxListening
from simulators.events import Dialled, NetworkSaid
from simulators.twilio.codes import Code
from tests.vendors.house import KEYS, House, said_back, talk, words
from web import twiml

TURNS = ("good morning", "i need a check up", "on thursday please", "that is all")

QUICK = Latency(started_s=0.05, first_token_s=0.1)


@pytest.fixture
def house(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.chdir(tmp_path)
    return House(folder=tmp_path, clips=tmp_path_factory.getbasetemp() / "clips")  # rendered once


def opened(answers: list[Reply | str]) -> AnthropicSimulator:
    """A model that answers the start-up's request and then these, in order."""
    return AnthropicSimulator(mind=script(["ready", *answers]), latency=QUICK)


# ── who is let in ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_caller_beyond_the_limit_hears_that_all_lines_are_busy(house: House) -> None:
    house.door = DoorSettings(calls_at_once=1)
    async with house.open(), trio.open_nursery() as nursery:
        nursery.start_soon(house.call, Wait(seconds=2.0), HangUp())
        await trio.sleep(1.0)
        record = await house.call(AwaitHangUp(), caller="+15550100109")
    assert [each.text for each in record.all_of(NetworkSaid)] == [twiml.ALL_LINES_BUSY]


async def test_a_call_that_twilio_did_not_sign_is_refused(house: House) -> None:
    async with house.open():
        record = await house.call(AwaitHangUp(), auth_token="another")
        old = await house.call(AwaitHangUp(), auth_token=None)
    assert "403" in record.notices[0].text
    assert "403" in old.notices[0].text
    assert house.deepgram.listenings == [] or len(house.deepgram.listenings) == 1  # the start-up's


# ── stopping ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_is_told_to_stop_lets_its_calls_finish_and_takes_no_new_one(house: House) -> None:
    records = {}

    async def call() -> None:
        records["old"] = await house.call(*talk(["good bye"]))

    async with trio.open_nursery() as nursery, house.open():
        nursery.start_soon(call)
        await trio.sleep(1.0)
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


async def test_start_is_told_and_clips_are_rendered_once(house: House, tmp_path: Path) -> None:
    house.clips = tmp_path / "clips"
    async with house.open():
        pass
    assert any(line.startswith("rendered 8 clips") for line in house.told)
    house.told.clear()
    async with house.open():
        pass
    assert not any(line.startswith("rendered") for line in house.told)
    assert any(line.startswith("ready in") for line in house.told)


# ── by Flux ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_caller_whom_flux_hears_is_answered(house: House) -> None:
    house.heard_with = "flux-general-en"
    async with house.open():
        record = await house.call(*talk(["on thursday please"]))
    assert house.asked[-1] == "on thursday please"  # it may have been asked before, when the turn was expected
    assert words(record)[-4:] == said_back("on thursday please")[-4:]
    assert all(isinstance(each, FluxListening) for each in house.deepgram.listenings)
