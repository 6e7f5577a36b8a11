"""What a call was like from outside: a stereo recording, and how long the caller waited for what.

Everything is measured on the record of the phone network, in sound that was played: nothing is taken from the server.
"""

import json
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs

from simulators.audio import RATE_HZ, sounds
from simulators.events import CallerSpeaks
from simulators.twilio.record import CallRecord
from simulators.wav import write_stereo

# Between two sounds with less silence the agent has not stopped: words are further apart only between phrases.
_GAP_S: Final = 0.1
# An agent that is silent for so long after it was interrupted has stopped, and is not drawing breath.
_STOPPED_S: Final = 0.3


@attrs.frozen(kw_only=True)
class Stretch:
    """Some time in which the agent is heard, in seconds of the call."""

    start_s: float
    end_s: float


@attrs.frozen(kw_only=True)
class TurnTiming:
    """One thing that the caller said, and what came of it. Times are seconds of the call; None is what did not happen.

    first_word_s, last_word_s: its first and last loud samples.
    first_sound_s: the first sound of the agent after the last word, before the caller's next.
    voice_to_voice_s: from the last word to that sound.
    over_agent: whether the agent was heard when the caller began.
    agent_silent_after_s: from the first word to the agent's silence, if the caller spoke over it.
    """

    text: str
    first_word_s: float
    last_word_s: float
    first_sound_s: float | None
    voice_to_voice_s: float | None
    over_agent: bool
    agent_silent_after_s: float | None


@attrs.frozen(kw_only=True)
class Timings:
    """A call, measured from outside.

    greeting_delay_s: from the stream's ``start`` to the agent's first sound.
    voice_to_voice_s: the median over the turns that were answered.
    """

    greeting_delay_s: float | None
    voice_to_voice_s: float | None
    turns: tuple[TurnTiming, ...]
    agent: tuple[Stretch, ...]


def measure(record: CallRecord) -> Timings:
    """Return the timings of a call."""
    heard = _stretches(record.agent_audio, _GAP_S)
    said = record.all_of(CallerSpeaks)
    nexts = [*(event.at_s for event in said[1:]), record.duration_s]
    turns = tuple(
        _turn(record, event, until_s=until_s, heard=heard)
        for event, until_s in zip(said, nexts, strict=False)  # with nothing said there is still an end
    )
    waits = [turn.voice_to_voice_s for turn in turns if turn.voice_to_voice_s is not None]
    start_s = record.start_s
    greeted_s = None if start_s is None else next((s.start_s - start_s for s in heard if s.start_s >= start_s), None)
    return Timings(
        greeting_delay_s=_rounded(greeted_s),
        voice_to_voice_s=_rounded(statistics.median(waits)) if waits else None,
        turns=turns,
        agent=heard,
    )


def save(record: CallRecord, folder: Path, *, name: str = "call") -> tuple[Path, Path]:
    """Write the stereo recording (left the caller, right the agent) and the JSON of a call; return their paths.

    Both share one clock: a second in the JSON is a second of the recording. ``folder`` is made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wav, text = folder / f"{name}.wav", folder / f"{name}.json"
    write_stereo(wav, record.caller_audio, record.agent_audio)
    text.write_text(json.dumps(as_json(record), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return wav, text


def as_json(record: CallRecord) -> dict[str, Any]:
    """Return a call and its timings as plain data; the audio, and where each piece of it was put, are left out."""
    converter = cattrs.Converter()
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_unstructure_hook(float, lambda value: round(value, 4))
    plain: dict[str, Any] = converter.unstructure(record)
    for heavy in ("caller_audio", "agent_audio", "deliveries"):
        del plain[heavy]
    plain["events"] = [
        {"event": type(event).__name__, **fields} for event, fields in zip(record.events, plain["events"], strict=True)
    ]
    return {**plain, "duration_s": record.duration_s, "timings": converter.unstructure(measure(record))}


def _turn(record: CallRecord, event: CallerSpeaks, *, until_s: float, heard: tuple[Stretch, ...]) -> TurnTiming:
    last_word_s = min(event.until_s, record.duration_s)
    first_sound_s = next((s.start_s for s in heard if last_word_s <= s.start_s < until_s), None)
    over = next((s for s in _stretches(record.agent_audio, _STOPPED_S) if s.start_s < event.at_s < s.end_s), None)
    return TurnTiming(
        text=event.text,
        first_word_s=event.at_s,
        last_word_s=last_word_s,
        first_sound_s=first_sound_s,
        voice_to_voice_s=None if first_sound_s is None else _rounded(first_sound_s - last_word_s),
        over_agent=over is not None,
        agent_silent_after_s=None if over is None else _rounded(over.end_s - event.at_s),
    )


def _stretches(audio: bytes, gap_s: float) -> tuple[Stretch, ...]:
    return tuple(Stretch(start_s=s.start / RATE_HZ, end_s=s.end / RATE_HZ) for s in sounds(audio, gap_s=gap_s))


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
