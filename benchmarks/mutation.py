"""Mutation: each of the six cores with one thing in it changed, and whether its tests notice.

python -m benchmarks.mutation                   all of them, kept in benchmarks/results/mutation.json and mutation.md
python -m benchmarks.mutation tts reply         these anew, the others as they were kept
python -m benchmarks.mutation --sample 100      of each core a hundred changes, the same ones each time
python -m benchmarks.mutation --jobs 2          two changes at a time

The values that hold a core's rules are changed as the core is, each by itself: its own tests judge it, then the core's.

A change is made in the syntax tree, and the core that it makes is imported in place of the real one by a fork of a
process that has all else imported: a tenth of a second, before the tests. What is changed: comparisons, arithmetic,
`and` and `or`, constants, defaults, conditions (always, never), cases and guards, statements, what an `evolve` sets,
what an effect is told, effects dropped, the core that a step returns. mutmut 3.8 runs these cores as fast, but changes
no property and no default, and drops neither an effect nor a field of a message.

A survivor is a gap in the tests, or makes no difference that anybody could see. Why it is the latter stands in
benchmarks/results/mutation.toml, under the core, by the line that the survivor is told by.
"""

# ruff: noqa: S311, T201 - a sample is drawn, and a measurement prints what it found

import argparse
import ast
import copy
import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final, TextIO, TypeAlias

import attrs
import hypothesis
import pytest

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results"
CORES: Final = ("twilio_io", "stt", "turn_detector", "agent", "tts", "pacer")
RULES: Final = {
    **dict.fromkeys(("request", "reply", "attempts", "waiting", "history"), "agent"),
    "playout": "pacer",
}
"""Modules of `engine.codec` that hold a core's rules, and whose they are."""

LONGEST_TOLD: Final = 70
"""Characters of code that are told of a change; of longer code its two ends."""

KILLED: Final = "killed"
SURVIVED: Final = "survived"
TOO_LONG: Final = "took too long"

LEAST_LIMIT_S: Final = 20.0
"""Any change may take this long; one whose tests take five times as long as they should has made a loop endless."""

PYTEST: Final = (
    *("-x", "-q", "-s", "--tb=no", "--no-header", "--no-summary", "-p", "no:cacheprovider", "-p", "no:xdist"),
    "--hypothesis-profile=mutation",
    "-Wignore::pytest.PytestAssertRewriteWarning",  # all of it is imported already: that is the point
)

SLOWEST: Final = {"pacer": "ten_thousand", "stt": "in_a_sentence or a_sentence_in"}
"""Of some cores the tests that are not tried on each change: whole calls, or ten thousand times what others do."""

NOTHING_TO_RUN: Final = int(pytest.ExitCode.NO_TESTS_COLLECTED)

BELOW: Final = tuple(
    f"engine.{layer}"
    for layer in ("actors", "codec", "loop", "mailbox", "messages", "policy", "providers", "storage", "supervisor")
)
"""What of ours may be imported beforehand, unless it imports what is changed."""

NOT_BELOW: Final = frozenset(("engine", "holdfast", "web", "simulators", "benchmarks", "tests", "conftest", "__main__"))

