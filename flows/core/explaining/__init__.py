"""Explanations: the contribution of each feature to a score, and what would have changed the score."""
