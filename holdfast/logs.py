"""Logs: every line is an event with fields; for people on a terminal, or JSON for machines."""

import logging
import sys

import structlog

from engine.settings import LogSettings


def configure(settings: LogSettings) -> None:
    """Write events of `settings.level` and above to standard error, from now on and from every thread."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    # A traceback with its variables, structlog's default, takes 0.4 s to draw, with the event loop waiting.
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    shape = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([plain] if settings.format == "console" else shape),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(name)s: %(message)s")
