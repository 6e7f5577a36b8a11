"""How the simulated Deepgram behaves: how late, how oddly, and what goes wrong."""

from collections.abc import Callable

import attrs

from simulators.faults import Fault, Refuse

UNFINISHED = frozenset({"and", "but", "or", "so", "um", "uh", "because", "is", "the", "a", "to", "my", "with"})
"""Words after which nobody has finished."""


@attrs.frozen(kw_only=True)
class FluxPolicy:
    """What a stream of Flux meets besides. The defaults are what is documented, or was measured.

    unfinished: words, in lower case and without punctuation, after which a turn is unlikely to be over.
    mid_turn: what goes wrong once `mid_turn_words` words of the turn `mid_turn_index` were made out.
    lost: numbers of messages that never go out.
    """

    unfinished: frozenset[str] = UNFINISHED
    mid_turn: Fault | None = None
    mid_turn_index: int = 0
    mid_turn_words: int = 2
    lost: frozenset[int] = frozenset()

    connected_late_s: float = 0.02
    """From the handshake to Connected."""
    late_s: float = 0.1
    """From the audio that a message speaks of to the message."""
    update_s: float = 0.25
    """Audio from one message to the next, whatever is in it."""
    start_s: float = 0.2
    """Sound of a word before its turn begins."""
    sure_s: float = 0.37
    """Silence at which a turn is certainly over: at the usual threshold of 0.7 it ends 0.26 s after the last word."""
    unsure_s: float = 4.0
    """The same after an unfinished word."""
    wavers: int = 0
    """How often in a turn its end is expected, and taken back although nobody spoke, before it comes."""
    waver_s: float = 0.12
    """From each to its being taken back."""
    starts_on_noise: bool = False
    """Whether noise begins a turn, which has no words then."""
    close_ends_turn: bool = False
    """Whether CloseStream ends the open turn; undocumented."""
    takes_force_end_turn: bool = False
    """Whether ForceEndTurn is enabled; it ends the stream if not."""
    shift_s: float = 0.0
    """How much later than they are all words seem to lie; connections differ by up to 0.06."""
    word_times: bool = True
    """Whether words have times; they are optional."""
    configure_late_s: float = 0.1
    idle_s: float = 60.0
    """Without a frame or a ping."""


@attrs.frozen(kw_only=True)
class DeepgramPolicy:
    """What one connection meets. The defaults are what was measured on the real one.

    keys: who may use `Token`; None takes any. grants: the short-lived tokens that may use `Bearer`.
    forbidden_models: those that the key's project may not use (403).
    refuse: answers the handshake with an error. faults: what goes wrong with the open socket.
    mangle: what becomes of each message on its way out. flux: how `/v2/listen` behaves besides.
    """

    keys: frozenset[str] | None = None
    grants: frozenset[str] = frozenset()
    forbidden_models: frozenset[str] = frozenset()
    refuse: Refuse | None = None
    faults: tuple[Fault, ...] = ()
    mangle: Callable[[str], str | bytes] | None = None
    flux: FluxPolicy = FluxPolicy()

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
