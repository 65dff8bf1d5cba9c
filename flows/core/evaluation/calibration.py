"""Calibration of a binary model: of the events with a score of about p, a share of about p should be true.

The counts of two sets of labels can be added, so slices, windows and processes can be merged.
"""

from collections.abc import Sequence
from math import fsum, nan
from typing import NamedTuple

import numpy as np


class Bin(NamedTuple):
    """The labels with `low <= score < high`; the last bin includes 1.

    `labels` is their number, `score` their mean score and `share` the share of true labels; both are NaN in
    an empty bin.
    """

    low: float
    high: float
    labels: int
    score: float
    share: float


class Brier(NamedTuple):
    """The Brier score, the mean of (score - truth)², and its decomposition.

    `score = reliability - resolution + uncertainty + within`:

    - `reliability`: how far the shares are from the scores (0 is best);
    - `resolution`: how far the shares are from the overall share (higher is better);
    - `uncertainty`: the variance of the truth (Murphy, "A new vector partition of the probability score",
      1973);
    - `within`: the remainder, because scores vary within a bin (Stephenson, Coelho and Jolliffe, "Two extra
      components in the Brier score decomposition", 2008).
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


class Calibration:
    """The reliability diagram of the scores of a binary target, in `bins` of equal width.

    >>> calibration = Calibration(bins=2)
    >>> calibration.update_many([0.2, 0.4, 0.9, 1.0], [False, True, True, True])
    >>> for row in calibration.table():
    ...     print(row.labels, round(row.score, 3), row.share)
    2 0.3 0.5
    2 0.95 1.0
    >>> round(calibration.expected_error(), 3)
    0.125
    """

    def __init__(self, bins: int = 10) -> None:
        self._edges = [n / bins for n in range(1, bins)]  # between the bins
        self._counts = np.zeros(bins, dtype=np.int64)
        self._scores = np.zeros(bins)  # sums of scores
        self._truths = np.zeros(bins, dtype=np.int64)  # numbers of true labels
        self._squares = np.zeros(bins)  # sums of (score - truth)²

    def update_many(self, scores: Sequence[float], truths: Sequence[bool]) -> None:
        """Add the probabilities (0 to 1) that were served for some events, and their truths."""
        bins = np.searchsorted(self._edges, scores, side="right")
        # `add.at` adds one by one, so the sums do not depend on how labels are divided into calls.
        np.add.at(self._counts, bins, 1)
        np.add.at(self._scores, bins, scores)
        np.add.at(self._truths, bins, truths)
        np.add.at(self._squares, bins, [(s - t) ** 2 for s, t in zip(scores, truths, strict=True)])

    def __add__(self, other: "Calibration") -> "Calibration":
        """Return the calibration over the labels of both; raises `ValueError` for another number of bins."""
        both = Calibration(len(self._counts))
        both._counts = self._counts + other._counts
        both._scores = self._scores + other._scores
        both._truths = self._truths + other._truths
        both._squares = self._squares + other._squares
        return both

    @property
    def labels(self) -> int:
        """The number of labels added."""
        return int(self._counts.sum())

    def table(self) -> list[Bin]:
        """Return all bins in order, including empty ones."""
        lows, highs = (0.0, *self._edges), (*self._edges, 1.0)
        columns = (self._counts.tolist(), self._scores.tolist(), self._truths.tolist())
        rows = zip(lows, highs, *columns, strict=True)
        return [
            Bin(low, high, count, _mean(score, count), _mean(truth, count))
            for low, high, count, score, truth in rows
        ]

    def expected_error(self) -> float:
        """Return the mean distance between share and score over the bins, weighted by labels; NaN without.

        The expected calibration error (Naeini, Cooper and Hauskrecht, 2015). It does not measure
        discrimination: a model that always serves the overall share has an error of 0.
        """
        return _mean(fsum(np.abs(self._scores - self._truths)), self.labels)

    def brier(self) -> Brier:
        """Return the Brier score and its decomposition; NaN without labels."""
        labels = self.labels
        overall = _mean(int(self._truths.sum()), labels)
        filled = [row for row in self.table() if row.labels]
        score = _mean(fsum(self._squares), labels)
        reliability = _mean(fsum(row.labels * (row.score - row.share) ** 2 for row in filled), labels)
        resolution = _mean(fsum(row.labels * (row.share - overall) ** 2 for row in filled), labels)
        uncertainty = overall * (1.0 - overall)
        within = score - (reliability - resolution + uncertainty)
        return Brier(score, reliability, resolution, uncertainty, within)


def _mean(total: float, count: int) -> float:
    return total / count if count else nan
