"""A scenario as a real call, with real speech, to a server on this machine."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import attrs
import trio

from engine.messages.conversation import AgentSaid, CallerSaid
from engine.messages.records import Record, Timing
from engine.storage.store import Store
from simulators import recording
from simulators.audio import RATE_HZ, sounds
from simulators.caller import Backchannel, CallerScript, Noise, Play, Press, Say, Step
from simulators.events import CallerGaveUp, CallerPressed, CallerSpeaks, Cleared
from simulators.scenario import Scenario
from simulators.talk.account import GREETING, Account, Heard, Made, Stretch, plain, spoke
from simulators.talk.server import Server
from simulators.twilio.call import place_call
from simulators.twilio.record import CallRecord
from simulators.voice import LocalVoice

WRITTEN_S: Final = 1.0
"""After a call's end, until its last rows are in the store."""

STALE_S: Final = 0.1
STALE_LESS_S: Final = 0.2
"""Sound that comes so soon after a `clear`, and no more than this of it, was on its way before it. An agent that goes
on, or answers, sends its whole lead at once."""

_GAP_S: Final = 0.05
_LEAD_WITHIN_S: Final = 0.5
_EARLY_S: Final = 0.3
_STILL_THERE: Final = "Are you still there?"
_ONE_MOMENT: Final = "One moment, please."


@attrs.define
class Throats:
    """The callers' voices: each is deeper or higher, and keeps what it has said.

    depths: see `simulators.voice`: at 0.75 the recogniser errs in a word of ten.
    """

    depths: tuple[float, ...] = (0.8, 0.86, 0.9, 0.83)
    _said: dict[tuple[int, str], bytes] = attrs.field(factory=dict)
    _voices: dict[int, LocalVoice] = attrs.field(factory=dict)
    # One of them loads the model, and the machine has other work.
    _alone: trio.Lock = attrs.field(factory=trio.Lock)

    def voice(self, number: int = 0) -> "Throat":
        """Return one of the voices."""
        return Throat(self, number % len(self.depths))

    async def speak(self, number: int, text: str) -> bytes:
        """Return a text in one of them."""
        async with self._alone:
            key = (number, text)
            if key not in self._said:
                first = next(iter(self._voices.values()), None)
                voice = self._voices.setdefault(number, LocalVoice(depth=self.depths[number]))
                voice._hibari = voice._hibari or (first._hibari if first is not None else None)
                self._said[key] = await voice.speak(text)
            return self._said[key]


@attrs.frozen
class Throat:
    """One of the voices: a `simulators.caller.Voice`."""

    throats: Throats
    number: int

    async def speak(self, text: str) -> bytes:
        """Return the text, spoken."""
        return await self.throats.speak(self.number, text)


@attrs.frozen(kw_only=True)
class Call:
    """One call to make: the scenario by its name, who calls, in which voice."""

    name: str
    label: str
    scenario: Scenario
    voice: int = 0

    @property
    def title(self) -> str:
        """What it is called in a list."""
        return f"{self.name} {self.label}".strip()


Done: TypeAlias = Callable[[Call, Account], None]
"""Is told of each call that was made."""


async def place(call: Call, server: Server, throats: Throats, folder: Path | None) -> Account:
    """Make one call and return what came of it. folder: for its recording."""
    script = attrs.evolve(call.scenario.caller, dialled_number=server.numbers[call.name])
    record = await place_call(
        server_url=server.url, caller=script, voice=throats.voice(call.voice), other=throats.voice(call.voice + 1)
    )
    await trio.sleep(WRITTEN_S)
    account = await trio.to_thread.run_sync(partial(_read, call.scenario, script, record, server.store_url))
    if folder is not None:
        await trio.to_thread.run_sync(partial(recording.save, record, folder, name=call.title.replace(" ", "_")))
    return account


async def place_all(  # noqa: PLR0913 - what calls are, and where they go
    calls: Iterable[Call],
    server: Server,
    *,
    at_once: int,
    folder: Path | None,
    throats: Throats,
    done: Done,
) -> None:
    """Make calls, so many at a time, in this order. done: is told of each."""
    rest = iter(calls)

    async def line() -> None:
        for call in rest:
            done(call, await place(call, server, throats, folder))

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(line)


# ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────────────


def _read(scenario: Scenario, script: CallerScript, record: CallRecord, store_url: str) -> Account:
    with Store.open(store_url) as store:
        rows = store.conversation(record.call_sid)
        timings = store.timings(record.call_sid)
        ended = store.ended_reason(record.call_sid)
        usage = store.usage_of_call(record.call_sid)
    return account_of(
        scenario,
        script,
        record,
        rows=rows,
        timings=timings,
        ended=ended,
        requests=sum(each.requests for each in usage),
        wasted=sum(each.requests for each in usage if each.wasted),
    )


