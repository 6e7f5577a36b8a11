"""The Agent and a Claude that is strict about what it is asked: no request may be refused, whatever went wrong."""

from collections import deque

import attrs
import pytest
import structlog
import trio

from engine.actors.agent import Agent, AgentPolicy, Inbox
from engine.errands import Errands
from engine.messages.conversation import AgentSaid
from engine.messages.model import AskModel, CallTool, CancelModel
from engine.messages.records import TokensUsed
from engine.messages.reply import PlayClip, ReplyEnded, Sentence
from engine.messages.supervision import NEVER, Tick
from engine.messages.turns import TurnEnded, TurnExpected, TurnResumed
from engine.providers.claude import ClaudeModel
from simulators.anthropic import AnthropicSimulator
from simulators.anthropic.events import INSTANT
from simulators.anthropic.memory import MemoryTransport
from simulators.anthropic.minds import Mind
from simulators.anthropic.reply import Answer, Break, How, Refuse, Reply, UseTool
from simulators.anthropic.request import MessagesRequest
from simulators.virtual.vendors import VirtualTools

ANSWER = "We have two times on Friday. Nine in the morning. Or four in the afternoon. Which one suits you?"
BOOK = UseTool("book", {"time": "nine"})
PHRASES = {"apology": "Sorry.", "one_moment": "One moment, please.", "goodbye": "Goodbye."}


def honest(request: MessagesRequest) -> str:
    """Go on after the words that are quoted, as one that understands what it is asked."""
    _, quoted, rest = request.last_user_text.partition("cut off after: “")
    if not quoted:
        return ANSWER
    said = rest.partition("” Go on")[0]
    assert ANSWER.startswith(said)
    return ANSWER.removeprefix(said).strip()


def breaking(*troubles: Answer | Break | None) -> Mind:
    """A mind whose next answers break off so, or are these; after that it is honest."""
    rest = deque(troubles)

    def answer(request: MessagesRequest) -> Answer:
        trouble = rest.popleft() if rest else None
        if isinstance(trouble, Reply | Refuse):
            return trouble
        return attrs.evolve(Reply.of(honest(request)), broken=trouble)

    return answer


@attrs.define
class Heard:
    """What came of a turn: what is said, by piece, and what the model's requests cost."""

    core: Agent
    said: list[str] = attrs.field(factory=list)
    costs: list[TokensUsed] = attrs.field(factory=list)
    over: bool = False


async def answered(
    mind: Mind, tools: VirtualTools, *before: Inbox, impatient: bool = False, last_s: float = 1.0
) -> tuple[Heard, AnthropicSimulator]:
    """Have the Agent answer one turn.

    before: what it is told before that, each once nothing else happens. impatient: so is what it waits for over.
    """
    simulator = AnthropicSimulator(mind=mind, latency=INSTANT)
    mailbox = deque[Inbox]()
    told = deque[Inbox]([*before, TurnEnded(turn=1, text="book me for Friday", end_s=0.0)])
    heard = Heard(Agent(policy=AgentPolicy(phrases=PHRASES, retry_s=0.01, last_s=last_s)))
    async with trio.open_nursery() as nursery:

        async def connect() -> trio.abc.Stream:
            ours, its = trio.testing.memory_stream_pair()
            nursery.start_soon(simulator.serve_stream, its)
            return ours

        model = ClaudeModel(base_url="http://claude.test", api_key="sk-key", transport=MemoryTransport(connect))
        errands = Errands(
            models=(model,),
            tools=tools,
            prompt="You answer the phone.",
            tell_agent=mailbox.append,
            tell_result=mailbox.append,
            log=structlog.get_logger(),
        )
        await nursery.start(errands.supervisor.run)
        now = 0.0
        with trio.fail_after(20.0):
            while not heard.over:
                await trio.testing.wait_all_tasks_blocked(0.005)
                if not mailbox and told:
                    mailbox.append(told.popleft())
                # Time goes by only where something is waited for on purpose.
                if not mailbox and (impatient or heard.core.deadline - now < 0.1) and heard.core.deadline < NEVER:
                    now = heard.core.deadline
                    mailbox.append(Tick())
                if not mailbox:
                    continue
                heard.core, effects = heard.core.handle(mailbox.popleft(), now)
                for effect in effects:
                    match effect:
                        case AskModel() | CallTool() | CancelModel():
                            errands.put(effect)
                        case Sentence(text=text):
                            heard.said.append(text)
                        case PlayClip(clip=clip):
                            heard.said.append(PHRASES[clip])
                        case TokensUsed():
                            heard.costs.append(effect)
                        case ReplyEnded():
                            heard.over = True
                        case _:
                            pass
        nursery.cancel_scope.cancel()
    return heard, simulator


