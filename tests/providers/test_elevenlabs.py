"""ElevenLabs: the wire as tables, a context's speech by letters and by chance, and sessions in virtual time."""

import base64
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from elevenlabs.types import Alignment, AudioOutputMulti, FinalOutputMulti
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import MockClock
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from engine.messages.errors import ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError
from engine.messages.recognition import Word
from engine.messages.supervision import NEVER
from engine.messages.synthesis import CancelSynthesis, EndSynthesis, Synthesise, Synthesised, SynthesisEnded
from engine.providers.contract import VoiceAsk, VoiceEvent
from engine.providers.elevenlabs import wire
from engine.providers.elevenlabs.contexts import MOST_CONTEXTS, Contexts, Effect, Patience
from engine.providers.elevenlabs.speech import Rest, Speech
from engine.providers.elevenlabs.voice import ElevenLabsVoice
from engine.providers.elevenlabs.wire import Failure, Letter, Sound
from engine.providers.socket import Address
from simulators.elevenlabs import ElevenLabsPolicy, ElevenLabsSimulator
from simulators.elevenlabs.speech import Speech as SimulatedSpeech

KEY = "sk_b4d0c0ffee5ec2e7"


# ── the wire ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SAID: dict[str, object] = {
    "audio": base64.b64encode(b"abcd").decode(),
    "isFinal": None,
    "contextId": "t1-1",
    "alignment": {"chars": ["H", "i"], "charStartTimesMs": [0, 70], "charDurationsMs": [70, 90]},
    "normalizedAlignment": {"chars": [" ", "h"], "charStartTimesMs": [0, 0], "charDurationsMs": [0, 70]},
}
HI = (("H", 0.0, 0.07), ("i", 0.07, 0.16))


def said(**changes: object) -> str:
    return json.dumps(SAID | changes)


def aligned(chars: object, starts: object, durations: object) -> dict[str, object]:
    return {"chars": chars, "charStartTimesMs": starts, "charDurationsMs": durations}


def test_what_is_sent_is_what_the_vendors_documents_show() -> None:
    settings = ElevenLabsVoice(base_url="", api_key="", voice_id="", stability=0.5, similarity=0.8)._settings
    assert [
        json.loads(message)
        for message in (
            wire.opening("turn_1", settings),
            wire.opening("turn_1", None),
            wire.speaking("turn_1", "Hello  there,"),
            wire.closing("turn_1"),
            wire.keeping_context("turn_1"),
            wire.keeping_socket(),
            wire.closing_socket(),
        )
    ] == [
        {"text": " ", "context_id": "turn_1", "voice_settings": {"stability": 0.5, "similarity_boost": 0.8}},
        {"text": " ", "context_id": "turn_1"},
        {"text": "Hello there, ", "context_id": "turn_1", "flush": True},
        {"context_id": "turn_1", "close_context": True},
        {"text": "", "context_id": "turn_1"},
        {"text": ""},
        {"close_socket": True},
    ]


def test_half_of_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    assert json.loads(wire.speaking("t", "so \ud83d good"))["text"] == "so ? good "


@pytest.mark.parametrize(
    ("message", "read"),
    [
        (said(), Sound(context="t1-1", audio=b"abcd", letters=HI)),
        (said(alignment=None), Sound(context="t1-1", audio=b"abcd", letters=((" ", 0.0, 0.0), ("h", 0.0, 0.07)))),
        (said(alignment=None, normalizedAlignment=None), Sound(context="t1-1", audio=b"abcd")),
        (said(audio=None), Sound(context="t1-1", letters=HI)),
        (said(audio="", isFinal=False), Sound(context="t1-1", letters=HI)),
        ('{"isFinal":true,"contextId":"t1-1"}', Sound(context="t1-1", final=True)),
        (said(alignment=aligned(["Hé", ""], [1.5, 2], [1, 1])), None),
        ('{"message":"Not in time.","error":"input_timeout_exceeded","code":1008}', None),
        ('{"message":"Out.","code":1008}', Failure(error="", message="Out.")),
    ],
)
def test_a_message_is_read(message: str, read: Sound | Failure | None) -> None:
    if read is not None:
        assert wire.read(message) == read
    elif "alignment" in message:
        whole = wire.read(message)
        assert isinstance(whole, Sound)
        assert whole.letters == (("H", 0.0015, 0.0025), ("é", 0.0015, 0.0025))
    else:
        assert wire.read(message) == Failure(error="input_timeout_exceeded", message="Not in time.")


def test_what_the_vendors_own_package_writes_is_read() -> None:
    letters = Alignment(chars=["H", "i"], char_start_times_ms=[0, 70], char_durations_ms=[70, 90])
    sound = AudioOutputMulti(audio=base64.b64encode(b"abcd").decode(), alignment=letters, context_id="t1-1")
    assert wire.read(sound.json()) == Sound(context="t1-1", audio=b"abcd", letters=HI)
    assert wire.read(FinalOutputMulti(context_id="t1-1", is_final=True).json()) == Sound(context="t1-1", final=True)


REFUSED: list[tuple[str | bytes, str]] = [
    (b"\x00\x01", "binary message of 2 bytes"),
    ("", "not json"),
    ("[]", "a json object allowed"),
    ("[" * 100_000, "nested too deeply"),
    ('{"a":' * 100_000, "nested too deeply"),
    ('{"audio": NaN}', "NaN"),
    (said(contextId=None), "'contextId' is None"),
    (said(contextId=7), "'contextId' is 7"),
    ("{}", "'contextId' is missing"),
    (said(audio="!!!!"), "'audio' is '!!!!'; base64 allowed"),
    (said(audio="YW=Jj"), "base64 allowed"),
    (said(audio=5), "base64 in a string allowed"),
    (said(isFinal="yes"), "'isFinal' is 'yes'"),
    (said(error={"deep": 1}), "'error'"),
    (json.dumps({"audio": "x" * wire.LONGEST_MESSAGE}), "at most"),
    ('{"contextId": "a", "audio": ' + "9" * 5000 + "}", "not json"),
]


