"""The pipelines that come with Driftline, and their data."""
