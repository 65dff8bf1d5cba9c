"""The threshold of least cost, where a false alarm and a missed event cost what the declaration says."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import NamedTuple


class Costs(NamedTuple):
    """What a wrong answer costs, in any unit, the same for both; above 0. A right answer costs nothing."""

    false_positive: float
    false_negative: float

    @property
    def threshold(self) -> float:
        """The best threshold of a calibrated model: above it an alarm is expected to cost less than none.

        Elkan, "The foundations of cost-sensitive learning", 2001.

        >>> Costs(false_positive=1, false_negative=4).threshold
        0.2
        """
        return self.false_positive / (self.false_positive + self.false_negative)


class ThresholdCost(NamedTuple):
    """A threshold, above which a score is an alarm, and what it would have cost for each label."""

    threshold: float
    cost: float


class CostSummary(NamedTuple):
    """The threshold of least cost beside those that one would use without looking; costs for each label.

    `best` was found on the labels that it is priced with, so the next ones will cost a little more.
    `calibrated` is at the theoretical threshold, to the nearest edge of a bin. Where it costs much more than
    `best` the model is not calibrated.
    """

    best: ThresholdCost
    calibrated: ThresholdCost
    half: ThresholdCost
    never: float
    always: float


class CostCurve:
    """Counts scores by truth in `bins` of the same width, an even number, and prices each edge of them.

    Prices are exact: a bin holds the scores above its lower edge up to its upper one, so that those above an
    edge are whole bins. Two curves of the same bins add up.

    >>> curve = CostCurve(bins=10)
    >>> for score, truth in [(0.05, False), (0.25, True), (0.35, False), (0.95, True)]:
    ...     curve.update(score, truth)
    >>> summary = curve.summary(Costs(false_positive=1, false_negative=4))
    >>> summary.best, summary.half, summary.never, summary.always
    (ThresholdCost(threshold=0.2, cost=0.25), ThresholdCost(threshold=0.5, cost=1.0), 2.0, 0.5)
    """

    def __init__(self, bins: int = 100) -> None:
        self._edges = [n / bins for n in range(bins + 1)]
        # the first of these is for scores of 0, the others for those up to each further edge
        self._false = [0] * (bins + 1)
        self._true = [0] * (bins + 1)

    def update(self, score: float, truth: bool) -> None:
        """Take in the probability (0 to 1) that was served, and the truth."""
        (self._true if truth else self._false)[bisect_left(self._edges, score, hi=len(self._edges) - 1)] += 1

    def __add__(self, other: "CostCurve") -> "CostCurve":
        """That of the labels of both; `ValueError` where the bins differ in number."""
        both = CostCurve(len(self._edges) - 1)
        both._false = [a + b for a, b in zip(self._false, other._false, strict=True)]
        both._true = [a + b for a, b in zip(self._true, other._true, strict=True)]
        return both

    def prices(self, costs: Costs) -> list[ThresholdCost]:
        """What each threshold would have cost for each label, in order; none without labels."""
        labels = sum(self._false) + sum(self._true)
        if not labels:
            return []
        missed = accumulate(self._true)
        alarms = (sum(self._false) - below for below in accumulate(self._false))
        return [
            ThresholdCost(edge, _cost(costs, false, true) / labels)
            for edge, false, true in zip(self._edges, alarms, missed, strict=True)
        ]

    def summary(self, costs: Costs) -> CostSummary | None:
        """The thresholds compared, or None without labels.

        Of several that cost the same the one nearest to the theoretical threshold is the best.
        """
        prices = self.prices(costs)
        if not prices:
            return None
        false, true = sum(self._false), sum(self._true)
        best = min(prices, key=lambda each: (each.cost, abs(each.threshold - costs.threshold)))
        return CostSummary(
            best,
            _nearest(prices, costs.threshold),
            _nearest(prices, 0.5),
            _cost(costs, 0, true) / (false + true),
            _cost(costs, false, 0) / (false + true),
        )


def _cost(costs: Costs, false_positives: int, false_negatives: int) -> float:
    return costs.false_positive * false_positives + costs.false_negative * false_negatives


def _nearest(prices: Iterable[ThresholdCost], threshold: float) -> ThresholdCost:
    return min(prices, key=lambda each: abs(each.threshold - threshold))