@pytest.mark.parametrize(("message", "why"), REFUSED)
def test_a_message_that_says_nothing_is_refused_by_name(message: str | bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        wire.read(message)


@pytest.mark.parametrize(
    ("alignment", "flaw"),
    [
        ([], "'alignment' is []"),
        ({}, "'alignment.chars' is missing"),
        (aligned(["H", 1], [0, 1], [1, 1]), "a string allowed"),
        (aligned(["H"], [0, 1], [1, 1]), "arrays of 1, 2 and 2"),
        (aligned(["H"], ["0"], [1]), "charStartTimesMs"),
        (aligned(["H"], [True], [1]), "charStartTimesMs"),
        (aligned(["H"], [-1], [1]), "numbers from 0"),
        (aligned(["H"], [0], [-0.001]), "charDurationsMs"),
        (aligned(["H"], [1e300], [1]), "numbers from 0"),
        (aligned(["H"], [10**400], [1]), "numbers from 0"),
        (aligned(["H"], None, [1]), "an array of numbers"),
        (aligned(["H"] * 5_001, [0] * 5_001, [0] * 5_001), "up to 5000"),
    ],
)
def test_audio_outlives_an_alignment_that_makes_no_sense(alignment: object, flaw: str) -> None:
    sound = wire.read(said(alignment=alignment, isFinal=True))
    assert isinstance(sound, Sound)
    assert (sound.audio, sound.letters, sound.final) == (b"abcd", (), True)
    assert flaw in sound.flaw


def test_a_time_that_overflows_is_no_time() -> None:
    sound = wire.read(said().replace("70, 90", "70, 1e999"))
    assert isinstance(sound, Sound)
    assert "charDurationsMs" in sound.flaw


@pytest.mark.parametrize(
    ("error", "message", "lasts"),
    [
        ("invalid_api_key", "", True),
        ("needs_authorization", "", True),
        ("missing_permissions", "", True),
        ("detected_unusual_activity", "", True),
        ("quota_exceeded", "This request exceeds your quota of 10.", True),
        ("voice_not_found", "", True),
        ("voice_id_does_not_exist", "", True),
        ("model_not_found", "", True),
        ("only_for_creator+", "", True),
        ("", "Invalid API key", True),
        ("", "A voice for the voice_id abc was not found.", True),
        ("", "Unsupported model", True),
        ("input_timeout_exceeded", "Have not received a new text input within the timeout of 20 seconds.", False),
        ("max_active_conversations", "Maximum simultaneous contexts per WebSocket connection exceeded (5).", False),
        ("invalid_input_message", "Could not parse input message", False),
        ("something_went_wrong", "", False),
        ("system_busy", "", False),
        ("too_many_concurrent_requests", "Your subscription allows 5.", False),
        ("", "Too many concurrent requests. Your current subscription allows 5.", False),
        ("", "Voice settings invalid: set once per context", False),
        ("", "", False),
    ],
)
def test_a_failure_lasts_where_only_the_operator_can_mend_it(error: str, message: str, *, lasts: bool) -> None:
    assert Failure(error=error, message=message).lasts is lasts


# ── a context's speech ───────────────────────────────────────────────────────────────────────────────────────────────


def letters(text: str, start_s: float = 0.0, each_s: float = 0.1) -> list[Letter]:
    return [(char, start_s + at * each_s, start_s + (at + 1) * each_s) for at, char in enumerate(text)]


def sound_of(text: str) -> bytes:
    """A tenth of a second for a character, each its own sound."""
    return b"".join(char.encode()[:1] * 800 for char in text)


def speech(*texts: str) -> Speech:
    new = Speech(turn=1)
    for index, text in enumerate(texts):
        new.add(index, text)
    return new


def flat(events: Iterable[object]) -> list[object]:
    """Events shortened: (index, what is heard, words), or the index of a piece that ended."""
    return [
        (event.index, event.audio[::800].decode(), [(word.text, word.start_s, word.end_s) for word in event.words])
        if isinstance(event, Synthesised)
        else event.index
        for event in events
        if isinstance(event, Synthesised | SynthesisEnded)
    ]


def near(word: str, start_s: float, end_s: float) -> tuple[str, object, object]:
    return word, pytest.approx(start_s), pytest.approx(end_s, abs=0.0006)  # the vendor's times are whole milliseconds


def test_audio_is_handed_on_as_it_comes_and_words_as_they_are_whole() -> None:
    reply = speech("Hi you.")
    assert flat(reply.hear(sound_of("Hi y"), letters("Hi y"))) == [(0, "Hi y", [near("Hi", 0.0, 0.2)])]
    assert flat(reply.hear(sound_of("ou. "), letters("ou. "))) == [(0, "ou. ", [near("you.", 0.3, 0.7)])]
    assert reply.owes
    assert reply.finish() == ([SynthesisEnded(turn=1, index=0)], False)
    assert not reply.owes


def test_a_word_that_ends_between_two_milliseconds_keeps_its_last_samples() -> None:
    ends_at = 1603  # 200.375 ms, told as 200
    (heard,) = speech("Hi you.").hear(b"x" * ends_at + b" " * 800, letters("Hi "))
    assert isinstance(heard, Synthesised)
    (word,) = heard.words
    assert ends_at <= round(word.end_s * 8000) <= ends_at + 4


def test_a_piece_ends_where_the_first_letter_of_the_next_begins() -> None:
    reply = speech("Hi.", "You too.")
    assert flat(reply.hear(sound_of(" Hi. Yo"), letters(" Hi. Yo"))) == [
        (0, " Hi. ", [near("Hi.", 0.1, 0.4)]),
        0,
        (1, "Yo", []),
    ]
    assert flat(reply.hear(sound_of("u too. "), letters("u too. "))) == [
        (1, "u too. ", [near("You", 0.0, 0.3), near("too.", 0.4, 0.8)])
    ]


def test_letters_that_reach_beyond_their_message_cut_the_audio_that_comes_later() -> None:
    reply = speech("Hi.", "You.")
    assert flat(reply.hear(sound_of("H"), letters("Hi. You. "))) == [(0, "H", [])]
    assert flat(reply.hear(sound_of("i."), ())) == [(0, "i.", [near("Hi.", 0.0, 0.3)])]
    assert flat(reply.hear(sound_of(" You"), ())) == [(0, " ", []), 0, (1, "You", [])]
    assert flat(reply.hear(sound_of(". "), ())) == [(1, ". ", [near("You.", 0.0, 0.4)])]


def test_several_pieces_may_come_in_one_message() -> None:
    reply = speech("A.", "B.", "C.")
    assert flat(reply.hear(sound_of("A. B. C. "), letters("A. B. C. "))) == [
        (0, "A. ", [near("A.", 0.0, 0.2)]),
        0,
        (1, "B. ", [near("B.", 0.0, 0.2)]),
        1,
        (2, "C. ", [near("C.", 0.0, 0.2)]),
    ]


@pytest.mark.parametrize(
    ("text", "read_out"),
    [
        ("“Well-known,” she said…", "Well known she said "),
        ("Don’t — please!", "don't please "),
        ("It's 50% off", "IT'S 50 OFF. "),
        ("Yes. — No", "Yes. No "),
    ],
)
def test_marks_may_be_missing_or_written_otherwise(text: str, read_out: str) -> None:
    reply = speech(text, "Next one.")
    both = read_out + "Next one. "
    events = reply.hear(b"x" * 800 * len(both), letters(both))
    assert reply.rest is Rest.WHOLE
    ends = reply.finish()[0]
    assert [len(event.audio) // 800 for event in events if isinstance(event, Synthesised)] == [len(read_out), 10]
    assert named([*events, *ends]) == {0: text.split(), 1: ["Next", "one."]}


def test_what_is_read_out_otherwise_shares_its_moment_until_a_whole_word_is_met_again() -> None:
    reply = speech("Dr. Who at 2:30", "$5 only.")
    out = "doctor Who at two thirty five dollars only. "
    events = reply.hear(sound_of(out), letters(out))
    first = 0.1 * len("doctor Who at ")
    at = 0.1 * len("doctor Who at two thirty five dollars ")
    assert flat(events) == [
        (
            0,
            "doctor Who at ",
            [near("Dr.", 0.0, 0.7), near("Who", 0.7, 1.0), near("at", 1.1, 1.3), near("2:30", 1.4, 1.4)],
        ),
        0,
        (
            1,
            "two thirty five dollars only. ",
            [near("$5", 0.0, at - first), near("only.", at - first, at - first + 0.5)],
        ),
    ]
    assert reply.rest is Rest.WHOLE


def test_a_last_word_is_spoken_though_its_marks_are_missing_and_no_space_follows() -> None:
    reply = speech("“Well-known”")
    reply.hear(sound_of("Well known"), letters("Well known"))
    assert reply.rest is Rest.WHOLE


def test_a_piece_that_is_only_found_later_begins_with_the_message_that_it_is_found_in() -> None:
    reply = speech("Hi.", "2:30 works.")
    assert flat(reply.hear(sound_of("Hi. two "), letters("Hi. two "))) == [(0, "Hi. two ", [near("Hi.", 0.0, 0.3)])]
    assert flat(reply.hear(sound_of("thirty works. "), letters("thirty works. "))) == [
        0,
        (1, "thirty works. ", [near("2:30", 0.0, 0.7), near("works.", 0.7, 1.3)]),
    ]


def test_letters_that_were_lost_in_one_piece_are_followed_again_in_the_next() -> None:
    reply = speech("Eins.")
    reply.hear(sound_of("One. "), letters("One. "))
    assert flat(reply.settle())[-1] == 0
    reply.add(1, "Two.")
    assert flat(reply.hear(sound_of("Two."), letters("Two."))) == [(1, "Two.", [near("Two.", 0.0, 0.4)])]
    assert reply.rest is Rest.WHOLE


def test_words_whose_letters_never_come_are_named_at_the_end_of_the_piece() -> None:
    reply = speech("One two three", "Four.")
    out = "One zwei drei "
    assert flat(reply.hear(sound_of(out), letters(out))) == [(0, out, [near("One", 0.0, 0.3)])]
    assert reply.rest is Rest.DOUBTFUL
    assert flat(reply.hear(sound_of("Four. "), letters("Four. "))) == [
        (0, "", [near("two", 0.4, 1.4), near("three", 0.4, 1.4)]),
        0,
        (1, "Four. ", [near("Four.", 0.0, 0.5)]),
    ]


def test_audio_without_letters_is_the_present_pieces() -> None:
    reply = speech("One two.", "Three.")
    assert flat(reply.hear(b"x" * 1600, ())) == [(0, "xx", [])]
    events, unspoken = reply.finish()
    assert flat(events) == [
        (0, "", [near("One", 0.2, 0.2), near("two.", 0.2, 0.2)]),
        0,
        (1, "", [near("Three.", 0, 0)]),
        1,
    ]
    assert not unspoken


def test_a_context_that_ends_without_a_sound_has_not_spoken() -> None:
    assert speech("One.", "Two.").finish() == ([], True)
    reply = speech("One.", "Two.")
    reply.hear(sound_of("One. "), letters("One. "))
    assert reply.finish() == ([SynthesisEnded(turn=1, index=0)], True)


def test_a_second_piece_that_got_no_sound_has_not_been_spoken_though_silence_ended_the_first() -> None:
    reply = speech("One.", "Two.")
    reply.hear(sound_of("One. "), letters("One. "))
    assert flat(reply.settle()) == [0]
    assert reply.finish() == ([], True)


def test_silence_ends_all_pieces_where_nothing_tells_them_apart() -> None:
    reply = speech("One.", "Two.")
    reply.hear(b"x" * 1600, ())
    assert [event.index for event in reply.settle() if isinstance(event, SynthesisEnded)] == [0, 1]


def test_a_piece_asked_after_the_others_have_ended_begins_where_it_is_asked() -> None:
    reply = speech("Hi.")
    reply.hear(sound_of("Hi. "), letters("Hi. "))
    assert flat(reply.settle()) == [0]
    assert reply.hear(b"tail", ()) == [], "nobody waits for it"
    reply.add(1, "You.")
    assert flat(reply.hear(sound_of("You. "), letters("You. "))) == [(1, "You. ", [near("You.", 0.0, 0.4)])]


@pytest.mark.parametrize(
    ("audio_s", "told", "rest"),
    [
        (0.0, "", Rest.DOUBTFUL),
        (0.8, "", Rest.DOUBTFUL),
        (0.5, "Hi yo", Rest.SHORT),
        (0.5, "Hi you. ", Rest.SHORT),
        (0.59, "Hi you. ", Rest.SHORT),
        (0.61, "Hi you. ", Rest.WHOLE),
        (1.0, "Hi you", Rest.WHOLE),
        (1.29, "Hi you. ", Rest.WHOLE),
        (1.31, "Hi you. ", Rest.DOUBTFUL),
        (0.8, "Hi Xyz. ", Rest.DOUBTFUL),
    ],
)
def test_letters_tell_what_is_still_to_come(audio_s: float, told: str, rest: Rest) -> None:
    reply = speech("Hi you.")
    reply.hear(b"x" * round(audio_s * 8000), letters(told))
    assert reply.rest is rest


def named(events: Iterable[object]) -> dict[int, list[str]]:
    words: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, Synthesised):
            words.setdefault(event.index, []).extend(word.text for word in event.words)
    return words


@attrs.frozen
class Take:
    """Pieces as they were spoken: the whole audio, the letters with their times, and where each piece's audio lies."""

    texts: list[str]
    audio: bytes
    letters: list[tuple[str, int, int]]
    cuts: list[int]


WORDS = st.text("abcXY9'.-é字", min_size=1, max_size=6).filter(lambda word: any(map(str.isalnum, word)))
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)


