"""Vendors' messages, mangled, on the sockets of a call that is under way: Deepgram's two and ElevenLabs'.

The vendor is its strict simulator over a stream in memory; what is broken is sent between its own messages, as they
are, by the connection's own hand. A session may die of it by a ProviderError; then the next call is the victim's.
"""

import base64
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import attrs
import trio
import trio_websocket

from engine.providers.contract import Recogniser
from engine.providers.deepgram import DeepgramRecogniser, FluxRecogniser
from engine.providers.elevenlabs.voice import ElevenLabsVoice
from engine.providers.socket import Address, Dial
from engine.reception import Team
from engine.settings import Tenant
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator, FluxListening, FluxPolicy, Listening
from simulators.elevenlabs import ElevenLabsPolicy, ElevenLabsSimulator, Speaking
from simulators.virtual.vendors import VirtualModel
from simulators.websocket import Conversation
from tests.fuzz.forms import LONGEST_OF_DEEPGRAM, Verdict, of_deepgram, of_elevenlabs, of_flux
from tests.fuzz.mangling import Mangled, mangled
from tests.fuzz.rig import Desk, Line, Tally, is_named, new_sid, team, until

MESSAGES_A_CALL: Final = 40
LIES: Final = 0.3
"""Of the messages to a vendor of whom lies are known."""

# WebSocket frames as a server sends them, and what is wrong with each (RFC 6455, sections 5 and 8.1).
FRAMES: Final[dict[str, bytes]] = {
    "frame: invalid UTF-8": b"\x81\x04\xff\xfe\xc0\x80",
    "frame: half a character": b"\x81\x02{\xc3",
    "frame: reserved bit": b"\xc1\x02{}",
    "frame: reserved opcode": b"\x83\x02{}",
    "frame: masked by a server": b"\x81\x82\x01\x02\x03\x04\x7a\x7f",
    "frame: long ping": b"\x89\x7e\x00\x80" + b"x" * 128,
    "frame: part of nothing": b"\x80\x02{}",
    "frame: text within text": b"\x01\x01{\x81\x01}",
    "frame: half a ping": b"\x09\x01x",
    "frame: length of 2**63": b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
    "frame: close with one byte": b"\x88\x01\x03",
    "frame: close with code 1005": b"\x88\x02\x03\xed",
    "frame: close with code 999": b"\x88\x02\x03\xe7",
    "frame: close with broken text": b"\x88\x04\x03\xf3\xff\xff",
    "frame: not a frame": b"HTTP/1.1 500 Oops\r\n\r\n",
    "frame: too long a message": b"\x81\x7f\x00\x00\x00\x00\x00\x80\x00\x00" + b" " * 0x80_0000,
}


@attrs.frozen(kw_only=True)
class Attack:
    """A vendor under attack.

    wire: its name in the tally. vendor: its name in the configuration.
    whole: a sound message, in the dice's choice, for now. lies: messages in good form that cannot be true, by name.
    verdict: what may become of a message that is sent next. conversation: its socket, if there is one.
    stir: has the caller do something, so that there is one.
    """

    wire: str
    vendor: str
    whole: Callable[[random.Random], str]
    verdict: Callable[[str | bytes], Verdict]
    conversation: Callable[[], Conversation | None]
    stir: Callable[[Line], Awaitable[None]]
    lies: Mapping[str, Callable[[random.Random], str]] = attrs.field(factory=dict)


class Victim(Protocol):
    """A call that a vendor serves, over a stream in memory."""

    def team(self, tenant: Tenant) -> Team:
        """Return who serves it."""

    def attack(self) -> Attack:
        """Return how it is attacked."""


