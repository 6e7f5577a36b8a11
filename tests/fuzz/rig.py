"""The rig: a desk that answers calls, a witness who keeps calling it, and a tally of what each broken message came to.

Theory of operation. Everything runs on one virtual clock. A broken message is sent to a victim's call, or vendor, while
the witness's call goes on beside it; then all counters of the process are held against what they were before. What
was not to be, in a sentence with the message itself, is a complaint: there should be none.
"""

import itertools
import logging
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import structlog
import trio

from engine.messages.admission import Ticket
from engine.messages.conversation import CallerSaid
from engine.metrics import Metrics
from engine.reception import Reception, Team
from engine.settings import LimitSettings, Settings, Tenant, TextsSettings
from engine.storage.runner import inline
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from simulators.twilio import wire
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.script import PHRASES, Say, VirtualCaller, VirtualScript, answer, vocabulary_of_a_call
from simulators.virtual.vendors import ToneVad, VirtualModel, VirtualRecogniser, VirtualVoice, spoken_text
from tests.fuzz.mangling import Mangled

_WATCHED: Final = (
    "holdfast_bad_messages_total",
    "holdfast_refused_total",
    "holdfast_vendor_failures_total",
    "holdfast_steps_raised_total",
    "holdfast_restarts_total",
    "holdfast_given_up_total",
    "holdfast_messages_lost_total",
)
_LONGEST_NAME_CHARS: Final = 600

# ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define
class Row:
    """What came of one class of broken messages. named: one of the errors."""

    sent: int = 0
    counted: int = 0
    accepted: int = 0
    named: str = ""


@attrs.define
class Tally:
    """What came of all of them, by wire and class, and what should not have been.

    witnessed: calls that the witness has made beside them, each judged to its last word.
    """

    rows: dict[tuple[str, str], Row] = attrs.field(factory=dict)
    complaints: list[str] = attrs.field(factory=list)
    witnessed: int = 0

    def add(self, wire_name: str, how: str, *, counted: int, named: str) -> None:
        """Note one message, and how often it was counted."""
        row = self.rows.setdefault((wire_name, how), Row())
        row.sent += 1
        row.counted += counted
        row.accepted += not counted
        row.named = row.named or named

    def complain(self, wire_name: str, sent: Mangled, why: str) -> None:
        """Note what should not have been."""
        self.complaints.append(f"{wire_name}: {why}: {sent}")

    @property
    def sent(self) -> int:
        """How many there were."""
        return sum(row.sent for row in self.rows.values())


@attrs.define
class Eyes:
    """All that the process lets be seen: its counters and its log."""

    metrics: Metrics
    logs: list[Mapping[str, Any]] = attrs.field(factory=list)

    def counters(self) -> Counter[str]:
        """Every watched counter, by name and labels."""
        found: Counter[str] = Counter()
        for family in self.metrics.registry.restricted_registry(_WATCHED).collect():
            for sample in family.samples:
                found[f"{family.name.removeprefix('holdfast_')} {' '.join(sample.labels.values())}"] = int(sample.value)
        return found

    def said(self, *events: str) -> list[Mapping[str, Any]]:
        """The log lines of some names."""
        return [line for line in self.logs if line["event"] in events]


@contextmanager
def watching(metrics: Metrics) -> Iterator[Eyes]:
    """Read the log while the body runs, the standard library's too; nothing of it is printed."""
    eyes = Eyes(metrics)

    def keep(_logger: object, level: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if fields.pop("exc_info", None):
            fields["exception"] = traceback.format_exc(limit=-3)
        eyes.logs.append({**fields, "level": level})
        raise structlog.DropEvent

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            eyes.logs.append({"event": record.getMessage(), "level": record.levelname.lower(), "logger": record.name})

    keeper, root = Keeper(logging.WARNING), logging.getLogger()
    before = root.handlers[:]
    root.handlers = [keeper]
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep], cache_logger_on_first_use=False)
    try:
        yield eyes
    finally:
        root.handlers = before
        structlog.reset_defaults()


