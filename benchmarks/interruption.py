"""Interruption: how soon the agent is silent when the caller speaks over it, and what is heard of a stall of the loop.

    python -m benchmarks.interruption [--calls 10] [--turns 22] [--realtime]

The engine is a process of its own on a core of its own, its vendors are simulated, the callers speak over real loopback
sockets. Two runs: in one the callers break in with words of the tone code, in the other they make sounds of real
synthesised speech, which the recogniser cannot read, so that the agent is held and goes on. Then one in which nobody
breaks in, and the engine is stopped for 200 ms every other second (SIGSTOP), as a garbage collection or a neighbour on
the machine would stop it. The figures go to `benchmarks/results/interruption.json` and `.md`.

Theory of operation. A caller's onset is the first sample of the first frame of sound, which goes out when the frame is
over; the agent is silent when `clear` arrives at the phone. Both are moments of the phone's own clock, so the figure
holds 20 ms of the frame itself, as at Twilio.
"""

import argparse
import base64
import json
import os
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from benchmarks import callers
from benchmarks.callers import Connected, Exchange, dial
from benchmarks.phone import Doing, Phone
from benchmarks.stage import Cores, Stage, stage
from simulators.audio import FRAME_BYTES, FRAME_S, RATE_HZ, SILENCE
from simulators.voice import LocalVoice

RESULTS: Final = Path(__file__).parent / "results"
STALL_S: Final = 0.2
SPEECH: Final = (
    "Sorry, one moment please.",
    "Actually, could you wait?",
    "Hold on, that is wrong.",
    "No, I meant the other day.",
)
# A caller breaks in so long after the answer began to sound, at random.
_EARLIEST_S: Final = 0.3
_LATEST_S: Final = 1.5
# Sound that goes on for longer takes the floor; this is to be held, and gone on after.
_SHORT_S: Final = 0.7
_SPEECH_FILE: Final = "HOLDFAST_BENCHMARK_SPEECH"


@attrs.define(kw_only=True)
class Interrupter(Phone):
    """A caller who speaks over each answer.

    mode: "words": breaks in with the next sentence; "speech": makes a sound, and hears the answer out; "never".
    silent_s: from each onset of sound over a sounding agent until the clear came.
    went_on: how often the agent began to sound again after it was held. stale: messages with sound that came within
        20 ms after a clear. missed: onsets that no clear followed before the next.
    gaps: pauses in an answer because sound came late: how long after its first sound, how long, within a piece or not.
    """

    mode: str = "words"
    speech: tuple[bytes, ...] = ()
    silent_s: list[float] = attrs.field(factory=list)
    went_on: int = 0
    stale: int = 0
    missed: int = 0
    gaps: list[tuple[float, float, bool]] = attrs.field(factory=list)
    _onset_at: float | None = None
    _cleared_at: float | None = None
    _break_in_s: float = 1.0
    _broke_in: bool = False

    def frame(self) -> str:
        """Return the message of the frame that is due; a sound may begin with it."""
        now = self.frame_due
        if self.mode == "speech" and self._may_break_in(now):
            sound = self.chance.choice(self.speech)
            frames = [sound[at : at + FRAME_BYTES] for at in range(0, len(sound), FRAME_BYTES)]
            self._mouth.extend(base64.b64encode(each.ljust(FRAME_BYTES, SILENCE)).decode() for each in frames)
            self._sounded(now)
        return super().frame()

    def _may_break_in(self, now: float) -> bool:
        began_at = self.turn.first_sound_at
        return (
            not self._broke_in
            and self.doing is Doing.LISTENING
            and len(self.turns) > 1  # the greeting is heard out
            and began_at is not None
            and now - began_at >= self._break_in_s
            and self._sound_until > now + FRAME_S
        )

    def _sounded(self, now: float) -> None:
        """Note that the frame that ends now is the first of a sound."""
        if self._onset_at is not None:
            self.missed += 1
        self._broke_in = True
        self._onset_at, self._cleared_at = now - FRAME_S, None

    def _heard_out(self, now: float) -> bool:
        if self.mode == "words" and self._may_break_in(now):
            self._sounded(now)
            return True
        return super()._heard_out(now)

    def _go_on(self) -> None:
        super()._go_on()
        self._broke_in = False
        self._break_in_s = self.chance.uniform(_EARLIEST_S, _LATEST_S)

    def _clear(self, now: float) -> None:
        super()._clear(now)
        if self._onset_at is not None:
            self.silent_s.append(now - self._onset_at)
            self._onset_at, self._cleared_at = None, now

    def _play(self, audio: bytes, now: float) -> None:
        if self.turn.audio and now > self._free_at:
            self.gaps.append((now - self.turn.audio[0][0], now - self._free_at, not self._marked_last))
        super()._play(audio, now)
        if self._cleared_at is not None and audio.rstrip(SILENCE):
            self.stale += now - self._cleared_at < FRAME_S
            self.went_on += self.doing is Doing.SPEAKING or self.mode == "speech"
            self._cleared_at = None


