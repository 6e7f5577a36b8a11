"""TurnDetector: decides when the caller has finished, and when the caller has broken in."""

import enum
import math
from typing import Self, TypeAlias, assert_never

import attrs

from engine.codec.grammar import ENGLISH, Grammar
from engine.mailbox import NEVER
from engine.messages.caller import Dtmf, LineClosed, SpeechLasted, SpeechStarted, SpeechStopped
from engine.messages.playout import Playing, Stopped
from engine.messages.recognition import Transcript
from engine.messages.records import Timing
from engine.messages.supervision import Tick
from engine.messages.turns import BargedIn, CallerIdle, TurnEnded

Inbox: TypeAlias = (
    SpeechStarted | SpeechLasted | SpeechStopped | Dtmf | Transcript | Playing | Stopped | LineClosed | Tick
)


SAME_MOMENT_S = 1e-6
"""Times closer than this are one: they are sums of frames."""


class Floor(enum.Enum):
    """Who has the floor."""

    CALLER = "nobody speaks, or the caller does"
    PENDING = "the agent was given a turn and has not been heard yet"
    AGENT = "the agent is being heard"


@attrs.frozen(kw_only=True)
class TurnPolicy:
    """When silence means that the caller has finished, and when speech means that the agent has to stop.

    grammar: of the caller's language: what looks finished, what takes the floor.
    complete_s: silence after words that look finished. 0.3: see docs/latency.md, "endpointing".
    incomplete_s: after words that look unfinished. 1.2: a pause for thought.
    dictating_s: after a group of digits or letters, while more may come. 1.8: somebody reads them from a card.
    eager: whether the answer is begun before it is certain that the caller has finished.
    hold_s: sound over the agent that makes it fall silent, for the time being. 0.08: longer than a click, and than what
        is a beginning where the agent is silent: some of its own sound comes back as echo.
    words_s: how long after the end of a sound its words are waited for. 0.6: a recogniser's own latency.
    keys_s: after a key, unless it was "#". 3.0: somebody looks for the next one.
    idle_again_s: further silences, after the first that was asked into; after the last comes a goodbye.
    longest_s: after which words are answered, unless some of what was said is still to be recognised. 3.0: the longest
        pause that callers bear.
    recogniser_s: how far transcription may lag behind the caller's last sound and still be called complete.
        0.25: a recogniser's and the line's idea of where a word ends differ by less.
    noise_s: how long a sound is waited out that goes on where the recogniser heard the end of the words. 0.5: a line
        with a radio in it never falls silent, and a caller who goes on has said a word by then.
    barge_words: words over the agent that stop it. 2: one may be "okay".
    barge_s: unbroken sound over the agent that takes the floor. 1.5: nobody coughs for that long.
    idle_s: silence of both after which the caller is asked whether they are there. 10.0: as IVRs have it.
    behind_s: how long words wait for the rest that a recogniser which is away will hear, since the last that it heard;
        an idle caller's sound too. 30.0: as long as the audio is kept for it. One that was not yet seen to tell of
        silence may as well be there and have nothing to tell: it is waited for as long as `idle_s`.
    lag_s: how far a sound that lasts may be ahead of a recogniser that is there. 2.0: it tells of silence, or of noise,
        every second.
    monologue_s: how long either is believed to speak, without a word from the caller, before it counts as silence all
        the same. 60.0: nobody listens longer, so it is noise, or the news of the end was lost.
    """

    grammar: Grammar = ENGLISH
    complete_s: float = 0.3
    incomplete_s: float = 1.2
    dictating_s: float = 1.8
    eager: bool = True
    hold_s: float = 0.08
    words_s: float = 0.6
    keys_s: float = 3.0
    idle_again_s: tuple[float, ...] = (10.0,)
    longest_s: float = 3.0
    recogniser_s: float = 0.25
    noise_s: float = 0.5
    barge_words: int = 2
    barge_s: float = 1.5
    idle_s: float = 10.0
    behind_s: float = 30.0
    lag_s: float = 2.0
    monologue_s: float = 60.0


@attrs.frozen(kw_only=True)
class Words:
    """The caller's words that wait to be answered.

    end_s: end of the last one, on the call's timeline. finished: the recogniser believes that was all.
    final_at: when the last of them came. worded_at: when the last were heard, final or not.
    alive_at: when there was last a sign that more are to come.
    """

    text: str = ""
    end_s: float = 0.0
    finished: bool = False
    final_at: float = 0.0
    worded_at: float = 0.0
    alive_at: float = 0.0


