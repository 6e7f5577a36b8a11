"""Pacer: exact frames on time, and what the caller has truly heard."""

import itertools

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.pacer import Buffer, Clip, Pacer, PacingPolicy, Piece, Reply
from engine.actors.tts import TTS
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE
from engine.messages.caller import LineClosed, MarkEcho
from engine.messages.line import CloseLine, SendClear, SendMark, SendMedia
from engine.messages.playout import Played, Playing, Stopped
from engine.messages.recognition import Word
from engine.messages.records import Counted, Timing
from engine.messages.reply import HangUp, PlayClip, PlayNotice, ReplyEnded, Sentence
from engine.messages.supervision import NEVER, SessionInfo, Tick
from engine.messages.synthesis import (
    AgentAudio,
    AgentAudioEnded,
    AgentAudioTrimmed,
    Synthesise,
    Synthesised,
    SynthesisEnded,
    VoiceDied,
)
from engine.messages.turns import BargedIn
from tests.actors.steps import after, only, ran, sent, step, waited

CLOSED = LineClosed(reason="stop", at_s=90.0)
NOTICE = b"n" * 400
CLIPS = {
    "greeting": Clip(text="Hello there.", audio=b"g" * 1600),
    "repeat": Clip(text="Could you say that again?", audio=NOTICE),
}
SILENT = Pacer(clips=CLIPS)
HUSH = bytes([SILENCE])


def sentence(index: int, text: str, turn: int = 1) -> Sentence:
    return Sentence(turn=turn, index=index, text=text)


def audio(index: int, sound: bytes, *words: Word, turn: int = 1) -> AgentAudio:
    return AgentAudio(turn=turn, index=index, audio=sound, words=words)


def whole(index: int, turn: int = 1) -> AgentAudioEnded:
    return AgentAudioEnded(turn=turn, index=index)


def echo(index: int, turn: int = 1, generation: int = 0) -> MarkEcho:
    return MarkEcho(name=f"{generation}:{turn}:{index}", at_s=0.0)


def mark(index: int, turn: int = 1, generation: int = 0) -> SendMark:
    return SendMark(name=f"{generation}:{turn}:{index}")


def media(messages: list[object]) -> bytes:
    return b"".join(each.audio for each in only(SendMedia, messages))


def said(index: int, text: str, sound: bytes, now: float, turn: int = 1) -> list[tuple[object, float]]:
    """A piece with all its audio; each word is as long as the others."""
    texts = text.split()
    each_s = len(sound) / RATE_HZ / len(texts)
    words = [Word(text=word, start_s=at * each_s, end_s=(at + 1) * each_s) for at, word in enumerate(texts)]
    return [
        (sentence(index, text, turn), now),
        (audio(index, sound, *words, turn=turn), now),
        (whole(index, turn), now),
    ]


def reply(*pieces: tuple[str, bytes], now: float = 0.0, turn: int = 1) -> list[tuple[object, float]]:
    """A whole reply: asked for first, then spoken."""
    steps = [said(index, text, sound, now, turn) for index, (text, sound) in enumerate(pieces)]
    asked: list[tuple[object, float]] = [each[0] for each in steps]
    return [
        *asked,
        *(each for spoken in steps for each in spoken[1:]),
        (ReplyEnded(turn=turn, pieces=len(pieces)), now),
    ]


TEN = "one two three four five six seven eight nine ten"
SECOND = b"a" * RATE_HZ

SPEAKING = after(SILENT, *reply((TEN, SECOND)))
"""A second of sound with ten words, begun at 0.0."""


# Frames.


def frames(messages: list[object]) -> list[int]:
    """How many whole frames each message to the line holds."""
    sizes = [divmod(len(each.audio), FRAME_BYTES) for each in only(SendMedia, messages)]
    assert all(rest == 0 for _, rest in sizes)
    return [count for count, _ in sizes]


@pytest.mark.parametrize(
    ("message_ms", "expected"), [(20, [1, 1, 1, 1, 1, 1]), (40, [2, 2, 2]), (60, [3, 3]), (80, [4, 2]), (100, [5, 1])]
)
def test_sound_goes_out_in_frames_of_160_bytes_and_the_last_is_filled_with_silence(
    message_ms: int, expected: list[int]
) -> None:
    clips = {"greeting": Clip(text="Yes.", audio=b"y" * 900)}
    core = Pacer(clips=clips, policy=PacingPolicy(message_ms=message_ms))
    told = sent(core, (PlayClip(turn=0, index=0, clip="greeting"), 0.0))
    assert frames(told) == expected
    assert media(told) == b"y" * 900 + HUSH * 60


def test_the_first_sound_goes_out_at_once_though_it_is_less_than_a_message() -> None:
    core, told = ran(SILENT, (sentence(0, "Yes."), 0.0), (audio(0, b"y" * 160), 0.0))
    assert frames(told) == [1]
    assert frames(sent(core, (audio(0, b"y" * 900), 0.01))) == [2, 2, 1]


def test_two_pieces_are_joined_without_silence_between_them() -> None:
    core, told = ran(SILENT, *reply(("Yes.", b"y" * 200), ("No.", b"n" * 200)))
    assert media([*told, *waited(core, 1.0)[1]]) == b"y" * 200 + b"n" * 200 + bytes([SILENCE]) * 80


def test_a_part_of_a_frame_is_held_for_the_sound_that_follows_it_at_once() -> None:
    told = sent(SILENT, (sentence(0, "Yes."), 0.0), (audio(0, b"y" * 200), 0.0), (audio(0, b"z" * 120), 0.03))
    assert media(told) == b"y" * 200 + b"z" * 120


def test_a_part_of_a_frame_is_filled_with_silence_when_nothing_follows_it() -> None:
    core, told = ran(SILENT, (sentence(0, "Yes."), 0.0), (audio(0, b"y" * 200), 0.0))
    assert media(told) == b"y" * 160
    core, told = step(core, Tick(), core.deadline)
    assert media(told) == b"y" * 40 + bytes([SILENCE]) * 120
    assert core.buffer.until == pytest.approx(0.06)


