"""From a line that was just opened to a call's last row: virtual phones and vendors, a real store, virtual time."""

import json
import sqlite3
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from structlog.typing import EventDict
from trio.testing import MockClock

from engine import reception as reception_module
from engine.actors.agent import Agent, AgentPolicy
from engine.loop import Kind, Remedy, StepRaised
from engine.messages.admission import NextStep, Ticket
from engine.messages.conversation import AgentSaid, CallerSaid
from engine.messages.errors import ConfigError, ProviderDown, ProviderRefused
from engine.messages.model import ModelEnded, ModelText, ModelToolCall
from engine.messages.supervision import Tick
from engine.messages.turns import TurnEnded
from engine.policy import Answer
from engine.providers.contract import ModelEvent, ModelRequest, Seam, VoiceAsk, VoiceEvent
from engine.reception import CONNECTING, DUMPS_A_CALL, START_S, Dumps, Reception, Team
from engine.settings import (
    ActorsSettings,
    LastOverride,
    LimitSettings,
    Settings,
    SttSettings,
    SupervisorSettings,
    Tenant,
)
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.vendors import Door, ToneVad, VirtualModel, VirtualRecogniser, VirtualVoice, spoken_text

T = TypeVar("T")

SID = "CA" + "1" * 32
CONNECTED = json.dumps({"event": "connected", "protocol": "Call", "version": "1.0.0"})
TENANT = Tenant(
    id="clinic",
    name="Clinic",
    default=True,
    voice="tone",
    greeting="welcome to the clinic",
    prompt="be brief",
    limits=LimitSettings(idle_s=60.0),
)


def start(*, call_sid: str = SID, coding: Mapping[str, object] | None = None) -> str:
    body = {
        "accountSid": "AC1",
        "callSid": call_sid,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1, **(coding or {})},
        "customParameters": {},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": VirtualPhone().stream_sid, "start": body})


@attrs.define
class Line(VirtualPhone):
    """A virtual phone that first says `opening`, as a new socket does."""

    opening: deque[str | bytes] = attrs.field(factory=lambda: deque([CONNECTED, start()]))

    async def receive(self) -> Any:
        if self.opening:
            await trio.lowlevel.checkpoint()
            return self.opening.popleft()
        return await super().receive()


def ticket(call_sid: str = SID, tenant: str = "clinic") -> Ticket:
    return Ticket(call_sid=call_sid, tenant=tenant, caller="+15550100001", dialled="+15550100002")


def line(*opening: str | bytes) -> Line:
    return Line(opening=deque(opening))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'calls.sqlite3'}") as store:
        yield store


@pytest.fixture
def reception(store: Store, tmp_path: Path) -> Iterator[Reception]:
    with Businesses() as businesses:
        yield Reception(
            settings=Settings(),
            tenants={"clinic": TENANT},
            teams={"clinic": team(TENANT)},
            store=store,
            businesses=businesses,
            runner=inline,
            tool_runner=inline,
            dumps=tmp_path / "raised",
        )


def team(tenant: Tenant) -> Team:
    return Team(
        recognisers=(VirtualRecogniser(),),
        voices=(VirtualVoice(),),
        models=(VirtualModel(answer=lambda text: f"you said {text}"),),
        vad=ToneVad,
        clips={name: spoken_text(text)[0] for name, text in tenant.clips.items()},
    )


@asynccontextmanager
async def answered(
    reception: Reception, phone: Line, call_sid: str = SID, tenant: str = "clinic"
) -> AsyncIterator[trio.CancelScope]:
    """Serve a phone's call while the body runs, and to its end. Gives the scope of the answering."""
    async with trio.open_nursery() as nursery:
        await nursery.start(phone.run)
        async with trio.open_nursery() as calls:
            calls.start_soon(reception.answer, phone, ticket(call_sid, tenant))
            yield calls.cancel_scope
        nursery.cancel_scope.cancel()


def refusals(logs: list[EventDict]) -> list[str]:
    return [each["why"] for each in logs if each["event"] == "line_refused"]


def rows(tmp_path: Path) -> list[tuple[str, str | None]]:
    with closing(sqlite3.connect(tmp_path / "calls.sqlite3")) as database:
        return database.execute("SELECT call_sid, ended_reason FROM calls").fetchall()


