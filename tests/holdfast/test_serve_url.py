"""Where a server says that it is."""

import pytest

from engine.settings import Settings
from holdfast import serve


@pytest.mark.parametrize(
    ("configured", "at", "told"),
    [
        # What is configured is signed as it is written.
        ("https://voice.example.com", ("127.0.0.1", 8080), "https://voice.example.com"),
        ("http://localhost:8080", ("127.0.0.1", 8080), "http://localhost:8080"),
        ("http://127.0.0.1:8080", ("0.0.0.0", 8080), "http://127.0.0.1:8080"),
        ("https://localhost:8443", ("127.0.0.1", 8080), "https://localhost:8443"),
        # At another port only this machine can be meant, and that port.
        ("http://127.0.0.1:8080", ("127.0.0.1", 9000), "http://127.0.0.1:9000"),
        ("http://127.0.0.1:8080", ("::1", 9000), "http://[::1]:9000"),
        # Nobody can call a server that listens everywhere by that name.
        ("http://127.0.0.1:8080", ("0.0.0.0", 9000), "http://127.0.0.1:9000"),
        ("http://[::1]:8080", ("::", 9000), "http://[::1]:9000"),
    ],
)
def test_a_server_is_where_it_is_configured_to_be_or_where_this_machine_finds_it(
    configured: str, at: tuple[str, int], told: str
) -> None:
    assert serve._public_url(Settings(public_url=configured), *at) == told
