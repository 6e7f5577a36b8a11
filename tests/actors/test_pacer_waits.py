"""Pacer: an answer whose voice is silent, and what the caller is told meanwhile."""

import attrs
import pytest

from engine.actors.pacer import HOLD_TONE, Clip, Pacer, PacingPolicy
from engine.codec.telephony import RATE_HZ, SILENCE
from engine.messages.caller import LineClosed
from engine.messages.line import SendMedia
from engine.messages.playout import Hold, Played, Playing, Resume
from engine.messages.recognition import Word
from engine.messages.records import Counted
from engine.messages.reply import ONE_MOMENT, PlayClip, PlayNotice, PlayTone, ReplyEnded, Sentence
from engine.messages.synthesis import AgentAudio, AgentAudioEnded, VoiceDied
from engine.messages.turns import BargedIn
from tests.actors.steps import after, only, ran, waited

WAIT = b"w" * 8000
"""A second of sound: whoever hears it is told to wait."""

CLIPS = {
    ONE_MOMENT: Clip(text="One moment.", audio=WAIT),
    "repeat": Clip(text="Could you say that again?", audio=b"r" * 4000),
    "greeting": Clip(text="Hello there.", audio=b"g" * 1600),
    HOLD_TONE: Clip(text="", audio=b"t" * 1000),
}
QUIET = Pacer(clips=CLIPS)
SILENT_S = PacingPolicy().silent_s

Steps = list[tuple[object, float]]


def asked(turn: int = 1, index: int = 0, now: float = 0.0) -> Steps:
    return [(Sentence(turn=turn, index=index, text="Yes of course."), now)]


def spoken(now: float, turn: int = 1, sound: bytes = b"y" * 1600) -> Steps:
    word = Word(text="Yes", start_s=0.0, end_s=len(sound) / RATE_HZ)
    return [(AgentAudio(turn=turn, index=0, audio=sound, words=(word,)), now)]


def media(messages: list[object]) -> bytes:
    return b"".join(each.audio for each in only(SendMedia, messages))


def heard(core: Pacer, until: float, *steps: tuple[object, float]) -> bytes:
    """What goes out of it by then, each message at its time and each tick at its own."""
    out = b""
    for message, now in steps:
        core, ticked = waited(core, now)
        core, told = ran(core, (message, now))
        out += media([*ticked, *told])
    return out + media(waited(core, until)[1])


def phrases(sound: bytes) -> float:
    """How many times the caller is told to wait in some sound."""
    return sound.count(b"w") / len(WAIT)


def test_a_caller_whose_answer_has_no_sound_is_told_to_wait_and_none_of_it_counts_as_heard() -> None:
    core = after(QUIET, *asked(now=5.0))
    assert core.deadline == 5.0 + SILENT_S == pytest.approx(6.2)
    core, told = waited(core, 8.0)
    assert media(told) == WAIT
    assert only(Playing, told) == []
    assert only(Played, told) == []
    core, told = ran(core, *spoken(8.1), (AgentAudioEnded(turn=1, index=0), 8.1), (BargedIn(turn=1, at_s=8.15), 8.15))
    assert only(Played, told) == [Played(turn=1, heard="", settled=True)]


def test_the_policy_says_how_long_the_silence_is() -> None:
    core = attrs.evolve(QUIET, policy=PacingPolicy(silent_s=2.0))
    assert after(core, *asked()).deadline == 2.0


@pytest.mark.parametrize(
    "steps",
    [
        [*asked(), *asked(index=1, now=0.5), *asked(index=2, now=1.0), (ReplyEnded(turn=1, pieces=3), 1.1)],
        [*asked(), (VoiceDied(), 0.4)],
        [*asked(), (PlayClip(turn=1, index=1, clip="greeting"), 0.6)],
        [*asked(), *asked(turn=2, now=0.9)],
    ],
)
def test_what_follows_the_first_piece_does_not_put_it_off(steps: Steps) -> None:
    assert after(QUIET, *steps).deadline == SILENT_S


def test_the_silence_begins_where_the_last_sound_ended() -> None:
    core = after(QUIET, (PlayClip(turn=0, index=0, clip="greeting"), 0.0), *asked(now=0.05))
    assert core.deadline == pytest.approx(0.2 + SILENT_S)


def test_a_voice_that_speaks_during_the_phrase_is_heard_after_it() -> None:
    assert heard(QUIET, 4.0, *asked(), *spoken(1.5)) == WAIT + b"y" * 1600


