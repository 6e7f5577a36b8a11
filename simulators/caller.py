"""Callers: what somebody on the phone says and does, step by step, in real audio."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import attrs
import trio
from attrs.validators import ge, gt, in_, le, matches_re, min_len, optional

from simulators import noises
from simulators.audio import FRAME_BYTES, FRAME_S, RATE_HZ, SILENCE, Span, sounds
from simulators.line import Hearing
from simulators.noise import LineNoise, NoisePolicy
from simulators.noises import KINDS, at_level
from simulators.wav import read_ulaw

# Someone is still speaking if the last sound is this fresh.
_FRESH_S: Final = 0.1
_KEY_S: Final = 0.25  # from one key to the next


class Voice(Protocol):
    """What turns a caller's words into sound."""

    async def speak(self, text: str) -> bytes:
        """Return ``text`` as 8 kHz mono µ-law."""


PAUSE: Final = " / "
"""Parts the groups of a text that is said with pauses in it."""


@attrs.frozen(kw_only=True)
class Say:
    """Say something. ``cut_after_s`` breaks it off in the middle.

    pause_s: silence at each " / " in the text: a caller who thinks, or reads a number from a card.
    by: "caller", or "other": a second person in the room, with another voice, who is not talking to the agent.
    level_db: of the voice, against its usual one.
    """

    text: str = attrs.field(validator=min_len(1))
    cut_after_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    pause_s: float = attrs.field(default=1.0, validator=gt(0))
    by: str = attrs.field(default="caller", validator=in_(("caller", "other")))
    level_db: float = attrs.field(default=0.0, validator=[ge(-40), le(6)])

    @property
    def groups(self) -> tuple[str, ...]:
        """What is said between two pauses."""
        return tuple(group for each in self.text.split(PAUSE) if (group := each.strip()))

    @property
    def words(self) -> str:
        """All that is said, without the pauses."""
        return " ".join(self.groups)


@attrs.frozen(kw_only=True)
class Backchannel:
    """Say that one is listening, "uh-huh": whoever speaks keeps the floor."""

    text: str = attrs.field(validator=min_len(1))
    level_db: float = attrs.field(default=-3.0, validator=[ge(-40), le(6)])


@attrs.frozen(kw_only=True)
class Noise:
    """Make a noise that is no word.

    kind: one of `simulators.noises.KINDS`. seed: of its samples, so that no two coughs are alike.
    draft: what a recogniser takes it for at first; final: what it takes it for in the end. Both are for simulated ears
        alone: a real one makes up its own mind.
    """

    kind: str = attrs.field(default="cough", validator=in_(KINDS))
    seconds: float = attrs.field(default=0.3, validator=[gt(0), le(10)])
    draft: str = ""
    final: str = ""
    level_db: float = attrs.field(default=0.0, validator=[ge(-40), le(6)])
    seed: int = 0


@attrs.frozen(kw_only=True)
class Play:
    """Play a WAV file into the phone."""

    file: Path
    cut_after_s: float | None = attrs.field(default=None, validator=optional(gt(0)))


@attrs.frozen(kw_only=True)
class Listen:
    """Wait until the agent has said something and is finished.

    silence_s: so much silence says that it is finished. 1.0: longer than any pause between two of its sentences.
    timeout_s: then the caller loses patience and goes on.
    """

    silence_s: float = attrs.field(default=1.0, validator=gt(0))
    timeout_s: float = attrs.field(default=20.0, validator=gt(0))


@attrs.frozen(kw_only=True)
class Interrupt:
    """Wait until the agent has been speaking for a while, and is: the next step comes over its words.

    to_s, every_s: the scenario is played once for each moment from ``after_s`` to ``to_s``, ``every_s`` apart.
    """

    after_s: float = attrs.field(validator=ge(0))
    timeout_s: float = attrs.field(default=20.0, validator=gt(0))
    to_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    every_s: float = attrs.field(default=0.2, validator=gt(0))


@attrs.frozen(kw_only=True)
class Wait:
    """Do nothing. to_s, every_s: as in `Interrupt`."""

    seconds: float = attrs.field(validator=gt(0))
    to_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    every_s: float = attrs.field(default=0.2, validator=gt(0))


@attrs.frozen(kw_only=True)
class Press:
    """Press keys, one after the other, ``gap_s`` apart."""

    digits: str = attrs.field(validator=matches_re(r"[0-9*#A-D]+"))
    gap_s: float = attrs.field(default=_KEY_S, validator=gt(0))


@attrs.frozen(kw_only=True)
class HangUp:
    """Put the phone down. The end of the steps does the same."""


@attrs.frozen(kw_only=True)
class AwaitHangUp:
    """Wait until the other side hangs up."""

    timeout_s: float = attrs.field(default=30.0, validator=gt(0))


Sound: TypeAlias = Say | Backchannel | Noise | Play
Step: TypeAlias = Sound | Listen | Interrupt | Wait | Press | HangUp | AwaitHangUp


@attrs.frozen(kw_only=True)
class CallerScript:
    """A caller: who calls whom, over what line, to do what."""

    steps: tuple[Step, ...] = attrs.field(validator=min_len(1))
    caller_number: str = "+15550100001"
    dialled_number: str = "+15550100002"
    noise: NoisePolicy | None = None


