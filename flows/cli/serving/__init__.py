"""`driftline serve` and `driftline tokens`."""

from flows.cli.serving import server

__all__ = ["server"]
