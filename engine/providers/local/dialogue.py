"""The scripted agent's next reply, from everything that was said and done. Pure.

Theory of operation. `next_reply` reads the conversation from its beginning and keeps a `State`: what the caller wants
(an `Errand`: filled slots, what tools offered and answered), what was asked last, how often it was not understood. Each
thing the caller says, and each answer of a tool, is first *heard* (what does it change?) and then *acted* upon (what
comes next?), just as it was when it happened, so nothing has to be remembered between replies, and a restart, a reply
that was cut off or another model's part in the conversation changes nothing.

What a caller says is tried in this order: a plain yes or no; an intent that is certain; an answer to the question;
something for any slot of the errand (a correction); an intent that is likely. Else it was not understood: the question
is put in other words, and the third time a human is offered.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, time
from typing import Final, Literal, TypeAlias

import attrs

from engine.messages.conversation import AgentSaid, CallerSaid, Entry, Json, Noted, ToolAnswered, ToolCalled
from engine.providers.local import answers
from engine.providers.local.plot import TIME, Ask, Call, Choose, Intent, Script, Slot, Step, fields
from engine.providers.local.routing import Route
from engine.providers.local.when import When, understand

END_CALL: Final = "end_call"
TRANSFER: Final = "transfer_to_person"
"""The engine's own tool, without arguments: the call ends once what was said has been heard."""

# How many of what was offered are read out: what a listener keeps in mind.
_READ_OUT: Final = 3
# Failures to understand, or of a tool, after which a human is offered.
_PATIENCE: Final = 3
_NOON: Final = 12
# Likeness from which another errand is begun though the words also fit the one in hand: a keyword and an example.
_UNMISTAKABLE: Final = 0.75
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@attrs.frozen(kw_only=True)
class Reply:
    """What the agent says, then what it does."""

    texts: tuple[str, ...] = ()
    calls: tuple[tuple[str, Mapping[str, Json]], ...] = ()


@attrs.frozen(kw_only=True)
class Stage:
    """What a reply depends on beside the conversation.

    route: the intents of a text, nearest first.
    tools: the names of the tools that may be called.
    facts: what texts may name: "human_number", "business".
    """

    script: Script
    route: Callable[[str], Sequence[Route]]
    today: date
    tools: frozenset[str]
    facts: Mapping[str, str] = attrs.field(factory=dict)


def next_reply(stage: Stage, conversation: Sequence[Entry]) -> Reply:
    """Return the reply that follows a conversation. The same for the same, always."""
    state, reply = State(), Reply(texts=(stage.script.greeting,))
    for entry in conversation:
        match entry:
            case CallerSaid(turn=turn, text=text):
                state, reply = _Act(stage).act(_Ear(stage).hear(attrs.evolve(state, turn=turn), text))
            case AgentSaid(turn=turn) if turn > state.turn:  # "Are you still there?"
                state = attrs.evolve(state, was_prompted=True)
            case AgentSaid(text=text, interrupted=interrupted, unheard=unheard):
                missed = len(unheard) if unheard else len(" ".join(state.said)) - len(text)
                enough = len(text) >= missed or not interrupted
                state = attrs.evolve(state, was_heard=state.was_heard or (bool(text.strip()) and enough))
            case ToolCalled(id=id_, name=name, arguments=arguments):
                state = attrs.evolve(state, running={**state.running, id_: (name, arguments)})
            case ToolAnswered(id=id_, ok=ok, value=value):
                name, arguments = state.running.get(id_, ("", {}))
                running = {each: run for each, run in state.running.items() if each != id_}
                state = attrs.evolve(state, running=running)
                if name in {END_CALL, TRANSFER}:
                    reply = Reply()
                    continue
                state = _Ear(stage).learn(state, name, arguments, value, ok=ok)
                state, reply = _Act(stage).act(state)
            case Noted():
                pass
    return reply


# ── what is known ─────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class Filled:
    """What a slot holds: the value for the tools, and how it is said."""

    value: Json
    say: str


