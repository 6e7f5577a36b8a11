"""Each rule that guards a call, taken out by a subclass: calls are lost without it. `pytest -s` prints how many."""

import random
from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs
import pytest
import structlog
import trio

from engine.actors.agent import Agent
from engine.actors.pacer import Pacer, Reply
from engine.actors.stt import STT, RecognitionPolicy
from engine.actors.tts import TTS
from engine.call import Plan
from engine.loop import Kind, Remedy, SessionSeam
from engine.mailbox import Cell, Core, Envelope
from engine.messages.errors import ProviderDown
from engine.messages.model import CallTool, ModelEnded, ModelText
from engine.messages.recognition import Recognised, Transcript
from engine.messages.reply import Sentence
from engine.messages.synthesis import AgentAudio, Synthesise, Synthesised, SynthesisEnded
from engine.messages.turns import BargedIn, TurnEnded
from engine.providers.contract import RecogniserAsk, Seam, VoiceAsk, VoiceEvent
from engine.supervisor import Incarnation, Strategy, _Child
from engine.wiring import Edge, Port
from simulators.virtual.call import FAULTS, SeededSupervisor, VirtualCall, play
from simulators.virtual.faults import CancelLoop, Fault, KillSession, Outage, Poison, Raise, VirtualLoop
from simulators.virtual.judge import Outcome, wrongs
from simulators.virtual.script import BreakIn, End, Say, VirtualScript, answer
from simulators.virtual.vendors import VirtualModel, VirtualRecogniser, VirtualVoice

SEEDS = 12

Faults = Callable[[random.Random], tuple[Fault, ...]]
Prepare = Callable[[VirtualScript, random.Random], VirtualScript]
Replan = Callable[[Plan], Plan]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


# ── the rules, each taken out ─────────────────────────────────────────────────────────────────────────────────────────


class LetsGoFirstLoop(VirtualLoop):
    """A message is let go before it is handled."""

    def compute(self, kind: Kind, message: object, now: float) -> tuple[Core, float, list[tuple[Port, object]]]:
        if kind is Kind.MESSAGE:
            self.cell.let_go()
        return super().compute(kind, message, now)


class LetsGoFirst(VirtualCall):
    loop_type = LetsGoFirstLoop


class PausesLoop(VirtualLoop):
    """There is a checkpoint between keeping the core and handing out the effects."""

    pending: list[tuple[Port, object]]
    running = False

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.cell.loop_started()
        task_status.started()
        while True:
            await self.next_message()
            self.pending = []
            self.running = True
            try:
                self.step()
            finally:
                self.running = False
            await self.woken()
            for port, message in self.pending:
                port(message)

    def commit(
        self, kind: Kind, envelope: Envelope | None, core: Core, deadline: float, outgoing: list[tuple[Port, object]]
    ) -> None:
        if self.running:
            self.pending, outgoing = outgoing, []
        super().commit(kind, envelope, core, deadline, outgoing)


class Pauses(VirtualCall):
    loop_type = PausesLoop


class NursingLoop(VirtualLoop):
    """The Agent's tools are in a nursery of its own task."""

    nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as self.nursery:
            await super().run(task_status)


class OwnTools(VirtualCall):
    loop_type = NursingLoop

    def _ports(self) -> dict[str, Callable[[Edge], Port]]:
        def run(_edge: Edge) -> Port:
            return lambda ask: self._in_the_agents_own(cast("CallTool", ask))

        return {**super()._ports(), "tools": run}

    def _in_the_agents_own(self, ask: CallTool) -> None:
        loop = self.loops["agent"]
        assert isinstance(loop, NursingLoop)
        assert loop.nursery is not None

        async def run() -> None:
            self.tell("tools", await self.plan.tools.run(ask))

        loop.nursery.start_soon(run)


class LateTurnsLoop(VirtualLoop):
    """A TurnDetector that is slow to hear."""

    async def woken(self) -> None:
        if self.cell.name == "turn_detector":
            await trio.sleep(0.2)
        await super().woken()


class LateTurns(VirtualCall):
    loop_type = LateTurnsLoop


class HastyLoop(LateTurnsLoop):
    """A tick comes before what had arrived earlier."""

    def tick_first(self, envelope: Envelope | None, now: float) -> bool:
        return self.cell.deadline <= now


class Hasty(VirtualCall):
    loop_type = HastyLoop


class SharedFate(SeededSupervisor):
    """An actor dies with its session."""

    def __attrs_post_init__(self) -> None:
        if any(spec.id == "session" for spec in self.specs):
            self.strategy = Strategy.ONE_FOR_ALL
        super().__attrs_post_init__()