# ── a reload ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("reloaded", "ended"), [(False, "gave_up"), (True, "stop")])
async def test_a_call_on_the_line_obeys_a_new_policy_at_its_next_failure(
    reception: Reception, tmp_path: Path, autojump_clock: MockClock, reloaded: bool, ended: str
) -> None:
    virtual = team(TENANT)
    reception.teams = {
        "clinic": attrs.evolve(
            virtual,
            recognisers=(VirtualRecogniser(vendor="local"),),
            voices=(VirtualVoice(vendor="local"),),
            models=(VirtualModel(answer=lambda text: f"you said {text}", vendor="local"),),
        )
    }
    impatient = Settings(
        actors=ActorsSettings(stt=SttSettings(last=LastOverride(intensity=0))),
        supervisor=SupervisorSettings(intensity=0),
    )
    reception.settings = impatient
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        if reloaded:
            reception.reload(attrs.evolve(impatient, actors=ActorsSettings()), reception.tenants)
        reception.calls[SID].actors["stt"].cancel("session")
        await trio.sleep(2.0)
        phone.say(["good", "morning"])
        await trio.sleep(6.0)
        phone.hang_up()
    assert rows(tmp_path) == [(SID, ended)]
    assert ("good" in phone.words()) == reloaded


async def test_a_call_on_the_line_obeys_new_reasons_wherever_a_model_is_judged(
    reception: Reception, autojump_clock: MockClock
) -> None:
    def asking(answer: Answer) -> Settings:
        return Settings(agent=AgentPolicy(reasons={"529": answer}))

    reception.teams = {
        "clinic": Team(
            recognisers=(VirtualRecogniser(vendor="local"),),
            voices=(VirtualVoice(vendor="local"),),
            models=(VirtualModel(answer=lambda text: f"you said {text}", vendor="local"),),
            vad=ToneVad,
            clips={},
        )
    }
    reception.settings = asking(Answer.NEXT)
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(1.0)
        call = reception.calls[SID]
        for answer in (Answer.NEXT, Answer.END):
            judged = (call.cells["agent"].core.policy.reasons["529"], call.errands.reasons["529"])
            assert judged == (answer, answer)
            reception.reload(asking(Answer.END), reception.tenants)
            await trio.sleep(0.1)
        phone.hang_up()


# ── a call ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_call_is_greeted_heard_answered_and_written_down(
    reception: Reception, store: Store, autojump_clock: MockClock, tmp_path: Path
) -> None:
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["good", "morning"])
        await trio.sleep(6.0)
        phone.hang_up()
    assert phone.words() == ["welcome", "to", "the", "clinic", "you", "said", "good", "morning"]
    said = [row.entry for row in store.conversation(SID)]
    assert said == [
        AgentSaid(turn=0, text="welcome to the clinic"),
        CallerSaid(turn=1, text="good morning"),
        AgentSaid(turn=1, text="you said good morning"),
    ]
    assert rows(tmp_path) == [(SID, "stop")]
    assert reception.calls == {}


async def test_what_is_to_be_said_waits_for_a_dead_voice_longer_than_voices_are_waited_for(
    reception: Reception, autojump_clock: MockClock
) -> None:
    phone = line(start())
    async with answered(reception, phone):
        await trio.sleep(1.0)
        policy = reception.calls[SID].plan.cores.pacer.policy
        phone.hang_up()
    names = reception.settings.vendors_of(TENANT, "tts")
    assert policy.away_s > sum(reception.settings.restart_policy(TENANT, "tts", name).patience_s for name in names)
    assert policy.lead_s == reception.settings.pacing.lead_s


async def test_the_call_knows_who_called_whom(reception: Reception, tmp_path: Path, autojump_clock: MockClock) -> None:
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(1.0)
        (call,) = reception.store.open_calls()
        phone.hang_up()
    assert (call.call_sid, call.stream_sid, call.tenant) == (SID, phone.stream_sid, "clinic")
    assert (call.caller, call.called) == ("+15550100001", "+15550100002")


async def test_two_calls_at_once_do_not_meet(
    reception: Reception, store: Store, autojump_clock: MockClock, tmp_path: Path
) -> None:
    other = "CA" + "2" * 32
    first, second = Line(), line(CONNECTED, start(call_sid=other))
    async with answered(reception, first), answered(reception, second, other):
        await trio.sleep(4.0)
        first.say(["first", "words"])
        second.say(["second", "words"])
        await trio.sleep(6.0)
        first.hang_up()
        second.hang_up()
    assert first.words()[4:] == ["you", "said", "first", "words"]
    assert second.words()[4:] == ["you", "said", "second", "words"]
    assert sorted(rows(tmp_path)) == [(SID, "stop"), (other, "stop")]


