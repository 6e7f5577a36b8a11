"""The contract: what the engine asks of a recogniser, a voice and a model, whoever sells it.

Theory of operation. A recogniser and a voice are *sessions*: a coroutine that holds a connection, reads what its
actor asks and emits what the vendor says. It ends only by raising `ProviderError` (or by cancellation): the
supervisor opens the next one, and the core asks again for what it is owed, so a session keeps nothing that
cannot be lost. A model is a *task* a request: an async iterator that ends or raises.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias, TypeVar

import attrs

from engine.messages.conversation import Entry, Json
from engine.messages.model import CallTool, ModelEnded, ModelText, ModelToolCall, ModelUsage, ToolReturned
from engine.messages.recognition import Finalise, Recognise, Recognised
from engine.messages.synthesis import CancelSynthesis, EndSynthesis, Synthesise, Synthesised, SynthesisEnded

RecogniserAsk: TypeAlias = Recognise | Finalise
VoiceAsk: TypeAlias = Synthesise | EndSynthesis | CancelSynthesis
VoiceEvent: TypeAlias = Synthesised | SynthesisEnded
ModelEvent: TypeAlias = ModelText | ModelToolCall | ModelUsage | ModelEnded

AskT_co = TypeVar("AskT_co", covariant=True)
EventT_contra = TypeVar("EventT_contra", contravariant=True)


class Seam(Protocol[AskT_co, EventT_contra]):
    """A session's side of its actor: asks come out of it, events go into it."""

    def opened(self, *, aligned: bool = False) -> None:
        """Say that the vendor has accepted the connection: the core's `started` is the next thing it hears.

        Asks made before are void, so call it once, before the first `ask`.
        """

    async def ask(self) -> AskT_co:
        """Wait for the next thing that is asked. Nothing is lost when the wait is cancelled."""

    async def emit(self, event: EventT_contra) -> None:
        """Hand an event to the actor; waits only while the session's own earlier events lie unread."""

    def refused(self, why: str) -> None:
        """Say that a message of the vendor's broke its protocol and was dropped: it is counted, a few are logged.

        why: the WireError's text. Never waits, never raises. What ends the session needs no word: its end is counted.
        """


@attrs.frozen(kw_only=True)
class ToolSchema:
    """A tool as a model is told of it: `input_schema` is JSON Schema for its arguments."""

    name: str
    description: str
    input_schema: Mapping[str, Json]


@attrs.frozen(kw_only=True)
class ModelRequest:
    """One request to a model.

    id: every event of the reply carries it.
    system: the tenant's prompt.
    conversation: what was said and done, oldest first; the last entry is the caller's or a tool's.
    """

    id: str
    system: str
    conversation: tuple[Entry, ...]
    tools: tuple[ToolSchema, ...] = ()


class Recogniser(Protocol):
    """Speech to text. Shared by all calls of a process; each session is one call's."""

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve one call until cancelled. Raises `ProviderError` when the vendor fails."""


class Voice(Protocol):
    """Text to speech in one voice. Shared by all calls of a process."""

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""

    @property
    def voice(self) -> str:
        """The voice's name at the vendor: with `vendor` and a text, what a clip is cached by."""

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve one call until cancelled. Raises `ProviderError` when the vendor fails."""

    async def render(self, text: str) -> bytes:
        """Return `text` spoken: µ-law, 8 kHz mono. For clips, before calls. Raises `ProviderError`."""


class Model(Protocol):
    """The mind: a language model, or a script that answers through the same interface."""

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""

    def reply(self, request: ModelRequest) -> AbstractAsyncContextManager[AsyncIterator[ModelEvent]]:
        """Open the reply to `request`: texts and tool calls as they come, then one `ModelEnded`.

        Leaving the context cancels the request at the vendor. Raises `ProviderError`.
        """


class Tools(Protocol):
    """What a model can do in one call."""

    def schemas(self) -> tuple[ToolSchema, ...]:
        """Return the tools as a model is told of them."""

    async def run(self, call: CallTool) -> ToolReturned:
        """Run a tool, recorded before it runs, once for its id. Failures are results."""
