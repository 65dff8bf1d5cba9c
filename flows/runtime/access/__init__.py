"""Who may ask `driftline serve` and `driftline collect`: tokens, and TLS beyond this machine."""
