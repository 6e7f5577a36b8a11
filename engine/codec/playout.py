"""Playout: what an agent says, from being asked for to being heard, and the far buffer that it goes through, as values.

Theory of operation. Twilio plays what it is sent at 8000 bytes a second from a buffer of its own. One number says how
far that buffer reaches: `Buffer.until`. Sending a message moves it on by its length, so nothing drifts. Each piece
knows when its first byte would have sounded, hence at every moment how far it was heard. Marks at the ends of pieces
and of groups of words say so for certain; those that were out when the buffer was cleared say nothing. What was heard
never falls: a word that is said twice was heard the first time.

Media and clear take the same way, so a clear stops the sound where the buffer stands here, however long that way is.
What may differ is the beginning: a stretch that set out late is heard later than it looks from here. The echoes tell:
by as much as its marks come back later than any have come back so far. When the line is gone, sound and news have both
been on their way: then all that marks come late by is taken off.

A piece has a cursor. Where it was cut off, the cursor goes back to what was heard and a little further, to the
beginning of a word, and going on is nothing but sending. Where its voice died in the middle of a word, the next voice
begins with that word: its sound takes the place of what had not gone out, and of it as much is left out as had gone
out, by the sound alone, without the silence before it. So the word is heard once, with a pause in it if it had begun.
"""

from typing import Final, Self

import attrs

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, RATE_HZ
from engine.messages.line import SendMark, SendMedia
from engine.messages.playout import Playing
from engine.messages.recognition import Word
from engine.messages.supervision import NEVER

# Samples 40 dB below full scale: a voice's silence is quieter, its sound is not for long.
_LOUD: Final = 328
_QUIET: Final = bytes(byte for byte, sample in enumerate(mulaw.decode(bytes(range(256)))) if abs(int(sample)) < _LOUD)
# A word that was cut is no longer than that. What is longer came from a voice that does not say where its words are.
_MOST_CUT_BYTES: Final = RATE_HZ
# A group of words: a mark follows the first word that ends after as much, or any sound after half as much again.
_GROUP_BYTES: Final = RATE_HZ
# An echo that comes later than that was held up on its way, and says nothing of the sound's.
_MOST_LATE_S: Final = 1.0


@attrs.frozen(kw_only=True)
class Clip:
    """A phrase rendered before the call: its words and its sound (µ-law, 8 kHz)."""

    text: str
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")


@attrs.frozen(kw_only=True)
class Cut:
    """Where a piece's voice died in the middle of a word.

    voice_bytes, stand_bytes: where its whole words end, as the voice counts and in what is kept.
    left_bytes: sound of the word that has gone out and is to be left out when it comes again. begun: it has come.
    """

    voice_bytes: int
    stand_bytes: int
    left_bytes: int
    begun: bool = False

    @property
    def is_word(self) -> bool:
        """Whether what has gone out is of one word. More is a clause of a voice without times, and is said again."""
        return self.left_bytes <= _MOST_CUT_BYTES

    def without(self, audio: bytes, ends_bytes: int, *, over: bool) -> "tuple[Cut, bytes]":
        """Return what of new sound is still to be played, and what is left to be left out of the sound after it.

        ends_bytes: where the word ends in the sound, if it is `over` with it.
        """
        if not self.left_bytes or not self.is_word:
            return self, audio
        new = audio if self.begun else audio.lstrip(_QUIET)
        out_bytes = min(self.left_bytes, len(new), max(0, ends_bytes - (len(audio) - len(new))))
        left_bytes = 0 if over else self.left_bytes - out_bytes
        return attrs.evolve(self, left_bytes=left_bytes, begun=self.begun or bool(new)), new[out_bytes:]


