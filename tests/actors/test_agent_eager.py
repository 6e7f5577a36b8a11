"""Agent: what is asked before the caller's turn is known to have ended, and what it costs."""

import itertools

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actors.agent import END_CALL, Agent, AgentPolicy
from engine.codec.waiting import Wait
from engine.messages.caller import LineClosed
from engine.messages.conversation import AgentSaid, CallerSaid, Noted, ToolAnswered, ToolCalled
from engine.messages.model import (
    AskModel,
    CallTool,
    CancelModel,
    ModelAsked,
    ModelEnded,
    ModelFailed,
    ModelText,
    ModelToolCall,
    ModelUsage,
    ToolReturned,
)
from engine.messages.playout import Played
from engine.messages.records import Counted, Record, Timing, TokensUsed
from engine.messages.reply import ReplyEnded, Sentence
from engine.messages.supervision import NEVER, Tick
from engine.messages.turns import Backchannel, BargedIn, CallerIdle, TurnEnded, TurnExpected, TurnResumed
from tests.actors.steps import after, only, ran, sent, step, waited

PHRASES = {
    "greeting": "Hello, this is the clinic.",
    "still_there": "Are you there?",
    "goodbye": "Goodbye.",
    "apology": "Sorry.",
    "transfer": "One moment.",
}
IDLE = Agent(policy=AgentPolicy(phrases=PHRASES, last_s=0.0))
CLOSED = LineClosed(reason="stop", at_s=90.0)
ENDED = TurnEnded(turn=1, text="book me.", end_s=99.0)
SAID = CallerSaid(turn=1, text="book me")

EXPECTING = after(
    IDLE,
    (TurnExpected(turn=1, text="book me"), 4.0),
    (ModelAsked(request="r1", vendor="a"), 4.0),
    (ModelUsage(request="r1", input_tokens=900, output_tokens=1), 4.3),
)
"""Turn 1 is expected to have ended, and request r1 is under way since 4.0."""

HEADED = after(EXPECTING, (ModelText(request="r1", text="Of course. Nine "), 4.5))
"""It has begun to answer."""


def text(request: str, said: str) -> ModelText:
    return ModelText(request=request, text=said)


def tool(request: str, call: str) -> ModelToolCall:
    return ModelToolCall(request=request, id=call, name="find", arguments={})


def end_turn(request: str) -> ModelEnded:
    return ModelEnded(request=request, stop="end_turn")


def wasted(output_tokens: int, request: str = "r1", vendor: str = "a") -> TokensUsed:
    return TokensUsed(
        request=request, turn=1, vendor=vendor, input_tokens=900, output_tokens=output_tokens, wasted=True
    )


# What is asked ahead.


def test_a_turn_that_may_have_ended_is_asked_about_and_nobody_is_told() -> None:
    core, told = ran(IDLE, (TurnExpected(turn=1, text="book me"), 4.0))
    assert told == [AskModel(request="r1", turn=1, conversation=(SAID,))]
    assert core.conversation == ()
    assert core.deadline == 6.5
    core, told = ran(core, (text("r1", "Of course. Nine"), 4.4), (tool("r1", "t1"), 4.5))
    assert told == []
    assert core.conversation == ()


def test_a_turn_that_ends_as_expected_is_answered_by_what_came() -> None:
    core, told = ran(HEADED, (ENDED, 5.0))
    assert told == [
        Record(position=0, entry=CallerSaid(turn=1, text="book me."), at_s=5.0),
        Counted(name="eager_saved_s", amount=0.5),
        Timing(turn=1, stage="first_token", at_s=5.0),
        Sentence(turn=1, index=0, text="Of course."),
        Timing(turn=1, stage="first_clause", at_s=5.0),
        Record(position=1, entry=AgentSaid(turn=1, text="Of course."), at_s=5.0),
    ]
    told = sent(core, (text("r1", "or ten?"), 5.1), (ModelEnded(request="r1", stop="end_turn"), 5.2))
    assert only(Sentence, told) == [Sentence(turn=1, index=1, text="Nine or ten?")]
    assert told[-1] == ReplyEnded(turn=1, pieces=2)


