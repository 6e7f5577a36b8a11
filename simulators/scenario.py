"""Scenarios: callers written down as TOML, what the agent answers them, and what must come of it.

    about = "A cough in the middle of an answer costs the caller nothing."
    caller_number = "+15550100001"
    dialled_number = "+15550100002"
    noise = { snr_db = 20.0, seed = 1 }      # optional

    [[steps]]
    do = "listen"

    [[steps]]
    do = "say"
    text = "I'd like an appointment, please."

    [[steps]]
    do = "interrupt"
    after_s = 1.0

    [[steps]]
    do = "noise"
    kind = "cough"

    [[agent]]                                # optional: what answers the caller's first turn, the second, ...
    text = "We have an opening on Thursday morning, would that suit you?"

    [expect]                                 # optional: see `Expect`
    whole = [1]

A step says what it does, and has the fields of the class of that name in `simulators.caller`. The file of a ``play`` is
looked for beside the scenario. What has no ``[expect]`` can be played, and nothing is judged in it.
"""

import itertools
import math
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import GenericAlias
from typing import Any, Final, get_args, get_origin

import attrs
import cattrs
from attrs.validators import ge, gt, min_len, optional
from cattrs.errors import IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from engine.messages.errors import ConfigError
from simulators.caller import (
    AwaitHangUp,
    Backchannel,
    CallerScript,
    HangUp,
    Interrupt,
    Listen,
    Noise,
    Play,
    Press,
    Say,
    Step,
    Wait,
)
from simulators.noise import NoisePolicy

_SHIPPED: Final = Path(__file__).parent / "scenarios"
_STEPS: Final[Mapping[str, type[Step]]] = {
    "say": Say,
    "backchannel": Backchannel,
    "noise": Noise,
    "play": Play,
    "listen": Listen,
    "interrupt": Interrupt,
    "wait": Wait,
    "press": Press,
    "hang_up": HangUp,
    "await_hang_up": AwaitHangUp,
}


@attrs.frozen(kw_only=True)
class Reply:
    """What the agent answers one of the caller's turns; the last one answers all that come after it too.

    to: words of the caller's; a turn that has them is answered with this reply, whichever it is.
    text: as it is spoken, numbers in words. delay_s: to the first token. token_s: from one word to the next.
    tool: runs first, and takes so long; says: before that. ends: the call ends after it.
    """

    text: str = attrs.field(validator=min_len(1))
    to: str = ""
    delay_s: float = attrs.field(default=0.3, validator=ge(0))
    token_s: float = attrs.field(default=0.02, validator=ge(0))
    tool: str = ""
    takes_s: float = attrs.field(default=1.0, validator=ge(0))
    says: str = ""
    ends: bool = False

    @property
    def spoken(self) -> str:
        """All that is said."""
        return f"{self.says} {self.text}".strip()


@attrs.frozen(kw_only=True)
class Business:
    """Who is called, where it matters. None: as the engine has it."""

    greeting: str = "Thank you for calling Bright Smile Dental. How can I help you?"
    firm: tuple[str, ...] = ()
    idle_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    idle_again_s: tuple[float, ...] | None = None
    idle_prompts: int | None = attrs.field(default=None, validator=optional(ge(0)))
    tone_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    filler_s: float | None = attrs.field(default=None, validator=optional(gt(0)))


@attrs.frozen(kw_only=True)
class Network:
    """The network between the phone and the engine, each way: how late it is, and by how much that varies."""

    delay_s: float = attrs.field(default=0.0, validator=ge(0))
    jitter_s: float = attrs.field(default=0.0, validator=ge(0))


@attrs.frozen(kw_only=True)
class Hearing:
    """A simulated recogniser. Real ones are as they are.

    draft_s: from a sound to the draft that has it. final_s: from the end of an utterance to its words, besides
        `endpoint_s` of silence. eager: it says when it expects the end, and takes that back.
    """

    draft_s: float = attrs.field(default=0.25, validator=ge(0))
    final_s: float = attrs.field(default=0.15, validator=ge(0))
    endpoint_s: float = attrs.field(default=0.3, validator=gt(0))
    eager: bool = False


