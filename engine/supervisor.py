"""Supervisor: keeps children alive by starting them again, as Erlang/OTP's does.

Theory of operation. A child is a spec and a state. Whatever happens (an incarnation comes up, ends, is to be stopped)
changes states in plain code, at once, in the task where it happened, and wakes the one loop, which then does what the
states allow: it stops who is ``STOPPING``, the last in order first and each only when those after it have ended; it
starts who is ``WAITING``, once the backoff is over and, where order matters, those before it are up. The loop never
waits for one child alone, so neither a backoff nor a slow start holds up another child's restart, or a stop.

    STOPPED ─► WAITING ─► STARTING ─► RUNNING        an end that the policy answers with a restart leads to WAITING,
                  ▲           └──► STOPPING ◄──┘        any other to STOPPED
                  └──────────────────┘               a sibling stopped by the strategy is wanted back

Where trio differs from Erlang: an incarnation is a task in a cancel scope of its own, shielded from outside, so that
only its supervisor can cancel it, in order. Cancelling the scope around ``run`` therefore stops the children in
reverse order, each with its ``shutdown_s``, before the cancellation goes on. A supervisor that is itself a child has
had that time from its parent already, or is being killed: cancelled, it gives its own children none.

And what Erlang leaves to the child: a child may have *alternatives*, others who can do its work. A life is told which
one it is to use; when the policy gives one up, the next takes over with a window and a backoff of its own, and only
when none is left does the supervisor give up. Then it is exhausted: the same again, by its parent, would find nobody.
"""

import enum
import logging
import math
import secrets
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Protocol, TypedDict, assert_never
from weakref import WeakSet

import attrs
import trio
from attrs.validators import ge, min_len

from engine.messages.errors import Stalled
from engine.policy import (
    ATTEMPT_S,
    EXHAUSTED,
    Answer,
    Backoff,
    FailOver,
    Failure,
    GiveUp,
    Restart,
    RestartPolicy,
    RestartState,
    kinds_of,
)

_log = logging.getLogger(__name__)

LONGEST_REASON_CHARS = 500
"""Of a crash, as it is told and logged: an error may quote all that it could not bear."""