@attrs.frozen(kw_only=True)
class Errand:
    """What the agent is doing for the caller.

    offers: what a tool last offered. note: what it said about them.
    answered: the tools that have answered well, with the arguments that they answered for. results: what the last
        of them said, as texts may name it: `result_` and the name in its answer.
    agreed: the words that the caller agreed to.
    failures: how often a tool refused.
    """

    intent: str
    slots: Mapping[str, Filled] = attrs.field(factory=dict)
    offers: tuple[Filled, ...] = ()
    note: str = ""
    answered: Mapping[str, Mapping[str, Json]] = attrs.field(factory=dict)
    results: Mapping[str, str] = attrs.field(factory=dict)
    agreed: str = ""
    failures: int = 0

    def without(self, names: Sequence[str]) -> "Errand":
        """Return the errand with these slots empty."""
        return attrs.evolve(self, slots={name: held for name, held in self.slots.items() if name not in names})

    @property
    def read_out(self) -> tuple[Filled, ...]:
        """The offers that are read out: those nearest to the time that the caller wants, else spread over all."""
        if len(self.offers) <= _READ_OUT:
            return self.offers
        wanted = _wanted_time(self)
        if wanted is not None:
            by_distance = sorted(self.offers, key=lambda offer: _distance(offer, wanted))[:_READ_OUT]
            return tuple(offer for offer in self.offers if offer in by_distance)
        step = (len(self.offers) - 1) / (_READ_OUT - 1)
        return tuple(self.offers[round(number * step)] for number in range(_READ_OUT))


Asked: TypeAlias = Literal["", "slot", "choice", "agreement", "change", "more"]


@attrs.frozen(kw_only=True)
class State:
    """What is known at a point of the conversation.

    known: slots of errands that are done.
    asked: what kind of answer is expected; `slot`: for which slot.
    misses: answers in a row that were not understood.
    preface: what is to be said before anything else. said: what was last to be said.
    was_heard: the caller has heard that, since they last spoke. was_prompted: the engine asked something itself since.
    turn: the caller's last.
    running: tools that have not answered yet.
    """

    errand: Errand | None = None
    queue: tuple[str, ...] = ()
    known: Mapping[str, Filled] = attrs.field(factory=dict)
    asked: Asked = ""
    slot: str = ""
    misses: int = 0
    preface: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    was_heard: bool = False
    was_prompted: bool = False
    turn: int = -1
    running: Mapping[str, tuple[str, Mapping[str, Json]]] = attrs.field(factory=dict)
    mood: Literal["", "repeat", "wait", "transfer", "end"] = ""


