"""Pacer: an agent that is held goes on a little before where it was held, and everybody waits meanwhile."""

import attrs
import pytest

from engine.actors.pacer import HOLD_TONE, Clip, Held, Pacer, PacingPolicy, Piece
from engine.codec.telephony import RATE_HZ, SILENCE
from engine.messages.caller import LineClosed, MarkEcho
from engine.messages.line import CloseLine, SendClear, SendMark, SendMedia
from engine.messages.playout import Hold, Played, Playing, Resume, Stopped
from engine.messages.recognition import Word
from engine.messages.records import Counted
from engine.messages.reply import HangUp, PlayClip, PlayNotice, PlayTone, ReplyEnded, Sentence
from engine.messages.supervision import NEVER, Tick
from engine.messages.synthesis import AgentAudio, AgentAudioEnded, AgentAudioTrimmed, VoiceDied
from engine.messages.turns import BargedIn
from tests.actors.steps import after, only, ran, sent, step, waited

HUSH = bytes([SILENCE])
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
SOUNDS = [bytes([0x11 + at]) * 1600 for at in range(10)]
"""Ten words of 0.2 s, each with a sound of its own."""

CLIPS = {
    "greeting": Clip(text="Hello there.", audio=b"\x06" * 1600),
    "repeat": Clip(text="Could you say that again?", audio=b"\x05" * 4000),
    HOLD_TONE: Clip(text="", audio=b"t" * 1000),
}
SILENT = Pacer(clips=CLIPS)


def word(at: int, of: int = 0) -> Word:
    return Word(text=WORDS[at], start_s=(at - of) * 0.2, end_s=(at + 1 - of) * 0.2)


def piece(index: int, first: int, last: int, *, turn: int = 1, now: float = 0.0) -> list[tuple[object, float]]:
    """Words from `first` up to `last` as a piece with all its sound."""
    words = tuple(word(at, first) for at in range(first, last))
    told: list[object] = [
        Sentence(turn=turn, index=index, text=" ".join(WORDS[first:last])),
        AgentAudio(turn=turn, index=index, audio=b"".join(SOUNDS[first:last]), words=words),
        AgentAudioEnded(turn=turn, index=index),
    ]
    return [(each, now) for each in told]


def reply(*pieces: tuple[int, int], turn: int = 1, now: float = 0.0) -> list[tuple[object, float]]:
    steps = [each for index, ends in enumerate(pieces) for each in piece(index, *ends, turn=turn, now=now)]
    return [*steps, (ReplyEnded(turn=turn, pieces=len(pieces)), now)]


def media(messages: list[object]) -> bytes:
    return b"".join(each.audio for each in only(SendMedia, messages))


def names(messages: list[object]) -> list[str]:
    return [each.name for each in only(Counted, messages)]


def spelled(audio: bytes) -> str:
    """The words in some sound, each with how much of it there is, in tenths."""
    told: list[str] = []
    for at, sound in enumerate(SOUNDS):
        size = audio.count(sound[:1])
        told += [f"{WORDS[at]} {size / 160:g}"] if size else []
    return ", ".join(told)


HOLD, RESUME = Hold(turn=1), Resume(turn=1)
SPEAKING = after(SILENT, *reply((0, 10)))
"""Two seconds of ten words, begun at 0.0."""


def held(core: Pacer, at: float) -> Pacer:
    return after(waited(core, at)[0], (HOLD, at))


# Holding.


def test_a_hold_clears_the_line_first_and_nothing_goes_out_until_it_ends() -> None:
    core, told = step(waited(SPEAKING, 0.9)[0], HOLD, 0.9)
    assert told == [SendClear(), Counted(name="holds", amount=1)]
    assert core.held == Held(turn=1, until=0.9 + 6.0)
    assert (core.buffer.until, core.buffer.generation, core.deadline) == (0.9, 1, 6.9)
    core, told = ran(core, (PlayNotice(clip="repeat"), 1.0), (Sentence(turn=1, index=1, text="More."), 1.1))
    core, more = ran(core, (AgentAudio(turn=1, index=1, audio=b"m" * 4000), 1.2), (Tick(), 1.3), (VoiceDied(), 1.4))
    assert [*told, *more] == []


