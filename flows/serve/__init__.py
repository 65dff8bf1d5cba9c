"""The HTTP server of `driftline serve`."""
