"""Features: the plan, and its computation per event, in batches and in SQL."""