@attrs.frozen(kw_only=True)
class Expect:
    """What must come of a call. Replies are counted from 1, 0 is the greeting; None is not judged.

    turns: what the model was given of the caller, in order: words count, not case or punctuation.
    whole: replies that are heard to their last word; nothing is missing, and nothing comes twice but what a pause had
        cut. cut: replies that the caller hears a beginning of, at most. unheard: replies of which nothing is heard.
    answered_within_s: from the caller's last word to the agent's first.
    silent_within_s: from the caller's first sound over the agent to silence; noises count only if `hushed`.
    hushed: whether noises and backchannels silence the agent for a moment, too.
    resumed_within_s: from the end of such a sound to the agent's going on.
    max_gap_s: the longest silence inside a reply that is heard whole, but where the caller made a sound.
    ended: the engine's reason: "hang_up", "idle", "stop".
    idle_prompts, fillers: how often the caller was asked whether they are there, and told to wait.
    tone: whether the hold tone was heard. tool_runs: how often a tool ran.
    requests: to the model, at most.
    heard, never: texts that the caller hears, or does not.
    """

    turns: tuple[str, ...] | None = None
    whole: tuple[int, ...] = ()
    cut: tuple[int, ...] = ()
    unheard: tuple[int, ...] = ()
    answered_within_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    silent_within_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    hushed: bool | None = None
    resumed_within_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    max_gap_s: float | None = attrs.field(default=None, validator=optional(gt(0)))
    ended: str | None = None
    idle_prompts: int | None = attrs.field(default=None, validator=optional(ge(0)))
    fillers: int | None = attrs.field(default=None, validator=optional(ge(0)))
    tone: bool | None = None
    tool_runs: int | None = attrs.field(default=None, validator=optional(ge(0)))
    requests: int | None = attrs.field(default=None, validator=optional(ge(0)))
    heard: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Scenario:
    """A call and its judgement.

    about: what it is for, in a sentence. live: whether it means anything with real speech and a real network.
    seeds: how often it is played on the virtual clock, each time with other dice.
    """

    about: str = ""
    steps: tuple[Step, ...] = attrs.field(validator=min_len(1))
    caller_number: str = "+15550100001"
    dialled_number: str = "+15550100002"
    noise: NoisePolicy | None = None
    live: bool = True
    seeds: int = attrs.field(default=1, validator=ge(1))
    network: Network | None = None
    hearing: Hearing = Hearing()
    business: Business = Business()
    agent: tuple[Reply, ...] = ()
    expect: Expect | None = None

    def __attrs_post_init__(self) -> None:
        expect = self.expect
        if expect is None:
            return
        for name in ("whole", "cut", "unheard"):
            for number in getattr(expect, name):
                if not 0 <= number <= len(self.agent):
                    raise ValueError(f"expect.{name}: there is no reply {number}; 0 to {len(self.agent)} are known")

    @property
    def caller(self) -> CallerScript:
        """Who calls."""
        return CallerScript(
            steps=self.steps,
            caller_number=self.caller_number,
            dialled_number=self.dialled_number,
            noise=self.noise,
        )

    def variants(self) -> "Iterator[tuple[str, Scenario]]":
        """Yield the scenario once for each moment of its steps that have several, with a name for it: "at 0.4 s"."""
        choices = [tuple(_moments(step)) for step in self.steps]
        for steps in itertools.product(*choices):
            at = [f"at {_moment(one):.2f} s" for one, several in zip(steps, choices, strict=True) if len(several) > 1]
            yield ", ".join(at), attrs.evolve(self, steps=steps)


def reply_to(replies: Sequence[Reply], turns: Sequence[str]) -> Reply:
    """Return what is answered to the last of the caller's turns."""
    last = turns[-1].lower() if turns else ""
    meant = (each for each in replies if each.to and each.to.lower() in last)
    return next(meant, replies[min(max(len(turns), 1), len(replies)) - 1])


def _moments(step: Step) -> Iterator[Step]:
    if not isinstance(step, Interrupt | Wait) or step.to_s is None:
        yield step
        return
    for count in range(math.floor((step.to_s - _moment(step)) / step.every_s + 1e-6) + 1):
        at_s = round(_moment(step) + count * step.every_s, 3)
        if isinstance(step, Wait):
            yield attrs.evolve(step, seconds=at_s, to_s=None)
        else:
            yield attrs.evolve(step, after_s=at_s, to_s=None)


def _moment(step: Step) -> float:
    assert isinstance(step, Interrupt | Wait), "these alone have moments"
    return step.seconds if isinstance(step, Wait) else step.after_s


def shipped() -> tuple[str, ...]:
    """The names of the scenarios that come along."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob("*.toml")))


def judged() -> tuple[str, ...]:
    """The names of those that say what must come of them."""
    return tuple(name for name in shipped() if read(name).expect is not None)


def load(name: str) -> CallerScript:
    """Return the caller of a scenario: a file's, or of one that comes along, by its bare name. Raises as `read`."""
    return read(name).caller


