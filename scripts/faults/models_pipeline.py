"""The flight_delays example for `scripts/chaos models`: its models win and lose, and know what they learned.

The meaning of the features turns over again and again (see `flights`), so that new models beat old ones.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chaos_pipeline import prepare
from river import base, naive_bayes

from flows.core.stream.fields import Number
from flows.pipelines import flight_delays
from flows.policies import DriftPolicy, RetrainPolicy

PARTITIONS = 3


class Witness(base.Classifier):
    """Counts, and knows which flights it has learned and how often, by their numbers.

    `times[k]` has a bit for each flight that it has learned more than k times.
    """

    def __init__(self) -> None:
        self.counts = naive_bayes.BernoulliNB()
        self.times: list[int] = []

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[Any, float]:
        return self.counts.predict_proba_one(prepare(x))

    def learn_one(self, x: Mapping[str, Any], y: Any) -> None:
        self.counts.learn_one(prepare(x), y)
        bit = 1 << int(x["flight_number"])
        for number, learned in enumerate(self.times):
            if not learned & bit:
                self.times[number] |= bit
                return
        self.times.append(bit)


_events = flight_delays.pipeline.events

pipeline = replace(
    flight_delays.pipeline,
    name="models",
    events=replace(_events, fields={**_events.fields, "flight_number": Number(0, 1_000_000)}),
    inputs=("carrier", "minute_of_day", "flight_number"),
    partitions=PARTITIONS,
    slices=(),
    model=Witness,
    drift=DriftPolicy(kinds=("concept",), warm_up=500, cool_down=timedelta(hours=12)),
    # a contest and a trial last less than the features keep their meaning
    retrain=RetrainPolicy(minimum_labels=100, block=20, patience=2_000, probation=600, trial=400),
    # the replay is faster than the flights; see chaos_pipeline
    label_wait=timedelta(days=60),
    # the numbers of the flights rise, and each must be learned as it is
    outliers="learn",
)
