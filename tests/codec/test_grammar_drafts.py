"""What words over the agent ask for while more of them may follow."""

import pytest

from engine.codec.grammar import ENGLISH, Claim


@pytest.mark.parametrize("text", ["Okay, I", "yeah I", "sounds", "yeah sounds"])
def test_a_draft_that_may_yet_be_a_backchannel_is_taken_for_one(text: str) -> None:
    assert ENGLISH.claim(text) is Claim.FLOOR
    assert ENGLISH.claim(text, draft=True) is Claim.BACKCHANNEL


@pytest.mark.parametrize("text", ["Okay, I need", "I want to", "that's on Friday", "what about Friday", "sounds loud"])
def test_a_draft_that_goes_on_otherwise_takes_the_floor(text: str) -> None:
    assert ENGLISH.claim(text, draft=True) is Claim.FLOOR


@pytest.mark.parametrize("text", ["stop", "wait", "okay wait", "no"])
def test_a_command_is_one_in_a_draft_too(text: str) -> None:
    assert ENGLISH.claim(text, draft=True) is Claim.COMMAND


@pytest.mark.parametrize("text", ["", "uh-huh", "okay okay"])
def test_the_rest_is_the_same_in_a_draft(text: str) -> None:
    assert ENGLISH.claim(text, draft=True) is ENGLISH.claim(text)
