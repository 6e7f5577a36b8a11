"""FluxRecogniser: speech to text at Deepgram by Flux, which says itself when a turn is over.

Theory of operation. A session has three tasks. One *feeds*: it takes what is asked and sends it in messages of 80 ms,
the vendor's own measure. One *listens*, and tells what was heard. One *watches*, and ends the listening when audio
goes out and nothing comes back. Whatever ends it, what is sure of an open turn is told before the error is raised.

The vendor's clock is the audio: while none comes, no turn ever ends. Where a call's audio has a gap, the stream is sent
silence, and its times there are the moment of the gap. It has no KeepAlive and no Finalize, and dies of either. So the
last words of a call are asked for by CloseStream: the vendor works off what it has, says so and closes. Whether it ends
the turn then is not documented; if it does not, the turn is final as it stood.
"""

from contextlib import AbstractAsyncContextManager, suppress
from typing import Final
from urllib.parse import quote, urlencode

import attrs
import structlog
import trio

from engine.codec.telephony import RATE_HZ
from engine.messages.errors import (
    ConfigError,
    ProviderDown,
    ProviderError,
    ProviderRefused,
    ProviderSlow,
    WireError,
)
from engine.messages.recognition import Finalise, Recognise, Recognised
from engine.providers.contract import RecogniserAsk, Seam
from engine.providers.deepgram import flux_wire
from engine.providers.deepgram.closing import AGREED, GOODBYE_S, close, explained
from engine.providers.deepgram.fields import Complaint
from engine.providers.deepgram.flux_wire import Connected, Failure, Message, TurnInfo
from engine.providers.deepgram.turns import Turns
from engine.providers.deepgram.vigil import Habit, Vigil
from engine.providers.socket import Dial, SocketClosed, SocketPolicy, VendorSocket, dial_tcp, open_socket

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

_POLICY: Final = SocketPolicy()

# Audio in a message: what the vendor recommends, and works in.
_CHUNK_S: Final = 0.08
_CHUNK_BYTES: Final = int(_CHUNK_S * RATE_HZ)
_SILENCE: Final = b"\xff" * _CHUNK_BYTES
# A gap in the call's audio after which silence is sent: longer than a network holds up frames that still come.
_GAP_S: Final = 0.5
# From the open socket to Connected.
_CONNECTED_S: Final = 10.0
# A TurnInfo comes with every quarter of a second of audio, whatever is in it.
_STALL_S: Final = 2.5
_STALL_AUDIO_S: Final = 2.0
# For the last words of a call: less than the STT waits for them.
_LAST_WORDS_S: Final = 0.8
# What a dying session tells is void unless it is read before; a loop that is not held up reads it at once.
_READ_S: Final = 0.02
# Of the vendor's complaints about us, in one session.
_MOST_LOGGED: Final = 5

# Errors that the same stream would meet again.
_REFUSALS: Final = frozenset({"INVALID_AUTH", "INSUFFICIENT_PERMISSIONS", "ASR_PAYMENT_REQUIRED"})

_FAMILY: Final = "flux-"
_MULTILINGUAL: Final = "flux-general-multi"


def is_flux(model: str) -> bool:
    """Whether a model of Deepgram's is heard by `FluxRecogniser`, and not by `DeepgramRecogniser`."""
    return model.startswith(_FAMILY)


