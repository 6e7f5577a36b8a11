"""The simulated vendors as a process."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.messages.errors import ConfigError
from simulators.vendors import read_latencies, vendors


def test_a_latency_file_sets_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "slow.toml"
    file.write_text(
        "[deepgram]\nfinal_late_s = 1\n[deepgram.flux]\nsure_s = 0.5\n[anthropic]\nfirst_token_s = 0.7\nclauses = 2\n"
    )
    told = vendors(read_latencies(file))
    assert told.deepgram.policies[0].final_late_s == 1
    assert told.deepgram.policies[0].flux.sure_s == 0.5
    assert told.anthropic.latency.first_token_s == 0.7


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        ({"cartesia": {}}, "unknown vendor 'cartesia'"),
        ({"deepgram": {"final": 1}}, r"\[deepgram\] unknown key 'final'"),
        ({"deepgram": {"faults": 1}}, "unknown key 'faults'"),
        ({"deepgram": {"flux": {"late": 1}}}, r"\[deepgram.flux\] unknown key 'late'"),
        ({"deepgram": {"flux": {"close_ends_turn": 1}}}, "close_ends_turn is 1"),
        ({"deepgram": {"final_late_s": "1"}}, "final_late_s is '1'"),
        ({"deepgram": {"final_late_s": True}}, "final_late_s is True"),
        ({"deepgram": {"noisy": 1}}, "noisy is 1"),
        ({"anthropic": {"first_token_s": -1}}, "0 and more"),
        ({"anthropic": {"clauses": 0}}, "a whole number from 1 on"),
    ],
)
def test_what_a_latency_file_must_not_say_is_named(tables: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        vendors(tables)


def test_a_latency_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        read_latencies(tmp_path / "none.toml")


def test_the_process_tells_its_addresses_serves_and_writes_what_it_saw(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    command = [sys.executable, "-m", "simulators.vendors", "--record", str(record)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())
        assert sorted(urls) == ["anthropic", "deepgram", "elevenlabs"]
        refused = httpx.post(f"{urls['anthropic']}/v1/messages", trust_env=False)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert refused.status_code == 401
    seen = json.loads(record.read_text())
    assert seen["anthropic"]["violations"] == ["x-api-key header is required"]
    assert seen["deepgram"]["words"] == []
