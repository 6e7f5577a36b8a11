"""How long callers wait for an answer, and how often they are answered too soon: by silence alone, and by grammar.

`python -m benchmarks.endpointing` plays labelled utterances through the real TurnDetector, by a clock of its own, and
keeps what came of it in benchmarks/results/endpointing.json and .md. It takes four minutes.

An utterance is groups of words with pauses of known lengths between them. What the line's detector and the recogniser
tell of it, and when, is drawn: words take as long as their letters and digits; SpeechStarted 60 ms and SpeechStopped
200 ms after the fact, as `SpeechPolicy` has it; drafts for each second of audio; a final where so much silence is as
the recogniser was asked to wait for, or after 4.5 s of speech; each 150 to 300 ms after its audio, as Deepgram's were
measured to come (of what it makes of the words nothing is modelled: they are the label's own).

*Too soon* is an utterance of which any turn ended before its last group began. The *answer time* is from the end of the
last sound to the end of the last turn: the model's and the voice's time come on top. Three ways to end a turn:

- plain: after so much silence, whatever was said; in the same machine, with the same transcripts, by a grammar that
  knows nothing. It is at least as good as any endpointing by silence: the words are final by then.
- the recogniser's: at its `speech_final`, after so much silence; its own delay comes on top.
- ours: by what the words look like. Its three waits are scaled together, from a fifth to two and a half times.

Compared at equal rates of answers too soon: for each silence of the plain one, ours by the least scale that is not
worse, and what the median caller is answered sooner by. The waits were chosen on the seen half, which the grammar was
written with; the held-out half was written by somebody who had not seen the grammar.

Eager generation: a request at each `TurnExpected`, which counts as used if the turn ends with its number and words; the
model's first token after 0.4 to 1.2 s, most often 0.5.
"""

# ruff: noqa: S311, T201 - a simulation draws its own numbers, and prints what it found

import functools
import heapq
import itertools
import json
import platform
import random
import re
import statistics
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.figures import percentile
from engine.actors.turn_detector import TurnDetector, TurnPolicy
from engine.actors.twilio_io import SpeechPolicy
from engine.codec.grammar import ENGLISH, Claim, Ending, Grammar
from engine.messages.caller import SpeechStarted, SpeechStopped
from engine.messages.recognition import Transcript
from engine.messages.supervision import Tick
from engine.messages.turns import TurnEnded, TurnExpected

RESULTS: Final = Path(__file__).parent / "results"
TURNS: Final = Path(__file__).parents[1] / "tests" / "turns"
SEEDS: Final = (1, 2)
# Each utterance is played so often with each seed: the recogniser's delay is another one each time.
ROUNDS: Final = 3

# Silence after which the recogniser makes words final: a short one, since the grammar waits, and the usual one.
ENDPOINTINGS_MS: Final = (100, 300)
# Chosen on the seen half.
CHOSEN: Final = TurnPolicy(complete_s=0.5, incomplete_s=1.5, dictating_s=1.8)

SILENCES_MS: Final = tuple(range(100, 1001, 100))
SCALES: Final = tuple(round(0.2 + 0.1 * step, 1) for step in range(24))
# A grammar that knows nothing: of no language, and punctuation is not told.
BLIND: Final = Grammar(language="")

LETTER_S: Final = 0.065
DIGIT_S: Final = 0.28
DRAFT_S: Final = 1.0
WINDOW_S: Final = 4.5
LATE_S: Final = (0.15, 0.30)
TOKEN_S: Final = (0.4, 1.2, 0.5)
# After the last sound everything has been told by then.
AFTER_S: Final = 8.0


@attrs.frozen(kw_only=True)
class Utterance:
    """What a caller says: groups of words, the seconds of silence between them, and what kind of thing it is."""

    kind: str
    groups: tuple[str, ...]
    pauses: tuple[float, ...]