@pytest.mark.parametrize(
    ("at", "first"),
    [
        (0.1, "one"),  # nothing but the first word was heard
        (0.49, "one"),  # 0.19 lies in the first
        (0.5, "two"),  # 0.2 is where the second begins
        (0.9, "four"),
        (0.89, "three"),
        (1.95, "nine"),
    ],
)
def test_it_goes_on_at_the_beginning_of_the_word_that_was_heard_a_little_before(at: float, first: str) -> None:
    core, told = step(held(SPEAKING, at), RESUME, at + 0.5)
    assert names(told) == ["resumes"]
    _, more = waited(core, 4.0)
    assert spelled(media([*told, *more])) == ", ".join(f"{each} 10" for each in WORDS[WORDS.index(first) :])


def test_the_policy_says_how_far_it_goes_back() -> None:
    core = attrs.evolve(SPEAKING, policy=PacingPolicy(rewind_s=0.7))
    told = sent(held(core, 0.9), (RESUME, 1.0))
    assert spelled(media(told)).startswith("two 10")


def test_what_was_held_in_a_later_piece_goes_on_in_that_piece() -> None:
    core = after(SILENT, *reply((0, 3), (3, 10)))
    core, told = step(waited(core, 0.7)[0], HOLD, 0.7)  # in the fourth word, of which 0.1 s was heard
    assert only(Played, told) == [Played(turn=1, heard="one two three", settled=False)]
    told = sent(core, (RESUME, 1.0))
    assert spelled(media(told)).startswith("four 10, five ")


def test_a_voice_without_times_goes_on_wherever_that_is_and_from_the_beginning_if_it_is_near() -> None:
    told = [(Sentence(turn=1, index=0, text="a b c"), 0.0), (AgentAudio(turn=1, index=0, audio=b"a" * 16000), 0.0)]
    core = after(SILENT, *told, (AgentAudioEnded(turn=1, index=0), 0.0))
    assert held(core, 0.61).replies[0].pieces[0].sent_bytes == 2480
    assert held(core, 0.60).replies[0].pieces[0].sent_bytes == 0


def test_a_hold_when_all_was_heard_settles_it_and_holds_nothing() -> None:
    core = waited(SPEAKING, 2.0)[0]
    core, told = step(core, HOLD, 2.01)
    assert told == [Played(turn=1, heard=" ".join(WORDS), settled=True), Stopped(turn=1)]
    assert (core.held, core.deadline) == (None, NEVER)


def test_silence_at_the_end_of_the_last_piece_is_not_waited_for() -> None:
    quiet = AgentAudio(turn=1, index=0, audio=SOUNDS[0] + HUSH * 1200, words=(word(0),))
    core = after(SILENT, (Sentence(turn=1, index=0, text="one"), 0.0), (quiet, 0.0))
    core = after(core, (AgentAudioEnded(turn=1, index=0), 0.0), (ReplyEnded(turn=1, pieces=1), 0.0))
    assert only(Stopped, sent(waited(core, 0.19)[0], (HOLD, 0.19))) == []
    assert only(Stopped, sent(waited(core, 0.21)[0], (HOLD, 0.21))) == [Stopped(turn=1)]


def test_a_turn_that_was_not_heard_of_yet_does_not_begin_while_it_is_held() -> None:
    core, told = step(SILENT, HOLD, 0.0)
    assert told == [Counted(name="holds", amount=1)]
    core, told = ran(core, *reply((0, 10), now=0.3))
    assert told == []
    core, told = step(core, RESUME, 0.6)
    assert only(Playing, told) == [Playing(turn=1)]
    assert media(told).startswith(SOUNDS[0])


@pytest.mark.parametrize("late", [HOLD, RESUME])
def test_a_hold_and_its_end_mean_nothing_to_a_turn_that_is_over(late: object) -> None:
    cut = after(SPEAKING, (BargedIn(turn=1, at_s=0.5), 0.5))
    assert ran(cut, (late, 0.6)) == (cut, [])
    heard = after(waited(SPEAKING, 2.0)[0], (MarkEcho(name="0:1:0", at_s=0.0), 2.1))
    assert ran(heard, (late, 2.2)) == (heard, [])


def test_an_end_without_a_hold_and_one_of_an_older_turn_mean_nothing() -> None:
    assert ran(SPEAKING, (RESUME, 0.001)) == (SPEAKING, [])
    core = after(SILENT, (Hold(turn=2), 0.0))
    assert ran(core, (RESUME, 0.1)) == (core, [])


