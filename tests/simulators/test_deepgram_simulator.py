"""The simulated Deepgram: what it hears, what it says and when, what it refuses; and the vendor's own SDK, content."""

import warnings
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import deepgram
import pytest
import trio
from deepgram.listen.v1.types import (
    ListenV1Configure,
    ListenV1ConfigureSuccess,
    ListenV1Metadata,
    ListenV1Results,
    ListenV1SpeechStarted,
    ListenV1UtteranceEnd,
)

from simulators import tone
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator
from simulators.faults import Close, Fault, Garble, Refuse, Stall
from tests.simulators import deepgram_client
from tests.simulators.deepgram_client import WORDS, Refused, connecting, listened_with_the_sdk, sdk_on, silence

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # they import websockets' old names, and do not use them
    import deepgram.listen.v1.client
    from deepgram.listen.v1.socket_client import AsyncV1SocketClient

OPTIONS = {
    "model": "nova-3",
    "encoding": "mulaw",
    "sample_rate": "8000",
    "interim_results": "true",
    "endpointing": "300",
    "utterance_end_ms": "1000",
    "punctuate": "true",
}
PATH = "/v1/listen"
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen " * 3


class Client(deepgram_client.Client):
    def finals(self) -> list[dict[str, Any]]:
        return [message for message in self.of("Results") if message["is_final"]]


