"""Views with an aggregate of every function over windows of several lengths."""

from collections.abc import Iterator
from itertools import product

from flows.core.features.plan import FUNCTIONS, NUMERIC, Aggregate, View

LATENESS = 15
LENGTHS = (5, 20, 60)
COLUMNS = ("delay", "fare", "city")
QUANTILES = ("p10", "p50", "p99.9")


def wanted() -> Iterator[Aggregate]:
    for function, window in product((*FUNCTIONS, *QUANTILES), LENGTHS):
        if function in ("count", "time_since_last"):
            yield Aggregate(f"{function}_{window}", function, "", window)
            continue
        for column in COLUMNS[: 2 if function in (*NUMERIC, *QUANTILES) else 3]:
            yield Aggregate(f"{function}_{column}_{window}", function, column, window)


AGGREGATES = tuple(wanted())
VIEW = View("everything", "origin", "departures", AGGREGATES)
OWN = View("without own", "origin", "departures", AGGREGATES, excludes_own=True)
DELAYED = View("delayed", "origin", "departures", AGGREGATES, delay=7)
TILED = View("tiled", "origin", "departures", AGGREGATES, slide=5)
DELAYED_TILES = View("delayed tiles", "origin", "departures", AGGREGATES, delay=7, slide=5)
VIEWS = (VIEW, OWN, DELAYED, TILED, DELAYED_TILES)