def account_of(  # noqa: PLR0913 - all that is known of a call
    scenario: Scenario,
    script: CallerScript,
    record: CallRecord,
    *,
    rows: Sequence[Record],
    timings: Sequence[Timing],
    ended: str | None,
    requests: int = 0,
    wasted: int = 0,
) -> Account:
    """Return what came of a call, by the phone network's record and what the engine wrote down."""
    agent = tuple(
        Stretch(each.start / RATE_HZ, each.end / RATE_HZ) for each in sounds(record.agent_audio, gap_s=_GAP_S)
    )
    entries = tuple(row.entry for row in rows)
    said = [each for each in entries if isinstance(each, AgentSaid)]
    began = _began(record, timings, agent)
    return Account(
        made=tuple(_made(script.steps, record)),
        agent=agent,
        passages=None,
        said=(),
        replies=_replies(scenario, said, agent, began),
        spoke=spoke(began, {each.turn: each.interrupted for each in said}, agent),
        phrases={
            "still_there": sum(each.text == _STILL_THERE for each in said),
            "one_moment": sum(_ONE_MOMENT in each.text for each in said),
        },
        turns=tuple(each.text for each in entries if isinstance(each, CallerSaid)),
        conversation=entries,
        clears=tuple(each.at_s for each in record.all_of(Cleared)),
        interruptions=None,
        stale_s=_stale_s(record),
        garbled=0,
        tone_s=0.0,
        tool_runs=0,
        requests=requests,
        wasted=wasted,
        ended=ended,
        ended_s=record.duration_s,
        gave_up=tuple(f"{each.waited_for} ({each.at_s:.1f} s)" for each in record.all_of(CallerGaveUp)),
        notes=tuple(f"{row.at_s:7.3f} {row.entry}" for row in rows),
    )


def _made(steps: Sequence[Step], record: CallRecord) -> Iterator[Made]:
    sounded = [each for each in steps if isinstance(each, Say | Backchannel | Noise | Play)]
    made = [
        Made(step=step, text=each.text, start_s=each.at_s, end_s=min(each.until_s, record.duration_s))
        for step, each in zip(sounded, record.all_of(CallerSpeaks), strict=False)
    ]
    made += [
        Made(step=Press(digits=each.digit), text=each.digit, start_s=each.at_s, end_s=each.at_s)
        for each in record.all_of(CallerPressed)
    ]
    yield from sorted(made, key=lambda each: each.start_s)


def _began(record: CallRecord, timings: Sequence[Timing], agent: Sequence[Stretch]) -> Mapping[int, float]:
    """Return when each turn of the agent's was first heard, by its number."""
    opened_s = record.start_s or 0.0
    first = {each.turn: each.at_s + opened_s for each in timings if each.stage == "first_sound"}
    return {
        turn: next((each.start_s for each in agent if each.end_s > at_s and each.start_s > at_s - _EARLY_S), at_s)
        for turn, at_s in first.items()
    }


def _replies(
    scenario: Scenario, said: Sequence[AgentSaid], agent: Sequence[Stretch], began: Mapping[int, float]
) -> dict[str, Heard]:
    texts = {GREETING: plain(scenario.business.greeting)}
    texts |= {str(number): plain(reply.spoken) for number, reply in enumerate(scenario.agent, start=1)}
    heard = {key: Heard(words=len(text), reached=0) for key, text in texts.items()}
    starts = sorted(began.values())
    for each in said:
        text = each.text.removeprefix(_ONE_MOMENT)  # which is no part of any reply
        whole = plain(f"{text} {each.unheard}")
        key = max(texts, key=lambda key: _same(texts[key], whole))
        if not _same(texts[key], whole):
            continue
        at_s = began.get(each.turn, 0.0 if each.turn == 0 else math.inf)
        next_s = min((other for other in starts if other > at_s), default=math.inf)
        mine = [stretch for stretch in agent if at_s <= stretch.start_s + _GAP_S and stretch.start_s < next_s]
        reached = min(len(plain(text)), len(texts[key]))
        if not reached and heard[key].reached:
            continue
        heard[key] = Heard(
            words=len(texts[key]),
            reached=len(texts[key]) if not each.interrupted else min(reached, len(texts[key])),
            start_s=mine[0].start_s if mine else math.inf,
            end_s=mine[-1].end_s if mine else -math.inf,
        )
    return heard


def _same(text: Sequence[str], other: Sequence[str]) -> int:
    """Return with how many words two texts begin alike."""
    count = 0
    for one, two in zip(text, other, strict=False):
        if one != two:
            break
        count += 1
    return count


def _stale_s(record: CallRecord) -> float:
    stale_s = 0.0
    for cleared in record.all_of(Cleared):
        came = [
            (each.came_at / RATE_HZ - cleared.at_s, each.length / RATE_HZ)
            for each in record.deliveries
            if 0 < each.came_at / RATE_HZ - cleared.at_s < _LEAD_WITHIN_S
        ]
        if sum(length_s for _, length_s in came) <= STALE_LESS_S:
            stale_s += sum(length_s for after_s, length_s in came if after_s <= STALE_S)
    return round(stale_s, 3)