def calling(
    simulator: DeepgramSimulator, options: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> AbstractAsyncContextManager[Client]:
    return deepgram_client.calling(Client, simulator, PATH, OPTIONS if options is None else options, headers)


def transcript(results: dict[str, Any]) -> str:
    return str(results["channel"]["alternatives"][0]["transcript"])


# ── what it hears ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_words_come_out_of_the_audio_with_their_times(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    audio, said = tone.say(WORDS, gap_frames=2)
    async with calling(simulator) as client:
        await client.speak(silence(1.3) + audio + silence(0.6), chunk_bytes=333)
        await client.tell("CloseStream")
        assert await client.code() == (1000, None)
    [final] = [each for each in client.finals() if transcript(each)]
    assert transcript(final) == WORDS
    words = final["channel"]["alternatives"][0]["words"]
    assert [word["punctuated_word"] for word in words] == WORDS.split()
    assert [word["word"] for word in words] == ["hello", "i", "need", "an", "appointment", "tomorrow"]
    assert [word["start"] for word in words] == pytest.approx([1.3 + word.start_s for word in said], abs=1e-4)
    assert [word["end"] for word in words] == pytest.approx([1.3 + word.end_s for word in said], abs=1e-4)
    assert simulator.words == WORDS.split()
    assert simulator.listenings[0].finals == [WORDS]
    assert simulator.violations == []


async def test_without_punctuation_words_are_lower_case_and_plain(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator(), {**OPTIONS, "punctuate": "false"}) as client:
        await client.speak(tone.say(WORDS)[0] + silence(0.6))
    [final] = client.finals()
    assert transcript(final) == "hello i need an appointment tomorrow"
    assert "punctuated_word" not in final["channel"]["alternatives"][0]["words"][0]


async def test_a_word_cut_by_the_connections_beginning_is_garbled(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.speak(tone.say("appointment tomorrow")[0][777:] + silence(0.6))
    assert simulator.words == [tone.GARBLED, "tomorrow"]
    assert transcript(client.finals()[0]) == f"{tone.GARBLED} tomorrow"


async def test_an_interim_comes_for_each_second_of_audio_received_also_in_silence(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator()) as client:
        await client.speak(silence(2.5))
        await trio.sleep(5)  # no audio, no interims
        await client.speak(silence(0.5))
    assert [results["start"] for results in client.of("Results")] == [0.0, 0.0]
    assert [results["duration"] for results in client.of("Results")] == pytest.approx([1.0, 2.0], abs=0.11)
    assert [transcript(results) for results in client.of("Results")] == ["", ""]


async def test_windows_follow_each_other_and_one_utterance_has_several(autojump_clock: None) -> None:
    audio, _ = tone.say(LONG)
    async with calling(DeepgramSimulator()) as client:
        await client.speak(silence(1) + audio + silence(0.6) + tone.say("bye now")[0] + silence(0.6))
        await trio.sleep(1)
    finals = client.finals()
    assert len(finals) >= 4
    ends = [results["start"] + results["duration"] for results in finals]
    assert [results["start"] for results in finals] == pytest.approx([0.0, *ends[:-1]], abs=1e-3)
    is_last = [results["speech_final"] for results in finals]
    assert is_last == [*[False] * (len(finals) - 2), True, True]
    assert " ".join(transcript(results) for results in finals[:-1]) == LONG.strip()
    assert transcript(finals[-1]) == "bye now"
    assert all(results["duration"] <= 6 for results in finals)
    for results, end_s in zip(finals, ends, strict=True):
        for word in results["channel"]["alternatives"][0]["words"]:
            assert results["start"] - 1e-3 <= word["start"] <= word["end"] <= end_s + 1e-3


async def test_a_windows_interims_share_its_start_and_guess_at_its_last_word(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator()) as client:
        await client.speak(tone.spoken("appointment", 70) + silence(0.5))
    interim, final = client.of("Results")
    assert (transcript(interim), interim["start"]) == ("appoin", 0.0)
    assert (transcript(final), final["start"]) == ("appointment", 0.0)


async def test_speech_is_final_after_the_silence_that_was_asked_for_and_not_before(autojump_clock: None) -> None:
    for endpointing, pause_s, parts in (("300", 0.28, 1), ("300", 0.3, 2), ("false", 0.8, 1), ("500", 0.4, 1)):
        simulator = DeepgramSimulator()
        async with calling(simulator, {**OPTIONS, "endpointing": endpointing}) as client:
            first, second = tone.spoken("one", 5), tone.spoken("two", 5)
            await client.speak(first + silence(pause_s) + second + silence(0.1), chunk_bytes=160)
            await client.tell("CloseStream")
            await client.closed.wait()
        assert len([each for each in client.finals() if transcript(each)]) == parts, (endpointing, pause_s)


async def test_a_final_is_late_by_endpointing_and_what_the_policy_says(autojump_clock: None) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(final_late_s=0.25)])
    async with calling(simulator) as client:
        opened_at = trio.current_time()
        await client.speak(tone.spoken("yes", 10) + silence(1), chunk_bytes=160)
    at = next(at for at, message in client.heard if message.get("speech_final"))
    # The last frame of the endpoint is sent 0.48 s after the first.
    assert at - opened_at == pytest.approx(0.2 + 0.3 - 0.02 + 0.25, abs=0.03)


async def test_what_comes_faster_than_speech_is_heard_at_a_quarter_more_than_its_pace(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator()) as client:
        opened_at = trio.current_time()
        for _ in range(50):
            await client.socket.send_message(silence(0.1))
        await trio.sleep(10)
    ends = [(results["start"] + results["duration"], at) for at, results in client.heard if "start" in results]
    assert ends[-1][0] == pytest.approx(4.5, abs=0.1)
    for end_s, at in ends:
        assert at - opened_at >= end_s / 1.25


# ── what it says besides ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_vad_events_come_only_when_asked_for(autojump_clock: None) -> None:
    for options in (OPTIONS, {**OPTIONS, "vad_events": "true"}):
        async with calling(DeepgramSimulator(), options) as client:
            await client.speak(silence(0.5) + tone.say("one two")[0] + silence(0.5) + tone.say("three")[0])
            await trio.sleep(1)
        starts = [each["timestamp"] for each in client.of("SpeechStarted")]
        assert starts == (pytest.approx([0.6, 1.38], abs=0.03) if "vad_events" in options else [])


