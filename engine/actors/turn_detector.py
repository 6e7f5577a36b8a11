"""TurnDetector: decides when the caller has finished, and when the caller has broken in.

Theory of operation. One machine, whose phase is who has the floor. What is told, and what follows; a dash: nothing but
that it is remembered::

    told                    CALLER            PENDING           KEPT              AGENT             HELD
    ----------------------  ----------------  ----------------  ----------------  ----------------  ----------------
    sound begins            wait longer       Hold → KEPT       —                 —                 —
    sound, hold_s of it     —                 Hold → KEPT       —                 Hold → HELD       —
    sound, barge_s of it    —                 —                 —                 cut → CALLER      cut → CALLER
    sound ends, and no      wait anew         —                 Resume → PENDING  —                 Resume → AGENT
      words, or "uh-huh"
    command, draft or final —                 cut → CALLER      cut → CALLER      cut → CALLER      cut → CALLER
    words, final            wait anew         cut → CALLER      cut → CALLER      cut → CALLER      cut → CALLER
    words, a longer draft   TurnExpected      cut → CALLER      cut → CALLER      cut → CALLER      cut → CALLER
    "uh-huh", final         wait anew         put aside         put aside         put aside         put aside
    key                     wait keys_s       cut → CALLER      cut → CALLER      cut → CALLER      cut → CALLER
    Playing                 → AGENT           → AGENT           → HELD            —                 —
    Stopped                 —                 —                 —                 → CALLER          Resume → CALLER
    waited for words        TurnEnded         —                 —                 TurnEnded         TurnEnded
                              → PENDING                                             → AGENT           → HELD
    waited in silence       CallerIdle        CallerIdle        —                 CallerIdle        —
                              → PENDING         → PENDING                           → PENDING
    waited in a hold        —                 —                 Resume → PENDING  —                 Resume → AGENT
                                                                                                      or cut → CALLER
    line closed             TurnEnded if there are words → GONE, in which nothing is told any more

"Cut" is a `BargedIn`, which ends a hold as `Resume` does. An agent that has said its last while another turn is pending
leaves PENDING, or KEPT, and not CALLER: unless that turn was only for asking whether the caller is there. While a
phrase is *firm* nothing holds it, and only a command or a key cuts it; other words wait until it is over, and cut what
follows.

Words over the agent that leave it the floor are put *aside*, and told as `Backchannel` when the agent's turn is over:
but what was said so shortly before that it may be the answer, or the beginning of what the caller says next, is the
caller's turn like any other words.

A sound that was found to be none of the caller's words, because it went on after their end, or cut the agent and no
words came, holds nobody as long as it lasts: else a radio would keep the agent silent for good. For the same reason
each hold that came to nothing makes the next one in that turn less easy.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final, Self, TypeAlias, TypeVar, assert_never

import attrs

from engine.codec.grammar import ENGLISH, Claim, Ending, Grammar
from engine.codec.wording import is_same
from engine.messages.caller import Dtmf, LineClosed, SpeechLasted, SpeechStarted, SpeechStopped
from engine.messages.playout import Hold, Playing, Resume, Stopped
from engine.messages.recognition import Transcript
from engine.messages.records import Counted, Timing
from engine.messages.supervision import NEVER, Tick
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, TurnEnded, TurnExpected, TurnResumed

Inbox: TypeAlias = (
    SpeechStarted | SpeechLasted | SpeechStopped | Dtmf | Transcript | Playing | Stopped | LineClosed | Tick
)
_ValueT = TypeVar("_ValueT", bound=attrs.AttrsInstance)

SAME_MOMENT_S = 1e-6
"""Times closer than this are one: they are sums of frames."""

EDGE_S = 0.05
"""How far a recogniser's idea of where a sound ends may be before the line's: two frames, rounded up."""

BELATED_S = 1.0
"""Words this long after the end of the last sound are of a voice that the line's detector did not hear."""

KEYS_OVER = "#"
"""The key that says that there are no more."""


class Floor(enum.Enum):
    """Who has the floor: the machine's phase."""

    CALLER = "nobody speaks, or the caller does"
    PENDING = "the agent was given a turn and has not been heard yet"
    KEPT = "it is kept from beginning, because of a sound"
    AGENT = "the agent is being heard"
    HELD = "it was silenced in the middle of it, because of a sound"
    GONE = "the line is closed"