# ── what the caller and the tools change ──────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class _Ear:
    """Makes of a state and what was heard the state that follows."""

    stage: Stage

    @property
    def script(self) -> Script:
        return self.stage.script

    def hear(self, state: State, text: str) -> State:
        before = attrs.evolve(state, preface=(), mood="", was_prompted=False)
        if state.was_prompted and state.said and (answers.is_only_yes_or_no(text) or self._is_small(text)):
            # "Yes, I'm here": it answers the engine, and the question is still open.
            return attrs.evolve(before, was_heard=False)
        if answers.is_only_yes_or_no(text):
            heard = self._plain_yes_or_no(before, is_yes=bool(answers.yes_or_no(text)), text=text)
        else:
            tries = (self._certain_intent, self._answer, self._correction, self._likely_intent)
            heard = next((found for understand_as in tries if (found := understand_as(before, text)) is not None), None)
        if heard is None:
            # What nobody heard asked, nobody failed to answer.
            missed = before.was_heard or not before.said
            return attrs.evolve(before, misses=before.misses + missed, was_heard=False)
        misses = before.misses if heard.mood in ("repeat", "wait") else 0
        return attrs.evolve(heard, misses=misses, was_heard=False)

    # Each of these returns None where it cannot make anything of the text.

    def _plain_yes_or_no(self, state: State, *, is_yes: bool, text: str) -> State | None:
        match state.asked:
            case "agreement":
                return self._agreed(state, is_yes=is_yes)
            case "choice":
                return self._chosen_by_yes_or_no(state, is_yes=is_yes)
            case "change":  # "nothing", "it's fine"
                return attrs.evolve(state, asked="agreement")
            case "more" if not state.was_heard:  # what became of the errand is still to be told
                return attrs.evolve(state, mood="repeat")
            case "more" if not is_yes or answers.is_all(text):
                return attrs.evolve(state, mood="end")
            case "more":
                return attrs.evolve(state, asked="", preface=(self.script.greeting,))
            case "" if state.errand is None and state.said:
                return attrs.evolve(state, asked="" if is_yes else "more")
            case _:
                return None

    def _agreed(self, state: State, *, is_yes: bool) -> State:
        assert state.errand is not None
        if not is_yes:
            return attrs.evolve(state, asked="change")
        if not state.was_heard:  # to what was not heard nobody agrees
            return state
        return attrs.evolve(state, errand=attrs.evolve(state.errand, agreed=state.said[-1]), asked="")

    def _chosen_by_yes_or_no(self, state: State, *, is_yes: bool) -> State | None:
        assert state.errand is not None
        if not is_yes:
            return self._wants_other(state)
        offers = state.errand.read_out
        return self._chosen(state, offers[0]) if len(offers) == 1 and state.was_heard else None

    def _is_small(self, text: str) -> bool:
        route = self._meant(State(), text, self.script.certain)
        return route is not None and self.script.intents[route.intent].is_small

    def _certain_intent(self, state: State, text: str) -> State | None:
        route = self._meant(state, text, self.script.certain)
        if route is None or (self._kind(state.slot) == "name" and answers.name(text)):
            return None
        intent = self.script.intents[route.intent]
        if self._is_only_moment(text) and (state.errand is not None or intent.is_small):
            return None
        if state.asked == "agreement" and answers.yes_or_no(text) and intent.does != "start" and not self._asks(intent):
            return None  # "That's all correct, thank you" is no goodbye
        if state.errand is not None and intent.does == "start" and route.likeness < _UNMISTAKABLE:
            corrected = self._correction(state, text)
            if corrected is not None:
                return corrected
        return self._intend(state, route.intent, text)

    def _likely_intent(self, state: State, text: str) -> State | None:
        route = self._meant(state, text, self.script.likely)
        if route is None:
            return None
        if self.script.intents[route.intent].does in ("forget", "end"):
            return None  # to drop everything takes more than a likeness
        return self._intend(state, route.intent, text)

    def _meant(self, state: State, text: str, least: float) -> Route | None:
        """Return the intent of a text, errands before politeness, leaving out the errand in hand."""
        routes = [route for route in self.stage.route(text) if route.likeness >= least]
        current = state.errand.intent if state.errand else ""
        if any(route.intent == current for route in routes):
            return None
        serious = [route for route in routes if not self.script.intents[route.intent].is_small]
        errands = [route for route in serious if self.script.intents[route.intent].does == "start"]
        return next(iter((*errands, *serious, *routes)), None)

    def _asks(self, intent: Intent) -> bool:
        return intent.does == "repeat" or (intent.does == "say" and not intent.is_small)

    def _is_only_moment(self, text: str) -> bool:
        when = understand(text, self.stage.today)
        has_moment = when.day or when.at or when.part or when.soonest
        return bool(has_moment) and not set(when.rest) - answers.AROUND_A_MOMENT

    def _intend(self, state: State, name: str, text: str) -> State:
        intent = self.script.intents[name]
        reply = (_told(self.stage, intent.reply, state.errand),) if intent.reply else ()
        match intent.does:
            case "end":
                return attrs.evolve(state, mood="end")
            case "repeat":
                return attrs.evolve(state, mood="repeat")
            case "wait":
                return attrs.evolve(state, mood="wait", preface=reply)
            case "forget":
                return attrs.evolve(state, errand=None, queue=(), asked="more", preface=reply)
            case "start":
                return attrs.evolve(self._begin(state, name, text), preface=reply)
            case "transfer" if TRANSFER in self.stage.tools:
                return attrs.evolve(state, mood="transfer")
            case "say" if intent.ends_when_idle and state.asked == "more":
                return attrs.evolve(state, mood="end")
            case "say" | "transfer":
                return attrs.evolve(state, preface=reply, asked=state.asked or ("" if intent.is_small else "more"))

    def _begin(self, state: State, name: str, text: str) -> State:
        known = {**state.known, **self._lasting(state.errand)}
        kept = {slot: known[slot] for slot in self.script.slots_of(self.script.intents[name]) if slot in known}
        begun = attrs.evolve(
            state,
            errand=Errand(intent=name, slots=kept),
            queue=self.script.intents[name].then,
            known=known,
            asked="",
            slot="",
        )
        return self._correction(begun, text) or begun

    def _lasting(self, errand: Errand | None) -> dict[str, Filled]:
        """Return what holds for other errands too: who the caller is."""
        held = errand.slots if errand else {}
        return {name: filled for name, filled in held.items() if self._kind(name) == "name"}

    def _answer(self, state: State, text: str) -> State | None:
        match state.asked:
            case "slot":
                return self._slot_answer(state, text)
            case "choice":
                return self._choice_answer(state, text)
            case "agreement":
                corrected = self._correction(state, text)
                if corrected is not None:
                    return corrected
                verdict = answers.yes_or_no(text)
                return None if verdict is None else self._agreed(state, is_yes=verdict)
            case "change":
                return self._correction(state, text) or self._slot_to_change(state, text)
            case "more" if answers.yes_or_no(text) is False and not self._meant(state, text, self.script.likely):
                return attrs.evolve(state, mood="end")
            case _:
                return None

    def _slot_answer(self, state: State, text: str) -> State | None:
        errand = state.errand
        assert errand is not None
        found = self._read(errand, text, wanted=state.slot)
        if state.slot not in found and self._meant(state, text, self.script.likely) is None:
            free = answers.free_text(text) if self.script.slots[state.slot].kind == "topic" else None
            found |= {state.slot: Filled(free, free)} if free else {}
        return self._filled(state, found) if found else None

    def _slot_to_change(self, state: State, text: str) -> State | None:
        """Empty the slot that a caller names: "the name", "the time"."""
        errand = state.errand
        assert errand is not None
        words = answers.plain(text)
        if answers.has_phrase(words, ("time", "day", "date")) and any(self.script.intents[errand.intent].choices):
            return self._wants_other(state)
        named = [name for name in errand.slots if answers.has_phrase(words, (name.replace("_", " "),))]
        return attrs.evolve(state, errand=errand.without(named), asked="") if named else None

    def _choice_answer(self, state: State, text: str) -> State | None:
        errand = state.errand
        assert errand is not None
        choice = self._offered(errand, text)
        if choice is not None:
            return self._chosen(state, choice)
        # "Monday is no good, what about Tuesday?"
        corrected = self._correction(state, text)
        if corrected is not None:
            return corrected
        if answers.takes_any(text):
            return self._chosen(state, errand.read_out[0])
        return self._wants_other(state) if answers.takes_none(text) else None

    def _offered(self, errand: Errand, text: str) -> Filled | None:
        """Return the offer that is named: by its place among those read out, or by its day and time among all."""
        when = understand(text, self.stage.today, answer=True)
        if when.at is None and when.day is None and when.part is None:
            return answers.position(text, errand.read_out)
        matching = [offer for offer in errand.offers if _fits(offer, when)]
        if (
            not matching
            and when.day is not None
            and answers.has_phrase(answers.plain(text), (_WEEKDAYS[when.day.weekday()].lower(),))
        ):  # "the Thursday one", however far away it is
            same = [offer for offer in errand.offers if _weekday_of(offer) == when.day.weekday()]
            matching = [offer for offer in same if _fits(offer, attrs.evolve(when, day=None))]
        return matching[0] if len(matching) == 1 or (when.at is not None and matching) else None

    def _chosen(self, state: State, offer: Filled) -> State:
        errand = state.errand
        assert errand is not None
        step = next(self.script.intents[errand.intent].choices)
        filled = {**errand.slots, step.choose: offer}
        # The time that was wished for before gives way to the one that was chosen.
        return attrs.evolve(state, errand=attrs.evolve(errand, slots=filled).without((TIME,)), asked="", slot="")

    def _wants_other(self, state: State) -> State:
        errand = state.errand
        assert errand is not None
        step = next(self.script.intents[errand.intent].choices)
        emptied = attrs.evolve(errand, offers=(), note="", answered={}).without((step.choose, *step.forget))
        return attrs.evolve(state, errand=emptied, asked="", slot="", preface=(step.other,) if step.other else ())

    def _correction(self, state: State, text: str) -> State | None:
        """Fill whatever slot of the errand the text has something for; None if it changes nothing."""
        if state.errand is None:
            return self._default_errand(state, text)
        found = self._read(state.errand, text)
        changed = {name: held for name, held in found.items() if state.errand.slots.get(name) != held}
        return self._filled(state, changed) if changed else None

    def _default_errand(self, state: State, text: str) -> State | None:
        if not self.script.default or not self._is_only_moment(text):
            return None
        return self._begin(state, self.script.default, text)

    def _filled(self, state: State, found: Mapping[str, Filled]) -> State:
        errand = state.errand
        assert errand is not None
        filled = attrs.evolve(errand, slots={**errand.slots, **found})
        if any(name == TIME or self._kind(name) in ("day", "part_of_day") for name in found):
            filled = self._choose_anew(filled, found)
        return attrs.evolve(state, errand=filled, asked="", slot="")

    def _choose_anew(self, errand: Errand, found: Mapping[str, Filled]) -> Errand:
        """Forget what was chosen, because the day or time is another now; of its time, what still makes sense."""
        choices = [step.choose for step in self.script.intents[errand.intent].choices]
        times = [at for name in choices if name in errand.slots and (at := _time_of(errand.slots[name])) is not None]
        if times and TIME not in errand.slots:
            errand = attrs.evolve(errand, slots={**errand.slots, TIME: _filled_time(times[0])})
        wanted = _wanted_time(errand)
        parts = [held.value for name, held in found.items() if self._kind(name) == "part_of_day"]
        is_stale = wanted is not None and bool(parts) and parts[0] != _part(wanted)
        return errand.without((*choices, TIME) if is_stale else choices)

    def _kind(self, slot: str) -> str:
        return self.script.slots[slot].kind if slot in self.script.slots else ""

    def _read(self, errand: Errand, text: str, *, wanted: str = "") -> dict[str, Filled]:
        """Return what a text has for the slots of an errand, and the time, if it makes anybody choose one."""
        intent = self.script.intents[errand.intent]
        when = understand(text, self.stage.today, answer=self._kind(wanted) == "day")
        found = {
            name: held
            for name, slot in self.script.slots_of(intent).items()
            if (held := _read_slot(slot, text, when, is_wanted=name == wanted)) is not None
        }
        if when.at is not None and any(intent.choices):
            found[TIME] = _filled_time(when.at)
        return found

    def learn(self, state: State, tool: str, arguments: Mapping[str, Json], value: Json, *, ok: bool) -> State:
        """Take a tool's answer in. One that the errand has no use for is another model's affair."""
        errand = state.errand
        if errand is None or all(call.call != tool for call in self.script.intents[errand.intent].calls):
            return attrs.evolve(state, preface=())
        call = next(call for call in self.script.intents[errand.intent].calls if call.call == tool)
        choice = next(self.script.intents[errand.intent].choices, None)
        offers = None if choice is None else _offers(value, choice.choose)
        told = value if isinstance(value, dict) else {}
        before = attrs.evolve(state, preface=(), asked="", slot="")
        if not ok:
            return self._refused(before, call, str(told.get("error", "")), offers)
        results = {f"result_{name}": each for name, each in told.items() if isinstance(each, str)}
        learnt = attrs.evolve(errand, answered={**errand.answered, tool: dict(arguments)}, results=results)
        if offers is not None:
            learnt = attrs.evolve(learnt, offers=offers, note=_sentence(str(told.get("note", ""))))
        if offers == () and choice is not None:
            emptied = attrs.evolve(learnt, answered={}).without((choice.choose, *choice.forget))
            return attrs.evolve(before, errand=emptied, preface=(_told(self.stage, choice.nothing, errand),))
        return attrs.evolve(before, errand=learnt)

    def _refused(self, state: State, call: Call, reason: str, offers: tuple[Filled, ...] | None) -> State:
        errand = state.errand
        assert errand is not None
        failed = attrs.evolve(errand, agreed="", failures=errand.failures + 1)
        if failed.failures >= _PATIENCE:
            return attrs.evolve(
                state, errand=None, asked="more", preface=(_told(self.stage, self.script.human, errand),)
            )
        if not reason or "_" in reason:  # no words for a caller: it names a tool or a part of one
            failure = _told(self.stage, call.failed or self.script.failed, errand)
            return attrs.evolve(state, errand=None, asked="more", preface=(failure,))
        if offers:
            choices = [step.choose for step in self.script.intents[errand.intent].choices]
            failed = attrs.evolve(failed, offers=offers, note="").without((*choices, TIME))
        else:
            failed = attrs.evolve(failed, answered={}).without(call.forget)
        # Where a choice is only made of what a tool asks to be chosen, its reason is that it asks.
        asks = bool(offers) and any(step.if_offered for step in self.script.intents[errand.intent].choices)
        return attrs.evolve(state, errand=failed, preface=() if asks else (f"I'm sorry, {reason.rstrip('.')}.",))


