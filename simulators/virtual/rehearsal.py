"""Rehearsal: callers of one process while its vendors fail, as messages on a virtual clock.

Theory of operation. The reception is the engine's own, with the operator's settings: what a call is opened with, how
its failures are judged and what all calls know of the vendors' health is worked out where a server works it out. Only
who hears, thinks and speaks is virtual, under the real names and about as late as the real ones. The callers ring one
after another and say the same; what they lived through is written down as it happens, in seconds since the first call
opened.
"""

# ruff: noqa: ASYNC110, PLR0913 - a caller listens now and then, as one does; a rehearsal is made of many parts

import math
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import trio
from trio.testing import MockClock

from engine.call import Call, Plan
from engine.faults import AnyFault, Refuse
from engine.faulty import FaultyCall, Report
from engine.health import Circuit
from engine.messages.admission import Ticket
from engine.messages.conversation import AgentSaid, CallerSaid
from engine.messages.errors import ProviderDown
from engine.messages.model import ModelAsked
from engine.messages.recognition import Recognised
from engine.providers.contract import (
    Model,
    ModelEvent,
    ModelRequest,
    Recogniser,
    RecogniserAsk,
    Seam,
    Voice,
    VoiceAsk,
    VoiceEvent,
)
from engine.reception import Reception, Team
from engine.settings import Settings, Tenant
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.supervisor import SupervisionEvent
from engine.tools.businesses import Businesses
from engine.trunk import Line
from simulators import tone
from simulators.twilio import wire
from simulators.virtual.call import seeded
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.vendors import ToneVad, VirtualModel, VirtualRecogniser, VirtualVoice

APART_S: Final = 10.0
"""From one call's beginning to the next one's: the first is in the outage, the third is after a usual one."""

PATIENCE_S: Final = 15.0
"""A caller who has heard nothing for so long hangs up: nobody holds a dead line much longer."""

DEAD_AIR_S: Final = 2.0
"""A silence as long as that is heard as one: a person on a telephone asks "hello?" after two seconds."""

_LONGEST_S: Final = 300.0
"""A call that takes longer hangs."""

_AGAIN: Final = 3
"""How often a caller says the same thing who is told that it was not understood."""

# ── what the vendors are like ─────────────────────────────────────────────────────────────────────────────────────────


def recogniser(name: str, settings: Settings) -> Recogniser:
    """Return a recogniser as late as the real one: docs/latency.md, "The budget" and "With the embedded default".

    Audio that waited is heard at 1.25 times its pace by Deepgram, as measured.
    """
    if name == "local":
        return VirtualRecogniser(vendor=name, connect_s=0.01, final_s=0.0, endpoint_s=0.4, speed=10.0)
    endpoint_s = settings.vendors.deepgram.endpointing_ms / 1000
    return VirtualRecogniser(
        vendor=name, connect_s=0.15, final_s=0.2, endpoint_s=endpoint_s, interim_s=1.0, empty_s=1.0, speed=1.25
    )


def voice(name: str) -> Voice:
    """Return a voice as late as the real one: docs/latency.md, as above; both name their words."""
    if name == "local":
        return VirtualVoice(vendor=name, connect_s=0.01, first_s=0.03, pace=60.0)
    return VirtualVoice(vendor=name, connect_s=0.15, first_s=0.15, pace=5.0)


def model(name: str) -> Model:
    """Return a model as late as the real one: docs/latency.md, as above."""
    if name == "local":
        return VirtualModel(vendor=name, answer=answer, first_token_s=0.01, token_s=0.001)
    return VirtualModel(vendor=name, answer=answer, first_token_s=0.5, token_s=0.03)


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Outage:
    """A vendor breaks off all connections `at_s` after the first call opened, and lets nobody in for `lasts_s`."""

    vendor: str
    at_s: float
    lasts_s: float

    def as_fault(self, opened_s: float) -> Refuse | None:
        """Return what it is to a call that opened `opened_s`; None if it was over by then."""
        end_s = self.at_s + self.lasts_s - opened_s
        at_s = max(0.0, self.at_s - opened_s)
        return Refuse(self.vendor, at=at_s, lasts_s=end_s - at_s) if end_s > 0.0 else None


@attrs.frozen(kw_only=True)
class Wear:
    """Every so manyth connection to a vendor breaks off when it has lasted `lasts_s`; the others hold."""

    vendor: str
    lasts_s: float
    every: int


Trouble: TypeAlias = Outage | Wear


