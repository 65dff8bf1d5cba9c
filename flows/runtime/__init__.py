"""Runs the flows: the project, its state, the supervisor and the processes."""
