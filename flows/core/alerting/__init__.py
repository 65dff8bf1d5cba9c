"""Alerts: delivery state of webhooks, and Alertmanager's format."""