def test_a_part_is_held_while_the_buffer_has_more_than_two_frames() -> None:
    core, told = ran(SILENT, (sentence(0, "Yes."), 0.0), (audio(0, b"y" * 1000), 0.0))
    assert len(media(told)) == 960
    assert core.deadline == pytest.approx(0.12 - 0.04)


def test_the_lead_is_filled_at_once_and_then_a_message_goes_out_every_40_ms() -> None:
    core, told = ran(SILENT, *reply((TEN, SECOND)))
    assert frames(told) == [2] * 8  # 0.32 s: until the lead is reached
    moments = []
    for _ in range(16):
        moments.append(core.deadline)
        core, told = step(core, Tick(), core.deadline)
        assert frames(told) == [2]
    assert [round(later - sooner, 6) for sooner, later in itertools.pairwise(moments)] == [0.04] * 15


def test_a_late_wake_up_is_caught_up_at_once() -> None:
    core, told = step(SPEAKING, Tick(), 0.15)
    assert frames(told) == [2] * 4
    assert core.buffer.until == pytest.approx(0.48)
    assert only(Counted, told) == []


def test_after_the_buffer_ran_out_the_lead_is_filled_anew_and_no_more() -> None:
    core, told = step(SPEAKING, Tick(), 0.5)
    assert frames(told) == [2] * 8
    assert core.buffer.until == pytest.approx(0.82)
    assert only(Counted, told) == [Counted(name="underruns", amount=1)]


def test_a_sentence_whose_voice_was_late_is_not_counted_as_ours() -> None:
    core = after(SILENT, (sentence(0, "Yes."), 0.0), (audio(0, b"y" * 160), 0.0))
    assert only(Counted, sent(core, (audio(0, b"y" * 160), 0.019))) == []
    told = sent(core, (audio(0, b"y" * 160), 0.021))
    assert only(Counted, told) == [Counted(name="voice_underruns", amount=1)]


def test_the_policy_says_how_far_ahead_sound_is_sent() -> None:
    core = attrs.evolve(SILENT, policy=PacingPolicy(lead_s=0.1))
    assert frames(sent(core, *reply((TEN, SECOND)))) == [2] * 3


def test_a_clip_is_played_like_a_sentence() -> None:
    core, told = ran(SILENT, (PlayClip(turn=0, index=0, clip="greeting"), 0.0), (ReplyEnded(turn=0, pieces=1), 0.0))
    assert told[0] == Playing(turn=0)
    assert media([*told, *waited(core, 1.0)[1]]) == b"g" * 1600
    assert sent(core, (Tick(), 0.1), (echo(0, turn=0), 0.2))[-2:] == [
        Played(turn=0, heard="Hello there.", settled=True),
        Stopped(turn=0),
    ]


def test_pieces_are_played_in_order_of_turn_and_index_whatever_comes_first() -> None:
    core, told = ran(
        SILENT,
        (sentence(0, "One."), 0.0),
        (sentence(1, "Two."), 0.0),
        (sentence(0, "Three.", turn=2), 0.0),
        (audio(0, b"3" * 160, turn=2), 0.0),
        (whole(0, turn=2), 0.0),
        (audio(1, b"2" * 160), 0.0),
        (whole(1), 0.0),
    )
    assert media(told) == b""
    assert media(sent(core, (audio(0, b"1" * 160), 0.1), (whole(0), 0.1))) == b"1" * 160 + b"2" * 160 + b"3" * 160


def test_the_first_sound_of_a_reply_is_told_once() -> None:
    core, told = ran(SILENT, *reply((TEN, SECOND), ("Yes.", SECOND)))
    told += waited(core, 1.5)[1]
    assert only(Playing, told) == [Playing(turn=1)]
    assert only(Timing, told) == [Timing(turn=1, stage="first_sound", at_s=0.0)]


# Marks and hearing.


def test_a_mark_follows_the_message_that_the_end_of_a_piece_is_in() -> None:
    told = sent(SILENT, *reply(("Yes.", b"y" * 320), ("No.", b"n" * 40), ("Well.", b"w" * 120)))
    line = [each if isinstance(each, SendMark) else "m" for each in told if isinstance(each, SendMark | SendMedia)]
    assert line == ["m", mark(0), "m", mark(1), mark(2)]


def test_a_mark_waits_for_the_rest_of_the_frame_that_the_end_of_a_piece_is_in() -> None:
    core, told = ran(SILENT, (sentence(0, "Yes."), 0.0), (sentence(1, "No."), 0.0), (audio(0, b"y" * 200), 0.0))
    core, more = step(core, whole(0), 0.0)
    told += more
    assert only(SendMark, told) == []
    assert sent(core, (audio(1, b"n" * 120), 0.01)) == [SendMedia(audio=b"y" * 40 + b"n" * 120), mark(0)]


def test_a_reply_is_over_when_its_last_mark_has_come_back() -> None:
    core = waited(after(SILENT, *reply(("Yes.", b"y" * 160), ("No.", b"n" * 160))), 0.5)[0]
    core, told = step(core, echo(0), 0.5)
    assert told == [Played(turn=1, heard="Yes.", settled=False)]
    core, told = step(core, echo(1), 0.6)
    assert told == [Played(turn=1, heard="Yes. No.", settled=True), Stopped(turn=1)]
    assert (core.replies, core.deadline) == ((), NEVER)


def test_a_mark_says_that_what_was_sent_before_it_was_heard_too() -> None:
    core = waited(after(SILENT, *reply(("Yes.", b"y" * 160), ("No.", b"n" * 160))), 0.5)[0]
    assert sent(core, (echo(1), 0.6))[0] == Played(turn=1, heard="Yes. No.", settled=True)


