"""Webhooks: the phone network asks a server over HTTP, with a signed form, and is told in TwiML."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import httpx
import trio

from simulators.twilio.codes import Code, TwilioError
from simulators.twilio.signature import signature

TIMEOUT_S: Final = 15.0  # Twilio's, for the whole of a request

_FORM = "application/x-www-form-urlencoded; charset=UTF-8"


class WebhookError(TwilioError):
    """A request without a usable answer."""

    def __init__(self, why: str) -> None:
        super().__init__(Code.RETRIEVAL_FAILURE, why)


class UnreachableError(WebhookError):
    """Nobody listens at the address."""


class Webhooks:
    """Sends the phone network's requests for one account."""

    def __init__(self, client: httpx.AsyncClient, *, auth_token: str | None) -> None:
        self._client = client
        self._auth_token = auth_token

    async def ask(self, url: str, fields: Mapping[str, str], *, method: str = "POST") -> httpx.Response:
        """Return the answer to a POST of ``fields``, or to a GET with them in the query.

        Raises UnreachableError if nobody listens at the address, WebhookError for any other answer than 2xx in time.
        """
        form = fields if method == "POST" else {}
        if fields and not form:
            url = f"{url}{'&' if '?' in url else '?'}{urlencode(fields)}"
        try:
            request = self._client.build_request(
                method, url, content=urlencode(form).encode(), headers={"User-Agent": "TwilioProxy/1.1"}
            )
            request.headers.update(self.headers(str(request.url), form))
            if form:
                request.headers["Content-Type"] = _FORM
            with trio.fail_after(TIMEOUT_S):
                response = await self._client.send(request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(f"nobody answers at {url}: {error}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise WebhookError(f"{method} {url}: {type(error).__name__}: {error}") from error
        except trio.TooSlowError as error:
            raise WebhookError(f"{method} {url}: no answer in {TIMEOUT_S:g} s") from error
        if not response.is_success:
            raise WebhookError(f"{method} {url}: status {response.status_code}, 2xx is wanted")
        return response

    def headers(self, url: str, fields: Mapping[str, str] | None = None) -> dict[str, str]:
        """The signature of a request with the form ``fields``, or of a media stream's handshake, which has none."""
        if self._auth_token is None:
            return {}
        return {"X-Twilio-Signature": signature(self._auth_token, url, (fields or {}).items())}
