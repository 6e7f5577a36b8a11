"""What an operator's mistakes in config/engine.toml are answered with."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.errors import ConfigError
from engine.policy import EXHAUSTED, Backoff, RestartPolicy
from engine.settings import BUILT_VENDORS, KNOWN_VENDORS, Settings, load, load_settings, settable

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "config/engine.toml"

NUMBER = "expected a number of seconds from"
ADDRESS = "expected an address of http or https or ws or wss, host and port only"

BAD = [
    # keys
    ("[actors.stt]\nbackof = 1", "actors.stt.backof: unknown key; did you mean 'backoff'?"),
    ("[actors.sst]", "actors.sst: unknown key; did you mean 'stt'?"),
    ("[log]\nLEVEL = 1", "log.LEVEL: unknown key; did you mean 'level'?"),
    ("[pacing]\nstarve_s = 1", "pacing.starve_s: unknown key; known: 'lead_s', 'message_ms', 'rewind_s'"),
    ("[log]\nqqq = 1", "log.qqq: unknown key; known: 'level', 'format', 'numbers'"),
    ('[log]\n"a b" = 1', "log.\"a b\": unknown key; known: 'level', 'format', 'numbers'"),
    # types, of which none is coerced
    ('[actors.stt]\nintensity = "five"', 'actors.stt.intensity: expected an integer from 0 to 1000, got "five"'),
    ('[actors.stt]\nintensity = "5"', 'actors.stt.intensity: expected an integer from 0 to 1000, got "5"'),
    ("[actors.stt]\nintensity = true", "actors.stt.intensity: expected an integer from 0 to 1000, got true"),
    ("[actors.stt]\nintensity = 5.0", "actors.stt.intensity: expected an integer from 0 to 1000, got 5.0"),
    ("[actors.stt]\nintensity = []", "actors.stt.intensity: expected an integer from 0 to 1000, got a list"),
    (
        "[actors.stt]\nintensity = 2026-11-21",
        "actors.stt.intensity: expected an integer from 0 to 1000, got a date or time",
    ),
    ("[turns]\ncomplete_s = true", f"turns.complete_s: {NUMBER} 0 to 10, got true"),
    ('[turns]\ncomplete_s = "0.3"', f'turns.complete_s: {NUMBER} 0 to 10, got "0.3"'),
    ("public_url = 8080", "public_url: expected an address of http or https, got 8080"),
    (
        'public_url = "http://voice.example.com"',
        (
            "public_url: 'http://voice.example.com': it must be https: Twilio streams audio to wss only; http is for "
            "this machine alone"
        ),
    ),
    ('public_url = "https://[::1"', "public_url: no address: invalid ipv6 url"),
    (
        'public_url = "https://me:5ecret@voice.example.com"',
        "public_url: has a user or password in it, with which Twilio's signature would not match",
    ),
    (
        '[door]\ntrusted_proxies = ["10.0.0.1/8"]',
        'door.trusted_proxies[0]: expected an address or network such as "10.0.0.0/8", got "10.0.0.1/8"',
    ),
    ("[log]\nlevel = 1", 'log.level: expected one of "debug", "info", "warning", "error", got 1'),
    ("[log]\nlevel = []", 'log.level: expected one of "debug", "info", "warning", "error", got a list'),
    (
        f'[log]\nformat = "{"x" * 99}"',
        f'log.format: expected one of "console", "json", got "{"x" * 55}..."',
    ),
    ("turns = 3", "turns: expected a table, got 3"),
    ("[call]\nstt = {}", "call.stt: expected a list, got a table"),
    ('[call]\nstt = "local"', 'call.stt: expected a list, got "local"'),
    # ranges, on both sides
    ("[actors.stt]\nintensity = -1", "actors.stt.intensity: expected an integer from 0 to 1000, got -1"),
    ("[turns]\ncomplete_s = -0.1", f"turns.complete_s: {NUMBER} 0 to 10, got -0.1"),
    ("[turns]\ncomplete_s = 10.1", f"turns.complete_s: {NUMBER} 0 to 10, got 10.1"),
    ("[turns]\ncomplete_s = nan", f"turns.complete_s: {NUMBER} 0 to 10, got nan"),
    ("[turns]\ncomplete_s = inf", f"turns.complete_s: {NUMBER} 0 to 10, got inf"),
    ("[turns]\ncomplete_s = -inf", f"turns.complete_s: {NUMBER} 0 to 10, got -inf"),
    ("[turns]\nheld_s = 0.4", f"turns.held_s: {NUMBER} 0.5 to 5, got 0.4"),
    ("[turns]\nheld_s = 5.1", f"turns.held_s: {NUMBER} 0.5 to 5, got 5.1"),
    ("[turns]\nanswer_s = -0.1", f"turns.answer_s: {NUMBER} 0 to 10, got -0.1"),
    ("[turns]\nanswer_s = 10.1", f"turns.answer_s: {NUMBER} 0 to 10, got 10.1"),
    ("[turns]\nstranded_s = 0.9", f"turns.stranded_s: {NUMBER} 1 to 600, got 0.9"),
    ("[turns]\nstranded_s = 601", f"turns.stranded_s: {NUMBER} 1 to 600, got 601"),
    ("[turns]\nbarge_words = 0", "turns.barge_words: expected an integer ≥ 1, got 0"),
    ("[actors.tts.backoff]\nfactor = 0.9", "actors.tts.backoff.factor: expected a number from 1 to 100, got 0.9"),
    ("[actors.tts.backoff]\nmaximum_s = nan", f"actors.tts.backoff.maximum_s: {NUMBER} 0 to 60, got nan"),
    (
        "[actors.tts.backoff]\nminimum_s = 2",
        "actors.tts.backoff.minimum_s: 'minimum_s' must be <= 'maximum_s' (1.0): 2.0",
    ),
    # providers
    ('[call]\nstt = ["deepgrm"]', "call.stt[0]: unknown provider 'deepgrm' for stt; known: 'deepgram', 'local'"),
    (
        '[call]\ntts = ["local", "cartesia"]',
        "call.tts[1]: provider 'cartesia' for tts is not built yet; built: 'elevenlabs', 'local'",
    ),
    ("[call]\nllm = [1]", "call.llm[0]: expected the name of a provider, got 1"),
    ("[call]\ntts = []", "call.tts: tts must name each of its providers once, and one at least, got []"),
    (
        '[call]\ntts = ["local", "local"]',
        "call.tts: tts must name each of its providers once, and one at least, got [local, local]",
    ),
    # addresses
    *(
        (
            f'[vendors.deepgram]\nbase_url = "{url}"',
            f'vendors.deepgram.base_url: {ADDRESS}, got "{url}"',
        )
        for url in (
            "api.deepgram.com",
            "ftp://api.deepgram.com",
            "wss://",
            "wss://api.deepgram.com/v1",
            "wss://api.deepgram.com?a=b",
            "wss://user@api.deepgram.com",
            "wss://api.deepgram.com:99999",
            "wss://[::1",
        )
    ),
    # syntax
    ("a = ", ":1: not TOML: invalid value"),
    ("\n\n[call]\nstt = [", ":4: not TOML: invalid value"),
    ("a = 1\na = 2", ":2: not TOML: cannot overwrite a value"),
]


def mistakes(path: Path) -> list[str]:
    """Return the lines that `path` is refused with; none when it loads."""
    try:
        load_settings(path)
    except ConfigError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(("text", "line"), BAD)
def test_a_mistake_is_named_by_its_path_and_what_was_allowed(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "engine.toml"
    path.write_text(text, encoding="utf-8")
    last = text.count("\n") + 1  # where each of these mistakes stands
    assert mistakes(path) == [f"{path}{line}" if line.startswith(":") else f"{path}:{last}: {line}"]


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "engine.toml"
    path.write_text('[call]\nstt = ["x", "y"]\nidle_s = 0\n[actors.stt]\nbackof = 1\nintensity = -1\n[lgo]\n')
    assert [line.split(": ")[1] for line in mistakes(path)] == [
        "call.stt[0]",
        "call.stt[1]",
        "call.idle_s",
        "actors.stt.intensity",
        "actors.stt.backof",
        "lgo",
    ]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[vendors.deepgram]\napi_key_env = "sk-5ecret"', "vendors.deepgram.api_key_env"),
        ('[vendors.twilio]\nauth_token_env = "5ecret"', "vendors.twilio.auth_token_env"),
        ('[storage]\nurl = "postgresql:/me:5ecret@host/calls"', "storage.url"),
    ],
)
def test_what_may_be_a_secret_is_not_repeated(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "engine.toml"
    path.write_text(text)
    (line,) = mistakes(path)
    assert line.startswith(f"{path}:2: {where}: expected ")
    assert "5ecret" not in line


def test_a_database_password_is_not_in_the_settings_repr() -> None:
    storage = attrs.evolve(Settings().storage, url="postgresql://me:5ecret@host/calls")
    assert "5ecret" not in repr(attrs.evolve(Settings(), storage=storage))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "none.toml") == [f"{tmp_path}/none.toml: cannot be read: no such file or directory"]
    assert mistakes(tmp_path) == [f"{tmp_path}: cannot be read: is a directory"]
    (tmp_path / "latin.toml").write_bytes(b'a = "\xe9"')
    assert mistakes(tmp_path / "latin.toml") == [f"{tmp_path}/latin.toml: not UTF-8 at byte 5"]


def test_a_number_too_long_for_the_parser_is_a_mistake_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "engine.toml"
    path.write_text(f"[turns]\ncomplete_s = {'9' * 5000}")
    (line,) = mistakes(path)
    assert line.startswith(f"{path}: not TOML: exceeds the limit")


def test_lists_within_lists_without_end_are_a_mistake_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "engine.toml"
    path.write_text(f"a = {'[' * 5000}{']' * 5000}")
    (line,) = mistakes(path)
    assert line.startswith(f"{path}: not TOML: maximum recursion depth exceeded")


def test_an_empty_file_means_what_is_shipped(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").touch()
    assert load_settings(tmp_path / "engine.toml") == Settings() == load_settings(SHIPPED)


def test_a_whole_number_may_stand_for_seconds(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text("[turns]\nlongest_s = 4")
    longest_s = load_settings(tmp_path / "engine.toml").turns.longest_s
    assert (longest_s, type(longest_s)) == (4.0, float)


def test_an_address_is_kept_without_its_closing_slash(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text('public_url = "https://Voice.example:8443/"')
    assert load_settings(tmp_path / "engine.toml").public_url == "https://Voice.example:8443"


def test_an_actors_table_is_a_restart_policy(tmp_path: Path) -> None:
    (tmp_path / "engine.toml").write_text("[actors.tts]\nintensity = 2\nperiod_s = 5\nbackoff = { maximum_s = 0.5 }")
    actors = load_settings(tmp_path / "engine.toml").actors
    assert (actors.tts.intensity, actors.tts.period_s, actors.tts.backoff) == (2, 5.0, Backoff(maximum_s=0.5))
    assert actors.agent.policy == RestartPolicy(reasons={}, patience_s=20.0)


def test_the_engine_and_its_tenants_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    settings, tenants = load(SHIPPED)
    assert settings == Settings()
    assert [tenant.id for tenant in tenants.tenants] == ["dental"]


def test_what_is_built_is_known() -> None:
    assert {work: set(names) - set(KNOWN_VENDORS[work]) for work, names in BUILT_VENDORS.items()} == {
        "stt": set(),
        "llm": set(),
        "tts": set(),
    }


def keys(value: object, at: str = "") -> Iterator[str]:
    """Yield the path of every key of a table, or of a value's classes; not of what says only where it differs."""
    kind = type(value)
    table = {name: getattr(value, name) for name in settable(kind)} if attrs.has(kind) else value
    if not isinstance(table, Mapping):
        if value is not None:
            yield at
        return
    for name, part in table.items():
        yield from keys(part, f"{at}.{name}".removeprefix("."))


