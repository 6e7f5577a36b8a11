"""Deepgram's streaming recognition, `/v1/listen`. Importing it loads the models of the vendor's package: 0.2 s."""

from engine.providers.deepgram.recogniser import DeepgramRecogniser

__all__ = ["DeepgramRecogniser"]
