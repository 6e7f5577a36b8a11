"""LocalVoice: text to speech in the engine's own process, with no key and no network.

A piece that cannot be spoken ends where it failed, for whoever is asked for it again fails again, and the call with it.
Only when a known text fails too is it the model that is down, and the piece still owed.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import attrs
import structlog
import trio

from engine.codec.telephony import RATE_HZ
from engine.messages.errors import ProviderDown
from engine.messages.recognition import Word
from engine.messages.synthesis import CancelSynthesis, EndSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent
from engine.providers.local.workers import Workers

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

# What any model that works can speak.
_KNOWN_TEXT: Final = "Yes."


@attrs.frozen
class Spoken:
    """A sentence, or a part of one, spoken: µ-law, 8 kHz. `words` in seconds from its first sample."""

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    words: tuple[Word, ...] = ()


Speak = Callable[[str, float], Iterator[Spoken]]
"""Speaks a text at a pace: 1 is the voice's own."""


class LocalVoice:
    """A voice whose model is in this process. Shared by all calls; they queue for its workers, a sentence a turn.

    voice: its name, for the cache of clips.
    speak: gives a text a sentence at a time, each when it is asked for, or raises `ProviderDown`; in a worker thread.
    aligned: whether the words come with their times.
    speed: its pace; 1 is the voice's own. Words are shorter or longer, their pitch stays.
    """

    vendor: Final = "local"

    def __init__(self, voice: str, speak: Speak, workers: Workers, *, aligned: bool, speed: float = 1.0) -> None:
        self._name = voice
        self._speak_at = speak
        self._workers = workers
        self._aligned = aligned
        self._speed = speed

    @property
    def voice(self) -> str:
        """The voice's name, with its pace if that is not its own: a clip at another pace is another clip."""
        return self._name if self._speed == 1 else f"{self._name} at speed {self._speed:g}"

    def paced(self, speed: float) -> "LocalVoice":
        """Return the same voice, of the same model and workers, at another pace: 0.5 to 2."""
        return LocalVoice(self._name, self._speak_at, self._workers, aligned=self._aligned, speed=speed)

    def _speak(self, text: str) -> Iterator[Spoken]:
        return self._speak_at(text, self._speed)

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve one call until cancelled; pieces that were asked for and not yet spoken are lost then.

        Raises `ProviderDown` when neither a piece nor a known text can be spoken.
        """
        seam.opened(aligned=self._aligned)
        session = _Session(seam, self._speak, self._workers)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.speak)
            await session.listen()

    async def render(self, text: str) -> bytes:
        """Return `text` spoken: µ-law, 8 kHz mono."""
        return await self._workers.run(lambda: b"".join(spoken.audio for spoken in self._speak(text)))


class _Session:
    """One call's tongue."""

    def __init__(
        self, seam: Seam[VoiceAsk, VoiceEvent], speak: Callable[[str], Iterator[Spoken]], workers: Workers
    ) -> None:
        self._seam = seam
        self._speak = speak
        self._workers = workers
        self._asked = deque[Synthesise]()
        self._cancelled_turn = -1
        self._wanted = trio.Event()

    async def listen(self) -> None:
        """Take what is asked, for ever."""
        while True:
            match await self._seam.ask():
                case Synthesise() as piece:
                    self._asked.append(piece)
                    self._wanted.set()
                case CancelSynthesis(turn=turn):
                    self._cancelled_turn = max(self._cancelled_turn, turn)
                case EndSynthesis():
                    pass  # nothing is held open between two pieces

    async def speak(self) -> None:
        """Speak what was asked for, a piece after the other, for ever."""
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            while self._asked:
                await self._speak_piece(self._asked.popleft())

    async def _speak_piece(self, piece: Synthesise) -> None:
        sentences = self._speak(piece.text)
        sent_bytes = 0
        # What is cancelled while a worker speaks it is thrown away.
        while not self._is_cancelled(piece):
            spoken = await self._next(sentences, piece)
            if self._is_cancelled(piece):
                return
            if spoken is None:
                await self._seam.emit(SynthesisEnded(turn=piece.turn, index=piece.index))
                return
            words = tuple(_later(word, sent_bytes / RATE_HZ) for word in spoken.words)
            sent_bytes += len(spoken.audio)
            await self._seam.emit(Synthesised(turn=piece.turn, index=piece.index, audio=spoken.audio, words=words))

    async def _next(self, sentences: Iterator[Spoken], piece: Synthesise) -> Spoken | None:
        """Return the next sentence of a piece, None after the last; what cannot be spoken is the last."""
        try:
            return await self._workers.run(partial(next, sentences, None))
        except ProviderDown as error:
            await self._workers.run(partial(next, self._speak(_KNOWN_TEXT), None))
            _log.warning(
                "voice lost a piece",
                error=str(error),
                turn=piece.turn,
                index=piece.index,
                characters=len(piece.text),
            )
            return None

    def _is_cancelled(self, piece: Synthesise) -> bool:
        return piece.turn <= self._cancelled_turn


def _later(word: Word, by_s: float) -> Word:
    return attrs.evolve(word, start_s=word.start_s + by_s, end_s=word.end_s + by_s)
