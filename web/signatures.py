"""X-Twilio-Signature: whether a request comes from the account whose auth token we know."""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Final

from twilio.request_validator import HMAC_SHA1, HMAC_SHA256, RequestValidator, get_signature_algorithm
from werkzeug.datastructures import MultiDict

from engine.messages.errors import ConfigError
from web.proxies import Request, header

_SIGNATURE: Final = b"x-twilio-signature"
_SETTINGS: Final = b"x-twilio-webhooks-signature-settings"  # of a shared key: which algorithm it signs with
_ALGORITHMS: Final = frozenset({HMAC_SHA1, HMAC_SHA256})


class BadSignature(Enum):
    """Why a request is not taken for Twilio's; the value is what is logged and counted."""

    MISSING = "signature missing"
    WRONG = "signature wrong"
    ELSEWHERE = "not from this machine"


class Signatures:
    """Checks signatures; with no token to check them by, every request passes.

    auth_tokens: each may have signed; two while a token is being replaced. Raises ConfigError for an empty one, with
        which anybody could sign.
    """

    def __init__(self, auth_tokens: Sequence[str]) -> None:
        if not all(auth_tokens):
            raise ConfigError("an auth token is empty; expected the account's, or none at all")
        self._validators = tuple(RequestValidator(token) for token in auth_tokens)

    @property
    def are_checked(self) -> bool:
        """Whether there is anything to check them by."""
        return bool(self._validators)

    def is_missing(self, request: Request) -> bool:
        """Whether a signature is wanted and there is none: told from the head of a request alone."""
        return bool(self._validators) and not header(request, _SIGNATURE)

    def check(self, request: Request, urls: Iterable[str], form: MultiDict[str, str] | None) -> BadSignature | None:
        """Return what is wrong with a request's signature, None when it is good.

        urls: how Twilio may have written the address; one must match.
        form: every field of a POST; None for a WebSocket.
        """
        if not self._validators:
            return None
        signature = header(request, _SIGNATURE)
        if not signature:
            return BadSignature.MISSING
        algorithm = get_signature_algorithm(header(request, _SETTINGS)).upper()
        if algorithm in _ALGORITHMS:
            for url in urls:
                for validator in self._validators:
                    if _matches(validator, url, form, signature, algorithm):
                        return None
        return BadSignature.WRONG


def _matches(
    validator: RequestValidator, url: str, form: MultiDict[str, str] | None, signature: str, algorithm: str
) -> bool:
    try:
        return bool(validator.validate(url, form, signature, algorithm))
    except ValueError:  # a path or a port that its urlparse cannot read, and Twilio cannot have asked for
        return False
