"""What becomes of words at a reconnect: doubled, lost or garbled, in thousands of them through the real STT core.

`python -m benchmarks.reconnect` prints a table, and keeps it in benchmarks/results/reconnect.md and .json. It takes
five minutes.

A caller speaks without a breath; a recogniser has made some of the words final, up to the end of one of them as it sees
it, and dies a little later, anywhere. Another one is sent what the core asks for, and what comes after. Each connection
has its own idea of where words begin and end: by up to 60 ms, for each edge anew or for all of them alike. A word of
whose sound a part is missing comes out garbled. The texts are the words' own ("texts"), of which one in fifteen is
heard as another by the second connection (in one row, also one in fifteen of those heard again is left out, and one in
fifteen is heard as two); or all words are the same one ("times"), so that nothing but their times
tells them apart: nobody speaks so, but it is what the rule is worth by itself.
"""

# ruff: noqa: S311, T201 - a simulation draws its own numbers, and prints what it found

import json
import math
import platform
import random
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from engine.actors.stt import STT
from engine.messages.caller import CallerAudio
from engine.messages.recognition import Recognise, Recognised, Transcript, Word
from engine.messages.supervision import SessionInfo

RESULTS: Final = Path(__file__).parent / "results"
FRAME_S: Final = 0.02
SHIFT_S: Final = 0.06
# A recogniser does not hear a shorter piece of a word.
PIECE_S: Final = 0.02
GARBLED: Final = "<garbled>"
# Of each way of shifting and of telling apart: 8000 for a way of speaking, with each seed.
ROUNDS: Final = 2000
SEEDS: Final = (1, 2)

Rule: TypeAlias = "Callable[[Trial], list[str]]"


@attrs.frozen(kw_only=True)
class Speech:
    """How a caller speaks: words and gaps of so many seconds; a pause after every so many words, if any.

    careless: of the words that are heard again some are left out, and some are heard as two.
    """

    name: str
    word_s: tuple[float, float]
    gap_s: tuple[float, float]
    least_s: float = 0.0
    phrase: tuple[int, int] | None = None
    careless: bool = False


SPEECHES: Final = (
    Speech(name="fast speech: words of 80 to 450 ms, gaps of 0 to 120 ms", word_s=(0.08, 0.45), gap_s=(0.0, 0.12)),
    Speech(name="words under 180 ms, gaps of 0 to 120 ms", word_s=(0.08, 0.18), gap_s=(0.0, 0.12)),
    Speech(
        name="the same as fast speech, a pause of 0.3 to 0.8 s after each 3 to 8 words",
        word_s=(0.08, 0.45),
        gap_s=(0.0, 0.12),
        phrase=(3, 8),
    ),
    Speech(
        name="fast speech, of which 1 word in 15 is left out when it is heard again, and 1 in 15 is made two",
        word_s=(0.08, 0.45),
        gap_s=(0.0, 0.12),
        careless=True,
    ),
    Speech(name="conversation: word and gap exceed 240 ms", word_s=(0.12, 0.45), gap_s=(0.0, 0.25), least_s=0.2401),
)


@attrs.frozen(kw_only=True)
class Trial:
    """One reconnect. words: as they lie in the audio. first, second: how two connections hear them.

    final: so many words of the first connection's are final, up to `covered_s`. dies_s: where it dies.
    pieces: so many words are in each final of the second.
    """

    words: tuple[Word, ...]
    first: tuple[Word, ...]
    second: tuple[tuple[Word, ...], ...]
    final: int
    covered_s: float
    dies_s: float
    pieces: tuple[int, ...]

    @property
    def end_s(self) -> float:
        """Where the audio ends."""
        return self.words[-1].end_s + 0.4

    def heard(self, begins_s: float) -> list[Word]:
        """Return what the second connection hears of audio that begins there."""
        heard = []
        for word, shifted in zip(self.words, self.second, strict=True):
            if word.start_s >= begins_s - 1e-9:
                heard += [attrs.evolve(each, start_s=max(each.start_s, begins_s)) for each in shifted]
            elif word.end_s > begins_s + PIECE_S and shifted:
                end_s = max(shifted[-1].end_s, begins_s + 0.01)
                heard.append(Word(text=GARBLED, start_s=begins_s, end_s=end_s))
        return heard


