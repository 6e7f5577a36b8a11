"""Vendors for virtual scenarios: a recogniser with second thoughts, a voice that pauses, a scripted mind."""

import math
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from engine.errands import END_CALL_TOOL
from engine.messages.conversation import CallerSaid, ToolAnswered
from engine.messages.model import CallTool, ModelEnded, ModelText, ModelToolCall, ModelUsage, ToolReturned
from engine.messages.recognition import Finalise, Recognised, Word
from engine.providers.contract import (
    ModelEvent,
    ModelRequest,
    RecogniserAsk,
    Seam,
    ToolSchema,
)
from simulators import tone
from simulators.audio import FRAME_BYTES, FRAME_S
from simulators.caller import Noise
from simulators.scenario import Hearing, Reply, reply_to

# ── speech ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_PAUSES: Final = {",": 0.12, ".": 0.26, "?": 0.26, "!": 0.26, ";": 0.2, ":": 0.2}
"""What a speaker pauses for, in seconds: after a comma less than a voice activity detector needs, after a stop more."""


def speech(text: str) -> tuple[bytes, tuple[Word, ...]]:
    """Return a text in the tone code, four words a second and a pause at each mark, and where its words lie."""
    audio, words, pause_s = b"", list[Word](), 0.0
    for word in text.split():
        audio += tone.SILENT_FRAME * max(1 if words else 0, round(pause_s / FRAME_S))
        start_s = len(audio) / FRAME_BYTES * FRAME_S
        audio += tone.spoken(word, min(30, 3 + round(1.6 * len(word.strip(",.?!;:")))))
        words.append(Word(text=word, start_s=start_s, end_s=len(audio) / FRAME_BYTES * FRAME_S))
        pause_s = _PAUSES.get(word[-1], 0.0)
    return audio, tuple(words)


@attrs.frozen
class Throat:
    """What speaks in `speech`: a `simulators.caller.Voice`."""

    async def speak(self, text: str) -> bytes:
        """Return the words in the tone code."""
        await trio.lowlevel.checkpoint()
        return speech(text)[0]


def noise(step: Noise) -> bytes:
    """Return a noise in the tone code: what a recogniser takes it for is in it."""
    return tone.noise(max(1, round(step.seconds / FRAME_S)), f"{step.draft}|{step.final}")