def test_a_reply_is_not_over_before_all_of_it_was_asked_for() -> None:
    core = after(SILENT, *said(0, "Yes.", b"y" * 160, 0.0))
    core, told = step(core, echo(0), 0.1)
    assert told == [Played(turn=1, heard="Yes.", settled=False)]
    assert only(Stopped, sent(core, (ReplyEnded(turn=1, pieces=1), 0.2))) == [Stopped(turn=1)]


@pytest.mark.parametrize("name", ["0:0:7", "1:1:0", "hello", "", "0:1:0:0", "-1:1:0"])
def test_marks_that_mean_nothing_are_not_heard(name: str) -> None:
    core = after(SILENT, *said(0, "Yes.", b"y" * 1600, 0.0))
    assert ran(core, (MarkEcho(name=name, at_s=0.0), 0.1)) == (core, [])


def test_marks_that_a_clear_sent_back_are_not_heard() -> None:
    core = after(SILENT, *reply(("Yes.", b"y" * 160)), (BargedIn(turn=1, at_s=0.0), 0.005))
    assert ran(core, (echo(0), 0.01)) == (core, [])
    assert mark(0, turn=2, generation=1) in sent(core, *reply(("No.", b"n" * 160), now=0.1, turn=2))


@pytest.mark.parametrize(("at", "heard"), [(1.99, False), (2.01, True)])
def test_a_piece_whose_mark_is_lost_counts_as_heard_two_seconds_after_its_sound(at: float, *, heard: bool) -> None:
    core = after(SILENT, *reply(("Yes.", b"y" * 160)))
    _, told = waited(core, 0.02 + at)
    assert bool(only(Stopped, told)) is heard
    assert bool(only(Played, told)) is heard


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((8000, 16000), [8000, 16000]),  # after the message in which a word ends, a second after the last mark or more
        ((7999, 9000, 17000, 18000), [9280, 18240]),
        ((), [12160]),  # without words, after a second and a half
        ((7000, 21000), [12160, 21120]),
    ],
)
def test_a_mark_follows_a_group_of_words(ends: tuple[int, ...], expected: list[int]) -> None:
    words = [at(str(end), 0, end) for end in ends]
    told = sent(SILENT, (sentence(0, "long"), 0.0), (audio(0, b"a" * 24000, *words), 0.0))
    core = after(SILENT, (sentence(0, "long"), 0.0), (audio(0, b"a" * 24000, *words), 0.0))
    told += waited(core, 3.0)[1]
    assert [int(each.name.rpartition(":")[2]) for each in only(SendMark, told)][: len(expected)] == expected


def test_a_mark_says_for_certain_how_much_was_heard_whatever_the_time() -> None:
    words = [at(word, 800 * index, 800 * (index + 1)) for index, word in enumerate(TEN.split())]
    long = after(SILENT, (sentence(0, TEN), 0.0), (audio(0, SECOND * 2, *words), 0.0))
    core = waited(long, 0.9)[0]
    core, told = step(core, MarkEcho(name="0:1:0:8000", at_s=0.0), 0.91)  # a line that plays faster than it should
    assert told == []
    assert only(Played, sent(core, (BargedIn(turn=1, at_s=0.92), 0.92))) == [Played(turn=1, heard=TEN, settled=True)]


def test_marks_whose_echoes_were_lost_are_waited_for_no_longer() -> None:
    core = waited(after(SILENT, *said(0, "Yes.", b"y" * 160, 0.0)), 3.0)[0]
    assert core.buffer.marks == ()


@pytest.mark.parametrize(("late_s", "taken"), [(-0.2, 0.0), (0.0, 0.0), (0.3, 0.3), (1.0, 1.0), (1.5, 1.0)])
def test_how_late_an_echo_is_is_bounded(late_s: float, taken: float) -> None:
    core = waited(after(SILENT, *said(0, "Yes.", b"y" * 1600, 0.0), *said(1, "No.", SECOND, 0.0)), 0.0)[0]
    core = after(core, (echo(0), 0.2 + late_s))
    assert core.buffer.late_s == pytest.approx(taken)
    assert core.buffer.least_late_s == pytest.approx(taken)


def test_a_late_echo_of_an_earlier_stretch_says_nothing_of_this_one() -> None:
    core = after(SILENT, *said(0, "Yes.", b"y" * 160, 0.0), (echo(0), 0.05), *said(1, "No.", b"n" * 160, 0.1))
    core = waited(core, 0.5)[0]
    core = after(core, *said(2, TEN, SECOND, 0.5), (echo(1), 0.6))
    assert core.buffer.late_s == NEVER
    told = sent(waited(core, 1.0)[0], (BargedIn(turn=1, at_s=1.0), 1.0))
    assert only(Played, told) == [Played(turn=1, heard="Yes. No. one two three four five", settled=True)]


# Barge-in.


@pytest.mark.parametrize(
    ("at", "words"),
    [(0.0, 0), (0.099, 0), (0.1, 1), (0.599, 5), (0.6, 6), (0.999, 9), (1.0, 10), (2.5, 10)],
)
def test_a_barge_in_settles_what_was_heard_by_where_the_sound_was(at: float, words: int) -> None:
    core = waited(SPEAKING, at)[0] if at else SPEAKING
    core, told = step(core, BargedIn(turn=1, at_s=at), at)
    heard = " ".join(TEN.split()[:words])
    settled = [Played(turn=1, heard=heard, settled=True), Stopped(turn=1), Counted(name="interruptions", amount=1)]
    assert [each for each in told if not isinstance(each, SendClear)] == settled
    assert (core.replies, core.over) == ((), 1)


def test_a_barge_in_clears_what_the_line_has_queued_first() -> None:
    core = waited(SPEAKING, 0.5)[0]
    core, told = step(core, BargedIn(turn=1, at_s=0.5), 0.5)
    assert told[0] == SendClear()
    assert core.buffer == Buffer(until=0.5, generation=1)
    assert waited(core, 90.0) == (core, [])


def test_a_barge_in_into_silence_clears_nothing_and_settles_that_nothing_was_heard() -> None:
    assert sent(SILENT, (BargedIn(turn=3, at_s=1.0), 1.0)) == [Played(turn=3, heard="", settled=True)]