@attrs.frozen(kw_only=True)
class Said:
    """A word, when it ended, and after it how much silence there is."""

    text: str
    start_s: float
    end_s: float


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of one playing of an utterance.

    too_soon: a turn ended before the last group began. answered_s: from the last sound to the last turn's end; None
        where that turn ended before. used, wasted, missing: requests that were begun before the end and were of use, or
        were not, and turns that had none. saved_s: what the first token of the last turn came sooner by.
    """

    too_soon: bool
    answered_s: float | None
    used: int
    wasted: int
    missing: int
    saved_s: float


def utterances(path: Path) -> list[Utterance]:
    """Return the labelled utterances of a file."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    return [
        Utterance(kind=each.get("kind", ""), groups=tuple(each["groups"]), pauses=tuple(each["pauses"]))
        for each in table["utterance"]
    ]


def spoken(utterance: Utterance, dice: random.Random) -> list[list[Said]]:
    """Return the words of an utterance by group, each with its time."""
    groups = list[list[Said]]()
    at_s = 1.0
    for group, pause_s in zip(utterance.groups, (*utterance.pauses, 0.0), strict=True):
        words = list[Said]()
        for word in group.split():
            digits = sum(letter.isdecimal() for letter in word)
            lasts_s = (0.08 + LETTER_S * (len(word) - digits) + DIGIT_S * digits) * dice.uniform(0.85, 1.15)
            words.append(Said(text=word, start_s=at_s, end_s=at_s + lasts_s))
            at_s += lasts_s
        groups.append(words)
        at_s += pause_s
    return groups


def told(groups: Sequence[Sequence[Said]], endpointing_s: float, dice: random.Random) -> list[tuple[float, object]]:
    """Return what TurnDetector is told of spoken words, and when; `endpointing_s` of silence make them final."""
    vad = SpeechPolicy()
    heard = list[tuple[float, object]]()
    sounds = [(group[0].start_s, group[-1].end_s) for group in groups if group]
    for (start_s, end_s), (next_s, _) in zip(sounds, [*sounds[1:], (sounds[-1][1] + AFTER_S, 0.0)], strict=True):
        heard.append((start_s + vad.start_s, SpeechStarted(at_s=start_s)))
        if next_s - end_s >= vad.stop_s:
            heard.append((end_s + vad.stop_s, SpeechStopped(at_s=end_s)))
    heard += _late(_transcripts([word for group in groups for word in group], endpointing_s), dice)
    return sorted(heard, key=lambda each: each[0])


def _late(heard: Iterable[tuple[float, Transcript]], dice: random.Random) -> Iterator[tuple[float, Transcript]]:
    """Yield transcripts as late as they come, in order."""
    last = 0.0
    for at_s, transcript in heard:
        last = max(last, at_s + dice.uniform(*LATE_S))
        yield last, transcript


def _transcripts(words: Sequence[Said], endpointing_s: float) -> Iterator[tuple[float, Transcript]]:
    """Yield what a recogniser makes of words, with the moment of the audio that it is due at."""
    window: list[Said] = []
    window_s = words[0].start_s
    draft_s = window_s + DRAFT_S
    for word, after in itertools.zip_longest(words, words[1:]):
        window.append(word)
        until_s = after.start_s if after else word.end_s + AFTER_S
        final_s = word.end_s + endpointing_s
        while draft_s < min(word.end_s, final_s):
            known = [each for each in window if each.end_s <= draft_s]
            yield draft_s, _transcript(known, window_s, draft_s, is_final=False)
            draft_s += DRAFT_S
        if until_s >= final_s:
            yield final_s, _transcript(window, window_s, final_s, is_final=True, finished=True)
            window, window_s = [], final_s
            while (draft_s := window_s + DRAFT_S) < until_s:
                yield draft_s, _transcript([], window_s, draft_s, is_final=True)
                window_s = draft_s
        elif word.end_s - window_s > WINDOW_S:
            yield word.end_s, _transcript(window, window_s, word.end_s, is_final=True)
            window, window_s = [], word.end_s
            draft_s = window_s + DRAFT_S


def _transcript(
    words: Sequence[Said], start_s: float, end_s: float, *, is_final: bool, finished: bool = False
) -> Transcript:
    return Transcript(
        text=" ".join(word.text for word in words),
        start_s=start_s,
        end_s=end_s,
        is_final=is_final,
        speech_final=finished,
        covered_s=end_s if is_final else start_s,
    )


