"""The local recogniser's session, in virtual time: the model is a function that takes as long as it is told."""

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import TypeVar

import attrs
import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.codec.telephony import FRAME_BYTES, FRAME_S
from engine.messages.errors import ProviderDown
from engine.messages.recognition import Finalise, Recognise, Recognised
from engine.providers.contract import RecogniserAsk
from engine.providers.local.recogniser import LocalRecogniser
from engine.providers.local.words import Words, believable
from engine.providers.local.workers import Workers

T = TypeVar("T")

VOICE, QUIET = b"v" * FRAME_BYTES, b"\xff" * FRAME_BYTES


class Vad:
    """Hears a voice in the frames that are made of the letter v."""

    def voiced(self, frame: bytes) -> bool:
        return frame[:1] == b"v"


@attrs.define
class Model:
    """Says how many voiced frames there were; takes `decode_s` for it. Chokes on so many, or on all it hears."""

    decode_s: float = 0.1
    answers: list[Words] = attrs.field(factory=list)
    decoded: list[tuple[float, int]] = attrs.field(factory=list)
    chokes_on: tuple[int, ...] = ()
    is_down: bool = False

    def hear(self, ulaw: bytes) -> Words:
        frames = ulaw.count(VOICE)
        self.decoded.append((round(trio.current_time(), 3), frames))
        if self.is_down or frames in self.chokes_on:
            raise ProviderDown(f"cannot decode {len(ulaw)} bytes")
        return self.answers.pop(0) if self.answers else Words(f"{frames} frames.", -0.1)

    async def run(self, work: Callable[[], T], /) -> T:
        result = work()
        await trio.sleep(self.decode_s)
        return result


@attrs.define
class Seam:
    """An actor's side of a session: what it asks, and what it is told, when."""

    asks: trio.MemorySendChannel[RecogniserAsk]
    _asked: trio.MemoryReceiveChannel[RecogniserAsk]
    told: list[tuple[float, Recognised]] = attrs.field(factory=list)
    opened_times: int = 0

    def refused(self, why: str) -> None:
        raise AssertionError(f"nothing that a model here says is malformed: {why}")

    def opened(self, *, aligned: bool = False) -> None:
        assert not aligned
        self.opened_times += 1

    async def ask(self) -> RecogniserAsk:
        return await self._asked.receive()

    async def emit(self, event: Recognised) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append((round(trio.current_time(), 3), event))

    @property
    def finals(self) -> list[tuple[float, str]]:
        return [(at, event.text) for at, event in self.told if event.is_final and event.text]

    async def play(self, pattern: str, *, start_s: float = 0.0) -> None:
        """Send frames as a line does, 20 ms apart: "v" voice, "." none, "|" a request to finish."""
        for sign in pattern:
            if sign == "|":
                await self.asks.send(Finalise())
                continue
            await trio.sleep(FRAME_S)
            await self.asks.send(Recognise(start_s=start_s, audio=VOICE if sign == "v" else QUIET))
            start_s += FRAME_S


@asynccontextmanager
async def session(recogniser: LocalRecogniser) -> AsyncIterator[Seam]:
    seam = Seam(*trio.open_memory_channel[RecogniserAsk](math.inf))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recogniser.session, seam)
        await trio.testing.wait_all_tasks_blocked()
        yield seam
        await trio.sleep(5.0)
        nursery.cancel_scope.cancel()
    covered = [event.covered_s for _, event in seam.told]
    assert covered == sorted(covered)
    assert seam.opened_times == 1


def made(model: Model, threads: int = 1) -> LocalRecogniser:
    return LocalRecogniser(model.hear, Workers("decode", threads, runner=model.run), vad=Vad)


