"""DeepgramRecogniser: speech to text at Deepgram, over one WebSocket a call.

Theory of operation. A session has three tasks. One *feeds*: it takes what is asked, joins the audio to messages of
`chunk_ms`, and sends a shorter one only where the audio pauses. Audio that waited for a connection goes out at once:
Deepgram hears it at 1.25 times its speed, whatever came beyond waits there, and waiting here would only add. One
*listens*, and tells what was heard. One *watches*: it sends KeepAlive where no audio goes out, and raises when audio
goes out and nothing comes back. Only the listener tells of a connection's end, after what the vendor said before it.

A stream that was never sent audio is closed by Deepgram after some ten seconds, KeepAlive or not; nothing helps but
another. Its `speech_final` is passed on as it comes, also without words: they may have come over another connection.
"""

from contextlib import AbstractAsyncContextManager, suppress
from typing import Final
from urllib.parse import quote, urlencode

import attrs
import structlog
import trio

from engine.codec.telephony import RATE_HZ
from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderSlow, WireError
from engine.messages.recognition import Finalise, Recognise, Recognised
from engine.providers.contract import RecogniserAsk, Seam
from engine.providers.deepgram import wire
from engine.providers.deepgram.closing import GOODBYE_S, close, explained
from engine.providers.deepgram.fields import Complaint
from engine.providers.deepgram.hearing import Hearing
from engine.providers.deepgram.vigil import Habit, Vigil, is_spoken
from engine.providers.socket import Dial, SocketClosed, SocketPolicy, VendorSocket, dial_tcp, open_socket

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

_POLICY: Final = SocketPolicy()

# What the vendor takes well: fewer messages cost less, longer ones come late.
_SHORTEST_CHUNK_MS: Final = 40
_LONGEST_CHUNK_MS: Final = 100
# Without audio for this long, the vendor is told that we are there: every 3 to 5 s, says its documentation.
_KEEP_ALIVE_S: Final = 4.0
# Results come with every second of audio, as a rule also of silence. Without any after this long and this much, none
# will.
_STALL_S: Final = 3.0
_STALL_AUDIO_S: Final = 2.0
# Of the vendor's complaints about us, in one session.
_MOST_LOGGED: Final = 5


