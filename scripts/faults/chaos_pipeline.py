"""The flight_delays example as scripts/chaos runs it: on three partitions, with a model that only counts.

What a model that counts has learned does not depend on the order of its labels, so whatever the kills do to
the order, it must end as one that learned each label once: bit for bit. Challengers come with storms (see
chaos_flights) and never win, lest the champion that is compared be one that began in the middle.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from river import naive_bayes

from flows.pipeline import DriftPolicy, RetrainPolicy
from flows.pipelines import flight_delays

PARTITIONS = 3
_VIEWS = [
    f"{of}_{what}" for of in ("origin", "carrier", "route", "aircraft") for what in ("departures", "arrivals")
]


def prepare(x: Mapping[str, Any]) -> dict[str, bool]:
    """Whether the flights of the last 3 and 24 hours were late, by view; the part of the day."""
    marks = {
        f"{view}_{w}": (x[f"{view}__mean_delay_{w}"] or 0.0) > 10.0 for view in _VIEWS for w in ("3h", "24h")
    }
    return marks | {f"part_{part}": x["minute_of_day"] // 240 == part for part in range(6)}


def model() -> Any:
    """Whole numbers only."""
    return prepare | naive_bayes.BernoulliNB()


pipeline = replace(
    flight_delays.pipeline,
    name="chaos",
    partitions=PARTITIONS,
    slices=(),
    model=model,
    drift=DriftPolicy(warm_up=500, cool_down=timedelta(days=1)),
    # too few blocks before the patience ends for any challenger to win
    retrain=RetrainPolicy(minimum_labels=50, patience=1_000, block=500),
    # The replay is a thousand times as fast as the flights: a minute in which the predictor, or one partition
    # of it, is down is as many days in which labels stand in the log before their predictions.
    label_wait=timedelta(days=60),
    # what is an outlier depends on the order of the labels, which is not always the same with kills
    outliers="learn",
)
