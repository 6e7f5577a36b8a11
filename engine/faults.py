"""Faults: what is to go wrong in a call, where and when, as values. In Python, or as tables of TOML or JSON.

    Kill("stt.session", after="3rd interim")              [[fault]]
    Refuse("deepgram", at=3.0, lasts_s=12.0)              kind = "kill"
    Stall("llm", at="turn 2, 300 ms into the reply")      on = "stt.session"
    Raise("agent", after="4th step", in_a_row=2)          after = "3rd interim"

Theory of operation. A fault is *on* one of the six actors, on a kind of connection ("stt.session", "tts.session",
"llm": a request to the model), or on a vendor, by the name that the configuration has for it. It strikes *at* a moment,
the call's beginning by default, or *after* so many events counted from that moment; `times` in all. All that can be
wrong with it is said when it is made. This module only says what is wanted; `engine.faulty` does it.
"""

import difflib
import enum
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias, TypeVar, get_args

import attrs

ACTORS: Final = ("twilio_io", "stt", "turn_detector", "agent", "tts", "pacer")
CONNECTIONS: Final[Mapping[str, str]] = {"stt.session": "stt", "tts.session": "tts", "llm": "llm"}
"""The kinds of connection, and whose work is done over each."""
VENDORS: Final = ("anthropic", "cartesia", "deepgram", "elevenlabs", "groq", "local", "openai")
"""The vendors that a fault may be on without having been told of others."""

EVENTS: Final = ("interim", "final", "audio", "token")
"""What a vendor says, as far as it is counted: words not yet final, final words, a piece of audio, a piece of text."""
COUNTED: Final = (*EVENTS, "request", "session", "step")
"""What `after` counts: also requests to the model; and, of what the fault is on, sessions opened and steps taken."""

_AT: Final = re.compile(
    r"turn (?P<turn>[1-9][0-9]{0,3})"
    r"(, (?P<amount>[0-9]+(\.[0-9]+)?) (?P<unit>ms|s) into the (?P<part>reply|caller's words))?"
)
_AT_WORDS: Final = ("turn", "ms", "s", "into", "the", "reply", "caller's", "words")
_AT_ALLOWED: Final = (
    'seconds since the call opened, "turn 2", "turn 2, 300 ms into the reply" or '
    '"turn 2, 300 ms into the caller\'s words"'
)
_AFTER: Final = re.compile(r"([1-9][0-9]{0,5})(st|nd|rd|th) ([a-z]+)")
_AFTER_ALLOWED: Final = f'a count such as "3rd interim", of: {", ".join(COUNTED)}'

MOST_FAULTS: Final = 100
"""In one call. More than anybody writes by hand."""


class Part(enum.Enum):
    """Where in a turn a moment lies."""

    END = "when the caller has finished it"
    WORDS = "caller's words"
    REPLY = "reply"


@attrs.frozen(kw_only=True)
class Moment:
    """When a fault's time has come.

    turn: the caller's first is 1; 0: `offset_s` counts from the call's opening.
    part: what in the turn `offset_s` counts from.
    """

    turn: int = 0
    part: Part = Part.END
    offset_s: float = 0.0


@attrs.frozen(kw_only=True)
class Count:
    """So many of one of `COUNTED`."""

    number: int
    what: str


def moment(at: float | str) -> Moment:
    """Return the moment that `at` names. Raises ValueError, which says what is wrong with it and what is allowed."""
    if not isinstance(at, str):
        if isinstance(at, bool) or not 0 <= at < math.inf:
            raise ValueError(f"expected {_AT_ALLOWED}; got {shown(at)}")
        return Moment(offset_s=float(at))
    found = _AT.fullmatch(" ".join(at.replace("’", "'").split()))
    if found is None:
        strangers = [word for word in re.findall(r"[^\W\d]+(?:['’]s)?", at) if word.replace("’", "'") not in _AT_WORDS]
        why = f"unknown word {shown(strangers[0])}; {hint(strangers[0], _AT_WORDS)}; " if strangers else ""
        raise ValueError(f"{why}expected {_AT_ALLOWED}; got {shown(at)}")
    if found["part"] is None:
        return Moment(turn=int(found["turn"]))
    offset_s = float(found["amount"]) / (1000.0 if found["unit"] == "ms" else 1.0)
    return Moment(turn=int(found["turn"]), part=Part(found["part"]), offset_s=offset_s)


