"""The prompt cache: which beginnings of requests the API has read before, and for how long it knows them."""

import math
from typing import Final, Self

import attrs

from simulators.anthropic.request import MessagesRequest, PrefixPart, digest, prefix_parts

# How far before a marker an earlier one is looked for.
_LOOKBACK_PARTS: Final = 20
_CHARACTERS_A_TOKEN: Final = 4


@attrs.frozen(kw_only=True)
class InputTokens:
    """What a request costs to read: anew, anew and kept, and from the cache."""

    plain: int
    written_5m: int
    written_1h: int
    read: int

    @property
    def all(self) -> int:
        """The whole."""
        return self.plain + self.written_5m + self.written_1h + self.read


@attrs.frozen
class _Prefix:
    parts: int
    characters: int
    digest: str

    def and_(self, part: PrefixPart) -> Self:
        return attrs.evolve(
            self,
            parts=self.parts + 1,
            characters=self.characters + len(part.text),
            digest=digest([self.digest, part.text]),
        )


@attrs.define
class PromptCache:
    """The cache of all clients of a simulator. A token is four characters."""

    _known: dict[str, float] = attrs.field(factory=dict)  # until when

    def read(self, request: MessagesRequest, now: float) -> InputTokens:
        """What reading `request` costs; its marked prefix is known from now on."""
        parts = prefix_parts(request)
        prefixes = [_Prefix(0, 0, request.model.id)]
        for part in parts:
            prefixes.append(prefixes[-1].and_(part))
        total = _tokens(prefixes[-1])
        marked = [
            (prefix, part.kept_s)
            for prefix, part in zip(prefixes[1:], parts, strict=True)
            if part.kept_s is not None and _tokens(prefix) >= request.model.least_cached_tokens
        ]
        if not marked:
            return InputTokens(plain=total, written_5m=0, written_1h=0, read=0)
        found = max((self._found(prefixes, prefix, now) for prefix, _ in marked), key=lambda prefix: prefix.parts)
        last = marked[-1][0]
        written = {300.0: 0, 3600.0: 0}
        at = _tokens(found)
        for prefix, kept_s in marked:
            if prefix.parts > found.parts:
                written[kept_s] += _tokens(prefix) - at
                at = _tokens(prefix)
            self._known[prefix.digest] = max(self._known.get(prefix.digest, -math.inf), now + kept_s)
        return InputTokens(
            plain=total - _tokens(last), written_5m=written[300.0], written_1h=written[3600.0], read=_tokens(found)
        )

    def _found(self, prefixes: list[_Prefix], marked: _Prefix, now: float) -> _Prefix:
        """The longest known prefix at or shortly before a marker."""
        for prefix in reversed(prefixes[max(0, marked.parts - _LOOKBACK_PARTS) : marked.parts + 1]):
            if self._known.get(prefix.digest, -math.inf) > now:
                return prefix
        return prefixes[0]


def _tokens(prefix: _Prefix) -> int:
    return math.ceil(prefix.characters / _CHARACTERS_A_TOKEN)
