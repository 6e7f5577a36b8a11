"""A scenario as a whole call of the engine's on a virtual clock: the same seed gives the same call."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs
import trio
from trio.testing import MockClock

from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import Clip, Pacer
from engine.actors.turn_detector import TurnDetector, TurnPolicy
from engine.call import CallPolicy, Cores, Plan
from engine.messages.conversation import AgentSaid, CallerSaid
from engine.messages.playout import Hold, Resume
from engine.messages.records import Timing, TokensUsed
from engine.messages.turns import BargedIn
from engine.wiring import Edge, Port
from simulators import tone
from simulators.audio import FRAME_S, RATE_HZ
from simulators.caller import PreparedCaller, Press, Utterance, prepare
from simulators.line import Hearing
from simulators.scenario import Network, Scenario
from simulators.talk.account import (
    GREETING,
    Account,
    Made,
    Passage,
    Spoke,
    Stretch,
    heard_of,
    passages,
    plain,
    spoke,
)
from simulators.talk.vendors import Mind, Recogniser, Throat, Tools, level, noise, speech
from simulators.virtual.call import NotedCall, SeededSupervisor, seeded
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.vendors import ToneVad, VirtualArchive, VirtualVoice

PHRASES: Final[Mapping[str, str]] = {
    "still_there": "Are you still there?",
    "goodbye": "Thank you for calling. Goodbye.",
    "apology": "I'm sorry, we are having some trouble.",
    "repeat_please": "Sorry, could you say that again?",
    "one_moment": "One moment, please.",
    "transfer": "I will connect you with our team.",
    "stopping": "I'm sorry, I have to end this call now.",
}
"""What the engine says without a mind, by clip."""

TONE: Final = "hold_tone"
LONGEST_S: Final = 180.0
"""A call that takes longer hangs."""
_CHUNK_FRAMES: Final = 2
_PAUSE_S: Final = 0.5  # as in `simulators.line`: a stretch of the agent's speech has shorter ones


@attrs.define(kw_only=True)
class Listening(tone.Ear):
    """The caller's ear, which knows too when there was sound at all.

    stretches: of the agent's sound, to a frame. tone_s: of the hold tone.
    """

    stretches: list[Stretch] = attrs.field(init=False, factory=list)
    tone_s: float = attrs.field(init=False, default=0.0)
    onset_s: float | None = attrs.field(init=False, default=None)

    def hear(self, start_s: float, audio: bytes) -> None:
        """Hear a frame."""
        tone.Ear.hear(self, start_s, audio)
        end_s = start_s + len(audio) / RATE_HZ
        if tone.draft_of(audio) == TONE:
            self.tone_s += end_s - start_s
        elif tone.voiced(audio):
            last = self.stretches[-1] if self.stretches else None
            if last is not None and start_s - last.end_s < FRAME_S / 2:
                self.stretches[-1] = Stretch(last.start_s, end_s)
            else:
                self.stretches.append(Stretch(start_s, end_s))
            self.onset_s = start_s if self.onset_s is None else self.onset_s
        elif self.stretches and end_s - self.stretches[-1].end_s >= _PAUSE_S:
            self.onset_s = None


@attrs.define(eq=False)
class Handset:
    """A virtual phone in a caller's hand: `simulators.caller.Phone`."""

    phone: VirtualPhone
    ear: Listening
    made: list[Made] = attrs.field(factory=list)
    in_vain: list[str] = attrs.field(factory=list)

    @property
    def hearing(self) -> Hearing:
        """What is heard of the agent."""
        onset_s, stretches = self.ear.onset_s, self.ear.stretches
        return Hearing(
            onset=None if onset_s is None else round(onset_s * RATE_HZ),
            last=round(stretches[-1].end_s * RATE_HZ) if stretches else None,
        )

    def now(self) -> int:
        """The present sample of the stream."""
        return round(self.phone.now_s() * RATE_HZ)

    async def tick(self) -> None:
        """Wait for more."""
        await trio.sleep(_CHUNK_FRAMES * FRAME_S)

    async def speak(self, utterance: Utterance) -> None:
        """Say it."""
        start_s = self.phone.speak(utterance.audio)
        first, last = (start_s + each / RATE_HZ for each in (utterance.speech.start, utterance.speech.end))
        assert utterance.step is not None, "a prepared caller says why"
        self.made.append(Made(step=utterance.step, text=utterance.text, start_s=first, end_s=last))
        await trio.sleep(len(utterance.audio) / RATE_HZ)
        while self.phone.speaking:
            await self.tick()

    def press(self, digit: str) -> None:
        """Press a key."""
        now_s = self.phone.now_s()
        self.made.append(Made(step=Press(digits=digit), text=digit, start_s=now_s, end_s=now_s))
        self.phone.press(digit)

    def gave_up(self, waited_for: str) -> None:
        """Note it."""
        self.in_vain.append(f"{waited_for} ({self.phone.now_s():.1f} s)")


