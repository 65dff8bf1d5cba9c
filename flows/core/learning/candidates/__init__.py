"""Candidates: what triggers a training, which models learn what, and how the learner takes them."""
