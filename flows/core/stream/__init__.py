"""Streams: the broker interface, merge order, decoding and dead letters."""
