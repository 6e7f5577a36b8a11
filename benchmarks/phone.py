"""A lean phone: one caller of the simulated phone network, exact to the sample, in a hundredth of a core's hundredth.

Theory of operation. A phone is told the time and what came, and says what it sends; it knows no socket and no clock.
Its frames are due at `began_at + n * 20 ms`. What the server sends is queued as Twilio queues it: a piece of audio
sounds when what was queued before it has sounded, a mark comes back when all before it has, and a clear empties the
queue. All moments are seconds of CLOCK_MONOTONIC.

A caller hears the agent out, waits a little, says a sentence of the tone code, and waits for the answer.
"""

import base64
import enum
import json
import random
from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from simulators import tone
from simulators.audio import FRAME_BYTES, FRAME_S, RATE_HZ, SILENCE

_SILENT_PAYLOAD: Final = base64.b64encode(tone.SILENT_FRAME).decode()
# So much quiet says that the agent is finished: longer than a pause between two of its pieces.
QUIET_S: Final = 0.7
# And up to so much more is waited, at random, so that callers do not speak in step.
LINGER_S: Final = 0.6
PATIENCE_S: Final = 8.0
# In the name of a mark behind a piece; one within a piece has one more (`engine.actors.pacer.Buffer.marked`).
_END_COLONS: Final = 2


class Doing(enum.Enum):
    """What a caller does."""

    LISTENING = "until the agent has spoken and is quiet"
    SPEAKING = "saying a sentence"
    DONE = "all is said and answered"


@attrs.define(kw_only=True)
class Turn:
    """What came of a sentence, or of the call's beginning.

    last_word_at: the end of the last word's last frame. first_sound_at: when the answer's first sample sounded.
    audio: the pieces of the answer, each with when it began to sound.
    dry_in_piece: pauses, in seconds, because a piece of audio came after all before it had sounded, although no mark
        stood between: the voice was interrupted. dry_between: the same with a mark between: the next piece was late.
    cleared: how often the answer was cut off.
    """

    words: tuple[str, ...]
    last_word_at: float
    first_sound_at: float | None = None
    audio: list[tuple[float, bytes]] = attrs.field(factory=list, repr=False)
    dry_in_piece: list[float] = attrs.field(factory=list)
    dry_between: list[float] = attrs.field(factory=list)
    cleared: int = 0