@attrs.frozen(kw_only=True)
class FluxRecogniser:
    """A recogniser at Deepgram, over `/v2/listen`. Shared by all calls of a process; each session has its own stream.

    base_url: scheme, host and port. model: "flux-general-en" or "flux-general-multi".
    language: the callers', "en-US": hinted to the model of many languages, and English for the other.
    eot_threshold: how sure the vendor is of a turn's end when it says so, 0.5 to 1.0; at 1.0 silence alone ends it.
    eager_eot_threshold: how sure when it expects it, 0.3 up to `eot_threshold`, 0.9 at most; None: it never says.
    eot_timeout_ms: silence that ends a turn whatever was said, 500 to 60000. 3000: `TurnPolicy.longest_s`.
    keyterms: words to listen for. dial: opens the stream.
    """

    base_url: str
    api_key: str = attrs.field(repr=False)
    model: str = "flux-general-en"
    language: str = "en-US"
    eot_threshold: float = 0.7
    eager_eot_threshold: float | None = 0.5
    eot_timeout_ms: int = 3000
    keyterms: tuple[str, ...] = ()
    dial: Dial = dial_tcp
    _habit: Habit = attrs.field(init=False, repr=False, eq=False, factory=Habit)

    def __attrs_post_init__(self) -> None:
        if not is_flux(self.model):
            raise ConfigError(f"model is {self.model!r}; one that begins with {_FAMILY!r} allowed")
        if self.model != _MULTILINGUAL and self._language != "en":
            raise ConfigError(f"language is {self.language!r}; {self.model} knows English, {_MULTILINGUAL} others")
        _within("eot_threshold", self.eot_threshold, 0.5, 1.0)
        if self.eager_eot_threshold is not None:
            _within("eager_eot_threshold", self.eager_eot_threshold, 0.3, min(0.9, self.eot_threshold))
        _within("eot_timeout_ms", self.eot_timeout_ms, 500, 60_000)

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return "deepgram"

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve one call until cancelled; what was sent and not yet told is lost then.

        Raises `ProviderError`, never in a group: `ProviderSlow` also where audio goes out and no TurnInfo comes back.
        """
        async with self._socket() as socket:
            stream = _Stream(socket)
            connected = await stream.connected()
            _log.info("deepgram opened", request_id=connected.request_id, model=self.model)
            seam.opened(aligned=True)
            for why in stream.early:
                seam.refused(why)
            await _Session(seam, stream, self._habit).run()

    async def check(self) -> None:
        """Open a stream as a call does, and close it: it costs nothing. Raises `ProviderError`."""
        async with self._socket() as socket:
            await _Stream(socket).connected()
            await close(socket, flux_wire.CLOSE_STREAM)

    @property
    def _language(self) -> str:
        """The language without the country: the vendor knows none."""
        return self.language.partition("-")[0].lower()

    def _socket(self) -> AbstractAsyncContextManager[VendorSocket]:
        query: dict[str, object] = {
            "model": self.model,
            "encoding": "mulaw",
            "sample_rate": RATE_HZ,
            "eot_threshold": f"{self.eot_threshold:g}",
            "eot_timeout_ms": self.eot_timeout_ms,
            "keyterm": self.keyterms,
        }
        if self.eager_eot_threshold is not None:
            query["eager_eot_threshold"] = f"{self.eager_eot_threshold:g}"
        if self.model == _MULTILINGUAL:
            query["language_hint"] = self._language
        return open_socket(
            vendor=self.vendor,
            base_url=self.base_url,
            target=f"/v2/listen?{urlencode(query, doseq=True, quote_via=quote)}",
            headers={"Authorization": f"Token {self.api_key}"},
            dial=self.dial,
            policy=_POLICY,
        )


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} is {value:g}; {least:g} to {most:g} allowed")


@attrs.define(eq=False)
class _Stream:
    """A socket whose messages are numbered.

    flaws: what is wrong with the message that was read last. early: with each of those before Connected.
    """

    socket: VendorSocket
    flaws: list[str] = attrs.field(factory=list)
    early: list[str] = attrs.field(factory=list)
    # The number of the next message; None: any.
    _next: int | None = None

    async def connected(self) -> Connected:
        """Wait until the vendor is ready. Raises `ProviderError`."""
        with trio.move_on_after(_CONNECTED_S):
            while True:
                message = await self.receive()
                if isinstance(message, Connected):
                    return message
                if isinstance(message, Failure):
                    raise _failed(message)
                if isinstance(message, TurnInfo):
                    self.flaws.append("message 'TurnInfo' came before 'Connected'")
                if self.flaws:
                    self.early.append(self.flaw)
        raise ProviderSlow(f"deepgram was not ready {_CONNECTED_S:g} s after it opened the connection")

    @property
    def flaw(self) -> str:
        """All that is wrong with the message that was read last, in one text: a message is counted once."""
        return "; ".join(self.flaws)

    async def receive(self) -> Message | None:
        """Return the next message; None for one that means nothing to us, or nothing at all: `flaws` says why then.

        Nothing is lost when cancelled. Raises `ProviderError` when the connection has ended.
        """
        try:
            text = await self.socket.receive()
        except SocketClosed as closed:
            raise explained(closed) from None
        self.flaws.clear()
        try:
            numbered = flux_wire.read(text, longest=_POLICY.longest_message_bytes)
        except WireError as error:
            self.flaws.append(str(error))
            self._next = None  # whether it had a number, nobody knows
            return None
        if numbered.sequence is not None and self._next not in {None, numbered.sequence}:
            self.flaws.append(f"message has number {numbered.sequence}; {self._next} allowed")
        self._next = None if numbered.sequence is None else numbered.sequence + 1
        if isinstance(numbered.message, TurnInfo) and numbered.message.flaw:
            self.flaws.append(numbered.message.flaw)
        return numbered.message


class _Session:
    """One call's ear."""

    def __init__(self, seam: Seam[RecogniserAsk, Recognised], stream: _Stream, habit: Habit) -> None:
        self._seam = seam
        self._stream = stream
        self._turns = Turns()
        self._vigil = Vigil(habit=habit, stall_s=_STALL_S, stall_audio_s=_STALL_AUDIO_S)
        # Invariant: less than a message of audio, while an ask is awaited.
        self._unsent = bytearray()
        # When silence is to be sent, if no audio comes before.
        self._gap_at = trio.current_time() + _GAP_S
        # False while the actor is busy with what it was told: what the vendor says then is heard later.
        self._listening = True
        # Until when the vendor is listened to, by whoever waits for its next message; why that is over, if it is.
        self._waiting = trio.CancelScope()
        self._failure: ProviderError | None = None
        # Whether the last words were asked for.
        self._finishing = False
        self._complaints = 0

    async def run(self) -> None:
        """Serve until cancelled. Raises `ProviderError`, and tells the vendor that no more comes."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed)
                nursery.start_soon(self._watch)
                ended = await self._listen()
                nursery.cancel_scope.cancel()
            if self._finishing:
                whole = isinstance(ended, SocketClosed) and ended.close_code in AGREED
                await self._seam.emit(self._turns.last(whole=whole))
                await self._finished()
            elif (settled := self._turns.settled()) is not None:
                await self._seam.emit(settled)
                await trio.sleep(_READ_S)
        finally:
            if not self._finishing:
                with trio.move_on_after(GOODBYE_S, shield=True), suppress(ProviderError):
                    await self._stream.socket.send(flux_wire.CLOSE_STREAM)
        raise ended

    # What goes out.

    async def _feed(self) -> None:
        """Take what is asked, until the last words are asked for or the connection ends: `_listen` tells of that."""
        with suppress(ProviderDown):
            while True:
                match await self._asked():
                    case Recognise(start_s=start_s, audio=audio) if audio:
                        self._turns.take(start_s, len(audio))
                        self._unsent += audio
                        self._gap_at = trio.current_time() + _GAP_S
                        await self._send_audio(_CHUNK_BYTES)
                    case Finalise():
                        await self._send_audio(1)
                        self._finishing = True
                        self._waiting.deadline = trio.current_time() + _LAST_WORDS_S
                        await self._stream.socket.send(flux_wire.CLOSE_STREAM)
                        return
                    case None if self._unsent:
                        await self._send_audio(1)
                    case None:
                        self._gap_at = max(self._gap_at + _CHUNK_S, trio.current_time())
                        self._turns.timeline.fill(_CHUNK_BYTES)
                        await self._send(_SILENCE)

    async def _asked(self) -> RecogniserAsk | None:
        """Return what is asked next; None when audio waits to be sent, or silence, and no more audio came."""
        if not self._turns.timeline.begun:
            return await self._seam.ask()
        with trio.move_on_at(trio.current_time() + _CHUNK_S if self._unsent else self._gap_at):
            return await self._seam.ask()
        return None

    async def _send_audio(self, least_bytes: int) -> None:
        """Send audio as long as there are `least_bytes` of it."""
        while len(self._unsent) >= least_bytes:
            audio = bytes(self._unsent[:_CHUNK_BYTES])
            del self._unsent[:_CHUNK_BYTES]
            await self._send(audio)

    async def _send(self, audio: bytes) -> None:
        self._turns.timeline.sent(len(audio))
        self._vigil.sent(audio)
        await self._stream.socket.send(audio)

    async def _finished(self) -> None:
        """Wait for the end of the call. Raises `ProviderDown` for audio: the stream that could hear it is closed."""
        while not isinstance(await self._seam.ask(), Recognise):
            pass
        raise ProviderDown("deepgram was asked to hear more after the call's last words")

    # What comes.

    async def _listen(self) -> ProviderError:
        """Take what the vendor says, until the connection ends or is waited for no longer. Return what ended it."""
        while self._failure is None:
            message: Message | None = None
            try:
                with self._waiting:
                    message = await self._stream.receive()
            except ProviderError as error:
                return error
            if self._waiting.cancelled_caught:
                break
            self._waiting = trio.CancelScope(deadline=self._waiting.deadline)
            if isinstance(message, Failure):
                return _failed(message)
            await self._tell(message)
        return self._failure or ProviderSlow(f"deepgram had no last words within {_LAST_WORDS_S:g} s")

    async def _tell(self, message: Message | None) -> None:
        """Tell what a message is to the call, if anything."""
        told: list[Recognised] = []
        match message:
            case TurnInfo():
                try:
                    told = self._turns.heard(message)
                except WireError as error:
                    self._stream.flaws.append(str(error))
                else:
                    self._vigil.answered(with_words=bool(message.text))
            case Complaint(text=text):
                self._complaints += 1
                if self._complaints <= _MOST_LOGGED:
                    _log.warning("deepgram complained", text=text)
        if self._stream.flaws:
            self._seam.refused(self._stream.flaw)
        self._listening = False
        for each in told:
            await self._seam.emit(each)
        self._listening = True
        if told:
            self._vigil.excuse()

    async def _watch(self) -> None:
        """End the listening when audio goes out and no TurnInfo comes back."""
        while self._failure is None:
            due = self._vigil.due()
            await trio.sleep_until(due)
            if self._vigil.woke(due, listening=self._listening) and not self._finishing:
                self._failure = ProviderSlow(f"deepgram told of no turn for {_STALL_S:g} s of audio")
                self._waiting.cancel()


def _failed(failure: Failure) -> ProviderError:
    """Return what the vendor's own last words come to."""
    family = ProviderRefused if failure.code in _REFUSALS else ProviderDown
    return family(f"deepgram gave up: {failure.text}", code=failure.code)
