"""How the simulated Deepgram behaves: how late, how oddly, and what goes wrong."""

from collections.abc import Callable

import attrs

from simulators.faults import Fault, Refuse


@attrs.frozen(kw_only=True)
class DeepgramPolicy:
    """What one connection meets. The defaults are what was measured on the real one.

    keys: who may use `Token`; None takes any. grants: the short-lived tokens that may use `Bearer`.
    forbidden_models: those that the key's project may not use (403).
    refuse: answers the handshake with an error. faults: what goes wrong with the open socket.
    mangle: what becomes of each message on its way out.
    """

    keys: frozenset[str] | None = None
    grants: frozenset[str] = frozenset()
    forbidden_models: frozenset[str] = frozenset()
    refuse: Refuse | None = None
    faults: tuple[Fault, ...] = ()
    mangle: Callable[[str], str | bytes] | None = None

    handshake_s: float = 0.15
    """Until the handshake is answered: 0.13 to 0.29 measured."""
    interim_late_s: float = 0.1
    """From the audio that an interim covers to the interim."""
    final_late_s: float = 0.2
    """From the end of the endpointing silence to the final: 0.15 to 0.3."""
    utterance_end_late_s: float = 0.2
    """From the end of the silence that ends an utterance to its UtteranceEnd. One over 1.0 comes in the next turn."""
    configure_late_s: float = 0.1
    interim_s: float = 1.0
    """Audio from one Results to the next, also in silence."""
    window_s: float = 4.5
    """Continuous speech after which a window is closed without an endpoint; also the length of a silent window."""
    ingest: float = 1.25
    """How fast audio is heard, in seconds a second: what comes faster waits."""
    idle_s: float = 12.0
    """Without audio and text: documented as 10, measured as 12."""
    rewrites: bool = True
    """Whether an interim ends with the beginning of the word that is being said, which a later one takes back."""
    noisy: bool = False
    """Whether noise keeps endpointing from ever noticing silence: then only UtteranceEnd ends an utterance."""
    stale_utterance_end: bool = True
    """Whether an utterance that speech_final has ended gets an UtteranceEnd with its time, as measured; if not, with
    `last_word_end` -1, as documented."""
    silent_speech_final: bool = True
    """Whether a window of nothing but silence is closed with speech_final too."""
    answers_finalize: bool = True
    """Whether Finalize gets its Results; documented as not guaranteed."""
    finalize_is_speech_final: bool = False
    """The value of speech_final in it; undocumented."""
    repeats_interims: bool = False
    """Whether the last interim of a window comes once more, after the window's final."""
    strange: bool = False
    """Whether there are fields and messages of kinds that nobody knows yet."""
