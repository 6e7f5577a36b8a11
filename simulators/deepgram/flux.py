"""A stream of `/v2/listen`: Flux's turns and commands."""

from typing import Any, Final

import attrs
import trio

from simulators import tone
from simulators.deepgram.flux_request import FluxOptions
from simulators.deepgram.listening import IDLE, SHOWN_CHARS, Listening, Message, Said, are_texts
from simulators.deepgram.policy import FluxPolicy
from simulators.deepgram.turns import Phase, TurnTaker
from simulators.websocket import Verdict

_THRESHOLDS: Final = {"eot_threshold": (int, float), "eager_eot_threshold": (int, float), "eot_timeout_ms": int}


@attrs.define(eq=False)
class Pulse(trio.abc.Stream):
    """A stream that knows when its peer last sent anything, a ping too. beat_at: on trio's clock."""

    stream: trio.abc.Stream
    beat_at: float = attrs.field(factory=trio.current_time)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait."""
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive."""
        data = await self.stream.receive_some(max_bytes)
        self.beat_at = trio.current_time()
        return data

    async def aclose(self) -> None:
        """Close."""
        await self.stream.aclose()


@attrs.define(kw_only=True, eq=False)
class FluxListening(Listening):
    """A stream of `/v2/listen` that was let in."""

    options: FluxOptions
    pulse: Pulse
    _taker: TurnTaker = attrs.field(init=False)
    _next_number: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._taker = TurnTaker(options=self.options, policy=self._flux)

    @property
    def words(self) -> list[tone.HeardWord]:
        """The words that were made out, or GARBLED, with their times in the stream."""
        return self._taker.words

    @property
    def finals(self) -> list[str]:
        """The transcripts of the turns that were told to be over, and are not empty."""
        ends = (each for each in self.sent if each.get("event") == "EndOfTurn")
        return [each["transcript"] for each in ends if each["transcript"]]

    @property
    def events(self) -> list[str]:
        """The events that were sent, Updates left out."""
        return [each["event"] for each in self.sent if each.get("event", "Update") != "Update"]

    @property
    def _flux(self) -> FluxPolicy:
        return self.policy.flux

    def _begin(self) -> None:
        self._say([Said(self._flux.connected_late_s, {"type": "Connected"})])

    def _hears(self, audio: bytes) -> list[Said]:
        return self._told(self._taker.hear(audio))

    def _told(self, messages: list[Message]) -> list[Said]:
        return [Said(self._flux.late_s, message) for message in messages]

    async def _heard(self) -> None:
        flux, taker = self._flux, self._taker
        if (
            flux.mid_turn is not None
            and taker.phase is not Phase.INITIAL
            and taker.turn == flux.mid_turn_index
            and len(taker.turn_words) >= flux.mid_turn_words
        ):
            await self.strike(flux.mid_turn)
        await trio.lowlevel.checkpoint()

    def _take_command(self, kind: object, rest: dict[str, Any], text: str) -> None:
        match kind:
            case "CloseStream" if not rest:
                self._closing = "CloseStream"
                self._hear_all()
                self._say(self._told(self._taker.close()))
                self._put(self._last_due, Verdict(1000))
            case "ForceEndTurn" if not rest and self._flux.takes_force_end_turn:
                self._hear_all()
                self._say(self._told(self._taker.force()))
            case "Configure" if _is_configuration(rest):
                self._configure(rest)
            case _:
                self.blame(f"an unknown message: {text[:SHOWN_CHARS]}")
                self._fail("UNPARSABLE_CLIENT_MESSAGE", "The message could not be understood.")

    def _fail(self, code: str, description: str) -> None:
        """Give up: an Error, and the close."""
        self._closing = code
        self._say([Said(0.0, {"type": "Error", "code": code, "description": description})])
        self._put(self._last_due, Verdict(1011, code))

    def _configure(self, fields: dict[str, Any]) -> None:
        thresholds = fields.get("thresholds") or {}
        changed = {name: value for name, value in thresholds.items() if value is not None}
        for name, option in (("keyterms", "keyterms"), ("language_hints", "language_hints"), ("numerals", "numerals")):
            if (value := fields.get(name)) is not None:
                changed[option] = value if isinstance(value, bool) else tuple(value)
        options = attrs.evolve(self.options, **changed)
        if self._configuring or options.wrong:
            code = "CONFIGURE_ALREADY_PENDING" if self._configuring else "CONFIGURE_INVALID"
            self.blame(f"Configure: {code} {options.wrong}".strip())
            failure = {"type": "ConfigureFailure", "code": code, "description": options.wrong or "One is pending."}
            self._say([Said(0.0, failure)])
            return
        self.options = self._taker.options = options
        self._configuring = True
        success: dict[str, Any] = {
            "type": "ConfigureSuccess",
            "thresholds": {
                "eager_eot_threshold": options.eager_eot_threshold,
                "eot_threshold": options.eot_threshold,
                "eot_timeout_ms": options.eot_timeout_ms,
            },
            "keyterms": list(options.keyterms),
            "numerals": options.numerals,
        }
        if options.language_hints:
            success["language_hints"] = list(options.language_hints)
        self._say([Said(self._flux.configure_late_s, success, in_order=False)])

    async def _watch(self) -> None:
        due = self.pulse.beat_at + self._flux.idle_s
        while trio.current_time() < due:
            await trio.sleep_until(due)
            due = self.pulse.beat_at + self._flux.idle_s
        self.blame(f"neither a frame nor a ping for {self._flux.idle_s:g} s")
        self._closing = "idle"
        self._put(trio.current_time(), Verdict(1011, IDLE))

    async def _send_now(self, message: Message) -> None:
        number, self._next_number = self._next_number, self._next_number + 1
        if number in self._flux.lost:
            return
        numbered: dict[str, Any] = {**message, "sequence_id": number}
        if message["type"] != "Error":
            numbered["request_id"] = self.request_id
        if self.policy.strange:
            numbered["mood"] = {"colour": "blue"}
        await self.conversation.send(numbered)


def _is_configuration(fields: dict[str, Any]) -> bool:
    thresholds, terms, hints = (fields.get(name) for name in ("thresholds", "keyterms", "language_hints"))
    return (
        fields.keys() <= {"thresholds", "keyterms", "language_hints", "numerals"}
        and (thresholds is None or (isinstance(thresholds, dict) and _are_thresholds(thresholds)))
        and (terms is None or are_texts(terms))
        and (hints is None or are_texts(hints))
        and isinstance(fields.get("numerals", False), bool | None)
    )


def _are_thresholds(fields: dict[str, Any]) -> bool:
    return fields.keys() <= _THRESHOLDS.keys() and all(
        value is None or (isinstance(value, _THRESHOLDS[name]) and not isinstance(value, bool))  # type: ignore[arg-type]
        for name, value in fields.items()
    )