def test_every_key_that_there_is_stands_in_the_shipped_file() -> None:
    inside = {f"agent.reasons.{EXHAUSTED}"}  # the engine's own, for no file
    assert set(keys(tomllib.loads(SHIPPED.read_text(encoding="utf-8")))) == set(keys(Settings())) - inside


LINES = SHIPPED.read_text(encoding="utf-8").splitlines()
ENTRIES = [index for index, line in enumerate(LINES) if " = " in line.split("#")[0]]
VALUES = st.one_of(
    st.sampled_from(
        ["", "=", "[", "{}", "[]", "[[]]", "[{}]", "true", "nan", "-inf", "1e999", "0x7f", "2026-11-21", '""']
    ),
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ['"local"', '["local"]', '"one_for_all"', '"http://[::1]:80/"', '"http://[/"', "'''\n'''", '"\\u0000"']
    ),
)
NAMES = st.sampled_from(["x", "stt", "backoff", "first_s", '"a.b"', '""', "a.b", "url", "ß"])


@given(st.data())
def test_any_change_of_the_shipped_file_loads_or_is_told_with_its_path(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    lines = list(LINES)
    for index in data.draw(st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=4, unique=True)):
        key, value = lines[index].split(" = ", 1)
        match data.draw(st.sampled_from(["drop", "rename", "retype"])):
            case "drop":
                lines[index] = ""
            case "rename":
                lines[index] = f"{data.draw(NAMES)} = {value}"
            case _:
                lines[index] = f"{key} = {data.draw(VALUES)}"
    path = tmp_path_factory.getbasetemp() / "engine.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert all(line.startswith(f"{path}:") and len(line) > len(f"{path}: ") for line in mistakes(path))


@given(st.sets(st.sampled_from(ENTRIES)))
def test_every_key_may_be_left_out(tmp_path_factory: pytest.TempPathFactory, left_out: set[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "engine.toml"
    path.write_text("\n".join(line for index, line in enumerate(LINES) if index not in left_out), encoding="utf-8")
    assert load_settings(path) == Settings()