@attrs.define
class Crowd(Exchange):
    """Callers who interrupt."""

    mode: str = "words"
    speech: tuple[bytes, ...] = ()

    def _dial(self, number: int) -> None:
        try:
            found = dial(self.url, number, turns=self.turns, seed=self.seed)
        except (OSError, callers.DialError) as error:
            self._connected.put(f"call {number}: {type(error).__name__}: {error}")
            return
        phone = found.phone
        caller = Interrupter(
            name=phone.name,
            stream_sid=phone.stream_sid,
            sentences=phone.sentences,
            began_at=phone.began_at,
            chance=phone.chance,
            mode=self.mode,
            speech=self.speech,
        )
        self._connected.put(Connected(phone=caller, socket=found.socket))


def call(url: str, mode: str, calls: int, turns: int, seed: int) -> None:
    """Call, and print what came of it."""
    spoken = [base64.b64decode(each) for each in json.loads(os.environ.get(_SPEECH_FILE, "[]"))]
    sys.setswitchinterval(0.0005)  # a thread that dials must not hold up a frame
    crowd = Crowd(url, calls, turns, 2.0, seed, mode=mode, speech=tuple(spoken))
    crowd.run()
    phones = [each.phone for each in crowd.over if isinstance(each.phone, Interrupter)]
    callers.say(
        {
            "calls": len(phones),
            "failed": crowd.failed,
            "frame_late_s": crowd.late_s,
            "silent_s": [each for phone in phones for each in phone.silent_s],
            "went_on": sum(phone.went_on for phone in phones),
            "stale": sum(phone.stale for phone in phones),
            "missed": sum(phone.missed for phone in phones),
            "answers": sum(turn.first_sound_at is not None for phone in phones for turn in phone.turns),
            "gaps": [gap for phone in phones for gap in phone.gaps],
        }
    )


async def _rendered() -> list[bytes]:
    """Return some sounds of real speech, short enough to hold an agent and no more."""
    voice = LocalVoice()
    rendered = [await voice.speak(text) for text in SPEECH]
    return [each[: round(_SHORT_S * RATE_HZ)] for each in rendered]


@attrs.define
class Stalls:
    """A thread that stops a process for a moment, every other second, while it runs."""

    pid: int
    seed: int
    count: int = 0
    _over: threading.Event = attrs.field(factory=threading.Event)

    def run(self) -> None:
        """Stop it and let it go on, until told that it is over."""
        chance = random.Random(self.seed)  # noqa: S311 - nothing is secret here
        while not self._over.wait(chance.uniform(1.0, 3.0)):
            os.kill(self.pid, signal.SIGSTOP)
            time.sleep(STALL_S)
            os.kill(self.pid, signal.SIGCONT)
            self.count += 1

    def end(self) -> None:
        """Stop no more."""
        self._over.set()


def run(on: Stage, mode: str, *, calls: int, turns: int, seed: int) -> dict[str, Any]:
    """Have so many call at once, in a process of their own; return what came of it."""
    command = ["call", "--url", on.url, "--mode", mode, "--calls", str(calls), "--turns", str(turns)]
    told: dict[str, Any] = on.told("benchmarks.interruption", [*command, "--seed", str(seed)])
    if told["failed"]:
        sys.exit(f"calls failed: {told['failed']}")
    return told


def spread(values_s: list[float]) -> dict[str, float]:
    """Return some quantiles, in milliseconds."""
    ordered = sorted(round(value * 1000, 1) for value in values_s)
    if not ordered:
        return {}
    return {
        "count": len(ordered),
        "min": ordered[0],
        "p50": round(statistics.median(ordered), 1),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
    }


