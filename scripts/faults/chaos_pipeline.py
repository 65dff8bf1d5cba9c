"""The flight_delays example for scripts/chaos: on three partitions, with a model that only counts.

The state of a counting model does not depend on the order of its labels. Kills may change that order, but
the model must equal, bit for bit, one that learned each label once. Storms in the labels (see `flights`)
bring challengers, which never win: a new champion would not have learned all labels.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from river import naive_bayes

from flows.pipelines import flight_delays
from flows.policies import DriftPolicy, RetrainPolicy

PARTITIONS = 3
_VIEWS = [
    f"{of}_{what}" for of in ("origin", "carrier", "route", "aircraft") for what in ("departures", "arrivals")
]


def prepare(x: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether the flights of the last 3 and 24 hours were late, by view, and the part of the day."""
    marks = {
        f"{view}_{w}": (x[f"{view}__mean_delay_{w}"] or 0.0) > 10.0 for view in _VIEWS for w in ("3h", "24h")
    }
    return marks | {f"part_{part}": x["minute_of_day"] // 240 == part for part in range(6)}


def model() -> Any:
    """Return a model whose state is whole numbers only."""
    return prepare | naive_bayes.BernoulliNB()


pipeline = replace(
    flight_delays.pipeline,
    name="chaos",
    partitions=PARTITIONS,
    slices=(),
    model=model,
    drift=DriftPolicy(warm_up=500, cool_down=timedelta(days=1)),
    # no other model is served, by which the checks know what it must have learned: there is no trial, and
    # patience ends before a challenger has enough blocks to win
    retrain=RetrainPolicy(minimum_labels=50, patience=1_000, block=500, trial=0),
    # The replay is a thousand times faster than the flights. While the predict flow, or a partition of it, is
    # down for a minute, labels of most of a day arrive before their predictions.
    label_wait=timedelta(days=60),
    # whether an event is an outlier depends on the order of the labels, which kills may change
    outliers="learn",
)
