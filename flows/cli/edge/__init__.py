"""`driftline export` and `driftline collect`: models on devices."""
