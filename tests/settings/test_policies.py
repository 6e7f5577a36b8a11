"""Policies, as an operator tunes them: which word counts, and which policies cannot work."""

import math
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.agent import AgentPolicy
from engine.actors.pacer import PacingPolicy
from engine.actors.turn_detector import TurnPolicy
from engine.messages.errors import ConfigError
from engine.policy import Answer, Backoff, GiveUp, Restart, RestartPolicy, RestartState
from engine.settings import AgentOverride, Configuration, Settings, Tenant, load_tenants, read, settable, window_s

TENANT = 'name = "A"\ngreeting = "Hello."\nprompt = "Be brief."\ndefault = true\nhuman_number = "+15550100009"\n'
LISTS = '[call]\nstt = ["deepgram", "local"]\ntts = ["elevenlabs", "local"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tenants").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def configured(engine: str, tenant: str = "") -> Configuration:
    """Read these files, in the folder that is worked in."""
    Path("engine.toml").write_text('tenants = "tenants"\n' + engine, encoding="utf-8")
    Path("tenants/a.toml").write_text(TENANT + tenant, encoding="utf-8")
    return read(Path("engine.toml"))


def mistakes(engine: str, tenant: str = "") -> list[str]:
    try:
        configured(engine, tenant)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def settled(configuration: Configuration, vendor: str, *, actor: str = "stt") -> Any:
    return configuration.settings.actor(configuration.tenants.tenants[0], actor, vendor)


# ── which word counts ─────────────────────────────────────────────────────────────────────────────────────────────────

EVERYWHERE = (
    ("", "[actors.stt.vendors.deepgram]\nintensity = 14\n", 14),
    ("", "[actors.stt]\nintensity = 13\n", 13),
    ("[actors.stt.vendors.deepgram]\nintensity = 12\n", "", 12),
    ("[actors.stt]\nintensity = 11\n", "", 11),
    ("", "", 5),
)


@pytest.mark.parametrize("first", range(len(EVERYWHERE)))
def test_the_nearest_word_counts_the_tenants_before_the_engines_the_vendors_before_the_actors(
    first: int, folder: Path
) -> None:
    said = EVERYWHERE[first:]
    engine = "".join(each[0] for each in reversed(said))
    tenant = "".join(each[1] for each in reversed(said))
    configuration = configured(LISTS + "[supervisor]\nintensity = 0\n" + engine, tenant)
    assert settled(configuration, "deepgram").intensity == said[0][2]


def test_each_field_is_settled_by_itself(folder: Path) -> None:
    configuration = configured(
        LISTS
        + '[actors.stt]\nreasons = { "1008" = "next", down = "restart" }\n'
        + "backoff = { first_s = 0.2, maximum_s = 0.8 }\n"
        + "[actors.stt.vendors.deepgram]\nbackoff = { maximum_s = 0.6 }\n",
        '[actors.stt]\nperiod_s = 7\nrestart = "transient"\n'
        '[actors.stt.vendors.deepgram.reasons]\ndown = "next"\nrefused = "end"\n',
    )
    found = settled(configuration, "deepgram")
    assert (found.restart.value, found.intensity, found.period_s, found.shutdown_s) == ("transient", 5, 7.0, 2.0)
    assert found.backoff == Backoff(first_s=0.2, maximum_s=0.6)
    assert found.reasons == {
        "refused": Answer.END,
        "429": Answer.RESTART,
        "1008": Answer.NEXT,
        "down": Answer.NEXT,
    }
    other = settled(configuration, "local")
    assert (other.backoff.maximum_s, other.reasons["down"], other.reasons["refused"]) == (
        0.8,
        Answer.RESTART,
        Answer.NEXT,
    )


def test_what_is_said_of_a_vendor_counts_before_what_is_said_of_the_last(folder: Path) -> None:
    said = "[actors.stt.last]\nintensity = 2\nperiod_s = 8\n[actors.stt.vendors.local]\nintensity = 7\n"
    for engine, tenant in ((said, ""), ("", said)):
        policy = settled(configured(LISTS + engine, tenant), "local")
        assert (policy.intensity, policy.period_s) == (7, 8.0)


def test_what_is_usual_of_refusals_can_be_changed(folder: Path) -> None:
    configuration = configured('[actors.stt]\nreasons = { refused = "restart", "429" = "next" }\n')
    assert settled(configuration, "local").reasons == {"refused": Answer.RESTART, "429": Answer.NEXT}


