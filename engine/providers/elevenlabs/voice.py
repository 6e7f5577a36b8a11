"""ElevenLabsVoice: text to speech at ElevenLabs, over one WebSocket a call."""

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final
from urllib.parse import quote, urlencode

import attrs
import structlog
import trio
from elevenlabs.types import RealtimeVoiceSettings

from engine.messages.errors import ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError
from engine.messages.supervision import NEVER
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent
from engine.providers.elevenlabs import wire
from engine.providers.elevenlabs.contexts import Contexts, Effect, Patience
from engine.providers.socket import Dial, SocketClosed, SocketPolicy, VendorSocket, dial_tcp, open_socket

_log: Final[structlog.stdlib.BoundLogger] = structlog.get_logger(__name__)

# Refused messages that are logged, of a check or a clip. A call's seam counts, and logs, its own.
_MOST_LOGGED: Final = 5
# A clock that woke this much late was itself held up. What came meanwhile is heard before anyone is judged.
_LATE_S: Final = 0.5
# Of one clip, from the first byte of the handshake to the last of the audio. Clips are a sentence or two.
_RENDER_S: Final = 10.0
# The vendor is given this long to close a socket that it was asked to; so it says in its documents.
_CLOSE_S: Final = 2.0
# A quarter of what is left before the vendor ends what is idle.
_KEEP_ALIVE_SHARE: Final = 0.75
_POLICY: Final = SocketPolicy(longest_message_bytes=wire.LONGEST_MESSAGE)
_REASON_CHARS: Final = 200
# The vendor's own names for what goes wrong are shorter.
_CODE_CHARS: Final = 60
# A shorter key is none, and would be found in every second word.
_SECRET_CHARS: Final = 8
_NORMAL: Final = 1000


@attrs.frozen(kw_only=True)
class ElevenLabsVoice:
    """A voice at ElevenLabs, over its multi-context WebSocket and nothing else. Shared by all calls of a process.

    base_url: scheme, host and port. voice_id, model, language: as the vendor names them; None leaves it to the text.
    stability, similarity (0 to 1): None leaves them to the voice's own settings.
    speed: 0.7 to 1.2, set in a context's first message; 1 leaves the pace to the voice's own settings.
    inactivity_s: after which the vendor ends what is idle. 180: the longest that it allows.
    dial: opens the stream.
    """

    base_url: str
    api_key: str = attrs.field(repr=False)
    voice_id: str
    model: str = "eleven_flash_v2_5"
    language: str | None = None
    stability: float | None = None
    similarity: float | None = None
    speed: float = 1.0
    inactivity_s: int = 180
    dial: Dial = dial_tcp
    patience: Patience = attrs.field(
        default=attrs.Factory(
            lambda self: Patience(keep_alive_s=self.inactivity_s * _KEEP_ALIVE_SHARE), takes_self=True
        )
    )

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return "elevenlabs"

    @property
    def voice(self) -> str:
        """The voice's id, with the model and the pace that it speaks at: a clip of another is another clip."""
        pace = "" if self.speed == 1 else f" at speed {self.speed:g}"
        return f"{self.voice_id} of {self.model}{pace}"

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve one call until cancelled. Raises `ProviderError`, never in a group."""
        async with self._socket() as socket:
            seam.opened(aligned=True)
            contexts = Contexts(self._settings, self.patience, trio.current_time())
            await _Session(self, seam, socket, contexts).run()

    async def render(self, text: str) -> bytes:
        """Return `text` spoken: µ-law, 8 kHz mono. Raises `ProviderError`. Several may run at once, a socket each."""
        if not any(map(str.isalnum, text)):
            return b""
        with trio.move_on_after(_RENDER_S):
            async with self._socket() as socket:
                return await self._rendered(socket, text)
        raise ProviderSlow(f"elevenlabs did not speak {len(text)} characters within {_RENDER_S:g} s")

    async def check(self) -> None:
        """Open the socket as a call does, begin a reply and say nothing in it: it costs no characters.

        Raises `ProviderError`. A quota that is used up may show only when something is spoken.
        """
        ear = _Ear(self, _Log().refuse)
        async with self._socket() as socket:
            await _sent(socket, wire.opening("check", self._settings), wire.closing("check"), wire.closing_socket())
            with trio.move_on_after(_CLOSE_S):
                try:
                    while True:
                        await ear.hear(socket)
                except SocketClosed as closed:
                    if closed.close_code != _NORMAL:
                        raise

    async def _rendered(self, socket: VendorSocket, text: str) -> bytes:
        ear = _Ear(self, _Log().refuse)
        audio: list[bytes] = []
        await _sent(socket, wire.opening("clip", self._settings), wire.speaking("clip", text), wire.closing("clip"))
        while True:
            sound = await ear.hear(socket)
            if sound.context != "clip":
                ear.refuse(f"field 'contextId' is {sound.context[:60]!r}; 'clip' allowed")
                continue
            audio.append(sound.audio)
            if sound.final:
                break
        if not any(audio):
            raise ProviderDown("elevenlabs ended without speaking")
        await _sent(socket, wire.closing_socket())
        return b"".join(audio)

    def _socket(self) -> AbstractAsyncContextManager[VendorSocket]:
        query = {
            "model_id": self.model,
            "output_format": "ulaw_8000",
            "auto_mode": "true",
            "sync_alignment": "true",
            "inactivity_timeout": str(self.inactivity_s),
        }
        if self.language is not None:
            query["language_code"] = self.language
        return open_socket(
            vendor=self.vendor,
            base_url=self.base_url,
            target=f"/v1/text-to-speech/{quote(self.voice_id, safe='')}/multi-stream-input?{urlencode(query)}",
            headers={"xi-api-key": self.api_key},
            dial=self.dial,
            policy=_POLICY,
        )

    @property
    def _settings(self) -> wire.Settings:
        speed = None if self.speed == 1 else self.speed
        named = {"stability": self.stability, "similarity_boost": self.similarity, "speed": speed}
        given = {name: value for name, value in named.items() if value is not None}
        return RealtimeVoiceSettings.model_validate(given) if given else None


async def _sent(socket: VendorSocket, *messages: str) -> None:
    """Send, until the socket takes no more: why, is told where it is heard, with what the vendor said before."""
    with suppress(ProviderError):
        for message in messages:
            await socket.send(message)


class _Ear:
    """What comes from the vendor, without what makes no sense. `refuse`: told why of each of those."""

    def __init__(self, voice: ElevenLabsVoice, refuse: Callable[[str], None]) -> None:
        self._api_key = voice.api_key
        self.refuse = refuse

    async def hear(self, socket: VendorSocket) -> wire.Sound:
        """Return the next message that makes sense. Raises `ProviderError` for the vendor's own, and for the end."""
        while True:
            try:
                message = wire.read(await socket.receive())
            except WireError as error:
                self.refuse(str(error))
            except SocketClosed as closed:
                if wire.Failure(error="", message=closed.reason).lasts:
                    raise ProviderRefused(str(closed), code=closed.code) from None
                raise
            else:
                if isinstance(message, wire.Failure):
                    raise self._failed(message)
                if message.flaw:
                    self.refuse(message.flaw)
                return message

    def _failed(self, failure: wire.Failure) -> ProviderError:
        text = f"elevenlabs failed with '{failure.error or 'no name'}': {failure.message or 'no message'}"
        if len(self._api_key) >= _SECRET_CHARS:
            text = text.replace(self._api_key, "***")
        text = " ".join(text.split())[:_REASON_CHARS]
        return (ProviderRefused if failure.lasts else ProviderDown)(text, code=failure.error[:_CODE_CHARS])


