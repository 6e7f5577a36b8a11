"""Keys come from the environment, and an error names the variable and the vendor, never the key."""

import attrs
import pytest

from engine.messages.errors import ConfigError
from engine.settings import (
    CallSettings,
    Settings,
    Tenant,
    TenantCallSettings,
    Tenants,
    TwilioSettings,
    VendorSettings,
)
from holdfast.keys import read_keys

REMOTE = Settings(call=CallSettings(stt=("deepgram", "local"), llm=("anthropic",), tts=("elevenlabs",)))
KEYS = {"DEEPGRAM_API_KEY": "dg-1", "ANTHROPIC_API_KEY": "an-2", "ELEVENLABS_API_KEY": "el-3"}
ADMIN = "ad-5ecret-token-"  # of as many characters as it must have


def refused(settings: Settings, environ: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        read_keys(settings, environ)
    return str(raised.value).splitlines()


def test_the_embedded_default_needs_no_key() -> None:
    keys = read_keys(Settings(), {})
    assert (keys.vendors, keys.auth_tokens) == ({}, ())


def test_each_vendor_that_is_named_gets_its_key() -> None:
    keys = read_keys(REMOTE, {**KEYS, "TWILIO_AUTH_TOKEN": "tw-4"})
    assert keys.vendors == {"deepgram": "dg-1", "anthropic": "an-2", "elevenlabs": "el-3"}
    assert keys.auth_tokens == ("tw-4",)
    assert set(keys.secrets) == {"dg-1", "an-2", "el-3", "tw-4"}


def test_every_missing_key_is_named_at_once_with_its_vendor() -> None:
    first, second = refused(REMOTE, {"ANTHROPIC_API_KEY": "an-2", "ELEVENLABS_API_KEY": "  "})
    assert first == (
        "call.stt[0]: DEEPGRAM_API_KEY is not set, which holds Deepgram's API key; set it, or leave 'deepgram' out"
    )
    assert second.startswith("call.tts[0]: ELEVENLABS_API_KEY is not set, which holds ElevenLabs's API key; set it")


def test_a_variable_may_have_another_name() -> None:
    vendors = VendorSettings(twilio=TwilioSettings(auth_token_env="MY_TOKEN"))
    settings = attrs.evolve(Settings(), vendors=vendors)
    assert read_keys(settings, {"MY_TOKEN": "tw-4", "TWILIO_AUTH_TOKEN": "not this"}).auth_tokens == ("tw-4",)


def test_both_tokens_are_accepted_while_one_is_replaced_the_new_one_first() -> None:
    environ = {"TWILIO_PREVIOUS_AUTH_TOKEN": "old", "TWILIO_AUTH_TOKEN": "new"}
    assert read_keys(Settings(), environ).auth_tokens == ("new", "old")


def test_an_old_token_without_a_new_one_is_a_mistake() -> None:
    (line,) = refused(Settings(), {"TWILIO_PREVIOUS_AUTH_TOKEN": "old"})
    assert line.startswith("TWILIO_AUTH_TOKEN is not set, and TWILIO_PREVIOUS_AUTH_TOKEN is")


@pytest.mark.parametrize("value", ["5e cret", "5ecret\nX-Header: a", "5ecr\u00e9t", "5ecret\x00"])
def test_what_no_header_can_carry_is_refused_and_not_repeated(value: str) -> None:
    lines = refused(REMOTE, {**KEYS, "DEEPGRAM_API_KEY": value})
    assert lines == [
        "DEEPGRAM_API_KEY: Deepgram's API key holds a space, or what is not ascii; what stands there is not shown"
    ]


def test_keys_are_in_no_repr() -> None:
    keys = read_keys(REMOTE, {**KEYS, "HOLDFAST_ADMIN_TOKEN": ADMIN})
    assert "dg-1" not in repr(keys)
    assert ADMIN not in repr(keys)


def test_the_admin_token_is_a_secret_like_any_other() -> None:
    keys = read_keys(Settings(), {"HOLDFAST_ADMIN_TOKEN": f" {ADMIN} "})
    assert (keys.admin_token, keys.secrets) == (ADMIN, (ADMIN,))
    assert read_keys(Settings(), {}).admin_token == ""
    assert read_keys(Settings(), {}).secrets == ()


@pytest.mark.parametrize("token", ["5", "ad-5ecret", ADMIN[:15], f"  {ADMIN[:15]}\t"])
def test_an_admin_token_that_can_be_guessed_is_refused_and_not_repeated(token: str) -> None:
    (line,) = refused(REMOTE, {**KEYS, "HOLDFAST_ADMIN_TOKEN": token})
    assert line == (
        "HOLDFAST_ADMIN_TOKEN: the admin token is too short; expected 16 characters or more, or none set; what stands "
        "there is not shown"
    )


@pytest.mark.parametrize("token", ["", "  "])
def test_an_admin_token_of_nothing_is_none(token: str) -> None:
    assert read_keys(Settings(), {"HOLDFAST_ADMIN_TOKEN": token}).admin_token == ""


def test_a_tenants_own_vendors_need_their_keys_too() -> None:
    tenant = Tenant(
        id="a",
        name="A",
        default=True,
        greeting="Hello.",
        prompt="",
        call=TenantCallSettings(tts=("local", "elevenlabs")),
    )
    with pytest.raises(ConfigError) as raised:
        read_keys(Settings(), {}, tenants=Tenants(tenants=(tenant,)))
    assert str(raised.value).startswith("call.tts[1]: ELEVENLABS_API_KEY is not set")
    assert read_keys(Settings(), KEYS, tenants=Tenants(tenants=(tenant,))).vendors == {"elevenlabs": "el-3"}
