"""A whole call as messages on a virtual clock, from a seed, and a judge that says in sentences what went wrong in it.

`python -m simulators.virtual.call CLASS SEED` runs one again and shows what happened.
"""

# ruff: noqa: PLR2004 - chances drawn for a fault are its own
# ruff: noqa: ANN401, PLR0913 - trio's tasks have no public type; a call is made of many parts

import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, ClassVar, Protocol, TypeAlias, cast

import attrs
import trio
from trio._core import _run as scheduler
from trio.testing import MockClock

from engine.actors.agent import OVERHEARD, REPEAT, Agent, AgentPolicy
from engine.actors.pacer import Clip, Pacer
from engine.actors.turn_detector import TurnDetector, TurnPolicy
from engine.call import ActorPolicy, Call, CallPolicy, Cores, Plan
from engine.codec.spoken import Diction
from engine.loop import Kind, Loop, Remedy, StepRaised
from engine.messages.caller import CallerAudio, LineClosed, MarkEcho, SpeechStarted, SpeechStopped
from engine.messages.conversation import CallerSaid, Entry, Noted
from engine.messages.line import LineAudio, LineEnded, LineMark
from engine.messages.model import AskModel, CancelModel, ModelEnded, ModelFailed, ModelText, ModelToolCall, ToolReturned
from engine.messages.playout import Played, Playing, Stopped
from engine.messages.recognition import Recognised, Transcript
from engine.messages.records import Counted
from engine.messages.reply import HangUp, PlayClip, PlayNotice, ReplyEnded, Sentence
from engine.messages.supervision import SessionInfo, Tick
from engine.messages.synthesis import AgentAudio, AgentAudioEnded, Synthesised, SynthesisEnded
from engine.messages.turns import BargedIn, CallerIdle, CallOpened, TurnEnded
from engine.policy import RestartPolicy
from engine.supervisor import SupervisionEvent, Supervisor
from engine.wiring import Edge, Port
from simulators.virtual.faults import (
    ALWAYS,
    CancelLoop,
    CancelLoopAt,
    Fault,
    KillSession,
    Outage,
    Poison,
    Raise,
    VirtualLoop,
)
from simulators.virtual.judge import Lost, Outcome, show
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.script import (
    IDLE_S,
    LONGEST_S,
    PHRASES,
    VirtualCaller,
    VirtualScript,
    answer,
    script_of,
    vocabulary_of_a_call,
)
from simulators.virtual.vendors import (
    ToneVad,
    VirtualArchive,
    VirtualModel,
    VirtualRecogniser,
    VirtualTools,
    VirtualVoice,
    spoken_text,
)

# ── the call ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_jitter = random.Random()  # noqa: S311 - for backoffs that come again with the seed


@attrs.define(kw_only=True, eq=False)
class SeededSupervisor(Supervisor):
    """The engine's supervisor, whose backoffs come again with the call's seed."""

    seed: int = attrs.field(factory=lambda: _jitter.getrandbits(64))


class NotedCall(Call):
    """The engine's call, with a note of what happened."""

    def note(self, text: str) -> None:
        """Note what happened, with the time."""
        if not hasattr(self, "notes"):
            self.notes: list[str] = []
            self.notices: list[float] = []
            self.resumes: list[float] = []
            self.losses: list[Lost] = []
            self.shown: list[AskModel] = []
            self.model_deaths = 0
        self.notes.append(f"{self.clock():7.3f} {text}")

    def tell(self, sender: str, message: object) -> None:
        """Send, and note what the caller is told, and that a model failed."""
        if isinstance(message, PlayNotice):
            self.note(f"the caller is to hear '{message.clip}'")
            if message.clip == REPEAT:
                self.notices.append(self.clock())
        if isinstance(message, ModelFailed):
            self.note(f"the model failed: {message.reason}")
            self.model_deaths += 1
        super().tell(sender, message)

    def _ports(self) -> dict[str, Callable[[Edge], Port]]:
        """Return the ports; the one to the model keeps what the model was shown."""
        ports = super()._ports()

        def model(edge: Edge) -> Port:
            ask = ports["model"](edge)

            def asked(message: object) -> None:
                if isinstance(message, AskModel):
                    self.shown.append(message)
                if isinstance(message, CancelModel) and message.stalled:
                    self.note("the model is too late")
                    self.model_deaths += 1
                ask(message)

            return asked

        return {**ports, "model": model}

    def _counted(self, counted: object) -> None:
        """Note when an agent that was held goes on."""
        if isinstance(counted, Counted) and counted.name == "resumes":
            self.resumes.append(self.clock())
        super()._counted(counted)

    def _lost(self, name: str, edge: Edge, why: str) -> None:
        self.losses.append(Lost(actor=name, what=edge.message, at_s=self.clock()))
        super()._lost(name, edge, why)

    def _raised(self, report: StepRaised) -> None:
        if report.remedy is Remedy.BARE:
            self.losses.append(Lost(actor=report.actor, what=None, at_s=self.clock()))
        super()._raised(report)

    def _event(self, event: SupervisionEvent) -> None:
        about = getattr(event, "reason", getattr(event, "after_s", ""))
        self.note(f"{event.supervisor}/{event.child}#{event.incarnation} {type(event).__name__} {about}")
        super()._event(event)


