"""A call that gives up, from dialling to the last word: real sockets, the simulated phone network, virtual vendors."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from engine.messages.callbacks import CallReported, StreamReported
from engine.messages.errors import ProviderDown
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent
from engine.reception import CONNECTING, Reception, Team
from engine.settings import (
    ActorsSettings,
    LastOverride,
    Settings,
    SupervisorSettings,
    Tenant,
    TextsSettings,
    TtsSettings,
)
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from simulators.caller import AwaitHangUp, CallerScript
from simulators.events import NetworkSaid
from simulators.twilio.call import place_call
from simulators.virtual.vendors import ToneVad, VirtualModel, VirtualRecogniser, VirtualVoice, spoken_text
from tests.simulators.far_end import ToneVoice
from web.app import TenantChoice, create_app
from web.door import DoorPolicy, FrontDoor
from web.media import MediaDoor, beside
from web.server import Bind, listen, serve_on
from web.tickets import stream_keys

TENANT = Tenant(
    id="clinic",
    name="Clinic",
    default=True,
    voice="tone",
    greeting="welcome",
    prompt="",
    human_number="+15550100003",
    texts=TextsSettings(apology="sorry"),
)
# One failure of the voice is one too many, so that the test need not wait for the backoffs.
IMPATIENT = Settings(
    actors=ActorsSettings(tts=TtsSettings(last=LastOverride(intensity=0))),
    supervisor=SupervisorSettings(intensity=0),
)


@attrs.frozen(kw_only=True)
class BrokenVoice(VirtualVoice):
    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        await trio.sleep(0.5)
        raise ProviderDown("gone")


@pytest.fixture
def reception(tmp_path: Path) -> Iterator[Reception]:
    with Businesses() as businesses, Store.open(f"sqlite:///{tmp_path / 'calls.sqlite3'}") as store:
        team = Team(
            recognisers=(VirtualRecogniser(),),
            voices=(BrokenVoice(),),
            models=(VirtualModel(answer=str),),
            vad=ToneVad,
            clips={name: spoken_text(text)[0] for name, text in TENANT.clips.items()},
        )
        yield Reception(
            settings=IMPATIENT,
            tenants={TENANT.id: TENANT},
            teams={TENANT.id: team},
            store=store,
            businesses=businesses,
            runner=inline,
            tool_runner=inline,
            dumps=tmp_path / "raised",
        )


async def consumed(_token: str, _expires_at: datetime) -> bool:
    return True


async def unrecorded(_report: CallReported | StreamReported) -> None:
    pass


async def test_the_caller_of_a_call_that_gives_up_hears_an_apology_and_is_connected_with_a_person(
    reception: Reception, nursery: trio.Nursery
) -> None:
    listeners = await listen("127.0.0.1:0", loopback_only=True)
    url = f"http://{Bind(*listeners[0].socket.getsockname())}"
    door = FrontDoor(
        public_url=url,
        policy=DoorPolicy(),
        auth_tokens=(),
        keys=stream_keys(()),
        consume=consumed,
        count=reception.metrics.refused,
    )
    app = create_app(
        door,
        choose=lambda _number: TenantChoice(name=TENANT.id),
        next_step=reception.next_step,
        record_call=unrecorded,
        record_stream=unrecorded,
        metrics=reception.metrics.exposition,
        counted=reception.metrics.counted,
    )
    await nursery.start(serve_on, beside(app, MediaDoor(door, reception.answer)), listeners)
    with capture_logs() as logs:
        record = await place_call(server_url=url, caller=CallerScript(steps=(AwaitHangUp(),)), voice=ToneVoice())
    assert [each["supervisor"] for each in logs if each["event"] == "gave_up" and "history" not in each][-1:] == [
        "call"
    ]
    assert spoken_text("sorry")[0] in record.agent_audio
    assert [said.text for said in record.all_of(NetworkSaid)] == [CONNECTING]
    assert record.hung_up.by == "agent"
    assert reception.store.ended_reason(record.call_sid) == "gave_up"
