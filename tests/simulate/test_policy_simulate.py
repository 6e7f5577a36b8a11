"""What callers live through while vendors fail, as `holdfast policy simulate` tells it."""

import json
import math
import re
from functools import partial
from pathlib import Path

import attrs
import pytest
import structlog

from engine.faults import Refuse
from engine.health import Circuit
from engine.messages.errors import ConfigError
from engine.supervisor import FailedBack, FailedOver
from holdfast.simulate import Asked, health_lines, policy_of, simulate, trouble
from simulators.virtual.rehearsal import Outage, Rehearsal, Rehearsed, Told, Wear, rehearse

FILE = """
tenants = "{folder}"
[call]
stt = ["deepgram", "local"]
llm = ["anthropic", "local"]
tts = ["elevenlabs", "local"]
{more}
"""

TENANT = """
name = "Bistro"
default = true
greeting = "Good evening, bistro speaking."
prompt = "You answer the phone."
[actors.stt]
intensity = 1
"""


DENTAL = """
name = "Dental"
numbers = ["+15550100009"]
greeting = "Dental."
prompt = "You answer the phone."
tools = "clinic"
[clinic]
database = "sqlite:///clinic.sqlite3"
timezone = "America/New_York"
slot_minutes = 30
bookable_days = 365
hours = { monday = ["08:00-12:00"] }
"""


@pytest.fixture(autouse=True)
def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def written(folder: Path, more: str = "", name: str = "engine.toml") -> Path:
    (folder / "tenants").mkdir(exist_ok=True)
    (folder / "tenants" / "bistro.toml").write_text(TENANT)
    file = folder / name
    file.write_text(FILE.format(folder=folder / "tenants", more=more))
    return file


def played(folder: Path, *troubles: str, more: str = "", tenant: str = "", calls: int = 3) -> Rehearsal:
    read = [trouble(each) for each in troubles]
    policy = policy_of(written(folder, more), tenant, [each.vendor for each in read])
    return rehearse(policy.settings, policy.tenant, read, calls=calls)


