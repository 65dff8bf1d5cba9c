"""Prometheus: the metrics, and the server that exposes them."""
