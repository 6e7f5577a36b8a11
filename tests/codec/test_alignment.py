"""Alignment: which of the words that are heard again were accepted before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec.alignment import repeated
from engine.messages.recognition import Word


def spoken(*texts: str, at_s: float = 0.0, word_s: float = 0.2, gap_s: float = 0.1) -> list[Word]:
    """Words at an even pace."""
    begins = [at_s + number * (word_s + gap_s) for number in range(len(texts))]
    return [Word(text=text, start_s=begin, end_s=begin + word_s) for text, begin in zip(texts, begins, strict=True)]


def late(words: list[Word], by_s: float) -> list[Word]:
    return [Word(text=each.text, start_s=each.start_s + by_s, end_s=each.end_s + by_s) for each in words]


SAID = spoken("i", "would", "like", "a", "haircut")


@pytest.mark.parametrize("known", range(6))
@pytest.mark.parametrize("by_s", [-0.12, -0.06, 0.0, 0.06, 0.12])
def test_what_was_accepted_is_known_again_wherever_all_of_it_lies(known: int, by_s: float) -> None:
    covered_s = SAID[known - 1].end_s + 0.05 if known else 0.0
    assert repeated(SAID[:known], late(SAID, by_s), begins_s=-0.5, covered_s=covered_s) == known


@pytest.mark.parametrize("by_s", [-0.12, 0.12])
def test_order_tells_short_words_apart_that_lie_nearer_to_another_than_to_themselves(by_s: float) -> None:
    said = spoken(*["no"] * 12, word_s=0.08, gap_s=0.0)
    said = [word for number, word in enumerate(said) if number not in {3, 4, 8}]  # an uneven pace is what tells
    assert repeated(said[:6], late(said, by_s), begins_s=-0.2, covered_s=said[5].end_s) == 6


def test_texts_tell_words_apart_that_times_cannot() -> None:
    first, second = spoken("yes", "no", word_s=0.08, gap_s=0.0)
    (only,) = late([second], -0.06)
    assert repeated([first], [only], begins_s=first.start_s - 0.02, covered_s=first.end_s) == 0
    (only,) = late([first], 0.02)
    assert repeated([first], [only], begins_s=first.start_s - 0.02, covered_s=first.end_s) == 1


@pytest.mark.parametrize(("written", "known"), [("no", 1), ("No.", 1), ("NO", 1), ("know", 0)])
def test_texts_are_compared_as_they_are_spoken(written: str, known: int) -> None:
    accepted = Word(text="no", start_s=1.0, end_s=1.15)
    heard = Word(text=written, start_s=1.18, end_s=1.33)
    assert repeated([accepted], [heard], begins_s=0.0, covered_s=1.15) == known


def test_of_a_long_word_in_which_the_audio_begins_the_end_is_enough() -> None:
    accepted = [Word(text="no", start_s=0.0, end_s=0.9), Word(text="no", start_s=0.95, end_s=1.1)]
    heard = [Word(text="no", start_s=0.78, end_s=0.9), Word(text="no", start_s=0.95, end_s=1.1)]
    assert repeated(accepted, heard, begins_s=0.76, covered_s=1.1) == 2
    assert repeated(accepted[:1], heard, begins_s=0.76, covered_s=0.9) == 1


@pytest.mark.parametrize("other", ["Would,", "WOULD", "wood"])
def test_a_word_may_be_written_or_heard_in_another_way_the_second_time(other: str) -> None:
    heard = [SAID[0], Word(text=other, start_s=SAID[1].start_s, end_s=SAID[1].end_s), *SAID[2:]]
    for known in (1, 2, 3):
        assert repeated(SAID[:known], heard, begins_s=-0.1, covered_s=SAID[known - 1].end_s) == known


def test_a_piece_of_a_word_is_that_word() -> None:
    begins_s = SAID[1].start_s + 0.1
    piece = Word(text="uld", start_s=begins_s, end_s=SAID[1].end_s)
    assert repeated(SAID[:3], [piece, *SAID[2:]], begins_s=begins_s, covered_s=SAID[2].end_s) == 2


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_word_that_is_not_heard_again_makes_none_new_and_none_old(missing: int) -> None:
    heard = [word for number, word in enumerate(SAID) if number != missing]
    assert repeated(SAID[:3], heard, begins_s=-0.5, covered_s=SAID[2].end_s) == 2


def test_a_word_that_was_not_heard_before_is_old_where_others_behind_it_are() -> None:
    assert repeated([SAID[0], SAID[2]], SAID, begins_s=-0.5, covered_s=SAID[2].end_s) == 3


def test_where_nothing_was_accepted_what_was_covered_decides() -> None:
    assert repeated([], SAID, begins_s=0.0, covered_s=0.0) == 0
    assert repeated([], SAID, begins_s=-0.5, covered_s=SAID[2].end_s + 0.2) == 3


@pytest.mark.parametrize(("before_s", "known"), [(0.0, 0), (0.06, 0), (0.1, 1), (0.3, 1)])
def test_a_word_is_new_unless_its_middle_lies_in_what_was_covered_where_none_has_times(
    before_s: float, known: int
) -> None:
    heard = Word(text="no", start_s=2.0 - before_s - 0.1, end_s=2.0 - before_s + 0.1)
    assert repeated([], [heard], begins_s=0.5, covered_s=2.0) == known


@pytest.mark.parametrize(("before_s", "known"), [(0.2, 1), (0.35, 2)])
def test_a_word_that_is_not_among_the_accepted_is_new_unless_it_lies_far_within_what_was_covered(
    before_s: float, known: int
) -> None:
    accepted = Word(text="yes", start_s=1.0, end_s=1.2)
    heard = Word(text="no", start_s=2.0 - before_s - 0.1, end_s=2.0 - before_s + 0.1)
    assert repeated([accepted], [accepted, heard], begins_s=0.5, covered_s=2.0) == known


def test_two_short_words_that_are_heard_as_one_hide_no_word_after_them() -> None:
    accepted = [Word(text="hair", start_s=1.0, end_s=1.1), Word(text="cut", start_s=1.1, end_s=1.2)]
    heard = [Word(text="haircut", start_s=1.0, end_s=1.2), Word(text="cut", start_s=1.22, end_s=1.32)]
    assert repeated(accepted, heard, begins_s=0.5, covered_s=1.2) == 1


def test_nothing_heard_is_nothing_known() -> None:
    assert repeated(SAID, [], begins_s=0.0, covered_s=1.0) == 0


def test_what_lies_before_the_audio_is_not_waited_for() -> None:
    assert repeated(SAID[:4], SAID[3:], begins_s=SAID[3].start_s - 0.02, covered_s=SAID[3].end_s) == 1


GAPS = st.floats(0.0, 0.3)
LENGTHS = st.floats(0.1, 0.45)


@given(
    words=st.lists(st.tuples(LENGTHS, GAPS), min_size=1, max_size=12),
    known=st.integers(0, 12),
    shifts=st.lists(st.floats(-0.06, 0.06), min_size=1, max_size=11),
    later=st.lists(st.floats(-0.06, 0.06), min_size=1, max_size=7),
)
def test_words_and_gaps_over_240_ms_are_told_apart_by_times_alone(
    words: list[tuple[float, float]], known: int, shifts: list[float], later: list[float]
) -> None:
    known = min(known, len(words))
    at_s, first, second = 0.0, list[Word](), list[Word]()
    for number, (word_s, gap_s) in enumerate(words):
        ends_s = at_s + word_s
        for heard, off in ((first, shifts), (second, later)):
            begin_s, end_s = at_s + off[2 * number % len(off)], ends_s + off[(2 * number + 1) % len(off)]
            heard.append(Word(text="w", start_s=begin_s, end_s=max(end_s, begin_s + 0.02)))
        at_s = ends_s + max(gap_s, 0.2401 - word_s)
    covered_s = first[known - 1].end_s if known else -0.5
    assert repeated(first[:known], second, begins_s=-0.5, covered_s=covered_s) == known


TIMES = st.floats(0.0, 20.0)
WORDS = st.lists(st.builds(Word, text=st.sampled_from(["yes", "no", ""]), start_s=TIMES, end_s=TIMES), max_size=6)


@given(accepted=WORDS, heard=WORDS, begins_s=TIMES, covered_s=TIMES)
def test_whatever_is_heard_some_of_it_is_known(
    accepted: list[Word], heard: list[Word], begins_s: float, covered_s: float
) -> None:
    assert 0 <= repeated(accepted, heard, begins_s=begins_s, covered_s=covered_s) <= len(heard)


@pytest.mark.parametrize(
    "heard",
    [("i", "would", "like", "a", "hair", "cut"), ("i'd", "like", "a", "haircut"), ("iwould", "like", "a", "haircut")],
)
def test_one_word_may_be_heard_as_two_the_second_time_and_two_as_one(heard: tuple[str, ...]) -> None:
    said = spoken("i", "would", "like", "a", "haircut", "please", gap_s=0.02)
    again = {each.text: each for each in said}
    again["hair"] = Word(text="hair", start_s=again["haircut"].start_s, end_s=again["haircut"].start_s + 0.1)
    again["cut"] = Word(text="cut", start_s=again["haircut"].start_s + 0.1, end_s=again["haircut"].end_s)
    for both in ("i'd", "iwould"):
        again[both] = Word(text=both, start_s=said[0].start_s, end_s=said[1].end_s)
    words = [again[text] for text in (*heard, "please")]
    assert repeated(said[:5], words, begins_s=-0.5, covered_s=said[4].end_s) == len(heard)