@st.composite
def takes(draw: st.DrawFn) -> Take:
    texts = draw(st.lists(TEXTS, min_size=1, max_size=4))
    timeline: list[tuple[str, int, int]] = []
    cuts = []
    at_ms = draw(st.integers(0, 50))
    for text in texts:
        cuts.append(at_ms * 8 if timeline else 0)
        for char in f"{text} ":
            for_ms = draw(st.integers(1, 120))
            timeline.append((char, at_ms, for_ms))
            at_ms += for_ms
    audio = draw(st.randoms(use_true_random=False)).randbytes(at_ms * 8)
    return Take(texts, audio, timeline, [*cuts, len(audio)])


@st.composite
def heard(draw: st.DrawFn, take: Take) -> list[tuple[bytes, list[Letter]]]:
    """A take in messages: each has the letters that begin in it, or the first has those of several."""
    length_ms = len(take.audio) // 8
    marks = sorted({0, length_ms, *draw(st.lists(st.integers(0, length_ms), max_size=8))})
    messages = []
    told_ms = 0
    for begin_ms, end_ms in pairwise(marks):
        ahead_ms = max(end_ms, draw(st.sampled_from([end_ms, end_ms, *marks])))
        told = [
            (char, (start_ms - begin_ms) / 1000, (start_ms - begin_ms + for_ms) / 1000)
            for char, start_ms, for_ms in take.letters
            if max(told_ms, begin_ms) <= start_ms < ahead_ms
        ]
        told_ms = max(told_ms, ahead_ms)
        messages.append((take.audio[begin_ms * 8 : end_ms * 8], told))
    return messages


