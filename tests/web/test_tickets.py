"""Tickets, as values: what is signed here comes back, and nothing else does."""

import hashlib
import itertools
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from engine.messages.admission import Ticket
from tests.web.front import KEYS, TICKET
from web.tickets import BadToken, Opened, Tickets, stream_keys

URL_SAFE = set(string.ascii_letters + string.digits + "-_.")


def make(*keys: bytes, token_s: float = 60.0, now: float = 1000.0) -> Tickets:
    return Tickets(keys or KEYS, token_s=token_s, clock=lambda: now)


def read(tickets: Tickets, token: str) -> Ticket | BadToken:
    opened = tickets.read(token)
    return opened.ticket if isinstance(opened, Opened) else opened


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)


@given(st.builds(Ticket, call_sid=names, tenant=names, caller=names, dialled=names))
def test_a_ticket_comes_back_from_a_token_that_fits_a_path(ticket: Ticket) -> None:
    token = make().issue(ticket)
    assert set(token) <= URL_SAFE
    assert len(token) < 16 * 1024  # what a request line may take
    assert read(make(), token) == ticket


def test_each_token_is_another() -> None:
    tickets = make()
    opened = [tickets.read(tickets.issue(TICKET)) for _ in range(100)]
    assert len({each.id for each in opened if isinstance(each, Opened)}) == 100


@pytest.mark.parametrize(("now", "told"), [(1000.0, TICKET), (1059.99, TICKET), (1060.0, BadToken.EXPIRED)])
def test_a_token_is_good_for_its_time(now: float, told: Ticket | BadToken) -> None:
    assert read(make(now=now), make(now=1000.0).issue(TICKET)) == told


def test_a_token_changed_in_any_place_is_forged() -> None:
    token = make().issue(TICKET)
    for place, letter in itertools.product(range(len(token)), "Aa0-_.~= é\n"):
        if token[place] != letter:
            assert read(make(), token[:place] + letter + token[place + 1 :]) is BadToken.FORGED
        assert read(make(), token[:place] + letter + token[place:]) is BadToken.FORGED
    for length in range(1, len(token)):
        assert read(make(), token[:length]) is BadToken.FORGED


@given(st.text(max_size=100))
def test_whatever_was_not_signed_is_forged(token: str) -> None:
    assert read(make(), token) is (BadToken.FORGED if token else BadToken.MISSING)


def test_what_somebody_else_signed_is_forged() -> None:
    assert read(make(b"mine"), make(b"another's").issue(TICKET)) is BadToken.FORGED
    claims = ["id", 2000.0, "CA1", "clinic", "ann", "bob"]
    hmac_sha256 = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    for another_purpose in ("itsdangerous", ""):
        serializer = URLSafeSerializer(list(KEYS), salt=another_purpose, signer_kwargs=hmac_sha256)
        assert read(make(), serializer.dumps(claims)) is BadToken.FORGED


def test_the_claims_of_two_tokens_cannot_be_mixed() -> None:
    one, another = make().issue(TICKET), make().issue(Ticket(call_sid="CA2", tenant="x", caller="y", dialled="z"))
    mixed = one.rpartition(".")[0] + "." + another.rpartition(".")[2]
    assert read(make(), mixed) is BadToken.FORGED


def test_the_newest_key_signs_and_the_older_is_still_read() -> None:
    old, new = make(b"old"), make(b"new", b"old")
    assert read(new, old.issue(TICKET)) == TICKET
    assert read(make(b"new"), new.issue(TICKET)) == TICKET
    assert read(old, new.issue(TICKET)) is BadToken.FORGED


def test_every_worker_derives_the_same_keys_and_none_is_an_auth_token() -> None:
    assert stream_keys(["new", "old"]) == stream_keys(["new", "old"])
    assert stream_keys(["new", "old"])[1:] == stream_keys(["old"])
    assert not {b"new", b"old"} & set(stream_keys(["new", "old"]))


def test_without_an_auth_token_the_key_is_this_processs_own() -> None:
    assert len({stream_keys([]) for _ in range(10)}) == 10
    assert len(stream_keys([])[0]) == 32


def test_a_callers_number_is_not_in_what_is_shown_of_a_ticket() -> None:
    assert TICKET.caller not in repr(TICKET)