def test_a_barge_in_is_answered_for_its_own_turn_though_only_an_older_one_was_playing() -> None:
    told = sent(SPEAKING, (BargedIn(turn=3, at_s=0.1), 0.1))
    assert [(each.turn, each.heard) for each in only(Played, told)] == [(1, "one"), (3, "")]


def test_a_barge_in_that_crosses_the_end_of_the_reply_is_told_what_was_heard_of_it() -> None:
    core = after(waited(SPEAKING, 1.0)[0], (echo(0), 1.1))
    told = sent(core, (BargedIn(turn=1, at_s=1.1), 1.15))
    assert told == [Played(turn=1, heard=TEN, settled=True)]
    assert sent(core, (BargedIn(turn=2, at_s=1.1), 1.15)) == [Played(turn=2, heard="", settled=True)]


@pytest.mark.parametrize(
    "late",
    [
        sentence(1, "More."),
        audio(0, b"x" * 160),
        whole(0),
        ReplyEnded(turn=1, pieces=1),
        PlayClip(turn=1, index=1, clip="greeting"),
    ],
)
def test_what_comes_late_for_a_turn_that_is_over_is_dropped(late: object) -> None:
    core = after(SPEAKING, (BargedIn(turn=1, at_s=0.5), 0.5))
    later, told = step(core, late, 0.6)
    assert told == []
    assert later.replies == ()


def test_words_over_two_pieces_are_counted_back_from_the_end_of_what_was_sent() -> None:
    core = after(SILENT, *reply(("one two", b"a" * 1600), ("three four", b"b" * 1600)))
    core = waited(core, 0.3)[0]
    told = sent(core, (BargedIn(turn=1, at_s=0.3), 0.31))
    assert only(Played, told) == [Played(turn=1, heard="one two three", settled=True)]


def test_without_times_as_many_of_the_words_were_heard_as_of_the_sound() -> None:
    core = after(SILENT, (sentence(0, "one two three four"), 0.0), (audio(0, SECOND), 0.0), (whole(0), 0.0))
    told = sent(waited(core, 0.6)[0], (BargedIn(turn=1, at_s=0.6), 0.6))
    assert only(Played, told) == [Played(turn=1, heard="one two", settled=True)]


def test_a_part_of_a_frame_that_is_held_was_not_heard() -> None:
    words = (Word(text="one", start_s=0.0, end_s=0.02), Word(text="two", start_s=0.02, end_s=0.03))
    core = after(SILENT, (sentence(0, "one two three"), 0.0), (audio(0, b"a" * 240, *words), 0.0))
    told = sent(core, (BargedIn(turn=1, at_s=0.03), 0.03))
    assert only(Played, told) == [Played(turn=1, heard="one", settled=True)]


def test_of_a_sentence_whose_sound_has_just_begun_no_word_was_heard_before_one_is_whole() -> None:
    core = after(SILENT, (sentence(0, "one two three four"), 0.0), (audio(0, b"a" * 800), 0.0))
    told = sent(core, (BargedIn(turn=1, at_s=0.09), 0.09))
    assert only(Played, told) == [Played(turn=1, heard="", settled=True)]


def test_all_of_a_sentence_was_heard_though_its_voice_gave_times_for_a_part_only() -> None:
    first = Word(text="one", start_s=0.0, end_s=0.1)
    steps = [
        (sentence(0, "one two"), 0.0),
        (audio(0, b"a" * 800, first), 0.0),
        (audio(0, b"b" * 800), 0.0),
        (whole(0), 0.0),
    ]
    core = waited(after(SILENT, *steps, (ReplyEnded(turn=1, pieces=1), 0.0)), 1.0)[0]
    assert only(Played, sent(core, (echo(0), 1.1))) == [Played(turn=1, heard="one two", settled=True)]


# A voice that dies or is late.


def test_sound_that_was_trimmed_is_not_played() -> None:
    core = after(SILENT, (sentence(0, "We have two."), 0.0), (audio(0, b"w" * 4000), 0.0))
    core = after(core, (AgentAudioTrimmed(turn=1, index=0, keep_bytes=3200), 0.05), (audio(0, b"t" * 800), 0.06))
    core = after(core, (whole(0), 0.06))
    assert media(waited(core, 2.0)[1]) == (b"w" * 3200 + b"t" * 800)[round(core.buffer.until * RATE_HZ) :]


def test_sound_that_has_gone_out_cannot_be_trimmed() -> None:
    core = after(SILENT, (sentence(0, "We have two."), 0.0), (audio(0, b"w" * 800), 0.0))
    core = after(core, (AgentAudioTrimmed(turn=1, index=0, keep_bytes=100), 0.05))
    assert core.replies[0].pieces[0].audio == b"w" * 800


ONE, TWO, THREE = (bytes([code]) for code in (0x11, 0x12, 0x13))
"""Sound, louder than any silence."""


def at(text: str, start_bytes: int, end_bytes: int) -> Word:
    return Word(text=text, start_s=start_bytes / RATE_HZ, end_s=end_bytes / RATE_HZ)


TORN = after(
    SILENT, (sentence(0, "one two three"), 0.0), (audio(0, ONE * 800 + HUSH * 100 + TWO * 300, at("one", 0, 800)), 0.0)
)
"""All of the first word has gone out, and so have the first 300 bytes of the second."""
DEAD = after(TORN, (VoiceDied(), 0.01), (AgentAudioTrimmed(turn=1, index=0, keep_bytes=800), 0.02))


def sound(core: Pacer, *steps: tuple[object, float]) -> bytes:
    """What goes out from here on, without silence."""
    core, told = ran(core, *steps)
    return media([*told, *waited(core, 3.0)[1]]).replace(HUSH, b"")


def test_of_a_word_that_was_cut_what_has_gone_out_is_not_played_again() -> None:
    new = audio(0, TWO * 500, at("two", 800, 1300))
    assert sound(DEAD, (new, 0.1), (whole(0), 0.1)) == TWO * 280  # 80 of the old were still in hand


