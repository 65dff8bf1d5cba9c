"""Windowed aggregates of one entity."""