async def until(true: Callable[[], object], within_s: float) -> None:
    """Wait, in small steps, until something is true, or for so long."""
    with trio.move_on_after(within_s):
        while not true():  # noqa: ASYNC110 - what others do has no event
            await trio.sleep(0.002)


def is_named(why: object) -> bool:
    """Whether an error's text is of the house: lower case, one line, no full stop, and of a length to be read."""
    return (
        isinstance(why, str)
        and 0 < len(why) <= _LONGEST_NAME_CHARS
        and why[0] == why[0].lower()
        and why.isprintable()
        and not why.endswith(".")
    )


# ── the desk, and who calls it ────────────────────────────────────────────────────────────────────────────────────────


def tenant(id_: str) -> Tenant:
    """Return a business of the rig's."""
    texts = {name: text for name, text in PHRASES.items() if name != "greeting"}
    return Tenant(
        id=id_,
        name=id_,
        default=True,
        voice="tone",
        human_number="+15550100003",
        greeting=PHRASES["greeting"],
        prompt="",
        limits=LimitSettings(idle_s=600.0),
        texts=TextsSettings(**texts),
    )


def team(of: Tenant, **vendors: Any) -> Team:
    """Return who serves it: vendors that need no wire, but for those that are given."""
    return Team(
        recognisers=(vendors.get("recogniser", VirtualRecogniser()),),
        voices=(vendors.get("voice", VirtualVoice()),),
        models=(vendors.get("model", VirtualModel(answer=answer)),),
        vad=ToneVad,
        clips={name: spoken_text(text)[0] for name, text in of.clips.items()},
    )


@attrs.define(eq=False)
class Line(VirtualPhone):
    """A virtual phone that opens its stream as a socket does.

    opening: whether it does. heeds: whether it cares what it is sent.
    """

    call_sid: str = ""
    opening: bool = True
    heeds: bool = True
    ids: wire.StreamIds = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ids = wire.StreamIds(
            account_sid="AC" + "0" * 32, call_sid=self.call_sid, stream_sid=self.stream_sid, parameters={}
        )
        if self.opening:
            self._out.extend((wire.connected(), wire.start(1, self.ids)))

    async def send(self, text: str) -> None:
        """Take a message."""
        if self.heeds:
            await super().send(text)
        await trio.lowlevel.checkpoint()

    def inject(self, message: str | bytes) -> None:
        """Have the engine read this next, whatever it is."""
        self._out.append(message)  # type: ignore[arg-type]
        self._woken.set()


TALK_S: Final = 120.0
"""After which a caller gives up: the line may be gone, and nobody but the engine tells."""


async def talk(caller: VirtualCaller) -> None:
    """Say what there is to say, unless it takes too long."""
    with trio.move_on_after(TALK_S):
        await caller.run()


_sids = itertools.count(1)


def new_sid() -> str:
    """Return a call's SID, each new."""
    return f"CA{next(_sids):032x}"


