"""Compares each interval with the reference: the rate of events, and the bad values of each column."""

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, sqrt
from typing import Any

import numpy as np

from flows.core.drift.quality.policy import LEAST_ROWS, RATE, Column, Fault, Finding, QualityPolicy, level_of
from flows.core.drift.quality.reference import BAD, NULL, ROWS, References
from flows.core.drift.quality.tally import Tally
from flows.core.drift.statistics import Flags, Integers

_ERRORS = 4  # standard errors that a rise must exceed
_MOST_WAITING = 256  # rows; more are counted together at less cost
_RATE = -1  # the index of the rate


class Trackers:
    """Tracks the columns of a stream and the rate of events; `columns` are given by their index in a row.

    From the first bad interval of a column on, a second reference is learned for it; when that is full, it
    replaces the first one.
    """

    def __init__(self, columns: Mapping[int, tuple[str, Column]], policy: QualityPolicy) -> None:
        self._policy = policy
        self._columns = list(columns.values())
        self._tally = Tally({at: column for at, (_, column) in columns.items()})
        self._waiting: list[Sequence[Any]] = []  # rows of the current interval
        self._size = len(columns) + 1  # the rate is tracked like a further column, the last one
        self._begin = np.zeros(self._size, dtype=np.int64)  # the first interval with full windows
        self._reference = References(self._size, policy.parts)
        self._next: References | None = None  # while any column is following
        self._following = np.zeros(self._size, dtype=bool)  # the columns that `_next` learns
        self._good = np.zeros(self._size, dtype=np.int64)  # consecutive intervals without a finding

    def start(self, time: int) -> None:
        """Set the time (ms) of the first row, from which windows begin to fill."""
        for at, (_, column) in enumerate(self._columns):
            self._begin[at] = ceil((time + column.fill) / self._policy.interval) if column.fill else 0

    def add(self, rows: Sequence[Sequence[Any]], interval: int) -> None:
        """Add rows to the current interval."""
        self._waiting += rows
        if len(self._waiting) >= _MOST_WAITING:
            self._count(interval)

    def finish(self, interval: int) -> list[Finding]:
        """Complete an interval: learn it during the warm-up, later return its findings."""
        began, learning = self._begin <= interval, self._is_learning
        self._count_rest(interval, began & learning)
        counts, learnable = self._tally.take()
        self._learn(interval, learnable, began & learning)
        judged = began & ~learning
        judged &= ~self._learn_next(interval, learnable, judged & self._following)
        found = list(self._findings(interval, counts, judged))
        self._follow([at for at, _ in found], judged)
        return [finding for _, finding in found]

    @property
    def _is_learning(self) -> Flags:
        return self._reference.intervals < self._policy.learned

    def _count_rest(self, interval: int, learning: Flags) -> None:
        """Count the waiting rows; only their number, if they are too few to be judged and none is learned."""
        few = self._tally.events + len(self._waiting) < LEAST_ROWS
        if few and self._next is None and not learning.any():
            self._tally.count_events(len(self._waiting))
            self._waiting = []
        elif self._waiting:
            self._count(interval)

    def _count(self, interval: int) -> None:
        rows, self._waiting = self._waiting, []
        learners = [(self._reference, self._is_learning)]
        if self._next is not None:
            learners.append((self._next, self._following))
        self._tally.add(rows, self._begin[:-1] <= interval, learners)

    def _learn(self, interval: int, counts: Integers, learning: Flags) -> None:
        if learning.any():
            self._reference.learn(interval, learning, counts)
            self._tally.judge(self._reference, ~self._is_learning)

    def _learn_next(self, interval: int, counts: Integers, learning: Flags) -> Flags:
        """Add an interval to the second references; return which of them replaced the first ones."""
        if self._next is None:
            return learning
        self._next.learn(interval, learning, counts)
        is_full = learning & (self._next.intervals >= self._policy.learned)
        if is_full.any():
            self._reference.replace(np.flatnonzero(is_full), self._next)
            self._following &= ~is_full
            self._tally.judge(self._reference, ~self._is_learning)
        return is_full

    def _follow(self, bad: Sequence[int], judged: Flags) -> None:
        """Start second references for the columns with findings; drop those after a period without one."""
        self._good[judged] += 1
        if bad:
            self._good[bad] = 0
        if self._next is not None:
            self._following &= ~(judged & (self._good >= self._policy.parts))
            if not self._following.any():
                self._next = None
        starting = [at for at in dict.fromkeys(bad) if not self._following[at]]
        if starting:
            empty = References(self._size, self._policy.parts)
            self._next = self._next or empty
            self._next.replace(np.array(starting), empty)
            self._following[starting] = True

    def _findings(self, interval: int, counts: Integers, judged: Flags) -> Iterator[tuple[int, Finding]]:
        reference = self._reference.of(interval)
        if judged[_RATE]:
            expected = int(reference[_RATE, ROWS]) / max(1, int(reference[_RATE, BAD]))
            for finding in self._rates(int(counts[_RATE, ROWS]), expected):
                yield self._size - 1, finding
        judged = judged & (counts[:, ROWS] >= LEAST_ROWS)
        if not judged[:-1].any():
            return
        before = reference / np.maximum(1, reference[:, [ROWS]])
        after = counts / np.maximum(1, counts[:, [ROWS]])
        rose = after - before >= min(self._policy.warning, self._policy.alarm)
        for at, fault in zip(*rose[:-1, NULL:].nonzero(), strict=True):
            if judged[at]:
                shares = float(before[at, NULL + fault]), float(after[at, NULL + fault])
                yield from self._risen(interval, int(at), int(NULL + fault), shares, int(counts[at, ROWS]))

    def _risen(
        self, interval: int, at: int, fault: int, shares: tuple[float, float], rows: int
    ) -> Iterator[tuple[int, Finding]]:
        rise = shares[1] - shares[0]
        level = level_of(rise, self._policy.warning, self._policy.alarm)
        if level and rise > self._chance(interval, at, fault, rows):
            yield at, Finding(self._columns[at][0], self._fault(at, fault), level, *shares)

    def _rates(self, rows: int, expected: float) -> Iterator[Finding]:
        if max(expected, rows) < LEAST_ROWS:
            return
        factor = max(expected, rows) / max(1.0, min(expected, rows))
        level = level_of(factor, self._policy.rate_warning, self._policy.rate_alarm)
        if level:
            yield Finding(RATE, "rate", level, expected, float(rows))

    def _chance(self, interval: int, at: int, fault: int, now: int) -> float:
        """Return the rise of a share that chance and the variation between intervals explain."""
        reference = self._reference.of(interval)[at]
        count, rows = int(reference[fault]), int(reference[ROWS])
        share = (count + 1) / (rows + 2)  # Laplace's estimate, which is never 0
        variance = share * (1 - share) * (1 / now + 1 / (rows + 1))
        return _ERRORS * sqrt(variance * self._reference.dispersion(interval, at, fault))

    def _fault(self, at: int, fault: int) -> Fault:
        if fault == NULL:
            return "null"
        return "range" if self._columns[at][1].kind == "number" else "unseen"