def test_a_second_hold_prolongs_the_first_and_changes_nothing_else() -> None:
    core = held(SPEAKING, 0.9)
    again, told = step(core, HOLD, 2.9)
    assert told == [Counted(name="holds", amount=1)]
    assert again == attrs.evolve(core, held=Held(turn=1, until=8.9))


def test_a_hold_that_was_forgotten_ends_by_itself_and_is_counted() -> None:
    core = held(SPEAKING, 0.9)
    core, told = step(core, Tick(), core.deadline)
    assert names(told) == ["holds_overdue"]
    assert media(told).startswith(SOUNDS[3])
    assert core.held is None
    assert ran(core, (RESUME, 7.0))[1] == []


# What was heard.


def test_an_interruption_of_what_is_held_is_told_what_was_heard_before_the_hold() -> None:
    core, told = step(held(SPEAKING, 0.9), BargedIn(turn=1, at_s=0.9), 2.0)
    assert only(Played, told) == [Played(turn=1, heard="one two three four", settled=True)]
    assert only(SendClear, told) == []
    assert (core.held, core.deadline) == (None, NEVER)


def test_what_was_heard_twice_counts_as_heard_the_first_time() -> None:
    core = after(held(SPEAKING, 0.9), (RESUME, 2.0))  # goes on at 0.6: the fourth word
    for at, heard in [(2.05, 4), (2.2, 4), (2.39, 4), (2.4, 5)]:
        told = sent(waited(core, at)[0], (BargedIn(turn=1, at_s=at), at))
        assert only(Played, told) == [Played(turn=1, heard=" ".join(WORDS[:heard]), settled=True)]


def test_holds_in_a_row_do_not_go_further_and_further_back() -> None:
    core = held(SPEAKING, 0.9)
    for now in (1.0, 1.2, 1.4):
        core = after(core, (RESUME, now), (HOLD, now + 0.1))
        assert core.replies[0].pieces[0].sent_bytes == 4800


def test_the_end_of_the_line_settles_what_is_held_with_what_was_heard() -> None:
    closed = LineClosed(reason="stop", at_s=3.0)
    told = sent(held(SPEAKING, 0.9), (closed, 3.0))
    assert told == [Played(turn=1, heard="one two three four", settled=True), Stopped(turn=1), closed]


def test_marks_that_the_hold_sent_back_are_not_heard_and_later_ones_are() -> None:
    core = waited(SPEAKING, 1.75)[0]
    assert [mark.name for mark in core.buffer.marks] == ["0:1:0:8000", "0:1:0"]
    core = after(core, (HOLD, 1.75))
    assert ran(core, (MarkEcho(name="0:1:0", at_s=0.0), 1.8)) == (core, [])
    core, told = ran(core, (RESUME, 2.0))
    told += waited(core, 3.0)[1]
    assert only(SendMark, told) == [SendMark(name="1:1:0")]


# Who waits meanwhile.


def test_patience_with_a_voice_begins_anew_after_a_hold() -> None:
    core = after(SILENT, (Sentence(turn=1, index=0, text="One."), 0.0), (HOLD, 5.0), (RESUME, 10.0))
    assert core.deadline == 18.0


def test_a_goodbye_is_not_given_up_while_it_is_held() -> None:
    bye = HangUp(turn=1, index=0, reason="hang_up")
    core = after(held(SPEAKING, 0.9), (bye, 1.0), (RESUME, 5.0))
    assert core.hang_up_due == 15.0
    core = held(SPEAKING, 0.9)
    told = sent(core, (bye, 1.0), *((Hold(turn=1), float(at)) for at in range(2, 20)))
    assert only(CloseLine, told) == []


def test_a_goodbye_that_was_heard_when_it_was_to_be_held_closes_the_line() -> None:
    core = after(waited(SPEAKING, 1.9)[0], (HangUp(turn=1, index=0, reason="hang_up"), 1.9))
    assert sent(core, (HOLD, 2.0))[-1] == CloseLine(reason="hang_up")


def test_a_notice_that_was_cut_goes_on_before_all_else() -> None:
    core = waited(after(SILENT, (PlayNotice(clip="repeat"), 0.0)), 0.35)[0]
    core, told = ran(after(core, *reply((0, 2), now=0.35)), (HOLD, 0.36))
    assert only(SendClear, told) == [SendClear()]
    core, told = step(core, RESUME, 1.0)
    played = media([*told, *waited(core, 3.0)[1]])
    assert played.rstrip(HUSH) == b"\x05" * 4000 + SOUNDS[0] + SOUNDS[1]