# ── what comes next ───────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen
class _Act:
    """Makes of a state what is said and done next, and the state that follows."""

    stage: Stage

    def act(self, state: State) -> tuple[State, Reply]:
        script = self.stage.script
        if state.mood == "end":
            ended = attrs.evolve(state, said=(self._told(script.goodbye),), asked="more", errand=None)
            calls = ((END_CALL, dict[str, Json]()),) if END_CALL in self.stage.tools else ()
            return ended, Reply(texts=ended.said, calls=calls)
        if state.mood == "transfer":
            left = attrs.evolve(state, said=(self._told(script.connecting),), asked="more", errand=None)
            return left, Reply(texts=left.said, calls=((TRANSFER, dict[str, Json]()),))
        if state.mood == "wait":
            return state, Reply(texts=state.preface)
        if state.mood == "repeat" and state.said:
            return state, Reply(texts=state.said)
        if any(name not in {END_CALL, TRANSFER} for name, _ in state.running.values()):
            return state, Reply(texts=(script.wait,))
        if state.misses >= _PATIENCE:
            return self._say(attrs.evolve(state, errand=None, queue=(), misses=0), self._told(script.human), "more")
        if state.errand is None:
            return self._without_errand(state)
        return self._proceed(state, state.errand)

    def _without_errand(self, state: State) -> tuple[State, Reply]:
        script = self.stage.script
        if state.misses:
            return self._say(state, self._told(script.fallback[min(state.misses, len(script.fallback)) - 1]), "")
        if state.asked == "more":
            return self._say(state, script.anything_else, "more")
        return self._say(state, "" if state.preface else script.greeting, "")

    def _proceed(self, state: State, errand: Errand) -> tuple[State, Reply]:
        intent = self.stage.script.intents[errand.intent]
        for step in intent.steps:
            progress = self._step(state, errand, step)
            if not isinstance(progress, Errand):
                return progress
            if isinstance(step, Choose) and progress != errand:
                state = attrs.evolve(state, preface=(*state.preface, _told(self.stage, step.found, progress)))
            errand = progress
        done = attrs.evolve(
            state,
            errand=None,
            queue=state.queue[1:],
            known={**state.known, **{name: held for name, held in errand.slots.items() if self._kind(name) == "name"}},
            preface=(*state.preface, _told(self.stage, intent.done, errand)),
        )
        if not state.queue:
            return self._say(done, self.stage.script.anything_else, "more")
        following = self.stage.script.slots_of(self.stage.script.intents[state.queue[0]])
        kept = {name: held for name, held in done.known.items() if name in following}
        return self._proceed(done, Errand(intent=state.queue[0], slots=kept))

    def _step(self, state: State, errand: Errand, step: Step) -> Errand | tuple[State, Reply]:
        """Return the errand if a step is done, or else what it takes to do it."""
        match step:
            case Ask(ask=slot):
                if slot in errand.slots:
                    return errand
                questions = step.question or self.stage.script.slots[slot].ask
                question = _told(self.stage, questions[min(state.misses, len(questions) - 1)], errand)
                return self._ask(attrs.evolve(state, errand=errand), question, "slot", slot)
            case Choose():
                return self._choose(state, errand, step)
            case Call():
                return self._call(state, errand, step)

    def _choose(self, state: State, errand: Errand, step: Choose) -> Errand | tuple[State, Reply]:
        if errand.slots.get(step.choose) in errand.offers or (step.if_offered and not errand.offers):
            return errand
        wanted = _wanted_time(errand)
        days = [str(held.value or "") for name, held in errand.slots.items() if self._kind(name) == "day"]
        for offer in errand.offers if wanted is not None else ():
            if _time_of(offer) == wanted and all(str(offer.value).startswith(day) for day in days):
                return attrs.evolve(errand, slots={**errand.slots, step.choose: offer}).without((TIME,))
        one_or_more = step.one if len(errand.read_out) == 1 else step.question
        missed = step.missed if wanted is not None and not errand.note else ""
        parts = (errand.note, _told(self.stage, missed, errand), _told(self.stage, one_or_more, errand))
        return self._ask(attrs.evolve(state, errand=errand), " ".join(filter(None, parts)), "choice")

    def _call(self, state: State, errand: Errand, step: Call) -> Errand | tuple[State, Reply]:
        intent = self.stage.script.intents[errand.intent]
        arguments = _arguments(self.stage, step, errand)
        if errand.answered.get(step.call) == arguments:
            return errand
        if step.call not in self.stage.tools:
            without = attrs.evolve(state, errand=None)
            return self._say(without, self._told(self.stage.script.human), "more")
        question = _told(self.stage, step.confirm, errand)
        if question and errand.agreed != question:
            # The question repeats what was found.
            news = [_told(self.stage, step.found, errand) for step in intent.choices]
            preface = tuple(text for text in state.preface if text not in news)
            return self._ask(attrs.evolve(state, errand=errand, preface=preface), question, "agreement")
        called = attrs.evolve(state, errand=errand, said=state.preface, preface=())
        return called, Reply(texts=state.preface, calls=((step.call, arguments),))

    def _kind(self, name: str) -> str:
        slot = self.stage.script.slots.get(name)
        return slot.kind if slot else ""

    def _ask(self, state: State, question: str, asked: Asked, slot: str = "") -> tuple[State, Reply]:
        if state.asked == "change" and asked == "agreement":
            return self._say(state, self.stage.script.what_to_change, "change")
        sorry = (self.stage.script.not_caught,) if state.misses else ()
        return self._say(attrs.evolve(state, preface=(*state.preface, *sorry)), question, asked, slot)

    def _say(self, state: State, text: str, asked: Asked, slot: str = "") -> tuple[State, Reply]:
        texts = tuple(filter(None, (*state.preface, text)))
        return attrs.evolve(state, asked=asked, slot=slot, said=texts, preface=()), Reply(texts=texts)

    def _told(self, text: str) -> str:
        return _told(self.stage, text, None)


