"""Requests to the model and runs of tools, in virtual time: each ends once, and whoever asked is told once."""

import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import attrs
import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.actors.agent import END_CALL
from engine.errands import Errands
from engine.health import Circuit, Health, HealthPolicy
from engine.messages.conversation import CallerSaid
from engine.messages.errors import EngineBug, ProviderDown, ProviderError, ProviderRefused, ProviderSlow
from engine.messages.model import (
    AskModel,
    CallTool,
    CancelModel,
    ModelAsked,
    ModelEnded,
    ModelFailed,
    ModelText,
    ModelUsage,
    ToolReturned,
)
from engine.policy import Answer
from engine.providers.contract import ModelEvent, ModelRequest, ToolSchema

SAID = (CallerSaid(turn=1, text="hello"),)
SCHEMA = ToolSchema(name="book", description="book", input_schema={"type": "object"})


@attrs.define
class SlowModel:
    """Answers with two words, a second each. fails: what it raises after the first, by request. closing_s: to stop."""

    fails: Mapping[str, Exception] = attrs.field(factory=dict)
    closing_s: float = 0.0
    asked: list[ModelRequest] = attrs.field(factory=list)
    log: list[str] = attrs.field(factory=list)
    vendor: str = "slow"

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        self.asked.append(request)
        self.log.append(f"{request.id} opened")
        try:
            yield self._events(request)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.closing_s)
            self.log.append(f"{request.id} closed")

    async def _events(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        for word in ("one", "two"):
            await trio.sleep(1.0)
            yield ModelText(request=request.id, text=word)
            if request.id in self.fails:
                raise self.fails[request.id]
        yield ModelEnded(request=request.id, stop="end_turn")


@attrs.define
class SlowTools:
    """Each takes a second, or as long as `takes_s` says of its id; then raises `error`, if there is one."""

    takes_s: Mapping[str, float] = attrs.field(factory=dict)
    error: Exception | None = None
    begun: list[str] = attrs.field(factory=list)
    ended: list[str] = attrs.field(factory=list)

    def schemas(self) -> tuple[ToolSchema, ...]:
        return (SCHEMA,)

    async def run(self, call: CallTool) -> ToolReturned:
        self.begun.append(call.id)
        await trio.sleep(self.takes_s.get(call.id, 1.0))
        if self.error is not None:
            raise self.error
        self.ended.append(call.id)
        return ToolReturned(id=call.id, ok=True, value="booked")


@attrs.define
class Rig:
    model: SlowModel = attrs.field(factory=SlowModel)
    others: tuple[SlowModel, ...] = ()
    health: Health = attrs.field(factory=lambda: Health(policy=HealthPolicy(failures=2), clock=trio.current_time))
    tools: SlowTools = attrs.field(factory=SlowTools)
    told: list[ModelEvent | ModelFailed | ToolReturned] = attrs.field(factory=list)
    asked: list[ModelAsked] = attrs.field(factory=list)
    errands: Errands = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.errands = Errands(
            models=(self.model, *self.others),
            health=self.health,
            tools=self.tools,
            prompt="be brief",
            tell_agent=lambda event: (
                self.asked.append(event) if isinstance(event, ModelAsked) else self.told.append(event)
            ),
            tell_result=self.told.append,
            log=structlog.get_logger(),
        )

    def ask(self, request: str, *without: str) -> None:
        self.errands.put(AskModel(request=request, turn=1, conversation=SAID, without=without))

    def run_tool(self, run: str) -> None:
        self.errands.put(CallTool(id=run, turn=1, name="book", arguments={}))


@asynccontextmanager
async def serving(rig: Rig) -> AsyncIterator[Rig]:
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.errands.supervisor.run)
        yield rig
        rig.errands.supervisor.stop()


def answer(request: str) -> list[ModelEvent]:
    return [
        ModelText(request=request, text="one"),
        ModelText(request=request, text="two"),
        ModelEnded(request=request, stop="end_turn"),
    ]


# ── requests to the model ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_reply_is_passed_on_as_it_comes(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.ask("r1")
        await trio.sleep(1.5)
        assert rig.told == answer("r1")[:1]
        await trio.sleep(1.0)
    assert rig.told == answer("r1")


