"""The whole front on a port of loopback (door, app, media socket, over virtual vendors), and a witness who phones it.

Time is real here. What is left behind is judged by the run's tasks and the process's open files.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

import attrs
import trio

from engine.metrics import Metrics
from engine.reception import Reception
from engine.settings import Settings
from engine.storage.runner import in_thread
from engine.storage.store import Store
from engine.tools.businesses import Businesses
from simulators import tone
from simulators.caller import CallerScript, HangUp, Listen, Say
from simulators.twilio.call import place_call
from simulators.virtual.script import PHRASES, answer
from tests.fuzz.mangling import Mangled
from tests.fuzz.rig import Eyes, Tally, tasks, team, tenant, until, watching
from web.app import TenantChoice, create_app
from web.door import DoorPolicy, FrontDoor
from web.media import MediaDoor, beside
from web.server import Bind, listen, serve_on
from web.tickets import stream_keys

ANSWER_S: Final = 3.0
"""How long a broken request waits for its answer; then its connection is closed from here."""

WITNESS_WORDS: Final = (("bada", "keso"),)


class ToneWords:
    """A caller's voice in the tone code."""

    async def speak(self, text: str) -> bytes:
        """Return the words."""
        await trio.lowlevel.checkpoint()
        return tone.say(text, gap_frames=2)[0]


def open_files() -> int:
    """Count what this process holds open, but for its databases, whose pools keep a few."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the look itself
            found += ".sqlite3" not in str(each.readlink())
    return found


@attrs.define(eq=False)
class Front:
    """A server on loopback."""

    port: int
    eyes: Eyes
    reception: Reception
    store: Store
    tally: Tally
    _sids: "count[int]" = attrs.field(init=False, factory=lambda: count(1))

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{Bind('127.0.0.1', self.port)}"

    def new_sid(self) -> str:
        """Return a call's SID, each new."""
        return f"CAf{next(self._sids):031x}"

    def disturbed(self, why: str) -> None:
        """Note what something broken did beyond itself."""
        self.tally.complaints.append(f"disturbed: {why}")

    def complain_of_errors(self, wire: str, sent: Mangled) -> None:
        """Note each error in the log: what is broken is a peer's fault, and a warning."""
        for line in self.eyes.logs:
            if line["level"] in {"error", "critical"}:
                self.tally.complain(wire, sent, f"logged {line}")

    async def witness(self, over: trio.Event) -> None:
        """Make one call after another, and judge each, until it is over."""
        while True:
            await self._call()
            if over.is_set():
                return

    async def _call(self) -> None:
        steps = [step for words in WITNESS_WORDS for step in (Listen(silence_s=0.5), Say(text=" ".join(words)))]
        script = CallerScript(steps=(*steps, Listen(silence_s=0.5), HangUp()))
        record = await place_call(server_url=self.url, caller=script, voice=ToneWords())
        await until(lambda: self.store.ended_reason(record.call_sid) is not None, ANSWER_S)
        heard = [word.text for word in tone.heard(record.agent_audio, patient=True)]
        answers = [word for words in WITNESS_WORDS for word in answer(" ".join(words)).split()]
        for what, is_, ought in (
            ("heard", heard, [*PHRASES["greeting"].split(), *answers]),
            ("refused", record.refused, ()),
            ("hung up by", record.hung_up.by, "caller"),
            ("ended by", self.store.ended_reason(record.call_sid), "stop"),
        ):
            if is_ != ought:
                self.disturbed(f"the witness's call {self.tally.witnessed}: {what} {is_}, ought to be {ought}")
        self.tally.witnessed += 1

    async def raw(self, sent: bytes, *, end: bool = False, within_s: float = ANSWER_S) -> bytes:
        """Send bytes on a connection of their own and return what comes back in time. end: no more come from here."""
        received = b""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            with trio.move_on_after(within_s), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await stream.send_all(sent)
                if end:
                    await stream.send_eof()
                while chunk := await stream.receive_some():
                    received += chunk
        return received


@asynccontextmanager
async def front(folder: Path, tally: Tally) -> AsyncIterator[Front]:
    """Serve on a port while the body runs. What is left behind is a disturbance."""
    of = tenant("witness")
    metrics = Metrics()
    with (
        watching(metrics) as eyes,
        Businesses() as businesses,
        Store.open(f"sqlite:///{folder / 'calls.sqlite3'}") as store,
    ):
        reception = Reception(
            settings=Settings(),
            tenants={of.id: of},
            teams={of.id: team(of)},
            store=store,
            businesses=businesses,
            runner=in_thread(trio.CapacityLimiter(1)),
            tool_runner=in_thread(trio.CapacityLimiter(2)),
            dumps=folder / "raised",
            metrics=metrics,
        )
        listeners = await listen("127.0.0.1:0", loopback_only=True)
        made = Front(
            port=listeners[0].socket.getsockname()[1], eyes=eyes, reception=reception, store=store, tally=tally
        )
        door = FrontDoor(
            public_url=made.url,
            policy=DoorPolicy(calls_at_once=10**6, calls_a_minute_per_caller=10**6),
            auth_tokens=(),
            keys=stream_keys(()),
            consume=_first_use,
            count=metrics.refused,
        )
        app = create_app(
            door,
            choose=lambda _number: TenantChoice(name=of.id),
            next_step=reception.next_step,
            record_call=_unrecorded,
            record_stream=_unrecorded,
            metrics=metrics.exposition,
            counted=metrics.counted,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(serve_on, unheard=door.refuse_unheard),
                beside(app, MediaDoor(door, reception.answer)),
                listeners,
            )
            await trio.sleep(0.05)  # the accept loop begins
            serving, files = tasks(), open_files()
            yield made
            await until(lambda: tasks() <= serving and not reception.calls, 10.0)
            for what, is_, ought in (
                ("tasks", tasks(), serving),
                ("calls", len(reception.calls), 0),
                ("open files", open_files(), files),
            ):
                if is_ > ought:
                    made.disturbed(f"{what} while serving: {is_}, at first {ought}")
            nursery.cancel_scope.cancel()


async def _first_use(_token: str, _expires_at: object) -> bool:
    await trio.lowlevel.checkpoint()
    return True


async def _unrecorded(_report: object) -> None:
    await trio.lowlevel.checkpoint()