@attrs.define(eq=False)
class Desk:
    """A reception with its eyes, and the calls that the witness has made so far."""

    reception: Reception
    eyes: Eyes
    store: Store
    tally: Tally
    _enough: trio.Event = attrs.field(init=False, factory=trio.Event)
    _over: trio.Event = attrs.field(init=False, factory=trio.Event)

    def disturbed(self, why: str) -> None:
        """Note what a broken message did beyond itself."""
        self.tally.complaints.append(f"disturbed: {why}")

    @asynccontextmanager
    async def calling(self, line: Line, tenant_id: str = "victim") -> AsyncIterator[trio.Event]:
        """Have a call on `line` while the body runs; the event is set when it is over. At the end, hang up."""
        over = trio.Event()

        async def serve() -> None:
            ticket = Ticket(call_sid=line.call_sid, tenant=tenant_id, caller="+15550100001", dialled="+15550100002")
            await self.reception.answer(line, ticket)
            line.vanish()
            over.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(line.run)
            nursery.start_soon(serve)
            yield over
            line.hang_up()
            with trio.move_on_after(60.0):
                await over.wait()
            if not over.is_set():
                self.disturbed(f"call {line.call_sid} did not end")
            nursery.cancel_scope.cancel()

    async def witness(self) -> None:
        """Call, say words and hear them answered, again and again, until it is enough."""
        vocabulary = itertools.cycle(vocabulary_of_a_call())
        while not self._enough.is_set():
            line = Line(call_sid=new_sid())
            words = [tuple(itertools.islice(vocabulary, 2)) for _ in range(3)]
            caller = VirtualCaller(
                phone=line, script=VirtualScript(steps=tuple(Say(words=each) for each in words)), vocabulary=vocabulary
            )
            async with self.calling(line, "witness") as over:
                await talk(caller)
                with trio.move_on_after(TALK_S):
                    await over.wait()
            self._judge(line, caller, words)
            self.tally.witnessed += 1
        self._over.set()

    def _judge(self, line: Line, caller: VirtualCaller, words: list[tuple[str, ...]]) -> None:
        said = [word for each in words for word in each]
        got = [
            word
            for row in self.store.conversation(line.call_sid)
            if isinstance(row.entry, CallerSaid)
            for word in row.entry.text.split()
        ]
        heard = line.words()
        should = [*PHRASES["greeting"].split(), *(word for each in words for word in answer(" ".join(each)).split())]
        for what, is_, ought in (
            ("understood", got, said),
            ("heard", heard, should),
            ("gaps", line.ear.gaps, 0),
            ("asked to repeat", caller.repeated, 0),
            ("unanswered", caller.in_vain, 0),
            ("ended by", self.store.ended_reason(line.call_sid), "stop"),
        ):
            if is_ != ought:
                self.disturbed(f"the witness's call {self.tally.witnessed}: {what} {is_}, ought to be {ought}")

    async def enough(self) -> None:
        """Let the witness finish."""
        self._enough.set()
        await self._over.wait()


def tasks(besides: trio.Nursery | None = None) -> int:
    """Count the tasks of this run, but for a nursery's."""

    def below(task: trio.lowlevel.Task) -> int:
        return 1 + sum(
            below(child) for each in task.child_nurseries if each is not besides for child in each.child_tasks
        )

    root = trio.lowlevel.current_root_task()
    assert root is not None
    return below(root)


@asynccontextmanager
async def desk(
    folder: Path, tally: Tally, teams: Callable[[Tenant], Team] = team, *, vendors: trio.Nursery | None = None
) -> AsyncIterator[Desk]:
    """Open a desk, with a witness on the line for as long as the body runs. What is left behind is a disturbance.

    teams: who serves the victim. vendors: where its vendors live; what they leave is theirs.
    """
    witness, victim = tenant("witness"), tenant("victim")
    metrics = Metrics()
    with (
        watching(metrics) as eyes,
        Businesses() as businesses,
        Store.open(f"sqlite:///{folder / 'calls.sqlite3'}") as store,
    ):
        reception = Reception(
            settings=Settings(),
            tenants={each.id: each for each in (witness, victim)},
            teams={"witness": team(witness), "victim": teams(victim)},
            store=store,
            businesses=businesses,
            runner=inline,
            tool_runner=inline,
            dumps=folder / "raised",
            metrics=metrics,
        )
        living = tasks(vendors)
        async with trio.open_nursery() as nursery:
            made = Desk(reception=reception, eyes=eyes, store=store, tally=tally)
            nursery.start_soon(made.witness)
            yield made
            await made.enough()
            nursery.cancel_scope.cancel()
        await trio.sleep(5.0)
        left = tasks(vendors) - living
        if left:
            made.disturbed(f"{left} tasks were left behind")
        if reception.calls:
            made.disturbed(f"{len(reception.calls)} calls were left behind")