def test_the_silence_before_the_word_is_no_part_of_it_before_or_after() -> None:
    new = audio(0, HUSH * 333 + TWO * 500, at("two", 1133, 1633))
    core = after(DEAD, (new, 0.1))
    assert sound(DEAD, (new, 0.1)) == sound(DEAD, (audio(0, TWO * 500, at("two", 800, 1300)), 0.1))
    assert core.replies[0].pieces[0].words[1].end_s * RATE_HZ == pytest.approx(800 + 100 + 500)


@pytest.mark.parametrize("size_bytes", [1, 7, 100, 299, 300, 301])
def test_the_word_may_come_in_parts_of_any_size(size_bytes: int) -> None:
    word = HUSH * 50 + TWO * 150 + HUSH * 30 + TWO * 320
    parts = [audio(0, word[start : start + size_bytes]) for start in range(0, len(word), size_bytes)]
    end = audio(0, b"", at("two", 850, 1350))
    core = after(DEAD, *((part, 0.1) for part in parts), (end, 0.1))
    # 150 bytes of sound, 30 of silence within the word, and 120: as much as had gone out.
    assert core.replies[0].pieces[0].audio[1200:] == TWO * 200


def test_a_word_that_the_next_voice_says_faster_takes_nothing_from_the_one_after_it() -> None:
    new = audio(0, TWO * 200 + THREE * 400, at("two", 800, 1000), at("three", 1000, 1400))
    assert sound(DEAD, (new, 0.1), (whole(0), 0.1)) == TWO * 80 + THREE * 400
    first, then = audio(0, TWO * 200, at("two", 800, 1000)), audio(0, THREE * 400, at("three", 1000, 1400))
    assert sound(DEAD, (first, 0.1), (then, 0.1), (whole(0), 0.1)) == TWO * 80 + THREE * 400


def test_a_voice_without_times_goes_on_in_the_word_too() -> None:
    assert sound(DEAD, (audio(0, TWO * 500 + THREE * 400), 0.1), (whole(0), 0.1)) == TWO * 280 + THREE * 400


def test_a_second_death_in_the_same_word_leaves_out_what_has_gone_out_of_it_in_both_lives() -> None:
    core = waited(after(DEAD, (audio(0, HUSH * 250 + TWO * 400), 0.1)), 0.5)[0]
    assert core.replies[0].pieces[0].sent_bytes == 800 + 100 + 400
    core = after(core, (VoiceDied(), 0.5), (AgentAudioTrimmed(turn=1, index=0, keep_bytes=800), 0.6))
    assert sound(core, (audio(0, TWO * 500, at("two", 800, 1300)), 0.7), (whole(0), 0.7)) == TWO * 100


def test_a_second_death_in_another_word_counts_from_that_words_beginning() -> None:
    core = after(DEAD, (audio(0, TWO * 500 + THREE * 250, at("two", 800, 1300)), 0.1))
    core = waited(core, 0.5)[0]
    core = after(core, (VoiceDied(), 0.5), (AgentAudioTrimmed(turn=1, index=0, keep_bytes=1300), 0.6))
    new = audio(0, THREE * 400, at("three", 1300, 1700))
    assert sound(core, (new, 0.7), (whole(0), 0.7)) == THREE * 150


def test_a_second_death_before_the_word_came_again_leaves_out_as_much() -> None:
    new = audio(0, TWO * 500, at("two", 800, 1300))
    again = sound(DEAD, (VoiceDied(), 0.1), (new, 0.2), (whole(0), 0.2))
    assert again == sound(DEAD, (audio(0, TWO * 500, at("two", 800, 1300)), 0.2), (whole(0), 0.2))


def test_what_is_longer_than_a_word_is_said_again_and_counted() -> None:
    """A voice that names words and named none of a whole clause: nothing says how far it had come."""
    core = waited(after(SILENT, (sentence(0, "one two"), 0.0), (audio(0, ONE * 12000), 0.0)), 1.4)[0]
    core, told = step(core, AgentAudioTrimmed(turn=1, index=0, keep_bytes=0), 1.5)
    assert only(Counted, told) == [Counted(name="repeated_clauses", amount=1)]
    assert sound(core, (audio(0, ONE * 12000), 1.6), (whole(0), 1.6)) == ONE * 12000
    assert only(Counted, sent(TORN, (AgentAudioTrimmed(turn=1, index=0, keep_bytes=800), 0.02))) == []


def test_from_a_death_on_nothing_goes_out_beyond_the_last_whole_word() -> None:
    words = (at("one", 0, 4000), at("two", 4000, 8000))
    core = after(
        SILENT, (sentence(0, "one two three"), 0.0), (audio(0, ONE * 4000 + TWO * 4000 + THREE * 900, *words), 0.0)
    )
    core, told = ran(core, (VoiceDied(), 0.1))
    core, more = waited(core, 3.0)
    assert media([*told, *more]).replace(HUSH, b"").endswith(TWO * 4000)
    core, told = ran(core, (AgentAudioTrimmed(turn=1, index=0, keep_bytes=8000), 3.0))
    assert media(told) == b""
    assert sound(core, (audio(0, THREE * 1000, at("three", 8000, 9000)), 3.1), (whole(0), 3.1)) == THREE * 1000


def test_what_is_whole_is_played_on_whatever_becomes_of_the_voice() -> None:
    core = after(SILENT, (sentence(0, "one"), 0.0), (audio(0, ONE * 4000), 0.0), (whole(0), 0.0), (VoiceDied(), 0.0))
    assert len(media(waited(core, 3.0)[1]).replace(HUSH, b"")) == 4000 - 2560


def test_a_dead_voices_piece_that_is_whole_after_all_is_played_to_its_end() -> None:
    core = after(
        SILENT, (sentence(0, "one two"), 0.0), (audio(0, ONE * 4000, at("one", 0, 3900)), 0.0), (VoiceDied(), 0.1)
    )
    assert sound(core, (whole(0), 0.2)) == ONE * (4000 - 2560)  # so much went out at once


