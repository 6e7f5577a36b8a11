"""Measurements of the whole: run on purpose, never in a test; results with machine, versions and spread."""