@attrs.define(kw_only=True)
class Phone:
    """One call.

    name: unique; began_at: when the stream's `start` was sent.
    turns: the first is the greeting's.
    """

    name: str
    stream_sid: str
    sentences: deque[tuple[str, ...]]
    began_at: float
    chance: random.Random
    turns: list[Turn] = attrs.field(init=False)
    doing: Doing = attrs.field(init=False, default=Doing.LISTENING)
    frames: int = attrs.field(init=False, default=0)
    # The queue to the ear: when it is empty, when its last sound ends, marks that wait, whether a mark came last.
    _free_at: float = attrs.field(init=False, default=0.0)
    _sound_until: float = attrs.field(init=False, default=0.0)
    _marks: deque[tuple[float, str]] = attrs.field(init=False, factory=deque)
    _marked_last: bool = attrs.field(init=False, default=True)
    _mouth: deque[str] = attrs.field(init=False, factory=deque)
    _speak_after_s: float = attrs.field(init=False, default=QUIET_S)
    _sequence: int = attrs.field(init=False, default=1)

    def __attrs_post_init__(self) -> None:
        self.turns = [Turn(words=(), last_word_at=self.began_at)]

    @property
    def frame_due(self) -> float:
        """When the present frame is over, and goes out."""
        return self.began_at + (self.frames + 1) * FRAME_S

    @property
    def mark_due(self) -> float | None:
        """When the next mark comes back."""
        return self._marks[0][0] if self._marks else None

    @property
    def turn(self) -> Turn:
        """The turn in hand."""
        return self.turns[-1]

    def frame(self) -> str:
        """Return the message of the frame that is due."""
        now = self.frame_due
        if self.doing is Doing.LISTENING and self._heard_out(now):
            self._go_on()
        payload = self._mouth.popleft() if self._mouth else _SILENT_PAYLOAD
        if self.doing is Doing.SPEAKING and not self._mouth:
            self.doing = Doing.LISTENING
            self.turn.last_word_at = now
        self.frames += 1
        self._sequence += 1
        return (
            f'{{"event":"media","sequenceNumber":"{self._sequence}","media":{{"track":"inbound","chunk":"{self.frames}",'
            f'"timestamp":"{(self.frames - 1) * 20}","payload":"{payload}"}},"streamSid":"{self.stream_sid}"}}'
        )

    def marks(self, now: float) -> list[str]:
        """Return the messages of the marks that are due."""
        due: list[str] = []
        while self._marks and self._marks[0][0] <= now:
            due.append(self._mark(self._marks.popleft()[1]))
        return due

    def hear(self, text: bytes, now: float) -> list[str]:
        """Take a message of the server's; return what goes back at once."""
        message = json.loads(text)
        match message["event"]:
            case "media":
                self._play(base64.b64decode(message["media"]["payload"]), now)
            case "mark":
                self._marks.append((max(now, self._free_at), message["mark"]["name"]))
                self._marked_last = message["mark"]["name"].count(":") == _END_COLONS
            case "clear":
                self._clear(now)
                names = [name for _, name in self._marks]
                self._marks.clear()
                return [self._mark(name) for name in names]
        return []

    def _play(self, audio: bytes, now: float) -> None:
        turn = self.turn
        start = self._free_at
        if now > start:
            if turn.audio:
                (turn.dry_between if self._marked_last else turn.dry_in_piece).append(now - start)
            start = now
        self._marked_last = False
        self._free_at = start + len(audio) / RATE_HZ
        turn.audio.append((start, audio))
        sounding = audio.rstrip(SILENCE)
        if sounding:
            self._sound_until = start + len(sounding) / RATE_HZ
            if turn.first_sound_at is None and self.doing is Doing.LISTENING:
                turn.first_sound_at = start + (len(audio) - len(audio.lstrip(SILENCE))) / RATE_HZ

    def _clear(self, now: float) -> None:
        self.turn.cleared += 1
        self._free_at = min(self._free_at, now)
        self._sound_until = min(self._sound_until, now)
        kept: list[tuple[float, bytes]] = []
        for start, audio in self.turn.audio:
            left = max(0, round((now - start) * RATE_HZ))
            kept += [(start, audio[:left])] if left else []
        self.turn.audio = kept

    def _heard_out(self, now: float) -> bool:
        """Whether the agent has answered and is quiet, or is not going to."""
        if self.turn.first_sound_at is None:
            return now - self.turn.last_word_at > PATIENCE_S
        return now - self._sound_until >= self._speak_after_s

    def _go_on(self) -> None:
        if not self.sentences:
            self.doing = Doing.DONE
            return
        words = self.sentences.popleft()
        audio = tone.say(" ".join(words))[0].rstrip(SILENCE)
        frames = [audio[at : at + FRAME_BYTES] for at in range(0, len(audio), FRAME_BYTES)]
        self._mouth.extend(base64.b64encode(each.ljust(FRAME_BYTES, SILENCE)).decode() for each in frames)
        self._speak_after_s = QUIET_S + LINGER_S * self.chance.random()
        self.turns.append(Turn(words=words, last_word_at=0.0))
        self.doing = Doing.SPEAKING

    def _mark(self, name: str) -> str:
        self._sequence += 1
        return json.dumps(
            {
                "event": "mark",
                "sequenceNumber": str(self._sequence),
                "mark": {"name": name},
                "streamSid": self.stream_sid,
            }
        )


@attrs.frozen(kw_only=True)
class Answer:
    """What a caller heard of an answer: its words, and the pauses between them, in seconds."""

    words: tuple[str, ...]
    pauses: tuple[float, ...]


def heard(audio: Sequence[tuple[float, bytes]]) -> Answer:
    """Return the words in an answer as they sounded; one with a pause in it is garbled."""
    ear = tone.Ear()
    if not audio:
        return Answer(words=(), pauses=())
    began_at, end_s = audio[0][0], 0.0
    for start, piece in audio:
        start_s = start - began_at
        silence = round((start_s - end_s) * RATE_HZ)
        if silence > 0:
            ear.hear(end_s, SILENCE * silence)
        ear.hear(start_s, piece)
        end_s = start_s + len(piece) / RATE_HZ
    ear.hear(end_s, SILENCE)
    ear.end()
    pauses = (after.start_s - before.end_s for before, after in zip(ear.words, ear.words[1:], strict=False))
    return Answer(words=tuple(word.text for word in ear.words), pauses=tuple(pauses))
