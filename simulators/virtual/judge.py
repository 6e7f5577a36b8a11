"""What became of a virtual call, and a judge that says in sentences what went wrong in it."""

import bisect
import itertools
from collections.abc import Iterator, Sequence

import attrs

from engine.faults import AnyFault, Delay, Mangling, SlowDrip, Stall
from engine.messages.caller import CallerAudio
from engine.messages.conversation import AgentSaid, CallerSaid, Entry, ToolAnswered
from engine.messages.line import LineAudio
from engine.messages.model import AskModel, ModelText
from engine.messages.recognition import Recognised, Transcript
from engine.messages.reply import Sentence
from engine.messages.synthesis import AgentAudio, Synthesised
from engine.messages.turns import TurnEnded
from simulators import tone
from simulators.audio import FRAME_S
from simulators.virtual.faults import Fault, KillSession, Outage
from simulators.virtual.script import (
    BARGE_S,
    LONGEST_S,
    NOTICE,
    PHRASES,
    WAIT,
    BreakIn,
    End,
    MakeNoise,
    VirtualScript,
    answer,
    is_nod,
)

PROMPT_S = 0.5
"""A barge-in that lies longer in a mailbox waits for something: lag alone makes it a third of a second at most."""

LATE_CUT_S = 1.0
"""A cut this long after a sound is explained by it: a recogniser takes 0.4 s to be sure, lag does the rest."""

VENDOR_AWAY_S = 8.0
"""So much later words may be recognised if the recogniser was away."""

AGAIN_WORDS = 4
"""So many words are said again after a hold, at most: 0.3 s of them, from the beginning of the first."""

NOTICE_S = 3.0
"""The caller is asked to repeat within this time: between two pieces of an answer."""


@attrs.frozen(kw_only=True)
class Lost:
    """A message that an actor dropped or set aside; or, `what` being None, a core whose successor was bare."""

    actor: str
    what: type | None
    at_s: float


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of a call.

    said, got: words that the caller spoke, and that the agent was given. heard: words at the caller's ear; heard_s:
        from when to when each.
    lost: messages set aside or dropped, by edge. bare: how many bare cores took over. losses: both, with their times.
    notices: when the caller was to be asked to repeat. clears: when the line's buffer was dropped.
    resumes: when an agent that was held was told to go on.
    sounds: from when to when the caller made one. shown: what the model was asked.
    """

    script: VirtualScript
    faults: tuple[Fault | AnyFault, ...]
    said: tuple[str, ...]
    utterances: tuple[tuple[float, tuple[str, ...]], ...]
    repeated: int
    in_vain: int
    got: tuple[str, ...]
    heard: tuple[str, ...]
    heard_s: tuple[tuple[float, float], ...]
    gaps: int
    clears: tuple[float, ...]
    resumes: tuple[float, ...]
    sounds: tuple[tuple[float, float], ...]
    conversation: tuple[Entry, ...]
    runs: dict[str, int]
    lost: dict[str, int]
    bare: int
    raised_at: tuple[float, ...]
    notices: tuple[float, ...]
    losses: tuple[Lost, ...]
    shown: tuple[AskModel, ...]
    reason: str | None
    hung: bool
    tasks_left: int
    ended_at: float
    longest_barge_s: float
    recogniser_deaths: int
    voice_deaths: int
    model_deaths: int
    notes: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether no message was set aside or dropped, and no core bare: then nothing may be missing."""
        return not self.lost and not self.bare

    @property
    def is_faithful(self) -> bool:
        """Whether the vendors said what they had to say, if they said anything."""
        return not any(isinstance(each, Mangling) for each in self.faults)

    @property
    def slack_s(self) -> float:
        """How much later than usual things may come, because a fault holds them up."""
        return sum(
            each.by_s if isinstance(each, Delay | SlowDrip) else min(each.lasts_s, each.noticed_s)
            for each in self.faults
            if isinstance(each, Delay | SlowDrip | Stall)
        )

    @property
    def broken_in(self) -> bool:
        """Whether the caller's words or noises may have cut the agent."""
        return any(
            (isinstance(step, BreakIn) and not is_nod(step.words))
            or (isinstance(step, MakeNoise) and step.frames * FRAME_S >= BARGE_S)
            for step in self.script.steps
        )

    @property
    def heard_once(self) -> tuple[str, ...]:
        """What was heard, without what was said again after a hold: the word that was cut by it, and some before it."""
        heard = list(self.heard)
        starts = [start_s for start_s, _ in self.heard_s]
        for at_s in reversed(self.resumes):
            at = bisect.bisect_left(starts, at_s - FRAME_S)
            before, after = heard[:at], heard[at:]
            if before[-1:] == [tone.GARBLED]:
                before.pop()
            again = next((size for size in range(AGAIN_WORDS, 0, -1) if before[-size:] == after[:size]), 0)
            heard = before + after[again:]
        return tuple(heard)

    @property
    def cut_short(self) -> bool:
        """Whether it was ended in the middle, by its script."""
        return min(self.script.hang_up_at, self.script.cancel_at) < LONGEST_S


