"""Pacer and a line: what the caller hears, whatever is held, cut, echoed and late; and what is said of it."""

import heapq
import itertools
import random
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.pacer import HOLD_TONE, Clip, Pacer, PacingPolicy
from engine.actors.tts import TTS
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE
from engine.messages.caller import LineClosed, MarkEcho
from engine.messages.line import SendClear, SendMark, SendMedia
from engine.messages.playout import Hold, Played, Resume, Stopped
from engine.messages.recognition import Word
from engine.messages.records import Counted, Timing
from engine.messages.reply import PlayClip, PlayTone, ReplyEnded, Sentence
from engine.messages.supervision import SessionInfo, Tick
from engine.messages.synthesis import (
    AgentAudio,
    AgentAudioEnded,
    Synthesise,
    Synthesised,
    SynthesisEnded,
    VoiceDied,
)
from engine.messages.turns import BargedIn
from tests.actors.steps import after, only, step

HUSH = bytes([SILENCE])
SILENT = Pacer()


PROMPT = itertools.repeat(0.0)


@attrs.define
class Line:
    """Twilio's buffer behind a network: it plays what has come, one byte after another, and says when.

    out_s, back_s: how long the network takes each way. late_s: what it takes besides on the way out, by message.
    stretches: what was played between two clears: when it began, and the sound.
    """

    out_s: float = 0.0
    back_s: float = 0.0
    late_s: Iterator[float] = attrs.field(default=PROMPT)
    stretches: list[list[tuple[float, bytes]]] = attrs.field(factory=lambda: [[]])
    echoes: list[tuple[float, str]] = attrs.field(factory=list)
    free_at: float = 0.0
    arrives_at: float = 0.0
    # Marks that are out, with when they are due.
    marks: list[tuple[float, str]] = attrs.field(factory=list)

    def send(self, message: object, now: float) -> None:
        """Take a message; what is sent later arrives later."""
        if not isinstance(message, SendMedia | SendMark | SendClear):
            return
        self.arrives_at = max(self.arrives_at, now + self.out_s + next(self.late_s))
        match message:
            case SendMedia(audio=audio):
                start = max(self.free_at, self.arrives_at)
                self.stretches[-1].append((start, audio))
                self.free_at = start + len(audio) / RATE_HZ
            case SendMark(name=name):
                due = max(self.free_at, self.arrives_at)
                self.marks.append((due, name))
                heapq.heappush(self.echoes, (due + self.back_s, name))
            case SendClear():
                self.cut(self.arrives_at)

    def cut(self, at_s: float) -> None:
        """Drop what was not played by then; marks come back at once."""
        self.stretches[-1] = list(played(self.stretches[-1], at_s))
        self.stretches.append([])
        self.free_at = min(self.free_at, at_s)
        names = [name for due, name in self.marks if due > at_s]
        self.marks.clear()
        self.echoes = [(due, name) for due, name in self.echoes if name not in names]
        self.echoes += [(at_s + self.back_s, name) for name in names]
        heapq.heapify(self.echoes)


def played(stretch: list[tuple[float, bytes]], until: float) -> Iterator[tuple[float, bytes]]:
    """What sounds of it before a moment."""
    for start, audio in stretch:
        size = round((until - start) * RATE_HZ)
        if size > 0:
            yield start, audio[:size]


def words_in(stretch: list[tuple[float, bytes]]) -> list[tuple[int, int]]:
    """The sounds in a stretch, one after another, each with its size; a sound is a byte that is not silence."""
    sound = b"".join(audio for _, audio in stretch).replace(HUSH, b"")
    return [(code, len(list(each))) for code, each in itertools.groupby(sound)]


def drive(
    core: Pacer,
    line: Line,
    script: list[tuple[float, object]],
    until: float,
    *,
    late: Iterator[float] = PROMPT,
    stall: tuple[float, float] = (0.0, 0.0),
) -> list[object]:
    """Have the core told what it is to be told, with its ticks as late as they are, and the line's echoes.

    stall: from when until when nobody takes a step.
    """
    told: list[object] = []
    events = sorted(script, key=lambda each: each[0])
    now, tick_late = 0.0, next(late)
    while True:
        tick_at = max(now, core.deadline + tick_late)
        next_at = events[0][0] if events else until
        echo_at = line.echoes[0][0] if line.echoes else until
        now = min(max(now, min(next_at, echo_at)), tick_at)
        if stall[0] <= now < stall[1]:
            now = stall[1]
        if min(tick_at, next_at, echo_at) >= until and not events:
            return told
        message: object
        if now >= tick_at:
            message, tick_late = Tick(), next(late)
        elif echo_at <= next_at:
            message = MarkEcho(name=heapq.heappop(line.echoes)[1], at_s=now)
        else:
            message = events.pop(0)[1]
        core, effects = step(core, message, now)
        told += effects
        for each in effects:
            line.send(each, now)


