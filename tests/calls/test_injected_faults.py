"""The faults that virtual calls are given break what they are meant to break."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.call import INBOXES
from simulators.virtual.faults import POISONS, CancelLoop, VirtualLoop
from tests.actors.test_every_core import FIRST
from tests.loop.rig import Rig


@pytest.mark.parametrize(
    ("actor", "poison"), [(actor, poison) for actor, poisons in POISONS.items() for poison in poisons]
)
def test_a_poison_goes_into_the_core_that_it_is_meant_for(actor: str, poison: Callable[[Any], Any]) -> None:
    assert poison(FIRST[actor]) != FIRST[actor]


def test_there_is_a_poison_for_each_core() -> None:
    assert set(POISONS) == set(INBOXES)


async def test_a_loop_that_is_cancelled_when_it_wakes_dies_with_the_message_in_hand(autojump_clock: MockClock) -> None:
    rig, scope = Rig(), trio.CancelScope()
    call: Any = SimpleNamespace(actors={"toy": SimpleNamespace(cancel=lambda _child: scope.cancel())})
    loop = VirtualLoop(
        rig.cell,
        opened_at=0.0,
        outlets=rig.loop.outlets,
        close_session=rig.closings.append,
        useful=rig.uses.append,
        raised=rig.reports.append,
        call=call,
        faults=(CancelLoop(actor="toy", nth=0),),
    )
    with scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(loop.run)
            await trio.sleep(1)
            rig.put("one")  # to one who waits
    assert scope.cancelled_caught
    assert rig.cell.in_hand is not None
    assert rig.seen == []
