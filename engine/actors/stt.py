"""STT: has the caller's audio recognised, every word once, whatever becomes of the recogniser.

Theory of operation. Audio is *owed* until a final transcript covers it; the last of what is covered is *kept*. A new
session is asked for what is owed, and for some of what is kept before it, from a pause on or from far enough back, so
that no word at the joint is cut in two. Of long silence only the ends are asked for, so that catching up takes as long
as the caller spoke. What the session says again is told from what is new by `alignment`.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Final, Self, TypeAlias, assert_never

import attrs

from engine.codec.alignment import repeated
from engine.messages.caller import CallerAudio, LineClosed
from engine.messages.recognition import Finalise, Recognise, Recognised, Transcript, Word
from engine.messages.records import Counted
from engine.messages.supervision import NEVER, SessionInfo, Tick

Inbox: TypeAlias = CallerAudio | Recognised | LineClosed | Tick

SAME_MOMENT_S = 0.001
"""Times closer than this are one: a frame is 20 ms, and floats add up."""

LONGEST_ASK_S = 1.0
"""Audio in one ask, at most: a session has work for others to run in between."""

LOST_AT_ONCE_S = 1.0
"""Lost audio is told of by this much, not frame by frame."""

# What is heard this far behind the moment that was covered is new, whatever its times.
_JOINT_S: Final = 0.5
# Words are remembered for this much longer than audio is kept: they are longer than a frame, and their times shift.
_WORD_S: Final = 2.0


@attrs.frozen(kw_only=True)
class RecognitionPolicy:
    """What is kept for a recogniser that is away, what its successor is sent, and how long the end waits for it.

    keep_s: audio kept that no final transcript covers; beyond it the oldest is lost, and counted. 30: a long outage.
    preroll_s: covered audio kept, in which a new session's audio may begin, at a pause. 2.0: a phrase; more would be
        heard again at every reconnect.
    cut_s: how far back it begins where there was no pause. 1.5: some five words, so that the order tells them apart
        (simulated: at 0.6 five times as many reconnects double or lose a word).
    pause_s: silence in which audio may begin, and what a new session is sent of a longer one: a third of it after the
        words, the rest before the next, whose beginning may have no voice in it. 0.3: vendors end an utterance by it.
    finalise_s: how long the end of a call waits for the last words. 1.0: a decode takes less, a caller has gone.
    """

    keep_s: float = 30.0
    preroll_s: float = 2.0
    cut_s: float = 1.5
    pause_s: float = 0.3
    finalise_s: float = 1.0


@attrs.frozen(kw_only=True)
class Joint:
    """Where a session was joined to the one before it.

    begins_s, covered_s: where its audio begins, and how far that of the one before was covered.
    accepted: the words before. again: those of its final words that are among them.
    """

    begins_s: float
    covered_s: float
    accepted: tuple[Word, ...]
    again: tuple[Word, ...] = ()

    def split(self, words: tuple[Word, ...]) -> int:
        """Return how many of a session's next words are among the accepted."""
        close = tuple(itertools.takewhile(lambda word: word.start_s < self.covered_s + _JOINT_S, words))
        heard = (*self.again, *close)
        count = repeated(self.accepted, heard, begins_s=self.begins_s, covered_s=self.covered_s)
        return max(0, count - len(self.again))

    def after(self, words: tuple[Word, ...], covered_s: float) -> Self | None:
        """Return what follows final words that all were among them; None far enough behind."""
        if covered_s > self.covered_s + _JOINT_S:
            return None
        return attrs.evolve(self, again=(*self.again, *words)) if words else self


@attrs.frozen(kw_only=True)
class CatchingUp:
    """A session that began at `since` and has caught up when what it covers reaches `upto_s`."""

    since: float
    upto_s: float


