"""Binary and multiclass classification: probabilities, log loss, Brier scores."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Any

import numpy as np
from river import base, metrics

from flows.core.models.baselines import Baseline, ClassBaseline, Score, ShareBaseline
from flows.core.models.tasks.task import ErrorMeasure, Features, Task, TaskName, last_step
from flows.core.stream.fields import Field, Flag, Text
from flows.errors import ConfigError

UNDECIDED = 0.5  # the score of a binary classifier that has learned no label

_CLIP = 1e-15  # as in River's LogLoss and CrossEntropy


def log_loss(likelihood: float) -> float:
    """Return the negative logarithm of the truth's likelihood, clipped to [1e-15, 1 - 1e-15].

    >>> round(log_loss(0.8), 4), round(log_loss(0.0), 4)
    (0.2231, 34.5388)
    """
    return -log(min(max(likelihood, _CLIP), 1.0 - _CLIP))


class Binary(Task):
    """Binary classification by log loss.

    Drift detectors get the squared error; the predicted label is true above 0.5.
    """

    name: TaskName = "binary"
    target: type[Field] = Flag
    loss_names = ("error_rate", "brier_score")
    required = "a classifier"

    def fits(self, estimator: Any) -> bool:
        return _is_classifier(estimator)

    def check(self, estimator: Any) -> None:
        super().check(estimator)
        _check_probabilities(estimator)

    def score(self, estimator: Any, features: Features) -> float:
        probabilities = estimator.predict_proba_one(features)
        return float(probabilities.get(True, 0.0)) if probabilities else UNDECIDED

    def predicted_label(self, score: float) -> bool:
        return score > 0.5  # River's classifiers answer False for a tie

    def metric_input(self, score: float, truth: bool) -> dict[bool, float]:
        return {False: 1.0 - score, True: score}

    def loss(self, score: float, truth: bool) -> float:
        return log_loss(score if truth else 1.0 - score)

    def losses(self, scores: Sequence[float], truths: Sequence[bool]) -> tuple[Sequence[float], ...]:
        served, true = np.array(scores, dtype=float), np.array(truths, dtype=float)
        gaps = served - true
        return ((served > 0.5) != true).astype(float).tolist(), (gaps * gaps).tolist()

    def error_measure(self) -> ErrorMeasure:
        return _SquaredError()

    def baseline(self) -> Baseline:
        return ShareBaseline()

    def metrics(self) -> Any:
        """Return ROC AUC over 20 thresholds, and log loss."""
        return metrics.ROCAUC(n_thresholds=20) + metrics.LogLoss()


class Multiclass(Task):
    """Classification into any number of classes by log loss.

    Drift detectors get half the Brier score, which is the squared error for two classes. Before its first
    label a classifier returns no class; metrics skip that. A class missing from a score has probability 0.
    River's CrossEntropy (0.26) ignores a true class that is missing, so `metric_input` adds it with 0.
    """

    name: TaskName = "multiclass"
    target: type[Field] = Text
    required = "a classifier of more than two classes"

    def fits(self, estimator: Any) -> bool:
        return _is_classifier(estimator) and getattr(estimator, "_multiclass", True)

    def check(self, estimator: Any) -> None:
        super().check(estimator)
        _check_probabilities(estimator)

    def score(self, estimator: Any, features: Features) -> dict[str, float]:
        score = {name: float(p) for name, p in estimator.predict_proba_one(features).items()}
        for name in score:
            if type(name) is not str:
                raise TypeError(f"a class of the classifier must be a string, got {name!r}")
        return score

    def serves(self, score: Score) -> bool:
        return isinstance(score, Mapping)

    def monitored_value(self, score: Mapping[str, float]) -> str:
        return _most_likely(score) if score else ""

    def predicted_label(self, score: Mapping[str, float]) -> str | None:
        return _most_likely(score) if score else None

    def metric_input(self, score: Mapping[str, float], truth: str) -> Mapping[str, float] | None:
        if not score:
            return None
        return score if truth in score else {**score, truth: 0.0}

    def numbers(self, scores: Sequence[Mapping[str, float]]) -> None:
        return None

    def loss(self, score: Mapping[str, float], truth: str) -> float:
        return log_loss(score.get(truth, 0.0))

    def error_measure(self) -> ErrorMeasure:
        return _HalfBrierScore()

    def baseline(self) -> Baseline:
        return ClassBaseline()

    def metrics(self) -> Any:
        """Return accuracy, macro F1 and cross-entropy."""
        return metrics.Accuracy() + metrics.MacroF1() + metrics.CrossEntropy()


class _SquaredError:
    def __call__(self, score: float, truth: bool) -> tuple[float, bool]:
        return (score - truth) ** 2, (score > 0.5) != truth


class _HalfBrierScore:
    def __call__(self, score: Mapping[str, float], truth: str) -> tuple[float, bool]:
        others = sum(p * p for name, p in score.items() if name != truth)
        missing = 1.0 - score.get(truth, 0.0)
        return (others + missing * missing) / 2, not score or _most_likely(score) != truth


def _most_likely(score: Mapping[str, float]) -> str:
    return max(score, key=score.__getitem__)


def _is_classifier(estimator: Any) -> bool:
    if isinstance(estimator, base.Base):
        return isinstance(estimator, base.Classifier)
    return hasattr(estimator, "predict_proba_one")


def _check_probabilities(estimator: Any) -> None:
    last = type(last_step(estimator))
    if getattr(last, "predict_proba_one", None) is base.Classifier.predict_proba_one:
        raise ConfigError(
            f"the classifier must have predict_proba_one, since its probabilities are served, but "
            f"{last.__name__} gives no probabilities; declare one that has, such as "
            "multiclass.OneVsRestClassifier"
        )