def test_a_tenant_that_says_nothing_has_the_engines_policies(folder: Path) -> None:
    configuration = configured(LISTS + "[actors.agent]\nintensity = 3\n")
    for actor, vendor in (("agent", ""), ("stt", "deepgram"), ("tts", "local")):
        assert settled(configuration, vendor, actor=actor) == configuration.settings.actor(None, actor, vendor)


def test_a_tenants_list_stands_for_the_engines_work_by_work(folder: Path) -> None:
    configuration = configured(LISTS, '[call]\nstt = ["local"]\n')
    (tenant,) = configuration.tenants.tenants
    settings = configuration.settings
    assert [settings.vendors_of(tenant, work) for work in ("stt", "llm", "tts")] == [
        ("local",),
        ("local",),
        ("elevenlabs", "local"),
    ]
    assert settings.vendors_of(None, "stt") == ("deepgram", "local")


@pytest.mark.parametrize(
    ("actor", "first", "restarts", "waits_s"),
    [("stt", "deepgram", (5, 10.0, 5.0), 2.4), ("tts", "elevenlabs", (2, 5.0, 2.0), 0.2)],
)
def test_who_has_another_behind_it_is_given_up_soon_and_the_last_is_borne_by_patience(
    actor: str, first: str, restarts: tuple[int, float, float], waits_s: float, folder: Path
) -> None:
    settings = configured(LISTS).settings
    quick, last, itself = (settings.restart_policy(None, actor, vendor) for vendor in (first, "local", ""))
    longest_s = sum(quick.backoff.longest_s(streak) for streak in range(quick.intensity))
    assert (quick.intensity, quick.period_s, quick.patience_s) == restarts
    assert longest_s == pytest.approx(waits_s)
    assert last == itself == RestartPolicy(intensity=60, period_s=60.0, patience_s=20.0, reasons=last.reasons)
    assert configured("").settings.restart_policy(None, actor, "local") == last
    assert window_s(last) > last.patience_s


@pytest.mark.parametrize("attempt_s", [0.0, 0.5, 3.0, 8.0])
def test_the_last_is_given_up_after_its_patience_and_the_attempt_under_way_however_long_attempts_take(
    attempt_s: float,
) -> None:
    policy = Settings().restart_policy(None, "stt", "local")
    ended_s, then = until_given_up(policy, attempt_s=attempt_s)
    assert then.exhausted
    assert policy.patience_s < ended_s <= policy.patience_s + attempt_s + policy.backoff.maximum_s


@pytest.mark.parametrize(
    ("said", "restarts"),
    [
        ("[actors.tts]\nintensity = 3\nperiod_s = 8\npatience_s = 4\n", (60, 60.0, 20.0)),
        ("[actors.tts.last]\nintensity = 70\n", (70, 60.0, 20.0)),
        ("[actors.tts.last]\nperiod_s = 70\n", (60, 70.0, 20.0)),
        ("[actors.tts.last]\npatience_s = 10\n", (60, 60.0, 10.0)),
        ("[actors.tts]\nintensity = 3\n[actors.tts.last]\nintensity = 4\n", (4, 60.0, 20.0)),
        ("[actors.tts.vendors.local]\npatience_s = 7\n", (60, 60.0, 7.0)),
    ],
)
def test_who_says_a_part_of_the_last_keeps_the_rest_of_it(
    said: str, restarts: tuple[int, float, float], folder: Path
) -> None:
    policy = configured(LISTS + said).settings.restart_policy(None, "tts", "local")
    assert (policy.intensity, policy.period_s, policy.patience_s) == restarts


def test_what_a_tenant_says_of_an_actor_counts_before_what_the_engine_says_of_its_last(folder: Path) -> None:
    policy = settled(configured("", "[actors.tts]\npatience_s = 6\n"), "local", actor="tts")
    assert (policy.intensity, policy.period_s, policy.patience_s) == (60, 60.0, 6.0)


def test_the_last_of_a_list_is_the_last_of_the_tenants_list(folder: Path) -> None:
    configuration = configured(LISTS, '[call]\ntts = ["local", "elevenlabs"]\n')
    assert settled(configuration, "elevenlabs", actor="tts").intensity == 60
    assert settled(configuration, "local", actor="tts").intensity == 2


