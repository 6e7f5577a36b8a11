"""Endpointer: cuts a caller's audio into utterances. Pure: no clock, no model, no voice activity detector in it.

Theory of operation. A `Framer` makes audio of any size, with holes and repeats in it, into frames that follow one
another. Each frame gets a verdict, voiced or not, and goes to the `Endpointer`, which is either in silence or in an
utterance:

    silence   --3 of the last 5 frames voiced-->                         utterance (it begins a pre-roll earlier)
    utterance --`silence_s` since the last such frame-->                 silence   (it ended a post-roll after that)
    utterance --`longest_s` long: cut where it is quietest-->            utterance (the rest)
    any       --a hole in the audio, or asked to finish-->               silence

All positions are counted in samples on the call's timeline, so that nothing is lost to rounding; what comes out is in
seconds. Audio is kept from the moment before which nothing can belong to an utterance any more, `covered_s`.
"""

import itertools
from typing import Self, TypeAlias

import attrs
from attrs.validators import and_, ge, gt

from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE

# How far the line's timestamps may stray from the count of samples before audio is padded or dropped: they are whole
# milliseconds, and a correction is a click.
_JITTER_SAMPLES = 80
# A hole up to this long is filled with silence, so that a lost frame does not end an utterance; a longer one ends it.
_HOLE_SAMPLES = 1600
# Frames that a cut looks at at once when it seeks the quietest place: 160 ms, a little less than a pause between words.
_PAUSE_FRAMES = 8

# The magnitude of a µ-law byte, 0..127, in its own logarithmic steps.
_LOUDNESS = bytes(~code & 0x7F for code in range(256))


def samples(seconds: float) -> int:
    """Return the position of a moment, in samples."""
    return round(seconds * RATE_HZ)


def seconds(position: int) -> float:
    """Return the moment of a position."""
    return position / RATE_HZ


@attrs.frozen
class Frame:
    """Some of the caller's audio, 160 bytes of µ-law (less when asked to finish), from sample `at`."""

    at: int
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    voiced: bool

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self.at + len(self.audio)

    @property
    def loudness(self) -> int:
        """A measure that grows with the level, for finding a quiet place."""
        return sum(self.audio.translate(_LOUDNESS))


@attrs.frozen
class Framer:
    """Whole frames out of audio of any size: repeats are dropped, short holes filled with silence.

    at: the position after the last sample that was taken; None before the first.
    rest: less than a frame, its last sample is at `at`.
    """

    at: int | None = None
    rest: bytes = b""

    def add(self, at: int, audio: bytes) -> tuple[Self, list[tuple[int, bytes]]]:
        """Take audio that begins at `at`; return the frames that are whole now, each with its position."""
        here = at if self.at is None else self.at
        hole = at - here
        done: list[tuple[int, bytes]] = []
        rest = self.rest
        if hole < -_JITTER_SAMPLES:
            audio = audio[-hole:]
        elif hole > _HOLE_SAMPLES:
            if rest:
                done.append((here - len(rest), rest))
            rest, here = b"", at
        elif hole > _JITTER_SAMPLES:
            audio = bytes([SILENCE]) * hole + audio
        begin = here - len(rest)
        heard = rest + audio
        whole = len(heard) - len(heard) % FRAME_BYTES
        done += [(begin + i, heard[i : i + FRAME_BYTES]) for i in range(0, whole, FRAME_BYTES)]
        return attrs.evolve(self, at=here + len(audio), rest=heard[whole:]), done

    def finish(self) -> tuple[Self, list[tuple[int, bytes]]]:
        """Return what is left as a short frame, if there is any."""
        if self.at is None or not self.rest:
            return self, []
        return attrs.evolve(self, rest=b""), [(self.at - len(self.rest), self.rest)]


def _positive(default: float) -> float:
    value: float = attrs.field(default=default, validator=gt(0.0))
    return value


