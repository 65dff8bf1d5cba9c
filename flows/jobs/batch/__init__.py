"""Scores the events of a topic or a file with one model version: `driftline score`."""