async def test_an_utterance_is_told_as_it_grows_and_then_as_final_with_no_decoding_left_to_wait_for(
    autojump_clock: MockClock,
) -> None:
    model = Model(decode_s=0.1)
    async with session(made(model)) as seam:
        await seam.play("." * 50 + "v" * 50 + "." * 60)
    drafts = [(at, event.text) for at, event in seam.told if not event.is_final]
    assert drafts[0] == (1.56, "23 frames.")
    assert drafts[-1] == (2.3, "50 frames.")
    # The words of the pause's draft: told the moment that the silence is long enough.
    assert seam.finals == [(2.4, "50 frames.")]
    final = next(event for _, event in seam.told if event.is_final and event.text)
    assert (final.start_s, final.end_s, final.covered_s) == pytest.approx((1.0, 2.0, 2.2))
    assert final.speech_final


async def test_silence_is_told_to_be_covered_without_a_decoding(autojump_clock: MockClock) -> None:
    model = Model()
    async with session(made(model)) as seam:
        await seam.play("." * 160, start_s=7.0)
    assert [event.text for _, event in seam.told] == ["", "", ""]
    assert all(event.is_final and not event.speech_final for _, event in seam.told)
    assert seam.told[-1][1].covered_s == pytest.approx(7.0 + 3.0 - 0.4)
    assert model.decoded == []


async def test_to_finish_tells_a_final_of_everything_even_in_the_middle_of_a_word(autojump_clock: MockClock) -> None:
    model = Model()
    async with session(made(model)) as seam:
        await seam.play("." * 20 + "v" * 10 + "|")
        await trio.sleep(1.0)
        assert seam.finals == [(0.7, "10 frames.")]
        assert seam.told[-1][1].covered_s == pytest.approx(0.6)
        await seam.play("." * 5 + "|", start_s=0.6)
    assert seam.told[-1][1].covered_s == pytest.approx(0.7)
    assert seam.told[-1][1].is_final


async def test_to_finish_is_answered_after_what_is_still_to_be_decoded(autojump_clock: MockClock) -> None:
    model = Model(decode_s=2.0)
    async with session(made(model)) as seam:
        await seam.play("v" * 20 + "." * 25 + "|" + "." * 5 + "|")
    first, *_, last = [event for _, event in seam.told if event.is_final]
    assert first.text == "20 frames."
    assert last.text == ""
    assert last.covered_s == pytest.approx(1.0)


async def test_a_final_waits_for_one_draft_at_most_however_many_calls_make_drafts(autojump_clock: MockClock) -> None:
    model = Model(decode_s=0.3)
    recogniser = made(model)
    async with (
        session(recogniser) as one,
        session(recogniser) as two,
        session(recogniser) as three,
        session(recogniser) as other,
        trio.open_nursery() as nursery,
    ):
        for talker in (one, two, three):
            nursery.start_soon(talker.play, "v" * 200 + "." * 60)
        nursery.start_soon(other.play, "v" * 15 + "." * 60)
    [(told_at, text)] = other.finals
    assert text == "15 frames."
    # Its audio ended at 0.3 s and was final at 0.7: one decoding of another call's draft, one of its own.
    assert told_at <= 0.7 + 0.3 + 0.3 + 0.001


async def test_utterances_that_wait_come_before_the_draft_of_what_is_being_said(autojump_clock: MockClock) -> None:
    model = Model(decode_s=0.3)
    recogniser = made(model)
    busy = trio.Event()

    async def keep_busy() -> None:
        async def wait(work: Callable[[], T], /) -> T:
            await busy.wait()
            return work()

        recogniser._workers._runner = wait
        await recogniser._workers.run(lambda: None)

    async with trio.open_nursery() as nursery, session(recogniser) as seam:
        nursery.start_soon(keep_busy)
        await trio.testing.wait_all_tasks_blocked()
        recogniser._workers._runner = model.run
        nursery.start_soon(seam.play, "v" * 20 + "." * 30 + "v" * 21 + "." * 30 + "v" * 200)
        await trio.sleep(3.0)
        busy.set()
    assert [frames for _, frames in model.decoded][:2] == [20, 21]
    assert len(model.decoded) > 2


