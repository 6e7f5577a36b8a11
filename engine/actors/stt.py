"""STT: has the caller's audio recognised, every word once, whatever becomes of the recogniser."""

import itertools
from collections.abc import Iterable
from typing import Self, TypeAlias, assert_never

import attrs

from engine.mailbox import NEVER
from engine.messages.caller import CallerAudio, LineClosed
from engine.messages.recognition import Finalise, Recognise, Recognised, Transcript
from engine.messages.records import Counted
from engine.messages.supervision import SessionInfo, Tick

Inbox: TypeAlias = CallerAudio | Recognised | LineClosed | Tick

SAME_MOMENT_S = 0.001
"""Times closer than this are one: a frame is 20 ms, and floats add up."""


@attrs.frozen(kw_only=True)
class RecognitionPolicy:
    """What is kept for a recogniser that is away, and how long the end waits for it.

    keep_s: audio kept that no final transcript covers; beyond it the oldest is lost, and counted. 30: a long outage.
    finalise_s: how long the end of a call waits for the last words. 1.0: a decode takes less, a caller has gone.
    """

    keep_s: float = 30.0
    finalise_s: float = 1.0


@attrs.frozen(kw_only=True)
class STT:
    """What the recogniser is owed, and how far it has come."""

    policy: RecognitionPolicy = RecognitionPolicy()
    # Invariant: in order of time, and none ends at or before `covered_s`.
    owed: tuple[CallerAudio, ...] = ()
    # Final words were passed on up to here; what a later session says of it again is dropped.
    covered_s: float = 0.0
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
                return self, self._said(message)
            case Recognised(covered_s=covered_s):
                covered = max(self.covered_s, covered_s)
                owed = tuple(each for each in self.owed if each.end_s > covered + SAME_MOMENT_S)
                core = attrs.evolve(self, owed=owed, covered_s=covered)
                return core._closed_if_done(self._said(message))
            case LineClosed():
                core = attrs.evolve(self, closing=message, deadline=now + self.policy.finalise_s)
                return core._closed_if_done([Finalise()])
            case Tick():
                lost = _lost(self.owed)
                return attrs.evolve(self, owed=(), closing=None, deadline=NEVER), [*lost, *self._end()]
            case _:
                assert_never(message)

    def started(self, session: SessionInfo, now: float) -> tuple[Self, list[object]]:  # noqa: ARG002
        """Ask the new session for all that no final transcript covers."""
        asks: list[object] = [*_joined(self.owed)]
        if self.closing is not None:
            asks.append(Finalise())
        return self, asks

    def _said(self, heard: Recognised) -> list[object]:
        """Return the transcript of what was heard and not passed on before: nothing, for words said again."""
        words = tuple(word for word in heard.words if (word.start_s + word.end_s) / 2 > self.covered_s)
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
            )
        ]

    def _within_bound(self) -> tuple[Self, list[object]]:
        bound_s = self.owed[-1].end_s - self.policy.keep_s - SAME_MOMENT_S
        if self.owed[0].start_s >= bound_s:
            return self, []
        lost = tuple(itertools.takewhile(lambda each: each.start_s < bound_s, self.owed))
        return attrs.evolve(self, owed=self.owed[len(lost) :]), _lost(lost)

    def _closed_if_done(self, effects: list[object]) -> tuple[Self, list[object]]:
        if self.closing is None or self.owed:
            return self, effects
        return attrs.evolve(self, closing=None, deadline=NEVER), [*effects, *self._end()]

    def _end(self) -> list[object]:
        return [] if self.closing is None else [self.closing]

    def fresh(self, suspect: Self) -> Self:
        """Return a new core that owes what the suspect owed."""
        bare = self.bare(suspect)
        owed = (each for each in suspect.owed if each.end_s > bare.covered_s)
        return attrs.evolve(bare, owed=tuple(sorted(owed, key=lambda each: each.start_s)))

    def bare(self, suspect: Self) -> Self:
        """Return a new core that knows how far transcription has come, and that the line is closed if it is."""
        core = attrs.evolve(self, covered_s=float(suspect.covered_s))
        if isinstance(suspect.closing, LineClosed):
            return attrs.evolve(core, closing=suspect.closing, deadline=float(suspect.deadline))
        return core


def _lost(audio: tuple[CallerAudio, ...]) -> list[object]:
    lost_s = sum(each.end_s - each.start_s for each in audio)
    return [Counted(name="lost_ms", amount=round(lost_s * 1000))] if audio else []


def _joined(audio: Iterable[CallerAudio]) -> list[Recognise]:
    """Return the audio as few asks, one for each stretch without a gap, a second long at most."""
    stretches: list[list[CallerAudio]] = []
    for each in audio:
        last = stretches[-1] if stretches else None
        if last and abs(last[-1].end_s - each.start_s) < SAME_MOMENT_S and each.end_s - last[0].start_s <= 1.0:
            last.append(each)
        else:
            stretches.append([each])
    return [
        Recognise(start_s=stretch[0].start_s, audio=b"".join(each.audio for each in stretch)) for stretch in stretches
    ]
