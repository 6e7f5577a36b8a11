"""A script for a whole call, drawn from a seed, and the caller who plays it on a phone."""

# ruff: noqa: PLR2004, ASYNC110 - chances drawn for a script are its own; a caller listens now and then, as one does

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TypeAlias, assert_never

import attrs
import trio

from engine.codec.grammar import ENGLISH, Claim
from simulators.audio import FRAME_S
from simulators.virtual.phone import VirtualPhone

PHRASES = {
    "greeting": "welcome here",
    "still_there": "still there",
    "goodbye": "goodbye now",
    "apology": "sorry indeed",
    "repeat_please": "pardon again",
    "one_moment": "one moment",
    "transfer": "connecting you",
    "stopping": "closing now",
}
NOTICE = PHRASES["repeat_please"].split()
WAIT = PHRASES["one_moment"].split()
"""Says that something else is on its way: it answers nothing, and may stand between any two pieces of an answer."""
_AGAIN = {NOTICE[-1], PHRASES["still_there"].split()[-1], PHRASES["apology"].split()[-1]}
"""The last words of what has a caller say something again."""

LAST_WORD = "done."
"""Ends every answer, so that a caller knows when it is over whatever pauses there are in it."""

IDLE_S = 4.0
LONGEST_S = 120.0
"""A call that takes longer hangs."""

# ── what the caller does ──────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Say:
    """Say the words after a pause, and hear the answer out, unless a `BreakIn` follows. gap_frames: between words."""

    words: tuple[str, ...]
    after_s: float = 0.3
    gap_frames: int = 2


@attrs.frozen(kw_only=True)
class BreakIn:
    """Say the words as soon as `after_words` more words were heard, or after `patience_s`."""

    words: tuple[str, ...]
    after_words: int
    patience_s: float = 3.0


@attrs.frozen(kw_only=True)
class MakeNoise:
    """Make a noise of so many frames over what is heard or awaited: `after_words` more words, and `after_s` later.

    draft: what a recogniser takes it for, until it takes that back.
    """

    frames: int
    after_words: int = 0
    after_s: float = 0.0
    draft: str = ""


@attrs.frozen(kw_only=True)
class Press:
    """Press a key, and hear the answer out."""

    digit: str


@attrs.frozen
class BeSilent:
    """Say nothing until asked whether anybody is there."""


class End(Enum):
    """Who ends the call."""

    CALLER = "stop"
    SOCKET = "closed"
    AGENT = "hang_up"
    IDLE = "idle"


Step: TypeAlias = Say | BreakIn | MakeNoise | Press | BeSilent

BARGE_S = 1.5
"""A noise as long as that cuts the agent short; a shorter one holds it."""


@attrs.frozen(kw_only=True)
class VirtualScript:
    """What a caller does in a call. hang_up_at: the caller hangs up then, wherever the call stands."""

    steps: tuple[Step, ...]
    end: End = End.CALLER
    hang_up_at: float = math.inf
    # The scope around the whole call is cancelled then.
    cancel_at: float = math.inf


def is_nod(words: Sequence[str]) -> bool:
    """Whether words over the agent leave it the floor."""
    return ENGLISH.claim(" ".join(words)) is Claim.BACKCHANNEL


def vocabulary_of_a_call() -> Iterator[str]:
    """Words, each new."""
    for first, vowel, last in itertools.product("bdfgklmnprstvz", "aeiou", "bdfgklmnprtz"):
        yield f"{first}{vowel}{last}"


def answer(text: str) -> str:
    """Return what the model says to `text`: each word of it, changed."""
    words = [f"{word}o" for word in text.split()]
    first, rest = words[:2], words[2:]
    return " ".join([*first[:-1], f"{first[-1]},", *rest, LAST_WORD] if rest else [*first, LAST_WORD])


def script_of(dice: random.Random, vocabulary: Iterator[str]) -> VirtualScript:
    """Draw a call: two or three turns, and what may happen in one."""

    def words(least: int = 1, most: int = 3) -> tuple[str, ...]:
        return tuple(itertools.islice(vocabulary, dice.randint(least, most)))

    def pause() -> float:
        return dice.choice((0.1, 0.3, 0.7))

    steps: list[Step] = []
    if dice.random() < 0.15:
        steps.append(BreakIn(words=words(2, 3), after_words=1))  # into the greeting
    steps.append(Say(words=words(), after_s=pause()))
    extra = dice.choice(("book", "book", "barge", "barge", "press", "idle", "book barge", ""))
    if "book" in extra:
        steps.append(Say(words=(*words(0, 1), "book", *words(1, 2)), after_s=pause()))
    if "barge" in extra:
        if "book" not in extra:
            steps.append(Say(words=words(2, 4), after_s=pause()))
        steps.append(BreakIn(words=words(2, 4), after_words=dice.choice((0, 1, 2, 3))))
    if extra == "press":
        steps.append(Press(digit=dice.choice("123456789")))
    if extra == "idle":
        steps.append(BeSilent())
    end = dice.choice((End.CALLER, End.CALLER, End.SOCKET, End.AGENT, End.AGENT, End.IDLE))
    steps.append(Say(words=(*words(), "bye") if end is End.AGENT else words(), after_s=pause()))
    return VirtualScript(steps=tuple(steps), end=end)