@attrs.frozen(kw_only=True)
class Piece:
    """A piece of a reply, from being asked for to being heard.

    audio: all that came so far; kept until heard. sent_bytes: the cursor: what lies before it needs no more sending.
    sounds_at: when its first byte would have sounded, had nothing come between; None: nothing of it is queued.
    heard_bytes: how much was heard for certain, by a mark or at a hold. Never falls.
    marked_bytes: up to where a mark was sent; -1: nowhere.
    late_bytes: how much later a sound lies in it than the voice counts. cut: where its voice died, if it did.
    broken_bytes: where something else was last heard in it, or a long pause; -1: nowhere.
    held: its voice is dead: nothing goes out beyond its last whole word, unless no more is to come.
    complete: it has all its audio. firm: the tenant wants it heard whole.
    """

    index: int
    text: str
    audio: bytes = attrs.field(default=b"", repr=lambda audio: f"<{len(audio)} bytes>")
    words: tuple[Word, ...] = ()
    sent_bytes: int = 0
    sounds_at: float | None = None
    heard_bytes: int = 0
    marked_bytes: int = -1
    late_bytes: int = 0
    cut: Cut | None = None
    broken_bytes: int = -1
    held: bool = False
    complete: bool = False
    firm: bool = False

    @property
    def whole_bytes(self) -> int:
        """Where the last whole word ends."""
        return min(len(self.audio), round(self.words[-1].end_s * RATE_HZ)) if self.words else 0

    @property
    def ready_bytes(self) -> int:
        """How much of it may go out."""
        return max(self.sent_bytes, self.whole_bytes) if self.held and not self.complete else len(self.audio)

    @property
    def waits(self) -> bool:
        """Whether its next sound has yet to come from the voice."""
        return not self.complete and self.sent_bytes == self.ready_bytes

    @property
    def gone(self) -> bool:
        """Whether all of it was sent."""
        return self.complete and self.sent_bytes == len(self.audio)

    @property
    def ends_sentence(self) -> bool:
        """Whether a speaker would pause after it."""
        return self.text.rstrip("\"')”’ ").endswith((".", "?", "!"))

    def next(self, size_bytes: int) -> bytes:
        """Return the sound that goes out next, no more than `size_bytes`."""
        return self.audio[self.sent_bytes : min(self.sent_bytes + size_bytes, self.ready_bytes)]

    def moved(self, size_bytes: int, at_s: float) -> Self:
        """Return the piece after so much more of it was queued, to sound at `at_s`."""
        return attrs.evolve(self, sent_bytes=self.sent_bytes + size_bytes, sounds_at=at_s - self.sent_bytes / RATE_HZ)

    def played_bytes(self, moment: float) -> int:
        """Return how much of what was sent has sounded by then."""
        if self.sounds_at is None:
            return self.sent_bytes
        return max(0, min(self.sent_bytes, round((moment - self.sounds_at) * RATE_HZ)))

    @property
    def ends_at(self) -> float:
        """When all that was sent of it has sounded."""
        return 0.0 if self.sounds_at is None else self.sounds_at + self.sent_bytes / RATE_HZ

    def heard_by(self, moment: float) -> int:
        """Return how much was heard by then."""
        return max(self.heard_bytes, self.played_bytes(moment))

    def is_heard(self, moment: float) -> bool:
        """Whether nothing but silence is left of it by then."""
        return self.gone and not self.audio[self.heard_by(moment) :].strip(_QUIET)

    def mark_due(self, out_bytes: int) -> bool:
        """Whether a mark is to follow what is out: after all of it, and after a group of words."""
        since = max(0, self.marked_bytes)
        if self.gone and out_bytes == len(self.audio):
            return self.marked_bytes < out_bytes
        if out_bytes - since < _GROUP_BYTES:
            return False
        ends = (round(word.end_s * RATE_HZ) for word in self.words)
        return out_bytes - since >= _GROUP_BYTES * 3 // 2 or any(
            since + _GROUP_BYTES <= end <= out_bytes for end in ends
        )

    def longer(self, audio: bytes, words: tuple[Word, ...]) -> Self:
        """Return the piece with more sound, less what had gone out of a cut word."""
        voice_bytes = len(self.audio) - self.late_bytes
        ends_bytes = round(words[0].end_s * RATE_HZ) - voice_bytes if words else len(audio)
        cut, new = (None, audio) if self.cut is None else self.cut.without(audio, ends_bytes, over=bool(words))
        late_bytes = self.late_bytes - (len(audio) - len(new))
        late_s = late_bytes / RATE_HZ
        later = tuple(attrs.evolve(word, start_s=word.start_s + late_s, end_s=word.end_s + late_s) for word in words)
        return attrs.evolve(
            self,
            audio=self.audio + new,
            words=(*self.words, *later),
            late_bytes=late_bytes,
            cut=cut,
            held=False,
        )

    def trimmed(self, keep_bytes: int) -> Self:
        """Return the piece without its sound after `keep_bytes`, save what has gone out already."""
        again = self.cut is not None and self.cut.voice_bytes == keep_bytes  # none of what came since was a whole word
        stand_bytes = self.cut.stand_bytes if self.cut is not None and again else keep_bytes + self.late_bytes
        audio = self.audio[: max(stand_bytes, self.sent_bytes)]
        left_bytes = len(audio[max(stand_bytes, self.broken_bytes) :].lstrip(_QUIET))
        return attrs.evolve(
            self,
            audio=audio,
            heard_bytes=min(self.heard_bytes, len(audio)),
            late_bytes=len(audio) - keep_bytes,
            cut=Cut(voice_bytes=keep_bytes, stand_bytes=stand_bytes, left_bytes=left_bytes),
            held=False,
        )

    def anew(self) -> Self:
        """Return the piece of which a cut word is to be said from its beginning, unless it has gone on already.

        That it was cut may be told later.
        """
        broken = attrs.evolve(self, broken_bytes=self.sent_bytes)
        if self.cut is None or self.cut.begun:
            return broken
        return attrs.evolve(broken, cut=attrs.evolve(self.cut, left_bytes=0))

    def rewound(self, moment: float, rewind_bytes: int) -> Self:
        """Return the piece to be played from a little before what was heard of it by then, at a word's beginning.

        What is left of a word whose voice died goes: it is said anew.
        """
        if not self.sent_bytes:
            return self
        heard_bytes = self.heard_by(moment)
        wanted = heard_bytes - rewind_bytes
        stand_bytes = 0 if self.cut is None else self.cut.stand_bytes
        known = max(self.whole_bytes, stand_bytes)
        starts = (known, stand_bytes, *(round(word.start_s * RATE_HZ) for word in self.words))
        at_bytes = max((start for start in starts if 0 <= start <= wanted), default=0)
        if self.complete and wanted - known > rewind_bytes:  # a voice without times: nothing says where its words begin
            at_bytes = wanted
        piece = attrs.evolve(
            self,
            sent_bytes=at_bytes,
            sounds_at=None,
            heard_bytes=heard_bytes,
            marked_bytes=at_bytes,
        )
        if (
            self.cut is None or len(self.audio) - self.late_bytes > self.cut.voice_bytes
        ):  # its voice, or another, goes on
            return piece
        return attrs.evolve(piece.trimmed(self.cut.voice_bytes), held=self.held)

    def words_in(self, heard_bytes: int) -> str:
        """Return the words that are whole in the first `heard_bytes`."""
        size_bytes, whole_bytes = len(self.audio), self.whole_bytes
        texts = self.text.split()
        count = sum(min(size_bytes, round(word.end_s * RATE_HZ)) <= heard_bytes for word in self.words)
        if self.complete and size_bytes and heard_bytes == size_bytes:
            count = len(texts)
        elif self.complete and heard_bytes > whole_bytes:
            untimed = len(texts) - len(self.words)  # as many of them as of their sound
            count += untimed * (heard_bytes - whole_bytes) // (size_bytes - whole_bytes)
        return " ".join(texts[:count])


