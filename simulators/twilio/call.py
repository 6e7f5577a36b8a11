"""A call from dialling to hanging up: webhook, TwiML, media stream, callbacks.

Theory of operation. One nursery a call: the line's clock, the caller, and the TwiML, which is followed verb by verb.
The call ends when the TwiML is at its end (the agent hung up), when the caller hangs up, or at the time limit; in the
last two cases a stream that is up is sent ``stop`` and gets a few seconds to close before everything is cancelled.
Callbacks run in a nursery of their own around that, because they outlive the call. All waiting is on trio's clock.
"""

import enum
import ipaddress
import math
import secrets
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

import attrs
import httpx
import trio

from engine.messages.errors import ConfigError
from simulators.audio import RATE_HZ
from simulators.caller import CallerScript, PreparedCaller, Utterance, Voice, prepare
from simulators.events import (
    Answered,
    CallerGaveUp,
    CallerPressed,
    CallerSpeaks,
    Dialled,
    Event,
    HungUp,
    NetworkPlayed,
    NetworkSaid,
    Ringing,
)
from simulators.line import Hearing, Line
from simulators.timeline import Timeline
from simulators.twilio import twiml
from simulators.twilio.codes import Code, TwilioError
from simulators.twilio.record import CallRecord, Ledger
from simulators.twilio.socket import CLOSE_S, OpenSocket, Socket, open_socket
from simulators.twilio.stream import MediaStream
from simulators.twilio.webhook import UnreachableError, Webhooks
from simulators.twilio.wire import StreamIds
from simulators.wav import NotWavError, decode_ulaw

# The phone network's own voice: about what a synthetic one takes.
_SPEECH_CHARACTERS_PER_S: Final = 15
_KEY_S: Final = 0.5
# TwiML that leads to itself for ever would keep a call for ever.
_MAX_DOCUMENTS: Final = 100


class NoServerError(ConfigError):
    """Nobody answers HTTP where the call's server was said to be."""


class WhyEnded(enum.Enum):
    """Why a call ended; the value is who hung up, and how it is told."""

    CALLER_HUNG_UP = ("caller", "the caller hung up")
    TWIML_ENDED = ("agent", "the TwiML came to its end")
    REJECTED = ("agent", "the call was rejected")
    FAILED = ("network", "the server's answer could not be used")
    TIME_LIMIT = ("network", "the call reached its time limit")


@attrs.frozen(kw_only=True)
class Network:
    """What the phone network is like.

    auth_token: signs every request; None leaves them unsigned.
    call_sid: of the call that is placed; None: one that was never there before.
    allow_ws: unencrypted streams to other machines too, which Twilio refuses; to this machine they always pass.
    status_callback: a URL that is told of the call's end; it is set at the number, not in TwiML.
    dial_status, dial_s: what comes of a <Dial> (DialCallStatus), and after how long.
    longest_s: when the call is cut off.
    http, open_socket: how servers are reached; in a test, in memory.
    """

    auth_token: str | None = attrs.field(default=None, repr=False)
    account_sid: str = "AC" + "0" * 32
    call_sid: str | None = None
    allow_ws: bool = False
    status_callback: str | None = None
    dial_status: str = "completed"
    dial_s: float = 1.0
    longest_s: float = 600.0
    http: httpx.AsyncBaseTransport | None = None
    open_socket: OpenSocket = open_socket


async def place_call(  # noqa: PLR0913 - what a call is, and who is on the phone
    *,
    server_url: str,
    caller: CallerScript,
    voice: Voice,
    network: Network | None = None,
    on_event: Callable[[Event], None] | None = None,
    other: Voice | None = None,
) -> CallRecord:
    """Dial the number in ``caller`` and let it talk with the server until the call is over; return the record.

    server_url: scheme and host; ``/voice/incoming`` is asked there. What the caller says is rendered before dialling.
    on_event: is told of each event at once; it must not block. other: the voice of a second person in the room.
    Raises NoServerError if nobody answers there, ConfigError for a URL or a file of the script that is of no use.
    Cancelled: the socket is dropped without ``stop``, like by a phone network that fails; there is no record.
    """
    network = network or Network()
    url = _webhook_url(server_url)
    prepared = await prepare(caller, voice, other=other)
    # No proxy of the world outside stands between this machine and a server on it; a deadline is set a request.
    async with httpx.AsyncClient(transport=network.http, timeout=None, trust_env=False) as client:  # noqa: S113
        webhooks = Webhooks(client, auth_token=network.auth_token)
        call = _Call(caller, prepared, webhooks=webhooks, network=network, on_event=on_event)
        try:
            document = await call.dial(url)
        except UnreachableError as error:
            raise NoServerError(f"no server answers at {server_url}; is 'holdfast serve' running there?") from error
        await call.run(url, document)
        return call.record()