@attrs.frozen(kw_only=True)
class EndpointPolicy:
    """When a sound is speech, and when speech has ended.

    onset_frames of window_frames: so many voiced frames make speech. 3 of 5: a click is one or two frames, the vowel of
        a short "no" is five.
    pre_roll_s: audio kept from before the first voiced frame: an "f" or an "s" is not voiced.
    post_roll_s: audio kept after the last voiced frame, for the same reason. At that point a draft is made too, which
        the final then only repeats.
    silence_s: silence that ends an utterance. 0.4 s: pauses inside a phrase are mostly shorter.
    longest_s: length at which an utterance is cut at its quietest place. 12.0: a second more costs 30 ms of decoding.
    draft_s: how often there is a draft of an utterance under way, at first.
    draft_growth: a draft is due when the utterance has grown by this part of itself, so that drafts of a long one
        cost a bounded part of a core.
    least_voiced_s: an utterance with less voice in it is noise. 0.12: a click of 50 ms is 0.1 with the detector's
        own hang-over, the shortest "no" 0.3.
    quiet_s: how often to say how far all is covered when nothing else is said.
    """

    onset_frames: int = attrs.field(default=3, validator=ge(1))
    window_frames: int = attrs.field(default=5, validator=ge(1))
    pre_roll_s: float = attrs.field(default=0.3, validator=ge(0.0))
    post_roll_s: float = attrs.field(default=0.2, validator=ge(0.0))
    silence_s: float = _positive(0.4)
    longest_s: float = attrs.field(default=12.0, validator=and_(ge(1.0)))
    draft_s: float = _positive(0.45)
    draft_growth: float = attrs.field(default=0.25, validator=ge(0.0))
    least_voiced_s: float = attrs.field(default=0.12, validator=ge(0.0))
    quiet_s: float = _positive(1.0)

    def __attrs_post_init__(self) -> None:
        if self.onset_frames > self.window_frames:
            raise ValueError(f"'onset_frames' must be <= 'window_frames' ({self.window_frames}): {self.onset_frames}")
        if self.post_roll_s > self.silence_s:
            raise ValueError(f"'post_roll_s' must be <= 'silence_s' ({self.silence_s}): {self.post_roll_s}")


@attrs.frozen(kw_only=True)
class Utterance:
    """What is to be decoded: a stretch of speech with its surroundings.

    audio: µ-law, 8 kHz, pre-roll and post-roll included; `audio_s` is its beginning.
    start_s, end_s: from the first voiced frame to the end of the last.
    voiced_s: how much voice is in it.
    whole: the speaker has finished, as far as silence can tell.
    covered_s: the end of `audio`: nothing before it is in any later utterance.
    """

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    audio_s: float
    start_s: float
    end_s: float
    voiced_s: float
    whole: bool
    covered_s: float


@attrs.frozen(kw_only=True)
class Draft:
    """What an utterance under way holds so far. Fields as in `Utterance`."""

    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    audio_s: float
    start_s: float
    end_s: float
    voiced_s: float


@attrs.frozen(kw_only=True)
class Covered:
    """Nothing before `covered_s` is in any later utterance."""

    covered_s: float


Heard: TypeAlias = Utterance | Draft | Covered


@attrs.frozen
class _Speech:
    """Of the utterance under way: where its voice began and last was, where the next draft is due.

    resting: the draft that is made in a pause has been made, and nobody has spoken since.
    """

    first: int
    last: int
    draft_due: int
    resting: bool = False


