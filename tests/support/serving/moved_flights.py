"""Served flights whose features move at one moment, for tests of feature drift."""

from random import Random

from made_flights import MINUTE, NOON, prediction

from flows.core.models.model import Prediction
from flows.core.stream.broker import Outgoing
from flows.runtime.engine import Engine

FILL = 24 * 60 + 1  # flights until windows of a day are full
REFERENCE, WINDOW = 4096, 1000
JOINED = REFERENCE + 2 * WINDOW  # the first window with the features of a day
MOVED = JOINED + WINDOW  # the first flight after the move
DELAY = "origin_departures__mean_delay_1h"


def moved_flights(running: Engine, flights: int) -> list[Outgoing]:
    """Return a prediction a minute. From `MOVED` on nearly all are by American, after longer delays."""
    names, random = running.pipeline.feature_names(running.state.plan()), Random(5)
    still = {name: 0 if "count" in name else None for name in names}
    found = []
    for number in range(flights):
        is_moved = number >= MOVED
        values = still | {
            "carrier": "AA" if random.random() < (0.95 if is_moved else 0.5) else "UA",
            "minute_of_day": number % 1440,
            DELAY: random.gauss(30 if is_moved else 10, 10),
        }
        served = Prediction(
            f"M{number:05}", NOON + number * MINUTE, 0.3, "v1", {}, [values[name] for name in names]
        )
        found.append(prediction(running, served))
    return found