@attrs.define(eq=False)
class _Worn:
    """How many connections a vendor has had, of all calls, and how long the next one lasts."""

    wear: Wear
    connections: int = 0

    def next_s(self) -> float:
        """Return how long the connection lasts that has just been opened."""
        self.connections += 1
        return math.inf if self.connections % self.wear.every else self.wear.lasts_s

    def broke_off(self) -> ProviderDown:
        """Return what the vendor's client says of it."""
        return ProviderDown(f"{self.wear.vendor} broke off after {self.wear.lasts_s:g} s")


@attrs.define(eq=False)
class _WornSeam:
    """A session's side of its actor, cut off in time."""

    seam: "Seam[Any, Any]"
    worn: _Worn
    scope: trio.CancelScope

    def opened(self, *, aligned: bool = False) -> None:
        self.scope.deadline = trio.current_time() + self.worn.next_s()
        self.seam.opened(aligned=aligned)

    async def ask(self) -> Any:  # noqa: ANN401 - a recogniser's or a voice's
        return await self.seam.ask()

    async def emit(self, event: object) -> None:
        await self.seam.emit(event)

    def refused(self, why: str) -> None:
        self.seam.refused(why)


async def _worn_session(worn: _Worn, inner: Recogniser | Voice, seam: "Seam[Any, Any]") -> None:
    with trio.CancelScope() as scope:
        await inner.session(_WornSeam(seam, worn, scope))
    raise worn.broke_off()


@attrs.frozen(kw_only=True)
class WornRecogniser:
    """A recogniser whose connections wear out: `contract.Recogniser`."""

    inner: Recogniser
    worn: _Worn

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    async def session(self, seam: Seam[RecogniserAsk, Recognised]) -> None:
        """Serve one call until cancelled."""
        await _worn_session(self.worn, self.inner, seam)


@attrs.frozen(kw_only=True)
class WornVoice:
    """A voice whose connections wear out: `contract.Voice`."""

    inner: Voice
    worn: _Worn

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    @property
    def voice(self) -> str:
        """The voice's name at the vendor."""
        return self.inner.voice

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Serve one call until cancelled."""
        await _worn_session(self.worn, self.inner, seam)

    async def render(self, text: str) -> bytes:
        """Return `text` spoken, before calls."""
        return await self.inner.render(text)


@attrs.frozen(kw_only=True)
class WornModel:
    """A model whose requests, each a connection, wear out: `contract.Model`."""

    inner: Model
    worn: _Worn

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return self.inner.vendor

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply."""
        async with self.inner.reply(request) as events:
            yield self._cut(events, trio.current_time() + self.worn.next_s())

    async def _cut(self, events: AsyncIterator[ModelEvent], until: float) -> AsyncIterator[ModelEvent]:
        while True:
            event = None
            with trio.move_on_at(until):
                event = await anext(events, None)
                if event is None:
                    return
            if event is None:
                raise self.worn.broke_off()
            yield event


# ── who calls ─────────────────────────────────────────────────────────────────────────────────────────────────────────

TURNS: Final[Mapping[str, str]] = {
    "hello i would like to reserve a table for four people please": (
        "A table for four, with pleasure. Which day would you like to come, and at what time?"
    ),
    "on friday evening at half past seven if you have anything": (
        "Friday at half past seven is free. Shall I put it down for you, and under which name?"
    ),
    "yes do that the name is miller with two small children": (
        "Thank you. I have noted a high chair as well. Would you rather sit inside, or on the terrace?"
    ),
    "inside by the window if that is possible": "A table by the window it is. We look forward to seeing you on Friday.",
    "wonderful thank you very much": "You are welcome. Have a pleasant evening, and until Friday.",
}
"""What each caller says, and what each is answered. Half a minute, in which there is always somebody speaking."""


def answer(text: str) -> str:
    """Return the answer to what most of a text's words are from."""
    words = set(text.split())
    return TURNS[max(TURNS, key=lambda turn: len(words & set(turn.split())))]


@attrs.frozen(kw_only=True)
class Sound:
    """Something that was said, by "caller" or "agent", from when to when, in seconds since the first call opened."""

    who: str
    text: str
    start_s: float
    end_s: float


@attrs.define(eq=False)
class _Phone(VirtualPhone):
    """A phone that opens its stream as Twilio does."""

    call_sid: str = ""

    def __attrs_post_init__(self) -> None:
        ids = wire.StreamIds(
            account_sid="AC" + "0" * 32, call_sid=self.call_sid, stream_sid=self.stream_sid, parameters={}
        )
        self._out.extend((wire.connected(), wire.start(1, ids)))


