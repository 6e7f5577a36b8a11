"""Whether a call was what its scenario expects, in sentences, and what it adds to the figures."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from simulators.caller import Backchannel, Noise, Press, Say
from simulators.scenario import Expect, Scenario
from simulators.talk.account import Account, Heard, Made, Stretch, merged, plain
from simulators.talk.words import errors, spoken

_PAUSE_S: Final = 0.3
"""Silence between two sounds of the agent that belong together: at its marks it draws breath for less."""

_HELD_S: Final = 1.0
"""After a noise the agent goes on within this time, if it does; words until then may be what cut it."""

_ECHO_S: Final = 0.12
"""The agent counts as silent in good time if it ends so soon after the caller began: it was about to end anyway."""

REPEAT_S: Final = 1.0
"""What may be heard twice after a pause: the rewind, and the word that it begins in."""

SILENT_S: Final = 0.3
"""From the caller's first sound over the agent to silence, where a scenario does not say: see `Expect`."""


@attrs.frozen(kw_only=True)
class Slack:
    """What is forgiven a call that was not made of exact sounds.

    words: the share of a turn's words that may be wrong. seconds: that things may take longer.
    edge_words: by how many a reply may be heard further than it is told.
    """

    words: float = 0.0
    seconds: float = 0.0
    edge_words: int = 1


EXACT: Final = Slack()
LIVE: Final = Slack(words=0.3, seconds=0.7, edge_words=3)
"""A recogniser errs in a word of ten; it decodes for a quarter of a second, and the machine has other work."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What is to be said of a call.

    wrongs: what was not as it should be, a sentence each.
    noises, false: sounds over the agent that leave it the floor, and those that cut it.
    interruptions, missed: words over the agent that take the floor, and those that it talked through.
    premature: answers that began before the caller had finished. turns: answers.
    waits_s: from the caller's last word to the agent's first. ideal_s: the share of them that the scenario asks for.
    silences_s: from the caller's first sound over the agent to silence. stale_s: see `Account`.
    """

    wrongs: tuple[str, ...]
    noises: int = 0
    false: int = 0
    interruptions: int = 0
    missed: int = 0
    premature: int = 0
    waits_s: tuple[float, ...] = ()
    ideal_s: tuple[float, ...] = ()
    silences_s: tuple[float, ...] = ()
    stale_s: float = 0.0
    requests: int = 0
    wasted: int = 0


VOICE_S: Final = 0.1
"""The simulated voice's first sound after its words."""


def judge(scenario: Scenario, account: Account, slack: Slack = EXACT) -> Verdict:
    """Return what is to be said of a call."""
    expect = scenario.expect or Expect()
    view = _View(scenario, account, slack)
    wrongs = [
        *_end(expect, account),
        *_turns(expect, account, slack),
        *_replies(expect, view),
        *_phrases(expect, account),
    ]
    over = [each for each in account.made if view.over(each)]
    leave = [each for each in over if isinstance(each.step, Noise | Backchannel)]
    take = [each for each in over if each.takes_floor and not view.is_firm(each)]
    false = [each for each in leave if view.cut_by(each)]
    missed = [each for each in take if view.talked_through(each)]
    premature = [each for each in account.made if view.begun_in(each)]
    waits = view.waits()
    silences = {each: silent_s for each in take if (silent_s := view.silent_s(each)) is not None}
    if not set(view.expected_cut):
        wrongs += [f"{each.text!r} at {each.start_s:.2f} s cut the agent" for each in false]
    wrongs += [f"the agent talked through {each.text!r} at {each.start_s:.2f} s" for each in missed]
    wrongs += [f"the agent began to speak in the middle of {each.text!r} at {each.start_s:.2f} s" for each in premature]
    wrongs += _times(expect, view, waits, silences, leave)
    if account.stale_s > 0.0:
        wrongs.append(f"{account.stale_s:.2f} s were heard of what had been cut")
    return Verdict(
        wrongs=tuple(wrongs),
        noises=len(leave),
        false=len(false),
        interruptions=len(take),
        missed=len(missed),
        premature=len(premature),
        waits_s=tuple(wait_s for _, wait_s, _ in waits),
        ideal_s=tuple(ideal_s for _, _, ideal_s in waits),
        silences_s=tuple(silences.values()),
        stale_s=account.stale_s,
        requests=account.requests,
        wasted=account.wasted,
    )


