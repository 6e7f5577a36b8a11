"""Errors, in families by who must act.

An error's text is lower case and has no full stop: what happened, with which value, what was allowed.
"""


class EngineBug(Exception):
    """What only a mistake of ours can cause."""


class WireError(Exception):
    """A peer broke its protocol: its message is of no use, its connection may still be."""


class ProviderError(Exception):
    """A vendor failed us. Raised by a session, once, around whatever the vendor's client raised."""


class ProviderDown(ProviderError):
    """The vendor cannot be reached, or broke off: the same again may work."""


class ProviderSlow(ProviderError):
    """The vendor gave no sign of life in the time that it declared."""


class ProviderRefused(ProviderError):
    """The vendor said no (a key, a quota, a request it will not take): the same again will not work."""


class ConfigError(Exception):
    """The operator wrote what cannot be meant. The text names the file, the key and what was allowed."""