@pytest.mark.parametrize(("stale", "told"), [(True, 0.26), (False, -1)])
async def test_an_utterance_that_speech_final_ended_gets_its_end_told_late(
    autojump_clock: None, *, stale: bool, told: float
) -> None:
    policy = DeepgramPolicy(stale_utterance_end=stale, utterance_end_late_s=1.5)
    async with calling(DeepgramSimulator(policies=[policy])) as client:
        await client.speak(tone.say("one two")[0] + silence(1.5) + tone.say("three")[0] + silence(0.6))
        await trio.sleep(1)
    order = [message["type"] for _, message in client.heard if message["type"] == "UtteranceEnd" or message["is_final"]]
    assert order == ["Results", "Results", "UtteranceEnd"]
    assert client.of("UtteranceEnd")[0]["last_word_end"] == pytest.approx(told, abs=0.01)


async def test_on_a_noisy_line_only_utterance_end_ends_an_utterance(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator(policies=[DeepgramPolicy(noisy=True)])) as client:
        await client.speak(tone.say("one two")[0] + silence(1.6))
        await trio.sleep(1)
    assert [transcript(each) for each in client.finals()] == ["one two"]
    assert not any(each["speech_final"] for each in client.finals())
    assert client.of("UtteranceEnd")[0]["last_word_end"] == pytest.approx(0.26, abs=0.01)


async def test_utterance_end_comes_only_when_asked_for(autojump_clock: None) -> None:
    options = {name: value for name, value in OPTIONS.items() if name != "utterance_end_ms"}
    async with calling(DeepgramSimulator(), options) as client:
        await client.speak(tone.say("one two")[0] + silence(3))
    assert client.of("UtteranceEnd") == []


async def test_finalize_settles_at_once_what_was_received(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        for frame in tone.frames_of(silence(0.1) + tone.say("one two three")[0]):
            await client.socket.send_message(frame)
        await client.tell("Finalize")
        await trio.sleep(0.25)
        await client.tell("Finalize", channel=0)  # nothing is buffered: no answer
        await trio.sleep(1)
    [final] = client.finals()
    assert transcript(final) == "one two three"
    assert final["from_finalize"]
    assert not final["speech_final"]
    assert simulator.violations == []


async def test_finalize_may_go_unanswered(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator(policies=[DeepgramPolicy(answers_finalize=False)])) as client:
        await client.socket.send_message(tone.say("one two three")[0])
        await client.tell("Finalize")
        await trio.sleep(1)
    assert client.finals() == []


async def test_close_stream_brings_the_last_words_then_metadata_then_1000(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator()) as client:
        for frame in tone.frames_of(tone.say("one two")[0]):
            await client.socket.send_message(frame)
        await client.tell("CloseStream")
        assert await client.code() == (1000, None)
    assert [message["type"] for _, message in client.heard] == ["Results", "Metadata"]
    assert transcript(client.finals()[0]) == "one two"
    metadata = client.of("Metadata")[0]
    assert metadata["duration"] == pytest.approx(0.28)
    assert len(metadata["models"]) == 1
    assert len(metadata["sha256"]) == 64


async def test_a_stream_without_audio_ends_with_an_incomplete_metadata(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator()) as client:
        await client.tell("CloseStream")
        await client.closed.wait()
    [metadata] = client.of("Metadata")
    assert (metadata["sha256"], metadata["duration"]) == ("incomplete", 0.0)
    assert "models" not in metadata


async def test_odd_orders_and_strange_messages_come_when_told(autojump_clock: None) -> None:
    policy = DeepgramPolicy(repeats_interims=True, strange=True)
    async with calling(DeepgramSimulator(policies=[policy])) as client:
        await client.speak(tone.say("one two three four five six")[0] + silence(0.5))
        await trio.sleep(1)
    assert [results["is_final"] for results in client.of("Results")] == [False, True, False]
    assert client.of("Weather")
    assert all("mood" in results for results in client.of("Results"))


async def test_keyterms_can_be_changed_one_at_a_time(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.tell("Configure", keyterms=["mileage"], features={"numerals": True})
        await client.tell("Configure", keyterms=[])
        await trio.sleep(1)
        await client.tell("Configure", keyterms=["word"] * 501)
        await client.tell("Configure", keyterms=None)
        await trio.sleep(1)
    assert [each["code"] for each in client.of("ConfigureFailure")] == [
        "CONFIGURE_ALREADY_PENDING",
        "CONFIGURE_KEYTERM_LIMIT_EXCEEDED",
    ]
    assert [each["keyterms"] for each in client.of("ConfigureSuccess")] == [["mileage"], ["mileage"]]
    assert len(simulator.violations) == 2


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────────────


async def refused(
    simulator: DeepgramSimulator, options: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> Refused:
    return await deepgram_client.refused(simulator, PATH, OPTIONS if options is None else options, headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-nothing": "at all"},
        {"authorization": "Token wrong"},
        {"authorization": "Bearer key"},
        {"authorization": "key"},
        {"authorization": "Basic key"},
        {"sec-websocket-protocol": "token, wrong"},
    ],
)
async def test_a_missing_or_wrong_key_is_refused_with_401(autojump_clock: None, headers: dict[str, str]) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(keys=frozenset({"key"}))])
    status, body, answer = await refused(simulator, headers=headers)
    assert (status, body["err_code"], body["err_msg"]) == (401, "INVALID_AUTH", "Invalid credentials.")
    assert answer["dg-error"] == "Invalid credentials."
    assert answer["dg-request-id"] == body["request_id"]
    assert len(simulator.violations) == 1


