"""A whole call as messages on a virtual clock, from a seed, and a judge that says in sentences what went wrong in it.

`python -m simulators.virtual.call CLASS SEED` runs one again and shows what happened.
"""

# ruff: noqa: PLR2004, ASYNC110 - chances drawn for a script are its own; a caller listens now and then, as one does
# ruff: noqa: ANN401, PLR0913, PLR0917 - trio's tasks have no public type; a call is made of many parts

import itertools
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, ClassVar, TypeAlias, assert_never

import attrs
import trio
from trio._core import _run as scheduler
from trio.testing import MockClock

from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import Clip, Pacer
from engine.actors.turn_detector import TurnDetector, TurnPolicy
from engine.call import Call, Cores, Plan
from engine.loop import Kind, Loop, Remedy, StepRaised
from engine.messages.caller import CallerAudio, LineClosed, MarkEcho, SpeechStarted, SpeechStopped
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, ToolAnswered
from engine.messages.line import LineAudio, LineEnded, LineMark
from engine.messages.model import ModelEnded, ModelText, ModelToolCall, ToolReturned
from engine.messages.playout import Played, Playing, Stopped
from engine.messages.recognition import Recognised, Transcript
from engine.messages.reply import HangUp, PlayClip, PlayNotice, ReplyEnded, Sentence
from engine.messages.supervision import SessionInfo, Tick
from engine.messages.synthesis import AgentAudio, AgentAudioEnded, Synthesised, SynthesisEnded
from engine.messages.turns import BargedIn, CallerIdle, CallOpened, TurnEnded
from engine.supervisor import SupervisionEvent, Supervisor
from simulators.virtual import tone
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
}
NOTICE = PHRASES["repeat_please"].split()
LAST_WORD = "done."
"""Ends every answer, so that a caller knows when it is over whatever pauses there are in it."""

IDLE_S = 4.0
LONGEST_S = 120.0
"""A call that takes longer hangs."""

PROMPT_S = 0.5
"""A barge-in that lies longer in a mailbox waits for something: lag alone makes it a third of a second at most."""

# ── what the caller does ──────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Say:
    """Say the words after a pause, and hear the answer out, unless a `BreakIn` follows. gap_frames: between words."""

    words: tuple[str, ...]
    after_s: float = 0.3
    gap_frames: int = 2


@attrs.frozen(kw_only=True)
class BreakIn:
    """Say the words as soon as `after_words` more words were heard, or after `patience_s`."""

    words: tuple[str, ...]
    after_words: int
    patience_s: float = 3.0


@attrs.frozen(kw_only=True)
class Press:
    """Press a key, and hear the answer out."""

    digit: str


@attrs.frozen
class BeSilent:
    """Say nothing until asked whether anybody is there."""


class End(Enum):
    """Who ends the call."""

    CALLER = "stop"
    SOCKET = "closed"
    AGENT = "hang_up"
    IDLE = "idle"


Step: TypeAlias = Say | BreakIn | Press | BeSilent


@attrs.frozen(kw_only=True)
class VirtualScript:
    """What a caller does in a call. hang_up_at: the caller hangs up then, wherever the call stands."""

    steps: tuple[Step, ...]
    end: End = End.CALLER
    hang_up_at: float = math.inf
    # The scope around the whole call is cancelled then.
    cancel_at: float = math.inf


def _vocabulary() -> Iterator[str]:
    """Words, each new."""
    for first, vowel, last in itertools.product("bdfgklmnprstvz", "aeiou", "bdfgklmnprtz"):
        yield f"{first}{vowel}{last}"


def answer(text: str) -> str:
    """Return what the model says to `text`: each word of it, changed."""
    words = [f"{word}o" for word in text.split()]
    first, rest = words[:2], words[2:]
    return " ".join([*first[:-1], f"{first[-1]},", *rest, LAST_WORD] if rest else [*first, LAST_WORD])