async def test_the_model_is_told_of_the_prompt_the_conversation_the_tools_and_how_to_end_the_call(
    autojump_clock: MockClock,
) -> None:
    async with serving(Rig()) as rig:
        rig.ask("r1")
        await trio.sleep(0.5)
    (request,) = rig.model.asked
    assert (request.id, request.system, request.conversation) == ("r1", "be brief", SAID)
    assert [tool.name for tool in request.tools] == ["book", END_CALL]


async def test_a_cancelled_request_is_closed_at_the_vendor_and_says_nothing_more(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.ask("r1")
        await trio.sleep(1.5)
        rig.errands.put(CancelModel(request="r1"))
        await trio.sleep(5.0)
        assert rig.model.log == ["r1 opened", "r1 closed"]
    assert rig.told == answer("r1")[:1]


async def test_a_cancel_that_comes_after_the_end_or_for_nothing_changes_nothing(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.ask("r1")
        await trio.sleep(3.0)
        rig.errands.put(CancelModel(request="r1"))
        rig.errands.put(CancelModel(request="r7"))
        await trio.sleep(1.0)
    assert rig.told == answer("r1")


async def test_a_request_that_is_cancelled_ends_no_other(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.ask("r1")
        rig.ask("r2")
        rig.errands.put(CancelModel(request="r1"))
        await trio.sleep(5.0)
    assert rig.told == answer("r2")


@pytest.mark.parametrize(
    ("error", "reason", "kinds"),
    [
        (ProviderRefused("key refused", code="401"), "ProviderRefused: key refused", ("401", "refused")),
        (ProviderDown("broke off"), "ProviderDown: broke off", ("down",)),
        (ProviderSlow("fell silent"), "ProviderSlow: fell silent", ("slow",)),
        (ProviderError("odd"), "ProviderError: odd", ("down",)),
        (ValueError("our own"), "ValueError: our own", ("crash",)),
        (ExceptionGroup("two", [ProviderRefused("no")]), "ProviderRefused: no", ("refused",)),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_request_that_fails_is_told_once_with_whose_it_was_and_of_what_kind_that_is(
    error: Exception, reason: str, kinds: tuple[str, ...], autojump_clock: MockClock
) -> None:
    with capture_logs() as logs:
        async with serving(Rig(SlowModel(fails={"r1": error}))) as rig:
            rig.ask("r1")
            rig.ask("r2")
            await trio.sleep(5.0)
    mine = [each for each in rig.told if getattr(each, "request", "") == "r1"]
    failed = ModelFailed(request="r1", reason=reason, vendor="slow", kinds=kinds)
    assert mine == [*answer("r1")[:1], failed]
    assert [each for each in rig.told if each not in mine] == answer("r2")
    assert [(each["event"], each["errand"]) for each in logs] == [("errand_failed", "model r1")]


async def test_a_request_that_fails_while_it_is_being_cancelled_is_not_told(autojump_clock: MockClock) -> None:
    class Cross(SlowModel):
        @asynccontextmanager
        async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
            try:
                yield self._events(request)
            except trio.Cancelled:
                raise ProviderDown("broke off while it was closed") from None

    async with serving(Rig(Cross())) as rig:
        rig.ask("r1")
        await trio.sleep(0.5)
        rig.errands.put(CancelModel(request="r1"))
        await trio.sleep(5.0)
    assert rig.told == []


async def test_a_request_of_an_id_that_is_under_way_is_not_begun_again(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(Rig()) as rig:
            rig.ask("r1")
            await trio.sleep(0.5)
            rig.ask("r1")
            await trio.sleep(5.0)
    assert rig.model.log == ["r1 opened", "r1 closed"]
    assert rig.told == answer("r1")
    assert [(each["event"], each["errand"]) for each in logs] == [("errand_not_begun", "model r1")]


async def test_a_request_of_an_id_that_is_still_being_cancelled_raises_nothing(autojump_clock: MockClock) -> None:
    async with serving(Rig(SlowModel(closing_s=3.0))) as rig:
        rig.ask("r1")
        await trio.sleep(0.5)
        rig.errands.put(CancelModel(request="r1"))
        await trio.sleep(0.5)
        rig.ask("r1")  # a port never raises, whatever is put to it
        await trio.sleep(10.0)
    assert rig.model.log == ["r1 opened", "r1 closed"]
    assert rig.told == []


def test_what_is_no_errand_is_a_bug() -> None:
    with pytest.raises(EngineBug, match="no errand is called ModelText"):
        Rig().errands.put(ModelText(request="r1", text="one"))


# ── who is asked ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Refusing(SlowModel):
    """Refuses at once, with `error`."""

    error: ProviderError = ProviderDown("away")

    async def _events(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        await trio.lowlevel.checkpoint()
        if self.asked:
            raise self.error
        yield ModelText(request=request.id, text="never")


def three() -> Rig:
    return Rig(SlowModel(vendor="a"), (SlowModel(vendor="b"), SlowModel(vendor="c")))


def asked(rig: Rig) -> list[str]:
    return [each.vendor for each in rig.asked]


async def test_the_first_is_asked_that_was_not_to_be_left_out(autojump_clock: MockClock) -> None:
    async with serving(three()) as rig:
        for name, without in [("r1", ()), ("r2", ("a",)), ("r3", ("a", "b")), ("r4", ("b",)), ("r5", ("a", "b", "c"))]:
            rig.ask(name, *without)
        await trio.sleep(5.0)
        assert rig.asked[0] == ModelAsked(request="r1", vendor="a")
        assert asked(rig) == ["a", "b", "c", "a", "a"]
        assert [sorted(request.id for request in model.asked) for model in (rig.model, *rig.others)] == [
            ["r1", "r4", "r5"],
            ["r2"],
            ["r3"],
        ]


async def test_what_the_process_knows_of_a_model_counts_from_the_next_request_on(autojump_clock: MockClock) -> None:
    with capture_logs():
        async with serving(Rig(Refusing(vendor="a"), (SlowModel(vendor="b"),))) as rig:
            for number in range(4):
                rig.ask(f"r{number}")
                await trio.sleep(3.0)
            assert asked(rig) == ["a", "a", "b", "b"]
            await trio.sleep(10.0)
            rig.ask("probe")
            await trio.sleep(3.0)
            rig.ask("after it failed")
            await trio.sleep(3.0)
    assert asked(rig)[4:] == ["a", "b"]


async def test_a_model_that_takes_over_and_one_that_is_back_are_told_of(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(three()) as rig:
            for name, without in [("r1", ()), ("r2", ("a",)), ("r3", ("a",)), ("r4", ())]:
                rig.ask(name, *without)
                await trio.sleep(3.0)
            rig.health.of("llm", ("a",)).failed("a", lasting=True)
            await trio.sleep(16.0)
            rig.ask("probe")
            await trio.sleep(3.0)
    told = [(each["event"], each["now_on"]) for each in logs if each["event"].startswith("failed_")]
    assert told == [("failed_over", "b"), ("failed_back", "a")]
    counted = rig.errands.watch.metrics.exposition()[0].decode()
    assert 'holdfast_fail_overs_total{actor="agent"' in counted
    assert 'holdfast_fail_backs_total{actor="agent"' in counted


@pytest.mark.parametrize(
    ("error", "circuit"),
    [
        (ProviderDown("away"), Circuit.CLOSED),  # once is nothing
        (ProviderRefused("no key", code="401"), Circuit.OPEN),
        (ProviderRefused("too long", code="413"), Circuit.CLOSED),
        (ProviderRefused("not like this", code="400"), Circuit.CLOSED),
    ],
)
async def test_a_refusal_speaks_against_the_model_unless_it_is_of_this_one_conversation(
    error: ProviderError, circuit: Circuit, autojump_clock: MockClock
) -> None:
    class Of(Refusing):
        pass

    Of.error = error
    with capture_logs():
        async with serving(Rig(Of())) as rig:
            rig.ask("r1")
            await trio.sleep(1.0)
    assert rig.health.breaker("llm", "slow").circuit is circuit


@pytest.mark.parametrize(
    ("error", "reasons", "circuit"),
    [
        (ProviderRefused("no key", code="401"), {"401": Answer.RESTART, "refused": Answer.NEXT}, Circuit.CLOSED),
        (ProviderRefused("no key", code="401"), {"401": Answer.END}, Circuit.OPEN),
        (ProviderRefused("no key", code="401"), {}, Circuit.CLOSED),
        (ProviderDown("overloaded", code="529"), {"529": Answer.NEXT}, Circuit.OPEN),
        (ProviderDown("overloaded", code="529"), {"down": Answer.RESTART}, Circuit.CLOSED),
        (ProviderRefused("too long", code="413"), {"413": Answer.NEXT}, Circuit.CLOSED),
        (None, {"slow": Answer.NEXT}, Circuit.OPEN),
        (None, {}, Circuit.CLOSED),
    ],
)
async def test_what_is_not_asked_again_has_given_its_model_up_for_all(
    error: ProviderError | None, reasons: Mapping[str, Answer], circuit: Circuit, autojump_clock: MockClock
) -> None:
    class Of(Refusing):
        pass

    Of.error = error or ProviderDown("")
    with capture_logs():
        async with serving(Rig(Of() if error else SlowModel())) as rig:
            rig.errands.reasons = reasons
            rig.ask("r1")
            await trio.sleep(0.5)
            if error is None:
                rig.errands.put(CancelModel(request="r1", stalled=True))
            await trio.sleep(0.5)
    assert rig.health.breaker("llm", "slow").circuit is circuit


async def test_a_model_of_which_nothing_came_in_time_is_worse_off_for_it(autojump_clock: MockClock) -> None:
    with capture_logs():
        async with serving(Rig()) as rig:
            for name in ("r1", "r2"):
                rig.ask(name)
                await trio.sleep(0.5)
                rig.errands.put(CancelModel(request=name, stalled=True))
                await trio.sleep(0.5)
    assert rig.health.breaker("llm", "slow").circuit is Circuit.OPEN


async def test_an_account_is_told_and_speaks_for_nobody(autojump_clock: MockClock) -> None:
    class Accountant(SlowModel):
        async def _events(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
            yield ModelUsage(request=request.id, input_tokens=9, output_tokens=1)
            await trio.sleep_forever()

    with capture_logs():
        async with serving(Rig(Accountant())) as rig:
            for name in ("r1", "r2"):
                rig.ask(name)
                await trio.sleep(0.5)
                rig.errands.put(CancelModel(request=name, stalled=True))
                await trio.sleep(0.5)
    assert rig.told[0] == ModelUsage(request="r1", input_tokens=9, output_tokens=1)
    assert rig.health.breaker("llm", "slow").circuit is Circuit.OPEN


@pytest.mark.parametrize(("after_s", "stalled"), [(0.5, False), (1.5, False), (1.5, True)])
async def test_who_is_cancelled_or_had_begun_to_answer_is_not(
    after_s: float, stalled: bool, autojump_clock: MockClock
) -> None:
    with capture_logs():
        async with serving(Rig()) as rig:
            for name in ("r1", "r2", "r3"):
                rig.ask(name)
                await trio.sleep(after_s)
                rig.errands.put(CancelModel(request=name, stalled=stalled))
                await trio.sleep(0.5)
    assert rig.health.breaker("llm", "slow").failures == 0


@pytest.mark.parametrize(
    ("ends_after_s", "circuit"), [(0.5, Circuit.OPEN), (1.5, Circuit.CLOSED)], ids=["cancelled", "useful"]
)
async def test_the_probe_is_given_back_when_it_is_cancelled_and_its_first_words_are_enough(
    ends_after_s: float, circuit: Circuit, autojump_clock: MockClock
) -> None:
    with capture_logs():
        async with serving(Rig(SlowModel(fails={}))) as rig:
            for _ in range(2):
                rig.health.of("llm", ("slow",)).failed("slow")
            await trio.sleep(15.0)
            rig.ask("r1")
            assert rig.health.breaker("llm", "slow").circuit is Circuit.HALF_OPEN
            await trio.sleep(ends_after_s)
            rig.errands.put(CancelModel(request="r1"))
            await trio.sleep(1.0)
    assert rig.health.breaker("llm", "slow").circuit is circuit


async def test_a_request_that_is_cancelled_before_it_began_gives_the_probe_back(autojump_clock: MockClock) -> None:
    with capture_logs():
        async with serving(Rig()) as rig:
            for _ in range(2):
                rig.health.of("llm", ("slow",)).failed("slow")
            await trio.sleep(15.0)
            rig.ask("r1")
            assert rig.health.breaker("llm", "slow").circuit is Circuit.HALF_OPEN
            rig.errands.put(CancelModel(request="r1"))
            assert rig.health.breaker("llm", "slow").lets_through(trio.current_time())
            await trio.sleep(1.0)
    assert rig.model.asked == []


# ── runs of tools ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_tool_returns_by_its_id(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.run_tool("a")
        await trio.sleep(2.0)
    assert rig.told == [ToolReturned(id="a", ok=True, value="booked")]


async def test_a_tool_that_crashes_returns_that_it_failed(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(Rig(tools=SlowTools(error=ZeroDivisionError()))) as rig:
            rig.run_tool("a")
            await trio.sleep(2.0)
            await rig.errands.tools_ended()
    assert rig.told == [ToolReturned(id="a", ok=False, value="the tool failed; its effect is not known")]
    assert [(each["event"], each["errand"]) for each in logs] == [("errand_failed", "tool a")]


async def test_a_tool_of_an_id_that_runs_already_runs_once(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.run_tool("a")
        rig.run_tool("a")
        await trio.sleep(2.0)
    assert rig.tools.begun == ["a"]
    assert rig.told == [ToolReturned(id="a", ok=True, value="booked")]


async def test_no_cancelled_request_touches_a_tool(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.run_tool("r1")
        rig.errands.put(CancelModel(request="r1"))
        await trio.sleep(2.0)
    assert rig.told == [ToolReturned(id="r1", ok=True, value="booked")]


async def test_a_failed_request_ends_no_tool(autojump_clock: MockClock) -> None:
    async with serving(Rig(SlowModel(fails={"r1": ProviderDown("gone")}), tools=SlowTools({"a": 4.0}))) as rig:
        rig.run_tool("a")
        rig.ask("r1")
        await trio.sleep(5.0)
    assert rig.tools.ended == ["a"]
    assert rig.told[-1] == ToolReturned(id="a", ok=True, value="booked")


async def test_many_failures_end_nothing(autojump_clock: MockClock) -> None:
    """Errands are temporary children: no number of them is one too many."""
    failing = {f"r{number}": ProviderDown("gone") for number in range(100)}
    async with serving(Rig(SlowModel(fails=failing))) as rig:
        for request in failing:
            rig.ask(request)
        await trio.sleep(2.0)
        rig.ask("last")
        await trio.sleep(5.0)
    assert sum(isinstance(each, ModelFailed) for each in rig.told) == 100
    assert rig.told[-3:] == answer("last")


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_is_begun_after_close_and_what_runs_runs_on(autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with serving(Rig()) as rig:
            rig.run_tool("a")
            await trio.sleep(0.5)
            rig.errands.close()
            rig.run_tool("b")
            rig.ask("r1")
            await trio.sleep(5.0)
    assert (rig.tools.begun, rig.tools.ended, rig.model.log) == (["a"], ["a"], [])
    assert rig.told == [ToolReturned(id="a", ok=True, value="booked")]
    assert [(each["errand"], each["closed"]) for each in logs] == [("tool b", True), ("model r1", True)]


async def test_tools_are_waited_for_all_of_them_and_no_request_is(autojump_clock: MockClock) -> None:
    async with serving(Rig(tools=SlowTools({"b": 3.0, "c": 2.0}))) as rig:
        for run in "abc":
            rig.run_tool(run)
        rig.ask("r1")
        rig.errands.close()
        await rig.errands.tools_ended()
        assert sorted(rig.tools.ended) == ["a", "b", "c"]
        assert trio.current_time() == pytest.approx(3.0)


async def test_no_tools_are_not_waited_for(autojump_clock: MockClock) -> None:
    async with serving(Rig()) as rig:
        rig.ask("r1")
        with trio.fail_after(0.0):
            await rig.errands.tools_ended()


async def test_a_tool_that_hangs_ends_with_the_supervisor(autojump_clock: MockClock) -> None:
    rig = Rig(tools=SlowTools({"a": math.inf}))
    async with serving(rig):
        rig.run_tool("a")
        await trio.sleep(1.0)
        with trio.move_on_after(5.0) as waiting:
            await rig.errands.tools_ended()
        assert waiting.cancelled_caught
    assert rig.tools.ended == []