def played(core: TurnDetector, heard: Iterable[tuple[float, object]]) -> list[tuple[float, object]]:
    """Return what the core sends, and when, if it is told this."""
    sent = list[tuple[float, object]]()
    queue = [(at, place, message) for place, (at, message) in enumerate(heard)]
    heapq.heapify(queue)
    over_at = max(at for at, _, _ in queue) + AFTER_S
    while queue or core.deadline < over_at:
        if queue and queue[0][0] <= core.deadline:
            now, _, message = heapq.heappop(queue)
        else:
            now, message = core.deadline, Tick()
        core, effects = core.handle(message, now)  # type: ignore[arg-type]  # all of them are of its inbox
        sent += [(now, effect) for effect in effects]
    return sent


@functools.cache
def drawn(
    utterance: Utterance, endpointing_s: float, seed: str
) -> tuple[list[tuple[float, object]], float, float, float]:
    """Return what is told of an utterance, when its last group begins and ends, and the model's first token's delay."""
    dice = random.Random(seed)
    groups = spoken(utterance, dice)
    token_s = dice.triangular(*TOKEN_S)
    heard = told(groups, endpointing_s, dice)
    return heard, groups[-1][0].start_s, groups[-1][-1].end_s, token_s


def outcome(policy: TurnPolicy, utterance: Utterance, endpointing_s: float, seed: str) -> Outcome:
    """Play an utterance once, and judge what came of it."""
    heard, last_s, end_s, token_s = drawn(utterance, endpointing_s, seed)
    sent = played(TurnDetector(policy=policy), heard)
    ended = [(at, message) for at, message in sent if isinstance(message, TurnEnded)]
    expected = [(at, message) for at, message in sent if isinstance(message, TurnExpected)]
    used = missing = 0
    saved_s = 0.0
    for at, turn in ended:
        begun_at = max((begun for begun, each in expected if each.turn == turn.turn and begun <= at), default=None)
        before = [each for begun, each in expected if begun == begun_at]
        if begun_at is not None and before and _plain(before[-1].text) == _plain(turn.text):
            used += 1
            saved_s = min(token_s, at - begun_at)
        else:
            missing += 1
            saved_s = 0.0
    return Outcome(
        too_soon=any(at < last_s for at, _ in ended),
        answered_s=next((at - end_s for at, _ in reversed(ended) if at >= end_s), None),
        used=used,
        wasted=len(expected) - used,
        missing=missing,
        saved_s=saved_s,
    )


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def outcomes(policy: TurnPolicy, of: Sequence[Utterance], endpointing_s: float, seed: int) -> list[Outcome]:
    """Return the outcomes of all utterances, each played several times; the same dice for every policy."""
    return [
        outcome(policy, utterance, endpointing_s, f"{seed} {number} {place}")
        for number in range(ROUNDS)
        for place, utterance in enumerate(of)
    ]


@attrs.frozen(kw_only=True)
class Point:
    """A point of a curve: share of utterances answered too soon, in percent, and answer times in ms."""

    setting: float
    too_soon_percent: float
    p50_ms: float
    p95_ms: float


def point(setting: float, found: Sequence[Outcome], *, later_s: Sequence[float] = ()) -> Point:
    """Return the point that outcomes make. later_s: what comes on top of each answer's time."""
    on_top = later_s or [0.0] * len(found)
    answered = sorted(
        each.answered_s + more for each, more in zip(found, on_top, strict=True) if each.answered_s is not None
    )
    return Point(
        setting=setting,
        too_soon_percent=round(100 * sum(each.too_soon for each in found) / len(found), 2),
        p50_ms=round(1000 * statistics.median(answered)),
        p95_ms=round(1000 * percentile(answered, 95)),
    )


def plain_curve(of: Sequence[Utterance], endpointing_s: float, seed: int) -> list[Point]:
    """Return the curve of silence alone."""
    return [point(ms, outcomes(_plain_policy(ms / 1000), of, endpointing_s, seed)) for ms in SILENCES_MS]