@attrs.frozen(kw_only=True)
class DeepgramRecogniser:
    """A recogniser at Deepgram, over `/v1/listen`. Shared by all calls of a process; each session has its own stream.

    base_url: scheme, host and port. model, language: as the vendor names them.
    endpointing_ms: silence after which words are final. 240: four messages; the vendor's 10 cuts at every breath.
    utterance_end_ms: the same by the words' times, for noisy lines; 1000 at least, below it brings nothing.
    keyterms: words to listen for, of nova-3 only.
    chunk_ms: audio in a message, 40 to 100. dial: opens the stream.
    """

    base_url: str
    api_key: str = attrs.field(repr=False)
    model: str = "nova-3"
    language: str = "en-US"
    endpointing_ms: int = 240
    utterance_end_ms: int = 1000
    keyterms: tuple[str, ...] = ()
    chunk_ms: int = 60
    dial: Dial = dial_tcp
    _habit: Habit = attrs.field(init=False, repr=False, eq=False, factory=Habit)

    def __attrs_post_init__(self) -> None:
        if not _SHORTEST_CHUNK_MS <= self.chunk_ms <= _LONGEST_CHUNK_MS:
            raise ConfigError(f"chunk_ms is {self.chunk_ms}; {_SHORTEST_CHUNK_MS} to {_LONGEST_CHUNK_MS} allowed")

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return "deepgram"

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve one call until cancelled; what was sent and not yet told is lost then.

        Raises `ProviderError`, never in a group: `ProviderSlow` also where audio goes out and no Results come back.
        """
        async with self._socket() as socket:
            _log.info("deepgram opened", request_id=socket.headers.get("dg-request-id"), model=self.model)
            seam.opened(aligned=True)
            await _Session(seam, socket, self.chunk_ms * RATE_HZ // 1000, self._habit).run()

    async def check(self) -> None:
        """Open a stream as a call does, and close it: it costs nothing. Raises `ProviderError`."""
        async with self._socket() as socket:
            await close(socket, wire.CLOSE_STREAM)

    def _socket(self) -> AbstractAsyncContextManager[VendorSocket]:
        query = {
            "model": self.model,
            "language": self.language,
            "encoding": "mulaw",
            "sample_rate": RATE_HZ,
            "channels": 1,
            "interim_results": "true",
            "endpointing": self.endpointing_ms,
            "utterance_end_ms": self.utterance_end_ms,
            "smart_format": "true",
            "punctuate": "true",
            "keyterm": self.keyterms,
        }
        return open_socket(
            vendor=self.vendor,
            base_url=self.base_url,
            target=f"/v1/listen?{urlencode(query, doseq=True, quote_via=quote)}",
            headers={"Authorization": f"Token {self.api_key}"},
            dial=self.dial,
            policy=_POLICY,
        )


class _Session:
    """One call's ear."""

    def __init__(
        self, seam: Seam[RecogniserAsk, Recognised], socket: VendorSocket, chunk_bytes: int, habit: Habit
    ) -> None:
        self._seam = seam
        self._socket = socket
        self._chunk_bytes = chunk_bytes
        self._vigil = Vigil(habit=habit, stall_s=_STALL_S, stall_audio_s=_STALL_AUDIO_S)
        self._hearing = Hearing()
        # Invariant: less than a message of audio, while an ask is awaited.
        self._unsent = bytearray()
        # How long the message in hand becomes; whether the audio that was last taken was spoken.
        self._size_bytes = chunk_bytes
        self._spoken = False
        # When something was last sent.
        self._spoke_at = trio.current_time()
        # False while the actor is busy with what it was told: what the vendor says then is heard later.
        self._listening = True
        self._complaints = 0

    async def run(self) -> None:
        """Serve until cancelled. Raises `ProviderError`, and tells the vendor that no more comes."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed)
                nursery.start_soon(self._watch)
                await self._listen()
        finally:
            with trio.move_on_after(GOODBYE_S, shield=True), suppress(ProviderError):
                await self._socket.send(wire.CLOSE_STREAM)

    async def _feed(self) -> None:
        """Take what is asked, until the connection ends: then `_listen` tells why."""
        with suppress(ProviderDown):
            while True:
                match await self._asked():
                    case Recognise(start_s=start_s, audio=audio) if audio:
                        self._hearing.take(start_s, len(audio))
                        self._measure(audio)
                        self._unsent += audio
                        await self._send_audio(self._size_bytes)
                    case Finalise():
                        await self._send_audio(1)
                        await self._say(wire.FINALIZE)
                    case None:
                        await self._send_audio(1)

    def _measure(self, audio: bytes) -> None:
        """Have the messages of a pause end where the vendor's endpointing does, not up to a message later.

        The message in hand when a pause begins is longer by what it holds of the words before; 100 ms at most.
        """
        spoken = is_spoken(audio)
        if self._spoken and not spoken and len(self._unsent) + self._chunk_bytes <= _LONGEST_CHUNK_MS * RATE_HZ // 1000:
            self._size_bytes = len(self._unsent) + self._chunk_bytes
        self._spoken = spoken

    async def _asked(self) -> RecogniserAsk | None:
        """Return what is asked next; None when audio waits to be sent and for as long as it lasts no more comes."""
        if not self._unsent:
            return await self._seam.ask()
        with trio.move_on_after(self._chunk_bytes / RATE_HZ):
            return await self._seam.ask()
        return None

    async def _send_audio(self, least_bytes: int) -> None:
        """Send audio as long as there are `least_bytes` of it, and never an empty message: that ends the stream."""
        while len(self._unsent) >= least_bytes:
            audio = bytes(self._unsent[: self._size_bytes])
            del self._unsent[: self._size_bytes]
            self._size_bytes = self._chunk_bytes
            self._hearing.sent(len(audio))
            self._vigil.sent(audio)
            await self._say(audio)

    async def _say(self, message: str | bytes) -> None:
        self._spoke_at = trio.current_time()
        await self._socket.send(message)

    async def _listen(self) -> None:
        """Take what the vendor says, until the connection ends. Raises `ProviderError` then."""
        while True:
            try:
                message = await self._socket.receive()
            except SocketClosed as closed:
                raise explained(closed) from None
            try:
                heard = self._heard(message)
            except WireError as error:
                self._seam.refused(str(error))
                continue
            if heard is not None:
                self._listening = False
                await self._seam.emit(heard)
                self._listening = True
                self._vigil.excuse()

    def _heard(self, message: str | bytes) -> Recognised | None:
        """Return what a message is to the call, None if nothing. Raises WireError for one that makes no sense."""
        match wire.read(message, longest=_POLICY.longest_message_bytes):
            case wire.Results() as results:
                heard = self._hearing.heard(results)
                self._vigil.answered(with_words=bool(results.text))
                if results.flaw:
                    self._seam.refused(results.flaw)
                return heard
            case wire.UtteranceEnd() as end:
                ended = self._hearing.ended(end)
                if ended is None:
                    _log.debug("deepgram ended an utterance late", last_word_end_s=end.last_word_end_s)
                return ended
            case Complaint(text=text):
                self._complaints += 1
                if self._complaints <= _MOST_LOGGED:
                    _log.warning("deepgram complained", text=text)
        return None

    async def _watch(self) -> None:
        """Keep the stream alive. Raises `ProviderSlow` when audio goes out and no Results come back."""
        with suppress(ProviderDown):
            while True:
                due = min(self._vigil.due(), max(trio.current_time(), self._spoke_at + _KEEP_ALIVE_S))
                await trio.sleep_until(due)
                if self._vigil.woke(due, listening=self._listening):
                    raise ProviderSlow(f"deepgram gave no results for {_STALL_S:g} s of audio")
                if trio.current_time() >= self._spoke_at + _KEEP_ALIVE_S:
                    await self._say(wire.KEEP_ALIVE)