def checked(texts: list[str], events: list[VoiceEvent], audio: bytes) -> dict[int, bytes]:
    """What holds however the audio was cut: nothing is lost, words come whole, in order, once, and not too early."""
    pieces: dict[int, bytes] = {}
    words: dict[int, list[Word]] = {}
    ended: list[int] = []
    for event in events:
        assert event.index not in ended
        if isinstance(event, SynthesisEnded):
            ended.append(event.index)
            continue
        pieces[event.index] = pieces.get(event.index, b"") + event.audio
        words.setdefault(event.index, []).extend(event.words)
        assert all(round(word.end_s * 8000) <= len(pieces[event.index]) for word in event.words)
    assert ended == list(range(len(texts)))
    assert b"".join(pieces[index] for index in sorted(pieces)) == audio
    for index, text in enumerate(texts):
        assert [word.text for word in words[index]] == text.split()
        assert all(0 <= word.start_s <= word.end_s for word in words[index])
        ends = [word.end_s for word in words[index]]
        assert ends == sorted(ends)
    return pieces


@given(st.data())
def test_however_audio_and_letters_are_cut_each_piece_has_its_own_to_the_byte(data: st.DataObject) -> None:
    take = data.draw(takes())
    reply = speech(*take.texts)
    events = [event for audio, told in data.draw(heard(take)) for event in reply.hear(audio, told)]
    assert reply.rest is Rest.WHOLE
    ends, unspoken = reply.finish()
    assert not unspoken
    pieces = checked(take.texts, events + ends, take.audio)
    spans = pairwise(take.cuts)
    assert [pieces[index] for index in sorted(pieces)] == [take.audio[begin:end] for begin, end in spans]


@given(st.data())
def test_letters_that_lie_cost_neither_audio_nor_words(data: st.DataObject) -> None:
    take = data.draw(takes())
    reply = speech(*take.texts)
    lie = st.tuples(st.text("abcX9. \n\u00df", max_size=2), st.floats(0, 90), st.floats(0, 90))
    events: list[VoiceEvent] = []
    for audio, told in data.draw(heard(take)):
        lies = data.draw(st.lists(lie, max_size=3))
        kept = data.draw(st.sampled_from([told, told[1:], told[::-1], []]))
        spread = [(char, start_s, start_s + for_s) for chars, start_s, for_s in lies for char in chars]
        events += reply.hear(audio, data.draw(st.permutations(kept + spread)) if spread else kept)
    while reply.owes:
        events += reply.settle()
    checked(take.texts, events, take.audio)


# ── a socket's contexts ──────────────────────────────────────────────────────────────────────────────────────────────

PATIENCE = Patience()


def contexts() -> Contexts:
    return Contexts(None, PATIENCE, 0.0)


def ask(turn: int, index: int = 0, text: str = "Hi.") -> Synthesise:
    return Synthesise(turn=turn, index=index, text=text)


def sent(effects: Iterable[Effect]) -> list[dict[str, object]]:
    return [json.loads(effect) for effect in effects if isinstance(effect, str)]


def failures(effects: Iterable[Effect]) -> list[ProviderError]:
    return [effect for effect in effects if isinstance(effect, ProviderError)]


def begins(context: str, text: str = "Hi. ") -> list[dict[str, object]]:
    return [{"text": " ", "context_id": context}, {"text": text, "context_id": context, "flush": True}]


def closes(context: str) -> dict[str, object]:
    return {"context_id": context, "close_context": True}


def hi(context: str, *, final: bool = False) -> Sound:
    return Sound(context=context, audio=sound_of("Hi. "), letters=tuple(letters("Hi. ")), final=final)


def end(context: str) -> Sound:
    return Sound(context=context, final=True)


def test_the_pieces_of_a_reply_share_a_context_that_closes_with_the_reply() -> None:
    socket = contexts()
    assert sent(socket.asked(ask(3), 1.0)) == begins("t3-1")
    assert sent(socket.asked(ask(3, 1, "You."), 1.1)) == begins("t3-1", "You. ")[1:]
    assert sent(socket.asked(EndSynthesis(turn=3), 1.2)) == [closes("t3-1")]
    assert socket.asked(EndSynthesis(turn=3), 1.2) == []
    assert flat(socket.heard(hi("t3-1"), 1.3)) == [(0, "Hi. ", [near("Hi.", 0.0, 0.3)])]
    you = Sound(context="t3-1", audio=sound_of("You. "), letters=tuple(letters("You. ")), final=True)
    assert flat(socket.heard(you, 1.4)) == [0, (1, "You. ", [near("You.", 0.0, 0.4)]), 1]


def test_the_next_reply_has_another_context_and_the_old_one_is_closed_before_it() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    assert sent(socket.asked(ask(4), 1.1)) == begins("t4-2"), "the old one still owes"
    socket.heard(hi("t3-1"), 1.2)
    socket.waited(1.7)
    assert sent(socket.asked(ask(5), 1.8)) == [closes("t3-1"), *begins("t5-3")]


def test_a_cancelled_turn_is_closed_at_once_and_its_further_audio_dropped() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    socket.asked(ask(4), 1.0)
    socket.asked(EndSynthesis(turn=3), 1.0)
    socket.asked(ask(6), 1.0)
    assert sent(socket.asked(CancelSynthesis(turn=5), 1.1)) == [closes("t4-2")]
    assert socket.heard(hi("t3-1"), 1.2) == []
    assert socket.heard(hi("t4-2", final=True), 1.2) == []
    assert socket.asked(ask(5), 1.3) == []
    assert socket.asked(ask(2), 1.3) == []
    assert flat(socket.heard(hi("t6-3"), 1.3)) == [(0, "Hi. ", [near("Hi.", 0.0, 0.3)])]


def test_closed_contexts_count_until_their_final_so_that_a_sixth_never_opens() -> None:
    socket = contexts()
    for turn in range(MOST_CONTEXTS):
        assert sent(socket.asked(ask(turn), 1.0)) == begins(f"t{turn}-{turn + 1}")
        socket.asked(CancelSynthesis(turn=turn), 1.0)
    for effects in (socket.asked(ask(7), 1.1), socket.asked(ask(7, 1), 1.2), socket.asked(EndSynthesis(turn=7), 1.3)):
        assert effects == []
    assert socket.deadline == pytest.approx(1.1 + PATIENCE.final_s)
    assert sent(socket.heard(end("t2-3"), 1.4)) == [*begins("t7-6"), begins("t7-6")[1], closes("t7-6")]
    assert socket.deadline == pytest.approx(1.4 + PATIENCE.stall_s)


