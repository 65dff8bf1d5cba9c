"""Who may ask the server what, and how often."""
