"""Where utterances begin and end: the part of the local recogniser that decides which audio is ever heard."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.codec.telephony import FRAME_BYTES, FRAME_S, RATE_HZ, SILENCE
from engine.providers.local.endpoint import (
    Covered,
    Draft,
    Endpointer,
    EndpointPolicy,
    Frame,
    Framer,
    Heard,
    Utterance,
)

POLICY = EndpointPolicy()
# 0.3 s of pre-roll, 0.2 of post-roll, 0.4 of silence that ends: in frames.
PRE, POST, END = 15, 10, 20


def audio(number: int) -> bytes:
    """A frame that can be told from its neighbours; every third one is louder than the next."""
    return bytes([number % 251]) * FRAME_BYTES


def heard(pattern: str, *, policy: EndpointPolicy = POLICY, finish: bool = False) -> list[tuple[int, Heard]]:
    """What comes of frames: "v" voiced, "." not, "|" asked to finish; each with the number of frames heard by then."""
    endpointer, at, events = Endpointer(policy), 0, list[tuple[int, Heard]]()
    for sign in pattern + "|" * finish:
        if sign == "|":
            endpointer, more = endpointer.finish()
        else:
            endpointer, more = endpointer.hear(Frame(at * FRAME_BYTES, audio(at), sign == "v"))
            at += 1
        events += [(at, event) for event in more]
    return events


def utterances(events: list[tuple[int, Heard]]) -> list[Utterance]:
    return [event for _, event in events if isinstance(event, Utterance)]


def frames(utterance: Utterance | Draft) -> tuple[int, int]:
    """The numbers of the first frame and of the one after the last."""
    begin = round(utterance.audio_s / FRAME_S)
    return begin, begin + len(utterance.audio) // FRAME_BYTES


def test_speech_between_silences_is_one_utterance_with_its_surroundings() -> None:
    pattern = "." * 50 + "v" * 30 + "." * 40
    [(when, utterance)] = [(at, event) for at, event in heard(pattern) if isinstance(event, Utterance)]
    assert when == 80 + END
    assert frames(utterance) == (50 - PRE, 80 + POST)
    assert utterance.audio == b"".join(audio(number) for number in range(50 - PRE, 80 + POST))
    assert (utterance.start_s, utterance.end_s) == pytest.approx((50 * FRAME_S, 80 * FRAME_S))
    assert utterance.voiced_s == pytest.approx(30 * FRAME_S)
    assert utterance.covered_s == pytest.approx((80 + POST) * FRAME_S)
    assert utterance.whole


def test_two_voiced_frames_are_a_click_and_three_of_five_are_speech() -> None:
    assert not utterances(heard("." * 50 + "vv" + "." * 60))
    assert not utterances(heard("." * 50 + "v...v...v...v" + "." * 60))
    [utterance] = utterances(heard("." * 50 + "v.v.v" + "." * 60))
    assert utterance.start_s == pytest.approx(50 * FRAME_S)


def test_words_join_if_the_second_is_certain_before_the_silence_is_over_and_part_if_it_is_not() -> None:
    speech, certain = "v" * 20, POLICY.onset_frames
    assert len(utterances(heard("." * 30 + speech + "." * (END - certain) + speech + "." * 30))) == 1
    assert len(utterances(heard("." * 30 + speech + "." * (END - certain + 1) + speech + "." * 30))) == 2


def test_clicks_in_the_silence_after_speech_do_not_keep_the_utterance_open() -> None:
    [(when, _)] = [
        (at, event) for at, event in heard("." * 30 + "v" * 20 + "....v" * 8) if isinstance(event, Utterance)
    ]
    assert when == 50 + END


def test_two_utterances_share_no_audio_and_leave_none_between_them() -> None:
    first, second = utterances(heard("." * 30 + "v" * 20 + "." * 21 + "v" * 20 + "." * 30))
    assert second.audio_s == pytest.approx(first.covered_s)


def test_silence_is_covered_once_a_second_up_to_the_pre_roll_of_a_word_that_may_have_begun() -> None:
    told = [(at, round(event.covered_s / FRAME_S)) for at, event in heard("." * 120) if isinstance(event, Covered)]
    kept = PRE + POLICY.window_frames
    assert told == [(50, 50 - kept), (100, 100 - kept)]


def test_while_somebody_speaks_nothing_of_it_is_covered() -> None:
    slow = EndpointPolicy(draft_s=30.0)
    told = [event.covered_s for at, event in heard("." * 60 + "v" * 200, policy=slow) if isinstance(event, Covered)]
    assert len(told) == 5
    assert max(told) <= (60 - PRE) * FRAME_S


def test_drafts_come_at_a_steady_pace_at_first_and_then_ever_slower() -> None:
    made = [at - 50 for at, event in heard("." * 50 + "v" * 400) if isinstance(event, Draft)]
    gaps = [after - before for before, after in pairwise(made)]
    assert made[0] == 23  # 0.45 s
    assert gaps[:3] == [23, 23, 23]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 60


def test_the_draft_made_in_the_pause_has_the_audio_of_the_utterance() -> None:
    events = heard("." * 50 + "v" * 30 + "." * 40)
    (when, draft), (_, utterance) = [pair for pair in events if not isinstance(pair[1], Covered)][-2:]
    assert isinstance(draft, Draft)
    assert isinstance(utterance, Utterance)
    assert when == 80 + POST
    assert draft.audio == utterance.audio
    assert (draft.start_s, draft.end_s) == (utterance.start_s, utterance.end_s)


def test_speech_without_a_pause_is_cut_at_its_quietest_place() -> None:
    policy = EndpointPolicy(longest_s=4.0)
    endpointer, found = Endpointer(policy), list[Utterance]()
    # Of two that are as quiet, the later: the tail is then the shorter.
    quiet, as_quiet = range(140, 150), range(115, 125)
    for number in range(260):
        loud = bytes([0xF0 if number in (*quiet, *as_quiet) else 0x80]) * FRAME_BYTES
        endpointer, events = endpointer.hear(Frame(number * FRAME_BYTES, loud, voiced=True))
        found += [event for event in events if isinstance(event, Utterance)]
    _, rest = endpointer.finish()
    [piece] = found
    [tail] = rest
    assert isinstance(tail, Utterance)
    assert frames(piece)[0] == 0
    assert frames(piece)[1] in quiet
    assert not piece.whole
    assert tail.whole
    assert frames(tail) == (frames(piece)[1], 260)


def test_to_finish_covers_everything_heard_with_the_word_that_is_being_spoken() -> None:
    silent, *_ = heard("." * 10 + "|")
    assert silent == (10, Covered(covered_s=10 * FRAME_S))
    [utterance] = utterances(heard("." * 30 + "v" * 10 + "." * 3 + "|"))
    assert utterance.covered_s == pytest.approx(43 * FRAME_S)
    assert utterance.end_s == pytest.approx(40 * FRAME_S)
    [barely] = utterances(heard("." * 30 + "vv|"))
    assert barely.covered_s == pytest.approx(32 * FRAME_S)


def test_a_hole_in_the_audio_ends_the_utterance_before_it() -> None:
    endpointer = Endpointer(POLICY)
    events = list[Heard]()
    for at in [*range(30), *range(100, 130)]:
        endpointer, more = endpointer.hear(Frame(at * FRAME_BYTES, audio(at), voiced=True))
        events += more
    [before] = [event for event in events if isinstance(event, Utterance)]
    _, [after] = endpointer.finish()
    assert isinstance(after, Utterance)
    assert frames(before) == (0, 30)
    assert frames(after) == (100, 130)


def sure(pattern: str, policy: EndpointPolicy) -> set[int]:
    """The voiced frames that make speech, by the definition: in some window enough of them are voiced."""
    found = set[int]()
    for stretch_at, stretch in stretches(pattern):
        for end in range(1, len(stretch) + 1):
            window = range(max(0, end - policy.window_frames), end)
            voiced = [number for number in window if stretch[number] == "v"]
            if stretch[end - 1] == "v" and len(voiced) >= policy.onset_frames:
                found |= {stretch_at + number for number in voiced}
    return found


def stretches(pattern: str) -> list[tuple[int, str]]:
    """The parts between requests to finish, each with the number of its first frame."""
    at, parts = 0, []
    for part in pattern.split("|"):
        parts.append((at, part))
        at += len(part)
    return parts


PATTERNS = st.lists(
    st.one_of(
        st.integers(1, 60).map(lambda count: "v" * count),
        st.integers(1, 60).map(lambda count: "." * count),
        st.text("v.", max_size=30),
        st.just("|"),
    ),
    max_size=14,
).map("".join)
POLICIES = st.builds(
    EndpointPolicy,
    pre_roll_s=st.sampled_from([0.0, 0.1, 0.3]),
    post_roll_s=st.sampled_from([0.0, 0.1, 0.2]),
    silence_s=st.sampled_from([0.2, 0.4]),
    longest_s=st.sampled_from([1.0, 2.0, 12.0]),
    onset_frames=st.integers(1, 3),
)


@given(PATTERNS, POLICIES)
@example("." * 30 + "v" * 700, POLICY)
def test_every_voiced_frame_is_in_exactly_one_utterance_and_nothing_covered_is_needed_again(
    pattern: str, policy: EndpointPolicy
) -> None:
    events = heard(pattern, policy=policy, finish=True)
    found = [frames(utterance) for utterance in utterances(events)]
    times = [number for begin, end in found for number in range(begin, end)]
    assert times == sorted(set(times)), "no frame twice, none out of order"
    assert sure(pattern, policy) <= set(times)
    for utterance, (begin, end) in zip(utterances(events), found, strict=True):
        assert utterance.audio == b"".join(audio(number) for number in range(begin, end))
        # A step over the bound may be needed to see that it is reached.
        assert end - begin <= policy.longest_s / FRAME_S + END + 1

    covered = 0.0
    for _, event in events:
        if isinstance(event, Draft):
            assert event.audio_s >= covered
        else:
            assert event.covered_s >= covered
            if isinstance(event, Utterance):
                assert event.audio_s >= covered
            covered = event.covered_s
    assert covered == pytest.approx(len(pattern.replace("|", "")) * FRAME_S), "the last word covers everything"


@given(PATTERNS, POLICIES)
def test_an_utterance_has_its_whole_pre_roll_unless_another_has_it(pattern: str, policy: EndpointPolicy) -> None:
    beginnings = {round(at * FRAME_S * RATE_HZ) for at, _ in stretches(pattern)}
    before = 0.0
    for utterance in utterances(heard(pattern, policy=policy, finish=True)):
        has_all = utterance.audio_s <= utterance.start_s - policy.pre_roll_s + 1e-9
        begins_a_stretch = round(utterance.audio_s * RATE_HZ) in beginnings
        assert has_all or utterance.audio_s == before or begins_a_stretch
        before = utterance.covered_s


# ── frames out of anything ────────────────────────────────────────────────────────────────────────────────────────────

STREAM = bytes(number % 241 for number in range(4000))


@given(st.lists(st.tuples(st.integers(0, 3999), st.integers(1, 700)), max_size=12))
def test_audio_of_any_size_sent_more_than_once_comes_out_once_and_in_order(cuts: list[tuple[int, int]]) -> None:
    framer, out, sent = Framer(), list[tuple[int, bytes]](), 0
    for back, size in cuts:
        begin = max(0, sent - back)
        framer, done = framer.add(begin, STREAM[begin : begin + size])
        # Within the jitter, audio that overlaps is taken for new: it was not sent twice by anyone.
        if sent - begin > 80 or begin == sent:
            sent = max(sent, min(begin + size, len(STREAM)))
        else:
            return
        out += done
    framer, rest = framer.finish()
    out += rest
    assert b"".join(piece for _, piece in out) == STREAM[:sent]
    assert [at for at, _ in out] == [number * FRAME_BYTES for number in range(len(out))]


def test_a_lost_frame_is_filled_with_silence_and_keeps_the_clock_right() -> None:
    framer, done = Framer().add(0, b"a" * FRAME_BYTES)
    framer, more = framer.add(2 * FRAME_BYTES, b"c" * FRAME_BYTES)
    assert done + more == [
        (0, b"a" * FRAME_BYTES),
        (160, bytes([SILENCE]) * FRAME_BYTES),
        (320, b"c" * FRAME_BYTES),
    ]
    assert framer.finish() == (framer, [])


def test_a_long_hole_is_not_filled() -> None:
    framer, _ = Framer().add(0, b"a" * 100)
    framer, done = framer.add(16000, b"b" * FRAME_BYTES)
    assert done == [(0, b"a" * 100), (16000, b"b" * FRAME_BYTES)]
    assert framer.at == 16000 + FRAME_BYTES


def test_timestamps_that_stray_by_a_millisecond_neither_drop_nor_add_a_sample() -> None:
    framer, out = Framer(), list[bytes]()
    for number, stray in enumerate([0, 8, -8, 8, 0, -8]):
        framer, done = framer.add(number * FRAME_BYTES + stray, audio(number))
        out += [piece for _, piece in done]
    assert out == [audio(number) for number in range(6)]


@pytest.mark.parametrize("wrong", [{"onset_frames": 6}, {"post_roll_s": 0.5}, {"silence_s": 0.0}, {"longest_s": 0.5}])
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EndpointPolicy(**wrong)  # type: ignore[arg-type]
