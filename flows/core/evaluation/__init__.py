"""Prequential evaluation: label join, metrics, skill, calibration, slices and costs."""
