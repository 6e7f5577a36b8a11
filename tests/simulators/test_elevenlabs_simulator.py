"""The simulated ElevenLabs: what it speaks and when, what it refuses; and the vendor's own SDK, content."""

import base64
import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode

import attrs
import pytest
import trio
import trio_websocket
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.core.unchecked_base_model import construct_type
from elevenlabs.types import (
    AudioOutputMulti,
    CloseContext,
    CloseSocket,
    FinalOutputMulti,
    FlushContext,
    GenerationConfig,
    InitialiseContext,
    InitializeConnectionMulti,
    KeepContextAlive,
    RealtimeVoiceSettings,
    SendTextMulti,
    VoiceSettings,
)
from elevenlabs.v_1_text_to_speech_voice_id_multi_stream_input.types import ReceiveMessageMulti

from simulators import tone
from simulators.elevenlabs import ElevenLabsPolicy, ElevenLabsSimulator
from simulators.faults import Close, Fault, Garble, Refuse, Stall

KEY = {"xi-api-key": "key"}
OPTIONS = {"model_id": "eleven_flash_v2_5", "output_format": "ulaw_8000", "auto_mode": "true"}
SETTINGS = {"stability": 0.5, "similarity_boost": 0.8, "speed": 1.0}
TEXT = "Hello there, your car is ready. "
QUICK = ElevenLabsPolicy(handshake_s=0, first_audio_s=0, final_late_s=0, pace=1000)


@attrs.define
class Client:
    """A client without manners or a parser of the engine's. heard: all messages that came, with their times."""

    socket: trio_websocket.WebSocketConnection
    heard: list[tuple[float, dict[str, Any]]] = attrs.field(factory=list)
    closed: trio.Event = attrs.field(factory=trio.Event)

    async def listen(self) -> None:
        try:
            while True:
                message = await self.socket.get_message()
                self.heard.append((trio.current_time(), json.loads(message)))
        except trio_websocket.ConnectionClosed:
            self.closed.set()

    async def tell(self, **fields: Any) -> None:
        await self.socket.send_message(json.dumps(fields))

    async def begin(self, *contexts: str) -> None:
        for context in contexts:
            await self.tell(text=" ", context_id=context, voice_settings=SETTINGS)

    def messages(self, context: str | None = None) -> list[dict[str, Any]]:
        return [message for _, message in self.heard if context is None or message.get("contextId") == context]

    def audio(self, context: str | None = None) -> bytes:
        return b"".join(audio_of(message) for message in self.messages(context))

    def words(self, context: str | None = None) -> list[str]:
        return [word.text for word in tone.heard(self.audio(context))]

    def finals(self) -> list[str]:
        return [message["contextId"] for _, message in self.heard if message.get("isFinal")]

    async def code(self) -> tuple[int, str | None]:
        await self.closed.wait()
        assert self.socket.closed is not None
        return self.socket.closed.code, self.socket.closed.reason

    async def failed(self) -> str:
        """The error that the socket was closed with."""
        code, reason = await self.code()
        error = self.messages()[-1]
        assert (code, error["code"]) == (1008, 1008)
        assert reason is not None
        assert error["message"].startswith(reason)
        return str(error["error"])


def audio_of(message: dict[str, Any]) -> bytes:
    return base64.b64decode(message.get("audio") or "")


@asynccontextmanager
async def calling(
    simulator: ElevenLabsSimulator,
    options: dict[str, str] | None = None,
    *,
    kind: str = "multi-stream-input",
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Client]:
    async with trio.open_nursery() as nursery:
        socket = await trio_websocket.wrap_client_stream(
            nursery,
            simulator.connect(nursery),  # type: ignore[arg-type]  # any stream will do
            "api.elevenlabs.io",
            f"/v1/text-to-speech/voice/{kind}?{urlencode({**OPTIONS, **(options or {})})}",
            extra_headers=[(name.encode(), value.encode()) for name, value in (headers or KEY).items()],
        )
        client = Client(socket)
        nursery.start_soon(client.listen)
        yield client
        nursery.cancel_scope.cancel()