def test_a_notice_that_was_heard_is_not_played_again() -> None:
    core = waited(after(SILENT, (PlayNotice(clip="repeat"), 0.0)), 0.6)[0]
    core = after(core, *reply((0, 2), now=0.6))
    assert media(sent(after(core, (HOLD, 0.7)), (RESUME, 1.0))).startswith(SOUNDS[0])


# A voice that dies, or is slow.


def test_what_is_spoken_while_it_is_held_is_played_afterwards() -> None:
    core = after(SILENT, (Sentence(turn=1, index=0, text=" ".join(WORDS)), 0.0))
    half = tuple(word(at) for at in range(5))
    core = after(core, (AgentAudio(turn=1, index=0, audio=b"".join(SOUNDS[:5]), words=half), 0.0))
    core = held(core, 0.9)
    rest = AgentAudio(turn=1, index=0, audio=b"".join(SOUNDS[5:]), words=tuple(word(at) for at in range(5, 10)))
    core, told = ran(core, (rest, 1.0), (AgentAudioEnded(turn=1, index=0), 1.1), (RESUME, 1.5))
    played = media([*told, *waited(core, 5.0)[1]])
    assert played == b"".join(SOUNDS[3:])


TORN = after(
    SILENT,
    (Sentence(turn=1, index=0, text="one two three"), 0.0),
    (AgentAudio(turn=1, index=0, audio=SOUNDS[0] + SOUNDS[1] + SOUNDS[2][:800], words=(word(0), word(1))), 0.0),
)
"""Of the third word, half has come."""
CUT = [(VoiceDied(), 0.42), (AgentAudioTrimmed(turn=1, index=0, keep_bytes=3200), 0.43)]
NEW = AgentAudio(turn=1, index=0, audio=SOUNDS[2], words=(word(2),))


@pytest.mark.parametrize("comes_at", [0.8, 2.8])
@pytest.mark.parametrize("at", [0.1, 0.41, 0.425, 0.44, 0.46])
def test_a_word_whose_voice_died_is_said_anew_after_a_hold(at: float, comes_at: float) -> None:
    """Whether the hold comes before the death, between it and the trim, or after both; however long it lasts."""
    steps = sorted([*CUT, (HOLD, at)], key=lambda each: each[1])
    core = TORN
    for message, now in steps:
        core = after(waited(core, now)[0], (message, now))
    core, told = ran(core, (NEW, comes_at), (AgentAudioEnded(turn=1, index=0), comes_at), (RESUME, 3.0))
    core, more = waited(core, 5.0)
    played = media([*told, *more]).rstrip(HUSH)
    first = max(each for each in (0, 1) if each * 0.2 <= max(0.0, at - 0.3))
    assert played == b"".join(SOUNDS[first:3])
    assert only(Played, sent(core, (BargedIn(turn=1, at_s=5.0), 5.0)))[-1].heard == "one two three"


def test_what_was_heard_as_far_as_it_came_goes_on_where_it_was() -> None:
    core = waited(TORN, 0.6)[0]
    core, told = step(core, HOLD, 0.6)
    assert told == [Counted(name="holds", amount=1)]  # nothing is queued: nothing is cut
    rest = AgentAudio(turn=1, index=0, audio=SOUNDS[2][800:], words=(word(2),))
    assert media(sent(core, (rest, 0.8), (AgentAudioEnded(turn=1, index=0), 0.8), (RESUME, 1.0))) == SOUNDS[2][800:]


def test_a_part_of_a_word_that_was_heard_is_not_taken_for_the_word_that_is_said_anew() -> None:
    core = after(waited(TORN, 0.49)[0], (HOLD, 0.49), *((each, 0.5) for each, _ in CUT))
    shorter = attrs.evolve(NEW, audio=SOUNDS[2][:600], words=(Word(text="three", start_s=0.4, end_s=0.475),))
    told = sent(core, (shorter, 0.8), (BargedIn(turn=1, at_s=0.9), 0.9))
    assert only(Played, told) == [Played(turn=1, heard="one two", settled=True)]


def test_a_dead_voice_is_waited_for_after_a_hold_as_before_it() -> None:
    core = TORN
    for message, now in [*CUT, (VoiceDied(), 0.44), (HOLD, 0.46), (RESUME, 1.0)]:
        core = after(waited(core, now)[0], (message, now))
    assert waited(core, 5.0)[0].deadline == pytest.approx(core.buffer.until + 25.0, abs=0.5)