def test_five_contexts_of_which_none_ends_end_the_session() -> None:
    socket = contexts()
    for turn in range(MOST_CONTEXTS):
        socket.asked(ask(turn), 1.0)
        socket.asked(CancelSynthesis(turn=turn), 1.0)
    socket.asked(ask(7), 1.1)
    assert socket.waited(3.09) == []
    assert [type(each) for each in failures(socket.waited(3.1))] == [ProviderDown]


def test_nothing_is_waited_for_once_what_waited_is_cancelled() -> None:
    socket = contexts()
    for turn in range(MOST_CONTEXTS):
        socket.asked(ask(turn), 1.0)
        socket.asked(CancelSynthesis(turn=turn), 1.0)
    socket.asked(ask(7), 1.1)
    assert socket.asked(CancelSynthesis(turn=7), 1.2) == []
    assert socket.deadline == pytest.approx(1.0 + PATIENCE.keep_alive_s)
    assert socket.heard(end("t2-3"), 1.4) == []


def test_a_context_that_the_vendor_ended_is_followed_by_another_for_the_same_reply() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    assert flat(socket.heard(hi("t3-1", final=True), 1.1))[-1] == 0
    assert sent(socket.asked(ask(3, 1), 1.2)) == begins("t3-2")


def test_a_context_that_ends_without_speaking_ends_the_session_after_what_was_spoken() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    socket.asked(ask(3, 1), 1.0)
    effects = socket.heard(hi("t3-1", final=True), 1.1)
    assert flat(effects) == [(0, "Hi. ", [near("Hi.", 0.0, 0.3)]), 0]
    assert isinstance(effects[-1], ProviderDown)
    assert "without speaking" in str(effects[-1])


@pytest.mark.parametrize("text", ["", " ", "—", "... !"])
def test_a_piece_without_a_letter_ends_at_once_with_its_words(text: str) -> None:
    effects = contexts().asked(ask(3, 2, text), 1.0)
    assert sent(effects) == []
    assert named(effects).get(2, []) == text.split()
    assert effects[-1] == SynthesisEnded(turn=3, index=2)


def test_sound_of_a_context_that_is_not_open_is_refused() -> None:
    with pytest.raises(WireError, match=r"'contextId' is 't9-9'; open: none"):
        contexts().heard(hi("t9-9"), 1.0)


def test_a_whole_piece_ends_by_silence_while_the_reply_is_still_open() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    socket.heard(hi("t3-1"), 1.2)
    assert socket.deadline == pytest.approx(1.2 + PATIENCE.quiet_s)
    assert socket.waited(1.69) == []
    assert flat(socket.waited(1.7)) == [0]
    assert socket.deadline == pytest.approx(1.0 + PATIENCE.keep_alive_s)


def test_a_piece_of_which_letters_are_to_come_never_ends_by_silence() -> None:
    socket = contexts()
    socket.asked(ask(3, text="Hi you."), 1.0)
    socket.heard(hi("t3-1"), 1.2)
    assert socket.deadline == pytest.approx(1.2 + PATIENCE.stall_s)
    assert [type(each) for each in socket.waited(4.2)] == [ProviderSlow]


def test_a_piece_whose_letters_never_came_ends_by_a_longer_silence() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    socket.heard(Sound(context="t3-1", audio=b"x" * 1600), 1.2)
    assert socket.waited(1.2 + PATIENCE.doubt_s - 0.01) == []
    assert flat(socket.waited(1.2 + PATIENCE.doubt_s)) == [(0, "", [near("Hi.", 0.2, 0.2)]), 0]


def test_a_piece_that_is_flushed_and_gets_no_audio_is_a_stall() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    socket.heard(Sound(context="t3-1", letters=tuple(letters("Hi. "))), 2.0)
    assert socket.deadline == pytest.approx(4.0)
    assert socket.waited(3.99) == []
    assert [type(each) for each in socket.waited(4.0)] == [ProviderSlow]


def test_the_second_piece_is_waited_for_from_the_last_audio() -> None:
    socket = contexts()
    socket.asked(ask(3), 1.0)
    socket.asked(ask(3, 1), 1.0)
    socket.heard(hi("t3-1"), 2.0)
    assert flat(socket.waited(2.5)) == [0]
    assert socket.deadline == pytest.approx(5.0)
    assert [type(each) for each in socket.waited(5.0)] == [ProviderSlow]


def test_what_is_idle_is_kept_alive_each_by_its_own_message() -> None:
    socket = contexts()
    assert sent(socket.waited(PATIENCE.keep_alive_s)) == [{"text": ""}]
    socket.asked(ask(3), 200.0)
    socket.heard(hi("t3-1"), 200.2)
    socket.waited(200.7)
    assert socket.deadline == pytest.approx(335.0)
    assert sent(socket.waited(335.0)) == [{"text": "", "context_id": "t3-1"}]
    socket.asked(EndSynthesis(turn=3), 340.0)
    socket.heard(end("t3-1"), 340.1)
    assert socket.deadline == pytest.approx(475.0)
    assert sent(socket.waited(475.0)) == [{"text": ""}]


@given(st.data())
def test_whatever_comes_in_whatever_order_the_vendor_never_counts_a_sixth_context(data: st.DataObject) -> None:
    socket = contexts()
    open_at_vendor: set[str] = set()
    now = 1.0

    def obey(effects: list[Effect]) -> None:
        for message in sent(effects):
            if message.get("text") == " ":
                assert message["context_id"] not in open_at_vendor
                open_at_vendor.add(str(message["context_id"]))
                assert len(open_at_vendor) <= MOST_CONTEXTS
            else:
                assert message.get("context_id") in open_at_vendor | {None}

    for _ in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.sampled_from([0.01, 0.3]))
        turn = data.draw(st.integers(0, 8))
        match data.draw(st.sampled_from(["ask", "end", "cancel", "sound", "final", "wait"])):
            case "ask":
                obey(socket.asked(ask(turn), now))
            case "end":
                obey(socket.asked(EndSynthesis(turn=turn), now))
            case "cancel":
                obey(socket.asked(CancelSynthesis(turn=turn - 5), now))
            case "sound" if open_at_vendor:
                obey(socket.heard(hi(data.draw(st.sampled_from(sorted(open_at_vendor)))), now))
            case "final" if open_at_vendor:
                context = data.draw(st.sampled_from(sorted(open_at_vendor)))
                open_at_vendor.remove(context)
                obey(socket.heard(hi(context, final=True), now))
            case _:
                if socket.deadline <= now:
                    obey(socket.waited(now))


# ── sessions, in virtual time ────────────────────────────────────────────────────────────────────────────────────────

Talk = Callable[[WebSocketConnection], Awaitable[None]]


