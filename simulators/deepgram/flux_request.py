"""The request for a stream of Flux: what may be asked for, and why it is refused."""

import re
from collections.abc import Mapping
from typing import Final

import attrs

from simulators.deepgram.policy import DeepgramPolicy
from simulators.deepgram.request import (
    IsAllowed,
    RefusedError,
    boolean,
    check_parameters,
    language_tag,
    let_in,
    number,
    one_of,
    refused,
    too_many,
    words,
)
from simulators.faults import Refuse
from simulators.websocket import Request

PATH: Final = "/v2/listen"

MULTILINGUAL: Final = "flux-general-multi"
_REPEATABLE: Final = frozenset({"keyterm", "tag", "language_hint"})
_DECIMAL: Final = re.compile(r"[01](\.[0-9]{1,6})?|\.[0-9]{1,6}")


@attrs.frozen(kw_only=True)
class FluxOptions:
    """What was asked for. eager_eot_threshold: None where the end of a turn is never expected aloud."""

    model: str
    eot_threshold: float = 0.7
    eager_eot_threshold: float | None = None
    eot_timeout_ms: int = 5000
    keyterms: tuple[str, ...] = ()
    language_hints: tuple[str, ...] = ()
    numerals: bool = False

    @property
    def wrong(self) -> str:
        """Why it cannot be; "" if it can."""
        eager = self.eager_eot_threshold
        if not 0.5 <= self.eot_threshold <= 1.0:  # noqa: PLR2004 - documented
            return f"eot_threshold {self.eot_threshold:g}; 0.5 to 1.0 allowed"
        if eager is not None and not 0.3 <= eager <= min(0.9, self.eot_threshold):  # noqa: PLR2004 - documented
            return f"eager_eot_threshold {eager:g}; 0.3 to 0.9, and no more than eot_threshold, allowed"
        if not 500 <= self.eot_timeout_ms <= 60_000:  # noqa: PLR2004 - documented
            return f"eot_timeout_ms {self.eot_timeout_ms}; 500 to 60000 allowed"
        if self.language_hints and self.model != MULTILINGUAL:
            return f"language hints with model {self.model!r}; {MULTILINGUAL!r} alone has them"
        return "too many keyterms" if too_many(self.keyterms) else ""


def read_flux_options(request: Request, policy: DeepgramPolicy) -> FluxOptions:
    """Return what a handshake asks for. Raises RefusedError."""
    let_in(request, policy, PATH)
    check_parameters(request, _PARAMETERS, _REPEATABLE)
    given = {each.name: each.value for each in request.query}
    if "model" not in given:
        raise refused(400, "no parameter 'model'")
    audio = (given.get("encoding"), given.get("sample_rate"))
    if audio != ("mulaw", "8000"):
        raise refused(400, f"encoding, sample_rate {audio}; this simulator hears ('mulaw', '8000')")
    eager = given.get("eager_eot_threshold")
    options = FluxOptions(
        model=given["model"],
        eot_threshold=float(given.get("eot_threshold", "0.7")),
        eager_eot_threshold=None if eager is None else float(eager),
        eot_timeout_ms=int(given.get("eot_timeout_ms", "5000")),
        keyterms=tuple(request.parameters("keyterm")),
        language_hints=tuple(request.parameters("language_hint")),
        numerals=given.get("numerals") == "true",
    )
    if options.wrong:
        raise refused(400, options.wrong)
    if options.model in policy.forbidden_models:
        raise RefusedError(Refuse(status=403), is_fault=False)
    return options


def _decimal(value: str) -> bool:
    return bool(_DECIMAL.fullmatch(value))


_PARAMETERS: Final[Mapping[str, IsAllowed]] = {
    "model": one_of("flux-general-en", MULTILINGUAL),
    "encoding": one_of("linear16", "linear32", "mulaw", "alaw", "opus", "ogg-opus"),
    "sample_rate": number(8000, 192_000),
    "eot_threshold": _decimal,
    "eager_eot_threshold": _decimal,
    "eot_timeout_ms": number(0),
    "keyterm": words,
    "tag": words,
    "mip_opt_out": boolean,
    "language_hint": language_tag,
    "numerals": boolean,
    "profanity_filter": boolean,
    "redact": one_of("numbers", "aggressive_numbers"),
}