class VirtualCall(NotedCall):
    """A call on loops that lag and fail."""

    loop_type: ClassVar[type[Loop]] = VirtualLoop
    supervisor_type: ClassVar[type[Supervisor]] = SeededSupervisor


TONES = Diction(normalise=False)
"""The tone code is spoken as it is written: its "3o" is no number."""

PATIENT = CallPolicy(
    actors={name: ActorPolicy(policy=RestartPolicy(intensity=30, period_s=10.0)) for name in ("stt", "tts")}
)
"""Who has one vendor alone waits for it: when a list is at its end, so is the call."""


class Lagging(Protocol):
    """A loop that lags, by these dice."""

    dice: random.Random
    most_lag_s: float
    spike_s: float
    longest_barge_s: float


House: TypeAlias = Callable[[], AbstractAsyncContextManager[Callable[[Plan], Plan]]]
"""Opens what calls stand on, and gives what puts it in a plan."""


@asynccontextmanager
async def _no_house() -> AsyncIterator[Callable[[Plan], Plan]]:
    yield lambda plan: plan


def play(
    seed: int,
    *,
    script: VirtualScript | None = None,
    faults: Callable[[random.Random], tuple[Fault, ...]] = lambda _: (),
    call_type: Callable[..., NotedCall] = VirtualCall,
    prepare: Callable[[VirtualScript, random.Random], VirtualScript] = lambda script, _: script,
    replan: Callable[[Plan], Plan] = lambda plan: plan,
    house: House = _no_house,
    longest_s: float = LONGEST_S,
) -> Outcome:
    """Run the call that a seed stands for, on a clock of its own. The same seed gives the same call.

    prepare, replan: change what was drawn, what the call is opened with. house: what else it stands on.
    longest_s: after which it hangs.
    """
    dice = random.Random(seed)  # noqa: S311
    vocabulary = vocabulary_of_a_call()
    drawn = prepare(script or script_of(dice, vocabulary), dice)
    with seeded(dice.getrandbits(32)):
        playing = _Playing(
            script=drawn,
            faults=faults(dice),
            call_type=call_type,
            dice=dice,
            vocabulary=vocabulary,
            replan=replan,
            house=house,
            longest_s=longest_s,
        )
        return trio.run(playing.run, clock=MockClock(autojump_threshold=0))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Have trio shuffle its tasks by a seed, so that a failing call can be run again."""
    deterministic, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, True  # type: ignore[misc]
    scheduler._r.seed(seed)
    _jitter.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = deterministic  # type: ignore[misc]
        scheduler._r.seed()


@attrs.frozen(kw_only=True)
class _Playing:
    """A call that is to be played."""

    script: VirtualScript
    faults: tuple[Fault, ...]
    call_type: Callable[..., NotedCall]
    dice: random.Random
    vocabulary: Iterator[str]
    replan: Callable[[Plan], Plan]
    house: House
    longest_s: float

    async def run(self) -> Outcome:
        """Play it."""
        before = trio.lowlevel.current_statistics().tasks_living
        async with self.house() as housed:
            outcome = await self._call(housed)
        return attrs.evolve(outcome, tasks_left=trio.lowlevel.current_statistics().tasks_living - before)

    async def _call(self, housed: Callable[[Plan], Plan]) -> Outcome:
        dice, faults, script = self.dice, self.faults, self.script
        # Half of the phones send little at a time, half much.
        phone, archive, tools = VirtualPhone(chunk_frames=dice.choice((2, 5))), VirtualArchive(), VirtualTools()
        raised: list[StepRaised] = []
        clips = {name: Clip(text=text, audio=spoken_text(text)[0]) for name, text in PHRASES.items()}
        plan = Plan(
            stream_sid=phone.stream_sid,
            call_sid="CA" + "0" * 32,
            prompt="",
            greeting="",
            policy=PATIENT,
            cores=Cores(
                pacer=Pacer(clips=clips),
                agent=Agent(policy=AgentPolicy(phrases=PHRASES, tools_s=2.0, diction=TONES)),
                turn_detector=TurnDetector(policy=TurnPolicy(idle_s=IDLE_S)),
            ),
            recognisers=(VirtualRecogniser(),),
            voices=(VirtualVoice(),),
            models=(VirtualModel(answer=answer),),
            tools=tools,
            archive=archive,
            vad=ToneVad(),
            on_raise=raised.append,
        )
        caller = VirtualCaller(phone=phone, script=script, vocabulary=self.vocabulary)
        call = self.call_type(line=phone, plan=self.replan(housed(plan)))
        call.note("opened")
        most_lag_s, spike_s = dice.choice((0.0, 0.01, 0.03)), dice.choice((0.0, 0.0, 0.3))
        loops = [cast("Lagging", loop) for loop in call.loops.values()]
        for loop in loops:
            loop.dice, loop.most_lag_s, loop.spike_s = dice, most_lag_s, spike_s
            if isinstance(loop, VirtualLoop):
                loop.call = call
                loop.faults = tuple(each for each in faults if isinstance(each, Raise | Poison | CancelLoop))
        hung = True
        patience = trio.CancelScope(shield=True)
        with trio.move_on_after(self.longest_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_give_up, patience, self.longest_s + 30.0)
                await nursery.start(phone.run)
                nursery.start_soon(caller.run)
                for fault in faults:
                    if isinstance(fault, CancelLoopAt | KillSession | Outage):
                        nursery.start_soon(_strike, fault, call)
                nursery.start_soon(_hang_up, phone, script.hang_up_at)
                with trio.CancelScope(deadline=trio.current_time() + script.cancel_at):
                    await call.run()
                hung = False
                patience.cancel()
                nursery.cancel_scope.cancel()
        conversation = archive.conversation()
        return Outcome(
            script=script,
            faults=faults,
            said=tuple(word for _, words in caller.said for word in words),
            utterances=tuple(caller.said),
            repeated=caller.repeated,
            in_vain=caller.in_vain,
            got=tuple(word for each in conversation for word in _given(each)),
            heard=tuple(phone.words()),
            heard_s=tuple((word.start_s, word.end_s) for word in phone.ear.words),
            gaps=phone.ear.gaps,
            clears=tuple(phone.clears),
            resumes=tuple(call.resumes),
            sounds=tuple(phone.sounds),
            conversation=tuple(conversation),
            runs=tools.runs,
            lost=call.counts(),
            bare=sum(each.remedy is Remedy.BARE for each in raised),
            raised_at=tuple(each.now for each in raised),
            notices=tuple(call.notices),
            losses=tuple(call.losses),
            shown=tuple(call.shown),
            reason=archive.reason,
            hung=hung,
            tasks_left=0,
            ended_at=call.clock(),
            longest_barge_s=max(loop.longest_barge_s for loop in loops),
            recogniser_deaths=sum("stt/session" in note and "ChildFailed" in note for note in call.notes),
            voice_deaths=sum("tts/session" in note and "ChildFailed" in note for note in call.notes),
            model_deaths=call.model_deaths,
            notes=tuple(call.notes),
        )


def _given(entry: Entry) -> list[str]:
    """Return the caller's words in an entry: those of a turn, and those that left the agent the floor."""
    if isinstance(entry, CallerSaid):
        return entry.text.split()
    before, after = OVERHEARD.split("{text}")
    if isinstance(entry, Noted) and entry.text.startswith(before):
        return entry.text.removeprefix(before).removesuffix(after).split()
    return []


