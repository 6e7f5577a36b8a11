"""What an operator is told of a policy is what the supervisors do."""

import io
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
    ActorsSettings,
    CallSettings,
    Configuration,
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
from holdfast.explain import NAMES, explain, ladder, longest, rungs, shortest

TWO = Settings(call=CallSettings(stt=("deepgram", "local"), tts=("elevenlabs", "local")))
STEADY = attrs.evolve(  # the first vendor is left for its window, not for its health
    TWO, actors=ActorsSettings(stt=SttSettings(intensity=2)), supervisor=SupervisorSettings(intensity=2)
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
@pytest.mark.parametrize("attempt_s", [0.01, 0.25])
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
    assert f"so one every {10 / intensity:.1f} s for ever" in page

    def bears(every_s: float) -> bool:
        state = RestartState(policy=policy)
        for number in range(100):
            state, then = state.failed("", number * every_s)
            if not isinstance(then, Restart):
                return False
        return True

    assert bears(10.01 / intensity)
    assert not bears(9.99 / intensity)


def test_every_wait_that_can_be_drawn_lies_in_the_range_that_is_told() -> None:
    policy = RestartPolicy(intensity=6)
    least, most = ([each.wait_s for each in rungs(policy, luck)] for luck in (shortest, longest))
    for seed in range(50):
        state, drawn = RestartState(policy=policy, seed=seed), list[float]()
        for number in range(6):
            state, then = state.failed("", float(number))
            assert isinstance(then, Restart)
            drawn.append(then.after_s)
        assert all(low <= wait <= high for low, wait, high in zip(least, drawn, most, strict=False))


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
    return [each for each in cells if each and each[0].isdigit()]


def test_each_failure_is_a_row_with_its_wait_and_its_moment() -> None:
    assert rows(told(TWO, vendor="deepgram")) == [
        ["1", "started again", "at once", "–"],
        ["2", "started again", "0.1 – 0.2 s", "–"],
        ["3", "started again", "0.1 – 0.4 s", "0.1 – 0.2 s"],
        ["4", "started again", "0.1 – 0.8 s", "0.2 – 0.6 s"],
        ["5", "started again", "0.1 – 1.0 s", "0.3 – 1.4 s"],
        ["6", "given up, local takes over", "at once", "0.4 – 2.4 s"],
    ]


def test_a_voice_with_another_behind_it_is_given_up_within_a_second() -> None:
    page = told(TWO, "actors.tts", vendor="elevenlabs")
    assert rows(page)[-1] == ["3", "given up, local takes over", "at once", "0.1 – 0.2 s"]
    assert "the next vendor takes over after 0.1 – 0.2 s" in page


def test_it_says_which_failures_go_on_to_whom() -> None:
    reasons = {"1008": Answer.END, "402": Answer.NEXT, "down": Answer.NEXT}
    page = told(Configured(stt=("deepgram", "local"), restart=RestartPolicy(reasons=reasons)), vendor="deepgram")
    assert "  refused, 402, down: local takes over at once\n" in page
    assert "  1008: the call ends at once: apology, then on_exhausted\n" in page
    assert "  429, slow, crash: tried again, as above\n" in page
    last = told(Configured(restart=RestartPolicy(reasons=reasons)))
    assert "  refused, 1008, 402, down: the call ends at once: apology, then on_exhausted\n" in last


def test_what_cannot_be_given_up_for_being_rare_is_said_to_be_for_ever() -> None:
    page = told(Settings())
    assert "Where all attempts fail after 3 s each, as slow as a connection may be: that never comes" in page
    assert "Where all attempts fail at once: that comes after" in page


def test_an_actor_without_a_vendor_is_explained_too() -> None:
    page = told(TWO, "actors.pacer")
    assert "It has no vendor" in page
    assert len(rows(page)) == 6


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
