"""Whole calls as messages, on a virtual clock: a phone, vendors and a business that need no socket and no time."""