class OneLife(VirtualCall):
    supervisor_type = SharedFate


class PlainExcept(SeededSupervisor):
    """Deaths are caught by `except Exception`, which a group with a Cancelled in it passes by; nobody is shielded."""

    def _launch(self, child: _Child) -> None:
        super()._launch(child)
        child.scope.shield = False

    async def _live(self, child: _Child, life: Incarnation) -> None:
        error: BaseException | None = None
        try:
            with child.scope:
                await child.spec.start(task_status=life)
        except Exception as death:  # noqa: BLE001
            error = death
        finally:
            if child.life is life:
                self._ended(child, life, error)


class Passes(VirtualCall):
    supervisor_type = PlainExcept

    async def _supervise(self, name: str, *, task_status: trio.TaskStatus[None]) -> None:
        self._stopped[name] = trio.Event()
        try:
            await self.supervisors[name].run(task_status=task_status)
        finally:
            self._stopped[name].set()


class LateAgentLoop(VirtualLoop):
    """An Agent that is slow to hear of a break-in."""

    async def woken(self) -> None:
        if self.cell.name == "agent":
            await trio.sleep(0.3)
        await super().woken()


class LateAgent(VirtualCall):
    loop_type = LateAgentLoop


class ImpatientLoop(VirtualLoop):
    """A message is set aside at its first raise."""

    def remedy(self, kind: Kind, strike: int) -> Remedy:
        return Remedy.ASIDE if kind is Kind.MESSAGE else super().remedy(kind, strike)


class Impatient(VirtualCall):
    loop_type = ImpatientLoop


class EagerSeam(SessionSeam[Any, Any]):
    """A session is asked before `started` has spoken to it."""

    def put(self, ask: object) -> None:
        self._asks_in.send_nowait(ask)


class Eager(VirtualCall):
    seam_type = EagerSeam


class LineInActorLoop(VirtualLoop):
    """The line belongs to TwilioIO, and dies with its task."""

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            await super().run(task_status)
        finally:
            if self.cell.name == "twilio_io":
                assert self.call is not None
                self.call.trunk.end("closed")


class LineInActor(VirtualCall):
    loop_type = LineInActorLoop


class BareLoop(VirtualLoop):
    """Nothing is salvaged: a fresh core knows numbers only."""

    def replace(self, make: Callable[[], Core]) -> bool:
        return super().replace(lambda: self.cell.first.bare(self.cell.core))


class Unsalvaged(VirtualCall):
    loop_type = BareLoop


class ForgetfulPacer(Pacer):
    """A turn that is over is played all the same."""

    def _with(self, turn: int, change: Callable[[Reply], Reply]) -> Pacer:
        return attrs.evolve(super(ForgetfulPacer, attrs.evolve(self, over=-1))._with(turn, change), over=self.over)


class ForgetfulTTS(TTS):
    """A turn that is over is spoken all the same."""

    def handle(self, message: Any, now: float) -> Any:
        core, effects = super().handle(message, now)
        if isinstance(message, BargedIn):
            core = attrs.evolve(core, pieces=self.pieces)
        return attrs.evolve(core, over=-1) if isinstance(message, Sentence | BargedIn) else core, effects