@attrs.frozen
class Endpointer:
    """Utterances out of frames: a value; each step returns the one that follows and what was heard.

    frames: all the audio that may yet be needed, without holes.
    heard: the position after the last frame.
    told: the position at which something was last said.
    """

    policy: EndpointPolicy = attrs.field(factory=EndpointPolicy)
    frames: tuple[Frame, ...] = ()
    heard: int = 0
    told: int = 0
    speech: _Speech | None = None

    def hear(self, frame: Frame) -> tuple[Self, list[Heard]]:
        """Take the next frame."""
        if frame.at == self.heard and self.heard:
            return self._hear(frame)
        ended, events = self.finish() if self.frames else (self, [])
        begun = attrs.evolve(ended, frames=(), heard=frame.at, told=frame.at)
        following, more = begun._hear(frame)
        return following, events + more

    def finish(self) -> tuple[Self, list[Heard]]:
        """Cover everything heard, now: by an utterance if there may be a word in it."""
        # Too little voice for an onset may still be the first of a word.
        voiced = [frame for frame in self.frames[-self.policy.window_frames :] if frame.voiced]
        events: list[Heard]
        if self.speech is not None:
            events = [self._utterance(self.frames, self.speech, whole=True)]
        elif voiced:
            events = [self._utterance(self.frames, _Speech(voiced[0].at, voiced[-1].end, 0), whole=True)]
        else:
            events = [Covered(covered_s=seconds(self.heard))]
        return attrs.evolve(self, frames=(), speech=None, told=self.heard), events

    def _hear(self, frame: Frame) -> tuple[Self, list[Heard]]:
        frames = (*self.frames, frame)
        window = frames[-self.policy.window_frames :]
        sure = frame.voiced and sum(each.voiced for each in window) >= self.policy.onset_frames
        grown = attrs.evolve(self, frames=frames, heard=frame.end)
        if self.speech is not None:
            following, events = grown._voice() if sure else grown._pause()
        elif sure:
            following, events = grown._onset(next(each.at for each in window if each.voiced)), []
        else:
            following, events = grown._rest(), []
        return (following, events) if events else following._tell()

    def _onset(self, first: int) -> Self:
        begin = first - samples(self.policy.pre_roll_s)
        return attrs.evolve(
            self,
            frames=tuple(frame for frame in self.frames if frame.end > begin),
            speech=_Speech(first, self.heard, first + samples(self.policy.draft_s)),
        )

    def _rest(self) -> Self:
        """Forget what is too old to be the pre-roll of a word that has perhaps just begun."""
        if not self.frames:
            return self
        window = self.frames[-self.policy.window_frames :]
        oldest = window[0].at - samples(self.policy.pre_roll_s)
        if self.frames[0].end > oldest:
            return self
        return attrs.evolve(self, frames=tuple(frame for frame in self.frames if frame.end > oldest))

    def _voice(self) -> tuple[Self, list[Heard]]:
        assert self.speech is not None
        speech = attrs.evolve(self.speech, last=self.heard, resting=False)
        if self.heard - self.frames[0].at >= samples(self.policy.longest_s):
            return self._cut(speech)
        if self.heard < speech.draft_due:
            return attrs.evolve(self, speech=speech), []
        return self._draft(self.frames, speech)

    def _pause(self) -> tuple[Self, list[Heard]]:
        assert self.speech is not None
        speech, pause = self.speech, self.heard - self.speech.last
        end = speech.last + samples(self.policy.post_roll_s)
        spoken = tuple(itertools.takewhile(lambda frame: frame.at < end, self.frames))
        if pause >= samples(self.policy.silence_s):
            rest = self.frames[len(spoken) :]
            following = attrs.evolve(self, frames=rest, speech=None, told=self.heard)
            return following._rest(), [self._utterance(spoken, speech, whole=True)]
        if self.heard >= end and not speech.resting:
            return self._draft(spoken, attrs.evolve(speech, resting=True))
        return self, []

    def _draft(self, frames: tuple[Frame, ...], speech: _Speech) -> tuple[Self, list[Heard]]:
        step = max(samples(self.policy.draft_s), int((self.heard - speech.first) * self.policy.draft_growth))
        draft = Draft(
            audio=b"".join(frame.audio for frame in frames),
            audio_s=seconds(frames[0].at),
            start_s=seconds(speech.first),
            end_s=seconds(speech.last),
            voiced_s=seconds(sum(len(frame.audio) for frame in frames if frame.voiced)),
        )
        due = attrs.evolve(speech, draft_due=self.heard + step)
        return attrs.evolve(self, speech=due, told=self.heard), [draft]

    def _cut(self, speech: _Speech) -> tuple[Self, list[Heard]]:
        """End the utterance at the quietest place of its second half, but for the word that is being spoken."""
        loudness = [frame.loudness for frame in self.frames]
        starts = range(len(loudness) // 2, len(loudness) - 2 * _PAUSE_FRAMES)
        quietest = min(starts, key=lambda i: (sum(loudness[i : i + _PAUSE_FRAMES]), -i))
        place = quietest + _PAUSE_FRAMES // 2
        at = self.frames[place].at
        piece = self._utterance(self.frames[:place], attrs.evolve(speech, last=at), whole=False)
        rest = _Speech(first=at, last=self.heard, draft_due=self.heard + samples(self.policy.draft_s))
        return attrs.evolve(self, frames=self.frames[place:], speech=rest, told=self.heard), [piece]

    def _utterance(self, frames: tuple[Frame, ...], speech: _Speech, *, whole: bool) -> Utterance:
        return Utterance(
            audio=b"".join(frame.audio for frame in frames),
            audio_s=seconds(frames[0].at),
            start_s=seconds(speech.first),
            end_s=seconds(speech.last),
            voiced_s=seconds(sum(len(frame.audio) for frame in frames if frame.voiced)),
            whole=whole,
            covered_s=seconds(frames[-1].end),
        )

    def _tell(self) -> tuple[Self, list[Heard]]:
        """Say how far all is covered, if it is time."""
        if self.heard - self.told < samples(self.policy.quiet_s):
            return self, []
        return attrs.evolve(self, told=self.heard), [Covered(covered_s=seconds(self.frames[0].at))]
