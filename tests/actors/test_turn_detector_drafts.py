"""TurnDetector: drafts over the agent, of which more may follow."""

import attrs

from engine.actors.turn_detector import Floor
from engine.codec.grammar import Claim
from engine.messages.turns import BargedIn
from tests.actors.steps import after, only, ran, sent
from tests.actors.turns import SPEAKING, Plain, final, interim, lasted, policy, started


@attrs.frozen(kw_only=True)
class Patient(Plain):
    """A language in which "so I" may yet become "so I see"."""

    def claim(self, text: str, *, draft: bool = False) -> Claim:
        return Claim.BACKCHANNEL if draft and text == "so I" else Plain.claim(self, text)


CORE = attrs.evolve(after(SPEAKING, started(4.5), lasted(4.5, 4.58)), policy=attrs.evolve(policy(), grammar=Patient()))


def test_a_draft_that_may_yet_leave_the_floor_is_waited_for_in_silence() -> None:
    core, told = ran(CORE, (interim("so I"), 4.9))
    assert only(BargedIn, told) == []
    assert core.floor is Floor.HELD


def test_it_takes_the_floor_when_it_goes_on_or_is_final() -> None:
    core, _ = ran(CORE, (interim("so I"), 4.9))
    assert only(BargedIn, sent(core, (interim("so I want"), 5.2)))
    assert only(BargedIn, sent(core, (final("so I", 4.8), 5.2)))


def test_one_word_of_a_draft_is_one_whatever_left_the_floor_before_it() -> None:
    okay = (final("okay", 4.8), 4.9)
    assert only(BargedIn, sent(CORE, okay, (interim("but"), 5.0))) == []
    assert only(BargedIn, sent(CORE, okay, (interim("but when"), 5.0)))