async def test_a_browser_may_show_its_key_as_a_subprotocol(autojump_clock: None) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(keys=frozenset({"key"}))])
    async with connecting(simulator, PATH, OPTIONS, {}, subprotocols=["token", "key"]) as socket:
        assert socket.subprotocol == "token"
    assert simulator.violations == []


@pytest.mark.parametrize(
    "change",
    [
        {"model": None},
        {"model": "nova-9"},
        {"encoding": "mp3"},
        {"encoding": None},
        {"sample_rate": "8kHz"},
        {"sample_rate": "16000"},
        {"channels": "2"},
        {"interim_results": "True"},
        {"interim_results": "false"},
        {"endpointing": "true"},
        {"endpointing": "-1"},
        {"utterance_end_ms": "999"},
        {"utterance_end_ms": "1s"},
        {"punctuate": "1"},
        {"keywords": "tooth:2"},
        {"model": "nova-2", "keyterm": "tooth"},
        {"language_hint": "de"},
        {"language": "english"},
        {"smart_formatting": "true"},
        {"token": "key"},
        {"keyterm": "word " * 501},
    ],
    ids=str,
)
async def test_a_bad_parameter_is_refused_with_400(autojump_clock: None, change: dict[str, str | None]) -> None:
    simulator = DeepgramSimulator()
    options = {name: value for name, value in {**OPTIONS, **change}.items() if value is not None}
    status, body, answer = await refused(simulator, options)
    assert status == 400
    assert body["err_msg"] == answer["dg-error"]
    assert [each.why for each in simulator.violations] == [body["err_msg"]]


@pytest.mark.parametrize(
    ("refuse", "code"),
    [
        (Refuse(status=402), "ASR_PAYMENT_REQUIRED"),
        (Refuse(status=403), "INSUFFICIENT_PERMISSIONS"),
        (Refuse(status=429), "TOO_MANY_REQUESTS"),
        (Refuse(status=503), "SERVICE_UNAVAILABLE"),
        (Refuse(status=401, code="INSUFFICIENT_PERMISSIONS"), "INSUFFICIENT_PERMISSIONS"),
    ],
)
async def test_a_refusal_that_was_told_is_no_fault_of_the_clients(
    autojump_clock: None, refuse: Refuse, code: str
) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(refuse=refuse), DeepgramPolicy()])
    status, body, _ = await refused(simulator)
    assert (status, body["err_code"]) == (refuse.status, code)
    async with calling(simulator):  # the next connection has the next policy
        pass
    assert simulator.violations == []