@pytest.mark.parametrize("words", ["book me", "Book me!", " book,  ME "])
def test_words_are_as_expected_whatever_their_case_and_punctuation(words: str) -> None:
    told = sent(HEADED, (attrs.evolve(ENDED, text=words), 5.0))
    assert only(AskModel, told) == []
    assert only(CancelModel, told) == []
    assert only(Record, told)[0].entry == CallerSaid(turn=1, text=words)


@pytest.mark.parametrize(
    "ended",
    [
        attrs.evolve(ENDED, text="book me in"),
        attrs.evolve(ENDED, text="book"),
        attrs.evolve(ENDED, turn=2),
    ],
)
def test_a_turn_that_ends_otherwise_is_asked_about_anew(ended: TurnEnded) -> None:
    core, told = ran(HEADED, (ended, 5.0))
    assert only(CancelModel, told) == [CancelModel(request="r1")]
    assert [each.conversation for each in only(AskModel, told)] == [(CallerSaid(turn=ended.turn, text=ended.text),)]
    assert only(TokensUsed, told) == [wasted(1)]
    assert core.eager is None
    assert ran(core, (text("r1", "No."), 5.1)) == (core, [])


@pytest.mark.parametrize(
    ("takes_back", "output_tokens"),
    [
        (TurnResumed(turn=1), 1),
        (BargedIn(turn=1, at_s=4.9), 1),
        (BargedIn(turn=0, at_s=4.9), 1),
        (CLOSED, 1),
        (CallerIdle(turn=1), 1),
    ],
)
def test_a_turn_that_does_not_end_leaves_no_trace_but_what_it_cost(takes_back: object, output_tokens: int) -> None:
    core, told = ran(HEADED, (takes_back, 5.0))
    assert told[:2] == [CancelModel(request="r1"), wasted(output_tokens)]
    plain, more = ran(attrs.evolve(IDLE, asked=1), (takes_back, 5.0))
    assert (core, told[2:]) == (plain, more)


def test_other_words_are_asked_about_instead_and_the_same_only_once() -> None:
    core, told = ran(HEADED, (TurnExpected(turn=1, text="Book me."), 4.5))
    assert (core, told) == (HEADED, [])
    core, told = ran(HEADED, (TurnExpected(turn=1, text="book me in"), 4.5))
    assert told == [
        CancelModel(request="r1"),
        wasted(1),
        AskModel(request="r2", turn=1, conversation=(CallerSaid(turn=1, text="book me in"),)),
    ]
    assert only(AskModel, sent(core, (attrs.evolve(ENDED, text="book me in"), 5.0))) == []


REPLYING = after(IDLE, (ENDED, 5.0))
ANSWERED = after(REPLYING, (text("r1", "Of course."), 5.5), (ModelEnded(request="r1", stop="end_turn"), 5.6))


@pytest.mark.parametrize(
    "busy",
    [
        REPLYING,
        after(REPLYING, (tool("r1", "t1"), 5.5), (ModelEnded(request="r1", stop="tool_use"), 5.6)),
        after(
            REPLYING,
            (tool("r1", "t1"), 5.5),
            (BargedIn(turn=1, at_s=5.6), 5.6),
            (Played(turn=1, heard="", settled=True), 5.6),
        ),
        after(ANSWERED, (BargedIn(turn=1, at_s=6.0), 6.0)),
        after(ANSWERED, (CLOSED, 6.0)),
    ],
    ids=["a reply", "its tools", "tools of a turn that is over", "settling", "the end"],
)
def test_nothing_is_asked_ahead_while_something_else_is_in_hand(busy: Agent) -> None:
    assert ran(busy, (TurnExpected(turn=2, text="and on friday"), 6.1)) == (busy, [])


def test_nothing_is_asked_ahead_about_a_turn_that_is_over() -> None:
    assert ran(ANSWERED, (TurnExpected(turn=1, text="hello"), 6.1)) == (ANSWERED, [])


def test_an_answer_to_what_was_said_before_something_else_was_noted_is_not_taken() -> None:
    core = after(ANSWERED, (TurnExpected(turn=2, text="friday"), 7.0), (text("r2", "Yes."), 7.2))
    core = after(core, (ToolReturned(id="t9", ok=True, value="late"), 7.3))
    told = sent(core, (TurnEnded(turn=2, text="friday", end_s=7.0), 7.5))
    assert only(CancelModel, told) == [CancelModel(request="r2")]
    assert [each.request for each in only(AskModel, told)] == ["r3"]


