"""Deepgram's streaming recognition, `/v1/listen`, as a server that hears the tone code and forgives nothing.

Nothing here shares a line with the engine's own client. Facts are Deepgram's: its documentation and its SDK's sources
of November 2026, and what others measured on live connections where those are silent.
"""

from simulators.deepgram.policy import DeepgramPolicy
from simulators.deepgram.simulator import DeepgramSimulator, Listening
from simulators.websocket import Violation

__all__ = ["DeepgramPolicy", "DeepgramSimulator", "Listening", "Violation"]
