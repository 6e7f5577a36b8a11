"""The local voice's session, in virtual time: a sentence is spoken as the letters of its words."""

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.messages.errors import ProviderDown
from engine.messages.recognition import Word
from engine.messages.synthesis import CancelSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.contract import VoiceAsk, VoiceEvent
from engine.providers.local.voice import LocalVoice, Spoken
from engine.providers.local.workers import Workers

T = TypeVar("T")

SPEAK_S = 0.1

begun: list[str] = []


def speak(text: str, speed: float) -> Iterator[Spoken]:
    """A tenth of a second for a letter, sentences end with a full stop. Nobody can say "qqq"."""
    for sentence in filter(None, text.split(".")):
        begun.append(sentence)
        if sentence == "qqq":
            raise ProviderDown("cannot speak 3 characters")
        audio = sentence.encode() * round(800 / speed)
        yield Spoken(audio, (Word(text=sentence, start_s=0.0, end_s=len(sentence) / 10 / speed),))


async def run(work: Callable[[], T], /) -> T:
    result = work()
    await trio.sleep(SPEAK_S)
    return result


@attrs.define
class Seam:
    asks: trio.MemorySendChannel[VoiceAsk]
    _asked: trio.MemoryReceiveChannel[VoiceAsk]
    told: list[VoiceEvent] = attrs.field(factory=list)
    aligned: list[bool] = attrs.field(factory=list)

    def refused(self, why: str) -> None:
        raise AssertionError(f"nothing that a model here says is malformed: {why}")

    def opened(self, *, aligned: bool = False) -> None:
        self.aligned.append(aligned)

    async def ask(self) -> VoiceAsk:
        return await self._asked.receive()

    async def emit(self, event: VoiceEvent) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(event)

    def say(self, turn: int, *texts: str) -> None:
        for index, text in enumerate(texts):
            self.asks.send_nowait(Synthesise(turn=turn, index=index, text=text))


@pytest.fixture
def voice() -> LocalVoice:
    return LocalVoice("heart", speak, Workers("voice", 1, runner=run), aligned=True)


@asynccontextmanager
async def session(voice: LocalVoice) -> AsyncIterator[Seam]:
    seam = Seam(*trio.open_memory_channel[VoiceAsk](math.inf))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voice.session, seam)
        await trio.testing.wait_all_tasks_blocked()
        yield seam
        await trio.sleep(60.0)
        nursery.cancel_scope.cancel()
    assert seam.aligned == [True]


