"""The caller's own voice: another than the agent's, and one that is understood."""

import re

import numpy as np
import pytest
import soxr
import trio
from moonshine_voice import ModelArch, get_model_path
from moonshine_voice.transcriber import Transcriber

from engine.codec import mulaw
from simulators import scenario
from simulators.audio import sounds
from simulators.caller import Say
from simulators.voice import LocalVoice


@pytest.fixture(scope="module")
def recogniser() -> Transcriber:
    return Transcriber(str(get_model_path("tiny-en")), model_arch=ModelArch.TINY)


@pytest.fixture(scope="module")
def voice() -> LocalVoice:
    return LocalVoice()


def _words(text: str) -> list[str]:
    return re.sub(r"[^a-z0-9 ]", "", text.lower().replace("-", "")).split()


def _wrong(said: list[str], heard: list[str]) -> int:
    """The number of words that must be changed to get from one to the other."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        previous, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (word != other)))
    return row[-1]


async def test_what_the_second_voice_says_is_understood(recogniser: Transcriber, voice: LocalVoice) -> None:
    texts = [step.text for step in scenario.load("book_appointment").steps if isinstance(step, Say)]
    said: list[str] = []
    wrong = 0
    for text in texts:
        samples = mulaw.decode(await voice.speak(text)).astype(np.float32) / 32768
        clear = soxr.resample(np.concatenate([np.zeros(2000, np.float32), samples]), 8000, 16000)
        lines = recogniser.transcribe_without_streaming(clear.tolist(), 16000).lines
        heard = " ".join(line.text for line in lines if line.text != "You")  # what it makes of plain silence
        wrong += _wrong(_words(text), _words(heard.replace("10", "ten")))
        said += _words(text)
    assert wrong / len(said) < 0.1


async def test_the_second_voice_is_the_same_at_every_call_and_as_fast_as_the_first(voice: LocalVoice) -> None:
    one, two = await voice.speak("Good morning."), await voice.speak("Good morning.")
    assert one == two
    assert 0.5 < len(one) / 8000 < 1.0


async def test_words_begin_at_once_and_sentences_are_not_far_apart(voice: LocalVoice) -> None:
    audio = await voice.speak("Thank you. That is all.")
    one, two = sounds(audio, gap_s=0.2)
    assert one.start < 0.1 * 8000
    assert 0.2 * 8000 < two.start - one.end < 0.45 * 8000
    assert len(audio) - two.end < 0.1 * 8000


async def test_what_cannot_be_said_is_nothing(voice: LocalVoice) -> None:
    assert await voice.speak(" ") == b""


async def test_callers_may_speak_at_the_same_time(voice: LocalVoice) -> None:
    async with trio.open_nursery() as nursery:
        for text in ("one", "two", "three"):
            nursery.start_soon(voice.speak, text)
