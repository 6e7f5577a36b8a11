"""Words: what a recogniser's model made of a stretch of audio, and whether to believe it."""

from typing import Final

import attrs

# What was said on a usable line came out above -0.9, breath and noise below -1.1.
_LEAST_CONFIDENCE: Final = -1.1


@attrs.frozen
class Words:
    """What was heard. `confidence`: the mean natural logarithm of the tokens' probabilities, 0 is certain."""

    text: str
    confidence: float


def believable(words: Words) -> bool:
    """Return whether it was words that were heard.

    The model hears "You" in whatever is no speech, of any length and with great confidence, but never with the full
    stop that a spoken "you" gets; music is a note sign.
    """
    return (
        words.confidence >= _LEAST_CONFIDENCE
        and words.text.casefold() != "you"
        and any(character.isalnum() for character in words.text)
    )
