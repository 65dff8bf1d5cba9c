"""Predictions without a model: the most frequent or mean label so far, and the last label."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any

Score = float | Mapping[str, float]

_MOST_CLASSES = 1000  # the shares of later classes are not counted


class Baseline(ABC):
    """The two baselines of a task, as scores in the form of the task.

    `majority` follows from all labels so far, `no_change` from the last label.
    """

    majority: Score
    no_change: Score

    @abstractmethod
    def learn(self, truth: Any) -> None:
        """Add a label."""


class ShareBaseline(Baseline):
    """The baselines of binary classification: the share of true labels, and the last label as 0 or 1."""

    majority: float = 0.5
    no_change: float = 0.0

    def __init__(self) -> None:
        self._count = self._true = 0

    def learn(self, truth: bool) -> None:
        self._count += 1
        self._true += truth
        self.majority = self._true / self._count
        self.no_change = float(truth)


class FlagBaseline(Baseline):
    """The baselines of anomaly detection: a flag if most labels were true, and the last label."""

    def __init__(self) -> None:
        self._share = ShareBaseline()
        self._update_scores()

    def learn(self, truth: bool) -> None:
        self._share.learn(truth)
        self._update_scores()

    def _update_scores(self) -> None:
        share, last = self._share.majority, self._share.no_change
        self.majority = {"score": share, "anomaly": float(share > 0.5)}
        self.no_change = {"score": last, "anomaly": last}


class ClassBaseline(Baseline):
    """The baselines of multiclass classification: the share of each class, and the last label.

    Both are empty before the first label. Shares are counted for the first 1,000 classes.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.majority = {}
        self.no_change = {}

    def learn(self, truth: str) -> None:
        counts = self._counts
        if truth in counts or len(counts) < _MOST_CLASSES:
            counts[truth] += 1
        total = counts.total()
        self.majority = {name: count / total for name, count in counts.items()}
        self.no_change = {truth: 1.0}


class MeanBaseline(Baseline):
    """The baselines of regression: the mean label (Welford, 1962) and the last label; 0 before the first."""

    majority: float = 0.0
    no_change: float = 0.0

    def __init__(self) -> None:
        self._count = 0

    def learn(self, truth: float) -> None:
        self._count += 1
        self.majority += (truth - self.majority) / self._count
        self.no_change = float(truth)
