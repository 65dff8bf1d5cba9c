"""Bytewax: sources, sinks, stateful steps and recovery."""
