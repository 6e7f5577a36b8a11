"""Clips: phrases rendered before calls and kept on disk, so that what must be said needs no vendor."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog
import trio

from engine.messages.errors import ConfigError
from engine.providers.contract import Voice

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)


async def render_clips(
    texts: Mapping[str, str], voice: Voice, folder: Path, *, progress: Callable[[str], None] = lambda _: None
) -> dict[str, bytes]:
    """Return the sound of each text, by name: µ-law, 8 kHz mono. What lies in `folder` is not rendered again.

    Raises ConfigError where the folder cannot be written, ProviderError where the voice fails. Cancelled: the clips
    that were rendered stay in the folder.
    """
    clips: dict[str, bytes] = {}
    new = 0
    for name, text in texts.items():
        path = trio.Path(folder / _file_name(voice, text))
        try:
            if await path.exists():
                clips[name] = await path.read_bytes()
                continue
            clips[name] = await voice.render(text)
            await path.parent.mkdir(parents=True, exist_ok=True)
            # Written aside and moved into place: neither a kill nor another process at the same leaves half of a clip.
            aside = path.with_suffix(f".{os.getpid()}.part")
            await aside.write_bytes(clips[name])
            await aside.rename(path)
        except OSError as error:
            raise ConfigError(
                f"storage.clips: {folder} cannot be used: {(error.strerror or str(error)).lower()}"
            ) from error
        new += 1
    if new:
        progress(f"rendered {new} clips in the voice '{voice.voice}'")
    return clips


def _file_name(voice: Voice, text: str) -> str:
    key = f"{voice.vendor}\0{voice.voice}\0{text}"
    return f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.ulaw"
