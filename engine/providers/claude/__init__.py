"""Anthropic's Claude as the mind. Importing it loads the vendor's package: 1.5 s of processor time and 78 MB."""

from engine.providers.claude.model import ClaudeModel

__all__ = ["ClaudeModel"]
