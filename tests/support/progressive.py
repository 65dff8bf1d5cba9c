"""A backtest, and River's progressive validation over the same events."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
from river import evaluate

from flows.backtest.backtest import Backtest, Progress
from flows.core.features.plan import FeaturePlan
from flows.core.features.transforms import Transformer
from flows.core.learning.learner import Learner
from flows.core.learning.policy import ContestPolicy, Policy
from flows.core.models.model import Prediction
from flows.core.stream.broker import Outgoing
from flows.pipeline import Pipeline, Stream

HOUR = 3_600_000
DAY = 24 * HOUR


class Served(NamedTuple):
    """An event for River: its features with its time and the delay of its label (ms), and its label."""

    x: dict[str, Any]
    truth: bool


class Run:
    """A backtest that records each prediction it served."""

    def __init__(self, pipeline: Pipeline, plan: FeaturePlan, looked_up: Any = None, **policy: Any) -> None:
        # River has no handling of outliers
        never = Policy(
            10 * 365 * DAY, 0.002, 1000, 7 * DAY, ContestPolicy(0.01, 50_000, 500), outliers="learn"
        )
        self.names = (*pipeline.inputs, *plan.names)
        learner = Learner(
            pipeline.name,
            never._replace(**policy),
            self.names,
            pipeline.new_model(),
            pipeline.evaluation(),
        )
        self.test = Backtest(pipeline, plan, learner, Transformer(plan, {}), looked_up or {})
        self.predictions: list[Prediction] = []
        self.progress: list[Progress] = []
        predicted = learner.predicted

        def observed(prediction: Prediction, *place: Any) -> Any:
            self.predictions.append(prediction)
            return predicted(prediction, *place)

        learner.predicted = observed

    def over(self, records: list[Outgoing]) -> "Run":
        self.progress = list(self.test.run(records))
        return self

    def dataset(self, records: list[Outgoing], labels: Stream, target: str) -> list[Served]:
        """Return the served features as a data set for River, in the order of the events."""
        known = {}
        for record in records:
            if record.topic == labels.topic:
                payload = orjson.loads(record.value)
                known[payload[labels.id]] = (record.timestamp, payload[target])
        rows = []
        for prediction in self.predictions:
            at, truth = known[prediction.id]
            features = dict(zip(self.names, prediction.features, strict=True))
            rows.append(Served({**features, "_time": prediction.time, "_delay": at - prediction.time}, truth))
        return rows

    @property
    def values(self) -> dict[str, float]:
        return self.test.learner.evaluation.values()["model"]


def by_river(rows: list[Served], model: Any, metric: Any, delayed: bool) -> tuple[Any, list[Any]]:
    """Return the metric of River's progressive validation and its predictions, in the order of the labels."""
    delays: dict[str, Any] = {}
    if delayed:
        delays = {
            "moment": lambda x: datetime.fromtimestamp(x["_time"] / 1000, UTC),
            "delay": lambda x, _: timedelta(milliseconds=x["_delay"]),
        }
    steps = evaluate.iter_progressive_val_score(rows, model, metric, step=1, yield_predictions=True, **delays)
    return metric, [step["Prediction"] for step in steps]
