"""The ledger of tool runs: each is written down before it begins, so that no restart repeats or forgets one."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import attrs

from engine.messages.conversation import Json


class ToolStatus(StrEnum):
    """How far a tool run has come."""

    RECORDED = "recorded"
    """It may be running, may have been cut short by a crash, or may not have begun."""
    DONE = "done"
    FAILED = "failed"


@attrs.frozen(kw_only=True)
class ToolRun:
    """One run of a tool as the ledger has it.

    id: its idempotency key.
    result: what the model was told; None until `status` is done or failed.
    is_new: this very call wrote it down; otherwise it was there before.
    """

    id: str
    call_sid: str
    turn: int
    name: str
    arguments: Mapping[str, Json]
    status: ToolStatus
    result: Json
    recorded_at: datetime
    finished_at: datetime | None
    is_new: bool
