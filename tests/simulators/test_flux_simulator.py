"""The simulated Flux: its turns, on the audio's own clock; what it refuses; and the vendor's own SDK, content."""

import warnings
from contextlib import AbstractAsyncContextManager, suppress
from itertools import pairwise
from typing import Any

import deepgram
import pytest
import trio
import trio_websocket
from deepgram.listen.v2.types import (
    ListenV2Configure,
    ListenV2ConfigureSuccess,
    ListenV2ConfigureThresholds,
    ListenV2Connected,
    ListenV2FatalError,
    ListenV2TurnInfo,
)

from simulators import tone
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator, FluxListening, FluxPolicy
from simulators.faults import Close, Stall
from tests.simulators import deepgram_client
from tests.simulators.deepgram_client import WORDS, listened_with_the_sdk, sdk_on, silence

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # they import websockets' old names, and do not use them
    import deepgram.listen.v2.client
    from deepgram.listen.v2.socket_client import AsyncV2SocketClient

OPTIONS = {
    "model": "flux-general-en",
    "encoding": "mulaw",
    "sample_rate": "8000",
    "eager_eot_threshold": "0.4",
}
PATH = "/v2/listen"


class Client(deepgram_client.Client):
    async def speak(self, audio: bytes, *, chunk_bytes: int = 640) -> None:
        await super().speak(audio, chunk_bytes=chunk_bytes)

    def events(self, *, updates: bool = False) -> list[dict[str, Any]]:
        return [each for each in self.of("TurnInfo") if updates or each["event"] != "Update"]

    @property
    def told(self) -> list[tuple[str, int, str]]:
        return [(each["event"], each["turn_index"], each["transcript"]) for each in self.events()]


def flux(**policy: Any) -> DeepgramSimulator:
    return DeepgramSimulator(policies=[DeepgramPolicy(flux=FluxPolicy(**policy))])


def with_options(**options: str) -> dict[str, str]:
    """What is asked for, with some of it changed, or left out where it is ""."""
    return {name: value for name, value in {**OPTIONS, **options}.items() if value}


def calling(
    simulator: DeepgramSimulator, path: str = PATH, /, headers: dict[str, str] | None = None, **options: str
) -> AbstractAsyncContextManager[Client]:
    return deepgram_client.calling(Client, simulator, path, with_options(**options), headers)


def said(text: str) -> bytes:
    return tone.say(text, gap_frames=2)[0]


# ── turns ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_turn_begins_with_words_grows_is_expected_to_end_and_ends(autojump_clock: None) -> None:
    simulator = flux()
    async with calling(simulator) as client:
        await client.speak(silence(0.5) + said(WORDS) + silence(1))
    first, *_ = client.told
    assert first[0] == "StartOfTurn"
    assert first[2]
    assert client.told[1:] == [("EagerEndOfTurn", 0, WORDS), ("EndOfTurn", 0, WORDS)]
    end = client.events()[-1]
    assert end["trigger"] == "model"
    assert all("trigger" not in each for each in client.events(updates=True) if each["event"] != "EndOfTurn")
    words, lie = tone.say(WORDS, gap_frames=2)
    assert words
    assert [each["word"] for each in end["words"]] == WORDS.split()
    assert [each["start"] for each in end["words"]] == pytest.approx([0.5 + each.start_s for each in lie], abs=1e-4)
    assert [each["end"] for each in end["words"]] == pytest.approx([0.5 + each.end_s for each in lie], abs=1e-4)
    assert simulator.words == WORDS.split()
    assert simulator.listenings[0].finals == [WORDS]
    assert simulator.violations == []


async def test_connected_comes_first_and_every_message_is_numbered(autojump_clock: None) -> None:
    async with calling(flux()) as client:
        await client.tell("Configure", keyterms=["tooth"])
        await client.speak(said("one two") + silence(1))
    kinds = [message["type"] for _, message in client.heard]
    assert kinds[0] == "Connected"
    assert {"ConfigureSuccess", "TurnInfo"} <= set(kinds)
    assert [message["sequence_id"] for _, message in client.heard] == list(range(len(client.heard)))
    assert len({message["request_id"] for _, message in client.heard}) == 1


