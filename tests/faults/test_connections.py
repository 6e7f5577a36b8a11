"""What a fault does to one connection, at the vendors' contract: what comes through, when, and what it dies of."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from engine.faults import (
    AnyFault,
    Delay,
    Drop,
    Duplicate,
    Garble,
    Kill,
    Raise,
    Refuse,
    SlowDrip,
    Stall,
)
from engine.faulty import InjectedError, Injector, Report
from engine.faulty.vendors import FaultyModel, FaultyRecogniser, FaultyVoice
from engine.messages.errors import ProviderDown, ProviderError, ProviderRefused, ProviderSlow
from engine.messages.model import ModelEnded, ModelText
from engine.messages.recognition import Recognised, Word
from engine.messages.synthesis import Synthesised
from engine.providers.contract import ModelEvent, ModelRequest


def heard(text: str, *, final: bool = False) -> Recognised:
    return Recognised(text=text, start_s=0, end_s=0, is_final=final, speech_final=final, covered_s=0)


SECONDS = [heard("a"), heard("a b"), heard("a b c", final=True), heard("d"), heard("d e", final=True)]
"""What the vendor says, one thing a second, from second 1 on."""


@attrs.define
class Vendor:
    """Connects in half a second, says something each second, then nothing; fails at its end if it is told to."""

    says: list[Any] = attrs.field(factory=lambda: list(SECONDS))
    vendor: str = "acme"
    voice: str = "tone"
    fails: Exception | None = None
    opened: list[float] = attrs.field(factory=list)

    async def session(self, seam: Any) -> None:
        self.opened.append(trio.current_time())
        await trio.sleep(0.5)
        seam.opened(aligned=True)
        await trio.sleep(0.5)
        for each in self.says:
            await seam.emit(each)
            await trio.sleep(1.0)
        if self.fails is not None:
            raise self.fails
        await trio.sleep_forever()

    async def render(self, text: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return text.encode()

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        yield self._events()

    async def _events(self) -> AsyncIterator[ModelEvent]:
        for each in self.says:
            await trio.sleep(1.0)
            yield each
        if self.fails is not None:
            raise self.fails


@attrs.define
class Seam:
    """The actor's side: what came, and when."""

    came: list[tuple[float, Any]] = attrs.field(factory=list)
    bad: list[str] = attrs.field(factory=list)

    def opened(self, *, aligned: bool = False) -> None:
        self.came.append((round(trio.current_time() - START, 3), "opened" if aligned else "?"))

    async def ask(self) -> Any:
        return await trio.sleep_forever()

    async def emit(self, event: Any) -> None:
        await trio.lowlevel.checkpoint()
        what = (event.text, event.is_final) if isinstance(event, Recognised) else event
        self.came.append((round(trio.current_time() - START, 3), what))

    def refused(self, why: str) -> None:
        self.bad.append(why)


START = 0.0


@asynccontextmanager
async def injecting(*faults: AnyFault, seed: int = 0) -> AsyncIterator[Injector]:
    global START  # noqa: PLW0603 - a test's clock begins when it does
    START = start = trio.current_time()
    report = Report(faults=faults)
    injector = Injector(faults, seed, report, lambda: trio.current_time() - start, lambda _actor: False)
    injector.look()  # before anybody connects, as it is in a call
    async with trio.open_nursery() as nursery:
        nursery.start_soon(injector.keep_time, start)
        yield injector
        nursery.cancel_scope.cancel()


async def listen(
    *faults: AnyFault,
    vendor: Vendor | None = None,
    within_s: float = 9.5,
    wrapper: Callable[..., Any] = FaultyRecogniser,
) -> tuple[list[tuple[float, Any]], ProviderError | Exception | None, Seam, Report]:
    """Hold one session until it dies, or for so long."""
    seam, died = Seam(), None
    async with injecting(*faults) as injector:
        with trio.move_on_after(within_s):
            try:
                await wrapper(injector=injector, inner=vendor or Vendor()).session(seam)
            except (ProviderError, InjectedError, ZeroDivisionError) as error:
                died = error
    return seam.came, died, seam, injector.report


