"""Whose floor it is: hundreds of sounds over the agent, and which of them silenced it for good.

A backchannel, a cough or a door is to leave the agent the floor, though it may make it pause; words that want something
are to take it. What is counted is what the engine has on record: whether the turn that was heard when the sound began
was interrupted, and whether that sound was the last thing before its end.
"""

import math
import random
import statistics
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from engine.messages.conversation import CallerSaid
from engine.messages.errors import ConfigError
from simulators.caller import Backchannel, HangUp, Interrupt, Listen, Noise, Say, Step, Wait
from simulators.scenario import Business, Reply, Scenario
from simulators.talk.account import Account, Made, merged

NAME: Final = "floor"
KEPT_SHARE: Final = 0.95
TAKEN_SHARE: Final = 0.98
"""What is good enough: of the sounds that leave the floor, and of the words that take it."""

A_CALL: Final = 12
"""Sounds in one call: two minutes of it."""

LONG: Final = Reply(
    text=(
        "We have several openings in the next weeks. The first one is on Thursday morning at ten, the second one is on "
        "Friday afternoon at three, and if you would rather come early, there is one on Monday at eight as well. "
        "All of them are with the same dentist, and each takes about half an hour, so you would be back at work before "
        "long. Please bring your insurance card with you, and come five minutes early if you can."
    )
)
_GREETING: Final = "Hello, this is Bright Smile Dental."
_ASKS: Final = (
    "What do you have in the next weeks?",
    "Could you tell me your openings, please?",
    "When could I come in for a cleaning?",
    "Which times are free this month?",
)
_NOISES: Final = (
    ("cough", 0.22, 0.9),
    ("throat", 0.3, 0.8),
    ("sneeze", 0.4, 0.7),
    ("laugh", 0.5, 1.0),
    ("door", 0.2, 0.5),
)
_PAUSE_S: Final = 0.3


@attrs.frozen(kw_only=True)
class Phrases:
    """What is said and heard over the agent. noises: what a recogniser drafts of each; "" is nothing."""

    backchannels: tuple[str, ...]
    noises: tuple[str, ...]
    interruptions: tuple[str, ...]


