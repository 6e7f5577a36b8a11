"""One socket's contexts: what is asked of the vendor, what is made of its answers, and how long it is waited for.

Theory of operation. A reply has a context, opened with its first piece and closed when the reply is whole or cut. The
vendor still counts a closed one until it has sent its final, and a sixth would cost the socket; so contexts are
counted here as the vendor does, and a piece that would open the sixth waits for a final. Pure: asks, messages and
ticks go in with the time, and what is to be done comes out in order, a ProviderError last if the session is over.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeAlias

import attrs

from engine.messages.errors import ProviderDown, ProviderError, ProviderSlow, WireError
from engine.messages.recognition import Word
from engine.messages.supervision import NEVER
from engine.messages.synthesis import CancelSynthesis, EndSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.contract import VoiceAsk, VoiceEvent
from engine.providers.elevenlabs import wire
from engine.providers.elevenlabs.speech import Rest, Speech

MOST_CONTEXTS: Final = 5
"""Contexts that one socket may have at once; the vendor closes it at the sixth."""

Effect: TypeAlias = str | VoiceEvent | ProviderError
"""A message to the vendor, an event for the actor, or the end of the session."""


@attrs.frozen(kw_only=True)
class Patience:
    """How long the vendor is waited for.

    quiet_s: silence after which a piece that has all its letters has ended. 0.5: the vendor sends faster than it
        speaks, so no gap within a piece is as long, and the sound itself lasts longer.
    doubt_s: the same of a piece whose letters do not account for its audio. 1.5.
    stall_s: for audio after a flush, and between two messages of a piece. 3.0: thirty times what the vendor takes.
    final_s: for a context to end when five are open. 2.0: a cancelled one ends within a second.
    keep_alive_s: of saying nothing after which a context, or the socket, is kept from ending. 135: three quarters of
        the vendor's longest inactivity; if it takes that amiss, no more is lost than by not asking.
    """

    quiet_s: float = 0.5
    doubt_s: float = 1.5
    stall_s: float = 3.0
    final_s: float = 2.0
    keep_alive_s: float = 135.0


@attrs.define(kw_only=True, eq=False)
class _Context:
    """A context that the vendor counts.

    flushed_at, heard_at: when it was last given a piece, and last sent audio.
    sent_at: when it was last sent anything.
    closed: it was told to end. over: nobody wants what it still says.
    """

    id: str
    turn: int
    speech: Speech
    flushed_at: float
    heard_at: float = -NEVER
    sent_at: float
    closed: bool = False
    over: bool = False


class Contexts:
    """The contexts of one socket, and the asks that wait for one."""

    def __init__(self, settings: wire.Settings, patience: Patience, now: float) -> None:
        self._settings = settings
        self._patience = patience
        self._contexts: dict[str, _Context] = {}
        self._opened = 0
        self._over = -1
        # Invariant: in the order asked; there is a moment exactly while something waits.
        self._waiting = deque[Synthesise | EndSynthesis]()
        self._waiting_since = NEVER
        self._sent_at = now

    @property
    def deadline(self) -> float:
        """When `waited` has something to say."""
        open_contexts = [context for context in self._contexts.values() if not context.closed]
        owing = [context for context in self._contexts.values() if _owes(context)]
        return min(
            *map(self._settled_at, owing),
            *map(self._stalled_at, owing),
            *(context.sent_at + self._patience.keep_alive_s for context in open_contexts),
            self._sent_at + self._patience.keep_alive_s,
            self._waiting_since + self._patience.final_s,
        )

    def asked(self, ask: VoiceAsk, now: float) -> list[Effect]:
        """Return what an ask calls for."""
        match ask:
            case Synthesise(turn=turn) if turn <= self._over:
                return []
            case Synthesise() if not any(map(str.isalnum, ask.text)):
                return _unspoken(ask)
            case Synthesise() | EndSynthesis() if self._waiting:
                self._waiting.append(ask)
                return []
            case Synthesise():
                return self._speak(ask, now)
            case EndSynthesis(turn=turn):
                return self._close((each for each in self._contexts.values() if each.turn == turn), now)
            case CancelSynthesis(turn=turn):
                return self._cancel(turn, now)

    def heard(self, sound: wire.Sound, now: float) -> list[Effect]:
        """Return what a message calls for. Raises WireError for one of a context that is not open."""
        context = self._contexts.get(sound.context)
        if context is None:
            known = ", ".join(self._contexts) or "none"
            raise WireError(f"field 'contextId' is {sound.context[:60]!r}; open: {known}")
        effects: list[Effect] = []
        if sound.audio:
            context.heard_at = now
        if not context.over:
            effects += context.speech.hear(sound.audio, sound.letters)
        if not sound.final:
            return effects
        del self._contexts[context.id]
        if not context.over:
            events, unspoken = context.speech.finish()
            effects += events
            if unspoken:
                return [*effects, ProviderDown("elevenlabs ended without speaking all it was asked")]
        return effects + self._go_on(now)

    def waited(self, now: float) -> list[Effect]:
        """Return what the silence up to `now` calls for."""
        effects: list[Effect] = []
        for context in self._contexts.values():
            if _owes(context) and self._settled_at(context) <= now:
                effects += context.speech.settle()
            if _owes(context) and self._stalled_at(context) <= now:
                return [*effects, ProviderSlow(f"elevenlabs sent no audio for {self._patience.stall_s:g} s")]
            if not context.closed and context.sent_at + self._patience.keep_alive_s <= now:
                context.sent_at = self._sent_at = now
                effects.append(wire.keeping_context(context.id))
        if self._sent_at + self._patience.keep_alive_s <= now:  # so nothing is open: that was kept alive just now
            self._sent_at = now
            effects.append(wire.keeping_socket())
        if self._waiting_since + self._patience.final_s <= now:
            waited_s = self._patience.final_s
            effects.append(ProviderDown(f"elevenlabs ended none of its {MOST_CONTEXTS} contexts within {waited_s:g} s"))
        return effects

    def _settled_at(self, context: _Context) -> float:
        """Return when silence shows that a piece has ended."""
        match context.speech.rest:
            case Rest.WHOLE:
                return context.heard_at + self._patience.quiet_s
            case Rest.DOUBTFUL if context.heard_at > context.flushed_at:
                return context.heard_at + self._patience.doubt_s
            case _:
                return NEVER

    def _stalled_at(self, context: _Context) -> float:
        return max(context.flushed_at, context.heard_at) + self._patience.stall_s

    def _speak(self, ask: Synthesise, now: float) -> list[Effect]:
        """Give a piece to its reply's context; open one if there is none and the vendor would take it."""
        effects: list[Effect] = []
        context = next((each for each in self._contexts.values() if each.turn == ask.turn and not each.closed), None)
        if context is None:
            past = (each for each in self._contexts.values() if each.turn < ask.turn and not _owes(each))
            effects += self._close(past, now)
            if len(self._contexts) >= MOST_CONTEXTS:
                self._waiting.append(ask)
                self._waiting_since = now
                return effects
            self._opened += 1
            context = _Context(
                id=f"t{ask.turn}-{self._opened}", turn=ask.turn, speech=Speech(ask.turn), flushed_at=now, sent_at=now
            )
            self._contexts[context.id] = context
            effects.append(wire.opening(context.id, self._settings))
        context.speech.add(ask.index, ask.text)
        context.flushed_at = context.sent_at = self._sent_at = now
        return [*effects, wire.speaking(context.id, ask.text)]

    def _close(self, contexts: Iterable[_Context], now: float) -> list[Effect]:
        closing = [context for context in contexts if not context.closed]
        for context in closing:
            context.closed = True
            context.sent_at = self._sent_at = now
        return [wire.closing(context.id) for context in closing]

    def _cancel(self, turn: int, now: float) -> list[Effect]:
        self._over = max(self._over, turn)
        cut = [context for context in self._contexts.values() if context.turn <= turn]
        for context in cut:
            context.over = True
        self._waiting = deque(ask for ask in self._waiting if ask.turn > turn)
        if not self._waiting:
            self._waiting_since = NEVER
        return self._close(cut, now)

    def _go_on(self, now: float) -> list[Effect]:
        """Take the asks that waited for a context to end."""
        waiting, self._waiting, self._waiting_since = self._waiting, deque(), NEVER
        return [effect for ask in waiting for effect in self.asked(ask, now)]


def _owes(context: _Context) -> bool:
    return context.speech.owes and not context.over


def _unspoken(ask: Synthesise) -> list[Effect]:
    """Return the end of a piece that has nothing to say: the vendor would send no sound for it."""
    words = tuple(Word(text=text, start_s=0.0, end_s=0.0) for text in ask.text.split())
    named = [Synthesised(turn=ask.turn, index=ask.index, audio=b"", words=words)] if words else []
    return [*named, SynthesisEnded(turn=ask.turn, index=ask.index)]
