"""The rows of one view in Feast's online store."""