def test_a_tenants_patience_with_models_is_its_own_field_by_field(folder: Path) -> None:
    configuration = configured("[agent]\nfiller_s = 1\n", '[agent]\nstall_s = 2\nreasons = { "529" = "next" }\n')
    found = configuration.settings.agent_of(configuration.tenants.tenants[0])
    assert (found.filler_s, found.stall_s, found.first_token_s) == (1.0, 2.0, 2.5)
    assert (found.reasons["529"], found.reasons["refused"]) == (Answer.NEXT, Answer.NEXT)
    assert configuration.settings.agent_of(None) == configuration.settings.agent


def test_all_that_may_be_set_of_a_model_may_be_set_for_a_tenant() -> None:
    assert {field.name for field in attrs.fields(AgentOverride)} == set(settable(AgentPolicy))


def test_all_that_may_be_set_of_turns_may_be_set_for_a_tenant_but_what_is_of_the_recogniser() -> None:
    turns = Tenant(id="a", name="A", default=True, greeting="Hello.", prompt="").turns
    assert set(settable(TurnPolicy)) - {field.name for field in attrs.fields(type(turns))} == {"behind_s", "lag_s"}


TURNS = "held_s = {}\nanswer_s = {}\nstranded_s = {}\n"


@pytest.mark.parametrize(
    ("engine", "tenant", "expected"),
    [
        ("", "", (4.0, 1.5, 3.0)),
        (TURNS.format(0.5, 0, 1), "", (0.5, 0.0, 1.0)),
        (TURNS.format(5, 10, 600), "", (5.0, 10.0, 600.0)),
        (TURNS.format(2, 1, 5), "stranded_s = 6\n", (2.0, 1.0, 6.0)),
        (TURNS.format(2, 1, 5), TURNS.format(3, 0, 6), (3.0, 0.0, 6.0)),
    ],
)
@pytest.mark.usefixtures("folder")
def test_how_long_an_agent_is_held_and_its_cut_caller_left_alone_is_the_tenants_word_else_the_engines(
    engine: str, tenant: str, expected: tuple[float, float, float]
) -> None:
    files = configured(f"[turns]\n{engine}", f"[turns]\n{tenant}")
    turns = files.settings.turns_of(files.tenants.tenants[0])
    assert (turns.held_s, turns.answer_s, turns.stranded_s) == expected


@pytest.mark.usefixtures("folder")
def test_the_longest_hold_is_over_before_the_playout_goes_on_by_itself() -> None:
    held_s = configured("[turns]\nheld_s = 5\n").settings.turns.held_s
    assert held_s < PacingPolicy().held_s
    with pytest.raises(ConfigError):
        configured(f"[turns]\nheld_s = {PacingPolicy().held_s}\n")


# ── policies that cannot work ─────────────────────────────────────────────────────────────────────────────────────────

STT, DEEPGRAM = "[actors.stt]\n", "[actors.stt.vendors.deepgram]\n"
WAITS = "backoff = { first_s = 1.0, minimum_s = 1.0, maximum_s = 1.0 }\n"

