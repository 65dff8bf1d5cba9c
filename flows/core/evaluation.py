"""Prequential evaluation of what was served, always beside the baselines that any model must beat.

Prequential: each label judges the prediction that was made before it was known (Dawid, 1984). The baselines
answer at the same moment as the model, with the labels known by then.
"""

from collections.abc import Callable
from typing import Any

from river.metrics.base import Metrics

from flows.core.labels import Joined, Pending
from flows.core.models import Prediction

PREDICTORS = ("model", "majority", "no-change")


class Baselines:
    """What one would predict without a model: the share of true labels so far, and the last label."""

    def __init__(self) -> None:
        self._count = 0
        self._true = 0
        self._last = False

    def beside(self, prediction: Prediction) -> Pending:
        """The prediction and what the baselines say at the same moment."""
        share = self._true / self._count if self._count else 0.5
        return Pending(prediction, share, float(self._last))

    def learn(self, truth: bool) -> None:
        """Take a label in."""
        self._count += 1
        self._true += truth
        self._last = truth


class Evaluation:
    """Cumulative River metrics of the served scores and of both baselines.

    `metrics` makes a fresh River metric, or several joined by `+`.
    """

    def __init__(self, metrics: Callable[[], Any]) -> None:
        self._metrics = {predictor: metrics() for predictor in PREDICTORS}
        # some metrics judge the label, which River's classifiers leave at False where both are as likely
        self._judges_labels = self._metrics["model"].requires_labels
        self.labels = 0

    def update(self, joined: Joined) -> None:
        """Judge one served score."""
        pending, truth = joined.pending, joined.label.truth
        scores = (pending.prediction.score, pending.majority, pending.no_change)
        for metric, score in zip(self._metrics.values(), scores, strict=True):
            answer = score > 0.5 if self._judges_labels else {False: 1.0 - score, True: score}
            metric.update(truth, answer)
        self.labels += 1

    def values(self) -> dict[str, dict[str, float]]:
        """The value of each metric of each predictor."""
        return {predictor: _values(metric) for predictor, metric in self._metrics.items()}


def _values(metric: Any) -> dict[str, float]:
    parts = metric if isinstance(metric, Metrics) else [metric]
    return {type(part).__name__: float(part.get()) for part in parts}