async def test_a_tenants_own_limits_count_before_the_engines(
    reception: Reception, autojump_clock: MockClock, tmp_path: Path
) -> None:
    reception.tenants = {"clinic": attrs.evolve(TENANT, limits=LimitSettings(idle_s=5.0, longest_call_s=12.0))}
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(10.0)
        assert " ".join(phone.words()).endswith("Are you still there?")
    goodbye_s = len(spoken_text(TENANT.texts.stopping)[0]) / 8000
    assert 12.0 + goodbye_s < trio.current_time() < 12.0 + goodbye_s + 1.0
    assert rows(tmp_path) == [(SID, "longest_call_s")]


# ── a vendor that two businesses share ────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Entrance(Door):
    """A vendor's door that one business comes to. refused: by which code it is; empty: it is let in."""

    whose: str = ""
    came: list[str] = attrs.field(factory=list)
    refused: str = ""

    async def passed(self, after_s: float) -> None:
        self.came.append(self.whose)
        await super().passed(after_s)
        if self.refused:
            raise ProviderRefused("not for you", code=self.refused)


@pytest.mark.parametrize("work", ["stt", "tts"])
@pytest.mark.parametrize(
    ("code", "came"),
    [("404", ["clinic", "shop", "clinic", "shop"]), ("401", ["clinic", "clinic"])],
    ids=["a choice", "the account"],
)
async def test_what_a_vendor_refuses_to_one_business_keeps_it_from_no_other_unless_it_is_the_account(
    work: str, code: str, came: list[str], reception: Reception, autojump_clock: MockClock
) -> None:
    is_account = code == "401"
    shop = attrs.evolve(TENANT, id="shop", default=False, numbers=("+15550100003",), language="fr")
    seen: list[str] = []

    def served(tenant: Tenant, refused: str) -> Team:
        door, both = Entrance(whose=tenant.id, came=seen, refused=refused), team(tenant)
        ear = VirtualRecogniser(vendor="deepgram", door=door)
        voice = VirtualVoice(vendor="elevenlabs", voice=f"of {tenant.id}", door=door)
        if work == "stt":
            return attrs.evolve(both, recognisers=(ear, VirtualRecogniser(vendor="local")))
        return attrs.evolve(both, voices=(voice, VirtualVoice(vendor="local")))

    reception.tenants = {"clinic": TENANT, "shop": shop}
    reception.teams = {"clinic": served(TENANT, code), "shop": served(shop, "")}
    with capture_logs() as logs:
        # Its circuit opens; after 15 s the clinic tries again, in vain.
        for number, (tenant, after_s) in enumerate(
            [("clinic", 0), ("shop", 0), ("clinic", 0), ("clinic", 9), ("shop", 0)]
        ):
            await trio.sleep(after_s)
            sid = f"CA{number:032d}"
            phone = line(CONNECTED, start(call_sid=sid))
            async with answered(reception, phone, sid, tenant):
                await trio.sleep(2.0)
                phone.say(["good"])
                await trio.sleep(4.0)
                phone.hang_up()
            assert phone.words()[-3:] == ["you", "said", "good"]
    assert seen == came
    vendor, choice = ("deepgram", "en") if work == "stt" else ("elevenlabs", "of clinic, en")
    told = [(each["work"], each["vendor"], each["choice"]) for each in logs if each["event"] == "vendor_circuit"]
    assert set(told) == {(work, vendor, "" if is_account else choice)}
    gauge = reception.metrics.registry.get_sample_value(
        "holdfast_vendor_circuit_open", {"work": work, "vendor": vendor}
    )
    assert gauge == (1 if is_account else None)


# ── lines that are no calls ───────────────────────────────────────────────────────────────────────────────────────────


async def test_a_line_that_says_nothing_is_given_up_after_five_seconds(
    reception: Reception, autojump_clock: MockClock
) -> None:
    class Mute(Line):
        async def receive(self) -> str:
            await trio.sleep_forever()
            raise AssertionError

    with capture_logs() as logs:
        await reception.answer(Mute(), ticket())
    assert trio.current_time() == START_S == 5.0
    assert refusals(logs) == ["no 'start' within 5 s"]


