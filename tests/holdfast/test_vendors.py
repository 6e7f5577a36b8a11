"""Vendors at start: who may be away, and who has to be there."""

import pytest

from engine.messages.errors import ConfigError
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
