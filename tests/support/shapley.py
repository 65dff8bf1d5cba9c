"""Shapley values by their definitions, as oracles for what computes them faster."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, combinations, permutations
from math import factorial
from statistics import fmean
from typing import Any

Value = Callable[[Collection[str]], float]  # of a coalition of features
Features = Mapping[str, Any]


def by_coalitions(value: Value, names: Sequence[str]) -> dict[str, float]:
    """The Shapley values as weighted sums over all 2^n coalitions (Shapley, 1953)."""
    count = len(names)
    shapley = dict.fromkeys(names, 0.0)
    for name in names:
        others = [each for each in names if each != name]
        for coalition in chain.from_iterable(combinations(others, size) for size in range(count)):
            weight = factorial(len(coalition)) * factorial(count - len(coalition) - 1) / factorial(count)
            shapley[name] += weight * (value({*coalition, name}) - value({*coalition}))
    return shapley


def by_orders(value: Value, names: Sequence[str]) -> dict[str, float]:
    """The Shapley values as mean changes over all n! orders in which the features become known."""
    gains: dict[str, list[float]] = {name: [] for name in names}
    for order in permutations(names):
        for number, name in enumerate(order):
            gains[name].append(value(order[: number + 1]) - value(order[:number]))
    return {name: fmean(of_name) for name, of_name in gains.items()}


def against(
    function: Callable[[Features], float], features: Features, background: Sequence[Features]
) -> Value:
    """The mean output when features outside of the coalition have the values of rows of the background."""

    def value(coalition: Collection[str]) -> float:
        known = {name: features[name] for name in coalition}
        return fmean(function({**row, **known}) for row in background)

    return value
