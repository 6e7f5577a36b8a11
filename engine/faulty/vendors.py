"""Recognisers, voices and models that fail as they are told: wrappers at the vendors' contract."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import attrs
import trio

from engine.faulty.injector import Injector, Link
from engine.messages.errors import ProviderError
from engine.messages.recognition import Recognised
from engine.providers.contract import (
    Model,
    ModelEvent,
    ModelRequest,
    Recogniser,
    RecogniserAsk,
    Seam,
    Voice,
    VoiceAsk,
    VoiceEvent,
)


@attrs.define(eq=False)
class _FaultySeam:
    """A session's side of its actor, with faults between the two: `contract.Seam`."""

    seam: "Seam[Any, Any]"
    link: Link
    _come_in: "trio.MemorySendChannel[tuple[float, object]]" = attrs.field(init=False)
    _come_out: "trio.MemoryReceiveChannel[tuple[float, object]]" = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        # Unbounded: what is held back here lies, in truth, on the vendor's side or in the network.
        self._come_in, self._come_out = trio.open_memory_channel[tuple[float, object]](math.inf)

    def opened(self, *, aligned: bool = False) -> None:
        self.seam.opened(aligned=aligned)
        self.link.up()

    async def ask(self) -> Any:  # noqa: ANN401 - a recogniser's or a voice's
        return await self.seam.ask()

    async def emit(self, event: object) -> None:
        await trio.lowlevel.checkpoint()
        self._come_in.send_nowait((self.link.injector.clock(), event))

    def refused(self, why: str) -> None:
        self.seam.refused(why)

    async def pump(self) -> None:
        """Move events on, in order, until cancelled."""
        link = self.link
        async for came_s, event in self._come_out:
            for each in await link.let_through(came_s, event):
                for piece in link.drips(each):
                    await link.dripped()
                    await self.seam.emit(piece)
                link.injector.passed(link, each)


async def _faulty_session(injector: Injector, work: str, vendor: "Recogniser | Voice", seam: "Seam[Any, Any]") -> None:
    link = Link(injector, work, vendor.vendor, bad=seam.refused)
    async with link.alive():
        faulty = _FaultySeam(seam, link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faulty.pump)
            await vendor.session(faulty)
            nursery.cancel_scope.cancel()


@attrs.frozen(kw_only=True)
class FaultyRecogniser:
    """A recogniser that fails as it is told: `contract.Recogniser`."""

    injector: Injector
    inner: Recogniser

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve one call until cancelled."""
        await _faulty_session(self.injector, "stt", self.inner, seam)


@attrs.frozen(kw_only=True)
class FaultyVoice:
    """A voice that fails as it is told: `contract.Voice`."""

    injector: Injector
    inner: Voice

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    @property
    def voice(self) -> str:
        """The voice's name at the vendor."""
        return self.inner.voice

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve one call until cancelled."""
        await _faulty_session(self.injector, "tts", self.inner, seam)

    async def render(self, text: str) -> bytes:
        """Return `text` spoken. Clips are rendered before calls: no fault concerns them."""
        return await self.inner.render(text)


@attrs.frozen(kw_only=True)
class FaultyModel:
    """A model that fails as it is told: `contract.Model`."""

    injector: Injector
    inner: Model

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply to `request`."""
        link = Link(self.injector, "llm", self.inner.vendor)
        async with link.alive(), self.inner.reply(request) as events:
            tokens = _FaultyTokens(link)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tokens.read, events)
                link.up()
                yield tokens
                nursery.cancel_scope.cancel()


class _FaultyTokens:
    """A reply as it comes, with faults in it. It is read as fast as it comes, so that a delay is no hiccup."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._come_in, self._come_out = trio.open_memory_channel[tuple[float, object]](math.inf)
        self._ready: list[object] = []

    async def read(self, events: AsyncIterator[ModelEvent]) -> None:
        """Take the vendor's events as they come."""
        clock = self._link.injector.clock
        with self._come_in:
            try:
                async for event in events:
                    self._come_in.send_nowait((clock(), event))
            except ProviderError as error:  # comes after what came before it
                self._come_in.send_nowait((clock(), error))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - a ModelEvent
        link = self._link
        while not self._ready:
            try:
                came_s, event = await self._come_out.receive()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
            if isinstance(event, Exception):
                raise event
            self._ready = await link.let_through(came_s, event)
        await link.dripped()
        event = self._ready.pop(0)
        link.injector.passed(link, event)
        return event
