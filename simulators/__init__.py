"""The outside world, simulated: the phone network and its callers, and the vendors."""
