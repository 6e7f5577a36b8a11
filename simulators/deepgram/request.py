"""The request for a stream: who asks, for what, and why it is refused."""

import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from simulators.deepgram.policy import DeepgramPolicy
from simulators.faults import Refuse
from simulators.websocket import Request

PATH: Final = "/v1/listen"

_NOVA_3: Final = frozenset({"nova-3", "nova-3-general", "nova-3-medical"})
_NOVA_2: Final = frozenset(
    {"nova-2", "nova-2-general", "nova-2-phonecall", "nova-2-conversationalai", "nova-2-voicemail", "nova-2-meeting"}
    | {"nova-2-medical", "nova-2-finance", "nova-2-drivethru", "nova-2-automotive", "nova-2-atc", "nova-2-video"}
)
_CUSTOM: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LANGUAGE: Final = re.compile(r"multi|[a-z]{2}(-[A-Za-z0-9]{2,4})*")
_ENCODINGS: Final = frozenset(
    {"linear16", "linear32", "flac", "alaw", "mulaw", "amr-nb", "amr-wb", "opus", "ogg-opus", "speex", "g729"}
)
_REDACTED: Final = frozenset({"pci", "numbers", "aggressive_numbers", "ssn"})
_REPEATABLE: Final = frozenset({"keyterm", "keywords", "language_hint", "redact", "replace", "search", "tag", "extra"})
_KEYTERM_TOKENS: Final = 500
_BAD_REQUEST: Final = 400
_LEAST_UTTERANCE_END_MS: Final = 1000

USUAL: Final[Mapping[int, tuple[str, str]]] = {
    400: ("Bad Request", "The request is invalid."),
    401: ("INVALID_AUTH", "Invalid credentials."),
    402: ("ASR_PAYMENT_REQUIRED", "Project does not have enough credits for an ASR request."),
    403: ("INSUFFICIENT_PERMISSIONS", "Project does not have access to the requested model."),
    404: ("NOT_FOUND", "There is nothing at this path."),
    429: ("TOO_MANY_REQUESTS", "Too many requests. Please try again later"),
    500: ("INTERNAL_SERVER_ERROR", "Something went wrong."),
    503: ("SERVICE_UNAVAILABLE", "Please try again later."),
}
"""The error's code and text that go with a status."""


class RefusedError(Exception):
    """A request that is answered with an HTTP error. is_fault: whether the client is to blame for it."""

    def __init__(self, refusal: Refuse, why: str = "", *, is_fault: bool = True) -> None:
        super().__init__(why)
        self.refusal = refusal
        self.is_fault = is_fault


@attrs.frozen(kw_only=True)
class Options:
    """What was asked for. endpointing_s: None where it is off. utterance_end_s: None where it was not asked for."""

    model: str
    language: str = "en"
    interim_results: bool = False
    endpointing_s: float | None = 0.01
    utterance_end_s: float | None = None
    vad_events: bool = False
    punctuated: bool = False
    keyterms: tuple[str, ...] = ()

    @property
    def takes_keyterms(self) -> bool:
        """Whether its model knows them."""
        return self.model in _NOVA_3


def read_options(request: Request, policy: DeepgramPolicy) -> Options:
    """Return what a handshake asks for. Raises RefusedError."""
    let_in(request, policy, PATH)
    return _options(request, policy)


def let_in(request: Request, policy: DeepgramPolicy, path: str) -> None:
    """Look at where a handshake goes and who asks for it. Raises RefusedError."""
    if request.path != path or not request.upgrades:
        raise refused(404, f"no stream at {request.method} {request.path!r}; known: a WebSocket at {path!r}")
    _check_key(request, policy)
    if policy.refuse is not None:
        raise RefusedError(policy.refuse, is_fault=False)


def subprotocol(request: Request) -> str | None:
    """Return the subprotocol that is answered: the first, where the key came in the second."""
    offered = request.header("sec-websocket-protocol")
    return offered.partition(",")[0].strip() if offered else None


def _check_key(request: Request, policy: DeepgramPolicy) -> None:
    given = request.header("authorization")
    offered = request.header("sec-websocket-protocol")
    if given is not None:
        scheme, _, key = given.partition(" ")
    elif offered is not None:
        scheme, _, key = offered.partition(",")
    else:
        raise refused(401, "no 'Authorization' header")
    kind, key = scheme.strip().lower(), key.strip()
    known = policy.grants if kind == "bearer" else policy.keys
    if kind not in {"token", "bearer"} or not key or (known is not None and key not in known):
        raise refused(401, f"unknown key with scheme {scheme!r}")


def check_parameters(request: Request, known: "Mapping[str, IsAllowed]", repeatable: frozenset[str]) -> None:
    """Look at each parameter by itself. Raises RefusedError."""
    for name in {each.name for each in request.query}:
        if name not in known:
            raise refused(400, f"unknown parameter {name!r}")
        values = request.parameters(name)
        if len(values) > 1 and name not in repeatable:
            raise refused(400, f"parameter {name!r} more than once")
        for value in values:
            if not known[name](value):
                raise refused(400, f"parameter {name!r} cannot be {value!r}")