# Tools.


def test_a_tool_that_was_asked_for_ahead_runs_when_the_turn_has_ended() -> None:
    core, told = ran(EXPECTING, (tool("r1", "t1"), 4.5), (ModelEnded(request="r1", stop="tool_use"), 4.6))
    assert told == []
    core, told = ran(core, (ENDED, 5.0))
    assert only(CallTool, told) == [CallTool(id="t1", turn=1, name="find", arguments={})]
    assert core.wait.tools_due == 15.0
    told = sent(core, (ToolReturned(id="t1", ok=True, value="9:00"), 5.5))
    assert [each.request for each in only(AskModel, told)] == ["r2"]


def test_a_tool_that_was_asked_for_in_vain_never_runs() -> None:
    told = sent(EXPECTING, (tool("r1", "t1"), 4.5), (TurnResumed(turn=1), 4.6), (ENDED, 5.0))
    assert only(CallTool, told) == []


# Failures and time.


def test_a_failure_ahead_is_forgotten_and_the_model_is_asked_when_the_turn_ends() -> None:
    failed = ModelFailed(request="r1", reason="gone", vendor="a", kinds=("401", "refused"))
    core, told = ran(HEADED, (text("r1", "or ten"), 4.5), (failed, 4.5))
    assert told == [wasted(2)]
    core, told = ran(core, (ENDED, 5.0))
    assert [(each.request, each.without) for each in only(AskModel, told)] == [("r2", ())]
    assert (core.reply is not None, core.failed.count, core.deadline) == (True, 0, 7.5)


def test_a_model_that_is_silent_ahead_is_given_up_as_any_is() -> None:
    assert EXPECTING.deadline == 6.5
    core, told = step(EXPECTING, Tick(), 6.5)
    assert told == [CancelModel(request="r1", stalled=True), wasted(1)]
    assert core == attrs.evolve(IDLE, asked=1)
    assert HEADED.deadline == 7.5
    assert sent(HEADED, (Tick(), 7.5))[0] == CancelModel(request="r1", stalled=True)


def test_one_that_has_said_all_is_not_waited_for() -> None:
    assert after(HEADED, (ModelEnded(request="r1", stop="end_turn"), 4.5)).deadline == NEVER


def test_a_model_that_has_said_nothing_yet_has_been_asked_since_it_was_asked() -> None:
    core = after(EXPECTING, (ENDED, 6.0))
    assert core.deadline == 6.5
    core, told = step(core, Tick(), 6.5)
    assert told == [
        CancelModel(request="r1", stalled=True),
        wasted(1),
        AskModel(request="r2", turn=1, conversation=(CallerSaid(turn=1, text="book me."),)),
    ]


def test_one_that_has_begun_has_its_time_from_when_the_turn_ended() -> None:
    core = after(HEADED, (ENDED, 7.0))
    assert core.deadline == 10.0
    assert after(core, (text("r1", "or"), 9.9)).deadline == pytest.approx(12.9)


@pytest.mark.parametrize(
    ("came_at", "ended_at", "saved_s"),
    [(4.5, 5.0, 0.5), (4.5, 9.0, 0.5), (4.5, 4.75, 0.5), (None, 4.25, 0.25), (None, 5.0, 1.0)],
)
def test_what_is_saved_is_the_wait_for_the_first_token_as_far_as_it_is_over(
    came_at: float | None, ended_at: float, saved_s: float
) -> None:
    core = EXPECTING if came_at is None else after(EXPECTING, (text("r1", "Of"), came_at), (text("r1", " so"), 4.75))
    (counted,) = only(Counted, sent(core, (ENDED, ended_at)))
    assert (counted.name, counted.amount) == ("eager_saved_s", saved_s)


def test_a_tool_or_the_end_is_a_first_token_too() -> None:
    for first in (tool("r1", "t1"), ModelEnded(request="r1", stop="end_turn")):
        (counted,) = only(Counted, sent(EXPECTING, (first, 4.6), (ENDED, 5.0)))
        assert counted.amount == pytest.approx(0.6)


# What requests cost.

