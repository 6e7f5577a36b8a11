"""Agent: holds the conversation, asks the model, runs its tools, and says what it answers, piece by piece.

What becomes of a request that fails: its unsaid rest is forgotten, and the same model is asked once more, then the next
in the list. The tools that it had called are waited for first, and their answers are shown. Had it spoken already, a
note of that one request says from where to go on. When nobody is left, an apology ends the reply. None of this is heard
but as a pause, in which a phrase of ours tells the caller to wait.

A turn that is only expected to have ended is asked about all the same, if nothing else is in hand. What the model says
is kept unread. If the turn ends as expected, it is read as if it came at that moment; else it never was.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final, Self, TypeAlias, assert_never

import attrs

from engine.codec.attempts import Streak
from engine.codec.history import Change, History
from engine.codec.reply import Reply
from engine.codec.request import Eager, FromModel
from engine.codec.spoken import Diction, Spoken
from engine.codec.waiting import Silence, Wait
from engine.codec.wording import is_of_phrase
from engine.messages.caller import LineClosed
from engine.messages.conversation import CallerSaid, Entry, Noted, ToolAnswered, ToolCalled
from engine.messages.model import (
    AskModel,
    CallTool,
    CancelModel,
    ModelAsked,
    ModelEnded,
    ModelFailed,
    ModelText,
    ModelToolCall,
    ModelUsage,
    ToolReturned,
)
from engine.messages.playout import Played
from engine.messages.records import Counted, Timing
from engine.messages.reply import ONE_MOMENT, HangUp, PlayClip, PlayTone, ReplyEnded, Sentence
from engine.messages.supervision import NEVER, PolicyChanged, Tick
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, CallOpened, TurnEnded, TurnExpected, TurnResumed
from engine.policy import REASONS, Answer, answer_to

Inbox: TypeAlias = (
    CallOpened
    | TurnExpected
    | TurnResumed
    | TurnEnded
    | Backchannel
    | BargedIn
    | CallerIdle
    | Played
    | ModelAsked
    | ModelText
    | ModelToolCall
    | ModelUsage
    | ModelEnded
    | ModelFailed
    | ToolReturned
    | LineClosed
    | PolicyChanged
    | Tick
)

END_CALL = "end_call"
"""The tool by which a model ends the call. It is the engine's: nothing runs, the line is closed after the goodbye."""

TRANSFER = "transfer_to_person"
"""The tool by which a model hands the caller over. The engine's too: the line is closed after the announcement, and who
asks for the next step is told to dial."""

ENDINGS = {
    END_CALL: ("hang_up", "the call ends when this was heard"),
    TRANSFER: ("transfer", "the caller is connected to a person when this was heard"),
}
"""Why the call ends by each of the engine's own tools, and what the model is told of it."""

TOOL_LOST = "the answer was lost; what the tool does may be done all the same: look before trying again"
"""What a model is told of a tool whose answer never came."""

GREETING, STILL_THERE, GOODBYE, APOLOGY, REPEAT = "greeting", "still_there", "goodbye", "apology", "repeat_please"
CONNECTING, STOPPING = "transfer", "stopping"
"""The clips that an engine needs, by name."""

GO_ON: Final = "your answer was cut off after: “{said}” Go on from there, without repeating it."
"""What a model is told that is to end what was begun: by itself, or by another that died."""

OVERHEARD: Final = "while you spoke, the caller said: “{text}”"
"""What a model is told of words that left it the floor."""

WAITS: Final = "the caller was told to wait a moment, and waits for your answer"
"""What a model is told when nothing but our own phrase stands after what it is asked."""

LATE_TURN_S: Final = 0.5
"""How much of the wait may have gone by when a turn is known to have ended. More had another cause, which is over: the
answer may be near."""

SILENT: Final = ("slow",)
"""The kinds of a failure that consists in nothing having come."""