@pytest.mark.parametrize("how", [How.ERROR, How.CUT, How.RESET, How.END])
@pytest.mark.parametrize("after_tokens", [0, 3, 9, 16, 22])
async def test_wherever_an_answer_breaks_off_the_next_is_asked_validly_and_no_word_is_said_twice(
    how: How, after_tokens: int
) -> None:
    mind = breaking(Break(how=how, after_tokens=after_tokens))
    heard, simulator = await answered(mind, VirtualTools())
    assert simulator.violations == []
    assert len(simulator.requests) == 2
    assert " ".join(heard.said) == ANSWER
    assert heard.core.conversation[-1] == AgentSaid(turn=1, text=ANSWER)


async def test_an_answer_that_breaks_off_twice_ends_politely_where_nobody_else_is_to_be_asked() -> None:
    twice = breaking(*[Break(how=How.CUT, after_tokens=9)] * 2)
    heard, simulator = await answered(twice, VirtualTools(), last_s=0.0)
    assert simulator.violations == []
    assert heard.said == ["We have two times on Friday.", "Nine in the morning.", "Sorry."]


async def test_overload_and_silence_are_got_over_with_valid_requests() -> None:
    heard, simulator = await answered(breaking(Refuse(status=529)), VirtualTools())
    assert (simulator.violations, heard.said[0]) == ([], "We have two times on Friday.")
    heard, simulator = await answered(breaking(Break(how=How.STALL)), VirtualTools(), impatient=True)
    assert simulator.violations == []
    assert " ".join(heard.said) == f"One moment, please. {ANSWER}"
    heard, simulator = await answered(breaking(Break(how=How.STALL, after_tokens=9)), VirtualTools(), impatient=True)
    assert simulator.violations == []
    assert " ".join(heard.said).replace("One moment, please. ", "") == ANSWER


async def test_a_tool_that_was_called_is_shown_after_a_death_and_runs_once_though_it_is_asked_for_again() -> None:
    """The request after the tool dies; the one after that asks for the same again, under another id."""
    tools = VirtualTools(takes_s=0.0)
    mind = breaking(Reply.of("Let me book that.", BOOK), Break(how=How.CUT), Reply.of(BOOK), None)
    heard, simulator = await answered(mind, tools)
    assert simulator.violations == []
    assert len(tools.runs) == 1
    assert [exchange.request.results[0].text for exchange in simulator.requests[1:]] == ["booked"] * 3
    assert " ".join(heard.said) == f"Let me book that. {ANSWER}"


EXPECTED = TurnExpected(turn=1, text="Book me for Friday.")


async def test_an_answer_that_was_begun_before_the_turn_had_ended_is_the_answer() -> None:
    tools = VirtualTools(takes_s=0.0)
    heard, simulator = await answered(breaking(Reply.of("Let me book that.", BOOK), None), tools, EXPECTED)
    assert simulator.violations == []
    assert len(simulator.requests) == 2
    assert " ".join(heard.said) == f"Let me book that. {ANSWER}"
    assert len(tools.runs) == 1
    assert [each.wasted for each in heard.costs] == [False, False]
    assert [each.output_tokens for each in heard.costs] == [each.tokens for each in simulator.requests]


@pytest.mark.parametrize("taken_back", [(TurnResumed(turn=1),), (TurnExpected(turn=1, text="book me"),), ()])
async def test_one_that_was_begun_in_vain_is_paid_for_and_no_tool_runs_for_it(taken_back: tuple[Inbox, ...]) -> None:
    tools = VirtualTools(takes_s=0.0)
    first = EXPECTED if taken_back else TurnExpected(turn=1, text="book")
    heard, simulator = await answered(breaking(Reply.of("Let me book that.", BOOK)), tools, first, *taken_back)
    assert simulator.violations == []
    assert " ".join(heard.said) == ANSWER
    assert len(tools.runs) == 0
    assert [each.wasted for each in heard.costs] == [True] * (len(simulator.requests) - 1) + [False]
    assert all(each.input_tokens > 0 and each.vendor == "anthropic" for each in heard.costs)


async def test_one_that_breaks_off_ahead_is_asked_for_again_as_if_it_had_never_been() -> None:
    mind = breaking(Break(how=How.CUT, after_tokens=9))
    heard, simulator = await answered(mind, VirtualTools(), EXPECTED)
    assert simulator.violations == []
    assert " ".join(heard.said) == ANSWER
    assert [each.wasted for each in heard.costs] == [True, False]
    assert "cut off" not in simulator.requests[-1].request.last_user_text
