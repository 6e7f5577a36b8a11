"""How the simulated ElevenLabs behaves: how late, in what pieces, and what goes wrong."""

from collections.abc import Callable

import attrs
from attrs.validators import deep_iterable, ge, gt, min_len

from simulators.faults import Fault, Refuse


@attrs.frozen(kw_only=True)
class ElevenLabsPolicy:
    """What one connection meets. The defaults are near to what was measured on the real one.

    keys: who may use `xi-api-key`; None takes any. tokens: what may stand in a URL or a first message instead.
    voices: those that there are; None takes any.
    credits: characters that the account has left, counted over all connections; None for no end of them.
    refuse: answers the handshake, or the request, with an error. faults: what goes wrong with the open socket.
    mangle: what becomes of each message on its way out.
    """

    keys: frozenset[str] | None = None
    tokens: frozenset[str] = frozenset()
    voices: frozenset[str] | None = None
    credits: int | None = None
    refuse: Refuse | None = None
    faults: tuple[Fault, ...] = ()
    mangle: Callable[[str], str | bytes] | None = None

    handshake_s: float = 0.15
    """Until the handshake, or the request, is answered."""
    first_audio_s: float = 0.15
    """From the text that sets off a generation to its first audio: 75 ms of the model's, and the way."""
    pace: float = attrs.field(default=5.0, validator=gt(0))
    """How fast audio comes, in seconds a second."""
    chunk_bytes: tuple[int, ...] = attrs.field(default=(1777, 3200, 641), validator=[min_len(1), deep_iterable(gt(0))])
    """How much audio is in a message: these sizes, over and over, for each generation anew."""
    alignment: bool = True
    """Whether there is any. If so, with `sync_alignment` it comes with each message, else on a generation's first."""
    null_audio: bool = False
    """Whether a message without audio, alignment or anything comes after each generation's first one."""
    residual_messages: int = attrs.field(default=2, validator=ge(0))
    """How many messages of audio still come after a `close_context` that no `flush` went before."""
    final_late_s: float = 0.02
    """From a context's last audio to its `isFinal`. Until then it counts as open."""
    refuses_late: bool = False
    """Whether a wrong key is let in, and told so by the first message; both are seen."""
    concurrency: int = 10
    """How many HTTP requests may be under way."""
    strange: bool = False
    """Whether there are fields and messages of kinds that nobody knows yet."""
