"""Slices: the error rates of a binary model by group of events, and the differences between the groups.

A group is one value of a declared column, such as a carrier or a country. Rates over few labels are noise,
so each rate needs a minimum count of the labels that it is a share of.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isnan, nan
from typing import Any, NamedTuple

OTHER = "(other)"  # the group of all values beyond the limit


class SliceRates(NamedTuple):
    """The rates of one group, NaN below the minimum count.

    `positive` is the share of labels with a positive prediction, `true_positive` the same share among true
    labels, `false_positive` among false labels, and `error` the share of wrong predictions.
    """

    value: str
    labels: int
    positive: float
    true_positive: float
    false_positive: float
    error: float


class Fairness(NamedTuple):
    """The difference between the highest and the lowest rate of a column's groups.

    `parity_difference` and `parity_ratio` (lowest by highest; below 0.8 fails the "four-fifths rule") compare
    the share of positive predictions: demographic parity (Dwork et al., 2012). `opportunity_difference`
    compares the true positive rates: equal opportunity. With `false_positive_difference` it is equalised odds
    (Hardt, Price and Srebro, 2016). NaN if fewer than two groups have the minimum count.
    """

    parity_difference: float
    parity_ratio: float
    opportunity_difference: float
    false_positive_difference: float
    error_difference: float


class Slices:
    """Counts predictions and truths by value of each column.

    The first `most` values of a column are separate groups, all others are the group "(other)". Merging
    groups can only reduce the differences. `minimum` is the minimum count for a rate.

    >>> slices = Slices(("country",), minimum=2)
    >>> slices.update_many([["A", "A", "B", "B"]], [True, True, False, True], [True, True, True, True])
    >>> for row in slices.rates("country"):
    ...     print(row.value, row.labels, row.positive, row.true_positive, row.false_positive)
    A 2 1.0 1.0 nan
    B 2 0.5 0.5 nan
    >>> fairness(slices.rates("country")).parity_ratio
    0.5
    """

    def __init__(self, columns: Sequence[str], minimum: int = 100, most: int = 50) -> None:
        self._minimum = minimum
        self._most = most
        # by value: true negatives, false positives, false negatives, true positives
        self._counts: dict[str, dict[str, list[int]]] = {column: {} for column in columns}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, in the order that `update_many` takes."""
        return tuple(self._counts)

    def update_many(
        self, columns: Iterable[Iterable[Any]], answers: Sequence[bool], truths: Sequence[bool]
    ) -> None:
        """Add the predicted and the true labels of some events, and their values in each column."""
        cells = [2 * truth + answer for truth, answer in zip(truths, answers, strict=True)]
        for groups, values in zip(self._counts.values(), columns, strict=True):
            # In the order of first appearance, in which values become groups.
            for (value, cell), count in Counter(zip(map(str, values), cells, strict=True)).items():
                self._group(groups, value)[cell] += count

    def rates(self, column: str) -> list[SliceRates]:
        """Return the groups of a column, the one with the most labels first."""
        groups = sorted(self._counts[column].items(), key=lambda group: (-sum(group[1]), group[0]))
        return [self._rates(value, *counts) for value, counts in groups]

    def _group(self, groups: dict[str, list[int]], value: str) -> list[int]:
        if value not in groups and len(groups) >= self._most:
            value = OTHER
        return groups.setdefault(value, [0, 0, 0, 0])

    def _rates(
        self, value: str, true_negative: int, false_positive: int, false_negative: int, true_positive: int
    ) -> SliceRates:
        negatives, positives = true_negative + false_positive, false_negative + true_positive
        labels = negatives + positives
        return SliceRates(
            value,
            labels,
            self._share(true_positive + false_positive, labels),
            self._share(true_positive, positives),
            self._share(false_positive, negatives),
            self._share(false_positive + false_negative, labels),
        )

    def _share(self, count: int, of: int) -> float:
        return count / of if of >= self._minimum else nan


def fairness(groups: Iterable[SliceRates]) -> Fairness:
    """Return the differences between the groups of one column."""
    rows = list(groups)
    low, high = _range(row.positive for row in rows)
    return Fairness(
        high - low,
        low / high if high else nan,
        _spread(row.true_positive for row in rows),
        _spread(row.false_positive for row in rows),
        _spread(row.error for row in rows),
    )


def _spread(rates: Iterable[float]) -> float:
    low, high = _range(rates)
    return high - low


def _range(rates: Iterable[float]) -> tuple[float, float]:
    """Return the lowest and the highest rate; NaN if fewer than two rates are known."""
    known = [rate for rate in rates if not isnan(rate)]
    return (min(known), max(known)) if len(known) > 1 else (nan, nan)