# ── an operator's words ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deepgram:3s+12s", Outage(vendor="deepgram", at_s=3.0, lasts_s=12.0)),
        ("deepgram:0s+1ms", Outage(vendor="deepgram", at_s=0.0, lasts_s=0.001)),
        ("local:500ms+1.5m", Outage(vendor="local", at_s=0.5, lasts_s=90.0)),
        ("anthropic:60m+ever", Outage(vendor="anthropic", at_s=3600.0, lasts_s=math.inf)),
        ("elevenlabs:20s:every2", Wear(vendor="elevenlabs", lasts_s=20.0, every=2)),
        ("elevenlabs:20s:every1", Wear(vendor="elevenlabs", lasts_s=20.0, every=1)),
    ],
)
def test_an_outage_is_read(text: str, expected: object) -> None:
    assert trouble(text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("deepgrm:3s+12s", "unknown vendor 'deepgrm'; did you mean 'deepgram'?"),
        ("whisper:3s+12s", "unknown vendor 'whisper'; known: anthropic, deepgram, elevenlabs, local"),
        ("deepgram:3x+12s", "'3x' is no time; expected one such as 500ms, 3s or 2m"),
        ("deepgram:3s+12", "'12' is no time"),
        ("deepgram:-3s+12s", "'-3s' is no time"),
        ("deepgram:3s+0s", "'0s' is out of range"),
        ("deepgram:61m+1s", "'61m' is out of range"),
        ("deepgram:3s", "expected VENDOR:AT+LENGTH such as deepgram:3s+12s, or VENDOR:LENGTH:everyN"),
        ("deepgram", "expected VENDOR:AT+LENGTH"),
        ("", "expected VENDOR:AT+LENGTH"),
        ("elevenlabs:20s:evry2", "'evry2' does not say which connections; expected 'every2'"),
        ("elevenlabs:20s:every0", "'every0' does not say"),
        ("elevenlabs:3s+20s:every2", "'3s+20s' is no time"),
        ("elevenlabs:1s:every2:x", "expected VENDOR:AT+LENGTH"),
    ],
)
def test_a_typo_in_an_outage_is_named_with_what_is_allowed(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as raised:
        trouble(text)
    assert str(raised.value).startswith(f"--outage {text!r}: ")
    assert named in str(raised.value)


def test_a_tenant_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--tenant: no tenant 'bistrot'; did you mean 'bistro'\?"):
        policy_of(written(tmp_path), "bistrot", [])


def test_a_policy_that_cannot_work_is_refused_by_its_line_before_a_call_is_played(tmp_path: Path) -> None:
    bad = written(tmp_path, "[actors.stt]\nperiod_s = 0.0", "bad.toml")
    with pytest.raises(ConfigError, match=r"bad.toml:8: actors.stt.period_s: expected a number of seconds from 0.1"):
        simulate(Asked(outages=["deepgram:3s+1s"], policy=written(tmp_path), against=bad))


def test_a_vendor_that_serves_nobody_is_tried_as_if_it_were_the_first(tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_text(f'tenants = "{tmp_path / "tenants"}"\n')
    policy = policy_of(file, "", ["deepgram", "local"])
    assert policy.settings.vendors_of(policy.tenant, "stt") == ("deepgram", "local")
    assert policy.settings.vendors_of(policy.tenant, "tts") == ("local",)
    assert policy.notes == (f'{file} has no \'deepgram\': tried with stt = ["deepgram", "local"]',)


def connected(call: Rehearsed) -> list[str]:
    """Who recognised, one after another."""
    return [each.who for each in call.report.happened if each.what == "connected for stt"]


# ── what callers live through ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_vendor_that_goes_away_is_replaced_and_no_word_is_lost(tmp_path: Path) -> None:
    first, second, third = played(tmp_path, "deepgram:3s+12s").calls
    assert [(call.ended, call.lost, call.repeated) for call in (first, second, third)] == [("stop", (), ())] * 3
    (over,) = [event for event in first.events if isinstance(event, FailedOver)]
    assert (over.was, over.now_on) == ("deepgram", "local")
    assert 3.0 < over.happened_at < 4.5
    assert connected(second) == ["local"], "a new call begins with who is well"
    assert second.report.restarts("stt") == 0
    assert connected(third) == ["deepgram"]
    assert [event.now_on for event in third.events if isinstance(event, FailedBack)] == ["deepgram"]


@pytest.mark.parametrize(
    ("opened_s", "expected"),
    [
        (0.0, Refuse("deepgram", at=3.0, lasts_s=12.0)),
        (3.0, Refuse("deepgram", at=0.0, lasts_s=12.0)),
        (10.0, Refuse("deepgram", at=0.0, lasts_s=5.0)),
        (14.75, Refuse("deepgram", at=0.0, lasts_s=0.25)),
        (15.0, None),
    ],
)
def test_each_call_has_its_own_share_of_an_outage(opened_s: float, expected: Refuse | None) -> None:
    assert Outage(vendor="deepgram", at_s=3.0, lasts_s=12.0).as_fault(opened_s) == expected


def test_every_second_connection_breaks_off_after_its_time_whosever_it_is(tmp_path: Path) -> None:
    calls = played(tmp_path, "elevenlabs:8s:every2", calls=4).calls
    # Of five connections the second and the fourth break off; who is cut off is connected again.
    connections = sorted(
        call.opened_s + each.at_s for call in calls for each in call.report.happened if each.what == "connected for tts"
    )
    broken = sorted({event.happened_at for call in calls for event in call.events if "broke off" in str(event)})
    assert [round(at_s - connections[index], 3) for index, at_s in zip((1, 3), broken, strict=False)] == [8.0, 8.0]
    assert all(not call.is_lost and not call.lost and not call.repeated for call in calls)


def test_a_model_that_breaks_off_in_the_middle_of_an_answer_goes_on(tmp_path: Path) -> None:
    (call,) = played(tmp_path, "anthropic:900ms:every2", calls=1).calls
    assert any("broke off" in each.why for each in call.report.happened)
    assert (call.ended, call.lost, call.repeated) == ("stop", (), ())


def test_a_call_whose_vendors_stay_away_is_lost_with_the_silence_before_it(tmp_path: Path) -> None:
    (call,) = played(tmp_path, "elevenlabs:3s+ever", "local:3s+ever", calls=1).calls
    assert (call.ended, call.is_lost) == ("the caller gave up", True)
    ((start_s, end_s),) = call.dead_air[-1:]
    assert end_s - start_s > 15.0
    text = simulate(Asked(outages=["elevenlabs:3s+ever", "local:3s+ever"], policy=written(tmp_path), calls=1))
    assert re.search(r"silence    dead air, \d+\.\d s", text)
    assert "1, 1 lost: call 1 the caller gave up" in text


def test_a_tenants_own_policy_is_the_one_that_is_tried(tmp_path: Path) -> None:
    (of_all,) = played(tmp_path, "deepgram:3s+12s", calls=1).calls
    (own,) = played(tmp_path, "deepgram:3s+12s", calls=1, tenant="bistro").calls
    assert of_all.report.restarts("stt") > own.report.restarts("stt") == 2
    assert own.sounds[0].text == "Good evening, bistro speaking."


def test_the_same_seed_tells_the_same_and_another_waits_otherwise(tmp_path: Path) -> None:
    asked = [
        Asked(outages=["deepgram:3s+12s"], policy=written(tmp_path), calls=1, seed=seed, as_json=True)
        for seed in (4, 4, 5)
    ]
    first, again, other = (json.loads(simulate(each))["calls"][0]["timeline"] for each in asked)
    assert first == again
    waits = [[line["text"] for line in lines if "; again in" in line["text"]] for lines in (first, other)]
    assert len(waits[0]) == len(waits[1]) == 2
    assert waits[0] != waits[1]


def test_the_timeline_says_who_said_what_who_failed_and_who_took_over(tmp_path: Path) -> None:
    text = simulate(Asked(outages=["deepgram:3s+12s"], policy=written(tmp_path)))
    for line in (
        r"call 1, opened at 0\.0 s",
        r" 2\.\d\d – +5\.\d\d  caller     “hello i would like to reserve a table for four people please”",
        r" 3\.00 +deepgram   is away, for 12 s",
        r" 3\.00 +stt +deepgram broke off; again at once",
        r" 3\.05 +stt +deepgram lets nobody in; again in 0\.\d\d s",
        r" 3\.\d\d +stt +deepgram lets nobody in; over to local",
        r" 15\.00 +deepgram   is there again",
        r" 3\.\d\d +stt +deepgram is down: no new call begins with it, one may try it after 15 s",
        r" +calls +3, 0 lost",
        r" +words lost +none",
        r" +failed over +stt from deepgram to local after 0\.\d\d s in call 1",
        r" +failed back +deepgram at \d\d\.\d s by call 3",
    ):
        assert re.search(line, text), line
    assert text == text.encode("utf-8", "strict").decode()
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_try_that_showed_nothing_keeps_a_vendor_away_for_no_longer_and_one_that_failed_does() -> None:
    told = partial(Told, work="stt", vendor="deepgram (en)")
    circuits = (
        told(at_s=3.0, circuit=Circuit.OPEN, after_s=15.0),
        told(at_s=18.0, circuit=Circuit.HALF_OPEN, after_s=15.0),
        told(at_s=19.0, circuit=Circuit.OPEN, after_s=0.0),
        told(at_s=20.0, circuit=Circuit.HALF_OPEN, after_s=15.0),
        told(at_s=21.0, circuit=Circuit.OPEN, after_s=30.0),
    )
    lines = [line.text for line in health_lines(Rehearsal(calls=(), circuits=circuits))]
    assert [line.partition("deepgram (en) ")[2] for line in lines] == [
        "is down: no new call begins with it, one may try it after 15 s",
        "is tried by one call",
        "was tried, and nothing was shown: the next call may try it",
        "is tried by one call",
        "is down: no new call begins with it, one may try it after 30 s",
    ]


def test_two_policies_are_told_side_by_side_with_what_differs(tmp_path: Path) -> None:
    hasty = written(tmp_path, "[actors.stt.vendors.deepgram]\nintensity = 0", "hasty.toml")
    asked = Asked(outages=["deepgram:3s+12s"], policy=written(tmp_path), against=hasty, calls=1)
    text = simulate(asked)
    assert re.search(r"actors\.stt\.vendors\.deepgram: .* \| .*intensity=0", text)
    # The same on both sides has no bar between, what is another has.
    assert re.search(r"is away, for 12 s +3\.00 deepgram +is away", text)
    assert re.search(r"broke off; again at once +\| +3\.00 stt +deepgram broke off; over to local", text)
    both = json.loads(simulate(attrs.evolve(asked, as_json=True)))
    assert both["policy"]["calls"][0]["restarts"]["stt"] > both["against"]["calls"][0]["restarts"]["stt"]


def test_no_tool_of_a_business_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path)
    (tmp_path / "tenants" / "dental.toml").write_text(DENTAL)
    policy = policy_of(file, "dental", [])
    assert (policy.tenant.name, policy.tenant.tools, policy.tenant.clinic) == ("Dental", "none", None)
    rehearse(policy.settings, policy.tenant, [], calls=1, turns=["hello"])
    assert not (tmp_path / "clinic.sqlite3").exists()


def test_words_that_nobody_heard_are_told_as_lost(tmp_path: Path) -> None:
    (call,) = played(tmp_path, "deepgram:3s+ever", "local:3s+ever", calls=1).calls
    assert call.is_lost
    assert call.lost[:4] == ("hello", "i", "would", "like")
