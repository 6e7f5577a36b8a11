"""Soak: calls with any faults of the public fault API in them, drawn from a seed, and judged.

Theory of operation. A seed stands for a whole call: what the caller does, what goes wrong, how late wake-ups are. The
call has all its vendors, one behind the other, under the policies that the configuration ships. It is played as
messages, or with the engine's own clients over wires in memory to strict simulators of the vendors. Faults that may
cost words are marked as such: then the call must go on, and the caller must be asked; else not a word may be missing.
"""

# ruff: noqa: PLR2004 - chances drawn for a fault are its own

import random
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import attrs
import trio
from trio.testing import memory_stream_pair

from engine.actors.agent import END_CALL, GO_ON
from engine.call import INBOXES, ActorPolicy, CallPolicy, Plan
from engine.faults import (
    ACTORS,
    CONNECTIONS,
    AnyFault,
    Delay,
    Drop,
    Duplicate,
    Garble,
    Kill,
    Mangling,
    Place,
    Raise,
    Refuse,
    SlowDrip,
    Stall,
    read_faults,
)
from engine.faulty import FaultyCall
from engine.faulty.call import FaultyLoop
from engine.loop import Kind, Loop
from engine.mailbox import Core, Envelope
from engine.messages.errors import ConfigError
from engine.messages.turns import BargedIn
from engine.providers.claude import ClaudeModel
from engine.providers.deepgram import DeepgramRecogniser
from engine.providers.elevenlabs.voice import ElevenLabsVoice
from engine.providers.socket import Address, Dial
from engine.settings import CallSettings, Settings
from engine.wiring import Port
from simulators.anthropic import AnthropicSimulator, Latency
from simulators.anthropic.memory import MemoryTransport
from simulators.anthropic.reply import Reply, UseTool
from simulators.anthropic.request import MessagesRequest
from simulators.deepgram import DeepgramSimulator
from simulators.elevenlabs import ElevenLabsSimulator
from simulators.trial import Scenario, written
from simulators.virtual.call import House, NotedCall, play
from simulators.virtual.judge import Outcome, lasting, wrongs
from simulators.virtual.script import answer
from simulators.virtual.vendors import VirtualModel, VirtualRecogniser, VirtualVoice, unsaid

SETTINGS: Final = Settings(
    call=CallSettings(stt=("deepgram", "local"), llm=("anthropic", "local"), tts=("elevenlabs", "local"))
)

# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


def _moment(dice: random.Random) -> dict[str, float | str]:
    """Draw when: by the clock, by a turn, or after so many events."""
    match dice.randrange(4):
        case 0:
            part = dice.choice(("reply", "caller's words"))
            return {"at": f"turn {dice.randint(1, 3)}, {dice.randrange(0, 900, 20)} ms into the {part}"}
        case 1:
            event, most = dice.choice((("interim", 3), ("final", 4), ("audio", 20), ("token", 12), ("request", 3)))
            number = dice.randint(1, most)
            ordinal = {1: "st", 2: "nd", 3: "rd"}.get(number, "th")
            return {"after": f"{number}{ordinal} {event}"}
        case _:
            return {"at": round(dice.random() * 9.0, 3)}


FIRST: Final = ("deepgram", "elevenlabs", "anthropic")
"""Behind each of them there is another."""


def _vendor(dice: random.Random) -> str:
    return dice.choice((*FIRST, "local", *CONNECTIONS))


def _anybody(dice: random.Random) -> str:
    return dice.choice((*ACTORS, *CONNECTIONS))