@attrs.define(eq=False)
class _Far:
    """A phone behind a network that is late, now more, now less; nothing overtakes."""

    phone: VirtualPhone
    network: Network
    dice: random.Random
    _came: tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]] = attrs.field(
        factory=lambda: trio.open_memory_channel[Any](math.inf)
    )
    _sent: tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]] = attrs.field(
        factory=lambda: trio.open_memory_channel[Any](math.inf)
    )

    def _due(self) -> float:
        return trio.current_time() + self.network.delay_s + self.dice.random() * self.network.jitter_s

    async def run(self) -> None:
        """Carry messages until the phone is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver)
            while True:
                try:
                    message = await self.phone.receive()
                except trio.EndOfChannel:
                    self._came[0].close()
                    return
                self._came[0].send_nowait((self._due(), message))

    async def _deliver(self) -> None:
        async for due, text in self._sent[1]:
            await trio.sleep_until(due)
            if not self.phone.closed:
                await self.phone.send(text)

    async def receive(self) -> str:
        """Return the next message."""
        due, message = await self._came[1].receive()
        await trio.sleep_until(due)
        return str(message)

    async def send(self, text: str) -> None:
        """Take a message."""
        if self.phone.closed:
            raise trio.BrokenResourceError
        await self._sent[0].send((self._due(), text))

    async def aclose(self) -> None:
        """Close."""
        await trio.sleep(self.network.delay_s + self.network.jitter_s)
        await self.phone.aclose()


class SeenCall(NotedCall):
    """The engine's call, with the moments at which the agent was held, let go on, and cut."""

    supervisor_type = SeededSupervisor

    def _ports(self) -> dict[str, Callable[[Edge], Port]]:
        ports = super()._ports()
        self.moments: list[tuple[float, object]] = []
        self.used: list[TokensUsed] = []

        def seen(reader: str, edge: Edge) -> Port:
            port = ports[reader](edge)

            def put(message: object) -> None:
                if reader == "pacer" and isinstance(message, Hold | Resume | BargedIn):
                    self.moments.append((self.clock(), message))
                elif reader == "archive" and isinstance(message, TokensUsed):
                    self.used.append(message)
                port(message)

            return put

        return {**ports, **{reader: partial(seen, reader) for reader in ("pacer", "archive")}}


def policies(scenario: Scenario) -> tuple[TurnPolicy, AgentPolicy]:
    """Return how the business of a scenario is served."""
    house = scenario.business

    def given(**values: object) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    turns = TurnPolicy(**given(idle_s=house.idle_s, idle_again_s=house.idle_again_s))
    agent = AgentPolicy(
        phrases={**PHRASES, "greeting": house.greeting},
        firm=house.firm,
        **given(idle_prompts=house.idle_prompts, tone_s=house.tone_s, filler_s=house.filler_s),
    )
    return turns, agent


def play(scenario: Scenario, *, seed: int = 0) -> Account:
    """Play a scenario as it stands, without its variants."""
    with seeded(seed):
        return trio.run(partial(_play, scenario, seed), clock=MockClock(autojump_threshold=0))


