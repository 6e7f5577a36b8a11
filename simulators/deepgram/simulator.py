"""Deepgram's `/v1/listen` as a server, with a record of all that was asked of it and of every rule that was broken."""

import hashlib
import heapq
import itertools
import json
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import trio
import trio_websocket

from simulators import tone
from simulators.audio import RATE_HZ
from simulators.deepgram.policy import DeepgramPolicy
from simulators.deepgram.request import USUAL, Options, RefusedError, read_options, subprotocol, too_many
from simulators.deepgram.transcriber import Message, Said, Transcriber
from simulators.faults import Fault, Refuse
from simulators.websocket import (
    Conversation,
    HttpAnswer,
    Request,
    Verdict,
    Violation,
    accept,
    answer_http,
    in_memory,
    listen,
    listening,
    read_request,
)

_NOT_DECODABLE: Final = "DATA-0000"
_IDLE: Final = (
    "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
)
# Metadata precedes the close of an idle socket by so much.
_LAST_WORDS_S: Final = 0.025
_SHOWN_CHARS: Final = 200
_MODEL_VERSION: Final = "2025-04-17.21547"


@attrs.define(kw_only=True, eq=False)
class DeepgramSimulator:
    """Deepgram.

    policies: how the first connection, the second and so on are treated; all further ones as the last.
    remembers: how many listenings are kept.
    connections: how many there were. listenings: those that were let in, in order. violations: all, in order.
    """

    policies: Sequence[DeepgramPolicy] = (DeepgramPolicy(),)
    remembers: int = 1000
    connections: int = attrs.field(init=False, default=0)
    listenings: "list[Listening]" = attrs.field(init=False, factory=list)
    violations: list[Violation] = attrs.field(init=False, factory=list)

    @property
    def words(self) -> list[str]:
        """Every word that was made out, in all connections that are remembered."""
        return [word.text for each in self.listenings for word in each.words]

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve on TCP until cancelled. task_status: is given the base URL. Raises OSError for a port in use."""
        await listen(self.serve_stream, host=host, port=port, task_status=task_status)

    def serving(self, *, port: int = 0) -> AbstractAsyncContextManager[str]:
        """Serve on loopback while the context is open; it is the base URL."""
        return listening(self.serve_stream, port=port)

    def connect(self, nursery: trio.Nursery) -> trio.abc.Stream:
        """Return a client's end of a stream in memory, served in the nursery."""
        return in_memory(nursery, self.serve_stream)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection until either side closes it."""
        number = self.connections
        policy = self.policies[min(number, len(self.policies) - 1)]
        self.connections += 1
        found = await read_request(stream)
        if found is None:
            await trio.aclose_forcefully(stream)
            return
        request, rest = found
        request_id = str(uuid.uuid4())
        await trio.sleep(policy.handshake_s)
        try:
            options = read_options(request, policy)
        except RefusedError as error:
            if error.is_fault:
                self.blame(number, str(error))
            await answer_http(rest, _refusal(error.refusal, request_id))
            return

        async def converse(connection: trio_websocket.WebSocketConnection) -> None:
            conversation = Conversation(connection, policy.faults, policy.mangle)
            listening_ = Listening(
                simulator=self,
                number=number,
                request=request,
                request_id=request_id,
                policy=policy,
                options=options,
                conversation=conversation,
            )
            self.listenings.append(listening_)
            del self.listenings[: -self.remembers]
            await conversation.run(listening_.run)

        headers = (("dg-request-id", request_id),)
        await accept(rest, converse, headers=headers, subprotocol=subprotocol(request))

    def blame(self, connection: int, why: str) -> None:
        """Record a violation."""
        self.violations.append(Violation(at_s=trio.current_time(), connection=connection, why=why))


@attrs.define(kw_only=True, eq=False)
class Listening:
    """A connection that was let in.

    opened_at: on trio's clock. audio_bytes: how much was received.
    asked: the types of the text messages that came. sent: what was sent, in order.
    """

    simulator: DeepgramSimulator
    number: int
    request: Request
    request_id: str
    policy: DeepgramPolicy
    options: Options
    conversation: Conversation
    opened_at: float = attrs.field(init=False, factory=trio.current_time)
    audio_bytes: int = attrs.field(init=False, default=0)
    asked: list[str] = attrs.field(init=False, factory=list)
    sent: list[Message] = attrs.field(init=False, factory=list)
    _transcriber: Transcriber = attrs.field(init=False)
    _model_id: str = attrs.field(init=False, factory=lambda: str(uuid.uuid4()))
    _hash: "hashlib._Hash" = attrs.field(init=False, factory=hashlib.sha256)
    # Audio that is not heard yet, and until when hearing what was before it takes.
    _backlog: list[bytes] = attrs.field(init=False, factory=list)
    _hears_at: float = attrs.field(init=False, default=0.0)
    # What is to be sent: when, in what order, what; a Verdict ends the stream.
    _outbox: list[tuple[float, int, Message | Verdict]] = attrs.field(init=False, factory=list)
    _order: "itertools.count[int]" = attrs.field(init=False, factory=itertools.count)
    _last_due: float = attrs.field(init=False, default=0.0)
    _stirred: trio.Event = attrs.field(init=False, factory=trio.Event)
    # When something last came that keeps an idle stream alive.
    _alive_at: float = attrs.field(init=False, factory=trio.current_time)
    # Why the end is on its way, "" if it is not.
    _closing: str = attrs.field(init=False, default="")
    _configuring: bool = attrs.field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        metadata = {"request_id": self.request_id, "model_info": self._model_info(), "model_uuid": self._model_id}
        self._transcriber = Transcriber(options=self.options, policy=self.policy, metadata=metadata)

    @property
    def words(self) -> list[tone.HeardWord]:
        """The words that were made out, or GARBLED, with their times in the stream."""
        return self._transcriber.words

    @property
    def finals(self) -> list[str]:
        """The transcripts that were sent as final and are not empty."""
        results = (each for each in self.sent if each.get("is_final"))
        texts = (each["channel"]["alternatives"][0]["transcript"] for each in results)
        return [text for text in texts if text]

    @property
    def verdict(self) -> Verdict | None:
        """How it ended: None while it has not; its code is None where the client went without a close of ours."""
        return self.conversation.verdict

    async def strike(self, fault: Fault) -> None:
        """Have something go wrong now."""
        await self.conversation.strike(fault)

    async def run(self) -> None:
        """Serve the open socket."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            nursery.start_soon(self._hear)
            nursery.start_soon(self._watch)
            while True:
                message = await self.conversation.receive()
                if isinstance(message, bytes):
                    self._take_audio(message)
                else:
                    self._take_text(message)

    # What comes.

    def _take_audio(self, audio: bytes) -> None:
        if not audio:
            self._blame("an empty binary message")
            self.conversation.end(1008, _NOT_DECODABLE)
            return
        if self._closing:
            self._blame_late(f"{len(audio)} bytes of audio")
            return
        if audio.startswith(b"{") and _object(audio) is not None:
            self._blame(f"a text message in a binary frame: {audio[:_SHOWN_CHARS]!r}")
        self._alive_at = trio.current_time()
        self.audio_bytes += len(audio)
        self._hash.update(audio)
        self._backlog.append(audio)
        self._stir()

    def _take_text(self, text: str) -> None:
        fields = _object(text) or {}
        kind, rest = fields.get("type"), {name: value for name, value in fields.items() if name != "type"}
        self.asked.append(str(kind))
        if self._closing:
            self._blame_late(f"a message: {text[:_SHOWN_CHARS]}")
            return
        if self.audio_bytes:
            self._alive_at = trio.current_time()  # alone, it does not keep a fresh stream
        match kind:
            case "KeepAlive" if not rest:
                pass
            case "Finalize" if not rest or rest == {"channel": 0}:
                self._hear_all()
                self._say(self._transcriber.finalize())
            case "CloseStream" if not rest:
                self._closing = kind
                self._hear_all()
                self._say([*self._transcriber.close(), Said(0.0, self._metadata())])
                self._put(self._last_due, Verdict(1000))
            case "Configure" if _is_configuration(rest):
                self._configure(rest)
            case _:
                self._blame(f"an unknown message: {text[:_SHOWN_CHARS]}")
                why = "Could not deserialize last text message: data did not match any variant of untagged enum"
                error = {"type": "Error", "variant": "SchemaError", "description": why, "message": text}
                self._say([Said(0.0, error)])

    def _configure(self, fields: dict[str, Any]) -> None:
        terms = fields.get("keyterms")
        keyterms = self.options.keyterms if terms is None else tuple(terms)
        failure = ""
        if self._configuring:
            failure = "CONFIGURE_ALREADY_PENDING"
        elif keyterms and not self.options.takes_keyterms:
            failure = "CONFIGURE_KEYTERMS_NOT_SUPPORTED"
        elif too_many(keyterms):
            failure = "CONFIGURE_KEYTERM_LIMIT_EXCEEDED"
        answer = {"type": "ConfigureFailure", "request_id": self.request_id, "code": failure}
        if failure:
            self._blame(f"Configure: {failure}")
            self._say([Said(0.0, {**answer, "description": "The configuration was not changed."})])
            return
        self.options = attrs.evolve(self.options, keyterms=keyterms)
        self._configuring = True
        success = {"type": "ConfigureSuccess", "request_id": self.request_id, "keyterms": list(keyterms)}
        self._say([Said(self.policy.configure_late_s, success, in_order=False)])

    # What it does with it.

    async def _hear(self) -> None:
        """Hear what was received, no faster than the policy allows."""
        while True:
            while not self._backlog:
                await self._stirring()
            await trio.sleep_until(self._hears_at)
            if self._backlog:
                self._hear_next()

    def _hear_next(self) -> None:
        audio = self._backlog.pop(0)
        self._hears_at = max(self._hears_at, trio.current_time()) + len(audio) / RATE_HZ / self.policy.ingest
        self._say(self._transcriber.hear(audio))

    def _hear_all(self) -> None:
        while self._backlog:
            self._hear_next()

    async def _watch(self) -> None:
        """Close the stream when it has been idle."""
        due = self._alive_at + self.policy.idle_s
        while trio.current_time() < due:
            await trio.sleep_until(due)
            due = self._alive_at + self.policy.idle_s
        self._blame(f"neither audio nor a text message for {self.policy.idle_s:g} s")
        self._closing = "idle"
        self._say([Said(0.0, self._metadata())])
        self._put(self._last_due + _LAST_WORDS_S, Verdict(1011, _IDLE))

    # What goes out.

    def _say(self, said: list[Said]) -> None:
        for each in said:
            due = trio.current_time() + each.late_s
            if each.in_order:
                due = self._last_due = max(due, self._last_due)
            self._put(due, each.message)

    def _put(self, due: float, message: Message | Verdict) -> None:
        heapq.heappush(self._outbox, (due, next(self._order), message))
        self._stir()

    async def _send(self) -> None:
        """Send each message when it is due."""
        while True:
            while not self._outbox:
                await self._stirring()
            due, _, message = self._outbox[0]
            if due > trio.current_time():
                with trio.move_on_at(due):
                    await self._stirring()
                continue
            heapq.heappop(self._outbox)
            if isinstance(message, Verdict):
                self.conversation.end(message.code, message.reason)
                continue
            if message["type"] == "ConfigureSuccess":
                self._configuring = False
            if self.policy.strange:
                await self.conversation.send({"type": "Weather", "sky": "clear"})
            await self.conversation.send(message)
            self.sent.append(message)

    def _stir(self) -> None:
        self._stirred.set()
        self._stirred = trio.Event()

    async def _stirring(self) -> None:
        await self._stirred.wait()

    def _metadata(self) -> Message:
        metadata: dict[str, Any] = {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.request_id,
            "sha256": self._hash.hexdigest() if self.audio_bytes else "incomplete",
            "created": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "duration": self.audio_bytes / RATE_HZ,
            "channels": 1,
        }
        if self.audio_bytes:
            metadata |= {"models": [self._model_id], "model_info": {self._model_id: self._model_info()}}
        return metadata

    def _model_info(self) -> dict[str, str]:
        name = self.options.model
        return {"name": f"general-{name}", "version": _MODEL_VERSION, "arch": name}

    def _blame_late(self, what: str) -> None:
        """Blame the client for what came after its own end; what crosses ours is nobody's fault."""
        if self._closing == "CloseStream":
            self._blame(f"{what} after CloseStream")

    def _blame(self, why: str) -> None:
        self.simulator.blame(self.number, why)


def _object(text: str | bytes) -> dict[str, Any] | None:
    """Return a JSON object, or None for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_configuration(fields: dict[str, Any]) -> bool:
    terms, features = fields.get("keyterms"), fields.get("features")
    return (
        fields.keys() <= {"keyterms", "features"}
        and (terms is None or (isinstance(terms, list) and all(isinstance(term, str) for term in terms)))
        and (features is None or (isinstance(features, dict) and all(isinstance(on, bool) for on in features.values())))
    )


def _refusal(refusal: Refuse, request_id: str) -> HttpAnswer:
    code, message = USUAL.get(refusal.status, USUAL[500])
    code, message = refusal.code or code, refusal.message or message
    headers = (("dg-request-id", request_id), ("dg-error", message.encode("ascii", "backslashreplace").decode()))
    body = {"err_code": code, "err_msg": message, "request_id": request_id}
    return HttpAnswer.json(refusal.status, body, headers)
