"""What Twilio reports of a call beside its stream. Comes late, twice, in any order, or not at all."""

from datetime import datetime

import attrs


@attrs.frozen(kw_only=True)
class CallReported:
    """A call's status changed.

    sequence: Twilio's count of a call's reports, from 0; reports overtake each other.
    status: "initiated", "ringing", "in-progress", "completed", "busy", "no-answer", "failed" or "canceled".
    at: when, in UTC; None where Twilio did not say.
    duration_s: of the whole call, in its final report alone.
    sip_code: why a call failed, such as "486"; empty otherwise.
    """

    call_sid: str
    sequence: int
    status: str
    at: datetime | None
    duration_s: int | None
    sip_code: str


@attrs.frozen(kw_only=True)
class StreamReported:
    """A call's stream started, stopped or failed.

    event: "stream-started", "stream-stopped" or "stream-error". error: what failed, in Twilio's words, or empty.
    at: when, in UTC; None where Twilio did not say.
    """

    call_sid: str
    stream_sid: str
    event: str
    at: datetime | None
    error: str
