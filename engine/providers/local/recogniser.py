"""LocalRecogniser: speech to text in the engine's own process, with no key and no network.

Theory of operation. A session has two tasks. The *listener* reads what is asked, cuts audio into utterances
(`endpoint`) and tells at once how far silence is covered. The *decoder* takes what the listener left it: utterances,
in order, always before the draft of one under way, of which only the newest counts. A draft is decoded only when a
worker is free that nobody waits for, so it delays an utterance by one decoding at most, its own. The draft made in the
pause after an utterance has the same audio as the utterance itself: its words are kept, and the final costs nothing.

An utterance that cannot be decoded is told as one without words, for whoever is asked for it again fails again, and the
call with it. Only when known audio fails too is it the model that is down, and the utterance still owed.
"""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import structlog
import trio

from engine.codec.telephony import RATE_HZ, SILENCE
from engine.messages.errors import ProviderDown
from engine.messages.recognition import Finalise, Recognise, Recognised
from engine.providers.contract import RecogniserAsk, Seam
from engine.providers.local.endpoint import (
    Covered,
    Draft,
    Endpointer,
    EndpointPolicy,
    Frame,
    Framer,
    Heard,
    Utterance,
    samples,
)
from engine.providers.local.words import Words, believable
from engine.providers.local.workers import Workers

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