async def _give_up(scope: trio.CancelScope, after_s: float) -> None:
    """End a call that does not end although it was cancelled: take every shield from its tasks."""
    with scope:
        await trio.sleep(after_s)
        for task in _tasks(trio.lowlevel.current_root_task()):
            status = task._cancel_status
            while status is not None:
                status._scope.shield = False
                status = status._parent


def _tasks(task: Any) -> Iterator[Any]:
    if task is not None:
        yield task
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                yield from _tasks(child)


async def _strike(fault: CancelLoopAt | KillSession | Outage, call: Call) -> None:
    await trio.sleep(fault.at_s)
    if not call.trunk.gone.is_set():
        fault.strike(call)


async def _hang_up(phone: VirtualPhone, at_s: float) -> None:
    await trio.sleep(at_s)
    phone.hang_up()


# ── faults, by class ──────────────────────────────────────────────────────────────────────────────────────────────────

MEETS: dict[str, dict[type, int]] = {
    "twilio_io": {LineAudio: 350, LineMark: 6},
    "stt": {CallerAudio: 350, Recognised: 9},
    "turn_detector": {SpeechStarted: 3, SpeechStopped: 3, Transcript: 9, Playing: 3, Stopped: 3},
    "agent": {
        CallOpened: 1,
        TurnEnded: 3,
        BargedIn: 1,
        CallerIdle: 1,
        Played: 5,
        ModelText: 12,
        ModelToolCall: 1,
        ModelEnded: 3,
        ToolReturned: 1,
    },
    "tts": {Sentence: 5, BargedIn: 1, Synthesised: 15, SynthesisEnded: 5},
    "pacer": {
        Sentence: 5,
        PlayClip: 1,
        ReplyEnded: 3,
        AgentAudio: 15,
        AgentAudioEnded: 5,
        MarkEcho: 6,
        BargedIn: 1,
        HangUp: 1,
    },
}
"""What each actor meets in a call, and about how often."""