_SWAPPED: Final[Mapping[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_SWAPPED_NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_NOT_RUN: Final = frozenset(("annotation", "returns", "decorator_list"))

Place = tuple[str | int, ...]
"""The way from a tree to a part of it: names of fields, and positions in lists."""


@attrs.frozen(kw_only=True)
class Mutant:
    """A core with one thing changed.

    within: the function, class or field that the change is in. function: the function, where it is the code of one.
    change: what stood there, and what stands there now.
    place, new: where in the tree, and the node to be put there; None takes the node out of its list.
    """

    line: int
    within: str
    function: str
    change: str
    place: Place
    new: ast.AST | None

    @property
    def name(self) -> str:
        """What it is explained by: it holds when lines move."""
        return f"{self.within}: {self.change}"

    def of(self, tree: ast.Module) -> CodeType:
        """Return the code of the changed core; `tree` is changed."""
        parent: Any = tree
        for step in self.place[:-1]:
            parent = parent[step] if isinstance(step, int) else getattr(parent, step)
        last = self.place[-1]
        if isinstance(last, str):
            setattr(parent, last, self.new)
        elif self.new is None:
            del parent[last]
        else:
            parent[last] = self.new
        return compile(ast.fix_missing_locations(tree), f"<{self.name}>", "exec")


# ── what can be changed ───────────────────────────────────────────────────────────────────────────────────────────────


def mutants(tree: ast.Module, defaults: Callable[[str], frozenset[str]]) -> list[Mutant]:
    """Return every changed core, in the order of its lines; `defaults` tells which fields of a class need no value."""
    # One that reads the same twice in a line is two: tell them apart.
    seen: dict[str, int] = {}
    told: list[Mutant] = []
    for mutant in sorted(_within(tree, defaults), key=lambda each: each.line):
        seen[mutant.name] = seen.get(mutant.name, 0) + 1
        count = seen[mutant.name]
        told.append(mutant if count == 1 else attrs.evolve(mutant, change=f"{mutant.change} ({count})"))
    return told


def _within(
    node: ast.AST, defaults: Callable[[str], frozenset[str]], place: Place = (), within: str = "", function: str = ""
) -> Iterator[Mutant]:
    own = function
    match node:
        case ast.ClassDef(bases=[ast.Attribute(attr="Enum")]):
            return  # a member's value is a name for people
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias")) | ast.Assign(value=ast.Call(func=ast.Name("TypeVar"))):
            return
        case ast.FunctionDef(name=name):
            within = f"{within}.{name}".lstrip(".")
            own = function or within
        case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            within = f"{within}.{name}".lstrip(".")
        case ast.Assign(targets=[ast.Name(id=name)]) if not within:
            within = name
        case _:
            pass
    for new, part, change in _changes(node, defaults):
        line = getattr(node, "lineno", 0) or getattr(new, "lineno", 0)
        inside = own if part[0] == "body" else function
        yield Mutant(line=line, within=within, function=inside, change=change, place=(*place, *part), new=new)
    for name, value in ast.iter_fields(node):
        if name in _NOT_RUN or (isinstance(node, ast.keyword) and node.arg == "repr"):
            continue
        inside = own if name == "body" else function
        for position, each in enumerate(value) if isinstance(value, list) else ((None, value),):
            if isinstance(each, ast.AST):
                part = (name,) if position is None else (name, position)
                yield from _within(each, defaults, (*place, *part), within, inside)


def _changes(node: ast.AST, defaults: Callable[[str], frozenset[str]]) -> Iterator[tuple[ast.AST | None, Place, str]]:
    """Yield what can be changed in this node itself: the new part, where it goes, and what is told of it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return  # a docstring
    for name, value in ast.iter_fields(node):
        for position, each in enumerate(value) if isinstance(value, list) else ((None, value),):
            place: Place = (name,) if position is None else (name, position)
            if isinstance(each, ast.expr) and name not in _NOT_RUN:
                for new in _instead(each):
                    yield new, place, f"{_told(each)} → {_told(new)}"
            if isinstance(each, ast.stmt):
                for new_statement in _statement(each):
                    yield new_statement, place, f"{_told(each)} → {_told(new_statement)}"
    match node:
        case ast.If(test=test) | ast.IfExp(test=test):
            yield ast.Constant(value=True), ("test",), f"if {_told(test)} → if True"
            yield ast.Constant(value=False), ("test",), f"if {_told(test)} → if False"
        case ast.While(test=test):
            yield ast.Constant(value=False), ("test",), f"while {_told(test)} → while False"
        case ast.comprehension(ifs=ifs):
            for position, test in enumerate(ifs):
                yield (
                    ast.copy_location(ast.Constant(value=True), test),
                    ("ifs", position),
                    f"if {_told(test)} → dropped",
                )
        case ast.Match(cases=cases):
            for position, case in enumerate(cases[:-1]):  # the last is assert_never
                yield from _case(case, position)
        case ast.MatchOr(patterns=patterns):
            for position, pattern in enumerate(patterns):
                yield None, ("patterns", position), f"case {_told(node)} → without {_told(pattern)}"
        case ast.Call(func=function, keywords=keywords):
            spare = defaults(ast.unparse(function))
            for position, keyword in enumerate(keywords):
                if keyword.arg is not None and ("*" in spare or keyword.arg in spare):
                    told = f"{_told(function)}(… {keyword.arg}={_told(keyword.value)}) → not set"
                    yield None, ("keywords", position), told
        case ast.List(elts=parts, ctx=ast.Load()) | ast.Tuple(elts=parts, ctx=ast.Load()):
            if isinstance(node, ast.List) or any(isinstance(part, ast.Starred) for part in parts):
                for position, part in enumerate(parts):
                    yield None, ("elts", position), f"{_told(node)} → without {_told(part)}"
        case _:
            pass


def _instead(node: ast.expr) -> Iterator[ast.expr]:  # one branch for each kind of expression
    match node:
        case ast.Compare(ops=ops):
            for position, op in enumerate(ops):
                swapped = copy.deepcopy(node)
                swapped.ops[position] = _swapped(op)
                yield swapped
        case ast.BinOp(op=op) if type(op) in _SWAPPED:
            yield ast.copy_location(ast.BinOp(left=node.left, op=_swapped(op), right=node.right), node)
        case ast.BoolOp(op=op, values=values):
            yield ast.copy_location(ast.BoolOp(op=_swapped(op), values=values), node)
            for position in range(len(values)):
                rest = [*values[:position], *values[position + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.copy_location(ast.BoolOp(op=op, values=rest), node)
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=value) if value is not None and value is not Ellipsis:
            yield ast.copy_location(ast.Constant(value=_other(value)), node)
        case ast.Name(id=name) if name in _SWAPPED_NAMES:
            yield ast.copy_location(ast.Name(id=_SWAPPED_NAMES[name], ctx=ast.Load()), node)
        case _:
            pass


def _statement(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.Expr(value=ast.Constant()):
            pass  # a docstring
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            pass
        case ast.Expr() | ast.AugAssign() | ast.Continue() | ast.Break():
            yield ast.copy_location(ast.Pass(), node)
        case ast.Return(value=ast.Tuple(elts=[core, effects])):
            if not _is_self(core):
                yield _returning(node, ast.Name(id="self", ctx=ast.Load()), effects)
            if not (isinstance(effects, ast.List) and not effects.elts):
                yield _returning(node, core, ast.List(elts=[], ctx=ast.Load()))
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant | ast.Tuple):
            if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("evolve"):
                yield ast.copy_location(ast.Return(value=value.args[0]), node)
        case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=core), effects])], value=value):
            # `core, told = core._step()`: without the step.
            if core == "core" and isinstance(value, ast.Call) and ast.unparse(value).startswith("core."):
                kept = ast.Tuple(elts=[ast.Name(id=core, ctx=ast.Load()), ast.List(elts=[], ctx=ast.Load())])
                kept.ctx = ast.Load()
                del effects
                yield ast.copy_location(ast.Assign(targets=node.targets, value=kept), node)
        case _:
            pass


def _case(case: ast.match_case, position: int) -> Iterator[tuple[ast.AST | None, Place, str]]:
    at: Place = ("cases", position)
    told = f"case {_told(case.pattern)}"
    yield None, at, f"{told} → dropped"
    if case.guard is not None:
        yield None, (*at, "guard"), f"{told} if {_told(case.guard)} → without the guard"


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _returning(node: ast.Return, core: ast.expr, effects: ast.expr) -> ast.Return:
    return ast.copy_location(ast.Return(value=ast.Tuple(elts=[core, effects], ctx=ast.Load())), node)


def _swapped(op: ast.AST) -> Any:  # noqa: ANN401 - an operator of the same kind
    return _SWAPPED[type(op)]()


def _other(value: Any) -> Any:  # noqa: ANN401 - another constant of the same kind
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 2 if value else 1.0
    if isinstance(value, bytes):
        return b"" if value else b"?"
    return "" if value else "?"


def _told(node: ast.AST | None) -> str:
    text = "nothing" if node is None else " ".join(ast.unparse(node).split())
    return text if len(text) <= LONGEST_TOLD else f"{text[:45]} … {text[-LONGEST_TOLD + 48 :]}"


# ── whether the tests notice ──────────────────────────────────────────────────────────────────────────────────────────


@attrs.frozen(kw_only=True)
class Core:
    """A core, or a module of its rules; its tests. A stage is told to pytest after the one before it has passed."""

    name: str
    tree: ast.Module
    stages: tuple[tuple[str, ...], ...]

    @property
    def module(self) -> str:
        """The name that it is imported by."""
        return f"engine.{'codec' if self.name in RULES else 'actors'}.{self.name}"

    @property
    def path(self) -> Path:
        """Where it stands."""
        return ROOT / _file(self.name)


def _file(name: str) -> str:
    return f"engine/{'codec' if name in RULES else 'actors'}/{name}.py"


def core_named(name: str) -> Core:
    """Return a core, or its rules, with the tests: rules' own, the quick ones, whole calls, what holds for all six."""
    of = RULES.get(name, name)
    own, tests = ROOT / "tests" / "codec" / f"test_{name}.py", ROOT / "tests" / "actors"
    first = (str(own),) if name in RULES and own.exists() else ()
    quick = tuple(str(path) for path in (tests / f"test_{of}.py", tests / "test_survivors.py") if path.exists())
    slower = tuple(sorted(str(path) for path in tests.glob(f"test_{of}_*.py")))
    slower = (*slower, "-k", f"not ({SLOWEST[of]})") if of in SLOWEST else slower
    shared = (str(tests / "test_every_core.py"), "-k", of)
    tree = ast.parse((ROOT / _file(name)).read_text())
    return Core(name=name, tree=tree, stages=tuple(stage for stage in (first, quick, slower, shared) if stage))


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds and loads one module, from code that is given."""

    def __init__(self, core: Core, code: CodeType) -> None:
        self._core = core
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if fullname != self._core.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._core.path, loader=self)

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self._code

    def get_source(self, fullname: str) -> None:
        """Return nothing: what is in the file is another."""


def _tested(core: Core, code: CodeType, extra: Sequence[str] = ()) -> int:
    """Run a core's tests on other code of it, and return pytest's status; for a process that does nothing after it."""
    sys.meta_path.insert(0, _Changed(core, code))
    for stage in core.stages:
        status = int(pytest.main([*PYTEST, f"--rootdir={ROOT}", *extra, *stage]))
        if status not in {0, NOTHING_TO_RUN}:
            return status
    return 0


def _forked(work: Callable[[], int], *, quiet: bool = True) -> int:
    """Have a fork do the work, and return its process id; its status is the work's."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2) if quiet else (0, 1):
            os.dup2(nowhere, stream)
        status = work()
    except BaseException:  # noqa: BLE001 - told, and the process ends
        traceback.print_exc()
    finally:
        os._exit(status)


def _prepared(core: Core) -> None:
    """Import all that the core's tests import and that does not import the core, and nothing of ours besides."""
    _forget()
    with tempfile.NamedTemporaryFile("r") as names:

        def look() -> int:
            status = _tested(core, compile(core.tree, str(core.path), "exec"), ["--collect-only"])
            Path(names.name).write_text("\n".join(sys.modules))
            return status

        status = os.waitstatus_to_exitcode(os.waitpid(_forked(look, quiet=False), 0)[1])
        if status:
            raise RuntimeError(f"the tests of {core.name} cannot be collected: pytest says {status}")
        for name in names.read().split():
            ours = name.startswith(BELOW) and not _imports(name, core.module)
            if ours or ("." not in name and name not in NOT_BELOW):
                with suppress(ImportError):  # a name that a test made up
                    importlib.import_module(name)


def _imports(name: str, module: str) -> bool:
    """Whether to import a module is to import another: tried in a fork, as an import cannot be undone."""

    def look() -> int:
        importlib.import_module(name)
        return int(module in sys.modules)

    return bool(os.waitstatus_to_exitcode(os.waitpid(_forked(look), 0)[1]))


def _forget() -> None:
    """Have all of ours imported anew: what was prepared for one core may import the next."""
    for name in [each for each in sys.modules if each == "engine" or each.startswith("engine.")]:
        del sys.modules[name]


Work: TypeAlias = Callable[[], int]
"""What a fork does; its status is 0 where nothing was noticed."""


def _raced(work: Iterable[tuple[int, Work]], jobs: int, limit_s: float) -> Iterator[tuple[int, str]]:
    """Have so many forks at a time do the work, and yield what came of each."""
    waiting = iter(work)
    running: dict[int, tuple[int, float]] = {}
    while True:
        for each, do in itertools.islice(waiting, jobs - len(running)):
            running[_forked(do)] = (each, time.monotonic())
        if not running:
            return
        for child, (each, since) in list(running.items()):
            ended, raw = os.waitpid(child, os.WNOHANG)
            if ended:
                yield each, KILLED if os.waitstatus_to_exitcode(raw) else SURVIVED
            elif time.monotonic() - since > limit_s:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                yield each, TOO_LONG
            else:
                continue
            del running[child]
        time.sleep(0.002)


@attrs.frozen
class _Host:
    """A plugin of pytest that has each fork of a session run its tests with one function of the core changed.

    told: where the number of each change that was noticed, or took too long, is written.
    """

    core: Core
    wanted: Mapping[int, Mutant]
    jobs: int
    limit_s: float
    told: TextIO
    forked: list[bool] = attrs.field(factory=list)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run the tests once for each change; in a fork, leave it to pytest."""
        if self.forked:
            return None
        gc.freeze()
        module = sys.modules[self.core.module]
        work = ((number, partial(self._tested, session, module, each)) for number, each in self.wanted.items())
        for number, outcome in _raced(work, self.jobs, self.limit_s):
            if outcome != SURVIVED:
                print(number, outcome, file=self.told, flush=True)
        return True

    def _tested(self, session: pytest.Session, module: ModuleType, mutant: Mutant) -> int:
        self.forked.append(True)
        _replaced(module, mutant, mutant.of(self.core.tree))
        with suppress(session.Failed, session.Interrupted):
            session.config.hook.pytest_runtestloop(session=session)
        return int(session.testsfailed > 0)


def _replaced(module: ModuleType, mutant: Mutant, code: CodeType) -> None:
    """Give a function that is in use the changed code."""
    owner: Any = module
    *owners, name = mutant.function.split(".")
    for each in owners:
        owner = getattr(owner, each)
    kept = vars(owner)[name]
    function: Any = kept.fget if isinstance(kept, property) else kept
    function.__code__ = next(each for each in _codes(code) if each.co_qualname == mutant.function)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def outcomes(core: Core, wanted: Sequence[Mutant], jobs: int) -> Iterator[tuple[Mutant, str]]:
    """Yield what became of each changed core, as it is known.

    A change inside a function is first tried in a session that has the core's own tests imported. What survives that,
    and what is changed elsewhere, is imported, as are all its tests after it: what they make of it at once is then made
    of the changed core too.
    """
    _prepared(core)
    gc.freeze()
    began = time.monotonic()
    unchanged = _forked(lambda: _tested(core, compile(core.tree, str(core.path), "exec")), quiet=False)
    status = os.waitstatus_to_exitcode(os.waitpid(unchanged, 0)[1])
    if status:
        raise RuntimeError(f"the tests of {core.name} fail on what is not changed: pytest says {status}")
    limit_s = max(LEAST_LIMIT_S, 5 * (time.monotonic() - began))
    left = dict(enumerate(wanted))
    for stage in core.stages[:-1]:
        hosted = {number: each for number, each in left.items() if each.function}
        for number, outcome in _hosted(core, hosted, stage, jobs, limit_s):
            yield left.pop(number), outcome

    for each in left.values():
        print(f"\rnot noticed so far: {core.name}:{each.line} {each.name}")

    def imported(mutant: Mutant) -> int:
        return _tested(core, mutant.of(core.tree))

    work = [(number, partial(imported, each)) for number, each in left.items()]
    for number, outcome in _raced(work, jobs, limit_s):
        yield left[number], outcome


def _hosted(
    core: Core, wanted: Mapping[int, Mutant], stage: Sequence[str], jobs: int, limit_s: float
) -> Iterator[tuple[int, str]]:
    """Yield which of these changes a stage of the tests notices."""
    reading, writing = os.pipe()

    def host() -> int:
        with os.fdopen(writing, "w") as told:
            plugin = _Host(core, wanted, jobs, limit_s, told)
            return int(pytest.main([*PYTEST, f"--rootdir={ROOT}", *stage], plugins=[plugin]))

    child = _forked(host)
    os.close(writing)
    with os.fdopen(reading) as told:
        for line in told:
            number, outcome = line.rstrip().split(" ", 1)
            yield int(number), outcome
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in {0, NOTHING_TO_RUN}:
        raise RuntimeError(f"the tests of {core.name} could not be begun: pytest says {status}")


def _defaults(core: Core) -> Callable[[str], frozenset[str]]:
    """Return what tells which keywords of a call may be left out: all of an `evolve`, and fields that have defaults."""
    names = vars(importlib.import_module(core.module))
    _forget()

    def spare(function: str) -> frozenset[str]:
        if function.endswith("evolve"):
            return frozenset("*")
        kind = names.get(function)
        if not isinstance(kind, type) or not attrs.has(kind):
            return frozenset()
        return frozenset(field.name for field in attrs.fields(kind) if field.default is not attrs.NOTHING)

    return spare


# ── what is kept ──────────────────────────────────────────────────────────────────────────────────────────────────────


def measured(name: str, *, sample: int | None, jobs: int) -> dict[str, Any]:
    """Return what is kept of a core's run; says on the way how far it has come."""
    core = core_named(name)
    every = mutants(core.tree, _defaults(core))
    wanted = every if sample is None or sample >= len(every) else random.Random(name).sample(every, sample)
    wanted = sorted(wanted, key=every.index)
    began = time.monotonic()
    counts = dict.fromkeys((KILLED, TOO_LONG, SURVIVED), 0)
    survivors: list[Mutant] = []
    for done, (mutant, outcome) in enumerate(outcomes(core, wanted, jobs), 1):
        counts[outcome] += 1
        if outcome == SURVIVED:
            survivors.append(mutant)
            print(f"\rsurvived: {name}:{mutant.line} {mutant.name}")
        print(f"\r{name} {done}/{len(wanted)}, {len(survivors)} survived", end=" ", flush=True)
    print()
    return {
        "mutants": len(every),
        "tried": len(wanted),
        **counts,
        "took_s": round(time.monotonic() - began),
        "survivors": [
            {"line": each.line, "change": each.name} for each in sorted(survivors, key=lambda each: each.line)
        ],
    }


def page(kept: Mapping[str, Any], explained: Mapping[str, Mapping[str, str]]) -> str:
    """Return the results as they are read. A core's note holds until it is measured anew."""
    lines = [
        "# Mutation",
        "",
        "Each core, and each module of its rules, with one thing in it changed, and whether its tests notice:",
        "`python -m benchmarks.mutation`.",
        "Where fewer were tried than there are, they were drawn by lot. Left out of what each is tried on, as they",
        "take seconds: STT's whole calls and the Pacer's ten thousand interruptions.",
        "",
        "| core | changes | tried | noticed | of these by never ending | survived |",
        "|---|---|---|---|---|---|",
    ]
    for name, core in kept.items():
        noticed = core[KILLED] + core[TOO_LONG]
        share = noticed / core["tried"] if core["tried"] else 1.0
        row = (core["mutants"], core["tried"], f"{noticed} ({share:.1%})", core[TOO_LONG], core[SURVIVED])
        lines.append(f"| {name} | {' | '.join(map(str, row))} |")
    for note in dict.fromkeys(core["note"] for core in kept.values() if "note" in core):
        lines += ["", f"{' and '.join(name for name, core in kept.items() if core.get('note') == note)}: {note}"]
    for name, core in kept.items():
        if not core["survivors"]:
            continue
        lines += ["", f"## {name}", "", "| where | changed | why nothing fails |", "|---|---|---|"]
        for each in core["survivors"]:
            why = explained.get(name, {}).get(each["change"], "")
            lines.append(f"| {_file(name)}:{each['line']} | {_cell(each['change'])} | {why} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def main() -> None:
    """Run what is asked for, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("core", nargs="*", choices=[*CORES, *RULES, []], help="all, if none is named")
    parser.add_argument("--sample", type=int, help="so many changes of each core, the same ones each time")
    parser.add_argument("--jobs", type=int, default=1, help="so many at a time")
    parser.add_argument("--page", action="store_true", help="only write the page anew, from what is kept")
    asked = parser.parse_args()
    hypothesis.settings.register_profile(
        "mutation",
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    data = RESULTS / "mutation.json"
    kept: dict[str, Any] = json.loads(data.read_text()) if data.exists() else {}
    for name in () if asked.page else asked.core or (*CORES, *RULES):
        kept[name] = measured(name, sample=asked.sample, jobs=asked.jobs)
        kept = {each: kept[each] for each in (*CORES, *RULES) if each in kept}
        data.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    reasons = RESULTS / "mutation.toml"
    explained = tomllib.loads(reasons.read_text()) if reasons.exists() else {}
    (RESULTS / "mutation.md").write_text(page(kept, explained))


if __name__ == "__main__":
    main()
