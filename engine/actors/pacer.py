"""Pacer: plays what the agent says in real time, and knows what the caller has truly heard of it.

Theory of operation. What is played, and how far the line's buffer reaches with it, are values: `engine.codec.playout`,
which says how it is known what was heard. Here is when something is done about it. A message is due when the buffer
would fall below the lead.

After a stall of the loop the buffer is filled up to the lead at once, never beyond it. It is all that the next stall
finds, and the next one is likely to be near; a clear empties it whatever it holds; and what was late is still played
whole. If it had run dry, the caller has heard a gap, and nothing is hurried or left out to make up for it.

A caller who makes a sound holds the agent: the buffer is cleared, and what was cut is rewound to a little before what
was heard. Until the hold ends nothing is sent.

A voice may die in the middle of a word. From then on no piece goes out beyond its last whole word; what is whole keeps
playing, and the next voice goes on in the word that was cut. After a long pause, a hold, or a notice in its place,
nobody would know what the end of a word belongs to: then it is said anew.

A voice may take an answer's first piece and say nothing. Whoever handed it over has done what there was to do, and the
caller hears nothing all the same: so it is here that the caller is told to wait. One phrase is enough for one wait,
whoever asked for it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Self, TypeAlias, assert_never

import attrs

from engine.codec.playout import Buffer, Clip, Held, Piece, Reply, Tone
from engine.codec.telephony import FRAME_BYTES, RATE_HZ, SILENCE
from engine.messages.caller import LineClosed, MarkEcho
from engine.messages.line import CloseLine, SendClear
from engine.messages.playout import Hold, Played, Resume, Stopped
from engine.messages.records import Counted, Timing
from engine.messages.reply import ONE_MOMENT, HangUp, PlayClip, PlayNotice, PlayTone, ReplyEnded, Sentence
from engine.messages.supervision import NEVER, Tick
from engine.messages.synthesis import AgentAudio, AgentAudioEnded, AgentAudioTrimmed, VoiceDied
from engine.messages.turns import BargedIn

__all__ = ["HOLD_TONE", "Buffer", "Clip", "Held", "Inbox", "Pacer", "PacingPolicy", "Piece", "Reply"]

# The hold tone waits for no stall, and what follows it waits for the rest of it.
_TONE_LEAD_S: Final = 0.1
HOLD_TONE: Final = "hold_tone"
"""The clip that a tool's wait is filled with, if the tenant has one."""

