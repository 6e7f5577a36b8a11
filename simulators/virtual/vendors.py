"""Vendors on the actors' own seams: a recogniser that hears its bytes, an aligned voice, a scripted model, a clinic."""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from engine.messages.conversation import CallerSaid, ToolAnswered
from engine.messages.model import CallTool, ModelEnded, ModelText, ModelToolCall, ToolReturned
from engine.messages.recognition import Finalise, Recognise, Recognised, Word
from engine.messages.synthesis import CancelSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.contract import (
    ModelEvent,
    ModelRequest,
    RecogniserAsk,
    Seam,
    ToolSchema,
    VoiceAsk,
    VoiceEvent,
)
from simulators.virtual import tone


@attrs.frozen(kw_only=True)
class VirtualRecogniser:
    """Hears only what it is sent, frame by frame; a pause of `endpoint_s` ends an utterance.

    connect_s, final_s: how long it takes to connect, and to make up its mind.
    """

    vendor: str = "virtual"
    connect_s: float = 0.05
    final_s: float = 0.08
    endpoint_s: float = 0.3

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve until cancelled."""
        await trio.sleep(self.connect_s)
        seam.opened()
        utterance: list[tuple[float, bytes]] = []
        sound_s = said_s = heard_s = 0.0
        while True:
            ask = await seam.ask()
            if isinstance(ask, Recognise):
                for count, frame in enumerate(tone.frames_of(ask.audio)):
                    start_s = ask.start_s + count * tone.FRAME_S
                    heard_s = start_s + tone.FRAME_S
                    utterance.append((start_s, frame))
                    if tone.voiced(frame):
                        sound_s = heard_s
                    words = tone.heard(utterance)
                    if words and len(words) > 1 and heard_s - said_s > 0.4:  # noqa: PLR2004
                        said_s = heard_s
                        await seam.emit(_recognised(words, heard_s, final=False))
                    if heard_s - sound_s >= self.endpoint_s and words:
                        await trio.sleep(self.final_s)
                        await seam.emit(_recognised(words, heard_s, final=True))
                        utterance = []
                    elif not words and len(utterance) >= 50:  # noqa: PLR2004 - a second of silence
                        utterance = []
                        await seam.emit(_recognised([], heard_s, final=True))
            elif isinstance(ask, Finalise):
                await trio.sleep(self.final_s)
                await seam.emit(_recognised(tone.heard(utterance), heard_s, final=True))
                utterance = []


def _recognised(words: list[tone.HeardWord], covered_s: float, *, final: bool) -> Recognised:
    return Recognised(
        text=" ".join(word.text for word in words),
        words=tuple(Word(text=word.text, start_s=word.start_s, end_s=word.end_s) for word in words),
        start_s=words[0].start_s if words else covered_s,
        end_s=words[-1].end_s if words else covered_s,
        is_final=final,
        speech_final=final,
        covered_s=covered_s if final else 0.0,
    )


@attrs.frozen(kw_only=True)
class VirtualVoice:
    """Speaks the tone code, `chunk_frames` at a time, each `pace` times as fast as it will be heard."""

    vendor: str = "virtual"
    voice: str = "tone"
    aligned: bool = True
    connect_s: float = 0.05
    first_s: float = 0.1
    chunk_frames: int = 7
    pace: float = 8.0

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve until cancelled. What is cancelled is not spoken; what was begun runs on, and is dropped by its turn."""
        await trio.sleep(self.connect_s)
        seam.opened(aligned=self.aligned)
        over = -1
        while True:
            ask = await seam.ask()
            if isinstance(ask, CancelSynthesis):
                over = max(over, ask.turn)
            elif isinstance(ask, Synthesise) and ask.turn > over:
                await self._speak(ask, seam)

    async def _speak(self, ask: Synthesise, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        await trio.sleep(self.first_s)
        audio, words = spoken_text(ask.text)
        chunk = self.chunk_frames * tone.FRAME_BYTES
        for at in range(0, len(audio), chunk):
            part = audio[at : at + chunk]
            done_s = (at + len(part)) / 8000
            before_s = at / 8000
            named = tuple(word for word in words if before_s < word.end_s <= done_s) if self.aligned else ()
            await seam.emit(Synthesised(turn=ask.turn, index=ask.index, audio=part, words=named))
            await trio.sleep(len(part) / 8000 / self.pace)
        await seam.emit(SynthesisEnded(turn=ask.turn, index=ask.index))

    async def render(self, text: str) -> bytes:
        """Return the text in the tone code."""
        await trio.lowlevel.checkpoint()
        return spoken_text(text)[0]


def spoken_text(text: str) -> tuple[bytes, tuple[Word, ...]]:
    """Return a text in the tone code, and where its words lie."""
    audio, words = b"", []
    for word in text.split():
        start_s = len(audio) / 8000
        audio += tone.spoken(word, 5 + len(word))
        words.append(Word(text=word, start_s=start_s, end_s=len(audio) / 8000))
        audio += tone.SILENT_FRAME
    return audio, tuple(words)


@attrs.frozen(kw_only=True)
class VirtualModel:
    """Answers the caller's last words, token by token; "book" in them asks for the tool first.

    answer: the reply to a text.
    """

    answer: Callable[[str], str]
    vendor: str = "virtual"
    first_token_s: float = 0.15
    token_s: float = 0.02

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply."""
        yield self._events(request)

    async def _events(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        await trio.sleep(self.first_token_s)
        asked = unanswered(request)
        answered = {each.id for each in request.conversation if isinstance(each, ToolAnswered)}
        last = max(each.turn for each in request.conversation if isinstance(each, CallerSaid))
        call_id = f"book-{last}"
        if "book" in asked and call_id not in answered:
            yield ModelToolCall(request=request.id, id=call_id, name="book", arguments={"what": asked})
            yield ModelEnded(request=request.id, stop="tool_use")
            return
        for word in self.answer(asked).split():
            yield ModelText(request=request.id, text=f"{word} ")
            await trio.sleep(self.token_s)
        yield ModelEnded(request=request.id, stop="end_turn")


def unanswered(request: ModelRequest) -> str:
    """Return the caller's last words."""
    return next(each.text for each in reversed(request.conversation) if isinstance(each, CallerSaid))


@attrs.define
class VirtualTools:
    """A tool that books, slowly, and counts how often it ran for each id."""

    takes_s: float = 0.3
    runs: dict[str, int] = attrs.field(factory=dict)

    def schemas(self) -> tuple[ToolSchema, ...]:
        """Return the one tool."""
        return (ToolSchema(name="book", description="book", input_schema={"type": "object"}),)

    async def run(self, call: CallTool) -> ToolReturned:
        """Book."""
        self.runs[call.id] = self.runs.get(call.id, 0) + 1
        await trio.sleep(self.takes_s)
        return ToolReturned(id=call.id, ok=True, value="booked")


def lag(rng: random.Random, most_s: float) -> float:
    """Return how long a wake-up takes: often nothing, sometimes up to `most_s`."""
    return 0.0 if rng.random() < 0.5 else rng.random() * most_s  # noqa: PLR2004 - a coin