@attrs.define(eq=False)
class _Guest:
    """Says what there is to say, each when the answer before was heard out, and again when asked to.

    clips: what is said without a model, by name. gave_up: heard nothing for so long that there was no use in waiting.
    """

    phone: _Phone
    clips: Mapping[str, str]
    turns: Sequence[str]
    said: list[str] = attrs.field(factory=list)
    spoke: list[tuple[str, float, float]] = attrs.field(factory=list)
    gave_up: bool = False

    async def run(self) -> None:
        """Make the call, to its end."""
        await self._hear_out(0, self.clips["greeting"])
        for text in self.turns:
            if not await self._ask(text):
                break
        self.phone.hang_up()

    async def _ask(self, text: str) -> bool:
        """Say something until it is answered; False if the line is closed, or seems to be dead."""
        for _ in range(_AGAIN):
            await trio.sleep(0.5)
            before, start_s = len(self.phone.ear.words), self.phone.now_s()
            self.phone.say(text.split(), frames=10, gap_frames=3)
            self.said.extend(text.split())
            while self.phone.speaking:
                await trio.sleep(0.06)
            self.spoke.append((text, start_s, self.phone.spoke_at))
            if await self._hear_out(before, answer(text)):
                return True
            if self.gave_up or self.phone.closed:
                return False
        return True  # and on to something else

    async def _hear_out(self, before: int, answer: str) -> bool:
        """Listen; False if that ends without the answer, in a clip that asks to say it again or in silence."""
        again = [self.clips[name] for name in ("repeat_please", "apology")]
        while not self.phone.closed:
            await trio.sleep(0.06)
            heard = " ".join(word.text for word in self.phone.ear.words[before:])
            quiet_s = self.phone.now_s() - max(self.phone.heard_at, self.phone.spoke_at)
            if quiet_s > 0.3 and not self.phone.hearing:  # noqa: PLR2004 - a breath
                if _end_of(answer) in heard:
                    return True
                if any(_end_of(clip) in heard for clip in again):
                    return False
            if quiet_s > PATIENCE_S:
                self.gave_up = True
                return False
        return False


def _end_of(text: str) -> str:
    return " ".join(text.split()[-2:])


# ── what they lived through ───────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class RehearsedCall(FaultyCall):
    """A call with faults in it that notes who was asked, and what supervisors saw and decided."""

    events: list[SupervisionEvent] = attrs.field(init=False, factory=list)
    asked: list[tuple[float, str]] = attrs.field(init=False, factory=list)

    def tell(self, sender: str, message: object) -> None:
        """Send, and note which model is asked."""
        if isinstance(message, ModelAsked):
            self.asked.append((self.clock(), message.vendor))
        super().tell(sender, message)

    def _event(self, event: SupervisionEvent) -> None:
        self.events.append(event)
        super()._event(event)


@attrs.frozen(kw_only=True)
class Rehearsed:
    """One call as its caller lived through it. Times are in seconds since the first call opened.

    events: what supervisors saw and decided; `happened_at` is such a time too.
    asked: which model was asked, and when. sounds: what was said, by whom.
    lost, repeated: words, the caller's and the agent's, that the other one did not get, or got twice.
    ended: why; "the caller gave up" after too long a silence, "hung" if it never ended.
    """

    number: int
    opened_s: float
    ended_s: float
    ended: str
    report: Report
    events: tuple[SupervisionEvent, ...]
    asked: tuple[tuple[float, str], ...]
    sounds: tuple[Sound, ...]
    lost: tuple[str, ...]
    repeated: tuple[str, ...]

    @property
    def is_lost(self) -> bool:
        """Whether the caller was not served to the end."""
        return self.ended not in {"stop", "hang_up"}

    @property
    def waits(self) -> tuple[tuple[float, float], ...]:
        """From when to when the caller waited for the agent, be it a moment."""
        return silences(self.sounds, self.ended_s if self.is_lost else None)

    @property
    def dead_air(self) -> tuple[tuple[float, float], ...]:
        """From when to when the caller waited so long that it was heard as silence."""
        return tuple((start_s, end_s) for start_s, end_s in self.waits if end_s - start_s > DEAD_AIR_S)


@attrs.frozen(kw_only=True)
class Told:
    """What all calls were told of a vendor, and when. after_s: how long until one may try it."""

    at_s: float
    work: str
    vendor: str
    circuit: Circuit
    after_s: float


@attrs.frozen(kw_only=True)
class Rehearsal:
    """What became of all the calls. circuits: what all were told of whom, in order."""

    calls: tuple[Rehearsed, ...]
    circuits: tuple[Told, ...]


