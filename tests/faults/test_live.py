"""The same faults in a live call: real sockets, real time, the simulated phone network, virtual vendors."""

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from rich.console import Console

from engine.call import Call
from engine.faults import Kill, Refuse
from engine.faulty import FaultBoard
from engine.messages.callbacks import CallReported, StreamReported
from engine.messages.errors import ConfigError
from engine.reception import Reception, Team
from engine.settings import Settings, Tenant
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from holdfast.call import Kept, call, call_with_faults, caller_of, judged
from simulators.caller import CallerScript, HangUp, Listen, Say
from simulators.tone import ToneVoice
from simulators.trial import Expectations, Scenario, play
from simulators.twilio.call import NoServerError
from simulators.virtual.script import answer
from simulators.virtual.vendors import ToneVad, VirtualModel, VirtualRecogniser, VirtualVoice, spoken_text
from web.admin import offer_faults
from web.app import TenantChoice, create_app
from web.door import DoorPolicy, FrontDoor
from web.media import MediaDoor, beside
from web.server import Bind, listen, serve_on
from web.tickets import stream_keys

TENANT = Tenant(id="clinic", name="Clinic", default=True, voice="tone", greeting="welcome", prompt="")
SAID = "on friday evening please"
CALLER = CallerScript(steps=(Listen(silence_s=0.3), Say(text=SAID), Listen(silence_s=0.6), HangUp()))


@pytest.fixture
def reception(tmp_path: Path) -> Iterator[Reception]:
    with Businesses() as businesses, Store.open(f"sqlite:///{tmp_path / 'calls.sqlite3'}") as store:
        team = Team(
            recognisers=(VirtualRecogniser(vendor="deepgram"), VirtualRecogniser(vendor="local")),
            voices=(VirtualVoice(vendor="elevenlabs"), VirtualVoice(vendor="local")),
            models=(VirtualModel(vendor="anthropic", answer=answer),),
            vad=ToneVad,
            clips={name: spoken_text(text)[0] for name, text in TENANT.clips.items()},
        )
        yield Reception(
            settings=Settings(),
            tenants={TENANT.id: TENANT},
            teams={TENANT.id: team},
            store=store,
            businesses=businesses,
            runner=inline,
            tool_runner=inline,
            dumps=tmp_path / "raised",
        )


@asynccontextmanager
async def serving(reception: Reception, *, allow_faults: bool = True) -> AsyncIterator[str]:
    """Serve on a port of loopback."""
    listeners = await listen("127.0.0.1:0", loopback_only=True)
    url = f"http://{Bind(*listeners[0].socket.getsockname())}"
    door = FrontDoor(
        public_url=url,
        policy=DoorPolicy(),
        auth_tokens=(),
        keys=stream_keys(()),
        consume=_consumed,
        count=reception.metrics.refused,
    )
    app = create_app(
        door,
        choose=lambda _number: TenantChoice(name=TENANT.id),
        next_step=reception.next_step,
        record_call=_unrecorded,
        record_stream=_unrecorded,
        metrics=reception.metrics.exposition,
        counted=reception.metrics.counted,
    )
    if allow_faults:
        board = FaultBoard(vendors=("anthropic", "deepgram", "elevenlabs", "local", "openai"))
        reception.open_call = board.open
        offer_faults(app, door, board, token="")
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_on, beside(app, MediaDoor(door, reception.answer)), listeners)
        yield url
        nursery.cancel_scope.cancel()


async def _consumed(_token: str, _expires_at: datetime) -> bool:
    await trio.lowlevel.checkpoint()
    return True


async def _unrecorded(_report: CallReported | StreamReported) -> None:
    await trio.lowlevel.checkpoint()


async def made(scenario: Scenario, url: str, folder: Path) -> tuple[Kept, list[str], str]:
    """Make a call as `holdfast call --faults` does; return what is left, what was not expected, what was printed."""
    console = Console(file=io.StringIO(), width=200)
    place = partial(call, CALLER, server_url=url, store=None, folder=folder, console=console, voice=ToneVoice())
    kept = await call_with_faults(scenario, place, server_url=url, token=None)
    wrong = judged(scenario, kept, console)
    assert isinstance(console.file, io.StringIO)
    return kept, wrong, console.file.getvalue()


OUTAGE = Refuse("deepgram", at=0.6, lasts_s=0.8)


def test_a_live_call_fails_as_a_virtual_one_does(reception: Reception, tmp_path: Path) -> None:
    faults = (OUTAGE, Kill("tts.session", after="2nd audio"))
    expect = Expectations(survived=True, dead_air_s=3.0, restarts={"tts": 1})
    scenario = Scenario(caller=(SAID,), faults=faults, expect=expect, seed=5)

    async def live_call() -> tuple[Kept, list[str], str]:
        async with serving(reception) as url:
            return await made(scenario, url, tmp_path)

    kept, wrong, printed = trio.run(live_call)
    assert wrong == [], printed
    assert "as expected" in printed
    assert kept.report is not None
    virtual = play([SAID], faults=faults, seed=5, policy=reception._call_policy(TENANT))
    # The same outage and seed, the same decisions about the recogniser at the same times.
    live, played = (
        [(each.what, each.who, each.at_s) for each in report.happened if each.who.startswith("stt/session")]
        for report in (kept.report, virtual.report)
    )
    assert [each[:2] for each in live] == [each[:2] for each in played]
    assert [each[2] for each in live] == pytest.approx([each[2] for each in played], abs=0.5)  # under load
    assert len(live) > 4


async def test_what_was_not_expected_is_said(reception: Reception, tmp_path: Path) -> None:
    expect = Expectations(survived=False, dead_air_s=0.01, restarts={"stt": 7}, failed_over={"stt": "local"})
    scenario = Scenario(caller=(SAID,), faults=(Kill("agent", at=0.3), Kill("openai")), expect=expect)
    async with serving(reception) as url:
        _, wrong, printed = await made(scenario, url, tmp_path)
    # The call has no such vendor: it goes without faults, and says so.
    assert "goes without faults: fault[1].on: unknown place 'openai'" in printed
    assert [each.partition(" is ")[0] for each in wrong[2:]] == ["dead_air_s", "restarts.stt", "failed_over.stt"]
    assert wrong[0].startswith("fault never struck: ")


async def test_a_server_that_takes_no_faults_is_not_called(reception: Reception, tmp_path: Path) -> None:
    scenario = Scenario(caller=(SAID,), faults=(Kill("agent"),))
    async with serving(reception, allow_faults=False) as url:
        with pytest.raises(ConfigError, match=r"takes no faults from here; start it with 'holdfast serve --allow-fau"):
            await made(scenario, url, tmp_path)
    assert reception.open_call is Call


async def test_faults_that_the_server_refuses_are_named(reception: Reception, tmp_path: Path) -> None:
    scenario = Scenario(caller=(SAID,), faults=(Kill("groq"),))
    async with serving(reception) as url:
        with pytest.raises(ConfigError, match=r"refuses the faults: faults\[0\].on: unknown place 'groq'"):
            await made(scenario, url, tmp_path)


async def test_where_nobody_answers_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoServerError, match=r"no server answers at http://127.0.0.1:9"):
        await made(Scenario(caller=(SAID,)), "http://127.0.0.1:9", tmp_path)


def test_the_caller_of_a_scenario_waits_for_each_answer() -> None:
    steps = caller_of(Scenario(caller=("one", "two"))).steps
    assert [type(step).__name__ for step in steps] == ["Listen", "Say", "Listen", "Say", "Listen", "AwaitHangUp"]
    assert attrs.asdict(steps[1])["text"] == "one"
