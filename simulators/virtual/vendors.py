"""Vendors on the actors' own seams: a recogniser that hears its bytes, an aligned voice, a scripted model, a clinic."""

import itertools
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager

import attrs
import trio

from engine.errands import END_CALL_TOOL
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, ToolAnswered
from engine.messages.errors import ProviderDown
from engine.messages.model import CallTool, ModelEnded, ModelText, ModelToolCall, ToolReturned
from engine.messages.recognition import Finalise, Recognised, Word
from engine.messages.records import Kept, Record
from engine.messages.synthesis import CancelSynthesis, EndSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.contract import (
    ModelEvent,
    ModelRequest,
    RecogniserAsk,
    Seam,
    ToolSchema,
    VoiceAsk,
    VoiceEvent,
)
from simulators import tone
from simulators.audio import FRAME_BYTES, FRAME_S


@attrs.define
class Door:
    """Where a vendor lets connections in, or refuses them, until the time `shut_until`."""

    shut_until: float = 0.0

    async def passed(self, after_s: float) -> None:
        """Connect. Raises ProviderDown while the door is shut."""
        await trio.sleep(after_s)
        if trio.current_time() < self.shut_until:
            raise ProviderDown("the virtual vendor is away")


@attrs.define
class _Hearing:
    """One connection's own idea of where words begin and end. The same word lies at the same place each time."""

    dice: random.Random
    word_shift_s: float
    all_shift_s: float
    _known: dict[float, Word] = attrs.field(init=False, factory=dict)
    _last_s: float = attrs.field(init=False, default=0.0)

    def words(self, heard: Sequence[tone.HeardWord]) -> tuple[Word, ...]:
        """Return words as this connection tells of them, in order."""
        return tuple(self._known.get(word.start_s) or self._placed(word) for word in heard)

    def _placed(self, word: tone.HeardWord) -> Word:
        start_s, end_s = (
            edge_s + self.all_shift_s + self.dice.uniform(-self.word_shift_s, self.word_shift_s)
            for edge_s in (word.start_s, word.end_s)
        )
        start_s = max(start_s, self._last_s)
        self._last_s = start_s + FRAME_S
        placed = Word(text=word.text, start_s=start_s, end_s=max(end_s, start_s + FRAME_S))
        self._known[word.start_s] = placed
        return placed


