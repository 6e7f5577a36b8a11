"""What an operator is told of a policy is what the supervisors do."""

import io
import re
from collections.abc import Sequence
from functools import partial

import attrs
import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from engine.health import Health
from engine.messages.errors import ConfigError, ProviderDown, ProviderRefused
from engine.policy import Answer, GiveUp, Restart, RestartPolicy, RestartState
from engine.settings import (
    ActorOverrides,
    ActorSettings,
    ActorsSettings,
    CallSettings,
    Configuration,
    LastOverride,
    RestartOverride,
    Settings,
    Sources,
    SttOverride,
    SttSettings,
    SupervisorSettings,
    Tenant,
    Tenants,
)
from engine.supervisor import (
    ChildSpec,
    FailedOver,
    GaveUp,
    GaveUpError,
    Incarnation,
    RestartScheduled,
    SupervisionEvent,
    Supervisor,
)
from holdfast.explain import NAMES, explain, ladder, rungs

TWO = Settings(call=CallSettings(stt=("deepgram", "local"), tts=("elevenlabs", "local")))
STEADY = attrs.evolve(  # each vendor is left for its window, not for its health, nor for patience
    TWO,
    actors=ActorsSettings(stt=SttSettings(intensity=2, last=LastOverride(intensity=2))),
    supervisor=SupervisorSettings(intensity=2),
)
TENANT = Tenant(
    id="a",
    name="A",
    default=True,
    greeting="Hello.",
    prompt="",
    actors=ActorOverrides(stt=SttOverride(vendors={"deepgram": RestartOverride(intensity=1)})),
)


async def supervised(settings: Settings, actor: str, error: Exception, attempt_s: float) -> list[SupervisionEvent]:
    """Have an actor's session fail for ever under supervisors like a call's, and return what they decided."""
    events: list[SupervisionEvent] = []
    health = Health(policy=settings.health, clock=trio.current_time)
    names = settings.vendors_of(None, actor)

    async def session(*, task_status: Incarnation) -> None:
        task_status.started()
        await trio.sleep(attempt_s)
        raise error

    inner = Supervisor(
        name=actor,
        specs=[
            ChildSpec(
                id="session",
                start=session,
                alternatives=health.of(actor, names),
                policy_of=partial(settings.restart_policy, None, actor),
            )
        ],
        policy=settings.restart_policy(None, actor),
        on_event=events.append,
        seed=7,
    )
    outer = Supervisor(
        name="call",
        specs=[ChildSpec(id=actor, start=inner.run)],
        policy=settings.supervisor.policy,
        on_event=events.append,
        seed=0,
    )
    with pytest.raises(GaveUpError):
        await outer.run()
    return events


@pytest.mark.parametrize("settings", [TWO, STEADY, Settings()], ids=["two", "steady", "one"])
@pytest.mark.parametrize("error", [ProviderDown("gone"), ProviderRefused("no", code="402")], ids=["down", "refused"])
@pytest.mark.parametrize("attempt_s", [0.01, 0.25, 3.0])
@pytest.mark.parametrize("actor", ["stt", "tts"])
async def test_the_ladder_that_is_told_is_the_one_that_supervisors_go_down(
    settings: Settings, error: ProviderDown, attempt_s: float, actor: str, autojump_clock: MockClock
) -> None:
    events = await supervised(settings, actor, error, attempt_s)
    decided = [each for each in events if isinstance(each, RestartScheduled | FailedOver | GaveUp)]
    # An actor that gives up says so, and then its call decides: that is one rung.
    decided = [each for each in decided if not (isinstance(each, GaveUp) and each.supervisor == actor)]
    told = list(ladder(settings, None, actor, kinds=error.kinds, attempt_s=attempt_s, seed=7))
    assert len(told) == len(decided)
    for rung, event in zip(told, decided, strict=True):
        assert rung.at_s == pytest.approx(event.happened_at - decided[0].happened_at)
        match event:
            case RestartScheduled(after_s=after_s):
                assert isinstance(rung.then, Restart)
                assert rung.wait_s == after_s
            case FailedOver(was=was, now_on=now_on):
                assert (rung.vendor, rung.next_on) == (was, now_on)
            case _:
                assert isinstance(rung.then, GiveUp)


