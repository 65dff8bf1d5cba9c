"""SQLite: the embedded log, the seed, and values by id."""