def test_a_word_that_another_voice_has_gone_on_with_is_played_as_it_was_joined() -> None:
    core = TORN
    for message, now in CUT:
        core = after(waited(core, now)[0], (message, now))
    half = attrs.evolve(NEW, audio=SOUNDS[2][:1000], words=())
    core = waited(after(core, (half, 0.45)), 0.5)[0]
    core = after(core, (HOLD, 0.5))
    rest = attrs.evolve(NEW, audio=SOUNDS[2][1000:])
    core, told = ran(core, (rest, 0.8), (AgentAudioEnded(turn=1, index=0), 0.8), (RESUME, 1.0))
    assert media([*told, *waited(core, 3.0)[1]]).rstrip(HUSH) == SOUNDS[1] + SOUNDS[2]


# Salvage.


def test_a_fresh_core_is_still_held_and_a_bare_one_is_not() -> None:
    core = held(after(SPEAKING, (PlayTone(turn=1), 0.0)), 0.9)
    assert SILENT.fresh(core) == core
    assert SILENT.bare(core).held is None
    assert SILENT.bare(core).deadline == NEVER


# Firm pieces.


def test_a_firm_piece_is_told_from_its_first_sound_until_its_last_was_heard() -> None:
    core, told = ran(
        SILENT,
        *piece(0, 0, 1),
        (Sentence(turn=1, index=1, text="two", firm=True), 0.0),
        (AgentAudio(turn=1, index=1, audio=SOUNDS[1], words=(word(1, 1),)), 0.0),
        (AgentAudioEnded(turn=1, index=1), 0.0),
        *piece(2, 2, 4),
        (ReplyEnded(turn=1, pieces=3), 0.0),
    )
    assert only(Playing, told) == [Playing(turn=1), Playing(turn=1, firm=True)]
    core, told = ran(waited(core, 0.2)[0], (MarkEcho(name="0:1:0", at_s=0.0), 0.21))
    assert only(Playing, told) == []
    core, told = ran(waited(core, 0.4)[0], (MarkEcho(name="0:1:1", at_s=0.0), 0.41))
    assert only(Playing, told) == [Playing(turn=1, firm=False)]


def test_a_hold_tells_nothing_of_what_is_firm() -> None:
    core = after(SILENT, (PlayClip(turn=0, index=0, clip="greeting", firm=True), 0.0))
    core, told = ran(core, (Hold(turn=0), 0.1), (PlayNotice(clip="repeat"), 0.2))
    assert only(Playing, told) == []
    assert only(Playing, sent(core, (Resume(turn=0), 0.5))) == [Playing(turn=0, firm=False)]  # the notice is not


def test_a_firm_clip_is_told_with_the_first_sound() -> None:
    told = sent(SILENT, (PlayClip(turn=0, index=0, clip="greeting", firm=True), 0.0))
    assert only(Playing, told) == [Playing(turn=0, firm=True)]


# The pause after a sentence.


@pytest.mark.parametrize(("text", "pause"), [("Yes.", 800), ("Yes?", 800), ('"Yes!"', 800), ("Yes,", 0), ("Yes", 0)])
def test_a_sentence_is_followed_by_a_pause(text: str, pause: int) -> None:
    core = attrs.evolve(SILENT, policy=PacingPolicy(pause_s=0.1))
    told = sent(
        core,
        (Sentence(turn=1, index=0, text=text), 0.0),
        (Sentence(turn=1, index=1, text="No."), 0.0),
        (AgentAudio(turn=1, index=0, audio=b"y" * 400), 0.0),
        (AgentAudioEnded(turn=1, index=0), 0.0),
        (AgentAudio(turn=1, index=1, audio=b"n" * 400), 0.0),
        (AgentAudioEnded(turn=1, index=1), 0.0),
    )
    assert media(told).rstrip(HUSH) == b"y" * 400 + HUSH * pause + b"n" * 400
    assert only(SendMark, told) == [SendMark(name="0:1:0"), SendMark(name="0:1:1")]


def test_a_pause_that_the_voice_has_made_already_is_not_made_again() -> None:
    core = attrs.evolve(SILENT, policy=PacingPolicy(pause_s=0.1))
    core = after(core, (Sentence(turn=1, index=0, text="Yes."), 0.0), (Sentence(turn=1, index=1, text="No."), 0.0))
    core = after(core, (AgentAudio(turn=1, index=0, audio=b"y" * 400), 0.0), (AgentAudioEnded(turn=1, index=0), 0.0))
    core = waited(core, 1.0)[0]
    assert media(sent(core, (AgentAudio(turn=1, index=1, audio=b"n" * 400), 1.0))) == b"n" * 320