def silences(sounds: Iterable[Sound], end_s: float | None = None) -> tuple[tuple[float, float], ...]:
    """Return the silences that the agent ended, or the call did at `end_s`: what the caller ended was the caller's."""
    found, silent_from = [], math.inf
    end = [] if end_s is None else [Sound(who="agent", text="", start_s=end_s, end_s=end_s)]
    for sound in [*sorted(sounds, key=lambda each: each.start_s), *end]:
        if sound.who == "agent" and sound.start_s > silent_from:
            found.append((silent_from, sound.start_s))
        silent_from = sound.end_s if silent_from == math.inf else max(silent_from, sound.end_s)
    return tuple(found)


def rehearse(
    settings: Settings,
    tenant: Tenant,
    troubles: Sequence[Trouble],
    *,
    calls: int = 3,
    apart_s: float = APART_S,
    seed: int = 0,
    turns: Sequence[str] = tuple(TURNS),
) -> Rehearsal:
    """Play calls of a tenant's callers under these troubles. The same seed gives the same calls.

    apart_s: from one call's beginning to the next one's. turns: what each caller says.
    """
    rehearsing = _Rehearsing(settings=settings, tenant=tenant, troubles=tuple(troubles), turns=turns)
    with seeded(seed):
        return trio.run(
            partial(rehearsing.run, calls=calls, apart_s=apart_s, seed=seed),
            clock=MockClock(autojump_threshold=0),
        )


async def virtual_team(settings: Settings, tenant: Tenant, troubles: Iterable[Trouble]) -> Team:
    """Return who serves a tenant's calls: the vendors of its lists, virtual, and worn where they are."""
    worn = {each.vendor: _Worn(each) for each in troubles if isinstance(each, Wear)}
    ears = [recogniser(name, settings) for name in settings.vendors_of(tenant, "stt")]
    voices = [voice(name) for name in settings.vendors_of(tenant, "tts")]
    minds = [model(name) for name in settings.vendors_of(tenant, "llm")]
    return Team(
        recognisers=tuple(
            WornRecogniser(inner=each, worn=worn[each.vendor]) if each.vendor in worn else each for each in ears
        ),
        voices=tuple(WornVoice(inner=each, worn=worn[each.vendor]) if each.vendor in worn else each for each in voices),
        models=tuple(WornModel(inner=each, worn=worn[each.vendor]) if each.vendor in worn else each for each in minds),
        vad=ToneVad,
        clips={name: await voices[0].render(text) for name, text in tenant.clips.items()},
    )


@attrs.define(eq=False, kw_only=True)
class Opener:
    """Opens calls that have their share of the troubles in them: a reception's `open_call`.

    calls: by SID, with when each opened. The first one's opening is the beginning of time.
    """

    troubles: Sequence[Trouble]
    seed: int = 0
    calls: dict[str, RehearsedCall] = attrs.field(init=False, factory=dict)
    began_at: float = attrs.field(init=False, default=0.0)

    def open(self, *, line: Line, plan: Plan) -> Call:
        """Return a call."""
        now = trio.current_time()
        if not self.calls:
            self.began_at = now
        call = RehearsedCall(
            line=line, plan=plan, faults=self._faults(now - self.began_at), seed=self.seed + len(self.calls)
        )
        self.calls[plan.call_sid] = call
        return call

    def _faults(self, opened_s: float) -> tuple[AnyFault, ...]:
        faults = (each.as_fault(opened_s) for each in self.troubles if isinstance(each, Outage))
        return tuple(each for each in faults if each is not None)