AS_IT_IS = [
    (0.5, "opened"),
    (1.0, ("a", False)),
    (2.0, ("a b", False)),
    (3.0, ("a b c", True)),
    (4.0, ("d", False)),
    (5.0, ("d e", True)),
]


def shifted(by_s: float, since: int = 0) -> list[tuple[float, Any]]:
    return [(at + by_s if index >= since else at, what) for index, (at, what) in enumerate(AS_IT_IS)]


async def test_without_faults_all_comes_when_it_comes(autojump_clock: object) -> None:
    came, died, _, report = await listen()
    assert (came, died, report.strikes) == (AS_IT_IS, None, [])


@pytest.mark.parametrize(
    ("fault", "last", "at_s"),
    [
        (Kill("stt.session", at=2.5), 3, 2.5),
        (Kill("acme", at=2.5), 3, 2.5),
        (Kill("acme", after="2nd interim"), 3, 2.0),
        (Kill("acme", after="1st final"), 4, 3.0),
        (Kill("acme", after="3rd interim"), 5, 4.0),
        (Kill("acme", at=1.5, after="1st interim"), 3, 2.0),
        (Kill("acme", after="1st session"), 1, 0.5),
    ],
    ids=str,
)
async def test_a_killed_connection_dies_after_what_came_before(
    fault: Kill, last: int, at_s: float, autojump_clock: object
) -> None:
    came, died, _, report = await listen(fault)
    assert came == AS_IT_IS[:last]
    assert isinstance(died, ProviderDown)
    assert report.strikes == [1]
    assert [each.at_s for each in report.happened if each.who == "fault"] == [at_s]


@pytest.mark.parametrize("on", ["tts.session", "llm", "local"])
async def test_a_fault_on_another_connection_does_nothing_to_this(on: str, autojump_clock: object) -> None:
    faults = (Kill(on), Refuse(on), Stall(on), Delay(on), Drop(on), Duplicate(on), Garble(on), SlowDrip(on), Raise(on))
    came, died, _, report = await listen(*faults)
    assert (came, died) == (AS_IT_IS, None)
    assert report.strikes == [0, 1, 0, 1, 0, 0, 0, 1, 0]  # outages and delays are there, and nobody meets them


@pytest.mark.parametrize(
    ("failing", "kind", "kinds"),
    [
        ("down", ProviderDown, ("1011", "down")),
        ("refused", ProviderRefused, ("1011", "refused")),
        ("slow", ProviderSlow, ("1011", "slow")),
    ],
)
async def test_a_kill_is_of_the_kind_and_code_that_it_says(
    failing: str, kind: type[ProviderError], kinds: tuple[str, ...], autojump_clock: object
) -> None:
    _, died, _, _ = await listen(Kill("acme", at=1.0, failing=failing, code="1011"))
    assert type(died) is kind
    assert isinstance(died, ProviderError)
    assert died.kinds == kinds


async def test_a_raise_is_no_failure_of_the_vendors(autojump_clock: object) -> None:
    came, died, _, _ = await listen(Raise("acme", at=2.5))
    assert came == AS_IT_IS[:3]
    assert isinstance(died, InjectedError)


async def test_what_a_session_dies_of_by_itself_comes_out_as_it_is(autojump_clock: object) -> None:
    error = ProviderRefused("no", code="401")
    came, died, _, _ = await listen(vendor=Vendor(fails=error), within_s=20.0)
    assert (came, died) == (AS_IT_IS, error)
    bug = ZeroDivisionError("a bug of the client's")
    _, died, _, _ = await listen(vendor=Vendor(fails=bug), within_s=20.0)
    assert died is bug


async def test_a_kill_that_finds_nobody_connected_waits_for_the_next(autojump_clock: object) -> None:
    came, died, _, report = await listen(Kill("acme", at=0.2))
    assert came == AS_IT_IS[:1]
    assert isinstance(died, ProviderDown)
    assert [each.at_s for each in report.happened if each.who == "fault"] == [0.5]