ASKED = after(
    IDLE,
    (ENDED, 5.0),
    (ModelAsked(request="r1", vendor="a"), 5.0),
    (ModelUsage(request="r1", input_tokens=900, output_tokens=1), 5.3),
)


def cost(output_tokens: int, *, in_vain: bool = False) -> list[TokensUsed]:
    return [attrs.evolve(wasted(output_tokens), wasted=in_vain)]


def test_a_whole_answer_costs_what_its_vendor_says() -> None:
    done = (
        (ModelUsage(request="r1", input_tokens=900, output_tokens=58), 5.6),
        (ModelEnded(request="r1", stop="end_turn"), 5.7),
    )
    assert only(TokensUsed, sent(ASKED, (text("r1", "Of course."), 5.5), *done)) == cost(58)
    assert only(TokensUsed, sent(ASKED, *done)) == cost(58)


FAILED = ModelFailed(request="r1", reason="gone", vendor="a", kinds=("down",))


@pytest.mark.parametrize("over", [(BargedIn(turn=1, at_s=6.0), 6.0), (CLOSED, 6.0), (FAILED, 6.0), (Tick(), 9.0)])
def test_an_answer_that_is_cut_short_costs_as_many_tokens_as_texts_came_and_is_in_vain_if_nothing_was_said(
    over: tuple[object, float],
) -> None:
    assert only(TokensUsed, sent(ASKED, over)) == cost(1, in_vain=True)
    three = ((text("r1", "We"), 5.5), (text("r1", " have"), 5.6), (text("r1", " two."), 5.7))
    assert only(TokensUsed, sent(ASKED, *three, over)) == cost(3, in_vain=True)
    assert only(TokensUsed, sent(ASKED, *three, (text("r1", " Nine "), 5.8), over)) == cost(4)
    assert only(TokensUsed, sent(ASKED, (tool("r1", "t1"), 5.8), over)) == cost(1)


def test_a_phrase_that_tells_to_wait_is_no_use_of_the_answer() -> None:
    waiting = attrs.evolve(ASKED, policy=attrs.evolve(IDLE.policy, phrases={**PHRASES, "one_moment": "One moment."}))
    core = waited(attrs.evolve(waiting, wait=Wait(filler_due=6.8)), 7.0)[0]
    assert only(TokensUsed, sent(core, (BargedIn(turn=1, at_s=7.1), 7.1))) == cost(1, in_vain=True)


def test_of_a_request_whose_vendor_does_not_count_nothing_is_told() -> None:
    core = after(IDLE, (ENDED, 5.0), (ModelAsked(request="r1", vendor="local"), 5.0))
    assert (
        only(TokensUsed, sent(core, (text("r1", "Yes."), 5.1), (ModelEnded(request="r1", stop="end_turn"), 5.2))) == []
    )


def test_an_eager_answer_that_was_taken_is_paid_for_once_and_not_in_vain() -> None:
    steps = (ENDED, 5.0), (ModelUsage(request="r1", input_tokens=900, output_tokens=58), 5.1)
    assert only(TokensUsed, sent(HEADED, *steps, (ModelEnded(request="r1", stop="end_turn"), 5.2))) == cost(58)
    whole = after(
        HEADED,
        (ModelUsage(request="r1", input_tokens=900, output_tokens=58), 4.5),
        (ModelEnded(request="r1", stop="end_turn"), 4.6),
    )
    assert only(TokensUsed, sent(whole, (ENDED, 5.0))) == cost(58)
    assert only(TokensUsed, sent(whole, (TurnResumed(turn=1), 5.0))) == cost(58, in_vain=True)


def test_what_a_vendor_has_counted_at_the_end_stands() -> None:
    signs = ((text("r1", "\n"), 5.5), (text("r1", ""), 5.6), (text("r1", ""), 5.7))
    done = (ModelUsage(request="r1", input_tokens=900, output_tokens=2), 5.8), (end_turn("r1"), 5.9)
    assert only(TokensUsed, sent(ASKED, *signs, *done)) == cost(2)
    assert only(TokensUsed, sent(EXPECTING, *signs, *done, (TurnResumed(turn=1), 6.0))) == cost(2, in_vain=True)


# Salvage.


@pytest.mark.parametrize("core", [EXPECTING, HEADED])
def test_a_fresh_core_goes_on_expecting_and_a_bare_one_does_not(core: Agent) -> None:
    assert IDLE.fresh(core) == core
    assert IDLE.bare(core) == attrs.evolve(IDLE, asked=1)