async def on_sockets(desk: Desk, tally: Tally, dice: random.Random, attack: Attack, total: int) -> None:
    """Send so many broken messages, some dozens a call."""
    sent = 0
    while sent < total:
        line = Line(call_sid=new_sid())
        before = desk.eyes.counters()
        ended = 0
        async with desk.calling(line):
            for _ in range(min(MESSAGES_A_CALL, total - sent)):
                await attack.stir(line)
                conversation = attack.conversation()
                assert conversation is not None, "the vendor has no socket, though it was stirred"
                sent += 1
                verdict, has_ended = await _send(desk, tally, dice, attack, conversation)
                ended += has_ended
                if has_ended:
                    await trio.sleep(1.0)  # it connects again
                if has_ended or verdict is Verdict.EITHER:  # what comes after a lie is not to be judged
                    break
        counted = desk.eyes.counters() - before
        failures = _failures(counted, attack.vendor)
        if failures > ended + 1:  # one more may come of a lie
            desk.disturbed(f"{attack.vendor} of {line.call_sid} failed {failures} times, {ended} of them wanted")


def _failures(counted: Counter[str], vendor: str) -> int:
    return sum(count for name, count in counted.items() if name.startswith(f"vendor_failures {vendor} "))


async def _send(
    desk: Desk, tally: Tally, dice: random.Random, attack: Attack, conversation: Conversation
) -> tuple[Verdict, bool]:
    """Send something broken; return what it is, and whether the session ended."""
    eyes, wire_name = desk.eyes, attack.wire
    before = eyes.counters()
    eyes.logs.clear()
    if dice.random() < 0.02:
        how = dice.choice(list(FRAMES))
        broken, verdict = Mangled(how, FRAMES[how]), Verdict.ENDS
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await conversation.connection._stream.send_all(FRAMES[how])
    else:
        lie = dice.choice(list(attack.lies)) if attack.lies and dice.random() < LIES else ""
        broken = Mangled(lie, attack.lies[lie](dice)) if lie else mangled(attack.whole(dice), dice)
        too_long = attack.vendor == "deepgram" and len(broken.message) > LONGEST_OF_DEEPGRAM
        verdict = Verdict.ENDS if too_long else attack.verdict(broken.message)
        with suppress(trio_websocket.ConnectionClosed):
            await conversation.connection.send_message(broken.message)
    await trio.sleep(0.001)
    counted = eyes.counters() - before
    named = [line["why"] for line in eyes.said("bad_message")]
    bad = counted.pop(f"bad_messages {attack.vendor}", 0)
    ends = _failures(counted, attack.vendor)
    reasons = [line["reason"] for line in eyes.said("child_failed") if line["child"] == "session"]
    tally.add(wire_name, broken.how, counted=bad + ends, named=(named or reasons or [""])[0])
    allowed = {Verdict.SOUND: (0, 0), Verdict.BROKEN: (1, 0), Verdict.ENDS: (0, 1)}
    if verdict is Verdict.EITHER:
        if bad + ends > 1:
            tally.complain(wire_name, broken, f"counted {bad} times, and ended {ends} sessions")
    elif (bad, ends) != allowed[verdict]:
        tally.complain(wire_name, broken, f"counted {bad} times, and ended {ends} sessions; it is {verdict.name}")
    others = [name for name in counted if not name.startswith((f"vendor_failures {attack.vendor} ", "restarts "))]
    if others or (not ends and any(name.startswith("restarts ") for name in counted)):
        tally.complain(wire_name, broken, f"counted too: {dict(counted)}")
    if len(named) > bad or not all(map(is_named, named)):
        tally.complain(wire_name, broken, f"named {named}")
    for line in eyes.said("step_raised", "line_failed", "actor_stalled", "gave_up", "message_set_aside"):
        tally.complain(wire_name, broken, f"logged {line}")
    return verdict, bool(ends)


