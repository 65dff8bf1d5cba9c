"""The sample of a reference window while it fills."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flows.core.drift.features.policy import FeaturePolicy
from flows.core.drift.statistics import Integers

KEPT = 4096  # rows sampled of a reference
_GOLDEN = 0.6180339887498949


class ReferenceSample:
    """A reference that is still filling, with an evenly spread sample of at most `KEPT` of its rows."""

    def __init__(self, policy: FeaturePolicy) -> None:
        self._policy = policy
        self._count = 0
        self._first = 0  # ms
        self._share = 1.0
        self._kept: list[tuple[float, int, Sequence[Any]]] = []
        self.is_full = False

    @property
    def rows(self) -> list[Sequence[Any]]:
        """The sampled rows, in order."""
        return [row for _, _, row in self._kept]

    @property
    def times(self) -> list[int]:
        """Their event times (ms)."""
        return [time for _, time, _ in self._kept]

    @property
    def stretch(self) -> float:
        """How many rows each sampled row represents."""
        return 1.0 / self._share

    def room(self, newest: Integers) -> int:
        """Return the rows until it is full, given the latest event times at the next rows.

        A result beyond the length of `newest` means that it does not become full within these rows.
        """
        if len(newest) == 0:
            return 1
        by_time = int(np.searchsorted(newest, self._full_at(newest))) + 1
        return max(by_time, self._policy.reference - self._count)

    def add(self, rows: Sequence[Sequence[Any]], times: Sequence[int], newest: Integers) -> None:
        """Add rows, of which none is after the one that makes it full."""
        if len(rows) == 0:
            return
        full_at = self._full_at(newest)
        if self._count == 0:
            self._first = int(newest[0])
        for row, time in zip(rows, times, strict=True):
            self._add(row, time)
        self.is_full = self._count >= self._policy.reference and int(newest[-1]) >= full_at

    def _full_at(self, newest: Integers) -> int:
        """Return the time (ms) before which it cannot be full: two periods after its first row."""
        first = self._first if self._count else int(newest[0])
        return first + 2 * (self._policy.period or 0)

    def _add(self, row: Sequence[Any], time: int) -> None:
        lot = self._count * _GOLDEN % 1.0  # a low-discrepancy sequence: even, and in step with no pattern
        self._count += 1
        if lot < self._share:
            self._kept.append((lot, time, row))
        if len(self._kept) > KEPT:
            self._share /= 2
            self._kept = [kept for kept in self._kept if kept[0] < self._share]
