"""Callers who hang up whenever they like, through the real clients to strict vendors: nothing of a call is left.

In memory and on a virtual clock: tasks, vendors' sockets, threads, files, rows. Over loopback, in real time, with the
whole front: sockets and open files besides. `just soak` makes a thousand calls to a server in a process of its own.
"""

import math
import random
import threading
from contextlib import aclosing, suppress
from pathlib import Path

import attrs
import trio
from trio.testing import MockClock, memory_stream_pair

from engine.errands import TRANSFER_TOOL
from engine.providers.claude import ClaudeModel
from engine.providers.deepgram import DeepgramRecogniser
from engine.providers.elevenlabs.voice import ElevenLabsVoice
from engine.providers.socket import Address, Dial
from engine.reception import Team
from engine.settings import Tenant
from simulators.anthropic import INSTANT, AnthropicSimulator
from simulators.anthropic.memory import MemoryTransport
from simulators.anthropic.reply import Reply, UseTool
from simulators.anthropic.request import MessagesRequest
from simulators.caller import CallerScript, HangUp, Listen, Say
from simulators.deepgram import DeepgramSimulator
from simulators.elevenlabs import ElevenLabsSimulator
from simulators.twilio.call import Network, place_call
from simulators.virtual.script import answer
from tests.fuzz.loopback import ToneWords, front, open_files
from tests.fuzz.rig import Line, Tally, desk, new_sid, tasks, team, until

CALLS = 40
AT_ONCE = 8
TRANSFER = "person"


def mind(request: MessagesRequest) -> Reply:
    """Put whoever asks for a person through; answer everybody else."""
    words = request.last_user_text
    if TRANSFER in words and TRANSFER_TOOL.name in request.tools:
        return Reply.of("One moment.", UseTool(TRANSFER_TOOL.name, {}))
    return Reply.of(answer(words))


@attrs.define(eq=False)
class Vendors:
    """The three, strict, over streams in memory."""

    nursery: trio.Nursery
    deepgram: DeepgramSimulator = attrs.field(factory=DeepgramSimulator)
    elevenlabs: ElevenLabsSimulator = attrs.field(factory=ElevenLabsSimulator)
    anthropic: AnthropicSimulator = attrs.field(factory=lambda: AnthropicSimulator(mind=mind, latency=INSTANT))
    model: ClaudeModel = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        async def connect() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, its = memory_stream_pair()
            self.nursery.start_soon(self.anthropic.serve_stream, its)
            return ours

        way = MemoryTransport(connect)
        self.model = ClaudeModel(base_url="http://anthropic.test", api_key="sk-soak", transport=way)

    def team(self, tenant: Tenant) -> Team:
        """Return who serves a tenant's calls."""
        return team(
            tenant,
            recogniser=DeepgramRecogniser(base_url="ws://deepgram.test", api_key="k", dial=self._dial(self.deepgram)),
            voice=ElevenLabsVoice(
                base_url="ws://elevenlabs.test", api_key="k", voice_id="v", dial=self._dial(self.elevenlabs)
            ),
            model=self.model,
        )

    def _dial(self, simulator: DeepgramSimulator | ElevenLabsSimulator) -> Dial:
        async def dial(_address: Address) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            return simulator.connect(self.nursery)

        return dial


async def hang_up_at_some_moment(line: Line, dice: random.Random) -> None:
    """Speak, maybe of a person, and hang up: at any moment, with a word or without."""
    last_s = dice.choice((0.02, 0.5, 3.0, 9.0, 14.0)) * dice.random()
    with trio.move_on_after(last_s):
        await trio.sleep(dice.choice((0.3, 2.0)))
        line.say(dice.choice((["a", TRANSFER], ["good", "day"], ["so"])))
        await trio.sleep_forever()
    if dice.random() < 0.5:
        line.hang_up()
    else:
        line.vanish()