async def test_an_outage_breaks_off_what_is_open_and_lets_nobody_in_while_it_lasts(autojump_clock: object) -> None:
    fault = Refuse("acme", at=2.5, lasts_s=3.0, answers_s=0.25, failing="refused", code="402")
    seam, vendor, deaths = Seam(), Vendor(), []
    async with injecting(fault) as injector:
        recogniser = FaultyRecogniser(injector=injector, inner=vendor)
        for _ in range(4):
            with trio.move_on_after(8.0):
                try:
                    await recogniser.session(seam)
                except ProviderError as error:
                    deaths.append((trio.current_time() - START, error.code, type(error)))
            await trio.sleep(1.0 - 0.25 * bool(len(deaths) - 1))
    # Broken off at 2.5; tried at 3.5, 4.5 and 5.5, which is when it is over.
    assert [(round(at, 3), *rest) for at, *rest in deaths] == [
        (2.5, "402", ProviderRefused),
        (3.75, "402", ProviderRefused),
        (4.75, "402", ProviderRefused),
    ]
    assert [round(at - START, 3) for at in vendor.opened] == [0.0, 5.5]
    assert injector.report.strikes == [1]


async def test_a_delay_is_of_all_that_comes_and_of_the_connecting(autojump_clock: object) -> None:
    assert (await listen(Delay("acme", by_s=0.75)))[0] == shifted(0.75)[:1] + [
        (at + 1.5, what) for at, what in AS_IT_IS[1:]
    ]  # connecting later, and each event later than it came


async def test_a_delay_ends_and_nothing_overtakes(autojump_clock: object) -> None:
    came, _, _, _ = await listen(Delay("acme", at=1.5, lasts_s=1.0, by_s=1.25))
    assert came == [*AS_IT_IS[:2], (3.25, ("a b", False)), (3.25, ("a b c", True)), *AS_IT_IS[4:]]


async def test_a_stall_holds_back_what_comes_and_lets_it_through_afterwards(autojump_clock: object) -> None:
    came, died, _, report = await listen(Stall("acme", at=1.5, lasts_s=2.0, noticed_s=60.0))
    assert came == [*AS_IT_IS[:2], (3.5, ("a b", False)), (3.5, ("a b c", True)), *AS_IT_IS[4:]]
    assert (died, report.strikes) == (None, [1])


async def test_a_stall_is_noticed_by_the_vendors_client_as_long_after_the_first_event_as_it_says(
    autojump_clock: object,
) -> None:
    fault, vendor = Stall("acme", at=1.5, noticed_s=2.5), Vendor()
    seam = Seam()
    async with injecting(fault) as injector:
        recogniser = FaultyRecogniser(injector=injector, inner=vendor)
        with pytest.raises(ProviderSlow, match=r"acme gave no sign of life in 2.5 s"):
            await recogniser.session(seam)
        assert trio.current_time() - START == pytest.approx(4.5)
        # Without `lasts_s` it was that connection's own: the next one is well.
        with trio.move_on_after(2.25):
            await recogniser.session(seam)
    assert [what for _, what in seam.came] == ["opened", ("a", False), "opened", ("a", False), ("a b", False)]


async def test_who_connects_into_a_stall_that_lasts_is_stalled_too(autojump_clock: object) -> None:
    came, died, _, _ = await listen(Stall("acme", lasts_s=9.0, noticed_s=2.0))
    assert came == []
    assert isinstance(died, ProviderSlow)


