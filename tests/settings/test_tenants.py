"""What a tenant's file may hold, and whom a dialled number belongs to."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.errors import ConfigError
from engine.settings import Tenants, load_tenants

SHIPPED = Path(__file__).parents[2] / "config/tenants"

TENANT = 'name = "A"\nvoice = "heart"\ngreeting = "Hello."\nprompt = "Be brief."\n'
NUMBERED = TENANT + 'numbers = ["+15550100009"]\n'
CLINIC = NUMBERED + 'tools = "clinic"\n[clinic]\ndatabase = "sqlite:///a.sqlite3"\n'

DATABASE = '"sqlite:///var/calls.sqlite3"'
UNSEEN = "what stands there is not shown, it may be a secret"
OPEN = 'timezone = "Europe/London"\nhours.monday = ["09:00-17:00"]\n'

BAD = [
    ('numbers = ["+15550100009"]', ["name: missing", "greeting: missing", "prompt: missing"]),
    (TENANT, ["nobody can reach it: give it numbers, or default = true"]),
    (NUMBERED + "greting = 1", ["6: greting: unknown key; did you mean 'greeting'?"]),
    (NUMBERED + 'human_number = " "', ['6: human_number: expected a telephone number such as "+15550100002", got " "']),
    (
        TENANT + 'numbers = ["+15550100009", "555 0100", "+0123", "+1234567890123456", 5]',
        [
            f'5: numbers[{index}]: expected a telephone number such as "+15550100002", got {number}'
            for index, number in ((1, '"555 0100"'), (2, '"+0123"'), (3, '"+1234567890123456"'), (4, "5"))
        ],
    ),
    (NUMBERED + "default = 1", ["6: default: expected true or false, got 1"]),
    (NUMBERED + 'language = "English"', ['6: language: expected a language such as "en" or "en-US", got "English"']),
    (NUMBERED + '[texts]\ngoodbye = ""', ['7: texts.goodbye: expected a text, got ""']),
    (NUMBERED + "[limits]\nidle_s = 0", ["7: limits.idle_s: expected a number of seconds from 1 to 600, got 0"]),
    (NUMBERED + 'tools = "clinics"', ['6: tools: expected one of "none", "clinic", got "clinics"']),
    (NUMBERED + 'tools = "clinic"', ['tools = "clinic" and a [clinic] table go together']),
    (
        NUMBERED + '[clinic]\ndatabase = "sqlite:///a.sqlite3"\n' + OPEN,
        ['tools = "clinic" and a [clinic] table go together'],
    ),
    (CLINIC, ['7: clinic.hours: missing; expected a table such as { monday = ["09:00-17:00"] }']),
    (CLINIC + OPEN + "hours.mondy = []", ["11: clinic.hours.mondy: unknown key; did you mean 'monday'?"]),
    (
        NUMBERED + 'tools = "clinic"\n[clinic]\ndatabase = "me:5ecret@host"',
        [
            f"8: clinic.database: expected a database address such as {DATABASE}; {UNSEEN}",
        ],
    ),
    (NUMBERED + "script = 1", ["6: script: expected a table, got 1"]),
    (
        NUMBERED + '[speech]\nuninterruptible = ["Calls are recorded.", "…"]',
        ['7: speech.uninterruptible[1]: expected a phrase of words, got "…"'],
    ),
    (
        NUMBERED + "[speech.pronunciations]\nNguyen = 1",
        ["7: speech.pronunciations.Nguyen: expected how it is written for a voice, a text, got 1"],
    ),
    (
        NUMBERED + '[speech.pronunciations]\n" " = "Win"',
        ['6: speech.pronunciations: expected a word or a phrase before its sign of equality, got " "'],
    ),
]


def mistakes(folder: Path) -> list[str]:
    """Return the lines that `folder` is refused with; none when it loads."""
    try:
        load_tenants(folder)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def tenants_of(folder: Path, **files: str) -> Tenants:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return load_tenants(folder)


@pytest.mark.parametrize(("text", "lines"), BAD)
def test_a_mistake_is_named_by_its_path_and_what_was_allowed(tmp_path: Path, text: str, lines: list[str]) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    assert mistakes(tmp_path) == [f"{path}:{line}" if line[0].isdigit() else f"{path}: {line}" for line in lines]


def test_a_number_that_two_tenants_claim_is_refused_with_both_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(NUMBERED)
    assert mistakes(tmp_path) == [
        f"{tmp_path}/b.toml:5: numbers: number +15550100009 is also that of {tmp_path}/a.toml"
    ]


def test_two_default_tenants_are_refused_with_both_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text(TENANT + "default = true")
    assert mistakes(tmp_path) == [f"{tmp_path}/b.toml:5: default: default = true is also that of {tmp_path}/a.toml"]


def test_a_number_that_stands_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(TENANT + 'numbers = ["+15550100009", "+15550100009"]')
    assert mistakes(tmp_path) == [f"{tmp_path}/a.toml:5: numbers: number +15550100009 is there 2 times"]


def test_the_mistakes_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(NUMBERED + "x = 1")
    (tmp_path / "b.toml").write_text("= 1")
    assert [line.partition(": ")[0] for line in mistakes(tmp_path)] == [f"{tmp_path}/a.toml:6", f"{tmp_path}/b.toml:1"]


def test_a_folder_without_tenants_is_refused(tmp_path: Path) -> None:
    assert mistakes(tmp_path) == [f"{tmp_path}: holds no tenant; a tenant is a file such as {tmp_path}/dental.toml"]


def test_a_dialled_number_finds_its_tenant_else_the_default_else_nobody(tmp_path: Path) -> None:
    tenants = tenants_of(tmp_path, a=NUMBERED, b=TENANT + 'numbers = ["+15550100008"]')
    assert [getattr(tenants.for_number(to), "id", None) for to in ("+15550100009", "+15550100008", "+1", "")] == [
        "a",
        "b",
        None,
        None,
    ]
    tenants = tenants_of(tmp_path, c=TENANT + "default = true")
    assert [getattr(tenants.for_number(to), "id", None) for to in ("+15550100009", "+1", "client:ann")] == [
        "a",
        "c",
        "c",
    ]


def test_the_shipped_tenant_is_a_clinic_that_answers_every_number() -> None:
    tenant = load_tenants(SHIPPED).for_number("+15559999999")
    assert tenant is not None
    assert tenant == load_tenants(SHIPPED).for_number("+15550100002")
    assert tenant.clips["greeting"] == "Thank you for calling Bright Smile Dental. How can I help you?"
    assert set(tenant.clips) == {
        "greeting",
        "repeat_please",
        "still_there",
        "goodbye",
        "one_moment",
        "transfer",
        "stopping",
        "apology",
    }
    assert tenant.tools == "clinic"
    assert tenant.clinic is not None
    assert tenant.clinic["database"] == "sqlite:///var/bright-smile.sqlite3"


def test_a_script_is_passed_on_as_it_stands(tmp_path: Path) -> None:
    tenant = tenants_of(tmp_path, a=NUMBERED + "[script.book]\nexamples = ['a', 'b']\n").for_number("+15550100009")
    assert tenant is not None
    assert tenant.script == {"book": {"examples": ["a", "b"]}}


LINES = (SHIPPED / "dental.toml").read_text(encoding="utf-8").splitlines()


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(["", "x", "= 1", "name = 1", '"']))))
def test_any_lines_overwritten_load_or_are_told_with_their_path(
    tmp_path_factory: pytest.TempPathFactory, overwritten: list[tuple[int, str]]
) -> None:
    lines = list(LINES)
    for index, text in overwritten:
        lines[index] = text
    folder = tmp_path_factory.getbasetemp() / "tenants"
    folder.mkdir(exist_ok=True)
    (folder / "dental.toml").write_text("\n".join(lines), encoding="utf-8")
    assert all(line.startswith(f"{folder}/dental.toml:") for line in mistakes(folder))


@pytest.mark.parametrize(
    ("lines", "elevenlabs", "local"),
    [
        ('voice = "heart"', "the default", "heart"),
        ('voice = "EXAVITQu4vr4xnSDxMaL"', "EXAVITQu4vr4xnSDxMaL", "the default"),
        ('voice = "heart"\nvoices = { elevenlabs = "abc" }', "abc", "heart"),
    ],
)
def test_a_tenant_speaks_at_each_vendor_in_the_voice_it_names_there(
    tmp_path: Path, lines: str, elevenlabs: str, local: str
) -> None:
    text = 'name = "A"\ndefault = true\ngreeting = "Hello."\nprompt = "You answer."\n'
    (tmp_path / "a.toml").write_text(text + lines, encoding="utf-8")
    (tenant,) = load_tenants(tmp_path).tenants
    assert tenant.voice_at("elevenlabs", "the default") == elevenlabs
    assert tenant.voice_at("local", "the default") == local