def test_nothing_is_left_of_calls_that_end_at_any_moment(tmp_path: Path) -> None:
    trio.run(_in_a_thread)  # trio keeps an idle one for ten seconds
    threads = threading.active_count()
    tally = Tally()
    reasons = trio.run(_calls_in_memory, tally, random.Random(1), tmp_path, clock=MockClock(autojump_threshold=0))
    assert tally.complaints == []
    assert sum(reasons.values()) == CALLS
    assert reasons.keys() == {"stop", "closed", "transfer", "never began"}
    assert threading.active_count() <= threads
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.sqlite3"], "what was raised is written down"


async def _in_a_thread() -> None:
    await trio.to_thread.run_sync(int)


async def _calls_in_memory(tally: Tally, dice: random.Random, folder: Path) -> dict[str, int]:
    reasons: dict[str, int] = {}
    async with trio.open_nursery() as nursery:
        vendors = Vendors(nursery)
        living = tasks()
        async with aclosing(vendors.model):
            # The client's first request asks a thread, which a virtual clock would leap over: before any timer.
            await vendors.model.check(system="", tools=())
            async with desk(folder, tally, vendors.team, vendors=nursery) as made:
                limit = trio.CapacityLimiter(AT_ONCE)

                async def call() -> None:
                    line = Line(call_sid=new_sid(), opening=dice.random() < 0.9)
                    async with limit, made.calling(line) as over:
                        await hang_up_at_some_moment(line, dice)
                        await over.wait()
                    reason = made.store.ended_reason(line.call_sid) or "never began"
                    reasons[reason] = reasons.get(reason, 0) + 1

                async with trio.open_nursery() as calls:
                    for _ in range(CALLS):
                        calls.start_soon(call)
                for line in made.eyes.said("step_raised", "line_failed", "records_lost", "gave_up", "actor_stalled"):
                    made.disturbed(f"logged {line}")
                for store_row in made.store.open_calls():
                    if store_row.call_sid not in made.reception.calls:
                        made.disturbed(f"a row was left open: {store_row.call_sid}")
        await trio.sleep(5.0)
        assert [each for each in vendors.deepgram.listenings if each.verdict is None] == []
        assert [each for each in vendors.elevenlabs.speakings if each.verdict is None] == []
        assert vendors.deepgram.violations + vendors.elevenlabs.violations + vendors.anthropic.violations == []
        assert tasks() == living, "the vendors, too, have nobody left to serve"
        nursery.cancel_scope.cancel()
    return reasons


def test_nothing_is_left_of_calls_over_sockets_that_end_at_any_moment(tmp_path: Path) -> None:
    tally = Tally()
    dice = random.Random(1)
    trio.run(_calls_over_sockets, tally, dice, tmp_path)
    assert tally.complaints == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls.sqlite3"]


async def _calls_over_sockets(tally: Tally, dice: random.Random, folder: Path) -> None:
    async with front(folder, tally) as served:
        files = open_files()

        async def call() -> None:
            await trio.sleep(dice.random())
            ends_s = dice.choice((0.05, 1.0, 3.0)) * dice.random()
            says_so = dice.random() < 0.5
            script = CallerScript(
                steps=(Listen(silence_s=0.3, timeout_s=2.0), Say(text="good day"), Listen(), HangUp())
            )
            network = Network(longest_s=ends_s if says_so else math.inf)
            with trio.move_on_after(math.inf if says_so else ends_s), suppress(trio.BrokenResourceError):
                await place_call(server_url=served.url, caller=script, voice=ToneWords(), network=network)

        async with trio.open_nursery() as calls:
            for _ in range(16):
                calls.start_soon(call)
        await until(lambda: not served.reception.calls and open_files() <= files, 3.0)
        if open_files() > files:  # what waits until it has been idle for long enough would be here for five seconds
            served.disturbed(f"{open_files() - files} files were left open")
        for line in served.eyes.logs:
            if line["level"] in {"error", "critical"}:
                served.disturbed(f"logged {line}")
        for row in served.store.open_calls():
            served.disturbed(f"a row was left open: {row.call_sid}")
