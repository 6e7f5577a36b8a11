"""TTS: what is owed to a voice, and every word once."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.tts import TTS, Piece
from engine.messages.caller import LineClosed
from engine.messages.recognition import Word
from engine.messages.records import Timing
from engine.messages.reply import ReplyEnded, Sentence
from engine.messages.supervision import NEVER, SessionInfo
from engine.messages.synthesis import (
    AgentAudio,
    AgentAudioEnded,
    AgentAudioTrimmed,
    CancelSynthesis,
    EndSynthesis,
    Synthesise,
    Synthesised,
    SynthesisEnded,
)
from engine.messages.turns import BargedIn
from tests.actors.steps import after, only, ran, sent

CLOSED = LineClosed(reason="stop", at_s=90.0)
ALIGNED = SessionInfo(vendor="elevenlabs", incarnation=1, aligned=True)
PLAIN = SessionInfo(vendor="aura", incarnation=2)

EARS = TTS().started(ALIGNED, 0.0)[0]
"""A core whose voice says which words its audio holds."""


def sentence(index: int, text: str, turn: int = 1) -> Sentence:
    return Sentence(turn=turn, index=index, text=text)


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(text=text, start_s=start_s, end_s=end_s)


def sound(index: int, audio: bytes, *words: Word, turn: int = 1) -> Synthesised:
    return Synthesised(turn=turn, index=index, audio=audio, words=words)


def whole(index: int, turn: int = 1) -> SynthesisEnded:
    return SynthesisEnded(turn=turn, index=index)


# Speaking.


def test_sentences_are_asked_for_at_once_and_owed_in_order_until_they_are_spoken() -> None:
    core, told = ran(EARS, (sentence(0, "Of course."), 1.0), (sentence(1, "At nine?"), 1.1))
    assert told == [Synthesise(turn=1, index=0, text="Of course."), Synthesise(turn=1, index=1, text="At nine?")]
    assert [piece.text for piece in core.pieces] == ["Of course.", "At nine?"]
    assert [piece.text for piece in after(core, (whole(0), 2.0)).pieces] == ["At nine?"]


def test_audio_of_an_aligned_voice_is_passed_on_as_it_comes() -> None:
    core = after(EARS, (sentence(0, "Of course."), 1.0))
    core, told = ran(
        core, (sound(0, b"a" * 100, word("Of", 0.0, 0.01)), 1.5), (sound(0, b"b" * 50), 1.6), (whole(0), 1.7)
    )
    assert told == [
        AgentAudio(turn=1, index=0, audio=b"a" * 100, words=(word("Of", 0.0, 0.01),)),
        Timing(turn=1, stage="first_audio", at_s=1.5),
        AgentAudio(turn=1, index=0, audio=b"b" * 50),
        AgentAudioEnded(turn=1, index=0),
    ]
    assert core == EARS


def test_audio_of_a_voice_without_words_is_held_until_the_sentence_is_whole() -> None:
    core = after(TTS().started(PLAIN, 0.0)[0], (sentence(0, "Of course."), 1.0))
    core, told = ran(core, (sound(0, b"a" * 100), 1.5), (sound(0, b"b" * 50), 1.6))
    assert told == []
    assert sent(core, (whole(0), 1.7)) == [
        AgentAudio(turn=1, index=0, audio=b"a" * 100 + b"b" * 50),
        Timing(turn=1, stage="first_audio", at_s=1.7),
        AgentAudioEnded(turn=1, index=0),
    ]


def test_only_the_first_sound_of_a_turn_is_timed() -> None:
    core = after(EARS, (sentence(0, "Yes."), 1.0), (sentence(1, "No."), 1.0), (sound(0, b"a"), 1.1), (whole(0), 1.2))
    assert only(Timing, sent(core, (sound(1, b"b"), 1.3))) == []


def test_sound_that_nobody_asked_for_is_dropped() -> None:
    assert ran(EARS, (sound(0, b"a"), 1.0), (whole(0), 1.1)) == (EARS, [])


def test_it_has_no_deadline() -> None:
    assert after(EARS, (sentence(0, "Yes."), 1.0)).deadline == NEVER


# Barge-in and the end.


def test_a_barge_in_forgets_the_turn_and_all_before_it() -> None:
    core = after(
        EARS, (sentence(0, "One."), 1.0), (sentence(0, "Two.", turn=2), 1.0), (sentence(0, "Three.", turn=3), 1.0)
    )
    core, told = ran(core, (BargedIn(turn=2, at_s=1.0), 1.1))
    assert told == [CancelSynthesis(turn=2)]
    assert [piece.text for piece in core.pieces] == ["Three."]
    assert ran(core, (sound(0, b"a", turn=2), 1.2), (whole(0, turn=2), 1.3)) == (core, [])


@pytest.mark.parametrize(("turn", "spoken"), [(1, False), (2, False), (3, True)])
def test_a_sentence_of_a_turn_that_is_over_is_not_spoken(turn: int, *, spoken: bool) -> None:
    core = after(EARS, (BargedIn(turn=2, at_s=1.0), 1.0), (BargedIn(turn=1, at_s=1.0), 1.0))
    assert bool(sent(core, (sentence(0, "Late.", turn=turn), 1.1))) is spoken


def test_the_end_of_the_line_cancels_all_that_is_owed_and_flows_on() -> None:
    core = after(EARS, (sentence(0, "One."), 1.0), (sentence(0, "Four.", turn=4), 1.0))
    core, told = ran(core, (CLOSED, 2.0))
    assert told == [CancelSynthesis(turn=4), CLOSED]
    assert (core.pieces, core.over) == ((), 4)


# A new session.

CUT = after(
    EARS,
    (sentence(0, "We have two times."), 1.0),
    (sentence(1, "Nine or ten."), 1.0),
    (sound(0, b"w" * 800, word("We", 0.0, 0.1)), 1.1),
    (sound(0, b"h" * 1000, word("have", 0.12, 0.2)), 1.2),
)
"""Two words are spoken, 1600 bytes, and 200 bytes of the third were passed on."""


def test_a_new_session_speaks_on_from_the_word_after_the_last_whole_one() -> None:
    core, asks = CUT.started(PLAIN, 2.0)
    assert asks == [
        AgentAudioTrimmed(turn=1, index=0, keep_bytes=1600),
        Synthesise(turn=1, index=0, text="two times."),
        Synthesise(turn=1, index=1, text="Nine or ten."),
    ]
    assert core.aligned is False


def test_words_of_the_new_session_are_timed_from_where_it_began() -> None:
    core = CUT.started(ALIGNED, 2.0)[0]
    told = sent(core, (sound(0, b"t" * 800, word("two", 0.0, 0.1)), 2.2))
    assert told == [AgentAudio(turn=1, index=0, audio=b"t" * 800, words=(word("two", 0.2, 0.1 + 0.2),))]


def test_a_second_death_speaks_on_from_the_second_cut() -> None:
    core = after(CUT.started(ALIGNED, 2.0)[0], (sound(0, b"t" * 1000, word("two", 0.0, 0.1)), 2.2))
    assert core.started(ALIGNED, 3.0)[1][:2] == [
        AgentAudioTrimmed(turn=1, index=0, keep_bytes=2400),
        Synthesise(turn=1, index=0, text="times."),
    ]


def test_nothing_is_trimmed_where_the_cut_lies_between_two_words() -> None:
    core = after(EARS, (sentence(0, "We have"), 1.0), (sound(0, b"w" * 800, word("We", 0.0, 0.1)), 1.1))
    assert core.started(ALIGNED, 2.0)[1] == [Synthesise(turn=1, index=0, text="have")]


def test_a_sentence_of_which_only_the_end_was_missing_is_whole() -> None:
    core = after(EARS, (sentence(0, "Yes."), 1.0), (sound(0, b"y" * 800, word("Yes.", 0.0, 0.1)), 1.1))
    core, asks = core.started(ALIGNED, 2.0)
    assert asks == [AgentAudioEnded(turn=1, index=0)]
    assert core.pieces == ()


def test_a_word_that_is_said_to_end_after_the_audio_that_came_is_not_filled_up() -> None:
    core = after(EARS, (sentence(0, "We have"), 1.0), (sound(0, b"w" * 700, word("We", 0.0, 0.1)), 1.1))
    assert core.pieces[0].whole_bytes == 700
    assert core.started(ALIGNED, 2.0)[1] == [Synthesise(turn=1, index=0, text="have")]


def test_audio_that_was_held_of_a_dead_session_is_forgotten() -> None:
    core = after(TTS().started(PLAIN, 0.0)[0], (sentence(0, "Of course."), 1.0), (sound(0, b"a" * 100), 1.1))
    core, asks = core.started(PLAIN, 2.0)
    assert asks == [Synthesise(turn=1, index=0, text="Of course.")]
    assert sent(core, (sound(0, b"b" * 90), 2.1), (whole(0), 2.2))[0] == AgentAudio(turn=1, index=0, audio=b"b" * 90)


def test_a_voice_without_words_goes_on_where_one_with_words_died() -> None:
    core = CUT.started(PLAIN, 2.0)[0]
    told = sent(core, (sound(0, b"t" * 900), 2.2), (whole(0), 2.3))
    assert told == [AgentAudio(turn=1, index=0, audio=b"t" * 900), AgentAudioEnded(turn=1, index=0)]


# Salvage.


@pytest.mark.parametrize("core", [EARS, CUT, after(CUT, (BargedIn(turn=1, at_s=2.0), 2.0)), after(CUT, (CLOSED, 3.0))])
def test_a_fresh_core_is_what_a_sound_one_was(core: TTS) -> None:
    assert TTS().fresh(core) == core


def test_a_bare_core_knows_which_turns_are_over() -> None:
    assert TTS().bare(after(CUT, (BargedIn(turn=0, at_s=2.0), 2.0))) == TTS(over=0)


# Whatever becomes of the voice.

LETTERS = "abcdefghij"
WORD_BYTES = 80


def spoken(text: str) -> list[tuple[bytes, tuple[Word, ...]]]:
    """A voice: each word is its letter for 10 ms, and comes in two chunks, named with the second."""
    chunks: list[tuple[bytes, tuple[Word, ...]]] = []
    for at, each in enumerate(text.split()):
        half = each.encode() * (WORD_BYTES // 2)
        end_s = (at + 1) * WORD_BYTES / 8000
        chunks += [(half, ()), (half, (word(each, end_s - WORD_BYTES / 8000, end_s),))]
    return chunks


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    lives=st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=6),
)
def test_whenever_the_voice_dies_what_the_pacer_keeps_is_every_word_once(
    sizes: list[int], lives: list[tuple[int, bool]]
) -> None:
    letters = iter(LETTERS + LETTERS.upper())
    texts = [" ".join(next(letters) for _ in range(size)) for size in sizes]
    core = TTS()
    for index, text in enumerate(texts):
        core = after(core, (sentence(index, text), 0.0))
    kept: dict[int, bytes] = {}
    ended: list[int] = []
    for number, (events, aligned) in enumerate([*lives, (100, True)]):
        info = SessionInfo(vendor="any", incarnation=number + 1, aligned=aligned)
        core, asks = core.started(info, 0.0)
        script: list[object] = []
        for ask in only(Synthesise, asks):
            for audio, words in spoken(ask.text):
                script.append(Synthesised(turn=1, index=ask.index, audio=audio, words=words if aligned else ()))
            script.append(whole(ask.index))
        core, told = ran(core, *((each, 0.0) for each in script[:events]))
        for each in [*asks, *told]:
            match each:
                case AgentAudio(index=index, audio=audio):
                    kept[index] = kept.get(index, b"") + audio
                case AgentAudioTrimmed(index=index, keep_bytes=keep_bytes):
                    kept[index] = kept[index][:keep_bytes]
                case AgentAudioEnded(index=index):
                    ended.append(index)
                case _:
                    pass
    assert [kept[index] for index in range(len(texts))] == [
        b"".join(each.encode() * WORD_BYTES for each in text.split()) for text in texts
    ]
    assert ended == list(range(len(texts)))
    assert core.pieces == ()


def test_a_pieces_rest_is_what_no_audio_was_passed_on_for() -> None:
    piece = Piece(turn=1, index=0, text="We have two times.", words=(word("We", 0.0, 0.1), word("have", 0.1, 0.2)))
    assert piece.rest == "two times."
    assert attrs.evolve(piece, words=()).rest == piece.text


# The end of a reply.


def test_a_voice_is_told_that_a_reply_has_no_more_sentences() -> None:
    core, told = ran(EARS, (sentence(0, "Of course."), 1.0), (ReplyEnded(turn=1, pieces=1), 1.1))
    assert told == [Synthesise(turn=1, index=0, text="Of course."), EndSynthesis(turn=1)]
    assert core.pieces


def test_a_new_session_is_told_after_the_last_piece_of_a_reply_that_has_ended() -> None:
    core = after(EARS, (sentence(0, "Of course."), 1.0), (ReplyEnded(turn=1, pieces=1), 1.1))
    core = after(core, (sentence(0, "At nine?", turn=2), 1.2))
    _, told = core.started(ALIGNED, 2.0)
    assert told == [
        Synthesise(turn=1, index=0, text="Of course."),
        Synthesise(turn=2, index=0, text="At nine?"),
        EndSynthesis(turn=1),
    ]


def test_the_end_of_a_reply_that_was_cut_is_no_news() -> None:
    core = after(EARS, (sentence(0, "Of course."), 1.0), (BargedIn(turn=1, at_s=1.0), 1.1))
    assert core.handle(ReplyEnded(turn=1, pieces=1), 1.2)[1] == []


def test_words_without_sound_are_no_first_audio() -> None:
    core = after(EARS, (sentence(0, "—"), 1.0))
    assert only(Timing, core.handle(sound(0, b"", word("—", 0.0, 0.0)), 1.1)[1]) == []
