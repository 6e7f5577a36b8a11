"""Logs: every line is an event with fields; for people on a terminal, or JSON for machines.

Theory of operation. Ours go through structlog, those of libraries through the standard library; both end in the same
chain and the same stream, so that every line has the time, the level and, where one is being served, the call's id.
What must not be read there is taken out of the finished line: whichever field, traceback or library it came from.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable
from typing import Final, TextIO

import attrs
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from engine.settings import LogSettings

SHORTEST_SECRET: Final = 6
"""Characters. A shorter value guards nothing, and would be found in every second word."""

_OURS: Final = ("engine", "web", "holdfast", "simulators")


@attrs.frozen
class _Rule:
    """Something that is taken out of a text. Looked for only where one of `signs` stands: a regex over all costs 40 µs.

    signs: in small letters.
    """

    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    becomes: str | Callable[[re.Match[str]], str]


def _masked(number: re.Match[str]) -> str:
    return "*" * (len(number[0]) - 2) + number[0][-2:]


_NUMBERS: Final = (
    # E.164, with the plus as it stands or as a URL has it; people put spaces, dots, hyphens and brackets in between.
    _Rule(("+", "%2b"), re.compile(r"(?:\+|%2B)[1-9](?:[ ().-]{0,2}\d){6,14}", re.IGNORECASE), _masked),
    _Rule(("sip",), re.compile(r"\b(sips?:)[^@\s\"'>]{1,100}@", re.IGNORECASE), r"\1***@"),
)
_NAMES: Final = ("authorization", "api-key", "api_key", "apikey", "token", "password", "secret")
_CREDENTIALS: Final = (
    # A name that says what it is, and what stands after it: in a header, an environment, a query, a dict, JSON in JSON.
    _Rule(
        _NAMES,
        re.compile(
            rf"((?:{'|'.join(_NAMES)})[\\\"']{{0,3}}\s*(?:[:=]|,\s*(?=[b\\\"']))\s*[\\\"']{{0,3}}b?[\\\"']{{0,3}}"
            # A number in JSON stays one: it is a measure.
            r"(?:(?:basic|bearer|token)\s+)?)(?!-?[\d.]+(?:e[+-]?\d+)?[\s,}\]])([\w.~+/=-]{16,})",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    # The same where only the scheme says it.
    _Rule(
        ("basic ", "bearer ", "token "),
        re.compile(r"\b((?:basic|bearer|token) )([\w.~+/=-]{16,})", re.IGNORECASE),
        r"\1***",
    ),
    # A database's address.
    _Rule(("://",), re.compile(r"(://[^/\s:@]{1,80}:)[^@\s/]{1,200}@"), r"\1***@"),
)


def configure(settings: LogSettings, *, secrets: Iterable[str] = ()) -> None:
    """Write events of `settings.level` and above to standard error, from now on and from every thread.

    Of libraries, warnings and errors alone: below that they write down whole requests.
    secrets: values that never stand there in clear: keys and tokens.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    out = _Lines(sys.stderr)
    first: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [*_shape(settings), _Discretion(redaction(secrets=secrets, numbers=settings.numbers))]
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: out,
        cache_logger_on_first_use=True,
    )
    handler = _Handler(out)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *first],
            processors=[ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(level)


def redaction(*, secrets: Iterable[str], numbers: bool) -> Callable[[str], str]:
    """Return what takes secrets out of a text and, unless `numbers`, telephone numbers but for their last two digits.

    A secret is known by its value, or by the name before it ("Authorization: Bearer …", "api_key=…").
    """
    values = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
    values |= {json.dumps(secret)[1:-1] for secret in values}  # as it stands within JSON
    known = sorted(values, key=len, reverse=True)  # one may begin with another
    rules = _CREDENTIALS if numbers else (*_CREDENTIALS, *_NUMBERS)

    def redacted(text: str) -> str:
        for value in known:
            text = text.replace(value, "***")
        small = text.lower()
        for rule in rules:
            if any(sign in small for sign in rule.signs):
                text = rule.pattern.sub(rule.becomes, text)
        return text

    return redacted


def _shape(settings: LogSettings) -> list[Processor]:
    """Return what makes a line of an event. A traceback's variables stay out: they are what callers say, and keys."""
    if settings.format == "json":
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        return [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    colors = sys.stderr.isatty()
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


@attrs.frozen
class _Discretion:
    """The last processor: the line without what must not be read there."""

    redacted: Callable[[str], str]

    def __call__(self, _logger: WrappedLogger, _name: str, line: EventDict | str) -> str:
        assert isinstance(line, str), "it comes after a renderer"
        return self.redacted(line)


@attrs.define(eq=False)
class _Lines:
    """Where lines go. A stream that takes no more costs the lines, not the call that wrote them."""

    stream: TextIO
    lost: int = 0

    def msg(self, line: str) -> None:
        """Write a line, and see to it that it is out."""
        try:
            self.stream.write(line + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # a full disk, a reader that has gone; a stream that is closed
            self.lost += 1

    debug = info = warning = error = critical = exception = msg


class _Handler(logging.Handler):
    """Libraries' records, to the same stream."""

    def __init__(self, out: _Lines) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        self._out.msg(self.format(record))
