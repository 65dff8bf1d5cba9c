"""One external system in each folder; adapters never import one another."""