async def test_a_model_that_the_project_may_not_use_is_refused_with_403(autojump_clock: None) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(forbidden_models=frozenset({"nova-3"}))])
    assert (await refused(simulator))[0] == 403


async def test_an_empty_message_ends_the_stream_without_a_last_word(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.speak(tone.say("one two")[0])
        await client.socket.send_message(b"")
        assert await client.code() == (1008, "DATA-0000")
    assert client.heard == []
    assert [each.why for each in simulator.violations] == ["an empty binary message"]


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "[]",
        '{"type":"Listen"}',
        '{"type":"KeepAlive","channel":0}',
        '{"type":"Finalize","channel":1}',
        '{"type":"Configure","keyterms":"one"}',
        '{"type":"Configure","features":{"numerals":1}}',
        '{"type":["KeepAlive"]}',
        "//+/",
        '{"a":' * 5000,
    ],
    ids=lambda text: text[:30],
)
async def test_an_unknown_text_message_is_answered_with_a_schema_error(autojump_clock: None, text: str) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.socket.send_message(text)
        await trio.sleep(0.1)
        [error] = client.of("Error")
        assert (error["variant"], error["message"]) == ("SchemaError", text)
    assert len(simulator.violations) == 1


async def test_text_in_a_binary_frame_is_no_text(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.socket.send_message(b'{"type":"CloseStream"}')
        await trio.sleep(1)
        assert not client.closed.is_set()
    assert "binary" in simulator.violations[0].why


async def test_an_idle_stream_is_closed_with_its_metadata_first(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.speak(silence(0.1))
        idle_from = trio.current_time()
        code, reason = await client.code()
    assert trio.current_time() - idle_from == pytest.approx(12, abs=0.2)
    assert code == 1011
    assert "net0001" in str(reason)
    assert [message["type"] for _, message in client.heard] == ["Metadata"]
    assert len(simulator.violations) == 1


@pytest.mark.parametrize("has_audio", [True, False])
async def test_keep_alive_keeps_a_stream_that_has_had_audio_and_no_other(
    autojump_clock: None, *, has_audio: bool
) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        if has_audio:
            await client.speak(silence(0.1))
        for _ in range(8):
            await trio.sleep(4)
            if client.closed.is_set():
                break
            await client.tell("KeepAlive")
    assert client.closed.is_set() is not has_audio
    assert len(simulator.violations) == (0 if has_audio else 1)


async def test_what_comes_after_close_stream_is_a_violation(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.speak(tone.say("one")[0])
        await client.tell("CloseStream")
        await client.socket.send_message(silence(0.1))
        await client.tell("KeepAlive")
        await client.closed.wait()
    assert len(simulator.violations) == 2


async def test_no_path_but_its_own_is_served() -> None:
    simulator = DeepgramSimulator()
    async with simulator.serving() as url:
        port = int(url.rpartition(":")[2])
        for request in (b"GET /v1/listen HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /v2/x HTTP/1.1\r\nHost: x\r\n\r\n"):
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(request)
                answer = b"".join([part async for part in stream])
            assert answer.startswith(b"HTTP/1.1 404")
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"what is this\r\n\r\n")
            assert await stream.receive_some() == b""
    assert len(simulator.violations) == 2


# ── what goes wrong when it is told to ────────────────────────────────────────────────────────────────────────────────


async def test_a_close_comes_at_its_moment_with_its_code(autojump_clock: None) -> None:
    policy = DeepgramPolicy(faults=(Close(after_s=2.0, code=1011, reason="NET-0000"),))
    simulator = DeepgramSimulator(policies=[policy, DeepgramPolicy()])
    async with calling(simulator) as client:
        opened_at = trio.current_time()
        assert await client.code() == (1011, "NET-0000")
    assert trio.current_time() - opened_at == pytest.approx(2.0, abs=0.01)
    async with calling(simulator) as client:
        await trio.sleep(5)
        assert not client.closed.is_set()


async def test_a_drop_has_no_close_frame(autojump_clock: None) -> None:
    async with calling(DeepgramSimulator(policies=[DeepgramPolicy(faults=(Close(code=1006),))])) as client:
        assert (await client.code())[0] == 1006


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        (Close(after_messages=1), 1),
        (Stall(after_messages=1), 1),
        (Garble(after_messages=1, message='{"type":"Nonsense"}'), 4),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_fault_comes_after_so_many_messages(autojump_clock: None, fault: Fault, heard: int) -> None:
    simulator = DeepgramSimulator(policies=[DeepgramPolicy(faults=(fault,))])
    async with calling(simulator) as client:
        for _ in range(31):
            with trio.move_on_after(0.1):
                if not client.closed.is_set():
                    await client.socket.send_message(silence(0.1))
                await trio.sleep_forever()
        await trio.sleep(0.5)
    assert len(client.heard) == heard


async def test_a_fault_can_strike_at_any_moment(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    async with calling(simulator) as client:
        await client.speak(silence(1.5))
        await simulator.listenings[0].strike(Stall())
        await client.speak(silence(3))
        assert len(client.heard) == 1
        await simulator.listenings[0].strike(Close(code=1011))
        assert (await client.code())[0] == 1011


async def test_every_message_can_be_mangled(autojump_clock: None) -> None:
    policy = DeepgramPolicy(mangle=lambda text: text.replace("Results", "Stluser"))
    async with calling(DeepgramSimulator(policies=[policy])) as client:
        await client.speak(silence(3.5))
    assert [message["type"] for _, message in client.heard] == ["Stluser"] * 3


# ── the vendor's own SDK ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_sdks_asynchronous_client_understands_all_messages(autojump_clock: None) -> None:
    simulator = DeepgramSimulator()
    options = {**OPTIONS, "vad_events": "true"}
    async with sdk_on(AsyncV1SocketClient, simulator, PATH, options) as (client, heard):
        await client.send_media(tone.say(WORDS)[0] + silence(1.5))
        await client.send_keep_alive()
        await client.send_configure(ListenV1Configure(type="Configure", keyterms=["tooth"]))
        await trio.sleep(5)
        await client.send_finalize()
        await client.send_close_stream()
    assert {type(each) for each in heard} == {
        ListenV1Results,
        ListenV1UtteranceEnd,
        ListenV1SpeechStarted,
        ListenV1ConfigureSuccess,
        ListenV1Metadata,
    }
    final = next(each for each in heard if isinstance(each, ListenV1Results) and each.speech_final)
    assert final.channel.alternatives[0].transcript == WORDS
    assert final.channel.alternatives[0].words[0].punctuated_word == "Hello,"
    assert final.metadata.request_id == simulator.listenings[0].request_id
    assert simulator.violations == []


async def test_the_sdks_own_connection_is_let_in_and_served() -> None:
    policy = DeepgramPolicy(keys=frozenset({"secret"}), handshake_s=0, final_late_s=0, interim_late_s=0, ingest=1000)
    simulator = DeepgramSimulator(policies=[policy])
    listened = await listened_with_the_sdk(simulator, _listen)
    finals = [each for each in listened if isinstance(each, ListenV1Results) and each.is_final]
    assert [each.channel.alternatives[0].transcript for each in finals] == [WORDS]
    assert isinstance(listened[-1], ListenV1Metadata)


def _listen(client: deepgram.DeepgramClient) -> list[Any]:
    send: Callable[[bytes], None]
    with client.listen.v1.connect(
        model="nova-3", encoding="mulaw", sample_rate=8000, interim_results=True, endpointing=300, smart_format=True
    ) as connection:
        send = connection.send_media
        for frame in tone.frames_of(tone.say(WORDS)[0] + silence(0.5)):
            send(frame)
        connection.send_close_stream()
        return list(connection)
