"""Pacer: plays what the agent says in real time, and knows what the caller has truly heard of it.

Theory of operation. Twilio plays what it is sent at 8000 bytes a second from a buffer of its own. One number says how
far that buffer reaches: `Buffer.until`. A frame is due when the buffer would fall below the lead; sending one moves
the number on by its length, so nothing drifts and a late wake-up is caught up by itself. What lies between now and
`Buffer.until` was sent and not heard: counted back from the cursor, it gives the word at which the caller broke in.
Marks say for certain that a piece was heard; those of an earlier generation were cleared, not heard.

A voice may die in the middle of a word. From then on no piece goes out beyond its last whole word; what is whole keeps
playing. The next voice begins with the word that was cut: its sound takes the place of what had not gone out, and of it
as much is left out as had gone out, by the sound alone, without the silence before it. So the word is heard once, with
a pause in it if it had begun. After a long pause, or a notice in its place, nobody would know what the end of a word
belongs to: then it is said anew.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final, Self, TypeAlias, assert_never

import attrs

from engine.codec import mulaw
from engine.codec.telephony import FRAME_BYTES, FRAME_S, RATE_HZ, SILENT_FRAME
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

_MARK = re.compile(r"(?P<generation>\d+):(?P<turn>\d+):(?P<index>\d+)")

# Samples 40 dB below full scale: a voice's silence is quieter, its sound is not for long.
_LOUD: Final = 328
_QUIET: Final = bytes(byte for byte, sample in enumerate(mulaw.decode(bytes(range(256)))) if abs(int(sample)) < _LOUD)
# A word that was cut is no longer than that. What is longer came from a voice that does not say where its words are.
_MOST_CUT_BYTES: Final = RATE_HZ

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

    audio: all that came so far; kept until heard. sent_bytes: how much of it has gone out.
    late_bytes: how much later a sound lies in it than the voice counts. cut: where its voice died, if it did.
    broken_bytes: where something else was last heard in it, or a long pause; -1: nowhere.
    held: its voice is dead: nothing goes out beyond its last whole word, unless no more is to come.
    complete: it has all its audio. marked: all of it was sent, and a mark after it.
    """

    index: int
    text: str
    audio: bytes = attrs.field(default=b"", repr=lambda audio: f"<{len(audio)} bytes>")
    words: tuple[Word, ...] = ()
    sent_bytes: int = 0
    late_bytes: int = 0
    cut: Cut | None = None
    broken_bytes: int = -1
    held: bool = False
    complete: bool = False
    marked: bool = False

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

    def next(self, size_bytes: int) -> bytes:
        """Return the sound that goes out next, no more than `size_bytes`."""
        return self.audio[self.sent_bytes : min(self.sent_bytes + size_bytes, self.ready_bytes)]

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
        left_bytes = 0 if self.broken_bytes == self.sent_bytes else len(audio[stand_bytes:].lstrip(_QUIET))
        cut = Cut(voice_bytes=keep_bytes, stand_bytes=stand_bytes, left_bytes=left_bytes)
        return attrs.evolve(self, audio=audio, late_bytes=len(audio) - keep_bytes, cut=cut, held=False)

    def anew(self) -> Self:
        """Return the piece of which a cut word is to be said from its beginning, unless it has gone on already.

        That it was cut may be told later.
        """
        broken = attrs.evolve(self, broken_bytes=self.sent_bytes)
        if self.cut is None or self.cut.begun:
            return broken
        return attrs.evolve(broken, cut=attrs.evolve(self.cut, left_bytes=0))

    def heard(self, unheard_bytes: int) -> str:
        """Return the words that were played, with `unheard_bytes` of what was sent still in the buffer."""
        played_bytes = max(0, self.sent_bytes - unheard_bytes)
        size_bytes, whole_bytes = len(self.audio), self.whole_bytes
        texts = self.text.split()
        count = sum(min(size_bytes, round(word.end_s * RATE_HZ)) <= played_bytes for word in self.words)
        if self.complete and size_bytes and played_bytes == size_bytes:
            count = len(texts)
        elif self.complete and played_bytes > whole_bytes:
            untimed = len(texts) - len(self.words)  # as many of them as of their sound
            count += untimed * (played_bytes - whole_bytes) // (size_bytes - whole_bytes)
        return " ".join(texts[:count])


