"""FrontDoor: who is let in. What Twilio did not sign, what was not promised a line, and what comes twice stays out.

Theory of operation. A webhook that is signed asks for a line; the door promises one, within its limits, and hands out
an address for the media stream, with a token in its path: encrypted, good for a minute, made for this call. The
stream's handshake, signed too, brings the token back; the door uses it up in the database, which the worker processes
share, and gives the call the ticket that was in it. A promise counts as a call until its line opens or its token
expires, so that a burst cannot get past the limits. They are each process's own.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import Final

import attrs
import structlog
import trio
from hypercorn.typing import WebsocketScope
from werkzeug.datastructures import MultiDict

from engine.codec.public_url import check_public_url
from engine.messages.admission import Ticket
from engine.messages.errors import ConfigError, EngineBug
from web.lines import Full, Lines
from web.proxies import Asker, Proxies, Request, is_forwarded, names_the_world
from web.signatures import BadSignature, Signatures
from web.tickets import BadToken, Tickets

# Learnt from TwiML alone: a token follows it.
MEDIA_PATH: Final = "/media"

# Twilio waits 5 to 10 s for a handshake; a caller should not hear that much of nothing.
CONSUME_S: Final = 2.0

# What comes after a stream is asked within a second of its end, if at all: whoever hung up asks for nothing.
AFTER_S: Final = 3.0

log = structlog.get_logger()


@attrs.frozen(kw_only=True)
class DoorPolicy:
    """Whom a process lets in, and how many.

    calls_at_once: open and promised. 50: what a core carries, twice over, before callers hear it.
    calls_a_minute_per_caller: 240: a switchboard, or all who withhold their number, stays below; a loop does not.
    token_s: seconds from TwiML to the stream's handshake. 60: Twilio takes one; the rest is for clocks that differ.
    trusted_proxies: addresses and networks whose X-Forwarded-* headers are believed. None: anybody can write them.
    """

    calls_at_once: int = 50
    calls_a_minute_per_caller: int = 240
    token_s: float = 60.0
    trusted_proxies: tuple[str, ...] = ()


class Closed(Enum):
    """The door takes no new call; the value is what is logged and counted."""

    DRAINING = "draining"


class FrontDoor:
    """The door of one process, shared by the webhooks and the media WebSocket.

    public_url: what Twilio sees; see `check_public_url`.
    auth_tokens: any may have signed; none: signatures are not checked, which is for loopback alone.
    keys: for stream tokens, newest first (`web.tickets.stream_keys`).
    consume: whether a token's id is used for the first time, anywhere; may raise ConfigError or EngineBug, and then
        this process's own memory has to do.
    count: is told of each refusal, by door and reason; must not wait or raise.

    Raises ConfigError for a public URL, a proxy or an auth token that is of no use.
    """

    def __init__(  # noqa: PLR0913 (what it must know, each by its name)
        self,
        *,
        public_url: str,
        policy: DoorPolicy,
        auth_tokens: Sequence[str],
        keys: Sequence[bytes],
        consume: Callable[[str, datetime], Awaitable[bool]],
        count: Callable[[str, str], None],
    ) -> None:
        self.public_url: Final = check_public_url(public_url)
        self._media_origin = "ws" + self.public_url.removeprefix("http")
        self._policy = policy
        self._signatures = Signatures(auth_tokens)
        self._tickets = Tickets(keys, token_s=policy.token_s)
        self._proxies = Proxies(policy.trusted_proxies)
        self._lines = Lines(
            at_once=policy.calls_at_once, a_minute=policy.calls_a_minute_per_caller, promise_s=policy.token_s
        )
        self._consume = consume
        self._count = count
        # Ids of tokens used here, and when they may be forgotten. Invariant: in the order of that.
        self._used: OrderedDict[str, float] = OrderedDict()
        self._fewer_calls = trio.Event()
        # Calls whose line closed here and that have not asked what comes next, and until when they may. Invariant: in
        # the order of that.
        self._unasked: OrderedDict[str, float] = OrderedDict()
        self.is_draining = False

    # ── webhooks ────────────────────────────────────────────────────────────────────────────────────────────────────

    def is_unsigned(self, request: Request) -> bool:
        """Whether a webhook lacks the signature that it needs: it is not worth reading on."""
        return self._signatures.is_missing(request)

    def check_webhook(self, request: Request, form: MultiDict[str, str]) -> BadSignature | None:
        """Return what is wrong with a webhook's signature, None when it is good. form: all that was posted."""
        if self._is_from_elsewhere(request):
            return BadSignature.ELSEWHERE
        query = request["query_string"].decode("latin-1")
        path = request["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        origins = (self.public_url, self._proxies.origin(request))
        return self._signatures.check(request, [origin + path for origin in origins if origin], form)

    def _is_from_elsewhere(self, request: Request) -> bool:
        """Whether a request came by a proxy or a tunnel, where nobody can tell Twilio's: those end on this machine too.

        They say so in a header, or ask for a name that the world knows: one with a dot in it.
        """
        if self._signatures.are_checked:
            return False
        return is_forwarded(request) or names_the_world(request)

    def asker(self, request: Request) -> Asker:
        """Return who asks."""
        return self._proxies.asker(request)

    def refuse(self, door: str, why: str, request: Request, **facts: str) -> None:
        """Count and log that a request was turned away. Neither is given a signature, a token or a caller's number."""
        self._count(door, why)
        log.warning("request_refused", door=door, why=why, client=self.asker(request).client, **facts)

    def refuse_unheard(self, why: str, client: str) -> None:
        """Count and log what was no request that could be looked at: no HTTP, no handshake."""
        self._count("http", why)
        log.warning("request_refused", door="http", why=why, client=client)

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def connect(self, ticket: Ticket) -> str | Full | Closed:
        """Promise a call a line and return its stream's address, good for one use within `token_s`; or why not."""
        if self.is_draining:
            return Closed.DRAINING
        full = self._lines.promise(ticket.call_sid, ticket.caller, trio.current_time())
        if full is not None:
            return full
        return f"{self._media_origin}{MEDIA_PATH}/{self._tickets.issue(ticket)}"

    async def admit(self, request: WebsocketScope) -> Ticket | BadSignature | BadToken:
        """Return the ticket of a media stream's handshake, used up by this; or why the stream stays out.

        Cancelled: the token may be used up.
        """
        if self._is_from_elsewhere(request):
            return BadSignature.ELSEWHERE
        path = request["raw_path"].decode("latin-1")
        origins = (self._media_origin, self._proxies.origin(request))
        wrong = self._signatures.check(request, [origin + path for origin in origins if origin], None)
        if wrong is not None:
            return wrong
        opened = self._tickets.read(path.removeprefix(MEDIA_PATH).removeprefix("/"))
        if isinstance(opened, BadToken):
            return opened
        if not await self._is_first_use(opened.id, opened.expires_at):
            return BadToken.USED
        return opened.ticket

    @contextmanager
    def line(self, call_sid: str) -> Iterator[None]:
        """Count a line as open for as long as this is."""
        self._lines.open(call_sid)
        try:
            yield
        finally:
            self._lines.close()
            self._forget_unasked()
            self._unasked[call_sid] = trio.current_time() + AFTER_S
            self._unasked.move_to_end(call_sid)
            self._tell_of_fewer_calls()

    def release(self, call_sid: str) -> None:
        """Forget the line that a call was promised: it is over, its stream failed, or it asks what comes next."""
        self._lines.release(call_sid)
        self._unasked.pop(call_sid, None)
        self._tell_of_fewer_calls()

    @property
    def calls(self) -> int:
        """How many calls are here, or on their way from TwiML to their stream."""
        return self._lines.count(trio.current_time())

    def drain(self) -> None:
        """Take no new call from now on. Those that are here, or were promised a line, are served as ever."""
        self.is_draining = True

    async def empty(self) -> None:
        """Wait until no call is here or on its way."""
        while self.calls:
            with trio.move_on_at(self._lines.next_lapse_at()):
                await self._fewer_calls.wait()

    async def settled(self) -> None:
        """Wait until each call that ended here has asked what comes next, or will not any more: `AFTER_S` at most.

        A server that leaves before has its callers hear of an application error instead, and puts nobody through.
        """
        self._forget_unasked()
        while self._unasked:
            with trio.move_on_at(next(iter(self._unasked.values()))):
                await self._fewer_calls.wait()
            self._forget_unasked()

    def _forget_unasked(self) -> None:
        now = trio.current_time()
        while self._unasked and next(iter(self._unasked.values())) <= now:
            self._unasked.popitem(last=False)

    def _tell_of_fewer_calls(self) -> None:
        self._fewer_calls.set()
        self._fewer_calls = trio.Event()

    async def _is_first_use(self, token_id: str, expires_at: datetime) -> bool:
        now = trio.current_time()
        while self._used and next(iter(self._used.values())) <= now:
            self._used.popitem(last=False)
        if token_id in self._used:
            return False
        self._used[token_id] = now + self._policy.token_s
        try:
            with trio.fail_after(CONSUME_S):
                return await self._consume(token_id, expires_at)
        except (ConfigError, EngineBug, trio.TooSlowError) as error:
            # A caller is not turned away because a database is: the signature and this process's memory stand.
            log.exception("token_not_recorded", why=str(error) or f"the database took over {CONSUME_S:g} s")
            return True
