"""Owner: which process a row belongs to, and whether that process is still there to write its end."""

import os
import socket
from pathlib import Path
from typing import Final

_STARTED_FIELD: Final = 19  # after the name in brackets: field 22 of proc(5), in ticks since the machine started


def this_process() -> str:
    """Return a name for this process that no other has, on this machine or another, now or later."""
    return f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Whether a process has ended. Of another machine's nobody here can tell: then it has not."""
    host, _, rest = owner.rpartition("/")[0].rpartition("/")
    started = owner.rpartition("/")[2]
    if not rest.isdigit():
        return True  # of a time when no owner was written down
    if host != socket.gethostname():
        return False
    pid = int(rest)
    if started:
        return _started(pid) != started  # another may have its number by now
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _started(pid: int) -> str:
    """Return when a process was started; empty where there is no such process, or no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[_STARTED_FIELD]