def why(simulator: ElevenLabsSimulator) -> list[str]:
    return [violation.why for violation in simulator.violations]


# ── what it speaks ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_audio_carries_the_text_and_the_context_ends_with_is_final(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.begin("turn_1")
        await client.tell(text=TEXT, context_id="turn_1")
        await client.tell(context_id="turn_1", flush=True)
        await client.tell(context_id="turn_1", close_context=True)
        await trio.sleep(5)
    assert client.words("turn_1") == TEXT.split()
    assert client.messages()[-1] == {"isFinal": True, "contextId": "turn_1"}
    assert client.finals() == ["turn_1"]
    [context] = simulator.speakings[0].contexts
    assert context.spoken == [TEXT]
    assert context.is_over
    assert simulator.violations == []


def times(messages: list[dict[str, Any]], field: str = "alignment") -> Iterator[tuple[str, float, float]]:
    """Each character with its times in the whole of the messages' audio."""
    from_s = 0.0
    for message in messages:
        alignment = message.get(field)
        if alignment is not None:
            lists = (alignment["chars"], alignment["charStartTimesMs"], alignment["charDurationsMs"])
            for char, start_ms, duration_ms in zip(*lists, strict=True):
                yield char, from_s + start_ms / 1000, from_s + (start_ms + duration_ms) / 1000
        from_s += len(audio_of(message)) / 8000


@pytest.mark.parametrize("sync_alignment", ["true", "false"])
@pytest.mark.parametrize("text", [TEXT, "Hello  there,\nhow are you?  "])
@pytest.mark.parametrize("chunk_bytes", [(1777, 3200, 641), (160,)])
async def test_characters_lie_where_their_words_sound(
    autojump_clock: None, sync_alignment: str, text: str, chunk_bytes: tuple[int, ...]
) -> None:
    simulator = ElevenLabsSimulator(policies=[ElevenLabsPolicy(chunk_bytes=chunk_bytes)])
    async with calling(simulator, {"sync_alignment": sync_alignment}) as client:
        await client.begin("a")
        await client.tell(text=text, context_id="a", flush=True)
        await trio.sleep(5)
    audible = [message for message in client.messages("a") if message.get("audio")]
    aligned = [message["alignment"] is not None for message in audible]
    if sync_alignment == "false":
        assert aligned == [True, *[False] * (len(audible) - 1)]
    else:
        assert sum(aligned) > 1
    characters = list(times(audible))
    assert "".join(char for char, _, _ in characters) == text
    places = [match.start() for match in re.finditer(r"\S+", text)]
    for at, word in zip(places, tone.heard(client.audio("a")), strict=True):
        own = characters[at : at + len(word.text)]
        assert own[0][1] == pytest.approx(word.start_s, abs=0.0011)
        assert own[-1][2] == pytest.approx(word.end_s, abs=0.0011)
        assert "".join(char for char, _, _ in own) == word.text
    assert [end for _, _, end in characters] == sorted(end for _, _, end in characters)
    assert "".join(char for char, _, _ in times(audible, "normalizedAlignment")) == f" {text}"


async def test_alignment_and_audio_may_be_missing(autojump_clock: None) -> None:
    policy = ElevenLabsPolicy(alignment=False, null_audio=True)
    async with calling(ElevenLabsSimulator(policies=[policy])) as client:
        await client.begin("a")
        await client.tell(text=TEXT, context_id="a", flush=True)
        await trio.sleep(5)
    assert {message["alignment"] for message in client.messages()} == {None}
    assert client.messages()[1]["audio"] is None
    assert client.words() == TEXT.split()


async def test_audio_comes_as_late_as_fast_and_in_such_pieces_as_the_policy_says(autojump_clock: None) -> None:
    policy = ElevenLabsPolicy(first_audio_s=0.3, pace=4, chunk_bytes=(800, 333))
    async with calling(ElevenLabsSimulator(policies=[policy])) as client:
        await client.begin("a")
        asked_at = trio.current_time()
        await client.tell(text="one two three four five six ", context_id="a")
        await trio.sleep(5)
    sizes = [len(audio_of(message)) for message in client.messages()]
    assert sizes[:4] == [800, 333, 800, 333]
    due = [asked_at + 0.3 + sum(sizes[:count]) / 8000 / 4 for count in range(len(sizes))]
    assert [at for at, _ in client.heard] == pytest.approx(due, abs=1e-3)