async def test_an_update_comes_with_each_quarter_of_a_second_of_audio_also_of_silence(autojump_clock: None) -> None:
    async with calling(flux()) as client:
        await client.speak(silence(1.6))
        await trio.sleep(30)  # its time is the audio's
        await client.speak(silence(0.4))
    updates = client.events(updates=True)
    assert [each["event"] for each in updates] == ["Update"] * 7
    assert [each["transcript"] for each in updates] == [""] * 7
    ends = [each["audio_window_end"] for each in updates]
    assert [after - before for before, after in pairwise([0.0, *ends])] == pytest.approx([0.26] * 7, abs=0.011)


async def test_a_transcript_is_the_whole_turn_so_far_and_never_of_the_turn_before(autojump_clock: None) -> None:
    async with calling(flux()) as client:
        await client.speak(said("one two three") + silence(1) + said("four five") + silence(1))
    ends = [each for each in client.events() if each["event"] == "EndOfTurn"]
    assert [(each["turn_index"], each["transcript"]) for each in ends] == [(0, "one two three"), (1, "four five")]
    turns = [each["turn_index"] for each in client.events(updates=True)]
    assert turns == sorted(turns)
    after = client.events(updates=True)[client.events(updates=True).index(ends[0]) + 1]
    assert (after["turn_index"], after["transcript"]) == (1, "")
    assert after["audio_window_start"] == ends[0]["audio_window_end"]


async def test_an_end_follows_the_last_word_by_what_confidence_takes_and_an_unfinished_word_takes_longer(
    autojump_clock: None,
) -> None:
    async with calling(flux()) as client:
        await client.speak(said("one and") + silence(1.5) + said("two") + silence(1), chunk_bytes=160)
    assert [each[0] for each in client.told] == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
    end = client.events()[-1]
    assert end["transcript"] == "one and two"
    assert end["audio_window_end"] - end["words"][-1]["end"] == pytest.approx(0.26, abs=0.021)


async def test_who_goes_on_after_an_expected_end_takes_it_back(autojump_clock: None) -> None:
    async with calling(flux()) as client:
        await client.speak(said("one two") + silence(0.16) + said("three") + silence(1), chunk_bytes=160)
    assert [each[0] for each in client.told] == [
        "StartOfTurn",
        "EagerEndOfTurn",
        "TurnResumed",
        "EagerEndOfTurn",
        "EndOfTurn",
    ]
    assert [each[2] for each in client.told if each[0] != "TurnResumed"][1:] == [
        "one two",
        "one two three",
        "one two three",
    ]


async def test_no_end_is_expected_aloud_unless_asked_for(autojump_clock: None) -> None:
    async with calling(flux(), eager_eot_threshold="") as client:
        await client.speak(said("one two") + silence(1))
    assert [each[0] for each in client.told] == ["StartOfTurn", "EndOfTurn"]


@pytest.mark.parametrize(("threshold", "trigger", "after_s"), [("0.7", "model", 0.26), ("1.0", "timeout", 0.8)])
async def test_at_a_threshold_of_one_silence_alone_ends_a_turn(
    autojump_clock: None, threshold: str, trigger: str, after_s: float
) -> None:
    async with calling(flux(), eot_threshold=threshold, eot_timeout_ms="800") as client:
        await client.speak(said("one two") + silence(1.5), chunk_bytes=160)
    end = client.events()[-1]
    assert (end["event"], end["trigger"]) == ("EndOfTurn", trigger)
    assert end["audio_window_end"] - end["words"][-1]["end"] == pytest.approx(after_s, abs=0.021)


async def test_a_turn_does_not_end_while_no_audio_comes(autojump_clock: None) -> None:
    async with calling(flux()) as client:
        await client.speak(said("one two"))
        await trio.sleep(50)
        assert client.told[-1][0] == "StartOfTurn"
        await client.speak(silence(0.5))
        assert client.told[-1][0] == "EndOfTurn"


async def test_an_end_may_be_expected_and_taken_back_again_and_again_for_nothing(autojump_clock: None) -> None:
    async with calling(flux(wavers=3)) as client:
        await client.speak(said("one two") + silence(2))
    events = [each[0] for each in client.told]
    assert events == ["StartOfTurn", *["EagerEndOfTurn", "TurnResumed"] * 3, "EagerEndOfTurn", "EndOfTurn"]


