"""Signatures: the sheet's vectors, rotation, and whatever else claims to be Twilio."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import MultiDict

from engine.messages.errors import ConfigError
from simulators.twilio.signature import signature
from web.signatures import BadSignature, Signatures

TOKEN = "test_token_0123456789abcdef"
FORM = {
    "AccountSid": "AC" + "0" * 32,
    "CallSid": "CA" + "1" * 32,
    "From": "+15550100001",
    "To": "+15550100002",
    "CallStatus": "ringing",
    "Direction": "inbound",
}
URL = "https://voice.example.test/twilio/voice"
GOOD = "A5HoLUxUG6vncfcQ9RoyqJHodmc="


def request(*headers: tuple[str, str]) -> Any:
    written = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers]
    return {"type": "http", "headers": written}


def signed(value: str, *more: tuple[str, str]) -> Any:
    return request(("X-Twilio-Signature", value), *more)


def check(value: str, url: str = URL, form: dict[str, str] | None = None, tokens: tuple[str, ...] = (TOKEN,)) -> Any:
    return Signatures(tokens).check(signed(value), [url], MultiDict(FORM if form is None else form))


SHA256 = ("X-Twilio-Webhooks-Signature-Settings", "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256")


# Generated with Twilio's own library, twilio 9.13.0.
@pytest.mark.parametrize(
    ("url", "form", "value", "settings"),
    [
        (URL, FORM, GOOD, ()),
        (URL, FORM, "r4OHJp86CRkMZmBrx6Qljin6Zyx4hSV1ajG5WxSvdzk=", (SHA256,)),
        ("https://voice.example.test:8443/twilio/voice?x=1", FORM, "LmA3wg+AHDlbSfcF45BqwUdXSqw=", ()),
        ("wss://voice.example.test/media", None, "uuMDgTXF1nDEq59sRkzIc2i6xOk=", ()),
        ("wss://voice.example.test/media/", None, "pLDYnrZ8DclBtEQEujamQBEp4K0=", ()),
    ],
)
def test_twilios_own_signatures_are_good(
    url: str, form: dict[str, str] | None, value: str, settings: tuple[tuple[str, str], ...]
) -> None:
    asked = signed(value, *settings)
    posted = None if form is None else MultiDict(form)
    assert Signatures([TOKEN]).check(asked, [url], posted) is None
    assert Signatures([TOKEN]).check(asked, [url + "x"], posted) is BadSignature.WRONG
    assert Signatures([TOKEN + "x"]).check(asked, [url], posted) is BadSignature.WRONG


@pytest.mark.parametrize(
    "form", [FORM | {"From": "+15550100009"}, FORM | {"Extra": ""}, {"CallSid": FORM["CallSid"]}, {}]
)
def test_a_form_that_was_changed_is_not_twilios(form: dict[str, str]) -> None:
    assert check(GOOD, form=form) is BadSignature.WRONG


def test_every_field_that_came_is_signed_one_that_comes_twice_too() -> None:
    form = MultiDict([*FORM.items(), ("Tomorrow", "b"), ("Tomorrow", "a"), ("Tomorrow", "b")])
    value = signature(TOKEN, URL, [*FORM.items(), ("Tomorrow", "a"), ("Tomorrow", "b")])
    assert Signatures([TOKEN]).check(signed(value), [URL], form) is None


@pytest.mark.parametrize("tokens", [(TOKEN,), (TOKEN, "the old one"), ("the new one", TOKEN)])
def test_each_of_two_tokens_is_good_while_one_replaces_the_other(tokens: tuple[str, ...]) -> None:
    assert check(GOOD, tokens=tokens) is None


def test_a_token_that_was_replaced_is_no_longer_good() -> None:
    assert check(GOOD, tokens=("the new one",)) is BadSignature.WRONG


def test_a_default_port_may_be_signed_or_not() -> None:
    with_port = "https://voice.example.test:443/twilio/voice"
    assert check(signature(TOKEN, with_port, FORM.items())) is None
    assert check(GOOD, url=with_port) is None


def test_any_of_the_addresses_may_be_the_signed_one() -> None:
    asked, form = signed(GOOD), MultiDict(FORM)
    assert Signatures([TOKEN]).check(asked, ["https://other.test/twilio/voice", URL], form) is None


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ((), BadSignature.MISSING),
        ((("X-Twilio-Signature", ""),), BadSignature.MISSING),
        ((("X-Twilio-Signature", GOOD), ("X-Twilio-Signature", GOOD)), BadSignature.WRONG),
        ((("X-Twilio-Signature", GOOD[:-1]),), BadSignature.WRONG),
        ((("X-Twilio-Signature", GOOD.lower()),), BadSignature.WRONG),
        ((("X-Twilio-Signature", GOOD), SHA256), BadSignature.WRONG),
        ((("X-Twilio-Signature", GOOD), (SHA256[0], "algorithm=MD5")), BadSignature.WRONG),
        ((("Authorization", GOOD),), BadSignature.MISSING),
    ],
)
def test_what_is_not_signed_as_twilio_signs_is_refused(
    headers: tuple[tuple[str, str], ...], told: BadSignature, caplog: pytest.LogCaptureFixture
) -> None:
    signatures, asked = Signatures([TOKEN]), request(*headers)
    assert signatures.check(asked, [URL], MultiDict(FORM)) is told
    assert caplog.records == []  # of whose text a stranger would be the author
    assert signatures.is_missing(asked) is (told is BadSignature.MISSING)


@given(st.text(st.characters(max_codepoint=255), max_size=60), st.text(st.characters(max_codepoint=255), max_size=40))
def test_no_garbage_is_good_and_none_raises(value: str, path: str) -> None:
    assert check(value, url="https://[x" + path) in BadSignature
    assert check(value, url="https://voice.example.test/" + path) in BadSignature


def test_without_a_token_to_check_by_every_request_passes() -> None:
    nobody = Signatures([])
    assert nobody.check(request(), [URL], MultiDict(FORM)) is None
    assert not nobody.is_missing(request())


def test_an_empty_token_with_which_anybody_could_sign_is_refused() -> None:
    with pytest.raises(ConfigError, match="an auth token is empty"):
        Signatures([TOKEN, ""])