# The engine's file begins with a line of its own, and LISTS has three: a table that follows them stands in line 5.
BAD = [
    ("[actors.stt]\nperiod_s = 0", "engine.toml:3: actors.stt.period_s: expected a number of seconds from 0.1 to 3600"),
    (
        "[actors.stt.backoff]\nfirst_s = 2",
        "engine.toml:3: actors.stt.backoff.first_s: 'first_s' must be <= 'maximum_s' (1.0): 2.0",
    ),
    (
        '[actors.stt]\nreasons = { refused = "nxt" }',
        'engine.toml:3: actors.stt.reasons.refused: expected one of "restart", "next", "end", got "nxt"',
    ),
    (
        '[actors.stt]\nreasons = { refusd = "next" }',
        "engine.toml:3: actors.stt.reasons.refusd: unknown kind of failure; did you mean 'refused'?",
    ),
    (
        '[actors.stt]\nreasons = { "a b" = "next" }',
        (
            'engine.toml:3: actors.stt.reasons."a b": expected a vendor\'s code such as "401", or one of '
            "'refused', 'down', 'slow', 'crash'"
        ),
    ),
    (
        '[actors.pacer]\nreasons = { crash = "next" }',
        (
            'engine.toml:3: actors.pacer.reasons.crash: "next": nobody can take over from pacer; '
            'expected "restart" or "end"'
        ),
    ),
    (
        '[actors.tts]\nrestart = "temporary"',
        (
            'engine.toml:3: actors.tts.restart: "temporary" would leave a call without its tts; '
            'expected "permanent", "transient"'
        ),
    ),
    (
        "[actors.agent.vendors.anthropic]\nintensity = 1",
        (
            "engine.toml:2: actors.agent.vendors: unknown key; agent has no session with a vendor; "
            "actors.stt and actors.tts have"
        ),
    ),
    (
        "[actors.stt.vendors.deepgrm]\nintensity = 1",
        "engine.toml:2: actors.stt.vendors.deepgrm: unknown provider 'deepgrm' for stt; known: 'deepgram', 'local'",
    ),
    (
        "[actors.stt.vendors.elevenlabs]\nintensity = 1",
        "engine.toml:2: actors.stt.vendors.elevenlabs: unknown provider 'elevenlabs' for stt; known:",
    ),
    (
        DEEPGRAM + 'restart = "transient"',
        (
            "engine.toml:3: actors.stt.vendors.deepgram.restart: unknown key; known: 'intensity', 'period_s', "
            "'patience_s', 'backoff', 'reasons'"
        ),
    ),
    *(
        (
            f"[supervisor]\non_exhausted = {steps}",
            (
                "engine.toml:3: supervisor.on_exhausted: on_exhausted must name each step once, one at least, "
                f'and "hangup" last, got {steps}'
            ),
        )
        for steps in ("[]", '["transfer", "transfer"]', '["hangup", "transfer"]', '["hangup", "hangup"]')
    ),
    (
        "[health]\nopen_s = 200",
        "engine.toml:3: health.open_s: 'open_s' must be <= 'longest_open_s' (120.0): 200.0",
    ),
    (
        "[actors.stt.backoff]\nmaximum_s = 0.05",
        "engine.toml:3: actors.stt.backoff.maximum_s: 'minimum_s' must be <= 'maximum_s' (0.05): 0.1",
    ),
    # only the whole shows it
    (
        LISTS + DEEPGRAM + "backoff = { minimum_s = 2 }",
        "engine.toml:6: actors.stt.vendors.deepgram.backoff.minimum_s: 'minimum_s' must be <= 'maximum_s' (1.0): 2.0",
    ),
    (
        LISTS + STT + "intensity = 1000\nperiod_s = 1\npatience_s = 3600",
        (
            "engine.toml:8: actors.stt.patience_s: one that fails at once every time would be borne for 3600 s, "
            "because 1000 restarts in 1 s are never exceeded; expected 300 at most"
        ),
    ),
    (
        "[actors.stt.last]\nintensity = 1000\nperiod_s = 600\npatience_s = 3600",
        (
            "engine.toml:5: actors.stt.last.patience_s: one that fails at once every time would be borne for 549 s, "
            "because 1000 restarts in 600 s are exceeded only after 549 s; expected 300 at most"
        ),
    ),
]


@pytest.mark.parametrize(("engine", "line"), BAD)
def test_a_policy_that_cannot_work_is_refused_by_its_line(engine: str, line: str, folder: Path) -> None:
    told = mistakes(engine)
    assert len(told) == 1
    assert told[0].startswith(line)


@pytest.mark.parametrize(
    ("tenant", "line"),
    [
        (
            "[actors.stt.backoff]\nminimum_s = 2\n",
            "tenants/a.toml:7: actors.stt.backoff.minimum_s: 'minimum_s' must be <= 'maximum_s' (1.0): 2.0",
        ),
        (
            "[actors.stt.backoff]\nmaximum_s = 0.05\n",
            "tenants/a.toml:7: actors.stt.backoff.maximum_s: 'minimum_s' must be <= 'maximum_s' (0.05): 0.1",
        ),
        ('[call]\nstt = ["x"]\n', "tenants/a.toml:7: call.stt[0]: unknown provider 'x' for stt"),
        ("[call]\nstt = []\n", "tenants/a.toml:7: call.stt: stt must name each of its providers once, and one at"),
        ('[actors.stt]\nrestart = "temporary"\n', 'tenants/a.toml:7: actors.stt.restart: "temporary" would leave'),
        ("[actors.sst]\n", "tenants/a.toml:6: actors.sst: unknown key; did you mean 'stt'?"),
        (
            "[actors.stt]\nintensity = 900\npatience_s = 301\n",
            "tenants/a.toml:8: actors.stt.patience_s: one that fails at once every time would be borne for 301 s",
        ),
        (
            "[actors.stt.last]\nintensity = 900\npatience_s = 301\n",
            "tenants/a.toml:8: actors.stt.last.patience_s: one that fails at once every time would be borne for 301 s",
        ),
        (
            "[actors.stt.last]\nintensity = 30\n",
            "tenants/a.toml:7: actors.stt.last.intensity: a call would bear it for ever",
        ),
    ],
)
def test_a_tenants_policy_is_refused_by_the_line_of_its_own_file(tenant: str, line: str, folder: Path) -> None:
    told = mistakes("", tenant)
    assert len(told) == 1
    assert told[0].startswith(line)