def vendor_curve(of: Sequence[Utterance], seed: int) -> list[Point]:
    """Return the curve of the recogniser's own endpointing: a turn ends when its `speech_final` comes."""
    return [point(ms, outcomes(_plain_policy(0.0), of, ms / 1000, seed)) for ms in SILENCES_MS]


def our_curve(policy: TurnPolicy, of: Sequence[Utterance], endpointing_s: float, seed: int) -> list[Point]:
    """Return our curve: all three waits scaled together."""
    return [point(scale, outcomes(scaled(policy, scale), of, endpointing_s, seed)) for scale in SCALES]


def _plain_policy(silence_s: float) -> TurnPolicy:
    return TurnPolicy(grammar=BLIND, complete_s=silence_s, incomplete_s=silence_s, dictating_s=silence_s, eager=False)


def scaled(policy: TurnPolicy, scale: float) -> TurnPolicy:
    """Return a policy with its waits so many times as long."""
    return attrs.evolve(
        policy,
        complete_s=policy.complete_s * scale,
        incomplete_s=policy.incomplete_s * scale,
        dictating_s=policy.dictating_s * scale,
    )


def gains(plain: Sequence[Point], ours: Sequence[Point]) -> list[dict[str, float | None]]:
    """Return, for each point of a curve, ours of the least scale that answers no more callers too soon."""
    found = list[dict[str, float | None]]()
    for each in plain:
        row: dict[str, float | None] = {
            "silence_ms": each.setting,
            "too_soon_percent": each.too_soon_percent,
            "plain_p50_ms": each.p50_ms,
            "plain_p95_ms": each.p95_ms,
        }
        match = next((own for own in ours if own.too_soon_percent <= each.too_soon_percent), None)
        if match is not None:
            row |= {
                "scale": match.setting,
                "our_too_soon_percent": match.too_soon_percent,
                "our_p50_ms": match.p50_ms,
                "our_p95_ms": match.p95_ms,
                "sooner_p50_ms": each.p50_ms - match.p50_ms,
                "sooner_p95_ms": each.p95_ms - match.p95_ms,
            }
        found.append(row)
    return found


def eagerness(found: Sequence[Outcome]) -> dict[str, float]:
    """Return what requests before the end of the turn save, of the last turn of each utterance, and what they cost."""
    saved = sorted(each.saved_s for each in found)
    requests = sum(each.used + each.wasted + each.missing for each in found)
    return {
        "saved_p50_ms": round(1000 * statistics.median(saved)),
        "saved_p95_ms": round(1000 * percentile(saved, 95)),
        "saved_mean_ms": round(1000 * statistics.mean(saved)),
        "turns_begun_before_their_end_percent": round(
            100 * sum(each.used for each in found) / sum(each.used + each.missing for each in found), 1
        ),
        "requests_wasted_percent": round(100 * sum(each.wasted for each in found) / requests, 1),
    }