@attrs.frozen(kw_only=True)
class _Rehearsing:
    """What is to be rehearsed."""

    settings: Settings
    tenant: Tenant
    troubles: tuple[Trouble, ...]
    turns: Sequence[str]

    async def run(self, *, calls: int, apart_s: float, seed: int) -> Rehearsal:
        """Play the calls."""
        tenant, opener = self.tenant, Opener(troubles=self.troubles, seed=seed)
        circuits: list[Told] = []
        found: list[Rehearsed] = []
        with tempfile.TemporaryDirectory() as folder, Businesses() as businesses, Store.open("sqlite://") as store:
            reception = Reception(
                settings=self.settings,
                tenants={tenant.id: tenant},
                teams={tenant.id: await virtual_team(self.settings, tenant, self.troubles)},
                store=store,
                businesses=businesses,
                runner=inline,
                tool_runner=inline,
                dumps=Path(folder),
                open_call=opener.open,
            )
            began_at = trio.current_time()
            told = reception.health.changed

            def changed(work: str, vendor: str, choice: str, circuit: Circuit) -> None:
                told(work, vendor, choice, circuit)
                whose = f"{vendor} ({choice})" if choice else vendor
                now = trio.current_time()
                after_s = max(0.0, reception.health.breaker(work, vendor, choice).retry_at - now)
                circuits.append(Told(at_s=now - began_at, work=work, vendor=whose, circuit=circuit, after_s=after_s))

            reception.health.changed = changed
            desk = _Desk(reception=reception, tenant=tenant, opener=opener, began_at=began_at, turns=self.turns)
            async with trio.open_nursery() as nursery:
                for number in range(calls):
                    nursery.start_soon(desk.call, number, number * apart_s, found)
        return Rehearsal(calls=tuple(sorted(found, key=lambda each: each.number)), circuits=tuple(circuits))


@attrs.define(eq=False, kw_only=True)
class _Desk:
    """Where calls come in."""

    reception: Reception
    tenant: Tenant
    opener: Opener
    began_at: float
    turns: Sequence[str]

    async def call(self, number: int, after_s: float, found: list[Rehearsed]) -> None:
        """Have somebody call."""
        await trio.sleep_until(self.began_at + after_s)
        sid = f"CA{number + 1:032x}"
        phone = _Phone(call_sid=sid)
        guest = _Guest(phone, self.tenant.clips, self.turns)
        ticket = Ticket(call_sid=sid, tenant=self.tenant.id, caller="+15550100001", dialled="+15550100002")
        hung = True
        with trio.move_on_after(_LONGEST_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(phone.run)
                nursery.start_soon(guest.run)
                await self.reception.answer(phone, ticket)
                hung = False
                nursery.cancel_scope.cancel()
        found.append(self._told(number, phone, guest, hung=hung))

    def _told(self, number: int, phone: _Phone, guest: _Guest, *, hung: bool) -> Rehearsed:
        call = self.opener.calls[phone.call_sid]
        opened_s = call.opened_at - self.began_at
        conversation = [row.entry for row in self.reception.store.conversation(phone.call_sid)]
        got = [word for each in conversation if isinstance(each, CallerSaid) for word in each.text.split()]
        spoken = [word for each in conversation if isinstance(each, AgentSaid) for word in each.text.split()]
        # Those are heard more often than they are on record: what a call says by itself is in no conversation.
        clips = {word for text in self.tenant.clips.values() for word in text.split()}
        heard = phone.words()
        agent = [Sound(who="agent", text=text, start_s=start_s, end_s=end_s) for text, start_s, end_s in _spoken(phone)]
        caller = [Sound(who="caller", text=text, start_s=start_s, end_s=end_s) for text, start_s, end_s in guest.spoke]
        return Rehearsed(
            number=number + 1,
            opened_s=opened_s,
            ended_s=opened_s + call.clock() if hung else opened_s + call.report.ended_s,
            ended="hung" if hung else "the caller gave up" if guest.gave_up else call.reason,
            report=call.report,
            events=tuple(attrs.evolve(each, happened_at=each.happened_at - self.began_at) for each in call.events),
            asked=tuple((opened_s + at_s, vendor) for at_s, vendor in call.asked),
            sounds=tuple(
                attrs.evolve(each, start_s=opened_s + each.start_s, end_s=opened_s + each.end_s)
                for each in sorted((*agent, *caller), key=lambda each: each.start_s)
            ),
            lost=(*_missing(guest.said, got), *_missing(spoken, heard)),
            repeated=(*_missing(got, guest.said), *(word for word in _missing(heard, spoken) if word not in clips)),
        )


def _spoken(phone: _Phone) -> Iterator[tuple[str, float, float]]:
    """Yield what was heard in a breath, and from when to when."""
    words: list[tone.HeardWord] = []
    for word in phone.ear.words:
        if words and word.start_s - words[-1].end_s > 0.5:  # noqa: PLR2004 - a breath
            yield " ".join(each.text for each in words), words[0].start_s, words[-1].end_s
            words = []
        words.append(word)
    if words:
        yield " ".join(each.text for each in words), words[0].start_s, words[-1].end_s


def _missing(words: Iterable[str], among: Iterable[str]) -> list[str]:
    """Return the words of which there are more than `among` has, in order."""
    left, found = Counter(among), []
    for word in words:
        if left[word]:
            left[word] -= 1
        else:
            found.append(word)
    return found