@attrs.frozen(kw_only=True)
class STT:
    """What the recogniser is owed, and how far it has come."""

    policy: RecognitionPolicy = RecognitionPolicy()
    # Invariant: both in order of time; what is kept ends at or before `covered_s`, what is owed after it.
    kept: tuple[CallerAudio, ...] = ()
    owed: tuple[CallerAudio, ...] = ()
    # Final words were passed on up to here, the last of them are `accepted`.
    covered_s: float = 0.0
    accepted: tuple[Word, ...] = ()
    # While words may be said again; while a new session is behind.
    joint: Joint | None = None
    catching_up: CatchingUp | None = None
    # Voice that was lost and not yet told of.
    lost_s: float = 0.0
    # Invariant: there is a deadline exactly while the line is closed and its last words are awaited.
    closing: LineClosed | None = None
    deadline: float = NEVER

    def handle(self, message: Inbox, now: float) -> tuple[Self, list[object]]:
        """Return the core that follows `message`, and what it sends."""
        match message:
            case CallerAudio(start_s=start_s, audio=audio):
                core, lost = attrs.evolve(self, owed=(*self.owed, message))._within_bound()
                return core, [Recognise(start_s=start_s, audio=audio), *lost]
            case Recognised(is_final=False):
                return self, self._said(message, self._new(message))
            case Recognised(words=words, covered_s=covered_s):
                new = self._new(message)
                said = self._said(message, new)
                # What follows a new word is new.
                joint = None if new or self.joint is None else self.joint.after(words, covered_s)
                core, caught_up = attrs.evolve(self, joint=joint)._covered(covered_s, new)._caught_up(now)
                return core._closed_if_done([*said, *caught_up])
            case LineClosed():
                core = attrs.evolve(self, closing=message, deadline=now + self.policy.finalise_s)
                return core._closed_if_done([Finalise()])
            case Tick():
                core, lost = self._lost(self.owed)._told_lost(0.0)
                return attrs.evolve(core, owed=(), closing=None, deadline=NEVER), [*lost, *self._end()]
            case _:
                assert_never(message)

    @property
    def owing(self) -> bool:
        """Whether the caller has said something that was not understood yet."""
        return any(each.voiced for each in self.owed)

    def started(self, session: SessionInfo, now: float) -> tuple[Self, list[object]]:
        """Ask the new session for all that no final transcript covers, from a little before it."""
        again = self._again(timed=session.aligned)
        sent = _without_long_silence((*again, *self.owed), self.policy.pause_s)
        begins_s = sent[0].start_s if sent else self.covered_s
        joint = Joint(begins_s=begins_s, covered_s=self.covered_s, accepted=self.accepted) if again else None
        core, reported = attrs.evolve(self, joint=joint)._reconnected(session, sent, now)
        finalise = [] if self.closing is None else [Finalise()]
        return core, [*_joined(sent), *finalise, *reported]

    def _again(self, *, timed: bool) -> tuple[CallerAudio, ...]:
        """Return the audio before what is owed that a new session is to be sent.

        It begins where a pause is that goes on up to its first voice, else a fixed time back. A session that does not
        say when its words are said is sent no word again, for nobody could tell.
        """
        policy = self.policy
        silent = itertools.takewhile(lambda each: not each.voiced, self.owed)
        quiet_s = sum(each.end_s - each.start_s for each in silent)
        for count, each in enumerate(reversed(self.kept)):
            if quiet_s >= policy.pause_s - SAME_MOMENT_S or (each.voiced and not timed):
                return self.kept[len(self.kept) - count :]
            quiet_s = 0.0 if each.voiced else quiet_s + each.end_s - each.start_s
        if quiet_s >= policy.pause_s - SAME_MOMENT_S or not self.kept:
            return self.kept
        from_s = self.kept[-1].end_s - policy.cut_s - SAME_MOMENT_S
        return tuple(each for each in self.kept if each.start_s >= from_s)

    def _reconnected(self, session: SessionInfo, sent: Sequence[CallerAudio], now: float) -> tuple[Self, list[object]]:
        """Report on the time without a session, and what it costs; the first session of a call has had none."""
        if session.incarnation == 1:
            return self, []
        asked_s = (sent[-1].end_s if sent else 0.0) - session.away_s + SAME_MOMENT_S
        replayed_s = sum(each.end_s - each.start_s for each in sent if each.end_s <= asked_s)
        upto_s = next((each.end_s for each in reversed(self.owed) if each.voiced), self.covered_s)
        core, lost = self._told_lost(0.0)
        core, caught_up = attrs.evolve(core, catching_up=CatchingUp(since=now, upto_s=upto_s))._caught_up(now)
        return core, [
            Counted(name="deaf_ms", amount=round(session.away_s * 1000)),
            Counted(name="replayed_ms", amount=round(replayed_s * 1000)),
            *lost,
            *caught_up,
        ]

    def _caught_up(self, now: float) -> tuple[Self, list[object]]:
        late = self.catching_up
        if late is None or self.covered_s < late.upto_s - SAME_MOMENT_S:
            return self, []
        took_s = round(max(0.0, now - late.since), 3)
        return attrs.evolve(self, catching_up=None), [Counted(name="catch_up_s", amount=took_s)]

    def _new(self, heard: Recognised) -> tuple[Word, ...]:
        """Return the words that were not accepted before."""
        if self.joint is None or not heard.words:
            return heard.words
        return heard.words[self.joint.split(heard.words) :]

    def _said(self, heard: Recognised, words: tuple[Word, ...]) -> list[object]:
        """Return the transcript of what was heard, of which `words` are new: nothing, for words said again."""
        if len(words) < len(heard.words):
            text = " ".join(word.text for word in words)
        else:
            again = heard.text and not heard.words and heard.end_s <= self.covered_s + SAME_MOMENT_S
            text = "" if again else heard.text
        if not text and not heard.is_final:
            return []
        return [
            Transcript(
                text=text,
                words=words,
                start_s=heard.start_s,
                end_s=heard.end_s,
                is_final=heard.is_final,
                speech_final=heard.speech_final,
                covered_s=max(self.covered_s, heard.covered_s) if heard.is_final else self.covered_s,
                speech_ending=heard.speech_ending,
                semantic=heard.semantic,
            )
        ]

    def _covered(self, covered_s: float, words: tuple[Word, ...]) -> Self:
        """Return the core that follows when so much is covered, and these words were passed on."""
        covered_s = max(self.covered_s, covered_s)
        paid = tuple(each for each in self.owed if each.end_s <= covered_s + SAME_MOMENT_S)
        kept_s = covered_s - self.policy.preroll_s - SAME_MOMENT_S
        return attrs.evolve(
            self,
            kept=tuple(each for each in (*self.kept, *paid) if each.start_s >= kept_s),
            owed=tuple(each for each in self.owed if each.end_s > covered_s + SAME_MOMENT_S),
            covered_s=covered_s,
            accepted=tuple(word for word in (*self.accepted, *words) if word.end_s > kept_s - _WORD_S),
        )

    def _within_bound(self) -> tuple[Self, list[object]]:
        bound_s = self.owed[-1].end_s - self.policy.keep_s - SAME_MOMENT_S
        if self.owed[0].start_s >= bound_s:
            return self, []
        lost = tuple(itertools.takewhile(lambda each: each.start_s < bound_s, self.owed))
        return attrs.evolve(self, owed=self.owed[len(lost) :])._lost(lost)._told_lost(LOST_AT_ONCE_S)

    def _lost(self, audio: Iterable[CallerAudio]) -> Self:
        """Return the core that lost this audio. Silence is no loss: of some vendors none is ever covered."""
        lost_s = sum(each.end_s - each.start_s for each in audio if each.voiced)
        return attrs.evolve(self, lost_s=self.lost_s + lost_s)

    def _told_lost(self, least_s: float) -> tuple[Self, list[object]]:
        if self.lost_s <= max(0.0, least_s - SAME_MOMENT_S):
            return self, []
        return attrs.evolve(self, lost_s=0.0), [Counted(name="lost_ms", amount=round(self.lost_s * 1000))]

    def _closed_if_done(self, effects: list[object]) -> tuple[Self, list[object]]:
        if self.closing is None or self.owed:
            return self, effects
        core, lost = self._told_lost(0.0)
        return attrs.evolve(core, closing=None, deadline=NEVER), [*effects, *lost, *self._end()]

    def _end(self) -> list[object]:
        return [] if self.closing is None else [self.closing]

    def fresh(self, suspect: Self) -> Self:
        """Return a new core that owes what the suspect owed, and knows the words at the joint."""
        bare = self.bare(suspect)
        return attrs.evolve(
            bare,
            kept=tuple(sorted(suspect.kept, key=lambda each: each.start_s)),
            owed=tuple(
                sorted((each for each in suspect.owed if each.end_s > bare.covered_s), key=lambda each: each.start_s)
            ),
            accepted=suspect.accepted,
            joint=suspect.joint,
            catching_up=suspect.catching_up,
            lost_s=float(suspect.lost_s),
        )

    def bare(self, suspect: Self) -> Self:
        """Return a new core that knows how far transcription has come, and that the line is closed if it is."""
        core = attrs.evolve(self, covered_s=float(suspect.covered_s))
        if isinstance(suspect.closing, LineClosed):
            return attrs.evolve(core, closing=suspect.closing, deadline=float(suspect.deadline))
        return core


