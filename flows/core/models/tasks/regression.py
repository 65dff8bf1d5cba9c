"""Regression by squared error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from river import base, metrics, stats

from flows.core.models.baselines import Baseline, MeanBaseline
from flows.core.models.tasks.task import ErrorMeasure, Features, Task, TaskName
from flows.core.stream.fields import Field, Number


class Regression(Task):
    """Regression by squared error; drift detectors get the absolute error relative to its running median."""

    name: TaskName = "regression"
    target: type[Field] = Number
    loss_names = ("absolute_error", "squared_error")
    required = "a regressor"

    def fits(self, estimator: Any) -> bool:
        if isinstance(estimator, base.Base):
            return isinstance(estimator, base.Regressor)
        return hasattr(estimator, "predict_one") and not hasattr(estimator, "predict_proba_one")

    def score(self, estimator: Any, features: Features) -> float:
        return float(estimator.predict_one(features) or 0.0)

    def predicted_label(self, score: float) -> float:
        return score

    def metric_input(self, score: float, truth: float) -> float:
        return score

    def loss(self, score: float, truth: float) -> float:
        return (score - truth) * (score - truth)

    def losses(self, scores: Sequence[float], truths: Sequence[float]) -> tuple[Sequence[float], ...]:
        gaps = np.array(scores, dtype=float) - np.array(truths, dtype=float)
        return np.abs(gaps).tolist(), (gaps * gaps).tolist()

    def error_measure(self) -> ErrorMeasure:
        return _ScaledError()

    def baseline(self) -> Baseline:
        return MeanBaseline()

    def metrics(self) -> Any:
        """Return mean absolute error and root mean squared error."""
        return metrics.MAE() + metrics.RMSE()


class _ScaledError:
    """Computes e / (e + m) for an error e, where m is the median of the previous errors.

    An error as large as the median gives 0.5; a larger one counts as wrong. Detectors such as ADWIN expect
    numbers from 0 to 1, and the same relative rise must count the same in metres and in millimetres. The
    median is estimated in constant memory by the P2 algorithm (Jain and Chlamtac, 1985).
    """

    def __init__(self) -> None:
        self._median = stats.Quantile(0.5)

    def __call__(self, score: float, truth: float) -> tuple[float, bool]:
        error = abs(score - truth)
        median = self._median.get()
        self._median.update(error)
        if median is None:
            return 0.5, False
        return (error / (error + median) if error else 0.0), error > median