@attrs.frozen
class Said:
    """A reply of one word after another, each with a sound of its own. sizes: of the words of each piece."""

    sizes: tuple[tuple[int, ...], ...]

    @property
    def words(self) -> list[int]:
        """The size of each word; the sound of the n-th is n + 1."""
        return [size for piece in self.sizes for size in piece]

    def script(self, pace: float, *, timed: bool = True) -> list[tuple[float, object]]:
        """All that the Pacer is told of it, by a voice that speaks so many times faster than it is heard."""
        told: list[tuple[float, object]] = [
            (0.0, Sentence(turn=1, index=index, text=" ".join(map(str, piece))))
            for index, piece in enumerate(self.sizes)
        ]
        code, now = 0, 0.0
        for index, piece in enumerate(self.sizes):
            at_bytes, whole = 0, b""
            for size in piece:
                code += 1
                now += size / RATE_HZ / pace
                whole += bytes([code]) * size
                word = Word(text="", start_s=at_bytes / RATE_HZ, end_s=(at_bytes + size) / RATE_HZ)
                at_bytes += size
                if timed:
                    told.append((now, AgentAudio(turn=1, index=index, audio=bytes([code]) * size, words=(word,))))
            if not timed:
                told.append((now, AgentAudio(turn=1, index=index, audio=whole)))
            told.append((now, AgentAudioEnded(turn=1, index=index)))
        return [*told, (now, ReplyEnded(turn=1, pieces=len(self.sizes)))]


REPLIES = st.lists(st.lists(st.integers(1200, 4000), min_size=1, max_size=6).map(tuple), min_size=1, max_size=3).map(
    lambda sizes: Said(tuple(sizes))
)
PACES = st.sampled_from([1.5, 4.0, 100.0])
LATE = st.lists(st.floats(0.0, 0.25), min_size=1, max_size=8).map(itertools.cycle)
NETWORKS = st.tuples(
    st.floats(0.0, 0.2), st.floats(0.0, 0.2), st.lists(st.floats(0.0, 0.03), min_size=1, max_size=8)
).map(lambda drawn: Line(drawn[0], drawn[1], itertools.cycle(drawn[2])))
HOLDS = st.lists(st.tuples(st.floats(0.01, 2.0), st.floats(0.0, 3.0)), max_size=6)
"""Pauses before each hold, and how long it lasts."""


def holding(holds: list[tuple[float, float]]) -> list[tuple[float, object]]:
    script: list[tuple[float, object]] = []
    now = 0.0
    for after_s, lasts_s in holds:
        script.append((now + after_s, Hold(turn=1)))
        now += after_s + lasts_s
        script.append((now, Resume(turn=1)))
    return script


@given(said=REPLIES, pace=PACES, holds=HOLDS, line=NETWORKS, late=LATE)
def test_of_a_reply_that_is_held_every_word_is_heard_in_order_and_little_of_it_twice(
    said: Said, pace: float, holds: list[tuple[float, float]], line: Line, late: Iterator[float]
) -> None:
    told = drive(SILENT, line, [*said.script(pace), *holding(holds)], 60.0, late=late)
    words = said.words
    starts = [sum(words[:at]) for at in range(len(words) + 1)]
    firsts = {sum(len(piece) for piece in said.sizes[:at]) for at in range(len(said.sizes))}
    heard_bytes = 0
    for stretch in line.stretches:
        runs = words_in(stretch)
        if not runs:
            continue
        codes = [code for code, _ in runs]
        first = codes[0] - 1
        assert codes == list(range(first + 1, first + 1 + len(codes)))
        assert all(size == words[code - 1] for code, size in runs[:-1])  # each from its beginning to its end
        assert starts[first] <= heard_bytes  # none is skipped
        wanted = heard_bytes - 0.3 * RATE_HZ
        # It begins with the word that lies so far back, or the one after it; or where the piece begins.
        assert starts[first + 1] >= wanted - 0.06 * RATE_HZ or first in firsts
        heard_bytes = max(heard_bytes, starts[first] + sum(size for _, size in runs))
    assert heard_bytes == starts[-1]
    assert only(Stopped, told) == [Stopped(turn=1)]
    assert only(Played, told)[-1].heard.split() == [str(size) for size in words]