def _without_long_silence(audio: Sequence[CallerAudio], pause_s: float) -> list[CallerAudio]:
    """Return the audio without the middle of each silence that is longer than `pause_s`."""
    sent: list[CallerAudio] = []
    for voiced, run in itertools.groupby(audio, key=lambda each: each.voiced):
        frames = list(run)
        begins_s, ends_s = frames[0].start_s, frames[-1].end_s
        if not voiced and ends_s - begins_s > pause_s + SAME_MOMENT_S:
            first_s = begins_s + pause_s / 3 + SAME_MOMENT_S
            last_s = ends_s - 2 * pause_s / 3 - SAME_MOMENT_S
            frames = [each for each in frames if each.end_s <= first_s or each.start_s >= last_s]
        sent += frames
    return sent


def _joined(audio: Iterable[CallerAudio]) -> list[Recognise]:
    """Return the audio as few asks, one for each stretch without a gap, a second long at most."""
    stretches: list[list[CallerAudio]] = []
    for each in audio:
        last = stretches[-1] if stretches else None
        if (
            last
            and abs(last[-1].end_s - each.start_s) < SAME_MOMENT_S
            and each.end_s - last[0].start_s <= LONGEST_ASK_S
        ):
            last.append(each)
        else:
            stretches.append([each])
    return [
        Recognise(start_s=stretch[0].start_s, audio=b"".join(each.audio for each in stretch)) for stretch in stretches
    ]
