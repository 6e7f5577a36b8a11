"""Claude, simulated: plays the Messages API towards a client of it, to the letter and without mercy.

Nothing here shares a line with the engine's own client: a misreading of the protocol must show as a quarrel between the
two, not as an agreement. Facts are Anthropic's: the Messages API with streaming, versions 2023-06-01 and 2026-10-21, as
documented in November 2026, and what the vendor's own SDK (2.11.0) sends and expects where the documents are silent.
"""

from simulators.anthropic.events import INSTANT, Latency
from simulators.anthropic.minds import Mind, echo, script, tool_user
from simulators.anthropic.reply import Break, How, Refuse, Reply, Text, UseTool
from simulators.anthropic.request import MessagesRequest
from simulators.anthropic.simulator import AnthropicSimulator, Ending, Exchange, Violation, Wire

__all__ = [
    "INSTANT",
    "AnthropicSimulator",
    "Break",
    "Ending",
    "Exchange",
    "How",
    "Latency",
    "MessagesRequest",
    "Mind",
    "Refuse",
    "Reply",
    "Text",
    "UseTool",
    "Violation",
    "Wire",
    "echo",
    "script",
    "tool_user",
]
