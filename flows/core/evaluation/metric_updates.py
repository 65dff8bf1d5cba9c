"""Updates River's metrics with many labels at once, with the same result as one update for each label.

Metrics of a confusion matrix are functions of counts, and so is ROC AUC over fixed thresholds: each different
pair is counted once per block. Running means are updated label by label, because the order of floating-point
additions matters, but without River's calls. Any other metric gets its own updates.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from math import log
from typing import Any

import numpy as np
from river.metrics import ROCAUC, LogLoss
from river.metrics.base import BinaryMetric, ClassificationMetric, MeanMetric, Metrics
from river.stats import Mean

from flows.core.models.baselines import Score
from flows.core.models.tasks import Task, Truth

_CLIP = 1e-15  # as in River's LogLoss


class Answers:
    """The scores of one predictor and the truths, in the forms that metrics take, without empty scores."""

    def __init__(self, task: Task, truths: Sequence[Truth], scores: Sequence[Score]) -> None:
        self._task = task
        if {} in scores:
            truths = [truth for truth, score in zip(truths, scores, strict=True) if score != {}]
            scores = [score for score in scores if score != {}]
        self.truths = truths
        self._scores = scores

    @cached_property
    def labels(self) -> list[Any]:
        """The predicted labels."""
        return list(map(self._task.predicted_label, self._scores))

    @cached_property
    def inputs(self) -> list[Any]:
        """The `y_pred` of metrics over scores."""
        return list(map(self._task.metric_input, self._scores, self.truths))

    @cached_property
    def numbers(self) -> Sequence[float] | None:
        """The `y_pred` of metrics that also take a single number; None if the scores have several."""
        return self._task.numbers(self._scores)


def update_many(metric: Any, answers: Answers) -> None:
    """Update a River metric, or each of several joined by `+`."""
    for part in metric if isinstance(metric, Metrics) else [metric]:
        if answers.truths:
            _update_of(part, answers)(part, answers)


def _update_of(metric: Any, answers: Answers) -> Callable[[Any, Answers], None]:
    if type(metric) is ROCAUC and answers.numbers is not None:
        return _count_thresholds
    if type(metric) is LogLoss and answers.numbers is not None:
        return _add_log_losses
    update = type(metric).update
    if update is MeanMetric.update:
        return _add_to_mean
    if update in (ClassificationMetric.update, BinaryMetric.update) and metric.requires_labels:
        return _count_labels
    return _update_each


def _count_thresholds(metric: ROCAUC, answers: Answers) -> None:
    """Count the labels above each threshold: `at` is the number of thresholds below a score."""
    at = np.searchsorted(metric.thresholds, np.array(answers.numbers, dtype=float))
    true = np.array([truth == metric.pos_val for truth in answers.truths])
    columns = (_above(at[true], metric.n_thresholds), _above(at[~true], metric.n_thresholds))
    trues, falses = int(true.sum()), int((~true).sum())
    for matrix, above_of_true, above_of_false in zip(metric.cms, *columns, strict=True):
        # All four counts, so that the order of the keys does not depend on the block.
        matrix.update(True, True, float(above_of_true))
        matrix.update(True, False, float(trues - above_of_true))
        matrix.update(False, True, float(above_of_false))
        matrix.update(False, False, float(falses - above_of_false))
        matrix.n_samples += len(at) - 4


def _above(at: Any, thresholds: int) -> list[int]:
    """Return the number of scores above each threshold."""
    counts: list[int] = (len(at) - np.bincount(at, minlength=thresholds + 1).cumsum()).tolist()
    return counts[:-1]


def _count_labels(metric: Any, answers: Answers) -> None:
    for (truth, label), count in Counter(zip(answers.truths, answers.labels, strict=True)).items():
        metric.update(truth, label, float(count))
        metric.cm.n_samples += count - 1  # River counts one sample, whatever its weight


def _add_log_losses(metric: LogLoss, answers: Answers) -> None:
    likely = np.clip(np.array(answers.numbers, dtype=float), _CLIP, 1 - _CLIP)
    of_truth = np.where(np.array(answers.truths, dtype=bool), likely, 1 - likely).tolist()
    metric._mean = _extended(metric._mean, [-log(p) for p in of_truth])  # NumPy's log rounds otherwise


def _add_to_mean(metric: Any, answers: Answers) -> None:
    given = answers.labels if _takes_labels(metric) else answers.inputs
    metric._mean = _extended(metric._mean, map(metric._eval, answers.truths, given))


def _extended(mean: Mean, values: Iterable[float]) -> Mean:
    """Return the mean after `update` with each value."""
    count, value = mean.n, mean.get()
    for each in values:
        count += 1.0
        value += (1.0 / count) * (each - value)
    return Mean._from_state(count, value)


def _update_each(metric: Any, answers: Answers) -> None:
    given = answers.labels if _takes_labels(metric) else answers.inputs
    for truth, answer in zip(answers.truths, given, strict=True):
        metric.update(truth, answer)


def _takes_labels(metric: Any) -> bool:
    return getattr(metric, "requires_labels", False)