def drawn(dice: random.Random, speech: Speech, *, together: bool, texts: bool) -> Trial:
    """Return a reconnect in such speech. together: all edges of a connection shift alike."""
    words, at_s, left = [], 1.0, 0
    for number in range(24):
        if speech.phrase is not None:
            left = left or dice.randint(*speech.phrase)
        while True:
            word_s, gap_s = dice.uniform(*speech.word_s), dice.uniform(*speech.gap_s)
            if word_s + gap_s >= speech.least_s:
                break
        words.append(Word(text=f"w{number}" if texts else "w", start_s=at_s, end_s=at_s + word_s))
        left -= 1
        at_s += word_s + (dice.uniform(0.3, 0.8) if speech.phrase is not None and not left else gap_s)
    first, second = (_shifted(dice, words, together=together) for _ in range(2))
    if texts:
        second = [
            attrs.evolve(each, text=f"{each.text}?{dice.random()}" if dice.random() < 1 / 15 else each.text)
            for each in second
        ]
    final = dice.randint(3, 18)
    heard: list[tuple[Word, ...]] = [(each,) for each in second]
    if speech.careless:
        heard[:final] = [_careless(dice, each) for each in second[:final]]
    # The end of the last word, to the next one's beginning, by its own idea.
    covered_s = dice.uniform(first[final - 1].end_s, max(first[final - 1].end_s, first[final].start_s))
    pieces: list[int] = []
    while sum(pieces) < 2 * len(words):
        pieces.append(dice.randint(1, 9))
    return Trial(
        words=tuple(words),
        first=tuple(first),
        second=tuple(heard),
        final=final,
        covered_s=covered_s,
        dies_s=covered_s + dice.uniform(0.0, 3.0),
        pieces=tuple(pieces),
    )


def _careless(dice: random.Random, word: Word) -> tuple[Word, ...]:
    """Return a word as it may be heard again: not at all, or as two."""
    chance = dice.random()
    if chance < 1 / 15:
        return ()
    if chance > 14 / 15:
        middle_s = (word.start_s + word.end_s) / 2
        first, second = (word.text[:1], word.text[1:]) if len(word.text) > 1 else (word.text, word.text)
        return attrs.evolve(word, text=first, end_s=middle_s), attrs.evolve(word, text=second, start_s=middle_s)
    return (word,)


def _shifted(dice: random.Random, words: Sequence[Word], *, together: bool) -> list[Word]:
    """Return the words as a connection hears them: in order, and none shorter than 20 ms."""
    shift_s = dice.uniform(-SHIFT_S, SHIFT_S)
    heard: list[Word] = []
    for word in words:
        start_s, end_s = (
            edge + (shift_s if together else dice.uniform(-SHIFT_S, SHIFT_S)) for edge in (word.start_s, word.end_s)
        )
        start_s = max(start_s, heard[-1].start_s + 0.02) if heard else start_s
        heard.append(Word(text=word.text, start_s=start_s, end_s=max(end_s, start_s + 0.02)))
    return heard


# ── rules ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def midpoint(trial: Trial) -> list[str]:
    """Return what reaches the agent when audio begins at what is covered, and a word is old if its middle is."""
    begins_s = math.floor(trial.covered_s / FRAME_S) * FRAME_S
    again = trial.heard(begins_s)
    new = [word.text for word in again if (word.start_s + word.end_s) / 2 > trial.covered_s]
    return [word.text for word in trial.first[: trial.final]] + new


def engine(trial: Trial) -> list[str]:
    """Return what reaches the agent by the engine's own core."""
    # What lies further back is not kept; what comes later changes nothing.
    frames = range(max(0, int((trial.covered_s - 2.5) / FRAME_S)), max(1, round(trial.dies_s / FRAME_S)))
    core = STT()
    for frame in _frames(trial, frames):
        core, _ = core.handle(frame, 0.0)
    core, told = core.handle(_final(trial.first[: trial.final], trial.covered_s), 0.0)
    core, asks = core.started(SessionInfo(vendor="simulated", incarnation=2, aligned=True), 0.0)
    begins_s = min((ask.start_s for ask in asks if isinstance(ask, Recognise)), default=trial.dies_s)
    left = trial.heard(begins_s)
    covered_s = begins_s
    for count in trial.pieces:
        piece, left = left[:count], left[count:]
        core, _ = core.handle(attrs.evolve(_final(piece, 0.0), is_final=False), 0.0)  # which decides nothing
        covered_s = piece[-1].end_s if left and piece else trial.end_s
        core, more = core.handle(_final(piece, covered_s), 0.0)
        told += more
    return " ".join(each.text for each in told if isinstance(each, Transcript)).split()


