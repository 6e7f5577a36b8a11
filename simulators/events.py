"""What can be seen of a call from outside, as it happens.

``at_s`` is the moment in seconds since the number was dialled, on the one timeline of the call: the recording's too.
"""

from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class _Happened:
    at_s: float


@attrs.frozen(kw_only=True)
class Ringing(_Happened):
    """The number was dialled and its server is being asked what to do."""

    caller_number: str
    dialled_number: str


@attrs.frozen(kw_only=True)
class Answered(_Happened):
    """The server told what to do: the line is open."""


@attrs.frozen(kw_only=True)
class Connected(_Happened):
    """A media stream is open and ``start`` was sent: moment zero of the stream's own timestamps."""

    stream_sid: str


@attrs.frozen(kw_only=True)
class CallerSpeaks(_Happened):
    """The caller says something; ``at_s`` and ``until_s`` are its first and last loud samples.

    text: what is said; the name of the file if it is one.
    """

    text: str
    until_s: float


@attrs.frozen(kw_only=True)
class AgentSpeaks(_Happened):
    """The caller begins to hear something; ``at_s`` is its first loud sample."""


@attrs.frozen(kw_only=True)
class AgentSilent(_Happened):
    """The caller hears nothing for a while; ``at_s`` is the last loud sample."""


@attrs.frozen(kw_only=True)
class CallerPressed(_Happened):
    """The caller pressed a key."""

    digit: str


@attrs.frozen(kw_only=True)
class CallerGaveUp(_Happened):
    """The caller waited for the agent in vain and goes on with the next step."""

    waited_for: str


@attrs.frozen(kw_only=True)
class MarkEchoed(_Happened):
    """A mark went back to the server, because what was before it was played or was cleared."""

    name: str
    cleared: bool


@attrs.frozen(kw_only=True)
class Cleared(_Happened):
    """The server had the queue dropped, so much of it unheard."""

    dropped_s: float


@attrs.frozen(kw_only=True)
class StreamEnded(_Happened):
    """A media stream is over.

    by: "network" if the phone network sent ``stop``, "server" if the server closed the socket.
    """

    stream_sid: str
    by: str
    unheard_s: float


@attrs.frozen(kw_only=True)
class NetworkSaid(_Happened):
    """<Say>: the phone network's own voice."""

    text: str


@attrs.frozen(kw_only=True)
class NetworkPlayed(_Happened):
    """<Play>: a file, or keys, to the caller."""

    what: str


@attrs.frozen(kw_only=True)
class Dialled(_Happened):
    """<Dial>: the caller was put through, with the status that came of it."""

    number: str
    status: str


@attrs.frozen(kw_only=True)
class Noticed(_Happened):
    """The phone network has an error or a warning for the server's owner, with Twilio's code for it."""

    code: int
    text: str


@attrs.frozen(kw_only=True)
class HungUp(_Happened):
    """The call is over.

    by: "caller", "agent" (the server's TwiML ended) or "network".
    """

    by: str
    why: str


Event: TypeAlias = (
    Ringing
    | Answered
    | Connected
    | CallerSpeaks
    | AgentSpeaks
    | AgentSilent
    | CallerPressed
    | CallerGaveUp
    | MarkEchoed
    | Cleared
    | StreamEnded
    | NetworkSaid
    | NetworkPlayed
    | Dialled
    | Noticed
    | HungUp
)
