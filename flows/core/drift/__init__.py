"""Drift and data quality: detectors, and the signals they raise."""
