"""Log lines: one shape whoever writes them, the call's id on each, and nothing that must not be read there."""

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
import trio
from structlog.contextvars import bound_contextvars

from engine.settings import LogSettings
from engine.supervisor import ChildSpec, Incarnation, Supervisor
from holdfast import logs
from holdfast.logs import redaction

KEY = "sk-0a1b2c3d"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the standard library's loggers as they were: all of a process has them in common."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in logs._OURS}
    root.handlers[:] = []  # pytest's own would be closed
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before[:2]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def configure(*, level: str = "info", numbers: bool = False) -> None:
    assert level in {"debug", "info", "warning"}
    logs.configure(LogSettings(level=level, format="json", numbers=numbers), secrets=[KEY])  # type: ignore[arg-type]


def test_ours_and_the_libraries_lines_have_one_shape(lines: Callable[[], list[dict[str, Any]]]) -> None:
    configure()
    with bound_contextvars(call_sid="CA1"):
        structlog.get_logger().info("call_opened", stream_sid="MZ1")
        logging.getLogger("hypercorn.error").warning("odd %s", "peer")
        logging.getLogger("engine.supervisor").info("ours")
    logging.getLogger("httpx").warning("nobody's")
    ours, theirs, stdlib, nobodys = lines()
    assert (ours["event"], ours["stream_sid"], ours["call_sid"], ours["level"]) == ("call_opened", "MZ1", "CA1", "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("odd peer", "hypercorn.error", "warning")
    assert ours.keys() - {"stream_sid"} == theirs.keys() - {"logger"}
    assert [each.get("call_sid") for each in (ours, theirs, stdlib, nobodys)] == ["CA1", "CA1", "CA1", None]


@pytest.mark.parametrize(("level", "seen"), [("debug", 2), ("info", 1), ("warning", 0)])
def test_libraries_tell_of_what_is_wrong_alone_whatever_the_level(
    level: str, seen: int, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    configure(level=level)
    for name in ("anthropic", "httpx", "hypercorn.error", "trio-websocket"):
        logging.getLogger(name).debug("a whole request")
        logging.getLogger(name).info("a whole request")
    for ours in (structlog.get_logger(), logging.getLogger("engine.supervisor")):
        ours.debug("ours")
        ours.info("ours")
    found = lines()
    assert {each["event"] for each in found} <= {"ours"}
    assert len(found) == 2 * seen


def test_python_s_own_warnings_are_lines_too(lines: Callable[[], list[dict[str, Any]]]) -> None:
    configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("call +15550100002", stacklevel=1)
    (line,) = lines()
    assert line["logger"] == "py.warnings"
    assert "call **********02" in line["event"]


async def test_every_line_of_a_call_has_its_id_from_whichever_task_or_thread(
    lines: Callable[[], list[dict[str, Any]]],
) -> None:
    def in_thread() -> None:
        logging.getLogger("engine.tools").warning("thread")

    async def child(*, task_status: Incarnation) -> None:
        task_status.started()
        structlog.get_logger().info("child")
        if task_status.number == 1:
            raise OSError("once")
        await trio.to_thread.run_sync(in_thread)

    async def serve(call_sid: str) -> None:
        with bound_contextvars(call_sid=call_sid):
            done = trio.Event()

            async def all_of_it(*, task_status: Incarnation) -> None:
                await child(task_status=task_status)
                done.set()
                await trio.sleep_forever()

            supervisor = Supervisor(name="tree", specs=(ChildSpec(id="child", start=all_of_it, shutdown_s=0.0),))
            async with trio.open_nursery() as nursery:
                await nursery.start(supervisor.run)
                await done.wait()
                supervisor.stop()

    configure()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, "CA1")
        nursery.start_soon(serve, "CA2")
    found = [(each.get("call_sid"), each["event"]) for each in lines()]
    for call_sid in ("CA1", "CA2"):
        assert [event for sid, event in found if sid == call_sid] == ["child", "child", "thread"]
    assert len(found) == 6


# ── what must not be read there ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {KEY}, again {KEY}", "key ***, again ***"),
        ("+15550100002", "**********02"),
        ("from +1 (555) 010-0002.", "from ***************02."),
        ("To=%2B15550100002&x", "To=************02&x"),
        ("+1234567", "******67"),
        ("+123456", "+123456"),
        ("2 + 15550100002", "2 + 15550100002"),
        ("+0 123 456 789", "+0 123 456 789"),
        ("2026-11-21T13:46:12+00:00", "2026-11-21T13:46:12+00:00"),
        ("CA15550100002555010000255501000025", "CA15550100002555010000255501000025"),
        ("sip:alice.b@example.com", "sip:***@example.com"),
        ("Authorization: Bearer abcdefgh01234567", "Authorization: Bearer ***"),
        ("{'Authorization': b'Token abcdefgh01234567'}", "{'Authorization': b'Token ***'}"),
        ('{\\"xi-api-key\\": \\"abcdefgh01234567\\"}', '{\\"xi-api-key\\": \\"***\\"}'),
        ("wss://host/media?token=abcdefgh.01234567-x&y=1", "wss://host/media?token=***&y=1"),
        ("('authorization', 'Basic QWxhZGRpbjpvcGVuc2VzYW1l')", "('authorization', 'Basic ***')"),
        ("sent Bearer abcdefgh01234567", "sent Bearer ***"),
        ("postgresql://user:pa55word@host/x", "postgresql://user:***@host/x"),
        ("token expired", "token expired"),
        ("token: expired", "token: expired"),
        ('{"first_token": 0.12345678901234567, "x": 1}', '{"first_token": 0.12345678901234567, "x": 1}'),
        ('["token", -1.2345678901234567e-05]', '["token", -1.2345678901234567e-05]'),
        ('["token", "abcdefgh01234567"]', '["token", "***"]'),
        ("tokens=1234567890123456", "tokens=1234567890123456"),
        ("a bearer of news", "a bearer of news"),
    ],
)
def test_secrets_and_numbers_are_taken_out_of_a_text(text: str, shown: str) -> None:
    assert redaction(secrets=[KEY], numbers=False)(text) == shown