class RestartType(enum.StrEnum):
    """Which ends of a child lead to a restart: every end, crashes only, none."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


PERMANENT, TRANSIENT, TEMPORARY = RestartType


class Strategy(enum.StrEnum):
    """Who is restarted with a child that crashed: nobody, all, those started after it."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class AutoShutdown(enum.StrEnum):
    """Whether the supervisor stops when a significant child ends by itself, or when the last of them does."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class ChildState(enum.StrEnum):
    """What a child is doing. Waiting: for its backoff, or for its turn in the order of starting."""

    STOPPED = "stopped"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@attrs.define(eq=False)
class Incarnation:
    """One life of a child, as the child sees it: the ``task_status`` that its ``start`` is given.

    number: counts the lives of this child, from 1; it never goes back while the supervisor object exists.
    pid: supervisor, child and number, in one name.
    alternative: whom of the child's alternatives this life is to use; empty for a child that has none.
    """

    number: int
    pid: str
    alternative: str = ""
    _on_started: Callable[[], None] = lambda: None
    has_started: bool = attrs.field(default=False, init=False)
    stop_requested: bool = attrs.field(default=False, init=False)
    _until_stop: WeakSet[trio.CancelScope] = attrs.field(factory=WeakSet, init=False)

    def started(self, value: object = None) -> None:  # noqa: ARG002  a TaskStatus takes one
        """Say that the child is up; those after it may start. Raises RuntimeError the second time."""
        if self.has_started:
            raise RuntimeError(f"{self.pid} called started() twice")
        self.has_started = True
        self._on_started()

    def until_stop(self) -> trio.CancelScope:
        """Return a scope that is cancelled when a stop is requested; after it there is ``shutdown_s`` to clean up."""
        scope = trio.CancelScope()
        self._until_stop.add(scope)
        if self.stop_requested:
            scope.cancel()
        return scope

    def request_stop(self) -> None:
        """Ask the child to end. The supervisor calls this, or a test in its place."""
        self.stop_requested = True
        for scope in self._until_stop:
            scope.cancel()


class Start(Protocol):
    """A child's code: trio's ``nursery.start`` style. It has started when it calls ``task_status.started()``."""

    async def __call__(self, *, task_status: Incarnation) -> object:
        """Live. A return is a normal exit, an exception a crash."""


class Alternatives(Protocol):
    """Who can do a child's work, in order of preference. Plain code; what it knows may be shared by many supervisors.

    `without` names those that are not to be thought of.
    """

    def choose(self, *, without: Container[str] = ()) -> str | None:
        """Return who is to begin now; None only if nobody is left."""

    def any_left(self, *, without: Container[str] = ()) -> bool:
        """Whether there is one at all."""

    def any_well(self, *, without: Container[str] = ()) -> bool:
        """Whether there is one that is known to be no worse than others."""

    def is_well(self, name: str) -> bool:
        """Whether this one is."""

    def failed(self, name: str, *, kinds: Iterable[str] = (), lasting: bool = False) -> None:
        """Learn that a life of this one's failed and had been of no use. lasting: no other try can mend it.

        kinds: of the failure, which may say whom it concerns.
        """

    def useful(self, name: str) -> bool:
        """Learn that a new life was of use; return whether that was news."""

    def released(self, name: str) -> None:
        """Learn that a life that was to be, or was not of use yet, will not show anything: we ended it."""


@attrs.frozen(kw_only=True)
class ChildSpec:
    """How one child is started, restarted and stopped.

    shutdown_s: seconds between the request to stop and the cancellation; 0 cancels at once, ``math.inf`` waits.
        5.0 as in OTP.
    significant: its end by itself counts for ``auto_shutdown``. A permanent child cannot be.
    backoff: in place of the policy's.
    alternatives: who can do its work. policy_of: how an alternative's failures are judged, in place of the policy.
    """

    id: str = attrs.field(validator=min_len(1))
    start: Start
    restart: RestartType = PERMANENT
    shutdown_s: float = attrs.field(default=5.0, validator=ge(0.0))
    significant: bool = False
    backoff: Backoff | None = None
    alternatives: Alternatives | None = None
    policy_of: Callable[[str], RestartPolicy] | None = None

    def __attrs_post_init__(self) -> None:
        if self.significant and self.restart is PERMANENT:
            raise ValueError(f"child '{self.id}' is permanent and cannot be significant: it never ends by itself")


@attrs.frozen(kw_only=True)
class SupervisionEvent:
    """Something that a supervisor saw or decided. incarnation: 0 where there was none."""

    happened_at: float
    supervisor: str
    child: str
    incarnation: int


@attrs.frozen(kw_only=True)
class ChildStarted(SupervisionEvent):
    """The first incarnation is up."""


@attrs.frozen(kw_only=True)
class ChildRestarted(SupervisionEvent):
    """A later incarnation is up."""


@attrs.frozen(kw_only=True)
class ChildExited(SupervisionEvent):
    """A transient or temporary child returned. It is not restarted."""


@attrs.frozen(kw_only=True)
class ChildFailed(SupervisionEvent):
    """A child crashed, or returned although it is permanent."""

    reason: str
    error: BaseException | None = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class ChildStalled(SupervisionEvent):
    """A child gave no sign of life in its time, which is a crash: its ``ChildFailed`` follows."""

    reason: str


@attrs.frozen(kw_only=True)
class ChildStopped(SupervisionEvent):
    """A child ended because it had to.

    overran: it took longer than ``shutdown_s`` and was cancelled.
    reason, error: it crashed while stopping. That counts for nothing.
    """

    overran: bool
    reason: str = ""
    error: BaseException | None = attrs.field(default=None, eq=False)


@attrs.frozen(kw_only=True)
class RestartScheduled(SupervisionEvent):
    """The decision to start the child again ``after_s`` seconds from its failure."""

    after_s: float


@attrs.frozen(kw_only=True)
class FailedOver(SupervisionEvent):
    """The decision to start ``now_on`` in place of ``was``, at once."""

    was: str
    now_on: str
    reason: str


@attrs.frozen(kw_only=True)
class FailedBack(SupervisionEvent):
    """An alternative that had been given up is of use again, in this child: others may go back to it."""

    now_on: str


@attrs.frozen(kw_only=True)
class GaveUp(SupervisionEvent):
    """The decision to stop all children and raise: there were too many failures, ``history``, in the window.

    exhausted: or no other try can mend it, for what kind it was of, for how long it lasted, or because no alternative
        is left.
    """

    reason: str
    history: tuple[Failure, ...]
    exhausted: bool = False


@attrs.frozen(kw_only=True)
class SignificantEnded(SupervisionEvent):
    """The decision to stop all children and return, because this one ended by itself."""


@attrs.frozen(kw_only=True)
class ChildInfo:
    """A child at one moment. pid: of the incarnation that lives, or empty."""

    id: str
    state: ChildState
    incarnation: int
    pid: str


class StartError(Exception):
    """A child did not come up when the supervisor started; those before it have been stopped."""

    def __init__(self, supervisor: str, child: str, reason: str) -> None:
        super().__init__(f"supervisor '{supervisor}' could not start child '{child}': {reason}")
        self.child, self.reason = child, reason


class GaveUpError(Exception):
    """A supervisor gave up; all its children have been stopped. child: whose failure was one too many.

    kinds: what a parent's policy calls it: "gave_up", and before that "exhausted" where no other try can mend it.
    """

    def __init__(
        self, supervisor: str, child: str, reason: str, history: tuple[Failure, ...], *, exhausted: bool = False
    ) -> None:
        super().__init__(f"supervisor '{supervisor}' gave up on child '{child}' at failure {len(history)}: {reason}")
        self.child, self.reason, self.history = child, reason, history
        self.kinds = (EXHAUSTED, "gave_up") if exhausted else ("gave_up",)


@attrs.define(eq=False)
class _Child:
    spec: ChildSpec
    # A child of the first start that has not come up yet: its failure is the supervisor's.
    initial: bool
    state: ChildState = ChildState.WAITING
    due_at: float = -math.inf  # while waiting: not before
    wanted: bool = False  # while stopping, and while its end is told: to be started again
    number: int = 0
    # Invariant: there is a life exactly while starting, running or stopping. The scope and the reason are its own.
    life: Incarnation | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    killed_for: str = ""
    stalled: bool = False
    # Whether the present life was of use; whom it uses, and whom its child has given up.
    of_use: bool = False
    began_at: float = -math.inf
    now_on: str = ""
    given_up: frozenset[str] = frozenset()


class _About(TypedDict):
    happened_at: float
    supervisor: str
    child: str
    incarnation: int


@attrs.frozen(kw_only=True)
class ChildHandle:
    """A child that was started by ``start_child``, through all its incarnations.

    cancel: stops it for good, as ``terminate_child`` does; returns at once; nothing happens if it has ended.
    """

    id: str
    cancel: Callable[[], None]


@attrs.define(kw_only=True, eq=False)
class Supervisor:
    """A task that starts children in order, restarts them by policy, and stops them in reverse order.

    on_event: a plain function, called at once with each event. If it raises, the exception is logged and supervision
        goes on: who watches must not be able to break what is watched.
    seed: of the backoffs' jitter; drawn from the operating system unless given.
    Raises ValueError for two children of one id, and for a significant child that no ``auto_shutdown`` would heed.
    """

    name: str
    specs: Sequence[ChildSpec]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    policy: RestartPolicy = RestartPolicy()
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    on_event: Callable[[SupervisionEvent], None] = lambda _event: None
    seed: int = attrs.field(factory=lambda: secrets.randbits(64))
    _restarts: RestartState = attrs.field(init=False)
    _children: dict[str, _Child] = attrs.field(factory=dict, init=False)
    # The last incarnation of each child; outlives a run, so that what an old run still says is known to be old.
    _numbers: dict[str, int] = attrs.field(factory=dict, init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _hurried: bool = attrs.field(default=False, init=False)
    _outcome: Exception | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._restarts = RestartState(policy=self.policy, seed=self.seed)
        for index, spec in enumerate(self.specs):
            self._check(spec, taken=[other.id for other in self.specs[:index]])

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Start the children, keep them alive, return when stopped. ``started()`` is called when all are up.

        It can be run again, from the first start on, and can be a child's ``start`` itself. However it ends, no child
        is left. Cancelled, it takes at most the sum of ``shutdown_s``, and what children shield after that.
        Raises GaveUpError, StartError. A cancellation outweighs both, but the events have been told.
        """
        if self._nursery is not None:
            raise RuntimeError(f"supervisor '{self.name}' is running already")
        parent = task_status if isinstance(task_status, Incarnation) else None
        self._restarts = RestartState(policy=self.policy, seed=self._restarts.seed)
        self._children = {spec.id: _Child(spec, initial=True) for spec in self.specs}
        self._stopping, self._hurried, self._outcome = False, False, None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                with parent.until_stop() if parent else nullcontext():
                    await self._loop(task_status)
                self.stop()
                await self._loop(task_status)
            finally:
                # Children are shielded from whatever ends us (a cancellation, a bug of ours): stop them here, or hang.
                self._hurried = parent is not None
                self.stop()
                with trio.CancelScope(shield=True):
                    await self._loop(task_status)
                self._nursery = None
        if self._outcome:
            raise self._outcome

    def stop(self) -> None:
        """Stop all children in reverse order, then ``run`` returns. Returns at once; nothing happens if not running."""
        self._stopping = True
        self._changed.set()
        for child in tuple(self._children.values()):
            self._retire(child)

    def start_child(self, spec: ChildSpec) -> ChildHandle:
        """Add a child, last in order, and start it when its turn comes. Returns at once.

        What becomes of it is told by events: a first start that fails is a failure like any other, and while
        everything is being stopped nothing is started any more. A temporary child is forgotten when it ends, any other
        when this run does. Raises ValueError as the constructor does, RuntimeError when not running.
        """
        if self._nursery is None:
            raise RuntimeError(f"supervisor '{self.name}' is not running: it cannot start '{spec.id}'")
        self._check(spec, taken=self._children)
        child = _Child(spec, initial=False)
        if self._stopping:
            child.state = ChildState.STOPPED
            self._tell(ChildFailed(**self._about(child), reason="not started: the supervisor is stopping"))
        else:
            self._children[spec.id] = child
            self._changed.set()
        return ChildHandle(id=spec.id, cancel=partial(self._retire, child))

    def terminate_child(self, child_id: str) -> None:
        """Stop one child and do not restart it, not even if a restart was due. Returns at once. LookupError."""
        self._retire(self._find(child_id))

    def restart_child(self, child_id: str) -> None:
        """Start a child that has been stopped or has returned, with whom of its alternatives is best now.

        Returns at once. Raises LookupError, RuntimeError.
        """
        child = self._find(child_id)
        if child.state is not ChildState.STOPPED or self._stopping:
            raise RuntimeError(
                f"child '{child_id}' is {child.state}: only a stopped child of a running supervisor can be restarted"
            )
        child.state, child.due_at = ChildState.WAITING, -math.inf
        child.now_on, child.given_up = "", frozenset()
        self._changed.set()

    def cancel(self, child_id: str, reason: str = "killed") -> bool:
        """Kill the child's present incarnation, which is a crash for that reason; False if none lives. LookupError.

        It is no fault of the alternative that it used. An incarnation that returns before it notices has returned.
        """
        return self._kill(child_id, reason, stalled=False)

    def stalled(self, child_id: str, reason: str) -> bool:
        """Kill the child's present incarnation, because it gave no sign of life; otherwise as ``cancel``."""
        return self._kill(child_id, reason, stalled=True)

    def _kill(self, child_id: str, reason: str, *, stalled: bool) -> bool:
        child = self._find(child_id)
        if child.life and not child.scope.cancel_called:
            child.killed_for, child.stalled = reason, stalled
            child.scope.cancel()
        return child.life is not None

    def useful(self, child_id: str) -> None:
        """Take note of useful output of a child's present life: its next restart is a first one again.

        What comes when no life is there is too late: the end of that life has been judged.
        """
        child = self._children.get(child_id)
        if child is not None and child.life and not child.of_use:
            child.of_use = True
            self._restarts = self._restarts.useful(child=child_id)
            others = child.spec.alternatives
            if others is not None and others.useful(child.now_on) and others.any_left(without={child.now_on}):
                self._tell(FailedBack(**self._about(child), now_on=child.now_on))

    def change_policy(self, policy: RestartPolicy) -> None:
        """Obey another policy from the next failure on."""
        self.policy, self._restarts = policy, self._restarts.with_policy(policy)

    def children(self) -> tuple[ChildInfo, ...]:
        """Return the children as they are now, in order of starting."""
        return tuple(
            ChildInfo(id=each, state=child.state, incarnation=child.number, pid=child.life.pid if child.life else "")
            for each, child in self._children.items()
        )

    async def _loop(self, task_status: trio.TaskStatus[None]) -> None:
        up = False
        while not self._stopping or any(child.life for child in self._children.values()):
            wake_at = self._advance()
            if not (up or self._stopping or any(child.initial for child in self._children.values())):
                up = True
                task_status.started()
            with trio.move_on_at(wake_at):
                await self._changed.wait()
            self._changed = trio.Event()

    def _advance(self) -> float:
        """Do what the states allow now; return when to look again at the latest."""
        now, wake_at = trio.current_time(), math.inf
        in_order = self.strategy is not Strategy.ONE_FOR_ONE
        stopping = [child for child in self._children.values() if child.state is ChildState.STOPPING]
        for child in stopping[-1:] if in_order or self._stopping else stopping:
            self._ask_to_stop(child, now)
        held = bool(stopping)
        for child in self._children.values():
            takes_turns = in_order or child.initial
            if child.state is ChildState.WAITING and not (held and takes_turns):
                if child.due_at <= now:
                    self._launch(child)
                else:
                    wake_at = min(wake_at, child.due_at)
            held = held or (takes_turns and child.state in {ChildState.WAITING, ChildState.STARTING})
        return wake_at

    def _launch(self, child: _Child) -> None:
        assert self._nursery is not None
        child.number = self._numbers[child.spec.id] = self._numbers.get(child.spec.id, 0) + 1
        pid = f"{self.name}/{child.spec.id}#{child.number}"
        if child.spec.alternatives is not None and not child.now_on:
            child.now_on = child.spec.alternatives.choose(without=child.given_up) or ""
        child.life = Incarnation(child.number, pid, child.now_on, partial(self._started, child))
        child.scope, child.killed_for, child.stalled = trio.CancelScope(shield=True), "", False
        child.of_use, child.began_at = False, trio.current_time()
        child.state = ChildState.STARTING
        self._nursery.start_soon(self._live, child, child.life, name=pid)

    async def _live(self, child: _Child, life: Incarnation) -> None:
        try:
            with child.scope:
                await child.spec.start(task_status=life)
        except* (Exception, trio.Cancelled) as group:  # noqa: BLE001  deaths are judged here; a Cancelled is a stray one
            self._ended(child, life, leaf(group))
        except* BaseException:  # KeyboardInterrupt, SystemExit: not ours to judge
            self.stop()
            raise
        finally:
            if child.life is life:
                self._ended(child, life, None)

    def _started(self, child: _Child) -> None:
        child.initial = False
        if child.state is ChildState.STARTING:
            child.state = ChildState.RUNNING
            self._changed.set()
            self._tell((ChildRestarted if child.number > 1 else ChildStarted)(**self._about(child)))

    def _ended(self, child: _Child, life: Incarnation, error: BaseException | None) -> None:
        """Judge the end of an incarnation, in the task that ends."""
        state, child.state, child.life = child.state, ChildState.STOPPED, None
        crash = _crash(child, life, error)
        self._changed.set()
        if state is ChildState.STOPPING:
            if child.wanted:
                child.state = ChildState.WAITING
            else:
                self._release(child)
            overran = child.scope.cancelled_caught and child.scope.deadline <= trio.current_time()
            self._tell(ChildStopped(**self._about(child), overran=overran, reason=crash if error else "", error=error))
        elif not crash:
            self._release(child)
            self._tell(ChildExited(**self._about(child)))
            self._heed_significant(child)
        else:
            child.wanted = True  # unless whoever is told now retires it
            kinds = kinds_of(error)
            if child.stalled or isinstance(error, Stalled):
                kinds = (*kinds, "slow") if error else ("slow",)
                self._tell(ChildStalled(**self._about(child), reason=child.killed_for if child.stalled else crash))
            self._tell(ChildFailed(**self._about(child), reason=crash, error=error))
            self._learn_failure(child, kinds)
            if child.initial:
                self._fail(StartError(self.name, child.spec.id, crash), error)
            elif child.spec.restart is TEMPORARY:
                self._heed_significant(child)
            elif child.wanted:
                self._decide(child, crash, kinds, error)
        self._forget_temporary(child)

    def _learn_failure(self, child: _Child, kinds: tuple[str, ...]) -> None:
        """Let the alternatives know of a failure, if it says anything of the one that was used."""
        others = child.spec.alternatives
        if others is None or child.of_use:
            return
        if child.scope.cancel_called and not child.stalled:
            others.released(child.now_on)  # killed for a reason of ours
        else:
            lasting = self._policy_of(child).answer(kinds) is not Answer.RESTART
            others.failed(child.now_on, kinds=kinds, lasting=lasting)

    def _release(self, child: _Child) -> None:
        """Let the alternatives know that a life has shown nothing, and will not."""
        if child.spec.alternatives is not None and not child.of_use:
            child.spec.alternatives.released(child.now_on)

    def _policy_of(self, child: _Child) -> RestartPolicy:
        return self.policy if child.spec.policy_of is None else child.spec.policy_of(child.now_on)

    def _decide(self, child: _Child, reason: str, kinds: tuple[str, ...], error: BaseException | None) -> None:
        now, spec, others = trio.current_time(), child.spec, child.spec.alternatives
        if child.of_use and now - child.began_at > ATTEMPT_S:
            child.given_up = frozenset()  # this is another trouble: whoever failed in the last one may be well by now
        left = child.given_up | {child.now_on}
        self._restarts, decision = self._restarts.failed(
            reason,
            now,
            child=spec.id,
            kinds=kinds,
            policy=self._policy_of(child),
            backoff=spec.backoff,
            standby=others is not None and others.any_left(without=left),
            better=others is not None and not others.is_well(child.now_on) and others.any_well(without=left),
        )
        match decision:
            case FailOver():
                assert others is not None
                was, child.now_on, child.given_up = child.now_on, others.choose(without=left) or "", left
                self._start_again(child, now)
                self._tell(FailedOver(**self._about(child), was=was, now_on=child.now_on, reason=reason))
            case Restart(after_s=after_s):
                self._start_again(child, now + after_s)
                self._tell(RestartScheduled(**self._about(child), after_s=after_s))
            case GiveUp(history=history, exhausted=exhausted):
                exhausted = exhausted or others is not None  # who has alternatives is given up when none is left
                self._tell(GaveUp(**self._about(child), reason=reason, history=history, exhausted=exhausted))
                self._fail(GaveUpError(self.name, spec.id, reason, history, exhausted=exhausted), error)
            case _:
                assert_never(decision)

    def _start_again(self, child: _Child, due_at: float) -> None:
        for each in self._restarted_with(child):
            if each.state is ChildState.STOPPED and each is not child:
                each.now_on, each.given_up = "", frozenset()  # a beginning, as by hand
            each.due_at = max(each.due_at, due_at)
            each.wanted = each.spec.restart is not TEMPORARY
            each.state = ChildState.STOPPING if each.life else ChildState.WAITING

    def _restarted_with(self, child: _Child) -> Sequence[_Child]:
        """Return a child and those who share its fate: also, as in OTP, those that had returned or been stopped."""
        order = tuple(self._children.values())
        match self.strategy:
            case Strategy.ONE_FOR_ONE:
                return (child,)
            case Strategy.ONE_FOR_ALL:
                return order
            case Strategy.REST_FOR_ONE:
                return order[order.index(child) :]
            case _:
                assert_never(self.strategy)

    def _heed_significant(self, child: _Child) -> None:
        others_live = any(
            each.spec.significant and each.state is not ChildState.STOPPED for each in self._children.values()
        )
        if child.spec.significant and (self.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT or not others_live):
            self._tell(SignificantEnded(**self._about(child)))
            self.stop()

    def _fail(self, outcome: Exception, cause: BaseException | None) -> None:
        self._outcome, outcome.__cause__ = outcome, cause
        self.stop()

    def _retire(self, child: _Child) -> None:
        """Stop a child for good."""
        if child.state is ChildState.WAITING and child.spec.alternatives is not None:
            child.spec.alternatives.released(child.now_on)  # chosen already, perhaps as the one to try it
        child.wanted = child.initial = False
        child.state = ChildState.STOPPING if child.life else ChildState.STOPPED
        self._forget_temporary(child)
        self._changed.set()

    def _ask_to_stop(self, child: _Child, now: float) -> None:
        assert child.life is not None
        if self._hurried or not child.spec.shutdown_s:
            child.scope.cancel()
        elif not child.life.stop_requested:
            child.scope.deadline = now + child.spec.shutdown_s
        child.life.request_stop()

    def _forget_temporary(self, child: _Child) -> None:
        each, ended = child.spec.id, child.state is ChildState.STOPPED
        if ended and child.spec.restart is TEMPORARY and self._children.get(each) is child:
            del self._children[each]
            if child.spec not in self.specs:
                self._numbers.pop(each, None)

    def _find(self, child_id: str) -> _Child:
        if child_id not in self._children:
            raise LookupError(f"supervisor '{self.name}' has no child '{child_id}'; it has {sorted(self._children)}")
        return self._children[child_id]

    def _check(self, spec: ChildSpec, taken: Container[str]) -> None:
        if spec.id in taken:
            raise ValueError(f"supervisor '{self.name}' has a child '{spec.id}' already")
        if spec.significant and self.auto_shutdown is AutoShutdown.NEVER:
            raise ValueError(
                f"child '{spec.id}' is significant, but supervisor '{self.name}' has auto_shutdown = 'never'"
            )

    def _about(self, child: _Child) -> _About:
        return _About(
            happened_at=trio.current_time(), supervisor=self.name, child=child.spec.id, incarnation=child.number
        )

    def _tell(self, event: SupervisionEvent) -> None:
        try:
            self.on_event(event)
        except Exception:  # noqa: BLE001  see on_event
            _log.exception("on_event raised; supervision goes on; the event was %r", event)


def _crash(child: _Child, life: Incarnation, error: BaseException | None) -> str:
    """Return why the end of an incarnation is a crash, or nothing if it is a normal exit."""
    if error:
        return f"{type(error).__name__}: {error}"[:LONGEST_REASON_CHARS]
    if child.scope.cancelled_caught:
        return child.killed_for or "cancelled, and nobody had asked it to stop"
    if not life.has_started:
        return "returned before it had started"
    if child.spec.restart is PERMANENT:
        return "returned, though it is permanent"
    return ""


def leaf(error: BaseException) -> BaseException:
    """Return the exception that a group comes down to: the first of the first, as deep as it goes."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