# ── values, and how they are said ─────────────────────────────────────────────────────────────────────────────────────


def _read_slot(slot: Slot, text: str, when: When, *, is_wanted: bool) -> Filled | None:
    match slot.kind:
        case "day" if when.day is not None:
            return Filled(when.day.isoformat(), spoken_day(when.day))
        case "day" if when.soonest:
            return Filled(None, "the first free day")
        case "part_of_day" if when.part is not None:
            return Filled(when.part, when.part)
        case "name" if (name := answers.name(text, answer=is_wanted)) is not None:
            return Filled(name, name)
        case "topic" if (topic := answers.topic(text, slot.topics)) is not None:
            return Filled(topic, topic)
        case _:
            return None


def _filled_time(at: time) -> Filled:
    return Filled(at.isoformat("minutes"), spoken_time(at))


def _arguments(stage: Stage, step: Call, errand: Errand) -> dict[str, Json]:
    """Return a tool's arguments with the slots' values in them, without those whose slot is empty."""
    made: dict[str, Json] = {}
    for name, value in step.arguments.items():
        named = fields(value)
        if isinstance(value, str) and named == [value.strip("{}")]:
            held = errand.slots.get(named[0])
            if held is not None and held.value is not None:
                made[name] = held.value
        else:
            made[name] = _told(stage, value, errand) if isinstance(value, str) else value
    return made