@pytest.mark.parametrize("intensity", [1, 2, 5])
def test_the_rate_that_is_borne_for_ever_is_borne_and_no_more(intensity: int) -> None:
    policy = RestartPolicy(intensity=intensity, period_s=10.0)
    page = told(Configured(restart=policy))
    assert f"one failure every {10 / intensity:.1f} s is then borne for ever" in page

    def bears(every_s: float) -> bool:
        state = RestartState(policy=policy)
        for number in range(100):
            state, then = state.failed("", number * every_s)
            state = state.useful()
            if not isinstance(then, Restart):
                return False
        return True

    assert bears(10.01 / intensity)
    assert not bears(9.99 / intensity)


def test_every_wait_and_moment_that_is_drawn_lies_in_the_range_that_is_told() -> None:
    told_of = [[number(text) for text in each[2:]] for each in rows(told(TWO, vendor="deepgram"))]
    policy = TWO.restart_policy(None, "stt", "deepgram")
    for seed in range(30):
        for (wait, moment), rung in zip(told_of[1:5], list(rungs(policy, seed=seed))[1:5], strict=True):
            assert wait[0] - 0.05 <= rung.wait_s <= wait[-1] + 0.05
            assert moment[0] - 0.05 <= rung.at_s <= moment[-1] + 0.05


def number(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"[\d.]+", text)] or [0.0]


@attrs.frozen(kw_only=True)
class Configured:
    """Settings whose stt has this policy."""

    restart: RestartPolicy = RestartPolicy()
    stt: tuple[str, ...] = ("local",)

    @property
    def settings(self) -> Settings:
        restart = self.restart
        stt = SttSettings(
            intensity=restart.intensity,
            period_s=restart.period_s,
            backoff=restart.backoff,
            reasons=dict(restart.reasons),
            last=LastOverride(intensity=restart.intensity, period_s=restart.period_s),
        )
        return Settings(call=CallSettings(stt=self.stt), actors=ActorsSettings(stt=stt))


def told(settings: Settings | Configured, name: str = "actors.stt", *, vendor: str = "", tenant: str = "") -> str:
    """Return what is printed, without the breaks of its lines."""
    text = io.StringIO()
    configuration = Configuration(
        settings=settings.settings if isinstance(settings, Configured) else settings,
        tenants=Tenants(tenants=(TENANT,)),
        sources=Sources(),
    )
    explain(configuration, Console(file=text, width=400), name=name, vendor=vendor, tenant=tenant)
    return text.getvalue()


def rows(page: str) -> list[Sequence[str]]:
    """Return the cells of a page's tables."""
    lines = (line.split("  ") for line in page.splitlines())
    cells = ([cell.strip() for cell in line if cell.strip()] for line in lines)
    return [each for each in cells if each and re.fullmatch(r"\d+( – \d+)?", each[0])]


def test_each_failure_is_a_row_with_its_wait_and_its_moment() -> None:
    assert rows(told(TWO, vendor="deepgram")) == [
        ["1", "started again", "at once", "–"],
        ["2", "started again", "0.1 – 0.2 s", "–"],
        ["3", "started again", "0.1 – 0.4 s", "0.1 – 0.2 s"],
        ["4", "started again", "0.1 – 0.8 s", "0.2 – 0.6 s"],
        ["5", "started again", "0.1 – 1.0 s", "0.4 – 1.3 s"],
        ["6", "given up, local takes over", "at once", "0.7 – 2.0 s"],
    ]


def test_of_many_failures_the_first_and_the_end_are_rows() -> None:
    first, *_, end = rows(told(TWO, vendor="local"))
    assert len(rows(told(TWO, vendor="local"))) == 6
    assert first == ["1", "started again", "at once", "–"]
    assert end == ["35 – 48", "given up, the call ends", "20.0 – 20.8 s"]


def test_a_voice_with_another_behind_it_is_given_up_within_a_second() -> None:
    page = told(TWO, "actors.tts", vendor="elevenlabs")
    assert rows(page)[-1] == ["3", "given up, local takes over", "at once", "0.1 – 0.2 s"]
    assert "Where all attempts fail at once: local takes over after 0.1 – 0.2 s, and" in page


def test_it_says_which_failures_go_on_to_whom() -> None:
    reasons = {"1008": Answer.END, "402": Answer.NEXT, "down": Answer.NEXT}
    page = told(Configured(stt=("deepgram", "local"), restart=RestartPolicy(reasons=reasons)), vendor="deepgram")
    assert "  refused, 402, down: local takes over at once\n" in page
    assert "  1008: the call ends at once: apology, then on_exhausted\n" in page
    assert "  429, slow, crash: tried again, as above\n" in page
    last = told(Configured(restart=RestartPolicy(reasons=reasons)))
    assert "  refused, 1008, 402, down: the call ends at once: apology, then on_exhausted\n" in last


