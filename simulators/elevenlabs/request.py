"""The request for speech: who asks, for what voice, and why it is refused."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from simulators.elevenlabs.policy import ElevenLabsPolicy
from simulators.faults import Refuse
from simulators.websocket import HttpAnswer, Request

_SOCKET: Final = re.compile(r"/v1/text-to-speech/(?P<voice>[^/]+)/(?P<kind>stream-input|multi-stream-input)")
_SPEECH: Final = re.compile(r"/v1/text-to-speech/(?P<voice>[^/]+)(/stream)?")
_SPOKEN_FORMAT: Final = "ulaw_8000"
_PCM: Final = frozenset(f"pcm_{rate}" for rate in (8000, 16000, 22050, 24000, 44100))
_FORMATS: Final = frozenset(
    {"mp3_22050_32", "alaw_8000", _SPOKEN_FORMAT}
    | {f"mp3_44100_{rate}" for rate in (32, 64, 96, 128, 192)}
    | {f"opus_48000_{rate}" for rate in (32, 64, 96, 128, 192)}
    | _PCM
)
_HTTP_FORMATS: Final = _FORMATS | {"mp3_24000_48", "pcm_32000", "pcm_48000"}

LONGEST_TEXT: Final[Mapping[str, int]] = {
    "eleven_flash_v2_5": 40_000,
    "eleven_turbo_v2_5": 40_000,
    "eleven_flash_v2": 30_000,
    "eleven_turbo_v2": 30_000,
    "eleven_multilingual_v2": 10_000,
    "eleven_v3": 5_000,
}
"""The models, and how many characters a request to each may have."""
_HTTP_ONLY: Final = frozenset({"eleven_v3"})
_USUAL_MODEL: Final = "eleven_multilingual_v2"

USUAL: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid_parameters", "The request has invalid parameters."),
    401: ("invalid_api_key", "Invalid API key"),
    403: ("only_for_creator+", "This is available from the creator tier on."),
    404: ("not_found", "There is nothing at this path."),
    409: ("conflict", "The request conflicts with another."),
    425: ("too_early", "The request comes too early."),
    429: ("too_many_concurrent_requests", "Too many concurrent requests."),
    500: ("something_went_wrong", "Something went wrong."),
}
"""The `detail.status` and text that go with an HTTP status."""


class RefusedError(Exception):
    """A request that is answered with an HTTP error. is_fault: whether the client is to blame for it.

    problems: what is wrong with a body that does not validate; then the answer is a list of these.
    """

    def __init__(self, refusal: Refuse, why: str, *, is_fault: bool = True, problems: tuple[Any, ...] = ()) -> None:
        super().__init__(why)
        self.refusal = refusal
        self.is_fault = is_fault
        self.problems = problems

    def answer(self) -> HttpAnswer:
        """The answer that says so."""
        if self.problems:
            return HttpAnswer.json(self.refusal.status, {"detail": list(self.problems)})
        code, message = USUAL.get(self.refusal.status, USUAL[500])
        detail = {"status": self.refusal.code or code, "message": self.refusal.message or message}
        return HttpAnswer.json(self.refusal.status, {"detail": detail})


@attrs.frozen(kw_only=True)
class Options:
    """What a socket was asked for. authorised: whether a good key came; if not, the first message must have one."""

    voice: str
    multi: bool
    model: str
    inactivity_s: float = 20.0
    sync_alignment: bool = False
    auto_mode: bool = False
    authorised: bool = True


@attrs.frozen(kw_only=True)
class SpeechRequest:
    """What an HTTP request asks for."""

    voice: str
    model: str
    text: str


def read_options(request: Request, policy: ElevenLabsPolicy) -> Options:
    """Return what a handshake asks for. Raises RefusedError."""
    path = _SOCKET.fullmatch(request.path)
    if path is None:
        raise refused(404, f"no socket at {request.path!r}")
    authorised = _check_key(request, policy)
    if policy.refuse is not None:
        raise RefusedError(policy.refuse, "as told", is_fault=False)
    given = _parameters(request, _SOCKET_PARAMETERS)
    _check_format(given, _FORMATS)
    return Options(
        voice=path["voice"],
        multi=path["kind"] == "multi-stream-input",
        model=given.get("model_id", _USUAL_MODEL),
        inactivity_s=float(given.get("inactivity_timeout", "20")),
        sync_alignment=given.get("sync_alignment") == "true",
        auto_mode=given.get("auto_mode") == "true",
        authorised=authorised,
    )


def why_not(options: Options, policy: ElevenLabsPolicy) -> tuple[str, str] | None:
    """Return the error and its text for a voice or model that there is not; a socket tells them once it is open."""
    if policy.voices is not None and options.voice not in policy.voices:
        return "voice_not_found", f"A voice with the voice_id {options.voice} was not found."
    if options.model not in LONGEST_TEXT:
        return "model_not_found", f"A model with the model_id {options.model} was not found."
    if options.model in _HTTP_ONLY:
        return "unsupported_model", f"The model {options.model} is not available on this socket."
    return None


def read_speech_request(request: Request, policy: ElevenLabsPolicy) -> SpeechRequest:
    """Return what an HTTP request asks for. Raises RefusedError."""
    path = _SPEECH.fullmatch(request.path)
    if path is None or request.method != "POST":
        raise refused(404, f"nothing at {request.method} {request.path!r}")
    if not _check_key(request, policy):
        raise refused(401, "no key", code="needs_authorization")
    if policy.refuse is not None:
        raise RefusedError(policy.refuse, "as told", is_fault=False)
    given = _parameters(request, _SPEECH_PARAMETERS)
    _check_format(given, _HTTP_FORMATS)
    if policy.voices is not None and path["voice"] not in policy.voices:
        raise refused(404, f"no voice {path['voice']!r}", code="voice_not_found")
    body = _body(request)
    model = body.get("model_id") or _USUAL_MODEL
    if model not in LONGEST_TEXT:
        raise refused(400, f"no model {model!r}", code="model_not_found")
    if len(body["text"]) > LONGEST_TEXT[model]:
        raise refused(400, f"a text of {len(body['text'])} characters", code="max_character_limit_exceeded")
    return SpeechRequest(voice=path["voice"], model=model, text=body["text"])


def is_known(key: object, policy: ElevenLabsPolicy) -> bool:
    """Whether a key is one."""
    return isinstance(key, str) and bool(key) and (policy.keys is None or key in policy.keys)


def check_key_only(request: Request, policy: ElevenLabsPolicy) -> None:
    """Refuse a request with no key or a wrong one. Raises RefusedError."""
    if not _check_key(request, policy):
        raise refused(401, "no key", code="needs_authorization")


def refused(status: int, why: str, *, code: str = "") -> RefusedError:
    """Return the refusal of a request that is wrong."""
    return RefusedError(Refuse(status=status, code=code, message=why if status == _BAD_REQUEST else ""), why)


def _check_key(request: Request, policy: ElevenLabsPolicy) -> bool:
    """Return whether a good key came, False if there was none. Raises RefusedError for a wrong one."""
    key = request.header("xi-api-key")
    tokens = request.parameters("authorization") + request.parameters("single_use_token")
    good = is_known(key, policy) if key is not None else all(token in policy.tokens for token in tokens)
    if not good and not policy.refuses_late:
        raise refused(401, "unknown key")
    return good and (key is not None or bool(tokens))


_IsAllowed: TypeAlias = Callable[[str], bool]


def _parameters(request: Request, known: Mapping[str, _IsAllowed]) -> dict[str, str]:
    for name, value in request.query:
        if name not in known:
            raise refused(400, f"unknown parameter {name!r}")
        if len(request.parameters(name)) > 1:
            raise refused(400, f"parameter {name!r} more than once")
        if not known[name](value):
            raise refused(400, f"parameter {name!r} cannot be {value!r}")
    return dict(request.query)


def _check_format(given: dict[str, str], known: frozenset[str]) -> None:
    wanted = given.get("output_format", "mp3_44100_128")
    if wanted not in known:
        raise refused(400, f"no output_format {wanted!r}", code="invalid_output_format")
    if wanted != _SPOKEN_FORMAT:
        raise refused(400, f"output_format {wanted!r}; this simulator speaks {_SPOKEN_FORMAT!r} alone")


def _body(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _invalid([{"loc": ["body"], "msg": "Input should be a valid dictionary", "type": "dict_type"}])
    problems = [
        {"loc": ["body", name], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
        for name in body
        if name not in _BODY
    ]
    problems += [
        {"loc": ["body", name], "msg": "Input is not of the right type", "type": "type_error"}
        for name, kinds in _BODY.items()
        if name in body and not isinstance(body[name], kinds)
    ]
    if "text" not in body:
        problems.append({"loc": ["body", "text"], "msg": "Field required", "type": "missing"})
    elif body["text"] == "":
        problems.append({"loc": ["body", "text"], "msg": "String should not be empty", "type": "string_too_short"})
    elif not is_encodable(body["text"]):
        problems.append({"loc": ["body", "text"], "msg": "String should be valid unicode", "type": "string_unicode"})
    if problems:
        raise _invalid(problems)
    return body


def is_encodable(text: object) -> bool:
    """Whether a text has no half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(problems: list[dict[str, Any]]) -> RefusedError:
    return RefusedError(Refuse(status=422), f"an invalid body: {problems}", problems=tuple(problems))