def test_a_death_without_a_cut_word_is_over_with_the_next_sound() -> None:
    core = after(
        SILENT, (sentence(0, "one two"), 0.0), (audio(0, ONE * 800, at("one", 0, 800)), 0.0), (VoiceDied(), 0.1)
    )
    assert sound(core, (audio(0, TWO * 900), 0.2)) == TWO * 900


def test_a_notice_is_played_where_a_dead_voice_left_off_and_the_piece_goes_on_after_it() -> None:
    core, told = ran(DEAD, (PlayNotice(clip="repeat"), 0.05))
    core, more = waited(core, 0.4)
    assert NOTICE in media([*told, *more])
    new = audio(0, TWO * 500 + THREE * 400, at("two", 800, 1300), at("three", 1300, 1700))
    assert (
        sound(core, (new, 0.5), (whole(0), 0.5)) == TWO * 500 + THREE * 400
    )  # the word that was cut from its beginning


def test_a_word_that_a_notice_broke_is_said_anew_though_its_trim_came_after_the_notice() -> None:
    core = waited(after(TORN, (VoiceDied(), 0.01), (PlayNotice(clip="repeat"), 0.05)), 0.9)[0]
    assert core.notice is not None
    assert core.notice.gone
    core = after(core, (AgentAudioTrimmed(turn=1, index=0, keep_bytes=800), 0.9))
    new = audio(0, TWO * 500, at("two", 800, 1300))
    assert sound(core, (new, 0.9), (whole(0), 0.9)) == TWO * 500


@pytest.mark.parametrize(("at_s", "left_bytes"), [(1.15, 200), (1.17, 500)])
def test_after_a_long_pause_the_word_that_was_cut_is_said_anew(at_s: float, left_bytes: int) -> None:
    core = waited(DEAD, at_s)[0]
    assert core.buffer.until == pytest.approx(0.16)
    assert sound(core, (audio(0, TWO * 500, at("two", 800, 1300)), at_s), (whole(0), at_s)) == TWO * left_bytes


def test_a_pause_after_the_word_has_gone_on_changes_nothing() -> None:
    core = waited(after(DEAD, (audio(0, TWO * 100), 0.1)), 3.0)[0]
    assert sound(core, (audio(0, TWO * 400, at("two", 800, 1300)), 3.0), (whole(0), 3.0)) == TWO * 200


def test_a_voice_that_dies_time_and_again_is_waited_for_no_longer() -> None:
    core = after(SILENT, (sentence(0, "one two"), 0.0), *((VoiceDied(), float(at_s)) for at_s in range(1, 8)))
    assert core.deadline == 25.0


def test_a_dead_voice_that_never_comes_back_leaves_no_part_of_a_word() -> None:
    words = (at("one", 0, 4000),)
    core = after(
        SILENT, (sentence(0, "one two"), 0.0), (audio(0, ONE * 4000 + TWO * 900, *words), 0.0), (VoiceDied(), 0.1)
    )
    core, told = waited(core, 25.0)
    assert only(Counted, told) == []
    core, told = waited(core, 26.0)
    assert only(Counted, told) == [Counted(name="pieces_starved", amount=1)]
    assert TWO not in media(told)


@pytest.mark.parametrize(
    ("at_bytes", "heard"), [(800, "one"), (1200, "one"), (1600, "one two"), (2399, "one two"), (2400, "one two three")]
)
def test_where_a_voice_without_times_went_on_the_rest_is_heard_by_its_share(at_bytes: int, heard: str) -> None:
    piece = Piece(index=0, text="one two three", audio=bytes(2400), words=(at("one", 0, 800),), complete=True)
    assert piece.words_in(at_bytes) == heard


def test_a_piece_without_sound_is_skipped_after_eight_seconds_and_counted() -> None:
    core = after(SILENT, (sentence(0, "One."), 1.0), *said(1, "Two.", b"2" * 160, 2.0))
    assert core.deadline == 10.0
    core, told = step(core, Tick(), 10.0)
    assert only(Counted, told) == [Counted(name="pieces_starved", amount=1)]
    assert media(told) == b"2" * 160
    core = after(core, (ReplyEnded(turn=1, pieces=2), 10.0))
    assert sent(core, (echo(1), 10.1))[0] == Played(turn=1, heard="Two.", settled=True)


def test_a_voice_that_stops_in_a_sentence_is_waited_for_as_long_and_its_whole_words_were_heard() -> None:
    one = Word(text="one", start_s=0.0, end_s=0.1)
    core = after(
        SILENT, (sentence(0, "one two"), 0.0), (audio(0, b"a" * 960, one), 0.0), (ReplyEnded(turn=1, pieces=1), 1.0)
    )
    core, told = waited(core, 9.0)
    assert only(Counted, told) == [Counted(name="pieces_starved", amount=1)]
    assert only(Played, sent(core, (echo(0), 9.1))) == [Played(turn=1, heard="one", settled=True)]


def test_a_piece_that_has_no_sound_at_all_is_over_at_once() -> None:
    core, told = ran(SILENT, *reply(("!", b"")))
    assert told == [mark(0)]
    assert only(Stopped, sent(core, (echo(0), 0.1))) == [Stopped(turn=1)]


# Notices.


def test_a_notice_plays_at_once() -> None:
    core, told = ran(SILENT, (PlayNotice(clip="repeat"), 0.0))
    assert media(told) == NOTICE + bytes([SILENCE]) * 80
    assert only(Playing, told) == []
    assert core.deadline == NEVER


def test_a_notice_plays_before_the_next_piece_and_never_inside_one() -> None:
    core = after(SILENT, *reply(("Yes.", b"y" * 4000), ("No.", b"n" * 160)))
    before = round(core.buffer.until * RATE_HZ)
    core, told = ran(core, (PlayNotice(clip="repeat"), 0.01))
    assert media([*told, *waited(core, 2.0)[1]]) == (b"y" * 4000)[before:] + NOTICE + b"n" * 160 + bytes([SILENCE]) * 80


