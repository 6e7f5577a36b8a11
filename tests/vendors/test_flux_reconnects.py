"""The caller's words through Flux, its simulated vendor and the real STT, whatever becomes of the streams."""

import itertools
import math
from collections.abc import Sequence

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from engine.actors.stt import STT
from engine.codec.telephony import FRAME_S
from engine.messages.caller import CallerAudio, LineClosed
from engine.messages.errors import ProviderError
from engine.messages.recognition import Finalise, Recognise, Recognised, Transcript
from engine.messages.records import Counted
from engine.messages.supervision import SessionInfo, Tick
from engine.providers.contract import RecogniserAsk
from engine.providers.deepgram import FluxRecogniser
from engine.providers.socket import Address
from simulators import tone
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator, FluxPolicy
from simulators.faults import Close, Fault, Stall

WORDS = tuple(f"w{first}{last}" for first in "abcdefgh" for last in "abc")
"""Of 120 ms each: at a gap of 120 ms they take 5.8 s, at one of 40 ms, 3.8 s."""


@attrs.define(eq=False)
class Ear:
    """An STT with its sessions: what it is told goes to it at once, and a session that dies is opened again."""

    recogniser: FluxRecogniser
    core: STT = attrs.field(factory=STT)
    told: list[Transcript] = attrs.field(factory=list)
    ended: list[ProviderError] = attrs.field(factory=list)
    lost: list[Counted] = attrs.field(factory=list)
    closed: bool = False
    refusals: list[str] = attrs.field(factory=list)
    # The present session's, once it is open.
    _asks: trio.MemorySendChannel[RecogniserAsk] | None = None
    _incarnation: int = 0
    _away_since: float = 0.0

    async def run(self) -> None:
        """Keep a session until cancelled."""
        while True:
            self._incarnation += 1
            send, receive = trio.open_memory_channel[RecogniserAsk](math.inf)
            try:
                await self.recogniser.session(_Seam(self, send, receive))
            except ProviderError as error:
                self.ended.append(error)
            self._asks, self._away_since = None, trio.current_time()
            await trio.sleep(0.05)

    def opened(self, asks: trio.MemorySendChannel[RecogniserAsk]) -> None:
        self._asks = asks
        info = SessionInfo(
            vendor="deepgram",
            incarnation=self._incarnation,
            aligned=True,
            away_s=trio.current_time() - self._away_since,
        )
        self._take(self.core.started(info, trio.current_time()))

    def tell(self, message: CallerAudio | Recognised | LineClosed | Tick) -> None:
        self._take(self.core.handle(message, trio.current_time()))

    def _take(self, step: tuple[STT, list[object]]) -> None:
        self.core, effects = step
        for each in effects:
            match each:
                case Recognise() | Finalise() if self._asks is not None:
                    self._asks.send_nowait(each)
                case Transcript():
                    self.told.append(each)
                case LineClosed():
                    self.closed = True
                case Counted(name="lost_ms"):
                    self.lost.append(each)

    async def hear(self, audio: bytes) -> None:
        for count, frame in enumerate(tone.frames_of(audio)):
            start_s = count * FRAME_S
            self.tell(CallerAudio(start_s=start_s, end_s=start_s + FRAME_S, audio=frame, voiced=tone.voiced(frame)))
            await trio.sleep(FRAME_S)

    async def hang_up(self) -> None:
        self.tell(LineClosed(reason="stop", at_s=trio.current_time()))
        with trio.move_on_at(self.core.deadline):
            while not self.closed:  # noqa: ASYNC110 - a test polls
                await trio.sleep(0.01)
        if not self.closed:
            self.tell(Tick())

    @property
    def words(self) -> list[str]:
        return [word for each in self.told if each.is_final for word in each.text.split()]


@attrs.define(eq=False)
class _Seam:
    """One session's side of it."""

    ear: Ear
    send: trio.MemorySendChannel[RecogniserAsk]
    receive: trio.MemoryReceiveChannel[RecogniserAsk]

    def opened(self, *, aligned: bool = False) -> None:
        assert aligned
        self.ear.opened(self.send)

    async def ask(self) -> RecogniserAsk:
        return await self.receive.receive()

    async def emit(self, event: Recognised) -> None:
        await trio.lowlevel.checkpoint()
        self.ear.tell(event)

    def refused(self, why: str) -> None:
        self.ear.refusals.append(why)


def spoken(words: Sequence[str], gap_frames: int) -> bytes:
    return b"".join(tone.spoken(each, 6) + tone.SILENT_FRAME * gap_frames for each in words)


def silence(seconds: float) -> bytes:
    return tone.SILENT_FRAME * round(seconds * 50)


async def heard(audio: bytes, simulator: DeepgramSimulator, **options: float) -> Ear:
    """Return an STT that heard a call to its end."""
    async with trio.open_nursery() as nursery:

        async def dial(_: Address) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return simulator.connect(nursery)

        recogniser = FluxRecogniser(base_url="wss://deepgram.test", api_key="key", dial=dial, **options)  # type: ignore[arg-type]
        ear = Ear(recogniser)
        nursery.start_soon(ear.run)
        await ear.hear(audio)
        await ear.hang_up()
        nursery.cancel_scope.cancel()
    assert simulator.violations == []
    return ear