@attrs.frozen(kw_only=True)
class VirtualRecogniser:
    """Hears only what it is sent, frame by frame; a pause of `endpoint_s` ends an utterance.

    A noise that sounds like a word is a draft to it, which it takes back. A word that its audio begins in is garbled.

    connect_s, final_s: how long it takes to connect, and to make up its mind.
    interim_s, empty_s: how often it says what it has so far, and that there was nothing.
    longest_s: speech after which words are final in the middle of it, up to the end of the last as it sees it.
    speed: audio that it hears in a second, at most.
    word_shift_s, connection_shift_s: how far it is off, at most, at each edge of a word anew, or in a whole connection.
    seed: the same one is off in the same way. connections: how many it had.
    """

    vendor: str = "virtual"
    connect_s: float = 0.05
    final_s: float = 0.08
    endpoint_s: float = 0.3
    interim_s: float = 0.3
    empty_s: float = 1.0
    longest_s: float = math.inf
    speed: float = math.inf
    word_shift_s: float = 0.0
    connection_shift_s: float = 0.0
    seed: int = 0
    door: Door = attrs.field(factory=Door)
    connections: Iterator[int] = attrs.field(factory=itertools.count, eq=False)

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve until cancelled."""
        await self.door.passed(self.connect_s)
        seam.opened(aligned=True)
        dice = random.Random(f"{self.seed} {next(self.connections)}")  # noqa: S311
        shift_s = dice.uniform(-self.connection_shift_s, self.connection_shift_s)
        hearing = _Hearing(dice, self.word_shift_s, shift_s)
        ear = tone.Ear()
        # How far: audio came, sound reached, finals covered, the last interim spoke; since when there are words.
        heard_s = sound_s = covered_s = said_s = 0.0
        begun_s = math.inf
        draft = ""
        free_at = trio.current_time()
        while True:
            ask = await seam.ask()
            if isinstance(ask, Finalise):
                ear.end()
                await trio.sleep(self.final_s)
                await seam.emit(_recognised(hearing.words(ear.words), heard_s, final=True))
                ear = tone.Ear()
                continue
            covered_s, said_s = covered_s or ask.start_s, said_s or ask.start_s
            for count, frame in enumerate(tone.frames_of(ask.audio)):
                free_at = await self._free(free_at)
                start_s = ask.start_s + count * FRAME_S
                heard_s = start_s + FRAME_S
                ear.hear(start_s, frame)
                if tone.voiced(frame):
                    sound_s = heard_s
                    begun_s = min(begun_s, start_s)
                    words = hearing.words(ear.words)
                    if not draft and (draft := tone.draft_of(frame)):
                        await seam.emit(_draft(draft, start_s, heard_s))
                    elif words and heard_s - begun_s >= self.longest_s:
                        ear.words.clear()
                        begun_s = heard_s
                        await trio.sleep(self.final_s)
                        covered_s = min(words[-1].end_s, heard_s)
                        await seam.emit(_recognised(words, covered_s, final=True, finished=False))
                    elif len(words) > 1 and heard_s - said_s > self.interim_s:
                        said_s = heard_s
                        await seam.emit(_recognised(words, heard_s, final=False))
                elif ear.words and heard_s - sound_s >= self.endpoint_s:
                    await trio.sleep(self.final_s)
                    await seam.emit(_recognised(hearing.words(ear.words), heard_s, final=True))
                    ear, covered_s, draft, begun_s = tone.Ear(), heard_s, "", math.inf
                elif draft and heard_s - sound_s >= self.endpoint_s:
                    await seam.emit(_recognised((), heard_s, final=True))
                    covered_s, draft, begun_s = heard_s, "", math.inf
                elif not ear.words and heard_s - covered_s >= self.empty_s:
                    await seam.emit(_recognised((), heard_s, final=True))
                    covered_s = heard_s

    async def _free(self, since: float) -> float:
        """Wait for as long as a frame takes to hear; return when that was over. since: of the frame before."""
        if self.speed == math.inf:
            return since
        free_at = max(since, trio.current_time()) + FRAME_S / self.speed
        await trio.sleep_until(free_at)
        return free_at


def _recognised(words: Sequence[Word], covered_s: float, *, final: bool, finished: bool = True) -> Recognised:
    return Recognised(
        text=" ".join(word.text for word in words),
        words=tuple(words),
        start_s=words[0].start_s if words else covered_s,
        end_s=words[-1].end_s if words else covered_s,
        is_final=final,
        speech_final=final and finished and bool(words),
        covered_s=covered_s if final else 0.0,
    )


def _draft(text: str, start_s: float, end_s: float) -> Recognised:
    return Recognised(
        text=text, words=(), start_s=start_s, end_s=end_s, is_final=False, speech_final=False, covered_s=0.0
    )


@attrs.frozen(kw_only=True)
class VirtualVoice:
    """Speaks the tone code, `chunk_frames` at a time, each `pace` times as fast as it will be heard.

    say: a text's sound, and where its words lie in it.
    """

    vendor: str = "virtual"
    voice: str = "tone"
    aligned: bool = True
    connect_s: float = 0.05
    first_s: float = 0.1
    chunk_frames: int = 7
    pace: float = 8.0
    say: Callable[[str], tuple[bytes, tuple[Word, ...]]] = lambda text: spoken_text(text)  # noqa: PLW0108 - it stands below
    door: Door = attrs.field(factory=Door)

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve until cancelled. What is cancelled is not begun; what was begun runs on, and is dropped by its turn."""
        await self.door.passed(self.connect_s)
        seam.opened(aligned=self.aligned)
        over = -1
        while True:
            ask = await seam.ask()
            if isinstance(ask, CancelSynthesis):
                over = max(over, ask.turn)
            elif not isinstance(ask, EndSynthesis) and ask.turn > over:
                await self._speak(ask, seam)

    async def _speak(self, ask: Synthesise, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        await trio.sleep(self.first_s)
        audio, words = self.say(ask.text)
        chunk = self.chunk_frames * FRAME_BYTES
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
        return self.say(text)[0]


def spoken_text(text: str) -> tuple[bytes, tuple[Word, ...]]:
    """Return a text in the tone code, and where its words lie."""
    audio, words = tone.say(text)
    return audio, tuple(Word(text=word.text, start_s=word.start_s, end_s=word.end_s) for word in words)


@attrs.frozen(kw_only=True)
class Trouble:
    """What becomes of one request to a virtual model: it dies, or falls silent for good.

    after_events: what it says before: words, calls of tools. code: what the vendor calls it.
    """

    after_events: int = 0
    stalls: bool = False
    code: str = ""

    async def come(self) -> None:
        """Die, or wait for ever."""
        if self.stalls:
            await trio.sleep_forever()
        raise ProviderDown("the virtual model broke off", code=self.code)


@attrs.define
class Troubles:
    """What becomes of the requests that are still to come, one each; None lets one be.

    silent_until: a request that comes before that time hears nothing, ever. asked: how many came.
    """

    to_come: list[Trouble | None] = attrs.field(factory=list)
    silent_until: float = 0.0
    asked: int = 0

    def next(self) -> Trouble | None:
        """Return what becomes of the request that has just come."""
        self.asked += 1
        trouble = self.to_come.pop(0) if self.to_come else None
        return Trouble(stalls=True) if trio.current_time() < self.silent_until else trouble


@attrs.frozen(kw_only=True)
class VirtualModel:
    """Answers the caller's last words, token by token; what was said of the answer before is not said again.

    The word "book" in them asks for the tool first, the word "bye" ends the call after the answer.

    answer: the reply to a text.
    """

    answer: Callable[[str], str]
    vendor: str = "virtual"
    first_token_s: float = 0.15
    token_s: float = 0.02
    door: Door = attrs.field(factory=Door)
    troubles: Troubles = attrs.field(factory=Troubles)

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply."""
        async with aclosing(self._events(request)) as events, aclosing(self._troubled(events)) as troubled:
            yield troubled

    async def _troubled(self, events: AsyncGenerator[ModelEvent, None]) -> AsyncGenerator[ModelEvent, None]:
        trouble = self.troubles.next()
        await self.door.passed(0.0)
        said = 0
        async for event in events:
            if trouble is not None and said >= trouble.after_events:
                await trouble.come()
            yield event
            said += 1

    async def _events(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        await trio.sleep(self.first_token_s)
        asked = unanswered(request)
        last = max(each.turn for each in request.conversation if isinstance(each, CallerSaid))
        answered = {each.id for each in request.conversation if isinstance(each, ToolAnswered)}
        call_id = f"book-{last}"
        if "book" in asked.split() and call_id not in answered:
            yield ModelToolCall(request=request.id, id=call_id, name="book", arguments={"what": asked})
            yield ModelEnded(request=request.id, stop="tool_use")
            return
        said = [each.text for each in request.conversation if isinstance(each, AgentSaid) and each.turn == last]
        for word in unsaid(self.answer(asked).split(), " ".join(said).split()):
            yield ModelText(request=request.id, text=f"{word} ")
            await trio.sleep(self.token_s)
        if "bye" in asked.split():
            yield ModelToolCall(request=request.id, id=f"end-{last}", name=END_CALL_TOOL.name, arguments={})
            yield ModelEnded(request=request.id, stop="tool_use")
            return
        yield ModelEnded(request=request.id, stop="end_turn")


def unsaid(answer: list[str], said: list[str]) -> list[str]:
    """Return the words of an answer without those at its beginning with which what was said ends."""
    sizes = range(min(len(answer), len(said)), 0, -1)
    return answer[next((size for size in sizes if said[-size:] == answer[:size]), 0) :]


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


@attrs.define
class VirtualArchive:
    """Where a call leaves its conversation: in memory, in order.

    reason: why the call ended, once it has.
    """

    items: list[Kept] = attrs.field(factory=list)
    reason: str | None = None

    async def opened(self) -> None:
        """Note nothing."""
        await trio.lowlevel.checkpoint()

    async def put(self, items: Sequence[Kept]) -> None:
        """Keep items."""
        await trio.lowlevel.checkpoint()
        self.items.extend(items)

    async def ended(self, reason: str) -> None:
        """Keep the reason."""
        await trio.lowlevel.checkpoint()
        assert self.reason is None, "a call ends once"
        self.reason = reason

    def conversation(self) -> list[Entry]:
        """Return what was stored, each entry as it was stored last."""
        rows = {item.position: item.entry for item in self.items if isinstance(item, Record)}
        return [rows[position] for position in sorted(rows)]


@attrs.frozen
class ToneVad:
    """A voice activity detector for the tone code."""

    def heard(self, frame: bytes) -> tuple[bool, bool]:
        """Whether there is sound in a frame, and whether it is the caller's: nobody else is in the room."""
        voiced = tone.voiced(frame)
        return voiced, voiced