@attrs.define
class Seam:
    asks: trio.MemorySendChannel[VoiceAsk]
    _asked: trio.MemoryReceiveChannel[VoiceAsk]
    told: list[VoiceEvent] = attrs.field(factory=list)
    aligned: list[bool] = attrs.field(factory=list)
    refusals: list[str] = attrs.field(factory=list)
    # How long the actor takes for an event.
    slow_s: float = 0.0

    def opened(self, *, aligned: bool = False) -> None:
        self.aligned.append(aligned)

    async def ask(self) -> VoiceAsk:
        return await self._asked.receive()

    async def emit(self, event: VoiceEvent) -> None:
        await trio.sleep(self.slow_s)
        self.told.append(event)

    def refused(self, why: str) -> None:
        self.refusals.append(why)

    def say(self, turn: int, *texts: str) -> None:
        for index, text in enumerate(texts):
            self.asks.send_nowait(Synthesise(turn=turn, index=index, text=text))


@attrs.define
class Peer:
    """A vendor with a script, over as many memory streams as are dialled. `status`: what it refuses all with."""

    talk: Talk
    status: int | None = None
    lockstep: bool = False
    requests: list[WebSocketRequest] = attrs.field(factory=list)
    got: list[dict[str, object]] = attrs.field(factory=list)
    nursery: trio.Nursery | None = None

    async def dial(self, address: Address) -> trio.abc.Stream:
        assert address == Address("api.elevenlabs.io", 443, tls=True)
        # In a lockstep, what is sent has been read.
        pair = trio.testing.lockstep_stream_pair if self.lockstep else trio.testing.memory_stream_pair
        ours, theirs = pair()
        assert self.nursery is not None
        self.nursery.start_soon(self._serve, theirs)
        await trio.lowlevel.checkpoint()
        return ours

    async def _serve(self, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            request = await wrap_server_stream(nursery, stream)
            self.requests.append(request)
            if self.status is not None:
                await request.reject(self.status, body=b'{"detail":{"status":"invalid_api_key"}}')
                return
            connection = await request.accept()
            with suppress(ConnectionClosed):
                await self.talk(connection)
                await connection.aclose(1000)

    async def take(self, connection: WebSocketConnection) -> dict[str, object]:
        message: dict[str, object] = json.loads(await connection.get_message())
        self.got.append(message)
        return message


def voice(peer: Peer) -> ElevenLabsVoice:
    return ElevenLabsVoice(
        base_url="https://api.elevenlabs.io", api_key=KEY, voice_id="a/b", language="en", speed=1.1, dial=peer.dial
    )


@asynccontextmanager
async def serving(talk: Callable[[Peer, WebSocketConnection], Awaitable[None]]) -> AsyncIterator[Peer]:
    async with trio.open_nursery() as nursery:
        peer = Peer(talk=lambda connection: talk(peer, connection), nursery=nursery)
        yield peer
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def session(peer: Peer, *, slow_s: float = 0.0, for_s: float = 10.0) -> AsyncIterator[Seam]:
    seam = Seam(*trio.open_memory_channel[VoiceAsk](math.inf), slow_s=slow_s)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(voice(peer).session, seam)
        await trio.testing.wait_all_tasks_blocked()
        yield seam
        await trio.sleep(for_s)
        nursery.cancel_scope.cancel()
    assert seam.aligned == [True]


async def failing(peer: Peer, *texts: str, slow_s: float = 0.0) -> tuple[Seam, ProviderError]:
    """Ask, and return how the session ends."""
    seam = Seam(*trio.open_memory_channel[VoiceAsk](math.inf), slow_s=slow_s)
    seam.say(1, *texts)
    with pytest.raises(ProviderError) as raised:
        await voice(peer).session(seam)
    assert KEY not in str(raised.value)
    return seam, raised.value


def message(context: object, text: str = "", *, final: bool = False) -> str:
    """What the vendor says: audio of `text`, a tenth of a second a character, with its alignment."""
    told = {"chars": list(text), "charStartTimesMs": [at * 100 for at in range(len(text))]}
    alignment = told | {"charDurationsMs": [100] * len(text)} if text else None
    audio = base64.b64encode(sound_of(text)).decode() if text else None
    whole = {"audio": audio, "isFinal": final or None, "alignment": alignment, "contextId": context}
    return json.dumps(whole | {"normalizedAlignment": alignment})


async def speak(peer: Peer, connection: WebSocketConnection) -> None:
    """Speak: what is flushed comes 0.1 s later in two messages, and a closed context ends with a final."""
    while True:
        match await peer.take(connection):
            case {"text": str(text), "context_id": context, "flush": True}:
                await trio.sleep(0.1)
                await connection.send_message(message(context, text[:3]))
                await connection.send_message(message(context, text[3:]))
            case {"close_context": True, "context_id": context}:
                await connection.send_message(message(context, final=True))
            case {"close_socket": True}:
                return


async def test_a_reply_is_spoken_piece_by_piece_and_its_context_closed(autojump_clock: MockClock) -> None:
    async with serving(speak) as peer, session(peer) as seam:
        seam.say(1, "Hello,", "my friend.")
        seam.asks.send_nowait(EndSynthesis(turn=1))
    assert checked(["Hello,", "my friend."], seam.told, sound_of("Hello, my friend. ")) == {
        0: sound_of("Hello, "),
        1: sound_of("my friend. "),
    }
    assert peer.got == [
        {"text": " ", "context_id": "t1-1", "voice_settings": {"speed": 1.1}},
        {"text": "Hello, ", "context_id": "t1-1", "flush": True},
        {"text": "my friend. ", "context_id": "t1-1", "flush": True},
        {"context_id": "t1-1", "close_context": True},
    ]


async def test_the_socket_is_opened_before_a_word_is_asked_with_the_key_in_its_header(
    autojump_clock: MockClock,
) -> None:
    async with serving(speak) as peer, session(peer):
        (request,) = peer.requests
        assert request.path == (
            "/v1/text-to-speech/a%2Fb/multi-stream-input?model_id=eleven_flash_v2_5&output_format=ulaw_8000"
            "&auto_mode=true&sync_alignment=true&inactivity_timeout=180&language_code=en"
        )
        assert dict(request.headers)[b"xi-api-key"] == KEY.encode()
    assert peer.got == []
    assert KEY not in repr(voice(peer))


async def test_a_piece_ends_while_its_reply_is_still_open(autojump_clock: MockClock) -> None:
    async with serving(speak) as peer, session(peer) as seam:
        seam.say(1, "One moment.")
        await trio.sleep(0.1 + PATIENCE.quiet_s - 0.01)
        assert SynthesisEnded(turn=1, index=0) not in seam.told
        await trio.sleep(0.02)
        assert seam.told[-1] == SynthesisEnded(turn=1, index=0)


async def test_a_barge_in_closes_the_context_and_the_next_turn_is_spoken(autojump_clock: MockClock) -> None:
    async with serving(speak) as peer, session(peer) as seam:
        seam.say(1, "Hello there.")
        await trio.sleep(0.05)
        seam.asks.send_nowait(CancelSynthesis(turn=1))
        seam.say(2, "Yes?")
    assert {event.turn for event in seam.told} == {2}
    assert peer.got[2] == {"context_id": "t1-1", "close_context": True}
    assert seam.told[-1] == SynthesisEnded(turn=2, index=0)


async def test_an_idle_call_is_kept_alive_before_the_vendor_ends_it(autojump_clock: MockClock) -> None:
    async with serving(speak) as peer, session(peer, for_s=300.0) as seam:
        seam.say(1, "Hi.")
        await trio.sleep(1.0)
        seam.asks.send_nowait(EndSynthesis(turn=1))
    assert peer.got[3:] == [{"text": ""}] * 2


async def test_an_actor_that_takes_its_time_costs_no_stall_and_no_word(autojump_clock: MockClock) -> None:
    async with serving(speak) as peer, session(peer, slow_s=4.0, for_s=60.0) as seam:
        seam.say(1, "Hello,", "my friend.")
    checked(["Hello,", "my friend."], seam.told, sound_of("Hello, my friend. "))


async def test_a_vendor_is_not_read_faster_than_the_actor_takes_what_it_says(autojump_clock: MockClock) -> None:
    said_so_far = 0

    async def flood(peer: Peer, connection: WebSocketConnection) -> None:
        nonlocal said_so_far
        await peer.take(connection)
        for _ in range(300):
            await connection.send_message(message("t1-1", "Hello"))
            said_so_far += 1

    async with serving(flood) as peer:
        peer.lockstep = True
        async with session(peer, slow_s=1.0, for_s=3.5) as seam:
            seam.say(1, "Hello.")
    assert len(seam.told) == 3
    assert said_so_far < 60


async def quiet(peer: Peer, connection: WebSocketConnection) -> None:
    while True:
        await peer.take(connection)


async def test_a_vendor_that_sends_no_audio_is_slow(autojump_clock: MockClock) -> None:
    async with serving(quiet) as peer:
        seam, error = await failing(peer, "Hello.")
    assert (type(error), seam.told) == (ProviderSlow, [])
    assert trio.current_time() == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    ("last", "code", "reason", "family", "text", "named"),
    [
        ("", 1008, "Invalid API key", ProviderRefused, "Invalid API key", "1008"),
        (
            "",
            1008,
            "Have not received a new text input within the timeout of 180 seconds.",
            ProviderDown,
            "timeout",
            "1008",
        ),
        ("", 1009, "The model is not supported for this voice", ProviderRefused, "1009", "1009"),
        ("", 1011, "", ProviderDown, "1011", "1011"),
        ("", 1000, "", ProviderDown, "1000", "1000"),
        (
            '{"message":"No.","error":"quota_exceeded","code":1008}',
            1008,
            "No.",
            ProviderRefused,
            "quota_exceeded",
            "quota_exceeded",
        ),
        (
            '{"message":"","error":"system_busy","code":1008}',
            1008,
            "",
            ProviderDown,
            "'system_busy': no message",
            "system_busy",
        ),
        (
            f'{{"message":"Invalid API key {KEY}","error":"invalid_api_key"}}',
            1008,
            "",
            ProviderRefused,
            "key ***",
            "invalid_api_key",
        ),
    ],
)
async def test_what_the_vendor_says_last_ends_the_session_by_its_name(  # noqa: PLR0917 - a row of the table
    last: str, code: int, reason: str, family: type[ProviderError], text: str, named: str, autojump_clock: MockClock
) -> None:
    async def refuse(peer: Peer, connection: WebSocketConnection) -> None:
        await peer.take(connection)
        await connection.send_message(message("t1-1", "Hel"))
        if last:
            await connection.send_message(last)
        await connection.aclose(code, reason)

    async with serving(refuse) as peer:
        seam, error = await failing(peer, "Hello.")
    assert type(error) in (family, *family.__subclasses__())
    assert text in str(error)
    assert error.code == named
    assert flat(seam.told) == [(0, "Hel", [])], "what came before the end is told"