async def test_a_line_that_says_everything_but_start_is_given_up_after_five_seconds(
    reception: Reception, autojump_clock: MockClock
) -> None:
    class Evasive(Line):
        async def receive(self) -> str:
            await trio.sleep(0.5)
            return CONNECTED

    with capture_logs() as logs:
        await reception.answer(Evasive(), ticket())
    assert trio.current_time() == 5.0
    assert refusals(logs) == ["no 'start' within 5 s"]


@pytest.mark.parametrize(
    ("opening", "why"),
    [
        (["hello"], "message is not json: 'hello'"),
        ([b"\xff\xff"], r"message is not utf-8 at byte 0: b'\xff\xff'"),
        ([CONNECTED, '{"event": "start"}'], "field 'start' is missing; got ['event']"),
        ([CONNECTED, start(coding={"encoding": "audio/opus"})], "its audio is 'audio/opus' at 8000 Hz, channels: 1"),
        ([CONNECTED, start(coding={"sampleRate": 16000})], "its audio is 'audio/x-mulaw' at 16000 Hz, channels: 1"),
        ([CONNECTED, start(coding={"channels": 2})], "its audio is 'audio/x-mulaw' at 8000 Hz, channels: 2"),
        ([CONNECTED, start(call_sid="../../etc")], None),
        ([CONNECTED, start(call_sid="CA" + "2" * 32)], f"its ticket is not for this call: 'CA{'2' * 32}'"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_line_that_cannot_be_a_call_is_refused_at_once_and_leaves_no_row(
    opening: list[str | bytes], why: str | None, reception: Reception, autojump_clock: MockClock, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        await reception.answer(line(*opening), ticket())
    (said,) = refusals(logs)
    assert why is None or said == why
    assert trio.current_time() < 0.1
    assert rows(tmp_path) == []
    assert reception.calls == {}


async def test_a_line_that_closes_before_start_is_refused(reception: Reception, autojump_clock: MockClock) -> None:
    phone = line(CONNECTED)
    phone.vanish()
    with capture_logs() as logs:
        await reception.answer(phone, ticket())
    assert refusals(logs) == ["it closed before 'start'"]


async def test_a_second_line_for_a_call_is_refused_and_the_first_goes_on(
    reception: Reception, autojump_clock: MockClock, tmp_path: Path
) -> None:
    phone = Line()
    with capture_logs() as logs:
        async with answered(reception, phone):
            await trio.sleep(4.0)
            await reception.answer(Line(), ticket())
            assert refusals(logs) == ["this call has a line already"]
            assert list(reception.calls) == [SID]
            phone.say(["good", "morning"])
            await trio.sleep(6.0)
            phone.hang_up()
    assert phone.words()[-2:] == ["good", "morning"]
    assert rows(tmp_path) == [(SID, "stop")]


# ── why it ended ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_end_that_the_agent_wanted_is_known_when_the_phone_network_asks(
    reception: Reception, autojump_clock: MockClock, tmp_path: Path
) -> None:
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["good", "bye"])
    assert rows(tmp_path) == [(SID, "hang_up")]
    assert await reception.next_step(SID) == NextStep(kind="hangup")


async def test_what_comes_next_is_known_before_the_line_is_closed_and_in_every_process(
    reception: Reception, store: Store, autojump_clock: MockClock
) -> None:
    @attrs.define
    class Asking(Line):
        """Asks at once what comes next, as the phone network does, of a process that never saw the call."""

        told: list[NextStep | None] = attrs.field(factory=list)

        async def aclose(self) -> None:
            self.told.append(store.next_step(SID))
            await super().aclose()

    phone = Asking()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["good", "bye"])
    assert phone.told[0] == NextStep(kind="hangup")
    assert await reception.next_step(SID) == NextStep(kind="hangup")


@attrs.frozen(kw_only=True)
class Connecting(VirtualModel):
    """A model that puts every caller through."""

    async def _events(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        assert "transfer_to_person" in {tool.name for tool in request.tools}
        yield ModelText(request=request.id, text="one moment")
        yield ModelToolCall(request=request.id, id="t1", name="transfer_to_person", arguments={})
        yield ModelEnded(request=request.id, stop="tool_use")


async def test_a_transfer_is_announced_heard_and_then_dialled(
    reception: Reception, autojump_clock: MockClock, tmp_path: Path
) -> None:
    reception.tenants = {"clinic": attrs.evolve(TENANT, human_number="+15550100003")}
    reception.teams = {"clinic": attrs.evolve(team(TENANT), models=(Connecting(answer=str),))}
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["a", "person", "please"])
    assert phone.words()[-2:] == ["one", "moment"]
    assert rows(tmp_path) == [(SID, "transfer")]
    assert await reception.next_step(SID) == NextStep(kind="transfer", number="+15550100003")


async def test_a_tenant_without_a_human_number_offers_no_transfer(
    reception: Reception, autojump_clock: MockClock
) -> None:
    offered = list[tuple[str, ...]]()

    @attrs.frozen(kw_only=True)
    class Noting(VirtualModel):
        async def _events(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
            offered.append(tuple(tool.name for tool in request.tools))
            yield ModelText(request=request.id, text="hello")
            yield ModelEnded(request=request.id, stop="end_turn")

    reception.teams = {"clinic": attrs.evolve(team(TENANT), models=(Noting(answer=str),))}
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["good", "morning"])
        await trio.sleep(4.0)
        phone.hang_up()
    assert offered == [("end_call",)]


async def test_what_comes_next_is_remembered_while_the_database_is_away(
    reception: Reception, autojump_clock: MockClock
) -> None:
    async def away(work: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        raise ConfigError("database 'x' cannot be used: locked")

    reception.runner = reception.urgent = away
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["good", "bye"])
    assert await reception.next_step(SID) == NextStep(kind="hangup")


async def test_a_call_that_was_never_here_has_no_next_step(reception: Reception) -> None:
    assert await reception.next_step(SID) is None


async def test_a_dismissed_caller_is_told_goodbye_and_the_call_is_written_down(
    reception: Reception, store: Store, autojump_clock: MockClock, tmp_path: Path
) -> None:
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["good", "morning"])
        await trio.sleep(2.0)
        reception.dismiss("stopping")
    assert " ".join(phone.words()).endswith(TENANT.texts.stopping)
    assert rows(tmp_path) == [(SID, "stopping")]
    assert [type(row.entry) for row in store.conversation(SID)] == [AgentSaid, CallerSaid, AgentSaid]
    assert await reception.next_step(SID) == NextStep(kind="hangup")