async def _play(scenario: Scenario, seed: int) -> Account:
    before = trio.lowlevel.current_statistics().tasks_living
    dice = random.Random(seed)  # noqa: S311 - a simulation's
    ear = Listening(patient=True)
    phone = VirtualPhone(ear=ear, chunk_frames=_CHUNK_FRAMES)
    if scenario.noise is not None and scenario.noise.kind == "voices" and scenario.noise.snr_db < _LOUD_DB:
        phone.hush = _radio(dice, ceaseless=scenario.noise.snr_db < _CEASELESS_DB)
    caller = await prepare(scenario.caller, Throat(), noise=noise, level=level)
    archive, mind, tools = VirtualArchive(), Mind(replies=scenario.agent), Tools.of(scenario.agent)
    turns, agent = policies(scenario)
    clips = {name: Clip(text=text, audio=speech(text)[0]) for name, text in agent.phrases.items()}
    clips[TONE] = Clip(text="", audio=tone.noise(50, TONE))
    far = _Far(phone, scenario.network or Network(), dice)
    plan = Plan(
        stream_sid=phone.stream_sid,
        call_sid="CA" + "0" * 32,
        prompt="",
        greeting=scenario.business.greeting,
        policy=CallPolicy(),
        cores=Cores(pacer=Pacer(clips=clips), agent=Agent(policy=agent), turn_detector=TurnDetector(policy=turns)),
        recognisers=(Recogniser(policy=scenario.hearing, seed=seed),),
        voices=(VirtualVoice(chunk_frames=10, pace=6.0, say=speech),),
        models=(mind,),
        tools=tools,
        archive=archive,
        vad=ToneVad(),
        seed=seed,
    )
    call = SeenCall(line=phone if scenario.network is None else far, plan=plan)
    call.note("opened")
    hand, hung = Handset(phone, ear), True
    with trio.move_on_after(LONGEST_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(phone.run)
            if scenario.network is not None:
                nursery.start_soon(far.run)
            nursery.start_soon(_call, caller, hand)
            await call.run()
            hung = False
            nursery.cancel_scope.cancel()
    return _account(scenario, hand, call, archive, tools=tools, mind=mind, hung=hung, before=before)


_LOUD_DB: Final = 20.0
"""A radio this far below the voice is one to a voice activity detector too, now and then."""

_CEASELESS_DB: Final = 12.0
"""And this far below, always."""


def _radio(dice: random.Random, *, ceaseless: bool) -> tuple[bytes, ...]:
    """Return half a minute of a radio: of no word that a recogniser would make out."""
    frames: list[bytes] = []
    while len(frames) * FRAME_S < _RADIO_S:
        frames += [tone.noise(1, "|")] * dice.randint(10, 90)
        frames += [] if ceaseless else [tone.SILENT_FRAME] * dice.randint(5, 40)
    return tuple(frames)


_RADIO_S: Final = 30.0


async def _call(caller: PreparedCaller, hand: Handset) -> None:
    await caller.run(hand)
    hand.phone.hang_up()


def _account(  # noqa: PLR0913 - all that took part in the call
    scenario: Scenario,
    hand: Handset,
    call: SeenCall,
    archive: VirtualArchive,
    *,
    tools: Tools,
    mind: Mind,
    hung: bool,
    before: int,
) -> Account:
    ear, phone = hand.ear, hand.phone
    texts = {GREETING: plain(scenario.business.greeting)}
    texts |= {str(number): plain(reply.spoken) for number, reply in enumerate(scenario.agent, start=1)}
    replies = tuple(texts)
    texts |= {name: plain(text) for name, text in PHRASES.items()}
    whole = [word for word in ear.words if word.text != tone.GARBLED]
    found = tuple(passages(whole, phone.clears, texts))
    conversation = tuple(archive.conversation())
    interruptions = tuple(at_s for at_s, message in call.moments if isinstance(message, BargedIn))
    broken = [word for word in ear.words if word.text == tone.GARBLED]
    return Account(
        made=tuple(hand.made),
        agent=tuple(ear.stretches),
        passages=found,
        said=tuple(word for each in whole for word in plain(each.text)),
        replies={key: heard_of(key, texts[key], found) for key in replies},
        spoke=_spoke(archive, ear.stretches),
        phrases={name: sum(each.key == name and each.first == 0 for each in found) for name in PHRASES},
        turns=tuple(each.text for each in conversation if isinstance(each, CallerSaid)),
        conversation=conversation,
        clears=tuple(phone.clears),
        interruptions=interruptions,
        stale_s=stale_s(found, interruptions),
        garbled=sum(not any(abs(word.end_s - at_s) < _CUT_S for at_s in phone.clears) for word in broken),
        tone_s=ear.tone_s,
        tool_runs=tools.runs,
        requests=mind.requests,
        wasted=sum(each.wasted for each in call.used),
        ended=archive.reason,
        ended_s=call.clock(),
        gave_up=tuple(hand.in_vain),
        hung=hung,
        tasks_left=trio.lowlevel.current_statistics().tasks_living - before,
        notes=(*call.notes, *(f"{at_s:7.3f} {message}" for at_s, message in call.moments)),
    )


def _spoke(archive: VirtualArchive, agent: Sequence[Stretch]) -> tuple[Spoke, ...]:
    began = {each.turn: each.at_s for each in archive.items if isinstance(each, Timing) and each.stage == "first_sound"}
    said = {each.turn: each.interrupted for each in archive.conversation() if isinstance(each, AgentSaid)}
    return spoke(began, said, agent)


_CUT_S: Final = 0.1
"""A word that ends so close to a `clear` was cut by it."""


def stale_s(found: tuple[Passage, ...], interruptions: tuple[float, ...]) -> float:
    """Return how much was heard, after an interruption, of what had begun before it."""
    stale = 0.0
    for at_s in interruptions:
        begun = {each.key for each in found if each.start_s < at_s} - set(PHRASES)
        stale += sum(
            end_s - start_s
            for each in found
            if each.key in begun and each.key == max(begun)
            for start_s, end_s in each.at
            if start_s >= at_s
        )
    return round(stale, 3)