def claims(path: Path) -> dict[str, Any]:
    """Return how many phrases over the agent are taken for what they are, as final words, and which are not."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    takes = {Claim.FLOOR, Claim.COMMAND}
    found = dict[str, Any]()
    for name, phrases in table.items():
        wrong = [phrase for phrase in phrases if (ENGLISH.claim(phrase) in takes) is not (name == "interruptions")]
        right = len(phrases) - len(wrong)
        found[name] = {"of": len(phrases), "right_percent": round(100 * right / len(phrases), 1), "wrong": wrong}
    return found


def endings(of: Sequence[Utterance]) -> dict[str, Any]:
    """Return how many pauses look like pauses, and how many ends like ends; and of each kind of utterance."""
    kinds = {utterance.kind: [each for each in of if each.kind == utterance.kind] for utterance in of}
    return {**_looks(of), "kinds": {kind: _looks(those) for kind, those in sorted(kinds.items())}}


def _looks(of: Sequence[Utterance]) -> dict[str, float]:
    pauses, ends = list[bool](), list[bool]()
    for utterance in of:
        texts = list(itertools.accumulate(utterance.groups, "{} {}".format))
        looks = [ENGLISH.ending(text) in {Ending.COMPLETE, Ending.UNKNOWN} for text in texts]
        pauses += [not look for look in looks[:-1]]
        ends.append(looks[-1])
    return {
        "pauses": len(pauses),
        "pauses_told_percent": round(100 * sum(pauses) / max(1, len(pauses)), 1),
        "ends": len(ends),
        "ends_told_percent": round(100 * sum(ends) / len(ends), 1),
    }


def measured(of: Sequence[Utterance], seed: int) -> dict[str, Any]:
    """Return all figures of some utterances."""
    halves = dict[str, Any]()
    vendor = vendor_curve(of, seed)
    for endpointing_ms in ENDPOINTINGS_MS:
        endpointing_s = endpointing_ms / 1000
        plain, ours = plain_curve(of, endpointing_s, seed), our_curve(CHOSEN, of, endpointing_s, seed)
        chosen = outcomes(CHOSEN, of, endpointing_s, seed)
        halves[str(endpointing_ms)] = {
            "chosen": attrs.asdict(point(1.0, chosen)),
            "first_token": _first_tokens(of, endpointing_s, seed),
            "eager": eagerness(chosen),
            "plain": [attrs.asdict(each) for each in plain],
            "ours": [attrs.asdict(each) for each in ours],
            "gains": gains(plain, ours),
            "gains_on_recogniser": gains(vendor, ours),
        }
    return {
        "utterances": len(of),
        "endings": endings(of),
        "final_after_ms": halves,
    }


def _first_tokens(of: Sequence[Utterance], endpointing_s: float, seed: int) -> list[dict[str, Any]]:
    """Return, for longer and longer waits after what looks whole, when the model's first token is there."""
    found = list[dict[str, Any]]()
    for complete_s in (0.3, 0.4, 0.5, 0.6, 0.7):
        policy = attrs.evolve(CHOSEN, complete_s=complete_s)
        come = outcomes(policy, of, endpointing_s, seed)
        delays = [
            drawn(utterance, endpointing_s, f"{seed} {number} {place}")[3]
            for number in range(ROUNDS)
            for place, utterance in enumerate(of)
        ]
        later = [token_s - each.saved_s for token_s, each in zip(delays, come, strict=True)]
        eager = point(complete_s, come, later_s=later)
        waiting = point(complete_s, come, later_s=delays)
        found.append({"eager": attrs.asdict(eager), "not_eager": attrs.asdict(waiting)})
    return found


# What a reader has to know of the held-out files, and the code cannot tell.
HISTORY: Final = """
The held-out files were written after the grammar's last change, by somebody who had read neither it nor the seen half.
None of the utterances stood in the set that they replaced, which the grammar was first measured on and then changed
once; of the short phrases some did, as in any honest list: 77 of the 133 backchannels, 74 of the 305 interruptions, and
22 of the noises' drafts.
""".strip()


