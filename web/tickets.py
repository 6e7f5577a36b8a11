"""Tickets: what lets a media stream in, once. Signed, short-lived, made for one call."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TypeAlias

import attrs
from itsdangerous import BadData, URLSafeSerializer
from itsdangerous.encoding import base64_decode, base64_encode

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
    """A token that was signed here and is still good; whether it was used before, it cannot say itself.

    id: of this token, 128 random bits. expires_at: the moment after which nobody need remember it.
    """

    id: str
    expires_at: datetime
    ticket: Ticket


Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch: the processes that issue and read tokens share no other clock."""


class Tickets:
    """Writes tickets into tokens, and reads them back.

    keys: newest first; the newest signs, all are accepted. Processes that share a public URL share them.
    token_s: seconds that a token is good for.
    """

    def __init__(self, keys: Sequence[bytes], *, token_s: float, clock: Clock = time.time) -> None:
        self._serializer = URLSafeSerializer(
            list(reversed(keys)),  # it wants the newest last
            salt=_PURPOSE,
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )
        self._token_s = token_s
        self._clock = clock

    def issue(self, ticket: Ticket) -> str:
        """Return a new token for `ticket`: letters, digits, "-", "_" and ".", fit for a path as it stands."""
        claims = [ticket.call_sid, ticket.tenant, ticket.caller, ticket.dialled]
        return self._serializer.dumps([secrets.token_urlsafe(16), self._clock() + self._token_s, *claims])

    def read(self, token: str) -> Opened | BadToken:
        """Return what `token` holds, or what is wrong with it. Nothing is unpacked, let alone believed, unsigned."""
        if not token:
            return BadToken.MISSING
        try:
            id_, expires_at_s, call_sid, tenant, caller, dialled = self._serializer.loads(token)
            signed = token.rpartition(".")[2].encode()
            if base64_encode(base64_decode(signed)) != signed:  # other letters for the same bits are not our writing
                return BadToken.FORGED
        except BadData:
            return BadToken.FORGED
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
