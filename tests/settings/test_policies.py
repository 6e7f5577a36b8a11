"""Policies, as an operator tunes them: which word counts, and which policies cannot work."""

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.actors.agent import AgentPolicy
from engine.messages.errors import ConfigError
from engine.policy import Answer, Backoff, GiveUp, Restart, RestartPolicy, RestartState
from engine.settings import AgentOverride, Configuration, Settings, Tenant, load_tenants, read, run_s, settable

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


def test_a_voice_with_another_behind_it_gives_up_within_a_second_and_the_last_is_patient(folder: Path) -> None:
    settings = configured(LISTS).settings
    quick, last, itself = (settings.restart_policy(None, "tts", vendor) for vendor in ("elevenlabs", "local", ""))
    longest_s = sum(quick.backoff.longest_s(streak) for streak in range(quick.intensity))
    assert (quick.intensity, quick.period_s, longest_s) == (2, 5.0, 0.2)
    assert last == itself == RestartPolicy(intensity=5, period_s=30.0, reasons=last.reasons)
    alone = configured("").settings
    assert alone.restart_policy(None, "tts", "local") == last


@pytest.mark.parametrize(
    ("said", "restarts"),
    [
        ("[actors.tts]\nintensity = 3\n", (3, 5.0)),
        ("[actors.tts]\nperiod_s = 8\n", (2, 8.0)),
        ("[actors.tts.last]\nintensity = 4\n", (4, 30.0)),
        ("[actors.tts]\nintensity = 3\n[actors.tts.last]\nintensity = 4\n", (4, 5.0)),
        ("[actors.tts.vendors.local]\nintensity = 7\n", (7, 30.0)),
    ],
)
def test_what_is_said_of_a_voice_counts_before_the_patience_of_the_last(
    said: str, restarts: tuple[int, float], folder: Path
) -> None:
    policy = configured(LISTS + said).settings.restart_policy(None, "tts", "local")
    assert (policy.intensity, policy.period_s) == restarts


def test_the_last_of_a_list_is_the_last_of_the_tenants_list(folder: Path) -> None:
    configuration = configured(LISTS, '[call]\ntts = ["local", "elevenlabs"]\n')
    assert settled(configuration, "elevenlabs", actor="tts").intensity == 5
    assert settled(configuration, "local", actor="tts").intensity == 2


def test_a_tenants_patience_with_models_is_its_own_field_by_field(folder: Path) -> None:
    configuration = configured("[agent]\nfiller_s = 1\n", '[agent]\nstall_s = 2\nreasons = { "529" = "next" }\n')
    found = configuration.settings.agent_of(configuration.tenants.tenants[0])
    assert (found.filler_s, found.stall_s, found.first_token_s) == (1.0, 2.0, 2.5)
    assert (found.reasons["529"], found.reasons["refused"]) == (Answer.NEXT, Answer.NEXT)
    assert configuration.settings.agent_of(None) == configuration.settings.agent


def test_all_that_may_be_set_of_a_model_may_be_set_for_a_tenant() -> None:
    assert {field.name for field in attrs.fields(AgentOverride)} == set(settable(AgentPolicy))


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
            "'backoff', 'reasons'"
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
        "[supervisor]\nintensity = 0\n" + STT + "intensity = 21",
        (
            "engine.toml:5: actors.stt.intensity: 21 is never exceeded: one that fails at once every time fails 21 "
            "times in period_s = 10, for the waits between (backoff) last 10.2 s on average; expected 20 at most, or a "
            "period_s of 10.3 or more"
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
        ("[actors.stt]\nintensity = 50\n", "tenants/a.toml:7: actors.stt.intensity: 50 is never exceeded"),
        ("[actors.stt.last]\nintensity = 60\n", "tenants/a.toml:7: actors.stt.last.intensity: 60 is never exceeded"),
    ],
)
def test_a_tenants_policy_is_refused_by_the_line_of_its_own_file(tenant: str, line: str, folder: Path) -> None:
    # A call that would bear it all, so that the actor's own window is what is wrong.
    told = mistakes("[supervisor]\nintensity = 0\n", tenant)
    assert len(told) == 1
    assert told[0].startswith(line)


