"""The command line, `driftline`."""
