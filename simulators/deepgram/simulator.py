"""Deepgram as a server, with a record of all that was asked of it and of every rule that was broken."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

import attrs
import trio
import trio_websocket

from simulators.deepgram import flux_request
from simulators.deepgram.flux import FluxListening, Pulse
from simulators.deepgram.listening import Listening
from simulators.deepgram.nova import NovaListening
from simulators.deepgram.policy import DeepgramPolicy
from simulators.deepgram.request import USUAL, RefusedError, read_options, subprotocol
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
class DeepgramSimulator:
    """Deepgram.

    policies: how the first connection, the second and so on are treated; all further ones as the last.
    remembers: how many listenings are kept.
    connections: how many there were. listenings: those that were let in, in order. violations: all, in order.
    """

    policies: Sequence[DeepgramPolicy] = (DeepgramPolicy(),)
    remembers: int = 1000
    connections: int = attrs.field(init=False, default=0)
    listenings: list[Listening] = attrs.field(init=False, factory=list)
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
            make = self._listening(request, policy)
        except RefusedError as error:
            if error.is_fault:
                self.blame(number, str(error))
            await answer_http(rest, _refusal(error.refusal, request_id))
            return
        pulse = Pulse(rest)

        async def converse(connection: trio_websocket.WebSocketConnection) -> None:
            conversation = Conversation(connection, policy.faults, policy.mangle)
            listening_ = make(
                pulse,
                blame=partial(self.blame, number),
                number=number,
                request=request,
                request_id=request_id,
                policy=policy,
                conversation=conversation,
            )
            self.listenings.append(listening_)
            del self.listenings[: -self.remembers]
            await conversation.run(listening_.run)

        headers = (("dg-request-id", request_id),)
        await accept(pulse, converse, headers=headers, subprotocol=subprotocol(request))

    def _listening(self, request: Request, policy: DeepgramPolicy) -> "Callable[..., Listening]":
        """Return what serves a request. Raises RefusedError."""
        if request.path == flux_request.PATH:
            flux = flux_request.read_flux_options(request, policy)
            return lambda pulse, **what: FluxListening(options=flux, pulse=pulse, **what)
        nova = read_options(request, policy)
        return lambda _pulse, **what: NovaListening(options=nova, **what)

    def blame(self, connection: int, why: str) -> None:
        """Record a violation."""
        self.violations.append(Violation(at_s=trio.current_time(), connection=connection, why=why))


def _refusal(refusal: Refuse, request_id: str) -> HttpAnswer:
    code, message = USUAL.get(refusal.status, USUAL[500])
    code, message = refusal.code or code, refusal.message or message
    headers = (("dg-request-id", request_id), ("dg-error", message.encode("ascii", "backslashreplace").decode()))
    body = {"err_code": code, "err_msg": message, "request_id": request_id}
    return HttpAnswer.json(refusal.status, body, headers)