async def test_what_came_before_the_end_is_told_to_an_actor_that_takes_its_time(autojump_clock: MockClock) -> None:
    async def break_off(peer: Peer, connection: WebSocketConnection) -> None:
        await peer.take(connection)
        await connection.send_message(message("t1-1", "Hel"))
        await connection.send_message(message("t1-1", "lo. "))
        await connection.aclose(1011)

    async with serving(break_off) as peer:
        seam, error = await failing(peer, "Hello.", slow_s=1.0)
    assert "1011" in str(error)
    assert flat(seam.told) == [(0, "Hel", []), (0, "lo. ", [near("Hello.", 0.0, 0.6)])]


async def test_malformed_messages_are_refused_one_by_one_and_the_call_goes_on(autojump_clock: MockClock) -> None:
    async def mangle(peer: Peer, connection: WebSocketConnection) -> None:
        for bad, _ in REFUSED:
            if len(bad) < wire.LONGEST_MESSAGE:
                await connection.send_message(bad)
        await connection.send_message(message("t7-7", "Hi."))
        await speak(peer, connection)

    async with serving(mangle) as peer, session(peer) as seam:
        seam.say(1, "Hello.")
    assert seam.told[-1] == SynthesisEnded(turn=1, index=0)
    reasons = [why for bad, why in REFUSED if len(bad) < wire.LONGEST_MESSAGE]
    assert all(why in refusal for why, refusal in zip([*reasons, "'t7-7'; open: "], seam.refusals, strict=True))


@given(st.lists(st.one_of(st.text(), st.binary(max_size=20)), max_size=5), st.data())
def test_no_message_ends_a_session_but_by_a_providers_error(junk: list[str | bytes], data: st.DataObject) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["t1-1", "", "YWJj", "voice"]),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*aligned([], [], []), "x"]), inner)
        ),
        max_leaves=8,
    )
    names = st.sampled_from(["audio", "contextId", "isFinal", "alignment", "normalizedAlignment", "error", "message"])
    mangled: list[str | bytes] = [
        json.dumps(SAID | changes) for changes in data.draw(st.lists(st.dictionaries(names, values), max_size=5))
    ]

    async def mangle(peer: Peer, connection: WebSocketConnection) -> None:
        await peer.take(connection)
        for bad in data.draw(st.permutations(junk + mangled)):
            await connection.send_message(bad)
        await speak(peer, connection)

    async def call() -> None:
        seam = Seam(*trio.open_memory_channel[VoiceAsk](math.inf))
        seam.say(1, "Hi you.")
        async with serving(mangle) as peer:
            with trio.move_on_after(20.0), suppress(ProviderError):
                await voice(peer).session(seam)

    with capture_logs():
        trio.run(call, clock=MockClock(autojump_threshold=0))


# ── clips, and the check before the port opens ───────────────────────────────────────────────────────────────────────


async def test_a_clip_is_rendered_over_a_socket_of_its_own(autojump_clock: MockClock) -> None:
    clips: dict[str, bytes] = {}

    async def render(text: str) -> None:
        clips[text] = await voice(peer).render(text)

    async with serving(speak) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(render, "Hello there.")
            nursery.start_soon(render, "Goodbye.")
        assert await voice(peer).render(" ... ") == b""
    assert clips == {"Hello there.": sound_of("Hello there. "), "Goodbye.": sound_of("Goodbye. ")}
    assert len(peer.requests) == 2
    assert peer.got.count({"close_socket": True}) == 2


