"""Proxies: what is believed of a forwarded request, and from whom."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.messages.errors import ConfigError
from web.proxies import Asker, Proxies

TRUSTED = ("10.0.0.0/8", "127.0.0.1", "fd00::/8")


def request(peer: str | None, kind: str = "http", **headers: str) -> Any:
    written = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scheme = {"http": "http", "websocket": "ws"}[kind]
    return {"type": kind, "scheme": scheme, "client": (peer, 5) if peer else None, "headers": written}


def test_a_strangers_word_is_not_believed() -> None:
    asked = request("203.0.113.5", x_forwarded_for="127.0.0.1", x_forwarded_proto="https", x_forwarded_host="a.test")
    assert Proxies(TRUSTED).asker(asked) == Asker(client="203.0.113.5", is_neighbour=False)
    assert Proxies(TRUSTED).origin(asked) is None


def test_without_trusted_proxies_nobodys_word_is_believed() -> None:
    asked = request("127.0.0.1", x_forwarded_for="203.0.113.5", x_forwarded_proto="https", host="a.test")
    assert Proxies(()).asker(asked).client == "127.0.0.1"
    assert Proxies(()).origin(asked) is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("::ffff:10.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "203.0.113.5, 10.0.0.2", "203.0.113.5"),
        ("10.0.0.1", "203.0.113.5,10.0.0.2 , 127.0.0.1", "203.0.113.5"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.5", "203.0.113.5"),  # the first is what a client may have made up
        ("10.0.0.1", "203.0.113.5:4711", "203.0.113.5"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", "2001:db8::1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5, unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.5, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.3", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxys(peer: str, forwarded: str, client: str) -> None:
    assert Proxies(TRUSTED).asker(request(peer, x_forwarded_for=forwarded)).client == client


@pytest.mark.parametrize(
    ("kind", "headers", "origin"),
    [
        ("http", {"x_forwarded_proto": "https", "x_forwarded_host": "a.test"}, "https://a.test"),
        ("http", {"x_forwarded_proto": "https", "host": "a.test:8443"}, "https://a.test:8443"),
        ("http", {"x_forwarded_proto": "https,http", "x_forwarded_host": "a.test, b.test"}, "https://a.test"),
        ("http", {"x_forwarded_host": "a.test"}, "http://a.test"),
        ("http", {"host": "[2001:db8::1]:80"}, "http://[2001:db8::1]:80"),
        ("websocket", {"x_forwarded_proto": "https", "host": "a.test"}, "wss://a.test"),
        ("websocket", {"x_forwarded_proto": "wss", "host": "a.test"}, "wss://a.test"),
        ("websocket", {"x_forwarded_proto": "http", "host": "a.test"}, "ws://a.test"),
        ("websocket", {"host": "a.test"}, "ws://a.test"),
        ("http", {"x_forwarded_proto": "gopher", "host": "a.test"}, None),
        ("http", {"x_forwarded_proto": "https"}, None),
        ("http", {"x_forwarded_proto": "https", "x_forwarded_host": "a.test/evil?"}, None),
        ("http", {"x_forwarded_proto": "https", "x_forwarded_host": "user@a.test"}, None),
        ("http", {"x_forwarded_proto": "https", "x_forwarded_host": "[a"}, None),
    ],
)
def test_a_trusted_proxy_says_where_it_was_asked(kind: str, headers: dict[str, str], origin: str | None) -> None:
    assert Proxies(TRUSTED).origin(request("10.0.0.1", kind, **headers)) == origin


@pytest.mark.parametrize(
    ("peer", "headers", "is_neighbour"),
    [
        ("127.0.0.1", {}, True),
        ("::1", {}, True),
        ("10.0.0.1", {}, True),
        ("203.0.113.5", {}, False),
        (None, {}, False),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.5"}, False),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, False),
        ("127.0.0.1", {"forwarded": "for=203.0.113.5"}, False),
        ("127.0.0.1", {"x_forwarded_proto": "https"}, False),
        ("127.0.0.1", {"x_real_ip": "203.0.113.5"}, False),
        ("127.0.0.1", {"via": "1.1 proxy"}, False),
    ],
)
def test_a_neighbour_asks_for_itself(peer: str | None, headers: dict[str, str], is_neighbour: bool) -> None:
    assert Proxies(TRUSTED).asker(request(peer, **headers)).is_neighbour is is_neighbour


@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_no_header_raises(value: str) -> None:
    asked = request("10.0.0.1", x_forwarded_for=value, x_forwarded_host=value, x_forwarded_proto=value)
    Proxies(TRUSTED).asker(asked)
    Proxies(TRUSTED).origin(asked)


@pytest.mark.parametrize("proxy", ["10.0.0.1/8", "nginx", "", "10.0.0.0/33"])
def test_a_proxy_that_is_no_address_is_refused_with_the_reason(proxy: str) -> None:
    with pytest.raises(ConfigError, match=r"^trusted_proxies: .*; expected an address or a network such as '10\.0\.0"):
        Proxies((proxy,))