@pytest.mark.parametrize(
    ("fault", "missing"),
    [
        (Drop("acme", at=1.5), {2}),
        (Drop("acme", at=1.5, what="final"), {3}),
        (Drop("acme", what="interim", lasts_s=3.0), {1, 2}),
        (Drop("acme", after="1st final"), {4}),
        (Drop("acme", after="1st interim", times=2), {2, 5}),  # the first of the next two that pass, and one after it
        (Drop("acme", at=1.5, times=2, every_s=2.0), {2, 4}),
        (Drop("acme", what="token"), set()),
    ],
    ids=str,
)
async def test_what_is_dropped_does_not_come_and_all_else_does(
    fault: Drop, missing: set[int], autojump_clock: object
) -> None:
    came, died, seam, report = await listen(fault)
    assert came == [each for index, each in enumerate(AS_IT_IS) if index not in missing]
    assert (died, seam.bad, report.strikes) == (None, [], [len(missing)])


async def test_what_is_duplicated_comes_twice(autojump_clock: object) -> None:
    came, _, _, _ = await listen(Duplicate("acme", what="final"))
    assert came == [*AS_IT_IS[:4], *AS_IT_IS[3:]]


async def test_what_is_garbled_is_counted_and_does_not_come(autojump_clock: object) -> None:
    came, died, seam, _ = await listen(Garble("acme", what="final"))
    assert came == [*AS_IT_IS[:3], *AS_IT_IS[4:]]
    assert (died, seam.bad) == (None, ["garbled by a fault"])


async def test_drips_come_one_at_a_time(autojump_clock: object) -> None:
    came, _, _, _ = await listen(SlowDrip("acme", by_s=1.5))
    assert came == [
        (0.5, "opened"),
        (1.0, ("a", False)),
        (2.5, ("a b", False)),
        (4.0, ("a b c", True)),
        (5.5, ("d", False)),
        (7.0, ("d e", True)),
    ]


SOUND = Synthesised(turn=1, index=0, audio=bytes(400), words=(Word(text="hi", start_s=0.0, end_s=0.04),))


async def test_audio_drips_in_frames_and_its_words_come_with_the_last(autojump_clock: object) -> None:
    came, _, _, report = await listen(
        SlowDrip("tts.session", by_s=0.1), vendor=Vendor(says=[SOUND]), wrapper=FaultyVoice
    )
    assert came == [
        (0.5, "opened"),
        (1.0, attrs.evolve(SOUND, audio=bytes(160), words=())),
        (1.1, attrs.evolve(SOUND, audio=bytes(160), words=())),
        (1.2, attrs.evolve(SOUND, audio=bytes(80))),
    ]
    assert report.strikes == [1]


async def test_a_voice_is_killed_after_so_much_audio_and_renders_all_the_same(autojump_clock: object) -> None:
    vendor = Vendor(says=[SOUND, SOUND, SOUND])
    came, died, _, _ = await listen(Kill("tts.session", after="2nd audio"), vendor=vendor, wrapper=FaultyVoice)
    assert [what for _, what in came] == ["opened", SOUND, SOUND]
    assert isinstance(died, ProviderDown)
    async with injecting(Refuse("acme")) as injector:
        voice = FaultyVoice(injector=injector, inner=vendor)
        assert (voice.vendor, voice.voice, await voice.render("x")) == ("acme", "tone", b"x")


# ── a model ───────────────────────────────────────────────────────────────────────────────────────────────────────────

TOKENS = [ModelText(request="1", text=each) for each in "abcd"]
REPLY = [*TOKENS, ModelEnded(request="1", stop="end_turn")]
ASKED = ModelRequest(id="1", system="", conversation=())


async def answered(
    *faults: AnyFault, vendor: Vendor | None = None
) -> tuple[list[tuple[float, Any]], Exception | None, Report]:
    """Ask once and hear the answer out."""
    came: list[tuple[float, Any]] = []
    died: Exception | None = None
    async with injecting(*faults) as injector:
        try:
            inner = vendor or Vendor(says=list(REPLY))
            async with FaultyModel(injector=injector, inner=inner).reply(ASKED) as events:
                async for event in events:
                    came.append((round(trio.current_time() - START, 3), event))  # noqa: PERF401 - the time is its own
        except (ProviderError, InjectedError, ZeroDivisionError) as error:
            died = error
    return came, died, injector.report


WHOLE = [(float(index + 1), event) for index, event in enumerate(REPLY)]


