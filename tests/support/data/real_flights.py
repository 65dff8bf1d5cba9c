"""The real flights of 2013, read once per process, since reading takes seconds."""

from functools import cache

import pandas as pd

from flows.pipelines.flights_data import read_csv, schedule


@cache
def scheduled() -> pd.DataFrame:
    """Return all flights with their scheduled times in UTC; callers must not change the table."""
    return schedule(read_csv("flights.csv.zip"), read_csv("airports.csv"))