_NONE: Final = type(None)
_BODY: Final[Mapping[str, tuple[type, ...]]] = {
    "text": (str,),
    "model_id": (str, _NONE),
    "language_code": (str, _NONE),
    "voice_settings": (dict, _NONE),
    "previous_text": (str, _NONE),
    "next_text": (str, _NONE),
    "previous_request_ids": (list, _NONE),
    "next_request_ids": (list, _NONE),
    "seed": (int, _NONE),
    "apply_text_normalization": (str, _NONE),
    "apply_language_text_normalization": (bool, _NONE),
    "pronunciation_dictionary_locators": (list, _NONE),
    "use_pvc_as_ivc": (bool, _NONE),
}


def _boolean(value: str) -> bool:
    return value in {"true", "false"}


def _something(value: str) -> bool:
    return bool(value)


def _language(value: str) -> bool:
    return bool(re.fullmatch(r"[a-z]{2,3}", value))


def _number(least: int, most: int) -> _IsAllowed:
    return lambda value: value.isascii() and value.isdigit() and least <= int(value) <= most


_BAD_REQUEST: Final = 400
_SOCKET_PARAMETERS: Final[Mapping[str, _IsAllowed]] = {
    "model_id": _something,
    "language_code": _language,
    "enable_logging": _boolean,
    "enable_ssml_parsing": _boolean,
    "output_format": _something,
    "inactivity_timeout": _number(1, 180),
    "sync_alignment": _boolean,
    "auto_mode": _boolean,
    "apply_text_normalization": frozenset({"auto", "on", "off"}).__contains__,
    "seed": _number(0, 2**32 - 1),
    "authorization": _something,
    "single_use_token": _something,
}
_SPEECH_PARAMETERS: Final[Mapping[str, _IsAllowed]] = {
    "output_format": _something,
    "optimize_streaming_latency": _number(0, 4),
    "enable_logging": _boolean,
}
