"""What Twilio can use as a public URL, and the reason where it cannot."""

import pytest

from engine.codec.public_url import check_public_url
from engine.messages.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://voice.example.com", "https://voice.example.com"),
        ("https://voice.example.com/", "https://voice.example.com"),
        ("https://voice.example.com:8443", "https://voice.example.com:8443"),
        ("HTTPS://voice.example.com", "https://voice.example.com"),
        ("https://203.0.113.7", "https://203.0.113.7"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.1.2.3", "http://127.1.2.3"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_address_that_twilio_can_use_is_kept(text: str, kept: str) -> None:
    assert check_public_url(text) == kept


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected an http or https address"),
        ("voice.example.com", "expected an http or https address"),
        ("ws://voice.example.com", "expected an http or https address"),
        ("wss://voice.example.com", "expected an http or https address"),
        ("https://", "expected an http or https address"),
        ("https://:8080", "expected an http or https address"),
        ("https://voice.example.com:0", "expected an http or https address"),
        ("https://bücher.example", "expected an http or https address"),
        ("https://voice example.com", "expected an http or https address"),
        ("https://voice.example.com:port", "is no address: port could not be cast"),
        ("https://voice.example.com:65536", "is no address: port out of range"),
        ("https://[::1", "is no address: invalid ipv6 url"),
        ("https://voice.example.com/phone", "it has a path, '/phone'"),
        ("https://voice.example.com/voice/incoming", "it has a path, '/voice/incoming'"),
        ("https://voice.example.com?x=1", "it has a query or a fragment"),
        ("https://voice.example.com/?", "it has a query or a fragment"),
        ("https://voice.example.com#top", "it has a query or a fragment"),
        ("http://voice.example.com", "it must be https: Twilio streams audio to wss only"),
        ("http://192.168.1.2:8080", "it must be https"),
        ("http://localhost.example.com", "it must be https"),
        ("https://user:secret@voice.example.com", "has a user or password in it"),
    ],
)
def test_an_address_that_twilio_cannot_use_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=r"^public_url ") as refused:
        check_public_url(text)
    assert why in str(refused.value)
    assert "secret" not in str(refused.value)