def breaking(*faults: tuple[Fault, int], shift_s: float = 0.0) -> DeepgramSimulator:
    """A vendor whose first streams break, each after so many words of its first turn; the next one holds.

    shift_s: how much later one stream than the next believes all words to lie.
    """
    policies = [
        DeepgramPolicy(flux=FluxPolicy(mid_turn=fault, mid_turn_words=words, shift_s=shift_s * (count % 2)))
        for count, (fault, words) in enumerate(faults)
    ]
    return DeepgramSimulator(policies=[*policies, DeepgramPolicy(flux=FluxPolicy(shift_s=shift_s * (len(faults) % 2)))])


@pytest.mark.parametrize("gap_frames", [6, 2], ids=["conversation", "fast"])
@pytest.mark.parametrize("fault", [Close(code=1006), Stall()], ids=["closed", "mute"])
async def test_a_stream_that_ends_anywhere_in_a_turn_costs_no_word_and_doubles_none(
    autojump_clock: MockClock, fault: Fault, gap_frames: int
) -> None:
    audio = silence(1.0) + spoken(WORDS, gap_frames) + silence(4.0)
    for count, shift_s in zip((1, 2, 6, 11, 17, 23), itertools.cycle((0.0, 0.06, -0.06)), strict=False):
        ear = await heard(audio, breaking((fault, count), shift_s=shift_s))
        assert ear.words == list(WORDS), count
        assert len(ear.ended) == 1
        assert sum(each.speech_final for each in ear.told) == 1


async def test_three_streams_that_end_in_one_turn_cost_no_word_and_double_none(autojump_clock: MockClock) -> None:
    audio = silence(1.0) + spoken(WORDS, 4) + silence(5.0)
    for counts in ((3, 4, 7), (9, 8, 5)):
        simulator = breaking(*((Close(code=1006), count) for count in counts))
        ear = await heard(audio, simulator)
        assert ear.words == list(WORDS), counts
        assert len(ear.ended) == 3


async def test_what_is_sent_again_is_what_was_not_sure_and_not_the_whole_turn(autojump_clock: MockClock) -> None:
    simulator = breaking((Close(code=1006), 20))
    ear = await heard(silence(1.0) + spoken(WORDS, 6) + silence(2.0), simulator)
    assert ear.words == list(WORDS)
    first, second = simulator.listenings
    again_s = (first.audio_bytes + second.audio_bytes) / 8000 - (1.0 + 24 * 0.24 + 2.0)
    assert 1.0 < again_s < 3.5  # the turn was 4.8 s long


async def test_a_turn_of_forty_seconds_whose_stream_breaks_is_all_there(autojump_clock: MockClock) -> None:
    words = [f"w{at}" for at in range(170)]
    for faults in ((), ((Close(code=1006), 165),)):
        simulator = breaking(*faults)
        ear = await heard(silence(1.0) + spoken(words, 6) + silence(3.0), simulator)
        assert ear.words == words
        assert ear.lost == []
        assert len(ear.ended) == len(faults)
        assert sum(each.speech_final for each in ear.told) == 1


async def test_the_end_of_a_turn_is_told_when_its_words_came_over_another_stream(autojump_clock: MockClock) -> None:
    # The first stream breaks when all words were made out; the second hears the last of them again, and their end.
    simulator = breaking((Close(code=1006), len(WORDS)))
    ear = await heard(silence(1.0) + spoken(WORDS, 6) + silence(4.0), simulator)
    assert ear.words == list(WORDS)
    assert any(each.speech_final and each.semantic for each in ear.told)


async def test_a_stream_that_ends_between_two_turns_costs_nothing(autojump_clock: MockClock) -> None:
    faults = (Close(code=1006, after_s=3.4), Close(code=1006, after_s=2.0))
    policies = [DeepgramPolicy(faults=(each,)) for each in faults]
    simulator = DeepgramSimulator(policies=[*policies, DeepgramPolicy()])
    audio = silence(1.0) + spoken(WORDS[:6], 4) + silence(3.0) + spoken(WORDS[6:12], 4) + silence(2.0)
    ear = await heard(audio, simulator)
    assert len(ear.ended) == 2
    assert ear.words == list(WORDS[:12])
    assert sum(each.speech_final for each in ear.told) == 2


@pytest.mark.parametrize("close_ends_turn", [True, False])
@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.3, 1.0])
async def test_the_last_words_of_a_call_are_told_before_its_end(
    autojump_clock: MockClock, after_s: float, *, close_ends_turn: bool
) -> None:
    policy = DeepgramPolicy(flux=FluxPolicy(close_ends_turn=close_ends_turn))
    ear = await heard(silence(1.0) + spoken(WORDS[:8], 4) + silence(after_s), DeepgramSimulator(policies=[policy]))
    assert ear.words == list(WORDS[:8])
    assert ear.closed
    assert ear.core.owed == ()


async def test_nothing_is_owed_of_silence_but_what_may_be_a_word(autojump_clock: MockClock) -> None:
    simulator = DeepgramSimulator()
    async with trio.open_nursery() as nursery:

        async def dial(_: Address) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return simulator.connect(nursery)

        ear = Ear(FluxRecogniser(base_url="wss://deepgram.test", api_key="key", dial=dial))
        nursery.start_soon(ear.run)
        await ear.hear(silence(20.0))
        assert sum(each.end_s - each.start_s for each in ear.core.owed) < 1.0
        assert ear.words == []
        nursery.cancel_scope.cancel()
