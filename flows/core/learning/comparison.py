"""Compares two models by their scores of the same events."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean
from typing import Any, NamedTuple

from flows.core.evaluation.metric_updates import Answers, update_many
from flows.core.learning.contest import MINIMUM_BLOCKS, BlockMeans
from flows.core.models.baselines import Score
from flows.core.models.tasks import Task, Truth


class PairedScores(NamedTuple):
    """The truth about an event, and the scores of two models, both made before it was known."""

    truth: Truth
    first: Score
    second: Score


class Measure(NamedTuple):
    """A measure of two models over the same labels.

    `confidence` is that of a difference in either direction: 1 minus the p-value of a paired t-test on the
    means of blocks of labels. It is None for a measure that is no mean over labels, and for few blocks.
    """

    name: str
    first: float
    second: float
    bigger_is_better: bool
    confidence: float | None = None

    @property
    def difference(self) -> float:
        """The second model's value less the first one's."""
        return self.second - self.first


def compare(
    task: Task, metrics: Sequence[Mapping[str, Any]], pairs: Sequence[PairedScores], block: int
) -> list[Measure]:
    """Return the losses of both models and their metrics over `pairs`, of which there is at least one.

    `metrics` are River's for the first and the second model, by name and without labels.
    """
    truths = [pair.truth for pair in pairs]
    scores = [[pair.first for pair in pairs], [pair.second for pair in pairs]]
    losses = [_losses(task, each, truths) for each in scores]
    measures = [
        Measure(name, fmean(first), fmean(second), False, confidence(first, second, block))
        for name, first, second in zip(("loss", *task.loss_names), *losses, strict=True)
    ]
    for of_model, each in zip(metrics, scores, strict=True):
        answers = Answers(task, truths, each)
        for metric in of_model.values():
            update_many(metric, answers)
    first_metrics, second_metrics = metrics
    return measures + [
        Measure(name, float(metric.get()), float(second_metrics[name].get()), metric.bigger_is_better)
        for name, metric in first_metrics.items()
    ]


def confidence(first: Sequence[float], second: Sequence[float], block: int) -> float | None:
    """Return the confidence that the losses of two models differ, None with fewer than ten blocks.

    The errors of neighbouring labels are correlated, so the means of blocks of `block` labels are taken as
    independent, as in a contest. This test is made once; a contest may be looked at after each label.

    >>> champion, challenger = [0.5, 0.7] * 100, [0.4, 0.7] * 50 + [0.5, 0.6] * 50
    >>> round(confidence(champion, challenger, 8), 4), confidence(champion, challenger, 21)
    (1.0, None)
    """
    gains = [one - other for one, other in zip(first, second, strict=True)]
    means = BlockMeans()
    for end in range(block, len(gains) + 1, block):
        means.add(fmean(gains[end - block : end]))
    if means.blocks < MINIMUM_BLOCKS:
        return None
    from scipy.special import stdtr  # takes a tenth of a second to import

    return float(2 * stdtr(means.blocks - 1, sqrt(means.t_squared())) - 1)


def _losses(task: Task, scores: Sequence[Score], truths: Sequence[Truth]) -> list[Sequence[float]]:
    """Return the loss of the task's contests for each label, then the published ones."""
    return [list(map(task.loss, scores, truths)), *task.losses(scores, truths)]