async def test_drafts_are_left_out_while_the_workers_are_busy_and_finals_are_served_in_order(
    autojump_clock: MockClock,
) -> None:
    model = Model(decode_s=0.5)
    recogniser = made(model)
    with capture_logs() as logs:
        async with (
            session(recogniser) as one,
            session(recogniser) as two,
            session(recogniser) as three,
            trio.open_nursery() as nursery,
        ):
            for number, seam in enumerate((one, two, three)):
                nursery.start_soon(seam.play, "." * number + "v" * 15 + "." * 60)
    told = [at for seam in (one, two, three) for at, _ in seam.finals]
    assert len(told) == 3
    assert told == sorted(told)
    # The first draft kept the worker, so the others had none, and one final each.
    assert len(model.decoded) == 3
    waits = [entry for entry in logs if entry["event"] == "inference waited"]
    assert waits
    assert waits[-1]["kind"] == "decode"
    assert waits[-1]["waited_s"] > 0.25


async def test_while_an_utterance_waits_to_be_decoded_there_are_signs_of_life(autojump_clock: MockClock) -> None:
    model = Model(decode_s=4.0)
    async with session(made(model)) as seam:
        await seam.play("v" * 40 + "." * 500)
    before = [(at, event) for at, event in seam.told if at < 4.5]
    assert len(before) >= 3
    assert all(event.text == "" and event.covered_s == 0.0 for _, event in before)
    assert max(after - at for (at, _), (after, _) in pairwise(seam.told)) < 1.1
    [(told_at, text)] = seam.finals
    assert text == "40 frames."
    later = [event.covered_s for at, event in seam.told if at > told_at and event.is_final]
    assert later[-1] > 4.0


async def test_what_was_sent_twice_is_heard_once(autojump_clock: MockClock) -> None:
    model = Model()
    async with session(made(model)) as seam:
        await seam.asks.send(Recognise(start_s=3.0, audio=QUIET * 20 + VOICE * 10))
        await seam.asks.send(Recognise(start_s=3.0, audio=QUIET * 20 + VOICE * 30))
        await seam.asks.send(Recognise(start_s=4.0, audio=QUIET * 40))
    assert [text for _, text in seam.finals] == ["30 frames."]
    final = next(event for _, event in seam.told if event.text and event.is_final)
    assert (final.start_s, final.end_s) == pytest.approx((3.4, 4.0))


async def test_audio_whose_long_silences_were_left_out_is_the_same_utterances_at_their_times(
    autojump_clock: MockClock,
) -> None:
    """As a new session is sent it: of each silence 0.1 s after the words, and 0.2 s before the next."""
    model = Model()
    spoken = ((0.2, 0.8), (4.2, 4.6), (5.2, 7.0))
    async with session(made(model)) as seam:
        for begins_s, ends_s in spoken:
            pattern = "." * 10 + "v" * round((ends_s - begins_s) / FRAME_S) + "." * 5
            await seam.asks.send(
                Recognise(start_s=begins_s - 0.2, audio=b"".join(VOICE if sign == "v" else QUIET for sign in pattern))
            )
        await seam.play("." * 100, start_s=7.1)
    finals = [event for _, event in seam.told if event.is_final and event.text]
    assert [(each.start_s, each.end_s) for each in finals] == [pytest.approx(each) for each in spoken]
    assert [each.covered_s for each in finals] == pytest.approx([0.9, 4.7, 7.2])
    assert all(each.speech_final for each in finals)
    assert seam.told[-1][1].covered_s == pytest.approx(8.0)


async def test_a_click_is_not_decoded_but_is_covered(autojump_clock: MockClock) -> None:
    model = Model()
    async with session(made(model)) as seam:
        await seam.play("." * 20 + "vvvvv" + "." * 60)
    assert model.decoded == []
    assert seam.finals == []
    assert seam.told[-1][1].covered_s > 0.6


