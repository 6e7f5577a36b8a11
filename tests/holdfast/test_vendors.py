"""Vendors at start: who may be away, and who has to be there."""

import attrs
import pytest
import trio

from engine.messages.errors import ConfigError
from engine.messages.synthesis import Synthesised
from engine.providers.contract import Seam, VoiceAsk, VoiceEvent
from engine.settings import CallSettings, Settings, Tenant, TenantCallSettings, Tenants
from holdfast.keys import Keys
from holdfast.vendors import _House, _Outcome, _Trial

BOTH = Tenant(id="both", name="Both", default=True, greeting="hello", prompt="be brief")
ONE = Tenant(
    id="one",
    name="One",
    numbers=("+15550100002",),
    greeting="hi",
    prompt="",
    call=TenantCallSettings(stt=("deepgram",)),
)


async def _nobody() -> None:
    """Never asked."""


def house(*tenants: Tenant) -> _House:
    settings = Settings(call=CallSettings(stt=("deepgram", "local"), tts=("elevenlabs",)))
    return _House(
        settings=settings,
        tenants=Tenants(tenants=tenants),
        keys=Keys(vendors={}, auth_tokens=()),
        progress=lambda _text: None,
    )


def outcome(work: str, vendor: str, error: str = "", *, refused: bool = False) -> _Outcome[None]:
    trial = _Trial(what=f"{vendor} (x)", work=work, vendor=vendor, ask=_nobody)
    return _Outcome(trial=trial, error=error, refused=refused)


def test_one_that_is_away_and_has_another_in_its_place_keeps_nobody_from_starting() -> None:
    gone = outcome("stt", "deepgram", "it cannot be reached")
    assert house(BOTH).away([gone, outcome("tts", "elevenlabs")]) == {("stt", "deepgram")}


def test_one_that_refuses_does() -> None:
    with pytest.raises(ConfigError, match=r"deepgram \(x\): no such key"):
        house(BOTH).away([outcome("stt", "deepgram", "no such key", refused=True)])


def test_one_that_has_nobody_in_its_place_does() -> None:
    with pytest.raises(ConfigError, match=r"elevenlabs \(x\): away"):
        house(BOTH).away([outcome("tts", "elevenlabs", "away")])
    with pytest.raises(ConfigError, match=r"deepgram \(x\): away"):
        house(BOTH, ONE).away([outcome("stt", "deepgram", "away")])


@attrs.define(eq=False)
class _Tongue:
    """A voice that has no language in its name: what it renders says which."""

    vendor: str
    language: str
    voice: str = "heart"

    async def session(self, seam: Seam[VoiceAsk, VoiceEvent]) -> None:
        seam.opened(aligned=False)
        await seam.emit(Synthesised(turn=0, index=0, audio=b""))

    async def render(self, _text: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.language.encode()


async def test_each_tenant_is_spoken_for_in_its_own_language() -> None:
    both, german = house(BOTH), attrs.evolve(BOTH, id="german", language="de")
    for tenant in (BOTH, german, BOTH):
        tongues = [_Tongue("elevenlabs", tenant.language), _Tongue("local", tenant.language)]
        voices = both._levelled(tenant, tongues)
        assert [(await each.render("")).decode() for each in voices] == [tenant.language] * 2
    assert len({id(both._levelled(BOTH, [_Tongue("x", "en"), _Tongue("y", "en")])[0]) for _ in range(3)}) == 1
