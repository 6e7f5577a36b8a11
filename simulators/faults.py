"""What can go wrong with a vendor, for a simulator that is told to have it go wrong."""

from typing import TypeAlias

import attrs


@attrs.frozen(kw_only=True)
class Refuse:
    """The handshake, or the request, is answered with an HTTP error: status, and the vendor's own code for it.

    code, message: "" has the vendor's usual ones for that status.
    """

    status: int
    code: str = ""
    message: str = ""


@attrs.frozen(kw_only=True)
class _Moment:
    """When it goes wrong, once an open socket has lived for `after_s`.

    after_messages: instead, when the simulator is about to send one more message than so many.
    """

    after_s: float = 0.0
    after_messages: int | None = None


@attrs.frozen(kw_only=True)
class Close(_Moment):
    """The vendor closes the socket. 1006 is no code on a wire: the connection is dropped without a word."""

    code: int = 1011
    reason: str = ""


@attrs.frozen(kw_only=True)
class Stall(_Moment):
    """The vendor says nothing any more, and leaves the socket open.

    reads: whether it goes on reading. If not, pings stay without an answer, and a sender is blocked in the end.
    """

    reads: bool = True


@attrs.frozen(kw_only=True)
class Garble(_Moment):
    """The vendor sends one message that means nothing: text, or bytes in a binary frame."""

    message: str | bytes = '{"type":"Results","channel":{"alternatives":[{"transc'


Fault: TypeAlias = Close | Stall | Garble
