"""A call whose voice lets the engine in and then says nothing, until its client finds that it has stalled."""

import attrs
import pytest
import trio

from engine.messages.errors import ProviderSlow
from engine.messages.synthesis import CancelSynthesis, EndSynthesis
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent
from simulators.virtual.vendors import VirtualVoice
from tests.recovery.rig import LONG, Scene


@attrs.frozen(kw_only=True)
class SilentVoice(VirtualVoice):
    """Accepts a connection and all that is asked, and sends no sound. stall_s: after which its client ends it."""

    stall_s: float = 3.0

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        """Wait for the first piece, and stall."""
        await self.door.passed(self.connect_s)
        seam.opened(aligned=self.aligned)
        while isinstance(await seam.ask(), EndSynthesis | CancelSynthesis):
            pass
        await trio.sleep(self.stall_s)
        raise ProviderSlow("the silent voice sent no audio")


@pytest.mark.parametrize("stall_s", [1.5, 3.0, 5.0])
def test_who_waits_for_a_silent_voice_is_told_so_once_and_hears_the_answer_from_the_next(stall_s: float) -> None:
    voices = (SilentVoice(vendor="silent", stall_s=stall_s), VirtualVoice(vendor="second"))
    scene = Scene(voices=voices, lasts_s=24.0).run()
    assert scene.said == f"one moment {LONG}"
    healthy_s = Scene(lasts_s=6.0).run().first_after_s
    assert healthy_s + 1.0 < scene.first_after_s < healthy_s + 1.3
    assert "one moment" not in str(scene.conversation)