async def test_without_faults_a_reply_is_as_it_was(autojump_clock: object) -> None:
    assert (await answered())[:2] == (WHOLE, None)


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        (Kill("llm", after="2nd token"), 2),
        (Kill("acme", at=3.5), 3),
        (Kill("llm"), 0),
        (Refuse("llm", at=2.5), 2),
        (Refuse("llm"), 0),
        (Garble("llm", after="1st token"), 1),
    ],
    ids=str,
)
async def test_a_reply_breaks_off_where_it_is_told_to(fault: AnyFault, count: int, autojump_clock: object) -> None:
    came, died, report = await answered(fault)
    assert came == WHOLE[:count]
    assert isinstance(died, ProviderDown)
    assert report.strikes == [1]


async def test_a_reply_raises_what_is_no_failure_of_the_vendors(autojump_clock: object) -> None:
    came, died, _ = await answered(Raise("llm", after="2nd token"))
    assert came == WHOLE[:2]
    assert isinstance(died, InjectedError)


async def test_what_a_model_dies_of_by_itself_comes_after_what_it_said(autojump_clock: object) -> None:
    error = ProviderDown("broke off")
    came, died, _ = await answered(vendor=Vendor(says=list(TOKENS), fails=error))
    assert (came, died) == (WHOLE[:4], error)
    bug = ZeroDivisionError("a bug of the client's")
    _, died, _ = await answered(vendor=Vendor(says=list(TOKENS), fails=bug))
    assert died is bug


async def test_what_a_model_dies_of_is_delayed_with_what_it_said(autojump_clock: object) -> None:
    error = ProviderDown("broke off")
    came, died, _ = await answered(Delay("llm", at=0.5, by_s=2.5), vendor=Vendor(says=list(TOKENS), fails=error))
    assert came == [(at + 2.5, event) for at, event in WHOLE[:4]]
    assert died is error


async def test_a_reply_that_is_delayed_is_as_fast_as_ever_only_later(autojump_clock: object) -> None:
    came, _, _ = await answered(Delay("llm", at=0.5, by_s=2.5))
    assert came == [(at + 2.5, event) for at, event in WHOLE]


async def test_a_reply_that_stalls_goes_on_when_that_is_over(autojump_clock: object) -> None:
    came, died, _ = await answered(Stall("llm", at=1.5, lasts_s=2.0, noticed_s=30.0))
    assert came == [WHOLE[0], (3.5, TOKENS[1]), (3.5, TOKENS[2]), *WHOLE[3:]]
    assert died is None


async def test_a_token_is_dropped_and_another_doubled(autojump_clock: object) -> None:
    came, _, _ = await answered(Drop("llm", at=1.5), Duplicate("llm", at=2.5))
    assert [event for _, event in came] == [TOKENS[0], TOKENS[2], TOKENS[2], TOKENS[3], REPLY[4]]


async def test_who_leaves_a_reply_early_leaves_nothing_behind(autojump_clock: object) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    async with injecting(Delay("llm")) as injector:
        model = FaultyModel(injector=injector, inner=Vendor(says=list(REPLY)))
        with trio.move_on_after(2.5) as scope:
            async with model.reply(ASKED) as events:
                async for _ in events:
                    pass
        assert scope.cancelled_caught
        with pytest.raises(KeyError):
            async with model.reply(ASKED):
                raise KeyError("of whoever asked")
    assert trio.lowlevel.current_statistics().tasks_living == before


# ── chance ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_chance_comes_again_with_its_seed(autojump_clock: object) -> None:
    async def strikes(seed: int) -> list[float]:
        fault = Delay("acme", times=40, every_s=0.1, probability=0.5, lasts_s=0.0)
        async with injecting(fault, seed=seed) as injector:
            await trio.sleep(5.0)
        return [each.at_s for each in injector.report.happened]

    first, again, other = await strikes(1), await strikes(1), await strikes(2)
    assert first == again != other
    assert 8 < len(first) < 32
