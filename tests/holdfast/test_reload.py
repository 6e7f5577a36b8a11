"""Reading the files anew while calls are on the line: all of it, or nothing and why."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.actors.agent import AgentPolicy
from engine.call import CallPolicy
from engine.messages.errors import ConfigError
from engine.reception import Reception, Team
from engine.settings import Configuration, read
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from holdfast import serve
from holdfast.reload import Reload
from simulators.virtual.vendors import ToneVad, VirtualModel, VirtualRecogniser, VirtualVoice
from tests.web.front import Front
from web.app import offer_reload

ENGINE = """\
public_url = "http://127.0.0.1:8080"
tenants = "tenants"
[call]
stt = ["deepgram", "local"]
idle_s = 10.0
[actors.stt]
intensity = 5
[agent]
filler_s = 1.8
[supervisor]
on_exhausted = ["transfer", "hangup"]
"""
TENANT = """\
name = "A"
greeting = "Hello."
prompt = "Be brief."
default = true
human_number = "+15550100009"
"""


@attrs.define
class Running:
    """A call as a reload meets it."""

    plan: Any
    told: list[tuple[CallPolicy, AgentPolicy]] = attrs.field(factory=list)

    def change_policy(self, policy: CallPolicy, agent_policy: AgentPolicy) -> None:
        self.told.append((policy, agent_policy))


@attrs.define
class Files:
    """The files of a server, and its desk."""

    folder: Path
    desk: Reception
    reload: Reload

    def write(self, *, engine: str = ENGINE, tenant: str = TENANT) -> None:
        (self.folder / "engine.toml").write_text(engine, encoding="utf-8")
        (self.folder / "tenants/a.toml").write_text(tenant, encoding="utf-8")

    def state(self) -> tuple[object, ...]:
        desk = self.desk
        return desk.settings, desk.tenants, desk.teams, desk.health.policy


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tenants").mkdir()
    (tmp_path / "engine.toml").write_text(ENGINE, encoding="utf-8")
    (tmp_path / "tenants/a.toml").write_text(TENANT, encoding="utf-8")
    configuration = read(Path("engine.toml"))
    team = Team(
        recognisers=(VirtualRecogniser(vendor="deepgram"), VirtualRecogniser(vendor="local")),
        voices=(VirtualVoice(vendor="local"),),
        models=(VirtualModel(answer=lambda text: text, vendor="local"),),
        vad=ToneVad,
        clips={},
    )
    with Store.open(f"sqlite:///{tmp_path / 'calls.sqlite3'}") as store, Businesses() as businesses:
        desk = Reception(
            settings=configuration.settings,
            tenants={each.id: each for each in configuration.tenants.tenants},
            teams={"a": team},
            store=store,
            businesses=businesses,
            runner=inline,
            tool_runner=inline,
            dumps=tmp_path / "raised",
        )
        yield Files(folder=tmp_path, desk=desk, reload=Reload(path=Path("engine.toml"), desk=desk))


def running(files: Files) -> Running:
    """Put a call on the line."""

    @attrs.frozen
    class Plan:
        watch: Any
        models: Any

    @attrs.frozen
    class Watch:
        tenant: str

    call = Running(plan=Plan(watch=Watch(tenant="a"), models=files.desk.teams["a"].models))
    files.desk.calls["CA1"] = call  # type: ignore[assignment]
    return call


async def test_what_changed_is_in_force_told_and_logged_in_one_line(files: Files) -> None:
    call = running(files)
    files.write(
        engine=ENGINE.replace("intensity = 5", "intensity = 3").replace("filler_s = 1.8", "filler_s = 1.0")
        + "[health]\nopen_s = 5\n[actors.stt.last]\npatience_s = 8\n"
        + '[actors.stt.vendors.deepgram]\nreasons = { "1008" = "next" }\n',
        tenant=TENANT + "[actors.stt.vendors.deepgram]\nintensity = 2\n",
    )
    with capture_logs() as logs:
        said = await files.reload()
    changes = [
        "actors.stt.intensity: 5 → 3",
        "actors.stt.last.patience_s: 20.0 → 8.0",
        "actors.stt.vendors.deepgram.reasons.1008: – → next",
        "health.open_s: 15.0 → 5.0",
        "agent.filler_s: 1.8 → 1.0",
        "a: actors.stt.vendors.deepgram.intensity: – → 2",
    ]
    assert said.splitlines() == changes
    assert [(each["event"], each["changes"]) for each in logs] == [("reloaded", changes)]
    assert files.desk.health.policy.open_s == 5.0
    (told,) = call.told
    assert told[0].actors["stt"].policy.patience_s == 8.0
    assert told[0].actors["stt"].vendors["deepgram"].intensity == 2
    assert told[0].actors["stt"].vendors["deepgram"].reasons["1008"].value == "next"
    assert (told[1].filler_s, told[1].models, told[1].human) == (1.0, ("local",), True)
    assert told[1].phrases["one_moment"] == "One moment, please."


async def test_files_that_have_not_changed_change_nothing(files: Files) -> None:
    before = files.state()
    assert await files.reload() == "nothing has changed"
    assert files.state() == before


REFUSED: list[tuple[Callable[[str], str], Callable[[str], str], str]] = [
    (
        lambda engine: engine.replace("intensity = 5", "intensity = -1"),
        str,
        "engine.toml:7: actors.stt.intensity: expected an integer from 0 to 1000, got -1",
    ),
    (lambda engine: engine + "[", str, "engine.toml:12: not TOML: "),
    (
        lambda engine: engine.replace("8080", "9090"),
        str,
        ("engine.toml:1: public_url: cannot change while the server runs: start it again, or put it back"),
    ),
    (
        lambda engine: engine + '[storage]\nurl = "sqlite:///5ecret.sqlite3"\n',
        str,
        "engine.toml:13: storage.url: cannot change while the server runs",
    ),
    (
        lambda engine: engine + '[vendors.deepgram]\nbase_url = "wss://else.where"\n',
        str,
        "engine.toml:13: vendors.deepgram.base_url: cannot change",
    ),
    (
        lambda engine: engine.replace("idle_s", 'tts = ["elevenlabs"]\nidle_s'),
        str,
        "engine.toml:5: call.tts[0]: 'elevenlabs' was not opened for a when the server started; opened: 'local'",
    ),
    (
        str,
        lambda tenant: tenant + '[call]\nllm = ["local", "anthropic"]\n',
        "tenants/a.toml:7: call.llm[1]: 'anthropic' was not opened for a when the server started; opened: 'local'",
    ),
    (str, lambda tenant: tenant.replace("Hello.", "Hi."), "tenants/a.toml:2: greeting: cannot change while"),
    (str, lambda tenant: tenant + 'id = "b"\n', "a: its file is gone, and cannot go while the server runs"),
    (str, lambda tenant: tenant + 'id = "b"\n', "tenants/a.toml:6: id: a new business needs the server to be started"),
    (str, lambda tenant: tenant + "x = 1\n", "tenants/a.toml:6: x: unknown key"),
]


@pytest.mark.parametrize(("engine", "tenant", "line"), REFUSED)
async def test_what_cannot_be_is_refused_as_a_whole_named_and_changes_nothing(
    engine: Callable[[str], str], tenant: Callable[[str], str], line: str, files: Files
) -> None:
    call, before = running(files), files.state()
    # With it, something that could be changed.
    files.write(engine=engine(ENGINE.replace("filler_s = 1.8", "filler_s = 1.0")), tenant=tenant(TENANT))
    with capture_logs() as logs, pytest.raises(ConfigError) as refused:
        await files.reload()
    assert any(each.startswith(line) for each in str(refused.value).splitlines())
    assert "5ecret" not in str(refused.value)
    assert files.state() == before
    assert call.told == []
    (log,) = logs
    assert (log["event"], log["log_level"], log["why"]) == ("reload_refused", "error", str(refused.value))


async def test_all_that_is_wrong_is_told_at_once(files: Files) -> None:
    files.write(
        engine=ENGINE.replace("8080", "9090").replace('["deepgram", "local"]', '["local", "deepgram"]')
        + '[log]\nlevel = "debug"\n',
        tenant=TENANT.replace("Hello.", "Hi."),
    )
    with pytest.raises(ConfigError) as refused:
        await files.reload()
    assert [line.split(": ")[1] for line in str(refused.value).splitlines()] == ["public_url", "log.level", "greeting"]


async def test_new_calls_take_the_vendors_of_the_new_list_and_who_was_left_out_can_come_back(files: Files) -> None:
    def ears() -> list[str]:
        return [each.vendor for each in files.desk.teams["a"].recognisers]

    call = running(files)
    files.write(engine=ENGINE.replace('["deepgram", "local"]', '["local"]'))
    assert await files.reload() == "call.stt: [deepgram, local] → [local]"
    assert ears() == ["local"]
    # The call on the line goes on with both, and there are policies for both.
    assert set(call.told[-1][0].actors["stt"].vendors) == {"local", "deepgram"}
    files.write(engine=ENGINE.replace('["deepgram", "local"]', '["local", "deepgram"]'))
    await files.reload()
    assert ears() == ["local", "deepgram"]
    files.write()
    await files.reload()
    assert ears() == ["deepgram", "local"]


async def test_a_dialled_number_finds_the_tenant_that_has_it_now(files: Files) -> None:
    files.write(tenant=TENANT.replace("default = true", 'numbers = ["+15550100007"]'))
    assert serve._choose(files.desk, "+15550100001") is not None
    await files.reload()
    assert serve._choose(files.desk, "+15550100001") is None
    assert serve._choose(files.desk, "+15550100007") is not None
    files.write(
        engine=ENGINE.replace('["transfer", "hangup"]', '["hangup"]'),
        tenant=TENANT.replace("default = true", 'numbers = ["+15550100007"]'),
    )
    await files.reload()
    choice = serve._choose(files.desk, "+15550100007")
    assert choice is not None
    assert choice.human_number is None


async def test_a_reload_reads_nothing_until_the_one_before_is_in_force(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else what was read first might be put in force last.
    reading = 0

    def slow(path: Path) -> Configuration:
        nonlocal reading
        reading += 1
        time.sleep(0.05)
        assert reading == 1
        reading -= 1
        return read(path)

    monkeypatch.setattr("holdfast.reload.read", slow)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.reload)
        nursery.start_soon(files.reload)


async def test_two_reloads_at_once_are_one_after_the_other(files: Files) -> None:
    files.write(engine=ENGINE.replace("intensity = 5", "intensity = 3"))
    said: list[str] = []

    async def one() -> None:
        said.append(await files.reload())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one)
        nursery.start_soon(one)
    assert sorted(said) == ["actors.stt.intensity: 5 → 3", "nothing has changed"]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so that no event tells of."""
    while not is_so():  # noqa: ASYNC110 - as it says
        await trio.sleep(0.01)