def test_a_mistake_that_all_tenants_meet_is_told_once(folder: Path) -> None:
    for name in ("b", "c"):
        other = TENANT.replace("default = true", f'numbers = ["+1555010000{ord(name) - 97}"]')
        (folder / f"tenants/{name}.toml").write_text(other, encoding="utf-8")
    assert len(mistakes("[actors.stt.last]\nintensity = 30\n")) == 1


@pytest.mark.parametrize(
    ("said", "is_right"),
    [
        ("intensity = 60\nperiod_s = 60\npatience_s = 20\n", True),  # never exceeded, and need not be
        ("intensity = 60\nperiod_s = 60\npatience_s = 3600\n", True),  # patience never ends, and need not
        ("intensity = 1000\nperiod_s = 1\npatience_s = 300\n", True),
        ("intensity = 1000\nperiod_s = 1\npatience_s = 300.1\n", False),
        # The waits are 1.0 s each: 300 restarts fill a window of 300 s, for a failure exactly that old still counts.
        (f"intensity = 300\nperiod_s = 300\npatience_s = 3600\n{WAITS}", True),
        (f"intensity = 301\nperiod_s = 300\npatience_s = 3600\n{WAITS}", False),
        (f"intensity = 301\nperiod_s = 301\npatience_s = 3600\n{WAITS}", False),
    ],
)
def test_who_fails_at_once_is_borne_for_five_minutes_at_most(said: str, is_right: bool, folder: Path) -> None:
    told = mistakes(LISTS + DEEPGRAM + said)
    assert (told == []) == is_right
    assert all("actors.stt.vendors.deepgram.patience_s: one that fails at once" in line for line in told)


def until_given_up(policy: RestartPolicy, *, attempt_s: float = 0.0) -> tuple[float, GiveUp]:
    """Return when the policy itself gives up one that always fails, each wait as long as it is on average."""
    state, now = RestartState(policy=policy), 0.0
    while True:
        wait_s = policy.backoff.wait_s(state.streaks.get("", 0), 0.5)
        state, then = state.failed("", now)
        if isinstance(then, GiveUp):
            return now, then
        assert isinstance(then, Restart)
        now += wait_s + attempt_s


@given(
    intensity=st.integers(0, 30),
    period_s=st.sampled_from([0.5, 1.0, 2.5, 10.0, 30.0]),
    patience_s=st.sampled_from([0.3, 3.1, 9.9, 40.1]),
    first_s=st.sampled_from([0.0, 0.25, 1.0, 2.0]),
    minimum_s=st.sampled_from([0.125, 0.5, 2.0]),
    factor=st.sampled_from([1.0, 1.5, 2.0, 8.0]),
)
def test_what_is_told_of_a_window_is_what_the_policy_does(
    *, intensity: int, period_s: float, patience_s: float, first_s: float, minimum_s: float, factor: float
) -> None:
    backoff = Backoff(first_s=first_s, minimum_s=minimum_s, maximum_s=2.0, factor=factor)
    policy = RestartPolicy(intensity=intensity, period_s=period_s, backoff=backoff, patience_s=patience_s)
    ended_s, then = until_given_up(policy)
    exceeded_s = window_s(policy)
    assert then.exhausted == (exceeded_s > patience_s)
    if then.exhausted:
        assert patience_s < ended_s <= patience_s + 2.0
    else:
        assert ended_s == pytest.approx(exceeded_s)


def test_a_window_without_waits_is_exceeded_at_once() -> None:
    assert window_s(RestartPolicy(backoff=Backoff(minimum_s=0.0, maximum_s=0.0))) == 0.0
    assert window_s(RestartPolicy(intensity=0)) == 0.0
    assert window_s(RestartPolicy(intensity=100)) == math.inf


@pytest.mark.parametrize(("intensity", "is_right"), [(60, False), (8, True)])
def test_a_call_that_would_bear_its_actors_for_ever_is_refused(intensity: int, is_right: bool, folder: Path) -> None:
    told = mistakes(f"[supervisor]\nintensity = {intensity}\n")
    assert (told == []) == is_right
    if told:
        (line,) = told
        assert line == (
            "engine.toml:3: supervisor.intensity: a call would bear it for ever, and on_exhausted never come: if its "
            "own code fails at once every time, twilio_io gives up after 1.4 s on average, so the 60 times that "
            "supervisor.intensity bears, and one more, take 116 s, and supervisor.period_s is 60; expected less, or a "
            "patience_s of twilio_io that is over before"
        )