async def test_a_word_of_any_length_is_spoken(autojump_clock: None) -> None:
    word = "Donaudampfschifffahrt" * 6
    async with calling(ElevenLabsSimulator()) as client:
        await client.begin("a")
        await client.tell(text=f"Eine {word} 😀 ", context_id="a")
        await trio.sleep(5)
    heard = client.words()
    assert heard[0] == "Eine"
    assert "".join(heard[1:-1]) == word
    assert heard[-1] == "😀"


# ── buffering ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_auto_mode_text_waits_until_the_schedule_is_filled(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, {"auto_mode": "false"}) as client:
        await client.tell(text=" ", context_id="a", generation_config={"chunk_length_schedule": [50, 100]})
        for _ in range(30):
            await client.tell(text="123456789 ", context_id="a")
            await trio.sleep(1)
        [context] = simulator.speakings[0].contexts
        assert [len(text) for text in context.spoken] == [50, 100, 100]
        await client.tell(context_id="a", flush=True)
        await trio.sleep(1)
        assert [len(text) for text in context.spoken] == [50, 100, 100, 50]
    assert simulator.violations == []


async def test_a_word_that_is_not_all_there_waits_for_its_end(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, {"auto_mode": "false"}) as client:
        await client.tell(text=" ", context_id="a", generation_config={"chunk_length_schedule": [50]})
        await client.tell(text="123456789 " * 5 + "appoint", context_id="a")
        await client.tell(text="ment ", context_id="a", flush=True)
        await trio.sleep(1)
    assert simulator.spoken == ["123456789 " * 5, "appointment "]


async def test_what_no_generation_has_taken_is_lost_when_a_context_is_closed(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, {"auto_mode": "false"}) as client:
        await client.begin("a")
        await client.tell(text="One. ", context_id="a")
        await client.tell(context_id="a", close_context=True)
        await client.tell(close_socket=True)
        assert await client.code() == (1000, None)
    assert simulator.spoken == []
    assert client.finals() == ["a"]