def script_of(dice: random.Random, vocabulary: Iterator[str]) -> VirtualScript:
    """Draw a call: two or three turns, and what may happen in one."""

    def words(least: int = 1, most: int = 3) -> tuple[str, ...]:
        return tuple(itertools.islice(vocabulary, dice.randint(least, most)))

    def pause() -> float:
        return dice.choice((0.1, 0.3, 0.7))

    steps: list[Step] = []
    if dice.random() < 0.15:
        steps.append(BreakIn(words=words(2, 3), after_words=1))  # into the greeting
    steps.append(Say(words=words(), after_s=pause()))
    extra = dice.choice(("book", "book", "barge", "barge", "press", "idle", "book barge", ""))
    if "book" in extra:
        steps.append(Say(words=(*words(0, 1), "book", *words(1, 2)), after_s=pause()))
    if "barge" in extra:
        if "book" not in extra:
            steps.append(Say(words=words(2, 4), after_s=pause()))
        steps.append(BreakIn(words=words(2, 4), after_words=dice.choice((0, 1, 2, 3))))
    if extra == "press":
        steps.append(Press(digit=dice.choice("123456789")))
    if extra == "idle":
        steps.append(BeSilent())
    end = dice.choice((End.CALLER, End.CALLER, End.SOCKET, End.AGENT, End.AGENT, End.IDLE))
    steps.append(Say(words=(*words(), "bye") if end is End.AGENT else words(), after_s=pause()))
    return VirtualScript(steps=tuple(steps), end=end)


@attrs.define(eq=False)
class VirtualCaller:
    """Plays a script on a phone. said: words and when they began, in order; repeated: after being asked."""

    phone: VirtualPhone
    script: VirtualScript
    vocabulary: Iterator[str]
    said: list[tuple[float, tuple[str, ...]]] = attrs.field(factory=list)
    repeated: int = 0
    # How often no answer came.
    in_vain: int = 0

    async def run(self) -> None:
        """Make the call, to its end."""
        steps = self.script.steps
        if not isinstance(steps[0], BreakIn):
            await self._heard(len(PHRASES["greeting"].split()), within_s=3.0)
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            before = len(self.phone.ear.words)
            match step:
                case Say(words=words, after_s=after_s, gap_frames=gap_frames):
                    await trio.sleep(after_s)
                    before = len(self.phone.ear.words)
                    self._say(words, gap_frames)
                case BreakIn(words=words, after_words=after_words, patience_s=patience_s):
                    await self._heard(before + after_words, within_s=patience_s)
                    before = len(self.phone.ear.words)
                    self._say(words)
                case Press(digit=digit):
                    await trio.sleep(0.5)
                    self.said.append((self.phone.now_s(), (digit,)))
                    self.phone.press(digit)
                case BeSilent():
                    await self._heard(before + 2, within_s=IDLE_S + 3.0)
                    continue
                case _:
                    assert_never(step)
            while self.phone.speaking:
                await trio.sleep(0.06)
            if following is None and self.script.end is End.AGENT:
                break
            if not isinstance(following, BreakIn):
                await self._answered(before)
        if self.script.end in {End.AGENT, End.IDLE}:
            with trio.move_on_after(3 * IDLE_S + 5.0):
                while not self.phone.closed:
                    await trio.sleep(0.2)
        if self.script.end is End.SOCKET:
            self.phone.vanish()
        self.phone.hang_up()

    def _say(self, words: tuple[str, ...], gap_frames: int = 2) -> None:
        self.said.append((self.phone.now_s(), words))
        self.phone.say(words, gap_frames=gap_frames)

    async def _heard(self, count: int, *, within_s: float) -> None:
        """Wait until so many words were heard in all, and those have ended."""
        with trio.move_on_after(within_s):
            while len(self.phone.ear.words) < count:
                await trio.sleep(0.06)

    async def _answered(self, before: int) -> None:
        """Hear the answer out; say something once more if asked to, or if nothing comes."""
        asked = before
        with trio.move_on_after(10.0) as late:
            while True:
                await trio.sleep(0.12)
                words = [word.text for word in self.phone.ear.words[asked:]]
                plain = [word.strip(",.") for word in words]
                mine = f"{self.said[-1][1][-1]}o"
                if mine in plain and LAST_WORD in words[plain.index(mine) :] and not self.phone.hearing:
                    return
                if not self.phone.hearing and not self.phone.speaking and {NOTICE[-1], "there"} & set(words):
                    asked = len(self.phone.ear.words)
                    self.repeated += 1
                    await trio.sleep(0.2)
                    self._say((next(self.vocabulary), next(self.vocabulary)))
        self.in_vain += late.cancelled_caught


