"""Contributions in any model: over all coalitions of a few features, or over a sample of orders.

A feature that is not known has the value of a row of the background. The contribution of a feature is its
Shapley value: the mean change of the output when the feature becomes known, over all orders in which the
features can become known.
"""

from collections.abc import Sequence
from itertools import compress
from math import comb, sqrt
from random import Random

from flows.core.explaining.attribution import Attribution, mean, varying
from flows.core.explaining.output import Function
from flows.core.models.tasks import Features

BUDGET = 20_000  # scores of one explanation
_PAIRS = 2  # of orders per row at least, for a standard error
_SEED = 17


def coalitions_attribution(
    function: Function, features: Features, background: Sequence[Features]
) -> Attribution | None:
    """Return the exact Shapley values over the background; None if they need more than `BUDGET` scores."""
    names = varying(features, background)
    if len(background) << len(names) > BUDGET:
        return None
    outputs = [
        mean([function(_mixed(features, row, _members(names, coalition))) for row in background])
        for coalition in range(1 << len(names))
    ]
    contributions = dict.fromkeys(features, 0.0)
    for number, name in enumerate(names):
        contributions[name] = _shapley_value(outputs, len(names), 1 << number)
    return Attribution(outputs[0], len(background), contributions)


def _members(names: Sequence[str], coalition: int) -> list[str]:
    return list(compress(names, (coalition >> number & 1 for number in range(len(names)))))


def _mixed(features: Features, row: Features, known: Sequence[str]) -> Features:
    """Return the row with the values that are known."""
    return {**row, **{name: features[name] for name in known}}


def _shapley_value(outputs: Sequence[float], count: int, feature: int) -> float:
    """Return the Shapley value of one of `count` features; `feature` is its bit in a coalition."""
    return sum(
        (outputs[coalition | feature] - outputs[coalition]) / (count * comb(count - 1, coalition.bit_count()))
        for coalition in range(len(outputs))
        if not coalition & feature
    )


def sampled_attribution(
    function: Function, features: Features, background: Sequence[Features]
) -> Attribution:
    """Return estimates of the Shapley values with at most `BUDGET` scores, if two orders per row allow that.

    Each row of the background gets the same number of orders. An order is followed by its reverse, which
    cancels much of the noise (antithetic sampling; Mitchell et al., 2022). The standard error is that of the
    choice of the orders. It is 0 where the model is a sum of functions of single features.
    """
    names = varying(features, background)
    rows = background[: max(1, BUDGET // (2 * _PAIRS * max(1, len(names))))]
    pairs = max(_PAIRS, BUDGET // (2 * len(rows) * max(1, len(names))))
    sample = _Sample(function, features, names)
    gains = [sample.gains(row, pairs) for row in rows]
    contributions, errors = dict.fromkeys(features, 0.0), dict.fromkeys(features, 0.0)
    for number, name in enumerate(names):
        of_rows = [[pair[number] for pair in of_row] for of_row in gains]
        contributions[name] = mean([mean(of_row) for of_row in of_rows])
        errors[name] = sqrt(sum(_variance(of_row) / pairs for of_row in of_rows)) / len(rows)
    return Attribution(mean(sample.starts), len(rows), contributions, errors)


def _variance(numbers: Sequence[float]) -> float:
    """Return the unbiased estimate of the variance."""
    middle = mean(numbers)
    return sum((number - middle) ** 2 for number in numbers) / (len(numbers) - 1)


class _Sample:
    """Random orders of the features, always the same; `starts` has the output of each row."""

    def __init__(self, function: Function, features: Features, names: Sequence[str]) -> None:
        self.starts: list[float] = []
        self._function = function
        self._features = features
        self._names = names
        self._end = function(dict(features))
        self._random = Random(_SEED)  # noqa: S311  an explanation is the same each time

    def gains(self, row: Features, pairs: int) -> list[list[float]]:
        """Return, for each pair of orders, the mean change of the output by each feature."""
        start = self._function(dict(row))
        self.starts.append(start)
        return [self._gains_of_pair(row, start) for _ in range(pairs)]

    def _gains_of_pair(self, row: Features, start: float) -> list[float]:
        order = self._random.sample(range(len(self._names)), len(self._names))
        one, other = self._gains(row, start, order), self._gains(row, start, order[::-1])
        return [(a + b) / 2 for a, b in zip(one, other, strict=True)]

    def _gains(self, row: Features, before: float, order: Sequence[int]) -> list[float]:
        """Return the change of the output by each feature when they become known in this order."""
        mixed = dict(row)
        gains = [0.0] * len(order)
        changed = [
            number for number in order if row[self._names[number]] != self._features[self._names[number]]
        ]
        for number in changed:
            name = self._names[number]
            mixed[name] = self._features[name]
            after = self._end if number == changed[-1] else self._function(dict(mixed))
            gains[number] = after - before
            before = after
        return gains
