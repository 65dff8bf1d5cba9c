"""Jobs of the command line: publish, backfill, verify, training sets and dead letters."""