def _frames(trial: Trial, numbers: range) -> Iterator[CallerAudio]:
    """Return frames of the audio, without a sample in them: the core never looks."""
    ends = [word.end_s for word in trial.words]
    for number in numbers:
        start_s = round(number * FRAME_S, 3)
        end_s = round(start_s + FRAME_S, 3)
        at = bisect_right(ends, start_s)
        voiced = at < len(ends) and trial.words[at].start_s < end_s
        yield CallerAudio(start_s=start_s, end_s=end_s, audio=b"", voiced=voiced)


def _final(words: Sequence[Word], covered_s: float) -> Recognised:
    return Recognised(
        text=" ".join(word.text for word in words),
        words=tuple(words),
        start_s=words[0].start_s if words else covered_s,
        end_s=words[-1].end_s if words else covered_s,
        is_final=True,
        speech_final=False,
        covered_s=covered_s,
    )


RULES: Final[dict[str, Rule]] = {"midpoint, no audio again": midpoint, "the engine: alignment": engine}

# ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(kw_only=True)
class Tally:
    """Reconnects in which a word was doubled, lost or came out garbled; `wrong`: any of these."""

    rounds: int = 0
    doubled: int = 0
    lost: int = 0
    garbled: int = 0
    wrong: int = 0

    def judge(self, trial: Trial, said: list[str]) -> None:
        """Count one, by how many words reached the agent: the first connection's are known, and so is what is new."""
        garbled = said.count(GARBLED)
        more = len(said) - len(trial.words)
        self.rounds += 1
        self.doubled += more > 0
        self.lost += more < 0
        self.garbled += garbled > 0
        self.wrong += more != 0 or garbled > 0

    def percent(self) -> dict[str, float]:
        """Return the parts of a hundred."""
        names = ("doubled", "lost", "garbled", "wrong")
        return {name: round(100 * getattr(self, name) / self.rounds, 3) for name in names}


def measured(
    rounds: int, seed: int, rules: dict[str, Rule], speeches: Sequence[Speech] = SPEECHES
) -> list[dict[str, object]]:
    """Return a row for each way of speaking, of shifting and of telling words apart, and each rule."""
    rows: list[dict[str, object]] = []
    for speech in speeches:
        for together in (False, True):
            for texts in (True,) if speech.careless else (True, False):
                dice = random.Random(f"{seed} {speech.name} {together} {texts}")
                tallies = {name: Tally() for name in rules}
                for _ in range(rounds):
                    trial = drawn(dice, speech, together=together, texts=texts)
                    for name, rule in rules.items():
                        tallies[name].judge(trial, rule(trial))
                rows += [
                    {
                        "speech": speech.name,
                        "edges shift": "together" if together else "one by one",
                        "told apart by": "texts" if texts else "times",
                        "rule": name,
                        "seed": seed,
                        "reconnects": rounds,
                        **tally.percent(),
                    }
                    for name, tally in tallies.items()
                ]
    return rows


def table(rows: Sequence[dict[str, object]], seconds: float) -> str:
    """Return the rows as a page."""
    lines = [
        "# Words at a reconnect",
        "",
        f"{rows[0]['reconnects']} reconnects a row and seed, through the real STT core; % of them that double, lose or",
        "garble a word. How it is done: `benchmarks/reconnect.py`.",
        f"Python {platform.python_version()}, {seconds:.0f} s in all.",
        "",
        "| speech | edges shift | told apart by | rule | seed | doubled | lost | garbled | any |",
        "|---|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(str(row[name]) for name in COLUMNS) + " |" for row in rows),
        "",
    ]
    return "\n".join(lines)


COLUMNS: Final = ("speech", "edges shift", "told apart by", "rule", "seed", "doubled", "lost", "garbled", "wrong")


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    begun = time.perf_counter()
    run = [row for seed in SEEDS for row in measured(asked, seed, RULES)]
    page = table(run, time.perf_counter() - begun)
    print(page)
    if asked == ROUNDS:
        (RESULTS / "reconnect.md").write_text(page)
        (RESULTS / "reconnect.json").write_text(json.dumps(run, indent=1) + "\n")