@pytest.mark.parametrize(
    ("patience_s", "is_right"),
    [(7, True), (9, False)],  # its window is exceeded after 8.7 s on average
)
def test_an_actor_that_a_call_would_bear_for_ever_is_refused_where_it_is_said(
    patience_s: int, is_right: bool, folder: Path
) -> None:
    told = mistakes(f"[actors.pacer]\nintensity = 18\npatience_s = {patience_s}\n")
    assert [line.split(",")[0] for line in told] == (
        [] if is_right else ["engine.toml:3: actors.pacer.intensity: a call would bear it for ever"]
    )


def test_the_window_of_a_vendor_is_no_affair_of_the_call(folder: Path) -> None:
    assert mistakes(LISTS + STT + "intensity = 18\n") == []


def test_a_transfer_alone_is_refused_where_somebody_has_no_number_to_transfer_to(folder: Path) -> None:
    engine = '[supervisor]\non_exhausted = ["transfer"]\n'
    assert mistakes(engine) == []
    other = TENANT.replace("default = true", 'numbers = ["+15550100001"]').replace("human_number", "# ")
    (folder / "tenants/b.toml").write_text(other, encoding="utf-8")
    assert mistakes(engine) == [
        'engine.toml:3: supervisor.on_exhausted: b has no human_number to transfer to; expected "hangup" at the end'
    ]


def test_a_vendor_that_nobody_is_served_by_is_noted_and_no_mistake(folder: Path) -> None:
    engine = DEEPGRAM + "intensity = 3\n"
    note = "engine.toml:2: actors.stt.vendors.deepgram: never used, because no call.stt names 'deepgram'"
    assert configured(engine).notes == (note,)
    assert configured(engine, '[call]\nstt = ["deepgram"]\n').notes == ()
    assert configured("", DEEPGRAM + "intensity = 3\n").notes == (note.replace("engine.toml:2", "tenants/a.toml:6"),)


def test_settings_that_come_from_no_file_are_named_by_their_path(tmp_path: Path) -> None:
    tenant = Tenant(id="a", name="A", default=True, greeting="Hello.", prompt="")
    assert Settings().vendors_of(tenant, "llm") == ("local",)
    assert Settings().restart_policy(tenant, "stt", "local") == Settings().restart_policy(None, "stt", "")
    (tmp_path / "a.toml").write_text(TENANT, encoding="utf-8")
    assert attrs.evolve(load_tenants(tmp_path).tenants[0], id="a").actors == tenant.actors


@pytest.mark.parametrize(
    ("engine", "tenant", "again_s"),
    [
        ("", "", (4.0,)),
        ("idle_again_s = [8, 9]", "", (8.0, 9.0)),
        ("idle_again_s = [8, 9]", "idle_again_s = [5]", (5.0,)),
        ("idle_again_s = [8, 9]", "idle_again_s = []", (4.0,)),  # a list of its own, although there is nothing in it
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_silent_caller_is_asked_as_often_as_the_tenant_says_else_the_engine(
    engine: str, tenant: str, again_s: tuple[float, ...]
) -> None:
    files = configured(f"[call]\nidle_s = 4\n{engine}\n", f"[limits]\n{tenant}\n")
    assert files.settings.turns_of(files.tenants.tenants[0]).idle_again_s == again_s


@pytest.mark.usefixtures("folder")
def test_a_model_of_english_alone_is_refused_for_callers_of_another_language() -> None:
    flux = '[call]\nstt = ["deepgram"]\n[vendors.deepgram]\nmodel = "{}"\n'
    german = 'language = "de"\n'
    assert mistakes(flux.format("flux-general-en"), german) == [
        "tenants/a.toml:6: language: 'flux-general-en' hears English alone, 'flux-general-multi' 'de' too"
    ]
    assert mistakes(flux.format("flux-general-en"), 'language = "en-GB"\n') == []
    for model in ("flux-general-multi", "nova-3"):
        assert mistakes(flux.format(model), german) == []
    assert mistakes('[vendors.deepgram]\nmodel = "flux-general-en"\n', german) == []  # and nobody is heard by it
