"""Claude, through Anthropic's own client: one streamed request of the Messages API for each reply.

Theory of operation. The client makes the request: URL, headers, pool, and an error's class by its status. The body is
read by us (`stream`), and what is asked is made by us (`prompt`). Nothing is tried twice and no `retry-after` is waited
for: who asks decides, and while a caller waits nobody else can. Only where a connection that was kept turns out to have
been closed is the request made anew: that says nothing about the vendor, and who asks has but one more try. To leave a
reply is to close its connection, by which the vendor knows.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Final

import anthropic
import attrs
import httpx2
import trio
from anthropic import AsyncAPIResponse
from anthropic.types import Message

from engine.codec.wire import shortened
from engine.messages.conversation import ToolCalled
from engine.messages.errors import ConfigError, ProviderDown, ProviderError, ProviderRefused, ProviderSlow, WireError
from engine.providers.claude import prompt
from engine.providers.claude.stream import Reader, StreamBroken
from engine.providers.contract import ModelEvent, ModelRequest, ToolSchema
from engine.tap import tap

TIMEOUT: Final = httpx2.Timeout(connect=3.0, read=20.0, write=5.0, pool=3.0)
"""Seconds. Between two reads 20.0: a last resort, several times what a caller is kept waiting by whoever asks."""

LIMITS: Final = httpx2.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=240.0)
"""Connections: far more than a process has calls, because to wait for one is to be silent. An idle one is kept for four
minutes: more than the usual 5 s go by between two turns of a call, and a new one costs two or three round trips. The
client has TCP probe it every minute, so none dies unseen meanwhile."""

LINGER_S: Final = 1.0
"""How long the body's end is waited for once the reply is complete: only then can its connection be used again."""

_LONGEST_SHOWN: Final = 300
# The vendor's own names for what goes wrong are shorter.
_LONGEST_CODE: Final = 60

# From 500 on it is the vendor's own trouble; so are too slow, conflict, and too much at once, unless money ran out.
_VENDORS_OWN: Final = 500
_MAY_PASS: Final = frozenset({408, 409, 429})
_SPENT: Final = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
# What an error in the middle of a reply, which has no status, is called when the same request would have it again.
_REFUSALS: Final = frozenset(
    {
        "authentication_error",
        "billing_error",
        "invalid_request_error",
        "not_found_error",
        "permission_error",
        "request_too_large",
    }
)
# A connection that was closed before an answer began: as a rule one that was kept, and closed by the vendor meanwhile.
_GONE: Final = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)
_SCHEMES: Final = {"ws://": "http://", "wss://": "https://"}


def _http(base_url: str) -> str:
    for scheme, http in _SCHEMES.items():
        if base_url.startswith(scheme):
            return http + base_url.removeprefix(scheme)
    return base_url


def _key(key: str) -> str:
    """Return the key. Raises ConfigError for what no header can carry: the client's own error would show it."""
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigError("the api key for anthropic is empty, or holds a space, a line break or what is not ascii")
    return key