def _told(stage: Stage, text: str, errand: Errand | None) -> str:
    """Return a text of the script with what it names in it."""
    values = dict(stage.facts)
    if errand is not None:
        values |= {name: held.say for name, held in errand.slots.items()}
        values |= {**errand.results, "offers": spoken_offers([offer.say for offer in errand.read_out])}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], ""), text)


def _offers(value: Json, key: str) -> tuple[Filled, ...] | None:
    """Return what a tool offers: the first list in its answer, of objects with `say` and the value under `key`."""
    lists = [each for each in value.values() if isinstance(each, list)] if isinstance(value, dict) else []
    if not lists:
        return None
    return tuple(
        Filled(offer[key], str(offer["say"]))
        for offer in lists[0]
        if isinstance(offer, dict) and key in offer and "say" in offer
    )


def _time_of(offer: Filled) -> time | None:
    """Return the time of an offer whose value is a moment in ISO 8601."""
    try:
        return time.fromisoformat(str(offer.value).partition("T")[2])
    except ValueError:
        return None


def _weekday_of(offer: Filled) -> int | None:
    try:
        return date.fromisoformat(str(offer.value).partition("T")[0]).weekday()
    except ValueError:
        return None


def _distance(offer: Filled, wanted: time) -> int:
    """Return how far an offer's time is from another, in minutes."""
    at = _time_of(offer)
    if at is None:
        return 24 * 60
    return abs((at.hour - wanted.hour) * 60 + at.minute - wanted.minute)