# ── Deepgram ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class DeepgramVictim:
    """A call that Deepgram hears."""

    nursery: trio.Nursery
    simulator: DeepgramSimulator = attrs.field(factory=DeepgramSimulator)

    def team(self, tenant: Tenant) -> Team:
        """Return who serves it."""

        async def dial(_address: Address) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return self.simulator.connect(self.nursery)

        return team(tenant, recogniser=self._recogniser(dial))

    def _recogniser(self, dial: Dial) -> Recogniser:
        return DeepgramRecogniser(base_url="ws://deepgram.test", api_key="secret", dial=dial)

    @property
    def listening(self) -> Listening | None:
        """The stream that is open."""
        last = self.simulator.listenings[-1] if self.simulator.listenings else None
        return last if last is not None and last.verdict is None else None

    def attack(self) -> Attack:
        """Return how it is attacked."""
        return Attack(
            wire="deepgram",
            vendor="deepgram",
            whole=self._whole,
            verdict=lambda message: of_deepgram(message, self._sent_s()),
            conversation=lambda: None if self.listening is None else self.listening.conversation,
            stir=self._stir,
        )

    def _sent_s(self) -> float:
        return 0.0 if self.listening is None else self.listening.audio_bytes / 8000

    async def _stir(self, line: Line) -> None:
        await until(lambda: self.listening is not None and self._sent_s() >= 1.0, 10.0)
        if not line.speaking and round(line.now_s()) % 5 == 0:
            line.say(["so"])
        await trio.sleep(0.02)

    def _whole(self, dice: random.Random) -> str:
        """Return a message of one kind or another, about audio that was heard."""
        until_s = max(0.2, self._sent_s() - 0.5)
        start_s = max(0.0, until_s - 1.0)
        words = [
            {"word": "so", "start": start_s, "end": start_s + 0.1, "confidence": 0.98, "punctuated_word": "So,"},
            {"word": "be", "start": start_s + 0.2, "end": until_s, "confidence": 0.9, "punctuated_word": "be."},
        ]
        results = {
            "type": "Results",
            "channel_index": [0, 1],
            "duration": until_s - start_s,
            "start": start_s,
            "is_final": dice.random() < 0.5,
            "speech_final": False,
            "channel": {"alternatives": [{"transcript": "So, be.", "confidence": 0.95, "words": words}]},
            "metadata": {
                "request_id": "r",
                "model_info": {"name": "n", "version": "v", "arch": "a"},
                "model_uuid": "u",
            },
            "from_finalize": False,
        }
        others: tuple[dict[str, Any], ...] = (
            {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": until_s},
            {"type": "SpeechStarted", "channel": [0, 1], "timestamp": until_s},
            {"type": "Metadata", "request_id": "r", "duration": until_s, "channels": 1, "models": ["u"]},
            {"type": "Error", "variant": "SchemaError", "description": "d", "message": "{}"},
            {"type": "ConfigureFailure", "request_id": "r", "code": "CONFIGURE_ALREADY_PENDING", "description": "d"},
        )
        return json.dumps(dice.choice((results, results, results, *others)))


# ── Deepgram Flux ─────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class FluxVictim(DeepgramVictim):
    """A call that Flux hears. What it is told is the vendor's own word: the simulator goes on at that turn and number.

    The simulator tells at once what it has to tell: what is under way would be of the turn before.
    """

    simulator: DeepgramSimulator = attrs.field(
        factory=lambda: DeepgramSimulator(policies=(DeepgramPolicy(flux=FluxPolicy(late_s=0.0)),))
    )
    # The stream, and the number that the simulator sends next, if it is all the same to the client which.
    _unsure: tuple[FluxListening, int] | None = None

    def _recogniser(self, dial: Dial) -> Recogniser:
        return FluxRecogniser(base_url="ws://deepgram.test", api_key="secret", dial=dial)

    def attack(self) -> Attack:
        """Return how it is attacked."""
        return attrs.evolve(super().attack(), wire="deepgram flux", verdict=self._verdict, lies=self._lies())

    @property
    def _flux(self) -> FluxListening:
        assert isinstance(self.listening, FluxListening), "the stream is not open, or not of Flux"
        return self.listening

    def _verdict(self, message: str | bytes) -> Verdict:
        flux = self._flux
        number = None if self._unsure == (flux, flux._next_number) else flux._next_number
        told = of_flux(message, self._sent_s(), flux._taker.turn, number)
        flux._taker.turn = told.turn
        if told.number is not None:
            flux._next_number = told.number
        self._unsure = (flux, flux._next_number) if told.number is None else None
        return told.verdict

    def _whole(self, dice: random.Random) -> str:
        """Return a message of one kind or another; a TurnInfo is of any event, whatever came before it."""
        event = dice.choice(("StartOfTurn", "Update", "Update", "EagerEndOfTurn", "TurnResumed", "EndOfTurn"))
        info = self._info(event, trigger="model") if event == "EndOfTurn" else self._info(event)
        rest = {"request_id": "r", "sequence_id": self._flux._next_number}
        thresholds = {"eager_eot_threshold": 0.5, "eot_threshold": 0.8, "eot_timeout_ms": 4000}
        others: tuple[dict[str, Any], ...] = (
            {"type": "Connected", **rest},
            {"type": "ConfigureSuccess", **rest, "thresholds": thresholds, "keyterms": ["so"], "numerals": True},
            {"type": "ConfigureFailure", **rest, "code": "CONFIGURE_ALREADY_PENDING", "description": "d"},
            {"type": "Warning", **rest, "code": "SOON", "description": "d"},
            {"type": "Error", "sequence_id": rest["sequence_id"], "code": "INTERNAL_SERVER_ERROR", "description": "d"},
        )
        return json.dumps(dice.choice((*[info] * 12, *others)))

    def _info(self, event: str, **changed: Any) -> dict[str, Any]:
        """A TurnInfo of the present turn, about audio that was heard."""
        end_s = max(0.2, self._sent_s() - 0.5)
        start_s = max(0.0, end_s - 1.0)
        words = [
            {"word": "So,", "confidence": 0.98, "start": start_s, "end": start_s + 0.1},
            {"word": "be.", "confidence": 0.9, "start": start_s + 0.2, "end": end_s},
        ]
        return {
            "type": "TurnInfo",
            "request_id": "r",
            "sequence_id": self._flux._next_number,
            "event": event,
            "turn_index": self._flux._taker.turn,
            "audio_window_start": start_s,
            "audio_window_end": end_s,
            "transcript": "So, be.",
            "words": words,
            "end_of_turn_confidence": 0.04,
            **changed,
        }

    def _lies(self) -> dict[str, Callable[[random.Random], str]]:
        """Return what no sound stream says, by name; some of it is borne, for what is told is clear all the same."""

        def lie(
            event: str, change: Callable[[dict[str, Any], random.Random], dict[str, Any]] = lambda _info, _dice: {}
        ) -> Callable[[random.Random], str]:
            def told(dice: random.Random) -> str:
                info = self._info(event)
                return json.dumps({**info, **change(info, dice)})

            return told

        empty: dict[str, Any] = {"transcript": "", "words": []}
        return {
            "lie: turn begins again": lie("StartOfTurn"),
            "lie: turn that has ended begins": lie(
                "StartOfTurn", lambda info, _: {"turn_index": info["turn_index"] - 1}
            ),
            "lie: turn that has ended ends": lie("EndOfTurn", lambda info, _: {"turn_index": info["turn_index"] - 1}),
            "lie: turn ends that never began": lie("EndOfTurn", lambda info, _: {"turn_index": info["turn_index"] + 1}),
            "lie: turn goes on that never began": lie("Update", lambda info, _: {"turn_index": info["turn_index"] + 1}),
            "lie: turns left out": lie(
                "Update", lambda info, dice: {"turn_index": info["turn_index"] + dice.choice((2, 3, 10**14))}
            ),
            "lie: turn of long ago": lie(
                "Update", lambda info, dice: {"turn_index": 0, **dice.choice((empty, {})), "event": "EndOfTurn"}
            ),
            "lie: nothing expected to end": lie("EagerEndOfTurn", lambda *_: empty),
            "lie: nothing taken back": lie("TurnResumed", lambda *_: empty),
            "lie: end in other words": lie("EndOfTurn", lambda *_: {"transcript": "Not so.", "words": []}),
            "lie: number again": lie("Update", lambda info, _: {"sequence_id": max(0, info["sequence_id"] - 1)}),
            "lie: numbers from the beginning": lie("Update", lambda *_: {"sequence_id": 0}),
            "lie: numbers left out": lie(
                "Update", lambda info, dice: {"sequence_id": info["sequence_id"] + dice.choice((1, 5, 10**9))}
            ),
            "lie: audio not yet heard": lie(
                "Update", lambda info, dice: {"audio_window_end": info["audio_window_end"] + dice.choice((2.0, 1e5))}
            ),
            "lie: window turned round": lie(
                "Update",
                lambda info, _: {
                    "audio_window_start": info["audio_window_end"],
                    "audio_window_end": info["audio_window_start"],
                },
            ),
            "lie: window goes back": lie("Update", lambda *_: {"audio_window_start": 0.0, "audio_window_end": 0.1}),
            "lie: words in another order": lie("Update", lambda info, _: {"words": info["words"][::-1]}),
            "lie: all of it at once": lie(
                "EndOfTurn",
                lambda info, _: {
                    "sequence_id": info["sequence_id"] + 7,
                    "turn_index": info["turn_index"] + 7,
                    "words": info["words"][::-1],
                },
            ),
        }


# ── ElevenLabs ────────────────────────────────────────────────────────────────────────────────────────────────────────

LONG_ANSWER: Final = " ".join(f"word{number}" for number in range(60))


@attrs.define(eq=False)
class ElevenLabsVictim:
    """A call that ElevenLabs speaks in, at length and at the pace of a person."""

    nursery: trio.Nursery
    simulator: ElevenLabsSimulator = attrs.field(
        factory=lambda: ElevenLabsSimulator(policies=(ElevenLabsPolicy(pace=1.0),))
    )

    def team(self, tenant: Tenant) -> Team:
        """Return who serves it."""

        async def dial(_address: Address) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return self.simulator.connect(self.nursery)

        voice = ElevenLabsVoice(base_url="ws://elevenlabs.test", api_key="secret", voice_id="v", dial=dial)
        return team(tenant, voice=voice, model=VirtualModel(answer=lambda _text: LONG_ANSWER))

    @property
    def speaking(self) -> Speaking | None:
        """The socket that is open."""
        last = self.simulator.speakings[-1] if self.simulator.speakings else None
        return last if last is not None and last.verdict is None else None

    def attack(self) -> Attack:
        """Return how it is attacked."""
        return Attack(
            wire="elevenlabs",
            vendor="elevenlabs",
            whole=self._whole,
            verdict=lambda message: of_elevenlabs(message, self._open().__contains__),
            conversation=lambda: None if self.speaking is None else self.speaking.conversation,
            stir=self._stir,
        )

    def _open(self) -> list[str]:
        """The contexts that have begun to speak and are not over."""
        contexts = [] if self.speaking is None else self.speaking.contexts
        return [context.id for context in contexts if not context.is_over and context.sent_messages]

    async def _stir(self, line: Line) -> None:
        while not self._open():
            if not line.speaking and not line.hearing:
                line.say(["go", "on"])
            await trio.sleep(1.0)
        await trio.sleep(0.02)

    def _whole(self, dice: random.Random) -> str:
        context = dice.choice(self._open())
        alignment = {"chars": ["s", "o", " "], "charStartTimesMs": [0, 70, 140], "charDurationsMs": [70, 70, 60]}
        said = {
            "audio": base64.b64encode(bytes([0x55] * dice.choice((1, 160, 641, 3200)))).decode(),
            "isFinal": None,
            "normalizedAlignment": alignment,
            "alignment": dice.choice((alignment, alignment, None)),
            "contextId": context,
        }
        final = {"isFinal": True, "contextId": context}
        failure = {"message": "Not in time.", "error": "input_timeout_exceeded", "code": 1008}
        nothing = {"audio": None, "isFinal": None, "normalizedAlignment": None, "alignment": None, "contextId": context}
        return json.dumps(dice.choice((*[said] * 8, final, failure, nothing)))
