"""`driftline serve` and `driftline tokens`."""

from flows.cli.serving import server, tokens

__all__ = ["server", "tokens"]