def _wanted_time(errand: Errand) -> time | None:
    """Return the time that the caller wished for."""
    held = errand.slots.get(TIME)
    return None if held is None else time.fromisoformat(str(held.value))


def _fits(offer: Filled, when: When) -> bool:
    at = _time_of(offer)
    if at is None:
        return False
    is_day = when.day is None or str(offer.value).startswith(when.day.isoformat())
    is_part = when.at is not None or when.part is None or when.part == _part(at)
    return is_day and is_part and (when.at is None or when.at == at)


def _part(at: time) -> str:
    return "morning" if at.hour < _NOON else "afternoon"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def spoken_day(day: date) -> str:
    """Return a day as it is spoken: "Thursday the 26th"."""
    is_teen = day.day // 10 == 1
    ending = "th" if is_teen else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    return f"{_WEEKDAYS[day.weekday()]} the {day.day}{ending}"


def spoken_time(at: time) -> str:
    """Return a time as it is spoken: "10:30 AM"."""
    minutes = f":{at.minute:02}" if at.minute else ""
    return f"{at.hour % _NOON or _NOON}{minutes} {'AM' if at.hour < _NOON else 'PM'}"


def spoken_offers(says: Sequence[str]) -> str:
    """Return moments as they are offered, a day once: "Tuesday the 1st at 8 AM or 1 PM, or Friday the 4th at 9 AM"."""
    by_day: dict[str, list[str]] = {}
    for say in says:
        day, _, at = say.rpartition(" at ")
        by_day.setdefault(day, []).append(at)
    days = [f"{day} at {_either(times)}" if day else _either(times) for day, times in by_day.items()]
    return ", or ".join(days)


def _either(things: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(things[:-1]), *things[-1:])))
