"""Tickets: what lets a media stream in, once. Encrypted, signed, short-lived, made for one call."""

import hmac
import json
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TypeAlias

import attrs
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from engine.messages.admission import Ticket

_PURPOSE: Final = b"holdfast media stream"


class BadToken(Enum):
    """Why a token lets nobody in; the value is what is logged and counted."""

    MISSING = "token missing"
    FORGED = "token forged"
    EXPIRED = "token expired"
    USED = "token used"


@attrs.frozen(kw_only=True)
class Opened:
    """A token that was made here and is still good; whether it was used before, it cannot say itself.

    id: of this token, 128 random bits. expires_at: the moment after which nobody need remember it.
    """

    id: str
    expires_at: datetime
    ticket: Ticket


Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch: the processes that issue and read tokens share no other clock."""


class Tickets:
    """Writes tickets into tokens, and reads them back.

    A token is a part of an address, which proxies and tunnels write into their logs: without a key it tells when it was
    made, and some sixteen bytes more or less how much it holds.

    keys: 32 bytes each, newest first; the newest encrypts, all are accepted. Processes that share a public URL share
        them.
    token_s: seconds that a token is good for.
    """

    def __init__(self, keys: Sequence[bytes], *, token_s: float, clock: Clock = time.time) -> None:
        self._fernet = MultiFernet([Fernet(urlsafe_b64encode(key)) for key in keys])
        self._token_s = token_s
        self._clock = clock

    def issue(self, ticket: Ticket) -> str:
        """Return a new token for `ticket`: letters, digits, "-" and "_", fit for a path as it stands."""
        now = self._clock()
        who = [ticket.call_sid, ticket.tenant, ticket.caller, ticket.dialled]
        claims = json.dumps([secrets.token_urlsafe(16), now + self._token_s, *who], ensure_ascii=False)
        return self._fernet.encrypt_at_time(claims.encode(), int(now)).rstrip(b"=").decode()

    def read(self, token: str) -> Opened | BadToken:
        """Return what `token` holds, or what is wrong with it. Nothing is decrypted, let alone believed, unsigned."""
        if not token:
            return BadToken.MISSING
        try:
            padded = urlsafe_b64encode(urlsafe_b64decode(token + "=="))
            if padded.rstrip(b"=") != token.encode():  # other letters for the same bits are not our writing
                return BadToken.FORGED
            claims = self._fernet.decrypt(padded)
        except (ValueError, InvalidToken):  # no base64; not of these keys
            return BadToken.FORGED
        id_, expires_at_s, call_sid, tenant, caller, dialled = json.loads(claims)
        if self._clock() >= expires_at_s:
            return BadToken.EXPIRED
        return Opened(
            id=id_,
            expires_at=datetime.fromtimestamp(expires_at_s, UTC),
            ticket=Ticket(call_sid=call_sid, tenant=tenant, caller=caller, dialled=dialled),
        )


def stream_keys(auth_tokens: Sequence[str]) -> tuple[bytes, ...]:
    """Return keys for `Tickets`, newest first, from an account's auth tokens, newest first.

    Derived, so that every worker has them, after a restart too, and there is no other secret to keep. Without an auth
    token it is a random one: then one process serves this machine alone.
    """
    derived = [hmac.digest(token.encode(), _PURPOSE, "sha256") for token in auth_tokens]
    return tuple(derived) or (secrets.token_bytes(32),)
