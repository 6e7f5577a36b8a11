"""Trial: one whole call with faults, as messages on a virtual clock, and what can be asserted of it.

    call = play(["book a table", "friday please"], faults=[Kill("stt.session", after="3rd interim")], seed=7)
    assert call.survived()
    assert call.lost_words() == []

The caller is polite: hears each answer out, however long it takes, and then says the next thing. Words are in the
audio, as a tone code, so that the recogniser hears exactly the bytes that it is sent, and so does the caller. The same
scenario, written down as TOML, is played here by `play_file`, and against a live server by `holdfast call --faults`.
"""

# ruff: noqa: ASYNC110 - a caller listens now and then, as one does

import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio
from trio.testing import MockClock

from engine.actors.agent import Agent, AgentPolicy
from engine.actors.pacer import Clip, Pacer
from engine.actors.turn_detector import TurnDetector, TurnPolicy
from engine.call import CallPolicy, Cores, Plan
from engine.faults import AnyFault, Place, as_table, hint, read_faults, read_table
from engine.faulty import FaultyCall, Report
from engine.messages.conversation import CallerSaid, Entry
from engine.messages.errors import ConfigError
from simulators import tone
from simulators.virtual.call import seeded
from simulators.virtual.phone import VirtualPhone
from simulators.virtual.script import PHRASES, answer
from simulators.virtual.vendors import (
    ToneVad,
    VirtualArchive,
    VirtualModel,
    VirtualRecogniser,
    VirtualTools,
    VirtualVoice,
    spoken_text,
)

CLIPS: Final = {**PHRASES, "one_moment": "one moment"}
"""What clips say. No answer has these words in it."""

PATIENCE_S: Final = 20.0
"""How long the caller waits for an answer before going on without one."""

WORD_FRAMES, GAP_FRAMES, INTERIM_S = 12, 3, 0.2
"""How the caller speaks, three words a second, and how often a recogniser says what it has so far."""

LONGEST_S: Final = 300.0
"""A call that takes longer hangs."""

_POLICY: Final = CallPolicy()
_AGENT: Final = AgentPolicy()

ENDS: Final = {"stop": "the caller hung up", "hang_up": "the agent said goodbye"}
"""Why a call may end that survived."""

# ── what is expected ──────────────────────────────────────────────────────────────────────────────────────────────────