def count(after: str) -> Count:
    """Return what `after` counts. Raises ValueError, which says what is wrong with it and what is allowed."""
    found = _AFTER.fullmatch(" ".join(after.split()))
    if found is None:
        raise ValueError(f"expected {_AFTER_ALLOWED}; got {shown(after)}")
    number, what = int(found[1]), found[3]
    if what not in COUNTED:
        raise ValueError(f"unknown event {shown(what)}; {hint(what, COUNTED)}")
    if found[2] != _ordinal(number):
        raise ValueError(f'"{number}{found[2]}" is no number; did you mean "{number}{_ordinal(number)}"?')
    return Count(number=number, what=what)


def _ordinal(number: int) -> str:
    if number % 100 in {11, 12, 13}:
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


class Failing(enum.StrEnum):
    """How a vendor fails: it breaks off or is not there; it says no, and would again; it gives no sign of life."""

    DOWN = "down"
    REFUSED = "refused"
    SLOW = "slow"


@attrs.frozen
class Fault:
    """What all faults have in common.

    on: an actor, a kind of connection, or a vendor.
    at: when: seconds since the call opened, or a moment of a turn. The caller's first turn is turn 1; "turn 2" alone is
        the moment at which the caller has finished it.
    after: so many events counted from `at`: the fault strikes when the last of them has passed.
    times: how often it strikes. Without `every_s` the count begins anew after each, a turn's moment is awaited in the
        turns that follow.
    every_s: seconds from one strike to the next, in place of that.
    probability: with which a strike happens, by the call's seed.
    """

    on: str
    at: float | str = attrs.field(default=0.0, kw_only=True)
    after: str = attrs.field(default="", kw_only=True)
    times: int = attrs.field(default=1, kw_only=True)
    every_s: float = attrs.field(default=0.0, kw_only=True)
    probability: float = attrs.field(default=1.0, kw_only=True)

    on_actors: ClassVar[bool] = False
    on_connections: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        wrong = dict(self.mistakes())
        if wrong:
            raise ValueError("; ".join(f"{name}: {why}" for name, why in wrong.items()))

    @property
    def kind(self) -> str:
        """What it is called in a file."""
        return _kind(type(self))

    @property
    def moment(self) -> Moment:
        """When its time has come."""
        return moment(self.at)

    @property
    def count(self) -> Count | None:
        """What is counted from then on; None: nothing, it strikes at once."""
        return count(self.after) if self.after else None

    def mistakes(self) -> Iterable[tuple[str, str]]:
        """Yield what is wrong with it, by field."""
        yield from self._misplaced()
        for name, read in (("at", moment), ("after", count)):
            value = getattr(self, name)
            try:
                if name == "at" or value:
                    read(value)
            except ValueError as error:
                yield name, str(error)
        if not 1 <= self.times <= 1000:  # noqa: PLR2004 - a bound
            yield "times", f"expected 1 to 1000, got {self.times}"
        elif self.times > 1 and not (self.after or self.every_s or isinstance(self.at, str)):
            yield "times", f"{self.times} strikes at one moment; say how far apart they are with every_s"
        if not 0.0 <= self.every_s < math.inf:
            yield "every_s", f"expected seconds of 0 or more, got {self.every_s}"
        if not 0.0 < self.probability <= 1.0:
            yield "probability", f"expected more than 0 and at most 1, got {self.probability}"
        for name in ("lasts_s", "by_s", "noticed_s"):
            value = getattr(self, name, 0.0)
            if not value >= 0.0:
                yield name, f"expected seconds of 0 or more, got {value}"

    def _misplaced(self) -> Iterable[tuple[str, str]]:
        if self.on in ACTORS and not self.on_actors:
            meant = next((name for name, work in CONNECTIONS.items() if work == self.on), "")
            also = f"; did you mean '{meant}'?" if meant else f"; known: {names(CONNECTIONS)}, or a vendor's name"
            yield "on", f"'{self.on}' is an actor, and {self.kind} is of a vendor's connection{also}"
        elif "." in self.on and self.on not in CONNECTIONS:  # no vendor is called that
            yield "on", f"unknown place {shown(self.on)}; {hint(self.on, CONNECTIONS)}"
        elif not self.on:
            yield "on", f"nothing is named; known: {names(places(type(self), VENDORS))}"
        if self.after.endswith(" step") and self.on not in ACTORS:
            yield "after", f"only actors take steps, and '{self.on}' is none; actors: {names(ACTORS)}"
        if self.after.endswith(" session") and self.on in ACTORS:
            yield "after", f"'{self.on}' is an actor; sessions are of {names(CONNECTIONS)}, or of a vendor"


