"""The registry: the log of what happened to each model version, and the commands that ask for a change."""
