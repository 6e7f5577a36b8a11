"""A server for live scenarios: a process of its own, with a business for each scenario and a mind that knows its lines.

What hears and speaks is the embedded default; the mind is the simulated Claude, which takes nothing but what the real
one takes. A business is known by its number, and the mind is told which one it is by the business's prompt.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from simulators.anthropic import AnthropicSimulator, Latency, MessagesRequest, UseTool
from simulators.anthropic import Reply as Answered
from simulators.scenario import Business, Scenario, reply_to

READY_S: Final = 180.0
"""How long a server may take to be ready: it renders each business's phrases first."""

_MODEL: Final = Latency(started_s=0.05, first_token_s=0.3, between_tokens_s=0.004, tokens_per_piece=2)
_FIRST_NUMBER: Final = 15550110000
_NAMED: Final = re.compile(r"scenario “([^”]+)”")


@attrs.frozen(kw_only=True)
class Server:
    """A server that answers. numbers: of the businesses, by scenario."""

    url: str
    store_url: str
    numbers: Mapping[str, str]
    model: AnthropicSimulator
    log: Path


@asynccontextmanager
async def serving(scenarios: Mapping[str, Scenario], folder: Path, *, settings: str = "") -> AsyncIterator[Server]:
    """Serve until the end of the block. settings: more of the engine's file, TOML. Raises RuntimeError."""
    model = AnthropicSimulator(mind=Mind(scenarios), latency=_MODEL)
    async with trio.open_nursery() as nursery:
        model_url = await nursery.start(model.serve)
        numbers = await trio.to_thread.run_sync(_configure, scenarios, folder, model_url, settings)
        log = folder / "server.log"
        command = [sys.executable, "-m", "holdfast", "serve", "--config", str(folder / "engine.toml")]
        with log.open("wb") as file:
            process = await trio.lowlevel.open_process(
                [*command, "--bind", "127.0.0.1:0"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env={**os.environ, "ANTHROPIC_API_KEY": "scenarios"},
            )
        try:
            url = await _url(process, log)
            yield Server(url=url, store_url=_store_url(folder), numbers=numbers, model=model, log=log)
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
            nursery.cancel_scope.cancel()


async def _url(process: trio.Process, log: Path) -> str:
    with trio.move_on_after(READY_S):
        while process.poll() is None:
            for event in await trio.to_thread.run_sync(_events, log):
                if event.get("event") == "serving":
                    return str(event["public_url"])
            await trio.sleep(0.2)
    told = await trio.to_thread.run_sync(log.read_text)
    raise RuntimeError(f"the server did not get ready; its log:\n{told[-4000:]}")


def _events(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def _store_url(folder: Path) -> str:
    return f"sqlite:///{folder}/holdfast.sqlite3"


def _configure(scenarios: Mapping[str, Scenario], folder: Path, model_url: str, settings: str) -> dict[str, str]:
    """Write the engine's file and a business's for each scenario; return their numbers."""
    tenants = folder / "tenants"
    tenants.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, str] = {}
    for count, (name, scenario) in enumerate(scenarios.items()):
        numbers[name] = f"+{_FIRST_NUMBER + count}"
        tables = _business(scenario.business)
        own = {
            "name": "Bright Smile Dental",
            "numbers": [numbers[name]],
            "language": "en-US",
            "greeting": scenario.business.greeting,
            "prompt": f"You are the receptionist of a dental clinic. This is scenario “{name}”.",
            "tools": "none",
        }
        (tenants / f"{name}.toml").write_text(_toml({"": own, **tables}), encoding="utf-8")
    engine: dict[str, Mapping[str, object]] = {
        "": {"public_url": "http://127.0.0.1:1", "tenants": str(tenants)},
        "call": {"stt": ["local"], "llm": ["anthropic"], "tts": ["local"]},
        "door": {"calls_at_once": 100, "calls_a_minute_per_caller": 10000},
        "vendors.anthropic": {"base_url": model_url},
        "storage": {"url": _store_url(folder), "clips": str(folder / "clips")},
        "log": {"level": "info", "format": "json"},
    }
    (folder / "engine.toml").write_text(f"{_toml(engine)}\n{settings}", encoding="utf-8")
    return numbers


def _business(house: Business) -> dict[str, Mapping[str, object]]:
    """Return a business's own tables, as its file has them."""
    limits: dict[str, object] = {"idle_s": house.idle_s, "idle_again_s": house.idle_again_s}
    speech: dict[str, object] = {"uninterruptible": house.firm or None, "hold_tone_s": house.tone_s}
    tables: dict[str, dict[str, object]] = {"limits": limits, "speech": speech, "agent": {"filler_s": house.filler_s}}
    given = {name: {key: value for key, value in table.items() if value is not None} for name, table in tables.items()}
    return {name: table for name, table in given.items() if table}


def _toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    lines: list[str] = []
    for name, table in tables.items():
        lines += [f"[{name}]"] if name else []
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    return "\n".join([*lines, ""])


@attrs.frozen
class Mind:
    """Answers each business's callers with its scenario's replies."""

    scenarios: Mapping[str, Scenario]

    def __call__(self, request: MessagesRequest) -> Answered:
        """Return the answer to a request."""
        found = _NAMED.search(request.system)
        assert found is not None, "every business's prompt names its scenario"
        reply = reply_to(self.scenarios[found[1]].agent, turns_of(request.messages))
        answer = Answered.of(reply.text, *([UseTool("end_call")] if reply.ends else []))
        return attrs.evolve(answer, first_token_s=reply.delay_s)


def turns_of(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the caller's turns in a request: what stands in round brackets is a note."""
    return [
        block["text"]
        for message in messages
        if message["role"] == "user"
        for block in message["content"]
        if block["type"] == "text" and not block["text"].startswith("(")
    ]