def test_a_notice_plays_inside_a_piece_that_waits_for_its_voice_when_the_buffer_runs_out() -> None:
    core = after(SILENT, (sentence(0, "Yes."), 0.0), (audio(0, b"y" * 1600), 0.0), (PlayNotice(clip="repeat"), 0.01))
    assert core.deadline == pytest.approx(0.16)
    core, told = step(core, Tick(), core.deadline)
    core, more = ran(core, (audio(0, b"z" * 160), core.deadline), (whole(0), core.deadline))
    played = media([*told, *more, *waited(core, 2.0)[1]])
    assert played == NOTICE + b"z" * 160 + bytes([SILENCE]) * 80


def test_a_second_notice_waits_for_none() -> None:
    core = after(SILENT, *said(0, "Yes.", SECOND, 0.0), (PlayNotice(clip="repeat"), 0.1))
    assert after(core, (PlayNotice(clip="greeting"), 0.2)).notice == core.notice


def test_a_barge_in_clears_a_notice_that_the_line_has_queued() -> None:
    told = sent(SILENT, (PlayNotice(clip="repeat"), 0.0), (BargedIn(turn=0, at_s=0.01), 0.01))
    assert told[-2:] == [SendClear(), Played(turn=0, heard="", settled=True)]
    late = sent(SILENT, (PlayNotice(clip="repeat"), 0.0), (BargedIn(turn=0, at_s=0.5), 0.5))
    assert only(SendClear, late) == []


def test_a_barge_in_silences_a_notice_that_is_heard_and_keeps_one_that_waits() -> None:
    heard = after(SILENT, (PlayNotice(clip="repeat"), 0.0), (BargedIn(turn=0, at_s=0.01), 0.01))
    assert heard.notice is None
    waits = after(SILENT, *said(0, "Yes.", SECOND, 0.0), (PlayNotice(clip="repeat"), 0.1))
    cut, told = step(waits, BargedIn(turn=1, at_s=0.2), 0.2)
    assert SendClear() in told
    assert cut.notice == waits.notice
    assert only(SendMedia, waited(cut, 1.0)[1])


# Hanging up.

BYE = HangUp(turn=1, index=0, reason="hang_up")


def test_the_line_is_closed_when_the_goodbye_was_heard() -> None:
    core = after(SILENT, *reply(("Bye.", b"b" * 160)), (BYE, 0.0))
    assert only(CloseLine, waited(core, 0.5)[1]) == []
    assert sent(core, (echo(0), 0.5))[-1] == CloseLine(reason="hang_up")


def test_a_goodbye_that_was_heard_already_closes_the_line_at_once() -> None:
    core = after(SILENT, *reply(("Bye.", b"b" * 160)), (echo(0), 0.5))
    assert sent(core, (BYE, 0.6)) == [CloseLine(reason="hang_up")]


def test_pieces_after_the_goodbye_are_not_waited_for() -> None:
    core = after(SILENT, *reply(("Bye.", b"b" * 160), ("Oh.", SECOND)), (BYE, 0.0))
    assert only(CloseLine, sent(core, (echo(0), 0.5))) == [CloseLine(reason="hang_up")]


def test_a_goodbye_is_waited_for_ten_seconds_and_no_longer() -> None:
    core = after(SILENT, (sentence(0, "Bye."), 0.0), (BYE, 0.0))
    core, told = waited(core, 9.99)
    assert only(CloseLine, told) == []
    assert only(CloseLine, waited(core, 10.0)[1]) == [CloseLine(reason="hang_up")]


@pytest.mark.parametrize("order", [(BYE, BargedIn(turn=1, at_s=0.5)), (BargedIn(turn=1, at_s=0.5), BYE)])
def test_a_barge_in_makes_the_goodbye_void(order: tuple[object, object]) -> None:
    core, told = ran(SILENT, *reply(("Bye.", SECOND)), *((each, 0.5) for each in order))
    assert only(CloseLine, [*told, *waited(core, 90.0)[1]]) == []


# The end.


def test_the_end_of_the_line_settles_all_that_was_heard_and_flows_on() -> None:
    core = after(waited(SPEAKING, 0.65)[0], *reply(("Later.", SECOND), now=0.65, turn=2))
    core, told = step(core, CLOSED, 0.65)
    assert told == [
        Played(turn=1, heard="one two three four five six", settled=True),
        Stopped(turn=1),
        Played(turn=2, heard="", settled=True),
        CLOSED,
    ]
    assert core.deadline == NEVER
    assert ran(core, (sentence(0, "Late.", turn=9), 1.0), (PlayNotice(clip="repeat"), 1.0), (CLOSED, 1.0)) == (core, [])


# Salvage.


@pytest.mark.parametrize(
    "core",
    [
        SPEAKING,
        after(SPEAKING, (PlayNotice(clip="repeat"), 0.1), (HangUp(turn=1, index=0, reason="idle"), 0.2)),
        after(waited(SPEAKING, 1.0)[0], (echo(0), 1.1)),
        after(SPEAKING, (BargedIn(turn=1, at_s=0.5), 0.5)),
        after(SPEAKING, (CLOSED, 0.5)),
    ],
)
def test_a_fresh_core_is_what_a_sound_one_was(core: Pacer) -> None:
    assert SILENT.fresh(core) == core


def test_a_bare_core_knows_which_turns_are_over_and_takes_no_old_mark_for_its_own() -> None:
    core = after(SPEAKING, (BargedIn(turn=0, at_s=0.1), 0.1))
    bare = SILENT.bare(core)
    assert bare == attrs.evolve(SILENT, over=0, buffer=Buffer(until=core.buffer.until, generation=2))
    assert SILENT.bare(after(core, (CLOSED, 0.5))).line == CLOSED


# Whatever comes, and however late.


