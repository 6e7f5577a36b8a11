"""Pacer: plays what the agent says in real time, and knows what the caller has truly heard of it.

Theory of operation. Twilio plays what it is sent at 8000 bytes a second from a buffer of its own. One number says how
far that buffer reaches: `Buffer.until`. A message is due when the buffer would fall below the lead; sending one moves
the number on by its length, so nothing drifts. Each piece knows when its first byte would have sounded, hence at every
moment how far it was heard. Marks at the ends of pieces and of groups of words say so for certain; those that were out
when the buffer was cleared say nothing.

After a stall of the loop the buffer is filled up to the lead at once, never beyond it. It is all that the next stall
finds, and the next one is likely to be near; a clear empties it whatever it holds; and what was late is still played
whole. If it had run dry, the caller has heard a gap, and nothing is hurried or left out to make up for it.

A caller who makes a sound holds the agent: the buffer is cleared, and the cursor of whatever was cut goes back to what
was heard and a little further, to the beginning of a word. So going on again is nothing but sending, and until then
nothing is sent. What was heard never falls: a word that is said twice was heard the first time.

Media and clear take the same way, so a clear stops the sound where the buffer stands here, however long that way is.
What may differ is the beginning: a stretch that set out late is heard later than it looks from here. The echoes tell:
by as much as its marks come back later than any have come back so far. When the line is gone, sound and news have both
been on their way: then all that marks come late by is taken off.

A voice may die in the middle of a word. From then on no piece goes out beyond its last whole word; what is whole keeps
playing. The next voice begins with the word that was cut: its sound takes the place of what had not gone out, and of it
as much is left out as had gone out, by the sound alone, without the silence before it. So the word is heard once, with
a pause in it if it had begun. After a long pause, a hold, or a notice in its place, nobody would know what the end of a
word belongs to: then it is said anew.
"""

from collections.abc import Callable, Mapping
from typing import Final, Self, TypeAlias, assert_never

import attrs

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE
from engine.mailbox import NEVER
from engine.messages.caller import LineClosed, MarkEcho
from engine.messages.line import CloseLine, SendClear, SendMark, SendMedia
from engine.messages.playout import Hold, Played, Playing, Resume, Stopped
from engine.messages.recognition import Word
from engine.messages.records import Counted, Timing
from engine.messages.reply import HangUp, PlayClip, PlayNotice, PlayTone, ReplyEnded, Sentence
from engine.messages.supervision import Tick
from engine.messages.synthesis import AgentAudio, AgentAudioEnded, AgentAudioTrimmed, VoiceDied
from engine.messages.turns import BargedIn

# Samples 40 dB below full scale: a voice's silence is quieter, its sound is not for long.
_LOUD: Final = 328
_QUIET: Final = bytes(byte for byte, sample in enumerate(mulaw.decode(bytes(range(256)))) if abs(int(sample)) < _LOUD)
# A word that was cut is no longer than that. What is longer came from a voice that does not say where its words are.
_MOST_CUT_BYTES: Final = RATE_HZ
# A group of words: a mark follows the first word that ends after as much, or any sound after half as much again.
_GROUP_BYTES: Final = RATE_HZ
# An echo that comes later than that was held up on its way, and says nothing of the sound's.
_MOST_LATE_S: Final = 1.0
# The hold tone waits for no stall, and what follows it waits for the rest of it.
_TONE_LEAD_S: Final = 0.1
HOLD_TONE: Final = "hold_tone"
"""The clip that a tool's wait is filled with, if the tenant has one."""

Asked: TypeAlias = Sentence | PlayClip | PlayNotice | ReplyEnded | AgentAudio | AgentAudioEnded
Inbox: TypeAlias = (
    Asked | AgentAudioTrimmed | VoiceDied | PlayTone | HangUp | Hold | Resume | BargedIn | MarkEcho | LineClosed | Tick
)


@attrs.frozen(kw_only=True)
class Clip:
    """A phrase rendered before the call: its words and its sound (µ-law, 8 kHz)."""

    text: str
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")


