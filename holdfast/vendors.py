"""Vendors: hires who hears, thinks and speaks for each tenant, and tries each before a call does."""

import datetime as dt
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from zoneinfo import ZoneInfo

import attrs
import structlog
import trio

from engine.messages.errors import ConfigError, ProviderError, ProviderRefused
from engine.providers.clips import AT_ONCE, render_clips
from engine.providers.contract import Model, Recogniser, ToolSchema, Voice
from engine.providers.levelled import Levelled, Measured
from engine.providers.local.script import spoken_number
from engine.providers.local.vad import CallerVad
from engine.providers.local.warm import Local, open_local
from engine.reception import Reception, Team
from engine.settings import Settings, Tenant, Tenants
from holdfast.keys import Keys

if TYPE_CHECKING:  # see `_House`: they are imported where they are needed
    from engine.providers.claude.model import ClaudeModel
    from engine.providers.deepgram import DeepgramRecogniser, FluxRecogniser
    from engine.providers.elevenlabs.voice import ElevenLabsVoice

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

CHECK_S: Final = 10.0
"""How long a vendor may take to answer its first request: four times what a call would wait for it."""

T = TypeVar("T")
Progress = Callable[[str], None]
ToolsOf = Callable[[Tenant], tuple[ToolSchema, ...]]

# ── hiring ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def hire(
    settings: Settings, tenants: Tenants, keys: Keys, *, desk: Reception, progress: Progress
) -> AsyncIterator[dict[str, Team]]:
    """Who serves each tenant's calls, by its id, each tried once: keys, addresses, models and voices are right.

    desk: where they will work. Its health is told of a vendor that is away where every tenant has another in its place:
        later calls try it again. A model is asked once with the tools that it will be offered, which warms its cache.
    Raises ConfigError, a line for each vendor that refused, or is away where there is no other.
    """
    async with AsyncExitStack() as stack:
        house = _House(settings=settings, tenants=tenants, keys=keys, progress=progress)
        await house.open(stack)
        teams = {tenant.id: await house.team(tenant) for tenant in tenants.tenants}
        away = house.away(await _tried(house.checks(desk.offered)))
        for work, vendor in away:
            desk.health.of(work, (vendor,)).failed(vendor, lasting=True)
        voices = {
            tenant.id: next(each for each in teams[tenant.id].voices if ("tts", each.vendor) not in away)
            for tenant in tenants.tenants
        }
        clips = [
            _Trial(
                what=f"{voices[tenant.id].vendor}: clips of {tenant.id}",
                work="tts",
                vendor=voices[tenant.id].vendor,
                ask=partial(house.clips, tenant, voices[tenant.id]),
            )
            for tenant in tenants.tenants
        ]
        rendered = await _tried(clips, within_s=math.inf)  # each clip has its own time limit, and there may be many
        _all_well(rendered)
        yield {
            tenant.id: attrs.evolve(teams[tenant.id], clips=outcome.given or {})
            for tenant, outcome in zip(tenants.tenants, rendered, strict=True)
        }


@attrs.frozen(kw_only=True)
class _Trial(Generic[T]):
    """One request to a vendor before there are calls. what: it proves, in words."""

    what: str
    work: str
    vendor: str
    ask: Callable[[], Awaitable[T]]


@attrs.frozen(kw_only=True)
class _Outcome(Generic[T]):
    """What a trial gave, or why it gave nothing. refused: the same again will not work."""

    trial: _Trial[T]
    given: T | None = None
    error: str = ""
    refused: bool = False