@attrs.frozen(kw_only=True)
class TurnDetector:
    """Whose turn it is. Allocates the turns' numbers; they only rise."""

    policy: TurnPolicy = TurnPolicy()
    turn: int = 0
    floor: Floor = Floor.CALLER
    # The newest turn that the agent was heard in, or that was cut: news of the playout of older ones is stale.
    heard: int = -1
    open: Words = Words()
    covered_s: float = 0.0
    # Whether the recogniser was seen to tell of what has no words in it: then it is not there while it does not.
    telling: bool = False
    # The caller's sound, by the line's detector: since when, while it lasts; and the end of the last.
    speaking_s: float | None = None
    spoke_s: float = 0.0
    # When the agent was first heard in its turn: sound over it counts from there.
    agent_s: float = 0.0
    # Invariant: `turn_due` is a time exactly while there are open words; from the agent's first sound to the line's
    # end one of them is a time, so nobody waits for ever.
    turn_due: float = NEVER
    idle_due: float = NEVER

    @property
    def deadline(self) -> float:
        """The first of what is due."""
        return min(self.turn_due, self.idle_due)

    def handle(self, message: Inbox, now: float) -> tuple[Self, list[object]]:
        """Return the core that follows `message`, and what it sends."""
        match message:
            case Transcript(is_final=False, text=text):
                core = self._worded(now)._idling(now) if text else self
                # Before the agent is heard only final words cut it: a draft that is taken back must not cost the reply.
                return core._interrupted(text, now) if self.floor is Floor.AGENT else (core, [])
            case Transcript(text="", covered_s=covered_s, speech_final=finished):
                telling = self.telling or (not finished and covered_s > self.covered_s)
                core = attrs.evolve(self, covered_s=max(self.covered_s, covered_s), telling=telling)
                if finished and core.open.text:  # a recogniser may find the end after the words
                    core = attrs.evolve(core, open=attrs.evolve(core.open, finished=True))
                caught_up = self._behind(now) and not core._behind(now)
                return (core._idling(now) if caught_up else core)._rearmed(now), []
            case Transcript():
                return self._said(message, now)
            case SpeechStarted(at_s=at_s):
                return attrs.evolve(self, speaking_s=at_s)._alive(now)._idling(now), []
            case SpeechLasted(from_s=from_s, to_s=to_s):
                core = attrs.evolve(self, speaking_s=from_s)
                over_s = to_s - max(from_s, self.agent_s)
                cuts = self.floor is Floor.AGENT and over_s >= self.policy.barge_s - SAME_MOMENT_S
                return core._cut(now) if cuts else (core, [])
            case SpeechStopped(at_s=at_s):
                return attrs.evolve(self, speaking_s=None, spoke_s=at_s)._rearmed(now)._idling(now), []
            case Dtmf(digit=digit, at_s=at_s):
                words = Words(
                    text=f"{self.open.text} {digit}".strip(), end_s=at_s, final_at=now, worded_at=now, alive_at=now
                )
                core, effects = self._cut(now) if self.floor is not Floor.CALLER else (self, [])
                return attrs.evolve(core, open=words)._rearmed(now)._idling(now), effects
            case Playing(turn=turn) if turn > self.heard:
                return attrs.evolve(self, floor=Floor.AGENT, heard=turn, agent_s=now)._idling(now), []
            case Stopped(turn=turn) if turn == self.heard:
                floor = Floor.CALLER if turn == self.turn else Floor.PENDING
                return attrs.evolve(self, floor=floor)._idling(now), []
            case Playing() | Stopped():
                return self, []  # of a turn that is over
            case LineClosed():
                core, effects = self._ended(now) if self.open.text else (self, [])
                gone = attrs.evolve(core, turn_due=NEVER, idle_due=NEVER)
                return gone, [*effects, message]
            case Tick():
                return self._due(now)
            case _:
                assert_never(message)

    def _due(self, now: float) -> tuple[Self, list[object]]:
        """End the turn, or the silence, that is due; unless what the caller said is still to be recognised."""
        if self._behind(now):
            patience_s = self.policy.behind_s if self.telling else self.policy.idle_s
            words_due, sound_due = self.open.worded_at + patience_s, self.spoke_s + patience_s
            if self.turn_due <= now < words_due:
                return attrs.evolve(self, turn_due=words_due), []
            if self.turn_due > now and self.idle_due <= now < sound_due:
                return attrs.evolve(self, idle_due=sound_due), []
        if self.turn_due <= now:
            return self._ended(now)
        turn = self.turn + 1
        core = attrs.evolve(self, turn=turn, floor=Floor.PENDING, speaking_s=None)
        return core._idling(now), [CallerIdle(turn=turn)]

    def _said(self, heard: Transcript, now: float) -> tuple[Self, list[object]]:
        """Take final words: over the agent they may stop it; in any case they wait to be answered."""
        # What a transcript speaks of reaches beyond its words, into the silence that ended them.
        end_s = heard.words[-1].end_s if heard.words else heard.end_s
        words = Words(
            text=f"{self.open.text} {heard.text}".strip(),
            end_s=max(self.open.end_s, end_s),
            finished=heard.speech_final,
            final_at=now,
            worded_at=now,
            alive_at=now,
        )
        core, effects = self._interrupted(heard.text, now)
        core = attrs.evolve(core, open=words, covered_s=max(self.covered_s, heard.covered_s))
        return core._rearmed(now)._idling(now), effects

    def _interrupted(self, text: str, now: float) -> tuple[Self, list[object]]:
        """Stop the agent if `text`, with the open words, takes the floor. Before it is heard, any word does."""
        count = len(f"{self.open.text} {text}".split())
        needed = {Floor.CALLER: math.inf, Floor.PENDING: 1, Floor.AGENT: self.policy.barge_words}[self.floor]
        return self._cut(now) if count >= needed else (self, [])

    def _cut(self, now: float) -> tuple[Self, list[object]]:
        at_s = self.spoke_s if self.speaking_s is None else self.speaking_s
        core = attrs.evolve(self, floor=Floor.CALLER, heard=self.turn)
        return core._idling(now), [BargedIn(turn=self.turn, at_s=at_s)]

    def _ended(self, now: float) -> tuple[Self, list[object]]:
        turn = self.turn + 1
        words = self.open
        floor = Floor.AGENT if self.floor is Floor.AGENT else Floor.PENDING  # "okay" is no end of what it agrees to
        core = attrs.evolve(self, turn=turn, floor=floor, open=Words(), turn_due=NEVER)
        return core._idling(now), [
            TurnEnded(turn=turn, text=words.text, end_s=words.end_s),
            Timing(turn=turn, stage="last_word", at_s=words.end_s),
            Timing(turn=turn, stage="transcript_final", at_s=words.final_at),
            Timing(turn=turn, stage="turn_ended", at_s=now),
        ]

    def _rearmed(self, now: float) -> Self:
        """Return the core with its open words due when they should be: never disarmed, only moved."""
        if not self.open.text:
            return self
        complete = self.speaking_s is None and self.covered_s >= self.spoke_s - self.policy.recogniser_s
        if complete and self.open.finished:
            due = max(now, self.spoke_s + self.policy.complete_s)
        elif self.open.finished and self._noisy:
            due = max(now, self.open.worded_at + self.policy.noise_s)
        else:
            due = max(now, self.open.alive_at + self.policy.longest_s)
        return attrs.evolve(self, turn_due=due)

    def _behind(self, now: float) -> bool:
        """Whether the recogniser has yet to tell of the caller's last sound: it is away, or has much to catch up on."""
        sound_s = self.spoke_s if self.speaking_s is None else max(self.spoke_s, now - self.policy.lag_s)
        return self.covered_s < sound_s - self.policy.recogniser_s

    @property
    def _noisy(self) -> bool:
        """Whether the sound that lasts began before the last word's end, and transcription has passed that end."""
        return self.speaking_s is not None and self.speaking_s < self.open.end_s < self.covered_s

    def _worded(self, now: float) -> Self:
        return attrs.evolve(self, open=attrs.evolve(self.open, worded_at=now, alive_at=now))._rearmed(now)

    def _alive(self, now: float) -> Self:
        """Return the core that waits longer for words, because of a sound: not for ever, if none come."""
        alive_at = min(now, self.open.worded_at + self.policy.longest_s)
        return attrs.evolve(self, open=attrs.evolve(self.open, alive_at=alive_at))._rearmed(now)

    def _idling(self, now: float) -> Self:
        """Return the core with silence counted from now; open words are due long before."""
        sound = self.floor is Floor.AGENT or self.speaking_s is not None
        wait = self.policy.monologue_s if sound else self.policy.idle_s
        return attrs.evolve(self, idle_due=NEVER if self.open.text else now + wait)

    def fresh(self, suspect: Self) -> Self:
        """Return a new core with the suspect's open words, due at the latest when words must be."""
        bare = self.bare(suspect)
        words = Words(
            text=str(suspect.open.text),
            end_s=float(suspect.open.end_s),
            finished=bool(suspect.open.finished),
            final_at=float(suspect.open.final_at),
            worded_at=float(suspect.open.worded_at),
            alive_at=float(suspect.open.alive_at),
        )
        return attrs.evolve(
            bare,
            floor=Floor(suspect.floor),
            open=words,
            speaking_s=None if suspect.speaking_s is None else float(suspect.speaking_s),
            turn_due=float(suspect.turn_due) if words.text else NEVER,
            agent_s=float(suspect.agent_s),
            telling=bool(suspect.telling),
            idle_due=float(suspect.idle_due),
        )

    def bare(self, suspect: Self) -> Self:
        """Return a new core with the newest turns' numbers and how far the caller was heard; it minds a silence."""
        covered_s, spoke_s = float(suspect.covered_s), float(suspect.spoke_s)
        return attrs.evolve(
            self,
            turn=int(suspect.turn),
            heard=int(suspect.heard),
            covered_s=covered_s,
            spoke_s=spoke_s,
            idle_due=max(covered_s, spoke_s) + self.policy.monologue_s,
        )
