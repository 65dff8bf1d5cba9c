"""Backtests: replay a history through a pipeline, and report how its model would have done."""