@attrs.frozen(kw_only=True)
class BreakingRecogniser(VirtualRecogniser):
    """Its socket breaks while it is being closed, as real ones do."""

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_alive)
            await super().session(seam)

    async def _keep_alive(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ProviderDown("the socket broke while it was being closed")


class CredulousCell(Cell[Any]):
    """A dead session's words count."""

    def is_void(self, envelope: Envelope) -> bool:
        return envelope.dropped


class Haunted(VirtualCall):
    """There is a nursery in which a dead session speaks on."""

    async def run(self) -> str:
        async with trio.open_nursery() as nursery:
            voice = self.plan.voices[0]
            assert isinstance(voice, ZombieVoice)
            voice.grave.nursery = nursery
            reason = await super().run()
            nursery.cancel_scope.cancel()
        return reason


class Credulous(Haunted):
    cell_type = CredulousCell


@attrs.define
class Grave:
    nursery: trio.Nursery | None = None


@attrs.frozen(kw_only=True)
class ZombieVoice(VirtualVoice):
    """What it began to say it says to the end, whatever becomes of its session."""

    grave: Grave = attrs.field(factory=Grave)

    async def _speak(self, ask: Synthesise, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        said = trio.Event()
        speak = super()._speak

        async def speaks_on() -> None:
            await speak(ask, seam)
            said.set()

        assert self.grave.nursery is not None
        self.grave.nursery.start_soon(speaks_on)
        await said.wait()


class NeverBareLoop(VirtualLoop):
    """However many messages are set aside, the old core is salvaged."""

    def remedy(self, kind: Kind, strike: int) -> Remedy:
        remedy = super().remedy(kind, strike)
        return Remedy.ASIDE if kind is Kind.MESSAGE and remedy is Remedy.BARE else remedy


class NeverBare(VirtualCall):
    loop_type = NeverBareLoop


class LatePacerLoop(VirtualLoop):
    """A Pacer that is slow to hear of a break-in."""

    async def woken(self) -> None:
        envelope = self.cell.in_hand
        if self.cell.name == "pacer" and envelope is not None and isinstance(envelope.message, BargedIn):
            await trio.sleep(0.3)
        await super().woken()


class LatePacer(VirtualCall):
    loop_type = LatePacerLoop


class HastyAgent(Agent):
    """The model is asked before it is known what was heard."""

    def _interrupted(self, turn: int, now: float) -> Any:
        core, effects = super()._interrupted(turn, now)
        return attrs.evolve(core, settling=None), effects


class SlowVoiceLoop(VirtualLoop):
    """A TTS that is slow to hear."""

    async def woken(self) -> None:
        if self.cell.name == "tts":
            await trio.sleep(0.02)
        await super().woken()


class SlowVoice(VirtualCall):
    loop_type = SlowVoiceLoop


class FloodingSeam(SessionSeam[Any, Any]):
    """A session may say as much as it likes before it is heard."""

    async def emit(self, event: object) -> None:
        await trio.lowlevel.checkpoint()
        self.cell.put(Envelope(event, self._edges[type(event)], self.cell.clock(), self.incarnation))


class Flooded(SlowVoice):
    seam_type = FloodingSeam


# ── what loses calls without them ─────────────────────────────────────────────────────────────────────────────────────


def cores(**changed: Callable[[Any], Any]) -> Replan:
    """Return what puts other cores in a plan."""

    def replan(plan: Plan) -> Plan:
        others = {name: change(getattr(plan.cores, name)) for name, change in changed.items()}
        return attrs.evolve(plan, cores=attrs.evolve(plan.cores, **others))

    return replan


def slow(plan: Plan) -> Plan:
    """Return the plan with a model that takes its time, so that there is more of a reply to come when it is cut."""
    return attrs.evolve(plan, models=(VirtualModel(answer=answer, token_s=0.12),))


def _as(kind: type) -> Callable[[Any], Any]:
    """Return what makes a core one of a subclass."""
    return lambda core: kind(**{field.name: getattr(core, field.name) for field in attrs.fields(type(core))})


def kills(dice: random.Random) -> tuple[Fault, ...]:
    return tuple(KillSession(actor=dice.choice(("stt", "tts")), at_s=dice.random() * 8.0) for _ in range(12))


def cancels(dice: random.Random) -> tuple[Fault, ...]:
    return tuple(
        CancelLoop(actor=dice.choice(("stt", "turn_detector", "agent", "tts")), nth=dice.randrange(40))
        for _ in range(4)
    )


def at_words(dice: random.Random) -> tuple[Fault, ...]:
    """Return a raise where words are."""
    actor, message = dice.choice(
        (
            ("stt", Recognised),
            ("turn_detector", Transcript),
            ("agent", TurnEnded),
            ("agent", ModelText),
            ("tts", Synthesised),
            ("tts", SynthesisEnded),
            ("pacer", AgentAudio),
        )
    )
    return (Raise(actor=actor, message=message, nth=dice.randrange(3)),)


def outage(dice: random.Random) -> tuple[Fault, ...]:
    return (Outage(actor="stt", at_s=1.0 + dice.random() * 2.0, lasts_s=5.0),)


def away(dice: random.Random) -> tuple[Fault, ...]:
    return (Outage(actor="tts", at_s=1.0 + dice.random() * 4.0, lasts_s=5.0),)


def voice_dies(dice: random.Random) -> tuple[Fault, ...]:
    return tuple(KillSession(actor="tts", at_s=1.5 + dice.random() * 7.0) for _ in range(8))


def poisoned(dice: random.Random) -> tuple[Fault, ...]:
    """Return a poison at which the Pacer's every step raises with something to play; its ticks do not."""
    return (Poison(actor="pacer", nth=dice.randrange(10, 60), variety=0),)


def patient(script: VirtualScript, dice: random.Random) -> VirtualScript:
    """Return a script of enough turns to lose three of them, and go on."""
    steps = tuple(Say(words=(f"q{turn}a", f"q{turn}b")) for turn in range(8))
    return attrs.evolve(script, steps=steps, end=End.CALLER)


def unanswered(outcome: Outcome) -> list[str]:
    """Judge whether the last words were answered."""
    last = f"{outcome.said[-1]}o"
    heard = [word.strip(",.") for word in outcome.heard]
    return [] if last in heard else [f"the last answer was not {last!r}: {' '.join(heard[-6:])!r}"]


def starved(outcome: Outcome) -> list[str]:
    """Judge how long a barge-in waited: sixteen events, and what else there was."""
    return [f"a barge-in lay for {outcome.longest_barge_s:.1f} s"] if outcome.longest_barge_s > 1.0 else []


def at_once(plan: Plan) -> Plan:
    """Return the plan with a voice that says all it has to say in no time, a frame at a time."""
    return attrs.evolve(plan, voices=(VirtualVoice(chunk_frames=1, pace=1e6),))


def talkative(script: VirtualScript, dice: random.Random) -> VirtualScript:
    """Return a script of long answers that are broken into."""
    words = [tuple(f"q{turn}{each}" for each in "abcdefghijklmnop") for turn in range(2)]
    steps = [
        step
        for each in words
        for step in (Say(words=each), BreakIn(words=(f"{each[0]}x", f"{each[0]}y"), after_words=dice.choice((1, 2))))
    ]
    return attrs.evolve(script, steps=(*steps, Say(words=("qz",))), end=End.CALLER)


def two_words(script: VirtualScript, dice: random.Random) -> VirtualScript:
    """Return a script of break-ins so short that they are answered as soon as they cut."""
    steps: list[Say | BreakIn] = []
    for turn in range(3):
        steps.append(Say(words=tuple(f"q{turn}{each}" for each in "abcdefghij")))
        steps.append(BreakIn(words=(f"q{turn}x", f"q{turn}y"), after_words=dice.choice((1, 2, 3))))
    return attrs.evolve(script, steps=(*steps, Say(words=("qz",))), end=End.CALLER)


def beside_a_tool(dice: random.Random) -> tuple[Fault, ...]:
    return (Raise(actor="agent", message=ModelEnded, nth=dice.choice((0, 1, 2))),)


def breaks_in(script: VirtualScript, dice: random.Random) -> VirtualScript:
    """Return the script with a break-in into each answer."""
    steps: list[Say | BreakIn] = []
    for count in range(2):
        steps.append(Say(words=tuple(f"q{count}{each}" for each in "abcdef")))
        steps.append(BreakIn(words=tuple(f"q{count}{each}" for each in "xyz"), after_words=dice.choice((1, 2))))
    return attrs.evolve(script, steps=(*steps, Say(words=("qz",))), end=End.CALLER)


def breaks_in_early(script: VirtualScript, dice: random.Random) -> VirtualScript:
    """Return the script with a break-in while each answer is on its way."""
    steps = breaks_in(script, dice).steps
    early = (
        attrs.evolve(step, patience_s=1.6 + dice.random()) if isinstance(step, BreakIn) else step for step in steps
    )
    return attrs.evolve(script, steps=tuple(early), end=End.CALLER)


def hesitates(script: VirtualScript, dice: random.Random) -> VirtualScript:
    """Return a script of words with pauses that are just too short to end a turn."""
    says = [Say(words=tuple(f"q{turn}{each}" for each in "abc"), gap_frames=dice.randint(19, 22)) for turn in range(3)]
    return attrs.evolve(script, steps=tuple(says), end=End.CALLER)


def uneager(plan: Plan) -> Plan:
    """Return the plan with a model that is asked when the turn has ended: a tool then runs before its request ends."""
    core = plan.cores.turn_detector
    patient_core = attrs.evolve(core, policy=attrs.evolve(core.policy, eager=False))
    return attrs.evolve(plan, cores=attrs.evolve(plan.cores, turn_detector=patient_core))


def books(script: VirtualScript, dice: random.Random) -> VirtualScript:
    return attrs.evolve(script, steps=(Say(words=("book", "qa")), Say(words=("qb", "book")), *script.steps[-1:]))


@attrs.frozen
class Row:
    """A rule, who breaks it, and under which faults it is missed."""

    rule: str
    call_type: type[VirtualCall] = VirtualCall
    faults: Faults = FAULTS["none"]
    prepare: Prepare = lambda script, _: script
    replan: Replan = lambda plan: plan
    # What the rule is measured against: the same, with the rule.
    instead: Replan = lambda plan: plan
    instead_type: type[VirtualCall] = VirtualCall
    # Whether something may be set aside even with the rule; and what is judged besides.
    loses: bool = False
    besides: Callable[[Outcome], list[str]] = lambda _: []


# Not here: that a mark carries the number of clears. A turn and an index are said once in a call, and what is cut is
# cut up to the newest turn there is, so that of all that a clear drops nothing is left that its echo could be taken
# for. That holds by way of other actors, of the mailboxes' order and of their cores' salvage; the number makes it the
# Pacer's own.

ROWS = (
    Row("a message is let go when it was handled, not before", LetsGoFirst, at_words),
    Row("effects are handed out without a checkpoint", Pauses, cancels),
    Row("a tool runs in the call's nursery", OwnTools, beside_a_tool, books, replan=uneager, instead=uneager),
    Row(
        "a tick comes after what arrived before it was due",
        Hasty,
        prepare=hesitates,
        replan=cores(turn_detector=lambda core: attrs.evolve(core, policy=attrs.evolve(core.policy, complete_s=0.6))),
        instead=cores(turn_detector=lambda core: attrs.evolve(core, policy=attrs.evolve(core.policy, complete_s=0.6))),
        instead_type=LateTurns,
    ),
    Row(
        "audio is kept for an outage",
        faults=outage,
        replan=cores(stt=lambda _: STT(policy=RecognitionPolicy(keep_s=2.0))),
    ),
    Row("an actor outlives its session", OneLife, away, breaks_in),
    Row(
        "children are shielded, and their deaths caught in groups",
        Passes,
        prepare=lambda script, dice: attrs.evolve(script, cancel_at=1.0 + dice.random() * 5.0),
        replan=lambda plan: attrs.evolve(plan, recognisers=(BreakingRecogniser(),)),
        instead=lambda plan: attrs.evolve(plan, recognisers=(BreakingRecogniser(),)),
    ),
    Row("a fresh core gets the same message", Impatient, at_words),
    Row("a session is asked from `started` on", Eager, kills),
    Row("the line belongs to the call", LineInActor, FAULTS["a task is cancelled"]),
    Row(
        "what is older than a break-in is dropped",
        LateAgent,
        instead_type=LateAgent,
        prepare=breaks_in_early,
        replan=lambda plan: slow(cores(pacer=_as(ForgetfulPacer), tts=_as(ForgetfulTTS))(plan)),
        instead=slow,
    ),
    Row("what a core owes is salvaged", Unsalvaged, at_words),
    Row(
        "what a dead session says is void",
        Credulous,
        voice_dies,
        breaks_in,
        replan=lambda plan: attrs.evolve(plan, voices=(ZombieVoice(),)),
        instead=lambda plan: attrs.evolve(plan, voices=(ZombieVoice(),)),
        instead_type=Haunted,
    ),
    Row(
        "three messages set aside in a row make a core bare",
        NeverBare,
        poisoned,
        patient,
        loses=True,
        besides=unanswered,
    ),
    Row(
        "what was heard is settled before the model is asked",
        LatePacer,
        prepare=two_words,
        replan=cores(agent=_as(HastyAgent)),
        instead_type=LatePacer,
    ),
    Row(
        "a session waits while its own events lie unread",
        Flooded,
        prepare=talkative,
        replan=at_once,
        instead=at_once,
        instead_type=SlowVoice,
        besides=starved,
    ),
)


def lost(row: Row, call_type: type[VirtualCall], replan: Replan) -> Iterator[str]:
    """Yield what went wrong, call by call. Nothing may be set aside either, unless a row's faults call for it."""
    for seed in range(SEEDS):
        try:
            outcome = play(seed, faults=row.faults, call_type=call_type, prepare=row.prepare, replan=replan)
        except BaseExceptionGroup as group:  # it escaped from the call, whose tasks it took along
            yield f"{seed}: {group!r}"
            continue
        wrong = [*wrongs(outcome), *row.besides(outcome)]
        if not outcome.clean and not row.loses:
            wrong.append(f"set aside: {outcome.lost}")
        if wrong:
            yield f"{seed}: {wrong[0]}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.rule)
def test_calls_are_lost_without_a_rule(row: Row) -> None:
    assert next(lost(row, row.call_type, row.replan), "") != ""
    assert list(lost(row, row.instead_type, row.instead)) == []