async def vanishes(phone: Line, _reception: Reception, _scope: trio.CancelScope) -> None:
    phone.vanish()


async def is_cancelled(_phone: Line, _reception: Reception, scope: trio.CancelScope) -> None:
    scope.cancel()


async def reads_no_more(_phone: Line, reception: Reception, _scope: trio.CancelScope) -> None:
    reception.calls[SID].trunk.end("the line takes no more")


@pytest.mark.parametrize(
    ("ending", "reason"),
    [(vanishes, "closed"), (is_cancelled, "cancelled"), (reads_no_more, "the line takes no more")],
)
async def test_a_call_that_nobody_wanted_to_end_is_closed_with_its_reason_and_the_caller_gets_an_apology(
    ending: Callable[[Line, Reception, trio.CancelScope], Awaitable[None]],
    reason: str,
    reception: Reception,
    autojump_clock: MockClock,
    tmp_path: Path,
) -> None:
    phone = Line()
    async with answered(reception, phone) as scope:
        await trio.sleep(4.0)
        phone.say(["good", "morning"])
        await trio.sleep(1.0)
        await ending(phone, reception, scope)
    assert rows(tmp_path) == [(SID, reason)]
    assert await reception.next_step(SID) is None  # what `/voice/after` apologises for
    assert reception.calls == {}


async def test_a_call_whose_voice_is_gone_for_good_apologises_and_is_closed_as_given_up(
    reception: Reception, autojump_clock: MockClock, tmp_path: Path
) -> None:
    class Mute(VirtualVoice):
        async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
            raise ProviderDown("gone")

    reception.teams = {"clinic": attrs.evolve(team(TENANT), voices=(Mute(),))}
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(1.0)
    assert " ".join(phone.words()).endswith(TENANT.texts.apology)
    assert rows(tmp_path) == [(SID, "gave_up")]
    assert await reception.next_step(SID) == NextStep(kind="hangup")