# Whatever comes: the same conversation as without.

Script = list[str]


@attrs.define
class World:
    """A core, and a model whose answer depends on what it is shown alone."""

    core: Agent
    scripts: list[Script]
    sent: dict[str, int] = attrs.field(factory=dict)
    shown: dict[str, AskModel] = attrs.field(factory=dict)
    told: list[object] = attrs.field(factory=list)

    def step(self, message: object, now: float) -> list[object]:
        """Take a step; return what it sent that anybody hears of."""
        self.core, effects = step(self.core, message, now)
        for asked in only(AskModel, effects):
            self.shown[asked.request] = asked
            effects += self.step(ModelAsked(request=asked.request, vendor="a"), now)
        self.told += effects
        return [each for each in effects if not isinstance(each, AskModel | CancelModel | TokensUsed | Counted)]

    def wait(self, until: float) -> list[object]:
        effects: list[object] = []
        while self.core.deadline <= until:
            effects += self.step(Tick(), self.core.deadline)
        return effects

    def says(self, request: str, now: float) -> list[object]:
        """Have the model say its next thing, if it has any."""
        asked = self.shown[request]
        answers = sum(isinstance(each, ToolAnswered) for each in asked.conversation)
        script = self.scripts[(asked.turn + answers) % len(self.scripts)]
        at = self.sent.get(request, 0)
        if at >= len(script):
            return []
        self.sent[request] = at + 1
        return self.step(event(script[at], request, f"t{asked.turn}-{answers}-{at}"), now)


def event(kind: str, request: str, tool_id: str) -> object:
    match kind:
        case "usage":
            return ModelUsage(request=request, input_tokens=9, output_tokens=3)
        case "find" | "end_call":
            return ModelToolCall(request=request, id=tool_id, name=kind, arguments={})
        case "end_turn" | "tool_use" | "refusal":
            return ModelEnded(request=request, stop=kind)
        case "down" | "529" | "refused":
            return ModelFailed(request=request, reason="gone", vendor="a", kinds=(kind,))
        case _:
            return ModelText(request=request, text=kind)


SAYS = st.sampled_from(["Of course. ", "one two ", "three, four five. ", "usage", "find", END_CALL])
STOPS = st.sampled_from(["end_turn", "end_turn", "tool_use", "refusal", "down", "529", "refused"])
SCRIPTS = st.lists(
    st.tuples(st.lists(SAYS, max_size=4), STOPS).map(lambda both: ["usage", *both[0], both[1]]), min_size=1, max_size=4
)
WORDS = st.sampled_from(["book me", "Book me.", "book me in", "no"])
ACTIONS = st.one_of(
    st.tuples(st.just("expect"), WORDS),
    st.tuples(st.just("expect"), WORDS),
    st.tuples(st.just("resume"), st.just("")),
    st.tuples(st.just("end"), WORDS),
    st.tuples(st.just("model"), st.just("")),
    st.tuples(st.just("model"), st.just("")),
    st.tuples(st.just("model"), st.just("")),
    st.tuples(st.just("barge"), st.sampled_from(["", "Of", "Of course. one"])),
    st.tuples(st.just("return"), st.just("")),
    st.tuples(st.just("idle"), st.just("")),
    st.tuples(st.just("backchannel"), st.just("uh-huh")),
)
GAPS = st.sampled_from([0.0, 0.1, 0.7, 3.0])
TIMED = st.tuples(GAPS, ACTIONS)


@st.composite
def turns(draw: st.DrawFn) -> list[tuple[float, tuple[str, str]]]:
    """A caller's turn that is expected, mostly in vain for some reason or none, and what follows."""
    words = draw(WORDS)
    says = [(0.1, ("model", ""))]
    plan = [(draw(GAPS), ("expect", words)), *(says * draw(st.integers(0, 6)))]
    plan += draw(st.just([]) | st.lists(TIMED, max_size=2))
    plan.append((draw(GAPS), ("end", draw(st.just(words) | WORDS))))
    plan += says * draw(st.integers(0, 6))
    return [*plan, *draw(st.lists(TIMED, max_size=4))]


