"""The reference of data quality, and the comparison of each interval with it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import inf

from flows.core.drift.quality.policy import Fault, Finding, QualityPolicy


class ReferenceCounts:
    """Counts by part of the period, and the range or the categories seen."""

    def __init__(self, names: Sequence[str], parts: int) -> None:
        self.intervals = 0
        self.low, self.high = inf, -inf
        self.categories: set[str] = set()
        self._counts = [dict.fromkeys(names, 0) for _ in range(parts)]
        self._filled = [0] * parts  # intervals with rows
        self._squares = [dict.fromkeys(names, 0.0) for _ in range(parts)]  # sums of count² / rows

    def learn(self, interval: int, counts: Mapping[str, int]) -> None:
        """Add the counts of an interval."""
        self.intervals += 1
        totals, part, rows = self.of(interval), interval % len(self._counts), counts["rows"]
        self._filled[part] += rows > 0
        for name in totals:
            totals[name] += counts[name]
            self._squares[part][name] += counts[name] ** 2 / rows if rows else 0.0

    def dispersion(self, interval: int, name: str) -> float:
        """Return the variance of a share between intervals relative to chance (Pearson), at least 1."""
        totals, part = self.of(interval), interval % len(self._counts)
        count, rows, freedom = totals[name], totals["rows"], self._filled[part] - 1
        if freedom < 1 or not 0 < count < rows:
            return 1.0
        share = count / rows
        statistic = (self._squares[part][name] - count * share) / (share * (1 - share))
        return max(1.0, statistic / freedom)

    def of(self, interval: int) -> dict[str, int]:
        """Return the counts of the part of the period that the interval is in."""
        return self._counts[interval % len(self._counts)]


class QualityTracker(ABC):
    """Counts of the current interval, and the reference that it is compared with.

    From the first bad interval on, a second reference is learned; when it is full, it replaces the first one.
    """

    faults: tuple[Fault, ...]

    def __init__(self, name: str, policy: QualityPolicy) -> None:
        self._name = name
        self._policy = policy
        self._counts = dict.fromkeys(("rows", *self.faults), 0)
        self._reference = self._new_reference()
        self._next: ReferenceCounts | None = None
        self._good = 0  # consecutive intervals without a finding

    @abstractmethod
    def findings(self, interval: int, counts: Mapping[str, int]) -> Iterator[Finding]:
        """Yield the faults in an interval with these counts."""

    def finish(self, interval: int) -> list[Finding]:
        """Complete an interval: learn it during the warm-up, later return its findings."""
        counts, self._counts = self._counts, dict.fromkeys(self._counts, 0)
        if self._is_learning:
            self._reference.learn(interval, self._learnable(counts))
            return []
        if self._next is not None:
            self._next.learn(interval, self._learnable(counts))
            if self._next.intervals == self._policy.learned:
                self._reference, self._next = self._next, None
                return []
        found = list(self.findings(interval, counts))
        self._good = 0 if found else self._good + 1
        if found:
            self._next = self._next or self._new_reference()
        elif self._good >= self._policy.parts:
            self._next = None
        return found

    @property
    def _is_learning(self) -> bool:
        return self._reference.intervals < self._policy.learned

    def _learning_references(self) -> Iterator[ReferenceCounts]:
        """Yield the references that are still being learned."""
        if self._is_learning:
            yield self._reference
        if self._next is not None:
            yield self._next

    def _learnable(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return what a reference learns from the counts of an interval."""
        return counts

    def _new_reference(self) -> ReferenceCounts:
        return ReferenceCounts(list(self._counts), self._policy.parts)
