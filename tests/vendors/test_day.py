"""A day at a telephone line with the real vendors' clients: eight callers at once, over real sockets, to strict peers.

Everything happens once, much of it at once, to keep the wall clock short; the tests then ask what came of it.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from simulators.anthropic import AnthropicSimulator, Latency, MessagesRequest, Reply, UseTool, echo
from simulators.caller import AwaitHangUp, HangUp, Interrupt, Listen, Say, Step
from simulators.events import Cleared, Dialled
from simulators.twilio.record import CallRecord
from tests.vendors.house import GREETING, KEYS, TOKEN, House, said_back, talk, words

pytestmark = pytest.mark.xdist_group("vendors")

TURNS = ("good morning", "i need a check up", "on thursday please", "that is all")
OTHERS = [(f"{name} here", f"{name} again") for name in ("ada", "bert", "cora")]
LONG = "well, " + " ".join(f"word{number}" for number in range(40)) + "."
SLOW = "on thursday morning, " + " ".join(f"there{number}" for number in range(12)) + "."
BREAKS_IN: tuple[Step, ...] = (
    Listen(silence_s=0.6),
    Say(text="tell me everything"),
    Interrupt(after_s=1.0),
    Say(text="stop that now please"),
    Listen(silence_s=0.6),
    HangUp(),
)
FREE = [UseTool("find_free_slots", {"day": "2027-03-01"}), UseTool("find_free_slots", {"day": "2027-03-02"})]


def mind(request: MessagesRequest) -> Reply:
    """What the simulated Claude says to whom."""
    text = request.last_user_text
    if request.results:
        return Reply.of("both are free.")
    if text == "tell me everything":
        return Reply.of(LONG)
    if text.endswith("stop that now please"):
        return Reply.of("of course.")
    if text == "when are you free":
        return Reply.of(SLOW)
    if text == "is monday or tuesday free":
        return Reply.of("let me look.", *FREE)
    if text == "a person please":
        return Reply.of("i will put you through.", UseTool("transfer_to_person"))
    answer = echo()(request)
    assert isinstance(answer, Reply)
    return answer


@attrs.frozen(kw_only=True)
class Day:
    """What came of the day. early: whether the first clause of `SLOW` was spoken while the model still wrote."""

    house: House
    four_turns: CallRecord
    others: Sequence[CallRecord]
    broken_in: CallRecord
    with_tools: CallRecord
    put_through: CallRecord
    early: bool

    def asked(self, *turns: str) -> list[str]:
        """What the model was told of these turns, in the order in which it came."""
        return [text for text in self.house.asked if text in turns]


async def live_through(folder: Path) -> Day:
    """Live through the day, in about half a minute."""
    # The line is signed with the token that is being replaced.
    keys = attrs.evolve(KEYS, auth_tokens=("a-new-auth-token", TOKEN))
    house = House(folder=folder, keys=keys)
    house.anthropic = AnthropicSimulator(
        mind=mind, latency=Latency(started_s=0.05, first_token_s=0.1, between_tokens_s=0.03, tokens_per_piece=1)
    )
    house.use_clinic()
    records: dict[str, CallRecord] = {}
    early = False

    async def call(name: str, *steps: Step, number: int) -> None:
        records[name] = await house.call(*steps, caller=f"+155501001{number:02}")

    async def watch() -> None:
        nonlocal early
        while True:
            await trio.sleep(0.02)
            slow = [each for each in house.anthropic.requests if each.request.last_user_text == "when are you free"]
            if slow and "on thursday morning," in house.spoken_so_far():
                early = not slow[0].over.is_set()
                return

    async with house.open(), trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for number, (name, steps) in enumerate(
            {
                "four turns": talk(TURNS),
                **{f"other {number}": talk(turns) for number, turns in enumerate(OTHERS)},
                "breaks in": BREAKS_IN,
                "tools": talk(["is monday or tuesday free"]),
                "a person": (*talk(["a person please"])[:-1], AwaitHangUp()),
                "slow": talk(["when are you free"]),
            }.items()
        ):
            nursery.start_soon(partial(call, name, *steps, number=number))
    return Day(
        house=house,
        four_turns=records["four turns"],
        others=[records[f"other {number}"] for number in range(len(OTHERS))],
        broken_in=records["breaks in"],
        with_tools=records["tools"],
        put_through=records["a person"],
        early=early,
    )


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("day")
        patch.chdir(folder)
        return trio.run(live_through, folder)


def test_no_rule_of_a_vendors_or_of_the_phone_networks_was_broken(day: Day) -> None:
    assert day.house.wrongs == []
    records = [day.four_turns, *day.others, day.broken_in, day.with_tools, day.put_through]
    assert [record.refused for record in records] == [()] * len(records)


def test_every_word_of_four_turns_reaches_the_model_and_is_written_down(day: Day) -> None:
    assert day.asked(*TURNS) == list(TURNS)
    assert day.house.store_has(day.four_turns.call_sid) == list(TURNS)


def test_every_reply_of_four_turns_is_heard_to_its_last_frame(day: Day) -> None:
    assert words(day.four_turns) == [*GREETING.split(), *(word for turn in TURNS for word in said_back(turn))]


@pytest.mark.parametrize("number", range(len(OTHERS)))
def test_calls_at_once_do_not_meet(day: Day, number: int) -> None:
    expected = [*GREETING.split(), *(word for turn in OTHERS[number] for word in said_back(turn))]
    assert words(day.others[number]) == expected


def test_a_caller_who_breaks_in_stops_the_agent_and_is_answered(day: Day) -> None:
    heard = words(day.broken_in)
    assert day.broken_in.all_of(Cleared)
    assert heard[-2:] == ["of", "course."]
    assert "word39." not in heard
    assert any(text.endswith("stop that now please") for text in day.house.asked)


def test_tools_asked_for_together_are_run_and_answered_together(day: Day) -> None:
    (answered,) = [each.request for each in day.house.anthropic.requests if each.request.results]
    assert [each.is_error for each in answered.results] == [False, False]
    assert words(day.with_tools)[-6:] == ["let", "me", "look.", "both", "are", "free."]


def test_a_caller_who_asks_for_a_person_is_put_through(day: Day) -> None:
    assert words(day.put_through)[-5:] == ["i", "will", "put", "you", "through."]
    assert [each.number for each in day.put_through.all_of(Dialled)] == ["+15550100003"]


def test_the_first_clause_is_spoken_while_the_model_still_writes(day: Day) -> None:
    assert day.early