# The hold tone.


def test_the_hold_tone_plays_over_and_over_until_the_next_piece_has_sound() -> None:
    core, told = step(SILENT, PlayTone(turn=1), 0.0)
    core, more = waited(core, 1.0)
    played = media([*told, *more])
    assert set(played) == {ord("t")}
    assert core.buffer.until - 1.0 == pytest.approx(0.12, abs=0.021)
    assert only(Playing, told) + only(SendMark, [*told, *more]) == []
    core, told = ran(core, *reply((0, 2), now=1.0))
    assert media(told).startswith(SOUNDS[0])
    assert core.tone is None


def test_the_hold_tone_waits_for_what_is_queued_and_goes_on_until_a_later_piece() -> None:
    core = after(SILENT, (Sentence(turn=1, index=0, text="one"), 0.0), (PlayTone(turn=1), 0.1))
    assert core.tone is not None
    core = waited(core, 0.5)[0]
    core, told = ran(core, (AgentAudio(turn=1, index=0, audio=SOUNDS[0], words=(word(0),)), 0.5))
    core, more = ran(core, (AgentAudioEnded(turn=1, index=0), 0.5))
    core, last = waited(core, 1.5)
    assert media([*told, *more, *last]).rstrip(b"t") == SOUNDS[0]
    assert core.buffer.until > 1.5
    assert media(sent(core, *piece(1, 1, 2, now=1.5))).lstrip(b"t").startswith(SOUNDS[1])


@pytest.mark.parametrize(
    "end", [BargedIn(turn=1, at_s=0.5), ReplyEnded(turn=1, pieces=0), LineClosed(reason="stop", at_s=0.5)]
)
def test_the_hold_tone_ends_with_its_turn(end: object) -> None:
    core = after(SILENT, (Sentence(turn=1, index=0, text=""), 0.0), (AgentAudioEnded(turn=1, index=0), 0.0))
    core = after(core, (MarkEcho(name="0:1:0", at_s=0.0), 0.1), (PlayTone(turn=1), 0.2))
    core = waited(core, 0.5)[0]
    assert core.buffer.until > 0.5
    core = after(core, (end, 0.5))
    assert (core.tone, core.deadline) == (None, NEVER)


def test_the_hold_tone_is_silent_while_the_agent_is_held_and_before_a_turn_that_is_over() -> None:
    core = waited(after(SILENT, (PlayTone(turn=1), 0.0)), 0.5)[0]
    core, told = step(core, HOLD, 0.5)
    assert told[0] == SendClear()
    assert core.deadline == 6.5
    assert set(media(sent(core, (RESUME, 1.0)))) == {ord("t")}
    cut = after(SILENT, (BargedIn(turn=1, at_s=0.0), 0.0))
    assert ran(cut, (PlayTone(turn=1), 0.1)) == (cut, [])


def test_the_hold_tone_is_never_heard_within_a_piece() -> None:
    core = after(SILENT, (Sentence(turn=1, index=0, text="one two"), 0.0))
    core = after(core, (AgentAudio(turn=1, index=0, audio=SOUNDS[0], words=(word(0),)), 0.0), (PlayTone(turn=1), 0.1))
    assert media(waited(core, 3.0)[1]) == b""


def test_nobody_waits_longer_for_a_voice_because_of_the_hold_tone() -> None:
    core = after(SILENT, (Sentence(turn=1, index=0, text="one"), 0.0), (PlayTone(turn=1), 0.0))
    _, told = waited(core, 7.99)
    assert names(told) == []
    assert names(waited(core, 8.0)[1]) == ["pieces_starved"]


def test_a_tenant_without_a_hold_tone_has_silence() -> None:
    core = Pacer(clips={})
    assert sent(core, (PlayTone(turn=1), 0.0)) == []
    assert after(core, (PlayTone(turn=1), 0.0)).deadline == NEVER


def test_a_piece_says_what_is_whole_in_it() -> None:
    one = Piece(index=0, text="one two", audio=bytes(3200), words=(word(0), word(1)))
    assert [one.words_in(size) for size in (0, 1599, 1600, 3200)] == ["", "", "one", "one two"]
    assert RATE_HZ == 8000