async def test_a_call_that_gives_up_goes_to_the_tenants_human_if_there_is_one(
    reception: Reception, autojump_clock: MockClock
) -> None:
    class Mute(VirtualVoice):
        async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
            raise ProviderDown("gone")

    reception.tenants = {"clinic": attrs.evolve(TENANT, human_number="+15550100003")}
    reception.teams = {"clinic": attrs.evolve(team(TENANT), voices=(Mute(),))}
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(1.0)
    assert await reception.next_step(SID) == NextStep(kind="transfer", say=CONNECTING, number="+15550100003")


async def test_a_call_that_is_cancelled_keeps_what_was_said(
    reception: Reception, store: Store, autojump_clock: MockClock
) -> None:
    phone = Line()
    async with answered(reception, phone) as scope:
        await trio.sleep(4.0)
        phone.say(["good", "morning"])
        await trio.sleep(6.0)
        scope.cancel()
    assert [type(row.entry) for row in store.conversation(SID)] == [AgentSaid, CallerSaid, AgentSaid]


async def test_a_call_is_answered_while_the_database_is_away(
    reception: Reception, store: Store, autojump_clock: MockClock
) -> None:
    async def away(work: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        if trio.current_time() < 8.0:
            raise ConfigError("database 'x' cannot be used: locked")
        return work()

    reception.runner = reception.urgent = away
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        assert phone.words() == ["welcome", "to", "the", "clinic"]
        phone.say(["good", "morning"])
        await trio.sleep(6.0)
        phone.hang_up()
    assert phone.words()[-2:] == ["good", "morning"]
    assert [type(row.entry) for row in store.conversation(SID)] == [AgentSaid, CallerSaid, AgentSaid]
    assert store.ended_reason(SID) == "stop"


async def test_only_so_many_next_steps_are_remembered(
    reception: Reception, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forgets(work: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        raise ConfigError("database 'x' cannot be used: locked")

    monkeypatch.setattr(reception_module, "STEPS_KEPT", 2)
    reception.runner = reception.urgent = forgets
    sids = [f"CA{number:032}" for number in range(3)]
    for sid in sids:
        phone = line(CONNECTED, start(call_sid=sid))
        async with answered(reception, phone, sid):
            await trio.sleep(4.0)
            phone.say(["good", "bye"])
    with pytest.raises(ConfigError):
        await reception.next_step(sids[0])
    assert [await reception.next_step(sid) for sid in sids[1:]] == [NextStep(kind="hangup")] * 2


# ── steps that raised ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_that_raises_is_written_down_and_the_call_goes_on(
    reception: Reception, autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle, raised = Agent.handle, list[object]()

    def raises_once(self: Agent, message: Any, now: float) -> Any:
        if isinstance(message, TurnEnded) and not raised:
            raised.append(message)
            raise ZeroDivisionError
        return handle(self, message, now)

    monkeypatch.setattr(Agent, "handle", raises_once)
    phone = Line()
    async with answered(reception, phone):
        await trio.sleep(4.0)
        phone.say(["good", "morning"])
        await trio.sleep(6.0)
        phone.hang_up()
    assert phone.words()[-2:] == ["good", "morning"]
    body = json.loads((tmp_path / "raised" / f"{SID}-01-agent.json").read_text())
    assert (body["actor"], body["step"], body["message"]) == ("agent", "message", repr(raised[0]))
    assert body["core"].startswith("Agent(")
    assert body["raised"][-1].strip() == "ZeroDivisionError"


def report() -> StepRaised:
    return StepRaised(
        actor="stt", kind=Kind.TICK, core=Agent(), message=Tick(), now=1.5, error=ValueError(), remedy=Remedy.FRESH
    )


def test_the_steps_of_one_call_cannot_fill_a_disk(tmp_path: Path) -> None:
    dumps = Dumps(folder=tmp_path / "raised", call_sid=SID)
    for _ in range(DUMPS_A_CALL + 5):
        dumps(report())
    files = sorted(path.name for path in (tmp_path / "raised").iterdir())
    assert files == [f"{SID}-{number:02}-stt.json" for number in range(1, DUMPS_A_CALL + 1)]


def test_a_disk_that_refuses_is_told_in_the_log_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "raised").write_text("a file")
    with capture_logs() as logs:
        Dumps(folder=tmp_path / "raised", call_sid=SID)(report())
    assert [each["event"] for each in logs] == ["dump_failed"]
