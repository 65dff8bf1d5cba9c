"""Prequential evaluation of what was served, always beside the baselines that any model must beat.

Prequential: each label judges the prediction that was made before it was known (Dawid, 1984). The baselines
answer at the same moment as the model, with the labels known by then.
"""

from collections.abc import Callable
from typing import Any

from river.metrics.base import Metrics

from flows.core.labels import Joined, Pending
from flows.core.models import Prediction
from flows.core.tasks import BINARY, Task, Truth

PREDICTORS = ("model", "majority", "no-change")


class Baselines:
    """What one would predict without a model: what the labels so far say, and the last label."""

    def __init__(self, task: Task = BINARY) -> None:
        self._baseline = task.baseline()

    def beside(self, prediction: Prediction) -> Pending:
        """The prediction and what the baselines say at the same moment."""
        return Pending(prediction, self._baseline.majority, self._baseline.no_change)

    def learn(self, truth: Truth) -> None:
        """Take a label in."""
        self._baseline.learn(truth)


class Evaluation:
    """Cumulative River metrics of the served scores and of both baselines.

    `metrics` makes a fresh River metric, or several joined by `+`. As in River's own evaluation, no answer is
    not judged.
    """

    def __init__(self, metrics: Callable[[], Any], task: Task = BINARY) -> None:
        self._task = task
        self._metrics = {predictor: metrics() for predictor in PREDICTORS}
        # some metrics of classifiers judge the label, the others its probability
        self._judges_labels = getattr(self._metrics["model"], "requires_labels", False)
        self.labels = 0

    def update(self, joined: Joined) -> None:
        """Judge one served score."""
        pending, truth = joined.pending, joined.label.truth
        scores = (pending.prediction.score, pending.majority, pending.no_change)
        for metric, score in zip(self._metrics.values(), scores, strict=True):
            answer = self._task.answer(score, self._judges_labels)
            if answer is not None:
                metric.update(truth, answer)
        self.labels += 1

    def values(self) -> dict[str, dict[str, float]]:
        """The value of each metric of each predictor."""
        return {predictor: _values(metric) for predictor, metric in self._metrics.items()}


def _values(metric: Any) -> dict[str, float]:
    parts = metric if isinstance(metric, Metrics) else [metric]
    return {type(part).__name__: float(part.get()) for part in parts}