@attrs.frozen(kw_only=True)
class Reply:
    """What is said in one turn.

    pieces: asked for and not yet heard, in order. heard: the words of those that were.
    total: how many pieces it has, once all were asked for. begun: its first sound has gone out.
    """

    turn: int
    pieces: tuple[Piece, ...] = ()
    heard: str = ""
    total: int | None = None
    begun: bool = False

    @property
    def over(self) -> bool:
        """Whether all of it was heard."""
        return self.total is not None and not self.pieces

    def with_piece(self, piece: Piece) -> Self:
        """Return the reply with another piece in its place."""
        others = tuple(each for each in self.pieces if each.index != piece.index)
        return attrs.evolve(self, pieces=tuple(sorted((*others, piece), key=lambda each: each.index)))


@attrs.frozen(kw_only=True)
class Buffer:
    """Twilio's buffer, as far as it can be known from here.

    until: when it will have played all that it was sent. generation: how often it was cleared.
    part: the beginning of the next frame. marks: those that follow the next frame.
    """

    until: float = 0.0
    generation: int = 0
    part: bytes = attrs.field(default=b"", repr=lambda audio: f"<{len(audio)} bytes>")
    marks: tuple[str, ...] = ()

    @property
    def room_bytes(self) -> int:
        """How much the next frame still takes."""
        return FRAME_BYTES - len(self.part)

    def unheard_bytes(self, now: float) -> int:
        """Return how much of what was taken has not been played."""
        return round(max(0.0, self.until - now) * RATE_HZ) + len(self.part)

    def taken(self, audio: bytes, now: float) -> "tuple[Buffer, list[object]]":
        """Return the buffer after no more audio than it has room for: full frames go out, with their marks."""
        part = self.part + audio
        if len(part) < FRAME_BYTES:
            return attrs.evolve(self, part=part), []
        sent = attrs.evolve(self, part=b"", marks=(), until=max(self.until, now) + FRAME_S)
        return sent, [SendMedia(audio=part), *(SendMark(name=name) for name in self.marks)]

    def padded(self, now: float) -> "tuple[Buffer, list[object]]":
        """Return the buffer after the part was sent, filled up with silence."""
        return self.taken(SILENT_FRAME[: self.room_bytes], now)

    def marked(self, turn: int, index: int) -> "tuple[Buffer, list[object]]":
        """Return the buffer after a mark: at once, or with the frame that the sound before it is in."""
        name = f"{self.generation}:{turn}:{index}"
        if self.part:
            return attrs.evolve(self, marks=(*self.marks, name)), []
        return self, [SendMark(name=name)]

    def cleared(self, now: float) -> "Buffer":
        """Return the buffer after a clear: empty, and older marks mean nothing."""
        return Buffer(until=min(self.until, now), generation=self.generation + 1)