# ── SIGHUP ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hang_up_signal_reloads_and_stops_nothing(files: Files) -> None:
    files.write(engine=ENGINE.replace("intensity = 5", "intensity = 3"))
    reloads: list[str] = []

    async def reload() -> str:
        reloads.append("asked")
        said = await files.reload()
        reloads.append(said)
        return said

    async def work(stop: serve.Stop) -> None:
        os.kill(os.getpid(), signal.SIGHUP)  # before anybody serves: it is kept
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve._reload_when_told, reload, stop)
            await until(lambda: files.desk.settings.actors.stt.intensity == 3)
            files.write(engine="[")
            with capture_logs() as logs:
                os.kill(os.getpid(), signal.SIGHUP)
                await until(lambda: bool(logs))
            assert logs[0]["event"] == "reload_refused"
            files.write(engine=ENGINE.replace("intensity = 5", "intensity = 4"))
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: files.desk.settings.actors.stt.intensity == 4)
            assert not stop.asked.is_set()
            nursery.cancel_scope.cancel()
            reloads.append("served to the end")

    async def within() -> None:
        with trio.fail_after(10):
            await serve.until_told(work)

    trio.run(within)
    changed = "actors.stt.intensity: 5 → 3", "asked", "asked", "actors.stt.intensity: 3 → 4"
    assert reloads == ["asked", *changed, "served to the end"]