def shape(told: list[VoiceEvent]) -> list[tuple[int, int, str]]:
    return [
        (
            event.turn,
            event.index,
            event.audio[: len(event.audio) // 800].decode() if isinstance(event, Synthesised) else "end",
        )
        for event in told
    ]


async def test_pieces_are_spoken_in_the_order_asked_a_sentence_at_a_time(
    voice: LocalVoice, autojump_clock: MockClock
) -> None:
    async with session(voice) as seam:
        seam.say(1, "ab.c", "d")
    assert shape(seam.told) == [(1, 0, "ab"), (1, 0, "c"), (1, 0, "end"), (1, 1, "d"), (1, 1, "end")]


async def test_words_are_timed_from_the_first_sample_of_the_piece(voice: LocalVoice, autojump_clock: MockClock) -> None:
    async with session(voice) as seam:
        seam.say(1, "ab.c")
    words = [word for event in seam.told if isinstance(event, Synthesised) for word in event.words]
    assert words == [Word(text="ab", start_s=0.0, end_s=0.2), Word(text="c", start_s=0.2, end_s=0.2 + 0.1)]


async def test_cancelling_a_turn_drops_its_pieces_and_the_one_in_the_worker_and_no_later_ones(
    voice: LocalVoice, autojump_clock: MockClock
) -> None:
    begun.clear()
    async with session(voice) as seam:
        seam.say(1, "a", "b.c", "d")
        seam.say(2, "e")
        await trio.sleep(2.5 * SPEAK_S)  # "b" is in the worker
        seam.asks.send_nowait(CancelSynthesis(turn=1))
        seam.say(3, "f")
    assert shape(seam.told) == [(1, 0, "a"), (1, 0, "end"), (2, 0, "e"), (2, 0, "end"), (3, 0, "f"), (3, 0, "end")]
    assert begun == ["a", "b", "e", "f"], "what was cancelled before its turn is never spoken"


async def test_what_was_asked_of_a_cancelled_turn_late_is_not_spoken(
    voice: LocalVoice, autojump_clock: MockClock
) -> None:
    async with session(voice) as seam:
        seam.asks.send_nowait(CancelSynthesis(turn=4))
        seam.asks.send_nowait(CancelSynthesis(turn=2))
        seam.say(3, "a")
        seam.say(4, "b")
        seam.say(5, "c")
    assert shape(seam.told) == [(5, 0, "c"), (5, 0, "end")]


async def test_a_piece_with_nothing_to_speak_ends_all_the_same(voice: LocalVoice, autojump_clock: MockClock) -> None:
    async with session(voice) as seam:
        seam.say(1, "", "a")
    assert seam.told[0] == SynthesisEnded(turn=1, index=0)
    assert shape(seam.told[1:]) == [(1, 1, "a"), (1, 1, "end")]


async def test_pieces_that_cannot_be_spoken_end_where_they_failed_and_the_next_is_spoken(
    voice: LocalVoice, autojump_clock: MockClock
) -> None:
    with capture_logs() as logs:
        async with session(voice) as seam:
            seam.say(1, "a.qqq.b", "qqq", "c")
    assert shape(seam.told) == [(1, 0, "a"), (1, 0, "end"), (1, 1, "end"), (1, 2, "c"), (1, 2, "end")]
    lost = [entry for entry in logs if entry["event"] == "voice lost a piece"]
    assert [(entry["turn"], entry["index"], entry["characters"]) for entry in lost] == [(1, 0, 7), (1, 1, 3)]
    assert not any("qqq" in str(entry) for entry in lost)


async def test_a_model_that_speaks_nothing_at_all_is_down_and_the_piece_stays_owed(autojump_clock: MockClock) -> None:
    def broken(text: str, speed: float) -> Iterator[Spoken]:
        yield from speak("qqq" if text else "", speed)

    voice = LocalVoice("heart", broken, Workers("voice", 1, runner=run), aligned=True)
    seam = Seam(*trio.open_memory_channel[VoiceAsk](math.inf))
    seam.say(1, "a")
    with pytest.RaisesGroup(pytest.RaisesExc(ProviderDown, match="cannot speak 3 characters"), flatten_subgroups=True):
        with trio.fail_after(60.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(voice.session, seam)
    assert seam.told == []


async def test_calls_take_turns_by_the_sentence(voice: LocalVoice, autojump_clock: MockClock) -> None:
    async with session(voice) as long, session(voice) as short:
        long.say(1, "a.b.c.d.e.f")
        await trio.sleep(0.5 * SPEAK_S)
        short.say(1, "x")
        await trio.sleep(2.6 * SPEAK_S)
        assert shape(short.told)[0] == (1, 0, "x")
        assert len(long.told) < 6


async def test_a_clip_is_rendered_whole(voice: LocalVoice, autojump_clock: MockClock) -> None:
    assert await voice.render("ab.c") == b"ab" * 800 + b"c" * 800
    assert (voice.vendor, voice.voice) == ("local", "heart")


async def test_a_voice_at_another_pace_is_another_voice_of_the_same_model(
    voice: LocalVoice, autojump_clock: MockClock
) -> None:
    slow = voice.paced(0.8)
    assert (voice.voice, slow.voice, slow.paced(1.0).voice) == ("heart", "heart at speed 0.8", "heart")
    assert await voice.render("abc") == b"abc" * 800
    assert await slow.render("abc") == b"abc" * 1000
    async with session(slow) as seam:
        seam.say(1, "abc")
        await trio.sleep(1)
    first = seam.told[0]
    assert isinstance(first, Synthesised)
    assert len(first.audio) == 3000
    assert first.words[0].end_s == pytest.approx(0.375)
