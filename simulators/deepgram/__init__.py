"""Deepgram's streaming recognition, `/v1/listen` and Flux, as a server that hears the tone code and forgives nothing.

Nothing here shares a line with the engine's own client. Facts are Deepgram's: its documentation and its SDK's sources
of November 2026, and what others measured on live connections where those are silent.
"""

from simulators.deepgram.flux import FluxListening
from simulators.deepgram.listening import Listening
from simulators.deepgram.policy import DeepgramPolicy, FluxPolicy
from simulators.deepgram.simulator import DeepgramSimulator
from simulators.websocket import Violation

__all__ = ["DeepgramPolicy", "DeepgramSimulator", "FluxListening", "FluxPolicy", "Listening", "Violation"]