PATIENT = AgentPolicy(
    phrases={**PHRASES, "one_moment": "One moment."},
    first_token_s=1000.0,
    stall_s=1000.0,
    tone_s=3.0,
    firm=("of course",),
)


@settings(max_examples=300)
@given(st.lists(turns(), max_size=5), SCRIPTS)
def test_whatever_was_expected_the_call_is_the_same_as_without(
    plan: list[list[tuple[float, tuple[str, str]]]], scripts: list[Script]
) -> None:
    """The oracle is the same core that is told nothing ahead, and whose model then says at once what had come."""
    eager, plain = World(Agent(policy=PATIENT), scripts), World(Agent(policy=PATIENT), scripts)
    now, turn = 0.0, 1
    for gap, (action, words) in itertools.chain(*plan):
        now += gap
        assert eager.wait(now) == plain.wait(now)
        both: list[object] = []
        match action:
            case "expect":
                assert eager.step(TurnExpected(turn=turn, text=words), now) == []
            case "resume":
                assert eager.step(TurnResumed(turn=turn), now) == []
            case "end":
                ended = TurnEnded(turn=turn, text=words, end_s=now)
                turn += 1
                ahead = eager.core.eager
                known = len(eager.told)
                heard = eager.step(ended, now)
                expected = plain.step(ended, now)
                if ahead is not None and CancelModel(request=ahead.request) not in eager.told[known:]:
                    assert only(Counted, eager.told[known:])
                    for _ in range(sum(not isinstance(each, ModelAsked) for each in ahead.came)):
                        expected += plain.says(plain.core.reply.request if plain.core.reply else last(plain), now)
                assert heard == expected
            case "model" if eager.core.eager is not None:
                assert eager.says(eager.core.eager.request, now) == []
            case "model" if eager.core.reply is not None and eager.core.reply.request:
                assert plain.core.reply is not None
                heard = eager.says(eager.core.reply.request, now)
                assert heard == plain.says(plain.core.reply.request, now)
            case "barge":
                both = [BargedIn(turn=turn - 1, at_s=now), Played(turn=turn - 1, heard=words, settled=True)]
            case "return" if eager.core.wait.tools:
                both = [ToolReturned(id=min(eager.core.wait.tools), ok=True, value="9:00")]
            case "idle":
                both = [CallerIdle(turn=turn)]
                turn += 1
            case "backchannel":
                both = [Backchannel(turn=turn - 1, text=words, at_s=now)]
            case _:
                pass
        for message in both:
            assert eager.step(message, now) == plain.step(message, now)
        assert unnumbered(eager.core) == unnumbered(plain.core)
        assert eager.core.eager is None or not busy(eager.core)
    assert eager.step(CLOSED, now) == plain.step(CLOSED, now)
    paid = [each.request for each in only(TokensUsed, eager.told)]
    assert sorted(paid) == sorted(set(paid))
    assert set(paid) == {name for name in eager.shown if eager.sent.get(name)}
    assert well_formed(eager.core)


def last(world: World) -> str:
    return f"r{world.core.asked}"


def unnumbered(core: Agent) -> Agent:
    """The core but for the names of its requests, and what it was told ahead."""
    reply = core.reply
    if reply is not None and reply.asked is not None:
        usage = None if reply.asked.usage is None else attrs.evolve(reply.asked.usage, request="")
        # While the model is waited for, it is since it was asked.
        due = NEVER if reply.due > 500.0 else reply.due
        reply = attrs.evolve(reply, asked=attrs.evolve(reply.asked, id="", usage=usage, due=due))
    return attrs.evolve(core, asked=0, eager=None, reply=reply)


def busy(core: Agent) -> bool:
    return core.reply is not None or bool(core.wait.tools) or core.settling is not None or core.line is not None


def well_formed(core: Agent) -> bool:
    """Whether turns are in order, and no note stands between a call and its answer."""
    turns = [each.turn for each in core.conversation]
    waiting = set[str]()
    for entry in core.conversation:
        match entry:
            case ToolCalled(id=id_):
                waiting.add(id_)
            case ToolAnswered(id=id_):
                waiting.discard(id_)
            case Noted():
                if waiting and not any(each in core.wait.tools for each in waiting):
                    return False
            case _:
                pass
    return turns == sorted(turns)
