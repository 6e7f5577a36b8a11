"""ElevenLabs' speech, over WebSockets and plain HTTP, as a server that speaks the tone code and forgives nothing.

Nothing here shares a line with the engine's own client. Facts are ElevenLabs': its documentation and its SDK's sources
of November 2026, and what others measured on live connections where those are silent.
"""

from simulators.elevenlabs.policy import ElevenLabsPolicy
from simulators.elevenlabs.simulator import ElevenLabsSimulator
from simulators.elevenlabs.speaking import Context, Speaking
from simulators.websocket import Violation

__all__ = ["Context", "ElevenLabsPolicy", "ElevenLabsSimulator", "Speaking", "Violation"]