# ── the call ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_jitter = random.Random()  # noqa: S311 - for backoffs that come again with the seed


@attrs.define(kw_only=True, eq=False)
class SeededSupervisor(Supervisor):
    """The engine's supervisor, whose backoffs come again with the call's seed."""

    seed: int = attrs.field(factory=lambda: _jitter.getrandbits(64))


class VirtualCall(Call):
    """The engine's call, on loops that lag and fail, and with a note of what happened."""

    loop_type: ClassVar[type[Loop]] = VirtualLoop
    supervisor_type: ClassVar[type[Supervisor]] = SeededSupervisor

    def note(self, text: str) -> None:
        """Note what happened, with the time."""
        if not hasattr(self, "notes"):
            self.notes: list[str] = []
            self.notices = 0
        self.notes.append(f"{self.clock():7.3f} {text}")

    def tell(self, sender: str, message: object) -> None:
        """Send, and note it if the caller is asked to repeat."""
        if isinstance(message, PlayNotice):
            self.note("the caller is asked to repeat")
            self.notices += 1
        super().tell(sender, message)

    def _event(self, event: SupervisionEvent) -> None:
        about = getattr(event, "reason", getattr(event, "after_s", ""))
        self.note(f"{event.supervisor}/{event.child}#{event.incarnation} {type(event).__name__} {about}")
        super()._event(event)


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a call.

    said, got: words that the caller spoke, and that the agent was given. heard: words at the caller's ear.
    raised: each raise, with the remedy. lost: messages set aside or dropped, by edge.
    bare: how many bare cores took over.
    """

    script: VirtualScript
    faults: tuple[Fault, ...]
    said: tuple[str, ...]
    utterances: tuple[tuple[float, tuple[str, ...]], ...]
    repeated: int
    in_vain: int
    got: tuple[str, ...]
    heard: tuple[str, ...]
    gaps: int
    clears: int
    conversation: tuple[Entry, ...]
    runs: dict[str, int]
    lost: dict[str, int]
    bare: int
    raised_at: tuple[float, ...]
    notices: int
    reason: str | None
    hung: bool
    tasks_left: int
    ended_at: float
    longest_barge_s: float
    voice_deaths: int
    notes: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether no message was set aside or dropped, and no core bare: then nothing may be missing."""
        return not self.lost and not self.bare

    @property
    def stutters(self) -> int:
        """How often the beginning of a word was heard, and then the whole of it."""
        return self.heard.count(tone.GARBLED) if self.voice_deaths and not self.clears else 0

    @property
    def cut_short(self) -> bool:
        """Whether it was ended in the middle, by its script."""
        return min(self.script.hang_up_at, self.script.cancel_at) < LONGEST_S


