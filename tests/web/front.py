"""A front door as tests open it: what it refused, and a way in."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import attrs
from quart_trio import QuartTrio

from engine.messages.admission import NextStep, Ticket
from engine.messages.callbacks import CallReported, StreamReported
from web.app import TenantChoice, create_app
from web.door import DoorPolicy, FrontDoor
from web.tickets import Tickets, stream_keys

KEYS = stream_keys(["an auth token of this test"])
CALL_SID = "CA" + "1" * 32
TICKET = Ticket(call_sid=CALL_SID, tenant="clinic", caller="+15550100001", dialled="+15550100002")
PUBLIC_URL = "https://voice.example.com"

# Every field that Twilio documents for an incoming call, and one that it may add tomorrow.
INCOMING = {
    "CallSid": CALL_SID,
    "AccountSid": "AC" + "0" * 32,
    "From": "+15550100001",
    "To": "+15550100002",
    "Caller": "+15550100001",
    "Called": "+15550100002",
    "CallStatus": "ringing",
    "Direction": "inbound",
    "ApiVersion": "2010-04-01",
    "ForwardedFrom": "+15550100003",
    "CallerName": "ANN O'HARA",
    "CallToken": "%7B%22parentCallInfoToken%22%7D",
    "StirVerstat": "TN-Validation-Passed-A",
    "FromCity": "",
    "FromState": "CA",
    "FromZip": "94105",
    "FromCountry": "US",
    "ToCity": "",
    "AFieldOfTomorrow": "é",
}


def media_path(ticket: Ticket = TICKET, *, keys: Sequence[bytes] = KEYS, token_s: float = 60.0) -> str:
    """A path that lets in once."""
    return "/media/" + Tickets(keys, token_s=token_s).issue(ticket)


@attrs.define
class Tokens:
    """The table of used tokens, which several doors may share."""

    used: set[str] = attrs.field(factory=set)

    async def consume(self, token_id: str, _expires_at: datetime) -> bool:
        is_new = token_id not in self.used
        self.used.add(token_id)
        return is_new


@attrs.define
class Front:
    """A door and its app, with what they were asked and told."""

    public_url: str = PUBLIC_URL
    policy: DoorPolicy = DoorPolicy()
    auth_tokens: Sequence[str] = ()
    tenants: dict[str, TenantChoice] = attrs.field(
        factory=lambda: {"+15550100002": TenantChoice("clinic", "+15550100009"), "+15550100003": TenantChoice("shop")}
    )
    steps: dict[str, NextStep] = attrs.field(factory=dict)
    ready: Callable[[], str | None] = lambda: None
    consume: Callable[[str, datetime], Awaitable[bool]] = attrs.field(factory=lambda: Tokens().consume)
    refused: list[tuple[str, str]] = attrs.field(factory=list)
    counted: list[str] = attrs.field(factory=list)
    reports: list[CallReported | StreamReported] = attrs.field(factory=list)
    fails: Exception | None = None
    door: FrontDoor = attrs.field(init=False)
    app: QuartTrio = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.door = FrontDoor(
            public_url=self.public_url,
            policy=self.policy,
            auth_tokens=self.auth_tokens,
            keys=KEYS,
            consume=self.consume,
            count=lambda door, why: self.refused.append((door, why)),
        )
        self.app = create_app(
            self.door,
            choose=self.tenants.get,
            next_step=self._next_step,
            record_call=self._record,
            record_stream=self._record,
            metrics=lambda: (b"calls 3\n", "text/plain; version=1.0.0; charset=utf-8"),
            counted=lambda name, _amount: self.counted.append(name),
            ready=self.ready,
        )

    async def _next_step(self, call_sid: str) -> NextStep | None:
        if self.fails is not None:
            raise self.fails
        return self.steps.get(call_sid)

    async def _record(self, report: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.reports.append(report)
