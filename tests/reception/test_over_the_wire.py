"""A call that gives up, from dialling to the last word: real sockets, the simulated phone network, virtual vendors."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from engine.messages.errors import ProviderDown
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent
from engine.reception import Reception, Team
from engine.settings import ActorSettings, ActorsSettings, Settings, SupervisorSettings, Tenant, TextsSettings
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from simulators.caller import AwaitHangUp, CallerScript
from simulators.events import NetworkSaid
from simulators.twilio.call import place_call
from simulators.virtual.vendors import ToneVad, VirtualModel, VirtualRecogniser, VirtualVoice, spoken_text
from tests.simulators.far_end import ToneVoice
from web.app import APOLOGY, TenantChoice, create_app
from web.media import MediaDoor, beside
from web.server import Bind, listen, serve_on

TENANT = Tenant(
    id="clinic",
    name="Clinic",
    default=True,
    voice="tone",
    greeting="welcome",
    prompt="",
    texts=TextsSettings(apology="sorry"),
)
# One failure of the voice is one too many, so that the test need not wait for the backoffs.
IMPATIENT = Settings(actors=ActorsSettings(tts=ActorSettings(intensity=0)), supervisor=SupervisorSettings(intensity=0))


@attrs.frozen(kw_only=True)
class BrokenVoice(VirtualVoice):
    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        await trio.sleep(0.5)
        raise ProviderDown("gone")


@pytest.fixture
def reception(tmp_path: Path) -> Iterator[Reception]:
    with Businesses() as businesses, Store.open(f"sqlite:///{tmp_path / 'calls.sqlite3'}") as store:
        team = Team(
            recogniser=VirtualRecogniser(),
            voice=BrokenVoice(),
            model=VirtualModel(answer=str),
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


async def test_the_caller_of_a_call_that_gives_up_hears_an_apology_from_the_engine_and_one_from_the_phone_network(
    reception: Reception, nursery: trio.Nursery
) -> None:
    listeners = await listen("127.0.0.1:0")
    url = f"http://{Bind(*listeners[0].socket.getsockname())}"
    app = create_app(public_url=url, choose=lambda _number: TenantChoice(name=TENANT.id), ended=reception.ended)
    await nursery.start(serve_on, beside(app, MediaDoor(reception.answer)), listeners)
    with capture_logs() as logs:
        record = await place_call(server_url=url, caller=CallerScript(steps=(AwaitHangUp(),)), voice=ToneVoice())
    assert [each["supervisor"] for each in logs if each["event"] == "gave_up" and "history" not in each][-1:] == [
        "call"
    ]
    assert spoken_text("sorry")[0] in record.agent_audio
    assert [said.text for said in record.all_of(NetworkSaid)] == [APOLOGY]
    assert record.hung_up.by == "agent"
    assert reception.store.ended_reason(record.call_sid) == "gave_up"