@pytest.mark.parametrize(
    "steps",
    [
        [*asked(), *spoken(1.1)],  # it speaks
        [*asked(), *spoken(0.2), *asked(index=1, now=0.2)],  # it has spoken, and falls silent
        [(PlayClip(turn=1, index=0, clip=ONE_MOMENT), 0.0), *asked(index=1)],  # the answer begins with the phrase
        [*asked(), (Hold(turn=1), 1.0)],  # the caller is heard
        [*asked(), (BargedIn(turn=1, at_s=1.0), 1.0)],  # and has the floor
        [*asked(), (LineClosed(reason="stop", at_s=1.0), 1.0)],  # nobody is there
        [*asked(), (PlayTone(turn=1), 0.1)],  # it is no silence
    ],
)
def test_nobody_is_told_to_wait_where_there_is_nothing_to_be_told(steps: Steps) -> None:
    clip = isinstance(steps[0][0], PlayClip)
    assert phrases(heard(QUIET, 5.0, *steps)) == (1.0 if clip else 0.0)


def test_a_tenant_without_the_clip_has_silence() -> None:
    bare = attrs.evolve(QUIET, clips={name: clip for name, clip in CLIPS.items() if name != ONE_MOMENT})
    assert heard(bare, 7.0, *asked()) == b""


def test_a_clip_without_sound_is_none() -> None:
    empty = attrs.evolve(QUIET, clips={ONE_MOMENT: Clip(text="One moment.", audio=b"")})
    assert heard(empty, 7.0, *asked()) == b""


@pytest.mark.parametrize(
    ("steps", "count"),
    [
        ([*asked()], 1),  # for as long as it takes
        ([*asked(), (Hold(turn=1), 3.0), (Resume(turn=1), 3.5)], 1),  # whatever sound comes between
        ([*asked(), (PlayNotice(clip=ONE_MOMENT), 3.0)], 1),  # another voice takes over after it
        ([*asked(), (PlayNotice(clip=ONE_MOMENT), 1.5)], 1),  # and during it
        ([*asked(), (PlayNotice(clip=ONE_MOMENT), 0.3)], 1),  # and before it
        ([*asked(), (PlayNotice(clip=ONE_MOMENT), 0.3), (Hold(turn=1), 2.0), (Resume(turn=1), 2.2)], 1),
        ([(PlayNotice(clip=ONE_MOMENT), 0.0), *asked(now=0.9)], 1),  # it is being said when the wait begins
        ([(PlayNotice(clip=ONE_MOMENT), 0.0), *asked(now=1.5)], 2),  # that was another wait
        ([*asked(), (BargedIn(turn=1, at_s=3.0), 3.0), *asked(turn=2, now=3.5)], 2),  # so is this
        ([*asked(), *spoken(3.0), (PlayNotice(clip=ONE_MOMENT), 4.0)], 2),  # and this: the voice dies in its answer
        ([*asked(), (PlayNotice(clip="repeat"), 0.3)], 0),  # something else was said
        ([*asked(), (PlayNotice(clip="repeat"), 3.0)], 1),
    ],
)
def test_one_phrase_is_enough_for_one_wait(steps: Steps, count: int) -> None:
    sound = heard(QUIET, 7.9, *steps)
    assert phrases(sound) == count
    assert sound.count(b"r") == 4000 * sum(message == PlayNotice(clip="repeat") for message, _ in steps)


def test_a_notice_that_waits_for_its_turn_is_enough_too() -> None:
    playing: Steps = [(PlayClip(turn=0, index=0, clip="greeting"), 0.0), *asked(turn=0, index=1), (Hold(turn=0), 0.1)]
    core = after(QUIET, *playing, (PlayNotice(clip="repeat"), 0.2), *asked(now=0.3))
    assert phrases(heard(core, 9.9, (Resume(turn=0), 5.0))) == 0.0


def test_after_a_hold_the_voice_is_waited_for_anew() -> None:
    core = after(QUIET, *asked(), (Hold(turn=1), 1.0), (Resume(turn=1), 4.0))
    assert core.deadline == 4.0 + SILENT_S


def test_a_voice_is_not_given_up_sooner_or_twice_for_it() -> None:
    told = waited(after(QUIET, *asked()), 20.0)[1]
    assert [each.name for each in only(Counted, told)] == ["pieces_starved"]


def test_who_waited_behind_an_answer_that_was_given_up_is_told_at_once() -> None:
    core = after(QUIET, *asked(), *asked(turn=2, now=4.0))
    core, told = waited(core, 4.0 + 7.99)
    assert phrases(media(told)) == 1.0
    assert phrases(media(waited(core, 14.0)[1])) == 1.0


def test_a_fresh_core_tells_nobody_twice() -> None:
    core, _ = waited(after(QUIET, *asked()), 3.0)
    assert QUIET.fresh(core) == core
    assert phrases(heard(QUIET.fresh(core), 7.0)) == 0.0


def test_the_phrase_ends_in_whole_frames() -> None:
    short = attrs.evolve(QUIET, clips={ONE_MOMENT: Clip(text="One moment.", audio=b"w" * 200)})
    assert heard(short, 3.0, *asked()) == b"w" * 200 + bytes([SILENCE]) * 120
