"""The dashboard: what its views show, and the page."""