@attrs.frozen(eq=False, kw_only=True)
class ClaudeModel:
    """Claude, shared by all calls of a process. Its connections are its owner's to close: `async with aclosing(model)`.

    base_url: scheme and host; ws and wss stand for http and https.
    max_tokens: of one reply. 400: a minute and a half of speech, so only a model that has lost itself is cut.
    transport: what carries requests instead of the network, in a test.
    Raises ConfigError for a key that no header can carry.

    A client's first request asks a worker thread about the platform: under a virtual clock, `check` before any timer.
    """

    base_url: str = attrs.field(default="https://api.anthropic.com", converter=_http)
    api_key: str = attrs.field(repr=False, converter=_key)
    model: str = "claude-haiku-5-5"
    max_tokens: int = 400
    transport: httpx2.AsyncBaseTransport | None = attrs.field(default=None, repr=False)
    _client: anthropic.AsyncAnthropic = attrs.field(init=False, repr=False)

    @_client.default
    def _new_client(self) -> anthropic.AsyncAnthropic:
        # No redirects: the key is for this host.
        if self.transport is None:
            http = anthropic.DefaultAsyncHttpxClient(limits=LIMITS, timeout=TIMEOUT, follow_redirects=False)
        else:
            http = httpx2.AsyncClient(transport=self.transport, timeout=TIMEOUT)
        return anthropic.AsyncAnthropic(
            api_key=self.api_key,
            base_url=self.base_url,
            max_retries=0,
            timeout=TIMEOUT,
            http_client=http,
            open_telemetry=False,
        )

    @property
    def vendor(self) -> str:
        """The vendor's name in the configuration."""
        return "anthropic"

    @asynccontextmanager
    async def reply(self, request: ModelRequest) -> AsyncIterator[AsyncIterator[ModelEvent]]:
        """Open the reply to `request`: texts as they come, then the tools' calls, then one `ModelEnded`.

        A tool is called only by a reply that ends for its tools, and never with arguments that are not whole. Raises
        ProviderRefused for what the same request would meet again, ProviderSlow for silence, ProviderDown for the
        rest, what is no reply included. Their code is the answer's status, or the type of the error that broke a reply
        off, such as "overloaded_error". Leaving the context closes the request's connection.
        """
        async with aclosing(self._events(request, self.max_tokens)) as events:
            yield events

    async def check(self, *, system: str, tools: tuple[ToolSchema, ...]) -> None:
        """Ask for a reply of one token: it proves the key and the model, and warms all that is slow the first time.

        That is the vendor's cache of the prompt, the connection, and the client's own building of types. Raises
        ProviderError, which says what was wrong.
        """
        request = ModelRequest(id="check", system=system, conversation=(), tools=tools)
        async with aclosing(self._events(request, 1)) as events:
            async for _ in events:
                pass

    async def aclose(self) -> None:
        """Close every connection. No reply can be asked for afterwards."""
        await self._client.close()

    async def _events(self, request: ModelRequest, max_tokens: int) -> AsyncGenerator[ModelEvent, None]:
        taken = {entry.id for entry in request.conversation if isinstance(entry, ToolCalled)}
        reader = Reader(request=request.id, taken=taken)
        request_id = ""
        try:
            async with self._answer(request, max_tokens) as response:
                request_id = response.headers.get("request-id", "")
                tap(self.vendor, "sent", response.http_request.content.decode())
                reader.opened(response.headers.get("content-type", ""))
                body = response.http_response.aiter_bytes()
                try:
                    async for chunk in body:
                        tap(self.vendor, "received", chunk.decode(errors="replace"))
                        for event in reader.push(chunk):
                            yield event
                        if reader.is_ended:
                            break
                    reader.closed()
                finally:
                    await _leave(body, LINGER_S if reader.is_ended else 0.0)
        except anthropic.APIStatusError as error:
            raise self._failed(error) from error
        except anthropic.APIConnectionError as error:
            raise self._unreached(error.__cause__ or error) from error
        except httpx2.ReadTimeout as error:
            raise ProviderSlow(f"anthropic fell silent for {TIMEOUT.read} s in its reply{_of(request_id)}") from error
        except httpx2.HTTPError as error:
            raise ProviderDown(f"anthropic broke off its reply{_of(request_id)}: {_named(error)}") from error
        except StreamBroken as error:
            family = ProviderRefused if error.kind in _REFUSALS else ProviderDown
            what = f"{shortened(error.kind)}{_of(request_id)}: {self._shown(error.text)}"
            raise family(f"anthropic broke off its reply: {what}", code=error.kind[:_LONGEST_CODE]) from error
        except WireError as error:
            raise ProviderDown(f"anthropic sent what is no whole reply{_of(request_id)}: {error}") from error

    @asynccontextmanager
    async def _answer(self, request: ModelRequest, max_tokens: int) -> AsyncIterator[AsyncAPIResponse[Message]]:
        """Ask, and open the answer: once more if the connection was gone, and with it nothing but the connection."""
        ask = partial(
            self._client.messages.with_streaming_response.create,
            model=self.model,
            max_tokens=max_tokens,
            thinking={"type": "disabled"},  # on by default, and a caller would hear it as silence
            system=prompt.system(request.system),
            messages=prompt.messages(request.conversation),
            tools=prompt.tools(request.tools) or anthropic.omit,
            stream=True,
        )
        async with AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(ask())
            except anthropic.APIConnectionError as error:
                if not isinstance(error.__cause__, _GONE):
                    raise
                response = await stack.enter_async_context(ask())
            yield response

    def _failed(self, error: anthropic.APIStatusError) -> ProviderError:
        """Return what an answer other than 200 means."""
        status = error.status_code
        spent = error.error_code in _SPENT
        refused = spent or (status < _VENDORS_OWN and status not in _MAY_PASS)
        what = "refused the request" if refused else "could not answer"
        if status == HTTPStatus.UNAUTHORIZED:
            what = "does not accept the api key"
        elif status == HTTPStatus.NOT_FOUND:
            what = f"knows no model {self.model!r} at {self.base_url}"
        kind = shortened(error.error_code if spent else error.type)
        family = ProviderRefused if refused else ProviderDown
        text = f"anthropic {what}: {status} {kind}{_of(error.request_id)}: {self._shown(error.api_message)}"
        return family(text, code=str(error.error_code if spent else status))

    def _unreached(self, cause: BaseException) -> ProviderError:
        """Return what it means that there was no answer at all."""
        if isinstance(cause, httpx2.ReadTimeout):
            return ProviderSlow(f"anthropic gave no answer in {TIMEOUT.read} s")
        return ProviderDown(f"no answer from anthropic at {self.base_url}: {_named(cause)}")

    def _shown(self, said: object) -> str:
        """Return what the vendor said, never long, and without the key, should it have sent that back."""
        text = said if isinstance(said, str) else shortened(said)
        return repr(text.replace(self.api_key, "[the key]")[:_LONGEST_SHOWN])


async def _leave(body: AsyncIterator[bytes], linger_s: float) -> None:
    """Read to the body's end, or be cancelled in the attempt: httpcore leaves what is merely closed to the garbage."""
    with suppress(httpx2.HTTPError), trio.move_on_after(linger_s):
        async for _ in body:
            pass


def _of(request_id: str | None) -> str:
    """Return by which request the vendor's support finds what happened."""
    return f" (request {shortened(request_id)})" if request_id else ""


def _named(error: BaseException) -> str:
    """Return an error's name and text; where it has none, as for a bad certificate, those of what is behind it."""
    behind = error.__cause__ or error.__context__
    return _named(behind) if behind and not str(error) else f"{type(error).__name__} {error}".strip()