@attrs.frozen(kw_only=True)
class Pacer:
    """The playout: what was asked for, what has come, what went out, what was heard."""

    policy: PacingPolicy = PacingPolicy()
    clips: Mapping[str, Clip] = attrs.field(factory=dict, repr=False)
    # Invariant: in order of turn, and none of a turn that is over.
    replies: tuple[Reply, ...] = ()
    over: int = -1
    # A phrase that goes before everything, at the next joint: between pieces, or where a piece waits for its voice.
    notice: Piece | None = None
    buffer: Buffer = Buffer()
    # When something to be played last came in.
    news_at: float = 0.0
    # The last turn that was heard to its end: a barge-in that crosses its end must not be told that nothing was.
    last: Played | None = None
    hang_up: HangUp | None = None
    hang_up_due: float = NEVER
    line: LineClosed | None = None

    @property
    def deadline(self) -> float:
        """When the next frame is due, or patience with a voice, an echo or a goodbye ends."""
        if self.line is not None:
            return NEVER
        return min(self._frame_due(), self._patience_due(), self.hang_up_due)

    def handle(self, message: Inbox, now: float) -> "Step":
        """Return the core that follows `message`, and what it sends."""
        if self.line is not None:
            return self, []
        match message:
            case LineClosed():
                last = max((reply.turn for reply in self.replies), default=self.over)
                core, effects = self._settled(last, now)
                return attrs.evolve(core, line=message), [*effects, message]
            case Hold() | Resume() | PlayTone():
                return self, []
            case BargedIn(turn=turn):
                return self._cut(turn, now)
            case HangUp(turn=turn):
                if turn <= self.over:
                    return self, []
                core = attrs.evolve(self, hang_up=message, hang_up_due=now + self.policy.hang_up_s)
                return core._hung_up(now)
            case MarkEcho(name=name):
                return _chain(self._echoed(name), lambda core: core._hung_up(now))
            case AgentAudioTrimmed(turn=turn, index=index, keep_bytes=keep):
                core = attrs.evolve(self, news_at=now)._changed(turn, index, lambda piece: piece.trimmed(keep))
                repeats = any(piece.cut is not None and not piece.cut.is_word for piece in core._named(turn, index))
                counted: list[object] = [Counted(name="repeated_clauses", amount=1)] if repeats else []
                return _chain((core, counted), lambda core: core._sent(now))
            case VoiceDied():  # nothing new to be played: whoever waits for a voice waits no longer for it
                core = self
                for reply, piece in self._pieces():
                    if not piece.complete:
                        core = core._changed(reply.turn, piece.index, lambda piece: attrs.evolve(piece, held=True))
                return core, []
            case Tick():
                step = _chain(self._sent(now), lambda core: core._overdue(now))
                return _chain(step, lambda core: core._hung_up(now))
            case _:
                return attrs.evolve(self._resumed(message, now), news_at=now)._told(message)._sent(now)

    def _resumed(self, message: Asked, now: float) -> "Pacer":
        """Return the core that says a cut word anew if its voice comes back late."""
        if not isinstance(message, AgentAudio) or now - self.buffer.until <= self.policy.anew_s:
            return self
        return self._changed(message.turn, message.index, Piece.anew)

    def _told(self, message: Asked) -> "Pacer":
        """Return the core with what is to be played taken in."""
        match message:
            case Sentence(turn=turn, index=index, text=text):
                return self._with(turn, lambda reply: reply.with_piece(Piece(index=index, text=text)))
            case PlayClip(turn=turn, index=index, clip=name):
                clip = self.clips[name]
                piece = Piece(index=index, text=clip.text, audio=clip.audio, complete=True)
                return self._with(turn, lambda reply: reply.with_piece(piece))
            case PlayNotice(clip=name):
                clip = self.clips[name]
                notice = Piece(index=0, text=clip.text, audio=clip.audio, complete=True)
                return attrs.evolve(self, notice=self.notice or notice)
            case ReplyEnded(turn=turn, pieces=total):
                return self._with(turn, lambda reply: attrs.evolve(reply, total=total))
            case AgentAudio(turn=turn, index=index, audio=audio, words=words):
                return self._changed(turn, index, lambda piece: piece.longer(audio, words))
            case AgentAudioEnded(turn=turn, index=index):
                return self._changed(turn, index, lambda piece: attrs.evolve(piece, complete=True))
            case _:
                assert_never(message)

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
        return next((each for each in self._pieces() if not each[1].marked), None)

    # Sending.

    def _sent(self, now: float) -> "Step":
        """Send what is due: frames until the buffer holds the lead, a mark after each piece."""
        step: Step = (self, [])
        while step[0].buffer.until - self.policy.lead_s <= now:
            before = step[0]
            step = _chain(step, lambda core: core._moved(now))
            if step[0] is before:
                break
        return _chain(step, lambda core: core._ended())

    def _moved(self, now: float) -> "Step":
        """Move at most a frame of sound towards the line; nothing changes when there is nothing to move."""
        room = self.buffer.room_bytes
        found = self._next()
        if self.notice is not None and self._notice_due() <= now:
            part = self.notice.next(room)
            buffer, effects = self.buffer.taken(part, now)
            notice = attrs.evolve(self.notice, sent_bytes=self.notice.sent_bytes + len(part))
            core = attrs.evolve(self, notice=None if notice.gone else notice, buffer=buffer)
            return core if found is None else core._changed(found[0].turn, found[1].index, Piece.anew), effects
        if found is None or found[1].waits:
            if not self.buffer.part or (found is not None and self._dry_at() > now):
                return self, []
            buffer, effects = self.buffer.padded(now)
            return attrs.evolve(self, buffer=buffer), effects
        reply, piece = found
        part = piece.next(room)
        begun: list[object] = []
        if part and not reply.begun:
            begun = [Playing(turn=reply.turn), Timing(turn=reply.turn, stage="first_sound", at_s=now)]
        buffer, effects = self.buffer.taken(part, now)
        piece = attrs.evolve(piece, sent_bytes=piece.sent_bytes + len(part))
        if piece.gone:
            piece = attrs.evolve(piece, marked=True)
            buffer, marks = buffer.marked(reply.turn, piece.index)
            effects = [*effects, *marks]
        reply = attrs.evolve(reply, begun=reply.begun or bool(part)).with_piece(piece)
        return attrs.evolve(self, buffer=buffer)._with(reply.turn, lambda _: reply), [*begun, *effects]

    def _frame_due(self) -> float:
        found = self._next()
        if found is not None and not found[1].waits:
            return self.buffer.until - self.policy.lead_s
        return min(self._notice_due(), self._dry_at() if self.buffer.part else NEVER)

    def _dry_at(self) -> float:
        """Return when a part of a frame can wait no longer: the buffer runs out, and nothing has come for as long."""
        return max(self.buffer.until - min(self.policy.join_s, self.policy.lead_s), self.news_at + self.policy.join_s)

    def _notice_begun(self) -> bool:
        return self.notice is not None and self.notice.sent_bytes > 0

    def _notice_due(self) -> float:
        """Return when the next frame of a notice is due: between two pieces, or when the one in hand is held up."""
        found = self._next()
        if self.notice is None:
            return NEVER
        if self.notice.sent_bytes or found is None or not found[1].sent_bytes:
            return self.buffer.until - self.policy.lead_s
        return self._dry_at() if found[1].waits else NEVER

    def _patience_due(self) -> float:
        """Return when a piece without sound is skipped, or a piece without an echo counts as heard."""
        found = self._next()
        if found is not None:
            patience_s = self.policy.away_s if found[1].held else self.policy.starve_s
            return max(self.news_at, self.buffer.until) + patience_s
        return max(self.news_at, self.buffer.until) + self.policy.echo_s if self._pieces() else NEVER

    def _overdue(self, now: float) -> "Step":
        if self._patience_due() > now:
            return self, []
        found = self._next()
        if found is None:  # all of it has gone out, and its echoes were lost
            reply, piece = self._pieces()[-1]
            return attrs.evolve(self, news_at=now)._heard_to(reply.turn, piece.index)
        core = attrs.evolve(self, news_at=now)._changed(
            found[0].turn,
            found[1].index,
            lambda piece: attrs.evolve(
                piece, text=piece.heard(0), audio=piece.audio[: piece.sent_bytes], complete=True
            ),
        )
        return _chain((core, [Counted(name="pieces_starved", amount=1)]), lambda core: core._sent(now))

    # Hearing.

    def _echoed(self, name: str) -> "Step":
        """Take a mark's echo. One of an earlier generation came back because of a clear; another's is not ours."""
        ours = _MARK.fullmatch(name)
        if ours is None or int(ours["generation"]) != self.buffer.generation:
            return self, []
        return self._heard_to(int(ours["turn"]), int(ours["index"]))

    def _heard_to(self, turn: int, index: int) -> "Step":
        """Count as heard what was sent up to a piece."""
        core = self
        effects: list[object] = []
        for reply in self.replies:
            heard = [each for each in reply.pieces if each.marked and (reply.turn, each.index) <= (turn, index)]
            if not heard:
                continue
            text = " ".join(filter(None, (reply.heard, *(piece.heard(0) for piece in heard))))
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
        return attrs.evolve(self, replies=left, last=last), effects

    def _settled(self, turn: int, now: float) -> "Step":
        """Say, for each reply up to `turn`, what was heard of it; they are over."""
        unheard = self.buffer.unheard_bytes(now)
        heard: dict[int, list[str]] = {}
        for reply, piece in reversed(self._pieces()):
            heard.setdefault(reply.turn, []).insert(0, piece.heard(unheard))
            unheard = max(0, unheard - piece.sent_bytes)
        effects: list[object] = []
        for reply in self.replies:
            if reply.turn <= turn:
                text = " ".join(filter(None, (reply.heard, *heard.get(reply.turn, ()))))
                effects.append(Played(turn=reply.turn, heard=text, settled=True))
                effects += [Stopped(turn=reply.turn)] if reply.begun else []
        left = tuple(reply for reply in self.replies if reply.turn > turn)
        return attrs.evolve(self, replies=left, over=max(self.over, turn)), effects

    def _cut(self, turn: int, now: float) -> "Step":
        """Stop: what the line has queued is cleared, and the turn and all before it are settled."""
        core, effects = self._settled(turn, now)
        if not any(isinstance(each, Played) and each.turn == turn for each in effects):
            again = self.last if self.last is not None and self.last.turn == turn else None
            effects.append(again or Played(turn=turn, heard="", settled=True))
        void = self.hang_up is not None and self.hang_up.turn <= turn
        core = attrs.evolve(
            core,
            notice=None if self._notice_begun() else core.notice,
            hang_up=None if void else self.hang_up,
            hang_up_due=NEVER if void else self.hang_up_due,
        )
        if self.buffer.until > now or self.buffer.part or self._pieces():
            return attrs.evolve(core, buffer=self.buffer.cleared(now)), [SendClear(), *effects]
        return core, effects

    def _hung_up(self, now: float) -> "Step":
        """Close the line if the goodbye was heard, or was waited for long enough."""
        hang_up = self.hang_up
        if hang_up is None:
            return self, []
        unheard = any(reply.turn == hang_up.turn and piece.index <= hang_up.index for reply, piece in self._pieces())
        if unheard and now < self.hang_up_due:
            return self, []
        return attrs.evolve(self, hang_up=None, hang_up_due=NEVER), [CloseLine(reason=hang_up.reason)]

    def fresh(self, suspect: Self) -> Self:
        """Return a new core with all that was asked for, sent and heard."""
        return attrs.evolve(
            self.bare(suspect),
            replies=tuple(suspect.replies),
            notice=suspect.notice,
            buffer=suspect.buffer,
            news_at=float(suspect.news_at),
            last=suspect.last,
            hang_up=suspect.hang_up,
            hang_up_due=float(suspect.hang_up_due),
        )

    def bare(self, suspect: Self) -> Self:
        """Return a new core that knows which turns are over; marks that are still out mean nothing to it."""
        buffer = Buffer(until=float(suspect.buffer.until), generation=int(suspect.buffer.generation) + 1)
        line = suspect.line if isinstance(suspect.line, LineClosed) else None
        return attrs.evolve(self, over=int(suspect.over), buffer=buffer, line=line)


Step: TypeAlias = tuple[Pacer, list[object]]


def _chain(step: Step, move: Callable[[Pacer], Step]) -> Step:
    """Return the step that makes one more move."""
    core, effects = step
    core, more = move(core)
    return core, [*effects, *more]