@attrs.frozen(kw_only=True)
class Reply:
    """What is said in one turn.

    pieces: asked for and not yet heard, in order. heard: the words of those that were.
    total: how many pieces it has, once all were asked for. told: what was last told of it, once it has begun.
    asked_at: when the first thing was asked of it, or the hold ended before which it had not begun.
    """

    turn: int
    asked_at: float = 0.0
    pieces: tuple[Piece, ...] = ()
    heard: str = ""
    total: int | None = None
    told: Playing | None = None

    @property
    def over(self) -> bool:
        """Whether all of it was heard."""
        return self.total is not None and not self.pieces

    @property
    def begun(self) -> bool:
        """Whether its first sound has gone out."""
        return self.told is not None

    @property
    def playing(self) -> Playing | None:
        """What is to be told of it: firm from a firm piece's first sound until its last was heard."""
        out = [piece for piece in self.pieces if piece.sounds_at is not None and piece.sent_bytes]
        if self.told is None and not out:
            return None
        firm = any(piece.firm for piece in out)
        return self.told if self.told is not None and self.told.firm == firm else Playing(turn=self.turn, firm=firm)

    def with_piece(self, piece: Piece) -> Self:
        """Return the reply with another piece in its place."""
        before = [each for each in self.pieces if each.index < piece.index]
        return attrs.evolve(self, pieces=(*before, piece, *[each for each in self.pieces if each.index > piece.index]))

    def heard_by(self, moment: float) -> str:
        """Return all the words of it that were heard by then."""
        return " ".join(filter(None, (self.heard, *(piece.words_in(piece.heard_by(moment)) for piece in self.pieces))))


@attrs.frozen(kw_only=True)
class Mark:
    """A mark that is out: behind the first `upto_bytes` of a piece, which have sounded at `due_at`."""

    name: str
    turn: int
    index: int
    upto_bytes: int
    due_at: float