# A second of audio. When much is sent at once, after a reconnection, other tasks run in between.
_FRAMES_AT_ONCE = 50
# What any model that works can decode: half a second of silence.
_KNOWN_AUDIO = bytes([SILENCE]) * (RATE_HZ // 2)

Decode = Callable[[bytes], Words]


class Vad(Protocol):
    """A voice activity detector for one call."""

    def voiced(self, frame: bytes) -> bool:
        """Return whether there is speech in a frame of up to 160 bytes of µ-law."""


class LocalRecogniser:
    """A recogniser whose model is in this process. Shared by all calls; they queue for its workers, first come first.

    decode: returns the words in µ-law audio of up to `policy.longest_s`, or raises `ProviderDown`; called in a worker
        thread.
    vad: makes a voice activity detector for one call.
    """

    vendor: Final = "local"

    def __init__(
        self,
        decode: Decode,
        workers: Workers,
        *,
        vad: Callable[[], Vad],
        policy: EndpointPolicy | None = None,
    ) -> None:
        self._decode = decode
        self._workers = workers
        self._policy = policy or EndpointPolicy()
        self._vad = vad

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve one call until cancelled; what was heard and not yet told is lost then.

        Raises `ProviderDown` when neither an utterance nor known audio can be decoded.
        """
        seam.opened()
        session = _Session(seam, self._decode, self._workers, self._vad(), Endpointer(self._policy))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.decode)
            await session.listen()


class _Session:
    """One call's ear."""

    def __init__(
        self,
        seam: Seam[RecogniserAsk, Recognised],
        decode: Decode,
        workers: Workers,
        vad: Vad,
        endpointer: Endpointer,
    ) -> None:
        self._seam = seam
        self._decode = decode
        self._workers = workers
        self._vad = vad
        self._framer = Framer()
        self._endpointer = endpointer
        # What the decoder still owes, in order; the first may be in hand.
        self._owed: deque[Utterance | Covered] = deque()
        self._draft: Draft | None = None
        self._wanted = trio.Event()
        # Invariant: no event says an earlier moment than the one before.
        self._covered_s = 0.0

    async def listen(self) -> None:
        """Take what is asked, for ever."""
        while True:
            match await self._seam.ask():
                case Recognise(start_s=start_s, audio=audio):
                    if self._framer.at is None:
                        self._covered_s = start_s
                    self._framer, frames = self._framer.add(samples(start_s), audio)
                    await self._hear(frames)
                case Finalise():
                    self._framer, frames = self._framer.finish()
                    await self._hear(frames)
                    self._endpointer, events = self._endpointer.finish()
                    await self._sort(events)

    async def decode(self) -> None:
        """Turn utterances and drafts into words, for ever."""
        known: tuple[bytes, Words] | None = None
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            while self._owed or self._draft is not None:
                if not self._owed:
                    draft, self._draft = self._draft, None
                    if draft is not None and self._workers.is_free:
                        try:
                            words = await self._workers.run(partial(self._decode, draft.audio))
                        except ProviderDown:
                            continue  # its utterance is tried by itself
                        known = (draft.audio, words)
                        await self._tell_draft(draft, words)
                    continue
                owed = self._owed[0]
                if isinstance(owed, Utterance):
                    await self._tell(owed, await self._words(owed, known))
                else:
                    await self._tell_covered(owed.covered_s)
                self._owed.popleft()

    async def _hear(self, frames: list[tuple[int, bytes]]) -> None:
        for count, (at, audio) in enumerate(frames, start=1):
            frame = Frame(at, audio, self._vad.voiced(audio))
            self._endpointer, events = self._endpointer.hear(frame)
            await self._sort(events)
            if count % _FRAMES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    async def _sort(self, events: list[Heard]) -> None:
        for event in events:
            match event:
                case Draft():
                    self._draft = event if self._is_speech(event) else None
                case Utterance():
                    # A draft of it, or of what came before, says nothing any more.
                    self._owed.append(event)
                    self._draft = None
                case Covered() if self._owed:
                    # It must not overtake an utterance. Meanwhile an empty draft is a sign of life.
                    if isinstance(self._owed[-1], Covered) and len(self._owed) > 1:
                        self._owed.pop()
                    self._owed.append(event)
                    await self._tell_alive()
                case Covered(covered_s=covered_s):
                    await self._tell_covered(covered_s)
        if self._owed or self._draft is not None:
            self._wanted.set()

    def _is_speech(self, heard: Utterance | Draft) -> bool:
        return heard.voiced_s >= self._endpointer.policy.least_voiced_s

    async def _words(self, utterance: Utterance, known: tuple[bytes, Words] | None) -> str:
        if not self._is_speech(utterance):
            return ""
        if known is not None and known[0] == utterance.audio:
            words = known[1]
        else:
            try:
                words = await self._workers.run(partial(self._decode, utterance.audio))
            except ProviderDown as error:
                await self._workers.run(partial(self._decode, _KNOWN_AUDIO))
                _log.warning(
                    "recogniser lost an utterance",
                    error=str(error),
                    audio_bytes=len(utterance.audio),
                    start_s=round(utterance.start_s, 2),
                    end_s=round(utterance.end_s, 2),
                )
                return ""
        if not believable(words):
            _log.debug("recogniser heard noise", text=words.text, confidence=round(words.confidence, 2))
            return ""
        return words.text

    async def _tell_covered(self, covered_s: float) -> None:
        await self._emit(
            Recognised(
                text="", start_s=covered_s, end_s=covered_s, is_final=True, speech_final=False, covered_s=covered_s
            )
        )

    async def _tell_alive(self) -> None:
        await self._emit(
            Recognised(
                text="",
                start_s=self._covered_s,
                end_s=self._covered_s,
                is_final=False,
                speech_final=False,
                covered_s=self._covered_s,
            )
        )

    async def _tell_draft(self, draft: Draft, words: Words) -> None:
        if self._owed or not believable(words):
            return
        await self._emit(
            Recognised(
                text=words.text,
                start_s=draft.start_s,
                end_s=draft.end_s,
                is_final=False,
                speech_final=False,
                covered_s=self._covered_s,
            )
        )

    async def _tell(self, utterance: Utterance, text: str) -> None:
        await self._emit(
            Recognised(
                text=text,
                start_s=utterance.start_s,
                end_s=utterance.end_s,
                is_final=True,
                speech_final=utterance.whole,
                covered_s=utterance.covered_s,
            )
        )

    async def _emit(self, event: Recognised) -> None:
        self._covered_s = event.covered_s
        await self._seam.emit(event)
