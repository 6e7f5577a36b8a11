"""Figures: what a round of calls says of the engine, as JSON has it.

*Own share* of an answer: from the end of the caller's last word to the first sound at the phone, less what the vendors
were told to take: endpointing, the final's lateness, the model's tokens up to the last character of the first clause,
the voice's first audio. Whatever else there is, the engine's, the sockets' and the simulators' own lateness, is in it.
Where the model is asked before the turn has ended, its time and the silence's pass at once, and less than 0 may remain.
"""

import itertools
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from benchmarks.stage import CLAUDE, CLAUSES, DEEPGRAM, ELEVENLABS, ENDPOINTING_MS, Round
from simulators.anthropic.minds import echoed

_HEARD_S: Final = ENDPOINTING_MS / 1000 + DEEPGRAM.final_late_s
# Between two words the voice is silent for a frame; half a frame more is a pause that nobody meant.
_PAUSE_S: Final = 0.030
_HOPS: Final = ("final", "turn", "token", "clause", "audio", "sound", "phone")

Turn = Mapping[str, Any]
Figures = dict[str, Any]


def figures(come: Round, engine: Mapping[tuple[str, int], Mapping[str, float]]) -> Figures:
    """Return a round's figures. engine: when it reached each stage of each turn, in seconds of the call."""
    calls: Mapping[str, Sequence[Turn]] = come.told["calls"]
    asked = [turn for turns in calls.values() for turn in turns[1:]]
    answered = [turn for turn in asked if turn["wait_s"] is not None]
    pauses = [pause for turn in answered for pause in _pauses(turn)]
    late = come.told["frame_late_s"]
    return {
        "calls": come.calls,
        "turns": len(asked),
        "own_share_ms": spread(turn["wait_s"] - _told_s(turn) for turn in answered),
        "voice_to_voice_ms": spread(turn["wait_s"] for turn in answered),
        "first_sound_before_the_sentence_was_written": sum(
            turn["wait_s"] < _HEARD_S + _sentence_s(turn) for turn in answered
        ),
        "hops_ms": _hops(calls, engine),
        "unanswered": len(asked) - len(answered),
        "failed_calls": come.told["failed"],
        "cut_answers": sum(turn["cleared"] for turn in asked),
        "words": {"said_back": sum(map(_expected, answered)), "lost": sum(map(_lost, answered))},
        "underruns": {
            "in_a_piece": sum(len(turn["dry_in_piece_s"]) for turns in calls.values() for turn in turns),
            "in_a_sentence": len(pauses),
            "longest_ms": _ms(max(pauses, default=0.0)),
        },
        "engine_core": _usage(come),
        "callers_frames_late_ms": spread(late, highest=99),
    }


def _told_s(turn: Turn) -> float:
    """What the vendors were told to take up to an answer's first sound, one after the other."""
    text = echoed(" ".join(turn["words"]), CLAUSES)
    return _HEARD_S + _written_s(text, text.index(",") + 1) + ELEVENLABS.first_audio_s


def _sentence_s(turn: Turn) -> float:
    """When the model has written the whole of its first sentence."""
    text = echoed(" ".join(turn["words"]), CLAUSES)
    return _written_s(text, len(text))


def _written_s(text: str, characters: int) -> float:
    """When the model has written so many characters."""
    pieces = CLAUDE.pieces(text)
    ends = itertools.accumulate(len(piece) for _, piece in pieces)
    return next(due_s for (due_s, _), end in zip(pieces, ends, strict=True) if end >= characters)


def _pauses(turn: Turn) -> Iterable[float]:
    return (pause for pause in turn["pauses_s"] if pause > _PAUSE_S)


def _expected(turn: Turn) -> int:
    return len(echoed(" ".join(turn["words"]), CLAUSES).split())


def _lost(turn: Turn) -> int:
    """How many of an answer's words were not heard, whether the way in or the way out lost them."""
    missing = Counter(echoed(" ".join(turn["words"]), CLAUSES).split()) - Counter(turn["heard"])
    return missing.total()


def _hops(
    calls: Mapping[str, Sequence[Turn]], engine: Mapping[tuple[str, int], Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Where the own share goes, by the engine's own stages, each less what the vendors were told to take.

    The phone's seconds and the engine's begin within a millisecond or two of each other, when `start` is sent and read.
    """
    hops: dict[str, list[float]] = {hop: [] for hop in _HOPS}
    for call_sid, turns in calls.items():
        for number, turn in enumerate(turns[1:], start=1):
            stages = engine.get((call_sid, number), {})
            if turn["wait_s"] is None or not stages.keys() >= {"transcript_final", "first_sound", "first_clause"}:
                continue
            text = echoed(" ".join(turn["words"]), CLAUSES)
            moments = (
                turn["last_word_s"] + _HEARD_S,
                stages["transcript_final"],
                stages["turn_ended"] + CLAUDE.first_token_s,
                stages["first_token"] + _written_s(text, text.index(",") + 1) - CLAUDE.first_token_s,
                stages["first_clause"] + ELEVENLABS.first_audio_s,
                stages["first_audio"],
                stages["first_sound"],
            )
            reached = (
                *(stages[each] for each in ("transcript_final", "turn_ended", "first_token", "first_clause")),
                stages["first_audio"],
                stages["first_sound"],
                turn["last_word_s"] + turn["wait_s"],
            )
            for hop, due, at in zip(_HOPS, moments, reached, strict=True):
                hops[hop].append(at - due)
    return {hop: spread(values) for hop, values in hops.items()}


def _usage(come: Round) -> dict[str, float]:
    if len(come.usages) < 2:  # noqa: PLR2004 - the beginning and the end of the time when all were on
        return {}
    before, after = come.usages
    share = after.share(before)
    here, there = after.others(before, come.cores)
    return {
        "seconds": round(after.at - before.at, 1),
        "percent": round(100 * share, 1),
        "percent_a_call": round(100 * share / come.calls, 2),
        "percent_a_call_at_full_speed": round(100 * share / come.calls / (1 + come.slower), 2),
        "slower_than_at_its_best_percent": round(100 * come.slower, 1),
        "others_percent": round(100 * here, 1),
        "others_percent_of_the_callers_core": round(100 * there, 1),
    }


def spread(values: Iterable[float], *, highest: int = 99) -> dict[str, float]:
    """Return least, median, 95th and highest percentile and most of some seconds, in milliseconds."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "least": _ms(ordered[0]),
        "p50": _ms(statistics.median(ordered)),
        "p95": _ms(percentile(ordered, 95)),
        f"p{highest}": _ms(percentile(ordered, highest)),
        "most": _ms(ordered[-1]),
    }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of them do not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
