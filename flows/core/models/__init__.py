"""Models: tasks, baselines, and signed snapshots."""