@pytest.mark.parametrize("starts_on_noise", [True, False])
async def test_noise_may_begin_a_turn_that_has_no_words(autojump_clock: None, *, starts_on_noise: bool) -> None:
    simulator = flux(starts_on_noise=starts_on_noise)
    async with calling(simulator) as client:
        await client.speak(tone.noise(15) + silence(1))
    expected = [("StartOfTurn", 0, ""), ("EndOfTurn", 0, "")] if starts_on_noise else []
    assert client.told == expected
    assert simulator.words == []


async def test_words_may_have_no_times_and_the_multilingual_model_tells_languages(autojump_clock: None) -> None:
    async with calling(flux(word_times=False), model="flux-general-multi", language_hint="es") as client:
        await client.speak(said("one two") + silence(1))
    end = client.events()[-1]
    assert [sorted(each) for each in end["words"]] == [["confidence", "word"]] * 2
    assert (end["languages"], end["languages_hinted"]) == (["en"], ["es"])


async def test_what_comes_faster_than_speech_is_heard_at_a_quarter_more_than_its_pace(autojump_clock: None) -> None:
    async with calling(flux()) as client:
        opened_at = trio.current_time()
        for _ in range(50):
            await client.socket.send_message(silence(0.1))
        await trio.sleep(10)
    for at, message in client.heard:
        assert at - opened_at >= message.get("audio_window_end", 0) / 1.25 - 0.1
    assert client.events(updates=True)[-1]["audio_window_end"] == pytest.approx(5.0, abs=0.25)


# ── commands ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ends", [True, False])
async def test_close_stream_works_off_what_there_is_and_closes(autojump_clock: None, *, ends: bool) -> None:
    async with calling(flux(close_ends_turn=ends)) as client:
        for frame in tone.frames_of(said("one two three")):
            await client.socket.send_message(frame)
        await client.tell("CloseStream")
        assert await client.code() == (1000, None)
    last = client.of("TurnInfo")[-1]
    assert (last["event"], last["transcript"]) == ("EndOfTurn" if ends else "Update", "one two three")


async def test_a_turn_can_be_ended_by_hand_where_that_is_enabled(autojump_clock: None) -> None:
    simulator = flux(takes_force_end_turn=True)
    async with calling(simulator) as client:
        await client.speak(said("one two"))
        await client.tell("ForceEndTurn")
        await trio.sleep(0.2)
        assert (client.events()[-1]["trigger"], client.told[-1]) == ("manual", ("EndOfTurn", 0, "one two"))
    assert simulator.violations == []


async def test_a_configuration_holds_from_then_on_and_only_one_may_be_pending(autojump_clock: None) -> None:
    simulator = flux()
    async with calling(simulator) as client:
        thresholds = {"eot_threshold": 1.0, "eot_timeout_ms": 600}
        await client.tell("Configure", thresholds=thresholds, keyterms=["tooth"], numerals=True)
        await client.tell("Configure", keyterms=[])
        await trio.sleep(0.2)
        await client.tell("Configure", thresholds={"eot_threshold": 0.1})
        await client.tell("Configure", thresholds={"eager_eot_threshold": None}, keyterms=None)
        await trio.sleep(0.2)
        await client.speak(said("one") + silence(1))
    (first, second) = client.of("ConfigureSuccess")
    assert first["thresholds"] == {"eager_eot_threshold": 0.4, "eot_threshold": 1.0, "eot_timeout_ms": 600}
    assert (second["keyterms"], second["numerals"]) == (["tooth"], True)
    codes = [each["code"] for each in client.of("ConfigureFailure")]
    assert codes == ["CONFIGURE_ALREADY_PENDING", "CONFIGURE_INVALID"]
    assert client.events()[-1]["trigger"] == "timeout"
    assert len(simulator.violations) == 2


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"KeepAlive"}',
        '{"type":"Finalize"}',
        '{"type":"ForceEndTurn"}',
        '{"type":"CloseStream","now":true}',
        '{"type":"Configure","keyterms":"one"}',
        '{"type":"Configure","thresholds":{"eot_threshold":"0.8"}}',
        '{"type":"Configure","features":{}}',
        "hello",
        "[]",
        '{"a":' * 5000,
    ],
    ids=lambda text: text[:40],
)
async def test_a_text_that_it_does_not_know_kills_the_stream(autojump_clock: None, text: str) -> None:
    simulator = flux()
    async with calling(simulator) as client:
        await client.speak(silence(0.5))
        await client.socket.send_message(text)
        assert (await client.code())[0] == 1011
    last = client.heard[-1][1]
    assert (last["type"], last["code"]) == ("Error", "UNPARSABLE_CLIENT_MESSAGE")
    assert "request_id" not in last
    assert len(simulator.violations) == 1


