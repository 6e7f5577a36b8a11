"""The embedded vendors: speech and a script in the engine's own process, with no key and no network."""