_UNHEARD: Final = frozenset({Floor.PENDING, Floor.KEPT})
_HEARD: Final = frozenset({Floor.AGENT, Floor.HELD})
_HOLDING: Final = frozenset({Floor.KEPT, Floor.HELD})
_HOLDS: Final[Mapping[Floor, Floor]] = {Floor.PENDING: Floor.KEPT, Floor.AGENT: Floor.HELD}
_RESUMES: Final[Mapping[Floor, Floor]] = {Floor.KEPT: Floor.PENDING, Floor.HELD: Floor.AGENT}


@attrs.frozen(kw_only=True)
class TurnPolicy:
    """When silence means that the caller has finished, and when speech means that the agent has to stop.

    grammar: of the caller's language: what looks finished, what takes the floor.
    complete_s: silence after words that look finished. 0.4: see docs/latency.md, "endpointing".
    incomplete_s: after words that look unfinished. 1.5: a pause for thought.
    dictating_s: after a group of digits or letters, while more may come. 1.8: somebody reads them from a card.
    eager: whether the answer is begun before it is certain that the caller has finished.
    hold_s: sound over the agent that makes it fall silent, for the time being. 0.08: longer than a click, and than what
        is a beginning where the agent is silent: some of its own sound comes back as echo. An agent that was given a
        turn and is not heard yet does not begin into any sound.
    words_s: how long after the end of a sound its words are waited for. 0.6: a recogniser's own latency.
    held_s: what an agent that is held waits for at most, sounds and words. 4.0: nobody coughs for that long, and the
        Pacer, which would go on by itself, waits longer.
    answer_s: an "okay" that the agent says no more than this after is no "go on", but what the caller answers. 1.5: the
        end of a question, from where it is clear what is asked.
    keys_s: after a key, unless it was "#". 3.0: somebody looks for the next one.
    idle_again_s: further silences, after the first that was asked into; after the last comes a goodbye.
    stranded_s: silence after a sound that cut the agent and no words came of. 3.0: the caller was in the middle of
        being told something.
    longest_s: after which words are answered, unless some of what was said is still to be recognised. 3.0: the longest
        pause that callers bear.
    recogniser_s: how far transcription may lag behind the caller's last sound and still be called complete, where it
        heard the end of what was said. 0.25: a recogniser's and the line's idea of where a word ends differ by less.
    noise_s: how long a sound is waited out that goes on where the recogniser heard the end of the words. 0.5: a line
        with a radio in it never falls silent, and a caller who goes on has said a word by then.
    barge_words: words of a draft over the agent that stop it. 2: one may be taken back.
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
    complete_s: float = 0.4
    incomplete_s: float = 1.5
    dictating_s: float = 1.8
    eager: bool = True
    hold_s: float = 0.08
    words_s: float = 0.6
    held_s: float = 4.0
    answer_s: float = 1.5
    keys_s: float = 3.0
    idle_again_s: tuple[float, ...] = (10.0,)
    stranded_s: float = 3.0
    longest_s: float = 3.0
    recogniser_s: float = 0.25
    noise_s: float = 0.5
    barge_words: int = 2
    barge_s: float = 1.5
    idle_s: float = 10.0
    behind_s: float = 30.0
    lag_s: float = 2.0
    monologue_s: float = 60.0

    def wait_s(self, ending: Ending) -> float:
        """Return how long silence has to be after words that end so."""
        match ending:
            case Ending.COMPLETE | Ending.UNKNOWN:
                return self.complete_s
            case Ending.INCOMPLETE:
                return self.incomplete_s
            case Ending.DICTATING:
                return self.dictating_s
            case _:
                assert_never(ending)


@attrs.frozen(kw_only=True)
class Words:
    """The caller's final words that wait: to be answered, or to be told of as a backchannel.

    end_s: end of the last one, on the call's timeline.
    keys: the last of the text, if they are keys: further ones join them. keys_s: when the first was pressed.
    finished: the recogniser believes that was all. certain: by what was said, and not by the silence after it.
    final_at: when the last of them came. worded_at: when the last were heard, final or not.
    alive_at: when there was last a sign that more are to come.
    """

    text: str = ""
    end_s: float = 0.0
    keys: str = ""
    keys_s: float = 0.0
    finished: bool = False
    certain: bool = False
    final_at: float = 0.0
    worded_at: float = 0.0
    alive_at: float = 0.0

    def then(self, later: "Words") -> "Words":
        """Return these words and later ones; those that were said before keys were pressed stand before them."""
        if not (self.text and later.text):
            return later if later.text else self
        if self.keys and later.end_s <= self.keys_s:
            text = f"{self.text.removesuffix(self.keys)}{later.text} {self.keys}"
            return attrs.evolve(self, text=text, worded_at=later.worded_at, alive_at=later.alive_at)
        return attrs.evolve(later, text=f"{self.text} {later.text}", end_s=max(self.end_s, later.end_s))

    def then_key(self, digit: str, at_s: float, now: float) -> "Words":
        """Return these words and a key: keys are one word."""
        digit = "" if digit == KEYS_OVER and self.text else digit
        text = f"{self.text}{digit}" if self.keys else f"{self.text} {digit}".strip()
        keys, keys_s = f"{self.keys}{digit}", self.keys_s if self.keys else at_s
        return Words(text=text, end_s=at_s, keys=keys, keys_s=keys_s, final_at=now, worded_at=now, alive_at=now)


@attrs.frozen(kw_only=True)
class Draft:
    """What the recogniser has of what comes after the final words, so far.

    end_s: how far it speaks of. ending: it expects that the speaker is about to finish.
    """

    text: str = ""
    end_s: float = 0.0
    ending: bool = False


@attrs.frozen(kw_only=True)
class Sound:
    """The caller's sound, by the line's detector, on the call's timeline.

    from_s: when the one began that lasts, or that was the last. end_s: the end of the last one that has ended.
    noise: the one that lasts was found to be none of the caller's words.
    """

    from_s: float = 0.0
    end_s: float = 0.0
    lasts: bool = False
    noise: bool = False


@attrs.frozen(kw_only=True)
class Voice:
    """The agent's voice, as the Pacer tells of it.

    turn: the newest that was heard, or was cut: news of older ones is stale. firm: see `Playing`.
    began_at: when it was first heard in that turn. since_at: since when it has been heard without a hold, or firmness:
        sound over it counts from there.
    """

    turn: int = -1
    firm: bool = False
    began_at: float = 0.0
    since_at: float = 0.0


@attrs.frozen(kw_only=True)
class TurnDetector:
    """Whose turn it is. Allocates the turns' numbers; they only rise."""

    policy: TurnPolicy = TurnPolicy()
    turn: int = 0
    floor: Floor = Floor.CALLER
    # Words that wait to be answered; words over the agent that left it the floor; what is not final yet.
    open: Words = Words()
    aside: Words = Words()
    draft: Draft = Draft()
    # What the Agent was told to expect. Invariant: none but while the caller has the floor.
    expected: TurnExpected | None = None
    covered_s: float = 0.0
    # Whether the recogniser was seen to tell of what has no words in it: then it is not there while it does not.
    telling: bool = False
    sound: Sound = Sound()
    voice: Voice = Voice()
    # When the present hold began; how many came to nothing in the agent's present turn.
    held_at: float = 0.0
    vain: int = 0
    # How often the caller was asked into the present silence, and the newest turn for it, of which an agent that is
    # about to say something makes no use; whether the agent was cut, and no words have come yet.
    asked: int = 0
    asking: int = -1
    stranded: bool = False
    # Since when nothing but sound of the caller's has broken the silence.
    wordless_at: float = 0.0
    # Invariant: `turn_due` is a time exactly while there are open words, `hold_due` exactly during a hold; from the
    # agent's first sound to the line's end one of the four is a time, so nobody waits for ever.
    turn_due: float = NEVER
    expect_due: float = NEVER
    hold_due: float = NEVER
    idle_due: float = NEVER

    @property
    def deadline(self) -> float:
        """The first of what is due."""
        return min(self.turn_due, self.expect_due, self.hold_due, self.idle_due)

    def handle(self, message: Inbox, now: float) -> "Step":
        """Return the core that follows `message`, and what it sends."""
        if self.floor is Floor.GONE:
            return self, []
        match message:
            case Transcript(is_final=False):
                core, effects = self._drafted(message, now)
            case Transcript(text=""):
                core, effects = self._covered(message, now)
            case Transcript():
                core, effects = self._said(message, now)
            case SpeechStarted(at_s=at_s):
                core, effects = self._sounded(at_s, now)
            case SpeechLasted(from_s=from_s, to_s=to_s):
                core, effects = self._sounding(from_s, to_s, now)
            case SpeechStopped(at_s=at_s):
                core, effects = self._silent(at_s, now)
            case Dtmf(digit=digit, at_s=at_s):
                core, effects = self._pressed(digit, at_s, now)
            case Playing(turn=turn, firm=firm):
                core, effects = self._playing(turn, now, firm=firm)
            case Stopped(turn=turn):
                core, effects = self._stopped(turn, now)
            case LineClosed():
                return self._closed(message, now)
            case Tick():
                core, effects = self._due(now)
            case _:
                assert_never(message)
        core, expected = core._expecting(now)
        return core, [*effects, *expected]

    # Words.

    def _drafted(self, heard: Transcript, now: float) -> "Step":
        """Take words that are not final: they keep the turn open, and may stop the agent."""
        draft = Draft(text=heard.text, end_s=heard.end_s, ending=heard.speech_ending)
        if not heard.text:
            return attrs.evolve(self, draft=draft)._rearmed(now)._released(now)
        words = attrs.evolve(self.open, worded_at=now, alive_at=now)
        core = attrs.evolve(self, draft=draft, open=words, asked=0)._rearmed(now)._idling(now)
        if self.floor is Floor.CALLER:
            return core, []
        sure = self.policy.grammar.claim(heard.text, draft=True)
        long = len(heard.text.split()) >= self.policy.barge_words
        if sure is Claim.COMMAND or (sure is Claim.FLOOR and long and not self._firm):
            return core._cut(now, "command" if sure is Claim.COMMAND else "words")
        if self._claim(heard.text) is Claim.FLOOR and self.floor in _HOLDING and not self.sound.lasts:
            # A word that nobody is sure of yet is waited for once more.
            due = min(self.held_at + self.policy.held_s, max(self.hold_due, now + self.policy.words_s))
            return attrs.evolve(core, hold_due=due), []
        return core._released(now)

    def _covered(self, heard: Transcript, now: float) -> "Step":
        """Take news of how far transcription has come: an end that came after the words, or nothing but silence."""
        finished, covered_s = heard.speech_final, max(self.covered_s, heard.covered_s)
        telling = self.telling or (not finished and covered_s > self.covered_s)
        draft = Draft(ending=heard.speech_ending)
        core = attrs.evolve(self, covered_s=covered_s, telling=telling, draft=draft)
        if finished and core.open.text:  # a recogniser may find the end after the words
            certain = core.open.certain or heard.semantic
            core = attrs.evolve(core, open=attrs.evolve(core.open, finished=True, certain=certain))
        caught_up = self._behind(now) and not core._behind(now)
        return (core._idling(now, sign=False) if caught_up else core)._rearmed(now)._released(now)

    def _said(self, heard: Transcript, now: float) -> "Step":
        """Take final words: they wait to be answered, or, over the agent, are put aside if they leave it the floor."""
        # What a transcript speaks of reaches beyond its words, into the silence that ended them.
        words = Words(
            text=heard.text.strip(),
            end_s=heard.words[-1].end_s if heard.words else heard.end_s,
            finished=heard.speech_final,
            certain=heard.speech_final and heard.semantic,
            final_at=now,
            worded_at=now,
            alive_at=now,
        )
        covered_s, draft = max(self.covered_s, heard.covered_s), Draft(ending=heard.speech_ending)
        core = attrs.evolve(self, covered_s=covered_s, draft=draft, asked=0)
        claim = Claim.FLOOR if self.floor is Floor.CALLER else self._claim(heard.text)
        if claim in {Claim.NOTHING, Claim.BACKCHANNEL} and not self.open.text:
            return attrs.evolve(core, aside=self.aside.then(words))._idling(now)._released(now)
        core = attrs.evolve(core, open=self.open.then(words), stranded=False)
        takes = self.floor is not Floor.CALLER and claim in {Claim.FLOOR, Claim.COMMAND}
        if takes and (claim is Claim.COMMAND or not self._firm):
            return core._cut(now, "command" if claim is Claim.COMMAND else "words")
        return core._rearmed(now)._idling(now)._released(now)

    def _pressed(self, digit: str, at_s: float, now: float) -> "Step":
        """Take a key: it stops the agent, whatever it says, and waits for the next one; "#" ends the turn."""
        core = attrs.evolve(self, open=self.open.then_key(digit, at_s, now), asked=0)
        core, effects = core._cut(now, "key", at_s) if self.floor is not Floor.CALLER else (core._rearmed(now), [])
        core, ended = core._ended(now) if digit == KEYS_OVER else (core._idling(now), [])
        return core, [*effects, *ended]

    # Sound.

    def _sounded(self, at_s: float, now: float) -> "Step":
        """Take the beginning of a sound. An agent that was not heard yet does not begin into it."""
        sound = Sound(from_s=at_s, end_s=self.sound.end_s, lasts=True)
        core = attrs.evolve(self, sound=sound, hold_due=self._held_until)._alive(now)._idling(now, sign=False)
        return core._hold(now) if self.floor is Floor.PENDING and not self._needed_s else (core, [])

    def _sounding(self, from_s: float, to_s: float, now: float) -> "Step":
        """Take a sound that goes on, whose beginning may have been missed."""
        same = self.sound.lasts and abs(self.sound.from_s - from_s) < SAME_MOMENT_S
        core, effects = (self, []) if same else self._sounded(from_s, now)
        if core.sound.noise or core._firm or core.floor in {Floor.CALLER, Floor.KEPT}:
            return core, effects
        heard = core.floor in _HEARD
        over_s = to_s - (max(from_s, core.voice.since_at) if heard else from_s) + SAME_MOMENT_S
        if heard and over_s >= self.policy.barge_s:
            return core._cut(now, "sound")
        return core._hold(now) if core.floor in _HOLDS and over_s >= core._needed_s else (core, effects)

    def _silent(self, at_s: float, now: float) -> "Step":
        """Take the end of a sound: its words, if it had any, are waited for."""
        sound = attrs.evolve(self.sound, end_s=at_s, lasts=False)
        until = self._held_until
        due = NEVER if until == NEVER else min(until, max(now, at_s + self.policy.words_s))
        return attrs.evolve(self, sound=sound, hold_due=due)._rearmed(now)._idling(now, sign=False)._released(now)

    # The playout.

    def _playing(self, turn: int, now: float, *, firm: bool) -> "Step":
        """Take the first sound of a turn, or that what is heard is firm from now on, or no longer."""
        effects: list[object] = []
        core, voice = self, self.voice
        if turn > voice.turn:
            if self.floor in _HEARD:
                core, effects = self._told_aside()
            floor = Floor.HELD if self.floor in _HOLDING else Floor.AGENT
            newer = Voice(turn=turn, firm=firm, began_at=now, since_at=now)
            vain = self.vain if self.floor in _HOLDING else 0
            core = attrs.evolve(core, floor=floor, voice=newer, vain=vain)
        elif turn == voice.turn and self.floor in _HEARD:
            since_at = now if voice.firm and not firm else voice.since_at
            core = attrs.evolve(core, voice=attrs.evolve(voice, firm=firm, since_at=since_at))
        else:
            return self, []  # of a turn that is over
        if firm and core.floor is Floor.HELD:
            core, resumed = core._resumed(now)
            effects += resumed
        elif voice.firm and not firm and core.open.text:
            core, cut = core._cut(now, "words")
            return core, [*effects, *cut]
        return core._rearmed(now)._idling(now), effects

    def _stopped(self, turn: int, now: float) -> "Step":
        """Take the end of what the agent said. What the caller put in just before is an answer to it."""
        if turn != self.voice.turn or self.floor not in _HEARD:
            return self, []  # of a turn that is over
        held, over = self.floor is Floor.HELD, self.turn in {turn, self.asking}
        answers = over and self._recent(now)
        core, effects = self, list[object]()
        if held and over:
            core, effects = self._resumed(now)  # nothing is left that could be held
        if answers:
            words = attrs.evolve(core.aside, alive_at=now)
            core = attrs.evolve(core, open=words.then(core.open), aside=Words())
        core, told = core._told_aside()
        floor = Floor.CALLER if over else Floor.KEPT if held else Floor.PENDING
        core = attrs.evolve(core, floor=floor, voice=attrs.evolve(core.voice, firm=False))
        return core._rearmed(now)._idling(now), [*effects, *told]

    def _closed(self, closed: LineClosed, now: float) -> "Step":
        core, told = self._told_aside()
        core, ended = core._ended(now) if core.open.text else (core, [])
        gone = attrs.evolve(core, floor=Floor.GONE, expected=None, turn_due=NEVER, expect_due=NEVER)
        return attrs.evolve(gone, hold_due=NEVER, idle_due=NEVER), [*told, *ended, closed]

    # What is due.

    def _due(self, now: float) -> "Step":
        """End the hold, the turn or the silence that is due; unless what the caller said is still to be recognised."""
        core, effects = self, list[object]()
        if core.hold_due <= now:
            core, effects = core._held_long(now)
        patience_s = core.policy.behind_s if core.telling else core.policy.idle_s
        behind = core._behind(now)
        if core.turn_due <= now:
            words_due = core.open.worded_at + patience_s
            if behind and not core.open.keys and now < words_due:
                core = attrs.evolve(core, turn_due=words_due)
            else:
                core, ended = core._ended(now)
                effects += ended
        if core.idle_due <= now:
            sound_due = (core.sound.from_s if core.sound.lasts else core.sound.end_s) + patience_s
            if behind and now < sound_due:
                core = attrs.evolve(core, idle_due=sound_due)
            else:
                core, asked = core._asked(now)
                effects += asked
        return core, effects

    def _held_long(self, now: float) -> "Step":
        """End a hold of whose sound no words have come, or whose sound does not end."""
        claims = self.draft.text and self._claim(self.draft.text) is Claim.FLOOR
        if self.sound.lasts and (self.floor is Floor.HELD or claims or self._behind(now)):
            return self._cut(now, "sound")
        sound = attrs.evolve(self.sound, noise=self.sound.lasts)
        return attrs.evolve(self, sound=sound)._resumed(now)

    def _ended(self, now: float) -> "Step":
        turn = self.turn + 1
        words = self.open
        # Words from before the agent was heard are no end of what it says.
        floor = Floor.PENDING if self.floor is Floor.CALLER else self.floor
        sound = attrs.evolve(self.sound, noise=self.sound.lasts)
        core = attrs.evolve(self, turn=turn, floor=floor, open=Words(), draft=Draft(), expected=None, sound=sound)
        core = attrs.evolve(core, stranded=False, vain=0)
        return core._rearmed(now)._idling(now), [
            TurnEnded(turn=turn, text=words.text, end_s=words.end_s),
            Timing(turn=turn, stage="last_word", at_s=words.end_s),
            Timing(turn=turn, stage="transcript_final", at_s=words.final_at),
            Timing(turn=turn, stage="turn_ended", at_s=now),
        ]

    def _asked(self, now: float) -> "Step":
        """Have the caller asked, in a turn of its own, whether they are there."""
        core, told = self._told_aside()
        core, void = core._void()
        core = attrs.evolve(
            core,
            turn=self.turn + 1,
            floor=Floor.PENDING,
            draft=Draft(),
            sound=attrs.evolve(self.sound, noise=self.sound.lasts),
            asked=self.asked + 1,
            asking=self.turn + 1,
            stranded=False,
            vain=0,
        )
        return core._idling(now), [*told, *void, CallerIdle(turn=core.turn)]

    # What follows.

    def _hold(self, now: float) -> "Step":
        core = attrs.evolve(self, floor=_HOLDS[self.floor], held_at=now, hold_due=now + self.policy.held_s)
        return core._idling(now), [Hold(turn=self.turn)]

    def _resumed(self, now: float) -> "Step":
        core = attrs.evolve(
            self,
            floor=_RESUMES[self.floor],
            voice=attrs.evolve(self.voice, since_at=now),
            hold_due=NEVER,
            vain=self.vain + 1,
        )
        return core._idling(now), [Resume(turn=self.turn)]

    def _released(self, now: float) -> "Step":
        """Let go of an agent that is held once the sound is over, and what was made of it leaves it the floor."""
        claims = self.draft.text and self._claim(self.draft.text) in {Claim.FLOOR, Claim.COMMAND}
        covered = max(self.covered_s, self.draft.end_s) >= self.sound.end_s - EDGE_S
        if self.floor in _HOLDING and not self.sound.lasts and covered and not claims:
            return self._resumed(now)
        return self, []

    def _cut(self, now: float, cause: str, at_s: float | None = None) -> "Step":
        """Stop the agent. What was put aside just before is the beginning of what the caller says."""
        core = self
        if self._recent(now):
            words = attrs.evolve(self.aside, alive_at=now)
            core = attrs.evolve(self, open=words.then(self.open), aside=Words())
        core, told = core._told_aside()
        core = attrs.evolve(
            core,
            floor=Floor.CALLER,
            voice=Voice(turn=self.turn),
            sound=attrs.evolve(self.sound, noise=self.sound.lasts) if cause == "sound" else self.sound,
            hold_due=NEVER,
            vain=0,
            stranded=not core.open.text,
        )
        barged = BargedIn(turn=self.turn, at_s=self.sound.from_s if at_s is None else at_s)
        counted = Counted(name=f"interruptions_by_{cause}", amount=1.0)
        return core._rearmed(now)._idling(now), [barged, *told, counted]

    def _told_aside(self) -> "Step":
        """Tell what was put aside, now that the agent's turn is over."""
        if not self.aside.text:
            return self, []
        turn = self.voice.turn if self.floor in _HEARD else self.turn
        told = Backchannel(turn=turn, text=self.aside.text, at_s=self.aside.end_s)
        return attrs.evolve(self, aside=Words()), [told, Counted(name="backchannels", amount=1.0)]

    def _expecting(self, now: float) -> "Step":
        """Have the answer begun to words that look like all of it; and given up, once there are others."""
        core = attrs.evolve(self, expect_due=NEVER) if self.expect_due <= now else self
        if self.floor is not Floor.CALLER:
            return core._void()
        text = f"{self.open.text} {self.draft.text}".strip()
        if self.expected is not None and is_same(self.expected.text, text):
            return core, []
        if text and self._looks_over(text, now):
            expected = TurnExpected(turn=self.turn + 1, text=text)
            return attrs.evolve(core, expected=expected), [expected, Counted(name="turns_expected", amount=1.0)]
        return core._void()

    def _void(self) -> "Step":
        if self.expected is None:
            return self, []
        resumed = TurnResumed(turn=self.expected.turn)
        return attrs.evolve(self, expected=None), [resumed, Counted(name="turns_resumed", amount=1.0)]

    def _looks_over(self, text: str, now: float) -> bool:
        """Whether the caller seems to have finished, though it is not certain."""
        if not self.policy.eager or self.turn_due <= now or (self.open.keys and not self.draft.text):
            return False
        if self.expect_due <= now:
            return True
        draft, sound = self.draft, self.sound
        covered_s = max(self.covered_s, draft.end_s) + self.policy.recogniser_s
        said_s = draft.end_s if draft.text else self.open.end_s
        quiet = not sound.lasts and sound.end_s <= covered_s and said_s <= sound.end_s + BELATED_S
        return (draft.ending or quiet) and self.policy.grammar.ending(text) in {Ending.COMPLETE, Ending.UNKNOWN}

    # What is known.

    @property
    def _firm(self) -> bool:
        return self.floor is Floor.AGENT and self.voice.firm

    @property
    def _held_until(self) -> float:
        return self.held_at + self.policy.held_s if self.floor in _HOLDING else NEVER

    @property
    def _needed_s(self) -> float:
        """How much sound holds the agent: twice as much after each hold that came to nothing, the first one excused."""
        harder = 2.0 ** min(self.vain - 1, 10) if self.vain > 1 else 1.0
        if self.floor in _UNHEARD and harder == 1.0:
            return 0.0
        return min(self.policy.barge_s, self.policy.hold_s * harder)

    def _claim(self, text: str) -> Claim:
        return self.policy.grammar.claim(text)

    def _recent(self, now: float) -> bool:
        """Whether the agent has said little since what was put aside."""
        until_at = self.held_at if self.floor is Floor.HELD else now
        since_s = until_at - max(self.aside.end_s, self.voice.since_at)
        over = self.floor in _HEARD and self.aside.end_s > self.voice.began_at
        return bool(self.aside.text) and over and since_s <= self.policy.answer_s

    def _rearmed(self, now: float) -> Self:
        """Return the core with its open words due when they should be: never disarmed, only moved."""
        words, policy, sound = self.open, self.policy, self.sound
        if not words.text:
            return attrs.evolve(self, turn_due=NEVER, expect_due=NEVER)
        # Of what goes on after an end that was heard, the recogniser knows better than the line.
        passed_s = self.covered_s + (policy.recogniser_s if words.finished else SAME_MOMENT_S)
        quiet_at = sound.end_s if words.finished else max(sound.end_s, words.end_s)
        passed = sound.from_s + policy.recogniser_s < self.covered_s if sound.lasts else sound.end_s <= passed_s
        ending = policy.grammar.ending(words.text)
        longest_due, expect_due = words.alive_at + policy.longest_s, NEVER
        if self._firm:
            due = self.voice.since_at + policy.monologue_s
        elif words.keys and not sound.lasts and not self.draft.text:
            due = words.final_at + policy.keys_s
        elif words.certain and passed:
            due = now
        elif passed and not sound.lasts and not self.draft.text:
            due = min(quiet_at + policy.wait_s(ending), longest_due)
            expect_due = quiet_at + policy.complete_s if ending is Ending.INCOMPLETE else NEVER
        elif words.finished and sound.lasts and sound.from_s < words.end_s < self.covered_s:
            due = words.worded_at + max(policy.noise_s, policy.wait_s(ending))
        else:
            due = longest_due
        due = max(now, due)
        return attrs.evolve(self, turn_due=due, expect_due=expect_due if expect_due < due else NEVER)

    def _behind(self, now: float) -> bool:
        """Whether the recogniser has yet to tell of the caller's last sound: it is away, or has much to catch up on."""
        sound = self.sound
        sound_s = max(sound.end_s, now - self.policy.lag_s) if sound.lasts else sound.end_s
        return self.covered_s < sound_s - self.policy.recogniser_s

    def _alive(self, now: float) -> Self:
        """Return the core that waits longer for words, because of a sound: not for ever, if none come."""
        alive_at = min(now, self.open.worded_at + self.policy.longest_s)
        return attrs.evolve(self, open=attrs.evolve(self.open, alive_at=alive_at))._rearmed(now)

    def _idling(self, now: float, *, sign: bool = True) -> Self:
        """Return the core with silence counted from now; open words, and a hold, are due long before.

        sign: of more than sound. A line whose noise comes and goes is never silent for long: what no words come of is
        borne no longer than one sound would be that began in the silence, and still less where it has cut the agent.
        """
        wordless_at = now if sign else self.wordless_at
        if self.open.text or self.floor in _HOLDING:
            return attrs.evolve(self, wordless_at=wordless_at, idle_due=NEVER)
        policy = self.policy
        if self.floor is Floor.AGENT or (self.sound.lasts and not self.sound.noise):
            wait_s = policy.monologue_s
        elif self.stranded:
            wait_s = policy.stranded_s
        else:
            waits_s = (policy.idle_s, *policy.idle_again_s)
            wait_s = waits_s[min(self.asked, len(waits_s) - 1)]
        longest_s = policy.idle_s if self.stranded and not self.draft.text else policy.idle_s + policy.monologue_s
        due = max(now, min(now + wait_s, wordless_at + longest_s))
        return attrs.evolve(self, wordless_at=wordless_at, idle_due=due)

    # Salvage.

    def fresh(self, suspect: Self) -> Self:
        """Return a new core with all that the suspect knew of words, sound and playout; its hold goes on."""
        bare = self.bare(suspect)
        words = _recast(suspect.open)
        holding = suspect.floor in _HOLDING
        return attrs.evolve(
            bare,
            floor=Floor(suspect.floor),
            open=words,
            aside=_recast(suspect.aside),
            draft=_recast(suspect.draft),
            expected=suspect.expected if isinstance(suspect.expected, TurnExpected) else None,
            telling=bool(suspect.telling),
            sound=_recast(suspect.sound),
            voice=_recast(suspect.voice),
            held_at=float(suspect.held_at),
            vain=int(suspect.vain),
            asked=int(suspect.asked),
            asking=int(suspect.asking),
            stranded=bool(suspect.stranded),
            wordless_at=float(suspect.wordless_at),
            turn_due=float(suspect.turn_due) if words.text else NEVER,
            expect_due=float(suspect.expect_due) if words.text else NEVER,
            hold_due=float(suspect.hold_due) if holding else NEVER,
            idle_due=float(suspect.idle_due),
        )

    def bare(self, suspect: Self) -> Self:
        """Return a new core with the newest turns' numbers and how far the caller was heard; it minds a silence.

        It knows of no hold: the Pacer goes on by itself.
        """
        covered_s, spoke_s = float(suspect.covered_s), float(suspect.sound.end_s)
        gone = suspect.floor is Floor.GONE
        return attrs.evolve(
            self,
            turn=int(suspect.turn),
            floor=Floor.GONE if gone else self.floor,
            covered_s=covered_s,
            sound=Sound(end_s=spoke_s),
            voice=Voice(turn=int(suspect.voice.turn)),
            wordless_at=max(covered_s, spoke_s),
            idle_due=NEVER if gone else max(covered_s, spoke_s) + self.policy.monologue_s,
        )


Step: TypeAlias = tuple[TurnDetector, list[object]]


def _recast(value: _ValueT) -> _ValueT:
    """Return a copy of a value of plain fields, each of the type of its default. Raises for what cannot be."""
    fields: dict[str, Any] = {
        field.name: type(field.default)(getattr(value, field.name)) for field in attrs.fields(type(value))
    }
    return type(value)(**fields)
