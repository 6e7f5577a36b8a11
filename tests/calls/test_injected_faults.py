"""The faults that virtual calls are given break what they are meant to break."""

from collections.abc import Callable
from typing import Any

import pytest

from engine.call import INBOXES
from simulators.virtual.faults import POISONS
from tests.actors.test_every_core import FIRST


@pytest.mark.parametrize(
    ("actor", "poison"), [(actor, poison) for actor, poisons in POISONS.items() for poison in poisons]
)
def test_a_poison_goes_into_the_core_that_it_is_meant_for(actor: str, poison: Callable[[Any], Any]) -> None:
    assert poison(FIRST[actor]) != FIRST[actor]


def test_there_is_a_poison_for_each_core() -> None:
    assert set(POISONS) == set(INBOXES)