def measured(cores: Cores, *, calls: int, turns: int, seed: int) -> dict[str, Any]:
    """Return the figures of all runs."""
    os.environ[_SPEECH_FILE] = json.dumps([base64.b64encode(each).decode() for each in trio.run(_rendered)])
    figures: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        stage(Path(folder), cores, record=Path(folder) / "seen.json") as on,
    ):
        for mode, each in (("words", turns), ("speech", max(5, turns // 4))):
            told = run(on, mode, calls=calls, turns=each, seed=seed)
            figures[mode] = {
                "silent_ms": spread(told["silent_s"]),
                "missed": told["missed"],
                "went_on": told["went_on"],
                "stale_frames": told["stale"],
                "callers_frame_late_ms": spread(told["frame_late_s"]),
            }
        stalls = Stalls(on.engine.pid, seed)
        thread = threading.Thread(target=stalls.run)
        thread.start()
        try:
            told = run(on, "never", calls=calls, turns=max(5, turns // 3), seed=seed)
        finally:
            stalls.end()
            thread.join()
        gaps = [(round(at_s, 3), round(gap_s * 1000, 1), in_piece) for at_s, gap_s, in_piece in told["gaps"]]
        figures["stalled"] = {
            "stall_ms": round(STALL_S * 1000),
            "stalls": stalls.count,
            "answers": told["answers"],
            "gaps": len(gaps),
            "longest_gap_ms": max((gap_ms for _, gap_ms, _ in gaps), default=0.0),
            "gaps_at_s_ms_in_piece": gaps,
        }
    return figures


def page(figures: dict[str, Any]) -> str:
    """Return the figures as a page."""
    scheduler = ", under the real-time scheduler" if figures["realtime"] else ""
    lines = [
        "# Interruption",
        "",
        f"By `python -m benchmarks.interruption` on {figures['machine']}, Python {figures['python']}{scheduler}.",
        "",
        "From the first sample of the caller's sound over the agent to the agent's silence, at the phone, over",
        f"loopback sockets, {figures['calls']} calls at once, in milliseconds:",
        "",
        "| sound | interruptions | p50 | p95 | max | agent went on | sound after a clear | no clear |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mode, name in (("words", "words of the tone code"), ("speech", "0.7 s of synthesised speech")):
        of, ms = figures[mode], figures[mode]["silent_ms"]
        cells = [ms.get("count", 0), ms.get("p50"), ms.get("p95"), ms.get("max")]
        cells += [of["went_on"], of["stale_frames"], of["missed"]]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    stalled = figures["stalled"]
    heard = f"gaps {stalled['gaps']}, the longest {stalled['longest_gap_ms']} ms"
    stops = f"The engine was stopped {stalled['stalls']} times for {stalled['stall_ms']} ms"
    lines += ["", f"{stops} while {stalled['answers']} answers were heard: {heard}."]
    if stalled["gaps"]:
        earliest, latest = (f(at_s for at_s, _, _ in stalled["gaps_at_s_ms_in_piece"]) for f in (min, max))
        when = f"from {earliest} to {latest} s after an answer's first sound"
        lines.append(f"They came {when}, where the voice had not given the lead yet.")
    lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, print and keep; or, as a child, call."""
    arguments = argparse.ArgumentParser(description="How soon the agent is silent when the caller speaks over it.")
    arguments.add_argument("what", nargs="?", choices=("measure", "call"), default="measure")
    arguments.add_argument("--url", default="")
    arguments.add_argument("--mode", choices=("words", "speech", "never"), default="words")
    arguments.add_argument("--calls", type=int, default=10)
    arguments.add_argument("--turns", type=int, default=22)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--over", type=float, default=2.0)
    arguments.add_argument(
        "--realtime", action="store_true", help="run under the real-time scheduler; needs the right to"
    )
    asked = arguments.parse_args()
    if asked.what == "call":
        call(asked.url, asked.mode, asked.calls, asked.turns, asked.seed)
        return
    cores = Cores(realtime=asked.realtime)
    measure = partial(measured, calls=asked.calls, turns=asked.turns, seed=asked.seed)
    figures: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "realtime": asked.realtime,
        "calls": asked.calls,
        **measure(cores),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "interruption.json").write_text(json.dumps(figures, indent=2) + "\n")
    (RESULTS / "interruption.md").write_text(page(figures))
    print(page(figures))  # noqa: T201


if __name__ == "__main__":
    main()
