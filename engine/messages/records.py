"""What a call leaves behind: rows for storage, numbers for the log. Never read back by a core."""

from typing import TypeAlias

import attrs

from engine.messages.conversation import Entry


@attrs.frozen(kw_only=True)
class Record:
    """Store this entry at `position` of the call's conversation, over what stood there.

    at_s: seconds since the call opened.
    """

    position: int
    entry: Entry
    at_s: float


@attrs.frozen(kw_only=True)
class Timing:
    """A stage of turn `turn` was reached `at_s` seconds after the call opened.

    stage: one of "last_word", "transcript_final", "turn_ended", "first_token", "first_clause", "first_audio",
        "first_sound".
    """

    turn: int
    stage: str
    at_s: float


@attrs.frozen(kw_only=True)
class TokensUsed:
    """What one request to a model has cost, for the usage report.

    request: its id within the call. vendor: who was asked. output_tokens: at least so many, where it was cut off.
    wasted: nothing of its answer was used: the caller went on, or other words were answered.
    """

    request: str
    turn: int
    vendor: str
    input_tokens: int
    output_tokens: int
    wasted: bool


@attrs.frozen(kw_only=True)
class Counted:
    """Something that should be seen in the log and the metrics: `name` happened, `amount` of it."""

    name: str
    amount: float


Kept: TypeAlias = Record | Timing | TokensUsed
"""What a call's archive keeps."""