@attrs.frozen(kw_only=True)
class PacingPolicy:
    """How far ahead of the caller's ear audio is sent, and how long the end of things is waited for.

    lead_s: audio kept in Twilio's buffer. 0.3: rides out a stall of the loop; a barge-in empties it by `clear`.
    message_ms: audio in one message to the line. 40: half the messages that frames would be.
    rewind_s: how far before what was last heard an agent that was held goes on, at a word where they are known. 0.3.
    held_s: after which an agent that is held goes on by itself: whoever held it has forgotten. 6.0: sound is a barge-in
        long before.
    pause_s: silence after a sentence, besides the voice's own.
    anew_s: pause after which a word is said anew that was cut in it. 1.0: until then it is a word with a pause in it.
    join_s: buffered audio below which a part of a frame is sent padded, once nothing has come for as long. 0.04: two
        frames; until then it is held for what comes, because padding within a word is heard.
    starve_s: how long a piece without sound holds up those behind it. 8.0: longer than any vendor's first audio.
    away_s: the same while its voice is dead. 25.0: longer than its successors are waited for, who owe its words.
    echo_s: how long after its sound a piece counts as heard although its mark never came. 2.0: a slow network's round
        trip.
    hang_up_s: how long a goodbye is waited for. 10.0: twice a long goodbye.
    """

    lead_s: float = 0.3
    message_ms: int = 40
    rewind_s: float = 0.3
    held_s: float = 6.0
    pause_s: float = 0.0
    anew_s: float = 1.0
    join_s: float = 0.04
    starve_s: float = 8.0
    away_s: float = 25.0
    echo_s: float = 2.0
    hang_up_s: float = 10.0


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
    """

    turn: int
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
        return Playing(turn=self.turn, firm=any(piece.firm for piece in out))

    def with_piece(self, piece: Piece) -> Self:
        """Return the reply with another piece in its place."""
        others = tuple(each for each in self.pieces if each.index != piece.index)
        return attrs.evolve(self, pieces=tuple(sorted((*others, piece), key=lambda each: each.index)))

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
    least_late_s: of all echoes, how much after its sound the promptest came; NEVER: none has come.
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

    def with_part(self, audio: bytes) -> Self:
        """Return the buffer with more to be sent next."""
        return attrs.evolve(self, part=self.part + audio)

    def flushed(self, now: float) -> "tuple[Buffer, list[object]]":
        """Send what there is of whole frames, as one message."""
        size = len(self.part) - len(self.part) % FRAME_BYTES
        if not size:
            return self, []
        dry = self.until <= now
        after = attrs.evolve(
            self,
            part=self.part[size:],
            until=max(self.until, now) + size / RATE_HZ,
            since=now if dry else self.since,
            late_s=NEVER if dry else self.late_s,
        )
        return after, [SendMedia(audio=self.part[:size])]

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

    begun_at: when what went before it had sounded; NEVER: it has not begun. at_bytes: where in the clip it is.
    """

    turn: int
    after: int
    begun_at: float = NEVER
    at_bytes: int = 0


