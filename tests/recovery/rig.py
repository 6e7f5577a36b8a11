"""A whole call on a virtual clock, of which only the voice or the model is troubled: what is heard, and when."""

# ruff: noqa: ASYNC110 - a caller listens now and then, as one does

import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import attrs
import trio
from trio.testing import MockClock

from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import Clip, Pacer
from engine.actors.turn_detector import TurnDetector, TurnPolicy
from engine.call import ActorPolicy, Call, CallPolicy, Cores, Plan
from engine.health import Health
from engine.messages.conversation import Entry
from engine.messages.records import Counted
from engine.providers.contract import Model, Voice
from engine.supervisor import SupervisionEvent
from simulators.tone import GARBLED, HeardWord
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.vendors import (
    ToneVad,
    VirtualArchive,
    VirtualModel,
    VirtualRecogniser,
    VirtualTools,
    VirtualVoice,
    spoken_text,
)

PHRASES = {
    "greeting": "welcome here",
    "still_there": "still there",
    "goodbye": "goodbye now",
    "apology": "sorry indeed",
    "repeat_please": "pardon again",
    "one_moment": "one moment",
}
LONG = "we have nine free times, on friday at noon, or later in the evening, which one would you prefer"
"""An answer of four clauses, ten seconds long."""


def long_answer(_text: str) -> str:
    """Return the same answer to everything."""
    return LONG


@attrs.define(eq=False)
class WatchedCall(Call):
    """A call that keeps what its supervisors decided, and what was counted."""

    events: list[SupervisionEvent] = attrs.field(init=False, factory=list)
    counted: list[Counted] = attrs.field(init=False, factory=list)

    def _event(self, event: SupervisionEvent) -> None:
        self.events.append(event)
        super()._event(event)

    def _counted(self, counted: object) -> None:
        assert isinstance(counted, Counted)
        self.counted.append(counted)
        super()._counted(counted)


@attrs.define
class Scene:
    """A call in which something goes wrong.

    ask: what the caller says, a second after the greeting. kept: the call goes on for so long.
    """

    voices: tuple[Voice, ...] = attrs.field(factory=lambda: (VirtualVoice(),))
    models: tuple[Model, ...] = attrs.field(factory=lambda: (VirtualModel(answer=long_answer),))
    agent: AgentPolicy = AgentPolicy()
    actors: Mapping[str, ActorPolicy] = attrs.field(factory=dict)
    ask: tuple[str, ...] = ("hello", "please")
    lasts_s: float = 20.0
    phone: VirtualPhone = attrs.field(factory=VirtualPhone)
    archive: VirtualArchive = attrs.field(factory=VirtualArchive)
    tools: VirtualTools = attrs.field(factory=VirtualTools)
    call: WatchedCall = attrs.field(init=False)
    asked_at: float = 0.0

    def run(self, trouble: Callable[["Scene"], Awaitable[None]] | None = None) -> "Scene":
        """Play it, and return it for what became of it."""
        trio.run(self._run, trouble, clock=MockClock(autojump_threshold=0))
        return self

    async def _run(self, trouble: Callable[["Scene"], Awaitable[None]] | None) -> None:
        clips = {name: Clip(text=text, audio=spoken_text(text)[0]) for name, text in PHRASES.items()}
        names = tuple(model.vendor for model in self.models)
        plan = Plan(
            stream_sid=self.phone.stream_sid,
            call_sid="CA" + "0" * 32,
            prompt="",
            greeting="",
            cores=Cores(
                pacer=Pacer(clips=clips),
                agent=Agent(policy=attrs.evolve(self.agent, phrases=PHRASES, models=names)),
                turn_detector=TurnDetector(policy=TurnPolicy(idle_s=30.0)),
            ),
            policy=CallPolicy(actors=self.actors),
            recognisers=(VirtualRecogniser(),),
            voices=self.voices,
            models=self.models,
            health=Health(clock=trio.current_time),
            seed=1,
            tools=self.tools,
            archive=self.archive,
            vad=ToneVad(),
        )
        self.call = WatchedCall(line=self.phone, plan=plan)
        async with trio.open_nursery() as nursery:
            await nursery.start(self.phone.run)
            nursery.start_soon(self._ask)
            if trouble is not None:
                nursery.start_soon(trouble, self)
            nursery.start_soon(self._hang_up)
            await self.call.run()
            nursery.cancel_scope.cancel()

    async def _ask(self) -> None:
        await trio.sleep(3.0)
        await self.say(*self.ask)

    async def say(self, *words: str) -> None:
        """Say words, and note when the last of them was over."""
        self.phone.say(words)
        while self.phone.speaking:
            await trio.sleep(0.02)
        self.asked_at = self.phone.spoke_at

    async def _hang_up(self) -> None:
        await trio.sleep(self.lasts_s)
        with suppress(trio.ClosedResourceError):
            self.phone.hang_up()

    async def heard_words(self, count: int) -> None:
        """Wait until so many words were heard since the greeting."""
        while len(self.answer) < count:
            await trio.sleep(0.02)

    def kill_voice(self) -> None:
        """Kill the voice's session, as a socket that breaks."""
        self.call.actors["tts"].cancel("session", "its socket broke")

    @property
    def answer(self) -> list[HeardWord]:
        """What was heard after the greeting."""
        return self.phone.ear.words[len(PHRASES["greeting"].split()) :]

    @property
    def said(self) -> str:
        """The same as text."""
        return " ".join(word.text for word in self.answer)

    @property
    def garbled(self) -> int:
        """Words that nobody could make out."""
        return sum(word.text == GARBLED for word in self.answer)

    @property
    def gaps_s(self) -> list[float]:
        """The silences between the words of the answer."""
        return [round(later.start_s - sooner.end_s, 3) for sooner, later in itertools.pairwise(self.answer)]

    @property
    def first_after_s(self) -> float:
        """How long after the caller's last word the first was heard."""
        return next(word.start_s for word in self.answer) - self.asked_at

    @property
    def conversation(self) -> list[Entry]:
        """What is on record."""
        return self.archive.conversation()