def whole_words(said: Said, line: Line, until: float) -> int:
    """How many words of a reply were heard from their beginning to their end by then."""
    words = said.words
    stretches = [*line.stretches[:-1], list(played(line.stretches[-1], until))]
    runs = [words_in(stretch) for stretch in stretches]
    return max((code for each in runs for code, size in each if size == words[code - 1]), default=0)


@given(
    said=REPLIES,
    pace=PACES,
    holds=HOLDS,
    network=st.tuples(NETWORKS, LATE),
    at=st.floats(0.01, 9.0),
    gone=st.booleans(),
)
def test_what_is_said_to_be_heard_was_heard_up_to_one_word(
    said: Said,
    pace: float,
    holds: list[tuple[float, float]],
    network: tuple[Line, Iterator[float]],
    at: float,
    *,
    gone: bool,
) -> None:
    """Whether the caller breaks in, over a network that is late each way, or the line goes and we hear of it later."""
    line, late = network
    script = [each for each in [*said.script(pace), *holding(holds)] if each[0] < at]
    if gone:
        end: object = LineClosed(reason="stop", at_s=at)
        told = drive(SILENT, line, [*script, (at + line.back_s, end)], at + line.back_s + 0.001, late=late)
        heard = whole_words(said, line, at)
    else:
        told = drive(SILENT, line, [*script, (at, BargedIn(turn=1, at_s=at))], at + 9.0, late=late)
        heard = whole_words(said, line, 99.0)
    reported = len(only(Played, told)[-1].heard.split())
    assert abs(reported - heard) <= 1


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    chunk_bytes=st.integers(90, 1500),
    pace=st.sampled_from([1.5, 4.0]),
    deaths=st.lists(st.tuples(st.integers(1, 14), st.sampled_from([0.0, 0.3, 1.4])), max_size=4),
    holds=HOLDS,
)
def test_whenever_a_voice_dies_and_the_agent_is_held_every_word_is_heard_in_order(
    sizes: list[int], chunk_bytes: int, pace: float, deaths: list[tuple[int, float]], holds: list[tuple[float, float]]
) -> None:
    """Each word is a sound of its own, with silence around it; each voice says what the one before owed."""
    codes = iter(range(1, 40))
    texts = [" ".join(str(next(codes)) for _ in range(size)) for size in sizes]
    script: list[tuple[float, object]] = [
        (0.0, Sentence(turn=1, index=index, text=text)) for index, text in enumerate(texts)
    ]
    tts = after(TTS(), *((message, now) for now, message in script))
    now = 0.0
    for life, (chunks, away_s) in enumerate([*deaths, (10_000, 0.0)], start=1):
        now += away_s
        tts, asks = tts.started(SessionInfo(vendor=f"v{life}", incarnation=life, aligned=True), now)
        script += [(now, each) for each in asks if not isinstance(each, Synthesise)]
        for event in list(voiced(only(Synthesise, asks), chunk_bytes, life))[:chunks]:
            now += chunk_bytes / RATE_HZ / pace
            tts, effects = tts.handle(event, now)
            script += [(now, each) for each in effects if not isinstance(each, Timing)]
        script.append((now, VoiceDied()))
    line = Line(0.05, 0.05)
    told = drive(SILENT, line, [*script, (now, ReplyEnded(turn=1, pieces=len(texts))), *holding(holds)], 90.0)
    most, whole = 0, set[int]()
    for codes_heard in filter(None, map(words_in, line.stretches)):
        names = [code for code, _ in codes_heard]
        assert names == list(range(names[0], names[0] + len(names)))
        assert names[0] <= most + 1
        most = max(most, names[-1])
        whole |= {code for code, size in codes_heard if size >= len(sound_of(code))}
    assert whole == set(range(1, sum(sizes) + 1))
    assert only(Played, told)[-1] == Played(turn=1, heard=" ".join(texts), settled=True)


def sound_of(code: int) -> bytes:
    return bytes([code]) * (300 + 70 * code)


def voiced(asks: list[Synthesise], chunk_bytes: int, life: int) -> Iterator[Synthesised | SynthesisEnded]:
    """What a voice says of what it is asked for."""
    for ask in asks:
        voice, ends = b"", list[tuple[str, int]]()
        for word in ask.text.split():
            voice += HUSH * 40 * (life % 3) + sound_of(int(word))
            ends.append((word, len(voice)))
            voice += HUSH * 120
        begins = [0, *(end + 120 + 40 * (life % 3) for _, end in ends)]
        for start in range(0, len(voice), chunk_bytes):
            part = voice[start : start + chunk_bytes]
            words = tuple(
                Word(text=word, start_s=begin / RATE_HZ, end_s=end / RATE_HZ)
                for (word, end), begin in zip(ends, begins, strict=False)
                if start < end <= start + len(part)
            )
            yield Synthesised(turn=1, index=ask.index, audio=part, words=words)
        yield SynthesisEnded(turn=1, index=ask.index)