@attrs.frozen(kw_only=True)
class AgentPolicy:
    """How long a model is waited for, and what is done and said when it does not come.

    first_token_s: 2.5: twice what a slow model needs; then it is asked again, or another is.
    stall_s: between two tokens. 3.0: longer than a pause of a model that is well; if it was one, it costs little to be
        asked to go on.
    models: their names, in order of preference; empty where there is one and nobody cares who.
    reasons: what a kind of failure leads to. The first of a failure's kinds that stands here decides; else it is asked
        again.
    retries: of one model, since its last whole answer. 1: what fails twice in a row is down, and the caller waits.
    retry_s: pause before an overloaded model is asked again. 0.25: heard as nothing, and no fixed time would do better.
    last_s: how long the last model that is left is asked again, from its first failure on, after pauses that begin with
        `retry_s` and double. 1.0: a hiccup is over by then, and a caller has to be told before anything else is said.
    filler_s: from the caller's last word to the phrase that tells to wait, if nothing was said by then; there is none
        where `phrases` has none. 1.8: a person on a telephone asks "hello?" after two seconds.
    unheard_s: how long a caller is not asked whether they are there, because an answer is still to be heard. 30.0:
        longer than the patience for a voice that is away; one that speaks for longer has the floor.
    settle_s: how long to wait to be told what was heard of an interrupted reply. 0.5: the Pacer answers at once.
    tools_s: how long answers of tools are waited for. 10.0: each has its own, shorter limit and always answers, so an
        answer that is not there by then was lost on its way.
    human: whether there is a person to hand the caller to. failures: of turns in a row after which that is done, if the
        first of them is `failing_s` ago. 2: one apology is borne, a second says that there is nobody to talk to. 10.0:
        a vendor that restarts is back by then.
    rounds: requests to the model for one turn, tools between them. 8: more is a model in a circle.
    phrases: what each clip says.
    diction: how what is written is spoken.
    firm: phrases, as they are written, that are to be heard whole.
    tone_s: how long tools run before the hold tone; NEVER: there is none.
    idle_prompts: how often a silent caller is asked whether they are there, before the goodbye.
    """

    first_token_s: float = 2.5
    stall_s: float = 3.0
    models: tuple[str, ...] = ()
    reasons: Mapping[str, Answer] = REASONS
    retries: int = 1
    retry_s: float = 0.25
    last_s: float = 1.0
    filler_s: float = 1.8
    unheard_s: float = 30.0
    settle_s: float = 0.5
    tools_s: float = 10.0
    human: bool = False
    failures: int = 2
    failing_s: float = 10.0
    rounds: int = 8
    phrases: Mapping[str, str] = attrs.field(factory=dict)
    diction: Diction = Diction()
    firm: tuple[str, ...] = ()
    tone_s: float = NEVER
    idle_prompts: int = 1


@attrs.frozen(kw_only=True)
class Settling:
    """An interrupted turn of which the Pacer has yet to say what was heard."""

    turn: int
    due: float