async def test_what_comes_after_close_stream_is_a_violation(autojump_clock: None) -> None:
    simulator = flux()
    async with calling(simulator) as client:
        await client.tell("CloseStream")
        await client.socket.send_message(silence(0.1))
        await client.closed.wait()
    assert len(simulator.violations) == 1


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────────────


async def refused(
    simulator: DeepgramSimulator, path: str = PATH, /, headers: dict[str, str] | None = None, **options: Any
) -> tuple[int, dict[str, Any]]:
    status, body, _ = await deepgram_client.refused(simulator, path, with_options(**options), headers)
    return status, body


@pytest.mark.parametrize(
    "change",
    [
        {"model": ""},
        {"model": "nova-3"},
        {"model": "flux-general-de"},
        {"encoding": ""},
        {"encoding": "mp3"},
        {"sample_rate": "16000"},
        {"eot_threshold": "0.4"},
        {"eot_threshold": "1.1"},
        {"eot_threshold": "high"},
        {"eager_eot_threshold": "0.2"},
        {"eager_eot_threshold": "0.8"},
        {"eot_threshold": "1.0", "eager_eot_threshold": "0.95"},
        {"eot_timeout_ms": "499"},
        {"eot_timeout_ms": "60001"},
        {"eot_timeout_ms": "1s"},
        {"numerals": "1"},
        {"redact": "pci"},
        {"language_hint": "es"},
        {"keyterm": "word " * 501},
        {"interim_results": "true"},
        {"endpointing": "300"},
        {"vad_events": "true"},
        {"utterance_end_ms": "1000"},
        {"smart_format": "true"},
        {"punctuate": "true"},
        {"language": "en"},
        {"channels": "1"},
    ],
    ids=str,
)
async def test_a_bad_parameter_is_refused_with_400(autojump_clock: None, change: dict[str, Any]) -> None:
    simulator = flux()
    status, body = await refused(simulator, **change)
    assert status == 400
    assert [each.why for each in simulator.violations] == [body["err_msg"]]


async def test_the_older_protocol_does_not_know_its_models(autojump_clock: None) -> None:
    options: dict[str, Any] = {"eager_eot_threshold": "", "model": "flux-general-en"}
    assert (await refused(flux(), "/v1/listen", **options))[0] == 400
    async with calling(flux(), "/v1/listen", **{**options, "model": "nova-3"}):
        pass


async def test_a_wrong_key_and_a_forbidden_model_are_refused(autojump_clock: None) -> None:
    policy = DeepgramPolicy(keys=frozenset({"key"}), forbidden_models=frozenset({"flux-general-multi"}))
    simulator = DeepgramSimulator(policies=[policy])
    assert (await refused(simulator, headers={"authorization": "Token wrong"}))[0] == 401
    assert (await refused(simulator, model="flux-general-multi"))[0] == 403


async def test_an_empty_message_ends_the_stream(autojump_clock: None) -> None:
    async with calling(flux()) as client:
        await client.socket.send_message(b"")
        assert await client.code() == (1008, "DATA-0000")


@pytest.mark.parametrize("pings", [True, False])
async def test_a_stream_without_frames_lives_by_its_pings(autojump_clock: None, *, pings: bool) -> None:
    simulator = flux()
    async with calling(simulator) as client:
        await client.speak(silence(0.2))
        for _ in range(10):
            await trio.sleep(10)
            if pings:
                await client.socket.ping()
            elif client.closed.is_set():
                assert trio.current_time() == pytest.approx(60, abs=10.5)
                break
        assert client.closed.is_set() is not pings
    assert len(simulator.violations) == (0 if pings else 1)