class _Log:
    """Where messages are refused when there is no call: each is a line, up to a few."""

    def __init__(self) -> None:
        self._lines = 0

    def refuse(self, why: str) -> None:
        self._lines += 1
        if self._lines <= _MOST_LOGGED:
            _log.warning("elevenlabs message refused", error=why)


class _Session:
    """One call's socket: four tasks around `Contexts`, which takes each step at once."""

    def __init__(
        self, voice: ElevenLabsVoice, seam: Seam[VoiceAsk, VoiceEvent], socket: VendorSocket, contexts: Contexts
    ) -> None:
        self._seam = seam
        self._socket = socket
        self._contexts = contexts
        self._ear = _Ear(voice, seam.refused)
        self._unsent = deque[str]()
        self._untold = deque[VoiceEvent | ProviderError]()
        self._failure: ProviderError | None = None
        # Set when there is something new for `_speak` and for `_tell`, and when all was told.
        self._wanted = trio.Event()
        self._news = trio.Event()
        self._told = trio.Event()
        # The contexts' clock stands still while the vendor is not listened to: nobody is judged for that time.
        self._deaf_s = 0.0
        self._deaf_since: float | None = None

    async def run(self) -> None:
        """Serve until cancelled. Raises the first `ProviderError`."""
        async with trio.open_nursery() as nursery:
            for work in (self._listen, self._hear, self._tell, self._speak):
                nursery.start_soon(self._until_failure, work, nursery.cancel_scope)
        assert self._failure is not None, "a session ends by failing"
        raise self._failure

    async def _until_failure(self, work: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        try:
            await work()
        except ProviderError as error:
            self._failure = self._failure or error
            scope.cancel()

    async def _listen(self) -> None:
        """Take what is asked, for ever."""
        while True:
            ask = await self._seam.ask()
            self._do(self._contexts.asked(ask, self._now()))

    async def _hear(self) -> None:
        """Take what the vendor says, no faster than the actor takes it; so what came before the end is told first."""
        while True:
            sound = await self._ear.hear(self._socket)
            try:
                self._do(self._contexts.heard(sound, self._now()))
            except WireError as error:
                self._seam.refused(str(error))
            self._deaf_since = trio.current_time()
            while self._untold:
                await self._told.wait()
            self._deaf_s += trio.current_time() - self._deaf_since
            self._deaf_since = None
            self._wanted.set()

    async def _tell(self) -> None:
        """Tell the actor what there is, for ever."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            while self._untold:
                event = self._untold[0]
                if isinstance(event, ProviderError):
                    raise event
                await self._seam.emit(event)
                self._untold.popleft()
            self._told.set()
            self._told = trio.Event()

    async def _speak(self) -> None:
        """Send what there is, and see what the silence means, until the socket takes no more: `_hear` tells why."""
        while True:
            due_at = NEVER if self._deaf_since is not None else self._contexts.deadline + self._deaf_s
            with trio.move_on_at(due_at):
                await self._wanted.wait()
            self._wanted = trio.Event()
            self._wait(due_at)
            try:
                while self._unsent:
                    await self._socket.send(self._unsent[0])
                    self._unsent.popleft()
            except ProviderError:
                return

    def _wait(self, due_at: float) -> None:
        late_s = trio.current_time() - due_at
        if late_s > _LATE_S:
            self._deaf_s += late_s + _LATE_S
        elif late_s >= 0:
            self._do(self._contexts.waited(self._now()))

    def _now(self) -> float:
        now = trio.current_time() if self._deaf_since is None else self._deaf_since
        return now - self._deaf_s

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, str):
                self._unsent.append(effect)
            else:
                self._untold.append(effect)
        if self._untold:
            self._news.set()
        self._wanted.set()
