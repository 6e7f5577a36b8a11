"""What a recogniser makes of the tone code, whichever the protocol."""

import numpy as np

from simulators import tone
from simulators.audio import FRAME_S


def guessed(ear: tone.Ear, heard_s: float) -> list[tone.HeardWord]:
    """Return what the word in progress seems to be: its first half; nothing between words, or of mere sound."""
    begun_s, guess = ear.begun_s, ear.guess
    if begun_s is None or not guess:
        return []
    return [tone.HeardWord(text=guess[: (len(guess) + 1) // 2], start_s=begun_s, end_s=heard_s)]


def confidence(word: tone.HeardWord) -> float:
    """Return how sure the recogniser is: less of a short word, hardly of a garbled one."""
    return 0.4 if word.text == tone.GARBLED else 1 - 0.001 / max(FRAME_S, word.end_s - word.start_s)


def float32(value: float) -> float:
    """Return a number with the digits that a float of 32 bits is written with."""
    return float(str(np.float32(value)))