@attrs.frozen
class Kill(Fault):
    """The connection breaks off; or the actor's task is cancelled. Where none is open, the next one, as it opens.

    failing, code: what the vendor's client says of it, and the vendor's own number or name for that.
    """

    failing: str = attrs.field(default="down", kw_only=True)
    code: str = attrs.field(default="", kw_only=True)
    on_actors: ClassVar[bool] = True

    def mistakes(self) -> Iterable[tuple[str, str]]:
        yield from super().mistakes()
        yield from _unfit(self.failing)


@attrs.frozen
class Refuse(Fault):
    """An outage: what is open breaks off, and nobody is let in while it lasts.

    lasts_s: `inf`: for good. answers_s: how long the vendor takes to say no. 0.05: one near by.
    failing, code: as in `Kill`.
    """

    lasts_s: float = attrs.field(default=math.inf, kw_only=True)
    answers_s: float = attrs.field(default=0.05, kw_only=True)
    failing: str = attrs.field(default="down", kw_only=True)
    code: str = attrs.field(default="", kw_only=True)

    def mistakes(self) -> Iterable[tuple[str, str]]:
        yield from super().mistakes()
        yield from _unfit(self.failing)
        if not 0.0 < self.answers_s < math.inf:  # at once, for ever, would be a busy loop
            yield "answers_s", f"expected seconds of more than 0, got {self.answers_s}"


@attrs.frozen
class Stall(Fault):
    """Nothing more comes. Of an actor: its loop stops; being killed frees it.

    lasts_s: then all comes that was held back. `inf`: of a connection, this one alone, to its end.
    noticed_s: after the first event that is held back, or while a connection is being opened: when the vendor's client
        notices, and ends it as "slow". 3.0: Deepgram's and ElevenLabs' clients. `inf`: never; for a model the Agent
        itself notices sooner.
    """

    lasts_s: float = attrs.field(default=math.inf, kw_only=True)
    noticed_s: float = attrs.field(default=3.0, kw_only=True)
    on_actors: ClassVar[bool] = True


@attrs.frozen
class Delay(Fault):
    """All comes `by_s` later, in order; connections open so much later. Of an actor: each step waits so long first."""

    by_s: float = attrs.field(default=0.5, kw_only=True)
    lasts_s: float = attrs.field(default=math.inf, kw_only=True)
    on_actors: ClassVar[bool] = True


@attrs.frozen
class Mangling(Fault):
    """What happens to events of a connection, one or many.

    what: only to these events; "" is any. lasts_s: to all of them in that time; 0: to the next one alone.
    """

    what: str = attrs.field(default="", kw_only=True)
    lasts_s: float = attrs.field(default=0.0, kw_only=True)

    def mistakes(self) -> Iterable[tuple[str, str]]:
        yield from super().mistakes()
        if self.what and self.what not in EVENTS:
            yield "what", f"unknown event {shown(self.what)}; {hint(self.what, EVENTS)}"


