"""HTTP: webhook delivery, and a receiver for tests and the demo."""