HARMLESS: Final[Sequence[Callable[[random.Random], AnyFault]]] = (
    lambda dice: Kill(_anybody(dice), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Kill(_vendor(dice), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Refuse(dice.choice(FIRST), lasts_s=round(0.5 + dice.random() * 4.5, 3), **_moment(dice)),  # type: ignore[arg-type]
    # So short that the last of a list is not given up: see `_policy`.
    lambda dice: Refuse(_vendor(dice), lasts_s=round(dice.random() * 0.5, 3), **_moment(dice)),  # type: ignore[arg-type]
    # Not by all of a list: then the policy ends the call.
    lambda dice: Refuse(
        dice.choice(FIRST),
        lasts_s=round(0.5 + dice.random() * 4.5, 3),
        failing="refused",
        code=dice.choice(("401", "429", "529", "")),
        **_moment(dice),  # type: ignore[arg-type]
    ),
    lambda dice: Stall(_vendor(dice), noticed_s=round(1.0 + dice.random() * 2.0, 3), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Stall(_anybody(dice), lasts_s=round(0.1 + dice.random() * 1.5, 3), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Delay(
        _vendor(dice),
        by_s=round(dice.random() * 0.6, 3),
        lasts_s=round(0.5 + dice.random() * 3.0, 3),
        **_moment(dice),  # type: ignore[arg-type]
    ),
    lambda dice: Delay(
        dice.choice(ACTORS),
        by_s=round(dice.random() * 0.02, 3),
        lasts_s=round(0.5 + dice.random() * 2.0, 3),
        **_moment(dice),  # type: ignore[arg-type]
    ),
    lambda dice: SlowDrip(
        _vendor(dice),
        by_s=round(dice.random() * 0.03, 3),
        lasts_s=round(0.5 + dice.random() * 3.0, 3),
        **_moment(dice),  # type: ignore[arg-type]
    ),
    lambda dice: Raise(_anybody(dice), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Raise(dice.choice(ACTORS), after=f"{dice.randint(4, 20)}th step"),
)
"""Faults after which nothing may be missing."""

COSTLY: Final[Sequence[Callable[[random.Random], AnyFault]]] = (
    lambda dice: Raise(dice.choice(ACTORS), in_a_row=dice.randint(2, 4), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Drop(dice.choice(tuple(CONNECTIONS)), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Duplicate(dice.choice(tuple(CONNECTIONS)), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Garble(dice.choice(tuple(CONNECTIONS)), **_moment(dice)),  # type: ignore[arg-type]
    lambda dice: Refuse(dice.choice(tuple(CONNECTIONS)), lasts_s=round(1.0 + dice.random() * 9.0, 3), **_moment(dice)),  # type: ignore[arg-type]
)
"""Faults that may cost words, or the call: what a vendor never said, a step that raises time and again, nobody left."""

LONG_S: Final = 0.6
"""After which a whole list that refuses may be at its end: five waits of 0.1 s at least, and their attempts."""


@attrs.frozen(kw_only=True)
class Soaked:
    """A call of a soak: its seed, and what goes wrong in it. on_wires: over the real clients, not as messages."""

    seed: int
    faults: tuple[AnyFault, ...]
    on_wires: bool = False

    @property
    def is_costly(self) -> bool:
        """Whether words may be missing."""
        raising = [each for each in self.faults if isinstance(each, Raise)]
        # Two of one actor may come at one step.
        in_a_row = any(each.in_a_row > 1 for each in raising) or len({each.on for each in raising}) < len(raising)
        return in_a_row or self.is_mangled or self.may_end

    @property
    def may_end(self) -> bool:
        """Whether the policy may end it, because none of a list is left."""
        return any(
            isinstance(each, Refuse) and each.on in CONNECTIONS and each.lasts_s > LONG_S for each in self.faults
        )

    @property
    def is_mangled(self) -> bool:
        """Whether a vendor said something else than it had to say: then no word can be counted on."""
        return any(isinstance(each, Mangling) for each in self.faults)

    def as_toml(self) -> str:
        """Return it as a file that `read` reads."""
        text = written(Scenario(caller=(), faults=self.faults, seed=self.seed)).replace("caller = []\n", "")
        return f"on_wires = {str(self.on_wires).lower()}\n{text}"


def drawn(seed: int, *, on_wires: bool = False) -> Soaked:
    """Draw what goes wrong in the call of a seed: one to three things, one in eight of them costly."""
    dice = random.Random(f"faults {seed}")  # noqa: S311
    kinds = [dice.choice(COSTLY if dice.random() < 0.125 else HARMLESS) for _ in range(dice.choice((1, 1, 2, 3)))]
    return Soaked(seed=seed, faults=tuple(kind(dice) for kind in kinds), on_wires=on_wires)


def read(file: Path) -> Soaked:
    """Read a call that was written down. Raises ConfigError with every mistake."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    mistakes: list[str] = []

    def wrong(at: Place, why: str) -> None:
        mistakes.append(f"{file}: {'.'.join(map(str, at))}: {why}")

    faults = read_faults(table.get("fault", []), wrong)
    for key, kind in (("seed", int), ("on_wires", bool)):
        if type(table.get(key)) is not kind:
            wrong((key,), f"expected {'a whole number' if kind is int else 'true or false'}, got {table.get(key)!r}")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return Soaked(seed=table["seed"], faults=faults, on_wires=table["on_wires"])


# ── the call ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.define(eq=False)
class SoakLoop(FaultyLoop):
    """A loop that lags, besides failing as it is told: see `simulators.virtual.faults.VirtualLoop`."""

    dice: random.Random = attrs.field(factory=random.Random)
    most_lag_s: float = 0.0
    spike_s: float = 0.0
    longest_barge_s: float = 0.0

    async def woken(self) -> None:
        """Lag."""
        lag_s = self.dice.random() * self.most_lag_s if self.most_lag_s and self.dice.random() < 0.5 else 0.0
        if self.spike_s and self.dice.random() < 0.005:
            lag_s = self.spike_s
        if lag_s:
            await trio.sleep(lag_s)
        await super().woken()

    def commit(
        self, kind: Kind, envelope: Envelope | None, core: Core, deadline: float, outgoing: list[tuple[Port, object]]
    ) -> None:
        """Take the step, and note how long a barge-in had to wait for it."""
        super().commit(kind, envelope, core, deadline, outgoing)
        if envelope is not None and isinstance(envelope.message, BargedIn):
            self.longest_barge_s = max(self.longest_barge_s, self.cell.clock() - envelope.put_at)


class SoakCall(NotedCall, FaultyCall):
    """A call with faults of the public fault API in it."""

    loop_type: ClassVar[type[Loop]] = SoakLoop


def _policy() -> CallPolicy:
    """Return how the configuration that is shipped judges failures."""

    def of(name: str) -> ActorPolicy:
        vendors = SETTINGS.vendors_of(None, name) if name in {"stt", "tts"} else ()
        return ActorPolicy(
            policy=SETTINGS.restart_policy(None, name),
            vendors={vendor: SETTINGS.restart_policy(None, name, vendor) for vendor in vendors},
        )

    return CallPolicy(policy=SETTINGS.supervisor.policy, actors={name: of(name) for name in INBOXES})


def _with_vendors(plan: Plan) -> Plan:
    """Return the plan with all vendors of the lists; those that a house has brought stay."""
    agent = plan.cores.agent
    policy = attrs.evolve(agent.policy, models=SETTINGS.vendors_of(None, "llm"))
    housed = plan.recognisers[0].vendor == "deepgram"
    return attrs.evolve(
        plan,
        cores=attrs.evolve(plan.cores, agent=attrs.evolve(agent, policy=policy)),
        policy=_policy(),
        recognisers=(
            plan.recognisers[0] if housed else VirtualRecogniser(vendor="deepgram"),
            VirtualRecogniser(vendor="local"),
        ),
        voices=(plan.voices[0] if housed else VirtualVoice(vendor="elevenlabs"), VirtualVoice(vendor="local")),
        models=(
            plan.models[0] if housed else VirtualModel(vendor="anthropic", answer=answer),
            VirtualModel(vendor="local", answer=answer),
        ),
    )


def soak(call: Soaked, *, change: Callable[[Plan], Plan] = lambda plan: plan) -> Outcome:
    """Play a call. change: what it is opened with."""
    house: dict[str, House] = {"house": wires} if call.on_wires else {}
    outcome = play(
        call.seed,
        call_type=partial(SoakCall, faults=call.faults, seed=call.seed),
        replan=lambda plan: change(_with_vendors(plan)),
        **house,  # type: ignore[arg-type]
    )
    return attrs.evolve(outcome, faults=call.faults)


def judged(call: Soaked, outcome: Outcome) -> list[str]:
    """Return what is wrong with a call, a sentence each."""
    if call.may_end:  # by the policy, or as idle, for nobody heard the caller
        return [why for why in lasting(outcome) if not why.startswith("it ended by")]
    found = lasting(outcome) if call.is_mangled else wrongs(outcome)
    if not call.is_costly and not outcome.clean:
        found.append(f"it lost {outcome.lost}, and {outcome.bare} cores were bare")
    return found


# ── the wires ─────────────────────────────────────────────────────────────────────────────────────────────────────────

QUICK: Final = Latency(started_s=0.05, first_token_s=0.1, between_tokens_s=0.01, tokens_per_piece=4)


def _mind(request: MessagesRequest) -> Reply:
    """Answer as `VirtualModel` does: the caller's last words, after the tool if they ask for it, but what was said."""
    blocks: list[dict[str, Any]] = [
        {"role": message["role"], **block}
        for message in request.messages
        for block in cast("list[dict[str, Any]]", message["content"])
    ]
    said_by_the_caller = [
        (at, str(block["text"]))
        for at, block in enumerate(blocks)
        if block["role"] == "user" and block["type"] == "text" and not str(block["text"]).startswith("(")
    ]
    at, words = said_by_the_caller[-1] if said_by_the_caller else (0, "")
    since = blocks[at:]
    if "book" in words.split() and not any(block["type"] == "tool_result" for block in since):
        return Reply.of(UseTool("book", {"what": words}))
    texts = " ".join(str(block.get("text", "")) for block in since)
    said = texts.partition(GO_ON.partition("{said}")[0])[2].partition(GO_ON.partition("{said}")[2])[0]
    rest = " ".join(unsaid(answer(words).split(), said.split()))
    return Reply.of(*([rest] if rest else []), *([UseTool(END_CALL, {})] if "bye" in words.split() else []))


@asynccontextmanager
async def wires() -> AsyncIterator[Callable[[Plan], Plan]]:
    """Open strict simulators of the vendors, and the engine's own clients with wires in memory to them."""
    async with trio.open_nursery() as nursery:
        deepgram, elevenlabs = DeepgramSimulator(), ElevenLabsSimulator()
        anthropic = AnthropicSimulator(mind=_mind, latency=QUICK)

        async def connect() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            ours, its = memory_stream_pair()
            nursery.start_soon(anthropic.serve_stream, its)
            return ours

        model = ClaudeModel(base_url="http://anthropic.test", api_key="k", transport=MemoryTransport(connect))
        async with aclosing(model):
            # The client's first request asks a thread, which a virtual clock would leap over: before any timer.
            await model.check(system="", tools=())
            yield partial(
                attrs.evolve,
                recognisers=(
                    DeepgramRecogniser(base_url="ws://deepgram.test", api_key="k", dial=_dial(deepgram, nursery)),
                ),
                voices=(
                    ElevenLabsVoice(
                        base_url="ws://elevenlabs.test", api_key="k", voice_id="v", dial=_dial(elevenlabs, nursery)
                    ),
                ),
                models=(model,),
            )
        nursery.cancel_scope.cancel()
    broken = [*deepgram.violations, *elevenlabs.violations, *anthropic.violations]
    assert not broken, f"a vendor's rule was broken: {broken[0]}"


def _dial(simulator: DeepgramSimulator | ElevenLabsSimulator, nursery: trio.Nursery) -> Dial:
    async def dial(_address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return simulator.connect(nursery)

    return dial