@given(
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
    chunk_bytes=st.integers(50, 2000),
    late_s=st.lists(st.floats(0.0, 0.15), min_size=1, max_size=40),
)
def test_sound_goes_out_on_time_without_drift_however_late_it_wakes(
    sizes: list[int], chunk_bytes: int, late_s: list[float]
) -> None:
    sounds = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    asked: list[object] = [sentence(index, "word") for index in range(len(sizes))]
    for index, sound in enumerate(sounds):
        asked += [audio(index, sound[at : at + chunk_bytes]) for at in range(0, len(sound), chunk_bytes)]
        asked.append(whole(index))
    core, told = ran(SILENT, *((each, 0.0) for each in asked))
    now, woken = 0.0, 0
    while core._next() is not None or core.buffer.part:
        late = late_s[woken % len(late_s)]
        woken += 1
        now = core.deadline + late
        core, more = step(core, Tick(), now)
        told += more
        sent_s = len(media(told)) / RATE_HZ
        # Never more than the lead, and the message that fills it.
        assert sent_s <= now + core.policy.lead_s + 0.04 + 1e-6
        finished = core._next() is None and not core.buffer.part
        assert finished or sent_s >= now + core.policy.lead_s - 1e-6  # late is caught up: no drift
    length_bytes = sum(sizes)
    played = media(told)
    assert played == b"".join(sounds) + bytes([SILENCE]) * (-length_bytes % FRAME_BYTES)
    assert all(count <= 2 for count in frames(told))
    assert core.buffer.until == pytest.approx(len(played) / RATE_HZ)  # the lead was never used up, so no gap was heard
    assert [each.name for each in only(SendMark, told)] == [f"0:1:{index}" for index in range(len(sizes))]


@given(
    words=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    at=st.floats(0.0, 4.0),
    echoed=st.booleans(),
)
def test_what_was_heard_at_a_barge_in_is_what_had_been_played_by_then(
    words: list[int], at: float, *, echoed: bool
) -> None:
    """Against a line that plays what it has, one byte after another, from the first on."""
    texts = [" ".join(f"w{index}.{each}" for each in range(count)) for index, count in enumerate(words)]
    core = after(SILENT, *reply(*((text, b"x" * 1280 * len(text.split())) for text in texts)))
    ends = [sum(words[: index + 1]) * 0.16 for index in range(len(words))]
    heard: list[str] = []
    for index, end_s in enumerate(ends):
        if end_s <= at:
            core, told = waited(core, end_s)
            if echoed:
                core, more = step(core, echo(index), end_s)
                told += more
            heard += [each.heard for each in only(Played, told)]
    core, told = waited(core, at)
    told += sent(core, (BargedIn(turn=1, at_s=at), at))
    expected = " ".join(texts).split()[: int((at + 1e-4) / 0.16)]
    assert [*heard, *(each.heard for each in only(Played, told) if each.turn == 1)][-1].split() == expected


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    chunk_bytes=st.integers(90, 1500),
    pace=st.sampled_from([1.5, 4.0, 50.0]),
    deaths=st.lists(st.tuples(st.integers(1, 14), st.sampled_from([0.0, 0.05, 0.3]), st.booleans()), max_size=5),
)
def test_whenever_a_voice_dies_every_word_is_heard_once(
    sizes: list[int], chunk_bytes: int, pace: float, deaths: list[tuple[int, float, bool]]
) -> None:
    """TTS and Pacer together. Each word is a sound of its own, with silence after it."""
    codes = iter(range(1, 40))
    texts = [" ".join(str(next(codes)) for _ in range(size)) for size in sizes]

    def spoken(word: str) -> bytes:
        return bytes([int(word)]) * (300 + 70 * int(word))

    tts, pacer, now, played = TTS(), SILENT, 0.0, b""
    for index, text in enumerate(texts):
        tts, pacer = after(tts, (sentence(index, text), now)), after(pacer, (sentence(index, text), now))
    for life, (chunks, away_s, aligned) in enumerate([*deaths, (10_000, 0.0, True)], start=1):
        now += away_s
        tts, asks = tts.started(SessionInfo(vendor=f"v{life}", incarnation=life, aligned=aligned), now)
        for ask in asks:
            if not isinstance(ask, Synthesise):
                pacer, told = step(pacer, ask, now)
                played += media(told)
        events: list[object] = []
        for ask in only(Synthesise, asks):
            voice, ends = b"", list[tuple[str, int]]()
            for word in ask.text.split():
                voice += HUSH * 40 * (life % 3) + spoken(word)
                ends.append((word, len(voice)))
                voice += HUSH * 120
            for start in range(0, len(voice), chunk_bytes):
                part = voice[start : start + chunk_bytes]
                named = [at(word, 0, end) for word, end in ends if start < end <= start + len(part)] if aligned else []
                events.append(Synthesised(turn=1, index=ask.index, audio=part, words=tuple(named)))
            events.append(SynthesisEnded(turn=1, index=ask.index))
        for event in events[:chunks]:
            now += chunk_bytes / RATE_HZ / pace
            pacer, told = waited(pacer, now)
            played += media(told)
            tts, effects = step(tts, event, now)
            for each in effects:
                if not isinstance(each, Timing):
                    pacer, told = step(pacer, each, now)
                    played += media(told)
        pacer, told = step(pacer, VoiceDied(), now)
        played += media(told)
        pacer, told = waited(pacer, now + away_s)
        played += media(told)
    played += media(waited(pacer, now + 7.0)[1])
    assert played.replace(HUSH, b"") == b"".join(spoken(word) for text in texts for word in text.split())


def test_the_parts_of_a_playout_are_values_of_their_own() -> None:
    piece = Piece(index=0, text="Yes.", audio=b"y" * 200)
    assert (piece.next(160), attrs.evolve(piece, sent_bytes=160).next(160)) == (b"y" * 160, b"y" * 40)
    assert (piece.waits, attrs.evolve(piece, sent_bytes=200).waits) == (False, True)
    assert Reply(turn=1, total=0).over
    assert not Reply(turn=1).over
