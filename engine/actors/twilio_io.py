"""TwilioIO: turns what the line brings into the caller's audio, speech and keys on the call's timeline."""

import enum
from typing import Self, TypeAlias, assert_never

import attrs

from engine.codec.telephony import RATE_HZ
from engine.messages.caller import CallerAudio, Dtmf, LineClosed, MarkEcho, SpeechLasted, SpeechStarted, SpeechStopped
from engine.messages.line import LineAudio, LineDtmf, LineEnded, LineMark
from engine.messages.supervision import NEVER, Tick

LOST_S = 0.05
"""A hole of more than this in the caller's audio breaks a sound: two frames may be lost, or the line's clock jump."""

Inbox: TypeAlias = LineAudio | LineDtmf | LineMark | LineEnded | Tick


class Voice(enum.Enum):
    """What the caller's side sounds like."""

    QUIET = "quiet"
    SPEAKING = "speaking"
    GONE = "gone"


@attrs.frozen(kw_only=True)
class SpeechPolicy:
    """When voiced frames are speech.

    start_s: unbroken voiced sound that counts as speech. 0.06: three frames; a click has one or two.
    stop_s: silence that ends speech. 0.2: longer than the closure of a stop consonant, shorter than a pause.
    lasted_s: how often it is said that speech goes on. 0.08: the agent is held after as much, which is four frames.
    """

    start_s: float = 0.06
    stop_s: float = 0.2
    lasted_s: float = 0.08


@attrs.frozen(kw_only=True)
class TwilioIO:
    """The line's ear. Has no session and no deadline: the line's clock is the caller's audio itself."""

    policy: SpeechPolicy = SpeechPolicy()
    voice: Voice = Voice.QUIET
    # Times on the call's timeline: how far audio has come, the present voiced run's start, the last voiced frame's end.
    heard_s: float = 0.0
    run_s: float | None = None
    voiced_s: float = 0.0
    # While speaking: when that began, and up to when it was said to have lasted.
    speech_s: float = 0.0
    told_s: float = 0.0

    @property
    def deadline(self) -> float:
        """Never: it is woken by audio."""
        return NEVER

    def handle(self, message: Inbox, now: float) -> tuple[Self, list[object]]:  # noqa: ARG002 - a core's signature
        """Return the core that follows `message`, and what it sends."""
        if self.voice is Voice.GONE:
            return self, []
        match message:
            case LineAudio(start_s=start_s, audio=audio, voiced=voiced, own=own):
                end_s = start_s + len(audio) / RATE_HZ
                # Audio that was lost on its way is no sound: what lies around it is not unbroken.
                here, lost = self._unvoiced(start_s) if start_s - self.heard_s > LOST_S else (self, [])
                heard = attrs.evolve(here, heard_s=max(self.heard_s, end_s))
                core, effects = heard._voiced(start_s, end_s) if voiced and own else heard._unvoiced(end_s)
                return core, [*lost, CallerAudio(start_s=start_s, end_s=end_s, audio=audio, voiced=voiced), *effects]
            case LineDtmf(digit=digit):
                return self, [Dtmf(digit=digit, at_s=self.heard_s)]
            case LineMark(name=name):
                return self, [MarkEcho(name=name, at_s=self.heard_s)]
            case LineEnded(reason=reason):
                stopped: list[object] = [SpeechStopped(at_s=self.voiced_s)] if self.voice is Voice.SPEAKING else []
                gone = attrs.evolve(self, voice=Voice.GONE, run_s=None)
                return gone, [*stopped, LineClosed(reason=reason, at_s=self.heard_s)]
            case Tick():
                return self, []
            case _:
                assert_never(message)

    def _voiced(self, start_s: float, end_s: float) -> tuple[Self, list[object]]:
        run_s = start_s if self.run_s is None else self.run_s
        core = attrs.evolve(self, run_s=run_s, voiced_s=end_s)
        if self.voice is Voice.QUIET and end_s - run_s >= self.policy.start_s - 1e-6:
            return attrs.evolve(core, voice=Voice.SPEAKING, speech_s=run_s, told_s=run_s), [SpeechStarted(at_s=run_s)]
        if self.voice is Voice.SPEAKING and end_s - self.told_s >= self.policy.lasted_s - 1e-6:
            return attrs.evolve(core, told_s=end_s), [SpeechLasted(from_s=self.speech_s, to_s=end_s)]
        return core, []

    def _unvoiced(self, end_s: float) -> tuple[Self, list[object]]:
        core = self if self.run_s is None else attrs.evolve(self, run_s=None)
        if self.voice is Voice.SPEAKING and end_s - self.voiced_s >= self.policy.stop_s - 1e-6:
            return attrs.evolve(core, voice=Voice.QUIET), [SpeechStopped(at_s=self.voiced_s)]
        return core, []

    def fresh(self, suspect: Self) -> Self:
        """Return a new core that knows how far audio has come and whether the caller is speaking."""
        return attrs.evolve(
            self.bare(suspect),
            voice=Voice(suspect.voice),
            run_s=suspect.run_s,
            voiced_s=float(suspect.voiced_s),
            speech_s=float(suspect.speech_s),
            told_s=float(suspect.told_s),
        )

    def bare(self, suspect: Self) -> Self:
        """Return a new core that knows how far audio has come.

        It takes the caller to be speaking until then: should that be wrong, an end is told that was not needed; taken
        to be quiet, an end that is waited for would never come.
        """
        heard_s = float(suspect.heard_s)
        voice = Voice.GONE if suspect.voice is Voice.GONE else Voice.SPEAKING
        return attrs.evolve(self, voice=voice, heard_s=heard_s, voiced_s=heard_s, speech_s=heard_s, told_s=heard_s)
