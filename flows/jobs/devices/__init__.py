"""Receives the predictions of devices: `driftline collect`."""
