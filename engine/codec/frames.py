"""Any bytes to whole frames of 20 ms."""

from typing import Self

import attrs

from engine.codec.telephony import FRAME_BYTES, SILENCE


@attrs.frozen
class Framer:
    """An utterance on its way to frames of 160 bytes of µ-law: what has not filled one yet.

    No byte is lost, doubled or moved. Only ``flush`` pads, with silence, so that no padding is heard inside speech.
    """

    # Invariant: shorter than a frame.
    rest: bytes = attrs.field(default=b"", repr=lambda rest: f"<{len(rest)} bytes>")

    def push(self, audio: bytes) -> tuple[Self, list[bytes]]:
        """Return the framer that follows and the frames that ``audio`` fills, maybe none."""
        audio = self.rest + audio
        whole_bytes = len(audio) - len(audio) % FRAME_BYTES
        frames = [audio[at : at + FRAME_BYTES] for at in range(0, whole_bytes, FRAME_BYTES)]
        return type(self)(audio[whole_bytes:]), frames

    def flush(self) -> tuple[Self, list[bytes]]:
        """End the utterance: return an empty framer and the last frame, padded, if there was a rest."""
        last = [self.rest.ljust(FRAME_BYTES, bytes([SILENCE]))] if self.rest else []
        return type(self)(), last