def read_phrases(path: Path) -> Phrases:
    """Return the phrases of a file. Raises ConfigError for one that cannot be read."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return Phrases(**{name: tuple(map(str, table[name])) for name in ("backchannels", "noises", "interruptions")})
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise ConfigError(f"{path}: no phrases in it: {error}") from error


def calls(phrases: Phrases, *, seed: int, leave: int, take: int) -> Iterator[Scenario]:
    """Yield calls with so many sounds in all that are to leave the agent the floor, and words that are to take it.

    Half of the first are backchannels, half noises; each phrase comes before any comes again.
    """
    dice = random.Random(seed)  # noqa: S311 - a simulation's
    sounds: list[Step] = []
    words = _drawn(phrases.backchannels, leave - leave // 2, dice)
    drafts = _drawn(phrases.noises, leave // 2, dice)
    sounds += [Backchannel(text=text) for text in words]
    for draft in drafts:
        kind, least_s, most_s = dice.choice(_NOISES)
        noise = Noise(
            kind=kind, seconds=round(dice.uniform(least_s, most_s), 2), draft=draft, seed=dice.randrange(10**6)
        )
        sounds.append(noise)
    dice.shuffle(sounds)
    for at in range(0, len(sounds), A_CALL):
        yield _call(_leaving(sounds[at : at + A_CALL], dice))
    texts = _drawn(phrases.interruptions, take, dice)
    for at in range(0, len(texts), A_CALL):
        yield _call(_taking(texts[at : at + A_CALL], dice))


def _drawn(texts: Sequence[str], count: int, dice: random.Random) -> list[str]:
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += dice.sample(texts, len(texts))
    return drawn[:count]


def _call(steps: list[Step]) -> Scenario:
    return Scenario(
        steps=(Listen(silence_s=0.6), *steps, HangUp()), agent=(LONG,), business=Business(greeting=_GREETING)
    )


def _leaving(sounds: Sequence[Step], dice: random.Random) -> list[Step]:
    """Four sounds to each answer, which is heard to its end."""
    steps: list[Step] = []
    for count, sound in enumerate(sounds):
        if count % 4 == 0:
            steps += [Listen(silence_s=0.8, timeout_s=25.0)] if count else []
            steps.append(Say(text=dice.choice(_ASKS)))
        else:
            steps.append(Wait(seconds=1.0))
        steps += [Interrupt(after_s=round(dice.uniform(0.3, 2.0), 2), timeout_s=5.0), sound]
    return [*steps, Listen(silence_s=0.8, timeout_s=25.0)]


def _taking(texts: Sequence[str], dice: random.Random) -> list[Step]:
    """Each interruption is answered, and the answer interrupted."""
    steps: list[Step] = [Say(text=dice.choice(_ASKS))]
    for text in texts:
        steps += [Interrupt(after_s=round(dice.uniform(0.3, 3.0), 2), timeout_s=8.0), Say(text=text), Wait(seconds=0.8)]
    return [*steps, Wait(seconds=2.0)]


@attrs.frozen(kw_only=True)
class Sounded:
    """What one sound over the agent did.

    took: the agent was cut by it. silent_s: from its beginning to the agent's silence, if it fell silent soon.
    resumed_s: from its end until the agent went on, if it had fallen silent and did.
    got: what the model was given next: how the recogniser took it, if it was taken for words.
    """

    text: str
    wants_floor: bool
    took: bool
    silent_s: float | None
    resumed_s: float | None
    got: str = ""

    def __str__(self) -> str:
        return f"{self.text} → {self.got}" if self.got else self.text


def outcomes(account: Account) -> Iterator[Sounded]:
    """Yield what each sound over the agent did."""
    speech = merged(account.agent, _PAUSE_S)
    for made in account.made:
        if not isinstance(made.step, Say | Backchannel | Noise) or made.text in _ASKS:
            continue
        heard = next((each for each in speech if each.start_s < made.start_s < each.end_s), None)
        turn = next((each for each in reversed(account.spoke) if each.start_s <= made.start_s), None)
        if heard is None or turn is None or turn.turn == 0:
            continue
        last = _last_over(account, turn.start_s, turn.end_s) is made
        silent_s = heard.end_s - made.start_s if heard.end_s < made.end_s + 1.0 else None
        following = next((each.start_s for each in speech if each.start_s > heard.end_s), math.inf)
        took = turn.interrupted and last
        resumed = silent_s is not None and not took and following < turn.end_s
        yield Sounded(
            text=made.text,
            wants_floor=made.takes_floor,
            took=took,
            silent_s=None if silent_s is None else round(silent_s, 3),
            resumed_s=round(following - made.end_s, 3) if resumed else None,
            got=_got_after(account, turn.turn),
        )


def _got_after(account: Account, turn: int) -> str:
    said = (each for each in account.conversation if isinstance(each, CallerSaid) and each.turn > turn)
    return next((each.text for each in said), "")


def _last_over(account: Account, start_s: float, end_s: float) -> Made | None:
    return next((each for each in reversed(account.made) if start_s <= each.start_s <= end_s), None)


@attrs.define
class Tally:
    """What all of them did. others: see `Machine.used_by_others`; None where time is virtual."""

    sounds: list[Sounded] = attrs.field(factory=list)
    others: float | None = None

    def add(self, account: Account) -> None:
        """Count a call."""
        self.sounds += outcomes(account)

    def figures(self) -> dict[str, Any]:
        """Return the figures, shares from 0 to 1."""
        leave = [each for each in self.sounds if not each.wants_floor]
        take = [each for each in self.sounds if each.wants_floor]
        noises = [each for each in leave if each.text.startswith("[")]
        words = [each for each in leave if not each.text.startswith("[")]
        silences = [each.silent_s for each in take if each.silent_s is not None and each.took]
        pauses = [each.resumed_s for each in leave if each.resumed_s is not None]
        return {
            "leave": len(leave),
            "leave_kept": _share(not each.took for each in leave),
            "backchannels": len(words),
            "backchannels_kept": _share(not each.took for each in words),
            "noises": len(noises),
            "noises_kept": _share(not each.took for each in noises),
            "take": len(take),
            "take_took": _share(each.took for each in take),
            "silent_p50_s": quantile(silences, 0.5),
            "silent_p95_s": quantile(silences, 0.95),
            "paused": _share(each.silent_s is not None for each in leave),
            "resumed_p50_s": quantile(pauses, 0.5),
            "resumed_p95_s": quantile(pauses, 0.95),
            "others": self.others,
            "wrongly_cut_by": [str(each) for each in leave if each.took],
            "talked_through": [str(each) for each in take if not each.took],
        }


def _share(values: Iterator[bool]) -> float | None:
    found = list(values)
    return round(sum(found) / len(found), 4) if found else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of them lie; None of none."""
    if not values:
        return None
    if len(values) == 1:
        return round(values[0], 3)
    return round(statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1], 3)
