"""What passes between the front door and a call: who was let in, and what comes after the stream."""

from typing import Literal

import attrs


@attrs.frozen(kw_only=True)
class Ticket:
    """Who is on the other end of a media stream: what the webhook said, proven by the stream's signed, used-up token.

    The stream's own `start` proves nothing: its `callSid` must be this one.

    tenant: the business's id.
    caller: as Twilio wrote it: E.164, `client:…`, `sip:…` or "anonymous".
    dialled: the same, of the number that was called.
    """

    call_sid: str
    tenant: str
    caller: str = attrs.field(repr=False)  # a person's number is in no log unless the operator wants it
    dialled: str


@attrs.frozen(kw_only=True)
class NextStep:
    """What Twilio is to do with a call once its stream has ended.

    kind: "hangup", or "transfer" to `number`, which is E.164.
    say: a sentence before that, in Twilio's own voice; empty: none.
    """

    kind: Literal["hangup", "transfer"]
    say: str = ""
    number: str = ""