@attrs.frozen
class Drop(Mangling):
    """An event is lost on its way."""


@attrs.frozen
class Duplicate(Mangling):
    """An event comes twice."""


@attrs.frozen
class Garble(Mangling):
    """A message of the vendor's breaks its protocol: it is counted and dropped; a model's reply breaks off."""


@attrs.frozen
class SlowDrip(Fault):
    """What the vendor says comes in drips, one in `by_s`; audio 20 ms at a time."""

    by_s: float = attrs.field(default=0.2, kw_only=True)
    lasts_s: float = attrs.field(default=math.inf, kw_only=True)


@attrs.frozen
class Raise(Fault):
    """The actor's next step raises; or the vendor's client does, with what is no failure of the vendor's.

    in_a_row: steps that raise one after another. An actor's first raise costs nothing; at its second the message is set
        aside.
    """

    in_a_row: int = attrs.field(default=1, kw_only=True)
    on_actors: ClassVar[bool] = True

    def mistakes(self) -> Iterable[tuple[str, str]]:
        yield from super().mistakes()
        if not 1 <= self.in_a_row <= 1000:  # noqa: PLR2004 - a bound
            yield "in_a_row", f"expected 1 to 1000, got {self.in_a_row}"
        elif self.in_a_row > 1 and self.on not in ACTORS:
            yield "in_a_row", f"only an actor's steps raise in a row, and '{self.on}' is no actor"


AnyFault: TypeAlias = Kill | Refuse | Stall | Delay | Drop | Duplicate | Garble | SlowDrip | Raise


def _kind(shape: type) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", shape.__name__).lower()


KINDS: Final[Mapping[str, type[AnyFault]]] = {_kind(shape): shape for shape in get_args(AnyFault)}
"""The faults by what they are called in a file."""


def places(shape: type[Fault], vendors: Iterable[str]) -> tuple[str, ...]:
    """Return what a fault of this class may be on."""
    return (*(ACTORS if shape.on_actors else ()), *CONNECTIONS, *sorted(vendors))


def _unfit(failing: str) -> Iterable[tuple[str, str]]:
    known = [each.value for each in Failing]
    if failing not in known:
        yield "failing", f"unknown failure {shown(failing)}; {hint(failing, known)}"


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────

Place: TypeAlias = tuple[str | int, ...]
"""The way to a value in a file: ("fault", 0, "kind")."""

Wrong: TypeAlias = Callable[[Place, str], None]
"""Told of each mistake: where, and what."""

_Shape = TypeVar("_Shape")


def read_faults(
    tables: object, wrong: Wrong, *, vendors: Iterable[str] = VENDORS, at: Place = ("fault",)
) -> tuple[AnyFault, ...]:
    """Return the faults that tables of TOML or JSON stand for; `wrong` is told of every mistake in those that are none.

    vendors: whose names they may be on.
    """
    if not isinstance(tables, list):
        wrong(at, f"expected a list of tables, got {shown(tables)}")
        return ()
    if len(tables) > MOST_FAULTS:
        wrong(at, f"expected {MOST_FAULTS} faults at most, got {len(tables)}")
        return ()
    found = [_read(table, wrong, tuple(vendors), (*at, index)) for index, table in enumerate(tables)]
    return tuple(fault for fault in found if fault is not None)


