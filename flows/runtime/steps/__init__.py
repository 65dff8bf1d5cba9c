"""The steps of the flows, and what they are made of."""