Asked: TypeAlias = Sentence | PlayClip | PlayNotice | ReplyEnded | AgentAudio | AgentAudioEnded
Found: TypeAlias = tuple[Reply, Piece]
Inbox: TypeAlias = (
    Asked | AgentAudioTrimmed | VoiceDied | PlayTone | HangUp | Hold | Resume | BargedIn | MarkEcho | LineClosed | Tick
)


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
    silent_s: how long the first piece of an answer, handed over to its voice, may be without sound before the caller is
        told to wait; there is no such phrase where there is no clip of it. 1.2: eight times what a healthy voice takes,
        and a caller who was answered within the usual second has then heard nothing for two.
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
    silent_s: float = 1.2
    starve_s: float = 8.0
    away_s: float = 25.0
    echo_s: float = 2.0
    hang_up_s: float = 10.0


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
    # The newest turn in which a notice was given to a caller who waited for the answer's first sound.
    filled: int = -1
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
        """When a message or word of the wait is due, or a hold ends, or patience with a voice, an echo or a goodbye."""
        if self.line is not None:
            return NEVER
        if self.held is not None:
            return self.held.until
        found = self._next()
        return min(self._message_due(found), self._patience_due(found), self.hang_up_due)

    def handle(self, message: Inbox, now: float) -> "Step":
        """Return the core that follows `message`, and what it sends."""
        if self.line is not None:
            return self, []
        core, effects = self._handled(message, now)
        core, news = core._told_playing(now)
        return core, [*news, *effects]

    def _handled(self, message: Inbox, now: float) -> "Step":
        match message:
            case Tick() if self.held is not None:
                return self._resumed("holds_overdue", now) if self.held.until <= now else (self, [])
            case Tick():
                step = _chain(self._sent(now), lambda core: core._overdue(now))
                return _chain(step, lambda core: core._hung_up(now))
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
                found = core._named(turn, index)
                repeats = found is not None and found[1].cut is not None and not found[1].cut.is_word
                return _chain((core, _counted("repeated_clauses") if repeats else []), lambda core: core._sent(now))
            case VoiceDied():  # nothing new to be played: whoever waits for a voice waits no longer for it
                core = self
                for reply, piece in self._pieces():
                    if not piece.complete:
                        core = core._changed(reply.turn, piece.index, lambda piece: attrs.evolve(piece, held=True))
                return core, []
            case PlayTone(turn=turn):
                return self._toned(turn)._sent(now)
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
                again = name == ONE_MOMENT and 0 <= self._waiting_for <= self.filled
                return self if again or self._notice_waits() else self._noticed(name)
            case ReplyEnded(turn=turn, pieces=total):
                return self._with(turn, lambda reply: attrs.evolve(reply, total=total))
            case AgentAudio(turn=turn, index=index, audio=audio, words=words):
                return self._changed(turn, index, lambda piece: piece.longer(audio, words))
            case AgentAudioEnded(turn=turn, index=index):
                return self._changed(turn, index, lambda piece: attrs.evolve(piece, complete=True))
            case _:
                assert_never(message)

    def _noticed(self, name: str) -> "Pacer":
        """Return the core with a notice to be played. It fills the wait of whoever waits for an answer to begin."""
        clip = self.clips[name]
        notice = Piece(index=0, text=clip.text, audio=clip.audio, complete=True)
        return attrs.evolve(self, notice=notice, filled=max(self.filled, self._waiting_for))

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
        reply = next((each for each in self.replies if each.turn == turn), None)
        if reply is None:
            reply = Reply(turn=turn, asked_at=self.news_at)
        return attrs.evolve(self, replies=self._replies_with(change(reply)))

    def _replies_with(self, reply: Reply) -> tuple[Reply, ...]:
        """Return the replies with another one in that one's place."""
        before = [each for each in self.replies if each.turn < reply.turn]
        return (*before, reply, *[each for each in self.replies if each.turn > reply.turn])

    def _changed(self, turn: int, index: int, change: Callable[[Piece], Piece]) -> "Pacer":
        """Change one piece; one that is over, heard or unknown is left alone."""
        found = self._named(turn, index)
        if found is None:
            return self
        reply, piece = found
        return attrs.evolve(self, replies=self._replies_with(reply.with_piece(change(piece))))

    def _named(self, turn: int, index: int) -> Found | None:
        """Return the piece of that name with its reply, if there is one."""
        for reply in self.replies:
            if reply.turn == turn:
                for piece in reply.pieces:
                    if piece.index == index:
                        return reply, piece
        return None

    def _pieces(self) -> Iterator[Found]:
        for reply in self.replies:
            for piece in reply.pieces:
                yield reply, piece

    def _next(self) -> Found | None:
        """Return the first piece that has not wholly gone out, with its reply."""
        for reply in self.replies:
            for piece in reply.pieces:
                if not piece.gone:
                    return reply, piece
        return None

    @property
    def _waiting_for(self) -> int:
        """The turn of which the first sound is to go out next, or -1."""
        found = self._next()
        return -1 if found is None or found[0].begun else found[0].turn

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
            while core.buffer.until == self.buffer.until:
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
        if self._notice_due(found) <= now:
            assert self.notice is not None
            part = self.notice.next(room)
            notice = self.notice.moved(len(part), self.buffer.next_at(now))
            buffer, media = self._put(part, now)
            core = attrs.evolve(self, notice=notice, buffer=buffer)
            return core if found is None else core._changed(found[0].turn, found[1].index, Piece.anew), media
        if found is not None and not found[1].waits:
            return self._spoken(*found, room, now)
        if self._tone_due(found) <= now:
            return self._hummed(room, now)
        if self._ragged_due(found) <= now:
            rest = _silence(-len(self.buffer.part) % FRAME_BYTES)
            buffer, media = self._put(rest, now)
            return attrs.evolve(self, buffer=buffer), media
        return self, []

    def _put(self, audio: bytes, now: float) -> tuple[Buffer, list[object]]:
        """Return the buffer with more to be sent next, and the message if it is whole."""
        return self.buffer.put(audio, now, self.policy.message_ms * RATE_HZ // 1000)

    def _spoken(self, reply: Reply, piece: Piece, room: int, now: float) -> "Step":
        """Move sound of a piece, or the rest after the sentence before it."""
        at_s = self.buffer.next_at(now)
        rest_bytes = 0 if piece.sent_bytes else round((self._rests_until() - at_s) * RATE_HZ)
        if rest_bytes > 0:
            buffer, media = self._put(_silence(min(room, rest_bytes)), now)
            return attrs.evolve(self, buffer=buffer), media
        effects: list[object] = []
        if piece.sounds_at is not None and piece.sent_bytes and self.buffer.until < now:
            effects = _counted("voice_underruns" if self.news_at > self.buffer.until else "underruns")
        part = piece.next(room)
        after = piece.moved(len(part), at_s)
        buffer, media = self._put(part, now)
        tone = self.tone
        if tone is not None and (tone.turn, tone.after) < (reply.turn, piece.index):
            tone = None
        replies = self._replies_with(reply.with_piece(after))
        return attrs.evolve(self, replies=replies, buffer=buffer, tone=tone), [*effects, *media]

    def _rests_until(self) -> float:
        """Return until when the next piece waits because of the sentence before it, if that was not heard yet."""
        before = [piece for _, piece in self._pieces() if piece.gone][-1:]
        return max((piece.ends_at + self.policy.pause_s for piece in before if piece.ends_sentence), default=0.0)

    def _hummed(self, room: int, now: float) -> "Step":
        """Move sound of the hold tone."""
        assert self.tone is not None
        audio = self.clips[HOLD_TONE].audio
        part = audio[self.tone.at_bytes : self.tone.at_bytes + room]
        tone = attrs.evolve(
            self.tone,
            at_bytes=(self.tone.at_bytes + len(part)) % len(audio),
            begun_at=min(self.tone.begun_at, self.buffer.until),
        )
        buffer, media = self._put(part, now)
        return attrs.evolve(self, tone=tone, buffer=buffer), media

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

    # When something is due; `found` is what goes out next.

    def _message_due(self, found: Found | None) -> float:
        if found is not None and not found[1].waits:
            return self.buffer.until - self.policy.lead_s
        return min(self._notice_due(found), self._tone_due(found), self._ragged_due(found), self._filler_due(found))

    def _ragged_due(self, found: Found | None) -> float:
        """Return when a part of a frame is filled up with silence: as late as may be, if more of its piece may come."""
        if not len(self.buffer.part) % FRAME_BYTES:
            return NEVER
        return self.buffer.until - self.policy.lead_s if found is None else self._dry_at()

    def _dry_at(self) -> float:
        """Return when a part of a frame can wait no longer: the buffer runs out, and nothing has come for as long."""
        return max(self.buffer.until - min(self.policy.join_s, self.policy.lead_s), self.news_at + self.policy.join_s)

    def _notice_waits(self) -> bool:
        """Whether there is a notice that has not wholly gone out."""
        return self.notice is not None and not self.notice.gone

    def _notice_due(self, found: Found | None) -> float:
        """Return when more of a notice is due: between two pieces, or when the one in hand is held up."""
        if self.notice is None or self.notice.gone:
            return NEVER
        if self.notice.sent_bytes or found is None or not found[1].sent_bytes:
            return self.buffer.until - self.policy.lead_s
        return self._dry_at() if found[1].waits else NEVER

    def _filler_due(self, found: Found | None) -> float:
        """Return when the caller is told to wait: after as long a silence, if nothing has told them so in this wait."""
        if found is None or found[0].begun or ONE_MOMENT not in self.clips:
            return NEVER
        reply = found[0]
        told = self.notice is not None and self.notice.ends_at > reply.asked_at
        if told or reply.turn <= self.filled:
            return NEVER
        return max(reply.asked_at, self.buffer.until) + self.policy.silent_s

    def _tone_due(self, found: Found | None) -> float:
        """Return when more of the hold tone is due: never within a piece."""
        if self.tone is None or (found is not None and found[1].sent_bytes):
            return NEVER
        clip = self.clips.get(HOLD_TONE)
        if clip is None or not clip.audio:
            return NEVER
        return self.buffer.until - min(_TONE_LEAD_S, self.policy.lead_s)

    def _patience_due(self, found: Found | None) -> float:
        """Return when a piece without sound is skipped, or a piece without an echo counts as heard."""
        if found is None and not any(reply.pieces for reply in self.replies):
            return NEVER
        since = max(
            self.news_at, self.buffer.until if self.tone is None else min(self.buffer.until, self.tone.begun_at)
        )
        if found is None:
            return since + self.policy.echo_s
        return since + (self.policy.away_s if found[1].held else self.policy.starve_s)

    def _overdue(self, now: float) -> "Step":
        found = self._next()
        if self._filler_due(found) <= now:
            return _chain(self._noticed(ONE_MOMENT)._sent(now), lambda core: core._overdue(now))
        if self._patience_due(found) > now:
            return self, []
        core = attrs.evolve(self, news_at=now)
        if found is None:  # all of it has gone out, and its echoes were lost
            reply, piece = list(self._pieces())[-1]
            core = attrs.evolve(core, buffer=attrs.evolve(core.buffer, marks=()))
            return core._heard_to(reply.turn, piece.index, len(piece.audio))
        core = core._changed(
            found[0].turn,
            found[1].index,
            lambda piece: attrs.evolve(
                piece, text=piece.words_in(piece.sent_bytes), audio=piece.audio[: piece.sent_bytes], complete=True
            ),
        )
        step = _chain((core, _counted("pieces_starved")), lambda core: core._sent(now))
        return _chain(step, lambda core: core._overdue(now))

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
        replies = tuple(reply if reply.begun else attrs.evolve(reply, asked_at=now) for reply in self.replies)
        core = attrs.evolve(self, replies=replies, held=None, news_at=now, hang_up_due=hang_up_due)
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
            filled=int(suspect.filled),
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