async def test_noise_that_the_model_takes_for_a_word_is_not_told(autojump_clock: MockClock) -> None:
    model = Model(answers=[Words("You", -0.05)] * 9)
    async with session(made(model)) as seam:
        await seam.play("." * 20 + "v" * 30 + "." * 60)
    assert all(event.text == "" for _, event in seam.told)
    assert any(event.speech_final and event.is_final for _, event in seam.told)


@pytest.mark.parametrize(
    ("words", "is_believed"),
    [
        (Words("You", -0.05), False),
        (Words("you", -0.05), False),
        (Words("You.", -0.4), True),
        (Words("Thank you.", -0.1), True),
        (Words("No.", -0.1), True),
        (Words("\u266a\u266a", -0.1), False),
        (Words("", 0.0), False),
        (Words("S.", -1.12), False),
        (Words("Two.", -0.9), True),
    ],
)
def test_what_is_believed(words: Words, is_believed: bool) -> None:
    assert believable(words) is is_believed


async def test_utterances_that_cannot_be_decoded_are_told_as_ones_without_words_and_the_next_is_heard(
    autojump_clock: MockClock,
) -> None:
    model = Model(chokes_on=(20, 21))
    with capture_logs() as logs:
        async with session(made(model)) as seam:
            await seam.play("." * 50 + "v" * 20 + "." * 50 + "v" * 21 + "." * 50 + "v" * 22 + "." * 50)
    utterances = [event for _, event in seam.told if event.speech_final]
    assert [event.text for event in utterances] == ["", "", "22 frames."]
    assert [event.end_s for event in utterances] == pytest.approx([1.4, 2.82, 4.26])
    assert [event.covered_s for event in utterances] == pytest.approx([1.6, 3.02, 4.46])
    assert all(event.is_final for event in utterances)
    lost = [entry for entry in logs if entry["event"] == "recogniser lost an utterance"]
    assert [(entry["start_s"], entry["end_s"]) for entry in lost] == [
        (round(event.start_s, 2), round(event.end_s, 2)) for event in utterances[:2]
    ]


async def test_a_model_that_decodes_nothing_at_all_is_down_and_the_utterance_stays_owed(
    autojump_clock: MockClock,
) -> None:
    recogniser = made(Model(is_down=True))
    seam = Seam(*trio.open_memory_channel[RecogniserAsk](math.inf))
    with pytest.RaisesGroup(pytest.RaisesExc(ProviderDown, match="cannot decode 4000 bytes"), flatten_subgroups=True):
        with trio.fail_after(60.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(recogniser.session, seam)
                nursery.start_soon(seam.play, "." * 50 + "v" * 20 + "." * 500)
    assert seam.told
    assert max(event.covered_s for _, event in seam.told) < 1.0


async def test_a_draft_that_cannot_be_decoded_is_left_out(autojump_clock: MockClock) -> None:
    model = Model(chokes_on=(23,))
    with capture_logs() as logs:
        async with session(made(model)) as seam:
            await seam.play("." * 50 + "v" * 50 + "." * 60)
    assert model.decoded[0][1] == 23
    drafts = [event.text for _, event in seam.told if not event.is_final]
    assert "23 frames." not in drafts
    assert drafts[-1] == "50 frames."
    assert [text for _, text in seam.finals] == ["50 frames."]
    assert logs == []


async def test_a_cancelled_session_leaves_its_worker_to_others(autojump_clock: MockClock) -> None:
    model = Model(decode_s=1.0)
    workers = Workers("decode", 1, runner=model.run)
    recogniser = LocalRecogniser(model.hear, workers, vad=Vad)
    seam = Seam(*trio.open_memory_channel[RecogniserAsk](math.inf))
    with trio.move_on_after(1.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(recogniser.session, seam)
            nursery.start_soon(seam.play, "v" * 40 + "." * 60)
    assert workers.is_free