@attrs.define(eq=False, kw_only=True)
class _House:
    """The vendors of a process, as they are opened: all that any tenant's lists name, each once."""

    settings: Settings
    tenants: Tenants
    keys: Keys
    progress: Progress
    local: Local | None = None
    # All tenants' clips are one account's.
    slots: trio.CapacityLimiter = attrs.field(init=False, factory=lambda: trio.CapacityLimiter(AT_ONCE))
    model: "ClaudeModel | None" = None
    ears: "dict[str, DeepgramRecogniser | FluxRecogniser]" = attrs.field(init=False, factory=dict)
    voices: "dict[str, ElevenLabsVoice]" = attrs.field(init=False, factory=dict)
    # What was learnt of a voice's loudness is every call's: by its name and language, and by whom it stands in for.
    measured: dict[str, Measured] = attrs.field(init=False, factory=dict)

    async def open(self, stack: AsyncExitStack) -> None:
        """Load what serves more than one tenant."""
        local = {work: self._served_by("local", work) for work in ("stt", "llm", "tts")}
        if any(local.values()):
            ear = {} if local["stt"] else {"recogniser": None}
            self.local = await open_local(
                **ear,
                voices=tuple(dict.fromkeys(tenant.voice_at("local", "heart") for tenant in local["tts"])),
                agent=bool(local["llm"]),
                cores=self.settings.vendors.local.threads,
                tell=self.progress,
            )
        if self._served_by("anthropic", "llm"):
            self.model = await stack.enter_async_context(aclosing(await _in_thread(self._claude)))

    def _names(self, tenant: Tenant, work: str) -> tuple[str, ...]:
        return self.settings.vendors_of(tenant, work)

    def _served_by(self, vendor: str, work: str) -> list[Tenant]:
        """Return the tenants in whose list for a work a vendor stands."""
        return [tenant for tenant in self.tenants.tenants if vendor in self._names(tenant, work)]

    # The vendors' own packages take up to 1.5 s to import: only where they are asked for, and in a thread, so that a
    # Ctrl-C is heard meanwhile.

    def _claude(self) -> "ClaudeModel":
        from engine.providers.claude.model import ClaudeModel  # noqa: PLC0415

        vendor = self.settings.vendors.anthropic
        return ClaudeModel(
            base_url=vendor.base_url,
            api_key=self.keys.vendors["anthropic"],
            model=vendor.model,
            max_tokens=vendor.max_tokens,
        )

    def _deepgram(self, tenant: Tenant) -> "DeepgramRecogniser | FluxRecogniser":
        from engine.providers.deepgram import DeepgramRecogniser, FluxRecogniser, is_flux  # noqa: PLC0415

        vendor = self.settings.vendors.deepgram
        if is_flux(vendor.model):
            return FluxRecogniser(
                base_url=vendor.base_url,
                api_key=self.keys.vendors["deepgram"],
                model=vendor.model,
                language=tenant.language,
                eot_threshold=vendor.eot_threshold,
                eager_eot_threshold=vendor.eager_eot_threshold,
                eot_timeout_ms=vendor.eot_timeout_ms,
            )
        return DeepgramRecogniser(
            base_url=vendor.base_url,
            api_key=self.keys.vendors["deepgram"],
            model=vendor.model,
            language=tenant.language,
            endpointing_ms=vendor.endpointing_ms,
            utterance_end_ms=vendor.utterance_end_ms,
            chunk_ms=vendor.chunk_ms,
        )

    def _elevenlabs(self, tenant: Tenant) -> "ElevenLabsVoice":
        from engine.providers.elevenlabs.voice import ElevenLabsVoice  # noqa: PLC0415

        vendor = self.settings.vendors.elevenlabs
        return ElevenLabsVoice(
            base_url=vendor.base_url,
            api_key=self.keys.vendors["elevenlabs"],
            voice_id=tenant.voice_at("elevenlabs", vendor.voice),
            model=vendor.model,
            language=tenant.language.split("-")[0],  # it knows no countries
            speed=tenant.speech.speed,
        )

    async def team(self, tenant: Tenant) -> Team:
        """Return who serves a tenant's calls; the clips are still to be rendered."""
        return Team(
            recognisers=tuple([await self._ear(tenant, name) for name in self._names(tenant, "stt")]),
            voices=self._levelled(tenant, [await self._voice(tenant, name) for name in self._names(tenant, "tts")]),
            models=tuple([await self._mind(tenant, name) for name in self._names(tenant, "llm")]),
            vad=CallerVad,
            clips={},
        )

    async def _ear(self, tenant: Tenant, name: str) -> Recogniser:
        if name == "local":
            assert self.local is not None
            assert self.local.recogniser is not None, "it was asked for"
            return self.local.recogniser
        if tenant.language not in self.ears:
            self.ears[tenant.language] = await _in_thread(partial(self._deepgram, tenant))
        return self.ears[tenant.language]

    async def _voice(self, tenant: Tenant, name: str) -> Voice:
        speed = tenant.speech.speed
        if name == "local":
            assert self.local is not None
            chosen = tenant.voice_at("local", "heart")
            return self.local.voices[chosen].paced(speed)
        spoken = f"{tenant.voice_at('elevenlabs', self.settings.vendors.elevenlabs.voice)}, {tenant.language}, {speed}"
        if spoken not in self.voices:
            self.voices[spoken] = await _in_thread(partial(self._elevenlabs, tenant))
        return self.voices[spoken]

    def _levelled(self, tenant: Tenant, voices: Sequence[Voice]) -> tuple[Voice, ...]:
        """Return a tenant's voices, as loud as the first of them; one alone as it is."""
        if len(voices) == 1:
            return tuple(voices)
        first, *others = voices
        spoken = tenant.language  # it is in no voice's name
        leader = self.measured.setdefault(f"{first.vendor}, {first.voice}, {spoken}", Measured(first))
        level = {f"{each.vendor}, {each.voice}, {spoken}, {first.vendor}, {first.voice}": each for each in others}
        return (leader, *(self.measured.setdefault(name, Levelled(each, like=leader)) for name, each in level.items()))

    async def _mind(self, tenant: Tenant, name: str) -> Model:
        if name == "anthropic":
            assert self.model is not None
            return self.model
        assert self.local is not None
        zone = ZoneInfo((tenant.clinic or {}).get("timezone", "UTC"))
        facts = {"business": tenant.name, "human_number": spoken_number(tenant.human_number or "")}
        return await self.local.agent(tenant.script, today=partial(_today, zone), facts=facts)

    def checks(self, tools_of: ToolsOf) -> list[_Trial[None]]:
        """Return the first request to each vendor."""
        vendors = self.settings.vendors
        first: list[_Trial[None]] = []
        for language, ear in self.ears.items():
            what = f"deepgram ({vendors.deepgram.model}, {language})"
            first.append(_Trial(what=what, work="stt", vendor="deepgram", ask=ear.check))
        for name, voice in self.voices.items():
            first.append(_Trial(what=f"elevenlabs (voice {name})", work="tts", vendor="elevenlabs", ask=voice.check))
        if self.model is not None:
            for tenant in self._served_by("anthropic", "llm"):
                what = f"anthropic ({vendors.anthropic.model}, {tenant.id})"
                ask = partial(self.model.check, system=tenant.prompt, tools=tools_of(tenant))
                first.append(_Trial(what=what, work="llm", vendor="anthropic", ask=ask))
        return first

    def away(self, outcomes: Sequence[_Outcome[None]]) -> set[tuple[str, str]]:
        """Return who cannot be reached and has others in its place, by work. Raises ConfigError for other failures."""
        failed = {(each.trial.work, each.trial.vendor) for each in outcomes if each.error}
        _all_well([each for each in outcomes if each.refused or not self._replaced(each.trial, failed)])
        for each in outcomes:
            if each.error:
                _log.warning("vendor_away", what=each.trial.what, why=each.error)
                self.progress(f"{each.trial.what} is away, others take its place: {each.error}")
        return failed

    def _replaced(self, trial: _Trial[None], failed: Container[tuple[str, str]]) -> bool:
        """Whether every tenant with this vendor has another that is well."""
        return all(
            any((trial.work, name) not in failed for name in self._names(tenant, trial.work))
            for tenant in self._served_by(trial.vendor, trial.work)
        )

    async def clips(self, tenant: Tenant, voice: Voice) -> dict[str, bytes]:
        """Return a tenant's clips, from the disk or freshly spoken."""
        folder = Path(self.settings.storage.clips)
        clips = await render_clips(tenant.spoken_clips, voice, folder, progress=self.progress, slots=self.slots)
        if isinstance(voice, Measured):  # what lay on the disk tells as much of it
            for clip in clips.values():
                voice.listen(clip)
        return clips


