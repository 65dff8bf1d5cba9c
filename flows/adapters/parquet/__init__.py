"""Parquet files as streams of records, through PyArrow and DuckDB."""
