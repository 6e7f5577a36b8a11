"""Tickets, as values: what is put into a token comes back, nobody reads it without a key, and nothing else gets in."""

import base64
import hmac
import itertools
import json
import string

import pytest
from cryptography.fernet import Fernet
from hypothesis import example, given
from hypothesis import strategies as st

from engine.messages.admission import Ticket
from tests.web.front import KEYS, TICKET
from web.tickets import BadToken, Opened, Tickets, stream_keys

URL_SAFE = set(string.ascii_letters + string.digits + "-_")


def make(*auth_tokens: str, token_s: float = 60.0, now: float = 1000.0) -> Tickets:
    return Tickets(stream_keys(auth_tokens) if auth_tokens else KEYS, token_s=token_s, clock=lambda: now)


def read(tickets: Tickets, token: str) -> Ticket | BadToken:
    opened = tickets.read(token)
    return opened.ticket if isinstance(opened, Opened) else opened


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)


@given(st.builds(Ticket, call_sid=names, tenant=names, caller=names, dialled=names))
@example(Ticket(**dict.fromkeys(("call_sid", "tenant", "caller", "dialled"), "\N{GRINNING FACE}" * 256)))
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


def test_what_somebody_else_wrote_is_forged() -> None:
    assert read(make("mine"), make("another's").issue(TICKET)) is BadToken.FORGED
    claims = json.dumps(["id", 2000.0, "CA1", "clinic", "ann", "bob"]).encode()
    ours, *others = stream_keys(["mine"])[0], *(hmac.digest(b"mine", purpose, "sha256") for purpose in (b"", b"else"))
    assert isinstance(make("mine").read(fernet(ours, claims)), Opened)
    for key in others:
        assert read(make("mine"), fernet(key, claims)) is BadToken.FORGED


def fernet(key: bytes, claims: bytes) -> str:
    """Return a token as anybody could write it who has the key."""
    return Fernet(base64.urlsafe_b64encode(key)).encrypt(claims).rstrip(b"=").decode()


def test_the_halves_of_two_tokens_cannot_be_mixed() -> None:
    one, another = make().issue(TICKET), make().issue(TICKET)
    assert len(one) == len(another)
    for place in range(1, len(one)):
        mixed = one[:place] + another[place:]
        assert mixed in {one, another} or read(make(), mixed) is BadToken.FORGED


def test_the_newest_key_encrypts_and_the_older_is_still_read() -> None:
    old, new = make("old"), make("new", "old")
    assert read(new, old.issue(TICKET)) == TICKET
    assert read(make("new"), new.issue(TICKET)) == TICKET
    assert read(old, new.issue(TICKET)) is BadToken.FORGED


def readings(token: str) -> list[bytes]:
    """Return a token as it stands, and as base64 from each place that a group of letters may begin at."""
    groups = (token[start : start + (len(token) - start) // 4 * 4] for start in range(4))
    return [token.encode(), *map(base64.urlsafe_b64decode, groups)]


def test_nothing_of_a_call_can_be_read_in_a_token_in_any_spelling_of_base64() -> None:
    names = [TICKET.call_sid, TICKET.tenant, TICKET.caller, TICKET.dialled]
    told = [name.strip("+").encode() for name in names]
    for shift in range(4):  # such a reader finds all of it in what is signed alone
        signed = "A" * shift + base64.urlsafe_b64encode(json.dumps(names).encode()).decode()
        assert all(any(name in reading for reading in readings(signed)) for name in told)
    for _ in range(100):
        token = make().issue(TICKET)
        assert not [name for name in told for reading in readings(token) if name in reading]


def test_every_worker_derives_the_same_keys_and_none_is_an_auth_token() -> None:
    assert stream_keys(["new", "old"]) == stream_keys(["new", "old"])
    assert stream_keys(["new", "old"])[1:] == stream_keys(["old"])
    assert not {b"new", b"old"} & set(stream_keys(["new", "old"]))


def test_without_an_auth_token_the_key_is_this_processs_own() -> None:
    assert len({stream_keys([]) for _ in range(10)}) == 10
    assert len(stream_keys([])[0]) == 32


def test_a_callers_number_is_not_in_what_is_shown_of_a_ticket() -> None:
    assert TICKET.caller not in repr(TICKET)
