"""Vendors: each turns its own wire into the contract, and is known to nobody but settings."""