def report(result: dict[str, Any]) -> str:
    """Return the results as a page."""
    lines = [
        "# Endpointing",
        "",
        f"How it is done: `benchmarks/endpointing.py`. Python {result['python']}, {result['seconds']:.0f} s in all.",
        (
            f"Waits: complete {CHOSEN.complete_s:g} s, incomplete {CHOSEN.incomplete_s:g} s, dictating"
            f" {CHOSEN.dictating_s:g} s, chosen on the seen half. Two figures are two seeds."
        ),
        "",
    ]
    for half, name in (("held_out", "Held-out half"), ("seen", "Seen half, for which the grammar was written")):
        runs = [result["seeds"][str(seed)][half] for seed in SEEDS]
        told_of = runs[0]["endings"]
        lines += [
            f"## {name}: {runs[0]['utterances']} utterances",
            "",
            (
                f"{told_of['pauses_told_percent']} % of {told_of['pauses']} pauses look like pauses, "
                f"{told_of['ends_told_percent']} % of {told_of['ends']} ends like ends."
            ),
            "",
        ]
        for endpointing_ms in map(str, ENDPOINTINGS_MS):
            parts = [run["final_after_ms"][endpointing_ms] for run in runs]
            chosen = (
                f"Ours as chosen: too soon {_both(parts, 'chosen', 'too_soon_percent')} %, median"
                f" {_both(parts, 'chosen', 'p50_ms')} ms, p95 {_both(parts, 'chosen', 'p95_ms')} ms."
            )
            eager = (
                f"Eager: saved, median {_both(parts, 'eager', 'saved_p50_ms')} ms, p95"
                f" {_both(parts, 'eager', 'saved_p95_ms')} ms, mean {_both(parts, 'eager', 'saved_mean_ms')} ms;"
                f" {_both(parts, 'eager', 'requests_wasted_percent')} % of requests wasted."
            )
            lines += [
                f"### Words final after {endpointing_ms} ms of silence",
                "",
                "Against as much silence, whatever was said, in the same machine:",
                "",
                *_GAINS_HEAD,
                *_rows([part["gains"] for part in parts]),
                "",
                "Against the recogniser's own endpointing:",
                "",
                *_GAINS_HEAD,
                *_rows([part["gains_on_recogniser"] for part in parts]),
                "",
                chosen,
                "",
                eager,
                "",
                "| complete, s | too soon, % | first token, eager: median, p95, ms | not eager: median, p95, ms |",
                "|---|---|---|---|",
                *_tokens([part["first_token"] for part in parts]),
                "",
            ]
    lines += ["## Words over the agent", "", "| what | of | right, % |", "|---|---|---|"]
    lines += [f"| {name} | {each['of']} | {each['right_percent']} |" for name, each in result["claims"].items()]
    lines += ["", "## How far they are held out", "", HISTORY]
    return "\n".join(lines) + "\n"


_GAINS_HEAD: Final = (
    "| silence | too soon, % | median, p95, ms | ours, at no more too soon, % | median, p95, ms | median sooner, ms |",
    "|---|---|---|---|---|---|",
)


def _rows(runs: Sequence[Sequence[dict[str, Any]]]) -> Iterator[str]:
    for each in zip(*runs, strict=True):
        yield (
            f"| {each[0]['silence_ms']} ms | {_values(each, 'too_soon_percent')}"
            f" | {_values(each, 'plain_p50_ms')}, {_values(each, 'plain_p95_ms')}"
            f" | {_values(each, 'our_too_soon_percent')} | {_values(each, 'our_p50_ms')}, {_values(each, 'our_p95_ms')}"
            f" | {_values(each, 'sooner_p50_ms')} |"
        )


def _tokens(runs: Sequence[Sequence[dict[str, Any]]]) -> Iterator[str]:
    for each in zip(*runs, strict=True):
        eager, waiting = [one["eager"] for one in each], [one["not_eager"] for one in each]
        yield (
            f"| {eager[0]['setting']:g} | {_values(eager, 'too_soon_percent')} | {_values(eager, 'p50_ms')},"
            f" {_values(eager, 'p95_ms')} | {_values(waiting, 'p50_ms')}, {_values(waiting, 'p95_ms')} |"
        )


def _both(parts: Sequence[dict[str, Any]], name: str, key: str) -> str:
    return _values([part[name] for part in parts], key)


def _values(points: Sequence[dict[str, Any]], key: str) -> str:
    """Return a figure with each seed; once, if they agree."""
    return " / ".join(dict.fromkeys(f"{point[key]:g}" if key in point else "–" for point in points))


def main() -> None:
    """Measure, print and keep."""
    begun_at = time.monotonic()
    seeds = {
        str(seed): {half: measured(utterances(TURNS / f"{half}.toml"), seed) for half in ("held_out", "seen")}
        for seed in SEEDS
    }
    result = {
        "python": platform.python_version(),
        "seconds": round(time.monotonic() - begun_at),
        "waits": {name: getattr(CHOSEN, name) for name in ("complete_s", "incomplete_s", "dictating_s")},
        "seeds": seeds,
        "claims": claims(TURNS / "held_out_phrases.toml"),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "endpointing.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    page = report(result)
    (RESULTS / "endpointing.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
