"""Scenarios played and judged: as whole calls on a virtual clock, and live, with real speech."""
