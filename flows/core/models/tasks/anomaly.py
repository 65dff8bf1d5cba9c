"""Anomaly detection without labels."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from river import base, metrics

from flows.core.models.baselines import Baseline, FlagBaseline, Score
from flows.core.models.tasks.task import ErrorMeasure, Features, Task, TaskName, last_step
from flows.core.stream.fields import Field, Flag


class Anomaly(Task):
    """Anomaly detection by a detector in a River filter, whose threshold decides the flag.

    The model learns each event when it is served. Labels, if there are any, only judge the flag by 0-1 loss.
    """

    name: TaskName = "anomaly"
    target: type[Field] = Flag
    learns_from_labels = False
    required = (
        "an anomaly detector in a filter, such as anomaly.QuantileFilter(anomaly.HalfSpaceTrees(), q=0.99)"
    )

    def fits(self, estimator: Any) -> bool:
        if isinstance(estimator, base.Base):
            return isinstance(estimator, base.AnomalyFilter) and not estimator._supervised
        return hasattr(estimator, "score_one") and hasattr(estimator, "classify")

    def score(self, estimator: Any, features: Features) -> dict[str, float]:
        score = float(estimator.score_one(features))
        return {"score": score, "anomaly": float(_filter_of(estimator).classify(score))}

    def serves(self, score: Score) -> bool:
        return isinstance(score, Mapping) and score.keys() == {"score", "anomaly"}

    def monitored_value(self, score: Mapping[str, float]) -> float:
        return score["score"]

    def learn(self, estimator: Any, features: Features, truth: Any) -> None:
        score = estimator.score_one(features)
        if not isfinite(score):  # River's quantile would panic in Rust, which `except Exception` misses
            raise ArithmeticError(f"the score of the detector must be finite, got {score}")
        estimator.learn_one(features)

    def predicted_label(self, score: Mapping[str, float]) -> bool:
        return score["anomaly"] > 0.5

    def metric_input(self, score: Mapping[str, float], truth: bool) -> float:
        return score["score"]

    def numbers(self, scores: Sequence[Mapping[str, float]]) -> list[float]:
        return [score["score"] for score in scores]

    def loss(self, score: Mapping[str, float], truth: bool) -> float:
        return float(self.predicted_label(score) != truth)

    def error_measure(self) -> ErrorMeasure:
        return _FlagError()

    def baseline(self) -> Baseline:
        return FlagBaseline()

    def metrics(self) -> Any:
        """Return precision, recall and F1 of the flags."""
        return metrics.Precision() + metrics.Recall() + metrics.F1()


class _FlagError:
    def __call__(self, score: Mapping[str, float], truth: bool) -> tuple[float, bool]:
        wrong = (score["anomaly"] > 0.5) != truth
        return float(wrong), wrong


def _filter_of(estimator: Any) -> Any:
    """Return the filter at the end of a River pipeline, since a pipeline has no `classify`."""
    return estimator if hasattr(estimator, "classify") else last_step(estimator)
