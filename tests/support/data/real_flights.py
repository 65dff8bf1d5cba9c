"""The real flights of 2013, scheduled; reading them takes seconds, so a process does it once."""

from functools import cache

import pandas as pd

from flows.pipelines.flights_data import read_csv, schedule


@cache
def scheduled() -> pd.DataFrame:
    """Return all flights with their times in UTC; the caller must not change them."""
    return schedule(read_csv("flights.csv.zip"), read_csv("airports.csv"))