def level(audio: bytes, level_db: float) -> bytes:
    """Return audio as it is, or silence if it is so soft that the line does not carry it."""
    return audio if level_db > _CARRIED_DB else tone.SILENT_FRAME * (len(audio) // FRAME_BYTES)


_CARRIED_DB: Final = -15.0

# ── the recogniser ────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class _Utterance:
    """What a recogniser has heard since its last final.

    word_s, sound_s: end of the last word so far, and of the last sound of any kind. noise: what it takes one for.
    """

    ear: tone.Ear = attrs.field(factory=tone.Ear)
    begun_s: float = math.inf
    word_s: float = -math.inf
    sound_s: float = -math.inf
    noise: str = ""
    told: str = ""
    told_s: float = -math.inf
    ending: bool = False

    def hear(self, start_s: float, frame: bytes) -> None:
        """Take a frame."""
        self.ear.hear(start_s, frame)
        if tone.voiced(frame):
            end_s = start_s + FRAME_S
            self.sound_s = end_s
            self.begun_s = min(self.begun_s, start_s)
            if self.ear.begun_s is not None or (self.ear.words and self.ear.words[-1].end_s > start_s):
                self.word_s = end_s
            else:
                self.noise = self.noise or tone.draft_of(frame)

    @property
    def draft(self) -> str:
        """The words so far, that which is being said too, and what a noise seems to be."""
        words = [each.text for each in self.ear.words]
        guess = self.ear.guess if self.ear.begun_s is not None else ""
        return " ".join(filter(None, [*words, guess, self.noise.partition("|")[0]]))

    @property
    def final(self) -> str:
        """The words in the end."""
        return " ".join(filter(None, [*(each.text for each in self.ear.words), self.noise.partition("|")[2]]))

    @property
    def words(self) -> tuple[Word, ...]:
        """Where the words lie."""
        return tuple(Word(text=each.text, start_s=each.start_s, end_s=each.end_s) for each in self.ear.words)


@attrs.frozen(kw_only=True)
class Recogniser:
    """Hears the tone code as a recogniser hears speech: late, in drafts, with second thoughts.

    Drafts come `draft_s` behind the sound, give or take half of that, and hold a word before it is over. A noise may be
    a word in a draft, and is taken back in the final, or not. A pause of `endpoint_s` ends an utterance; where there is
    noise in it, it takes longer. With `eager` it expects the end before, and takes that back when the caller goes on.

    interim_s: from one draft to the next. longest_s: words become final after so long without a pause. empty_s: how
        often it says that there was nothing. noisy_s: how much longer it waits where the line is never silent.
    """

    vendor: str = "virtual"
    policy: Hearing = Hearing()
    connect_s: float = 0.05
    interim_s: float = 0.3
    longest_s: float = 6.0
    empty_s: float = 1.0
    noisy_s: float = 0.4
    expects_s: float = 0.16
    seed: int = 0

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve until cancelled."""
        await trio.sleep(self.connect_s)
        seam.opened(aligned=True)
        send, receive = trio.open_memory_channel[tuple[float, Recognised]](math.inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell, receive, seam)
            await self._hear(send, seam)

    async def _tell(
        self, events: trio.MemoryReceiveChannel[tuple[float, Recognised]], seam: Seam[RecogniserAsk, Recognised]
    ) -> None:
        async for due, event in events:
            await trio.sleep_until(due)
            await seam.emit(event)

    async def _hear(
        self, events: trio.MemorySendChannel[tuple[float, Recognised]], seam: Seam[RecogniserAsk, Recognised]
    ) -> None:
        dice = random.Random(self.seed)  # noqa: S311 - a simulation's
        policy = self.policy
        heard, covered_s, heard_s = _Utterance(), -1.0, 0.0

        def tell(event: Recognised, after_s: float) -> None:
            events.send_nowait((trio.current_time() + after_s * dice.uniform(0.5, 1.5), event))

        while True:
            ask = await seam.ask()
            if isinstance(ask, Finalise):
                heard.ear.end()
                tell(_final(heard, heard_s, semantic=policy.eager), policy.final_s)
                heard, covered_s = _Utterance(), heard_s
                continue
            covered_s = ask.start_s if covered_s < 0 else covered_s
            for count, frame in enumerate(tone.frames_of(ask.audio)):
                start_s = ask.start_s + count * FRAME_S
                heard_s = start_s + FRAME_S
                heard.hear(start_s, frame)
                sounds = tone.voiced(frame)
                wordless_s = heard_s - heard.word_s
                ends_s = policy.endpoint_s + (self.noisy_s if sounds else 0.0) + (0.2 if policy.eager else 0.0)
                said = bool(heard.ear.words) and heard.ear.begun_s is None
                over = (
                    wordless_s >= ends_s - _SAME_S if heard.ear.words else heard_s - heard.sound_s >= ends_s - _SAME_S
                )
                if not heard.draft and heard_s - covered_s >= self.empty_s:
                    tell(_empty(heard_s), 0.0)
                    covered_s = heard_s
                elif heard.begun_s == math.inf:
                    continue
                elif over and (said or not (heard.ear.words or sounds)):
                    tell(_final(heard, heard_s, semantic=policy.eager), policy.final_s)
                    heard, covered_s = _Utterance(), heard_s
                elif said and heard_s - heard.begun_s >= self.longest_s:
                    tell(_final(heard, heard_s, finished=False, semantic=policy.eager), policy.final_s)
                    heard, covered_s = _Utterance(), heard_s
                elif policy.eager and said and not sounds and not heard.ending and wordless_s >= self.expects_s:
                    heard.ending = True
                    tell(_draft(heard, heard_s, covered_s, ending=True, semantic=True), policy.draft_s / 2)
                elif heard.ending and sounds:
                    heard.ending = False
                    tell(_draft(heard, heard_s, covered_s, semantic=True), policy.draft_s / 2)
                elif heard_s - heard.told_s >= self.interim_s and heard.draft not in {"", heard.told}:
                    heard.told, heard.told_s = heard.draft, heard_s
                    tell(_draft(heard, heard_s, covered_s, semantic=policy.eager), policy.draft_s)


_SAME_S: Final = 1e-6
"""Times closer than this are one: they are sums of frames."""


def _final(heard: _Utterance, covered_s: float, *, finished: bool = True, semantic: bool) -> Recognised:
    words = heard.words
    return Recognised(
        text=heard.final,
        words=words,
        start_s=words[0].start_s if words else covered_s,
        end_s=words[-1].end_s if words else covered_s,
        is_final=True,
        speech_final=finished and bool(heard.final),
        covered_s=covered_s,
        semantic=semantic,
    )


def _draft(heard: _Utterance, heard_s: float, covered_s: float, *, ending: bool = False, semantic: bool) -> Recognised:
    return Recognised(
        text=heard.draft,
        words=(),
        start_s=heard.begun_s,
        end_s=heard_s,
        is_final=False,
        speech_final=False,
        covered_s=covered_s,
        speech_ending=ending,
        semantic=semantic,
    )


def _empty(covered_s: float) -> Recognised:
    return Recognised(
        text="", start_s=covered_s, end_s=covered_s, is_final=True, speech_final=False, covered_s=covered_s
    )


# ── the mind ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(kw_only=True)
class Mind:
    """A model that answers the caller's n-th turn with the n-th reply, and those beyond with the last.

    requests: how many were made.
    """

    replies: Sequence[Reply]
    vendor: str = "virtual"
    requests: int = 0

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply."""
        self.requests += 1
        yield self._events(request)

    async def _events(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        said = [each for each in request.conversation if isinstance(each, CallerSaid)]
        reply = reply_to(self.replies, [each.text for each in said])
        answered = {each.id for each in request.conversation if isinstance(each, ToolAnswered)}
        run = f"{reply.tool}-{len(said)}"
        tokens = sum(len(each.text.split()) for each in said)
        yield ModelUsage(request=request.id, input_tokens=tokens, output_tokens=0)
        await trio.sleep(reply.delay_s)
        first = bool(reply.tool) and run not in answered
        text = reply.says if first else reply.text
        for count, word in enumerate(text.split(), start=1):
            yield ModelText(request=request.id, text=f"{word} ")
            yield ModelUsage(request=request.id, input_tokens=tokens, output_tokens=count)
            await trio.sleep(reply.token_s)
        if first:
            yield ModelToolCall(request=request.id, id=run, name=reply.tool, arguments={})
        elif reply.ends:
            yield ModelToolCall(request=request.id, id=f"end-{len(said)}", name=END_CALL_TOOL.name, arguments={})
        yield ModelEnded(request=request.id, stop="tool_use" if first or reply.ends else "end_turn")


@attrs.define(kw_only=True)
class Tools:
    """The tools of the replies, each as slow as its reply says. runs: how often one ran."""

    takes_s: Mapping[str, float]
    runs: int = 0

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> "Tools":
        """Return the tools that replies call."""
        return cls(takes_s={each.tool: each.takes_s for each in replies if each.tool})

    def schemas(self) -> tuple[ToolSchema, ...]:
        """Return the tools as a model is told of them."""
        return tuple(ToolSchema(name=name, description=name, input_schema={"type": "object"}) for name in self.takes_s)

    async def run(self, call: CallTool) -> ToolReturned:
        """Take the time, and give something."""
        self.runs += 1
        await trio.sleep(self.takes_s[call.name])
        return ToolReturned(id=call.id, ok=True, value="done")