def play(
    seed: int,
    *,
    script: VirtualScript | None = None,
    faults: Callable[[random.Random], tuple[Fault, ...]] = lambda _: (),
    call_type: type[VirtualCall] = VirtualCall,
    prepare: Callable[[VirtualScript, random.Random], VirtualScript] = lambda script, _: script,
    replan: Callable[[Plan], Plan] = lambda plan: plan,
    longest_s: float = LONGEST_S,
) -> Outcome:
    """Run the call that a seed stands for, on a clock of its own. The same seed gives the same call.

    prepare, replan: change what was drawn, what the call is opened with. longest_s: after which it hangs.
    """
    dice = random.Random(seed)  # noqa: S311
    vocabulary = _vocabulary()
    drawn = prepare(script or script_of(dice, vocabulary), dice)
    with _seeded(dice.getrandbits(32)):
        return trio.run(
            _virtual_call,
            drawn,
            faults(dice),
            call_type,
            dice,
            vocabulary,
            replan,
            longest_s,
            clock=MockClock(autojump_threshold=0),
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Have trio shuffle its tasks by a seed, so that a failing call can be run again."""
    deterministic, scheduler._ALLOW_DETERMINISTIC_SCHEDULING = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, True  # type: ignore[misc]
    scheduler._r.seed(seed)
    _jitter.seed(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = deterministic  # type: ignore[misc]
        scheduler._r.seed()


async def _virtual_call(
    script: VirtualScript,
    faults: tuple[Fault, ...],
    call_type: type[VirtualCall],
    dice: random.Random,
    vocabulary: Iterator[str],
    replan: Callable[[Plan], Plan],
    longest_s: float,
) -> Outcome:
    phone, archive, tools = VirtualPhone(), VirtualArchive(), VirtualTools()
    raised: list[StepRaised] = []
    clips = {name: Clip(text=text, audio=spoken_text(text)[0]) for name, text in PHRASES.items()}
    plan = Plan(
        stream_sid=phone.stream_sid,
        call_sid="CA" + "0" * 32,
        prompt="",
        greeting="",
        cores=Cores(
            pacer=Pacer(clips=clips),
            agent=Agent(policy=AgentPolicy(phrases=PHRASES, tools_s=2.0)),
            turn_detector=TurnDetector(policy=TurnPolicy(idle_s=IDLE_S)),
        ),
        recogniser=VirtualRecogniser(),
        voice=VirtualVoice(),
        model=VirtualModel(answer=answer),
        tools=tools,
        archive=archive,
        vad=ToneVad(),
        on_raise=raised.append,
    )
    before = trio.lowlevel.current_statistics().tasks_living
    caller = VirtualCaller(phone=phone, script=script, vocabulary=vocabulary)
    call = call_type(line=phone, plan=replan(plan))
    call.note("opened")
    most_lag_s, spike_s = dice.choice((0.0, 0.01, 0.03)), dice.choice((0.0, 0.0, 0.3))
    for loop in call.loops.values():
        assert isinstance(loop, VirtualLoop)
        loop.call, loop.dice, loop.most_lag_s, loop.spike_s = call, dice, most_lag_s, spike_s
        loop.faults = tuple(each for each in faults if isinstance(each, Raise | Poison | CancelLoop))
    hung = True
    patience = trio.CancelScope(shield=True)
    with trio.move_on_after(longest_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_give_up, patience, longest_s + 30.0)
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
        got=tuple(word for each in conversation if isinstance(each, CallerSaid) for word in each.text.split()),
        heard=tuple(phone.words()),
        gaps=phone.ear.gaps,
        clears=len(phone.clears),
        conversation=tuple(conversation),
        runs=tools.runs,
        lost=call.counts(),
        bare=sum(each.remedy is Remedy.BARE for each in raised),
        raised_at=tuple(each.now for each in raised),
        notices=call.notices,
        reason=archive.reason,
        hung=hung,
        tasks_left=trio.lowlevel.current_statistics().tasks_living - before,
        ended_at=call.clock(),
        longest_barge_s=max(loop.longest_barge_s for loop in call.loops.values() if isinstance(loop, VirtualLoop)),
        voice_deaths=sum("tts/session" in note and "ChildFailed" in note for note in call.notes),
        notes=tuple(call.notes),
    )


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

# ── the judge ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def wrongs(outcome: Outcome) -> list[str]:
    """Return what went wrong, a sentence each; empty if the call went as it should."""
    found = [*_end(outcome), *_barged(outcome), *_runs(outcome), *_twice(outcome)]
    if outcome.hung:
        return found
    if outcome.clean:
        found += _words(outcome)
        found += _speech(outcome)
    else:
        found += _losses(outcome)
    return found


def _end(outcome: Outcome) -> Iterator[str]:
    if outcome.hung:
        yield f"the call hung: it had not ended after {LONGEST_S} s"
    if outcome.tasks_left:
        yield f"{outcome.tasks_left} tasks are left"
    if outcome.reason is None:
        yield "the archive was not closed"
    elif outcome.clean and not outcome.cut_short and outcome.reason != outcome.script.end.value:
        yield f"it ended by {outcome.reason!r}, not by {outcome.script.end.value!r}"
    elif outcome.reason not in {*(end.value for end in End), "cancelled"}:
        yield f"it ended by {outcome.reason!r}"


def _barged(outcome: Outcome) -> Iterator[str]:
    """Judge how soon a barge-in was obeyed when only vendors failed: actors are not to wait for them."""
    vendors = outcome.faults and all(isinstance(each, KillSession | Outage) for each in outcome.faults)
    if vendors and outcome.longest_barge_s > PROMPT_S:
        yield f"a barge-in lay in a mailbox for {outcome.longest_barge_s:.2f} s"


def _runs(outcome: Outcome) -> Iterator[str]:
    for name, count in outcome.runs.items():
        if count != 1:
            yield f"the tool ran {count} times for {name}"
    for each in outcome.conversation:
        if isinstance(each, ToolAnswered) and not each.ok and outcome.clean:
            yield f"the result of {each.id} was lost: {each.value!r}"
    asked = sum(isinstance(each, CallerSaid) and "book" in each.text.split() for each in outcome.conversation)
    if outcome.clean and not outcome.cut_short and len(outcome.runs) != asked:
        yield f"{asked} bookings were asked for, {len(outcome.runs)} were made"


def _twice(outcome: Outcome) -> Iterator[str]:
    new = set(outcome.said) - {"book", "bye"}
    for what, words in (("the agent got", outcome.got), ("the caller heard", outcome.heard)):
        plain = [word.strip(",.") for word in words]
        for word in new:
            count = plain.count(word if words is outcome.got else f"{word}o")
            if count > 1 and not word.isdigit():
                yield f"{what} {word!r} {count} times"


def _words(outcome: Outcome) -> Iterator[str]:
    """Judge what reached the agent; in a call cut short, the last words may be missing, one of them half said."""
    got, said = outcome.got, outcome.said
    if outcome.cut_short:
        got = got[:-1] if got[-1:] == (tone.GARBLED,) else got
        said = said[: len(got)]
    if got != said:
        yield f"the caller said {' '.join(outcome.said)!r}, the agent got {' '.join(outcome.got)!r}"


def _speech(outcome: Outcome) -> Iterator[str]:
    """Judge the answers by what was asked, and what was heard by the answers as they are on record."""
    if outcome.in_vain:
        yield f"the caller waited for an answer in vain, {outcome.in_vain} times"
    asked = {each.turn: each.text for each in outcome.conversation if isinstance(each, CallerSaid)}
    said: dict[int, str] = {}
    cut: set[int] = set()
    for each in outcome.conversation:
        if isinstance(each, AgentSaid):
            said[each.turn] = f"{said[each.turn]} {each.text}" if each.turn in said else each.text
            cut |= {each.turn} if each.interrupted else set()
    broken_in = (
        outcome.cut_short or outcome.repeated > 0 or any(isinstance(step, BreakIn) for step in outcome.script.steps)
    )
    whole = {turn: answer(text) for turn, text in asked.items()}
    for turn, text in whole.items():
        if turn not in said:
            if not broken_in:
                yield f"turn {turn} was not answered"
        elif turn in cut and not broken_in and turn != max(whole):
            yield f"turn {turn} was cut to {said[turn]!r}, and nobody broke in"
        elif said[turn] != text and not (turn in cut and text.startswith(said[turn])):
            yield f"turn {turn} was answered {said[turn]!r}, not {text!r}"
    if not outcome.cut_short:
        yield from _heard(outcome, said, cut, whole, broken_in=broken_in)


def _heard(
    outcome: Outcome, said: dict[int, str], cut: set[int], whole: dict[int, str], *, broken_in: bool
) -> Iterator[str]:
    # A voice that dies within the Pacer's lead leaves the beginning of a word on the line: it is heard, then the whole.
    heard = [word for word in outcome.heard if word != tone.GARBLED or not outcome.voice_deaths]
    at = 0
    for turn in sorted(said):
        words = said[turn].split()
        if turn not in cut:
            there = heard[at : at + len(words)]
            # A break-in that crosses the end may clip the last frame of the last word.
            clipped = broken_in and there == [*words[:-1], tone.GARBLED]
            if there != words and not clipped:
                yield f"turn {turn} was {said[turn]!r}, at the ear it was {' '.join(there)!r}"
                return
            at += len(words)
            continue
        # The word that is being spoken at the cut may have been heard wholly, partly or not at all.
        full = whole.get(turn, said[turn]).split()
        count = sum(
            1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(full, heard[at:], strict=False))
        )
        at += count
        if heard[at : at + 1] == [tone.GARBLED]:
            at += 1
        if abs(count - len(words)) > 1:
            yield f"turn {turn} was cut to {said[turn]!r}, the ear had {count} words of it"
    if heard[at:]:
        yield f"nobody is on record for {' '.join(heard[at:])!r}"


def _losses(outcome: Outcome) -> Iterator[str]:
    """Judge a call in which something was given up: the caller is asked to repeat, and the call goes on."""
    fired = outcome.raised_at
    words_lost = outcome.bare or any("set aside" in name and _in_words(name) for name in outcome.lost)
    if words_lost and not outcome.notices and max(fired) < outcome.ended_at - 2.0:
        yield f"{outcome.lost} were set aside, {outcome.bare} cores bare, and nobody was asked to repeat"
    if outcome.cut_short:
        return
    begun_at, last = outcome.utterances[-1]
    if fired and max(fired) < begun_at - 1.0:
        if outcome.got[-len(last) :] != last:
            yield f"after the fault, the caller said {' '.join(last)!r}, the agent got {' '.join(outcome.got)!r}"
        plain = [word.strip(",.") for word in outcome.heard]
        if not all(f"{word}o" in plain for word in last):
            yield f"after the fault, {' '.join(last)!r} was answered {' '.join(outcome.heard[-8:])!r}"


_WORDS = (LineAudio, CallerAudio, Recognised, Transcript, TurnEnded, Sentence, AgentAudio, ModelText, Synthesised)


def _in_words(edge: str) -> bool:
    return any(f"-{each.__name__}->" in edge for each in _WORDS)


def show(name: str, outcome: Outcome) -> str:
    """Return a call as text."""
    lines = [
        name,
        *map(str, outcome.script.steps),
        f"end: {outcome.script.end}",
        *map(str, outcome.faults),
        *outcome.notes,
        *map(str, outcome.conversation),
        f"said  {' '.join(outcome.said)}",
        f"got   {' '.join(outcome.got)}",
        f"heard {' '.join(outcome.heard)}",
        f"gaps {outcome.gaps}, clears {outcome.clears}, notices {outcome.notices}",
        f"lost {outcome.lost}, bare {outcome.bare}",
        f"ended by {outcome.reason!r} after {outcome.ended_at:.1f} s",
        *(f"WRONG: {each}" for each in wrongs(outcome)),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    _name, _seed = sys.argv[1], int(sys.argv[2])
    sys.stdout.write(show(_name, play(_seed, faults=FAULTS[_name])) + "\n")