def test_numbers_stand_in_clear_where_that_is_allowed() -> None:
    redacted = redaction(secrets=[KEY], numbers=True)
    assert redacted(f"+15550100002 sip:alice@example.com {KEY}") == "+15550100002 sip:alice@example.com ***"


@pytest.mark.parametrize(("secret", "shown"), [("abcde", "abcde"), ("abcdef", "***"), ('ab"c\\d', "***")])
def test_a_secret_is_known_by_its_value_unless_it_is_a_mere_word(secret: str, shown: str) -> None:
    redacted = redaction(secrets=["", secret], numbers=False)
    assert redacted(f"<{secret}>") == f"<{shown}>"
    assert redacted(json.dumps({"x": secret})) == json.dumps({"x": shown})


def test_a_secret_that_begins_another_hides_neither_by_half() -> None:
    assert redaction(secrets=["abcdef", "abcdefgh"], numbers=False)("abcdefgh abcdef") == "*** ***"


def test_nothing_slips_by_in_a_field_a_traceback_or_a_library_s_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="debug")
    log = structlog.get_logger()

    def fails(words: str) -> None:
        unsaid = f"{words} in a variable"
        raise ValueError(f"{KEY} of {len(unsaid)}")

    log.info("event +15550100002", nested={"of": [{"key": KEY}]}, caller="+15550100002", **{KEY: 1})
    for told in (log, logging.getLogger("anthropic")):
        try:
            fails("transcript")
        except ValueError:
            told.exception("failed")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 3
    assert all(json.loads(line) for line in err.splitlines())
    for secret in (KEY, "5550100002", "transcript", "in a variable"):
        assert secret not in err
    assert "***" in err


def test_a_console_s_lines_are_redacted_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogSettings(level="info", format="console"), secrets=[KEY])
    structlog.get_logger().info("hello", key=KEY, caller="+15550100002")
    logging.getLogger("httpx").warning("hello %s", KEY)
    err = capsys.readouterr().err
    assert "hello" in err
    assert KEY not in err
    assert "5550100002" not in err


def test_a_long_line_takes_no_long_time_whatever_is_in_it() -> None:
    redacted = redaction(secrets=[KEY], numbers=False)
    for odd in ("+1", "sip:", "token", "://a", "bearer ", "a1+", "authorization: ", "+1 555-"):
        assert len(redacted(odd * 20_000)) > 0


# ── what it may cost ──────────────────────────────────────────────────────────────────────────────────────────────────


class Full:
    """A stream that takes no more."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError("nobody reads")

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def test_a_stream_that_takes_no_more_costs_the_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    configure()
    structlog.get_logger().info("into the void")
    logging.getLogger("httpx").error("into the void")
