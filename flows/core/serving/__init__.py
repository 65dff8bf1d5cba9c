"""Predictions: scoring, messages and the rows that were served."""
