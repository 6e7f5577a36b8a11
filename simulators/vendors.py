"""The three vendors as a process of its own, for live tests and measurements: `python -m simulators.vendors`.

It prints one line of JSON, the base URLs by vendor, and serves until SIGTERM or Ctrl-C::

    python -m simulators.vendors --deepgram-port 0 --anthropic-port 0 --elevenlabs-port 0 --latency-file slow.toml

A latency file has a table a vendor, each key a number of that vendor's policy, or of the model's `Latency`::

    [deepgram]
    final_late_s = 0.3
    [deepgram.flux] # what it hears at /v2/listen
    late_s = 0.2
    [anthropic]
    first_token_s = 0.6
    clauses = 5 # of what the model answers
    [elevenlabs]
    first_audio_s = 0.2
"""

import argparse
import gc
import json
import signal
import sys
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import trio

from engine.messages.errors import ConfigError
from simulators.anthropic import AnthropicSimulator, Latency, echo
from simulators.deepgram import DeepgramPolicy, DeepgramSimulator, FluxPolicy
from simulators.elevenlabs import ElevenLabsPolicy, ElevenLabsSimulator

NAMES: Final = ("deepgram", "anthropic", "elevenlabs")
CLAUSES: Final = 3
# How often the process looks at the clock to learn how late it is itself.
_BEAT_S: Final = 0.05

_T = TypeVar("_T")


@attrs.define(kw_only=True)
class Vendors:
    """The three, with how late they are.

    beats_s: how late the process woke, beat by beat: what a measurement of microseconds has to mistrust.
    """

    deepgram: DeepgramSimulator
    anthropic: AnthropicSimulator
    elevenlabs: ElevenLabsSimulator
    beats_s: list[float] = attrs.field(init=False, factory=list)

    async def serve(
        self,
        ports: Mapping[str, int],
        *,
        task_status: trio.TaskStatus[dict[str, str]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve each at its port of loopback until cancelled. task_status: is given the base URLs by vendor.

        Raises OSError, in a group, for a port in use.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            serves = (self.deepgram.serve, self.anthropic.serve, self.elevenlabs.serve)
            urls: dict[str, str] = {}
            for name, serve in zip(NAMES, serves, strict=True):
                urls[name] = await nursery.start(partial(serve, port=ports.get(name, 0)))
            task_status.started(urls)

    async def _beat(self) -> None:
        due = trio.current_time()
        while True:
            due = max(due + _BEAT_S, trio.current_time())
            await trio.sleep_until(due)
            self.beats_s.append(trio.current_time() - due)

    def record(self) -> dict[str, Any]:
        """Return what the vendors saw, as JSON has it: words heard, requests answered, texts spoken, rules broken."""
        return {
            "beats_s": self.beats_s,
            "deepgram": {
                "connections": self.deepgram.connections,
                "words": self.deepgram.words,
                "violations": [each.why for each in self.deepgram.violations],
            },
            "anthropic": {
                "connections": self.anthropic.connections,
                "requests": [
                    {
                        "text": each.request.last_user_text,
                        "tools": len(each.request.tools),
                        "ending": each.ending.name,
                        "tokens": each.tokens,
                        "late_s": each.late_s,
                    }
                    for each in self.anthropic.requests
                ],
                "violations": [each.why for each in self.anthropic.violations],
            },
            "elevenlabs": {
                "connections": self.elevenlabs.connections,
                "spoken": self.elevenlabs.spoken,
                "violations": [each.why for each in self.elevenlabs.violations],
            },
        }


def vendors(tables: Mapping[str, Any]) -> Vendors:
    """Return the vendors with the latencies of a latency file. Raises ConfigError for a key that nobody knows."""
    if strangers := sorted(tables.keys() - set(NAMES)):
        raise ConfigError(f"unknown vendor {strangers[0]!r}; known: {', '.join(map(repr, NAMES))}")
    heard = dict(tables.get("deepgram", {}))
    flux = _told(FluxPolicy(), "deepgram.flux", heard.pop("flux", {}))
    claude = dict(tables.get("anthropic", {}))
    clauses = claude.pop("clauses", CLAUSES)
    if isinstance(clauses, bool) or not isinstance(clauses, int) or clauses < 1:
        raise ConfigError(f"[anthropic] clauses is {clauses!r}; a whole number from 1 on is allowed")
    return Vendors(
        deepgram=DeepgramSimulator(policies=(_told(DeepgramPolicy(flux=flux), "deepgram", heard),)),
        anthropic=AnthropicSimulator(mind=echo(clauses), latency=_told(Latency(), "anthropic", claude)),
        elevenlabs=ElevenLabsSimulator(
            policies=(_told(ElevenLabsPolicy(), "elevenlabs", tables.get("elevenlabs", {})),)
        ),
    )


def read_latencies(file: Path) -> dict[str, Any]:
    """Return the tables of a latency file. Raises ConfigError if it cannot be read."""
    try:
        return tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error


def _told(policy: _T, vendor: str, table: Mapping[str, Any]) -> _T:
    """Return a policy with the numbers of a table in the place of its own."""
    known = {
        name: value for name, value in attrs.asdict(policy, recurse=False).items()  # type: ignore[arg-type]
        if isinstance(value, bool | int | float)
    }  # fmt: skip
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"[{vendor}] unknown key {name!r}; known: {', '.join(sorted(known))}")
        if isinstance(value, bool) != isinstance(known[name], bool) or not isinstance(value, bool | int | float):
            raise ConfigError(f"[{vendor}] {name} is {value!r}; of the kind of {known[name]!r} is allowed")
        if value < 0:
            raise ConfigError(f"[{vendor}] {name} is {value!r}; 0 and more is allowed")
    return attrs.evolve(policy, **table)  # type: ignore[misc]


async def _serve(served: Vendors, ports: Mapping[str, int]) -> None:
    async with trio.open_nursery() as nursery:
        urls = await nursery.start(served.serve, ports)
        gc.freeze()  # what was loaded is never garbage, and need not be looked through again and again
        print(json.dumps(urls), flush=True)  # noqa: T201 - what whoever started it waits for
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            await anext(signals)
        nursery.cancel_scope.cancel()


def _first(group: BaseExceptionGroup[OSError]) -> OSError:
    """Return the first leaf of a group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def main() -> None:
    """Serve until told to stop; then write what was seen, if it is asked for."""
    arguments = argparse.ArgumentParser(
        prog="python -m simulators.vendors", description="Serve simulated Deepgram, Claude and ElevenLabs on loopback."
    )
    for name in NAMES:
        arguments.add_argument(f"--{name}-port", type=int, default=0, metavar="PORT", help="0 is any (the default)")
    arguments.add_argument("--latency-file", type=Path, metavar="TOML", help="how late each is")
    arguments.add_argument("--record", type=Path, metavar="FILE", help="where to write, at the end, what was seen")
    asked = arguments.parse_args()
    ports = {name: getattr(asked, f"{name}_port") for name in NAMES}
    try:
        served = vendors({} if asked.latency_file is None else read_latencies(asked.latency_file))
    except ConfigError as error:
        sys.exit(str(error))
    refused: OSError | None = None
    try:
        trio.run(_serve, served, ports)
    except* OSError as group:
        refused = _first(group)
    if refused is not None:
        sys.exit(f"cannot listen: {refused}")
    if asked.record is not None:
        asked.record.write_text(json.dumps(served.record()) + "\n")


if __name__ == "__main__":
    main()