async def test_with_auto_mode_each_text_is_spoken_at_once(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.begin("a")
        await client.tell(text="One. ", context_id="a")
        await client.tell(text="Two. ", context_id="a")
        await trio.sleep(1)
    assert simulator.spoken == ["One. ", "Two. "]


async def test_contexts_speak_side_by_side(autojump_clock: None) -> None:
    async with calling(ElevenLabsSimulator(policies=[ElevenLabsPolicy(pace=1)])) as client:
        await client.begin("a", "b")
        await client.tell(text="one two three four ", context_id="a")
        await client.tell(text="five six seven eight ", context_id="b")
        await trio.sleep(5)
    assert client.words("a") == ["one", "two", "three", "four"]
    assert client.words("b") == ["five", "six", "seven", "eight"]
    names = [message["contextId"] for message in client.messages()]
    assert len(list(itertools.groupby(names))) > 2


# ── how contexts and sockets end ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("residual", "messages"), [(0, 3), (2, 5)])
async def test_a_cancelled_context_sends_a_little_more_and_then_its_final(
    autojump_clock: None, residual: int, messages: int
) -> None:
    policy = ElevenLabsPolicy(residual_messages=residual, chunk_bytes=(800,), first_audio_s=0.1, pace=1)
    async with calling(ElevenLabsSimulator(policies=[policy])) as client:
        await client.begin("a")
        await client.tell(text=TEXT * 3, context_id="a")
        await trio.sleep(0.35)
        await client.tell(context_id="a", close_context=True)
        await trio.sleep(5)
    assert len(client.messages()) == messages + 1
    assert client.finals() == ["a"]


async def test_a_context_may_be_named_again_when_it_is_over_and_not_before(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.begin("a")
        await client.tell(text=TEXT, context_id="a", flush=True)
        await client.tell(context_id="a", close_context=True)
        await client.tell(text="More. ", context_id="a")
        await trio.sleep(5)
        assert why(simulator) == ["a message for the context 'a', which is closed and not over"]
        await client.begin("a")
        await client.tell(text="Again. ", context_id="a")
        await trio.sleep(1)
    assert simulator.spoken == [TEXT, "Again. "]


async def test_the_sixth_context_closes_the_whole_socket(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.begin("a", "b", "c", "d", "e")
        await trio.sleep(1)
        assert simulator.speakings[0].open_contexts == 5
        assert simulator.violations == []
        await client.begin("f")
        assert await client.failed() == "max_active_conversations"
    assert len(simulator.violations) == 1


async def test_a_context_that_is_closed_counts_until_its_final(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator(policies=[ElevenLabsPolicy(final_late_s=0.5)])
    async with calling(simulator) as client:
        await client.begin("a", "b", "c", "d", "e")
        await client.tell(context_id="a", close_context=True)
        await trio.sleep(1)
        assert client.finals() == ["a"]
        await client.begin("f")
        await client.tell(context_id="b", close_context=True)
        await client.begin("g")
        assert await client.failed() == "max_active_conversations"


async def test_close_socket_speaks_what_is_left_and_closes(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, {"auto_mode": "false"}) as client:
        await client.begin("a", "b")
        await client.tell(text="One. ", context_id="a")
        await client.tell(text="Two. ", context_id="b")
        await client.tell(close_socket=True)
        assert await client.code() == (1000, None)
    assert sorted(client.words()) == ["One.", "Two."]
    assert sorted(client.finals()) == ["a", "b"]
    assert simulator.violations == []


async def test_close_socket_without_a_context_closes_at_once(autojump_clock: None) -> None:
    async with calling(ElevenLabsSimulator()) as client:
        await client.tell(close_socket=True)
        assert await client.code() == (1000, None)


@pytest.mark.parametrize("timeout_s", [None, 3, 180])
async def test_an_idle_socket_is_told_so_and_closed(autojump_clock: None, timeout_s: int | None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, {} if timeout_s is None else {"inactivity_timeout": str(timeout_s)}) as client:
        opened_at = trio.current_time()
        assert await client.failed() == "input_timeout_exceeded"
        assert trio.current_time() - opened_at == pytest.approx(timeout_s or 20, abs=0.1)
    assert len(simulator.violations) == 1


async def test_an_idle_context_ends_and_a_kept_one_does_not(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.begin("a", "b")
        for _ in range(6):
            await trio.sleep(10)
            await client.tell(text="", context_id="b")
        assert client.finals() == ["a"]
        for _ in range(3):
            await trio.sleep(10)
            await client.tell(text="")  # keeps the socket, and no context
        assert client.finals() == ["a", "b"]
        assert not client.closed.is_set()
    assert simulator.violations == []


# ── the single-context socket ─────────────────────────────────────────────────────────────────────────────────────────


async def test_an_empty_text_ends_a_single_context(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, {"auto_mode": "false"}, kind="stream-input") as client:
        await client.tell(text=" ", voice_settings=SETTINGS)
        await client.tell(text="Hello there. ")
        await client.tell(text="How are you? ")
        await client.tell(text="")
        assert await client.code() == (1000, None)
    assert client.words() == ["Hello", "there.", "How", "are", "you?"]
    final = {"audio": None, "isFinal": True, "alignment": None, "normalizedAlignment": None}
    assert client.messages()[-1] == final
    assert simulator.violations == []


async def test_a_space_keeps_a_single_context_and_nothing_more(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, kind="stream-input") as client:
        for _ in range(5):
            await client.tell(text=" ")
            await trio.sleep(15)
        assert client.heard == []
        assert not client.closed.is_set()
    assert simulator.violations == []


async def test_a_trigger_speaks_less_than_the_schedule_wants_but_not_too_little(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, {"auto_mode": "false"}, kind="stream-input") as client:
        await client.tell(text=" ")
        await client.tell(text="123456789 " * 4, try_trigger_generation=True)
        await trio.sleep(1)
        assert simulator.spoken == []
        await client.tell(text="123456789 ", try_trigger_generation=True)
        await trio.sleep(1)
    assert [len(text) for text in simulator.spoken] == [50]


@pytest.mark.parametrize(
    "messages",
    [
        [{"text": "Hello "}],
        [{"text": ""}],
        [{"text": " "}, {"text": "Hello ", "voice_settings": SETTINGS}],
        [{"text": " ", "voice_settings": SETTINGS}, {"text": " ", "voice_settings": SETTINGS}],
        [{"text": " "}, {"flush": True}],
        [{"text": " "}, {"text": "Hello ", "context_id": "a"}],
        [{"text": " "}, {"close_socket": True}],
    ],
    ids=str,
)
async def test_a_single_context_refuses_what_it_does_not_take(
    autojump_clock: None, messages: list[dict[str, Any]]
) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator, kind="stream-input") as client:
        for message in messages:
            await client.tell(**message)
        assert await client.failed() == "invalid_input_message"
    assert len(simulator.violations) == 1


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "messages",
    [
        [{"text": "Hello ", "context_id": "a"}],
        [{"text": "Hello ", "context_id": "a", "voice_settings": SETTINGS}],
        [{"text": " ", "context_id": "a"}, {"text": "Hello ", "context_id": "b"}],
        [{"text": " ", "context_id": "a"}, {"text": "Hi ", "context_id": "a", "voice_settings": SETTINGS}],
        [{"text": " ", "context_id": "a", "voice_settings": SETTINGS}] * 2,
        [{"text": " ", "context_id": 7}],
        [{"text": 7, "context_id": "a"}],
        [{"text": " ", "context_id": "a", "voice": "b"}],
        [{"text": " ", "context_id": "a", "voice_settings": {"stability": 2}}],
        [{"text": " ", "context_id": "a", "voice_settings": {"stability": True}}],
        [{"text": " ", "context_id": "a", "voice_settings": {"loudness": 1}}],
        [{"text": " ", "context_id": "a", "generation_config": {"chunk_length_schedule": [49]}}],
        [{"text": " ", "context_id": "a", "generation_config": {"chunk_length_schedule": []}}],
        [{"context_id": "a"}],
        [{"context_id": "a", "flush": "true"}],
        [{"context_id": "a", "close_context": False}],
        [{"text": " ", "context_id": "a", "try_trigger_generation": True}],
        [{}],
    ],
    ids=str,
)
async def test_a_message_that_is_not_allowed_closes_the_socket(
    autojump_clock: None, messages: list[dict[str, Any]]
) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        for message in messages:
            await client.tell(**message)
        assert await client.failed() == "invalid_input_message"
    assert len(simulator.violations) == 1


@pytest.mark.parametrize(
    "message", ["", "hello", "[]", "null", b"{}", b"", '{"a":' * 9999, '{"text":"\\ud800"}'], ids=repr
)
async def test_what_is_no_message_closes_the_socket(autojump_clock: None, message: str | bytes) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.socket.send_message(message)
        assert await client.failed() == "invalid_input_message"
    assert len(simulator.violations) == 1


async def test_a_context_kept_alive_before_it_began_cannot_have_settings_any_more(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.tell(text="", context_id="a")
        await client.begin("a")
        assert await client.failed() == "invalid_input_message"
    assert len(simulator.violations) == 2


@pytest.mark.parametrize(
    ("message", "blame"),
    [
        ({"text": "Hello", "context_id": "a"}, "a text without a space at its end: 'Hello'"),
        ({"context_id": "b", "flush": True}, "a flush of the context 'b', which is not open"),
    ],
)
async def test_what_the_vendor_bears_is_a_violation_all_the_same(
    autojump_clock: None, message: dict[str, Any], blame: str
) -> None:
    simulator = ElevenLabsSimulator()
    async with calling(simulator) as client:
        await client.begin("a")
        await client.tell(**message)
        await trio.sleep(1)
        assert not client.closed.is_set()
    assert why(simulator) == [blame]


async def refused(
    simulator: ElevenLabsSimulator, options: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    with pytest.raises(ExceptionGroup) as caught:
        async with calling(simulator, options, headers=headers):
            pass
    [error] = caught.value.exceptions
    assert isinstance(error, trio_websocket.ConnectionRejected)
    assert error.body is not None
    return error.status_code, json.loads(error.body)["detail"]["status"]


KEYED = ElevenLabsPolicy(keys=frozenset({"key"}), tokens=frozenset({"token"}))


async def test_a_wrong_key_is_refused_with_401(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator(policies=[KEYED])
    assert await refused(simulator, headers={"xi-api-key": "wrong"}) == (401, "invalid_api_key")
    assert await refused(simulator, {"authorization": "wrong"}, {"user-agent": "me"}) == (401, "invalid_api_key")
    assert len(simulator.violations) == 2


async def test_a_wrong_key_may_be_refused_after_the_handshake_too(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator(policies=[attrs.evolve(KEYED, refuses_late=True)])
    async with calling(simulator, headers={"xi-api-key": "wrong"}) as client:
        await client.begin("a")
        assert await client.failed() == "invalid_api_key"


@pytest.mark.parametrize(
    ("options", "first", "is_good"),
    [
        ({}, {"xi-api-key": "key"}, True),
        ({}, {"xi_api_key": "key"}, True),
        ({}, {"authorization": "token"}, True),
        ({"single_use_token": "token"}, {}, True),
        ({}, {}, False),
        ({}, {"xi_api_key": "wrong"}, False),
    ],
    ids=str,
)
async def test_a_key_may_come_in_the_url_or_in_the_first_message(
    autojump_clock: None, options: dict[str, str], first: dict[str, str], *, is_good: bool
) -> None:
    simulator = ElevenLabsSimulator(policies=[KEYED])
    async with calling(simulator, options, headers={"user-agent": "me"}) as client:
        await client.tell(text=" ", context_id="a", **first)
        await client.tell(text="Hello. ", context_id="a")
        if not is_good:
            assert await client.failed() == "invalid_api_key"
        await trio.sleep(1)
    assert (client.words() == ["Hello."]) is is_good
    assert (simulator.violations == []) is is_good


@pytest.mark.parametrize(
    "options",
    [
        {"output_format": "mp3_44100_128"},
        {"output_format": "ulaw_16000"},
        {"inactivity_timeout": "181"},
        {"inactivity_timeout": "0"},
        {"auto_mode": "1"},
        {"auto_mod": "true"},
        {"language_code": "English"},
        {"optimize_streaming_latency": "3"},
    ],
    ids=str,
)
async def test_a_bad_parameter_is_refused_with_400(autojump_clock: None, options: dict[str, str]) -> None:
    simulator = ElevenLabsSimulator()
    assert (await refused(simulator, options))[0] == 400
    assert len(simulator.violations) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [({"model_id": "eleven_v3"}, "unsupported_model"), ({"model_id": "eleven_flash"}, "model_not_found")],
)
async def test_a_model_that_there_is_not_is_told_on_the_open_socket(
    autojump_clock: None, options: dict[str, str], error: str
) -> None:
    async with calling(ElevenLabsSimulator(), options) as client:
        assert await client.failed() == error


async def test_a_voice_that_there_is_not_is_told_on_the_open_socket(autojump_clock: None) -> None:
    async with calling(ElevenLabsSimulator(policies=[ElevenLabsPolicy(voices=frozenset({"other"}))])) as client:
        assert await client.failed() == "voice_not_found"


async def test_when_the_credits_are_spent_the_socket_is_closed(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator(policies=[ElevenLabsPolicy(credits=8)])
    async with calling(simulator) as client:
        await client.begin("a")
        await client.tell(text="One. ", context_id="a")
        await trio.sleep(1)
        await client.tell(text="Two. ", context_id="a")
        assert await client.failed() == "quota_exceeded"
    assert client.words() == ["One."]
    assert simulator.violations == []


@pytest.mark.parametrize(
    ("refuse", "code"),
    [
        (Refuse(status=401, code="quota_exceeded"), "quota_exceeded"),
        (Refuse(status=403), "only_for_creator+"),
        (Refuse(status=429), "too_many_concurrent_requests"),
        (Refuse(status=429, code="system_busy"), "system_busy"),
        (Refuse(status=500), "something_went_wrong"),
    ],
)
async def test_a_refusal_that_was_told_is_no_fault_of_the_clients(
    autojump_clock: None, refuse: Refuse, code: str
) -> None:
    simulator = ElevenLabsSimulator(policies=[ElevenLabsPolicy(refuse=refuse), ElevenLabsPolicy()])
    assert await refused(simulator) == (refuse.status, code)
    async with calling(simulator):  # the next connection has the next policy
        pass
    assert simulator.violations == []


# ── what goes wrong when it is told to ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fault", "heard"),
    [
        (Close(after_messages=2, code=1011, reason="oops"), 2),
        (Close(after_messages=2, code=1006), 2),
        (Stall(after_messages=2), 2),
        (Garble(after_messages=2, message='{"audio":"*"}'), None),
    ],
    ids=str,
)
async def test_a_fault_comes_in_the_middle_of_a_sentence(autojump_clock: None, fault: Fault, heard: int | None) -> None:
    simulator = ElevenLabsSimulator(policies=[ElevenLabsPolicy(faults=(fault,))])
    async with calling(simulator) as client:
        await client.begin("a")
        await client.tell(text=TEXT, context_id="a")
        await trio.sleep(10)
        if heard is None:
            assert client.messages()[2] == {"audio": "*"}
        else:
            assert len(client.heard) == heard
        assert client.closed.is_set() is isinstance(fault, Close)
    assert simulator.violations == []


async def test_what_is_strange_comes_when_told(autojump_clock: None) -> None:
    async with calling(ElevenLabsSimulator(policies=[ElevenLabsPolicy(strange=True)])) as client:
        await client.begin("a")
        await client.tell(text=TEXT, context_id="a", flush=True)
        await client.tell(context_id="a", close_context=True)
        await trio.sleep(5)
    assert {"weather": "fine"} in client.messages()
    assert all("mood" in message for message in client.messages("a"))
    assert client.words("a") == TEXT.split()


# ── HTTP, and the vendor's own SDK ────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def sdk(simulator: ElevenLabsSimulator, key: str = "key") -> AsyncIterator[ElevenLabs]:
    async with simulator.serving() as url:
        yield ElevenLabs(api_key=key, base_url=url.replace("ws", "http", 1))


async def test_the_sdk_streams_speech_by_http() -> None:
    simulator = ElevenLabsSimulator(policies=[QUICK])
    async with sdk(simulator) as client:

        def speak() -> bytes:
            settings = VoiceSettings(stability=0.5)
            return b"".join(
                client.text_to_speech.stream(
                    "voice", text=TEXT, model_id="eleven_flash_v2_5", output_format="ulaw_8000", voice_settings=settings
                )
            )

        audio = await trio.to_thread.run_sync(speak)
        models = await trio.to_thread.run_sync(client.models.list)
    assert [word.text for word in tone.heard(audio)] == TEXT.split()
    assert "eleven_flash_v2_5" in {model.model_id for model in models}
    assert simulator.requests == [TEXT]
    assert simulator.spent == len(TEXT)
    assert simulator.violations == []


@pytest.mark.parametrize(
    ("policy", "request_", "status", "detail"),
    [
        (KEYED, {"api_key": "wrong"}, 401, "invalid_api_key"),
        (ElevenLabsPolicy(credits=3), {}, 401, "quota_exceeded"),
        (ElevenLabsPolicy(concurrency=0), {}, 429, "too_many_concurrent_requests"),
        (ElevenLabsPolicy(refuse=Refuse(status=429, code="system_busy")), {}, 429, "system_busy"),
        (ElevenLabsPolicy(voices=frozenset()), {}, 404, "voice_not_found"),
        (ElevenLabsPolicy(), {"model_id": "eleven_flash"}, 400, "model_not_found"),
        (ElevenLabsPolicy(), {"text": "x" * 10_001}, 400, "max_character_limit_exceeded"),
        (ElevenLabsPolicy(), {"output_format": "mp3_1_1"}, 400, "invalid_output_format"),
        (ElevenLabsPolicy(), {"text": ""}, 422, ["body", "text"]),
        (ElevenLabsPolicy(), {"seed": "seven"}, 422, ["body", "seed"]),
    ],
    ids=str,
)
async def test_the_sdk_is_told_what_is_wrong_with_its_request(
    policy: ElevenLabsPolicy, request_: dict[str, Any], status: int, detail: object
) -> None:
    simulator = ElevenLabsSimulator(policies=[attrs.evolve(policy, handshake_s=0)])
    wanted = {"text": TEXT, "model_id": "eleven_multilingual_v2", "output_format": "ulaw_8000", **request_}
    async with sdk(simulator, wanted.pop("api_key", "key")) as client:
        stream = partial(client.text_to_speech.stream, "voice", **wanted, request_options={"max_retries": 0})
        with pytest.raises(ApiError) as caught:
            await trio.to_thread.run_sync(lambda: list(stream()))
    assert caught.value.status_code == status
    assert caught.value.body is not None
    problem = caught.value.body["detail"]
    assert (problem[0]["loc"] if isinstance(problem, list) else problem["status"]) == detail


@pytest.mark.filterwarnings("ignore:ConnectionClosed.code is deprecated")
async def test_the_sdks_realtime_stream_is_let_in_and_served() -> None:
    simulator = ElevenLabsSimulator(policies=[attrs.evolve(QUICK, keys=frozenset({"key"}))])
    async with sdk(simulator) as client:
        client.text_to_speech._ws_base_url = client.text_to_speech._ws_base_url.replace("wss", "ws", 1)

        def speak() -> bytes:
            return b"".join(
                client.text_to_speech.convert_realtime(
                    "voice",
                    text=iter(TEXT.split(" ")),
                    model_id="eleven_flash_v2_5",
                    output_format="ulaw_8000",
                    voice_settings=VoiceSettings(stability=0.5, similarity_boost=0.5),
                )
            )

        audio = await trio.to_thread.run_sync(speak)
    heard = "".join(word.text for word in tone.heard(audio))
    assert heard == "".join(TEXT.split())
    assert simulator.violations == []


async def test_the_sdks_models_fill_a_socket_of_many_contexts(autojump_clock: None) -> None:
    simulator = ElevenLabsSimulator()
    settings = RealtimeVoiceSettings(stability=0.5, similarity_boost=0.8)
    schedule = GenerationConfig(chunk_length_schedule=[120, 160])
    said = [
        InitializeConnectionMulti(context_id="a", voice_settings=settings, generation_config=schedule),
        SendTextMulti(text="Hello there. ", context_id="a"),
        FlushContext(context_id="a", text="How are you? ", flush=True),
        InitialiseContext(text="One moment. ", context_id="b", voice_settings=settings),
        KeepContextAlive(context_id="b"),
        CloseContext(context_id="a", close_context=True),
        CloseSocket(close_socket=True),
    ]
    async with calling(simulator, {"auto_mode": "false"}) as client:
        for each in said:
            await client.socket.send_message(each.json(by_alias=True, exclude_none=True))
        assert await client.code() == (1000, None)
    union: Any = ReceiveMessageMulti
    parsed: list[AudioOutputMulti | FinalOutputMulti] = [
        construct_type(type_=union, object_=each) for each in client.messages()
    ]
    audio = [each for each in parsed if isinstance(each, AudioOutputMulti)]
    finals = [each for each in parsed if isinstance(each, FinalOutputMulti)]
    assert {each.context_id for each in audio} == {"a", "b"}
    assert sorted(str(each.context_id) for each in finals) == ["a", "b"]
    first = next(each for each in audio if each.context_id == "a")
    assert first.alignment is not None
    assert "".join(first.alignment.chars or []) == "Hello there. How are you? "
    assert client.words("a") == ["Hello", "there.", "How", "are", "you?"]
    assert client.words("b") == ["One", "moment."]
    assert simulator.violations == []