def wrongs(outcome: Outcome) -> list[str]:
    """Return what went wrong, a sentence each; empty if the call went as it should."""
    found = [*_end(outcome), *_barged(outcome), *_runs(outcome), *_twice(outcome)]
    if outcome.hung:
        return found
    found += _cuts(outcome)
    if outcome.clean:
        found += _shown(outcome)
        found += _words(outcome)
        found += _speech(outcome)
    else:
        found += _losses(outcome)
    return found


def lasting(outcome: Outcome) -> list[str]:
    """Return what went wrong whatever was lost: it hung, left something behind, gave up, or ran a tool twice."""
    return [
        *_end(outcome),
        *(f"the tool ran {count} times for {name}" for name, count in outcome.runs.items() if count != 1),
    ]


def _end(outcome: Outcome) -> Iterator[str]:
    if outcome.hung:
        yield f"the call hung: it had not ended after {LONGEST_S} s"
    if outcome.tasks_left:
        yield f"{outcome.tasks_left} tasks are left"
    if outcome.reason is None:
        yield "the archive was not closed"
    elif outcome.clean and outcome.is_faithful and not outcome.cut_short and outcome.reason not in _ends(outcome):
        yield f"it ended by {outcome.reason!r}, not by {outcome.script.end.value!r}"
    elif outcome.reason not in {*(end.value for end in End), "cancelled"}:
        yield f"it ended by {outcome.reason!r}"


def _ends(outcome: Outcome) -> set[str]:
    """Return why the call may have ended: a caller whose goodbye nobody was left to hear waits to be asked."""
    apologised = any(
        isinstance(each, AgentSaid) and each.text.endswith(PHRASES["apology"]) for each in outcome.conversation
    )
    return {outcome.script.end.value, *([End.IDLE.value] if apologised and outcome.model_deaths > 1 else [])}


def _barged(outcome: Outcome) -> Iterator[str]:
    """Judge how soon a barge-in was obeyed when only vendors failed: actors are not to wait for them."""
    vendors = outcome.faults and all(isinstance(each, KillSession | Outage) for each in outcome.faults)
    if vendors and outcome.longest_barge_s > PROMPT_S:
        yield f"a barge-in lay in a mailbox for {outcome.longest_barge_s:.2f} s"


def _cuts(outcome: Outcome) -> Iterator[str]:
    """Judge whether the caller's sound explains each time that the agent was cut."""
    after_s = LATE_CUT_S + (VENDOR_AWAY_S if outcome.recogniser_deaths else 0.0) + outcome.slack_s
    for at_s in outcome.clears:
        if not any(start_s <= at_s <= end_s + after_s for start_s, end_s in outcome.sounds):
            yield f"the agent was cut at {at_s:.2f} s, the caller had made a sound at {outcome.sounds}"


def _shown(outcome: Outcome) -> Iterator[str]:
    """Judge what the model was shown of earlier turns: what the caller had heard of them, if the Pacer could tell."""
    if any(isinstance(each, Stall | Delay) and each.on == "pacer" for each in outcome.faults):
        return  # the Agent does not wait for long: `AgentPolicy.settle_s`
    record = {
        turn: " ".join(each.text for each in outcome.conversation if isinstance(each, AgentSaid) and each.turn == turn)
        for turn in {each.turn for each in outcome.conversation}
    }
    for ask in outcome.shown:
        for turn in {each.turn for each in ask.conversation} - {ask.turn}:
            shown = " ".join(
                each.text for each in ask.conversation if isinstance(each, AgentSaid) and each.turn == turn
            )
            if shown != record.get(turn, ""):
                yield f"for turn {ask.turn}, the model saw {shown!r} of turn {turn}, on record is {record.get(turn)!r}"


def _runs(outcome: Outcome) -> Iterator[str]:
    for name, count in outcome.runs.items():
        if count != 1:
            yield f"the tool ran {count} times for {name}"
    for each in outcome.conversation:
        if isinstance(each, ToolAnswered) and not each.ok and outcome.clean:
            yield f"the result of {each.id} was lost: {each.value!r}"
    asked = sum(isinstance(each, CallerSaid) and "book" in each.text.split() for each in outcome.conversation)
    # A question that was taken up by the next one while a model was silent is not asked any more.
    silent = outcome.model_deaths > 0 or outcome.slack_s > 0.0
    taken_up = silent and outcome.broken_in and len(outcome.runs) < asked
    if outcome.clean and not outcome.cut_short and len(outcome.runs) != asked and not taken_up:
        yield f"{asked} bookings were asked for, {len(outcome.runs)} were made"