def read(name: str) -> Scenario:
    """Return a scenario: a file's, or one that comes along, by its bare name.

    Raises ConfigError, which names the file, the key and what is allowed; a line for each mistake.
    """
    if name in shipped():
        path = _SHIPPED / f"{name}.toml"
    else:
        path = Path(name)
        if not path.suffix and not path.exists():
            raise ConfigError(f"no scenario {name!r}; {_hint(name, shipped())}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    try:
        return _converter(path.parent).structure(table, Scenario)
    except cattrs.BaseValidationError as error:
        raise ConfigError("\n".join(f"{path}: {mistake}" for mistake in _mistakes(error, ""))) from error


class _UnfitError(ValueError):
    """A value that cannot be; ``key`` is the one inside it that is at fault, if there is one."""

    def __init__(self, why: str, key: str = "") -> None:
        super().__init__(why)
        self.key = key


def _converter(folder: Path) -> cattrs.Converter:
    converter = cattrs.Converter()

    def table(shape: type) -> Callable[[Any, Any], Any]:
        build: Callable[[Any, Any], Any] = make_dict_structure_fn(shape, converter, _cattrs_forbid_extra_keys=True)
        return lambda value, _: build(_of(dict, "a table", value), shape)

    def step(value: object, _: object) -> Step:
        fields = dict(_of(dict, "a table", value))
        if "do" not in fields:
            raise _UnfitError(f"missing; known: {_names(_STEPS)}", key="do")
        does = fields.pop("do")
        if not isinstance(does, str) or does not in _STEPS:
            raise _UnfitError(f"unknown step {does!r}; {_hint(str(does), _STEPS)}", key="do")
        return converter.structure(fields, _STEPS[does])

    def steps(value: object, _: object) -> tuple[Step, ...]:
        return tuple(converter.structure(_of(list, "a list of tables", value), list[Step]))

    converter.register_structure_hook_factory(attrs.has, table)
    converter.register_structure_hook(Step, step)
    converter.register_structure_hook_func(lambda shape: shape == tuple[Step, ...], steps)

    def row(value: object, shape: Any) -> tuple[Any, ...]:  # noqa: ANN401  (any tuple's type)
        several: Any = GenericAlias(list, get_args(shape)[:1])
        return tuple(converter.structure(_of(list, "a list", value), several))

    def is_row(shape: Any) -> bool:  # noqa: ANN401  (any type)
        return get_origin(shape) is tuple and shape != tuple[Step, ...]

    converter.register_structure_hook_func(is_row, row)
    converter.register_structure_hook(bool, lambda value, _: _truth(value))
    converter.register_structure_hook(str, lambda value, _: _of(str, "a text", value))
    converter.register_structure_hook(int, lambda value, _: _of(int, "a whole number", value))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook(Path, lambda value, _: folder / _of(str, "a file's name", value))
    return converter


def _of(kind: type, noun: str, value: Any) -> Any:  # noqa: ANN401  (whatever TOML can hold)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _UnfitError(f"{value!r} is not {noun}")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _UnfitError(f"{value!r} is not true or false")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _UnfitError(f"{value!r} is not a number")
    return float(value)


def _mistakes(error: BaseException, at: str) -> Iterator[str]:
    """A line for each thing that is wrong, with the way to it."""
    match error:
        case cattrs.ClassValidationError() | cattrs.IterableValidationError():
            noted, others = error.group_exceptions()
            for inner, note in noted:
                if isinstance(note, IterableValidationNote):
                    yield from _mistakes(inner, f"{at}[{note.index}]")
                else:
                    yield from _mistakes(inner, _below(at, note.name))
            for inner in others:
                yield from _mistakes(inner, at)
        case cattrs.ForbiddenExtraKeysError():
            known = [field.name for field in attrs.fields(error.cl)]
            for key in sorted(error.extra_fields):
                yield f"{_below(at, key)}: unknown key; {_hint(key, known)}"
        case KeyError():
            yield f"{at}: missing"
        case _UnfitError():
            yield f"{_below(at, error.key) if error.key else at}: {error}"
        case _:
            yield f"{at}: {error.args[0]}".removeprefix(": ")  # a validator's own words, with the key in them


def _below(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key


def _hint(word: str, known: Iterable[str]) -> str:
    meant = get_close_matches(word, known := list(known), n=1)
    return f"did you mean {meant[0]!r}?" if meant else f"known: {_names(known)}"


def _names(known: Iterable[str]) -> str:
    return ", ".join(map(repr, known)) or "none"
