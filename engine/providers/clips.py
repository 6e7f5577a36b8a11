"""Clips: phrases rendered before calls and kept on disk, so that what must be said needs no vendor."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog
import trio

from engine.messages.errors import ConfigError, ProviderError
from engine.providers.contract import Voice

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)


AT_ONCE: Final = 4
"""Texts that a voice is given at a time: vendors' smallest plans speak so many, and a cold start waits for them."""


async def render_clips(
    texts: Mapping[str, str],
    voice: Voice,
    folder: Path,
    *,
    progress: Callable[[str], None] = lambda _: None,
    slots: trio.CapacityLimiter | None = None,
) -> dict[str, bytes]:
    """Return the sound of each text, by name: µ-law, 8 kHz mono. What lies in `folder` is not rendered again.

    slots: of a vendor, where several have clips rendered; AT_ONCE by default.

    Raises ConfigError where the folder cannot be written, ProviderError where the voice fails. Cancelled: the clips
    that were rendered stay in the folder.
    """
    clips: dict[str, bytes] = {}
    failures: list[ConfigError | ProviderError] = []
    slots, new = slots or trio.CapacityLimiter(AT_ONCE), 0

    async def one(name: str, text: str) -> None:
        nonlocal new
        async with slots:
            try:
                path = trio.Path(folder / _file_name(voice, text))
                if await path.exists():
                    clips[name] = await path.read_bytes()
                    return
                clips[name] = await voice.render(text)
                new += 1
                await _keep(path, clips[name])
            except OSError as error:
                why = (error.strerror or str(error)).lower()
                failures.append(ConfigError(f"storage.clips: {folder} cannot be used: {why}"))
            except ProviderError as error:
                failures.append(error)

    async with trio.open_nursery() as nursery:
        for name, text in texts.items():
            nursery.start_soon(one, name, text)
    if failures:
        raise failures[0]
    if new:
        progress(f"rendered {new} clips in the voice '{voice.voice}'")
    return {name: clips[name] for name in texts}


async def _keep(path: trio.Path, clip: bytes) -> None:
    """Write a clip aside and move it into place: neither a kill nor another process at the same leaves half of it."""
    await path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.part")
    await aside.write_bytes(clip)
    await aside.rename(path)


def _file_name(voice: Voice, text: str) -> str:
    key = f"{voice.vendor}\0{voice.voice}\0{text}"
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.ulaw"
