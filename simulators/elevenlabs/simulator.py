"""ElevenLabs as a server, with a record of all that was asked of it and of every rule that was broken."""

import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager

import attrs
import trio
import trio_websocket

from simulators.audio import RATE_HZ
from simulators.elevenlabs.policy import ElevenLabsPolicy
from simulators.elevenlabs.request import (
    LONGEST_TEXT,
    RefusedError,
    check_key_only,
    read_options,
    read_speech_request,
    refused,
)
from simulators.elevenlabs.speaking import Speaking
from simulators.elevenlabs.speech import Speech
from simulators.faults import Refuse
from simulators.websocket import (
    Conversation,
    HttpAnswer,
    Request,
    Violation,
    accept,
    answer_http,
    in_memory,
    listen,
    listening,
    read_request,
)


@attrs.define(kw_only=True, eq=False)
class ElevenLabsSimulator:
    """ElevenLabs: both WebSockets, and speech by HTTP.

    policies: how the first connection, the second and so on are treated; all further ones as the last.
    remembers: how many sockets are kept.
    connections: how many there were. speakings: the sockets that were let in, in order. violations: all, in order.
    requests: the texts that were asked for by HTTP. spent: the characters that were paid for.
    """

    policies: Sequence[ElevenLabsPolicy] = (ElevenLabsPolicy(),)
    remembers: int = 1000
    connections: int = attrs.field(init=False, default=0)
    speakings: list[Speaking] = attrs.field(init=False, factory=list)
    violations: list[Violation] = attrs.field(init=False, factory=list)
    requests: list[str] = attrs.field(init=False, factory=list)
    spent: int = attrs.field(init=False, default=0)
    _under_way: int = attrs.field(init=False, default=0)

    @property
    def spoken(self) -> list[str]:
        """What was generated, in all sockets that are remembered."""
        return [text for each in self.speakings for text in each.spoken]

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
        await trio.sleep(policy.handshake_s)
        try:
            if not request.upgrades:
                answer = self._answer(request, policy)
                await answer_http(rest, answer)
                return
            options = read_options(request, policy)
        except RefusedError as error:
            if error.is_fault:
                self.blame(number, str(error))
            await answer_http(rest, error.answer())
            return

        async def converse(connection: trio_websocket.WebSocketConnection) -> None:
            conversation = Conversation(connection, policy.faults, policy.mangle)
            speaking = Speaking(account=self, number=number, policy=policy, options=options, conversation=conversation)
            self.speakings.append(speaking)
            del self.speakings[: -self.remembers]
            await conversation.run(speaking.run)

        await accept(rest, converse)

    def blame(self, connection: int, why: str) -> None:
        """Record a violation."""
        self.violations.append(Violation(at_s=trio.current_time(), connection=connection, why=why))

    def pay(self, characters: int, policy: ElevenLabsPolicy) -> bool:
        """Pay for a generation; return whether there was enough."""
        if policy.credits is not None and self.spent + characters > policy.credits:
            return False
        self.spent += characters
        return True

    # HTTP.

    def _answer(self, request: Request, policy: ElevenLabsPolicy) -> HttpAnswer:
        if request.path == "/v1/models" and request.method == "GET":
            check_key_only(request, policy)
            return HttpAnswer.json(200, [_model(name, most) for name, most in LONGEST_TEXT.items()])
        asked = read_speech_request(request, policy)
        if self._under_way >= policy.concurrency:
            raise refused(429, "too many requests at once")
        if not self.pay(len(asked.text), policy):
            raise RefusedError(Refuse(status=401, code="quota_exceeded"), "no credits", is_fault=False)
        self.requests.append(asked.text)
        headers = {
            "content-type": "audio/basic",
            "request-id": uuid.uuid4().hex,
            "history-item-id": uuid.uuid4().hex,
            "character-cost": str(len(asked.text)),
            "current-concurrent-requests": str(self._under_way + 1),
            "maximum-concurrent-requests": str(policy.concurrency),
        }
        return HttpAnswer(status=200, headers=tuple(headers.items()), pieces=self._pieces(asked.text, policy))

    async def _pieces(self, text: str, policy: ElevenLabsPolicy) -> AsyncGenerator[bytes, None]:
        self._under_way += 1
        try:
            await trio.sleep(policy.first_audio_s)
            for piece in Speech.of(text).pieces(policy.chunk_bytes, each_aligned=False):
                if piece.audio:
                    yield piece.audio
                await trio.sleep(len(piece.audio) / RATE_HZ / policy.pace)
        finally:
            self._under_way -= 1


def _model(name: str, most: int) -> dict[str, object]:
    return {
        "model_id": name,
        "name": name,
        "can_do_text_to_speech": True,
        "maximum_text_length_per_request": most,
        "concurrency_group": "turbo" if "turbo" in name or "flash" in name else "standard",
    }