CLOSING: dict[str, type] = {"twilio_io": LineEnded, **dict.fromkeys(list(MEETS)[1:], LineClosed)}
TICKING = {"turn_detector": 3, "agent": 1, "pacer": 80}


def _message(dice: random.Random) -> tuple[str, type, int]:
    actor = dice.choice(list(MEETS))
    if dice.random() < 0.07:
        return actor, CLOSING[actor], 0
    message = dice.choice(list(MEETS[actor]))
    return actor, message, dice.randrange(MEETS[actor][message])


def _raise(dice: random.Random, **how: Any) -> Raise:
    actor, message, nth = _message(dice)
    return Raise(actor=actor, message=message, nth=nth, **how)


def _tick(dice: random.Random, times: Sequence[int]) -> Raise:
    actor = dice.choice(list(TICKING))
    return Raise(
        actor=actor, message=Tick, kind=Kind.TICK, nth=dice.randrange(TICKING[actor]), times=dice.choice(times)
    )


def _kill(dice: random.Random) -> KillSession:
    return KillSession(actor=dice.choice(("stt", "tts")), at_s=dice.random() * 8.0)


def _outage(dice: random.Random) -> Outage:
    return Outage(actor=dice.choice(("stt", "tts")), at_s=dice.random() * 5.0, lasts_s=2.5 + dice.random() * 2.5)


def _started(dice: random.Random, times: Sequence[int]) -> tuple[Fault, ...]:
    kill = _kill(dice)
    fault = Raise(
        actor=kill.actor, message=SessionInfo, kind=Kind.STARTED, nth=dice.choice((0, 1)), times=dice.choice(times)
    )
    return kill, fault


def _cancel(dice: random.Random) -> Fault:
    actor = dice.choice(list(MEETS))
    if dice.random() < 0.5:
        return CancelLoopAt(actor=actor, at_s=dice.random() * 8.0)
    return CancelLoop(actor=actor, nth=dice.randrange(sum(MEETS[actor].values())))


def _poison(dice: random.Random) -> Poison:
    actor = dice.choice(list(MEETS))
    return Poison(actor=actor, nth=dice.randrange(sum(MEETS[actor].values())), variety=dice.randrange(12))


def _storm(dice: random.Random) -> tuple[Fault, ...]:
    """Two or three at a time, none of which may lose anything by itself."""
    kinds: tuple[Callable[[], tuple[Fault, ...]], ...] = (
        lambda: (_raise(dice),),
        lambda: (_kill(dice),),
        lambda: (_cancel(dice),),
        lambda: (_tick(dice, (1,)),),
        lambda: _started(dice, (1,)),
    )
    return tuple(fault for kind in dice.choices(kinds, k=dice.choice((2, 2, 3))) for fault in kind())


FAULTS: dict[str, Callable[[random.Random], tuple[Fault, ...]]] = {
    "none": lambda _: (),
    "a core raises once": lambda dice: (_raise(dice),),
    "a core and its successor raise": lambda dice: (_raise(dice, times=2),),
    "a message raises everywhere": lambda dice: (_raise(dice, times=ALWAYS, everywhere=True),),
    "three messages in a row raise": lambda dice: (_raise(dice, times=2, more=2),),
    "a core is poisoned": lambda dice: (_poison(dice),),
    "ticks raise": lambda dice: (_tick(dice, (1, 1, 2, 3)),),
    "started raises": lambda dice: _started(dice, (1, 1, 2, 3)),
    "a session is killed": lambda dice: (_kill(dice), *((_kill(dice),) if dice.random() < 0.3 else ())),
    "a vendor is away": lambda dice: (_outage(dice),),
    "a task is cancelled": lambda dice: (_cancel(dice),),
    "two at a time": _storm,
    "two that lose": lambda dice: (_raise(dice, times=2), dice.choice((_poison, _kill, _cancel))(dice)),
}
"""Fault classes, by name."""

NOTHING_LOST = {"none", "a core raises once", "a session is killed", "a vendor is away", "a task is cancelled"}
"""Classes in which no message may be set aside, nor a core be bare."""

if __name__ == "__main__":
    _name, _seed = sys.argv[1], int(sys.argv[2])
    sys.stdout.write(show(_name, play(_seed, faults=FAULTS[_name])) + "\n")
