"""Deepgram's streaming recognition: `/v1/listen`, and Flux at `/v2/listen`.

Importing it loads the models of the vendor's package: 0.2 s.
"""

from engine.providers.deepgram.flux import FluxRecogniser, is_flux
from engine.providers.deepgram.recogniser import DeepgramRecogniser

__all__ = ["DeepgramRecogniser", "FluxRecogniser", "is_flux"]
