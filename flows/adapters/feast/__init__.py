"""Feast: declarations, online store and offline store."""
