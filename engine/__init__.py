"""Holdfast's engine: a phone call as a supervised nursery of six actors."""