@attrs.define
class _View:
    """A call, looked at by what the caller made and the agent was heard in."""

    scenario: Scenario
    account: Account
    slack: Slack
    speech: tuple[Stretch, ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.speech = merged(self.account.agent, _PAUSE_S)

    @property
    def expected_cut(self) -> tuple[int, ...]:
        expect = self.scenario.expect or Expect()
        return (*expect.cut, *expect.unheard)

    def over(self, made: Made) -> bool:
        """Whether the agent is heard when a sound begins, and would be for a while."""
        return any(each.start_s < made.start_s < each.end_s for each in self.speech)

    def reply_at(self, at_s: float) -> str | None:
        """Return the key of the reply that is heard at a moment, or was last."""
        begun = [key for key, heard in self.account.replies.items() if heard.start_s <= at_s]
        return max(begun, key=lambda key: self.account.replies[key].start_s, default=None)

    def is_firm(self, made: Made) -> bool:
        """Whether it is said over what is not to be cut: a scenario says so by expecting the reply to be whole."""
        expect = self.scenario.expect or Expect()
        key = self.reply_at(made.start_s)
        return key is not None and key.isdigit() and int(key) in expect.whole

    def cut_by(self, made: Made) -> bool:
        """Whether a noise cut a reply: it was never heard to its end, by no words, and nobody expected it."""
        key = self.reply_at(made.start_s)
        if key is None or self.account.replies[key].whole:
            return False
        until_s = max(self.account.replies[key].end_s, made.end_s) + _HELD_S
        words = [
            each.start_s
            for each in self.account.made
            if each.takes_floor and self.account.replies[key].start_s <= each.start_s < until_s
        ]
        expected = not words and key.isdigit() and int(key) in self.expected_cut
        return not (expected or any(at_s > made.start_s for at_s in words)) and self.account.ended_s > until_s

    def talked_through(self, made: Made) -> bool:
        """Whether the agent went on with what it was saying when the caller took the floor."""
        key = self.reply_at(made.start_s)
        if key is None:
            return False
        heard = self.account.replies[key]
        end_s = next(each.end_s for each in self.speech if each.start_s < made.start_s < each.end_s)
        lasts_s = end_s - made.start_s
        if isinstance(made.step, Press):
            return lasts_s > 2 * SILENT_S and heard.whole
        return heard.whole and heard.end_s > made.start_s + 1.0

    def begun_in(self, made: Made) -> bool:
        """Whether the agent, silent when the caller began, spoke up before the last word."""
        if not isinstance(made.step, Say) or made.step.by != "caller" or self.over(made):
            return False
        return any(made.start_s + 0.1 < each.start_s < made.end_s - 0.1 for each in self.speech)

    def waits(self) -> list[tuple[Made, float, float]]:
        """Return, for each time that the agent had to answer, how long that took, and how much of it it was made to."""
        found: list[tuple[Made, float, float]] = []
        spoke = [each for each in self.account.made if each.takes_floor]
        for count, made in enumerate(spoke):
            until_s = min((each.start_s for each in spoke[count + 1 :]), default=math.inf)
            start_s = next((each.start_s for each in self.speech if each.start_s >= made.end_s), math.inf)
            begins = any(abs(heard.start_s - start_s) < _PAUSE_S for heard in self._begun_after(made))
            if start_s < until_s and begins and not isinstance(made.step, Press):
                found.append((made, round(start_s - made.end_s, 3), self._ideal_s(start_s)))
        return found

    def _begun_after(self, made: Made) -> Iterator[Heard]:
        return (heard for heard in self.account.replies.values() if heard.start_s >= made.end_s)

    def _ideal_s(self, start_s: float) -> float:
        key = self.reply_at(start_s + 0.1)
        replies = self.scenario.agent
        return (replies[int(key) - 1].delay_s if key not in {None, "0"} and replies else 0.0) + VOICE_S

    def silent_s(self, made: Made) -> float | None:
        """Return how long the agent was still heard after a sound had begun; None where it had ended anyway."""
        end_s = next(each.end_s for each in self.speech if each.start_s < made.start_s < each.end_s)
        key = self.reply_at(made.start_s)
        ended = key is not None and self.account.replies[key].whole and end_s - made.start_s < _ECHO_S
        return None if ended else round(end_s - made.start_s, 3)

    def hushed(self, made: Made) -> bool:
        """Whether the agent fell silent for a sound."""
        end_s = next(each.end_s for each in self.speech if each.start_s < made.start_s < each.end_s)
        return end_s < made.end_s + 0.5

    def resumed_s(self, made: Made) -> float:
        """Return how long after a sound the agent went on."""
        return next((each.start_s for each in self.speech if each.start_s > made.start_s), math.inf) - made.end_s


def _end(expect: Expect, account: Account) -> Iterator[str]:
    if account.hung:
        yield "the call hung"
    if account.tasks_left:
        yield f"{account.tasks_left} tasks are left"
    if expect.ended is not None and account.ended != expect.ended:
        yield f"the call ended by {account.ended!r}, not by {expect.ended!r}"
    for waited_for in account.gave_up:
        yield f"the caller waited in vain for {waited_for}"


def _turns(expect: Expect, account: Account, slack: Slack) -> Iterator[str]:
    if expect.requests is not None and account.requests > expect.requests:
        yield f"the model was asked {account.requests} times, not {expect.requests} at most"
    if expect.tool_runs is not None and account.tool_runs != expect.tool_runs:
        yield f"tools ran {account.tool_runs} times, not {expect.tool_runs}"
    if expect.turns is None:
        return
    got, wanted = [spoken(each) for each in account.turns], [spoken(each) for each in expect.turns]
    same = len(got) == len(wanted) and all(
        errors(one, other) <= slack.words * max(len(one), 3) for one, other in zip(wanted, got, strict=True)
    )
    if not same:
        yield f"the model was given {list(account.turns)}, not {list(expect.turns)}"


def _replies(expect: Expect, view: _View) -> Iterator[str]:
    account = view.account
    edge = view.slack.edge_words
    for number in expect.whole:
        heard = account.replies[str(number)]
        if heard.missing:
            yield f"of {_reply(number)}, {heard.missing} words are missing in the middle"
        if heard.reached < heard.words:
            yield f"of {_reply(number)}, {heard.reached} of {heard.words} words were heard"
    for number in expect.cut:
        heard = account.replies[str(number)]
        if heard.reached >= heard.words:
            yield f"{_reply(number)} was heard to its end, and should have been cut"
    for number in expect.unheard:
        heard = account.replies[str(number)]
        if heard.reached > edge - 1:
            yield f"of {_reply(number)}, {heard.reached} words were heard, and none should have been"
    for key, heard in account.replies.items():
        for repeat_s in heard.repeats:
            if repeat_s > REPEAT_S:
                yield f"{repeat_s:.2f} s of {_reply(int(key))} were heard twice"
    if account.garbled:
        yield f"{account.garbled} words were broken, and nobody cut them"
    if any(each.key == "?" for each in account.passages or ()):
        strangers = [each.start_s for each in account.passages or () if each.key == "?"]
        yield f"nobody is known to have said what was heard at {', '.join(f'{at_s:.2f} s' for at_s in strangers)}"


def _reply(number: int) -> str:
    return f"reply {number}" if number else "the greeting"


def _phrases(expect: Expect, account: Account) -> Iterator[str]:
    prompts, fillers = account.phrases.get("still_there", 0), account.phrases.get("one_moment", 0)
    if expect.idle_prompts is not None and prompts != expect.idle_prompts:
        yield f"the caller was asked {prompts} times whether they are there, not {expect.idle_prompts}"
    if expect.fillers is not None and fillers != expect.fillers:
        yield f"the caller was told to wait {fillers} times, not {expect.fillers}"
    if expect.tone is not None and (account.tone_s > 0.2) != expect.tone:  # noqa: PLR2004 - less is no tone to an ear
        yield f"the hold tone was heard for {account.tone_s:.1f} s, and should {'' if expect.tone else 'not '}have been"
    words = _heard_text(account)
    if words is None:
        return
    for text in expect.heard:
        if " ".join(plain(text)) not in words:
            yield f"{text!r} was not heard"
    for text in expect.never:
        if " ".join(plain(text)) in words:
            yield f"{text!r} was heard"


def _heard_text(account: Account) -> str | None:
    return None if account.passages is None else " ".join(account.said)


def _times(
    expect: Expect,
    view: _View,
    waits: Sequence[tuple[Made, float, float]],
    silences: dict[Made, float],
    leave: Sequence[Made],
) -> Iterator[str]:
    more_s = view.slack.seconds
    if expect.answered_within_s is not None:
        for made, wait_s, _ in waits:
            if wait_s > expect.answered_within_s + more_s:
                yield f"{made.text!r} was answered after {wait_s:.2f} s, not within {expect.answered_within_s:.2f} s"
    within_s = expect.silent_within_s or SILENT_S
    for made, silent_s in silences.items():
        if silent_s > within_s + more_s:
            yield f"the agent was heard for {silent_s:.2f} s after {made.text!r} began, not {within_s:.2f} s at most"
    for made in leave:
        hushed = view.hushed(made)
        if expect.hushed is not None and hushed != expect.hushed:
            yield f"the agent {'fell' if hushed else 'did not fall'} silent for {made.text!r} at {made.start_s:.2f} s"
        resumed_s = view.resumed_s(made)
        if hushed and expect.resumed_within_s is not None and resumed_s > expect.resumed_within_s + more_s:
            yield f"the agent went on {resumed_s:.2f} s after {made.text!r}, not within {expect.resumed_within_s:.2f} s"
    if expect.max_gap_s is not None:
        yield from _gaps(expect.max_gap_s + more_s, expect.whole, view)


def _gaps(longest_s: float, whole: Sequence[int], view: _View) -> Iterator[str]:
    stretches = view.account.agent
    for before, after in itertools.pairwise(stretches):
        inside = any(
            view.account.replies[str(number)].start_s < after.start_s < view.account.replies[str(number)].end_s
            for number in whole
        )
        made = any(each.start_s < after.start_s and each.end_s > before.end_s - 1.0 for each in view.account.made)
        if inside and not made and after.start_s - before.end_s > longest_s:
            silent_s = after.start_s - before.end_s
            yield f"the agent was silent for {silent_s:.2f} s in the middle, at {before.end_s:.2f} s"
