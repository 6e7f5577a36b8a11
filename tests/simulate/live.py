"""The same rehearsal on loopback, in real time: the door, the media socket, the phone network, the vendors' clients.

Deepgram, ElevenLabs and Claude are the engine's own clients, over sockets to strict simulators. `local` alone is what
it is in a rehearsal: the embedded models would take all of the machine that the comparison runs on. Outages come in by
the same faults, into each call as it opens.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import attrs
import trio

from engine.metrics import Metrics
from engine.providers.claude import ClaudeModel
from engine.providers.deepgram import DeepgramRecogniser
from engine.providers.elevenlabs.voice import ElevenLabsVoice
from engine.reception import Reception, Team
from engine.settings import Settings, Tenant
from engine.storage.runner import in_thread
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from simulators import tone
from simulators.anthropic import AnthropicSimulator, Latency
from simulators.anthropic.reply import Reply
from simulators.anthropic.request import MessagesRequest
from simulators.caller import CallerScript, HangUp, Listen, Say
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator
from simulators.elevenlabs import ElevenLabsPolicy, ElevenLabsSimulator
from simulators.twilio.call import place_call
from simulators.virtual.rehearsal import Opener, RehearsedCall, Trouble, answer, model, recogniser, voice
from simulators.virtual.vendors import ToneVad
from web.app import TenantChoice, create_app
from web.door import DoorPolicy, FrontDoor
from web.media import MediaDoor, beside
from web.server import Bind, listen, serve_on
from web.tickets import stream_keys

BEAT_S = 0.01


@attrs.define
class Lateness:
    """How late the process woke, beat by beat: what a comparison of milliseconds has to allow for."""

    beats: list[tuple[float, float]] = attrs.field(factory=list)

    async def keep(self) -> None:
        """Beat until cancelled."""
        while True:
            due = trio.current_time() + BEAT_S
            await trio.sleep_until(due)
            self.beats.append((due, trio.current_time() - due))

    def between(self, start_at: float, end_at: float) -> float:
        """Return for how long in all the process stood still between two moments of trio's clock."""
        return sum(late_s for due, late_s in self.beats if start_at <= due <= end_at and late_s > 0.003)


def _mind(request: MessagesRequest) -> Reply:
    return Reply.of(answer(request.last_user_text))


@asynccontextmanager
async def _teams(settings: Settings, tenant: Tenant) -> AsyncIterator[Team]:
    """Who serves: as late as `simulators.virtual.rehearsal` has them, by the figures that are in the simulators."""
    deepgram = DeepgramSimulator(policies=[DeepgramPolicy(handshake_s=0.15)])
    elevenlabs = ElevenLabsSimulator(policies=[ElevenLabsPolicy(handshake_s=0.15, first_audio_s=0.15)])
    anthropic = AnthropicSimulator(mind=_mind, latency=Latency(started_s=0.3, first_token_s=0.5))
    async with trio.open_nursery() as nursery:
        heard, spoken, thought = [await nursery.start(each.serve) for each in (deepgram, elevenlabs, anthropic)]
        claude = await nursery.start(_open, ClaudeModel(base_url=thought, api_key="k"))
        ear = DeepgramRecogniser(base_url=heard, api_key="k")
        tongue = ElevenLabsVoice(base_url=spoken, api_key="k", voice_id="v")
        yield Team(
            recognisers=tuple(
                ear if name == "deepgram" else recogniser(name, settings) for name in settings.vendors_of(tenant, "stt")
            ),
            voices=tuple(
                tongue if name == "elevenlabs" else voice(name) for name in settings.vendors_of(tenant, "tts")
            ),
            models=tuple(claude if name == "anthropic" else model(name) for name in settings.vendors_of(tenant, "llm")),
            vad=ToneVad,
            clips={name: await voice("local").render(text) for name, text in tenant.clips.items()},
        )
        nursery.cancel_scope.cancel()


async def _open(claude: ClaudeModel, *, task_status: trio.TaskStatus[ClaudeModel]) -> None:
    async with aclosing(claude):
        task_status.started(claude)
        await trio.sleep_forever()


async def live(  # as `rehearse`, but in real time
    settings: Settings,
    tenant: Tenant,
    troubles: Sequence[Trouble],
    file: Path,
    *,
    calls: int,
    apart_s: float,
    seed: int,
    turns: Sequence[str],
) -> list[RehearsedCall]:
    """Serve on a port, have callers call, and return the calls in the order in which they came. file: of the store."""
    opener = Opener(troubles=troubles, seed=seed)
    with Businesses() as businesses, Store.open(f"sqlite:///{file}") as store:
        async with _teams(settings, tenant) as team, trio.open_nursery() as serving:
            metrics = Metrics()
            reception = Reception(
                settings=settings,
                tenants={tenant.id: tenant},
                teams={tenant.id: team},
                store=store,
                businesses=businesses,
                runner=in_thread(trio.CapacityLimiter(1)),
                tool_runner=in_thread(trio.CapacityLimiter(1)),
                dumps=file.with_suffix(".raised"),
                metrics=metrics,
                open_call=opener.open,
            )
            listeners = await listen("127.0.0.1:0", loopback_only=True)
            url = f"http://{Bind('127.0.0.1', listeners[0].socket.getsockname()[1])}"
            door = FrontDoor(
                public_url=url,
                policy=DoorPolicy(calls_at_once=100, calls_a_minute_per_caller=1000),
                auth_tokens=(),
                keys=stream_keys(()),
                consume=_first_use,
                count=metrics.refused,
            )
            app = create_app(
                door,
                choose=lambda _number: TenantChoice(name=tenant.id),
                next_step=reception.next_step,
                record_call=_unrecorded,
                record_stream=_unrecorded,
                metrics=metrics.exposition,
                counted=metrics.counted,
            )
            await serving.start(serve_on, beside(app, MediaDoor(door, reception.answer)), listeners)
            steps = [step for turn in turns for step in (Say(text=turn), Listen(silence_s=0.5))]
            script = CallerScript(steps=(Listen(silence_s=0.5), *steps, HangUp()))

            async def call(after_s: float) -> None:
                await trio.sleep(after_s)
                await place_call(server_url=url, caller=script, voice=tone.ToneVoice())

            async with trio.open_nursery() as nursery:
                for number in range(calls):
                    nursery.start_soon(call, number * apart_s)
            await reception.empty()
            serving.cancel_scope.cancel()
    return list(opener.calls.values())


async def _first_use(_token: str, _expires_at: object) -> bool:
    await trio.lowlevel.checkpoint()
    return True


async def _unrecorded(_report: object) -> None:
    await trio.lowlevel.checkpoint()
