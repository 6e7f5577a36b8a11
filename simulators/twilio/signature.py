"""X-Twilio-Signature: proof that a request comes from the phone network."""

import base64
import hmac
from collections.abc import Iterable


def signature(auth_token: str, url: str, fields: Iterable[tuple[str, str]] = (), *, digest: str = "sha1") -> str:
    """Return the signature of a request to ``url``: base64 of an HMAC keyed with the account's token.

    url: exactly as it is requested, query and escaping included; for a media stream, exactly as the TwiML had it.
    fields: the form of a POST; nothing for a GET or a WebSocket's upgrade. A pair that comes twice counts once.
    digest: "sha1" with the account's token, "sha256" with a shared key.
    """
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    return base64.b64encode(hmac.digest(auth_token.encode(), signed.encode(), digest)).decode()