TOKEN = "s3cret"

# ── POST /admin/reload ────────────────────────────────────────────────────────────────────────────────────────────────


def admin(reload: Any, *, token: str = TOKEN) -> tuple[QuartTrio, Front]:
    front = Front()
    offer_reload(front.app, front.door, reload, token=token)
    return front.app, front


async def asked(app: QuartTrio, **headers: str) -> tuple[int, str]:
    response = await app.test_client().post("/admin/reload", headers=headers)
    return response.status_code, (await response.get_data(as_text=True)).strip()


async def test_who_bears_the_token_reloads_and_is_told_what_changed(files: Files) -> None:
    app, _ = admin(files.reload)
    files.write(engine=ENGINE.replace("intensity = 5", "intensity = 3"))
    assert await asked(app, Authorization="Bearer s3cret") == (200, "actors.stt.intensity: 5 → 3")
    files.write(engine=ENGINE.replace("intensity = 5", "intensity = -3"))
    line = "engine.toml:7: actors.stt.intensity: expected an integer from 0 to 1000, got -3"
    assert await asked(app, Authorization="Bearer s3cret") == (400, line)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "s3cret"},
        {"Authorization": "Bearer s3cre"},
        {"Authorization": "Basic s3cret"},
        {"Authorization": "Bearer "},
    ],
)
async def test_who_does_not_bear_it_reloads_nothing(headers: dict[str, str]) -> None:
    async def reload() -> str:
        raise AssertionError("it was reloaded")

    app, front = admin(reload)
    code, said = await asked(app, **headers)
    assert (code, said) == (401, "expected Authorization: Bearer and the admin token")
    assert front.refused == [("admin", "token wrong")]


async def test_without_a_token_set_there_is_no_such_page() -> None:
    async def reload() -> str:
        raise AssertionError("it was reloaded")

    app, _ = admin(reload, token="")
    assert (await asked(app, Authorization="Bearer "))[0] == 404
    assert (await app.test_client().get("/admin/reload")).status_code == 404


async def test_a_reload_is_no_page_to_look_at(autojump_clock: MockClock) -> None:
    async def reload() -> str:
        raise AssertionError("it was reloaded")

    app, _ = admin(reload)
    assert (await app.test_client().get("/admin/reload", headers={"Authorization": "Bearer s3cret"})).status_code == 405