def _webhook_url(server_url: str) -> str:
    try:
        address = httpx.URL(server_url)
    except httpx.InvalidURL:
        address = httpx.URL()
    if address.scheme not in {"http", "https"} or not address.host or address.path != "/" or address.query:
        raise ConfigError(f"server address {server_url!r} is not of the form 'http://HOST:PORT' or 'https://HOST'")
    return f"{server_url.rstrip('/')}/voice/incoming"


@attrs.frozen(kw_only=True)
class _Next:
    """What is to be asked for after a document."""

    url: str
    method: str
    fields: Mapping[str, str] = attrs.field(factory=dict)


class _Call:
    """One call under way, from the phone network's side."""

    def __init__(
        self,
        script: CallerScript,
        prepared: PreparedCaller,
        *,
        webhooks: Webhooks,
        network: Network,
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self._script = script
        self._prepared = prepared
        self._webhooks = webhooks
        self._network = network
        self._call_sid = network.call_sid or "CA" + secrets.token_hex(16)
        self._dialled_on = datetime.now(UTC)
        self._timeline = Timeline(trio.current_time())
        self._ledger = Ledger(self._timeline, on_event=on_event)
        self._line = Line(self._timeline, noise=prepared.noise, tell=self._ledger.tell)
        self._stream: MediaStream | None = None
        self._talk = trio.CancelScope()
        self._why: WhyEnded | None = None
        self._samples = 0

    def record(self) -> CallRecord:
        """The record of the call, once it is over."""
        return CallRecord(
            call_sid=self._call_sid,
            account_sid=self._network.account_sid,
            caller_number=self._script.caller_number,
            dialled_number=self._script.dialled_number,
            dialled_on=self._dialled_on,
            events=tuple(self._ledger.events),
            caller_audio=self._line.caller.read(0, self._samples),
            agent_audio=self._line.agent.read(0, self._samples),
            refused=tuple(self._ledger.refused),
            deliveries=tuple(self._ledger.deliveries),
            documents=tuple(self._ledger.documents),
        )

    async def dial(self, url: str) -> twiml.Document | None:
        """Ask the server what to do with the call; None if its answer is of no use. Raises UnreachableError."""
        caller, dialled = self._script.caller_number, self._script.dialled_number
        self._ledger.tell(Ringing(at_s=0.0, caller_number=caller, dialled_number=dialled))
        try:
            return await self._ask(_Next(url=url, method="POST"), call_status="ringing")
        except UnreachableError:
            raise
        except TwilioError as error:
            self._ledger.notice(error.code, str(error))
            return None

    async def run(self, url: str, document: twiml.Document | None) -> None:
        """Carry the call to its end."""
        async with trio.open_nursery() as self._callbacks:
            if document is None:
                self._why = WhyEnded.FAILED
            elif document.verbs and isinstance(document.verbs[0], twiml.Reject):
                self._why = WhyEnded.REJECTED
            else:
                self._ledger.tell(Answered(at_s=self._timeline.now_s()))
                await self._talk_until_over(url, document)
            self._end()

    async def _talk_until_over(self, url: str, document: twiml.Document) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._line.run)
            nursery.start_soon(self._let_the_caller_talk)
            nursery.start_soon(self._cut_off)
            with self._talk:
                try:
                    await self._follow(url, document)
                    self._why = self._why or WhyEnded.TWIML_ENDED
                except TwilioError as error:
                    self._ledger.notice(error.code, str(error))
                    self._why = WhyEnded.FAILED
            nursery.cancel_scope.cancel()

    async def _let_the_caller_talk(self) -> None:
        await self._prepared.run(_Handset(self._line, self._timeline, self._ledger, press=self._press))
        self._hang_up(WhyEnded.CALLER_HUNG_UP)

    async def _cut_off(self) -> None:
        await trio.sleep(self._network.longest_s)
        self._hang_up(WhyEnded.TIME_LIMIT)

    def _hang_up(self, why: WhyEnded) -> None:
        """End the call from this side: a stream that is up gets its ``stop`` and a few seconds to close."""
        if self._why is not None:
            return
        self._why = why
        self._samples = self._timeline.now()
        if self._stream is None:
            self._talk.cancel()
        else:
            self._stream.stop()
            self._talk.deadline = trio.current_time() + CLOSE_S

    def _end(self) -> None:
        assert self._why is not None, "a call ends for a reason"
        by, why = self._why.value
        self._samples = self._samples or self._timeline.now()
        self._ledger.tell(HungUp(at_s=self._samples / RATE_HZ, by=by, why=why))
        if self._network.status_callback is not None:
            duration_s = math.ceil(self._samples / RATE_HZ)
            fields = {
                **self._fields("completed"),
                "CallDuration": str(duration_s),
                "Duration": str(math.ceil(duration_s / 60)),
                "Timestamp": format_datetime(self._wall_clock()),
                "CallbackSource": "call-progress-events",
                "SequenceNumber": "0",
            }
            self._callbacks.start_soon(self._call_back, self._network.status_callback, fields, "POST")

    def _press(self, digit: str) -> None:
        if self._stream is not None:
            self._stream.press(digit)

    # TwiML.

    async def _follow(self, url: str, document: twiml.Document) -> None:
        """Run a document, and those that it leads to, until one ends."""
        for _ in range(_MAX_DOCUMENTS):
            step = await self._run(url, document)
            if step is None:
                return
            url, document = step.url, await self._ask(step, call_status="in-progress")
        raise twiml.TwimlError(f"more than {_MAX_DOCUMENTS} documents in one call: they lead in a circle")

    async def _ask(self, step: _Next, *, call_status: str) -> twiml.Document:
        """Return the TwiML that the server answers with. Raises TwilioError for an answer that is none."""
        fields = {**self._fields(call_status), **step.fields}
        response = await self._webhooks.ask(step.url, fields, method=step.method)
        self._ledger.documents.append(response.text)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        match kind:
            case "text/xml" | "application/xml" | "text/html":
                document = twiml.parse(response.content)
            case "text/plain":
                document = twiml.Document(verbs=(twiml.Say(text=response.text, loop=1),), warnings=())
            case _:
                raise TwilioError(Code.WRONG_CONTENT, f"{step.url} answered with {kind!r}; text/xml is wanted")
        for warning in document.warnings:
            self._ledger.notice(Code.SCHEMA_WARNING, warning)
        return document

    async def _run(self, url: str, document: twiml.Document) -> _Next | None:
        """Run one document; return what is to be asked for next, None when the call is over."""
        for verb in document.verbs:
            match verb:
                case twiml.Say(text=text, loop=loop):
                    self._ledger.tell(NetworkSaid(at_s=self._timeline.now_s(), text=text))
                    await trio.sleep((loop or math.inf) * len(text) / _SPEECH_CHARACTERS_PER_S)
                case twiml.Play():
                    await self._play(url, verb)
                case twiml.Pause(length_s=length_s):
                    await trio.sleep(length_s)
                case twiml.Redirect(url=target, method=method):
                    return _Next(url=urljoin(url, target), method=method)
                case twiml.Dial(number=number, action=action, method=method):
                    status = self._network.dial_status
                    await trio.sleep(self._network.dial_s)
                    self._ledger.tell(Dialled(at_s=self._timeline.now_s(), number=number, status=status))
                    if action is not None:
                        fields = {"DialCallStatus": status, "DialCallDuration": str(math.ceil(self._network.dial_s))}
                        return _Next(url=urljoin(url, action), method=method, fields=fields)
                case twiml.Hangup() | twiml.Reject():
                    return None
                case twiml.Connect(stream=stream, action=action, method=method):
                    await self._connect(stream)
                    if self._why is not None:  # hung up: there is nobody to do the rest for
                        return None
                    if action is not None:
                        return _Next(url=urljoin(url, action), method=method)
        return None

    async def _play(self, url: str, verb: twiml.Play) -> None:
        self._ledger.tell(NetworkPlayed(at_s=self._timeline.now_s(), what=verb.url or verb.digits))
        if verb.digits:
            await trio.sleep(_KEY_S * len(verb.digits))
            return
        try:
            response = await self._webhooks.ask(urljoin(url, verb.url), {}, method="GET")
            audio = decode_ulaw(response.content)
        except TwilioError as error:
            self._ledger.notice(error.code, str(error))
        except NotWavError as error:
            self._ledger.notice(Code.WRONG_CONTENT, f"{verb.url}: {error}")
        else:
            times = verb.loop or math.inf
            while times > 0:
                self._line.play(max(self._timeline.now(), len(self._line.agent)), audio)
                await trio.sleep(len(audio) / RATE_HZ)
                times -= 1

    # Streams.

    async def _connect(self, stream: twiml.Stream) -> None:
        """Open a stream and serve it until it ends."""
        ids = StreamIds(
            account_sid=self._network.account_sid,
            call_sid=self._call_sid,
            stream_sid="MZ" + secrets.token_hex(16),
            parameters=stream.parameters,
        )
        async with AsyncExitStack() as stack:
            try:
                socket = await self._open(stream.url, stack)
            except TwilioError as error:
                self._ledger.notice(error.code, str(error))
                self._report(stream, ids, "stream-error", {"StreamError": str(error)})
                return
            self._report(stream, ids, "stream-started", {})
            self._stream = MediaStream(socket, ids=ids, line=self._line, timeline=self._timeline, ledger=self._ledger)
            try:
                await self._stream.run()
            finally:
                self._stream = None
                self._report(stream, ids, "stream-stopped", {})

    async def _open(self, url: str, stack: AsyncExitStack) -> Socket:
        """Return an open socket, closed by ``stack``. Raises TwilioError."""
        headers = [*self._webhooks.headers(url).items(), ("User-Agent", "Twilio.TmeWs/1.0")]
        opening = self._network.open_socket(stream_address(url, allow_ws=self._network.allow_ws), headers)
        return await stack.enter_async_context(opening)

    def _report(self, stream: twiml.Stream, ids: StreamIds, event: str, more: Mapping[str, str]) -> None:
        """Tell the stream's callback, if it has one, in the background."""
        if stream.status_callback is None:
            return
        fields = {
            "AccountSid": ids.account_sid,
            "CallSid": ids.call_sid,
            "StreamSid": ids.stream_sid,
            "StreamName": stream.name or ids.stream_sid,
            "StreamEvent": event,
            "Timestamp": self._wall_clock().isoformat(),
            **more,
        }
        self._callbacks.start_soon(self._call_back, stream.status_callback, fields, stream.status_callback_method)

    async def _call_back(self, url: str, fields: Mapping[str, str], method: str) -> None:
        try:
            await self._webhooks.ask(url, fields, method=method)
        except TwilioError as error:
            self._ledger.notice(error.code, str(error))

    def _wall_clock(self) -> datetime:
        return self._dialled_on + timedelta(seconds=self._timeline.now_s())

    def _fields(self, call_status: str) -> dict[str, str]:
        """The fields of every request about the call; places are often empty, as for a mobile phone."""
        caller, dialled = self._script.caller_number, self._script.dialled_number
        places = {
            f"{whose}{what}": "US" if what == "Country" else ""
            for whose in ("From", "To", "Caller", "Called")
            for what in ("City", "State", "Zip", "Country")
        }
        return {
            "CallSid": self._call_sid,
            "AccountSid": self._network.account_sid,
            "From": caller,
            "To": dialled,
            "Caller": caller,
            "Called": dialled,
            "CallStatus": call_status,
            "Direction": "inbound",
            "ApiVersion": "2010-04-01",
            **places,
        }