@attrs.frozen(kw_only=True)
class Buffer:
    """Twilio's buffer, as far as it can be known from here.

    until: when it will have played all that it was sent. since: from when it has played without running dry.
    generation: how often it was cleared. part: what is to be sent next.
    marks: those that are out, oldest first.
    least_late_s: of all echoes, how much after its sound the promptest came; inf: none has come.
    late_s: the same of those since it last ran dry.
    """

    until: float = 0.0
    since: float = 0.0
    generation: int = 0
    part: bytes = attrs.field(default=b"", repr=lambda audio: f"<{len(audio)} bytes>")
    marks: tuple[Mark, ...] = ()
    least_late_s: float = NEVER
    late_s: float = NEVER

    def next_at(self, now: float) -> float:
        """Return when what is put in now will sound."""
        return max(self.until, now) + len(self.part) / RATE_HZ

    def queued(self, now: float) -> bool:
        """Whether there may be anything in it."""
        return self.until > now or bool(self.part) or bool(self.marks)

    def stopped(self, now: float) -> float:
        """Return up to which moment of ours a clear lets it play that is sent now."""
        began_late_s = 0.0 if self.late_s == NEVER else self.late_s - self.least_late_s
        return min(self.until, now - began_late_s)

    def lost(self, now: float) -> float:
        """Return up to which moment of ours it had played when the line went of which we hear now."""
        late_s = next((each for each in (self.late_s, self.least_late_s) if each < NEVER), 0.0)
        return min(self.until, now - late_s)

    def put(self, audio: bytes, now: float, message_bytes: int) -> "tuple[Buffer, list[object]]":
        """Add to what is to be sent next, and send it once it is as long as a message."""
        part = self.part + audio
        return (attrs.evolve(self, part=part), []) if len(part) < message_bytes else self._sent(part, now)

    def flushed(self, now: float) -> "tuple[Buffer, list[object]]":
        """Send what there is of whole frames, as one message."""
        return self._sent(self.part, now) if len(self.part) >= FRAME_BYTES else (self, [])

    def _sent(self, part: bytes, now: float) -> "tuple[Buffer, list[object]]":
        size = len(part) - len(part) % FRAME_BYTES
        dry = self.until <= now
        after = attrs.evolve(
            self,
            part=part[size:],
            until=max(self.until, now) + size / RATE_HZ,
            since=now if dry else self.since,
            late_s=NEVER if dry else self.late_s,
        )
        return after, [SendMedia(audio=part[:size])]

    def marked(self, turn: int, piece: Piece, upto_bytes: int) -> "tuple[Buffer, list[object]]":
        """Send a mark: "generation:turn:index" after the end of a piece, with the place in it after a part of it."""
        end = "" if piece.gone and upto_bytes == len(piece.audio) else f":{upto_bytes}"
        mark = Mark(
            name=f"{self.generation}:{turn}:{piece.index}{end}",
            turn=turn,
            index=piece.index,
            upto_bytes=upto_bytes,
            due_at=self.until if piece.sounds_at is None else piece.sounds_at + upto_bytes / RATE_HZ,
        )
        return attrs.evolve(self, marks=(*self.marks, mark)), [SendMark(name=mark.name)]

    def echoed(self, mark: Mark, now: float) -> "Buffer":
        """Return the buffer after the echo of a mark, and of those before it that were lost."""
        left = self.marks[self.marks.index(mark) + 1 :]
        late_s = min(max(0.0, now - mark.due_at), _MOST_LATE_S)
        least_s = min(self.least_late_s, late_s)
        if mark.due_at <= self.since:  # of what was played before it last ran dry
            return attrs.evolve(self, marks=left, least_late_s=least_s)
        return attrs.evolve(self, marks=left, least_late_s=least_s, late_s=min(self.late_s, late_s))

    def cleared(self, now: float) -> "Buffer":
        """Return the buffer after a clear: empty, and older marks mean nothing."""
        return Buffer(until=min(self.until, now), generation=self.generation + 1, least_late_s=self.least_late_s)


@attrs.frozen(kw_only=True)
class Held:
    """A hold: of which turn, and when it ends by itself."""

    turn: int
    until: float


@attrs.frozen(kw_only=True)
class Tone:
    """The hold tone: until a piece of `turn` after the one with index `after`, or of a later turn, has sound.

    begun_at: when what went before it had sounded; inf: it has not begun. at_bytes: where in the clip it is.
    """

    turn: int
    after: int
    begun_at: float = NEVER
    at_bytes: int = 0