@attrs.frozen(kw_only=True)
class Pacer:
    """The playout: what was asked for, what has come, what went out, what was heard."""

    policy: PacingPolicy = PacingPolicy()
    clips: Mapping[str, Clip] = attrs.field(factory=dict, repr=False)
    # Invariant: in order of turn, and none of a turn that is over.
    replies: tuple[Reply, ...] = ()
    over: int = -1
    # A phrase that goes before everything, at the next joint: between pieces, or where a piece waits for its voice.
    # Once it is gone it stays until it was heard: a hold may cut it.
    notice: Piece | None = None
    tone: Tone | None = None
    buffer: Buffer = Buffer()
    # While it stands nothing goes out, and no patience ends.
    held: Held | None = None
    # When something to be played last came in.
    news_at: float = 0.0
    # The last turn that was heard to its end: a barge-in that crosses its end must not be told that nothing was.
    last: Played | None = None
    hang_up: HangUp | None = None
    hang_up_due: float = NEVER
    line: LineClosed | None = None

    @property
    def deadline(self) -> float:
        """When the next message is due, or a hold ends, or patience with a voice, an echo or a goodbye."""
        if self.line is not None:
            return NEVER
        if self.held is not None:
            return self.held.until
        return min(self._message_due(), self._patience_due(), self.hang_up_due)

    def handle(self, message: Inbox, now: float) -> "Step":
        """Return the core that follows `message`, and what it sends."""
        if self.line is not None:
            return self, []
        core, effects = self._handled(message, now)
        core, news = core._told_playing(now)
        return core, [*news, *effects]

    def _handled(self, message: Inbox, now: float) -> "Step":
        match message:
            case LineClosed():
                last = max((reply.turn for reply in self.replies), default=self.over)
                core, effects = self._settled(last, self.buffer.lost(now))
                return attrs.evolve(core, line=message), [*effects, message]
            case Hold(turn=turn):
                return _chain(self._hold(turn, now), lambda core: core._hung_up(now))
            case Resume(turn=turn):
                if self.held is None or turn < self.held.turn:
                    return self, []
                return self._resumed("resumes", now)
            case BargedIn(turn=turn):
                return self._cut(turn, now)
            case HangUp(turn=turn):
                if turn <= self.over:
                    return self, []
                core = attrs.evolve(self, hang_up=message, hang_up_due=now + self.policy.hang_up_s)
                return core._hung_up(now)
            case MarkEcho(name=name):
                return _chain(self._echoed(name, now), lambda core: core._hung_up(now))
            case AgentAudioTrimmed(turn=turn, index=index, keep_bytes=keep):
                core = attrs.evolve(self, news_at=now)._changed(turn, index, lambda piece: piece.trimmed(keep))
                repeats = any(piece.cut is not None and not piece.cut.is_word for piece in core._named(turn, index))
                return _chain((core, _counted("repeated_clauses") if repeats else []), lambda core: core._sent(now))
            case VoiceDied():  # nothing new to be played: whoever waits for a voice waits no longer for it
                core = self
                for reply, piece in self._pieces():
                    if not piece.complete:
                        core = core._changed(reply.turn, piece.index, lambda piece: attrs.evolve(piece, held=True))
                return core, []
            case PlayTone(turn=turn):
                return self._toned(turn)._sent(now)
            case Tick() if self.held is not None:
                return self._resumed("holds_overdue", now) if self.held.until <= now else (self, [])
            case Tick():
                step = _chain(self._sent(now), lambda core: core._overdue(now))
                return _chain(step, lambda core: core._hung_up(now))
            case _:
                return attrs.evolve(self._late(message, now), news_at=now)._told(message)._sent(now)

    def _late(self, message: Asked, now: float) -> "Pacer":
        """Return the core that says a cut word anew if its voice comes back late."""
        if not isinstance(message, AgentAudio) or now - self.buffer.until <= self.policy.anew_s:
            return self
        return self._changed(message.turn, message.index, Piece.anew)

    def _told(self, message: Asked) -> "Pacer":
        """Return the core with what is to be played taken in."""
        match message:
            case Sentence(turn=turn, index=index, text=text, firm=firm):
                piece = Piece(index=index, text=text, firm=firm)
                return self._with(turn, lambda reply: reply.with_piece(piece))
            case PlayClip(turn=turn, index=index, clip=name, firm=firm):
                clip = self.clips[name]
                piece = Piece(index=index, text=clip.text, audio=clip.audio, complete=True, firm=firm)
                return self._with(turn, lambda reply: reply.with_piece(piece))
            case PlayNotice(clip=name):
                clip = self.clips[name]
                notice = Piece(index=0, text=clip.text, audio=clip.audio, complete=True)
                return self if self._notice_waits() else attrs.evolve(self, notice=notice)
            case ReplyEnded(turn=turn, pieces=total):
                return self._with(turn, lambda reply: attrs.evolve(reply, total=total))
            case AgentAudio(turn=turn, index=index, audio=audio, words=words):
                return self._changed(turn, index, lambda piece: piece.longer(audio, words))
            case AgentAudioEnded(turn=turn, index=index):
                return self._changed(turn, index, lambda piece: attrs.evolve(piece, complete=True))
            case _:
                assert_never(message)

    def _toned(self, turn: int) -> "Pacer":
        """Return the core with the hold tone asked for."""
        if turn <= self._ended_turn:
            return self
        asked = [piece.index for reply, piece in self._pieces() if reply.turn == turn]
        return attrs.evolve(self, tone=Tone(turn=turn, after=max(asked, default=-1)))

    # The replies.

    def _with(self, turn: int, change: Callable[[Reply], Reply]) -> "Pacer":
        """Change the reply of a turn; begin it if it is new, leave it alone if it is over."""
        if turn <= self.over:
            return self
        replies = {reply.turn: reply for reply in self.replies}
        replies[turn] = change(replies.get(turn, Reply(turn=turn)))
        return attrs.evolve(self, replies=tuple(replies[each] for each in sorted(replies)))

    def _changed(self, turn: int, index: int, change: Callable[[Piece], Piece]) -> "Pacer":
        """Change one piece; one that is over, heard or unknown is left alone."""
        core = self
        for piece in self._named(turn, index):
            core = core._with(turn, lambda reply, piece=piece: reply.with_piece(change(piece)))  # type: ignore[misc]
        return core

    def _named(self, turn: int, index: int) -> list[Piece]:
        """Return the piece of that name, if there is one."""
        return [piece for reply, piece in self._pieces() if (reply.turn, piece.index) == (turn, index)]

    def _pieces(self) -> list[tuple[Reply, Piece]]:
        return [(reply, piece) for reply in self.replies for piece in reply.pieces]

    def _next(self) -> tuple[Reply, Piece] | None:
        """Return the first piece that has not wholly gone out, with its reply."""
        return next((each for each in self._pieces() if not each[1].gone), None)

    @property
    def _ended_turn(self) -> int:
        """The newest turn that was cut, or heard to its end."""
        return self.over if self.last is None else max(self.over, self.last.turn)

    def _told_playing(self, now: float) -> "Step":
        """Tell of replies that have begun to play, and of firm pieces in them."""
        if self.held is not None:
            return self, []
        core, effects = self, list[object]()
        for reply in self.replies:
            playing = reply.playing
            if playing == reply.told or playing is None:
                continue
            core = core._with(reply.turn, lambda reply, told=playing: attrs.evolve(reply, told=told))  # type: ignore[misc]
            effects.append(playing)
            if not reply.begun:
                effects.append(Timing(turn=reply.turn, stage="first_sound", at_s=now))
        return core, effects

    # Sending.

    def _sent(self, now: float) -> "Step":
        """Send what is due: messages until the buffer holds the lead, with the marks after them."""
        if self.held is not None:
            return self, []
        step: Step = self._message(now)
        while step[0].buffer.until - self.policy.lead_s <= now:
            before = step[0]
            step = _chain(step, lambda core: core._message(now))
            if step[0] is before:
                break
        return _chain(step, lambda core: core._ended())

    def _message(self, now: float) -> "Step":
        """Send one message, as long as may be, if one is due; nothing changes when there is nothing to send."""
        core, effects = self, list[object]()
        if self.buffer.until - self.policy.lead_s <= now:
            while len(core.buffer.part) < self.policy.message_ms * RATE_HZ // 1000:
                before = core
                core, more = core._moved(now)
                effects += more
                if core is before:
                    break
        buffer, media = core.buffer.flushed(now)
        core = core if buffer is core.buffer else attrs.evolve(core, buffer=buffer)
        return _chain((core, [*effects, *media]), lambda core: core._marked())

    def _moved(self, now: float) -> "Step":
        """Move sound into the message; nothing changes when there is none to move."""
        room = self.policy.message_ms * RATE_HZ // 1000 - len(self.buffer.part)
        found = self._next()
        if self._notice_due() <= now:
            assert self.notice is not None
            part = self.notice.next(room)
            notice = self.notice.moved(len(part), self.buffer.next_at(now))
            core = attrs.evolve(self, notice=notice, buffer=self.buffer.with_part(part))
            return core if found is None else core._changed(found[0].turn, found[1].index, Piece.anew), []
        if found is not None and not found[1].waits:
            return self._spoken(*found, room, now)
        if self._tone_due() <= now:
            return self._hummed(room), []
        if self._ragged_due() <= now:
            rest = _silence(-len(self.buffer.part) % FRAME_BYTES)
            return attrs.evolve(self, buffer=self.buffer.with_part(rest)), []
        return self, []

    def _spoken(self, reply: Reply, piece: Piece, room: int, now: float) -> "Step":
        """Move sound of a piece, or the rest after the sentence before it."""
        at_s = self.buffer.next_at(now)
        rest_bytes = 0 if piece.sent_bytes else round((self._rests_until() - at_s) * RATE_HZ)
        if rest_bytes > 0:
            return attrs.evolve(self, buffer=self.buffer.with_part(_silence(min(room, rest_bytes)))), []
        effects: list[object] = []
        if piece.sounds_at is not None and piece.sent_bytes and self.buffer.until < now:
            effects = _counted("voice_underruns" if self.news_at > self.buffer.until else "underruns")
        part = piece.next(room)
        after = piece.moved(len(part), at_s)
        buffer = self.buffer.with_part(part)
        tone = self.tone
        if tone is not None and (tone.turn, tone.after) < (reply.turn, piece.index):
            tone = None
        core = attrs.evolve(self, buffer=buffer, tone=tone)
        return core._with(reply.turn, lambda reply: reply.with_piece(after)), effects

    def _rests_until(self) -> float:
        """Return until when the next piece waits because of the sentence before it, if that was not heard yet."""
        before = [piece for _, piece in self._pieces() if piece.gone][-1:]
        return max((piece.ends_at + self.policy.pause_s for piece in before if piece.ends_sentence), default=0.0)

    def _hummed(self, room: int) -> "Pacer":
        """Move sound of the hold tone."""
        assert self.tone is not None
        audio = self.clips[HOLD_TONE].audio
        part = audio[self.tone.at_bytes : self.tone.at_bytes + room]
        tone = attrs.evolve(
            self.tone,
            at_bytes=(self.tone.at_bytes + len(part)) % len(audio),
            begun_at=min(self.tone.begun_at, self.buffer.until),
        )
        return attrs.evolve(self, tone=tone, buffer=self.buffer.with_part(part))

    def _marked(self) -> "Step":
        """Send the marks that are due after what is out."""
        core, effects = self, list[object]()
        for reply, piece in self._pieces():
            out_bytes = piece.played_bytes(core.buffer.until)
            if piece.mark_due(out_bytes):
                buffer, mark = core.buffer.marked(reply.turn, piece, out_bytes)
                after = attrs.evolve(piece, marked_bytes=out_bytes)
                core = attrs.evolve(core, buffer=buffer)._changed(reply.turn, piece.index, lambda _, after=after: after)  # type: ignore[misc]
                effects += mark
            if not piece.gone or out_bytes < len(piece.audio):
                break
        return core, effects

    def _message_due(self) -> float:
        found = self._next()
        if found is not None and not found[1].waits:
            return self.buffer.until - self.policy.lead_s
        return min(self._notice_due(), self._tone_due(), self._ragged_due())

    def _ragged_due(self) -> float:
        """Return when a part of a frame is filled up with silence: as late as may be, if more of its piece may come."""
        if not len(self.buffer.part) % FRAME_BYTES:
            return NEVER
        return self.buffer.until - self.policy.lead_s if self._next() is None else self._dry_at()

    def _dry_at(self) -> float:
        """Return when a part of a frame can wait no longer: the buffer runs out, and nothing has come for as long."""
        return max(self.buffer.until - min(self.policy.join_s, self.policy.lead_s), self.news_at + self.policy.join_s)

    def _notice_waits(self) -> bool:
        """Whether there is a notice that has not wholly gone out."""
        return self.notice is not None and not self.notice.gone

    def _notice_due(self) -> float:
        """Return when more of a notice is due: between two pieces, or when the one in hand is held up."""
        found = self._next()
        if self.notice is None or self.notice.gone:
            return NEVER
        if self.notice.sent_bytes or found is None or not found[1].sent_bytes:
            return self.buffer.until - self.policy.lead_s
        return self._dry_at() if found[1].waits else NEVER

    def _tone_due(self) -> float:
        """Return when more of the hold tone is due: never within a piece."""
        found = self._next()
        clip = self.clips.get(HOLD_TONE)
        if self.tone is None or clip is None or not clip.audio or (found is not None and found[1].sent_bytes):
            return NEVER
        return self.buffer.until - min(_TONE_LEAD_S, self.policy.lead_s)

    def _patience_due(self) -> float:
        """Return when a piece without sound is skipped, or a piece without an echo counts as heard."""
        found = self._next()
        if not self._pieces():
            return NEVER
        since = max(
            self.news_at, self.buffer.until if self.tone is None else min(self.buffer.until, self.tone.begun_at)
        )
        if found is None:
            return since + self.policy.echo_s
        return since + (self.policy.away_s if found[1].held else self.policy.starve_s)

    def _overdue(self, now: float) -> "Step":
        if self._patience_due() > now:
            return self, []
        found = self._next()
        core = attrs.evolve(self, news_at=now)
        if found is None:  # all of it has gone out, and its echoes were lost
            reply, piece = self._pieces()[-1]
            core = attrs.evolve(core, buffer=attrs.evolve(core.buffer, marks=()))
            return core._heard_to(reply.turn, piece.index, len(piece.audio))
        core = core._changed(
            found[0].turn,
            found[1].index,
            lambda piece: attrs.evolve(
                piece, text=piece.words_in(piece.sent_bytes), audio=piece.audio[: piece.sent_bytes], complete=True
            ),
        )
        return _chain((core, _counted("pieces_starved")), lambda core: core._sent(now))

    # Hearing.

    def _echoed(self, name: str, now: float) -> "Step":
        """Take a mark's echo. One that is not out came back because of a clear, or is another's."""
        mark = next((each for each in self.buffer.marks if each.name == name), None)
        if mark is None:
            return self, []
        core = attrs.evolve(self, buffer=self.buffer.echoed(mark, now))
        return core._heard_to(mark.turn, mark.index, mark.upto_bytes)

    def _heard_to(self, turn: int, index: int, upto_bytes: int) -> "Step":
        """Count as heard what was sent before a piece, and of the piece itself so much."""
        core = self._changed(
            turn, index, lambda piece: attrs.evolve(piece, heard_bytes=max(piece.heard_bytes, upto_bytes))
        )
        effects: list[object] = []
        for reply in core.replies:
            heard = [
                piece
                for piece in reply.pieces
                if piece.gone
                and (
                    (reply.turn, piece.index) < (turn, index)
                    or (reply.turn, piece.index, piece.heard_bytes) == (turn, index, len(piece.audio))
                )
            ]
            if not heard:
                continue
            text = " ".join(filter(None, (reply.heard, *(piece.words_in(len(piece.audio)) for piece in heard))))
            left = tuple(piece for piece in reply.pieces if piece not in heard)
            after = attrs.evolve(reply, pieces=left, heard=text)
            core = attrs.evolve(core, replies=tuple(after if each is reply else each for each in core.replies))
            if left or reply.total is None:
                effects.append(Played(turn=reply.turn, heard=text, settled=False))
        return _chain((core, effects), lambda core: core._ended())

    def _ended(self) -> "Step":
        """Close the replies that were heard to their end."""
        over = [reply for reply in self.replies if reply.over]
        if not over:
            return self, []
        effects: list[object] = []
        for reply in over:
            effects += [Played(turn=reply.turn, heard=reply.heard, settled=True), Stopped(turn=reply.turn)]
        last = Played(turn=over[-1].turn, heard=over[-1].heard, settled=True)
        left = tuple(reply for reply in self.replies if not reply.over)
        tone = None if self.tone is None or self.tone.turn <= last.turn else self.tone
        return attrs.evolve(self, replies=left, last=last, tone=tone), effects

    def _settled(self, turn: int, moment: float) -> "Step":
        """Say, for each reply up to `turn`, what was heard of it by a moment of the buffer's; they are over."""
        effects: list[object] = []
        for reply in self.replies:
            if reply.turn <= turn:
                effects.append(Played(turn=reply.turn, heard=reply.heard_by(moment), settled=True))
                effects += [Stopped(turn=reply.turn)] if reply.begun else []
        left = tuple(reply for reply in self.replies if reply.turn > turn)
        tone = None if self.tone is None or self.tone.turn <= turn else self.tone
        return attrs.evolve(self, replies=left, over=max(self.over, turn), tone=tone), effects

    def _hold(self, turn: int, now: float) -> "Step":
        """Be silent, unless all was heard; what was not goes out again at the end of the hold."""
        core, effects = self._heard_by(self.buffer.stopped(now))
        if turn <= core._ended_turn:
            return core, effects
        core, clear = core._silenced(now)
        core = attrs.evolve(core, held=Held(turn=turn, until=now + self.policy.held_s))
        return core, [*clear, *effects, *_counted("holds")]

    def _heard_by(self, moment: float) -> "Step":
        """Count as heard the pieces that have sounded by a moment of the buffer's."""
        heard: list[tuple[Reply, Piece]] = []
        for reply, piece in self._pieces():
            if not piece.is_heard(moment):
                break
            heard.append((reply, piece))
        if not heard:
            return self, []
        reply, piece = heard[-1]
        return self._heard_to(reply.turn, piece.index, len(piece.audio))

    def _silenced(self, now: float) -> "Step":
        """Clear what the line has queued; what was not heard of it is to be played again."""
        if not self.buffer.queued(now):
            return self, []
        moment, rewind_bytes = self.buffer.stopped(now), round(self.policy.rewind_s * RATE_HZ)
        notice = self.notice
        if notice is not None and notice.sent_bytes:
            notice = None if notice.is_heard(moment) else notice.rewound(moment, rewind_bytes)
        core = attrs.evolve(self, notice=notice)
        for reply, piece in self._pieces():
            core = core._changed(reply.turn, piece.index, lambda piece: piece.rewound(moment, rewind_bytes))
        return attrs.evolve(core, buffer=self.buffer.cleared(now)), [SendClear()]

    def _resumed(self, why: str, now: float) -> "Step":
        """End the hold. Whatever was waited for is waited for anew."""
        hang_up_due = NEVER if self.hang_up is None else now + self.policy.hang_up_s
        core = attrs.evolve(self, held=None, news_at=now, hang_up_due=hang_up_due)
        return _chain((core, _counted(why)), lambda core: core._sent(now))

    def _cut(self, turn: int, now: float) -> "Step":
        """Stop: what the line has queued is cleared, and the turn and all before it are settled."""
        core, effects = self._settled(turn, self.buffer.stopped(now))
        if any(reply.begun and reply.turn <= turn for reply in self.replies):
            effects += _counted("interruptions")
        if not any(isinstance(each, Played) and each.turn == turn for each in effects):
            again = self.last if self.last is not None and self.last.turn == turn else None
            effects.append(again or Played(turn=turn, heard="", settled=True))
        void = self.hang_up is not None and self.hang_up.turn <= turn
        core = attrs.evolve(
            core,
            notice=None if self.notice is not None and self.notice.sent_bytes else core.notice,
            held=None if self.held is not None and self.held.turn <= turn else self.held,
            hang_up=None if void else self.hang_up,
            hang_up_due=NEVER if void else self.hang_up_due,
        )
        core, clear = core._silenced(now)
        return core, [*clear, *effects]

    def _hung_up(self, now: float) -> "Step":
        """Close the line if the goodbye was heard, or was waited for long enough."""
        hang_up = self.hang_up
        if hang_up is None:
            return self, []
        unheard = any(reply.turn == hang_up.turn and piece.index <= hang_up.index for reply, piece in self._pieces())
        if unheard and (self.held is not None or now < self.hang_up_due):
            return self, []
        return attrs.evolve(self, hang_up=None, hang_up_due=NEVER), [CloseLine(reason=hang_up.reason)]

    def fresh(self, suspect: Self) -> Self:
        """Return a new core with all that was asked for, sent, held and heard."""
        return attrs.evolve(
            self.bare(suspect),
            replies=tuple(suspect.replies),
            notice=suspect.notice,
            tone=suspect.tone,
            buffer=suspect.buffer,
            held=suspect.held,
            news_at=float(suspect.news_at),
            last=suspect.last,
            hang_up=suspect.hang_up,
            hang_up_due=float(suspect.hang_up_due),
        )

    def bare(self, suspect: Self) -> Self:
        """Return a new core that knows which turns are over; it is not held, and marks that are out mean nothing."""
        buffer = Buffer(until=float(suspect.buffer.until), generation=int(suspect.buffer.generation) + 1)
        line = suspect.line if isinstance(suspect.line, LineClosed) else None
        return attrs.evolve(self, over=int(suspect.over), buffer=buffer, line=line)


Step: TypeAlias = tuple[Pacer, list[object]]


def _chain(step: Step, move: Callable[[Pacer], Step]) -> Step:
    """Return the step that makes one more move."""
    core, effects = step
    core, more = move(core)
    return core, [*effects, *more]


def _counted(name: str) -> list[object]:
    return [Counted(name=name, amount=1)]


def _silence(size_bytes: int) -> bytes:
    return bytes([SILENCE]) * size_bytes