@attrs.frozen
class _Handset:
    """What the caller holds in the hand: `Phone`."""

    _line: Line
    _timeline: Timeline
    _ledger: Ledger
    _press: Callable[[str], None] = attrs.field(kw_only=True)

    @property
    def hearing(self) -> Hearing:
        return self._line.hearing

    def now(self) -> int:
        return self._timeline.now()

    async def tick(self) -> None:
        await self._line.tick()

    async def speak(self, utterance: Utterance) -> None:
        start = self._line.next_sample()
        first, last = start + utterance.speech.start, start + utterance.speech.end
        self._ledger.tell(CallerSpeaks(at_s=first / RATE_HZ, text=utterance.text, until_s=last / RATE_HZ))
        await self._line.speak(utterance.audio)

    def press(self, digit: str) -> None:
        self._ledger.tell(CallerPressed(at_s=self._timeline.now_s(), digit=digit))
        self._press(digit)

    def gave_up(self, waited_for: str) -> None:
        self._ledger.tell(CallerGaveUp(at_s=self._timeline.now_s(), waited_for=waited_for))


def stream_address(url: str, *, allow_ws: bool) -> str:
    """Where a stream connects to: its URL without the query, which Twilio strips.

    Raises TwilioError for another scheme than wss (ws passes to this machine, or to any with ``allow_ws``) and for a
    URL that is malformed or has a user in it.
    """
    try:
        parts = urlsplit(url)
        host, port, user = parts.hostname, parts.port, parts.username
    except ValueError as error:
        raise TwilioError(Code.MALFORMED_URL, f"stream URL {url!r} is malformed: {error}") from error
    if parts.scheme not in {"ws", "wss"}:
        raise TwilioError(Code.NOT_WSS, f"stream URL {url!r} does not begin with wss://")
    if not host or port == 0 or user is not None:
        raise TwilioError(Code.MALFORMED_URL, f"stream URL {url!r} is malformed")
    if parts.scheme == "ws" and not allow_ws and not _is_loopback(host):
        raise TwilioError(Code.NOT_WSS, f"stream URL {url!r} does not begin with wss:// and is not on this machine")
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", "", ""))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
