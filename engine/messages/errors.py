"""Errors, in families by who must act.

An error's text is lower case and has no full stop: what happened, with which value, what was allowed.
"""

from typing import ClassVar


class EngineBug(Exception):
    """What only a mistake of ours can cause."""


class WireError(Exception):
    """A peer broke its protocol: its message is of no use, its connection may still be."""


class Stalled(Exception):
    """A part gave no sign of life in its time."""


class ProviderError(Exception):
    """A vendor failed us. Raised by a session, once, around whatever the vendor's client raised.

    code: what the vendor calls it, where it has a name for it: an HTTP status ("401"), the code of a close ("1008"), or
        a word ("overloaded_error"). Policies are written in them.
    """

    def __init__(self, text: str = "", *, code: str = "") -> None:
        super().__init__(text)
        self.code = code

    @property
    def kinds(self) -> tuple[str, ...]:
        """What kind of failure it is, the most special first: its code, then its family."""
        return (self.code, self.family) if self.code else (self.family,)

    family: ClassVar[str] = "down"


class ProviderDown(ProviderError):
    """The vendor cannot be reached, or broke off: the same again may work."""


class ProviderSlow(ProviderError, Stalled):
    """The vendor gave no sign of life in the time that it declared."""

    family = "slow"


class ProviderRefused(ProviderError):
    """The vendor said no (a key, a quota, a request it will not take): the same again will not work."""

    family = "refused"


class ConfigError(Exception):
    """The operator wrote what cannot be meant. The text names the file, the key and what was allowed."""