async def test_a_clip_that_never_ends_is_given_up(autojump_clock: MockClock) -> None:
    async with serving(quiet) as peer:
        with pytest.raises(ProviderSlow, match="did not speak 6 characters within 10 s"):
            await voice(peer).render("Hello.")


async def test_a_clip_without_a_sound_is_the_vendors_failure(autojump_clock: MockClock) -> None:
    async def end_all(peer: Peer, connection: WebSocketConnection) -> None:
        for _ in range(7):
            await connection.send_message(message("other", "Hi."))
        await connection.send_message(message("clip", final=True))
        await quiet(peer, connection)

    with capture_logs() as logs:
        async with serving(end_all) as peer:
            with pytest.raises(ProviderDown, match="without speaking"):
                await voice(peer).render("Hello.")
    assert [entry["error"] for entry in logs] == ["field 'contextId' is 'other'; 'clip' allowed"] * 5


async def test_the_check_opens_a_reply_says_nothing_and_closes(autojump_clock: MockClock) -> None:
    async with serving(speak) as peer:
        await voice(peer).check()
    assert peer.got == [
        {"text": " ", "context_id": "check", "voice_settings": {"speed": 1.1}},
        {"context_id": "check", "close_context": True},
        {"close_socket": True},
    ]


async def test_a_vendor_that_does_not_close_passes_the_check(autojump_clock: MockClock) -> None:
    async with serving(quiet) as peer:
        await voice(peer).check()
    assert trio.current_time() == pytest.approx(2.5, abs=0.6)


@pytest.mark.parametrize(
    ("last", "code", "family"),
    [
        ('{"message":"No such voice.","error":"voice_not_found","code":1008}', 1008, ProviderRefused),
        ("", 1008, ProviderDown),
        ("", 1011, ProviderDown),
    ],
)
async def test_a_vendor_that_refuses_fails_the_check(
    last: str, code: int, family: type[ProviderError], autojump_clock: MockClock
) -> None:
    async def refuse(peer: Peer, connection: WebSocketConnection) -> None:
        await peer.take(connection)
        if last:
            await connection.send_message(last)
        await connection.aclose(code)

    async with serving(refuse) as peer:
        with pytest.raises(family):
            await voice(peer).check()


async def test_a_vendor_that_refuses_before_it_was_told_anything_is_named_all_the_same(
    autojump_clock: MockClock,
) -> None:
    async def refuse(peer: Peer, connection: WebSocketConnection) -> None:
        await connection.send_message('{"message":"No such voice.","error":"voice_not_found","code":1008}')
        await connection.aclose(1008)

    async with serving(refuse) as peer:
        peer.lockstep = True
        with pytest.raises(ProviderRefused, match="voice_not_found"):
            await voice(peer).check()
        with pytest.raises(ProviderRefused, match="voice_not_found"):
            await voice(peer).render("Hello.")


async def test_a_key_that_is_refused_at_the_door_fails_the_check(autojump_clock: MockClock) -> None:
    async with serving(quiet) as peer:
        peer.status = 401
        with pytest.raises(ProviderRefused, match="401"):
            await voice(peer).check()


# ── a vendor that nobody here wrote ──────────────────────────────────────────────────────────────────────────────────

CUT = [each for turn in range(1, 13) for each in (ask(turn, text="All of this is cut by a caller."), turn)]


@pytest.mark.parametrize(
    ("policy", "script", "pieces"),
    [
        ({}, [ask(1, 0, "Hello there,"), ask(1, 1, "at 2:30."), EndSynthesis(turn=1)], {(1, 0), (1, 1)}),
        ({}, [ask(1, 0, "One moment."), 5.0, ask(1, 1, "Nine is free."), EndSynthesis(turn=1)], {(1, 0), (1, 1)}),
        ({}, [500.0, ask(1), EndSynthesis(turn=1)], {(1, 0)}),
        ({}, [ask(1), 500.0, ask(1, 1, "Yes."), EndSynthesis(turn=1)], {(1, 0), (1, 1)}),
        ({}, [*CUT, ask(20, 0, "Yes."), EndSynthesis(turn=20)], {(20, 0)}),
        ({"final_late_s": 0.5}, [*CUT, ask(20, 0, "Yes."), EndSynthesis(turn=20)], {(20, 0)}),
        ({"null_audio": True, "chunk_bytes": (160,)}, [ask(1, 0, "Hello there."), EndSynthesis(turn=1)], {(1, 0)}),
        ({"strange": True}, [ask(1, 0, "Hello there."), EndSynthesis(turn=1)], {(1, 0)}),
    ],
)
async def test_a_strict_vendor_finds_no_fault_and_every_piece_is_its_own_to_the_byte(
    policy: dict[str, Any],
    script: list[VoiceAsk | float | int],
    pieces: set[tuple[int, int]],
    autojump_clock: MockClock,
) -> None:
    simulator = ElevenLabsSimulator(policies=(ElevenLabsPolicy(keys=frozenset({KEY}), **policy),))
    seam = Seam(*trio.open_memory_channel[VoiceAsk](math.inf))
    async with trio.open_nursery() as nursery:

        async def dial(_: Address) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return simulator.connect(nursery)

        strict = ElevenLabsVoice(base_url="wss://vendor.test", api_key=KEY, voice_id="v", dial=dial, stability=0.5)
        nursery.start_soon(strict.session, seam)
        for line in script:
            match line:
                case float():
                    await trio.sleep(line)
                case int():  # a caller breaks in
                    await trio.sleep(0.05)
                    seam.asks.send_nowait(CancelSynthesis(turn=line))
                case _:
                    seam.asks.send_nowait(line)
        await trio.sleep(10.0)
        nursery.cancel_scope.cancel()
    assert [violation.why for violation in simulator.violations] == []
    assert simulator.connections == 1
    for turn, index in pieces:
        (text,) = (
            each.text for each in script if isinstance(each, Synthesise) and (each.turn, each.index) == (turn, index)
        )
        mine = [event for event in seam.told if (event.turn, event.index) == (turn, index)]
        audio = b"".join(event.audio for event in mine if isinstance(event, Synthesised))
        assert audio == SimulatedSpeech.of(f"{text} ").audio
        assert named(mine)[index] == text.split()
        assert isinstance(mine[-1], SynthesisEnded)


def test_there_is_always_a_next_moment() -> None:
    assert contexts().deadline < NEVER


def test_a_voice_at_another_pace_is_another_voice_and_its_own_pace_is_not_set() -> None:
    usual = ElevenLabsVoice(base_url="https://api.elevenlabs.io", api_key=KEY, voice_id="a", model="m")
    assert usual.voice == "a of m"
    assert attrs.evolve(usual, speed=0.85).voice == "a of m at speed 0.85"
    assert usual._settings is None
