"""What all tests share: how Hypothesis looks for examples, and logs as they come."""

import gc
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

# No deadline and no complaint of slowness: the machine may be busy, and no test here measures time.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
# The same, from another seed each time: `just test --hypothesis-profile=explore`.
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False)
settings.load_profile("steady")
# As the server does: Python's own threshold costs a whole call on a virtual clock a tenth of its time.
gc.set_threshold(20_000, 20, 100)


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """Structlog as it comes, before and after each test: what one test quietens, the next may want to read.

    But a traceback without its variables: those of a whole call take minutes to draw.
    """
    structlog.reset_defaults()
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
    yield
    structlog.reset_defaults()
