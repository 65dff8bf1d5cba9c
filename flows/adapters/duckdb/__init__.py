"""DuckDB: recomputation of served features."""