@pytest.mark.parametrize("late_s", [0.4, 0.8])
@pytest.mark.parametrize("gone", [False, True])
def test_a_stretch_that_set_out_late_is_known_by_its_echoes(late_s: float, *, gone: bool) -> None:
    """An earlier reply was prompt, so its echoes tell how long the way is."""
    first = [(0.0, PlayClip(turn=0, index=0, clip="greeting")), (0.0, ReplyEnded(turn=0, pieces=1))]
    said = Said(((1600,) * 20,))
    script = [(2.0 + at, each) for at, each in said.script(100.0)]
    core = Pacer(clips={"greeting": Clip(text="Hello.", audio=b"\x7d" * 1600)})
    # The greeting is five messages and a mark; then the first of the reply is late, and all behind it.
    line = Line(0.05, 0.05, itertools.chain([0.0] * 6, [late_s], itertools.repeat(0.0)))
    at = 4.5
    end = LineClosed(reason="stop", at_s=at) if gone else BargedIn(turn=1, at_s=at)
    told = drive(core, line, [*first, *script, (at, end)], at + 0.001)
    true = at - 0.05 if gone else at + 0.05
    line.stretches = [[(start, audio.replace(b"\x7d", HUSH)) for start, audio in each] for each in line.stretches]
    assert abs(len(only(Played, told)[-1].heard.split()) - whole_words(said, line, true)) <= 1


@given(said=REPLIES, at=st.floats(0.2, 3.0), message_ms=st.sampled_from([20, 40, 60, 80, 100]))
def test_after_a_stall_of_200_ms_the_caller_hears_no_gap(said: Said, at: float, message_ms: int) -> None:
    line, core = Line(0.05, 0.05), Pacer(policy=PacingPolicy(message_ms=message_ms))
    told = drive(core, line, said.script(100.0), 30.0, stall=(at, at + 0.2))
    audio = [each for stretch in line.stretches for each in stretch]
    gaps = [after[0] - (before[0] + len(before[1]) / RATE_HZ) for before, after in itertools.pairwise(audio)]
    assert all(gap < 1e-6 for gap in gaps)
    assert only(Counted, told) == []
    assert only(Stopped, told) == [Stopped(turn=1)]


def test_after_ten_thousand_interruptions_no_frame_of_an_older_turn_was_sent() -> None:
    """Each turn has a sound of its own; late sound of turns that are over keeps coming."""
    chance = random.Random(10)
    core = Pacer(clips={HOLD_TONE: Clip(text="", audio=b"\xaa" * 800)})
    now, stale, sent_bytes = 0.0, list[int](), 0

    def tell(message: object) -> None:
        nonlocal core, sent_bytes
        core, effects = step(core, message, now)
        for each in effects:
            if isinstance(each, SendMedia):
                assert len(each.audio) % FRAME_BYTES == 0
                sent_bytes += len(each.audio)
                stale.extend(code for code in over if code in each.audio)

    over: set[int] = set()
    for turn in range(10_000):
        code = 1 + turn % 40
        over.discard(code)
        tell(Sentence(turn=turn, index=0, text="one two three"))
        tell(AgentAudio(turn=turn, index=0, audio=bytes([code]) * chance.randint(200, 6000)))
        for _ in range(chance.randint(0, 3)):
            now += chance.choice([0.0, 0.01, 0.05, 0.3])
            if core.deadline <= now:
                tell(Tick())
            if chance.random() < 0.3:
                tell(
                    chance.choice(
                        [Hold(turn=turn), Resume(turn=turn), PlayTone(turn=turn), AgentAudioEnded(turn=turn, index=0)]
                    )
                )
        tell(BargedIn(turn=turn, at_s=now))
        over.add(code)
        if chance.random() < 0.5:
            tell(AgentAudio(turn=turn, index=0, audio=bytes([code]) * 900))
            tell(Sentence(turn=turn, index=1, text="four"))
        now += chance.choice([0.0, 0.02, 0.5])
        if core.deadline <= now:
            tell(Tick())
    assert stale == []
    assert core.buffer.generation > 9_000
    assert sent_bytes > 10_000_000