@attrs.define(eq=False)
class VirtualCaller:
    """Plays a script on a phone. said: words and when they began, in order; repeated: after being asked."""

    phone: VirtualPhone
    script: VirtualScript
    vocabulary: Iterator[str]
    said: list[tuple[float, tuple[str, ...]]] = attrs.field(factory=list)
    repeated: int = 0
    # How often no answer came.
    in_vain: int = 0

    async def run(self) -> None:
        """Make the call, to its end."""
        steps = self.script.steps
        if not isinstance(steps[0], BreakIn):
            await self._heard(len(PHRASES["greeting"].split()), within_s=3.0)
        asked = 0
        for step, following in zip(steps, (*steps[1:], None), strict=True):
            before = len(self.phone.ear.words)
            match step:
                case Say(words=words, after_s=after_s, gap_frames=gap_frames):
                    await trio.sleep(after_s)
                    before = len(self.phone.ear.words)
                    self._say(words, gap_frames)
                case BreakIn(words=words, after_words=after_words, patience_s=patience_s):
                    await self._heard(before + after_words, within_s=patience_s)
                    before = len(self.phone.ear.words)
                    self._say(words)
                case MakeNoise(frames=frames, after_words=after_words, after_s=after_s, draft=draft):
                    await self._heard(asked + after_words, within_s=5.0)
                    await trio.sleep(after_s)
                    before = asked
                    self.phone.make(frames, draft)
                case Press(digit=digit):
                    await trio.sleep(0.5)
                    self.said.append((self.phone.now_s(), (digit,)))
                    self.phone.press(digit)
                case BeSilent():
                    asked_already = self.phone.words()[-1:] == PHRASES["still_there"].split()[-1:]
                    if not asked_already:  # as they may be when an answer was late
                        await self._heard(before + 2, within_s=IDLE_S + 3.0)
                    continue
                case _:
                    assert_never(step)
            while self.phone.speaking:
                await trio.sleep(0.06)
            asked = before
            if following is None and self.script.end is End.AGENT:
                break
            cut = isinstance(step, MakeNoise) and step.frames * FRAME_S >= BARGE_S
            if not cut and not isinstance(following, BreakIn | MakeNoise):
                await self._answered(before)
        if self.script.end in {End.AGENT, End.IDLE}:
            with trio.move_on_after(3 * IDLE_S + 5.0):
                while not self.phone.closed:
                    await trio.sleep(0.2)
        if self.script.end is End.SOCKET:
            self.phone.vanish()
        self.phone.hang_up()

    def _say(self, words: tuple[str, ...], gap_frames: int = 2) -> None:
        self.said.append((self.phone.now_s(), words))
        self.phone.say(words, gap_frames=gap_frames)

    async def _heard(self, count: int, *, within_s: float) -> None:
        """Wait until so many words were heard in all, and those have ended."""
        with trio.move_on_after(within_s):
            while len(self.phone.ear.words) < count:
                await trio.sleep(0.06)

    async def _answered(self, before: int) -> None:
        """Hear the answer out; say something once more if asked to, or if nothing comes. A nod has no answer."""
        asked = before
        asking = next(words for _, words in reversed(self.said) if not is_nod(words))
        with trio.move_on_after(10.0) as late:
            while True:
                await trio.sleep(0.12)
                words = [word.text for word in self.phone.ear.words[asked:]]
                plain = [word.strip(",.") for word in words]
                mine = f"{asking[-1]}o"
                if mine in plain and LAST_WORD in words[plain.index(mine) :] and not self.phone.hearing:
                    return
                if not self.phone.hearing and not self.phone.speaking and _AGAIN & set(words):
                    asked = len(self.phone.ear.words)
                    self.repeated += 1
                    await trio.sleep(0.2)
                    asking = (next(self.vocabulary), next(self.vocabulary))
                    self._say(asking)
        self.in_vain += late.cancelled_caught
