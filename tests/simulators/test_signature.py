"""Twilio's signature, against vectors made with Twilio's own library (twilio 9.13.0, RequestValidator)."""

import pytest

from simulators.twilio.signature import signature

TOKEN = "test_token_0123456789abcdef"
FORM = (
    ("AccountSid", "AC" + "0" * 32),
    ("CallSid", "CA" + "1" * 32),
    ("From", "+15550100001"),
    ("To", "+15550100002"),
    ("CallStatus", "ringing"),
    ("Direction", "inbound"),
)


@pytest.mark.parametrize(
    ("url", "form", "digest", "expected"),
    [
        ("https://voice.example.test/twilio/voice", FORM, "sha1", "A5HoLUxUG6vncfcQ9RoyqJHodmc="),
        ("https://voice.example.test/twilio/voice", FORM, "sha256", "r4OHJp86CRkMZmBrx6Qljin6Zyx4hSV1ajG5WxSvdzk="),
        ("https://voice.example.test:8443/twilio/voice?x=1", FORM, "sha1", "LmA3wg+AHDlbSfcF45BqwUdXSqw="),
        ("wss://voice.example.test/media", (), "sha1", "uuMDgTXF1nDEq59sRkzIc2i6xOk="),
        ("wss://voice.example.test/media/", (), "sha1", "pLDYnrZ8DclBtEQEujamQBEp4K0="),
    ],
)
def test_a_signature_is_the_one_that_twilio_makes(
    url: str, form: tuple[tuple[str, str], ...], digest: str, expected: str
) -> None:
    assert signature(TOKEN, url, form, digest=digest) == expected


def test_the_order_of_the_fields_and_their_repetition_do_not_matter() -> None:
    url = "https://voice.example.test/"
    assert signature(TOKEN, url, FORM) == signature(TOKEN, url, (*reversed(FORM), FORM[0]))


def test_an_empty_field_counts_with_its_name() -> None:
    url = "https://voice.example.test/"
    assert signature(TOKEN, url, (*FORM, ("FromCity", ""))) != signature(TOKEN, url, FORM)
