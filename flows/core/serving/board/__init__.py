"""What the dashboard computes of what it reads: rates, quantiles, states, short series."""