def _many(words: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


@attrs.frozen(kw_only=True)
class Expectations:
    """What a scenario's call is held against. What is absent is not.

    survived, dead_air_s: it is to end as it should; with less silence of the agent's in one piece than that.
    lost_words, repeated_words: exactly these; of a live call neither is judged.
    restarts, failed_over: by "stt", "tts" and so on. tools_run: how often, by name; not judged of a live call.
    """

    survived: bool | None = None
    dead_air_s: float | None = None
    lost_words: tuple[str, ...] | None = attrs.field(default=None, converter=_many)
    repeated_words: tuple[str, ...] | None = attrs.field(default=None, converter=_many)
    restarts: Mapping[str, int] = attrs.field(factory=dict)
    failed_over: Mapping[str, str] = attrs.field(factory=dict)
    tools_run: Mapping[str, int] | None = None


@attrs.frozen(kw_only=True)
class Scenario:
    """A caller, what goes wrong in the call, and what is expected of it."""

    caller: tuple[str, ...]
    faults: tuple[AnyFault, ...] = ()
    expect: Expectations = Expectations()
    seed: int = 0


def load(path: Path) -> Scenario:
    """Read a scenario from TOML. Raises ConfigError, with a line for each mistake: file, line, key, what is allowed."""
    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    mistakes: list[str] = []

    def wrong(at: Place, why: str) -> None:
        line = line_of(text, at)
        mistakes.append(f"{path}{f':{line}' if line else ''}: {_path(at)}: {why}")

    faults = read_faults(table.pop("fault", []), wrong)
    expect = read_table(table.pop("expect", {}), Expectations, wrong, ("expect",))
    known = (*(field.name for field in attrs.fields(_Plain)), "fault", "expect")
    for key in [key for key in table if key not in known]:
        wrong((key,), f"unknown key; {hint(key, known)}")
        del table[key]
    scenario = read_table(table, _Plain, wrong, ())
    if scenario is not None and not scenario.caller:
        wrong(("caller",), "says nothing; expected a list of texts, one for each turn")
    if mistakes or expect is None or scenario is None:
        raise ConfigError("\n".join(mistakes))
    return Scenario(caller=scenario.caller, seed=scenario.seed, faults=faults, expect=expect)


@attrs.frozen(kw_only=True)
class _Plain:
    """What stands at the top of a scenario's file."""

    caller: tuple[str, ...] = attrs.field(converter=tuple)
    seed: int = 0


def written(scenario: Scenario) -> str:
    """Return a scenario as the file that it would be read from."""
    lines = [f"seed = {scenario.seed}", f"caller = {_toml(list(scenario.caller))}"]
    for fault in scenario.faults:
        lines += ["", "[[fault]]", *(f"{name} = {_toml(value)}" for name, value in as_table(fault).items())]
    expected = attrs.asdict(scenario.expect, filter=lambda _, value: value not in (None, {}))
    lines += ["", "[expect]", *(f"{name} = {_toml(value)}" for name, value in expected.items())] if expected else []
    return "\n".join([*lines, ""])


def _toml(value: object) -> str:
    """Return a value as TOML has it: texts, numbers, lists and tables are JSON's, but for the tables' equals signs."""
    match value:
        case Mapping():
            return f"{{ {', '.join(f'{name} = {_toml(each)}' for name, each in value.items())} }}"
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case float():
            return repr(value)  # `inf` too
        case _:
            return json.dumps(value, ensure_ascii=False)


def line_of(text: str, at: Place) -> int | None:
    """Return the line of a TOML text that a value stands on, or the header of its table; None where it has neither."""
    heads = [each for each in at[:-1] if isinstance(each, str)]
    index = next((each for each in at if isinstance(each, int)), 0)
    found, inside, seen = None, not heads, -1
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[{1,2}\s*([A-Za-z0-9_.-]+)\s*\]{1,2}", line)
        if header is not None:
            known = header[1] == ".".join(map(str, heads or at[:1]))
            seen += known
            inside = known and seen == index
            found = number if inside else found
        elif inside and re.match(rf"\s*[\"']?{re.escape(str(at[-1]))}[\"']?\s*=", line):
            return number
    return found


def _path(at: Place) -> str:
    return "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in at).removeprefix(".") or "file"


def unmet(expect: Expectations, call: "Trial | LiveTrial") -> list[str]:
    """Return which expectations a call does not meet, a sentence each."""
    found = [f"fault never struck: {as_table(fault)}" for fault in call.report.unstruck()]
    if expect.survived is not None and call.survived() != expect.survived:
        found.append(f"survived is {call.survived()}, ended by {call.report.ended!r}")
    if expect.dead_air_s is not None and not call.dead_air() < expect.dead_air_s:
        found.append(f"dead_air_s is {call.dead_air():.2f}, expected less than {expect.dead_air_s:g}")
    for name, count in expect.restarts.items():
        if call.restarts(name) != count:
            found.append(f"restarts.{name} is {call.restarts(name)}, expected {count}")
    for name, vendor in expect.failed_over.items():
        if call.failed_over(name) != vendor:
            found.append(f"failed_over.{name} is {call.failed_over(name)!r}, expected {vendor!r}")
    if isinstance(call, Trial):
        for name, words in (("lost_words", call.lost_words()), ("repeated_words", call.repeated_words())):
            expected = getattr(expect, name)
            if expected is not None and tuple(words) != tuple(expected):
                found.append(f"{name} is {words}, expected {list(expected)}")
        if expect.tools_run is not None and call.tools_run() != expect.tools_run:
            found.append(f"tools_run is {call.tools_run()}, expected {dict(expect.tools_run)}")
    return found


# ── what became of it ─────────────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Sound:
    """Some time in which somebody was heard: "caller" or "agent", in seconds of the call."""

    who: str
    start_s: float
    end_s: float


def dead_air_s(sounds: Iterable[Sound], end_s: float) -> float:
    """Return the longest silence that the caller had to bear: all that the agent ended, or the call did, after a word.

    A silence that the caller ended was the caller's own.
    """
    longest, silent_from = 0.0, math.inf
    for sound in [*sorted(sounds, key=lambda each: each.start_s), Sound(who="agent", start_s=end_s, end_s=end_s)]:
        if sound.who == "agent":
            longest = max(longest, sound.start_s - silent_from)
        silent_from = sound.end_s if silent_from == math.inf else max(silent_from, sound.end_s)
    return round(longest, 3)


@attrs.frozen(kw_only=True)
class Trial:
    """A call that was played.

    said, heard: the words that the caller spoke, and made out. waited_in_vain: what was never answered.
    conversation: what is on record. runs: how often each run of a tool was made, by its id.
    """

    report: Report
    said: tuple[str, ...]
    heard: tuple[str, ...]
    answers: Callable[[str], str]
    waited_in_vain: tuple[str, ...]
    conversation: tuple[Entry, ...]
    runs: Mapping[str, int]
    sounds: tuple[Sound, ...]
    hung: bool
    tasks_left: int

    def survived(self) -> bool:
        """Whether the call ended because one of the two was done with it, and left nothing behind."""
        return self.report.ended in ENDS and not self.hung and not self.tasks_left

    def unanswered(self) -> list[str]:
        """What the caller said and waited for an answer to in vain."""
        return list(self.waited_in_vain)

    def lost_words(self) -> list[str]:
        """The caller's words that the agent was never given, then the agent's that the caller never heard."""
        return [*_missing(self.said, self._got()), *_missing(self._answered(), self.heard)]

    def repeated_words(self) -> list[str]:
        """The caller's words that the agent was given more often than they were said; then the other way round."""
        clips = [word for text in CLIPS.values() for word in text.split()]
        heard = [word for word in self.heard if word not in {*clips, tone.GARBLED}]
        return [*_missing(self._got(), self.said), *_missing(heard, self._answered())]

    def garbled(self) -> int:
        """How many words the caller heard only a part of."""
        return self.heard.count(tone.GARBLED)

    def dead_air(self) -> float:
        """The longest silence that the caller had to bear, in seconds."""
        return dead_air_s(self.sounds, self.report.ended_s)

    def restarts(self, actor: str) -> int:
        """How often an actor, its loop or its session was started again."""
        return self.report.restarts(actor)

    def failed_over(self, work: str) -> str:
        """Who did the work of "stt", "tts" or "llm" in the end, if it was not the first in the list; else ""."""
        return self.report.failed_over(work)

    def tools_run(self) -> dict[str, int]:
        """How often each tool ran, by its name."""
        counts: Counter[str] = Counter()
        for run, count in self.runs.items():
            counts[run.rpartition("-")[0]] += count
        return dict(counts)

    def clips(self) -> list[str]:
        """The clips of the engine's own that were heard, the greeting left out."""
        heard = " ".join(self.heard)
        return [name for name, text in CLIPS.items() if name != "greeting" and text in heard]

    def timeline(self) -> str:
        """What happened, a line each, and what came of it."""
        return "\n".join(
            (
                self.report.timeline(),
                f"said    {' '.join(self.said)}",
                f"got     {' '.join(self._got())}",
                f"heard   {' '.join(self.heard)}",
                f"lost    {' '.join(self.lost_words()) or '–'}",
                f"twice   {' '.join(self.repeated_words()) or '–'}",
                f"silence {self.dead_air():.2f} s at most",
            )
        )

    def _got(self) -> list[str]:
        return [word for each in self.conversation if isinstance(each, CallerSaid) for word in each.text.split()]

    def _answered(self) -> list[str]:
        """Return all words of the answers to what the agent was given."""
        said = [each for each in self.conversation if isinstance(each, CallerSaid)]
        return [word for each in said for word in self.answers(each.text).split()]


@attrs.frozen(kw_only=True)
class LiveTrial:
    """A call that was made to a server: what it reports, and what was heard outside."""

    report: Report
    sounds: tuple[Sound, ...]
    end_s: float

    def survived(self) -> bool:
        """Whether the call ended because one of the two was done with it."""
        return self.report.ended in ENDS

    def dead_air(self) -> float:
        """The longest silence that the caller had to bear, in seconds."""
        return dead_air_s(self.sounds, self.end_s)

    def restarts(self, actor: str) -> int:
        """How often an actor, its loop or its session was started again."""
        return self.report.restarts(actor)

    def failed_over(self, work: str) -> str:
        """Who did the work of "stt", "tts" or "llm" in the end, if it was not the first in the list; else ""."""
        return self.report.failed_over(work)


def _missing(words: Iterable[str], among: Iterable[str]) -> list[str]:
    """Return the words of which there are more than `among` has, in order."""
    left, found = Counter(among), []
    for word in words:
        if left[word]:
            left[word] -= 1
        else:
            found.append(word)
    return found


# ── playing ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def play_file(path: Path | str) -> Trial:
    """Play a scenario that was written down.

    Raises ConfigError for one that cannot be played, AssertionError for a call that is not what was expected.
    """
    scenario = load(Path(path))
    call = play(scenario.caller, faults=scenario.faults, seed=scenario.seed)
    wrong = unmet(scenario.expect, call)
    if wrong:
        raise AssertionError("\n".join([f"{path}: the call is not what was expected:", *wrong, "", call.timeline()]))
    return call


def play(  # noqa: PLR0913 - a call is made of many parts, and each has a default
    caller: Sequence[str],
    *,
    faults: Sequence[AnyFault] = (),
    seed: int = 0,
    answers: Callable[[str], str] | Mapping[str, str] = answer,
    policy: CallPolicy = _POLICY,
    agent: AgentPolicy = _AGENT,
    stt: Sequence[str] = ("deepgram", "local"),
    llm: Sequence[str] = ("anthropic", "local"),
    tts: Sequence[str] = ("elevenlabs", "local"),
) -> Trial:
    """Play one call on a clock of its own, and return what became of it. The same seed gives the same call.

    caller: what the caller says, a text for each turn. The word "book" in one has the agent run the tool of that name,
        "bye" has it end the call.
    answers: what the agent says to a text; the caller hears each to its last word. By default each word, changed.
    policy, agent: how the call is supervised, how long a model is waited for.
    stt, llm, tts: the names of those who work for the call, in order of preference; each is a simulation.
    Raises ConfigError for a fault on a vendor that is not among them.
    """
    reply = partial(_looked_up, answers) if isinstance(answers, Mapping) else answers
    call_of = partial(FaultyCall, faults=tuple(faults), seed=seed)
    with seeded(seed):
        return trio.run(
            partial(_play, tuple(caller), reply, call_of, policy, agent, (stt, llm, tts)),
            clock=MockClock(autojump_threshold=0),
        )


def _looked_up(answers: Mapping[str, str], text: str) -> str:
    return answers.get(text) or answer(text)


@attrs.define(eq=False)
class _Caller:
    """Says what there is to say, each when the answer before was heard to its end. heard_all: words of what is owed."""

    phone: VirtualPhone
    texts: Sequence[str]
    answers: Callable[[str], str]
    sounds: list[Sound] = attrs.field(factory=list)
    in_vain: list[str] = attrs.field(factory=list)

    async def run(self) -> None:
        """Make the call, to its end."""
        await self._hear(CLIPS["greeting"].split()[-1], 0)
        for text in self.texts:
            await trio.sleep(0.5)
            before = len(self.phone.ear.words)
            start_s = self.phone.now_s()
            self.phone.say(text.split(), frames=WORD_FRAMES, gap_frames=GAP_FRAMES)
            while self.phone.speaking:
                await trio.sleep(0.06)
            self.sounds.append(Sound(who="caller", start_s=start_s, end_s=self.phone.spoke_at))
            if not await self._hear(self.answers(text).split()[-1], before):
                self.in_vain.append(text)
        if "bye" in " ".join(self.texts).split():
            with trio.move_on_after(PATIENCE_S):
                while not self.phone.closed:
                    await trio.sleep(0.2)
        self.phone.hang_up()

    async def _hear(self, last: str, before: int) -> bool:
        """Hear the agent out, to a word and the end of the sound; False if that did not come."""
        with trio.move_on_after(PATIENCE_S):
            while not self.phone.closed:
                await trio.sleep(0.1)
                if last in [word.text for word in self.phone.ear.words[before:]] and not self.phone.hearing:
                    return True
        return False


async def _play(  # noqa: PLR0913, PLR0917 - a call is made of many parts
    texts: tuple[str, ...],
    answers: Callable[[str], str],
    call_of: Callable[..., FaultyCall],
    policy: CallPolicy,
    agent: AgentPolicy,
    names: tuple[Sequence[str], Sequence[str], Sequence[str]],
) -> Trial:
    before = trio.lowlevel.current_statistics().tasks_living
    stt, llm, tts = names
    phone, archive, tools = VirtualPhone(), VirtualArchive(), VirtualTools()
    clips = {name: Clip(text=text, audio=spoken_text(text)[0]) for name, text in CLIPS.items()}
    plan = Plan(
        stream_sid=phone.stream_sid,
        call_sid="CA" + "0" * 32,
        prompt="",
        greeting="",
        cores=Cores(
            pacer=Pacer(clips=clips),
            agent=Agent(policy=attrs.evolve(agent, phrases=CLIPS, models=tuple(llm))),
            turn_detector=TurnDetector(policy=TurnPolicy(idle_s=2 * PATIENCE_S)),
        ),
        policy=policy,
        recognisers=tuple(VirtualRecogniser(vendor=name, interim_s=INTERIM_S) for name in stt),
        voices=tuple(VirtualVoice(vendor=name) for name in tts),
        models=tuple(VirtualModel(vendor=name, answer=answers) for name in llm),
        tools=tools,
        archive=archive,
        vad=ToneVad(),
    )
    call = call_of(line=phone, plan=plan)
    caller = _Caller(phone, texts, answers)
    hung = True
    with trio.move_on_after(LONGEST_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(phone.run)
            nursery.start_soon(caller.run)
            await call.run()
            hung = False
            nursery.cancel_scope.cancel()
    words = phone.ear.words
    heard = tuple(Sound(who="agent", start_s=word.start_s, end_s=word.end_s) for word in words)
    return Trial(
        report=call.report,
        said=tuple(word for text in texts for word in text.split()),
        heard=tuple(word.text for word in words),
        answers=answers,
        waited_in_vain=tuple(caller.in_vain),
        conversation=tuple(archive.conversation()),
        runs=dict(tools.runs),
        sounds=(*heard, *caller.sounds),
        hung=hung,
        tasks_left=trio.lowlevel.current_statistics().tasks_living - before,
    )
