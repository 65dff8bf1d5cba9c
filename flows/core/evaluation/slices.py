"""Slices: how a binary model treats each group of events, and how far the groups are apart.

A group is one value of a declared column, such as a carrier or a country. Figures of few labels are noise, so
each is given from a minimum count on only: of the labels that it is a share of.
"""

from collections.abc import Iterable, Sequence
from math import nan
from typing import Any, NamedTuple

OTHER = "(other)"  # the values beyond the most that are told apart


class SliceRates(NamedTuple):
    """One group. Rates are NaN below the minimum count of the labels that they are a share of.

    `positive` is the share of labels whose answer was yes, `true_positive` that among the true ones,
    `false_positive` that among the others, and `error` the share of wrong answers.
    """

    value: str
    labels: int
    positive: float
    true_positive: float
    false_positive: float
    error: float


class Fairness(NamedTuple):
    """The distance between the groups of a column with the highest and the lowest rate.

    `parity_difference` and `parity_ratio` (lowest by highest; below 0.8 is the "four-fifths rule") compare
    the share of positive answers: demographic parity (Dwork et al., 2012). `opportunity_difference` compares
    the true positive rates: equal opportunity; together with `false_positive_difference` it is equalised odds
    (Hardt, Price and Srebro, 2016). NaN where fewer than two groups have the minimum count.
    """

    parity_difference: float
    parity_ratio: float
    opportunity_difference: float
    false_positive_difference: float
    error_difference: float


class Slices:
    """Counts answers and truths for each value of each column.

    The first `most` values of a column are told apart, the rest are "(other)"; that is a group as well, for a
    mixture cannot make the groups look further apart than they are. `minimum` is the least count for a rate.

    >>> slices = Slices(("country",), minimum=2)
    >>> for country, answer in [("A", True), ("A", True), ("B", False), ("B", True)]:
    ...     slices.update([country], answer, truth=True)
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
        # for each value: answered no and yes where the truth is no, then the same where it is yes
        self._counts: dict[str, dict[str, list[int]]] = {column: {} for column in columns}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, in the order of the values that `update` takes."""
        return tuple(self._counts)

    def update(self, values: Sequence[Any], answer: bool, truth: bool) -> None:
        """Take in a label whose event has these values in the columns."""
        cell = 2 * truth + answer
        for groups, value in zip(self._counts.values(), values, strict=True):
            self._group(groups, str(value))[cell] += 1

    def rates(self, column: str) -> list[SliceRates]:
        """The groups of a column, the one with the most labels first."""
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
    """How far the groups of one column are apart."""
    rows = list(groups)
    low, high = _range(row.positive for row in rows)
    differences = (
        high - low
        for low, high in (
            _range(row.true_positive for row in rows),
            _range(row.false_positive for row in rows),
            _range(row.error for row in rows),
        )
    )
    return Fairness(high - low, low / high if high else nan, *differences)


def _range(rates: Iterable[float]) -> tuple[float, float]:
    """The lowest and the highest of the rates that are given; NaN where fewer than two are."""
    given = [rate for rate in rates if rate == rate]  # NaN is not itself
    return (min(given), max(given)) if len(given) > 1 else (nan, nan)