def test_who_is_patient_for_how_long_is_said() -> None:
    page = told(TWO)
    first, last = page.split("\nlocal")
    assert "failure 6 within 10 s, or at one more than 5 s after the first, if all were of no use; or" in first
    assert "or, while local is well, at failure 3 in a row of no use to any call" in first
    assert "failure 61 within 60 s, or at one more than 20 s after the first, if all were of no use.\n" in last
    assert "failure 3 in a row" not in told(TWO, "actors.tts")


@pytest.mark.parametrize("settings", [TWO, Settings()], ids=["two", "one"])
@pytest.mark.parametrize("actor", ["stt", "tts"])
def test_nothing_is_borne_for_ever_where_all_attempts_fail(settings: Settings, actor: str) -> None:
    ends = re.findall(
        r"Where all attempts fail (.*?): .*nothing is left after [\d.]+ – ([\d.]+) s", told(settings, f"actors.{actor}")
    )
    assert [how for how, _ in ends] == ["at once", "after 3 s each, as slow as a connection may be"]
    assert all(20.0 < float(after_s) < 34.0 for _, after_s in ends)
    assert "never" not in told(settings, "")


def test_a_patience_that_outlasts_the_caller_is_said_to() -> None:
    patient = SttSettings(last=LastOverride(intensity=5, period_s=10.0, patience_s=3600.0))
    assert "as a connection may be: nothing is left only after more than 10 minutes." in told(
        Settings(actors=ActorsSettings(stt=patient))
    )


def test_what_is_heard_at_a_change_is_said_only_where_somebody_can_take_over() -> None:
    assert "When another vendor takes over: “one moment”" in told(TWO)
    assert "another vendor takes over" not in told(Settings())
    assert "waited for 1.8 s hears “one moment”, once an outage" in told(Settings())


def test_an_actor_without_a_vendor_is_explained_too() -> None:
    page = told(TWO, "actors.pacer")
    assert "It has no vendor" in page
    assert rows(page)[-1] == ["6", "given up, the actor begins anew", "0.7 – 2.0 s"]
    hasty = attrs.evolve(TWO, actors=ActorsSettings(pacer=ActorSettings(patience_s=0.3)))
    assert rows(told(hasty, "actors.pacer"))[-1][1] == "given up, the call ends"


@pytest.mark.parametrize("name", NAMES)
def test_everything_can_be_explained(name: str) -> None:
    assert told(TWO, name).splitlines()[1] == name


def test_the_overview_has_a_line_for_each_policy() -> None:
    page = told(TWO, "")
    for name in NAMES:
        assert name in page
    assert "With policies of their own: a; see --tenant." in page
    assert "2 in 5 s" in page


def test_a_tenants_own_policy_is_told_for_it_alone() -> None:
    assert rows(told(TWO, vendor="deepgram", tenant="a"))[-1][:2] == ["2", "given up, local takes over"]
    assert len(rows(told(TWO, vendor="deepgram"))) == 6


@pytest.mark.parametrize(
    ("name", "vendor", "tenant", "sentence"),
    [
        ("actors.sst", "", "", "no policy 'actors.sst'; did you mean 'actors.stt'? there are: actors.twilio_io, "),
        (
            "actors.stt",
            "deepgrm",
            "",
            "no vendor in call.stt 'deepgrm'; did you mean 'deepgram'? there are: deepgram, ",
        ),
        ("actors.stt", "", "b", "no tenant 'b'; there are: a"),
        ("health", "deepgram", "", "--vendor 'deepgram' goes with actors.stt or actors.tts, not with health"),
        ("", "deepgram", "", "--vendor 'deepgram' goes with actors.stt or actors.tts, not with all of it"),
    ],
)
def test_what_there_is_not_is_answered_with_what_there_is(name: str, vendor: str, tenant: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        told(TWO, name, vendor=vendor, tenant=tenant)
    assert str(refused.value).startswith(sentence)


def test_the_waits_of_a_vendor_that_all_have_given_up_are_told() -> None:
    assert "again after 15, then 30, then 60, then 120 s" in told(TWO, "health")