@attrs.frozen(kw_only=True)
class Agent:
    """The conversation and the reply in hand."""

    policy: AgentPolicy = AgentPolicy()
    history: History = History()
    # Requests made in this call; the newest one's id is made of it.
    asked: int = 0
    answered: int = -1
    # Invariant: there is none while there is a reply, a tool under way or something to settle.
    eager: Eager | None = None
    reply: Reply | None = None
    wait: Wait = Wait()
    settling: Settling | None = None
    silence: Silence = Silence()
    # Turns in a row that ended in an apology.
    failed: Streak = Streak()
    line: LineClosed | None = None

    @property
    def conversation(self) -> tuple[Entry, ...]:
        """What was said and done, in order of turn."""
        return self.history.entries

    @property
    def deadline(self) -> float:
        """When the model, a tool or the Pacer has been silent too long."""
        waits = (self.wait, self.eager, self.reply, self.settling)
        return min(each.due for each in waits if each is not None)

    @property
    def _busy(self) -> bool:
        """Whether something is in hand, or nothing is to be done any more."""
        return self.reply is not None or bool(self.wait.tools) or self.settling is not None or self.line is not None

    def handle(self, message: Inbox, now: float) -> "Step":
        """Return the core that follows `message`, and what it sends."""
        match message:
            case ModelAsked() | ModelText() | ModelToolCall() | ModelUsage() | ModelEnded() | ModelFailed():
                if self.reply is not None and self.reply.request == message.request:
                    return self._heard_model(self.reply, message, now)
                if self.eager is not None and self.eager.request == message.request:
                    return self._overheard_model(self.eager, message, now)
                return self, []  # of a request that was cancelled
            case ToolReturned():
                return self._tool_returned(message, now)
            case TurnExpected():
                return self._expected(CallerSaid(turn=message.turn, text=message.text), now)
            case TurnResumed():
                return self._unexpected()
            case TurnEnded(turn=turn, text=text, end_s=end_s):
                since = min(now, max(end_s, now - LATE_TURN_S))
                wait, silence = self.wait.anew(now + self.policy.tone_s), self.silence.answered()
                core = attrs.evolve(self, wait=wait, silence=silence)
                return _chain(
                    core._added(CallerSaid(turn=turn, text=text), now),
                    lambda core: core._patient(since)._go_on(now),
                    lambda core: core._unexpected(),
                )
            case Backchannel(turn=turn, text=text):
                return self._added(Noted(turn=turn, text=OVERHEARD.format(text=text)), now)
            case BargedIn(turn=turn):
                return self._interrupted(turn, now)
            case Played(settled=False):
                return self, []
            case Played(turn=turn, heard=heard):
                return self._settled(turn, heard, now)
            case CallOpened():
                return self._announced(0, GREETING, now)
            case CallerIdle(turn=turn):
                return self._idle(turn, now)
            case LineClosed():
                core = attrs.evolve(self, settling=None, wait=self.wait.unfilled().toned(), line=message)
                return _chain(core._unexpected(), lambda core: core._dropped(), lambda core: (core, [message]))
            case PolicyChanged(policy=policy):
                return (attrs.evolve(self, policy=policy) if isinstance(policy, AgentPolicy) else self), []
            case Tick():
                return self._due(now)
            case _:
                assert_never(message)

    # The model's side.

    def _go_on(self, now: float) -> "Step":
        """Ask the model if there is something to ask and nothing to wait for."""
        if self.line is not None or self.settling is not None or self.wait.tools:
            return self, []
        if self.reply is None:
            turn = self._question()
            return self._patient(now)._asks(Reply(turn=turn), now) if turn > self.answered else (self, [])
        pauses = now < self.reply.again_at < NEVER
        return (self, []) if self.reply.request or pauses else self._asks(self.reply, now)

    def _asks(self, reply: Reply, now: float) -> "Step":
        """Ask the model, unless it was asked this very thing already."""
        shown = self.history.shown(reply.turn, GO_ON if reply.attempts.cut else WAITS)
        if self.eager is not None and self.eager.fits(reply.turn, shown):
            return self._adopts(self.eager, reply, now)
        request = f"r{self.asked + 1}"
        asks = reply.asks(request, now + self.policy.first_token_s)
        asked = AskModel(request=request, turn=reply.turn, conversation=shown, without=reply.attempts.without)
        return attrs.evolve(self, asked=self.asked + 1, reply=asks), [asked]

    # What is asked before its turn is known to have ended.

    def _expected(self, words: CallerSaid, now: float) -> "Step":
        """Ask for the answer to words that may be all, if there is nothing else to be done."""
        shown = (*self.conversation, words)
        if self.eager is not None and self.eager.fits(words.turn, shown):
            return self, []
        core, effects = self._unexpected()
        if self._busy or words.turn <= max(self.answered, self._question()):
            return core, effects
        request = f"r{self.asked + 1}"
        due = now + self.policy.first_token_s
        eager = Eager(turn=words.turn, request=request, shown=shown, asked_at=now, due=due)
        asked = AskModel(request=request, turn=words.turn, conversation=shown)
        return attrs.evolve(core, asked=self.asked + 1, eager=eager), [*effects, asked]

    def _overheard_model(self, eager: Eager, message: FromModel, now: float) -> "Step":
        """Keep what the model says, unread. That it failed is forgotten: it is asked again when the turn ends."""
        if isinstance(message, ModelFailed):
            return attrs.evolve(self, eager=None), [*eager.spent()]
        return attrs.evolve(self, eager=eager.with_event(message, now, self.policy.stall_s)), []

    def _adopts(self, eager: Eager, reply: Reply, now: float) -> "Step":
        """Make of an eager request the reply's, and read what it has said."""
        core = attrs.evolve(self, eager=None, reply=reply.asks(eager.request, eager.due))
        reads = [lambda core, event=event: core.handle(event, now) for event in eager.came]
        return _chain((core, [Counted(name="eager_saved_s", amount=eager.saved_s(now))]), *reads)

    def _unexpected(self, *, stalled: bool = False) -> "Step":
        """Take the eager request back, if there is one."""
        if self.eager is None:
            return self, []
        cancel = CancelModel(request=self.eager.request, stalled=stalled)
        return attrs.evolve(self, eager=None), [cancel, *self.eager.spent()]

    # What it answers.

    def _heard_model(self, reply: Reply, message: FromModel, now: float) -> "Step":
        after, pieces = reply.heard(message, now + self.policy.stall_s)
        core = attrs.evolve(self, reply=after)
        match message:
            case ModelAsked() | ModelUsage():
                return core, []
            case ModelText():
                first = [Timing(turn=reply.turn, stage="first_token", at_s=now)] if reply.silent else []
                return _chain((core, [*first]), lambda core: core._says(reply, pieces, now))
            case ModelToolCall():
                return _chain(core._says(reply, pieces, now), lambda core: core._calls_tool(message, now))
            case ModelEnded(stop=stop):
                return _chain(
                    (attrs.evolve(core, failed=Streak()), [*after.spent(ended=True)]),
                    lambda core: core._says(reply, pieces, now),
                    lambda core: core._model_ended(stop, now),
                )
            case ModelFailed(kinds=kinds):
                return core._failed(after, kinds, now)
            case _:
                assert_never(message)

    def _calls_tool(self, call: ModelToolCall, now: float) -> "Step":
        """Ask for a run of the tool. The engine's own tool runs nowhere: its answer is what will happen.

        Nor does one that ran already, for a request that died: who asks again is given the answer that there is.
        """
        reply = _held(self.reply)
        called = ToolCalled(turn=reply.turn, id=call.id, name=call.name, arguments=call.arguments)
        if call.id in self.wait.tools:
            return self, []
        if call.name in ENDINGS:
            ending, told = ENDINGS[call.name]
            answer = ToolAnswered(turn=reply.turn, id=call.id, ok=True, value=told)
            core = attrs.evolve(self, reply=attrs.evolve(reply, ending=ending))
            return _chain(core._added(called, now), lambda core: core._added(answer, now))
        known = self.history.ran(called, alike=reply.attempts.died)
        if known is not None:
            again = attrs.evolve(known, turn=reply.turn, id=call.id)
            return _chain(self._added(called, now), lambda core: core._added(again, now))
        wait = self.wait.called(call.id, due=now + self.policy.tools_s, tone_due=now + self.policy.tone_s)
        core, effects = attrs.evolve(self, wait=wait)._added(called, now)
        return core, [*effects, CallTool(id=call.id, turn=reply.turn, name=call.name, arguments=call.arguments)]

    def _model_ended(self, stop: str, now: float) -> "Step":
        reply = _held(self.reply)
        # A model may stop for tools and have asked for none: there is nothing to go on with.
        if stop != "tool_use" or not (reply.called or self.wait.tools):
            return self._finished(now)
        waits = reply.answered()
        if waits.rounds >= self.policy.rounds:
            return _chain(self._says_clip(APOLOGY, now), lambda core: core._finished(now))
        return attrs.evolve(self, reply=waits)._go_on(now)

    def _failed(self, reply: Reply, kinds: tuple[str, ...], now: float) -> "Step":
        """Ask again, or another, as the policy has it; when nobody is left, end the reply with an apology."""
        remedy = answer_to(kinds, self.policy.reasons)
        after, left = reply.failed(kinds, now, self.policy, again=remedy is Answer.RESTART)
        step: Step = attrs.evolve(self, reply=after), [*reply.spent()]
        if reply.ending and not self.wait.tools:
            return _chain(step, lambda core: core._finished(now))
        if remedy is Answer.END or not left:
            return _chain(step, lambda core: core._gives_up(remedy, now))
        # Tools that it had already asked for are waited for first: no vendor takes a call without its answer.
        return _chain(step, lambda core: core._go_on(now))

    def _gives_up(self, remedy: Answer, now: float) -> "Step":
        """End the reply with an apology; and the call, where no other try can help, or none has for some turns."""
        reply, failed = _held(self.reply), self.failed.failed(now)
        lasting = failed.count >= self.policy.failures and now - failed.since >= self.policy.failing_s
        ending = "gave_up" if remedy is Answer.END else "transfer" if lasting and self.policy.human else ""
        core = attrs.evolve(self, reply=attrs.evolve(reply, ending=ending or reply.ending), failed=failed)
        clip = CONNECTING if ending == "transfer" else APOLOGY
        return _chain(core._says_clip(clip, now), lambda core: core._finished(now))

    def _finished(self, now: float) -> "Step":
        """End the reply in hand; a reply without a word is an apology, or what fits the end that it makes."""
        reply = _held(self.reply)
        if reply.wordless:
            clip = {"": APOLOGY, "transfer": CONNECTING}.get(reply.ending, GOODBYE)
            return _chain(self._says_clip(clip, now), lambda core: core._finished(now))
        core = self._handed_over(now)
        effects: list[object] = [ReplyEnded(turn=reply.turn, pieces=reply.pieces)]
        if reply.ending:
            effects.append(HangUp(turn=reply.turn, index=reply.pieces - 1, reason=reply.ending))
        core = attrs.evolve(core, reply=None, answered=max(self.answered, reply.turn))
        return _chain((core, effects), lambda core: core._go_on(now))

    def _tool_returned(self, result: ToolReturned, now: float) -> "Step":
        """Take a tool's answer. One that nobody waits for any more becomes a note: no call has two answers."""
        called_in = self.history.turn_of(result.id)
        turn = max(self.answered, 0) if called_in is None else called_in
        if result.id not in self.wait.tools:
            return self._added(Noted(turn=turn, text=f"a tool answered late: {json.dumps(result.value)}"), now)
        core = attrs.evolve(self, wait=self.wait.returned(result.id))
        answer = ToolAnswered(turn=turn, id=result.id, ok=result.ok, value=result.value)
        return _chain(core._added(answer, now), lambda core: core._go_on(now))

    def _due(self, now: float) -> "Step":
        step: Step = (self, [])
        if self.settling is not None and self.settling.due <= now:
            step = attrs.evolve(self, settling=None)._go_on(now)
        if self.wait.tools_due <= now:
            lost = [ToolReturned(id=each, ok=False, value=TOOL_LOST) for each in sorted(self.wait.tools)]
            for result in lost:
                step = _chain(step, lambda core, result=result: core._tool_returned(result, now))  # type: ignore[misc]
        if self.eager is not None and self.eager.due <= now:
            step = _chain(step, lambda core: core._unexpected(stalled=True))
        step = _chain(step, lambda core: core._reply_due(now))
        if self.wait.filler_due <= now:
            step = _chain(step, lambda core: core._filled(now))
        return _chain(step, lambda core: core._toned(now))

    def _reply_due(self, now: float) -> "Step":
        reply = self.reply
        if reply is None or reply.due > now:
            return self, []
        if reply.asked is None:  # the pause is over
            return attrs.evolve(self, reply=attrs.evolve(reply, again_at=NEVER))._go_on(now)
        silent = CancelModel(request=reply.request, stalled=True)
        return _chain((self, [silent]), lambda core: core._failed(reply, SILENT, now))

    def _dropped(self) -> "Step":
        """Drop the reply in hand, and its request."""
        core = attrs.evolve(self, reply=None)
        if self.reply is None or not self.reply.request:
            return core, []
        return core, [CancelModel(request=self.reply.request), *self.reply.spent()]

    # The wait.

    def _patient(self, since: float) -> Self:
        """Return the core that will tell the caller to wait, if nothing is said before."""
        answering = self.reply is not None and not self.reply.wordless  # this one's answer comes after it
        if answering or ONE_MOMENT not in self.policy.phrases or self.line is not None:
            return self
        return attrs.evolve(self, wait=self.wait.patient(since, self.policy.filler_s, self.history.questions))

    def _filled(self, now: float) -> "Step":
        """Tell the caller to wait, unless something was said, or there is nothing to wait for."""
        wait = self.wait.unfilled()
        reply = self.reply or Reply(turn=self._question())
        if reply.pieces or reply.turn <= self.answered:
            return attrs.evolve(self, wait=wait), []
        wait = attrs.evolve(wait, filled=reply.turn)
        return attrs.evolve(self, reply=attrs.evolve(reply, filled=True), wait=wait)._says_clip(ONE_MOMENT, now)

    def _toned(self, now: float) -> "Step":
        """Have the hold tone played to a caller who waits for tools, if there are any and it is time."""
        if self.wait.tone_due > now:
            return self, []
        turn = self._question() if self.reply is None else self.reply.turn
        return attrs.evolve(self, wait=self.wait.toned()), [PlayTone(turn=turn)] if turn > self.answered else []

    # The caller's side.

    def _interrupted(self, turn: int, now: float) -> "Step":
        """Stop at once. What was heard is known when the Pacer has settled it; tools under way run on."""
        over = self.reply is not None and self.reply.turn <= turn
        core = attrs.evolve(
            self,
            answered=max(self.answered, turn),
            settling=Settling(turn=turn, due=now + self.policy.settle_s),
            wait=self.wait.unfilled() if over or self.reply is None else self.wait,
            silence=Silence(),
        )
        return _chain(core._unexpected(), lambda core: core._dropped() if over else (core, []))

    def _settled(self, turn: int, heard: str, now: float) -> "Step":
        """Cut what was said in `turn` to what was heard of it."""
        core = attrs.evolve(self, silence=self.silence.heard()) if turn >= self.answered else self
        step = core._changed(self.history.cut(turn, len(heard.split()), now))
        if self.settling is not None and turn >= self.settling.turn:
            return _chain(step, lambda core: attrs.evolve(core, settling=None)._go_on(now))
        if turn == self.silence.farewell and self._question() < turn:  # a goodbye that the caller has not answered
            return _chain(step, lambda core: (core, [HangUp(turn=turn, index=0, reason="idle")]))
        return step

    def _handed_over(self, now: float) -> Self:
        """Return the core whose answer is still to be heard: until then nobody else is silent."""
        return attrs.evolve(self, silence=self.silence.unheard(now + self.policy.unheard_s))

    def _question(self) -> int:
        """Return the newest turn of the caller's, or -1."""
        return max(self.history.questions, default=-1)

    def _idle(self, turn: int, now: float) -> "Step":
        """Ask a few times whether the caller is there, then say goodbye. Not while something is about to be said."""
        if self._busy or now < self.silence.unheard_until:
            return self, []
        goodbye = self.silence.asked >= self.policy.idle_prompts
        core = attrs.evolve(self, silence=self.silence.prompted(turn, goodbye=goodbye))
        return core._announced(turn, GOODBYE if goodbye else STILL_THERE, now)

    # What is said.

    def _announced(self, turn: int, clip: str, now: float) -> "Step":
        """Say a clip as the whole of a turn."""
        core = attrs.evolve(self._handed_over(now), answered=max(self.answered, turn))
        effects: list[object] = [self._clip(turn, 0, clip), ReplyEnded(turn=turn, pieces=1)]
        return _chain(core._unexpected(), lambda core: core._said_clip(turn, clip, now), lambda core: (core, effects))

    def _says(self, reply: Reply, pieces: tuple[str, ...], now: float) -> "Step":
        """Hand pieces of the model's text to the voice. reply: as it was before them."""
        if not pieces:
            return self, []
        spoken = [self.policy.diction.spoken(text) for text in pieces]
        effects: list[object] = [
            Sentence(turn=reply.turn, index=reply.pieces + count, text=spoken[count].text, firm=self._is_firm(text))
            for count, text in enumerate(pieces)
        ]
        if reply.wordless:
            effects.append(Timing(turn=reply.turn, stage="first_clause", at_s=now))
        core = self
        for text, aloud in zip(pieces, spoken, strict=True):
            core, records = core._said(reply.turn, text, aloud, now)
            effects += records
        return core, effects

    def _says_clip(self, clip: str, now: float) -> "Step":
        reply = _held(self.reply)
        core = attrs.evolve(self, reply=attrs.evolve(reply, pieces=reply.pieces + 1))
        effects: list[object] = [self._clip(reply.turn, reply.pieces, clip)]
        return _chain((core, effects), lambda core: core._said_clip(reply.turn, clip, now))

    def _clip(self, turn: int, index: int, clip: str) -> PlayClip:
        return PlayClip(turn=turn, index=index, clip=clip, firm=self._is_firm(self.policy.phrases[clip]))

    def _is_firm(self, text: str) -> bool:
        return is_of_phrase(text, self.policy.firm)

    def _said_clip(self, turn: int, clip: str, now: float) -> "Step":
        phrase = self.policy.phrases[clip]
        return self._said(turn, phrase, self.policy.diction.spoken(phrase), now)

    def _said(self, turn: int, text: str, spoken: Spoken, now: float) -> "Step":
        """Add to the conversation what is being said: nobody waits in silence from now on."""
        history, records = self.history.said(turn, text, spoken, now)
        return attrs.evolve(self, history=history, wait=self.wait.spoken(now + self.policy.tone_s)), [*records]

    def _added(self, entry: Entry, now: float) -> "Step":
        return self._changed(self.history.added(entry, now))

    def _changed(self, change: Change) -> "Step":
        history, records = change
        return attrs.evolve(self, history=history), [*records]

    def fresh(self, suspect: Self) -> Self:
        """Return a new core with the suspect's conversation, reply in hand and tools under way."""
        return attrs.evolve(
            self.bare(suspect),
            history=History(entries=tuple(suspect.conversation), stored=int(suspect.history.stored)),
            eager=suspect.eager if isinstance(suspect.eager, Eager) else None,
            reply=suspect.reply if isinstance(suspect.reply, Reply) else None,
            wait=suspect.wait.fresh(),
            settling=suspect.settling if isinstance(suspect.settling, Settling) else None,
            silence=suspect.silence.fresh(),
            failed=suspect.failed.fresh(),
        )

    def bare(self, suspect: Self) -> Self:
        """Return a new core with the suspect's numbers, which stores after what was stored."""
        policy: object = suspect.policy
        return attrs.evolve(
            self,
            policy=policy if isinstance(policy, AgentPolicy) else self.policy,
            history=suspect.history.bare(),
            asked=int(suspect.asked),
            answered=int(suspect.answered),
            line=suspect.line if isinstance(suspect.line, LineClosed) else None,
        )


Step: TypeAlias = tuple[Agent, list[object]]


def _chain(step: Step, *moves: Callable[[Agent], Step]) -> Step:
    """Return the step that makes one move after another."""
    core, effects = step
    for move in moves:
        core, more = move(core)
        effects = [*effects, *more]
    return core, effects


def _held(reply: Reply | None) -> Reply:
    assert reply is not None, "there is a reply in hand here"
    return reply