# ── what goes wrong when it is told to ────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_can_break_or_fall_silent_in_the_middle_of_a_turn(autojump_clock: None) -> None:
    for fault in (Close(code=1011, reason="NET-0000"), Stall()):
        simulator = flux(mid_turn=fault, mid_turn_words=2)
        async with calling(simulator) as client:
            with trio.move_on_after(3), suppress(trio_websocket.ConnectionClosed):
                await client.speak(silence(1) + said("one two three four five six"))
                await client.closed.wait()
            await trio.sleep(0.1)
            assert client.closed.is_set() is isinstance(fault, Close)
        assert "EndOfTurn" not in [each[0] for each in client.told]
        assert len(simulator.words) >= 2


async def test_messages_can_get_lost_and_leave_a_gap_in_the_numbers(autojump_clock: None) -> None:
    async with calling(flux(lost=frozenset({2, 3}))) as client:
        await client.speak(silence(2))
    assert [message["sequence_id"] for _, message in client.heard][:3] == [0, 1, 4]


async def test_strange_messages_and_fields_are_numbered_too(autojump_clock: None) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(strange=True)])
    async with calling(simulator) as client:
        await client.speak(silence(1))
    assert client.of("Weather")
    assert [message["sequence_id"] for _, message in client.heard] == list(range(len(client.heard)))
    assert all("mood" in message for _, message in client.heard)


# ── the vendor's own SDK ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_sdks_asynchronous_client_understands_all_messages(autojump_clock: None) -> None:
    simulator = flux()
    async with sdk_on(AsyncV2SocketClient, simulator, PATH, OPTIONS) as (client, heard):
        thresholds = ListenV2ConfigureThresholds(eot_threshold=0.8)
        await client.send_configure(ListenV2Configure(type="Configure", thresholds=thresholds, keyterms=["tooth"]))
        await client.send_media(said(WORDS) + silence(1.5))
        await trio.sleep(5)
        assert simulator.violations == []
        await client.send_force_end_turn()
    assert [type(each) for each in heard[:2]] == [ListenV2Connected, ListenV2ConfigureSuccess]
    assert {type(each) for each in heard[2:-1]} == {ListenV2TurnInfo}
    assert isinstance(heard[-1], ListenV2FatalError)
    assert heard[1].thresholds.eot_threshold == 0.8
    end = next(each for each in heard[2:] if each.event == "EndOfTurn")
    assert (end.transcript, end.words[0].word, end.trigger) == (WORDS, "Hello,", "model")
    assert [each.sequence_id for each in heard] == list(range(len(heard)))
    # The SDK builds its models without looking: what is wrong with a message shows when it is held against its model.
    for each in heard:
        type(each).model_validate(each.model_dump())
    listening = simulator.listenings[0]
    assert isinstance(listening, FluxListening)
    assert listening.events == ["StartOfTurn", "EagerEndOfTurn", "EndOfTurn"]
    assert heard[0].request_id == listening.request_id


async def test_the_sdks_own_connection_is_let_in_and_served() -> None:
    policy = DeepgramPolicy(
        keys=frozenset({"secret"}), handshake_s=0, ingest=1000, flux=FluxPolicy(late_s=0, connected_late_s=0)
    )
    simulator = DeepgramSimulator(policies=[policy])
    listened = await listened_with_the_sdk(simulator, _listen)
    ends = [each for each in listened if isinstance(each, ListenV2TurnInfo) and each.event == "EndOfTurn"]
    assert [each.transcript for each in ends] == [WORDS]
    assert isinstance(listened[0], ListenV2Connected)


def _listen(client: deepgram.DeepgramClient) -> list[Any]:
    with client.listen.v2.connect(
        model="flux-general-en",
        encoding="mulaw",
        sample_rate=8000,
        eager_eot_threshold=0.4,
        eot_threshold=0.7,
        eot_timeout_ms=3000,
        keyterm=["tooth", "crown"],
    ) as connection:
        for frame in tone.frames_of(said(WORDS) + silence(0.5)):
            connection.send_media(frame)
        connection.send_close_stream()
        return list(connection)