async def _in_thread(work: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


async def _tried(trials: Sequence[_Trial[T]], *, within_s: float = CHECK_S) -> list[_Outcome[T]]:
    """Do all at once, and return what became of each, in their order."""
    outcomes: dict[int, _Outcome[T]] = {}

    async def one(number: int, trial: _Trial[T]) -> None:
        began_at = trio.current_time()
        try:
            with trio.fail_after(within_s):
                outcomes[number] = _Outcome(trial=trial, given=await trial.ask())
        except ProviderError as error:
            outcomes[number] = _Outcome(trial=trial, error=str(error), refused=isinstance(error, ProviderRefused))
        except trio.TooSlowError:
            outcomes[number] = _Outcome(trial=trial, error=f"no answer within {within_s:g} s")
        else:
            _log.debug("vendor_ready", what=trial.what, took_s=round(trio.current_time() - began_at, 2))

    async with trio.open_nursery() as nursery:
        for number, trial in enumerate(trials):
            nursery.start_soon(one, number, trial)
    return [outcomes[number] for number in range(len(trials))]


def _all_well(outcomes: Sequence[_Outcome[T]]) -> None:
    """Raise ConfigError, a line for each that failed."""
    lines = [f"{each.trial.what}: {each.error}" for each in outcomes if each.error]
    if lines:
        raise ConfigError("\n".join(sorted(lines)))


def _today(zone: ZoneInfo) -> dt.date:
    return dt.datetime.now(zone).date()