def _read(table: object, wrong: Wrong, vendors: Sequence[str], at: Place) -> AnyFault | None:
    if not isinstance(table, Mapping):
        wrong(at, f"expected a table, got {shown(table)}")
        return None
    kind = table.get("kind")
    shape = KINDS.get(kind) if isinstance(kind, str) else None
    if shape is None:
        why = f"missing; known: {names(KINDS)}" if kind is None else f"unknown kind {shown(kind)}; {hint(kind, KINDS)}"
        wrong((*at, "kind"), why)
        return None
    fields = {key: value for key, value in table.items() if key != "kind"}
    fault = read_table(fields, shape, wrong, at)
    known = places(shape, vendors)
    if fault is not None and fault.on not in known:
        wrong((*at, "on"), f"unknown place {shown(fault.on)}; {hint(fault.on, known)}")
        return None
    return fault


def read_table(table: object, shape: type[_Shape], wrong: Wrong, at: Place) -> _Shape | None:
    """Return a table as the class that it stands for; None, with `wrong` told of every mistake, if it is none.

    Nothing is coerced: `"5"` is not 5, `true` is not 1; only a whole number may stand for seconds.
    """
    if not isinstance(table, Mapping):
        wrong(at, f"expected a table, got {shown(table)}")
        return None
    fields = {field.name: field for field in attrs.fields(shape)}  # type: ignore[arg-type]
    bad = set()
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            bad.add(key)
            wrong((*at, key), f"unknown key; {hint(key, fields)}")
            continue
        noun, fits = next(each for type_, each in _TYPES.items() if fields[key].type in (type_, type_ | None))
        if fits(value):
            values[key] = value
        else:
            bad.add(key)
            wrong((*at, key), f"expected {noun}, got {shown(value)}")
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in table:
            bad.add(name)
            wrong((*at, name), "missing")
    if issubclass(shape, Fault):
        for name, why in _mistakes_of(shape, values):
            if name not in bad:
                bad.add(name)
                wrong((*at, name), why)
    if bad:
        return None
    try:
        return shape(**values)
    except ValueError as error:
        wrong(at, str(error))
        return None


def _mistakes_of(shape: type[Fault], values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield what is wrong with a fault that cannot be made, by field."""
    unmade = object.__new__(shape)
    for field in attrs.fields(shape):
        default = "" if field.default is attrs.NOTHING else field.default
        object.__setattr__(unmade, field.name, values.get(field.name, default))
    return unmade.mistakes()


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _are(kind: type, value: object) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _holds(kind: type, table: object) -> bool:
    return isinstance(table, Mapping) and all(_are(kind, value) for value in table.values())


_TYPES: Final[Mapping[Any, tuple[str, Callable[[object], bool]]]] = {
    str: ("a text", lambda value: isinstance(value, str)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: _are(int, value)),
    float: ("a number", _is_number),
    float | str: ("a number or a text", lambda value: isinstance(value, str) or _is_number(value)),
    tuple[str, ...]: ("a list of texts", lambda value: isinstance(value, list) and all(_are(str, v) for v in value)),
    Mapping[str, int]: ("a table of whole numbers", lambda value: _holds(int, value)),
    Mapping[str, str]: ("a table of texts", lambda value: _holds(str, value)),
}
"""What a field of each type may hold, as an error says it. A field that may be None may be absent as well."""


def as_table(fault: AnyFault) -> dict[str, Any]:
    """Return a fault as a file has it: its kind, and what is not by default."""
    told = {
        field.name: getattr(fault, field.name)
        for field in attrs.fields(type(fault))
        if getattr(fault, field.name) != field.default
    }
    return {"kind": fault.kind, **told}


def shown(value: object) -> str:
    """Return a value as a line bears it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}..."  # noqa: PLR2004 - half of a terminal's line


def names(known: Iterable[str]) -> str:
    """Return names as an error lists them."""
    return ", ".join(f"'{name}'" for name in known)


def hint(word: object, known: Iterable[str]) -> str:
    """Return what may have been meant, else all that is allowed."""
    known = tuple(known)
    meant = difflib.get_close_matches(str(word).lower(), known, n=1)
    return f"did you mean '{meant[0]}'?" if meant else f"known: {names(known)}"
