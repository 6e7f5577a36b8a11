"""A whole engine over loopback sockets: the server as it is served, simulated vendors, a simulated phone network."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import httpx
import trio

from engine.messages.conversation import CallerSaid
from engine.settings import (
    AnthropicSettings,
    CallSettings,
    DeepgramSettings,
    DoorSettings,
    ElevenLabsSettings,
    Settings,
    StorageSettings,
    Tenant,
    Tenants,
    VendorSettings,
)
from engine.storage.store import Store
from holdfast.keys import Keys
from holdfast.serve import Stop, serve
from simulators import tone
from simulators.anthropic import AnthropicSimulator
from simulators.caller import CallerScript, HangUp, Listen, Say, Step
from simulators.deepgram import DeepgramSimulator
from simulators.elevenlabs import ElevenLabsSimulator
from simulators.twilio.call import Network, place_call
from simulators.twilio.record import CallRecord

TOKEN = "an-auth-token-for-tests"
KEYS = Keys(vendors={"deepgram": "dg-key", "anthropic": "an-key", "elevenlabs": "el-key"}, auth_tokens=(TOKEN,))
GREETING = "hello this is the clinic"
TENANT = Tenant(
    id="clinic",
    name="Clinic",
    default=True,
    greeting=GREETING,
    prompt="You answer the phone of a clinic.",
    human_number="+15550100003",
)


NOBODY = "ws://127.0.0.1:9"
"""Where nobody listens."""


class CodedVoice:
    """A caller's voice in the tone code."""

    async def speak(self, text: str) -> bytes:
        return tone.say(text)[0]


@attrs.define
class House:
    """An engine that serves, and what it stands on."""

    folder: Path
    clips: Path | None = None
    deepgram: DeepgramSimulator = attrs.field(factory=DeepgramSimulator)
    anthropic: AnthropicSimulator = attrs.field(factory=AnthropicSimulator)
    elevenlabs: ElevenLabsSimulator = attrs.field(factory=ElevenLabsSimulator)
    tenant: Tenant = TENANT
    door: DoorSettings = DoorSettings()
    keys: Keys = KEYS
    url: str = ""
    stop: Stop = attrs.field(factory=Stop)
    stopped: trio.Event = attrs.field(factory=trio.Event)
    told: list[str] = attrs.field(factory=list)
    away: tuple[str, ...] = ()
    heard_with: str = "nova-3"

    @asynccontextmanager
    async def vendors(self) -> AsyncIterator[Settings]:
        """Serve the vendors; gives the settings that point at them."""
        async with trio.open_nursery() as nursery:
            heard = await nursery.start(self.deepgram.serve)
            thought = await nursery.start(self.anthropic.serve)
            spoken = await nursery.start(self.elevenlabs.serve)
            yield Settings(
                call=CallSettings(stt=("deepgram",), llm=("anthropic",), tts=("elevenlabs",)),
                door=self.door,
                vendors=VendorSettings(
                    deepgram=DeepgramSettings(
                        base_url=NOBODY if "deepgram" in self.away else heard, model=self.heard_with
                    ),
                    anthropic=AnthropicSettings(base_url=thought),
                    elevenlabs=ElevenLabsSettings(base_url=spoken),
                ),
                storage=StorageSettings(
                    url=f"sqlite:///{self.folder / 'h.sqlite3'}", clips=str(self.clips or self.folder / "clips")
                ),
            )
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve until the body is over; `stopped` is set where `stop` was obeyed before."""
        async with self.vendors() as settings, trio.open_nursery() as nursery:
            server = partial(
                serve,
                settings,
                Tenants(tenants=(self.tenant,)),
                bind="127.0.0.1:0",
                progress=self.told.append,
                keys=self.keys,
                stop=self.stop,
            )

            async def until_stopped(*, task_status: trio.TaskStatus[list[str]]) -> None:
                await server(task_status=task_status)
                self.stopped.set()

            (address,) = await nursery.start(until_stopped)
            self.url = f"http://{address}"
            yield
            nursery.cancel_scope.cancel()

    async def call(
        self,
        *steps: Step,
        caller: str = "+15550100001",
        auth_token: str | None = TOKEN,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> CallRecord:
        """Have somebody call. http: what carries the phone network's requests."""
        return await place_call(
            server_url=self.url,
            caller=CallerScript(steps=steps, caller_number=caller),
            voice=CodedVoice(),
            network=Network(auth_token=auth_token, http=http),
        )

    def use_clinic(self) -> None:
        """Give the business a clinic's tools."""
        clinic = {
            "database": f"sqlite:///{self.folder / 'clinic.sqlite3'}",
            "timezone": "America/New_York",
            "slot_minutes": 30,
            "bookable_days": 365,
            "hours": {day: ["08:00-12:00"] for day in ("monday", "tuesday", "wednesday", "thursday", "friday")},
        }
        self.tenant = attrs.evolve(self.tenant, tools="clinic", clinic=clinic)

    def store_has(self, call_sid: str) -> list[str]:
        """What the caller said, as it was written down."""
        with Store.open(f"sqlite:///{self.folder / 'h.sqlite3'}") as store:
            said = [row.entry for row in store.conversation(call_sid)]
        return [entry.text for entry in said if isinstance(entry, CallerSaid)]

    def spoken_so_far(self) -> str:
        """All that the voice was asked to speak, in the order in which it came."""
        return " ".join(self.elevenlabs.spoken)

    @property
    def wrongs(self) -> list[object]:
        """Every rule of a vendor's that the engine broke."""
        return [*self.deepgram.violations, *self.anthropic.violations, *self.elevenlabs.violations]

    @property
    def asked(self) -> list[str]:
        """What the model was told by the callers, a text a request, the start-up's left out."""
        return [each.request.last_user_text for each in self.anthropic.requests][1:]


def talk(turns: Sequence[str]) -> tuple[Step, ...]:
    """The steps of a caller who hears each answer out, and hangs up."""
    said = [step for turn in turns for step in (Say(text=turn), Listen(silence_s=0.6))]
    return (Listen(silence_s=0.6), *said, HangUp())


def said_back(turn: str) -> list[str]:
    """Return the words that the model answers a turn with."""
    return f"You said {turn}, I heard {turn}, so it is {turn}.".split()


def words(record: CallRecord) -> list[str]:
    """Return what the caller's phone sounded, word by word."""
    return [word.text for word in tone.heard(record.agent_audio, patient=True)]