def _options(request: Request, policy: DeepgramPolicy) -> Options:
    check_parameters(request, _PARAMETERS, _REPEATABLE)
    given = {each.name: each.value for each in request.query}
    keyterms = tuple(request.parameters("keyterm"))
    _check_together(given, keyterms)
    if given["model"] in policy.forbidden_models:
        raise RefusedError(Refuse(status=403), is_fault=False)
    endpointing = given.get("endpointing", "10")
    return Options(
        model=given["model"],
        language=given.get("language", "en"),
        interim_results=given.get("interim_results") == "true",
        endpointing_s=None if endpointing == "false" else int(endpointing) / 1000,
        utterance_end_s=int(given["utterance_end_ms"]) / 1000 if "utterance_end_ms" in given else None,
        vad_events=given.get("vad_events") == "true",
        punctuated="true" in {given.get("punctuate"), given.get("smart_format")},
        keyterms=keyterms,
    )


def _check_together(given: dict[str, str], keyterms: tuple[str, ...]) -> None:
    """Refuse parameters that do not go with each other."""
    if "model" not in given:
        raise refused(400, "no parameter 'model'")
    audio = (given.get("encoding"), given.get("sample_rate"), given.get("channels", "1"))
    if audio != ("mulaw", "8000", "1"):
        raise refused(400, f"encoding, sample_rate, channels {audio}; this simulator hears ('mulaw', '8000', '1')")
    if "utterance_end_ms" in given and given.get("interim_results") != "true":
        raise refused(400, "'utterance_end_ms' needs 'interim_results=true'")
    if keyterms and given["model"] not in _NOVA_3:
        raise refused(400, f"'keyterm' with model {given['model']!r}; nova-3 alone has them")
    if "keywords" in given and given["model"] in _NOVA_3:
        raise refused(400, "'keywords' with nova-3, which has 'keyterm'")
    if "language_hint" in given and given.get("language") != "multi":
        raise refused(400, "'language_hint' needs 'language=multi'")
    if too_many(keyterms):
        raise refused(400, f"keyterms of more than {_KEYTERM_TOKENS} tokens")


def too_many(keyterms: tuple[str, ...]) -> bool:
    """Whether keyterms are beyond the limit; a word is taken for a token."""
    return sum(len(term.split()) for term in keyterms) > _KEYTERM_TOKENS


def refused(status: int, why: str) -> RefusedError:
    """Return a refusal for which the client is to blame."""
    return RefusedError(Refuse(status=status, message=why if status == _BAD_REQUEST else ""), why)


IsAllowed: TypeAlias = Callable[[str], bool]
"""Whether a parameter may have this value."""


def boolean(value: str) -> bool:
    """Whether a value is one of the two literals."""
    return value in {"true", "false"}


def words(value: str) -> bool:
    """Whether there is anything in a value."""
    return bool(value.strip())


def number(least: int, most: int = 1_000_000) -> IsAllowed:
    """Return whether a value is a whole number within bounds."""
    return lambda value: value.isascii() and value.isdigit() and least <= int(value) <= most


def one_of(*allowed: str) -> IsAllowed:
    """Return whether a value is one of these."""
    return frozenset(allowed).__contains__


def _model(value: str) -> bool:
    return value in _NOVA_3 | _NOVA_2 or bool(_CUSTOM.fullmatch(value))


def _endpointing(value: str) -> bool:
    return value == "false" or number(0)(value)


def language_tag(value: str) -> bool:
    """Whether a value names a language, or "multi"."""
    return bool(_LANGUAGE.fullmatch(value))


_PARAMETERS: Final[Mapping[str, IsAllowed]] = {
    "model": _model,
    "encoding": _ENCODINGS.__contains__,
    "sample_rate": number(8000, 192_000),
    "channels": number(1, 20),
    "multichannel": boolean,
    "language": language_tag,
    "language_hint": language_tag,
    "interim_results": boolean,
    "endpointing": _endpointing,
    "utterance_end_ms": number(_LEAST_UTTERANCE_END_MS),
    "vad_events": boolean,
    "punctuate": boolean,
    "smart_format": boolean,
    "numerals": boolean,
    "dictation": boolean,
    "profanity_filter": boolean,
    "diarize": boolean,
    "diarize_model": one_of("v1", "latest"),
    "redact": _REDACTED.__contains__,
    "replace": words,
    "search": words,
    "detect_entities": boolean,
    "keyterm": words,
    "keywords": words,
    "no_delay": boolean,
    "filler_words": boolean,
    "callback": words,
    "callback_method": one_of("POST", "PUT", "post", "put"),
    "extra": words,
    "tag": words,
    "mip_opt_out": boolean,
    "version": words,
}
