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

# E.164, with the plus as it stands or as a URL has it; people put spaces, dots, hyphens and brackets in between.
_NUMBER: Final = re.compile(r"(?:\+|%2B)[1-9](?:[ ().-]{0,2}\d){6,14}", re.IGNORECASE)
_SIP_USER: Final = re.compile(r"\b(sips?:)[^@\s\"'>]{1,100}@", re.IGNORECASE)
# A name that says what it is, and what stands after it: in a header, an environment, a query, a dict, JSON in JSON.
_CREDENTIAL: Final = re.compile(
    r"((?:authorization|api[_-]?key|token|password|secret)[\\\"']{0,3}\s*[:=,]\s*[\\\"']{0,3}b?[\\\"']{0,3}"
    r"(?:(?:basic|bearer|token)\s+)?)([\w.~+/=-]{16,})",
    re.IGNORECASE,
)
# The same where only the scheme says it.
_SCHEME: Final = re.compile(r"\b((?:basic|bearer|token) )([\w.~+/=-]{16,})", re.IGNORECASE)
# A database's address.
_URL_PASSWORD: Final = re.compile(r"(://[^/\s:@]{1,80}:)[^@\s/]{1,200}@")


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
    known = re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True))) or r"(?!)")

    def redacted(text: str) -> str:
        text = known.sub("***", text)
        text = _CREDENTIAL.sub(r"\1***", text)
        text = _SCHEME.sub(r"\1***", text)
        text = _URL_PASSWORD.sub(r"\1***@", text)
        if not numbers:
            text = _SIP_USER.sub(r"\1***@", text)
            text = _NUMBER.sub(lambda found: _masked(found[0]), text)
        return text

    return redacted


def _masked(number: str) -> str:
    return "*" * (len(number) - 2) + number[-2:]


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