def test_a_mistake_that_all_tenants_meet_is_told_once(folder: Path) -> None:
    for name in ("b", "c"):
        other = TENANT.replace("default = true", f'numbers = ["+1555010000{ord(name) - 97}"]')
        (folder / f"tenants/{name}.toml").write_text(other, encoding="utf-8")
    assert len(mistakes(STT + "intensity = 30\n")) == 1


@pytest.mark.parametrize(("intensity", "is_right"), [(11, True), (12, False)])
def test_a_window_is_refused_exactly_where_failures_at_once_do_not_fill_it(
    intensity: int, is_right: bool, folder: Path
) -> None:
    # The waits are 1.0 s each: 11 restarts fill a window of 11 s, for a failure exactly that old still counts.
    told = mistakes(f"[supervisor]\nintensity = 0\n[actors.pacer]\nintensity = {intensity}\nperiod_s = 11\n{WAITS}")
    assert (told == []) == is_right
    if told:
        (line,) = told
        assert line == (
            "engine.toml:5: actors.pacer.intensity: 12 is never exceeded: one that fails at once every time fails 12 "
            "times in period_s = 11, for the waits between (backoff) last 12.0 s on average; expected 11 at most, or a "
            "period_s of 12 or more"
        )


def gives_up(policy: RestartPolicy) -> bool:
    """Whether the policy itself gives up one that fails at once for ever, each wait as long as it is on average."""
    state, now = RestartState(policy=policy), 0.0
    for _ in range(policy.intensity * 3 + 10):
        wait_s = policy.backoff.wait_s(state.streaks.get("", 0), 0.5)
        state, then = state.failed("", now)
        if isinstance(then, GiveUp):
            return True
        assert isinstance(then, Restart)
        now += wait_s
    return False


@given(
    intensity=st.integers(0, 30),
    period_s=st.sampled_from([0.5, 1.0, 2.5, 10.0, 30.0]),
    first_s=st.sampled_from([0.0, 0.25, 1.0, 2.0]),
    minimum_s=st.sampled_from([0.0, 0.125, 0.5, 2.0]),
    factor=st.sampled_from([1.0, 1.5, 2.0, 8.0]),
)
def test_what_is_told_of_a_window_is_what_the_policy_does(
    intensity: int, period_s: float, first_s: float, minimum_s: float, factor: float
) -> None:
    backoff = Backoff(first_s=first_s, minimum_s=minimum_s, maximum_s=2.0, factor=factor)
    policy = RestartPolicy(intensity=intensity, period_s=period_s, backoff=backoff)
    assert gives_up(policy) == (run_s(policy) <= period_s + 1e-9)


@pytest.mark.parametrize(("intensity", "is_right"), [(60, False), (8, True)])
def test_a_call_that_would_bear_its_actors_for_ever_is_refused(intensity: int, is_right: bool, folder: Path) -> None:
    told = mistakes(f"[supervisor]\nintensity = {intensity}\n")
    assert (told == []) == is_right
    if told:
        (line,) = told
        assert line == (
            "engine.toml:3: supervisor.intensity: a call would bear it for ever, and on_exhausted never come: "
            "twilio_io gives up after 1.4 s on average, so the 60 times that supervisor.intensity bears, and one more, "
            "take 116 s, and supervisor.period_s is 60"
        )


def test_an_actor_that_a_call_would_bear_for_ever_is_refused_where_it_is_said(folder: Path) -> None:
    (line,) = mistakes(STT + "intensity = 19\n")
    assert line.startswith("engine.toml:3: actors.stt.intensity: a call would bear it for ever")


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