def _twice(outcome: Outcome) -> Iterator[str]:
    new = set(outcome.said) - {"book", "bye"}
    for what, words in (("the agent got", outcome.got), ("the caller heard", outcome.heard_once)):
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
    if outcome.repeated and not (outcome.recogniser_deaths or outcome.voice_deaths or outcome.model_deaths):
        yield f"nothing was lost, and the caller had to say it again, {outcome.repeated} times"
    asked = {each.turn: each.text for each in outcome.conversation if isinstance(each, CallerSaid)}
    said: dict[int, str] = {}
    cut: set[int] = set()
    for each in outcome.conversation:
        if isinstance(each, AgentSaid):
            said[each.turn] = f"{said[each.turn]} {each.text}" if each.turn in said else each.text
            cut |= {each.turn} if each.interrupted else set()
    words = {turn: _without_wait(text.split()) for turn, text in said.items()}
    # Who heard nothing else was not answered; but what was cut after it may have begun.
    said = {turn: " ".join(each) for turn, each in words.items() if each or turn in cut}
    broken_in = outcome.cut_short or outcome.repeated > 0 or outcome.broken_in
    whole = {turn: answer(text) for turn, text in asked.items()}
    for turn, text in whole.items():
        if turn not in said:
            if not broken_in:
                yield f"turn {turn} was not answered"
        elif turn in cut and not broken_in and turn != max(whole):
            yield f"turn {turn} was cut to {said[turn]!r}, and nobody broke in"
        elif outcome.model_deaths > 1 and said[turn].endswith(PHRASES["apology"]):
            pass  # nobody was left who could answer
        elif said[turn] != text and not (turn in cut and text.startswith(said[turn])):
            yield f"turn {turn} was answered {said[turn]!r}, not {text!r}"
    if not outcome.cut_short:
        yield from _heard(outcome, said, cut, whole, broken_in=broken_in)


def _heard(
    outcome: Outcome, said: dict[int, str], cut: set[int], whole: dict[int, str], *, broken_in: bool
) -> Iterator[str]:
    # A voice that dies within the Pacer's lead leaves the beginning of a word on the line: it is heard, then the whole.
    heard = [word for word in _without_wait(outcome.heard_once) if word != tone.GARBLED or not outcome.voice_deaths]
    at = 0
    for turn in sorted(said):
        words = said[turn].split()
        if turn not in cut:
            there = heard[at : at + len(words)]
            # A break-in that crosses the end may clip the last frame of the last word.
            garbled = tone.GARBLED in outcome.heard_once and there[:-1] == words[:-1]
            if broken_in and garbled and outcome.voice_deaths and there != words:
                at -= 1  # it was left out above
            elif there != words and not (broken_in and there == [*words[:-1], tone.GARBLED]):
                yield f"turn {turn} was {said[turn]!r}, at the ear it was {' '.join(there)!r}"
                return
            at += len(words)
            continue
        # The word that is being spoken at the cut may have been heard wholly, partly or not at all.
        phrase = next((text for text in PHRASES.values() if text.startswith(said[turn])), said[turn])
        full = whole.get(turn, phrase).split()
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


def _without_wait(words: Sequence[str]) -> list[str]:
    """Return words without those that tell the caller to wait: they answer nothing."""
    return [word for word in words if word not in WAIT]


def _losses(outcome: Outcome) -> Iterator[str]:
    """Judge a call in which something was given up: the caller is asked to repeat, and the call goes on."""
    fired = outcome.raised_at
    words_lost = outcome.bare or any("set aside" in name and _in_words(name) for name in outcome.lost)
    if words_lost and not outcome.notices and max(fired) < outcome.ended_at - 2.0:
        yield f"{outcome.lost} were set aside, {outcome.bare} cores bare, and nobody was asked to repeat"
    yield from _notices(outcome)
    if outcome.cut_short:
        return
    begun_at, last = outcome.utterances[-1]
    if fired and max(fired) < begun_at - 1.0:
        if outcome.got[-len(last) :] != last:
            yield f"after the fault, the caller said {' '.join(last)!r}, the agent got {' '.join(outcome.got)!r}"
        plain = [word.strip(",.") for word in outcome.heard]
        if not all(f"{word}o" in plain for word in last):
            yield f"after the fault, {' '.join(last)!r} was answered {' '.join(outcome.heard[-8:])!r}"


def _notices(outcome: Outcome) -> Iterator[str]:
    """Judge whether the caller heard each question to repeat, unless the Pacer lost it or the call ended first."""
    for at_s in outcome.notices:
        # One that has begun gives way to a caller who speaks up.
        gave_way = any(at_s <= cut_s <= at_s + LATE_CUT_S for cut_s in outcome.clears)
        pacer_lost = any(each.actor == "pacer" and each.at_s >= at_s for each in outcome.losses)
        if not pacer_lost and not gave_way and at_s < outcome.ended_at - NOTICE_S and NOTICE[0] not in outcome.heard:
            yield f"the caller was to be asked to repeat at {at_s:.2f} s, and heard {' '.join(outcome.heard)!r}"


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
        f"gaps {outcome.gaps}, clears {outcome.clears}, resumes {outcome.resumes}, notices {outcome.notices}",
        f"lost {outcome.lost}, bare {outcome.bare}",
        f"ended by {outcome.reason!r} after {outcome.ended_at:.1f} s",
        *(f"WRONG: {each}" for each in wrongs(outcome)),
    ]
    return "\n".join(lines)
