"""Driftline: a stream-first, real-time prediction engine on Bytewax, River and Feast."""