def conversation(turns: tuple[Say | Play, ...], *, barge_in_at_s: float | None = None) -> tuple[Step, ...]:
    """The steps of a polite caller: hear the agent out before each turn, and after the last let it hang up.

    barge_in_at_s: the last turn does not wait for the agent's end, it comes so long after the agent's beginning.
    """
    steps: list[Step] = []
    for turn in turns:
        interrupts = barge_in_at_s is not None and turn is turns[-1]
        steps += [Interrupt(after_s=barge_in_at_s) if interrupts and barge_in_at_s is not None else Listen(), turn]
    return (*steps, Listen(), AwaitHangUp(timeout_s=3.0))


@attrs.frozen(kw_only=True)
class Utterance:
    """Words ready to be said; ``speech`` is where in the audio they are, from the first to the last loud sample.

    step: what they are said for.
    """

    text: str
    audio: bytes = attrs.field(repr=lambda audio: f"<{len(audio)} bytes>")
    speech: Span
    step: Sound | None = None


class Phone(Protocol):
    """What a caller holds in the hand during a call."""

    @property
    def hearing(self) -> Hearing:
        """What is heard of the agent."""

    def now(self) -> int:
        """The present sample of the call's timeline."""

    async def tick(self) -> None:
        """Wait until there is more to be heard, 20 ms."""

    async def speak(self, utterance: Utterance) -> None:
        """Say it, in as much time as it takes."""

    def press(self, digit: str) -> None:
        """Press a key."""

    def gave_up(self, waited_for: str) -> None:
        """Note that something was waited for in vain."""


@attrs.frozen(kw_only=True)
class PreparedCaller:
    """A caller whose words are ready: nothing needs to be computed once the call is on."""

    steps: tuple[Step, ...]
    utterances: Mapping[Sound, Utterance]
    noise: LineNoise | None

    async def run(self, phone: Phone) -> None:
        """Go through the steps; returning is hanging up."""
        for step in self.steps:
            match step:
                case Say() | Backchannel() | Noise() | Play():
                    await phone.speak(self.utterances[step])
                case Listen():
                    await _listen(phone, step)
                case Interrupt():
                    await _interrupt(phone, step)
                case Wait(seconds=seconds):
                    await trio.sleep(seconds)
                case Press(digits=digits, gap_s=gap_s):
                    for digit in digits:
                        phone.press(digit)
                        await trio.sleep(gap_s)
                case AwaitHangUp(timeout_s=timeout_s):
                    await trio.sleep(timeout_s)
                    phone.gave_up("the agent to hang up")
                case HangUp():
                    return


def noise_of(step: Noise) -> bytes:
    """Return a noise as a real ear hears it."""
    return noises.sound(step.kind, step.seconds, step.seed)


async def prepare(
    script: CallerScript,
    voice: Voice,
    *,
    noise: Callable[[Noise], bytes] = noise_of,
    other: Voice | None = None,
    level: Callable[[bytes, float], bytes] = at_level,
) -> PreparedCaller:
    """Render all that the caller is going to say. Raises ConfigError for a file that cannot be played.

    noise: what a noise sounds like. other: the voice of a second person; None: the caller's own.
    level: makes audio louder or softer, by so many dB.
    """
    utterances: dict[Sound, Utterance] = {}
    for step in script.steps:
        if step in utterances:
            continue
        match step:
            case Say():
                speaker = other or voice if step.by == "other" else voice
                pause = SILENCE * (round(step.pause_s / FRAME_S) * FRAME_BYTES)
                audio = pause.join([await speaker.speak(group) for group in step.groups])
                utterances[step] = _utterance(step, step.words, level(audio, step.level_db), step.cut_after_s)
            case Backchannel():
                audio = level(await voice.speak(step.text), step.level_db)
                utterances[step] = _utterance(step, step.text, audio)
            case Noise():
                utterances[step] = _utterance(step, f"[{step.kind}]", level(noise(step), step.level_db))
            case Play():
                utterances[step] = _utterance(step, step.file.name, read_ulaw(step.file), step.cut_after_s)
            case _:
                pass
    speech = [utterance.audio for utterance in utterances.values()]
    line_noise = None if script.noise is None else LineNoise.against(speech, script.noise)
    return PreparedCaller(steps=script.steps, utterances=utterances, noise=line_noise)


def _utterance(step: Sound, text: str, audio: bytes, cut_after_s: float | None = None) -> Utterance:
    audio = audio if cut_after_s is None else audio[: math.ceil(cut_after_s * RATE_HZ)]
    spans = sounds(audio, gap_s=math.inf)
    return Utterance(text=text, audio=audio, speech=spans[0] if spans else Span(0, len(audio)), step=step)


async def _listen(phone: Phone, step: Listen) -> None:
    since = phone.now()
    with trio.move_on_after(step.timeout_s):
        while True:
            await phone.tick()
            last = phone.hearing.last
            if last is not None and last > since and phone.now() - last >= step.silence_s * RATE_HZ:
                return
    phone.gave_up("the agent to speak and to finish")


async def _interrupt(phone: Phone, step: Interrupt) -> None:
    with trio.move_on_after(step.timeout_s):
        while True:
            await phone.tick()
            now, onset, last = phone.now(), phone.hearing.onset, phone.hearing.last
            if onset is None or last is None:
                continue
            if now - onset >= step.after_s * RATE_HZ and now - last < _FRESH_S * RATE_HZ:
                return
    phone.gave_up("the agent to speak")
