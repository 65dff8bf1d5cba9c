"""The decision threshold with the least cost, given the declared costs of false positives and negatives."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Costs(NamedTuple):
    """The costs of wrong decisions, above 0 and in the same unit. Right decisions cost nothing."""

    false_positive: float
    false_negative: float

    @property
    def threshold(self) -> float:
        """The optimal threshold of a calibrated model.

        Elkan, "The foundations of cost-sensitive learning", 2001.

        >>> Costs(false_positive=1, false_negative=4).threshold
        0.2
        """
        return self.false_positive / (self.false_positive + self.false_negative)


class ThresholdCost(NamedTuple):
    """A threshold, above which a score is positive, and its mean cost per label."""

    threshold: float
    cost: float


class CostSummary(NamedTuple):
    """The threshold with the least cost and the usual alternatives; all costs are per label.

    `best` is fitted to these labels, so its cost on new ones will be slightly higher. `calibrated` is the
    theoretical threshold, rounded to the nearest bin edge; a cost far above that of `best` means that the
    model is not calibrated. `never` and `always` are the costs of a constant decision.
    """

    best: ThresholdCost
    calibrated: ThresholdCost
    half: ThresholdCost
    never: float
    always: float


class CostCurve:
    """Counts scores by truth in `bins` of equal width, an even number, and computes the cost at each edge.

    Costs are exact: a bin holds the scores above its lower edge and up to its upper edge. Two curves with the
    same bins can be added.

    >>> curve = CostCurve(bins=10)
    >>> curve.update_many([0.05, 0.25, 0.35, 0.95], [False, True, False, True])
    >>> summary = curve.summary(Costs(false_positive=1, false_negative=4))
    >>> summary.best.threshold, summary.best.cost, summary.half.cost, summary.never, summary.always
    (0.2, 0.25, 1.0, 2.0, 0.5)
    """

    def __init__(self, bins: int = 100) -> None:
        self._edges = [n / bins for n in range(bins + 1)]
        # The first count is for scores of 0, each other one for scores up to that edge.
        self._false = np.zeros(bins + 1, dtype=np.int64)
        self._true = np.zeros(bins + 1, dtype=np.int64)

    def update_many(self, scores: Sequence[float], truths: Sequence[bool]) -> None:
        """Add the probabilities (0 to 1) that were served for some events, and their truths."""
        at, true = np.searchsorted(self._edges[:-1], scores), np.array(truths, dtype=bool)
        self._false += np.bincount(at[~true], minlength=len(self._edges))
        self._true += np.bincount(at[true], minlength=len(self._edges))

    def __add__(self, other: "CostCurve") -> "CostCurve":
        """Return the curve over the labels of both; raises `ValueError` for another number of bins."""
        both = CostCurve(len(self._edges) - 1)
        both._false = self._false + other._false
        both._true = self._true + other._true
        return both

    def threshold_costs(self, costs: Costs) -> list[ThresholdCost]:
        """Return the cost of each threshold, in order; empty without labels."""
        labels = int(self._false.sum() + self._true.sum())
        if not labels:
            return []
        false_negatives = self._true.cumsum().tolist()
        false_positives = (self._false.sum() - self._false.cumsum()).tolist()
        return [
            ThresholdCost(edge, _cost(costs, positives, negatives) / labels)
            for edge, positives, negatives in zip(self._edges, false_positives, false_negatives, strict=True)
        ]

    def summary(self, costs: Costs) -> CostSummary | None:
        """Return the thresholds compared, or None without labels.

        Of several thresholds with the least cost, the one nearest to the theoretical threshold is the best.
        """
        thresholds = self.threshold_costs(costs)
        if not thresholds:
            return None
        false, true = int(self._false.sum()), int(self._true.sum())
        best = min(thresholds, key=lambda each: (each.cost, abs(each.threshold - costs.threshold)))
        return CostSummary(
            best,
            _nearest(thresholds, costs.threshold),
            _nearest(thresholds, 0.5),
            _cost(costs, 0, true) / (false + true),
            _cost(costs, false, 0) / (false + true),
        )


def _cost(costs: Costs, false_positives: int, false_negatives: int) -> float:
    return costs.false_positive * false_positives + costs.false_negative * false_negatives


def _nearest(thresholds: Iterable[ThresholdCost], threshold: float) -> ThresholdCost:
    return min(thresholds, key=lambda each: abs(each.threshold - threshold))
